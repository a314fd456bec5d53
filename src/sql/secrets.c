/*-------------------------------------------------------------------------
 *
 * secrets.c
 *	  The SQL functions that take a secret.
 *
 * A secret comes in as an argument, best from a column, since the text of a
 * statement and its parameters can be logged.  It goes to GitLab in the header
 * of a request and, with gitlab_pat_set_token(), into the user mapping, but into
 * no message and no statement.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_user_mapping.h"
#include "change/audit.h"
#include "change/quiet.h"
#include "change/tokens.h"
#include "commands/defrem.h"
#include "compat.h"
#include "funcapi.h"
#include "gitlab/client.h"
#include "gitlab/option.h"
#include "gitlab/words.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "sql/functions.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(gitlab_pat_identify);
PG_FUNCTION_INFO_V1(gitlab_pat_revoke_secret);
PG_FUNCTION_INFO_V1(gitlab_pat_set_token);


/* ----------
 * Asking GitLab with a secret
 * ----------
 */

/*
 * A client that asks a server with the secret in an argument, in the current
 * memory context.  Raises an error if the argument is null or can't be a token.
 */
static ApiClient *
open_with_secret(FunctionCallInfo fcinfo, int argument, Oid serverid)
{
	char	   *secret;
	Connection *connection;

	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the secret must not be null")));
	secret = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	connection = connection_with_secret(serverid, secret);
	explicit_bzero(secret, strlen(secret));
	return api_open_connection(connection);
}

/* Sends a GET with the client's secret, and waits for whatever is answered. */
static ApiCall *
ask(ApiClient *client, const char *path)
{
	ApiCall    *call = api_client_call(client, "GET", path);

	api_call_start(call);
	api_wait(&call, 1);
	return call;
}

/* The server that the first argument names. */
static ForeignServer *
server_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server name must not be null")));
	return function_server(NameStr(*PG_GETARG_NAME(0)));
}


/* ----------
 * gitlab_pat_identify()
 * ----------
 */

/*
 * Whether GitLab says that no token works by the secret.  A 401 that is not
 * JSON is some proxy's, which knows nothing of tokens.
 */
static bool
is_unknown(ApiCall *call)
{
	return api_refusal(call) == REFUSAL_CREDENTIAL &&
		api_has_media_type(call, "application/json");
}

/* Raises an error unless the answer is a token. */
static void
check_identity(ApiCall *call)
{
	static const char action[] = "look up a secret";
	ApiRefusal	refusal = api_refusal(call);
	int64		id;

	if (refusal == REFUSAL_CREDENTIAL)
		api_report_with_hint(call, action,
							 "The answer is not GitLab's: check the server's option \"url\", and any proxy.");
	if (refusal == REFUSAL_REQUEST || refusal == REFUSAL_RIGHTS)
		api_report_with_hint(call, action,
							 "The secret may work: treat it as alive until an administrator has found what it belongs to.");
	api_check(call, action);
	if (!record_id(call->record, &id))
		api_refuse_answer(call, action,
						  "The answer has no valid field \"id\"");
}

/*
 * The token that a secret belongs to, in one row, or no row if GitLab knows no
 * token that works by it.  GitLab is asked with that secret and nothing else.
 */
Datum
gitlab_pat_identify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ForeignServer *server = server_argument(fcinfo);
	ApiClient  *client = open_with_secret(fcinfo, 1, server->serverid);
	ApiCall    *call = ask(client, SELF_PATH);

	InitMaterializedSRF(fcinfo, 0);
	if (!is_unknown(call))
	{
		Datum	   *values = palloc0(sizeof(Datum) * result->setDesc->natts);
		bool	   *nulls = palloc0(sizeof(bool) * result->setDesc->natts);

		check_identity(call);
		if (result->setDesc->natts != resource_tokens->nfields)
			elog(ERROR, "unexpected result type of gitlab_pat_identify()");
		function_token_row(call->record, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	api_call_free(call);
	return (Datum) 0;
}


/* ----------
 * gitlab_pat_revoke_secret()
 * ----------
 */

/*
 * Refuses to revoke the token that the caller uses the server with, if it has a
 * user mapping there: without it, nothing more could be done.
 */
static void
refuse_own_credential(const ForeignServer *server, ApiClient *client, int64 id)
{
	Connection *own;
	bool		same;

	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(GetUserId()),
							   ObjectIdGetDatum(server->serverid)) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(InvalidOid),
							   ObjectIdGetDatum(server->serverid)))
		return;
	own = connection_get(server->serverid, GetUserId());
	same = strcmp(own->credential, api_connection(client)->credential) == 0;
	connection_release(own);
	if (same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the secret belongs to token " INT64_FORMAT ", the API token of server \"%s\"",
						id, server->servername),
				 errhint("To replace the token, use CALL gitlab_pat_rotate_self(), or gitlab_pat_set_token() and then this function.")));
}

/*
 * Queues the token that a secret belongs to for revocation at commit, by the
 * secret itself.  Returns its id, or NULL if no token works by the secret.
 */
Datum
gitlab_pat_revoke_secret(PG_FUNCTION_ARGS)
{
	ForeignServer *server;
	ApiClient  *client;
	ApiCall    *call;
	int64		id;

	PreventCommandIfReadOnly("gitlab_pat_revoke_secret()");
	PreventCommandDuringRecovery("gitlab_pat_revoke_secret()");
	option_check_writable();
	server = server_argument(fcinfo);
	client = open_with_secret(fcinfo, 1, server->serverid);
	call = ask(client, SELF_PATH);
	if (is_unknown(call))
		PG_RETURN_NULL();
	check_identity(call);
	(void) record_id(call->record, &id);
	refuse_own_credential(server, client, id);
	tokens_delete_by_secret(client, call->record, id);
	PG_RETURN_INT64(id);
}


