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
#include "change/queue.h"
#include "change/variables.h"
#include "common/hashfn.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "http/request.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The queue of the current transaction. */
MemoryContext context = NULL;	/* holds all of the following */
dlist_head	objects = DLIST_STATIC_INIT(objects);
dlist_head	writes = DLIST_STATIC_INIT(writes);
dlist_head	sent = DLIST_STATIC_INIT(sent);
static HTAB *families = NULL;	/* of Siblings */
static int	nobjects = 0;		/* ever entered, for their numbers */

const WriteWords kinds[] = {
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
	resource_free_record(write->fields);
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
	resource_free_record(object->row);
	resource_free_record(object->shown);
	resource_free_record(object->state);
}

/* Forgets everything; what was sent and not answered is given up. */
void
queue_close(void)
{
	dlist_iter	iter;

	if (context == NULL)
		return;
	dlist_foreach(iter, &writes)
		free_write(write_of(iter.cur));
	dlist_foreach(iter, &objects)
		free_object(object_of(iter.cur));
	dlist_init(&writes);
	dlist_init(&objects);
	dlist_init(&sent);
	families = NULL;
	nobjects = 0;
	MemoryContextReset(context);
}

bool
queue_is_empty(void)
{
	return dlist_is_empty(&writes);
}

/* Forgets one write that was not sent, and its object if that was the last. */
static void
drop_write(QueuedWrite *write)
{
	QueuedObject *object = write->object;

	dlist_delete(&write->link);
	dlist_delete(&write->same_object);
	free_write(write);
	pfree(write->role);
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
	pfree(object);
}

/* Drops the writes of a subtransaction, or hands them to the one above. */
void
queue_end_subtransaction(int level, bool aborted)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &writes)
	{
		QueuedWrite *write = write_of(iter.cur);

		if (write->level < level)
			continue;
		write->level = level - 1;
		if (!aborted)
			continue;
		drop_write(write);
	}
	if (dlist_is_empty(&writes))
		queue_close();
}

