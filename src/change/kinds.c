/*-------------------------------------------------------------------------
 *
 * kinds.c
 *	  Which of the tokens of users are impersonation tokens.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/kinds.h"
#include "compat.h"
#include "gitlab/stream.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The most tokens and owners that a session remembers; then it begins anew. */
#define MAX_KNOWN 10000

/*
 * A token that was created this long before a list was asked for is older than the
 * list.  The clocks of GitLab's machines may differ, or be set back a bit.
 */
#define CLOCK_MARGIN (60 * USECS_PER_SEC)

struct TokenKinds
{
	HTAB	   *owners;			/* of TokenOwner */
	HTAB	   *impersonation;	/* ids of such tokens of listed owners */
};

/* A user some of whose tokens a statement replaces. */
typedef struct TokenOwner
{
	int64		id;				/* the key */
	bool		listed;			/* all impersonation tokens are known */
	bool		closed;			/* the list may not be read, or is long */
} TokenOwner;

/* A token or a user of an instance of GitLab: see Connection. */
typedef struct KnownKey
{
	uint64		instance;
	int64		id;
} KnownKey;

typedef enum TokenKind
{
	KIND_UNKNOWN,				/* it was shown, and no more */
	KIND_PERSONAL,
	KIND_IMPERSONATION
} TokenKind;

/* A token that the session has met. */
typedef struct KnownToken
{
	KnownKey	key;
	TimestampTz created_at;		/* as long as this is so, it is that token:
								 * GitLab may be restored from a backup */
	TokenKind	kind;
	int64		shown;			/* when it was shown first: see `moment` */
} KnownToken;

/* A user whose impersonation tokens the session has listed. */
typedef struct KnownOwner
{
	KnownKey	key;
	TimestampTz listed_at;		/* all that had been created by then, by
								 * GitLab's clock, and were active are known */
	int64		listed;			/* so are those that had been shown by this
								 * moment */
} KnownOwner;

/* The session's knowledge; NULL: there is none. */
static MemoryContext known_context = NULL;
static HTAB *known_tokens = NULL;
static HTAB *known_owners = NULL;

/* Numbers the answers that the session learns kinds from, in their order. */
static int64 moment = 0;


/* ----------
 * What the session knows
 * ----------
 */

