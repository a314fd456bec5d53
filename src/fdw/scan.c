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

#include "catalog/pg_type.h"
#include "change/transaction.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "fdw/table.h"
#include "gitlab/call.h"
#include "gitlab/filter.h"
#include "gitlab/option.h"
#include "gitlab/stream.h"
#include "gitlab/values.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* How many names of skipped containers a NOTICE has room for. */
#define MAX_SKIPPED_NAMES 10

/* ----------
 * Beginning
 * ----------
 */

/* The table that is scanned; that of a count has no relation of its own. */
Oid
scan_table(ForeignScanState *node)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;

	if (node->ss.ss_currentRelation)
		return RelationGetRelid(node->ss.ss_currentRelation);
	return exec_rt_fetch(bms_next_member(fsplan->fs_relids, -1),
						 node->ss.ps.state)->relid;
}

/* Learns which field each item of a count's tuples shows; NULL: the count itself. */
static const ResourceField **
bind_count(const Resource *resource, List *numbers)
{
	const ResourceField **fields;
	int			n = 0;
	ListCell   *lc;

	fields = palloc0(sizeof(ResourceField *) * list_length(numbers));
	foreach(lc, numbers)
	{
		if (lfirst_int(lc) >= 0)
			fields[n] = &resource->fields[lfirst_int(lc)];
		n++;
	}
	return fields;
}

/*
 * Learns which field each column of a relation shows (NULL: the tuples are those of a
 * count), and which of them the plan wants.
 */
void
scan_read_columns(GitLabScan *scan, ForeignScan *fsplan, Relation relation)
{
	List	   *columns = list_nth(fsplan->fdw_private, SCAN_PRIVATE_COLUMNS);
	ListCell   *lc;

	scan->fields = relation ? table_bind(scan->settings->resource, relation) :
		bind_count(scan->settings->resource, columns);
	foreach(lc, columns)
	{
		int			column = relation ? lfirst_int(lc) : foreach_current_index(lc)
			+1;
		const ResourceField *field = scan->fields[column - 1];

		if (field == NULL)
			continue;
		if (!(field->flags & FIELD_SECRET))
			scan->columns = lappend_int(scan->columns, column);
		if (field->flags & FIELD_DETAIL)
			scan->details = true;
	}
}

