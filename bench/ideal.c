/*
 * ideal.c
 *	  The least time in which so many connections can replace tokens: each takes
 *	  the next token, creates a new one, and revokes the old one.
 *
 * It is told everything beforehand, reads no list, keeps no secret, and forgets
 * what it has created.  Reads commands from standard input, and answers each with
 * a line that has the number of tokens:
 *
 *	  replace EXPIRES_AT ID:OWNER,ID:OWNER,...	an ID of 0: there is no old one
 *
 * The base URL is the first argument, the API token the second, the number of
 * connections the third.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64

/* Requests are repeated as python-gitlab does by default: after 0.1 s, 0.2 s, 0.4 s ... */
#define MAX_RETRIES 10
#define FIRST_WAIT_US 100000

static const char *base_url;
static struct curl_slist *headers;
static CURL *connections[MAX_CONNECTIONS];

/* The command that is being carried out; the lock protects what is left of it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *left;
static size_t done;
static char creation[256];

static void
fail(const char *what)
{
	fprintf(stderr, "ideal: %s\n", what);
	exit(1);
}

static size_t
ignore_body(char *data, size_t size, size_t count, void *arg)
{
	(void) data;
	(void) arg;
	return size * count;
}

/* Whether GitLab has not done it, and may do so next time. */
static int
is_transient(long status)
{
	return status == 429 || (status >= 502 && status <= 504);
}

/* Makes a request until it is carried out.  A POST has a body. */
static void
perform(CURL *curl, const char *method, const char *path, const char *body,
		long expected)
{
	char		url[1024];
	long		status = 0;

	snprintf(url, sizeof(url), "%s/api/v4/%s", base_url, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	else
		curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	for (int retry = 0;; retry++)
	{
		if (curl_easy_perform(curl) != CURLE_OK)
			fail("the request failed");
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		if (!is_transient(status) || retry == MAX_RETRIES)
			break;
		usleep(FIRST_WAIT_US << retry);
	}
	if (status != expected)
		fail("the status is another one");
}

/* The next token's id and owner; 0 if there is none left. */
static int
next_token(long *id, long *owner)
{
	int			length = 0;
	int			found;

	pthread_mutex_lock(&lock);
	found = sscanf(left, "%ld:%ld%n", id, owner, &length) == 2;
	left += length;
	left += *left == ',';
	done += found;
	pthread_mutex_unlock(&lock);
	return found;
}

static void *
work(void *arg)
{
	char		path[128];
	long		id;
	long		owner;

	while (next_token(&id, &owner))
	{
		snprintf(path, sizeof(path), "users/%ld/personal_access_tokens", owner);
		perform(arg, "POST", path, creation, 201);
		if (id == 0)
			continue;
		snprintf(path, sizeof(path), "personal_access_tokens/%ld", id);
		perform(arg, "DELETE", path, NULL, 204);
	}
	return NULL;
}

static size_t
replace(const char *expires_at, char *tokens, int nconnections)
{
	pthread_t	threads[MAX_CONNECTIONS];

	left = tokens;
	done = 0;
	snprintf(creation, sizeof(creation),
			 "{\"name\":\"ideal\",\"scopes\":[\"api\"],\"expires_at\":\"%s\"}",
			 expires_at);
	for (int i = 0; i < nconnections; i++)
		if (pthread_create(&threads[i], NULL, work, connections[i]) != 0)
			fail("no thread");
	for (int i = 0; i < nconnections; i++)
		pthread_join(threads[i], NULL);
	return done;
}

static CURL *
open_connection(void)
{
	CURL	   *curl = curl_easy_init();

	if (curl == NULL)
		fail("out of memory");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_body);
	return curl;
}

int
main(int argc, char **argv)
{
	static char line[65536];
	char		header[256];
	int			nconnections;

	if (argc != 4)
		fail("usage: ideal URL TOKEN CONNECTIONS");
	base_url = argv[1];
	nconnections = atoi(argv[3]);
	if (nconnections < 1 || nconnections > MAX_CONNECTIONS)
		fail("too few or too many connections");
	curl_global_init(CURL_GLOBAL_DEFAULT);
	snprintf(header, sizeof(header), "Authorization: Bearer %s", argv[2]);
	headers = curl_slist_append(NULL, header);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	for (int i = 0; i < nconnections; i++)
		connections[i] = open_connection();

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		char	   *command = strtok(line, " \n");
		char	   *expires_at = strtok(NULL, " \n");
		char	   *tokens = strtok(NULL, " \n");

		if (tokens == NULL || strcmp(command, "replace") != 0)
			fail("unknown command");
		printf("%zu\n", replace(expires_at, tokens, nconnections));
		fflush(stdout);
	}
	return 0;
}
