-- DELETE queues tokens, which are revoked at commit.
\i sql/include/setup.sql
\pset null '(null)'

-- On its own, a statement is a transaction.
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl state 3
\! test/gitlab_sim/simctl journal --clear

--
-- Nothing is sent before the commit, and what is queued reads as revoked.
--
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 8
	RETURNING id, name, active, revoked, token;
\! test/gitlab_sim/simctl state 7 12
\! test/gitlab_sim/simctl count --method DELETE
SELECT id, active, revoked FROM gitlab_personal_access_tokens WHERE user_id = 8 ORDER BY id;
SELECT id, active, revoked FROM gitlab_personal_access_tokens WHERE id = 12;
SELECT id FROM gitlab_personal_access_tokens WHERE user_id = 8 AND active;
SELECT id FROM gitlab_personal_access_tokens WHERE id = 12 AND NOT revoked;
SELECT id FROM gitlab_personal_access_tokens WHERE user_id = 8 AND NOT active ORDER BY id;
SELECT id FROM gitlab_personal_access_tokens WHERE revoked ORDER BY id;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = 8;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE revoked;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE revoked = true;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE NOT revoked;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE active;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE NOT active;
SELECT count(*) FROM gitlab_personal_access_tokens;
-- A pushed count then looks at each row, by PostgreSQL's operators of any types.
EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) AS a, count(*) AS b FROM gitlab_personal_access_tokens
	WHERE user_id = 8 AND revoked AND created_at >= date '2024-01-01';
SELECT count(*) AS a, count(*) AS b FROM gitlab_personal_access_tokens
	WHERE user_id = 8 AND revoked AND created_at >= date '2024-01-01';
SELECT count(*) AS a, count(*) AS b FROM gitlab_personal_access_tokens WHERE user_id = (SELECT 8) AND revoked;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = smallint '8' AND revoked;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE id IN (7, 12, 13, 999) AND revoked;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = ANY ('{2,8,NULL}'::bigint[]) AND revoked;
SELECT count(*) FROM gitlab_personal_access_tokens
	WHERE revoked AND created_at >= timestamp '2024-01-01 00:00:12.012';
SELECT count(*) FROM gitlab_personal_access_tokens
	WHERE revoked AND created_at >= timestamptz '2024-01-01 00:00:12.013Z';
PREPARE revoked_of(int) AS SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = $1 AND revoked;
EXECUTE revoked_of(8);
EXECUTE revoked_of(NULL);
SET LOCAL plan_cache_mode = force_generic_plan;
EXECUTE revoked_of(8);
EXECUTE revoked_of(NULL);
SELECT o.id, (SELECT count(*) FROM gitlab_personal_access_tokens t WHERE t.user_id = o.id AND revoked)
	FROM (VALUES (1), (2), (8)) AS o(id);
\! test/gitlab_sim/simctl journal --clear >/dev/null
COMMIT;
\! test/gitlab_sim/simctl journal --clear --sort
\! test/gitlab_sim/simctl state 7 12
SELECT count(*) FROM gitlab_personal_access_tokens WHERE revoked;

--
-- ROLLBACK, ROLLBACK TO and RELEASE
--
\! test/gitlab_sim/simctl reset
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3);
ROLLBACK;
\! test/gitlab_sim/simctl count --method DELETE
SELECT count(*) FROM gitlab_personal_access_tokens WHERE revoked;
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
SAVEPOINT b;
DELETE FROM gitlab_personal_access_tokens WHERE id = 4;
RELEASE SAVEPOINT b;
SELECT id FROM gitlab_personal_access_tokens WHERE revoked ORDER BY id;
ROLLBACK TO SAVEPOINT a;
SELECT id FROM gitlab_personal_access_tokens WHERE revoked ORDER BY id;
SAVEPOINT c;
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
RELEASE SAVEPOINT c;
SELECT id FROM gitlab_personal_access_tokens WHERE revoked ORDER BY id;
COMMIT;
\! test/gitlab_sim/simctl state 2 3 4 12
-- exception blocks
\! test/gitlab_sim/simctl reset
DO $$
BEGIN
	BEGIN
		DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		RAISE INFO 'revoked: %', (SELECT revoked FROM gitlab_personal_access_tokens WHERE id = 2);
	END;
	BEGIN
		DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
	EXCEPTION WHEN division_by_zero THEN
		RAISE INFO 'never here';
	END;
	RAISE INFO 'revoked: %', (SELECT revoked FROM gitlab_personal_access_tokens WHERE id = 3);
