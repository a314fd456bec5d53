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
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "filter.h"
#include "nodes/nodeFuncs.h"
#include "option.h"
#include "plan.h"
#include "scan.h"
#include "stream.h"
#include "transaction.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

typedef struct GitLabScan
{
	TableSettings *settings;
	ScanKind	kind;
	ScanOrder	order;
	int			limit;			/* rows that will do, or 0 */
	const ResourceField **fields;	/* by attribute number minus one */
	Bitmapset  *columns;		/* attribute numbers to convert */
	List	   *operands;		/* ExprStates of fdw_exprs */
	CommandId	curcid;			/* of the scan's snapshot */
	ApiClient  *client;
	MemoryContext row_context;	/* holds the values of the current row */

	/* from the first row, or a rescan, on */
	bool		begun;
	bool		ended;			/* a count was returned */
	MemoryContext pass_context; /* holds what follows */
	Condition  *conditions;
	int			nconditions;
	bool		pending;		/* the transaction had changed tokens before */
	Stream **streams;		/* to be read one after the other */
	int			nstreams;
	int			current;
} GitLabScan;


/* ----------
 * Beginning
 * ----------
 */

/* The table that is scanned; that of a count has no relation of its own. */
static Oid
scanned_table(ForeignScanState *node)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;

	if (node->ss.ss_currentRelation)
		return RelationGetRelid(node->ss.ss_currentRelation);
	return exec_rt_fetch(bms_next_member(fsplan->fs_relids, -1),
						 node->ss.ps.state)->relid;
}

/* Takes the conditions out of the plan; their operands are not known yet. */
static void
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

/* Prepares a scan; sends nothing yet. */
void
gitlab_BeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	GitLabScan *scan;
	ListCell   *lc;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	scan = palloc0(sizeof(GitLabScan));
	scan->settings = option_table(scanned_table(node));
	scan->kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	scan->order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	scan->limit = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_LIMIT));
	if (node->ss.ss_currentRelation)
		scan->fields = resource_bind(scan->settings->resource,
									 node->ss.ss_currentRelation);
	foreach(lc, (List *) list_nth(fsplan->fdw_private, SCAN_PRIVATE_COLUMNS))
		scan->columns = bms_add_member(scan->columns, lfirst_int(lc));
	/* an empty set would read as NULL, which means all columns */
	scan->columns = bms_add_member(scan->columns, 0);
	read_conditions(scan, fsplan);
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
static StreamListing
listing_of(const GitLabScan *scan, List *parameters)
{
	StreamListing	listing = {
		.parameters = parameters,
		.page_size = scan->settings->page_size,
		.first_page_size = scan->limit,
		.concurrency = scan->settings->concurrency,
	};

	if (scan->order == ORDER_ID)
		listing.order_by = "id";
	else if (scan->order != ORDER_NONE)
	{
		ApiParameter *sort = palloc(sizeof(ApiParameter));

		listing.order_by = "expires_at";
		listing.descending = scan->order == ORDER_EXPIRES_DESC;
		sort->name = "sort";
		sort->value = listing.descending ? "expires_desc" : "expires_asc";
		listing.parameters = lappend(listing.parameters, sort);
	}
	return listing;
}

/* One listing for each value of a parameter that takes one at a time. */
static void
open_split(GitLabScan *scan, const FilterRequest *request)
{
	scan->nstreams = request->nids;
	scan->streams = palloc0(sizeof(Stream *) * request->nids);
	for (int i = 0; i < request->nids; i++)
	{
		ApiParameter *parameter = palloc(sizeof(ApiParameter));
		StreamListing	listing;

		parameter->name = request->split;
		parameter->value = psprintf(INT64_FORMAT, request->ids[i]);
		listing = listing_of(scan, lcons(parameter,
										 list_copy(request->parameters)));

		/* their first pages are read ahead instead */
		listing.concurrency = 1;
		scan->streams[i] = stream_list(scan->client, scan->settings->resource,
									&listing);
	}
}

