-- UPDATE of expires_at rotates: a like-for-like token takes the old one's place.
\i sql/include/setup.sql
\pset null '(null)'

--
-- transactional rotation, the default
--
-- The new token is made now, the old one is revoked after the commit.
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2
	RETURNING id, user_id, name, description, scopes, active, revoked,
		expires_at = current_date + 90 AS as_asked, token LIKE 'glpat-%' AS secret;
\! test/gitlab_sim/simctl state 2 17
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- What is to be revoked reads so from the next command on.
SELECT id, name, active, revoked FROM gitlab_personal_access_tokens
	WHERE id IN (2, 17) ORDER BY id;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE active AND name = 'alice api';
\! test/gitlab_sim/simctl journal --clear >/dev/null
COMMIT;
\! test/gitlab_sim/simctl journal --clear
\! test/gitlab_sim/simctl state 2 17
-- Owner, name, description, scopes and kind are the old one's.
WITH new AS (
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
		WHERE id IN (8, 12) RETURNING id, user_id, name, description, scopes)
SELECT id IN (18, 19) AS new, user_id, name, description, scopes FROM new ORDER BY name;
\! test/gitlab_sim/simctl tokens 8 12 18 19 | sed -E 's/^19 /18 /' | LC_ALL=C sort -k1,1n -k2
-- An impersonation token is replaced by an impersonation token.
\! test/gitlab_sim/simctl journal --clear --method POST --sort | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- The same date rotates as well: it was asked for. So does a default.
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3 RETURNING id, name;
UPDATE gitlab_personal_access_tokens SET expires_at = expires_at WHERE id = 20 RETURNING id, name;
SELECT id, active FROM gitlab_personal_access_tokens WHERE name = 'alice read' ORDER BY id;
COMMIT;
\! test/gitlab_sim/simctl state 3 20 21
-- The bot of a project or a group gets a second token, and so stays what it is.
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id IN (9, 10)
	RETURNING user_id, name;
ROLLBACK;
-- A service account's token is tried like any other.
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 11
	RETURNING id, user_id, name;
-- A row that does not match is no rotation.
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 4711;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = NULL;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE name = 'nobody''s';

-- The new secret is stored in the same statement.
CREATE TABLE secrets (name text PRIMARY KEY, token_id bigint, token text);
INSERT INTO secrets VALUES ('root no admin mode', 4, 'glpat-sim-noadminmode');
WITH new AS (
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
		WHERE id = 4 RETURNING id, name, token)
UPDATE secrets s SET token_id = new.id, token = new.token
	FROM new WHERE s.name = new.name;
SELECT name, token_id > 4 AS new, token LIKE 'glpat-%' AND token NOT LIKE 'glpat-sim%' AS secret
	FROM secrets;

--
-- Rollbacks change nothing
--
\! test/gitlab_sim/simctl reset
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
	WHERE user_id = 8 AND expires_at IS NOT NULL RETURNING id;
ROLLBACK;
\! test/gitlab_sim/simctl state 12 17
SELECT id, name, active FROM gitlab_personal_access_tokens WHERE user_id = 8 ORDER BY id;
-- Savepoints
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING id;
SAVEPOINT a;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3 RETURNING id;
ROLLBACK TO SAVEPOINT a;
SELECT id, active FROM gitlab_personal_access_tokens WHERE id IN (2, 3, 18, 19) ORDER BY id;
SAVEPOINT b;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 91 WHERE id = 3 RETURNING id;
RELEASE SAVEPOINT b;
\! test/gitlab_sim/simctl state 2 3 18 19 20
COMMIT;
\! test/gitlab_sim/simctl state 2 3 18 19 20
-- A statement that fails half-way has changed nothing.
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl fault POST users/8 status status=400 headers.X-Request-Id=REQUEST
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
	WHERE id IN (2, 12);
