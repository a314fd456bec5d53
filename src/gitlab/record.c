/*-------------------------------------------------------------------------
 *
 * resources.c
 *	  What GitLab has, as data: a descriptor for each resource.
 *
 * To add a resource is to add a descriptor below, its documentation and its
 * tests.
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
#include "http/engine.h"
#include "gitlab/jsonc.h"
#include "mb/pg_wchar.h"
#include "gitlab/option.h"
#include "gitlab/resources.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* ----------
 * The descriptors
 * ----------
 */

static const ResourceParameter no_parameters[] = {{NULL, NULL}};

static const ResourceField token_fields[] = {
	{"id", FIELD_BIGINT, 0},
	{"user_id", FIELD_BIGINT, FIELD_INSERT | FIELD_IN_PATH},
	{"name", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED},
	{"description", FIELD_TEXT, FIELD_INSERT},
	{"scopes", FIELD_TEXT_ARRAY, FIELD_INSERT | FIELD_REQUIRED},
	{"active", FIELD_BOOLEAN, FIELD_FALSE_WHEN_REVOKED},
	{"revoked", FIELD_BOOLEAN, FIELD_TRUE_WHEN_REVOKED | FIELD_NULL_IS_FALSE},
	{"created_at", FIELD_TIMESTAMPTZ, 0},
	{"last_used_at", FIELD_TIMESTAMPTZ, 0},
	{"last_used_ips", FIELD_INET_ARRAY, 0},
	{"expires_at", FIELD_DATE, FIELD_INSERT | FIELD_UPDATE | FIELD_NULLABLE},
	{"granular", FIELD_BOOLEAN, 0},
	{"token", FIELD_TEXT, FIELD_SECRET | FIELD_SENSITIVE},
};

/*
 * GitLab compares created_at and last_used_at with microseconds but shows
 * milliseconds, and takes both bounds inclusively; it takes expires_after
 * inclusively and expires_before exclusively.  Before 19.4, state=inactive may
 * leave out what expires today.
 */
static const ResourceFilter token_filters[] = {
	{.field = "id", .test = FILTER_LOOKUP, .joinable = true},
	{.field = "user_id", .test = FILTER_EQUAL, .parameter = "user_id", .joinable = true},
	{.field = "active", .test = FILTER_TRUE, .parameter = "state", .constant = "active", .churn = CHURN_LEAVE},
	{.field = "active", .test = FILTER_FALSE, .parameter = "state", .constant = "inactive", .churn = CHURN_ENTER, .known_from = 1904, .hides_pending = true},
	{.field = "revoked", .test = FILTER_TRUE, .parameter = "revoked", .constant = "true", .churn = CHURN_ENTER, .hides_pending = true},
	{.field = "revoked", .test = FILTER_FALSE, .parameter = "revoked", .constant = "false", .churn = CHURN_LEAVE},
	{.field = "created_at", .test = FILTER_AFTER, .parameter = "created_after"},
	{.field = "created_at", .test = FILTER_BEFORE, .parameter = "created_before", .exact_from = EXACT_NEVER},
	{.field = "last_used_at", .test = FILTER_AFTER, .parameter = "last_used_after", .churn = CHURN_ENTER},
	{.field = "last_used_at", .test = FILTER_BEFORE, .parameter = "last_used_before", .churn = CHURN_LEAVE, .exact_from = EXACT_NEVER},
	{.field = "expires_at", .test = FILTER_AFTER, .parameter = "expires_after", .exact_from = 1804},
	{.field = "expires_at", .test = FILTER_BEFORE, .parameter = "expires_before", .exact_from = 1804},
	{.field = "name", .test = FILTER_SEARCH, .parameter = "search", .exact_from = EXACT_NEVER},
};

/*
 * GitLab takes these flags only when they are true.  username ignores case;
 * humans are not all that is no bot, so bots are asked for by exclusion.
 * Looking up single users is rate-limited: no join does it.
 */
