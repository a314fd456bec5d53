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
#include "executor/tuptable.h"
#include "gitlab/jsonc.h"
#include "gitlab/record.h"
#include "gitlab/resources.h"
#include "mb/pg_wchar.h"
#include "nodes/bitmapset.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"


/* ----------
 * JSON to Datum
 * ----------
 */

/* The longest word that is too short to be a secret. */
#define MAX_SHOWN_WORD 12

/*
 * May a value that is no good be shown?  That says most about what went wrong.
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
	return true;
}

pg_noreturn static void
refuse_json(const Resource *resource, const ResourceField *field,
			JsonRecord *value, const char *expected)
{
	const char *text = json_object_is_type(value, json_type_string) &&
		!(field->flags & FIELD_SENSITIVE) ? json_object_get_string(value) : NULL;

	if (text && !may_be_shown(text, json_object_get_string_len(value)))
		text = NULL;

	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("invalid field \"%s\" of a %s in GitLab's answer",
					field->name, resource->singular),
			 text ? errdetail("Expected %s, got \"%s\".", expected, text) :
			 errdetail("Expected %s, got JSON of type %s.", expected,
					   json_type_to_name(json_object_get_type(value)))));
}

/* The field whose text is being converted, for the context of an error. */
typedef struct Conversion
{
	const Resource *resource;
	const ResourceField *field;
} Conversion;

static void
conversion_context(void *arg)
{
	const Conversion *conversion = arg;

	errcontext("field \"%s\" of a %s", conversion->field->name,
			   conversion->resource->singular);
}

/* From UTF-8 to the database's encoding; an error names the field. */
static char *
convert_text(const Resource *resource, const ResourceField *field,
			 const char *text, int length)
{
	Conversion	conversion = {.resource = resource, .field = field};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = conversion_context,
		.arg = &conversion
	};
	char	   *converted;

	error_context_stack = &callback;
	converted = pg_any_to_server(text, length, PG_UTF8);
	error_context_stack = callback.previous;
	return converted;
}

/*
 * A JSON string as a palloc'ed string in the database's encoding.  Text that
 * this encoding can't hold is an error raised by the conversion.
 */
static char *
string_from_json(const Resource *resource, const ResourceField *field,
				 JsonRecord *value)
{
	const char *text;
	int			length;

	if (!json_object_is_type(value, json_type_string))
		refuse_json(resource, field, value, "a string");
	text = json_object_get_string(value);
	length = json_object_get_string_len(value);
	if (memchr(text, '\0', length) != NULL ||
		pg_encoding_verifymbstr(PG_UTF8, text, length) != length)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid field \"%s\" of a %s in GitLab's answer",
						field->name, resource->singular),
				 errdetail("The text contains a null character or is not valid UTF-8.")));
	return pstrdup(convert_text(resource, field, text, length));
}

static int64
bigint_from_json(const Resource *resource, const ResourceField *field,
				 JsonRecord *value)
{
	int64		number;

	if (!json_object_is_type(value, json_type_int))
		refuse_json(resource, field, value, "an integer");

	/*
	 * json-c saturates: positive numbers beyond int64 are only told apart as
	 * uint64, and the lowest int64 also stands for everything below it.
	 */
	number = json_object_get_int64(value);
	if (number == PG_INT64_MIN ||
		(number > 0 && json_object_get_uint64(value) > (uint64) PG_INT64_MAX))
		refuse_json(resource, field, value, "an integer in the range of bigint");
	return number;
}

/*
 * Does text begin as a pattern says, in which a zero stands for any digit?
 */
static bool
looks_like(const char *text, const char *pattern)
{
	for (int i = 0; pattern[i]; i++)
		if (pattern[i] == '0' ? !isdigit((unsigned char) text[i]) :
			text[i] != pattern[i])
			return false;
	return true;
}

/* Does text look like YYYY-MM-DD? */
static bool
looks_like_date(const char *text)
{
	return strlen(text) == 10 && looks_like(text, "0000-00-00");
}

