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
#include "compat.h"
#include "gitlab/call.h"
#include "gitlab/jsonc.h"
#include "gitlab/option.h"
#include "gitlab/text.h"
#include "gitlab/zone.h"
#include "http/engine.h"
#include "http/memory.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/*
 * The back-offs in ms, one after the other; the last one for all that follow.  What fails
 * by chance succeeds when it is tried again, even if it has done so twice, and all else
 * may wait for it: the first two are short.  Together with the next two, they last out a
 * restart.
 */
static const int back_offs[] = {100, 200, 1600, 6400, 25600, 30000};

/* How much of a request's path and query is logged, in bytes. */
#define MAX_LOGGED_TARGET 2048

/* More than any page of GitLab's has. */
#define MAX_ELEMENTS 1000

bool		api_log_requests = false;


/* ----------
 * Retries and rate limits.  All of this also runs while a transaction is being
 * aborted: it raises no errors and allocates nothing from PostgreSQL.
 * ----------
 */

/* A header that is a whole number, or -1 if it is missing or is not. */
static int64
integer_header(HttpExchange *exchange, const char *name)
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

/* The wait that the server asks for, in seconds; -1 if it names none. */
static int64
requested_wait(HttpExchange *exchange)
{
	const char *retry_after = http_header(exchange, "Retry-After");
	int64		reset = integer_header(exchange, "RateLimit-Reset");

	if (retry_after)
	{
		int64		seconds = integer_header(exchange, "Retry-After");
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

/* Whether another attempt may get another answer. */
static bool
is_transient(HttpExchange *exchange)
{
	int			status = exchange->status;

	if (status == 409)
		return exchange->data != NULL && strstr(exchange->data, "Resource lock");
	return status == 429 || status == 500 || (status >= 502 && status <= 504) ||
		(status >= 520 && status <= 530);
}

/* Whether a retry of this attempt carries nothing out twice. */
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
		case HTTP_NO_DESCRIPTORS:
			break;
	}
	return false;
}

/* How long to wait after so many attempts, with jitter, in ms. */
static int
back_off(const ApiCall *call, int attempts)
{
	int			ms = back_offs[Min(attempts, (int) lengthof(back_offs)) - 1];

	Assert(attempts > 0);
	ms *= 0.5 + pg_prng_double(&pg_global_prng_state) / 2;
	return Min(ms, call->connection->max_retry_wait);
}

