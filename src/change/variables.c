/*-------------------------------------------------------------------------
 *
 * variables.c
 *	  What is written to GitLab at commit: CI/CD variables.
 *
 * INSERT, UPDATE and DELETE enter writes into the queue, which the commit carries
 * out in their order; a later failure puts back what was changed.  Until then
 * the transaction's own scans see the objects as if that had been done.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/queue.h"
#include "change/variables.h"
#include "gitlab/client.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "nodes/bitmapset.h"

/* The variant that an object has when all of its writes are done, or NULL. */
const char *
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
