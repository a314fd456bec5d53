/*-------------------------------------------------------------------------
 *
 * option.c
 *	  The options of servers, tables, columns and user mappings.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "compat.h"
#include "gitlab/option.h"
#include "gitlab/warnings.h"
#include "http/engine.h"
#include "http/url.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

bool		option_read_only = false;

typedef enum OptionType
{
	OPTION_URL,
	OPTION_PROXY,
	OPTION_BOOLEAN,
	OPTION_INTEGER,
	OPTION_DURATION,			/* in ms */
	OPTION_SIZE,				/* in bytes */
	OPTION_FILE,				/* absolute path on the database server */
	OPTION_ROTATION,
	OPTION_RESOURCE,
	OPTION_NAME,
	OPTION_TOKEN
} OptionType;

/* Who may set an option. */
typedef enum OptionPrivilege
{
	ANYBODY,
	SUPERUSER,					/* it names a file of the database server */
	SUPERUSER_IF_FALSE,			/* false weakens security */
	SUPERUSER_IF_LARGE			/* much memory of the database server's */
} OptionPrivilege;

#define MS_PER_S 1000
#define MS_PER_H (3600 * MS_PER_S)
#define KILOBYTE 1024
#define MEGABYTE (1024 * KILOBYTE)

/* An answer of this size takes some times as much memory. */
#define MAX_UNPRIVILEGED_SIZE (64 * MEGABYTE)

typedef struct OptionSpec
{
	const char *name;
	Oid			catalog;
	OptionType	type;
	OptionPrivilege privilege;
	int			min;
	int			max;
} OptionSpec;

static const OptionSpec options[] = {
	{"url", ForeignServerRelationId, OPTION_URL, ANYBODY, 0, 0},
	{"allow_insecure_http", ForeignServerRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},
	{"tls_verify", ForeignServerRelationId, OPTION_BOOLEAN, SUPERUSER_IF_FALSE, 0, 0},
	{"tls_ca_file", ForeignServerRelationId, OPTION_FILE, SUPERUSER, 0, 0},
	{"tls_cert_file", ForeignServerRelationId, OPTION_FILE, SUPERUSER, 0, 0},
	{"tls_key_file", ForeignServerRelationId, OPTION_FILE, SUPERUSER, 0, 0},
	{"proxy", ForeignServerRelationId, OPTION_PROXY, ANYBODY, 0, 0},
	{"connect_timeout", ForeignServerRelationId, OPTION_DURATION, ANYBODY, 1, MS_PER_H},
	{"request_timeout", ForeignServerRelationId, OPTION_DURATION, ANYBODY, 1, MS_PER_H},
	{"max_retries", ForeignServerRelationId, OPTION_INTEGER, ANYBODY, 0, 100},
	{"max_retry_wait", ForeignServerRelationId, OPTION_DURATION, ANYBODY, 0, 24 * MS_PER_H},
	{"rollback_timeout", ForeignServerRelationId, OPTION_DURATION, ANYBODY, 1, MS_PER_H},
	{"max_response_size", ForeignServerRelationId, OPTION_SIZE, SUPERUSER_IF_LARGE, KILOBYTE, 1024 * MEGABYTE - 1},
	{"page_size", ForeignServerRelationId, OPTION_INTEGER, ANYBODY, 1, 100},
	{"concurrency", ForeignServerRelationId, OPTION_INTEGER, ANYBODY, 1, MAX_CONCURRENCY},
	{"use_remote_estimate", ForeignServerRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},
	{"updatable", ForeignServerRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},
	{"rotation", ForeignServerRelationId, OPTION_ROTATION, ANYBODY, 0, 0},

	{"resource", ForeignTableRelationId, OPTION_RESOURCE, ANYBODY, 0, 0},
	{"page_size", ForeignTableRelationId, OPTION_INTEGER, ANYBODY, 1, 100},
	{"concurrency", ForeignTableRelationId, OPTION_INTEGER, ANYBODY, 1, MAX_CONCURRENCY},
	{"use_remote_estimate", ForeignTableRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},
	{"updatable", ForeignTableRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},
	{"rotation", ForeignTableRelationId, OPTION_ROTATION, ANYBODY, 0, 0},
	{"skip_forbidden", ForeignTableRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},

	{"replace_expired", ForeignTableRelationId, OPTION_BOOLEAN, ANYBODY, 0, 0},

	{"column_name", AttributeRelationId, OPTION_NAME, ANYBODY, 0, 0},

	{"token", UserMappingRelationId, OPTION_TOKEN, ANYBODY, 0, 0},
	{"token_file", UserMappingRelationId, OPTION_FILE, SUPERUSER, 0, 0},
};

