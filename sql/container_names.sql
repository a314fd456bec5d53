-- One project, by number and by path, in any case, is one to a transaction; and the
-- variables of the instance, which are in nothing.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'

:clear
BEGIN;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('1', 'NEW', 'one');
SELECT project, key, value FROM gitlab_project_variables
	WHERE project IN ('acme/app', '1', 'ACME/App', 'acme/web') AND key = 'NEW' ORDER BY project COLLATE "C";
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'NEW', 'two')$$);
UPDATE gitlab_project_variables SET value = 'three' WHERE project = 'acme/app' AND key = 'NEW';
SELECT project, value FROM gitlab_project_variables WHERE project = '1' AND key = 'NEW';
DELETE FROM gitlab_project_variables WHERE project = 'Acme/app' AND key = 'CONFIG';
SELECT project, key FROM gitlab_project_variables WHERE project = '1' AND key IN ('CONFIG', 'NEW', 'DEPLOY_PAT') ORDER BY key;
\! test/gitlab_sim/simctl count projects/[^/]+$
COMMIT;
\! test/gitlab_sim/simctl journal --method POST
\! test/gitlab_sim/simctl journal --method PUT
\! test/gitlab_sim/simctl journal --method DELETE
\! test/gitlab_sim/simctl variables
-- Groups, too.  What GitLab does not know is what it was called.
BEGIN;
UPDATE gitlab_group_variables SET value = 'us-east' WHERE group_path = 'acme' AND key = 'REGION';
UPDATE gitlab_group_variables SET value = 'us-west' WHERE group_path = '1' AND key = 'REGION' RETURNING group_path, value;
INSERT INTO gitlab_group_variables (group_path, key, value) VALUES ('99', 'X', 'x');
SELECT group_path, value FROM gitlab_group_variables WHERE group_path IN ('acme', '2') AND key = 'REGION' ORDER BY 1;
ROLLBACK;
-- Names of one kind need no request.
:clear
BEGIN;
UPDATE gitlab_project_variables SET value = 'a-new-one' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
UPDATE gitlab_project_variables SET value = 'a-new-one' WHERE project = 'ACME/WEB' AND key = 'DEPLOY_PAT';
ROLLBACK;
\! test/gitlab_sim/simctl count projects/[^/]+$
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key, value) VALUES ('..', 'NEW', 'two')$$);

-- The variables of the instance
:clear
INSERT INTO gitlab_instance_variables (key, value, masked) VALUES ('INSTANCE', 'abcdefgh12', true) RETURNING *;
INSERT INTO gitlab_instance_variables (key, value) VALUES ('OTHER', 'other') RETURNING hidden, description;
SELECT key, value, masked FROM gitlab_instance_variables ORDER BY key;
\! test/gitlab_sim/simctl journal --clear
SELECT key, raw FROM gitlab_instance_variables WHERE key IN ('INSTANCE', 'NONE');
\! test/gitlab_sim/simctl journal --clear --sort
SELECT count(*) FROM gitlab_instance_variables;
BEGIN;
UPDATE gitlab_instance_variables SET value = 'abcdefgh34' WHERE key = 'INSTANCE';
DELETE FROM gitlab_instance_variables WHERE key = 'OTHER';
INSERT INTO gitlab_instance_variables (key, value) VALUES ('THIRD', 'third');
SELECT key, value FROM gitlab_instance_variables ORDER BY key;
SELECT outcome($$INSERT INTO gitlab_instance_variables (key, value) VALUES ('THIRD', 'again')$$);
\! test/gitlab_sim/simctl journal --clear
-- The commit reads them side by side, and writes them one after the other.
COMMIT;
\! test/gitlab_sim/simctl journal --method GET --sort
\! test/gitlab_sim/simctl journal --clear | grep -v ^GET
-- A commit that fails puts them back.
\! test/gitlab_sim/simctl fault POST admin/ci/variables status status=400
BEGIN;
UPDATE gitlab_instance_variables SET value = 'abcdefgh56' WHERE key = 'INSTANCE';
DELETE FROM gitlab_instance_variables WHERE key = 'THIRD';
INSERT INTO gitlab_instance_variables (key, value) VALUES ('FOURTH', 'fourth');
\set VERBOSITY terse
COMMIT;
\set VERBOSITY default
\! test/gitlab_sim/simctl clear-faults
SELECT key, value FROM gitlab_instance_variables ORDER BY key;
SELECT outcome($$UPDATE gitlab_instance_variables SET hidden = true WHERE key = 'THIRD'$$);
SELECT outcome($$UPDATE gitlab_instance_variables SET key = 'X' WHERE key = 'THIRD'$$);
SELECT outcome($$INSERT INTO gitlab_instance_variables (key, value, hidden) VALUES ('X', 'x', true)$$);
DELETE FROM gitlab_instance_variables RETURNING key;
EXPLAIN (COSTS OFF) SELECT key FROM gitlab_instance_variables WHERE key = 'X';
EXPLAIN (COSTS OFF) UPDATE gitlab_instance_variables SET value = 'x' WHERE key LIKE 'X%';
-- For administrators only
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT outcome('SELECT * FROM gitlab_instance_variables');

\i sql/include/teardown.sql
