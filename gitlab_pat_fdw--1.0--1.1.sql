-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION gitlab_pat_fdw UPDATE TO '1.1'" to load this file. \quit

COMMENT ON FUNCTION gitlab_pat_fdw_handler()
IS 'handler of gitlab_pat_fdw: what PostgreSQL calls to plan, scan and change foreign tables';

COMMENT ON FUNCTION gitlab_pat_fdw_validator(text[], oid)
IS 'validator of gitlab_pat_fdw: checks options when they are written';

-- The OUT parameters have defaults, so that CALL can leave them out.
CREATE PROCEDURE gitlab_pat_rotate_due(
	deliveries regclass,
	log regclass DEFAULT NULL,
	lifetime integer DEFAULT 90,
	dry_run boolean DEFAULT false,
	tokens regclass DEFAULT NULL,
	users regclass DEFAULT NULL,
	variables regclass DEFAULT NULL,
	INOUT rotated integer DEFAULT NULL,
	INOUT failed integer DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME';

COMMENT ON PROCEDURE gitlab_pat_rotate_due(regclass, regclass, integer, boolean,
	regclass, regclass, regclass, integer, integer)
IS 'rotates the tokens that are due by a table of deliveries, and delivers them into CI/CD variables';
