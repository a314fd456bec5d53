/*-------------------------------------------------------------------------
 *
 * functions.h
 *	  What the SQL functions share.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_FUNCTIONS_H
#define GITLAB_PAT_FUNCTIONS_H

#include "fmgr.h"
#include "foreign/foreign.h"

extern ForeignServer *function_server(const char *name);
extern void function_check_call(FunctionCallInfo fcinfo, const char *procedure,
								const char *why);

#endif							/* GITLAB_PAT_FUNCTIONS_H */
