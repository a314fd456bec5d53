/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Whether anybody takes the secrets of new tokens.
 *
 * The module decides this when the execution of a statement begins.  It does not
 * follow a secret into an expression, a CTE or a function.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "fdw/secret.h"
#include "fdw/table.h"
#include "gitlab/warnings.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/builtins.h"
#include "utils/rel.h"

bool		secret_discard = false;

/* The field that holds the secret of a new object, or NULL. */
static const ResourceField *
secret_field(const Resource *resource)
{
	for (int i = 0; i < resource->nfields; i++)
		if (resource->fields[i].flags & FIELD_SECRET)
			return &resource->fields[i];
	return NULL;
}

/* The relation whose secret secret_walker() looks for. */
typedef struct SecretSearch
{
	Index		relid;			/* range-table index; 0: any */
	AttrNumber	column;
} SecretSearch;

/* Finds the column, or the whole row, of a new row in a RETURNING list. */
static bool
secret_walker(Node *node, void *context)
{
	const SecretSearch *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		return (var->varattno == search->column || var->varattno == 0) &&
			!compat_returns_old(var) &&
			(search->relid == 0 ? !IS_SPECIAL_VARNO(var->varno) :
			 (Index) var->varno == search->relid);
	}
	return expression_tree_walker(node, secret_walker, context);
}

/*
 * The RETURNING list of a result relation.  The statement's plan has it: when
 * the execution begins, the executor has set it up only for rows that are routed
 * to a partition.
 */
static List *
returning_list(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;
	ListCell   *lc;

	if (plan == NULL || rinfo->ri_RangeTableIndex == 0)
		return rinfo->ri_returningList;
	if (plan->returningLists == NIL)
		return NIL;
	foreach(lc, plan->resultRelations)
		if ((Index) lfirst_int(lc) == rinfo->ri_RangeTableIndex)
			return list_nth_node(List, plan->returningLists,
								 foreach_current_index(lc));
	return NIL;
}

/*
 * Whether the trigger fires for rows that fulfill its WHEN condition.  Its list of
 * columns, if it has one, is about UPDATE only: expiry is the column that one sets.
 */
static bool
trigger_is_enabled(const Trigger *trigger, CmdType operation, AttrNumber expiry)
{
	char		disabled = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ?
		TRIGGER_FIRES_ON_ORIGIN : TRIGGER_FIRES_ON_REPLICA;

	if (trigger->tgenabled == TRIGGER_DISABLED || trigger->tgenabled == disabled)
		return false;
	if (operation != CMD_UPDATE)
		return true;
	for (int i = 0; i < trigger->tgnattr; i++)
		if (trigger->tgattr[i] == expiry)
			return true;
	return trigger->tgnattr == 0;
}

/*
 * Whether an enabled AFTER ROW trigger gets the new rows.  expiry is the column that
 * an UPDATE sets.
 */
bool
secret_is_for_trigger(ResultRelInfo *rinfo, CmdType operation,
					  AttrNumber expiry)
{
	TriggerDesc *triggers = rinfo->ri_TrigDesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_AFTER(trigger->tgtype) &&
			(operation == CMD_UPDATE ? TRIGGER_FOR_UPDATE(trigger->tgtype) :
			 TRIGGER_FOR_INSERT(trigger->tgtype)) &&
			trigger_is_enabled(trigger, operation, expiry))
			return true;
	}
	return false;
}

/*
 * Whether a statement creates secrets that nobody takes, without discard_secrets.
 * The caller asks for each table that the statement changes, when the execution
 * begins; operation is what the statement does to the rows of this one.
 */
bool
secret_is_discarded(const Resource *resource, const ResourceField **fields,
					ModifyTableState *mtstate, ResultRelInfo *rinfo,
					CmdType operation)
{
	TupleDesc	desc = RelationGetDescr(rinfo->ri_RelationDesc);
	const ResourceField *field = secret_field(resource);
	SecretSearch search = {.relid = rinfo->ri_RangeTableIndex};

	if (field == NULL || secret_discard)
		return false;
	search.column = table_column(fields, desc, field->name);
	if (search.column == InvalidAttrNumber)
		return true;
	return !secret_walker((Node *) returning_list(mtstate, rinfo), &search) &&
		!secret_is_for_trigger(rinfo, operation,
							   table_column(fields, desc, "expires_at"));
}

/*
 * Whether a RETURNING list takes the secrets of the relation with this range-table
 * index.  True if the resource has no secrets.
 */
bool
secret_is_returned(const Resource *resource, const ResourceField **fields,
				   Relation rel, List *returning, Index relid)
{
	const ResourceField *field = secret_field(resource);
	SecretSearch search = {.relid = relid};

	if (field == NULL)
		return true;
	search.column = table_column(fields, RelationGetDescr(rel), field->name);
	return search.column != InvalidAttrNumber &&
		secret_walker((Node *) returning, &search);
}

/* Returns the hint about secrets that are discarded. */
static const char *
advice(const Resource *resource, const ResourceField **fields, Relation rel,
	   const char *command)
{
	const ResourceField *field = secret_field(resource);
	AttrNumber	column = table_column(fields, RelationGetDescr(rel),
									  field->name);

	if (column == InvalidAttrNumber)
		return psprintf("Add the column: ALTER FOREIGN TABLE %s ADD COLUMN %s %s.  To discard secrets on purpose, SET gitlab_pat_fdw.discard_secrets = on.",
						quote_identifier(RelationGetRelationName(rel)),
						field->name, resource_type_name(field->type));
	return psprintf("Take the secret by %s ... RETURNING %s, or by an AFTER ROW trigger.  To discard secrets on purpose, SET gitlab_pat_fdw.discard_secrets = on.",
					command,
					quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel),
														   column - 1)->attname)));
}

/* Refuses an UPDATE that ends the old secret while nobody takes the new one. */
void
secret_refuse_update(const Resource *resource, const ResourceField **fields,
					 Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("UPDATE of foreign table \"%s\" would discard the new secret of each %s",
					RelationGetRelationName(rel), resource->singular),
			 errdetail("Changing the expiry of a token rotates it: the secret in use ends, and GitLab shows the new one once."),
			 errhint("%s", advice(resource, fields, rel, "UPDATE"))));
}

/* Warns that nobody has the secrets of the created tokens. */
void
secret_warn(const Resource *resource, const ResourceField **fields,
			Relation rel)
{
	ereport(WARNING,
			(errcode(ERRCODE_GITLAB_SECRET_DISCARDED),
			 errmsg("the secret of each new %s is discarded",
					resource->singular),
			 errdetail("GitLab shows a secret once, and this statement does not take it from foreign table \"%s\".",
					   RelationGetRelationName(rel)),
			 errhint("%s", advice(resource, fields, rel, "INSERT"))));
}
