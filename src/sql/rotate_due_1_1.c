/*-------------------------------------------------------------------------
 *
 * rotate_due_1_1.c
 *	  CALL gitlab_pat_rotate_due() of version 1.1.
 *
 * A database whose extension is of version 1.1 calls this function, until ALTER
 * EXTENSION gives it the procedure of rotate_due.c.  Nothing new is added here.
 *
 * A table says which token is delivered into which variables, and how many days
 * before its expiry it is due.  Each token that is due is rotated and delivered
 * in a transaction of its own, and what came of it is written down.
 *
 * All that it does to GitLab it does in SQL, through the foreign tables and with
 * the rights of its caller.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gitlab/option.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "sql/functions.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"

/* Sessions that rotate by the same table exclude each other by this lock. */
#define ADVISORY_CLASS 0x67706174	/* "gpat" */

PG_FUNCTION_INFO_V1(gitlab_pat_rotate_due);

/* The parameters of the procedure, by their numbers. */
enum
{
	ARG_DELIVERIES,
	ARG_LOG,
	ARG_LIFETIME,
	ARG_DRY_RUN,
	ARG_TOKENS,
	ARG_USERS,
	ARG_VARIABLES
};

/* A call of the procedure. */
typedef struct Rotations
{
	MemoryContext context;		/* outlives the transactions */
	char	   *deliveries;		/* tables, qualified and quoted */
	char	   *log;			/* or NULL */
	char	   *tokens;
	char	   *users;
	char	   *variables;
	int32		lifetime;		/* days */
	bool		dry_run;
	int			rotated;		/* or due, in a dry run */
	int			failed;
	char	   *first_failure;
} Rotations;

/* A token that is to be delivered. */
typedef struct Delivery
{
	char	   *owner;
	char	   *token_name;
	Datum		projects;		/* text[], as long as the other two */
	Datum		variables;
	Datum		scopes;
	bool		found;			/* there is such a token */
	int64		id;
	int64		new_id;
	char	   *problem;		/* why it can't be rotated, or NULL */
} Delivery;


/* ----------
 * What the caller has said
 * ----------
 */

static char *
table_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", relid)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  name);
}

/* The table that an argument names, or else the one of that name. */
static char *
table_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	Oid			relid;

	if (!PG_ARGISNULL(argument))
		return table_name(PG_GETARG_OID(argument));
	if (name == NULL)
		return NULL;
	relid = RelnameGetRelid(name);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table \"%s\" in the search path", name),
				 errhint("Let IMPORT FOREIGN SCHEMA make it, or name another one as an argument.")));
	return table_name(relid);
}

/* Raises an error unless a table has some columns. */
static void
check_columns(Oid relid, const char *const *columns, int ncolumns)
{
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&all, "%s%s", i > 0 ? ", " : "", columns[i]);
	for (int i = 0; i < ncolumns; i++)
		if (get_attnum(relid, columns[i]) == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("\"%s\" has no column \"%s\"", get_rel_name(relid),
							columns[i]),
					 errhint("It needs the columns %s.", all.data)));
}

static void
read_arguments(FunctionCallInfo fcinfo, Rotations *rotations)
{
	static const char *const of_deliveries[] = {"token_name", "owner", "project",
	"variable", "environment_scope", "days"};
	static const char *const of_log[] = {"at", "owner", "token_name", "old_id",
	"new_id", "outcome", "message"};

	if (PG_ARGISNULL(ARG_DELIVERIES) || PG_ARGISNULL(ARG_LIFETIME) ||
		PG_ARGISNULL(ARG_DRY_RUN))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"deliveries\", \"lifetime\" and \"dry_run\" must not be null")));
	rotations->deliveries = table_argument(fcinfo, ARG_DELIVERIES, NULL);
	rotations->log = table_argument(fcinfo, ARG_LOG, NULL);
	rotations->tokens = table_argument(fcinfo, ARG_TOKENS,
									   "gitlab_personal_access_tokens");
	rotations->users = table_argument(fcinfo, ARG_USERS, "gitlab_users");
	rotations->variables = table_argument(fcinfo, ARG_VARIABLES,
										  "gitlab_project_variables");
	rotations->lifetime = PG_GETARG_INT32(ARG_LIFETIME);
	rotations->dry_run = PG_GETARG_BOOL(ARG_DRY_RUN);
	if (!rotations->dry_run)
		option_check_writable();
	check_columns(PG_GETARG_OID(ARG_DELIVERIES), of_deliveries,
				  lengthof(of_deliveries));
	if (rotations->log)
		check_columns(PG_GETARG_OID(ARG_LOG), of_log, lengthof(of_log));
	if (rotations->lifetime < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"lifetime\" must be at least one day")));
}


