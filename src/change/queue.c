/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  What is written to GitLab at commit: CI/CD variables.
 *
 * The queue has two sides: objects, each with its own writes, for scans to look
 * at; and all writes in the order in which they were issued, for the commit.
 * Objects are found by their siblings, those with the same key.
 *
 * The commit first reads all objects as they are, so that what can be known to
 * fail does so before anything was changed, and so that it is known what to put
 * back.  Then it writes, one after the other.  What could not be put back comes
 * last: a value that GitLab hides.  Before a write goes out, the request that
 * undoes it is made ready, for during a rollback nothing more can be made.
 *
 * An attempt to write that was sent and not answered may still take effect, even
 * after it was repeated and undone.  So after a rollback that had to undo such a
 * write, it is not known what a variable holds.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "http/engine.h"
#include "http/exchange.h"
#include "http/request.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "change/queue.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Requests under way at a time, whatever the option "concurrency" says. */
#define MAX_CONCURRENCY 32

typedef enum WriteKind
{
	WRITE_CREATE,
	WRITE_CHANGE,
	WRITE_DELETE
} WriteKind;

typedef enum WriteState
{
	WRITE_QUEUED,
	WRITE_SENT,					/* and not answered, or not so that it is
								 * known what came of it */
	WRITE_DONE,
	WRITE_REFUSED				/* nothing came of it */
} WriteState;

/* What all objects with one key in one container share.  In UTF-8. */
typedef struct SiblingsKey
{
	Oid			serverid;
	const Resource *resource;
	const char *container;
	const char *key;
} SiblingsKey;

/* They may stand in each other's way, or be taken for each other. */
typedef struct Siblings
{
	SiblingsKey key;
	dlist_head	objects;		/* that the transaction changes */
	bool		come_last;		/* so must the writes to each of them */
} Siblings;

/* One object that the transaction changes.  Texts are in UTF-8. */
typedef struct QueuedObject
{
	dlist_node	link;			/* in objects */
	dlist_node	sibling;		/* in its siblings' */
	int			number;
	Siblings   *siblings;
	Oid			serverid;		/* as its siblings' */
	const Resource *resource;
	const char *container;
	const char *key;
	char	   *variant;		/* in GitLab; NULL: made by the transaction */
	char	   *name;			/* for messages, in the database's encoding */
	JsonRecord *row;			/* what the first statement saw, or NULL */
	JsonRecord *shown;			/* what a scan was given last, or NULL */
	dlist_head	writes;

	/* during the commit */
	bool		read;
	ApiCall    *call;			/* that reads it, or NULL */
	JsonRecord *state;			/* in GitLab; NULL: it is not there */
	bool		removed;		/* a rollback has seen to its deletion */
} QueuedObject;

typedef struct QueuedWrite
{
	dlist_node	link;			/* in writes, in the order of entering */
	dlist_node	same_object;	/* in its object's */
	dlist_node	sent_link;		/* in sent, in the order of sending */
	QueuedObject *object;
	WriteKind	kind;
	int			level;			/* nest level of the owing transaction */
	CommandId	cid;
	Connection *connection;		/* one reference */
	Oid			userid;
	char	   *role;
	char	   *old_variant;	/* before the write; NULL: creates */
	char	   *new_variant;	/* after it; NULL: deletes */
	JsonRecord *fields;			/* what it makes, or changes; or NULL */
	char	   *body;			/* of its request, or NULL */

	/* during the commit */
	WriteState	state;
	ApiCall    *call;			/* that was sent, until it is known to be done */
	bool		in_doubt;		/* an attempt to carry it out, or to undo it,
								 * may still take effect, whatever came of
								 * others */
	const char *obstacle;		/* why it can't be undone, or NULL */
	char	   *undo_path;
	char	   *undo_body;		/* or NULL */
	char	   *old_value;		/* not to be told; or NULL */
} QueuedWrite;

/* The queue of the current transaction. */
static MemoryContext context = NULL;	/* holds all of the following */
static dlist_head objects = DLIST_STATIC_INIT(objects);
static dlist_head writes = DLIST_STATIC_INIT(writes);
static dlist_head sent = DLIST_STATIC_INIT(sent);
static HTAB *families = NULL;	/* of Siblings */
static int	nobjects = 0;		/* ever entered, for their numbers */

