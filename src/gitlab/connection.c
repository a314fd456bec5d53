/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  The pool of a session's connections to GitLab.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "compat.h"
#include "gitlab/connection.h"
#include "gitlab/option.h"
#include "gitlab/text.h"
#include "gitlab/warnings.h"
#include "http/engine.h"
#include "http/url.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Where GitLab's API lies below an instance's base URL. */
#define API_PREFIX "/api/v4"

static dlist_head pool = DLIST_STATIC_INIT(pool);
static dlist_head counters = DLIST_STATIC_INIT(counters);
static uint64 invalidations = 0;


/* ----------
 * Credentials
 * ----------
 */

pg_noreturn static void
refuse_credential(const char *server_name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("no usable API token for server \"%s\"", server_name),
			 errdetail("%s", detail)));
}

/*
 * Returns a role's user mapping for a server, or else the PUBLIC one, palloc'ed.
 * GetUserMapping() would raise 42704, as if an object was missing.  This function
 * raises 28000, since an authorization is missing.
 */
UserMapping *
connection_mapping(Oid serverid, Oid userid)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(userid),
							   ObjectIdGetDatum(serverid)) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(InvalidOid),
							   ObjectIdGetDatum(serverid)))
	{
		char	   *server = GetForeignServer(serverid)->servername;
		char	   *role = GetUserNameFromId(userid, true);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no user mapping for role \"%s\" on server \"%s\"",
						role ? role : "?", server),
				 errhint("Create one: CREATE USER MAPPING FOR %s SERVER %s OPTIONS (token '...').",
						 role ? quote_identifier(role) : "...",
						 quote_identifier(server))));
	}
	return GetUserMapping(userid, serverid);
}

static int64
mtime_nsecs(const struct stat *st)
{
	return (int64) st->st_mtim.tv_sec * INT64CONST(1000000000) +
		st->st_mtim.tv_nsec;
}

/*
 * Opens a token's file, which must be a regular file.  Opening must never wait, as
 * it would for a FIFO that nobody writes to.
 */
static int
open_token_file(const char *path, const char *server_name, struct stat *st)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);

	if (fd < 0 || fstat(fd, st) != 0)
		refuse_credential(server_name,
						  psprintf("Could not open the file \"%s\" that the option \"token_file\" names: %s.",
								   path, strerror(errno)));
	if (!S_ISREG(st->st_mode))
		refuse_credential(server_name,
						  psprintf("\"%s\", which the option \"token_file\" names, is not a regular file.",
								   path));
	return fd;
}

/*
 * Reads a token's file, without the newline that ends it.  The connection keeps
 * the identity of the open file, so that a file that is replaced meanwhile is
 * read again next time.
 */
static char *
read_token_file(const char *path, const char *server_name, struct stat *st)
{
	int			fd = open_token_file(path, server_name, st);
	char	   *token = palloc0(MAX_TOKEN_LENGTH + 2);
	ssize_t		length = read(fd, token, MAX_TOKEN_LENGTH + 1);

	if (length < 0)
		refuse_credential(server_name,
						  psprintf("Could not read the file \"%s\" that the option \"token_file\" names.",
								   path));
	CloseTransientFile(fd);
	while (length > 0 && (token[length - 1] == '\n' || token[length - 1] == '\r'))
		token[--length] = '\0';

	for (ssize_t i = 0; i < length; i++)
		if (length > MAX_TOKEN_LENGTH || token[i] <= ' ' || token[i] > '~')
			length = 0;
	if (length == 0)
		refuse_credential(server_name,
						  psprintf("The file \"%s\" that the option \"token_file\" names does not hold a token.",
								   path));
	return token;
}

/* Whether the token's file was replaced or written since it was read. */
static bool
token_file_changed(const Connection *connection)
{
	struct stat st;

	if (connection->token_file == NULL)
		return false;
	return stat(connection->token_file, &st) != 0 ||
		(int64) st.st_ino != connection->token_file_inode ||
		mtime_nsecs(&st) != connection->token_file_mtime;
}


/* ----------
 * The pool
 * ----------
 */

/*
 * Marks connections as stale after a change of a user mapping or a server.  The
 * callback closes none, because one may be in use further up the stack.
 */
static void
on_invalidation(Datum arg, SyscacheId cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	(void) arg;
	invalidations++;
	dlist_foreach(iter, &pool)
	{
		Connection *connection = dlist_container(Connection, link, iter.cur);

		if (hashvalue == 0 ||
			hashvalue == (cacheid == USERMAPPINGOID ? connection->mapping_hash :
						  connection->server_hash))
			connection->stale = true;
	}
}

