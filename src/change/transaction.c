/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  What commit and rollback owe to GitLab.
 *
 * Two ways of paying.  Before the commit, errors may be raised and interrupts
 * are serviced.  After it, and during a rollback, an error would be a PANIC or
 * an endless recursion, so the code that runs there raises nothing above
 * WARNING, looks nothing up in the catalogs and allocates with malloc only; it
 * stops at a cancel or a terminate, and after rollback_timeout without
 * progress.  All that it needs (the connection, the names for messages) was put
 * into the debt when that was entered.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "http/engine.h"
#include "miscadmin.h"
#include "change/queue.h"
#include "change/quiet.h"
#include "change/transaction.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Requests under way at a time, whatever the option "concurrency" says. */
#define MAX_CONCURRENCY 32

int			transaction_max_changes = 100;

typedef enum DebtKind
{
	DEBT_DELETED,
	DEBT_REPLACED,
	DEBT_CREATED,
	DEBT_ROTATED
} DebtKind;

typedef struct Debt
{
	dlist_node	link;			/* in debts, in the order of entering */
	dlist_node	same_token;		/* in its Account */
	DebtKind	kind;
	int			level;			/* nest level of the owing transaction */
	bool		undone;			/* its subtransaction was rolled back */
	bool		paid;			/* nothing is owed any more */
	bool		told;			/* an error has named it already */
	CommandId	cid;
	Connection *connection;		/* one reference */
	Oid			userid;
	int64		id;				/* the token to revoke; 0: not known yet */
	int64		other_id;		/* rotated: the old one; replaced: the new one */
	uint64		secret_hash;	/* of what was created; 0: not known */
	ApiCall    *call;			/* under way, or NULL */
	const char *role;
	const char *table;
	const char *id_column;
	const char *finder;			/* the SELECT that finds a lost token */
} Debt;

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
static MemoryContext ledger = NULL; /* holds all of the following */
static dlist_head debts = DLIST_STATIC_INIT(debts);
static HTAB *accounts = NULL;
static int	changes = 0;		/* tokens that DELETE and UPDATE owe */

/*
 * At rollback: variables may hold tokens that the transaction has created, or it
 * isn't known that they don't.  So none of these is revoked.
 */
static bool creations_are_kept = false;


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
static Debt *
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
static void
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

static bool
is_change(const Debt *debt)
{
	return debt->kind == DEBT_DELETED || debt->kind == DEBT_REPLACED;
}

/* Strikes a debt off: nothing came of it, or it was rolled back. */
static void
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

static void
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

static void
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
static Debt *
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
static bool
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

struct TransactionView
{
	Oid			serverid;
	const Resource *resource;
	CommandId	curcid;
	QueueView	queue;
};

/*
 * Opens a scan's view of what this transaction has done, in the current memory
 * context.  It stays right while the transaction goes on: the running command
 * may make its first change after the scan began.
 */
TransactionView *
transaction_view(Oid serverid, const Resource *resource, CommandId curcid)
{
	TransactionView *view = palloc0(sizeof(TransactionView));

	view->serverid = serverid;
	view->resource = resource;
	view->curcid = curcid;
	view->queue.serverid = serverid;
	view->queue.resource = resource;
	view->queue.curcid = curcid;
	view->queue.context = CurrentMemoryContext;
	return view;
}

/* Do any of the resource's records read otherwise than GitLab shows them? */
bool
transaction_view_differs(const TransactionView *view)
{
	return view->resource->written_at_commit ? queue_differs(&view->queue) :
		view->resource == resource_tokens && has_debts(view->serverid);
}

/*
 * A record that GitLab sent as the scan sees it: NULL if it does not, and valid
 * until the next one is asked for.  *revoked says that it is to read as revoked.
 */
