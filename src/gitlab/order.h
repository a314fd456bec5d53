/*-------------------------------------------------------------------------
 *
 * order.h
 *	  What the records of a list are ordered by.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ORDER_H
#define GITLAB_PAT_ORDER_H

#include "gitlab/record.h"

typedef struct OrderKey
{
	bool		isnull;			/* above all others */
	int64		number;			/* an id, a date, or a time */
} OrderKey;

/* An order, and how far a list has been delivered in it. */
typedef struct RecordOrder
{
	const Resource *resource;
	const char *field;			/* of a number, a date, or a time */
	bool		descending;
	bool		begun;			/* there is a last record */
	OrderKey	last;
} RecordOrder;

extern OrderKey order_key(const Resource *resource, const char *order_by,
						  JsonRecord *record);
extern bool order_allows(const RecordOrder *order, JsonRecord *record);
extern void order_advance(RecordOrder *order, JsonRecord *record);
extern int	order_compare(const RecordOrder *order, JsonRecord *a,
						  JsonRecord *b);
extern void order_sort(const RecordOrder *order, JsonRecord **records, int n);

#endif							/* GITLAB_PAT_ORDER_H */
