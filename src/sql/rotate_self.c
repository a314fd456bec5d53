/*-------------------------------------------------------------------------
 *
 * rotate_self.c
 *	  CALL gitlab_pat_rotate_self(): rotating the credential itself.
 *
 * GitLab's rotation kills the old token at once, so the new secret must not be
 * lost between GitLab and the user mapping, or the file that the mapping names.
 * Everything that can fail is therefore done before GitLab is asked: what a procedure
 * has done before it calls this one is committed, privileges are checked, the token is
 * locked, the mapping's row is written back unchanged, which locks it, the credential is
 * tried, and a draft of the file is made.  From the moment the request goes out until the
 * new secret is committed, interrupts are held off.
 * The secret is stored before anything else of the answer is looked at.
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
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_user_mapping.h"
#include "change/audit.h"
#include "change/lock.h"
#include "change/quiet.h"
#include "change/transaction.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gitlab/call.h"
#include "gitlab/client.h"
#include "gitlab/option.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/clock.h"
#include "http/memory.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "sql/functions.h"
#include "sql/token_file.h"
#include "storage/lock.h"
#include "storage/pmsignal.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(gitlab_pat_rotate_self);

/* The rotation under way.  All of it lives as long as the CALL. */
typedef struct SelfRotation
{
	ForeignServer *server;
	UserMapping *mapping;
	ApiClient  *client;
	char	   *credential;		/* the old one; wiped in the end */
	TokenFile  *file;			/* where the new one goes; NULL: the mapping */
	int64		old_id;
	char	   *what;			/* which token, for the audit trail */
	char	   *who;			/* rotates it, likewise */
	const char *body;			/* of the request */
	ApiCall    *answer;			/* the new token; wiped with the client */
	const char *new_secret;		/* in the answer */
	int64		new_id;			/* 0: the answer does not tell */
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

/*
 * The caller must be allowed to ALTER the mapping, and to write the file that it
 * names.
 */
static void
check_privilege(const SelfRotation *rotation)
{
	if (!compat_server_ownercheck(rotation->server->serverid, GetUserId()) &&
		mapping_owner(rotation) != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of server \"%s\" to rotate the API token of its PUBLIC user mapping",
						rotation->server->servername)));
	if (option_value(rotation->mapping->options, "token_file") &&
		!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to rotate the API token of server \"%s\"",
						rotation->server->servername),
				 errdetail("The token is in a file of the database server."),
				 errhint("Only superusers and roles with privileges of the \"pg_write_server_files\" role may rotate it.")));
}

/* The credential that the mapping has now, or its file; palloc'ed. */
static char *
read_credential(const SelfRotation *rotation)
{
	Connection *connection = connection_get(rotation->server->serverid,
											GetUserId());
	char	   *credential = pstrdup(connection->credential);

	connection_release(connection);
	return credential;
}

pg_noreturn static void
report_rotated_meanwhile(const SelfRotation *rotation)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the API token of server \"%s\" was replaced meanwhile",
					rotation->server->servername),
			 errhint("Look at gitlab_pat_self() before you rotate the token again.")));
}

/*
 * Keeps all other sessions of the cluster from rotating this credential,
 * through this mapping or another one that holds the same.  The lock goes with
 * the transaction.
 */
static void
lock_credential(const SelfRotation *rotation)
{
	const char *credential = rotation->credential;
	uint64		hash = hash_bytes_extended((const unsigned char *) credential,
										   (int) strlen(credential),
										   api_connection(rotation->client)->url_hash);
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

		/* no validator: what it could object to would lose the token */
		values[Anum_pg_user_mapping_umoptions - 1] =
			transformGenericOptions(UserMappingRelationId,
									isnull ? PointerGetDatum(NULL) : options,
									change, InvalidOid);
		replaces[Anum_pg_user_mapping_umoptions - 1] = true;
		tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls,
								  replaces);
	}
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	InvokeObjectPostAlterHook(UserMappingRelationId, rotation->mapping->umid, 0);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Makes sure that the credential works, and learns which token it is. */
static void
confirm_credential(SelfRotation *rotation)
{
	ApiCall    *call = api_get_self(rotation->client);

	(void) record_id(call->record, &rotation->old_id);
	rotation->what = audit_token(call->record);
	if (strcmp(call->connection->credential, rotation->credential) != 0)
		report_rotated_meanwhile(rotation);
	api_call_free(call);
}

/*
 * Locks the token, as an UPDATE of it does, and then the row of the user mapping: a
 * transaction that stores what it has rotated takes these locks in the same order.
 * Whatever another session has done to the token before, an answer that is asked for
 * after that shows it.
 */
