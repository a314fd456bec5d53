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

#include "change/transaction.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "fdw/table.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/filter.h"
#include "gitlab/listing.h"
#include "gitlab/option.h"
#include "gitlab/record.h"
#include "gitlab/stream.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"


/* ----------
 * Beginning
 * ----------
 */

/* The table that is scanned; that of a count has no relation of its own. */
Oid
scanned_table(ForeignScanState *node)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;

	if (node->ss.ss_currentRelation)
		return RelationGetRelid(node->ss.ss_currentRelation);
	return exec_rt_fetch(bms_next_member(fsplan->fs_relids, -1),
						 node->ss.ps.state)->relid;
}

/* Takes the conditions out of the plan; their operands are not known yet. */
void
read_conditions(GitLabScan *scan, ForeignScan *fsplan)
{
	List	   *pairs = list_nth(fsplan->fdw_private, SCAN_PRIVATE_CONDITIONS);

	scan->nconditions = list_length(pairs) / 2;
	scan->conditions = palloc0(sizeof(Condition) * Max(scan->nconditions, 1));
	for (int i = 0; i < scan->nconditions; i++)
	{
		scan->conditions[i].field =
			&scan->settings->resource->fields[list_nth_int(pairs, 2 * i)];
		scan->conditions[i].operator = list_nth_int(pairs, 2 * i + 1);
		scan->conditions[i].type = exprType(list_nth(fsplan->fdw_exprs, i));
	}
}

/*
 * Raises an error if a plan does not say all that must be known for a request.
 * Not while planning: that looks at the halves of an EXISTS, one of them
 * without its condition, and then takes the other one, which costs less.
 */
static void
check_possible(ForeignScanState *node, GitLabScan *scan)
{
	Relation	relation = node->ss.ss_currentRelation;
	const Resource *resource = scan->settings->resource;
	int			column = 0;

	if (resource->container == NULL)
		return;
	for (int i = 0; i < scan->nconditions; i++)
		if (filter_needed(resource, scan->conditions[i].field))
			return;
	while (scan->fields[column] == NULL ||
		   !filter_needed(resource, scan->fields[column]))
		column++;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot read foreign table \"%s\" without a condition on column \"%s\"",
					RelationGetRelationName(relation),
					NameStr(TupleDescAttr(RelationGetDescr(relation),
										  column)->attname)),
			 errdetail("GitLab lists what is in one of them at a time."),
			 errhint("Say where: by \"=\" or IN with constants or parameters, or by a join on that column.")));
}

/* Prepares a scan; sends nothing yet. */
void
gitlab_BeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	GitLabScan *scan;
	ListCell   *lc;

	scan = palloc0(sizeof(GitLabScan));
	scan->settings = option_table(scanned_table(node));
	scan->kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	scan->order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	scan->limit = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_LIMIT));
	if (node->ss.ss_currentRelation)
		scan->fields = resource_bind(scan->settings->resource,
									 node->ss.ss_currentRelation);
	read_conditions(scan, fsplan);
	check_possible(node, scan);
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	foreach(lc, (List *) list_nth(fsplan->fdw_private, SCAN_PRIVATE_COLUMNS))
		scan->columns = bms_add_member(scan->columns, lfirst_int(lc));
	/* an empty set would read as NULL, which means all columns */
	scan->columns = bms_add_member(scan->columns, 0);
	scan->operands = ExecInitExprList(fsplan->fdw_exprs, (PlanState *) node);
	scan->curcid = estate->es_snapshot->curcid;
	scan->client = api_open(scan->settings->serverid,
							compat_scan_userid(fsplan, estate));
	scan->row_context = AllocSetContextCreate(estate->es_query_cxt,
											  "GitLab row",
											  ALLOCSET_SMALL_SIZES);
	scan->pass_context = AllocSetContextCreate(estate->es_query_cxt,
											   "GitLab scan",
											   ALLOCSET_SMALL_SIZES);
	node->fdw_state = scan;
}

/* Computes the operands; they live in the current memory context. */
static void
evaluate_operands(ForeignScanState *node, GitLabScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;

	for (int i = 0; i < scan->nconditions; i++)
		scan->conditions[i].operand =
			ExecEvalExpr(list_nth(scan->operands, i), econtext,
						 &scan->conditions[i].isnull);
}


