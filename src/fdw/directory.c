/*-------------------------------------------------------------------------
 *
 * directory.c
 *	  Users that a nested loop asks for one by one.
 *
 * The planner knows little of how many there will be, or how many GitLab has.  A scan
 * that is started again for each row of another table therefore asks for nobody twice.
 * It asks for no more single users than the list of all has pages, and then reads the
 * list.  So it takes at most twice the requests that the better plan would have taken,
 * and one to learn how long the list is.
 *
 * Callers who are no administrators get the list: GitLab allows them but 300 lookups in
 * ten minutes, and shows them there some users, and more of each, than in the list.
 *
 * Rows are kept in memory as far as work_mem allows, and else in a temporary file.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "fdw/directory.h"
#include "fdw/estimate.h"
#include "fdw/table.h"
#include "gitlab/sample.h"
#include "gitlab/stream.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* A list that GitLab does not count has more users than these. */
#define UNCOUNTED_USERS 10000

/* Whether the caller is an administrator. */
typedef enum CallerRank
{
	CALLER_UNKNOWN,				/* no answer has shown it */
	CALLER_ADMINISTRATOR,
	CALLER_OTHER
} CallerRank;

/* One user who was looked up or listed. */
typedef struct DirectoryEntry
{
	int64		id;				/* the key */
	bool		present;		/* GitLab has, or shows, the user */
	MinimalTuple tuple;			/* NULL: it is in the file, there: */
	int			fileno;
	off_t		offset;
} DirectoryEntry;

struct Directory
{
	DirectorySource source;
	MemoryContext context;		/* holds the entries */
	MemoryContext row_context;	/* of a row in the making */
	HTAB	   *entries;
	bool		complete;		/* who has no entry is not there */
	TupleTableSlot *slot;		/* for making tuples */
	int64		memory;			/* of tuples, in bytes */
	BufFile    *file;			/* or NULL */
	int			end_fileno;		/* its end */
	off_t		end_offset;

	/* when to read the list */
	int			unasked;		/* so many lookups come before it is known how
								 * long it is */
	int64		pages;			/* how long it is; 0: not known */
	int64		lookups;		/* how many there were */
	CallerRank	caller;
};


/* How many pages a list of so many users has. */
static int64
pages_of(const Directory *directory, int64 users)
{
	int			page_size = directory->source.listing.page_size;

	return Max(users / page_size + (users % page_size > 0), 1);
}


/* ----------
 * Rows
 * ----------
 */

/* Writes a tuple to the end of the file; in the directory's memory context. */
static void
write_tuple(Directory *directory, DirectoryEntry *entry, MinimalTuple tuple)
{
	if (directory->file == NULL)
		directory->file = BufFileCreateTemp(false);
	else if (BufFileSeek(directory->file, directory->end_fileno,
						 directory->end_offset, SEEK_SET) != 0)
		elog(ERROR, "could not seek in temporary file of users");
	BufFileTell(directory->file, &entry->fileno, &entry->offset);
	BufFileWrite(directory->file, tuple, tuple->t_len);
	BufFileTell(directory->file, &directory->end_fileno,
				&directory->end_offset);
}

/* Reads an entry's tuple from the file, into the current memory context. */
static MinimalTuple
read_tuple(Directory *directory, const DirectoryEntry *entry)
{
	MinimalTuple tuple;
	uint32		size;

	if (BufFileSeek(directory->file, entry->fileno, entry->offset, SEEK_SET) != 0 ||
		BufFileRead(directory->file, &size, sizeof(size)) != sizeof(size))
		elog(ERROR, "could not read temporary file of users");
	tuple = palloc(size);
	tuple->t_len = size;
	if (BufFileRead(directory->file, (char *) tuple + sizeof(size),
					size - sizeof(size)) != size - sizeof(size))
		elog(ERROR, "could not read temporary file of users");
	return tuple;
}

/* Enters a user; record is NULL if there is none. */
static void
enter(Directory *directory, int64 id, JsonRecord *record)
{
	const DirectorySource *source = &directory->source;
	DirectoryEntry *entry = hash_search(directory->entries, &id, HASH_ENTER,
										NULL);
	MemoryContext saved;
	MinimalTuple tuple;

	entry->present = record != NULL;
	entry->tuple = NULL;
	if (record == NULL)
		return;
	MemoryContextReset(directory->row_context);
	saved = MemoryContextSwitchTo(directory->row_context);
	table_fill_columns(source->resource, source->fields, source->columns, record,
					   false, directory->slot);
	MemoryContextSwitchTo(directory->context);
	tuple = ExecCopySlotMinimalTuple(directory->slot);
	if (directory->file == NULL &&
		directory->memory + tuple->t_len <= (int64) work_mem * 1024)
	{
		directory->memory += tuple->t_len;
		entry->tuple = tuple;
	}
	else
	{
		write_tuple(directory, entry, tuple);
		pfree(tuple);
	}
	MemoryContextSwitchTo(saved);
}

/* Enters a user of a list. */
static void
enter_listed(Directory *directory, JsonRecord *record)
{
	int64		id;

	if (record_id(record, &id))
		enter(directory, id, record);
}

static DirectoryEntry *
find(Directory *directory, int64 id)
{
	return hash_search(directory->entries, &id, HASH_FIND, NULL);
}


/* ----------
 * Requests
 * ----------
 */

