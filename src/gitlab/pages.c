/*-------------------------------------------------------------------------
 *
 * pages.c
 *	  Reading a list of GitLab's objects in pages.
 *
 * Each page is a step.  The first step is taken alone; when more is asked for, up
 * to `concurrency` steps are under way.  Records come in the order of the steps.
 *
 * A listing by offsets is read while others create, use and revoke objects.  No id is
 * delivered twice.  Pages after the first are limited to what had been created when
 * that was answered; what was created within that second is asked for apart, by
 * `late`.  When rows leave the selection or enter it, later ones slide to other pages.
 * Then the total changes, and the listing is read again for what slid past; or in a
 * promised order, the two pages between which it did, at once.  Where nobody counts, each page
 * is asked for again after the next one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "gitlab/jsonc.h"
#include "gitlab/pages.h"
#include "gitlab/seen.h"
#include "gitlab/steps.h"
#include "gitlab/totals.h"
#include "gitlab/words.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A scan whose pages bring no new id this often running would never end. */
#define MAX_BARREN_PAGES 3

struct Pages
{
	const Resource *resource;
	bool		keyset;			/* each page names the next one */
	MemoryContext context;
	StreamListing listing;
	const ApiTarget *target;
	ApiTarget	whole;			/* the target of a resource's only collection */
	SeenObjects *seen;
	Steps		steps;
	bool		ended;			/* there is no step after the current one */
	char	   *cursor;			/* of the next page, by keyset */
	bool		fitted;			/* the first page is smaller than the others */
	bool		skipped;		/* the list may not be read, and need not be */
	SeenObjects *met;			/* of a part: what it has brought, for it may
								 * share some of its rows; or NULL */
	bool		still;			/* of a part: nothing new enters it */
	bool		uncounted;		/* a page came without a total, and others
								 * follow it */
	bool		reads_on;		/* this server counts no list */

	/* noticing changes */
	char	   *frozen_at;		/* pages after the first were created by then */
	bool		restarted;		/* not all that was delivered came since */
	Totals		totals;			/* what the pages said; while it is mending,
								 * the steps are what lies at its gaps */
	bool		utc_shown;		/* the listing's time stamps are in UTC */
	bool		is_elsewhere;	/* they, or what else is known, are not */
	Pages	   *late;			/* created within the first answer's second */
	bool		is_late;
	TimestampTz answered_by;	/* of a list in another order than that of
								 * ids: what is younger came after the first
								 * answer; 0: not known */
	bool		shifted;		/* the first page has what the others are not
								 * counted with */
	bool		scattered;		/* what late has may belong on any page */
	JsonRecord *late_record;	/* of late, not delivered yet; or NULL */
	RecordOrder *order;			/* the order, if the listing has promised one,
								 * and how far pages have been checked in it */
	RecordOrder delivered;		/* how far both pages and late have been
								 * delivered */

	/* the records of the current step */
	MemoryContext step_context;
	ApiCall    *mended[2];		/* what else they come from; or NULL */
	JsonRecord **records;
	int			nrecords;
	int			next_record;
	int			barren;			/* pages running that brought nothing new */
};

/*
 * Asks for the rows in the way that is right in any time zone, which is no more
 * exact: more than the first rows may be needed.
 */
static void
ask_elsewhere(Pages *pages)
{
	pages->listing.parameters = pages->listing.elsewhere;
	pages->listing.utc_only = false;
	pages->listing.expected_rows = 0;
	pages->fitted = false;
}

static int
page_size(const Pages *pages)
{
	return pages->fitted ? pages->listing.expected_rows :
		pages->listing.page_size;
}

static ApiCall *
page_call(Pages *pages, int64 number_of_page, int size)
{
	ApiCall    *call = listing_call(pages->steps.client, pages->resource,
									pages->target);
	char		number[32];

	listing_ask(&pages->listing, pages->resource, pages->steps.client,
				pages->frozen_at, call);
	snprintf(number, sizeof(number), "%d", size);
	api_add_parameter(call, "per_page", number);
	if (!pages->keyset)
	{
		snprintf(number, sizeof(number), INT64_FORMAT, number_of_page);
		api_add_parameter(call, "page", number);
	}
	else if (pages->cursor)
		api_add_parameter(call, listing_keyset_parameter(pages->resource),
						  pages->cursor);
	return call;
}

