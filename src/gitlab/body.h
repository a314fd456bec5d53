/*-------------------------------------------------------------------------
 *
 * body.h
 *	  The JSON in an answer's body, within bounds.
 *
 * json-c does the parsing.  Nothing in here raises an error; all memory is
 * malloc'ed.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_BODY_H
#define GITLAB_PAT_BODY_H

#include "gitlab/record.h"
#include "http/exchange.h"

extern JsonRecord *parse_json(HttpExchange *exchange, const char **problem);

#endif							/* GITLAB_PAT_BODY_H */
