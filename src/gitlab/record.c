/*-------------------------------------------------------------------------
 *
 * record.c
 *	  GitLab's objects: JSON to Datum, and back.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "gitlab/connection.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "http/memory.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ----------
 * JSON to Datum
 * ----------
 */

static bool
is_named(const RecordMember *member, const char *name)
{
	const char *key = lh_entry_k(member);

	return *key == *name && strcmp(key, name) == 0;
}

/*
 * The member of a name, looked for from a member on, or from the first one (NULL) to
 * the last one and on to the first one again.  NULL if there is none, or no object.
 *
 * Of the few members that an object of GitLab's has, most are asked for one after the
 * other: to compare their names costs less than to hash the one that is looked for.
 */
static RecordMember *
find_member(JsonRecord *record, const char *name, RecordMember *from)
{
	struct lh_table *members;
	RecordMember *member;

	if (from && is_named(from, name))
		return from;
	if (!json_object_is_type(record, json_type_object))
		return NULL;
	members = json_object_get_object(record);
	member = from ? from : lh_table_head(members);
	for (int n = lh_table_length(members); n > 0; n--)
	{
		if (is_named(member, name))
			return member;
		member = lh_entry_next(member);
		if (member == NULL)
			member = lh_table_head(members);
	}
	return NULL;
}

/* How many members of a record come before the one of that name; all if there is none. */
int
record_place(JsonRecord *record, const char *name)
{
	int			place = 0;

	if (!json_object_is_type(record, json_type_object))
		return 0;
	for (RecordMember *member = lh_table_head(json_object_get_object(record));
		 member && !is_named(member, name);
		 member = lh_entry_next(member))
		place++;
	return place;
}

/* The longest word that is too short to be a secret. */
#define MAX_SHOWN_WORD 12

/*
 * Whether an invalid value may be shown.  That says most about what went wrong.
 * But a secret may have come in the place of anything: so only what has the
 * characters of a date or an address, or is too short for a secret.
 */
static bool
may_be_shown(const char *text, size_t length)
{
	if (length > MAX_SHOWN_WORD)
		return length <= 64 && strspn(text, "0123456789:.+-/TZ") == length;
	for (size_t i = 0; i < length; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return !connection_has_credential(text);
}

/* Where a value comes from, for what errors say. */
typedef struct Source
{
	const Resource *resource;
	const ResourceField *field;
	JsonRecord *record;
} Source;

/* The longest key of an object that an error repeats. */
#define MAX_SHOWN_KEY 255

/*
 * Names an object in an error: by its id, or by its key where that is a word.
 * GitLab may have sent anything else, a secret included.
 */
static const char *
object_name(const Source *source)
{
	const Resource *resource = source->resource;
	const char *key = record_text(source->record, resource->key);
	int64		id;

	if (record_integer(source->record, resource->key, &id))
		return psprintf("%s " INT64_FORMAT, resource->singular, id);
	if (resource->variant && key && key[0] && strlen(key) <= MAX_SHOWN_KEY &&
		strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == strlen(key) &&
		!connection_has_credential(key))
		return psprintf("%s \"%s\"", resource->singular, key);
	return psprintf("%s %s", resource_article(resource), resource->singular);
}

pg_noreturn static void
refuse_json(const Source *source, JsonRecord *value, const char *expected)
{
	const ResourceField *field = source->field;
	const char *text = json_object_is_type(value, json_type_string) &&
		!(field->flags & FIELD_SENSITIVE) ? json_object_get_string(value) : NULL;

	if (text && !may_be_shown(text, json_object_get_string_len(value)))
		text = NULL;

	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("invalid field \"%s\" of %s in GitLab's answer",
					field->name, object_name(source)),
			 text ? errdetail("Expected %s, got \"%s\".", expected, text) :
			 errdetail("Expected %s, got JSON of type %s.", expected,
					   json_type_to_name(json_object_get_type(value)))));
}

