/*-------------------------------------------------------------------------
 *
 * values.h
 *	  The values that equalities leave of a field.
 *
 * They are texts as GitLab takes them: ids, owners, names of containers, keys.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_VALUES_H
#define GITLAB_PAT_VALUES_H

#include "gitlab/condition.h"

/* Distinct values, as texts in UTF-8, in ascending order. */
typedef struct ValueSet
{
	char	  **values;
	int			nvalues;
} ValueSet;

extern int64 value_integer(Datum value, Oid type);
extern bool values_allowed(const Resource *resource, const char *name,
						   const Condition *conditions, int nconditions,
						   ValueSet *set);
extern void values_keep_distinct(const ResourceFilter *filter, ValueSet *set);

#endif							/* GITLAB_PAT_VALUES_H */
