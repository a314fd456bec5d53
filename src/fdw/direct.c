/*-------------------------------------------------------------------------
 *
 * direct.c
 *	  UPDATE and DELETE without joins: a scan that changes what it reads.
 *
 * The executor would check a scan's conditions after it has returned a row, and
 * those that GitLab gets select a superset.  So the node's conditions and its
 * projection, which computes what SET says, are taken over: they are evaluated
 * for each row before anything is queued or sent.  An UPDATE reads its scan to
 * the end first.  Then its rows are read again, and changed several at a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/direct.h"
#include "fdw/modify.h"
#include "fdw/pushdown.h"
#include "fdw/scan.h"
#include "fdw/secret.h"
#include "fdw/table.h"
#include "fdw/target.h"
#include "fdw/updates.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/rel.h"

/* A statement that changes what its scan reads. */
typedef struct DirectModify
{
	GitLabModify *modify;
	ExprState  *conditions;		/* of the node; NULL: there are none */
	ProjectionInfo *projection; /* of the node */
	bool		counted;		/* the rows count as processed */
	bool		returns;
	UpdateSet  *updates;
	List	   *planned;		/* MinimalTuples: what the projection makes of
								 * each; NIL if nothing is returned */
	bool		read;			/* the scan was, to its end */
	int			next;			/* to be returned */
} DirectModify;


/* ----------
 * Planning
 * ----------
 */

/* The scan of a relation below a ModifyTable, if nothing is in between. */
static ForeignScan *
find_scan(ModifyTable *plan, Index relid, int subplan_index)
{
	Plan	   *subplan = outerPlan(plan);

	if (IsA(subplan, Append))
	{
		List	   *children = ((Append *) subplan)->appendplans;

		if (subplan_index >= list_length(children))
			return NULL;
		subplan = list_nth(children, subplan_index);
	}
	if (!IsA(subplan, ForeignScan) ||
		((ForeignScan *) subplan)->scan.scanrelid != relid)
		return NULL;
	return (ForeignScan *) subplan;
}

static bool
has_current_of(List *conditions)
{
	ListCell   *lc;

	foreach(lc, conditions)
		if (IsA(lfirst(lc), CurrentOfExpr))
			return true;
	return false;
}

/*
 * Whether a statement trigger of the table that the statement names gets all
 * rows.  Only the executor collects them.
 */
static bool
has_transition_tables(PlannerInfo *root, CmdType operation)
{
	Oid			relid = planner_rt_fetch(root->parse->resultRelation, root)->relid;
	Relation	rel = table_open(relid, NoLock);
	const TriggerDesc *triggers = rel->trigdesc;
	bool		result = triggers &&
		(operation == CMD_DELETE ? triggers->trig_delete_old_table :
		 triggers->trig_update_old_table || triggers->trig_update_new_table);

	table_close(rel, NoLock);
	return result;
}

/*
 * Where GitLab has no lookup, an UPDATE that names its row by "id =" knows all the same
 * which one it will change.  Has that expression computed with those of the conditions,
 * and returns its place there; -1 if there is none.
 */
static int
add_named_id(PlannerInfo *root, ForeignScan *scan, const Resource *resource,
			 const ResourceField **fields)
{
	const PushdownTable table = {
		.root = root,
		.relid = scan->scan.scanrelid,
		.resource = resource,
		.fields = fields
	};
	ListCell   *lc;

	if (resource_has_lookup(resource))
		return -1;
	foreach(lc, scan->scan.plan.qual)
	{
		PushdownClause clause;

		if (!pushdown_equality(&table, lfirst(lc), &clause) ||
			!resource_is_key(resource, clause.field))
			continue;
		scan->fdw_exprs = lappend(scan->fdw_exprs, copyObject(clause.operand));
		return list_length(scan->fdw_exprs) - 1;
	}
	return -1;
}

/*
 * Has the scan change what it reads, if it may.  The planner does not ask where there
 * are row triggers, a CHECK OPTION, or RETURNING with OLD or NEW.
 */
