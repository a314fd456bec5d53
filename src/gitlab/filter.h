/*-------------------------------------------------------------------------
 *
 * filter.h
 *	  Conditions on rows, and the parameters that ask GitLab for them.
 *
 * The planner makes conditions of those quals that GitLab knows a parameter
 * for (pushdown.c).  Their operands are known when a scan begins; then they
 * become a request.  Whatever is sent only has to select a superset of the
 * rows, for all quals are checked again; whether it selects just these rows
 * matters to count(*) and to the size of pages only.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_FILTER_H
#define GITLAB_PAT_FILTER_H

#include "gitlab/call.h"
#include "gitlab/record.h"

typedef enum ConditionOperator
{
	CONDITION_EQUAL,
	CONDITION_LESS,
	CONDITION_LESS_EQUAL,
	CONDITION_GREATER,
	CONDITION_GREATER_EQUAL,
	CONDITION_EQUAL_ANY,		/* the operand is an array */
	CONDITION_LIKE,
	CONDITION_ILIKE
} ConditionOperator;

/* A condition whose operand is known; but see expression. */
typedef struct Condition
{
	const ResourceField *field;
	ConditionOperator operator;
	Oid			type;			/* of the operand */
	Datum		operand;
	bool		isnull;
	const char *expression;		/* for EXPLAIN: stands for an operand that is
								 * not known yet; else NULL */
} Condition;

/* What to ask GitLab for. */
typedef struct FilterRequest
{
	bool		nothing;		/* no row can fulfil the conditions */
	bool		lookup;			/* the targets are single objects */
	ApiTarget  *targets;		/* distinct; a collection's parameters are
								 * those below besides its own */
	int			ntargets;
	List	   *parameters;		/* of ApiParameter */
	bool		exact;			/* brings just the rows of the conditions */
	bool		needs_version;	/* but not if GitLab is older than declared:
								 * then rows are missing, or a total is wrong */
} FilterRequest;

extern bool filter_exists(const Resource *resource, const ResourceField *field,
						  ConditionOperator operator, const bool *operand,
						  int version, bool joining, bool *exact);
extern FilterRequest *filter_request(const Resource *resource, int version,
									 const Condition *conditions,
									 int nconditions, bool pending,
									 bool one_answer);
extern bool filter_is_sent(const Resource *resource, int version,
						   const FilterRequest *request,
						   const Condition *condition, bool *exact);
extern bool filter_needed(const Resource *resource, const ResourceField *field);
extern bool filter_matches(const Resource *resource,
						   const Condition *conditions, int nconditions,
						   JsonRecord *record, bool revoked);

#endif							/* GITLAB_PAT_FILTER_H */