static void
conversion_context(void *arg)
{
	const Source *source = arg;

	errcontext("field \"%s\" of %s", source->field->name, object_name(source));
}

/* From UTF-8 to the database's encoding; an error names the field. */
static char *
convert_text(const Source *source, const char *text, int length)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = conversion_context,
		.arg = unconstify(Source *, source)
	};
	char	   *converted;

	error_context_stack = &callback;
	converted = pg_any_to_server(text, length, PG_UTF8);
	error_context_stack = callback.previous;
	return converted;
}

/*
 * Whether a text is ASCII without a null character.  Most strings are, and are so short
 * that PostgreSQL's verification of UTF-8 would look at each of their bytes apart.
 */
static bool
is_ascii(const char *text, size_t length)
{
	const uint64 highest = UINT64CONST(0x8080808080808080);
	uint64		found = 0;

	for (; length >= sizeof(uint64); length -= sizeof(uint64))
	{
		uint64		bytes;

		memcpy(&bytes, text, sizeof(bytes));
		text += sizeof(bytes);
		/* to subtract 1 from each byte sets the highest bit of the first zero */
		found |= bytes | (bytes - UINT64CONST(0x0101010101010101));
	}
	for (; length > 0; length--, text++)
		found |= (unsigned char) (*text | (*text - 1));
	return (found & highest) == 0;
}

/* The text of a JSON string, which is valid UTF-8 and belongs to it. */
static const char *
string_from_json(const Source *source, JsonRecord *value, int *length)
{
	const char *text;

	if (!json_object_is_type(value, json_type_string))
		refuse_json(source, value, "a string");
	text = json_object_get_string(value);
	*length = json_object_get_string_len(value);
	if (!is_ascii(text, *length) &&
		pg_encoding_verifymbstr(PG_UTF8, text, *length) != *length)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid field \"%s\" of %s in GitLab's answer",
						source->field->name, object_name(source)),
				 errdetail("The text contains a null character or is not valid UTF-8.")));
	return text;
}

/*
 * A JSON string in the database's encoding.  Text that this encoding can't hold is an
 * error raised by the conversion.
 */
static Datum
text_from_json(const Source *source, JsonRecord *value)
{
	int			length;
	const char *text = string_from_json(source, value, &length);

	if (GetDatabaseEncoding() != PG_UTF8)
	{
		text = convert_text(source, text, length);
		length = (int) strlen(text);
	}
	return PointerGetDatum(cstring_to_text_with_len(text, length));
}

/*
 * Whether json-c's int64 stands for a greater number: it saturates, and what is beyond
 * is only told apart as uint64.
 */
static bool
is_saturated(JsonRecord *value, int64 number)
{
	return number == PG_INT64_MAX &&
		json_object_get_uint64(value) > (uint64) PG_INT64_MAX;
}

static int64
bigint_from_json(const Source *source, JsonRecord *value)
{
	int64		number;

	if (!json_object_is_type(value, json_type_int))
		refuse_json(source, value, "an integer");

	/* the lowest int64 also stands for everything below it */
	number = json_object_get_int64(value);
	if (number == PG_INT64_MIN || is_saturated(value, number))
		refuse_json(source, value, "an integer in the range of bigint");
	return number;
}

static Datum
integer_from_json(const Source *source, JsonRecord *value)
{
	int64		number = bigint_from_json(source, value);

	if (number < PG_INT32_MIN || number > PG_INT32_MAX)
		refuse_json(source, value, "an integer in the range of integer");
	return Int32GetDatum((int32) number);
}

/*
 * Each of the following takes something off the beginning of a text.  False if the text
 * begins otherwise; then it does not matter how much was taken.
 */
static inline bool
take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

static inline bool
take_digit(const char **text, int *number)
{
	if (**text < '0' || **text > '9')
		return false;
	*number = *number * 10 + (*(*text)++ - '0');
	return true;
}