bool
gitlab_PlanDirectModify(PlannerInfo *root, ModifyTable *plan,
						Index resultRelation, int subplan_index)
{
	Oid			relid = planner_rt_fetch(resultRelation, root)->relid;
	const Resource *resource = option_table(relid)->resource;
	const Participant *participant = transaction_participant(resource);
	ForeignScan *scan = find_scan(plan, resultRelation, subplan_index);
	const ResourceField **fields;
	List	   *returning = NIL;
	List	   *columns = NIL;
	Relation	rel;

	if (scan == NULL || participant == NULL ||
		participant->update_rows == NULL ||
		(plan->operation != CMD_UPDATE && plan->operation != CMD_DELETE) ||
		has_current_of(scan->scan.plan.qual) ||
		has_transition_tables(root, plan->operation))
		return false;
	(void) gitlab_PlanForeignModify(root, plan, resultRelation, subplan_index);

	if (plan->returningLists)
		returning = list_nth(plan->returningLists, subplan_index);
	if (plan->operation == CMD_UPDATE)
		columns = copyObject(list_nth(plan->updateColnosLists, subplan_index));
	rel = table_open(relid, NoLock);
	fields = table_bind(resource, rel);
	scan->fdw_private =
		lappend(scan->fdw_private,
				list_make5(columns, makeInteger(plan->canSetTag),
						   makeInteger(plan->returningLists != NIL),
						   makeInteger(secret_is_returned(resource, fields, rel,
														  returning,
														  resultRelation)),
						   makeInteger(add_named_id(root, scan, resource,
													fields))));
	table_close(rel, NoLock);
	/* an Append has it done in turn: it changes what it reads at once */
	scan->scan.plan.async_capable = false;
	scan->operation = plan->operation;
	scan->resultRelation = resultRelation;
	return true;
}


/* ----------
 * Execution
 * ----------
 */

/* Prepares the scan and the change; sends nothing yet. */
void
gitlab_BeginDirectModify(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List	   *private = list_nth(plan->fdw_private, SCAN_PRIVATE_DIRECT);
	ResultRelInfo *rinfo = node->resultRelInfo;
	DirectModify *direct;
	GitLabScan *scan;

	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		option_check_writable();
	gitlab_BeginForeignScan(node, eflags);
	scan = node->fdw_state;
	if (scan == NULL)
		return;
	scan->named_id = intVal(list_nth(private, DIRECT_PRIVATE_ID));
	if ((gitlab_IsForeignRelUpdatable(rinfo->ri_RelationDesc) &
		 (1 << plan->operation)) == 0)
		elog(ERROR, "foreign table \"%s\" does not allow the operation",
			 RelationGetRelationName(rinfo->ri_RelationDesc));
	direct = palloc0(sizeof(DirectModify));
	direct->modify = target_begin(node->ss.ps.state, rinfo, scan->client);
	direct->counted = intVal(list_nth(private, DIRECT_PRIVATE_COUNTED)) != 0;
	direct->returns = intVal(list_nth(private, DIRECT_PRIVATE_RETURNS)) != 0;
	direct->updates = updates_create(direct->modify,
									 list_nth(private, DIRECT_PRIVATE_COLUMNS));
	if (plan->operation == CMD_UPDATE && !secret_discard &&
		intVal(list_nth(private, DIRECT_PRIVATE_TAKES)) == 0)
		secret_refuse_update(scan->settings->resource, direct->modify->fields,
							 direct->modify->rel);
	/* the executor is to return the node's rows as they come from here */
	direct->conditions = node->ss.ps.qual;
	direct->projection = node->ss.ps.ps_ProjInfo;
	node->ss.ps.qual = NULL;
	node->ss.ps.ps_ProjInfo = NULL;
	scan->direct = direct;
}

/*
 * Reads the next record that fulfils the conditions, and puts it into the scan's slot;
 * NULL at the end.  What evaluating takes lives until the next one.
 */
static JsonRecord *
read_row(ForeignScanState *node, GitLabScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	JsonRecord *record;
	bool		revoked;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		record = scan_next_record(node, scan, &revoked);
		if (record == NULL)
			return NULL;
		scan_show_record(node, scan, record, revoked);
		econtext->ecxt_scantuple = node->ss.ss_ScanTupleSlot;
		econtext->ecxt_scantuple->tts_tableOid =
			RelationGetRelid(node->ss.ss_currentRelation);
		if (ExecQual(scan->direct->conditions, econtext))
			break;
		InstrCountFiltered1(node, 1);
	}
	if (revoked)
	{
		ResourceValue value = {
			.field = resource_field(scan->settings->resource, "revoked"),
			.value = BoolGetDatum(true)
		};

		record_set(record, &value);
	}
	return record;
}

