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

#include "gitlab/resources.h"
#include "lib/stringinfo.h"

/*
 * Descriptors of a kind are made by macros, whose arguments are initializers.
 * NOLINTBEGIN
 */

/* ----------
 * The descriptors
 * ----------
 */

static const ResourceParameter no_parameters[] = {{NULL, NULL}};

/*
 * Fields of all tokens; what they are in comes before, and the secret last.  Of
 * some, INSERT may give none a value.
 */
#define TOKEN_FIELDS(user_flags, insert, required, expiry) \
	{"id", FIELD_BIGINT, 0, .description = "Id of the token, unique among all kinds of tokens"}, \
	{"user_id", FIELD_BIGINT, user_flags, .description = "Id of the user who owns the token"}, \
	TOKEN_FIELDS_AFTER_OWNER(insert, required, expiry)

#define TOKEN_FIELDS_AFTER_OWNER(insert, required, expiry) \
	{"name", FIELD_TEXT, insert | required, .description = "Name of the token, which need not be unique"}, \
	{"description", FIELD_TEXT, insert, .description = "Description of the token"}, \
	{"scopes", FIELD_TEXT_ARRAY, insert | required, .description = "Scopes of the token"}, \
	{"active", FIELD_BOOLEAN, FIELD_FALSE_WHEN_REVOKED, .description = "Whether the token is neither revoked nor expired"}, \
	{"revoked", FIELD_BOOLEAN, FIELD_TRUE_WHEN_REVOKED | FIELD_NULL_IS_FALSE, .description = "Whether the token is revoked"}, \
	{"created_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the creation of the token"}, \
	{"last_used_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the last use that GitLab has noted; NULL if the token was never used"}, \
	{"last_used_ips", FIELD_INET_ARRAY, 0, .description = "Addresses of the last uses; NULL where GitLab does not send them"}, \
	{"expires_at", FIELD_DATE, expiry | FIELD_UPDATE | FIELD_NULLABLE, .description = "Day at whose beginning, in UTC, the token ends; UPDATE rotates the token"}, \
	{"granular", FIELD_BOOLEAN, 0, .description = "Whether the token is fine-grained; NULL where GitLab does not send it"}

#define TOKEN_SECRET \
	{"token", FIELD_TEXT, FIELD_SECRET | FIELD_SENSITIVE, .description = "Secret of the token, only in RETURNING of INSERT and UPDATE"}

/* The tokens of projects and groups, whose users are bots with a role. */
#define RESOURCE_FIELDS(access_flags) \
	{"access_level", FIELD_INTEGER, access_flags | FIELD_OF_BOT, .description = "Role of the token's bot user: 10 Guest, 20 Reporter, 30 Developer, 40 Maintainer, 50 Owner, and others"}, \
	{"resource_type", FIELD_TEXT, FIELD_OF_BOT, .description = "What the token is for: project or group"}, \
	{"resource_id", FIELD_BIGINT, FIELD_OF_BOT, .description = "Id of the project or group that the token is for"}

/* A text that says where something is: a container's path or number. */
#define CONTAINER_FIELD(name, what) \
	{name, FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED | FIELD_IN_PATH, .description = what}

#define ACCOUNT_FIELD \
	{"user_id", FIELD_BIGINT, FIELD_INSERT | FIELD_REQUIRED | FIELD_IN_PATH, .description = "Id of the user who owns the token"}

static const char *const credential_kinds[] = {"personal", "resource", NULL};

