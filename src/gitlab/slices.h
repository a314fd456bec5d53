/*-------------------------------------------------------------------------
 *
 * slices.h
 *	  Lists that are longer than GitLab counts, by the time of creation.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SLICES_H
#define GITLAB_PAT_SLICES_H

#include "gitlab/pages.h"

/* How reading by slices has ended. */
typedef enum SlicesEnd
{
	SLICES_COMPLETE,
	SLICES_UNCOUNTED,			/* this server counts no list: there are none */
	SLICES_ELSEWHERE			/* the instance's time zone is not UTC */
} SlicesEnd;

typedef struct Slices Slices;

extern Slices *slices_open(Pages *whole);
extern ApiCall *slices_awaited(Slices *slices);
extern JsonRecord *slices_next(Slices *slices);
extern SlicesEnd slices_ended(const Slices *slices);
extern void slices_end(Slices *slices);

#endif							/* GITLAB_PAT_SLICES_H */