static void
count_attempt(RequestCounters *counters, HttpExchange *exchange)
{
	int64		remaining = integer_header(exchange, "RateLimit-Remaining");
	int64		reset = integer_header(exchange, "RateLimit-Reset");

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
 * The level of messages for the server's log, which clients may ask for.  A client
 * whose encoding may lack a character gets none, since that would be an error.
 */
int
api_log_level(void)
{
	return pg_get_client_encoding() == GetDatabaseEncoding() ? LOG :
		LOG_SERVER_ONLY;
}

/* Makes text from outside fit for a message about a call; see text_clean(). */
void
api_clean(const ApiCall *call, char *text, size_t max_bytes)
{
	Secrets		secrets = {
		.credential = call->connection->credential,
		.others = call->secrets,
		.nothers = API_SECRETS
	};

	text_clean(text, max_bytes, &secrets);
}

/*
 * Logs an attempt.  Interrupts wait, because nobody knows the answer yet.
 */
static void
log_attempt(const ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	char		target[MAX_LOGGED_TARGET];

	strlcpy(target, exchange->target, sizeof(target));
	api_clean(call, target, sizeof(target));
	HOLD_INTERRUPTS();
	ereport(api_log_level(),
			(errmsg("GitLab request: %s %s on server \"%s\", status %d, %lld ms, %zu bytes, attempt %d",
					exchange->method, target,
					call->connection->server_name, exchange->status,
					(long long) exchange->duration / 1000,
					exchange->length, exchange->attempts),
			 errhidestmt(true), errhidecontext(true)));
	RESUME_INTERRUPTS();
}

/* Reading leaves no trace, however often it is done. */
static bool
changes_something(const ApiCall *call)
{
	return strcmp(call->exchange->method, "GET") != 0;
}

/*
 * Whether a status leaves open what became of the request.  From 500 on GitLab may
 * have failed after it had carried the request out, and a proxy knows nothing of it.
 * A proxy that says 408 or 499 has stopped waiting.
 */
bool
api_leaves_open(int status)
{
	return status >= 500 || status == 408 || status == 499;
}

/* Whether GitLab may still carry this attempt out, although it is retried. */
static bool
leaves_stray(const ApiCall *call, HttpExchange *exchange)
{
	return changes_something(call) &&
		(exchange->resent ||
		 (exchange->failure == HTTP_ANSWERED ? api_leaves_open(exchange->status) :
		  exchange->failure != HTTP_CANNOT_CONNECT));
}

/* When to make the next attempt, in ms from now; -1 if there is to be none. */
static int
next_attempt(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	Connection *connection = call->connection;
	int64		wait;

	/*
	 * A cursor may have slept for so long that the server gave up.  A
	 * connection that died in a cursor's sleep is no fault of the server's,
	 * and its repetition does not count as a retry.
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

/* An answer that took longer than this, in s, tells no time. */
#define PROMPT_ANSWER 10

/* Notes what GitLab's clock shows: only the Date of a prompt answer is of now. */
static void
learn_clock(Connection *connection, HttpExchange *exchange)
{
	const char *header = http_header(exchange, "Date");
	int64		date = header ? http_parse_date(header) : -1;

	if (date < 0 || exchange->duration > PROMPT_ANSWER * USECS_PER_SEC)
		return;
	connection->clock_offset = date - (int64) time(NULL);
	connection->clock_known = true;
}

/* The policy of all exchanges: count, log, and decide about a retry. */
static int
after_attempt(HttpExchange *exchange)
{
	ApiCall    *call = exchange->owner;
	Connection *connection = call->connection;
	int			wait;

	count_attempt(connection->counters, exchange);
	learn_clock(connection, exchange);
	if (call->statistics)
	{
		call->statistics->requests++;
		call->statistics->retries += exchange->attempts > 1;
		call->statistics->bytes += exchange->length;
		call->statistics->wait_usecs += exchange->duration;
	}
	if (api_log_requests)
		log_attempt(call);

	wait = next_attempt(call);
	if (wait >= 0 && exchange->last)
	{
		call->cut_short = true;
		return -1;
	}
	if (wait >= 0 && leaves_stray(call, exchange))
		call->stray = true;
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
	call->exchange->attachment_free = record_free;
	/* a POST without a body would bypass the check against resending */
	if (body || !call->repeatable)
		http_set_body(call->exchange, body ? body : "{}");
	return call;
}

static void
add_secret(ApiCall *call, const char *text, size_t length)
{
	char	   *secret = strndup(text, length);

	if (secret)
		text_leave_seen(secret);
	for (int i = 0; i < API_SECRETS && secret; i++)
	{
		if (call->secrets[i] && strcmp(call->secrets[i], secret) != 0)
			continue;
		if (call->secrets[i] == NULL)
		{
			call->secrets[i] = secret;
			return;
		}
		break;
	}
	memory_free_zeroed(secret, length);
}

/*
 * Makes messages about a call omit a secret besides the credential, also in its
 * JSON form, because GitLab may quote the request's body.  secret may be NULL.
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

/*
 * Makes a call without a body use another token than the connection's.  The call
 * copies the secret.
 */
void
api_call_authorize(ApiCall *call, const char *secret)
{
	http_set_bearer(call->exchange, secret);
	api_call_protect(call, secret);
}

/* Adds a query parameter, before the call is started; percent-encodes it. */
void
api_add_parameter(ApiCall *call, const char *name, const char *value)
{
	http_add_parameter(call->exchange, name, value);
}

/* Sends the request, as soon as somebody waits for it. */
void
api_call_start(ApiCall *call)
{
	http_start(call->exchange);
}

/* Lets an attempt that is under way be the last one. */
void
api_last_attempt(ApiCall *call)
{
	bool		finished = call->exchange->finished;

	http_last_attempt(call->exchange);
	if (!finished && call->exchange->finished)
		call->cut_short = true;
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

/*
 * Waits for one of some calls over the same connection, and returns its index.
 * Raises only what an interrupt raises.
 */
int
api_wait(ApiCall **calls, int ncalls)
{
	HttpExchange *exchanges[MAX_CONCURRENCY];

	Assert(ncalls <= MAX_CONCURRENCY);
	collect_exchanges(calls, ncalls, exchanges);
	return http_wait(exchanges, ncalls);
}

/* Waits where no error may be raised; returns -1 once give_up says so. */
int
api_wait_quietly(ApiCall **calls, int ncalls, bool (*give_up) (void *),
				 void *arg)
{
	HttpExchange *exchanges[MAX_CONCURRENCY];

	Assert(ncalls <= MAX_CONCURRENCY);
	collect_exchanges(calls, ncalls, exchanges);
	return http_wait_quietly(exchanges, ncalls, give_up, arg);
}

/* Whether the call has its answer, or has failed for good. */
bool
api_finished(const ApiCall *call)
{
	return call->exchange->finished;
}

/* How many attempts of the call have begun. */
int
api_attempts(const ApiCall *call)
{
	return call->exchange->attempts;
}

/* Whether a finished call has an answer, from whomever and of whatever kind. */
bool
api_answered(const ApiCall *call)
{
	return call->exchange->failure == HTTP_ANSWERED;
}

/* A header of the answer, which belongs to the call; or NULL. */
const char *
api_header(ApiCall *call, const char *name)
{
	return http_header(call->exchange, name);
}

/* A header that is a whole number, or -1 if it is missing or is not. */
int64
api_integer_header(ApiCall *call, const char *name)
{
	return integer_header(call->exchange, name);
}

/* GitLab's clock when it answered, as Unix time; -1 if it did not say. */
int64
api_date(ApiCall *call)
{
	const char *date = http_header(call->exchange, "Date");

	return date ? http_parse_date(date) : -1;
}

/* See http_link_parameter(). */
char *
api_link_parameter(ApiCall *call, const char *relation, const char *name)
{
	return http_link_parameter(call->exchange, relation, name);
}

/* How long GitLab asks us to wait, in seconds, or -1 if it doesn't say. */
int64
api_requested_wait(ApiCall *call)
{
	return requested_wait(call->exchange);
}

/* Whether the answer claims to be of this media type. */
static bool
has_media_type(HttpExchange *exchange, const char *type)
{
	const char *value = http_header(exchange, "Content-Type");
	size_t		length = strlen(type);

	return value && pg_strncasecmp(value, type, length) == 0 &&
		(value[length] == '\0' || value[length] == ';' || value[length] == ' ');
}

/* See has_media_type(). */
bool
api_has_media_type(ApiCall *call, const char *type)
{
	return has_media_type(call->exchange, type);
}

/*
 * The JSON that an answer with an error has for a body, which belongs to the call;
 * NULL if there is none.
 */
JsonRecord *
api_error_body(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	const char *problem;

	Assert(call->record == NULL);
	if (exchange->attachment == NULL && exchange->data &&
		has_media_type(exchange, "application/json"))
		exchange->attachment = body_parse(exchange->data, exchange->length,
										  &problem);
	return exchange->attachment;
}

/*
 * Reads the next elements of a list into the call's record, which begins as an
 * array without any.  False at the list's end and if there is a problem, which
 * the call's problem says.
 */
bool
api_read_elements(ApiCall *call)
{
	Assert(json_object_is_type(call->record, json_type_array) &&
		   call->list.text != NULL);
	if (!body_read(&call->list, call->record, &call->problem))
		return false;
	if (json_object_array_length(call->record) > MAX_ELEMENTS)
		call->problem = "The answer is a longer list than was asked for";
	return call->problem == NULL;
}

/*
 * Parses an answer with a status of 2xx, unless it is a list that somebody has
 * asked for: false if it can't be read.
 */
static bool
read_success(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	const char *text = exchange->data ? exchange->data : "";

	if (exchange->status == 204 && exchange->length == 0)
		return true;
	if (!has_media_type(exchange, "application/json"))
		call->problem = "The answer is not JSON";
	else if (strcmp(exchange->method, "GET") == 0 &&
			 body_is_list(text, exchange->length))
	{
		call->list.text = exchange->data;
		call->list.length = exchange->length;
		call->record = json_object_new_array();
		if (call->record == NULL)
			call->problem = body_out_of_memory;
	}
	else
	{
		call->record = body_parse(text, exchange->length, &call->problem);
		if (call->problem == NULL)
			zone_learn(call->connection, zone_of_record(call->record));
		if (call->problem == NULL &&
			!json_object_is_type(call->record, json_type_object) &&
			!json_object_is_type(call->record, json_type_array))
			call->problem = "The answer is neither a JSON object nor an array";
	}
	exchange->attachment = call->record;
	return call->problem == NULL;
}

/*
 * Reads what can be read of an answer that is odd: true if that has a secret.  Only
 * for a call that is to do so.
 */
static bool
salvage(ApiCall *call, const char *problem)
{
	HttpExchange *exchange = call->exchange;
	JsonRecord *record;

	if (!call->salvages || exchange->attachment || exchange->data == NULL ||
		exchange->status < 200 || exchange->status >= 300)
		return false;
	record = body_salvage(exchange->data, exchange->length);
	if (record_text(record, "token") == NULL)
	{
		record_free(record);
		return false;
	}
	call->problem = problem;
	call->record = exchange->attachment = record;
	return true;
}

/*
 * Whether GitLab says that the object does not exist.  A 404 that is not JSON
 * comes from a proxy or another site, which knows nothing of tokens.
 */
static bool
is_absent(HttpExchange *exchange)
{
	return exchange->status == 404 &&
		has_media_type(exchange, "application/json");
}

/*
 * The verdict on the last attempt.  A 303 tells where to look for what was done.
 */
static ApiVerdict
judge_attempt(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	int			status = exchange->status;

	if (exchange->failure != HTTP_ANSWERED || exchange->attempts == 0)
		return salvage(call, "The answer is not complete") ? API_DONE :
			exchange->sent ? API_UNKNOWN : API_NOTHING_SENT;
	if (status >= 200 && status < 300)
		return read_success(call) || salvage(call, call->problem) ?
			API_DONE : API_UNKNOWN;
	if (is_absent(exchange))
		return API_ABSENT;
	return status >= 300 && !api_leaves_open(status) && status != 303 ?
		API_REFUSED : API_UNKNOWN;
}

/*
 * The verdict on a finished call.  An attempt that was repeated may have been
 * carried out before one that was refused.  To find what was to be deleted absent
 * is as good as deleting it.  Never raises an error.
 */
ApiVerdict
api_verdict(ApiCall *call)
{
	Assert(call->exchange->finished);
	if (call->verdict == API_UNFINISHED)
	{
		call->verdict = judge_attempt(call);
		if (call->exchange->resent && changes_something(call))
			call->stray = true;
		if (call->stray &&
			(call->verdict == API_REFUSED || call->verdict == API_NOTHING_SENT ||
			 (call->verdict == API_ABSENT &&
			  strcmp(call->exchange->method, "DELETE") != 0)))
			call->verdict = API_UNKNOWN;
	}
	return call->verdict;
}

/*
 * Whether a finished call was not carried out because api_last_attempt() ended it, and
 * not because GitLab would have it so.
 */
bool
api_was_given_up(ApiCall *call)
{
	ApiVerdict	verdict = api_verdict(call);

	return call->cut_short &&
		(verdict == API_REFUSED || verdict == API_NOTHING_SENT);
}

/* Why the last attempt of a finished call was refused. */
ApiRefusal
api_refusal(const ApiCall *call)
{
	static const struct
	{
		int			status;
		ApiRefusal	refusal;
	}			refusals[] = {
		{400, REFUSAL_REQUEST}, {401, REFUSAL_CREDENTIAL},
		{403, REFUSAL_RIGHTS}, {409, REFUSAL_CONFLICT},
		{422, REFUSAL_REQUEST}, {429, REFUSAL_RATE},
	};
	HttpExchange *exchange = call->exchange;

	if (exchange->failure != HTTP_ANSWERED || exchange->status < 300 ||
		exchange->status >= 500 || is_absent(exchange))
		return REFUSAL_NONE;
	for (int i = 0; i < (int) lengthof(refusals); i++)
		if (refusals[i].status == exchange->status)
			return refusals[i].refusal;
	return REFUSAL_OTHER;
}

/* Whether the call may have created something without an answer. */
bool
api_is_lost(ApiCall *call)
{
	return !call->repeatable && api_verdict(call) == API_UNKNOWN;
}

/*
 * Whether GitLab may still carry out an attempt that was retried, whatever came of
 * the last one.
 */
bool
api_left_stray(ApiCall *call)
{
	(void) api_verdict(call);
	return call->stray;
}
