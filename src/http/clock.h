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

/* None of these raises an error. */
extern int64 http_clock(void);
extern int64 http_cpu_clock(void);

#endif							/* GITLAB_PAT_CLOCK_H */
