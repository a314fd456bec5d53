/*-------------------------------------------------------------------------
 *
 * rotate_due.c
 *	  CALL gitlab_pat_rotate_due(): a job that rotates what is due, by a table.
 *
 * What the job does is written in PL/pgSQL, in the extension's script, where an
 * administrator can read it: gitlab_pat_rotate_due_run().  This file does what
 * PL/pgSQL can't.  It checks that the tables are what they are taken for, and
 * learns GitLab's time.  It holds a lock that no SQL can take, and that ends
 * with the call whatever happens.  It tells whether two names mean one project
 * or group.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "change/ledger.h"
#include "commands/defrem.h"
#include "compat.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "gitlab/client.h"
#include "gitlab/option.h"
#include "gitlab/recent.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/url.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "sql/functions.h"
#include "mb/pg_wchar.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/*
 * The fourth field of the lock's tag.  SQL's advisory functions set 1 or 2, so
 * that no login role can keep a job from running by taking its lock.
 */
#define JOB_LOCK 0x6770			/* "gp" */

#define TOKENS_HINT "The foreign tables that IMPORT FOREIGN SCHEMA makes have all columns."

/* The parameters of the procedure, by their numbers. */
enum
{
	ARG_DELIVERIES,
	ARG_LOG,
	ARG_LIFETIME,
	ARG_DRY_RUN,
	ARG_TOKENS,
	ARG_USERS,
	ARG_VARIABLES,
	ARG_ROTATED,				/* with FAILED and LEFT_OVER, the results */
	ARG_FAILED,
	ARG_LEFT_OVER,
	ARG_KEEP_OLD,
	ARG_GROUP_VARIABLES
};

/* The arguments of a call, resolved. */
typedef struct Job
{
	Oid			deliveries;
	Oid			log;
	Oid			tokens;
	Oid			users;			/* InvalidOid: not needed */
	Oid			variables;		/* likewise */
	Oid			group_variables;	/* likewise */
	TableSettings *settings;	/* of tokens */
	const char *container;		/* the column of tokens that names what they
								 * are in; or NULL */
	bool		needs_owner;	/* deliveries name each token's owner */
	bool		user_in_key;	/* tokens are looked for by their owners only */
} Job;

/* How deep this session is in calls of the procedure. */
static int	running_jobs = 0;

PG_FUNCTION_INFO_V1(gitlab_pat_rotate_due_1_2);
PG_FUNCTION_INFO_V1(gitlab_pat_rotate_due_begin);
PG_FUNCTION_INFO_V1(gitlab_pat_rotate_due_made);
PG_FUNCTION_INFO_V1(gitlab_pat_rotate_due_container);


/* ----------
 * The tables
 * ----------
 */

static bool
has_column(Oid relid, const char *name)
{
	return get_attnum(relid, name) != InvalidAttrNumber;
}

/* Raises an error unless a table has some columns.  hint is a sentence. */
static void
check_columns(Oid relid, const char *const *columns, int ncolumns,
			  const char *hint)
{
	const char *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", relid)));
	for (int i = 0; i < ncolumns; i++)
		if (!has_column(relid, columns[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("\"%s\" has no column \"%s\"", name, columns[i]),
					 errhint("%s", hint)));
}

static void
check_deliveries(const Job *job)
{
	static const char *const columns[] = {"token_name", "variable", "days"};
	static const char *const owner[] = {"owner"};
	static const char *const container[] = {"token_container"};
	static const char hint[] = "It needs the columns token_name, owner, project or group_path, variable and days.";

	check_columns(job->deliveries, columns, lengthof(columns), hint);
	if (job->needs_owner)
		check_columns(job->deliveries, owner, 1, hint);
	if (job->container)
		check_columns(job->deliveries, container, 1,
					  psprintf("The column names the project or group of each token of \"%s\".",
							   get_rel_name(job->tokens)));
	if (!has_column(job->deliveries, "project") &&
		!has_column(job->deliveries, "group_path"))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"%s\" has neither of the columns \"project\" and \"group_path\"",
						get_rel_name(job->deliveries)),
				 errhint("%s", hint)));
}

