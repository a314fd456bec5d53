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

extern void check_deliveries(void);
extern void pay_before_commit(void);
extern void settle(bool committed);

#endif							/* GITLAB_PAT_PAYMENT_H */
