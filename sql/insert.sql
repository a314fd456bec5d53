-- INSERT creates tokens at once; a rollback revokes them.
\i sql/include/setup.sql
\pset null '(null)'

-- RETURNING gives what GitLab answered, secret included.
INSERT INTO gitlab_personal_access_tokens (user_id, name, description, scopes, expires_at)
	VALUES (2, 'first', 'for the tests', '{api,read_user}', current_date + 30)
	RETURNING id, user_id, name, description, scopes, active, revoked,
		created_at BETWEEN now() - interval '1 min' AND now() + interval '1 min' AS just_now,
		last_used_at, last_used_ips, expires_at = current_date + 30 AS as_asked,
		granular, token LIKE 'glpat-%' AS secret;
\! test/gitlab_sim/simctl state 17
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
SELECT name, description, scopes, token FROM gitlab_personal_access_tokens WHERE id = 17;

-- The secret can be stored in the same statement.
CREATE TABLE secrets (id bigint, token text);
WITH new AS (
	INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (8, 'stored', '{read_user}', current_date + 90)
		RETURNING id, token)
INSERT INTO secrets SELECT * FROM new;
SELECT id, token LIKE 'glpat-%' AS secret FROM secrets;

-- Several rows are several tokens.
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'one', '{api}', current_date + 1), (8, 'two', '{read_api}', current_date + 2),
		(1, 'three', '{read_repository,write_repository}', current_date + 365)
	RETURNING id, user_id, name, scopes, expires_at - current_date AS days;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	SELECT id, 'for ' || username, ARRAY['read_user'], current_date + 7
		FROM gitlab_users WHERE username IN ('alice', 'dave') ORDER BY id
	RETURNING id, name;

-- The table's own products are not met by the statement that makes them.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD page_size '2');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	SELECT user_id, 'copy of ' || name, scopes, current_date + 30
		FROM gitlab_personal_access_tokens
		WHERE name LIKE '%alice%'
	RETURNING id, name;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE name LIKE '%alice%';
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP page_size);

-- Whatever is in a name comes back unharmed.
INSERT INTO gitlab_personal_access_tokens (user_id, name, description, scopes, expires_at)
	VALUES (2, E'O''Hara "x" \\ {}[]&?=#%20+/', E'two\nlines,\ta tab', '{api}', current_date + 30),
		(2, 'Ünïcödé ✓ 日本 🦊', '<script>', '{api}', current_date + 30),
		(2, 'null', '', '{api}', current_date + 30)
	RETURNING id, name, description;
SELECT name = E'O''Hara "x" \\ {}[]&?=#%20+/' AS name,
		description = E'two\nlines,\ta tab' AS description
	FROM gitlab_personal_access_tokens WHERE name LIKE 'O''%';
SELECT name, description FROM gitlab_personal_access_tokens WHERE name LIKE 'Ü%';

--
-- Columns that GitLab assigns take no value, except NULL and DEFAULT.
--
INSERT INTO gitlab_personal_access_tokens
	VALUES (DEFAULT, 2, 'all columns', NULL, '{api}', NULL, NULL, DEFAULT, NULL, NULL,
		current_date + 30, NULL, NULL)
	RETURNING name, active, revoked, token IS NOT NULL AS secret;
INSERT INTO gitlab_personal_access_tokens (name, scopes, id) VALUES ('x', '{api}', 99);
INSERT INTO gitlab_personal_access_tokens (name, scopes, active) VALUES ('x', '{api}', true);
INSERT INTO gitlab_personal_access_tokens (name, scopes, revoked) VALUES ('x', '{api}', false);
INSERT INTO gitlab_personal_access_tokens (name, scopes, created_at) VALUES ('x', '{api}', now());
INSERT INTO gitlab_personal_access_tokens (name, scopes, last_used_at) VALUES ('x', '{api}', now());
INSERT INTO gitlab_personal_access_tokens (name, scopes, last_used_ips) VALUES ('x', '{api}', '{}');
INSERT INTO gitlab_personal_access_tokens (name, scopes, granular) VALUES ('x', '{api}', true);
INSERT INTO gitlab_personal_access_tokens (name, scopes, token) VALUES ('x', '{api}', 'glpat-own');

