/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the PostgreSQL versions that are supported.
 *
 * Every PG_VERSION_NUM of the project stands here.  Names and argument lists
 * follow the newest server version; older ones are adapted to them.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_COMPAT_H
#define GITLAB_PAT_COMPAT_H

#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/pathnode.h"
#include "parser/parsetree.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 190000
#include "nodes/miscnodes.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#include "storage/waiteventset.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "utils/varlena.h"
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "gitlab_pat_fdw needs PostgreSQL 15 or later"
#endif

/* Since 18 pg_noreturn stands in front of a function that does not return. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Since 18 a module can declare its name and version. */
#if PG_VERSION_NUM >= 180000
#define GITLAB_PAT_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "gitlab_pat_fdw", .version = GITLAB_PAT_FDW_VERSION)
#else
#define GITLAB_PAT_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Since 19 syscache callbacks take an enum. */
#if PG_VERSION_NUM >= 190000
#define SyscacheId SysCacheIdentifier
#else
#define SyscacheId int
#endif

/*
 * Since 17 a WaitEventSet may belong to a resource owner, which closes its
 * descriptors after an error.  Before, it lives in a memory context, and an
 * error leaks them.
 */
static inline WaitEventSet *
compat_wait_event_set(ResourceOwner owner, MemoryContext context, int nevents)
{
#if PG_VERSION_NUM >= 170000
	(void) context;
	return CreateWaitEventSet(owner, nevents);
#else
	(void) owner;
	return CreateWaitEventSet(context, nevents);
#endif
}

/* Since 17 an extension can name its wait events. */
static inline uint32
compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* Since 19 conversions tell in an ErrorSaveContext that a date is too large. */
static inline bool
compat_date_to_timestamptz(DateADT date, TimestampTz *result)
{
#if PG_VERSION_NUM >= 190000
	ErrorSaveContext context = {T_ErrorSaveContext};

	*result = date2timestamptz_safe(date, (Node *) &context);
	return !context.error_occurred;
#else
	int			overflow = 0;

	*result = date2timestamptz_opt_overflow(date, &overflow);
	return overflow == 0;
#endif
}

static inline bool
compat_timestamp_to_timestamptz(Timestamp timestamp, TimestampTz *result)
{
#if PG_VERSION_NUM >= 190000
	ErrorSaveContext context = {T_ErrorSaveContext};

	*result = timestamp2timestamptz_safe(timestamp, (Node *) &context);
	return !context.error_occurred;
#else
	int			overflow = 0;

	*result = timestamp2timestamptz_opt_overflow(timestamp, &overflow);
	return overflow == 0;
#endif
}

/* Since 19 a descriptor made by hand has to be told that it is complete. */
static inline void
compat_finish_tupdesc(TupleDesc desc)
{
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(desc);
#else
	(void) desc;
#endif
}

/* Since 19 the plan has the tables that a statement changes as a set. */
static inline bool
compat_is_result_relation(const PlannedStmt *plan, Index relid)
{
#if PG_VERSION_NUM >= 190000
	return bms_is_member((int) relid, plan->resultRelationRelids);
#else
	return list_member_int(plan->resultRelations, (int) relid);
#endif
}

/* Since 16 the role that permission checks use is not in the RTE. */
static inline Oid
compat_scan_userid(ForeignScan *fsplan, EState *estate)
{
	Oid			userid;

#if PG_VERSION_NUM >= 160000
	(void) estate;
	userid = fsplan->checkAsUser;
#else
	Index		rti = fsplan->scan.scanrelid > 0 ? fsplan->scan.scanrelid :
		(Index) bms_next_member(fsplan->fs_relids, -1);

	userid = exec_rt_fetch(rti, estate)->checkAsUser;
#endif
	return OidIsValid(userid) ? userid : GetUserId();
}

