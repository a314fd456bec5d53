/*
 * floor.c
 *	  The least that a client written in C can do: libcurl gets the pages of a
 *	  list one after another over one connection, and json-c parses them.
 *
 * The CPU time of this is what the backend's is compared with.  Reads commands
 * from standard input, and answers each with a line that has the number of
 * objects, as the peers do:
 *
 *	  list QUERY	QUERY is empty, or something like "&state=active"
 *	  get ID
 *	  delete ID,ID,...
 *
 * The base URL is the first argument, the API token the second.
 */
#include <curl/curl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct body
{
	char	   *data;
	size_t		length;
	size_t		capacity;
};

static CURL *curl;
static struct body body;
static char next_page[32];
static const char *base_url;

static void
fail(const char *what)
{
	fprintf(stderr, "floor: %s\n", what);
	exit(1);
}

static size_t
receive_body(char *data, size_t size, size_t count, void *arg)
{
	size_t		length = size * count;

	(void) arg;
	while (body.length + length > body.capacity)
	{
		body.capacity = body.capacity ? body.capacity * 2 : 65536;
		body.data = realloc(body.data, body.capacity);
		if (body.data == NULL)
			fail("out of memory");
	}
	memcpy(body.data + body.length, data, length);
	body.length += length;
	return length;
}

static size_t
receive_header(char *data, size_t size, size_t count, void *arg)
{
	static const char name[] = "X-Next-Page:";
	size_t		length = size * count;

	(void) arg;
	if (length > strlen(name) && strncasecmp(data, name, strlen(name)) == 0)
		snprintf(next_page, sizeof(next_page), "%.*s",
				 (int) strspn(data + strlen(name) + 1, "0123456789"),
				 data + strlen(name) + 1);
	return length;
}

/* Makes one request, and returns how many objects the answer has. */
static size_t
perform(const char *method, const char *path)
{
	char		url[1024];
	long		status;
	struct json_object *json;
	size_t		objects;

	snprintf(url, sizeof(url), "%s/api/v4/personal_access_tokens%s", base_url,
			 path);
	body.length = 0;
	next_page[0] = '\0';
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (curl_easy_perform(curl) != CURLE_OK)
		fail("the request failed");
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 204)
		return 1;
	if (status != 200)
		fail("the status is not 200");

	receive_body("", 1, 1, NULL);
	json = json_tokener_parse(body.data);
	if (json == NULL)
		fail("this is not JSON");
	objects = json_object_is_type(json, json_type_array) ?
		json_object_array_length(json) : 1;
	json_object_put(json);
	return objects;
}

static size_t
list(const char *query)
{
	char		path[512];
	size_t		objects = 0;

	snprintf(next_page, sizeof(next_page), "1");
	while (next_page[0] != '\0')
	{
		snprintf(path, sizeof(path), "?per_page=100&page=%s%s", next_page, query);
		objects += perform("GET", path);
	}
	return objects;
}

static size_t
each(const char *method, char *ids)
{
	char		path[64];
	size_t		objects = 0;

	for (char *id = strtok(ids, ","); id != NULL; id = strtok(NULL, ","))
	{
		snprintf(path, sizeof(path), "/%s", id);
		objects += perform(method, path);
	}
	return objects;
}

int
main(int argc, char **argv)
{
	static char line[65536];
	char		header[256];
	struct curl_slist *headers;

	if (argc != 3)
		fail("usage: floor URL TOKEN");
	base_url = argv[1];
	snprintf(header, sizeof(header), "Authorization: Bearer %s", argv[2]);
	headers = curl_slist_append(NULL, header);
	curl = curl_easy_init();
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive_body);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, receive_header);

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		char	   *argument = strchr(line, ' ');
		size_t		objects;

		line[strcspn(line, "\n")] = '\0';
		if (argument == NULL)
			fail("a command has an argument, which may be empty");
		*argument++ = '\0';
		if (strcmp(line, "list") == 0)
			objects = list(argument);
		else if (strcmp(line, "get") == 0)
			objects = each("GET", argument);
		else if (strcmp(line, "delete") == 0)
			objects = each("DELETE", argument);
		else
			fail("unknown command");
		printf("%zu\n", objects);
		fflush(stdout);
	}
	return 0;
}
