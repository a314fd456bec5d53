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

/* Some sockets, and what is waited for on each; malloc'ed. */
typedef struct SocketSet
{
	struct pollfd *fds;
	int			nfds;
	int			max_fds;
} SocketSet;

extern bool set_socket(SocketSet *set, int sockfd, short events);
extern void remove_socket(SocketSet *set, int sockfd);

#endif							/* GITLAB_PAT_SOCKETS_H */
