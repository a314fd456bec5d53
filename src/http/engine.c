/*-------------------------------------------------------------------------
 *
 * engine.c
 *	  Interruptible HTTP exchanges: libcurl under PostgreSQL's event loop.
 *
 * libcurl's multi-socket interface tells us which sockets it waits for and
 * when it wants to be called next; PostgreSQL's WaitEventSet does the waiting,
 * together with the process latch and the postmaster's death.  So a request
 * waits as any backend code does: it answers to cancel and terminate, absorbs
 * procsignal barriers, and ends with the postmaster.
 *
 * Two rules keep libcurl and PostgreSQL's longjmp apart.  No callback that
 * libcurl calls may raise an error: callbacks note what is wrong in the
 * exchange and make libcurl give up.  And interrupts are only serviced in
 * http_wait(), where none of libcurl's frames is on the stack.
 *
 * Deadlines are kept here and not by libcurl, because they must only run while
 * an exchange is driven: a look-ahead request of a cursor may lie still for
 * hours between two FETCHes.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "compat.h"
#include "http/clock.h"
#include "http/engine.h"
#include "http/exchange.h"
#include "http/memory.h"
#include "http/request.h"
#include "http/sockets.h"
#include "http/transfer.h"
#include "http/url.h"
#include "lib/ilist.h"
#include "miscadmin.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "gitlab_pat_fdw needs libcurl 7.87 or later"
#endif

/* Since 8.16; libcurl may be newer than its headers. */
#if LIBCURL_VERSION_NUM < 0x081000
#define CURLMOPT_NETWORK_CHANGED ((CURLMoption) (CURLOPTTYPE_LONG + 17))
#define CURLMNWC_CLEAR_CONNS (1L << 1)
#endif

/* Connections kept open at most: as many as `concurrency` can ask for. */
#define MAX_IDLE_CONNECTIONS 32L

/* An attempt that nobody drove for longer than this has slept. */
#define SLEPT_USECS INT64CONST(1000000)

/* How long http_wait_quietly() may go without looking at the flags. */
#define QUIET_SLICE_MS 100

/* Socket events taken from one wait; what is left comes with the next. */
#define MAX_EVENTS 64

/* What pg_stat_activity shows; http_client_create() names them. */
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
	if (poll(client->open.fds, client->open.nfds, 0) > 0)
		(void) curl_multi_setopt(client->multi, CURLMOPT_NETWORK_CHANGED,
								 CURLMNWC_CLEAR_CONNS);
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

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	(void) curl_multi_socket_action(client->multi, sockfd, mask, &running);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
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
		remove_socket(&client->waited, sockfd);
	else if (!set_socket(&client->waited, sockfd, events))
		return -1;
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpClient *client = arg;

	(void) multi;
	client->timer_due = timeout_ms < 0 ? -1 :
		monotonic_usecs() + (int64) timeout_ms * 1000;
	return 0;
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

	delay = exchange->policy ? exchange->policy(exchange) : -1;
	if (delay < 0)
	{
		transfer->state = TRANSFER_FINISHED;
		exchange->finished = true;
		dlist_delete(&transfer->link);
		return;
	}
	transfer->back_off = (int64) delay * 1000;
	transfer->resume_at = monotonic_usecs() + transfer->back_off;
}

/* Begins an attempt. */
static void
attempt_begin(HttpTransfer *transfer)
{
	HttpExchange *exchange = transfer->exchange;

	exchange->waited += transfer->back_off;
	exchange->attempts++;
	exchange->sent = false;
	exchange->resent = false;
	exchange->slept = false;
	exchange->status = 0;
	free_zeroed(exchange->data, exchange->length);
	exchange->data = NULL;
	exchange->length = 0;
	transfer->capacity = 0;
	transfer->back_off = 0;
	transfer->body_offset = 0;
	transfer->header_bytes = 0;
	transfer->connected = false;
	transfer->limit = 0;
	transfer->driven = 0;
	transfer->error[0] = '\0';

	if (transfer->easy == NULL)
	{
		transfer->easy = curl_easy_init();
		if (transfer->easy == NULL || set_request_options(transfer) != CURLE_OK)
			transfer->broken = true;
		transfer->target = url_target(transfer->url);
		if (transfer->target == NULL)
			transfer->broken = true;
		else
			exchange->target = transfer->target;
	}
	forget_closed(exchange->client);
	if (transfer->broken ||
		curl_multi_add_handle(exchange->client->multi,
							  transfer->easy) != CURLM_OK)
	{
		transfer->state = TRANSFER_BACKING_OFF;
		attempt_over(transfer, HTTP_NO_MEMORY);
		return;
	}
	transfer->state = TRANSFER_ACTIVE;
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
		transfer->exchange->status = (int) status;
		if (transfer->limit > 0)
			set_error(transfer, "The limit is %d bytes", transfer->limit);
		else if (code == CURLE_SEND_FAIL_REWIND)
			strlcpy(transfer->error,
					"The server closed the connection while the request was sent",
					sizeof(transfer->error));
		else if (code != CURLE_OK && transfer->error[0] == '\0')
			strlcpy(transfer->error, curl_easy_strerror(code),
					sizeof(transfer->error));
		attempt_over(transfer, classify(code, transfer));
	}
}


/* ----------
 * Driving a client
 * ----------
 */

