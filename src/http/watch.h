/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  Ends a call of libcurl that a server keeps busy.
 *
 * libcurl's callbacks see what a server says in HTTP, and give up when it says too
 * much.  They see nothing of what the TLS library is told.  It reads on as long as
 * something comes that is not for its caller, session tickets for example, and no
 * interrupt is serviced meanwhile.  So a timer of the thread's CPU time watches each
 * call, and cuts the client's connections if it takes too long.
 *
 * Only one call is watched at a time.  Where the system has no timer for a thread,
 * nothing is watched.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_WATCH_H
#define GITLAB_PAT_WATCH_H

#include <signal.h>

#include "http/sockets.h"

/*
 * The CPU time that a call may take, in us: several times what a callback allows
 * a transfer.
 */
#define MAX_CALL_USECS 150000

/*
 * The CPU time that a call may take while a connection is made.  The first handshake
 * of a session reads all certificate authorities.  Reading them takes a fast machine
 * 25 ms, and a small one many times as long: it could never connect.
 */
#define MAX_CONNECT_USECS 1500000

/* Neither raises an error. */
extern void watch_begin(const SocketSet *open, sigset_t *blocked,
						bool connecting);
extern void watch_connecting(bool connecting);
extern bool watch_end(void);

#endif							/* GITLAB_PAT_WATCH_H */
