/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  What the planner hands to the executor.
 *
 * A plan holds only what can be copied and printed: no pointer, no credential,
 * nothing that depends on the role that will run it.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PLAN_H
#define GITLAB_PAT_PLAN_H

#include "commands/explain.h"
#include "foreign/fdwapi.h"

/* The kinds of rows that a scan returns. */
typedef enum ScanKind
{
	SCAN_ROWS,
	SCAN_COUNT					/* one row: how many there are */
} ScanKind;

/* The order that a scan has promised. */
typedef enum ScanOrder
{
	ORDER_NONE,
	ORDER_ID,
	ORDER_EXPIRES_ASC,			/* null comes last */
	ORDER_EXPIRES_DESC,			/* null comes first */
	ORDER_ID_DESC,
	ORDER_CREATED_ASC,
	ORDER_CREATED_DESC
} ScanOrder;

/*
 * The items of a ForeignScan's fdw_private.  The conditions are triples: the number
 * of a field in the resource's descriptor, a ConditionOperator, and the number of an
 * alternative, as in Condition.  Each has its operand at the same place in
 * fdw_exprs.  The quals of a count are its fdw_recheck_quals, for rows that it has
 * to look at itself.
 */
enum ScanPrivate
{
	SCAN_PRIVATE_KIND,			/* Integer: a ScanKind */
	SCAN_PRIVATE_COLUMNS,		/* IntList: attribute numbers to convert; of a
								 * count, a field's number for each item of
								 * fdw_scan_tlist, or -1: the count itself */
	SCAN_PRIVATE_CONDITIONS,	/* IntList */
	SCAN_PRIVATE_ORDER,			/* Integer: a ScanOrder */
	SCAN_PRIVATE_LIMIT,			/* Integer: rows that will do, or 0 */
	SCAN_PRIVATE_LOOKUPS,		/* List of two Integers: lookups before it
								 * must be known how many pages the list has,
								 * and that number, or 0; NIL: there is no
								 * choice between the two */
	SCAN_PRIVATE_DIRECT			/* List: a DirectPrivate; missing if the scan
								 * does not change what it reads */
};

extern void gitlab_GetForeignPaths(PlannerInfo *root, RelOptInfo *rel,
								   Oid foreigntableid);
extern void gitlab_GetForeignUpperPaths(PlannerInfo *root,
										UpperRelationKind stage,
										RelOptInfo *input_rel,
										RelOptInfo *output_rel, void *extra);
extern ForeignScan *gitlab_GetForeignPlan(PlannerInfo *root, RelOptInfo *rel,
										  Oid foreigntableid,
										  ForeignPath *best_path, List *tlist,
										  List *scan_clauses, Plan *outer_plan);
extern bool plan_depends_on_rows(Node *expression);

#endif							/* GITLAB_PAT_PLAN_H */
