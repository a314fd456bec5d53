/*-------------------------------------------------------------------------
 *
 * estimate.c
 *	  Planning scans of foreign tables: how many requests and rows they take.
 *
 * Nothing is asked of GitLab while planning, unless use_remote_estimate says so.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fdw/ctid.h"
#include "fdw/estimate.h"
#include "fdw/table.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/stream.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/typcache.h"

/* Rows of a table that was never analyzed. */
#define DEFAULT_ROWS 1000.0

/* Elements of an array that the planner can't see into. */
#define DEFAULT_ARRAY_LENGTH 10.0

/*
 * So many lookups are made whatever the list is like, if they are known to be all: one
 * more request would find out.
 */
#define MAX_UNASKED 3

/*
 * More lookups than these get no benefit of the doubt where it is not known how long the
 * list is: most have no more pages.
 */
#define MAX_DOUBTED_LOOKUPS 100.0


/* ----------
 * Requests and rows
 * ----------
 */

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
 * Whether this is the key, or the alias, whose objects are looked up one by
 * one.  A LIKE on it is none of GitLab's business.
 */
static bool
is_lookup(const RelationPlan *plan, const PushdownClause *clause)
{
	const Resource *resource = plan->settings->resource;

	return resource_is_key(resource, clause->field) ||
		(resource->alias && strcmp(clause->field->name, resource->alias) == 0);
}

/* Whether all containers are named that must be. */
bool
estimate_names_all(const Resource *resource, ContainerSet named)
{
	return (filter_needed(resource) & ~named) == 0;
}

/* The containers that each of some alternatives names. */
static ContainerSet
alternatives_name(const Resource *resource, List *alternatives)
{
	ContainerSet named = 0;
	ListCell   *lc;

	/* they all have the same fields */
	foreach(lc, (List *) linitial(alternatives))
		named |= filter_named(resource, ((PushdownClause *) lfirst(lc))->field);
	return named;
}

/* Takes an OR of alternatives into an estimate: each is a request. */
static void
estimate_alternatives(RelationPlan *plan, Expr *clause, ContainerSet *named,
					  double *places, double *lookups)
{
	List	   *alternatives = pushdown_alternatives(&plan->table, clause);
	ListCell   *lc;

	if (alternatives == NIL)
		return;
	*named |= alternatives_name(plan->settings->resource, alternatives);
	*places *= list_length(alternatives);
	foreach(lc, (List *) linitial(alternatives))
		if (*lookups < 0 && is_lookup(plan, lfirst(lc)))
			*lookups = 1;
}

/*
 * Estimates a scan by the clauses that are pushed down; those of joined are
 * evaluated anew for each row of other tables.
 */
Estimate
estimate_scan(PlannerInfo *root, RelOptInfo *rel, List *clauses,
			  List *joined)
{
	RelationPlan *plan = rel->fdw_private;
	const Resource *resource = plan->settings->resource;
	List	   *pushed = NIL;
	double		lookups = -1;
	double		lists = 1;
	double		places = 1;
	ContainerSet named = 0;
	Estimate	result = {0};
	ListCell   *lc;

	foreach(lc, list_concat_copy(clauses, joined))
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		PushdownClause clause;

		if (!pushdown_clause(&plan->table, rinfo->clause,
							 list_member_ptr(joined, rinfo), &clause))
		{
			estimate_alternatives(plan, rinfo->clause, &named, &places, &lookups);
			continue;
		}
		pushed = lappend(pushed, rinfo);
		if (filter_named(resource, clause.field))
		{
			if ((named & filter_named(resource, clause.field)) == 0)
				places *= Max(array_length(&clause), 1);
			named |= filter_named(resource, clause.field);
		}
		else if (is_lookup(plan, &clause))
			lookups = lookups < 0 ? array_length(&clause) :
				Min(lookups, array_length(&clause));
		else
			lists = Max(lists, array_length(&clause));
	}
	result.possible = estimate_names_all(resource, named);
	if (lookups >= 0)
	{
		result.requests = Max(lookups, 1) * places;
		result.rows = result.requests;
		result.lookups = true;
		return result;
	}
	lists *= places;
	result.rows = rel->tuples *
		clauselist_selectivity(root, list_concat(pushed, plan->implied), 0,
							   JOIN_INNER, NULL);
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
							 conditions, n,
							 zone_known_of_server(plan->settings->serverid) == ZONE_OTHER,
							 false, true);
	if (request->nothing || request->lookup || request->ntargets != 1 ||
		plan->settings->resource->keyset)
		return -1;
	return stream_total(api_open(plan->settings->serverid,
								 OidIsValid(rel->userid) ? rel->userid : GetUserId()),
						plan->settings->resource, request->targets,
						request->parameters, false);
}

