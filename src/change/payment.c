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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "change/batch.h"
#include "change/payment.h"
#include "compat.h"
#include "foreign/foreign.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "lib/stringinfo.h"


/* ----------
 * Paying
 * ----------
 */

static bool
is_due_before_commit(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && debt->state == DEBT_OWED;
}

static bool
is_due_after_commit(const Debt *debt)
{
	return debt->state == DEBT_OWED &&
		(debt->kind == DEBT_REPLACED ||
		 (debt->kind == DEBT_CREATED && debt->level == NO_LEVEL));
}

static bool
is_due_at_rollback(const Debt *debt)
{
	return debt->state == DEBT_OWED && debt->kind == DEBT_CREATED;
}

/* A batch of revocations. */
typedef struct Payment
{
	Batch		batch;
	DebtTest	is_due;
	dlist_node *next;			/* the debt to look at */
	bool		stops;			/* at the first failure */
} Payment;

/* Where a token is revoked by its own secret. */
#define SELF_PATH "/personal_access_tokens/self"

static void *
next_revocation(Batch *batch, ApiCall **call)
{
	Payment    *payment = (Payment *) batch;

	while (payment->next != &ledger.debts.head)
	{
		Debt	   *debt = debt_of(payment->next);

		payment->next = payment->next->next;
		if (debt->connection != batch->connection || !payment->is_due(debt))
			continue;
		debt->call = *call =
			api_call_create(debt->connection, "DELETE",
							debt->payer == PAYER_TOKEN ? SELF_PATH :
							ledger_path(debt), NULL);
		if (*call == NULL)
			return NULL;		/* out of memory */
		(*call)->resource = debt->resource;
		if (debt->payer == PAYER_TOKEN)
			api_call_authorize(*call, debt->secret);
		ledger_set_state(debt, DEBT_SENT);
		api_call_start(*call);
		return debt;
	}
	return NULL;
}

/*
 * Whether GitLab refuses the secret of a token that DELETE asked for by its
 * secret.  Such a secret works no longer, for a 401 that is JSON is GitLab's.
 * The secret of a token that the transaction created is tried only after
 * another credential was refused.  A second 401 may be about both, and the
 * token stays a debt.
 */
static bool
secret_is_dead(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && debt->payer == PAYER_TOKEN &&
		api_refusal(debt->call) == REFUSAL_CREDENTIAL &&
		api_has_media_type(debt->call, "application/json");
}

/* Learns from the answer to a revocation what came of it. */
static void
learn_revocation(Debt *debt)
{
	/* it was ended when another one had failed, and GitLab has done nothing */
	if (api_was_given_up(debt->call))
	{
		ledger_set_state(debt, DEBT_OWED);
		return;
	}
	switch (api_verdict(debt->call))
	{
		case API_DONE:
		case API_ABSENT:
			ledger_mark_paid(debt);
			break;
		case API_REFUSED:
			if (secret_is_dead(debt))
				ledger_mark_paid(debt);
			else
				ledger_set_state(debt, DEBT_REFUSED);
			break;
		case API_NOTHING_SENT:
			ledger_set_state(debt, DEBT_REFUSED);
			break;
		case API_UNKNOWN:
		case API_UNFINISHED:
			ledger_set_state(debt, DEBT_UNKNOWN);
			break;
	}
}

static bool
finish_revocation(Batch *batch, void *item)
{
	Debt	   *debt = item;

	learn_revocation(debt);
	return debt->state == DEBT_PAID || !((Payment *) batch)->stops;
}

/*
 * Pays what is due over a connection.  Without patience, errors may be raised, and
 * the first failure is the last.  False if patience has run out.
 */
