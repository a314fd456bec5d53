/*-------------------------------------------------------------------------
 *
 * participant.h
 *	  What takes part in a transaction: a routine table, as FdwRoutine is one.
 *
 * A participant changes GitLab's objects of some kind for a transaction.  Tokens
 * and variables are the two.  transaction.c calls their routines, and says which
 * one serves a resource.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_PARTICIPANT_H
#define GITLAB_PAT_PARTICIPANT_H

#include "change/quiet.h"
#include "compat.h"
#include "gitlab/client.h"
#include "gitlab/option.h"

/* A statement that changes a table: for what it does, and for messages. */
typedef struct RemoteChange
{
	ApiClient  *client;
	const TableSettings *settings;
	Oid			userid;
	CommandId	cid;			/* the changing command's */
	const char *name;			/* the table's */
	const char *table;			/* qualified and quoted */
	const char **columns;		/* quoted, by the field's number; NULL where
								 * the table has no column for the field */
	MemoryContext context;		/* the statement's */
	void	   *memory;			/* the participant's own, in context */
} RemoteChange;

/* A scan, for what it sees of the transaction's changes. */
typedef struct ChangeScan
{
	ApiClient  *client;
	const Resource *resource;
	CommandId	curcid;			/* of its snapshot */
	const char *const *containers;	/* that it looks into, in UTF-8 */
	int			ncontainers;	/* 0 if it is in none */
	void	   *memory;			/* the participant's own, for the pass */
	MemoryContext context;		/* lives as long as the pass */
} ChangeScan;

/* A row that a statement updates, for participants that take several at a time. */
typedef struct RowUpdate
{
	int64		id;
	JsonRecord *row;			/* as the statement has read it */
	JsonRecord *reread;			/* as GitLab has sent it after lock_named or
								 * prepare_updates; NULL: it did not */
	ResourceValue *values;
	int			nvalues;
	JsonRecord *shown;			/* the new row; update_rows sets it.  NULL:
								 * another part of the command was first */
} RowUpdate;

/* A row that a statement inserts, for participants that take several at a time. */
typedef struct RowInsert
{
	ResourceValue *values;
	int			nvalues;
	JsonRecord *shown;			/* the new row; insert_rows sets it */
} RowInsert;

/* The end of a transaction, while it lasts. */
typedef struct Ending
{
	bool		committed;
	Patience	patience;
	bool		destroyed;		/* it has revoked tokens, or may have */
	bool		in_use;			/* variables may hold tokens that it created */
} Ending;

/* The name of an object that will hold a secret, in UTF-8; or NULL. */
typedef const char *(*HolderFinder) (const char *secret);

typedef struct Participant Participant;

struct Participant
{
	const char *no_conflict;	/* why INSERT knows no ON CONFLICT: a sentence */

	/*
	 * What statements do, in the memory context of the row, where errors may
	 * be raised.  row holds the identity at least of what is changed.  update
	 * and delete are false if the command has met the row before.  The
	 * records that insert returns, and that update does in *shown (NULL: as
	 * the statement computed it), go with the current memory context.
	 */
	JsonRecord *(*insert) (RemoteChange *change, const ResourceValue *values,
						   int nvalues);
	bool		(*update) (RemoteChange *change, JsonRecord *row,
						   const ResourceValue *values, int nvalues,
						   JsonRecord **shown);
	bool		(*delete) (RemoteChange *change, JsonRecord *row);

	/*
	 * Several updates of a statement that reads its rows to the end first, or
	 * NULL: the participant takes rows one by one.  lock_named is told of the
	 * objects that a statement names by their ids, before they are read; if
	 * true, they need not be read again.  expect_update is told of each
	 * object that is read, the nupdates'th one: false if the command has met
	 * it before, an error if there are too many.  prepare_updates is called
	 * with all of them before they are read again; update_rows carries them
	 * out.  An error about any row is raised before the first request that
	 * changes GitLab.
	 */
	bool		(*lock_named) (RemoteChange *change, int64 *ids, int nids);
	bool		(*expect_update) (RemoteChange *change, int64 id,
								  int nupdates);
	void		(*prepare_updates) (RemoteChange *change,
									const RowUpdate *updates, int nupdates);
	void		(*update_rows) (RemoteChange *change, RowUpdate *updates,
								int nupdates);

	/* Several inserts at a time; NULL: the participant takes them one by one. */
	void		(*insert_rows) (RemoteChange *change, RowInsert *inserts,
								int ninserts);

	/*
	 * What scans see: whether anything reads otherwise than GitLab shows it,
	 * a record as the scan sees it, and the next one that GitLab does not
	 * have yet.  The last two may be NULL.  With rewind, the scan starts
	 * again.
	 */
	bool		(*differs) (const ChangeScan *scan);
	JsonRecord *(*view) (ChangeScan *scan, JsonRecord *record, bool *revoked);
	JsonRecord *(*view_rest) (ChangeScan *scan);
	void		(*rewind) (ChangeScan *scan);

	/* The transaction */
	bool		(*is_empty) (void);
	void		(*end_subtransaction) (int level, bool aborted);
	const char *(*find_holder) (const char *secret);

	/*
	 * Before the commit; these raise errors.  The first one says whether the
	 * commit is to change anything in GitLab, the second one whether what the
	 * transaction does in PostgreSQL must be durable before the commit
	 * callbacks are called.
	 */
	bool		(*has_changes) (void);
	bool		(*needs_durability) (void);
	void		(*check) (HolderFinder find_holder);
	void		(*carry_out) (void);

	/* At the end; nothing above WARNING.  See transaction.c for the order. */
	void		(*stop) (void);
	void		(*finish) (Ending *ending);
	void		(*settle) (Ending *ending);
	void		(*close) (void);
};

extern struct HTAB *change_index(RowUpdate *updates, int nupdates);
extern RowUpdate *change_find(struct HTAB *index, JsonRecord *record);
extern const char *change_column(const RemoteChange *change,
								 const char *field);
pg_noreturn extern void change_refuse_triggered(const char *object);

#endif							/* GITLAB_PAT_PARTICIPANT_H */