JsonRecord *
transaction_view_record(TransactionView *view, JsonRecord *record,
						bool *revoked)
{
	int64		id;

	*revoked = false;
	if (view->resource->written_at_commit)
		return queue_view_record(&view->queue, record);
	if (view->resource == resource_tokens && resource_id(record, &id))
	{
		TokenView	token = transaction_token_view(view->serverid, id,
												   view->curcid);

		*revoked = token == TOKEN_REVOKED;
		if (token == TOKEN_HIDDEN)
			return NULL;
	}
	return record;
}

/*
 * The next record that the scan sees and GitLab does not have yet, or NULL; to
 * be asked for when there are no more of GitLab's.
 */
JsonRecord *
transaction_view_rest(TransactionView *view)
{
	return view->resource->written_at_commit ?
		queue_view_rest(&view->queue) : NULL;
}

/* The scan starts again. */
void
transaction_view_rewind(TransactionView *view)
{
	queue_view_rewind(&view->queue);
}


/* Does the transaction owe anything to anybody? */
bool
transaction_any(void)
{
	return !dlist_is_empty(&debts) || !queue_is_empty();
}


/* ----------
 * Entering what statements do
 * ----------
 */

/*
 * The answer of a POST was lost.  Never sent again: it may have done its work.
 */
pg_noreturn static void
report_lost(Debt *debt, ApiCall *call, const char *action, const char *finder)
{
	char		description[API_DESCRIPTION_SIZE];
	char	   *server_name = pstrdup(call->connection->server_name);
	int			sqlstate = api_sqlstate(call);

	api_describe(call, description, sizeof(description));
	strike_debt(debt);
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("could not %s on server \"%s\": GitLab's answer was lost",
					action, server_name),
			 errdetail("%s A token may exist whose secret nobody knows.",
					   description),
			 errhint("Look for it, and revoke it if it is there: %s", finder)));
}

/*
 * Sends the POST that a debt is about, and waits for its answer.  The call
 * stays with the debt if an interrupt comes first, for then the rollback has
 * to deal with what it created; else it is given to the client.
 */
static ApiCall *
post_for_debt(const RemoteChange *change, Debt *debt, const char *path,
			  const char *body, const char *action, const char *finder,
			  int64 *id)
{
	ApiCall    *call;

	debt->finder = MemoryContextStrdup(ledger, finder);
	call = debt->call = api_call_create(debt->connection, "POST", path, body);
	if (call == NULL)
	{
		strike_debt(debt);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	api_call_start(call);
	api_wait(&debt->call, 1);

	switch (api_call_judge(call))
	{
		case API_SUCCEEDED:
			if (resource_id(call->record, id))
				break;
			call->problem = "The answer has no valid field \"id\"";
			report_lost(debt, call, action, finder);
		case API_LOST:
			report_lost(debt, call, action, finder);
		case API_REFUSED:
		case API_FAILED:
			debt->call = NULL;
			api_adopt(change->client, call);
			strike_debt(debt);
			api_check(call, action);
	}
	debt->call = NULL;
	api_adopt(change->client, call);
	debt->secret_hash = resource_text_hash(call->record, "token");
	assign_token(debt, *id);
	return call;
}

/*
 * Creates a token by a POST, at once.  finder is the SELECT that finds the
 * token should the answer be lost.  Returns the call with GitLab's answer,
 * secret included, which belongs to the client, and the token's id.
 */
ApiCall *
transaction_create(const RemoteChange *change, const char *path,
				   const char *body, const char *action, const char *finder,
				   int64 *id)
{
	Debt	   *debt = enter_debt(change, DEBT_CREATED);
	ApiCall    *call = post_for_debt(change, debt, path, body, action, finder,
									 id);

	log_change(debt, "created");
	return call;
}

/* The same for GitLab's own rotation, which nothing can undo. */
ApiCall *
transaction_rotate(const RemoteChange *change, int64 old_id, const char *body,
				   const char *finder, int64 *id)
{
	Debt	   *debt = enter_debt(change, DEBT_ROTATED);
	char		path[80];
	ApiCall    *call;

	debt->other_id = old_id;
	snprintf(path, sizeof(path), "%s/" INT64_FORMAT "/rotate",
			 resource_tokens->path, old_id);
	call = post_for_debt(change, debt, path, body,
						 psprintf("rotate personal access token " INT64_FORMAT, old_id),
						 finder, id);
	log_change(debt, psprintf("created in place of " INT64_FORMAT ", which is revoked,",
							  old_id));
	return call;
}

/* Raises an error if the transaction may not owe one more revocation. */
void
transaction_check_change(void)
{
	if (changes >= transaction_max_changes)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("transaction would revoke more than %d personal access tokens",
						transaction_max_changes),
				 errdetail("Nothing has been revoked."),
				 errhint("If that is meant, raise \"gitlab_pat_fdw.max_changes\" for this transaction, with SET LOCAL.")));
}

