/*-------------------------------------------------------------------------
 *
 * words.h
 *	  GitLab's words, and ours for them: messages, SQLSTATEs and hints.
 *
 * This is the one place where an exchange that failed becomes an error.  Text
 * from GitLab is quoted only after secrets and control characters are removed.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_WORDS_H
#define GITLAB_PAT_WORDS_H

#include "compat.h"
#include "gitlab/call.h"
#include "gitlab/record.h"

/* Longest text that api_describe() makes, terminator included. */
#define API_DESCRIPTION_SIZE 1280

/* Calls; none of these raises an error, and the waiting ones say so */
extern int	api_sqlstate(const ApiCall *call);
extern void api_describe(ApiCall *call, char *buf, size_t size);

/* Calls; these raise errors */
extern void api_check(ApiCall *call, const char *action);

extern const char *member_string(JsonRecord *object, const char *name);
pg_noreturn extern void report_with_hint(ApiCall *call, const char *action,
										 const char *hint);
pg_noreturn extern void report_failure(ApiCall *call, const char *action);

#endif							/* GITLAB_PAT_WORDS_H */
