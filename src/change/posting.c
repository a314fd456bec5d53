/*-------------------------------------------------------------------------
 *
 * posting.c
 *	  Asking GitLab for new tokens.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/batch.h"
#include "change/posting.h"
#include "compat.h"
#include "gitlab/jsonc.h"
#include "gitlab/warnings.h"
#include "gitlab/words.h"
#include "http/memory.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How far apart the clocks here and at GitLab may be, in a lost token's SELECT. */
#define CLOCK_SKEW_SECONDS 60

/* How far apart they may be as long as no answer has shown GitLab's clock. */
#define UNKNOWN_SKEW_SECONDS SECS_PER_DAY


/* Adds a condition with an AND behind, if the table has a column for the field. */
static void
append_condition(StringInfo buf, const RemoteChange *change, const char *field,
				 const char *operator, const char *operand)
{
	const char *column = change_column(change, field);

	if (column)
		appendStringInfo(buf, "%s %s %s AND ", column, operator, operand);
}

/*
 * The SELECT that finds a token whose creation was not answered: as much of it
 * as the table has columns for, and as messages may show.
 */
static char *
finder_of(const RemoteChange *change, const TokenOrder *order,
		  TimestampTz since)
{
	const char *name_column = change_column(change, "name");
	StringInfoData conditions;
	StringInfoData remark;

	initStringInfo(&conditions);
	initStringInfo(&remark);
	appendStringInfoString(&conditions, order->place->condition);
	appendStringInfoString(&remark, order->place->remark);
	if (order->finds_by_owner)
		append_condition(&conditions, change, "user_id", "=",
						 psprintf(INT64_FORMAT, order->owner));
	if (order->name && name_column)
		place_add_condition(name_column,
							pg_server_to_any(order->name, strlen(order->name),
											 PG_UTF8),
							&conditions, &remark);
	append_condition(&conditions, change, "created_at", ">=",
					 quote_literal_cstr(timestamptz_to_str(since)));
	if (conditions.len > 0)
		conditions.data[conditions.len - strlen(" AND ")] = '\0';
	return psprintf("SELECT * FROM %s%s%s;%s", change->table,
					conditions.len > 0 ? " WHERE " : "", conditions.data,
					remark.data);
}

/* Notes in a debt by what its token is known, should the answer be lost. */
static void
note_order(const RemoteChange *change, Debt *debt, const TokenOrder *order)
{
	int64		skew = api_clock_is_known(change->client) ?
		CLOCK_SKEW_SECONDS : UNKNOWN_SKEW_SECONDS;

	debt->since = api_now(change->client) - skew * USECS_PER_SEC;
	debt->finder = MemoryContextStrdup(ledger.context,
									   finder_of(change, order, debt->since));
	if (order->old_id)
		ledger_assign_old(debt, order->old_id);
	debt->owner = order->owner;
	if (order->name)
		debt->name = MemoryContextStrdup(ledger.context, order->name);
}

/* Raises the error of a POST whose answer is lost.  It is never sent again. */
pg_noreturn static void
report_lost(Debt *debt, const char *action)
{
	char		description[API_DESCRIPTION_SIZE];
	const char *named = "";
	const char *feared = "A token may exist";
	int64		id = 0;

	api_describe(debt->call, description, sizeof(description));
	if (record_id(debt->call->record, &id))
		named = psprintf(" It names token " INT64_FORMAT ".", id);
	if (debt->kind == DEBT_ROTATED)
		feared = psprintf("GitLab may have revoked token " INT64_FORMAT " and made a new one",
						  debt->other_id);
	debt->reported = true;
	ereport(ERROR,
			(errcode(api_sqlstate(debt->call)),
			 errmsg("could not %s on server \"%s\": GitLab's answer was lost",
					action, debt->connection->server_name),
			 errdetail("%s%s %s whose secret nobody knows.", description, named,
					   feared),
			 debt->kind == DEBT_ROTATED ?
			 errhint("Look for its successor, and rotate that, or revoke it and create another one: %s",
					 debt->finder) :
			 errhint("Look for it, and revoke it if it is there: %s",
					 debt->finder)));
}

