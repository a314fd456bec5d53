/*-------------------------------------------------------------------------
 *
 * container.h
 *	  Which project or group is meant: by its number or by its path.
 *
 * GitLab takes either, and paths in any case.  Two names of one container must not
 * be two containers to a transaction.  Each container therefore has one name that
 * the queue knows it by.  GitLab is asked only if the transaction uses numbers and
 * paths side by side.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CONTAINER_H
#define GITLAB_PAT_CONTAINER_H

#include "change/participant.h"

/* These raise errors */
extern const char *container_checked(JsonRecord *row, const ResourceField *field);
extern const char *container_of(const Resource *resource, JsonRecord *record);
extern const char *container_known_as(ApiClient *client,
									  const Resource *resource,
									  const char *name);
extern void container_note(ApiClient *client,
						   const Resource *resource, const char *name);

/* This raises nothing */
extern void container_forget(void);

#endif							/* GITLAB_PAT_CONTAINER_H */
