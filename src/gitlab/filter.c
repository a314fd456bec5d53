/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  Conditions on rows, and the parameters that ask GitLab for them.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/call.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "gitlab/filter.h"
#include "gitlab/record.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* GitLab drops search terms that are shorter, in characters. */
#define MIN_SEARCH_LENGTH 3

#define USECS_PER_MSEC INT64CONST(1000)
#define MSECS_PER_DAY INT64CONST(86400000)

/* Dates and times that GitLab can be asked for: years 1 to 9999. */
#define MIN_DATE (date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE)
#define MAX_DATE (date2j(9999, 12, 31) - POSTGRES_EPOCH_JDATE)

/* The interval that conditions leave of a field with bounds. */
typedef struct Bounds
{
	const ResourceField *field;
	bool		has_lower;
	bool		has_upper;
	int64		lower;			/* inclusive; ms since 2000, or days */
	int64		upper;			/* inclusive */
	bool		inexact;		/* a condition is stricter than this */
} Bounds;

/* A request in the making. */
typedef struct Builder
{
	const Resource *resource;
	int			version;
	bool		pending;
	bool		one_answer;
	FilterRequest *request;
	FilterChurn churn;			/* the direction that is being sent */
} Builder;


/* ----------
 * Which filter serves which condition
 * ----------
 */

static bool
serves(const ResourceFilter *filter, ConditionOperator operator)
{
	switch (filter->test)
	{
		case FILTER_CONTAINER:
		case FILTER_LOOKUP:
		case FILTER_EQUAL:
			return operator == CONDITION_EQUAL || operator == CONDITION_EQUAL_ANY;
		case FILTER_VARIANT:
		case FILTER_TRUE:
		case FILTER_FALSE:
		case FILTER_IS:
			return operator == CONDITION_EQUAL;
		case FILTER_AFTER:
			return operator == CONDITION_EQUAL || operator == CONDITION_GREATER ||
				operator == CONDITION_GREATER_EQUAL;
		case FILTER_BEFORE:
			return operator == CONDITION_EQUAL || operator == CONDITION_LESS ||
				operator == CONDITION_LESS_EQUAL;
		case FILTER_SEARCH:
			return operator == CONDITION_EQUAL || operator == CONDITION_LIKE ||
				operator == CONDITION_ILIKE;
	}
	return false;
}

/* The next filter of a field that serves an operator, after a given one. */
static const ResourceFilter *
next_filter(const Resource *resource, const ResourceField *field,
			ConditionOperator operator, const ResourceFilter *after)
{
	const ResourceFilter *filter = after ? after + 1 : resource->filters;

	for (; filter < resource->filters + resource->nfilters; filter++)
		if (strcmp(filter->field, field->name) == 0 && serves(filter, operator))
			return filter;
	return NULL;
}

/*
 * Does GitLab, of a declared version, know a parameter for such a condition;
 * with joining: one that is worth a request for each row of a join?  operand is
 * that of a condition on a boolean field, or NULL if it is not known yet.
 * *exact says whether the parameter may select just the rows that fulfil the
 * condition; in the end the operand decides.
 */
bool
filter_exists(const Resource *resource, const ResourceField *field,
			  ConditionOperator operator, const bool *operand, int version,
			  bool joining, bool *exact)
{
	const ResourceFilter *filter = NULL;
	bool		found = false;

	*exact = true;
	while ((filter = next_filter(resource, field, operator, filter)) != NULL)
	{
		if (joining && !filter->joinable)
			continue;
		if (operand && *operand != (filter->test == FILTER_TRUE))
			continue;
		/* the texts of an array may be spellings of one value to GitLab */
		if (operator == CONDITION_EQUAL_ANY && filter->test == FILTER_EQUAL &&
			field->type == FIELD_TEXT)
			continue;
		found = true;
		if (version < filter->exact_from || version < filter->known_from)
			*exact = false;
	}
	if (!found)
		*exact = false;
	return found;
}


/* ----------
 * Parameters
 * ----------
 */

/*
 * Adds a parameter if it may be sent.  False, and then the request is not
 * exact, if it may not.
 */
