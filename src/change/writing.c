/*-------------------------------------------------------------------------
 *
 * writing.c
 *	  What the commit writes.
 *
 * The commit first reads all objects as they are, so that what can be known to
 * fail does so before anything was changed, and so that it is known what to
 * restore.  It need not ask for what a statement without a transaction block
 * has just shown.  Then it writes, one after the other.  What could not be
 * restored comes last: a value that GitLab hides.  Before a write goes out, the
 * request that undoes it is made ready, for during a rollback nothing more can
 * be made.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "change/batch.h"
#include "change/writing.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "gitlab/recent.h"
#include "gitlab/stream.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "utils/memutils.h"

/* Rows a request where all variables of a group are read. */
#define SIBLINGS_PAGE_SIZE 100

/* The part of a record in those fields that another one has. */
static JsonRecord *
pick_fields(JsonRecord *record, JsonRecord *fields)
{
	JsonRecord *picked = record_create();
	struct json_object_iterator it = json_object_iter_begin(fields);
	struct json_object_iterator end = json_object_iter_end(fields);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
	{
		const char *name = json_object_iter_peek_name(&it);
		JsonRecord *value;

		if (json_object_object_get_ex(record, name, &value))
			record_add(picked, name, json_object_get(value));
	}
	return picked;
}

static ApiCall *
check_call(ApiCall *call)
{
	if (call == NULL)
		memory_report_exhausted();
	return call;
}

static char *
object_path(const QueuedObject *object)
{
	return resource_path(object->resource, &object->container, object->key);
}

static char *
collection_path(const QueuedObject *object)
{
	return resource_path(object->resource, &object->container, NULL);
}

/*
 * Whether the credential was rotated since the call was made.  Then all that is
 * queued uses the new one from now on.
 */
static bool
renew(ApiCall *call, Oid userid)
{
	Connection *stale = call->connection;
	Connection *current;
	dlist_iter	iter;

	current = batch_renew(call, userid);
	if (current == NULL)
		return false;
	dlist_foreach(iter, &write_queue.writes)
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

/* Whether the transaction itself has removed what is in a creation's way. */
static bool
makes_room(const QueuedObject *created)
{
	const char *variant = queue_first_write(created)->new_variant;
	dlist_iter	iter;

	dlist_foreach(iter, &created->siblings->objects)
	{
		QueuedObject *object = sibling_of(iter.cur);

		if (object->variant && strcmp(object->variant, variant) == 0)
			return true;
	}
	return false;
}

/*
 * Whether an object is to be read by its key alone.  Of a group's variable that
 * is gone, GitLab changes another one with its key.  By the key it says whether
 * there is one.
 */
static bool
is_read_by_key(QueuedObject *object)
{
	dlist_iter	iter;

	if (!object->resource->update_strays || object->variant == NULL ||
		object->crowded)
		return false;
	dlist_foreach(iter, &object->writes)
		if (own_write(iter.cur)->kind == WRITE_CHANGE)
			return true;
	return false;
}

/* Whether a reading by the key alone has shown that others have it, too. */
static bool
shows_others(QueuedObject *object)
{
	ApiCall    *call = object->call;
	ApiRefusal	refusal = api_refusal(call);

	if (!is_read_by_key(object))
		return false;
	/* GitLab's status for that has not been the same in all versions */
	return refusal == REFUSAL_CONFLICT || refusal == REFUSAL_REQUEST ||
		(api_verdict(call) == API_DONE &&
		 strcmp(queue_variant(object->resource, call->record),
				object->variant) != 0);
}

/*
 * Whether the statement has shown the object so lately that there is no need to
 * read it.  In a transaction block, the client or somebody else may have done
 * anything since.
 */
static bool
was_just_read(QueuedObject *object)
{
	const QueuedWrite *first = queue_first_write(object);
	JsonRecord *record;

	if (object->variant == NULL || first->kind != WRITE_CHANGE ||
		object->crowded || IsTransactionBlock())
		return false;
	record = recent_find(first->connection, object->resource, object->container,
						 object->key, object->variant, is_read_by_key(object));
	if (record)
		object->found = queue_copy(record);
	return record != NULL;
}

/* Starts reading the next object of which there is something to learn. */
static void *
next_reading(Batch *batch, ApiCall **call)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.objects)
	{
		QueuedObject *object = object_of(iter.cur);
		QueuedWrite *first = queue_first_write(object);

		if (object->state != OBJECT_UNREAD ||
			first->connection != batch->connection)
			continue;
		if ((object->variant == NULL && makes_room(object)) ||
			was_just_read(object))
		{
			queue_set_object_state(object, OBJECT_READ);
			continue;
		}
		*call = check_call(queue_call(object, first->connection, "GET",
									  object_path(object),
									  is_read_by_key(object) ? NULL :
									  object->variant ? object->variant :
									  first->new_variant, NULL));
		object->call = *call;
		queue_set_object_state(object, OBJECT_READING);
		api_call_start(*call);
		return object;
	}
	return NULL;
}

