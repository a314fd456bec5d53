/*-------------------------------------------------------------------------
 *
 * placetokens.c
 *	  The tokens in a place, where GitLab has no lookup of a single one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/placetokens.h"
#include "gitlab/client.h"
#include "gitlab/stream.h"
#include "utils/memutils.h"

static void
read_list(TokenListing *listing, const RemoteChange *change,
		  const TokenPlace *place)
{
	ApiTarget	target = {.path = place->collection};
	StreamListing request = {
		.target = &target,
		.page_size = change->settings->page_size,
		.concurrency = change->settings->concurrency
	};
	MemoryContext saved;
	Stream	   *stream;
	JsonRecord *record;

	listing_forget(listing);
	if (listing->context == NULL)
		listing->context = AllocSetContextCreate(change->context, "GitLab tokens",
												 ALLOCSET_DEFAULT_SIZES);
	saved = MemoryContextSwitchTo(listing->context);
	memcpy(target.containers, place->containers, sizeof(target.containers));
	stream = stream_list(change->client, change->settings->resource, &request);
	while ((record = stream_next(stream)) != NULL)
		listing->tokens = lappend(listing->tokens, record_copy(record));
	stream_end(stream);
	listing->path = pstrdup(place->collection);
	MemoryContextSwitchTo(saved);
}

/*
 * A token of a place as its list has it, which is read unless the last one was of the
 * same place; NULL if it is not there.  Valid until listing_forget(), or until another
 * place is read.
 */
JsonRecord *
listing_find(TokenListing *listing, const RemoteChange *change,
			 const TokenPlace *place, int64 id)
{
	ListCell   *lc;

	if (listing->path == NULL || strcmp(listing->path, place->collection) != 0)
		read_list(listing, change, place);
	foreach(lc, listing->tokens)
	{
		int64		listed;

		if (record_id(lfirst(lc), &listed) && listed == id)
			return lfirst(lc);
	}
	return NULL;
}

/* Has the next token be read again. */
void
listing_forget(TokenListing *listing)
{
	listing->path = NULL;
	listing->tokens = NIL;
	if (listing->context)
		MemoryContextReset(listing->context);
}
