/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  One attempt at a request, in libcurl's hands.
 *
 * No callback in here may raise an error, since libcurl's frames are on the stack:
 * callbacks note what is wrong in the transfer and make libcurl give up.
 *
 * libcurl returns to the engine only when a socket has nothing more to read, which
 * a hostile server can put off for ever.  Signals are blocked meanwhile, so that
 * the callbacks are the only ones to end it.  They refuse what makes libcurl
 * discard bytes in a loop, or decode them without delivering any, and they watch
 * how much CPU time one call of libcurl takes.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/clock.h"
#include "http/memory.h"
#include "http/transfer.h"
#include "http/watch.h"

/* Where poll(2) can't tell that the peer will send no more, a read can. */
#ifndef POLLRDHUP
#define POLLRDHUP POLLIN
#endif

/* Since 8.6; libcurl may be newer than its headers. */
#if LIBCURL_VERSION_NUM < 0x080600
#define CURLE_TOO_LARGE 100
#endif

/*
 * GitLab sends about 2 kB of headers; an honest proxy adds little to it.  Each
 * line counts for so much more than it has, as in HTTP/2.  A million short
 * lines end here, before libcurl's own limits, which differ between versions.
 */
#define MAX_HEADER_BYTES (64 * 1024)
#define HEADER_OVERHEAD 32

/*
 * Connections idle for longer are not used again.  nginx closes them after 65
 * to 75 seconds.  Below that, a request seldom meets a connection that the
 * server is about to close; a POST that does is an error.
 */
#define MAX_IDLE_SECONDS 55L

/*
 * A request that can't be repeated must not meet a connection that the server has
 * closed or is about to close.  It uses a connection that has just been in use, as
 * in a bulk load, or a new one.  libcurl counts whole seconds for each connection,
 * and versions before 8.16 round them down.  A client without an answer for half a
 * second therefore asks for a new connection.
 */
#define MAX_IDLE_SECONDS_UNREPEATABLE 1L
#define MAX_IDLE_USECS_UNREPEATABLE 500000

/* libcurl's own limit on connecting is wall-clock time; ours comes first. */
#define LIBCURL_CONNECT_SECONDS (24L * 60 * 60)


/*
 * The CPU time that one transfer may take within one call of libcurl, in us.  A page
 * of GitLab's takes less than a millisecond.  On a machine that does other things,
 * too, a cancel waits for several times as long.
 */
#define MAX_TURN_USECS 50000

/*
 * libcurl reads a buffer at most a hundred times in one call.  Even if they are
 * compressed well, so many bytes are decoded in less than MAX_TURN_USECS.
 */
#define BUFFER_BYTES 2048L

/*
 * HTTP/2 is offered by libcurl's versions that read a bounded number of bytes in
 * one call.  Those before 8.7 go on reading as long as frames come that bring no
 * data, and there is no callback in that loop.
 */
#define HTTP2_FIRST_VERSION 0x080700


/* Says why the attempt failed; the format has one number. */
void
transfer_set_error(HttpTransfer *transfer, const char *format, int number)
{
	snprintf(transfer->error, sizeof(transfer->error), format, number);
}


/*
 * Keeps the names of a certificate that was refused as another host's: before the
 * easy handle goes, with which libcurl's list of certificates goes, too.  GnuTLS's
 * list has no alternative names; the subject has to do there.
 */
void
transfer_note_certificate(HttpTransfer *transfer)
{
	static const char *const labels[] = {"X509v3 Subject Alternative Name:", "Subject:"};
	struct curl_certinfo *chain = NULL;

	transfer->certificate[0] = '\0';
	if (curl_easy_getinfo(transfer->easy, CURLINFO_CERTINFO, &chain) != CURLE_OK ||
		chain == NULL || chain->num_of_certs < 1)
		return;
	for (size_t i = 0; i < lengthof(labels); i++)
	{
		size_t		length = strlen(labels[i]);

		for (struct curl_slist *item = chain->certinfo[0]; item; item = item->next)
		{
			if (strncmp(item->data, labels[i], length) == 0 &&
				item->data[length] != '\0')
			{
				strlcpy(transfer->certificate, item->data + length,
						sizeof(transfer->certificate));
				return;
			}
		}
	}
}

