/*-------------------------------------------------------------------------
 *
 * modify.c
 *	  INSERT, UPDATE, DELETE and COPY.
 *
 * INSERT creates a token, UPDATE of its expiry replaces it by a new one, DELETE
 * queues its revocation.  When each of these reaches GitLab, and what a
 * rollback does about it, is transaction.c's business.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "modify.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/inherit.h"
#include "optimizer/optimizer.h"
#include "option.h"
#include "pushdown.h"
#include "transaction.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/*
 * The junk column that brings the row to be changed.  It has the name that the
 * executor uses, too, so that the row is fetched only once.
 */
#define ROW_COLUMN "wholerow"

/* How far apart the clocks here and at GitLab may be, in a lost token's SELECT. */
#define CLOCK_SKEW_SECONDS 60

typedef struct GitLabModify
{
	Relation	rel;
	TableSettings *settings;
	const ResourceField **fields;	/* by attribute number minus one */
	AttrNumber	id_column;		/* 0 if the table has none, and so on */
	AttrNumber	revoked_column;
	AttrNumber	user_id_column;
	AttrNumber	name_column;
	AttrNumber	scopes_column;
	AttrNumber	expires_column;
	AttrNumber	row_attno;		/* of ROW_COLUMN in the plan's rows */
	TokenChange change;
	MemoryContext row_context;	/* holds the values of the current row */
	int64		own_user_id;	/* of the credential; 0: not asked yet */
	int64		owner_id;		/* whose kind is known; 0: nobody's */
} GitLabModify;


/* ----------
 * Planning
 * ----------
 */

/* Says which of INSERT, UPDATE and DELETE a table allows, as a bit mask. */
int
gitlab_IsForeignRelUpdatable(Relation rel)
{
	TableSettings *settings = option_table(RelationGetRelid(rel));

	if (!settings->updatable || !settings->resource->writable)
		return 0;
	return (1 << CMD_INSERT) | (1 << CMD_UPDATE) | (1 << CMD_DELETE);
}

static AttrNumber
find_column(Relation rel, const TableSettings *settings, const char *name)
{
	const ResourceField **fields = resource_bind(settings->resource, rel);

	return resource_column(fields, RelationGetDescr(rel), name);
}

/* Has UPDATE and DELETE fetch the rows that they change. */
void
gitlab_AddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
							   RangeTblEntry *target_rte,
							   Relation target_relation)
{
	TableSettings *settings = option_table(RelationGetRelid(target_relation));
	Var		   *row;

	if (find_column(target_relation, settings, "id") == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("cannot change foreign table \"%s\" because it has no column for the field \"id\"",
						RelationGetRelationName(target_relation)),
				 errhint("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN id bigint.",
						 quote_identifier(RelationGetRelationName(target_relation)))));
	/* as the executor makes it, so that partitions can share it */
	row = makeVar(rtindex, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0);
	add_row_identity_var(root, row, rtindex, ROW_COLUMN);
}

/* Refuses SET of anything that GitLab can't change. */
static void
check_updated_columns(PlannerInfo *root, Index rtindex, Relation rel,
					  const ResourceField **fields)
{
	Bitmapset  *updated = get_rel_all_updated_cols(root,
												   find_base_rel(root, rtindex));
	int			col = -1;

	while ((col = bms_next_member(updated, col)) >= 0)
	{
		AttrNumber	attno = col + FirstLowInvalidHeapAttributeNumber;
		const ResourceField *field = attno > 0 ? fields[attno - 1] : NULL;

		if (field == NULL || !(field->flags & FIELD_UPDATE))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot update column \"%s\" of foreign table \"%s\"",
							get_attname(RelationGetRelid(rel), attno, false),
							RelationGetRelationName(rel)),
					 errdetail("GitLab cannot change a token: only \"expires_at\" can be set, which replaces the token by a new one."),
					 errhint("To change anything else, INSERT a new token and DELETE the old one.")));
	}
}

/*
 * GitLab's own rotation can't be undone: so it is done to one token a
 * statement, which the WHERE clause names.
 */
