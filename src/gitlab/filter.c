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

#include "common/int.h"
#include "gitlab/bounds.h"
#include "gitlab/call.h"
#include "gitlab/filter.h"
#include "gitlab/search.h"
#include "gitlab/seen.h"
#include "gitlab/values.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The analyzer does not see that a set of values has one: NOLINTBEGIN(clang-analyzer-*) */

/*
 * Its web server refuses queries above 10 kB.  Percent-encoding takes three bytes for
 * one.
 */
#define MAX_SEARCH_SIZE 1000

/*
 * The most texts that are asked for one by one.  A list has up to 100 rows a page:
 * with more texts, it may take fewer requests.
 */
#define MAX_ONE_BY_ONE 100

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
		case FILTER_ALIAS:
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
 * Whether GitLab, of a declared version, knows a parameter for such a
 * condition; with joining: one that is worth a request for each row of a join.
 * operand is that of a condition on a boolean field, or NULL if it is not known
 * yet.  *exact says whether the parameter may select just the rows that fulfil
 * the condition; in the end the operand decides.
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
		if ((joining && !filter->joinable) || filter->place == FILTER_ELSEWHERE)
			continue;
		if (operand && *operand != (filter->test == FILTER_TRUE))
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

/* Whether this filter is one for the time zone that a request is for. */
static bool
is_for(const FilterRequest *request, const ResourceFilter *filter)
{
	return filter->place == FILTER_EVERYWHERE ||
		(filter->place == FILTER_ELSEWHERE) == request->elsewhere;
}

/*
 * Adds a parameter if it may be sent.  False, and then the request is not
 * exact, if it may not.
 */