static HTAB *
make_known(const char *name, Size entry_size)
{
	HASHCTL		ctl = {.keysize = sizeof(KnownKey), .entrysize = entry_size,
		.hcxt = known_context
	};

	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Makes room for one more entry. */
static void
make_room(void)
{
	if (known_owners &&
		hash_get_num_entries(known_tokens) + hash_get_num_entries(known_owners) <
		MAX_KNOWN)
		return;
	known_owners = known_tokens = NULL;
	if (known_context)
		MemoryContextReset(known_context);
	else
		known_context = AllocSetContextCreate(TopMemoryContext,
											  "gitlab_pat_fdw kinds",
											  ALLOCSET_SMALL_SIZES);
	known_tokens = make_known("gitlab_pat_fdw known tokens", sizeof(KnownToken));
	known_owners = make_known("gitlab_pat_fdw known owners", sizeof(KnownOwner));
}

/* The entry for a token, as a record describes it; NULL if it does not. */
static KnownToken *
note_token(const Connection *connection, JsonRecord *record)
{
	KnownKey	key = {.instance = connection->instance};
	KnownToken *token;
	TimestampTz created_at;
	bool		found;

	if (!record_id(record, &key.id) ||
		!record_moment(record, "created_at", &created_at))
		return NULL;
	make_room();
	token = hash_search(known_tokens, &key, HASH_ENTER, &found);
	if (found && token->created_at == created_at)
		return token;
	token->created_at = created_at;
	token->kind = KIND_UNKNOWN;
	token->shown = ++moment;
	return token;
}

/* Remembers the kind of a token. */
void
kinds_note(const RemoteChange *change, JsonRecord *record, bool impersonation)
{
	KnownToken *token = note_token(api_connection(change->client), record);

	if (token)
		token->kind = impersonation ? KIND_IMPERSONATION : KIND_PERSONAL;
}

/* Remembers that there is a token: the next list of its owner's tells its kind. */
void
kinds_note_shown(const Connection *connection, JsonRecord *record)
{
	(void) note_token(connection, record);
}

/* Remembers that the impersonation tokens of an owner were listed. */
static void
note_owner(const RemoteChange *change, int64 id, TimestampTz listed_at,
		   int64 listed)
{
	KnownKey	key = {.instance = api_connection(change->client)->instance,
		.id = id
	};
	KnownOwner *owner;

	make_room();
	owner = hash_search(known_owners, &key, HASH_ENTER, NULL);
	owner->listed_at = listed_at;
	owner->listed = listed;
}

/* Nothing is known yet; in a statement's memory context. */
static TokenKinds *
make_kinds(MemoryContext context)
{
	TokenKinds *kinds = MemoryContextAlloc(context, sizeof(TokenKinds));
	HASHCTL		ctl = {.keysize = sizeof(int64), .hcxt = context};

	ctl.entrysize = sizeof(TokenOwner);
	kinds->owners = hash_create("gitlab_pat_fdw owners", 16, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(int64);
	kinds->impersonation = hash_create("gitlab_pat_fdw impersonation tokens",
									   16, &ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return kinds;
}

/* Returns a statement's kinds of tokens, and makes them for its first token. */
static TokenKinds *
known_to(TokenKinds **statement, const RemoteChange *change)
{
	if (*statement == NULL)
		*statement = make_kinds(change->context);
	return *statement;
}

/* The entry that remembers an owner; the first time, all its flags are false. */
static TokenOwner *
owner_of(TokenKinds *kinds, int64 id)
{
	bool		found;
	TokenOwner *owner = hash_search(kinds->owners, &id, HASH_ENTER, &found);

	if (!found)
		owner->listed = owner->closed = false;
	return owner;
}

/* Opens the list of an owner's impersonation tokens; it may be empty. */
static Stream *
list_impersonation(RemoteChange *change, int64 owner)
{
	const Resource *resource = resource_find("impersonation_tokens");
	ApiTarget  *target = palloc0(sizeof(ApiTarget));
	StreamListing listing = {
		.target = target,
		.parameters = api_parameter("state", "active"),
		.page_size = change->settings->page_size,
		.concurrency = 1,
		.skips = true
	};

	target->containers[0] = psprintf(INT64_FORMAT, owner);
	target->path = resource_path(resource, target->containers, NULL);
	return stream_list(change->client, resource, &listing);
}

/*
 * Reads such a list.  Of one that may not be read, nothing is known, nor of one with
 * more than one page if only that is worth it.
 */
static void
read_impersonation(TokenKinds *kinds, const RemoteChange *change,
				   TokenOwner *owner, Stream *stream, bool one_page)
{
	JsonRecord *record;
	int64		id;
	int			n = 0;
	bool		is_long = false;

	while (!is_long && (record = stream_next(stream)) != NULL)
	{
		if (!record_id(record, &id))
			continue;
		(void) hash_search(kinds->impersonation, &id, HASH_ENTER, NULL);
		kinds_note(change, record, true);
		is_long = one_page && ++n == change->settings->page_size;
	}
	owner->closed = is_long || stream_skipped(stream) != NIL;
	owner->listed = !owner->closed;
	stream_end(stream);
}

/*
 * Remembers an owner whose list was asked for at a time of ours, and at a moment.
 * Without GitLab's clock, times do not tell which tokens are older.
 */
static void
note_listed(const RemoteChange *change, int64 owner_id, TimestampTz asked,
			int64 listed)
{
	Connection *connection = api_connection(change->client);

	connection->sees_kinds = true;
	note_owner(change, owner_id, api_clock_is_known(change->client) ?
			   asked + connection->clock_offset * USECS_PER_SEC - CLOCK_MARGIN :
			   DT_NOBEGIN, listed);
}

/* Learns the same of owners; one_page: of those with few such tokens. */
static void
learn(TokenKinds *kinds, RemoteChange *change, const int64 *owners, int nowners,
	  bool one_page)
{
	Stream	  **streams = palloc0(sizeof(Stream *) * Max(nowners, 1));
	TimestampTz began = GetCurrentTimestamp();
	int64		asked = ++moment;
	int			ahead = 0;

	for (int i = 0; i < nowners; i++)
	{
		for (; ahead < nowners && ahead < i + change->settings->concurrency;
			 ahead++)
		{
			TokenOwner *owner = owner_of(kinds, owners[ahead]);

			if (owner->listed || owner->closed)
				continue;
			owner->listed = true;	/* or it will be, further down */
			streams[ahead] = list_impersonation(change, owners[ahead]);
			stream_prefetch(streams[ahead]);
		}
		if (streams[i])
		{
			TokenOwner *owner = owner_of(kinds, owners[i]);

			read_impersonation(kinds, change, owner, streams[i], one_page);
			if (owner->listed)
				note_listed(change, owner->id, began, asked);
		}
	}
	pfree(streams);
}

/*
 * Learns which tokens of some owners are impersonation tokens: a list for each owner,
 * several at a time.
 */
void
kinds_learn(TokenKinds **kinds, RemoteChange *change, const int64 *owners,
			int nowners)
{
	learn(known_to(kinds, change), change, owners, nowners, false);
}

/*
 * Whether the token expires so soon that "active" in a list may mean another
 * day than in the token itself.  The list is selected by the date of the
 * instance's time zone.
 */
static bool
is_about_to_expire(JsonRecord *record)
{
	bool		isnull;
	Datum		expiry = record_datum(resource_tokens,
									  resource_field(resource_tokens, "expires_at"),
									  record, &isnull);

	return !isnull && DatumGetDateADT(expiry) <=
		(DateADT) (GetCurrentTimestamp() / USECS_PER_DAY) + 2;
}

/*
 * Looks up what the session knows of a token: false if not its kind.  A token may be
 * active now, and have been created when its owner's list was asked for.  An
 * impersonation token like that was in the list: what was revoked or has expired stays
 * so.
 */
static bool
recall(const RemoteChange *change, int64 id, int64 owner_id, JsonRecord *record,
	   bool *impersonation)
{
	KnownKey	key = {.instance = api_connection(change->client)->instance,
		.id = id
	};
	const KnownToken *token;
	const KnownOwner *owner;
	TimestampTz created_at;

	/* a credential that may not make tokens for users is to be told so */
	if (known_owners == NULL || !api_connection(change->client)->sees_kinds ||
		!record_moment(record, "created_at", &created_at))
		return false;
	token = hash_search(known_tokens, &key, HASH_FIND, NULL);
	if (token && token->created_at != created_at)
		token = NULL;
	*impersonation = token && token->kind == KIND_IMPERSONATION;
	if (token && token->kind != KIND_UNKNOWN)
		return true;
	key.id = owner_id;
	owner = hash_search(known_owners, &key, HASH_FIND, NULL);
	return owner && !is_about_to_expire(record) &&
		(created_at < owner->listed_at ||
		 (token && token->shown < owner->listed));
}

/* Whether the session knows the kind of a token already. */
bool
kinds_are_known(const RemoteChange *change, int64 id, int64 owner_id,
				JsonRecord *record)
{
	bool		impersonation;

	return recall(change, id, owner_id, record, &impersonation);
}

/*
 * Whether a token is an impersonation token.  These are made elsewhere.  A list
 * tells the kinds of an owner's tokens; a lookup that of a token which may not
 * be in the list.
 */
bool
kinds_is_impersonation(TokenKinds **kinds, RemoteChange *change, int64 id,
					   int64 owner_id, JsonRecord *record)
{
	TokenKinds *known = known_to(kinds, change);
	bool		impersonation;
	ApiCall    *call;

	if (recall(change, id, owner_id, record, &impersonation))
		return impersonation;
	if (!is_about_to_expire(record))
	{
		learn(known, change, &owner_id, 1, true);
		if (owner_of(known, owner_id)->listed)
			return hash_search(known->impersonation, &id, HASH_FIND, NULL) != NULL;
	}
	call = api_get_with_role(change->client,
							 psprintf("/users/" INT64_FORMAT "/impersonation_tokens/" INT64_FORMAT,
									  owner_id, id), true,
							 psprintf("replace personal access token " INT64_FORMAT, id),
							 psprintf("Only an administrator's API token, with \"admin_mode\" where GitLab's Admin Mode is on, can make a token for a user.  Others can rotate their own: set the option \"rotation\" of foreign table \"%s\" to \"native\".",
									  change->name));
	api_connection(change->client)->sees_kinds = true;
	kinds_note(change, record, call != NULL);
	if (call == NULL)
		return false;
	api_call_free(call);
	return true;
}
