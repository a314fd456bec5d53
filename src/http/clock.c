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

/* Monotonic clock in microseconds; waits must not jump with the wall clock. */
int64
monotonic_usecs(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