static bool
pay_over(Connection *connection, DebtTest is_due, Patience *patience)
{
	Payment		payment = {
		.batch = {
			.connection = connection,
			.next = next_revocation,
			.finish = finish_revocation
		},
		.is_due = is_due,
		.next = ledger.debts.head.next,
		.stops = patience == NULL
	};

	return batch_run(&payment.batch, patience);
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

/* Lists the ids of all debts that fit, and returns how many these are. */
static int
list_ids(StringInfo list, DebtTest fits)
{
	dlist_iter	iter;
	int			n = 0;

	initStringInfo(list);
	dlist_foreach(iter, &ledger.debts)
		if (fits(debt_of(iter.cur)))
			appendStringInfo(list, "%s" INT64_FORMAT, n++ > 0 ? ", " : "",
							 debt_of(iter.cur)->id);
	return n;
}

static void
mark_named(DebtTest fits)
{
	Debt	   *debt;

	while ((debt = ledger_first(fits)) != NULL)
		ledger_set_state(debt, DEBT_NAMED);
}

/*
 * Whether a token should be revoked after the commit, and is not: its debt
 * could not be paid, or not in time.
 */
static bool
is_unpaid_after_commit(const Debt *debt)
{
	return (debt->state == DEBT_OWED || debt->state == DEBT_SENT ||
			debt->state == DEBT_REFUSED || debt->state == DEBT_UNKNOWN) &&
		(debt->kind == DEBT_REPLACED ||
		 (debt->kind == DEBT_CREATED && debt->level == NO_LEVEL));
}

static bool
is_unpaid_at_rollback(const Debt *debt)
{
	return debt->kind == DEBT_CREATED &&
		(debt->state == DEBT_OWED || debt->state == DEBT_SENT ||
		 debt->state == DEBT_REFUSED || debt->state == DEBT_UNKNOWN);
}

/*
 * Whether it is certain that a debt's token works.  A revocation that was sent
 * may have been carried out, and a token whose own secret GitLab refuses may be
 * dead.
 */
static bool
surely_works(const Debt *debt)
{
	return debt->state == DEBT_OWED ||
		(debt->state == DEBT_REFUSED &&
		 !(debt->payer == PAYER_TOKEN &&
		   api_refusal(debt->call) == REFUSAL_CREDENTIAL));
}

/* Whether two debts go into one message about what is unpaid. */
static bool
share_message(const Debt *a, const Debt *b)
{
	return a->connection == b->connection &&
		(a->call && api_finished(a->call)) == (b->call && api_finished(b->call)) &&
		surely_works(a) == surely_works(b) &&
		strcmp(a->table, b->table) == 0 &&
		strcmp(a->condition, b->condition) == 0;
}

/*
 * Warns of tokens that should be revoked and are not, and says how to make up
 * for it.  Each connection, table and outcome has one message, or more if there
 * are many tokens.
 */
static void
warn_unpaid(DebtTest is_unpaid, const char *why_not, bool meant)
{
	Debt	   *first;

	while ((first = ledger_first(is_unpaid)) != NULL)
	{
		char		list[QUIET_LIST_SIZE] = "";
		char		description[API_DESCRIPTION_SIZE];
		bool		answered = first->call && api_finished(first->call);
		bool		works = surely_works(first);
		Announcement a = {{0}, {0}, {0}};
		dlist_iter	iter;

		if (answered)
			api_describe(first->call, description, sizeof(description));
		dlist_foreach(iter, &ledger.debts)
		{
			Debt	   *debt = debt_of(iter.cur);

			/* the first one stays as it is: the others are compared with it */
			if (is_unpaid(debt) && share_message(debt, first) &&
				append_id(list, debt->id) && debt != first)
				ledger_set_state(debt, DEBT_NAMED);
		}
		ledger_set_state(first, DEBT_NAMED);
		SAY(message, meant ?
			"%s of a transaction that was rolled back are left on server \"%s\": %s" :
			"could not revoke %s on server \"%s\": %s",
			first->resource->plural, first->connection->server_name, list);
		SAY(detail, works ? "%s They still work." :
			"%s GitLab may have revoked them all the same.",
			answered ? description : why_not);
		SAY(hint, "%s: DELETE FROM %s WHERE %s%s IN (%s);%s",
			meant ? "Once nothing uses them, run" : "Run", first->table,
			first->condition, first->id_column, list, first->remark);
		quiet_warn(meant ? ERRCODE_GITLAB_TOKENS_IN_USE :
				   ERRCODE_GITLAB_TOKENS_LEFT, &a);
	}
}

static bool
is_creation(const Debt *debt)
{
	return debt->kind == DEBT_CREATED;
}

/* Whether a rollback would miss the token: not if it revokes it anyway. */
static bool
is_missed(const Debt *debt)
{
	return debt->kind == DEBT_DELETED &&
		!ledger_find(debt->connection->instance, debt->id, is_creation);
}

static bool
was_deleted(const Debt *debt)
{
	return debt->state == DEBT_PAID && is_missed(debt);
}

/* Whether a rollback would miss the token, which may have been revoked. */
static bool
is_uncertain(const Debt *debt)
{
	return (debt->state == DEBT_SENT || debt->state == DEBT_UNKNOWN) &&
		is_missed(debt);
}

/*
 * Says what a rollback can't bring back: a message for each connection and
 * resource, or more if there are many.
 */
static void
warn_revoked(DebtTest fits, int sqlstate, const char *what, const char *detail)
{
	Debt	   *first;

	while ((first = ledger_first(fits)) != NULL)
	{
		char		list[QUIET_LIST_SIZE] = "";
		Announcement a = {{0}, {0}, {0}};
		dlist_iter	iter;

		dlist_foreach(iter, &ledger.debts)
		{
			Debt	   *debt = debt_of(iter.cur);

			if (fits(debt) && debt->connection == first->connection &&
				debt->resource == first->resource &&
				append_id(list, debt->id))
				ledger_set_state(debt, DEBT_NAMED);
		}
		SAY(message,
			"although the transaction was rolled back, %s %s on server \"%s\": %s",
			first->resource->plural, what, first->connection->server_name, list);
		SAY(detail, "%s", detail);
		quiet_warn(sqlstate, &a);
	}
}

/*
 * The transaction failed after tokens had been revoked for it, by a cancel or
 * by PostgreSQL itself.
 */
static void
warn_deleted(void)
{
	warn_revoked(was_deleted, ERRCODE_GITLAB_TOKENS_REVOKED, "were revoked",
				 "It failed after its commit had begun.");
	warn_revoked(is_uncertain, ERRCODE_GITLAB_TOKENS_IN_DOUBT,
				 "may have been revoked",
				 "GitLab had not confirmed that when the commit was interrupted.");
}

/* Why it is not known what came of a POST, for a message's detail. */
static void
say_why(Announcement *announcement, Debt *debt)
{
	if (api_finished(debt->call))
		api_describe(debt->call, announcement->detail,
					 sizeof(announcement->detail));
	else
		strlcpy(announcement->detail,
				"GitLab had not answered when the transaction was rolled back.",
				sizeof(announcement->detail));
}

/* Of a creation that was rolled back, it is not known what came. */
static void
warn_lost(Debt *debt)
{
	Announcement a = {{0}, {0}, {0}};

	SAY(message,
		"%s %s may have been created on server \"%s\" for a transaction that was rolled back",
		resource_article(debt->resource), debt->resource->singular,
		debt->connection->server_name);
	say_why(&a, debt);
	SAY(hint, "Look for it, and revoke it if it is there: %s", debt->finder);
	quiet_warn(ERRCODE_GITLAB_CREATION_IN_DOUBT, &a);
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
			"the rotation of %s " INT64_FORMAT " on server \"%s\" could not be rolled back",
			debt->resource->singular, debt->other_id, server_name);
		SAY(detail, "GitLab has revoked it in favor of " INT64_FORMAT ".",
			debt->id);
		if (debt->state == DEBT_PAID)
			SAY(hint, "Token " INT64_FORMAT " has been revoked since.", debt->id);
		else
			SAY(hint, "If nobody has the secret of " INT64_FORMAT ", rotate that token again.",
				debt->id);
	}
	else
	{
		SAY(message,
			"%s " INT64_FORMAT " on server \"%s\" may have been rotated by a transaction that was rolled back",
			debt->resource->singular, debt->other_id, server_name);
		say_why(&a, debt);
		SAY(hint, "Look for its successor: %s", debt->finder);
	}
	quiet_warn(debt->id ? ERRCODE_GITLAB_ROTATION_STAYS :
			   ERRCODE_GITLAB_ROTATION_IN_DOUBT, &a);
}