static void
enter_change(const RemoteChange *change, DebtKind kind, int64 id, int64 other_id)
{
	Debt	   *debt;

	transaction_check_change();
	debt = enter_debt(change, kind);
	changes++;
	debt->other_id = other_id;
	assign_token(debt, id);
}

/* A new token takes the place of an old one, to be revoked after commit. */
void
transaction_replace(const RemoteChange *change, int64 old_id, int64 new_id)
{
	enter_change(change, DEBT_REPLACED, old_id, new_id);
}

/*
 * Queues a token for revocation.  False if the same command did so before: the
 * row was met twice.
 */
bool
transaction_delete(const RemoteChange *change, int64 id)
{
	Oid			serverid = api_connection(change->client)->serverid;

	if (transaction_touched(change, id))
		return false;
	if (!find_debt(serverid, id, is_change))
		enter_change(change, DEBT_DELETED, id, 0);
	return true;
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


/* ----------
 * Paying
 * ----------
 */

static bool
is_owed_before_commit(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && !debt->paid;
}

static bool
is_owed_after_commit(const Debt *debt)
{
	return !debt->paid && debt->id &&
		(debt->kind == DEBT_REPLACED ||
		 (debt->kind == DEBT_CREATED && debt->undone));
}

static bool
is_unpaid_creation(const Debt *debt)
{
	return !debt->paid && debt->id && debt->kind == DEBT_CREATED;
}

static bool
is_owed_at_rollback(const Debt *debt)
{
	return !creations_are_kept && is_unpaid_creation(debt);
}

/* Is the token gone, now that its revocation was answered? */
static bool
is_revoked_by(ApiCall *call)
{
	return api_call_judge(call) == API_SUCCEEDED ||
		(call->outcome == API_REFUSED && api_is_absent(call));
}

static void
start_revocation(Debt *debt)
{
	char		path[64];

	snprintf(path, sizeof(path), "%s/" INT64_FORMAT, resource_tokens->path,
			 debt->id);
	debt->call = api_call_create(debt->connection, "DELETE", path, NULL);
	if (debt->call)
		api_call_start(debt->call);
}

/* A token that is revoked is owed by nobody, however often it was entered. */
static void
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

/*
 * Pays the debts over one connection that are owed, several at a time.  Stops
 * starting new requests once one has failed, if asked to.  Returns false if
 * patience ran out; without patience, interrupts are serviced.  Each debt that
 * was tried keeps its call until it is paid.
 */
static bool
pay_connection(Connection *connection, bool (*owed) (const Debt *),
			   bool stop_at_failure, Patience *patience)
{
	ApiCall    *calls[MAX_CONCURRENCY];
	Debt	   *payers[MAX_CONCURRENCY];
	int			limit = Min(connection->concurrency, MAX_CONCURRENCY);
	int			n = 0;
	bool		failed = false;
	dlist_node *next = debts.head.next;

	for (;;)
	{
		int			i;

		while (n < limit && next != &debts.head && !(failed && stop_at_failure))
		{
			Debt	   *debt = dlist_container(Debt, link, next);

			next = next->next;
			if (debt->connection != connection || debt->call || !owed(debt))
				continue;
			start_revocation(debt);
			if (debt->call == NULL)
			{
				failed = true;
				continue;
			}
			calls[n] = debt->call;
			payers[n++] = debt;
		}
		if (n == 0)
			return true;

		i = patience ?
			api_wait_quietly(calls, n, quiet_exhausted, patience) :
			api_wait(calls, n);
		if (i < 0)
			return false;
		if (is_revoked_by(calls[i]))
		{
			api_call_free(calls[i]);
			payers[i]->call = NULL;
			mark_paid(payers[i]);
		}
		else
			failed = true;
		if (patience)
			quiet_extend(patience, connection);
		n--;
		calls[i] = calls[n];
		payers[i] = payers[n];
	}
}

/* The first debt that is owed and has not been tried, or NULL. */
static Debt *
first_owed(bool (*owed) (const Debt *))
{
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->call == NULL && owed(debt))
			return debt;
	}
	return NULL;
}


