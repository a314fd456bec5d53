/*-------------------------------------------------------------------------
 *
 * transfer.h
 *	  One attempt at a request, in libcurl's hands.
 *
 * Only files of this layer include this header.  The engine decides when an attempt begins
 * and ends; this module sets libcurl's options, takes what libcurl calls back
 * with, and says what a failure was.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TRANSFER_H
#define GITLAB_PAT_TRANSFER_H

#include <curl/curl.h>

#include "http/exchange.h"
#include "http/sockets.h"
#include "lib/ilist.h"

struct HttpClient
{
	dlist_node	link;			/* in the engine's clients */
	MemoryContext context;
	MemoryContextCallback callback;
	HttpSettings settings;		/* copies in context */
	CURLM	   *multi;			/* NULL while nothing is open */
	bool		damaged;		/* libcurl had no memory: see client_mend() */
	CURLU	   *base;			/* base_url and path_prefix */
	struct curl_slist *headers; /* of every request */
	struct curl_slist *body_headers;	/* of requests with a body */
	dlist_head	transfers;		/* not finished, whoever waits for them */
	int64		clock;			/* us; when the transfers were last driven */
	int64		timer_due;		/* us; when libcurl wants a call, or -1 */
	int64		answered;		/* us; when an attempt last had an answer, or
								 * 0 */
	uint64		turn;			/* number of the call of libcurl under way */
	bool		cut;			/* the last call was ended: see watch.h */
	SocketSet	waited;			/* what libcurl waits for */
	SocketSet	open;			/* all that it has opened, idle ones, too */
	struct KeptWaitSet *kept;	/* of waitset.c, or NULL */
	int			reserved;		/* descriptors that PostgreSQL knows of */
};

/*
 * The states of a transfer:
 *
 *	NEW			-> QUEUED		http_start()
 *	QUEUED		-> ACTIVE		attempt_begin()
 *	ACTIVE		-> BACKING_OFF	attempt_over(), if the policy says so
 *	BACKING_OFF	-> ACTIVE		attempt_begin(), once it is time
 *	any but NEW	-> FINISHED		attempt_over()
 */
typedef enum TransferState
{
	TRANSFER_NEW,
	TRANSFER_QUEUED,			/* waits for its turn */
	TRANSFER_ACTIVE,			/* libcurl has it */
	TRANSFER_BACKING_OFF,		/* waits for resume_at */
	TRANSFER_FINISHED
} TransferState;

typedef struct HttpTransfer
{
	dlist_node	link;			/* in client's transfers, unless new/finished */
	TransferState state;
	HttpExchange *exchange;
	CURL	   *easy;
	CURLU	   *url;
	char	   *target;			/* owned; exchange->target */
	struct curl_slist *headers; /* owned; instead of the client's, or NULL */
	char	   *body;			/* owned */
	size_t		body_length;
	size_t		body_offset;	/* bytes handed to libcurl */
	size_t		capacity;		/* of exchange->data */
	bool		broken;			/* out of memory while being prepared */
	bool		connected;		/* the request could go out */
	int64		driven;			/* us, this attempt */
	int64		resume_at;		/* us, when backing off */
	int64		back_off;		/* us, length of the back-off */
	char		error[CURL_ERROR_SIZE];
	char		certificate[256];	/* of a refused one, its names */

	/* what the callbacks have seen of the answer */
	bool		tunneling;		/* headers are a proxy's, about CONNECT */
	size_t		header_bytes;	/* of all headers of the attempt, weighed */
	int			header_status;	/* of the headers under way, or 0 */
	int			codings;		/* of the body, named so far */
	uint64		turn;			/* the last call of libcurl that came by */
	int64		turn_began;		/* when it first did, by http_clock() ... */
	int64		turn_began_cpu; /* ... and in us of CPU time */
	HttpFailure refusal;		/* why a callback gave up, or HTTP_ANSWERED */
	char		reason[128];	/* and in words */
} HttpTransfer;

/* None of these raises an error. */
extern CURLcode transfer_set_options(HttpTransfer *transfer);
extern void transfer_forget_answer(HttpTransfer *transfer);
extern void transfer_choose_connection(HttpTransfer *transfer, int64 idle);
extern void transfer_set_error(HttpTransfer *transfer, const char *format,
							   int number);
extern void transfer_note_certificate(HttpTransfer *transfer);
extern void transfer_refuse_busy(HttpTransfer *transfer, int usecs);
extern HttpFailure transfer_failure(CURLcode code,
									const HttpTransfer *transfer);

#endif							/* GITLAB_PAT_TRANSFER_H */
