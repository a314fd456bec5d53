/*-------------------------------------------------------------------------
 *
 * api.c
 *	  GitLab's REST API: requests, paging, retries and rate limits.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "api.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "jsonc.h"
#include "lib/integerset.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* First back-off in ms; doubled with each attempt, and at most the second. */
#define BACK_OFF_MS 500
#define MAX_BACK_OFF_MS 30000

/* GitLab's objects are nested five deep at the most. */
#define MAX_JSON_DEPTH 16

/* How much of GitLab's words an error repeats, in bytes. */
#define MAX_QUOTED_BYTES 512

/* A scan whose pages bring no new id this often running would never end. */
#define MAX_BARREN_PAGES 3

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

	return when - (now == -1 ? (int64) time(NULL) : now);
}

/* How long the server asks us to wait, in seconds, or -1 if it doesn't say. */
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

/* The policy of all exchanges: count, log, and decide about a retry. */
static int
after_attempt(HttpExchange *exchange)
{
	ApiCall    *call = exchange->owner;
	Connection *connection = call->connection;
	int64		wait;

	count_attempt(connection->counters, exchange);
	if (call->statistics)
	{
		call->statistics->requests++;
		call->statistics->retries += exchange->attempts > 1;
		call->statistics->bytes += exchange->length;
		call->statistics->wait_usecs += exchange->duration;
	}
	if (api_log_requests)
		/* not to the client, whose encoding may lack a character */
		ereport(LOG_SERVER_ONLY,
				(errmsg("GitLab request: %s %s on server \"%s\", status %d, %lld ms, %zu bytes, attempt %d",
						exchange->method, exchange->target,
						connection->server_name, exchange->status,
						(long long) exchange->duration / 1000,
						exchange->length, exchange->attempts),
				 errhidestmt(true), errhidecontext(true)));

	/*
	 * A cursor may have slept for so long that the server gave up.  That is no
	 * fault of the server's, so it doesn't count as a retry.
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


/* ----------
 * Calls
 * ----------
 */

/*
 * Frees a record, and wipes the secret that the answer to a creation holds.
 * json-c gives no other access to a string's memory than this.
 */
static void
free_record(void *record)
{
	JsonRecord *secret;

	if (json_object_is_type(record, json_type_object) &&
		json_object_object_get_ex(record, "token", &secret) &&
		json_object_is_type(secret, json_type_string))
		explicit_bzero(unconstify(char *, json_object_get_string(secret)),
					   json_object_get_string_len(secret));
	json_object_put(record);
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
	call->exchange->attachment_free = free_record;
	/* a POST without a body would bypass the check against resending */
	if (body || !call->repeatable)
		http_set_body(call->exchange, body ? body : "{}");
	return call;
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
		call->judged = true;
	}
	return call->outcome;
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
sanitize(char *text, const char *credential)
{
	unsigned char *in = (unsigned char *) text;
	unsigned char *out = in;
	size_t		left;

	if (strlen(credential) >= MIN_SECRET_LENGTH)
		blank_tokens(text, credential, 1);
	blank_cut_secret(text, credential);
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
	sanitize(buf, call->connection->credential);
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
		case HTTP_TLS_FAILED:
			return "The server's certificate was not accepted";
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
		sanitize(id, call->connection->credential);
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
		sanitize(words, call->connection->credential);
		snprintf(buf + strlen(buf), size - strlen(buf), " %s.", words);
	}
	if (location)
	{
		strlcpy(words, location, sizeof(words));
		sanitize(words, call->connection->credential);
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
		return "A private certificate authority can be named in the server's option \"tls_ca_file\".";
	if (exchange->failure != HTTP_ANSWERED)
		return NULL;
	if (exchange->status >= 300 && exchange->status < 400)
		return "Redirects are not followed: set the server's option \"url\" to the final address.";
	if (exchange->status == 429)
		return rate_limit_hint(exchange);
	for (int i = 0; i < (int) lengthof(statuses); i++)
		if (statuses[i].status == exchange->status)
			hint = statuses[i].hint;
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

			sanitize(scopes, call->connection->credential);
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
report_failure(ApiCall *call, const char *action)
{
	char		description[API_DESCRIPTION_SIZE];
	const char *hint = hint_of(call);

	api_describe(call, description, sizeof(description));
	ereport(ERROR,
			(errcode(api_sqlstate(call)),
			 errmsg("could not %s on server \"%s\"", action,
					call->connection->server_name),
			 errdetail("%s", description),
			 hint ? errhint("%s", hint) : 0));
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
static ApiCall *
client_call(ApiClient *client, const char *method, const char *path)
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

/* What the client's calls came to so far. */
const ApiStatistics *
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
static bool
credential_renewed(ApiClient *client, ApiCall *call)
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
		ApiCall    *call = client_call(client, "GET", path);

		api_call_start(call);
		api_wait(&call, 1);
		if (!credential_renewed(client, call))
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
static bool
means_absent(ApiClient *client, ApiCall *call)
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
		means_absent(client, call))
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


/* ----------
 * Streams
 *
 * A stream is a sequence of steps, each one request: a page of a listing, or
 * the lookup of one id.  The first step is taken alone; when more than it
 * brings is asked for, up to `concurrency` steps are under way at a time.
 * Their records are delivered in the order of the steps.
 *
 * A listing by offsets is read while others create, use and revoke objects.
 * No id is delivered twice.  Pages after the first are limited to what had been
 * created when that was answered, and what was created within that second is
 * asked for apart, by the stream `late`.  When rows leave the selection or
 * enter it, later ones slide to other pages; then the total changes, and the
 * listing is read again, for what slid past.
 * ----------
 */

/* How often a listing is read again before the scan gives up. */
#define MAX_PASSES 4

typedef enum StreamKind
{
	STREAM_PAGES,				/* offset paging */
	STREAM_KEYSET,				/* each page names the next one */
	STREAM_LOOKUPS				/* one id a step */
} StreamKind;

/* The ids that were delivered. */
typedef struct SeenIds
{
	IntegerSet *ascending;		/* those that came in ascending order */
	uint64		highest;
	HTAB	   *stragglers;		/* the others, or NULL */
	MemoryContext context;
} SeenIds;

struct ApiStream
{
	ApiClient  *client;
	const Resource *resource;
	StreamKind	kind;
	MemoryContext context;
	ApiListing	listing;
	int			concurrency;
	int64	   *ids;			/* of lookups */
	const char *action;			/* for messages */
	SeenIds    *seen;

	/* steps are numbered from 1 */
	int64		current;		/* the step being delivered, 0: none yet */
	int64		sent;			/* the last step that was sent */
	int64		last;			/* the last step there is, or -1 if unknown */
	bool		ended;			/* there is no step after the current one */
	ApiCall   **window;			/* by step modulo concurrency + 1 */
	char	   *cursor;			/* of the next page, by keyset */
	bool		fitted;			/* the first page is smaller than the others */

	/* noticing changes */
	char	   *frozen_at;		/* pages after the first were created by then */
	int			pass;			/* the listing is being read for this time */
	bool		restarted;		/* not all that was delivered came since */
	int64		total;			/* as the pages of this pass said, or -1 */
	bool		slid;			/* they did not agree */
	bool		brought_new;	/* this pass delivered something */
	int64		least;			/* and most: the totals of all passes */
	int64		most;
	ApiStream  *late;			/* created within the first answer's second */
	bool		is_late;
	char	   *answered_by;	/* of a list in another order than that of ids:
								 * what is younger came after the first answer */
	char	   *previous_key;	/* for checking the order */

	/* the records of the current step */
	MemoryContext step_context;
	JsonRecord **records;
	int			nrecords;
	int			next_record;
	int			barren;			/* pages running that brought nothing new */
};

static ApiStream *
stream_create(ApiClient *client, const Resource *resource, StreamKind kind,
			  int concurrency)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab records",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	ApiStream  *stream = palloc0(sizeof(ApiStream));

	stream->client = client;
	stream->resource = resource;
	stream->kind = kind;
	stream->context = context;
	stream->concurrency = concurrency;
	stream->window = palloc0(sizeof(ApiCall *) * (concurrency + 1));
	stream->last = -1;
	stream->pass = 1;
	stream->total = -1;
	stream->least = PG_INT64_MAX;
	stream->action = psprintf("read %s", resource->plural);
	stream->step_context = AllocSetContextCreate(context, "GitLab page",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(saved);
	return stream;
}

/*
 * Starts reading a collection.  The listing is copied, but for its parameters,
 * which must live as long as the stream.  The stream belongs to the current
 * memory context, which must not outlive the client's.
 */
ApiStream *
api_list(ApiClient *client, const Resource *resource, const ApiListing *listing)
{
	ApiStream  *stream = stream_create(client, resource, resource->keyset ?
									   STREAM_KEYSET : STREAM_PAGES,
									   listing->concurrency);
	MemoryContext saved = MemoryContextSwitchTo(stream->context);

	stream->listing = *listing;
	stream->fitted = stream->kind == STREAM_PAGES &&
		listing->first_page_size > 0 &&
		listing->first_page_size < listing->page_size;
	stream->seen = palloc0(sizeof(SeenIds));
	stream->seen->context = stream->context;
	stream->seen->ascending = intset_create();
	MemoryContextSwitchTo(saved);
	return stream;
}

/* Starts looking up some ids, which must be distinct; they are copied. */
ApiStream *
api_lookup(ApiClient *client, const Resource *resource, const int64 *ids,
		   int nids, int concurrency)
{
	ApiStream  *stream = stream_create(client, resource, STREAM_LOOKUPS,
									   concurrency);

	stream->ids = MemoryContextAlloc(stream->context,
									 sizeof(int64) * Max(nids, 1));
	if (nids > 0)
		memcpy(stream->ids, ids, sizeof(int64) * nids);
	stream->last = nids;
	return stream;
}

static int
page_size(const ApiStream *stream)
{
	return stream->fitted ? stream->listing.first_page_size :
		stream->listing.page_size;
}

/*
 * Adds the listing's parameters, and limits pages after the first to what had
 * been created when that was answered.
 */
static void
add_parameters(ApiStream *stream, ApiCall *call, bool frozen)
{
	const char *limit = frozen ? stream->resource->created_before : NULL;
	ListCell   *lc;

	foreach(lc, stream->listing.parameters)
	{
		ApiParameter *parameter = lfirst(lc);
		const char *value = parameter->value;

		if (limit && strcmp(parameter->name, limit) == 0)
		{
			/* both have the same form, whose order is that of time */
			if (strcmp(stream->frozen_at, value) < 0)
				value = stream->frozen_at;
			limit = NULL;
		}
		http_add_parameter(call->exchange, parameter->name, value);
	}
	if (limit)
		http_add_parameter(call->exchange, limit, stream->frozen_at);
	for (const ResourceParameter *p = stream->resource->list_parameters; p->name; p++)
		http_add_parameter(call->exchange, p->name, p->value);
}

static ApiCall *
step_call(ApiStream *stream, int64 step)
{
	const Resource *resource = stream->resource;
	char		path[128];
	char		number[32];
	ApiCall    *call;

	if (stream->kind == STREAM_LOOKUPS)
	{
		snprintf(path, sizeof(path), "%s/" INT64_FORMAT, resource->path,
				 stream->ids[step - 1]);
		return client_call(stream->client, "GET", path);
	}

	call = client_call(stream->client, "GET", resource->path);
	add_parameters(stream, call, stream->frozen_at != NULL);
	snprintf(number, sizeof(number), "%d", page_size(stream));
	http_add_parameter(call->exchange, "per_page", number);
	if (stream->kind == STREAM_PAGES)
	{
		snprintf(number, sizeof(number), INT64_FORMAT, step);
		http_add_parameter(call->exchange, "page", number);
	}
	else if (stream->cursor)
		http_add_parameter(call->exchange, "cursor", stream->cursor);
	return call;
}

static ApiCall **
step_slot(ApiStream *stream, int64 step)
{
	return &stream->window[step % (stream->concurrency + 1)];
}

/* Sends a step's request, and remembers it in the window. */
static void
send_step(ApiStream *stream, int64 step)
{
	ApiCall    *call = step_call(stream, step);

	*step_slot(stream, step) = call;
	api_call_start(call);
	stream->sent = Max(stream->sent, step);
}

static void
free_step(ApiStream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	if (*slot)
		api_call_free(*slot);
	*slot = NULL;
}

/*
 * The stream of what was created within the second of the first answer, or
 * after it.
 */
static ApiStream *
late_stream(ApiStream *stream)
{
	MemoryContext saved = MemoryContextSwitchTo(stream->context);
	const char *name = stream->resource->created_after;
	ApiParameter *since = palloc(sizeof(ApiParameter));
	ApiListing	listing = stream->listing;
	ApiStream  *late;
	ListCell   *lc;

	since->name = name;
	since->value = stream->frozen_at;
	listing.parameters = NIL;
	listing.first_page_size = 0;
	foreach(lc, stream->listing.parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		if (strcmp(parameter->name, name) != 0)
			listing.parameters = lappend(listing.parameters, parameter);
		else if (strcmp(parameter->value, since->value) > 0)
			since->value = parameter->value;
	}
	listing.parameters = lappend(listing.parameters, since);
	late = api_list(stream->client, stream->resource, &listing);
	late->seen = stream->seen;
	late->is_late = true;
	/* the buffer: it holds the last key of the pages when late is read */
	late->previous_key = stream->previous_key;
	MemoryContextSwitchTo(saved);
	return late;
}

/* Sends the requests that are to be under way while `step` is waited for. */
static void
send_ahead(ApiStream *stream, int64 step)
{
	int64		until = step;

	/* nobody knows yet whether more than the first page will be asked for */
	if (stream->kind == STREAM_LOOKUPS ||
		(stream->kind == STREAM_PAGES && step > 1))
		until = step + stream->concurrency - 1;
	if (stream->last >= 0)
		until = Max(Min(until, stream->last), step);
	for (int64 i = stream->sent + 1; i <= until; i++)
		send_step(stream, i);

	/* what is created meanwhile is asked for as soon as there is room */
	if (stream->late && stream->late->sent == 0 &&
		stream->sent - step + 1 < stream->concurrency)
		send_step(stream->late, 1);
}

/*
 * Sends the first request of a stream that will be read later.
 */
void
api_prefetch(ApiStream *stream)
{
	if (stream->sent == 0 && (stream->last < 0 || stream->last > 0))
		send_step(stream, 1);
}

/* Waits for a step's answer; with a new credential if there is one. */
static ApiCall *
finish_step(ApiStream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	for (;;)
	{
		api_wait(slot, 1);
		if (!credential_renewed(stream->client, *slot))
			return *slot;
		free_step(stream, step);
		send_step(stream, step);
	}
}

/* Is this id new to the stream? */
static bool
is_new(SeenIds *seen, int64 id)
{
	bool		found;

	if ((uint64) id > seen->highest)
	{
		intset_add_member(seen->ascending, id);
		seen->highest = id;
		return true;
	}
	if (intset_is_member(seen->ascending, id))
		return false;
	if (seen->stragglers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(int64),
			.hcxt = seen->context
		};

		seen->stragglers = hash_create("GitLab ids", 256, &ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(seen->stragglers, &id, HASH_ENTER, &found);
	return !found;
}

pg_noreturn static void
refuse_answer(ApiStream *stream, ApiCall *call, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not %s on server \"%s\"", stream->action,
					call->connection->server_name),
			 errdetail("%s (%s %s).", detail, call->exchange->method,
					   call->exchange->target)));
}

