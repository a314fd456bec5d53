/*-------------------------------------------------------------------------
 *
 * engine.c
 *	  Interruptible HTTP exchanges: libcurl under PostgreSQL's event loop.
 *
 * libcurl's multi-socket interface tells us which sockets it waits for and when
 * it wants to be called next; PostgreSQL's WaitEventSet does the waiting,
 * together with the process latch and the postmaster's death.  A request
 * therefore waits as any backend code does: it answers to cancel and terminate,
 * absorbs procsignal barriers, and ends with the postmaster.
 *
 * Two rules keep libcurl and PostgreSQL's longjmp apart.  No callback that
 * libcurl calls may raise an error: callbacks note what is wrong in the
 * exchange and make libcurl give up.  And interrupts are only serviced in
 * http_wait(), where none of libcurl's frames is on the stack.  watch.h says what
 * ends a call of libcurl that goes on and on.
 *
 * Deadlines are kept here and not by libcurl, because they must only run while
 * an exchange is driven.  A look-ahead request of a cursor may lie still for
 * hours between two FETCHes.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "http/clock.h"
#include "http/engine.h"
#include "http/memory.h"
#include "http/transfer.h"
#include "http/url.h"
#include "http/waitset.h"
#include "http/watch.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "gitlab_pat_fdw needs libcurl 7.87 or later"
#endif

/* Since 8.16; libcurl may be newer than its headers. */
#if LIBCURL_VERSION_NUM < 0x081000
#define CURLMOPT_NETWORK_CHANGED ((CURLMoption) (CURLOPTTYPE_LONG + 17))
#endif

/* The meaning of CURLMNWC_CLEAR_CONNS depends on libcurl's version, too. */
#define CLEAR_CONNECTIONS_8_16 (1L << 0)
#define CLEAR_CONNECTIONS_8_20 (1L << 1)

/* An attempt that nobody drove for longer than this has slept. */
#define SLEPT_USECS INT64CONST(1000000)

/* How long http_wait_quietly() may go without looking at the flags. */
#define QUIET_SLICE_MS 100

/* Socket events taken from one wait; what is left comes with the next. */
#define MAX_EVENTS 64

/* How long ready sockets are served when somebody has asked to stop, in us. */
#define MAX_SERVING_USECS 20000

/* An answer from which on it is worth while to give memory back, in bytes. */
#define LARGE_ANSWER (1024 * 1024)

/*
 * What libcurl opens besides connections: a pair of sockets to wake a multi handle
 * with, and a pair for the thread that looks up a name.
 */
#define MULTI_DESCRIPTORS 2
#define LOOKUP_DESCRIPTORS 2

/* Descriptors that are left for the waiting itself. */
#define SPARE_DESCRIPTORS 2

/* All clients of the session, those that were used last at the end. */
static dlist_head clients = DLIST_STATIC_INIT(clients);

/* The wait events in pg_stat_activity; http_client_create() names them. */
static uint32 transfer_wait_event = PG_WAIT_EXTENSION;
static uint32 back_off_wait_event = PG_WAIT_EXTENSION;


/* ----------
 * Small helpers
 * ----------
 */

/*
 * Has libcurl forget its idle connections when the other side closed any.  It
 * would look itself before it uses one again; but of late, no more than once
 * a second.  Before 8.16 it can't be told, and need not be.
 */
static void
forget_closed(HttpClient *client)
{
	long		flag =
		curl_version_info(CURLVERSION_NOW)->version_num >= 0x081400 ?
		CLEAR_CONNECTIONS_8_20 : CLEAR_CONNECTIONS_8_16;

	if (poll(client->open.fds, client->open.nfds, 0) > 0)
		(void) curl_multi_setopt(client->multi, CURLMOPT_NETWORK_CHANGED, flag);
}

/* Whether a connection is being made. */
static bool
is_connecting(HttpClient *client)
{
	dlist_iter	iter;

	dlist_foreach(iter, &client->transfers)
	{
		const HttpTransfer *transfer = dlist_container(HttpTransfer, link,
													   iter.cur);

		if (transfer->state == TRANSFER_ACTIVE && transfer->tunneling)
			return true;
	}
	return false;
}

