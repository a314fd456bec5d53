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

#include <poll.h>

#include "http/sockets.h"

/* Adds a socket to a set, or changes what is waited for on it. */
bool
set_socket(SocketSet *set, int sockfd, short events)
{
	int			i;

	for (i = 0; i < set->nfds; i++)
		if (set->fds[i].fd == sockfd)
			break;
	if (i == set->max_fds)
	{
		int			more = set->max_fds + 16;
		struct pollfd *fds = realloc(set->fds, more * sizeof(struct pollfd));

		if (fds == NULL)
			return false;
		set->fds = fds;
		set->max_fds = more;
	}
	if (i == set->nfds)
		set->nfds++;
	set->fds[i].fd = sockfd;
	set->fds[i].events = events;
	set->fds[i].revents = 0;
	return true;
}

void
remove_socket(SocketSet *set, int sockfd)
{
	for (int i = 0; i < set->nfds; i++)
	{
		if (set->fds[i].fd == sockfd)
		{
			set->fds[i] = set->fds[--set->nfds];
			return;
		}
	}
}