pg_noreturn static void
refuse_changes(ApiStream *stream, ApiCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not %s on server \"%s\" because of concurrent changes",
					stream->action, call->connection->server_name),
			 errdetail("Rows moved between the pages of the list while it was read."),
			 errhint("The transaction might succeed if retried.")));
}

/* Was the record certainly created after the list was first answered? */
static bool
is_younger(const ApiStream *stream, JsonRecord *record)
{
	const char *created_at = member_string(record, "created_at");
	size_t		length = created_at ? strlen(created_at) : 0;

	/* both in UTC and of the same form, whose order is that of time */
	return stream->answered_by && length == strlen(stream->answered_by) &&
		created_at[length - 1] == 'Z' &&
		strcmp(created_at, stream->answered_by) >= 0;
}

/*
 * Checks that a record belongs after the one before, if the scan has promised
 * an order.  Ids are compared as numbers, dates in their ISO form as strings;
 * null is above all.  False if the record has come too late for its place but
 * need not be returned, since it was created while the scan went on.
 */
static bool
check_order(ApiStream *stream, ApiCall *call, JsonRecord *record)
{
	const char *field = stream->listing.order_by;
	JsonRecord *value;
	const char *text;
	int64		id;
	char		key[64];
	int			comparison;

	if (field == NULL)
		return true;
	if (resource_integer(record, field, &id))
		snprintf(key, sizeof(key), "0%020lld", (long long) id);
	else if (json_object_object_get_ex(record, field, &value) && value)
	{
		text = json_object_get_string(value);
		snprintf(key, sizeof(key), "0%s", text);
	}
	else
		strlcpy(key, "1", sizeof(key));
	comparison = stream->previous_key ? strcmp(stream->previous_key, key) : 0;
	if (stream->listing.descending ? comparison < 0 : comparison > 0)
	{
		if (is_younger(stream, record))
			return false;
		if (stream->restarted || stream->is_late)
			refuse_changes(stream, call);
		refuse_answer(stream, call,
					  "The answer is not in the order that was asked for");
	}
	if (stream->previous_key == NULL)
		stream->previous_key = MemoryContextAlloc(stream->context, sizeof(key));
	strcpy(stream->previous_key, key);
	return true;
}