static bool
add_parameter(Builder *builder, const ResourceFilter *filter, const char *value)
{
	if (!is_for(builder->request, filter) ||
		builder->version < filter->known_from ||
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
	if (filter->place == FILTER_IN_UTC)
		builder->request->utc_only = true;
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
 * Targets
 * ----------
 */

/* The fields that make the targets of a request, each with its values. */
typedef struct TargetSets
{
	ValueSet	containers[MAX_CONTAINERS];
	ValueSet	keys;
	bool		has_keys;
	ValueSet	split;			/* of a parameter that takes one at a time */
	const char *split_parameter;	/* or NULL */
	const char *variant;		/* or NULL */
} TargetSets;

/* Whether a filter is about which targets there are, not what they have. */
static bool
makes_targets(const ResourceFilter *filter)
{
	return filter->test == FILTER_CONTAINER || filter->test == FILTER_LOOKUP ||
		filter->test == FILTER_ALIAS || filter->test == FILTER_VARIANT ||
		filter->test == FILTER_EQUAL;
}

/* The container that a filter is about. */
static int
filter_container(const Resource *resource, const ResourceFilter *filter)
{
	return resource_container(resource, resource_field(resource, filter->field));
}

/*
 * The values of a container that conditions leave: of one with few choices all
 * of these, if there is no condition.  False if nothing is known of it.
 */
static bool
container_values(const Resource *resource, const ResourceField *field,
				 const Condition *conditions, int nconditions, ValueSet *set)
{
	bool		found = values_allowed(resource, field->name, conditions,
									   nconditions, set);
	int			kept = 0;

	if (field->choices == NULL)
		return found;
	if (!found)
	{
		int			n = 0;

		while (field->choices[n])
			n++;
		set->values = palloc(sizeof(char *) * n);
		for (set->nvalues = 0; set->nvalues < n; set->nvalues++)
			set->values[set->nvalues] = pstrdup(field->choices[set->nvalues]);
		return true;
	}
	for (int i = 0; i < set->nvalues; i++)
		for (int j = 0; field->choices[j]; j++)
			if (strcmp(set->values[i], field->choices[j]) == 0)
				set->values[kept++] = set->values[i];
	set->nvalues = kept;
	return true;
}

/* Whether all objects with these values of the alias can be looked up by it. */
static bool
are_aliases(const Resource *resource, const ValueSet *set)
{
	for (int i = 0; i < set->nvalues; i++)
		if (!resource_is_alias(resource, set->values[i]))
			return false;
	return true;
}

static void
collect_sets(Builder *builder, const Condition *conditions, int nconditions,
			 TargetSets *sets)
{
	const Resource *resource = builder->resource;
	FilterRequest *request = builder->request;

	for (int i = 0; i < resource->nfilters; i++)
	{
		const ResourceFilter *filter = &resource->filters[i];
		const ResourceField *field = resource_field(resource, filter->field);
		ValueSet	set;

		if (!makes_targets(filter) ||
			!(filter->test == FILTER_CONTAINER ?
			  container_values(resource, field, conditions, nconditions, &set) :
			  values_allowed(resource, filter->field, conditions, nconditions,
							 &set)))
			continue;
		if ((filter->test == FILTER_EQUAL || filter->test == FILTER_ALIAS) &&
			field->type == FIELD_TEXT)
		{
			if (set.nvalues > MAX_ONE_BY_ONE ||
				(filter->test == FILTER_ALIAS && !are_aliases(resource, &set)))
			{
				request->exact = false;
				continue;
			}
			values_keep_distinct(filter, &set);
		}
		if (set.nvalues == 0)
			request->nothing = true;
		if (builder->version < filter->exact_from)
			request->exact = false;
		if (filter->test == FILTER_CONTAINER)
			sets->containers[filter_container(resource, filter)] = set;
		else if (filter->test == FILTER_LOOKUP ||
				 (filter->test == FILTER_ALIAS && !sets->has_keys))
		{
			sets->keys = set;
			sets->has_keys = true;
		}
		else if (filter->test == FILTER_ALIAS)
			request->exact = false; /* the key says more */
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

/* Names a target's containers: the number'th combination, the last one fastest. */
static void
name_containers(ApiTarget *target, const Resource *resource,
				const ValueSet *containers, int number)
{
	for (int i = MAX_CONTAINERS - 1; i >= 0; i--)
	{
		if (resource->containers[i] == NULL)
			continue;
		target->containers[i] =
			containers[i].values[number % containers[i].nvalues];
		number /= containers[i].nvalues;
	}
}

/* One factor times another.  Raises an error for more targets than can be kept. */
static int
count_combinations(int a, int b)
{
	int			product;

	if (pg_mul_s32_overflow(a, b, &product) ||
		product > (int) (MaxAllocSize / sizeof(ApiTarget)))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the conditions name too many objects to request from GitLab"),
				 errhint("Use shorter arrays.")));
	return product;
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
	int			ncontainers = 1;
	int			ninner = sets->has_keys || sets->split_parameter ?
		inner->nvalues : 1;

	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
		ncontainers = count_combinations(ncontainers,
										 sets->containers[i].nvalues);
	request->lookup = sets->has_keys;
	request->targets = palloc0(sizeof(ApiTarget) *
							   Max(count_combinations(ncontainers, ninner), 1));
	for (int i = 0; i < ncontainers; i++)
		for (int j = 0; j < ninner; j++)
		{
			ApiTarget  *target = &request->targets[request->ntargets++];

			CHECK_FOR_INTERRUPTS();
			name_containers(target, resource, sets->containers, i);
			if (sets->has_keys)
				target->key = inner->values[j];
			target->path = resource_path(resource, target->containers,
										 target->key);
			if (sets->has_keys && sets->variant)
				target->parameters = api_parameter(resource->variant_parameter,
												   sets->variant);
			else if (!sets->has_keys && sets->split_parameter)
				target->parameters = api_parameter(sets->split_parameter,
												   inner->values[j]);
		}
}

/* NOLINTEND(clang-analyzer-*) */


/* ----------
 * Booleans and enumerated texts
 * ----------
 */

/*
 * Whether a condition, with a known operand, is the one that a filter's
 * constant is for.
 */
static bool
is_about(const ResourceFilter *filter, const Condition *condition)
{
	switch (filter->test)
	{
		case FILTER_TRUE:
		case FILTER_FALSE:
			return DatumGetBool(condition->operand) == (filter->test == FILTER_TRUE);
		case FILTER_IS:
			return strcmp(TextDatumGetCString(condition->operand),
						  filter->operand) == 0;
		default:
			return true;
	}
}

static void
add_constant(Builder *builder, const ResourceFilter *filter,
			 const Condition *condition)
{
	const char *sent;

	if (!is_about(filter, condition))
	{
		if (filter->test == FILTER_IS)
			builder->request->exact = false;
		return;
	}
	if (filter->place == FILTER_ELSEWHERE && !builder->request->elsewhere)
		return;
	sent = sent_value(builder->request->parameters, filter->parameter);
	if (sent == NULL)
		(void) add_parameter(builder, filter, filter->constant);
	else if (strcmp(sent, filter->constant) != 0)
		builder->request->nothing = true;
}


/* ----------
 * Dates and times
 * ----------
 */

static void
add_bound(Builder *builder, const ResourceFilter *filter, const Bounds *bounds)
{
	if (filter->test == FILTER_AFTER && bounds->has_lower)
		(void) add_parameter(builder, filter,
							 bounds_format(bounds->field, bounds->lower));

	/*
	 * The upper bound is one more: for dates because GitLab excludes it, for
	 * times because what GitLab shows was cut to milliseconds.
	 */
	if (filter->test == FILTER_BEFORE && bounds->has_upper)
		(void) add_parameter(builder, filter,
							 bounds_format(bounds->field, bounds->upper + 1));
}

static void
add_bounds(Builder *builder, const ResourceField *field,
		   const Condition *conditions, int nconditions)
{
	Bounds		bounds = {.field = field};
	const Resource *resource = builder->resource;

	for (int i = 0; i < nconditions; i++)
		if (conditions[i].field == field)
			bounds_narrow(&bounds, &conditions[i]);
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
	{
		/* a name that contains the fragment contains its beginning */
		best[pg_encoding_mbcliplen(PG_UTF8, best, strlen(best),
								   MAX_SEARCH_SIZE)] = '\0';
		(void) add_parameter(builder, filter, best);
	}
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
		case FILTER_ALIAS:
		case FILTER_VARIANT:
		case FILTER_EQUAL:
			return;				/* see collect_sets() */
		case FILTER_SEARCH:
			add_search(builder, filter, conditions, nconditions);
			return;
		case FILTER_AFTER:
		case FILTER_BEFORE:
			return;				/* by field, see below */
		case FILTER_TRUE:
		case FILTER_FALSE:
		case FILTER_IS:
			break;
	}
	for (int i = 0; i < nconditions; i++)
		if (conditions[i].field == field &&
			serves(filter, conditions[i].operator))
			add_constant(builder, filter, &conditions[i]);
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
		/* in place of what can't be sent elsewhere stands no operand */
		if (filter->place != FILTER_EVERYWHERE && builder->request->elsewhere)
			builder->request->exact = false;
		if (filter->place == FILTER_ELSEWHERE)
			continue;
		if (builder->version < Max(filter->known_from, filter->exact_from))
			builder->request->exact = false;
		if (filter->test == FILTER_CONTAINER)
		{
			ValueSet   *container =
				&sets->containers[filter_container(builder->resource, filter)];

			if (container->nvalues == 0)
				*container = set;
		}
		else if (filter->test == FILTER_LOOKUP || filter->test == FILTER_ALIAS)
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

/* Makes the request for conditions that have to hold together. */
static FilterRequest *
request_for(const Resource *resource, int version,
			const Condition *conditions, int nconditions, bool elsewhere,
			bool pending, bool one_answer)
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

	builder.request->elsewhere = elsewhere;
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

/* The targets of several alternatives in the making, each once. */
typedef struct Merger
{
	FilterRequest *all;
	int			max_targets;
	SeenObjects *paths;
} Merger;

/*
 * Adds the targets of a request to those of others, each once: what their
 * paths do not tell apart, all alternatives have in common.
 */
static void
merge_targets(Merger *merger, const FilterRequest *request)
{
	FilterRequest *all = merger->all;

	for (int i = 0; i < request->ntargets; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!seen_add_name(merger->paths, request->targets[i].path, NULL))
			continue;
		if (all->ntargets == merger->max_targets)
		{
			merger->max_targets = count_combinations(Max(merger->max_targets, 4), 2);
			all->targets = repalloc(all->targets,
									sizeof(ApiTarget) * merger->max_targets);
		}
		all->targets[all->ntargets++] = request->targets[i];
	}
}

/* Takes the request of one more alternative. */
static void
merge_request(Merger *merger, FilterRequest *request)
{
	if (merger->all && !merger->all->nothing)
	{
		if (!request->nothing)
			merge_targets(merger, request);
		return;
	}
	merger->all = request;
	merger->max_targets = request->ntargets;
	for (int i = 0; i < request->ntargets; i++)
		(void) seen_add_name(merger->paths, request->targets[i].path, NULL);
}

/*
 * Makes the request for some conditions, in the current memory context.
 * elsewhere: the instance's time zone is not UTC; what is sent otherwise may
 * depend on it, see utc_only.  pending: this transaction has changed tokens of
 * the server, which GitLab does not know yet.  one_answer: the request is made
 * once, for its total, so that nothing can change while it is read.  The
 * conditions of alternatives only say which targets there are.
 */
FilterRequest *
filter_request(const Resource *resource, int version,
			   const Condition *conditions, int nconditions, bool elsewhere,
			   bool pending, bool one_answer)
{
	Condition  *set = palloc(sizeof(Condition) * Max(nconditions, 1));
	int			nalternatives = 0;
	Merger		merger = {NULL};

	for (int i = 0; i < nconditions; i++)
		nalternatives = Max(nalternatives, conditions[i].alternative);
	if (nalternatives == 0)
		return request_for(resource, version, conditions, nconditions,
						   elsewhere, pending, one_answer);
	merger.paths = seen_create();
	for (int alternative = 1; alternative <= nalternatives; alternative++)
	{
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nconditions; i++)
			if (conditions[i].alternative == 0 ||
				conditions[i].alternative == alternative)
				set[n++] = conditions[i];
		merge_request(&merger,
					  request_for(resource, version, set, n, elsewhere,
								  pending, one_answer));
	}
	merger.all->exact = false;
	return merger.all;
}

