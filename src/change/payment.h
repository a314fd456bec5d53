/*-------------------------------------------------------------------------
 *
 * payment.h
 *	  Paying what the transaction owes: revoking tokens.
 *
 * These are routines of a Participant.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PAYMENT_H
#define GITLAB_PAT_PAYMENT_H

#include "change/ledger.h"

/* Before the commit; these raise errors */
extern bool payment_has_changes(void);
extern bool payment_needs_durability(void);
extern void payment_check(HolderFinder find_holder);
extern void payment_carry_out(void);

/* At the end; nothing above WARNING */
extern void payment_stop(void);
extern void payment_finish(Ending *ending);
extern void payment_settle(Ending *ending);
extern void payment_end_subtransaction(int level, bool aborted);

#endif							/* GITLAB_PAT_PAYMENT_H */
