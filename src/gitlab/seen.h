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

#include "gitlab/record.h"

typedef struct SeenObjects SeenObjects;

/* The key of an object, which tells it from the others in a list. */
typedef struct ObjectKey
{
	int64		id;				/* 0: objects of its kind have none */
	const char *name;			/* of one without an id; belongs to its record */
	const char *variant;		/* what tells it from others of that name, or
								 * NULL */
} ObjectKey;

extern SeenObjects *seen_create(void);
extern bool seen_key(const Resource *resource, JsonRecord *record,
					 ObjectKey *key);
extern bool seen_add(SeenObjects *seen, const ObjectKey *key);
extern bool seen_add_id(SeenObjects *seen, int64 id);
extern bool seen_add_name(SeenObjects *seen, const char *key,
						  const char *variant);

#endif							/* GITLAB_PAT_SEEN_H */