static void
check_log(const Job *job)
{
	static const char *const columns[] = {"at", "owner", "token_name", "old_id",
		"new_id", "outcome", "message", "fingerprint",
	"revoke_after"};
	static const char *const container[] = {"token_container"};

	check_columns(job->log, columns, lengthof(columns),
				  "It needs the columns at, owner, token_name, old_id, new_id, outcome, message, fingerprint and revoke_after. For a log of version 1.1: ALTER TABLE ... ADD fingerprint text, ADD revoke_after timestamptz.");
	if (job->container)
		check_columns(job->log, container, 1,
					  "ALTER TABLE ... ADD token_container text.");
}

/*
 * The foreign table that an argument names, or else the one of that name in the
 * search path.  Raises an error if there is none, unless that is allowed.
 */
static Oid
foreign_table(FunctionCallInfo fcinfo, int argument, const char *name,
			  bool needed)
{
	Oid			relid;

	if (!PG_ARGISNULL(argument))
		return PG_GETARG_OID(argument);
	if (!needed)
		return InvalidOid;
	relid = RelnameGetRelid(name);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table \"%s\" in the search path", name),
				 errhint("Let IMPORT FOREIGN SCHEMA make it, or name another one as an argument.")));
	return relid;
}

/*
 * The settings of a foreign table.  Raises an error if it isn't one of this
 * extension.
 */
static TableSettings *
table_settings(Oid relid, const char *what)
{
	const char *name = get_rel_name(relid);
	const char *handler = NULL;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", relid)));
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
	{
		ForeignServer *server = GetForeignServer(GetForeignTable(relid)->serverid);
		ForeignDataWrapper *fdw = GetForeignDataWrapper(server->fdwid);

		if (OidIsValid(fdw->fdwhandler))
			handler = get_func_name(fdw->fdwhandler);
	}
	if (handler == NULL || strcmp(handler, "gitlab_pat_fdw_handler") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a foreign table of gitlab_pat_fdw", name),
				 errhint("Name the foreign table of %s as an argument.", what)));
	return option_table(relid);
}

/* Checks that a foreign table is of a resource. */
static TableSettings *
check_resource(Oid relid, const char *resource, const char *what)
{
	TableSettings *settings = table_settings(relid, what);

	if (strcmp(settings->resource->name, resource) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign table \"%s\" is not a table of %s",
						get_rel_name(relid), what),
				 errdetail("Its resource is \"%s\", and \"%s\" is needed.",
						   settings->resource->name, resource)));
	return settings;
}

pg_noreturn static void
refuse_tokens(const Job *job, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("foreign table \"%s\" is not a table of tokens that can be delivered",
					get_rel_name(job->tokens)),
			 errdetail("%s", detail)));
}

/*
 * Checks the table of tokens, and learns what names a token: a project or
 * group, its owner, or both.
 */
static void
read_tokens(Job *job)
{
	static const char *const columns[] = {"id", "name", "active", "expires_at",
	"token", "user_id"};
	const Resource *resource;

	job->settings = table_settings(job->tokens, "tokens");
	resource = job->settings->resource;
	if (resource->kind != RESOURCE_TOKENS)
		refuse_tokens(job, psprintf("Its resource is \"%s\".", resource->name));
	check_columns(job->tokens, columns, lengthof(columns), TOKENS_HINT);
	job->needs_owner = resource->containers[0] == NULL;
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		const char *name = resource->containers[i];

		if (strcmp(name, "user_id") == 0)
			job->needs_owner = job->user_in_key = true;
		else if (strcmp(name, "project") == 0 ||
				 strcmp(name, "group_path") == 0)
			job->container = name;
		else
			refuse_tokens(job, psprintf("Its tokens also need a condition on the column \"%s\".", name));
	}
	if (job->container)
		check_columns(job->tokens, &job->container, 1, TOKENS_HINT);
}

/*
 * Checks the variables' table.  What a variable holds is tried at the tokens'
 * server: it must be the same GitLab, or another one's secrets would go there.
 */
