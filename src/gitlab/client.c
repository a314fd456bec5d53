/*-------------------------------------------------------------------------
 *
 * client.c
 *	  A statement's access to a server, as a role.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/option.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

struct ApiClient
{
	Oid			serverid;
	Oid			userid;
	Connection *connection;		/* NULL before the first request */
	dlist_head	calls;			/* freed with the client */
	bool		reloaded;		/* the credential was read anew once */
	bool		self_checked;	/* GET self was asked after a 401 */
	bool		self_works;
	bool		zone_asked;		/* GET self was asked for its time stamps */
	ApiStatistics statistics;
	MemoryContextCallback callback;
};


/*
 * Gives a call to the client, which frees it at its end, unless the call is freed
 * before.  The client's statistics get the attempts that the call already had.
 */
void
api_adopt(ApiClient *client, ApiCall *call)
{
	dlist_push_tail(&client->calls, &call->link);
	call->owned = true;
	if (api_attempts(call) > 0)
	{
		client->statistics.requests += api_attempts(call);
		client->statistics.retries += api_attempts(call) - 1;
	}
}

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
 * Opens a client.  The end of the current memory context frees the client and all
 * of its calls.  The client looks nothing up, and sends nothing, before its first
 * request.
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

/*
 * Opens a client that uses this connection and no other, and that takes over the
 * caller's reference to it.  The client reads no user mapping.
 */
ApiClient *
api_open_connection(Connection *connection)
{
	ApiClient  *client = api_open(connection->serverid, connection->userid);

	client->connection = connection;
	client->reloaded = true;
	return client;
}

/* The role whose user mapping the client asks with. */
Oid
api_userid(const ApiClient *client)
{
	return client->userid;
}

/* Returns the client's connection; the client keeps its reference. */
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
		memory_report_exhausted();
	api_adopt(client, call);
	call->statistics = &client->statistics;
	return call;
}

/* Returns the statistics of the client's calls so far; streams add to them. */
ApiStatistics *
api_statistics(ApiClient *client)
{
	return &client->statistics;
}

/* Whether the finished call has met a credential that was rotated meanwhile. */
bool
api_credential_renewed(ApiClient *client, ApiCall *call)
{
	Connection *current;

	if (api_refusal(call) != REFUSAL_CREDENTIAL || !call->repeatable)
		return false;
	/* another call of this client may have found out already */
	if (call->connection != client->connection)
		return true;
	if (client->reloaded)
		return false;
	client->reloaded = true;
	current = connection_successor(call->connection, client->userid);
	if (current == NULL)
		return false;
	connection_release(client->connection);
	client->connection = current;
	return true;
}

/*
 * Sends a GET and waits for its answer, whatever that is.  If the credential was
 * rotated meanwhile, sends the GET again with the new one.
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
		ApiRefusal	refusal = api_refusal(call);

		if (refusal != REFUSAL_CREDENTIAL && refusal != REFUSAL_REQUEST &&
			refusal != REFUSAL_RIGHTS)
			api_check(call, "look up the API token in use");
		client->self_works = refusal != REFUSAL_CREDENTIAL;
		client->self_checked = true;
		api_call_free(call);
	}
	return client->self_works;
}

/*
 * Whether an answer means that what was asked for does not exist.  GitLab answers
 * 401 to users who are no administrators and ask for tokens of others, and also
 * to credentials that do not work; GET self tells the two apart.  Nothing exists by
 * the former path of a project.
 */
bool
api_means_absent(ApiClient *client, ApiCall *call)
{
	return api_verdict(call) == API_ABSENT ||
		(api_refusal(call) == REFUSAL_CREDENTIAL && self_works(client)) ||
		(call->resource && call->resource->containers[0] == NULL &&
		 api_is_renamed(call));
}

/*
 * Whether GitLab has refused to show something to the owner of the credential,
 * although the credential works.
 */
bool
api_was_denied(const ApiClient *client)
{
	return client->self_checked && client->self_works;
}