/* The number that two digits are. */
static inline bool
take_two_digits(const char **text, int *number)
{
	*number = 0;
	return take_digit(text, number) && take_digit(text, number);
}

/* The digits of the latest year that PostgreSQL's date holds, 5874897. */
#define MAX_YEAR_DIGITS 7

/*
 * The year of a date in ISO 8601's form, which GitLab extends to all that its database
 * holds: 0000 is the year 1 BC, -0043 is 44 BC, and from 10000 on a year has more than
 * four digits.
 */
static bool
take_year(const char **text, int *year)
{
	bool		negative = take_char(text, '-');
	bool		padded = **text == '0';
	int			ndigits = 0;

	*year = 0;
	while (ndigits <= MAX_YEAR_DIGITS && take_digit(text, year))
		ndigits++;
	if (ndigits < 4 || ndigits > MAX_YEAR_DIGITS || (ndigits > 4 && padded) ||
		(negative && *year == 0))
		return false;
	if (negative)
		*year = -*year;
	return true;
}

/* The date, unless there is no such day, or none that can be computed with. */
static bool
take_date(const char **text, struct pg_tm *tm)
{
	return take_year(text, &tm->tm_year) &&
		take_char(text, '-') && take_two_digits(text, &tm->tm_mon) &&
		take_char(text, '-') && take_two_digits(text, &tm->tm_mday) &&
		tm->tm_mon >= 1 && tm->tm_mon <= MONTHS_PER_YEAR &&
		tm->tm_mday >= 1 &&
		tm->tm_mday <= day_tab[isleap(tm->tm_year)][tm->tm_mon - 1] &&
		IS_VALID_JULIAN(tm->tm_year, tm->tm_mon, tm->tm_mday);
}

/* The time of day that is Thh:mm:ss[.f]; what is shorter than 1 us is cut off. */
static bool
take_time(const char **text, struct pg_tm *tm, fsec_t *fsec)
{
	if (!take_char(text, 'T') || !take_two_digits(text, &tm->tm_hour) ||
		!take_char(text, ':') || !take_two_digits(text, &tm->tm_min) ||
		!take_char(text, ':') || !take_two_digits(text, &tm->tm_sec))
		return false;
	*fsec = 0;
	if (take_char(text, '.'))
	{
		int			unit = USECS_PER_SEC;
		int			digit = 0;

		if (!take_digit(text, &digit))
			return false;
		do
		{
			unit /= 10;
			*fsec += digit * unit;
			digit = 0;
		} while (take_digit(text, &digit));
	}
	return !time_overflows(tm->tm_hour, tm->tm_min, tm->tm_sec, *fsec);
}

/* The zone that is Z, +hh, +hhmm or +hh:mm, as seconds west of UTC. */
static bool
take_zone(const char **text, int *tz)
{
	bool		east = **text == '+';
	int			hours;
	int			minutes = 0;

	*tz = 0;
	if (take_char(text, 'Z'))
		return true;
	if ((!take_char(text, '+') && !take_char(text, '-')) ||
		!take_two_digits(text, &hours))
		return false;
	if (**text != '\0')
	{
		(void) take_char(text, ':');
		if (!take_two_digits(text, &minutes))
			return false;
	}
	*tz = (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE * (east ? -1 : 1);
	return hours <= MAX_TZDISP_HOUR && minutes < MINS_PER_HOUR;
}

/* The moment that a text is in ISO 8601's form.  Raises and allocates nothing. */
static bool
moment_of_text(const char *text, TimestampTz *moment)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	return take_date(&text, &tm) && take_time(&text, &tm, &fsec) &&
		take_zone(&text, &tz) && *text == '\0' &&
		tm2timestamp(&tm, fsec, &tz, moment) == 0;
}

