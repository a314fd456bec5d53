-- The SQL functions.
\i sql/include/setup.sql
\pset null '(null)'

--
-- gitlab_pat_fdw_version()
--
SELECT gitlab_pat_fdw_version() ~
	'^gitlab_pat_fdw [0-9]+\.[0-9]+[^,]*, PostgreSQL [0-9]+[^,]*, libcurl [0-9]+\.[^,]+ \([^,]+\), json-c [0-9.]+$'
	AS as_documented;
SELECT position(extversion IN gitlab_pat_fdw_version()) > 0 AS extension,
		position(current_setting('server_version') IN gitlab_pat_fdw_version()) > 0 AS server
	FROM pg_extension WHERE extname = 'gitlab_pat_fdw';

--
-- gitlab_pat_self()
--
\x
SELECT * FROM gitlab_pat_self('gitlab');
\x
-- An administrator's token without the scope admin_mode sees all, as long as
-- GitLab's Admin Mode is off ...
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-noadminmode');
SELECT id, name, scopes, sees_all_tokens FROM gitlab_pat_self('gitlab');
SELECT count(*) FROM gitlab_personal_access_tokens;
-- ... and with it on, lists are short, and only this function tells.
\! test/gitlab_sim/simctl set admin_mode=true
SELECT id, name, scopes, sees_all_tokens FROM gitlab_pat_self('gitlab');
SELECT count(*) FROM gitlab_personal_access_tokens;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-frank');
SELECT id, name, scopes, sees_all_tokens FROM gitlab_pat_self('gitlab');
\! test/gitlab_sim/simctl set admin_mode=false
-- Other users; scopes that allow no listing at all
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT id, user_id, name, sees_all_tokens, token FROM gitlab_pat_self('gitlab');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-selfrotate');
SELECT id, user_id, name, scopes, sees_all_tokens FROM gitlab_pat_self('gitlab');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-noexpiry');
SELECT id, user_id, name, scopes, expires_at, sees_all_tokens FROM gitlab_pat_self('gitlab');
-- A credential that GitLab refuses is an error.
\a \t
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-revoked');
SELECT outcome($$SELECT gitlab_pat_self('gitlab')$$);
\a \t
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

-- The server must exist, be one of this wrapper's, and be usable by the caller.
SELECT gitlab_pat_self('nowhere');
SELECT gitlab_pat_self(NULL);
CREATE FOREIGN DATA WRAPPER gitlab_test_wrapper;
CREATE SERVER other FOREIGN DATA WRAPPER gitlab_test_wrapper;
SELECT gitlab_pat_self('other');
DROP SERVER other;
DROP FOREIGN DATA WRAPPER gitlab_test_wrapper;
CREATE ROLE regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_self('gitlab');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER gitlab TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_self('gitlab');
RESET ROLE;
CREATE USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (token 'glpat-sim-alice');
SET ROLE regress_gitlab_user;
SELECT id, name FROM gitlab_pat_self('gitlab');
RESET ROLE;
-- the PUBLIC mapping is for all who have none of their own
DROP USER MAPPING FOR regress_gitlab_user SERVER gitlab;
CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token 'glpat-sim-frank');
SET ROLE regress_gitlab_user;
SELECT id, name FROM gitlab_pat_self('gitlab');
RESET ROLE;
SELECT id, name FROM gitlab_pat_self('gitlab');
DROP USER MAPPING FOR PUBLIC SERVER gitlab;
REVOKE ALL ON FOREIGN SERVER gitlab FROM regress_gitlab_user;
DROP ROLE regress_gitlab_user;

--
-- gitlab_pat_requests(): a row per server that was used; it counts
--
\c -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET search_path = gitlab_test, public;
\! test/gitlab_sim/simctl reset
SELECT count(*) FROM gitlab_pat_requests();
SELECT count(id) FROM gitlab_personal_access_tokens;
SELECT count(id) FROM gitlab_personal_access_tokens WHERE id = 4711;
SELECT server_name, requests, retries, rate_limited, errors,
		bytes_received > 1000 AS bytes, wait_ms > 0 AS waited,
		rate_limit_remaining, rate_limit_reset
	FROM gitlab_pat_requests();
