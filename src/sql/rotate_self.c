/*-------------------------------------------------------------------------
 *
 * selfrotate.c
 *	  CALL gitlab_pat_rotate_self(): rotating the credential itself.
 *
 * GitLab's rotation kills the old token at once, so the new secret must not be
 * lost between GitLab and the user mapping.  Everything that can fail is
 * therefore done before GitLab is asked: privileges are checked, the mapping's
 * row is written back unchanged, which locks it, and the credential is tried.
 * From the moment the request goes out until the new secret is committed,
 * interrupts are held off.
 *
 * The row is written directly in the catalog: an ALTER USER MAPPING would put
 * the secret into a statement's text, which logs and views show.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/record.h"
#include "gitlab/words.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "change/quiet.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "http/engine.h"
#include "sql/functions.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "gitlab/option.h"
#include "storage/lock.h"
#include "storage/pmsignal.h"
#include "fdw/token.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define SELF_PATH "/personal_access_tokens/self"

PG_FUNCTION_INFO_V1(gitlab_pat_rotate_self);

/* What is being rotated. */
typedef struct SelfRotation
{
	ForeignServer *server;
	UserMapping *mapping;
	ApiClient  *client;
	int64		old_id;
	int64		new_id;
	char	   *new_secret;
	Datum		new_expiry;
	bool		new_expiry_isnull;
} SelfRotation;


/* ----------
 * Before GitLab is asked
 * ----------
 */

/* Whom the mapping is for by the catalog: 0 is PUBLIC. */
static Oid
mapping_owner(const SelfRotation *rotation)
{
	HeapTuple	tuple = SearchSysCache1(USERMAPPINGOID,
										ObjectIdGetDatum(rotation->mapping->umid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for user mapping %u",
			 rotation->mapping->umid);
	owner = ((Form_pg_user_mapping) GETSTRUCT(tuple))->umuser;
	ReleaseSysCache(tuple);
	return owner;
}

/* The caller must be allowed to ALTER the mapping. */
static void
check_privilege(const SelfRotation *rotation)
{
	if (compat_server_ownercheck(rotation->server->serverid, GetUserId()))
		return;
	if (mapping_owner(rotation) != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of server \"%s\" to rotate the API token of its PUBLIC user mapping",
						rotation->server->servername)));
}

/* The credential that the mapping holds, palloc'ed. */
static char *
mapped_credential(const SelfRotation *rotation)
{
	const char *token = option_value(rotation->mapping->options, "token");

	if (token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the API token of server \"%s\" is read from a file",
						rotation->server->servername),
				 errdetail("gitlab_pat_rotate_self() cannot write the option \"token_file\"'s file."),
				 errhint("Let whoever writes the file rotate the token.")));
	return pstrdup(token);
}

/*
 * Keeps all other sessions of the cluster from rotating this credential,
 * through this mapping or another one that holds the same.  The lock goes with
 * the transaction.
 */
static void
lock_credential(const SelfRotation *rotation, const char *credential)
{
	const char *url = option_value(rotation->server->options, "url");
	uint64		hash = hash_bytes_extended((const unsigned char *) credential,
										   (int) strlen(credential),
										   hash_bytes_extended((const unsigned char *) url,
															   (int) strlen(url), 0));
	LOCKTAG		tag;

	/* no database: a mapping of another one may hold the same secret */
	SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32) (hash >> 32), (uint32) hash, 1);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the API token of server \"%s\" is being rotated by another session",
						rotation->server->servername)));
}

/*
 * Writes the mapping's row, with a new token or, if that is NULL, unchanged.
 */
