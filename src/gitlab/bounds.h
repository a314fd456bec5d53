/*-------------------------------------------------------------------------
 *
 * bounds.h
 *	  The interval that conditions leave of a date or a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_BOUNDS_H
#define GITLAB_PAT_BOUNDS_H

#include "gitlab/condition.h"

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

extern void bounds_narrow(Bounds *bounds, const Condition *condition);
extern char *bounds_format(const ResourceField *field, int64 number);

#endif							/* GITLAB_PAT_BOUNDS_H */