/*
 * libcurl may start a resolver thread in here.  A thread inherits the signal
 * mask, and none of PostgreSQL's handlers may ever run in a foreign thread.
 */
static void
multi_act(HttpClient *client, curl_socket_t sockfd, int mask)
{
	sigset_t	all;
	sigset_t	saved;
	int			running;

	Assert(client->multi != NULL);
	client->turn++;
	sigfillset(&all);
	watch_begin(&client->open, &all, is_connecting(client));
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	if (curl_multi_socket_action(client->multi, sockfd, mask, &running) != CURLM_OK)
		client->damaged = true;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (watch_end())
		client->cut = true;
}


/* ----------
 * What libcurl calls.  Nothing here may raise an error.
 * ----------
 */

static int
on_socket(CURL *easy, curl_socket_t sockfd, int what, void *arg, void *unused)
{
	HttpClient *client = arg;
	short		events = ((what & CURL_POLL_IN) ? POLLIN : 0) |
		((what & CURL_POLL_OUT) ? POLLOUT : 0);

	(void) easy;
	(void) unused;
	if (what == CURL_POLL_REMOVE)
		sockets_remove(&client->waited, sockfd);
	else if (!sockets_set(&client->waited, sockfd, events))
		return -1;
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpClient *client = arg;

	(void) multi;
	client->timer_due = timeout_ms < 0 ? -1 :
		http_clock() + (int64) timeout_ms * 1000;
	return 0;
}


/* ----------
 * Descriptors.  PostgreSQL has to know how many there are, for it shares the
 * process's limit between its own files and everybody else's.  It may log while it
 * counts them, which is nothing for a callback of libcurl's: so they are reserved
 * before libcurl is entered.
 * ----------
 */

static int
used_descriptors(HttpClient *client)
{
	int			used = client->open.nfds;
	dlist_iter	iter;

	if (client->multi)
		used += MULTI_DESCRIPTORS;
	dlist_foreach(iter, &client->transfers)
	{
		const HttpTransfer *transfer = dlist_container(HttpTransfer, link,
													   iter.cur);

		if (transfer->state == TRANSFER_ACTIVE && !transfer->connected)
			used += LOOKUP_DESCRIPTORS;
	}
	return used;
}

/* Gives back what was reserved beyond this. */
static void
release_descriptors(HttpClient *client, int wanted)
{
	while (client->reserved > wanted)
	{
		ReleaseExternalFD();
		client->reserved--;
	}
}

/* Closes all that a client has open and does not use. */
static void
client_close(HttpClient *client)
{
	Assert(dlist_is_empty(&client->transfers));
	waitset_forget(client);
	curl_multi_cleanup(client->multi);
	client->multi = NULL;
	client->timer_due = -1;
	release_descriptors(client, 0);
}

/*
 * Begins anew after libcurl has run out of memory, once it has no request any more.
 * It may have lost track of a socket, and would then wait in vain for another one of
 * the same number.
 */
static void
client_mend(HttpClient *client)
{
	dlist_iter	iter;

	if (!client->damaged)
		return;
	dlist_foreach(iter, &client->transfers)
	{
		if (dlist_container(HttpTransfer, link, iter.cur)->state == TRANSFER_ACTIVE)
			return;
	}
	curl_multi_cleanup(client->multi);
	client->multi = NULL;
	client->timer_due = -1;
	client->waited.nfds = 0;
	client->damaged = false;
}

/* Closes what some other client has open, the one idle for longest. */
static bool
give_up_idle(const HttpClient *client)
{
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		HttpClient *other = dlist_container(HttpClient, link, iter.cur);

		if (other != client && other->multi &&
			dlist_is_empty(&other->transfers))
		{
			client_close(other);
			return true;
		}
	}
	return false;
}

