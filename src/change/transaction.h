/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  What commit and rollback do, and how the transaction's own scans see it.
 *
 * Tokens are created at once and destroyed at commit; variables are written at
 * commit; a rollback leaves GitLab as it was.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TRANSACTION_H
#define GITLAB_PAT_TRANSACTION_H

#include "change/queue.h"
#include "gitlab/record.h"
#include "gitlab/resources.h"

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
extern bool transaction_any(void);
extern void transaction_check_change(void);
extern void transaction_replace(const RemoteChange *change, int64 old_id,
								int64 new_id);
extern bool transaction_delete(const RemoteChange *change, int64 id);

#endif							/* GITLAB_PAT_TRANSACTION_H */
