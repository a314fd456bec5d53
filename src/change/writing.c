/*-------------------------------------------------------------------------
 *
 * writing.c
 *	  What the commit writes.
 *
 * The commit first reads all objects as they are, so that what can be known to
 * fail does so before anything was changed, and so that it is known what to put
 * back.  Then it writes, one after the other.  What could not be put back comes
 * last: a value that GitLab hides.  Before a write goes out, the request that
 * undoes it is made ready, for during a rollback nothing more can be made.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/queue.h"
#include "change/quiet.h"
#include "change/writing.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "http/engine.h"
#include "http/exchange.h"

/* Requests under way at a time, whatever the option "concurrency" says. */
#define MAX_CONCURRENCY 32

/* What a record has in those fields that another one has. */
static JsonRecord *
pick_fields(JsonRecord *record, JsonRecord *fields)
{
	JsonRecord *picked = resource_new_record();
	struct json_object_iterator it = json_object_iter_begin(fields);
	struct json_object_iterator end = json_object_iter_end(fields);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
	{
		const char *name = json_object_iter_peek_name(&it);
		JsonRecord *value;

		if (json_object_object_get_ex(record, name, &value))
			json_object_object_add(picked, name, json_object_get(value));
	}
	return picked;
}


/* ----------
 * Requests
 * ----------
 */

static ApiCall *
check_call(ApiCall *call)
{
	if (call == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return call;
}

static char *
object_path(const QueuedObject *object)
{
	return resource_path(object->resource, object->container, object->key);
}

static char *
collection_path(const QueuedObject *object)
{
	return resource_path(object->resource, object->container, NULL);
}

/*
 * Was the credential rotated since the call was made?  Then all that is queued
 * uses the new one from now on.
 */
static bool
renew_credential(ApiCall *call, Oid userid)
{
	Connection *stale = call->connection;
	Connection *current;
	dlist_iter	iter;

	if (call->exchange->failure != HTTP_ANSWERED ||
		call->exchange->status != 401)
		return false;
	current = api_reload(stale, userid);
	if (current == NULL)
		return false;
	dlist_foreach(iter, &writes)
	{
		QueuedWrite *write = write_of(iter.cur);

		if (write->connection != stale)
			continue;
		write->connection = connection_retain(current);
		connection_release(stale);
	}
	connection_release(current);
	return true;
}


/* ----------
 * Before the commit: reading
 * ----------
 */

/* Has the transaction itself removed what stands in the way of a creation? */
static bool
makes_room(const QueuedObject *created)
{
	const char *variant = first_write(created)->new_variant;
	dlist_iter	iter;

	dlist_foreach(iter, &created->siblings->objects)
	{
		QueuedObject *object = sibling_of(iter.cur);

		if (object->variant && strcmp(object->variant, variant) == 0)
			return true;
	}
	return false;
}

/* Starts reading an object; NULL if there is nothing to learn. */
static ApiCall *
start_reading(QueuedObject *object)
{
	QueuedWrite *first = first_write(object);
	const char *variant = object->variant ? object->variant :
		first->new_variant;

	if (object->variant == NULL && makes_room(object))
		return NULL;
	object->call = check_call(make_call(object, first->connection, "GET",
										object_path(object), variant, NULL));
	api_call_start(object->call);
	return object->call;
}

/* Learns from the answer; false if it was not the credential's last word. */
static bool
finish_reading(QueuedObject *object)
{
	ApiCall    *call = object->call;
	QueuedWrite *first = first_write(object);
	ApiOutcome	outcome = api_call_judge(call);
	const char *found;

	if (renew_credential(call, first->userid))
		return false;
	if (outcome == API_REFUSED && api_is_absent(call))
	{
		if (object->variant)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("could not %s %s on server \"%s\"",
							kinds[first->kind].infinitive, object->name,
							call->connection->server_name),
					 errdetail("It is not there any more."),
					 errhint("The transaction is rolled back; nothing has been changed.")));
	}
	else
	{
		api_check(call, psprintf("read %s", object->name));
		found = resource_text(call->record, object->resource->key);
		if (found == NULL || strcmp(found, object->key) != 0 ||
			strcmp(variant_of(object->resource, call->record),
				   object->variant ? object->variant : first->new_variant) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("could not read %s on server \"%s\"", object->name,
							call->connection->server_name),
					 errdetail("GitLab has answered with another one.")));
		if (object->variant == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s exists already on server \"%s\"", object->name,
							call->connection->server_name),
					 errhint("The transaction is rolled back; nothing has been changed.")));
		object->state = copy_record(call->record);
	}
	object->read = true;
	object->call = NULL;
	api_call_free(call);
	return true;
}