static const ResourceFilter user_filters[] = {
	{.field = "id", .test = FILTER_LOOKUP},
	{.field = "username", .test = FILTER_EQUAL, .parameter = "username", .exact_from = EXACT_NEVER},
	{.field = "state", .test = FILTER_IS, .operand = "active", .parameter = "active", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "state", .test = FILTER_IS, .operand = "blocked", .parameter = "blocked", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "is_admin", .test = FILTER_TRUE, .parameter = "admins", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "bot", .test = FILTER_TRUE, .parameter = "exclude_humans", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "bot", .test = FILTER_FALSE, .parameter = "without_project_bots", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "external", .test = FILTER_TRUE, .parameter = "external", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "external", .test = FILTER_FALSE, .parameter = "exclude_external", .constant = "true", .exact_from = EXACT_NEVER},
};

static const ResourceField user_fields[] = {
	{"id", FIELD_BIGINT, 0},
	{"username", FIELD_TEXT, 0},
	{"name", FIELD_TEXT, 0},
	{"email", FIELD_TEXT, 0},
	{"state", FIELD_TEXT, 0},
	{"locked", FIELD_BOOLEAN, 0},
	{"bot", FIELD_BOOLEAN, 0},
	{"external", FIELD_BOOLEAN, 0},
	{"is_admin", FIELD_BOOLEAN, 0},
	{"created_at", FIELD_TIMESTAMPTZ, 0},
	{"last_sign_in_at", FIELD_TIMESTAMPTZ, 0},
	{"last_activity_on", FIELD_DATE, 0},
	{"web_url", FIELD_TEXT, 0},
};

/* Beyond 50,000 users GitLab refuses offsets; a keyset also never slides. */
static const ResourceParameter user_parameters[] = {
	{"pagination", "keyset"},
	{"order_by", "id"},
	{"sort", "asc"},
	{NULL, NULL}
};

/*
 * Variables of projects and of groups differ in nothing but what they are in.
 * A hidden one can only be made so, and then GitLab shows its value no more.
 */
#define VARIABLE_FIELDS(container) \
	{container, FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED | FIELD_IN_PATH}, \
	{"key", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED}, \
	{"value", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED | FIELD_UPDATE | FIELD_SENSITIVE}, \
	{"variable_type", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE, "\"env_var\""}, \
	{"environment_scope", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE, "\"*\""}, \
	{"description", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE | FIELD_NULLABLE, "null"}, \
	{"protected", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false"}, \
	{"masked", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false"}, \
	{"hidden", FIELD_BOOLEAN, FIELD_INSERT, "false", "masked_and_hidden"}, \
	{"raw", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false"}

#define VARIABLE_FILTERS(container_field) \
	{.field = (container_field), .test = FILTER_CONTAINER, .joinable = true}, \
	{.field = "key", .test = FILTER_LOOKUP, .exact_from = EXACT_NEVER, .joinable = true}, \
	{.field = "environment_scope", .test = FILTER_VARIANT, .exact_from = EXACT_NEVER, .joinable = true}

static const ResourceField project_variable_fields[] = {VARIABLE_FIELDS("project")};
static const ResourceField group_variable_fields[] = {VARIABLE_FIELDS("group_path")};
static const ResourceFilter project_variable_filters[] = {VARIABLE_FILTERS("project")};
static const ResourceFilter group_variable_filters[] = {VARIABLE_FILTERS("group_path")};

#define VARIABLE_RESOURCE(kind, column, role) \
	{ \
		.name = #kind "_variables", \
		.table_name = "gitlab_" #kind "_variables", \
		.singular = #kind " variable", \
		.plural = #kind " variables", \
		.container_path = "/" #kind "s", \
		.path = "/variables", \
		.container = (column), \
		.key = "key", \
		.variant = "environment_scope", \
		.variant_parameter = "filter[environment_scope]", \
		.variant_hint = "Variables of groups for other scopes than \"*\" need a paid tier of GitLab.", \
		.list_parameters = no_parameters, \
		.writable = true, \
		.written_at_commit = true, \
		.update_rule = "GitLab cannot move a variable, rename it, or hide it later on.", \
		.update_hint = "INSERT a new variable and DELETE the old one.", \
		.role_hint = "This needs an API token with the scope \"api\", or \"read_api\" for reading, of a user with the role " role ".", \
		.fields = kind##_variable_fields, \
		.nfields = lengthof(kind##_variable_fields), \
		.filters = kind##_variable_filters, \
		.nfilters = lengthof(kind##_variable_filters), \
	}

static const Resource resources[] = {
	{
		.name = "personal_access_tokens",
		.table_name = "gitlab_personal_access_tokens",
		.singular = "personal access token",
		.plural = "personal access tokens",
		.path = "/personal_access_tokens",
		.key = "id",
		.list_parameters = no_parameters,
		.keyset = false,
		.owner_parameter = "user_id",
		.writable = true,
		.update_rule = "GitLab cannot change a token: only \"expires_at\" can be set, which replaces the token by a new one.",
		.update_hint = "To change anything else, INSERT a new token and DELETE the old one.",
		.fields = token_fields,
		.nfields = lengthof(token_fields),
		.filters = token_filters,
		.nfilters = lengthof(token_filters),
		.created_before = "created_before",
		.created_after = "created_after",
	},
	{
		.name = "users",
		.table_name = "gitlab_users",
		.singular = "user",
		.plural = "users",
		.path = "/users",
		.key = "id",
		.list_parameters = user_parameters,
		.keyset = true,
		.writable = false,
		.fields = user_fields,
		.nfields = lengthof(user_fields),
		.filters = user_filters,
		.nfilters = lengthof(user_filters),
	},
	VARIABLE_RESOURCE(project, "project", "Maintainer in the project"),
	VARIABLE_RESOURCE(group, "group_path", "Owner in the group"),
};

const Resource *const resource_tokens = &resources[0];
const Resource *const resource_users = &resources[1];


/* ----------
 * Looking descriptors up
 * ----------
 */

/* The resource of that name, or NULL. */
const Resource *
resource_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(resources); i++)
		if (strcmp(resources[i].name, name) == 0)
			return &resources[i];
	return NULL;
}

/* The resource after this one, the first one after NULL, NULL at the end. */
const Resource *
resource_next(const Resource *resource)
{
	const Resource *next = resource ? resource + 1 : resources;

	return next < resources + lengthof(resources) ? next : NULL;
}

/* The names of all resources, quoted, for a hint. */
const char *
resource_names(void)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < (int) lengthof(resources); i++)
		appendStringInfo(&buf, "%s\"%s\"", i > 0 ? ", " : "",
						 resources[i].name);
	return buf.data;
}

