/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  Interruptible HTTP exchanges: libcurl under PostgreSQL's event loop.
 *
 * A client is what exchanges with one server have in common: settings, open
 * connections and one libcurl multi handle.  An exchange is one request and its
 * answer, through as many attempts as its policy asks for.  Waiting comes in
 * two forms.  http_wait() answers to interrupts as any backend code does.
 * http_wait_quietly() raises nothing and allocates nothing from PostgreSQL, so
 * that commits and rollbacks can use it.
 *
 * This module knows nothing of GitLab, of JSON or of relations.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ENGINE_H
#define GITLAB_PAT_ENGINE_H

#include "http/exchange.h"
#include "http/request.h"

extern const char *http_library_version(void);

extern HttpClient *http_client_create(MemoryContext context,
									  const HttpSettings *settings);

extern void http_start(HttpExchange *exchange);
extern void http_last_attempt(HttpExchange *exchange);
extern void http_exchange_free(HttpExchange *exchange);

extern int	http_wait(HttpExchange **exchanges, int nexchanges);
extern int	http_wait_quietly(HttpExchange **exchanges, int nexchanges,
							  bool (*give_up) (void *), void *arg);

#endif							/* GITLAB_PAT_ENGINE_H */
