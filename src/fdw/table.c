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

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "fdw/table.h"
#include "gitlab/option.h"
#include "gitlab/resources.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/*
 * A varchar without a length holds whatever a text does, and in the same form;
 * a precision below microseconds or a length would lose something.
 */
static bool
column_can_hold(const ResourceField *field, Form_pg_attribute attr)
{
	if (field->type == FIELD_TEXT && attr->atttypid == VARCHAROID)
		return attr->atttypmod < 0;
	return attr->atttypid == field_type_oid(field->type) &&
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
						field->name, field_type_name(field->type)),
				 errhint("Declare the column with type %s, or let IMPORT FOREIGN SCHEMA make the table.",
						 field_type_name(field->type))));
	return field;
}

/*
 * Finds the field that each column of a table shows: an array by attribute
 * number minus one, NULL for dropped columns, in the current context.  Raises
 * an error if a column matches no field or one that another column shows, or
 * if it can't hold it.
 */
const ResourceField **
resource_bind(const Resource *resource, Relation rel)
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
	if (resource->container &&
		resource_column(fields, desc, resource->container) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("foreign table \"%s\" has no column for the field \"%s\"",
						RelationGetRelationName(rel), resource->container),
				 errdetail("Without it, nothing can be asked for."),
				 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s text.",
						 quote_identifier(RelationGetRelationName(rel)),
						 resource->container)));
	return fields;
}

/* Appends the CREATE FOREIGN TABLE command for a resource. */
void
resource_import_command(StringInfo buf, const Resource *resource,
						const char *table_name, const char *server_name)
{
	appendStringInfo(buf, "CREATE FOREIGN TABLE %s (",
					 quote_identifier(table_name));
	for (int i = 0; i < resource->nfields; i++)
		appendStringInfo(buf, "%s\n\t%s %s", i > 0 ? "," : "",
						 quote_identifier(resource->fields[i].name),
						 field_type_name(resource->fields[i].type));
	appendStringInfo(buf, "\n) SERVER %s OPTIONS (resource %s)",
					 quote_identifier(server_name),
					 quote_literal_cstr(resource->name));
}
