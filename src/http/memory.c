/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  Memory that is malloc'ed, because it may outlive any query.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/memory.h"

/* Frees memory that may have held a secret. */
void
free_zeroed(char *data, size_t length)
{
	if (data != NULL)
	{
		explicit_bzero(data, length);
		free(data);
	}
}