/* The field of that name, or NULL. */
const ResourceField *
resource_field(const Resource *resource, const char *name)
{
	for (int i = 0; i < resource->nfields; i++)
		if (strcmp(resource->fields[i].name, name) == 0)
			return &resource->fields[i];
	return NULL;
}

/* Does this field name one object, in its container? */
bool
resource_is_key(const Resource *resource, const ResourceField *field)
{
	return strcmp(field->name, resource->key) == 0;
}

/*
 * The path of a collection or, with a key, of an object in it, percent-encoded
 * and palloc'ed.  container and key are taken as they are, in UTF-8; container
 * is not used by a resource that has none.
 */
char *
resource_path(const Resource *resource, const char *container, const char *key)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (resource->container)
		appendStringInfo(&buf, "%s/%s", resource->container_path,
						 http_escape_segment(container));
	appendStringInfoString(&buf, resource->path);
	if (key)
		appendStringInfo(&buf, "/%s", http_escape_segment(key));
	return buf.data;
}

static Oid
field_type_oid(FieldType type)
{
	switch (type)
	{
		case FIELD_BIGINT:
			return INT8OID;
		case FIELD_TEXT:
			return TEXTOID;
		case FIELD_BOOLEAN:
			return BOOLOID;
		case FIELD_TIMESTAMPTZ:
			return TIMESTAMPTZOID;
		case FIELD_DATE:
			return DATEOID;
		case FIELD_TEXT_ARRAY:
			return TEXTARRAYOID;
		case FIELD_INET_ARRAY:
			return INETARRAYOID;
	}
	return InvalidOid;
}

/* The SQL type of a field, as it is written in CREATE FOREIGN TABLE. */
static const char *
field_type_name(FieldType type)
{
	switch (type)
	{
		case FIELD_BIGINT:
			return "bigint";
		case FIELD_TEXT:
			return "text";
		case FIELD_BOOLEAN:
			return "boolean";
		case FIELD_TIMESTAMPTZ:
			return "timestamp with time zone";
		case FIELD_DATE:
			return "date";
		case FIELD_TEXT_ARRAY:
			return "text[]";
		case FIELD_INET_ARRAY:
			return "inet[]";
	}
	return "unknown";
}

