/*-------------------------------------------------------------------------
 *
 * listing.c
 *	  How a collection is asked for, and what a page shows of whom it asked and of
 *	  the pages that follow.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/jsonc.h"
#include "gitlab/listing.h"
#include "pgtime.h"

/* A call for what a target names. */
ApiCall *
listing_call(ApiClient *client, const Resource *resource,
			 const ApiTarget *target)
{
	ApiCall    *call = api_client_call(client, "GET", target->path);
	ListCell   *lc;

	call->resource = resource;
	foreach(lc, target->parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		api_add_parameter(call, parameter->name, parameter->value);
	}
	return call;
}

/*
 * Adds the listing's parameters, and limits what is asked for to what had been
 * created at a time, if that is known.
 */
void
listing_ask(const StreamListing *listing, const Resource *resource,
			ApiClient *client, const char *frozen_at, ApiCall *call)
{
	const char *limit = frozen_at ? resource->created_before : NULL;
	const ResourceParameter *own = &resource->own;
	ListCell   *lc;

	foreach(lc, listing->parameters)
	{
		ApiParameter *parameter = lfirst(lc);
		const char *value = parameter->value;

		if (limit && strcmp(parameter->name, limit) == 0)
		{
			/* both have the same form, whose order is that of time */
			if (strcmp(frozen_at, value) < 0)
				value = frozen_at;
			limit = NULL;
		}
		api_add_parameter(call, parameter->name, value);
	}
	if (limit)
		api_add_parameter(call, limit, frozen_at);
	if (own->name && !api_known_to_see_all(client))
		api_add_parameter(call, own->name, own->value);
	for (const ResourceParameter *p = resource->list_parameters; p->name; p++)
		api_add_parameter(call, p->name, p->value);
}

/*
 * Parameters that select what was created between two times besides, both of them
 * included; NULL: no limit.
 */
List *
listing_between(const StreamListing *listing, const Resource *resource,
				const char *after, const char *before)
{
	const char *after_name = resource->created_after;
	const char *before_name = resource->created_before;
	List	   *parameters = NIL;
	ListCell   *lc;

	/* all have the same form, whose order is that of time */
	foreach(lc, listing->parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		if (strcmp(parameter->name, after_name) == 0)
		{
			if (after == NULL || strcmp(parameter->value, after) > 0)
				after = parameter->value;
		}
		else if (strcmp(parameter->name, before_name) == 0)
		{
			if (before == NULL || strcmp(parameter->value, before) < 0)
				before = parameter->value;
		}
		else
			parameters = lappend(parameters, parameter);
	}
	if (after)
		parameters = list_concat(parameters, api_parameter(after_name, after));
	if (before)
		parameters = list_concat(parameters,
								 api_parameter(before_name, before));
	return parameters;
}

/* Returns the instance's time zone, as the time stamps of a page show it. */
InstanceZone
listing_zone(ApiCall *call)
{
	InstanceZone zone = ZONE_UNKNOWN;
	size_t		n = json_object_is_type(call->record, json_type_array) ?
		json_object_array_length(call->record) : 0;

	for (size_t i = 0; i < n && zone == ZONE_UNKNOWN; i++)
		zone = zone_of_record(json_object_array_get_idx(call->record, i));
	zone_learn(call->connection, zone);
	return zone;
}

/* Only administrators see the tokens of others in a list, or those of several users. */
void
listing_learn_sight(const Resource *resource, ApiCall *call)
{
	Connection *connection = call->connection;
	const char *owner = resource->owner_parameter;
	size_t		n = json_object_array_length(call->record);
	int64		first;
	int64		other;

	if (owner == NULL || connection->sight == SIGHT_ALL || n == 0 ||
		!record_integer(json_object_array_get_idx(call->record, 0), owner, &first))
		return;
	if (connection->self != SELF_UNKNOWN && first != connection->self_user_id)
		connection->sight = SIGHT_ALL;
	for (size_t i = 1; i < n; i++)
		if (record_integer(json_object_array_get_idx(call->record, i), owner,
						   &other) && other != first)
			connection->sight = SIGHT_ALL;
}

