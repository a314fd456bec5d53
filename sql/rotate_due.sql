-- gitlab_pat_rotate_due(): policy as data.
\i sql/include/setup.sql
\set VERBOSITY terse
\pset null '-'
CREATE TABLE token_deliveries (
	token_name text, owner text, project text, group_path text, variable text,
	environment_scope text, days integer);
CREATE TABLE token_rotations (
	at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
	outcome text, message text, fingerprint text, revoke_after timestamptz);
-- What depends on the day or the run is cut off.
CREATE VIEW outcomes AS
	SELECT owner, token_name, old_id AS old, new_id AS new, outcome,
			regexp_replace(regexp_replace(message, ', request ID \w+', ''),
				'\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d\+00)?', 'DATE', 'g') AS message, fingerprint IS NOT NULL AS known
		FROM token_rotations ORDER BY at;
-- Two tokens that end soon, one of them used in two places (of which one is named
-- twice), and one that does not.
\! test/gitlab_sim/simctl token add id=50 user_id=2 name=deploy scopes='["api"]' expires_at=$(date -u -d '+5 days' +%F) token=glpat-deploy-50 >/dev/null
\! test/gitlab_sim/simctl token add id=51 user_id=8 name=deploy scopes='["read_user"]' expires_at=$(date -u -d '+6 days' +%F) token=glpat-deploy-51 >/dev/null
\! test/gitlab_sim/simctl token add id=52 user_id=8 name=later scopes='["read_user"]' expires_at=$(date -u -d '+61 days' +%F) token=glpat-later-52 >/dev/null
\! for p in acme/app acme/web; do test/gitlab_sim/simctl variable set project=$p key=DEPLOY_PAT value=glpat-deploy-50; done
\! test/gitlab_sim/simctl variable set project=acme/app key=DATABASE_URL environment_scope=production value=glpat-deploy-51
\! test/gitlab_sim/simctl variable set group=acme key=GROUP_TOKEN value=glpat-later-52
INSERT INTO token_deliveries VALUES
	('deploy', 'alice', 'acme/app', NULL, 'DEPLOY_PAT', NULL, 7),
	('deploy', 'alice', 'acme/web', NULL, 'DEPLOY_PAT', '*', 3),
	('deploy', 'alice', 'acme/web', NULL, 'DEPLOY_PAT', NULL, 2),
	('deploy', 'dave', 'acme/app', NULL, 'DATABASE_URL', 'production', 60),
	('later', 'dave', NULL, 'acme', 'GROUP_TOKEN', '*', 60);
\! test/gitlab_sim/simctl journal --clear >/dev/null
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', dry_run => true);
SELECT * FROM outcomes;
-- The owner is asked for by name, and all that is checked is asked for once.
\! test/gitlab_sim/simctl journal
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SELECT * FROM outcomes WHERE outcome <> 'due';
\! test/gitlab_sim/simctl state 50 51 52
\! test/gitlab_sim/simctl variables | grep "token [0-9]"
SELECT id, expires_at - (now() AT TIME ZONE 'UTC')::date AS days
	FROM gitlab_personal_access_tokens WHERE active AND name = 'deploy' ORDER BY id;
-- What the job has delivered is known by its fingerprint: no secret is used.
TRUNCATE token_deliveries;
INSERT INTO token_deliveries VALUES
	('deploy', 'alice', 'acme/app', NULL, 'DEPLOY_PAT', NULL, 7),
	('deploy', 'alice', 'acme/web', NULL, 'DEPLOY_PAT', '*', 3);
\! test/gitlab_sim/simctl journal --clear >/dev/null
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
\! test/gitlab_sim/simctl journal
-- Another lifetime, of a call and of a row
UPDATE token_deliveries SET days = 89;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 91);
UPDATE token_deliveries SET days = 90;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 120);
SELECT id, expires_at - (now() AT TIME ZONE 'UTC')::date AS days
	FROM gitlab_personal_access_tokens WHERE active AND name = 'deploy' AND user_id = 2;
UPDATE token_deliveries SET days = 120;
ALTER TABLE token_deliveries ADD lifetime integer;
UPDATE token_deliveries SET lifetime = 150;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SELECT id, expires_at - (now() AT TIME ZONE 'UTC')::date AS days
	FROM gitlab_personal_access_tokens WHERE active AND name = 'deploy' AND user_id = 2;
ALTER TABLE token_deliveries DROP lifetime;

