-- gitlab_pat_add_comments(): what \d+ shows of foreign tables and their columns.
\i sql/include/setup.sql

-- Each table and each column gets a comment, once.
SELECT gitlab_pat_add_comments('gitlab_test') > 0 AS added;
SELECT gitlab_pat_add_comments('gitlab_test');
\pset format unaligned
\pset tuples_only on
SELECT obj_description('gitlab_personal_access_tokens'::regclass, 'pg_class');
SELECT attname, col_description(attrelid, attnum) FROM pg_attribute
	WHERE attrelid = 'gitlab_personal_access_tokens'::regclass AND attnum > 0 ORDER BY attnum;
\pset format aligned
\pset tuples_only off
SELECT c.oid::regclass AS "table", attname FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid
	WHERE relkind = 'f' AND relnamespace = 'gitlab_test'::regnamespace AND attnum > 0
		AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, attnum) IS NULL);

-- A comment of the user's own stays; a column is known by its field.
CREATE SCHEMA gitlab_test_comments;
CREATE FOREIGN TABLE gitlab_test_comments.mine (
	number bigint OPTIONS (column_name 'id'),
	name text,
	gone text,
	"no field" text
) SERVER gitlab OPTIONS (resource 'users');
ALTER FOREIGN TABLE gitlab_test_comments.mine DROP COLUMN gone;
COMMENT ON COLUMN gitlab_test_comments.mine.name IS 'a comment of my own';
-- Tables of other wrappers and tables that are not foreign stay as they are.
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER regress_other FOREIGN DATA WRAPPER regress_other;
CREATE FOREIGN TABLE gitlab_test_comments.other (id bigint) SERVER regress_other;
CREATE TABLE gitlab_test_comments.plain (id bigint);
SELECT gitlab_pat_add_comments('gitlab_test_comments');
SELECT relname, attname, coalesce(col_description(c.oid, attnum), obj_description(c.oid)) AS comment
	FROM pg_class c LEFT JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
	WHERE relnamespace = 'gitlab_test_comments'::regnamespace ORDER BY relname, attnum;

-- What COMMENT refuses is refused here, too.
BEGIN READ ONLY;
SELECT gitlab_pat_add_comments('gitlab_test_comments');
ROLLBACK;
COMMENT ON FOREIGN TABLE gitlab_test_comments.mine IS NULL;
CREATE ROLE regress_gitlab_user;
GRANT USAGE ON SCHEMA gitlab_test, gitlab_test_comments TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_add_comments('gitlab_test_comments');
RESET ROLE;
-- A role that does not own a table gets no lock on it, even if no comment is missing.
SELECT gitlab_pat_add_comments('gitlab_test_comments');
SET ROLE regress_gitlab_user;
SELECT gitlab_pat_add_comments('gitlab_test_comments');
RESET ROLE;
SELECT gitlab_pat_add_comments('no_such_schema');
SELECT gitlab_pat_add_comments(NULL);
-- GitLab is not asked.
\! test/gitlab_sim/simctl count

SET client_min_messages = error;
DROP SCHEMA gitlab_test_comments CASCADE;
DROP FOREIGN DATA WRAPPER regress_other CASCADE;
REVOKE ALL ON SCHEMA gitlab_test FROM regress_gitlab_user;
DROP ROLE regress_gitlab_user;
\i sql/include/teardown.sql
