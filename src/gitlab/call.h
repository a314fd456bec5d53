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

#include "gitlab/body.h"
#include "gitlab/connection.h"
#include "gitlab/record.h"
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
	const char *containers[MAX_CONTAINERS]; /* as the resource names them;
											 * given to each record that
											 * GitLab sends without */
	const char *key;			/* of the object; NULL: it is a collection */
} ApiTarget;

/*
 * The verdict on a call: what is known of it, all of its attempts considered.
 * Computed once, by api_verdict().
 */
typedef enum ApiVerdict
{
	API_UNFINISHED,				/* there is no verdict yet */
	API_DONE,					/* carried out, and the answer could be read */
	API_ABSENT,					/* GitLab says that there is no such thing */
	API_REFUSED,				/* not carried out: GitLab, or a proxy, said
								 * no */
	API_NOTHING_SENT,			/* not carried out: nobody was asked */
	API_UNKNOWN					/* it may have been carried out */
} ApiVerdict;

/* Why the last attempt of a call was refused, whatever came of others. */
typedef enum ApiRefusal
{
	REFUSAL_NONE,				/* it was not, or the thing is absent */
	REFUSAL_REQUEST,			/* 400, 422: it makes no sense */
	REFUSAL_CREDENTIAL,			/* 401: who asks? */
	REFUSAL_RIGHTS,				/* 403: not for you */
	REFUSAL_CONFLICT,			/* 409: not in this state */
	REFUSAL_RATE,				/* 429: not so often */
	REFUSAL_OTHER
} ApiRefusal;

/* A value that was, one that will be, and how JSON writes either. */
#define API_SECRETS 6

typedef struct ApiCall
{
	dlist_node	link;			/* in its client's calls, if it has one */
	bool		owned;			/* by a client */
	Connection *connection;
	const Resource *resource;	/* what it is about, or NULL: tokens */
	struct HttpExchange *exchange;	/* for call.c and words.c only */
	bool		repeatable;		/* carrying it out twice does no harm */
	bool		woken;			/* was sent again after having slept */
	bool		cut_short;		/* another attempt, or the only one, was due
								 * when api_last_attempt() ended it */
	bool		stray;			/* an attempt that was repeated may be carried
								 * out yet, even later than the last one */
	bool		salvages;		/* its answer has a secret that nobody can get
								 * again: what is odd about it does not matter */
	bool		forbidden;		/* its 401 is about what was asked for, and
								 * not about the credential */
	ApiVerdict	verdict;		/* for api_verdict() only */
	struct ApiStatistics *statistics;	/* its client's, or NULL */
	const char *problem;		/* why a 2xx could not be read, or not all of
								 * it; a constant */
	char	   *secrets[API_SECRETS];	/* to remove from messages, too */
	JsonRecord *record;			/* the body's JSON; goes with the call */
	BodyList	list;			/* how far api_read_elements() has got */
} ApiCall;

/* Counters of a client's calls. */
typedef struct ApiStatistics
{
	int64		requests;		/* attempts, retries included */
	int64		retries;
	int64		pages;			/* answers of streams that were read */
	int64		rows;			/* records that streams delivered */
	int64		bytes;
	int64		wait_usecs;		/* of all attempts, which may overlap */
	int64		changes_sent;	/* creations that GitLab has carried out */
	int64		changes_pending;	/* writes and revocations that commit owes */
} ApiStatistics;

extern bool api_log_requests;	/* gitlab_pat_fdw.log_requests */

extern int	api_log_level(void);
extern void api_clean(const ApiCall *call, char *text, size_t max_bytes);

extern List *api_parameter(const char *name, const char *value);

/* Calls; none of these raises an error, and the waiting ones say so */
extern ApiCall *api_call_create(Connection *connection, const char *method,
								const char *path, const char *body);
extern void api_call_authorize(ApiCall *call, const char *secret);
extern void api_call_protect(ApiCall *call, const char *secret);
extern void api_add_parameter(ApiCall *call, const char *name,
							  const char *value);
extern void api_call_start(ApiCall *call);
extern void api_last_attempt(ApiCall *call);
extern int	api_wait_quietly(ApiCall **calls, int ncalls,
							 bool (*give_up) (void *), void *arg);
extern ApiVerdict api_verdict(ApiCall *call);
extern ApiRefusal api_refusal(const ApiCall *call);
extern bool api_is_lost(ApiCall *call);
extern bool api_left_stray(ApiCall *call);
extern bool api_was_given_up(ApiCall *call);
extern bool api_leaves_open(int status);
extern bool api_finished(const ApiCall *call);
extern int	api_attempts(const ApiCall *call);
extern bool api_answered(const ApiCall *call);
extern const char *api_header(ApiCall *call, const char *name);
extern int64 api_integer_header(ApiCall *call, const char *name);
extern int64 api_date(ApiCall *call);
extern char *api_link_parameter(ApiCall *call, const char *relation,
								const char *name);
extern int64 api_requested_wait(ApiCall *call);
extern bool api_has_media_type(ApiCall *call, const char *type);
extern JsonRecord *api_error_body(ApiCall *call);
extern bool api_read_elements(ApiCall *call);
extern void api_call_free(ApiCall *call);

/* Calls; these raise errors */
extern int	api_wait(ApiCall **calls, int ncalls);

#endif							/* GITLAB_PAT_CALL_H */
