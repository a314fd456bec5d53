-- The part of the tour that only reads.  The URL and the token come out of the
-- environment; the one statement with the token in it is not shown, and neither
-- quoted in an error nor logged by the server, should it fail.

\set QUIET on
\pset null '(null)'
\pset footer off
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET log_min_error_statement = panic;
\getenv gitlab_url GITLAB_URL
\getenv gitlab_token GITLAB_TOKEN

\echo '-- A foreign server is a GitLab instance.'
\echo
\set QUIET off
\set ECHO queries
CREATE EXTENSION gitlab_pat_fdw;
CREATE SERVER gitlab FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'gitlab_url');
\set ECHO none
\echo
\echo '-- A user mapping holds the API token that a role uses.'
\echo
\echo 'CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (token ''...'');'
\set VERBOSITY terse
CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (token :'gitlab_token');
\set VERBOSITY default
\unset gitlab_token
\echo
\echo '-- The tables come with the extension.'
\echo
\set ECHO queries
IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO public;
\set ECHO none
\echo
\echo '-- Whose token is it, and does it see everybody''s tokens?'
\echo
\set ECHO queries
SELECT id, user_id, name, scopes, expires_at, sees_all_tokens FROM gitlab_pat_self('gitlab');
\set ECHO none
\echo
\echo '-- The first tokens.'
\echo
\set ECHO queries
SELECT id, user_id, name, scopes, active, expires_at
  FROM gitlab_personal_access_tokens ORDER BY id LIMIT 8;
\set ECHO none
\echo
\echo '-- Who owns how many active ones?'
\echo
\set ECHO queries
SELECT u.username, count(*)
  FROM gitlab_personal_access_tokens t JOIN gitlab_users u ON u.id = t.user_id
  WHERE t.active GROUP BY u.username ORDER BY count(*) DESC, u.username LIMIT 5;
\set ECHO none
\echo
\echo '-- What GitLab is asked for.'
\echo
\set ECHO queries
EXPLAIN (COSTS OFF)
SELECT id, name FROM gitlab_personal_access_tokens
  WHERE active AND expires_at < current_date + 30;
\set ECHO none
