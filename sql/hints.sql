-- A hint says what to do next.
\i sql/include/setup.sql
\a \t
ALTER SERVER gitlab OPTIONS (ADD max_retries '0');

--
-- Something else than GitLab answers.
--
\! test/gitlab_sim/simctl fault GET tokens html
SELECT outcome('SELECT name FROM gitlab_personal_access_tokens');
\! test/gitlab_sim/simctl fault GET tokens body body='{"id":2'
SELECT outcome('SELECT name FROM gitlab_personal_access_tokens WHERE id = 2');
\! test/gitlab_sim/simctl clear-faults

--
-- An instance that takes no changes: a Geo secondary, or maintenance
--
\! for method in POST PUT DELETE; do test/gitlab_sim/simctl fault $method . body status=403 times=10 body='{"message":"You cannot perform write operations on a read-only instance"}' headers.X-Request-Id=REQUEST; done
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}')$$);
SELECT outcome($$UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2$$);
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'NEW', 'x');
UPDATE gitlab_project_variables SET value = 'x' WHERE project = 'acme/app' AND key = 'DATABASE_URL';
\! test/gitlab_sim/simctl clear-faults

--
-- Values that GitLab does not mask
--
\! test/gitlab_sim/simctl fault POST 'variables$' body status=400 times=2 body='{"message":{"value":["is invalid"]}}' headers.X-Request-Id=REQUEST
\! test/gitlab_sim/simctl fault PUT variables body status=400 times=2 body='{"message":{"value":["is invalid"]}}' headers.X-Request-Id=REQUEST
INSERT INTO gitlab_project_variables (project, key, value, masked) VALUES ('acme/app', 'NEW', 'short', true);
INSERT INTO gitlab_group_variables (group_path, key, value, hidden) VALUES ('acme', 'NEW', 'has blanks in it', true);
UPDATE gitlab_project_variables SET value = 'has blanks in it' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
UPDATE gitlab_project_variables SET masked = true WHERE project = 'acme/app' AND key = 'DATABASE_URL' AND environment_scope = '*';

--
-- A rotation by whoever is no administrator
--
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT outcome($$UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 3$$);
\! test/gitlab_sim/simctl count --method POST personal_access_tokens

--
-- Revocations that fail at COMMIT
--
\! test/gitlab_sim/simctl fault DELETE tokens status status=403 body='{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api"}' headers.X-Request-Id=REQUEST
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl fault DELETE tokens status status=403 headers.X-Request-Id=REQUEST
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl clear-faults
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

--
-- ON CONFLICT
--
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'x', '{api}') ON CONFLICT DO NOTHING$$);
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/app', 'NEW', 'x') ON CONFLICT DO NOTHING$$);

--
-- Nothing is changed because the API token does not see the owners.
--
\! test/gitlab_sim/simctl set admin_mode=true
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-noadminmode');
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 8;
DELETE FROM gitlab_personal_access_tokens WHERE user_id IN (2, 8) AND active;
\! test/gitlab_sim/simctl journal --clear >/dev/null
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE user_id = 8;
\! test/gitlab_sim/simctl journal --clear
PREPARE gone(bigint) AS DELETE FROM gitlab_personal_access_tokens WHERE user_id = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE gone(8);
RESET plan_cache_mode;
-- A query by whom nothing is changed gets no notice, nor does one that finds rows.
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = 8;
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 1 AND id <> 4;
DELETE FROM gitlab_personal_access_tokens WHERE user_id IN (1, 8) AND id <> 4;
DELETE FROM gitlab_personal_access_tokens WHERE name = 'nobody''s';
ROLLBACK;
-- Nor does an administrator's.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 4711;
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 4;
\! test/gitlab_sim/simctl set admin_mode=false

\i sql/include/teardown.sql
