/*-------------------------------------------------------------------------
 *
 * tokens.c
 *	  Creating, rotating and revoking tokens: a participant.
 *
 * INSERT creates a token, UPDATE of its expiry replaces it by a new one, DELETE
 * queues its revocation.  Each of these is entered into the ledger first, which
 * payment.c settles.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "change/bots.h"
#include "change/kinds.h"
#include "change/placetokens.h"
#include "change/lock.h"
#include "change/payment.h"
#include "change/posting.h"
#include "change/tokens.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "gitlab/recent.h"
#include "gitlab/seen.h"
#include "gitlab/stream.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

int			tokens_max_changes = 100;
bool		tokens_keep_replaced = false;

/* A statement's knowledge, in RemoteChange's memory. */
typedef struct TokenStatement
{
	TokenListing listing;		/* what was read again where GitLab has no
								 * lookup */
	SeenObjects *met;			/* revoked tokens that it has met; or NULL */
	TokenKinds *kinds;			/* of tokens that it replaces; or NULL */
	int			locked;			/* tokens, one by one */
	bool		warned_of_bot;
} TokenStatement;

/* It lives as long as the client: the statement's memory context has both. */
static TokenStatement *
statement_of(RemoteChange *change)
{
	if (change->memory == NULL)
		change->memory = MemoryContextAllocZero(change->context,
												sizeof(TokenStatement));
	return change->memory;
}


/* ----------
 * Limits and entries that all changes share
 * ----------
 */

/* Raises an error if the transaction may not change so many tokens more. */
void
tokens_check_limit(int64 more)
{
	if (ledger.changes + more > tokens_max_changes)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("transaction would create, rotate or revoke more than %d access tokens",
						tokens_max_changes),
				 errdetail("%s", ledger_summary()),
				 errhint("If that is meant, raise \"gitlab_pat_fdw.max_changes\" for this transaction, with SET LOCAL.")));
}

static Debt *
enter_change(const RemoteChange *change, const TokenPlace *place,
			 DebtKind kind, JsonRecord *record, int64 id, int64 other_id)
{
	Debt	   *debt;

	debt = ledger_make_debt(change, place, kind, DEBT_OWED);
	debt->other_id = other_id;
	debt->id = id;
	ledger_describe(debt, record);
	ledger_enter(debt);
	api_statistics(change->client)->changes_pending++;
	ledger_assign_token(debt, id);
	return debt;
}

/* A new token takes the place of an old one, to be revoked after commit. */
static void
owe_replaced(const RemoteChange *change, const TokenPlace *place,
			 JsonRecord *old, int64 old_id, int64 new_id)
{
	(void) enter_change(change, place, DEBT_REPLACED, old, old_id, new_id);
}

/*
 * Queues a token for revocation before the commit; NULL if the transaction is to
 * revoke it already.
 */
static Debt *
owe_deleted(const RemoteChange *change, const TokenPlace *place,
			JsonRecord *row, int64 id)
{
	if (ledger_find(api_connection(change->client)->instance, id,
					ledger_is_change))
		return NULL;
	tokens_check_limit(1);
	return enter_change(change, place, DEBT_DELETED, row, id, 0);
}

/* The value that a statement gives to a field, or NULL. */
static const ResourceValue *
find_value(const ResourceValue *values, int nvalues, const char *name)
{
	for (int i = 0; i < nvalues; i++)
		if (strcmp(values[i].field->name, name) == 0)
			return &values[i];
	return NULL;
}

static bool
boolean_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = record_datum(resource, resource_field(resource, name),
									 record, &isnull);

	return !isnull && DatumGetBool(value);
}

static char *
text_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = record_datum(resource, resource_field(resource, name),
									 record, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}


/* ----------
 * INSERT
 * ----------
 */

/* GitLab makes no token without a scope. */
static void
check_scopes(const Resource *resource, Datum scopes)
{
	ArrayType  *array = DatumGetArrayTypeP(scopes);

	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a new %s needs at least one scope",
						resource->singular),
				 errhint("Scopes are, for example, \"api\", \"read_api\" and \"read_repository\".")));
}

