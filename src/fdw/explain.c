/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  EXPLAIN: which requests GitLab gets from scans and from changes.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/tokens.h"
#include "compat.h"
#include "fdw/direct.h"
#include "fdw/modify.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "fdw/target.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* A text in UTF-8 as EXPLAIN shows it; an expression in braces stays as it is. */
static const char *
shown(const char *text)
{
	return text[0] == '{' ? text : connection_shown_name(text);
}

static void
append_parameter(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%s%s=%s", strchr(buf->data, '?') ? "&" : "?", name,
					 shown(value));
}

/*
 * Appends the path of a request: braces stand for what is not constant, or is
 * one of several.
 */
static void
append_path(StringInfo buf, const Resource *resource,
			const FilterRequest *request)
{
	const ApiTarget *first = &request->targets[0];
	const ApiTarget *last = &request->targets[request->ntargets - 1];
	const char *texts[MAX_CONTAINERS];

	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		if (strcmp(first->containers[i], last->containers[i]) != 0)
			texts[i] = "{each of several}";
		else if (first->containers[i][0] == '{')
			texts[i] = first->containers[i];	/* an expression */
		else
			texts[i] = shown(resource_escape(first->containers[i]));
	}
	appendStringInfoString(buf, resource_fill_path(resource, texts));
	if (request->lookup)
		appendStringInfo(buf, "/:%s", resource->key);
}

/*
 * Shows the request that the scan makes.  Parameters that depend on something
 * other than constants are shown by their expressions, in braces.  may_list: the
 * scan may read a list instead of many lookups.
 */
static void
explain_request(const GitLabScan *scan, const FilterRequest *request,
				bool may_list, ExplainState *es)
{
	StringInfoData buf;
	ListCell   *lc;

	if (request->nothing)
	{
		ExplainPropertyText("GitLab Request", "none", es);
		return;
	}
	initStringInfo(&buf);
	appendStringInfoString(&buf, "GET ");
	append_path(&buf, scan->settings->resource, request);
	if (!request->lookup)
	{
		StreamListing listing = scan_listing(scan, request, NULL);

		foreach(lc, listing.parameters)
			append_parameter(&buf, ((ApiParameter *) lfirst(lc))->name,
							 ((ApiParameter *) lfirst(lc))->value);
	}
	foreach(lc, request->targets[0].parameters)
		append_parameter(&buf, ((ApiParameter *) lfirst(lc))->name,
						 request->ntargets == 1 || request->lookup ?
						 ((ApiParameter *) lfirst(lc))->value :
						 "{each of several}");
	if (!request->lookup && scan->settings->resource->own.name)
		append_parameter(&buf, scan->settings->resource->own.name,
						 psprintf("{%s, if no administrator}",
								  scan->settings->resource->own.value));
	if (may_list)
		appendStringInfo(&buf, ", or if they are many GET %s",
						 scan->settings->resource->path);
	ExplainPropertyText("GitLab Request", buf.data, es);
}

/* Adds a name to a list of them, once. */
static List *
add_name(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return names;
	return lappend(names, pstrdup(name));
}

/*
 * Shows the fields of those conditions that the request asks for, and GitLab
 * answers exactly, or else with a superset.  All are checked again; see the
 * filter.
 */
static void
explain_exactness(const GitLabScan *scan, const FilterRequest *request,
				  bool exact, const char *label, ExplainState *es)
{
	List	   *names = NIL;

	for (int i = 0; i < scan->nconditions; i++)
	{
		bool		is_exact;

		if (filter_is_sent(scan->settings->resource, scan->settings->version,
						   request, &scan->conditions[i], &is_exact) &&
			is_exact == exact)
			names = add_name(names, scan->conditions[i].field->name);
	}
	if (names != NIL)
		ExplainPropertyList(label, names, es);
}

/*
 * The request, as far as it is known before the scan begins.  The time zone of the
 * instance is taken for UTC, unless this session has seen another one.
 */
static FilterRequest *
request_to_explain(GitLabScan *scan, ForeignScan *fsplan, ExplainState *es)
{
	List	   *context = set_deparse_context_plan(es->deparse_cxt,
												   (Plan *) fsplan, NIL);

	for (int i = 0; i < scan->nconditions; i++)
	{
		Node	   *operand = list_nth(fsplan->fdw_exprs, i);

		if (IsA(operand, Const))
		{
			scan->conditions[i].operand = ((Const *) operand)->constvalue;
			scan->conditions[i].isnull = ((Const *) operand)->constisnull;
		}
		else
			scan->conditions[i].expression =
				deparse_expression(operand, context, es->verbose, false);
	}
	return filter_request(scan->settings->resource, scan->settings->version,
						  scan->conditions, scan->nconditions,
						  zone_known_of_server(scan->settings->serverid) == ZONE_OTHER,
						  false, scan->kind == SCAN_COUNT);
}

