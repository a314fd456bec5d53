/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Calls over one connection, several at a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/batch.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/option.h"

/*
 * Carries out a batch, with as many calls under way at a time as it says.  Once one
 * has failed, no more are started: those that nobody has received yet end, and the
 * others are waited for.
 *
 * Without patience this services interrupts and may raise their errors, the
 * batch's functions may raise errors, and the result is true.  With patience
 * nothing is raised, and the result is false once patience has run out: then
 * calls are left unfinished.
 */
bool
batch_run(Batch *batch, Patience *patience)
{
	ApiCall    *calls[MAX_CONCURRENCY];
	void	   *items[MAX_CONCURRENCY];
	int			limit = batch->concurrency ? batch->concurrency :
		batch->connection->concurrency;
	int			n = 0;
	bool		more = true;

	limit = Min(limit, MAX_CONCURRENCY);
	for (;;)
	{
		int			i;

		while (more && n < limit)
		{
			items[n] = batch->next(batch, &calls[n]);
			if (items[n] == NULL)
				more = false;
			else
				n++;
		}
		if (n == 0)
			return true;
		i = patience ?
			api_wait_quietly(calls, n, quiet_exhausted, patience) :
			api_wait(calls, n);
		if (i < 0)
			return false;
		if (!batch->finish(batch, items[i]))
		{
			more = false;
			for (int j = 0; j < n; j++)
				if (j != i)
					api_last_attempt(calls[j]);
		}
		if (patience)
			quiet_extend(patience, batch->connection);
		n--;
		calls[i] = calls[n];
		items[i] = items[n];
	}
}

/*
 * If the credential with which a finished call was refused has been replaced,
 * returns the connection with the new one, and a reference to it; otherwise
 * NULL.  Raises errors.
 */
Connection *
batch_renew(ApiCall *call, Oid userid)
{
	return api_refusal(call) == REFUSAL_CREDENTIAL ?
		connection_successor(call->connection, userid) : NULL;
}
