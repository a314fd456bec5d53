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

#include "change/participant.h"

/* A scan's view of what this transaction has done. */
typedef struct TransactionView TransactionView;

extern void transaction_init(void);
extern bool transaction_any(void);
extern const Participant *transaction_participant(const Resource *resource);

extern TransactionView *transaction_view(ApiClient *client, const Resource *resource,
										 CommandId curcid);
extern void transaction_view_containers(TransactionView *view,
										const char *const *containers,
										int ncontainers);
extern bool transaction_view_differs(const TransactionView *view);
extern JsonRecord *transaction_view_record(TransactionView *view,
										   JsonRecord *record, bool *revoked);
extern JsonRecord *transaction_view_rest(TransactionView *view);
extern void transaction_view_rewind(TransactionView *view);

#endif							/* GITLAB_PAT_TRANSACTION_H */