/* Raises the error of an answer that lacks what it should have. */
pg_noreturn static void
report_lacking(ApiCall *call, const char *action, const char *problem)
{
	call->problem = problem;
	api_report(call, action);
}

/*
 * Whether the answer to a list means that its project, group or user does not
 * exist, or that the credential's owner may not read the list.  A Developer gets
 * 401 for the tokens of a project, others 403; the former path of a project, 301.
 * A credential that does not work, or that lacks the scope, does not count.
 */
bool
api_means_closed(ApiClient *client, ApiCall *call)
{
	call->forbidden = api_refusal(call) == REFUSAL_CREDENTIAL &&
		self_works(client);
	return call->forbidden || api_verdict(call) == API_ABSENT ||
		api_is_plain_refusal(call) || api_is_renamed(call);
}

/*
 * Sends a GET, waits for its answer, and returns a call of the client's.  Returns
 * NULL if what was asked for does not exist, and that is no error.
 */
ApiCall *
api_get(ApiClient *client, const char *path, bool absent_ok, const char *action)
{
	return api_get_with_role(client, path, absent_ok, action, NULL);
}

/*
 * Sends a GET for something that needs a role in a project or group.  role_hint
 * tells users without the role what to do; NULL stands for the usual hint.
 */
ApiCall *
api_get_with_role(ApiClient *client, const char *path, bool absent_ok,
				  const char *action, const char *role_hint)
{
	ApiCall    *call = client_get(client, path);

	if (absent_ok && api_means_absent(client, call))
	{
		api_call_free(call);
		return NULL;
	}
	if (role_hint && api_is_plain_refusal(call))
		api_report_with_hint(call, action, role_hint);
	api_check(call, action);
	if (!json_object_is_type(call->record, json_type_object))
		report_lacking(call, action, "The answer is not a JSON object");
	return call;
}

/*
 * Notes which token the credential is, and whose, from an answer that describes it.
 * False if it does not.
 */
bool
api_note_self(ApiCall *call)
{
	Connection *connection = call->connection;

	if (!record_id(call->record, &connection->self_id) ||
		!record_integer(call->record, "user_id", &connection->self_user_id))
		return false;
	connection->self = SELF_IS_TOKEN;
	return true;
}

/* The credential in use, as GitLab sees it. */
ApiCall *
api_get_self(ApiClient *client)
{
	static const char action[] = "look up the API token in use";
	ApiCall    *call = api_get(client, "/personal_access_tokens/self", false,
							   action);
	int64		id;

	if (!record_id(call->record, &id))
		report_lacking(call, action, "The answer has no valid field \"id\"");
	return call;
}

/*
 * Learns whose credential it is when GitLab shows no token for it.  If the
 * credential was replaced meanwhile, learns nothing, because the new one may be a
 * token.
 */
static void
learn_user(ApiClient *client, const Connection *refused, SelfKnowledge found)
{
	static const char action[] = "look up the current user";
	ApiCall    *call = api_get(client, "/user", false, action);
	Connection *connection = call->connection;
	bool		current = connection == refused;

	if (current &&
		!record_integer(call->record, "id", &connection->self_user_id))
		report_lacking(call, action, "The answer has no valid field \"id\"");
	if (current)
		connection->self = found;
	api_call_free(call);
}

/*
 * Learns which token the credential is, and whose, by one request per connection.
 * A credential that is no personal access token is in no table: an OAuth token,
 * for example, gets a 400.  A fine-grained token that may not read itself shows
 * only its owner.
 *
 * Each request may find the credential replaced, and then goes through another
 * connection than the request before.  The answer tells about the connection that
 * it came through, which need not be the client's any more.
 */