static inline Oid
compat_modify_userid(ResultRelInfo *rinfo, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecGetResultRelCheckAsUser(rinfo, estate);
#else
	RangeTblEntry *rte = exec_rt_fetch(rinfo->ri_RangeTableIndex > 0 ?
									   rinfo->ri_RangeTableIndex :
									   rinfo->ri_RootResultRelInfo->ri_RangeTableIndex,
									   estate);

	return OidIsValid(rte->checkAsUser) ? rte->checkAsUser : GetUserId();
#endif
}

static inline AclResult
compat_server_aclcheck(Oid serverid, Oid userid, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, serverid, userid, mode);
#else
	return pg_foreign_server_aclcheck(serverid, userid, mode);
#endif
}

static inline bool
compat_server_ownercheck(Oid serverid, Oid userid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ForeignServerRelationId, serverid, userid);
#else
	return pg_foreign_server_ownercheck(serverid, userid);
#endif
}

static inline bool
compat_table_ownercheck(Oid relid, Oid userid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, userid);
#else
	return pg_class_ownercheck(relid, userid);
#endif
}

/* 17 added fdw_restrictinfo and 18 disabled_nodes to the path creators. */
static inline ForeignPath *
compat_foreignscan_path(PlannerInfo *root, RelOptInfo *rel, double rows,
						int disabled_nodes, Cost startup_cost, Cost total_cost,
						List *pathkeys, Relids required_outer,
						List *fdw_private)
{
#if PG_VERSION_NUM < 180000
	(void) disabled_nodes;
#endif
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, rows, disabled_nodes,
								   startup_cost, total_cost, pathkeys,
								   required_outer, NULL, NIL, fdw_private);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, rows, startup_cost,
								   total_cost, pathkeys, required_outer, NULL,
								   NIL, fdw_private);
#else
	return create_foreignscan_path(root, rel, NULL, rows, startup_cost,
								   total_cost, pathkeys, required_outer, NULL,
								   fdw_private);
#endif
}

static inline ForeignPath *
compat_foreign_upper_path(PlannerInfo *root, RelOptInfo *rel,
						  PathTarget *target, double rows, Cost startup_cost,
						  Cost total_cost, List *fdw_private)
{
#if PG_VERSION_NUM >= 180000
	return create_foreign_upper_path(root, rel, target, rows, 0, startup_cost,
									 total_cost, NIL, NULL, NIL, fdw_private);
#elif PG_VERSION_NUM >= 170000
	return create_foreign_upper_path(root, rel, target, rows, startup_cost,
									 total_cost, NIL, NULL, NIL, fdw_private);
#else
	return create_foreign_upper_path(root, rel, target, rows, startup_cost,
									 total_cost, NIL, NULL, fdw_private);
#endif
}

/* Since 18 a path key has a compare type, before a btree strategy. */
static inline bool
compat_pathkey_descending(PathKey *pathkey)
{
#if PG_VERSION_NUM >= 180000
	return pathkey->pk_cmptype == COMPARE_GT;
#else
	return pathkey->pk_strategy == BTGreaterStrategyNumber;
#endif
}

/* Since 18 a RETURNING list can have columns of the old row. */
static inline bool
compat_returns_old(const Var *var)
{
#if PG_VERSION_NUM >= 180000
	return var->varreturningtype == VAR_RETURNING_OLD;
#else
	(void) var;
	return false;
#endif
}

/*
 * Since 16 the server can find the name that is closest to a misspelled one.
 * NULL means that none is close, or that the server is older.
 */
static inline const char *
compat_closest_name(const char *name, const char *const *names, int nnames)
{
#if PG_VERSION_NUM >= 160000
	ClosestMatchState match;

	initClosestMatch(&match, name, 4);
	for (int i = 0; i < nnames; i++)
		updateClosestMatch(&match, names[i]);
	return getClosestMatch(&match);
#else
	(void) name;
	(void) names;
	(void) nnames;
	return NULL;
#endif
}

#endif							/* GITLAB_PAT_COMPAT_H */
