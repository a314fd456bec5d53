/*-------------------------------------------------------------------------
 *
 * fuzz_body.c
 *	  Fuzzing what bounds the memory that an answer's body may take.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "gitlab/body.c"

/*
 * Checks a list that can be read: each of its values was counted, whether all were
 * measured or not, and it has nothing in it that measuring refuses.
 */
void
fuzz_check_list(const char *text, size_t length)
{
	BodyList	list = {.text = malloc(length + 1), .length = length};
	JsonRecord *elements = json_object_new_array();
	const char *problem;
	size_t		weight = 0;

	memcpy(list.text, text, length + 1);
	while (body_read(&list, elements, &problem))
		;
	if (problem == NULL)
	{
		size_t		begin = skip_blanks(text, length, 0);
		size_t		end = measure(text, length, begin + 1, length, &weight, &problem);

		if (problem || end == length || text[end] != ']')
			fuzz_fail("a list was read that can't be measured", problem ? problem : "");
		if (list.weight < weight)
			fuzz_fail("a list takes more memory than was reserved", "");
	}
	json_object_put(elements);
	free(list.text);
}
