-- CI/CD variables of projects and groups: read where they are, written at
-- commit.
\i sql/include/setup.sql
\pset null '(null)'
\set clear '\\! test/gitlab_sim/simctl journal --clear >/dev/null'

-- Reading: by the path or the number of the project, and in bulk.
SELECT key, replace(value, E'\n', '|') AS value, variable_type, environment_scope,
		description, protected, masked, hidden, raw
	FROM gitlab_project_variables WHERE project = 'acme/app'
	ORDER BY key, environment_scope;
SELECT project, key FROM gitlab_project_variables WHERE project = '2';
SELECT group_path, key, protected FROM gitlab_group_variables
	WHERE group_path IN ('acme', 'acme/infra') ORDER BY 1, 2;
:clear
SELECT project, key, masked FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
SELECT key FROM gitlab_project_variables WHERE project = 'acme/app'
	AND key = 'DATABASE_URL' AND environment_scope = 'production';
SELECT key FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key IN ('CONFIG', 'DEPLOY_PAT', 'NONE') ORDER BY key;
SELECT count(*) FROM gitlab_project_variables WHERE project = 'acme/app';
\! test/gitlab_sim/simctl journal --sort
-- A key in several scopes: GitLab wants to be told which, so all are listed.
:clear
SELECT key, environment_scope FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key IN ('DATABASE_URL', 'CONFIG')
	ORDER BY key, environment_scope;
\! test/gitlab_sim/simctl journal --sort
-- What is not there is no row; a project that is not there, or may not be seen,
-- is an error: an empty result could be taken for a variable that nobody needs.
SELECT key FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'NONE';
SELECT key FROM gitlab_project_variables WHERE project IN ('', '.', '..');
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'no/such'$$);
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'no/such' AND key = 'X'$$);
SELECT outcome($$SELECT * FROM gitlab_group_variables WHERE group_path = '99'$$);
-- Several pages.
\! test/gitlab_sim/simctl reset --variables 250
SELECT count(*), count(DISTINCT (key, environment_scope)) FROM (
	SELECT * FROM gitlab_project_variables WHERE project = '1') v;
-- Many projects: those that are being read, and the next ones, are in memory.
\! test/gitlab_sim/simctl reset --projects 50
BEGIN;
DECLARE c CURSOR FOR SELECT project, key FROM gitlab_project_variables
	WHERE project = ANY (ARRAY(SELECT n::text FROM generate_series(1, 50) n));
FETCH 1 FROM c;
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'GitLab records';
MOVE ALL FROM c;
COMMIT;
\! test/gitlab_sim/simctl reset

-- Where to look must be known: by a constant, a parameter or a join.
SELECT outcome('SELECT * FROM gitlab_project_variables');
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE key = 'DEPLOY_PAT'$$);
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project LIKE 'acme/%'$$);
SELECT outcome('SELECT count(*) FROM gitlab_group_variables');
SELECT outcome('EXPLAIN SELECT * FROM gitlab_project_variables');
CREATE TABLE places (project text, key text);
INSERT INTO places VALUES ('acme/app', 'DEPLOY_PAT'), ('acme/web', 'DEPLOY_PAT'),
	('acme/web', 'NONE');
