/*-------------------------------------------------------------------------
 *
 * pages.c
 *	  Reading a list of GitLab's objects in pages.
 *
 * Each page is a step.  The first step is taken alone; when more than it brings
 * is asked for, up to `concurrency` steps are under way at a time.  Their records
 * are delivered in the order of the steps.
 *
 * A listing by offsets is read while others create, use and revoke objects.  No id
 * is delivered twice.  Pages after the first are limited to what had been created when
 * that was answered; what was created within that second is asked for apart, by `late`.
 * When rows leave the selection or enter it, later ones slide to other pages; then the
 * total changes, and the listing is read again for what slid past.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
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
#include "http/request.h"
#include "pgtime.h"
#include "utils/memutils.h"

/* A scan whose pages bring no new id this often running would never end. */
#define MAX_BARREN_PAGES 3

/* How often a listing is read again before the scan gives up. */
#define MAX_PASSES 4

int
page_size(const Stream *stream)
{
	return stream->fitted ? stream->listing.first_page_size :
		stream->listing.page_size;
}

ApiCall *
step_call(Stream *stream, int64 step)
{
	const ApiTarget *target = step_target(stream, step);
	ApiCall    *call = target_call(stream, target, target->path);
	char		number[32];

	if (stream->kind == STREAM_LOOKUPS)
		return call;
	add_parameters(stream, call, stream->frozen_at != NULL);
	snprintf(number, sizeof(number), "%d", page_size(stream));
	http_add_parameter(call->exchange, "per_page", number);
	if (stream->kind == STREAM_PAGES)
	{
		snprintf(number, sizeof(number), INT64_FORMAT, step);
		http_add_parameter(call->exchange, "page", number);
	}
	else if (stream->cursor)
		http_add_parameter(call->exchange, "cursor", stream->cursor);
	return call;
}

/*
 * The stream of what was created within the second of the first answer, or
 * after it.
 */
static Stream *
late_stream(Stream *stream)
{
	MemoryContext saved = MemoryContextSwitchTo(stream->context);
	const char *name = stream->resource->created_after;
	ApiParameter *since = palloc(sizeof(ApiParameter));
	StreamListing listing = stream->listing;
	Stream	   *late;
	ListCell   *lc;

	since->name = name;
	since->value = stream->frozen_at;
	listing.parameters = NIL;
	listing.first_page_size = 0;
	foreach(lc, stream->listing.parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		if (strcmp(parameter->name, name) != 0)
			listing.parameters = lappend(listing.parameters, parameter);
		else if (strcmp(parameter->value, since->value) > 0)
			since->value = parameter->value;
	}
	listing.parameters = lappend(listing.parameters, since);
	late = stream_list(stream->client, stream->resource, &listing);
	late->seen = stream->seen;
	late->is_late = true;
	/* the buffer: it holds the last key of the pages when late is read */
	late->previous_key = stream->previous_key;
	MemoryContextSwitchTo(saved);
	return late;
}

/* Sends the requests that are to be under way while `step` is waited for. */
static void
send_ahead(Stream *stream, int64 step)
{
	int64		until = step;

	/* nobody knows yet whether more than the first page will be asked for */
	if (stream->kind == STREAM_LOOKUPS ||
		(stream->kind == STREAM_PAGES && step > 1))
		until = step + stream->concurrency - 1;
	if (stream->last >= 0)
		until = Max(Min(until, stream->last), step);
	for (int64 i = stream->sent + 1; i <= until; i++)
		send_step(stream, i);

	/* what is created meanwhile is asked for as soon as there is room */
	if (stream->late && stream->late->sent == 0 &&
		stream->sent - step + 1 < stream->concurrency)
		send_step(stream->late, 1);
}

void
refuse_answer(Stream *stream, ApiCall *call, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not %s on server \"%s\"", stream->action,
					call->connection->server_name),
			 errdetail("%s (%s %s).", detail, call->exchange->method,
					   call->exchange->target)));
}

