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

#include "change/queue.h"
#include "gitlab/call.h"
#include "gitlab/connection.h"
#include "lib/ilist.h"

/* How a scan sees a token, in the light of what this transaction did. */
typedef enum TokenView
{
	TOKEN_AS_READ,
	TOKEN_REVOKED,				/* it is to be revoked, or was rolled back */
	TOKEN_HIDDEN				/* the running command created it */
} TokenView;

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

extern TokenView transaction_token_view(Oid serverid, int64 id,
										CommandId curcid);
extern bool transaction_touched(const RemoteChange *change, int64 id);

extern MemoryContext ledger;
extern dlist_head debts;
extern int	changes;
extern bool creations_are_kept;
extern Debt *enter_debt(const RemoteChange *change, DebtKind kind);
extern void assign_token(Debt *debt, int64 id);
extern bool is_change(const Debt *debt);
extern void strike_debt(Debt *debt);
extern void close_ledger(void);
extern void log_change(const Debt *debt, const char *what);
extern Debt *find_debt(Oid serverid, int64 id, bool (*fits) (const Debt *));
extern bool has_debts(Oid serverid);
extern void mark_paid(Debt *debt);

#endif							/* GITLAB_PAT_LEDGER_H */