/* Takes the conditions out of the plan; their operands are not known yet. */
void
scan_read_conditions(GitLabScan *scan, ForeignScan *fsplan)
{
	List	   *triples = list_nth(fsplan->fdw_private, SCAN_PRIVATE_CONDITIONS);

	scan->nconditions = list_length(triples) / 3;
	scan->conditions = palloc0(sizeof(Condition) * Max(scan->nconditions, 1));
	for (int i = 0; i < scan->nconditions; i++)
	{
		scan->conditions[i].field =
			&scan->settings->resource->fields[list_nth_int(triples, 3 * i)];
		scan->conditions[i].operator = list_nth_int(triples, 3 * i + 1);
		scan->conditions[i].alternative = list_nth_int(triples, 3 * i + 2);
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
	ContainerSet missing = filter_needed(resource);
	int			column = 0;

	for (int i = 0; i < scan->nconditions; i++)
		missing &= ~filter_named(resource, scan->conditions[i].field);
	if (missing == 0)
		return;
	while (scan->fields[column] == NULL ||
		   (missing & filter_named(resource, scan->fields[column])) == 0)
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

static bool
has_parameters(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, has_parameters, context);
}

/*
 * Whether a nested loop may have the scan read the same list again and again, because
 * GitLab has no lookup of a single object in it.  A count with quals that the plan has
 * not made conditions of must have the rows, for GitLab's total knows nothing of them:
 * they have a parameter.
 */
static bool
is_worth_keeping(const ForeignScan *fsplan, const GitLabScan *scan, int eflags)
{
	const Resource *resource = scan->settings->resource;

	return resource->containers[0] && !resource_has_lookup(resource) &&
		((eflags & EXEC_FLAG_REWIND) != 0 ||
		 plan_depends_on_rows((Node *) fsplan->fdw_exprs) ||
		 has_parameters((Node *) fsplan->scan.plan.qual, NULL) ||
		 has_parameters((Node *) fsplan->fdw_recheck_quals, NULL));
}

/*
 * The request for a list in place of lookups: with the conditions that are the same for
 * each of them, as far as they make one list.
 */
static const FilterRequest *
list_request(const GitLabScan *scan, const ForeignScan *fsplan)
{
	const Resource *resource = scan->settings->resource;
	Condition  *conditions = palloc(sizeof(Condition) *
									Max(scan->nconditions, 1));
	FilterRequest *request;
	int			n = 0;

	for (int i = 0; i < scan->nconditions; i++)
	{
		const Const *operand = list_nth(fsplan->fdw_exprs, i);

		if (resource_is_key(resource, scan->conditions[i].field) ||
			!IsA(operand, Const) || scan->conditions[i].alternative > 0)
			continue;
		conditions[n] = scan->conditions[i];
		conditions[n].operand = operand->constvalue;
		conditions[n++].isnull = operand->constisnull;
	}
	request = filter_request(resource, scan->settings->version, conditions, n,
							 false, false, false);
	if (request->ntargets != 1)
		request = filter_request(resource, scan->settings->version, conditions,
								 0, false, false, false);
	return request;
}

/* Makes the directory of a scan whose plan has one, or else returns NULL. */
static Directory *
make_directory(const GitLabScan *scan, const ForeignScan *fsplan)
{
	List	   *private = list_nth(fsplan->fdw_private, SCAN_PRIVATE_LOOKUPS);
	DirectorySource source = {
		.client = scan->client,
		.resource = scan->settings->resource,
		.fields = scan->fields,
		.columns = scan->columns,
	};

	if (private == NIL)
		return NULL;
	source.listing = scan_listing(scan, list_request(scan, fsplan), NULL);
	return directory_create(&source, intVal(linitial(private)),
							intVal(lsecond(private)));
}

/* Prepares a scan; sends nothing yet. */
void
gitlab_BeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	GitLabScan *scan;

	scan = palloc0(sizeof(GitLabScan));
	scan->settings = option_table(scan_table(node));
	scan->kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	scan->order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	scan->limit = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_LIMIT));
	scan_read_columns(scan, fsplan, node->ss.ss_currentRelation);
	scan_read_conditions(scan, fsplan);
	check_possible(node, scan);
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	scan->operands = ExecInitExprList(fsplan->fdw_exprs, (PlanState *) node);
	scan->named_id = -1;
	if (scan->kind == SCAN_COUNT)
	{
		/* the executor must not check them, with a tuple that has no columns */
		scan->quals = node->fdw_recheck_quals;
		node->fdw_recheck_quals = NULL;
	}
	scan->curcid = estate->es_snapshot->curcid;
	scan->is_target = compat_is_result_relation(estate->es_plannedstmt,
												fsplan->scan.scanrelid);
	scan->client = api_open(scan->settings->serverid,
							compat_scan_userid(fsplan, estate));
	if (is_worth_keeping(fsplan, scan, eflags))
		scan->kept = kept_create();
	scan->directory = make_directory(scan, fsplan);
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

/* How GitLab is asked for an order. */
typedef struct OrderRequest
{
	const char *field;
	bool		descending;
	const char *sort;			/* the parameter; NULL: GitLab's default */
} OrderRequest;

static const OrderRequest order_requests[] = {
	[ORDER_NONE] = {NULL, false, NULL},
	[ORDER_ID] = {"id", false, NULL},
	[ORDER_EXPIRES_ASC] = {"expires_at", false, "expires_asc"},
	[ORDER_EXPIRES_DESC] = {"expires_at", true, "expires_desc"},
	[ORDER_ID_DESC] = {"id", true, "id_desc"},
	[ORDER_CREATED_ASC] = {"created_at", false, "created_asc"},
	[ORDER_CREATED_DESC] = {"created_at", true, "created_desc"},
};

