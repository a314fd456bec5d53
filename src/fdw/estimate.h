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
#include "gitlab/filter.h"
#include "gitlab/option.h"
#include "nodes/pathnodes.h"

/* The fewest pages of a list that lookups are made to save. */
#define LOOKUPS_MIN_PAGES 5

/* A relation's settings and estimates while it is planned; in RelOptInfo.fdw_private. */
typedef struct RelationPlan
{
	TableSettings *settings;
	PushdownTable table;
	bool		all_exact;		/* GitLab selects just the rows of the quals */
	ContainerSet named;			/* the containers that the quals name */
	bool		split;			/* several lists, one after the other */
	bool		size_known;		/* rel->tuples is no guess */
	List	   *implied;		/* clauses that follow from the quals */
} RelationPlan;

/* How many requests and rows some clauses make of a scan. */
typedef struct Estimate
{
	double		requests;
	double		rows;			/* that GitLab sends */
	bool		possible;		/* the clauses say all that must be known */
	bool		lookups;		/* the requests are for single objects */
} Estimate;

extern bool estimate_names_all(const Resource *resource, ContainerSet named);
extern Estimate estimate_scan(PlannerInfo *root, RelOptInfo *rel,
							  List *clauses, List *joined);
extern int	estimate_known_pages(PlannerInfo *root, RelOptInfo *rel);
extern int	estimate_lookups(PlannerInfo *root, RelOptInfo *rel, List *clauses,
							 Estimate *result);

extern void gitlab_GetForeignRelSize(PlannerInfo *root, RelOptInfo *rel,
									 Oid foreigntableid);

#endif							/* GITLAB_PAT_ESTIMATE_H */
