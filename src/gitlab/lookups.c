/*-------------------------------------------------------------------------
 *
 * lookups.c
 *	  Reading GitLab's objects one by one, by their ids or names.
 *
 * Each lookup is a step.  GitLab's answers do not always tell that an object is
 * not there from that its container is not, nor which of several with the same
 * key was meant: then a list is read instead.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/call.h"
#include "gitlab/listing.h"
#include "gitlab/lookups.h"
#include "gitlab/pages.h"
#include "gitlab/record.h"
#include "gitlab/stream.h"

/* Rows a request where a lookup turns out to be a listing. */
#define LOOKUP_PAGE_SIZE 100

/* The target that a step is about. */
const ApiTarget *
step_target(const Stream *stream, int64 step)
{
	return stream->kind == STREAM_LOOKUPS ? &stream->targets[step - 1] :
		stream->targets;
}

/* Takes the record that a lookup brought. */
void
take_object(Stream *stream, ApiCall *call, const ApiTarget *target)
{
	const char *field = stream->resource->key;
	const char *key;
	char		number[32];
	int64		id;

	if (has_ids(stream->resource))
	{
		snprintf(number, sizeof(number), INT64_FORMAT,
				 resource_id(call->record, &id) ? id : 0);
		key = number;
	}
	else
		key = resource_text(call->record, field);
	if (key == NULL || strcmp(key, target->key) != 0)
		refuse_answer(stream, call,
					  psprintf("The answer is not an object with the \"%s\" that was asked for",
							   field));
	add_container(stream, call->record, target);
	stream->records = palloc(sizeof(JsonRecord *));
	stream->records[stream->nrecords++] = call->record;
}

/*
 * Lists all that there is with the key of a lookup, in its place: because more
 * than one object has it; or because none has, which GitLab also says when what
 * it should be in is not there, and too much depends on it to take it at its
 * word.
 */
void
list_instead(Stream *stream, const ApiTarget *target)
{
	MemoryContext saved = MemoryContextSwitchTo(stream->context);
	ApiTarget  *collection = palloc0(sizeof(ApiTarget));
	StreamListing listing = {
		.target = collection,
		.page_size = LOOKUP_PAGE_SIZE,
		.concurrency = 1
	};

	collection->path = resource_path(stream->resource, target->container, NULL);
	collection->container = target->container;
	stream->instead = stream_list(stream->client, stream->resource, &listing);
	stream->restarted = true;
	MemoryContextSwitchTo(saved);
}

/*
 * Does GitLab say that a key alone names more than one object?  Its status for
 * that has not been the same in all versions.
 */
bool
is_conflict(ApiCall *call)
{
	return api_call_judge(call) == API_REFUSED &&
		(call->exchange->status == 409 || call->exchange->status == 400);
}

/* The next record of the listing in place of a lookup, or NULL. */
JsonRecord *
next_instead(Stream *stream)
{
	while (stream->instead)
	{
		const char *key = step_target(stream, stream->current)->key;
		JsonRecord *record = stream_next(stream->instead);
		const char *found = record ?
			resource_text(record, stream->resource->key) : NULL;

		if (record == NULL)
		{
			stream_end(stream->instead);
			stream->instead = NULL;
		}
		else if (found && strcmp(found, key) == 0)
			return record;
	}
	return NULL;
}
