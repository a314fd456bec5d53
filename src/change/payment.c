/*-------------------------------------------------------------------------
 *
 * payment.c
 *	  Paying what the transaction owes: revoking tokens.
 *
 * There are two ways of paying.  Before the commit, errors may be raised and
 * interrupts are serviced.  After it, and during a rollback, an error would be a
 * PANIC or an endless recursion.  The code that runs there raises nothing above
 * WARNING, looks nothing up in the catalogs and allocates with malloc only.  It
 * stops at a cancel or a terminate, and after rollback_timeout without progress.
 * All that it needs (the connection, the names for messages) was put into the debt
 * when that was entered.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/ledger.h"
#include "change/payment.h"
#include "change/undo.h"
#include "change/variables.h"
#include "change/quiet.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "http/engine.h"

/* Requests under way at a time, whatever the option "concurrency" says. */
#define MAX_CONCURRENCY 32


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
void
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
void
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
void
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
