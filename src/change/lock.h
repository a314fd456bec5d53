/*-------------------------------------------------------------------------
 *
 * lock.h
 *	  Locks on tokens: two sessions must not rotate the same one.
 *
 * GitLab has no locks.  A token is judged by an answer that was asked for after
 * its lock was taken, so that whoever comes second finds it replaced.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LOCK_H
#define GITLAB_PAT_LOCK_H

#include "gitlab/connection.h"

/*
 * Locks tokens until the transaction ends, in the order of their ids, which it sorts.
 * The rest is as for lock_token().
 */
extern void lock_tokens(const Connection *connection, int64 *ids, int nids);

/*
 * Locks a token until the transaction ends, waiting for other sessions of all
 * databases.  number says how many the statement has locked before.  Services
 * interrupts; raises the errors of PostgreSQL's locks.
 */
extern void lock_token(const Connection *connection, int64 id, int number);

/*
 * Locks tokens as lock_tokens() does, but waits for nobody.  False: another session
 * has one of them, or they are so many that one lock would have to cover them all.
 */
extern bool lock_tokens_at_once(const Connection *connection, int64 *ids,
								int nids);

#endif							/* GITLAB_PAT_LOCK_H */
