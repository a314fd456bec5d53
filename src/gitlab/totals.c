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

/* Forgets all totals, or begins with zeros; the room for gaps is kept. */
void
totals_init(Totals *totals)
{
	totals->first = totals->last = -1;
	totals->rose = totals->fell = false;
	totals->ngaps = 0;
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
}

/* Whether rows have slid at all. */
bool
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
 * Whether it is clear where rows may have slid past: at the gaps, of which
 * there may be none.  The first page was answered before all others were asked
 * for.
 */
bool
totals_show_gaps(const Totals *totals)
{
	return totals->rose != totals->fell;
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
 * Takes the total of a page that was asked for again.  False if what is missing at
 * the gap may have moved farther than that page; or if there is no total: -1.
 */
bool
totals_mend(Totals *totals, int64 gap, int64 total, int page_size)
{
	const TotalsGap *g = &totals->gaps[gap - 1];

	if (total < 0)
		return false;
	totals->last = totals->rose ? Max(totals->last, total) :
		Min(totals->last, total);
	return (totals->rose ? total - g->next_total : g->total - total) <= page_size;
}