END
$$;
\! test/gitlab_sim/simctl state 2 3
-- The same token, undone and then deleted again
BEGIN;
SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
ROLLBACK TO SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
COMMIT;
\! test/gitlab_sim/simctl state 2

--
-- Deleting twice, and what is gone already
--
\! test/gitlab_sim/simctl reset
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2 RETURNING id, revoked;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2 RETURNING id, revoked;
COMMIT;
\! test/gitlab_sim/simctl count --method DELETE
-- a row that reads as revoked counts as deleted, and is not sent
\! test/gitlab_sim/simctl journal --clear >/dev/null
DELETE FROM gitlab_personal_access_tokens WHERE id = 6 RETURNING id, revoked;
\! test/gitlab_sim/simctl count --method DELETE
-- an expired one is sent
DELETE FROM gitlab_personal_access_tokens WHERE id = 5 RETURNING id, revoked;
\! test/gitlab_sim/simctl count --method DELETE
-- one that is not there is no row
DELETE FROM gitlab_personal_access_tokens WHERE id = 4711 RETURNING id;
DELETE FROM gitlab_personal_access_tokens WHERE id = -1 RETURNING id;
DELETE FROM gitlab_personal_access_tokens WHERE id = NULL RETURNING id;
-- one that GitLab no longer knows at commit counts as done
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl token remove 3
COMMIT;
\! test/gitlab_sim/simctl journal --clear --method DELETE

--
-- A join that meets a row twice deletes it once.
--
\! test/gitlab_sim/simctl reset
CREATE TABLE leaked (user_id bigint, found_in text);
INSERT INTO leaked VALUES (8, 'a wiki'), (8, 'a log'), (10, 'a mail');
WITH gone AS (
	DELETE FROM gitlab_personal_access_tokens t USING leaked l
		WHERE l.user_id = t.user_id RETURNING t.id)
SELECT id FROM gone ORDER BY id;
\! test/gitlab_sim/simctl journal --clear --method DELETE --sort
\! test/gitlab_sim/simctl state 7 12 14 15
DELETE FROM gitlab_personal_access_tokens t USING gitlab_users u
	WHERE u.id = t.user_id AND u.state = 'blocked' RETURNING t.id, u.username;
WITH gone AS (
	DELETE FROM gitlab_personal_access_tokens WHERE id IN (9, 10) RETURNING id, name)
SELECT count(*), min(name) FROM gone;
\! test/gitlab_sim/simctl state 9 10 16

--
-- The credential in use
--
\! test/gitlab_sim/simctl reset
DELETE FROM gitlab_personal_access_tokens WHERE id = 1;
DELETE FROM gitlab_personal_access_tokens;
\! test/gitlab_sim/simctl count --method DELETE
DELETE FROM gitlab_personal_access_tokens WHERE id <> 1;
\! test/gitlab_sim/simctl count --method DELETE
SELECT count(*) FROM gitlab_personal_access_tokens WHERE NOT revoked;
-- Who is no administrator may delete their own others.
\! test/gitlab_sim/simctl reset
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
DELETE FROM gitlab_personal_access_tokens WHERE id <> 2 RETURNING id, name;
DELETE FROM gitlab_personal_access_tokens WHERE id = 1;
\! test/gitlab_sim/simctl state 1 2 3 13
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

--
-- The guard against a forgotten WHERE clause
--
\! test/gitlab_sim/simctl reset
SET gitlab_pat_fdw.max_changes = 3;
DELETE FROM gitlab_personal_access_tokens WHERE id > 1;
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3, 6);
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3);
DELETE FROM gitlab_personal_access_tokens WHERE id = 4;
SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
ROLLBACK TO SAVEPOINT a;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE revoked;
ROLLBACK;
-- ROLLBACK TO gives its share back
BEGIN;
SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3, 4);
ROLLBACK TO SAVEPOINT a;
DELETE FROM gitlab_personal_access_tokens WHERE id IN (7, 8, 9);
SAVEPOINT b;
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
ROLLBACK TO SAVEPOINT b;
SET LOCAL gitlab_pat_fdw.max_changes = 4;
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
COMMIT;
\! test/gitlab_sim/simctl state 2 7 8 9 12
SET gitlab_pat_fdw.max_changes = 0;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
DELETE FROM gitlab_personal_access_tokens WHERE id = 6;
RESET gitlab_pat_fdw.max_changes;

