/*-------------------------------------------------------------------------
 *
 * condition.h
 *	  A condition on the rows of a scan, and its operand.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CONDITION_H
#define GITLAB_PAT_CONDITION_H

#include "gitlab/resources.h"

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
	int			alternative;	/* numbered from 1: of several sets of
								 * conditions, one has to hold; 0: it has to
								 * hold with each of them */
} Condition;

#endif							/* GITLAB_PAT_CONDITION_H */