/* ----------
 * Messages
 * ----------
 */

/*
 * Appends an id to a list in a buffer of QUIET_LIST_SIZE; false if it is full.
 */
static bool
append_id(char *list, int64 id)
{
	size_t		length = strlen(list);

	if (length + 24 > QUIET_LIST_SIZE)
		return false;
	snprintf(list + length, QUIET_LIST_SIZE - length, "%s" INT64_FORMAT,
			 length > 0 ? ", " : "", id);
	return true;
}

/*
 * Warns of tokens that should be revoked and are not, and says how to make up
 * for it: a message for each connection and table, or more if there are many.
 */
static void
warn_unpaid(bool (*owed) (const Debt *), const char *why_not, bool meant)
{
	dlist_iter	outer;

	dlist_foreach(outer, &debts)
	{
		Debt	   *first = dlist_container(Debt, link, outer.cur);
		char		list[QUIET_LIST_SIZE] = "";
		char		description[API_DESCRIPTION_SIZE];
		bool		answered = first->call && first->call->exchange->finished;
		Announcement a = {{0}, {0}, {0}};
		dlist_iter	inner;

		if (first->told || !owed(first))
			continue;
		dlist_foreach(inner, &debts)
		{
			Debt	   *debt = dlist_container(Debt, link, inner.cur);

			if (!debt->told && owed(debt) &&
				debt->connection == first->connection &&
				strcmp(debt->table, first->table) == 0)
				debt->told = append_id(list, debt->id);
		}
		if (answered)
			api_describe(first->call, description, sizeof(description));
		SAY(message, meant ?
			"personal access tokens of a transaction that was rolled back are left on server \"%s\": %s" :
			"could not revoke personal access tokens on server \"%s\": %s",
			first->connection->server_name, list);
		SAY(detail, "%s They still work.", answered ? description : why_not);
		SAY(hint, "%s: DELETE FROM %s WHERE %s IN (%s);",
			meant ? "Once nothing uses them, run" : "Run", first->table,
			first->id_column, list);
		quiet_announce(WARNING, &a);
	}
}

static bool
is_creation(const Debt *debt)
{
	return debt->kind == DEBT_CREATED;
}

/* Would a rollback miss the token?  Not if it revokes it anyway. */
static bool
is_missed(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && !debt->told &&
		!find_debt(debt->connection->serverid, debt->id, is_creation);
}

/* The answer may have come while a rollback waited for something else. */
static bool
was_deleted(const Debt *debt)
{
	return is_missed(debt) &&
		(debt->paid || (debt->call && debt->call->exchange->finished &&
						is_revoked_by(debt->call)));
}

/* A revocation that was sent and not answered. */
static bool
is_uncertain(const Debt *debt)
{
	return is_missed(debt) && !debt->paid && debt->call &&
		!debt->call->exchange->finished;
}