static bool
add_parameter(Builder *builder, const ResourceFilter *filter, const char *value)
{
	if (builder->version < filter->known_from ||
		(builder->pending && filter->hides_pending) ||
		(!builder->one_answer && filter->churn != CHURN_NONE &&
		 filter->churn != builder->churn))
	{
		builder->request->exact = false;
		return false;
	}
	if (builder->version < filter->exact_from)
		builder->request->exact = false;
	else if (filter->exact_from > 0 && builder->one_answer)
		builder->request->needs_version = true;
	if (filter->known_from > 0)
		builder->request->needs_version = true;
	builder->request->parameters =
		list_concat(builder->request->parameters,
					api_parameter(filter->parameter, value));
	return true;
}

static const char *
sent_value(const List *parameters, const char *name)
{
	ListCell   *lc;

	foreach(lc, parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		if (strcmp(parameter->name, name) == 0)
			return parameter->value;
	}
	return NULL;
}


/* ----------
 * Sets of values: ids, owners, projects, keys
 * ----------
 */

/* Distinct values, as texts in UTF-8, in ascending order. */
typedef struct ValueSet
{
	char	  **values;
	int			nvalues;
} ValueSet;

static int64
integer_operand(Datum value, Oid type)
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
has_value(const ValueSet *set, char *value)
{
	return bsearch(&value, set->values, set->nvalues, sizeof(char *),
				   compare_values) != NULL;
}

/*
 * A value as GitLab takes it, or NULL if nothing there can have it: numbers are
 * positive, names not empty, and the steps of a path are no names.
 */
static char *
value_text(Datum value, Oid type)
{
	int64		number;
	char	   *name;

	if (type != TEXTOID)
	{
		number = integer_operand(value, type);
		return number > 0 ? psprintf(INT64_FORMAT, number) : NULL;
	}
	name = TextDatumGetCString(value);
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return NULL;
	return pg_server_to_any(name, strlen(name), PG_UTF8);
}

/* The values that the operand of an equality stands for. */
static ValueSet
operand_values(const Condition *condition)
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
static bool
allowed_values(const Resource *resource, const char *name,
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
		more = operand_values(&conditions[i]);
		if (!found)
		{
			*set = more;
			found = true;
			continue;
		}
		for (int j = 0; j < set->nvalues; j++)
			if (has_value(&more, set->values[j]))
				set->values[kept++] = set->values[j];
		set->nvalues = kept;
	}
	return found;
}

/* What the targets of a request are made of, each with one of these values. */
typedef struct TargetSets
{
	ValueSet	containers;
	ValueSet	keys;
	bool		has_keys;
	ValueSet	split;			/* of a parameter that takes one at a time */
	const char *split_parameter;	/* or NULL */
	const char *variant;		/* or NULL */
} TargetSets;

static void
collect_sets(Builder *builder, const Condition *conditions, int nconditions,
			 TargetSets *sets)
{
	const Resource *resource = builder->resource;
	FilterRequest *request = builder->request;

	for (int i = 0; i < resource->nfilters; i++)
	{
		const ResourceFilter *filter = &resource->filters[i];
		ValueSet	set;

		if ((filter->test != FILTER_CONTAINER && filter->test != FILTER_LOOKUP &&
			 filter->test != FILTER_VARIANT &&
			 (filter->test != FILTER_EQUAL ||
			  resource_field(resource, filter->field)->type != FIELD_BIGINT)) ||
			!allowed_values(resource, filter->field, conditions, nconditions,
							&set))
			continue;
		if (set.nvalues == 0)
			request->nothing = true;
		if (builder->version < filter->exact_from)
			request->exact = false;
		if (filter->test == FILTER_CONTAINER)
			sets->containers = set;
		else if (filter->test == FILTER_LOOKUP)
		{
			sets->keys = set;
			sets->has_keys = true;
		}
		else if (filter->test == FILTER_VARIANT)
			sets->variant = set.nvalues == 1 ? set.values[0] : NULL;
		else if (set.nvalues == 1)
			(void) add_parameter(builder, filter, set.values[0]);
		else
		{
			sets->split = set;
			sets->split_parameter = filter->parameter;
		}
	}
}

