/*-------------------------------------------------------------------------
 *
 * modify.c
 *	  INSERT, UPDATE, DELETE and COPY.
 *
 * What can be changed, and by which rows.  What that means for GitLab is the
 * business of the participant that changes the table's resource.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "change/transaction.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/ahead.h"
#include "fdw/ctid.h"
#include "fdw/modify.h"
#include "fdw/secret.h"
#include "fdw/table.h"
#include "fdw/target.h"
#include "fdw/token.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/inherit.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * How many rows an INSERT collects before they are created.  More than are created at
 * a time, so that a slow answer holds up few others.
 */
#define INSERT_BATCH_SIZE 128

/* ----------
 * Planning
 * ----------
 */

/* Says which of INSERT, UPDATE and DELETE a table allows, as a bit mask. */
int
gitlab_IsForeignRelUpdatable(Relation rel)
{
	TableSettings *settings = option_table(RelationGetRelid(rel));

	if (!settings->updatable ||
		transaction_participant(settings->resource) == NULL)
		return 0;
	return (resource_has_insert(settings->resource) ? 1 << CMD_INSERT : 0) |
		(1 << CMD_UPDATE) | (1 << CMD_DELETE);
}

/* Raises an error if a table lacks a column that names its objects. */
static void
check_identity(Relation rel, const Resource *resource,
			   const ResourceField **fields, const char *name)
{
	if (name == NULL ||
		table_column(fields, RelationGetDescr(rel), name) != InvalidAttrNumber)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("cannot change foreign table \"%s\" because it has no column for the field \"%s\"",
					RelationGetRelationName(rel), name),
			 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s %s.",
					 quote_identifier(RelationGetRelationName(rel)), name,
					 resource_type_name(resource_field(resource, name)->type))));
}

/* Has UPDATE and DELETE fetch the rows that they change. */
void
gitlab_AddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
							   RangeTblEntry *target_rte,
							   Relation target_relation)
{
	const Resource *resource =
		option_table(RelationGetRelid(target_relation))->resource;
	const ResourceField **fields = table_bind(resource, target_relation);
	Var		   *row;

	for (int i = 0; i < MAX_CONTAINERS; i++)
		check_identity(target_relation, resource, fields, resource->containers[i]);
	check_identity(target_relation, resource, fields, resource->key);
	check_identity(target_relation, resource, fields, resource->variant);
	/* as the executor makes it, so that partitions can share it */
	row = makeVar(rtindex, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0);
	add_row_identity_var(root, row, rtindex, TARGET_ROW_COLUMN);
}

/* Refuses SET of anything that GitLab can't change. */
static void
check_updated_columns(PlannerInfo *root, Index rtindex, Relation rel,
					  const Resource *resource, const ResourceField **fields)
{
	Bitmapset  *updated = get_rel_all_updated_cols(root,
												   find_base_rel(root, rtindex));
	int			col = -1;

	while ((col = bms_next_member(updated, col)) >= 0)
	{
		AttrNumber	attno = col + FirstLowInvalidHeapAttributeNumber;
		const ResourceField *field = attno > 0 ? fields[attno - 1] : NULL;

		if (field == NULL || !(field->flags & FIELD_UPDATE))
			target_refuse_column(resource, rel, attno);
	}
}

/*
 * Refuses what would have to check the rows that GitLab makes of ours.  For the
 * policies of a partitioned parent the executor checks the rows of a foreign
 * table not at all.  For a view's CHECK OPTION it does so after GitLab has put
 * the secret into the row, and the error shows the row.
 */
static void
check_options(Relation rel, const ResourceField **fields, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
		if (lfirst_node(WithCheckOption, lc)->kind != WCO_VIEW_CHECK)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("row-level security policies cannot be used to change foreign table \"%s\"",
							RelationGetRelationName(rel)),
					 errdetail("PostgreSQL does not check the rows that are written to a foreign table."),
					 errhint("Write to the foreign table through a function that checks them, or as a role that bypasses the policies.")));
	if (options == NIL)
		return;
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		if (fields[i] && (fields[i]->flags & FIELD_SENSITIVE))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("views with a CHECK OPTION cannot be used to change foreign table \"%s\"",
							RelationGetRelationName(rel)),
					 errdetail("The message about a row that fails the check would show the secret in it."),
					 errhint("Use a foreign table without a column for the field \"%s\".",
							 fields[i]->name)));
}

/*
 * Refuses ON CONFLICT, which the executor ignores for rows that are routed to a
 * partition.
 */
