/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What goes out with a request, and what the headers of its answer say.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_REQUEST_H
#define GITLAB_PAT_REQUEST_H

#include "http/exchange.h"

extern HttpExchange *http_exchange_create(HttpClient *client,
										  const char *method,
										  const char *path);
extern void http_add_parameter(HttpExchange *exchange, const char *name,
							   const char *value);
extern void http_set_bearer(HttpExchange *exchange, const char *bearer);
extern void http_set_body(HttpExchange *exchange, const char *body);

extern const char *http_header(HttpExchange *exchange, const char *name);
extern char *http_link_parameter(HttpExchange *exchange, const char *relation,
								 const char *name);
extern int64 http_parse_date(const char *date);

/* For the engine, which makes clients and frees what they had. */
struct curl_slist;
extern bool http_prepare_headers(HttpClient *client, const char *bearer);
extern bool http_prepare_base(HttpClient *client, const char *base_url,
							  const char *prefix);
extern void http_free_headers(struct curl_slist *headers);

#endif							/* GITLAB_PAT_REQUEST_H */