/* Are the resource's objects known by numbers, or else by names? */
bool
has_ids(const Resource *resource)
{
	return resource->variant == NULL;
}

/*
 * Is this record new to the stream?  An error if it does not say which it is.
 */
static bool
is_new(Stream *stream, ApiCall *call, JsonRecord *record)
{
	const Resource *resource = stream->resource;
	const char *key;
	int64		id;

	if (has_ids(resource))
	{
		if (!resource_id(record, &id))
			refuse_answer(stream, call,
						  "An element of the answer has no valid field \"id\"");
		return is_new_id(stream->seen, id);
	}
	key = resource_text(record, resource->key);
	if (key == NULL)
		refuse_answer(stream, call,
					  psprintf("An element of the answer has no valid field \"%s\"",
							   resource->key));
	return is_new_name(stream->seen, key,
					   resource_text(record, resource->variant));
}

pg_noreturn static void
refuse_changes(Stream *stream, ApiCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not %s on server \"%s\" because of concurrent changes",
					stream->action, call->connection->server_name),
			 errdetail("Rows moved between the pages of the list while it was read."),
			 errhint("The transaction might succeed if retried.")));
}

/* Was the record certainly created after the list was first answered? */
static bool
is_younger(const Stream *stream, JsonRecord *record)
{
	JsonRecord *value;
	const char *created_at =
		json_object_object_get_ex(record, "created_at", &value) && value ?
		json_object_get_string(value) : "";
	size_t		length = strlen(created_at);

	/* both in UTC and of the same form, whose order is that of time */
	return stream->answered_by && length > 0 &&
		length == strlen(stream->answered_by) &&
		created_at[length - 1] == 'Z' &&
		strcmp(created_at, stream->answered_by) >= 0;
}

/*
 * Checks that a record belongs after the one before, if the scan has promised
 * an order.  Ids are compared as numbers, dates in their ISO form as strings;
 * null is above all.  False if the record has come too late for its place but
 * need not be returned, since it was created while the scan went on.
 */
static bool
check_order(Stream *stream, ApiCall *call, JsonRecord *record)
{
	const char *field = stream->listing.order_by;
	JsonRecord *value;
	const char *text;
	int64		id;
	char		key[64];
	int			comparison;

	if (field == NULL)
		return true;
	if (resource_integer(record, field, &id))
		snprintf(key, sizeof(key), "0%020lld", (long long) id);
	else if (json_object_object_get_ex(record, field, &value) && value)
	{
		text = json_object_get_string(value);
		snprintf(key, sizeof(key), "0%s", text);
	}
	else
		strlcpy(key, "1", sizeof(key));
	comparison = stream->previous_key ? strcmp(stream->previous_key, key) : 0;
	if (stream->listing.descending ? comparison < 0 : comparison > 0)
	{
		if (is_younger(stream, record))
			return false;
		if (stream->restarted || stream->is_late)
			refuse_changes(stream, call);
		refuse_answer(stream, call,
					  "The answer is not in the order that was asked for");
	}
	if (stream->previous_key == NULL)
		stream->previous_key = MemoryContextAlloc(stream->context, sizeof(key));
	strlcpy(stream->previous_key, key, sizeof(key));
	return true;
}

/* Says in a record what it is in, which GitLab's answer leaves out. */
void
add_container(Stream *stream, JsonRecord *record, const ApiTarget *target)
{
	JsonRecord *value;

	if (target->container == NULL)
		return;
	value = json_object_new_string(target->container);
	if (value && json_object_object_add(record, stream->resource->container,
										value) == 0)
		return;
	json_object_put(value);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
			 errmsg("out of memory")));
}

