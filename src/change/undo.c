/*-------------------------------------------------------------------------
 *
 * undo.c
 *	  Restoring what writes have changed.  Raises nothing above WARNING.
 *
 * An attempt to write that was sent and not answered may take effect yet, even
 * after it was repeated and undone.  After a rollback that had to undo such a
 * write, nobody knows what the object holds.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/undo.h"
#include "change/writing.h"
#include "compat.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"

/* Whether a write was sent and may have changed something. */
static bool
may_be_done(const QueuedWrite *write)
{
	return write->state != WRITE_QUEUED && write->state != WRITE_REFUSED;
}

/* Whether any write was sent that may have changed something. */
bool
undo_is_needed(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.sent)
		if (may_be_done(sent_write(iter.cur)))
			return true;
	return false;
}

/*
 * Whether what a write was undone to is sure to stay.  An attempt of the write,
 * or of a later one, that was never answered may still be carried out.
 */
static bool
is_settled(const QueuedWrite *write)
{
	return (write->state == WRITE_DONE || write->state == WRITE_DOUBTED) &&
		!write->stray && !writing_may_be_overtaken(write);
}

static void
warn_unsettled(const QueuedWrite *write)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message, "an unanswered request may still change %s on server \"%s\"",
		write->object->name, write->connection->server_name);
	SAY(detail, "The transaction that may have %s it was rolled back. GitLab has not answered all requests to do so, and may still carry one out.",
		write_words[write->kind].participle);
	SAY(hint, "Look at the variable in a few minutes, and correct it.");
	quiet_warn(ERRCODE_GITLAB_VARIABLE_IN_DOUBT, &a);
}

static void
warn_left(const QueuedWrite *write, const char *why)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message, "could not restore %s on server \"%s\"",
		write->object->name, write->connection->server_name);
	SAY(detail, "The transaction that %s it was rolled back. %s",
		write->state == WRITE_DONE ?
		(write->kind == WRITE_CREATE ? "created" :
		 write->kind == WRITE_CHANGE ? "changed" : "deleted") :
		"may have changed", why);
	SAY(hint, "Look at the variable, and correct it.");
	quiet_warn(ERRCODE_GITLAB_VARIABLE_STAYS, &a);
}

/*
 * Sends the request that undoes a write to a variant, by the newest credential that
 * the session knows.  NULL, with a warning, if there is no answer to it.
 */
static ApiCall *
send_undo(QueuedWrite *write, const char *method, const char *variant,
		  const char *body, Patience *patience)
{
	for (;;)
	{
		ApiCall    *call = queue_call(write->object, write->connection, method,
									  write->undo_path, variant, body);
		Connection *newest;

		if (call == NULL)
		{
			warn_left(write, "Out of memory.");
			return NULL;
		}
		writing_protect_values(call, write);
		api_call_start(call);
		if (!quiet_wait(call, patience))
		{
			api_call_free(call);
			warn_left(write, "There was no time left to wait for GitLab.");
			return NULL;
		}
		newest = connection_newest(write->connection);
		if (newest == NULL || api_refusal(call) != REFUSAL_CREDENTIAL)
			return call;
		api_call_free(call);
		(void) connection_retain(newest);
		connection_release(write->connection);
		write->connection = newest;
	}
}

/* Warns of a write whose undoing was answered, and not done. */
static void
warn_failed(const QueuedWrite *write, ApiCall *call)
{
	char		description[API_DESCRIPTION_SIZE];

	api_describe(call, description, sizeof(description));
	warn_left(write, description);
}

/* Whether two texts are there, and the same. */
static bool
are_same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/*
 * Whether a record holds another value than a write, and those that came after
 * it, have given to its object; or than GitLab has made of it.
 */
static bool
has_foreign_value(JsonRecord *record, QueuedWrite *write)
{
	const char *found = record_text(record, "value");

	if (found == NULL || record_text(write->fields, "value") == NULL)
		return false;
	if (write->state == WRITE_DOUBTED &&
		are_same(found, record_text(write->call->record, "value")))
		return false;
	for (dlist_node *node = &write->same_object;
		 node != &write->object->writes.head; node = node->next)
	{
		if (are_same(found, record_text(own_write(node)->fields, "value")))
			return false;
	}
	return true;
}

