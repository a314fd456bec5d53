/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text from outside, made fit for messages.
 *
 * Nothing in here raises an error, or allocates memory.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TEXT_H
#define GITLAB_PAT_TEXT_H

extern void blank_cut_secret(char *text, const char *secret);
extern void blank_all(char *text, const char *secret);
extern void blank_tokens(char *text, const char *prefix, size_t at_least);

#endif							/* GITLAB_PAT_TEXT_H */