static ApiCall *
step_call(void *owner, int64 step)
{
	Pages	   *pages = owner;

	return page_call(pages, pages->totals.mending ?
					 totals_page_to_mend(&pages->totals, step) : step,
					 page_size(pages));
}

/*
 * Starts reading a collection.  The listing is copied, but for its parameters,
 * which must live as long as the pages.  The pages belong to the current
 * memory context, which must not outlive the client's.
 */
Pages *
pages_open(ApiClient *client, const Resource *resource,
		   const StreamListing *listing)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab records",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	Pages	   *pages = palloc0(sizeof(Pages));

	pages->resource = resource;
	pages->keyset = resource->keyset;
	pages->context = context;
	steps_init(&pages->steps, client, listing->concurrency, step_call, pages);
	totals_begin(&pages->totals);
	pages->step_context = AllocSetContextCreate(context, "GitLab page",
												ALLOCSET_SMALL_SIZES);
	pages->listing = *listing;
	pages->order = palloc0(sizeof(RecordOrder));
	pages->order->resource = resource;
	pages->order->field = listing->order_by;
	pages->order->descending = listing->descending;
	pages->delivered = *pages->order;
	if (listing->utc_only && zone_known(api_connection(client)) == ZONE_OTHER)
		ask_elsewhere(pages);
	pages->whole.path = resource->path;
	pages->target = listing->target ? listing->target : &pages->whole;
	pages->fitted = !pages->keyset && pages->listing.expected_rows > 0 &&
		pages->listing.expected_rows < listing->page_size;
	pages->seen = seen_create();
	MemoryContextSwitchTo(saved);
	return pages;
}

/*
 * The pages of what was created within the second of the first answer, or
 * after it.
 */
static Pages *
late_pages(Pages *pages)
{
	MemoryContext saved = MemoryContextSwitchTo(pages->context);
	StreamListing listing = pages->listing;
	Pages	   *late;

	listing.parameters = listing_between(&pages->listing, pages->resource, pages->frozen_at, NULL);
	listing.expected_rows = 0;
	late = pages_open(pages->steps.client, pages->resource, &listing);
	late->seen = pages->seen;
	late->is_late = true;
	late->utc_shown = pages->utc_shown;
	/* by which the pages have been delivered when late is read */
	late->order = pages->order;
	if (pages->answered_by)
		late->listing.order_by = NULL;	/* next_merged() puts it in order */
	MemoryContextSwitchTo(saved);
	return late;
}

/* The last step that the reader is expected to need; 0: nobody knows. */
static int64
expected_steps(const Pages *pages)
{
	return (pages->listing.expected_rows + page_size(pages) - 1) / page_size(pages);
}

/*
 * Whether the list is longer than GitLab counts, and more was asked for than
 * its first pages.  Then it has to be read in parts, for nobody would notice
 * that rows slide.
 */
bool
pages_are_long(const Pages *pages)
{
	return pages->uncounted && !pages->reads_on &&
		pages->steps.current >= expected_steps(pages);
}

/* Reads on as if the list were counted. */
void
pages_read_on(Pages *pages)
{
	pages->reads_on = true;
}

/* Sends the requests that are to be under way while `step` is waited for. */
static void
send_ahead(Pages *pages, int64 step)
{
	bool		expected = !pages->totals.mending && step <= expected_steps(pages);
	int64		until = step;

	/*
	 * Nobody knows yet whether more than the first page will be asked for.
	 * Without totals, a page that overtakes another one may miss a row.
	 */
	if (!pages->keyset && !pages->reads_on && (step > 1 || pages->totals.mending))
		until = step + pages->steps.concurrency - 1;
	if (expected)
		until = Min(until, expected_steps(pages));
	if (pages->steps.last >= 0)
		until = Max(Min(until, pages->steps.last), step);
	for (int64 i = pages->steps.sent + 1; i <= until; i++)
		steps_send(&pages->steps, i);

	/* what is created meanwhile is asked for as soon as there is room */
	if (pages->late && pages->late->steps.sent == 0 &&
		(!expected || pages->scattered) &&
		pages->steps.sent - step + 1 < pages->steps.concurrency)
		steps_send(&pages->late->steps, 1);
}

/*
 * Sends the first request of pages that will be read later.
 */
void
pages_prefetch(Pages *pages)
{
	if (pages->steps.sent == 0 && (pages->steps.last < 0 || pages->steps.last > 0))
		steps_send(&pages->steps, 1);
}

