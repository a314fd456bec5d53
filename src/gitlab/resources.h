/*-------------------------------------------------------------------------
 *
 * resources.h
 *	  What GitLab has, as data: a descriptor for each resource.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_RESOURCES_H
#define GITLAB_PAT_RESOURCES_H

#include "gitlab/resource.h"

extern const Resource *const resource_tokens;
extern const Resource *const resource_users;

extern const Resource *resource_find(const char *name);
extern const char *resource_names(void);
extern const Resource *resource_next(const Resource *resource);

#endif							/* GITLAB_PAT_RESOURCES_H */
