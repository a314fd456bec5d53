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
#include "fdw/directory.h"
#include "fdw/kept.h"
#include "fdw/plan.h"
#include "foreign/fdwapi.h"
#include "gitlab/client.h"
#include "gitlab/filter.h"
#include "gitlab/option.h"
#include "gitlab/seen.h"
#include "gitlab/stream.h"
#include "utils/relcache.h"

/* A scan that is executed, or explained.  scan.c fills it. */
typedef struct GitLabScan
{
	TableSettings *settings;
	ScanKind	kind;
	ScanOrder	order;
	int			limit;			/* rows that will do, or 0 */
	const ResourceField **fields;	/* by attribute number minus one */
	List	   *columns;		/* attribute numbers to convert */
	bool		sorted;			/* they are in the order of the records */
	List	   *operands;		/* ExprStates of fdw_exprs */
	int			named_id;		/* which of them is the id of the rows that a
								 * direct UPDATE changes, or -1: see
								 * DirectPrivate */
	ExprState  *quals;			/* of a count, or NULL */
	bool		details;		/* a brief list would not do */
	CommandId	curcid;			/* of the scan's snapshot */
	ApiClient  *client;
	bool		is_target;		/* UPDATE or DELETE changes the rows */
	bool		yields;			/* where it would wait, it returns no row: see
								 * scan_awaited() */
	int			npasses;		/* how often it has asked from the start */
	bool		found;			/* there was a row, in any pass */
	bool		noticed;		/* tell_of_denial() has said its notice */
	struct DirectModify *direct;	/* what changes the rows; NULL: nothing,
									 * or another node */
	MemoryContext row_context;	/* holds the values of the current row */

	/* containers in which nothing could be read, each once */
	SeenObjects *skipped;
	int			nskipped;
	StringInfo	skipped_names;

	KeptLists  *kept;			/* for rescans; NULL: there is no need */
	Directory  *directory;		/* likewise, of users; or NULL */

	/* from the first row, or a rescan, on */
	bool		begun;
	bool		ended;			/* a count was returned, or a user */
	MemoryContext pass_context; /* holds what follows */
	Condition  *conditions;
	int			nconditions;
	TransactionView *view;		/* what the transaction makes of records */
	const FilterRequest *request;
	const FilterRequest *elsewhere; /* if the instance's time zone is not UTC;
									 * NULL: that does not matter */
	Stream	  **streams;		/* to be read one after the other; NULL before
								 * and after that */
	int			nstreams;
	int			current;
	int64		nrecords;		/* that they have brought */
	bool		turned;			/* kept is about the current one */
	bool		is_kept;		/* and has it */
	bool		yielded;		/* at the end of a stream: there are more */
} GitLabScan;

/* for explain.c and direct.c */
extern Oid	scan_table(ForeignScanState *node);
extern JsonRecord *scan_next_record(ForeignScanState *node, GitLabScan *scan,
									bool *revoked);
extern void scan_show_record(ForeignScanState *node, GitLabScan *scan,
							 JsonRecord *record, bool revoked);
extern void scan_repeat(GitLabScan *scan);
extern int	scan_named_ids(ForeignScanState *node, int64 **ids);
extern ApiCall *scan_awaited(ForeignScanState *node);
extern void scan_read_columns(GitLabScan *scan, ForeignScan *fsplan,
							  Relation relation);
extern void scan_read_conditions(GitLabScan *scan, ForeignScan *fsplan);
extern StreamListing scan_listing(const GitLabScan *scan,
								  const FilterRequest *request,
								  const FilterRequest *elsewhere);

extern void gitlab_BeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *gitlab_IterateForeignScan(ForeignScanState *node);
extern void gitlab_ReScanForeignScan(ForeignScanState *node);
extern void gitlab_EndForeignScan(ForeignScanState *node);
extern bool gitlab_RecheckForeignScan(ForeignScanState *node,
									  TupleTableSlot *slot);
extern void gitlab_ExplainForeignScan(ForeignScanState *node,
									  ExplainState *es);
extern bool gitlab_AnalyzeForeignTable(Relation rel,
									   AcquireSampleRowsFunc *func,
									   BlockNumber *totalpages);

#endif							/* GITLAB_PAT_SCAN_H */
