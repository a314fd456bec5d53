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
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fdw/pushdown.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/*
 * The types of operands, or of their elements, that the code which makes a
 * request knows how to read; by the field's type.
 */
static const struct
{
	FieldType	type;
	Oid			operand;
}			operand_types[] = {
	{FIELD_BIGINT, INT8OID},
	{FIELD_BIGINT, INT4OID},
	{FIELD_BIGINT, INT2OID},
	{FIELD_BOOLEAN, BOOLOID},
	{FIELD_DATE, DATEOID},
	{FIELD_DATE, TIMESTAMPOID},
	{FIELD_DATE, TIMESTAMPTZOID},
	{FIELD_TIMESTAMPTZ, DATEOID},
	{FIELD_TIMESTAMPTZ, TIMESTAMPOID},
	{FIELD_TIMESTAMPTZ, TIMESTAMPTZOID},
	{FIELD_TEXT, TEXTOID},
};

static bool
is_readable(const ResourceField *field, Oid type)
{
	for (int i = 0; i < (int) lengthof(operand_types); i++)
		if (operand_types[i].type == field->type &&
			operand_types[i].operand == type)
			return true;
	return false;
}

/* The operator family that orders values of a field. */
static Oid
family_of(const ResourceField *field)
{
	for (int i = 0; i < (int) lengthof(operand_types); i++)
		if (operand_types[i].type == field->type)
			return lookup_type_cache(operand_types[i].operand,
									 TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	return InvalidOid;
}

/* The field that a node shows, or NULL if it is no column of the table. */
const ResourceField *
pushdown_column(const PushdownTable *table, Node *node)
{
	Var		   *var = (Var *) node;

	/* a varchar compared as a text */
	while (IsA(var, RelabelType))
		var = (Var *) ((RelabelType *) var)->arg;
	if (!IsA(var, Var) || var->varno != (int) table->relid ||
		var->varlevelsup != 0 || var->varattno <= 0)
		return NULL;
	return table->fields[var->varattno - 1];
}

/*
 * Whether the executor can compute this when a scan begins.  It must depend on
 * no row of the table, and give the same each time.
 */
static bool
is_known_at_start(const PushdownTable *table, Node *node)
{
	return !bms_is_member(table->relid, pull_varnos(table->root, node)) &&
		!contain_volatile_functions(node) && !contain_subplans(node);
}

/* Texts are only compared by GitLab as they are here if equal means the same. */
static bool
is_safe_collation(const ResourceField *field, Oid collation)
{
	return field->type != FIELD_TEXT ||
		(OidIsValid(collation) && get_collation_isdeterministic(collation));
}

static bool
comparison_operator(const ResourceField *field, Oid opno,
					ConditionOperator *result)
{
	if (field->type == FIELD_TEXT &&
		(opno == OID_TEXT_LIKE_OP || opno == OID_TEXT_ICLIKE_OP))
	{
		*result = opno == OID_TEXT_LIKE_OP ? CONDITION_LIKE : CONDITION_ILIKE;
		return true;
	}
	switch (get_op_opfamily_strategy(opno, family_of(field)))
	{
		case BTLessStrategyNumber:
			*result = CONDITION_LESS;
			return true;
		case BTLessEqualStrategyNumber:
			*result = CONDITION_LESS_EQUAL;
			return true;
		case BTEqualStrategyNumber:
			*result = CONDITION_EQUAL;
			return true;
		case BTGreaterEqualStrategyNumber:
			*result = CONDITION_GREATER_EQUAL;
			return true;
		case BTGreaterStrategyNumber:
			*result = CONDITION_GREATER;
			return true;
	}
	return false;
}

/* column OP expression, or expression OP column. */
static bool
match_comparison(const PushdownTable *table, OpExpr *op, PushdownClause *result)
{
	Oid			opno = op->opno;
	Node	   *left;
	Node	   *right;

	if (list_length(op->args) != 2)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (pushdown_column(table, left) == NULL)
	{
		Node	   *swapped = left;

		left = right;
		right = swapped;
		opno = get_commutator(opno);
	}
	result->field = pushdown_column(table, left);
	result->operand = (Expr *) right;
	return result->field && OidIsValid(opno) &&
		OidIsValid(family_of(result->field)) &&
		is_safe_collation(result->field, op->inputcollid) &&
		comparison_operator(result->field, opno, &result->operator) &&
		is_readable(result->field, exprType(right)) &&
		is_known_at_start(table, right);
}

/* column = ANY (array). */
static bool
match_array(const PushdownTable *table, ScalarArrayOpExpr *op,
			PushdownClause *result)
{
	ConditionOperator operator;

	if (!op->useOr || list_length(op->args) != 2)
		return false;
	result->field = pushdown_column(table, linitial(op->args));
	result->operand = lsecond(op->args);
	result->operator = CONDITION_EQUAL_ANY;
	return result->field &&
		(result->field->type == FIELD_BIGINT ||
		 result->field->type == FIELD_TEXT) &&
		is_safe_collation(result->field, op->inputcollid) &&
		is_readable(result->field,
					get_element_type(exprType((Node *) result->operand))) &&
		comparison_operator(result->field, op->opno, &operator) &&
		operator == CONDITION_EQUAL &&
		is_known_at_start(table, (Node *) result->operand);
}

/* column, NOT column, column IS TRUE, column IS FALSE. */
static bool
match_boolean(const PushdownTable *table, Expr *clause, PushdownClause *result)
{
	bool		value = true;

	if (IsA(clause, BoolExpr) && ((BoolExpr *) clause)->boolop == NOT_EXPR)
	{
		clause = linitial(((BoolExpr *) clause)->args);
		value = false;
	}
	else if (IsA(clause, BooleanTest) &&
			 (((BooleanTest *) clause)->booltesttype == IS_TRUE ||
			  ((BooleanTest *) clause)->booltesttype == IS_FALSE))
	{
		value = ((BooleanTest *) clause)->booltesttype == IS_TRUE;
		clause = ((BooleanTest *) clause)->arg;
	}
	result->field = pushdown_column(table, (Node *) clause);
	if (result->field == NULL || result->field->type != FIELD_BOOLEAN)
		return false;
	result->operator = CONDITION_EQUAL;
	result->operand = (Expr *) makeBoolConst(value, false);
	return true;
}

/*
 * Whether this is column = expression, even if GitLab cannot select rows by it.
 * The expression is known when a scan begins.
 */
bool
pushdown_equality(const PushdownTable *table, Expr *clause,
				  PushdownClause *result)
{
	return IsA(clause, OpExpr) &&
		match_comparison(table, (OpExpr *) clause, result) &&
		result->operator == CONDITION_EQUAL;
}

/*
 * Whether GitLab can select rows by this clause.  With joining, the operand
 * depends on rows of other tables, and a request is made for each of them.
 */
bool
pushdown_clause(const PushdownTable *table, Expr *clause, bool joining,
				PushdownClause *result)
{
	Const	   *constant;
	bool		value;
	bool		matched;

	if (IsA(clause, OpExpr))
		matched = match_comparison(table, (OpExpr *) clause, result);
	else if (IsA(clause, ScalarArrayOpExpr))
		matched = match_array(table, (ScalarArrayOpExpr *) clause, result);
	else
		matched = match_boolean(table, clause, result);
	if (!matched)
		return false;
	constant = (Const *) result->operand;
	value = IsA(constant, Const) && DatumGetBool(constant->constvalue);
	return filter_exists(table->resource, result->field, result->operator,
						 result->field->type == FIELD_BOOLEAN &&
						 IsA(constant, Const) ? &value : NULL,
						 table->version, joining, &result->exact);
}

/* The clauses of an AND, or the only one. */
static List *
conjuncts(Expr *clause)
{
	return IsA(clause, BoolExpr) && ((BoolExpr *) clause)->boolop == AND_EXPR ?
		((BoolExpr *) clause)->args : list_make1(clause);
}

/* The equalities among clauses that say where something is, or which it is. */
static List *
target_clauses(const PushdownTable *table, List *clauses)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		PushdownClause *clause = palloc(sizeof(PushdownClause));

		if (pushdown_clause(table, lfirst(lc), false, clause) &&
			filter_names_target(table->resource, clause->field))
			result = lappend(result, clause);
	}
	return result;
}