/*
 * Says what the rollback of the transaction, or of a subtransaction, could not take
 * back of its creations.  Of a lost answer that an error has told of, that is enough,
 * unless a savepoint or an exception block has caught it.
 */
static void
warn_of_creations(bool committed)
{
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if ((committed && debt->level != NO_LEVEL) ||
			(debt->state == DEBT_LOST && debt->reported &&
			 debt->level != NO_LEVEL))
			continue;
		if (debt->kind == DEBT_ROTATED)
			warn_rotated(debt);
		else if (debt->kind == DEBT_CREATED && (debt->state == DEBT_ASKED ||
												debt->state == DEBT_LOST))
			warn_lost(debt);
		else
			continue;
		ledger_set_state(debt, DEBT_NAMED);
	}
}


/* ----------
 * Before the commit
 * ----------
 */

/*
 * Raises an error if an object is to be given the secret of a token that the
 * transaction has created, and which its commit will revoke.
 */
void
payment_check(HolderFinder find_holder)
{
	dlist_iter	iter;

	ledger_assert();
	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);
		bool		undone = debt->kind == DEBT_CREATED && debt->level == NO_LEVEL;
		const char *name;

		if (debt->secret == NULL ||
			!(undone || ledger_find(debt->connection->instance, debt->id, ledger_is_change)))
			continue;
		name = find_holder(debt->secret);
		if (name)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s would get the secret of %s " INT64_FORMAT ", which the transaction revokes",
							name, debt->resource->singular, debt->id),
					 undone ?
					 errdetail("The token was created under a savepoint, or in an exception block, that was rolled back.") :
					 errdetail("The token was deleted or replaced after its creation."),
					 errhint("Deliver another token; nothing has been changed.")));
	}
}

