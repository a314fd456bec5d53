-- What scripts/valgrind runs by default: each way through the extension once,
-- and each way to leave a statement.  Errors are part of it.
\i sql/include/setup.sql
\set VERBOSITY terse
SET gitlab_pat_fdw.log_requests = on;

-- reading
SELECT count(*), count(description), count(last_used_ips) FROM gitlab_personal_access_tokens;
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = ANY ('{1,2,3,999}');
SELECT id FROM gitlab_personal_access_tokens WHERE user_id = 2 AND active
	AND created_at > '2020-01-01' AND expires_at < current_date + 300 AND name LIKE '%tok%';
SELECT count(*) FROM gitlab_users;
SELECT t.id, u.username FROM gitlab_personal_access_tokens t
	JOIN gitlab_users u ON u.id = t.user_id ORDER BY t.id LIMIT 3;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT * FROM gitlab_personal_access_tokens;
ANALYZE gitlab_personal_access_tokens;
SELECT id IS NOT NULL FROM gitlab_pat_self('gitlab');
SELECT server_name, requests > 0 FROM gitlab_pat_requests();

-- writing, and taking it back
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'kept', '{api}', current_date + 30), (2, 'second', '{api}', current_date + 30);
SAVEPOINT s;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'undone', '{api}', current_date + 30);
ROLLBACK TO s;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60 WHERE name = 'kept'
	RETURNING token IS NOT NULL;
DELETE FROM gitlab_personal_access_tokens WHERE name = 'second';
COMMIT;
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'rolled back', '{api}', current_date + 30);
DELETE FROM gitlab_personal_access_tokens WHERE name = 'kept' AND active;
ROLLBACK;

-- variables: seen as they will be, written, put back
SELECT count(*), count(value) FROM gitlab_project_variables WHERE project = 'acme/app';
SELECT v.project, v.key FROM (VALUES ('acme/app'), ('acme/web')) AS p (project)
	JOIN gitlab_project_variables v ON v.project = p.project AND v.key IN ('DEPLOY_PAT', 'NONE');
SELECT count(*) FROM gitlab_project_variables WHERE project IN ('acme/app', 'acme/web');
BEGIN;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'MADE', 'one');
SAVEPOINT s;
UPDATE gitlab_project_variables SET value = 'two', environment_scope = 'prod'
	WHERE project = 'acme/app' AND key IN ('MADE', 'CONFIG') RETURNING key, value;
DELETE FROM gitlab_project_variables v USING generate_series(1, 2)
	WHERE v.project = 'acme/app' AND v.key = 'DATABASE_URL' AND v.environment_scope = '*';
SELECT key, environment_scope, repeat(value, 99) = '' FROM gitlab_project_variables
	WHERE project = 'acme/app' AND length(repeat(coalesce(value, 'x'), 999)) > 0;
ROLLBACK TO s;
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN';
INSERT INTO gitlab_project_variables (project, key, value, hidden)
	VALUES ('acme/app', 'HIDDEN_TOKEN', 'hidden-again', true) RETURNING value, masked;
COMMIT;
WITH new AS (UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60
	WHERE id = 3 RETURNING token)
UPDATE gitlab_project_variables v SET value = new.token FROM new
	WHERE v.project = 'acme/web' AND v.key = 'DEPLOY_PAT';
BEGIN;
INSERT INTO gitlab_group_variables (group_path, key, value) VALUES ('acme', 'MADE', 'one');
UPDATE gitlab_project_variables SET value = 'three', environment_scope = 'prod'
	WHERE project = 'acme/app' AND key = 'MADE';
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'CONFIG';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'not a key', 'x');
COMMIT;
\! test/gitlab_sim/simctl fault PUT variables reset moment=after
\! test/gitlab_sim/simctl fault PUT variables status status=403 nth=2
BEGIN;
UPDATE gitlab_project_variables SET value = 'in doubt' WHERE project = 'acme/app' AND key = 'CONFIG';
DELETE FROM gitlab_personal_access_tokens WHERE name = 'second';
COMMIT;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'DEPLOY_PAT', 'x');
UPDATE gitlab_project_variables SET value = 'x' WHERE key = 'CONFIG';
CREATE TABLE deliveries (token_name text, owner text, project text, variable text,
	environment_scope text, days integer);
INSERT INTO deliveries VALUES ('alice read', 'alice', 'acme/web', 'DEPLOY_PAT', '*', 100000),
	('none', 'alice', 'acme/web', 'DEPLOY_PAT', '*', 1), ('kept', 'alice', 'acme/web', 'NONE', '*', 99);
CALL gitlab_pat_rotate_due('deliveries', dry_run => true);
CALL gitlab_pat_rotate_due('deliveries');

-- errors of all kinds
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'refused', '{no_such_scope}', current_date + 30);
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'too late', '{api}', current_date);
UPDATE gitlab_personal_access_tokens SET name = 'other' WHERE id = 1;
ALTER SERVER gitlab OPTIONS (ADD conect_timeout '1s');
ALTER SERVER gitlab OPTIONS (SET url 'https://user:password@gitlab.example.com');
CREATE SERVER nowhere FOREIGN DATA WRAPPER gitlab_pat_fdw
	OPTIONS (url 'http://127.0.0.1:9', max_retries '1');
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (token 'glpat-none');
CREATE FOREIGN TABLE nothing (id bigint) SERVER nowhere;
SELECT * FROM nothing;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-wrong');
SELECT count(token) FROM gitlab_personal_access_tokens;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

-- cancelled while it waits, and given up by a cursor
\! test/gitlab_sim/simctl latency 3000
SET statement_timeout = '1s';
SELECT count(token) FROM gitlab_personal_access_tokens;
RESET statement_timeout;
\! test/gitlab_sim/simctl latency 0
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM gitlab_personal_access_tokens;
FETCH 1 FROM c;
ROLLBACK;
CALL gitlab_pat_rotate_self('gitlab');
SELECT gitlab_pat_disconnect() >= 0;
\i sql/include/teardown.sql
