/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The queue of what is written to GitLab at commit.
 *
 * The queue has two sides.  Scans look at objects, each with its own writes.
 * The commit takes all writes in the order in which they were issued.  Objects
 * are found by their siblings, those with the same key.
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

#include "change/participant.h"
#include "lib/ilist.h"

typedef enum WriteKind
{
	WRITE_CREATE,
	WRITE_CHANGE,
	WRITE_DELETE
} WriteKind;

/*
 * The states of a write.
 *
 *	state		event								next		function		raises
 *	-			a statement changes an object		QUEUED		queue_enter		yes
 *	QUEUED		its subtransaction is rolled back	(gone)		queue_end_subtransaction	no
 *	QUEUED		the commit sends it					SENT		start_write		yes
 *	SENT		GitLab has done it, or it deletes what is absent	DONE	learn	no
 *	SENT		the answer does not show that it is done	DOUBTED	learn		no
 *	SENT		GitLab refuses, or was not asked	REFUSED		learn	no
 *	SENT		the answer is lost					UNKNOWN		learn	no
 *	REFUSED, UNKNOWN	there is a new credential	SENT		start_write		yes
 */
typedef enum WriteState
{
	WRITE_QUEUED,
	WRITE_SENT,
	WRITE_DONE,
	WRITE_DOUBTED,				/* it may be done, and GitLab is through with
								 * it */
	WRITE_REFUSED,				/* nothing came of it */
	WRITE_UNKNOWN				/* it may be done */
} WriteState;

/*
 * The states of an object: how much is known of it.
 *
 *	state		event								next		function		raises
 *	-			a statement changes it				UNREAD		queue_enter		yes
 *	UNREAD		the commit asks for it				READING		next_reading	yes
 *	UNREAD		there is nothing to learn, or that was just read	READ	next_reading	yes
 *	READING		GitLab has shown it, or it is absent	READ	finish_reading	yes
 *	READING		the credential was refused			UNREAD		finish_reading	no
 *	READING		others have its key, too			UNREAD		finish_reading	no
 *	READ		a rollback sees to its deletion		REMOVED		undo_all		no
 */
typedef enum ObjectState
{
	OBJECT_UNREAD,
	OBJECT_READING,
	OBJECT_READ,
	OBJECT_REMOVED
} ObjectState;

/* The key that all siblings share: a key in a container.  In UTF-8. */
typedef struct SiblingsKey
{
	uint64		instance;		/* of GitLab: see Connection */
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
	const Resource *resource;
	const char *container;		/* as the first statement has named it */
	const char *key;
	char	   *variant;		/* in GitLab; NULL: made by the transaction */
	char	   *name;			/* for messages, in the database's encoding */
	JsonRecord *row;			/* what the first statement saw, or NULL */
	JsonRecord *shown;			/* what a scan was given last, or NULL */
	dlist_head	writes;

	/* during the commit */
	ObjectState state;
	ApiCall    *call;			/* that reads it; NULL unless READING */
	JsonRecord *found;			/* in GitLab; NULL: it is not there */
	bool		crowded;		/* others there have its key */
	JsonRecord *others;			/* these, as an array; or NULL */
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
	char	   *who;			/* for the audit trail, as audit.h makes it */
	char	   *old_variant;	/* before the write; NULL: creates */
	char	   *new_variant;	/* after it; NULL: deletes */
	JsonRecord *fields;			/* what it makes, or changes; or NULL */
	char	   *body;			/* of its request, or NULL */

	/* during the commit */
	WriteState	state;
	ApiCall    *call;			/* that was sent, until it is known to be done */
	const ResourceField *differs;	/* that the answer does not show as sent,
									 * or NULL */
	bool		stray;			/* an attempt to carry it out, or to undo it,
								 * may take effect yet, whatever came of
								 * others */
	const char *obstacle;		/* why it can't be undone, or NULL */
	char	   *undo_path;
	char	   *undo_body;		/* or NULL */
	char	   *old_value;		/* not to be told; or NULL */
} QueuedWrite;

/* The queue of the current transaction. */
typedef struct WriteQueue
{
	MemoryContext context;		/* holds all of the following */
	dlist_head	objects;
	dlist_head	writes;			/* in the order of entering */
	dlist_head	sent;			/* in the order of sending */
	struct HTAB *families;		/* of Siblings */
	int			nobjects;		/* ever entered, for their numbers */
} WriteQueue;

#define object_of(node) dlist_container(QueuedObject, link, node)
#define sibling_of(node) dlist_container(QueuedObject, sibling, node)
#define write_of(node) dlist_container(QueuedWrite, link, node)
#define own_write(node) dlist_container(QueuedWrite, same_object, node)
#define sent_write(node) dlist_container(QueuedWrite, sent_link, node)

/* The words and the HTTP methods for a kind of write. */
typedef struct WriteWords
{
	const char *participle;
	const char *infinitive;
	const char *method;
	const char *undo_method;
} WriteWords;

extern WriteQueue write_queue;
extern const WriteWords write_words[];

/* Keeping the queue; these raise errors */
extern void queue_enter(const RemoteChange *change, QueuedObject *object,
						JsonRecord *row, WriteKind kind, JsonRecord *fields,
						const char *body);

/* Looking at it */
extern const char *queue_variant(const Resource *resource, JsonRecord *record);
extern const char *queue_named_variant(const Resource *resource,
									   JsonRecord *record);
extern Siblings *queue_siblings(ApiClient *client,
								const Resource *resource, JsonRecord *record);
extern QueuedWrite *queue_first_write(const QueuedObject *object);
extern QueuedWrite *queue_last_write(const QueuedObject *object);

/* Records of objects; these raise errors */
extern JsonRecord *queue_copy(JsonRecord *record);
extern void queue_hide_value(JsonRecord *record);
extern void queue_put_over(JsonRecord *record, JsonRecord *fields);

/* Nothing of these is raised */
extern bool queue_is_empty(void);
extern void queue_end_subtransaction(int level, bool aborted);
extern void queue_stop(void);
extern void queue_close(void);
extern void queue_assert(void);
extern void queue_set_write_state(QueuedWrite *write, WriteState next);
extern void queue_set_object_state(QueuedObject *object, ObjectState next);

/* Requests.  NULL when memory is short */
extern ApiCall *queue_call(const QueuedObject *object, Connection *connection,
						   const char *method, const char *path,
						   const char *variant, const char *body);

#endif							/* GITLAB_PAT_QUEUE_H */
