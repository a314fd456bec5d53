-- What is in something: projects, groups, users.  Where to look must be known,
-- and several places are read at a time.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'

-- Pairs of a container and a key are looked up as they are written, not in all
-- combinations.
:clear
SELECT project, key, environment_scope FROM gitlab_project_variables
	WHERE (project, key) IN (('acme/app', 'DEPLOY_PAT'), ('acme/web', 'DEPLOY_PAT'), ('acme/app', 'NONE'))
	ORDER BY 1, 2;
\! test/gitlab_sim/simctl journal --sort
EXPLAIN (COSTS OFF) SELECT key FROM gitlab_project_variables
	WHERE (project, key) IN (('acme/app', 'DEPLOY_PAT'), ('acme/web', 'DEPLOY_PAT'));
-- Pairs that are the same, or name nothing, cost nothing more.
:clear
SELECT project, key FROM gitlab_project_variables
	WHERE (project, key) IN (('acme/app', 'DEPLOY_PAT'), ('acme/app', 'DEPLOY_PAT'), ('', 'X'), (NULL, 'Y'));
\! test/gitlab_sim/simctl journal --sort
SELECT project, key FROM gitlab_project_variables
	WHERE (project, key) IN ((NULL, 'DEPLOY_PAT'), ('.', 'X'));
-- With the scope; as parameters; and along with another condition.
SELECT project, key, environment_scope FROM gitlab_project_variables
	WHERE (project, key, environment_scope) IN (('acme/app', 'DATABASE_URL', 'production'), ('acme/app', 'DATABASE_URL', 'none'));
PREPARE pairs(text, text, text) AS SELECT project, key FROM gitlab_project_variables
	WHERE (project, key) IN (($1, $2), ($3, $2)) AND masked ORDER BY 1, 2;
SET plan_cache_mode = force_generic_plan;
EXECUTE pairs('acme/app', 'DEPLOY_PAT', 'acme/web');
EXECUTE pairs('acme/web', 'DEPLOY_PAT', NULL);
RESET plan_cache_mode;
-- Alternatives that name a container each are enough; one that names none is not.
SELECT project, count(*) FROM gitlab_project_variables
	WHERE project = 'acme/app' OR (project = 'acme/web' AND masked) GROUP BY 1 ORDER BY 1;
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'acme/app' OR key = 'DEPLOY_PAT'$$);
SELECT project, key FROM gitlab_project_variables
	WHERE (project = 'acme/app' OR project = 'acme/web') AND (key = 'DEPLOY_PAT' OR key = 'NONE') ORDER BY 1, 2;
SELECT count(*) FROM gitlab_project_variables
	WHERE (project, key) IN (('acme/app', 'DEPLOY_PAT'), ('acme/web', 'DEPLOY_PAT'));

-- A number can be what something is in.
:clear
SELECT id, user_id, name, scopes, active, token FROM gitlab_impersonation_tokens
	WHERE user_id = 2;
\! test/gitlab_sim/simctl journal --clear
SELECT id FROM gitlab_impersonation_tokens WHERE user_id IN (2, 8) AND id = 8;
\! test/gitlab_sim/simctl journal --clear --sort
SELECT count(*) FROM gitlab_impersonation_tokens WHERE user_id = 2;
SELECT u.username, t.id FROM gitlab_users u JOIN gitlab_impersonation_tokens t ON t.user_id = u.id
	WHERE u.username = 'alice';
SELECT id FROM gitlab_impersonation_tokens WHERE user_id = 2 AND user_id = 8;
SELECT id FROM gitlab_impersonation_tokens WHERE user_id IN (0, -1);
\! test/gitlab_sim/simctl journal
SELECT outcome('SELECT * FROM gitlab_impersonation_tokens');
SELECT outcome('SELECT * FROM gitlab_impersonation_tokens WHERE id = 8');
SELECT outcome('SELECT * FROM gitlab_impersonation_tokens WHERE user_id = 99');
-- An object that is not there is no row; something that it would be in is an error.
SELECT id FROM gitlab_impersonation_tokens WHERE user_id = 2 AND id = 3;
SELECT outcome('SELECT * FROM gitlab_impersonation_tokens WHERE user_id = 99 AND id = 3');
CREATE FOREIGN TABLE without_user (id bigint, name text)
	SERVER gitlab OPTIONS (resource 'impersonation_tokens');
SELECT outcome('SELECT * FROM without_user');
CREATE FOREIGN TABLE by_text (id bigint, user_id text)
	SERVER gitlab OPTIONS (resource 'impersonation_tokens');
SELECT outcome($$SELECT * FROM by_text WHERE user_id = '2'$$);
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_impersonation_tokens WHERE user_id = 2 AND active;
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_impersonation_tokens WHERE user_id IN (2, 8) ORDER BY id;

