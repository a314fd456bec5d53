-- A new secret that nobody takes is refused for UPDATE, and warned about for INSERT.
\i sql/include/setup.sql
RESET gitlab_pat_fdw.discard_secrets;

--
-- UPDATE: the secret in use would end, and nobody know the new one.
--
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id IN (2, 3, 12);
\set VERBOSITY terse
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING id, name;
-- It is an error however many rows there are.
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 4711;
WITH new AS (
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING id)
SELECT id > 16 FROM new;
-- EXPLAIN executes nothing.
EXPLAIN (COSTS OFF) UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
-- A column of another table is not the secret, whatever its name is.
CREATE TABLE secrets (id bigint, token text);
UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + 90
	FROM (VALUES (2, 'mine')) AS s (id, token) WHERE t.id = s.id RETURNING s.token, s;
-- Native rotation is no exception.
CREATE FOREIGN TABLE native (id bigint, user_id bigint, name text, expires_at date, token text)
	SERVER gitlab OPTIONS (rotation 'native');
UPDATE native SET expires_at = current_date + 90 WHERE id = 2;
\set VERBOSITY default
\! test/gitlab_sim/simctl count --method POST
-- A table without a column for it gives nobody the secret.
CREATE FOREIGN TABLE blind (id bigint, expires_at date) SERVER gitlab;
UPDATE blind SET expires_at = current_date + 90 WHERE id = 2 RETURNING *;
-- What is taken: the column under any name, the whole row, an expression of them.
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2
	RETURNING id, left(token, 6);
CREATE FOREIGN TABLE renamed (number bigint OPTIONS (column_name 'id'),
	secret text OPTIONS (column_name 'token'), expires_at date) SERVER gitlab;
WITH new AS (UPDATE renamed SET expires_at = current_date + 90 WHERE number = 3 RETURNING *)
SELECT number, secret LIKE 'glpat-%' AS secret FROM new;
UPDATE renamed SET expires_at = current_date + 90 WHERE number = 4 RETURNING number;
WITH new AS (UPDATE gitlab_personal_access_tokens AS t SET expires_at = current_date + 90 WHERE id = 4 RETURNING t AS whole)
SELECT (whole).id, (whole).token LIKE 'glpat-%' AS secret FROM new;
WITH new AS (UPDATE native SET expires_at = current_date + 90 WHERE id = 12 RETURNING to_jsonb(native) AS document)
SELECT document ->> 'id' AS id, document ->> 'token' LIKE 'glpat-%' AS secret FROM new;
-- A join's RETURNING * has it, too.
WITH new AS (
	UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + 90
		FROM (VALUES (7)) AS v (wanted) WHERE t.id = v.wanted RETURNING *)
SELECT id, wanted, token LIKE 'glpat-%' AS secret FROM new;

--
-- Views, rules, partitions
--
\! test/gitlab_sim/simctl reset
CREATE VIEW with_token AS SELECT id, expires_at, token AS secret FROM gitlab_personal_access_tokens;
CREATE VIEW without_token AS SELECT id, expires_at FROM gitlab_personal_access_tokens;
\set VERBOSITY terse
UPDATE with_token SET expires_at = current_date + 90 WHERE id = 2 RETURNING id;
UPDATE without_token SET expires_at = current_date + 90 WHERE id = 2 RETURNING *;
UPDATE without_token SET expires_at = current_date + 90 WHERE id = 2 RETURNING without_token;
UPDATE with_token SET expires_at = current_date + 90 WHERE id = 2 RETURNING id, secret IS NOT NULL AS secret;
WITH new AS (UPDATE with_token SET expires_at = current_date + 90 WHERE id = 3 RETURNING with_token AS whole)
SELECT (whole).id, (whole).secret IS NOT NULL AS secret FROM new;
CREATE VIEW ruled AS SELECT id, token FROM gitlab_personal_access_tokens;
CREATE RULE prolong AS ON UPDATE TO ruled DO INSTEAD
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = OLD.id
	RETURNING id, token;
UPDATE ruled SET id = id WHERE id = 4;
UPDATE ruled SET id = id WHERE id = 4 RETURNING id;
UPDATE ruled SET id = id WHERE id = 4 RETURNING id, token IS NOT NULL AS secret;
CREATE TABLE tokens (id bigint, user_id bigint, name text, scopes text[], expires_at date, token text)
	PARTITION BY LIST (user_id);
CREATE TABLE tokens_local PARTITION OF tokens FOR VALUES IN (1);
CREATE FOREIGN TABLE tokens_gitlab PARTITION OF tokens FOR VALUES IN (2, 8) SERVER gitlab;
CREATE FOREIGN TABLE tokens_blind (user_id bigint, name text, scopes text[], id bigint, token text, expires_at date)
	SERVER gitlab;
