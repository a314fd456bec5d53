-- SELECT from gitlab_personal_access_tokens.
\i sql/include/setup.sql
\pset null '(null)'

--
-- All columns and types
--
\x
SELECT * FROM gitlab_personal_access_tokens WHERE id = 12;
\x
SELECT id, user_id, name, scopes, active, revoked, expires_at
	FROM gitlab_personal_access_tokens ORDER BY id;
SELECT id, description, created_at, granular FROM gitlab_personal_access_tokens
	WHERE id IN (2, 7, 12, 13) ORDER BY id;
-- The secret is in no SELECT.
SELECT count(*), count(token) FROM gitlab_personal_access_tokens;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE token IS NOT NULL;
-- Columns that are only filtered on, in any combination
SELECT name FROM gitlab_personal_access_tokens
	WHERE user_id = 2 AND NOT revoked AND active AND 'api' = ANY (scopes)
		AND created_at >= '2024-01-01 00:00:03+00'
	ORDER BY name;
SELECT id FROM gitlab_personal_access_tokens
	WHERE inet '192.0.2.7' = ANY (last_used_ips);
SELECT id FROM gitlab_personal_access_tokens WHERE last_used_at IS NOT NULL;
SELECT id, name FROM gitlab_personal_access_tokens
	WHERE expires_at IS NULL OR expires_at < '2021-01-01' ORDER BY id;
SELECT id FROM gitlab_personal_access_tokens WHERE name = 'deploy   key "x"';
SELECT id FROM gitlab_personal_access_tokens WHERE description LIKE '%✓%';
SELECT true AS exists FROM gitlab_personal_access_tokens WHERE id = 3;
SELECT gitlab_personal_access_tokens FROM gitlab_personal_access_tokens WHERE id = 3;
-- Dates and times follow the session's time zone; GitLab's days are UTC's.
SET timezone = 'America/New_York';
SELECT created_at, expires_at FROM gitlab_personal_access_tokens WHERE id = 3;
SET timezone = 'UTC';

--
-- Aggregates, sorting, limits
--
SELECT count(*) FROM gitlab_personal_access_tokens;
SELECT user_id, count(*), count(*) FILTER (WHERE active) AS active,
		min(id), max(expires_at)
	FROM gitlab_personal_access_tokens GROUP BY user_id ORDER BY user_id;
SELECT id FROM gitlab_personal_access_tokens ORDER BY name COLLATE "C" DESC LIMIT 3;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE false;
SELECT id FROM gitlab_personal_access_tokens ORDER BY id OFFSET 14;

--
-- One token, by its id
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 2;
SELECT id, name FROM gitlab_personal_access_tokens WHERE 2 = id;
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 2 AND name = 'other';
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 999999;
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 9223372036854775807;
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 5::smallint;
\! test/gitlab_sim/simctl journal --clear
-- Ids that cannot be are not asked for.
SELECT id FROM gitlab_personal_access_tokens WHERE id = NULL;
SELECT id FROM gitlab_personal_access_tokens WHERE id = 0;
SELECT id FROM gitlab_personal_access_tokens WHERE id = -2;
SELECT id FROM gitlab_personal_access_tokens WHERE id = (SELECT NULL::bigint);
\! test/gitlab_sim/simctl journal --clear
-- Types that are compared otherwise are compared here.
SELECT id FROM gitlab_personal_access_tokens WHERE id = 2.0;
SELECT id FROM gitlab_personal_access_tokens WHERE id::text = '2';
-- Prepared statements, with custom and generic plans
PREPARE by_id(bigint) AS
	SELECT id, name FROM gitlab_personal_access_tokens WHERE id = $1;
\! test/gitlab_sim/simctl journal --clear >/dev/null
EXECUTE by_id(2);
SET plan_cache_mode = force_generic_plan;
EXECUTE by_id(3);
EXECUTE by_id(NULL);
EXECUTE by_id(999999);
EXECUTE by_id(-1);
\! test/gitlab_sim/simctl journal --clear
PREPARE of_user(bigint) AS
	SELECT id FROM gitlab_personal_access_tokens WHERE user_id = $1 ORDER BY id;
EXECUTE of_user(8);
EXECUTE of_user(1);
EXECUTE of_user(NULL);
EXECUTE of_user(4711);
RESET plan_cache_mode;
DEALLOCATE ALL;
-- Subselects
SELECT name FROM gitlab_personal_access_tokens WHERE id = (SELECT 1 + 1);
SELECT name FROM gitlab_personal_access_tokens
	WHERE id = (SELECT max(id) FROM gitlab_personal_access_tokens WHERE user_id = 8);
SELECT name FROM gitlab_personal_access_tokens
	WHERE id IN (SELECT id FROM gitlab_personal_access_tokens WHERE user_id = 10)
	ORDER BY id;
SELECT g, (SELECT name FROM gitlab_personal_access_tokens WHERE id = g)
	FROM generate_series(1, 3) g ORDER BY g;
