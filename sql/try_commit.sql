-- gitlab_pat_try_commit(): it returns the error of a commit that fails.
\i sql/include/setup.sql
\pset null '(null)'
\set VERBOSITY terse
CREATE TABLE notes (note text);
-- A commit fails with the SQLSTATE that was inserted.
CREATE TABLE failures (state text);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the commit fails' USING ERRCODE = NEW.state, DETAIL = 'a detail', HINT = 'a hint';
END
$$;
CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON failures DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION fail();
CREATE PROCEDURE try(states text[]) LANGUAGE plpgsql AS $$
DECLARE
	wanted text;
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	FOREACH wanted IN ARRAY states LOOP
		INSERT INTO notes VALUES ('goes with ' || wanted);
		IF wanted <> '00000' THEN
			INSERT INTO failures VALUES (wanted);
		END IF;
		CALL gitlab_pat_try_commit(state, message, detail, hint);
		INSERT INTO notes VALUES (concat_ws(', ', wanted, state, message, detail, hint));
	END LOOP;
	COMMIT;
END
$$;

-- By itself it commits nothing.
CALL gitlab_pat_try_commit();
-- What goes on after a failure is a transaction of its own.
CALL try('{22012,00000,40001,00000,57000,00000,P0001,00000,53400,00000,HV000,00000}');
SELECT * FROM notes;
TRUNCATE notes;
-- A cancel, a shutdown and a server in trouble end the call.
CALL try('{57014}');
CALL try('{57P01}');
CALL try('{57P05}');
CALL try('{2D000}');
CALL try('{53100}');
CALL try('{58030}');
CALL try('{XX000}');
CALL try('{XX002}');
SELECT * FROM notes;

-- A loop over a query goes on, too: PostgreSQL keeps its rows.
DO $$
DECLARE
	r record;
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	FOR r IN SELECT i FROM generate_series(1, 4) i LOOP
		IF r.i IN (2, 3) THEN
			INSERT INTO failures VALUES ('22012');
		END IF;
		CALL gitlab_pat_try_commit(state, message, detail, hint);
		RAISE INFO '% %', r.i, state;
	END LOOP;
END
$$;

-- The procedure returns what GitLab refuses at commit, hint included; nothing stays.
\! test/gitlab_sim/simctl fault PUT variables/CONFIG status status=403
DO $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	WITH new AS (UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
			WHERE id = 2 RETURNING token)
		UPDATE gitlab_project_variables v SET value = new.token
			FROM new WHERE v.project = 'acme/app' AND v.key = 'CONFIG';
	CALL gitlab_pat_try_commit(state, message, detail, hint);
	RAISE INFO '%: %', state, message;
	RAISE INFO '%', regexp_replace(detail, 'request ID [^,)]+', 'request ID ...');
	RAISE INFO '%', hint;
	UPDATE gitlab_project_variables v SET value = 'the next transaction'
		WHERE v.project = 'acme/app' AND v.key = 'CONFIG';
	CALL gitlab_pat_try_commit(state, message, detail, hint);
	RAISE INFO '%', state;
END
$$;
\! test/gitlab_sim/simctl state 2 17
SELECT value FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'CONFIG';

-- It is refused where PL/pgSQL could not COMMIT either.
BEGIN;
CALL gitlab_pat_try_commit();
ROLLBACK;
CREATE FUNCTION commit_in_function() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	CALL gitlab_pat_try_commit(state, message, detail, hint);
END
$$;
SELECT commit_in_function();
DO $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	BEGIN
		CALL gitlab_pat_try_commit(state, message, detail, hint);
	EXCEPTION WHEN division_by_zero THEN
	END;
END
$$;
-- Reading transactions may end with it.
SET default_transaction_read_only = on;
CALL gitlab_pat_try_commit();
RESET default_transaction_read_only;
\i sql/include/teardown.sql
