/*-------------------------------------------------------------------------
 *
 * recent.h
 *	  What GitLab has just shown of single objects.
 *
 * A statement looks an object up that it changes, and the commit that follows at once
 * needs to know how the object was.  The answer to the lookup tells, if it is young
 * enough.
 *
 * A job looks at objects in one transaction, and changes them in the next one.  While it
 * runs, answers outlive a transaction that has committed, and its UPDATEs need not ask
 * for them again.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_RECENT_H
#define GITLAB_PAT_RECENT_H

#include "gitlab/call.h"

/* These raise errors. */
extern void recent_note(ApiCall *call, const Resource *resource,
						const ApiTarget *target, instr_time asked);
extern void recent_note_object(const Connection *connection,
							   const Resource *resource,
							   const char *container, JsonRecord *record);

/* These raise nothing. */
extern JsonRecord *recent_find(const Connection *connection,
							   const Resource *resource,
							   const char *container, const char *key,
							   const char *variant, bool alone);
extern JsonRecord *recent_find_target(const Connection *connection,
									  const Resource *resource,
									  const ApiTarget *target);
extern void recent_forget(void);
extern void recent_end_transaction(bool committed);
extern void recent_begin_job(void);
extern void recent_end_job(void);
extern bool recent_in_job(void);

#endif							/* GITLAB_PAT_RECENT_H */
