/*-------------------------------------------------------------------------
 *
 * call.c
 *	  GitLab's REST API: requests, retries, rate limits and errors.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "common/pg_prng.h"
#include "gitlab/body.h"
#include "gitlab/call.h"
#include "gitlab/connection.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "http/engine.h"
#include "http/exchange.h"
#include "http/request.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"

/* First back-off in ms; doubled with each attempt, and at most the second. */
#define BACK_OFF_MS 500
#define MAX_BACK_OFF_MS 30000

bool		api_log_requests = false;


/* ----------
 * Retries and rate limits.  All of this also runs while a transaction is being
 * aborted: it raises no errors and allocates nothing from PostgreSQL.
 * ----------
 */

/* A header that is a whole number, or -1 if it is missing or is not. */
int64
api_integer_header(HttpExchange *exchange, const char *name)
{
	const char *value = http_header(exchange, name);
	char	   *end;
	long long	number;

	if (value == NULL || *value < '0' || *value > '9')
		return -1;
	errno = 0;
	number = strtoll(value, &end, 10);
	if (*end != '\0')
		return -1;
	return errno == ERANGE ? PG_INT64_MAX : number;
}

/* A point in time that the server named, in seconds from the server's now. */
static int64
seconds_until(HttpExchange *exchange, int64 when)
{
	const char *date = http_header(exchange, "Date");
	int64		now = date ? http_parse_date(date) : -1;

	return when - (now < 0 ? (int64) time(NULL) : now);
}

/* How long the server asks us to wait, in seconds, or -1 if it doesn't say. */
int64
requested_wait(HttpExchange *exchange)
{
	const char *retry_after = http_header(exchange, "Retry-After");
	int64		reset = api_integer_header(exchange, "RateLimit-Reset");

	if (retry_after)
	{
		int64		seconds = api_integer_header(exchange, "Retry-After");
		int64		when;

		if (seconds >= 0)
			return seconds;
		when = http_parse_date(retry_after);
		if (when != -1)
			return Max(seconds_until(exchange, when), 0);
	}
	if (exchange->status == 429 && reset >= 0)
		return Max(seconds_until(exchange, reset), 0);
	return -1;
}

/* Is this answer one that another attempt may change? */
static bool
is_transient(HttpExchange *exchange)
{
	int			status = exchange->status;

	if (status == 409)
		return exchange->data != NULL && strstr(exchange->data, "Resource lock");
	return status == 429 || status == 500 || (status >= 502 && status <= 504) ||
		(status >= 520 && status <= 530);
}

/* May this attempt be repeated without carrying anything out twice? */
static bool
may_retry(const ApiCall *call, HttpExchange *exchange)
{
	bool		unsent = call->repeatable || !exchange->sent;

	switch (exchange->failure)
	{
		case HTTP_ANSWERED:
			return call->repeatable ? is_transient(exchange) :
				exchange->status == 429;
		case HTTP_CANNOT_CONNECT:
		case HTTP_LOST:
			return unsent;
		case HTTP_TIMED_OUT:	/* request_timeout was the limit */
		case HTTP_UNTRUSTED:
		case HTTP_TLS_FAILED:
		case HTTP_TOO_LARGE:
		case HTTP_UNREADABLE:
		case HTTP_NO_MEMORY:
			break;
	}
	return false;
}

/* Exponential back-off with jitter, in ms. */
static int
back_off(const ApiCall *call, int attempts)
{
	double		ms = BACK_OFF_MS;

	for (int i = 1; i < attempts && ms < MAX_BACK_OFF_MS; i++)
		ms *= 2;
	ms = Min(ms, MAX_BACK_OFF_MS) *
		(0.5 + pg_prng_double(&pg_global_prng_state) / 2);
	return Min((int) ms, call->connection->max_retry_wait);
}

static void
count_attempt(RequestCounters *counters, HttpExchange *exchange)
{
	int64		remaining = api_integer_header(exchange, "RateLimit-Remaining");
	int64		reset = api_integer_header(exchange, "RateLimit-Reset");

	counters->requests++;
	if (exchange->attempts > 1)
		counters->retries++;
	if (exchange->failure != HTTP_ANSWERED || exchange->status >= 400)
		counters->errors++;
	if (exchange->status == 429)
		counters->rate_limited++;
	counters->bytes_received += exchange->length;
	counters->wait_usecs += exchange->duration;
	if (remaining >= 0)
		counters->rate_limit_remaining = remaining;
	if (reset >= 0)
		counters->rate_limit_reset = reset;
}

/*
 * The level of messages for the server's log, which clients may ask for.  One
 * whose encoding may lack a character is left out, since that would be an error.
 */
int
api_log_level(void)
{
	return pg_get_client_encoding() == GetDatabaseEncoding() ? LOG :
		LOG_SERVER_ONLY;
}