/* Checks what GitLab has shown of an object that is to be written. */
static void
check_found(const QueuedObject *object)
{
	ApiCall    *call = object->call;
	QueuedWrite *first = queue_first_write(object);
	const char *found;

	if (api_verdict(call) == API_ABSENT)
	{
		if (object->variant)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("could not %s %s on server \"%s\"",
							write_words[first->kind].infinitive, object->name,
							call->connection->server_name),
					 errdetail("It no longer exists."),
					 first->kind == WRITE_DELETE ?
					 errhint("Leave the variable out; nothing has been changed.") :
					 errhint("INSERT the variable, or leave it out; nothing has been changed.")));
		return;
	}
	api_check(call, psprintf("read %s", object->name));
	found = record_text(call->record, object->resource->key);
	if (found == NULL || strcmp(found, object->key) != 0 ||
		strcmp(queue_variant(object->resource, call->record),
			   object->variant ? object->variant : first->new_variant) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("could not read %s on server \"%s\"", object->name,
						call->connection->server_name),
				 errdetail("GitLab has answered with another variable.")));
	if (object->variant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s already exists on server \"%s\"", object->name,
						call->connection->server_name),
				 errhint("To change it, use UPDATE; nothing has been changed.")));
}

/*
 * Learns from the answer.  If the credential was rotated meanwhile, this object and
 * the others of the batch are read again.
 */
static bool
finish_reading(Batch *batch, void *item)
{
	QueuedObject *object = item;
	ApiCall    *call = object->call;
	QueuedWrite *first = queue_first_write(object);
	bool		renewed;

	(void) batch;
	renewed = api_refusal(call) == REFUSAL_CREDENTIAL &&
		(call->connection != first->connection || renew(call, first->userid));
	if (!renewed && shows_others(object))
		object->crowded = true;
	else if (!renewed)
	{
		check_found(object);
		if (api_verdict(call) == API_DONE)
			object->found = queue_copy(call->record);
	}
	queue_set_object_state(object, renewed ||
						   (object->crowded && object->found == NULL) ?
						   OBJECT_UNREAD : OBJECT_READ);
	object->call = NULL;
	api_call_free(call);
	return !renewed;
}

/* Reads the others in GitLab that have an object's key. */
static void
read_others(QueuedObject *object)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab siblings",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	const QueuedWrite *first = queue_first_write(object);
	ApiTarget	target = {.path = collection_path(object),
		.containers = {object->container}
	};
	StreamListing listing = {.target = &target, .page_size = SIBLINGS_PAGE_SIZE,
		.concurrency = 1
	};
	Stream	   *stream = stream_list(api_open(first->connection->serverid,
											  first->userid),
									 object->resource, &listing);
	JsonRecord *record;

	object->others = json_object_new_array();
	while ((record = stream_next(stream)) != NULL)
	{
		const char *key = record_text(record, object->resource->key);

		if (key && strcmp(key, object->key) == 0 &&
			strcmp(queue_variant(object->resource, record),
				   object->variant) != 0 &&
			json_object_array_add(object->others, queue_copy(record)) != 0)
			memory_report_exhausted();
	}
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
}