static void
check_variables(const Job *job, Oid relid, const char *resource,
				const char *what)
{
	ServerSettings *ours;
	ServerSettings *theirs;

	if (!OidIsValid(relid))
		return;
	ours = option_server(job->settings->serverid);
	theirs = option_server(check_resource(relid, resource, what)->serverid);
	if (strcmp(http_normal_url(ours->url), http_normal_url(theirs->url)) != 0 ||
		strcmp(ours->proxy ? ours->proxy : "", theirs->proxy ? theirs->proxy : "") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("foreign tables \"%s\" and \"%s\" are of different instances of GitLab",
						get_rel_name(job->tokens), get_rel_name(relid)),
				 errdetail("The job would send secrets of one GitLab to another one, to find out whose they are."),
				 errhint("Name tokens and variables of one GitLab as arguments.")));
}

static void
read_arguments(FunctionCallInfo fcinfo, Job *job)
{
	TableSettings *users;

	if (PG_ARGISNULL(ARG_DELIVERIES) || PG_ARGISNULL(ARG_LIFETIME) ||
		PG_ARGISNULL(ARG_DRY_RUN))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"deliveries\", \"lifetime\" and \"dry_run\" must not be null")));
	if (PG_ARGISNULL(ARG_LOG))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"log\" must not be null"),
				 errdetail("The log tells later runs which tokens are delivered, and which are left over."),
				 errhint("CREATE TABLE token_rotations (at timestamptz, owner text, token_name text, token_container text, old_id bigint, new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz); and name it as \"log\".")));
	if (PG_GETARG_INT32(ARG_LIFETIME) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"lifetime\" must be at least one day")));
	job->deliveries = PG_GETARG_OID(ARG_DELIVERIES);
	job->log = PG_GETARG_OID(ARG_LOG);
	job->tokens = foreign_table(fcinfo, ARG_TOKENS,
								"gitlab_personal_access_tokens", true);
	read_tokens(job);
	check_deliveries(job);
	check_log(job);
	job->users = foreign_table(fcinfo, ARG_USERS, "gitlab_users",
							   has_column(job->deliveries, "owner"));
	job->variables = foreign_table(fcinfo, ARG_VARIABLES,
								   "gitlab_project_variables",
								   has_column(job->deliveries, "project"));
	job->group_variables = foreign_table(fcinfo, ARG_GROUP_VARIABLES,
										 "gitlab_group_variables",
										 has_column(job->deliveries, "group_path"));
	if (OidIsValid(job->users))
	{
		users = check_resource(job->users, "users", "users");
		if (users->serverid != job->settings->serverid)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("foreign tables \"%s\" and \"%s\" are of different servers",
							get_rel_name(job->tokens),
							get_rel_name(job->users)),
					 errhint("Name tokens and users of one server as arguments.")));
	}
	check_variables(job, job->variables, "project_variables",
					"variables of projects");
	check_variables(job, job->group_variables, "group_variables",
					"variables of groups");
}


/* ----------
 * What the body gets
 * ----------
 */

/*
 * Asks GitLab for its time, which decides what is due, and for the credential's
 * id, or 0 if that is no token.  Raises an error if GitLab refuses the
 * credential.
 */
static TimestampTz
ask_gitlab(Oid serverid, int64 *self_id)
{
	ApiClient  *client = api_open(serverid, GetUserId());
	ApiCall    *call = api_client_call(client, "GET", SELF_PATH);
	int64		now;

	api_call_start(call);
	api_wait(&call, 1);
	*self_id = 0;
	/* 400: a credential of OAuth, which is no token */
	if (!(api_verdict(call) == API_DONE && record_id(call->record, self_id)) &&
		api_refusal(call) != REFUSAL_REQUEST)
	{
		api_call_free(call);
		call = api_get_self(client);
		(void) record_id(call->record, self_id);
	}
	if (api_verdict(call) == API_DONE)
		(void) api_note_self(call);
	now = api_date(call);
	api_call_free(call);
	if (now < 0)
		return GetCurrentTimestamp();
	return time_t_to_timestamptz((pg_time_t) now);
}

/* Appends a member of a JSON object; NULL is left out. */
static void
append_text(StringInfo json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfoChar(json, json->len > 1 ? ',' : ' ');
	escape_json(json, name);
	appendStringInfoChar(json, ':');
	escape_json(json, value);
}

static void
append_table(StringInfo json, const char *name, Oid relid)
{
	if (OidIsValid(relid))
		append_text(json, name,
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
											   get_rel_name(relid)));
}