/* Whether a list of parameters has one of this name. */
static bool
has_parameter(List *parameters, const char *name)
{
	ListCell   *lc;

	foreach(lc, parameters)
		if (strcmp(((ApiParameter *) lfirst(lc))->name, name) == 0)
			return true;
	return false;
}

/*
 * Whether a refusal of the list's first page can mean that there is nothing, rather than
 * that something is wrong: the list is that of an owner who may not exist.
 */
bool
listing_names_owner(const StreamListing *listing, const Resource *resource)
{
	const char *owner = resource->owner_parameter;

	return owner && (has_parameter(listing->parameters, owner) ||
					 (listing->target && has_parameter(listing->target->parameters, owner)));
}

/* When a page was answered, in the form of a parameter, in a context; or NULL. */
char *
listing_answer_time(ApiCall *call, MemoryContext context)
{
	pg_time_t	when = api_date(call);
	char		buf[64];

	if (when < 0)
		return NULL;
	pg_strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S.000Z", pg_gmtime(&when));
	return MemoryContextStrdup(context, buf);
}

/*
 * Whether an answer to a list may be taken for an empty one, because what it is
 * about may not be read or is not there.  An error that says so will be the
 * role's.
 */
bool
listing_may_skip(ApiClient *client, const Resource *resource, ApiCall *call,
				 bool skips)
{
	return resource->containers[0] && api_means_closed(client, call) && skips;
}

/* The parameter that names the next page of a list by keyset. */
const char *
listing_keyset_parameter(const Resource *resource)
{
	return resource->keyset_parameter ? resource->keyset_parameter : "cursor";
}

/*
 * Whether this is the last page of a list by keyset, although its link names
 * another one.  GitLab's list of projects always names one.  The link also says
 * how many rows a page may have.
 */
static bool
is_last_page(const Resource *resource, ApiCall *call)
{
	char	   *limit;

	if (resource->keyset_parameter == NULL)
		return false;
	limit = api_link_parameter(call, "next", "per_page");
	return limit &&
		json_object_array_length(call->record) < strtoul(limit, NULL, 10);
}

/*
 * What the headers of a page, with this number and at most so many records, say about
 * those that follow.  A server that knows no keyset for this list answers by offset.
 */
NextPage
listing_next(const Resource *resource, ApiCall *call, bool keyset, int64 page,
			 int page_size)
{
	NextPage	next = {.last = api_integer_header(call, "X-Total-Pages")};
	const char *number = api_header(call, "X-Next-Page");

	if (keyset)
	{
		const char *cursor = api_header(call, "X-Next-Cursor");

		if (cursor == NULL || cursor[0] == '\0')
			cursor = api_link_parameter(call, "next",
										listing_keyset_parameter(resource));
		if (is_last_page(resource, call))
			return next;
		if (cursor && cursor[0])
		{
			next.exists = true;
			next.cursor = cursor;
			return next;
		}
		if (number == NULL || number[0] == '\0')
		{
			if (cursor)
				next.problem = "The link to the next page has no cursor";
			return next;
		}
	}

	/*
	 * An empty header says that this is the last page.  If a proxy has
	 * removed the headers, a page that is not full does.
	 */
	next.exists = number ? number[0] != '\0' :
		next.last > 0 ? page < next.last :
		json_object_array_length(call->record) >= (size_t) page_size;
	return next;
}

/*
 * A part of a listing: what was created between two times, as listing_between() has it,
 * in whatever order, and all of it.
 */
StreamListing
listing_part(const StreamListing *listing, const Resource *resource,
			 const char *after, const char *before)
{
	StreamListing part = *listing;
	ListCell   *lc;

	part.parameters = NIL;
	foreach(lc, listing_between(listing, resource, after, before))
		if (strcmp(((ApiParameter *) lfirst(lc))->name, PARAMETER_SORT) != 0)
			part.parameters = lappend(part.parameters, lfirst(lc));
	part.order_by = NULL;
	part.expected_rows = 0;
	return part;
}
