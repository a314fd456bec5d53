/*-------------------------------------------------------------------------
 *
 * updates.h
 *	  The rows of an UPDATE that are changed together.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_UPDATES_H
#define GITLAB_PAT_UPDATES_H

#include "fdw/target.h"
#include "nodes/execnodes.h"

typedef struct UpdateSet
{
	GitLabModify *modify;
	List	   *columns;		/* attribute numbers that SET names */
	bool		locked;			/* the objects were, before they were read */
	MemoryContext context;		/* holds what follows */
	RowUpdate  *updates;
	int			nupdates;
	int			capacity;
} UpdateSet;

extern UpdateSet *updates_create(GitLabModify *modify, List *columns);
extern void updates_lock_named(UpdateSet *set, ForeignScanState *node);
extern bool updates_add(UpdateSet *set, JsonRecord *record,
						TupleTableSlot *planned);
extern void updates_carry_out(UpdateSet *set, ForeignScanState *node);

#endif							/* GITLAB_PAT_UPDATES_H */