/* Adds to the parameters of a request what its columns and its order need. */
static List *
listing_parameters(const GitLabScan *scan, List *parameters)
{
	const ResourceParameter *brief = &scan->settings->resource->brief;
	const char *sort = order_requests[scan->order].sort;

	if (brief->name && !scan->details)
		parameters = list_concat_copy(parameters,
									  api_parameter(brief->name, brief->value));
	return sort == NULL ? parameters :
		list_concat_copy(parameters, api_parameter(PARAMETER_SORT, sort));
}

/*
 * How the listings of a scan are read.  elsewhere: the request for an instance
 * whose time zone is not UTC, or NULL if it is none other.
 */
StreamListing
scan_listing(const GitLabScan *scan, const FilterRequest *request,
			 const FilterRequest *elsewhere)
{
	StreamListing listing = {
		.page_size = scan->settings->page_size,
		.expected_rows = request->exact ? scan->limit : 0,
		.concurrency = scan->settings->concurrency,
		.skips = scan->settings->skip_forbidden,
	};

	listing.order_by = order_requests[scan->order].field;
	listing.descending = order_requests[scan->order].descending;
	listing.parameters = listing_parameters(scan, request->parameters);
	listing.utc_only = elsewhere != NULL;
	if (elsewhere)
		listing.elsewhere = listing_parameters(scan, elsewhere->parameters);
	return listing;
}

/*
 * A parameter that GitLab does not know yet, or knows otherwise, would bring
 * wrong results: so a declared version has to be true before it is relied on.
 */
static void
check_version(GitLabScan *scan, const FilterRequest *request)
{
	if (!request->nothing && !request->lookup &&
		(request->needs_version || order_requests[scan->order].sort))
		api_require_version(scan->client, scan->settings->version);
}

/*
 * The request for the conditions, whose operands are known.  elsewhere: for an
 * instance whose time zone is not UTC.
 */
static FilterRequest *
make_request(const GitLabScan *scan, bool elsewhere, bool one_answer)
{
	elsewhere = elsewhere ||
		zone_known_of_server(scan->settings->serverid) == ZONE_OTHER;
	return filter_request(scan->settings->resource, scan->settings->version,
						  scan->conditions, scan->nconditions, elsewhere,
						  transaction_view_differs(scan->view), one_answer);
}

/* Tells the view of the transaction's changes where the scan looks. */
static void
name_containers(GitLabScan *scan)
{
	const FilterRequest *request = scan->request;
	const char **names = palloc(sizeof(char *) * Max(request->ntargets, 1));
	int			n = 0;

	/* the targets in one container follow each other */
	for (int i = 0; i < request->ntargets; i++)
		if (n == 0 ||
			strcmp(names[n - 1], request->targets[i].containers[0]) != 0)
			names[n++] = request->targets[i].containers[0];
	transaction_view_containers(scan->view, names, n);
}

/*
 * Plans the streams that bring the rows: one for all lookups, or one for each
 * collection.
 */
static void
plan_streams(GitLabScan *scan)
{
	const FilterRequest *request = make_request(scan, false, false);

	scan->elsewhere = request->utc_only ? make_request(scan, true, false) : NULL;
	check_version(scan, request);
	scan->request = request;
	scan->current = 0;
	scan->turned = false;
	scan->nstreams = request->lookup && request->ntargets > 0 ? 1 :
		request->ntargets;
	scan->streams = palloc0(sizeof(Stream *) * Max(scan->nstreams, 1));
	if (scan->settings->resource->containers[0] &&
		transaction_view_differs(scan->view))
		name_containers(scan);
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
	listing = scan_listing(scan, request, scan->elsewhere);
	listing.target = &request->targets[number];
	/* the first pages of several are read ahead instead */
	if (scan->nstreams > 1)
		listing.concurrency = 1;
	scan->streams[number] = request->lookup ?
		stream_lookup(scan->client, resource, request->targets,
					  request->ntargets, scan->settings->concurrency,
					  scan->settings->skip_forbidden) :
		stream_list(scan->client, resource, &listing);
	if (scan->is_target)
		stream_recall(scan->streams[number]);
	MemoryContextSwitchTo(saved);
	return scan->streams[number];
}

