-- Tokens of projects, groups and service accounts, read by those who have a role
-- there: alice is Maintainer of the projects and Owner of the groups.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');

-- Tokens of projects and groups: as a list, by id, in several.
:clear
SELECT * FROM gitlab_project_access_tokens WHERE project = 'acme/app';
SELECT group_path, id, user_id, name, access_level, resource_type, resource_id, token
	FROM gitlab_group_access_tokens WHERE group_path IN ('acme', 'acme/infra');
SELECT project, id, access_level FROM gitlab_project_access_tokens WHERE project = '1' AND id IN (9, 10);
SELECT id FROM gitlab_group_access_tokens WHERE group_path = 'acme/infra' AND id = 10;
SELECT count(*) FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND NOT revoked;
SELECT id FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND access_level >= 30
	AND created_at < '2025-01-01' AND name LIKE 'project%' ORDER BY id LIMIT 1;
SELECT id FROM gitlab_project_access_tokens
	WHERE (project, id) IN (('acme/app', 9), ('acme/web', 9), ('acme/app', 8));
\! test/gitlab_sim/simctl journal --sort
-- The filters of a list are known from 18.5 on.
EXPLAIN (COSTS OFF) SELECT count(*) FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND NOT revoked;
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_group_access_tokens WHERE group_path = 'acme' ORDER BY expires_at;
ALTER SERVER gitlab VERSION '18.11';
EXPLAIN (COSTS OFF) SELECT count(*) FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND NOT revoked;
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_group_access_tokens WHERE group_path = 'acme' ORDER BY expires_at;
SELECT count(*) FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND NOT revoked;
SELECT id FROM gitlab_group_access_tokens WHERE group_path = 'acme/infra' ORDER BY expires_at;
ALTER SERVER gitlab VERSION NULL;
-- An older GitLab ignores them; they are checked here all the same.
\! test/gitlab_sim/simctl reset --version 17.11 --dates fixed
SELECT id FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND created_at > '2025-01-01';
SELECT id, granular FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND active AND NOT revoked;
SELECT count(*) FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND revoked;
\! test/gitlab_sim/simctl reset --dates fixed

-- Service accounts and their tokens: the account is named, too.
:clear
SELECT * FROM gitlab_group_service_accounts WHERE group_path = 'acme';
SELECT * FROM gitlab_project_service_accounts WHERE project = 'acme/app';
SELECT group_path, user_id, id, name, scopes, expires_at, token FROM gitlab_group_service_account_tokens
	WHERE group_path = 'acme' AND user_id = 7;
SELECT id, name FROM gitlab_group_service_account_tokens
	WHERE group_path = 'acme' AND user_id = 7 AND id = ANY ('{11,12,13}');
SELECT a.username, t.id, t.name FROM gitlab_group_service_accounts a
	JOIN gitlab_group_service_account_tokens t ON t.group_path = 'acme' AND t.user_id = a.id
	WHERE a.group_path = 'acme';
SELECT count(*) FROM gitlab_group_service_account_tokens WHERE (group_path, user_id) IN (('acme', 7), ('acme', 7));
\! test/gitlab_sim/simctl journal
-- What to count is the result of a subquery, or of another row.
ALTER SERVER gitlab VERSION '18.11';
SELECT count(*) FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7 AND revoked = (SELECT true);
SELECT revoked, (SELECT count(*) FROM gitlab_group_service_account_tokens t
	WHERE t.group_path = 'acme' AND t.user_id = 7 AND t.revoked = v.revoked) FROM (VALUES (true), (false)) v (revoked);
ALTER SERVER gitlab VERSION NULL;
-- A subquery for each row lists an account once, whatever it looks for.
:clear
SELECT n, (SELECT string_agg(name, ',') FROM gitlab_group_service_account_tokens t
	WHERE t.group_path = 'acme' AND t.user_id = 7 AND t.id = n) FROM generate_series(10, 12) n;
\! test/gitlab_sim/simctl journal
SELECT outcome($$SELECT * FROM gitlab_group_service_account_tokens WHERE group_path = 'acme'$$);
SELECT outcome('SELECT * FROM gitlab_group_service_account_tokens WHERE user_id = 7');
SELECT outcome($$SELECT * FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 8$$);
SELECT outcome($$SELECT * FROM gitlab_group_service_account_tokens WHERE group_path = 'no/such' AND user_id = 7$$);
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_group_service_account_tokens
	WHERE group_path IN ('acme', 'acme/infra') AND user_id = 7 AND active;
-- Several accounts of several groups: what is not there is skipped.
ALTER FOREIGN TABLE gitlab_group_service_account_tokens OPTIONS (ADD skip_forbidden 'true');
SELECT group_path, user_id, id FROM gitlab_group_service_account_tokens
	WHERE group_path IN ('acme', 'acme/infra') AND user_id IN (7, 8);
