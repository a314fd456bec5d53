/*-------------------------------------------------------------------------
 *
 * seen.c
 *	  The objects that a scan has already met, by id or by name.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "gitlab/seen.h"
#include "lib/integerset.h"
#include "utils/hsearch.h"

/* A table of names, which are texts of any length. */
static uint32
hash_name(const void *key, Size size)
{
	const char *name = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
}

static int
compare_names(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Is this name new to the stream? */
bool
is_new_name(SeenIds *seen, const char *key, const char *variant)
{
	HASHCTL		ctl = {.keysize = sizeof(char *), .entrysize = sizeof(char *),
		.hash = hash_name, .match = compare_names, .hcxt = seen->context
	};
	MemoryContext saved = MemoryContextSwitchTo(seen->context);
	char	   *name = psprintf("%s\n%s", key, variant ? variant : "");
	bool		found;

	if (seen->names == NULL)
		seen->names = hash_create("GitLab names", 256, &ctl,
								  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								  HASH_CONTEXT);
	(void) hash_search(seen->names, &name, HASH_ENTER, &found);
	if (found)
		pfree(name);
	MemoryContextSwitchTo(saved);
	return !found;
}

/* Is this id new to the stream? */
bool
is_new_id(SeenIds *seen, int64 id)
{
	bool		found;

	if ((uint64) id > seen->highest)
	{
		intset_add_member(seen->ascending, id);
		seen->highest = id;
		return true;
	}
	if (intset_is_member(seen->ascending, id))
		return false;
	if (seen->stragglers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(int64),
			.hcxt = seen->context
		};

		seen->stragglers = hash_create("GitLab ids", 256, &ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(seen->stragglers, &id, HASH_ENTER, &found);
	return !found;
}
