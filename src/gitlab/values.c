/*-------------------------------------------------------------------------
 *
 * values.c
 *	  The values that equalities leave of a field.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "gitlab/values.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The analyzer does not see that a set of values has one: NOLINTBEGIN(clang-analyzer-*) */

/* No user, project, variable or scope has a longer name. */
#define MAX_NAME_LENGTH 255

int64
value_integer(Datum value, Oid type)
{
	return type == INT2OID ? DatumGetInt16(value) :
		type == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

/* Shorter texts come first, so that numbers are in their order. */
static int
compare_values(const void *a, const void *b)
{
	const char *x = *(char *const *) a;
	const char *y = *(char *const *) b;
	size_t		xlen = strlen(x);
	size_t		ylen = strlen(y);

	return xlen != ylen ? (xlen < ylen ? -1 : 1) : strcmp(x, y);
}

static bool
values_have(const ValueSet *set, char *value)
{
	return bsearch(&value, set->values, set->nvalues, sizeof(char *),
				   compare_values) != NULL;
}

/*
 * A value as GitLab takes it, or NULL if nothing there can have it: numbers are
 * positive.
 */
static char *
value_text(Datum value, Oid type)
{
	int64		number;
	char	   *name;

	if (type != TEXTOID)
	{
		number = value_integer(value, type);
		return number > 0 ? psprintf(INT64_FORMAT, number) : NULL;
	}
	name = TextDatumGetCString(value);
	if (!resource_is_name(name))
		return NULL;
	return pg_server_to_any(name, strlen(name), PG_UTF8);
}

/* The values that the operand of an equality stands for. */
static ValueSet
values_of_operand(const Condition *condition)
{
	ValueSet	set = {NULL, 0};
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int			kept = 0;
	Oid			type = condition->type;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	if (condition->operator == CONDITION_EQUAL)
	{
		set.values = palloc(sizeof(char *));
		set.values[0] = value_text(condition->operand, type);
		set.nvalues = set.values[0] != NULL;
		return set;
	}
	type = get_element_type(type);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(DatumGetArrayTypeP(condition->operand), type, typlen,
					  typbyval, typalign, &elems, &nulls, &n);
	set.values = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		char	   *value = nulls[i] ? NULL : value_text(elems[i], type);

		if (value)
			set.values[set.nvalues++] = value;
	}
	qsort(set.values, set.nvalues, sizeof(char *), compare_values);
	for (int i = 0; i < set.nvalues; i++)
		if (kept == 0 || strcmp(set.values[kept - 1], set.values[i]) != 0)
			set.values[kept++] = set.values[i];
	set.nvalues = kept;
	return set;
}

/*
 * The values that all equalities on a field allow.  False if there is no such
 * condition.
 */
bool
values_allowed(const Resource *resource, const char *name,
			   const Condition *conditions, int nconditions, ValueSet *set)
{
	const ResourceField *field = resource_field(resource, name);
	bool		found = false;

	for (int i = 0; i < nconditions; i++)
	{
		ValueSet	more;
		int			kept = 0;

		if (conditions[i].field != field ||
			(conditions[i].operator != CONDITION_EQUAL &&
			 conditions[i].operator != CONDITION_EQUAL_ANY))
			continue;
		more = values_of_operand(&conditions[i]);
		if (!found)
		{
			*set = more;
			found = true;
			continue;
		}
		for (int j = 0; j < set->nvalues; j++)
			if (values_have(&more, set->values[j]))
				set->values[kept++] = set->values[j];
		set->nvalues = kept;
	}
	return found;
}

/* Whether a text can be the value of a field of anything in GitLab. */
static bool
can_be_sent(const ResourceFilter *filter, const char *text)
{
	return resource_is_name(text) && strlen(text) <= MAX_NAME_LENGTH &&
		(filter->alphabet == NULL ||
		 strspn(text, filter->alphabet) == strlen(text));
}

/*
 * Leaves of several texts those that may be the value of anything, and of those that
 * are one to GitLab, the first.
 */
void
values_keep_distinct(const ResourceFilter *filter, ValueSet *set)
{
	int			kept = 0;

	for (int i = 0; i < set->nvalues; i++)
	{
		bool		repeated = filter->test == FILTER_EQUAL &&
			!can_be_sent(filter, set->values[i]);

		for (int j = 0; j < kept && !repeated; j++)
			repeated = pg_strcasecmp(set->values[i], set->values[j]) == 0;
		if (!repeated)
			set->values[kept++] = set->values[i];
	}
	set->nvalues = kept;
}

/* NOLINTEND(clang-analyzer-*) */
