/*-------------------------------------------------------------------------
 *
 * resource.c
 *	  What follows from a descriptor of a resource: its fields, names and paths.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "gitlab/resource.h"
#include "http/url.h"
#include "lib/stringinfo.h"

/* GitLab's web server refuses paths above 8 kB. */
#define MAX_PATH_SIZE 6000


/* The field of that name, or NULL. */
const ResourceField *
resource_field(const Resource *resource, const char *name)
{
	for (int i = 0; i < resource->nfields; i++)
		if (strcmp(resource->fields[i].name, name) == 0)
			return &resource->fields[i];
	return NULL;
}

/* The article before the word for one of its objects: an "impersonation token". */
const char *
resource_article(const Resource *resource)
{
	/* what begins with a u is a user, and pronounced with a consonant */
	return strchr("aeio", resource->singular[0]) ? "an" : "a";
}

/* Whether an object can be looked up by its key. */
bool
resource_has_lookup(const Resource *resource)
{
	for (int i = 0; i < resource->nfilters; i++)
		if (resource->filters[i].test == FILTER_LOOKUP)
			return true;
	return false;
}

/* Whether an object can be created: then it has fields that may be given. */
bool
resource_has_insert(const Resource *resource)
{
	for (int i = 0; i < resource->nfields; i++)
		if (resource->fields[i].flags & FIELD_INSERT)
			return true;
	return false;
}

/* Whether a resource's objects are known by numbers. */
bool
resource_has_ids(const Resource *resource)
{
	return resource_field(resource, resource->key)->type == FIELD_BIGINT;
}

/* Whether this field names one object, in its container. */
bool
resource_is_key(const Resource *resource, const ResourceField *field)
{
	return strcmp(field->name, resource->key) == 0;
}

/*
 * Whether a text names an object by the resource's alias.  A number is always
 * taken for an id.
 */
bool
resource_is_alias(const Resource *resource, const char *name)
{
	return resource->alias && strspn(name, "0123456789") < strlen(name);
}

/* How long a text is once it is percent-encoded, at most. */
static size_t
encoded_length(const char *text)
{
	size_t		length = 0;

	for (const char *p = text; *p; p++)
		length += isalnum((unsigned char) *p) && !IS_HIGHBIT_SET(*p) ? 1 : 3;
	return length;
}

/*
 * Whether a name, or a path of names, can be that of anything in GitLab.  Its
 * answer to one with the steps "." or ".." in it, or to a very long one, is an
 * error.
 */
bool
resource_is_name(const char *name)
{
	const char *step = name;

	if (name[0] == '\0' || encoded_length(name) > MAX_PATH_SIZE)
		return false;
	for (;;)
	{
		size_t		length = strcspn(step, "/\\");

		if ((length == 1 && step[0] == '.') ||
			(length == 2 && step[0] == '.' && step[1] == '.'))
			return false;
		if (step[length] == '\0')
			return true;
		step += length + 1;
	}
}

/* Raises an error if a path can't have this value of a field for a step. */
void
resource_check_name(const Resource *resource, const char *field,
					const char *name)
{
	if (!resource_is_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for the field \"%s\" of %s %s",
						field, resource_article(resource), resource->singular),
				 errdetail("It is empty, too long, or has \".\" or \"..\" as a component of a path.")));
}

/* The number of the container that a field names, or -1 if it names none. */
int
resource_container(const Resource *resource, const ResourceField *field)
{
	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
		if (strcmp(resource->containers[i], field->name) == 0)
			return i;
	return -1;
}

/* A text in UTF-8 as one step of a path, percent-encoded and palloc'ed. */
char *
resource_escape(const char *text)
{
	return http_escape_segment(text);
}

/* Each container of a path has a text.  NOLINTBEGIN */

/*
 * The path of a collection, palloc'ed, with a text in place of each container,
 * as it stands.
 */
char *
resource_fill_path(const Resource *resource, const char *const *texts)
{
	StringInfoData buf;
	const char *p = resource->path;

	initStringInfo(&buf);
	while (*p)
	{
		const char *end = *p == '{' ? strchr(p, '}') : NULL;
		char	   *name;

		if (end == NULL)
		{
			appendStringInfoChar(&buf, *p++);
			continue;
		}
		name = pnstrdup(p + 1, end - p - 1);
		/* all containers of a path have a text */
		appendStringInfoString(&buf, texts[resource_container(resource,
															  resource_field(resource, name))]);
		p = end + 1;
	}
	return buf.data;
}

/*
 * The path of the project or group that a resource is in first, percent-encoded and
 * palloc'ed.  Its name is taken as it is, in UTF-8.
 */
char *
resource_container_path(const Resource *resource, const char *name)
{
	return psprintf("%.*s%s", (int) strcspn(resource->path, "{"),
					resource->path, resource_escape(name));
}

/*
 * The path of a collection or, with a key, of an object in it, percent-encoded
 * and palloc'ed.  The containers, as many as the resource has, and the key are
 * taken as they are, in UTF-8.
 */
char *
resource_path(const Resource *resource, const char *const *containers,
			  const char *key)
{
	const char *escaped[MAX_CONTAINERS];
	char	   *path;

	for (int i = 0; i < MAX_CONTAINERS && resource->containers[i]; i++)
	{
		resource_check_name(resource, resource->containers[i], containers[i]);
		escaped[i] = resource_escape(containers[i]);
	}
	if (key)
		resource_check_name(resource, resource->key, key);
	path = resource_fill_path(resource, escaped);
	return key ? psprintf("%s/%s", path, resource_escape(key)) : path;
}

/* NOLINTEND */

/* The SQL type of a field. */
Oid
resource_type_oid(FieldType type)
{
	switch (type)
	{
		case FIELD_BIGINT:
			return INT8OID;
		case FIELD_INTEGER:
			return INT4OID;
		case FIELD_TEXT:
			return TEXTOID;
		case FIELD_BOOLEAN:
			return BOOLOID;
		case FIELD_TIMESTAMPTZ:
			return TIMESTAMPTZOID;
		case FIELD_DATE:
			return DATEOID;
		case FIELD_TEXT_ARRAY:
			return TEXTARRAYOID;
		case FIELD_INET_ARRAY:
			return INETARRAYOID;
	}
	return InvalidOid;
}

/* The SQL type of a field, as it is written in CREATE FOREIGN TABLE. */
const char *
resource_type_name(FieldType type)
{
	switch (type)
	{
		case FIELD_BIGINT:
			return "bigint";
		case FIELD_INTEGER:
			return "integer";
		case FIELD_TEXT:
			return "text";
		case FIELD_BOOLEAN:
			return "boolean";
		case FIELD_TIMESTAMPTZ:
			return "timestamp with time zone";
		case FIELD_DATE:
			return "date";
		case FIELD_TEXT_ARRAY:
			return "text[]";
		case FIELD_INET_ARRAY:
			return "inet[]";
	}
	return "unknown";
}