static void
connection_cleanup(void *arg)
{
	Connection *connection = arg;

	dlist_delete(&connection->link);
	if (connection->credential)
		explicit_bzero(connection->credential, strlen(connection->credential));
}

/* Closes all connections that nobody uses, or only the stale ones of them. */
static int
close_unused(bool stale_only)
{
	dlist_mutable_iter iter;
	int			closed = 0;

	dlist_foreach_modify(iter, &pool)
	{
		Connection *connection = dlist_container(Connection, link, iter.cur);

		if (connection->references == 0 && (connection->stale || !stale_only))
		{
			MemoryContextDelete(connection->context);
			closed++;
		}
	}
	return closed;
}

static RequestCounters *
find_counters(Oid serverid, const char *server_name)
{
	RequestCounters *found = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &counters)
	{
		RequestCounters *c = dlist_container(RequestCounters, link, iter.cur);

		if (c->serverid == serverid)
			found = c;
	}
	if (found == NULL)
	{
		found = MemoryContextAllocZero(TopMemoryContext,
									   sizeof(RequestCounters));
		found->serverid = serverid;
		found->rate_limit_remaining = found->rate_limit_reset = -1;
		dlist_push_tail(&counters, &found->link);
	}
	namestrcpy(&found->server_name, server_name);
	return found;
}

static HttpClient *
make_client(MemoryContext context, const ServerSettings *server,
			const char *credential)
{
	HttpSettings settings = {
		.base_url = server->url,
		.path_prefix = API_PREFIX,
		.user_agent = "gitlab_pat_fdw/" GITLAB_PAT_FDW_VERSION,
		.bearer = credential,
		.proxy = server->proxy,
		.tls_ca_file = server->tls_ca_file,
		.tls_cert_file = server->tls_cert_file,
		.tls_key_file = server->tls_key_file,
		.tls_verify = server->tls_verify,
		.connect_timeout = server->connect_timeout,
		.request_timeout = server->request_timeout,
		.max_response_size = server->max_response_size,
	};

	return http_client_create(context, &settings);
}

/* The settings that say which GitLab a connection reaches, and how. */
static char *
identity_of(const ServerSettings *server)
{
	const char *texts[] = {server->url, server->proxy, server->tls_ca_file,
	server->tls_cert_file, server->tls_key_file};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%u %d", server->serverid, server->tls_verify);
	for (int i = 0; i < (int) lengthof(texts); i++)
		appendStringInfo(&buf, "\n%s", texts[i] ? texts[i] : "");
	return buf.data;
}

static Connection *
make_connection(UserMapping *mapping, Oid userid)
{
	uint64		before = invalidations;
	ServerSettings *server = option_server(mapping->serverid);
	const char *token = option_value(mapping->options, "token");
	const char *file = option_value(mapping->options, "token_file");
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "gitlab_pat_fdw connection",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	Connection *connection = palloc0(sizeof(Connection));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	struct stat st = {0};
	char	   *normal_url;

	if (token == NULL && file == NULL)
		refuse_credential(server->name,
						  "The user mapping has neither of the options \"token\" and \"token_file\".");
	if (token && strlen(token) > MAX_TOKEN_LENGTH)
		refuse_credential(server->name,
						  "The value of the user mapping's option \"token\" is longer than any token.");
	option_check_proxy(server);
	if (server->unread_version)
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_VERSION_UNREAD),
				 errmsg("version \"%s\" of server \"%s\" is not understood, and ignored",
						server->unread_version, server->name),
				 errhint("Declare a major and a minor number, for example: ALTER SERVER %s VERSION '18.11'.",
						 quote_identifier(server->name))));
	connection->context = context;
	connection->umid = mapping->umid;
	connection->serverid = mapping->serverid;
	connection->userid = userid;
	connection->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID,
													 ObjectIdGetDatum(mapping->umid));
	connection->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID,
													ObjectIdGetDatum(mapping->serverid));
	connection->server_name = pstrdup(server->name);
	normal_url = http_normal_url(server->url);
	connection->url_hash =
		hash_bytes_extended((const unsigned char *) normal_url,
							strlen(normal_url), 0);
	/* behind another proxy, a name may be that of another host */
	connection->instance = connection->url_hash;
	if (server->proxy)
		connection->instance =
			hash_bytes_extended((const unsigned char *) server->proxy,
								strlen(server->proxy), connection->url_hash);
	connection->identity = identity_of(server);
	connection->max_retries = server->max_retries;
	connection->max_retry_wait = server->max_retry_wait;
	connection->rollback_timeout = server->rollback_timeout;
	connection->concurrency = server->concurrency;
	if (file)
	{
		connection->token_file = pstrdup(file);
		connection->credential = read_token_file(file, server->name, &st);
		connection->token_file_inode = (int64) st.st_ino;
		connection->token_file_mtime = mtime_nsecs(&st);
	}
	else
		connection->credential = pstrdup(token);
	connection->counters = find_counters(mapping->serverid, server->name);
	connection->client = make_client(context, server, connection->credential);

	/* Nothing can fail any more: from now on it belongs to the session. */
	callback->func = connection_cleanup;
	callback->arg = connection;
	dlist_push_tail(&pool, &connection->link);
	MemoryContextRegisterResetCallback(context, callback);
	MemoryContextSetParent(context, TopMemoryContext);
	/* the callback did not know it yet */
	connection->stale = invalidations != before;
	MemoryContextSwitchTo(saved);
	return connection;
}

