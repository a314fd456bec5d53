-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION gitlab_pat_fdw" to load this file. \quit

CREATE FUNCTION gitlab_pat_fdw_handler()
RETURNS fdw_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME';

CREATE FUNCTION gitlab_pat_fdw_validator(text[], oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME';

CREATE FOREIGN DATA WRAPPER gitlab_pat_fdw
	HANDLER gitlab_pat_fdw_handler
	VALIDATOR gitlab_pat_fdw_validator;

COMMENT ON FOREIGN DATA WRAPPER gitlab_pat_fdw
IS 'GitLab personal access tokens: INSERT creates, UPDATE of the expiry rotates, DELETE revokes at commit';

CREATE FUNCTION gitlab_pat_fdw_version()
RETURNS text
LANGUAGE C STRICT STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_fdw_version()
IS 'versions of gitlab_pat_fdw, PostgreSQL, libcurl and json-c';

CREATE FUNCTION gitlab_pat_self(
	server name,
	OUT id bigint,
	OUT user_id bigint,
	OUT name text,
	OUT description text,
	OUT scopes text[],
	OUT active boolean,
	OUT revoked boolean,
	OUT created_at timestamptz,
	OUT last_used_at timestamptz,
	OUT last_used_ips inet[],
	OUT expires_at date,
	OUT granular boolean,
	OUT token text,
	OUT sees_all_tokens boolean)
RETURNS record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_self(name)
IS 'the API token that the server is accessed with, and whether it sees the tokens of all users';

-- The OUT parameters have defaults, so that CALL can leave them out.
CREATE PROCEDURE gitlab_pat_rotate_self(
	server name,
	expires_at date DEFAULT NULL,
	INOUT id bigint DEFAULT NULL,
	INOUT new_expires_at date DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME';

COMMENT ON PROCEDURE gitlab_pat_rotate_self(name, date, bigint, date)
IS 'rotates the API token in the caller''s user mapping and stores the new one there';

CREATE FUNCTION gitlab_pat_requests(
	OUT server_name name,
	OUT requests bigint,
	OUT retries bigint,
	OUT rate_limited bigint,
	OUT errors bigint,
	OUT bytes_received bigint,
	OUT wait_ms double precision,
	OUT rate_limit_remaining bigint,
	OUT rate_limit_reset timestamptz)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_requests()
IS 'this session''s requests to GitLab, a row per server';

CREATE FUNCTION gitlab_pat_disconnect()
RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_disconnect()
IS 'closes this session''s idle connections to GitLab, and returns how many';
