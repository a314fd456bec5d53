/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Planning scans of foreign tables: paths and plans.
 *
 * The unit of cost is the request.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "compat.h"
#include "fdw/estimate.h"
#include "fdw/plan.h"
#include "fdw/pushdown.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/fmgroids.h"

/*
 * What a request costs, in the planner's units: as much as postgres_fdw charges
 * for a scan by default.  It takes longer than that, but only the relation of
 * requests to each other matters much, and no number of them should make the
 * planner compile a query that spends its time waiting.
 */
#define REQUEST_COST 100.0

/*
 * Of a path that GitLab can't be asked for.  The planner needs one that depends
 * on no other table, and is told by this to take any other: even one that the
 * user has turned off, which costs 1e10 or, since PostgreSQL 18, counts as a
 * disabled node.
 */
#define IMPOSSIBLE_COST 1.0e13
#define IMPOSSIBLE_DISABLED_NODES 1000

/* Declared version that sorts by expiry as PostgreSQL does. */
#define SORT_VERSION 1804

/* What a path promises beside its pathkeys; in ForeignPath.fdw_private. */
enum PathPrivate
{
	PATH_PRIVATE_ORDER,			/* Integer: a ScanOrder */
	PATH_PRIVATE_COUNT			/* Integer: 1 if it counts */
};

static Cost
scan_cost(RelOptInfo *rel, const Estimate *estimate)
{
	return REQUEST_COST * estimate->requests +
		estimate->rows * (cpu_tuple_cost + rel->baserestrictcost.per_tuple) +
		rel->baserestrictcost.startup;
}


/* ----------
 * Paths
 * ----------
 */

/* The field that a pathkey orders by, if that is a column of the relation. */
static const ResourceField *
pathkey_field(RelationPlan *plan, PathKey *pathkey)
{
	ListCell   *lc;

	if (pathkey->pk_eclass->ec_has_volatile)
		return NULL;
	foreach(lc, pathkey->pk_eclass->ec_members)
	{
		EquivalenceMember *member = lfirst(lc);
		const ResourceField *field = pushdown_column(&plan->table,
													 (Node *) member->em_expr);

		if (field)
			return field;
	}
	return NULL;
}

/* The order of the query that GitLab delivers; ORDER_NONE if it doesn't. */
static ScanOrder
deliverable_order(PlannerInfo *root, RelationPlan *plan)
{
	const ResourceField *field;
	PathKey    *pathkey;
	bool		descending;

	if (root->query_pathkeys == NIL || plan->split)
		return ORDER_NONE;
	pathkey = linitial_node(PathKey, root->query_pathkeys);
	field = pathkey_field(plan, pathkey);
	descending = compat_pathkey_descending(pathkey);
	if (field == NULL || pathkey->pk_nulls_first != descending)
		return ORDER_NONE;
	if (resource_is_key(plan->settings->resource, field) &&
		field->type == FIELD_BIGINT && !descending)
		return ORDER_ID;
	if (plan->settings->resource == resource_tokens &&
		strcmp(field->name, "expires_at") == 0 &&
		plan->settings->version >= SORT_VERSION)
		return descending ? ORDER_EXPIRES_DESC : ORDER_EXPIRES_ASC;
	return ORDER_NONE;
}

static void
add_scan_path(PlannerInfo *root, RelOptInfo *rel, double rows,
			  const Estimate *estimate, List *pathkeys, Relids required_outer,
			  ScanOrder order)
{
	Cost		cost = scan_cost(rel, estimate);
	Cost		penalty = estimate->possible ? 0 : IMPOSSIBLE_COST;
	int			disabled_nodes = estimate->possible ? 0 :
		IMPOSSIBLE_DISABLED_NODES;

	add_path(rel, (Path *)
			 compat_foreignscan_path(root, rel, rows, disabled_nodes,
									 penalty + Min(REQUEST_COST, cost),
									 penalty + cost, pathkeys, required_outer,
									 list_make2(makeInteger(order),
												makeInteger(0))));
}

