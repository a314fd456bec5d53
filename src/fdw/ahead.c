/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  UPDATE with joins or row triggers: reading its rows to the end first.
 *
 * The executor takes a row from the plan below an UPDATE, has it changed, and takes
 * the next one.  The tokens would be created one after the other, each after a look at
 * the old one.  Therefore a function stands between the executor and that plan.  When
 * it is first asked, it reads the plan to its end, as a Sort would, and has the rows
 * changed several at a time.  Then it hands out what it has read, and the executor's
 * call for each row finds the change done.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/ahead.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "fdw/updates.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

struct ReadAhead
{
	slist_node	link;			/* in readers */
	MemoryContextCallback callback; /* takes it out of them */
	PlanState  *subplan;		/* below the ModifyTable */
	ExecProcNodeMtd next;		/* what brings the subplan's rows */
	Index		relid;			/* of the table, in the range table */
	UpdateSet  *updates;
	struct HTAB *index;			/* of the updates that were not taken yet */
	Tuplestorestate *rows;		/* that the subplan has brought; NULL: none */
	TupleTableSlot *stored;
	TupleTableSlot *slot;		/* of the kind that the subplan's rows have */
};

/* All of the session, for a PlanState has no room for one. */
static slist_head readers = SLIST_STATIC_INIT(readers);

static ReadAhead *
find_reader(PlanState *subplan)
{
	slist_iter	iter;

	slist_foreach(iter, &readers)
	{
		ReadAhead  *ahead = slist_container(ReadAhead, link, iter.cur);

		if (ahead->subplan == subplan)
			return ahead;
	}
	elog(ERROR, "rows of an UPDATE have no reader");
}

static void
forget_reader(void *arg)
{
	slist_delete(&readers, &((ReadAhead *) arg)->link);
}

/* The targets of scan_walker(). */
typedef struct ScanSearch
{
	Index		relid;
	ForeignScanState *found;
} ScanSearch;

/* Finds the scan of a relation that is in the range table. */
static bool
scan_walker(PlanState *node, void *context)
{
	ScanSearch *search = context;

	if (IsA(node, ForeignScanState) &&
		((ForeignScan *) node->plan)->scan.scanrelid == search->relid)
	{
		search->found = (ForeignScanState *) node;
		return true;
	}
	return planstate_tree_walker(node, scan_walker, context);
}

/* Reads the subplan to its end, and has its rows changed. */
static void
read_rows(ReadAhead *ahead)
{
	MemoryContext saved =
		MemoryContextSwitchTo(ahead->subplan->state->es_query_cxt);
	GitLabModify *modify = ahead->updates->modify;
	ScanSearch	search = {.relid = ahead->relid};
	TupleTableSlot *slot;

	ahead->rows = tuplestore_begin_heap(false, false, work_mem);
	MemoryContextSwitchTo(saved);
	while (slot = ahead->next(ahead->subplan), !TupIsNull(slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(ahead->rows, slot);
		MemoryContextReset(modify->row_context);
		saved = MemoryContextSwitchTo(modify->row_context);
		(void) updates_add(ahead->updates, target_record(modify, slot), slot);
		MemoryContextSwitchTo(saved);
	}
	(void) scan_walker(ahead->subplan, &search);
	updates_carry_out(ahead->updates, search.found);
	saved = MemoryContextSwitchTo(ahead->updates->context);
	ahead->index = change_index(ahead->updates->updates,
								ahead->updates->nupdates);
	MemoryContextSwitchTo(saved);
}

/* Takes the place of what brings the subplan's rows. */
static TupleTableSlot *
next_row(PlanState *subplan)
{
	ReadAhead  *ahead = find_reader(subplan);

	if (ahead->rows == NULL)
		read_rows(ahead);
	if (!tuplestore_gettupleslot(ahead->rows, true, false, ahead->stored))
		return ExecClearTuple(ahead->slot);
	return ExecCopySlot(ahead->slot, ahead->stored);
}

/*
 * Whether an UPDATE may read its rows to the end first.  It may not if a BEFORE
 * ROW trigger may skip rows or look at the table, or if rows of several tables
 * come mixed.
 */
bool
ahead_is_possible(ModifyTableState *mtstate, ResultRelInfo *rinfo,
				  const GitLabModify *modify)
{
	return mtstate->operation == CMD_UPDATE &&
		mtstate->mt_nrels == 1 &&
		modify->participant->update_rows != NULL &&
		!(rinfo->ri_TrigDesc && rinfo->ri_TrigDesc->trig_update_before_row);
}

/*
 * Has an UPDATE read its rows to the end first.  In the query's memory context.
 * columns: those that SET names, in the order of the subplan's.
 */
ReadAhead *
ahead_begin(ModifyTableState *mtstate, ResultRelInfo *rinfo,
			GitLabModify *modify, List *columns)
{
	ReadAhead  *ahead = palloc0(sizeof(ReadAhead));
	PlanState  *subplan = outerPlanState(mtstate);
	EState	   *estate = mtstate->ps.state;

	ahead->subplan = subplan;
	ahead->next = subplan->ExecProcNodeReal;
	ahead->relid = rinfo->ri_RangeTableIndex;
	ahead->updates = updates_create(modify, columns);
	ahead->stored = ExecInitExtraTupleSlot(estate, ExecGetResultType(subplan),
										   &TTSOpsMinimalTuple);
	ahead->slot = ExecInitExtraTupleSlot(estate, ExecGetResultType(subplan),
										 ExecGetResultSlotOps(subplan, NULL));
	ahead->callback.func = forget_reader;
	ahead->callback.arg = ahead;
	slist_push_head(&readers, &ahead->link);
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &ahead->callback);
	ExecSetExecProcNode(subplan, next_row);
	return ahead;
}

/* Closes what the rows were kept in, which may be a file. */
void
ahead_end(ReadAhead *ahead)
{
	if (ahead->rows)
		tuplestore_end(ahead->rows);
	ahead->rows = NULL;
}

/*
 * The new record of an object that was changed ahead, which a row of the plan has
 * brought; NULL if a row has brought it before.
 */
JsonRecord *
ahead_take(ReadAhead *ahead, JsonRecord *row)
{
	RowUpdate  *update = change_find(ahead->index, row);

	if (update == NULL)
		return NULL;
	(void) hash_search(ahead->index, &update->id, HASH_REMOVE, NULL);
	return update->shown;
}
