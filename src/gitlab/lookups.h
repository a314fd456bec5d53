/*-------------------------------------------------------------------------
 *
 * lookups.h
 *	  Reading GitLab's objects one by one, by their ids or names.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_LOOKUPS_H
#define GITLAB_PAT_LOOKUPS_H

#include "gitlab/call.h"
#include "gitlab/listing.h"
#include "gitlab/record.h"

extern const ApiTarget *step_target(const Stream *stream, int64 step);
extern void take_object(Stream *stream, ApiCall *call,
						const ApiTarget *target);
extern void list_instead(Stream *stream, const ApiTarget *target);
extern bool is_conflict(ApiCall *call);
extern JsonRecord *next_instead(Stream *stream);

#endif							/* GITLAB_PAT_LOOKUPS_H */