/*
 * A varchar without a length holds whatever a text does, and in the same form;
 * a precision below microseconds or a length would lose something.
 */
static bool
column_can_hold(const ResourceField *field, Form_pg_attribute attr)
{
	if (field->type == FIELD_TEXT && attr->atttypid == VARCHAROID)
		return attr->atttypmod < 0;
	return attr->atttypid == field_type_oid(field->type) &&
		attr->atttypmod < 0;
}

static const ResourceField *
bind_column(const Resource *resource, Relation rel, Form_pg_attribute attr)
{
	const char *column = NameStr(attr->attname);
	const char *name = option_value(GetForeignColumnOptions(RelationGetRelid(rel),
															attr->attnum),
									"column_name");
	const ResourceField *field = resource_field(resource, name ? name : column);

	if (attr->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of foreign table \"%s\" is generated, which is not supported",
						column, RelationGetRelationName(rel)),
				 errhint("Use a view.")));
	if (field == NULL)
	{
		StringInfoData valid;

		initStringInfo(&valid);
		for (int i = 0; i < resource->nfields; i++)
			appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "",
							 resource->fields[i].name);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("column \"%s\" of foreign table \"%s\" does not match any field of \"%s\"",
						column, RelationGetRelationName(rel), resource->name),
				 name ? errdetail("Its option \"column_name\" is \"%s\".", name) : 0,
				 errhint("Fields are: %s.", valid.data)));
	}
	if (!column_can_hold(field, attr))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of foreign table \"%s\" has type %s, but field \"%s\" needs type %s",
						column, RelationGetRelationName(rel),
						format_type_with_typemod(attr->atttypid, attr->atttypmod),
						field->name, field_type_name(field->type)),
				 errhint("Declare the column with type %s, or let IMPORT FOREIGN SCHEMA make the table.",
						 field_type_name(field->type))));
	return field;
}

/* The first column that shows the field of that name, or 0. */
AttrNumber
resource_column(const ResourceField **fields, TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (fields[i] && strcmp(fields[i]->name, name) == 0)
			return i + 1;
	return InvalidAttrNumber;
}

/*
 * Finds the field that each column of a table shows: an array by attribute
 * number minus one, NULL for dropped columns, in the current context.  Raises
 * an error if a column matches no field or one that another column shows, or
 * if it can't hold it.
 */
const ResourceField **
resource_bind(const Resource *resource, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const ResourceField **fields;

	fields = palloc0(sizeof(ResourceField *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		fields[i] = bind_column(resource, rel, attr);
		for (int j = 0; j < i; j++)
			if (fields[j] == fields[i])
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_COLUMN_NAME),
						 errmsg("columns \"%s\" and \"%s\" of foreign table \"%s\" show the same field",
								NameStr(TupleDescAttr(desc, j)->attname),
								NameStr(attr->attname),
								RelationGetRelationName(rel)),
						 errhint("Drop one of them, or use a view.")));
	}
	if (resource->container &&
		resource_column(fields, desc, resource->container) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("foreign table \"%s\" has no column for the field \"%s\"",
						RelationGetRelationName(rel), resource->container),
				 errdetail("Without it, nothing can be asked for."),
				 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s text.",
						 quote_identifier(RelationGetRelationName(rel)),
						 resource->container)));
	return fields;
}

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


/* ----------
 * IMPORT FOREIGN SCHEMA
 * ----------
 */

/* Appends the CREATE FOREIGN TABLE command for a resource. */
void
resource_import_command(StringInfo buf, const Resource *resource,
						const char *table_name, const char *server_name)
{
	appendStringInfo(buf, "CREATE FOREIGN TABLE %s (",
					 quote_identifier(table_name));
	for (int i = 0; i < resource->nfields; i++)
		appendStringInfo(buf, "%s\n\t%s %s", i > 0 ? "," : "",
						 quote_identifier(resource->fields[i].name),
						 field_type_name(resource->fields[i].type));
	appendStringInfo(buf, "\n) SERVER %s OPTIONS (resource %s)",
					 quote_identifier(server_name),
					 quote_literal_cstr(resource->name));
}
