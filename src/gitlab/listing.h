/*-------------------------------------------------------------------------
 *
 * listing.h
 *	  How a collection is asked for, and what a page shows of whom it asked.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LISTING_H
#define GITLAB_PAT_LISTING_H

#include "gitlab/call.h"

/* How to read a collection. */
typedef struct StreamListing
{
	const ApiTarget *target;	/* NULL: the resource's only collection */
	List	   *parameters;		/* of ApiParameter, beside the target's */
	int			page_size;
	int			first_page_size;	/* if no more is expected, or 0 */
	int			concurrency;
	const char *order_by;		/* a field whose order was promised, or NULL */
	bool		descending;
} StreamListing;

typedef struct Stream Stream;

extern void add_parameters(Stream *stream, ApiCall *call, bool frozen);
extern ApiCall *target_call(Stream *stream, const ApiTarget *target,
							const char *path);

#endif							/* GITLAB_PAT_LISTING_H */