static void
lock_rotation(SelfRotation *rotation)
{
	Oid			serverid = rotation->server->serverid;
	char	   *credential;

	lock_token(api_connection(rotation->client), rotation->old_id, 0);
	AcceptInvalidationMessages();
	rotation->mapping = connection_mapping(serverid, GetUserId());
	check_privilege(rotation);
	credential = read_credential(rotation);
	if (strcmp(credential, rotation->credential) != 0)
		report_rotated_meanwhile(rotation);
	explicit_bzero(credential, strlen(credential));
	write_mapping(rotation, NULL);
}

/* The body of the request.  expiry NULL: GitLab chooses one. */
static char *
request_body(const Datum *expiry)
{
	ResourceValue value = {
		.field = resource_field(resource_tokens, "expires_at"),
		.value = expiry ? *expiry : (Datum) 0,
		.isnull = expiry == NULL
	};

	return record_body(resource_tokens, NULL, &value, 1);
}

/*
 * Does all that can fail, but for a file, so that it fails while the old token works.
 * Raises an error if the credential can't be rotated by this caller now, or not to that
 * expiry (NULL: GitLab chooses one).  GitLab's answer about the credential has shown its
 * clock.
 */
static void
prepare(SelfRotation *rotation, const Datum *expiry)
{
	Oid			serverid = rotation->server->serverid;

	rotation->mapping = connection_mapping(serverid, GetUserId());
	check_privilege(rotation);
	rotation->client = api_open(serverid, GetUserId());
	rotation->credential = pstrdup(api_connection(rotation->client)->credential);
	lock_credential(rotation);
	confirm_credential(rotation);
	lock_rotation(rotation);
	rotation->client = api_open(serverid, GetUserId());
	confirm_credential(rotation);
	if (expiry)
		api_check_expiry(rotation->client, *expiry);
	rotation->body = request_body(expiry);
	rotation->who = audit_who(GetUserId());
}

/*
 * Commits what a procedure has done before it called this one.  A deferred constraint,
 * or a cursor to be held, that fails the commit must do so while the old token works.
 */
static void
commit_caller(SelfRotation *rotation)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *context_stack = error_context_stack;

	/* no message about the commit must fail for the client's encoding */
	error_context_stack = NULL;
	SPI_commit();
	error_context_stack = context_stack;
	MemoryContextSwitchTo(context);
	EnsurePortalSnapshotExists();
	explicit_bzero(rotation->credential, strlen(rotation->credential));
	rotation->server = function_server(rotation->server->servername);
}

/* Makes a draft of the file that the mapping names, if it names one. */
static void
prepare_file(SelfRotation *rotation)
{
	const char *path = option_value(rotation->mapping->options, "token_file");

	CHECK_FOR_INTERRUPTS();
	if (path)
		rotation->file = token_file_prepare(path);
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
	int64		interrupted;	/* when an interrupt was seen, by
								 * http_clock(); 0: none yet */
} Persistence;

static bool
interrupted_for_long(void *arg)
{
	Persistence *persistence = arg;
	int64		now = http_clock();

	if (!QueryCancelPending && !ProcDiePending && PostmasterIsAlive())
		return false;
	if (persistence->interrupted == 0)
		persistence->interrupted = now;
	return now - persistence->interrupted > (int64) persistence->timeout * 1000;
}

/* Which token GitLab has replaced by which, as the end of a sentence. */
static const char *
replacement(const SelfRotation *rotation)
{
	if (rotation->new_id == 0)
		return psprintf("token " INT64_FORMAT " in favor of one whose id is not known",
						rotation->old_id);
	return psprintf("token " INT64_FORMAT " in favor of " INT64_FORMAT,
					rotation->old_id, rotation->new_id);
}

/* The hint about a secret that is lost: an administrator's way out. */
static const char *
way_out(const SelfRotation *rotation)
{
	if (rotation->new_id == 0)
		return "Have an administrator look for the owner's newest token and revoke it, create another one, and call gitlab_pat_set_token() with it.";
	return psprintf("Have an administrator revoke token " INT64_FORMAT ", create another one, and call gitlab_pat_set_token() with it.",
					rotation->new_id);
}

pg_noreturn static void
report_lost(const SelfRotation *rotation, ApiCall *call)
{
	char		description[API_DESCRIPTION_SIZE] = "The wait for GitLab's answer was interrupted.";

	if (api_finished(call))
		api_describe(call, description, sizeof(description));
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not rotate API token " INT64_FORMAT " of server \"%s\": GitLab's answer was lost",
					rotation->old_id, rotation->server->servername),
			 errdetail("%s GitLab may have revoked the token and made a new one whose secret nobody knows.",
					   description),
			 errhint("If the user mapping's token no longer works, have an administrator create another one and put it into the user mapping.")));
}