static void
check_on_conflict(Relation rel, const Resource *resource, OnConflictAction action)
{
	if (action == ONCONFLICT_NONE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("INSERT with ON CONFLICT is not supported for foreign table \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail("%s", transaction_participant(resource)->no_conflict),
			 errhint("INSERT what is not there yet: INSERT INTO %s ... SELECT ... WHERE NOT EXISTS (SELECT FROM %s WHERE ...).",
					 quote_identifier(RelationGetRelationName(rel)),
					 quote_identifier(RelationGetRelationName(rel)))));
}

/* The member of a list with one for each result relation, or NIL. */
static List *
list_of_relation(List *lists, int index)
{
	return lists == NIL ? NIL : list_nth_node(List, lists, index);
}

/*
 * Checks a statement that changes the table.  What the executor needs of the plan: which
 * columns an UPDATE sets, as a list of their numbers.
 */
List *
gitlab_PlanForeignModify(PlannerInfo *root, ModifyTable *plan,
						 Index resultRelation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(resultRelation, root);
	Relation	rel = table_open(rte->relid, NoLock);
	TableSettings *settings = option_table(rte->relid);
	const ResourceField **fields = table_bind(settings->resource, rel);

	check_options(rel, fields,
				  list_of_relation(plan->withCheckOptionLists, subplan_index));
	check_on_conflict(rel, settings->resource, plan->onConflictAction);
	ctid_check_returning(list_of_relation(plan->returningLists, subplan_index),
						 rel, resultRelation);
	/* the executor refuses the others, in its own words */
	if (plan->operation == CMD_UPDATE && gitlab_IsForeignRelUpdatable(rel) != 0)
	{
		check_updated_columns(root, resultRelation, rel, settings->resource,
							  fields);
		if (settings->resource->kind == RESOURCE_TOKENS &&
			settings->rotation == ROTATION_NATIVE)
			token_check_native_rotation(root, resultRelation, rel,
										settings->resource, fields);
	}
	table_close(rel, NoLock);
	return plan->operation == CMD_UPDATE ?
		list_make1(copyObject(list_nth(plan->updateColnosLists, subplan_index))) :
		NIL;
}


/* ----------
 * Beginning
 * ----------
 */

/* Makes ready for rows that the executor brings. */
static GitLabModify *
begin_modify(ModifyTableState *mtstate, ResultRelInfo *rinfo, CmdType operation)
{
	EState	   *estate = mtstate->ps.state;
	Oid			relid = RelationGetRelid(rinfo->ri_RelationDesc);
	GitLabModify *modify;

	option_check_writable();
	modify = target_begin(estate, rinfo,
						  api_open(option_table(relid)->serverid,
								   compat_modify_userid(rinfo, estate)));
	if (operation == CMD_INSERT || operation == CMD_UPDATE)
		modify->discards = secret_is_discarded(modify->settings->resource,
											   modify->fields, mtstate, rinfo,
											   operation);
	if (operation == CMD_UPDATE && modify->discards)
		secret_refuse_update(modify->settings->resource, modify->fields,
							 modify->rel);
	return modify;
}

/* Prepares INSERT, UPDATE or DELETE; sends nothing yet. */
void
gitlab_BeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
						  List *fdw_private, int subplan_index, int eflags)
{
	GitLabModify *modify;

	(void) subplan_index;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	modify = begin_modify(mtstate, rinfo, mtstate->operation);
	if (mtstate->operation == CMD_UPDATE || mtstate->operation == CMD_DELETE)
	{
		modify->row_attno =
			ExecFindJunkAttributeInTlist(outerPlanState(mtstate)->plan->targetlist,
										 TARGET_ROW_COLUMN);
		if (!AttributeNumberIsValid(modify->row_attno))
			elog(ERROR, "could not find junk column \"%s\"", TARGET_ROW_COLUMN);
	}
	if (ahead_is_possible(mtstate, rinfo, modify))
		modify->ahead = ahead_begin(mtstate, rinfo, modify,
									linitial(fdw_private));
	rinfo->ri_FdwState = modify;
}

/* Prepares the inserts of COPY, and of rows that are routed to a partition. */
void
gitlab_BeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	EState	   *estate = mtstate->ps.state;
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;	/* NULL: COPY */
	MemoryContext saved = MemoryContextSwitchTo(estate->es_query_cxt);
	GitLabModify *modify;

	if ((gitlab_IsForeignRelUpdatable(rinfo->ri_RelationDesc) &
		 (1 << CMD_INSERT)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" does not allow inserts",
						RelationGetRelationName(rinfo->ri_RelationDesc))));
	if (rinfo->ri_FdwState != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot route tuples into foreign table to be updated \"%s\"",
						RelationGetRelationName(rinfo->ri_RelationDesc))));
	modify = begin_modify(mtstate, rinfo, CMD_INSERT);
	check_options(modify->rel, modify->fields, rinfo->ri_WithCheckOptions);
	check_on_conflict(modify->rel, modify->settings->resource,
					  plan ? plan->onConflictAction : ONCONFLICT_NONE);
	ctid_check_returning(rinfo->ri_returningList, modify->rel, 0);
	rinfo->ri_FdwState = modify;
	MemoryContextSwitchTo(saved);
}

