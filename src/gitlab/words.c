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

#include "compat.h"
#include "gitlab/body.h"
#include "gitlab/jsonc.h"
#include "gitlab/text.h"
#include "gitlab/words.h"
#include "http/engine.h"
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

/* Makes text fit for a message about a call. */
static void
sanitize(char *text, const ApiCall *call)
{
	api_clean(call, text, MAX_QUOTED_BYTES);
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

	buf[0] = '\0';
	if (exchange->status < 400 || api_is_lost(call) ||
		exchange->data == NULL)
		return;
	if (api_has_media_type(call, "text/plain"))
		strlcpy(buf, exchange->data, size);
	else
		words_of_json(api_error_body(call), buf, size);
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
		case HTTP_NO_DESCRIPTORS:
			return "There are too many open files on the database server";
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
	sanitize(target, call);
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
	text_clip(buf);
}


/* ----------
 * Errors
 * ----------
 */

/*
 * Whether GitLab says that the credential is a fine-grained token without the
 * permission that a request needs.
 */
bool
api_lacks_permission(ApiCall *call)
{
	const char *error;

	if (api_refusal(call) != REFUSAL_RIGHTS)
		return false;
	error = member_string(api_error_body(call), "error");
	return error && strcmp(error, "insufficient_granular_scope") == 0;
}

/* The SQLSTATE and the hint for a status. */
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
	{HTTP_NO_MEMORY, ERRCODE_OUT_OF_MEMORY},
	{HTTP_NO_DESCRIPTORS, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
};

/* No id of GitLab's has more. */
#define MAX_ID_DIGITS 19

/* GitLab's words about a token with a higher access level than the caller's. */
#define LEVEL_TOO_HIGH "permissions not held"

/* GitLab's words, with 400, for those who lack the role for a token. */
static const char *const role_refusals[] = {
	"does not have permission",
	LEVEL_TOO_HIGH,
	"Not eligible",
	"Not permitted",
	" cannot delete ",
};

/*
 * Whether GitLab has refused to make, rotate or revoke a token for want of a
 * role.
 */
static bool
is_role_refusal(const ApiCall *call)
{
	char		words[2 * MAX_QUOTED_BYTES];

	if (call->exchange->failure != HTTP_ANSWERED ||
		call->exchange->status != 400 || call->resource == NULL ||
		call->resource->kind != RESOURCE_TOKENS)
		return false;
	gitlab_words(unconstify(ApiCall *, call), words, sizeof(words));
	for (int i = 0; i < (int) lengthof(role_refusals); i++)
		if (strstr(words, role_refusals[i]) != NULL)
			return true;
	return false;
}

/* Whether a call makes or rotates a token of a project or group. */
static bool
is_new_bot_token(const ApiCall *call)
{
	return call->resource && call->resource->has_bots &&
		strcmp(call->exchange->method, "POST") == 0;
}

#define PROJECTS_PATH "/api/v4/projects/"

/*
 * The id of the project that GitLab redirects to because the request has its former
 * path, as it stands in the URL.  The length is 0 if an answer does not say that.  A
 * redirect to another host or protocol names the project as the request does.
 */
static const char *
redirected_project(const ApiCall *call, size_t *length)
{
	HttpExchange *exchange = call->exchange;
	const char *location = exchange->failure == HTTP_ANSWERED &&
		exchange->status == 301 ? http_header(exchange, "Location") : NULL;
	const char *id = location ? strstr(location, PROJECTS_PATH) : NULL;
	const char *asked = strstr(exchange->target, PROJECTS_PATH);

	*length = 0;
	if (id == NULL || asked == NULL)
		return "";
	id += strlen(PROJECTS_PATH);
	asked += strlen(PROJECTS_PATH);
	*length = strspn(id, "0123456789");
	if (*length > MAX_ID_DIGITS || strchr("/?", id[*length]) == NULL ||
		(strncmp(asked, id, *length) == 0 && strchr("/?", asked[*length])))
		*length = 0;
	return id;
}

/*
 * Whether GitLab says that a project has got another path.  Nothing has the one
 * that was asked for any more.
 */
bool
api_is_renamed(const ApiCall *call)
{
	size_t		length;

	(void) redirected_project(call, &length);
	return length > 0;
}

/*
 * Whether GitLab refuses a write because the project has got another path, by
 * its words.
 */
static bool
is_renamed_to_writes(const ApiCall *call)
{
	char		words[2 * MAX_QUOTED_BYTES];

	if (call->exchange->failure != HTTP_ANSWERED || call->exchange->status != 405)
		return false;
	gitlab_words(unconstify(ApiCall *, call), words, sizeof(words));
	return strstr(words, "moved projects") != NULL;
}

