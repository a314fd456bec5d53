/*-------------------------------------------------------------------------
 *
 * search.c
 *	  The text of a condition that GitLab can search for.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/search.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* GitLab drops search terms that are shorter, in characters. */
#define MIN_SEARCH_LENGTH 3

/*
 * Whether this character, in UTF-8, is one that GitLab takes for a blank or a
 * quote, so that it ends a search term.  Ruby knows all of Unicode's blanks.
 */
static bool
ends_term(const char *p)
{
	pg_wchar	c;

	if (!IS_HIGHBIT_SET(*p))
		return *p == '\0' || strchr(" \t\n\v\f\r\"", *p);
	c = utf8_to_unicode((const unsigned char *) p);
	return c == 0x85 || c == 0xA0 || c == 0x1680 ||
		(c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
		c == 0x202F || c == 0x205F || c == 0x3000;
}

/*
 * The longest run of text that every matching name contains and that GitLab
 * searches for as it stands, in UTF-8: without wildcards, blanks and double
 * quotes.  NULL if there is none of three characters.
 */
char *
search_fragment(const Condition *condition)
{
	char	   *string = TextDatumGetCString(condition->operand);
	bool		pattern = condition->operator != CONDITION_EQUAL;
	bool		ascii_only = condition->operator == CONDITION_ILIKE ||
		GetDatabaseEncoding() == PG_SQL_ASCII;
	char	   *best = NULL;
	int			best_characters = MIN_SEARCH_LENGTH - 1;
	int			characters = 0;
	char	   *run;
	int			length = 0;
	char	   *p;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		string = pg_server_to_any(string, strlen(string), PG_UTF8);
	run = palloc(strlen(string) + 1);
	p = string;
	for (;;)
	{
		bool		ends = pattern && (*p == '%' || *p == '_');
		int			n;

		if (pattern && *p == '\\')
			p++;				/* what it escapes is taken as it stands */
		ends = ends || (ascii_only && IS_HIGHBIT_SET(*p)) || ends_term(p);
		if (!ends)
		{
			n = pg_encoding_mblen(PG_UTF8, p);
			memcpy(run + length, p, n);
			length += n;
			characters++;
			p += n;
			continue;
		}
		if (characters > best_characters)
		{
			best = pnstrdup(run, length);
			best_characters = characters;
		}
		length = characters = 0;
		if (*p == '\0')
			break;
		p += IS_HIGHBIT_SET(*p) && !ascii_only ? pg_encoding_mblen(PG_UTF8, p) : 1;
	}
	return best;
}