-- What GitLab is asked for; versions of PostgreSQL write the rest differently.
CREATE FUNCTION requested(command text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || command LOOP
		IF line ~ 'Nested Loop|GitLab' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END
$$;
SELECT requested('SELECT * FROM places p JOIN gitlab_project_variables v USING (project, key)');
SELECT project, key, v.masked FROM places p
	JOIN gitlab_project_variables v USING (project, key) ORDER BY 1, 2;
SELECT project, key, v.masked FROM places p
	LEFT JOIN gitlab_project_variables v USING (project, key) ORDER BY 1, 2;
SELECT project, key FROM gitlab_project_variables
	WHERE project IN (SELECT project FROM places) AND key = 'DEPLOY_PAT' ORDER BY 1;
-- The planner tries EXISTS without the condition on the project, too.
SELECT p.*, EXISTS (SELECT FROM gitlab_project_variables v
		WHERE v.project = p.project AND v.key = p.key) AS is_there FROM places p ORDER BY 1, 2;
SELECT p.* FROM places p WHERE p.key = 'NONE' OR NOT EXISTS (SELECT
	FROM gitlab_project_variables v WHERE v.project = p.project AND v.masked) ORDER BY 1, 2;
-- There is a way to each of these, whatever the planner prefers.
SET enable_nestloop = off;
SELECT project, key, v.masked FROM places p
	JOIN gitlab_project_variables v USING (project, key) ORDER BY 1, 2;
RESET enable_nestloop;
CREATE FOREIGN TABLE in_varchar (project varchar, key varchar, masked boolean)
	SERVER gitlab OPTIONS (resource 'project_variables');
SELECT project, key, v.masked FROM places p JOIN in_varchar v USING (project, key) ORDER BY 1, 2;
SELECT outcome('EXPLAIN SELECT * FROM places p FULL JOIN gitlab_project_variables v USING (project)');
PREPARE variables(text) AS SELECT count(*) FROM gitlab_project_variables WHERE project = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE variables('acme/app');
EXECUTE variables('acme/web');
RESET plan_cache_mode;
EXPLAIN (VERBOSE, COSTS OFF) SELECT key FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key = 'X' AND environment_scope = 'review/*';
EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM gitlab_project_variables
	WHERE project = 'acme/app';
SET client_min_messages = error;
ANALYZE gitlab_project_variables;
RESET client_min_messages;

-- Writing: nothing is sent before COMMIT, and the transaction sees it as done.
:clear
BEGIN;
INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/app', 'NEW', 'one') RETURNING *;
INSERT INTO gitlab_project_variables (project, key, value, variable_type, environment_scope,
		description, protected, masked, raw)
	VALUES ('acme/app', 'NEW', 'twotwotwo', 'file', 'production', 'second', true, true, true)
	RETURNING *;
UPDATE gitlab_project_variables SET value = value || '!', description = 'changed'
	WHERE project = 'acme/app' AND key = 'NEW' RETURNING value, environment_scope;
UPDATE gitlab_project_variables SET environment_scope = 'staging', protected = NOT protected
	WHERE project = 'acme/app' AND key = 'DATABASE_URL' AND environment_scope = '*'
	RETURNING key, value, environment_scope, protected;
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'CONFIG'
	RETURNING key, raw;
SELECT key, value, environment_scope, description, protected, masked
	FROM gitlab_project_variables WHERE project = 'acme/app' ORDER BY key, environment_scope;
SELECT count(*) FROM gitlab_project_variables WHERE project = 'acme/app';
SELECT value FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key = 'NEW' AND environment_scope = 'production';
SELECT value FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key = 'DATABASE_URL' AND environment_scope = 'staging';
\! test/gitlab_sim/simctl count --method POST
\! test/gitlab_sim/simctl count --method PUT
COMMIT;
\! test/gitlab_sim/simctl variables
-- In the order in which they were issued.
\! test/gitlab_sim/simctl journal | grep -v '^GET'

-- A rollback, of all or of a part, leaves GitLab alone.
\! test/gitlab_sim/simctl reset
:clear
BEGIN;
DELETE FROM gitlab_project_variables WHERE project = 'acme/web';
ROLLBACK;
BEGIN;
UPDATE gitlab_project_variables SET value = 'first-value' WHERE project = 'acme/web';
SAVEPOINT s;
UPDATE gitlab_project_variables SET value = 'second-value' WHERE project = 'acme/web';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'NOT', 'x');
SELECT key, value FROM gitlab_project_variables WHERE project = 'acme/web';
ROLLBACK TO s;
SELECT key, value FROM gitlab_project_variables WHERE project = 'acme/web';
SAVEPOINT s;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'BUT', 'y');
RELEASE s;
UPDATE gitlab_project_variables SET value = 'third-value' WHERE project = 'acme/web' AND key = 'DEPLOY_PAT';
COMMIT;
\! test/gitlab_sim/simctl variables | grep web
\! test/gitlab_sim/simctl journal | grep -v '^GET'

-- A command does not see its own changes, and meets each row once.
INSERT INTO gitlab_project_variables (project, key, value)
	SELECT project, key || '_COPY', value FROM gitlab_project_variables
	WHERE project = 'acme/web' AND key = 'BUT';
UPDATE gitlab_project_variables v SET value = 'once ' || n FROM generate_series(1, 3) n
	WHERE v.project = 'acme/web' AND v.key = 'BUT_COPY' RETURNING key;
BEGIN;
UPDATE gitlab_project_variables v SET environment_scope = 'prod' FROM generate_series(1, 3) n
	WHERE v.project = 'acme/web' AND v.key = 'BUT_COPY' RETURNING key, environment_scope;
