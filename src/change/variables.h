/*-------------------------------------------------------------------------
 *
 * variables.h
 *	  What is written to GitLab at commit: CI/CD variables.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_VARIABLES_H
#define GITLAB_PAT_VARIABLES_H

#include "change/queue.h"
#include "gitlab/record.h"
#include "gitlab/resources.h"
#include "nodes/bitmapset.h"

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

extern const char *final_variant(QueuedObject *object);

#endif							/* GITLAB_PAT_VARIABLES_H */