static void
write_mapping(const SelfRotation *rotation, const char *token)
{
	Relation	rel = table_open(UserMappingRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(USERMAPPINGOID,
											ObjectIdGetDatum(rotation->mapping->umid));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the user mapping for server \"%s\" was dropped meanwhile",
						rotation->server->servername)));
	if (token)
	{
		ForeignDataWrapper *fdw = GetForeignDataWrapper(rotation->server->fdwid);
		List	   *change = list_make1(makeDefElemExtended(NULL, "token",
															(Node *) makeString(pstrdup(token)),
															DEFELEM_SET, -1));
		Datum		values[Natts_pg_user_mapping] = {0};
		bool		nulls[Natts_pg_user_mapping] = {0};
		bool		replaces[Natts_pg_user_mapping] = {0};
		bool		isnull;
		Datum		options = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
											  Anum_pg_user_mapping_umoptions,
											  &isnull);

		values[Anum_pg_user_mapping_umoptions - 1] =
			transformGenericOptions(UserMappingRelationId,
									isnull ? PointerGetDatum(NULL) : options,
									change, fdw->fdwvalidator);
		replaces[Anum_pg_user_mapping_umoptions - 1] = true;
		tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls,
								  replaces);
	}
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	InvokeObjectPostAlterHook(UserMappingRelationId, rotation->mapping->umid, 0);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Does the credential work, right now?  Which token is it? */
static void
confirm_credential(SelfRotation *rotation)
{
	ApiCall    *call = api_get_self(rotation->client);

	if (!resource_id(call->record, &rotation->old_id) ||
		strcmp(call->connection->credential,
			   option_value(rotation->mapping->options, "token")) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("could not confirm the API token of server \"%s\"",
						rotation->server->servername)));
	api_call_free(call);
}


/* ----------
 * The point of no return
 * ----------
 */

/*
 * The answer is worth waiting for: without it, the credential is lost.  A
 * cancel, a terminate or the postmaster's end is obeyed after
 * rollback_timeout only.
 */
typedef struct Persistence
{
	int			timeout;		/* ms */
	TimestampTz interrupted;	/* when an interrupt was seen; 0: none yet */
} Persistence;

static bool
interrupted_for_long(void *arg)
{
	Persistence *persistence = arg;
	TimestampTz now = GetCurrentTimestamp();

	if (!QueryCancelPending && !ProcDiePending && PostmasterIsAlive())
		return false;
	if (persistence->interrupted == 0)
		persistence->interrupted = now;
	return TimestampDifferenceExceeds(persistence->interrupted, now,
									  persistence->timeout);
}

pg_noreturn static void
report_lost(const SelfRotation *rotation, ApiCall *call)
{
	char		description[API_DESCRIPTION_SIZE] = "The wait for GitLab's answer was interrupted.";

	if (call->exchange->finished)
		api_describe(call, description, sizeof(description));
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not rotate API token " INT64_FORMAT " of server \"%s\": GitLab's answer was lost",
					rotation->old_id, rotation->server->servername),
			 errdetail("%s GitLab may have revoked the token and made a new one whose secret nobody knows.",
					   description),
			 errhint("If the user mapping's token no longer works, have an administrator create another one and put it into the user mapping.")));
}

/* Has GitLab rotate the credential.  Interrupts are held off. */
static void
rotate(SelfRotation *rotation, const char *body)
{
	Connection *connection = api_connection(rotation->client);
	Persistence persistence = {.timeout = connection->rollback_timeout};
	ApiCall    *call = api_call_create(connection, "POST", SELF_PATH "/rotate",
									   body);
	const ResourceField *token = resource_field(resource_tokens, "token");
	const ResourceField *expiry = resource_field(resource_tokens, "expires_at");
	Datum		secret;
	bool		isnull;

	if (call == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	api_adopt(rotation->client, call);
	api_call_start(call);
	if (api_wait_quietly(&call, 1, interrupted_for_long, &persistence) < 0)
		http_last_attempt(call->exchange);
	if (!call->exchange->finished || api_call_judge(call) == API_LOST)
		report_lost(rotation, call);
	api_check(call, "rotate the API token in use");
	if (!resource_id(call->record, &rotation->new_id))
		report_lost(rotation, call);
	secret = resource_datum(resource_tokens, token, call->record, &isnull);
	if (isnull)
		report_lost(rotation, call);
	rotation->new_secret = TextDatumGetCString(secret);
	rotation->new_expiry = resource_datum(resource_tokens, expiry, call->record,
										  &rotation->new_expiry_isnull);
	api_call_free(call);
}

/*
 * Stores the new secret and commits.  Whatever goes wrong here is reported with
 * both ids, for the old token is dead.
 */
static void
store(SelfRotation *rotation)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		write_mapping(rotation, rotation->new_secret);
		SPI_commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("could not store the new API token of server \"%s\"",
						rotation->server->servername),
				 errdetail("GitLab has revoked token " INT64_FORMAT " in favor of " INT64_FORMAT ", whose secret is lost: %s",
						   rotation->old_id, rotation->new_id, error->message),
				 errhint("Have an administrator revoke token " INT64_FORMAT ", create another one, and put it into the user mapping.",
						 rotation->new_id)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* The new credential is in the mapping; does it work? */
static void
verify(const SelfRotation *rotation)
{
	ApiClient  *client = api_open(rotation->server->serverid, GetUserId());
	ApiCall    *call = api_get_self(client);
	int64		id;

	if (!resource_id(call->record, &id) || id != rotation->new_id)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("GitLab does not take the new API token of server \"%s\" for " INT64_FORMAT,
						rotation->server->servername, rotation->new_id)));
	api_call_free(call);
}

