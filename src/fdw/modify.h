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
extern int	gitlab_GetForeignModifyBatchSize(ResultRelInfo *rinfo);
extern TupleTableSlot **gitlab_ExecForeignBatchInsert(EState *estate,
													  ResultRelInfo *rinfo,
													  TupleTableSlot **slots,
													  TupleTableSlot **plan_slots,
													  int *nslots);
extern TupleTableSlot *gitlab_ExecForeignUpdate(EState *estate,
												ResultRelInfo *rinfo,
												TupleTableSlot *slot,
												TupleTableSlot *plan_slot);
extern TupleTableSlot *gitlab_ExecForeignDelete(EState *estate,
												ResultRelInfo *rinfo,
												TupleTableSlot *slot,
												TupleTableSlot *plan_slot);
extern void gitlab_EndForeignModify(EState *estate, ResultRelInfo *rinfo);
extern void gitlab_ExplainForeignModify(ModifyTableState *mtstate,
										ResultRelInfo *rinfo,
										List *fdw_private, int subplan_index,
										ExplainState *es);

#endif							/* GITLAB_PAT_MODIFY_H */
