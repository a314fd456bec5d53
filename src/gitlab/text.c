/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Text from outside, made fit for messages.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/call.h"
#include "gitlab/text.h"

/* Blanks out a secret of which the end of the text leaves the beginning. */
void
blank_cut_secret(char *text, const char *secret)
{
	size_t		length = strlen(text);

	for (size_t n = Min(strlen(secret), length); n >= MIN_SECRET_LENGTH; n--)
	{
		if (memcmp(text + length - n, secret, n) == 0)
		{
			memset(text + length - n, '*', n);
			return;
		}
	}
}

/* Blanks out a secret wherever it stands. */
void
blank_all(char *text, const char *secret)
{
	while ((text = strstr(text, secret)) != NULL)
	{
		memset(text, '*', strlen(secret));
		text += strlen(secret);
	}
}

/* Blanks out each run of text that begins with prefix; by bytes. */
void
blank_tokens(char *text, const char *prefix, size_t at_least)
{
	static const char token_characters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~+/";
	size_t		length = strlen(prefix);
	char	   *found = text;

	while (length > 0 && (found = strstr(found, prefix)) != NULL)
	{
		size_t		run = length + strspn(found + length, token_characters);

		if (run >= at_least)
			memset(found, '*', run);
		found += run;
	}
}