/* ----------
 * Streams
 * ----------
 */

/* How the listings of a scan are read. */
StreamListing
listing_of(const GitLabScan *scan, List *parameters)
{
	StreamListing listing = {
		.parameters = parameters,
		.page_size = scan->settings->page_size,
		.first_page_size = scan->limit,
		.concurrency = scan->settings->concurrency,
	};

	if (scan->order == ORDER_ID)
		listing.order_by = "id";
	else if (scan->order != ORDER_NONE)
	{
		listing.order_by = "expires_at";
		listing.descending = scan->order == ORDER_EXPIRES_DESC;
		listing.parameters =
			list_concat_copy(parameters,
							 api_parameter("sort", listing.descending ?
										   "expires_desc" : "expires_asc"));
	}
	return listing;
}

/*
 * A parameter that GitLab does not know yet, or knows otherwise, would bring
 * wrong results: so a declared version has to be true before it is relied on.
 */
static void
check_version(GitLabScan *scan, const FilterRequest *request)
{
	bool		by_expiry = scan->order == ORDER_EXPIRES_ASC ||
		scan->order == ORDER_EXPIRES_DESC;

	if (!request->nothing && !request->lookup &&
		(request->needs_version || by_expiry))
		api_require_version(scan->client, scan->settings->version);
}

/*
 * Plans the streams that bring the rows of a request: one for all lookups, or one
 * for each collection.
 */
static void
plan_streams(GitLabScan *scan, const FilterRequest *request)
{
	check_version(scan, request);
	scan->request = request;
	scan->current = 0;
	scan->nstreams = request->lookup && request->ntargets > 0 ? 1 :
		request->ntargets;
	scan->streams = palloc0(sizeof(Stream *) * Max(scan->nstreams, 1));
}

/* One of them; opened only now, for there may be many, and each takes memory. */
static Stream *
open_stream(GitLabScan *scan, int number)
{
	const FilterRequest *request = scan->request;
	const Resource *resource = scan->settings->resource;
	MemoryContext saved;
	StreamListing listing;

	if (scan->streams[number])
		return scan->streams[number];
	saved = MemoryContextSwitchTo(scan->pass_context);
	listing = listing_of(scan, request->parameters);
	listing.target = &request->targets[number];
	/* the first pages of several are read ahead instead */
	if (scan->nstreams > 1)
		listing.concurrency = 1;
	scan->streams[number] = request->lookup ?
		stream_lookup(scan->client, resource, request->targets,
					  request->ntargets, scan->settings->concurrency) :
		stream_list(scan->client, resource, &listing);
	MemoryContextSwitchTo(saved);
	return scan->streams[number];
}

/* The next record of all streams, in their order. */
static JsonRecord *
next_record(GitLabScan *scan)
{
	while (scan->current < scan->nstreams)
	{
		JsonRecord *record;
		int			ahead = Min(scan->nstreams,
								scan->current + scan->settings->concurrency);

		for (int i = scan->current; scan->nstreams > 1 && i < ahead; i++)
			stream_prefetch(open_stream(scan, i));
		record = stream_next(open_stream(scan, scan->current));
		if (record)
			return record;
		/* one of several is not needed any more; a single one may be rewound */
		if (scan->nstreams > 1)
		{
			stream_end(scan->streams[scan->current]);
			scan->streams[scan->current] = NULL;
		}
		scan->current++;
	}
	return NULL;
}

/*
 * The next record as this transaction makes it look: what it has changed, and
 * in the end what GitLab does not know yet.
 */
static JsonRecord *
next_view(GitLabScan *scan, bool *revoked)
{
	JsonRecord *record;

	*revoked = false;
	while ((record = next_record(scan)) != NULL)
	{
		record = transaction_view_record(scan->view, record, revoked);
		if (record)
			return record;
	}
	return transaction_view_rest(scan->view);
}

static void
begin_pass(ForeignScanState *node, GitLabScan *scan)
{
	scan->begun = true;
	scan->view = transaction_view(scan->settings->serverid,
								  scan->settings->resource, scan->curcid);
	evaluate_operands(node, scan);
}

static void
end_pass(GitLabScan *scan)
{
	for (int i = 0; scan->streams && i < scan->nstreams; i++)
		if (scan->streams[i])
			stream_end(scan->streams[i]);
	scan->streams = NULL;
	scan->nstreams = 0;
	scan->begun = scan->ended = false;
	MemoryContextReset(scan->pass_context);
}


