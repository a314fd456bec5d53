/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The queue of what is written to GitLab at commit.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "change/audit.h"
#include "change/container.h"
#include "change/queue.h"
#include "common/hashfn.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "http/memory.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

WriteQueue	write_queue = {
	.objects = DLIST_STATIC_INIT(write_queue.objects),
	.writes = DLIST_STATIC_INIT(write_queue.writes),
	.sent = DLIST_STATIC_INIT(write_queue.sent)
};

const WriteWords write_words[] = {
	[WRITE_CREATE] = {"created", "create", "POST", "DELETE"},
	[WRITE_CHANGE] = {"changed", "change", "PUT", "PUT"},
	[WRITE_DELETE] = {"deleted", "delete", "DELETE", "POST"},
};


/* ----------
 * Keeping the queue
 * ----------
 */

static void
wipe(char *text)
{
	if (text)
	{
		explicit_bzero(text, strlen(text));
		pfree(text);
	}
}

/* Frees what the queue's context does not. */
static void
free_write(QueuedWrite *write)
{
	if (write->call)
		api_call_free(write->call);
	record_free(write->fields);
	wipe(write->body);
	wipe(write->undo_body);
	wipe(write->old_value);
	connection_release(write->connection);
}

static void
free_object(QueuedObject *object)
{
	if (object->call)
		api_call_free(object->call);
	record_free(object->row);
	record_free(object->shown);
	record_free(object->found);
	record_free(object->others);
}

/* Forgets everything; what was sent and not answered is given up. */
void
queue_close(void)
{
	dlist_iter	iter;

	if (write_queue.context == NULL)
		return;
	dlist_foreach(iter, &write_queue.writes)
		free_write(write_of(iter.cur));
	dlist_foreach(iter, &write_queue.objects)
		free_object(object_of(iter.cur));
	dlist_init(&write_queue.writes);
	dlist_init(&write_queue.objects);
	dlist_init(&write_queue.sent);
	write_queue.families = NULL;
	write_queue.nobjects = 0;
	MemoryContextReset(write_queue.context);
	container_forget();
}

/* Asserts what the states of objects and writes say; for the callbacks. */
void
queue_assert(void)
{
#ifdef USE_ASSERT_CHECKING
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.writes)
	{
		QueuedWrite *write = write_of(iter.cur);

		Assert((write->state == WRITE_QUEUED) == (write->sent_link.next == NULL));
		Assert(write->state != WRITE_SENT || write->call);
		Assert(write->state != WRITE_QUEUED || write->call == NULL);
	}
	dlist_foreach(iter, &write_queue.objects)
	{
		QueuedObject *object = object_of(iter.cur);

		Assert((object->state == OBJECT_READING) == (object->call != NULL));
		Assert(!dlist_is_empty(&object->writes));
	}
#endif
}

#define BIT(state) (1 << (state))

/* Moves a write to another state, as the table in queue.h says. */
void
queue_set_write_state(QueuedWrite *write, WriteState next)
{
	static const int allowed[] = {
		[WRITE_QUEUED] = BIT(WRITE_SENT),
		[WRITE_SENT] = BIT(WRITE_DONE) | BIT(WRITE_DOUBTED) |
		BIT(WRITE_REFUSED) | BIT(WRITE_UNKNOWN),
		[WRITE_DONE] = 0,
		[WRITE_DOUBTED] = 0,
		[WRITE_REFUSED] = BIT(WRITE_SENT),
		[WRITE_UNKNOWN] = BIT(WRITE_SENT),
	};

	Assert(allowed[write->state] & BIT(next));
	(void) allowed;
	if (write->state == WRITE_QUEUED)
		dlist_push_tail(&write_queue.sent, &write->sent_link);
	write->state = next;
}

/* Moves an object to another state, as the table in queue.h says. */
void
queue_set_object_state(QueuedObject *object, ObjectState next)
{
	static const int allowed[] = {
		[OBJECT_UNREAD] = BIT(OBJECT_READING) | BIT(OBJECT_READ),
		[OBJECT_READING] = BIT(OBJECT_UNREAD) | BIT(OBJECT_READ),
		[OBJECT_READ] = BIT(OBJECT_REMOVED),
		[OBJECT_REMOVED] = 0,
	};

	Assert(allowed[object->state] & BIT(next));
	(void) allowed;
	object->state = next;
}

#undef BIT

/* Whatever is under way is not sent again, and what was not sent never is. */
void
queue_stop(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.writes)
		if (write_of(iter.cur)->call)
			api_last_attempt(write_of(iter.cur)->call);
	dlist_foreach(iter, &write_queue.objects)
		if (object_of(iter.cur)->call)
			api_last_attempt(object_of(iter.cur)->call);
}

