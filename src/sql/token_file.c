/*-------------------------------------------------------------------------
 *
 * token_file.c
 *	  Replacing the API token in the file that "token_file" names.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "sql/token_file.h"
#include "storage/fd.h"

/*
 * Until it gets its token, a draft holds newlines, which a reader of the file
 * ignores.  The worst that a crash can do to it is to leave no token.
 */
#define FILLER '\n'

struct TokenFile
{
	char	   *path;			/* of the file, symbolic links resolved */
	char	   *draft;			/* beside it */
	char	   *directory;		/* of both */
	int			fd;				/* of the draft; -1 once it is closed */
	bool		has_draft;		/* there is a draft that is ours to remove */
	char		problem[256];	/* why storing has failed */
};


/* ----------
 * Before GitLab is asked
 * ----------
 */

pg_noreturn static void
refuse(TokenFile *file, const char *path, const char *detail, const char *hint)
{
	token_file_discard(file);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot replace the API token in file \"%s\"", path),
			 errdetail("%s Nothing was rotated.", detail),
			 errhint("%s", hint)));
}

/* The file must be the server's own, for the draft will take its place. */
static void
check_file(TokenFile *file, const char *path, struct stat *st)
{
	char	   *resolved = realpath(path, NULL);

	if (resolved == NULL)
		refuse(file, path, psprintf("Could not find the file: %s.",
									strerror(errno)),
			   "Check the option \"token_file\" of the user mapping.");
	file->path = pstrdup(resolved);
	free(resolved);
	file->draft = psprintf("%s.new", file->path);
	file->directory = pstrdup(file->path);
	get_parent_directory(file->directory);
	if (stat(file->path, st) != 0)
		refuse(file, path, psprintf("Could not examine the file: %s.",
									strerror(errno)),
			   "Check the option \"token_file\" of the user mapping.");
	if (!S_ISREG(st->st_mode))
		refuse(file, path, "It is not a regular file.",
			   "Let whoever writes it rotate the token.");
	if (st->st_uid != geteuid())
		refuse(file, path, "It does not belong to the operating-system user of the server.",
			   "Change its owner, or let whoever writes it rotate the token.");
}

/* Fills the draft to its length, so that there is room for the token. */
static bool
fill_draft(int fd)
{
	char		filler[TOKEN_FILE_ROOM + 1];

	memset(filler, FILLER, sizeof(filler));
	errno = 0;
	if (pg_pwrite(fd, filler, sizeof(filler), 0) != (ssize_t) sizeof(filler))
	{
		if (errno == 0)
			errno = ENOSPC;
		return false;
	}
	return pg_fsync(fd) == 0;
}

static void
make_draft(TokenFile *file, const char *path, const struct stat *st)
{
	file->fd = OpenTransientFilePerm(file->draft,
									 O_RDWR | O_CREAT | O_EXCL | PG_BINARY,
									 S_IRUSR | S_IWUSR);
	if (file->fd < 0 && errno == EEXIST)
		refuse(file, path,
			   psprintf("There is a file \"%s\" already.", file->draft),
			   "It may hold the secret of a rotation that failed. Look into it, and remove it when no session is rotating the token.");
	if (file->fd < 0)
		refuse(file, path, psprintf("Could not create the file \"%s\": %s.",
									file->draft, strerror(errno)),
			   "The server must be able to create files in that directory.");
	file->has_draft = true;
	/* in this order, for a new group can take bits of the mode away */
	if ((st->st_gid != getegid() && fchown(file->fd, -1, st->st_gid) != 0) ||
		fchmod(file->fd, st->st_mode & 07777) != 0)
		refuse(file, path,
			   psprintf("Could not give file \"%s\" the group and mode of the other: %s.",
						file->draft, strerror(errno)),
			   "Change the group of the file to one that the server's operating-system user is in.");
	if (!fill_draft(file->fd))
		refuse(file, path, psprintf("Could not write the file \"%s\": %s.",
									file->draft, strerror(errno)),
			   "Make room on the file system.");
}

/*
 * Makes a draft beside the file of that path.  Raises an error if anything that
 * can be in the way of storing a token is.
 */
TokenFile *
token_file_prepare(const char *path)
{
	TokenFile  *file = palloc0(sizeof(TokenFile));
	struct stat st;

	file->fd = -1;
	check_file(file, path, &st);
	make_draft(file, path, &st);
	return file;
}


/* ----------
 * With the token in hand
 * ----------
 */

static void
close_draft(TokenFile *file)
{
	if (file->fd >= 0)
		CloseTransientFile(file->fd);
	file->fd = -1;
}

static void
note_problem(TokenFile *file, const char *what, const char *path)
{
	snprintf(file->problem, sizeof(file->problem), "could not %s file \"%s\": %s",
			 what, path, strerror(errno));
}

/*
 * Writes the token into the draft, and lets the draft take the file's place.  The
 * directory is synced, too; if that fails, a WARNING says so.  Allocates nothing.
 */
TokenFileResult
token_file_store(TokenFile *file, const char *token)
{
	size_t		length = strlen(token);

	Assert(file->has_draft && length <= TOKEN_FILE_ROOM);
	if (pg_pwrite(file->fd, token, length, 0) != (ssize_t) length)
	{
		note_problem(file, "write", file->draft);
		token_file_discard(file);
		return TOKEN_FILE_LOST;
	}
	/* from now on the draft is the only place where the token is */
	file->has_draft = false;
	/* a draft that keeps its newlines serves as well */
	if (ftruncate(file->fd, length + 1) != 0)
		note_problem(file, "truncate", file->draft);
	if (pg_fsync(file->fd) != 0)
	{
		note_problem(file, "fsync", file->draft);
		close_draft(file);
		return TOKEN_FILE_IN_DRAFT;
	}
	close_draft(file);
	if (rename(file->draft, file->path) != 0)
	{
		note_problem(file, "rename", file->draft);
		return TOKEN_FILE_IN_DRAFT;
	}
	fsync_fname_ext(file->directory, true, true, WARNING);
	return TOKEN_FILE_STORED;
}

/* Removes the draft, if there is one without a token. */
void
token_file_discard(TokenFile *file)
{
	close_draft(file);
	if (file->has_draft)
		unlink(file->draft);
	file->has_draft = false;
}

/* The file, symbolic links resolved. */
const char *
token_file_path(const TokenFile *file)
{
	return file->path;
}

/* The draft beside it. */
const char *
token_file_draft(const TokenFile *file)
{
	return file->draft;
}

/* Why storing has failed, as the end of a sentence. */
const char *
token_file_problem(const TokenFile *file)
{
	return file->problem;
}
