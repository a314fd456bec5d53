/*-------------------------------------------------------------------------
 *
 * fuzz_filter.c
 *	  Fuzzing conditions on their way to the parameters of a request.
 *
 * Whatever is sent has to select a superset of the rows that fulfil the
 * conditions: that is what is checked here, with one record at a time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "gitlab/filter.c"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "gitlab/jsonc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#define MAX_CONDITIONS 8

/* The bytes that are left to take values from; zeros follow. */
typedef struct Bytes
{
	const uint8 *data;
	size_t		left;
} Bytes;

static uint64
take(Bytes *bytes, int n)
{
	uint64		value = 0;

	for (; n > 0 && bytes->left > 0; n--, bytes->left--)
		value = value << 8 | *bytes->data++;
	return value;
}

/* An operand of a type that the planner takes for a field. */
static void
take_operand(Bytes *bytes, Condition *condition)
{
	switch (condition->field->type)
	{
		case FIELD_BIGINT:
			condition->type = INT8OID;
			condition->operand = Int64GetDatum(take(bytes, 1 + take(bytes, 1) % 8));
			break;
		case FIELD_BOOLEAN:
			condition->type = BOOLOID;
			condition->operand = BoolGetDatum(take(bytes, 1) & 1);
			break;
		case FIELD_DATE:
			condition->type = DATEOID;
			condition->operand = DateADTGetDatum((DateADT) take(bytes, 1 + take(bytes, 1) % 4));
			/* PostgreSQL has no dates but these */
			if (!DATE_NOT_FINITE(DatumGetDateADT(condition->operand)) &&
				!IS_VALID_DATE(DatumGetDateADT(condition->operand)))
				condition->operand = DateADTGetDatum(0);
			break;
		default:
			condition->type = TIMESTAMPTZOID;
			condition->operand = TimestampTzGetDatum((TimestampTz) take(bytes, 1 + take(bytes, 1) % 8));
			if (!TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(condition->operand)) &&
				!IS_VALID_TIMESTAMP(DatumGetTimestampTz(condition->operand)))
				condition->operand = TimestampTzGetDatum(0);
	}
}

static bool
take_condition(Bytes *bytes, const Resource *resource, Condition *condition)
{
	static const ConditionOperator operators[] = {CONDITION_EQUAL,
		CONDITION_LESS, CONDITION_LESS_EQUAL, CONDITION_GREATER,
	CONDITION_GREATER_EQUAL};

	condition->field = &resource->fields[take(bytes, 1) % resource->nfields];
	condition->operator = operators[take(bytes, 1) % lengthof(operators)];
	condition->isnull = false;
	condition->expression = NULL;
	if (condition->field->type == FIELD_TEXT ||
		condition->field->type == FIELD_TEXT_ARRAY ||
		condition->field->type == FIELD_INET_ARRAY ||
		next_filter(resource, condition->field, condition->operator, NULL) == NULL)
		return false;
	take_operand(bytes, condition);
	return true;
}

/* A record as GitLab would send it, with times cut to milliseconds. */
static JsonRecord *
take_record(Bytes *bytes)
{
	JsonRecord *record = json_object_new_object();
	int64		ms = (int64) (take(bytes, 6) % (INT64CONST(86400000) * 300000));
	Bounds		time = {.field = resource_field(resource_tokens, "created_at")};
	Bounds		date = {.field = resource_field(resource_tokens, "expires_at")};

	json_object_object_add(record, "id", json_object_new_int64(1 + take(bytes, 2)));
	json_object_object_add(record, "user_id", json_object_new_int64(1 + take(bytes, 1)));
	json_object_object_add(record, "active", json_object_new_boolean(take(bytes, 1) & 1));
	json_object_object_add(record, "revoked", json_object_new_boolean(take(bytes, 1) & 1));
	json_object_object_add(record, "created_at", json_object_new_string(bounds_format(time.field, ms)));
	json_object_object_add(record, "last_used_at", json_object_new_string(bounds_format(time.field, ms / 2)));
	json_object_object_add(record, "expires_at", json_object_new_string(bounds_format(date.field, take(bytes, 2))));
	return record;
}

/* Would GitLab select the record by this parameter? */
static bool
selected(JsonRecord *record, const char *name, const char *value)
{
	static const struct
	{
		const char *parameter;
		const char *field;
		int			sign;
		bool		inclusive;
	}			bounds[] = {
		{"created_after", "created_at", 1, true},
		{"created_before", "created_at", -1, true},
		{"last_used_after", "last_used_at", 1, true},
		{"last_used_before", "last_used_at", -1, true},
		{"expires_after", "expires_at", 1, true},
		{"expires_before", "expires_at", -1, false},
		{"user_id", "user_id", 0, true},
		{"revoked", "revoked", 0, true},
	};
	JsonRecord *member;

	for (int i = 0; i < (int) lengthof(bounds); i++)
	{
		int			comparison;

		if (strcmp(bounds[i].parameter, name) != 0)
			continue;
		json_object_object_get_ex(record, bounds[i].field, &member);
		comparison = strcmp(json_object_get_string(member), value);
		if (comparison == 0)
			return bounds[i].inclusive;
		return bounds[i].sign > 0 ? comparison > 0 :
			bounds[i].sign < 0 && comparison < 0;
	}
	if (strcmp(name, "state") == 0 &&
		json_object_object_get_ex(record, "active", &member))
		return json_object_get_boolean(member) == (strcmp(value, "active") == 0);
	fuzz_fail("a parameter that was not expected", name);
}

