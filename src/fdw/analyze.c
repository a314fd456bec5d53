/*-------------------------------------------------------------------------
 *
 * analyze.c
 *	  ANALYZE of foreign tables.
 *
 * GitLab cannot sample, so ANALYZE reads the whole list as the owner of the table
 * sees it.  Memory holds the sample only.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "fdw/scan.h"
#include "fdw/table.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/option.h"
#include "gitlab/stream.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"

/* Pages of a table without a total: GitLab tells none above 10,000 rows. */
#define MANY_ROWS 10001

/* A sample of rows that grows while the table is read. */
typedef struct Sample
{
	HeapTuple  *rows;
	int			target;			/* how many rows are wanted */
	int			count;			/* how many there are */
	double		seen;
	double		to_skip;		/* -1: not known yet */
	ReservoirStateData state;
} Sample;

/* Where the next row goes; -1 if it is skipped. */
static int
choose_place(Sample *sample)
{
	int			place;

	if (sample->count < sample->target)
		return sample->count++;
	if (sample->to_skip < 0)
		sample->to_skip = reservoir_get_next_S(&sample->state, sample->seen,
											   sample->target);
	if (sample->to_skip > 0)
	{
		sample->to_skip -= 1;
		return -1;
	}
	place = (int) (sample->target *
				   sampler_random_fract(&sample->state.randstate));
	heap_freetuple(sample->rows[place]);
	sample->to_skip = -1;
	return place;
}

/* Reads the table and keeps a random sample; returns its size. */
static int
acquire_sample(Relation rel, int elevel, HeapTuple *rows, int target,
			   double *total_rows, double *total_dead_rows)
{
	TableSettings *settings = option_table(RelationGetRelid(rel));
	const ResourceField **fields = table_bind(settings->resource, rel);
	ApiClient  *client = api_open(settings->serverid, rel->rd_rel->relowner);
	StreamListing listing = {
		.page_size = settings->page_size,
		.concurrency = settings->concurrency
	};
	Stream	   *stream = stream_list(client, settings->resource, &listing);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
													&TTSOpsVirtual);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "GitLab row",
													  ALLOCSET_SMALL_SIZES);
	Sample		sample = {.rows = rows, .target = target, .to_skip = -1};
	JsonRecord *record;

	reservoir_init_selection_state(&sample.state, target);
	while ((record = stream_next(stream)) != NULL)
	{
		int			place = choose_place(&sample);
		MemoryContext saved;

		sample.seen++;
		if (place < 0)
			continue;
		saved = MemoryContextSwitchTo(row_context);
		table_fill_slot(settings->resource, fields, record, false, slot);
		MemoryContextSwitchTo(saved);
		rows[place] = ExecCopySlotHeapTuple(slot);
		MemoryContextReset(row_context);
	}
	ExecDropSingleTupleTableSlot(slot);
	stream_end(stream);

	*total_rows = sample.seen;
	*total_dead_rows = 0;
	ereport(elevel,
			(errmsg("\"%s\": GitLab has %.0f %s; %d rows in sample",
					RelationGetRelationName(rel), sample.seen,
					settings->resource->plural, sample.count)));
	return sample.count;
}

/* Says how ANALYZE is done, and how many pages there are. */
bool
gitlab_AnalyzeForeignTable(Relation rel, AcquireSampleRowsFunc *func,
						   BlockNumber *totalpages)
{
	TableSettings *settings = option_table(RelationGetRelid(rel));
	int64		total = -1;

	if (settings->resource->containers[0])
		return false;			/* there is no list of all of them */
	if (!settings->resource->keyset)
		total = stream_total(api_open(settings->serverid, rel->rd_rel->relowner),
							 settings->resource, NULL, NIL, false);
	if (total < 0)
		total = MANY_ROWS;
	*totalpages = (BlockNumber) Max(ceil((double) total / settings->page_size), 1);
	*func = acquire_sample;
	return true;
}
