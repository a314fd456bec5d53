/*-------------------------------------------------------------------------
 *
 * kept.c
 *	  Lists that a scan has read, for when a nested loop starts it again.
 *
 * GitLab has no lookup of a single token of a service account.  A nested loop
 * starts the scan again for each row of another table, and several of these rows
 * may name one account.  Its list is read once, and kept as far as work_mem
 * allows.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fdw/kept.h"
#include "gitlab/record.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The approximate size of a record, in kB. */
#define RECORD_SIZE 4

/* The list of one target. */
typedef struct KeptList
{
	uint64		hash;			/* the key: of its name */
	char	   *name;			/* what GitLab was asked for */
	List	   *records;
	bool		complete;
} KeptList;

struct KeptLists
{
	MemoryContext parent;
	MemoryContext context;		/* of the lists; reset when they are too many */
	HTAB	   *lists;
	int64		nrecords;		/* of all lists */
	KeptList   *current;		/* being read, or read again; or NULL */
	int			next;			/* record of it */
};

/* Forgets all lists. */
void
kept_forget(KeptLists *kept)
{
	HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(KeptList)};

	if (kept->context)
		MemoryContextDelete(kept->context);
	kept->context = AllocSetContextCreate(kept->parent, "GitLab kept lists",
										  ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = kept->context;
	kept->lists = hash_create("gitlab_pat_fdw kept lists", 16, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	kept->nrecords = 0;
	kept->current = NULL;
}

/* Nothing is kept yet; in the current memory context. */
KeptLists *
kept_create(void)
{
	KeptLists  *kept = palloc0(sizeof(KeptLists));

	kept->parent = CurrentMemoryContext;
	kept_forget(kept);
	return kept;
}

/* The name of a list: all parameters of its requests. */
static char *
name_of(const ApiTarget *target, List *parameters)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, target->path);
	foreach(lc, parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		appendStringInfo(&buf, "\n%s\n%s", parameter->name, parameter->value);
	}
	return buf.data;
}

/* The list of that name, made if need be; NULL if another one has its hash. */
static KeptList *
find(KeptLists *kept, const char *name, bool make)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name,
										   strlen(name), 0);
	bool		found;
	KeptList   *list = hash_search(kept->lists, &hash,
								   make ? HASH_ENTER : HASH_FIND, &found);

	if (make && !found)
	{
		list->name = MemoryContextStrdup(kept->context, name);
		list->records = NIL;
		list->complete = false;
	}
	return list && strcmp(list->name, name) == 0 ? list : NULL;
}

/* Whether the whole list of a target has been kept. */
bool
kept_has(KeptLists *kept, const ApiTarget *target, List *parameters)
{
	char	   *name = name_of(target, parameters);
	KeptList   *list = find(kept, name, false);

	pfree(name);				/* this is asked for each record */
	return list && list->complete;
}

/*
 * Turns to the list of a target.  True: it was kept, for kept_next().  False: what is
 * read of it is to be given to kept_add(), and its end told by kept_finish().
 */
bool
kept_turn(KeptLists *kept, const ApiTarget *target, List *parameters)
{
	kept->current = find(kept, name_of(target, parameters), true);
	kept->next = 0;
	if (kept->current && !kept->current->complete)
		kept->current->records = NIL;	/* it was not read to its end */
	return kept->current && kept->current->complete;
}

/* The next record of a list that was kept, or NULL. */
JsonRecord *
kept_next(KeptLists *kept)
{
	return kept->next < list_length(kept->current->records) ?
		list_nth(kept->current->records, kept->next++) : NULL;
}

/* Keeps a record of the list that is being read. */
void
kept_add(KeptLists *kept, JsonRecord *record)
{
	MemoryContext saved;

	if (kept->current == NULL)
		return;
	if ((kept->nrecords + 1) * RECORD_SIZE > work_mem)
	{
		kept_forget(kept);
		return;
	}
	saved = MemoryContextSwitchTo(kept->context);
	kept->current->records = lappend(kept->current->records,
									 record_copy(record));
	kept->nrecords++;
	MemoryContextSwitchTo(saved);
}

/* The list that is being read is at its end. */
void
kept_finish(KeptLists *kept)
{
	if (kept->current)
		kept->current->complete = true;
}
