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
#include "change/ledger.h"
#include "change/queue.h"
#include "change/quiet.h"
#include "gitlab/client.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The debts about one token.  The key is hashed by bytes: it has no padding. */
typedef struct AccountKey
{
	uint64		serverid;
	int64		id;
} AccountKey;

typedef struct Account
{
	AccountKey	key;
	dlist_head	debts;
} Account;

/* The ledger of the current transaction. */
MemoryContext ledger = NULL;	/* holds all of the following */
dlist_head	debts = DLIST_STATIC_INIT(debts);
static HTAB *accounts = NULL;
int			changes = 0;		/* tokens that DELETE and UPDATE owe */

/*
 * At rollback: variables may hold tokens that the transaction has created, or it
 * isn't known that they don't.  So none of these is revoked.
 */
bool		creations_are_kept = false;


/* ----------
 * Keeping the ledger
 * ----------
 */

static void
open_ledger(void)
{
	HASHCTL		ctl = {.keysize = sizeof(AccountKey), .entrysize = sizeof(Account)};

	if (ledger == NULL)
		ledger = AllocSetContextCreate(TopMemoryContext,
									   "gitlab_pat_fdw ledger",
									   ALLOCSET_DEFAULT_SIZES);
	if (accounts == NULL)
	{
		ctl.hcxt = ledger;
		accounts = hash_create("gitlab_pat_fdw accounts", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

static AccountKey
account_key(Oid serverid, int64 id)
{
	AccountKey	key = {.serverid = serverid, .id = id};

	return key;
}

static Account *
find_account(Oid serverid, int64 id)
{
	AccountKey	key = account_key(serverid, id);

	return accounts ? hash_search(accounts, &key, HASH_FIND, NULL) : NULL;
}

/* Enters a debt, not yet about a certain token. */
Debt *
enter_debt(const RemoteChange *change, DebtKind kind)
{
	MemoryContext saved;
	Debt	   *debt;
	char	   *role = GetUserNameFromId(change->userid, true);

	open_ledger();
	saved = MemoryContextSwitchTo(ledger);
	debt = palloc0(sizeof(Debt));
	debt->kind = kind;
	debt->level = GetCurrentTransactionNestLevel();
	debt->cid = change->cid;
	debt->userid = change->userid;
	debt->role = pstrdup(role ? role : "?");
	debt->table = pstrdup(change->table);
	debt->id_column = pstrdup(change->id_column);
	debt->connection = connection_retain(api_connection(change->client));
	dlist_push_tail(&debts, &debt->link);
	MemoryContextSwitchTo(saved);
	return debt;
}

/*
 * Says which token a debt is about.  The hash table may be short of memory: the
 * debt itself is complete before.
 */
void
assign_token(Debt *debt, int64 id)
{
	AccountKey	key = account_key(debt->connection->serverid, id);
	Account    *account;
	bool		found;

	debt->id = id;
	account = hash_search(accounts, &key, HASH_ENTER, &found);
	if (!found)
		dlist_init(&account->debts);
	dlist_push_tail(&account->debts, &debt->same_token);
}

bool
is_change(const Debt *debt)
{
	return debt->kind == DEBT_DELETED || debt->kind == DEBT_REPLACED;
}

/* Strikes a debt off: nothing came of it, or it was rolled back. */
void
strike_debt(Debt *debt)
{
	if (debt->same_token.next)
		dlist_delete(&debt->same_token);
	if (is_change(debt))
		changes--;
	dlist_delete(&debt->link);
	if (debt->call)
		api_call_free(debt->call);
	connection_release(debt->connection);
	pfree(unconstify(char *, debt->role));
	pfree(unconstify(char *, debt->table));
	pfree(unconstify(char *, debt->id_column));
	if (debt->finder)
		pfree(unconstify(char *, debt->finder));
	pfree(debt);
}

void
close_ledger(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		dlist_delete(&debt->link);
		if (debt->call)
			api_call_free(debt->call);
		connection_release(debt->connection);
	}
	accounts = NULL;
	changes = 0;
	creations_are_kept = false;
	if (ledger)
		MemoryContextReset(ledger);
}

void
log_change(const Debt *debt, const char *what)
{
	Announcement a = {{0}, {0}, {0}};

	if (!quiet_log_changes)
		return;
	SAY(message,
		"personal access token " INT64_FORMAT " %s on server \"%s\" by role \"%s\"",
		debt->id, what, debt->connection->server_name, debt->role);
	quiet_announce(api_log_level(), &a);
}

/* A debt about a token that fits, or NULL. */
Debt *
find_debt(Oid serverid, int64 id, bool (*fits) (const Debt *))
{
	Account    *account = find_account(serverid, id);
	dlist_iter	iter;

	if (account)
		dlist_foreach(iter, &account->debts)
		{
			Debt	   *debt = dlist_container(Debt, same_token, iter.cur);

			if (fits(debt))
				return debt;
		}
	return NULL;
}


/* ----------
 * What scans see
 * ----------
 */

/*
 * How a scan whose snapshot has this curcid sees a token: as a heap scan would
 * see a row that the same commands had inserted or deleted.
 */
TokenView
transaction_token_view(Oid serverid, int64 id, CommandId curcid)
{
	Account    *account = find_account(serverid, id);
	TokenView	view = TOKEN_AS_READ;
	dlist_iter	iter;

	if (account == NULL)
		return TOKEN_AS_READ;
	dlist_foreach(iter, &account->debts)
	{
		Debt	   *debt = dlist_container(Debt, same_token, iter.cur);

		if (is_change(debt))
		{
			if (debt->cid < curcid)
				view = TOKEN_REVOKED;
		}
		else if (debt->undone)
		{
			if (debt->kind == DEBT_CREATED)
				view = TOKEN_REVOKED;
		}
		else if (debt->cid >= curcid)
			return TOKEN_HIDDEN;
	}
	return view;
}

/* Does any token of a server read otherwise than GitLab shows it? */
bool
has_debts(Oid serverid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->connection->serverid == serverid)
			return true;
	}
	return false;
}

/* Has the running command deleted or replaced this token already? */
bool
transaction_touched(const RemoteChange *change, int64 id)
{
	Oid			serverid = api_connection(change->client)->serverid;
	dlist_iter	iter;
	Account    *account = find_account(serverid, id);

	if (account)
		dlist_foreach(iter, &account->debts)
		{
			Debt	   *debt = dlist_container(Debt, same_token, iter.cur);

			if (is_change(debt) && debt->cid == change->cid)
				return true;
		}
	/* a native rotation is entered under the id of the new token */
	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->kind == DEBT_ROTATED && debt->other_id == id &&
			debt->connection->serverid == serverid && debt->cid == change->cid)
			return true;
	}
	return false;
}

/* A token that is revoked is owed by nobody, however often it was entered. */
void
mark_paid(Debt *debt)
{
	Account    *account = find_account(debt->connection->serverid, debt->id);
	dlist_iter	iter;

	debt->paid = true;
	if (account)
		dlist_foreach(iter, &account->debts)
			dlist_container(Debt, same_token, iter.cur)->paid = true;
	log_change(debt, "revoked");
}