\! test/gitlab_sim/simctl state 2 12 17
\! test/gitlab_sim/simctl clear-faults
-- Rotated, then deleted: both are gone. Deleted, then rotated: refused.
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING id;
DELETE FROM gitlab_personal_access_tokens WHERE name = 'alice api' RETURNING id, revoked;
COMMIT;
\! test/gitlab_sim/simctl state 2 18
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3;
ROLLBACK;
\! test/gitlab_sim/simctl state 3
-- Created and rotated in one transaction
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'fresh', '{api}', current_date + 30) RETURNING id;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60 WHERE name = 'fresh' RETURNING id;
COMMIT;
\! test/gitlab_sim/simctl state 19 20

--
-- Joins
--
\! test/gitlab_sim/simctl reset
CREATE TABLE renewals (token_id bigint, days int);
INSERT INTO renewals VALUES (2, 30), (2, 60), (12, 90);
WITH new AS (
	UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + r.days
		FROM renewals r WHERE r.token_id = t.id RETURNING t.id, t.name)
SELECT id IN (17, 18) AS new, name FROM new ORDER BY name;
-- A row that was met twice is rotated once.
\! test/gitlab_sim/simctl count --method POST
SELECT name, count(*) FROM gitlab_personal_access_tokens
	WHERE active AND name IN ('alice api', 'deploy   key "x"') GROUP BY name ORDER BY name;

-- The table's own products are not met by the statement that makes them.
\! test/gitlab_sim/simctl reset --tokens 30
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD page_size '2');
SELECT count(*) FROM gitlab_personal_access_tokens WHERE active AND name LIKE 'token 000%';
WITH new AS (
	UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + 90
		WHERE t.user_id NOT IN (3, 4, 5, 6) AND t.active AND t.name LIKE 'token 000%'
		RETURNING t.id)
SELECT count(*) > 5 AS many, count(*) = count(DISTINCT id) AS once, min(id) > 46 AS new FROM new;
SELECT name, count(*) FROM gitlab_personal_access_tokens
	WHERE active AND name LIKE 'token 000%' GROUP BY name HAVING count(*) > 1;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE active AND name LIKE 'token 000%';
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP page_size);
-- The guard counts rotations, too.
\! test/gitlab_sim/simctl reset
SET gitlab_pat_fdw.max_changes = 1;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id IN (2, 3);
\! test/gitlab_sim/simctl state 2 3 17
RESET gitlab_pat_fdw.max_changes;

--
-- What is refused, before any change
--
\! test/gitlab_sim/simctl reset
-- at planning: any other column, whatever the value
UPDATE gitlab_personal_access_tokens SET name = 'new' WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET name = name WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET scopes = '{api}', expires_at = current_date + 9 WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET revoked = true WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET token = DEFAULT WHERE id = 2;
EXPLAIN UPDATE gitlab_personal_access_tokens SET id = 3 WHERE id = 2;
CREATE FOREIGN TABLE no_id (name text, expires_at date) SERVER gitlab;
UPDATE no_id SET expires_at = current_date + 90;
DROP FOREIGN TABLE no_id;
\! test/gitlab_sim/simctl count
-- dates
\set VERBOSITY terse
UPDATE gitlab_personal_access_tokens SET expires_at = current_date WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET expires_at = '2020-01-01' WHERE id = 2;
\set VERBOSITY default
UPDATE gitlab_personal_access_tokens SET expires_at = 'infinity' WHERE id = 2;
-- NULL is for tokens that have no expiry.
UPDATE gitlab_personal_access_tokens SET expires_at = NULL WHERE id = 2;
\! test/gitlab_sim/simctl set require_expiry=false
UPDATE gitlab_personal_access_tokens SET expires_at = NULL WHERE id = 7 RETURNING name, expires_at;
\! test/gitlab_sim/simctl set require_expiry=true
-- expired, revoked
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 5;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 6;
-- revoked by others meanwhile: the token is read anew
\! test/gitlab_sim/simctl hook GET 'tokens[?/]' revoke=3
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3;
\! test/gitlab_sim/simctl clear-hooks
-- the credential in use, and fine-grained tokens
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 1;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 13;
\! test/gitlab_sim/simctl state 1 2 5 6 13
BEGIN READ ONLY;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
ROLLBACK;
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING id;
PREPARE TRANSACTION 'gitlab_test';
\! test/gitlab_sim/simctl state 2 18
-- The bot of a project or a group gets a second token, and keeps the first until commit.
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl journal --clear >/dev/null
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id IN (9, 10)
	RETURNING id IN (17, 18) AS new, user_id, name, scopes, active;
