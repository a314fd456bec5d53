/*-------------------------------------------------------------------------
 *
 * table.h
 *	  The columns of a foreign table, and the field that each one shows.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TABLE_H
#define GITLAB_PAT_TABLE_H

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "gitlab/record.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/relcache.h"

extern const ResourceField **table_bind(const Resource *resource,
										Relation rel);
extern AttrNumber table_column(const ResourceField **fields, TupleDesc desc,
							   const char *name);
extern void table_sort_columns(List *columns, const ResourceField **fields,
							   JsonRecord *record);
extern void table_fill_columns(const Resource *resource,
							   const ResourceField **fields, List *columns,
							   JsonRecord *record, bool revoked,
							   TupleTableSlot *slot);
extern void table_fill_slot(const Resource *resource,
							const ResourceField **fields, JsonRecord *record,
							bool secrets, TupleTableSlot *slot);
extern void table_import_command(StringInfo buf, const Resource *resource,
								 const char *table_name,
								 const char *server_name);

#endif							/* GITLAB_PAT_TABLE_H */
