/*-------------------------------------------------------------------------
 *
 * slices.c
 *	  Lists that are longer than GitLab counts, by the time of creation.
 *
 * Above 10,000 rows GitLab gives no totals, and without these nobody can see that
 * rows slide from one page to another while a list is read.  A slice is the part
 * of the list that was created in an interval.  Each slice is short enough to be
 * counted, and is read as any other list.  Both ends of an interval belong to it,
 * for GitLab compares with microseconds and shows milliseconds: what two slices
 * share is delivered once.
 *
 * Nobody knows beforehand where to cut.  A page in the midst of what is left
 * shows when its rows were created.  Creation times need not follow the ids, but
 * mostly do: then a slice has almost as many rows as GitLab counts.  A slice that
 * is too long is cut again.
 *
 * If an order was promised, all slices are read first, and sorted.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "gitlab/jsonc.h"
#include "gitlab/slices.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

/*
 * Rows before the page that says where to cut: GitLab counts up to 10,000, and
 * some are older than their ids suggest.
 */
#define SLICE_ROWS 9000

/* More cuts than any list of tokens needs: such a server makes up its answers. */
#define MAX_CUTS 10000

/* The columns of what is sorted. */
enum SortedColumn
{
	SORTED_KEY = 1,
	SORTED_ID,
	SORTED_RECORD,
	SORTED_COLUMNS = SORTED_RECORD
};

struct Slices
{
	Pages	   *whole;
	MemoryContext context;
	SlicesEnd	end;
	bool		at_end;			/* all slices were read */
	int64		after;			/* where the current slice begins, in ms;
								 * NO_TIME: where the list does */
	int64	   *limits;			/* where slices end, the nearest one last */
	int			nlimits;
	int			max_limits;
	int			ncuts;			/* since a record was delivered */
	Pages	   *slice;			/* the current one, or NULL */

	/* if an order was promised */
	const StreamListing *listing;
	Tuplesortstate *sorted;
	TupleTableSlot *slot;
	JsonRecord *record;			/* that was delivered last, or NULL */
	MemoryContextCallback callback; /* frees it */
};

static void
free_record(void *arg)
{
	Slices	   *slices = arg;

	if (slices->record)
		record_free(slices->record);
	slices->record = NULL;
}

/*
 * Starts reading a list from which only the first pages came.  The slices end
 * before the whole does, and belong to the current memory context.
 */
Slices *
slices_open(Pages *whole)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "GitLab slices",
												  ALLOCSET_DEFAULT_SIZES);
	Slices	   *slices = MemoryContextAllocZero(context, sizeof(Slices));

	slices->whole = whole;
	slices->context = context;
	slices->listing = pages_listing(whole);
	slices->after = NO_TIME;
	slices->max_limits = 8;
	slices->limits = MemoryContextAlloc(context, sizeof(int64) * 8);
	slices->callback.func = free_record;
	slices->callback.arg = slices;
	MemoryContextRegisterResetCallback(context, &slices->callback);
	return slices;
}

/* Where the current slice ends; NO_TIME: where the list does. */
static int64
limit_of(const Slices *slices)
{
	return slices->nlimits > 0 ? slices->limits[slices->nlimits - 1] : NO_TIME;
}

static void
add_limit(Slices *slices, int64 limit)
{
	if (slices->nlimits == slices->max_limits)
	{
		slices->max_limits *= 2;
		slices->limits = repalloc(slices->limits,
								  sizeof(int64) * slices->max_limits);
	}
	slices->limits[slices->nlimits++] = limit;
}

static int
compare_times(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* The median of when the records of a page were created, in ms. */
static bool
middle_time(const Resource *resource, ApiCall *call, int64 *ms)
{
	const ResourceField *field = resource_field(resource, "created_at");
	int			n = json_object_array_length(call->record);
	int64	   *times = palloc(sizeof(int64) * Max(n, 1));
	int			ntimes = 0;

	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		time = record_datum(resource, field,
										json_object_array_get_idx(call->record, i),
										&isnull);

		if (!isnull)
			times[ntimes++] = DatumGetTimestampTz(time) / 1000;
	}
	if (ntimes == 0)
		return false;
	qsort(times, ntimes, sizeof(int64), compare_times);
	*ms = times[ntimes / 2];
	return true;
}

