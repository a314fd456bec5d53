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
	MemoryContext context;
	MemoryContextCallback callback;
	HttpSettings settings;		/* copies in context */
	CURLM	   *multi;
	CURLU	   *base;			/* base_url and path_prefix */
	struct curl_slist *headers; /* of every request */
	struct curl_slist *body_headers;	/* of requests with a body */
	dlist_head	transfers;		/* not finished, whoever waits for them */
	int64		clock;			/* us; when the transfers were last driven */
	int64		timer_due;		/* us; when libcurl wants a call, or -1 */
	SocketSet	waited;			/* what libcurl waits for */
	SocketSet	open;			/* all that it has opened, idle ones, too */
};

typedef enum TransferState
{
	TRANSFER_NEW,
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
	char	   *body;			/* owned */
	size_t		body_length;
	size_t		body_offset;	/* bytes handed to libcurl */
	size_t		capacity;		/* of exchange->data */
	size_t		header_bytes;
	bool		broken;			/* out of memory while being prepared */
	bool		connected;		/* the request could go out */
	int			limit;			/* that the answer exceeded, in bytes; or 0 */
	int64		driven;			/* us, this attempt */
	int64		resume_at;		/* us, when backing off */
	int64		back_off;		/* us, length of the back-off */
	char		error[CURL_ERROR_SIZE];
} HttpTransfer;

extern void set_error(HttpTransfer *transfer, const char *format, int number);
extern HttpFailure classify(CURLcode code, const HttpTransfer *transfer);
extern CURLcode set_request_options(HttpTransfer *transfer);

#endif							/* GITLAB_PAT_TRANSFER_H */
