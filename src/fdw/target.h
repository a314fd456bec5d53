/*-------------------------------------------------------------------------
 *
 * target.h
 *	  The table that a statement changes, and its rows.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TARGET_H
#define GITLAB_PAT_TARGET_H

#include "change/participant.h"
#include "nodes/execnodes.h"

/*
 * The junk column that brings the row to be changed.  It has the name that the
 * executor uses, too, so that the row is fetched only once.
 */
#define TARGET_ROW_COLUMN "wholerow"

/* A statement that changes a table. */
typedef struct GitLabModify
{
	Relation	rel;
	const TableSettings *settings;
	const Participant *participant;
	const ResourceField **fields;	/* by attribute number minus one */
	AttrNumber	row_attno;		/* of the junk column in the plan's rows */
	RemoteChange change;
	MemoryContext row_context;	/* holds the values of the current row */
	struct ReadAhead *ahead;	/* NULL: rows are updated one by one */
	bool		discards;		/* nobody takes the secrets of new tokens */
	bool		warned;			/* that was said */
} GitLabModify;

extern GitLabModify *target_begin(EState *estate, ResultRelInfo *rinfo,
								  ApiClient *client);
pg_noreturn extern void target_refuse_column(const Resource *resource,
											 Relation rel, AttrNumber attno);
extern ResourceValue target_value(const GitLabModify *modify, AttrNumber attno,
								  Datum value, bool isnull);
extern void target_fetch_row(const GitLabModify *modify,
							 TupleTableSlot *plan_slot, TupleTableSlot *slot);
extern JsonRecord *target_record_of(const GitLabModify *modify,
									TupleTableSlot *row);
extern JsonRecord *target_record(const GitLabModify *modify,
								 TupleTableSlot *plan_slot);

#endif							/* GITLAB_PAT_TARGET_H */