/* Reserves descriptors until the client has so many.  False: there are none. */
static bool
reserve_descriptors(HttpClient *client, int wanted)
{
	while (client->reserved < wanted)
	{
		if (AcquireExternalFD())
			client->reserved++;
		else if (!give_up_idle(client))
			return false;
	}
	return true;
}

/* Reserves what one more attempt may open.  False: there is too little. */
static bool
reserve_attempt(HttpClient *client)
{
	int			wanted = used_descriptors(client) + LOOKUP_DESCRIPTORS + 1;
	bool		good;

	if (client->multi == NULL)
		wanted += MULTI_DESCRIPTORS;
	good = reserve_descriptors(client, wanted + SPARE_DESCRIPTORS);
	release_descriptors(client, wanted);
	return good;
}

/* Makes the multi handle, which has all that is open.  False: no memory. */
static bool
client_open(HttpClient *client)
{
	if (client->multi)
		return true;
	client->multi = curl_multi_init();
	if (client->multi &&
		curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
		curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) == CURLM_OK &&
		curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
		curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) == CURLM_OK &&
		curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS,
						  (long) MAX_CONCURRENCY) == CURLM_OK)
		return true;
	curl_multi_cleanup(client->multi);
	client->multi = NULL;
	return false;
}


/* ----------
 * Attempts
 * ----------
 */

/* Takes the request back from libcurl; the easy handle keeps its headers. */
static void
transfer_detach(HttpTransfer *transfer)
{
	if (transfer->state == TRANSFER_ACTIVE)
		curl_multi_remove_handle(transfer->exchange->client->multi,
								 transfer->easy);
}

/* The attempt is over.  Asks the policy whether there will be another one. */
static void
attempt_over(HttpTransfer *transfer, HttpFailure failure)
{
	HttpExchange *exchange = transfer->exchange;
	int			delay;

	transfer_detach(transfer);
	transfer->state = TRANSFER_BACKING_OFF;
	exchange->failure = failure;
	exchange->duration = transfer->driven;
	exchange->waited += transfer->driven;
	if (failure == HTTP_ANSWERED)
		exchange->client->answered = http_clock();

	delay = exchange->policy ? exchange->policy(exchange) : -1;
	if (delay < 0 || exchange->last)
	{
		transfer->state = TRANSFER_FINISHED;
		exchange->finished = true;
		dlist_delete(&transfer->link);
		return;
	}
	transfer->back_off = (int64) delay * 1000;
	transfer->resume_at = http_clock() + transfer->back_off;
}

/* Makes libcurl's handle for the request. */
static void
transfer_prepare(HttpTransfer *transfer)
{
	transfer->easy = curl_easy_init();
	transfer->target = http_url_target(transfer->url);
	if (transfer->easy == NULL || transfer->target == NULL ||
		transfer_set_options(transfer) != CURLE_OK)
		transfer->broken = true;
	if (transfer->target)
		transfer->exchange->target = transfer->target;
}

/* Begins an attempt. */
static void
attempt_begin(HttpTransfer *transfer)
{
	HttpExchange *exchange = transfer->exchange;
	HttpClient *client = exchange->client;
	HttpFailure failure;

	Assert(transfer->state == TRANSFER_QUEUED ||
		   transfer->state == TRANSFER_BACKING_OFF);
	exchange->waited += transfer->back_off;
	exchange->attempts++;
	exchange->sent = false;
	exchange->resent = false;
	exchange->slept = false;
	exchange->status = 0;
	memory_free_zeroed(exchange->data, exchange->length);
	exchange->data = NULL;
	exchange->length = 0;
	transfer->capacity = 0;
	transfer->back_off = 0;
	transfer->body_offset = 0;
	transfer_forget_answer(transfer);
	transfer->connected = false;
	transfer->driven = 0;
	transfer->error[0] = '\0';

	dlist_delete(&client->link);
	dlist_push_tail(&clients, &client->link);
	client_mend(client);
	if (transfer->broken || !reserve_attempt(client))
		failure = transfer->broken ? HTTP_NO_MEMORY : HTTP_NO_DESCRIPTORS;
	else if (!client_open(client))
		failure = HTTP_NO_MEMORY;
	else
	{
		forget_closed(client);
		transfer_choose_connection(transfer, http_clock() - client->answered);
		if (curl_multi_add_handle(client->multi, transfer->easy) == CURLM_OK)
		{
			transfer->state = TRANSFER_ACTIVE;
			return;
		}
		failure = HTTP_NO_MEMORY;
	}
	attempt_over(transfer, failure);
}