static Datum
timestamptz_from_json(const Source *source, JsonRecord *value)
{
	int			length;
	TimestampTz result;

	if (!moment_of_text(string_from_json(source, value, &length), &result))
		refuse_json(source, value, "a date and time");
	return TimestampTzGetDatum(result);
}

static Datum
date_from_json(const Source *source, JsonRecord *value)
{
	int			length;
	const char *text = string_from_json(source, value, &length);
	struct pg_tm tm;
	DateADT		date;

	if (!take_date(&text, &tm) || *text != '\0')
		refuse_json(source, value, "a date");
	date = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
	if (!IS_VALID_DATE(date))
		refuse_json(source, value, "a date");
	return DateADTGetDatum(date);
}

static Datum
inet_from_json(const Source *source, JsonRecord *value)
{
	int			length;
	const char *text = string_from_json(source, value, &length);
	inet	   *address = palloc0(sizeof(inet));

	if (inet_pton(AF_INET, text, ip_addr(address)) == 1)
		ip_family(address) = PGSQL_AF_INET;
	else if (inet_pton(AF_INET6, text, ip_addr(address)) == 1)
		ip_family(address) = PGSQL_AF_INET6;
	else
		refuse_json(source, value, "an IP address");
	ip_bits(address) = ip_maxbits(address);
	SET_INET_VARSIZE(address);
	return InetPGetDatum(address);
}