/*
 * Refuses a page whose records do not belong into the slice, which would be cut for
 * ever.  GitLab compares with microseconds and shows milliseconds, hence the 1.
 */
static void
check_sample(Slices *slices, Pages *pages, ApiCall *call, int64 ms)
{
	int64		limit = limit_of(slices);

	if ((limit != NO_TIME && ms > limit + 1) ||
		(slices->after != NO_TIME && ms < slices->after - 1))
		api_refuse_answer(call, pages_action(pages),
						  "The page has objects of another time than was asked for");
	if (++slices->ncuts > MAX_CUTS)
		api_refuse_answer(call, pages_action(pages), "The list has no end");
}

/*
 * When the records of a page in the midst of a list were created, in ms.  False
 * if the list has no such page.
 */
static bool
sample_time(Slices *slices, Pages *pages, int64 *ms)
{
	MemoryContext context = AllocSetContextCreate(slices->context,
												  "GitLab sample",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	ApiCall    *call = pages_sample(pages, SLICE_ROWS / slices->listing->page_size);
	bool		found = middle_time(pages_resource(pages), call, ms);

	if (found)
		check_sample(slices, pages, call, *ms);
	api_call_free(call);
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
	return found;
}

/*
 * Cuts what is left of a list, or a slice, that is longer than GitLab counts.
 * False if it isn't, so that this server does not count at all.
 */
static bool
cut(Slices *slices, Pages *pages)
{
	int64		limit = limit_of(slices);
	int64		middle;

	CHECK_FOR_INTERRUPTS();
	if (slices->after != NO_TIME && limit != NO_TIME &&
		limit - slices->after <= 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("could not %s: too many of them were created in one millisecond",
						pages_action(pages)),
				 errdetail("GitLab counts up to 10,000 rows, and longer lists are read in parts by the time of creation."),
				 errhint("Add a condition on another column, such as \"user_id\".")));
	if (!sample_time(slices, pages, &middle))
		return false;
	if (slices->after != NO_TIME)
		middle = Max(middle, slices->after + 1);
	if (limit != NO_TIME)
		middle = Min(middle, limit - 1);
	add_limit(slices, middle);
	return true;
}

/* The current slice is read: the next one begins where it ends. */
static void
finish_slice(Slices *slices)
{
	pages_end(slices->slice);
	slices->slice = NULL;
	if (slices->nlimits == 0)
		slices->at_end = true;
	else
		slices->after = slices->limits[--slices->nlimits];
}

/* The next record of the slices, or of what was created meanwhile; or NULL. */
static JsonRecord *
next_unsorted(Slices *slices)
{
	Pages	   *late;
	JsonRecord *record;

	if (slices->end != SLICES_COMPLETE)
		return NULL;
	if (slices->nlimits == 0 && slices->after == NO_TIME && !slices->at_end &&
		!cut(slices, slices->whole))
	{
		slices->end = SLICES_UNCOUNTED;
		return NULL;
	}
	while (!slices->at_end)
	{
		if (slices->slice == NULL)
		{
			MemoryContext saved = MemoryContextSwitchTo(slices->context);

			slices->slice = pages_part(slices->whole, slices->after,
									   limit_of(slices));
			MemoryContextSwitchTo(saved);
		}
		record = pages_next(slices->slice);
		if (record)
		{
			slices->ncuts = 0;
			return record;
		}
		if (pages_are_elsewhere(slices->slice))
		{
			slices->end = SLICES_ELSEWHERE;
			return NULL;
		}
		if (!pages_are_long(slices->slice))
			finish_slice(slices);
		else if (cut(slices, slices->slice))
		{
			pages_end(slices->slice);
			slices->slice = NULL;
		}
		else
			pages_read_on(slices->slice);
	}
	late = pages_late(slices->whole);
	record = late ? pages_next(late) : NULL;
	if (record == NULL && late && pages_are_elsewhere(late))
		slices->end = SLICES_ELSEWHERE;
	return record;
}