#define object_of(node) dlist_container(QueuedObject, link, node)
#define sibling_of(node) dlist_container(QueuedObject, sibling, node)
#define write_of(node) dlist_container(QueuedWrite, link, node)
#define own_write(node) dlist_container(QueuedWrite, same_object, node)
#define sent_write(node) dlist_container(QueuedWrite, sent_link, node)

/* What a write does, in words and in HTTP. */
static const struct
{
	const char *participle;
	const char *infinitive;
	const char *method;
	const char *undo_method;
}			kinds[] = {
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
static JsonRecord *
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
static void
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
static void
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

/* The variant of a record: which of several objects with its key. */
static const char *
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
static Siblings *
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

static QueuedWrite *
last_write(QueuedObject *object)
{
	return own_write(dlist_tail_node(&object->writes));
}

/* The variant that an object has when all of its writes are done, or NULL. */
static const char *
final_variant(QueuedObject *object)
{
	return last_write(object)->new_variant;
}

/*
 * Can a command or a scan with this command id see a write?  Not its own, nor
 * what is done within it, by a trigger.
 */
static bool
is_visible(const QueuedWrite *write, CommandId curcid)
{
	return write->cid < curcid;
}

/* The variant in which a command sees an object; NULL: it does not. */
static const char *
seen_variant(QueuedObject *object, CommandId curcid)
{
	const char *variant = object->variant;
	dlist_iter	iter;

	dlist_foreach(iter, &object->writes)
	{
		QueuedWrite *write = own_write(iter.cur);

		if (!is_visible(write, curcid))
			break;
		variant = write->new_variant;
	}
	return variant;
}

/* The object that has a record's identity in the end, or NULL. */
static QueuedObject *
find_final(const RemoteChange *change, const Resource *resource,
		   JsonRecord *record)
{
	Siblings   *siblings = find_siblings(api_connection(change->client)->serverid,
										 resource, record);
	dlist_iter	iter;

	if (siblings)
		dlist_foreach(iter, &siblings->objects)
		{
			QueuedObject *object = sibling_of(iter.cur);
			const char *variant = final_variant(object);

			if (variant && strcmp(variant, variant_of(resource, record)) == 0)
				return object;
		}
	return NULL;
}

/* The object whose row a command has seen, or NULL. */
static QueuedObject *
find_seen(const RemoteChange *change, const Resource *resource, JsonRecord *row)
{
	Siblings   *siblings = find_siblings(api_connection(change->client)->serverid,
										 resource, row);
	dlist_iter	iter;

	if (siblings)
		dlist_foreach(iter, &siblings->objects)
		{
			QueuedObject *object = sibling_of(iter.cur);
			const char *variant = seen_variant(object, change->cid);

			if (variant && strcmp(variant, variant_of(resource, row)) == 0)
				return object;
		}
	return NULL;
}

static char *
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
static void
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
 * Entering what statements do
 * ----------
 */

/* Raises an error if the transaction itself has made such an object. */
static void
check_unique(const RemoteChange *change, const Resource *resource,
			 JsonRecord *record)
{
	QueuedObject *twin = find_final(change, resource, record);

	if (twin)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s exists already", twin->name)));
}

/*
 * Queues a creation.  Returns how the object will look, a record that goes with
 * the current memory context.
 */
JsonRecord *
queue_insert(const RemoteChange *change, const Resource *resource,
			 const ResourceValue *values, int nvalues)
{
	JsonRecord *draft = resource_draft(resource, values, nvalues);
	JsonRecord *shown = resource_draft(resource, values, nvalues);

	check_unique(change, resource, draft);
	enter_write(change, resource, NULL, draft, WRITE_CREATE, draft,
				resource_body(resource, NULL, values, nvalues));
	hide_value(shown);
	return shown;
}

/*
 * Was this object (NULL: none yet) changed by the same command?  Then its row was
 * met twice.  An error if something that the command has fired did so.
 */
static bool
was_met(const RemoteChange *change, QueuedObject *object)
{
	if (object == NULL || is_visible(last_write(object), change->cid))
		return false;
	if (last_write(object)->cid > change->cid)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("%s was already changed by an operation triggered by the current command",
						object->name),
				 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
	return true;
}

/*
 * Queues a change of an object.  row is the record of what the statement saw of
 * it, at least its identity; values are what it sets.  False if the same command
 * has met the row before.
 */
bool
queue_update(const RemoteChange *change, const Resource *resource,
			 JsonRecord *row, const ResourceValue *values, int nvalues)
{
	QueuedObject *object = find_seen(change, resource, row);
	JsonRecord *fields = resource_new_record();
	const char *moved;

	if (was_met(change, object))
		return false;
	for (int i = 0; i < nvalues; i++)
		resource_set(fields, &values[i]);
	moved = resource_text(fields, resource->variant);
	if (moved && strcmp(moved, variant_of(resource, row)) != 0)
	{
		JsonRecord *there = resource_new_record();

		put_over(there, row);
		put_over(there, fields);
		check_unique(change, resource, there);
	}
	enter_write(change, resource, object, row, WRITE_CHANGE, fields,
				resource_json(fields));
	return true;
}

/* Queues the deletion of an object; otherwise as queue_update(). */
bool
queue_delete(const RemoteChange *change, const Resource *resource,
			 JsonRecord *row)
{
	QueuedObject *object = find_seen(change, resource, row);

	if (was_met(change, object))
		return false;
	enter_write(change, resource, object, row, WRITE_DELETE, NULL, NULL);
	return true;
}


/* ----------
 * What scans see
 * ----------
 */

/* Has any write been done to an object for a scan to see? */
static bool
has_visible_write(QueuedObject *object, CommandId curcid)
{
	return is_visible(own_write(dlist_head_node(&object->writes)), curcid);
}

/*
 * How a scan sees an object that GitLab has shown as base (NULL: it has not).
 * NULL if it is not there.  The record belongs to the object.
 */
static JsonRecord *
show_object(QueuedObject *object, JsonRecord *base, CommandId curcid)
{
	bool		there = object->variant != NULL;
	dlist_iter	iter;

	resource_free_record(object->shown);
	object->shown = NULL;
	if (base == NULL)
		base = object->row;
	object->shown = base ? copy_record(base) : json_object_new_object();
	dlist_foreach(iter, &object->writes)
	{
		QueuedWrite *write = own_write(iter.cur);

		if (!is_visible(write, curcid))
			break;
		there = write->kind != WRITE_DELETE;
		if (there)
			put_over(object->shown, write->fields);
	}
	hide_value(object->shown);
	return there ? object->shown : NULL;
}

static bool
concerns(const QueueView *view, const QueuedObject *object)
{
	return object->serverid == view->serverid &&
		object->resource == view->resource;
}

/* Does anything of the resource read otherwise than GitLab shows it? */
bool
queue_differs(const QueueView *view)
{
	dlist_iter	iter;

	dlist_foreach(iter, &objects)
		if (concerns(view, object_of(iter.cur)))
			return true;
	return false;
}

/* A record that GitLab has shown, as the scan sees it; NULL if it does not. */
JsonRecord *
queue_view_record(QueueView *view, JsonRecord *record)
{
	const char *variant = variant_of(view->resource, record);
	Siblings   *siblings = find_siblings(view->serverid, view->resource, record);
	dlist_iter	iter;

	if (siblings == NULL)
		return record;
	dlist_foreach(iter, &siblings->objects)
	{
		QueuedObject *object = sibling_of(iter.cur);
		MemoryContext saved;

		if (object->variant == NULL || strcmp(object->variant, variant) != 0 ||
			!has_visible_write(object, view->curcid))
			continue;
		/* the executor's current one goes with the row */
		saved = MemoryContextSwitchTo(view->context);
		view->met = bms_add_member(view->met, object->number);
		MemoryContextSwitchTo(saved);
		return show_object(object, record, view->curcid);
	}
	return record;
}

/* The next object that the scan sees and GitLab has not shown, or NULL. */
JsonRecord *
queue_view_rest(QueueView *view)
{
	dlist_iter	iter;

	dlist_foreach(iter, &objects)
	{
		QueuedObject *object = object_of(iter.cur);
		JsonRecord *record;

		if (object->number <= view->rest || !concerns(view, object))
			continue;
		view->rest = object->number;
		if (bms_is_member(object->number, view->met) ||
			!has_visible_write(object, view->curcid))
			continue;
		record = show_object(object, NULL, view->curcid);
		if (record)
			return record;
	}
	return NULL;
}

/* The scan starts again. */
void
queue_view_rewind(QueueView *view)
{
	bms_free(view->met);
	view->met = NULL;
	view->rest = 0;
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
static ApiCall *
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

static QueuedWrite *
first_write(const QueuedObject *object)
{
	return own_write(object->writes.head.next);
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
static void
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
static bool
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

/*
 * The name of an object that will have a value with this hash, by
 * resource_text_hash(); NULL if there is none.
 */
const char *
queue_find_value(uint64 hash)
{
	dlist_iter	iter;

	dlist_foreach(iter, &objects)
	{
		QueuedObject *object = object_of(iter.cur);
		uint64		found = 0;

		if (final_variant(object) == NULL)
			continue;
		for (dlist_node *node = object->writes.head.prev;
			 found == 0 && node != &object->writes.head; node = node->prev)
			found = resource_text_hash(own_write(node)->fields, "value");
		if (found == hash)
			return object->name;
	}
	return NULL;
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


/* ----------
 * At the end.  Raises nothing above WARNING.
 * ----------
 */

/* Was a write sent, and may it have changed something? */
static bool
may_be_done(const QueuedWrite *write)
{
	return write->state == WRITE_SENT || write->state == WRITE_DONE;
}

/* The same of any. */
bool
queue_was_written(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sent)
		if (may_be_done(sent_write(iter.cur)))
			return true;
	return false;
}

/* Waits for the answer to a write that the transaction did not wait for. */
static void
finish_write(QueuedWrite *write, Patience *patience)
{
	if (write->state != WRITE_SENT || write->call == NULL)
		return;
	http_last_attempt(write->call->exchange);
	if (quiet_wait(write->call, patience))
		learn_outcome(write);
}

/*
 * Is what a write was undone to sure to stay?  Not if an attempt of it, or of one
 * that came after it, was never answered, and so may still be carried out.
 */
static bool
is_settled(QueuedWrite *write)
{
	return write->state == WRITE_DONE && !write->in_doubt &&
		!may_be_overtaken(write);
}

static void
warn_unsettled(const QueuedWrite *write)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message, "%s may not stay as it was on server \"%s\"",
		write->object->name, write->connection->server_name);
	SAY(detail, "The transaction that may have %s it was rolled back. GitLab has not answered all requests to do so, and may still carry one out.",
		kinds[write->kind].participle);
	SAY(hint, "Look at it in a while, and set it right.");
	quiet_announce(WARNING, &a);
}

static void
warn_left(const QueuedWrite *write, const char *why)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message, "could not put %s back as it was on server \"%s\"",
		write->object->name, write->connection->server_name);
	SAY(detail, "The transaction that %s it was rolled back. %s",
		write->state == WRITE_DONE ?
		(write->kind == WRITE_CREATE ? "created" :
		 write->kind == WRITE_CHANGE ? "changed" : "deleted") :
		"may have changed", why);
	SAY(hint, "Look at it, and set it right.");
	quiet_announce(WARNING, &a);
}

