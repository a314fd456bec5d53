-- gitlab_pat_rotate_due(): policy as data.
\i sql/include/setup.sql
\set VERBOSITY terse
CREATE TABLE token_deliveries (
	token_name text, owner text, project text, variable text,
	environment_scope text, days integer);
CREATE TABLE token_rotations (
	at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
	outcome text, message text);
CREATE VIEW outcomes AS
	SELECT owner, token_name, old_id, new_id, outcome,
			regexp_replace(message, ' \(.*', '') AS message
		FROM token_rotations;
-- Two tokens that expire soon, one of them used in two places (of which one is
-- named twice), one that does not.
\! test/gitlab_sim/simctl token add id=50 user_id=2 name=deploy scopes='["api"]' expires_at=2090-06-01 >/dev/null
\! test/gitlab_sim/simctl token add id=51 user_id=8 name=deploy scopes='["read_user"]' expires_at=2090-06-02 >/dev/null
\! test/gitlab_sim/simctl token add id=52 user_id=8 name=later scopes='["read_user"]' expires_at=2090-09-01 >/dev/null
INSERT INTO token_deliveries VALUES
	('deploy', 'alice', 'acme/app', 'DEPLOY_PAT', NULL, 7),
	('deploy', 'alice', 'acme/web', 'DEPLOY_PAT', '*', 3),
	('deploy', 'alice', 'acme/web', 'DEPLOY_PAT', NULL, 2),
	('deploy', 'dave', 'acme/app', 'DATABASE_URL', 'production', 60),
	('later', 'dave', 'acme/app', 'CONFIG', '*', 7);
-- What is due must not depend on the day of the test.
UPDATE token_deliveries SET days = 1000000 WHERE token_name = 'deploy';
UPDATE token_deliveries SET days = -1000000 WHERE token_name = 'later';
\! test/gitlab_sim/simctl journal --clear >/dev/null
CALL gitlab_pat_rotate_due('token_deliveries', dry_run => true);
-- One listing of users, one of tokens, and one lookup for each variable.
\! test/gitlab_sim/simctl journal
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SELECT * FROM outcomes;
\! test/gitlab_sim/simctl state 50 51 52
\! test/gitlab_sim/simctl variables | grep token
SELECT id, expires_at - (now() AT TIME ZONE 'UTC')::date AS days
	FROM gitlab_personal_access_tokens WHERE active AND name = 'deploy' ORDER BY id;
-- Another lifetime, and none that is due.
CALL gitlab_pat_rotate_due('token_deliveries', lifetime => 30);
UPDATE token_deliveries SET days = 29;
CALL gitlab_pat_rotate_due('token_deliveries');

-- Failures are written down, and do not stop what comes after them.
TRUNCATE token_deliveries, token_rotations;
\! test/gitlab_sim/simctl reset
INSERT INTO token_deliveries VALUES
	('administrator', 'root', 'acme/app', 'CONFIG', '*', 1000000),
	('alice api', 'alice', 'acme/app', 'DEPLOY_PAT', '*', 1000000),
	('alice read', 'alice', 'acme/app', 'NONE', '*', 1000000),
	('alice read', 'alice', 'acme/app', 'CONFIG', 'production', 1000000),
	('frank admin', 'frank', 'no/such', 'X', '*', 1000000),
	('project bot', 'project_1_bot_a1b2c3', 'acme/app', 'CONFIG', '*', 1000000),
	('revoked', 'alice', 'acme/app', 'CONFIG', '*', 1000000),
	('x', 'nobody', 'acme/app', 'CONFIG', '*', 1000000),
	(NULL, NULL, NULL, NULL, NULL, NULL),
	('service account', 'service_account_deploy', 'acme/web', 'DEPLOY_PAT', '*', 1000000),
	('rotator', 'frank', 'acme/web', 'DEPLOY_PAT', '*', 1000000);
\! test/gitlab_sim/simctl fault PUT variables/DEPLOY_PAT status status=403
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SELECT * FROM outcomes;
\! test/gitlab_sim/simctl tokens | awk '$1 > 16'
\! test/gitlab_sim/simctl variables | grep -v group
\! test/gitlab_sim/simctl dead-variables

-- What can't be called, or called so.
SELECT outcome($$CALL gitlab_pat_rotate_due('token_deliveries')$$);
BEGIN;
CALL gitlab_pat_rotate_due('token_deliveries');
ROLLBACK;
CALL gitlab_pat_rotate_due(NULL);
CALL gitlab_pat_rotate_due('token_deliveries', lifetime => 0);
CALL gitlab_pat_rotate_due('outcomes');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_deliveries');
SET default_transaction_read_only = on;
CALL gitlab_pat_rotate_due('token_deliveries');
RESET default_transaction_read_only;
-- Where the foreign tables are is told by the search path, or by arguments.
TRUNCATE token_deliveries;
SET search_path = public;
CALL gitlab_pat_rotate_due('gitlab_test.token_deliveries');
CALL gitlab_pat_rotate_due('gitlab_test.token_deliveries',
	tokens => 'gitlab_test.gitlab_personal_access_tokens',
	users => 'gitlab_test.gitlab_users',
	variables => 'gitlab_test.gitlab_project_variables');
SET search_path = gitlab_test, public;
-- The lock that keeps other sessions out goes with the call, failed or not.
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
\set VERBOSITY default
\i sql/include/teardown.sql