/* Puts a record where its order will find it. */
static void
sort_record(Slices *slices, JsonRecord *record)
{
	OrderKey	key = order_key(pages_resource(slices->whole),
								slices->listing->order_by, record);
	int64		id;
	TupleTableSlot *slot = slices->slot;

	if (!record_id(record, &id))
		id = 0;
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sizeof(bool) * SORTED_COLUMNS);
	slot->tts_isnull[SORTED_KEY - 1] = key.isnull;
	slot->tts_values[SORTED_KEY - 1] =
		Int64GetDatum(slices->listing->descending ? -key.number : key.number);
	slot->tts_values[SORTED_ID - 1] = Int64GetDatum(id);
	slot->tts_values[SORTED_RECORD - 1] =
		PointerGetDatum(cstring_to_text(record_json(record)));
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(slices->sorted, slot);
}

/* Reads all slices and sorts them.  False if they did not come to their end. */
static bool
sort_all(Slices *slices)
{
	MemoryContext saved = MemoryContextSwitchTo(slices->context);
	MemoryContext row = AllocSetContextCreate(slices->context, "GitLab row",
											  ALLOCSET_SMALL_SIZES);
	TupleDesc	desc = CreateTemplateTupleDesc(SORTED_COLUMNS);
	AttrNumber	columns[] = {SORTED_KEY, SORTED_ID};
	Oid			operators[] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {slices->listing->descending, false};
	JsonRecord *record;

	TupleDescInitEntry(desc, SORTED_KEY, "key", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORTED_ID, "id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORTED_RECORD, "record", TEXTOID, -1, 0);
	compat_finish_tupdesc(desc);
	slices->sorted = tuplesort_begin_heap(desc, lengthof(columns), columns,
										  operators, collations, nulls_first,
										  work_mem, NULL, TUPLESORT_NONE);
	slices->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	while ((record = next_unsorted(slices)) != NULL)
	{
		MemoryContextSwitchTo(row);
		if (pages_may_follow(slices->whole, record))
			sort_record(slices, record);
		MemoryContextSwitchTo(slices->context);
		MemoryContextReset(row);
	}
	ExecDropSingleTupleTableSlot(slices->slot);
	slices->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	if (slices->end == SLICES_COMPLETE)
		tuplesort_performsort(slices->sorted);

	/* what was read counts as delivered, and would not come again */
	else if (slices->end == SLICES_ELSEWHERE)
		pages_refuse_changes(slices->whole);
	MemoryContextSwitchTo(saved);
	return slices->end == SLICES_COMPLETE;
}

/* The next record in order, made of its JSON again; NULL at the end. */
static JsonRecord *
next_sorted(Slices *slices)
{
	Datum		value;
	bool		isnull;
	char	   *json;

	free_record(slices);
	if (slices->end != SLICES_COMPLETE ||
		(slices->sorted == NULL && !sort_all(slices)) ||
		!tuplesort_gettupleslot(slices->sorted, true, false, slices->slot, NULL))
		return NULL;
	value = slot_getattr(slices->slot, SORTED_RECORD, &isnull);
	json = TextDatumGetCString(value);
	slices->record = json_tokener_parse(json);
	pfree(json);
	if (slices->record == NULL)
		memory_report_exhausted();
	return slices->record;
}

/*
 * The next record, which stays valid until the one after it is asked for; NULL at
 * the end, and then slices_ended() says which one that is.
 */
JsonRecord *
slices_next(Slices *slices)
{
	return slices->listing->order_by ? next_sorted(slices) :
		next_unsorted(slices);
}

/* Returns the call that slices_next() would wait for; NULL if unknown. */
ApiCall *
slices_awaited(Slices *slices)
{
	return slices->slice && !slices->listing->order_by ?
		pages_awaited(slices->slice) : NULL;
}

SlicesEnd
slices_ended(const Slices *slices)
{
	return slices->end;
}

/* Ends slices and what they have under way. */
void
slices_end(Slices *slices)
{
	if (slices->slice)
		pages_end(slices->slice);
	if (slices->sorted)
		tuplesort_end(slices->sorted);
	MemoryContextDelete(slices->context);
}