DELETE FROM gitlab_project_variables v USING generate_series(1, 3) n
	WHERE v.project = 'acme/web' AND v.key = 'BUT_COPY' RETURNING key, environment_scope;
ROLLBACK;
-- What a trigger does to a row that its command comes to later is an error, as
-- in other tables.
CREATE FUNCTION remove() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM gitlab_project_variables WHERE project = NEW.project AND key <> NEW.key;
	RETURN NEW;
END
$$;
CREATE TRIGGER remove BEFORE UPDATE ON gitlab_project_variables
	FOR EACH ROW EXECUTE FUNCTION remove();
BEGIN;
UPDATE gitlab_project_variables SET description = 'x' WHERE project = 'acme/web';
ROLLBACK;
DROP TRIGGER remove ON gitlab_project_variables;
-- A cursor opened before does not see them either.
BEGIN;
DECLARE c CURSOR FOR SELECT key, value FROM gitlab_project_variables
	WHERE project = 'acme/web' ORDER BY key;
DELETE FROM gitlab_project_variables WHERE project = 'acme/web';
FETCH ALL FROM c;
SELECT count(*) FROM gitlab_project_variables WHERE project = 'acme/web';
INSERT INTO gitlab_project_variables (project, key, value, masked)
	VALUES ('acme/web', 'DEPLOY_PAT', 'made anew', false);
SELECT key, value, masked FROM gitlab_project_variables WHERE project = 'acme/web';
COMMIT;
\! test/gitlab_sim/simctl variables | grep web

-- Each row comes once, whatever is done with it on the way.
BEGIN;
UPDATE gitlab_project_variables SET description = 'seen' WHERE project = 'acme/app';
SELECT key, environment_scope, length(repeat(coalesce(value, 'x'), 1000))
	FROM gitlab_project_variables
	WHERE project = 'acme/app' AND length(repeat(coalesce(value, 'x'), 1000)) > 0;
ROLLBACK;

-- Hidden ones: made so for good, and their value is never seen again.
INSERT INTO gitlab_project_variables (project, key, value, hidden)
	VALUES ('acme/web', 'SECRET', 'very-secret', true) RETURNING key, value, masked, hidden;
SELECT key, value, masked, hidden FROM gitlab_project_variables
	WHERE project = 'acme/web' AND key = 'SECRET';
UPDATE gitlab_project_variables SET value = 'still-secret'
	WHERE project = 'acme/web' AND key = 'SECRET' RETURNING key, value, masked, hidden;
-- also where the table does not show that it is hidden, or the transaction has made it so
CREATE FOREIGN TABLE few_columns (project text, key text, value text, environment_scope text)
	SERVER gitlab OPTIONS (resource 'project_variables');
BEGIN;
UPDATE few_columns SET value = 'secret-again' WHERE project = 'acme/web' AND key = 'SECRET' RETURNING key, value;
INSERT INTO gitlab_project_variables (project, key, value, hidden) VALUES ('acme/web', 'SECRET_2', 'secret-two', true);
UPDATE few_columns SET value = 'secret-three' WHERE project = 'acme/web' AND key = 'SECRET_2' RETURNING *;
INSERT INTO few_columns VALUES ('acme/web', 'SHOWN', 'one');
UPDATE few_columns SET value = 'shown' WHERE project = 'acme/web' AND key = 'SHOWN' RETURNING key, value;
ROLLBACK;
DROP FOREIGN TABLE few_columns;
\! test/gitlab_sim/simctl variables | grep SECRET

-- Groups.
BEGIN;
INSERT INTO gitlab_group_variables (group_path, key, value) VALUES ('acme', 'FOR_ALL', 'of us');
UPDATE gitlab_group_variables SET value = 'eu-west' WHERE group_path = 'acme' AND key = 'REGION';
DELETE FROM gitlab_group_variables WHERE group_path = 'acme/infra' AND key = 'REGION';
COMMIT;
\! test/gitlab_sim/simctl variables | grep group

