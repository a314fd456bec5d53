/*-------------------------------------------------------------------------
 *
 * target.c
 *	  The table that a statement changes, and its rows.
 *
 * Rows that are changed one by one and together share this: the settings and names
 * that the participant needs, and how a row of the plan becomes a record.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "change/transaction.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/table.h"
#include "fdw/target.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Raises the error of an UPDATE that sets a column which GitLab does not change. */
void
target_refuse_column(const Resource *resource, Relation rel, AttrNumber attno)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot update column \"%s\" of foreign table \"%s\"",
					get_attname(RelationGetRelid(rel), attno, false),
					RelationGetRelationName(rel)),
			 errdetail("%s", resource->update_rule),
			 errhint("%s", resource->update_hint)));
}

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* The columns of a table, quoted, by the numbers of the fields. */
static const char **
column_names(Relation rel, const Resource *resource,
			 const ResourceField **fields)
{
	const char **names = palloc0(sizeof(char *) * resource->nfields);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
		if (fields[i])
			names[fields[i] - resource->fields] =
				quote_identifier(pstrdup(NameStr(TupleDescAttr(desc, i)->attname)));
	return names;
}

/*
 * Makes ready for an operation on the rows of one table, in the current memory
 * context.  client: through which GitLab is asked.
 */
GitLabModify *
target_begin(EState *estate, ResultRelInfo *rinfo, ApiClient *client)
{
	GitLabModify *modify = palloc0(sizeof(GitLabModify));
	Relation	rel = rinfo->ri_RelationDesc;

	modify->rel = rel;
	modify->settings = option_table(RelationGetRelid(rel));
	modify->fields = table_bind(modify->settings->resource, rel);
	modify->participant = transaction_participant(modify->settings->resource);
	modify->change.settings = modify->settings;
	modify->change.userid = compat_modify_userid(rinfo, estate);
	modify->change.name = pstrdup(RelationGetRelationName(rel));
	modify->change.table = qualified_name(rel);
	modify->change.columns = column_names(rel, modify->settings->resource,
										  modify->fields);
	modify->change.context = CurrentMemoryContext;
	modify->change.client = client;
	/* COPY leaves the executor's command id unset */
	modify->change.cid = estate->es_output_cid != FirstCommandId ?
		estate->es_output_cid : GetCurrentCommandId(true);
	modify->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"GitLab row",
												ALLOCSET_SMALL_SIZES);
	return modify;
}

/* Puts the row that is to be changed into a slot of the table's type. */
void
target_fetch_row(const GitLabModify *modify, TupleTableSlot *plan_slot,
				 TupleTableSlot *slot)
{
	bool		isnull;
	Datum		datum = ExecGetJunkAttribute(plan_slot, modify->row_attno, &isnull);
	HeapTupleHeader header;
	HeapTupleData tuple;

	if (isnull)
		elog(ERROR, "junk column \"%s\" is null", TARGET_ROW_COLUMN);
	header = DatumGetHeapTupleHeader(datum);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = RelationGetRelid(modify->rel);
	tuple.t_data = header;
	ExecForceStoreHeapTuple(heap_copytuple(&tuple), slot, false);
	slot_getallattrs(slot);
}

/*
 * The record that a row was made of, as far as its columns show it: what names the
 * object, and what can be written or depends on what was.
 */
JsonRecord *
target_record_of(const GitLabModify *modify, TupleTableSlot *row)
{
	const Resource *resource = modify->settings->resource;
	JsonRecord *record = record_create();

	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		ResourceValue value = {.field = modify->fields[i],
			.value = row->tts_values[i],
			.isnull = row->tts_isnull[i]
		};

		if (value.field &&
			(value.field->flags || resource_is_key(resource, value.field)))
			record_set(record, &value);
	}
	return record;
}

/* The record that the row of a plan's slot was made of; see above. */
JsonRecord *
target_record(const GitLabModify *modify, TupleTableSlot *plan_slot)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(modify->rel),
												   &TTSOpsHeapTuple);
	JsonRecord *record;

	target_fetch_row(modify, plan_slot, row);
	record = target_record_of(modify, row);
	ExecDropSingleTupleTableSlot(row);
	return record;
}

/* Returns the value that an UPDATE sets.  Raises an error if it can't be set. */
ResourceValue
target_value(const GitLabModify *modify, AttrNumber attno, Datum value,
			 bool isnull)
{
	const ResourceField *field = modify->fields[attno - 1];
	ResourceValue result = {.field = field, .value = value, .isnull = isnull};

	if (!(field->flags & FIELD_UPDATE))
		target_refuse_column(modify->settings->resource, modify->rel, attno);
	if (isnull && !(field->flags & FIELD_NULLABLE))
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("column \"%s\" of foreign table \"%s\" cannot be set to null",
						NameStr(TupleDescAttr(RelationGetDescr(modify->rel),
											  attno - 1)->attname),
						RelationGetRelationName(modify->rel))));
	return result;
}
