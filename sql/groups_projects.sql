-- Groups and projects: what to join with.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'

-- An administrator is shown all of them; which that is, is asked once.
\! test/gitlab_sim/simctl project add path=dave/pet members.8=50 >/dev/null
:clear
SELECT id, path, name, group_path, visibility, created_at, web_url FROM gitlab_projects ORDER BY id;
SELECT path, archived FROM gitlab_projects ORDER BY path COLLATE "C";
SELECT id, path, name, parent_id, visibility, archived, web_url FROM gitlab_groups ORDER BY id;
\! test/gitlab_sim/simctl journal --clear
SELECT path FROM gitlab_groups WHERE id IN (2, 99);
\! test/gitlab_sim/simctl journal --clear --sort
SELECT path, archived FROM gitlab_projects WHERE id = 1;
SELECT count(*) FROM gitlab_groups;
\! test/gitlab_sim/simctl journal
-- A path names one, in any case: it is looked up.  A number would be an id.
:clear
SELECT id, path, group_path FROM gitlab_projects WHERE path = 'acme/app';
SELECT id, path FROM gitlab_projects WHERE path IN ('acme/web', 'ACME/web', 'acme/none', '.', '') ORDER BY id;
SELECT id, path FROM gitlab_projects WHERE path = ANY (ARRAY(SELECT p FROM unnest('{acme/app,acme/web}'::text[]) p)) ORDER BY id;
SELECT id FROM gitlab_projects WHERE path = 'Acme/App';
SELECT id FROM gitlab_projects WHERE path = 'acme/app' AND id = 2;
SELECT id FROM gitlab_groups WHERE path = 'acme/infra' AND name = 'other';
SELECT count(*) FROM gitlab_groups WHERE path IN ('acme', 'acme/infra');
\! test/gitlab_sim/simctl journal --sort
:clear
SELECT id FROM gitlab_groups WHERE path = '1';
SELECT id, path FROM gitlab_groups WHERE path IN ('1', 'acme');
\! test/gitlab_sim/simctl journal
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_projects WHERE path = 'acme/app';
EXPLAIN (COSTS OFF) SELECT id FROM gitlab_projects WHERE path LIKE 'acme/%';
-- Nothing has the path that a project had before.
\! test/gitlab_sim/simctl project set acme/app path=acme/renamed
SELECT id, path FROM gitlab_projects WHERE path IN ('acme/app', 'acme/renamed');
\! test/gitlab_sim/simctl project set acme/renamed path=acme/app
-- Others are shown what they are members of.
CREATE SERVER as_alice FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER as_alice OPTIONS (token 'glpat-sim-alice');
CREATE SCHEMA alice;
IMPORT FOREIGN SCHEMA gitlab FROM SERVER as_alice INTO alice;
:clear
SELECT path FROM alice.gitlab_projects ORDER BY 1;
SELECT path FROM alice.gitlab_groups ORDER BY 1;
-- All tokens of one's projects: four lists at a time.
SELECT project, id, name, access_level FROM alice.gitlab_project_access_tokens
	WHERE project = ANY (ARRAY(SELECT path FROM alice.gitlab_projects WHERE visibility = 'private')) ORDER BY id;
SELECT p.path, t.id FROM alice.gitlab_projects p
	JOIN alice.gitlab_project_access_tokens t ON t.project = p.path ORDER BY 1;
\! test/gitlab_sim/simctl journal --sort
-- Many: pages by the id of the last one.
\! test/gitlab_sim/simctl reset --projects 250 --groups 250 --dates fixed
:clear
SELECT count(*), count(DISTINCT path), min(id), max(id) FROM gitlab_projects;
SELECT count(*), count(DISTINCT path) FROM gitlab_groups WHERE parent_id IS NOT NULL;
\! test/gitlab_sim/simctl journal --sort
EXPLAIN (VERBOSE, COSTS OFF) SELECT path FROM gitlab_projects WHERE visibility = 'public' AND NOT archived;
EXPLAIN (COSTS OFF) SELECT path FROM gitlab_projects WHERE visibility = 'nothing' ORDER BY id;
EXPLAIN (COSTS OFF) SELECT path, archived FROM gitlab_groups WHERE id = 2;
SELECT outcome($$INSERT INTO gitlab_projects (path) VALUES ('x')$$);
SELECT outcome($$DELETE FROM gitlab_groups$$);

SET client_min_messages = error;
DROP SERVER as_alice CASCADE;
DROP SCHEMA alice CASCADE;
RESET client_min_messages;
\i sql/include/teardown.sql
