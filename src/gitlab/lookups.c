/*-------------------------------------------------------------------------
 *
 * lookups.c
 *	  Reading GitLab's objects one by one, by their ids or names.
 *
 * Each lookup is a step.  Some answers of GitLab do not tell a missing object
 * from a missing container, or which of several objects with one key was
 * meant.  Then a list is read instead.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/lookups.h"
#include "gitlab/recent.h"
#include "gitlab/steps.h"
#include "gitlab/words.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Rows a request where a lookup turns out to be a listing. */
#define LOOKUP_PAGE_SIZE 100

struct Lookups
{
	const Resource *resource;
	MemoryContext context;
	instr_time	opened;			/* nothing was sent before */
	const ApiTarget *targets;	/* one for each step */
	bool		skips;			/* lists that may not be read are empty */
	bool		recalls;		/* what a job has just seen is not asked for */
	Steps		steps;
	Pages	   *instead;		/* a listing in place of the lookup that did
								 * not bring one object, or NULL */
	bool		listed;			/* there was one */
	const char *proven;			/* path of a list that could be read, or not
								 * but was skipped; or NULL */
	List	   *skipped;		/* of ApiTargets: lists that may not be read */
	MemoryContext step_context;
	JsonRecord *record;			/* of the current step, or NULL */
	bool		delivered;		/* the record was */
};

/* Returns the record of a target if it is known without a request, or NULL. */
static JsonRecord *
recall(const Lookups *lookups, const ApiTarget *target)
{
	return lookups->recalls ?
		recent_find_target(api_connection(lookups->steps.client),
						   lookups->resource, target) : NULL;
}

/* The call of a step; NULL: what it would bring is known. */
static ApiCall *
make_call(void *owner, int64 step)
{
	Lookups    *lookups = owner;
	const ApiTarget *target = &lookups->targets[step - 1];
	ApiCall    *call;

	/* what has been asked for once is asked for again */
	if (step > lookups->steps.sent && recall(lookups, target))
		return NULL;
	call = listing_call(lookups->steps.client, lookups->resource, target);
	for (const ResourceParameter *p = lookups->resource->lookup_parameters;
		 p && p->name; p++)
		api_add_parameter(call, p->name, p->value);
	return call;
}

/*
 * Starts looking up objects, which must be distinct.  The targets must live as
 * long as the lookups, which belong to the current memory context.
 */
Lookups *
lookups_open(ApiClient *client, const Resource *resource,
			 const ApiTarget *targets, int ntargets, int concurrency,
			 bool skips)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab lookups",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	Lookups    *lookups = palloc0(sizeof(Lookups));

	lookups->resource = resource;
	lookups->context = context;
	INSTR_TIME_SET_CURRENT(lookups->opened);
	lookups->targets = targets;
	lookups->skips = skips;
	steps_init(&lookups->steps, client, concurrency, make_call, lookups);
	lookups->steps.last = ntargets;
	lookups->step_context = AllocSetContextCreate(context, "GitLab lookup",
												  ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(saved);
	return lookups;
}

/* The target of the current step. */
static const ApiTarget *
current_target(const Lookups *lookups)
{
	return &lookups->targets[Max(lookups->steps.current, 1) - 1];
}

static char *
action_of(const Lookups *lookups)
{
	return steps_action(lookups->resource, current_target(lookups));
}

/* Sends the requests that are to be under way while `step` is waited for. */
static void
send_ahead(Lookups *lookups, int64 step)
{
	Steps	   *steps = &lookups->steps;
	int64		until = Min(step + steps->concurrency - 1, steps->last);

	for (int64 i = steps->sent + 1; i <= until; i++)
		steps_send(steps, i);
}

/* Has the lookups not ask for what a job has just seen; before the first one. */
void
lookups_recall(Lookups *lookups)
{
	lookups->recalls = true;
}

/* Sends the first request of lookups whose objects will be asked for later. */
void
lookups_prefetch(Lookups *lookups)
{
	if (lookups->steps.sent == 0 && lookups->steps.last > 0)
		steps_send(&lookups->steps, 1);
}

/*
 * What lookups_next() would wait for, sent by now; NULL if that is not known, or if it
 * would not wait.
 */
ApiCall *
lookups_awaited(Lookups *lookups)
{
	int64		step = lookups->steps.current + 1;
	ApiCall    *call;

	if ((lookups->record && !lookups->delivered) || lookups->instead ||
		step > lookups->steps.last)
		return NULL;
	/* this step is waited for now, and no longer one that was sent ahead */
	send_ahead(lookups, step);
	call = steps_call(&lookups->steps, step);
	return call == NULL || api_finished(call) ? NULL : call;
}

/*
 * Whether a list shows what a lookup has brought.  GitLab's lists of tokens
 * leave out the impersonation tokens of a caller who is no administrator.  It
 * shows each of them by id, and nothing in it says what it is.  A table is what
 * its list shows: a list of what was created at that moment tells.
 */
