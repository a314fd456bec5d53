/*-------------------------------------------------------------------------
 *
 * exchange.h
 *	  What an exchange is to those who ask for one, and to those who carry it out.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_EXCHANGE_H
#define GITLAB_PAT_EXCHANGE_H

/*
 * The highest value of the option "concurrency".  So it is also the most exchanges
 * that one wait takes, of one scan or of several, and the most connections that are
 * kept open.
 */
#define MAX_CONCURRENCY 32

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
	HTTP_UNTRUSTED,				/* the server's certificate is not trusted */
	HTTP_TLS_FAILED,			/* what else trying again would not mend */
	HTTP_LOST,					/* the connection went away */
	HTTP_TIMED_OUT,
	HTTP_TOO_LARGE,				/* body or headers beyond the limit */
	HTTP_UNREADABLE,			/* not HTTP, or what is not accepted of it */
	HTTP_NO_MEMORY,
	HTTP_NO_DESCRIPTORS			/* too many files and sockets are open */
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
	bool		last;			/* there is to be no other attempt, whatever
								 * the policy says: http_last_attempt() */
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
	const char *certificate;	/* the names of the one that was refused, or
								 * "" */

	struct HttpTransfer *transfer;	/* engine.c's own */
};

#endif							/* GITLAB_PAT_EXCHANGE_H */