/* The names in messages of the objects that take options. */
static const struct
{
	Oid			catalog;
	const char *name;
}			catalogs[] = {
	{ForeignDataWrapperRelationId, "a foreign-data wrapper"},
	{ForeignServerRelationId, "a server"},
	{ForeignTableRelationId, "a foreign table"},
	{AttributeRelationId, "a column"},
	{UserMappingRelationId, "a user mapping"},
};

PG_FUNCTION_INFO_V1(gitlab_pat_fdw_validator);


/* ----------
 * The validator
 * ----------
 */

static const OptionSpec *
find_option(const char *name, Oid catalog)
{
	for (int i = 0; i < (int) lengthof(options); i++)
		if (options[i].catalog == catalog && strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

static const char *
catalog_name(Oid catalog)
{
	for (int i = 0; i < (int) lengthof(catalogs); i++)
		if (catalogs[i].catalog == catalog)
			return catalogs[i].name;
	return "this object";
}

/* Where an option that stands in the wrong place would belong; or NULL. */
static const char *
place_of_option(const char *name)
{
	const char *places = NULL;

	for (int i = 0; i < (int) lengthof(options); i++)
		if (strcmp(options[i].name, name) == 0)
			places = places ?
				psprintf("%s or %s", places, catalog_name(options[i].catalog)) :
				catalog_name(options[i].catalog);
	return places;
}

static void
refuse_unknown_option(const char *name, Oid catalog)
{
	const char *names[lengthof(options)];
	int			nnames = 0;
	StringInfoData valid;
	const char *closest;
	const char *place = place_of_option(name);

	initStringInfo(&valid);
	for (int i = 0; i < (int) lengthof(options); i++)
	{
		if (options[i].catalog != catalog)
			continue;
		names[nnames++] = options[i].name;
		appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "",
						 options[i].name);
	}
	closest = compat_closest_name(name, names, nnames);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 place ? errdetail("It is an option of %s, not of %s.", place,
							   catalog_name(catalog)) : 0,
			 closest ?
			 errhint("Perhaps you meant the option \"%s\". Valid options in this context are: %s.",
					 closest, valid.data) :
			 nnames > 0 ?
			 errhint("Valid options in this context are: %s.", valid.data) :
			 errhint("There are no valid options in this context.")));
}

/*
 * Refuses a value, which is shown unless it may hold a secret by mistake: a URL
 * a password, a path the token itself.
 */
pg_noreturn static void
refuse_value(const OptionSpec *spec, const char *value, const char *hint)
{
	bool		shown = spec->type != OPTION_URL && spec->type != OPTION_PROXY &&
		spec->type != OPTION_FILE && spec->type != OPTION_TOKEN;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 shown ?
			 errmsg("invalid value for option \"%s\": \"%s\"", spec->name,
					value) :
			 errmsg("invalid value for option \"%s\"", spec->name),
			 hint ? errhint("%s", hint) : 0));
}

/*
 * Reads a number with the units that its type allows, by the rules of
 * PostgreSQL's own settings.
 */
