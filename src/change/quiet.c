/*-------------------------------------------------------------------------
 *
 * quiet.c
 *	  Waiting and speaking where no error may be raised.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "change/quiet.h"
#include "common/string.h"
#include "compat.h"
#include "http/clock.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"

bool		quiet_log_changes = true;

/* There has been progress, or will be: allows the connection's time anew. */
void
quiet_extend(Patience *patience, Connection *connection)
{
	/* a backend that exits has this much in all, not after each step */
	if (patience->deadline == 0 || !proc_exit_inprogress)
		patience->deadline = http_clock() +
			(int64) connection->rollback_timeout * 1000;
}

/*
 * Whether the time is up, or somebody has asked to stop.  From then on it stays
 * so.  For api_wait_quietly(), hence the type.
 */
bool
quiet_exhausted(void *patience)
{
	Patience   *p = patience;

	if (QueryCancelPending || ProcDiePending || !PostmasterIsAlive() ||
		http_clock() >= p->deadline)
		p->exhausted = true;
	return p->exhausted;
}

/* Waits for one call; false if patience ran out. */
bool
quiet_wait(ApiCall *call, Patience *patience)
{
	if (api_finished(call))
		return true;
	quiet_extend(patience, call->connection);
	return !quiet_exhausted(patience) &&
		api_wait_quietly(&call, 1, quiet_exhausted, patience) >= 0;
}

/* Leaves ASCII of a text that could not be converted without an error. */
static void
reduce_to_ascii(char *string)
{
	for (char *c = string; *c; c++)
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
}

/*
 * Says something.  A character that the client's encoding lacks would raise an
 * error, so that a client with another encoding is told ASCII only.  If the
 * translated name of the level is not ASCII, only the server's log is told.
 */
static void
say(int elevel, int sqlstate, Announcement *announcement)
{
	if (pg_get_client_encoding() != GetDatabaseEncoding())
	{
		if (!pg_is_ascii(_("WARNING")))
			elevel = LOG_SERVER_ONLY;
		reduce_to_ascii(announcement->message);
		reduce_to_ascii(announcement->detail);
		reduce_to_ascii(announcement->hint);
	}
	/* interrupts wait until what is announced has been made use of */
	HOLD_INTERRUPTS();
	ereport(elevel,
			(sqlstate ? errcode(sqlstate) : 0,
			 errmsg("%s", announcement->message),
			 announcement->detail[0] ?
			 errdetail("%s", announcement->detail) : 0,
			 announcement->hint[0] ? errhint("%s", announcement->hint) : 0,
			 errhidestmt(true), errhidecontext(true)));
	RESUME_INTERRUPTS();
}

/* Tells the log, and clients who ask for it, of a change. */
void
quiet_announce(int elevel, Announcement *announcement)
{
	say(elevel, 0, announcement);
}

/* Warns of what is not as it should be; warnings.h has the SQLSTATEs. */
void
quiet_warn(int sqlstate, Announcement *announcement)
{
	say(WARNING, sqlstate, announcement);
}