/* Takes the records of a page that have not come before. */
static void
take_page(ApiStream *stream, ApiCall *call)
{
	size_t		n;
	int64		patience = MAX_BARREN_PAGES;

	if (!json_object_is_type(call->record, json_type_array))
		refuse_answer(stream, call, "The answer is not a JSON array");
	n = json_object_array_length(call->record);
	stream->records = palloc(sizeof(JsonRecord *) * Max(n, 1));
	for (size_t i = 0; i < n; i++)
	{
		JsonRecord *record = json_object_array_get_idx(call->record, i);
		int64		id;

		if (!resource_id(record, &id))
			refuse_answer(stream, call,
						  "An element of the answer has no valid field \"id\"");
		if (!is_new(stream->seen, id) || !check_order(stream, call, record))
			continue;
		stream->records[stream->nrecords++] = record;
	}
	if (n == 0)
		stream->ended = true;
	if (stream->nrecords > 0)
		stream->brought_new = true;
	stream->barren = stream->nrecords > 0 ? 0 : stream->barren + 1;

	/* reading again is expected to bring nothing, but not without an end */
	if (stream->pass > 1)
		patience += Max(stream->last, 100);
	if (stream->barren < patience || stream->ended)
		return;
	if (!stream->is_late)
		refuse_answer(stream, call, "The pages of the list repeat themselves");
	stream->ended = true;		/* a server that doesn't know created_after */
}