/* Ends what does not go with the query's memory context. */
void
gitlab_EndForeignModify(EState *estate, ResultRelInfo *rinfo)
{
	GitLabModify *modify = rinfo->ri_FdwState;

	(void) estate;
	if (modify && modify->ahead)
		ahead_end(modify->ahead);
}


/* ----------
 * INSERT
 * ----------
 */

/* Refuses a row that GitLab can't make an object of. */
static void
check_inserted_row(const GitLabModify *modify, TupleTableSlot *slot)
{
	const Resource *resource = modify->settings->resource;
	TupleDesc	desc = RelationGetDescr(modify->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const ResourceField *field = modify->fields[i];

		if (field && !slot->tts_isnull[i] && !(field->flags & FIELD_INSERT))
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("cannot insert a value into column \"%s\" of foreign table \"%s\"",
							NameStr(TupleDescAttr(desc, i)->attname),
							RelationGetRelationName(modify->rel)),
					 errdetail("GitLab assigns the field \"%s\".", field->name),
					 errhint("Leave the column out; RETURNING shows its value.")));
	}
	for (int i = 0; i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];
		AttrNumber	attno = table_column(modify->fields, desc, field->name);

		if (!(field->flags & FIELD_REQUIRED))
			continue;
		if (attno == InvalidAttrNumber || slot->tts_isnull[attno - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("a new %s needs a value for the field \"%s\"",
							resource->singular, field->name),
					 attno == InvalidAttrNumber ?
					 errhint("Foreign table \"%s\" has no column for it.",
							 RelationGetRelationName(modify->rel)) : 0));
	}
}

/* Whether the statement has warned of discarded secrets, for any partition. */
static bool
has_warned(EState *estate, const GitLabModify *modify)
{
	ListCell   *lc;

	foreach(lc, estate->es_tuple_routing_result_relations)
	{
		ResultRelInfo *rinfo = lfirst(lc);

		if (rinfo->ri_FdwRoutine &&
			rinfo->ri_FdwRoutine->ExecForeignInsert == gitlab_ExecForeignInsert &&
			rinfo->ri_FdwState &&
			((GitLabModify *) rinfo->ri_FdwState)->warned)
			return true;
	}
	return modify->warned;
}

/* The values that a row to be inserted gives to fields, in the current context. */
static ResourceValue *
inserted_values(const GitLabModify *modify, TupleTableSlot *slot, int *nvalues)
{
	int			natts = slot->tts_tupleDescriptor->natts;
	ResourceValue *values = palloc(sizeof(ResourceValue) * natts);

	slot_getallattrs(slot);
	check_inserted_row(modify, slot);
	*nvalues = 0;
	for (int i = 0; i < natts; i++)
	{
		if (modify->fields[i] == NULL || slot->tts_isnull[i])
			continue;
		values[*nvalues].field = modify->fields[i];
		values[*nvalues].value = slot->tts_values[i];
		values[(*nvalues)++].isnull = false;
	}
	return values;
}

/* Creates what the slot says, at once or at commit; returns it in the slot. */
TupleTableSlot *
gitlab_ExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	ResourceValue *values;
	int			nvalues;
	MemoryContext saved;

	(void) plan_slot;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	values = inserted_values(modify, slot, &nvalues);
	table_fill_slot(modify->settings->resource, modify->fields,
					modify->participant->insert(&modify->change, values,
												nvalues),
					true, slot);
	if (modify->discards && !has_warned(estate, modify))
	{
		modify->warned = true;
		secret_warn(modify->settings->resource, modify->fields, modify->rel);
	}
	MemoryContextSwitchTo(saved);
	return slot;
}

/*
 * How many rows of INSERT and COPY come at a time.  Several only where an AFTER ROW
 * trigger takes the secrets.  If the table has no column for them, the trigger does not
 * get any, and the first row warns of that.  With RETURNING, and before a BEFORE ROW
 * trigger that may look at the table, the executor wants each row by itself.
 */
int
gitlab_GetForeignModifyBatchSize(ResultRelInfo *rinfo)
{
	const GitLabModify *modify = rinfo->ri_FdwState;
	TriggerDesc *triggers = rinfo->ri_TrigDesc;

	if (modify == NULL || modify->participant->insert_rows == NULL ||
		modify->discards || rinfo->ri_projectReturning || rinfo->ri_WithCheckOptions ||
		(triggers && triggers->trig_insert_before_row) ||
		!secret_is_for_trigger(rinfo, CMD_INSERT, InvalidAttrNumber))
		return 1;
	return INSERT_BATCH_SIZE;
}

