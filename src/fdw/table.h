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

#include "gitlab/resources.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

extern const ResourceField **resource_bind(const Resource *resource,
										   Relation rel);

extern void resource_import_command(StringInfo buf, const Resource *resource,
									const char *table_name,
									const char *server_name);

#endif							/* GITLAB_PAT_TABLE_H */
