-- gitlab_pat_identify() and gitlab_pat_set_token(): functions that take a secret.
\i sql/include/setup.sql
\pset null '(null)'
\a \t

--
-- gitlab_pat_identify(): whose is a secret?
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT * FROM gitlab_pat_identify('gitlab', 'glpat-sim-serviceaccount');
-- One request, with that secret.
\! test/gitlab_sim/simctl journal --json | grep -o '"credential_token_id": [0-9]*'
\! test/gitlab_sim/simctl journal --clear
-- Any scope will do.
SELECT id, name, scopes, granular FROM gitlab_pat_identify('gitlab', 'glpat-sim-selfrotate');
SELECT id, name, scopes, granular FROM gitlab_pat_identify('gitlab', 'glpat-sim-finegrained');
SELECT id, name FROM gitlab_pat_identify('gitlab', 'glpat-sim-projectbot');
-- No row: no token works by it.
SELECT id FROM gitlab_pat_identify('gitlab', 'glpat-sim-revoked');
SELECT id FROM gitlab_pat_identify('gitlab', 'glpat-sim-expired');
SELECT id FROM gitlab_pat_identify('gitlab', 'glpat-there-is-none');
-- All else is an error, for the secret may work: a blocked owner ...
SELECT outcome($$SELECT gitlab_pat_identify('gitlab', 'glpat-sim-blocked')$$);
-- ... a proxy's 401 ...
\! test/gitlab_sim/simctl fault GET self status status=401 content_type=text/html body=no
SELECT outcome($$SELECT gitlab_pat_identify('gitlab', 'glpat-sim-alice')$$);
-- ... a token of another kind, which GitLab refuses with 400 ...
\! test/gitlab_sim/simctl fault GET self status status=400 'body={"message": "400 Bad request - glpat-sim-alice is of another kind"}'
SELECT outcome($$SELECT gitlab_pat_identify('gitlab', 'glpat-sim-alice')$$);
-- ... trouble on the way, and answers that are no token.
ALTER SERVER gitlab OPTIONS (ADD max_retries '0');
\! test/gitlab_sim/simctl fault GET self status status=500
\! test/gitlab_sim/simctl fault GET self reset
\! test/gitlab_sim/simctl fault GET self status status=404
\! test/gitlab_sim/simctl fault GET self html
\! test/gitlab_sim/simctl fault GET self edit remove=id
\! test/gitlab_sim/simctl fault GET self edit set.scopes=x
SELECT split_part(outcome($$SELECT gitlab_pat_identify('gitlab', 'glpat-sim-alice')$$), E'\n', 1)
	FROM generate_series(1, 6);
ALTER SERVER gitlab OPTIONS (DROP max_retries);
-- What can't be a token is sent nowhere and not repeated.
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT outcome(format('SELECT gitlab_pat_identify(%L, %L)', 'gitlab', s))
	FROM unnest(ARRAY['', 'a b', E'glpat-x\n', 'glpat-ä', repeat('x', 8193)]) s;
SELECT outcome($$SELECT gitlab_pat_identify('gitlab', NULL)$$);
SELECT outcome($$SELECT gitlab_pat_identify(NULL, 'glpat-sim-alice')$$);
SELECT outcome($$SELECT gitlab_pat_identify('nowhere', 'glpat-sim-alice')$$);
\! test/gitlab_sim/simctl count
-- A table of findings
CREATE TABLE findings (place text, secret text);
INSERT INTO findings VALUES ('wiki', 'glpat-sim-alice'), ('job log', 'glpat-sim-revoked'),
	('repository', 'glpat-sim-deploykey');
SELECT f.place, t.id, t.user_id, t.name
	FROM findings f LEFT JOIN LATERAL gitlab_pat_identify('gitlab', f.secret) t ON true ORDER BY 1;