bool
queue_is_empty(void)
{
	return dlist_is_empty(&write_queue.writes);
}

/* Forgets one write that was not sent, and its object if that was the last. */
static void
drop_write(QueuedWrite *write)
{
	QueuedObject *object = write->object;

	dlist_delete(&write->link);
	dlist_delete(&write->same_object);
	free_write(write);
	pfree(write->who);
	if (write->old_variant)
		pfree(write->old_variant);
	if (write->new_variant)
		pfree(write->new_variant);
	pfree(write);
	if (!dlist_is_empty(&object->writes))
		return;
	dlist_delete(&object->link);
	dlist_delete(&object->sibling);
	free_object(object);
	if (object->variant)
		pfree(object->variant);
	pfree(object->name);
	pfree(unconstify(char *, object->container));
	pfree(object);
}

/* Drops the writes of a subtransaction, or hands them to the one above. */
void
queue_end_subtransaction(int level, bool aborted)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &write_queue.writes)
	{
		QueuedWrite *write = write_of(iter.cur);

		if (write->level < level)
			continue;
		write->level = level - 1;
		if (!aborted)
			continue;
		drop_write(write);
	}
	if (dlist_is_empty(&write_queue.writes))
		queue_close();
}

/* A copy of a record that belongs to the caller.  Raises errors. */
JsonRecord *
queue_copy(JsonRecord *record)
{
	JsonRecord *copy = NULL;

	if (json_object_deep_copy(record, &copy, NULL) != 0)
		memory_report_exhausted();
	return copy;
}

/* GitLab shows no value of what is hidden. */
void
queue_hide_value(JsonRecord *record)
{
	JsonRecord *hidden;

	if (json_object_object_get_ex(record, "hidden", &hidden) &&
		json_object_get_boolean(hidden))
	{
		record_add(record, "value", NULL);
		record_add(record, "masked", record_checked(json_object_new_boolean(true)));
	}
}

/*
 * Puts the fields of one record over those of another.  The values are copied:
 * they are wiped with each of the records.
 */
void
queue_put_over(JsonRecord *record, JsonRecord *fields)
{
	struct json_object_iterator it = json_object_iter_begin(fields);
	struct json_object_iterator end = json_object_iter_end(fields);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
	{
		JsonRecord *value = json_object_iter_peek_value(&it);

		record_add(record, json_object_iter_peek_name(&it),
				   value ? queue_copy(value) : NULL);
	}
}

/* The variant that a record names; NULL if it names none. */
const char *
queue_named_variant(const Resource *resource, JsonRecord *record)
{
	return resource->variant ? record_text(record, resource->variant) : NULL;
}

/* The variant of a record: which of several objects with its key. */
const char *
queue_variant(const Resource *resource, JsonRecord *record)
{
	const char *variant = queue_named_variant(resource, record);

	/* what a server that knows no variants has is the usual one */
	return variant ? variant : "*";
}

static uint32
hash_siblings(const void *key, Size size)
{
	const SiblingsKey *k = key;

	(void) size;
	return hash_combine(string_hash(k->container, SIZE_MAX),
						string_hash(k->key, SIZE_MAX));
}

/* For a hash table: 0 if they are the same. */
static int
compare_siblings(const void *a, const void *b, Size size)
{
	const SiblingsKey *x = a;
	const SiblingsKey *y = b;

	(void) size;
	return x->instance != y->instance || x->resource != y->resource ||
		strcmp(x->container, y->container) != 0 || strcmp(x->key, y->key) != 0;
}

/*
 * The objects in the queue that have a record's container and key.  May ask GitLab
 * whether two names are of one container.
 */
Siblings *
queue_siblings(ApiClient *client, const Resource *resource, JsonRecord *record)
{
	SiblingsKey key = {.instance = api_connection(client)->instance,
		.resource = resource,
		.container = container_of(resource, record),
		.key = record_text(record, resource->key)
	};

	if (write_queue.families == NULL || key.container == NULL || key.key == NULL)
		return NULL;
	key.container = container_known_as(client, resource, key.container);
	return hash_search(write_queue.families, &key, HASH_FIND, NULL);
}

/*
 * The objects in the queue that have a record's container and key, in the queue's
 * context; makes a set without objects if there is none.
 */