/* Whether these scopes are ones that GitLab lets users ask for themselves. */
static bool
are_self_service(Datum scopes)
{
	static const char *const allowed[] = {"k8s_proxy", "self_rotate"};
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(scopes), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		const char *scope = nulls[i] ? "" : TextDatumGetCString(elems[i]);

		if (strcmp(scope, allowed[0]) != 0 && strcmp(scope, allowed[1]) != 0)
			return false;
	}
	return true;
}

/* Where a token is to be made. */
static TokenPlace *
place_of_new(const RemoteChange *change, const ResourceValue *values, int nvalues)
{
	JsonRecord *row = record_create();

	for (int i = 0; i < nvalues; i++)
		if (resource_container(change->settings->resource, values[i].field) >= 0)
			record_set(row, &values[i]);
	return place_of_token(change, row);
}

/* Whom GitLab makes a token of a user for; 0: whoever asks. */
static int64
owner_of_new(const RemoteChange *change, const ResourceValue *owner, Datum scopes)
{
	int64		user_id;

	if (owner == NULL)
		return are_self_service(scopes) ? 0 : api_own_user_id(change->client);
	user_id = DatumGetInt64(owner->value);
	if (user_id <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"user_id\" must be positive"),
				 errhint("For a token of your own, leave it out.")));
	return user_id;
}

/* The order for a token with these values.  Refuses values that make no token. */
static TokenOrder
order_token(RemoteChange *change, const ResourceValue *values, int nvalues)
{
	const Resource *resource = change->settings->resource;
	const ResourceValue *scopes = find_value(values, nvalues, "scopes");
	const ResourceValue *expiry = find_value(values, nvalues, "expires_at");
	const ResourceValue *owner = find_value(values, nvalues, "user_id");
	TokenOrder	order = {.place = place_of_new(change, values, nvalues)};

	check_scopes(resource, scopes->value);
	if (expiry)
		api_check_expiry(change->client, expiry->value);
	order.path = order.place->collection;
	order.action = psprintf("create %s %s%s", resource_article(resource),
							resource->singular, order.place->words);
	if (resource == resource_tokens)
	{
		order.owner = owner_of_new(change, owner, scopes->value);
		order.finds_by_owner = order.owner != 0;
		order.path = order.owner == 0 ? "/user/personal_access_tokens" :
			psprintf("/users/" INT64_FORMAT "/personal_access_tokens",
					 order.owner);
		if (order.owner)
			order.action = psprintf("%s for user " INT64_FORMAT, order.action,
									order.owner);
	}
	else if (owner)
		order.owner = DatumGetInt64(owner->value);
	order.body = record_body(resource, NULL, values, nvalues);
	order.name = TextDatumGetCString(find_value(values, nvalues, "name")->value);
	order.asked = record_create();
	for (int i = 0; i < nvalues; i++)
		record_set(order.asked, &values[i]);
	posting_expect_place(resource, &order);
	if (order.owner)
	{
		ResourceValue value = {.field = resource_field(resource, "user_id"),
			.value = Int64GetDatum(order.owner)
		};

		record_set(order.asked, &value);
	}
	return order;
}

/* Creates a token. */
static JsonRecord *
tokens_insert(RemoteChange *change, const ResourceValue *values, int nvalues)
{
	TokenOrder	order = order_token(change, values, nvalues);
	int64		id;

	tokens_check_limit(1);
	return posting_create(change, &order, &id);
}

/* Creates several tokens at a time. */
static void
tokens_insert_rows(RemoteChange *change, RowInsert *inserts, int ninserts)
{
	Creation   *creations = palloc0(sizeof(Creation) * ninserts);

	tokens_check_limit(ninserts);
	for (int i = 0; i < ninserts; i++)
		creations[i].order = order_token(change, inserts[i].values,
										 inserts[i].nvalues);
	posting_create_all(change, creations, ninserts);
	for (int i = 0; i < ninserts; i++)
		inserts[i].shown = creations[i].answer;
}


/* ----------
 * DELETE
 * ----------
 */

static int64
row_id(JsonRecord *row)
{
	int64		id;

	if (!record_id(row, &id))
		elog(ERROR, "row to be changed has no id");
	return id;
}

static void
refuse_self(const RemoteChange *change, int64 id)
{
	if (!api_is_self(change->client, id))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("%s " INT64_FORMAT " is the API token of server \"%s\"",
					change->settings->resource->singular, id,
					api_connection(change->client)->server_name),
			 errdetail("The extension needs its API token to commit and to roll back changes in GitLab."),
			 errhint("Exclude it: id <> " INT64_FORMAT ".  To rotate it, use CALL gitlab_pat_rotate_self().",
					 id)));
}

