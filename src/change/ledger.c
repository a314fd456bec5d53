/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  What the transaction owes to GitLab: tokens to be revoked.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "change/audit.h"
#include "change/ledger.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The debts about one token.  The key is hashed by bytes: it has no padding. */
typedef struct AccountKey
{
	uint64		instance;
	int64		id;
} AccountKey;

typedef struct Account
{
	AccountKey	key;
	dlist_head	debts;			/* to revoke it, or that it was rotated */
	dlist_head	successors;		/* of the tokens that take its place */
} Account;

/* The room that a slash and an id take behind a path, in bytes. */
#define ID_ROOM 24

Ledger		ledger = {.debts = DLIST_STATIC_INIT(ledger.debts)};

#define account_debt(node) dlist_container(Debt, same_token, node)
#define account_successor(node) dlist_container(Debt, same_old, node)


/* ----------
 * Keeping the ledger
 * ----------
 */

/*
 * Whether max_changes counts a row by this debt.  A replaced row is counted by
 * the token that takes its place.  So ROLLBACK TO gives deletions back, and
 * nothing that GitLab has created.
 */
static bool
counts(const Debt *debt)
{
	return debt->kind != DEBT_REPLACED;
}

bool
ledger_is_change(const Debt *debt)
{
	return debt->kind == DEBT_DELETED || debt->kind == DEBT_REPLACED;
}

/* Asserts that the state fits all else that is known of the debt. */
static void
assert_debt(const Debt *debt)
{
	switch (debt->state)		/* NOLINT: without assertions, all are alike */
	{
		case DEBT_ASKED:		/* NOLINT */
		case DEBT_LOST:
			Assert(!ledger_is_change(debt) && debt->id == 0 && debt->call);
			break;
		case DEBT_OWED:
		case DEBT_PAID:
			Assert(debt->id && debt->call == NULL);
			break;
		case DEBT_SENT:
		case DEBT_REFUSED:
		case DEBT_UNKNOWN:
			Assert(debt->id && debt->kind != DEBT_ROTATED && debt->call);
			break;
		case DEBT_NAMED:
			break;
	}
}

/* Asserts the states of all debts; for the callbacks. */
void
ledger_assert(void)
{
#ifdef USE_ASSERT_CHECKING
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
		assert_debt(debt_of(iter.cur));
#endif
}

/*
 * Moves a debt to another state, as the table says.  Its call goes, unless the
 * next state is about it.  Raises nothing.
 */
void
ledger_set_state(Debt *debt, DebtState next)
{
#define BIT(state) (1 << (state))
	static const int allowed[] = {
		[DEBT_ASKED] = BIT(DEBT_LOST) | BIT(DEBT_OWED) | BIT(DEBT_NAMED),
		[DEBT_LOST] = BIT(DEBT_NAMED),
		[DEBT_OWED] = BIT(DEBT_SENT) | BIT(DEBT_PAID) | BIT(DEBT_NAMED),
		[DEBT_SENT] = BIT(DEBT_REFUSED) | BIT(DEBT_UNKNOWN) | BIT(DEBT_PAID) |
		BIT(DEBT_OWED) | BIT(DEBT_NAMED),
		[DEBT_REFUSED] = BIT(DEBT_OWED) | BIT(DEBT_PAID) | BIT(DEBT_NAMED),
		[DEBT_UNKNOWN] = BIT(DEBT_OWED) | BIT(DEBT_PAID) | BIT(DEBT_NAMED),
		[DEBT_PAID] = BIT(DEBT_NAMED),
		[DEBT_NAMED] = 0,
	};
#undef BIT

	Assert(allowed[debt->state] & (1 << next));
	(void) allowed;
	debt->state = next;

	if (debt->call && (next == DEBT_OWED || next == DEBT_PAID))
	{
		api_call_free(debt->call);
		debt->call = NULL;
	}
	if (debt->kind == DEBT_DELETED &&
		(next == DEBT_PAID || next == DEBT_UNKNOWN))
		ledger.destroyed = true;
	assert_debt(debt);
}