/* The server of a foreign table. */
static void
append_server(StringInfo json, const char *name, Oid relid)
{
	if (OidIsValid(relid))
		append_text(json, name,
					GetForeignServer(GetForeignTable(relid)->serverid)->servername);
}

/* A time as text that any session reads alike. */
static char *
utc_text(TimestampTz time)
{
	int			year;
	int			month;
	int			day;
	int64		days = time / USECS_PER_DAY;
	int64		seconds = (time % USECS_PER_DAY) / USECS_PER_SEC;

	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d %02d:%02d:%02d+00", year, month, day,
					(int) (seconds / SECS_PER_HOUR),
					(int) (seconds % SECS_PER_HOUR / SECS_PER_MINUTE),
					(int) (seconds % SECS_PER_MINUTE));
}

/* Whether this table may replace expired tokens. */
static bool
replaces_expired(Oid tokens)
{
	const char *value = option_value(GetForeignTable(tokens)->options,
									 "replace_expired");
	bool		result = false;

	return value && parse_bool(value, &result) && result;
}

/*
 * All that the body needs to know, as JSON.  schema, quoted, is where its parts
 * are.
 */
static Datum
body_settings(FunctionCallInfo fcinfo, const Job *job, const char *schema)
{
	ForeignServer *server = GetForeignServer(job->settings->serverid);
	StringInfoData json;
	int64		self_id;
	TimestampTz now = ask_gitlab(server->serverid, &self_id);

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_text(&json, "schema", schema);
	append_table(&json, "deliveries", job->deliveries);
	append_table(&json, "log", job->log);
	append_table(&json, "tokens", job->tokens);
	append_table(&json, "users", job->users);
	append_table(&json, "variables", job->variables);
	append_table(&json, "group_variables", job->group_variables);
	append_text(&json, "server", server->servername);
	append_server(&json, "project_server", job->variables);
	append_server(&json, "group_server", job->group_variables);
	append_text(&json, "container_column", job->container);
	append_text(&json, "needs_owner", job->needs_owner ? "true" : "false");
	append_text(&json, "user_in_key", job->user_in_key ? "true" : "false");
	append_text(&json, "native",
				job->settings->rotation == ROTATION_NATIVE ? "true" : "false");
	append_text(&json, "replace_expired",
				replaces_expired(job->tokens) ? "true" : "false");
	append_text(&json, "now", utc_text(now));
	append_text(&json, "self_id", psprintf(INT64_FORMAT, self_id));
	append_text(&json, "lifetime",
				psprintf("%d", PG_GETARG_INT32(ARG_LIFETIME)));
	append_text(&json, "dry_run",
				PG_GETARG_BOOL(ARG_DRY_RUN) ? "true" : "false");
	append_text(&json, "failed",
				unpack_sql_state(ERRCODE_GITLAB_DELIVERY_FAILED));
	append_text(&json, "left_over", unpack_sql_state(ERRCODE_GITLAB_LEFT_OVER));
	append_text(&json, "stranger", unpack_sql_state(ERRCODE_GITLAB_STRANGER));
	if (!PG_ARGISNULL(ARG_KEEP_OLD))
		append_text(&json, "keep_old",
					DatumGetCString(DirectFunctionCall1(interval_out,
														PG_GETARG_DATUM(ARG_KEEP_OLD))));
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}


/* ----------
 * The procedure
 * ----------
 */

static void
set_job_tag(LOCKTAG *tag, Oid deliveries)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, deliveries, JOB_LOCK);
}

/* One session at a time by one table. */
static void
lock_job(Oid deliveries)
{
	LOCKTAG		tag;

	set_job_tag(&tag, deliveries);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another session is rotating by \"%s\"",
						get_rel_name(deliveries)),
				 errhint("Wait until it has ended; pg_stat_activity shows it.")));
}

static void
unlock_job(Oid deliveries)
{
	LOCKTAG		tag;

	set_job_tag(&tag, deliveries);
	LockRelease(&tag, ExclusiveLock, true);
}