/*
 * Whether a request asks for what a condition says.  *exact: and for just that,
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

	*exact = filter_request(resource, version, condition, 1, request->elsewhere,
							false, true)->exact;
	while ((filter = next_filter(resource, condition->field,
								 condition->operator, filter)) != NULL)
	{
		const char *name = filter->test == FILTER_VARIANT ?
			resource->variant_parameter : filter->parameter;

		if (!is_for(request, filter) ||
			(!condition->expression && !is_about(filter, condition)))
			continue;
		if (filter->test == FILTER_CONTAINER ||
			((filter->test == FILTER_LOOKUP || filter->test == FILTER_ALIAS) &&
			 request->lookup) ||
			(name && (sent_value(listed, name) || sent_value(own, name))))
			sent = true;
	}
	return sent && !request->nothing;
}

/* The containers without whose names nothing can be asked for. */
ContainerSet
filter_needed(const Resource *resource)
{
	ContainerSet needed = 0;

	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
		if (resource_field(resource, resource->containers[i])->choices == NULL)
			needed |= 1 << i;
	return needed;
}

/* The container that an equality on this field names, if any. */
ContainerSet
filter_named(const Resource *resource, const ResourceField *field)
{
	int			number = resource_container(resource, field);

	return number < 0 ? 0 : 1 << number;
}

/*
 * Whether an equality on this field says where something is, or which it is, so
 * that it can be one of several alternatives.  One on the variant can't: a key
 * that is not there in that variant is listed in all, and would be for each of
 * them.
 */
bool
filter_names_target(const Resource *resource, const ResourceField *field)
{
	const ResourceFilter *filter = next_filter(resource, field, CONDITION_EQUAL,
											   NULL);

	return filter && (filter->test == FILTER_CONTAINER ||
					  filter->test == FILTER_LOOKUP);
}