-- Rate limits, once GitLab tells them
\! test/gitlab_sim/simctl set rate_limit='{"limit": 100, "period": 60}'
SELECT count(id) FROM gitlab_personal_access_tokens;
SELECT server_name, requests, rate_limit_remaining,
		rate_limit_reset BETWEEN now() - interval '1 min' AND now() + interval '2 min' AS reset
	FROM gitlab_pat_requests();
\! test/gitlab_sim/simctl set rate_limit=null
-- Retries, and what they were for
\! test/gitlab_sim/simctl fault GET personal_access_tokens status status=429 headers.Retry-After=0
\! test/gitlab_sim/simctl fault GET personal_access_tokens status status=502 headers.Retry-After=0
SELECT count(id) FROM gitlab_personal_access_tokens;
SELECT server_name, requests, retries, rate_limited, errors FROM gitlab_pat_requests();
-- A second server has counters of its own.
CREATE SERVER second FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER second OPTIONS (token 'glpat-sim-alice');
SELECT id FROM gitlab_pat_self('second');
SELECT server_name, requests FROM gitlab_pat_requests() ORDER BY server_name;

--
-- gitlab_pat_disconnect(): closes what is idle
--
SELECT gitlab_pat_disconnect();
SELECT gitlab_pat_disconnect();
SELECT count(id) FROM gitlab_personal_access_tokens;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM gitlab_personal_access_tokens;
FETCH 1 FROM c;
-- a connection that is in use stays
SELECT gitlab_pat_disconnect();
FETCH 1 FROM c;
COMMIT;
SELECT gitlab_pat_disconnect();
-- an idle connection is used again, a closed one is replaced
\! test/gitlab_sim/simctl reset
SELECT count(id) FROM gitlab_personal_access_tokens WHERE id = 2;
SELECT count(id) FROM gitlab_personal_access_tokens WHERE id = 2;
SELECT gitlab_pat_disconnect();
SELECT count(id) FROM gitlab_personal_access_tokens WHERE id = 2;
\! test/gitlab_sim/simctl journal --connections
DROP USER MAPPING FOR CURRENT_USER SERVER second;
DROP SERVER second;

-- None of them is parallel safe, except for the one that asks nobody.
SELECT proname, proparallel, provolatile, proisstrict FROM pg_proc
	WHERE oid IN ('gitlab_pat_fdw_version'::regproc, 'gitlab_pat_self'::regproc,
		'gitlab_pat_requests'::regproc, 'gitlab_pat_disconnect'::regproc)
	ORDER BY proname;

--
-- The audit trail: a LOG line for each change, with ids, server and role
--
CREATE ROLE regress_gitlab_user;
GRANT USAGE ON SCHEMA gitlab_test TO regress_gitlab_user;
GRANT ALL ON gitlab_personal_access_tokens TO regress_gitlab_user;
CREATE USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (token 'glpat-sim-admin');
SET ROLE regress_gitlab_user;
-- only superusers may turn it off
SET gitlab_pat_fdw.log_changes = off;
SET client_min_messages = log;
SET gitlab_pat_fdw.discard_secrets = on;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'audited', '{api}', current_date + 30);
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60 WHERE id = 17;
DELETE FROM gitlab_personal_access_tokens WHERE id = 18;
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'rolled back', '{api}', current_date + 30);
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
ROLLBACK;
RESET client_min_messages;
RESET ROLE;
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD rotation 'native');
SET ROLE regress_gitlab_user;
SET client_min_messages = log;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60 WHERE id = 2;
RESET client_min_messages;
RESET ROLE;
SET gitlab_pat_fdw.log_changes = off;
SET ROLE regress_gitlab_user;
SET client_min_messages = log;
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
RESET client_min_messages;
RESET ROLE;
RESET gitlab_pat_fdw.log_changes;
DROP OWNED BY regress_gitlab_user;
DROP ROLE regress_gitlab_user;

\i sql/include/teardown.sql