ALTER TABLE tokens ATTACH PARTITION tokens_blind FOR VALUES IN (3, 10);
INSERT INTO tokens (id, user_id) VALUES (7, 1);
UPDATE tokens SET expires_at = current_date + 90 WHERE id IN (7, 12);
UPDATE tokens SET expires_at = current_date + 90 WHERE id IN (7, 12) RETURNING name;
UPDATE tokens SET expires_at = current_date + 90 WHERE id = 12 RETURNING name, token IS NOT NULL AS secret;
WITH new AS (UPDATE tokens SET expires_at = current_date + 90 WHERE id = 15 RETURNING tokens AS whole)
SELECT (whole).name, (whole).token IS NOT NULL AS secret FROM new;
-- Where no partition in GitLab is left, nothing is discarded.
UPDATE tokens SET expires_at = current_date + 90 WHERE user_id = 1;
\set VERBOSITY default

--
-- PL/pgSQL and prepared statements
--
\! test/gitlab_sim/simctl reset
DO $$
DECLARE
	secret text;
BEGIN
	BEGIN
		UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		RAISE INFO 'refused: %', SQLERRM;
	END;
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING token INTO secret;
	RAISE INFO 'taken: %', secret IS NOT NULL;
END
$$;
PREPARE rotate(bigint) AS
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = $1 RETURNING id;
SET plan_cache_mode = force_generic_plan;
\set VERBOSITY terse
EXECUTE rotate(3);
SET gitlab_pat_fdw.discard_secrets = on;
EXECUTE rotate(3);
RESET gitlab_pat_fdw.discard_secrets;
EXECUTE rotate(4);
RESET plan_cache_mode;
-- An AFTER ROW trigger takes it, if it is enabled and fires for this.
CREATE FUNCTION store() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO secrets VALUES (NEW.id, NEW.token); RETURN NULL; END$$;
CREATE TRIGGER store AFTER UPDATE OR INSERT ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION store();
EXECUTE rotate(4);
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 12;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'stored', '{api}');
SELECT id, token LIKE 'glpat-%' AS secret FROM secrets ORDER BY id;
ALTER FOREIGN TABLE gitlab_personal_access_tokens DISABLE TRIGGER store;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 7;
ALTER FOREIGN TABLE gitlab_personal_access_tokens ENABLE TRIGGER store;
SET session_replication_role = replica;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 7;
ALTER FOREIGN TABLE gitlab_personal_access_tokens ENABLE ALWAYS TRIGGER store;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 7;
RESET session_replication_role;
ALTER FOREIGN TABLE gitlab_personal_access_tokens ENABLE REPLICA TRIGGER store;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 15;
DROP TRIGGER store ON gitlab_personal_access_tokens;
CREATE TRIGGER store AFTER UPDATE OF name ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION store();
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 15;
DROP TRIGGER store ON gitlab_personal_access_tokens;
CREATE TRIGGER store BEFORE UPDATE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION store();
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 15;
DROP TRIGGER store ON gitlab_personal_access_tokens;
CREATE TRIGGER store AFTER UPDATE ON gitlab_personal_access_tokens
	FOR EACH STATEMENT EXECUTE FUNCTION store();
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 15;
DROP TRIGGER store ON gitlab_personal_access_tokens;
CREATE TRIGGER store AFTER UPDATE OF expires_at ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION store();
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 15;
DROP TRIGGER store ON gitlab_personal_access_tokens;
SELECT count(*) FROM secrets WHERE token LIKE 'glpat-%';
\set VERBOSITY default

--
-- INSERT and COPY create a token that is of no use: one warning a statement.
--
\! test/gitlab_sim/simctl reset
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'one', '{api}'), (2, 'two', '{api}');
COPY gitlab_personal_access_tokens (user_id, name, scopes) FROM stdin;
2	three	{api}
2	four	{api}
\.
CREATE FOREIGN TABLE bare (user_id bigint, name text, scopes text[]) SERVER gitlab;
INSERT INTO bare VALUES (2, 'five', '{api}');
\set VERBOSITY sqlstate
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'six', '{api}') RETURNING id;
INSERT INTO tokens (user_id, name, scopes)
	VALUES (2, 'seven', '{api}'), (1, 'local', '{api}'), (10, 'eight', '{api}'), (8, 'nine', '{api}');
COPY tokens (user_id, name, scopes) FROM stdin;
10	ten	{api}
2	eleven	{api}
1	local	{api}
\.
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) SELECT 2, 'none', '{api}' WHERE false;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'none', '{bogus}');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'taken', '{api}') RETURNING token IS NOT NULL;
INSERT INTO tokens (user_id, name, scopes) VALUES (2, 'taken', '{api}') RETURNING token IS NOT NULL;
INSERT INTO gitlab_project_variables (project, key, value) VALUES ('acme/app', 'NO_TOKEN', 'x');
SET gitlab_pat_fdw.discard_secrets = on;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'meant', '{api}');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
\set VERBOSITY default

\i sql/include/teardown.sql