-- Failures are written down, and do not stop what comes after them.
TRUNCATE token_deliveries, token_rotations;
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl variable set project=acme/app key=A value=x
\! test/gitlab_sim/simctl token add user_id=10 name=twin scopes='["api"]' expires_at=2090-01-01 >/dev/null
\! test/gitlab_sim/simctl token add user_id=10 name=twin scopes='["api"]' expires_at=2090-01-01 >/dev/null
INSERT INTO token_deliveries VALUES
	('administrator', 'root', 'acme/app', NULL, 'CONFIG', '*', 7),
	('alice api', 'alice', 'acme/app', NULL, 'DEPLOY_PAT', '*', 7),
	('alice read', 'alice', 'acme/app', NULL, 'NONE', '*', 7),
	('alice read', 'alice', 'acme/app', NULL, 'CONFIG', 'production', 7),
	('fine-grained', 'alice', 'acme/app', NULL, 'A', '*', 7),
	('frank admin', 'frank', 'no/such', NULL, 'X', '*', 7),
	('project bot', 'project_1_bot_a1b2c3', 'acme/app', NULL, 'DATABASE_URL', '*', 7),
	('revoked', 'alice', 'acme/app', NULL, 'DATABASE_URL', 'production', 7),
	('twin', 'frank', NULL, 'acme', 'REGION', '*', 7),
	('x', 'nobody', NULL, 'acme/infra', 'REGION', '*', 7),
	(NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('no days', 'alice', 'acme/app', NULL, 'B', '*', NULL),
	('no place', 'alice', NULL, NULL, 'B', '*', 7),
	('two places', 'alice', 'acme/app', 'acme', 'B', '*', 7),
	('too long', 'alice', 'acme/app', NULL, 'C', '*', 2147483647),
	('service account', 'service_account_deploy', 'acme/web', NULL, 'DEPLOY_PAT', '*', 7),
	('rotator', 'frank', 'ACME/web', NULL, 'DEPLOY_PAT', NULL, 7),
	('no expiry', 'dave', NULL, 'acme', 'GROUP_TOKEN', '*', 7);
-- Two tokens for one place, however its project is written, are refused before
-- anything is asked or changed.  A scope makes another place.
\! test/gitlab_sim/simctl journal --clear >/dev/null
\set VERBOSITY default
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
UPDATE token_deliveries SET project = '02' WHERE token_name = 'rotator';
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', dry_run => true);
\set VERBOSITY terse
\! test/gitlab_sim/simctl journal
SELECT * FROM outcomes;
DELETE FROM token_deliveries WHERE token_name = 'rotator';
\! test/gitlab_sim/simctl fault PUT variables/DEPLOY_PAT status status=403
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', dry_run => true);
SELECT owner, token_name, old, outcome, message FROM outcomes;
TRUNCATE token_rotations;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SELECT owner, token_name, old, new, outcome, left(message, 100) AS message FROM outcomes;
\! test/gitlab_sim/simctl tokens | awk '$1 > 16'
\! test/gitlab_sim/simctl variables
\! test/gitlab_sim/simctl dead-variables
-- A refusal names the place in its hint, too; the next run does better.
SELECT message FROM outcomes WHERE token_name = 'alice api' AND outcome = 'failed';
DELETE FROM token_deliveries WHERE token_name IS DISTINCT FROM 'alice api';
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
\! test/gitlab_sim/simctl variables | grep "token [0-9]"

-- What can't be called, or called so.
SELECT outcome($$CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')$$);
BEGIN;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
ROLLBACK;
CALL gitlab_pat_rotate_due(NULL, 'token_rotations');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 0);
CALL gitlab_pat_rotate_due('outcomes', 'token_rotations');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_deliveries');
SET default_transaction_read_only = on;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
RESET default_transaction_read_only;
\set VERBOSITY default
CALL gitlab_pat_rotate_due('token_deliveries');
ALTER TABLE token_rotations RENAME fingerprint TO print;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
ALTER TABLE token_rotations RENAME print TO fingerprint;
\set VERBOSITY terse
-- Where the foreign tables are is told by the search path, or by arguments.
TRUNCATE token_deliveries;
SET search_path = public;
CALL gitlab_pat_rotate_due('gitlab_test.token_deliveries', 'gitlab_test.token_rotations');
CALL gitlab_pat_rotate_due('gitlab_test.token_deliveries', 'gitlab_test.token_rotations',
	tokens => 'gitlab_test.gitlab_personal_access_tokens',
	users => 'gitlab_test.gitlab_users',
	variables => 'gitlab_test.gitlab_project_variables',
	group_variables => 'gitlab_test.gitlab_group_variables');
SHOW search_path;
SET search_path = gitlab_test, public;
-- They must be foreign tables of the right kind, tokens and users of one server.
CREATE SCHEMA gitlab_shadow
	CREATE TABLE gitlab_users (id bigint, username text);
SET search_path = gitlab_shadow, gitlab_test, public;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SET search_path = gitlab_test, public;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', tokens => 'gitlab_users');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', variables => 'gitlab_group_variables');
CREATE SERVER second FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE FOREIGN TABLE second_users (id bigint, username text) SERVER second OPTIONS (resource 'users');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', users => 'second_users');
-- Variables must be of the GitLab that the tokens are of, or their values would be sent to
-- another one.  Two servers may be one GitLab.
CREATE SERVER third FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url 'https://gitlab.example.com');
IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_project_variables, gitlab_group_variables) FROM SERVER third INTO gitlab_shadow;
\set VERBOSITY default
\! test/gitlab_sim/simctl journal --clear >/dev/null
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', variables => 'gitlab_shadow.gitlab_project_variables');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', group_variables => 'gitlab_shadow.gitlab_group_variables',
	dry_run => true);
