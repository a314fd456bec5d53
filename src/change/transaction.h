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

#include "change/queue.h"
#include "gitlab/record.h"

/* How a scan sees a token, in the light of what this transaction did. */
typedef enum TokenView
{
	TOKEN_AS_READ,
	TOKEN_REVOKED,				/* it is to be revoked, or was rolled back */
	TOKEN_HIDDEN				/* the running command created it */
} TokenView;

/* A scan's view of what this transaction has done. */
typedef struct TransactionView TransactionView;

extern int	transaction_max_changes;	/* gitlab_pat_fdw.max_changes */

extern void transaction_init(void);

extern TransactionView *transaction_view(Oid serverid,
										 const Resource *resource,
										 CommandId curcid);
extern bool transaction_view_differs(const TransactionView *view);
extern JsonRecord *transaction_view_record(TransactionView *view,
										   JsonRecord *record, bool *revoked);
extern JsonRecord *transaction_view_rest(TransactionView *view);
extern void transaction_view_rewind(TransactionView *view);
extern TokenView transaction_token_view(Oid serverid, int64 id,
										CommandId curcid);
extern bool transaction_any(void);

extern ApiCall *transaction_create(const RemoteChange *change, const char *path,
								   const char *body, const char *action,
								   const char *finder, int64 *id);
extern ApiCall *transaction_rotate(const RemoteChange *change, int64 old_id,
								   const char *body, const char *finder,
								   int64 *id);
extern void transaction_check_change(void);
extern void transaction_replace(const RemoteChange *change, int64 old_id,
								int64 new_id);
extern bool transaction_delete(const RemoteChange *change, int64 id);
extern bool transaction_touched(const RemoteChange *change, int64 id);

#endif							/* GITLAB_PAT_TRANSACTION_H */
