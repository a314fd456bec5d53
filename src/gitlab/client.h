/*-------------------------------------------------------------------------
 *
 * client.h
 *	  A statement's access to a server, as a role.
 *
 * A client looks up the role's credential at its first request, reads it again
 * when GitLab refuses it, and knows which token it is.  The client's calls are
 * freed with the memory context in which the client was opened.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_CLIENT_H
#define GITLAB_PAT_CLIENT_H

#include "gitlab/call.h"
#include "gitlab/connection.h"

/* A statement's access to a server, as a role. */
typedef struct ApiClient ApiClient;

/* Clients */
extern ApiClient *api_open(Oid serverid, Oid userid);
extern Connection *api_connection(ApiClient *client);
extern ApiStatistics *api_statistics(ApiClient *client);

/* Calls; none of these raises an error, and the waiting ones say so */
extern void api_adopt(ApiClient *client, ApiCall *call);

/* Calls; these raise errors */
extern ApiCall *api_client_call(ApiClient *client, const char *method,
								const char *path);
extern bool api_credential_renewed(ApiClient *client, ApiCall *call);
extern bool api_means_absent(ApiClient *client, ApiCall *call);
extern ApiCall *api_get(ApiClient *client, const char *path, bool absent_ok,
						const char *action);
extern ApiCall *api_get_self(ApiClient *client);
extern bool api_is_self(ApiClient *client, int64 id);
extern int64 api_own_user_id(ApiClient *client);
extern void api_require_version(ApiClient *client, int version);
extern Connection *api_reload(Connection *connection, Oid userid);

#endif							/* GITLAB_PAT_CLIENT_H */
