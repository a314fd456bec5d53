/*-------------------------------------------------------------------------
 *
 * resource.h
 *	  What a descriptor of a resource says, and what follows from it.
 *
 * A descriptor names the endpoints of a resource and its fields with their
 * types.  All that is specific to a resource stands in it; the planner, the
 * scan and the API client work from descriptors only.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_RESOURCE_H
#define GITLAB_PAT_RESOURCE_H

typedef enum FieldType
{
	FIELD_BIGINT,
	FIELD_INTEGER,
	FIELD_TEXT,
	FIELD_BOOLEAN,
	FIELD_TIMESTAMPTZ,
	FIELD_DATE,
	FIELD_TEXT_ARRAY,
	FIELD_INET_ARRAY
} FieldType;

/* The statements that may set a field, and how. */
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
#define FIELD_DETAIL		0x400	/* brief answers leave it out */
#define FIELD_SENT_AS_NULL	0x800	/* a creation without a value says so */
#define FIELD_OF_BOT		0x1000	/* of a token's user, who may get another */

typedef struct ResourceField
{
	const char *name;			/* in JSON, and by default of the column */
	FieldType	type;
	int			flags;
	const char *initial;		/* what GitLab gives a new object without a
								 * value for it, as JSON; NULL: not known */
	const char *create_as;		/* what it is called in a creation, where it
								 * is sent only if true; or NULL */
	const char *description;	/* for a comment on the column */
	const char *pointer;		/* JSON Pointer to it in GitLab's objects;
								 * NULL: it is the member of its name */
	const char *if_pointer;		/* it is null unless this one points to ... */
	const char *if_value;		/* ... this string; NULL: it never is */
	const char *const *choices; /* the only texts that it holds, NULL after
								 * the last; or NULL */
} ResourceField;

/* The kinds of conditions on a field that become parameters. */
typedef enum FilterTest
{
	FILTER_CONTAINER,			/* equal: part of the collection's path */
	FILTER_LOOKUP,				/* equal: path/<value> instead of the list */
	FILTER_ALIAS,				/* equal: likewise, by the resource's alias */
	FILTER_VARIANT,				/* equal: parameter=<value>, in a lookup only */
	FILTER_EQUAL,				/* parameter=<value>; of a text, GitLab
								 * ignores the case */
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

/* How the objects of a resource are changed: a participant for each. */
typedef enum ResourceKind
{
	RESOURCE_READ_ONLY,
	RESOURCE_TOKENS,			/* created at once, destroyed at commit */
	RESOURCE_VARIABLES			/* written at commit */
} ResourceKind;

/* Exact always, never, or from this declared version on (18.4 as 1804). */
#define EXACT_ALWAYS	0
#define EXACT_NEVER		1000000

/*
 * Where a parameter selects at least what the condition says: GitLab takes "today"
 * from the instance's time zone, tokens expire by UTC's.
 */
typedef enum FilterPlace
{
	FILTER_EVERYWHERE,
	FILTER_IN_UTC,				/* only if the instance's time zone is UTC */
	FILTER_ELSEWHERE			/* instead of one for UTC only */
} FilterPlace;

/* A query parameter that selects objects by a field. */
typedef struct ResourceFilter
{
	const char *field;
	FilterTest	test;
	const char *parameter;
	const char *constant;		/* its value, where that is not the operand */
	const char *operand;		/* of FILTER_IS */
	FilterChurn churn;
	FilterPlace place;
	const char *alphabet;		/* of FILTER_EQUAL for a text: the characters
								 * of all values there are, or NULL */
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

/* The most fields that it takes to name what an object is in. */
#define MAX_CONTAINERS 3

typedef struct Resource
{
	const char *name;			/* value of the option "resource" */
	const char *table_name;		/* what IMPORT FOREIGN SCHEMA calls it */
	const char *description;	/* for a comment on the table */
	const char *singular;		/* for messages: "personal access token" */
	const char *plural;
	const char *path;			/* of a collection below /api/v4, with {field}
								 * for each container; one object is at
								 * path/<key> */
	const char *containers[MAX_CONTAINERS]; /* fields that name what the
											 * objects are in; NULL after the
											 * last: none, and there is one
											 * collection */
	const char *key;			/* field whose value names one object */
	const char *alias;			/* field of a text that names one, too, in any
								 * case, unless it is a number; or NULL */
	const char *variant;		/* field that tells objects with the same key
								 * in a container apart, or NULL */
	const char *variant_parameter;	/* query parameter that selects by it */
	const char *variant_hint;	/* why GitLab may give an object another one */
	bool		update_strays;	/* an update of a variant that is gone changes
								 * another one with that key */
	const ResourceParameter *list_parameters;	/* ends with a NULL name */
	const ResourceParameter *lookup_parameters; /* or NULL */
	ResourceParameter brief;	/* for a list without details, or NULLs */
	ResourceParameter own;		/* for the list of a caller who is no
								 * administrator, or NULLs */
	bool		keyset;			/* paged by keyset, not by offset */
	const char *keyset_parameter;	/* in the link to the next page; NULL: the
									 * cursor */
	const char *administrator_field;	/* only shown to administrators; to
										 * others, GitLab limits lookups, and
										 * shows in them what its list leaves
										 * out; NULL: there is no difference */
	bool		unordered;		/* a list is not in the order of the key */
	int			sorts_from;		/* declared version from which a list can be
								 * sorted by expiry; 0: none */
	const char *owner_parameter;	/* a listing for an unknown owner is not
									 * empty but refused: 404, or 401 */
	ResourceKind kind;
	const char *rotate_path;	/* where tokens are rotated; NULL: where they
								 * are */
	bool		has_bots;		/* GitLab makes a user for each token, and
								 * only its own rotation keeps that */
	const char *update_rule;	/* what UPDATE can do: detail and hint */
	const char *update_hint;
	const char *container_name; /* what a container is called; or NULL */
	const char *role_hint;		/* who may do it: a hint; or NULL */
	const char *invalid_words;	/* what GitLab says of a value that it does
								 * not take, and what it takes: a hint; or
								 * NULL */
	const char *invalid_hint;
	const ResourceField *fields;
	int			nfields;
	const ResourceFilter *filters;
	int			nfilters;
	const char *created_before; /* parameters that hold a listing still while */
	const char *created_after;	/* objects are created; NULL: there are none */
} Resource;

extern const ResourceField *resource_field(const Resource *resource,
										   const char *name);

extern const char *resource_article(const Resource *resource);
extern bool resource_has_lookup(const Resource *resource);
extern bool resource_has_insert(const Resource *resource);
extern bool resource_has_ids(const Resource *resource);
extern bool resource_is_key(const Resource *resource,
							const ResourceField *field);
extern bool resource_is_alias(const Resource *resource, const char *name);
extern bool resource_is_name(const char *name);
extern void resource_check_name(const Resource *resource, const char *field,
								const char *name);
extern int	resource_container(const Resource *resource,
							   const ResourceField *field);
extern char *resource_escape(const char *text);
extern char *resource_fill_path(const Resource *resource,
								const char *const *texts);
extern char *resource_container_path(const Resource *resource,
									 const char *name);
extern char *resource_path(const Resource *resource,
						   const char *const *containers, const char *key);
extern Oid	resource_type_oid(FieldType type);
extern const char *resource_type_name(FieldType type);

#endif							/* GITLAB_PAT_RESOURCE_H */