/* Learns from a qual what it leaves to be asked for. */
static void
look_at_clause(RelationPlan *plan, Expr *expression)
{
	const Resource *resource = plan->settings->resource;
	PushdownClause clause;
	List	   *alternatives;

	if (pushdown_clause(&plan->table, expression, false, &clause))
	{
		plan->all_exact = plan->all_exact && clause.exact;
		plan->named |= filter_named(resource, clause.field);
		plan->split = plan->split || clause.operator == CONDITION_EQUAL_ANY;
		return;
	}
	plan->all_exact = false;
	alternatives = pushdown_alternatives(&plan->table, expression);
	if (alternatives == NIL)
		return;
	plan->named |= alternatives_name(resource, alternatives);
	plan->split = true;
}

/* Learns how many rows the table has: by ANALYZE, or as this session has seen. */
static void
learn_size(RelationPlan *plan, RelOptInfo *rel)
{
	bool		analyzed = rel->tuples > 0 || (rel->tuples == 0 && rel->pages > 0);
	double		seen = plan->settings->resource->administrator_field ?
		connection_known_users(plan->settings->serverid) : 0;

	plan->size_known = analyzed || seen > 0;
	if (seen > 0)
		rel->tuples = seen;
	else if (!analyzed)
		rel->tuples = DEFAULT_ROWS;
}

/* The quals that a list can be asked for by. */
static List *
list_quals(const RelationPlan *plan, RelOptInfo *rel)
{
	List	   *quals = NIL;
	PushdownClause clause;
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
		if (!pushdown_clause(&plan->table, lfirst_node(RestrictInfo, lc)->clause,
							 false, &clause) ||
			!is_lookup(plan, &clause))
			quals = lappend(quals, lfirst(lc));
	return quals;
}

/* How many pages the list has that a scan could read instead of looking up; or 0. */
int
estimate_known_pages(PlannerInfo *root, RelOptInfo *rel)
{
	RelationPlan *plan = rel->fdw_private;
	List	   *quals = list_quals(plan, rel);

	/* this session knows how many users there are, ANALYZE also of what kinds */
	if (!plan->size_known || (quals != NIL && rel->pages == 0))
		return 0;
	return (int) Min(estimate_scan(root, rel, quals, NIL).requests, INT_MAX);
}

/* Whether a condition says, as a constant, that a token is active. */
static bool
says_active(const PushdownClause *clause)
{
	Const	   *operand = (Const *) clause->operand;

	return strcmp(clause->field->name, "active") == 0 &&
		IsA(operand, Const) && !operand->constisnull &&
		DatumGetBool(operand->constvalue);
}

