/*-------------------------------------------------------------------------
 *
 * directory.h
 *	  Users that a nested loop asks for one by one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_DIRECTORY_H
#define GITLAB_PAT_DIRECTORY_H

#include "executor/tuptable.h"
#include "gitlab/stream.h"

/* Whom the users are asked of, and what is wanted of each. */
typedef struct DirectorySource
{
	ApiClient  *client;
	const Resource *resource;
	StreamListing listing;		/* of all who may be asked for */
	const ResourceField **fields;	/* by attribute number minus one */
	List	   *columns;		/* attribute numbers to convert */
} DirectorySource;

typedef struct Directory Directory;

extern Directory *directory_create(const DirectorySource *source, int unasked,
								   int pages);
extern void directory_show(Directory *directory, const ApiTarget *target,
						   TupleTableSlot *slot);
extern void directory_end(Directory *directory);

#endif							/* GITLAB_PAT_DIRECTORY_H */
