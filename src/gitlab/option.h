/*-------------------------------------------------------------------------
 *
 * option.h
 *	  The options of servers, tables, columns and user mappings.
 *
 * One table says which options there are, where, of which type and range.  The
 * validator refuses what does not fit when it is written, so that the settings
 * resolved here need no further checks.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_OPTION_H
#define GITLAB_PAT_OPTION_H

#include "foreign/foreign.h"
#include "gitlab/resources.h"

/* What an UPDATE of the expiry does; the values of the option "rotation". */
typedef enum Rotation
{
	ROTATION_TRANSACTIONAL,
	ROTATION_NATIVE
} Rotation;

/* A server's options, with defaults filled in; palloc'ed. */
typedef struct ServerSettings
{
	Oid			serverid;
	char	   *name;
	char	   *unread_version; /* declared, but not a version; or NULL */
	char	   *url;
	char	   *proxy;			/* or NULL */
	char	   *tls_ca_file;	/* or NULL */
	char	   *tls_cert_file;	/* or NULL */
	char	   *tls_key_file;	/* or NULL */
	bool		tls_verify;
	int			connect_timeout;	/* ms */
	int			request_timeout;	/* ms */
	int			max_retries;
	int			max_retry_wait; /* ms */
	int			rollback_timeout;	/* ms */
	int			max_response_size;	/* bytes */
	int			concurrency;
} ServerSettings;

/* A table's settings: its own options, else its server's; palloc'ed. */
typedef struct TableSettings
{
	Oid			serverid;
	const Resource *resource;
	int			page_size;
	int			concurrency;
	bool		use_remote_estimate;
	bool		updatable;
	Rotation	rotation;
	int			version;		/* declared GitLab version, 18.11 as 1811; 0
								 * if none was declared */
} TableSettings;

extern ServerSettings *option_server(Oid serverid);
extern TableSettings *option_table(Oid foreigntableid);
extern const char *option_value(List *options, const char *name);
extern int	option_version(const char *text);

#endif							/* GITLAB_PAT_OPTION_H */
