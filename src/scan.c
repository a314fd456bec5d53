/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Executing scans of foreign tables.
 *
 * A scan resolves the role's credential and sends its first request when its
 * first row is asked for, not before: EXPLAIN makes no request, and a scan
 * that is never run needs no user mapping.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api.h"
#include "compat.h"
#include "executor/executor.h"
#include "option.h"
#include "plan.h"
#include "scan.h"
#include "transaction.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct GitLabScan
{
	TableSettings *settings;
	const ResourceField **fields;	/* by attribute number minus one */
	Bitmapset  *columns;		/* attribute numbers to convert */
	ScanKind	kind;
	List	   *params;			/* ExprStates of fdw_exprs */
	CommandId	curcid;			/* of the scan's snapshot */
	ApiClient  *client;
	ApiStream  *stream;			/* NULL before the first row */
	MemoryContext row_context;	/* holds the values of the current row */
} GitLabScan;

/* Prepares a scan; sends nothing yet. */
void
gitlab_BeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	Relation	rel = node->ss.ss_currentRelation;
	GitLabScan  *scan;
	ListCell   *lc;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	scan = palloc0(sizeof(GitLabScan));
	scan->settings = option_table(RelationGetRelid(rel));
	scan->fields = resource_bind(scan->settings->resource, rel);
	scan->kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	foreach(lc, (List *) list_nth(fsplan->fdw_private, SCAN_PRIVATE_COLUMNS))
		scan->columns = bms_add_member(scan->columns, lfirst_int(lc));
	/* an empty set would read as NULL, which means all columns */
	scan->columns = bms_add_member(scan->columns, 0);
	scan->params = ExecInitExprList(fsplan->fdw_exprs, (PlanState *) node);
	scan->curcid = estate->es_snapshot->curcid;
	scan->client = api_open(scan->settings->serverid,
							compat_scan_userid(fsplan, estate));
	scan->row_context = AllocSetContextCreate(estate->es_query_cxt,
											  "GitLab row",
											  ALLOCSET_SMALL_SIZES);
	node->fdw_state = scan;
}

/* The stream of a lookup: of one id, or of none if no object can have it. */
static ApiStream *
open_lookup(ForeignScanState *node, GitLabScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	bool		isnull;
	Datum		value = ExecEvalExprSwitchContext(linitial(scan->params),
												  econtext, &isnull);
	int64		id = isnull ? 0 : DatumGetInt64(value);

	return api_lookup(scan->client, scan->settings->resource, &id,
					  id > 0 ? 1 : 0, scan->settings->concurrency);
}

static void
open_stream(ForeignScanState *node, GitLabScan *scan)
{
	MemoryContext saved;

	saved = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
	if (scan->kind == SCAN_LOOKUP)
		scan->stream = open_lookup(node, scan);
	else
		scan->stream = api_list(scan->client, scan->settings->resource, NIL,
								scan->settings->page_size,
								scan->settings->concurrency);
	MemoryContextSwitchTo(saved);
}

/* Returns the next row in the scan's slot; an empty slot at the end. */
TupleTableSlot *
gitlab_IterateForeignScan(ForeignScanState *node)
{
	GitLabScan  *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	JsonRecord *record;

	if (scan->stream == NULL)
		open_stream(node, scan);
	while ((record = api_next(scan->stream)) != NULL)
	{
		TokenView	view = TOKEN_AS_READ;
		MemoryContext saved;
		int64		id;

		if (scan->settings->resource == resource_tokens &&
			resource_id(record, &id))
			view = transaction_view(scan->settings->serverid, id, scan->curcid);
		if (view == TOKEN_HIDDEN)
			continue;
		MemoryContextReset(scan->row_context);
		saved = MemoryContextSwitchTo(scan->row_context);
		resource_fill_slot(scan->settings->resource, scan->fields,
						   scan->columns, record, view == TOKEN_REVOKED, false,
						   slot);
		MemoryContextSwitchTo(saved);
		return slot;
	}
	return ExecClearTuple(slot);
}

/*
 * Starts again.  With the same parameters, and if nothing beyond the first
 * answer was read, that costs no request.
 */
void
gitlab_ReScanForeignScan(ForeignScanState *node)
{
	GitLabScan  *scan = node->fdw_state;

	if (scan == NULL || scan->stream == NULL)
		return;
	if (node->ss.ps.chgParam == NULL && api_rewind(scan->stream))
		return;
	api_end(scan->stream);
	scan->stream = NULL;
}

/* Ends a scan and what it has under way. */
void
gitlab_EndForeignScan(ForeignScanState *node)
{
	GitLabScan  *scan = node->fdw_state;

	if (scan && scan->stream)
		api_end(scan->stream);
}
