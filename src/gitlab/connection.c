/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  Which connection?  The pool of a session's connections to GitLab.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "compat.h"
#include "gitlab/connection.h"
#include "gitlab/option.h"
#include "http/engine.h"
#include "http/exchange.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* GitLab's tokens have some 30 to 300 characters. */
#define MAX_TOKEN_LENGTH 8192

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
 * The mapping of a role to a server, or else the PUBLIC one, palloc'ed.
 * GetUserMapping() would say that an object is missing; what is missing is an
 * authorization: 28000.
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
 * Reads a token's file, without the newline that ends it.  The file's identity
 * is taken from the open file: one that is replaced meanwhile is read again
 * next time.
 */
static char *
read_token_file(const char *path, const char *server_name, struct stat *st)
{
	FILE	   *file = AllocateFile(path, "r");
	char	   *token = palloc0(MAX_TOKEN_LENGTH + 2);
	size_t		length = 0;

	if (file == NULL || fstat(fileno(file), st) != 0)
		refuse_credential(server_name,
						  psprintf("Could not open the file \"%s\" that the option \"token_file\" names: %s.",
								   path, strerror(errno)));
	length = fread(token, 1, MAX_TOKEN_LENGTH + 1, file);
	if (ferror(file))
		refuse_credential(server_name,
						  psprintf("Could not read the file \"%s\" that the option \"token_file\" names.",
								   path));
	FreeFile(file);
	while (length > 0 && (token[length - 1] == '\n' || token[length - 1] == '\r'))
		token[--length] = '\0';

	for (size_t i = 0; i < length; i++)
		if (length > MAX_TOKEN_LENGTH || token[i] <= ' ' || token[i] > '~')
			length = 0;
	if (length == 0)
		refuse_credential(server_name,
						  psprintf("The file \"%s\" that the option \"token_file\" names does not hold a token.",
								   path));
	return token;
}

/* Was the token's file replaced or written since it was read? */
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
 * Something about a mapping or a server has changed.  Connections are only
 * marked: one may be in use further up the stack.
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

/* Closes what nobody uses: all such connections, or only the stale ones. */
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

	if (token == NULL && file == NULL)
		refuse_credential(server->name,
						  "The user mapping has neither of the options \"token\" and \"token_file\".");
	if (server->unread_version)
		ereport(WARNING,
				(errmsg("version \"%s\" of server \"%s\" is not understood, and ignored",
						server->unread_version, server->name),
				 errhint("GitLab's versions are declared like this: ALTER SERVER %s VERSION '18.11'.",
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
 * The connection of a role to a server; made if there is none, which costs no
 * request.  The caller owns a reference.  Raises 28000 if the role has no user
 * mapping or the mapping no usable token.
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

/* One more reference; returns the connection. */
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

/* The counters after these, the first ones after NULL, NULL at the end. */
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
