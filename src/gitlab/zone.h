/*-------------------------------------------------------------------------
 *
 * zone.h
 *	  Whether the time zone of a GitLab instance is UTC.
 *
 * GitLab's parameter "state" follows the date in the instance's time zone, while
 * the field "active" and authentication follow midnight UTC.  The parameter
 * selects what the field says only if the instance is in UTC.  GitLab does not
 * name the time zone of an instance, but its time stamps end in Z only in UTC.
 * The connection remembers what the latest answer has shown for some minutes:
 * GitLab may be restarted with another configuration.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_ZONE_H
#define GITLAB_PAT_ZONE_H

#include "gitlab/connection.h"
#include "gitlab/record.h"

/* None of these raises an error or allocates anything. */
extern InstanceZone zone_of_record(JsonRecord *record);
extern void zone_learn(Connection *connection, InstanceZone zone);
extern InstanceZone zone_known(const Connection *connection);
extern InstanceZone zone_known_of_server(Oid serverid);

#endif							/* GITLAB_PAT_ZONE_H */