/*
 * Returns the connection of a role to a server, or makes one, which costs no
 * request.  The caller owns a reference.  Raises 28000 if the role has no user
 * mapping, or the mapping has no usable token.
 */
Connection *
connection_get(Oid serverid, Oid userid)
{
	static bool registered = false;
	UserMapping *mapping;
	dlist_iter	iter;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(USERMAPPINGOID, on_invalidation, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_invalidation, (Datum) 0);
		registered = true;
	}
	close_unused(true);

	mapping = connection_mapping(serverid, userid);
	dlist_foreach(iter, &pool)
	{
		Connection *connection = dlist_container(Connection, link, iter.cur);

		if (connection->umid != mapping->umid || connection->stale)
			continue;
		if (!token_file_changed(connection))
			return connection_retain(connection);
		connection->stale = true;
	}
	return connection_retain(make_connection(mapping, userid));
}

/* Whether a request can carry this text as its API token. */
bool
connection_takes_secret(const char *secret)
{
	size_t		length = strlen(secret);

	for (const char *c = secret; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	return length > 0 && length <= MAX_TOKEN_LENGTH;
}

/*
 * Returns a connection to a server with a secret that need not be in any user
 * mapping, for the current role.  The pool gives it to nobody else.  The caller
 * owns the reference, and the connection ends with its last one.  Raises 22023,
 * without the secret, if the text cannot be a token.
 */
Connection *
connection_with_secret(Oid serverid, const char *secret)
{
	UserMapping mapping = {
		.umid = InvalidOid,
		.userid = GetUserId(),
		.serverid = serverid,
	};
	Connection *connection;

	if (!connection_takes_secret(secret))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the secret cannot be an API token"),
				 errdetail("It is empty or too long, or contains blanks, control characters, or characters that are not ASCII."),
				 errhint("Give the secret as GitLab showed it, such as \"glpat-...\".")));
	mapping.options = list_make1(makeDefElem("token",
											 (Node *) makeString(unconstify(char *, secret)),
											 -1));
	connection = make_connection(&mapping, GetUserId());
	connection->stale = true;
	return connection_retain(connection);
}

/* Whether connections differ only in the credential of their user mapping. */
static bool
is_successor(const Connection *connection, const Connection *other)
{
	return OidIsValid(connection->umid) && other->umid == connection->umid &&
		strcmp(other->identity, connection->identity) == 0 &&
		strcmp(other->credential, connection->credential) != 0;
}

/*
 * Returns the connection with the user mapping's new credential, in place of one
 * with the old credential.  Returns NULL if the credential is the old one, or if
 * the server has another URL, proxy or TLS identity now.  The caller owns the
 * reference.  Raises errors.
 */
Connection *
connection_successor(Connection *connection, Oid userid)
{
	Connection *current;

	AcceptInvalidationMessages();
	if (!SearchSysCacheExists1(USERMAPPINGOID,
							   ObjectIdGetDatum(connection->umid)))
		return NULL;
	current = connection_get(connection->serverid, userid);
	if (is_successor(connection, current))
		return current;
	connection_release(current);
	return NULL;
}

/*
 * Returns the connection with the newest credential that the session knows, where
 * it can read no catalog.  The caller gets no reference.
 */
