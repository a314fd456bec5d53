-- Tokens of projects, groups, service accounts and users: created at once, destroyed
-- at commit, by those who have a role there.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'
\set journal '\\! test/gitlab_sim/simctl journal --clear | grep -v " /api/v4/personal_access_tokens/self " | sed -E "s/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g"'
-- Requests that are under way at a time arrive in any order.
\set journal_sorted '\\! test/gitlab_sim/simctl journal --clear --sort | grep -v " /api/v4/personal_access_tokens/self " | sed -E "s/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g"'
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');

-- INSERT: the row is GitLab's, with what it is in.
:clear
INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, description, expires_at)
	VALUES ('acme/app', 'ci', '{read_api,read_repository}', 20, 'of ci', current_date + 30)
	RETURNING project, id, name, description, scopes, active, access_level, resource_type, resource_id,
		expires_at = current_date + 30 AS as_asked, token LIKE 'glpat-%' AS secret;
-- without a level or an expiry, as GitLab chooses
INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('1', 'least', '{api}')
	RETURNING project, id, access_level, expires_at IS NOT NULL AS expires;
INSERT INTO gitlab_group_access_tokens (group_path, name, scopes, access_level, expires_at)
	VALUES ('acme', 'of the group', '{api}', 50, current_date + 30) RETURNING group_path, id, access_level;
INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
	VALUES ('acme', 7, 'deploy', '{api}', current_date + 30)
	RETURNING group_path, user_id, id, name, token LIKE 'glpat-%' AS secret;
:journal
-- What cannot be
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (name, scopes) VALUES ('x', '{api}')$$);
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('', 'x', '{api}')$$);
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('..', 'x', '{api}')$$);
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes, user_id) VALUES ('acme/app', 'x', '{api}', 2)$$);
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('acme/app', 'x', '{}')$$);
SELECT regexp_replace(outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at)
	VALUES ('acme/app', 'x', '{api}', '2020-01-01')$$), 'today is [0-9-]+ ', 'today is ... ') AS outcome;
SELECT outcome($$INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes) VALUES ('acme', -7, 'x', '{api}')$$);
SELECT outcome($$INSERT INTO gitlab_group_credentials (group_path, kind, name, scopes) VALUES ('acme', 'personal', 'x', '{api}')$$);
:journal
-- What GitLab refuses, with the role that it takes
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at) VALUES ('acme/app', 'x', '{sudo}', 20, current_date + 9)$$);
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at) VALUES ('acme/none', 'x', '{api}', current_date + 9)$$);
SELECT outcome($$INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at) VALUES ('acme', 8, 'x', '{api}', current_date + 9)$$);

-- Rolled back: what was created is revoked, through the project.
:clear
BEGIN;
INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at) VALUES ('acme/web', 'gone', '{api}', current_date + 9);
SELECT name, active, revoked FROM gitlab_project_access_tokens WHERE project = 'acme/web';
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at) VALUES ('acme', 7, 'gone', '{api}', current_date + 9);
ROLLBACK TO s;
SELECT name, active, revoked FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7 AND name = 'gone';
COMMIT;
:journal

-- DELETE: at commit, through what the token is in.
BEGIN;
DELETE FROM gitlab_project_access_tokens WHERE project = '1' AND name = 'least' RETURNING project, name, token;
SELECT id, active, revoked FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'least';
DELETE FROM gitlab_group_access_tokens WHERE group_path = 'acme' AND name = 'of the group' RETURNING access_level;
\! test/gitlab_sim/simctl journal --method DELETE
:journal
COMMIT;
:journal_sorted

-- UPDATE: GitLab's own rotation by default, which keeps the bot and its level.
UPDATE gitlab_project_access_tokens SET expires_at = current_date + 60 WHERE project = 'acme/app';
CREATE TABLE before AS SELECT id, user_id FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'ci';
SELECT id AS ci FROM before \gset
:clear
UPDATE gitlab_project_access_tokens t SET expires_at = current_date + 60 WHERE project = 'acme/app' AND id = :ci
	RETURNING project, name, scopes, access_level, t.user_id = (SELECT user_id FROM before) AS same_bot,
		token LIKE 'glpat-%' AS secret;
:journal
SELECT name, revoked, access_level FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'ci' ORDER BY id;
-- Transactional: for others than administrators, that is a new token with a new bot.
ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (ADD rotation 'transactional');
SELECT id AS ci FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'ci' AND active \gset
:clear
UPDATE gitlab_project_access_tokens t SET expires_at = current_date + 70 WHERE project = 'acme/app' AND name = 'ci' AND active
	RETURNING project, name, scopes, access_level, description, t.user_id = (SELECT user_id FROM before) AS same_bot;
:journal
-- An administrator gives the same bot a second token, and revokes the first by the
-- route for all.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
:clear
UPDATE gitlab_project_access_tokens SET expires_at = current_date + 80 WHERE project = 'acme/app' AND id = 9
	RETURNING project, user_id, name, scopes, access_level, resource_type, resource_id, token LIKE 'glpat-%' AS secret;