/* Is this equivalence member a column that is worth a request for each row? */
static bool
is_joinable_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
				   EquivalenceMember *em, void *arg)
{
	RelationPlan *plan = rel->fdw_private;
	const ResourceField *field = pushdown_column(&plan->table,
												 (Node *) em->em_expr);
	bool		exact;

	(void) root;
	(void) ec;
	(void) arg;
	return field && filter_exists(plan->settings->resource, field,
								  CONDITION_EQUAL, NULL,
								  plan->settings->version, true, &exact);
}

/* Remembers the parameterization that a join clause would need. */
static List *
add_param_info(PlannerInfo *root, RelOptInfo *rel, RestrictInfo *rinfo,
			   List *infos)
{
	RelationPlan *plan = rel->fdw_private;
	PushdownClause clause;
	Relids		required_outer;

	if (!join_clause_is_movable_to(rinfo, rel) ||
		!pushdown_clause(&plan->table, rinfo->clause, true, &clause))
		return infos;
	required_outer = bms_union(rinfo->clause_relids, rel->lateral_relids);
	required_outer = bms_del_member(required_outer, rel->relid);
	if (bms_is_empty(required_outer))
		return infos;
	return list_append_unique_ptr(infos,
								  get_baserel_parampathinfo(root, rel,
															required_outer));
}

/* Paths that make a request for each row of other tables. */
static void
add_join_paths(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *infos = NIL;
	List	   *clauses;
	ListCell   *lc;

	foreach(lc, rel->joininfo)
		infos = add_param_info(root, rel, lfirst_node(RestrictInfo, lc), infos);
	if (rel->has_eclass_joins)
	{
		clauses = generate_implied_equalities_for_column(root, rel,
														 is_joinable_member,
														 NULL,
														 rel->lateral_referencers);
		foreach(lc, clauses)
			infos = add_param_info(root, rel, lfirst_node(RestrictInfo, lc),
								   infos);
	}
	foreach(lc, infos)
	{
		ParamPathInfo *info = lfirst(lc);
		Estimate	e = estimate(root, rel, rel->baserestrictinfo,
								 info->ppi_clauses);

		add_scan_path(root, rel, info->ppi_rows, &e, NIL, info->ppi_req_outer,
					  ORDER_NONE);
	}
}

/* All ways to scan the relation. */
void
gitlab_GetForeignPaths(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid)
{
	RelationPlan *plan = rel->fdw_private;
	Estimate	e = estimate(root, rel, rel->baserestrictinfo, NIL);
	ScanOrder	order = deliverable_order(root, plan);

	(void) foreigntableid;
	add_scan_path(root, rel, rel->rows, &e, NIL, rel->lateral_relids,
				  ORDER_NONE);
	if (order != ORDER_NONE)
		add_scan_path(root, rel, rel->rows, &e,
					  list_make1(linitial(root->query_pathkeys)),
					  rel->lateral_relids, order);
	add_join_paths(root, rel);
}

/* Is this count(*), without anything that makes it another number? */
static bool
is_plain_count(Node *node)
{
	Aggref	   *agg = (Aggref *) node;

	return IsA(node, Aggref) && agg->aggfnoid == F_COUNT_ && agg->aggstar &&
		agg->aggfilter == NULL && agg->aggdistinct == NIL &&
		agg->aggorder == NIL && agg->agglevelsup == 0 &&
		agg->aggsplit == AGGSPLIT_SIMPLE;
}

/* SELECT count(*) of one table, if GitLab selects just the rows to count. */
void
gitlab_GetForeignUpperPaths(PlannerInfo *root, UpperRelationKind stage,
							RelOptInfo *input_rel, RelOptInfo *output_rel,
							void *extra)
{
	Query	   *parse = root->parse;
	RelationPlan *plan = input_rel->fdw_private;
	PathTarget *target = root->upper_targets[UPPERREL_GROUP_AGG];
	ListCell   *lc;

	(void) extra;
	if (stage != UPPERREL_GROUP_AGG || plan == NULL ||
		input_rel->reloptkind != RELOPT_BASEREL || !plan->all_exact ||
		!plan->possible ||
		plan->settings->resource->keyset || parse->groupClause ||
		parse->groupingSets || parse->havingQual || root->hasHavingQual ||
		!bms_equal(input_rel->relids, root->all_baserels) ||
		target == NULL || target->exprs == NIL)
		return;
	foreach(lc, target->exprs)
		if (!is_plain_count(lfirst(lc)))
			return;

	output_rel->fdw_private = plan;
	add_path(output_rel, (Path *)
			 compat_foreign_upper_path(root, output_rel, target, 1,
									   REQUEST_COST,
									   REQUEST_COST + cpu_tuple_cost,
									   list_make2(makeInteger(ORDER_NONE),
												  makeInteger(1))));
}


