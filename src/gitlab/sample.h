/*-------------------------------------------------------------------------
 *
 * sample.h
 *	  How long a list is that is paged by keyset.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SAMPLE_H
#define GITLAB_PAT_SAMPLE_H

#include "gitlab/listing.h"

extern ApiCall *sample_open(ApiClient *client, const Resource *resource,
							const StreamListing *listing, int64 *total);
extern JsonRecord *sample_record(ApiClient *client, ApiCall *call, int number);

#endif							/* GITLAB_PAT_SAMPLE_H */
