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
#include "gitlab/jsonc.h"

/* GitLab's objects are nested five deep at the most. */
#define MAX_JSON_DEPTH 16

/*
 * What json-c takes for one of each, in bytes, as seen with its versions so far.
 * The text of strings comes on top of that, bounded by max_response_size: GitLab
 * sets no limit to the name of a token.
 */
#define OBJECT_MEMORY 800
#define ARRAY_MEMORY 400
#define VALUE_MEMORY 160

/* Of the parser, whose stack has a place for each level. */
#define PARSER_MEMORY (16 * 1024)

/* A hundred users of GitLab's, as administrators see them, take 3 MB. */
#define MAX_MEMORY (32 * 1024 * 1024)

/* Members that are looked at where a body is not as it should be; a token has 20. */
#define MAX_SALVAGED_MEMBERS 1000

const char	body_out_of_memory[] = "Out of memory";

static const char not_json[] = "The answer is not valid JSON";
static const char blanks[] = " \t\r\n";

/*
 * What json-c may take at the same time for values of this weight, in a text of so
 * many bytes: an object that grows is there twice for a while, and so is the buffer of
 * the string under way.
 */
static size_t
reserved(size_t weight, size_t length)
{
	return PARSER_MEMORY + 2 * weight + 4 * length;
}

static size_t
skip_blanks(const char *text, size_t length, size_t position)
{
	while (position < length && text[position] != '\0' &&
		   strchr(blanks, text[position]))
		position++;
	return position;
}

/*
 * Why json-c may not parse this text: it would take too much memory; or NULL.
 * Counts what begins a value, outside of strings.  json-c reads more than JSON:
 * what would mislead the counting, quotes of another kind and comments, is
 * refused here.
 *
 * *reserve is what json-c may take for the heaviest value at this depth: 0 is the
 * whole text, 1 an element of a list.
 */
static const char *
weigh(const char *text, size_t length, int depth, size_t *reserve)
{
	size_t		weight = 0;
	size_t		begun = 0;		/* bytes and weight where the value began */
	size_t		weight_begun = 0;
	int			level = 0;

	*reserve = 0;
	for (size_t i = 0; i < length && weight <= MAX_MEMORY; i++)
	{
		size_t		all;

		switch (text[i])
		{
			case '"':
				for (i++; i < length && text[i] != '"'; i++)
				{
					if (text[i] == '\\')
						i++;
				}
				continue;
			case '{':
				level++;
				weight += OBJECT_MEMORY;
				continue;
			case '[':
				level++;
				weight += ARRAY_MEMORY;
				continue;
			case '}':
			case ']':
				level--;
				break;
			case ',':
				weight += VALUE_MEMORY;
				break;
			case '\'':
			case '/':
				return not_json;
			default:
				continue;
		}
		/* a list's last element ends with the list */
		if (level > depth || (level == depth && text[i] != ','))
			continue;
		all = reserved(weight - weight_begun, i - begun);
		*reserve = Max(*reserve, all);
		begun = i;
		weight_begun = weight;
	}
	*reserve = Max(*reserve, reserved(weight - weight_begun, length - begun));
	return weight > MAX_MEMORY ?
		"The answer's JSON has more values than any answer of GitLab's" : NULL;
}

/*
 * Parses the value that begins at *position, and moves that behind it.
 *
 * Before its version 0.17, json-c goes on after a failing allocation: it leaves out
 * a member, or crashes at the next use of a key that it could not copy.  So all that
 * it may take is allocated beforehand, and given back at once.  What it leaves out
 * all the same, errno tells of.
 */
static JsonRecord *
parse_value(const char *text, size_t length, size_t *position, int depth,
			size_t reserve, const char **problem)
{
	struct json_tokener *tokener = NULL;
	enum json_tokener_error error;
	JsonRecord *record;
	size_t		begin = skip_blanks(text, length, *position);
	void	   *volatile probe = malloc(reserve);	/* not optimized away */
	bool		exhausted;

	/*
	 * json-c counts the values inside the innermost array as a level.  Its
	 * strict mode is not used: json-c 0.18 refuses all but ASCII in it.
	 */
	if (probe)
		tokener = json_tokener_new_ex(depth + 1);
	free(probe);
	*problem = tokener ? NULL : body_out_of_memory;
	if (tokener == NULL)
		return NULL;
	errno = 0;
	record = json_tokener_parse_ex(tokener, text + begin,
								   (int) Min(length - begin, PG_INT32_MAX));
	exhausted = errno == ENOMEM;
	error = json_tokener_get_error(tokener);
	*position = begin + json_tokener_get_parse_end(tokener);
	/* only the literal "null" has no record */
	if (exhausted ||
		(error == json_tokener_success && record == NULL &&
		 (begin == length || text[begin] != 'n')))
		*problem = body_out_of_memory;
	else if (error == json_tokener_error_depth)
		*problem = "The answer's JSON is nested too deeply";
	else if (error != json_tokener_success)
		*problem = not_json;
	/* the last strings that it took in, a secret maybe */
	if (tokener->pb && tokener->pb->buf)
		explicit_bzero(tokener->pb->buf, tokener->pb->size);
	json_tokener_free(tokener);
	if (*problem)
	{
		record_free(record);
		record = NULL;
	}
	return record;
}

