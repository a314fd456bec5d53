/*-------------------------------------------------------------------------
 *
 * gitlab_pat_fdw.c
 *	  A foreign-data wrapper for GitLab's personal access tokens: the map.
 *
 * The path of a statement is the path through the folders of src/, each of which
 * includes only itself and those to its right: fdw and sql, change, gitlab, http.
 *
 *	SELECT -> fdw/plan.c, fdw/pushdown.c -> ForeignScan's private list
 *		-> fdw/scan.c -> gitlab/filter.c (targets, parameters)
 *		-> gitlab/pages.c (pages) -> gitlab/client.c, gitlab/call.c (call)
 *		-> http/engine.c (exchange) -> GitLab
 *		-> gitlab/pages.c (JSON record) -> gitlab/record.c (Datum)
 *		-> fdw/table.c (slot)
 *
 *	INSERT, UPDATE, DELETE -> fdw/modify.c, or fdw/direct.c without joins
 *		-> change/tokens.c -> change/ledger.c, and gitlab/call.c at once
 *		-> change/variables.c -> change/queue.c, until the commit
 *
 *	COMMIT, ROLLBACK -> change/transaction.c
 *		-> change/writing.c, change/undo.c -> gitlab/call.c
 *		-> change/payment.c -> gitlab/call.c
 *
 * gitlab/option.c says what users may set, gitlab/resources.c what GitLab has,
 * gitlab/connection.c which connection serves whom, gitlab/words.c what a failure
 * means, and compat.h how PostgreSQL's versions differ.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "foreign/fdwapi.h"
#include "src/change/quiet.h"
#include "src/change/tokens.h"
#include "src/change/transaction.h"
#include "src/compat.h"
#include "src/fdw/async.h"
#include "src/fdw/direct.h"
#include "src/fdw/estimate.h"
#include "src/fdw/modify.h"
#include "src/fdw/plan.h"
#include "src/fdw/scan.h"
#include "src/fdw/secret.h"
#include "src/fdw/table.h"
#include "src/gitlab/call.h"
#include "src/gitlab/option.h"
#include "src/gitlab/resources.h"
#include "utils/builtins.h"
#include "utils/guc.h"

GITLAB_PAT_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(gitlab_pat_fdw_handler);

void		_PG_init(void);

/* Nothing network-like may be done here: the postmaster may be loading us. */
void
_PG_init(void)
{
	DefineCustomIntVariable("gitlab_pat_fdw.max_changes",
							"Sets the most access tokens that one transaction may create, rotate and revoke.",
							"It is a guard against a forgotten WHERE clause.",
							&tokens_max_changes, 100, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("gitlab_pat_fdw.discard_secrets",
							 "Lets INSERT and UPDATE create tokens whose secrets nobody takes.",
							 "Otherwise UPDATE raises an error, and INSERT and COPY a warning.",
							 &secret_discard, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("gitlab_pat_fdw.keep_replaced",
							 "Lets a transactional UPDATE leave the old token alone.",
							 "Then both tokens work, until the old one is deleted or expires.",
							 &tokens_keep_replaced, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("gitlab_pat_fdw.read_only",
							 "Forbids everything that would change GitLab.",
							 "It is meant for copies of a database.",
							 &option_read_only, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("gitlab_pat_fdw.log_changes",
							 "Logs each change of a personal access token or of a CI/CD variable.",
							 NULL, &quiet_log_changes, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("gitlab_pat_fdw.log_requests",
							 "Logs each request to GitLab.",
							 "Never with headers, bodies or secrets.",
							 &api_log_requests, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("gitlab_pat_fdw");
	transaction_init();
}

static bool
is_table_name(const char *name)
{
	const Resource *resource = NULL;

	while ((resource = resource_next(resource)) != NULL)
		if (strcmp(resource->table_name, name) == 0)
			return true;
	return false;
}

/* The names of all tables, quoted, for a hint. */
static char *
table_names(void)
{
	StringInfoData buf;
	const Resource *resource = NULL;

	initStringInfo(&buf);
	while ((resource = resource_next(resource)) != NULL)
		appendStringInfo(&buf, "%s\"%s\"", buf.len > 0 ? ", " : "",
						 resource->table_name);
	return buf.data;
}

/*
 * Warns about names in LIMIT TO and EXCEPT that no table has.  PostgreSQL skips
 * them silently, and a misspelt one imports nothing or too much.
 */
static void
warn_unknown_tables(const ImportForeignSchemaStmt *stmt,
					const ForeignServer *server)
{
	ListCell   *lc;

	foreach(lc, stmt->table_list)
	{
		const char *name = lfirst_node(RangeVar, lc)->relname;
		const Resource *meant = resource_find(name);

		if (is_table_name(name))
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
				 errmsg("server \"%s\" has no table \"%s\"",
						server->servername, name),
				 meant ?
				 errhint("Perhaps you meant the table \"%s\".", meant->table_name) :
				 errhint("Tables are: %s.", table_names())));
	}
}

/* IMPORT FOREIGN SCHEMA: any remote schema has all resources. */
static List *
import_schema(ImportForeignSchemaStmt *stmt, Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);
	List	   *commands = NIL;

	if (stmt->options != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"",
						linitial_node(DefElem, stmt->options)->defname),
				 errhint("IMPORT FOREIGN SCHEMA takes no options here.")));
	warn_unknown_tables(stmt, server);
	for (const Resource *resource = resource_next(NULL); resource;
		 resource = resource_next(resource))
	{
		StringInfoData buf;

		if (!IsImportableForeignTable(resource->table_name, stmt))
			continue;
		initStringInfo(&buf);
		table_import_command(&buf, resource, resource->table_name,
							 server->servername);
		commands = lappend(commands, buf.data);
	}
	return commands;
}

/* What the wrapper offers.  All that is left out is meant to be left out. */
Datum
gitlab_pat_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	(void) fcinfo;
	routine->GetForeignRelSize = gitlab_GetForeignRelSize;
	routine->GetForeignPaths = gitlab_GetForeignPaths;
	routine->GetForeignUpperPaths = gitlab_GetForeignUpperPaths;
	routine->GetForeignPlan = gitlab_GetForeignPlan;

	routine->BeginForeignScan = gitlab_BeginForeignScan;
	routine->IterateForeignScan = gitlab_IterateForeignScan;
	routine->ReScanForeignScan = gitlab_ReScanForeignScan;
	routine->EndForeignScan = gitlab_EndForeignScan;
	routine->RecheckForeignScan = gitlab_RecheckForeignScan;
	routine->ExplainForeignScan = gitlab_ExplainForeignScan;
	routine->AnalyzeForeignTable = gitlab_AnalyzeForeignTable;

	routine->IsForeignRelUpdatable = gitlab_IsForeignRelUpdatable;
	routine->AddForeignUpdateTargets = gitlab_AddForeignUpdateTargets;
	routine->PlanForeignModify = gitlab_PlanForeignModify;
	routine->BeginForeignModify = gitlab_BeginForeignModify;
	routine->BeginForeignInsert = gitlab_BeginForeignInsert;
	routine->ExecForeignInsert = gitlab_ExecForeignInsert;
	routine->GetForeignModifyBatchSize = gitlab_GetForeignModifyBatchSize;
	routine->ExecForeignBatchInsert = gitlab_ExecForeignBatchInsert;
	routine->ExecForeignUpdate = gitlab_ExecForeignUpdate;
	routine->ExecForeignDelete = gitlab_ExecForeignDelete;
	routine->EndForeignModify = gitlab_EndForeignModify;
	routine->EndForeignInsert = gitlab_EndForeignModify;
	routine->ExplainForeignModify = gitlab_ExplainForeignModify;

	routine->PlanDirectModify = gitlab_PlanDirectModify;
	routine->BeginDirectModify = gitlab_BeginDirectModify;
	routine->IterateDirectModify = gitlab_IterateDirectModify;
	routine->EndDirectModify = gitlab_EndDirectModify;
	routine->ExplainDirectModify = gitlab_ExplainDirectModify;

	routine->IsForeignPathAsyncCapable = gitlab_IsForeignPathAsyncCapable;
	routine->ForeignAsyncRequest = gitlab_ForeignAsyncRequest;
	routine->ForeignAsyncConfigureWait = gitlab_ForeignAsyncConfigureWait;
	routine->ForeignAsyncNotify = gitlab_ForeignAsyncNotify;

	routine->ImportForeignSchema = import_schema;
	PG_RETURN_POINTER(routine);
}
