-- What the executor would let pass and what GitLab cannot do is refused.
\i sql/include/setup.sql
\pset null '(null)'

--
-- A row of a foreign table has no place, so nothing may refer to its ctid.
--
SELECT id FROM gitlab_personal_access_tokens WHERE ctid = '(0,1)';
SELECT ctid FROM gitlab_personal_access_tokens WHERE id = 2;
SELECT id FROM gitlab_personal_access_tokens ORDER BY ctid;
SELECT count(DISTINCT ctid) FROM gitlab_personal_access_tokens;
SELECT id, lag(id) OVER (ORDER BY ctid) FROM gitlab_personal_access_tokens;
SELECT t.id FROM gitlab_personal_access_tokens t JOIN gitlab_users u ON u.ctid = t.ctid;
SELECT u.id FROM gitlab_users u
	WHERE EXISTS (SELECT FROM gitlab_personal_access_tokens t WHERE t.user_id = u.id OR t.ctid = u.ctid);
SELECT (SELECT t.ctid) FROM gitlab_personal_access_tokens t;
SELECT l.* FROM gitlab_personal_access_tokens t, LATERAL (SELECT t.ctid LIMIT 1) l;
SELECT key FROM gitlab_project_variables WHERE project = 'acme/app' AND ctid = '(0,1)';
EXPLAIN (COSTS OFF) SELECT ctid FROM gitlab_users;
DELETE FROM gitlab_personal_access_tokens
	WHERE ctid IN (SELECT ctid FROM gitlab_personal_access_tokens LIMIT 1);
DELETE FROM gitlab_personal_access_tokens WHERE id = 2 RETURNING ctid;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2
	RETURNING token, (SELECT max(ctid::text) FROM pg_class), ctid;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}')
	RETURNING token, ctid;
PREPARE by_ctid(tid) AS DELETE FROM gitlab_personal_access_tokens WHERE ctid = $1;
EXECUTE by_ctid('(0,1)');
DEALLOCATE by_ctid;
CREATE VIEW places AS SELECT id, ctid AS place FROM gitlab_personal_access_tokens;
SELECT * FROM places;
SELECT id FROM places WHERE id = 2;
DROP VIEW places;
\! test/gitlab_sim/simctl count --method DELETE
-- tableoid and whole rows are no references to it.
SELECT tableoid::regclass, (t).name FROM gitlab_personal_access_tokens t WHERE id = 2;
-- A local table's ctid is that table's business.
CREATE TABLE wanted (id bigint);
INSERT INTO wanted VALUES (2), (3);
SELECT t.id, w.ctid FROM gitlab_personal_access_tokens t JOIN wanted w USING (id) ORDER BY id;
DELETE FROM wanted USING gitlab_personal_access_tokens t WHERE t.id = wanted.id RETURNING wanted.ctid, t.name;

-- A row of a partition has none either, and locking mixed partitions refers to none.
CREATE TABLE tokens (id bigint, user_id bigint, name text, scopes text[], expires_at date, token text)
	PARTITION BY LIST (user_id);
CREATE TABLE tokens_local PARTITION OF tokens FOR VALUES IN (1);
CREATE FOREIGN TABLE tokens_gitlab PARTITION OF tokens FOR VALUES IN (2, 8) SERVER gitlab;
INSERT INTO tokens (id, user_id, name) VALUES (900, 1, 'local');
SELECT id, ctid FROM tokens ORDER BY id;
SELECT id FROM tokens WHERE ctid = '(0,1)';
DELETE FROM tokens WHERE id = 2 RETURNING ctid;
INSERT INTO tokens (user_id, name, scopes) VALUES (8, 'x', '{api}') RETURNING ctid;
SELECT id FROM tokens WHERE user_id = 1 AND ctid = '(0,1)';
SELECT id FROM tokens WHERE id IN (2, 900) ORDER BY id FOR UPDATE;
UPDATE wanted SET id = 0 FROM tokens t WHERE t.id = wanted.id;
BEGIN;
DELETE FROM tokens WHERE id IN (2, 900) RETURNING id, tableoid::regclass;
ROLLBACK;

-- postgres_fdw in another database names rows by their ctid.
SET client_min_messages = warning;
CREATE EXTENSION postgres_fdw SCHEMA public;
SELECT format('host %L, port %L, dbname %L', current_setting('unix_socket_directories'),
	current_setting('port'), current_database()) AS address \gset
CREATE SERVER neighbor FOREIGN DATA WRAPPER postgres_fdw OPTIONS (:address);
CREATE USER MAPPING FOR CURRENT_USER SERVER neighbor;
CREATE FOREIGN TABLE remote (id bigint, user_id bigint, name text, scopes text[], expires_at date, token text)
	SERVER neighbor OPTIONS (schema_name 'gitlab_test', table_name 'gitlab_personal_access_tokens');
SELECT id, name FROM remote WHERE id = 2;
DELETE FROM remote WHERE id > 1 AND random() >= 0;
DELETE FROM remote USING wanted w WHERE w.id = remote.id AND random() >= 0;
UPDATE remote SET expires_at = current_date + 9 WHERE random() >= 0 RETURNING token;
-- A statement that it hands over whole names them by their id.
DELETE FROM remote WHERE id = 3 RETURNING name;
\! test/gitlab_sim/simctl journal --clear --method DELETE
DROP EXTENSION postgres_fdw CASCADE;
RESET client_min_messages;

