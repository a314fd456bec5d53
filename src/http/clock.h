/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Clocks to measure waits and work with, in microseconds.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CLOCK_H
#define GITLAB_PAT_CLOCK_H

extern int64 monotonic_usecs(void);

#endif							/* GITLAB_PAT_CLOCK_H */