static bool
is_listed(Lookups *lookups, JsonRecord *record)
{
	const Resource *resource = lookups->resource;
	StreamListing listing = {.page_size = LOOKUP_PAGE_SIZE, .concurrency = 1};
	Pages	   *list;
	JsonRecord *other;
	Datum		created_at;
	bool		isnull;
	int64		id;
	int64		other_id;
	bool		found = false;

	if (resource->owner_parameter == NULL ||
		api_known_to_see_all(lookups->steps.client))
		return true;
	created_at = record_datum(resource, resource_field(resource, "created_at"),
							  record, &isnull);
	if (!isnull && record_id(record, &id))
	{
		int64		ms = DatumGetTimestampTz(created_at) / 1000;

		listing.parameters =
			list_concat(api_parameter(resource->created_after,
									  record_time(ms - 1)),
						api_parameter(resource->created_before,
									  record_time(ms + 1)));
		list = pages_open(lookups->steps.client, resource, &listing);
		while (!found && (other = pages_next(list)) != NULL)
			found = record_id(other, &other_id) && other_id == id;
		pages_end(list);
	}
	return found;
}

/* Takes a record as that of the current step. */
static void
take_record(Lookups *lookups, JsonRecord *record, const ApiTarget *target)
{
	record_name_containers(record, lookups->resource, target->containers);
	lookups->record = record;
}

/* Whether a record has this alias, in any case. */
static bool
has_alias(const Lookups *lookups, JsonRecord *record, const char *alias)
{
	const Resource *resource = lookups->resource;
	bool		isnull;
	Datum		value = record_datum(resource,
									 resource_field(resource, resource->alias),
									 record, &isnull);

	/* paths in GitLab are ASCII */
	return !isnull && pg_strcasecmp(TextDatumGetCString(value), alias) == 0;
}

/* Takes the record that a lookup brought. */
static void
take_object(Lookups *lookups, ApiCall *call, const ApiTarget *target)
{
	const char *field = lookups->resource->key;
	const char *key;
	char		number[32];
	int64		id;

	if (resource_is_alias(lookups->resource, target->key))
	{
		/* an object with another name by now is not the one asked for */
		if (has_alias(lookups, call->record, target->key))
			take_record(lookups, call->record, target);
		return;
	}
	if (resource_has_ids(lookups->resource))
	{
		snprintf(number, sizeof(number), INT64_FORMAT,
				 record_id(call->record, &id) ? id : 0);
		key = number;
	}
	else
		key = record_text(call->record, field);
	if (key == NULL || strcmp(key, target->key) != 0)
		api_refuse_answer(call, action_of(lookups),
						  psprintf("The answer is not an object with the \"%s\" that was asked for",
								   field));
	recent_note(call, lookups->resource, target, lookups->opened);
	if (is_listed(lookups, call->record))
		take_record(lookups, call->record, target);
}

/*
 * Lists all objects with the key of a lookup, in its place: more than one
 * object has the key, or none has.  GitLab also says that there is none where
 * the container is missing, and too much depends on the difference.
 */
static void
list_instead(Lookups *lookups, const ApiTarget *target)
{
	MemoryContext saved = MemoryContextSwitchTo(lookups->context);
	ApiTarget  *collection = palloc0(sizeof(ApiTarget));
	StreamListing listing = {
		.target = collection,
		.page_size = LOOKUP_PAGE_SIZE,
		.concurrency = 1,
		.skips = lookups->skips
	};

	collection->path = resource_path(lookups->resource, target->containers, NULL);
	memcpy(collection->containers, target->containers,
		   sizeof(collection->containers));
	lookups->instead = pages_open(lookups->steps.client, lookups->resource,
								  &listing);
	lookups->listed = true;
	MemoryContextSwitchTo(saved);
}

static void
note_skipped(Lookups *lookups, const ApiTarget *target)
{
	MemoryContext saved = MemoryContextSwitchTo(lookups->context);

	lookups->skipped = lappend(lookups->skipped,
							   unconstify(ApiTarget *, target));
	MemoryContextSwitchTo(saved);
}

/*
 * Whether the object may be taken for absent, because its container may not be
 * read or is not there.  An error that says so will be the role's.
 */
static bool
is_skipped(Lookups *lookups, ApiCall *call, const ApiTarget *target)
{
	if (!listing_may_skip(lookups->steps.client, lookups->resource, call,
						  lookups->skips))
		return false;
	note_skipped(lookups, target);
	return true;
}

/*
 * Makes sure that a container which does not have an object is there at all, and
 * may be read: GitLab's answers to a lookup do not tell these apart.
 */
static void
check_container(Lookups *lookups, const ApiTarget *target)
{
	char	   *path = resource_path(lookups->resource, target->containers, NULL);
	ApiCall    *call;

	if (lookups->proven && strcmp(lookups->proven, path) == 0)
		return;
	for (;;)
	{
		call = api_client_call(lookups->steps.client, "GET", path);
		call->resource = lookups->resource;
		api_add_parameter(call, "per_page", "1");
		api_call_start(call);
		api_wait(&call, 1);
		if (!api_credential_renewed(lookups->steps.client, call))
			break;
		api_call_free(call);
	}
	if (!is_skipped(lookups, call, target))
		api_check(call, action_of(lookups));
	api_call_free(call);
	lookups->proven = MemoryContextStrdup(lookups->context, path);
}

