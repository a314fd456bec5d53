/*-------------------------------------------------------------------------
 *
 * try_commit.c
 *	  CALL gitlab_pat_try_commit(): a commit that may fail.
 *
 * CI/CD variables are written, and tokens revoked, by the commit, so a commit
 * fails whenever GitLab does.  A procedure in PL/pgSQL ends with a COMMIT that
 * fails.  This procedure hands the error to its caller instead, who can write it
 * down and go on in the transaction that has begun.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "sql/functions.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(gitlab_pat_try_commit);

/*
 * Whether this error must end the whole CALL.  A cancel and a shutdown mean the
 * caller.  After 2D000 no commit was tried.  Classes 53, 58 and XX tell that
 * the server itself is in trouble, which the next transaction would meet
 * again.  The exception is 53400: GitLab's rate limit, or max_changes.
 */
static bool
ends_the_call(int sqlstate)
{
	static const char *const beginnings[] = {"57014", "57P", "2D000", "53", "58",
	"XX"};
	const char *state = unpack_sql_state(sqlstate);

	if (sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
		return false;
	for (int i = 0; i < (int) lengthof(beginnings); i++)
		if (strncmp(state, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

/*
 * Commits.  Returns NULL, or the error with which the commit has failed,
 * palloc'ed in the current memory context; then all is rolled back.  A new
 * transaction has begun either way.  Raises what ends_the_call().
 */
static ErrorData *
try_commit(void)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ends_the_call(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return error;
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/*
 * Commits, and tells in four output arguments with which SQLSTATE, message,
 * detail and hint that has failed.  All are NULL after a commit that succeeded.
 */
Datum
gitlab_pat_try_commit(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, true};
	ErrorData  *error;
	TupleDesc	desc;

	function_check_nonatomic(fcinfo, "gitlab_pat_try_commit",
							 "It commits, or rolls back.");
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	MemoryContextSwitchTo(context);
	error = try_commit();
	SPI_finish();
	MemoryContextSwitchTo(context);

	if (error)
	{
		values[0] = text_or_null(unpack_sql_state(error->sqlerrcode), &nulls[0]);
		values[1] = text_or_null(error->message, &nulls[1]);
		values[2] = text_or_null(error->detail, &nulls[2]);
		values[3] = text_or_null(error->hint, &nulls[3]);
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_try_commit()");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