-- What can't be.
SELECT outcome($$UPDATE gitlab_project_variables SET key = 'X' WHERE project = 'acme/web'$$);
SELECT outcome($$UPDATE gitlab_project_variables SET project = '1' WHERE project = 'acme/web'$$);
SELECT outcome($$UPDATE gitlab_project_variables SET hidden = true WHERE project = 'acme/web'$$);
SELECT outcome($$UPDATE gitlab_project_variables SET value = NULL WHERE project = 'acme/web'$$);
SELECT outcome($$UPDATE gitlab_project_variables SET raw = NULL WHERE project = 'acme/web'$$);
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key) VALUES ('acme/web', 'X')$$);
SELECT outcome($$INSERT INTO gitlab_project_variables (key, value) VALUES ('X', 'x')$$);
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/web', 'X', 'x'), ('acme/web', 'X', 'y')$$);
SELECT outcome($$INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/web', 'X', 'x') ON CONFLICT DO NOTHING$$);
SELECT outcome('DELETE FROM gitlab_project_variables');
CREATE FOREIGN TABLE no_project (key text, value text) SERVER gitlab
	OPTIONS (resource 'project_variables');
SELECT outcome('SELECT * FROM no_project');
CREATE FOREIGN TABLE no_scope (project text, key text, value text) SERVER gitlab
	OPTIONS (resource 'project_variables');
SELECT outcome($$UPDATE no_scope SET value = 'x' WHERE project = 'acme/web'$$);
-- Part of the columns will do, under other names.
CREATE FOREIGN TABLE few (p text OPTIONS (column_name 'project'), key varchar,
		scope text OPTIONS (column_name 'environment_scope'), value text)
	SERVER gitlab OPTIONS (resource 'project_variables');
BEGIN;
UPDATE few SET value = 'of a few' WHERE p = 'acme/web' AND key = 'DEPLOY_PAT';
SELECT key, value, variable_type, raw FROM gitlab_project_variables
	WHERE project = 'acme/web' AND key = 'DEPLOY_PAT';
COMMIT;

-- What GitLab refuses at commit is said then, and what came before is put back.
\! test/gitlab_sim/simctl reset
\set VERBOSITY terse
BEGIN;
UPDATE gitlab_project_variables SET value = 'changed' WHERE project = 'acme/app' AND key = 'CONFIG';
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'DATABASE_URL';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'MADE', 'x');
UPDATE gitlab_project_variables SET value = 'too short for a masked one'
	WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
COMMIT;
\! test/gitlab_sim/simctl variables | grep acme/app
-- What was created is not in the way of what is put back.
BEGIN;
INSERT INTO gitlab_project_variables (project, key, value, environment_scope)
	VALUES ('acme/web', 'DEPLOY_PAT', 'new', 'prod');
UPDATE gitlab_project_variables SET environment_scope = 'between'
	WHERE project = 'acme/web' AND key = 'DEPLOY_PAT' AND environment_scope = '*';
UPDATE gitlab_project_variables SET environment_scope = '*'
	WHERE project = 'acme/web' AND key = 'DEPLOY_PAT' AND environment_scope = 'prod';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'no key', 'x');
COMMIT;
\! test/gitlab_sim/simctl variables | grep acme/web
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'no key', 'x');
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('no/such', 'X', 'x');
-- What is known to fail is not begun.
:clear
BEGIN;
UPDATE gitlab_project_variables SET value = 'changed' WHERE project = 'acme/app' AND key = 'CONFIG';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/web', 'DEPLOY_PAT', 'x');
COMMIT;
BEGIN;
UPDATE gitlab_project_variables SET value = 'changed' WHERE project = 'acme/app' AND key = 'CONFIG';
DELETE FROM gitlab_project_variables WHERE project = 'acme/web';
\! test/gitlab_sim/simctl variable remove project=acme/web key=DEPLOY_PAT
COMMIT;
\! test/gitlab_sim/simctl journal | grep -v '^GET'
-- A hidden value can't be put back: it is written last, and then said to be lost.
\! test/gitlab_sim/simctl reset
:clear
BEGIN;
UPDATE gitlab_project_variables SET value = 'hidden value 2'
	WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN';
UPDATE gitlab_project_variables SET value = 'config value 2'
	WHERE project = 'acme/app' AND key = 'CONFIG';
COMMIT;
\! test/gitlab_sim/simctl journal | grep -v '^GET'
BEGIN;
UPDATE gitlab_project_variables SET value = 'hidden-value-3'
	WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN';
UPDATE gitlab_project_variables SET value = 'config value 3'
	WHERE project = 'acme/app' AND key = 'CONFIG';
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl fault DELETE tokens/3 status status=403
-- a WARNING comes at about the time of the ERROR
SET LOCAL client_min_messages = error;
COMMIT;
\! test/gitlab_sim/simctl variables | grep acme/app
-- One that is made anew under its name stays in its place behind the deletion.
\! test/gitlab_sim/simctl reset
:clear
BEGIN;
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'HIDDEN_TOKEN', 'shown');
UPDATE gitlab_project_variables SET description = 'no longer hidden'
	WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN';