static void
read_objects(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &write_queue.objects)
	{
		QueuedObject *object = object_of(iter.cur);

		while (object->state != OBJECT_READ)
		{
			Batch		batch = {
				.connection = queue_first_write(object)->connection,
				.next = next_reading,
				.finish = finish_reading
			};

			(void) batch_run(&batch, NULL);
		}
		if (object->crowded)
			read_others(object);
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

/* Whether a rollback would lack what undoes a write to this object. */
static bool
loses_value(const QueuedObject *object, const QueuedWrite *write)
{
	JsonRecord *value;

	/* what the transaction itself has made is deleted again */
	return object->variant && is_hidden(object->found) &&
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

	dlist_foreach(iter, &write_queue.writes)
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
	MemoryContext saved = MemoryContextSwitchTo(write_queue.context);
	const char *old_value = record_text(object->found, "value");

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
			write->undo_body = record_json(pick_fields(object->found,
													   write->fields));
			break;
		case WRITE_DELETE:
			if (write->obstacle == NULL)
				write->undo_body = record_body(object->resource,
											   object->found, NULL, 0);
			break;
	}
	MemoryContextSwitchTo(saved);
}

/* Whether a member of an object is true. */
static bool
is_true(JsonRecord *object, const char *name)
{
	JsonRecord *value;

	return json_object_object_get_ex(object, name, &value) &&
		json_object_is_type(value, json_type_boolean) &&
		json_object_get_boolean(value);
}

/*
 * Whether an answer shows a field as the body of a request has it.  An absent
 * member is null, here as in what is read: a GitLab that knows no descriptions has
 * none.  A hidden variable is masked, and has no value in any answer.
 */
static bool
is_as_sent(const QueuedWrite *write, const ResourceField *field,
		   JsonRecord *body, JsonRecord *answer)
{
	const Resource *resource = write->object->resource;
	bool		hides = json_object_object_get_ex(body, "masked_and_hidden", NULL);
	JsonRecord *sent;
	JsonRecord *told = NULL;

	if (field->create_as && json_object_object_get_ex(body, field->create_as, NULL))
		return is_true(answer, field->name);
	if (!json_object_object_get_ex(body, field->name, &sent))
		return true;
	(void) json_object_object_get_ex(answer, field->name, &told);
	/* what else check_identity() looks at */
	if (strcmp(field->name, resource->key) == 0 ||
		(resource->variant && strcmp(field->name, resource->variant) == 0))
		return json_object_is_type(told, json_type_string);
	if ((hides || is_hidden(write->object->found)) && is_true(answer, "hidden") &&
		((strcmp(field->name, "value") == 0 && told == NULL) ||
		 (strcmp(field->name, "masked") == 0 && hides)))
		return true;
	return json_object_equal(sent, told);
}

/*
 * The field of which GitLab's answer to a request about a write's object does not
 * show what the request's body says, or NULL.  The answer must be an object with a
 * key.  Raises nothing.
 */
const ResourceField *
writing_difference(const QueuedWrite *write, const char *text, JsonRecord *answer)
{
	const Resource *resource = write->object->resource;
	JsonRecord *body = json_tokener_parse(text);
	const ResourceField *differs = NULL;

	if (body == NULL || record_text(answer, resource->key) == NULL)
		differs = resource_field(resource, resource->key);
	for (int i = 0; i < resource->nfields && differs == NULL; i++)
		if (!is_as_sent(write, &resource->fields[i], body, answer))
			differs = &resource->fields[i];
	record_free(body);
	return differs;
}

static void
log_write(const QueuedWrite *write)
{
	Announcement a = {{0}, {0}, {0}};

	if (!quiet_log_changes)
		return;
	SAY(message, "%s %s on server \"%s\" by %s", write->object->name,
		write_words[write->kind].participle, write->connection->server_name,
		write->who);
	quiet_announce(api_log_level(), &a);
}