/* Whether a statement first meets a token of which nothing is entered. */
static bool
is_met_first(RemoteChange *change, int64 id)
{
	TokenStatement *statement = statement_of(change);
	MemoryContext saved = MemoryContextSwitchTo(change->context);
	bool		first;

	if (statement->met == NULL)
		statement->met = seen_create();
	first = seen_add_id(statement->met, id);
	MemoryContextSwitchTo(saved);
	return first;
}

/*
 * Warns, once a statement, of bot users that go with the tokens that are to be
 * revoked.
 */
static void
warn_of_bot(RemoteChange *change, const TokenPlace *place, int64 id)
{
	TokenStatement *statement = statement_of(change);

	if (!statement->warned_of_bot)
		statement->warned_of_bot = bots_warn(change, place, id);
}

/*
 * Queues the token in a row for revocation.  What reads as revoked counts as
 * deleted.
 */
static bool
tokens_delete(RemoteChange *change, JsonRecord *row)
{
	const Resource *resource = change->settings->resource;
	int64		id = row_id(row);
	TokenPlace *place;

	if (ledger_met(change, id))
		return false;
	if (boolean_of(resource, row, "revoked"))
		return is_met_first(change, id);
	refuse_self(change, id);
	place = place_of_token(change, row);
	bots_choose_route(change, place);
	if (owe_deleted(change, place, row, id))
		warn_of_bot(change, place, id);
	return true;
}

/* Begins a command, as a function does that runs SQL, and gives its number. */
static CommandId
begin_command(void)
{
	(void) GetCurrentCommandId(true);
	CommandCounterIncrement();
	return GetCurrentCommandId(true);
}

/*
 * Queues the token whose secret a client asks with, and which GitLab describes as
 * this record, for revocation before the commit, by that secret.  Raises an error
 * past max_changes.  A statement that calls the function must not change the same
 * token.
 */
void
tokens_delete_by_secret(ApiClient *client, JsonRecord *token, int64 id)
{
	Connection *connection = api_connection(client);
	TableSettings settings = {
		.serverid = connection->serverid,
		.resource = resource_tokens
	};
	TokenPlace	place = {
		.collection = resource_tokens->path,
		.revoke_at = resource_tokens->path,
		.rotate_at = resource_tokens->path,
		.condition = "",
		.remark = "",
		.words = ""
	};
	RemoteChange change = {
		.client = client,
		.settings = &settings,
		.userid = GetUserId(),
		.cid = begin_command(),
		.name = resource_tokens->table_name,
		.table = resource_tokens->table_name,
		.columns = palloc0(sizeof(char *) * resource_tokens->nfields),
		.context = CurrentMemoryContext
	};
	Debt	   *debt = owe_deleted(&change, &place, token, id);

	if (debt == NULL)
		return;
	debt->payer = PAYER_TOKEN;
	debt->secret = MemoryContextStrdup(ledger.context, connection->credential);
}


/* ----------
 * UPDATE
 * ----------
 */

pg_noreturn static void
refuse_replacement(const RemoteChange *change, int64 id, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s " INT64_FORMAT " cannot be replaced by a new one",
					change->settings->resource->singular, id),
			 errdetail("%s", detail),
			 errhint("Set the option \"rotation\" of foreign table \"%s\" to \"native\" to have GitLab rotate it.",
					 change->name)));
}

/* Whether a token is dead for nothing but its age. */
static bool
has_expired(const Resource *resource, JsonRecord *record)
{
	return !boolean_of(resource, record, "active") &&
		!boolean_of(resource, record, "revoked");
}

static bool
may_be_rotated(const RemoteChange *change, JsonRecord *record)
{
	const Resource *resource = change->settings->resource;

	return boolean_of(resource, record, "active") ||
		(change->settings->replace_expired && has_expired(resource, record));
}