--
-- Rows that are routed to a partition obey the rules of a direct INSERT.
--
INSERT INTO tokens (user_id, name, scopes) VALUES (8, 'x', '{api}') ON CONFLICT DO NOTHING;
INSERT INTO tokens (user_id, name, scopes) SELECT 8, 'x', '{api}' WHERE false ON CONFLICT DO NOTHING;
INSERT INTO tokens (id, user_id, name) VALUES (901, 1, 'local, too') ON CONFLICT DO NOTHING;
\! test/gitlab_sim/simctl count --method POST

-- Policies of the parent would have to check what GitLab makes of a row.
ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON tokens USING (true) WITH CHECK (name LIKE 'allowed%');
CREATE ROLE gitlab_test_clerk;
GRANT USAGE ON SCHEMA gitlab_test TO gitlab_test_clerk;
GRANT ALL ON tokens, gitlab_personal_access_tokens TO gitlab_test_clerk;
CREATE USER MAPPING FOR gitlab_test_clerk SERVER gitlab OPTIONS (token 'glpat-sim-admin');
SET ROLE gitlab_test_clerk;
INSERT INTO tokens (user_id, name, scopes) VALUES (8, 'forbidden', '{api}');
INSERT INTO tokens (user_id, name, scopes) VALUES (8, 'allowed', '{api}') RETURNING token;
INSERT INTO tokens (user_id, name) VALUES (1, 'forbidden');
INSERT INTO tokens (user_id, name) VALUES (1, 'allowed');
UPDATE tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
-- What reads and deletes has nothing to check.
SELECT id, name FROM tokens WHERE id = 2;
BEGIN;
DELETE FROM tokens WHERE id = 2 RETURNING name;
ROLLBACK;
RESET ROLE;
\! test/gitlab_sim/simctl count --method POST
DROP POLICY everything ON tokens;
ALTER TABLE tokens DISABLE ROW LEVEL SECURITY;
-- The CHECK OPTION of a view of the parent would show the secret.
CREATE VIEW few AS SELECT * FROM tokens WHERE user_id = 8 WITH CHECK OPTION;
INSERT INTO few (user_id, name, scopes) VALUES (8, 'x', '{api}') RETURNING token;
DROP VIEW few;

--
-- A BEFORE trigger can change what UPDATE could change, and nothing else.
--
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE TG_ARGV[0]
		WHEN 'name' THEN NEW.name := 'changed';
		WHEN 'scopes' THEN NEW.scopes := '{sudo}';
		WHEN 'user_id' THEN NEW.user_id := 8;
		WHEN 'token' THEN NEW.token := 'glpat-own';
		WHEN 'expires_at' THEN NEW.expires_at := current_date + 60;
		WHEN 'nothing' THEN NEW.name := '' || NEW.name;
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('name');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
CREATE OR REPLACE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('scopes');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
CREATE OR REPLACE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('user_id');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
CREATE OR REPLACE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('token');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
\! test/gitlab_sim/simctl count --method POST
CREATE OR REPLACE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('expires_at');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2
	RETURNING name, expires_at = current_date + 60 AS by_trigger, token IS NOT NULL AS secret;
CREATE OR REPLACE TRIGGER change BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION change('nothing');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 12
	RETURNING name, expires_at = current_date + 9 AS as_asked, token IS NOT NULL AS secret;

DROP TRIGGER change ON gitlab_personal_access_tokens;

--
-- A copy of a database changes nothing in GitLab.
--
\! test/gitlab_sim/simctl reset
SET gitlab_pat_fdw.read_only = on;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}');
INSERT INTO tokens (user_id, name, scopes) VALUES (8, 'x', '{api}');
COPY gitlab_personal_access_tokens (user_id, name, scopes) FROM stdin;
2	x	{api}
\.
\set VERBOSITY terse
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2 RETURNING token;
DELETE FROM gitlab_personal_access_tokens WHERE id = 4711;
UPDATE gitlab_project_variables SET value = 'x' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
CALL gitlab_pat_rotate_self('gitlab');
CREATE TABLE deliveries (token_name text, owner text, project text, variable text, environment_scope text, days integer);
CREATE TABLE rotations (at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
	outcome text, message text, fingerprint text, revoke_after timestamptz);
CALL gitlab_pat_rotate_due('deliveries', 'rotations');
CALL gitlab_pat_rotate_due('deliveries', 'rotations', dry_run => true);
\set VERBOSITY default
-- What only reads goes on.
SELECT name FROM gitlab_personal_access_tokens WHERE id = 2;
EXPLAIN (COSTS OFF) DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
SET ROLE gitlab_test_clerk;
SET gitlab_pat_fdw.read_only = off;
RESET ROLE;
\! test/gitlab_sim/simctl count --method POST; test/gitlab_sim/simctl count --method PUT; test/gitlab_sim/simctl count --method DELETE
RESET gitlab_pat_fdw.read_only;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2 RETURNING name;

DROP OWNED BY gitlab_test_clerk;
DROP ROLE gitlab_test_clerk;
\i sql/include/teardown.sql