/* ----------
 * The plan
 * ----------
 */

/* The attribute numbers that the scan has to fill, in ascending order. */
static List *
needed_columns(RelOptInfo *rel, List *clauses)
{
	Bitmapset  *attrs = NULL;
	List	   *columns = NIL;
	bool		whole_row;
	ListCell   *lc;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attrs);
	foreach(lc, clauses)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause,
					   rel->relid, &attrs);
	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	for (int i = 1; i <= rel->max_attr; i++)
		if (whole_row ||
			bms_is_member(i - FirstLowInvalidHeapAttributeNumber, attrs))
			columns = lappend_int(columns, i);
	return columns;
}

/*
 * How many rows will do, if the query needs no more: then the first page need
 * not be larger.
 */
static int
needed_rows(PlannerInfo *root, RelOptInfo *rel, ScanOrder order)
{
	RelationPlan *plan = rel->fdw_private;

	if (root->limit_tuples < 1 || root->limit_tuples > plan->settings->page_size ||
		!plan->all_exact || plan->split ||
		!bms_equal(rel->relids, root->all_baserels) ||
		(root->query_pathkeys != NIL &&
		 (order == ORDER_NONE || list_length(root->query_pathkeys) > 1)))
		return 0;
	return (int) root->limit_tuples;
}

/* Makes conditions of the clauses that can be pushed down. */
static List *
make_conditions(RelationPlan *plan, List *clauses, List **operands)
{
	List	   *conditions = NIL;
	ListCell   *lc;

	*operands = NIL;
	foreach(lc, clauses)
	{
		PushdownClause clause;

		if (!pushdown_clause(&plan->table, lfirst_node(RestrictInfo, lc)->clause,
							 false, &clause))
			continue;
		conditions = lappend_int(conditions, (int) (clause.field -
													plan->settings->resource->fields));
		conditions = lappend_int(conditions, clause.operator);
		*operands = lappend(*operands, copyObject(clause.operand));
	}
	return conditions;
}

/* Makes the plan node.  All quals stay in it and are checked again. */
ForeignScan *
gitlab_GetForeignPlan(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid,
					  ForeignPath *best_path, List *tlist, List *scan_clauses,
					  Plan *outer_plan)
{
	RelationPlan *plan = rel->fdw_private;
	bool		counts = intVal(list_nth(best_path->fdw_private,
										 PATH_PRIVATE_COUNT)) != 0;
	ScanOrder	order = intVal(list_nth(best_path->fdw_private,
										PATH_PRIVATE_ORDER));
	List	   *conditions;
	List	   *operands;
	List	   *private;

	(void) foreigntableid;
	if (counts)
	{
		RelOptInfo *base = find_base_rel(root, plan->table.relid);

		conditions = make_conditions(plan, base->baserestrictinfo, &operands);
		private = list_make5(makeInteger(SCAN_COUNT), NIL, conditions,
							 makeInteger(ORDER_NONE), makeInteger(0));
		return make_foreignscan(tlist, NIL, 0, operands, private,
								copyObject(tlist), NIL, outer_plan);
	}
	conditions = make_conditions(plan, scan_clauses, &operands);
	private = list_make5(makeInteger(SCAN_ROWS),
						 needed_columns(rel, scan_clauses), conditions,
						 makeInteger(order),
						 makeInteger(needed_rows(root, rel, order)));
	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							rel->relid, operands, private, NIL, NIL, outer_plan);
}