/* May this attempt have been carried out, although it is repeated? */
static bool
leaves_doubt(HttpExchange *exchange)
{
	return exchange->resent ||
		(exchange->failure == HTTP_ANSWERED ? exchange->status >= 500 :
		 exchange->failure != HTTP_CANNOT_CONNECT);
}

/* When to make the next attempt, in ms from now; -1 if there is to be none. */
static int
next_attempt(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	Connection *connection = call->connection;
	int64		wait;

	/*
	 * A cursor may have slept for so long that the server gave up.  That is
	 * no fault of the server's, so it doesn't count as a retry.
	 */
	if (exchange->slept && call->repeatable && !call->woken &&
		(exchange->failure == HTTP_LOST ||
		 exchange->failure == HTTP_CANNOT_CONNECT))
	{
		call->woken = true;
		return 0;
	}
	if (exchange->attempts - call->woken > connection->max_retries ||
		!may_retry(call, exchange))
		return -1;
	wait = exchange->failure == HTTP_ANSWERED ? requested_wait(exchange) : -1;
	if (wait > connection->max_retry_wait / 1000)
		return -1;
	return wait > 0 ? (int) wait * 1000 : back_off(call, exchange->attempts);
}

/* The policy of all exchanges: count, log, and decide about a retry. */
static int
after_attempt(HttpExchange *exchange)
{
	ApiCall    *call = exchange->owner;
	Connection *connection = call->connection;
	int			wait;

	count_attempt(connection->counters, exchange);
	if (call->statistics)
	{
		call->statistics->requests++;
		call->statistics->retries += exchange->attempts > 1;
		call->statistics->bytes += exchange->length;
		call->statistics->wait_usecs += exchange->duration;
	}
	if (api_log_requests)
		ereport(api_log_level(),
				(errmsg("GitLab request: %s %s on server \"%s\", status %d, %lld ms, %zu bytes, attempt %d",
						exchange->method, exchange->target,
						connection->server_name, exchange->status,
						(long long) exchange->duration / 1000,
						exchange->length, exchange->attempts),
				 errhidestmt(true), errhidecontext(true)));

	wait = next_attempt(call);
	if (wait >= 0 && leaves_doubt(exchange))
		call->in_doubt = true;
	return wait;
}


/* ----------
 * Calls
 * ----------
 */

/* A list of one parameter, in the current memory context; nothing is copied. */
List *
api_parameter(const char *name, const char *value)
{
	ApiParameter *parameter = palloc(sizeof(ApiParameter));

	parameter->name = name;
	parameter->value = value;
	return list_make1(parameter);
}

/*
 * Makes a call; method is a string constant, path goes below the API's root
 * and is percent-encoded, body is JSON in UTF-8 or NULL.  The call holds a
 * reference to the connection.  Returns NULL when memory is short.
 */
ApiCall *
api_call_create(Connection *connection, const char *method, const char *path,
				const char *body)
{
	ApiCall    *call = calloc(1, sizeof(ApiCall));

	if (call == NULL)
		return NULL;
	call->exchange = http_exchange_create(connection->client, method, path);
	if (call->exchange == NULL)
	{
		free(call);
		return NULL;
	}
	call->connection = connection_retain(connection);
	call->repeatable = strcmp(method, "POST") != 0;
	call->exchange->owner = call;
	call->exchange->policy = after_attempt;
	call->exchange->attachment_free = resource_free_record;
	/* a POST without a body would bypass the check against resending */
	if (body || !call->repeatable)
		http_set_body(call->exchange, body ? body : "{}");
	return call;
}

static void
add_secret(ApiCall *call, const char *text, size_t length)
{
	for (int i = 0; i < API_SECRETS; i++)
	{
		if (call->secrets[i] == NULL)
		{
			call->secrets[i] = strndup(text, length);
			return;
		}
		if (strlen(call->secrets[i]) == length &&
			memcmp(call->secrets[i], text, length) == 0)
			return;
	}
}

/*
 * Has another secret than the credential, or NULL, removed from what is said of
 * a call; and what it is in JSON, for GitLab may quote the request's body.
 */
void
api_call_protect(ApiCall *call, const char *secret)
{
	static const int forms[] = {
		JSON_C_TO_STRING_PLAIN,
	JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE};
	JsonRecord *string;

	if (secret == NULL || strlen(secret) < MIN_SECRET_LENGTH)
		return;
	add_secret(call, secret, strlen(secret));
	string = json_object_new_string(secret);
	if (string == NULL)
		return;
	for (int i = 0; i < (int) lengthof(forms); i++)
	{
		const char *quoted = json_object_to_json_string_ext(string, forms[i]);

		if (quoted == NULL)
			continue;
		add_secret(call, quoted + 1, strlen(quoted) - 2);
		explicit_bzero(unconstify(char *, quoted), strlen(quoted));
	}
	explicit_bzero(unconstify(char *, json_object_get_string(string)),
				   json_object_get_string_len(string));
	json_object_put(string);
}