static bool
names_field(List *clauses, const ResourceField *field)
{
	ListCell   *lc;

	foreach(lc, clauses)
		if (((PushdownClause *) lfirst(lc))->field == field)
			return true;
	return false;
}

/* Whether all alternatives name a field. */
static bool
all_name_field(List *alternatives, const ResourceField *field)
{
	ListCell   *lc;

	foreach(lc, alternatives)
		if (!names_field(lfirst(lc), field))
			return false;
	return true;
}

/*
 * What (project, key) IN ((...), (...)) is made of, an OR of ANDs: a list of
 * alternatives, each a list of PushdownClauses by which GitLab can be asked for
 * it.  NIL if the clause is none, or if one of them says nothing that all do.
 */
List *
pushdown_alternatives(const PushdownTable *table, Expr *clause)
{
	List	   *alternatives = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	if (!IsA(clause, BoolExpr) || ((BoolExpr *) clause)->boolop != OR_EXPR)
		return NIL;
	foreach(lc, ((BoolExpr *) clause)->args)
		alternatives = lappend(alternatives,
							   target_clauses(table, conjuncts(lfirst(lc))));
	foreach(lc, alternatives)
	{
		List	   *kept = NIL;
		ListCell   *inner;

		foreach(inner, (List *) lfirst(lc))
			if (all_name_field(alternatives,
							   ((PushdownClause *) lfirst(inner))->field))
				kept = lappend(kept, lfirst(inner));
		if (kept == NIL)
			return NIL;
		result = lappend(result, kept);
	}
	return result;
}
