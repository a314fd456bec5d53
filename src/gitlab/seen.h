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

typedef struct SeenObjects SeenObjects;

extern SeenObjects *seen_create(void);
extern bool seen_add_id(SeenObjects *seen, int64 id);
extern bool seen_add_name(SeenObjects *seen, const char *key,
						  const char *variant);

#endif							/* GITLAB_PAT_SEEN_H */
