/*-------------------------------------------------------------------------
 *
 * token.h
 *	  What the planner has to know about tokens.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TOKEN_H
#define GITLAB_PAT_TOKEN_H

#include "gitlab/resources.h"
#include "nodes/pathnodes.h"
#include "utils/relcache.h"

extern void token_check_native_rotation(PlannerInfo *root, Index rtindex,
										Relation rel,
										const Resource *resource,
										const ResourceField **fields);

#endif							/* GITLAB_PAT_TOKEN_H */