/* Takes the records of a page that have not come before. */
static void
take_page(Stream *stream, ApiCall *call)
{
	size_t		n;
	int64		patience = MAX_BARREN_PAGES;

	if (!json_object_is_type(call->record, json_type_array))
		refuse_answer(stream, call, "The answer is not a JSON array");
	n = json_object_array_length(call->record);
	stream->records = palloc(sizeof(JsonRecord *) * Max(n, 1));
	for (size_t i = 0; i < n; i++)
	{
		JsonRecord *record = json_object_array_get_idx(call->record, i);

		if (!is_new(stream, call, record))
			continue;
		stream->received++;
		if (!check_order(stream, call, record))
			continue;
		add_container(stream, record, stream->targets);
		stream->records[stream->nrecords++] = record;
	}
	if (n == 0)
		stream->ended = true;
	if (stream->nrecords > 0)
		stream->brought_new = true;
	stream->barren = stream->nrecords > 0 ? 0 : stream->barren + 1;

	/* reading again is expected to bring nothing, but not without an end */
	if (stream->pass > 1)
		patience += Max(stream->last, 100);
	if (stream->barren < patience || stream->ended)
		return;
	if (!stream->is_late)
		refuse_answer(stream, call, "The pages of the list repeat themselves");
	stream->ended = true;		/* a server that doesn't know created_after */
}

/*
 * When the first page was answered, and some seconds later, in the form of a
 * parameter; or NULL.
 */
static char *
answer_time(Stream *stream, ApiCall *call, int seconds)
{
	const char *date = http_header(call->exchange, "Date");
	pg_time_t	when = date ? (pg_time_t) http_parse_date(date) : -1;
	char		buf[64];

	if (when < 0)
		return NULL;
	when += seconds;
	pg_strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S.000Z", pg_gmtime(&when));
	return MemoryContextStrdup(stream->context, buf);
}

/* Learns from a page's headers whether rows slid while the list was read. */
static void
learn_changes(Stream *stream, ApiCall *call)
{
	int64		total = api_integer_header(call->exchange, "X-Total");

	if (total >= 0 && stream->total >= 0 && total != stream->total)
		stream->slid = true;
	if (total >= 0)
	{
		stream->total = total;
		stream->least = Min(stream->least, total);
		stream->most = Max(stream->most, total);
	}
	if (stream->resource->created_before == NULL || stream->is_late ||
		stream->frozen_at || stream->answered_by || stream->fitted ||
		stream->ended)
		return;

	/*
	 * What is created meanwhile has the highest ids, so that it can be asked
	 * for apart.  In another order it may belong anywhere: there the pages
	 * are left as they are, for new rows push others to later pages, and push
	 * none out of sight.
	 */
	if (stream->listing.order_by && strcmp(stream->listing.order_by, "id") != 0)
		stream->answered_by = answer_time(stream, call, 1);
	else
	{
		stream->frozen_at = answer_time(stream, call, 0);
		if (stream->frozen_at)
			stream->late = late_stream(stream);
	}
}

/* Learns from a page's headers which pages follow. */
static void
learn_paging(Stream *stream, ApiCall *call)
{
	const char *next = http_header(call->exchange, "X-Next-Page");
	int64		pages;

	if (stream->kind == STREAM_KEYSET)
	{
		const char *link = http_header(call->exchange, "X-Next-Cursor");
		char	   *cursor = link && link[0] ? pstrdup(link) :
			http_link_parameter(call->exchange, "next", "cursor");

		if (cursor && cursor[0])
		{
			stream->cursor = MemoryContextStrdup(stream->context, cursor);
			if (stream->current > 1)
				send_step(stream, stream->current + 1);
			return;
		}
		/* a server that knows no keyset here answers by offset */
		if (next && next[0])
			stream->kind = STREAM_PAGES;
		else if (cursor)
			refuse_answer(stream, call,
						  "The link to the next page has no cursor");
		else
		{
			stream->ended = true;
			return;
		}
	}
	pages = api_integer_header(call->exchange, "X-Total-Pages");
	if (pages > 0)
		stream->last = pages;

	/*
	 * An empty header says that this is the last page.  If a proxy has
	 * removed the headers, a page that is not full does.
	 */
	if (next == NULL ? (pages > 0 ? stream->current >= pages :
						json_object_array_length(call->record) < (size_t) page_size(stream)) :
		next[0] == '\0')
		stream->ended = true;
	learn_changes(stream, call);
}

