/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Reading any number of GitLab's objects, in pages or one by one.
 *
 * A stream delivers records in an order that is fixed, each object once, and
 * asks for as few pages as its reader needs.  It belongs to the memory context
 * that it was opened in, which must not outlive its client's.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_STREAM_H
#define GITLAB_PAT_STREAM_H

#include "gitlab/pages.h"

typedef struct Stream Stream;

extern Stream *stream_list(ApiClient *client, const Resource *resource,
						   const StreamListing *listing);
extern Stream *stream_lookup(ApiClient *client, const Resource *resource,
							 const ApiTarget *targets, int ntargets,
							 int concurrency, bool skips);
extern void stream_recall(Stream *stream);
extern void stream_prefetch(Stream *stream);
extern ApiCall *stream_awaited(Stream *stream);
extern JsonRecord *stream_next(Stream *stream);
extern bool stream_rewind(Stream *stream);
extern List *stream_skipped(const Stream *stream);
extern void stream_end(Stream *stream);
extern int64 stream_total(ApiClient *client, const Resource *resource,
						  const ApiTarget *target, List *parameters,
						  bool utc_only);

#endif							/* GITLAB_PAT_STREAM_H */
