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

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "compat.h"
#include "http/engine.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "gitlab_pat_fdw needs libcurl 7.87 or later"
#endif

/* Since 8.6 and 8.16; libcurl may be newer than its headers. */
#if LIBCURL_VERSION_NUM < 0x080600
#define CURLE_TOO_LARGE 100
#endif
#if LIBCURL_VERSION_NUM < 0x081000
#define CURLMOPT_NETWORK_CHANGED ((CURLMoption) (CURLOPTTYPE_LONG + 17))
#define CURLMNWC_CLEAR_CONNS (1L << 1)
#endif

/*
 * GitLab sends about 2 kB of headers; an honest proxy adds little to it.  Each
 * line counts for so much more than it has, as in HTTP/2: so a million short
 * ones end here, before libcurl's own limits, which differ between versions.
 */
#define MAX_HEADER_BYTES (64 * 1024)
#define HEADER_OVERHEAD 32

/*
 * Connections idle for longer are not used again.  nginx closes them after 65
 * to 75 seconds: below that, a request seldom meets a connection that the
 * server is about to close, which for a POST would be an error.
 */
#define MAX_IDLE_SECONDS 55L

/*
 * A request that can't be repeated had better not meet a connection that the
 * server has closed meanwhile: it uses one that has just been in use, as in a
 * bulk load, or a new one.
 */
#define MAX_IDLE_SECONDS_UNREPEATABLE 1L

/* Connections kept open at most: as many as `concurrency` can ask for. */
#define MAX_IDLE_CONNECTIONS 32L

/* libcurl's own limit on connecting is wall-clock time; ours comes first. */
#define LIBCURL_CONNECT_SECONDS (24L * 60 * 60)

/* An attempt that nobody drove for longer than this has slept. */
#define SLEPT_USECS INT64CONST(1000000)

/* How long http_wait_quietly() may go without looking at the flags. */
#define QUIET_SLICE_MS 100

/* Socket events taken from one wait; what is left comes with the next. */
#define MAX_EVENTS 64

/* Where poll(2) can't tell that the peer will send no more, a read can. */
#ifndef POLLRDHUP
#define POLLRDHUP POLLIN
#endif

/* Some sockets, and what is waited for on each; malloc'ed. */
typedef struct SocketSet
{
	struct pollfd *fds;
	int			nfds;
	int			max_fds;
} SocketSet;

struct HttpClient
{
	MemoryContext context;
	MemoryContextCallback callback;
	HttpSettings settings;		/* copies in context */
	CURLM	   *multi;
	CURLU	   *base;			/* base_url and path_prefix */
	struct curl_slist *headers; /* of every request */
	struct curl_slist *body_headers;	/* of requests with a body */
	dlist_head	transfers;		/* not finished, whoever waits for them */
	int64		clock;			/* us; when the transfers were last driven */
	int64		timer_due;		/* us; when libcurl wants a call, or -1 */
	SocketSet	waited;			/* what libcurl waits for */
	SocketSet	open;			/* all that it has opened, idle ones, too */
};

typedef enum TransferState
{
	TRANSFER_NEW,
	TRANSFER_ACTIVE,			/* libcurl has it */
	TRANSFER_BACKING_OFF,		/* waits for resume_at */
	TRANSFER_FINISHED
} TransferState;

typedef struct HttpTransfer
{
	dlist_node	link;			/* in client's transfers, unless new/finished */
	TransferState state;
	HttpExchange *exchange;
	CURL	   *easy;
	CURLU	   *url;
	char	   *target;			/* owned; exchange->target */
	char	   *body;			/* owned */
	size_t		body_length;
	size_t		body_offset;	/* bytes handed to libcurl */
	size_t		capacity;		/* of exchange->data */
	size_t		header_bytes;
	bool		broken;			/* out of memory while being prepared */
	bool		connected;		/* the request could go out */
	int			limit;			/* that the answer exceeded, in bytes; or 0 */
	int64		driven;			/* us, this attempt */
	int64		resume_at;		/* us, when backing off */
	int64		back_off;		/* us, length of the back-off */
	char		error[CURL_ERROR_SIZE];
} HttpTransfer;

