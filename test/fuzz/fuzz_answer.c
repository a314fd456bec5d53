/*-------------------------------------------------------------------------
 *
 * fuzz_answer.c
 *	  Fuzzing answers: bodies of JSON on their way to Datums; and statuses
 *	  and headers on their way to retries, paging, and error messages.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "http/engine.h"
#include "lib/stringinfo.h"

#define http_header fuzz_header
#include "gitlab/call.c"
#include "gitlab/words.c"
#include "gitlab/client.c"

/* The longest wait that a server may ask of us, in ms. */
#define LONGEST_WAIT 60000

static const int statuses_tried[] = {200, 201, 204, 302, 400, 401, 403, 404,
409, 422, 429, 500, 502, 503, 520, 100};

static Connection *
fuzz_connection(void)
{
	static Connection *connection = NULL;
	static RequestCounters counters;
	HttpSettings settings = {
		.base_url = "http://127.0.0.1",
		.path_prefix = "/api/v4",
		.user_agent = "fuzz",
		.bearer = FUZZ_CREDENTIAL,
		.tls_verify = true,
		.connect_timeout = 5000,
		.request_timeout = 5000,
		.max_response_size = 16 * 1024 * 1024,
	};

	if (connection)
		return connection;
	connection = MemoryContextAllocZero(TopMemoryContext, sizeof(Connection));
	connection->context = AllocSetContextCreate(TopMemoryContext, "connection",
												ALLOCSET_SMALL_SIZES);
	connection->references = 1;
	connection->server_name = "fuzz";
	connection->credential = FUZZ_CREDENTIAL;
	fuzz_credential_used = true;
	connection->max_retries = 4;
	connection->max_retry_wait = LONGEST_WAIT;
	connection->client = http_client_create(connection->context, &settings);
	connection->counters = &counters;
	return connection;
}

/* All that may be asked about a call that was answered. */
static void
examine_call(ApiCall *call)
{
	char		description[API_DESCRIPTION_SIZE];
	ApiVerdict	outcome = api_verdict(call);

	if (outcome == API_DONE && call->exchange->status == 204)
		return;
	if (outcome == API_DONE && call->record == NULL)
		fuzz_fail("a success without a record", "");
	api_describe(call, description, sizeof(description));
	fuzz_check_text(description);
	fuzz_check_text(api_hint(call));
	fuzz_check_text(rate_limit_hint(call));
	if (outcome == API_DONE)
		return;
	PG_TRY();
	{
		api_check(call, "be fuzzed");
		fuzz_fail("a failure is no error", description);
	}
	FUZZ_EXPECT(api_sqlstate(call), 0);
}

static void
convert_record(const Resource *resource, JsonRecord *record)
{
	for (int i = 0; i < resource->nfields; i++)
	{
		bool		isnull;

		PG_TRY();
		{
			(void) record_datum(resource, &resource->fields[i], record,
								&isnull);
		}
		FUZZ_EXPECT(ERRCODE_PROTOCOL_VIOLATION);
	}
}

/* A token that is copied keeps its id and its scopes, whatever they are. */
static void
copy_record(const Resource *resource, JsonRecord *record)
{
	ResourceValue value = {
		.field = resource_field(resource, "expires_at"),
		.value = Int32GetDatum(9999)
	};
	char	   *body = record_body(resource, record, &value, 1);
	JsonRecord *copy = json_tokener_parse(body);

	if (!json_object_is_type(copy, json_type_object))
		fuzz_fail("the body of a request is not a JSON object", body);
	json_object_put(copy);
}

static void
examine_record(ApiClient *client, ApiCall *call)
{
	const Resource *resource = NULL;
	JsonRecord *record = call->record;

	/* only the answer to a GET is read as a list */
	bool		is_page = call->list.text != NULL ||
		!json_object_is_type(record, json_type_array);

	while ((resource = resource_next(resource)) != NULL)
	{
		/*
		 * a list of what is in a container has a target, and orders have
		 * fields
		 */
		if (is_page && resource->containers[0] == NULL)
		{
			fuzz_take_page(client, call, resource, NULL, false);
			if (resource_field(resource, "id"))
				fuzz_take_page(client, call, resource, "id", false);
			if (resource_field(resource, "expires_at"))
				fuzz_take_page(client, call, resource, "expires_at", true);
		}
		if (json_object_is_type(record, json_type_array))
			for (int i = 0; i < (int) json_object_array_length(record) && i < 8; i++)
				convert_record(resource, json_object_array_get_idx(record, i));
		else
			convert_record(resource, record);
	}
	if (json_object_is_type(record, json_type_object))
		copy_record(resource_tokens, record);
}