static int
parse_number(const OptionSpec *spec, const char *value)
{
	int			flags = spec->type == OPTION_DURATION ? GUC_UNIT_MS :
		spec->type == OPTION_SIZE ? GUC_UNIT_BYTE : 0;
	const char *hint = NULL;
	int			number;

	if (!parse_int(value, &number, flags, &hint))
		refuse_value(spec, value, hint ? _(hint) :
					 spec->type == OPTION_DURATION ?
					 "The value is a duration, such as \"500ms\" or \"30s\"." :
					 spec->type == OPTION_SIZE ?
					 "The value is a size, such as \"16MB\"." :
					 "The value is an integer.");
	if (number < spec->min || number > spec->max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" is out of range for option \"%s\"",
						value, spec->name),
				 errhint("Valid values are between %d and %d%s.", spec->min,
						 spec->max, spec->type == OPTION_DURATION ?
						 " milliseconds" : spec->type == OPTION_SIZE ?
						 " bytes" : "")));
	return number;
}

/*
 * Warns of a duration without a unit: it means milliseconds, and where other
 * wrappers have such options, seconds.  Dumps of earlier versions have them.
 */
static void
warn_of_bare_duration(const OptionSpec *spec, const char *value)
{
	int			number = parse_number(spec, value);
	int			bare;

	/*
	 * where no unit is allowed, PostgreSQL's parser refuses a value that has
	 * one
	 */
	if (number != 0 && parse_int(value, &bare, 0, NULL))
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_OPTION_DOUBTFUL),
				 errmsg("option \"%s\" has no unit and means '%dms'",
						spec->name, number),
				 errhint("Write the unit, such as '%dms'.", number)));
}

/* The value is not shown: it holds a password. */
pg_noreturn static void
refuse_credentials(const OptionSpec *spec, bool proxy)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must not contain a user name or a password",
					spec->name),
			 errdetail("Every user of the database can read the options of a server."),
			 proxy ? 0 :
			 errhint("The API token belongs in the option \"token\" of a user mapping.")));
}

/* Whether a URL ends with the path of the API, as other clients require. */
static bool
has_api_path(const char *url)
{
	static const char path[] = "/api/v4";
	size_t		length = strlen(url);

	while (length > 0 && url[length - 1] == '/')
		length--;
	return length >= strlen(path) &&
		strncmp(url + length - strlen(path), path, strlen(path)) == 0;
}

static void
check_url(const OptionSpec *spec, const char *value, bool insecure_allowed)
{
	bool		proxy = spec->type == OPTION_PROXY;
	bool		plain;
	bool		loopback;

	switch (http_check_url(value, proxy, &plain, &loopback))
	{
		case HTTP_URL_GOOD:
			break;
		case HTTP_URL_MALFORMED:
			refuse_value(spec, value, proxy ?
						 "The value is a URL, such as \"http://proxy.example.com:3128\"." :
						 "The value is a URL, such as \"https://gitlab.example.com\".");
		case HTTP_URL_SCHEME:
			refuse_value(spec, value, proxy ?
						 "The scheme of a proxy's URL is http, https, socks4, socks4a, socks5, or socks5h." :
						 "The URL must begin with \"https://\".");
		case HTTP_URL_CREDENTIALS:
			refuse_credentials(spec, proxy);
		case HTTP_URL_EXTRA:
			refuse_value(spec, value,
						 "The URL must not have a query or a fragment.");
	}
	if (!proxy && has_api_path(value))
		refuse_value(spec, value,
					 "The value is the base URL of the instance: \"/api/v4\" is added.");
	if (!proxy && plain && !loopback && !insecure_allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("plain HTTP is refused for option \"%s\"", spec->name),
				 errdetail("The API token would cross the network unencrypted."),
				 errhint("Use \"https://\", or set the option \"allow_insecure_http\" if that is acceptable.")));
}

/*
 * Warns of what is refused when it is used.  The validator can't refuse it: there are
 * dumps of earlier versions, and every ALTER shows it all options.
 */
