/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  What the transaction owes to GitLab: tokens to be revoked.
 *
 * Everything that a transaction does to a token is entered into a ledger of
 * debts, before it is done:
 *
 *	kind		entered by		due					if it can't be paid
 *	deleted		DELETE, or by a secret	before the commit	error: roll back
 *	replaced	UPDATE			after the commit	warning
 *	created		INSERT, UPDATE	at rollback			warning
 *	rotated		native UPDATE	never				warning at rollback
 *
 * To pay means to revoke the token.  What a rolled-back subtransaction deleted or
 * replaced is struck off.  What it created is due when the top-level transaction
 * ends, either way, and reads as revoked from then on.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LEDGER_H
#define GITLAB_PAT_LEDGER_H

#include "change/place.h"
#include "lib/ilist.h"

/*
 * The states of a debt.
 *
 *	state		event								next		function		raises
 *	-			a statement creates or rotates		ASKED		send_post		yes
 *	-			a statement deletes or replaces		OWED		enter_change	yes
 *	ASKED		GitLab has made the token			OWED		take_answer, finish_post	no
 *	ASKED		GitLab refuses, or was not asked	(gone)		forget_post, finish_post	no
 *	ASKED		the answer is lost					LOST		take_answer	no
 *	OWED		its revocation is sent				SENT		next_revocation	no
 *	SENT		the token is revoked, or absent		PAID		learn_revocation	no
 *	SENT		GitLab refuses, or was not asked	REFUSED		learn_revocation	no
 *	SENT		the answer is lost					UNKNOWN		learn_revocation	no
 *	SENT		it was given up when another failed	OWED		learn_revocation	no
 *	REFUSED, UNKNOWN	there is a new credential	OWED		renew			yes
 *	REFUSED, UNKNOWN	there is another credential	OWED		find_other_payer	no
 *	OWED, REFUSED, UNKNOWN	another debt paid it	PAID		ledger_mark_paid	no
 *	OWED		it is a change, rolled back			(gone)		ledger_end_subtransaction	no
 *	any			a message has named it				NAMED		warn_..., report_...	no, yes
 *
 * A debt that is ASKED when its transaction or subtransaction is rolled back stays so
 * until its answer comes.  If that is lost, no error has told of it: the message at the
 * transaction's end does.  So it is with one that is LOST when another error, such as that
 * of a cancel, comes first.
 */
typedef enum DebtState
{
	DEBT_ASKED,					/* the POST that makes the token is sent */
	DEBT_LOST,					/* its answer is lost: a token may exist */
	DEBT_OWED,					/* the token is known and not revoked */
	DEBT_SENT,					/* its revocation is sent */
	DEBT_REFUSED,				/* it is not revoked */
	DEBT_UNKNOWN,				/* it may be revoked */
	DEBT_PAID,					/* it is revoked */
	DEBT_NAMED					/* the user knows what became of it */
} DebtState;

/* With whose credential a token is revoked. */
typedef enum DebtPayer
{
	PAYER_CONNECTION,
	PAYER_TOKEN					/* with its own: the connection's is refused,
								 * or the secret is all that is known */
} DebtPayer;

typedef enum DebtKind
{
	DEBT_DELETED,
	DEBT_REPLACED,
	DEBT_CREATED,
	DEBT_ROTATED
} DebtKind;

/* The level of a debt whose subtransaction was rolled back. */
#define NO_LEVEL 0

