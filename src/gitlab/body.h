/*-------------------------------------------------------------------------
 *
 * body.h
 *	  The JSON in an answer's body, within bounds.
 *
 * json-c does the parsing.  This module adds bounds on depth, on the size of an
 * object, and on the memory that json-c would take.  json-c can take three hundred
 * times what the text takes.  A list is read element by element, so that the reader
 * can look at interrupts in between.
 *
 * Nothing in here raises an error; all memory is malloc'ed.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_BODY_H
#define GITLAB_PAT_BODY_H

#include "gitlab/record.h"

/* The value of *problem after json-c got no memory. */
extern const char body_out_of_memory[];

/* A list that is read some elements at a time. */
typedef struct BodyList
{
	char	   *text;			/* changed, but only while it is read */
	size_t		length;
	size_t		position;		/* how far body_read() has got; at first 0 */
	size_t		weight;			/* of what it has read; at first 0 */
} BodyList;

/*
 * Each of these sets *problem to NULL, or to a constant that says what is wrong.
 * The caller frees the records.
 */
extern JsonRecord *body_parse(const char *text, size_t length,
							  const char **problem);
extern JsonRecord *body_salvage(const char *text, size_t length);
extern bool body_is_list(const char *text, size_t length);
extern bool body_read(BodyList *list, JsonRecord *array, const char **problem);

#endif							/* GITLAB_PAT_BODY_H */
