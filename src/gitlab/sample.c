/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  How long a list is that is paged by keyset.
 *
 * GitLab does not count such a list, but does so when it is asked for by offset.
 * The answer is its first page, which is all of most lists.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/jsonc.h"
#include "gitlab/sample.h"
#include "gitlab/steps.h"
#include "gitlab/words.h"
#include "miscadmin.h"

/* How a list is asked for pages by keyset. */
#define PARAMETER_PAGINATION "pagination"

/* Makes the call for the first page of a list, as if it was not paged by keyset. */
static ApiCall *
page_call(ApiClient *client, const Resource *resource,
		  const StreamListing *listing)
{
	ApiCall    *call = api_client_call(client, "GET", resource->path);
	char		number[32];
	ListCell   *lc;

	call->resource = resource;
	foreach(lc, listing->parameters)
		api_add_parameter(call, ((ApiParameter *) lfirst(lc))->name,
						  ((ApiParameter *) lfirst(lc))->value);
	for (const ResourceParameter *p = resource->list_parameters; p->name; p++)
		if (strcmp(p->name, PARAMETER_PAGINATION) != 0)
			api_add_parameter(call, p->name, p->value);
	snprintf(number, sizeof(number), "%d", listing->page_size);
	api_add_parameter(call, "per_page", number);
	api_add_parameter(call, "page", "1");
	return call;
}

/*
 * Asks for the first page of a list that is paged by keyset, in a way in which GitLab
 * says how long the list is.  *total is that, or -1 if GitLab doesn't count so far.  The
 * call's record is an array, for sample_record().  Raises the errors of failed requests.
 */
ApiCall *
sample_open(ApiClient *client, const Resource *resource,
			const StreamListing *listing, int64 *total)
{
	const ApiTarget whole = {.path = resource->path};
	const char *action = steps_action(resource, &whole);
	ApiCall    *call;
	int64		id;

	for (;;)
	{
		call = page_call(client, resource, listing);
		api_call_start(call);
		api_wait(&call, 1);
		if (!api_credential_renewed(client, call))
			break;
		api_call_free(call);
	}
	api_check(call, action);
	if (!json_object_is_type(call->record, json_type_array))
		api_refuse_answer(call, action, "The answer is not a JSON array");
	while (api_read_elements(call))
		CHECK_FOR_INTERRUPTS();
	if (call->problem)
		api_report(call, action);
	for (size_t i = 0; i < json_object_array_length(call->record); i++)
		if (!record_id(json_object_array_get_idx(call->record, i), &id))
			api_refuse_answer(call, action,
							  "An element of the answer has no valid field \"id\"");
	*total = api_integer_header(call, "X-Total");
	if (*total == PG_INT64_MAX)
		*total = -1;
	api_statistics(client)->pages++;
	return call;
}

/* The record of that number, from 0, in a page; NULL: there are no more. */
JsonRecord *
sample_record(ApiClient *client, ApiCall *call, int number)
{
	if ((size_t) number >= json_object_array_length(call->record))
		return NULL;
	api_statistics(client)->rows++;
	return json_object_array_get_idx(call->record, number);
}
