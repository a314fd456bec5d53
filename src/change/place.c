/*-------------------------------------------------------------------------
 *
 * place.c
 *	  Where a token is: in GitLab's URLs, in SQL, and in words.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/container.h"
#include "change/place.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

static void
append_container(const RemoteChange *change, const ResourceField *field,
				 const char *text, StringInfo condition, StringInfo words)
{
	const char *column = change_column(change, field->name);
	const char *shown = pg_any_to_server(text, strlen(text), PG_UTF8);

	if (column)
		appendStringInfo(condition, "%s = %s AND ", column,
						 field->type == FIELD_TEXT ? quote_literal_cstr(shown) :
						 shown);
	if (field->choices == NULL)
		appendStringInfo(words, "%s\"%s\"", words->len > 0 ? ", " : " of ",
						 shown);
}

/*
 * The place that a row names, at least by its containers, in the current memory
 * context.
 */
TokenPlace *
place_of_token(const RemoteChange *change, JsonRecord *row)
{
	const Resource *resource = change->settings->resource;
	TokenPlace *place = palloc0(sizeof(TokenPlace));
	StringInfoData condition;
	StringInfoData words;

	initStringInfo(&condition);
	initStringInfo(&words);
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		const ResourceField *field = resource_field(resource,
													resource->containers[i]);

		place->containers[i] = container_checked(row, field);
		append_container(change, field, place->containers[i], &condition,
						 &words);
	}
	place->collection = resource_path(resource, place->containers, NULL);
	place->revoke_at = place->collection;
	place->rotate_at = resource->rotate_path ? resource->rotate_path :
		place->collection;
	place->condition = condition.data;
	place->words = words.data;
	return place;
}
