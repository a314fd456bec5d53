/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Reading any number of GitLab's objects, in pages or one by one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/lookups.h"
#include "gitlab/slices.h"
#include "gitlab/stream.h"
#include "utils/memutils.h"

struct Stream
{
	Pages	   *pages;			/* of a list, or else NULL */
	Lookups    *lookups;		/* of single objects, or else NULL */
	const ApiTarget *target;	/* of the list; NULL: the only one */
	Slices	   *slices;			/* what the list goes on with, or NULL */
};

/*
 * Starts reading a collection.  The listing is copied, but for its parameters,
 * which must live as long as the stream.
 */
Stream *
stream_list(ApiClient *client, const Resource *resource,
			const StreamListing *listing)
{
	Stream	   *stream = palloc0(sizeof(Stream));

	stream->pages = pages_open(client, resource, listing);
	stream->target = listing->target;
	return stream;
}

/*
 * Starts looking up objects, which must be distinct.  The targets must live as
 * long as the stream.
 */
Stream *
stream_lookup(ApiClient *client, const Resource *resource,
			  const ApiTarget *targets, int ntargets, int concurrency,
			  bool skips)
{
	Stream	   *stream = palloc0(sizeof(Stream));

	stream->lookups = lookups_open(client, resource, targets, ntargets,
								   concurrency, skips);
	return stream;
}

/*
 * Has a stream that was not read yet not ask for objects that a job has just seen: see
 * recent.h.
 */
void
stream_recall(Stream *stream)
{
	if (stream->lookups)
		lookups_recall(stream->lookups);
}

/* Sends the first request of a stream that will be read later. */
void
stream_prefetch(Stream *stream)
{
	if (stream->lookups)
		lookups_prefetch(stream->lookups);
	else
		pages_prefetch(stream->pages);
}

/*
 * What stream_next() would wait for, sent by now; NULL if that is not known, or if it
 * would not wait.
 */
ApiCall *
stream_awaited(Stream *stream)
{
	if (stream->slices)
		return slices_awaited(stream->slices);
	return stream->lookups ? lookups_awaited(stream->lookups) :
		pages_awaited(stream->pages);
}

/* The next record of a list, which may go on in slices. */
static JsonRecord *
next_listed(Stream *stream)
{
	for (;;)
	{
		JsonRecord *record = stream->slices ? slices_next(stream->slices) :
			pages_next(stream->pages);

		if (record)
			return record;
		if (stream->slices == NULL)
		{
			MemoryContext saved;

			if (!pages_are_long(stream->pages))
				return NULL;
			saved = MemoryContextSwitchTo(GetMemoryChunkContext(stream));
			stream->slices = slices_open(stream->pages);
			MemoryContextSwitchTo(saved);
			continue;
		}
		switch (slices_ended(stream->slices))
		{
			case SLICES_COMPLETE:
				return NULL;
			case SLICES_UNCOUNTED:
				pages_read_on(stream->pages);
				break;
			case SLICES_ELSEWHERE:
				pages_restart_elsewhere(stream->pages);
				break;
		}
		slices_end(stream->slices);
		stream->slices = NULL;
	}
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL
 * at the end.  Raises the errors of failed requests.
 */
JsonRecord *
stream_next(Stream *stream)
{
	return stream->lookups ? lookups_next(stream->lookups) :
		next_listed(stream);
}

/*
 * The targets, as the stream was given them, in whose containers nothing could be
 * read so far: a list of ApiTargets.
 */
List *
stream_skipped(const Stream *stream)
{
	if (stream->lookups)
		return lookups_skipped(stream->lookups);
	return pages_skipped(stream->pages) ?
		list_make1(unconstify(ApiTarget *, stream->target)) : NIL;
}

/*
 * Starts again with what is at hand, without a request.  False, and nothing
 * done, if that is not all that was delivered.
 */
bool
stream_rewind(Stream *stream)
{
	if (stream->slices)
		return false;
	return stream->lookups ? lookups_rewind(stream->lookups) :
		pages_rewind(stream->pages);
}

/* Ends a stream and what it has under way. */
void
stream_end(Stream *stream)
{
	if (stream->slices)
		slices_end(stream->slices);
	if (stream->lookups)
		lookups_end(stream->lookups);
	else
		pages_end(stream->pages);
	pfree(stream);
}

/*
 * How many objects a listing with these parameters has, by one request; -1 if
 * GitLab does not say, as above 10,000.  utc_only: the parameters are right only
 * if the instance's time zone is UTC, which is asked for if nobody knows; -1 if it
 * is not.
 */
int64
stream_total(ApiClient *client, const Resource *resource,
			 const ApiTarget *target, List *parameters, bool utc_only)
{
	return pages_total(client, resource, target, parameters, utc_only);
}
