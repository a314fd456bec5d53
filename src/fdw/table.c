/*-------------------------------------------------------------------------
 *
 * table.c
 *	  The columns of a foreign table, and the field that each one shows.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "fdw/table.h"
#include "foreign/foreign.h"
#include "gitlab/option.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/*
 * A varchar without a length stores any text, and in the form of a text.  A length,
 * or a precision below microseconds, would lose something.
 */
static bool
column_can_hold(const ResourceField *field, Form_pg_attribute attr)
{
	if (field->type == FIELD_TEXT && attr->atttypid == VARCHAROID)
		return attr->atttypmod < 0;
	return attr->atttypid == resource_type_oid(field->type) &&
		attr->atttypmod < 0;
}

static const ResourceField *
bind_column(const Resource *resource, Relation rel, Form_pg_attribute attr)
{
	const char *column = NameStr(attr->attname);
	const char *name = option_value(GetForeignColumnOptions(RelationGetRelid(rel),
															attr->attnum),
									"column_name");
	const ResourceField *field = resource_field(resource, name ? name : column);

	if (attr->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of foreign table \"%s\" is generated, which is not supported",
						column, RelationGetRelationName(rel)),
				 errhint("Use a view.")));
	if (field == NULL)
	{
		StringInfoData valid;

		initStringInfo(&valid);
		for (int i = 0; i < resource->nfields; i++)
			appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "",
							 resource->fields[i].name);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("column \"%s\" of foreign table \"%s\" does not match any field of \"%s\"",
						column, RelationGetRelationName(rel), resource->name),
				 name ? errdetail("Its option \"column_name\" is \"%s\".", name) : 0,
				 errhint("Fields are: %s.", valid.data)));
	}
	if (!column_can_hold(field, attr))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of foreign table \"%s\" has type %s, but field \"%s\" needs type %s",
						column, RelationGetRelationName(rel),
						format_type_with_typemod(attr->atttypid, attr->atttypmod),
						field->name, resource_type_name(field->type)),
				 errhint("Declare the column with type %s, or let IMPORT FOREIGN SCHEMA make the table.",
						 resource_type_name(field->type))));
	return field;
}

/* The first column that shows the field of that name, or 0. */
AttrNumber
table_column(const ResourceField **fields, TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (fields[i] && strcmp(fields[i]->name, name) == 0)
			return i + 1;
	return InvalidAttrNumber;
}

/*
 * Finds the field that each column of a table shows: an array by attribute
 * number minus one, NULL for dropped columns, in the current context.  Raises
 * an error if a column matches no field or one that another column shows, or
 * if it can't hold it.
 */
const ResourceField **
table_bind(const Resource *resource, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const ResourceField **fields;

	fields = palloc0(sizeof(ResourceField *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		fields[i] = bind_column(resource, rel, attr);
		for (int j = 0; j < i; j++)
			if (fields[j] == fields[i])
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_COLUMN_NAME),
						 errmsg("columns \"%s\" and \"%s\" of foreign table \"%s\" show the same field",
								NameStr(TupleDescAttr(desc, j)->attname),
								NameStr(attr->attname),
								RelationGetRelationName(rel)),
						 errhint("Drop one of them, or use a view.")));
	}
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		const char *name = resource->containers[i];

		if (resource_field(resource, name)->choices ||
			table_column(fields, desc, name) != InvalidAttrNumber)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("foreign table \"%s\" has no column for the field \"%s\"",
						RelationGetRelationName(rel), name),
				 errdetail("Without it, no rows can be requested from GitLab."),
				 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s %s.",
						 quote_identifier(RelationGetRelationName(rel)), name,
						 resource_type_name(resource_field(resource, name)->type))));
	}
	return fields;
}

/*
 * Puts columns in the order in which a record has their fields: so they are found one
 * after the other in records that are like it.
 */
void
table_sort_columns(List *columns, const ResourceField **fields,
				   JsonRecord *record)
{
	int		   *places = palloc(sizeof(int) * Max(list_length(columns), 1));

	for (int i = 0; i < list_length(columns); i++)
	{
		int			column = list_nth_int(columns, i);
		int			place = record_place(record, fields[column - 1]->name);
		int			j = i;

		for (; j > 0 && places[j - 1] > place; j--)
		{
			places[j] = places[j - 1];
			lfirst_int(list_nth_cell(columns, j)) = list_nth_int(columns, j - 1);
		}
		places[j] = place;
		lfirst_int(list_nth_cell(columns, j)) = column;
	}
	pfree(places);
}

static void
empty_slot(TupleTableSlot *slot)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memset(slot->tts_values, 0, natts * sizeof(Datum));
	memset(slot->tts_isnull, true, natts);
}

/*
 * Stores a record in a slot, as a virtual tuple with values in the current memory
 * context: the columns of these numbers; the others are NULL.  revoked makes the record
 * read as revoked.
 */
void
table_fill_columns(const Resource *resource, const ResourceField **fields,
				   List *columns, JsonRecord *record, bool revoked,
				   TupleTableSlot *slot)
{
	RecordMember *next = NULL;
	ListCell   *lc;

	empty_slot(slot);
	foreach(lc, columns)
	{
		int			i = lfirst_int(lc) - 1;
		const ResourceField *field = fields[i];

		slot->tts_values[i] = record_next_datum(resource, field, record, &next,
												&slot->tts_isnull[i]);
		if (revoked && (field->flags & (FIELD_TRUE_WHEN_REVOKED |
										FIELD_FALSE_WHEN_REVOKED)))
		{
			slot->tts_isnull[i] = false;
			slot->tts_values[i] =
				BoolGetDatum((field->flags & FIELD_TRUE_WHEN_REVOKED) != 0);
		}
	}
	ExecStoreVirtualTuple(slot);
}

/*
 * Stores a record in a slot likewise, with all columns, but those of secrets only if
 * asked for.
 */
void
table_fill_slot(const Resource *resource, const ResourceField **fields,
				JsonRecord *record, bool secrets, TupleTableSlot *slot)
{
	RecordMember *next = NULL;

	empty_slot(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
		if (fields[i] && (secrets || !(fields[i]->flags & FIELD_SECRET)))
			slot->tts_values[i] = record_next_datum(resource, fields[i], record,
													&next,
													&slot->tts_isnull[i]);
	ExecStoreVirtualTuple(slot);
}

/* Appends the CREATE FOREIGN TABLE command for a resource. */
void
table_import_command(StringInfo buf, const Resource *resource,
					 const char *table_name, const char *server_name)
{
	appendStringInfo(buf, "CREATE FOREIGN TABLE %s (",
					 quote_identifier(table_name));
	for (int i = 0; i < resource->nfields; i++)
		appendStringInfo(buf, "%s\n\t%s %s", i > 0 ? "," : "",
						 quote_identifier(resource->fields[i].name),
						 resource_type_name(resource->fields[i].type));
	appendStringInfo(buf, "\n) SERVER %s OPTIONS (resource %s)",
					 quote_identifier(server_name),
					 quote_literal_cstr(resource->name));
}