/* Lists the ids of debts that fit, as many as there is room for. */
static int
list_ids(char *list, bool (*fits) (const Debt *))
{
	dlist_iter	iter;
	int			n = 0;

	list[0] = '\0';
	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (!fits(debt))
			continue;
		n++;
		if (!append_id(list, debt->id))
			strlcpy(list + QUIET_LIST_SIZE - 8, ", ...", 8);
	}
	return n;
}

static void
mark_told(bool (*fits) (const Debt *))
{
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (fits(debt))
			debt->told = true;
	}
}

/*
 * The transaction failed after tokens had been revoked for it, by a cancel or
 * by PostgreSQL itself: say what a rollback can't bring back.
 */
static void
warn_deleted(void)
{
	char		list[QUIET_LIST_SIZE];
	char		uncertain[QUIET_LIST_SIZE];
	int			n = list_ids(list, was_deleted);
	int			m = list_ids(uncertain, is_uncertain);
	Announcement a = {{0}, {0}, {0}};

	if (n > 0)
	{
		SAY(message,
			"although the transaction was rolled back, personal access tokens were revoked: %s",
			list);
		SAY(detail, "It failed after its commit had begun.");
		quiet_announce(WARNING, &a);
	}
	if (m > 0)
	{
		SAY(message,
			"although the transaction was rolled back, personal access tokens may have been revoked: %s",
			uncertain);
		SAY(detail, "GitLab had not answered when the commit was interrupted.");
		quiet_announce(WARNING, &a);
	}
}

static void
warn_lost(Debt *debt)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message,
		"a personal access token may have been created on server \"%s\" for a transaction that was rolled back",
		debt->connection->server_name);
	SAY(detail, "GitLab had not answered when the transaction was rolled back.");
	SAY(hint, "Look for it, and revoke it if it is there: %s", debt->finder);
	quiet_announce(WARNING, &a);
}

/* A native rotation was rolled back, which GitLab can't do. */
static void
warn_rotated(Debt *debt)
{
	Announcement a = {{0}, {0}, {0}};
	const char *server_name = debt->connection->server_name;

	if (debt->id)
	{
		SAY(message,
			"the rotation of personal access token " INT64_FORMAT " on server \"%s\" could not be rolled back",
			debt->other_id, server_name);
		SAY(detail, "GitLab has revoked it in favor of " INT64_FORMAT ".",
			debt->id);
		SAY(hint, "If the secret of " INT64_FORMAT " is not known, rotate it again.",
			debt->id);
	}
	else
	{
		SAY(message,
			"personal access token " INT64_FORMAT " on server \"%s\" may have been rotated by a transaction that was rolled back",
			debt->other_id, server_name);
		SAY(detail, "GitLab had not answered when the transaction was rolled back.");
		SAY(hint, "Look for its successor: %s", debt->finder);
	}
	quiet_announce(WARNING, &a);
}


/* ----------
 * Before the commit
 * ----------
 */

/*
 * Raises an error if a variable is to be given the secret of a token that the
 * transaction has created, and which its commit will revoke.
 */
static void
check_deliveries(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);
		bool		undone = debt->kind == DEBT_CREATED && debt->undone;
		const char *name;

		if (debt->secret_hash == 0 ||
			!(undone || find_debt(debt->connection->serverid, debt->id, is_change)))
			continue;
		name = queue_find_value(debt->secret_hash);
		if (name)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s would get the secret of personal access token " INT64_FORMAT ", which the transaction revokes",
							name, debt->id),
					 undone ?
					 errdetail("The token was created under a savepoint, or in an exception block, that was rolled back.") :
					 errdetail("The token was deleted or replaced after its creation."),
					 errhint("The transaction is rolled back; nothing has been changed.")));
	}
}