static bool
is_owed_change(const Debt *debt)
{
	return ledger_is_change(debt) && debt->state == DEBT_OWED;
}

/* Whether the commit is to revoke a token that DELETE or UPDATE has named. */
bool
payment_has_changes(void)
{
	return ledger_first(is_owed_change) != NULL;
}

/*
 * Whoever is to revoke a token, or has rotated one natively, has to keep the one
 * that takes its place.
 */
static bool
destroys(const Debt *debt)
{
	return debt->kind != DEBT_CREATED;
}

bool
payment_needs_durability(void)
{
	return ledger_first(destroys) != NULL;
}

/* Has a debt's connection replaced by another one to the same GitLab. */
static void
move_debt(Debt *debt, Connection *connection)
{
	Connection *former = debt->connection;

	debt->connection = connection_retain(connection);
	connection_release(former);
}

/*
 * All that is owed is paid with the credential that the user mapping has now.  A
 * credential that another session has rotated is dead, and after the commit
 * nothing can be looked up any more.
 */
static void
refresh_connections(void)
{
	dlist_iter	outer;
	Connection *checked = NULL;

	/* creations alone owe nothing to a commit */
	if (ledger_first(is_due_before_commit) == NULL &&
		ledger_first(is_due_after_commit) == NULL)
		return;
	dlist_foreach(outer, &ledger.debts)
	{
		Debt	   *first = debt_of(outer.cur);
		Connection *former = first->connection;
		Connection *current;
		dlist_iter	inner;

		if (first->state != DEBT_OWED || former == checked)
			continue;
		checked = former;
		current = connection_successor(former, first->userid);
		if (current == NULL)
			continue;
		checked = current;
		dlist_foreach(inner, &ledger.debts)
			if (debt_of(inner.cur)->connection == former &&
				debt_of(inner.cur)->state == DEBT_OWED)
				move_debt(debt_of(inner.cur), current);
		connection_release(current);
	}
}

static bool
has_failed(const Debt *debt)
{
	return debt->kind == DEBT_DELETED &&
		(debt->state == DEBT_REFUSED || debt->state == DEBT_UNKNOWN);
}

/*
 * Another session may have rotated the credential meanwhile.  Then all that has
 * failed for that is owed again, over the connection with the new one.
 */
static bool
renew(Connection *connection)
{
	Connection *current = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (current == NULL && debt->connection == connection && has_failed(debt))
			current = batch_renew(debt->call, debt->userid);
	}
	if (current == NULL)
		return false;
	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->connection != connection || debt->state == DEBT_ASKED ||
			debt->state == DEBT_LOST)
			continue;
		if (has_failed(debt))
			ledger_set_state(debt, DEBT_OWED);
		move_debt(debt, current);
	}
	connection_release(current);
	return true;
}

static bool
is_refused(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && debt->state == DEBT_REFUSED;
}

static bool
is_unknown(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && debt->state == DEBT_UNKNOWN;
}

static bool
has_hope(const Debt *debt)
{
	return debt->kind == DEBT_DELETED && debt->state != DEBT_REFUSED;
}

/* Appends a sentence with the ids of the debts that fit, if there are any. */
static void
append_ids(StringInfo buf, const char *what, DebtTest fits)
{
	StringInfoData list;

	if (list_ids(&list, fits) > 0)
		appendStringInfo(buf, " %s: %s.", what, list.data);
}

/*
 * Whether something outside may have been committed already.  Another
 * foreign-data wrapper, such as postgres_fdw, may have done so before us.
 */
