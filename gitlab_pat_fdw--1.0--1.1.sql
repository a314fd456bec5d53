-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION gitlab_pat_fdw UPDATE TO '1.1'" to load this file. \quit

COMMENT ON FUNCTION gitlab_pat_fdw_handler()
IS 'handler of gitlab_pat_fdw: what PostgreSQL calls to plan, scan and change foreign tables';

COMMENT ON FUNCTION gitlab_pat_fdw_validator(text[], oid)
IS 'validator of gitlab_pat_fdw: checks options when they are written';
