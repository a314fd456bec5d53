/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  Whether anybody takes the secrets of new tokens.
 *
 * GitLab shows the secret of a token once.  A statement that creates tokens can
 * take their secrets by RETURNING, or by an AFTER ROW trigger.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_SECRET_H
#define GITLAB_PAT_SECRET_H

#include "gitlab/resources.h"
#include "nodes/execnodes.h"

extern bool secret_discard;		/* gitlab_pat_fdw.discard_secrets */

extern bool secret_is_discarded(const Resource *resource,
								const ResourceField **fields,
								ModifyTableState *mtstate,
								ResultRelInfo *rinfo, CmdType operation);
extern bool secret_is_for_trigger(ResultRelInfo *rinfo, CmdType operation,
								  AttrNumber expiry);
extern bool secret_is_returned(const Resource *resource,
							   const ResourceField **fields, Relation rel,
							   List *returning, Index relid);
extern void secret_refuse_update(const Resource *resource,
								 const ResourceField **fields, Relation rel);
extern void secret_warn(const Resource *resource,
						const ResourceField **fields, Relation rel);

#endif							/* GITLAB_PAT_SECRET_H */