/* Forgets what an attempt has been answered, before the next one begins. */
void
transfer_forget_answer(HttpTransfer *transfer)
{
	transfer->tunneling = false;
	transfer->header_bytes = 0;
	transfer->header_status = 0;
	transfer->codings = 0;
	transfer->refusal = HTTP_ANSWERED;
	transfer->reason[0] = '\0';
	transfer->certificate[0] = '\0';
}

/*
 * Says whether a kept connection will do, before an attempt begins; the client has
 * had no answer for so many us.
 */
void
transfer_choose_connection(HttpTransfer *transfer, int64 idle)
{
	if (transfer->body && strcmp(transfer->exchange->method, "POST") == 0)
		(void) curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT,
								idle > MAX_IDLE_USECS_UNREPEATABLE ? 1L : 0L);
}


/* ----------
 * What libcurl calls
 * ----------
 */

/* Notes why a callback gives up; the format has one number.  Returns false. */
static bool
refuse(HttpTransfer *transfer, HttpFailure failure, const char *format,
	   int number)
{
	if (transfer->refusal == HTTP_ANSWERED)
	{
		transfer->refusal = failure;
		snprintf(transfer->reason, sizeof(transfer->reason), format, number);
	}
	return false;
}

/* Gives up because the server has kept us busy for more than so many us. */
void
transfer_refuse_busy(HttpTransfer *transfer, int usecs)
{
	(void) refuse(transfer, HTTP_UNREADABLE,
				  "It has kept the client busy for more than %d ms", usecs / 1000);
}

/*
 * Whether the transfer has spent no more of this call of libcurl than it may.
 * Its share begins with the first callback; as long as no more time has passed
 * at all, the CPU's need not be looked at.  While a connection is made nothing
 * is measured, for a handshake takes its time, and what a proxy may say is
 * limited otherwise.
 */
static bool
within_turn(HttpTransfer *transfer)
{
	uint64		turn = transfer->exchange->client->turn;
	int64		now;

	if (transfer->tunneling)
		return true;
	now = http_clock();
	if (transfer->turn != turn)
	{
		transfer->turn = turn;
		transfer->turn_began = now;
		transfer->turn_began_cpu = http_cpu_clock();
	}
	if (now - transfer->turn_began <= MAX_TURN_USECS ||
		http_cpu_clock() - transfer->turn_began_cpu <= MAX_TURN_USECS)
		return true;
	transfer_refuse_busy(transfer, MAX_TURN_USECS);
	return false;
}

/* Called whenever libcurl has done something for the transfer. */
static int
on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow,
			curl_off_t ultotal, curl_off_t ulnow)
{
	(void) dltotal;
	(void) dlnow;
	(void) ultotal;
	(void) ulnow;
	return within_turn(arg) ? 0 : 1;
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpTransfer *transfer = arg;
	int			sockfd = socket(address->family, address->socktype,
								address->protocol);

	(void) purpose;
	if (sockfd < 0)
		return CURL_SOCKET_BAD;
	if (fcntl(sockfd, F_SETFD, FD_CLOEXEC) < 0 ||
		!sockets_set(&transfer->exchange->client->open, sockfd, POLLRDHUP))
	{
		(void) close(sockfd);
		return CURL_SOCKET_BAD;
	}
	/* until the connection stands, only a proxy can answer over it */
	transfer->tunneling = true;
	watch_connecting(true);
	return sockfd;
}

static int
on_close(void *arg, curl_socket_t sockfd)
{
	HttpClient *client = arg;

	sockets_remove(&client->open, sockfd);
	return close(sockfd);
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
	if (transfer->tunneling)
		watch_connecting(false);
	transfer->tunneling = false;
	transfer->turn = 0;
	if (transfer->body == NULL)
		transfer->exchange->sent = true;
	return CURL_PREREQFUNC_OK;
}

/*
 * Hands the request's body to libcurl, once.  When a connection that is used
 * again dies before the answer, libcurl would send the request a second time on
 * another one.  Without a seek function it can't rewind the body, and fails
 * instead.  The missing function keeps a POST from being carried out twice.
 */
