/*-------------------------------------------------------------------------
 *
 * tokens.h
 *	  Creating, rotating and revoking tokens: a participant.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TOKENS_H
#define GITLAB_PAT_TOKENS_H

#include "change/participant.h"

extern int	tokens_max_changes; /* gitlab_pat_fdw.max_changes */
extern bool tokens_keep_replaced;	/* gitlab_pat_fdw.keep_replaced */

/* Raises an error if the transaction may not change so many tokens more. */
extern void tokens_check_limit(int64 more);

extern void tokens_delete_by_secret(ApiClient *client, JsonRecord *token,
									int64 id);

extern const Participant tokens_participant;

#endif							/* GITLAB_PAT_TOKENS_H */
