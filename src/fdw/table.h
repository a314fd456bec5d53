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
extern void table_fill_slot(const Resource *resource,
							const ResourceField **fields,
							Bitmapset *wanted, JsonRecord *record,
							bool revoked, bool secrets,
							TupleTableSlot *slot);
extern void table_import_command(StringInfo buf, const Resource *resource,
								 const char *table_name,
								 const char *server_name);

#endif							/* GITLAB_PAT_TABLE_H */