/* Reads a token anew: NULL if it is not there. */
static JsonRecord *
read_token(RemoteChange *change, const TokenPlace *place, int64 id)
{
	const Resource *resource = change->settings->resource;
	JsonRecord *record;
	ApiCall    *call;

	if (resource_has_lookup(resource))
	{
		call = api_get(change->client,
					   psprintf("%s/" INT64_FORMAT, place->collection, id),
					   true,
					   psprintf("read %s " INT64_FORMAT "%s",
								resource->singular, id, place->words));
		if (call == NULL)
			return NULL;
		record = record_copy(call->record);
		api_call_free(call);
		return record;
	}
	record = listing_find(&statement_of(change)->listing, change, place, id);
	return record ? record_copy(record) : NULL;
}

/*
 * Refuses to rotate what must not be rotated.  record is what GitLab has just said of
 * the token; NULL: there is none.
 */
static void
check_rotatable(RemoteChange *change, int64 id, JsonRecord *record,
				bool expiry_is_null)
{
	const Resource *resource = change->settings->resource;
	bool		isnull;

	if (record == NULL || !may_be_rotated(change, record) ||
		ledger_view(api_connection(change->client)->instance, id,
					change->cid) == TOKEN_REVOKED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s " INT64_FORMAT " is not active",
						resource->singular, id),
				 errdetail("Rotating would bring a token back to life that was revoked or has expired."),
				 record && has_expired(resource, record) ?
				 errhint("Add \"active\" to the WHERE clause, or set the option \"replace_expired\" of foreign table \"%s\" to replace what has expired.",
						 change->name) :
				 errhint("Add \"active\" to the WHERE clause, or INSERT a new token.")));
	if (expiry_is_null)
	{
		(void) record_datum(resource, resource_field(resource, "expires_at"),
							record, &isnull);
		if (!isnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"expires_at\" of %s " INT64_FORMAT " cannot be set to NULL",
							resource->singular, id),
					 errdetail("The token expires, and rotating must not make it live forever."),
					 errhint("Set a date in the future.")));
	}
	refuse_self(change, id);
}

/*
 * The fields that the answer to a rotation must have: those of the old token, with
 * another expiry.
 */
static JsonRecord *
asked_of(JsonRecord *old, const ResourceValue *expiry)
{
	JsonRecord *asked = record_copy(old);

	record_set(asked, expiry);
	return asked;
}

/* A token that is to take the place of another one. */
typedef struct Replacement
{
	TokenPlace *place;			/* of both */
	const Resource *made_as;	/* what GitLab makes, and answers */
	bool		impersonates;
	TokenOrder	order;
} Replacement;

/* The owner of a token.  Raises an error if a POST can't make another one like it. */
static int64
check_replaceable(const RemoteChange *change, int64 id, JsonRecord *record)
{
	const Resource *resource = change->settings->resource;
	int64		owner;

	if (!record_integer(record, "user_id", &owner))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("GitLab's answer about %s " INT64_FORMAT " lacks the field \"user_id\"",
						resource->singular, id)));
	if (boolean_of(resource, record, "granular"))
		refuse_replacement(change, id,
						   "It is a fine-grained token, whose permissions cannot be given to a new one.");
	if (!resource_has_insert(resource))
		refuse_replacement(change, id,
						   "GitLab can rotate the tokens there, but cannot create new ones.");
	return owner;
}

/*
 * The order for a token like the old one, with another expiry.  Where GitLab
 * makes a user for each token, an administrator can give that user a second
 * token.  Others get a token with another user.
 */
static Replacement
order_replacement(RemoteChange *change, TokenPlace *place, int64 id,
				  JsonRecord *old, const ResourceValue *expiry)
{
	const Resource *resource = change->settings->resource;
	Replacement result = {.place = place, .made_as = resource};
	TokenOrder *order = &result.order;

	order->place = place;
	order->path = place->collection;
	order->owner = check_replaceable(change, id, old);
	if (resource == resource_tokens)
	{
		result.impersonates =
			kinds_is_impersonation(&statement_of(change)->kinds, change, id,
								   order->owner, old);
		order->path = psprintf("/users/" INT64_FORMAT "/%s", order->owner,
							   result.impersonates ? "impersonation_tokens" :
							   "personal_access_tokens");
		order->finds_by_owner = true;
	}
	else if (resource->has_bots && api_known_to_see_all(change->client))
	{
		order->path = psprintf("/users/" INT64_FORMAT "/personal_access_tokens",
							   order->owner);
		order->finds_by_owner = true;
		result.made_as = resource_tokens;
		order->bot_is_untold = true;
		place->revoke_at = resource_tokens->path;
	}
	else if (resource->has_bots)
	{
		order->owner = 0;		/* it will be another one */
		if (!tokens_keep_replaced)
			warn_of_bot(change, place, id);
	}
	order->asked = asked_of(old, expiry);
	if (order->owner == 0)
		json_object_object_del(order->asked, "user_id");
	order->body = record_body(result.made_as, old, expiry, 1);
	order->action = psprintf("create a replacement for %s " INT64_FORMAT "%s",
							 resource->singular, id, place->words);
	order->name = text_of(resource, old, "name");
	order->old_id = id;
	return result;
}