/*
 * Whether GitLab says that a key alone names more than one object.  Its status
 * for that has not been the same in all versions.
 */
static bool
is_conflict(ApiCall *call)
{
	return api_refusal(call) == REFUSAL_CONFLICT ||
		api_refusal(call) == REFUSAL_REQUEST;
}

/* The next record of the listing in place of a lookup, or NULL. */
static JsonRecord *
next_instead(Lookups *lookups)
{
	while (lookups->instead)
	{
		const char *key = current_target(lookups)->key;
		JsonRecord *record = pages_next(lookups->instead);
		const char *found = record ?
			record_text(record, lookups->resource->key) : NULL;

		if (record == NULL)
		{
			if (pages_skipped(lookups->instead))
				note_skipped(lookups, current_target(lookups));
			pages_end(lookups->instead);
			lookups->instead = NULL;
		}
		else if (found && strcmp(found, key) == 0)
			return record;
	}
	return NULL;
}

/* Decides what follows when GitLab says that an object is not there. */
static void
take_absence(Lookups *lookups, ApiCall *call, const ApiTarget *target)
{
	if (lookups->resource->containers[0] && resource_has_ids(lookups->resource))
		check_container(lookups, target);
	else if (lookups->resource->containers[0])
		list_instead(lookups, target);
	else if (lookups->resource->owner_parameter)
		call->connection->sight = api_verdict(call) == API_ABSENT ?
			SIGHT_ALL : SIGHT_OWN;
}

static void
take_answer(Lookups *lookups, ApiCall *call, const ApiTarget *target)
{
	if (lookups->resource->variant && target->parameters == NIL &&
		is_conflict(call))
	{
		list_instead(lookups, target);
		return;
	}
	api_check(call, action_of(lookups));
	take_object(lookups, call, target);
}

/* Takes what is known of a target.  If it has aged meanwhile, asks for it: false. */
static bool
take_recalled(Lookups *lookups, const ApiTarget *target)
{
	JsonRecord *record = recall(lookups, target);
	MemoryContext saved;

	if (record == NULL)
	{
		lookups->recalls = false;
		steps_send(&lookups->steps, lookups->steps.current);
		return false;
	}
	saved = MemoryContextSwitchTo(lookups->step_context);
	take_record(lookups, record_copy(record), target);
	MemoryContextSwitchTo(saved);
	return true;
}

/* Makes the record of the next step current.  False: there is none. */
static bool
next_step(Lookups *lookups)
{
	Steps	   *steps = &lookups->steps;
	const ApiTarget *target;
	ApiCall    *call;
	MemoryContext saved;

	/* at the end the record stays, for lookups_rewind() */
	if (steps->current == steps->last)
		return false;
	lookups->record = NULL;
	lookups->delivered = false;
	if (steps->current > 0)
		steps_free(steps, steps->current);
	MemoryContextReset(lookups->step_context);
	steps->current++;
	send_ahead(lookups, steps->current);
	target = current_target(lookups);
	if (steps_call(steps, steps->current) == NULL && take_recalled(lookups, target))
		return true;
	call = steps_finish(steps, steps->current);
	saved = MemoryContextSwitchTo(lookups->step_context);
	if (api_means_absent(steps->client, call))
		take_absence(lookups, call, target);
	else if (!is_skipped(lookups, call, target))
		take_answer(lookups, call, target);
	MemoryContextSwitchTo(saved);
	api_statistics(steps->client)->pages++;
	return true;
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL
 * at the end.  Raises the errors of failed requests.
 */
JsonRecord *
lookups_next(Lookups *lookups)
{
	while (lookups->record == NULL || lookups->delivered)
	{
		JsonRecord *record = next_instead(lookups);

		if (record)
			return record;
		if (!next_step(lookups))
			return NULL;
	}
	api_statistics(lookups->steps.client)->rows++;
	lookups->delivered = true;
	return lookups->record;
}

/*
 * Starts again with what is at hand, without a request.  False, and nothing
 * done, if that is not all that was delivered.
 */
bool
lookups_rewind(Lookups *lookups)
{
	if (lookups->steps.current > 1 || lookups->listed)
		return false;
	lookups->delivered = false;
	return true;
}

/*
 * The targets, as the lookups were given them, in whose containers nothing could be
 * read so far: a list of ApiTargets that belongs to the lookups.
 */
List *
lookups_skipped(const Lookups *lookups)
{
	return lookups->skipped;
}

/* Ends lookups and what they have under way. */
void
lookups_end(Lookups *lookups)
{
	if (lookups->instead)
		pages_end(lookups->instead);
	steps_restart(&lookups->steps);
	MemoryContextDelete(lookups->context);
}
