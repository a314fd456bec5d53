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

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/listing.h"
#include "gitlab/lookups.h"
#include "gitlab/pages.h"
#include "gitlab/record.h"
#include "gitlab/seen.h"
#include "gitlab/steps.h"
#include "gitlab/stream.h"
#include "gitlab/words.h"
#include "lib/integerset.h"
#include "utils/memutils.h"

static Stream *
stream_create(ApiClient *client, const Resource *resource, StreamKind kind,
			  int concurrency)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab records",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	Stream	   *stream = palloc0(sizeof(Stream));

	stream->client = client;
	stream->resource = resource;
	stream->kind = kind;
	stream->context = context;
	stream->concurrency = concurrency;
	stream->window = palloc0(sizeof(ApiCall *) * (concurrency + 1));
	stream->last = -1;
	stream->pass = 1;
	stream->total = -1;
	stream->least = PG_INT64_MAX;
	stream->action = psprintf("read %s", resource->plural);
	stream->step_context = AllocSetContextCreate(context, "GitLab page",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(saved);
	return stream;
}

/*
 * Starts reading a collection.  The listing is copied, but for its parameters,
 * which must live as long as the stream.  The stream belongs to the current
 * memory context, which must not outlive the client's.
 */
Stream *
stream_list(ApiClient *client, const Resource *resource, const StreamListing *listing)
{
	Stream	   *stream = stream_create(client, resource, resource->keyset ?
									   STREAM_KEYSET : STREAM_PAGES,
									   listing->concurrency);
	MemoryContext saved = MemoryContextSwitchTo(stream->context);

	stream->listing = *listing;
	stream->whole.path = resource->path;
	stream->targets = listing->target ? listing->target : &stream->whole;
	stream->fitted = stream->kind == STREAM_PAGES &&
		listing->first_page_size > 0 &&
		listing->first_page_size < listing->page_size;
	stream->seen = palloc0(sizeof(SeenIds));
	stream->seen->context = stream->context;
	stream->seen->ascending = intset_create();
	MemoryContextSwitchTo(saved);
	return stream;
}

/*
 * Starts looking up objects, which must be distinct.  The targets must live as
 * long as the stream.
 */
Stream *
stream_lookup(ApiClient *client, const Resource *resource,
			  const ApiTarget *targets, int ntargets, int concurrency)
{
	Stream	   *stream = stream_create(client, resource, STREAM_LOOKUPS,
									   concurrency);

	stream->targets = targets;
	stream->last = ntargets;
	return stream;
}

/*
 * Sends the first request of a stream that will be read later.
 */
void
stream_prefetch(Stream *stream)
{
	if (stream->sent == 0 && (stream->last < 0 || stream->last > 0))
		send_step(stream, 1);
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL
 * at the end.  Raises the errors of failed requests.
 */
JsonRecord *
stream_next(Stream *stream)
{
	while (stream->next_record >= stream->nrecords)
	{
		JsonRecord *record = next_instead(stream);

		if (record)
			return record;
		if (next_step(stream))
			continue;
		return stream->late ? stream_next(stream->late) : NULL;
	}
	api_statistics(stream->client)->rows++;
	return stream->records[stream->next_record++];
}

/*
 * Starts again with what is at hand, without a request.  False, and nothing
 * done, if that is not all that was delivered.
 */
bool
stream_rewind(Stream *stream)
{
	if (stream->current > 1 || stream->restarted)
		return false;
	stream->next_record = 0;
	return true;
}

/* Ends a stream and what it has under way. */
void
stream_end(Stream *stream)
{
	if (stream->instead)
		stream_end(stream->instead);
	if (stream->late)
		for (int i = 0; i <= stream->late->concurrency; i++)
			free_step(stream->late, i);
	for (int i = 0; i <= stream->concurrency; i++)
		free_step(stream, i);
	MemoryContextDelete(stream->context);
}

/*
 * How many objects a listing with these parameters has, by one request; -1 if
 * GitLab does not say, as above 10,000.
 */
int64
stream_total(ApiClient *client, const Resource *resource,
			 const ApiTarget *target, List *parameters)
{
	StreamListing listing = {.target = target, .parameters = parameters,
		.page_size = 1, .concurrency = 1
	};
	Stream	   *stream = stream_list(client, resource, &listing);
	ApiCall    *call;
	int64		total = 0;

	send_step(stream, 1);
	call = finish_step(stream, 1);
	if (api_call_judge(call) != API_REFUSED || !may_be_absent(stream, 1) ||
		!api_means_absent(client, call))
	{
		api_check(call, stream->action);
		if (!json_object_is_type(call->record, json_type_array))
			refuse_answer(stream, call, "The answer is not a JSON array");
		total = api_integer_header(call->exchange, "X-Total");
		if (total == PG_INT64_MAX)
			total = -1;			/* no number of rows */
	}
	stream_end(stream);
	return total;
}
