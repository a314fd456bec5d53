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

#include "http/request.h"

#define http_header fuzz_header
#include "gitlab/pages.c"

/* Takes an answer for the first page of a list, and for the second one. */
void
fuzz_take_page(ApiClient *client, ApiCall *call, const Resource *resource,
			   const char *order_by, bool descending)
{
	StreamListing listing = {.page_size = 20, .concurrency = 2,
		.order_by = order_by, .descending = descending
	};
	Stream	   *stream = stream_list(client, resource, &listing);

	PG_TRY();
	{
		for (int page = 1; page <= 2 && !stream->ended; page++)
		{
			stream->current = page;
			stream->sent = Max(stream->sent, page);
			stream->nrecords = 0;
			take_page(stream, call);
			if (stream->nrecords > (int) json_object_array_length(call->record))
				fuzz_fail("a page has more records than elements", "");
			if (page == 2 && stream->nrecords > 0)
				fuzz_fail("a record came twice", "");
			learn_paging(stream, call);
		}
	}
	FUZZ_EXPECT(ERRCODE_PROTOCOL_VIOLATION,
				ERRCODE_T_R_SERIALIZATION_FAILURE);
	stream_end(stream);
}