static Datum
array_from_json(const Source *source, JsonRecord *value)
{
	FieldType	type = source->field->type;
	int			n;
	Datum	   *elems;

	if (!json_object_is_type(value, json_type_array))
		refuse_json(source, value, "an array");
	n = (int) json_object_array_length(value);
	elems = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JsonRecord *elem = json_object_array_get_idx(value, i);

		elems[i] = type == FIELD_INET_ARRAY ?
			inet_from_json(source, elem) :
			text_from_json(source, elem);
	}
	return PointerGetDatum(construct_array(elems, n, type == FIELD_INET_ARRAY ?
										   INETOID : TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * The JSON that a record has for a field.  False if it has none.  *next is where it is
 * looked for, and then the member after it.
 */
static bool
find_value(const ResourceField *field, JsonRecord *record, RecordMember **next,
		   JsonRecord **value)
{
	if (field->pointer == NULL)
	{
		RecordMember *member = find_member(record, field->name, *next);

		if (member == NULL)
			return false;
		*value = (JsonRecord *) lh_entry_v(member);
		*next = lh_entry_next(member);
		return true;
	}
	if (field->if_pointer)
	{
		JsonRecord *condition;

		if (json_pointer_get(record, field->if_pointer, &condition) != 0 ||
			!json_object_is_type(condition, json_type_string) ||
			strcmp(json_object_get_string(condition), field->if_value) != 0)
			return false;
	}
	if (json_pointer_get(record, field->pointer, value) == 0)
		return true;
	if (errno == ENOMEM)
		memory_report_exhausted();
	return false;
}

/*
 * The value of a field of a JSON record, in the current memory context.  A
 * field that is absent or null is NULL; one of the wrong type, or beyond what
 * its SQL type holds, is an error that names the field and the object.
 *
 * Of several fields of one record, each is looked for from *next on, which is NULL at
 * first, and becomes the member after it.
 */
Datum
record_next_datum(const Resource *resource, const ResourceField *field,
				  JsonRecord *record, RecordMember **next, bool *isnull)
{
	Source		where = {.resource = resource, .field = field, .record = record};
	const Source *source = &where;
	JsonRecord *value;

	*isnull = true;
	if (!find_value(field, record, next, &value))
		return (Datum) 0;
	if (value == NULL)
	{
		*isnull = !(field->flags & FIELD_NULL_IS_FALSE);
		return BoolGetDatum(false);
	}

	*isnull = false;
	switch (field->type)
	{
		case FIELD_BIGINT:
			return Int64GetDatum(bigint_from_json(source, value));
		case FIELD_INTEGER:
			return integer_from_json(source, value);
		case FIELD_TEXT:
			return text_from_json(source, value);
		case FIELD_BOOLEAN:
			if (!json_object_is_type(value, json_type_boolean))
				refuse_json(source, value, "a boolean");
			return BoolGetDatum(json_object_get_boolean(value));
		case FIELD_TIMESTAMPTZ:
			return timestamptz_from_json(source, value);
		case FIELD_DATE:
			return date_from_json(source, value);
		case FIELD_TEXT_ARRAY:
		case FIELD_INET_ARRAY:
			return array_from_json(source, value);
	}
	return (Datum) 0;
}

/* The Datum of one field of a record, null if it is absent. */
Datum
record_datum(const Resource *resource, const ResourceField *field,
			 JsonRecord *record, bool *isnull)
{
	RecordMember *next = NULL;

	return record_next_datum(resource, field, record, &next, isnull);
}

/*
 * A positive integer of a record, without raising an error or allocating
 * anything: false if it is absent, of another type or beyond bigint.
 */
bool
record_integer(JsonRecord *record, const char *name, int64 *number)
{
	RecordMember *member = find_member(record, name, NULL);
	JsonRecord *value = member ? (JsonRecord *) lh_entry_v(member) : NULL;

	if (!json_object_is_type(value, json_type_int))
		return false;
	*number = json_object_get_int64(value);
	return *number > 0 && !is_saturated(value, *number);
}

/*
 * A string of a record, in UTF-8, which belongs to it; NULL if it is none.  What has a
 * null character is none: C would take its beginning for all of it.
 */
const char *
record_text(JsonRecord *record, const char *name)
{
	RecordMember *member = find_member(record, name, NULL);
	JsonRecord *value = member ? (JsonRecord *) lh_entry_v(member) : NULL;

	if (!json_object_is_type(value, json_type_string) ||
		strlen(json_object_get_string(value)) != (size_t) json_object_get_string_len(value))
		return NULL;
	return json_object_get_string(value);
}

/*
 * A time stamp of a record, without raising an error or allocating anything: false if
 * it is absent or cannot be read.
 */
bool
record_moment(JsonRecord *record, const char *name, TimestampTz *moment)
{
	const char *text = record_text(record, name);

	return text && moment_of_text(text, moment);
}

/* Whether an object was certainly created at a time or after it; likewise. */
bool
record_is_since(JsonRecord *record, TimestampTz since)
{
	TimestampTz created;

	return record_moment(record, "created_at", &created) && created >= since;
}

/*
 * The id of a record, without raising an error or allocating anything: false if
 * it is absent, not a positive integer or beyond bigint.
 */
bool
record_id(JsonRecord *record, int64 *id)
{
	return record_integer(record, "id", id);
}


/* ----------
 * Datum to JSON
 * ----------
 */

#define MSECS_PER_DAY INT64CONST(86400000)

/*
 * Overwrites the secrets in a record: of a new token, and of a variable.  json-c
 * gives no other access to a string's memory than this.
 */
static void
wipe_secrets(JsonRecord *record)
{
	static const char *const names[] = {"token", "value"};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		RecordMember *member = find_member(record, names[i], NULL);
		JsonRecord *secret = member ? (JsonRecord *) lh_entry_v(member) : NULL;

		if (json_object_is_type(secret, json_type_string))
			explicit_bzero(unconstify(char *, json_object_get_string(secret)),
						   json_object_get_string_len(secret));
	}
}

/*
 * Frees a record, or an array of them, and overwrites the secrets in it, which
 * nobody else must need any more.
 */
void
record_free(void *record)
{
	size_t		n = json_object_is_type(record, json_type_array) ?
		json_object_array_length(record) : 0;

	wipe_secrets(record);
	for (size_t i = 0; i < n; i++)
		wipe_secrets(json_object_array_get_idx(record, i));
	json_object_put(record);
}

/* Returns an object of json-c's, or raises 53200 if it is NULL: memory is short. */
JsonRecord *
record_checked(JsonRecord *object)
{
	if (object == NULL)
		memory_report_exhausted();
	return object;
}

/*
 * A new JSON object, freed with the current memory context.  Raises an error
 * when memory is short.
 */
JsonRecord *
record_create(void)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = record_free;
	callback->arg = record_checked(json_object_new_object());
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return callback->arg;
}