/* Whether an answer is about another object, which check_identity() tells. */
static bool
names_another(const QueuedWrite *write)
{
	const Resource *resource = write->object->resource;
	const char *key = record_text(write->call->record, resource->key);

	return key && (strcmp(key, write->object->key) != 0 ||
				   strcmp(queue_variant(resource, write->call->record),
						  write->new_variant) != 0);
}

/* Learns from the answer to a write what came of it. */
static void
learn(QueuedWrite *write)
{
	ApiVerdict	verdict = api_verdict(write->call);

	write->stray = write->stray || api_left_stray(write->call);
	/* a DELETE is answered by its status alone */
	write->differs = verdict == API_DONE && write->body && !names_another(write) ?
		writing_difference(write, write->body, write->call->record) : NULL;
	if (write->differs)
		queue_set_write_state(write, WRITE_DOUBTED);
	else if (verdict == API_DONE ||
			 (verdict == API_ABSENT && write->kind == WRITE_DELETE))
	{
		queue_set_write_state(write, WRITE_DONE);
		log_write(write);
	}
	else if (verdict == API_UNKNOWN || write->stray)
		queue_set_write_state(write, WRITE_UNKNOWN);
	else
		queue_set_write_state(write, WRITE_REFUSED);
}

/* Notes the object as GitLab has it now that a write is done. */
static void
advance_state(QueuedWrite *write)
{
	QueuedObject *object = write->object;

	if (write->kind == WRITE_CHANGE)
		queue_put_over(object->found, write->fields);
	else
	{
		record_free(object->found);
		object->found = write->kind == WRITE_CREATE ?
			queue_copy(write->fields) : NULL;
	}
}

/*
 * Whether two records agree in all fields of the first one, except for the
 * variant and the fields of a third one.
 */
static bool
are_alike(const Resource *resource, JsonRecord *a, JsonRecord *b,
		  JsonRecord *without)
{
	struct json_object_iterator it = json_object_iter_begin(a);
	struct json_object_iterator end = json_object_iter_end(a);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
	{
		const char *name = json_object_iter_peek_name(&it);
		JsonRecord *other;

		if (strcmp(name, resource->variant) != 0 &&
			!json_object_object_get_ex(without, name, &other) &&
			json_object_object_get_ex(b, name, &other) &&
			!json_object_equal(json_object_iter_peek_value(&it), other))
			return false;
	}
	return true;
}

/*
 * Another object as it was before GitLab changed it in the place of one that was
 * gone: as the transaction itself has left it, or as it was read.  It is the one
 * of that variant or, where the change was a move, one that looks like the
 * answer.  NULL if there is none.
 */
static JsonRecord *
find_other(const QueuedWrite *write, const char *variant)
{
	const QueuedObject *object = write->object;
	JsonRecord *answer = write->call->record;
	bool		moved = strcmp(variant, write->new_variant) == 0;
	dlist_iter	iter;

	dlist_foreach(iter, &object->siblings->objects)
	{
		JsonRecord *found = sibling_of(iter.cur)->found;

		if (sibling_of(iter.cur) != object && found &&
			(moved ? are_alike(object->resource, answer, found, write->fields) :
			 strcmp(queue_variant(object->resource, found), variant) == 0))
			return found;
	}
	for (size_t i = 0; object->others && i < json_object_array_length(object->others); i++)
	{
		JsonRecord *other = json_object_array_get_idx(object->others, i);

		if (moved ? are_alike(object->resource, answer, other, write->fields) :
			strcmp(queue_variant(object->resource, other), variant) == 0)
			return other;
	}
	return NULL;
}

/* Has the rollback restore what was changed in another object's place. */
static void
undo_to_other(QueuedWrite *write, const char *variant)
{
	JsonRecord *other = find_other(write, variant);
	JsonRecord *value;
	const char *old_value;

	write->obstacle = "GitLab has changed another one in its place.";
	if (other == NULL || (is_hidden(other) &&
						  json_object_object_get_ex(write->fields, "value", &value)))
		return;
	old_value = record_text(other, "value");
	write->old_value = old_value ? pstrdup(old_value) : NULL;
	write->undo_body = record_json(pick_fields(other, write->fields));
	write->new_variant = pstrdup(variant);
	write->obstacle = NULL;
}

