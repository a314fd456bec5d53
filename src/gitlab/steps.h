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

#include "gitlab/call.h"
#include "gitlab/listing.h"

extern ApiCall **step_slot(Stream *stream, int64 step);
extern void send_step(Stream *stream, int64 step);
extern void free_step(Stream *stream, int64 step);
extern ApiCall *finish_step(Stream *stream, int64 step);

#endif							/* GITLAB_PAT_STEPS_H */