/* ----------
 * gitlab_pat_set_token()
 * ----------
 */

/*
 * The mapping must be that of whoever runs the statement.  It must not be that
 * of the owner of a SECURITY DEFINER function, or of a table whose maintenance
 * calls the function.
 */
static void
check_context(void)
{
	if (GetUserId() != GetOuterUserId() || InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("gitlab_pat_set_token() cannot run with the rights of another role"),
				 errdetail("It would change the user mapping of \"%s\", who has not asked for it.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Call it outside of SECURITY DEFINER functions.")));
}

/* The current role's own mapping, palloc'ed; NULL if there is none. */
static UserMapping *
own_mapping(Oid serverid)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(GetUserId()),
							   ObjectIdGetDatum(serverid)))
		return NULL;
	return GetUserMapping(GetUserId(), serverid);
}

/*
 * Leaves a mapping with an option for superusers to superusers, before GitLab is
 * asked anything.
 */
static void
check_mapping(const ForeignServer *server)
{
	UserMapping *mapping = own_mapping(server->serverid);

	if (mapping && option_value(mapping->options, "token_file") && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to change the user mapping for server \"%s\"",
						server->servername),
				 errdetail("The mapping has the option \"token_file\"."),
				 errhint("Only superusers may change it.")));
}

/*
 * Tries the token, gives its id, and says which one it is, for the audit trail; false
 * if it works and is none, as one of OAuth.  Raises an error if it doesn't work.
 */
static bool
try_token(ApiClient *client, int64 *id, const char **what)
{
	static const char action[] = "try the API token";
	ApiCall    *call = ask(client, SELF_PATH);
	bool		is_token = api_refusal(call) != REFUSAL_REQUEST;

	if (!is_token)
	{
		api_call_free(call);
		call = ask(client, "/user");
	}
	if (api_refusal(call) == REFUSAL_CREDENTIAL)
		api_report_with_hint(call, action,
							 "The token is wrong, expired or revoked. The user mapping is as it was.");
	api_check(call, action);
	if (!record_id(call->record, id))
		api_refuse_answer(call, action,
						  "The answer has no valid field \"id\"");
	*what = is_token ? psprintf(" " INT64_FORMAT "%s", *id,
								audit_token(call->record)) : "";
	api_call_free(call);
	return is_token;
}

static DefElem *
token_option(const char *name, Node *value, DefElemAction action)
{
	return makeDefElemExtended(NULL, pstrdup(name), value, action, -1);
}

/*
 * Creates or changes the current role's own mapping by PostgreSQL's routines for
 * the statements of that name, which check privileges and options.
 */
static void
store_token(const ForeignServer *server, char *token)
{
	UserMapping *mapping = own_mapping(server->serverid);
	RoleSpec   *role = makeNode(RoleSpec);
	Node	   *value = (Node *) makeString(token);

	role->roletype = ROLESPEC_CURRENT_USER;
	role->location = -1;
	if (mapping == NULL)
	{
		CreateUserMappingStmt *statement = makeNode(CreateUserMappingStmt);

		statement->user = role;
		statement->servername = server->servername;
		statement->options = list_make1(token_option("token", value,
													 DEFELEM_UNSPEC));
		CreateUserMapping(statement);
	}
	else
	{
		AlterUserMappingStmt *statement = makeNode(AlterUserMappingStmt);
		bool		has_token = option_value(mapping->options, "token") != NULL;

		statement->user = role;
		statement->servername = server->servername;
		statement->options = list_make1(token_option("token", value, has_token ?
													 DEFELEM_SET : DEFELEM_ADD));
		if (option_value(mapping->options, "token_file"))
			statement->options = lappend(statement->options,
										 token_option("token_file", NULL,
													  DEFELEM_DROP));
		AlterUserMapping(statement);
	}
	/* whoever has the token from here may destroy what it came from at once */
	ForceSyncCommit();
	/* the next row of the same statement finds what this one has made */
	CommandCounterIncrement();
}

/* The audit trail's line. */
static void
log_stored(const ForeignServer *server, const char *what)
{
	Announcement a = {{0}, {0}, {0}};

	if (!quiet_log_changes)
		return;
	SAY(message,
		"API token%s stored in the user mapping of role \"%s\" for server \"%s\" by session user \"%s\"",
		what, GetUserNameFromId(GetUserId(), false), server->servername,
		GetUserNameFromId(GetSessionUserId(), false));
	quiet_announce(api_log_level(), &a);
}

/*
 * Tries an API token at GitLab, and puts it into the caller's own user mapping of
 * a server.  Returns the token's id, or NULL for a token that has none.
 */
Datum
gitlab_pat_set_token(PG_FUNCTION_ARGS)
{
	ForeignServer *server;
	char	   *token;
	const char *what;
	int64		id;
	bool		has_id;

	PreventCommandIfReadOnly("gitlab_pat_set_token()");
	PreventCommandDuringRecovery("gitlab_pat_set_token()");
	check_context();
	server = server_argument(fcinfo);
	check_mapping(server);
	has_id = try_token(open_with_secret(fcinfo, 1, server->serverid), &id,
					   &what);
	token = text_to_cstring(PG_GETARG_TEXT_PP(1));
	store_token(server, token);
	explicit_bzero(token, strlen(token));
	log_stored(server, what);
	if (!has_id)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}
