/*-------------------------------------------------------------------------
 *
 * updates.c
 *	  The rows of an UPDATE that are changed together.
 *
 * Whoever reads the rows adds each of them, and has all of them changed at the
 * end.  The participant locks the objects, reads them again, and changes several at
 * a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fdw/scan.h"
#include "fdw/updates.h"
#include "gitlab/recent.h"
#include "utils/datum.h"
#include "utils/memutils.h"

/* An empty set, in the current memory context.  columns: those that SET names. */
UpdateSet *
updates_create(GitLabModify *modify, List *columns)
{
	UpdateSet  *set = palloc0(sizeof(UpdateSet));

	set->modify = modify;
	set->columns = columns;
	set->context = AllocSetContextCreate(CurrentMemoryContext, "GitLab changes",
										 ALLOCSET_DEFAULT_SIZES);
	return set;
}

/* Makes room for more rows, in the current memory context. */
static void
make_room(UpdateSet *set)
{
	set->capacity = Max(64, 2 * set->capacity);
	if (set->updates == NULL)
		set->updates = palloc(sizeof(RowUpdate) * set->capacity);
	else
		set->updates = repalloc_huge(set->updates,
									 sizeof(RowUpdate) * set->capacity);
}

/* Computes the new values of a row, in the current memory context. */
static ResourceValue *
planned_values(const UpdateSet *set, TupleTableSlot *planned)
{
	ResourceValue *values = palloc(sizeof(ResourceValue) *
								   Max(list_length(set->columns), 1));
	ListCell   *lc;

	slot_getsomeattrs(planned, list_length(set->columns));
	foreach(lc, set->columns)
	{
		int			i = foreach_current_index(lc);
		Form_pg_attribute attr = TupleDescAttr(planned->tts_tupleDescriptor, i);
		Datum		value = planned->tts_values[i];
		bool		isnull = planned->tts_isnull[i];

		if (!isnull)
			value = datumCopy(value, attr->attbyval, attr->attlen);
		values[i] = target_value(set->modify, lfirst_int(lc), value, isnull);
	}
	return values;
}

/*
 * Locks the objects that a job's UPDATE names by their ids, before its scan asks for the
 * first one.  If no other session is changing one of them, the scan's answers are those
 * that are asked for after the lock.  A job has looked at the objects before; any other
 * statement does so by its scan.
 */
void
updates_lock_named(UpdateSet *set, ForeignScanState *node)
{
	GitLabModify *modify = set->modify;
	int64	   *ids;
	int			nids;

	if (!recent_in_job())
		return;
	nids = scan_named_ids(node, &ids);
	set->locked = nids > 0 && modify->participant->lock_named != NULL &&
		modify->participant->lock_named(&modify->change, ids, nids);
}

/*
 * Adds a row, with the columns that SET names in front of planned.  False if the command
 * has met the object before.  Raises an error if the row is one too many, or if a column
 * can't be set so.
 */
bool
updates_add(UpdateSet *set, JsonRecord *record, TupleTableSlot *planned)
{
	GitLabModify *modify = set->modify;
	MemoryContext saved;
	RowUpdate  *update;
	int64		id;

	if (!record_id(record, &id))
		elog(ERROR, "row to be changed has no id");
	if (!modify->participant->expect_update(&modify->change, id,
											set->nupdates + 1))
		return false;
	saved = MemoryContextSwitchTo(set->context);
	if (set->nupdates == set->capacity)
		make_room(set);
	update = &set->updates[set->nupdates++];
	memset(update, 0, sizeof(RowUpdate));
	update->id = id;
	update->row = record_copy(record);
	if (set->locked)
		update->reread = update->row;
	update->values = planned_values(set, planned);
	update->nvalues = list_length(set->columns);
	MemoryContextSwitchTo(saved);
	return true;
}

/*
 * Reads a scan's list again, if that takes fewer requests than to look up each of its
 * rows.  The participant looks up what the list does not have any more.  A scan that
 * has begun several times has listed less the last time than all in all.
 */
static void
reread_list(UpdateSet *set, ForeignScanState *node)
{
	GitLabScan *scan = node->fdw_state;
	struct HTAB *index;
	JsonRecord *record;
	bool		revoked;

	if (set->locked || scan->npasses != 1 || scan->request->lookup ||
		set->nupdates <= api_statistics(scan->client)->pages)
		return;
	index = change_index(set->updates, set->nupdates);
	scan_repeat(scan);
	while ((record = scan_next_record(node, scan, &revoked)) != NULL)
	{
		RowUpdate  *update = change_find(index, record);

		CHECK_FOR_INTERRUPTS();
		if (update)
			update->reread = record_copy(record);
	}
}

/*
 * Changes the rows.  node: the scan that has brought them, and is not asked any more;
 * NULL if there is no such scan.
 */
void
updates_carry_out(UpdateSet *set, ForeignScanState *node)
{
	GitLabModify *modify = set->modify;
	const Participant *participant = modify->participant;
	MemoryContext saved;

	if (set->nupdates == 0)
		return;
	saved = MemoryContextSwitchTo(set->context);
	if (participant->prepare_updates)
		participant->prepare_updates(&modify->change, set->updates,
									 set->nupdates);
	if (node)
		reread_list(set, node);
	participant->update_rows(&modify->change, set->updates, set->nupdates);
	MemoryContextSwitchTo(saved);
}