/* A copy of a record that belongs to the caller.  Raises errors. */
JsonRecord *
copy_record(JsonRecord *record)
{
	JsonRecord *copy = NULL;

	if (json_object_deep_copy(record, &copy, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return copy;
}

/* GitLab shows no value of what is hidden. */
void
hide_value(JsonRecord *record)
{
	JsonRecord *hidden;

	if (json_object_object_get_ex(record, "hidden", &hidden) &&
		json_object_get_boolean(hidden))
	{
		json_object_object_add(record, "value", NULL);
		json_object_object_add(record, "masked", json_object_new_boolean(true));
	}
}

/*
 * Puts the fields of one record over those of another.  The values are copied:
 * they are wiped with each of the records.
 */
void
put_over(JsonRecord *record, JsonRecord *fields)
{
	struct json_object_iterator it = json_object_iter_begin(fields);
	struct json_object_iterator end = json_object_iter_end(fields);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
	{
		JsonRecord *value = json_object_iter_peek_value(&it);

		json_object_object_add(record, json_object_iter_peek_name(&it),
							   value ? copy_record(value) : NULL);
	}
}

/* The variant of a record: which of several objects with its key. */
const char *
variant_of(const Resource *resource, JsonRecord *record)
{
	const char *variant = resource_text(record, resource->variant);

	/* what a server that knows no variants has is the usual one */
	if (variant == NULL)
		variant = "*";
	return variant;
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
	return x->serverid != y->serverid || x->resource != y->resource ||
		strcmp(x->container, y->container) != 0 || strcmp(x->key, y->key) != 0;
}

/* The objects in the queue that have a record's container and key. */
Siblings *
find_siblings(Oid serverid, const Resource *resource, JsonRecord *record)
{
	SiblingsKey key = {.serverid = serverid, .resource = resource,
		.container = resource_text(record, resource->container),
		.key = resource_text(record, resource->key)
	};

	if (families == NULL || key.container == NULL || key.key == NULL)
		return NULL;
	return hash_search(families, &key, HASH_FIND, NULL);
}

/* The same; makes them if there are none.  In the queue's context. */
static Siblings *
enter_siblings(Oid serverid, const Resource *resource, JsonRecord *record)
{
	HASHCTL		ctl = {.keysize = sizeof(SiblingsKey), .entrysize = sizeof(Siblings),
		.hash = hash_siblings, .match = compare_siblings, .hcxt = context
	};
	SiblingsKey key = {.serverid = serverid, .resource = resource};
	Siblings   *siblings = find_siblings(serverid, resource, record);

	if (siblings)
		return siblings;
	if (families == NULL)
		families = hash_create("gitlab_pat_fdw families", 64, &ctl,
							   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
							   HASH_CONTEXT);
	key.container = pstrdup(resource_text(record, resource->container));
	key.key = pstrdup(resource_text(record, resource->key));
	siblings = hash_search(families, &key, HASH_ENTER, NULL);
	dlist_init(&siblings->objects);
	siblings->come_last = false;
	return siblings;
}

QueuedWrite *
last_write(QueuedObject *object)
{
	return own_write(dlist_tail_node(&object->writes));
}

char *
server_text(const char *utf8)
{
	return pg_any_to_server(utf8, strlen(utf8), PG_UTF8);
}

/* Enters an object, not yet with a write.  In the queue's context. */
static QueuedObject *
make_object(const RemoteChange *change, const Resource *resource,
			JsonRecord *record, bool exists)
{
	QueuedObject *object = palloc0(sizeof(QueuedObject));
	const char *variant = variant_of(resource, record);
	char	   *suffix = strcmp(variant, "*") == 0 ? "" :
		psprintf(" (%s)", server_text(variant));

	object->siblings = enter_siblings(api_connection(change->client)->serverid,
									  resource, record);
	object->serverid = object->siblings->key.serverid;
	object->resource = resource;
	object->container = object->siblings->key.container;
	object->key = object->siblings->key.key;
	object->variant = exists ? pstrdup(variant) : NULL;
	object->name = psprintf("%s \"%s\"%s of \"%s\"", resource->singular,
							server_text(object->key), suffix,
							server_text(object->container));
	object->row = exists ? copy_record(record) : NULL;
	dlist_init(&object->writes);
	return object;
}

/*
 * Enters a write, with copies of what it is given.  The queue is only changed
 * when nothing can fail any more.
 */
void
enter_write(const RemoteChange *change, const Resource *resource,
			QueuedObject *object, JsonRecord *row, WriteKind kind,
			JsonRecord *fields, const char *body)
{
	char	   *role = GetUserNameFromId(change->userid, true);
	QueuedWrite *write;
	bool		is_new = object == NULL;
	const char *moved = NULL;
	MemoryContext saved;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
										"gitlab_pat_fdw queue",
										ALLOCSET_DEFAULT_SIZES);
	saved = MemoryContextSwitchTo(context);
	if (is_new)
		object = make_object(change, resource, row, kind != WRITE_CREATE);
	write = palloc0(sizeof(QueuedWrite));
	write->object = object;
	write->kind = kind;
	write->level = GetCurrentTransactionNestLevel();
	write->cid = change->cid;
	write->userid = change->userid;
	write->role = pstrdup(role ? role : "?");
	write->body = body ? pstrdup(body) : NULL;
	if (kind != WRITE_CREATE)
		write->old_variant = pstrdup(is_new ? object->variant :
									 final_variant(object));
	if (kind != WRITE_DELETE)
	{
		moved = resource_text(fields, resource->variant);
		write->new_variant = pstrdup(moved ? moved : write->old_variant);
	}
	write->connection = api_connection(change->client);
	write->fields = fields ? copy_record(fields) : NULL;
	(void) connection_retain(write->connection);
	MemoryContextSwitchTo(saved);

	if (is_new)
	{
		object->number = ++nobjects;
		dlist_push_tail(&objects, &object->link);
		dlist_push_tail(&object->siblings->objects, &object->sibling);
	}
	dlist_push_tail(&object->writes, &write->same_object);
	dlist_push_tail(&writes, &write->link);
}


/* ----------
 * Requests
 * ----------
 */

/*
 * A call about an object: its method, the variant that selects it (NULL: it is
 * the collection that is called), and a body.  NULL when memory is short.  Raises
 * no error: path was made before.
 */
ApiCall *
make_call(QueuedObject *object, Connection *connection, const char *method,
		  const char *path, const char *variant, const char *body)
{
	ApiCall    *call = api_call_create(connection, method, path, body);

	if (call == NULL)
		return NULL;
	call->resource = object->resource;
	if (variant)
		http_add_parameter(call->exchange, object->resource->variant_parameter,
						   variant);
	return call;
}

QueuedWrite *
first_write(const QueuedObject *object)
{
	return own_write(object->writes.head.next);
}