/* A revocation failed with 401: was the credential rotated meanwhile? */
static bool
renew_credential(Connection *connection)
{
	Debt	   *refused = NULL;
	Connection *current;
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->connection == connection && debt->call &&
			debt->call->exchange->finished &&
			debt->call->exchange->status == 401)
			refused = debt;
	}
	if (refused == NULL)
		return false;
	current = api_reload(connection, refused->userid);
	if (current == NULL)
		return false;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->connection != connection)
			continue;
		if (debt->call)
			api_call_free(debt->call);
		debt->call = NULL;
		debt->connection = connection_retain(current);
		connection_release(connection);
	}
	connection_release(current);
	return true;
}

/* Fails the transaction because a token could not be revoked. */
static void
report_unrevoked(Connection *connection)
{
	char		list[QUIET_LIST_SIZE];
	int			n = list_ids(list, was_deleted);
	Debt	   *failed = NULL;
	dlist_iter	iter;
	char		description[API_DESCRIPTION_SIZE];
	char		action[80];
	const char *uncertain = "";

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (failed == NULL && is_owed_before_commit(debt) && debt->call)
			failed = debt;
	}
	if (failed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	mark_told(was_deleted);
	if (failed->call->outcome != API_REFUSED || failed->call->in_doubt)
		uncertain = " It may have been revoked all the same.";
	snprintf(action, sizeof(action), "revoke personal access token " INT64_FORMAT,
			 failed->id);
	api_describe(failed->call, description, sizeof(description));
	ereport(ERROR,
			(errcode(api_sqlstate(failed->call)),
			 errmsg("could not %s on server \"%s\"", action,
					connection->server_name),
			 n == 0 ?
			 errdetail("%s%s No other token had been revoked.", description,
					   uncertain) :
			 errdetail_plural("%s%s %d token had already been revoked: %s.",
							  "%s%s %d tokens had already been revoked: %s.",
							  n, description, uncertain, n, list),
			 errhint("The transaction is rolled back; running it again is safe.")));
}

/* Revokes what DELETE has queued.  May raise errors. */
static void
pay_before_commit(void)
{
	Debt	   *debt;

	while ((debt = first_owed(is_owed_before_commit)) != NULL)
	{
		Connection *connection = debt->connection;
		bool		renewed = false;

		for (;;)
		{
			Debt	   *left;

			(void) pay_connection(connection, is_owed_before_commit, true, NULL);
			left = NULL;
			for (dlist_node *node = debts.head.next; node != &debts.head;
				 node = node->next)
			{
				Debt	   *other = dlist_container(Debt, link, node);

				if (other->connection == connection &&
					is_owed_before_commit(other))
					left = other;
			}
			if (left == NULL)
				break;
			if (renewed || !renew_credential(connection))
				report_unrevoked(connection);
			connection = left->connection;
			renewed = true;
		}
	}
}


/* ----------
 * After the commit, and at rollback.  Raises nothing above WARNING.
 * ----------
 */

/* Waits for the answer of a POST that the transaction did not wait for. */
static void
finish_post(Debt *debt, Patience *patience)
{
	ApiCall    *call = debt->call;
	int64		id;

	http_last_attempt(call->exchange);
	if (!quiet_wait(call, patience))
		return;					/* the call stays, as a sign of it */
	if (api_call_judge(call) == API_LOST)
		return;
	if (call->outcome == API_SUCCEEDED)
	{
		if (!resource_id(call->record, &id))
			return;
		debt->id = id;
		log_change(debt, "created");
	}
	else
		debt->paid = true;		/* nothing was created */
	debt->call = NULL;
	api_call_free(call);
}

/* May the transaction have revoked a token, which no rollback brings back? */
static bool
may_have_revoked(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->kind == DEBT_ROTATED && !debt->paid)
			return true;
		if (debt->kind == DEBT_DELETED &&
			(debt->paid ||
			 (debt->call && !(debt->call->exchange->finished &&
							  api_came_to_nothing(debt->call)))))
			return true;
	}
	return false;
}

