/*-------------------------------------------------------------------------
 *
 * variables.c
 *	  What is written to GitLab at commit: CI/CD variables, a participant.
 *
 * INSERT, UPDATE and DELETE enter writes into the queue, which the commit carries
 * out in their order; a later failure restores what was changed.  Until then
 * the transaction's own scans see the objects as if that had been done.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "change/container.h"
#include "change/queue.h"
#include "change/undo.h"
#include "change/variables.h"
#include "change/writing.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "nodes/bitmapset.h"

/* How far a scan has come with what the queue makes of its records. */
typedef struct QueueView
{
	Bitmapset  *met;			/* numbers of the objects that it has met */
	int			rest;			/* number of the last one of the rest, */
	int			place;			/* and of the container that it is shown in
								 * next, if the scan names that twice */
} QueueView;


/* ----------
 * What statements do
 * ----------
 */

/* The variant that an object has when all of its writes are done, or NULL. */
static const char *
final_variant(const QueuedObject *object)
{
	return queue_last_write(object)->new_variant;
}

/*
 * Whether a command or a scan with this command id can see a write: not its
 * own, nor what is done within it, by a trigger.
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

/*
 * The object that has a record's identity as a command sees it (seen), or in the
 * end; NULL if there is none.
 */
static QueuedObject *
find_object(const RemoteChange *change, JsonRecord *record, bool seen)
{
	const Resource *resource = change->settings->resource;
	Siblings   *siblings = queue_siblings(change->client, resource, record);
	dlist_iter	iter;

	if (siblings)
		dlist_foreach(iter, &siblings->objects)
		{
			QueuedObject *object = sibling_of(iter.cur);
			const char *variant = seen ? seen_variant(object, change->cid) :
				final_variant(object);

			if (variant && strcmp(variant, queue_variant(resource, record)) == 0)
				return object;
		}
	return NULL;
}

/* Raises an error if the transaction itself has made such an object. */
static void
check_unique(const RemoteChange *change, JsonRecord *record)
{
	QueuedObject *twin = find_object(change, record, false);

	if (twin)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s already exists", twin->name)));
}

/* Queues a creation.  Returns how the object will look. */
static JsonRecord *
variables_insert(RemoteChange *change, const ResourceValue *values, int nvalues)
{
	const Resource *resource = change->settings->resource;
	JsonRecord *draft = record_draft(resource, values, nvalues);
	JsonRecord *shown = record_draft(resource, values, nvalues);

	if (resource->containers[0])
		(void) container_checked(draft, resource_field(resource,
													   resource->containers[0]));
	check_unique(change, draft);
	queue_enter(change, NULL, draft, WRITE_CREATE, draft,
				record_body(resource, NULL, values, nvalues));
	queue_hide_value(shown);
	return shown;
}

/*
 * Whether the same command has changed this object (NULL: none yet), and so
 * meets its row twice.  Raises an error if something that the command has fired
 * did so.
 */
static bool
was_met(const RemoteChange *change, QueuedObject *object)
{
	if (object == NULL || is_visible(queue_last_write(object), change->cid))
		return false;
	if (queue_last_write(object)->cid > change->cid)
		change_refuse_triggered(object->name);
	return true;
}

/* Queues a change of an object. */
static bool
variables_update(RemoteChange *change, JsonRecord *row,
				 const ResourceValue *values, int nvalues, JsonRecord **shown)
{
	const Resource *resource = change->settings->resource;
	QueuedObject *object = find_object(change, row, true);
	JsonRecord *fields = record_create();
	const char *moved;

	*shown = NULL;
	if (was_met(change, object))
		return false;
	for (int i = 0; i < nvalues; i++)
		record_set(fields, &values[i]);
	moved = queue_named_variant(resource, fields);
	if (moved && strcmp(moved, queue_variant(resource, row)) != 0)
	{
		JsonRecord *there = record_create();

		queue_put_over(there, row);
		queue_put_over(there, fields);
		check_unique(change, there);
	}
	queue_enter(change, object, row, WRITE_CHANGE, fields, record_json(fields));
	return true;
}