/* ----------
 * SQL
 * ----------
 */

/* Runs a statement and returns how many rows it gave, which SPI_tuptable has. */
static int64
run(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int			result = SPI_execute_with_args(sql, nargs, types, values, nulls,
											   false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s",
			 SPI_result_code_string(result));
	return (int64) SPI_processed;
}

static char *
text_result(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static Datum
array_result(const Rotations *rotations, uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	MemoryContext saved = MemoryContextSwitchTo(rotations->context);

	value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(saved);
	return value;
}

/*
 * The deliveries that are due, or can't be told.  Of several active tokens of one
 * name, that one counts which works the longest: it is what was delivered last.
 */
static List *
find_due(const Rotations *rotations)
{
	static const char *const query =
		"WITH wanted AS ("
		"SELECT owner, token_name, max(days) AS days,"
		" array_agg(project ORDER BY project, variable, scope) AS projects,"
		" array_agg(variable ORDER BY project, variable, scope) AS variables,"
		" array_agg(scope ORDER BY project, variable, scope) AS scopes"
		" FROM (SELECT owner::text, token_name::text, project::text,"
		" variable::text, coalesce(environment_scope::text, '*') AS scope,"
		" max(days)::int AS days FROM %s GROUP BY 1, 2, 3, 4, 5) places"
		" GROUP BY 1, 2) "
		"SELECT w.owner, w.token_name, w.projects, w.variables, w.scopes,"
		" t.id, u.id IS NULL AS ownerless"
		" FROM wanted w LEFT JOIN %s u ON u.username = w.owner"
		" LEFT JOIN (SELECT DISTINCT ON (user_id, name) id, user_id, name,"
		" expires_at FROM %s WHERE active"
		" ORDER BY user_id, name, expires_at DESC NULLS FIRST, id DESC) t"
		" ON t.user_id = u.id AND t.name = w.token_name"
		" WHERE t.id IS NULL"
		" OR t.expires_at <= (now() AT TIME ZONE 'UTC')::date + w.days"
		" ORDER BY t.expires_at, w.owner, w.token_name";
	List	   *due = NIL;
	int64		n = run(psprintf(query, rotations->deliveries, rotations->users,
								 rotations->tokens), 0, NULL, NULL, NULL);

	for (int64 i = 0; i < n; i++)
	{
		MemoryContext saved = MemoryContextSwitchTo(rotations->context);
		Delivery   *delivery = palloc0(sizeof(Delivery));
		char	   *owner = text_result(i, 1);
		char	   *token_name = text_result(i, 2);
		char	   *id = text_result(i, 6);

		delivery->owner = owner ? pstrdup(owner) : NULL;
		delivery->token_name = token_name ? pstrdup(token_name) : NULL;
		delivery->projects = array_result(rotations, i, 3);
		delivery->variables = array_result(rotations, i, 4);
		delivery->scopes = array_result(rotations, i, 5);
		delivery->found = id != NULL;
		if (id)
			delivery->id = DatumGetInt64(DirectFunctionCall1(int8in,
															 CStringGetDatum(id)));
		else if (strcmp(text_result(i, 7), "t") == 0)
			delivery->problem = psprintf("there is no user \"%s\"",
										 owner ? owner : "");
		else
			delivery->problem = psprintf("user \"%s\" has no active token \"%s\"",
										 owner, token_name ? token_name : "");
		due = lappend(due, delivery);
		MemoryContextSwitchTo(saved);
	}
	return due;
}

/* Raises an error if one of the variables is not there to be written. */
static void
check_variables(const Rotations *rotations, const Delivery *delivery)
{
	static const char *const query =
		"SELECT string_agg(format('\"%%s\" (%%s) of \"%%s\"', p.variable,"
		" p.scope, p.project), ', ')"
		" FROM unnest($1, $2, $3) AS p(project, variable, scope)"
		" LEFT JOIN %s v ON v.project = p.project AND v.key = p.variable"
		" AND v.environment_scope = p.scope WHERE v.key IS NULL";
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[] = {delivery->projects, delivery->variables,
	delivery->scopes};
	char	   *missing;

	run(psprintf(query, rotations->variables), 3, types, values, NULL);
	missing = text_result(0, 1);
	if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no variable %s", missing),
				 errhint("INSERT it first; the first value does not matter.")));
}