/* A row was changed; it counts, and is in RETURNING if there is one. */
static void
count_row(ForeignScanState *node, const DirectModify *direct)
{
	if (direct->counted)
		node->ss.ps.state->es_processed++;
	if (!direct->returns && node->ss.ps.instrument)
		node->ss.ps.instrument->tuplecount++;
}

/*
 * Has RETURNING see the row in the scan's slot.  The result is for ModifyTable, which
 * finds in it only which of several tables it is about.
 */
static TupleTableSlot *
return_row(ForeignScanState *node, TupleTableSlot *planned)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	ResultRelInfo *rinfo = node->resultRelInfo;

	slot->tts_tableOid = RelationGetRelid(rinfo->ri_RelationDesc);
	rinfo->ri_projectReturning->pi_exprContext->ecxt_scantuple = slot;
	return planned;
}

/* Queues rows as they are read: one for RETURNING, or else all of them. */
static TupleTableSlot *
delete_rows(ForeignScanState *node, GitLabScan *scan)
{
	DirectModify *direct = scan->direct;
	GitLabModify *modify = direct->modify;
	JsonRecord *record;

	while ((record = read_row(node, scan)) != NULL)
	{
		MemoryContext saved;
		bool		is_new;

		MemoryContextReset(modify->row_context);
		saved = MemoryContextSwitchTo(modify->row_context);
		is_new = modify->participant->delete(&modify->change, record);
		MemoryContextSwitchTo(saved);
		if (!is_new)
			continue;
		count_row(node, direct);
		if (direct->returns)
			return return_row(node, ExecProject(direct->projection));
	}
	return ExecClearTuple(node->ss.ps.ps_ResultTupleSlot);
}

/* Notes a row that is to be updated, and what SET makes of it. */
static void
note_update(DirectModify *direct, JsonRecord *record)
{
	TupleTableSlot *planned = ExecProject(direct->projection);
	MemoryContext saved;

	if (!updates_add(direct->updates, record, planned) || !direct->returns)
		return;
	saved = MemoryContextSwitchTo(direct->updates->context);
	direct->planned = lappend(direct->planned,
							  ExecCopySlotMinimalTuple(planned));
	MemoryContextSwitchTo(saved);
}

/* Reads the scan to its end, and changes what it has brought. */
static void
update_rows(ForeignScanState *node, GitLabScan *scan)
{
	JsonRecord *record;

	updates_lock_named(scan->direct->updates, node);
	while ((record = read_row(node, scan)) != NULL)
		note_update(scan->direct, record);
	updates_carry_out(scan->direct->updates, node);
}

/* The next row of RETURNING, or nothing; all rows have been changed. */
static TupleTableSlot *
next_updated(ForeignScanState *node, GitLabScan *scan)
{
	DirectModify *direct = scan->direct;
	TupleTableSlot *planned = node->ss.ps.ps_ResultTupleSlot;

	while (direct->next < direct->updates->nupdates)
	{
		RowUpdate  *update = &direct->updates->updates[direct->next++];
		MemoryContext saved;

		if (update->shown == NULL)
			continue;
		count_row(node, direct);
		if (!direct->returns)
			continue;
		MemoryContextReset(scan->row_context);
		saved = MemoryContextSwitchTo(scan->row_context);
		table_fill_slot(scan->settings->resource, scan->fields,
						update->shown, true, node->ss.ss_ScanTupleSlot);
		MemoryContextSwitchTo(saved);
		ExecForceStoreMinimalTuple(list_nth(direct->planned, direct->next - 1),
								   planned, false);
		return return_row(node, planned);
	}
	return ExecClearTuple(planned);
}

/* Changes the rows; returns the next one of RETURNING, or an empty slot. */
TupleTableSlot *
gitlab_IterateDirectModify(ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;
	DirectModify *direct = scan->direct;

	if (((ForeignScan *) node->ss.ps.plan)->operation == CMD_DELETE)
		return delete_rows(node, scan);
	if (!direct->read)
	{
		direct->read = true;
		update_rows(node, scan);
	}
	return next_updated(node, scan);
}

/* Ends the scan; all else goes with the query's memory context. */
void
gitlab_EndDirectModify(ForeignScanState *node)
{
	gitlab_EndForeignScan(node);
}