/*
 * What pages_next() would wait for, sent by now; NULL if that is not known, or if it
 * would not wait.
 */
ApiCall *
pages_awaited(Pages *pages)
{
	int64		step = pages->steps.current + 1;
	ApiCall    *call;

	if (pages->next_record < pages->nrecords || pages->is_elsewhere ||
		(pages->fitted && pages->steps.current > 0) || pages->ended ||
		pages_are_long(pages))
		return NULL;
	/* this step is waited for now, and no longer one that was sent ahead */
	send_ahead(pages, step);
	call = steps_call(&pages->steps, step);
	return call == NULL || api_finished(call) ? NULL : call;
}

/* Names the purpose of the pages, for messages. */
char *
pages_action(const Pages *pages)
{
	return steps_action(pages->resource, pages->target);
}

pg_noreturn static void
refuse_answer(Pages *pages, ApiCall *call, const char *detail)
{
	api_refuse_answer(call, pages_action(pages), detail);
}

/* The key of an object in a list.  Raises an error if the answer does not say it. */
static ObjectKey
object_key(Pages *pages, ApiCall *call, JsonRecord *record)
{
	ObjectKey	key;

	if (!seen_key(pages->resource, record, &key))
		refuse_answer(pages, call,
					  psprintf("An element of the answer has no valid field \"%s\"",
							   pages->resource->key));
	return key;
}

/* Raises the error of a list that changed too much while it was read. */
void
pages_refuse_changes(Pages *pages)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not %s on server \"%s\" because of concurrent changes",
					pages_action(pages),
					api_connection(pages->steps.client)->server_name),
			 errdetail("Rows moved between the pages of the list while it was read."),
			 errhint("The transaction might succeed if retried.")));
}

/* Whether the record was certainly created after the list's first answer. */
static bool
is_younger(const Pages *pages, JsonRecord *record)
{
	return pages->answered_by != 0 &&
		record_is_since(record, pages->answered_by);
}

/*
 * Checks that a record belongs after the one before in the order that was promised: by a
 * number or a date.  False if the record has come too late for its place but need not be
 * returned, since it was created while the scan went on.
 */
static bool
check_order(Pages *pages, ApiCall *call, JsonRecord *record, bool is_first)
{
	if (!order_allows(pages->order, record))
	{
		if (is_younger(pages, record))
			return false;
		/* of a list that changes, pages under way are answered in any order */
		if (pages->restarted || pages->is_late ||
			(is_first && !pages->keyset &&
			 totals_may_differ(&pages->totals, api_integer_header(call, "X-Total"))))
			pages_refuse_changes(pages);
		refuse_answer(pages, call,
					  "The answer is not in the order that was asked for");
	}
	order_advance(pages->order, record);
	return true;
}

/* Reads the elements of a list, however many there are, into the call's record. */
static void
read_list(Pages *pages, ApiCall *call)
{
	if (!json_object_is_type(call->record, json_type_array))
		refuse_answer(pages, call, "The answer is not a JSON array");
	while (api_read_elements(call))
		CHECK_FOR_INTERRUPTS();
	if (call->problem)
		api_report(call, pages_action(pages));
}

/*
 * Whether a page that was asked for as is right in UTC has come from elsewhere.
 * So it is taken if nothing shows that the instance's time zone is UTC: an
 * empty page does not.
 */
static bool
is_from_elsewhere(Pages *pages, ApiCall *call)
{
	InstanceZone zone = listing_zone(call);

	if (!pages->listing.utc_only)
		return false;
	if (zone == ZONE_UNKNOWN)
		zone = pages->utc_shown ? ZONE_UTC : api_zone(pages->steps.client);
	pages->utc_shown = zone == ZONE_UTC;
	return zone != ZONE_UTC;
}

/*
 * Adds the records of a page that have not come before.  True if the page begins with
 * one that has, but for what is younger than the list's first answer.  Then nothing
 * before the page can be missing.
 */
static bool
take_records(Pages *pages, ApiCall *call)
{
	size_t		n = json_object_array_length(call->record);
	Size		size = sizeof(JsonRecord *) * (pages->nrecords + Max(n, 1));
	bool		begun = false;
	bool		reaches_back = false;

	pages->records = pages->records ? repalloc(pages->records, size) :
		palloc(size);
	for (size_t i = 0; i < n; i++)
	{
		JsonRecord *record = json_object_array_get_idx(call->record, i);
		ObjectKey	key = object_key(pages, call, record);
		bool		fresh = seen_add(pages->met ? pages->met : pages->seen, &key);

		if (!begun && !is_younger(pages, record))
		{
			begun = true;
			reaches_back = !fresh;
		}
		if (!fresh)
			continue;
		pages->totals.received++;
		if (pages->met && !seen_add(pages->seen, &key))
			continue;
		record_name_containers(record, pages->resource,
							   pages->target->containers);
		pages->records[pages->nrecords++] = record;
	}
	return reaches_back;
}