/* Queues the deletion of an object. */
static bool
variables_delete(RemoteChange *change, JsonRecord *row)
{
	QueuedObject *object = find_object(change, row, true);

	if (was_met(change, object))
		return false;
	queue_enter(change, object, row, WRITE_DELETE, NULL, NULL);
	return true;
}


/* ----------
 * What scans see
 * ----------
 */

/* Whether any write has been done to an object for a scan to see. */
static bool
has_visible_write(const QueuedObject *object, CommandId curcid)
{
	return is_visible(queue_first_write(object), curcid);
}

/*
 * How a scan sees an object that GitLab has shown as base (NULL: it has not) in a
 * container of that name (NULL: in none).  NULL if it is not there.  The record
 * belongs to the object.
 */
static JsonRecord *
show_object(QueuedObject *object, JsonRecord *base, const char *container,
			CommandId curcid)
{
	bool		there = object->variant != NULL;
	dlist_iter	iter;

	container = container ? pstrdup(container) : NULL;
	record_free(object->shown);
	object->shown = NULL;
	if (base == NULL)
		base = object->row;
	object->shown = base ? queue_copy(base) : json_object_new_object();
	dlist_foreach(iter, &object->writes)
	{
		QueuedWrite *write = own_write(iter.cur);

		if (!is_visible(write, curcid))
			break;
		there = write->kind != WRITE_DELETE;
		if (there)
			queue_put_over(object->shown, write->fields);
	}
	if (container)
		record_name_containers(object->shown, object->resource, &container);
	queue_hide_value(object->shown);
	return there ? object->shown : NULL;
}

static bool
concerns(const ChangeScan *scan, const QueuedObject *object)
{
	return object->siblings->key.instance ==
		api_connection(scan->client)->instance &&
		object->resource == scan->resource;
}

/*
 * Whether an object was written by the user mapping that a scan asks GitLab
 * with, or by its role through another server.  What another role has written,
 * maybe by a SECURITY DEFINER function, GitLab may not let this one read.
 */
static bool
is_by_same_user(const ChangeScan *scan, const QueuedObject *object)
{
	const QueuedWrite *first = queue_first_write(object);

	return first->connection->umid == api_connection(scan->client)->umid ||
		first->userid == api_userid(scan->client);
}

static bool
variables_differ(const ChangeScan *scan)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.objects)
		if (concerns(scan, object_of(iter.cur)))
			return true;
	return false;
}

/* How far the scan has come. */
static QueueView *
view_of(ChangeScan *scan)
{
	if (scan->memory == NULL)
		scan->memory = MemoryContextAllocZero(scan->context, sizeof(QueueView));
	return scan->memory;
}

static JsonRecord *
variables_view(ChangeScan *scan, JsonRecord *record, bool *revoked)
{
	const char *variant = queue_variant(scan->resource, record);
	Siblings   *siblings = queue_siblings(scan->client, scan->resource,
										  record);
	QueueView  *view = view_of(scan);
	dlist_iter	iter;

	*revoked = false;
	if (siblings == NULL)
		return record;
	dlist_foreach(iter, &siblings->objects)
	{
		QueuedObject *object = sibling_of(iter.cur);
		MemoryContext saved;

		if (object->variant == NULL || strcmp(object->variant, variant) != 0 ||
			!has_visible_write(object, scan->curcid))
			continue;
		/* the executor's current context goes with the row */
		saved = MemoryContextSwitchTo(scan->context);
		view->met = bms_add_member(view->met, object->number);
		MemoryContextSwitchTo(saved);
		return show_object(object, record,
						   scan->resource->containers[0] ?
						   container_of(scan->resource, record) : NULL,
						   scan->curcid);
	}
	return record;
}

/*
 * The next container of the scan, from a number on, that is an object's.  -1 if
 * there is none.
 */
static int
next_container(const ChangeScan *scan, const QueuedObject *object, int from)
{
	for (int i = from; i < scan->ncontainers; i++)
		if (strcmp(container_known_as(scan->client, scan->resource,
									  scan->containers[i]),
				   object->siblings->key.container) == 0)
			return i;
	return -1;
}