/* Somebody waits again: the time that nobody waited does not count. */
static void
resume_clock(HttpClient *client)
{
	int64		now = monotonic_usecs();

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
	int64		now = monotonic_usecs();
	int64		elapsed = now - client->clock;
	int64		next = PG_INT64_MAX;
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
	collect_finished(client);

	dlist_foreach_modify(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, link, iter.cur);
		int			limit;

		if (transfer->state == TRANSFER_BACKING_OFF)
		{
			if (transfer->resume_at <= now)
				attempt_begin(transfer);
			else
				next = Min(next, transfer->resume_at - now);
		}
		else
		{
			if (time_left(transfer, &limit) <= 0)
			{
				set_error(transfer, transfer->connected ?
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

/* Is anything under way, or are there only back-offs? */
static uint32
wait_event(HttpClient *client)
{
	return client->waited.nfds > 0 ? transfer_wait_event : back_off_wait_event;
}

/* Waits for sockets, latch or timeout_ms, and lets libcurl act. */
static void
client_wait(HttpClient *client, long timeout_ms)
{
	WaitEventSet *set;
	WaitEvent	events[MAX_EVENTS];
	int			n;

	if (timeout_ms == 0)
		return;

	/*
	 * A set of its own for each wait: libcurl closes and opens sockets as it
	 * likes, and a set can't forget a descriptor.
	 */
	set = compat_wait_event_set(client->waited.nfds + 2);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
	for (int i = 0; i < client->waited.nfds; i++)
	{
		uint32		flags = 0;

		if (client->waited.fds[i].events & POLLIN)
			flags |= WL_SOCKET_READABLE;
		if (client->waited.fds[i].events & POLLOUT)
			flags |= WL_SOCKET_WRITEABLE;
		if (flags)
			AddWaitEventToSet(set, flags, client->waited.fds[i].fd, NULL, NULL);
	}
	n = WaitEventSetWait(set, timeout_ms, events, MAX_EVENTS,
						 wait_event(client));
	FreeWaitEventSet(set);

	for (int i = 0; i < n; i++)
	{
		int			mask = 0;

		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].events & WL_SOCKET_READABLE)
			mask |= CURL_CSELECT_IN;
		if (events[i].events & WL_SOCKET_WRITEABLE)
			mask |= CURL_CSELECT_OUT;
		if (mask)
			multi_act(client, events[i].fd, mask);
	}
}

/* The same with poll(2), for where a WaitEventSet may not be made. */
static void
client_poll(HttpClient *client, long timeout_ms)
{
	struct
	{
		int			fd;
		int			mask;
	}			ready[MAX_EVENTS];
	int			nready = 0;
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
	for (int i = 0; i < nready; i++)
		multi_act(client, ready[i].fd, ready[i].mask);
}

/*
 * Waits until one of the exchanges is finished, and returns its index.  All
 * must be of one client; all transfers of that client make progress meanwhile.
 * Services interrupts: so it may raise whatever CHECK_FOR_INTERRUPTS() does.
 */
int
http_wait(HttpExchange **exchanges, int nexchanges)
{
	HttpClient *client = exchanges[0]->client;

	resume_clock(client);
	for (;;)
	{
		long		timeout_ms;
		int			i;

		CHECK_FOR_INTERRUPTS();
		timeout_ms = client_turn(client);
		if ((i = find_finished(exchanges, nexchanges)) >= 0)
			return i;
		client_wait(client, timeout_ms);
	}
}

/*
 * The same where nothing may be raised.  give_up is asked at least every
 * 100 ms; once it says so, -1 is returned and the exchanges stay as they are.
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
			return -1;
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

	Assert(dlist_is_empty(&client->transfers));
	curl_multi_cleanup(client->multi);
	curl_url_cleanup(client->base);
	for (struct curl_slist *h = client->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	for (struct curl_slist *h = client->body_headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(client->headers);
	curl_slist_free_all(client->body_headers);
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
	dlist_init(&client->transfers);
	client->clock = monotonic_usecs();
	client->timer_due = -1;
	client->callback.func = client_cleanup;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(context, &client->callback);

	client->multi = curl_multi_init();
	client->base = curl_url();
	if (client->multi == NULL || client->base == NULL ||
		curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
		curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) ||
		curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer) ||
		curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) ||
		curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS,
						  MAX_IDLE_CONNECTIONS) ||
		!prepare_base(client, settings->base_url, settings->path_prefix) ||
		!prepare_headers(client, settings->bearer))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
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
	dlist_push_tail(&client->transfers, &exchange->transfer->link);
	attempt_begin(exchange->transfer);
}

/*
 * Whatever is under way is the last attempt: what waits for another one is
 * finished as it stands, and so is an attempt of which nothing has gone out that
 * could be carried out.
 */
void
http_last_attempt(HttpExchange *exchange)
{
	HttpTransfer *transfer = exchange->transfer;

	exchange->policy = NULL;
	if (transfer->state == TRANSFER_BACKING_OFF)
		attempt_over(transfer, exchange->failure);
	else if (transfer->state == TRANSFER_ACTIVE && !exchange->sent)
		attempt_over(transfer, HTTP_CANNOT_CONNECT);
}

/* Ends the exchange, finished or not, and frees all that belongs to it. */
void
http_exchange_free(HttpExchange *exchange)
{
	HttpTransfer *transfer = exchange->transfer;

	transfer_detach(transfer);
	if (transfer->state == TRANSFER_ACTIVE ||
		transfer->state == TRANSFER_BACKING_OFF)
		dlist_delete(&transfer->link);
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	curl_url_cleanup(transfer->url);
	if (exchange->attachment && exchange->attachment_free)
		exchange->attachment_free(exchange->attachment);
	free_zeroed(exchange->data, exchange->length);
	free_zeroed(transfer->body, transfer->body_length);
	free(transfer->target);
	free(transfer);
	free(exchange);
}

/* libcurl's version and TLS backend, as "7.88.1 (OpenSSL/3.0.20)". */
const char *
http_library_version(void)
{
	curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	return psprintf("%s (%s)", info->version,
					info->ssl_version ? info->ssl_version : "no TLS");
}
