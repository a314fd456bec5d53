/*-------------------------------------------------------------------------
 *
 * option.h
 *	  The options of servers, tables, columns and user mappings.
 *
 * One table lists the options with their object, type and range.  The validator
 * refuses bad values in CREATE and ALTER, so that the settings that this module
 * resolves need no further checks.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_OPTION_H
#define GITLAB_PAT_OPTION_H

#include "foreign/foreign.h"
#include "gitlab/resources.h"
#include "http/exchange.h"		/* MAX_CONCURRENCY */

/* How an UPDATE of the expiry rotates: the values of the option "rotation". */
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
	bool		replace_expired;	/* UPDATE takes expired tokens, too */
	bool		skip_forbidden; /* what a container holds, if it may not be
								 * read */
	int			version;		/* declared GitLab version, 18.11 as 1811; 0
								 * if none was declared */
} TableSettings;

/* A GitLab token has some 30 to 300 characters. */
#define MAX_TOKEN_LENGTH 8192

extern bool option_read_only;	/* gitlab_pat_fdw.read_only */

extern ServerSettings *option_server(Oid serverid);
extern void option_check_proxy(const ServerSettings *server);
extern TableSettings *option_table(Oid foreigntableid);
extern void option_check_writable(void);
extern const char *option_value(List *options, const char *name);
extern int	option_version(const char *text);

#endif							/* GITLAB_PAT_OPTION_H */
