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

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "gitlab/resources.h"
#include "http/url.h"
#include "lib/stringinfo.h"

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

Oid
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
const char *
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

/* The first column that shows the field of that name, or 0. */
AttrNumber
resource_column(const ResourceField **fields, TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (fields[i] && strcmp(fields[i]->name, name) == 0)
			return i + 1;
	return InvalidAttrNumber;
}