static bool
others_may_have_committed(Oid serverid)
{
	ForeignServer *own = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	Relation	rel = table_open(ForeignDataWrapperRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		others = false;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_data_wrapper wrapper =
			(Form_pg_foreign_data_wrapper) GETSTRUCT(tuple);

		others = others || own == NULL || wrapper->oid != own->fdwid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return others;
}

/*
 * Fails the transaction because tokens could not be revoked, and names what became
 * of each.
 */
pg_noreturn static void
report_unrevoked(Debt *failed)
{
	StringInfoData list;
	StringInfoData refused;
	int			nfailed = list_ids(&list, has_failed);
	int			nrevoked = list_ids(&list, was_deleted);
	bool		safe = !others_may_have_committed(failed->connection->serverid);
	char		description[API_DESCRIPTION_SIZE];
	int			nrefused = list_ids(&refused, is_refused);
	StringInfoData detail;
	StringInfoData hint;
	const char *advice = api_hint(failed->call);

	api_describe(failed->call, description, sizeof(description));
	initStringInfo(&detail);
	appendStringInfoString(&detail, description);
	if (nfailed == 1)
		appendStringInfoString(&detail, nrefused == 1 ? "" :
							   " It may have been revoked all the same.");
	else
	{
		append_ids(&detail, "Not revoked", is_refused);
		append_ids(&detail, "Perhaps revoked", is_unknown);
	}
	append_ids(&detail, "Not tried", is_due_before_commit);
	if (nrevoked == 0)
		appendStringInfoString(&detail, " No other token had been revoked.");
	else
		appendStringInfo(&detail,
						 ngettext(" %d token had already been revoked: %s.",
								  " %d tokens had already been revoked: %s.",
								  nrevoked),
						 nrevoked, list.data);

	initStringInfo(&hint);
	if (advice)
		appendStringInfo(&hint, "%s  ", advice);
	appendStringInfoString(&hint, safe ?
						   "The transaction is rolled back; running it again is safe." :
						   "The transaction is rolled back, but not what other foreign-data wrappers have committed.");
	/* a condition makes sense if there are others */
	if (ledger_first(has_hope) == NULL)
		nrefused = 0;
	if (nrefused == 1)
		appendStringInfo(&hint, "  To revoke the others, leave out what GitLab refuses: AND %s <> %s.",
						 failed->id_column, refused.data);
	else if (nrefused > 1)
		appendStringInfo(&hint, "  To revoke the others, leave out what GitLab refuses: AND %s NOT IN (%s).",
						 failed->id_column, refused.data);

	mark_named(was_deleted);
	mark_named(has_failed);
	ereport(ERROR,
			(errcode(api_sqlstate(failed->call)),
			 nfailed == 1 ?
			 errmsg("could not revoke %s " INT64_FORMAT "%s on server \"%s\"",
					failed->resource->singular, failed->id, failed->words,
					failed->connection->server_name) :
			 errmsg("could not revoke %d %s on server \"%s\"", nfailed,
					failed->resource->plural,
					failed->connection->server_name),
			 errdetail("%s", detail.data),
			 errhint("%s", hint.data)));
}

/* Revokes what DELETE has queued.  May raise errors. */
void
payment_carry_out(void)
{
	Debt	   *debt;

	refresh_connections();
	while ((debt = ledger_first(is_due_before_commit)) != NULL)
	{
		Connection *connection = debt->connection;
		Debt	   *failed;

		(void) pay_over(connection, is_due_before_commit, NULL);
		failed = ledger_first(has_failed);
		if (failed == NULL && debt->state == DEBT_OWED)
			memory_report_exhausted();
		if (failed && !renew(connection))
		{
			Debt	   *refused = ledger_first(is_refused);

			report_unrevoked(refused ? refused : failed);
		}
	}
	ledger_assert();
}


/* ----------
 * After the commit, and at rollback.  Raises nothing above WARNING.
 * ----------
 */

/*
 * Ends the retries of all calls about debts: none is asked again, and those that have
 * not gone out yet never do.
 */
void
payment_stop(void)
{
	dlist_iter	iter;

	ledger_assert();
	dlist_foreach(iter, &ledger.debts)
		if (debt_of(iter.cur)->call)
			api_last_attempt(debt_of(iter.cur)->call);
}

/* Waits for the answer of a POST that the transaction did not wait for. */
static void
finish_post(Debt *debt, Patience *patience)
{
	ApiCall    *call = debt->call;
	int64		id;

	if (!quiet_wait(call, patience))
		return;					/* it stays as a sign that it was asked */
	switch (api_verdict(call))
	{
		case API_DONE:
			if (!ledger_believes(debt, &id))
				break;
			debt->id = id;
			ledger_note_shown(debt->connection, id);
			ledger.late = true;
			ledger_set_state(debt, DEBT_OWED);
			if (debt->kind == DEBT_ROTATED)
				ledger.destroyed = true;
			ledger_log(debt, debt->id, "created");
			break;
		case API_ABSENT:
		case API_REFUSED:
		case API_NOTHING_SENT:
			ledger_strike(debt);
			break;
		case API_UNKNOWN:
		case API_UNFINISHED:
			break;
	}
}

/*
 * Waits for what was sent and not answered, as far as it matters, and says whether
 * a token may have been destroyed that no rollback brings back.
 */
void
payment_finish(Ending *ending)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->state == DEBT_ASKED)
			finish_post(debt, &ending->patience);
		else if (debt->state == DEBT_SENT && api_finished(debt->call))
			learn_revocation(debt);
	}
	dlist_foreach_modify(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->state == DEBT_SENT ||
			(debt->state == DEBT_ASKED && debt->kind == DEBT_ROTATED))
			ledger.destroyed = true;
	}
	ending->destroyed = ledger.destroyed;
}