static void
check_native_rotation(PlannerInfo *root, Index rtindex, Relation rel,
					  const ResourceField **fields)
{
	RelOptInfo *baserel = find_base_rel(root, rtindex);
	PushdownTable table = {
		.root = root,
		.relid = rtindex,
		.resource = resource_tokens,
		.fields = fields
	};
	ListCell   *lc;

	foreach(lc, baserel->baserestrictinfo)
	{
		PushdownClause clause;

		if (pushdown_clause(&table, lfirst_node(RestrictInfo, lc)->clause,
							false, &clause) &&
			(clause.field->flags & FIELD_IDENTITY) &&
			clause.operator == CONDITION_EQUAL &&
			(IsA(clause.operand, Const) || IsA(clause.operand, Param)))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("native rotation on foreign table \"%s\" needs \"id = ...\" in the WHERE clause",
					RelationGetRelationName(rel)),
			 errdetail("It takes effect at once and cannot be undone, so it is done to one token per statement."),
			 errhint("Name the token by a constant or a parameter, or set the option \"rotation\" to \"transactional\".")));
}

/*
 * A row that fails a view's CHECK OPTION is shown in the error.  That is checked
 * after GitLab has put the secret into it.
 */
static void
refuse_check_option(Relation rel, const ResourceField **fields)
{
	if (resource_column(fields, RelationGetDescr(rel), "token"))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("views with a CHECK OPTION cannot be used to change foreign table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("The message about a row that fails the check would show the secret of the new token."),
				 errhint("Use a foreign table without a column for the field \"token\".")));
}

/* Checks a statement that changes the table; the executor needs no more. */
List *
gitlab_PlanForeignModify(PlannerInfo *root, ModifyTable *plan,
						 Index resultRelation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(resultRelation, root);
	Relation	rel = table_open(rte->relid, NoLock);
	TableSettings *settings = option_table(rte->relid);
	const ResourceField **fields = resource_bind(settings->resource, rel);

	(void) subplan_index;
	if (plan->withCheckOptionLists != NIL)
		refuse_check_option(rel, fields);
	if (plan->onConflictAction != ONCONFLICT_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("INSERT with ON CONFLICT is not supported for foreign table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Names of tokens are not unique in GitLab, so nothing conflicts.")));
	/* the executor refuses the others, in its own words */
	if (plan->operation == CMD_UPDATE && gitlab_IsForeignRelUpdatable(rel) != 0)
	{
		check_updated_columns(root, resultRelation, rel, fields);
		if (settings->rotation == ROTATION_NATIVE)
			check_native_rotation(root, resultRelation, rel, fields);
	}
	table_close(rel, NoLock);
	return NIL;
}


/* ----------
 * Beginning
 * ----------
 */

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

static GitLabModify *
begin_modify(ResultRelInfo *rinfo, EState *estate)
{
	GitLabModify *modify = palloc0(sizeof(GitLabModify));
	Relation	rel = rinfo->ri_RelationDesc;
	TupleDesc	desc = RelationGetDescr(rel);

	modify->rel = rel;
	modify->settings = option_table(RelationGetRelid(rel));
	modify->fields = resource_bind(modify->settings->resource, rel);
	modify->id_column = resource_column(modify->fields, desc, "id");
	modify->revoked_column = resource_column(modify->fields, desc, "revoked");
	modify->user_id_column = resource_column(modify->fields, desc, "user_id");
	modify->name_column = resource_column(modify->fields, desc, "name");
	modify->scopes_column = resource_column(modify->fields, desc, "scopes");
	modify->expires_column = resource_column(modify->fields, desc, "expires_at");
	modify->change.userid = compat_modify_userid(rinfo, estate);
	modify->change.table = qualified_name(rel);
	modify->change.id_column = modify->id_column == InvalidAttrNumber ? "id" :
		quote_identifier(get_attname(RelationGetRelid(rel), modify->id_column,
									 false));
	modify->change.client = api_open(modify->settings->serverid,
									 modify->change.userid);
	/* COPY leaves the executor's command id unset */
	modify->change.cid = estate->es_output_cid != FirstCommandId ?
		estate->es_output_cid : GetCurrentCommandId(true);
	modify->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"GitLab row",
												ALLOCSET_SMALL_SIZES);
	return modify;
}

/* Prepares INSERT, UPDATE or DELETE; sends nothing yet. */
void
gitlab_BeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
						  List *fdw_private, int subplan_index, int eflags)
{
	GitLabModify *modify;

	(void) fdw_private;
	(void) subplan_index;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	modify = begin_modify(rinfo, mtstate->ps.state);
	if (mtstate->operation == CMD_UPDATE || mtstate->operation == CMD_DELETE)
	{
		modify->row_attno =
			ExecFindJunkAttributeInTlist(outerPlanState(mtstate)->plan->targetlist,
										 ROW_COLUMN);
		if (!AttributeNumberIsValid(modify->row_attno))
			elog(ERROR, "could not find junk column \"%s\"", ROW_COLUMN);
	}
	rinfo->ri_FdwState = modify;
}