static const ResourceField token_fields[] = {
	TOKEN_FIELDS(FIELD_INSERT | FIELD_IN_PATH, FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField impersonation_token_fields[] = {
	TOKEN_FIELDS(FIELD_INSERT | FIELD_REQUIRED | FIELD_IN_PATH, FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField project_access_token_fields[] = {
	CONTAINER_FIELD("project", "Full path or id of the project"),
	TOKEN_FIELDS(0, FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT | FIELD_SENT_AS_NULL),
	RESOURCE_FIELDS(FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField group_access_token_fields[] = {
	CONTAINER_FIELD("group_path", "Full path or id of the group"),
	TOKEN_FIELDS(0, FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT | FIELD_SENT_AS_NULL),
	RESOURCE_FIELDS(FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField project_service_account_token_fields[] = {
	CONTAINER_FIELD("project", "Full path or id of the project that the account belongs to"),
	ACCOUNT_FIELD,
	{"id", FIELD_BIGINT, 0, .description = "Id of the token, unique among all kinds of tokens"},
	TOKEN_FIELDS_AFTER_OWNER(FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField group_service_account_token_fields[] = {
	CONTAINER_FIELD("group_path", "Full path or id of the group that the account belongs to"),
	ACCOUNT_FIELD,
	{"id", FIELD_BIGINT, 0, .description = "Id of the token, unique among all kinds of tokens"},
	TOKEN_FIELDS_AFTER_OWNER(FIELD_INSERT, FIELD_REQUIRED, FIELD_INSERT),
	TOKEN_SECRET
};
static const ResourceField group_credential_fields[] = {
	{"group_path", FIELD_TEXT, FIELD_IN_PATH, .description = "Full path or id of the top-level group"},
	{"kind", FIELD_TEXT, FIELD_IN_PATH, .choices = credential_kinds, .description = "personal: tokens of users; resource: tokens of projects and groups"},
	TOKEN_FIELDS(0, 0, 0, 0),
	RESOURCE_FIELDS(0),
	TOKEN_SECRET
};

/*
 * GitLab compares created_at and last_used_at with microseconds but shows
 * milliseconds, and takes both bounds inclusively; it takes expires_after
 * inclusively and expires_before exclusively.  Before 19.4, state=inactive may
 * leave out what expires today.  In another time zone than UTC, state=active may
 * leave out what is active, and state=inactive what is not.  An older GitLab
 * ignores a parameter that it does not know yet: from and expiry_from are the
 * versions that know them.
 */
#define TOKEN_FILTERS(from, expiry_from) \
	{.field = "active", .test = FILTER_TRUE, .parameter = "state", .constant = "active", .churn = CHURN_LEAVE, .place = FILTER_IN_UTC, .exact_from = from}, \
	{.field = "active", .test = FILTER_TRUE, .parameter = "revoked", .constant = "false", .churn = CHURN_LEAVE, .place = FILTER_ELSEWHERE, .exact_from = EXACT_NEVER}, \
	{.field = "active", .test = FILTER_FALSE, .parameter = "state", .constant = "inactive", .churn = CHURN_ENTER, .place = FILTER_IN_UTC, .known_from = 1904, .hides_pending = true}, \
	{.field = "revoked", .test = FILTER_TRUE, .parameter = "revoked", .constant = "true", .churn = CHURN_ENTER, .exact_from = from, .hides_pending = true}, \
	{.field = "revoked", .test = FILTER_FALSE, .parameter = "revoked", .constant = "false", .churn = CHURN_LEAVE, .exact_from = from}, \
	{.field = "created_at", .test = FILTER_AFTER, .parameter = "created_after", .exact_from = from}, \
	{.field = "created_at", .test = FILTER_BEFORE, .parameter = "created_before", .exact_from = EXACT_NEVER}, \
	{.field = "last_used_at", .test = FILTER_AFTER, .parameter = "last_used_after", .churn = CHURN_ENTER, .exact_from = from}, \
	{.field = "last_used_at", .test = FILTER_BEFORE, .parameter = "last_used_before", .churn = CHURN_LEAVE, .exact_from = EXACT_NEVER}, \
	{.field = "expires_at", .test = FILTER_AFTER, .parameter = "expires_after", .exact_from = (expiry_from)}, \
	{.field = "expires_at", .test = FILTER_BEFORE, .parameter = "expires_before", .exact_from = (expiry_from)}, \
	{.field = "name", .test = FILTER_SEARCH, .parameter = "search", .exact_from = EXACT_NEVER}

#define CONTAINER_FILTER(name) \
	{.field = (name), .test = FILTER_CONTAINER, .joinable = true}
#define ID_FILTER \
	{.field = "id", .test = FILTER_LOOKUP, .joinable = true}

static const ResourceFilter token_filters[] = {
	ID_FILTER,
	{.field = "user_id", .test = FILTER_EQUAL, .parameter = "user_id", .joinable = true},
	TOKEN_FILTERS(EXACT_ALWAYS, 1804),
};
static const ResourceFilter impersonation_token_filters[] = {
	CONTAINER_FILTER("user_id"),
	ID_FILTER,
	{.field = "active", .test = FILTER_TRUE, .parameter = "state", .constant = "active", .churn = CHURN_LEAVE, .place = FILTER_IN_UTC},
	{.field = "active", .test = FILTER_FALSE, .parameter = "state", .constant = "inactive", .churn = CHURN_ENTER, .place = FILTER_IN_UTC, .known_from = 1904, .hides_pending = true},
};
static const ResourceFilter project_access_token_filters[] = {
	CONTAINER_FILTER("project"),
	ID_FILTER,
	TOKEN_FILTERS(1805, 1805),
};
static const ResourceFilter group_access_token_filters[] = {
	CONTAINER_FILTER("group_path"),
	ID_FILTER,
	TOKEN_FILTERS(1805, 1805),
};
static const ResourceFilter project_service_account_token_filters[] = {
	CONTAINER_FILTER("project"),
	CONTAINER_FILTER("user_id"),
	TOKEN_FILTERS(1711, 1804),
};
static const ResourceFilter group_service_account_token_filters[] = {
	CONTAINER_FILTER("group_path"),
	CONTAINER_FILTER("user_id"),
	TOKEN_FILTERS(1711, 1804),
};
static const ResourceFilter group_credential_filters[] = {
	CONTAINER_FILTER("group_path"),
	CONTAINER_FILTER("kind"),
	TOKEN_FILTERS(EXACT_ALWAYS, EXACT_ALWAYS),
};

/*
 * An administrator is shown all groups and projects, others only what they are
 * members of: of groups by default, of projects if asked for.  What a project is
 * in may be the namespace of a user, which is no group.
 */
static const ResourceField group_fields[] = {
	{"id", FIELD_BIGINT, 0, .description = "Id of the group"},
	{"path", FIELD_TEXT, 0, .pointer = "/full_path", .description = "Full path of the group"},
	{"name", FIELD_TEXT, 0, .description = "Name of the group"},
	{"parent_id", FIELD_BIGINT, 0, .description = "Id of the group above; NULL if it is a top-level group"},
	{"visibility", FIELD_TEXT, 0, .description = "Visibility of the group: private, internal or public"},
	{"archived", FIELD_BOOLEAN, 0, .description = "Whether the group is archived"},
	{"created_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the creation of the group"},
	{"web_url", FIELD_TEXT, 0, .description = "URL of the group in GitLab"},
};
static const ResourceField project_fields[] = {
	{"id", FIELD_BIGINT, 0, .description = "Id of the project"},
	{"path", FIELD_TEXT, 0, .pointer = "/path_with_namespace", .description = "Full path of the project"},
	{"name", FIELD_TEXT, 0, .description = "Name of the project"},
	{"group_path", FIELD_TEXT, 0, .pointer = "/namespace/full_path", .if_pointer = "/namespace/kind", .if_value = "group", .description = "Full path of the group that the project is in; NULL if it is in the namespace of a user"},
	{"visibility", FIELD_TEXT, 0, .description = "Visibility of the project: private, internal or public"},
	{"archived", FIELD_BOOLEAN, FIELD_DETAIL, .description = "Whether the project is archived; reading it makes answers longer"},
	{"created_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the creation of the project"},
	{"last_activity_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the last activity in the project"},
	{"web_url", FIELD_TEXT, 0, .description = "URL of the project in GitLab"},
};

/* A value that GitLab does not know would be an error. */
#define VISIBILITY_FILTER(value) \
	{.field = "visibility", .test = FILTER_IS, .operand = (value), .parameter = "visibility", .constant = (value), .exact_from = EXACT_NEVER}
#define VISIBILITY_FILTERS \
	VISIBILITY_FILTER("private"), \
	VISIBILITY_FILTER("internal"), \
	VISIBILITY_FILTER("public")

static const ResourceFilter group_filters[] = {
	{.field = "id", .test = FILTER_LOOKUP},
	{.field = "path", .test = FILTER_ALIAS, .exact_from = EXACT_NEVER},
	VISIBILITY_FILTERS,
};
static const ResourceFilter project_filters[] = {
	{.field = "id", .test = FILTER_LOOKUP},
	{.field = "path", .test = FILTER_ALIAS, .exact_from = EXACT_NEVER},
	VISIBILITY_FILTERS,
	{.field = "archived", .test = FILTER_TRUE, .parameter = "archived", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "archived", .test = FILTER_FALSE, .parameter = "archived", .constant = "false", .exact_from = EXACT_NEVER},
};
static const ResourceParameter group_parameters[] = {
	{"order_by", "id"},
	{"sort", "asc"},
	{NULL, NULL}
};
static const ResourceParameter group_lookup_parameters[] = {
	{"with_projects", "false"},
	{NULL, NULL}
};

/* Service accounts: users, of whom their lists say little. */
#define SERVICE_ACCOUNT_FIELDS \
	{"id", FIELD_BIGINT, 0, .description = "Id of the service account, the user_id of its tokens"}, \
	{"username", FIELD_TEXT, 0, .description = "Login name of the service account"}, \
	{"name", FIELD_TEXT, 0, .description = "Full name of the service account"}, \
	{"email", FIELD_TEXT, 0, .description = "E-mail address of the service account"}

static const ResourceField service_account_fields[] = {
	SERVICE_ACCOUNT_FIELDS
};
static const ResourceField group_service_account_fields[] = {
	{"group_path", FIELD_TEXT, FIELD_IN_PATH, .description = "Full path or id of the group that the account belongs to"},
	SERVICE_ACCOUNT_FIELDS
};
static const ResourceField project_service_account_fields[] = {
	{"project", FIELD_TEXT, FIELD_IN_PATH, .description = "Full path or id of the project that the account belongs to"},
	SERVICE_ACCOUNT_FIELDS
};
static const ResourceFilter group_service_account_filters[] = {
	CONTAINER_FILTER("group_path"),
};
static const ResourceFilter project_service_account_filters[] = {
	CONTAINER_FILTER("project"),
};

/* To a user name with anything else in it, GitLab may answer with an error. */
#define USER_NAME_ALPHABET \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

/*
 * GitLab takes these flags only when they are true.  username ignores case;
 * humans are not all that is no bot, so bots are asked for by exclusion.
 */
static const ResourceFilter user_filters[] = {
	{.field = "id", .test = FILTER_LOOKUP, .joinable = true},
	{.field = "username", .test = FILTER_EQUAL, .parameter = "username", .alphabet = USER_NAME_ALPHABET, .exact_from = EXACT_NEVER},
	{.field = "state", .test = FILTER_IS, .operand = "active", .parameter = "active", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "state", .test = FILTER_IS, .operand = "blocked", .parameter = "blocked", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "is_admin", .test = FILTER_TRUE, .parameter = "admins", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "bot", .test = FILTER_TRUE, .parameter = "exclude_humans", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "bot", .test = FILTER_FALSE, .parameter = "without_project_bots", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "external", .test = FILTER_TRUE, .parameter = "external", .constant = "true", .exact_from = EXACT_NEVER},
	{.field = "external", .test = FILTER_FALSE, .parameter = "exclude_external", .constant = "true", .exact_from = EXACT_NEVER},
};

static const ResourceField user_fields[] = {
	{"id", FIELD_BIGINT, 0, .description = "Id of the user"},
	{"username", FIELD_TEXT, 0, .description = "Login name of the user"},
	{"name", FIELD_TEXT, 0, .description = "Full name of the user"},
	{"email", FIELD_TEXT, 0, .description = "E-mail address of the user, for administrators only"},
	{"state", FIELD_TEXT, 0, .description = "State of the account: active, blocked, deactivated and others"},
	{"locked", FIELD_BOOLEAN, 0, .description = "Whether the account is locked after failed sign-ins"},
	{"bot", FIELD_BOOLEAN, 0, .description = "Whether the user is the bot of a project or a group, or another kind of bot"},
	{"external", FIELD_BOOLEAN, 0, .description = "Whether the user is external"},
	{"is_admin", FIELD_BOOLEAN, 0, .description = "Whether the user is an administrator, for administrators only"},
	{"created_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the creation of the account"},
	{"last_sign_in_at", FIELD_TIMESTAMPTZ, 0, .description = "Time of the last sign-in, for administrators only"},
	{"last_activity_on", FIELD_DATE, 0, .description = "Day of the last activity, for administrators only"},
	{"web_url", FIELD_TEXT, 0, .description = "URL of the profile in GitLab"},
};

/* Beyond 50,000 users GitLab refuses offsets; a keyset also never slides. */
static const ResourceParameter keyset_parameters[] = {
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
	CONTAINER_FIELD(container, "Full path or id of what the variable is in"), \
	{"key", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED, .description = "Key of the variable"}, \
	{"value", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED | FIELD_UPDATE | FIELD_SENSITIVE, .description = "Value of the variable; NULL if it is hidden"}, \
	{"variable_type", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE, "\"env_var\"", .description = "Type of the variable: env_var or file"}, \
	{"environment_scope", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE, "\"*\"", .description = "Environments that the variable is for; * means all"}, \
	{"description", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE | FIELD_NULLABLE, "null", .description = "Description of the variable"}, \
	{"protected", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether only protected branches and tags get the variable"}, \
	{"masked", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether logs of jobs mask the value"}, \
	{"hidden", FIELD_BOOLEAN, FIELD_INSERT, "false", "masked_and_hidden", .description = "Whether GitLab never shows the value again"}, \
	{"raw", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether GitLab leaves $ in the value alone"}

#define VARIABLE_FILTERS(container_field) \
	CONTAINER_FILTER(container_field), \
	{.field = "key", .test = FILTER_LOOKUP, .exact_from = EXACT_NEVER, .joinable = true}, \
	{.field = "environment_scope", .test = FILTER_VARIANT, .exact_from = EXACT_NEVER, .joinable = true}

static const ResourceField project_variable_fields[] = {VARIABLE_FIELDS("project")};
static const ResourceField group_variable_fields[] = {VARIABLE_FIELDS("group_path")};
static const ResourceFilter project_variable_filters[] = {VARIABLE_FILTERS("project")};
static const ResourceFilter group_variable_filters[] = {VARIABLE_FILTERS("group_path")};

/* Those of the instance hold for everything, and cannot be hidden. */
static const ResourceField instance_variable_fields[] = {
	{"key", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED, .description = "Key of the variable"},
	{"value", FIELD_TEXT, FIELD_INSERT | FIELD_REQUIRED | FIELD_UPDATE | FIELD_SENSITIVE, .description = "Value of the variable; NULL if it is hidden"},
	{"variable_type", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE, "\"env_var\"", .description = "Type of the variable: env_var or file"},
	{"description", FIELD_TEXT, FIELD_INSERT | FIELD_UPDATE | FIELD_NULLABLE, "null", .description = "Description of the variable"},
	{"protected", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether only protected branches and tags get the variable"},
	{"masked", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether logs of jobs mask the value"},
	{"hidden", FIELD_BOOLEAN, 0, "false", .description = "Whether GitLab never shows the value again"},
	{"raw", FIELD_BOOLEAN, FIELD_INSERT | FIELD_UPDATE, "false", .description = "Whether GitLab leaves $ in the value alone"},
};
static const ResourceFilter instance_variable_filters[] = {
	{.field = "key", .test = FILTER_LOOKUP, .exact_from = EXACT_NEVER, .joinable = true},
};

#define ROLE_HINT(who) \
	"This needs an API token with the scope \"api\", or \"read_api\" for reading, of " who "."
#define MAINTAINER_HINT ROLE_HINT("a user with the role Maintainer in the project")
#define OWNER_HINT ROLE_HINT("a user with the role Owner in the group")
/* Self-managed Enterprise lets Owners manage accounts only if it is told to. */
#define GROUP_ACCOUNTS_HINT \
	OWNER_HINT "  On self-managed instances, an administrator may have to let Owners manage service accounts."
#define ADMINISTRATOR_HINT \
	"This needs an administrator's API token with the scope \"api\", and with \"admin_mode\" where GitLab's Admin Mode is on."

#define TOKEN_UPDATE_RULE \
	"GitLab cannot change a token: only \"expires_at\" can be set, which replaces the token by a new one."
#define TOKEN_UPDATE_HINT \
	"To change anything else, INSERT a new token and DELETE the old one."

#define FIELDS_AND_FILTERS(of) \
	.fields = of##_fields, \
	.nfields = lengthof(of##_fields), \
	.filters = of##_filters, \
	.nfilters = lengthof(of##_filters)

/* How a list of tokens is held still, and sorted from a declared version on. */
#define TOKEN_LIST(from) \
	.kind = RESOURCE_TOKENS, \
	.list_parameters = no_parameters, \
	.update_rule = TOKEN_UPDATE_RULE, \
	.update_hint = TOKEN_UPDATE_HINT, \
	.created_before = "created_before", \
	.created_after = "created_after", \
	.sorts_from = from

/* GitLab's words about a value that cannot be masked. */
#define INVALID_VALUE "value: is invalid"
#define INVALID_VALUE_HINT \
	"A masked value is one line of at least 8 characters, without blanks.  Unless \"raw\" is true, these are letters, digits and _+=/@:.~- only."

#define VARIABLE_RESOURCE(place, column, hint, strays) \
	{ \
		.name = #place "_variables", \
		.table_name = "gitlab_" #place "_variables", \
		.description = "CI/CD variables of a " #place " in GitLab, written at commit", \
		.singular = #place " variable", \
		.plural = #place " variables", \
		.path = "/" #place "s/{" column "}/variables", \
		.containers = {column}, \
		.key = "key", \
		.variant = "environment_scope", \
		.variant_parameter = "filter[environment_scope]", \
		.variant_hint = "Variables of groups for other scopes than \"*\" need a paid tier of GitLab.", \
		.list_parameters = no_parameters, \
		.kind = RESOURCE_VARIABLES, \
		.update_rule = "GitLab cannot move a variable, rename it, or hide it later on.", \
		.update_hint = "INSERT a new variable and DELETE the old one.", \
		.role_hint = (hint), \
		.update_strays = (strays), \
		.invalid_words = INVALID_VALUE, \
		.invalid_hint = INVALID_VALUE_HINT, \
		.container_name = #place, \
		FIELDS_AND_FILTERS(place##_variable), \
	}

static const Resource resources[] = {
	{
		.name = "personal_access_tokens",
		.table_name = "gitlab_personal_access_tokens",
		.description = "Personal access tokens in GitLab: INSERT creates, UPDATE of expires_at rotates, DELETE revokes at commit",
		.singular = "personal access token",
		.plural = "personal access tokens",
		.path = "/personal_access_tokens",
		.key = "id",
		TOKEN_LIST(1804),
		.owner_parameter = "user_id",
		FIELDS_AND_FILTERS(token),
	},
	{
		.name = "users",
		.table_name = "gitlab_users",
		.description = "Users of GitLab, read-only",
		.singular = "user",
		.plural = "users",
		.path = "/users",
		.key = "id",
		.list_parameters = keyset_parameters,
		.keyset = true,
		.administrator_field = "is_admin",
		FIELDS_AND_FILTERS(user),
	},
	{
		.name = "groups",
		.table_name = "gitlab_groups",
		.description = "Groups of GitLab, read-only",
		.singular = "group",
		.plural = "groups",
		.path = "/groups",
		.key = "id",
		.alias = "path",
		.list_parameters = group_parameters,
		.lookup_parameters = group_lookup_parameters,
		FIELDS_AND_FILTERS(group),
	},
	{
		.name = "projects",
		.table_name = "gitlab_projects",
		.description = "Projects of GitLab, read-only",
		.singular = "project",
		.plural = "projects",
		.path = "/projects",
		.key = "id",
		.alias = "path",
		.list_parameters = keyset_parameters,
		.brief = {"simple", "true"},
		.own = {"membership", "true"},
		.keyset = true,
		.keyset_parameter = "id_after",
		FIELDS_AND_FILTERS(project),
	},
	{
		.name = "service_accounts",
		.table_name = "gitlab_service_accounts",
		.description = "Service accounts of GitLab, for administrators, read-only",
		.singular = "service account",
		.plural = "service accounts",
		.path = "/service_accounts",
		.key = "id",
		.list_parameters = keyset_parameters,
		.keyset = true,
		.fields = service_account_fields,
		.nfields = lengthof(service_account_fields),
	},
	{
		.name = "group_service_accounts",
		.table_name = "gitlab_group_service_accounts",
		.description = "Service accounts of a group in GitLab, read-only",
		.singular = "service account",
		.plural = "service accounts",
		.path = "/groups/{group_path}/service_accounts",
		.containers = {"group_path"},
		.key = "id",
		.list_parameters = keyset_parameters,
		.keyset = true,
		.container_name = "group",
		.role_hint = GROUP_ACCOUNTS_HINT,
		FIELDS_AND_FILTERS(group_service_account),
	},
	{
		.name = "project_service_accounts",
		.table_name = "gitlab_project_service_accounts",
		.description = "Service accounts of a project in GitLab, read-only",
		.singular = "service account",
		.plural = "service accounts",
		.path = "/projects/{project}/service_accounts",
		.containers = {"project"},
		.key = "id",
		.list_parameters = keyset_parameters,
		.keyset = true,
		.container_name = "project",
		.role_hint = MAINTAINER_HINT,
		FIELDS_AND_FILTERS(project_service_account),
	},
	{
		.name = "project_access_tokens",
		.table_name = "gitlab_project_access_tokens",
		.description = "Access tokens of a project in GitLab",
		.singular = "project access token",
		.plural = "project access tokens",
		.path = "/projects/{project}/access_tokens",
		.has_bots = true,
		.containers = {"project"},
		.key = "id",
		TOKEN_LIST(1805),
		.container_name = "project",
		.role_hint = MAINTAINER_HINT,
		FIELDS_AND_FILTERS(project_access_token),
	},
	{
		.name = "group_access_tokens",
		.table_name = "gitlab_group_access_tokens",
		.description = "Access tokens of a group in GitLab",
		.singular = "group access token",
		.plural = "group access tokens",
		.path = "/groups/{group_path}/access_tokens",
		.has_bots = true,
		.containers = {"group_path"},
		.key = "id",
		TOKEN_LIST(1805),
		.container_name = "group",
		.role_hint = OWNER_HINT,
		FIELDS_AND_FILTERS(group_access_token),
	},
	{
		.name = "project_service_account_tokens",
		.table_name = "gitlab_project_service_account_tokens",
		.description = "Tokens of the service accounts of a project in GitLab",
		.singular = "service account's token",
		.plural = "service accounts' tokens",
		.path = "/projects/{project}/service_accounts/{user_id}/personal_access_tokens",
		.containers = {"project", "user_id"},
		.key = "id",
		TOKEN_LIST(1804),
		.container_name = "service account",
		.role_hint = MAINTAINER_HINT,
		FIELDS_AND_FILTERS(project_service_account_token),
	},
	{
		.name = "group_service_account_tokens",
		.table_name = "gitlab_group_service_account_tokens",
		.description = "Tokens of the service accounts of a group in GitLab",
		.singular = "service account's token",
		.plural = "service accounts' tokens",
		.path = "/groups/{group_path}/service_accounts/{user_id}/personal_access_tokens",
		.containers = {"group_path", "user_id"},
		.key = "id",
		TOKEN_LIST(1804),
		.container_name = "service account",
		.role_hint = GROUP_ACCOUNTS_HINT,
		FIELDS_AND_FILTERS(group_service_account_token),
	},
	{
		.name = "impersonation_tokens",
		.table_name = "gitlab_impersonation_tokens",
		.description = "Impersonation tokens of a user of GitLab, for administrators",
		.singular = "impersonation token",
		.plural = "impersonation tokens",
		.path = "/users/{user_id}/impersonation_tokens",
		.rotate_path = "/personal_access_tokens",
		.kind = RESOURCE_TOKENS,
		.containers = {"user_id"},
		.key = "id",
		.list_parameters = no_parameters,
		.update_rule = TOKEN_UPDATE_RULE,
		.update_hint = TOKEN_UPDATE_HINT,
		.container_name = "user",
		.role_hint = ADMINISTRATOR_HINT,
		FIELDS_AND_FILTERS(impersonation_token),
	},
	{
		.name = "group_credentials",
		.table_name = "gitlab_group_credentials",
		.description = "Tokens in the credentials inventory of a top-level group of GitLab.com",
		.singular = "credential",
		.plural = "credentials",
		.path = "/groups/{group_path}/manage/{kind}_access_tokens",
		.containers = {"group_path", "kind"},
		.key = "id",
		TOKEN_LIST(0),
		.unordered = true,
		.container_name = "group",
		.role_hint = ROLE_HINT("an Owner of the top-level group, on GitLab.com with a paid plan"),
		FIELDS_AND_FILTERS(group_credential),
	},
	VARIABLE_RESOURCE(project, "project", MAINTAINER_HINT, false),
	VARIABLE_RESOURCE(group, "group_path", OWNER_HINT, true),
	{
		.name = "instance_variables",
		.table_name = "gitlab_instance_variables",
		.description = "CI/CD variables of a whole instance of GitLab, for administrators",
		.singular = "instance variable",
		.plural = "instance variables",
		.path = "/admin/ci/variables",
		.kind = RESOURCE_VARIABLES,
		.invalid_words = INVALID_VALUE,
		.invalid_hint = INVALID_VALUE_HINT,
		.key = "key",
		.list_parameters = no_parameters,
		.update_rule = "GitLab cannot rename a variable of the instance, or hide it.",
		.update_hint = "INSERT a new variable and DELETE the old one.",
		.role_hint = ADMINISTRATOR_HINT,
		FIELDS_AND_FILTERS(instance_variable),
	},
};

const Resource *const resource_tokens = &resources[0];
const Resource *const resource_users = &resources[1];

/* NOLINTEND */


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
