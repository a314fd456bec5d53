/*-------------------------------------------------------------------------
 *
 * words.c
 *	  GitLab's words, and ours for them: messages, SQLSTATEs and hints.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "gitlab/body.h"
#include "gitlab/call.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "gitlab/text.h"
#include "gitlab/words.h"
#include "http/exchange.h"
#include "http/request.h"
#include "mb/pg_wchar.h"

/* How much of GitLab's words an error repeats, in bytes. */
#define MAX_QUOTED_BYTES 512


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

const char *
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

void
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

void
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