/* The same for COPY, and for rows that are routed to a partition. */
void
gitlab_BeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	EState	   *estate = mtstate->ps.state;
	MemoryContext saved = MemoryContextSwitchTo(estate->es_query_cxt);
	GitLabModify *modify;

	if ((gitlab_IsForeignRelUpdatable(rinfo->ri_RelationDesc) &
		 (1 << CMD_INSERT)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" does not allow inserts",
						RelationGetRelationName(rinfo->ri_RelationDesc))));
	if (rinfo->ri_FdwState != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot route tuples into foreign table to be updated \"%s\"",
						RelationGetRelationName(rinfo->ri_RelationDesc))));
	modify = begin_modify(rinfo, estate);
	if (rinfo->ri_WithCheckOptions != NIL)
		refuse_check_option(rinfo->ri_RelationDesc, modify->fields);
	rinfo->ri_FdwState = modify;
	MemoryContextSwitchTo(saved);
}

/* Nothing to end: all goes with the query's memory context. */
void
gitlab_EndForeignModify(EState *estate, ResultRelInfo *rinfo)
{
	(void) estate;
	(void) rinfo;
}


/* ----------
 * What INSERT and UPDATE share
 * ----------
 */

/*
 * Refuses an expiry, a date, that would make a token dead on arrival.  GitLab's
 * days are UTC's.
 */
void
modify_check_expiry(Datum expires_at)
{
	DateADT		date = DatumGetDateADT(expires_at);
	DateADT		today = (DateADT) (GetCurrentTimestamp() / USECS_PER_DAY);

	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be a finite date"),
				 errhint("For a token that does not expire, where GitLab allows one, use NULL.")));
	if (date <= today)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"expires_at\" must be in the future"),
				 errdetail("A token expires at the beginning of the day %s; today is %s (UTC).",
						   DatumGetCString(DirectFunctionCall1(date_out, expires_at)),
						   DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(today))))));
}

/*
 * The SELECT that finds a token whose creation was not answered: as much of it
 * as the table has columns for.
 */
static char *
finder_of(const GitLabModify *modify, int64 user_id, const char *name)
{
	TimestampTz since = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													-CLOCK_SKEW_SECONDS * 1000);
	AttrNumber	created = resource_column(modify->fields,
										  RelationGetDescr(modify->rel),
										  "created_at");
	const char *conjunction = "WHERE";
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT * FROM %s", modify->change.table);
	if (modify->user_id_column && user_id)
	{
		appendStringInfo(&buf, " %s %s = " INT64_FORMAT, conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  modify->user_id_column, false)),
						 user_id);
		conjunction = "AND";
	}
	if (modify->name_column && name)
	{
		appendStringInfo(&buf, " %s %s = %s", conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  modify->name_column, false)),
						 quote_literal_cstr(name));
		conjunction = "AND";
	}
	if (created)
		appendStringInfo(&buf, " %s %s >= %s", conjunction,
						 quote_identifier(get_attname(RelationGetRelid(modify->rel),
													  created, false)),
						 quote_literal_cstr(timestamptz_to_str(since)));
	appendStringInfoChar(&buf, ';');
	return buf.data;
}

/* Puts GitLab's answer to a creation into the slot, secret included. */
static TupleTableSlot *
return_token(GitLabModify *modify, ApiCall *call, TupleTableSlot *slot)
{
	MemoryContext saved = MemoryContextSwitchTo(modify->row_context);

	resource_fill_slot(modify->settings->resource, modify->fields, NULL,
					   call->record, false, true, slot);
	MemoryContextSwitchTo(saved);
	api_call_free(call);
	return slot;
}


/* ----------
 * INSERT
 * ----------
 */

