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

#include <limits.h>

#include "access/sysattr.h"
#include "compat.h"
#include "fdw/estimate.h"
#include "fdw/plan.h"
#include "fdw/pushdown.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "utils/fmgroids.h"

/*
 * What a request costs, in the planner's units.  It takes longer than that, but
 * only the relation of requests to each other matters much.  Ten thousand of them
 * stay below jit_above_cost, for a query that waits for GitLab gains nothing by
 * being compiled.
 */
#define REQUEST_COST 1.0

/*
 * Of a path that GitLab can't be asked for.  The planner needs one that depends
 * on no other table.  This cost tells it to take any other, even one that the
 * user has turned off.  Such a path costs 1e10 or, since PostgreSQL 18, counts
 * as a disabled node.
 */
#define IMPOSSIBLE_COST 1.0e13
#define IMPOSSIBLE_DISABLED_NODES 1000

/* The promises of a path besides its pathkeys; in ForeignPath.fdw_private. */
enum PathPrivate
{
	PATH_PRIVATE_ORDER,			/* Integer: a ScanOrder */
	PATH_PRIVATE_COUNT,			/* Integer: 1 if it counts */
	PATH_PRIVATE_LOOKUPS		/* Integer: lookups that are made whatever the
								 * list is like */
};


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

/*
 * Whether the relation is all that the query reads, and some of its rows are
 * enough.
 */
static bool
is_limited(PlannerInfo *root, RelOptInfo *rel)
{
	return root->limit_tuples >= 1 && root->limit_tuples <= INT_MAX &&
		bms_equal(rel->relids, root->all_baserels);
}

/*
 * The order of the query that GitLab delivers; ORDER_NONE if it doesn't.  A list in
 * which new tokens come first, or between others, may change while it is read.  Only
 * a LIMIT makes up for that risk.  GitLab's order of creation may leave ties open:
 * one page has no others to agree with.
 */
static ScanOrder
deliverable_order(PlannerInfo *root, RelOptInfo *rel)
{
	RelationPlan *plan = rel->fdw_private;
	const Resource *resource = plan->settings->resource;
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
	if (resource_is_key(resource, field) && field->type == FIELD_BIGINT &&
		!resource->unordered && !descending)
		return ORDER_ID;
	if (resource->sorts_from == 0 ||
		plan->settings->version < resource->sorts_from)
		return ORDER_NONE;
	if (strcmp(field->name, "expires_at") == 0)
		return descending ? ORDER_EXPIRES_DESC : ORDER_EXPIRES_ASC;
	if (!is_limited(root, rel))
		return ORDER_NONE;
	if (resource_is_key(resource, field) && descending)
		return ORDER_ID_DESC;
	if (strcmp(field->name, "created_at") == 0 && plan->all_exact &&
		list_length(root->query_pathkeys) == 1 &&
		root->limit_tuples <= plan->settings->page_size)
		return descending ? ORDER_CREATED_DESC : ORDER_CREATED_ASC;
	return ORDER_NONE;
}

static Cost
scan_cost(RelOptInfo *rel, const Estimate *estimate)
{
	return REQUEST_COST * estimate->requests +
		estimate->rows * (cpu_tuple_cost + rel->baserestrictcost.per_tuple) +
		rel->baserestrictcost.startup;
}

static void
add_scan_path(PlannerInfo *root, RelOptInfo *rel, double rows,
			  const Estimate *estimate, List *pathkeys, Relids required_outer,
			  ScanOrder order, int lookups)
{
	Cost		cost = scan_cost(rel, estimate);
	Cost		penalty = estimate->possible ? 0 : IMPOSSIBLE_COST;
	int			disabled_nodes = estimate->possible ? 0 :
		IMPOSSIBLE_DISABLED_NODES;

	add_path(rel, (Path *)
			 compat_foreignscan_path(root, rel, rows, disabled_nodes,
									 penalty + Min(REQUEST_COST, cost),
									 penalty + cost, pathkeys, required_outer,
									 list_make3(makeInteger(order),
												makeInteger(0),
												makeInteger(lookups))));
}