static void
free_mended(Pages *pages)
{
	for (int i = 0; i < (int) lengthof(pages->mended); i++)
	{
		if (pages->mended[i])
			api_call_free(pages->mended[i]);
		pages->mended[i] = NULL;
	}
}

/*
 * Takes what has slid past where nobody counts: rows that have left the list moved others
 * to pages before this one.  Rows that enter it only move others to pages to come, for
 * one page is asked for at a time.
 */
static void
look_back(Pages *pages)
{
	int64		step = pages->steps.current - 1;

	for (int i = 0; step >= 1; i++, step--)
	{
		if (i == lengthof(pages->mended))
			pages_refuse_changes(pages);
		pages->mended[i] = pages_sample(pages, step);
		if (take_records(pages, pages->mended[i]))
			return;
	}
}

/*
 * Takes what may have slid past between the page before and this one, before this one's
 * records are taken.  In a promised order they come first, and whoever has a LIMIT does
 * not read the list to its end, where it would turn out that they are missing.  They are
 * on one of the two pages now: see totals.h.  Nobody knows whether any are where GitLab
 * does not count; and if it counts no part of the list either, its end will not tell.
 */
static void
mend(Pages *pages, ApiCall *call)
{
	int64		total = api_integer_header(call, "X-Total");
	int64		step = pages->steps.current;
	ApiCall   **mended = pages->mended;
	bool		may_miss = pages->uncounted || total < 0 ? step > 1 :
		(pages->shifted && step == 2) || total < pages->totals.last;

	if (pages->keyset || pages->is_late || pages->totals.mending || !may_miss)
		return;
	if (pages->uncounted && pages->reads_on)
	{
		look_back(pages);
		return;
	}
	if (pages->listing.order_by == NULL)
		return;
	mended[0] = pages_sample(pages, step - 1);
	/* nothing comes before the first page */
	if (!take_records(pages, mended[0]) && step > 2)
		pages_refuse_changes(pages);
	if (step == 2)
	{
		/* the first answer has counted what the others do not */
		totals_forget(&pages->totals);
		if (api_integer_header(mended[0], "X-Total") >= 0)
			totals_note(&pages->totals, pages->context, step - 1,
						api_integer_header(mended[0], "X-Total"));
	}
	mended[1] = pages_sample(pages, step);
	if (total >= 0 && api_integer_header(mended[1], "X-Total") - total > page_size(pages))
		pages_refuse_changes(pages);
	(void) take_records(pages, mended[1]);
}

/* Puts the records of several pages in order, and checks the order of one. */
static void
check_records(Pages *pages, ApiCall *call)
{
	int			n = 0;

	if (pages->mended[0])
		order_sort(pages->order, pages->records, pages->nrecords);
	for (int i = 0; i < pages->nrecords; i++)
		if (check_order(pages, call, pages->records[i], n == 0))
			pages->records[n++] = pages->records[i];
	pages->nrecords = n;
}

/* Takes the records of a page, and learns whether the list goes on. */
static void
take_page(Pages *pages, ApiCall *call)
{
	int64		received = pages->totals.received;
	int64		patience = MAX_BARREN_PAGES;
	bool		fresh;

	listing_learn_sight(pages->resource, call);
	mend(pages, call);
	(void) take_records(pages, call);
	fresh = pages->totals.received > received;
	if (pages->listing.order_by)
		check_records(pages, call);
	if (json_object_array_length(call->record) == 0)
		pages->ended = true;
	if (fresh)
		pages->totals.brought_new = true;
	pages->barren = fresh ? 0 : pages->barren + 1;

	/* reading again is expected to bring nothing, but not without an end */
	if (pages->totals.pass > 1 || pages->restarted)
		patience += Max(pages->steps.last, 100);
	if (pages->barren < patience || pages->ended)
		return;
	if (!pages->is_late)
		refuse_answer(pages, call, "The pages of the list repeat themselves");
	pages->ended = true;		/* a server that doesn't know created_after */
}