/* Forgets all steps, to read the listing from its beginning. */
static void
restart(Stream *stream)
{
	for (int i = 0; i <= stream->concurrency; i++)
		free_step(stream, i);
	stream->restarted = true;
	stream->current = stream->sent = 0;
	stream->last = -1;
	stream->ended = false;
	stream->total = -1;
	stream->slid = false;
	stream->brought_new = false;
	stream->barren = 0;
}

/*
 * The steps of a listing are at their end.  True if it has to be read again,
 * because rows slid past, or because there are fewer of them than all pages have
 * said.  A row can slide past two readings only if it moves by more than a page.
 */
static bool
must_read_again(Stream *stream)
{
	bool		short_of = !stream->slid && stream->received < stream->total;

	if (stream->kind != STREAM_PAGES || stream->is_late ||
		(!stream->slid && !short_of))
		return false;
	if (stream->slid && stream->pass > 1 && !stream->brought_new &&
		stream->most - stream->least <= page_size(stream))
		return false;
	if (stream->pass == MAX_PASSES)
		refuse_changes(stream, *step_slot(stream, stream->current));
	restart(stream);
	stream->pass++;
	return true;
}

/* Has a listing that began with a small page to begin anew? */
static bool
must_unfit(Stream *stream)
{
	if (!stream->fitted || stream->current == 0 || stream->ended)
		return false;
	restart(stream);
	stream->fitted = false;
	return true;
}

static bool
names_owner(const Stream *stream, List *parameters)
{
	ListCell   *lc;

	foreach(lc, parameters)
		if (strcmp(((ApiParameter *) lfirst(lc))->name,
				   stream->resource->owner_parameter) == 0)
			return true;
	return false;
}

/*
 * Can a refusal mean that there is nothing, rather than that something is
 * wrong?  That is so for a lookup, and for the beginning of a listing for an
 * owner who may not exist.
 */
bool
may_be_absent(const Stream *stream, int64 step)
{
	if (stream->kind == STREAM_LOOKUPS)
		return true;
	return step == 1 && stream->resource->owner_parameter &&
		(names_owner(stream, stream->listing.parameters) ||
		 names_owner(stream, stream->targets->parameters));
}

/* Makes the records of the next step current.  False: there is none. */
bool
next_step(Stream *stream)
{
	int64		step;
	MemoryContext saved;
	ApiCall    *call;
	const ApiTarget *target;

	/* at the end the records stay, for stream_rewind() */
	if (stream->kind == STREAM_LOOKUPS ? stream->current == stream->last :
		(stream->ended && !must_read_again(stream)))
		return false;
	stream->nrecords = stream->next_record = 0;
	(void) must_unfit(stream);
	if (stream->current > 0)
		free_step(stream, stream->current);
	MemoryContextReset(stream->step_context);
	stream->records = NULL;
	stream->current = step = stream->current + 1;

	send_ahead(stream, step);
	call = finish_step(stream, step);
	target = step_target(stream, step);
	saved = MemoryContextSwitchTo(stream->step_context);
	if (api_call_judge(call) == API_REFUSED && may_be_absent(stream, step) &&
		api_means_absent(stream->client, call))
	{
		if (stream->kind != STREAM_LOOKUPS)
			stream->ended = true;
		else if (target->container)
			list_instead(stream, target);
	}
	else if (stream->kind == STREAM_LOOKUPS && stream->resource->variant &&
			 target->parameters == NIL && is_conflict(call))
		list_instead(stream, target);
	else
	{
		api_check(call, stream->action);
		if (stream->kind == STREAM_LOOKUPS)
			take_object(stream, call, target);
		else
		{
			take_page(stream, call);
			learn_paging(stream, call);
		}
	}
	MemoryContextSwitchTo(saved);
	api_statistics(stream->client)->pages++;
	return true;
}
