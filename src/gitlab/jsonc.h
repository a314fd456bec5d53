/*-------------------------------------------------------------------------
 *
 * jsonc.h
 *	  json-c, beside PostgreSQL.
 *
 * PostgreSQL has a function json_object(), which clashes with json-c's type of
 * that name; so the type is renamed while its headers are read.  Planning,
 * scanning and modifying pass JsonRecord pointers on and do not look into them.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_JSONC_H
#define GITLAB_PAT_JSONC_H

#define json_object jsonc_object
#include <json-c/json.h>
#include <json-c/json_pointer.h>
#undef json_object

#endif							/* GITLAB_PAT_JSONC_H */