/* Whether two arrays of JSON have the same elements, in whatever order. */
static bool
same_elements(JsonRecord *a, JsonRecord *b)
{
	for (int turn = 0; turn < 2; turn++)
	{
		JsonRecord *these = turn == 0 ? a : b;
		JsonRecord *those = turn == 0 ? b : a;

		for (size_t i = 0; i < json_object_array_length(these); i++)
		{
			bool		found = false;

			for (size_t j = 0; j < json_object_array_length(those) && !found; j++)
				found = json_object_equal(json_object_array_get_idx(these, i),
										  json_object_array_get_idx(those, j));
			if (!found)
				return false;
		}
	}
	return true;
}

/* Whether GitLab's answer says of a field what was asked for. */
static bool
is_as_asked(JsonRecord *asked, JsonRecord *answered)
{
	if (json_object_is_type(asked, json_type_array) &&
		json_object_is_type(answered, json_type_array))
		return same_elements(asked, answered);
	return json_object_equal(asked, answered);
}

/*
 * Adds to what the answer must have what GitLab decides by the path of the request:
 * a new token is no fine-grained one, and it is for that project or group.
 */
void
posting_expect_place(const Resource *resource, TokenOrder *order)
{
	const char *container = order->place->containers[0];

	record_add(order->asked, "granular",
			   record_checked(json_object_new_boolean(false)));
	if (!resource->has_bots)
		return;
	record_add(order->asked, "resource_type",
			   record_checked(json_object_new_string(resource->container_name)));
	if (container[strspn(container, "0123456789")] == '\0')
		record_add(order->asked, "resource_id",
				   record_checked(json_object_new_int64(strtoll(container, NULL, 10))));
}

/* The secret in an answer, which belongs to it; NULL if it has none that works. */
static const char *
secret_in(JsonRecord *answer)
{
	const char *secret = record_text(answer, "token");

	return secret && connection_takes_secret(secret) ? secret : NULL;
}

/* Whether a member of an answer is this boolean.  absent: what no member counts as. */
static bool
is_boolean(JsonRecord *answer, const char *name, bool value, bool absent)
{
	JsonRecord *member = NULL;

	(void) json_object_object_get_ex(answer, name, &member);
	return member == NULL ? absent :
		json_object_is_type(member, json_type_boolean) &&
		json_object_get_boolean(member) == value;
}

/* Which fields of a new token an answer must have as they were asked for. */
static const struct
{
	const char *name;
	bool		is_new;			/* older versions of GitLab leave it out */
	bool		of_bot;			/* the answer about a token as the user's, and
								 * not the project's, leaves it out */
}			checked_fields[] = {
	{"user_id", false, false},
	{"name", false, false},
	{"description", false, false},
	{"scopes", false, false},
	{"expires_at", false, false},
	{"access_level", false, true},
	{"resource_type", true, true},	/* from 17.11, or a little before */
	{"resource_id", true, true},
	{"granular", true, false},	/* from 18.11, or a little before */
};

/*
 * The field in which an answer to a creation or rotation differs from what was
 * asked for, or NULL.  An absent member is null, as wherever it is read; GitLab's
 * oldest tokens have null in "revoked".  Raises nothing: a native rotation has
 * happened.
 */
static const char *
difference(const TokenOrder *order, JsonRecord *answer)
{
	if (secret_in(answer) == NULL)
		return "token";
	if (!is_boolean(answer, "active", true, false))
		return "active";
	if (!is_boolean(answer, "revoked", false, true))
		return "revoked";
	for (int i = 0; i < (int) lengthof(checked_fields); i++)
	{
		const char *name = checked_fields[i].name;
		JsonRecord *asked;
		JsonRecord *answered = NULL;

		if (!json_object_object_get_ex(order->asked, name, &asked) ||
			(!json_object_object_get_ex(answer, name, &answered) &&
			 (checked_fields[i].is_new ||
			  (checked_fields[i].of_bot && order->bot_is_untold))))
			continue;
		if (!is_as_asked(asked, answered))
			return name;
	}
	return NULL;
}