/* Reads the objects over one connection that have not been read. */
static void
read_over(Connection *connection)
{
	ApiCall    *calls[MAX_CONCURRENCY];
	QueuedObject *readers[MAX_CONCURRENCY];
	int			limit = Min(connection->concurrency, MAX_CONCURRENCY);
	int			n = 0;
	dlist_node *next = objects.head.next;

	for (;;)
	{
		int			i;

		while (n < limit && next != &objects.head)
		{
			QueuedObject *object = object_of(next);

			next = next->next;
			if (object->read || object->call ||
				first_write(object)->connection != connection)
				continue;
			calls[n] = start_reading(object);
			if (calls[n] == NULL)
				object->read = true;
			else
				readers[n++] = object;
		}
		if (n == 0)
			return;
		i = api_wait(calls, n);
		if (!finish_reading(readers[i]))
		{
			/* all of them again, with the new credential */
			for (i = 0; i < n; i++)
			{
				api_call_free(calls[i]);
				readers[i]->call = NULL;
			}
			return;
		}
		n--;
		calls[i] = calls[n];
		readers[i] = readers[n];
	}
}

static void
read_objects(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &objects)
	{
		QueuedObject *object = object_of(iter.cur);

		while (!object->read)
			read_over(first_write(object)->connection);
	}
}


/* ----------
 * Before the commit: writing
 * ----------
 */

static bool
is_hidden(JsonRecord *state)
{
	JsonRecord *hidden;
	JsonRecord *value;

	return state &&
		((json_object_object_get_ex(state, "hidden", &hidden) &&
		  json_object_get_boolean(hidden)) ||
		 !json_object_object_get_ex(state, "value", &value) || value == NULL);
}

/* Would a rollback lack what it needs to undo a write to this object? */
static bool
loses_value(const QueuedObject *object, const QueuedWrite *write)
{
	JsonRecord *value;

	/* what the transaction itself has made is deleted again */
	return object->variant && is_hidden(object->state) &&
		(write->kind == WRITE_DELETE ||
		 (write->kind == WRITE_CHANGE &&
		  json_object_object_get_ex(write->fields, "value", &value)));
}

/*
 * Marks whose writes must come last: all that are about the same key, for they
 * may depend on each other.  To be done before anything is written, as that
 * changes what is known to be hidden.
 */
static void
mark_last(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &writes)
	{
		QueuedWrite *write = write_of(iter.cur);

		if (loses_value(write->object, write))
			write->object->siblings->come_last = true;
	}
}

/* Makes ready what undoes a write, while that can still raise errors. */
static void
prepare_undo(QueuedWrite *write)
{
	QueuedObject *object = write->object;
	MemoryContext saved = MemoryContextSwitchTo(context);
	const char *old_value = resource_text(object->state, "value");

	write->old_value = old_value ? pstrdup(old_value) : NULL;
	write->obstacle = loses_value(object, write) ?
		"GitLab hides its old value." : NULL;
	write->undo_path = write->kind == WRITE_DELETE ? collection_path(object) :
		object_path(object);
	switch (write->kind)
	{
		case WRITE_CREATE:
			break;
		case WRITE_CHANGE:
			write->undo_body = resource_json(pick_fields(object->state,
														 write->fields));
			break;
		case WRITE_DELETE:
			if (write->obstacle == NULL)
				write->undo_body = resource_body(object->resource,
												 object->state, NULL, 0);
			break;
	}
	MemoryContextSwitchTo(saved);
}

/* Is a write done, by this answer? */
static bool
is_done(const QueuedWrite *write, ApiCall *call)
{
	return api_call_judge(call) == API_SUCCEEDED ||
		(write->kind == WRITE_DELETE && call->outcome == API_REFUSED &&
		 api_is_absent(call));
}

static void
log_write(const QueuedWrite *write)
{
	Announcement a = {{0}, {0}, {0}};

	if (!quiet_log_changes)
		return;
	SAY(message, "%s %s on server \"%s\" by role \"%s\"", write->object->name,
		kinds[write->kind].participle, write->connection->server_name,
		write->role);
	quiet_announce(api_log_level(), &a);
}

/* Learns from the answer to a write what came of it. */
static void
learn_outcome(QueuedWrite *write)
{
	ApiCall    *call = write->call;
	bool		done = is_done(write, call);

	write->in_doubt = write->in_doubt || call->in_doubt;
	if (done)
	{
		write->state = WRITE_DONE;
		log_write(write);
	}
	else if (api_came_to_nothing(call) && !write->in_doubt)
		write->state = WRITE_REFUSED;
}

/* What GitLab has now that a write is done. */
static void
advance_state(QueuedWrite *write)
{
	QueuedObject *object = write->object;

	if (write->kind == WRITE_CHANGE)
		put_over(object->state, write->fields);
	else
	{
		resource_free_record(object->state);
		object->state = write->kind == WRITE_CREATE ?
			copy_record(write->fields) : NULL;
	}
}

pg_noreturn static void
report_unwritten(QueuedWrite *write, ApiCall *call)
{
	const char *action = psprintf("%s %s", kinds[write->kind].infinitive,
								  write->object->name);

	api_check(call, action);
	pg_unreachable();
}