/* Creates the new token and queues its delivery. */
static void
rotate(const Rotations *rotations, Delivery *delivery)
{
	static const char *const query =
		"WITH new AS ("
		"UPDATE %s SET expires_at = (now() AT TIME ZONE 'UTC')::date + $4"
		" WHERE id = $5 RETURNING id, token) "
		"UPDATE %s v SET value = new.token"
		" FROM new, unnest($1, $2, $3) AS p(project, variable, scope)"
		" WHERE v.project = p.project AND v.key = p.variable"
		" AND v.environment_scope = p.scope RETURNING new.id";
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID,
	INT8OID};
	Datum		values[] = {delivery->projects, delivery->variables,
		delivery->scopes, Int32GetDatum(rotations->lifetime),
	Int64GetDatum(delivery->id)};
	int64		places = ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(delivery->projects)),
										ARR_DIMS(DatumGetArrayTypeP(delivery->projects)));
	int64		written = run(psprintf(query, rotations->tokens,
									   rotations->variables),
							  5, types, values, NULL);
	bool		isnull;

	if (written != places)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%lld of %lld variables were found for the new token",
						(long long) written, (long long) places)));
	delivery->new_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc, 1,
												   &isnull));
}


/* ----------
 * One delivery
 * ----------
 */

/* Takes the current error out of the way; re-raises what means to stop. */
static char *
take_error(const Rotations *rotations)
{
	ErrorData  *error;
	char	   *words;

	MemoryContextSwitchTo(rotations->context);
	error = CopyErrorData();
	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	words = error->detail ?
		psprintf("%s: %s", error->message, error->detail) :
		pstrdup(error->message);
	FreeErrorData(error);
	return words;
}

/*
 * Checks a delivery and, unless it is a dry run, carries it out, in a
 * subtransaction.  Returns why that failed, or NULL.
 */
static char *
attempt(const Rotations *rotations, Delivery *delivery)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		check_variables(rotations, delivery);
		if (!rotations->dry_run)
			rotate(rotations, delivery);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(rotations->context);
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		problem = take_error(rotations);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return problem;
}

/* Commits; returns why that failed, in which case all is rolled back. */
static char *
try_commit(const Rotations *rotations)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile problem = NULL;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		problem = take_error(rotations);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return problem;
}

/* Writes down what came of a delivery, in a transaction of its own. */
static void
write_log(const Rotations *rotations, const Delivery *delivery)
{
	static const char *const query =
		"INSERT INTO %s (at, owner, token_name, old_id, new_id, outcome, message)"
		" VALUES (now(), $1, $2, $3, $4, $5, $6)";
	const char *outcome = delivery->problem ? "failed" :
		rotations->dry_run ? "due" : "rotated";
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(delivery->owner ? delivery->owner : ""),
		CStringGetTextDatum(delivery->token_name ? delivery->token_name : ""),
		Int64GetDatum(delivery->id),
		Int64GetDatum(delivery->new_id),
		CStringGetTextDatum(outcome),
		CStringGetTextDatum(delivery->problem ? delivery->problem : "")
	};
	char		nulls[] = "      ";

	if (!delivery->found)
		nulls[2] = 'n';
	if (delivery->new_id == 0)
		nulls[3] = 'n';
	if (delivery->problem == NULL)
		nulls[5] = 'n';
	if (rotations->log)
	{
		run(psprintf(query, rotations->log), 6, types, values, nulls);
		SPI_commit();
	}
}