/*
 * Whether GitLab has moved another object than the one that was asked for.  The
 * answer has the variant that was wanted in both cases.
 */
static bool
has_moved_other(const QueuedWrite *write)
{
	const QueuedObject *object = write->object;

	return object->crowded && write->kind == WRITE_CHANGE &&
		strcmp(write->old_variant, write->new_variant) != 0 &&
		!are_alike(object->resource, write->call->record, object->found,
				   write->fields);
}

/*
 * Checks that the answer is about the object that was asked for.  GitLab strips
 * blanks from keys.  Of groups without the paid tier it drops the variant
 * silently, and it takes another one of a group's where there is none any more.
 */
static void
check_identity(QueuedWrite *write)
{
	const QueuedObject *object = write->object;
	const Resource *resource = object->resource;
	JsonRecord *record = write->call->record;
	const char *key = record_text(record, resource->key);
	const char *variant = queue_variant(resource, record);
	bool		same_key;
	bool		same_variant;
	bool		is_gone = false;
	MemoryContext saved;

	/* what was deleted has none */
	if (write->new_variant == NULL)
		return;
	same_key = strcmp(key, object->key) == 0;
	same_variant = strcmp(variant, write->new_variant) == 0;
	if (same_key && same_variant && !has_moved_other(write))
		return;
	saved = MemoryContextSwitchTo(write_queue.context);
	if (write->kind == WRITE_CREATE)
	{
		write->undo_path = resource_path(resource, &object->container,
										 same_key ? object->key : key);
		if (!same_variant)
			write->new_variant = pstrdup(variant);
	}
	else if (same_key && !same_variant && strcmp(variant, write->old_variant) == 0)
		write->new_variant = write->old_variant;	/* it was not moved */
	else
	{
		undo_to_other(write, same_variant ? write->new_variant : variant);
		is_gone = resource->update_strays;
	}
	MemoryContextSwitchTo(saved);
	if (is_gone)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("could not %s %s on server \"%s\"",
						write_words[write->kind].infinitive, object->name,
						write->connection->server_name),
				 errdetail("It no longer exists, and GitLab has changed another one with that %s instead.",
						   resource->key),
				 errhint("The transaction is rolled back.")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("could not %s %s on server \"%s\"",
					write_words[write->kind].infinitive, object->name,
					write->connection->server_name),
			 same_variant ?
			 errdetail("GitLab has %s it with the %s \"%s\" instead.",
					   write_words[write->kind].participle, resource->key,
					   connection_shown_name(key)) :
			 errdetail("GitLab has %s it with the %s \"%s\" instead.",
					   write_words[write->kind].participle, resource->variant,
					   connection_shown_name(variant)),
			 !same_variant && resource->variant_hint ?
			 errhint("%s", resource->variant_hint) : 0));
}

/* Raises the error of a write whose answer does not show that it is done. */
pg_noreturn static void
report_doubted(const QueuedWrite *write)
{
	const char *infinitive = write_words[write->kind].infinitive;
	const char *name = write->object->name;
	const char *server_name = write->connection->server_name;
	JsonRecord *record = write->call->record;
	const ResourceField *field = write->differs;
	const char *sent_as = write->kind == WRITE_CREATE && field->create_as ?
		field->create_as : field->name;
	bool		told = json_object_object_get_ex(record, field->name, NULL);

	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 told ?
			 errmsg("could not %s %s on server \"%s\": GitLab has stored something else",
					infinitive, name, server_name) :
			 errmsg("could not %s %s on server \"%s\": GitLab's answer does not show that it has done so",
					infinitive, name, server_name),
			 told ?
			 errdetail("Its answer differs in the field \"%s\".", sent_as) :
			 errdetail("Its answer lacks the field \"%s\".", sent_as),
			 errhint("The transaction is rolled back, and the variable is restored.")));
}

