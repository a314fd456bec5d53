/*-------------------------------------------------------------------------
 *
 * pushdown.c
 *	  Which parts of a query GitLab can answer.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "pushdown.h"
#include "utils/lsyscache.h"

/* Is this node the column of the relation? */
static bool
is_column(Node *node, RelOptInfo *rel, AttrNumber column)
{
	Var		   *var = (Var *) node;

	return IsA(node, Var) && var->varno == (int) rel->relid &&
		var->varattno == column && var->varlevelsup == 0;
}

/*
 * Can the executor compute this when a scan begins?  That is: it depends on no
 * row, and gives the same each time.
 */
static bool
is_known_at_start(Node *node)
{
	return !contain_var_clause(node) && !contain_volatile_functions(node) &&
		!contain_subplans(node);
}

/*
 * The expression, of type bigint, that a clause says the id to be equal to; NULL
 * if the clause says no such thing.
 */
Expr *
pushdown_equal_id(PlannerInfo *root, RelOptInfo *rel, AttrNumber id_column,
				  Expr *clause)
{
	OpExpr	   *op = (OpExpr *) clause;
	Node	   *left;
	Node	   *right;

	(void) root;
	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 ||
		get_op_opfamily_strategy(op->opno, INTEGER_BTREE_FAM_OID) !=
		BTEqualStrategyNumber)
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (is_column(right, rel, id_column))
	{
		Node	   *swapped = left;

		left = right;
		right = swapped;
	}
	if (!is_column(left, rel, id_column) || !is_known_at_start(right))
		return NULL;
	return (Expr *) coerce_type(NULL, right, exprType(right), INT8OID, -1,
								COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}