--
-- A revocation that fails at commit fails the transaction.
--
\! test/gitlab_sim/simctl reset
ALTER SERVER gitlab OPTIONS (ADD max_retries '0', ADD concurrency '1');
CREATE TABLE log (entry text);
\! test/gitlab_sim/simctl fault DELETE 'personal_access_tokens/3$' status status=400 headers.X-Request-Id=REQUEST
BEGIN;
INSERT INTO log VALUES ('deleting');
INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'created', '{api}', current_date + 30);
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3, 4) AND NOT revoked;
COMMIT;
SELECT * FROM log;
\! test/gitlab_sim/simctl state 2 3 4 17
-- running it again is safe
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3, 4) RETURNING id, revoked;
COMMIT;
\! test/gitlab_sim/simctl state 2 3 4
-- as when the very first one fails
\! test/gitlab_sim/simctl fault DELETE 'personal_access_tokens/12$' status status=403 headers.X-Request-Id=REQUEST
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
-- 404 counts as done
\! test/gitlab_sim/simctl fault DELETE 'personal_access_tokens/12$' status status=404
DELETE FROM gitlab_personal_access_tokens WHERE id = 12;
ALTER SERVER gitlab OPTIONS (DROP max_retries, DROP concurrency);

--
-- Cursors keep what their snapshots show.
--
\! test/gitlab_sim/simctl reset
BEGIN;
DECLARE before CURSOR FOR
	SELECT id, revoked FROM gitlab_personal_access_tokens WHERE user_id = 8;
DELETE FROM gitlab_personal_access_tokens WHERE user_id = 8;
DECLARE after CURSOR FOR
	SELECT id, revoked FROM gitlab_personal_access_tokens WHERE user_id = 8;
FETCH ALL FROM before;
FETCH ALL FROM after;
ROLLBACK;

--
-- What is not possible
--
BEGIN;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
PREPARE TRANSACTION 'gitlab_test';
\! test/gitlab_sim/simctl state 2
TRUNCATE gitlab_personal_access_tokens;
BEGIN READ ONLY;
DELETE FROM gitlab_personal_access_tokens WHERE id = 2;
ROLLBACK;
CREATE FOREIGN TABLE no_id (name text, user_id bigint) SERVER gitlab;
DELETE FROM no_id WHERE name = 'x';
DROP FOREIGN TABLE no_id;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM gitlab_personal_access_tokens;
FETCH 0 FROM c;
DELETE FROM gitlab_personal_access_tokens WHERE CURRENT OF c;
ROLLBACK;
-- A trigger sees what was deleted, and may keep it.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE INFO '% %', TG_WHEN, OLD.name;
	RETURN CASE WHEN OLD.name NOT LIKE '%bot' THEN OLD END;
END
$$;
CREATE TRIGGER keep BEFORE DELETE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER kept AFTER DELETE ON gitlab_personal_access_tokens
	FOR EACH ROW EXECUTE FUNCTION keep();
DELETE FROM gitlab_personal_access_tokens WHERE id IN (8, 9) RETURNING id;
DROP TRIGGER keep ON gitlab_personal_access_tokens;
DROP TRIGGER kept ON gitlab_personal_access_tokens;
\! test/gitlab_sim/simctl state 8 9
-- A prepared DELETE
PREPARE gone(bigint) AS DELETE FROM gitlab_personal_access_tokens WHERE id = $1 RETURNING id;
SET plan_cache_mode = force_generic_plan;
EXECUTE gone(2);
EXECUTE gone(12);
EXECUTE gone(NULL);
RESET plan_cache_mode;
DEALLOCATE gone;
\! test/gitlab_sim/simctl state 2 12

\i sql/include/teardown.sql
