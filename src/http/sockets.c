/*-------------------------------------------------------------------------
 *
 * sockets.c
 *	  A set of sockets for poll(2).
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/sockets.h"
#include "port/atomics.h"

/*
 * Tells signal handlers whether they may look at a set.  The compiler must not move
 * the changes to where they may.
 */
static void
set_changing(SocketSet *set, bool changing)
{
	pg_compiler_barrier();
	set->changing = changing;
	pg_compiler_barrier();
}

/* Adds a socket to a set, or changes what is waited for on it. */
bool
sockets_set(SocketSet *set, int sockfd, short events)
{
	int			i;

	for (i = 0; i < set->nfds; i++)
		if (set->fds[i].fd == sockfd)
			break;
	if (i == set->max_fds)
	{
		int			more = set->max_fds + 16;
		struct pollfd *fds;

		set_changing(set, true);
		fds = realloc(set->fds, more * sizeof(struct pollfd));
		if (fds)
		{
			set->fds = fds;
			set->max_fds = more;
		}
		set_changing(set, false);
		if (fds == NULL)
			return false;
	}
	set_changing(set, true);
	set->fds[i].fd = sockfd;
	set->fds[i].events = events;
	set->fds[i].revents = 0;
	if (i == set->nfds)
	{
		set->nfds++;
		set->version++;
	}
	set_changing(set, false);
	return true;
}

/* Removes a socket, if it is in the set. */
void
sockets_remove(SocketSet *set, int sockfd)
{
	for (int i = 0; i < set->nfds; i++)
	{
		if (set->fds[i].fd == sockfd)
		{
			set_changing(set, true);
			set->fds[i] = set->fds[--set->nfds];
			set->version++;
			set_changing(set, false);
			return;
		}
	}
}

/* Whether a socket is in the set. */
bool
sockets_have(const SocketSet *set, int sockfd)
{
	for (int i = 0; i < set->nfds; i++)
		if (set->fds[i].fd == sockfd)
			return true;
	return false;
}