/*
 * Whether an object that does not have what a change gave to it, as GitLab has shown
 * it, is as it was before.  Then the change was never made, though it was answered.
 * An answer that has the object under its new name shows that GitLab had moved it.
 */
static bool
was_never_made(const QueuedWrite *write, ApiCall *shown)
{
	if (write->state != WRITE_DOUBTED || write->stray)
		return false;
	return api_verdict(shown) == API_ABSENT ?
		strcmp(write->old_variant, write->new_variant) != 0 &&
		record_text(write->call->record, write->object->resource->key) == NULL :
		are_same(record_text(shown->record, "value"), write->old_value);
}

/*
 * Whether a change stands, so that it can be undone.  A group's variable that
 * is gone would have GitLab change another one, and what somebody else has
 * written since is not ours to take away.  Warns if it does not, unless the
 * change was never made: *as_before.
 */
static bool
stands(QueuedWrite *write, Patience *patience, bool *as_before)
{
	ApiCall    *call = send_undo(write, "GET", write->new_variant, NULL,
								 patience);
	bool		moves = strcmp(write->old_variant, write->new_variant) != 0;
	bool		there;
	bool		foreign;

	*as_before = false;
	if (call == NULL)
		return false;
	there = api_verdict(call) == API_DONE &&
		strcmp(queue_variant(write->object->resource, call->record),
			   write->new_variant) == 0;
	foreign = there && has_foreign_value(call->record, write);
	*as_before = (!there || foreign) && was_never_made(write, call);
	if ((!there || foreign) && !*as_before)
	{
		/* a change that was not answered may not have been made */
		if (!is_settled(write) && write->state != WRITE_DONE &&
			(foreign || (moves && api_verdict(call) == API_ABSENT)))
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
	bool		done;
	bool		undone;
	bool		settled;
	bool		as_before;

	if (write->obstacle)
	{
		warn_left(write, write->obstacle);
		return false;
	}
	if (write->kind == WRITE_CHANGE && !stands(write, patience, &as_before))
		return as_before;
	call = send_undo(write, write_words[write->kind].undo_method, write->new_variant,
					 write->undo_body, patience);
	if (call == NULL)
		return false;
	done = api_verdict(call) == API_DONE;
	/* what was not deleted, if that was not answered, can't be created */
	undone = (done && !(write->undo_body &&
						writing_difference(write, write->undo_body, call->record))) ||
		(write->kind == WRITE_DELETE && write->state != WRITE_DONE &&
		 api_refusal(call) == REFUSAL_REQUEST);
	settled = is_settled(write);
	write->stray = write->stray || api_left_stray(call);
	if (!undone && done)
		warn_left(write, "GitLab's answer does not show that it has restored the variable.");
	else if (!undone)
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
	QueuedWrite *creation = queue_first_write(object);
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
		deleted = api_verdict(call) == API_DONE;
		creation->stray = creation->stray || api_left_stray(call);
		/* a write that was not answered may not have moved it there */
		failed = !deleted && !(write->state != WRITE_DONE &&
							   api_verdict(call) == API_ABSENT);
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
undo_all(Patience *patience)
{
	bool		sure = true;

	for (dlist_node *node = write_queue.sent.head.prev; node != &write_queue.sent.head;
		 node = node->prev)
	{
		QueuedWrite *write = sent_write(node);

		if (!may_be_done(write))
			continue;
		if (write->object->variant)
			sure = undo_write(write, patience) && sure;
		else if (write->object->state != OBJECT_REMOVED)
		{
			/* at once, or it could be in the way of what follows */
			queue_set_object_state(write->object, OBJECT_REMOVED);
			sure = undo_creation(write->object, patience) && sure;
		}
	}
	return sure;
}

/* Says that what was written stays so, although the transaction failed. */
void
undo_none(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.sent)
		if (may_be_done(sent_write(iter.cur)))
			warn_left(sent_write(iter.cur),
					  "Its old value may be that of a token that was revoked.");
}