/* ----------
 * Rows
 * ----------
 */

static TupleTableSlot *
next_row(ForeignScanState *node, GitLabScan *scan)
{
	const Resource *resource = scan->settings->resource;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	JsonRecord *record;
	bool		revoked;
	MemoryContext saved;

	if (!scan->begun)
	{
		saved = MemoryContextSwitchTo(scan->pass_context);
		begin_pass(node, scan);
		plan_streams(scan, filter_request(resource, scan->settings->version,
										  scan->conditions, scan->nconditions,
										  transaction_view_differs(scan->view),
										  false));
		MemoryContextSwitchTo(saved);
	}
	record = next_view(scan, &revoked);
	if (record == NULL)
		return ExecClearTuple(slot);
	MemoryContextReset(scan->row_context);
	saved = MemoryContextSwitchTo(scan->row_context);
	resource_fill_slot(resource, scan->fields, scan->columns, record, revoked,
					   false, slot);
	MemoryContextSwitchTo(saved);
	return slot;
}

/* Counts by reading, where GitLab's total is not what is asked for. */
static int64
count_records(GitLabScan *scan, const FilterRequest *request)
{
	JsonRecord *record;
	bool		revoked;
	int64		count = 0;

	plan_streams(scan, request);
	while ((record = next_view(scan, &revoked)) != NULL)
	{
		MemoryContext saved = MemoryContextSwitchTo(scan->row_context);

		if (filter_matches(scan->settings->resource, scan->conditions,
						   scan->nconditions, record, revoked))
			count++;
		MemoryContextSwitchTo(saved);
		MemoryContextReset(scan->row_context);
	}
	return count;
}

static int64
count_rows(ForeignScanState *node, GitLabScan *scan)
{
	const Resource *resource = scan->settings->resource;
	int			version = scan->settings->version;
	FilterRequest *request;
	bool		differs;
	int64		count = -1;

	begin_pass(node, scan);
	differs = transaction_view_differs(scan->view);
	request = filter_request(resource, version, scan->conditions,
							 scan->nconditions, differs, true);
	if (request->nothing)
		return 0;
	if (request->exact && !differs && !request->lookup && request->ntargets == 1)
	{
		check_version(scan, request);
		count = stream_total(scan->client, resource, request->targets,
							 request->parameters);
	}
	if (count >= 0)
		return count;
	return count_records(scan, filter_request(resource, version,
											  scan->conditions,
											  scan->nconditions, differs,
											  false));
}

/* The one row of a count; as many columns as the query has count(*). */
static TupleTableSlot *
count_row(ForeignScanState *node, GitLabScan *scan)
{
	TupleTableSlot *slot = ExecClearTuple(node->ss.ss_ScanTupleSlot);
	MemoryContext saved;
	int64		count;

	if (scan->ended)
		return slot;
	saved = MemoryContextSwitchTo(scan->pass_context);
	count = count_rows(node, scan);
	MemoryContextSwitchTo(saved);
	scan->ended = true;
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = Int64GetDatum(count);
		slot->tts_isnull[i] = false;
	}
	return ExecStoreVirtualTuple(slot);
}

/* Returns the next row in the scan's slot; an empty slot at the end. */
TupleTableSlot *
gitlab_IterateForeignScan(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;

	return scan->kind == SCAN_COUNT ? count_row(node, scan) :
		next_row(node, scan);
}

/*
 * Starts again.  With the same parameters, and if nothing beyond the first
 * answer was read, that costs no request.
 */
void
gitlab_ReScanForeignScan(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;

	if (scan == NULL || !scan->begun)
		return;
	if ((node->ss.ps.chgParam == NULL || scan->nconditions == 0) &&
		scan->kind == SCAN_ROWS)
	{
		if (scan->nstreams == 0 ||
			(scan->nstreams == 1 && stream_rewind(open_stream(scan, 0))))
		{
			scan->current = 0;
			transaction_view_rewind(scan->view);
			return;
		}
	}
	scan->current = 0;
	end_pass(scan);
}

/* Ends a scan and what it has under way. */
void
gitlab_EndForeignScan(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;

	if (scan && scan->begun)
	{
		scan->current = 0;
		end_pass(scan);
	}
}
