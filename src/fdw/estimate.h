/*-------------------------------------------------------------------------
 *
 * estimate.h
 *	  Planning scans of foreign tables: how many requests and rows they take.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ESTIMATE_H
#define GITLAB_PAT_ESTIMATE_H

#include "fdw/pushdown.h"
#include "foreign/fdwapi.h"
#include "gitlab/option.h"

/* What planning learns about a relation; in RelOptInfo.fdw_private. */
typedef struct RelationPlan
{
	TableSettings *settings;
	PushdownTable table;
	bool		all_exact;		/* GitLab selects just the rows of the quals */
	bool		possible;		/* the quals say all that must be known */
	bool		split;			/* an array of values, each listed apart */
} RelationPlan;

/* How many requests and rows some clauses make of a scan. */
typedef struct Estimate
{
	double		requests;
	double		rows;			/* that GitLab sends */
	bool		possible;		/* the clauses say all that must be known */
} Estimate;

extern void gitlab_GetForeignRelSize(PlannerInfo *root, RelOptInfo *rel,
									 Oid foreigntableid);

extern Estimate estimate(PlannerInfo *root, RelOptInfo *rel, List *clauses,
						 List *joined);

#endif							/* GITLAB_PAT_ESTIMATE_H */
