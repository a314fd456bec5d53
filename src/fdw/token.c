/*-------------------------------------------------------------------------
 *
 * token.c
 *	  Creating, rotating and revoking personal access tokens.
 *
 * INSERT creates a token, UPDATE of its expiry replaces it by a new one, DELETE
 * queues its revocation.  When each of these reaches GitLab, and what a
 * rollback does about it, is transaction.c's business.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "optimizer/optimizer.h"
#include "fdw/pushdown.h"
#include "fdw/token.h"
#include "change/transaction.h"
#include "change/ledger.h"
#include "change/posting.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* How far apart the clocks here and at GitLab may be, in a lost token's SELECT. */
#define CLOCK_SKEW_SECONDS 60

/* What a statement needs to know of a table of tokens. */
struct TokenTable
{
	AttrNumber	id_column;		/* 0 if the table has none, and so on */
	AttrNumber	revoked_column;
	AttrNumber	user_id_column;
	AttrNumber	name_column;
	AttrNumber	scopes_column;
	AttrNumber	expires_column;
	int64		own_user_id;	/* of the credential; 0: not asked yet */
	int64		owner_id;		/* whose kind is known; 0: nobody's */
};

/* Makes ready for changing a table of tokens. */
void
token_begin(GitLabModify *modify)
{
	TupleDesc	desc = RelationGetDescr(modify->rel);
	TokenTable *table = palloc0(sizeof(TokenTable));

	table->id_column = resource_column(modify->fields, desc, "id");
	table->revoked_column = resource_column(modify->fields, desc, "revoked");
	table->user_id_column = resource_column(modify->fields, desc, "user_id");
	table->name_column = resource_column(modify->fields, desc, "name");
	table->scopes_column = resource_column(modify->fields, desc, "scopes");
	table->expires_column = resource_column(modify->fields, desc, "expires_at");
	modify->tokens = table;
	modify->change.id_column = table->id_column == InvalidAttrNumber ? "id" :
		quote_identifier(get_attname(RelationGetRelid(modify->rel),
									 table->id_column, false));
}

/*
 * GitLab's own rotation can't be undone: so it is done to one token a
 * statement, which the WHERE clause names.
 */
void
token_check_native_rotation(PlannerInfo *root, Index rtindex, Relation rel,
							const ResourceField **fields)
{
	RelOptInfo *baserel = find_base_rel(root, rtindex);
	PushdownTable table = {
		.root = root,
		.relid = rtindex,
		.resource = resource_tokens,
		.fields = fields
	};
	ListCell   *lc;

	foreach(lc, baserel->baserestrictinfo)
	{
		PushdownClause clause;

		if (pushdown_clause(&table, lfirst_node(RestrictInfo, lc)->clause,
							false, &clause) &&
			resource_is_key(resource_tokens, clause.field) &&
			clause.operator == CONDITION_EQUAL &&
			(IsA(clause.operand, Const) || IsA(clause.operand, Param)))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("native rotation on foreign table \"%s\" needs \"id = ...\" in the WHERE clause",
					RelationGetRelationName(rel)),
			 errdetail("It takes effect at once and cannot be undone, so it is done to one token per statement."),
			 errhint("Name the token by a constant or a parameter, or set the option \"rotation\" to \"transactional\".")));
}


/* ----------
 * What creating and rotating share
 * ----------
 */

/*
 * Refuses an expiry, a date, that would make a token dead on arrival.  GitLab's
 * days are UTC's.
 */
void
token_check_expiry(Datum expires_at)
{
	DateADT		date = DatumGetDateADT(expires_at);
	DateADT		today = (DateADT) (GetCurrentTimestamp() / USECS_PER_DAY);

	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be a finite date"),
				 errhint("For a token that does not expire, where GitLab allows one, use NULL.")));
	if (date <= today)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be in the future"),
				 errdetail("A token expires at the beginning of the day %s; today is %s (UTC).",
						   DatumGetCString(DirectFunctionCall1(date_out, expires_at)),
						   DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(today))))));
}

