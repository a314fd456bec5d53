/*-------------------------------------------------------------------------
 *
 * warnings.h
 *	  The SQLSTATEs of WARNINGs.
 *
 * After a commit nothing can fail any more, and a job has no client that would
 * see a WARNING.  Each kind of warning has an SQLSTATE of its own, for rules on
 * the server's log; doc/reference.md lists them.  The SQL standard leaves
 * subclasses that begin with I to Z to implementations.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_WARNINGS_H
#define GITLAB_PAT_WARNINGS_H

#include "utils/elog.h"

/* In statements. */
#define ERRCODE_GITLAB_SECRET_DISCARDED MAKE_SQLSTATE('0', '1', 'L', '0', '1')

/* At the end of transactions: what is not as it should be. */
#define ERRCODE_GITLAB_TOKENS_LEFT MAKE_SQLSTATE('0', '1', 'L', '0', '2')
#define ERRCODE_GITLAB_TOKENS_REVOKED MAKE_SQLSTATE('0', '1', 'L', '0', '3')
#define ERRCODE_GITLAB_TOKENS_IN_DOUBT MAKE_SQLSTATE('0', '1', 'L', '0', '4')
#define ERRCODE_GITLAB_CREATION_IN_DOUBT MAKE_SQLSTATE('0', '1', 'L', '0', '5')
#define ERRCODE_GITLAB_ROTATION_STAYS MAKE_SQLSTATE('0', '1', 'L', '0', '6')
#define ERRCODE_GITLAB_ROTATION_IN_DOUBT MAKE_SQLSTATE('0', '1', 'L', '0', '7')
#define ERRCODE_GITLAB_VARIABLE_STAYS MAKE_SQLSTATE('0', '1', 'L', '0', '8')
#define ERRCODE_GITLAB_VARIABLE_IN_DOUBT MAKE_SQLSTATE('0', '1', 'L', '0', '9')
#define ERRCODE_GITLAB_TOKENS_IN_USE MAKE_SQLSTATE('0', '1', 'L', '1', '0')

/* Others. */
#define ERRCODE_GITLAB_BOT_DELETED MAKE_SQLSTATE('0', '1', 'L', '1', '9')
#define ERRCODE_GITLAB_CREDENTIAL_UNTRIED MAKE_SQLSTATE('0', '1', 'L', '1', '1')
#define ERRCODE_GITLAB_VERSION_UNREAD MAKE_SQLSTATE('0', '1', 'L', '1', '2')
#define ERRCODE_GITLAB_ANSWER_DIFFERS MAKE_SQLSTATE('0', '1', 'L', '1', '6')
#define ERRCODE_GITLAB_CLOCK_IGNORED MAKE_SQLSTATE('0', '1', 'L', '1', '7')
#define ERRCODE_GITLAB_OPTION_DOUBTFUL MAKE_SQLSTATE('0', '1', 'L', '1', '8')

/* In gitlab_pat_rotate_due(). */
#define ERRCODE_GITLAB_DELIVERY_FAILED MAKE_SQLSTATE('0', '1', 'L', '1', '3')
#define ERRCODE_GITLAB_LEFT_OVER MAKE_SQLSTATE('0', '1', 'L', '1', '4')
#define ERRCODE_GITLAB_STRANGER MAKE_SQLSTATE('0', '1', 'L', '1', '5')

#endif							/* GITLAB_PAT_WARNINGS_H */