/* The containers of a target that have to be named, in UTF-8. */
static const char *
container_name(const Resource *resource, const ApiTarget *target)
{
	const char *name = "";

	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		if (filter_needed(resource) & (1 << i))
			name = psprintf("%s%s%s", name, i > 0 ? " " : "",
							target->containers[i]);
	}
	return name;
}

/* Notes the containers in which a stream could read nothing. */
static void
note_skipped(GitLabScan *scan, const Stream *stream)
{
	const Resource *resource = scan->settings->resource;
	MemoryContext saved = MemoryContextSwitchTo(GetMemoryChunkContext(scan));
	ListCell   *lc;

	foreach(lc, stream_skipped(stream))
	{
		const char *name = container_name(resource, lfirst(lc));

		if (scan->skipped == NULL)
		{
			scan->skipped = seen_create();
			scan->skipped_names = makeStringInfo();
		}
		if (!seen_add_name(scan->skipped, name, ""))
			continue;
		if (scan->nskipped++ < MAX_SKIPPED_NAMES)
			appendStringInfo(scan->skipped_names, "%s%s",
							 scan->nskipped > 1 ? ", " : "",
							 connection_shown_name(name));
	}
	MemoryContextSwitchTo(saved);
}

/* Counts the containers in which the scan could read nothing. */
static void
announce_skipped(ForeignScanState *node, const GitLabScan *scan)
{
	const char *place = scan->settings->resource->container_name;

	if (scan->nskipped == 0)
		return;
	ereport(NOTICE,
			(errmsg("foreign table \"%s\": skipped %d %s%s",
					get_rel_name(scan_table(node)), scan->nskipped, place,
					scan->nskipped == 1 ? "" : "s"),
			 errdetail("The API token may not read %s, or %s not there: %s%s.",
					   scan->nskipped == 1 ? "it" : "them",
					   scan->nskipped == 1 ? "it is" : "they are",
					   scan->skipped_names->data,
					   scan->nskipped > MAX_SKIPPED_NAMES ? ", ..." : "")));
}

/* Whether the current stream's list has been read before, and kept. */
static bool
is_kept(GitLabScan *scan)
{
	if (scan->kept && !scan->turned)
		scan->is_kept = kept_turn(scan->kept,
								  &scan->request->targets[scan->current],
								  scan->request->parameters);
	scan->turned = true;
	return scan->kept && scan->is_kept;
}

/* Sends the first requests of the streams that are to be read next. */
static void
prefetch(GitLabScan *scan)
{
	const FilterRequest *request = scan->request;
	int			ahead = Min(scan->nstreams,
							scan->current + scan->settings->concurrency);

	for (int i = scan->current; scan->nstreams > 1 && i < ahead; i++)
		if (scan->kept == NULL ||
			!kept_has(scan->kept, &request->targets[i], request->parameters))
			stream_prefetch(open_stream(scan, i));
}

/* The next record of the current stream, or of the list kept in its place. */
static JsonRecord *
next_of_stream(GitLabScan *scan)
{
	JsonRecord *record;

	if (is_kept(scan))
		return kept_next(scan->kept);
	prefetch(scan);
	record = stream_next(open_stream(scan, scan->current));
	if (record)
		scan->nrecords++;
	if (scan->kept && record)
		kept_add(scan->kept, record);
	else if (scan->kept)
		kept_finish(scan->kept);
	return record;
}

/*
 * The call, sent by now, whose answer brings the next record of the current stream; NULL
 * if that record is at hand.
 */
static ApiCall *
awaited(GitLabScan *scan)
{
	if (scan->current >= scan->nstreams || is_kept(scan))
		return NULL;
	return stream_awaited(open_stream(scan, scan->current));
}