/*
 * Sends the request that undoes a write to a variant.  NULL, with a warning, if
 * there is no answer to it.
 */
static ApiCall *
send_undo(const QueuedWrite *write, const char *method, const char *variant,
		  const char *body, Patience *patience)
{
	ApiCall    *call = make_call(write->object, write->connection, method,
								 write->undo_path, variant, body);

	if (call == NULL)
	{
		warn_left(write, "Out of memory.");
		return NULL;
	}
	protect_values(call, write);
	api_call_start(call);
	if (quiet_wait(call, patience))
		return call;
	api_call_free(call);
	warn_left(write, "There was no time left to wait for GitLab.");
	return NULL;
}

/* The same of a request to undo a write that has failed. */
static void
warn_failed(const QueuedWrite *write, ApiCall *call)
{
	char		description[API_DESCRIPTION_SIZE];

	api_describe(call, description, sizeof(description));
	warn_left(write, description);
}

/*
 * Does a record hold another value than a write has given to its object, and
 * those that came after it?
 */
static bool
has_foreign_value(JsonRecord *record, QueuedWrite *write)
{
	const char *found = resource_text(record, "value");

	if (found == NULL || resource_text(write->fields, "value") == NULL)
		return false;
	for (dlist_node *node = &write->same_object;
		 node != &write->object->writes.head; node = node->next)
	{
		const char *written = resource_text(own_write(node)->fields, "value");

		if (written && strcmp(found, written) == 0)
			return false;
	}
	return true;
}

