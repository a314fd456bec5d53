/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text from outside, made fit for messages.
 *
 * Whatever GitLab or a proxy says passes through text_clean() before anybody is
 * shown it: keys, scopes and paths of requests included.
 *
 * Only text_shown_name() may raise errors, or allocate memory.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TEXT_H
#define GITLAB_PAT_TEXT_H

/* What is not to be shown; the strings may be NULL. */
typedef struct Secrets
{
	const char *credential;		/* and whatever begins with it */
	char	   *const *others;	/* after text_leave_seen() */
	int			nothers;
} Secrets;

/* GitLab's tokens are longer; shorter words stand in many a message. */
#define MIN_SECRET_LENGTH 8

extern void text_leave_seen(char *text);
extern void text_clean(char *text, size_t max_bytes, const Secrets *secrets);
extern void text_clip(char *text);
extern char *text_shown_name(const char *utf8, const Secrets *secrets);

#endif							/* GITLAB_PAT_TEXT_H */