/* A copy of a record, freed with the current memory context. */
JsonRecord *
record_copy(JsonRecord *record)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	JsonRecord *copy = NULL;

	if (json_object_deep_copy(record, &copy, NULL) != 0)
		memory_report_exhausted();
	callback->func = record_free;
	callback->arg = copy;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return copy;
}

/*
 * Adds a member, or puts it in the place of one of that name.  The object owns the
 * value from then on, error or not: 53200 if there is no memory.
 */
void
record_add(JsonRecord *object, const char *name, JsonRecord *value)
{
	if (json_object_object_add(object, name, value) != 0)
	{
		json_object_put(value);
		memory_report_exhausted();
	}
}

static JsonRecord *
json_from_string(const char *string)
{
	return record_checked(json_object_new_string(pg_server_to_any(string,
																  strlen(string),
																  PG_UTF8)));
}

static void
add_text_array(JsonRecord *object, const ResourceField *field,
			   Datum value)
{
	JsonRecord *array = record_checked(json_object_new_array());
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	record_add(object, field->name, array);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("column \"%s\" must not contain null elements",
							field->name)));
		if (json_object_array_add(array,
								  json_from_string(TextDatumGetCString(elems[i]))) != 0)
			memory_report_exhausted();
	}
}

/*
 * A finite date as GitLab writes and takes it, palloc'ed: see take_year().
 */
char *
record_date(DateADT date)
{
	int			year;
	int			month;
	int			day;

	Assert(!DATE_NOT_FINITE(date));
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%s%04d-%02d-%02d", year < 0 ? "-" : "", abs(year), month,
					day);
}

/* A time in milliseconds since 2000, in UTC, likewise. */
char *
record_time(int64 ms)
{
	int64		day = ms / MSECS_PER_DAY - (ms % MSECS_PER_DAY < 0 ? 1 : 0);
	int64		time = ms - day * MSECS_PER_DAY;

	return psprintf("%sT%02d:%02d:%02d.%03dZ", record_date((DateADT) day),
					(int) (time / 3600000), (int) (time / 60000 % 60),
					(int) (time / 1000 % 60), (int) (time % 1000));
}

static void
add_datum(JsonRecord *object, const ResourceField *field, Datum value)
{
	switch (field->type)
	{
		case FIELD_BIGINT:
			record_add(object, field->name,
					   record_checked(json_object_new_int64(DatumGetInt64(value))));
			return;
		case FIELD_INTEGER:
			record_add(object, field->name,
					   record_checked(json_object_new_int(DatumGetInt32(value))));
			return;
		case FIELD_TEXT:
			record_add(object, field->name,
					   json_from_string(TextDatumGetCString(value)));
			return;
		case FIELD_BOOLEAN:
			record_add(object, field->name,
					   record_checked(json_object_new_boolean(DatumGetBool(value))));
			return;
		case FIELD_DATE:
			record_add(object, field->name,
					   json_from_string(record_date(DatumGetDateADT(value))));
			return;
		case FIELD_TEXT_ARRAY:
			add_text_array(object, field, value);
			return;
		case FIELD_TIMESTAMPTZ:
		case FIELD_INET_ARRAY:
			break;				/* GitLab assigns all fields of these types */
	}
	elog(ERROR, "field \"%s\" can't be written", field->name);
}

/* Sets a field of a record, to JSON's null for NULL.  Raises errors. */
void
record_set(JsonRecord *record, const ResourceValue *value)
{
	json_object_object_del(record, value->field->name);
	if (value->isnull)
		record_add(record, value->field->name, NULL);
	else
		add_datum(record, value->field, value->value);
}