/* A token was created in place of another one, which is revoked after commit. */
static void
enter_replacement(const RemoteChange *change, const Replacement *replacement,
				  int64 old_id, JsonRecord *old, int64 new_id,
				  JsonRecord *answer)
{
	const Resource *resource = change->settings->resource;

	if (replacement->made_as != resource)
		record_complete(answer, resource, old);
	if (resource == resource_tokens)
		kinds_note(change, answer, replacement->impersonates);
	if (!tokens_keep_replaced)
		owe_replaced(change, replacement->place, old, old_id, new_id);
}

/* Creates a token like the old one, which is revoked after commit. */
static JsonRecord *
replace_token(RemoteChange *change, TokenPlace *place, int64 id, JsonRecord *old,
			  const ResourceValue *expiry)
{
	Replacement replacement = order_replacement(change, place, id, old, expiry);
	int64		new_id;
	JsonRecord *answer = posting_create(change, &replacement.order, &new_id);

	enter_replacement(change, &replacement, id, old, new_id, answer);
	return answer;
}

/* Has GitLab rotate the old token, which takes effect at once. */
static JsonRecord *
rotate_natively(RemoteChange *change, const TokenPlace *place, int64 id,
				JsonRecord *old, const ResourceValue *expiry)
{
	const Resource *resource = change->settings->resource;
	TokenOrder	order = {.place = place};

	(void) record_integer(old, "user_id", &order.owner);
	order.path = psprintf("%s/" INT64_FORMAT "/rotate", place->rotate_at, id);
	order.body = record_body(resource_tokens, NULL, expiry, 1);
	order.action = psprintf("rotate %s " INT64_FORMAT "%s", resource->singular,
							id, place->words);
	order.name = text_of(resource, old, "name");
	order.asked = asked_of(old, expiry);
	order.old_id = id;
	return posting_rotate(change, &order);
}

/*
 * Rotates the token in a row; returns what GitLab says of the new one.  old: what
 * GitLab has said of the token since it was locked; NULL: it is to be asked.
 */
static JsonRecord *
rotate(RemoteChange *change, JsonRecord *row, JsonRecord *old,
	   const ResourceValue *expiry)
{
	int64		id = row_id(row);
	TokenPlace *place;

	if (!expiry->isnull)
		api_check_expiry(change->client, expiry->value);
	tokens_check_limit(1);
	place = place_of_token(change, row);
	lock_token(api_connection(change->client), id,
			   statement_of(change)->locked++);
	if (old == NULL)
	{
		/* another session may have rotated it since the last list */
		listing_forget(&statement_of(change)->listing);
		old = read_token(change, place, id);
	}
	check_rotatable(change, id, old, expiry->isnull);
	return change->settings->rotation == ROTATION_NATIVE ?
		rotate_natively(change, place, id, old, expiry) :
		replace_token(change, place, id, old, expiry);
}

/* Whether it is the first time that the command is to rotate the token. */
static bool
is_to_be_rotated(RemoteChange *change, int64 id)
{
	return !ledger_met(change, id) && is_met_first(change, id);
}

/* Rotates the token in a row: once, even if a join meets it twice. */
static bool
tokens_update(RemoteChange *change, JsonRecord *row,
			  const ResourceValue *values, int nvalues, JsonRecord **shown)
{
	if (!is_to_be_rotated(change, row_id(row)))
		return false;
	*shown = rotate(change, row, NULL,
					find_value(values, nvalues, "expires_at"));
	return true;
}


/* ----------
 * UPDATE of several rows
 * ----------
 */

/*
 * Whether a token is to be rotated: not twice.  Raises an error if it is one
 * too many.
 */
