/*-------------------------------------------------------------------------
 *
 * bots.c
 *	  Bot users, which GitLab makes for the tokens of projects and groups.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/bots.h"
#include "gitlab/client.h"
#include "gitlab/warnings.h"

/*
 * GitLab's version that keeps the bot of a project or a group when one of its
 * tokens is revoked there.  Before, that deletes the bot with all its tokens.
 */
#define KEEPS_BOT_VERSION 1709

/*
 * Has an administrator revoke a token by the route for all tokens, unless it is
 * declared that the other one keeps the bot.
 */
void
bots_choose_route(const RemoteChange *change, TokenPlace *place)
{
	if (change->settings->resource->has_bots &&
		change->settings->version < KEEPS_BOT_VERSION &&
		api_known_to_see_all(change->client))
		place->revoke_at = resource_tokens->path;
}

/*
 * Warns if the revocation of a token deletes its bot.  GitLab is asked for its version
 * where none is declared.  False if it does not.
 */
bool
bots_warn(const RemoteChange *change, const TokenPlace *place, int64 id)
{
	const Resource *resource = change->settings->resource;
	int			version = change->settings->version;

	if (!resource->has_bots ||
		strcmp(place->revoke_at, resource_tokens->path) == 0)
		return false;
	if (version == 0)
		version = api_version(change->client);
	if (version == 0 || version >= KEEPS_BOT_VERSION)
		return false;
	ereport(WARNING,
			(errcode(ERRCODE_GITLAB_BOT_DELETED),
			 errmsg("revoking %s " INT64_FORMAT "%s deletes its bot user, and all other tokens that it has",
					resource->singular, id, place->words),
			 errdetail("GitLab before 17.9 does so, and server \"%s\" has %d.%d.",
					   api_connection(change->client)->server_name,
					   version / 100, version % 100),
			 errhint("To revoke only the token, ROLLBACK and use an administrator's API token.")));
	return true;
}