static void
open_ledger(void)
{
	HASHCTL		ctl = {.keysize = sizeof(AccountKey), .entrysize = sizeof(Account)};

	if (ledger.context == NULL)
		ledger.context = AllocSetContextCreate(TopMemoryContext,
											   "gitlab_pat_fdw ledger",
											   ALLOCSET_DEFAULT_SIZES);
	if (ledger.accounts == NULL)
	{
		ctl.hcxt = ledger.context;
		ledger.accounts = hash_create("gitlab_pat_fdw accounts", 64, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

static Account *
find_account(uint64 instance, int64 id)
{
	AccountKey	key = {.instance = instance, .id = id};

	return ledger.accounts ? hash_search(ledger.accounts, &key, HASH_FIND, NULL) : NULL;
}

/* A debt that is in no list yet, and holds no reference to its connection. */
Debt *
ledger_make_debt(const RemoteChange *change, const TokenPlace *place,
				 DebtKind kind, DebtState state)
{
	const Resource *resource = change->settings->resource;
	const char *id_column = change_column(change, "id");
	Connection *connection = api_connection(change->client);
	MemoryContext saved;
	Debt	   *debt;

	open_ledger();
	saved = MemoryContextSwitchTo(ledger.context);
	debt = palloc0(sizeof(Debt));
	debt->kind = kind;
	debt->state = state;
	debt->level = GetCurrentTransactionNestLevel();
	debt->cid = change->cid;
	debt->resource = resource;
	debt->userid = change->userid;
	debt->who = audit_who(change->userid);
	debt->table = pstrdup(change->table);
	debt->id_column = pstrdup(id_column ? id_column : "id");
	debt->condition = pstrdup(place->condition);
	debt->remark = pstrdup(place->remark);
	debt->words = pstrdup(place->words);
	debt->path_length = strlen(place->revoke_at);
	debt->path = palloc(debt->path_length + ID_ROOM);
	memcpy(debt->path, place->revoke_at, debt->path_length + 1);
	debt->connection = connection;
	MemoryContextSwitchTo(saved);
	return debt;
}

/* The path at which a debt's token is revoked, now that its id is known. */
const char *
ledger_path(Debt *debt)
{
	snprintf(debt->path + debt->path_length, ID_ROOM, "/" INT64_FORMAT,
			 debt->id);
	return debt->path;
}

static Account *
open_account(uint64 instance, int64 id)
{
	AccountKey	key = {.instance = instance, .id = id};
	bool		found;
	Account    *account = hash_search(ledger.accounts, &key, HASH_ENTER, &found);

	if (!found)
	{
		dlist_init(&account->debts);
		dlist_init(&account->successors);
	}
	return account;
}

/* Says which token a debt is about.  Nothing has changed if that fails. */
void
ledger_assign_token(Debt *debt, int64 id)
{
	Account    *account = open_account(debt->connection->instance, id);

	dlist_push_tail(&account->debts, &debt->same_token);
	debt->id = id;
}

/* Says in whose place a debt's token is created; before the debt is entered. */
void
ledger_assign_old(Debt *debt, int64 old_id)
{
	Assert(!ledger_is_change(debt));
	debt->old_account = open_account(debt->connection->instance, old_id);
	debt->other_id = old_id;
}

/* Enters a debt that has been made. */
void
ledger_enter(Debt *debt)
{
	(void) connection_retain(debt->connection);
	dlist_push_tail(&ledger.debts, &debt->link);
	if (debt->old_account)
		dlist_push_tail(&debt->old_account->successors, &debt->same_old);
	if (counts(debt))
		ledger.changes++;
}

/* Overwrites the secret of what was created. */
static void
forget_secret(Debt *debt)
{
	if (debt->secret)
	{
		explicit_bzero(debt->secret, strlen(debt->secret));
		pfree(debt->secret);
		debt->secret = NULL;
	}
}

/* Strikes a debt off: nothing came of it, or it was rolled back. */
void
ledger_strike(Debt *debt)
{
	if (debt->same_token.next)
		dlist_delete(&debt->same_token);
	if (debt->same_old.next)
		dlist_delete(&debt->same_old);
	if (counts(debt))
		ledger.changes--;
	dlist_delete(&debt->link);
	if (debt->call)
		api_call_free(debt->call);
	connection_release(debt->connection);
	pfree(debt->who);
	if (debt->what)
		pfree(debt->what);
	pfree(debt->table);
	pfree(debt->id_column);
	pfree(debt->condition);
	pfree(debt->remark);
	pfree(debt->words);
	pfree(debt->path);
	forget_secret(debt);
	if (debt->finder)
		pfree(debt->finder);
	if (debt->name)
		pfree(debt->name);
	pfree(debt);
}

/* Forgets everything; what was sent and not answered is given up. */
void
ledger_close(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		dlist_delete(&debt->link);
		if (debt->call)
			api_call_free(debt->call);
		connection_release(debt->connection);
		forget_secret(debt);
	}
	ledger.accounts = NULL;
	ledger.changes = 0;
	ledger.destroyed = ledger.late = false;
	if (ledger.context)
		MemoryContextReset(ledger.context);
}

bool
ledger_is_empty(void)
{
	return dlist_is_empty(&ledger.debts);
}

/* Notes which token a debt is about, for the audit trail. */
void
ledger_describe(Debt *debt, JsonRecord *record)
{
	debt->what = MemoryContextStrdup(ledger.context, audit_token(record));
}

/* The line about something that has happened to a token. */
void
ledger_log(const Debt *debt, int64 id, const char *event)
{
	Announcement a = {{0}, {0}, {0}};

	if (!quiet_log_changes)
		return;
	SAY(message, "%s " INT64_FORMAT "%s %s%s on server \"%s\" by %s",
		debt->resource->singular, id, debt->words, event,
		debt->what ? debt->what : "", debt->connection->server_name, debt->who);
	quiet_announce(api_log_level(), &a);
}

/* A token that is revoked is owed by nobody, however often it was entered. */
void
ledger_mark_paid(Debt *debt)
{
	Account    *account = find_account(debt->connection->instance, debt->id);
	dlist_iter	iter;

	ledger_set_state(debt, DEBT_PAID);
	if (account)
		dlist_foreach(iter, &account->debts)
		{
			Debt	   *other = account_debt(iter.cur);

			if (other->state == DEBT_OWED || other->state == DEBT_REFUSED ||
				other->state == DEBT_UNKNOWN)
				ledger_set_state(other, DEBT_PAID);
		}
	ledger_log(debt, debt->id, "revoked");
}

/* A debt about a token that fits, or any if fits is NULL; or NULL. */
Debt *
ledger_find(uint64 instance, int64 id, DebtTest fits)
{
	Account    *account = find_account(instance, id);
	dlist_iter	iter;

	if (account)
		dlist_foreach(iter, &account->debts)
			if (fits == NULL || fits(account_debt(iter.cur)))
				return account_debt(iter.cur);
	return NULL;
}

/*
 * The highest id of a token that GitLab has shown to this transaction over a
 * connection.  Earlier transactions prove nothing: GitLab may have been restored from
 * a backup since.
 */
static int64
highest_shown(const Connection *connection)
{
	return connection->highest_token_of == GetCurrentTransactionStartTimestamp() ?
		connection->highest_token : 0;
}

/* Notes that GitLab has shown a token: those that are made later have higher ids. */
void
ledger_note_shown(Connection *connection, int64 id)
{
	connection->highest_token = Max(highest_shown(connection), id);
	connection->highest_token_of = GetCurrentTransactionStartTimestamp();
}

/* Notes what is known when the POST that a debt is about goes out. */
void
ledger_note_post(Debt *debt)
{
	debt->sent_at = GetCurrentTimestamp();
	debt->highest_before = highest_shown(debt->connection);
}

/*
 * How much older than its request an answer may say a token is.  The clocks of a GitLab
 * and of the proxies before it differ.
 */
#define OLD_TOKEN_SECONDS SECS_PER_HOUR

/* Whether a token was created long before a debt's POST was sent. */
static bool
predates(const Debt *debt, JsonRecord *answer)
{
	const Connection *connection = debt->connection;
	int64		behind = connection->clock_known ?
		Max(-connection->clock_offset, 0) : SECS_PER_DAY;
	TimestampTz created;

	return record_moment(answer, "created_at", &created) &&
		created < debt->sent_at - (behind + OLD_TOKEN_SECONDS) * USECS_PER_SEC;
}

/*
 * The field by which GitLab's answer to a debt's POST shows a token that existed
 * before, or NULL: the token is new.  A rollback revokes what was created, and must not
 * be led to another token.  GitLab counts its tokens upwards.  A proxy may repeat an
 * answer of an earlier day.  Raises nothing.
 */
const char *
ledger_shows_old(const Debt *debt, JsonRecord *answer)
{
	const Connection *connection = debt->connection;
	const char *secret = record_text(answer, "token");
	int64		id;

	if (!record_id(answer, &id) || id <= debt->other_id ||
		id <= debt->highest_before ||
		(connection->self == SELF_IS_TOKEN && id <= connection->self_id) ||
		ledger_find(connection->instance, id, NULL) != NULL)
		return "id";
	if (secret && strcmp(secret, connection->credential) == 0)
		return "token";
	return predates(debt, answer) ? "created_at" : NULL;
}

/*
 * Whether a debt's POST has made a new token, and the token's id.  Otherwise
 * the call says what is wrong with an answer that has come.  Raises nothing.
 */
bool
ledger_believes(const Debt *debt, int64 *id)
{
	ApiCall    *call = debt->call;

	if (api_verdict(call) != API_DONE)
		return false;
	if (!record_id(call->record, id))
		call->problem = "The answer has no valid field \"id\"";
	else if (ledger_shows_old(debt, call->record))
		call->problem = "The answer is about a token that existed before";
	else
		return true;
	return false;
}

Debt *
ledger_first(DebtTest fits)
{
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
		if (fits(debt_of(iter.cur)))
			return debt_of(iter.cur);
	return NULL;
}

/*
 * Finds the last token that the transaction has made, rolled back or not; 0 if there
 * is none.  Returns whether there may be another one, of which no answer has come.
 */
bool
ledger_made(int64 *id)
{
	bool		in_doubt = false;
	dlist_iter	iter;

	*id = 0;
	dlist_foreach(iter, &ledger.debts)
	{
		const Debt *debt = debt_of(iter.cur);

		if (debt->kind != DEBT_CREATED && debt->kind != DEBT_ROTATED)
			continue;
		if (debt->id == 0)
			in_doubt = true;
		else
			*id = debt->id;
	}
	return in_doubt;
}

/* A detail that says what the transaction has done in GitLab.  Raises errors. */
char *
ledger_summary(void)
{
	StringInfoData buf;
	int			counts[] = {[DEBT_CREATED] = 0, [DEBT_DELETED] = 0, [DEBT_ROTATED] = 0, [DEBT_REPLACED] = 0};
	int			lost = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
	{
		const Debt *debt = debt_of(iter.cur);

		/* another error, or the rollback, names the token of a lost answer */
		if (debt->state == DEBT_ASKED || debt->state == DEBT_LOST)
			lost++;
		else
			counts[debt->kind]++;
	}
	initStringInfo(&buf);
	if (counts[DEBT_CREATED] + counts[DEBT_ROTATED] + lost == 0)
		appendStringInfoString(&buf, "Nothing has been changed in GitLab.");
	if (counts[DEBT_CREATED] > 0)
		appendStringInfo(&buf, "It has created %d, which a rollback revokes.",
						 counts[DEBT_CREATED]);
	if (counts[DEBT_ROTATED] > 0)
		appendStringInfo(&buf, "%sIt has rotated %d natively, which no rollback undoes.",
						 buf.len > 0 ? " " : "", counts[DEBT_ROTATED]);
	if (lost > 0)
		appendStringInfo(&buf, "%sGitLab's answer to %d was lost.",
						 buf.len > 0 ? " " : "", lost);
	return buf.data;
}


/* ----------
 * Subtransactions
 * ----------
 */

/* Strikes off what a subtransaction owed, or hands it to the one above. */
void
ledger_end_subtransaction(int level, bool aborted)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->level < level)
			continue;
		if (aborted && ledger_is_change(debt))
			ledger_strike(debt);
		else if (aborted)
		{
			debt->level = NO_LEVEL;
			/* what has not gone out yet must not go out any more */
			if (debt->call)
				api_last_attempt(debt->call);
		}
		else
			debt->level = level - 1;
	}
	if (ledger_is_empty())
		ledger_close();
	ledger_assert();
}


