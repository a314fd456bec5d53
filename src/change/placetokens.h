/*-------------------------------------------------------------------------
 *
 * placetokens.h
 *	  The tokens in a place, where GitLab has no lookup of a single one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PLACETOKENS_H
#define GITLAB_PAT_PLACETOKENS_H

#include "change/place.h"

/* The list of one place.  Begins as zeroes, in RemoteChange's memory. */
typedef struct TokenListing
{
	MemoryContext context;		/* of what follows; NULL: nothing was read yet */
	const char *path;			/* the place; NULL: nothing is known */
	List	   *tokens;			/* of JsonRecord */
} TokenListing;

extern JsonRecord *listing_find(TokenListing *listing, const RemoteChange *change,
								const TokenPlace *place, int64 id);
extern void listing_forget(TokenListing *listing);

#endif							/* GITLAB_PAT_PLACETOKENS_H */