/*
 * The SELECT that finds a token whose creation was not answered: as much of it
 * as the table has columns for.
 */
static char *
finder_of(const GitLabModify *modify, int64 user_id, const char *name)
{
	const TokenTable *table = modify->tokens;
	TimestampTz since = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													-CLOCK_SKEW_SECONDS * 1000);
	AttrNumber	created = resource_column(modify->fields,
										  RelationGetDescr(modify->rel),
										  "created_at");
	const char *conjunction = "WHERE";
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT * FROM %s", modify->change.table);
	if (table->user_id_column && user_id)
	{
		appendStringInfo(&buf, " %s %s = " INT64_FORMAT, conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  table->user_id_column, false)),
						 user_id);
		conjunction = "AND";
	}
	if (table->name_column && name)
	{
		appendStringInfo(&buf, " %s %s = %s", conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  table->name_column, false)),
						 quote_literal_cstr(name));
		conjunction = "AND";
	}
	if (created)
		appendStringInfo(&buf, " %s %s >= %s", conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  created, false)),
						 quote_literal_cstr(timestamptz_to_str(since)));
	appendStringInfoChar(&buf, ';');
	return buf.data;
}

/* Puts GitLab's answer to a creation into the slot, secret included. */
static TupleTableSlot *
return_token(GitLabModify *modify, ApiCall *call, TupleTableSlot *slot)
{
	resource_fill_slot(resource_tokens, modify->fields, NULL, call->record,
					   false, true, slot);
	api_call_free(call);
	return slot;
}


/* ----------
 * INSERT
 * ----------
 */

/* GitLab makes no token without a scope. */
static void
check_scopes(Datum scopes)
{
	ArrayType  *array = DatumGetArrayTypeP(scopes);

	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a new personal access token needs at least one scope"),
				 errhint("Scopes are, for example, \"api\", \"read_api\" and \"read_repository\".")));
}

/* Is it ['k8s_proxy'], all that GitLab lets users ask for themselves? */
static bool
is_self_service(Datum scopes)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(scopes), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &n);
	return n == 1 && !nulls[0] &&
		strcmp(TextDatumGetCString(elems[0]), "k8s_proxy") == 0;
}

/* The user whom the credential belongs to. */
static int64
own_user_id(GitLabModify *modify)
{
	TokenTable *table = modify->tokens;

	if (table->own_user_id == 0)
		table->own_user_id = api_own_user_id(modify->change.client);
	return table->own_user_id;
}

/* Creates a token, of values that were checked; returns it in the slot. */
TupleTableSlot *
token_insert(GitLabModify *modify, TupleTableSlot *slot,
			 const ResourceValue *values, int nvalues)
{
	TokenTable *table = modify->tokens;
	int64		user_id = 0;
	int64		id;
	Datum		scopes;
	char	   *path;
	char	   *name;
	ApiCall    *call;

	scopes = slot->tts_values[table->scopes_column - 1];
	check_scopes(scopes);
	if (table->expires_column &&
		!slot->tts_isnull[table->expires_column - 1])
		token_check_expiry(slot->tts_values[table->expires_column - 1]);

	if (table->user_id_column && !slot->tts_isnull[table->user_id_column - 1])
	{
		user_id = DatumGetInt64(slot->tts_values[table->user_id_column - 1]);
		if (user_id <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"user_id\" must be positive"),
					 errhint("For a token of your own, leave it out.")));
	}
	else if (!is_self_service(scopes))
		user_id = own_user_id(modify);
	path = user_id == 0 ? pstrdup("/user/personal_access_tokens") :
		psprintf("/users/" INT64_FORMAT "/personal_access_tokens", user_id);
	name = TextDatumGetCString(slot->tts_values[table->name_column - 1]);

	call = transaction_create(&modify->change, path,
							  resource_body(resource_tokens, NULL, values, nvalues),
							  user_id == 0 ?
							  "create a personal access token" :
							  psprintf("create a personal access token for user " INT64_FORMAT, user_id),
							  finder_of(modify, user_id, name), &id);
	return return_token(modify, call, slot);
}