/* Refuses a row that GitLab can't make a token of. */
static void
check_inserted_row(const GitLabModify *modify, TupleTableSlot *slot)
{
	const Resource *resource = modify->settings->resource;
	TupleDesc	desc = RelationGetDescr(modify->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const ResourceField *field = modify->fields[i];

		if (field && !slot->tts_isnull[i] && !(field->flags & FIELD_INSERT))
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("cannot insert a value into column \"%s\" of foreign table \"%s\"",
							NameStr(TupleDescAttr(desc, i)->attname),
							RelationGetRelationName(modify->rel)),
					 errdetail("GitLab assigns the field \"%s\".", field->name),
					 errhint("Leave the column out; RETURNING shows its value.")));
	}
	for (int i = 0; i < resource->nfields; i++)
	{
		const ResourceField *field = &resource->fields[i];
		AttrNumber	attno = resource_column(modify->fields, desc, field->name);

		if (!(field->flags & FIELD_REQUIRED))
			continue;
		if (attno == InvalidAttrNumber || slot->tts_isnull[attno - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("a new %s needs a value for the field \"%s\"",
							resource->singular, field->name),
					 attno == InvalidAttrNumber ?
					 errhint("Foreign table \"%s\" has no column for it.",
							 RelationGetRelationName(modify->rel)) : 0));
	}
}

/* GitLab makes no token without a scope. */
static void
check_scopes(Datum scopes)
{
	ArrayType  *array = DatumGetArrayTypeP(scopes);

	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a new personal access token needs at least one scope"),
				 errhint("Scopes are, for example, \"api\", \"read_api\" and \"read_repository\".")));
}

/* Is it ['k8s_proxy'], all that GitLab lets users ask for themselves? */
static bool
is_self_service(Datum scopes)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(scopes), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &n);
	return n == 1 && !nulls[0] &&
		strcmp(TextDatumGetCString(elems[0]), "k8s_proxy") == 0;
}

/* The user whom the credential belongs to. */
static int64
own_user_id(GitLabModify *modify)
{
	if (modify->own_user_id == 0)
		modify->own_user_id = api_own_user_id(modify->change.client);
	return modify->own_user_id;
}

/* Creates a token, and returns it in the slot. */
TupleTableSlot *
gitlab_ExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	const Resource *resource = modify->settings->resource;
	ResourceValue values[16];
	int			nvalues = 0;
	MemoryContext saved;
	int64		user_id = 0;
	int64		id;
	Datum		scopes;
	char	   *path;
	char	   *name;
	ApiCall    *call;

	(void) estate;
	(void) plan_slot;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	slot_getallattrs(slot);
	check_inserted_row(modify, slot);
	scopes = slot->tts_values[modify->scopes_column - 1];
	check_scopes(scopes);
	if (modify->expires_column &&
		!slot->tts_isnull[modify->expires_column - 1])
		modify_check_expiry(slot->tts_values[modify->expires_column - 1]);

	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		const ResourceField *field = modify->fields[i];

		if (field == NULL || slot->tts_isnull[i] ||
			(field->flags & FIELD_IN_PATH))
			continue;
		if (nvalues == lengthof(values))
			elog(ERROR, "too many columns");
		values[nvalues].field = field;
		values[nvalues].value = slot->tts_values[i];
		values[nvalues++].isnull = false;
	}

	if (modify->user_id_column && !slot->tts_isnull[modify->user_id_column - 1])
	{
		user_id = DatumGetInt64(slot->tts_values[modify->user_id_column - 1]);
		if (user_id <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"user_id\" must be positive"),
					 errhint("For a token of your own, leave it out.")));
	}
	else if (!is_self_service(scopes))
		user_id = own_user_id(modify);
	path = user_id == 0 ? pstrdup("/user/personal_access_tokens") :
		psprintf("/users/" INT64_FORMAT "/personal_access_tokens", user_id);
	name = TextDatumGetCString(slot->tts_values[modify->name_column - 1]);

	call = transaction_create(&modify->change, path,
							  resource_body(resource, NULL, values, nvalues),
							  user_id == 0 ?
							  "create a personal access token" :
							  psprintf("create a personal access token for user " INT64_FORMAT, user_id),
							  finder_of(modify, user_id, name), &id);
	MemoryContextSwitchTo(saved);
	return return_token(modify, call, slot);
}


/* ----------
 * DELETE and UPDATE: the row at hand
 * ----------
 */

/* Puts the row that is to be changed into a slot of the table's type. */
static void
fetch_row(const GitLabModify *modify, TupleTableSlot *plan_slot,
		  TupleTableSlot *slot)
{
	bool		isnull;
	Datum		datum = ExecGetJunkAttribute(plan_slot, modify->row_attno, &isnull);
	HeapTupleHeader header;
	HeapTupleData tuple;

	if (isnull)
		elog(ERROR, "junk column \"%s\" is null", ROW_COLUMN);
	header = DatumGetHeapTupleHeader(datum);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = RelationGetRelid(modify->rel);
	tuple.t_data = header;
	ExecForceStoreHeapTuple(heap_copytuple(&tuple), slot, false);
	slot_getallattrs(slot);
}