/* ----------
 * What scans see
 * ----------
 */

/*
 * Puts under their tokens those debts that have learned them where no memory may
 * be allocated.
 */
static void
index_late(void)
{
	dlist_iter	iter;

	if (!ledger.late)
		return;
	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->id && debt->same_token.next == NULL)
			ledger_assign_token(debt, debt->id);
	}
	ledger.late = false;
}

/*
 * How a scan whose snapshot has this curcid sees a token: as a heap scan would
 * see a row that the same commands had inserted or deleted.
 */
TokenView
ledger_view(uint64 instance, int64 id, CommandId curcid)
{
	Account    *account;
	TokenView	view = TOKEN_AS_READ;
	dlist_iter	iter;

	index_late();
	account = find_account(instance, id);
	if (account == NULL)
		return TOKEN_AS_READ;
	dlist_foreach(iter, &account->debts)
	{
		Debt	   *debt = account_debt(iter.cur);

		if (ledger_is_change(debt))
		{
			if (debt->cid < curcid)
				view = TOKEN_REVOKED;
		}
		else if (debt->cid >= curcid)
			return TOKEN_HIDDEN;
		else if (debt->level == NO_LEVEL && debt->kind == DEBT_CREATED)
			view = TOKEN_REVOKED;
	}
	return view;
}