--
-- What is refused here, without a request
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
INSERT INTO gitlab_personal_access_tokens (user_id, scopes) VALUES (2, '{api}');
INSERT INTO gitlab_personal_access_tokens (user_id, name) VALUES (2, 'x');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{}');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api,NULL}');
-- a token that would be dead on arrival
\set VERBOSITY terse
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', (now() AT TIME ZONE 'UTC')::date);
\set VERBOSITY default
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', 'infinity');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', '-infinity');
\a \t
SELECT regexp_replace(outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', '2020-02-29')$$), 'today is [0-9-]+ ', 'today is ... ');
SELECT regexp_replace(outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', '0044-03-15 BC')$$), 'today is [0-9-]+ ', 'today is ... ');
\a \t
-- GitLab's days are UTC's, wherever the session is.
\set VERBOSITY terse
SET timezone = 'Pacific/Kiritimati';
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', (now() AT TIME ZONE 'UTC')::date);
SET timezone = 'Etc/GMT+12';
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', (now() AT TIME ZONE 'UTC')::date);
SET timezone = 'UTC';
\set VERBOSITY default
-- names are not unique in GitLab, so nothing conflicts
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'x', '{api}') ON CONFLICT DO NOTHING;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'x', '{api}') ON CONFLICT (id) DO UPDATE SET name = 'y';
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	SELECT 2, 'x', '{api}' WHERE false;
BEGIN READ ONLY;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}');
ROLLBACK;
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD updatable 'false');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}');
COPY gitlab_personal_access_tokens (user_id, name, scopes) FROM stdin;
2	x	{api}
\.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP updatable);
\! test/gitlab_sim/simctl journal --clear

--
-- What GitLab refuses
--
\a \t
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (4711, 'x', '{api}', current_date + 30)$$);
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api,bogus}', current_date + 30)$$);
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, '', '{api}', current_date + 30)$$);
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (-1, 'x', '{api}', current_date + 30)$$);
SELECT regexp_replace(outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'x', '{api}', '9999-12-31')$$), 'before [0-9-]+', 'before ...');
\a \t

--
-- No expiry: GitLab decides
--
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'without expiry', '{api}')
	RETURNING name, expires_at > current_date AS assigned;
\! test/gitlab_sim/simctl set require_expiry=false
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'without expiry', '{api}')
	RETURNING name, expires_at;
\! test/gitlab_sim/simctl set require_expiry=true

--
-- No user: the token is for the caller
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('for me', '{read_api}', current_date + 30), ('too', '{read_api}', current_date + 30)
	RETURNING user_id, name;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (NULL, 'k8s', '{k8s_proxy}', current_date + 1)
	RETURNING user_id, name, scopes;
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('rotates', '{self_rotate}', current_date + 1), ('both', '{self_rotate,k8s_proxy}', current_date + 1),
		('more', '{self_rotate,api}', current_date + 1)
	RETURNING user_id, name, scopes;
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- Without being an administrator, that route is the only one.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('k8s', '{k8s_proxy}', current_date + 1)
	RETURNING user_id, name, scopes, token IS NOT NULL AS secret;
INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('rotates', '{self_rotate}', current_date + 1), ('both', '{k8s_proxy,self_rotate}', current_date + 1)
	RETURNING user_id, name, scopes, token IS NOT NULL AS secret;
\a \t
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('x', '{self_rotate,api}', current_date + 30)$$);
-- Before GitLab 18.0 it took one scope only.
\! test/gitlab_sim/simctl reset --version 17.11
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('x', '{self_rotate}', current_date + 30)$$);
\! test/gitlab_sim/simctl reset
-- For a write the scope "api" is needed, whatever else GitLab names.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice-read');
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('x', '{self_rotate}', current_date + 30)$$);
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES ('x', '{api}', current_date + 30)$$);
SELECT outcome($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (8, 'x', '{api}', current_date + 30)$$);
\a \t
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

--
-- COPY
--
\set VERBOSITY terse
COPY gitlab_personal_access_tokens (user_id, name, scopes, expires_at) FROM stdin;
2	copied 1	{api}	\N
8	copied 2	{read_user,bogus}	\N
\.
\set VERBOSITY default
SELECT name, revoked FROM gitlab_personal_access_tokens WHERE name LIKE 'copied%' ORDER BY id;
\! test/gitlab_sim/simctl set max_lifetime_days=100000
COPY gitlab_personal_access_tokens (user_id, name, scopes, expires_at) FROM stdin;
2	copied 1	{api}	2091-01-01
8	copied 2	{read_user,read_api}	\N
\.
SELECT user_id, name, scopes, active FROM gitlab_personal_access_tokens
	WHERE name LIKE 'copied%' AND NOT revoked ORDER BY id;
\! test/gitlab_sim/simctl set max_lifetime_days=365

--
-- Partitions and triggers
--
CREATE TABLE tokens (user_id bigint, name text, scopes text[], expires_at date, token text)
	PARTITION BY LIST (user_id);
CREATE TABLE tokens_local PARTITION OF tokens FOR VALUES IN (1);
CREATE FOREIGN TABLE tokens_gitlab PARTITION OF tokens FOR VALUES IN (2, 8) SERVER gitlab;
INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (1, 'local', '{api}', current_date + 30), (8, 'routed', '{api}', current_date + 30)
	RETURNING tableoid::regclass, user_id, name, token LIKE 'glpat-%' AS secret;
