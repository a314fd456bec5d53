/*-------------------------------------------------------------------------
 *
 * listing.c
 *	  How a collection is asked for, and what a page shows of whom it asked.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/listing.h"
#include "gitlab/pages.h"
#include "http/request.h"

/*
 * Adds the listing's parameters, and limits pages after the first to what had
 * been created when that was answered.
 */
void
add_parameters(Stream *stream, ApiCall *call, bool frozen)
{
	const char *limit = frozen ? stream->resource->created_before : NULL;
	ListCell   *lc;

	foreach(lc, stream->listing.parameters)
	{
		ApiParameter *parameter = lfirst(lc);
		const char *value = parameter->value;

		if (limit && strcmp(parameter->name, limit) == 0)
		{
			/* both have the same form, whose order is that of time */
			if (strcmp(stream->frozen_at, value) < 0)
				value = stream->frozen_at;
			limit = NULL;
		}
		http_add_parameter(call->exchange, parameter->name, value);
	}
	if (limit)
		http_add_parameter(call->exchange, limit, stream->frozen_at);
	for (const ResourceParameter *p = stream->resource->list_parameters; p->name; p++)
		http_add_parameter(call->exchange, p->name, p->value);
}

/* A call for what a target names. */
ApiCall *
target_call(Stream *stream, const ApiTarget *target, const char *path)
{
	ApiCall    *call = api_client_call(stream->client, "GET", path);
	ListCell   *lc;

	call->resource = stream->resource;
	foreach(lc, target->parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		http_add_parameter(call->exchange, parameter->name, parameter->value);
	}
	return call;
}
