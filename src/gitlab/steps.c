/*-------------------------------------------------------------------------
 *
 * steps.c
 *	  Requests in a fixed order, some of them under way at a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/connection.h"
#include "gitlab/steps.h"
#include "lib/stringinfo.h"

/* The steps belong to the current memory context; nothing is sent yet. */
void
steps_init(Steps * steps, ApiClient *client, int concurrency,
		   ApiCall *(*make_call) (void *owner, int64 step), void *owner)
{
	steps->client = client;
	steps->concurrency = concurrency;
	steps->make_call = make_call;

	steps->owner = owner;
	steps->last = -1;
	steps->window = palloc0(sizeof(ApiCall *) * (concurrency + 1));
}

static ApiCall **
step_slot(const Steps * steps, int64 step)
{
	return &steps->window[step % (steps->concurrency + 1)];
}

/* The call of a step that is current or under way. */
ApiCall *
steps_call(const Steps * steps, int64 step)
{
	return *step_slot(steps, step);
}

/* Sends a step's request, if there is one, and remembers it in the window. */
void
steps_send(Steps * steps, int64 step)
{
	ApiCall    *call = steps->make_call(steps->owner, step);

	*step_slot(steps, step) = call;
	if (call)
		api_call_start(call);
	steps->sent = Max(steps->sent, step);
}

void
steps_free(Steps * steps, int64 step)
{
	ApiCall   **slot = step_slot(steps, step);

	if (*slot)
		api_call_free(*slot);
	*slot = NULL;
}

/* Ends what is under way and forgets all steps. */
void
steps_restart(Steps * steps)
{
	for (int i = 0; i <= steps->concurrency; i++)
		steps_free(steps, i);
	steps->current = steps->sent = 0;
	steps->last = -1;
}

/* Waits for a step's answer; with a new credential if there is one. */
ApiCall *
steps_finish(Steps * steps, int64 step)
{
	ApiCall   **slot = step_slot(steps, step);

	for (;;)
	{
		api_wait(slot, 1);
		if (!api_credential_renewed(steps->client, *slot))
			return *slot;
		steps_free(steps, step);
		steps_send(steps, step);
	}
}

/* Names the purpose of a step and its container, for messages. */
char *
steps_action(const Resource *resource, const ApiTarget *target)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "read %s", resource->plural);
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
		appendStringInfo(&buf, "%s\"%s\"", i == 0 ? " of " : ", ",
						 connection_shown_name(target->containers[i]));
	return buf.data;
}
