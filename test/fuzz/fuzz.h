/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  Fuzzing inside a backend: what the targets have in common.
 *
 * The targets run in a real, single-user backend: memory contexts, errors,
 * parsers of dates and addresses are PostgreSQL's own, and nothing is a stub.
 * Only our code is instrumented.  A target includes the .c file that it is
 * about, so as to get at its static functions.
 *
 * AddressSanitizer knows nothing of chunks within PostgreSQL's memory blocks.
 * So the memory that our own code gets from palloc() has a poisoned zone put
 * behind it here.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_FUZZ_H
#define GITLAB_PAT_FUZZ_H

#include "postgres.h"

#include "gitlab/client.h"
#include "http/engine.h"
#include "compat.h"
#include "utils/memutils.h"

/* The credential of all requests: it must never stand in a message. */
#define FUZZ_CREDENTIAL "glpat-canary-0123456789"

typedef void (*FuzzTarget) (const uint8 *data, size_t size);

/* The targets */
extern void fuzz_json(const uint8 *data, size_t size);
extern void fuzz_answer(const uint8 *data, size_t size);
extern void fuzz_header_value(const uint8 *data, size_t size);
extern void fuzz_url(const uint8 *data, size_t size);
extern void fuzz_option(const uint8 *data, size_t size);
extern void fuzz_filter(const uint8 *data, size_t size);

/* in fuzz.c */
extern bool fuzz_credential_used;
pg_noreturn extern void fuzz_fail(const char *what, const char *detail);
extern char *fuzz_string(const uint8 *data, size_t size);
extern void fuzz_check_text(const char *text);
extern void fuzz_caught(const int *allowed, int nallowed);
extern void *fuzz_palloc(Size size);
extern void *fuzz_palloc0(Size size);
extern void fuzz_pfree(void *pointer);
extern void fuzz_forget_zones(void);

/* in fuzz_body.c */
extern void fuzz_check_list(const char *text, size_t length);

/* in fuzz_http.c */
extern HttpExchange *fuzz_headerless;
extern const char *fuzz_header(HttpExchange *exchange, const char *name);
extern void fuzz_exchange(HttpExchange *exchange, const uint8 *data,
						  size_t size);

/* in fuzz_pages.c */
extern void fuzz_take_page(ApiClient *client, ApiCall *call,
						   const Resource *resource, const char *order_by,
						   bool descending);

/*
 * Ends a PG_TRY() block; an error in it is fine if its SQLSTATE is one of the
 * arguments and its message may be shown to anybody.
 */
#define FUZZ_EXPECT(...) \
	PG_CATCH(); \
	{ \
		const int	allowed[] = {__VA_ARGS__}; \
		fuzz_caught(allowed, lengthof(allowed)); \
	} \
	PG_END_TRY()

#define palloc(size) fuzz_palloc(size)
#define palloc0(size) fuzz_palloc0(size)
#define pfree(pointer) fuzz_pfree(pointer)
#define MemoryContextReset(context) \
	(fuzz_forget_zones(), MemoryContextReset(context))
#define MemoryContextDelete(context) \
	(fuzz_forget_zones(), MemoryContextDelete(context))

#endif							/* GITLAB_PAT_FUZZ_H */
