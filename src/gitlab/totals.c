/*-------------------------------------------------------------------------
 *
 * totals.c
 *	  What the totals of pages tell about rows that slid past.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/totals.h"
#include "utils/memutils.h"

/* How often a list is read again before the scan gives up. */
#define MAX_PASSES 4

/* Forgets what the pages of this pass have said; the room for gaps is kept. */
void
totals_forget(Totals *totals)
{
	totals->first = totals->last = -1;
	totals->rose = totals->fell = false;
	totals->ngaps = 0;
}

/* Begins a pass, with the number that the totals have. */
void
totals_begin_pass(Totals *totals)
{
	totals_forget(totals);
	totals->mending = totals->torn = false;
	totals->brought_new = false;
}

/* Begins the first pass, with zeros or with the rows that have been received. */
void
totals_begin(Totals *totals)
{
	totals_begin_pass(totals);
	totals->pass = 1;
	totals->least = PG_INT64_MAX;
	totals->most = 0;
}

static void
add_gap(Totals *totals, MemoryContext context, int64 page, int64 total)
{
	TotalsGap  *gap;

	if (totals->gaps == NULL)
	{
		totals->max_gaps = 8;
		totals->gaps = MemoryContextAlloc(context, sizeof(TotalsGap) * 8);
	}
	else if (totals->ngaps == totals->max_gaps)
	{
		totals->max_gaps *= 2;
		totals->gaps = repalloc(totals->gaps,
								sizeof(TotalsGap) * totals->max_gaps);
	}
	gap = &totals->gaps[totals->ngaps++];
	gap->page = page - 1;
	gap->total = totals->last;
	gap->next_total = total;
}

/* Takes the total of a page.  Pages come in their order, whenever answered. */
void
totals_note(Totals *totals, MemoryContext context, int64 page, int64 total)
{
	if (totals->last < 0)
		totals->first = total;
	else if (total < totals->last)
		add_gap(totals, context, page, total);
	totals->rose = totals->rose || total > totals->first;
	totals->fell = totals->fell || total < totals->first;
	totals->last = total;
	totals->least = Min(totals->least, total);
	totals->most = Max(totals->most, total);
}

/* Whether rows have slid at all. */
static bool
totals_differ(const Totals *totals)
{
	return totals->rose || totals->fell;
}

/* Whether rows may have slid, given the total of one more page, or -1. */
bool
totals_may_differ(const Totals *totals, int64 next)
{
	return totals_differ(totals) || totals->last < 0 || next != totals->last;
}

/*
 * The page, to be asked for again, on which is now what may be missing at a gap,
 * numbered from 1.  Where rows leave the list, others move to lower pages; where
 * rows enter it, to higher ones.
 */
int64
totals_page_to_mend(const Totals *totals, int64 gap)
{
	return totals->gaps[gap - 1].page + (totals->rose ? 1 : 0);
}

/*
 * Takes the total of a page that was asked for again, or -1 if it has none.  What is
 * missing at the gap may have moved farther than that page.
 */
void
totals_mend(Totals *totals, int64 gap, int64 total, int page_size)
{
	const TotalsGap *g = &totals->gaps[gap - 1];

	if (total >= 0)
		totals->last = totals->rose ? Max(totals->last, total) :
			Min(totals->last, total);
	if (total < 0 ||
		(totals->rose ? total - g->next_total : g->total - total) > page_size)
		totals->torn = true;
}

/* Whether the pages at the gaps have brought all that was missing there. */
static bool
is_mended(const Totals *totals)
{
	return !totals->torn &&
		(totals->rose || totals->received >= totals->last);
}

/*
 * What is to be done after the last page of a pass: something, if rows slid past, or if
 * there are fewer of them than all pages have said.
 *
 * It is clear where rows slid past if rows only left the list, or only entered it: at the
 * gaps, of which there may be none.  That is known of still lists only, which nothing new
 * enters: the first page of another one may count what was created later than the others
 * do.  A row can slide past two passes only if it moves by more than a page.
 */
TotalsVerdict
totals_conclude(Totals *totals, bool still, int page_size)
{
	bool		slid = totals_differ(totals);

	if (!slid && totals->received >= totals->last)
		return TOTALS_COMPLETE;
	if (totals->mending && is_mended(totals))
		return TOTALS_COMPLETE;
	if (!totals->mending && still && totals->rose != totals->fell)
	{
		totals->mending = totals->ngaps > 0;
		return totals->mending ? TOTALS_MEND : TOTALS_COMPLETE;
	}
	if (slid && totals->pass > 1 && !totals->brought_new &&
		totals->most - totals->least <= page_size)
		return TOTALS_COMPLETE;
	if (totals->pass == MAX_PASSES)
		return TOTALS_GIVE_UP;
	totals_begin_pass(totals);
	totals->pass++;
	return TOTALS_READ_AGAIN;
}