/* Runs the body, which commits, and returns its three results. */
static void
run_body(const char *schema, Datum settings, Datum *values, bool *nulls)
{
	ParamListInfo params = makeParamList(1);
	SPIExecuteOptions options = {
		.params = params,
		.allow_nonatomic = true
	};

	/*
	 * Of types that fit exactly, so that no other function fits better that
	 * somebody may have created in that schema.
	 */
	char	   *command = psprintf("CALL %s.gitlab_pat_rotate_due_run($1, NULL::pg_catalog.int4, NULL::pg_catalog.int4, NULL::pg_catalog.int4)",
								   schema);
	int			result;

	params->params[0].value = settings;
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = JSONBOID;
	result = SPI_execute_extended(command, &options);
	if (result != SPI_OK_UTILITY || SPI_processed != 1)
		elog(ERROR, "gitlab_pat_rotate_due_run() failed: %s",
			 SPI_result_code_string(result));
	for (int i = 0; i < 3; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								  i + 1, &nulls[i]);
}

/*
 * Rotates the tokens that are due by a table of deliveries, and delivers them.
 * Commits after each.  In the end an error says how many have failed, for a job
 * that was not done should be seen to have failed.
 */
Datum
gitlab_pat_rotate_due_1_2(PG_FUNCTION_ARGS)
{
	Job			job = {0};
	MemoryContext context = CurrentMemoryContext;
	const char *schema = quote_identifier(get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid)));
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3];

	function_check_call(fcinfo, "gitlab_pat_rotate_due",
						"It commits after each token.");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_rotate_due()");
	read_arguments(fcinfo, &job);
	/* a dry run is to fail where the job would */
	option_check_writable();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	MemoryContextSwitchTo(context);

	lock_job(job.deliveries);
	running_jobs++;
	recent_begin_job();
	PG_TRY();
	{
		Datum		settings = body_settings(fcinfo, &job, schema);

		/* the body does so anew in each of its transactions */
		(void) set_config_option("search_path", "pg_catalog, pg_temp",
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		run_body(schema, settings, values, nulls);
	}
	PG_FINALLY();
	{
		if (--running_jobs == 0)
			recent_end_job();
		unlock_job(job.deliveries);
	}
	PG_END_TRY();
	SPI_finish();
	MemoryContextSwitchTo(context);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}


/* ----------
 * What the body asks for
 * ----------
 */

/* Raises an error unless the procedure above is running. */
static void
check_running(void)
{
	if (running_jobs == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this is a part of gitlab_pat_rotate_due(), which is not running"),
				 errdetail("The procedure checks the tables, and keeps other sessions out."),
				 errhint("CALL gitlab_pat_rotate_due().")));
}

/* The body begins with this function, which refuses all other callers. */
Datum
gitlab_pat_rotate_due_begin(PG_FUNCTION_ARGS)
{
	check_running();
	PG_RETURN_VOID();
}

/*
 * The token that the transaction has made, also if its statement has failed; and
 * whether there may be one of which GitLab's answer was lost.
 */
Datum
gitlab_pat_rotate_due_made(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {false, false};
	int64		id;

	check_running();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_rotate_due_made()");
	values[1] = BoolGetDatum(ledger_made(&id));
	values[0] = Int64GetDatum(id);
	nulls[0] = id == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/*
 * The id of a project or group, which is named by its path; NULL if there is
 * none.  Raises an error if GitLab does not say.
 */
Datum
gitlab_pat_rotate_due_container(PG_FUNCTION_ARGS)
{
	ForeignServer *server = function_server(NameStr(*PG_GETARG_NAME(0)));
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(2));
	const char *collection = strcmp(kind, "project") == 0 ? "projects" : "groups";
	ApiClient  *client = api_open(server->serverid, GetUserId());
	ApiCall    *call;
	int64		id;
	bool		found;

	check_running();
	/* what is shown of the path depends on the credential */
	(void) api_connection(client);
	path = pg_server_to_any(path, strlen(path), PG_UTF8);
	call = api_get(client, psprintf("/%s/%s", collection, resource_escape(path)),
				   true, psprintf("look up %s \"%s\"", kind,
								  connection_shown_name(path)));
	if (call == NULL)
		PG_RETURN_NULL();
	found = record_id(call->record, &id);
	api_call_free(call);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}
