/*-------------------------------------------------------------------------
 *
 * comments.c
 *	  Comments on foreign tables and their columns, as psql's \d+ shows them.
 *
 * IMPORT FOREIGN SCHEMA can't return COMMENT commands, so a function adds the
 * comments afterwards.  Their texts stand in the descriptors of the resources.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "commands/comment.h"
#include "compat.h"
#include "fmgr.h"
#include "gitlab/option.h"
#include "sql/functions.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(gitlab_pat_add_comments);

/* The OIDs of this extension's foreign tables in a schema. */
static List *
tables_in_schema(Oid schema)
{
	Relation	catalog = table_open(ForeignTableRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0,
										  NULL);
	List	   *tables = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_table form = (Form_pg_foreign_table) GETSTRUCT(tuple);

		if (get_rel_namespace(form->ftrelid) == schema &&
			function_is_our_server(GetForeignServer(form->ftserver)))
			tables = lappend_oid(tables, form->ftrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tables;
}

/*
 * Adds a comment to a table or, with a column, to that column, unless it has
 * one.  Returns the number of comments added.  COMMENT itself checks, too, whether
 * the caller owns the table.
 */
static int
add_comment(Relation rel, AttrNumber column, const char *text)
{
	char	   *comment = GetComment(RelationGetRelid(rel), RelationRelationId,
									 column);
	CommentStmt *statement = makeNode(CommentStmt);
	List	   *name = list_make2(makeString(get_namespace_name(RelationGetNamespace(rel))),
								  makeString(pstrdup(RelationGetRelationName(rel))));

	if (comment || text == NULL)
		return 0;
	if (column != InvalidAttrNumber)
		name = lappend(name, makeString(get_attname(RelationGetRelid(rel),
													column, false)));
	statement->objtype = column == InvalidAttrNumber ?
		OBJECT_FOREIGN_TABLE : OBJECT_COLUMN;
	statement->object = (Node *) name;
	statement->comment = pstrdup(text);
	(void) CommentObject(statement);
	return 1;
}

/* Adds the comments that a table and its columns lack; returns their number. */
static int
comment_table(Oid relid)
{
	char	   *relname = get_rel_name(relid);
	Relation	rel;
	const Resource *resource;
	int			ncomments;

	if (relname == NULL)
		return 0;
	/* where no comment is missing, nothing else keeps others from the lock */
	if (!compat_table_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, relname);
	/* as strong as COMMENT's own lock, which comes next */
	rel = try_table_open(relid, ShareUpdateExclusiveLock);
	if (rel == NULL)
		return 0;
	resource = option_table(relid)->resource;
	ncomments = add_comment(rel, InvalidAttrNumber, resource->description);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), i);
		const ResourceField *field;
		const char *name;

		if (attr->attisdropped)
			continue;
		name = option_value(GetForeignColumnOptions(relid, attr->attnum),
							"column_name");
		field = resource_field(resource, name ? name : NameStr(attr->attname));
		if (field)
			ncomments += add_comment(rel, attr->attnum, field->description);
	}
	table_close(rel, NoLock);
	return ncomments;
}

/*
 * Comments the foreign tables of this extension in a schema, and their columns,
 * where they have no comment yet.  Returns how many comments it has added.
 */
Datum
gitlab_pat_add_comments(PG_FUNCTION_ARGS)
{
	int			ncomments = 0;
	ListCell   *lc;

	PreventCommandIfReadOnly("gitlab_pat_add_comments()");
	foreach(lc, tables_in_schema(PG_GETARG_OID(0)))
		ncomments += comment_table(lfirst_oid(lc));
	PG_RETURN_INT32(ncomments);
}