UPDATE gitlab_project_variables SET value = 'first' WHERE project = 'acme/app' AND key = 'CONFIG';
COMMIT;
\! test/gitlab_sim/simctl journal | grep -v '^GET'
-- Nor does a commit begin that would revoke a token which it delivers: one that
-- was created under a savepoint that is gone, or that was deleted or replaced
-- since.  psql remembers its secret.
\! test/gitlab_sim/simctl reset
:clear
BEGIN;
SAVEPOINT s;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'gone', '{api}', current_date + 30) RETURNING token \gset
ROLLBACK TO s;
UPDATE gitlab_project_variables SET value = :'token'
	WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
COMMIT;
BEGIN;
WITH new AS (INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'alice api', '{api}', current_date + 30) RETURNING token)
	UPDATE gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT';
DELETE FROM gitlab_personal_access_tokens WHERE name = 'alice api';
COMMIT;
BEGIN;
WITH new AS (INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'twice', '{api}', current_date + 30) RETURNING token)
	INSERT INTO gitlab_project_variables (project, key, value) SELECT 'acme/app', 'TWICE', token FROM new;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 31
	WHERE name = 'twice' AND active RETURNING token \gset
COMMIT;
BEGIN;
SAVEPOINT s;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'in a file', '{api}', current_date + 30) RETURNING token \gset
ROLLBACK TO s;
UPDATE gitlab_project_variables SET value = E'machine gitlab.example.com\n\tpassword ' || :'token' || E'\n'
	WHERE project = 'acme/app' AND key = 'CONFIG';
COMMIT;
\! test/gitlab_sim/simctl journal | grep variables | grep -v '^GET'
-- It does if the variable has got another one in the end, or is gone.
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'first', '{api}', current_date + 30) RETURNING token \gset
UPDATE gitlab_project_variables SET value = :'token' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'TWICE', :'token');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 31
	WHERE name = 'first' AND active RETURNING token \gset
UPDATE gitlab_project_variables SET value = :'token' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'TWICE';
COMMIT;
\! test/gitlab_sim/simctl dead-variables
-- Of groups, scopes need a paid tier; without it GitLab drops them silently.
\! test/gitlab_sim/simctl set group_variable_scopes=false
INSERT INTO gitlab_group_variables (group_path, key, value, environment_scope)
	VALUES ('acme', 'SCOPED', 'x', 'production');
\! test/gitlab_sim/simctl variables | grep SCOPED

-- Who may do it.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice-read');
UPDATE gitlab_project_variables SET value = 'x' WHERE project = 'acme/web';
\set VERBOSITY default
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-noexpiry');
SELECT outcome($$SELECT * FROM gitlab_project_variables WHERE project = 'acme/app'$$);
-- What one role has written is not shown to another one whom GitLab does not show it.
CREATE ROLE regress_gitlab_user;
\! test/gitlab_sim/simctl token add user_id=8 name=dave scopes=[\"api\"] token=glpat-sim-dave-api >/dev/null
CREATE USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (token 'glpat-sim-dave-api');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (ADD skip_forbidden 'true');
GRANT USAGE ON SCHEMA gitlab_test TO regress_gitlab_user;
GRANT SELECT ON gitlab_project_variables TO regress_gitlab_user;
BEGIN;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'PENDING', 'secret');
SET LOCAL ROLE regress_gitlab_user;
SELECT key, value FROM gitlab_project_variables WHERE project = 'acme/app';
RESET ROLE;
SELECT key, value FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'PENDING';
ROLLBACK;
DROP USER MAPPING FOR regress_gitlab_user SERVER gitlab;
REVOKE ALL ON gitlab_project_variables FROM regress_gitlab_user;
REVOKE ALL ON SCHEMA gitlab_test FROM regress_gitlab_user;
DROP ROLE regress_gitlab_user;
-- A message shows nothing of a value, even if its end is cut within a character.
\! test/gitlab_sim/simctl fault PUT variables/DEPLOY_PAT status status=400 headers.X-Request-Id=REQUEST body="$(python3 -c 'print("{\"message\":\"" + r"\u00e9" * 700 + "\"}")')"
UPDATE gitlab_project_variables SET value = repeat(U&'\00e9', 700) WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
\! test/gitlab_sim/simctl clear-faults

\i sql/include/teardown.sql