/*
 * The first byte gives the status and the method, and whether an odd body counts; the
 * others are the body.
 */
void
fuzz_json(const uint8 *data, size_t size)
{
	Connection *connection = fuzz_connection();
	ApiClient  *client = api_open(InvalidOid, InvalidOid);
	ApiCall    *call;
	HttpExchange *exchange;

	if (size == 0)
		return;
	client->connection = connection_retain(connection);
	call = api_call_create(connection, data[0] & 16 ? "POST" : "GET",
						   "/personal_access_tokens", NULL);
	call->salvages = data[0] & 32;
	api_adopt(client, call);
	exchange = fuzz_headerless = call->exchange;
	exchange->finished = exchange->sent = true;
	exchange->status = statuses_tried[data[0] & 15];
	exchange->length = size - 1;
	exchange->data = malloc(size);
	memcpy(exchange->data, data + 1, size - 1);
	exchange->data[size - 1] = '\0';

	if (body_is_list(exchange->data, exchange->length))
		fuzz_check_list(exchange->data, exchange->length);
	examine_call(call);
	if (api_verdict(call) == API_DONE && call->record)
		examine_record(client, call);
}

/* The policy of all exchanges, but there is never another attempt. */
static int
watch_policy(HttpExchange *exchange)
{
	int			wait = after_attempt(exchange);

	if (wait < -1 || wait > LONGEST_WAIT)
		fuzz_fail("the wait is out of range", psprintf("%d", wait));
	return -1;
}

/* Carries out a call that the server answers with these bytes, and looks at it. */
static void
examine_answer(const char *method, const uint8 *data, size_t size)
{
	Connection *connection = fuzz_connection();
	ApiClient  *client = api_open(InvalidOid, InvalidOid);
	ApiCall    *call;

	client->connection = connection_retain(connection);
	call = api_call_create(connection, method, "/personal_access_tokens", NULL);
	api_adopt(client, call);
	call->exchange->policy = watch_policy;
	fuzz_headerless = NULL;
	fuzz_exchange(call->exchange, data, size);

	examine_call(call);
	if (api_verdict(call) == API_DONE && call->record)
		examine_record(client, call);
}

/* The first byte gives the method; the others are what the server sends. */
void
fuzz_answer(const uint8 *data, size_t size)
{
	if (size > 0)
		examine_answer(data[0] & 1 ? "POST" : "GET", data + 1, size - 1);
}

/*
 * The first bytes give the method, the status and the header's name; the others
 * are its value, in an answer in which all else is well.
 */
void
fuzz_header_value(const uint8 *data, size_t size)
{
	static const char *const names[] = {"Date", "Retry-After",
		"RateLimit-Reset", "RateLimit-Remaining", "X-Total", "X-Total-Pages",
		"X-Next-Page", "X-Next-Cursor", "Link", "Content-Encoding",
	"Transfer-Encoding", "Content-Length", "X-Request-Id", "Location"};
	static const char body[] = "[{\"id\":1,\"active\":true}]";
	StringInfoData answer;
	char	   *value;

	if (size < 3)
		return;
	value = fuzz_string(data + 3, size - 3);
	for (char *c = value; *c; c++)
		if (*c == '\r' || *c == '\n')
			*c = ' ';
	initStringInfo(&answer);
	appendStringInfo(&answer, "HTTP/1.1 %d x\r\nContent-Type: application/json\r\n"
					 "Connection: close\r\n%s: %s\r\n\r\n%s",
					 statuses_tried[data[1] & 15],
					 names[data[2] % lengthof(names)], value, body);
	examine_answer(data[0] & 1 ? "POST" : "GET", (uint8 *) answer.data,
				   answer.len);
}
