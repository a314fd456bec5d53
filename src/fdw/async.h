/*-------------------------------------------------------------------------
 *
 * async.h
 *	  Scans below an Append that are read at the same time.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ASYNC_H
#define GITLAB_PAT_ASYNC_H

#include "foreign/fdwapi.h"

extern bool gitlab_IsForeignPathAsyncCapable(ForeignPath *path);
extern void gitlab_ForeignAsyncRequest(AsyncRequest *areq);
extern void gitlab_ForeignAsyncConfigureWait(AsyncRequest *areq);
extern void gitlab_ForeignAsyncNotify(AsyncRequest *areq);

#endif							/* GITLAB_PAT_ASYNC_H */
