/*-------------------------------------------------------------------------
 *
 * pages.h
 *	  Reading a list of GitLab's objects in pages.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PAGES_H
#define GITLAB_PAT_PAGES_H

#include "compat.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/listing.h"
#include "gitlab/record.h"
#include "gitlab/resources.h"
#include "gitlab/seen.h"

typedef enum StreamKind
{
	STREAM_PAGES,				/* offset paging */
	STREAM_KEYSET,				/* each page names the next one */
	STREAM_LOOKUPS				/* one object a step */
} StreamKind;

struct Stream
{
	ApiClient  *client;
	const Resource *resource;
	StreamKind	kind;
	MemoryContext context;
	StreamListing listing;
	int			concurrency;
	const ApiTarget *targets;	/* one for each lookup, or that of the listing */
	ApiTarget	whole;			/* the target of a resource's only collection */
	const char *action;			/* for messages */
	SeenIds    *seen;

	/* steps are numbered from 1 */
	int64		current;		/* the step being delivered, 0: none yet */
	int64		sent;			/* the last step that was sent */
	int64		last;			/* the last step there is, or -1 if unknown */
	bool		ended;			/* there is no step after the current one */
	ApiCall   **window;			/* by step modulo concurrency + 1 */
	char	   *cursor;			/* of the next page, by keyset */
	bool		fitted;			/* the first page is smaller than the others */

	/* lookups of what is in containers */
	Stream	   *instead;		/* a listing in place of the lookup that did
								 * not bring one object, or NULL */

	/* noticing changes */
	char	   *frozen_at;		/* pages after the first were created by then */
	int			pass;			/* the listing is being read for this time */
	bool		restarted;		/* not all that was delivered came since */
	int64		total;			/* as the pages of this pass said, or -1 */
	bool		slid;			/* they did not agree */
	bool		brought_new;	/* this pass delivered something */
	int64		received;		/* different records, in all passes */
	int64		least;			/* and most: the totals of all passes */
	int64		most;
	Stream	   *late;			/* created within the first answer's second */
	bool		is_late;
	char	   *answered_by;	/* of a list in another order than that of
								 * ids: what is younger came after the first
								 * answer */
	char	   *previous_key;	/* for checking the order */

	/* the records of the current step */
	MemoryContext step_context;
	JsonRecord **records;
	int			nrecords;
	int			next_record;
	int			barren;			/* pages running that brought nothing new */
};

extern int	page_size(const Stream *stream);
extern ApiCall *step_call(Stream *stream, int64 step);
pg_noreturn extern void refuse_answer(Stream *stream, ApiCall *call,
									  const char *detail);
extern bool has_ids(const Resource *resource);
extern void add_container(Stream *stream, JsonRecord *record,
						  const ApiTarget *target);
extern bool may_be_absent(const Stream *stream, int64 step);
extern bool next_step(Stream *stream);

#endif							/* GITLAB_PAT_PAGES_H */