static bool
all_selected(JsonRecord *record, List *parameters)
{
	ListCell   *lc;

	foreach(lc, parameters)
	{
		ApiParameter *parameter = lfirst(lc);

		if (!selected(record, parameter->name, parameter->value))
			return false;
	}
	return true;
}

static bool
is_asked_for(const FilterRequest *request, JsonRecord *record)
{
	int64		id;
	char		key[32];

	if (request->nothing || !all_selected(record, request->parameters))
		return false;
	snprintf(key, sizeof(key), INT64_FORMAT,
			 record_id(record, &id) ? id : 0);
	for (int i = 0; i < request->ntargets; i++)
	{
		const ApiTarget *target = &request->targets[i];

		if (request->lookup ? strcmp(target->key, key) == 0 :
			all_selected(record, target->parameters))
			return true;
	}
	return false;
}

/* Does a record fulfil a condition, to PostgreSQL's operators? */
static bool
fulfils(JsonRecord *record, const Condition *condition)
{
	static const StrategyNumber strategies[] = {
		[CONDITION_EQUAL] = BTEqualStrategyNumber,
		[CONDITION_LESS] = BTLessStrategyNumber,
		[CONDITION_LESS_EQUAL] = BTLessEqualStrategyNumber,
		[CONDITION_GREATER] = BTGreaterStrategyNumber,
		[CONDITION_GREATER_EQUAL] = BTGreaterEqualStrategyNumber,
	};
	TypeCacheEntry *type = lookup_type_cache(condition->type,
											 TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = get_opfamily_member(type->btree_opf,
											   resource_type_oid(condition->field->type),
											   condition->type,
											   strategies[condition->operator]);
	bool		isnull;
	Datum		value = record_datum(resource_tokens, condition->field, record,
									 &isnull);

	return !isnull &&
		DatumGetBool(OidFunctionCall2(get_opcode(operator), value,
									  condition->operand));
}

/* A request has to ask for a record that fulfils its conditions. */
static void
check_request(Bytes *bytes)
{
	static const int versions[] = {0, 1711, 1804, 1904};
	int			version = versions[take(bytes, 1) % lengthof(versions)];
	bool		one_answer = take(bytes, 1) & 1;
	JsonRecord *record = take_record(bytes);
	Condition	conditions[MAX_CONDITIONS] = {0};
	int			n = 0;
	FilterRequest *request;
	bool		fulfilled = true;

	while (bytes->left > 2 && n < MAX_CONDITIONS)
		if (take_condition(bytes, resource_tokens, &conditions[n]))
			n++;
	request = filter_request(resource_tokens, version, conditions, n, false, false,
							 one_answer);
	for (int i = 0; i < n && fulfilled; i++)
		fulfilled = fulfils(record, &conditions[i]);
	if (fulfilled && !is_asked_for(request, record))
		fuzz_fail("a record is not asked for that fulfils the conditions",
				  json_object_to_json_string(record));
	json_object_put(record);
}

/* What is searched for has to stand in every name that matches a pattern. */
static void
check_search(Bytes *bytes)
{
	static const ConditionOperator operators[] = {CONDITION_EQUAL,
	CONDITION_LIKE, CONDITION_ILIKE};
	Condition	condition = {.type = TEXTOID};
	char	   *pattern;
	char	   *name;
	char	   *fragment;
	bool		matches = false;

	condition.operator = operators[take(bytes, 1) % lengthof(operators)];
	if (pg_encoding_verifymbstr(PG_UTF8, (const char *) bytes->data,
								bytes->left) != (int) bytes->left)
		return;
	pattern = fuzz_string(bytes->data, bytes->left);
	name = strchr(pattern, '\n');
	if (name)
		*name++ = '\0';
	condition.operand = CStringGetTextDatum(pattern);
	fragment = search_fragment(&condition);
	if (fragment == NULL)
		return;
	if (pg_encoding_verifymbstr(PG_UTF8, fragment, strlen(fragment)) !=
		(int) strlen(fragment))
		fuzz_fail("a fragment is not valid UTF-8", fragment);
	if (name == NULL)
		return;
	PG_TRY();
	{
		Datum		value = CStringGetTextDatum(name);

		matches = condition.operator == CONDITION_EQUAL ?
			strcmp(name, pattern) == 0 :
			DatumGetBool(DirectFunctionCall2Coll(condition.operator == CONDITION_LIKE ?
												 textlike : texticlike,
												 C_COLLATION_OID, value,
												 condition.operand));
	}
	/* a pattern that ends with its escape character */
	FUZZ_EXPECT(ERRCODE_INVALID_ESCAPE_SEQUENCE);
	if (!matches)
		return;
	if (condition.operator == CONDITION_ILIKE)
	{
		for (char *p = name; *p; p++)
			*p = pg_ascii_tolower((unsigned char) *p);
		for (char *p = fragment; *p; p++)
			*p = pg_ascii_tolower((unsigned char) *p);
	}
	if (strstr(name, fragment) == NULL)
		fuzz_fail("a matching name lacks the fragment", fragment);
}

/* The first byte chooses between the two. */
void
fuzz_filter(const uint8 *data, size_t size)
{
	Bytes		bytes = {.data = data, .left = size};

	if (take(&bytes, 1) & 1)
		check_search(&bytes);
	else
		check_request(&bytes);
}
