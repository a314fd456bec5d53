/*-------------------------------------------------------------------------
 *
 * token_file.h
 *	  Replacing the API token in the file that "token_file" names.
 *
 * A token that GitLab has handed out must not be lost to a full disk.  A draft of
 * the file's size is therefore made and synced beside the file before GitLab is
 * asked.  Afterwards the token is written into the draft, and the draft takes the
 * file's place.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_TOKEN_FILE_H
#define GITLAB_PAT_TOKEN_FILE_H

/* The longest token that the file takes, in bytes. */
#define TOKEN_FILE_ROOM 8192

typedef struct TokenFile TokenFile;

/* Where a token is that was to be stored. */
typedef enum TokenFileResult
{
	TOKEN_FILE_STORED,			/* in the file */
	TOKEN_FILE_IN_DRAFT,		/* in the draft beside it, which stays */
	TOKEN_FILE_LOST				/* nowhere */
} TokenFileResult;

/* Raises 55000 if anything is in the way; palloc'ed. */
extern TokenFile *token_file_prepare(const char *path);

/* Never raise an error */
extern TokenFileResult token_file_store(TokenFile *file, const char *token);
extern void token_file_discard(TokenFile *file);

extern const char *token_file_path(const TokenFile *file);
extern const char *token_file_draft(const TokenFile *file);
extern const char *token_file_problem(const TokenFile *file);

#endif							/* GITLAB_PAT_TOKEN_FILE_H */