/* Takes the record that a lookup brought. */
static void
take_object(ApiStream *stream, ApiCall *call, int64 wanted)
{
	int64		id;

	if (!resource_id(call->record, &id) || id != wanted)
		refuse_answer(stream, call,
					  "The answer is not an object with the \"id\" that was asked for");
	stream->records = palloc(sizeof(JsonRecord *));
	stream->records[stream->nrecords++] = call->record;
}

/*
 * When the first page was answered, and some seconds later, in the form of a
 * parameter; or NULL.
 */
static char *
answer_time(ApiStream *stream, ApiCall *call, int seconds)
{
	const char *date = http_header(call->exchange, "Date");
	pg_time_t	when = date ? (pg_time_t) http_parse_date(date) : -1;
	char		buf[64];

	if (when < 0)
		return NULL;
	when += seconds;
	pg_strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S.000Z", pg_gmtime(&when));
	return MemoryContextStrdup(stream->context, buf);
}

/* Learns from a page's headers whether rows slid while the list was read. */
static void
learn_changes(ApiStream *stream, ApiCall *call)
{
	int64		total = integer_header(call->exchange, "X-Total");

	if (total >= 0 && stream->total >= 0 && total != stream->total)
		stream->slid = true;
	if (total >= 0)
	{
		stream->total = total;
		stream->least = Min(stream->least, total);
		stream->most = Max(stream->most, total);
	}
	if (stream->resource->created_before == NULL || stream->is_late ||
		stream->frozen_at || stream->answered_by || stream->fitted ||
		stream->ended)
		return;

	/*
	 * What is created meanwhile has the highest ids, so that it can be asked
	 * for apart.  In another order it may belong anywhere: there the pages are
	 * left as they are, for new rows push others to later pages, and push none
	 * out of sight.
	 */
	if (stream->listing.order_by && strcmp(stream->listing.order_by, "id") != 0)
		stream->answered_by = answer_time(stream, call, 1);
	else
	{
		stream->frozen_at = answer_time(stream, call, 0);
		if (stream->frozen_at)
			stream->late = late_stream(stream);
	}
}