/*
 * Does text look like YYYY-MM-DDThh:mm:ss[.f]Z, or with an offset?  Of what does
 * not, PostgreSQL's parser may take a part for the name of a time zone, and
 * raise an error that does not name the field.
 */
static bool
looks_like_timestamp(const char *text)
{
	const char *rest;

	if (strlen(text) > 48 || !looks_like(text, "0000-00-00T00:00:00"))
		return false;
	rest = text + strlen("0000-00-00T00:00:00");
	if (looks_like(rest, ".0"))
		rest += 1 + strspn(rest + 1, "0123456789");
	if (strcmp(rest, "Z") == 0)
		return true;
	return (*rest == '+' || *rest == '-') &&
		((strlen(rest) == 6 && looks_like(rest + 1, "00:00")) ||
		 (strlen(rest) == 5 && looks_like(rest + 1, "0000")) ||
		 (strlen(rest) == 3 && looks_like(rest + 1, "00")));
}

/* PostgreSQL's parser for dates and times, for text that looks like ISO 8601. */
static bool
decode_time(const char *text, struct pg_tm *tm, fsec_t *fsec, int *tz)
{
	char		work[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			dtype;

	return ParseDateTime(text, work, sizeof(work), fields, types, MAXDATEFIELDS,
						 &nfields) == 0 &&
		compat_decode_datetime(fields, types, nfields, &dtype, tm, fsec,
							   tz) == 0 &&
		dtype == DTK_DATE;
}

static Datum
timestamptz_from_json(const Resource *resource, const ResourceField *field,
					  JsonRecord *value)
{
	char	   *text = string_from_json(resource, field, value);
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	TimestampTz result;

	if (!looks_like_timestamp(text) || !decode_time(text, &tm, &fsec, &tz) ||
		tm2timestamp(&tm, fsec, &tz, &result) != 0)
		refuse_json(resource, field, value, "a date and time");
	return TimestampTzGetDatum(result);
}

static Datum
date_from_json(const Resource *resource, const ResourceField *field,
			   JsonRecord *value)
{
	char	   *text = string_from_json(resource, field, value);
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	if (!looks_like_date(text) ||
		!decode_time(text, &tm, &fsec, &tz))
		refuse_json(resource, field, value, "a date");
	return DateADTGetDatum(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) -
						   POSTGRES_EPOCH_JDATE);
}

static Datum
inet_from_json(const Resource *resource, const ResourceField *field,
			   JsonRecord *value)
{
	char	   *text = string_from_json(resource, field, value);
	unsigned char address[16];

	if (inet_pton(AF_INET, text, address) != 1 &&
		inet_pton(AF_INET6, text, address) != 1)
		refuse_json(resource, field, value, "an IP address");
	return DirectFunctionCall1(inet_in, CStringGetDatum(text));
}

static Datum
array_from_json(const Resource *resource, const ResourceField *field,
				JsonRecord *value)
{
	Oid			elemtype = get_element_type(field_type_oid(field->type));
	int			n;
	Datum	   *elems;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	if (!json_object_is_type(value, json_type_array))
		refuse_json(resource, field, value, "an array");
	n = (int) json_object_array_length(value);
	elems = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JsonRecord *elem = json_object_array_get_idx(value, i);

		elems[i] = field->type == FIELD_INET_ARRAY ?
			inet_from_json(resource, field, elem) :
			CStringGetTextDatum(string_from_json(resource, field, elem));
	}
	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_array(elems, n, elemtype, typlen, typbyval,
										   typalign));
}

/*
 * The value of a field of a JSON record, in the current memory context.  A
 * field that is absent or null is NULL; one of the wrong type is an error.
 */
Datum
resource_datum(const Resource *resource, const ResourceField *field,
			   JsonRecord *record, bool *isnull)
{
	JsonRecord *value;

	*isnull = true;
	if (!json_object_object_get_ex(record, field->name, &value))
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
			return Int64GetDatum(bigint_from_json(resource, field, value));
		case FIELD_TEXT:
			return CStringGetTextDatum(string_from_json(resource, field, value));
		case FIELD_BOOLEAN:
			if (!json_object_is_type(value, json_type_boolean))
				refuse_json(resource, field, value, "a boolean");
			return BoolGetDatum(json_object_get_boolean(value));
		case FIELD_TIMESTAMPTZ:
			return timestamptz_from_json(resource, field, value);
		case FIELD_DATE:
			return date_from_json(resource, field, value);
		case FIELD_TEXT_ARRAY:
		case FIELD_INET_ARRAY:
			return array_from_json(resource, field, value);
	}
	return (Datum) 0;
}

