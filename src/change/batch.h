/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Calls over one connection, several at a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_BATCH_H
#define GITLAB_PAT_BATCH_H

#include "change/quiet.h"

/* A batch of calls.  Whoever needs more puts this first in a struct. */
typedef struct Batch Batch;

struct Batch
{
	Connection *connection;		/* over which all of the calls go */
	int			concurrency;	/* calls under way at a time; 0: as many as
								 * the connection allows */

	/* The next item, with its call, started; NULL: there is none left. */
	void	   *(*next) (Batch *batch, ApiCall **call);

	/* An item's call is finished.  False: it failed, so nothing more is sent. */
	bool		(*finish) (Batch *batch, void *item);
};

extern bool batch_run(Batch *batch, Patience *patience);
extern Connection *batch_renew(ApiCall *call, Oid userid);

#endif							/* GITLAB_PAT_BATCH_H */
