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
#include "gitlab/record.h"

/* The token that a request is authorized by. */
#define SELF_PATH "/personal_access_tokens/self"

extern bool function_is_our_server(const ForeignServer *server);
extern ForeignServer *function_server(const char *name);
extern void function_check_nonatomic(FunctionCallInfo fcinfo,
									 const char *procedure, const char *why);
extern void function_token_row(JsonRecord *record, Datum *values, bool *nulls);
extern void function_check_call(FunctionCallInfo fcinfo, const char *procedure,
								const char *why);

#endif							/* GITLAB_PAT_FUNCTIONS_H */
