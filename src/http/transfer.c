/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  One attempt at a request, in libcurl's hands.
 *
 * No callback in here may raise an error, since libcurl's frames are on the stack:
 * callbacks note what is wrong in the transfer and make libcurl give up.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/exchange.h"
#include "http/memory.h"
#include "http/sockets.h"
#include "http/transfer.h"

/* Since 8.6; libcurl may be newer than its headers. */
#if LIBCURL_VERSION_NUM < 0x080600
#define CURLE_TOO_LARGE 100
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

/* libcurl's own limit on connecting is wall-clock time; ours comes first. */
#define LIBCURL_CONNECT_SECONDS (24L * 60 * 60)

/* Where poll(2) can't tell that the peer will send no more, a read can. */
#ifndef POLLRDHUP
#define POLLRDHUP POLLIN
#endif

void
set_error(HttpTransfer *transfer, const char *format, int number)
{
	snprintf(transfer->error, sizeof(transfer->error), format, number);
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

HttpFailure
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

CURLcode
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
