/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  Clocks to measure waits and work with, in microseconds.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "http/clock.h"

static int64
read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* The time that passes, never 0: waits must not jump with the wall clock. */
int64
http_clock(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* The CPU time that this thread has taken, which it costs a system call to read. */
int64
http_cpu_clock(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
