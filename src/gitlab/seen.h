/*-------------------------------------------------------------------------
 *
 * seen.h
 *	  The objects that a scan has already met, by id or by name.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SEEN_H
#define GITLAB_PAT_SEEN_H

#include "lib/integerset.h"
#include "utils/hsearch.h"

/* What was delivered: by id, or by name where objects have no id. */
typedef struct SeenIds
{
	IntegerSet *ascending;		/* ids that came in ascending order */
	uint64		highest;
	HTAB	   *stragglers;		/* the other ids, or NULL */
	HTAB	   *names;			/* or NULL */
	MemoryContext context;
} SeenIds;

extern bool is_new_name(SeenIds *seen, const char *key, const char *variant);
extern bool is_new_id(SeenIds *seen, int64 id);

#endif							/* GITLAB_PAT_SEEN_H */