/*
 * A positive integer of a record, without raising an error or allocating
 * anything: false if it is absent, of another type or beyond bigint.
 */
bool
resource_integer(JsonRecord *record, const char *name, int64 *number)
{
	JsonRecord *value;

	if (!json_object_is_type(record, json_type_object) ||
		!json_object_object_get_ex(record, name, &value) ||
		!json_object_is_type(value, json_type_int))
		return false;
	*number = json_object_get_int64(value);
	return *number > 0 && json_object_get_uint64(value) <= (uint64) PG_INT64_MAX;
}

/* A string of a record, in UTF-8, which belongs to it; NULL if it is none. */
const char *
resource_text(JsonRecord *record, const char *name)
{
	JsonRecord *value;

	if (!json_object_is_type(record, json_type_object) ||
		!json_object_object_get_ex(record, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* A hash of such a string, by which a secret is known again; 0 if it is none. */
uint64
resource_text_hash(JsonRecord *record, const char *name)
{
	const char *text = resource_text(record, name);

	return text ? hash_bytes_extended((const unsigned char *) text,
									  strlen(text), 0) : 0;
}

/* The same for the id. */
bool
resource_id(JsonRecord *record, int64 *id)
{
	return resource_integer(record, "id", id);
}

/*
 * Stores a record in a slot, as a virtual tuple with values in the current
 * memory context.  Only the columns whose numbers are in wanted are converted
 * (NULL: all of them); the others are NULL.  revoked makes the record read as
 * revoked; secrets are shown only if asked for.
 */
void
resource_fill_slot(const Resource *resource, const ResourceField **fields,
				   Bitmapset *wanted, JsonRecord *record,
				   bool revoked, bool secrets, TupleTableSlot *slot)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	for (int i = 0; i < natts; i++)
	{
		const ResourceField *field = fields[i];

		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = true;
		if (field == NULL || (wanted && !bms_is_member(i + 1, wanted)) ||
			((field->flags & FIELD_SECRET) && !secrets))
			continue;
		slot->tts_values[i] = resource_datum(resource, field, record,
											 &slot->tts_isnull[i]);
		if (revoked && (field->flags & (FIELD_TRUE_WHEN_REVOKED |
										FIELD_FALSE_WHEN_REVOKED)))
		{
			slot->tts_isnull[i] = false;
			slot->tts_values[i] =
				BoolGetDatum((field->flags & FIELD_TRUE_WHEN_REVOKED) != 0);
		}
	}
	ExecStoreVirtualTuple(slot);
}


/* ----------
 * Datum to JSON
 * ----------
 */

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
		JsonRecord *secret;

		if (json_object_is_type(record, json_type_object) &&
			json_object_object_get_ex(record, names[i], &secret) &&
			json_object_is_type(secret, json_type_string))
			explicit_bzero(unconstify(char *, json_object_get_string(secret)),
						   json_object_get_string_len(secret));
	}
}

/*
 * Frees a record, or an array of them, and overwrites the secrets in it, which
 * nobody else must need any more.
 */
void
resource_free_record(void *record)
{
	size_t		n = json_object_is_type(record, json_type_array) ?
		json_object_array_length(record) : 0;

	wipe_secrets(record);
	for (size_t i = 0; i < n; i++)
		wipe_secrets(json_object_array_get_idx(record, i));
	json_object_put(record);
}

pg_noreturn static void
report_no_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
			 errmsg("out of memory")));
}

/* json-c returns NULL when memory is short. */
static JsonRecord *
checked_json(JsonRecord *object)
{
	if (object == NULL)
		report_no_memory();
	return object;
}