static void
warn_of_refusal(const OptionSpec *spec, const char *value)
{
	if (spec->type == OPTION_PROXY && http_proxy_has_path(value))
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_OPTION_DOUBTFUL),
				 errmsg("option \"%s\" has a path and will be refused when it is used",
						spec->name),
				 errhint("The value is a URL, such as \"http://proxy.example.com:3128\".")));
	if (spec->type == OPTION_TOKEN && strlen(value) > MAX_TOKEN_LENGTH)
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_OPTION_DOUBTFUL),
				 errmsg("option \"%s\" is longer than %d bytes and will be refused when it is used",
						spec->name, MAX_TOKEN_LENGTH)));
}

static void
check_token(const OptionSpec *spec, const char *value)
{
	bool		good = value[0] != '\0';

	for (const char *c = value; *c; c++)
		good = good && *c > ' ' && *c < 0x7f;
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", spec->name),
				 errdetail("The value is empty, or contains blanks, control characters, or characters that are not ASCII."),
				 errhint("Give the API token as GitLab showed it, such as \"glpat-...\".")));
}

static bool
parse_boolean(const OptionSpec *spec, const char *value)
{
	bool		result;

	if (!parse_bool(value, &result))
		refuse_value(spec, value, "The value is \"true\" or \"false\".");
	return result;
}

static Rotation
parse_rotation(const OptionSpec *spec, const char *value)
{
	if (strcmp(value, "transactional") == 0)
		return ROTATION_TRANSACTIONAL;
	if (strcmp(value, "native") == 0)
		return ROTATION_NATIVE;
	refuse_value(spec, value,
				 "Valid values are \"transactional\" and \"native\".");
}

static void
check_value(const OptionSpec *spec, const char *value, bool insecure_allowed)
{
	switch (spec->type)
	{
		case OPTION_URL:
		case OPTION_PROXY:
			check_url(spec, value, insecure_allowed);
			warn_of_refusal(spec, value);
			break;
		case OPTION_BOOLEAN:
			(void) parse_boolean(spec, value);
			break;
		case OPTION_DURATION:
			warn_of_bare_duration(spec, value);
			break;
		case OPTION_INTEGER:
		case OPTION_SIZE:
			(void) parse_number(spec, value);
			break;
		case OPTION_FILE:
			if (!is_absolute_path(value))
				refuse_value(spec, value,
							 "The value is an absolute path on the database server.");
			break;
		case OPTION_ROTATION:
			(void) parse_rotation(spec, value);
			break;
		case OPTION_RESOURCE:
			if (resource_find(value) == NULL)
				refuse_value(spec, value,
							 psprintf("Valid values are %s.", resource_names()));
			break;
		case OPTION_NAME:
			if (value[0] == '\0')
				refuse_value(spec, value,
							 "The value is the name of a field of the API.");
			break;
		case OPTION_TOKEN:
			check_token(spec, value);
			warn_of_refusal(spec, value);
			break;
	}
}

/*
 * As in postgres_fdw, a user who is no superuser may not alter an object that
 * has such an option either, since the validator is shown the whole list.
 */
static void
check_privilege(const OptionSpec *spec, const char *value)
{
	if (superuser() || spec->privilege == ANYBODY ||
		(spec->privilege == SUPERUSER_IF_FALSE && parse_boolean(spec, value)) ||
		(spec->privilege == SUPERUSER_IF_LARGE &&
		 parse_number(spec, value) <= MAX_UNPRIVILEGED_SIZE))
		return;
	if (spec->privilege == SUPERUSER_IF_LARGE)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\" above 64MB",
						spec->name),
				 errdetail("Reading an answer takes several times its size in the database server's memory."),
				 errhint("Only superusers may set it higher.")));
	if (spec->privilege == SUPERUSER)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", spec->name),
				 errdetail("The option names a file on the database server."),
				 errhint("Only superusers may set it.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to turn off option \"%s\"", spec->name),
			 errdetail("Without verification, the API token could be sent to anybody."),
			 errhint("Only superusers may turn it off; a private certificate authority can be named in \"tls_ca_file\".")));
}

