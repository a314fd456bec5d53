/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  What commit and rollback do, and how the transaction's own scans see it.
 *
 * These are the only transaction callbacks.  What they do, in this order:
 *
 *	PRE_COMMIT	it must be allowed to write; all participants check; then
 *				variables are written, and tokens that DELETE named are revoked.
 *				The commit will be durable.  An error fails the transaction.
 *	COMMIT		tokens that UPDATE replaced are revoked, and those that rolled-back
 *				subtransactions created
 *	ABORT		what was not sent is not sent any more, and what was sent is waited
 *				for; then variables are restored, and tokens that the transaction
 *				created are revoked
 *
 * From COMMIT on, and in ABORT, nothing is raised above WARNING.  Each participant
 * says how it does its part.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "change/tokens.h"
#include "change/transaction.h"
#include "change/variables.h"
#include "compat.h"
#include "gitlab/recent.h"

/* In the order in which they write, pay and settle. */
static const Participant *const participants[] = {
	&variables_participant,
	&tokens_participant
};

#define foreach_participant(p) \
	for (const Participant *const *p##_ = participants, *p; /* NOLINT */ \
		 p##_ < participants + lengthof(participants) && (p = *p##_); p##_++)	/* NOLINT */


/* ----------
 * Participants
 * ----------
 */

/* Who changes the objects of a resource; NULL: nobody does. */
const Participant *
transaction_participant(const Resource *resource)
{
	switch (resource->kind)
	{
		case RESOURCE_READ_ONLY:
			return NULL;
		case RESOURCE_TOKENS:
			return &tokens_participant;
		case RESOURCE_VARIABLES:
			return &variables_participant;
	}
	return NULL;
}

/* Whether the transaction has changed anything in GitLab, or is to do so. */
bool
transaction_any(void)
{
	foreach_participant(p)
		if (!p->is_empty())
			return true;
	return false;
}


/* ----------
 * What scans see
 * ----------
 */

struct TransactionView
{
	const Participant *participant; /* or NULL */
	ChangeScan	scan;
};

/*
 * Opens a scan's view of what this transaction has done, in the current memory
 * context.  It stays right while the transaction goes on: the running command
 * may make its first change after the scan began.
 */
TransactionView *
transaction_view(ApiClient *client, const Resource *resource, CommandId curcid)
{
	TransactionView *view = palloc0(sizeof(TransactionView));

	view->participant = transaction_participant(resource);
	view->scan.client = client;
	view->scan.resource = resource;
	view->scan.curcid = curcid;
	view->scan.context = CurrentMemoryContext;
	return view;
}

/*
 * Says which containers, in UTF-8, the scan looks into: they must live as long as
 * the view.
 */
void
transaction_view_containers(TransactionView *view,
							const char *const *containers, int ncontainers)
{
	view->scan.containers = containers;
	view->scan.ncontainers = ncontainers;
}

/* Whether any of the resource's records reads otherwise than in GitLab. */
bool
transaction_view_differs(const TransactionView *view)
{
	return view->participant && view->participant->differs(&view->scan);
}

/*
 * A record that GitLab sent as the scan sees it: NULL if it does not, and valid
 * until the next one is asked for.  *revoked says that it is to read as revoked.
 */
JsonRecord *
transaction_view_record(TransactionView *view, JsonRecord *record,
						bool *revoked)
{
	*revoked = false;
	return view->participant ?
		view->participant->view(&view->scan, record, revoked) : record;
}

/*
 * The next record that the scan sees and GitLab does not have yet, or NULL; to
 * be asked for when there are no more of GitLab's.
 */
JsonRecord *
transaction_view_rest(TransactionView *view)
{
	return view->participant && view->participant->view_rest ?
		view->participant->view_rest(&view->scan) : NULL;
}

/* The scan starts again. */
void
transaction_view_rewind(TransactionView *view)
{
	if (view->participant && view->participant->rewind)
		view->participant->rewind(&view->scan);
}


/* ----------
 * The end of a transaction
 * ----------
 */

/* The name of what will hold a secret after the commit, or NULL. */
static const char *
find_holder(const char *secret)
{
	foreach_participant(p)
	{
		const char *name = p->find_holder ? p->find_holder(secret) : NULL;

		if (name)
			return name;
	}
	return NULL;
}

/*
 * gitlab_pat_fdw.read_only may have been set since the statements that asked for the
 * changes.  What is undone may go out all the same: tokens that rolled-back
 * subtransactions created are no changes, nor is what a rollback does.
 */
static void
check_writable(void)
{
	foreach_participant(p)
		if (p->has_changes())
			option_check_writable();
}

/*
 * With synchronous_commit off, PostgreSQL calls XACT_EVENT_COMMIT before the commit
 * record is on disk.  What is revoked then must not be needed after a crash.
 */
static void
before_commit(void)
{
	check_writable();
	foreach_participant(p)
		if (p->needs_durability())
			ForceSyncCommit();
	foreach_participant(p)
		if (p->check)
			p->check(find_holder);
	foreach_participant(p)
		p->carry_out();
}

static void
refuse_prepare(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot PREPARE a transaction that has changed anything in GitLab"),
			 errhint("Use COMMIT.")));
}

static void
at_end(bool committed)
{
	Ending		ending = {.committed = committed};

	if (!committed)
		foreach_participant(p)
			p->stop();
	foreach_participant(p)
		p->finish(&ending);
	foreach_participant(p)
		p->settle(&ending);
	foreach_participant(p)
		p->close();
}

static void
on_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		recent_end_transaction(event == XACT_EVENT_COMMIT);
	if (!transaction_any())
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			refuse_prepare();
			break;
		case XACT_EVENT_COMMIT:
			at_end(true);
			break;
		case XACT_EVENT_ABORT:
			at_end(false);
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
	(void) mine;
	(void) parent;
	(void) arg;
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach_participant(p)
		p->end_subtransaction(GetCurrentTransactionNestLevel(),
							  event == SUBXACT_EVENT_ABORT_SUB);
}

/* Called once, when the module is loaded. */
void
transaction_init(void)
{
	RegisterXactCallback(on_transaction, NULL);
	RegisterSubXactCallback(on_subtransaction, NULL);
}
