/*-------------------------------------------------------------------------
 *
 * ahead.h
 *	  UPDATE with joins or row triggers: reading its rows to the end first.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_AHEAD_H
#define GITLAB_PAT_AHEAD_H

#include "fdw/target.h"

/* An UPDATE that reads its rows to the end before the first one is changed. */
typedef struct ReadAhead ReadAhead;

extern bool ahead_is_possible(ModifyTableState *mtstate, ResultRelInfo *rinfo,
							  const GitLabModify *modify);
extern ReadAhead *ahead_begin(ModifyTableState *mtstate, ResultRelInfo *rinfo,
							  GitLabModify *modify, List *columns);
extern void ahead_end(ReadAhead *ahead);
extern JsonRecord *ahead_take(ReadAhead *ahead, JsonRecord *row);

#endif							/* GITLAB_PAT_AHEAD_H */
