/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL functions.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "http/engine.h"
#include "http/request.h"
#include "sql/functions.h"
#include "gitlab/jsonc.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "change/transaction.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/*
 * A listing for a user that can't exist tells what the credential may see: to
 * administrators GitLab says 404, to others 401.
 */
#define PROBE_PATH "/personal_access_tokens"
#define IMPOSSIBLE_USER "0"

PG_FUNCTION_INFO_V1(gitlab_pat_fdw_version);
PG_FUNCTION_INFO_V1(gitlab_pat_self);
PG_FUNCTION_INFO_V1(gitlab_pat_requests);
PG_FUNCTION_INFO_V1(gitlab_pat_disconnect);

/* Who takes part: for bug reports. */
Datum
gitlab_pat_fdw_version(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("gitlab_pat_fdw %s, PostgreSQL %s, libcurl %s, json-c %s",
											  GITLAB_PAT_FDW_VERSION,
											  GetConfigOption("server_version",
															  false, false),
											  http_library_version(),
											  json_c_version())));
}

/*
 * The server of that name, for a function.  Raises an error if there is none,
 * if it is another wrapper's, or if the caller has no USAGE on it.
 */
ForeignServer *
function_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, false);
	ForeignDataWrapper *fdw = GetForeignDataWrapper(server->fdwid);
	const char *handler = OidIsValid(fdw->fdwhandler) ?
		get_func_name(fdw->fdwhandler) : NULL;
	AclResult	result = compat_server_aclcheck(server->serverid, GetUserId(),
												ACL_USAGE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, server->servername);
	if (handler == NULL || strcmp(handler, "gitlab_pat_fdw_handler") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" does not belong to gitlab_pat_fdw",
						server->servername)));
	return server;
}

/*
 * Refuses a CALL of a procedure that commits where that is not possible, or
 * where it would commit what is not its own.  why is a sentence.
 */
void
function_check_call(FunctionCallInfo fcinfo, const char *procedure,
					const char *why)
{
	CallContext *context = fcinfo->context && IsA(fcinfo->context, CallContext) ?
		(CallContext *) fcinfo->context : NULL;
	char	   *command = psprintf("CALL %s()", procedure);

	if (context == NULL || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s() cannot run inside a transaction block, a function, or a procedure that was called in one",
						procedure),
				 errdetail("%s", why),
				 errhint("CALL it as a statement of its own.")));
	PreventCommandIfReadOnly(command);
	PreventCommandDuringRecovery(command);
	if (transaction_any())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s() cannot run in a transaction that has changed anything in GitLab",
						procedure),
				 errhint("COMMIT first.")));
}

/* Does the credential see the tokens of all users? */
static bool
sees_all_tokens(ApiClient *client)
{
	ApiCall    *call = api_call_create(api_connection(client), "GET",
									   PROBE_PATH, NULL);
	bool		result;

	if (call == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	api_adopt(client, call);
	http_add_parameter(call->exchange, "user_id", IMPOSSIBLE_USER);
	http_add_parameter(call->exchange, "per_page", "1");
	api_call_start(call);
	api_wait(&call, 1);
	/* 403: the scopes don't even allow a listing */
	if (api_call_judge(call) == API_REFUSED &&
		(call->exchange->status == 401 || call->exchange->status == 403 ||
		 api_is_absent(call)))
		result = call->exchange->status == 404;
	else
	{
		api_check(call, "find out what the API token may see");
		result = false;
	}
	api_call_free(call);
	return result;
}

/* The credential in use: the columns of the token table, and what it sees. */
Datum
gitlab_pat_self(PG_FUNCTION_ARGS)
{
	ForeignServer *server = function_server(NameStr(*PG_GETARG_NAME(0)));
	ApiClient  *client = api_open(server->serverid, GetUserId());
	ApiCall    *call = api_get_self(client);
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != resource_tokens->nfields + 1)
		elog(ERROR, "unexpected result type of gitlab_pat_self()");
	values = palloc0(sizeof(Datum) * desc->natts);
	nulls = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < resource_tokens->nfields; i++)
	{
		const ResourceField *field = &resource_tokens->fields[i];

		nulls[i] = true;
		if (!(field->flags & FIELD_SECRET))
			values[i] = resource_datum(resource_tokens, field, call->record,
									   &nulls[i]);
	}
	values[desc->natts - 1] = BoolGetDatum(sees_all_tokens(client));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* This session's counters, a row per server. */
Datum
gitlab_pat_requests(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (RequestCounters *c = connection_counters(NULL); c;
		 c = connection_counters(c))
	{
		bool		limited = c->rate_limit_remaining >= 0;
		bool		reset = c->rate_limit_reset >= 0;
		Datum		values[] = {
			NameGetDatum(&c->server_name),
			Int64GetDatum(c->requests),
			Int64GetDatum(c->retries),
			Int64GetDatum(c->rate_limited),
			Int64GetDatum(c->errors),
			Int64GetDatum(c->bytes_received),
			Float8GetDatum(c->wait_usecs / 1000.0),
			Int64GetDatum(c->rate_limit_remaining),
			TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) Min(c->rate_limit_reset, INT_MAX))),
		};
		bool		nulls[lengthof(values)] = {[7] = !limited, [8] = !reset};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Closes the session's connections that no statement uses. */
Datum
gitlab_pat_disconnect(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(connection_close_idle());
}