/*
 * Makes the targets: each object that is to be looked up, else each collection,
 * once for each value of a parameter that takes one at a time.
 */
static void
add_targets(Builder *builder, const TargetSets *sets)
{
	const Resource *resource = builder->resource;
	FilterRequest *request = builder->request;
	const ValueSet *inner = sets->has_keys ? &sets->keys : &sets->split;
	int			ncontainers = resource->container ? sets->containers.nvalues : 1;
	int			ninner = sets->has_keys || sets->split_parameter ?
		inner->nvalues : 1;

	request->lookup = sets->has_keys;
	request->targets = palloc0(sizeof(ApiTarget) *
							   Max((Size) ncontainers * ninner, 1));
	for (int i = 0; i < ncontainers; i++)
		for (int j = 0; j < ninner; j++)
		{
			ApiTarget  *target = &request->targets[request->ntargets++];

			if (resource->container)
				target->container = sets->containers.values[i];
			if (sets->has_keys)
				target->key = inner->values[j];
			target->path = resource_path(resource, target->container,
										 target->key);
			if (sets->has_keys && sets->variant)
				target->parameters = api_parameter(resource->variant_parameter,
												   sets->variant);
			else if (!sets->has_keys && sets->split_parameter)
				target->parameters = api_parameter(sets->split_parameter,
												   inner->values[j]);
		}
}


/* ----------
 * Booleans and enumerated texts
 * ----------
 */

static void
add_constant(Builder *builder, const ResourceFilter *filter,
			 const Condition *condition)
{
	const char *sent;

	if (filter->test == FILTER_IS)
	{
		if (strcmp(TextDatumGetCString(condition->operand), filter->operand) != 0)
		{
			builder->request->exact = false;
			return;
		}
	}
	else if (DatumGetBool(condition->operand) != (filter->test == FILTER_TRUE))
		return;
	sent = sent_value(builder->request->parameters, filter->parameter);
	if (sent == NULL)
		(void) add_parameter(builder, filter, filter->constant);
	else if (strcmp(sent, filter->constant) != 0)
		builder->request->nothing = true;
}

static bool
is_ascii_run(const char *text, int length)
{
	for (int i = 0; i < length; i++)
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	return true;
}

static void
add_text(Builder *builder, const ResourceFilter *filter,
		 const Condition *condition)
{
	char	   *string = TextDatumGetCString(condition->operand);
	int			length = strlen(string);

	if (length == 0 || sent_value(builder->request->parameters, filter->parameter) ||
		(GetDatabaseEncoding() == PG_SQL_ASCII && !is_ascii_run(string, length)))
		builder->request->exact = false;
	else
		(void) add_parameter(builder, filter,
							 pg_server_to_any(string, length, PG_UTF8));
}


/* ----------
 * Dates and times
 * ----------
 */

static int64
floor_divide(int64 a, int64 b)
{
	return a / b - (a % b < 0 ? 1 : 0);
}

/*
 * An operand as a timestamp with time zone, as the comparison operators of that
 * type would take it.  False if it lies beyond all timestamps.
 */
static bool
timestamp_operand(const Condition *condition, TimestampTz *result)
{
	bool		good = true;

	switch (condition->type)
	{
		case DATEOID:
			good = compat_date_to_timestamptz(DatumGetDateADT(condition->operand),
											  result);
			break;
		case TIMESTAMPOID:
			good = compat_timestamp_to_timestamptz(DatumGetTimestamp(condition->operand),
												   result);
			break;
		default:
			*result = DatumGetTimestampTz(condition->operand);
	}
	return good && !TIMESTAMP_NOT_FINITE(*result);
}

/*
 * An operand as a number in the unit of its field's bounds: milliseconds or
 * days.  *between says that it lies between this number and the next one.
 * False if GitLab can't be asked for it.
 */
