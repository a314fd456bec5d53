/*-------------------------------------------------------------------------
 *
 * sockets.h
 *	  A set of sockets for poll(2).
 *
 * A set is malloc'ed: it changes in libcurl's callbacks, which may not raise errors.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SOCKETS_H
#define GITLAB_PAT_SOCKETS_H

#include <poll.h>
#include <signal.h>

/* Some sockets, and what is waited for on each; malloc'ed. */
typedef struct SocketSet
{
	struct pollfd *fds;
	int			nfds;
	int			max_fds;
	uint64		version;		/* another one after each socket that comes or
								 * goes */
	volatile	sig_atomic_t changing;	/* signal handlers must not look */
} SocketSet;

/* None raises an error; the first one returns false when memory is short. */
extern bool sockets_set(SocketSet *set, int sockfd, short events);
extern void sockets_remove(SocketSet *set, int sockfd);
extern bool sockets_have(const SocketSet *set, int sockfd);

#endif							/* GITLAB_PAT_SOCKETS_H */