/* GitLab has rotated the token, and not handed out a secret that can be used. */
pg_noreturn static void
report_no_secret(const SelfRotation *rotation)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not rotate API token " INT64_FORMAT " of server \"%s\": GitLab's answer has no secret that can be used",
					rotation->old_id, rotation->server->servername),
			 errdetail("GitLab has revoked %s.", replacement(rotation)),
			 errhint("%s", way_out(rotation))));
}

/* The audit trail's line.  Raises nothing. */
static void
log_rotation(const SelfRotation *rotation)
{
	Announcement a = {{0}, {0}, {0}};
	char		new_id[32] = "one whose id is not known,";

	if (!quiet_log_changes)
		return;
	if (rotation->new_id)
		snprintf(new_id, sizeof(new_id), INT64_FORMAT, rotation->new_id);
	SAY(message,
		"personal access token " INT64_FORMAT " replaced by %s and revoked%s in the user mapping of server \"%s\" by %s",
		rotation->old_id, new_id, rotation->what, rotation->server->servername,
		rotation->who);
	quiet_announce(api_log_level(), &a);
}

/* Has GitLab rotate the credential.  Interrupts are held off. */
static void
rotate(SelfRotation *rotation)
{
	Connection *connection = api_connection(rotation->client);
	Persistence persistence = {.timeout = connection->rollback_timeout};
	const char *action = psprintf("rotate API token " INT64_FORMAT,
								  rotation->old_id);
	ApiCall    *call = api_call_create(connection, "POST", SELF_PATH "/rotate",
									   rotation->body);
	const char *secret;

	if (call == NULL)
		memory_report_exhausted();
	call->salvages = true;
	api_adopt(rotation->client, call);
	api_call_start(call);
	if (api_wait_quietly(&call, 1, interrupted_for_long, &persistence) < 0)
		api_last_attempt(call);
	if (!api_finished(call) || api_is_lost(call))
		report_lost(rotation, call);
	api_check(call, action);
	if (!record_id(call->record, &rotation->new_id))
		rotation->new_id = 0;
	/* whatever goes wrong from here on, GitLab has done it */
	log_rotation(rotation);
	secret = record_text(call->record, "token");
	if (secret == NULL || !connection_takes_secret(secret))
		report_no_secret(rotation);
	rotation->new_secret = secret;
	rotation->answer = call;
}

/* Like rotate(), and leaves no draft of the file if that fails. */
static void
rotate_or_clean_up(SelfRotation *rotation)
{
	PG_TRY();
	{
		rotate(rotation);
	}
	PG_CATCH();
	{
		if (rotation->file)
			token_file_discard(rotation->file);
		PG_RE_THROW();
	}
	PG_END_TRY();
}


/* ----------
 * With the new secret in hand
 * ----------
 */

/* Puts the new secret into the file.  Raises an error that says where it is. */
static void
store_in_file(SelfRotation *rotation)
{
	TokenFile  *file = rotation->file;
	TokenFileResult result = token_file_store(file, rotation->new_secret);

	if (result == TOKEN_FILE_STORED)
		return;
	if (result == TOKEN_FILE_IN_DRAFT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not store the new API token of server \"%s\"",
						rotation->server->servername),
				 errdetail("GitLab has revoked %s, whose secret is in file \"%s\": %s.",
						   replacement(rotation), token_file_draft(file),
						   token_file_problem(file)),
				 errhint("Rename that file to \"%s\".", token_file_path(file))));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not store the new API token of server \"%s\"",
					rotation->server->servername),
			 errdetail("GitLab has revoked %s, whose secret is lost: %s.",
					   replacement(rotation), token_file_problem(file)),
			 errhint("%s", way_out(rotation))));
}

/* Takes the current error out of the way; palloc'ed in a context. */
static ErrorData *
take_error(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	return error;
}

/*
 * Stores the new secret and commits.  Whatever goes wrong here is reported with
 * both ids, for the old token is dead.
 */
static void
store(SelfRotation *rotation)
{
	MemoryContext context = CurrentMemoryContext;

	if (rotation->file)
		store_in_file(rotation);
	PG_TRY();
	{
		if (rotation->file == NULL)
			write_mapping(rotation, rotation->new_secret);
		/* with synchronous_commit = off, too, the commit is durable */
		ForceSyncCommit();
		SPI_commit();
	}
	PG_CATCH();
	{
		ErrorData  *error = take_error(context);

		if (rotation->file)
			ereport(ERROR,
					(errcode(error->sqlerrcode),
					 errmsg("could not commit after rotating the API token of server \"%s\"",
							rotation->server->servername),
					 errdetail("GitLab has revoked %s, whose secret is in file \"%s\": %s",
							   replacement(rotation),
							   token_file_path(rotation->file), error->message),
					 errhint("Nothing needs to be done.")));
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("could not store the new API token of server \"%s\"",
						rotation->server->servername),
				 errdetail("GitLab has revoked %s, whose secret is lost: %s",
						   replacement(rotation), error->message),
				 errhint("%s", way_out(rotation))));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* Asks GitLab with the new credential, and looks at the answer of the rotation. */