/* Learns from a page's headers which pages follow. */
static void
learn_paging(ApiStream *stream, ApiCall *call)
{
	const char *next = http_header(call->exchange, "X-Next-Page");
	int64		pages;

	if (stream->kind == STREAM_KEYSET)
	{
		const char *link = http_header(call->exchange, "X-Next-Cursor");
		char	   *cursor = link && link[0] ? pstrdup(link) :
			http_link_parameter(call->exchange, "next", "cursor");

		if (cursor)
		{
			stream->cursor = MemoryContextStrdup(stream->context, cursor);
			if (stream->current > 1)
				send_step(stream, stream->current + 1);
			return;
		}
		/* a server that knows no keyset here answers by offset */
		if (next && next[0])
			stream->kind = STREAM_PAGES;
		else
		{
			stream->ended = true;
			return;
		}
	}
	pages = integer_header(call->exchange, "X-Total-Pages");
	if (pages > 0)
		stream->last = pages;

	/*
	 * An empty header says that this is the last page.  If a proxy has removed
	 * the headers, a page that is not full does.
	 */
	if (next == NULL ? (pages > 0 ? stream->current >= pages :
						json_object_array_length(call->record) < (size_t) page_size(stream)) :
		next[0] == '\0')
		stream->ended = true;
	learn_changes(stream, call);
}

