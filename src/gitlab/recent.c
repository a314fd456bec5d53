/*-------------------------------------------------------------------------
 *
 * recent.c
 *	  What GitLab has just shown of single objects.
 *
 * The answers are kept until the transaction ends, or until anything is written.
 * Whoever wants one after some seconds gets none, and asks GitLab.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/recent.h"
#include "utils/memutils.h"

/*
 * How long an answer is good, in s: long enough for the requests that rotate a
 * token.  A commit that reads all objects before it writes would hardly take less.
 */
#define LIFETIME 5

/* The most answers that are kept: each may hold a value of 10 kB. */
#define MAX_ANSWERS 256

typedef struct RecentAnswer
{
	dlist_node	link;
	MemoryContext context;		/* holds all of this */
	Oid			umid;			/* user mapping that GitLab was asked by */
	uint64		instance;
	const Resource *resource;
	const char *container;		/* as it was asked for; empty: there is none */
	const char *key;
	const char *variant;
	bool		alone;			/* no other object there has its key */
	JsonRecord *record;
	instr_time	asked;			/* not later than the request was sent */
} RecentAnswer;

static dlist_head answers = DLIST_STATIC_INIT(answers); /* oldest first */
static int	nanswers = 0;
static bool in_job = false;

/* Overwrites secrets, as record_copy() has it done when its context ends. */
static void
drop(RecentAnswer *answer)
{
	dlist_delete(&answer->link);
	MemoryContextDelete(answer->context);
	nanswers--;
}

/* Forgets all answers. */
void
recent_forget(void)
{
	while (!dlist_is_empty(&answers))
		drop(dlist_head_element(RecentAnswer, link, &answers));
}

static const char *
container_of(const char *const *containers)
{
	return containers[0] ? containers[0] : "";
}

/* The variant of a record: the usual one, if the server knows no variants. */
static const char *
variant_of(const Resource *resource, JsonRecord *record)
{
	const char *variant = resource->variant ?
		record_text(record, resource->variant) : NULL;

	return variant ? variant : "*";
}

/* Keeps a copy of a record.  asked: a time before the request that has shown it. */
static void
keep(const Connection *connection, const Resource *resource,
	 const char *container, bool alone, JsonRecord *record, instr_time asked)
{
	const char *key = record_text(record, resource->key);
	MemoryContext context;
	MemoryContext saved;
	RecentAnswer *answer;

	if (resource->kind != RESOURCE_VARIABLES || key == NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "GitLab answer",
									ALLOCSET_SMALL_SIZES);
	saved = MemoryContextSwitchTo(context);
	answer = palloc0(sizeof(RecentAnswer));
	answer->context = context;
	answer->umid = connection->umid;
	answer->instance = connection->instance;
	answer->resource = resource;
	answer->container = pstrdup(container);
	answer->key = pstrdup(key);
	answer->variant = pstrdup(variant_of(resource, record));
	answer->alone = alone || resource->variant == NULL;
	answer->record = record_copy(record);
	answer->asked = asked;
	MemoryContextSwitchTo(saved);
	/* nothing can fail any more */
	MemoryContextSetParent(context, TopMemoryContext);
	if (nanswers == MAX_ANSWERS)
		drop(dlist_head_element(RecentAnswer, link, &answers));
	dlist_push_tail(&answers, &answer->link);
	nanswers++;
}

/*
 * Keeps the answer to a lookup, if the commit may write what it describes.  asked: a
 * time before it was sent.
 */
void
recent_note(ApiCall *call, const Resource *resource, const ApiTarget *target,
			instr_time asked)
{
	keep(call->connection, resource, container_of(target->containers),
		 target->parameters == NIL, call->record, asked);
}

/* Keeps an object as a job has just written it: the record is GitLab's answer. */
void
recent_note_object(const Connection *connection, const Resource *resource,
				   const char *container, JsonRecord *record)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	if (in_job)
		keep(connection, resource, container, false, record, now);
}

static bool
is_fresh(const RecentAnswer *answer)
{
	instr_time	age;

	INSTR_TIME_SET_CURRENT(age);
	INSTR_TIME_SUBTRACT(age, answer->asked);
	return INSTR_TIME_GET_DOUBLE(age) < LIFETIME;
}

/*
 * An object as GitLab has just shown it to a user mapping, or NULL.  variant: NULL stands
 * for any.  alone: it must be known that no other object has its key.  The record belongs
 * to this module, and is valid until anything else here is called.
 */
JsonRecord *
recent_find(const Connection *connection, const Resource *resource,
			const char *container, const char *key, const char *variant,
			bool alone)
{
	/* the youngest one counts */
	for (dlist_node *node = answers.head.prev;
		 node && node != &answers.head; node = node->prev)
	{
		const RecentAnswer *answer = dlist_container(RecentAnswer, link, node);

		if (answer->umid == connection->umid &&
			answer->instance == connection->instance &&
			answer->resource == resource &&
			strcmp(answer->container, container) == 0 &&
			strcmp(answer->key, key) == 0 &&
			(variant == NULL || strcmp(answer->variant, variant) == 0))
			return is_fresh(answer) && (answer->alone || !alone) ?
				answer->record : NULL;
	}
	return NULL;
}

/*
 * An object that a lookup asks for, as GitLab has just shown it to a user
 * mapping in a job, or NULL.
 */
JsonRecord *
recent_find_target(const Connection *connection, const Resource *resource,
				   const ApiTarget *target)
{
	const char *variant = NULL;
	ListCell   *lc;

	if (!in_job || resource->kind != RESOURCE_VARIABLES)
		return NULL;
	foreach(lc, target->parameters)
	{
		const ApiParameter *parameter = lfirst(lc);

		if (resource->variant_parameter == NULL ||
			strcmp(parameter->name, resource->variant_parameter) != 0)
			return NULL;
		variant = parameter->value;
	}
	return recent_find(connection, resource, container_of(target->containers),
					   target->key, variant, variant == NULL);
}


/* ----------
 * Transactions and jobs
 * ----------
 */

/*
 * Forgets the answers, unless a job's transaction was committed: a variable whose write
 * was rolled back may have been written all the same, and restored.
 */
void
recent_end_transaction(bool committed)
{
	if (!in_job || !committed)
		recent_forget();
}

void
recent_begin_job(void)
{
	in_job = true;
}

void
recent_end_job(void)
{
	in_job = false;
	recent_forget();
}

bool
recent_in_job(void)
{
	return in_job;
}
