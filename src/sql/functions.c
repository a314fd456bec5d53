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
#include "change/transaction.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/words.h"
#include "http/engine.h"
#include "http/memory.h"
#include "nodes/parsenodes.h"
#include "sql/functions.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"


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

/* Whether the server is this extension's, whatever its wrapper is called. */
bool
function_is_our_server(const ForeignServer *server)
{
	ForeignDataWrapper *fdw = GetForeignDataWrapper(server->fdwid);
	const char *handler = OidIsValid(fdw->fdwhandler) ?
		get_func_name(fdw->fdwhandler) : NULL;

	return handler && strcmp(handler, "gitlab_pat_fdw_handler") == 0;
}

/*
 * The server of that name, for a function.  Raises an error if there is none,
 * if it is another wrapper's, or if the caller has no USAGE on it.
 */
ForeignServer *
function_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, false);
	AclResult	result = compat_server_aclcheck(server->serverid, GetUserId(),
												ACL_USAGE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, server->servername);
	if (!function_is_our_server(server))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" does not belong to gitlab_pat_fdw",
						server->servername)));
	return server;
}

/*
 * Refuses a CALL of a procedure that commits where no commit is possible.  why
 * is a sentence.
 */
void
function_check_nonatomic(FunctionCallInfo fcinfo, const char *procedure,
						 const char *why)
{
	CallContext *context = fcinfo->context && IsA(fcinfo->context, CallContext) ?
		(CallContext *) fcinfo->context : NULL;

	if (context == NULL || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s() cannot run inside a transaction block, a function, or a procedure that was called in one",
						procedure),
				 errdetail("%s", why),
				 errhint("CALL it as a statement of its own.")));
}

/*
 * Refuses a CALL of a procedure that commits and changes GitLab where that is
 * not possible, or where it would commit what is not its own.  why is a
 * sentence.
 */
void
function_check_call(FunctionCallInfo fcinfo, const char *procedure,
					const char *why)
{
	char	   *command = psprintf("CALL %s()", procedure);

	function_check_nonatomic(fcinfo, procedure, why);
	PreventCommandIfReadOnly(command);
	PreventCommandDuringRecovery(command);
	if (transaction_any())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s() cannot run in a transaction that has changed anything in GitLab",
						procedure),
				 errhint("COMMIT first.")));
}

/*
 * A token as a row of the token table, without its secret: values and nulls for
 * all of the table's columns, in order.  Raises an error for a field of the wrong
 * type.
 */
void
function_token_row(JsonRecord *record, Datum *values, bool *nulls)
{
	for (int i = 0; i < resource_tokens->nfields; i++)
	{
		const ResourceField *field = &resource_tokens->fields[i];

		nulls[i] = true;
		if (!(field->flags & FIELD_SECRET))
			values[i] = record_datum(resource_tokens, field, record, &nulls[i]);
	}
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
	function_token_row(call->record, values, nulls);
	values[desc->natts - 1] = BoolGetDatum(api_sees_all(client));
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