Connection *
connection_newest(Connection *connection)
{
	for (dlist_node *node = pool.head.prev; node != &connection->link;
		 node = node->prev)
	{
		Connection *other = dlist_container(Connection, link, node);

		if (is_successor(connection, other))
			return other;
	}
	return NULL;
}

/* Takes another reference, and returns the connection. */
Connection *
connection_retain(Connection *connection)
{
	connection->references++;
	return connection;
}

/* Gives a reference back.  Never raises an error. */
void
connection_release(Connection *connection)
{
	Assert(connection->references > 0);
	if (--connection->references == 0 && connection->stale)
		MemoryContextDelete(connection->context);
}

/* Closes the connections that no statement uses, and returns how many. */
int
connection_close_idle(void)
{
	return close_unused(false);
}

/*
 * Returns the session's connection after the given one, the first one for NULL,
 * and NULL at the end.
 */
Connection *
connection_next(Connection *after)
{
	if (after == NULL)
		return dlist_is_empty(&pool) ? NULL :
			dlist_head_element(Connection, link, &pool);
	return dlist_has_next(&pool, &after->link) ?
		dlist_container(Connection, link,
						dlist_next_node(&pool, &after->link)) : NULL;
}

/*
 * How many users a server has, as this session has seen over any of its connections;
 * 0 if it has not.
 */
int64
connection_known_users(Oid serverid)
{
	Connection *connection = NULL;
	int64		users = 0;

	while ((connection = connection_next(connection)) != NULL)
		if (connection->serverid == serverid && !connection->stale)
			users = Max(users, connection->users);
	return users;
}

/* Returns the next counters: the first ones for NULL, NULL at the end. */
RequestCounters *
connection_counters(RequestCounters *after)
{
	if (after == NULL)
		return dlist_is_empty(&counters) ? NULL :
			dlist_head_element(RequestCounters, link, &counters);
	return dlist_has_next(&counters, &after->link) ?
		dlist_container(RequestCounters, link,
						dlist_next_node(&counters, &after->link)) : NULL;
}


/* ----------
 * Names in messages
 * ----------
 */

/* Whether a text has a credential of the session's in it.  Raises nothing. */
bool
connection_has_credential(const char *text)
{
	Connection *connection = NULL;

	while ((connection = connection_next(connection)) != NULL)
		if (strlen(connection->credential) >= MIN_SECRET_LENGTH &&
			strstr(text, connection->credential) != NULL)
			return true;
	return false;
}

/*
 * Has text.c show a text without the credentials of all connections, and without another
 * secret, which may be NULL.
 */
static char *
show(char *(*shower) (const char *, size_t, const Secrets *),
	 const char *utf8, size_t max_bytes, const char *secret)
{
	Connection *connection = NULL;
	char	  **hidden;
	char	   *shown;
	Secrets    *secrets = palloc0(sizeof(Secrets));
	int			n = 1;

	while ((connection = connection_next(connection)) != NULL)
		n++;
	secrets->others = hidden = palloc(sizeof(char *) * n);
	n = 0;
	while ((connection = connection_next(connection)) != NULL)
		if (strlen(connection->credential) >= MIN_SECRET_LENGTH)
			hidden[n++] = connection->credential;
	if (secret && strlen(secret) >= MIN_SECRET_LENGTH)
	{
		hidden[n] = pstrdup(secret);
		text_leave_seen(hidden[n++]);
	}
	secrets->nothers = n;
	shown = shower(utf8, max_bytes, secrets);
	pfree(hidden);
	pfree(secrets);
	return shown;
}

/*
 * What a message or the log shows of a text in UTF-8 from GitLab, a server or a
 * statement: no credential of the session's, no other secret, which may be NULL, and
 * nothing that is not seen.  The result is palloc'ed, in the database's encoding.
 */
char *
connection_shown_text(const char *utf8, size_t max_bytes, const char *secret)
{
	return show(text_shown_name, utf8, max_bytes, secret);
}

/* A name as messages show it; see connection_shown_text(). */
char *
connection_shown_name(const char *utf8)
{
	return show(text_shown_name, utf8, MAX_SHOWN_NAME, NULL);
}

/*
 * A name for an SQL statement in a message, or NULL if what a message shows of it is
 * another name.
 */
char *
connection_exact_name(const char *utf8, size_t max_bytes)
{
	return show(text_exact_name, utf8, max_bytes, NULL);
}