/* GitLab may quote the values that a write is about; messages must not. */
void
writing_protect_values(ApiCall *call, const QueuedWrite *write)
{
	api_call_protect(call, record_text(write->fields, "value"));
	api_call_protect(call, write->old_value);
}

/* Sends a write.  Raises an error, and changes nothing, if memory is short. */
static void
start_write(QueuedWrite *write)
{
	QueuedObject *object = write->object;
	ApiCall    *call;

	call = check_call(queue_call(object, write->connection,
								 write_words[write->kind].method,
								 write->kind == WRITE_CREATE ?
								 collection_path(object) : object_path(object),
								 write->old_variant, write->body));
	write->call = call;
	recent_forget();
	writing_protect_values(call, write);
	queue_set_write_state(write, WRITE_SENT);
	api_call_start(call);
}

static bool
is_same_variant(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Whether one of a write's variants is one that another write is about, too. */
static bool
touches(const QueuedWrite *write, const QueuedWrite *other)
{
	return is_same_variant(write->old_variant, other->old_variant) ||
		is_same_variant(write->old_variant, other->new_variant) ||
		is_same_variant(write->new_variant, other->old_variant) ||
		is_same_variant(write->new_variant, other->new_variant);
}

/*
 * Whether an attempt of another write may yet change what this one makes of the
 * object.
 */
bool
writing_may_be_overtaken(const QueuedWrite *write)
{
	dlist_iter	outer;

	dlist_foreach(outer, &write->object->siblings->objects)
	{
		dlist_iter	inner;

		dlist_foreach(inner, &sibling_of(outer.cur)->writes)
		{
			QueuedWrite *other = own_write(inner.cur);

			if (other != write && other->stray && touches(write, other))
				return true;
		}
	}
	return false;
}

/* Carries out one write; an error if that can't be done. */
static void
carry_out(QueuedWrite *write)
{
	if (writing_may_be_overtaken(write))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not %s %s on server \"%s\"",
						write_words[write->kind].infinitive, write->object->name,
						write->connection->server_name),
				 errdetail("GitLab has not answered all requests to change it before, and may still carry one out."),
				 errhint("The transaction is rolled back; run it again in a while.")));
	prepare_undo(write);
	for (;;)
	{
		start_write(write);
		api_wait(&write->call, 1);
		learn(write);
		if (write->state == WRITE_DONE)
			break;
		if (write->state == WRITE_DOUBTED)
			report_doubted(write);
		if (!renew(write->call, write->userid))
			api_report(write->call,
					   psprintf("%s %s", write_words[write->kind].infinitive,
								write->object->name));
		api_call_free(write->call);
		write->call = NULL;
	}
	check_identity(write);
	if (write->kind == WRITE_CHANGE)
		recent_note_object(write->connection, write->object->resource,
						   write->object->container, write->call->record);
	advance_state(write);
	api_call_free(write->call);
	write->call = NULL;
}

/* Carries out all that is queued.  Raises errors. */
void
writing_carry_out(void)
{
	dlist_iter	iter;

	queue_assert();
	read_objects();
	mark_last();
	for (int last = 0; last <= 1; last++)
		dlist_foreach(iter, &write_queue.writes)
			if (write_of(iter.cur)->object->siblings->come_last == (last == 1))
				carry_out(write_of(iter.cur));
}

/* Waits for the answers to writes that the transaction did not wait for. */
void
writing_finish(Ending *ending)
{
	dlist_iter	iter;

	queue_assert();
	Assert(!ending->committed || dlist_is_empty(&write_queue.sent) ||
		   sent_write(dlist_tail_node(&write_queue.sent))->state == WRITE_DONE);
	dlist_foreach(iter, &write_queue.sent)
	{
		QueuedWrite *write = sent_write(iter.cur);

		if (write->state == WRITE_SENT &&
			quiet_wait(write->call, &ending->patience))
			learn(write);
	}
}
