/*-------------------------------------------------------------------------
 *
 * posting.h
 *	  Asking GitLab for new tokens.
 *
 * A POST is about a debt, which is entered into the ledger before the POST goes out
 * and learns what came of it.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_POSTING_H
#define GITLAB_PAT_POSTING_H

#include "change/queue.h"
#include "gitlab/call.h"

extern ApiCall *transaction_create(const RemoteChange *change, const char *path,
								   const char *body, const char *action,
								   const char *finder, int64 *id);
extern ApiCall *transaction_rotate(const RemoteChange *change, int64 old_id,
								   const char *body, const char *finder,
								   int64 *id);

#endif							/* GITLAB_PAT_POSTING_H */