static bool
tokens_expect_update(RemoteChange *change, int64 id, int nupdates)
{
	if (!is_to_be_rotated(change, id))
		return false;
	tokens_check_limit(nupdates);
	return true;
}

/* Locks tokens that no other session has locked: what is read after that judges them. */
static bool
tokens_lock_named(RemoteChange *change, int64 *ids, int nids)
{
	return lock_tokens_at_once(api_connection(change->client), ids, nids);
}

/* Locks the tokens: they are judged by what is read after that. */
static void
tokens_prepare_updates(RemoteChange *change, const RowUpdate *updates,
					   int nupdates)
{
	int64	   *ids = palloc(sizeof(int64) * nupdates);

	for (int i = 0; i < nupdates; i++)
		ids[i] = updates[i].id;
	lock_tokens(api_connection(change->client), ids, nupdates);
	listing_forget(&statement_of(change)->listing);
}

/* Looks up what the statement has not read a second time, several at a time. */
static void
reread(RemoteChange *change, RowUpdate *updates, TokenPlace **places,
	   int nupdates)
{
	const Resource *resource = change->settings->resource;
	ApiTarget  *targets = palloc0(sizeof(ApiTarget) * nupdates);
	HTAB	   *index = change_index(updates, nupdates);
	JsonRecord *record;
	Stream	   *stream;
	int			n = 0;

	for (int i = 0; i < nupdates; i++)
	{
		ApiTarget  *target = &targets[n];

		if (updates[i].reread)
			continue;
		if (!resource_has_lookup(resource))
		{
			updates[i].reread = read_token(change, places[i], updates[i].id);
			continue;
		}
		target->key = psprintf(INT64_FORMAT, updates[i].id);
		target->path = psprintf("%s/%s", places[i]->collection, target->key);
		memcpy(target->containers, places[i]->containers,
			   sizeof(target->containers));
		n++;
	}
	if (n == 0)
		return;
	stream = stream_lookup(change->client, resource, targets, n,
						   change->settings->concurrency, false);
	while ((record = stream_next(stream)) != NULL)
	{
		RowUpdate  *update = change_find(index, record);

		if (update)
			update->reread = record_copy(record);
	}
	stream_end(stream);
}

/* The expiry that a row's token is to have. */
static const ResourceValue *
expiry_of(const RowUpdate *update)
{
	return find_value(update->values, update->nvalues, "expires_at");
}

/* Learns the kinds of several tokens, which GitLab does not tell of a single one. */
static void
learn_kinds(RemoteChange *change, const RowUpdate *updates, int nupdates)
{
	int64	   *owners = palloc(sizeof(int64) * nupdates);
	int			n = 0;

	if (nupdates < 2 || change->settings->resource != resource_tokens)
		return;
	for (int i = 0; i < nupdates; i++)
	{
		owners[n] = check_replaceable(change, updates[i].id, updates[i].reread);
		if (!kinds_are_known(change, updates[i].id, owners[n], updates[i].reread))
			n++;
	}
	kinds_learn(&statement_of(change)->kinds, change, owners, n);
}

/*
 * Replaces the tokens, each by one like it, several at a time.  All that can be
 * refused is refused before the first one is created.
 */
static void
replace_tokens(RemoteChange *change, RowUpdate *updates, int nupdates)
{
	Creation   *creations = palloc0(sizeof(Creation) * nupdates);
	Replacement *replacements = palloc(sizeof(Replacement) * nupdates);
	TokenPlace **places = palloc(sizeof(TokenPlace *) * nupdates);

	for (int i = 0; i < nupdates; i++)
		places[i] = place_of_token(change, updates[i].row);
	reread(change, updates, places, nupdates);
	for (int i = 0; i < nupdates; i++)
		check_rotatable(change, updates[i].id, updates[i].reread,
						expiry_of(&updates[i])->isnull);
	learn_kinds(change, updates, nupdates);
	for (int i = 0; i < nupdates; i++)
	{
		replacements[i] = order_replacement(change, places[i], updates[i].id,
											updates[i].reread,
											expiry_of(&updates[i]));
		creations[i].order = replacements[i].order;
	}
	posting_create_all(change, creations, nupdates);
	for (int i = 0; i < nupdates; i++)
	{
		updates[i].shown = creations[i].answer;
		enter_replacement(change, &replacements[i], updates[i].id,
						  updates[i].reread, creations[i].debt->id,
						  creations[i].answer);
	}
}

