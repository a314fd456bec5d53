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

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/listing.h"
#include "gitlab/pages.h"
#include "gitlab/steps.h"

ApiCall **
step_slot(Stream *stream, int64 step)
{
	return &stream->window[step % (stream->concurrency + 1)];
}

/* Sends a step's request, and remembers it in the window. */
void
send_step(Stream *stream, int64 step)
{
	ApiCall    *call = step_call(stream, step);

	*step_slot(stream, step) = call;
	api_call_start(call);
	stream->sent = Max(stream->sent, step);
}

void
free_step(Stream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	if (*slot)
		api_call_free(*slot);
	*slot = NULL;
}

/* Waits for a step's answer; with a new credential if there is one. */
ApiCall *
finish_step(Stream *stream, int64 step)
{
	ApiCall   **slot = step_slot(stream, step);

	for (;;)
	{
		api_wait(slot, 1);
		if (!api_credential_renewed(stream->client, *slot))
			return *slot;
		free_step(stream, step);
		send_step(stream, step);
	}
}