/* column >= a day */
static Expr *
from_day_on(const Var *column, DateADT day)
{
	Oid			family = lookup_type_cache(DATEOID,
										   TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	Oid			operator = get_opfamily_member(family, DATEOID, DATEOID,
											   BTGreaterEqualStrategyNumber);
	Const	   *constant = makeConst(DATEOID, -1, InvalidOid, sizeof(DateADT),
									 DateADTGetDatum(day), false, true);

	return make_opclause(operator, BOOLOID, false, (Expr *) copyObject(column),
						 (Expr *) constant, InvalidOid, InvalidOid);
}

/*
 * A token that is active has not expired.  Of those with an expiry before some day, most
 * may have: the planner would take the two for independent, and expect all of them.
 */
static void
imply_expiry(RelationPlan *plan, RelOptInfo *rel)
{
	Var		   *expiry = NULL;
	bool		is_active = false;
	ListCell   *lc;

	if (rel->pages == 0)
		return;					/* there are no statistics */
	foreach(lc, rel->baserestrictinfo)
	{
		Expr	   *qual = lfirst_node(RestrictInfo, lc)->clause;
		PushdownClause clause;

		if (!pushdown_clause(&plan->table, qual, false, &clause))
			continue;
		is_active = is_active || says_active(&clause);
		if (strcmp(clause.field->name, "expires_at") == 0 &&
			(clause.operator == CONDITION_LESS ||
			 clause.operator == CONDITION_LESS_EQUAL))
			expiry = linitial_node(Var, pull_var_clause((Node *) qual,
														PVC_RECURSE_PLACEHOLDERS));
	}
	if (is_active && expiry)
		plan->implied = list_make1(from_day_on(expiry, GetSQLCurrentDate()));
}

/*
 * Corrects the planner's number of rows by what it can't know: what follows from the
 * quals, and that lookups bring a row each at most.
 */
static void
limit_rows(PlannerInfo *root, RelOptInfo *rel)
{
	RelationPlan *plan = rel->fdw_private;
	Estimate	e = estimate_scan(root, rel, rel->baserestrictinfo, NIL);
	List	   *quals = list_concat_copy(rel->baserestrictinfo, plan->implied);

	if (plan->implied)
		rel->rows = clamp_row_est(rel->tuples *
								  clauselist_selectivity(root, quals, 0,
														 JOIN_INNER, NULL));
	if (plan->settings->resource->containers[0] == NULL && e.lookups)
		rel->rows = clamp_row_est(Min(rel->rows, e.rows));
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
	plan->table.fields = table_bind(plan->settings->resource, relation);
	plan->table.version = plan->settings->version;
	ctid_check_scan(root, rel, relation);
	table_close(relation, NoLock);
	rel->fdw_private = plan;

	plan->all_exact = true;
	foreach(lc, rel->baserestrictinfo)
		look_at_clause(plan, lfirst_node(RestrictInfo, lc)->clause);

	learn_size(plan, rel);
	imply_expiry(plan, rel);
	if (plan->settings->use_remote_estimate)
		remote_rows = ask_for_rows(rel);
	set_baserel_size_estimates(root, rel);
	limit_rows(root, rel);
	if (remote_rows >= 0)
	{
		rel->tuples = Max(rel->tuples, remote_rows);
		rel->rows = clamp_row_est(remote_rows);
	}
}


/* ----------
 * Lookups of a join
 * ----------
 */

/* How many different values a join looks up. */
typedef struct LookupForecast
{
	double		values;
	bool		guessed;		/* there are no statistics of them */
	bool		selective;		/* they are of a part of their table */
} LookupForecast;

static LookupForecast
forecast_lookups(PlannerInfo *root, const PushdownClause *clause)
{
	LookupForecast forecast = {.values = DEFAULT_ROWS, .guessed = true};
	Relids		relids = bms_intersect(pull_varnos(root, (Node *) clause->operand),
									   root->all_baserels);
	EstimationInfo info;
	RelOptInfo *outer;
	int			relid;

	if (!bms_get_singleton_member(relids, &relid))
		return forecast;
	outer = find_base_rel(root, relid);
	forecast.values = estimate_num_groups(root, list_make1(clause->operand),
										  outer->rows, NULL, &info);
	forecast.guessed = (info.flags & SELFLAG_USED_DEFAULT) != 0;
	/* a range that nothing is known of is taken for a third */
	forecast.selective = outer->rows * 3 <= outer->tuples;
	return forecast;
}

/*
 * How many requests a lookup counts for.  Where one of the tables was never analyzed, the
 * numbers are guesses.  A list that is read for a few users costs more than some lookups
 * before a list does, so lookups get the benefit of the doubt.
 */
static double
price_of_lookup(const RelationPlan *plan, const LookupForecast *forecast,
				double list_pages)
{
	bool		guessed = forecast->guessed || !plan->size_known;
	double		pages = list_pages / 2;

	if (!guessed || !forecast->selective || forecast->values <= pages ||
		list_pages < LOOKUPS_MIN_PAGES ||
		(!forecast->guessed && forecast->values > MAX_DOUBTED_LOOKUPS))
		return 1;
	return pages / forecast->values;
}

/* Takes the clause among those of a join by which single objects are looked up. */
static bool
find_lookup(RelationPlan *plan, List *clauses, PushdownClause *clause)
{
	ListCell   *lc;

	foreach(lc, clauses)
		if (pushdown_clause(&plan->table, lfirst_node(RestrictInfo, lc)->clause,
							true, clause) &&
			clause->operator == CONDITION_EQUAL &&
			resource_is_key(plan->settings->resource, clause->field))
			return true;
	return false;
}

/*
 * Corrects the estimate of a scan with some clauses of a join, if it looks users up.  A
 * lookup counts as much as a page of the list, for directory.c makes as many of either at
 * most.  Returns how many lookups it is to make whatever the list is like.
 */
int
estimate_lookups(PlannerInfo *root, RelOptInfo *rel, List *clauses,
				 Estimate *result)
{
	RelationPlan *plan = rel->fdw_private;
	Estimate	list = estimate_scan(root, rel, rel->baserestrictinfo, NIL);
	PushdownClause clause;
	LookupForecast forecast;

	if (plan->settings->resource->administrator_field == NULL || list.lookups ||
		!find_lookup(plan, clauses, &clause))
		return 0;
	forecast = forecast_lookups(root, &clause);
	result->requests = price_of_lookup(plan, &forecast, list.requests);
	result->rows = result->requests * plan->settings->page_size;
	return forecast.values <= (forecast.guessed ? 1 : MAX_UNASKED) ?
		(int) ceil(forecast.values) : 0;
}