SELECT name FROM gitlab_users u
	WHERE NOT EXISTS (SELECT FROM gitlab_personal_access_tokens t WHERE t.user_id = u.id)
	ORDER BY id;

--
-- EXPLAIN makes no request
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
EXPLAIN (VERBOSE, COSTS OFF)
	SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 2;
PREPARE by_id(bigint) AS
	DELETE FROM gitlab_personal_access_tokens WHERE id = $1;
DO $$
DECLARE
	command text;
	line text;
	n int;
BEGIN
	FOREACH command IN ARRAY ARRAY[
		'SELECT * FROM gitlab_personal_access_tokens',
		'SELECT count(*) FROM gitlab_personal_access_tokens WHERE active',
		'SELECT * FROM gitlab_personal_access_tokens t JOIN gitlab_users u ON u.id = t.user_id',
		$c$INSERT INTO gitlab_personal_access_tokens (name, scopes) VALUES ('x', '{api}')$c$,
		'UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE id = 2',
		'DELETE FROM gitlab_personal_access_tokens WHERE user_id = 2']
	LOOP
		n := 0;
		FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || command
		LOOP
			n := n + 1;
		END LOOP;
		RAISE INFO '%: %', n > 0, command;
	END LOOP;
END
$$;
EXPLAIN (COSTS OFF) EXECUTE by_id(2);
\! test/gitlab_sim/simctl count
DEALLOCATE ALL;

--
-- Paging: each token exactly once, whatever the size of a page
--
\! test/gitlab_sim/simctl reset --tokens 1218
SELECT count(*), count(DISTINCT id), min(id), max(id), sum(id)
	FROM gitlab_personal_access_tokens WHERE name <> '';
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD page_size '5');
SELECT count(*), count(DISTINCT id), min(id), max(id), sum(id)
	FROM gitlab_personal_access_tokens WHERE name <> '';
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD concurrency '1');
SELECT count(*), count(DISTINCT id), min(id), max(id), sum(id)
	FROM gitlab_personal_access_tokens WHERE name <> '';
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (SET concurrency '32');
SELECT count(*), count(DISTINCT id), min(id), max(id), sum(id)
	FROM gitlab_personal_access_tokens WHERE name <> '';
-- Ids come in ascending order, although nothing asks for it.
SELECT bool_and(id > previous) AS ascending
	FROM (SELECT id, lag(id, 1, 0::bigint) OVER () AS previous
			FROM gitlab_personal_access_tokens) t;
-- Pages are fetched when they are needed: what LIMIT cuts off is not asked for.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP concurrency);
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT id FROM gitlab_personal_access_tokens LIMIT 3;
\! test/gitlab_sim/simctl count
-- The page may be the last one, exactly full, or the only one, empty.
\! test/gitlab_sim/simctl reset --tokens 4
SELECT count(*) FROM gitlab_personal_access_tokens WHERE name <> '';
\! test/gitlab_sim/simctl reset
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = 2 AND name <> '';
SELECT count(*) FROM gitlab_personal_access_tokens WHERE user_id = 4711 AND name <> '';

--
-- Rescans
--
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SELECT v, count(id), min(id), max(id)
	FROM generate_series(1, 3) v, LATERAL (
		SELECT id FROM gitlab_personal_access_tokens t WHERE t.id > v * 4 OFFSET 0) t
	GROUP BY v ORDER BY v;
SELECT u.username, t.name
	FROM gitlab_users u LEFT JOIN gitlab_personal_access_tokens t
		ON t.user_id = u.id AND t.active
	WHERE u.id IN (1, 5, 8) ORDER BY 1, 2;
SELECT v, t.id FROM (VALUES (2), (3), (2), (NULL), (99), (12)) AS a (v)
	LEFT JOIN gitlab_personal_access_tokens t ON t.id = v ORDER BY v, id;
SELECT v, t.id, t.name FROM (VALUES (12::bigint), (2)) AS a (v), LATERAL (
	SELECT * FROM gitlab_personal_access_tokens t WHERE t.id = v OFFSET 0) t ORDER BY v;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
RESET enable_memoize;
SELECT a.id, b.id FROM gitlab_personal_access_tokens a
	JOIN gitlab_personal_access_tokens b ON b.id = a.id + 14 ORDER BY a.id;

--
-- Joins with local tables
--
CREATE TABLE contacts (user_id bigint, email text);
INSERT INTO contacts VALUES (2, 'alice@here'), (8, 'dave@here'), (NULL, 'nobody@here');
SELECT c.email, t.id, t.expires_at
	FROM contacts c JOIN gitlab_personal_access_tokens t USING (user_id)
	WHERE t.active ORDER BY t.id;
SELECT c.email, u.username, count(t.id)
	FROM contacts c LEFT JOIN gitlab_users u ON u.id = c.user_id
		LEFT JOIN gitlab_personal_access_tokens t ON t.user_id = u.id
	GROUP BY 1, 2 ORDER BY 1;

