/*-------------------------------------------------------------------------
 *
 * url.c
 *	  URLs: what may be a server's, and how their parts are written.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include "http/memory.h"
#include "http/url.h"

/* Writes percent-escapes as RFC 3986 wants them; libcurl's versions differ. */
static void
upcase_escapes(char *text)
{
	for (char *p = text; p && (p = strchr(p, '%')) != NULL; p++)
		for (int i = 1; i <= 2 && p[i]; i++)
			p[i] = pg_ascii_toupper((unsigned char) p[i]);
}

/*
 * Path and query of a request, for messages and logs; malloc'ed, or NULL when
 * memory is short.
 */
char *
http_url_target(CURLU *url)
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

/* The value of a parameter of a URL's query, palloc'ed, or NULL. */
char *
http_url_parameter(const char *url, const char *name)
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
 * Says what is wrong with a base URL, or with a proxy's URL.  Of a good one it
 * says whether it is plain http, and whether its host is this machine.
 */
HttpUrlProblem
http_check_url(const char *url, bool proxy, bool *plain, bool *loopback)
{
	CURLU	   *u = curl_url();
	unsigned int flags = CURLU_NON_SUPPORT_SCHEME;
	HttpUrlProblem problem;

	if (u == NULL)
		memory_report_exhausted();
	*plain = *loopback = false;
	if (curl_url_set(u, CURLUPART_URL, url,
					 proxy ? flags | CURLU_DEFAULT_SCHEME : flags) != CURLUE_OK)
		problem = HTTP_URL_MALFORMED;
	else
		problem = check_parts(u, proxy, plain, loopback);
	curl_url_cleanup(u);
	return problem;
}

/*
 * A base URL in the form that all ways of writing it share: without the port that
 * the scheme has anyway, and without slashes at its end.
 */
char *
http_normal_url(const char *url)
{
	CURLU	   *u = curl_url();
	char	   *host = NULL;
	char	   *whole = NULL;
	char	   *normal;

	if (u == NULL)
		memory_report_exhausted();
	if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK)
	{
		for (char *c = host; *c; c++)
			*c = pg_ascii_tolower(*c);
		(void) curl_url_set(u, CURLUPART_HOST, host, 0);
		(void) curl_url_get(u, CURLUPART_URL, &whole, CURLU_NO_DEFAULT_PORT);
	}
	normal = pstrdup(whole ? whole : url);
	for (size_t n = strlen(normal); n > 0 && normal[n - 1] == '/'; n--)
		normal[n - 1] = '\0';
	curl_free(host);
	curl_free(whole);
	curl_url_cleanup(u);
	return normal;
}

/*
 * Whether a proxy's URL has a path.  libcurl takes that of a SOCKS proxy on
 * "localhost" for the name of a Unix socket, which it would connect to as the
 * server's user.
 */
bool
http_proxy_has_path(const char *url)
{
	CURLU	   *u = curl_url();
	char	   *path = NULL;
	bool		found;

	if (u == NULL)
		memory_report_exhausted();
	(void) curl_url_set(u, CURLUPART_URL, url,
						CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME);
	(void) curl_url_get(u, CURLUPART_PATH, &path, 0);
	found = path && strcmp(path, "/") != 0 && path[0] != '\0';
	curl_free(path);
	curl_url_cleanup(u);
	return found;
}

/* Percent-encodes one segment of a path; the result is palloc'ed. */
char *
http_escape_segment(const char *segment)
{
	char	   *escaped = curl_easy_escape(NULL, segment, 0);
	char	   *result;

	if (escaped == NULL)
		memory_report_exhausted();
	result = pstrdup(escaped);
	curl_free(escaped);
	return result;
}