/*
 * Does a change stand, so that it can be undone?  A group's variable that is gone
 * would have GitLab change another one, and what somebody else has written since
 * is not ours to take away.  Warns if it does not.
 */
static bool
stands(QueuedWrite *write, Patience *patience)
{
	ApiCall    *call = send_undo(write, "GET", write->new_variant, NULL,
								 patience);
	bool		moves = strcmp(write->old_variant, write->new_variant) != 0;
	bool		there;
	bool		foreign;

	if (call == NULL)
		return false;
	there = api_call_judge(call) == API_SUCCEEDED &&
		strcmp(variant_of(write->object->resource, call->record),
			   write->new_variant) == 0;
	foreign = there && has_foreign_value(call->record, write);
	if (!there || foreign)
	{
		/* a change that was not answered may not have been made */
		if (write->state == WRITE_SENT &&
			(foreign || (moves && api_is_absent(call))))
			warn_unsettled(write);
		else if (foreign)
			warn_left(write, "Somebody has changed it since.");
		else
			warn_failed(write, call);
	}
	api_call_free(call);
	return there && !foreign;
}

/*
 * Undoes a write that was or may have been done.  False if that is not sure:
 * what was not answered may still be done.
 */
static bool
undo_write(QueuedWrite *write, Patience *patience)
{
	ApiCall    *call;
	bool		undone;
	bool		settled;

	if (write->obstacle)
	{
		warn_left(write, write->obstacle);
		return false;
	}
	if (write->kind == WRITE_CHANGE && !stands(write, patience))
		return false;
	call = send_undo(write, kinds[write->kind].undo_method, write->new_variant,
					 write->undo_body, patience);
	if (call == NULL)
		return false;
	/* what was not deleted, if that was not answered, can't be created */
	undone = api_call_judge(call) == API_SUCCEEDED ||
		(write->kind == WRITE_DELETE && write->state == WRITE_SENT &&
		 call->exchange->status == 400);
	settled = is_settled(write);
	write->in_doubt = write->in_doubt || call->in_doubt;
	if (!undone)
		warn_failed(write, call);
	else if (!settled)
		warn_unsettled(write);
	api_call_free(call);
	return undone && settled;
}

