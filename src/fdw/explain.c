/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  EXPLAIN: which requests GitLab gets from scans.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/explain.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/filter.h"
#include "gitlab/listing.h"
#include "gitlab/option.h"
#include "utils/ruleutils.h"

static void
append_parameter(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%s%s=%s", strchr(buf->data, '?') ? "&" : "?", name,
					 value);
}

/*
 * Appends the path of a request: braces stand for what is not constant, or is
 * one of several.
 */
static void
append_path(StringInfo buf, const Resource *resource,
			const FilterRequest *request)
{
	const char *container = request->targets[0].container;

	if (container &&
		strcmp(container, request->targets[request->ntargets - 1].container) != 0)
		container = "{each of several}";
	/* an expression is shown as it is */
	if (container && container[0] == '{')
		appendStringInfo(buf, "%s/%s%s", resource->container_path, container,
						 resource->path);
	else
		appendStringInfoString(buf, resource_path(resource, container, NULL));
	if (request->lookup)
		appendStringInfo(buf, "/:%s", resource->key);
}

/*
 * Shows the request that the scan makes.  Parameters that depend on something
 * other than constants are shown by their expressions, in braces.
 */
static void
explain_request(const GitLabScan *scan, const FilterRequest *request,
				ExplainState *es)
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
		StreamListing listing = listing_of(scan, request->parameters);

		foreach(lc, listing.parameters)
			append_parameter(&buf, ((ApiParameter *) lfirst(lc))->name,
							 ((ApiParameter *) lfirst(lc))->value);
	}
	foreach(lc, request->targets[0].parameters)
		append_parameter(&buf, ((ApiParameter *) lfirst(lc))->name,
						 request->ntargets == 1 || request->lookup ?
						 ((ApiParameter *) lfirst(lc))->value :
						 "{each of several}");
	ExplainPropertyText("GitLab Request", buf.data, es);
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
			names = lappend(names, pstrdup(scan->conditions[i].field->name));
	}
	if (names != NIL)
		ExplainPropertyList(label, names, es);
}

/* The request, as far as it is known before the scan begins. */
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
						  scan->conditions, scan->nconditions, false,
						  scan->kind == SCAN_COUNT);
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
	FilterRequest *request;

	plain.settings = option_table(scanned_table(node));
	plain.kind = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_KIND));
	plain.order = intVal(list_nth(fsplan->fdw_private, SCAN_PRIVATE_ORDER));
	read_conditions(&plain, fsplan);
	request = request_to_explain(&plain, fsplan, es);
	explain_request(&plain, request, es);
	explain_exactness(&plain, request, true, "GitLab Exact", es);
	explain_exactness(&plain, request, false, "GitLab Superset", es);
	if (es->analyze && scan)
		explain_statistics(scan, es);
}
