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
#include "utils/date.h"

/* An object of GitLab's, as json-c parsed it. */
typedef struct jsonc_object JsonRecord;

/* One of its members. */
typedef struct lh_entry RecordMember;

/* A value for a field of a request's body. */
typedef struct ResourceValue
{
	const ResourceField *field;
	Datum		value;
	bool		isnull;
} ResourceValue;

extern Datum record_datum(const Resource *resource,
						  const ResourceField *field,
						  JsonRecord *record, bool *isnull);
extern Datum record_next_datum(const Resource *resource,
							   const ResourceField *field,
							   JsonRecord *record, RecordMember **next,
							   bool *isnull);
extern int	record_place(JsonRecord *record, const char *name);
extern char *record_date(DateADT date);
extern char *record_time(int64 ms);
extern bool record_integer(JsonRecord *record, const char *name,
						   int64 *number);
extern bool record_moment(JsonRecord *record, const char *name,
						  TimestampTz *moment);
extern bool record_is_since(JsonRecord *record, TimestampTz since);
extern bool record_id(JsonRecord *record, int64 *id);
extern const char *record_text(JsonRecord *record, const char *name);
extern JsonRecord *record_create(void);
extern JsonRecord *record_copy(JsonRecord *record);
extern void record_free(void *record);
extern JsonRecord *record_checked(JsonRecord *object);
extern void record_add(JsonRecord *object, const char *name, JsonRecord *value);
extern void record_set(JsonRecord *record, const ResourceValue *value);
extern void record_name_containers(JsonRecord *record, const Resource *resource,
								   const char *const *containers);
extern void record_complete(JsonRecord *record, const Resource *resource,
							JsonRecord *like);
extern char *record_json(JsonRecord *record);
extern JsonRecord *record_draft(const Resource *resource,
								const ResourceValue *values, int nvalues);
extern char *record_body(const Resource *resource,
						 JsonRecord *like,
						 const ResourceValue *values, int nvalues);

#endif							/* GITLAB_PAT_RECORD_H */
