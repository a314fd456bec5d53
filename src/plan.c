/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Planning scans of foreign tables: estimates, paths, EXPLAIN.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/sysattr.h"
#include "access/table.h"
#include "commands/defrem.h"
#include "compat.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "option.h"
#include "plan.h"
#include "pushdown.h"
#include "utils/rel.h"

/*
 * What a request costs, in the planner's units: some 50 ms, for which a server
 * reads several hundred pages from a disk.
 */
#define REQUEST_COST 2500.0

/* Rows of a table that was never analyzed. */
#define DEFAULT_ROWS 1000.0

/* What planning learns about a relation; in RelOptInfo.fdw_private. */
typedef struct RelationPlan
{
	TableSettings *settings;
	AttrNumber	id_column;		/* 0 if the table has none */
	Expr	   *equal_id;		/* the id is known to be this, or NULL */
} RelationPlan;

/* Estimates the size of the relation and looks at its quals. */
void
gitlab_GetForeignRelSize(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid)
{
	RelationPlan *plan = palloc0(sizeof(RelationPlan));
	Relation	relation = table_open(foreigntableid, NoLock);
	const ResourceField **fields;
	ListCell   *lc;

	plan->settings = option_table(foreigntableid);
	fields = resource_bind(plan->settings->resource, relation);
	plan->id_column = resource_column(fields, RelationGetDescr(relation), "id");
	table_close(relation, NoLock);
	rel->fdw_private = plan;

	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (plan->equal_id == NULL && plan->id_column != InvalidAttrNumber)
			plan->equal_id = pushdown_equal_id(root, rel, plan->id_column,
											   rinfo->clause);
	}

	if (rel->tuples < 0 || (rel->tuples == 0 && rel->pages == 0))
		rel->tuples = DEFAULT_ROWS;
	set_baserel_size_estimates(root, rel);
	if (plan->equal_id)
		rel->rows = 1;
}

/* The one way to scan: the list, or the lookup of an id. */
void
gitlab_GetForeignPaths(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid)
{
	RelationPlan *plan = rel->fdw_private;
	double		requests = 1;
	Cost		total;

	(void) foreigntableid;
	if (plan->equal_id == NULL)
		requests = Max(ceil(rel->tuples / plan->settings->page_size), 1);
	total = REQUEST_COST * requests +
		(plan->equal_id ? 1 : rel->tuples) * cpu_tuple_cost +
		rel->baserestrictcost.startup +
		rel->rows * rel->baserestrictcost.per_tuple;
	add_path(rel, (Path *) compat_foreignscan_path(root, rel, rel->rows,
												   REQUEST_COST, total, NIL,
												   rel->lateral_relids, NIL));
}

/* The attribute numbers that the scan has to fill, in ascending order. */
static List *
needed_columns(RelOptInfo *rel, List *scan_clauses)
{
	Bitmapset  *attrs = NULL;
	List	   *columns = NIL;
	bool		whole_row;
	ListCell   *lc;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attrs);
	foreach(lc, scan_clauses)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause,
					   rel->relid, &attrs);
	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	for (int i = 1; i <= rel->max_attr; i++)
		if (whole_row ||
			bms_is_member(i - FirstLowInvalidHeapAttributeNumber, attrs))
			columns = lappend_int(columns, i);
	return columns;
}

/* Makes the plan node.  All quals stay in it and are checked again. */
ForeignScan *
gitlab_GetForeignPlan(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid,
					  ForeignPath *best_path, List *tlist, List *scan_clauses,
					  Plan *outer_plan)
{
	RelationPlan *plan = rel->fdw_private;
	List	   *private;

	(void) root;
	(void) foreigntableid;
	(void) best_path;
	private = list_make2(makeInteger(plan->equal_id ? SCAN_LOOKUP : SCAN_LIST),
						 needed_columns(rel, scan_clauses));
	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							rel->relid,
							plan->equal_id ? list_make1(plan->equal_id) : NIL,
							private, NIL, NIL, outer_plan);
}

/* Shows the request that the scan makes. */
void
gitlab_ExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *fsplan = (ForeignScan *) node->ss.ps.plan;
	Oid			relid = RelationGetRelid(node->ss.ss_currentRelation);
	TableSettings *settings = option_table(relid);
	bool		lookup = intVal(list_nth(fsplan->fdw_private,
										 SCAN_PRIVATE_KIND)) == SCAN_LOOKUP;

	ExplainPropertyText("GitLab Request",
						psprintf("GET %s%s", settings->resource->path,
								 lookup ? "/:id" : ""), es);
}
