/*-------------------------------------------------------------------------
 *
 * fuzz_pages.c
 *	  Fuzzing answers as pages of a list.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "gitlab/call.h"
#include "http/engine.h"

/*
 * A page that is asked for once more does not come.  To wait for it may take long, for an
 * answer may have told of a limit of requests.
 */
static int
wait_in_vain(ApiCall **calls, int ncalls)
{
	(void) calls;
	(void) ncalls;
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("nobody answers")));
}

#define http_header fuzz_header
#define api_wait wait_in_vain
#include "gitlab/pages.c"

/* Takes an answer for the first page of a list, and for the second one. */
void
fuzz_take_page(ApiClient *client, ApiCall *call, const Resource *resource,
			   const char *order_by, bool descending)
{
	StreamListing listing = {.page_size = 20, .concurrency = 2,
		.order_by = order_by, .descending = descending
	};
	Pages	   *pages = pages_open(client, resource, &listing);

	PG_TRY();
	{
		for (int page = 1; page <= 2 && !pages->ended; page++)
		{
			pages->steps.current = page;
			pages->steps.sent = Max(pages->steps.sent, page);
			pages->nrecords = 0;
			read_list(pages, call);
			take_page(pages, call);
			if (pages->nrecords > (int) json_object_array_length(call->record))
				fuzz_fail("a page has more records than elements", "");
			if (page == 2 && pages->nrecords > 0)
				fuzz_fail("a record came twice", "");
			learn_paging(pages, call);
		}
	}

	/*
	 * a page may lead to a question about the credential, which nobody
	 * answers
	 */
	FUZZ_EXPECT(ERRCODE_PROTOCOL_VIOLATION,
				ERRCODE_T_R_SERIALIZATION_FAILURE,
				ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
	pages_end(pages);
}