--
-- Cursors: they stop in between, and several run side by side
--
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM gitlab_personal_access_tokens ORDER BY id;
DECLARE b SCROLL CURSOR FOR SELECT id, name FROM gitlab_personal_access_tokens;
DECLARE c CURSOR FOR SELECT id FROM gitlab_personal_access_tokens WHERE id = 3;
FETCH 2 FROM a;
FETCH 6 FROM b;
FETCH FROM c;
FETCH 2 FROM a;
FETCH BACKWARD 2 FROM b;
FETCH FROM c;
FETCH FORWARD 3 FROM b;
MOVE FORWARD ALL IN a;
FETCH FROM a;
CLOSE b;
FETCH ABSOLUTE 1 FROM c;
COMMIT;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR
	SELECT id FROM gitlab_personal_access_tokens ORDER BY id;
FETCH 1 FROM held;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
-- A cursor that is never read, or not to its end, leaves nothing behind.
BEGIN;
DECLARE a CURSOR FOR SELECT * FROM gitlab_personal_access_tokens;
DECLARE b CURSOR FOR SELECT * FROM gitlab_personal_access_tokens;
FETCH 0 FROM a;
MOVE 6 IN b;
ROLLBACK;
-- PL/pgSQL's loops are cursors, too.
DO $$
DECLARE
	outer_id bigint;
	inner_name text;
	n int := 0;
BEGIN
	FOR outer_id IN SELECT id FROM gitlab_personal_access_tokens WHERE user_id = 2
	LOOP
		FOR inner_name IN SELECT name FROM gitlab_personal_access_tokens WHERE id = outer_id
		LOOP
			n := n + 1;
			EXIT;
		END LOOP;
	END LOOP;
	RAISE INFO '%', n;
END
$$;

--
-- What GitLab does not send is NULL: 17.11 knows no granular, and shows
-- last_used_ips by id only.
--
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP page_size);
\! test/gitlab_sim/simctl reset --version 17.11
SELECT count(*), count(granular), count(last_used_ips) FROM gitlab_personal_access_tokens;
SELECT id, granular, last_used_ips FROM gitlab_personal_access_tokens WHERE id = 12;
SELECT id, granular, last_used_ips FROM gitlab_personal_access_tokens WHERE id = 2;
\! test/gitlab_sim/simctl reset --version 19.4
SELECT count(*), count(granular), count(last_used_ips) FROM gitlab_personal_access_tokens;
SELECT id FROM gitlab_personal_access_tokens WHERE granular;
\! test/gitlab_sim/simctl reset
-- Old rows hold null in "revoked", and mean false.
\! test/gitlab_sim/simctl fault GET 'personal_access_tokens/2' edit set.revoked=null remove='["description"]'
SELECT id, revoked, description FROM gitlab_personal_access_tokens WHERE id = 2;
-- Fields that are not known are skipped.
\! test/gitlab_sim/simctl clear-faults
\! test/gitlab_sim/simctl fault GET 'personal_access_tokens/2' edit set.new_field='{"a":[1]}'
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 2;
\! test/gitlab_sim/simctl clear-faults

--
-- Who is no administrator sees their own tokens
--
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT id, name FROM gitlab_personal_access_tokens ORDER BY id;
SELECT id, name FROM gitlab_personal_access_tokens WHERE user_id = 1;
SELECT id, name FROM gitlab_personal_access_tokens WHERE user_id = 4711;
-- GitLab says 401 about the others. That they are not there, and not that GitLab
-- refuses the credential, is found out by one more request a statement.
\! test/gitlab_sim/simctl journal --clear >/dev/null
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 3;
\! test/gitlab_sim/simctl journal --clear
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 1;
\! test/gitlab_sim/simctl journal --clear
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 4711;
\! test/gitlab_sim/simctl journal --clear
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
SELECT v, t.name FROM (VALUES (1::bigint), (2), (4), (7)) AS a (v), LATERAL (
	SELECT * FROM gitlab_personal_access_tokens t WHERE t.id = v OFFSET 0) t ORDER BY v;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_memoize;
\! test/gitlab_sim/simctl count personal_access_tokens/self
-- Impersonation tokens of one's own are in no list, so they are not found by id.
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 8;
SELECT id, name FROM gitlab_personal_access_tokens WHERE id IN (2, 8, 3, 6) ORDER BY id;
SELECT count(*) FROM gitlab_personal_access_tokens WHERE id IN (2, 8);
DELETE FROM gitlab_personal_access_tokens WHERE id = 8 RETURNING id;
UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 30 WHERE id = 8 RETURNING id;
\! test/gitlab_sim/simctl state 8
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 8;
SELECT id, name FROM gitlab_personal_access_tokens WHERE name = 'impersonation';
-- With a bad credential, the 401 is an error.
\a \t
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-nonsense');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens WHERE id = 3');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-revoked');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-expired');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens');
-- A scope that is not enough, and an account that is blocked
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-noexpiry');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-blocked');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
\a \t
SELECT count(*) FROM gitlab_personal_access_tokens;

\i sql/include/teardown.sql