/* Learns from a page's headers whether rows slid while the list was read. */
static void
learn_changes(Pages *pages, ApiCall *call)
{
	int64		total = api_integer_header(call, "X-Total");

	if (total >= 0)
		totals_note(&pages->totals, pages->context, pages->steps.current, total);
	if (pages->resource->created_before == NULL || pages->is_late ||
		pages->frozen_at || pages->answered_by || pages->met ||
		(pages->fitted && !pages->uncounted) || pages->ended)
		return;

	/*
	 * What is created meanwhile is asked for apart.  It has the highest ids.
	 * In another order it may belong anywhere, and the first page may have
	 * some of it, which the others are not counted with.  With the highest
	 * ids first, that page has all of it unless it ends with it.
	 */
	pages->frozen_at = listing_answer_time(call, pages->context);
	if (pages->frozen_at == NULL)
		return;
	if (pages->listing.order_by &&
		(pages->listing.descending || strcmp(pages->listing.order_by, "id") != 0))
	{
		TimestampTz second = time_t_to_timestamptz(api_date(call));

		/* the header cuts the second off */
		pages->answered_by = second + USECS_PER_SEC;
		pages->scattered = strcmp(pages->listing.order_by, "id") != 0;
		for (int i = 0; i < pages->nrecords; i++)
			if (record_is_since(pages->records[i], second))
			{
				pages->shifted = true;
				if (i == pages->nrecords - 1)
					pages->scattered = true;
			}
	}
	pages->late = late_pages(pages);
}

/* Learns from a page's headers which pages follow. */
static void
learn_paging(Pages *pages, ApiCall *call)
{
	NextPage	next;

	if (pages->totals.mending)
	{
		totals_mend(&pages->totals, pages->steps.current,
					api_integer_header(call, "X-Total"), page_size(pages));
		pages->ended = pages->steps.current == pages->steps.last;
		return;
	}
	next = listing_next(pages->resource, call, pages->keyset,
						pages->steps.current, page_size(pages));
	if (next.problem)
		refuse_answer(pages, call, next.problem);
	if (!next.exists)
		pages->ended = true;
	if (next.cursor)
	{
		pages->cursor = MemoryContextStrdup(pages->context, next.cursor);
		if (pages->steps.current > 1)
			steps_send(&pages->steps, pages->steps.current + 1);
		return;
	}
	if (pages->keyset && pages->ended)
		return;
	/* a server that knows no keyset here answers by offset */
	pages->keyset = false;
	if (next.last > 0)
		pages->steps.last = next.last;
	if (!pages->ended && !pages->is_late && api_integer_header(call, "X-Total") < 0)
	{
		pages->uncounted = true;
		/* what has no times cannot be read in parts */
		if (!pages->resource->created_before || !pages->resource->created_after)
			pages_read_on(pages);
	}
	learn_changes(pages, call);
}

/* Forgets all steps, and begins with others. */
static void
begin_steps(Pages *pages)
{
	steps_restart(&pages->steps);
	pages->restarted = true;
	pages->ended = false;
	pages->barren = 0;
}

/* Reads the listing from its beginning. */
static void
restart(Pages *pages)
{
	begin_steps(pages);
	pages->uncounted = false;
	totals_begin_pass(&pages->totals);
}

/*
 * The steps of a listing are at their end.  True if it has to be read again, or the
 * pages of it between which rows slid past.
 */
static bool
must_read_again(Pages *pages)
{
	if (pages->keyset || pages->is_late)
		return false;
	switch (totals_conclude(&pages->totals, pages->still, page_size(pages)))
	{
		case TOTALS_COMPLETE:
			return false;
		case TOTALS_MEND:
			begin_steps(pages);
			pages->steps.last = pages->totals.ngaps;
			return true;
		case TOTALS_READ_AGAIN:
			restart(pages);
			return true;
		case TOTALS_GIVE_UP:
			break;
	}
	pages_refuse_changes(pages);
}

/*
 * Reads a listing from its beginning, in the way that is right in any time zone.
 * What was delivered is not delivered again.
 */
void
pages_restart_elsewhere(Pages *pages)
{
	pages->is_elsewhere = false;
	restart(pages);
	ask_elsewhere(pages);
	if (pages->late)
		pages_end(pages->late);
	pages->late = NULL;
	pages->late_record = NULL;
	pages->frozen_at = NULL;
	pages->answered_by = 0;
	pages->shifted = pages->scattered = false;
	totals_begin(&pages->totals);
}

