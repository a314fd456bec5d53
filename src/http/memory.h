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

extern void free_zeroed(char *data, size_t length);

#endif							/* GITLAB_PAT_MEMORY_H */
