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

#include "gitlab/call.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "gitlab/option.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* First back-off in ms; doubled with each attempt, and at most the second. */
#define BACK_OFF_MS 500
#define MAX_BACK_OFF_MS 30000

/* GitLab's objects are nested five deep at the most. */
#define MAX_JSON_DEPTH 16

/* How much of GitLab's words an error repeats, in bytes. */
#define MAX_QUOTED_BYTES 512

/* GitLab's tokens are longer; shorter words stand in many a message. */
#define MIN_SECRET_LENGTH 8

bool		api_log_requests = false;

struct ApiClient
{
	Oid			serverid;
	Oid			userid;
	Connection *connection;		/* NULL before the first request */
	dlist_head	calls;			/* what goes with the client */
	bool		reloaded;		/* the credential was read anew once */
	bool		self_checked;	/* GET self was asked after a 401 */
	bool		self_works;
	ApiStatistics statistics;
	MemoryContextCallback callback;
};


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
static int64
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

/* The call goes with the client from now on, unless it is freed before. */
void
api_adopt(ApiClient *client, ApiCall *call)
{
	dlist_push_tail(&client->calls, &call->link);
	call->owned = true;
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
static bool
has_media_type(HttpExchange *exchange, const char *type)
{
	const char *value = http_header(exchange, "Content-Type");
	size_t		length = strlen(type);

	return value && pg_strncasecmp(value, type, length) == 0 &&
		(value[length] == '\0' || value[length] == ';' || value[length] == ' ');
}

/*
 * Parses a body.  Returns NULL and says in *problem what is wrong with it; the
 * literal "null" also gives NULL, without a problem.
 */
static JsonRecord *
parse_json(HttpExchange *exchange, const char **problem)
{
	struct json_tokener *tokener;
	enum json_tokener_error error;
	JsonRecord *record;
	size_t		end;

	*problem = NULL;
	if (!has_media_type(exchange, "application/json"))
	{
		*problem = "The answer is not JSON";
		return NULL;
	}

	/*
	 * json-c counts the values inside the innermost array as a level.  Its
	 * strict mode is not used: json-c 0.18 refuses all but ASCII in it.
	 */
	tokener = json_tokener_new_ex(MAX_JSON_DEPTH + 1);
	if (tokener == NULL)
	{
		*problem = "Out of memory";
		return NULL;
	}
	record = json_tokener_parse_ex(tokener, exchange->data ? exchange->data : "",
								   (int) exchange->length);
	error = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	/* the last strings that it took in, a secret maybe */
	if (tokener->pb && tokener->pb->buf)
		explicit_bzero(tokener->pb->buf, tokener->pb->size);
	json_tokener_free(tokener);
	while (end < exchange->length && exchange->data[end] != '\0' &&
		   strchr(" \t\r\n", exchange->data[end]))
		end++;
	if (error == json_tokener_error_depth)
		*problem = "The answer's JSON is nested too deeply";
	else if (error != json_tokener_success || end != exchange->length)
		*problem = "The answer is not valid JSON";
	if (*problem)
	{
		json_object_put(record);
		record = NULL;
	}
	return record;
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


/* ----------
 * What GitLab said, in words.  No errors, no allocation: see above.
 * ----------
 */

/* Appends to a buffer, cutting what does not fit. */
static void
append(char *buf, size_t size, const char *text)
{
	strlcat(buf, text, size);
}

static const char *
member_string(JsonRecord *object, const char *name)
{
	JsonRecord *value;

	if (!json_object_object_get_ex(object, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* Appends {"name": ["can't be blank"]} as "name: can't be blank", and so on. */
static void
append_flattened(char *buf, size_t size, JsonRecord *value, int depth)
{
	if (json_object_is_type(value, json_type_object) && depth < 4)
	{
		struct json_object_iterator it = json_object_iter_begin(value);
		struct json_object_iterator end = json_object_iter_end(value);

		while (!json_object_iter_equal(&it, &end))
		{
			if (buf[0] != '\0')
				append(buf, size, "; ");
			append(buf, size, json_object_iter_peek_name(&it));
			append(buf, size, ": ");
			append_flattened(buf, size, json_object_iter_peek_value(&it),
							 depth + 1);
			json_object_iter_next(&it);
		}
	}
	else if (json_object_is_type(value, json_type_array) && depth < 4)
	{
		size_t		n = json_object_array_length(value);

		for (size_t i = 0; i < n; i++)
		{
			if (i > 0)
				append(buf, size, ", ");
			append_flattened(buf, size, json_object_array_get_idx(value, i),
							 depth + 1);
		}
	}
	else if (value)
		append(buf, size, json_object_get_string(value));
}

/* GitLab's words in a JSON body, by the order of what says most. */
static void
words_of_json(JsonRecord *object, char *buf, size_t size)
{
	const char *description = member_string(object, "error_description");
	JsonRecord *value;

	if (description)
		append(buf, size, description);
	else if (json_object_object_get_ex(object, "message", &value) ||
			 json_object_object_get_ex(object, "error", &value))
		append_flattened(buf, size, value, 0);
}

/* Blanks out a secret of which the end of the text leaves the beginning. */
static void
blank_cut_secret(char *text, const char *secret)
{
	size_t		length = strlen(text);

	for (size_t n = Min(strlen(secret), length); n >= MIN_SECRET_LENGTH; n--)
	{
		if (memcmp(text + length - n, secret, n) == 0)
		{
			memset(text + length - n, '*', n);
			return;
		}
	}
}

/* Blanks out a secret wherever it stands. */
static void
blank_all(char *text, const char *secret)
{
	while ((text = strstr(text, secret)) != NULL)
	{
		memset(text, '*', strlen(secret));
		text += strlen(secret);
	}
}

/* Blanks out each run of text that begins with prefix; by bytes. */
static void
blank_tokens(char *text, const char *prefix, size_t at_least)
{
	static const char token_characters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~+/";
	size_t		length = strlen(prefix);
	char	   *found = text;

	while (length > 0 && (found = strstr(found, prefix)) != NULL)
	{
		size_t		run = length + strspn(found + length, token_characters);

		if (run >= at_least)
			memset(found, '*', run);
		found += run;
	}
}

/*
 * Makes text fit for a message: cut, without secrets, and in the database's
 * encoding, of which only ASCII is sure unless it is UTF-8.
 */
static void
sanitize(char *text, const ApiCall *call)
{
	const char *credential = call->connection->credential;
	unsigned char *in = (unsigned char *) text;
	unsigned char *out = in;
	size_t		left;

	if (strlen(credential) >= MIN_SECRET_LENGTH)
		blank_tokens(text, credential, 1);
	blank_cut_secret(text, credential);
	for (int i = 0; i < API_SECRETS && call->secrets[i]; i++)
	{
		blank_all(text, call->secrets[i]);
		blank_cut_secret(text, call->secrets[i]);
	}
	/* "glpat-" is the default prefix; others are glptt-, gldt-, glsoat-, ... */
	blank_tokens(text, "glpat-", 10);
	blank_tokens(text, "gloas-", 10);
	if (strlen(text) > MAX_QUOTED_BYTES)
		text[MAX_QUOTED_BYTES] = '\0';
	left = strlen(text);
	while (left > 0)
	{
		int			length = pg_utf_mblen(in);

		if (*in < 0x80)
		{
			*out++ = *in < ' ' || *in == 0x7f ? ' ' : *in;
			in++, left--;
		}
		else if (GetDatabaseEncoding() == PG_UTF8 && (size_t) length <= left &&
				 pg_utf8_islegal(in, length))
		{
			memmove(out, in, length);
			out += length, in += length, left -= length;
		}
		else
		{
			*out++ = '?';
			in++, left--;
		}
	}
	while (out > (unsigned char *) text && out[-1] == ' ')
		out--;
	*out = '\0';
}

/*
 * What GitLab said in an answer that is an error; empty if nothing fit to be
 * repeated.  The body of a POST that may have created something is never
 * quoted: it might hold the secret.
 */
static void
gitlab_words(ApiCall *call, char *buf, size_t size)
{
	HttpExchange *exchange = call->exchange;
	const char *problem;
	JsonRecord *object;

	buf[0] = '\0';
	if (exchange->status < 400 || call->outcome == API_LOST ||
		exchange->data == NULL)
		return;
	if (has_media_type(exchange, "text/plain"))
		strlcpy(buf, exchange->data, size);
	else
	{
		object = parse_json(exchange, &problem);
		if (object)
			words_of_json(object, buf, size);
		json_object_put(object);
	}
	sanitize(buf, call);
}

/* Why there is no answer that could be used. */
static const char *
failure_words(const ApiCall *call)
{
	switch (call->exchange->failure)
	{
		case HTTP_ANSWERED:
			return call->problem ? call->problem : "";
		case HTTP_CANNOT_CONNECT:
			return "The connection could not be made";
		case HTTP_UNTRUSTED:
			return "The server's certificate was not accepted";
		case HTTP_TLS_FAILED:
			return "TLS could not be set up";
		case HTTP_LOST:
			return "The connection was lost";
		case HTTP_TIMED_OUT:
			return "The server did not answer in time";
		case HTTP_TOO_LARGE:
			return "The answer is too large";
		case HTTP_UNREADABLE:
			return "The answer is not valid HTTP";
		case HTTP_NO_MEMORY:
			return "Out of memory";
	}
	return "";
}

/*
 * Describes a call that did not succeed in full sentences, for a message's
 * detail: why, in GitLab's words or libcurl's, and which request it was.
 */
void
api_describe(ApiCall *call, char *buf, size_t size)
{
	HttpExchange *exchange = call->exchange;
	const char *request_id = http_header(exchange, "X-Request-Id");
	const char *location = exchange->status >= 300 && exchange->status < 400 ?
		http_header(exchange, "Location") : NULL;
	char		words[2 * MAX_QUOTED_BYTES];
	char		status[64] = "";
	char		target[MAX_QUOTED_BYTES];
	char		id[80] = "";

	gitlab_words(call, words, sizeof(words));
	if (exchange->status)
		snprintf(status, sizeof(status), ", HTTP status %d", exchange->status);
	strlcpy(target, exchange->target, sizeof(target));
	if (request_id)
	{
		snprintf(id, sizeof(id), ", request ID %s", request_id);
		sanitize(id, call);
	}

	if (words[0])
		snprintf(buf, size, "GitLab said: \"%s\"", words);
	else if (failure_words(call)[0])
		strlcpy(buf, failure_words(call), size);
	else
		strlcpy(buf, "GitLab gave no reason", size);
	snprintf(buf + strlen(buf), size - strlen(buf), " (%s %s%s%s).",
			 exchange->method, target, status, id);
	if (exchange->failure != HTTP_ANSWERED && exchange->error[0])
	{
		strlcpy(words, exchange->error, sizeof(words));
		sanitize(words, call);
		snprintf(buf + strlen(buf), size - strlen(buf), " %s.", words);
	}
	if (location)
	{
		strlcpy(words, location, sizeof(words));
		sanitize(words, call);
		snprintf(buf + strlen(buf), size - strlen(buf),
				 " It redirects to \"%s\".", words);
	}
}


/* ----------
 * Errors
 * ----------
 */

/* What a status means, and what can be done about it. */
static const struct
{
	int			status;
	int			sqlstate;
	const char *hint;
}			statuses[] = {
	{400, ERRCODE_INVALID_PARAMETER_VALUE, NULL},
	{401, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Check the API token of the user mapping: it may be wrong, expired, or revoked."},
	{403, ERRCODE_INSUFFICIENT_PRIVILEGE,
	"This needs an administrator's API token with the scope \"api\", and with \"admin_mode\" where GitLab's Admin Mode is on."},
	{404, ERRCODE_UNDEFINED_OBJECT,
	"If it should be there, check the server's option \"url\"."},
	{422, ERRCODE_INVALID_PARAMETER_VALUE, NULL},
	{429, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, NULL},
};

static const struct
{
	HttpFailure failure;
	int			sqlstate;
}			failures[] = {
	{HTTP_CANNOT_CONNECT, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
	{HTTP_UNTRUSTED, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
	{HTTP_TLS_FAILED, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
	{HTTP_LOST, ERRCODE_CONNECTION_FAILURE},
	{HTTP_TIMED_OUT, ERRCODE_CONNECTION_FAILURE},
	{HTTP_TOO_LARGE, ERRCODE_PROTOCOL_VIOLATION},
	{HTTP_UNREADABLE, ERRCODE_PROTOCOL_VIOLATION},
	{HTTP_NO_MEMORY, ERRCODE_FDW_OUT_OF_MEMORY},
};

/* The SQLSTATE of a call that did not succeed. */
int
api_sqlstate(const ApiCall *call)
{
	HttpExchange *exchange = call->exchange;

	for (int i = 0; i < (int) lengthof(failures); i++)
		if (failures[i].failure == exchange->failure)
			return failures[i].sqlstate;
	for (int i = 0; i < (int) lengthof(statuses); i++)
		if (statuses[i].status == exchange->status)
			return statuses[i].sqlstate;
	if (call->outcome == API_LOST && exchange->status >= 500)
		return ERRCODE_CONNECTION_FAILURE;
	return call->problem ? ERRCODE_PROTOCOL_VIOLATION : ERRCODE_FDW_ERROR;
}

/* When a rate limit ends, by GitLab's word; NULL if it didn't say. */
static const char *
rate_limit_hint(HttpExchange *exchange)
{
	int64		wait = requested_wait(exchange);
	pg_time_t	when;
	char		buf[64];

	if (wait < 0 || wait > 366 * 24 * 3600)
		return "Try again later.";
	when = (pg_time_t) time(NULL) + wait;
	pg_strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S UTC", pg_gmtime(&when));
	return psprintf("The rate limit is reset at %s; try again then.", buf);
}

/* All that GitLab says to those who are not allowed to do something. */
#define PLAIN_REFUSAL "403 Forbidden"

/* What to do about a refusal: the scope that GitLab asks for, if it says so. */
static const char *
hint_of(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	const char *hint = NULL;

	if (exchange->failure == HTTP_TLS_FAILED)
		return "Check the server's option \"url\", where TLS 1.2 or later is needed, and the files that its options \"tls_...\" name.";
	if (exchange->failure == HTTP_UNTRUSTED)
		return "A private certificate authority can be named in the server's option \"tls_ca_file\".";
	if (exchange->failure != HTTP_ANSWERED)
		return NULL;
	if (exchange->status >= 300 && exchange->status < 400 && call->resource &&
		call->resource->container)
		return "What was moved or renamed must be named by its new path; redirects are not followed.";
	if (exchange->status >= 300 && exchange->status < 400)
		return "Redirects are not followed: set the server's option \"url\" to the final address.";
	if (exchange->status == 429)
		return rate_limit_hint(exchange);
	for (int i = 0; i < (int) lengthof(statuses); i++)
		if (statuses[i].status == exchange->status)
			hint = statuses[i].hint;
	if (exchange->status == 403 && call->resource && call->resource->role_hint)
		hint = call->resource->role_hint;
	if (exchange->status == 404 && call->resource && call->resource->container)
		hint = psprintf("Check \"%s\": GitLab says the same of what the owner of the API token may not see.",
						call->resource->container);
	/* GitLab itself says what is not there: then the URL is right */
	else if (strcmp(exchange->method, "GET") != 0 && api_is_absent(call))
		hint = NULL;
	if (exchange->status == 403)
	{
		const char *problem;
		JsonRecord *object = parse_json(exchange, &problem);
		const char *scope = member_string(object, "scope");
		char		words[2 * MAX_QUOTED_BYTES];

		gitlab_words(call, words, sizeof(words));
		if (scope)
		{
			char	   *scopes = pstrdup(scope);

			sanitize(scopes, call);
			hint = psprintf("The API token needs one of these scopes: %s.",
							scopes);
		}
		else if (strcmp(words, PLAIN_REFUSAL) != 0)
			hint = NULL;		/* GitLab has given another reason */
		json_object_put(object);
	}
	return hint;
}

pg_noreturn static void
report_with_hint(ApiCall *call, const char *action, const char *hint)
{
	char		description[API_DESCRIPTION_SIZE];

	api_describe(call, description, sizeof(description));
	ereport(ERROR,
			(errcode(api_sqlstate(call)),
			 errmsg("could not %s on server \"%s\"", action,
					call->connection->server_name),
			 errdetail("%s", description),
			 hint ? errhint("%s", hint) : 0));
}

pg_noreturn static void
report_failure(ApiCall *call, const char *action)
{
	report_with_hint(call, action, hint_of(call));
}

/*
 * Raises an error unless the finished call succeeded.  action completes the
 * sentence "could not ... on server".
 */
void
api_check(ApiCall *call, const char *action)
{
	if (api_call_judge(call) != API_SUCCEEDED)
		report_failure(call, action);
}


/* ----------
 * Clients
 * ----------
 */

static void
client_cleanup(void *arg)
{
	ApiClient  *client = arg;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &client->calls)
		api_call_free(dlist_container(ApiCall, link, iter.cur));
	if (client->connection)
		connection_release(client->connection);
}

/*
 * Opens a client in the current memory context, which it goes with, and with
 * it all its calls.  Nothing is looked up or sent before its first request.
 */
ApiClient *
api_open(Oid serverid, Oid userid)
{
	ApiClient  *client = palloc0(sizeof(ApiClient));

	client->serverid = serverid;
	client->userid = userid;
	dlist_init(&client->calls);
	client->callback.func = client_cleanup;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &client->callback);
	return client;
}

/* The client's connection, which it keeps its reference to. */
Connection *
api_connection(ApiClient *client)
{
	if (client->connection == NULL)
		client->connection = connection_get(client->serverid, client->userid);
	return client->connection;
}

/* Makes a call that belongs to a client. */
ApiCall *
api_client_call(ApiClient *client, const char *method, const char *path)
{
	ApiCall    *call = api_call_create(api_connection(client), method, path,
									   NULL);

	if (call == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	api_adopt(client, call);
	call->statistics = &client->statistics;
	return call;
}

/* What the client's calls came to so far; streams add to it. */
ApiStatistics *
api_statistics(ApiClient *client)
{
	return &client->statistics;
}

/*
 * Reads a credential anew that was refused with 401, for another session may
 * have rotated it.  Returns the new connection, with a reference, or NULL if
 * nothing has changed.
 */
Connection *
api_reload(Connection *connection, Oid userid)
{
	Connection *current;

	AcceptInvalidationMessages();
	current = connection_get(connection->serverid, userid);
	if (strcmp(current->credential, connection->credential) != 0)
		return current;
	connection_release(current);
	return NULL;
}

/* Has the finished call met a credential that was rotated meanwhile? */
bool
api_credential_renewed(ApiClient *client, ApiCall *call)
{
	Connection *current;

	if (call->exchange->failure != HTTP_ANSWERED ||
		call->exchange->status != 401 || !call->repeatable)
		return false;
	/* another call of this client may have found out already */
	if (call->connection != client->connection)
		return true;
	if (client->reloaded)
		return false;
	client->reloaded = true;
	current = api_reload(call->connection, client->userid);
	if (current == NULL)
		return false;
	connection_release(client->connection);
	client->connection = current;
	return true;
}

/*
 * Sends a GET and waits for its answer, whatever that is; again with a new
 * credential if the one in use was rotated meanwhile.
 */
static ApiCall *
client_get(ApiClient *client, const char *path)
{
	for (;;)
	{
		ApiCall    *call = api_client_call(client, "GET", path);

		api_call_start(call);
		api_wait(&call, 1);
		if (!api_credential_renewed(client, call))
			return call;
		api_call_free(call);
	}
}

/*
 * Asks GitLab, once a statement, whether the credential itself is good: 401
 * says that it is not, and what comes after authentication that it is.  All
 * else tells nothing, and is an error.
 */
static bool
self_works(ApiClient *client)
{
	if (!client->self_checked)
	{
		ApiCall    *call = client_get(client, "/personal_access_tokens/self");
		int			status = call->exchange->status;

		if (api_call_judge(call) != API_REFUSED ||
			(status != 400 && status != 401 && status != 403))
			api_check(call, "look up the API token in use");
		client->self_works = status != 401;
		client->self_checked = true;
		api_call_free(call);
	}
	return client->self_works;
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

/*
 * Does the answer mean that the thing asked for is not there?  To all but
 * administrators GitLab says 401 about the tokens of others, as it does about
 * a credential that is no good; GET self tells these apart.
 */
bool
api_means_absent(ApiClient *client, ApiCall *call)
{
	if (call->exchange->failure != HTTP_ANSWERED)
		return false;
	return api_is_absent(call) ||
		(call->exchange->status == 401 && self_works(client));
}

/*
 * Sends a GET and waits for its answer: a call of the client's, or NULL if
 * what was asked for is not there and that is no error.
 */
ApiCall *
api_get(ApiClient *client, const char *path, bool absent_ok, const char *action)
{
	ApiCall    *call = client_get(client, path);

	if (absent_ok && api_call_judge(call) == API_REFUSED &&
		api_means_absent(client, call))
	{
		api_call_free(call);
		return NULL;
	}
	api_check(call, action);
	if (!json_object_is_type(call->record, json_type_object))
	{
		call->problem = "The answer is not a JSON object";
		report_failure(call, action);
	}
	return call;
}

/* The credential in use, as GitLab sees it. */
ApiCall *
api_get_self(ApiClient *client)
{
	static const char action[] = "look up the API token in use";
	ApiCall    *call = api_get(client, "/personal_access_tokens/self", false,
							   action);
	int64		id;

	if (!resource_id(call->record, &id))
	{
		call->problem = "The answer has no valid field \"id\"";
		report_failure(call, action);
	}
	return call;
}

/*
 * Learns which token the credential is, and whose; GitLab is asked once per
 * connection.  A credential that is no personal access token (but an OAuth
 * token, say, which gets a 400) is none of the table's.
 */
static void
learn_self(ApiClient *client)
{
	static const char action[] = "look up the API token in use";
	Connection *connection;
	ApiCall    *call;

	if (api_connection(client)->self != SELF_UNKNOWN)
		return;
	call = client_get(client, "/personal_access_tokens/self");
	connection = call->connection;
	if (api_call_judge(call) == API_REFUSED && call->exchange->status == 400)
	{
		api_call_free(call);
		call = api_get(client, "/user", false, "look up the current user");
		if (!resource_integer(call->record, "id", &connection->self_user_id))
		{
			call->problem = "The answer has no valid field \"id\"";
			report_failure(call, "look up the current user");
		}
		connection->self = SELF_IS_NO_TOKEN;
	}
	else
	{
		api_check(call, action);
		if (!resource_id(call->record, &connection->self_id) ||
			!resource_integer(call->record, "user_id",
							  &connection->self_user_id))
		{
			call->problem = "The answer lacks a valid field \"id\" or \"user_id\"";
			report_failure(call, action);
		}
		connection->self = SELF_IS_TOKEN;
	}
	api_call_free(call);
}

/* Is this token the credential in use? */
bool
api_is_self(ApiClient *client, int64 id)
{
	learn_self(client);
	return api_connection(client)->self == SELF_IS_TOKEN &&
		api_connection(client)->self_id == id;
}

/* The user whom the credential in use belongs to. */
int64
api_own_user_id(ApiClient *client)
{
	learn_self(client);
	return api_connection(client)->self_user_id;
}

/*
 * Asks GitLab for its version.  If it refuses to say, because something in
 * between or the token's scope does not let it, the declaration is all there is,
 * and taken at its word.  Any other failure is an error.
 */
static int
ask_version(ApiClient *client, int declared)
{
	static const char action[] = "read GitLab's version";
	ApiCall    *call = client_get(client, "/metadata");
	int			version = 0;

	if (api_is_absent(call))	/* before GitLab 15.2 */
	{
		api_call_free(call);
		call = client_get(client, "/version");
	}
	if (api_call_judge(call) == API_SUCCEEDED)
	{
		version = option_version(member_string(call->record, "version"));
		if (version == 0)
			call->problem = "The answer has no valid field \"version\"";
	}
	else if (api_is_absent(call) || (call->outcome == API_REFUSED &&
									 call->exchange->status == 403))
		version = declared;
	if (version == 0)
	{
		HttpExchange *exchange = call->exchange;

		if (exchange->failure != HTTP_ANSWERED || exchange->status == 401 ||
			exchange->status == 429)
			report_failure(call, action);
		report_with_hint(call, action,
						 psprintf("If no version is declared, none is needed: ALTER SERVER %s VERSION NULL.",
								  quote_identifier(call->connection->server_name)));
	}
	call->connection->version = version;
	api_call_free(call);
	return version;
}

/*
 * Raises an error if GitLab is older than it is declared to be, before anything
 * is asked for that an older one would answer wrongly.  GitLab is asked once
 * per connection.
 */
void
api_require_version(ApiClient *client, int version)
{
	int			actual = api_connection(client)->version;

	if (actual < version)
		actual = ask_version(client, version);
	if (actual < version)
	{
		const char *name = api_connection(client)->server_name;

		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("server \"%s\" is declared to have GitLab %d.%d, but has %d.%d",
						name, version / 100, version % 100, actual / 100,
						actual % 100),
				 errhint("Declare the version that it has: ALTER SERVER %s VERSION '%d.%d'.",
						 quote_identifier(name), actual / 100, actual % 100)));
	}
}
