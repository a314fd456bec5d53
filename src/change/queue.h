/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  What is written to GitLab at commit: CI/CD variables.
 *
 * INSERT, UPDATE and DELETE enter writes into a queue, which the commit carries
 * out in their order; a later failure puts back what was changed.  Until then
 * the transaction's own scans see the objects as if that had been done.
 *
 * Which objects these are is the resource's business: here they have a
 * container, a key in it and a variant, as their descriptor says.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_QUEUE_H
#define GITLAB_PAT_QUEUE_H

#include "gitlab/client.h"
#include "gitlab/record.h"
#include "nodes/bitmapset.h"
#include "change/quiet.h"

/* Who changes something, through which table: for the books and messages. */
typedef struct RemoteChange
{
	ApiClient  *client;
	Oid			userid;
	CommandId	cid;			/* the changing command's */
	const char *table;			/* qualified and quoted */
	const char *id_column;		/* quoted */
} RemoteChange;

/* How far a scan has come with what the queue makes of its records. */
typedef struct QueueView
{
	Oid			serverid;
	const Resource *resource;
	CommandId	curcid;
	MemoryContext context;		/* lives as long as the scan's pass: holds */
	Bitmapset  *met;			/* numbers of the objects that it has met */
	int			rest;			/* number of the last one of the rest */
} QueueView;

/* Entering what statements do; these raise errors */
extern JsonRecord *queue_insert(const RemoteChange *change,
								const Resource *resource,
								const ResourceValue *values, int nvalues);
extern bool queue_update(const RemoteChange *change, const Resource *resource,
						 JsonRecord *row, const ResourceValue *values,
						 int nvalues);
extern bool queue_delete(const RemoteChange *change, const Resource *resource,
						 JsonRecord *row);

/* What scans see */
extern bool queue_differs(const QueueView *view);
extern JsonRecord *queue_view_record(QueueView *view, JsonRecord *record);
extern JsonRecord *queue_view_rest(QueueView *view);
extern void queue_view_rewind(QueueView *view);

/* Before the commit; raises errors */
extern const char *queue_find_value(uint64 hash);
extern void queue_write(void);

/* At the end; nothing above WARNING */
extern bool queue_is_empty(void);
extern bool queue_was_written(void);
extern bool queue_put_back(Patience *patience);
extern void queue_leave(Patience *patience);
extern void queue_end_subtransaction(int level, bool aborted);
extern void queue_close(void);

#endif							/* GITLAB_PAT_QUEUE_H */