\! test/gitlab_sim/simctl journal
\set VERBOSITY terse
ALTER SERVER third OPTIONS (SET url :'url');
CREATE USER MAPPING FOR CURRENT_USER SERVER third OPTIONS (token 'glpat-sim-admin');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', variables => 'gitlab_shadow.gitlab_project_variables',
	group_variables => 'gitlab_shadow.gitlab_group_variables');
DROP SERVER third CASCADE;
-- What the caller has in the search path is not run: neither operators nor functions.
CREATE FUNCTION gitlab_shadow.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE FUNCTION gitlab_shadow.gitlab_pat_identify(text, text) RETURNS TABLE (id bigint, active boolean)
	LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE FUNCTION gitlab_shadow.arrow(jsonb, text) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE OPERATOR gitlab_shadow.->> (FUNCTION = gitlab_shadow.arrow, LEFTARG = jsonb, RIGHTARG = text);
DROP TABLE gitlab_shadow.gitlab_users;
INSERT INTO token_deliveries VALUES ('alice read', 'alice', 'acme/app', NULL, 'DATABASE_URL', '*', 7);
SET search_path = gitlab_shadow, gitlab_test, public, pg_catalog;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
SET search_path = gitlab_test, public;
DROP SCHEMA gitlab_shadow CASCADE;
-- Nor is what anybody can create in the schema of the extension, however well it fits.
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE ROLE regress_gitlab_meddler;
SET ROLE regress_gitlab_meddler;
CREATE FUNCTION public.meddle(jsonb, jsonb) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE OPERATOR public.->> (FUNCTION = public.meddle, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE OPERATOR public.|| (FUNCTION = public.meddle, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE FUNCTION public.gitlab_pat_identify(text, text) RETURNS TABLE (id bigint, active boolean) LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE FUNCTION public.gitlab_pat_rotate_due_words(text, text, text, varchar) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE PROCEDURE public.gitlab_pat_rotate_due_run(jsonb, text, text, text) LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE PROCEDURE public.gitlab_pat_rotate_due_one(jsonb, jsonb, INOUT text) LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE PROCEDURE public.gitlab_pat_try_commit(INOUT text, INOUT text, INOUT text, INOUT varchar) LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
RESET ROLE;
UPDATE token_deliveries SET days = 91;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 100);
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 80);
DROP OWNED BY regress_gitlab_meddler;
DROP ROLE regress_gitlab_meddler;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- Its parts are not for calling.
CALL gitlab_pat_rotate_due_run('{"schema": "public"}', NULL, NULL, NULL);
SELECT gitlab_pat_rotate_due_container('gitlab', 'project', 'acme/app');
-- A call by position of version 1.1 keeps its meaning.
CALL gitlab_pat_rotate_due('gitlab_test.token_deliveries', 'gitlab_test.token_rotations', 100, false,
	'gitlab_test.gitlab_personal_access_tokens', 'gitlab_test.gitlab_users', 'gitlab_test.gitlab_project_variables',
	NULL, NULL);
-- A replaced token is kept as keep_old says, not as the session does.
TRUNCATE token_deliveries;
INSERT INTO token_deliveries VALUES ('alice read', 'alice', 'acme/app', NULL, 'DATABASE_URL', '*', 90);
SET gitlab_pat_fdw.keep_replaced = on;
CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', lifetime => 120);
RESET gitlab_pat_fdw.keep_replaced;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE name = 'alice read' AND active;
-- The lock that keeps other sessions out goes with the call, failed or not.
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
\set VERBOSITY default
\i sql/include/teardown.sql
