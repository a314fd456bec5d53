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
#include "gitlab/connection.h"
#include "gitlab/jsonc.h"
#include "lib/stringinfo.h"
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

/*
 * Appends what may be shown of a text in UTF-8, without the quotes that end a name, and
 * without a secret, which may be NULL.
 */
static void
append_text(StringInfo buf, const char *utf8, size_t max_bytes, const char *secret)
{
	char	   *shown = connection_shown_text(utf8, max_bytes, secret);

	for (char *quote = shown; (quote = strchr(quote, '"')) != NULL;)
		*quote = '?';
	appendStringInfoString(buf, shown);
}

/*
 * Which token it is, as far as a record tells: its name, its owner and its scopes,
 * in parentheses after a blank; empty if it tells nothing.
 */
char *
audit_token(JsonRecord *record)
{
	const char *name = record_text(record, "name");
	const char *secret = record_text(record, "token");
	JsonRecord *scopes;
	int64		user_id;
	StringInfoData buf;
	StringInfoData list;

	initStringInfo(&buf);
	if (name)
	{
		appendStringInfoString(&buf, " (\"");
		append_text(&buf, name, MAX_NAME_BYTES, secret);
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
							MAX_NAME_BYTES, secret);
			}
		}
		appendStringInfo(&buf, "%sscopes%s", buf.len > 0 ? ", " : " (",
						 list.data);
	}
	if (buf.len > 0)
		appendStringInfoChar(&buf, ')');
	return buf.data;
}
