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

#include "gitlab/filter.h"
#include "nodes/pathnodes.h"

/* A foreign table as the planner knows it. */
typedef struct PushdownTable
{
	PlannerInfo *root;
	Index		relid;			/* range table index */
	const Resource *resource;
	const ResourceField **fields;	/* by attribute number minus one */
	int			version;		/* declared GitLab version */
} PushdownTable;

/* A clause that a condition can be made of. */
typedef struct PushdownClause
{
	const ResourceField *field;
	ConditionOperator operator;
	Expr	   *operand;
	bool		exact;			/* GitLab may select just these rows */
} PushdownClause;

extern const ResourceField *pushdown_column(const PushdownTable *table,
											Node *node);
extern List *pushdown_alternatives(const PushdownTable *table, Expr *clause);
extern bool pushdown_equality(const PushdownTable *table, Expr *clause,
							  PushdownClause *result);
extern bool pushdown_clause(const PushdownTable *table, Expr *clause,
							bool joining, PushdownClause *result);

#endif							/* GITLAB_PAT_PUSHDOWN_H */
