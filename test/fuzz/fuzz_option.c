/*-------------------------------------------------------------------------
 *
 * fuzz_option.c
 *	  Fuzzing the options of servers, tables, columns and user mappings.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "gitlab/option.c"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"

#define MAX_OPTIONS 16

/* What the validator accepted must be good for the settings as well. */
static void
use_options(List *given, Oid catalog)
{
	ListCell   *lc;

	foreach(lc, given)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const OptionSpec *spec = find_option(def->defname, catalog);
		int			number;

		if (spec->type != OPTION_INTEGER && spec->type != OPTION_DURATION &&
			spec->type != OPTION_SIZE)
			continue;
		number = number_or(given, catalog, def->defname, -1);
		if (number < spec->min || number > spec->max)
			fuzz_fail("a number is out of range", def->defname);
	}
}

/* The first byte says whose the options are; then come lines "name=value". */
void
fuzz_option(const uint8 *data, size_t size)
{
	Datum		words[MAX_OPTIONS];
	int			nwords = 0;
	char	   *line;
	Oid			catalog;
	Datum		array;

	if (size == 0 ||
		pg_encoding_verifymbstr(PG_UTF8, (const char *) data + 1, size - 1) !=
		(int) size - 1)
		return;
	catalog = catalogs[data[0] % lengthof(catalogs)].catalog;
	line = fuzz_string(data + 1, size - 1);
	(void) option_version(line);
	while (line && nwords < MAX_OPTIONS)
	{
		char	   *end = strchr(line, '\n');

		if (end)
			*end++ = '\0';
		/* the server itself writes the names and the equals signs */
		if (strchr(line, '='))
			words[nwords++] = CStringGetTextDatum(line);
		line = end;
	}
	array = PointerGetDatum(construct_array(words, nwords, TEXTOID, -1, false,
											TYPALIGN_INT));
	PG_TRY();
	{
		(void) DirectFunctionCall2(gitlab_pat_fdw_validator, array,
								   ObjectIdGetDatum(catalog));
		use_options(untransformRelOptions(array), catalog);
	}
	FUZZ_EXPECT(ERRCODE_INVALID_PARAMETER_VALUE,
				ERRCODE_FDW_INVALID_OPTION_NAME,
				ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED);
}