/*
 * Puts back the variables that were written for the transaction.  False if they
 * may still hold tokens that it has created.  If it has also revoked tokens, what
 * a variable held before may be one of these: then what it holds now is better.
 */
static bool
put_variables_back(Patience *patience)
{
	if (!queue_was_written())
		return true;
	if (!may_have_revoked())
		return queue_put_back(patience);
	queue_leave(patience);
	return false;
}

/*
 * The transaction is over: pays what is owed now, and warns of what can't be
 * paid.
 */
static void
settle(bool committed)
{
	bool		(*owed) (const Debt *) = committed ? is_owed_after_commit :
		is_owed_at_rollback;
	Patience	patience = {0};
	dlist_iter	iter;
	Debt	   *debt;

	dlist_foreach(iter, &debts)
	{
		debt = dlist_container(Debt, link, iter.cur);
		if ((debt->kind == DEBT_CREATED || debt->kind == DEBT_ROTATED) &&
			debt->call)
			finish_post(debt, &patience);
	}
	if (!committed)
		creations_are_kept = !put_variables_back(&patience);
	while (!patience.exhausted && (debt = first_owed(owed)) != NULL)
	{
		quiet_extend(&patience, debt->connection);
		if (quiet_exhausted(&patience) ||
			!pay_connection(debt->connection, owed, false, &patience))
			break;
		if (debt->call == NULL && owed(debt))
			break;				/* out of memory */
	}
	warn_unpaid(owed, patience.exhausted ?
				"There was no time left to wait for GitLab." :
				"Out of memory.", false);
	if (creations_are_kept)
		warn_unpaid(is_unpaid_creation,
					"A variable may hold the secret of one of them.", true);

	dlist_foreach(iter, &debts)
	{
		debt = dlist_container(Debt, link, iter.cur);
		if (committed && !debt->undone)
			continue;
		if (debt->kind == DEBT_ROTATED && !debt->paid)
			warn_rotated(debt);
		else if (debt->kind == DEBT_CREATED && debt->id == 0 && !debt->paid)
			warn_lost(debt);
	}
	if (!committed)
		warn_deleted();
}


/* ----------
 * Callbacks
 * ----------
 */

static void
on_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (ledger == NULL && queue_is_empty())
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (!queue_is_empty())
			{
				check_deliveries();
				queue_write();
			}
			pay_before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (transaction_any())
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has changed anything in GitLab"),
						 errhint("Use COMMIT.")));
			break;
		case XACT_EVENT_COMMIT:
			settle(true);
			queue_close();
			close_ledger();
			break;
		case XACT_EVENT_ABORT:
			settle(false);
			queue_close();
			close_ledger();
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

static void
on_subtransaction(SubXactEvent event, SubTransactionId mine,
				  SubTransactionId parent, void *arg)
{
	int			level;
	dlist_mutable_iter iter;

	(void) mine;
	(void) parent;
	(void) arg;
	if (!transaction_any() || (event != SUBXACT_EVENT_COMMIT_SUB &&
							   event != SUBXACT_EVENT_ABORT_SUB))
		return;
	level = GetCurrentTransactionNestLevel();
	queue_end_subtransaction(level, event == SUBXACT_EVENT_ABORT_SUB);
	dlist_foreach_modify(iter, &debts)
	{
		Debt	   *debt = dlist_container(Debt, link, iter.cur);

		if (debt->level < level)
			continue;
		debt->level = level - 1;
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (is_change(debt))
			{
				strike_debt(debt);
				continue;
			}
			debt->undone = true;
			/* what has not gone out yet must not go out any more */
			if (debt->call)
				http_last_attempt(debt->call->exchange);
		}
	}
}

/* Called once, when the module is loaded. */
void
transaction_init(void)
{
	RegisterXactCallback(on_transaction, NULL);
	RegisterSubXactCallback(on_subtransaction, NULL);
}
