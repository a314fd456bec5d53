/*-------------------------------------------------------------------------
 *
 * direct.h
 *	  UPDATE and DELETE without joins: a scan that changes what it reads.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_DIRECT_H
#define GITLAB_PAT_DIRECT_H

#include "commands/explain.h"
#include "foreign/fdwapi.h"

/* The items of SCAN_PRIVATE_DIRECT. */
enum DirectPrivate
{
	DIRECT_PRIVATE_COLUMNS,		/* IntList: attribute numbers that are set, in
								 * the order of the target list */
	DIRECT_PRIVATE_COUNTED,		/* Integer: 1 if the rows count as processed */
	DIRECT_PRIVATE_RETURNS,		/* Integer: 1 if there is RETURNING */
	DIRECT_PRIVATE_TAKES,		/* Integer: 1 if that takes new secrets */
	DIRECT_PRIVATE_ID			/* Integer: which of fdw_exprs is the id of
								 * the rows, where GitLab can't select by it;
								 * or -1 */
};

extern bool gitlab_PlanDirectModify(PlannerInfo *root, ModifyTable *plan,
									Index resultRelation, int subplan_index);
extern void gitlab_BeginDirectModify(ForeignScanState *node, int eflags);
extern TupleTableSlot *gitlab_IterateDirectModify(ForeignScanState *node);
extern void gitlab_EndDirectModify(ForeignScanState *node);
extern void gitlab_ExplainDirectModify(ForeignScanState *node,
									   ExplainState *es);

#endif							/* GITLAB_PAT_DIRECT_H */
