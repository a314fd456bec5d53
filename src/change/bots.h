/*-------------------------------------------------------------------------
 *
 * bots.h
 *	  Bot users, which GitLab makes for the tokens of projects and groups.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_BOTS_H
#define GITLAB_PAT_BOTS_H

#include "change/place.h"

extern void bots_choose_route(const RemoteChange *change, TokenPlace *place);
extern bool bots_warn(const RemoteChange *change, const TokenPlace *place,
					  int64 id);

#endif							/* GITLAB_PAT_BOTS_H */
