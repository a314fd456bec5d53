/*-------------------------------------------------------------------------
 *
 * call.h
 *	  GitLab's REST API: requests, retries, rate limits and errors.
 *
 * A call is one request to GitLab with its retries and its answer; words.c turns
 * a failed call into an error.  Calls live in malloc'ed memory and hold a
 * reference to their connection, so that a rollback can still use them.  Calls
 * of a client are freed with the memory context in which the client was opened.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CALL_H
#define GITLAB_PAT_CALL_H

#include "gitlab/connection.h"
#include "gitlab/resources.h"
#include "gitlab/record.h"
#include "http/exchange.h"
#include "nodes/pg_list.h"

/* A query parameter; its value is percent-encoded later. */
typedef struct ApiParameter
{
	const char *name;
	const char *value;
} ApiParameter;

/*
 * What to ask for: a collection's listing, or one object.  Texts are in UTF-8;
 * all of it must live as long as what reads it.
 */
typedef struct ApiTarget
{
	const char *path;			/* below the API's root, percent-encoded */
	List	   *parameters;		/* of ApiParameter, beside others */
	const char *container;		/* given to each record as the field that the
								 * resource names; or NULL */
	const char *key;			/* of the object; NULL: it is a collection */
} ApiTarget;

/* What a call came to. */
typedef enum ApiOutcome
{
	API_SUCCEEDED,				/* 2xx, and the body could be read */
	API_REFUSED,				/* GitLab said no */
	API_FAILED,					/* it was not carried out, or that is harmless */
	API_LOST					/* it may have been carried out */
} ApiOutcome;

/* A value that was, one that will be, and how JSON writes either. */
#define API_SECRETS 6

typedef struct ApiCall
{
	dlist_node	link;			/* in its client's calls, if it has one */
	bool		owned;			/* by a client */
	Connection *connection;
	const Resource *resource;	/* what it is about, or NULL: tokens */
	HttpExchange *exchange;
	bool		repeatable;		/* carrying it out twice does no harm */
	bool		woken;			/* was sent again after having slept */
	bool		in_doubt;		/* an attempt that was repeated may have been
								 * carried out, even later than the last one;
								 * known once it is judged */
	bool		judged;			/* outcome and record are set */
	ApiOutcome	outcome;
	struct ApiStatistics *statistics;	/* its client's, or NULL */
	const char *problem;		/* why a 2xx could not be read; a constant */
	char	   *secrets[API_SECRETS];	/* to remove from messages, too */
	JsonRecord *record;			/* the body's JSON; goes with the call */
} ApiCall;

/* What a client's calls came to. */
typedef struct ApiStatistics
{
	int64		requests;		/* attempts, retries included */
	int64		retries;
	int64		pages;			/* answers of streams that were read */
	int64		rows;			/* records that streams delivered */
	int64		bytes;
	int64		wait_usecs;		/* of all attempts, which may overlap */
} ApiStatistics;

/* GitLab's tokens are longer; shorter words stand in many a message. */
#define MIN_SECRET_LENGTH 8

extern bool api_log_requests;	/* gitlab_pat_fdw.log_requests */

extern int	api_log_level(void);

extern List *api_parameter(const char *name, const char *value);

/* Calls; none of these raises an error, and the waiting ones say so */
extern ApiCall *api_call_create(Connection *connection, const char *method,
								const char *path, const char *body);
extern void api_call_protect(ApiCall *call, const char *secret);
extern void api_call_start(ApiCall *call);
extern int	api_wait_quietly(ApiCall **calls, int ncalls,
							 bool (*give_up) (void *), void *arg);
extern ApiOutcome api_call_judge(ApiCall *call);
extern bool api_came_to_nothing(ApiCall *call);
extern bool api_is_absent(const ApiCall *call);
extern int64 api_integer_header(HttpExchange *exchange, const char *name);
extern void api_call_free(ApiCall *call);

/* Calls; these raise errors */
extern int	api_wait(ApiCall **calls, int ncalls);

extern int64 requested_wait(HttpExchange *exchange);
extern bool has_media_type(HttpExchange *exchange, const char *type);

#endif							/* GITLAB_PAT_CALL_H */