/* Restarts a listing that began with a small page; false if it need not. */
static bool
must_unfit(Pages *pages)
{
	if (!pages->fitted || pages->steps.current == 0 || pages->ended)
		return false;
	restart(pages);
	pages->fitted = false;
	return true;
}

/* Makes the records of the next step current.  False: there is none. */
static bool
next_step(Pages *pages)
{
	int64		step;
	MemoryContext saved;
	ApiCall    *call;

	if (pages->is_elsewhere && !pages->is_late && !pages->met)
		pages_restart_elsewhere(pages);

	/* at the end the records stay, for pages_rewind() */
	if (pages_are_long(pages))
		return false;
	if (pages->ended && !must_read_again(pages))
		return false;
	pages->nrecords = pages->next_record = 0;
	(void) must_unfit(pages);
	if (pages->steps.current > 0)
		steps_free(&pages->steps, pages->steps.current);
	free_mended(pages);
	MemoryContextReset(pages->step_context);
	pages->records = NULL;
	pages->steps.current = step = pages->steps.current + 1;

	send_ahead(pages, step);
	call = steps_finish(&pages->steps, step);
	saved = MemoryContextSwitchTo(pages->step_context);
	if (step == 1 && listing_names_owner(&pages->listing, pages->resource) &&
		api_means_absent(pages->steps.client, call))
		pages->ended = true;
	else if (step == 1 && listing_may_skip(pages->steps.client, pages->resource,
										   call, pages->listing.skips))
		pages->ended = pages->skipped = true;
	else
	{
		api_check(call, pages_action(pages));
		read_list(pages, call);
		if (is_from_elsewhere(pages, call))
			pages->is_elsewhere = pages->ended = true;
		else
		{
			take_page(pages, call);
			learn_paging(pages, call);
		}
	}
	MemoryContextSwitchTo(saved);
	api_statistics(pages->steps.client)->pages++;
	return true;
}

/*
 * The next record of what is asked for apart, which stays the next one until late_record
 * is NULL; NULL at the end.  What has its place before a record that was delivered was
 * created after the first page was answered, and need not be returned.
 */
static JsonRecord *
peek_late(Pages *pages)
{
	while (pages->late_record ||
		   (pages->late_record = pages_next(pages->late)) != NULL)
	{
		if (order_allows(&pages->delivered, pages->late_record))
			break;
		pages->late_record = NULL;
	}
	return pages->late_record;
}

/*
 * The next record of a list in another order than that of ids: of the current page, if
 * there is one, or of late.  GitLab has sorted both.  What late has may come before others
 * of the current page, but what belongs on the first page is there.
 */