\! test/gitlab_sim/simctl state 9 10 17 18
COMMIT;
\! test/gitlab_sim/simctl state 9 10 17 18
\! test/gitlab_sim/simctl journal --clear --method POST --sort | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
\! test/gitlab_sim/simctl journal --method DELETE --sort
-- Who is no administrator cannot create the successor.
\! test/gitlab_sim/simctl reset
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
\set VERBOSITY terse
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 13;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3;
\set VERBOSITY default
\! test/gitlab_sim/simctl state 2 3 13
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

--
-- A revocation that fails after the commit is a warning, for both work.
--
\! test/gitlab_sim/simctl reset
ALTER SERVER gitlab OPTIONS (ADD max_retries '0');
\! test/gitlab_sim/simctl fault DELETE 'personal_access_tokens/(2|3)$' status status=400 times=2 headers.X-Request-Id=REQUEST
WITH new AS (
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
		WHERE id IN (2, 3, 12) RETURNING id, token)
INSERT INTO secrets SELECT 'new ' || id, id, token FROM new;
\! test/gitlab_sim/simctl state 2 3 12 17 18 19
SELECT count(*) FROM secrets WHERE name LIKE 'new%';
DELETE FROM gitlab_test.gitlab_personal_access_tokens WHERE id IN (2, 3);
\! test/gitlab_sim/simctl state 2 3
-- The same for what a rollback cannot revoke
\! test/gitlab_sim/simctl fault DELETE 'personal_access_tokens/20$' status status=400 headers.X-Request-Id=REQUEST
BEGIN;
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'stays', '{api}', current_date + 30);
ROLLBACK;
\! test/gitlab_sim/simctl state 20
ALTER SERVER gitlab OPTIONS (DROP max_retries);

--
-- An overlap: the old token is left alone
--
\! test/gitlab_sim/simctl reset
BEGIN;
SET LOCAL gitlab_pat_fdw.keep_replaced = on;
UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + 90
	FROM generate_series(1, 2) WHERE t.id IN (2, 12) RETURNING t.id > 16 AS new, t.name;
SELECT id > 16 AS new, name, active FROM gitlab_personal_access_tokens WHERE name = 'alice api' ORDER BY id;
COMMIT;
\! test/gitlab_sim/simctl state 2 12 17 18
BEGIN;
SET LOCAL gitlab_pat_fdw.keep_replaced = on;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3 RETURNING id;
ROLLBACK;
\! test/gitlab_sim/simctl state 3 19
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3 RETURNING id;
\! test/gitlab_sim/simctl state 3 20

--
-- Expired tokens, where the table says so
--
\! test/gitlab_sim/simctl reset
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 5;
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD replace_expired 'true');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 5
	RETURNING id, name, active, token IS NOT NULL AS secret;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 6;
\! test/gitlab_sim/simctl state 5 6 17
\! test/gitlab_sim/simctl reset
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD rotation 'native');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 5
	RETURNING id, name, active, token IS NOT NULL AS secret;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 6;
\! test/gitlab_sim/simctl state 5 6 17
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP rotation, DROP replace_expired);

--
-- native rotation: GitLab's own, which takes effect at once
--
\! test/gitlab_sim/simctl reset
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD rotation 'native');
-- one token a statement, named by a constant or a parameter
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE name = 'alice api';
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id IN (2, 3);
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id > 2;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2 OR id = 3;
UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + r.days
	FROM renewals r WHERE r.token_id = t.id;
