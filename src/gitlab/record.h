/*-------------------------------------------------------------------------
 *
 * record.h
 *	  GitLab's objects: JSON to Datum, and back.
 *
 * A record is one object of GitLab's as json-c holds it.  The resource's descriptor
 * knows the fields and their types.  This module turns a field's value into a
 * Datum, a Datum into JSON, and overwrites secrets before it frees a record.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_RECORD_H
#define GITLAB_PAT_RECORD_H

#include "gitlab/resources.h"
#include "nodes/bitmapset.h"

struct TupleTableSlot;

/* An object of GitLab's, as json-c parsed it. */
typedef struct jsonc_object JsonRecord;

/* A value for a field of a request's body. */
typedef struct ResourceValue
{
	const ResourceField *field;
	Datum		value;
	bool		isnull;
} ResourceValue;

extern Datum resource_datum(const Resource *resource,
							const ResourceField *field,
							JsonRecord *record, bool *isnull);
extern bool resource_integer(JsonRecord *record, const char *name,
							 int64 *number);
extern bool resource_id(JsonRecord *record, int64 *id);
extern void resource_fill_slot(const Resource *resource,
							   const ResourceField **fields,
							   Bitmapset *wanted, JsonRecord *record,
							   bool revoked, bool secrets,
							   struct TupleTableSlot *slot);
extern const char *resource_text(JsonRecord *record, const char *name);
extern uint64 resource_text_hash(JsonRecord *record, const char *name);
extern JsonRecord *resource_new_record(void);
extern void resource_free_record(void *record);
extern void resource_set(JsonRecord *record, const ResourceValue *value);
extern char *resource_json(JsonRecord *record);
extern JsonRecord *resource_draft(const Resource *resource,
								  const ResourceValue *values, int nvalues);
extern char *resource_body(const Resource *resource,
						   JsonRecord *like,
						   const ResourceValue *values, int nvalues);

#endif							/* GITLAB_PAT_RECORD_H */
