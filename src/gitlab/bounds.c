/*-------------------------------------------------------------------------
 *
 * bounds.c
 *	  The interval that conditions leave of a date or a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "gitlab/bounds.h"
#include "gitlab/record.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#define USECS_PER_MSEC INT64CONST(1000)

/* Dates and times that GitLab can be asked for: years 1 to 9999. */
#define MIN_DATE (date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE)
#define MAX_DATE (date2j(9999, 12, 31) - POSTGRES_EPOCH_JDATE)

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
bounds_timestamp(const Condition *condition, TimestampTz *result)
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

/* An operand in the unit of its field's bounds: milliseconds, or days. */
typedef struct Place
{
	int64		low;			/* what is lower is below the operand */
	int64		high;			/* what is higher is above it */
	bool		between;		/* these themselves may not be equal to it */
} Place;

/*
 * The days around a point in time, in the session's time zone.  Midnight of
 * several days is one moment where a zone skips days: then all of these may be
 * equal to it.
 */
static void
place_among_days(const Condition *condition, Place *place)
{
	bool		local = condition->type == TIMESTAMPOID;
	DateADT		day = DatumGetDateADT(DirectFunctionCall1(local ? timestamp_date :
														  timestamptz_date,
														  condition->operand));

	place->low = place->high = day;
	place->between = true;		/* unless it is midnight, but that is rare */
	while (!local &&
		   DatumGetInt32(DirectFunctionCall2(date_cmp_timestamptz,
											 DateADTGetDatum((DateADT) place->low - 1),
											 condition->operand)) >= 0)
		place->low--;
}

/* Where an operand is.  False if GitLab can't be asked for it. */
static bool
place_operand(const Condition *condition, Place *place)
{
	place->between = false;
	if (condition->field->type == FIELD_TIMESTAMPTZ)
	{
		TimestampTz time;

		if (!bounds_timestamp(condition, &time))
			return false;
		place->low = place->high = floor_divide(time, USECS_PER_MSEC);
		place->between = place->low * USECS_PER_MSEC != time;
		return floor_divide(time, USECS_PER_DAY) > MIN_DATE &&
			floor_divide(time, USECS_PER_DAY) < MAX_DATE;
	}
	if (condition->type == DATEOID)
	{
		if (DATE_NOT_FINITE(DatumGetDateADT(condition->operand)))
			return false;
		place->low = place->high = DatumGetDateADT(condition->operand);
	}
	else
	{
		if (TIMESTAMP_NOT_FINITE(DatumGetTimestamp(condition->operand)))
			return false;
		place_among_days(condition, place);
	}
	return place->low > MIN_DATE && place->high < MAX_DATE;
}

/* Narrows bounds by a condition; what can't be asked for is left to recheck. */
void
bounds_narrow(Bounds *bounds, const Condition *condition)
{
	ConditionOperator operator = condition->operator;
	Place		place;
	int64		lower;
	int64		upper;

	if (!place_operand(condition, &place))
	{
		bounds->inexact = true;
		return;
	}
	/* what lies between two numbers is above the one and below the other */
	lower = operator == CONDITION_GREATER && !place.between ?
		place.low + 1 : place.low;
	upper = operator == CONDITION_LESS && !place.between ?
		place.high - 1 : place.high;
	if (place.between)
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

/* A date, or a time in ms, as GitLab takes it. */
char *
bounds_format(const ResourceField *field, int64 number)
{
	return field->type == FIELD_DATE ? record_date((DateADT) number) :
		record_time(number);
}
