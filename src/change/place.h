/*-------------------------------------------------------------------------
 *
 * place.h
 *	  Where a token is: in GitLab's URLs, in SQL, and in words.
 *
 * A token of a project is revoked through the project, and a statement that is to
 * find it names the project.  A place is computed from a row, and lives as long as
 * that.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PLACE_H
#define GITLAB_PAT_PLACE_H

#include "change/participant.h"

typedef struct TokenPlace
{
	const char *containers[MAX_CONTAINERS]; /* as the resource names them */
	const char *collection;		/* the path that lists its like, and makes
								 * some */
	const char *revoke_at;		/* the paths below which it is revoked, */
	const char *rotate_at;		/* and rotated */
	const char *condition;		/* on the table's columns, with an AND behind;
								 * empty if it is in nothing */
	const char *remark;			/* sentences about what the condition lacks,
								 * after a blank; or empty */
	const char *words;			/* " of ...", for messages; or empty */
} TokenPlace;

extern TokenPlace *place_of_token(const RemoteChange *change, JsonRecord *row);
extern void place_add_condition(const char *column, const char *utf8,
								StringInfo condition, StringInfo remark);

#endif							/* GITLAB_PAT_PLACE_H */
