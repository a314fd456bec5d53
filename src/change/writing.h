/*-------------------------------------------------------------------------
 *
 * writing.h
 *	  What the commit writes.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_WRITING_H
#define GITLAB_PAT_WRITING_H

#include "change/queue.h"

/* Raises errors */
extern void writing_carry_out(void);

/* Raise nothing above WARNING */
extern void writing_finish(Ending *ending);
extern const ResourceField *writing_difference(const QueuedWrite *write,
											   const char *text,
											   JsonRecord *answer);
extern bool writing_may_be_overtaken(const QueuedWrite *write);
extern void writing_protect_values(ApiCall *call, const QueuedWrite *write);

#endif							/* GITLAB_PAT_WRITING_H */
