/*-------------------------------------------------------------------------
 *
 * pages.h
 *	  Reading a list of GitLab's objects in pages.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PAGES_H
#define GITLAB_PAT_PAGES_H

#include "compat.h"
#include "gitlab/listing.h"
#include "gitlab/order.h"

/* No limit of an interval of times in ms. */
#define NO_TIME PG_INT64_MIN

typedef struct Pages Pages;

extern Pages *pages_open(ApiClient *client, const Resource *resource,
						 const StreamListing *listing);
extern void pages_prefetch(Pages *pages);
extern ApiCall *pages_awaited(Pages *pages);
extern JsonRecord *pages_next(Pages *pages);
extern bool pages_rewind(Pages *pages);
extern bool pages_skipped(const Pages *pages);
extern void pages_end(Pages *pages);
extern int64 pages_total(ApiClient *client, const Resource *resource,
						 const ApiTarget *target, List *parameters,
						 bool utc_only);

/* for slices.c: lists that are longer than GitLab counts */
extern bool pages_are_long(const Pages *pages);
extern void pages_read_on(Pages *pages);
extern Pages *pages_part(Pages *whole, int64 after, int64 before);
extern Pages *pages_late(Pages *pages);
extern ApiCall *pages_sample(Pages *pages, int64 number);
extern bool pages_may_follow(Pages *pages, JsonRecord *record);
extern bool pages_are_elsewhere(const Pages *pages);
extern void pages_restart_elsewhere(Pages *pages);
pg_noreturn extern void pages_refuse_changes(Pages *pages);
extern const Resource *pages_resource(const Pages *pages);
extern const StreamListing *pages_listing(const Pages *pages);
extern char *pages_action(const Pages *pages);

#endif							/* GITLAB_PAT_PAGES_H */