/* Takes what libcurl has finished. */
static void
collect_finished(HttpClient *client)
{
	CURLMsg    *msg;
	int			left;

	while ((msg = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		HttpTransfer *transfer = NULL;
		CURLcode	code = msg->data.result;
		long		status = 0;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE,
								 (char **) &transfer);
		(void) curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE,
								 &status);
		Assert(transfer != NULL);
		if (code == CURLE_OUT_OF_MEMORY)
			client->damaged = true;
		transfer->exchange->status = (int) status;
		if (client->cut && code != CURLE_OK)
			transfer_refuse_busy(transfer, MAX_CALL_USECS);
		if (transfer->refusal != HTTP_ANSWERED)
			strlcpy(transfer->error, transfer->reason, sizeof(transfer->error));
		else if (code == CURLE_SEND_FAIL_REWIND)
			strlcpy(transfer->error,
					"The server closed the connection while the request was sent",
					sizeof(transfer->error));
		else if (code != CURLE_OK && transfer->error[0] == '\0')
			strlcpy(transfer->error, curl_easy_strerror(code),
					sizeof(transfer->error));
		if (code == CURLE_PEER_FAILED_VERIFICATION)
			transfer_note_certificate(transfer);
		attempt_over(transfer, transfer_failure(code, transfer));
	}
	client->cut = false;
}


/* ----------
 * Driving a client
 * ----------
 */

/* Somebody waits again: the time that nobody waited does not count. */
static void
resume_clock(HttpClient *client)
{
	int64		now = http_clock();

	if (now - client->clock > SLEPT_USECS)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &client->transfers)
		{
			HttpTransfer *transfer = dlist_container(HttpTransfer, link,
													 iter.cur);

			if (transfer->state == TRANSFER_ACTIVE)
				transfer->exchange->slept = true;
		}
	}
	client->clock = now;
}

/* Time left to an attempt, in us; what it ran out of, in *limit (ms). */
static int64
time_left(const HttpTransfer *transfer, int *limit)
{
	const HttpSettings *settings = &transfer->exchange->client->settings;

	*limit = settings->request_timeout;
	if (!transfer->connected && settings->connect_timeout < *limit)
		*limit = settings->connect_timeout;
	return (int64) *limit * 1000 - transfer->driven;
}

/*
 * Does all that is due now, and returns the ms that may be waited for a
 * socket, or -1 for as long as it takes.
 */
static long
client_turn(HttpClient *client)
{
	int64		now = http_clock();
	int64		elapsed = now - client->clock;
	int64		next = PG_INT64_MAX;
	bool		begun = false;
	dlist_mutable_iter iter;

	client->clock = now;
	dlist_foreach_modify(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, link, iter.cur);

		if (transfer->state == TRANSFER_ACTIVE)
			transfer->driven += elapsed;
	}
	if (client->timer_due >= 0 && client->timer_due <= now)
	{
		client->timer_due = -1;
		multi_act(client, CURL_SOCKET_TIMEOUT, 0);
	}
	if (client->multi)
		collect_finished(client);

	dlist_foreach_modify(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, link, iter.cur);
		int			limit;

		if (transfer->state == TRANSFER_BACKING_OFF &&
			transfer->resume_at > now)
			next = Min(next, transfer->resume_at - now);
		else if (transfer->state != TRANSFER_ACTIVE)
		{
			/*
			 * One at a time: to connect takes libcurl some ms of CPU time,
			 * and it would do so for all within one call.
			 */
			if (!begun)
				attempt_begin(transfer);
			begun = true;
			next = 0;
		}
		else
		{
			if (time_left(transfer, &limit) <= 0)
			{
				transfer_set_error(transfer, transfer->connected ?
								   "No complete answer within %d ms" :
								   "No connection within %d ms", limit);
				attempt_over(transfer, transfer->connected ?
							 HTTP_TIMED_OUT : HTTP_CANNOT_CONNECT);
				/* it may be tried again */
				if (transfer->state == TRANSFER_BACKING_OFF)
					next = Min(next, transfer->back_off);
			}
			else
				next = Min(next, time_left(transfer, &limit));
		}
	}

	release_descriptors(client, used_descriptors(client));
	if (client->timer_due >= 0)
		next = Min(next, Max(client->timer_due - now, 0));
	if (next == PG_INT64_MAX)
		return -1;
	/* round up, or the last fraction of a ms would be spun away */
	return (long) Min((next + 999) / 1000, INT_MAX);
}

