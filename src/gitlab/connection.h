/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  Which connection?  The pool of a session's connections to GitLab.
 *
 * A connection is a server seen with one credential: settings that never
 * change, and the HTTP client made from them.  It is found by user mapping.
 * When the mapping, the server or the token's file changes, the connection
 * becomes stale: nobody is given it any more, and it goes with its last
 * reference.  Until then whoever holds one can rely on it, without looking
 * anything up in the catalogs: that is what lets a rollback use it.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CONNECTION_H
#define GITLAB_PAT_CONNECTION_H

#include "foreign/foreign.h"
#include "http/exchange.h"
#include "lib/ilist.h"

/* This session's requests to a server, since it began. */
typedef struct RequestCounters
{
	dlist_node	link;
	Oid			serverid;
	NameData	server_name;
	int64		requests;		/* attempts, retries included */
	int64		retries;
	int64		rate_limited;	/* answers with status 429 */
	int64		errors;			/* no answer, or a status from 400 on */
	int64		bytes_received; /* of bodies, after decompression */
	int64		wait_usecs;
	int64		rate_limit_remaining;	/* as last told, or -1 */
	int64		rate_limit_reset;	/* Unix time, as last told, or -1 */
} RequestCounters;

/* What is known of the credential of a connection itself. */
typedef enum SelfKnowledge
{
	SELF_UNKNOWN,				/* nobody asked yet */
	SELF_IS_TOKEN,				/* self_id is its id */
	SELF_IS_NO_TOKEN			/* GitLab says it is no personal access token */
} SelfKnowledge;

typedef struct Connection
{
	dlist_node	link;
	MemoryContext context;		/* holds all of this */
	int			references;
	bool		stale;
	Oid			umid;			/* user mapping */
	Oid			serverid;
	Oid			userid;			/* the role it was made for */
	uint32		mapping_hash;
	uint32		server_hash;
	char	   *server_name;
	char	   *credential;		/* to compare, and to remove from messages */
	char	   *token_file;		/* where it was read, or NULL */
	int64		token_file_inode;
	int64		token_file_mtime;	/* ns */
	int			max_retries;
	int			max_retry_wait; /* ms */
	int			rollback_timeout;	/* ms */
	int			concurrency;
	HttpClient *client;
	RequestCounters *counters;

	/* learned while using it */
	SelfKnowledge self;
	int64		self_id;
	int64		self_user_id;
	int			version;		/* GitLab's, 18.11 as 1811, or 0 if nobody
								 * asked yet */
} Connection;

extern UserMapping *connection_mapping(Oid serverid, Oid userid);
extern Connection *connection_get(Oid serverid, Oid userid);
extern Connection *connection_retain(Connection *connection);
extern void connection_release(Connection *connection);
extern int	connection_close_idle(void);
extern RequestCounters *connection_counters(RequestCounters *after);

#endif							/* GITLAB_PAT_CONNECTION_H */