static void
tell(const Rotations *rotations, const Delivery *delivery)
{
	const char *owner = delivery->owner ? delivery->owner : "";
	const char *name = delivery->token_name ? delivery->token_name : "";

	if (delivery->problem)
		ereport(WARNING,
				(errmsg("could not rotate personal access token \"%s\" of user \"%s\"",
						name, owner),
				 errdetail("%s", delivery->problem)));
	else if (rotations->dry_run)
		ereport(NOTICE,
				(errmsg("personal access token " INT64_FORMAT " (\"%s\" of user \"%s\") is due",
						delivery->id, name, owner)));
	else
		ereport(NOTICE,
				(errmsg("personal access token " INT64_FORMAT " (\"%s\" of user \"%s\") was rotated to " INT64_FORMAT " and delivered",
						delivery->id, name, owner, delivery->new_id)));
}

static void
deliver(Rotations *rotations, Delivery *delivery)
{
	if (delivery->problem == NULL)
	{
		char	   *failed_commit;

		delivery->problem = attempt(rotations, delivery);
		/* after a failure, too: it revokes what the attempt had created */
		failed_commit = try_commit(rotations);
		if (delivery->problem == NULL)
			delivery->problem = failed_commit;
		if (delivery->problem)
			delivery->new_id = 0;
	}
	tell(rotations, delivery);
	write_log(rotations, delivery);
	if (delivery->problem == NULL)
		rotations->rotated++;
	else if (rotations->failed++ == 0)
		rotations->first_failure =
			MemoryContextStrdup(rotations->context, delivery->problem);
}


/* ----------
 * The procedure
 * ----------
 */

/* One session at a time by one table; until the session ends or unlocks. */
static void
lock_deliveries(Oid relid)
{
	if (!DatumGetBool(DirectFunctionCall2(pg_try_advisory_lock_int4,
										  Int32GetDatum(ADVISORY_CLASS),
										  ObjectIdGetDatum(relid))))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another session is rotating by \"%s\"",
						get_rel_name(relid))));
}

static void
unlock_deliveries(Oid relid)
{
	(void) DirectFunctionCall2(pg_advisory_unlock_int4,
							   Int32GetDatum(ADVISORY_CLASS),
							   ObjectIdGetDatum(relid));
}

/*
 * Rotates the tokens that are due by a table of deliveries, and delivers them.
 * Commits after each.  In the end an error says how many have failed, for a job
 * that was not done should be seen to have failed.
 */
Datum
gitlab_pat_rotate_due(PG_FUNCTION_ARGS)
{
	Rotations	rotations = {0};
	MemoryContext context = CurrentMemoryContext;
	Oid			relid;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	function_check_call(fcinfo, "gitlab_pat_rotate_due",
						"It commits after each token.");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_rotate_due()");
	/* the portal's, which lives as long as the call */
	rotations.context = AllocSetContextCreate(PortalContext,
											  "gitlab_pat_fdw rotations",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(rotations.context);
	read_arguments(fcinfo, &rotations);
	relid = PG_GETARG_OID(ARG_DELIVERIES);
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");

	lock_deliveries(relid);
	PG_TRY();
	{
		List	   *due;
		ListCell   *lc;

		due = find_due(&rotations);
		foreach(lc, due)
			deliver(&rotations, lfirst(lc));
	}
	PG_FINALLY();
	{
		unlock_deliveries(relid);
	}
	PG_END_TRY();

	if (rotations.failed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("%d of %d personal access tokens could not be rotated",
						rotations.failed, rotations.failed + rotations.rotated),
				 errdetail("The first failure: %s", rotations.first_failure),
				 rotations.rotated > 0 && !rotations.dry_run ?
				 errhint("The others are done.") : 0));
	SPI_finish();
	MemoryContextSwitchTo(context);
	values[0] = Int32GetDatum(rotations.rotated);
	values[1] = Int32GetDatum(rotations.failed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