static int
find_finished(HttpExchange **exchanges, int nexchanges)
{
	for (int i = 0; i < nexchanges; i++)
		if (exchanges[i]->finished)
			return i;
	return -1;
}

/* The wait event of a client's transfers, or if it has none, of back-offs. */
static uint32
wait_event(const HttpClient *client)
{
	return client->waited.nfds > 0 ? transfer_wait_event : back_off_wait_event;
}

/*
 * Whether somebody has asked to stop, and the sockets that are ready have been
 * served for a while.  What has arrived is taken all the same, for an answer
 * that is there should not be told as a lost one; but a hostile server's
 * sockets are always ready.
 */
static bool
must_stop(int64 begun)
{
	return (QueryCancelPending || ProcDiePending) &&
		http_clock() - begun > MAX_SERVING_USECS;
}

/* Waits for sockets of clients, latch or timeout_ms, and lets libcurl act. */
static void
clients_wait(HttpClient **waiting, int nwaiting, long timeout_ms)
{
	WaitEvent	events[MAX_EVENTS];
	uint32		event = back_off_wait_event;
	int64		begun;
	int			n;

	if (timeout_ms == 0)
		return;
	for (int i = 0; i < nwaiting; i++)
		if (waiting[i]->waited.nfds > 0)
			event = wait_event(waiting[i]);
	n = waitset_wait(waiting, nwaiting, timeout_ms, event, events, MAX_EVENTS);

	begun = http_clock();
	for (int i = 0; i < n; i++)
	{
		int			mask = 0;

		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].events & WL_SOCKET_READABLE)
			mask |= CURL_CSELECT_IN;
		if (events[i].events & WL_SOCKET_WRITEABLE)
			mask |= CURL_CSELECT_OUT;
		if (mask && !must_stop(begun))
			multi_act(events[i].user_data, events[i].fd, mask);
	}
}

/*
 * Waits for a client's sockets or timeout_ms, and lets libcurl act: with
 * poll(2), for where a WaitEventSet may not be made.
 */
static void
client_poll(HttpClient *client, long timeout_ms)
{
	struct
	{
		int			fd;
		int			mask;
	}			ready[MAX_EVENTS];
	int			nready = 0;
	int64		begun;
	int			rc;

	if (timeout_ms < 0 || timeout_ms > QUIET_SLICE_MS)
		timeout_ms = QUIET_SLICE_MS;
	pgstat_report_wait_start(wait_event(client));
	rc = poll(client->waited.fds, client->waited.nfds, (int) timeout_ms);
	pgstat_report_wait_end();
	if (rc <= 0)
		return;

	/* copied first, for libcurl changes the array meanwhile */
	for (int i = 0; i < client->waited.nfds && nready < MAX_EVENTS; i++)
	{
		short		revents = client->waited.fds[i].revents;

		if (revents == 0)
			continue;
		ready[nready].fd = client->waited.fds[i].fd;
		ready[nready].mask = ((revents & POLLIN) ? CURL_CSELECT_IN : 0) |
			((revents & POLLOUT) ? CURL_CSELECT_OUT : 0) |
			((revents & (POLLERR | POLLHUP | POLLNVAL)) ? CURL_CSELECT_ERR : 0);
		nready++;
	}
	begun = http_clock();
	for (int i = 0; i < nready && !must_stop(begun); i++)
		multi_act(client, ready[i].fd, ready[i].mask);
}

