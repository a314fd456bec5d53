/*-------------------------------------------------------------------------
 *
 * lock.c
 *	  Locks on tokens: two sessions must not rotate the same one.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/lock.h"
#include "common/hashfn.h"
#include "storage/lock.h"

/*
 * The fourth field of our lock tags.  SQL's advisory functions use 1 and 2, so that
 * no role can hold these by calling one.  Database 0 is that of all databases: GitLab
 * is the same to all.
 */
#define TOKEN_LOCK 0x6770		/* "gp" */
#define INSTANCE_LOCK 0x6771

/*
 * A statement that changes more tokens takes one lock of the instance: the table
 * of locks is limited.
 */
#define MAX_TOKEN_LOCKS 64

/* Takes a lock.  False, and only unless it is to be waited for: somebody has it. */
static bool
acquire(uint64 hash, uint16 kind, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, 0, (uint32) (hash >> 32), (uint32) hash, kind);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static uint64
hash_of_token(const Connection *connection, int64 id)
{
	return hash_bytes_extended((const unsigned char *) &id, sizeof(id),
							   connection->url_hash);
}

void
lock_token(const Connection *connection, int64 id, int number)
{
	uint64		instance = connection->url_hash;

	if (number > MAX_TOKEN_LOCKS)
		return;					/* the lock of the instance covers it */
	(void) acquire(instance, INSTANCE_LOCK,
				   number == MAX_TOKEN_LOCKS ? ExclusiveLock : ShareLock, true);
	if (number < MAX_TOKEN_LOCKS)
		(void) acquire(hash_of_token(connection, id), TOKEN_LOCK, ExclusiveLock,
					   true);
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

void
lock_tokens(const Connection *connection, int64 *ids, int nids)
{
	if (nids > MAX_TOKEN_LOCKS)
	{
		(void) acquire(connection->url_hash, INSTANCE_LOCK, ExclusiveLock, true);
		return;
	}
	qsort(ids, nids, sizeof(int64), compare_ids);
	for (int i = 0; i < nids; i++)
		lock_token(connection, ids[i], 0);
}

bool
lock_tokens_at_once(const Connection *connection, int64 *ids, int nids)
{
	if (nids > MAX_TOKEN_LOCKS ||
		!acquire(connection->url_hash, INSTANCE_LOCK, ShareLock, false))
		return false;
	qsort(ids, nids, sizeof(int64), compare_ids);
	for (int i = 0; i < nids; i++)
		if (!acquire(hash_of_token(connection, ids[i]), TOKEN_LOCK,
					 ExclusiveLock, false))
			return false;
	return true;
}
