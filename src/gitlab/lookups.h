/*-------------------------------------------------------------------------
 *
 * lookups.h
 *	  Reading GitLab's objects one by one, by their ids or names.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LOOKUPS_H
#define GITLAB_PAT_LOOKUPS_H

#include "gitlab/pages.h"

typedef struct Lookups Lookups;

extern Lookups *lookups_open(ApiClient *client, const Resource *resource,
							 const ApiTarget *targets, int ntargets,
							 int concurrency, bool skips);
extern void lookups_recall(Lookups *lookups);
extern void lookups_prefetch(Lookups *lookups);
extern ApiCall *lookups_awaited(Lookups *lookups);
extern JsonRecord *lookups_next(Lookups *lookups);
extern bool lookups_rewind(Lookups *lookups);
extern List *lookups_skipped(const Lookups *lookups);
extern void lookups_end(Lookups *lookups);

#endif							/* GITLAB_PAT_LOOKUPS_H */