/* Sends the request, as soon as somebody waits for it. */
void
api_call_start(ApiCall *call)
{
	http_start(call->exchange);
}

/* Ends a call, finished or not.  Never raises an error. */
void
api_call_free(ApiCall *call)
{
	if (call->owned)
		dlist_delete(&call->link);
	http_exchange_free(call->exchange);
	connection_release(call->connection);
	for (int i = 0; i < API_SECRETS && call->secrets[i]; i++)
	{
		explicit_bzero(call->secrets[i], strlen(call->secrets[i]));
		free(call->secrets[i]);
	}
	free(call);
}

static void
collect_exchanges(ApiCall **calls, int ncalls, HttpExchange **exchanges)
{
	for (int i = 0; i < ncalls; i++)
		exchanges[i] = calls[i]->exchange;
}

/* Calls that one wait can be for: the highest `concurrency`. */
#define MAX_WAITED_FOR 32

/*
 * Waits for one of some calls over the same connection, and returns its index.
 * Raises only what an interrupt raises.
 */
int
api_wait(ApiCall **calls, int ncalls)
{
	HttpExchange *exchanges[MAX_WAITED_FOR];

	Assert(ncalls <= MAX_WAITED_FOR);
	collect_exchanges(calls, ncalls, exchanges);
	return http_wait(exchanges, ncalls);
}

/* The same for where nothing may be raised; -1 once give_up says so. */
int
api_wait_quietly(ApiCall **calls, int ncalls, bool (*give_up) (void *),
				 void *arg)
{
	HttpExchange *exchanges[MAX_WAITED_FOR];

	Assert(ncalls <= MAX_WAITED_FOR);
	collect_exchanges(calls, ncalls, exchanges);
	return http_wait_quietly(exchanges, ncalls, give_up, arg);
}

/* Is the answer said to be of this media type? */
bool
has_media_type(HttpExchange *exchange, const char *type)
{
	const char *value = http_header(exchange, "Content-Type");
	size_t		length = strlen(type);

	return value && pg_strncasecmp(value, type, length) == 0 &&
		(value[length] == '\0' || value[length] == ';' || value[length] == ' ');
}

/* Judges an answer with a status of 2xx, and parses it. */
static ApiOutcome
judge_success(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;

	if (exchange->status == 204 && exchange->length == 0)
		return API_SUCCEEDED;
	call->record = parse_json(exchange, &call->problem);
	exchange->attachment = call->record;
	if (call->problem == NULL &&
		!json_object_is_type(call->record, json_type_object) &&
		!json_object_is_type(call->record, json_type_array))
		call->problem = "The answer is neither a JSON object nor an array";
	if (call->problem == NULL)
		return API_SUCCEEDED;
	return call->repeatable ? API_FAILED : API_LOST;
}

static ApiOutcome
judge(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	int			status = exchange->status;

	if (exchange->failure != HTTP_ANSWERED)
		return !call->repeatable && exchange->sent ? API_LOST : API_FAILED;
	if (status >= 200 && status < 300)
		return judge_success(call);
	/* a proxy knows nothing of what became of the request */
	if (!call->repeatable &&
		((status >= 502 && status <= 504) || (status >= 520 && status <= 530)))
		return API_LOST;
	return API_REFUSED;
}

/* Says what a finished call came to.  Never raises an error. */
ApiOutcome
api_call_judge(ApiCall *call)
{
	Assert(call->exchange->finished);
	if (!call->judged)
	{
		call->outcome = judge(call);
		call->in_doubt = call->in_doubt || call->exchange->resent;
		call->judged = true;
	}
	return call->outcome;
}

/*
 * Is it sure that nothing came of a finished call?  So it is if GitLab could not
 * be reached or has refused it, but not if an attempt before may have been
 * carried out, nor if the refusal may be a proxy's.
 */
bool
api_came_to_nothing(ApiCall *call)
{
	ApiOutcome	outcome = api_call_judge(call);

	if (call->in_doubt)
		return false;
	return call->exchange->failure == HTTP_CANNOT_CONNECT ||
		(outcome == API_REFUSED &&
		 call->exchange->status >= 400 && call->exchange->status < 500);
}

/*
 * Does GitLab say that there is no such thing?  A 404 that is not JSON is some
 * proxy's or another site's, which knows nothing of tokens.
 */
bool
api_is_absent(const ApiCall *call)
{
	return call->exchange->failure == HTTP_ANSWERED &&
		call->exchange->status == 404 &&
		has_media_type(call->exchange, "application/json");
}
