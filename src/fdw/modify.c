/*-------------------------------------------------------------------------
 *
 * modify.c
 *	  INSERT, UPDATE, DELETE and COPY.
 *
 * What can be changed, and by which rows.  What that means for a token is
 * token.c's business; the objects that are written at commit go to variables.c.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "change/variables.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/modify.h"
#include "fdw/table.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/inherit.h"
#include "optimizer/optimizer.h"
#include "fdw/token.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * The junk column that brings the row to be changed.  It has the name that the
 * executor uses, too, so that the row is fetched only once.
 */
#define ROW_COLUMN "wholerow"

/* ----------
 * Planning
 * ----------
 */

/* Says which of INSERT, UPDATE and DELETE a table allows, as a bit mask. */
int
gitlab_IsForeignRelUpdatable(Relation rel)
{
	TableSettings *settings = option_table(RelationGetRelid(rel));

	if (!settings->updatable || !settings->resource->writable)
		return 0;
	return (1 << CMD_INSERT) | (1 << CMD_UPDATE) | (1 << CMD_DELETE);
}

/* Raises an error if a table lacks a column that names its objects. */
static void
check_identity(Relation rel, const ResourceField **fields, const char *name)
{
	if (name == NULL ||
		resource_column(fields, RelationGetDescr(rel), name) != InvalidAttrNumber)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("cannot change foreign table \"%s\" because it has no column for the field \"%s\"",
					RelationGetRelationName(rel), name),
			 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s %s.",
					 quote_identifier(RelationGetRelationName(rel)), name,
					 strcmp(name, "id") == 0 ? "bigint" : "text")));
}

/* Has UPDATE and DELETE fetch the rows that they change. */
void
gitlab_AddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
							   RangeTblEntry *target_rte,
							   Relation target_relation)
{
	const Resource *resource =
		option_table(RelationGetRelid(target_relation))->resource;
	const ResourceField **fields = resource_bind(resource, target_relation);
	Var		   *row;

	check_identity(target_relation, fields, resource->key);
	check_identity(target_relation, fields, resource->variant);
	/* as the executor makes it, so that partitions can share it */
	row = makeVar(rtindex, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0);
	add_row_identity_var(root, row, rtindex, ROW_COLUMN);
}

pg_noreturn static void
refuse_column(const Resource *resource, Relation rel, AttrNumber attno)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot update column \"%s\" of foreign table \"%s\"",
					get_attname(RelationGetRelid(rel), attno, false),
					RelationGetRelationName(rel)),
			 errdetail("%s", resource->update_rule),
			 errhint("%s", resource->update_hint)));
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
			refuse_column(resource, rel, attno);
	}
}

/*
 * A row that fails a view's CHECK OPTION is shown in the error.  That is checked
 * after GitLab has put the secret into it.
 */
static void
refuse_check_option(Relation rel, const ResourceField **fields)
{
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

/* Checks a statement that changes the table; the executor needs no more. */
List *
gitlab_PlanForeignModify(PlannerInfo *root, ModifyTable *plan,
						 Index resultRelation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(resultRelation, root);
	Relation	rel = table_open(rte->relid, NoLock);
	TableSettings *settings = option_table(rte->relid);
	const ResourceField **fields = resource_bind(settings->resource, rel);

	(void) subplan_index;
	if (plan->withCheckOptionLists != NIL)
		refuse_check_option(rel, fields);
	if (plan->onConflictAction != ONCONFLICT_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("INSERT with ON CONFLICT is not supported for foreign table \"%s\"",
						RelationGetRelationName(rel)),
				 settings->resource->written_at_commit ?
				 errdetail("What conflicts is not known before the commit.") :
				 errdetail("Names of tokens are not unique in GitLab, so nothing conflicts.")));
	/* the executor refuses the others, in its own words */
	if (plan->operation == CMD_UPDATE && gitlab_IsForeignRelUpdatable(rel) != 0)
	{
		check_updated_columns(root, resultRelation, rel, settings->resource,
							  fields);
		if (settings->resource == resource_tokens &&
			settings->rotation == ROTATION_NATIVE)
			token_check_native_rotation(root, resultRelation, rel, fields);
	}
	table_close(rel, NoLock);
	return NIL;
}


/* ----------
 * Beginning
 * ----------
 */

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

static GitLabModify *
begin_modify(ResultRelInfo *rinfo, EState *estate)
{
	GitLabModify *modify = palloc0(sizeof(GitLabModify));
	Relation	rel = rinfo->ri_RelationDesc;

	modify->rel = rel;
	modify->settings = option_table(RelationGetRelid(rel));
	modify->fields = resource_bind(modify->settings->resource, rel);
	modify->change.userid = compat_modify_userid(rinfo, estate);
	modify->change.table = qualified_name(rel);
	modify->change.client = api_open(modify->settings->serverid,
									 modify->change.userid);
	/* COPY leaves the executor's command id unset */
	modify->change.cid = estate->es_output_cid != FirstCommandId ?
		estate->es_output_cid : GetCurrentCommandId(true);
	modify->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"GitLab row",
												ALLOCSET_SMALL_SIZES);
	if (!modify->settings->resource->written_at_commit)
		token_begin(modify);
	return modify;
}

/* Prepares INSERT, UPDATE or DELETE; sends nothing yet. */
void
gitlab_BeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
						  List *fdw_private, int subplan_index, int eflags)
{
	GitLabModify *modify;

	(void) fdw_private;
	(void) subplan_index;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	modify = begin_modify(rinfo, mtstate->ps.state);
	if (mtstate->operation == CMD_UPDATE || mtstate->operation == CMD_DELETE)
	{
		modify->row_attno =
			ExecFindJunkAttributeInTlist(outerPlanState(mtstate)->plan->targetlist,
										 ROW_COLUMN);
		if (!AttributeNumberIsValid(modify->row_attno))
			elog(ERROR, "could not find junk column \"%s\"", ROW_COLUMN);
	}
	rinfo->ri_FdwState = modify;
}