/*
 * Whether this equivalence member is a column that is worth a request for each
 * row.
 */
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
	/* nobody would look after the number of lookups; see directory.c */
	if (plan->settings->resource->administrator_field &&
		clause.operator != CONDITION_EQUAL)
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
		Estimate	e = estimate_scan(root, rel, rel->baserestrictinfo,
									  info->ppi_clauses);
		int			lookups = estimate_lookups(root, rel, info->ppi_clauses, &e);

		add_scan_path(root, rel, info->ppi_rows, &e, NIL, info->ppi_req_outer,
					  ORDER_NONE, lookups);
	}
}

/* All ways to scan the relation. */
void
gitlab_GetForeignPaths(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid)
{
	Estimate	e = estimate_scan(root, rel, rel->baserestrictinfo, NIL);
	ScanOrder	order = deliverable_order(root, rel);

	(void) foreigntableid;
	/* what a subquery asks for may be the only user */
	add_scan_path(root, rel, rel->rows, &e, NIL, rel->lateral_relids,
				  ORDER_NONE, 1);
	if (order != ORDER_NONE)
		add_scan_path(root, rel, rel->rows, &e,
					  list_make1(linitial(root->query_pathkeys)),
					  rel->lateral_relids, order, 1);
	add_join_paths(root, rel);
}

/* Whether this is count(*), without anything that makes it another number. */
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
		!estimate_names_all(plan->settings->resource, plan->named) ||
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
									   list_make3(makeInteger(ORDER_NONE),
												  makeInteger(1),
												  makeInteger(0))));
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
 * How many rows will do, if the query needs no more: then no more pages are read
 * ahead, and a single one need not be larger.
 */
static int
needed_rows(PlannerInfo *root, RelOptInfo *rel, ScanOrder order)
{
	RelationPlan *plan = rel->fdw_private;

	if (!is_limited(root, rel) || !plan->all_exact || plan->split ||
		(root->query_pathkeys != NIL &&
		 (order == ORDER_NONE || list_length(root->query_pathkeys) > 1)))
		return 0;
	return (int) root->limit_tuples;
}

/* Adds a condition to those of a plan. */
static List *
add_condition(List *conditions, const RelationPlan *plan,
			  const PushdownClause *clause, int alternative, List **operands)
{
	conditions = lappend_int(conditions, (int) (clause->field -
												plan->settings->resource->fields));
	conditions = lappend_int(conditions, clause->operator);
	conditions = lappend_int(conditions, alternative);
	*operands = lappend(*operands, copyObject(clause->operand));
	return conditions;
}

static bool
depends_on_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) ||
		(IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC))
		return true;
	return expression_tree_walker(node, depends_on_rows, context);
}

/*
 * Whether an expression may change while the plan is executed, with a row of
 * another table.
 */
bool
plan_depends_on_rows(Node *expression)
{
	return depends_on_rows(expression, NULL);
}

/*
 * Whether a clause, with another value for each row of another table, would
 * have a list read for each of them.  Where GitLab has no lookup of a single
 * object, the scan keeps the whole list, and such a clause is checked here
 * only.
 */
static bool
splits_list(const RelationPlan *plan, const PushdownClause *clause)
{
	const Resource *resource = plan->settings->resource;

	return resource->containers[0] && !resource_has_lookup(resource) &&
		filter_named(resource, clause->field) == 0 &&
		plan_depends_on_rows((Node *) clause->operand);
}

/*
 * Makes conditions of the clauses that can be pushed down.  Of several ORs, the
 * first one says what to ask for; all are checked again.
 */
static List *
make_conditions(RelationPlan *plan, List *clauses, List **operands)
{
	List	   *conditions = NIL;
	int			nalternatives = 0;
	ListCell   *lc;

	*operands = NIL;
	foreach(lc, clauses)
	{
		Expr	   *expression = lfirst_node(RestrictInfo, lc)->clause;
		PushdownClause clause;
		List	   *alternatives;
		ListCell   *outer;
		ListCell   *inner;

		if (pushdown_clause(&plan->table, expression, false, &clause))
		{
			if (!splits_list(plan, &clause))
				conditions = add_condition(conditions, plan, &clause, 0,
										   operands);
			continue;
		}
		alternatives = nalternatives > 0 ? NIL :
			pushdown_alternatives(&plan->table, expression);
		foreach(outer, alternatives)
		{
			nalternatives++;
			foreach(inner, (List *) lfirst(outer))
				conditions = add_condition(conditions, plan, lfirst(inner),
										   nalternatives, operands);
		}
	}
	return conditions;
}

