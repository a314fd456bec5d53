/*-------------------------------------------------------------------------
 *
 * waitset.c
 *	  Waiting for sockets of clients as any backend code waits.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/transfer.h"
#include "http/waitset.h"
#include "miscadmin.h"

/* The latch, and the postmaster. */
#define OTHER_EVENTS 2

/* The number of sockets in a set that an error has left half made. */
#define NOT_FILLED (-1)

/* The most sockets that a kept set has; libcurl has one a request. */
#define MAX_KEPT_SOCKETS MAX_CONCURRENCY

/* A client's set, and what is in it besides the latch and the postmaster. */
typedef struct KeptWaitSet
{
	WaitEventSet *set;			/* NULL: none */
	uint64		version;		/* of the client's open sockets */
	int			nfds;
	struct pollfd fds[MAX_KEPT_SOCKETS];
} KeptWaitSet;

static void
add_sockets(WaitEventSet *set, HttpClient *client)
{
	for (int i = 0; i < client->waited.nfds; i++)
	{
		uint32		flags = 0;

		if (client->waited.fds[i].events & POLLIN)
			flags |= WL_SOCKET_READABLE;
		if (client->waited.fds[i].events & POLLOUT)
			flags |= WL_SOCKET_WRITEABLE;
		if (flags)
			AddWaitEventToSet(set, flags, client->waited.fds[i].fd, NULL,
							  client);
	}
}

static void
fill(WaitEventSet *set, HttpClient **clients, int nclients)
{
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
	for (int i = 0; i < nclients; i++)
		add_sockets(set, clients[i]);
}

/*
 * Whether a client waits for sockets only that it has opened itself.  What libcurl opens
 * besides, to look up a name, goes without a word, and the kernel drops it from the set.
 * The next descriptor of that number would never be waited for.
 */
static bool
can_be_kept(const HttpClient *client)
{
	for (int i = 0; i < client->waited.nfds; i++)
		if (!sockets_have(&client->open, client->waited.fds[i].fd))
			return false;
	return client->waited.nfds <= MAX_KEPT_SOCKETS;
}

/*
 * Whether the kept set is that of the sockets that are waited for now.  If any was
 * opened or closed since, a number may stand for another socket.
 */
static bool
is_current(const HttpClient *client)
{
	const KeptWaitSet *kept = client->kept;
	const SocketSet *waited = &client->waited;

	if (kept == NULL || kept->set == NULL || kept->version != client->open.version ||
		kept->nfds != waited->nfds)
		return false;
	for (int i = 0; i < waited->nfds; i++)
	{
		int			j = 0;

		/* libcurl changes their order */
		while (j < kept->nfds && kept->fds[j].fd != waited->fds[i].fd)
			j++;
		if (j == kept->nfds || kept->fds[j].events != waited->fds[i].events)
			return false;
	}
	return true;
}

void
waitset_forget(HttpClient *client)
{
	if (client->kept && client->kept->set)
	{
		FreeWaitEventSet(client->kept->set);
		client->kept->set = NULL;
	}
}

/* Makes the client's kept set that of the sockets that are waited for now. */
static void
keep(HttpClient *client)
{
	KeptWaitSet *kept;

	waitset_forget(client);
	if (client->kept == NULL)
		client->kept = MemoryContextAllocZero(client->context,
											  sizeof(KeptWaitSet));
	kept = client->kept;
	kept->nfds = NOT_FILLED;
	kept->set = compat_wait_event_set(NULL, client->context,
									  client->waited.nfds + OTHER_EVENTS);
	fill(kept->set, &client, 1);
	kept->version = client->open.version;
	kept->nfds = client->waited.nfds;
	memcpy(kept->fds, client->waited.fds, kept->nfds * sizeof(struct pollfd));
}

int
waitset_wait(HttpClient **clients, int nclients, long timeout_ms,
			 uint32 wait_event, WaitEvent *events, int max_events)
{
	WaitEventSet *set;
	int			nfds = 0;
	int			n;

	if (nclients == 1 && can_be_kept(clients[0]))
	{
		if (!is_current(clients[0]))
			keep(clients[0]);
		return WaitEventSetWait(clients[0]->kept->set, timeout_ms, events,
								max_events, wait_event);
	}
	for (int i = 0; i < nclients; i++)
		nfds += clients[i]->waited.nfds;
	set = compat_wait_event_set(CurrentResourceOwner, CurrentMemoryContext,
								nfds + OTHER_EVENTS);
	fill(set, clients, nclients);
	n = WaitEventSetWait(set, timeout_ms, events, max_events, wait_event);
	FreeWaitEventSet(set);
	return n;
}
