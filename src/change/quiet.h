/*-------------------------------------------------------------------------
 *
 * quiet.h
 *	  Waiting and speaking where no error may be raised.
 *
 * After a commit an error would be a PANIC, and during a rollback an endless
 * recursion.  So what runs there says what it has to say by WARNINGs out of
 * buffers of its own, and waits with patience that ends.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_QUIET_H
#define GITLAB_PAT_QUIET_H

#include "gitlab/client.h"
#include "gitlab/text.h"
#include "gitlab/words.h"

/* A list of ids or names in one message, in bytes; what is more is cut. */
#define QUIET_LIST_SIZE 1024

/* How long quiet work may go on. */
typedef struct Patience
{
	int64		deadline;		/* by http_clock(); 0: not set yet */
	bool		exhausted;
} Patience;

/* A message, with its detail and hint. */
typedef struct Announcement
{
	char		message[QUIET_LIST_SIZE + 512];
	char		detail[API_DESCRIPTION_SIZE + QUIET_LIST_SIZE];
	char		hint[4096];
} Announcement;

/* Fills a field of an Announcement called `a`. */
#define SAY(field, ...) \
	(snprintf(a.field, sizeof(a.field), __VA_ARGS__), text_clip(a.field))

extern bool quiet_log_changes;	/* gitlab_pat_fdw.log_changes */

extern void quiet_extend(Patience *patience, Connection *connection);
extern bool quiet_exhausted(void *patience);
extern bool quiet_wait(ApiCall *call, Patience *patience);
extern void quiet_announce(int elevel, Announcement *announcement);
extern void quiet_warn(int sqlstate, Announcement *announcement);

#endif							/* GITLAB_PAT_QUIET_H */
