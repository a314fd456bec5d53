/*-------------------------------------------------------------------------
 *
 * ctid.h
 *	  Refusing references to the ctid of a foreign table.
 *
 * Rows of GitLab have no place in a file.  The executor gives each of them the
 * same invalid ctid, by which "DELETE ... WHERE ctid IN (...)" would revoke every
 * token.  Both functions raise an error (0A000) at a reference.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CTID_H
#define GITLAB_PAT_CTID_H

#include "nodes/pathnodes.h"
#include "utils/relcache.h"

extern void ctid_check_scan(PlannerInfo *root, RelOptInfo *rel,
							Relation relation);
extern void ctid_check_returning(List *returning, Relation relation,
								 Index relid);

#endif							/* GITLAB_PAT_CTID_H */
