/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  What commit and rollback do, and how the transaction's own scans see it.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "change/ledger.h"
#include "change/payment.h"
#include "change/queue.h"
#include "change/variables.h"
#include "change/writing.h"
#include "change/transaction.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "http/engine.h"

int			transaction_max_changes = 100;


/* ----------
 * What scans see
 * ----------
 */

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