/*
 * Is the answer about the object that was asked for?  GitLab strips blanks from
 * keys.  Of groups without the paid tier it drops the variant silently, and it
 * takes another one of a group's where there is none any more.
 */
static void
check_identity(QueuedWrite *write)
{
	const QueuedObject *object = write->object;
	const Resource *resource = object->resource;
	JsonRecord *record = write->call->record;
	const char *key = resource_text(record, resource->key);
	const char *variant = resource_text(record, resource->variant);
	bool		same_key;
	bool		same_variant;
	MemoryContext saved;

	/* what a server does not tell is not wrong */
	same_key = key == NULL || strcmp(key, object->key) == 0;
	same_variant = variant == NULL || write->new_variant == NULL ||
		strcmp(variant, write->new_variant) == 0;
	if (same_key && same_variant)
		return;
	saved = MemoryContextSwitchTo(context);
	if (write->kind == WRITE_CREATE)
	{
		write->undo_path = resource_path(resource, object->container,
										 same_key ? object->key : key);
		if (!same_variant)
			write->new_variant = pstrdup(variant);
	}
	else
		write->obstacle = "GitLab has changed another one in its place.";
	MemoryContextSwitchTo(saved);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("could not %s %s on server \"%s\"",
					kinds[write->kind].infinitive, object->name,
					write->connection->server_name),
			 same_variant ?
			 errdetail("GitLab has %s it with the %s \"%s\" instead.",
					   kinds[write->kind].participle, resource->key,
					   server_text(key)) :
			 errdetail("GitLab has %s it with the %s \"%s\" instead.",
					   kinds[write->kind].participle, resource->variant,
					   server_text(variant)),
			 !same_variant && resource->variant_hint ?
			 errhint("%s", resource->variant_hint) : 0));
}

/* GitLab may quote the values that a write is about; messages must not. */
void
protect_values(ApiCall *call, const QueuedWrite *write)
{
	api_call_protect(call, resource_text(write->fields, "value"));
	api_call_protect(call, write->old_value);
}

static void
start_write(QueuedWrite *write)
{
	QueuedObject *object = write->object;
	ApiCall    *call;

	call = check_call(make_call(object, write->connection,
								kinds[write->kind].method,
								write->kind == WRITE_CREATE ?
								collection_path(object) : object_path(object),
								write->old_variant, write->body));
	write->call = call;
	protect_values(call, write);
	write->state = WRITE_SENT;
	api_call_start(call);
}

static bool
is_same_variant(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Is one of a write's variants one that another write is about, too? */
static bool
touches(const QueuedWrite *write, const QueuedWrite *other)
{
	return is_same_variant(write->old_variant, other->old_variant) ||
		is_same_variant(write->old_variant, other->new_variant) ||
		is_same_variant(write->new_variant, other->old_variant) ||
		is_same_variant(write->new_variant, other->new_variant);
}

/* May an attempt of another write yet change what this one makes of it? */
bool
may_be_overtaken(QueuedWrite *write)
{
	dlist_iter	outer;

	dlist_foreach(outer, &write->object->siblings->objects)
	{
		dlist_iter	inner;

		dlist_foreach(inner, &sibling_of(outer.cur)->writes)
		{
			QueuedWrite *other = own_write(inner.cur);

			if (other != write && other->in_doubt && touches(write, other))
				return true;
		}
	}
	return false;
}

/* Carries out one write; an error if that can't be done. */
static void
carry_out(QueuedWrite *write)
{
	if (may_be_overtaken(write))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not %s %s on server \"%s\"",
						kinds[write->kind].infinitive, write->object->name,
						write->connection->server_name),
				 errdetail("GitLab has not answered all requests to change it before, and may still carry one out."),
				 errhint("The transaction is rolled back; run it again in a while.")));
	prepare_undo(write);
	dlist_push_tail(&sent, &write->sent_link);
	for (;;)
	{
		start_write(write);
		api_wait(&write->call, 1);
		learn_outcome(write);
		if (write->state == WRITE_DONE)
			break;
		if (!renew_credential(write->call, write->userid))
			report_unwritten(write, write->call);
		api_call_free(write->call);
		write->call = NULL;
	}
	check_identity(write);
	advance_state(write);
	api_call_free(write->call);
	write->call = NULL;
}

/* Carries out all that is queued.  Raises errors. */
void
queue_write(void)
{
	dlist_iter	iter;

	read_objects();
	mark_last();
	for (int last = 0; last <= 1; last++)
		dlist_foreach(iter, &writes)
			if (write_of(iter.cur)->object->siblings->come_last == (last == 1))
				carry_out(write_of(iter.cur));
}

/* Waits for the answer to a write that the transaction did not wait for. */
void
finish_write(QueuedWrite *write, Patience *patience)
{
	if (write->state != WRITE_SENT || write->call == NULL)
		return;
	http_last_attempt(write->call->exchange);
	if (quiet_wait(write->call, patience))
		learn_outcome(write);
}
