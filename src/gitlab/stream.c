/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Reading any number of GitLab's objects, in pages or one by one.
 *
 * A stream is a sequence of steps, each one request: a page of a listing, or
 * the lookup of one id.  The first step is taken alone; when more than it
 * brings is asked for, up to `concurrency` steps are under way at a time.
 * Their records are delivered in the order of the steps.
 *
 * A listing by offsets is read while others create, use and revoke objects.
 * No id is delivered twice.  Pages after the first are limited to what had been
 * created when that was answered, and what was created within that second is
 * asked for apart, by the stream `late`.  When rows leave the selection or
 * enter it, later ones slide to other pages; then the total changes, and the
 * listing is read again, for what slid past.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "common/hashfn.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "http/request.h"
#include "lib/integerset.h"
#include "pgtime.h"
#include "gitlab/stream.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Rows a request where a lookup turns out to be a listing. */
#define LOOKUP_PAGE_SIZE 100

/* A scan whose pages bring no new id this often running would never end. */
#define MAX_BARREN_PAGES 3

/* How often a listing is read again before the scan gives up. */
#define MAX_PASSES 4

typedef enum StreamKind
{
	STREAM_PAGES,				/* offset paging */
	STREAM_KEYSET,				/* each page names the next one */
	STREAM_LOOKUPS				/* one object a step */
} StreamKind;

/* What was delivered: by id, or by name where objects have no id. */
typedef struct SeenIds
{
	IntegerSet *ascending;		/* ids that came in ascending order */
	uint64		highest;
	HTAB	   *stragglers;		/* the other ids, or NULL */
	HTAB	   *names;			/* or NULL */
	MemoryContext context;
} SeenIds;

struct Stream
{
	ApiClient  *client;
	const Resource *resource;
	StreamKind	kind;
	MemoryContext context;
	StreamListing listing;
	int			concurrency;
	const ApiTarget *targets;	/* one for each lookup, or that of the listing */
	ApiTarget	whole;			/* the target of a resource's only collection */
	const char *action;			/* for messages */
	SeenIds    *seen;

	/* steps are numbered from 1 */
	int64		current;		/* the step being delivered, 0: none yet */
	int64		sent;			/* the last step that was sent */
	int64		last;			/* the last step there is, or -1 if unknown */
	bool		ended;			/* there is no step after the current one */
	ApiCall   **window;			/* by step modulo concurrency + 1 */
	char	   *cursor;			/* of the next page, by keyset */
	bool		fitted;			/* the first page is smaller than the others */

	/* lookups of what is in containers */
	Stream	   *instead;		/* a listing in place of the lookup that did
								 * not bring one object, or NULL */

	/* noticing changes */
	char	   *frozen_at;		/* pages after the first were created by then */
	int			pass;			/* the listing is being read for this time */
	bool		restarted;		/* not all that was delivered came since */
	int64		total;			/* as the pages of this pass said, or -1 */
	bool		slid;			/* they did not agree */
	bool		brought_new;	/* this pass delivered something */
	int64		received;		/* different records, in all passes */
	int64		least;			/* and most: the totals of all passes */
	int64		most;
	Stream	   *late;			/* created within the first answer's second */
	bool		is_late;
	char	   *answered_by;	/* of a list in another order than that of
								 * ids: what is younger came after the first
								 * answer */
	char	   *previous_key;	/* for checking the order */

	/* the records of the current step */
	MemoryContext step_context;
	JsonRecord **records;
	int			nrecords;
	int			next_record;
	int			barren;			/* pages running that brought nothing new */
};

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

/* The target that a step is about. */
static const ApiTarget *
step_target(const Stream *stream, int64 step)
{
	return stream->kind == STREAM_LOOKUPS ? &stream->targets[step - 1] :
		stream->targets;
}

static int
page_size(const Stream *stream)
{
	return stream->fitted ? stream->listing.first_page_size :
		stream->listing.page_size;
}

/*
 * Adds the listing's parameters, and limits pages after the first to what had
 * been created when that was answered.
 */
