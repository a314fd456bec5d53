/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What goes out with a request, and what the headers of its answer say.
 *
 * Hides how libcurl writes URLs and keeps headers, and that it keeps them in
 * memory of its own.  When and how often a request is sent is the engine's.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/memory.h"
#include "http/request.h"
#include "http/transfer.h"
#include "http/url.h"


/* ----------
 * What requests of a client share
 * ----------
 */

static bool
append_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

/* Frees headers, of which one has a credential. */
void
http_free_headers(struct curl_slist *headers)
{
	for (struct curl_slist *h = headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(headers);
}

/* The headers that every request carries, and those of one with a body. */
bool
http_prepare_headers(HttpClient *client, const char *bearer)
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
bool
http_prepare_base(HttpClient *client, const char *base_url,
				  const char *prefix)
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


/* ----------
 * One request
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
	exchange->certificate = transfer->certificate;
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

/*
 * Has a request without a body sent with another credential than the client's,
 * which is copied.
 */
void
http_set_bearer(HttpExchange *exchange, const char *bearer)
{
	HttpTransfer *transfer = exchange->transfer;
	size_t		size = strlen(bearer) + sizeof("Authorization: Bearer ");
	char	   *header = malloc(size);

	Assert(transfer->body == NULL);
	if (header)
		snprintf(header, size, "Authorization: Bearer %s", bearer);
	if (header == NULL ||
		!append_header(&transfer->headers, "Accept: application/json") ||
		!append_header(&transfer->headers, header))
		transfer->broken = true;
	memory_free_zeroed(header, size);
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


/* ----------
 * The headers of an answer
 * ----------
 */

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

/*
 * The value of a query parameter of the URL that the last answer links to with
 * this relation (RFC 8288), palloc'ed.  The result is empty if the URL has none
 * that can be read, and NULL without such a link.  Only the parameter is taken:
 * the URL itself may name another host.
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
			char	   *value = http_url_parameter(pnstrdup(link + 1, end - link - 1),
												   name);

			return value ? value : pstrdup("");
		}
		link = next;
	}
	return NULL;
}

/*
 * The end of the year 9999, where HTTP's dates end.  pg_gmtime() has no answer
 * for years that are much later, though libcurl reads them.
 */
#define LAST_DATE INT64CONST(253402300799)

/*
 * An HTTP date as Unix time, or -1 if it is none, or is before 1970 or after
 * 9999; never raises an error.
 */
int64
http_parse_date(const char *date)
{
	int64		when = (int64) curl_getdate(date, NULL);

	return when >= 0 && when <= LAST_DATE ? when : -1;
}
