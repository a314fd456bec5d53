/*-------------------------------------------------------------------------
 *
 * estimate.c
 *	  Planning scans of foreign tables: how many requests and rows they take.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "fdw/estimate.h"
#include "fdw/pushdown.h"
#include "fdw/table.h"
#include "gitlab/client.h"
#include "gitlab/option.h"
#include "gitlab/stream.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"

/* Rows of a table that was never analyzed. */
#define DEFAULT_ROWS 1000.0

/* Elements of an array that the planner can't see into. */
#define DEFAULT_ARRAY_LENGTH 10.0

static double
array_length(const PushdownClause *clause)
{
	Const	   *operand = (Const *) clause->operand;

	if (clause->operator != CONDITION_EQUAL_ANY)
		return 1;
	if (IsA(operand, Const) && !operand->constisnull)
	{
		ArrayType  *array = DatumGetArrayTypeP(operand->constvalue);

		return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	}
	if (IsA(operand, ArrayExpr))
		return list_length(((ArrayExpr *) operand)->elements);
	return DEFAULT_ARRAY_LENGTH;
}

/*
 * Is this the key, whose objects are looked up one by one?  A LIKE on it is
 * none of GitLab's business.
 */
static bool
is_lookup(const RelationPlan *plan, const PushdownClause *clause)
{
	return resource_is_key(plan->settings->resource, clause->field);
}

/*
 * Estimates a scan by the clauses that are pushed down; those of joined are
 * evaluated anew for each row of other tables.
 */
Estimate
estimate(PlannerInfo *root, RelOptInfo *rel, List *clauses, List *joined)
{
	RelationPlan *plan = rel->fdw_private;
	List	   *pushed = NIL;
	double		lookups = -1;
	double		lists = 1;
	Estimate	result = {.possible = plan->settings->resource->container == NULL};
	ListCell   *lc;

	foreach(lc, list_concat_copy(clauses, joined))
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		PushdownClause clause;

		if (!pushdown_clause(&plan->table, rinfo->clause,
							 list_member_ptr(joined, rinfo), &clause))
			continue;
		pushed = lappend(pushed, rinfo);
		if (filter_needed(plan->settings->resource, clause.field))
			result.possible = true;
		if (is_lookup(plan, &clause))
			lookups = lookups < 0 ? array_length(&clause) :
				Min(lookups, array_length(&clause));
		else
			lists = Max(lists, array_length(&clause));
	}
	if (lookups >= 0)
	{
		result.requests = Max(lookups, 1) *
			(plan->settings->resource->container ? lists : 1);
		result.rows = result.requests;
		return result;
	}
	result.rows = rel->tuples *
		clauselist_selectivity(root, pushed, 0, JOIN_INNER, NULL);
	result.requests = Max(ceil(result.rows / plan->settings->page_size), lists);
	return result;
}

/* Asks GitLab how many rows the constant conditions leave; or -1. */
static double
ask_for_rows(RelOptInfo *rel)
{
	RelationPlan *plan = rel->fdw_private;
	Condition  *conditions = palloc0(sizeof(Condition) *
									 (list_length(rel->baserestrictinfo) + 1));
	int			n = 0;
	FilterRequest *request;
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
	{
		PushdownClause clause;
		Const	   *operand;

		if (!pushdown_clause(&plan->table,
							 lfirst_node(RestrictInfo, lc)->clause, false,
							 &clause) || !IsA(clause.operand, Const))
			continue;
		operand = (Const *) clause.operand;
		conditions[n].field = clause.field;
		conditions[n].operator = clause.operator;
		conditions[n].type = operand->consttype;
		conditions[n].operand = operand->constvalue;
		conditions[n++].isnull = operand->constisnull;
	}
	request = filter_request(plan->settings->resource, plan->settings->version,
							 conditions, n, false, true);
	if (request->nothing || request->lookup || request->ntargets != 1 ||
		plan->settings->resource->keyset)
		return -1;
	return stream_total(api_open(plan->settings->serverid,
								 OidIsValid(rel->userid) ? rel->userid : GetUserId()),
						plan->settings->resource, request->targets,
						request->parameters);
}

/* Looks at the relation and its quals, and estimates its size. */
void
gitlab_GetForeignRelSize(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid)
{
	RelationPlan *plan = palloc0(sizeof(RelationPlan));
	Relation	relation = table_open(foreigntableid, NoLock);
	double		remote_rows = -1;
	ListCell   *lc;

	plan->settings = option_table(foreigntableid);
	plan->table.root = root;
	plan->table.relid = rel->relid;
	plan->table.resource = plan->settings->resource;
	plan->table.fields = resource_bind(plan->settings->resource, relation);
	plan->table.version = plan->settings->version;
	table_close(relation, NoLock);
	rel->fdw_private = plan;

	plan->all_exact = true;
	plan->possible = plan->settings->resource->container == NULL;
	foreach(lc, rel->baserestrictinfo)
	{
		PushdownClause clause;

		if (!pushdown_clause(&plan->table,
							 lfirst_node(RestrictInfo, lc)->clause, false,
							 &clause))
			plan->all_exact = false;
		else
		{
			plan->all_exact = plan->all_exact && clause.exact;
			if (filter_needed(plan->settings->resource, clause.field))
				plan->possible = true;
			plan->split = plan->split || clause.operator == CONDITION_EQUAL_ANY;
		}
	}

	if (rel->tuples < 0 || (rel->tuples == 0 && rel->pages == 0))
		rel->tuples = DEFAULT_ROWS;
	if (plan->settings->use_remote_estimate)
		remote_rows = ask_for_rows(rel);
	set_baserel_size_estimates(root, rel);
	if (remote_rows >= 0)
	{
		rel->tuples = Max(rel->tuples, remote_rows);
		rel->rows = clamp_row_est(remote_rows);
	}
}
