/*-------------------------------------------------------------------------
 *
 * steps.h
 *	  Requests in a fixed order, some of them under way at a time.
 *
 * Whoever reads a list or looks objects up numbers its requests: step 1 is the
 * first one.  The steps know how to send them, to wait for them, and to send
 * them again with a new credential; not what they are about.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_STEPS_H
#define GITLAB_PAT_STEPS_H

#include "gitlab/client.h"

typedef struct Steps
{
	ApiClient  *client;
	int			concurrency;
	ApiCall    *(*make_call) (void *owner, int64 step); /* NULL: none needed */
	void	   *owner;
	int64		current;		/* the step being delivered, 0: none yet */
	int64		sent;			/* the last step that was sent */
	int64		last;			/* the last step there is, or -1 if unknown */
	ApiCall   **window;			/* by step modulo concurrency + 1 */
}			Steps;

extern void steps_init(Steps * steps, ApiClient *client, int concurrency,
					   ApiCall *(*make_call) (void *owner, int64 step),
					   void *owner);
extern ApiCall *steps_call(const Steps * steps, int64 step);
extern void steps_send(Steps * steps, int64 step);
extern void steps_free(Steps * steps, int64 step);
extern void steps_restart(Steps * steps);
extern ApiCall *steps_finish(Steps * steps, int64 step);
extern char *steps_action(const Resource *resource, const ApiTarget *target);

#endif							/* GITLAB_PAT_STEPS_H */