typedef struct Debt
{
	dlist_node	link;			/* in the ledger's debts */
	dlist_node	same_token;		/* in its Account, once the token is known */
	struct Account *old_account;	/* of the token whose place this one
									 * takes, or NULL */
	dlist_node	same_old;		/* in old_account, once the debt is entered */
	DebtKind	kind;
	DebtState	state;
	int			level;			/* nest level of the owing transaction */
	CommandId	cid;
	Connection *connection;		/* one reference */
	const Resource *resource;
	Oid			userid;
	int64		id;				/* the token to revoke; 0: not known yet */
	int64		other_id;		/* created, rotated: the old one, 0 if it
								 * replaces none; replaced: the new one */
	char	   *secret;			/* of what was created; NULL: not known */
	DebtPayer	payer;
	bool		reported;		/* an error has told of its lost answer */
	ApiCall    *call;			/* the last one, as long as the state needs it */
	char	   *who;			/* for the audit trail, as audit.h makes it */
	char	   *what;			/* which token, for it; NULL: not known */
	char	   *table;
	char	   *id_column;
	char	   *condition;		/* on the table's columns, with an AND behind */
	char	   *remark;			/* about what that lacks, after a blank */
	char	   *words;			/* " of ..." something, or empty */
	char	   *path;			/* below which the token is revoked, ... */
	int			path_length;	/* ... with room for its id behind */
	/* of what was asked for, should the answer be lost */
	char	   *finder;			/* the SELECT that finds it */
	int64		owner;			/* 0: not known */
	char	   *name;			/* or NULL */
	TimestampTz since;			/* it is not older */
	/* of when the POST was sent */
	TimestampTz sent_at;		/* by PostgreSQL's clock */
	int64		highest_before; /* id of a token that GitLab had shown */
} Debt;

/* The predicates that select debts. */
typedef bool (*DebtTest) (const Debt *debt);

/* The ledger of the current transaction. */
typedef struct Ledger
{
	MemoryContext context;		/* holds all of the following */
	dlist_head	debts;			/* in the order of entering */
	struct HTAB *accounts;		/* the debts about each token */
	int			changes;		/* rows that were created, replaced, rotated
								 * or deleted: what max_changes limits */
	bool		late;			/* a debt is not in its account yet */
	bool		destroyed;		/* a token was revoked before the commit, or
								 * may have been */
} Ledger;

extern Ledger ledger;

#define debt_of(node) dlist_container(Debt, link, node)

/* How a scan sees a token, in the light of what this transaction did. */
typedef enum TokenView
{
	TOKEN_AS_READ,
	TOKEN_REVOKED,				/* it is to be revoked, or was rolled back */
	TOKEN_HIDDEN				/* the running command created it */
} TokenView;

/* Entering; these raise errors */
extern Debt *ledger_make_debt(const RemoteChange *change,
							  const TokenPlace *place, DebtKind kind,
							  DebtState state);
extern void ledger_assign_token(Debt *debt, int64 id);
extern void ledger_assign_old(Debt *debt, int64 old_id);
extern void ledger_describe(Debt *debt, JsonRecord *record);
extern void ledger_note_post(Debt *debt);

/* Keeping; these raise nothing */
extern const char *ledger_path(Debt *debt);
extern void ledger_enter(Debt *debt);
extern void ledger_set_state(Debt *debt, DebtState next);
extern void ledger_mark_paid(Debt *debt);
extern void ledger_strike(Debt *debt);
extern void ledger_log(const Debt *debt, int64 id, const char *event);
extern void ledger_note_shown(Connection *connection, int64 id);
extern void ledger_assert(void);
extern bool ledger_is_empty(void);
extern void ledger_end_subtransaction(int level, bool aborted);
extern void ledger_close(void);

/* Looking at it */
extern bool ledger_is_change(const Debt *debt);
extern Debt *ledger_find(uint64 instance, int64 id, DebtTest fits);
extern Debt *ledger_first(DebtTest fits);
extern bool ledger_made(int64 *id);
extern char *ledger_summary(void);
extern const char *ledger_shows_old(const Debt *debt, JsonRecord *answer);
extern bool ledger_believes(const Debt *debt, int64 *id);
extern bool ledger_met(const RemoteChange *change, int64 id);
extern bool ledger_differs(const ChangeScan *scan);
extern TokenView ledger_view(uint64 instance, int64 id, CommandId curcid);

#endif							/* GITLAB_PAT_LEDGER_H */