-- Only USAGE on the server is needed, no user mapping.
CREATE ROLE regress_gitlab_user;
GRANT USAGE ON SCHEMA gitlab_test TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT outcome($$SELECT gitlab_pat_identify('gitlab', 'glpat-sim-alice')$$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER gitlab TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT id, name FROM gitlab_pat_identify('gitlab', 'glpat-sim-alice');
RESET ROLE;
-- Its connections are kept for nobody.
SELECT gitlab_pat_disconnect();

--
-- gitlab_pat_revoke_secret(): by possession, at commit
--
\! test/gitlab_sim/simctl reset
SET ROLE regress_gitlab_user;
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-deploykey');
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-deploykey');
\! test/gitlab_sim/simctl state 12
COMMIT;
\! test/gitlab_sim/simctl state 12
-- One question for each call, and one revocation, by the secret.
\! test/gitlab_sim/simctl journal --json | grep -o '"credential_token_id": [0-9]*\|"method": "[A-Z]*"\|"path": "[^"]*"' | paste - - -
-- What does not work is NULL; what may work is an error.
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-deploykey');
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-blocked')$$);
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', NULL)$$);
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', 'a b')$$);
-- A rollback, to a savepoint or of all, revokes nothing.
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice');
SAVEPOINT s;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice-read');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-frank');
ROLLBACK;
\! test/gitlab_sim/simctl state 2 3 15
-- A token that somebody revokes meanwhile is done.
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice-read');
\! test/gitlab_sim/simctl token set 3 revoked=true
COMMIT;
-- A revocation that fails fails the transaction.
\! test/gitlab_sim/simctl fault DELETE self status status=403
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-frank');
\set VERBOSITY terse
COMMIT;
\set VERBOSITY default
\! test/gitlab_sim/simctl state 15
-- It counts for max_changes.
BEGIN;
SET LOCAL gitlab_pat_fdw.max_changes = 0;
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-frank')$$);
ROLLBACK;
BEGIN READ ONLY;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-frank');
ROLLBACK;
RESET ROLE;
-- The credential in use is not revoked; what is queued reads as revoked.
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-admin')$$);
BEGIN;
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-frank');
SELECT id, active, revoked FROM gitlab_personal_access_tokens WHERE id = 15;
DELETE FROM gitlab_personal_access_tokens WHERE id = 15;
COMMIT;
\! test/gitlab_sim/simctl state 15
-- A variable does not get a secret that the transaction revokes.
BEGIN;
UPDATE gitlab_project_variables SET value = 'glpat-sim-serviceaccount' WHERE project = 'acme/app' AND key = 'CONFIG';
SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-serviceaccount');
\set VERBOSITY terse
COMMIT;
\set VERBOSITY default
\! test/gitlab_sim/simctl state 11
SET gitlab_pat_fdw.read_only = on;
SELECT outcome($$SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-serviceaccount')$$);
RESET gitlab_pat_fdw.read_only;
\! test/gitlab_sim/simctl reset

--
-- gitlab_pat_set_token(): the caller's own user mapping
--
CREATE VIEW mappings AS
	SELECT umuser::regrole, umoptions FROM pg_user_mappings
		WHERE srvname = 'gitlab' AND umuser::regrole::text LIKE 'regress%';
GRANT SELECT ON mappings TO regress_gitlab_user;
-- It creates the mapping, or changes it.
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice');
RESET ROLE;
SELECT * FROM mappings ORDER BY 1;
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-frank');
SELECT id FROM gitlab_pat_self('gitlab');
-- A rollback undoes it.
BEGIN;
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice');
SELECT id FROM gitlab_pat_self('gitlab');
ROLLBACK;
SELECT id FROM gitlab_pat_self('gitlab');
-- Of several rows, the last one stays.
SELECT gitlab_pat_set_token('gitlab', t) FROM unnest('{glpat-sim-alice,glpat-sim-frank,glpat-sim-alice-read}'::text[]) t;
SELECT id FROM gitlab_pat_self('gitlab');
-- A token that does not work is not stored.
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-revoked')$$);
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-blocked')$$);
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', 'a b')$$);
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', NULL)$$);
SELECT outcome($$SELECT gitlab_pat_set_token(NULL, 'glpat-sim-alice')$$);
SELECT id FROM gitlab_pat_self('gitlab');
-- One of OAuth has no id.
\! test/gitlab_sim/simctl fault GET self status status=400 'body={"message": "400 Bad request - This endpoint requires token type to be a personal access token"}'
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice');
SELECT id FROM gitlab_pat_self('gitlab');
-- A reading transaction changes no mapping.
BEGIN READ ONLY;
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-frank');
ROLLBACK;
RESET ROLE;
-- Nobody's mapping is changed by another role's SECURITY DEFINER function.
CREATE FUNCTION definer(token text) RETURNS bigint LANGUAGE sql SECURITY DEFINER
	RETURN gitlab_pat_set_token('gitlab', token);
CREATE FUNCTION invoker(token text) RETURNS bigint LANGUAGE sql
	RETURN gitlab_pat_set_token('gitlab', token);
SET ROLE regress_gitlab_user;
SELECT regexp_replace(outcome($$SELECT definer('glpat-sim-frank')$$), 'mapping of "[^"]*"', 'mapping of "..."');
SELECT invoker('glpat-sim-frank');
RESET ROLE;
SELECT definer('glpat-sim-admin');
-- A mapping with an option for superusers is left to superusers.
CREATE ROLE regress_gitlab_admin SUPERUSER;
ALTER USER MAPPING FOR regress_gitlab_user SERVER gitlab
	OPTIONS (DROP token, ADD token_file '/nowhere/token');
\! test/gitlab_sim/simctl journal --clear >/dev/null
SET ROLE regress_gitlab_user;
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice')$$);
\! test/gitlab_sim/simctl count
RESET ROLE;
CREATE USER MAPPING FOR regress_gitlab_admin SERVER gitlab OPTIONS (token_file '/nowhere/token');
SET ROLE regress_gitlab_admin;
SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice');
RESET ROLE;
-- Without USAGE there is no way.
REVOKE USAGE ON FOREIGN SERVER gitlab FROM regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT outcome($$SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice')$$);
RESET ROLE;
SELECT * FROM mappings ORDER BY umuser::text;
DROP OWNED BY regress_gitlab_user;
DROP USER MAPPING FOR regress_gitlab_admin SERVER gitlab;
DROP ROLE regress_gitlab_user, regress_gitlab_admin;
\i sql/include/teardown.sql