static Siblings *
enter_siblings(ApiClient *client, const Resource *resource, JsonRecord *record)
{
	HASHCTL		ctl = {.keysize = sizeof(SiblingsKey), .entrysize = sizeof(Siblings),
		.hash = hash_siblings, .match = compare_siblings, .hcxt = write_queue.context
	};
	SiblingsKey key = {.instance = api_connection(client)->instance,
		.resource = resource
	};
	Siblings   *siblings = queue_siblings(client, resource, record);

	if (resource->containers[0])
		container_note(client, resource, container_of(resource, record));
	if (siblings)
		return siblings;
	if (write_queue.families == NULL)
		write_queue.families = hash_create("gitlab_pat_fdw families", 64, &ctl,
										   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
										   HASH_CONTEXT);
	key.container = pstrdup(container_known_as(client, resource,
											   container_of(resource, record)));
	key.key = pstrdup(record_text(record, resource->key));
	siblings = hash_search(write_queue.families, &key, HASH_ENTER, NULL);
	dlist_init(&siblings->objects);
	siblings->come_last = false;
	return siblings;
}

QueuedWrite *
queue_first_write(const QueuedObject *object)
{
	return own_write(object->writes.head.next);
}

QueuedWrite *
queue_last_write(const QueuedObject *object)
{
	return own_write(object->writes.head.prev);
}

/* Enters an object, not yet with a write.  In the queue's context. */
static QueuedObject *
make_object(const RemoteChange *change, const Resource *resource,
			JsonRecord *record, bool exists)
{
	QueuedObject *object = palloc0(sizeof(QueuedObject));
	const char *variant = queue_variant(resource, record);
	const char *suffix = "";

	resource_check_name(resource, resource->key,
						record_text(record, resource->key));
	/* this opens the connection, whose credential names are shown without */
	object->siblings = enter_siblings(change->client, resource, record);
	if (strcmp(variant, "*") != 0)
		suffix = psprintf(" (%s)", connection_shown_name(variant));
	object->resource = resource;
	object->container = pstrdup(container_of(resource, record));
	object->key = object->siblings->key.key;
	object->variant = exists ? pstrdup(variant) : NULL;
	object->name = psprintf("%s \"%s\"%s%s", resource->singular,
							connection_shown_name(object->key), suffix,
							resource->containers[0] ?
							psprintf(" of \"%s\"",
									 connection_shown_name(object->container)) :
							"");
	object->row = exists ? queue_copy(record) : NULL;
	dlist_init(&object->writes);
	return object;
}

/*
 * Enters a write, with copies of what it is given.  The queue is only changed
 * when nothing can fail any more.
 */
void
queue_enter(const RemoteChange *change, QueuedObject *object,
			JsonRecord *row, WriteKind kind, JsonRecord *fields,
			const char *body)
{
	const Resource *resource = change->settings->resource;
	QueuedWrite *write;
	bool		is_new = object == NULL;
	const char *moved = NULL;
	MemoryContext saved;

	if (write_queue.context == NULL)
		write_queue.context = AllocSetContextCreate(TopMemoryContext,
													"gitlab_pat_fdw queue",
													ALLOCSET_DEFAULT_SIZES);
	saved = MemoryContextSwitchTo(write_queue.context);
	if (is_new)
		object = make_object(change, resource, row, kind != WRITE_CREATE);
	write = palloc0(sizeof(QueuedWrite));
	write->object = object;
	write->kind = kind;
	write->level = GetCurrentTransactionNestLevel();
	write->cid = change->cid;
	write->userid = change->userid;
	write->who = audit_who(change->userid);
	write->body = body ? pstrdup(body) : NULL;
	if (kind != WRITE_CREATE)
		write->old_variant = pstrdup(is_new ? object->variant :
									 queue_last_write(object)->new_variant);
	if (kind != WRITE_DELETE)
	{
		moved = queue_named_variant(resource, fields);
		write->new_variant = pstrdup(moved ? moved :
									 kind == WRITE_CREATE ?
									 queue_variant(resource, fields) :
									 write->old_variant);
	}
	write->connection = api_connection(change->client);
	write->fields = fields ? queue_copy(fields) : NULL;
	(void) connection_retain(write->connection);
	MemoryContextSwitchTo(saved);

	if (is_new)
	{
		object->number = ++write_queue.nobjects;
		dlist_push_tail(&write_queue.objects, &object->link);
		dlist_push_tail(&object->siblings->objects, &object->sibling);
	}
	dlist_push_tail(&object->writes, &write->same_object);
	dlist_push_tail(&write_queue.writes, &write->link);
	api_statistics(change->client)->changes_pending++;
}

/*
 * A call about an object: its method, the variant that selects it (NULL: it is
 * the collection that is called), and a body.  NULL when memory is short.  Raises
 * no error: path was made before.
 */
ApiCall *
queue_call(const QueuedObject *object, Connection *connection, const char *method,
		   const char *path, const char *variant, const char *body)
{
	ApiCall    *call = api_call_create(connection, method, path, body);

	if (call == NULL)
		return NULL;
	call->resource = object->resource;
	if (variant && object->resource->variant)
		api_add_parameter(call, object->resource->variant_parameter,
						  variant);
	return call;
}