/*
 * The next record of all streams, in their order; NULL at their end, or where the scan
 * yields.
 */
static JsonRecord *
next_record(GitLabScan *scan)
{
	scan->yielded = false;
	while (scan->current < scan->nstreams)
	{
		JsonRecord *record = next_of_stream(scan);
		Stream	   *stream = scan->streams[scan->current];

		if (record)
			return record;
		if (stream)
			note_skipped(scan, stream);
		/* one of several is not needed any more; a single one may be rewound */
		if (stream && scan->nstreams > 1)
		{
			stream_end(stream);
			scan->streams[scan->current] = NULL;
		}
		scan->current++;
		scan->turned = false;
		if (scan->yields && awaited(scan))
		{
			scan->yielded = true;
			return NULL;
		}
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
	return scan->yielded ? NULL : transaction_view_rest(scan->view);
}

static void
begin_pass(ForeignScanState *node, GitLabScan *scan)
{
	scan->begun = true;
	scan->npasses++;
	scan->view = transaction_view(scan->client, scan->settings->resource,
								  scan->curcid);
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
	scan->nrecords = 0;
	scan->begun = scan->ended = false;
	MemoryContextReset(scan->pass_context);
}


/* ----------
 * Rows
 * ----------
 */

/*
 * Tells why there is nothing to change: GitLab says the same of owners whom the
 * credential may not see as of those who are not there.  In its Admin Mode, an
 * administrator's API token without the scope meets that answer.
 */
static void
tell_of_denial(GitLabScan *scan)
{
	const char *owner = scan->settings->resource->owner_parameter;
	const char *server_name;

	if (!scan->is_target || scan->found || scan->noticed || owner == NULL ||
		!api_was_denied(scan->client))
		return;
	for (int i = 0; i < scan->nconditions; i++)
	{
		if (strcmp(scan->conditions[i].field->name, owner) != 0)
			continue;
		scan->noticed = true;
		server_name = api_connection(scan->client)->server_name;
		ereport(NOTICE,
				(errmsg("the API token of server \"%s\" does not see the tokens of other users",
						server_name),
				 errdetail("The condition on \"%s\" has found no row to change.",
						   owner),
				 errhint("This needs an administrator's API token, with the scope \"admin_mode\" where GitLab's Admin Mode is on; SELECT sees_all_tokens FROM gitlab_pat_self(%s) tells.",
						 quote_literal_cstr(server_name))));
		return;
	}
}

/* Remembers how long a list of all users was, which was read to its end. */
static void
learn_size(GitLabScan *scan)
{
	if (scan->settings->resource->administrator_field &&
		scan->nstreams == 1 && !scan->request->lookup &&
		scan->request->parameters == NIL)
		api_connection(scan->client)->users = scan->nrecords;
}

/* Begins a pass, unless one has begun: the streams are known then. */
static void
ensure_begun(ForeignScanState *node, GitLabScan *scan)
{
	MemoryContext saved;

	if (scan->begun)
		return;
	saved = MemoryContextSwitchTo(scan->pass_context);
	begin_pass(node, scan);
	plan_streams(scan);
	MemoryContextSwitchTo(saved);
}

/* The id that a direct UPDATE names where GitLab can't select by it; 0 if it is null. */
static int64
evaluate_id(ForeignScanState *node, const GitLabScan *scan)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	bool		isnull;
	Datum		value = ExecEvalExpr(list_nth(scan->operands, scan->named_id),
									 node->ss.ps.ps_ExprContext, &isnull);

	return isnull ? 0 :
		value_integer(value, exprType(list_nth(fsplan->fdw_exprs,
											   scan->named_id)));
}

/*
 * The ids that the conditions of a scan leave, palloc'ed; 0 if they do not name any.
 * The scan begins, but nothing is sent yet.
 */
