/*-------------------------------------------------------------------------
 *
 * posting.h
 *	  Asking GitLab for new tokens.
 *
 * A POST is about a debt, which is entered into the ledger before the POST goes out
 * and learns what came of it.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_POSTING_H
#define GITLAB_PAT_POSTING_H

#include "change/ledger.h"
#include "change/place.h"

/* A token that is asked for. */
typedef struct TokenOrder
{
	const TokenPlace *place;
	const char *path;
	const char *body;
	const char *action;			/* completes "could not ... on server" */
	int64		old_id;			/* of the token that it replaces; 0: none */
	int64		owner;			/* 0: not known */
	bool		finds_by_owner; /* its SELECT names the owner */
	const char *name;			/* or NULL */
	JsonRecord *asked;			/* the fields that the answer must have */
	bool		bot_is_untold;	/* but for those of the token's bot user */
} TokenOrder;

/* One of several tokens that are created at a time. */
typedef struct Creation
{
	TokenOrder	order;
	Debt	   *debt;			/* NULL: not sent yet */
	JsonRecord *answer;			/* what GitLab answered */
} Creation;

/*
 * These raise errors.  What GitLab answered, secret included, is in the current memory
 * context.
 */
extern void posting_expect_place(const Resource *resource, TokenOrder *order);
extern JsonRecord *posting_create(const RemoteChange *change,
								  const TokenOrder *order, int64 *id);
extern void posting_create_all(const RemoteChange *change,
							   Creation *creations, int ncreations);
extern JsonRecord *posting_rotate(const RemoteChange *change,
								  const TokenOrder *order);

#endif							/* GITLAB_PAT_POSTING_H */
