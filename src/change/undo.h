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

/* At the end; nothing above WARNING */
extern bool queue_was_written(void);
extern bool queue_put_back(Patience *patience);
extern void queue_leave(Patience *patience);

#endif							/* GITLAB_PAT_UNDO_H */