/*
 * Deletes an object that the transaction has created, whichever variant of it
 * the writes that were sent have left.
 */
static bool
undo_creation(QueuedObject *object, Patience *patience)
{
	QueuedWrite *creation = first_write(object);
	const QueuedWrite *unsettled = NULL;
	const dlist_head *own = &object->writes;

	for (dlist_node *node = own->head.prev; node != &own->head; node = node->prev)
	{
		QueuedWrite *write = own_write(node);
		ApiCall    *call;
		bool		deleted;
		bool		failed;

		if (!may_be_done(write))
			continue;
		if (!is_settled(write))
			unsettled = write;
		if (write->new_variant == NULL)
		{
			if (write->state == WRITE_DONE)
				return true;
			continue;
		}
		call = send_undo(creation, "DELETE", write->new_variant, NULL, patience);
		if (call == NULL)
			return false;
		deleted = api_call_judge(call) == API_SUCCEEDED;
		creation->in_doubt = creation->in_doubt || call->in_doubt;
		/* a write that was not answered may not have moved it there */
		failed = !deleted && !(write->state == WRITE_SENT && api_is_absent(call));
		if (failed)
			warn_failed(creation, call);
		api_call_free(call);
		if (failed)
			return false;
		if (deleted)
			break;
	}
	if (unsettled)
		warn_unsettled(unsettled);
	return unsettled == NULL;
}

/*
 * Undoes all that was written, the last write first.  False if it is not sure
 * that each variable is as it was.
 */
bool
queue_put_back(Patience *patience)
{
	bool		sure = true;
	dlist_iter	iter;

	dlist_foreach(iter, &sent)
		finish_write(sent_write(iter.cur), patience);
	for (dlist_node *node = sent.head.prev; node != &sent.head;
		 node = node->prev)
	{
		QueuedWrite *write = sent_write(node);

		if (!may_be_done(write))
			continue;
		if (write->object->variant)
			sure = undo_write(write, patience) && sure;
		else if (!write->object->removed)
		{
			/* at once, or it could be in the way of what follows */
			write->object->removed = true;
			sure = undo_creation(write->object, patience) && sure;
		}
	}
	return sure;
}

/* Says that what was written stays so, although the transaction failed. */
void
queue_leave(Patience *patience)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sent)
	{
		QueuedWrite *write = sent_write(iter.cur);

		finish_write(write, patience);
		if (may_be_done(write))
			warn_left(write, "Its old value may be that of a token that was revoked.");
	}
}
