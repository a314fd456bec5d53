\set ECHO none
-- What every suite begins with: a GitLab in its initial state, the extension,
-- the server "gitlab" with an administrator's token, and its foreign tables.
\getenv url GITLAB_SIM_URL
\! test/gitlab_sim/simctl reset
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
-- Most statements of the suites are about the ids of tokens.
SET gitlab_pat_fdw.discard_secrets = on;
CREATE EXTENSION gitlab_pat_fdw;
CREATE SERVER gitlab FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab
	OPTIONS (token 'glpat-sim-admin');
CREATE SCHEMA gitlab_test;
SET search_path = gitlab_test, public;
IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO gitlab_test;

-- Runs a command, and says how many rows it gave or how it failed.  What
-- differs from run to run is masked: request ids, and what PostgreSQL's
-- versions add to hints.
CREATE FUNCTION outcome(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN format('done, rows: %s', n);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	detail := regexp_replace(detail, 'request ID [^,)]+', 'request ID ...');
	hint := regexp_replace(hint, 'Perhaps you meant the option "[a-z_]+"\. ', '');
	RETURN concat_ws(E'\n', state || ': ' || message,
		'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END
$$;
RESET client_min_messages;
\set ECHO all
