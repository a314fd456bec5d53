/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Executing scans of foreign tables.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SCAN_H
#define GITLAB_PAT_SCAN_H

#include "foreign/fdwapi.h"

extern void gitlab_BeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *gitlab_IterateForeignScan(ForeignScanState *node);
extern void gitlab_ReScanForeignScan(ForeignScanState *node);
extern void gitlab_EndForeignScan(ForeignScanState *node);

#endif							/* GITLAB_PAT_SCAN_H */
