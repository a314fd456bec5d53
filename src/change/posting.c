/*-------------------------------------------------------------------------
 *
 * posting.c
 *	  Asking GitLab for new tokens.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/ledger.h"
#include "change/posting.h"
#include "change/queue.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"

/*
 * The answer of a POST was lost.  Never sent again: it may have done its work.
 */
pg_noreturn static void
report_lost(Debt *debt, ApiCall *call, const char *action, const char *finder)
{
	char		description[API_DESCRIPTION_SIZE];
	char	   *server_name = pstrdup(call->connection->server_name);
	int			sqlstate = api_sqlstate(call);

	api_describe(call, description, sizeof(description));
	strike_debt(debt);
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("could not %s on server \"%s\": GitLab's answer was lost",
					action, server_name),
			 errdetail("%s A token may exist whose secret nobody knows.",
					   description),
			 errhint("Look for it, and revoke it if it is there: %s", finder)));
}

/*
 * Sends the POST that a debt is about, and waits for its answer.  The call
 * stays with the debt if an interrupt comes first, for then the rollback has
 * to deal with what it created; else it is given to the client.
 */
static ApiCall *
post_for_debt(const RemoteChange *change, Debt *debt, const char *path,
			  const char *body, const char *action, const char *finder,
			  int64 *id)
{
	ApiCall    *call;

	debt->finder = MemoryContextStrdup(ledger, finder);
	call = debt->call = api_call_create(debt->connection, "POST", path, body);
	if (call == NULL)
	{
		strike_debt(debt);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	api_call_start(call);
	api_wait(&debt->call, 1);

	switch (api_call_judge(call))
	{
		case API_SUCCEEDED:
			if (resource_id(call->record, id))
				break;
			call->problem = "The answer has no valid field \"id\"";
			report_lost(debt, call, action, finder);
		case API_LOST:
			report_lost(debt, call, action, finder);
		case API_REFUSED:
		case API_FAILED:
			debt->call = NULL;
			api_adopt(change->client, call);
			strike_debt(debt);
			api_check(call, action);
	}
	debt->call = NULL;
	api_adopt(change->client, call);
	debt->secret_hash = resource_text_hash(call->record, "token");
	assign_token(debt, *id);
	return call;
}

/*
 * Creates a token by a POST, at once.  finder is the SELECT that finds the
 * token should the answer be lost.  Returns the call with GitLab's answer,
 * secret included, which belongs to the client, and the token's id.
 */
ApiCall *
transaction_create(const RemoteChange *change, const char *path,
				   const char *body, const char *action, const char *finder,
				   int64 *id)
{
	Debt	   *debt = enter_debt(change, DEBT_CREATED);
	ApiCall    *call = post_for_debt(change, debt, path, body, action, finder,
									 id);

	log_change(debt, "created");
	return call;
}

/* The same for GitLab's own rotation, which nothing can undo. */
ApiCall *
transaction_rotate(const RemoteChange *change, int64 old_id, const char *body,
				   const char *finder, int64 *id)
{
	Debt	   *debt = enter_debt(change, DEBT_ROTATED);
	char		path[80];
	ApiCall    *call;

	debt->other_id = old_id;
	snprintf(path, sizeof(path), "%s/" INT64_FORMAT "/rotate",
			 resource_tokens->path, old_id);
	call = post_for_debt(change, debt, path, body,
						 psprintf("rotate personal access token " INT64_FORMAT, old_id),
						 finder, id);
	log_change(debt, psprintf("created in place of " INT64_FORMAT ", which is revoked,",
							  old_id));
	return call;
}
