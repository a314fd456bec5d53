/*-------------------------------------------------------------------------
 *
 * async.c
 *	  Scans below an Append that are read at the same time.
 *
 * Each scan sends its first request when the Append asks for its first row.  The
 * Append would wait for descriptors, and libcurl opens and closes these as it likes.
 * Therefore the Append gets no descriptor.  While it collects them, this module waits
 * for the requests of all of its scans of GitLab, until one of them has a row.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "executor/execAsync.h"
#include "executor/instrument.h"
#include "fdw/async.h"
#include "fdw/scan.h"

/* Any scan can be: what has to be read in turn says so when a row is asked for. */
bool
gitlab_IsForeignPathAsyncCapable(ForeignPath *path)
{
	(void) path;
	return true;
}

/*
 * Gives the scan's next row, or its end, to whoever has asked for it.  The executor
 * drops rows that do not fulfill the conditions, and asks for more of them: it must not
 * wait for these while other scans have rows.
 */
static void
produce(AsyncRequest *areq)
{
	ForeignScanState *node = (ForeignScanState *) areq->requestee;
	TupleTableSlot *slot = node->ss.ps.ExecProcNodeReal(&node->ss.ps);

	if (TupIsNull(slot) && scan_awaited(node))
		ExecAsyncRequestPending(areq);
	else
		ExecAsyncRequestDone(areq, slot);
}

/* Asks for a row: it is there, or a request is under way. */
void
gitlab_ForeignAsyncRequest(AsyncRequest *areq)
{
	ForeignScanState *node = (ForeignScanState *) areq->requestee;
	GitLabScan *scan = node->fdw_state;

	/* a count has one row, and waits for it */
	scan->yields = scan->kind == SCAN_ROWS;
	if (scan_awaited(node))
		ExecAsyncRequestPending(areq);
	else
		produce(areq);
}

/* Whether a request of an Append waits for GitLab. */
static bool
is_ours(const AsyncRequest *areq)
{
	return areq && areq->callback_pending &&
		IsA(areq->requestee, ForeignScanState) &&
		((ForeignScanState *) areq->requestee)->fdwroutine->ForeignAsyncRequest ==
		gitlab_ForeignAsyncRequest;
}

/*
 * Waits until a row of some request of the Append may be there, unless one is, or
 * scans that are not asynchronous can go on meanwhile.
 */
static void
wait_for_any(AppendState *append)
{
	ApiCall    *calls[MAX_CONCURRENCY];
	int			ncalls = 0;

	if (append->as_nasyncresults > 0 || !append->as_syncdone)
		return;
	for (int i = 0; i < append->as_nplans && ncalls < MAX_CONCURRENCY; i++)
	{
		AsyncRequest *areq = append->as_asyncrequests[i];
		ApiCall    *call;

		if (!is_ours(areq))
			continue;
		call = scan_awaited((ForeignScanState *) areq->requestee);
		if (call == NULL)
			return;
		calls[ncalls++] = call;
	}
	if (ncalls > 0)
		(void) api_wait(calls, ncalls);
}

/* Waits for GitLab in the Append's place, and responds if a row is there. */
void
gitlab_ForeignAsyncConfigureWait(AsyncRequest *areq)
{
	wait_for_any((AppendState *) areq->requestor);
	if (scan_awaited((ForeignScanState *) areq->requestee))
		return;
	areq->callback_pending = false;
	produce(areq);
	ExecAsyncResponse(areq);
	if (areq->requestee->instrument)
		InstrUpdateTupleCount(areq->requestee->instrument,
							  TupIsNull(areq->result) ? 0.0 : 1.0);
}

/* Never called, for no descriptor is waited for; but the executor wants it. */
void
gitlab_ForeignAsyncNotify(AsyncRequest *areq)
{
	produce(areq);
}