COPY tokens (user_id, name, scopes) FROM stdin;
1	local, too	{api}
2	routed, too	{api}
\.
SELECT name FROM gitlab_personal_access_tokens WHERE name LIKE 'routed%' ORDER BY id;
DROP TABLE tokens;
CREATE FUNCTION prefix() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.name := 'db: ' || NEW.name; RETURN NEW; END$$;
CREATE FUNCTION store() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO secrets VALUES (NEW.id, NEW.token); RETURN NULL; END$$;
CREATE TRIGGER prefix BEFORE INSERT ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION prefix();
CREATE TRIGGER store AFTER INSERT ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION store();
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'triggered', '{api}', current_date + 30);
SELECT t.name, s.token LIKE 'glpat-%' AS secret
	FROM secrets s JOIN gitlab_personal_access_tokens t USING (id) WHERE t.name LIKE 'db: %';
DROP TRIGGER prefix ON gitlab_personal_access_tokens;
DROP TRIGGER store ON gitlab_personal_access_tokens;

--
-- Transactions
--
\! test/gitlab_sim/simctl reset
-- A rollback revokes what was created.
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'rolled back', '{api}', current_date + 30), (8, 'too', '{api}', current_date + 30);
-- From the next command on, it is seen.
SELECT id, name, active FROM gitlab_personal_access_tokens WHERE id > 16 ORDER BY id;
\! test/gitlab_sim/simctl state 17 18
ROLLBACK;
\! test/gitlab_sim/simctl state 17 18
SELECT id, name, active, revoked FROM gitlab_personal_access_tokens WHERE id > 16 ORDER BY id;
-- So does a statement that fails: its second row revokes the first.
\set VERBOSITY terse
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'good', '{api}', current_date + 30), (2, 'bad', '{bogus}', current_date + 30);
\! test/gitlab_sim/simctl state 19
-- and one whose local part fails
CREATE TABLE unique_owner (user_id bigint PRIMARY KEY, token text);
INSERT INTO unique_owner VALUES (2, 'old');
WITH new AS (
	INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'collides', '{api}', current_date + 30) RETURNING user_id, token)
INSERT INTO unique_owner SELECT * FROM new;
\set VERBOSITY default
\! test/gitlab_sim/simctl state 20
-- A savepoint: what was created after it reads as revoked from ROLLBACK TO on,
-- and is revoked when the transaction ends, either way.
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'kept', '{api}', current_date + 30);
SAVEPOINT a;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'undone', '{api}', current_date + 30);
SAVEPOINT b;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'undone, too', '{api}', current_date + 30);
RELEASE SAVEPOINT b;
ROLLBACK TO SAVEPOINT a;
SELECT name, active, revoked FROM gitlab_personal_access_tokens WHERE id > 20 ORDER BY id;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE id > 20 AND revoked;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'kept, too', '{api}', current_date + 30);
\! test/gitlab_sim/simctl state 21 22 23 24
COMMIT;
\! test/gitlab_sim/simctl state 21 22 23 24
-- An exception block is a savepoint.
DO $$
BEGIN
	BEGIN
		INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
			VALUES (2, 'in a block', '{api}', current_date + 30);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
			VALUES (2, 'in its handler', '{api}', current_date + 30);
	END;
END
$$;
SELECT name, active FROM gitlab_personal_access_tokens WHERE id > 24 ORDER BY id;
-- A cursor that is older than the tokens does not show them.
BEGIN;
DECLARE c CURSOR FOR SELECT name FROM gitlab_personal_access_tokens WHERE id > 24;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'later', '{api}', current_date + 30);
FETCH ALL FROM c;
SELECT name FROM gitlab_personal_access_tokens WHERE id > 24 ORDER BY id;
ROLLBACK;
-- Creating and deleting in one transaction
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'short-lived', '{api}', current_date + 30);
DELETE FROM gitlab_personal_access_tokens WHERE name = 'short-lived';
COMMIT;
\! test/gitlab_sim/simctl state 28
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'deleted, then rolled back', '{api}', current_date + 30);
DELETE FROM gitlab_personal_access_tokens WHERE name LIKE 'deleted, then%';
\! test/gitlab_sim/simctl journal --clear >/dev/null
ROLLBACK;
\! test/gitlab_sim/simctl journal --clear
\! test/gitlab_sim/simctl state 29
-- A transaction that cannot be revoked from here must not be prepared.
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'prepared', '{api}', current_date + 30);
PREPARE TRANSACTION 'gitlab_test';
\! test/gitlab_sim/simctl state 30

\i sql/include/teardown.sql