static void
learn_self(ApiClient *client)
{
	static const char action[] = "look up the API token in use";

	while (api_connection(client)->self == SELF_UNKNOWN)
	{
		ApiCall    *call = client_get(client, "/personal_access_tokens/self");
		Connection *connection = call->connection;

		Assert(connection == client->connection);
		if (api_refusal(call) == REFUSAL_REQUEST || api_lacks_permission(call))
		{
			SelfKnowledge found = api_lacks_permission(call) ? SELF_IS_HIDDEN :
				SELF_IS_NO_TOKEN;

			api_call_free(call);
			learn_user(client, connection, found);
			continue;
		}
		api_check(call, action);
		if (!api_note_self(call))
			report_lacking(call, action,
						   "The answer lacks a valid field \"id\" or \"user_id\"");
		api_call_free(call);
	}
}

/*
 * Whether this token is the credential in use.  If the credential may not read
 * itself, it could be any token: raises GitLab's refusal as an error.
 */
bool
api_is_self(ApiClient *client, int64 id)
{
	learn_self(client);
	if (api_connection(client)->self == SELF_IS_HIDDEN)
	{
		ApiCall    *call = api_get_self(client);

		/* it has got the permission meanwhile */
		if (record_id(call->record, &call->connection->self_id))
			call->connection->self = SELF_IS_TOKEN;
		api_call_free(call);
	}
	return api_connection(client)->self == SELF_IS_TOKEN &&
		api_connection(client)->self_id == id;
}

/*
 * Returns the time zone of the instance.  If no answer has shown it lately, reads
 * the token in use, once a statement; ZONE_UNKNOWN if GitLab refuses.
 */
InstanceZone
api_zone(ApiClient *client)
{
	InstanceZone known = zone_known(api_connection(client));
	ApiCall    *call;

	if (known != ZONE_UNKNOWN || client->zone_asked)
		return known;
	client->zone_asked = true;
	call = client_get(client, "/personal_access_tokens/self");
	/* no token of the kind that the route knows, or one without the right */
	if (api_verdict(call) != API_ABSENT &&
		api_refusal(call) != REFUSAL_REQUEST &&
		api_refusal(call) != REFUSAL_RIGHTS)
		api_check(call, "look up the API token in use");
	api_call_free(call);
	return zone_known(api_connection(client));
}

/* Returns the user who owns the credential in use. */
int64
api_own_user_id(ApiClient *client)
{
	learn_self(client);
	return api_connection(client)->self_user_id;
}

/*
 * The list of a user who cannot exist shows what the credential may see: GitLab
 * answers 404 to administrators, and 401 to others.
 */
#define PROBE_PATH "/personal_access_tokens"
#define IMPOSSIBLE_USER "0"

/*
 * Asks GitLab whether the credential sees the tokens of all users.  An
 * administrator's does, unless Admin Mode is on and the scope for it is missing.
 */
bool
api_sees_all(ApiClient *client)
{
	ApiCall    *call;
	bool		result;

	for (;;)
	{
		call = api_client_call(client, "GET", PROBE_PATH);
		api_add_parameter(call, "user_id", IMPOSSIBLE_USER);
		api_add_parameter(call, "per_page", "1");
		api_call_start(call);
		api_wait(&call, 1);
		if (!api_credential_renewed(client, call))
			break;
		api_call_free(call);
	}
	/* 403: the scopes don't even allow a listing */
	result = api_verdict(call) == API_ABSENT;
	if (!result && api_refusal(call) != REFUSAL_CREDENTIAL &&
		api_refusal(call) != REFUSAL_RIGHTS)
		api_check(call, "find out what the API token may see");
	call->connection->sight = result ? SIGHT_ALL : SIGHT_OWN;
	api_call_free(call);
	return result;
}

/* Whether the credential sees everybody's tokens, asked once per connection. */
bool
api_known_to_see_all(ApiClient *client)
{
	if (api_connection(client)->sight == SIGHT_UNKNOWN)
		(void) api_sees_all(client);
	return api_connection(client)->sight == SIGHT_ALL;
}