-- Who may not read is told which role it takes.
CREATE SERVER as_alice FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER as_alice OPTIONS (token 'glpat-sim-alice');
CREATE SCHEMA alice;
IMPORT FOREIGN SCHEMA gitlab FROM SERVER as_alice INTO alice;
SELECT outcome('SELECT * FROM alice.gitlab_impersonation_tokens WHERE user_id = 2');
SELECT outcome('SELECT * FROM alice.gitlab_impersonation_tokens WHERE user_id = 2 AND id = 8');

-- skip_forbidden: what may not be read, or is not there, does not end the scan of
-- the others.
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project IN ('acme/app', 'no/such')$$);
ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (ADD skip_forbidden 'true');
SELECT project, count(*) FROM gitlab_project_variables
	WHERE project = ANY (ARRAY(SELECT p FROM unnest('{acme/app,no/such,gone,acme/web}'::text[]) p)) GROUP BY 1 ORDER BY 1;
SELECT project, key FROM gitlab_project_variables
	WHERE project IN ('acme/app', 'no/such') AND key IN ('DEPLOY_PAT', 'CONFIG') ORDER BY 1, 2;
-- A join asks one by one, and names each once.
SELECT p, count(key) FROM unnest('{no/such,acme/app,no/such}'::text[]) p
	LEFT JOIN gitlab_project_variables ON project = p GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM gitlab_project_variables
	WHERE project = ANY (ARRAY(SELECT 'no/' || n FROM generate_series(1, 12) n));
-- A project that was renamed is not there any more by its former path.
\! test/gitlab_sim/simctl project set acme/web path=acme/site
SELECT project, count(*) FROM gitlab_project_variables WHERE project IN ('acme/app', 'acme/web', 'acme/site') GROUP BY 1 ORDER BY 1;
SELECT project, key FROM gitlab_project_variables WHERE project IN ('acme/app', 'acme/web') AND key = 'DEPLOY_PAT';
ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (SET skip_forbidden 'false');
SELECT replace(outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'acme/web'$$), :'url', 'URL') AS outcome;
SELECT replace(outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'acme/web' AND key = 'X'$$), :'url', 'URL') AS outcome;
SELECT outcome($$INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('acme/web', 'x', '{api}')$$);
SELECT path FROM gitlab_projects WHERE id = 2;
-- A redirect of the whole server is another matter, which nothing skips.
ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (SET skip_forbidden 'true');
\! test/gitlab_sim/simctl fault GET projects/2/ status status=301 headers.Location=https://127.0.0.1/api/v4/projects/2/variables
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project = '2'$$);
\! test/gitlab_sim/simctl clear-faults
\! test/gitlab_sim/simctl project set acme/site path=acme/web
-- As a Developer.
\! test/gitlab_sim/simctl token add user_id=8 name=dave scopes=[\"api\"] token=glpat-sim-dave-api >/dev/null
CREATE SERVER as_dave FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER as_dave OPTIONS (token 'glpat-sim-dave-api');
CREATE FOREIGN TABLE dave_variables (project text, key text)
	SERVER as_dave OPTIONS (resource 'project_variables', skip_forbidden 'true');
SELECT * FROM dave_variables WHERE project IN ('acme/app', 'acme/web');
SELECT * FROM dave_variables WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
ALTER FOREIGN TABLE dave_variables OPTIONS (SET skip_forbidden 'false');
SELECT outcome($$SELECT * FROM dave_variables WHERE project = 'acme/app'$$);
ALTER FOREIGN TABLE dave_variables OPTIONS (SET skip_forbidden 'true');
-- A credential that GitLab refuses or that lacks the scope, and a server that fails,
-- are never skipped.
ALTER USER MAPPING FOR CURRENT_USER SERVER as_dave OPTIONS (SET token 'glpat-sim-revoked');
SELECT outcome($$SELECT * FROM dave_variables WHERE project = 'acme/app'$$);
ALTER USER MAPPING FOR CURRENT_USER SERVER as_dave OPTIONS (SET token 'glpat-sim-noexpiry');
SELECT outcome($$SELECT * FROM dave_variables WHERE project = 'acme/app'$$);
\! test/gitlab_sim/simctl fault GET acme%2Fweb status status=501
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project IN ('acme/app', 'acme/web')$$);
\! test/gitlab_sim/simctl clear-faults
SELECT outcome($$ALTER FOREIGN TABLE dave_variables OPTIONS (SET skip_forbidden 'maybe')$$);

SET client_min_messages = error;
DROP SCHEMA alice CASCADE;
DROP SERVER as_alice, as_dave CASCADE;
RESET client_min_messages;
\i sql/include/teardown.sql
