/*-------------------------------------------------------------------------
 *
 * gitlab_pat_fdw.c
 *	  A foreign-data wrapper for GitLab's personal access tokens: the map.
 *
 * The path of a statement is the path through the files of src/:
 *
 *	SQL -> plan.c -> ForeignScan's private list -> scan.c
 *		-> filter.c (targets, parameters) -> stream.c, pages.c -> call.c (call)
 *		-> engine.c (exchange) -> GitLab
 *		-> call.c, stream.c (JSON record) -> record.c (Datum) -> slot
 *
 *	SQL -> modify.c -> token.c -> ledger.c (debts) -> call.c, at once
 *					-> variables.c (writes) -> writing.c, at commit
 *
 * option.c says what users may set, resources.c what GitLab has, connection.c
 * which connection serves whom, pushdown.c which part of a query GitLab can
 * answer, client.c which token a statement uses, words.c what GitLab has said,
 * payment.c how commit and rollback pay what they owe to GitLab, quiet.c how that
 * is done where no error may be raised, and compat.h how PostgreSQL's versions
 * differ.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fdw/table.h"
#include "foreign/fdwapi.h"
#include "gitlab/call.h"
#include "compat.h"
#include "fdw/modify.h"
#include "fdw/plan.h"
#include "fdw/estimate.h"
#include "change/quiet.h"
#include "fdw/scan.h"
#include "change/transaction.h"
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
							"Sets the most personal access tokens that one transaction may revoke.",
							"It is a guard against a forgotten WHERE clause.",
							&transaction_max_changes, 100, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
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
	for (const Resource *resource = resource_next(NULL); resource;
		 resource = resource_next(resource))
	{
		StringInfoData buf;

		if (!IsImportableForeignTable(resource->table_name, stmt))
			continue;
		initStringInfo(&buf);
		resource_import_command(&buf, resource, resource->table_name,
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
	routine->ExplainForeignScan = gitlab_ExplainForeignScan;
	routine->AnalyzeForeignTable = gitlab_AnalyzeForeignTable;

	routine->IsForeignRelUpdatable = gitlab_IsForeignRelUpdatable;
	routine->AddForeignUpdateTargets = gitlab_AddForeignUpdateTargets;
	routine->PlanForeignModify = gitlab_PlanForeignModify;
	routine->BeginForeignModify = gitlab_BeginForeignModify;
	routine->BeginForeignInsert = gitlab_BeginForeignInsert;
	routine->ExecForeignInsert = gitlab_ExecForeignInsert;
	routine->ExecForeignUpdate = gitlab_ExecForeignUpdate;
	routine->ExecForeignDelete = gitlab_ExecForeignDelete;
	routine->EndForeignModify = gitlab_EndForeignModify;
	routine->EndForeignInsert = gitlab_EndForeignModify;

	routine->ImportForeignSchema = import_schema;
	PG_RETURN_POINTER(routine);
}
