/*-------------------------------------------------------------------------
 *
 * token.c
 *	  What the planner has to know about tokens.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fdw/pushdown.h"
#include "fdw/token.h"
#include "optimizer/optimizer.h"
#include "utils/rel.h"

/*
 * Nobody can undo GitLab's own rotation.  One statement therefore rotates one
 * token, which the WHERE clause names.
 */
void
token_check_native_rotation(PlannerInfo *root, Index rtindex, Relation rel,
							const Resource *resource,
							const ResourceField **fields)
{
	RelOptInfo *baserel = find_base_rel(root, rtindex);
	PushdownTable table = {
		.root = root,
		.relid = rtindex,
		.resource = resource,
		.fields = fields
	};
	ListCell   *lc;

	foreach(lc, baserel->baserestrictinfo)
	{
		PushdownClause clause;

		if (pushdown_equality(&table, lfirst_node(RestrictInfo, lc)->clause,
							  &clause) &&
			resource_is_key(resource, clause.field) &&
			(IsA(clause.operand, Const) || IsA(clause.operand, Param)))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("native rotation on foreign table \"%s\" needs \"id = ...\" in the WHERE clause",
					RelationGetRelationName(rel)),
			 errdetail("A native rotation takes effect at once and cannot be undone, so a statement may rotate only one token."),
			 errhint("Name the token by a constant or a parameter, or set the option \"rotation\" to \"transactional\".")));
}