UPDATE gitlab_personal_access_tokens SET name = 'x' WHERE id = 2;
\! test/gitlab_sim/simctl count
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2
	RETURNING id, user_id, name, expires_at = current_date + 90 AS as_asked,
		token LIKE 'glpat-%' AS secret;
\! test/gitlab_sim/simctl journal --clear --method POST | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
\! test/gitlab_sim/simctl state 2 17
-- fine-grained tokens, and those of bots
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 13 RETURNING id, name, granular;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 9 RETURNING id, name;
-- parameters
PREPARE rotate(bigint, int) AS
	UPDATE gitlab_personal_access_tokens SET expires_at = current_date + $2 WHERE id = $1
	RETURNING id, name;
EXECUTE rotate(12, 30);
SET plan_cache_mode = force_generic_plan;
EXECUTE rotate(3, 30);
EXECUTE rotate(NULL, 30);
EXECUTE rotate(4711, 30);
RESET plan_cache_mode;
DEALLOCATE rotate;
-- a join that meets the row twice
UPDATE gitlab_personal_access_tokens t SET expires_at = current_date + 40
	FROM generate_series(1, 2) WHERE t.id = 4 RETURNING t.id;
-- refused as above
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 1;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 6;
UPDATE gitlab_personal_access_tokens SET expires_at = NULL WHERE id = 8;
\! test/gitlab_sim/simctl state 1 8
-- It cannot be rolled back: a warning names both ids.
BEGIN;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 8 RETURNING id;
ROLLBACK;
\! test/gitlab_sim/simctl state 8 23
BEGIN;
SAVEPOINT a;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 10 RETURNING id;
ROLLBACK TO SAVEPOINT a;
SELECT id, active FROM gitlab_personal_access_tokens WHERE id IN (10, 24) ORDER BY id;
COMMIT;
-- It works for who is no administrator, too.
\! test/gitlab_sim/simctl reset
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3
	RETURNING id, name, token LIKE 'glpat-%' AS secret;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 4
	RETURNING id;
\! test/gitlab_sim/simctl state 3 4
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP rotation);

--
-- A session asks once for the kinds of an owner's tokens
--
-- (a new session, which has learned nothing yet)
\c
SET search_path = gitlab_test, public;
SET gitlab_pat_fdw.discard_secrets = on;
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl journal --clear >/dev/null
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 2;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 3;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 8;
-- The session does not ask for the kind of a token that it has made.
\! test/gitlab_sim/simctl journal --clear --path users/2/ | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 80 WHERE id IN (18, 19);
\! test/gitlab_sim/simctl journal --clear --path users/2/ --sort | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- It asks again for a token that was made after that,
INSERT INTO gitlab_impersonation_tokens (user_id, name, scopes, expires_at) VALUES (2, 'young', '{api}', current_date + 90);
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 80 WHERE name = 'young';
\! test/gitlab_sim/simctl journal --clear --path users/2/ | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- for one that is about to expire,
\! test/gitlab_sim/simctl token set 12 expires_at=$(date -u -d tomorrow +%F)
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 70 WHERE id = 12;
\! test/gitlab_sim/simctl journal --clear --path users/[0-9]+/ | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
-- and where a user has more than a page of impersonation tokens.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD page_size '1');
\c
SET search_path = gitlab_test, public;
SET gitlab_pat_fdw.discard_secrets = on;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 70 WHERE name = 'alice read' AND active;
\! test/gitlab_sim/simctl journal --clear --path users/2/ | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g; s,tokens/2[01] ,tokens/ID ,'
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP page_size);
\! test/gitlab_sim/simctl tokens | grep -E 'alice|young|impersonation' | sed -E 's/^21 /20 /' | LC_ALL=C sort -k1,1n -k2

\i sql/include/teardown.sql