/*
 * Shows an object that GitLab does not have, in each container that the scan
 * names.  A scan that names the container by number and by path gets it twice, as
 * GitLab shows the others.
 */
static JsonRecord *
show_rest(ChangeScan *scan, QueuedObject *object)
{
	QueueView  *view = view_of(scan);

	if (scan->resource->containers[0] == NULL)
	{
		view->rest = object->number;
		return show_object(object, NULL, NULL, scan->curcid);
	}
	view->place = next_container(scan, object, view->place) + 1;
	if (view->place > 0)
		return show_object(object, NULL, scan->containers[view->place - 1],
						   scan->curcid);
	view->rest = object->number;
	return NULL;
}

static JsonRecord *
variables_view_rest(ChangeScan *scan)
{
	QueueView  *view = view_of(scan);
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.objects)
	{
		QueuedObject *object = object_of(iter.cur);
		JsonRecord *record;

		if (object->number <= view->rest || !concerns(scan, object))
			continue;
		record = bms_is_member(object->number, view->met) ||
			!has_visible_write(object, scan->curcid) ||
			!is_by_same_user(scan, object) ? NULL :
			show_rest(scan, object);
		if (record)
			return record;
		view->rest = object->number;
		view->place = 0;
	}
	return NULL;
}

static void
variables_rewind(ChangeScan *scan)
{
	QueueView  *view = view_of(scan);

	bms_free(view->met);
	view->met = NULL;
	view->rest = view->place = 0;
}


/* ----------
 * The transaction
 * ----------
 */

/* Whether a character next to a secret belongs to a longer one. */
static bool
continues_secret(char c)
{
	return isalnum((unsigned char) c) || c == '-' || c == '_';
}

/* Whether a value is a secret, or has it inside, as a file or a URL may. */
static bool
holds_secret(const char *value, const char *secret)
{
	size_t		length = strlen(secret);

	Assert(length > 0);
	for (const char *at = value; (at = strstr(at, secret)) != NULL; at++)
		if ((at == value || !continues_secret(at[-1])) &&
			!continues_secret(at[length]))
			return true;
	return false;
}

/* The name of an object that will hold a secret; see Participant. */
static const char *
variables_find_holder(const char *secret)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.objects)
	{
		QueuedObject *object = object_of(iter.cur);
		const char *found = NULL;

		if (final_variant(object) == NULL)
			continue;
		for (dlist_node *node = object->writes.head.prev;
			 found == NULL && node != &object->writes.head; node = node->prev)
			found = record_text(own_write(node)->fields, "value");
		if (found && holds_secret(found, secret))
			return object->name;
	}
	return NULL;
}

/*
 * Whether the commit writes a variable.  The secret in it must be in PostgreSQL after
 * a crash, too, if the transaction has stored it there.
 */
static bool
is_written(void)
{
	return !queue_is_empty();
}

/*
 * Restores what was changed for a transaction that has failed.  If it has also
 * revoked tokens, what a variable held before may be one of these: then what it
 * holds now is better.
 */
static void
variables_settle(Ending *ending)
{
	if (ending->committed || !undo_is_needed())
		return;
	if (ending->destroyed)
		undo_none();
	ending->in_use = ending->destroyed || !undo_all(&ending->patience);
}

const Participant variables_participant = {
	.no_conflict = "GitLab reports conflicts only at commit.",
	.insert = variables_insert,
	.update = variables_update,
	.delete = variables_delete,
	.differs = variables_differ,
	.view = variables_view,
	.view_rest = variables_view_rest,
	.rewind = variables_rewind,
	.is_empty = queue_is_empty,
	.end_subtransaction = queue_end_subtransaction,
	.find_holder = variables_find_holder,
	.has_changes = is_written,
	.needs_durability = is_written,
	.carry_out = writing_carry_out,
	.stop = queue_stop,
	.finish = writing_finish,
	.settle = variables_settle,
	.close = queue_close,
};