/*
 * Asks GitLab for its version.  If GitLab or a proxy refuses to answer, or the
 * token lacks the scope, believes the declared version.  Any other failure is an
 * error.
 */
static int
ask_version(ApiClient *client, int declared)
{
	static const char action[] = "read GitLab's version";
	ApiCall    *call = client_get(client, "/metadata");
	int			version = 0;

	if (api_verdict(call) == API_ABSENT)	/* before GitLab 15.2 */
	{
		api_call_free(call);
		call = client_get(client, "/version");
	}
	if (api_verdict(call) == API_DONE)
	{
		version = option_version(record_text(call->record, "version"));
		if (version == 0)
			call->problem = "The answer has no valid field \"version\"";
	}
	else if (api_verdict(call) == API_ABSENT ||
			 api_refusal(call) == REFUSAL_RIGHTS)
		version = declared;
	if (version == 0)
	{
		ApiRefusal	refusal = api_refusal(call);

		if (refusal == REFUSAL_CREDENTIAL || refusal == REFUSAL_RATE ||
			!api_answered(call))
			api_report(call, action);
		api_report_with_hint(call, action,
							 psprintf("If no version is declared, none is needed: ALTER SERVER %s VERSION NULL.",
									  quote_identifier(call->connection->server_name)));
	}
	call->connection->version = version;
	api_call_free(call);
	return version;
}

/*
 * GitLab's version as the connection knows it, else as GitLab says now; 0 if it does
 * not say.  Never an error.
 */
int
api_version(ApiClient *client)
{
	Connection *connection = api_connection(client);
	ApiCall    *call;

	if (connection->version == 0)
	{
		call = client_get(client, "/metadata");
		connection = call->connection;
		if (api_verdict(call) == API_DONE)
			connection->version =
				option_version(record_text(call->record, "version"));
		api_call_free(call);
	}
	return connection->version;
}

/*
 * Raises an error if GitLab is older than its declared version, before a request
 * that an older GitLab would answer wrongly.  Asks GitLab once per connection.
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

/* The largest difference to GitLab's clock that is believed, in s. */
#define MAX_CLOCK_OFFSET SECS_PER_DAY

/* Whether an answer has shown GitLab's clock, and the clock is believed. */
bool
api_clock_is_known(ApiClient *client)
{
	Connection *connection = api_connection(client);

	return connection->clock_known &&
		connection->clock_offset <= MAX_CLOCK_OFFSET &&
		connection->clock_offset >= -MAX_CLOCK_OFFSET;
}

/* Returns the time of GitLab's clock, or of ours before its first answer. */
TimestampTz
api_now(ApiClient *client)
{
	Connection *connection = api_connection(client);
	TimestampTz now = GetCurrentTimestamp();

	if (api_clock_is_known(client))
		return now + connection->clock_offset * USECS_PER_SEC;
	if (connection->clock_known && !connection->clock_doubted)
	{
		connection->clock_doubted = true;
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_CLOCK_IGNORED),
				 errmsg("the clock of server \"%s\" is more than a day off, and is ignored",
						connection->server_name),
				 errdetail("It differs from the clock of PostgreSQL by " INT64_FORMAT " seconds.",
						   connection->clock_offset),
				 errhint("Synchronize both clocks, for example with NTP.")));
	}
	return now;
}

/*
 * Refuses an expiry, a date that is not in the future.  GitLab's days are those of
 * UTC, by GitLab's own clock.
 */
void
api_check_expiry(ApiClient *client, Datum expires_at)
{
	DateADT		date = DatumGetDateADT(expires_at);
	DateADT		today = (DateADT) (api_now(client) / USECS_PER_DAY);

	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be a finite date"),
				 errhint("For a token that does not expire, where GitLab allows one, use NULL.")));
	if (date <= today)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be in the future"),
				 errdetail("A token expires at the beginning of the day %s; today is %s (UTC).",
						   DatumGetCString(DirectFunctionCall1(date_out, expires_at)),
						   DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(today))))));
}
