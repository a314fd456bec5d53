/*-------------------------------------------------------------------------
 *
 * resources.h
 *	  What GitLab has, as data: a descriptor for each resource.
 *
 * A descriptor names the endpoints of a resource and its fields with their
 * types.  All that is specific to a resource stands in it; the planner, the
 * scan and the API client work from descriptors only.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_RESOURCES_H
#define GITLAB_PAT_RESOURCES_H

#include "access/attnum.h"
#include "access/tupdesc.h"

typedef enum FieldType
{
	FIELD_BIGINT,
	FIELD_TEXT,
	FIELD_BOOLEAN,
	FIELD_TIMESTAMPTZ,
	FIELD_DATE,
	FIELD_TEXT_ARRAY,
	FIELD_INET_ARRAY
} FieldType;

/* What may be done with a field. */
#define FIELD_INSERT		0x01	/* INSERT may give it a value */
#define FIELD_REQUIRED		0x02	/* INSERT must give it a value */
#define FIELD_UPDATE		0x04	/* UPDATE may change it */
#define FIELD_SECRET		0x08	/* only in RETURNING */
#define FIELD_NULLABLE		0x10	/* UPDATE may set it to null */
/* How the field reads once the object is revoked. */
#define FIELD_TRUE_WHEN_REVOKED		0x20
#define FIELD_FALSE_WHEN_REVOKED	0x40
/* How it is sent and read. */
#define FIELD_IN_PATH		0x80	/* part of the URL, not of the body */
#define FIELD_NULL_IS_FALSE	0x100	/* old rows hold null and mean false */
#define FIELD_SENSITIVE		0x200	/* holds a secret */

typedef struct ResourceField
{
	const char *name;			/* in JSON, and by default of the column */
	FieldType	type;
	int			flags;
	const char *initial;		/* what GitLab gives a new object without a
								 * value for it, as JSON; NULL: not known */
	const char *create_as;		/* what it is called in a creation, where it
								 * is sent only if true; or NULL */
} ResourceField;

/* What a condition has to say of a field for a parameter to be sent. */
typedef enum FilterTest
{
	FILTER_CONTAINER,			/* equal: part of the collection's path */
	FILTER_LOOKUP,				/* equal: path/<value> instead of the list */
	FILTER_VARIANT,				/* equal: parameter=<value>, in a lookup only */
	FILTER_EQUAL,				/* parameter=<value> */
	FILTER_TRUE,				/* it is true: parameter=constant */
	FILTER_FALSE,				/* it is false: parameter=constant */
	FILTER_IS,					/* it is `operand`: parameter=constant */
	FILTER_AFTER,				/* at or above: parameter=<value> */
	FILTER_BEFORE,				/* at or below: parameter=<value> */
	FILTER_SEARCH				/* contains: parameter=<fragment> */
} FilterTest;

/*
 * What happens to rows that a parameter selects while a scan goes on.  Sending
 * only parameters of one direction together lets a scan notice any change.
 */
typedef enum FilterChurn
{
	CHURN_NONE,					/* the field never changes */
	CHURN_LEAVE,				/* rows can only leave the selection */
	CHURN_ENTER					/* rows can only enter it */
} FilterChurn;

/* Exact always, never, or from this declared version on (18.4 as 1804). */
#define EXACT_ALWAYS	0
#define EXACT_NEVER		1000000

/* A query parameter that selects objects by a field. */
typedef struct ResourceFilter
{
	const char *field;
	FilterTest	test;
	const char *parameter;
	const char *constant;		/* its value, where that is not the operand */
	const char *operand;		/* of FILTER_IS */
	FilterChurn churn;
	int			exact_from;		/* the selection is just the condition's */
	int			known_from;		/* declared version that it needs at least */
	bool		joinable;		/* worth a request for each row of a join */
	bool		hides_pending;	/* would hide what this transaction is to
								 * revoke, which GitLab doesn't know yet */
} ResourceFilter;

/* A constant query parameter. */
typedef struct ResourceParameter
{
	const char *name;
	const char *value;
} ResourceParameter;

typedef struct Resource
{
	const char *name;			/* value of the option "resource" */
	const char *table_name;		/* what IMPORT FOREIGN SCHEMA calls it */
	const char *singular;		/* for messages: "personal access token" */
	const char *plural;
	const char *path;			/* collection below /api/v4; one object is at
								 * path/<key> */
	const char *container;		/* field that names what the objects are in,
								 * which GitLab's answers leave out; NULL:
								 * they are in one collection */
	const char *container_path; /* put before path, as
								 * container_path/<container> */
	const char *key;			/* field whose value names one object */
	const char *variant;		/* field that tells objects with the same key
								 * in a container apart, or NULL */
	const char *variant_parameter;	/* query parameter that selects by it */
	const char *variant_hint;	/* why GitLab may give an object another one */
	const ResourceParameter *list_parameters;	/* ends with a NULL name */
	bool		keyset;			/* paged by keyset, not by offset */
	const char *owner_parameter;	/* a listing for an unknown owner is not
									 * empty but refused: 404, or 401 */
	bool		writable;
	bool		written_at_commit;	/* not at once */
	const char *update_rule;	/* what UPDATE can do: detail and hint */
	const char *update_hint;
	const char *role_hint;		/* who may do it: a hint; or NULL */
	const ResourceField *fields;
	int			nfields;
	const ResourceFilter *filters;
	int			nfilters;
	const char *created_before; /* parameters that hold a listing still while */
	const char *created_after;	/* objects are created; NULL: there are none */
} Resource;

extern const Resource *const resource_tokens;
extern const Resource *const resource_users;

extern const Resource *resource_find(const char *name);
extern const char *resource_names(void);
extern const Resource *resource_next(const Resource *resource);
extern const ResourceField *resource_field(const Resource *resource,
										   const char *name);

extern bool resource_is_key(const Resource *resource,
							const ResourceField *field);
extern AttrNumber resource_column(const ResourceField **fields, TupleDesc desc,
								  const char *name);
extern char *resource_path(const Resource *resource, const char *container,
						   const char *key);

extern Oid	field_type_oid(FieldType type);
extern const char *field_type_name(FieldType type);

#endif							/* GITLAB_PAT_RESOURCES_H */