static bool
number_operand(const Condition *condition, int64 *number, bool *between)
{
	*between = false;
	if (condition->field->type == FIELD_TIMESTAMPTZ)
	{
		TimestampTz time;

		if (!timestamp_operand(condition, &time))
			return false;
		*number = floor_divide(time, USECS_PER_MSEC);
		*between = *number * USECS_PER_MSEC != time;
		return floor_divide(time, USECS_PER_DAY) > MIN_DATE &&
			floor_divide(time, USECS_PER_DAY) < MAX_DATE;
	}
	if (condition->type == DATEOID)
	{
		if (DATE_NOT_FINITE(DatumGetDateADT(condition->operand)))
			return false;
		*number = DatumGetDateADT(condition->operand);
	}
	else
	{
		PGFunction	to_date = condition->type == TIMESTAMPOID ?
			timestamp_date : timestamptz_date;

		if (TIMESTAMP_NOT_FINITE(DatumGetTimestamp(condition->operand)))
			return false;
		*number = DatumGetDateADT(DirectFunctionCall1(to_date,
													  condition->operand));
		*between = true;		/* unless it is midnight, but that is rare */
	}
	return *number > MIN_DATE && *number < MAX_DATE;
}

/* Narrows bounds by a condition; what can't be asked for is left to recheck. */
static void
narrow(Bounds *bounds, const Condition *condition)
{
	ConditionOperator operator = condition->operator;
	bool		between;
	int64		number;
	int64		lower;
	int64		upper;

	if (!number_operand(condition, &number, &between))
	{
		bounds->inexact = true;
		return;
	}
	/* what lies between two numbers is above the one and below the other */
	lower = operator == CONDITION_GREATER && !between ? number + 1 : number;
	upper = operator == CONDITION_LESS && !between ? number - 1 : number;
	if (between)
		bounds->inexact = true;
	if (operator != CONDITION_LESS && operator != CONDITION_LESS_EQUAL)
	{
		bounds->lower = bounds->has_lower ? Max(bounds->lower, lower) : lower;
		bounds->has_lower = true;
	}
	if (operator != CONDITION_GREATER && operator != CONDITION_GREATER_EQUAL)
	{
		bounds->upper = bounds->has_upper ? Min(bounds->upper, upper) : upper;
		bounds->has_upper = true;
	}
}

/* A date as YYYY-MM-DD, or a time in ms as YYYY-MM-DDThh:mm:ss.mmmZ. */
static char *
format_bound(const ResourceField *field, int64 number)
{
	struct pg_tm tm;
	int64		days = number;
	int64		ms = 0;

	if (field->type == FIELD_TIMESTAMPTZ)
	{
		days = floor_divide(number, MSECS_PER_DAY);
		ms = number - days * MSECS_PER_DAY;
	}
	j2date((int) days + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon,
		   &tm.tm_mday);
	if (field->type == FIELD_DATE)
		return psprintf("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year,
					tm.tm_mon, tm.tm_mday, (int) (ms / 3600000),
					(int) (ms / 60000 % 60), (int) (ms / 1000 % 60),
					(int) (ms % 1000));
}

static void
add_bound(Builder *builder, const ResourceFilter *filter, const Bounds *bounds)
{
	if (filter->test == FILTER_AFTER && bounds->has_lower)
		(void) add_parameter(builder, filter,
							 format_bound(bounds->field, bounds->lower));

	/*
	 * The upper bound is one more: for dates because GitLab excludes it, for
	 * times because what GitLab shows was cut to milliseconds.
	 */
	if (filter->test == FILTER_BEFORE && bounds->has_upper)
		(void) add_parameter(builder, filter,
							 format_bound(bounds->field, bounds->upper + 1));
}

static void
add_bounds(Builder *builder, const ResourceField *field,
		   const Condition *conditions, int nconditions)
{
	Bounds		bounds = {.field = field};
	const Resource *resource = builder->resource;

	for (int i = 0; i < nconditions; i++)
		if (conditions[i].field == field)
			narrow(&bounds, &conditions[i]);
	if (bounds.inexact)
		builder->request->exact = false;
	if (bounds.has_lower && bounds.has_upper && bounds.lower > bounds.upper)
	{
		builder->request->nothing = true;
		return;
	}
	for (int i = 0; i < resource->nfilters; i++)
		if (strcmp(resource->filters[i].field, field->name) == 0)
			add_bound(builder, &resource->filters[i], &bounds);
}


