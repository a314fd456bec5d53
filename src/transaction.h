/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  What commit and rollback owe to GitLab.
 *
 * Tokens are created at once and destroyed at commit; a rollback leaves GitLab
 * as it was.  So everything that a transaction does to GitLab is entered into
 * a ledger of debts, before it is done:
 *
 *	debt		entered by		paid				if that fails
 *	deleted		DELETE			before the commit	error: roll back
 *	replaced	UPDATE			after the commit	warning
 *	created		INSERT, UPDATE	at rollback			warning
 *	rotated		native UPDATE	can't be paid back	warning at rollback
 *
 * To pay means to revoke the token.  What a rolled-back subtransaction deleted
 * or replaced is struck off; what it created is revoked when the top-level
 * transaction ends, either way, and reads as revoked from then on.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TRANSACTION_H
#define GITLAB_PAT_TRANSACTION_H

#include "api.h"

/* How a scan sees a token, in the light of what this transaction did. */
typedef enum TokenView
{
	TOKEN_AS_READ,
	TOKEN_REVOKED,				/* it is to be revoked, or was rolled back */
	TOKEN_HIDDEN				/* the running command created it */
} TokenView;

/* Who changes a token, through which table: for the ledger and messages. */
typedef struct TokenChange
{
	ApiClient  *client;
	Oid			userid;
	CommandId	cid;			/* the changing command's */
	const char *table;			/* qualified and quoted */
	const char *id_column;		/* quoted */
} TokenChange;

extern int	transaction_max_changes;	/* gitlab_pat_fdw.max_changes */
extern bool transaction_log_changes;	/* gitlab_pat_fdw.log_changes */

extern void transaction_init(void);

extern TokenView transaction_view(Oid serverid, int64 id, CommandId curcid);
extern bool transaction_pending(Oid serverid);
extern bool transaction_any(void);

extern ApiCall *transaction_create(const TokenChange *change, const char *path,
								   const char *body, const char *action,
								   const char *finder, int64 *id);
extern ApiCall *transaction_rotate(const TokenChange *change, int64 old_id,
								   const char *body, const char *finder,
								   int64 *id);
extern void transaction_check_change(void);
extern void transaction_replace(const TokenChange *change, int64 old_id,
								int64 new_id);
extern bool transaction_delete(const TokenChange *change, int64 id);
extern bool transaction_touched(const TokenChange *change, int64 id);

#endif							/* GITLAB_PAT_TRANSACTION_H */