/* ----------
 * DELETE
 * ----------
 */

static int64
row_id(const GitLabModify *modify, TupleTableSlot *slot)
{
	AttrNumber	column = modify->tokens->id_column;

	if (slot->tts_isnull[column - 1])
		elog(ERROR, "row to be changed has no id");
	return DatumGetInt64(slot->tts_values[column - 1]);
}

static void
refuse_self(const GitLabModify *modify, int64 id)
{
	if (!api_is_self(modify->change.client, id))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("personal access token " INT64_FORMAT " is the one that server \"%s\" is accessed with",
					id, api_connection(modify->change.client)->server_name),
			 errdetail("Without it, nothing more could be done, and nothing undone."),
			 errhint("Exclude it: id <> " INT64_FORMAT ".  To rotate it, use CALL gitlab_pat_rotate_self().",
					 id)));
}

/*
 * Queues the token in a row for revocation.  False if the command has met it
 * before.
 */
bool
token_delete(GitLabModify *modify, TupleTableSlot *row)
{
	AttrNumber	revoked = modify->tokens->revoked_column;
	int64		id = row_id(modify, row);

	if (revoked && !row->tts_isnull[revoked - 1] &&
		DatumGetBool(row->tts_values[revoked - 1]))
		return true;
	if (!transaction_touched(&modify->change, id))
		refuse_self(modify, id);
	return transaction_delete(&modify->change, id);
}


/* ----------
 * UPDATE
 * ----------
 */

static bool
boolean_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = resource_datum(resource, resource_field(resource, name),
									   record, &isnull);

	return !isnull && DatumGetBool(value);
}

static char *
text_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = resource_datum(resource, resource_field(resource, name),
									   record, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* GitLab makes tokens of projects and groups for users with such names. */
static bool
is_resource_bot(const char *username)
{
	static const char *const prefixes[] = {"project_", "group_"};

	for (int i = 0; username && i < (int) lengthof(prefixes); i++)
	{
		size_t		length = strlen(prefixes[i]);

		if (strncmp(username, prefixes[i], length) == 0)
		{
			size_t		digits = strspn(username + length, "0123456789");

			return digits > 0 &&
				strncmp(username + length + digits, "_bot", 4) == 0;
		}
	}
	return false;
}

pg_noreturn static void
refuse_replacement(const GitLabModify *modify, int64 id, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("personal access token " INT64_FORMAT " cannot be replaced by a new one",
					id),
			 errdetail("%s", detail),
			 errhint("Set the option \"rotation\" of foreign table \"%s\" to \"native\" to have GitLab rotate it.",
					 RelationGetRelationName(modify->rel))));
}

/* Refuses to replace what a POST can't make anew; before any change. */
static void
check_replaceable(GitLabModify *modify, int64 id, int64 owner,
				  JsonRecord *record)
{
	TokenTable *table = modify->tokens;
	ApiCall    *call;

	if (boolean_of(resource_tokens, record, "granular"))
		refuse_replacement(modify, id,
						   "It is a fine-grained token, whose permissions cannot be given to a new one.");
	if (owner == table->owner_id)
		return;
	call = api_get(modify->change.client,
				   psprintf("/users/" INT64_FORMAT, owner), true,
				   psprintf("look up user " INT64_FORMAT, owner));
	if (call)
	{
		if (boolean_of(resource_users, call->record, "bot") &&
			is_resource_bot(text_of(resource_users, call->record, "username")))
			refuse_replacement(modify, id,
							   "It belongs to the bot user of a project or a group.");
		api_call_free(call);
	}
	table->owner_id = owner;
}

/* Impersonation tokens are made elsewhere; one lookup tells them. */
static bool
is_impersonation(GitLabModify *modify, int64 id, int64 owner)
{
	ApiCall    *call;

	call = api_get(modify->change.client,
				   psprintf("/users/" INT64_FORMAT "/impersonation_tokens/" INT64_FORMAT,
							owner, id), true,
				   psprintf("look up impersonation token " INT64_FORMAT, id));
	if (call == NULL)
		return false;
	api_call_free(call);
	return true;
}

