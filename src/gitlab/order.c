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

static int
compare_keys(const OrderKey *a, const OrderKey *b)
{
	if (a->isnull || b->isnull)
		return (int) a->isnull - (int) b->isnull;
	return a->number < b->number ? -1 : a->number > b->number;
}

static int
compare_in(const RecordOrder *order, const OrderKey *a, const OrderKey *b)
{
	return order->descending ? compare_keys(b, a) : compare_keys(a, b);
}

/* Whether a record may come after the last one. */
bool
order_allows(const RecordOrder *order, JsonRecord *record)
{
	OrderKey	key = order_key(order->resource, order->field, record);

	return !order->begun || compare_in(order, &order->last, &key) <= 0;
}

/* Makes a record the last one. */
void
order_advance(RecordOrder *order, JsonRecord *record)
{
	order->last = order_key(order->resource, order->field, record);
	order->begun = true;
}

/* Below 0 if a record comes before another one, above 0 if it comes after it. */
int
order_compare(const RecordOrder *order, JsonRecord *a, JsonRecord *b)
{
	OrderKey	x = order_key(order->resource, order->field, a);
	OrderKey	y = order_key(order->resource, order->field, b);

	return compare_in(order, &x, &y);
}

static int
compare_records(const void *a, const void *b, void *order)
{
	return order_compare(order, *(JsonRecord *const *) a, *(JsonRecord *const *) b);
}

/* Sorts records; what is last does not count. */
void
order_sort(const RecordOrder *order, JsonRecord **records, int n)
{
	qsort_arg(records, n, sizeof(JsonRecord *), compare_records,
			  unconstify(RecordOrder *, order));
}