/* Creates what the slots say, several at a time; returns it in the slots. */
TupleTableSlot **
gitlab_ExecForeignBatchInsert(EState *estate, ResultRelInfo *rinfo,
							  TupleTableSlot **slots,
							  TupleTableSlot **plan_slots, int *nslots)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	MemoryContext saved;
	RowInsert  *inserts;

	(void) estate;
	(void) plan_slots;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	inserts = palloc0(sizeof(RowInsert) * *nslots);
	for (int i = 0; i < *nslots; i++)
		inserts[i].values = inserted_values(modify, slots[i],
											&inserts[i].nvalues);
	if (*nslots > 1)
		modify->participant->insert_rows(&modify->change, inserts, *nslots);
	else
		inserts[0].shown = modify->participant->insert(&modify->change,
													   inserts[0].values,
													   inserts[0].nvalues);
	for (int i = 0; i < *nslots; i++)
		table_fill_slot(modify->settings->resource, modify->fields,
						inserts[i].shown, true, slots[i]);
	MemoryContextSwitchTo(saved);
	return slots;
}


/* ----------
 * DELETE and UPDATE
 * ----------
 */

/* Revokes a token or deletes an object, at commit; returns the row as read. */
TupleTableSlot *
gitlab_ExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	MemoryContext saved;
	bool		is_new;

	(void) estate;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	target_fetch_row(modify, plan_slot, slot);
	is_new = modify->participant->delete(&modify->change,
										 target_record_of(modify, slot));
	MemoryContextSwitchTo(saved);
	return is_new ? slot : NULL;
}

/*
 * The values that an UPDATE sets: the columns that it names, and what triggers
 * have changed besides.  Raises an error for what can't be set.
 */
static int
updated_values(const GitLabModify *modify, Bitmapset *named,
			   TupleTableSlot *row, TupleTableSlot *slot, ResourceValue *values)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	int			nvalues = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (modify->fields[i] == NULL ||
			(!bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, named) &&
			 row->tts_isnull[i] == slot->tts_isnull[i] &&
			 (slot->tts_isnull[i] ||
			  datum_image_eq(row->tts_values[i], slot->tts_values[i],
							 attr->attbyval, attr->attlen))))
			continue;
		values[nvalues++] = target_value(modify, i + 1, slot->tts_values[i],
										 slot->tts_isnull[i]);
	}
	return nvalues;
}

/*
 * Leaves out of a new row what GitLab hides: its value was not in the row that was
 * read, and so it is not in RETURNING.
 */
static void
hide_values(const GitLabModify *modify, TupleTableSlot *row, TupleTableSlot *slot)
{
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
		if (modify->fields[i] && (modify->fields[i]->flags & FIELD_SENSITIVE) &&
			row->tts_isnull[i])
			slot->tts_isnull[i] = true;
}

/* Changes what a row of a plan has brought, and puts the new row into a slot. */
static bool
update_row(EState *estate, ResultRelInfo *rinfo, TupleTableSlot *slot,
		   TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(modify->rel),
												   &TTSOpsHeapTuple);
	ResourceValue *values;
	int			nvalues;
	JsonRecord *shown;
	bool		is_new;

	target_fetch_row(modify, plan_slot, row);
	slot_getallattrs(slot);
	values = palloc(sizeof(ResourceValue) * slot->tts_tupleDescriptor->natts);
	nvalues = updated_values(modify, ExecGetUpdatedCols(rinfo, estate), row,
							 slot, values);
	is_new = modify->participant->update(&modify->change,
										 target_record_of(modify, row), values,
										 nvalues, &shown);
	if (is_new && shown)
		table_fill_slot(modify->settings->resource, modify->fields,
						shown, true, slot);
	else if (is_new)
		hide_values(modify, row, slot);
	ExecDropSingleTupleTableSlot(row);
	return is_new;
}

/* Puts the new row of what was changed ahead into a slot. */
static bool
show_update(const GitLabModify *modify, TupleTableSlot *slot,
			TupleTableSlot *plan_slot)
{
	JsonRecord *shown = ahead_take(modify->ahead,
								   target_record(modify, plan_slot));

	if (shown == NULL)
		return false;
	table_fill_slot(modify->settings->resource, modify->fields, shown,
					true, slot);
	return true;
}

/*
 * Rotates a token at once, or changes an object at commit.  NULL if the command has met
 * the row before.
 */
TupleTableSlot *
gitlab_ExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	MemoryContext saved;
	bool		is_new;

	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	is_new = modify->ahead ? show_update(modify, slot, plan_slot) :
		update_row(estate, rinfo, slot, plan_slot);
	MemoryContextSwitchTo(saved);
	return is_new ? slot : NULL;
}