/*
 * A new JSON object that goes with the current memory context.  Raises an error
 * when memory is short.
 */
JsonRecord *
resource_new_record(void)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = resource_free_record;
	callback->arg = checked_json(json_object_new_object());
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return callback->arg;
}

/* Adds a member; the object owns the value from then on, error or not. */
static void
add_member(JsonRecord *object, const char *name,
		   JsonRecord *value)
{
	if (json_object_object_add(object, name, value) != 0)
	{
		json_object_put(value);
		report_no_memory();
	}
}

static JsonRecord *
json_from_string(const char *string)
{
	return checked_json(json_object_new_string(pg_server_to_any(string,
																strlen(string),
																PG_UTF8)));
}

static void
add_text_array(JsonRecord *object, const ResourceField *field,
			   Datum value)
{
	JsonRecord *array = checked_json(json_object_new_array());
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	add_member(object, field->name, array);
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
			report_no_memory();
	}
}

static void
add_datum(JsonRecord *object, const ResourceField *field, Datum value)
{
	char		buf[MAXDATELEN + 1];
	struct pg_tm tm;

	switch (field->type)
	{
		case FIELD_BIGINT:
			add_member(object, field->name,
					   checked_json(json_object_new_int64(DatumGetInt64(value))));
			return;
		case FIELD_TEXT:
			add_member(object, field->name,
					   json_from_string(TextDatumGetCString(value)));
			return;
		case FIELD_BOOLEAN:
			add_member(object, field->name,
					   checked_json(json_object_new_boolean(DatumGetBool(value))));
			return;
		case FIELD_DATE:
			j2date(DatumGetDateADT(value) + POSTGRES_EPOCH_JDATE, &tm.tm_year,
				   &tm.tm_mon, &tm.tm_mday);
			EncodeDateOnly(&tm, USE_ISO_DATES, buf);
			add_member(object, field->name, json_from_string(buf));
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
resource_set(JsonRecord *record, const ResourceValue *value)
{
	json_object_object_del(record, value->field->name);
	if (value->isnull)
		add_member(record, value->field->name, NULL);
	else
		add_datum(record, value->field, value->value);
}

/* A record as JSON text, palloc'ed, in UTF-8. */
char *
resource_json(JsonRecord *record)
{
	const char *text = json_object_to_json_string_ext(record,
													  JSON_C_TO_STRING_PLAIN);
	char	   *copy;

	if (text == NULL)
		report_no_memory();
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
			add_member(object, field->create_as,
					   checked_json(json_object_new_boolean(true)));
		json_object_object_del(object, field->name);
	}
}

/*
 * The body of a request that creates an object, as a palloc'ed string in
 * UTF-8: what INSERT may set is copied from the record `like`, if one is
 * given, and then the values are put over it.  NULL values are left out.
 */
char *
resource_body(const Resource *resource, JsonRecord *like,
			  const ResourceValue *values, int nvalues)
{
	JsonRecord *object = resource_new_record();

	for (int i = 0; like && i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];
		JsonRecord *value;

		if ((field->flags & FIELD_INSERT) && !(field->flags & FIELD_IN_PATH) &&
			json_object_object_get_ex(like, field->name, &value) &&
			value != NULL)
			add_member(object, field->name, json_object_get(value));
	}
	for (int i = 0; i < nvalues; i++)
	{
		if (values[i].isnull)
			json_object_object_del(object, values[i].field->name);
		else if (!(values[i].field->flags & FIELD_IN_PATH))
			resource_set(object, &values[i]);
	}
	rename_for_creation(resource, object);
	return resource_json(object);
}

/*
 * What a creation with these values will have made, as far as that is known:
 * a record that goes with the current memory context.
 */
JsonRecord *
resource_draft(const Resource *resource, const ResourceValue *values,
			   int nvalues)
{
	JsonRecord *record = resource_new_record();

	for (int i = 0; i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];

		if (field->initial)
			add_member(record, field->name,
					   json_tokener_parse(field->initial));
	}
	for (int i = 0; i < nvalues; i++)
		if (!values[i].isnull)
			resource_set(record, &values[i]);
	return record;
}