static char *
request_body(bool has_expiry, Datum expiry)
{
	ResourceValue value = {
		.field = resource_field(resource_tokens, "expires_at"),
		.value = expiry,
		.isnull = !has_expiry
	};

	return resource_body(resource_tokens, NULL, &value, 1);
}

/*
 * Rotates the credential in the caller's user mapping of a server, and stores
 * the new one there.  Commits.  The secret is shown nowhere.
 */
Datum
gitlab_pat_rotate_self(PG_FUNCTION_ARGS)
{
	SelfRotation rotation = {0};
	bool		has_expiry = !PG_ARGISNULL(1);
	Datum		expiry = has_expiry ? PG_GETARG_DATUM(1) : (Datum) 0;
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *context_stack = error_context_stack;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	TupleDesc	desc;
	char	   *credential;
	char	   *body;

	function_check_call(fcinfo, "gitlab_pat_rotate_self",
						"It commits by itself: GitLab's rotation cannot be rolled back.");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server name must not be null")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_rotate_self()");
	if (has_expiry)
		token_check_expiry(expiry);
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	MemoryContextSwitchTo(context);

	rotation.server = function_server(NameStr(*PG_GETARG_NAME(0)));
	rotation.mapping = connection_mapping(rotation.server->serverid, GetUserId());
	check_privilege(&rotation);
	credential = mapped_credential(&rotation);
	lock_credential(&rotation, credential);
	AcceptInvalidationMessages();
	rotation.mapping = connection_mapping(rotation.server->serverid, GetUserId());
	if (strcmp(mapped_credential(&rotation), credential) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the API token of server \"%s\" was rotated by another session meanwhile",
						rotation.server->servername)));
	write_mapping(&rotation, NULL);
	rotation.client = api_open(rotation.server->serverid, GetUserId());
	confirm_credential(&rotation);
	body = request_body(has_expiry, expiry);

	CHECK_FOR_INTERRUPTS();
	HOLD_INTERRUPTS();

	/*
	 * no message must fail because the client's encoding can't hold its
	 * context
	 */
	error_context_stack = NULL;
	rotate(&rotation, body);
	store(&rotation);
	error_context_stack = context_stack;
	RESUME_INTERRUPTS();
	explicit_bzero(rotation.new_secret, strlen(rotation.new_secret));
	if (quiet_log_changes)
		ereport(api_log_level(),
				(errmsg("personal access token " INT64_FORMAT " created in place of " INT64_FORMAT " on server \"%s\" for the user mapping of role \"%s\"",
						rotation.new_id, rotation.old_id,
						rotation.server->servername,
						GetUserNameFromId(GetUserId(), false)),
				 errhidestmt(true), errhidecontext(true)));
	verify(&rotation);
	SPI_finish();
	MemoryContextSwitchTo(context);

	values[0] = Int64GetDatum(rotation.new_id);
	values[1] = rotation.new_expiry;
	nulls[1] = rotation.new_expiry_isnull;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