/*
 * Makes the plan node of a count.  Its tuples have the columns of the quals besides,
 * so that PostgreSQL can check these where rows have to be counted one by one.
 */
static ForeignScan *
make_count(PlannerInfo *root, RelationPlan *plan, List *tlist, Plan *outer_plan)
{
	RelOptInfo *base = find_base_rel(root, plan->table.relid);
	List	   *quals = extract_actual_clauses(base->baserestrictinfo, false);
	List	   *scan_tlist = add_to_flat_tlist(copyObject(tlist),
											   pull_var_clause((Node *) quals, 0));
	List	   *operands;
	List	   *conditions = make_conditions(plan, base->baserestrictinfo,
											 &operands);
	List	   *fields = NIL;
	List	   *private;
	ListCell   *lc;

	foreach(lc, scan_tlist)
	{
		const ResourceField *field =
			pushdown_column(&plan->table,
							(Node *) lfirst_node(TargetEntry, lc)->expr);

		fields = lappend_int(fields, field ?
							 (int) (field - plan->settings->resource->fields) : -1);
	}
	private = list_make5(makeInteger(SCAN_COUNT), fields, conditions,
						 makeInteger(ORDER_NONE), makeInteger(0));
	private = lappend(private, NIL);
	return make_foreignscan(tlist, NIL, 0, operands, private, scan_tlist,
							quals, outer_plan);
}

/* Whether a node is a subquery's result, computed once for the whole plan. */
static bool
is_computed_once(PlannerInfo *root, Node *node)
{
	if (!IsA(node, Param) || ((Param *) node)->paramkind != PARAM_EXEC)
		return false;
	for (; root; root = root->parent_root)
	{
		ListCell   *lc;

		foreach(lc, root->init_plans)
			if (list_member_int(lfirst_node(SubPlan, lc)->setParam,
								((Param *) node)->paramid))
				return true;
	}
	return false;
}

/*
 * Says when a scan that is started again for each row of another table is to read a list
 * instead of looking up single objects; NIL if there is nothing to choose.
 */
static List *
make_lookups(PlannerInfo *root, RelOptInfo *rel, List *conditions,
			 List *operands, int lookups)
{
	RelationPlan *plan = rel->fdw_private;
	const Resource *resource = plan->settings->resource;
	ListCell   *lc;

	if (resource->administrator_field == NULL)
		return NIL;
	foreach(lc, operands)
	{
		int			i = 3 * foreach_current_index(lc);

		if (resource_is_key(resource,
							&resource->fields[list_nth_int(conditions, i)]) &&
			list_nth_int(conditions, i + 1) == CONDITION_EQUAL &&
			list_nth_int(conditions, i + 2) == 0 &&
			plan_depends_on_rows(lfirst(lc)) &&
			!is_computed_once(root, lfirst(lc)))
			return list_make2(makeInteger(lookups),
							  makeInteger(estimate_known_pages(root, rel)));
	}
	return NIL;
}

/* Makes the plan node.  All quals stay in it and are checked again. */
ForeignScan *
gitlab_GetForeignPlan(PlannerInfo *root, RelOptInfo *rel, Oid foreigntableid,
					  ForeignPath *best_path, List *tlist, List *scan_clauses,
					  Plan *outer_plan)
{
	RelationPlan *plan = rel->fdw_private;
	ScanOrder	order = intVal(list_nth(best_path->fdw_private,
										PATH_PRIVATE_ORDER));
	List	   *conditions;
	List	   *operands;
	List	   *private;

	(void) foreigntableid;
	if (intVal(list_nth(best_path->fdw_private, PATH_PRIVATE_COUNT)) != 0)
		return make_count(root, plan, tlist, outer_plan);
	conditions = make_conditions(plan, scan_clauses, &operands);
	private = list_make5(makeInteger(SCAN_ROWS),
						 needed_columns(rel, scan_clauses), conditions,
						 makeInteger(order),
						 makeInteger(needed_rows(root, rel, order)));
	private = lappend(private,
					  make_lookups(root, rel, conditions, operands,
								   intVal(list_nth(best_path->fdw_private,
												   PATH_PRIVATE_LOOKUPS))));
	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							rel->relid, operands, private, NIL, NIL, outer_plan);
}
