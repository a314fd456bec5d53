/*-------------------------------------------------------------------------
 *
 * url.h
 *	  URLs: what may be a server's, and how their parts are written.
 *
 * libcurl's URL API does the parsing and the encoding.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_URL_H
#define GITLAB_PAT_URL_H

struct Curl_URL;				/* libcurl's CURLU */

/* How a URL is refused by http_check_url(). */
typedef enum HttpUrlProblem
{
	HTTP_URL_GOOD,
	HTTP_URL_MALFORMED,
	HTTP_URL_SCHEME,			/* none of those asked for */
	HTTP_URL_CREDENTIALS,		/* has user-info */
	HTTP_URL_EXTRA				/* has a query or a fragment */
} HttpUrlProblem;

/* Raise an error when memory is short; what they return is palloc'ed. */
extern HttpUrlProblem http_check_url(const char *url, bool proxy,
									 bool *plain, bool *loopback);
extern char *http_normal_url(const char *url);
extern bool http_proxy_has_path(const char *url);
extern char *http_escape_segment(const char *segment);
extern char *http_url_parameter(const char *url, const char *name);

/* Raises no error; what it returns is malloc'ed. */
extern char *http_url_target(struct Curl_URL *url);

#endif							/* GITLAB_PAT_URL_H */