/* Forgets all steps, to read the listing from its beginning. */
static void
restart(ApiStream *stream)
{
	for (int i = 0; i <= stream->concurrency; i++)
		free_step(stream, i);
	stream->restarted = true;
	stream->current = stream->sent = 0;
	stream->last = -1;
	stream->ended = false;
	stream->total = -1;
	stream->slid = false;
	stream->brought_new = false;
	stream->barren = 0;
}

/*
 * The steps of a listing are at their end.  True if it has to be read again,
 * because rows slid past.  A row can slide past two readings only if it moves by
 * more than a page.
 */
static bool
must_read_again(ApiStream *stream)
{
	if (stream->kind != STREAM_PAGES || stream->is_late || !stream->slid)
		return false;
	if (stream->pass > 1 && !stream->brought_new &&
		stream->most - stream->least <= page_size(stream))
		return false;
	if (stream->pass == MAX_PASSES)
		refuse_changes(stream, *step_slot(stream, stream->current));
	restart(stream);
	stream->pass++;
	return true;
}

/* Has a listing that began with a small page to begin anew? */
static bool
must_unfit(ApiStream *stream)
{
	if (!stream->fitted || stream->current == 0 || stream->ended)
		return false;
	restart(stream);
	stream->fitted = false;
	return true;
}