/* Whether any token of the scan's GitLab reads otherwise than in GitLab. */
bool
ledger_differs(const ChangeScan *scan)
{
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
		if (debt_of(iter.cur)->connection->instance ==
			api_connection(scan->client)->instance)
			return true;
	return false;
}

/*
 * Whether the running command is the one that has entered a debt, which changed
 * a token.  Raises an error if something that the command has fired did so.
 */
static bool
is_commands(const RemoteChange *change, const Debt *debt, int64 id)
{
	if (debt->cid > change->cid)
		change_refuse_triggered(psprintf("%s " INT64_FORMAT,
										 debt->resource->singular, id));
	return debt->cid == change->cid;
}

/*
 * Whether the running command has deleted, replaced or rotated this token
 * already.  A creation that was rolled back has changed nothing; GitLab's own
 * rotation cannot be rolled back.  Raises an error if something that the command
 * has fired did so.
 */
bool
ledger_met(const RemoteChange *change, int64 id)
{
	Account    *account = find_account(api_connection(change->client)->instance, id);
	bool		met = false;
	dlist_iter	iter;

	if (account == NULL)
		return false;
	dlist_foreach(iter, &account->debts)
		if (ledger_is_change(account_debt(iter.cur)))
			met |= is_commands(change, account_debt(iter.cur), id);
	dlist_foreach(iter, &account->successors)
	{
		const Debt *debt = account_successor(iter.cur);

		if (debt->kind == DEBT_ROTATED || debt->level != NO_LEVEL)
			met |= is_commands(change, debt, id);
	}
	return met;
}
