/*-------------------------------------------------------------------------
 *
 * waitset.h
 *	  Waiting for sockets of clients as any backend code waits.
 *
 * libcurl closes and opens sockets as it likes, and PostgreSQL's WaitEventSet can't
 * forget a descriptor.  But to make a set takes five system calls or more, and mostly
 * libcurl waits again for what it has waited for before.  So the set of a client is kept
 * until its sockets are others.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_WAITSET_H
#define GITLAB_PAT_WAITSET_H

#include "compat.h"
#include "http/exchange.h"

/*
 * Waits for the sockets that libcurl waits for on behalf of the clients, for the latch,
 * or for timeout_ms (-1: no limit).  Returns how many events came, each with its client
 * in user_data.  Raises an error when descriptors or memory are short.  The backend exits
 * with the postmaster.
 */
extern int	waitset_wait(HttpClient **clients, int nclients, long timeout_ms,
						 uint32 wait_event, WaitEvent *events, int max_events);

/* Forgets the set of a client.  Never raises an error. */
extern void waitset_forget(HttpClient *client);

#endif							/* GITLAB_PAT_WAITSET_H */
