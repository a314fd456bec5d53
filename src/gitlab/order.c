/*-------------------------------------------------------------------------
 *
 * order.c
 *	  What the records of a list are ordered by.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/order.h"
#include "utils/date.h"

/* The place of a record in the order of a field: a number, a date, or a time. */
OrderKey
order_key(const Resource *resource, const char *order_by, JsonRecord *record)
{
	const ResourceField *field = resource_field(resource, order_by);
	OrderKey	key = {0};
	Datum		value;

	Assert(field->type == FIELD_BIGINT || field->type == FIELD_DATE ||
		   field->type == FIELD_TIMESTAMPTZ);
	value = record_datum(resource, field, record, &key.isnull);
	if (!key.isnull)
		key.number = field->type == FIELD_DATE ? DatumGetDateADT(value) :
			DatumGetInt64(value);
	return key;
}

int
order_compare(const OrderKey *a, const OrderKey *b)
{
	if (a->isnull || b->isnull)
		return (int) a->isnull - (int) b->isnull;
	return a->number < b->number ? -1 : a->number > b->number;
}