/* Reads the token anew, and refuses to rotate what must not be rotated. */
static ApiCall *
read_for_update(GitLabModify *modify, int64 id, bool expiry_is_null)
{
	ApiCall    *call;
	bool		isnull;

	call = api_get(modify->change.client,
				   psprintf("%s/" INT64_FORMAT, resource_tokens->path, id), true,
				   psprintf("read personal access token " INT64_FORMAT, id));
	if (call == NULL || !boolean_of(resource_tokens, call->record, "active") ||
		transaction_token_view(modify->settings->serverid, id,
							   modify->change.cid) == TOKEN_REVOKED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("personal access token " INT64_FORMAT " is not active",
						id),
				 errdetail("Rotating would bring a token back to life that was revoked or has expired."),
				 errhint("Add \"active\" to the WHERE clause, or INSERT a new token.")));
	if (expiry_is_null)
	{
		(void) resource_datum(resource_tokens,
							  resource_field(resource_tokens, "expires_at"),
							  call->record, &isnull);
		if (!isnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"expires_at\" of personal access token " INT64_FORMAT " cannot be set to NULL",
							id),
					 errdetail("The token expires, and rotating must not make it live forever."),
					 errhint("Set a date in the future.")));
	}
	refuse_self(modify, id);
	return call;
}

/* Creates a token like the old one, which is revoked after commit. */
static ApiCall *
replace_token(GitLabModify *modify, int64 id, ApiCall *old,
			  const ResourceValue *expiry)
{
	bool		isnull;
	int64		owner = DatumGetInt64(resource_datum(resource_tokens,
													 resource_field(resource_tokens, "user_id"),
													 old->record, &isnull));
	int64		new_id;
	const char *collection;
	ApiCall    *call;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("GitLab's answer about personal access token " INT64_FORMAT " lacks the field \"user_id\"",
						id)));
	check_replaceable(modify, id, owner, old->record);
	transaction_check_change();
	collection = is_impersonation(modify, id, owner) ?
		"impersonation_tokens" : "personal_access_tokens";
	call = transaction_create(&modify->change,
							  psprintf("/users/" INT64_FORMAT "/%s", owner, collection),
							  resource_body(resource_tokens, old->record, expiry, 1),
							  psprintf("create a replacement for personal access token " INT64_FORMAT, id),
							  finder_of(modify, owner,
										text_of(resource_tokens, old->record, "name")),
							  &new_id);
	transaction_replace(&modify->change, id, new_id);
	return call;
}

/*
 * Rotates the token in a row, and returns the new one in the slot.  NULL if the
 * command has met the row before: a join may do that, and it is rotated once.
 */
TupleTableSlot *
token_update(GitLabModify *modify, TupleTableSlot *row, TupleTableSlot *slot)
{
	TokenTable *table = modify->tokens;
	ResourceValue expiry = {.field = resource_field(resource_tokens, "expires_at")};
	int64		id = row_id(modify, row);
	int64		new_id;
	ApiCall    *old;
	ApiCall    *call;

	if (transaction_touched(&modify->change, id))
		return NULL;
	expiry.value = slot->tts_values[table->expires_column - 1];
	expiry.isnull = slot->tts_isnull[table->expires_column - 1];
	if (!expiry.isnull)
		token_check_expiry(expiry.value);
	old = read_for_update(modify, id, expiry.isnull);
	if (modify->settings->rotation == ROTATION_NATIVE)
		call = transaction_rotate(&modify->change, id,
								  resource_body(resource_tokens, NULL, &expiry, 1),
								  finder_of(modify, 0,
											text_of(resource_tokens, old->record, "name")),
								  &new_id);
	else
		call = replace_token(modify, id, old, &expiry);
	api_call_free(old);
	return return_token(modify, call, slot);
}