/* What pg_stat_activity shows; http_client_create() names them. */
static uint32 transfer_wait_event = PG_WAIT_EXTENSION;
static uint32 back_off_wait_event = PG_WAIT_EXTENSION;


/* ----------
 * Small helpers
 * ----------
 */

/* Monotonic clock in microseconds; waits must not jump with the wall clock. */
static int64
monotonic_usecs(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Frees memory that may have held a secret. */
static void
free_zeroed(char *data, size_t length)
{
	if (data != NULL)
	{
		explicit_bzero(data, length);
		free(data);
	}
}

static void
set_error(HttpTransfer *transfer, const char *format, int number)
{
	snprintf(transfer->error, sizeof(transfer->error), format, number);
}

/* Adds a socket to a set, or changes what is waited for on it. */
static bool
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

static void
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

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpClient *client = arg;
	int			sockfd = socket(address->family, address->socktype,
								address->protocol);

	(void) purpose;
	if (sockfd < 0)
		return CURL_SOCKET_BAD;
	if (fcntl(sockfd, F_SETFD, FD_CLOEXEC) < 0 ||
		!set_socket(&client->open, sockfd, POLLRDHUP))
	{
		(void) close(sockfd);
		return CURL_SOCKET_BAD;
	}
	return sockfd;
}