int
scan_named_ids(ForeignScanState *node, int64 **ids)
{
	GitLabScan *scan = node->fdw_state;
	ValueSet	set;

	ensure_begun(node, scan);
	if (scan->request->nothing)
		return 0;
	if (scan->named_id >= 0)
	{
		*ids = palloc(sizeof(int64));
		(*ids)[0] = evaluate_id(node, scan);
		return (*ids)[0] > 0;
	}
	for (int i = 0; i < scan->nconditions; i++)
		if (scan->conditions[i].alternative)
			return 0;
	if (!values_allowed(scan->settings->resource, "id", scan->conditions,
						scan->nconditions, &set))
		return 0;
	*ids = palloc(sizeof(int64) * Max(set.nvalues, 1));
	for (int i = 0; i < set.nvalues; i++)
		(*ids)[i] = strtoll(set.values[i], NULL, 10);
	return set.nvalues;
}

/*
 * The call, sent by now, whose answer brings the scan's next row; NULL if that row is at
 * hand, or if the scan cannot tell.
 */
ApiCall *
scan_awaited(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;
	MemoryContext saved;
	ApiCall    *call = NULL;

	if (scan->kind != SCAN_ROWS || scan->directory)
		return NULL;
	saved = MemoryContextSwitchTo(node->ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
	ensure_begun(node, scan);
	call = awaited(scan);
	MemoryContextSwitchTo(saved);
	return call;
}

/*
 * The next record as this transaction makes it look; NULL at the end, or where the scan
 * yields.  The first time, the scan begins.  It is valid until the next one is asked for.
 */
JsonRecord *
scan_next_record(ForeignScanState *node, GitLabScan *scan, bool *revoked)
{
	JsonRecord *record;

	ensure_begun(node, scan);
	record = next_view(scan, revoked);
	if (record)
		scan->found = true;
	else if (!scan->yielded)
	{
		learn_size(scan);
		tell_of_denial(scan);
	}
	return record;
}

/* Puts a record into the scan's slot, whose values live until the next one. */
void
scan_show_record(ForeignScanState *node, GitLabScan *scan, JsonRecord *record,
				 bool revoked)
{
	MemoryContext saved;

	MemoryContextReset(scan->row_context);
	saved = MemoryContextSwitchTo(scan->row_context);
	if (!scan->sorted)
		table_sort_columns(scan->columns, scan->fields, record);
	scan->sorted = true;
	table_fill_columns(scan->settings->resource, scan->fields, scan->columns,
					   record, revoked, node->ss.ss_ScanTupleSlot);
	MemoryContextSwitchTo(saved);
}

static TupleTableSlot *
next_row(ForeignScanState *node, GitLabScan *scan)
{
	bool		revoked;
	JsonRecord *record;

	if (scan->yields && scan_awaited(node))
		return ExecClearTuple(node->ss.ss_ScanTupleSlot);
	record = scan_next_record(node, scan, &revoked);
	if (record == NULL)
		return ExecClearTuple(node->ss.ss_ScanTupleSlot);
	scan_show_record(node, scan, record, revoked);
	return node->ss.ss_ScanTupleSlot;
}

/* The user whom the scan's conditions name: one row, or none. */
static TupleTableSlot *
directory_row(ForeignScanState *node, GitLabScan *scan)
{
	TupleTableSlot *slot = ExecClearTuple(node->ss.ss_ScanTupleSlot);
	MemoryContext saved;

	ensure_begun(node, scan);
	if (scan->ended || scan->request->ntargets == 0)
		return slot;
	scan->ended = true;
	saved = MemoryContextSwitchTo(scan->pass_context);
	directory_show(scan->directory, scan->request->targets, slot);
	MemoryContextSwitchTo(saved);
	return slot;
}

/* Counts by reading, where GitLab's total is not what is asked for. */
static int64
count_records(ForeignScanState *node, GitLabScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	JsonRecord *record;
	bool		revoked;
	int64		count = 0;

	plan_streams(scan);
	econtext->ecxt_scantuple = node->ss.ss_ScanTupleSlot;
	while ((record = next_view(scan, &revoked)) != NULL)
	{
		ResetExprContext(econtext);
		scan_show_record(node, scan, record, revoked);
		if (ExecQual(scan->quals, econtext))
			count++;
	}
	return count;
}

static int64
count_rows(ForeignScanState *node, GitLabScan *scan)
{
	FilterRequest *request;
	int64		count = -1;

	begin_pass(node, scan);
	request = make_request(scan, false, true);
	if (request->nothing)
		return 0;
	/* what is kept can be counted without a request */
	if (request->exact && !transaction_view_differs(scan->view) &&
		!request->lookup && request->ntargets == 1 && scan->kept == NULL)
	{
		check_version(scan, request);
		count = stream_total(scan->client, scan->settings->resource,
							 request->targets, request->parameters,
							 request->utc_only);
	}
	return count >= 0 ? count : count_records(node, scan);
}

/* The one row of a count; as many columns as the query has count(*). */
static TupleTableSlot *
count_row(ForeignScanState *node, GitLabScan *scan)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	MemoryContext saved;
	int64		count;

	if (scan->ended)
		return ExecClearTuple(slot);
	saved = MemoryContextSwitchTo(scan->pass_context);
	count = count_rows(node, scan);
	MemoryContextSwitchTo(saved);
	scan->ended = true;
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = Int64GetDatum(count);
		slot->tts_isnull[i] = scan->fields[i] != NULL;
	}
	return ExecStoreVirtualTuple(slot);
}