static void
add_parameters(Stream *stream, ApiCall *call, bool frozen)
{
	const char *limit = frozen ? stream->resource->created_before : NULL;
	ListCell   *lc;

	foreach(lc, stream->listing.parameters)
	{
		ApiParameter *parameter = lfirst(lc);
		const char *value = parameter->value;

		if (limit && strcmp(parameter->name, limit) == 0)
		{
			/* both have the same form, whose order is that of time */
			if (strcmp(stream->frozen_at, value) < 0)
				value = stream->frozen_at;
			limit = NULL;
		}
		http_add_parameter(call->exchange, parameter->name, value);
	}
	if (limit)
		http_add_parameter(call->exchange, limit, stream->frozen_at);
	for (const ResourceParameter *p = stream->resource->list_parameters; p->name; p++)
		http_add_parameter(call->exchange, p->name, p->value);
}

/* A call for what a target names. */
static ApiCall *
target_call(Stream *stream, const ApiTarget *target, const char *path)
{
	ApiCall    *call = api_client_call(stream->client, "GET", path);
	ListCell   *lc;

	call->resource = stream->resource;
	foreach(lc, target->parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		http_add_parameter(call->exchange, parameter->name, parameter->value);
	}
	return call;
}

static ApiCall *
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

static ApiCall **
step_slot(Stream *stream, int64 step)
{
	return &stream->window[step % (stream->concurrency + 1)];
}

/* Sends a step's request, and remembers it in the window. */
static void
send_step(Stream *stream, int64 step)
{
	ApiCall    *call = step_call(stream, step);

	*step_slot(stream, step) = call;
	api_call_start(call);
	stream->sent = Max(stream->sent, step);
}

static void
free_step(Stream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	if (*slot)
		api_call_free(*slot);
	*slot = NULL;
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

/*
 * Sends the first request of a stream that will be read later.
 */
void
stream_prefetch(Stream *stream)
{
	if (stream->sent == 0 && (stream->last < 0 || stream->last > 0))
		send_step(stream, 1);
}

/* Waits for a step's answer; with a new credential if there is one. */
static ApiCall *
finish_step(Stream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	for (;;)
	{
		api_wait(slot, 1);
		if (!api_credential_renewed(stream->client, *slot))
			return *slot;
		free_step(stream, step);
		send_step(stream, step);
	}
}

/* A table of names, which are texts of any length. */
static uint32
hash_name(const void *key, Size size)
{
	const char *name = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
}

static int
compare_names(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Is this name new to the stream? */
static bool
is_new_name(SeenIds *seen, const char *key, const char *variant)
{
	HASHCTL		ctl = {.keysize = sizeof(char *), .entrysize = sizeof(char *),
		.hash = hash_name, .match = compare_names, .hcxt = seen->context
	};
	MemoryContext saved = MemoryContextSwitchTo(seen->context);
	char	   *name = psprintf("%s\n%s", key, variant ? variant : "");
	bool		found;

	if (seen->names == NULL)
		seen->names = hash_create("GitLab names", 256, &ctl,
								  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								  HASH_CONTEXT);
	(void) hash_search(seen->names, &name, HASH_ENTER, &found);
	if (found)
		pfree(name);
	MemoryContextSwitchTo(saved);
	return !found;
}

/* Is this id new to the stream? */
static bool
is_new_id(SeenIds *seen, int64 id)
{
	bool		found;

	if ((uint64) id > seen->highest)
	{
		intset_add_member(seen->ascending, id);
		seen->highest = id;
		return true;
	}
	if (intset_is_member(seen->ascending, id))
		return false;
	if (seen->stragglers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(int64),
			.hcxt = seen->context
		};

		seen->stragglers = hash_create("GitLab ids", 256, &ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(seen->stragglers, &id, HASH_ENTER, &found);
	return !found;
}

pg_noreturn static void
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
static bool
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
static void
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

/* Takes the record that a lookup brought. */
static void
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
static void
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
static bool
may_be_absent(const Stream *stream, int64 step)
{
	if (stream->kind == STREAM_LOOKUPS)
		return true;
	return step == 1 && stream->resource->owner_parameter &&
		(names_owner(stream, stream->listing.parameters) ||
		 names_owner(stream, stream->targets->parameters));
}

/*
 * Does GitLab say that a key alone names more than one object?  Its status for
 * that has not been the same in all versions.
 */
static bool
is_conflict(ApiCall *call)
{
	return api_call_judge(call) == API_REFUSED &&
		(call->exchange->status == 409 || call->exchange->status == 400);
}

/* The next record of the listing in place of a lookup, or NULL. */
static JsonRecord *
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

/* Makes the records of the next step current.  False: there is none. */
static bool
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
