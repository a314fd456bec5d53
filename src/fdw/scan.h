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

#include "change/transaction.h"
#include "commands/explain.h"
#include "fdw/plan.h"
#include "foreign/fdwapi.h"
#include "gitlab/client.h"
#include "gitlab/filter.h"
#include "gitlab/listing.h"
#include "gitlab/option.h"
#include "gitlab/resources.h"

typedef struct GitLabScan
{
	TableSettings *settings;
	ScanKind	kind;
	ScanOrder	order;
	int			limit;			/* rows that will do, or 0 */
	const ResourceField **fields;	/* by attribute number minus one */
	Bitmapset  *columns;		/* attribute numbers to convert */
	List	   *operands;		/* ExprStates of fdw_exprs */
	CommandId	curcid;			/* of the scan's snapshot */
	ApiClient  *client;
	MemoryContext row_context;	/* holds the values of the current row */

	/* from the first row, or a rescan, on */
	bool		begun;
	bool		ended;			/* a count was returned */
	MemoryContext pass_context; /* holds what follows */
	Condition  *conditions;
	int			nconditions;
	TransactionView *view;		/* what the transaction makes of records */
	const FilterRequest *request;
	Stream	  **streams;		/* to be read one after the other; NULL before
								 * and after that */
	int			nstreams;
	int			current;
} GitLabScan;

extern void gitlab_BeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *gitlab_IterateForeignScan(ForeignScanState *node);
extern void gitlab_ReScanForeignScan(ForeignScanState *node);
extern void gitlab_EndForeignScan(ForeignScanState *node);
extern void gitlab_ExplainForeignScan(ForeignScanState *node,
									  ExplainState *es);
extern bool gitlab_AnalyzeForeignTable(Relation rel,
									   AcquireSampleRowsFunc *func,
									   BlockNumber *totalpages);

extern Oid	scanned_table(ForeignScanState *node);
extern void read_conditions(GitLabScan *scan, ForeignScan *fsplan);
extern StreamListing listing_of(const GitLabScan *scan, List *parameters);

#endif							/* GITLAB_PAT_SCAN_H */