/* Returns the next row in the scan's slot; an empty slot at the end. */
TupleTableSlot *
gitlab_IterateForeignScan(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;

	if (scan->kind == SCAN_COUNT)
		return count_row(node, scan);
	if (scan->directory)
		return directory_row(node, scan);
	return next_row(node, scan);
}

/*
 * Makes the tuple of a scan anew, for a statement that has waited for a row of another
 * table which was changed meanwhile.  Before 15.15, 16.11, 17.7 and 18.1, PostgreSQL
 * asks for the count of a subquery here.  It takes any scan without a relation of its
 * own for one that has such a tuple.
 */
bool
gitlab_RecheckForeignScan(ForeignScanState *node, TupleTableSlot *slot)
{
	GitLabScan *scan = node->fdw_state;

	/* of a count, it is that of the scan */
	(void) slot;
	return scan->kind != SCAN_COUNT || !TupIsNull(count_row(node, scan));
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
		scan->kind == SCAN_ROWS && scan->directory == NULL)
	{
		if (scan->nstreams == 0 ||
			(scan->nstreams == 1 && stream_rewind(open_stream(scan, 0))))
		{
			scan->current = 0;
			scan->nrecords = 0;
			scan->turned = false;
			transaction_view_rewind(scan->view);
			return;
		}
	}
	scan->current = 0;
	end_pass(scan);
}

/* Forgets whatever the scan has read so far, and ends what is under way. */
static void
scan_restart(GitLabScan *scan)
{
	if (scan->kept)
		kept_forget(scan->kept);
	scan->current = 0;
	end_pass(scan);
}

/*
 * Has the scan read once more what it has read to the end.  The operands of its
 * conditions are not evaluated again.  They may come from a row of another table,
 * which is gone when the plan has come to its end.
 */
void
scan_repeat(GitLabScan *scan)
{
	if (scan->kept)
		kept_forget(scan->kept);
	for (int i = 0; i < scan->nstreams; i++)
		if (scan->streams[i])
		{
			stream_end(scan->streams[i]);
			scan->streams[i] = NULL;
		}
	scan->npasses++;
	scan->current = 0;
	scan->nrecords = 0;
	scan->turned = false;
	transaction_view_rewind(scan->view);
}

/* Ends a scan and what it has under way. */
void
gitlab_EndForeignScan(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;

	if (scan == NULL)
		return;
	if (scan->begun)
		scan_restart(scan);
	if (scan->directory)
		directory_end(scan->directory);
	announce_skipped(node, scan);
}
