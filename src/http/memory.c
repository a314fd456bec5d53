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

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "http/memory.h"

/* Raises the error of malloc(), libcurl or json-c having got no memory. */
void
memory_report_exhausted(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory")));
}

/* Frees memory that may have held a secret. */
void
memory_free_zeroed(char *data, size_t length)
{
	if (data != NULL)
	{
		explicit_bzero(data, length);
		free(data);
	}
}

/*
 * Gives free memory back to the operating system.  The C library keeps what lies
 * below a block that is still in use, however much that is.
 */
void
memory_give_back(void)
{
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
}
