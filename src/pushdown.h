/*-------------------------------------------------------------------------
 *
 * pushdown.h
 *	  Which parts of a query GitLab can answer.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PUSHDOWN_H
#define GITLAB_PAT_PUSHDOWN_H

#include "nodes/pathnodes.h"

extern Expr *pushdown_equal_id(PlannerInfo *root, RelOptInfo *rel,
							   AttrNumber id_column, Expr *clause);

#endif							/* GITLAB_PAT_PUSHDOWN_H */
