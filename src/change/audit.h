/*-------------------------------------------------------------------------
 *
 * audit.h
 *	  Who changes what: the words of the audit trail.
 *
 * The lines of gitlab_pat_fdw.log_changes are also written where nothing may be
 * allocated.  The parts of a line are therefore made when a change is entered,
 * in the current memory context.  Names are GitLab's, and may be cut; no secret
 * is among them.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_AUDIT_H
#define GITLAB_PAT_AUDIT_H

#include "gitlab/record.h"

extern char *audit_who(Oid userid);
extern char *audit_token(JsonRecord *record);

#endif							/* GITLAB_PAT_AUDIT_H */
