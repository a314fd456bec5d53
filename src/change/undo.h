/*-------------------------------------------------------------------------
 *
 * undo.h
 *	  Restoring what writes have changed.  Raises nothing above WARNING.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_UNDO_H
#define GITLAB_PAT_UNDO_H

#include "change/quiet.h"

extern bool undo_is_needed(void);
extern bool undo_all(Patience *patience);
extern void undo_none(void);

#endif							/* GITLAB_PAT_UNDO_H */
