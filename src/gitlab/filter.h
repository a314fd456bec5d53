/*-------------------------------------------------------------------------
 *
 * filter.h
 *	  Conditions on rows, and the parameters that ask GitLab for them.
 *
 * The planner makes conditions of those quals that GitLab knows a parameter for
 * (pushdown.c).  Their operands are known when a scan begins; then they become
 * a request.  Whatever is sent only has to select a superset of the rows, for
 * all quals are checked again.  Whether it selects exactly these rows matters
 * to count(*) and to the size of pages only.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_FILTER_H
#define GITLAB_PAT_FILTER_H

#include "gitlab/call.h"
#include "gitlab/condition.h"

/* The parameters and targets of a list's requests. */
typedef struct FilterRequest
{
	bool		nothing;		/* no row can fulfil the conditions */
	bool		lookup;			/* the targets are single objects */
	ApiTarget  *targets;		/* distinct; a collection's parameters are
								 * those below besides its own */
	int			ntargets;
	List	   *parameters;		/* of ApiParameter */
	bool		elsewhere;		/* for an instance whose zone is not UTC */
	bool		utc_only;		/* brings all rows only if it is UTC */
	bool		exact;			/* brings just the rows of the conditions */
	bool		needs_version;	/* but not if GitLab is older than declared:
								 * then rows are missing, or a total is wrong */
} FilterRequest;

/* The containers whose values a request needs, as bits by their number. */
typedef uint32 ContainerSet;

extern bool filter_exists(const Resource *resource, const ResourceField *field,
						  ConditionOperator operator, const bool *operand,
						  int version, bool joining, bool *exact);
extern FilterRequest *filter_request(const Resource *resource, int version,
									 const Condition *conditions,
									 int nconditions, bool elsewhere,
									 bool pending, bool one_answer);
extern bool filter_is_sent(const Resource *resource, int version,
						   const FilterRequest *request,
						   const Condition *condition, bool *exact);
extern ContainerSet filter_needed(const Resource *resource);
extern ContainerSet filter_named(const Resource *resource,
								 const ResourceField *field);
extern bool filter_names_target(const Resource *resource,
								const ResourceField *field);

#endif							/* GITLAB_PAT_FILTER_H */
