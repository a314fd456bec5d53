/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  Interruptible HTTP exchanges: libcurl under PostgreSQL's event loop.
 *
 * A client is what exchanges with one server have in common: settings, open
 * connections and one libcurl multi handle.  An exchange is one request and
 * its answer, through as many attempts as its policy asks for.  Waiting comes
 * in two forms: http_wait() answers to interrupts as any backend code does;
 * http_wait_quietly() raises nothing and allocates nothing from PostgreSQL,
 * and may therefore be used after a commit and during a rollback.
 *
 * This module knows nothing of GitLab, of JSON or of relations.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ENGINE_H
#define GITLAB_PAT_ENGINE_H

/* How a URL is refused by http_check_url(). */
typedef enum HttpUrlProblem
{
	HTTP_URL_GOOD,
	HTTP_URL_MALFORMED,
	HTTP_URL_SCHEME,			/* none of those asked for */
	HTTP_URL_CREDENTIALS,		/* has user-info */
	HTTP_URL_EXTRA				/* has a query or a fragment */
} HttpUrlProblem;

typedef struct HttpSettings
{
	const char *base_url;		/* without a trailing path of the API */
	const char *path_prefix;	/* put between base_url and each path */
	const char *user_agent;
	const char *bearer;			/* sent as "Authorization: Bearer ..." */
	const char *proxy;			/* NULL: libcurl's environment rules */
	const char *tls_ca_file;	/* NULL: the system's */
	const char *tls_cert_file;
	const char *tls_key_file;
	bool		tls_verify;
	int			connect_timeout;	/* ms, TLS handshake included */
	int			request_timeout;	/* ms, one attempt */
	int			max_response_size;	/* bytes, after decompression */
} HttpSettings;

typedef struct HttpClient HttpClient;

/* Why the last attempt of an exchange brought no HTTP answer. */
typedef enum HttpFailure
{
	HTTP_ANSWERED,				/* it did: see status */
	HTTP_CANNOT_CONNECT,
	HTTP_UNTRUSTED,				/* the server's certificate is no good */
	HTTP_TLS_FAILED,			/* what else trying again would not mend */
	HTTP_LOST,					/* the connection went away */
	HTTP_TIMED_OUT,
	HTTP_TOO_LARGE,				/* body or headers beyond the limit */
	HTTP_UNREADABLE,			/* not HTTP, or a coding that is broken */
	HTTP_NO_MEMORY
} HttpFailure;

typedef struct HttpExchange HttpExchange;

/*
 * Called after each attempt, outside libcurl's frames.  Returns the ms to wait
 * before the next attempt, or -1 if the exchange is finished.  Must not raise
 * errors: it also runs while a transaction is being aborted.
 */
typedef int (*HttpPolicy) (HttpExchange *exchange);

/*
 * One request and its answer.  Lives in malloc'ed memory, since it may outlive
 * any query: whoever creates an exchange arranges for http_exchange_free().
 */
struct HttpExchange
{
	/* for the creator to set before http_start() */
	HttpPolicy	policy;			/* NULL: one attempt */
	void	   *owner;			/* the policy's own */
	void	   *attachment;		/* freed by attachment_free, if set */
	void		(*attachment_free) (void *);

	/* for reading */
	HttpClient *client;
	const char *method;			/* a string constant */
	const char *target;			/* path and query, from http_start() on */
	bool		finished;
	bool		sent;			/* part of the body has gone out; if there is
								 * none, the request may have */
	bool		resent;			/* libcurl has sent it again, on a connection
								 * of its own choice */
	bool		slept;			/* nobody drove the attempt for a while */
	int			attempts;		/* begun so far */
	HttpFailure failure;		/* of the last attempt */
	int			status;			/* HTTP status, if answered */
	char	   *data;			/* body, NUL-terminated; NULL if none came */
	size_t		length;			/* of data, in bytes */
	int64		duration;		/* us that the last attempt was driven */
	int64		waited;			/* us spent waiting, all attempts */
	const char *error;			/* libcurl's words on the failure, or "" */

	struct HttpTransfer *transfer;	/* engine.c's own */
};

extern HttpUrlProblem http_check_url(const char *url, bool proxy,
									 bool *plain, bool *loopback);
extern char *http_escape_segment(const char *segment);
extern int64 http_parse_date(const char *date);
extern const char *http_library_version(void);

extern HttpClient *http_client_create(MemoryContext context,
									  const HttpSettings *settings);

extern HttpExchange *http_exchange_create(HttpClient *client,
										  const char *method,
										  const char *path);
extern void http_add_parameter(HttpExchange *exchange, const char *name,
							   const char *value);
extern void http_set_body(HttpExchange *exchange, const char *body);
extern void http_start(HttpExchange *exchange);
extern void http_last_attempt(HttpExchange *exchange);
extern const char *http_header(HttpExchange *exchange, const char *name);
extern char *http_link_parameter(HttpExchange *exchange, const char *relation,
								 const char *name);
extern void http_exchange_free(HttpExchange *exchange);

extern int	http_wait(HttpExchange **exchanges, int nexchanges);
extern int	http_wait_quietly(HttpExchange **exchanges, int nexchanges,
							  bool (*give_up) (void *), void *arg);

#endif							/* GITLAB_PAT_ENGINE_H */