/*
 * Takes what has arrived, before a wait ends without an answer: a latch that is set
 * hides what sockets have.  Returns the index of a finished exchange, or -1.
 */
static int
take_arrived(HttpClient *client, HttpExchange **exchanges, int nexchanges)
{
	client_poll(client, 0);
	(void) client_turn(client);
	return find_finished(exchanges, nexchanges);
}

/* The clients of exchanges, each once; returns how many. */
static int
distinct_clients(HttpExchange **exchanges, int nexchanges, HttpClient **found)
{
	int			n = 0;

	for (int i = 0; i < nexchanges; i++)
	{
		int			j = 0;

		while (j < n && found[j] != exchanges[i]->client)
			j++;
		if (j == n)
			found[n++] = exchanges[i]->client;
	}
	return n;
}

/*
 * Waits until one of at most MAX_CONCURRENCY exchanges is finished, and returns its
 * index.  All transfers of their clients make progress meanwhile.  Services
 * interrupts: so it may raise whatever CHECK_FOR_INTERRUPTS() does; but not between
 * an answer's arrival and its return, which would make it a lost one.
 */
int
http_wait(HttpExchange **exchanges, int nexchanges)
{
	HttpClient *waiting[MAX_CONCURRENCY];
	int			nwaiting;

	Assert(nexchanges > 0 && nexchanges <= MAX_CONCURRENCY);
	nwaiting = distinct_clients(exchanges, nexchanges, waiting);
	for (int i = 0; i < nwaiting; i++)
		resume_clock(waiting[i]);
	for (;;)
	{
		long		timeout_ms = -1;
		int			finished;

		for (int i = 0; i < nwaiting; i++)
		{
			long		turn_ms = client_turn(waiting[i]);

			if (turn_ms >= 0 && (timeout_ms < 0 || turn_ms < timeout_ms))
				timeout_ms = turn_ms;
		}
		if ((finished = find_finished(exchanges, nexchanges)) >= 0)
			return finished;
		for (int i = 0; i < nwaiting && (QueryCancelPending || ProcDiePending); i++)
			if ((finished = take_arrived(waiting[i], exchanges, nexchanges)) >= 0)
				return finished;
		CHECK_FOR_INTERRUPTS();
		clients_wait(waiting, nwaiting, timeout_ms);
	}
}

/*
 * Waits until one of several exchanges of one client is finished, and returns
 * its index, where nothing may be raised.  give_up is asked at least every 100
 * ms; once it says so, -1 is returned and the exchanges stay as they are.
 */
int
http_wait_quietly(HttpExchange **exchanges, int nexchanges,
				  bool (*give_up) (void *), void *arg)
{
	HttpClient *client = exchanges[0]->client;

	resume_clock(client);
	for (;;)
	{
		long		timeout_ms = client_turn(client);
		int			i;

		if ((i = find_finished(exchanges, nexchanges)) >= 0)
			return i;
		if (give_up(arg))
			return take_arrived(client, exchanges, nexchanges);
		client_poll(client, timeout_ms);
	}
}


/* ----------
 * Clients
 * ----------
 */

static void
client_cleanup(void *arg)
{
	HttpClient *client = arg;

	client_close(client);
	dlist_delete(&client->link);
	curl_url_cleanup(client->base);
	http_free_headers(client->headers);
	http_free_headers(client->body_headers);
	free(client->waited.fds);
	free(client->open.fds);
}

static char *
copy_or_null(const char *string)
{
	return string ? pstrdup(string) : NULL;
}

/*
 * Makes a client that lives as long as context, which must have no exchange of
 * its left when it goes.  The settings are copied; the credential is kept in
 * libcurl's memory only.  Raises an error when memory is short.
 */
