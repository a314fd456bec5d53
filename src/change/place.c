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
#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* The longest name, in bytes, that an SQL statement in a message repeats. */
#define MAX_NAME_IN_SQL 255

/*
 * Adds a condition on a column, with an AND behind, to an SQL statement for a message.
 * A text that messages do not show as it is would select nothing: then a sentence in
 * remark says that the condition is left out.
 */
void
place_add_condition(const char *column, const char *utf8, StringInfo condition,
					StringInfo remark)
{
	char	   *exact = connection_exact_name(utf8, MAX_NAME_IN_SQL);

	if (exact)
		appendStringInfo(condition, "%s = %s AND ", column,
						 quote_literal_cstr(exact));
	else
		appendStringInfo(remark, " The condition on \"%s\" is left out, because messages do not show all of its value.",
						 column);
}

static void
append_container(const RemoteChange *change, const ResourceField *field,
				 const char *text, StringInfo condition, StringInfo remark,
				 StringInfo words)
{
	const char *column = change_column(change, field->name);

	if (column && field->type != FIELD_TEXT)
		appendStringInfo(condition, "%s = %s AND ", column, text);
	else if (column)
		place_add_condition(column, text, condition, remark);
	if (field->choices == NULL)
		appendStringInfo(words, "%s\"%s\"", words->len > 0 ? ", " : " of ",
						 connection_shown_name(text));
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
	StringInfoData remark;
	StringInfoData words;

	initStringInfo(&condition);
	initStringInfo(&remark);
	initStringInfo(&words);
	/* what messages show of a name depends on the credential */
	(void) api_connection(change->client);
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		const ResourceField *field = resource_field(resource,
													resource->containers[i]);

		place->containers[i] = container_checked(row, field);
		append_container(change, field, place->containers[i], &condition,
						 &remark, &words);
	}
	place->collection = resource_path(resource, place->containers, NULL);
	place->revoke_at = place->collection;
	place->rotate_at = resource->rotate_path ? resource->rotate_path :
		place->collection;
	place->condition = condition.data;
	place->remark = remark.data;
	place->words = words.data;
	return place;
}
