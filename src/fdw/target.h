/*-------------------------------------------------------------------------
 *
 * modify.h
 *	  INSERT, UPDATE, DELETE and COPY.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_MODIFY_H
#define GITLAB_PAT_MODIFY_H

#include "foreign/fdwapi.h"
#include "gitlab/option.h"
#include "change/queue.h"

typedef struct TokenTable TokenTable;

/* A statement that changes a table. */
typedef struct GitLabModify
{
	Relation	rel;
	TableSettings *settings;
	const ResourceField **fields;	/* by attribute number minus one */
	AttrNumber	row_attno;		/* of the junk column in the plan's rows */
	RemoteChange change;
	MemoryContext row_context;	/* holds the values of the current row */
	TokenTable *tokens;			/* token.c's own; NULL if it is about others */
} GitLabModify;

extern int	gitlab_IsForeignRelUpdatable(Relation rel);
extern void gitlab_AddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
										   RangeTblEntry *target_rte,
										   Relation target_relation);
extern List *gitlab_PlanForeignModify(PlannerInfo *root, ModifyTable *plan,
									  Index resultRelation, int subplan_index);
extern void gitlab_BeginForeignModify(ModifyTableState *mtstate,
									  ResultRelInfo *rinfo, List *fdw_private,
									  int subplan_index, int eflags);
extern void gitlab_BeginForeignInsert(ModifyTableState *mtstate,
									  ResultRelInfo *rinfo);
extern TupleTableSlot *gitlab_ExecForeignInsert(EState *estate,
												ResultRelInfo *rinfo,
												TupleTableSlot *slot,
												TupleTableSlot *plan_slot);
extern TupleTableSlot *gitlab_ExecForeignUpdate(EState *estate,
												ResultRelInfo *rinfo,
												TupleTableSlot *slot,
												TupleTableSlot *plan_slot);
extern TupleTableSlot *gitlab_ExecForeignDelete(EState *estate,
												ResultRelInfo *rinfo,
												TupleTableSlot *slot,
												TupleTableSlot *plan_slot);
extern void gitlab_EndForeignModify(EState *estate, ResultRelInfo *rinfo);

#endif							/* GITLAB_PAT_MODIFY_H */