/* Fails the transaction for a token that is not what was asked for. */
static void
check_answer(const Debt *debt, const TokenOrder *order, JsonRecord *answer)
{
	const char *field = difference(order, answer);

	if (field)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("could not %s on server \"%s\": GitLab has created a different token",
						order->action, debt->connection->server_name),
				 errdetail("The new token " INT64_FORMAT " differs in the field \"%s\".",
						   debt->id, field),
				 errhint("The rollback revokes the new token%s.",
						 order->old_id ? ", and the old one stays" : "")));
}

/* Whether an error is about what GitLab has sent, not about server or user. */
static bool
is_about_data(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
		sqlstate == ERRCODE_PROTOCOL_VIOLATION;
}

/*
 * Whether a field of an answer can be read.  A conversion that fails for what
 * it is given has nothing to clean up.  Raises all other errors, such as that
 * of a cancel.
 */
static bool
is_readable(const Resource *resource, const ResourceField *field,
			JsonRecord *answer)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool readable = true;

	PG_TRY();
	{
		bool		isnull;

		(void) record_datum(resource, field, answer, &isnull);
	}
	PG_CATCH();
	{
		if (!is_about_data(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		readable = false;
	}
	PG_END_TRY();
	return readable;
}

/*
 * Takes out of an answer what cannot be read, and returns the name of such a field,
 * or NULL.  After a native rotation, the secret beside it must not be lost to an
 * error about a date.
 */
static const char *
drop_unreadable(const Resource *resource, JsonRecord *answer)
{
	const char *dropped = NULL;

	for (int i = 0; i < resource->nfields; i++)
		if (!is_readable(resource, &resource->fields[i], answer))
		{
			dropped = resource->fields[i].name;
			json_object_object_del(answer, dropped);
		}
	return dropped;
}

/*
 * Warns that the answer to a native rotation, which nothing can undo, differs in a
 * field from what was asked for, or that there is a problem with it; or both.  Raises
 * nothing: the secret in the answer must not be lost to a name that the client's
 * encoding lacks.
 */
static void
warn_of_answer(const Debt *debt, const TokenOrder *order, JsonRecord *answer,
			   const char *field, const char *problem)
{
	Announcement a = {{0}, {0}, {0}};
	char		new_id[32] = "one whose id is not known";
	int64		id;

	if (record_id(answer, &id))
		snprintf(new_id, sizeof(new_id), INT64_FORMAT, id);
	SAY(message,
		"the rotation of %s " INT64_FORMAT " to %s on server \"%s\" differs from the request",
		debt->resource->singular, order->old_id, new_id,
		debt->connection->server_name);
	if (problem && field)
		SAY(detail, "%s, and differs in the field \"%s\".", problem, field);
	else if (problem)
		SAY(detail, "%s.", problem);
	else
		SAY(detail, "GitLab's answer differs in the field \"%s\".", field);
	SAY(hint, "Store the secret that is returned, and look for the successor: %s",
		debt->finder);
	quiet_warn(ERRCODE_GITLAB_ANSWER_DIFFERS, &a);
}

/*
 * Sends the POST that a new debt is about.  The debt is entered first: if an
 * interrupt comes before the answer, the rollback waits for that and deals with
 * what was created.
 */
static void
send_post(const RemoteChange *change, Debt *debt, const TokenOrder *order)
{
	note_order(change, debt, order);
	debt->call = api_call_create(debt->connection, "POST", order->path,
								 order->body);
	if (debt->call == NULL)
		memory_report_exhausted();
	debt->call->resource = debt->resource;
	debt->call->salvages = debt->kind == DEBT_ROTATED;
	ledger_note_post(debt);
	ledger_enter(debt);
	api_call_start(debt->call);
}

/*
 * Takes the answer to a POST, which has come, or will not: what GitLab answered,
 * secret included, in the current memory context.  NULL: the debt is lost, or
 * GitLab has created nothing.  report_post() or forget_post() follows then.
 */
static JsonRecord *
take_answer(const RemoteChange *change, Debt *debt, const TokenOrder *order)
{
	ApiCall    *call = debt->call;
	JsonRecord *answer;
	const char *secret;
	int64		id;

	if (ledger_believes(debt, &id))
	{
		answer = record_copy(call->record);
		record_name_containers(answer, debt->resource,
							   order->place->containers);
		secret = secret_in(call->record);
		if (secret)
			debt->secret = MemoryContextStrdup(ledger.context, secret);
		ledger_assign_token(debt, id);
		ledger_note_shown(debt->connection, id);
		/* nothing can fail any more: the client goes before the debt */
		api_adopt(change->client, call);
		api_statistics(change->client)->changes_sent++;
		ledger_set_state(debt, DEBT_OWED);
		if (debt->kind == DEBT_ROTATED)
			ledger.destroyed = true;
		return answer;
	}
	if (api_verdict(call) == API_DONE || api_is_lost(call))
	{
		/* the answer may have shown GitLab's clock */
		note_order(change, debt, order);
		ledger_set_state(debt, DEBT_LOST);
		if (debt->kind == DEBT_ROTATED)
			ledger.destroyed = true;
		/* a secret that has come must not be thrown away */
		if (debt->kind == DEBT_ROTATED && api_verdict(call) == API_DONE &&
			json_object_is_type(call->record, json_type_object) &&
			record_text(call->record, "token"))
			return record_copy(call->record);
	}
	return NULL;
}

/* Strikes off a debt of which nothing came; its call is the client's from then on. */
static ApiCall *
forget_post(const RemoteChange *change, Debt *debt)
{
	ApiCall    *call = debt->call;

	debt->call = NULL;
	api_adopt(change->client, call);
	ledger_strike(debt);
	return call;
}

/* Raises the error of a POST that has no answer to be taken. */
pg_noreturn static void
report_post(const RemoteChange *change, Debt *debt, const TokenOrder *order)
{
	ApiCall    *call;

	if (debt->state == DEBT_LOST)
		report_lost(debt, order->action);
	call = forget_post(change, debt);
	/* where there is a container, 401 may be about the role in it */
	if (debt->resource->containers[0])
		(void) api_means_closed(change->client, call);
	api_report(call, order->action);
}

/*
 * Sends the POST that a new debt is about, and takes its answer.  *problem: why that
 * could not be read in full, or NULL.
 */
static JsonRecord *
post(const RemoteChange *change, Debt *debt, const TokenOrder *order,
	 const char **problem)
{
	JsonRecord *answer;

	send_post(change, debt, order);
	api_wait(&debt->call, 1);
	(void) api_verdict(debt->call);
	*problem = debt->call->problem;
	answer = take_answer(change, debt, order);
	if (answer == NULL)
		report_post(change, debt, order);
	return answer;
}

/* Notes a token that was created in the audit trail. */
static void
log_creation(Debt *debt, const TokenOrder *order, JsonRecord *answer)
{
	ledger_describe(debt, answer);
	if (order->old_id)
		ledger_log(debt, order->old_id,
				   psprintf("replaced by " INT64_FORMAT, debt->id));
	else
		ledger_log(debt, debt->id, "created");
}

/* Creates a token, at once.  Returns GitLab's answer and the token's id. */
JsonRecord *
posting_create(const RemoteChange *change, const TokenOrder *order, int64 *id)
{
	Debt	   *debt = ledger_make_debt(change, order->place, DEBT_CREATED,
										DEBT_ASKED);
	const char *problem;
	JsonRecord *answer = post(change, debt, order, &problem);

	*id = debt->id;
	check_answer(debt, order, answer);
	log_creation(debt, order, answer);
	return answer;
}

typedef struct CreationBatch
{
	Batch		batch;
	const RemoteChange *change;
	Creation   *creations;
	int			ncreations;
	int			nsent;
} CreationBatch;

static void *
next_creation(Batch *batch, ApiCall **call)
{
	CreationBatch *all = (CreationBatch *) batch;
	Creation   *creation = &all->creations[all->nsent];
	Debt	   *debt;

	if (all->nsent == all->ncreations)
		return NULL;
	debt = ledger_make_debt(all->change, creation->order.place, DEBT_CREATED,
							DEBT_ASKED);
	send_post(all->change, debt, &creation->order);
	creation->debt = debt;
	all->nsent++;
	*call = debt->call;
	return creation;
}

static bool
finish_creation(Batch *batch, void *item)
{
	Creation   *creation = item;

	creation->answer = take_answer(((CreationBatch *) batch)->change,
								   creation->debt, &creation->order);
	if (creation->answer == NULL)
		return false;
	if (difference(&creation->order, creation->answer) == NULL)
		log_creation(creation->debt, &creation->order, creation->answer);
	return true;
}

/*
 * How much the error of a creation that has failed tells: a lost answer more than a
 * refusal, and that more than what was only given up when another creation had failed.
 */
static int
weight_of(const Creation *failed)
{
	if (failed->debt->state == DEBT_LOST)
		return 2;
	return api_was_given_up(failed->debt->call) ? 0 : 1;
}

/*
 * Creates tokens, as many at a time as the table's concurrency says.  After a
 * failure no more are asked for, all that were are waited for, and then the first
 * failure is the error: it is known of each token whether it exists.
 */
void
posting_create_all(const RemoteChange *change, Creation *creations, int ncreations)
{
	CreationBatch all = {
		.batch = {
			.connection = api_connection(change->client),
			.concurrency = change->settings->concurrency,
			.next = next_creation,
			.finish = finish_creation
		},
		.change = change,
		.creations = creations,
		.ncreations = ncreations
	};
	Creation   *failed = NULL;

	batch_run(&all.batch, NULL);
	for (int i = 0; i < all.nsent; i++)
	{
		if (creations[i].answer)
			continue;
		if (failed == NULL || weight_of(&creations[i]) > weight_of(failed))
		{
			if (failed)
				forget_post(change, failed->debt);
			failed = &creations[i];
		}
		else if (creations[i].debt->state != DEBT_LOST)
			forget_post(change, creations[i].debt);
	}
	if (failed)
		report_post(change, failed->debt, &failed->order);
	for (int i = 0; i < ncreations; i++)
		check_answer(creations[i].debt, &creations[i].order,
					 creations[i].answer);
}

/* Has GitLab rotate a token, which nothing can undo.  Returns what GitLab answered. */
JsonRecord *
posting_rotate(const RemoteChange *change, const TokenOrder *order)
{
	Debt	   *debt = ledger_make_debt(change, order->place, DEBT_ROTATED,
										DEBT_ASKED);
	JsonRecord *answer;
	const char *field;
	const char *problem;

	answer = post(change, debt, order, &problem);
	field = debt->id == 0 ? ledger_shows_old(debt, answer) :
		difference(order, answer);
	if (field)
		(void) drop_unreadable(debt->resource, answer);
	else
		field = drop_unreadable(debt->resource, answer);
	if (field || problem)
		warn_of_answer(debt, order, answer, field, problem);
	ledger_describe(debt, answer);
	ledger_log(debt, order->old_id, debt->id ?
			   psprintf("replaced by " INT64_FORMAT " and revoked", debt->id) :
			   "replaced by one whose id is not known, and revoked");
	return answer;
}
