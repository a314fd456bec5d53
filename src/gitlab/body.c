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

/*
 * How much of a list is parsed at a time, in bytes, unless one element is longer.
 * Between two runs, interrupts are served.  One run takes most pages of tokens: to begin
 * costs json-c as much as to parse an eighth of a token, and the memory that it may take
 * is allocated beforehand once a run.
 */
#define MAX_RUN (64 * 1024)

/* A list whose values weigh no more is parsed unmeasured; a page of tokens weighs 0.4 MB. */
#define MAX_UNMEASURED (2 * 1024 * 1024)

/* Of the parser, whose stack has a place for each level. */
#define PARSER_MEMORY (16 * 1024)

/* A hundred users of GitLab's, as administrators see them, take 3 MB. */
#define MAX_MEMORY (32 * 1024 * 1024)

/* Members that are looked at where a body is not as it should be; a token has 20. */
#define MAX_SALVAGED_MEMBERS 1000

const char	body_out_of_memory[] = "Out of memory";

static const char not_json[] = "The answer is not valid JSON";

/*
 * What json-c may take at the same time for values of this weight, in a text of so
 * many bytes.  An object that grows is there twice for a while, and so is the buffer
 * of a string.
 */
static size_t
reserved(size_t weight, size_t length)
{
	return PARSER_MEMORY + 2 * weight + 4 * length;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t
skip_blanks(const char *text, size_t length, size_t position)
{
	while (position < length && is_blank(text[position]))
		position++;
	return position;
}

/*
 * Where the string whose text begins here has its closing quote; the length of the
 * whole text if it has none.
 */
static size_t
find_quote(const char *text, size_t length, size_t begin)
{
	size_t		from = begin;
	const char *quote;

	while ((quote = memchr(text + from, '"', length - from)) != NULL)
	{
		size_t		at = quote - text;
		size_t		escaped = at;

		while (escaped > from && text[escaped - 1] == '\\')
			escaped--;
		if ((at - escaped) % 2 == 0)
			return at;
		from = at + 1;
	}
	return length;
}

/*
 * Measures the values that begin here: adds what they weigh, and returns where they
 * end, which is with the list that they are in, or at the first comma of that list
 * after so many bytes.
 *
 * Counts what begins a value, outside of strings.  json-c reads more than JSON:
 * what would mislead the counting, quotes of another kind and comments, is
 * refused here, as is what would take too much memory.
 */
static size_t
measure(const char *text, size_t length, size_t begin, size_t enough,
		size_t *weight, const char **problem)
{
	size_t		i;
	size_t		sum = *weight;
	int			level = 0;
	bool		ended = false;

	*problem = NULL;
	for (i = begin; i < length && sum <= MAX_MEMORY; i++)
	{
		switch (text[i])
		{
			case '"':
				i = find_quote(text, length, i + 1);
				break;
			case '{':
				level++;
				sum += OBJECT_MEMORY;
				break;
			case '[':
				level++;
				sum += ARRAY_MEMORY;
				break;
			case '}':
			case ']':
				ended = level-- == 0;
				break;
			case ',':
				sum += VALUE_MEMORY;
				ended = level == 0 && i - begin >= enough;
				break;
			case '\'':
			case '/':
				*problem = not_json;
				return i;
		}
		if (ended)
			break;
	}
	*weight = sum;
	if (sum > MAX_MEMORY)
		*problem = "The answer's JSON has more values than any answer of GitLab's";
	return Min(i, length);
}

/* The bytes of one block, which an 8-bit counter can count. */
#define BLOCK 240

/* How often the marks of JSON occur in a text, within strings, too. */
typedef struct Census
{
	size_t		objects;
	size_t		arrays;
	size_t		commas;
	size_t		odd;			/* what measure() refuses outside of strings */
} Census;

/* Counts what a part of a text has; in a loop that compilers make vectors of. */
static inline void
count_block(const char *text, int length, Census *census)
{
	uint8		objects = 0;
	uint8		arrays = 0;
	uint8		commas = 0;
	uint8		odd = 0;

	for (int i = 0; i < length; i++)
	{
		objects += text[i] == '{';
		arrays += text[i] == '[';
		commas += text[i] == ',';
		odd += (text[i] == '\'') | (text[i] == '/');
	}
	census->objects += objects;
	census->arrays += arrays;
	census->commas += commas;
	census->odd += odd;
}

/*
 * What the values of a text weigh at the most, for what is in strings is counted as if it
 * were outside.  SIZE_MAX if measure() has to look, which takes nine times as long: what
 * it would refuse may be there.
 */
static size_t
bound_weight(const char *text, size_t length)
{
	Census		census = {0, 0, 0, 0};

	for (; length >= BLOCK; length -= BLOCK)
	{
		count_block(text, BLOCK, &census);
		text += BLOCK;
	}
	count_block(text, (int) length, &census);
	return census.odd > 0 ? SIZE_MAX : census.objects * OBJECT_MEMORY +
		census.arrays * ARRAY_MEMORY + census.commas * VALUE_MEMORY;
}

/*
 * Parses the value that a text begins with, and says where that ends.
 *
 * Before its version 0.17, json-c goes on after a failing allocation.  It leaves out
 * a member, or crashes at the next use of a key that it could not copy.  All that
 * json-c may take is therefore allocated beforehand, and given back at once.  What
 * it leaves out all the same, errno tells of.
 */
static JsonRecord *
parse_value(const char *text, size_t length, size_t weight, size_t *end,
			const char **problem)
{
	struct json_tokener *tokener = NULL;
	enum json_tokener_error error;
	JsonRecord *record;
	size_t		begin = skip_blanks(text, length, 0);
	void	   *volatile probe = malloc(reserved(weight, length));	/* not optimized away */
	bool		exhausted;

	/*
	 * json-c counts the values inside the innermost array as a level.  Its
	 * strict mode is not used: json-c 0.18 refuses all but ASCII in it.
	 */
	if (probe)
		tokener = json_tokener_new_ex(MAX_JSON_DEPTH + 1);
	free(probe);
	*problem = tokener ? NULL : body_out_of_memory;
	if (tokener == NULL)
		return NULL;
	errno = 0;
	record = json_tokener_parse_ex(tokener, text + begin,
								   (int) Min(length - begin, PG_INT32_MAX));
	exhausted = errno == ENOMEM;
	error = json_tokener_get_error(tokener);
	*end = begin + json_tokener_get_parse_end(tokener);
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
	size_t		weight = 0;
	size_t		end;

	(void) measure(text, length, 0, length, &weight, problem);
	if (*problem)
		return NULL;
	record = parse_value(text, length, weight, &end, problem);
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
				i = find_quote(text, length, i + 1);
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
	size_t		end = end_of_value(text, length, begin);
	size_t		weight = 0;
	size_t		taken;
	size_t		parsed;
	const char *problem;
	JsonRecord *value;

	*position = end;
	(void) measure(text, end, begin, end, &weight, &problem);
	taken = reserved(weight, end - begin);
	if (problem || taken > *room)
		return NULL;
	/* json-c sees where a number ends by what comes next */
	value = parse_value(text + begin, Min(end + 1, length) - begin, weight,
						&parsed, &problem);
	if (value && skip_blanks(text, end, begin + parsed) != end)
	{
		record_free(value);
		return NULL;
	}
	if (value)
		*room -= taken - PARSER_MEMORY;
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

/* Whether this is a body for body_read(). */
bool
body_is_list(const char *text, size_t length)
{
	size_t		begin = skip_blanks(text, length, 0);

	return begin < length && text[begin] == '[';
}

/* Where a text ends with the bracket of a list; length if it does not. */
static size_t
find_last_bracket(const char *text, size_t length)
{
	size_t		last = length;

	while (last > 0 && is_blank(text[last - 1]))
		last--;
	return last > 0 && text[last - 1] == ']' ? last - 1 : length;
}

/*
 * Parses the elements of a list between two places, where it has brackets and commas.
 * For json-c, they become a list of their own.
 */
static JsonRecord *
parse_elements(BodyList *list, size_t begin, size_t end, size_t weight,
			   const char **problem)
{
	char	   *text = list->text;
	char		before = text[begin];
	char		after = text[end];
	size_t		length = end + 1 - begin;
	size_t		parsed;
	JsonRecord *elements;

	text[begin] = '[';
	text[end] = ']';
	elements = parse_value(text + begin, length, weight, &parsed, problem);
	text[begin] = before;
	text[end] = after;
	if (*problem == NULL && parsed == length)
		return elements;
	if (*problem == NULL)
		*problem = not_json;
	record_free(elements);
	return NULL;
}

/* Moves elements to the end of an array.  False: there is too little memory. */
static bool
move_elements(JsonRecord *elements, JsonRecord *array)
{
	size_t		n = json_object_array_length(elements);

	for (size_t i = 0; i < n; i++)
	{
		JsonRecord *element = json_object_array_get_idx(elements, i);

		if (json_object_array_add(array, json_object_get(element)) != 0)
		{
			json_object_put(element);
			record_free(elements);
			return false;
		}
	}
	json_object_put(elements);
	return true;
}

/*
 * Where the elements that are parsed together end, of which the first follows this
 * bracket or comma.  Adds what they weigh.
 */
static size_t
end_of_run(BodyList *list, size_t begin, const char **problem)
{
	size_t		bound = list->position == 0 && list->length <= MAX_RUN ?
		bound_weight(list->text, list->length) : SIZE_MAX;

	*problem = NULL;
	if (bound > MAX_UNMEASURED)
		return measure(list->text, list->length, begin + 1, MAX_RUN,
					   &list->weight, problem);
	list->weight = bound;
	return find_last_bracket(list->text, list->length);
}

/*
 * Reads the next elements of a list to the end of an array.  False at the list's end,
 * and if there is a problem.
 */
bool
body_read(BodyList *list, JsonRecord *array, const char **problem)
{
	const char *text = list->text;
	size_t		begin = skip_blanks(text, list->length, list->position);
	size_t		weight = list->weight;
	size_t		end;
	size_t		last;
	JsonRecord *elements;

	*problem = not_json;
	if (list->position == 0)
	{
		Assert(begin < list->length && text[begin] == '[');
		end = skip_blanks(text, list->length, begin + 1);
		if (end < list->length && text[end] == ']')
			begin = end;
	}
	if (text[begin] == ']')
	{
		if (skip_blanks(text, list->length, begin + 1) == list->length)
			*problem = NULL;
		return false;
	}
	end = end_of_run(list, begin, problem);
	if (*problem)
		return false;
	*problem = not_json;
	/* json-c takes no element at all, and a comma after the last one */
	last = end;
	while (last > begin && is_blank(text[last - 1]))
		last--;
	if (end == list->length || text[end] == '}' || last == begin + 1 ||
		text[last - 1] == ',')
		return false;
	elements = parse_elements(list, begin, end, list->weight - weight, problem);
	if (*problem)
		return false;
	list->position = end;
	if (move_elements(elements, array))
		return true;
	*problem = body_out_of_memory;
	return false;
}
