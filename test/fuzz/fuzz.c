/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *	  Fuzzing inside a backend: libFuzzer as an SQL function.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sanitizer/asan_interface.h>
#include <signal.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "fuzz.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* The memory that is used in this file has no zones. */
#undef palloc
#undef palloc0
#undef pfree
#undef MemoryContextReset

/* Bytes behind each piece of memory that must not be touched. */
#define ZONE_SIZE 32

/* How many pieces of memory are watched at a time; further ones are not. */
#define MAX_ZONES 4096

static const struct
{
	const char *name;
	FuzzTarget	run;
}			targets[] = {
	{"json", fuzz_json},
	{"answer", fuzz_answer},
	{"header", fuzz_header_value},
	{"url", fuzz_url},
	{"option", fuzz_option},
	{"filter", fuzz_filter},
};

static struct
{
	char	   *start;
	size_t		size;
}			zones[MAX_ZONES];
static int	nzones = 0;

/* What a user gives us in the wrong place is another matter. */
bool		fuzz_credential_used = false;

static FuzzTarget current_target;
static MemoryContext run_context;

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8 *data, size_t size));

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(fuzz);


/* ----------
 * Memory
 * ----------
 */

void *
fuzz_palloc(Size size)
{
	char	   *memory = MemoryContextAlloc(CurrentMemoryContext,
											size + ZONE_SIZE);

	if (nzones < MAX_ZONES)
	{
		zones[nzones].start = memory + size;
		zones[nzones++].size = ZONE_SIZE;
		ASAN_POISON_MEMORY_REGION(memory + size, ZONE_SIZE);
	}
	return memory;
}

void *
fuzz_palloc0(Size size)
{
	return memset(fuzz_palloc(size), 0, size);
}

/* Lifts the zones: the blocks that they lie in may be used anew. */
void
fuzz_forget_zones(void)
{
	while (nzones > 0)
	{
		nzones--;
		ASAN_UNPOISON_MEMORY_REGION(zones[nzones].start, zones[nzones].size);
	}
}

void
fuzz_pfree(void *pointer)
{
	fuzz_forget_zones();
	pfree(pointer);
}

/* Input as a string, which ends at the first null character. */
char *
fuzz_string(const uint8 *data, size_t size)
{
	char	   *string = fuzz_palloc(strnlen((const char *) data, size) + 1);

	memcpy(string, data, strnlen((const char *) data, size));
	string[strnlen((const char *) data, size)] = '\0';
	return string;
}


/* ----------
 * Verdicts
 * ----------
 */

/* Ends the run; libFuzzer keeps the input that led here. */
void
fuzz_fail(const char *what, const char *detail)
{
	fprintf(stderr, "FUZZ: %s: %s\n", what, detail);
	fflush(stderr);
	abort();
}

/* May this text be shown?  It has to be valid and to hold no credential. */
void
fuzz_check_text(const char *text)
{
	int			length = text ? (int) strlen(text) : 0;

	if (length == 0)
		return;
	if (fuzz_credential_used && strstr(text, FUZZ_CREDENTIAL))
		fuzz_fail("a message shows the credential", text);
	if (pg_encoding_verifymbstr(GetDatabaseEncoding(), text, length) != length)
		fuzz_fail("a message is not valid in the database's encoding", text);
}

/* An error was caught: is it one that may come? */
void
fuzz_caught(const int *allowed, int nallowed)
{
	ErrorData  *error;
	bool		found = false;

	MemoryContextSwitchTo(run_context);
	error = CopyErrorData();
	FlushErrorState();
	for (int i = 0; i < nallowed; i++)
		found = found || error->sqlerrcode == allowed[i];
	if (!found)
		fuzz_fail(unpack_sql_state(error->sqlerrcode), error->message);
	fuzz_check_text(error->message);
	fuzz_check_text(error->detail);
	fuzz_check_text(error->hint);
	fuzz_check_text(error->context);
	FreeErrorData(error);
}

/* One input. */
static int
run_one(const uint8 *data, size_t size)
{
	MemoryContext saved = MemoryContextSwitchTo(run_context);

	PG_TRY();
	{
		current_target(data, size);
	}
	PG_CATCH();
	{
		fuzz_caught(NULL, 0);
	}
	PG_END_TRY();
	fuzz_forget_zones();
	MemoryContextSwitchTo(saved);
	MemoryContextReset(run_context);
	return 0;
}

/* fuzz(target text, arguments text[]): runs libFuzzer, and does not return. */
Datum
fuzz(PG_FUNCTION_ARGS)
{
	/* libFuzzer leaves signals alone that have a handler */
	static const int signals[] = {SIGALRM, SIGFPE, SIGSEGV, SIGBUS, SIGILL,
	SIGABRT, SIGINT, SIGTERM};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum	   *elems;
	int			nelems;
	char	  **argv;
	int			argc = 1;

	for (int i = 0; i < (int) lengthof(targets); i++)
		if (strcmp(targets[i].name, name) == 0)
			current_target = targets[i].run;
	if (current_target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown target \"%s\"", name)));

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, NULL, &nelems);
	argv = palloc0(sizeof(char *) * (nelems + 2));
	argv[0] = name;
	for (int i = 0; i < nelems; i++)
		argv[argc++] = TextDatumGetCString(elems[i]);

	for (int i = 0; i < (int) lengthof(signals); i++)
		signal(signals[i], SIG_DFL);
	run_context = AllocSetContextCreate(TopMemoryContext, "fuzz",
										ALLOCSET_DEFAULT_SIZES);
	(void) LLVMFuzzerRunDriver(&argc, &argv, run_one);
	PG_RETURN_VOID();
}
