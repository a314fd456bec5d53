/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Executing scans of foreign tables, and explaining them.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SCAN_H
#define GITLAB_PAT_SCAN_H

#include "commands/explain.h"
#include "foreign/fdwapi.h"

extern void gitlab_BeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *gitlab_IterateForeignScan(ForeignScanState *node);
extern void gitlab_ReScanForeignScan(ForeignScanState *node);
extern void gitlab_EndForeignScan(ForeignScanState *node);
extern void gitlab_ExplainForeignScan(ForeignScanState *node,
									  ExplainState *es);
extern bool gitlab_AnalyzeForeignTable(Relation rel,
									   AcquireSampleRowsFunc *func,
									   BlockNumber *totalpages);

#endif							/* GITLAB_PAT_SCAN_H */
