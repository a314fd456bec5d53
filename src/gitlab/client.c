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

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/connection.h"
#include "gitlab/jsonc.h"
#include "gitlab/option.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "http/exchange.h"
#include "utils/builtins.h"
#include "utils/inval.h"

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

/* The call goes with the client from now on, unless it is freed before. */
void
api_adopt(ApiClient *client, ApiCall *call)
{
	dlist_push_tail(&client->calls, &call->link);
	call->owned = true;
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