/* ----------
 * Search
 * ----------
 */

/*
 * Is this character, in UTF-8, one that GitLab takes for a blank or a quote, so
 * that it ends a search term?  Ruby knows all of Unicode's blanks.
 */
static bool
ends_term(const char *p)
{
	pg_wchar	c;

	if (!IS_HIGHBIT_SET(*p))
		return *p == '\0' || strchr(" \t\n\v\f\r\"", *p);
	c = utf8_to_unicode((const unsigned char *) p);
	return c == 0x85 || c == 0xA0 || c == 0x1680 ||
		(c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
		c == 0x202F || c == 0x205F || c == 0x3000;
}

/*
 * The longest run of text that every matching name contains and that GitLab
 * searches for as it stands, in UTF-8: without wildcards, blanks and double
 * quotes.  NULL if there is none of three characters.
 */
static char *
search_fragment(const Condition *condition)
{
	char	   *string = TextDatumGetCString(condition->operand);
	bool		pattern = condition->operator != CONDITION_EQUAL;
	bool		ascii_only = condition->operator == CONDITION_ILIKE ||
		GetDatabaseEncoding() == PG_SQL_ASCII;
	char	   *best = NULL;
	int			best_characters = MIN_SEARCH_LENGTH - 1;
	int			characters = 0;
	char	   *run;
	int			length = 0;
	char	   *p;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		string = pg_server_to_any(string, strlen(string), PG_UTF8);
	run = palloc(strlen(string) + 1);
	p = string;
	for (;;)
	{
		bool		ends = pattern && (*p == '%' || *p == '_');
		int			n;

		if (pattern && *p == '\\')
			p++;				/* what it escapes is taken as it stands */
		ends = ends || (ascii_only && IS_HIGHBIT_SET(*p)) || ends_term(p);
		if (!ends)
		{
			n = pg_encoding_mblen(PG_UTF8, p);
			memcpy(run + length, p, n);
			length += n;
			characters++;
			p += n;
			continue;
		}
		if (characters > best_characters)
		{
			best = pnstrdup(run, length);
			best_characters = characters;
		}
		length = characters = 0;
		if (*p == '\0')
			break;
		p += IS_HIGHBIT_SET(*p) && !ascii_only ? pg_encoding_mblen(PG_UTF8, p) : 1;
	}
	return best;
}

static void
add_search(Builder *builder, const ResourceFilter *filter,
		   const Condition *conditions, int nconditions)
{
	char	   *best = NULL;

	for (int i = 0; i < nconditions; i++)
	{
		char	   *fragment;

		if (strcmp(conditions[i].field->name, filter->field) != 0 ||
			!serves(filter, conditions[i].operator))
			continue;
		builder->request->exact = false;
		fragment = search_fragment(&conditions[i]);
		if (fragment && (best == NULL || strlen(fragment) > strlen(best)))
			best = fragment;
	}
	if (best)
		(void) add_parameter(builder, filter, best);
}


/* ----------
 * The request
 * ----------
 */

/* Of the parameters for things that change, those of one direction are sent. */
static FilterChurn
choose_churn(const Builder *builder, const Condition *conditions,
			 int nconditions)
{
	for (int i = 0; i < nconditions; i++)
	{
		const ResourceFilter *filter = NULL;
		const Condition *c = &conditions[i];

		while ((filter = next_filter(builder->resource, c->field, c->operator,
									 filter)) != NULL)
		{
			if (filter->churn != CHURN_LEAVE)
				continue;
			if (filter->test == FILTER_BEFORE || c->expression ||
				DatumGetBool(c->operand) == (filter->test == FILTER_TRUE))
				return CHURN_LEAVE;
		}
	}
	return CHURN_ENTER;
}

static void
add_filter(Builder *builder, const ResourceFilter *filter,
		   const Condition *conditions, int nconditions)
{
	const ResourceField *field = resource_field(builder->resource,
												filter->field);

	switch (filter->test)
	{
		case FILTER_CONTAINER:
		case FILTER_LOOKUP:
		case FILTER_VARIANT:
			return;				/* see collect_sets() */
		case FILTER_SEARCH:
			add_search(builder, filter, conditions, nconditions);
			return;
		case FILTER_AFTER:
		case FILTER_BEFORE:
			return;				/* by field, see below */
		case FILTER_EQUAL:
			if (field->type == FIELD_BIGINT)
				return;			/* see collect_sets() */
			break;
		case FILTER_TRUE:
		case FILTER_FALSE:
		case FILTER_IS:
			break;
	}
	for (int i = 0; i < nconditions; i++)
	{
		if (conditions[i].field != field ||
			!serves(filter, conditions[i].operator))
			continue;
		if (filter->test == FILTER_EQUAL)
		{
			if (conditions[i].operator == CONDITION_EQUAL)
				add_text(builder, filter, &conditions[i]);
		}
		else
			add_constant(builder, filter, &conditions[i]);
	}
}

/*
 * Adds what is asked for by a condition whose operand is not known yet, with an
 * expression in place of the value.
 */
static void
add_expression(Builder *builder, const Condition *condition, TargetSets *sets)
{
	char	   *value = psprintf("{%s}", condition->expression);
	ValueSet	set = {palloc(sizeof(char *)), 1};
	const ResourceFilter *filter = NULL;
	const char *added = NULL;

	set.values[0] = value;
	while ((filter = next_filter(builder->resource, condition->field,
								 condition->operator, filter)) != NULL)
	{
		if (builder->version < Max(filter->known_from, filter->exact_from))
			builder->request->exact = false;
		if (filter->test == FILTER_CONTAINER)
		{
			if (sets->containers.nvalues == 0)
				sets->containers = set;
		}
		else if (filter->test == FILTER_LOOKUP)
		{
			if (!sets->has_keys)
				sets->keys = set;
			sets->has_keys = true;
		}
		else if (filter->test == FILTER_VARIANT)
			sets->variant = sets->variant ? sets->variant : value;
		/* true and false have the same parameter */
		else if (added == NULL || strcmp(added, filter->parameter) != 0)
			added = add_parameter(builder, filter, value) ?
				filter->parameter : NULL;
	}
}

/*
 * Makes the request for some conditions, in the current memory context.
 * pending: this transaction has changed tokens of the server, which GitLab does
 * not know yet.  one_answer: the request is made once, for its total, so that
 * nothing can change while it is read.
 */
FilterRequest *
filter_request(const Resource *resource, int version,
			   const Condition *conditions, int nconditions, bool pending,
			   bool one_answer)
{
	Builder		builder = {
		.resource = resource,
		.version = version,
		.pending = pending,
		.one_answer = one_answer,
		.request = palloc0(sizeof(FilterRequest)),
	};
	TargetSets	sets = {0};
	Condition  *known = palloc(sizeof(Condition) * Max(nconditions, 1));
	int			nknown = 0;

	builder.request->exact = true;
	for (int i = 0; i < nconditions; i++)
	{
		if (conditions[i].isnull)
		{
			builder.request->nothing = true;
			return builder.request;
		}
		if (conditions[i].expression == NULL)
			known[nknown++] = conditions[i];
	}
	builder.churn = choose_churn(&builder, conditions, nconditions);
	collect_sets(&builder, known, nknown, &sets);
	for (int i = 0; i < resource->nfilters; i++)
		add_filter(&builder, &resource->filters[i], known, nknown);
	for (int i = 0; i < resource->nfields; i++)
		if (resource->fields[i].type == FIELD_DATE ||
			resource->fields[i].type == FIELD_TIMESTAMPTZ)
			add_bounds(&builder, &resource->fields[i], known, nknown);
	for (int i = 0; i < nconditions; i++)
		if (conditions[i].expression)
			add_expression(&builder, &conditions[i], &sets);
	if (!builder.request->nothing)
		add_targets(&builder, &sets);
	return builder.request;
}

/*
 * Does a request ask for what a condition says?  *exact: and for just that,
 * as far as it is known without the operand.
 */
bool
filter_is_sent(const Resource *resource, int version,
			   const FilterRequest *request, const Condition *condition,
			   bool *exact)
{
	const ResourceFilter *filter = NULL;
	List	   *listed = request->lookup ? NIL : request->parameters;
	List	   *own = request->ntargets > 0 ? request->targets[0].parameters : NIL;
	bool		sent = false;

	*exact = filter_request(resource, version, condition, 1, false, true)->exact;
	while ((filter = next_filter(resource, condition->field,
								 condition->operator, filter)) != NULL)
	{
		const char *name = filter->test == FILTER_VARIANT ?
			resource->variant_parameter : filter->parameter;

		if (filter->test == FILTER_CONTAINER ||
			(filter->test == FILTER_LOOKUP && request->lookup) ||
			(name && (sent_value(listed, name) || sent_value(own, name))))
			sent = true;
	}
	return sent && !request->nothing;
}

/* Can nothing be asked for without an equality on this field? */
bool
filter_needed(const Resource *resource, const ResourceField *field)
{
	return resource->container && strcmp(field->name, resource->container) == 0;
}


/* ----------
 * Checking conditions here
 * ----------
 */

static int
compare_to_operand(const Condition *condition, Datum value)
{
	int64		v;
	int64		w;
	TimestampTz time;

	switch (condition->field->type)
	{
		case FIELD_BOOLEAN:
			return (int) DatumGetBool(value) - (int) DatumGetBool(condition->operand);
		case FIELD_BIGINT:
			v = DatumGetInt64(value);
			w = integer_operand(condition->operand, condition->type);
			break;
		case FIELD_DATE:
			if (condition->type == DATEOID)
			{
				v = DatumGetDateADT(value);
				w = DatumGetDateADT(condition->operand);
				break;
			}
			v = DirectFunctionCall1(date_timestamptz, value);
			w = condition->type == TIMESTAMPOID ?
				DirectFunctionCall1(timestamp_timestamptz, condition->operand) :
				condition->operand;
			break;
		default:
			v = DatumGetTimestampTz(value);
			if (!timestamp_operand(condition, &time))
				return TIMESTAMP_IS_NOBEGIN(time) ? 1 : -1;
			w = time;
	}
	return v < w ? -1 : v > w;
}

static bool
matches(const Condition *condition, Datum value)
{
	int			comparison;

	if (condition->operator == CONDITION_EQUAL_ANY ||
		condition->field->type == FIELD_TEXT)
	{
		ValueSet	set = operand_values(condition);
		char	   *text = value_text(value, condition->field->type == FIELD_TEXT ?
									  TEXTOID : INT8OID);

		return text && has_value(&set, text);
	}
	comparison = compare_to_operand(condition, value);
	switch (condition->operator)
	{
		case CONDITION_EQUAL:
			return comparison == 0;
		case CONDITION_LESS:
			return comparison < 0;
		case CONDITION_LESS_EQUAL:
			return comparison <= 0;
		case CONDITION_GREATER:
			return comparison > 0;
		default:
			return comparison >= 0;
	}
}

/*
 * Does a record fulfil conditions of the kinds that may be exact?  That is:
 * equalities of containers, numbers, booleans, dates and times, but no other
 * texts.
 */
bool
filter_matches(const Resource *resource, const Condition *conditions,
			   int nconditions, JsonRecord *record, bool revoked)
{
	for (int i = 0; i < nconditions; i++)
	{
		const ResourceField *field = conditions[i].field;
		bool		isnull;
		Datum		value = resource_datum(resource, field, record, &isnull);

		if (revoked && (field->flags & (FIELD_TRUE_WHEN_REVOKED |
										FIELD_FALSE_WHEN_REVOKED)))
		{
			isnull = false;
			value = BoolGetDatum((field->flags & FIELD_TRUE_WHEN_REVOKED) != 0);
		}
		if (isnull || conditions[i].isnull || !matches(&conditions[i], value))
			return false;
	}
	return true;
}