/*
 * Parses a body of one value.  Returns NULL if there is a problem, and for the
 * literal "null".
 */
JsonRecord *
body_parse(const char *text, size_t length, const char **problem)
{
	JsonRecord *record;
	size_t		end = 0;
	size_t		reserve;

	*problem = weigh(text, length, 0, &reserve);
	if (*problem)
		return NULL;
	record = parse_value(text, length, &end, MAX_JSON_DEPTH, reserve, problem);
	if (*problem == NULL && skip_blanks(text, length, end) != length)
	{
		*problem = not_json;
		record_free(record);
		record = NULL;
	}
	return record;
}

/* Where the value that begins at a position ends; length if it does not. */
static size_t
end_of_value(const char *text, size_t length, size_t position)
{
	int			level = 0;

	for (size_t i = position; i < length; i++)
		switch (text[i])
		{
			case '"':
				for (i++; i < length && text[i] != '"'; i++)
				{
					if (text[i] == '\\')
						i++;
				}
				break;
			case '{':
			case '[':
				level++;
				break;
			case '}':
			case ']':
				if (level-- == 0)
					return i;
				break;
			case ',':
			case ':':
				if (level == 0)
					return i;
				break;
			default:
				break;
		}
	return length;
}

/*
 * Parses the value that begins at *position, and moves that to its end.  NULL if it
 * cannot be read, or would take more than *room; what it takes is subtracted.
 */
static JsonRecord *
salvage_value(const char *text, size_t length, size_t *position, size_t *room)
{
	size_t		begin = *position;
	size_t		parsed = begin;
	size_t		reserve;
	const char *problem;
	JsonRecord *value = NULL;

	*position = end_of_value(text, length, begin);
	problem = weigh(text + begin, *position - begin, 0, &reserve);
	if (problem == NULL && reserve <= *room)
		value = parse_value(text, length, &parsed, MAX_JSON_DEPTH - 1, reserve,
							&problem);
	if (value && skip_blanks(text, *position, parsed) != *position)
	{
		record_free(value);
		value = NULL;
	}
	if (value)
		*room -= reserve - PARSER_MEMORY;
	return value;
}

/*
 * What can be read of an object, whatever is wrong with the rest of the body: its
 * members, but for those that are null, nested too deeply, too large, or not JSON.
 * NULL if the body does not begin as an object, or memory is short.  The caller frees
 * it.
 */
JsonRecord *
body_salvage(const char *text, size_t length)
{
	size_t		at = skip_blanks(text, length, 0);
	size_t		room = MAX_MEMORY;
	JsonRecord *object = at < length && text[at] == '{' ?
		json_object_new_object() : NULL;

	for (int n = 0; object && n < MAX_SALVAGED_MEMBERS && at < length &&
		 (text[at] == '{' || text[at] == ','); n++)
	{
		JsonRecord *name;
		JsonRecord *value = NULL;

		at = skip_blanks(text, length, at + 1);
		name = salvage_value(text, length, &at, &room);
		if (at < length && text[at] == ':')
		{
			at = skip_blanks(text, length, at + 1);
			value = salvage_value(text, length, &at, &room);
		}
		if (json_object_is_type(name, json_type_string) && value &&
			json_object_object_add(object, json_object_get_string(name),
								   json_object_get(value)) != 0)
			json_object_put(value);
		json_object_put(name);
		json_object_put(value);
	}
	return object;
}

/*
 * Whether this is a body for body_next().  *reserve is for that: what json-c
 * may take for an element.
 */
bool
body_is_list(const char *text, size_t length, size_t *reserve,
			 const char **problem)
{
	size_t		begin = skip_blanks(text, length, 0);

	*problem = NULL;
	if (begin == length || text[begin] != '[')
		return false;
	*problem = weigh(text, length, 1, reserve);
	return *problem == NULL;
}

/*
 * Reads the next element of a list; *position is 0 before the first one.  False at
 * the end, and if there is a problem.  The element is NULL for the literal "null".
 */
bool
body_next(const char *text, size_t length, size_t reserve, size_t *position,
		  JsonRecord **element, const char **problem)
{
	size_t		at = skip_blanks(text, length, *position);
	bool		first = *position == 0;

	*element = NULL;
	*problem = not_json;
	if (first)
	{
		Assert(at < length && text[at] == '[');
		at = skip_blanks(text, length, at + 1);
	}
	if (at < length && text[at] == ']')
	{
		if (skip_blanks(text, length, at + 1) == length)
			*problem = NULL;
		return false;
	}
	if (!first)
	{
		if (at == length || text[at] != ',')
			return false;
		at++;
	}
	*position = at;
	*element = parse_value(text, length, position, MAX_JSON_DEPTH - 1, reserve,
						   problem);
	return *problem == NULL;
}