/* Rotates the tokens of a statement that has read its rows to the end. */
static void
tokens_update_rows(RemoteChange *change, RowUpdate *updates, int nupdates)
{
	bool		natively = change->settings->rotation == ROTATION_NATIVE;
	RowUpdate  *due = palloc(sizeof(RowUpdate) * nupdates);
	int		   *numbers = palloc(sizeof(int) * nupdates);
	int			ndue = 0;

	for (int i = 0; i < nupdates; i++)
	{
		/*
		 * Raises an error if something that the statement calls was first. Of
		 * the command itself, another part may have been, since the row was
		 * read: a WITH clause that its condition reads.
		 */
		if (ledger_met(change, updates[i].id))
			continue;
		if (!expiry_of(&updates[i])->isnull)
			api_check_expiry(change->client,
							 expiry_of(&updates[i])->value);
		numbers[ndue] = i;
		due[ndue++] = updates[i];
	}
	if (ndue == 0)
		return;
	tokens_check_limit(ndue);
	if (!natively)
		replace_tokens(change, due, ndue);
	for (int i = 0; i < ndue; i++)
		updates[numbers[i]].shown = natively ?
			rotate(change, due[i].row, due[i].reread, expiry_of(&due[i])) :
			due[i].shown;
}


/* ----------
 * The participant
 * ----------
 */

/*
 * Whether a record looks like a token whose creation was rolled back, and not
 * answered.  One that existed before, or that the transaction knows, is another one.
 */
static bool
may_be_lost(const ChangeScan *scan, JsonRecord *record)
{
	bool		isnull;
	TimestampTz created;
	int64		owner;
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);
		char	   *name;

		if ((debt->state != DEBT_LOST && debt->state != DEBT_ASKED) ||
			debt->level != NO_LEVEL || debt->cid >= scan->curcid ||
			debt->connection->instance != api_connection(scan->client)->instance ||
			!record_integer(record, "user_id", &owner) ||
			(debt->owner != 0 && debt->owner != owner))
			continue;
		created = DatumGetTimestampTz(record_datum(resource_tokens,
												   resource_field(resource_tokens,
																  "created_at"),
												   record, &isnull));
		name = text_of(resource_tokens, record, "name");
		if (!isnull && created >= debt->since && name && debt->name &&
			strcmp(name, debt->name) == 0 &&
			ledger_shows_old(debt, record) == NULL)
			return true;
	}
	return false;
}

static JsonRecord *
tokens_view(ChangeScan *scan, JsonRecord *record, bool *revoked)
{
	int64		id;
	bool		has_id = record_id(record, &id);
	TokenView	view = TOKEN_AS_READ;

	if (has_id)
		ledger_note_shown(api_connection(scan->client), id);
	if (scan->resource == resource_tokens && recent_in_job())
		kinds_note_shown(api_connection(scan->client), record);
	if (has_id && !ledger_is_empty())
		view = ledger_view(api_connection(scan->client)->instance, id,
						   scan->curcid);
	if (view == TOKEN_AS_READ && !ledger_is_empty() &&
		may_be_lost(scan, record))
		view = TOKEN_REVOKED;
	*revoked = view == TOKEN_REVOKED;
	return view == TOKEN_HIDDEN ? NULL : record;
}

const Participant tokens_participant = {
	.no_conflict = "Names of tokens are not unique in GitLab, so nothing conflicts.",
	.insert = tokens_insert,
	.update = tokens_update,
	.delete = tokens_delete,
	.lock_named = tokens_lock_named,
	.expect_update = tokens_expect_update,
	.prepare_updates = tokens_prepare_updates,
	.update_rows = tokens_update_rows,
	.insert_rows = tokens_insert_rows,
	.differs = ledger_differs,
	.view = tokens_view,
	.is_empty = ledger_is_empty,
	.end_subtransaction = payment_end_subtransaction,
	.has_changes = payment_has_changes,
	.needs_durability = payment_needs_durability,
	.check = payment_check,
	.carry_out = payment_carry_out,
	.stop = payment_stop,
	.finish = payment_finish,
	.settle = payment_settle,
	.close = ledger_close,
};
