/*-------------------------------------------------------------------------
 *
 * ctid.c
 *	  Refusing references to the ctid of a foreign table.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "compat.h"
#include "fdw/ctid.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/rel.h"

/* The relation whose ctid ctid_walker() looks for. */
typedef struct CtidSearch
{
	Index		relid;			/* range-table index; 0: any */
	int			level;			/* how many queries deep the walk is */
	List	   *row_marks;		/* whose target entries do not count */
} CtidSearch;

pg_noreturn static void
refuse_ctid(Relation relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot refer to the system column \"ctid\" of foreign table \"%s\"",
					RelationGetRelationName(relation)),
			 errdetail("Rows of GitLab have no physical place that would tell them apart."),
			 errhint("Name the rows by their columns, such as \"id\".")));
}

/*
 * Whether this is the ctid that the planner has added to lock rows of a
 * partitioned table.  A partition that is a foreign table gives it no value: a
 * copy of the whole row stands for it.
 */
static bool
is_locking_entry(const TargetEntry *entry, List *row_marks)
{
	ListCell   *lc;

	if (!entry->resjunk || entry->resname == NULL)
		return false;
	foreach(lc, row_marks)
		if (strcmp(entry->resname,
				   psprintf("ctid%u", lfirst_node(PlanRowMark, lc)->rowmarkId)) == 0)
			return true;
	return false;
}

static bool
ctid_walker(Node *node, void *context)
{
	CtidSearch *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		return var->varattno == SelfItemPointerAttributeNumber &&
			(int) var->varlevelsup == search->level &&
			(search->relid == 0 ? !IS_SPECIAL_VARNO(var->varno) :
			 (Index) var->varno == search->relid);
	}
	if (IsA(node, TargetEntry) && search->level == 0 &&
		is_locking_entry((TargetEntry *) node, search->row_marks))
		return false;
	if (IsA(node, Query))
	{
		bool		found;

		search->level++;
		found = query_tree_walker((Query *) node, ctid_walker, context, 0);
		search->level--;
		return found;
	}
	return expression_tree_walker(node, ctid_walker, context);
}

/*
 * Refuses a scan of which the query needs the ctid, while its relation is
 * planned: then the relation's target has what other parts of the query need.
 * That of a partition also has what the planner needs to lock rows.
 */
void
ctid_check_scan(PlannerInfo *root, RelOptInfo *rel, Relation relation)
{
	CtidSearch	search = {.relid = rel->relid};
	bool		found = false;
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
		found = found ||
			ctid_walker((Node *) lfirst_node(RestrictInfo, lc)->clause, &search);
	if (!found && ctid_walker((Node *) rel->reltarget->exprs, &search))
	{
		found = true;
		if (rel->reloptkind == RELOPT_OTHER_MEMBER_REL && root->rowMarks != NIL)
		{
			search.relid = bms_singleton_member(rel->top_parent_relids);
			search.row_marks = root->rowMarks;
			found = query_tree_walker(root->parse, ctid_walker, &search, 0);
		}
	}
	if (found)
		refuse_ctid(relation);
}

/*
 * Refuses a RETURNING list with the ctid of the table that is changed.  relid is
 * its range-table index; 0 if the list is that of rows routed to a partition.
 */
void
ctid_check_returning(List *returning, Relation relation, Index relid)
{
	CtidSearch	search = {.relid = relid};

	if (ctid_walker((Node *) returning, &search))
		refuse_ctid(relation);
}