/* The same for COPY, and for rows that are routed to a partition. */
void
gitlab_BeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	EState	   *estate = mtstate->ps.state;
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
	modify = begin_modify(rinfo, estate);
	if (rinfo->ri_WithCheckOptions != NIL)
		refuse_check_option(rinfo->ri_RelationDesc, modify->fields);
	rinfo->ri_FdwState = modify;
	MemoryContextSwitchTo(saved);
}

/* Nothing to end: all goes with the query's memory context. */
void
gitlab_EndForeignModify(EState *estate, ResultRelInfo *rinfo)
{
	(void) estate;
	(void) rinfo;
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
		AttrNumber	attno = resource_column(modify->fields, desc, field->name);

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

/* Creates what the slot says, at once or at commit; returns it in the slot. */
TupleTableSlot *
gitlab_ExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	const Resource *resource = modify->settings->resource;
	ResourceValue *values;
	int			nvalues = 0;
	MemoryContext saved;

	(void) estate;
	(void) plan_slot;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	slot_getallattrs(slot);
	check_inserted_row(modify, slot);
	values = palloc(sizeof(ResourceValue) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		if (modify->fields[i] == NULL || slot->tts_isnull[i])
			continue;
		values[nvalues].field = modify->fields[i];
		values[nvalues].value = slot->tts_values[i];
		values[nvalues++].isnull = false;
	}
	if (resource->written_at_commit)
		resource_fill_slot(resource, modify->fields, NULL,
						   queue_insert(&modify->change, resource, values,
										nvalues),
						   false, true, slot);
	else
		slot = token_insert(modify, slot, values, nvalues);
	MemoryContextSwitchTo(saved);
	return slot;
}


/* ----------
 * DELETE and UPDATE
 * ----------
 */

/* Puts the row that is to be changed into a slot of the table's type. */
static void
fetch_row(const GitLabModify *modify, TupleTableSlot *plan_slot,
		  TupleTableSlot *slot)
{
	bool		isnull;
	Datum		datum = ExecGetJunkAttribute(plan_slot, modify->row_attno, &isnull);
	HeapTupleHeader header;
	HeapTupleData tuple;

	if (isnull)
		elog(ERROR, "junk column \"%s\" is null", ROW_COLUMN);
	header = DatumGetHeapTupleHeader(datum);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = RelationGetRelid(modify->rel);
	tuple.t_data = header;
	ExecForceStoreHeapTuple(heap_copytuple(&tuple), slot, false);
	slot_getallattrs(slot);
}

/* The record that a row was made of, as far as its columns show it. */
static JsonRecord *
row_record(const GitLabModify *modify, TupleTableSlot *row)
{
	JsonRecord *record = resource_new_record();

	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		ResourceValue value = {.field = modify->fields[i],
			.value = row->tts_values[i],
			.isnull = row->tts_isnull[i]
		};

		if (value.field)
			resource_set(record, &value);
	}
	return record;
}

/* Revokes a token or deletes an object, at commit; returns the row as read. */
TupleTableSlot *
gitlab_ExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	const Resource *resource = modify->settings->resource;
	MemoryContext saved;
	bool		is_new;

	(void) estate;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	fetch_row(modify, plan_slot, slot);
	is_new = resource->written_at_commit ?
		queue_delete(&modify->change, resource, row_record(modify, slot)) :
		token_delete(modify, slot);
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
		const ResourceField *field = modify->fields[i];
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (field == NULL ||
			(!bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, named) &&
			 row->tts_isnull[i] == slot->tts_isnull[i] &&
			 (slot->tts_isnull[i] ||
			  datum_image_eq(row->tts_values[i], slot->tts_values[i],
							 attr->attbyval, attr->attlen))))
			continue;
		if (!(field->flags & FIELD_UPDATE))
			refuse_column(modify->settings->resource, modify->rel, i + 1);
		if (slot->tts_isnull[i] && !(field->flags & FIELD_NULLABLE))
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("column \"%s\" of foreign table \"%s\" cannot be set to null",
							NameStr(attr->attname),
							RelationGetRelationName(modify->rel))));
		values[nvalues].field = field;
		values[nvalues].value = slot->tts_values[i];
		values[nvalues++].isnull = slot->tts_isnull[i];
	}
	return nvalues;
}

/* Rotates a token at once, or changes an object at commit. */
TupleTableSlot *
gitlab_ExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	const Resource *resource = modify->settings->resource;
	TupleTableSlot *row;
	MemoryContext saved;

	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	row = MakeSingleTupleTableSlot(RelationGetDescr(modify->rel),
								   &TTSOpsHeapTuple);
	fetch_row(modify, plan_slot, row);
	slot_getallattrs(slot);
	if (resource->written_at_commit)
	{
		ResourceValue *values = palloc(sizeof(ResourceValue) *
									   slot->tts_tupleDescriptor->natts);
		int			nvalues = updated_values(modify,
											 ExecGetUpdatedCols(rinfo, estate),
											 row, slot, values);

		if (!queue_update(&modify->change, resource, row_record(modify, row),
						  values, nvalues))
			slot = NULL;		/* the command met the row before */
	}
	else
		slot = token_update(modify, row, slot);
	ExecDropSingleTupleTableSlot(row);
	MemoryContextSwitchTo(saved);
	return slot;
}
