/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The queue of what is written to GitLab at commit.
 *
 * The queue has two sides: objects, each with its own writes, for scans to look
 * at; and all writes in the order in which they were issued, for the commit.
 * Objects are found by their siblings, those with the same key.
 *
 * variables.c says what statements do, writing.c what the commit does, and undo.c
 * what a rollback does.  Which objects these are is the resource's business: here
 * they have a container, a key in it and a variant, as their descriptor says.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_QUEUE_H
#define GITLAB_PAT_QUEUE_H

#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/connection.h"
#include "gitlab/record.h"
#include "gitlab/resources.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"

/* Who changes something, through which table: for the books and messages. */
typedef struct RemoteChange
{
	ApiClient  *client;
	Oid			userid;
	CommandId	cid;			/* the changing command's */
	const char *table;			/* qualified and quoted */
	const char *id_column;		/* quoted */
} RemoteChange;

typedef enum WriteKind
{
	WRITE_CREATE,
	WRITE_CHANGE,
	WRITE_DELETE
} WriteKind;

typedef enum WriteState
{
	WRITE_QUEUED,
	WRITE_SENT,					/* and not answered, or not so that it is
								 * known what came of it */
	WRITE_DONE,
	WRITE_REFUSED				/* nothing came of it */
} WriteState;

/* What all objects with one key in one container share.  In UTF-8. */
typedef struct SiblingsKey
{
	Oid			serverid;
	const Resource *resource;
	const char *container;
	const char *key;
} SiblingsKey;

/* They may stand in each other's way, or be taken for each other. */
typedef struct Siblings
{
	SiblingsKey key;
	dlist_head	objects;		/* that the transaction changes */
	bool		come_last;		/* so must the writes to each of them */
} Siblings;

/* One object that the transaction changes.  Texts are in UTF-8. */
typedef struct QueuedObject
{
	dlist_node	link;			/* in objects */
	dlist_node	sibling;		/* in its siblings' */
	int			number;
	Siblings   *siblings;
	Oid			serverid;		/* as its siblings' */
	const Resource *resource;
	const char *container;
	const char *key;
	char	   *variant;		/* in GitLab; NULL: made by the transaction */
	char	   *name;			/* for messages, in the database's encoding */
	JsonRecord *row;			/* what the first statement saw, or NULL */
	JsonRecord *shown;			/* what a scan was given last, or NULL */
	dlist_head	writes;

	/* during the commit */
	bool		read;
	ApiCall    *call;			/* that reads it, or NULL */
	JsonRecord *state;			/* in GitLab; NULL: it is not there */
	bool		removed;		/* a rollback has seen to its deletion */
} QueuedObject;

typedef struct QueuedWrite
{
	dlist_node	link;			/* in writes, in the order of entering */
	dlist_node	same_object;	/* in its object's */
	dlist_node	sent_link;		/* in sent, in the order of sending */
	QueuedObject *object;
	WriteKind	kind;
	int			level;			/* nest level of the owing transaction */
	CommandId	cid;
	Connection *connection;		/* one reference */
	Oid			userid;
	char	   *role;
	char	   *old_variant;	/* before the write; NULL: creates */
	char	   *new_variant;	/* after it; NULL: deletes */
	JsonRecord *fields;			/* what it makes, or changes; or NULL */
	char	   *body;			/* of its request, or NULL */

	/* during the commit */
	WriteState	state;
	ApiCall    *call;			/* that was sent, until it is known to be done */
	bool		in_doubt;		/* an attempt to carry it out, or to undo it,
								 * may still take effect, whatever came of
								 * others */
	const char *obstacle;		/* why it can't be undone, or NULL */
	char	   *undo_path;
	char	   *undo_body;		/* or NULL */
	char	   *old_value;		/* not to be told; or NULL */
} QueuedWrite;

#define object_of(node) dlist_container(QueuedObject, link, node)
#define sibling_of(node) dlist_container(QueuedObject, sibling, node)
#define write_of(node) dlist_container(QueuedWrite, link, node)
#define own_write(node) dlist_container(QueuedWrite, same_object, node)

/* What a write does, in words and in HTTP. */
typedef struct WriteWords
{
	const char *participle;
	const char *infinitive;
	const char *method;
	const char *undo_method;
} WriteWords;

/* At the end; nothing above WARNING */
extern bool queue_is_empty(void);
extern void queue_end_subtransaction(int level, bool aborted);
extern void queue_close(void);

extern MemoryContext context;
extern dlist_head objects;
extern dlist_head writes;
extern dlist_head sent;
extern const WriteWords kinds[];
extern JsonRecord *copy_record(JsonRecord *record);
extern void hide_value(JsonRecord *record);
extern void put_over(JsonRecord *record, JsonRecord *fields);
extern const char *variant_of(const Resource *resource, JsonRecord *record);
extern Siblings *find_siblings(Oid serverid, const Resource *resource,
							   JsonRecord *record);
extern QueuedWrite *last_write(QueuedObject *object);
extern char *server_text(const char *utf8);
extern void enter_write(const RemoteChange *change, const Resource *resource,
						QueuedObject *object, JsonRecord *row, WriteKind kind,
						JsonRecord *fields, const char *body);
extern ApiCall *make_call(QueuedObject *object, Connection *connection,
						  const char *method, const char *path,
						  const char *variant, const char *body);
extern QueuedWrite *first_write(const QueuedObject *object);

#endif							/* GITLAB_PAT_QUEUE_H */
