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

extern OrderKey order_key(const Resource *resource, const char *order_by,
						  JsonRecord *record);
extern int	order_compare(const OrderKey *a, const OrderKey *b);

#endif							/* GITLAB_PAT_ORDER_H */