static int64
row_id(const GitLabModify *modify, TupleTableSlot *slot)
{
	if (slot->tts_isnull[modify->id_column - 1])
		elog(ERROR, "row to be changed has no id");
	return DatumGetInt64(slot->tts_values[modify->id_column - 1]);
}

static void
refuse_self(const GitLabModify *modify, int64 id)
{
	if (!api_is_self(modify->change.client, id))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("personal access token " INT64_FORMAT " is the one that server \"%s\" is accessed with",
					id, api_connection(modify->change.client)->server_name),
			 errdetail("Without it, nothing more could be done, and nothing undone."),
			 errhint("Exclude it: id <> " INT64_FORMAT ".  To rotate it, use CALL gitlab_pat_rotate_self().",
					 id)));
}

/* Queues a token for revocation, and returns the row as it was read. */
TupleTableSlot *
gitlab_ExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	AttrNumber	revoked = modify->revoked_column;
	MemoryContext saved;
	int64		id;

	(void) estate;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	fetch_row(modify, plan_slot, slot);
	id = row_id(modify, slot);
	if (!revoked || slot->tts_isnull[revoked - 1] ||
		!DatumGetBool(slot->tts_values[revoked - 1]))
	{
		if (!transaction_touched(&modify->change, id))
			refuse_self(modify, id);
		if (!transaction_delete(&modify->change, id))
			slot = NULL;		/* the command met the row before */
	}
	MemoryContextSwitchTo(saved);
	return slot;
}


/* ----------
 * UPDATE
 * ----------
 */

static bool
boolean_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = resource_datum(resource, resource_field(resource, name),
									   record, &isnull);

	return !isnull && DatumGetBool(value);
}

static char *
text_of(const Resource *resource, JsonRecord *record, const char *name)
{
	bool		isnull;
	Datum		value = resource_datum(resource, resource_field(resource, name),
									   record, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* GitLab makes tokens of projects and groups for users with such names. */
static bool
is_resource_bot(const char *username)
{
	static const char *const prefixes[] = {"project_", "group_"};

	for (int i = 0; username && i < (int) lengthof(prefixes); i++)
	{
		size_t		length = strlen(prefixes[i]);

		if (strncmp(username, prefixes[i], length) == 0)
		{
			size_t		digits = strspn(username + length, "0123456789");

			return digits > 0 &&
				strncmp(username + length + digits, "_bot", 4) == 0;
		}
	}
	return false;
}

pg_noreturn static void
refuse_replacement(const GitLabModify *modify, int64 id, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("personal access token " INT64_FORMAT " cannot be replaced by a new one",
					id),
			 errdetail("%s", detail),
			 errhint("Set the option \"rotation\" of foreign table \"%s\" to \"native\" to have GitLab rotate it.",
					 RelationGetRelationName(modify->rel))));
}

/* Refuses to replace what a POST can't make anew; before any change. */
static void
check_replaceable(GitLabModify *modify, int64 id, int64 owner,
				  JsonRecord *record)
{
	const Resource *users = resource_find("users");
	ApiCall    *call;

	if (boolean_of(resource_tokens, record, "granular"))
		refuse_replacement(modify, id,
						   "It is a fine-grained token, whose permissions cannot be given to a new one.");
	if (owner == modify->owner_id)
		return;
	call = api_get(modify->change.client,
				   psprintf("/users/" INT64_FORMAT, owner), true,
				   psprintf("look up user " INT64_FORMAT, owner));
	if (call)
	{
		if (boolean_of(users, call->record, "bot") &&
			is_resource_bot(text_of(users, call->record, "username")))
			refuse_replacement(modify, id,
							   "It belongs to the bot user of a project or a group.");
		api_call_free(call);
	}
	modify->owner_id = owner;
}

/* Impersonation tokens are made elsewhere; one lookup tells them. */
static bool
is_impersonation(GitLabModify *modify, int64 id, int64 owner)
{
	ApiCall    *call;

	call = api_get(modify->change.client,
				   psprintf("/users/" INT64_FORMAT "/impersonation_tokens/" INT64_FORMAT,
							owner, id), true,
				   psprintf("look up impersonation token " INT64_FORMAT, id));
	if (call == NULL)
		return false;
	api_call_free(call);
	return true;
}

