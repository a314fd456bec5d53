/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  Who changes what: the words of the audit trail.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/audit.h"
#include "gitlab/jsonc.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/* How much of a name, and of a list of scopes, a line has, in bytes. */
#define MAX_NAME_BYTES 128
#define MAX_SCOPES_BYTES 256

/*
 * Who does it: whoever has logged in, and the role whose user mapping is used,
 * which is the owner of a view or of a SECURITY DEFINER function.
 */
char *
audit_who(Oid userid)
{
	char	   *session_user = GetUserNameFromId(GetSessionUserId(), true);
	char	   *role = GetUserNameFromId(userid, true);

	return psprintf("session user \"%s\" as role \"%s\"",
					session_user ? session_user : "?", role ? role : "?");
}

/* Whether a character may change how the rest of a line looks. */
static bool
is_confusing(pg_wchar c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || c == '"' ||
		c == 0x061c || c == 0x200e || c == 0x200f ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Appends UTF-8 text, cut at a character, of which other encodings get ASCII. */
static void
append_text(StringInfo buf, const char *text, int max_bytes)
{
	const unsigned char *c = (const unsigned char *) text;
	int			left = Min((int) strlen(text), max_bytes);

	while (left > 0)
	{
		int			length = pg_utf_mblen(c);

		if (length > left)
			break;
		if (!pg_utf8_islegal(c, length) || is_confusing(utf8_to_unicode(c)) ||
			(length > 1 && GetDatabaseEncoding() != PG_UTF8))
			appendStringInfoChar(buf, '?');
		else
			appendBinaryStringInfo(buf, (const char *) c, length);
		c += length;
		left -= length;
	}
	if (*c)
		appendStringInfoString(buf, "...");
}

/*
 * Which token it is, as far as a record tells: its name, its owner and its scopes,
 * in parentheses after a blank; empty if it tells nothing.
 */
char *
audit_token(JsonRecord *record)
{
	const char *name = record_text(record, "name");
	JsonRecord *scopes;
	int64		user_id;
	StringInfoData buf;
	StringInfoData list;

	initStringInfo(&buf);
	if (name)
	{
		appendStringInfoString(&buf, " (\"");
		append_text(&buf, name, MAX_NAME_BYTES);
		appendStringInfoChar(&buf, '"');
	}
	if (record_integer(record, "user_id", &user_id))
		appendStringInfo(&buf, "%s of user " INT64_FORMAT,
						 buf.len > 0 ? "" : " (token", user_id);
	if (json_object_object_get_ex(record, "scopes", &scopes) &&
		json_object_is_type(scopes, json_type_array))
	{
		initStringInfo(&list);
		for (size_t i = 0; i < json_object_array_length(scopes); i++)
		{
			JsonRecord *scope = json_object_array_get_idx(scopes, i);

			if (json_object_is_type(scope, json_type_string) &&
				list.len < MAX_SCOPES_BYTES)
			{
				appendStringInfoChar(&list, ' ');
				append_text(&list, json_object_get_string(scope),
							MAX_NAME_BYTES);
			}
		}
		appendStringInfo(&buf, "%sscopes%s", buf.len > 0 ? ", " : " (",
						 list.data);
	}
	if (buf.len > 0)
		appendStringInfoChar(&buf, ')');
	return buf.data;
}
