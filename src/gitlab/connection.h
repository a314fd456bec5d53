/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  The pool of a session's connections to GitLab.
 *
 * A connection is a server seen with one credential: settings that never
 * change, and the HTTP client made from them.  The pool finds a connection by
 * its user mapping.  When the mapping, the server or the token's file changes,
 * the connection becomes stale.  The pool hands it out no longer, and frees it
 * with its last reference.  Whoever holds a reference needs no catalogs, so a
 * rollback can use the connection.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CONNECTION_H
#define GITLAB_PAT_CONNECTION_H

#include "datatype/timestamp.h"
#include "foreign/foreign.h"
#include "lib/ilist.h"
#include "portability/instr_time.h"

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

/* Facts that the session has about the credential of a connection. */
typedef enum SelfKnowledge
{
	SELF_UNKNOWN,				/* nobody asked yet */
	SELF_IS_TOKEN,				/* self_id is its id */
	SELF_IS_HIDDEN,				/* the token may not read itself */
	SELF_IS_NO_TOKEN			/* GitLab says it is no personal access token */
} SelfKnowledge;

/* Whether the time zone of an instance is UTC; see zone.h. */
typedef enum InstanceZone
{
	ZONE_UNKNOWN,				/* no answer has shown it lately */
	ZONE_UTC,
	ZONE_OTHER
} InstanceZone;

/* The tokens that a connection's credential sees. */
typedef enum Sight
{
	SIGHT_UNKNOWN,				/* nobody asked yet */
	SIGHT_OWN,					/* what is its user's */
	SIGHT_ALL					/* everybody's, as administrators do */
} Sight;

/* A message shows so much of a name: a key of GitLab's has 255 characters at the most. */
#define MAX_SHOWN_NAME 1020

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
	uint64		url_hash;		/* of the URL, however it is written */
	uint64		instance;		/* which GitLab: of the URL and the proxy */
	char	   *identity;		/* URL, proxy and TLS options, to compare */
	char	   *credential;		/* to compare, and to remove from messages */
	char	   *token_file;		/* where it was read, or NULL */
	int64		token_file_inode;
	int64		token_file_mtime;	/* ns */
	int			max_retries;
	int			max_retry_wait; /* ms */
	int			rollback_timeout;	/* ms */
	int			concurrency;
	struct HttpClient *client;
	RequestCounters *counters;

	/* learned while using it */
	SelfKnowledge self;
	int64		self_id;
	int64		self_user_id;
	Sight		sight;
	bool		sees_kinds;		/* it was shown whose tokens are impersonation
								 * tokens */
	int64		highest_token;	/* of the ids of tokens that were shown to ... */
	TimestampTz highest_token_of;	/* ... the transaction that began then */
	int			version;		/* GitLab's, 18.11 as 1811, or 0 if nobody
								 * asked yet */
	bool		clock_known;	/* an answer has shown the next one */
	bool		clock_doubted;	/* a WARNING has said that it is ignored */
	int64		clock_offset;	/* GitLab's clock less ours, in s */
	InstanceZone zone;			/* as the youngest answer has shown */
	instr_time	zone_shown;		/* when that was */
	int64		users;			/* in the list of all, when it was last read
								 * or counted; 0: not known */
} Connection;

extern UserMapping *connection_mapping(Oid serverid, Oid userid);
extern Connection *connection_get(Oid serverid, Oid userid);
extern bool connection_takes_secret(const char *secret);
extern Connection *connection_with_secret(Oid serverid, const char *secret);
extern Connection *connection_successor(Connection *connection, Oid userid);
extern Connection *connection_newest(Connection *connection);
extern Connection *connection_retain(Connection *connection);
extern void connection_release(Connection *connection);
extern int	connection_close_idle(void);
extern Connection *connection_next(Connection *after);
extern int64 connection_known_users(Oid serverid);
extern RequestCounters *connection_counters(RequestCounters *after);
extern bool connection_has_credential(const char *text);
extern char *connection_shown_text(const char *utf8, size_t max_bytes,
								   const char *secret);
extern char *connection_shown_name(const char *utf8);
extern char *connection_exact_name(const char *utf8, size_t max_bytes);

#endif							/* GITLAB_PAT_CONNECTION_H */
