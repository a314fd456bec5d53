/*-------------------------------------------------------------------------
 *
 * zone.c
 *	  Whether the time zone of a GitLab instance is UTC.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gitlab/zone.h"

/* How long what an answer has shown is relied on, in seconds. */
#define ZONE_LIFETIME 600.0

/* The zone of a time stamp in ISO 8601's form; ZONE_UNKNOWN for other text. */
static InstanceZone
zone_of_text(const char *text)
{
	const char *time = text ? strchr(text, 'T') : NULL;

	if (time == NULL)
		return ZONE_UNKNOWN;
	if (time[strlen(time) - 1] == 'Z')
		return ZONE_UTC;
	return strpbrk(time, "+-") ? ZONE_OTHER : ZONE_UNKNOWN;
}

/*
 * What an object shows of the instance that it comes from: by when it was
 * created, which GitLab tells of nearly all of them.
 */
InstanceZone
zone_of_record(JsonRecord *record)
{
	return zone_of_text(record_text(record, "created_at"));
}

/* Remembers what an answer over a connection has shown, if anything. */
void
zone_learn(Connection *connection, InstanceZone zone)
{
	if (zone == ZONE_UNKNOWN)
		return;
	connection->zone = zone;
	INSTR_TIME_SET_CURRENT(connection->zone_shown);
}

/* The zone that a connection's last answer showed, if it came lately. */
InstanceZone
zone_known(const Connection *connection)
{
	instr_time	age;

	if (connection->zone == ZONE_UNKNOWN)
		return ZONE_UNKNOWN;
	INSTR_TIME_SET_CURRENT(age);
	INSTR_TIME_SUBTRACT(age, connection->zone_shown);
	return INSTR_TIME_GET_DOUBLE(age) < ZONE_LIFETIME ?
		connection->zone : ZONE_UNKNOWN;
}

/*
 * What this session knows of a server, by any of its connections: for plans and
 * EXPLAIN, which ask GitLab nothing.
 */
InstanceZone
zone_known_of_server(Oid serverid)
{
	Connection *connection = NULL;
	InstanceZone known = ZONE_UNKNOWN;

	while ((connection = connection_next(connection)) != NULL)
		if (connection->serverid == serverid && !connection->stale &&
			known != ZONE_OTHER && zone_known(connection) != ZONE_UNKNOWN)
			known = zone_known(connection);
	return known;
}