/* Reads the token anew, and refuses to rotate what must not be rotated. */
static ApiCall *
read_for_update(GitLabModify *modify, int64 id, bool expiry_is_null)
{
	ApiCall    *call;
	bool		isnull;

	call = api_get(modify->change.client,
				   psprintf("%s/" INT64_FORMAT, resource_tokens->path, id), true,
				   psprintf("read personal access token " INT64_FORMAT, id));
	if (call == NULL || !boolean_of(resource_tokens, call->record, "active") ||
		transaction_view(modify->settings->serverid, id,
						 modify->change.cid) == TOKEN_REVOKED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("personal access token " INT64_FORMAT " is not active",
						id),
				 errdetail("Rotating would bring a token back to life that was revoked or has expired."),
				 errhint("Add \"active\" to the WHERE clause, or INSERT a new token.")));
	if (expiry_is_null)
	{
		(void) resource_datum(resource_tokens,
							  resource_field(resource_tokens, "expires_at"),
							  call->record, &isnull);
		if (!isnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"expires_at\" of personal access token " INT64_FORMAT " cannot be set to NULL",
							id),
					 errdetail("The token expires, and rotating must not make it live forever."),
					 errhint("Set a date in the future.")));
	}
	refuse_self(modify, id);
	return call;
}

/* Creates a token like the old one, which is revoked after commit. */
static ApiCall *
replace_token(GitLabModify *modify, int64 id, ApiCall *old,
			  const ResourceValue *expiry)
{
	bool		isnull;
	int64		owner = DatumGetInt64(resource_datum(resource_tokens,
													 resource_field(resource_tokens, "user_id"),
													 old->record, &isnull));
	int64		new_id;
	const char *collection;
	ApiCall    *call;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("GitLab's answer about personal access token " INT64_FORMAT " lacks the field \"user_id\"",
						id)));
	check_replaceable(modify, id, owner, old->record);
	transaction_check_change();
	collection = is_impersonation(modify, id, owner) ?
		"impersonation_tokens" : "personal_access_tokens";
	call = transaction_create(&modify->change,
							  psprintf("/users/" INT64_FORMAT "/%s", owner, collection),
							  resource_body(resource_tokens, old->record, expiry, 1),
							  psprintf("create a replacement for personal access token " INT64_FORMAT, id),
							  finder_of(modify, owner,
										text_of(resource_tokens, old->record, "name")),
							  &new_id);
	transaction_replace(&modify->change, id, new_id);
	return call;
}

/* Rotates a token, and returns the new one in the slot. */
TupleTableSlot *
gitlab_ExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	GitLabModify *modify = rinfo->ri_FdwState;
	MemoryContext saved;
	TupleTableSlot *old_slot;
	ResourceValue expiry = {.field = resource_field(resource_tokens, "expires_at")};
	ApiCall    *old;
	ApiCall    *call;
	int64		id;
	int64		new_id;

	(void) estate;
	MemoryContextReset(modify->row_context);
	saved = MemoryContextSwitchTo(modify->row_context);
	old_slot = MakeSingleTupleTableSlot(RelationGetDescr(modify->rel),
										&TTSOpsHeapTuple);
	fetch_row(modify, plan_slot, old_slot);
	id = row_id(modify, old_slot);
	ExecDropSingleTupleTableSlot(old_slot);
	if (transaction_touched(&modify->change, id))
	{
		/* a join met the row twice; it is rotated once */
		MemoryContextSwitchTo(saved);
		return NULL;
	}

	slot_getallattrs(slot);
	expiry.value = slot->tts_values[modify->expires_column - 1];
	expiry.isnull = slot->tts_isnull[modify->expires_column - 1];
	if (!expiry.isnull)
		modify_check_expiry(expiry.value);
	old = read_for_update(modify, id, expiry.isnull);
	if (modify->settings->rotation == ROTATION_NATIVE)
		call = transaction_rotate(&modify->change, id,
								  resource_body(resource_tokens, NULL, &expiry, 1),
								  finder_of(modify, 0,
											text_of(resource_tokens, old->record, "name")),
								  &new_id);
	else
		call = replace_token(modify, id, old, &expiry);
	api_call_free(old);
	MemoryContextSwitchTo(saved);
	return return_token(modify, call, slot);
}
