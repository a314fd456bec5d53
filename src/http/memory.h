/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  Memory that is malloc'ed, because it may outlive any query.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_MEMORY_H
#define GITLAB_PAT_MEMORY_H

#include "compat.h"

pg_noreturn extern void memory_report_exhausted(void);
extern void memory_free_zeroed(char *data, size_t length);
extern void memory_give_back(void);

#endif							/* GITLAB_PAT_MEMORY_H */