/* Leaves zero out of the text format, for most statements have no retry. */
static void
explain_retries(const ApiStatistics *statistics, ExplainState *es)
{
	if (statistics->retries > 0 || es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyInteger("GitLab Retries", NULL, statistics->retries, es);
}

static void
explain_statistics(const GitLabScan *scan, ExplainState *es)
{
	const ApiStatistics *statistics = api_statistics(scan->client);

	ExplainPropertyInteger("GitLab Requests", NULL, statistics->requests, es);
	ExplainPropertyInteger("GitLab Pages", NULL, statistics->pages, es);
	explain_retries(statistics, es);
	ExplainPropertyInteger("GitLab Rows", NULL, statistics->rows, es);
	ExplainPropertyInteger("GitLab Bytes", "bytes", statistics->bytes, es);
	if (es->timing)
		ExplainPropertyFloat("GitLab Wait", "ms",
							 statistics->wait_usecs / 1000.0, 3, es);
}

/* Shows what GitLab is asked for. */
static void
explain_asked(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	GitLabScan	plain = {0};
	FilterRequest *request;

	plain.settings = option_table(scan_table(node));
	plain.kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	plain.order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	scan_read_columns(&plain, fsplan, node->ss.ss_currentRelation);
	scan_read_conditions(&plain, fsplan);
	request = request_to_explain(&plain, fsplan, es);
	explain_request(&plain, request,
					list_nth(fsplan->fdw_private, SCAN_PRIVATE_LOOKUPS) != NIL,
					es);
	explain_exactness(&plain, request, true, "GitLab Exact", es);
	explain_exactness(&plain, request, false, "GitLab Superset", es);
}

/* Shows what GitLab is asked for, and with ANALYZE what that came to. */
void
gitlab_ExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	explain_asked(node, es);
	if (es->analyze && node->fdw_state)
		explain_statistics(node->fdw_state, es);
}

/*
 * The requests that change GitLab for one row, each with its time: a list of
 * strings.  Braces stand for values of the row, as in the path of a scan.
 */
static List *
changes_of(const TableSettings *settings, CmdType operation)
{
	const Resource *resource = settings->resource;
	const char *collection = resource->path;
	const char *object = psprintf("%s/:%s", collection, resource->key);

	/* GitLab lists tokens of all users together, and makes them at a user */
	const char *birthplace = resource == resource_tokens ?
		"/users/{user_id}/personal_access_tokens" : collection;
	const char *rotated = psprintf("%s/:%s", resource->rotate_path ?
								   resource->rotate_path : collection,
								   resource->key);

	if (resource->kind == RESOURCE_VARIABLES)
		return list_make1(operation == CMD_INSERT ?
						  psprintf("POST %s at commit", birthplace) :
						  psprintf("%s %s at commit",
								   operation == CMD_UPDATE ? "PUT" : "DELETE",
								   object));
	if (operation == CMD_INSERT)
		return list_make1(psprintf("POST %s at once", birthplace));
	if (operation == CMD_DELETE)
		return list_make1(psprintf("DELETE %s at commit", object));
	if (settings->rotation == ROTATION_NATIVE)
		return list_make1(psprintf("POST %s/rotate at once", rotated));
	/* as an administrator, a second token for the same user */
	if (resource->has_bots)
		birthplace = psprintf("%s or /users/{user_id}/personal_access_tokens",
							  birthplace);
	if (tokens_keep_replaced)
		return list_make1(psprintf("POST %s at once", birthplace));
	return list_make2(psprintf("POST %s at once", birthplace),
					  psprintf("DELETE %s after the commit", object));
}

/* How many changes a client has sent, and how many wait for the transaction's end. */
static void
explain_changes(ApiClient *client, ExplainState *es)
{
	const ApiStatistics *statistics = api_statistics(client);

	ExplainPropertyInteger("GitLab Changes Sent", NULL,
						   statistics->changes_sent, es);
	ExplainPropertyInteger("GitLab Changes Pending", NULL,
						   statistics->changes_pending, es);
}

/*
 * Shows what a scan that changes what it reads asks GitLab for, and what it
 * changes there.  ANALYZE adds how many changes it has sent, and how many wait
 * for the end of the transaction.
 */
void
gitlab_ExplainDirectModify(ForeignScanState *node, ExplainState *es)
{
	GitLabScan *scan = node->fdw_state;

	explain_asked(node, es);
	ExplainPropertyList("GitLab Changes",
						changes_of(option_table(scan_table(node)),
								   ((ForeignScan *) node->ss.ps.plan)->operation),
						es);
	if (!es->analyze || scan == NULL)
		return;
	explain_changes(scan->client, es);
	explain_statistics(scan, es);
}

/*
 * Shows what a statement changes in GitLab.  ANALYZE adds how many of these
 * requests it has sent, and how many wait for the end of the transaction.
 */
void
gitlab_ExplainForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
							List *fdw_private, int subplan_index,
							ExplainState *es)
{
	const GitLabModify *modify = rinfo->ri_FdwState;
	const ApiStatistics *statistics;

	ExplainPropertyList("GitLab Changes",
						changes_of(option_table(RelationGetRelid(rinfo->ri_RelationDesc)),
								   mtstate->operation), es);
	if (!es->analyze || modify == NULL)
		return;
	statistics = api_statistics(modify->change.client);
	explain_changes(modify->change.client, es);
	ExplainPropertyInteger("GitLab Requests", NULL, statistics->requests, es);
	explain_retries(statistics, es);
}