/*
 * Says in a record what it is in, by names in UTF-8, as many as the resource has.
 * GitLab's answers leave that out, but for the numbers of users.
 */
void
record_name_containers(JsonRecord *record, const Resource *resource,
					   const char *const *containers)
{
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		const char *name = resource->containers[i];

		if (resource_field(resource, name)->type == FIELD_TEXT)
			record_add(record, name,
					   record_checked(json_object_new_string(containers[i])));
	}
}

/*
 * Adds what GitLab's answer to the creation of a second token for the same bot
 * leaves out, from the first one.
 */
void
record_complete(JsonRecord *record, const Resource *resource, JsonRecord *like)
{
	for (int i = 0; i < resource->nfields; i++)
	{
		const char *name = resource->fields[i].name;
		JsonRecord *value;

		if ((resource->fields[i].flags & FIELD_OF_BOT) &&
			!json_object_object_get_ex(record, name, &value) &&
			json_object_object_get_ex(like, name, &value))
			record_add(record, name, json_object_get(value));
	}
}

/* A record as JSON text, palloc'ed, in UTF-8. */
char *
record_json(JsonRecord *record)
{
	const char *text = json_object_to_json_string_ext(record,
													  JSON_C_TO_STRING_PLAIN);
	char	   *copy;

	if (text == NULL)
		memory_report_exhausted();
	copy = pstrdup(text);
	explicit_bzero(unconstify(char *, text), strlen(text));
	return copy;
}

/*
 * Some fields have another name in a creation, where they are only sent if they
 * are true.
 */
static void
rename_for_creation(const Resource *resource, JsonRecord *object)
{
	for (int i = 0; i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];
		JsonRecord *value;

		if (field->create_as == NULL ||
			!json_object_object_get_ex(object, field->name, &value))
			continue;
		if (json_object_get_boolean(value))
			record_add(object, field->create_as,
					   record_checked(json_object_new_boolean(true)));
		json_object_object_del(object, field->name);
	}
}

/*
 * The body of a request that creates an object, as a palloc'ed string in
 * UTF-8: what INSERT may set is copied from the record `like`, if one is
 * given, and then the values are put over it.  NULL values are left out.
 */
char *
record_body(const Resource *resource, JsonRecord *like,
			const ResourceValue *values, int nvalues)
{
	JsonRecord *object = record_create();

	for (int i = 0; like && i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];
		JsonRecord *value;

		if ((field->flags & FIELD_INSERT) && !(field->flags & FIELD_IN_PATH) &&
			json_object_object_get_ex(like, field->name, &value) &&
			value != NULL)
			record_add(object, field->name, json_object_get(value));
	}
	for (int i = 0; i < nvalues; i++)
	{
		if (values[i].isnull)
			json_object_object_del(object, values[i].field->name);
		else if (!(values[i].field->flags & FIELD_IN_PATH))
			record_set(object, &values[i]);
	}
	for (int i = 0; i < resource->nfields; i++)
		if ((resource->fields[i].flags & FIELD_SENT_AS_NULL) &&
			!json_object_object_get_ex(object, resource->fields[i].name, NULL))
			record_add(object, resource->fields[i].name, NULL);
	rename_for_creation(resource, object);
	return record_json(object);
}

/*
 * What a creation with these values will have made, as far as that is known:
 * a record that goes with the current memory context.
 */
JsonRecord *
record_draft(const Resource *resource, const ResourceValue *values,
			 int nvalues)
{
	JsonRecord *record = record_create();

	for (int i = 0; i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];

		if (field->initial)
			record_add(record, field->name,
					   json_tokener_parse(field->initial));
	}
	for (int i = 0; i < nvalues; i++)
		if (!values[i].isnull)
			record_set(record, &values[i]);
	return record;
}
