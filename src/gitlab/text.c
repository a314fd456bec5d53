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

#include "catalog/namespace.h"
#include "gitlab/text.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/*
 * Characters that nobody sees, and that change what is seen: controls, format
 * characters, those of bidirectional text, and tags.
 */
static const struct
{
	pg_wchar	first;
	pg_wchar	last;
}			unseen[] = {
	{0x00, 0x1f}, {0x7f, 0x9f}, {0xad, 0xad}, {0x34f, 0x34f}, {0x600, 0x605},
	{0x61c, 0x61c}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},
	{0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164},
	{0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb},
	{0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

static bool
is_unseen(pg_wchar c)
{
	for (int i = 0; i < (int) lengthof(unseen); i++)
		if (c >= unseen[i].first && c <= unseen[i].last)
			return true;
	return false;
}

/*
 * Leaves valid UTF-8 whose characters are all seen.  What is between lines and words
 * becomes a blank.  Other characters that are not seen go without a trace, for they
 * may split a secret.  A byte that is none of UTF-8 becomes a question mark.
 */
void
text_leave_seen(char *text)
{
	unsigned char *in = (unsigned char *) text;
	unsigned char *out = in;
	size_t		left = strlen(text);

	while (left > 0)
	{
		int			length = pg_utf_mblen(in);

		if ((size_t) length > left || !pg_utf8_islegal(in, length))
		{
			*out++ = '?';
			length = 1;
		}
		else if (*in >= '\t' && *in <= '\r')
			*out++ = ' ';
		else if (!is_unseen(utf8_to_unicode(in)))
		{
			memmove(out, in, length);
			out += length;
		}
		in += length;
		left -= length;
	}
	*out = '\0';
}

/*
 * Blanks out a secret of which the end of the text leaves the beginning.  Of a
 * character that the end has cut there are question marks, one for each byte.
 */
static void
blank_cut_secret(char *text, const char *secret)
{
	size_t		length = strlen(text);
	size_t		end = length;

	for (;;)
	{
		for (size_t n = Min(strlen(secret), end); n >= MIN_SECRET_LENGTH; n--)
		{
			if (memcmp(text + end - n, secret, n) == 0)
			{
				memset(text + end - n, '*', length - end + n);
				return;
			}
		}
		if (end == 0 || length - end == 3 || text[end - 1] != '?')
			return;
		end--;
	}
}

/* Blanks out a secret wherever it stands. */
static void
blank_all(char *text, const char *secret)
{
	while ((text = strstr(text, secret)) != NULL)
	{
		memset(text, '*', strlen(secret));
		text += strlen(secret);
	}
}

/* Blanks out each run of text that begins with prefix; by bytes. */
static void
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

/* Cuts at the end of a character, and blanks off the end. */
static void
cut(char *text, size_t max_bytes)
{
	size_t		length = strlen(text);

	if (length > max_bytes)
	{
		length = max_bytes;
		/* not before a byte that goes on with a character */
		while (length > 0 && ((unsigned char) text[length] & 0xc0) == 0x80)
			length--;
	}
	while (length > 0 && text[length - 1] == ' ')
		length--;
	text[length] = '\0';
}

/* In an encoding other than UTF-8, only ASCII is sure. */
static void
leave_ascii(char *text)
{
	unsigned char *out = (unsigned char *) text;

	for (unsigned char *in = out; *in;)
	{
		int			length = pg_utf_mblen(in);

		*out++ = *in < 0x80 ? *in : '?';
		in += length;
	}
	*out = '\0';
}

/* Without secrets and what is not seen, and of max_bytes at the most; in UTF-8. */
static void
clean_utf8(char *text, size_t max_bytes, const Secrets *secrets)
{
	const char *credential = secrets->credential;

	text_leave_seen(text);
	if (credential && strlen(credential) >= MIN_SECRET_LENGTH)
		blank_tokens(text, credential, 1);
	if (credential)
		blank_cut_secret(text, credential);
	for (int i = 0; i < secrets->nothers && secrets->others[i]; i++)
	{
		blank_all(text, secrets->others[i]);
		blank_cut_secret(text, secrets->others[i]);
	}
	/* "glpat-" is the default prefix; others are glptt-, gldt-, glsoat-, ... */
	blank_tokens(text, "glpat-", 10);
	blank_tokens(text, "gloas-", 10);
	cut(text, max_bytes);
}

/*
 * Makes text in UTF-8 fit for a message, in its place: without secrets and what is
 * not seen.  The text has max_bytes at the most, and the database's encoding.  Of
 * what is not ASCII, encodings other than UTF-8 get question marks, for to convert
 * it takes the catalogs.
 */
void
text_clean(char *text, size_t max_bytes, const Secrets *secrets)
{
	clean_utf8(text, max_bytes, secrets);
	if (GetDatabaseEncoding() != PG_UTF8)
		leave_ascii(text);
}

/*
 * A name in UTF-8 as a palloc'ed text for messages, without secrets and what is not
 * seen.  Three dots follow what is cut at max_bytes.  Only characters that the
 * database's encoding lacks become question marks.
 */
char *
text_shown_name(const char *utf8, size_t max_bytes, const Secrets *secrets)
{
	char	   *name = pstrdup(utf8);
	StringInfoData buf;
	Oid			conversion;

	clean_utf8(name, SIZE_MAX, secrets);
	if (strlen(name) > max_bytes)
	{
		cut(name, max_bytes);
		name = psprintf("%s...", name);
	}
	conversion = GetDatabaseEncoding() == PG_UTF8 ? InvalidOid :
		FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	if (!OidIsValid(conversion))
	{
		if (GetDatabaseEncoding() != PG_UTF8)
			leave_ascii(name);
		return name;
	}
	initStringInfo(&buf);
	for (char *c = name; *c; c += pg_utf_mblen((unsigned char *) c))
	{
		int			length = pg_utf_mblen((unsigned char *) c);
		unsigned char converted[MAX_CONVERSION_GROWTH * 4 + 1];

		if (pg_do_encoding_conversion_buf(conversion, PG_UTF8,
										  GetDatabaseEncoding(),
										  (unsigned char *) c, length,
										  converted, sizeof(converted),
										  true) == length)
			appendStringInfoString(&buf, (char *) converted);
		else
			appendStringInfoChar(&buf, '?');
	}
	return buf.data;
}

/*
 * A name in UTF-8 for an SQL statement in a message, palloc'ed.  NULL means that
 * messages do not show all of the name, so that the statement would have another
 * one.
 */
char *
text_exact_name(const char *utf8, size_t max_bytes, const Secrets *secrets)
{
	char	   *shown = text_shown_name(utf8, max_bytes, secrets);

	return strcmp(pg_server_to_any(shown, (int) strlen(shown), PG_UTF8),
				  utf8) == 0 ? shown : NULL;
}

/*
 * Takes the beginning of a character off the end of a text in the database's
 * encoding, where a buffer's end has cut it.
 */
void
text_clip(char *text)
{
	int			length = (int) strlen(text);

	text[pg_mbcliplen(text, length, length)] = '\0';
}