/* The SQLSTATE of a call that did not succeed. */
int
api_sqlstate(const ApiCall *call)
{
	HttpExchange *exchange = call->exchange;

	for (int i = 0; i < (int) lengthof(failures); i++)
		if (failures[i].failure == exchange->failure)
			return failures[i].sqlstate;
	if (call->forbidden || is_role_refusal(call))
		return ERRCODE_INSUFFICIENT_PRIVILEGE;
	if (api_is_renamed(call) || is_renamed_to_writes(call))
		return ERRCODE_UNDEFINED_OBJECT;
	for (int i = 0; i < (int) lengthof(statuses); i++)
		if (statuses[i].status == exchange->status)
			return statuses[i].sqlstate;
	if (api_leaves_open(exchange->status) && !call->repeatable)
		return ERRCODE_CONNECTION_FAILURE;
	if (call->problem == body_out_of_memory)
		return ERRCODE_OUT_OF_MEMORY;
	return call->problem ? ERRCODE_PROTOCOL_VIOLATION : ERRCODE_FDW_ERROR;
}

/* When a rate limit ends, by GitLab's word; NULL if it didn't say. */
static const char *
rate_limit_hint(ApiCall *call)
{
	int64		wait = api_requested_wait(call);
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

/* Whether a request creates a token for whoever makes it. */
static bool
is_for_oneself(const ApiCall *call)
{
	static const char path[] = "/user/personal_access_tokens";
	size_t		length = strlen(call->exchange->target);

	return strcmp(call->exchange->method, "POST") == 0 &&
		length >= sizeof(path) - 1 &&
		strcmp(call->exchange->target + length - (sizeof(path) - 1), path) == 0;
}

/*
 * Which scope a refused request needs.  GitLab names all that the route knows,
 * those for reading, too: of a write only "api" is enough.
 */
static const char *
scope_hint(ApiCall *call, const char *named)
{
	HttpExchange *exchange = call->exchange;
	char	   *scopes;

	if (strcmp(exchange->method, "GET") != 0)
		return strstr(exchange->target, "/self/rotate") ?
			"The API token needs one of these scopes: api self_rotate." :
			"The API token needs the scope \"api\".";
	scopes = pstrdup(named);
	sanitize(scopes, call);
	return psprintf("The API token needs one of these scopes: %s.", scopes);
}

/* GitLab's words about writes at a secondary Geo site, or under maintenance. */
#define READ_ONLY_INSTANCE "read-only instance"

/*
 * What libcurl says if a certificate is good, but for another host.  All of its
 * TLS libraries share these words.
 */
#define WRONG_HOST "certificate subject name"


/*
 * Whether GitLab has refused for want of a role, and not because of the
 * credential's scopes or for a reason that it gives.
 */
bool
api_is_plain_refusal(ApiCall *call)
{
	char		words[2 * MAX_QUOTED_BYTES];

	if (api_refusal(call) != REFUSAL_RIGHTS)
		return false;
	gitlab_words(call, words, sizeof(words));
	return strcmp(words, PLAIN_REFUSAL) == 0;
}

/* The hint for a 403: what GitLab says is missing, or else the general one. */
static const char *
hint_of_403(ApiCall *call, const char *words, const char *hint)
{
	const char *scope = member_string(api_error_body(call), "scope");

	if (scope)
		hint = scope_hint(call, scope);
	else if (api_lacks_permission(call))
		hint = "The API token is a fine-grained one: it needs the permission that GitLab names.";
	else if (strcmp(words, PLAIN_REFUSAL) != 0)
		hint = NULL;			/* GitLab has given another reason */
	return hint;
}

/*
 * Whether GitLab says that it makes no tokens but fine-grained ones.  It says
 * so in words only, which nothing but a hint depends on.
 */
static bool
forbids_classic_tokens(const ApiCall *call, const char *words)
{
	return strcmp(call->exchange->method, "POST") == 0 &&
		api_refusal(call) == REFUSAL_REQUEST &&
		(strstr(words, "fine-grained") || strstr(words, "Fine-grained"));
}

/* The resource's containers, quoted, for a hint. */
static const char *
container_names(const Resource *resource)
{
	char	   *names = psprintf("\"%s\"", resource->containers[0]);

	for (int i = 1; i < MAX_CONTAINERS && resource->containers[i]; i++)
		if (resource_field(resource, resource->containers[i])->choices == NULL)
			names = psprintf("%s and \"%s\"", names, resource->containers[i]);
	return names;
}

/* The hint about an answer that does not come from GitLab. */
static const char *
hint_of_unreadable(ApiCall *call)
{
	if (!api_has_media_type(call, "application/json"))
		return "Check the server's option \"url\": another web server may answer there, or a proxy that wants a sign-in.";
	return "A proxy between this server and GitLab may have changed the answer: check the server's options \"url\" and \"proxy\".";
}

/* The hint about the former path of a project. */
static const char *
hint_of_renamed(const ApiCall *call)
{
	size_t		length;
	const char *id = redirected_project(call, &length);

	return psprintf("The project was renamed or moved.  Name it by its id, %.*s, or by its new path: SELECT path FROM gitlab_projects WHERE id = %.*s;",
					(int) length, id, (int) length, id);
}

/* The hint about a certificate that is good, but for another host. */
static const char *
hint_of_wrong_host(ApiCall *call)
{
	char		names[2 * MAX_QUOTED_BYTES];

	strlcpy(names, call->exchange->certificate, sizeof(names));
	api_clean(call, names, MAX_QUOTED_BYTES);
	if (names[0] == '\0')
		return "The certificate is made out for another host: set the server's option \"url\" to a name that it has, which \"openssl s_client -connect HOST:443\" shows.";
	return psprintf("The certificate is made out for another host, %s: set the server's option \"url\" to a name that it has.",
					names);
}

/*
 * What to do about a call that did not succeed: the scope that GitLab asks for, if
 * it says so.  Everything that reports a call asks here.
 */
const char *
api_hint(ApiCall *call)
{
	HttpExchange *exchange = call->exchange;
	const char *hint = NULL;
	char		words[2 * MAX_QUOTED_BYTES];

	if (exchange->failure == HTTP_TLS_FAILED)
		return "Check the server's option \"url\", where TLS 1.2 or later is needed, and the files that its options \"tls_...\" name.";
	if (exchange->failure == HTTP_UNTRUSTED &&
		strstr(exchange->error, WRONG_HOST) != NULL)
		return hint_of_wrong_host(call);
	if (exchange->failure == HTTP_UNTRUSTED)
		return "A private certificate authority can be named in the server's option \"tls_ca_file\".";
	if (exchange->failure == HTTP_NO_DESCRIPTORS)
		return "Raise the database server's \"max_files_per_process\" or the limit of \"ulimit -n\".";
	if (exchange->failure != HTTP_ANSWERED)
		return NULL;
	if (api_is_renamed(call))
		return hint_of_renamed(call);
	if (exchange->status >= 300 && exchange->status < 400 && call->resource &&
		call->resource->containers[0])
		return "What was moved or renamed must be named by its new path; redirects are not followed.";
	if (exchange->status >= 300 && exchange->status < 400)
		return "Redirects are not followed: set the server's option \"url\" to the final address.";
	if (exchange->status == 429)
		return rate_limit_hint(call);
	if (exchange->status < 300 && call->problem)
		return hint_of_unreadable(call);
	gitlab_words(call, words, sizeof(words));
	if (is_renamed_to_writes(call))
		return "The project was renamed or moved: name it by its id, or by its new path.";
	if (exchange->status == 403 && strstr(words, READ_ONLY_INSTANCE) != NULL)
		return "GitLab accepts no changes there: set the server's option \"url\" to the primary site, or wait for the end of the maintenance.";
	if (exchange->status == 400 && call->resource &&
		call->resource->invalid_words &&
		strstr(words, call->resource->invalid_words) != NULL)
		return call->resource->invalid_hint;
	for (int i = 0; i < (int) lengthof(statuses); i++)
		if (statuses[i].status == exchange->status)
			hint = statuses[i].hint;
	if ((exchange->status == 403 || call->forbidden ||
		 is_role_refusal(call)) && call->resource && call->resource->role_hint)
		hint = call->resource->role_hint;
	/* GitLab says the same of the role and of the switch */
	if (hint && is_new_bot_token(call) && (call->forbidden || is_role_refusal(call)))
		hint = psprintf("%s  The settings of the top-level group, or its plan on GitLab.com, can also forbid new tokens.", hint);
	/* the caller may well have the role that tokens of lower levels need */
	if (is_role_refusal(call) && strstr(words, LEVEL_TOO_HIGH) != NULL)
		hint = "Nobody can grant or rotate an access level above their own: this needs an API token of a user with the role Owner, or a lower \"access_level\".";
	if (exchange->status == 404 && call->resource && call->resource->containers[0])
		hint = psprintf("Check %s: GitLab says the same of what the owner of the API token may not see.",
						container_names(call->resource));
	/* GitLab itself says what is not there: then the URL is right */
	else if (strcmp(exchange->method, "GET") != 0 &&
			 api_verdict(call) == API_ABSENT)
		hint = NULL;
	if (exchange->status == 400 && is_for_oneself(call))
		hint = "Before GitLab 18.0, the only scope of a token for oneself is \"k8s_proxy\".  An administrator can name the owner in \"user_id\".";
	if (forbids_classic_tokens(call, words))
		hint = "This instance enforces fine-grained tokens: others can neither be created nor rotated until an administrator of GitLab turns that off.  Those that exist go on working, and can be revoked.";
	return exchange->status == 403 ? hint_of_403(call, words, hint) : hint;
}

void
api_report_with_hint(ApiCall *call, const char *action, const char *hint)
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
api_report(ApiCall *call, const char *action)
{
	api_report_with_hint(call, action, api_hint(call));
}

/* Raises an error for an answer that succeeded and that makes no sense. */
void
api_refuse_answer(ApiCall *call, const char *action, const char *detail)
{
	char		target[MAX_QUOTED_BYTES];

	strlcpy(target, call->exchange->target, sizeof(target));
	sanitize(target, call);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not %s on server \"%s\"", action,
					call->connection->server_name),
			 errdetail("%s (%s %s).", detail, call->exchange->method, target)));
}

/*
 * Raises an error unless the finished call succeeded.  action completes the
 * sentence "could not ... on server".
 */
void
api_check(ApiCall *call, const char *action)
{
	if (api_verdict(call) != API_DONE)
		api_report(call, action);
}
