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

/* Longest text that api_describe() makes, terminator included. */
#define API_DESCRIPTION_SIZE 1280

/* Never raise an error. */
extern void api_describe(ApiCall *call, char *buf, size_t size);
extern int	api_sqlstate(const ApiCall *call);
extern bool api_is_plain_refusal(ApiCall *call);
extern bool api_is_renamed(const ApiCall *call);
extern bool api_lacks_permission(ApiCall *call);

/* A hint in the current memory context, or NULL. */
extern const char *api_hint(ApiCall *call);

/* Raise errors. */
extern void api_check(ApiCall *call, const char *action);
pg_noreturn extern void api_refuse_answer(ApiCall *call, const char *action,
										  const char *detail);
pg_noreturn extern void api_report(ApiCall *call, const char *action);
pg_noreturn extern void api_report_with_hint(ApiCall *call, const char *action,
											 const char *hint);

#endif							/* GITLAB_PAT_WORDS_H */