BEGIN;
UPDATE gitlab_project_access_tokens SET expires_at = current_date + 80 WHERE project = 'acme/app' AND name = 'project bot' AND active
	RETURNING user_id;
ROLLBACK;
DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'project bot' AND active;
:journal
SELECT user_id, active, revoked FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'project bot' ORDER BY id;
-- From 17.9 on, revoking through the project keeps the bot.
ALTER SERVER gitlab VERSION '18.11';
:clear
DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND name = 'ci' AND active;
:journal
ALTER SERVER gitlab VERSION NULL;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');

-- Service accounts: any number of tokens, no administrator, an account listed once.
INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
	SELECT 'acme', 7, 'deploy ' || n, '{read_api}', current_date + n FROM generate_series(1, 2) n;
:clear
BEGIN;
UPDATE gitlab_group_service_account_tokens SET expires_at = current_date + 90
	WHERE group_path = 'acme' AND user_id = 7 AND name LIKE 'deploy %' AND active
	RETURNING user_id, name, scopes, expires_at = current_date + 90 AS as_asked;
:journal_sorted
SELECT name, active FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7 AND name LIKE 'deploy %' ORDER BY name, active;
:journal
COMMIT;
:journal_sorted
ALTER FOREIGN TABLE gitlab_group_service_account_tokens OPTIONS (ADD rotation 'native');
SELECT id AS last FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7 AND name = 'deploy 2' AND active \gset
:clear
UPDATE gitlab_group_service_account_tokens SET expires_at = current_date + 91 WHERE group_path = 'acme' AND user_id = 7 AND id = :last
	RETURNING group_path, user_id, name;
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g; s,/(29|30)/,/ID/,'

-- Impersonation tokens, for administrators
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
:clear
INSERT INTO gitlab_impersonation_tokens (user_id, name, scopes, expires_at) VALUES (8, 'as dave', '{api}', current_date + 5)
	RETURNING user_id, name, token LIKE 'glpat-%' AS secret;
UPDATE gitlab_impersonation_tokens SET expires_at = current_date + 9 WHERE user_id = 8 AND active RETURNING user_id, name;
DELETE FROM gitlab_impersonation_tokens WHERE user_id = 8 AND active;
ALTER FOREIGN TABLE gitlab_impersonation_tokens OPTIONS (ADD rotation 'native');
UPDATE gitlab_impersonation_tokens SET expires_at = current_date + 9 WHERE user_id = 2 AND id = 8 RETURNING user_id, name;
:journal
SELECT outcome($$INSERT INTO gitlab_impersonation_tokens (user_id, name, scopes) VALUES (8, 'x', '{api}')$$);

-- The credentials of a group on gitlab.com
\! test/gitlab_sim/simctl set saas=true
\! test/gitlab_sim/simctl user set 8 enterprise_group_id=1
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
:clear
UPDATE gitlab_group_credentials SET expires_at = current_date + 9 WHERE group_path = 'acme' AND kind = 'personal' AND id = 12
	RETURNING group_path, kind, user_id, name;
:journal
UPDATE gitlab_group_credentials SET expires_at = current_date + 9 WHERE group_path = 'acme' AND id = 10
	RETURNING kind, user_id, name, access_level;
:journal_sorted
DELETE FROM gitlab_group_credentials WHERE group_path = 'acme' AND kind = 'personal' AND name = 'service account' RETURNING id;
:journal
ALTER FOREIGN TABLE gitlab_group_credentials OPTIONS (ADD rotation 'transactional');
SELECT outcome($$UPDATE gitlab_group_credentials SET expires_at = current_date + 9 WHERE group_path = 'acme' AND kind = 'personal' AND active$$);
ALTER FOREIGN TABLE gitlab_group_credentials DROP COLUMN kind;
SELECT outcome($$DELETE FROM gitlab_group_credentials WHERE group_path = 'acme'$$);

-- As a Developer
\! test/gitlab_sim/simctl token add user_id=8 name=dave scopes=[\"api\"] token=glpat-sim-dave-api >/dev/null
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-dave-api');
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at) VALUES ('acme/app', 'x', '{api}', current_date + 9)$$);
SELECT outcome($$INSERT INTO gitlab_project_service_account_tokens (project, user_id, name, scopes, expires_at) VALUES ('acme/app', 7, 'x', '{api}', current_date + 9)$$);

-- EXPLAIN says where each goes.
EXPLAIN (COSTS OFF) UPDATE gitlab_project_access_tokens SET expires_at = '2099-01-01' WHERE project = 'acme/app' AND id = 9 RETURNING token;
EXPLAIN (COSTS OFF) DELETE FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7;
EXPLAIN (COSTS OFF) UPDATE gitlab_impersonation_tokens SET expires_at = '2099-01-01' WHERE user_id = 2 AND id = 8 RETURNING token;

DROP TABLE before;
\i sql/include/teardown.sql
