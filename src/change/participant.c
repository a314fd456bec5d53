/*-------------------------------------------------------------------------
 *
 * participant.c
 *	  What takes part in a transaction.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/participant.h"
#include "utils/hsearch.h"

/* An entry of change_index(). */
typedef struct IndexedUpdate
{
	int64		id;				/* the key */
	RowUpdate  *update;
} IndexedUpdate;

/* An index of updates by the ids of their objects, in the current context. */
HTAB *
change_index(RowUpdate *updates, int nupdates)
{
	HASHCTL		ctl = {
		.keysize = sizeof(int64),
		.entrysize = sizeof(IndexedUpdate),
		.hcxt = CurrentMemoryContext
	};
	HTAB	   *index = hash_create("gitlab_pat_fdw updates", nupdates, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	for (int i = 0; i < nupdates; i++)
	{
		IndexedUpdate *entry = hash_search(index, &updates[i].id, HASH_ENTER,
										   NULL);

		entry->update = &updates[i];
	}
	return index;
}

/* The update of the object that a record shows, or NULL. */
RowUpdate *
change_find(HTAB *index, JsonRecord *record)
{
	IndexedUpdate *entry = NULL;
	int64		id;

	if (record_id(record, &id))
		entry = hash_search(index, &id, HASH_FIND, NULL);
	return entry ? entry->update : NULL;
}

/* The column that shows a field, quoted; NULL if there is none. */
const char *
change_column(const RemoteChange *change, const char *field)
{
	const Resource *resource = change->settings->resource;

	return change->columns[resource_field(resource, field) - resource->fields];
}

/*
 * Raises the error of a heap table: what the current command is to change was
 * changed by a function or a trigger that the command has fired.
 */
void
change_refuse_triggered(const char *object)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("%s was already changed by an operation triggered by the current command",
					object),
			 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
}
