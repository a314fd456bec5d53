/*-------------------------------------------------------------------------
 *
 * kept.h
 *	  Lists that a scan has read, for when a nested loop starts it again.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_KEPT_H
#define GITLAB_PAT_KEPT_H

#include "gitlab/call.h"

typedef struct KeptLists KeptLists;

extern KeptLists *kept_create(void);
extern bool kept_turn(KeptLists *kept, const ApiTarget *target,
					  List *parameters);
extern bool kept_has(KeptLists *kept, const ApiTarget *target,
					 List *parameters);
extern JsonRecord *kept_next(KeptLists *kept);
extern void kept_add(KeptLists *kept, JsonRecord *record);
extern void kept_finish(KeptLists *kept);
extern void kept_forget(KeptLists *kept);

#endif							/* GITLAB_PAT_KEPT_H */