/*
 * Whether there is another credential for what was refused for want of one, at
 * least at last.  It takes over: the newest one that the session knows; else a
 * token that the transaction has created ends itself.
 */
static bool
find_other_payer(DebtTest is_unpaid)
{
	bool		found = false;
	dlist_iter	iter;

	dlist_foreach(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);
		ApiRefusal	refusal;
		Connection *newest;

		if ((debt->state != DEBT_REFUSED && debt->state != DEBT_UNKNOWN) ||
			!is_unpaid(debt))
			continue;
		refusal = api_refusal(debt->call);
		newest = connection_newest(debt->connection);
		if (debt->payer == PAYER_TOKEN ||
			(refusal != REFUSAL_CREDENTIAL && refusal != REFUSAL_RIGHTS) ||
			(newest == NULL && debt->secret == NULL))
			continue;
		if (newest)
			move_debt(debt, newest);
		else
			debt->payer = PAYER_TOKEN;
		ledger_set_state(debt, DEBT_OWED);
		found = true;
	}
	return found;
}

/* Pays what is due, as long as there is progress. */
static void
pay_quietly(DebtTest is_due, Patience *patience)
{
	Debt	   *debt;

	while (!patience->exhausted && (debt = ledger_first(is_due)) != NULL)
	{
		quiet_extend(patience, debt->connection);
		if (quiet_exhausted(patience) ||
			!pay_over(debt->connection, is_due, patience))
			break;
		if (debt->state == DEBT_OWED)
			break;				/* out of memory */
	}
}

/*
 * The transaction is over: pays what is due now, and warns of what can't be paid.
 * Tokens that may be in use are not revoked.
 */
void
payment_settle(Ending *ending)
{
	DebtTest	is_due = ending->committed ? is_due_after_commit :
		is_due_at_rollback;
	DebtTest	is_unpaid = ending->committed ? is_unpaid_after_commit :
		is_unpaid_at_rollback;
	Patience   *patience = &ending->patience;

	Assert(!(ending->committed && ending->in_use));
	if (!ending->in_use)
		do
			pay_quietly(is_due, patience);
		while (!patience->exhausted && find_other_payer(is_unpaid));
	/* an answer may have come meanwhile */
	payment_finish(ending);
	if (ending->in_use)
		warn_unpaid(is_unpaid,
					"A variable may hold the secret of one of them.", true);
	else
		warn_unpaid(is_unpaid, patience->exhausted ?
					"There was no time left to wait for GitLab." :
					"Out of memory.", false);
	warn_of_creations(ending->committed);
	if (!ending->committed)
		warn_deleted();
	ledger_assert();
}


/* ----------
 * Subtransactions
 * ----------
 */

/*
 * A token whose creation was interrupted must not read as active: its answer is
 * waited for when its subtransaction is rolled back.
 */
void
payment_end_subtransaction(int level, bool aborted)
{
	Patience	patience = {0};
	dlist_mutable_iter iter;

	ledger_end_subtransaction(level, aborted);
	if (!aborted)
		return;
	dlist_foreach_modify(iter, &ledger.debts)
	{
		Debt	   *debt = debt_of(iter.cur);

		if (debt->state == DEBT_ASKED && debt->level == NO_LEVEL)
			finish_post(debt, &patience);
	}
}