/* Learns from what GitLab shows of a user, if anything, who asks. */
static void
learn_rank(Directory *directory, JsonRecord *record)
{
	const Resource *resource = directory->source.resource;
	bool		isnull;

	if (record == NULL)
		return;
	(void) record_datum(resource,
						resource_field(resource, resource->administrator_field),
						record, &isnull);
	directory->caller = isnull ? CALLER_OTHER : CALLER_ADMINISTRATOR;
}

/* Whether the list is that of all users. */
static bool
is_whole(const Directory *directory)
{
	return directory->source.listing.parameters == NIL;
}

/* Reads the list. */
static void
read_list(Directory *directory)
{
	const DirectorySource *source = &directory->source;
	Stream	   *stream = stream_list(source->client, source->resource,
									 &source->listing);
	int64		users = 0;
	JsonRecord *record;

	while ((record = stream_next(stream)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		enter_listed(directory, record);
		users++;
	}
	stream_end(stream);
	directory->complete = true;
	if (is_whole(directory))
		api_connection(source->client)->users = users;
}

/*
 * Learns how many pages the list has: by what this session has seen, or by a request
 * for the first of them, whose users are taken.
 */
static void
learn_pages(Directory *directory)
{
	const DirectorySource *source = &directory->source;
	Connection *connection = api_connection(source->client);
	JsonRecord *record;
	ApiCall    *call;
	int64		total;
	int			n = 0;

	if (is_whole(directory) && connection->users > 0)
	{
		directory->pages = pages_of(directory, connection->users);
		return;
	}
	call = sample_open(source->client, source->resource, &source->listing,
					   &total);
	while ((record = sample_record(source->client, call, n)) != NULL)
	{
		learn_rank(directory, record);
		enter_listed(directory, record);
		n++;
	}
	api_call_free(call);
	directory->complete = n < source->listing.page_size || n == total;
	total = directory->complete ? n : total < 0 ? UNCOUNTED_USERS : total;
	directory->pages = pages_of(directory, total);
	if (is_whole(directory))
		connection->users = total;
}

/* Whether one more user may be looked up; if not, the list is to be read. */
static bool
may_look_up(const Directory *directory)
{
	if (directory->caller == CALLER_OTHER)
		return false;
	if (directory->lookups < directory->unasked)
		return true;
	return directory->pages >= LOOKUPS_MIN_PAGES &&
		directory->lookups < directory->pages;
}

/*
 * Looks a user up.  False, and nothing entered, if that shows that the caller is no
 * administrator.
 */
static bool
look_up(Directory *directory, const ApiTarget *target, int64 id)
{
	Stream	   *stream = stream_lookup(directory->source.client,
									   directory->source.resource, target, 1, 1,
									   false);
	JsonRecord *record = stream_next(stream);

	directory->lookups++;
	learn_rank(directory, record);
	if (directory->caller != CALLER_OTHER)
		enter(directory, id, record);
	stream_end(stream);
	return directory->caller != CALLER_OTHER;
}

/* Asks GitLab for a user who has no entry yet; NULL: there is none. */
static DirectoryEntry *
ask(Directory *directory, const ApiTarget *target, int64 id)
{
	Sight		sight = api_connection(directory->source.client)->sight;
	DirectoryEntry *entry;

	if (sight != SIGHT_UNKNOWN)
		directory->caller = sight == SIGHT_ALL ? CALLER_ADMINISTRATOR :
			CALLER_OTHER;
	if (directory->caller != CALLER_OTHER && directory->pages == 0 &&
		directory->lookups >= directory->unasked)
	{
		learn_pages(directory);
		entry = find(directory, id);
		if (entry || directory->complete)
			return entry;
	}
	if (!may_look_up(directory) || !look_up(directory, target, id))
		read_list(directory);
	return find(directory, id);
}


/* ----------
 * The directory
 * ----------
 */

/*
 * Makes a directory, empty, in the current memory context.  unasked: so many lookups are
 * made before it must be known how many pages the list has.  pages: that number, or 0.
 */
Directory *
directory_create(const DirectorySource *source, int unasked, int pages)
{
	HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(DirectoryEntry)};
	Directory  *directory = palloc0(sizeof(Directory));

	directory->source = *source;
	directory->context = CurrentMemoryContext;
	directory->row_context = AllocSetContextCreate(CurrentMemoryContext,
												   "GitLab user",
												   ALLOCSET_SMALL_SIZES);
	directory->unasked = unasked;
	directory->pages = pages;
	ctl.hcxt = CurrentMemoryContext;
	directory->entries = hash_create("gitlab_pat_fdw users", 64, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return directory;
}

/* Puts the user whom a target names into a slot; an empty one if there is none. */
void
directory_show(Directory *directory, const ApiTarget *target,
			   TupleTableSlot *slot)
{
	int64		id = pg_strtoint64(target->key);
	DirectoryEntry *entry = find(directory, id);

	directory->slot = slot;
	if (entry == NULL && !directory->complete)
		entry = ask(directory, target, id);
	ExecClearTuple(slot);
	if (entry == NULL || !entry->present)
		return;
	if (entry->tuple)
		ExecForceStoreMinimalTuple(entry->tuple, slot, false);
	else
		ExecForceStoreMinimalTuple(read_tuple(directory, entry), slot, true);
}

/* Closes what the rows were kept in. */
void
directory_end(Directory *directory)
{
	if (directory->file)
		BufFileClose(directory->file);
	directory->file = NULL;
}