static size_t
on_read(char *buffer, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		n = Min(size * nitems,
						transfer->body_length - transfer->body_offset);

	if (!within_turn(transfer))
		return CURL_READFUNC_ABORT;
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
		(void) refuse(transfer, HTTP_TOO_LARGE, "The limit is %d bytes",
					  (int) limit);
	else
		(void) within_turn(transfer);
	if (transfer->refusal != HTTP_ANSWERED)
		return 0;
	if (exchange->length + n + 1 > transfer->capacity)
	{
		size_t		capacity = Max(transfer->capacity * 2, 32 * 1024);
		char	   *data;

		while (capacity < exchange->length + n + 1)
			capacity *= 2;
		/* not realloc(), which would leave an old copy of a secret behind */
		data = malloc(capacity);
		if (data == NULL)
		{
			(void) refuse(transfer, HTTP_NO_MEMORY,
						  "There is none for more than %d bytes of the answer",
						  (int) exchange->length);
			return 0;
		}
		if (exchange->length > 0)
			memcpy(data, exchange->data, exchange->length);
		memory_free_zeroed(exchange->data, exchange->length);
		exchange->data = data;
		transfer->capacity = capacity;
	}
	memcpy(exchange->data + exchange->length, chunk, n);
	exchange->length += n;
	exchange->data[exchange->length] = '\0';
	return n;
}

/* The value of a header's line if it has this name, or NULL. */
static const char *
line_value(const char *line, size_t length, const char *name)
{
	size_t		name_length = strlen(name);

	return length > name_length && line[name_length] == ':' &&
		pg_strncasecmp(line, name, name_length) == 0 ?
		line + name_length + 1 : NULL;
}

/*
 * Counts the codings in a list of them, up to the line's end; those that are
 * free are not counted.
 */
static int
count_codings(const char *list, const char *end, const char *free)
{
	static const char separators[] = ", \t\r\n";
	int			count = 0;

	while (list < end)
	{
		const char *begin = list;

		while (list < end && strchr(separators, *list) == NULL)
			list++;
		if (list > begin &&
			((size_t) (list - begin) != strlen(free) ||
			 pg_strncasecmp(begin, free, list - begin) != 0))
			count++;
		list++;
	}
	return count;
}

/*
 * Looks at the codings that a header announces.  One coding makes a thousand times
 * as much of what comes, and the limit on what it delivers ends it.  Of two
 * codings, the first may deliver without end and the second nothing.
 */
static bool
accept_codings(HttpTransfer *transfer, const char *line, size_t length)
{
	const char *value = line_value(line, length, "Transfer-Encoding");

	if (value && count_codings(value, line + length, "chunked") > 0)
		return refuse(transfer, HTTP_UNREADABLE,
					  "Its transfer coding is not \"chunked\" alone", 0);
	value = line_value(line, length, "Content-Encoding");
	if (value)
		transfer->codings += count_codings(value, line + length, "identity");
	return transfer->codings <= 1 ||
		refuse(transfer, HTTP_UNREADABLE,
			   "It has %d content codings, of which one is accepted",
			   transfer->codings);
}

/*
 * The end of headers.  libcurl would read the body of a proxy's refusal, only to
 * discard it, until its end, and within one call.
 */
static bool
accept_headers(HttpTransfer *transfer)
{
	return !transfer->tunneling ||
		(transfer->header_status >= 200 && transfer->header_status < 300) ||
		refuse(transfer, HTTP_CANNOT_CONNECT,
			   "The proxy refused with HTTP status %d",
			   transfer->header_status);
}

/* The status of a status line, or 0 if it has none. */
static int
status_of(const char *line, size_t length)
{
	const char *blank = memchr(line, ' ', length);
	int			status = 0;

	if (blank == NULL)
		return 0;
	for (int i = 1; i <= 3 && blank + i < line + length; i++)
	{
		if (blank[i] < '0' || blank[i] > '9')
			return 0;
		status = status * 10 + (blank[i] - '0');
	}
	return status;
}

/* Looks at one line of the headers, which has no terminating NUL. */
static bool
accept_line(HttpTransfer *transfer, const char *line, size_t length)
{
	transfer->header_bytes += length + HEADER_OVERHEAD;
	if (transfer->header_bytes > MAX_HEADER_BYTES)
		return refuse(transfer, HTTP_TOO_LARGE, "The limit is %d bytes",
					  MAX_HEADER_BYTES);
	if (length > 0 && (line[0] == '\r' || line[0] == '\n'))
		return accept_headers(transfer);
	if (length > 5 && strncmp(line, "HTTP/", 5) == 0)
	{
		transfer->header_status = status_of(line, length);
		transfer->codings = 0;
		return true;
	}
	return transfer->tunneling || accept_codings(transfer, line, length);
}

static size_t
on_header(char *line, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;

	return within_turn(transfer) &&
		accept_line(transfer, line, size * nitems) ? size * nitems : 0;
}