static int
on_close(void *arg, curl_socket_t sockfd)
{
	HttpClient *client = arg;

	remove_socket(&client->open, sockfd);
	return close(sockfd);
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

/*
 * The connection stands, TLS included, and the request is about to go out.  If it
 * has done so before, that was on a connection that had been kept, and died
 * before the answer.
 */
static int
on_connected(void *arg, char *local_ip, char *remote_ip, int local_port,
			 int remote_port)
{
	HttpTransfer *transfer = arg;

	(void) local_ip;
	(void) remote_ip;
	(void) local_port;
	(void) remote_port;
	transfer->exchange->resent = transfer->connected;
	transfer->connected = true;
	if (transfer->body == NULL)
		transfer->exchange->sent = true;
	return CURL_PREREQFUNC_OK;
}

/*
 * Hands the request's body to libcurl, once.  When a connection that is used
 * again dies before the answer, libcurl would send the request a second time
 * on another one; since there is no seek function, it can't rewind the body and
 * fails instead.  That is what keeps a POST from being carried out twice.
 */
static size_t
on_read(char *buffer, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		n = Min(size * nitems,
						transfer->body_length - transfer->body_offset);

	transfer->exchange->sent = true;
	memcpy(buffer, transfer->body + transfer->body_offset, n);
	transfer->body_offset += n;
	return n;
}

static size_t
on_write(char *chunk, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;
	HttpExchange *exchange = transfer->exchange;
	size_t		n = size * nitems;
	size_t		limit = exchange->client->settings.max_response_size;

	if (n > limit - exchange->length)
	{
		transfer->limit = (int) limit;
		return 0;
	}
	if (exchange->length + n + 1 > transfer->capacity)
	{
		size_t		capacity = Max(transfer->capacity * 2, 32 * 1024);
		char	   *data;

		while (capacity < exchange->length + n + 1)
			capacity *= 2;
		/* not realloc(), which would leave an old copy of a secret behind */
		data = malloc(capacity);
		if (data == NULL)
			return 0;
		if (exchange->length > 0)
			memcpy(data, exchange->data, exchange->length);
		free_zeroed(exchange->data, exchange->length);
		exchange->data = data;
		transfer->capacity = capacity;
	}
	memcpy(exchange->data + exchange->length, chunk, n);
	exchange->length += n;
	exchange->data[exchange->length] = '\0';
	return n;
}

static size_t
on_header(char *line, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;

	(void) line;
	transfer->header_bytes += size * nitems + HEADER_OVERHEAD;
	if (transfer->header_bytes > MAX_HEADER_BYTES)
	{
		transfer->limit = MAX_HEADER_BYTES;
		return 0;
	}
	return size * nitems;
}


/* ----------
 * Attempts
 * ----------
 */

/*
 * Did the server refuse the TLS handshake, or answer in something else?  Then
 * it will do so again.  libcurl has the same code for a connection that broke
 * off meanwhile: only the TLS library's words tell.
 */
static bool
handshake_refused(const char *words)
{
	static const char *const refusals[] = {
		"alert",				/* the server says so */
		"wrong version number", "unexpected TLS packet",	/* no TLS at all */
		"unsupported protocol"
	};

	for (int i = 0; i < (int) lengthof(refusals); i++)
		if (strstr(words, refusals[i]))
			return true;
	return false;
}

static HttpFailure
classify(CURLcode code, const HttpTransfer *transfer)
{
	switch ((int) code)
	{
		case CURLE_OK:
			return HTTP_ANSWERED;
		case CURLE_OUT_OF_MEMORY:

			/*
			 * so it was called before 8.6 if a line of the headers is too
			 * long
			 */
			return transfer->header_bytes > 0 &&
				transfer->exchange->length == 0 ? HTTP_TOO_LARGE : HTTP_NO_MEMORY;
		case CURLE_WRITE_ERROR:
			return transfer->limit > 0 ? HTTP_TOO_LARGE : HTTP_NO_MEMORY;
		case CURLE_TOO_LARGE:
			return HTTP_TOO_LARGE;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
			return transfer->connected ? HTTP_LOST : HTTP_UNTRUSTED;
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_SSL_ENGINE_NOTFOUND:
		case CURLE_SSL_ENGINE_SETFAILED:
		case CURLE_SSL_SHUTDOWN_FAILED:
		case CURLE_USE_SSL_FAILED:
			return transfer->connected ? HTTP_LOST : HTTP_TLS_FAILED;
		case CURLE_SSL_CONNECT_ERROR:
			return transfer->connected ? HTTP_LOST :
				handshake_refused(transfer->error) ? HTTP_TLS_FAILED :
				HTTP_CANNOT_CONNECT;
		case CURLE_BAD_CONTENT_ENCODING:
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_WEIRD_SERVER_REPLY:
			return HTTP_UNREADABLE;
		default:
			return transfer->connected ? HTTP_LOST : HTTP_CANNOT_CONNECT;
	}
}

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

/* Sets libcurl's options that all requests share. */
static CURLcode
set_common_options(CURL *easy, const HttpSettings *settings)
{
	CURLcode	rc = CURLE_OK;

#define SETOPT(option, value) \
	do { if (rc == CURLE_OK) rc = curl_easy_setopt(easy, option, value); } while (0)

	SETOPT(CURLOPT_NOSIGNAL, 1L);
	SETOPT(CURLOPT_QUICK_EXIT, 1L);
	SETOPT(CURLOPT_PROTOCOLS_STR, "http,https");
	SETOPT(CURLOPT_FOLLOWLOCATION, 0L);
	SETOPT(CURLOPT_PATH_AS_IS, 1L);
	SETOPT(CURLOPT_USERAGENT, settings->user_agent);
	SETOPT(CURLOPT_ACCEPT_ENCODING, "");
	SETOPT(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SETOPT(CURLOPT_PIPEWAIT, 1L);
	SETOPT(CURLOPT_TCP_KEEPALIVE, 1L);
	SETOPT(CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	SETOPT(CURLOPT_CONNECTTIMEOUT, LIBCURL_CONNECT_SECONDS);
	SETOPT(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SETOPT(CURLOPT_SSL_VERIFYPEER, settings->tls_verify ? 1L : 0L);
	SETOPT(CURLOPT_SSL_VERIFYHOST, settings->tls_verify ? 2L : 0L);
	if (settings->tls_ca_file)
	{
		/* instead of the system's, not in addition to them */
		SETOPT(CURLOPT_CAINFO, settings->tls_ca_file);
		SETOPT(CURLOPT_CAPATH, NULL);
	}
	if (settings->tls_cert_file)
		SETOPT(CURLOPT_SSLCERT, settings->tls_cert_file);
	if (settings->tls_key_file)
		SETOPT(CURLOPT_SSLKEY, settings->tls_key_file);
	if (settings->proxy)
	{
		SETOPT(CURLOPT_PROXY, settings->proxy);
		/* whatever the environment's no_proxy says */
		SETOPT(CURLOPT_NOPROXY, "");
	}
	/* what goes to GitLab must not go to a proxy on the way */
	SETOPT(CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	return rc;
}

static CURLcode
set_request_options(HttpTransfer *transfer)
{
	HttpExchange *exchange = transfer->exchange;
	HttpClient *client = exchange->client;
	CURL	   *easy = transfer->easy;
	CURLcode	rc = set_common_options(easy, &client->settings);

	SETOPT(CURLOPT_PRIVATE, transfer);
	SETOPT(CURLOPT_CURLU, transfer->url);
	SETOPT(CURLOPT_ERRORBUFFER, transfer->error);
	SETOPT(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SETOPT(CURLOPT_OPENSOCKETDATA, client);
	SETOPT(CURLOPT_CLOSESOCKETFUNCTION, on_close);
	SETOPT(CURLOPT_CLOSESOCKETDATA, client);
	SETOPT(CURLOPT_WRITEFUNCTION, on_write);
	SETOPT(CURLOPT_WRITEDATA, transfer);
	SETOPT(CURLOPT_HEADERFUNCTION, on_header);
	SETOPT(CURLOPT_HEADERDATA, transfer);
	SETOPT(CURLOPT_PREREQFUNCTION, on_connected);
	SETOPT(CURLOPT_PREREQDATA, transfer);
	SETOPT(CURLOPT_HTTPHEADER, transfer->body ? client->body_headers :
		   client->headers);
	if (transfer->body)
	{
		SETOPT(CURLOPT_POST, 1L);
		if (strcmp(exchange->method, "POST") == 0)
			SETOPT(CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS_UNREPEATABLE);
		SETOPT(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->body_length);
		SETOPT(CURLOPT_READFUNCTION, on_read);
		SETOPT(CURLOPT_READDATA, transfer);
	}
	SETOPT(CURLOPT_CUSTOMREQUEST, exchange->method);
	return rc;
}

/* Writes percent-escapes as RFC 3986 wants them; libcurl's versions differ. */
static void
upcase_escapes(char *text)
{
	for (char *p = text; p && (p = strchr(p, '%')) != NULL; p++)
		for (int i = 1; i <= 2 && p[i]; i++)
			p[i] = pg_ascii_toupper((unsigned char) p[i]);
}

/* Path and query of the request, for messages and logs. */
static char *
url_target(CURLU *url)
{
	char	   *path = NULL;
	char	   *query = NULL;
	char	   *target = NULL;

	if (curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK)
	{
		size_t		size;

		(void) curl_url_get(url, CURLUPART_QUERY, &query, 0);
		size = strlen(path) + (query ? strlen(query) : 0) + 2;
		target = malloc(size);
		if (target)
			snprintf(target, size, "%s%s%s", path, query ? "?" : "",
					 query ? query : "");
	}
	curl_free(path);
	curl_free(query);
	upcase_escapes(target);
	return target;
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

static bool
append_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

/* The headers that every request carries, and those of one with a body. */
static bool
prepare_headers(HttpClient *client, const char *bearer)
{
	size_t		size = strlen(bearer) + sizeof("Authorization: Bearer ");
	char	   *header = palloc(size);
	bool		good;

	snprintf(header, size, "Authorization: Bearer %s", bearer);
	good = append_header(&client->headers, "Accept: application/json") &&
		append_header(&client->headers, header) &&
		append_header(&client->body_headers, "Accept: application/json") &&
		append_header(&client->body_headers, "Content-Type: application/json") &&
		append_header(&client->body_headers, "Expect:") &&
		append_header(&client->body_headers, header);
	explicit_bzero(header, size);
	pfree(header);
	return good;
}

/* The URL that each request's URL begins with. */
static bool
prepare_base(HttpClient *client, const char *base_url, const char *prefix)
{
	char	   *path = NULL;
	char	   *joined;
	size_t		length;
	bool		good;

	if (curl_url_set(client->base, CURLUPART_URL, base_url, 0) != CURLUE_OK ||
		curl_url_get(client->base, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return false;
	length = strlen(path);
	while (length > 0 && path[length - 1] == '/')
		length--;
	joined = psprintf("%.*s%s", (int) length, path, prefix);
	good = curl_url_set(client->base, CURLUPART_PATH, joined, 0) == CURLUE_OK;
	pfree(joined);
	curl_free(path);
	return good;
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
 * Makes an exchange.  method must be a string constant; path goes below the
 * client's prefix and must be percent-encoded.  Allocates with malloc only, and
 * returns NULL when that fails.
 */
HttpExchange *
http_exchange_create(HttpClient *client, const char *method, const char *path)
{
	HttpExchange *exchange = calloc(1, sizeof(HttpExchange));
	HttpTransfer *transfer = calloc(1, sizeof(HttpTransfer));
	CURLU	   *url = curl_url_dup(client->base);
	char	   *prefix = NULL;
	char	   *joined = NULL;

	if (exchange && transfer && url &&
		curl_url_get(url, CURLUPART_PATH, &prefix, 0) == CURLUE_OK)
	{
		size_t		size = strlen(prefix) + strlen(path) + 1;

		joined = malloc(size);
		if (joined)
			snprintf(joined, size, "%s%s", prefix, path);
	}
	curl_free(prefix);
	if (joined == NULL ||
		curl_url_set(url, CURLUPART_PATH, joined, 0) != CURLUE_OK)
	{
		free(joined);
		curl_url_cleanup(url);
		free(transfer);
		free(exchange);
		return NULL;
	}
	free(joined);

	exchange->client = client;
	exchange->method = method;
	exchange->target = "";
	exchange->transfer = transfer;
	exchange->error = transfer->error;
	transfer->exchange = exchange;
	transfer->url = url;
	transfer->state = TRANSFER_NEW;
	return exchange;
}

/* Adds a parameter to the query; the value is percent-encoded here. */
void
http_add_parameter(HttpExchange *exchange, const char *name, const char *value)
{
	size_t		size = strlen(name) + strlen(value) + 2;
	char	   *pair = malloc(size);

	if (pair)
		snprintf(pair, size, "%s=%s", name, value);
	if (pair == NULL ||
		curl_url_set(exchange->transfer->url, CURLUPART_QUERY, pair,
					 CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK)
		exchange->transfer->broken = true;
	free(pair);
}

/* Gives the request a body, which is copied and zeroed after use. */
void
http_set_body(HttpExchange *exchange, const char *body)
{
	HttpTransfer *transfer = exchange->transfer;

	transfer->body = strdup(body);
	transfer->body_length = strlen(body);
	if (transfer->body == NULL)
		transfer->broken = true;
}

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

/*
 * The value of a header of the last answer, or NULL.  It belongs to the
 * exchange.  Of a header that came several times, the last one counts.
 */
const char *
http_header(HttpExchange *exchange, const char *name)
{
	struct curl_header *header;

	if (exchange->transfer->easy == NULL ||
		curl_easy_header(exchange->transfer->easy, name, 0, CURLH_HEADER, -1,
						 &header) != CURLHE_OK)
		return NULL;
	if (header->amount > 1 &&
		curl_easy_header(exchange->transfer->easy, name, header->amount - 1,
						 CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	/* libcurl 7.88 leaves the carriage return in a value that is empty */
	return header->value[strspn(header->value, " \t\r\n")] == '\0' ? "" :
		header->value;
}

/* The value of a parameter of a URL's query, palloc'ed, or NULL. */
static char *
url_parameter(const char *url, const char *name)
{
	CURLU	   *u = curl_url();
	char	   *query = NULL;
	char	   *result = NULL;
	size_t		length = strlen(name);

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		(void) curl_url_get(u, CURLUPART_QUERY, &query, 0);
	for (char *p = query; p && result == NULL; p = strchr(p, '&'))
	{
		if (*p == '&')
			p++;
		if (strncmp(p, name, length) == 0 && p[length] == '=')
		{
			char	   *value = p + length + 1;
			int			size = (int) strcspn(value, "&");

			/* to libcurl, a size of 0 means that of the string */
			char	   *decoded = size == 0 ? NULL :
				curl_easy_unescape(NULL, value, size, NULL);

			if (decoded)
				result = pstrdup(decoded);
			curl_free(decoded);
		}
	}
	curl_free(query);
	curl_url_cleanup(u);
	return result;
}

/*
 * The value of a query parameter of the URL that the last answer links to with
 * this relation (RFC 8288), palloc'ed; empty if the URL has none that can be
 * read, and NULL if there is no such link.  Only the parameter is taken: the URL
 * itself may name another host.
 */
char *
http_link_parameter(HttpExchange *exchange, const char *relation,
					const char *name)
{
	const char *link = http_header(exchange, "Link");
	char	   *wanted = psprintf("rel=\"%s\"", relation);

	while (link && (link = strchr(link, '<')) != NULL)
	{
		const char *end = strchr(link, '>');
		const char *next = end ? strchr(end, '<') : NULL;
		const char *found = end ? strstr(end, wanted) : NULL;

		if (found && (next == NULL || found < next))
		{
			char	   *value = url_parameter(pnstrdup(link + 1, end - link - 1),
											  name);

			return value ? value : pstrdup("");
		}
		link = next;
	}
	return NULL;
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


/* ----------
 * URLs and the library
 * ----------
 */

static bool
is_loopback(const char *host)
{
	struct in_addr v4;

	if (pg_strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &v4) == 1 &&
		(ntohl(v4.s_addr) >> 24) == 127;
}

static HttpUrlProblem
check_parts(CURLU *u, bool proxy, bool *plain, bool *loopback)
{
	static const char *const schemes[] = {"https", "http"};
	static const char *const proxy_schemes[] = {"http", "https", "socks4",
	"socks4a", "socks5", "socks5h"};
	static const CURLUPart extras[] = {CURLUPART_QUERY, CURLUPART_FRAGMENT};
	static const CURLUPart credentials[] = {CURLUPART_USER, CURLUPART_PASSWORD};
	const char *const *known = proxy ? proxy_schemes : schemes;
	int			nknown = proxy ? lengthof(proxy_schemes) : lengthof(schemes);
	bool		found = false;
	char	   *part = NULL;

	if (curl_url_get(u, CURLUPART_SCHEME, &part, 0) != CURLUE_OK)
		return HTTP_URL_MALFORMED;
	for (int i = 0; i < nknown; i++)
		found = found || pg_strcasecmp(part, known[i]) == 0;
	*plain = pg_strcasecmp(part, "http") == 0;
	curl_free(part);
	if (!found)
		return HTTP_URL_SCHEME;

	if (curl_url_get(u, CURLUPART_HOST, &part, 0) != CURLUE_OK)
		return HTTP_URL_MALFORMED;
	*loopback = is_loopback(part);
	curl_free(part);

	for (int i = 0; i < (int) lengthof(credentials); i++)
	{
		if (curl_url_get(u, credentials[i], &part, 0) == CURLUE_OK)
		{
			curl_free(part);
			return HTTP_URL_CREDENTIALS;
		}
	}
	for (int i = 0; i < (int) lengthof(extras); i++)
	{
		if (curl_url_get(u, extras[i], &part, 0) == CURLUE_OK)
		{
			curl_free(part);
			return HTTP_URL_EXTRA;
		}
	}
	return HTTP_URL_GOOD;
}

/*
 * Says what is wrong with a base URL, or with a proxy's URL; and, of a good
 * one, whether it is plain http and whether its host is this machine.
 */
HttpUrlProblem
http_check_url(const char *url, bool proxy, bool *plain, bool *loopback)
{
	CURLU	   *u = curl_url();
	unsigned int flags = CURLU_NON_SUPPORT_SCHEME;
	HttpUrlProblem problem;

	if (u == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	*plain = *loopback = false;
	if (curl_url_set(u, CURLUPART_URL, url,
					 proxy ? flags | CURLU_DEFAULT_SCHEME : flags) != CURLUE_OK)
		problem = HTTP_URL_MALFORMED;
	else
		problem = check_parts(u, proxy, plain, loopback);
	curl_url_cleanup(u);
	return problem;
}

/* Percent-encodes one segment of a path; the result is palloc'ed. */
char *
http_escape_segment(const char *segment)
{
	char	   *escaped = curl_easy_escape(NULL, segment, 0);
	char	   *result;

	if (escaped == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	result = pstrdup(escaped);
	curl_free(escaped);
	return result;
}

/* An HTTP date as Unix time, or -1; never raises an error. */
int64
http_parse_date(const char *date)
{
	return (int64) curl_getdate(date, NULL);
}

/* libcurl's version and TLS backend, as "7.88.1 (OpenSSL/3.0.20)". */
const char *
http_library_version(void)
{
	curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	return psprintf("%s (%s)", info->version,
					info->ssl_version ? info->ssl_version : "no TLS");
}