HttpClient *
http_client_create(MemoryContext context, const HttpSettings *settings)
{
	static bool initialized = false;
	MemoryContext saved = MemoryContextSwitchTo(context);
	HttpClient *client = palloc0(sizeof(HttpClient));

	if (!initialized)
	{
		if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_ERROR),
					 errmsg("could not initialize libcurl")));
		transfer_wait_event = compat_wait_event("GitLabTransfer");
		back_off_wait_event = compat_wait_event("GitLabBackOff");
		initialized = true;
	}

	client->context = context;
	client->settings = *settings;
	client->settings.bearer = NULL;
	client->settings.base_url = NULL;
	client->settings.path_prefix = NULL;
	client->settings.user_agent = pstrdup(settings->user_agent);
	client->settings.proxy = copy_or_null(settings->proxy);
	client->settings.tls_ca_file = copy_or_null(settings->tls_ca_file);
	client->settings.tls_cert_file = copy_or_null(settings->tls_cert_file);
	client->settings.tls_key_file = copy_or_null(settings->tls_key_file);
	dlist_push_tail(&clients, &client->link);
	dlist_init(&client->transfers);
	client->clock = http_clock();
	client->timer_due = -1;
	client->callback.func = client_cleanup;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(context, &client->callback);

	client->base = curl_url();
	if (client->base == NULL ||
		!http_prepare_base(client, settings->base_url, settings->path_prefix) ||
		!http_prepare_headers(client, settings->bearer))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not prepare libcurl")));

	MemoryContextSwitchTo(saved);
	return client;
}


/* ----------
 * Exchanges
 * ----------
 */

/*
 * Sends the request, or rather: has it sent as soon as somebody waits.  Not
 * being able to is reported as any other failure is, by a finished exchange.
 */
void
http_start(HttpExchange *exchange)
{
	HttpClient *client = exchange->client;

	/* the time that the client lay idle is none of this transfer's */
	resume_clock(client);
	Assert(exchange->transfer->state == TRANSFER_NEW);
	transfer_prepare(exchange->transfer);
	dlist_push_tail(&client->transfers, &exchange->transfer->link);
	exchange->transfer->state = TRANSFER_QUEUED;
}

/*
 * Whatever is under way is the last attempt.  An exchange that waits for another
 * attempt is finished as it stands, and so is an attempt of which nothing has
 * gone out that could be carried out.
 */
void
http_last_attempt(HttpExchange *exchange)
{
	HttpTransfer *transfer = exchange->transfer;
	bool		waits = transfer->state == TRANSFER_BACKING_OFF;

	exchange->last = true;
	if (!waits && transfer->state != TRANSFER_QUEUED &&
		(transfer->state != TRANSFER_ACTIVE || exchange->sent))
		return;
	/* the policy has heard of the attempt, or there is none to tell of */
	exchange->policy = NULL;
	attempt_over(transfer, waits ? exchange->failure : HTTP_CANNOT_CONNECT);
}

/* Ends the exchange, finished or not, and frees all that belongs to it. */
void
http_exchange_free(HttpExchange *exchange)
{
	HttpTransfer *transfer = exchange->transfer;
	bool		large;

	transfer_detach(transfer);
	if (transfer->state != TRANSFER_NEW &&
		transfer->state != TRANSFER_FINISHED)
		dlist_delete(&transfer->link);
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	curl_url_cleanup(transfer->url);
	if (exchange->attachment && exchange->attachment_free)
		exchange->attachment_free(exchange->attachment);
	large = transfer->capacity >= LARGE_ANSWER;
	memory_free_zeroed(exchange->data, exchange->length);
	memory_free_zeroed(transfer->body, transfer->body_length);
	http_free_headers(transfer->headers);
	free(transfer->target);
	free(transfer);
	free(exchange);
	if (large)
		memory_give_back();
}


/* libcurl's version and TLS backend, as "7.88.1 (OpenSSL/3.0.20)". */
const char *
http_library_version(void)
{
	curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	return psprintf("%s (%s)", info->version,
					info->ssl_version ? info->ssl_version : "no TLS");
}