/*
 * Can a refusal mean that there is nothing, rather than that something is
 * wrong?  That is so for a lookup, and for the beginning of a listing for an
 * owner who may not exist.
 */
static bool
may_be_absent(const ApiStream *stream, int64 step)
{
	ListCell   *lc;

	if (stream->kind == STREAM_LOOKUPS)
		return true;
	if (step > 1 || stream->resource->owner_parameter == NULL)
		return false;
	foreach(lc, stream->listing.parameters)
		if (strcmp(((ApiParameter *) lfirst(lc))->name,
				   stream->resource->owner_parameter) == 0)
			return true;
	return false;
}

/* Makes the records of the next step current.  False: there is none. */
static bool
next_step(ApiStream *stream)
{
	int64		step;
	MemoryContext saved;
	ApiCall    *call;

	/* at the end the records stay, for api_rewind() */
	if (stream->kind == STREAM_LOOKUPS ? stream->current == stream->last :
		(stream->ended && !must_read_again(stream)))
		return false;
	stream->nrecords = stream->next_record = 0;
	(void) must_unfit(stream);
	if (stream->current > 0)
		free_step(stream, stream->current);
	MemoryContextReset(stream->step_context);
	stream->records = NULL;
	stream->current = step = stream->current + 1;

	send_ahead(stream, step);
	call = finish_step(stream, step);
	saved = MemoryContextSwitchTo(stream->step_context);
	if (api_call_judge(call) == API_REFUSED && may_be_absent(stream, step) &&
		means_absent(stream->client, call))
		stream->ended = stream->kind != STREAM_LOOKUPS;
	else
	{
		api_check(call, stream->action);
		if (stream->kind == STREAM_LOOKUPS)
			take_object(stream, call, stream->ids[step - 1]);
		else
		{
			take_page(stream, call);
			learn_paging(stream, call);
		}
	}
	MemoryContextSwitchTo(saved);
	stream->client->statistics.pages++;
	return true;
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL
 * at the end.  Raises the errors of failed requests.
 */
JsonRecord *
api_next(ApiStream *stream)
{
	while (stream->next_record >= stream->nrecords)
	{
		if (next_step(stream))
			continue;
		if (stream->late)
		{
			JsonRecord *record = api_next(stream->late);

			if (record)
				return record;
		}
		return NULL;
	}
	stream->client->statistics.rows++;
	return stream->records[stream->next_record++];
}

/*
 * Starts again with what is at hand, without a request.  False, and nothing
 * done, if that is not all that was delivered.
 */
bool
api_rewind(ApiStream *stream)
{
	if (stream->current > 1 || stream->restarted)
		return false;
	stream->next_record = 0;
	return true;
}

/* Ends a stream and what it has under way. */
void
api_end(ApiStream *stream)
{
	if (stream->late)
		for (int i = 0; i <= stream->late->concurrency; i++)
			free_step(stream->late, i);
	for (int i = 0; i <= stream->concurrency; i++)
		free_step(stream, i);
	MemoryContextDelete(stream->context);
}

/*
 * How many objects a listing with these parameters has, by one request; -1 if
 * GitLab does not say, as above 10,000.
 */
int64
api_total(ApiClient *client, const Resource *resource, List *parameters)
{
	ApiListing	listing = {.parameters = parameters, .page_size = 1,
		.concurrency = 1
	};
	ApiStream  *stream = api_list(client, resource, &listing);
	ApiCall    *call;
	int64		total = 0;

	send_step(stream, 1);
	call = finish_step(stream, 1);
	if (api_call_judge(call) != API_REFUSED || !may_be_absent(stream, 1) ||
		!means_absent(client, call))
	{
		api_check(call, stream->action);
		if (!json_object_is_type(call->record, json_type_array))
			refuse_answer(stream, call, "The answer is not a JSON array");
		total = integer_header(call->exchange, "X-Total");
	}
	api_end(stream);
	return total;
}