/* Which options need or exclude each other. */
static void
check_combination(List *given, Oid catalog)
{
	if (catalog == ForeignServerRelationId)
	{
		if (option_value(given, "url") == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"url\" is required for a server"),
					 errhint("Give the base URL of the GitLab instance, such as OPTIONS (url 'https://gitlab.example.com').")));
		if (option_value(given, "tls_key_file") &&
			option_value(given, "tls_cert_file") == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"tls_key_file\" needs the option \"tls_cert_file\""),
					 errhint("Name the certificate that the key belongs to.")));
	}
	else if (catalog == UserMappingRelationId)
	{
		bool		token = option_value(given, "token") != NULL;
		bool		token_file = option_value(given, "token_file") != NULL;

		if (token && token_file)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("options \"token\" and \"token_file\" exclude each other"),
					 errhint("Give exactly one of them.")));
		if (!token && !token_file)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"token\" or \"token_file\" is required for a user mapping"),
					 errhint("Give the API token, such as OPTIONS (token 'glpat-...').")));
	}
}

/* Refuses options of CREATE and ALTER that are unknown or have bad values. */
Datum
gitlab_pat_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *given = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	const char *insecure;
	bool		insecure_allowed = false;
	ListCell   *lc;

	foreach(lc, given)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (find_option(def->defname, catalog) == NULL)
			refuse_unknown_option(def->defname, catalog);
	}

	insecure = option_value(given, "allow_insecure_http");
	if (insecure)
		insecure_allowed = parse_boolean(find_option("allow_insecure_http",
													 catalog), insecure);
	foreach(lc, given)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const OptionSpec *spec = find_option(def->defname, catalog);

		check_value(spec, defGetString(def), insecure_allowed);
		check_privilege(spec, defGetString(def));
	}
	check_combination(given, catalog);
	PG_RETURN_VOID();
}


/* ----------
 * Resolved settings
 * ----------
 */

/* The value of an option in a list of DefElems, or NULL. */
const char *
option_value(List *given, const char *name)
{
	ListCell   *lc;

	foreach(lc, given)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

static int
number_or(List *given, Oid catalog, const char *name, int otherwise)
{
	const char *value = option_value(given, name);

	return value ? parse_number(find_option(name, catalog), value) : otherwise;
}

static bool
boolean_or(List *given, Oid catalog, const char *name, bool otherwise)
{
	const char *value = option_value(given, name);

	return value ? parse_boolean(find_option(name, catalog), value) : otherwise;
}

static char *
string_or_null(List *given, const char *name)
{
	const char *value = option_value(given, name);

	return value ? pstrdup(value) : NULL;
}

/*
 * A version of GitLab's, as CREATE SERVER declares it and as GitLab tells it:
 * 18.11.2-ee as 1811.  0 if there is none, or none that can be read: then
 * nothing is assumed of the server.
 */
int
option_version(const char *text)
{
	int			major;
	int			minor;

	if (text == NULL || sscanf(text, "%d.%d", &major, &minor) != 2 ||
		major < 0 || major > 999 || minor < 0 || minor > 99)
		return 0;
	return major * 100 + minor;
}

/* The settings of a server.  Raises an error if there is no such server. */
ServerSettings *
option_server(Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);
	List	   *given = server->options;
	Oid			catalog = ForeignServerRelationId;
	ServerSettings *settings = palloc0(sizeof(ServerSettings));

	settings->serverid = serverid;
	settings->name = pstrdup(server->servername);
	if (server->serverversion && option_version(server->serverversion) == 0)
		settings->unread_version = pstrdup(server->serverversion);
	settings->url = string_or_null(given, "url");
	settings->proxy = string_or_null(given, "proxy");
	settings->tls_ca_file = string_or_null(given, "tls_ca_file");
	settings->tls_cert_file = string_or_null(given, "tls_cert_file");
	settings->tls_key_file = string_or_null(given, "tls_key_file");
	settings->tls_verify = boolean_or(given, catalog, "tls_verify", true);
	settings->connect_timeout = number_or(given, catalog, "connect_timeout", 10 * MS_PER_S);
	settings->request_timeout = number_or(given, catalog, "request_timeout", 30 * MS_PER_S);
	settings->max_retries = number_or(given, catalog, "max_retries", 4);
	settings->max_retry_wait = number_or(given, catalog, "max_retry_wait", 60 * MS_PER_S);
	settings->rollback_timeout = number_or(given, catalog, "rollback_timeout", 10 * MS_PER_S);
	settings->max_response_size = number_or(given, catalog, "max_response_size", 16 * MEGABYTE);
	settings->concurrency = number_or(given, catalog, "concurrency", 4);
	return settings;
}

