/*-------------------------------------------------------------------------
 *
 * container.c
 *	  Which project or group is meant: by its number or by its path.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/container.h"
#include "lib/ilist.h"
#include "utils/formatting.h"
#include "utils/memutils.h"

/* A container in which the transaction writes.  Names are in lower case. */
typedef struct WrittenContainer
{
	dlist_node	link;
	uint64		instance;		/* of GitLab: see Connection */
	const Resource *resource;
	char	   *name;
	char	   *known_as;		/* the first name of it; maybe this one */
	Oid			asked_by;		/* the user mapping with which GitLab was last
								 * asked for its other name */
	char	   *other_name;		/* its path or its number; NULL: not known */
} WrittenContainer;

/* Of the current transaction. */
static MemoryContext context = NULL;
static dlist_head written = DLIST_STATIC_INIT(written);

/*
 * The container that a row names, in UTF-8.  Raises an error for what can be none:
 * the steps of a path would lead elsewhere.
 */
const char *
container_checked(JsonRecord *row, const ResourceField *field)
{
	const char *text;
	int64		number;

	if (field->type == FIELD_BIGINT)
	{
		if (!record_integer(row, field->name, &number))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" must be positive", field->name)));
		return psprintf(INT64_FORMAT, number);
	}
	text = record_text(row, field->name);
	if (text == NULL || !resource_is_name(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a full path or an id", field->name)));
	return pstrdup(text);
}

/* The container that a record is in, in UTF-8; empty if it is in none. */
const char *
container_of(const Resource *resource, JsonRecord *record)
{
	return resource->containers[0] ?
		record_text(record, resource->containers[0]) : "";
}

static bool
is_number(const char *name)
{
	return strspn(name, "0123456789") == strlen(name);
}

/* Asks GitLab for the other name of a container. */
static void
ask(ApiClient *client, WrittenContainer *container)
{
	const Resource *resource = container->resource;
	ApiCall    *call;
	MemoryContext saved;
	const char *path;
	int64		number;

	call = api_get(client, resource_container_path(resource, container->name),
				   true, psprintf("look up %s \"%s\"", resource->container_name,
								  connection_shown_name(container->name)));
	container->asked_by = api_connection(client)->umid;
	if (call == NULL)
		return;
	path = record_text(call->record, "path_with_namespace");
	if (path == NULL)
		path = record_text(call->record, "full_path");
	if (path && record_id(call->record, &number))
	{
		saved = MemoryContextSwitchTo(context);
		container->other_name = is_number(container->name) ?
			asc_tolower(path, strlen(path)) : psprintf(INT64_FORMAT, number);
		MemoryContextSwitchTo(saved);
	}
	api_call_free(call);
}

/*
 * The name by which the transaction knows a container: the same for its number and
 * its path, however that is written.  GitLab is asked about what the transaction
 * writes to by a name of the other kind, not about what a scan looks into: that may
 * be many.  In UTF-8, palloc'ed or until the end of the transaction.
 */
const char *
container_known_as(ApiClient *client, const Resource *resource,
				   const char *name)
{
	uint64		instance = api_connection(client)->instance;
	char	   *lower = asc_tolower(name, strlen(name));
	dlist_iter	iter;

	dlist_foreach(iter, &written)
	{
		WrittenContainer *container = dlist_container(WrittenContainer, link,
													  iter.cur);

		if (container->instance != instance || container->resource != resource)
			continue;
		if (strcmp(container->name, lower) == 0)
			return container->known_as;
		if (is_number(container->name) == is_number(lower))
			continue;
		/* what one credential does not see, another one may */
		if (container->other_name == NULL &&
			container->asked_by != api_connection(client)->umid)
			ask(client, container);
		if (container->other_name && strcmp(container->other_name, lower) == 0)
			return container->known_as;
	}
	return lower;
}

/* Notes that the transaction writes to a container of that name. */
void
container_note(ApiClient *client, const Resource *resource, const char *name)
{
	uint64		instance = api_connection(client)->instance;
	const char *known_as = container_known_as(client, resource, name);
	char	   *lower = asc_tolower(name, strlen(name));
	WrittenContainer *container;
	MemoryContext saved;
	dlist_iter	iter;

	dlist_foreach(iter, &written)
	{
		container = dlist_container(WrittenContainer, link, iter.cur);
		if (container->instance == instance && container->resource == resource &&
			strcmp(container->name, lower) == 0)
			return;
	}
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
										"gitlab_pat_fdw containers",
										ALLOCSET_SMALL_SIZES);
	saved = MemoryContextSwitchTo(context);
	container = palloc0(sizeof(WrittenContainer));
	container->instance = instance;
	container->resource = resource;
	container->name = pstrdup(lower);
	container->known_as = pstrdup(known_as);
	MemoryContextSwitchTo(saved);
	dlist_push_tail(&written, &container->link);
}

/* The transaction is over. */
void
container_forget(void)
{
	dlist_init(&written);
	if (context)
		MemoryContextReset(context);
}
