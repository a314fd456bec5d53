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
#include "gitlab/zone.h"

/* A statement's access to a server, as a role. */
typedef struct ApiClient ApiClient;

extern ApiClient *api_open(Oid serverid, Oid userid);
extern Oid	api_userid(const ApiClient *client);
extern ApiClient *api_open_connection(Connection *connection);
extern Connection *api_connection(ApiClient *client);
extern ApiStatistics *api_statistics(ApiClient *client);

extern void api_adopt(ApiClient *client, ApiCall *call);
extern ApiCall *api_client_call(ApiClient *client, const char *method,
								const char *path);
extern bool api_credential_renewed(ApiClient *client, ApiCall *call);
extern bool api_means_absent(ApiClient *client, ApiCall *call);
extern bool api_was_denied(const ApiClient *client);
extern bool api_means_closed(ApiClient *client, ApiCall *call);
extern ApiCall *api_get(ApiClient *client, const char *path, bool absent_ok,
						const char *action);
extern ApiCall *api_get_with_role(ApiClient *client, const char *path,
								  bool absent_ok, const char *action,
								  const char *role_hint);
extern ApiCall *api_get_self(ApiClient *client);
extern bool api_note_self(ApiCall *call);
extern bool api_is_self(ApiClient *client, int64 id);
extern InstanceZone api_zone(ApiClient *client);
extern int64 api_own_user_id(ApiClient *client);
extern bool api_sees_all(ApiClient *client);
extern bool api_known_to_see_all(ApiClient *client);
extern int	api_version(ApiClient *client);
extern void api_require_version(ApiClient *client, int version);
extern bool api_clock_is_known(ApiClient *client);
extern TimestampTz api_now(ApiClient *client);
extern void api_check_expiry(ApiClient *client, Datum expires_at);

#endif							/* GITLAB_PAT_CLIENT_H */