static JsonRecord *
next_merged(Pages *pages)
{
	JsonRecord *record = pages->next_record < pages->nrecords ?
		pages->records[pages->next_record] : NULL;
	bool		merges = record == NULL || (pages->steps.current > 1 &&
											(pages->scattered || pages->steps.current > expected_steps(pages)));

	if (merges && peek_late(pages) &&
		(record == NULL ||
		 order_compare(pages->order, pages->late_record, record) < 0))
	{
		record = pages->late_record;
		pages->late_record = NULL;
	}
	else if (record)
	{
		api_statistics(pages->steps.client)->rows++;
		pages->next_record++;
	}
	if (record)
		order_advance(&pages->delivered, record);
	return record;
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL
 * at the end.  Raises the errors of failed requests.
 */
JsonRecord *
pages_next(Pages *pages)
{
	while (pages->next_record >= pages->nrecords)
	{
		JsonRecord *record;

		if (next_step(pages))
			continue;
		if (pages_are_long(pages))
			return NULL;
		if (pages->late &&
			(record = pages->answered_by ? next_merged(pages) :
			 pages_next(pages->late)) != NULL)
			return record;
		if (pages->late == NULL || !pages->late->is_elsewhere)
			return NULL;
		pages_restart_elsewhere(pages);
	}
	if (pages->late && pages->answered_by)
		return next_merged(pages);
	api_statistics(pages->steps.client)->rows++;
	return pages->records[pages->next_record++];
}

/* Whether what is right in UTC only was answered from another time zone. */
bool
pages_are_elsewhere(const Pages *pages)
{
	return pages->is_elsewhere;
}

const Resource *
pages_resource(const Pages *pages)
{
	return pages->resource;
}

const StreamListing *
pages_listing(const Pages *pages)
{
	return &pages->listing;
}

/*
 * The pages of what was created when the list was first answered, or later.  NULL
 * if it is not known when that was.
 */
Pages *
pages_late(Pages *pages)
{
	/* what was looked at, and not delivered, is the next one again */
	if (pages->late_record)
		pages->late->next_record--;
	pages->late_record = NULL;
	/* it is sorted with all else, and leaves the last delivered key alone */
	if (pages->late)
		pages->late->listing.order_by = NULL;
	return pages->late;
}

/*
 * The part of a list that was created between two times, in ms, and before the list
 * was first answered.  It delivers nothing that the list has delivered, in no order
 * that was promised, and belongs to the current memory context.
 */
Pages *
pages_part(Pages *whole, int64 after, int64 before)
{
	StreamListing listing;
	const char *limit = before == NO_TIME ? NULL : record_time(before);
	Pages	   *part;

	if (pages_late(whole) && (limit == NULL || strcmp(whole->frozen_at, limit) < 0))
		limit = whole->frozen_at;
	listing = listing_part(&whole->listing, whole->resource,
						   after == NO_TIME ? NULL : record_time(after), limit);
	part = pages_open(whole->steps.client, whole->resource, &listing);
	part->met = part->seen;
	part->still = limit != NULL;
	part->seen = whole->seen;
	part->utc_shown = whole->utc_shown;
	return part;
}

/*
 * Asks for a page in the midst of the list, beside all steps: the call, with the
 * elements of the page, is the caller's.
 */
ApiCall *
pages_sample(Pages *pages, int64 number)
{
	ApiCall    *call;

	for (;;)
	{
		call = page_call(pages, number, pages->listing.page_size);
		api_call_start(call);
		api_wait(&call, 1);
		if (!api_credential_renewed(pages->steps.client, call))
			break;
		api_call_free(call);
	}
	api_check(call, pages_action(pages));
	read_list(pages, call);
	return call;
}

/*
 * Whether a record may still follow what the list has delivered in the order
 * that was promised.  If it had its place before, it was not in the list when
 * the first page was answered, and need not be returned; but it may have slid
 * past later pages.
 */
bool
pages_may_follow(Pages *pages, JsonRecord *record)
{
	if (order_allows(pages->order, record))
		return true;
	if (pages->steps.current > 1 && !is_younger(pages, record))
		pages_refuse_changes(pages);
	return false;
}

/* Whether the list could not be read, and need not be. */
bool
pages_skipped(const Pages *pages)
{
	return pages->skipped;
}

/*
 * Starts again with what is at hand, without a request.  False, and nothing
 * done, if that is not all that was delivered.
 */
bool
pages_rewind(Pages *pages)
{
	if (pages->steps.current > 1 || pages->restarted)
		return false;
	pages->next_record = 0;
	return true;
}

/* Ends pages and what it has under way. */
void
pages_end(Pages *pages)
{
	if (pages->late)
		steps_restart(&pages->late->steps);
	steps_restart(&pages->steps);
	free_mended(pages);
	MemoryContextDelete(pages->context);
}

/*
 * How many objects a listing with these parameters has, by one request; -1 if
 * GitLab does not say, as above 10,000.  utc_only: the parameters are right only
 * if the instance's time zone is UTC, which is asked for if nobody knows; -1 if it
 * is not.
 */
int64
pages_total(ApiClient *client, const Resource *resource,
			const ApiTarget *target, List *parameters, bool utc_only)
{
	StreamListing listing = {.target = target, .parameters = parameters,
		.page_size = 1, .concurrency = 1
	};
	Pages	   *pages = pages_open(client, resource, &listing);
	ApiCall    *call;
	int64		total = 0;

	if (utc_only && api_zone(client) != ZONE_UTC)
	{
		pages_end(pages);
		return -1;
	}
	steps_send(&pages->steps, 1);
	call = steps_finish(&pages->steps, 1);
	if (!listing_names_owner(&pages->listing, pages->resource) || !api_means_absent(client, call))
	{
		api_check(call, pages_action(pages));
		read_list(pages, call);
		total = api_integer_header(call, "X-Total");
		if (total == PG_INT64_MAX || (listing_zone(call) == ZONE_OTHER && utc_only))
			total = -1;			/* no number of rows, or not of these */
	}
	pages_end(pages);
	return total;
}