/* ----------
 * Options
 * ----------
 */

/* Sets libcurl's options that all requests share. */
static CURLcode
set_common_options(CURL *easy, const HttpSettings *settings)
{
	unsigned int version = curl_version_info(CURLVERSION_NOW)->version_num;
	CURLcode	rc = CURLE_OK;

#define SETOPT(option, value) \
	do { if (rc == CURLE_OK) rc = curl_easy_setopt(easy, option, value); } while (0)

	SETOPT(CURLOPT_NOSIGNAL, 1L);
	SETOPT(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	SETOPT(CURLOPT_QUICK_EXIT, 1L);
	SETOPT(CURLOPT_PROTOCOLS_STR, "http,https");
	SETOPT(CURLOPT_FOLLOWLOCATION, 0L);
	SETOPT(CURLOPT_PATH_AS_IS, 1L);
	SETOPT(CURLOPT_USERAGENT, settings->user_agent);
	SETOPT(CURLOPT_ACCEPT_ENCODING, "");
	if (version >= HTTP2_FIRST_VERSION)
	{
		SETOPT(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
		SETOPT(CURLOPT_PIPEWAIT, 1L);
	}
	else
		SETOPT(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SETOPT(CURLOPT_TCP_KEEPALIVE, 1L);
	SETOPT(CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	SETOPT(CURLOPT_CONNECTTIMEOUT, LIBCURL_CONNECT_SECONDS);
	SETOPT(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SETOPT(CURLOPT_SSL_VERIFYPEER, settings->tls_verify ? 1L : 0L);
	SETOPT(CURLOPT_SSL_VERIFYHOST, settings->tls_verify ? 2L : 0L);
	/* see transfer_note_certificate(); nobody looks unless they are verified */
	SETOPT(CURLOPT_CERTINFO, settings->tls_verify ? 1L : 0L);
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

/* Sets all options of a request. */
CURLcode
transfer_set_options(HttpTransfer *transfer)
{
	HttpExchange *exchange = transfer->exchange;
	HttpClient *client = exchange->client;
	CURL	   *easy = transfer->easy;
	CURLcode	rc = set_common_options(easy, &client->settings);

	SETOPT(CURLOPT_PRIVATE, transfer);
	SETOPT(CURLOPT_CURLU, transfer->url);
	SETOPT(CURLOPT_ERRORBUFFER, transfer->error);
	SETOPT(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SETOPT(CURLOPT_OPENSOCKETDATA, transfer);
	SETOPT(CURLOPT_CLOSESOCKETFUNCTION, on_close);
	SETOPT(CURLOPT_CLOSESOCKETDATA, client);
	SETOPT(CURLOPT_WRITEFUNCTION, on_write);
	SETOPT(CURLOPT_WRITEDATA, transfer);
	SETOPT(CURLOPT_HEADERFUNCTION, on_header);
	SETOPT(CURLOPT_HEADERDATA, transfer);
	SETOPT(CURLOPT_XFERINFOFUNCTION, on_progress);
	SETOPT(CURLOPT_XFERINFODATA, transfer);
	SETOPT(CURLOPT_NOPROGRESS, 0L);
	SETOPT(CURLOPT_PREREQFUNCTION, on_connected);
	SETOPT(CURLOPT_PREREQDATA, transfer);
	SETOPT(CURLOPT_HTTPHEADER, transfer->headers ? transfer->headers :
		   transfer->body ? client->body_headers : client->headers);
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



/* ----------
 * Failures
 * ----------
 */

/*
 * Whether the server refused the TLS handshake, or answered in something else.
 * Then it will do so again.  libcurl has the same code for a connection that
 * broke off meanwhile: only the TLS library's words tell.
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

/* The outcome of an attempt that libcurl has ended. */
HttpFailure
transfer_failure(CURLcode code, const HttpTransfer *transfer)
{
	if (transfer->refusal != HTTP_ANSWERED)
		return transfer->refusal;
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
				transfer->exchange->length == 0 &&
				curl_version_info(CURLVERSION_NOW)->version_num < 0x080600 ?
				HTTP_TOO_LARGE : HTTP_NO_MEMORY;
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
		case CURLE_WRITE_ERROR: /* bytes behind the end of a gzip member */
			return HTTP_UNREADABLE;
		default:
			return transfer->connected ? HTTP_LOST : HTTP_CANNOT_CONNECT;
	}
}