/*
 * Refuses a proxy that the validator has only warned of.  Raises an error.
 */
void
option_check_proxy(const ServerSettings *server)
{
	if (server->proxy && http_proxy_has_path(server->proxy))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option \"proxy\" of server \"%s\" has a path",
						server->name),
				 errdetail("With some proxies, the path would name a socket on the database server."),
				 errhint("Remove the path: ALTER SERVER %s OPTIONS (SET proxy '...').",
						 quote_identifier(server->name))));
}

/*
 * Raises an error if this database may not change anything in GitLab.  Whatever
 * does so calls it first.
 */
void
option_check_writable(void)
{
	if (option_read_only)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot change anything in GitLab while \"gitlab_pat_fdw.read_only\" is on"),
				 errdetail("If a copy of a database changed tokens, it would cut off the original from GitLab."),
				 errhint("If this database is to change tokens, turn the setting off in postgresql.conf and reload it.")));
}

/*
 * The settings of a foreign table.  A server that is not updatable has no table
 * that is.
 */
TableSettings *
option_table(Oid foreigntableid)
{
	ForeignTable *table = GetForeignTable(foreigntableid);
	ForeignServer *server = GetForeignServer(table->serverid);
	TableSettings *settings = palloc0(sizeof(TableSettings));
	const char *resource = option_value(table->options, "resource");
	const struct
	{
		Oid			catalog;
		List	   *given;
	}			levels[] = {
		{ForeignServerRelationId, server->options},
		{ForeignTableRelationId, table->options},
	};

	settings->serverid = server->serverid;
	settings->resource = resource ? resource_find(resource) : resource_tokens;
	if (settings->resource == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("unknown resource \"%s\"", resource),
				 errhint("Valid values are %s.", resource_names())));
	settings->version = option_version(server->serverversion);
	settings->page_size = 100;
	settings->concurrency = 4;
	settings->updatable = true;
	settings->rotation = ROTATION_TRANSACTIONAL;
	settings->replace_expired = boolean_or(table->options,
										   ForeignTableRelationId,
										   "replace_expired", false);
	/* nothing else keeps the user of a token, or there is no other way */
	if (settings->resource->has_bots || !resource_has_insert(settings->resource))
		settings->rotation = ROTATION_NATIVE;
	for (int i = 0; i < (int) lengthof(levels); i++)
	{
		Oid			catalog = levels[i].catalog;
		List	   *given = levels[i].given;
		const char *rotation = option_value(given, "rotation");

		settings->page_size = number_or(given, catalog, "page_size",
										settings->page_size);
		settings->concurrency = number_or(given, catalog, "concurrency",
										  settings->concurrency);
		settings->use_remote_estimate = boolean_or(given, catalog,
												   "use_remote_estimate",
												   settings->use_remote_estimate);
		settings->updatable = settings->updatable &&
			boolean_or(given, catalog, "updatable", true);
		if (rotation)
			settings->rotation = parse_rotation(find_option("rotation", catalog),
												rotation);
	}
	settings->skip_forbidden = boolean_or(table->options,
										  ForeignTableRelationId,
										  "skip_forbidden", false);
	return settings;
}
