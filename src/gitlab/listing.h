/*-------------------------------------------------------------------------
 *
 * listing.h
 *	  How a collection is asked for, and what a page shows of whom it asked and of
 *	  the pages that follow.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LISTING_H
#define GITLAB_PAT_LISTING_H

#include "gitlab/client.h"

/* How to read a collection. */
typedef struct StreamListing
{
	const ApiTarget *target;	/* NULL: the resource's only collection */
	List	   *parameters;		/* of ApiParameter, beside the target's */
	bool		utc_only;		/* they bring all rows only if the instance's
								 * time zone is UTC; else, these do: */
	List	   *elsewhere;
	int			page_size;
	int			expected_rows;	/* how many will be read; 0: not known */
	int			concurrency;
	const char *order_by;		/* a field whose order was promised, or NULL */
	bool		descending;
	bool		skips;			/* lists that may not be read are empty */
} StreamListing;

/* Where a list goes on after one of its pages, by that page's headers. */
typedef struct NextPage
{
	bool		exists;			/* there is another page */
	const char *cursor;			/* its name, by keyset; belongs to the call or
								 * to the current memory context.  NULL: it
								 * has the next number */
	int64		last;			/* the number of the last page, or -1 */
	const char *problem;		/* what is wrong with the answer, or NULL */
} NextPage;

/* How a list is asked for an order. */
#define PARAMETER_SORT "sort"

extern ApiCall *listing_call(ApiClient *client, const Resource *resource,
							 const ApiTarget *target);
extern void listing_ask(const StreamListing *listing, const Resource *resource,
						ApiClient *client, const char *frozen_at,
						ApiCall *call);
extern List *listing_between(const StreamListing *listing,
							 const Resource *resource, const char *after,
							 const char *before);
extern StreamListing listing_part(const StreamListing *listing,
								  const Resource *resource, const char *after,
								  const char *before);
extern InstanceZone listing_zone(ApiCall *call);
extern void listing_learn_sight(const Resource *resource, ApiCall *call);
extern char *listing_answer_time(ApiCall *call, MemoryContext context);
extern bool listing_may_skip(ApiClient *client, const Resource *resource,
							 ApiCall *call, bool skips);
extern const char *listing_keyset_parameter(const Resource *resource);
extern NextPage listing_next(const Resource *resource, ApiCall *call,
							 bool keyset, int64 page, int page_size);
extern bool listing_names_owner(const StreamListing *listing,
								const Resource *resource);

#endif							/* GITLAB_PAT_LISTING_H */
