/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text from outside, made fit for messages.
 *
 * Whatever GitLab or a proxy says passes through here before a message or the log
 * shows it.  Words, headers and paths of requests pass by api_clean(); names, keys,
 * scopes and containers pass by connection_shown_name() and its like.
 *
 * text_leave_seen(), text_clean() and text_clip() raise no errors and allocate nothing.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TEXT_H
#define GITLAB_PAT_TEXT_H

/* Secrets that no message shows; the strings may be NULL. */
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
extern char *text_shown_name(const char *utf8, size_t max_bytes,
							 const Secrets *secrets);
extern char *text_exact_name(const char *utf8, size_t max_bytes,
							 const Secrets *secrets);

#endif							/* GITLAB_PAT_TEXT_H */
