/*-------------------------------------------------------------------------
 *
 * search.h
 *	  The text of a condition that GitLab can search for.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SEARCH_H
#define GITLAB_PAT_SEARCH_H

#include "gitlab/condition.h"

extern char *search_fragment(const Condition *condition);

#endif							/* GITLAB_PAT_SEARCH_H */
