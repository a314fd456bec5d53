/*-------------------------------------------------------------------------
 *
 * totals.h
 *	  What the totals of pages tell about rows that slid past.
 *
 * A row that belongs to the list all the time is on some page whenever one is
 * answered.  Pages are numbered.  If no page brought the row, there are two
 * neighbours: the row was behind the first when that was answered, and before the
 * second when that was answered.  Rows only leave a list, or only enter it, so
 * that the second of these has a lower total: this is a gap.  What may be missing
 * there is now on one of the two pages, if no more rows have moved since than a
 * page has.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TOTALS_H
#define GITLAB_PAT_TOTALS_H

typedef struct TotalsGap
{
	int64		page;			/* the first of the two */
	int64		total;			/* with which it came */
	int64		next_total;		/* and the second one */
} TotalsGap;

typedef struct Totals
{
	/* of the pass under way: the list is being read from its beginning */
	int64		first;			/* as the first page said, or -1 */
	int64		last;			/* as the last one did, or -1 */
	bool		rose;			/* some page said more than the first */
	bool		fell;			/* some page said less */
	TotalsGap  *gaps;			/* in ascending order */
	int			ngaps;
	int			max_gaps;
	bool		mending;		/* the pages are those at the gaps */
	bool		torn;			/* what is missing may lie farther off */
	bool		brought_new;	/* a row came that had not come before */

	/* of all passes */
	int			pass;			/* the number of this one, from 1 */
	int64		received;		/* different rows */
	int64		least;			/* and most: the totals */
	int64		most;
} Totals;

/* Whether a list that was read to its last page has to be read again. */
typedef enum TotalsVerdict
{
	TOTALS_COMPLETE,			/* nothing: each row has come */
	TOTALS_MEND,				/* read the pages at the gaps */
	TOTALS_READ_AGAIN,			/* begin another pass */
	TOTALS_GIVE_UP				/* the list changes too much */
} TotalsVerdict;

extern void totals_begin(Totals *totals);
extern void totals_begin_pass(Totals *totals);
extern void totals_forget(Totals *totals);
extern void totals_note(Totals *totals, MemoryContext context, int64 page,
						int64 total);
extern bool totals_may_differ(const Totals *totals, int64 next);
extern int64 totals_page_to_mend(const Totals *totals, int64 gap);
extern void totals_mend(Totals *totals, int64 gap, int64 total,
						int page_size);
extern TotalsVerdict totals_conclude(Totals *totals, bool still,
									 int page_size);

#endif							/* GITLAB_PAT_TOTALS_H */