-- A nested loop lists an account once, however many rows name it.
CREATE TEMPORARY TABLE wanted (group_path text, user_id bigint, name text);
INSERT INTO wanted VALUES ('acme', 7, 'service account'), ('acme', 8, 'none'), ('acme', 7, 'none'), ('acme', 7, 'service account');
SET enable_memoize = off;
:clear
SELECT w.name, t.id FROM wanted w
	LEFT JOIN gitlab_group_service_account_tokens t USING (group_path, user_id, name);
SELECT w.user_id, (SELECT count(*) FROM gitlab_group_service_account_tokens t
	WHERE t.group_path = w.group_path AND t.user_id = w.user_id) FROM wanted w;
SELECT w.name, a.username FROM wanted w
	LEFT JOIN gitlab_group_service_accounts a ON a.group_path = w.group_path AND a.id = w.user_id;
\! test/gitlab_sim/simctl journal
-- So does one whose inner side names several accounts.
SET enable_material = off;
:clear
SELECT w.user_id, w.name, t.id FROM wanted w
	LEFT JOIN gitlab_group_service_account_tokens t ON t.group_path = 'acme' AND t.user_id IN (7, 8) AND t.id > w.user_id;
\! test/gitlab_sim/simctl journal --sort
RESET enable_material;
-- A statement keeps no more of them than work_mem allows.
SET work_mem = '64kB';
INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
	SELECT 'acme', 7, 'many ' || n, '{api}', current_date + 9 FROM generate_series(1, 20) n;
:clear
SELECT count(t.id) FROM wanted w JOIN gitlab_group_service_account_tokens t USING (group_path, user_id);
\! test/gitlab_sim/simctl journal
RESET work_mem;
RESET enable_memoize;
DROP TABLE wanted;
\! test/gitlab_sim/simctl reset --dates fixed
-- Arrays of which there are too many combinations are no reason to find nothing.
SELECT outcome($$SELECT id FROM gitlab_group_service_account_tokens
	WHERE group_path = ANY (ARRAY(SELECT 'group' || n FROM generate_series(1, 65536) n))
		AND user_id = ANY (ARRAY(SELECT generate_series(1, 65536)::bigint))$$);
-- All accounts of the instance are for administrators.
SELECT outcome('SELECT * FROM gitlab_service_accounts');

-- Roles: what a Developer and somebody who is no member are told.
\! test/gitlab_sim/simctl token add user_id=8 name=dave scopes=[\"api\"] token=glpat-sim-dave-api >/dev/null
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-dave-api');
SELECT outcome($$SELECT * FROM gitlab_project_access_tokens WHERE project = 'acme/app'$$);
SELECT outcome($$SELECT * FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND id = 9$$);
SELECT outcome($$SELECT * FROM gitlab_project_access_tokens WHERE project = 'acme/web'$$);
SELECT outcome($$SELECT * FROM gitlab_group_access_tokens WHERE group_path = 'acme'$$);
SELECT outcome($$SELECT * FROM gitlab_project_service_accounts WHERE project = 'acme/app'$$);
ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (ADD skip_forbidden 'true');
SELECT id FROM gitlab_project_access_tokens WHERE project IN ('acme/app', 'acme/web') AND id IN (9, 10);
SELECT id FROM gitlab_project_access_tokens WHERE project IN ('acme/app', 'acme/web');
-- A credential that GitLab refuses is never taken for a role that is missing.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-nothing');
SELECT outcome($$SELECT * FROM gitlab_project_access_tokens WHERE project = 'acme/app'$$);

-- The credentials of a group on gitlab.com: two lists, told apart by their kind.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT outcome($$SELECT * FROM gitlab_group_credentials WHERE group_path = 'acme'$$);
ALTER FOREIGN TABLE gitlab_group_credentials OPTIONS (ADD skip_forbidden 'true');
SELECT * FROM gitlab_group_credentials WHERE group_path = 'acme';
\! test/gitlab_sim/simctl set saas=true
\! test/gitlab_sim/simctl user set 8 enterprise_group_id=1
:clear
SELECT group_path, kind, id, user_id, name, access_level, resource_type, resource_id, token
	FROM gitlab_group_credentials WHERE group_path = 'acme' ORDER BY kind, id;
SELECT kind, id FROM gitlab_group_credentials WHERE group_path = 'acme' AND kind = 'resource' AND name = 'project bot';
SELECT kind FROM gitlab_group_credentials WHERE group_path = 'acme' AND kind IN ('personal', 'nothing') AND active ORDER BY id LIMIT 1;
SELECT kind FROM gitlab_group_credentials WHERE group_path = 'acme' AND kind = 'nothing';
SELECT count(*) FROM gitlab_group_credentials WHERE group_path = 'acme';
\! test/gitlab_sim/simctl journal --sort
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_group_credentials WHERE group_path = 'acme' AND kind = 'resource' ORDER BY id;
SELECT outcome('SELECT * FROM gitlab_group_credentials');

\i sql/include/teardown.sql
