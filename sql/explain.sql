-- EXPLAIN of INSERT, UPDATE and DELETE: what a statement changes in GitLab.
\i sql/include/setup.sql

-- The nodes of a plan and what concerns GitLab; versions of PostgreSQL write the
-- rest differently.
CREATE FUNCTION changes(command text, options text DEFAULT 'COSTS OFF',
	lines text DEFAULT 'GitLab Changes|GitLab Request:') RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, command) LOOP
		IF line ~ ('^ *(->  )?(Insert|Update|Delete|Foreign) |' || lines) THEN
			RETURN NEXT regexp_replace(line, ' \(actual .*\)', '');
		END IF;
	END LOOP;
END
$$;
\pset tuples_only on
\pset format unaligned

--
-- Without ANALYZE, no request is made.
--
SELECT changes($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'explained', '{api}') RETURNING token$$);
SELECT changes($$UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE user_id = 2$$);
SELECT changes($$DELETE FROM gitlab_personal_access_tokens WHERE id IN (12, 13)$$);
SELECT changes($$INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/app', 'EXPLAINED', 'x')$$);
SELECT changes($$UPDATE gitlab_group_variables SET value = 'x' WHERE group_path = 'acme'$$);
SELECT changes($$DELETE FROM gitlab_project_variables WHERE project = 'acme/app'$$);
-- Each statement of WITH has a node of its own.
SELECT changes($$WITH new AS (
		UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 12 RETURNING token)
	UPDATE gitlab_project_variables v SET value = new.token FROM new
	WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT'$$);
\! test/gitlab_sim/simctl count
-- The option "rotation" decides what UPDATE sends.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD rotation 'native');
SELECT changes($$UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 12$$);
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP rotation);
-- A table that is one of several targets has its own line.
CREATE TABLE parent (LIKE gitlab_personal_access_tokens);
ALTER FOREIGN TABLE gitlab_personal_access_tokens INHERIT parent;
SELECT changes($$DELETE FROM parent WHERE id = 12$$);
ALTER FOREIGN TABLE gitlab_personal_access_tokens NO INHERIT parent;

--
-- With ANALYZE, the lines count what the statement has sent, and what the end
-- of the transaction owes.
--
\set analyze '''ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF'''
BEGIN;
SELECT changes($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	SELECT 2, 'explained ' || i, '{api}' FROM generate_series(1, 3) AS i$$, :analyze);
SELECT changes($$UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
	WHERE user_id = 2 AND name LIKE 'explained _'$$, :analyze);
SELECT changes($$DELETE FROM gitlab_personal_access_tokens WHERE id IN (12, 13)$$, :analyze);
-- Tokens that read as revoked owe nothing.
SELECT changes($$DELETE FROM gitlab_personal_access_tokens WHERE id IN (12, 13)$$, :analyze);
SELECT changes($$INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/app', 'EXPLAINED', 'x'), ('acme/web', 'EXPLAINED', 'x')$$, :analyze);
SELECT changes($$UPDATE gitlab_project_variables SET value = 'y'
	WHERE project IN ('acme/app', 'acme/web') AND key = 'EXPLAINED'$$, :analyze);
SELECT changes($$DELETE FROM gitlab_project_variables
	WHERE project = 'acme/app' AND key = 'EXPLAINED'$$, :analyze);
ROLLBACK;
-- GitLab Requests counts the attempts of the changes and of the reads before them.
\! test/gitlab_sim/simctl fault POST personal_access_tokens status status=429 times=1 headers.Retry-After=0
BEGIN;
SELECT changes($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'explained', '{api}')$$, :analyze, 'GitLab');
ROLLBACK;
-- Programs read lists and numbers.
CREATE FUNCTION plan_of(command text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT json) ' || command INTO plan;
	RETURN (SELECT jsonb_object_agg(key, value) FROM jsonb_each(plan #> '{0, Plan}')
			WHERE key LIKE 'GitLab%');
END
$$;
BEGIN;
SELECT jsonb_pretty(plan_of($$INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
	VALUES (2, 'explained', '{api}')$$));
ROLLBACK;
\pset tuples_only off
\pset format aligned
\i sql/include/teardown.sql
