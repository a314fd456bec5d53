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
#include "utils/memutils.h"

struct SeenObjects
{
	IntegerSet *ascending;		/* ids that came in ascending order */
	uint64		highest;
	HTAB	   *stragglers;		/* the other ids, or NULL */
	HTAB	   *names;			/* or NULL */
	MemoryContext context;
};

/* A set that nothing was added to, in the current memory context. */
SeenObjects *
seen_create(void)
{
	SeenObjects *seen = palloc0(sizeof(SeenObjects));

	seen->context = CurrentMemoryContext;
	seen->ascending = intset_create();
	return seen;
}

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

/*
 * Adds an object by its key and what tells it from others with that key, or
 * NULL; false if it is there already.
 */
bool
seen_add_name(SeenObjects *seen, const char *key, const char *variant)
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

/* Adds an object by its id, which is positive; false if it is there already. */
bool
seen_add_id(SeenObjects *seen, int64 id)
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

/* The key of an object.  False if its record does not say it, as it should. */
bool
seen_key(const Resource *resource, JsonRecord *record, ObjectKey *key)
{
	*key = (ObjectKey)
	{
		0, NULL, NULL
	};
	if (resource_has_ids(resource))
		return record_id(record, &key->id);
	key->name = record_text(record, resource->key);
	if (resource->variant)
		key->variant = record_text(record, resource->variant);
	return key->name != NULL;
}

/* Adds an object by its key; false if it is there already. */
bool
seen_add(SeenObjects *seen, const ObjectKey *key)
{
	return key->id > 0 ? seen_add_id(seen, key->id) :
		seen_add_name(seen, key->name, key->variant);
}
