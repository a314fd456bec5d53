/*-------------------------------------------------------------------------
 *
 * body.c
 *	  The JSON in an answer's body, within bounds.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/body.h"
#include "gitlab/call.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "http/exchange.h"

/* GitLab's objects are nested five deep at the most. */
#define MAX_JSON_DEPTH 16

/*
 * Parses a body.  Returns NULL and says in *problem what is wrong with it; the
 * literal "null" also gives NULL, without a problem.
 */
JsonRecord *
parse_json(HttpExchange *exchange, const char **problem)
{
	struct json_tokener *tokener;
	enum json_tokener_error error;
	JsonRecord *record;
	size_t		end;

	*problem = NULL;
	if (!has_media_type(exchange, "application/json"))
	{
		*problem = "The answer is not JSON";
		return NULL;
	}

	/*
	 * json-c counts the values inside the innermost array as a level.  Its
	 * strict mode is not used: json-c 0.18 refuses all but ASCII in it.
	 */
	tokener = json_tokener_new_ex(MAX_JSON_DEPTH + 1);
	if (tokener == NULL)
	{
		*problem = "Out of memory";
		return NULL;
	}
	record = json_tokener_parse_ex(tokener, exchange->data ? exchange->data : "",
								   (int) exchange->length);
	error = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	/* the last strings that it took in, a secret maybe */
	if (tokener->pb && tokener->pb->buf)
		explicit_bzero(tokener->pb->buf, tokener->pb->size);
	json_tokener_free(tokener);
	while (end < exchange->length && exchange->data[end] != '\0' &&
		   strchr(" \t\r\n", exchange->data[end]))
		end++;
	if (error == json_tokener_error_depth)
		*problem = "The answer's JSON is nested too deeply";
	else if (error != json_tokener_success || end != exchange->length)
		*problem = "The answer is not valid JSON";
	if (*problem)
	{
		json_object_put(record);
		record = NULL;
	}
	return record;
}
