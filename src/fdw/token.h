/*-------------------------------------------------------------------------
 *
 * token.h
 *	  Creating, rotating and revoking personal access tokens.
 *
 * What modify.c does when the rows are tokens.  All of these run in the memory
 * context of the current row, and raise errors.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TOKEN_H
#define GITLAB_PAT_TOKEN_H

#include "fdw/modify.h"
#include "gitlab/record.h"

extern void token_check_native_rotation(PlannerInfo *root, Index rtindex,
										Relation rel,
										const ResourceField **fields);
extern void token_check_expiry(Datum expires_at);
extern void token_begin(GitLabModify *modify);
extern TupleTableSlot *token_insert(GitLabModify *modify, TupleTableSlot *slot,
									const ResourceValue *values, int nvalues);
extern TupleTableSlot *token_update(GitLabModify *modify, TupleTableSlot *row,
									TupleTableSlot *slot);
extern bool token_delete(GitLabModify *modify, TupleTableSlot *row);

#endif							/* GITLAB_PAT_TOKEN_H */
