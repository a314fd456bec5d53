/*-------------------------------------------------------------------------
 *
 * early.c
 *	  Has AddressSanitizer initialized before all else.
 *
 * It initializes itself at the first malloc(), and in doing so it calls
 * gettext.  In a server that first malloc() is bindtextdomain()'s own, in the
 * constructor of libgpg-error: gettext's lock is held then, is taken again, and
 * is left in a state in which the next call waits forever.  So this is linked
 * with -z initfirst and preloaded after the sanitizer.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

static void
__attribute__((constructor))
early(void)
{
	void	   *volatile memory = malloc(1);

	free(memory);
}
