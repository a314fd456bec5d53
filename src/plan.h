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

/* How a scan gets at its rows. */
typedef enum ScanKind
{
	SCAN_LIST,					/* all of the collection */
	SCAN_LOOKUP					/* one object by the id in fdw_exprs */
} ScanKind;

/* The items of a ForeignScan's fdw_private. */
enum ScanPrivate
{
	SCAN_PRIVATE_KIND,			/* Integer: a ScanKind */
	SCAN_PRIVATE_COLUMNS		/* IntList: attribute numbers to convert */
};

extern void gitlab_GetForeignRelSize(PlannerInfo *root, RelOptInfo *rel,
									 Oid foreigntableid);
extern void gitlab_GetForeignPaths(PlannerInfo *root, RelOptInfo *rel,
								   Oid foreigntableid);
extern ForeignScan *gitlab_GetForeignPlan(PlannerInfo *root, RelOptInfo *rel,
										  Oid foreigntableid,
										  ForeignPath *best_path, List *tlist,
										  List *scan_clauses, Plan *outer_plan);
extern void gitlab_ExplainForeignScan(ForeignScanState *node,
									  ExplainState *es);

#endif							/* GITLAB_PAT_PLAN_H */
