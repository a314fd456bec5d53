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
#include "change/quiet.h"
#include "gitlab/call.h"

/* Before the commit; raises errors */
extern void queue_write(void);

extern void protect_values(ApiCall *call, const QueuedWrite *write);
extern bool may_be_overtaken(QueuedWrite *write);
extern void finish_write(QueuedWrite *write, Patience *patience);

#endif							/* GITLAB_PAT_WRITING_H */
