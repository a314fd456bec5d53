/*-------------------------------------------------------------------------
 *
 * fuzz_http.c
 *	  Fuzzing URLs; and what is an HTTP answer, byte by byte, to libcurl.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/engine.c"
#include "http/url.h"

/* Longer answers than a socket's buffer holds would have to be fed in turns. */
#define MAX_ANSWER (64 * 1024)

/* The server: it sends the same to everybody, whatever they ask for. */
typedef struct Server
{
	int			listener;		/* on a Unix socket without a file */
	char		name[64];
	int			peer;			/* the connection that was accepted, or -1 */
	const uint8 *answer;
	size_t		size;
} Server;

static void
open_server(Server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(server->name, sizeof(server->name), "gitlab_pat_fdw-fuzz-%d",
			 (int) getpid());
	strcpy(address.sun_path + 1, server->name);
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (server->listener < 0 ||
		bind(server->listener, (struct sockaddr *) &address,
			 offsetof(struct sockaddr_un, sun_path) + 1 +
			 strlen(server->name)) != 0 ||
		listen(server->listener, 8) != 0)
		fuzz_fail("no socket to listen on", strerror(errno));
}

/* Called at each turn of a wait: serves whoever has connected. */
static bool
serve(void *arg)
{
	Server	   *server = arg;

	if (server->peer >= 0 ||
		(server->peer = accept(server->listener, NULL, NULL)) < 0)
		return false;
	if (server->size > 0 &&
		write(server->peer, server->answer, server->size) != (ssize_t) server->size)
		fuzz_fail("the answer was not sent", strerror(errno));
	shutdown(server->peer, SHUT_WR);
	return false;
}

/* An exchange that was not carried out, but has a body that is JSON. */
HttpExchange *fuzz_headerless = NULL;

/* What http_header() is to the targets. */
const char *
fuzz_header(HttpExchange *exchange, const char *name)
{
	if (exchange != fuzz_headerless)
		return http_header(exchange, name);
	return strcmp(name, "Content-Type") == 0 ? "application/json" : NULL;
}

/*
 * Carries an exchange out with these bytes as all that the server sends.
 */
void
fuzz_exchange(HttpExchange *exchange, const uint8 *data, size_t size)
{
	static Server server = {.listener = -1};
	CURL	   *easy;

	if (server.listener < 0)
		open_server(&server);
	server.peer = -1;
	server.answer = data;
	server.size = Min(size, MAX_ANSWER);

	http_start(exchange);
	easy = exchange->transfer->easy;
	curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, server.name);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	(void) http_wait_quietly(&exchange, 1, serve, &server);
	if (server.peer >= 0)
		close(server.peer);
	if (!exchange->finished)
		fuzz_fail("the exchange did not finish", exchange->error);
	if (exchange->length > 0 && exchange->data[exchange->length] != '\0')
		fuzz_fail("the body is not terminated", "");
	if (exchange->failure == HTTP_NO_MEMORY ||
		exchange->failure == HTTP_CANNOT_CONNECT)
		fuzz_fail("the exchange was not carried out", exchange->error);
}

/* A base URL that was accepted must do for requests. */
static void
use_base(const char *url)
{
	HttpSettings settings = {
		.base_url = url,
		.path_prefix = "/api/v4",
		.user_agent = "fuzz",
		.bearer = FUZZ_CREDENTIAL,
		.connect_timeout = 1000,
		.request_timeout = 1000,
		.max_response_size = 1024,
	};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "base",
												  ALLOCSET_SMALL_SIZES);
	HttpClient *client = http_client_create(context, &settings);
	HttpExchange *exchange = http_exchange_create(client, "GET", "/users/1");
	const char *end = "/api/v4/users/1?search=a%2fb%26";
	char	   *part = NULL;

	if (exchange == NULL)
		fuzz_fail("no request can be made for this URL", url);
	http_add_parameter(exchange, "search", "a/b&");
	http_start(exchange);
	if (exchange->transfer->broken || exchange->target[0] != '/' ||
		strlen(exchange->target) < strlen(end) ||
		pg_strcasecmp(exchange->target + strlen(exchange->target) - strlen(end),
					  end) != 0)
		fuzz_fail("the path of the request is wrong", exchange->target);
	if (curl_url_get(exchange->transfer->url, CURLUPART_USER, &part, 0) == CURLUE_OK)
		fuzz_fail("the URL of the request has a user", url);
	http_exchange_free(exchange);
	MemoryContextDelete(context);
}

/* An escaped segment stays one segment, and is what it was. */
static void
check_segment(const char *segment)
{
	char	   *escaped = http_escape_segment(segment);
	char	   *back;

	if (strpbrk(escaped, "/?#&") != NULL)
		fuzz_fail("a segment is more than a segment", escaped);
	back = curl_easy_unescape(NULL, escaped, 0, NULL);
	if (strcmp(back, segment) != 0)
		fuzz_fail("a segment is not what it was", escaped);
	curl_free(back);
}

/* The first byte says what the others are: a URL, or a proxy's. */
void
fuzz_url(const uint8 *data, size_t size)
{
	char	   *url;
	bool		plain;
	bool		loopback;

	if (size == 0)
		return;
	url = fuzz_string(data + 1, size - 1);
	if (http_check_url(url, data[0] & 1, &plain, &loopback) == HTTP_URL_GOOD &&
		!(data[0] & 1))
		use_base(url);
	check_segment(url);
	(void) http_parse_date(url);
	(void) http_url_parameter(url, "cursor");
}