/* Opens the streams that bring the rows of a request. */
static void
open_streams(GitLabScan *scan, const FilterRequest *request)
{
	const Resource *resource = scan->settings->resource;
	StreamListing	listing;

	scan->current = 0;
	if (request->nothing)
	{
		scan->nstreams = 0;
		return;
	}
	if (!request->lookup && request->split)
	{
		open_split(scan, request);
		return;
	}
	scan->nstreams = 1;
	scan->streams = palloc(sizeof(Stream *));
	if (request->lookup)
		scan->streams[0] = stream_lookup(scan->client, resource, request->ids,
									  request->nids,
									  scan->settings->concurrency);
	else
	{
		listing = listing_of(scan, request->parameters);
		scan->streams[0] = stream_list(scan->client, resource, &listing);
	}
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
			stream_prefetch(scan->streams[i]);
		record = stream_next(scan->streams[scan->current]);
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
 * How this transaction makes a record look.  The running command may have made
 * its first token after the scan began, so "pending" does not tell.
 */
static TokenView
view_of(const GitLabScan *scan, JsonRecord *record)
{
	int64		id;

	if (scan->settings->resource != resource_tokens ||
		!resource_id(record, &id))
		return TOKEN_AS_READ;
	return transaction_view(scan->settings->serverid, id, scan->curcid);
}

static void
begin_pass(ForeignScanState *node, GitLabScan *scan)
{
	scan->begun = true;
	scan->pending = scan->settings->resource == resource_tokens &&
		transaction_pending(scan->settings->serverid);
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
	MemoryContext saved;

	if (!scan->begun)
	{
		saved = MemoryContextSwitchTo(scan->pass_context);
		begin_pass(node, scan);
		open_streams(scan, filter_request(resource, scan->settings->version,
										  scan->conditions, scan->nconditions,
										  scan->pending, false));
		MemoryContextSwitchTo(saved);
	}
	while ((record = next_record(scan)) != NULL)
	{
		TokenView	view = view_of(scan, record);

		if (view == TOKEN_HIDDEN)
			continue;
		MemoryContextReset(scan->row_context);
		saved = MemoryContextSwitchTo(scan->row_context);
		resource_fill_slot(resource, scan->fields, scan->columns, record,
						   view == TOKEN_REVOKED, false, slot);
		MemoryContextSwitchTo(saved);
		return slot;
	}
	return ExecClearTuple(slot);
}

/* Counts by reading, where GitLab's total is not what is asked for. */
static int64
count_records(GitLabScan *scan, const FilterRequest *request)
{
	JsonRecord *record;
	int64		count = 0;

	open_streams(scan, request);
	while ((record = next_record(scan)) != NULL)
	{
		TokenView	view = view_of(scan, record);
		MemoryContext saved = MemoryContextSwitchTo(scan->row_context);

		if (view != TOKEN_HIDDEN &&
			filter_matches(scan->settings->resource, scan->conditions,
						   scan->nconditions, record, view == TOKEN_REVOKED))
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
	int64		count = -1;

	begin_pass(node, scan);
	request = filter_request(resource, version, scan->conditions,
							 scan->nconditions, scan->pending, true);
	if (request->nothing)
		return 0;
	if (request->exact && !scan->pending && !request->lookup && !request->split)
		count = stream_total(scan->client, resource, request->parameters);
	if (count >= 0)
		return count;
	return count_records(scan, filter_request(resource, version,
											  scan->conditions,
											  scan->nconditions, scan->pending,
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
		if (scan->nstreams == 0)
			return;
		if (scan->nstreams == 1 && stream_rewind(scan->streams[0]))
		{
			scan->current = 0;
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


/* ----------
 * EXPLAIN
 * ----------
 */

static void
append_parameter(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%s%s=%s", strchr(buf->data, '?') ? "&" : "?", name,
					 value);
}

/*
 * Shows the request that the scan makes.  Parameters that depend on something
 * other than constants are shown by their expressions, in braces.
 */
static void
explain_request(ForeignScanState *node, GitLabScan *scan, ForeignScan *fsplan,
				ExplainState *es)
{
	const Resource *resource = scan->settings->resource;
	List	   *context = set_deparse_context_plan(es->deparse_cxt,
												  (Plan *) fsplan, NIL);
	Condition  *known = palloc(sizeof(Condition) * Max(scan->nconditions, 1));
	FilterRequest *request;
	StringInfoData buf;
	int			nknown = 0;
	bool		lookup = false;
	ListCell   *lc;

	initStringInfo(&buf);
	for (int i = 0; i < scan->nconditions; i++)
	{
		Node	   *operand = list_nth(fsplan->fdw_exprs, i);

		if (scan->conditions[i].field->flags & FIELD_IDENTITY)
			lookup = true;
		else if (IsA(operand, Const))
		{
			known[nknown] = scan->conditions[i];
			known[nknown].operand = ((Const *) operand)->constvalue;
			known[nknown++].isnull = ((Const *) operand)->constisnull;
		}
	}
	request = filter_request(resource, scan->settings->version, known, nknown,
							 false, scan->kind == SCAN_COUNT);
	if (request->nothing)
		appendStringInfoString(&buf, "none");
	else
		appendStringInfo(&buf, "GET %s%s", resource->path, lookup ? "/:id" : "");
	if (!lookup && !request->nothing)
	{
		StreamListing	listing = listing_of(scan, request->parameters);

		foreach(lc, listing.parameters)
		{
			ApiParameter *parameter = lfirst(lc);

			append_parameter(&buf, parameter->name, parameter->value);
		}
		if (request->split)
			append_parameter(&buf, request->split, "{each of several}");
		for (int i = 0; i < scan->nconditions; i++)
		{
			Node	   *operand = list_nth(fsplan->fdw_exprs, i);
			char	   *expression;

			if (IsA(operand, Const))
				continue;
			expression = deparse_expression(operand, context, es->verbose, false);
			foreach(lc, filter_parameters(resource, &scan->conditions[i]))
				append_parameter(&buf, lfirst(lc),
								 psprintf("{%s}", expression));
		}
	}
	ExplainPropertyText("GitLab Request", buf.data, es);
}

/*
 * Shows the fields whose conditions GitLab answers exactly, or else with a
 * superset.  All are checked again; see the filter.
 */
static void
explain_exactness(const GitLabScan *scan, List *operands, bool exact,
				  const char *label, ExplainState *es)
{
	List	   *names = NIL;

	for (int i = 0; i < scan->nconditions; i++)
	{
		const Condition *condition = &scan->conditions[i];
		Const	   *operand = list_nth(operands, i);
		bool		is_true = IsA(operand, Const) &&
			DatumGetBool(operand->constvalue);
		bool		is_exact;

		(void) filter_exists(scan->settings->resource, condition->field,
							 condition->operator,
							 condition->field->type == FIELD_BOOLEAN &&
							 IsA(operand, Const) ? &is_true : NULL,
							 scan->settings->version, false, &is_exact);
		if (is_exact == exact)
			names = lappend(names, pstrdup(condition->field->name));
	}
	if (names != NIL)
		ExplainPropertyList(label, names, es);
}

static void
explain_statistics(const GitLabScan *scan, ExplainState *es)
{
	const ApiStatistics *statistics = api_statistics(scan->client);

	ExplainPropertyInteger("GitLab Requests", NULL, statistics->requests, es);
	ExplainPropertyInteger("GitLab Pages", NULL, statistics->pages, es);
	if (statistics->retries > 0 || es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyInteger("GitLab Retries", NULL, statistics->retries, es);
	ExplainPropertyInteger("GitLab Rows", NULL, statistics->rows, es);
	ExplainPropertyInteger("GitLab Bytes", "bytes", statistics->bytes, es);
	if (es->timing)
		ExplainPropertyFloat("GitLab Wait", "ms",
							 statistics->wait_usecs / 1000.0, 3, es);
}

/* Shows what GitLab is asked for, and with ANALYZE what that came to. */
void
gitlab_ExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	GitLabScan	plain = {0};
	GitLabScan *scan = node->fdw_state;

	plain.settings = option_table(scanned_table(node));
	plain.kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	plain.order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	read_conditions(&plain, fsplan);
	explain_request(node, &plain, fsplan, es);
	explain_exactness(&plain, fsplan->fdw_exprs, true, "GitLab Exact", es);
	explain_exactness(&plain, fsplan->fdw_exprs, false, "GitLab Superset", es);
	if (es->analyze && scan)
		explain_statistics(scan, es);
}