static void
check_result(SelfRotation *rotation, Datum *expiry, bool *expiry_isnull)
{
	ApiClient  *client = api_open(rotation->server->serverid, GetUserId());
	ApiCall    *call = api_get_self(client);
	int64		told = rotation->new_id;

	(void) record_id(call->record, &rotation->new_id);
	if (told != 0 && told != rotation->new_id)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("GitLab has answered the rotation with another id, " INT64_FORMAT,
						told)));
	*expiry = record_datum(resource_tokens,
						   resource_field(resource_tokens, "expires_at"),
						   rotation->answer->record, expiry_isnull);
}

/*
 * Verifies what is committed.  Trouble is a WARNING now, for the rotation is done
 * and stored; a cancel, which means the caller, is an error that says so.
 */
static void
verify(SelfRotation *rotation, Datum *expiry, bool *expiry_isnull)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	*expiry_isnull = true;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		check_result(rotation, expiry, expiry_isnull);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error = take_error(context);
		bool		canceled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;

		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		*expiry_isnull = true;
		ereport(canceled ? ERROR : WARNING,
				(errcode(canceled ? ERRCODE_QUERY_CANCELED :
						 ERRCODE_GITLAB_CREDENTIAL_UNTRIED),
				 errmsg("could not verify the new API token of server \"%s\"",
						rotation->server->servername),
				 errdetail("GitLab has revoked %s, which is stored: %s%s%s",
						   replacement(rotation), error->message,
						   error->detail ? ": " : "",
						   error->detail ? error->detail : ""),
				 errhint("Check it with gitlab_pat_self().")));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Warns that the answer, whose secret is stored, could not be read in full. */
static void
warn_of_answer(const SelfRotation *rotation)
{
	if (rotation->answer->problem)
		ereport(WARNING,
				(errcode(ERRCODE_GITLAB_ANSWER_DIFFERS),
				 errmsg("the rotation of the API token of server \"%s\" differs from the request",
						rotation->server->servername),
				 errdetail("%s. GitLab has revoked %s, which is stored.",
						   rotation->answer->problem, replacement(rotation)),
				 errhint("Check it with gitlab_pat_self().")));
}

/* Refuses a CALL before anything is looked up. */
static void
check_call(FunctionCallInfo fcinfo)
{
	function_check_call(fcinfo, "gitlab_pat_rotate_self",
						"It commits by itself: GitLab's rotation cannot be rolled back.");
	option_check_writable();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server name must not be null")));
}

/*
 * Rotates the credential in the caller's user mapping of a server, and stores
 * the new one there, or in the file that the mapping names.  Commits.  The
 * secret is shown nowhere.
 */
Datum
gitlab_pat_rotate_self(PG_FUNCTION_ARGS)
{
	SelfRotation rotation = {0};
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *context_stack = error_context_stack;
	bool		is_nested = SPI_inside_nonatomic_context();
	Datum		values[2] = {0};
	bool		nulls[2] = {false, true};
	TupleDesc	desc;
	Datum		expiry;

	check_call(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of gitlab_pat_rotate_self()");
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	MemoryContextSwitchTo(context);

	rotation.server = function_server(NameStr(*PG_GETARG_NAME(0)));
	expiry = PG_GETARG_DATUM(1);
	prepare(&rotation, PG_ARGISNULL(1) ? NULL : &expiry);
	if (is_nested)
	{
		commit_caller(&rotation);
		prepare(&rotation, PG_ARGISNULL(1) ? NULL : &expiry);
	}
	prepare_file(&rotation);

	/* not before there was a last chance to cancel, in prepare_file() */
	HOLD_INTERRUPTS();

	/*
	 * no message must fail because the client's encoding can't hold its
	 * context
	 */
	error_context_stack = NULL;
	rotate_or_clean_up(&rotation);
	store(&rotation);
	error_context_stack = context_stack;
	RESUME_INTERRUPTS();
	explicit_bzero(rotation.credential, strlen(rotation.credential));
	verify(&rotation, &values[1], &nulls[1]);
	warn_of_answer(&rotation);
	SPI_finish();
	MemoryContextSwitchTo(context);

	values[0] = Int64GetDatum(rotation.new_id);
	nulls[0] = rotation.new_id == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
