-- IMPORT FOREIGN SCHEMA, and what foreign tables may look like.
\i sql/include/setup.sql

-- The schema's name does not matter: there is only one.
CREATE SCHEMA gitlab_test_import;
IMPORT FOREIGN SCHEMA anything FROM SERVER gitlab INTO gitlab_test_import;
\d gitlab_test_import.gitlab_personal_access_tokens
\d gitlab_test_import.gitlab_users
-- All tables, with the types of their columns.
\pset tuples_only on
\pset format unaligned
SELECT c.relname || E'\n\t' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), E'\n\t' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'gitlab_test_import'::regnamespace AND c.relkind = 'f'
	GROUP BY c.relname ORDER BY c.relname COLLATE "C";
\pset tuples_only off
\pset format aligned
IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO gitlab_test_import;
SET client_min_messages = error;
DROP SCHEMA gitlab_test_import CASCADE;
RESET client_min_messages;

-- LIMIT TO and EXCEPT warn about names that no table has.
CREATE SCHEMA gitlab_test_import;
IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_users, nothing)
	FROM SERVER gitlab INTO gitlab_test_import;
SELECT foreign_table_name FROM information_schema.foreign_tables
	WHERE foreign_table_schema = 'gitlab_test_import' ORDER BY 1;
IMPORT FOREIGN SCHEMA gitlab LIMIT TO (users, gitlab_personal_access_tokens)
	FROM SERVER gitlab INTO gitlab_test_import;
DROP FOREIGN TABLE gitlab_test_import.gitlab_personal_access_tokens;
IMPORT FOREIGN SCHEMA gitlab EXCEPT (gitlab_users)
	FROM SERVER gitlab INTO gitlab_test_import;
SELECT foreign_table_name FROM information_schema.foreign_tables
	WHERE foreign_table_schema = 'gitlab_test_import'
		AND foreign_table_name IN ('gitlab_users', 'gitlab_personal_access_tokens')
	ORDER BY 1;

-- There are no options.
IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO gitlab_test_import
	OPTIONS (import_default 'true');

-- The server's name is quoted; the import itself needs no user mapping.
CREATE SERVER "Git""Lab" FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'url');
CREATE SCHEMA gitlab_test_quoted;
IMPORT FOREIGN SCHEMA gitlab FROM SERVER "Git""Lab" INTO gitlab_test_quoted;
SELECT DISTINCT foreign_server_name FROM information_schema.foreign_tables
	WHERE foreign_table_schema = 'gitlab_test_quoted';
\! test/gitlab_sim/simctl count

--
-- Columns: any subset in any order, under any name
--
CREATE FOREIGN TABLE some_columns (
	expires_at date,
	title text OPTIONS (column_name 'name'),
	"Owner" bigint OPTIONS (column_name 'user_id'),
	id bigint
) SERVER gitlab;
SELECT * FROM some_columns WHERE id BETWEEN 2 AND 4 ORDER BY id;
-- varchar will do for text, if it is long enough for everything
CREATE FOREIGN TABLE varchar_column (id bigint, name varchar, description varchar)
	SERVER gitlab;
SELECT * FROM varchar_column WHERE name = 'alice api';
SELECT * FROM varchar_column WHERE id = 12;
-- no column at all
CREATE FOREIGN TABLE no_columns () SERVER gitlab;
SELECT count(*) FROM no_columns;
-- dropped and added columns
ALTER FOREIGN TABLE some_columns DROP COLUMN title;
SELECT * FROM some_columns WHERE id = 3;
ALTER FOREIGN TABLE some_columns ADD COLUMN scopes text[];
SELECT * FROM some_columns WHERE id = 12;
DELETE FROM some_columns WHERE id = 3 RETURNING *;
INSERT INTO some_columns ("Owner", scopes, expires_at)
	VALUES (2, '{api}', current_date + 30);
ALTER FOREIGN TABLE some_columns ADD COLUMN name text;
INSERT INTO some_columns ("Owner", name, scopes, expires_at)
	VALUES (2, 'after all', '{api}', current_date + 30)
	RETURNING "Owner", id, scopes, name, expires_at = current_date + 30 AS as_asked;
-- one field is shown once, and generated columns match no field
ALTER FOREIGN TABLE varchar_column ADD COLUMN title text OPTIONS (column_name 'name');
SELECT * FROM varchar_column WHERE id = 2;
CREATE FOREIGN TABLE generated_column (
	id bigint,
	name text,
	label text GENERATED ALWAYS AS (id || ': ' || name) STORED
) SERVER gitlab;
SELECT * FROM generated_column WHERE id = 2;
-- system columns
SELECT tableoid::regclass, id FROM some_columns WHERE id = 2;

-- Unknown columns are refused, naming the column ...
CREATE FOREIGN TABLE wrong (id bigint, owner text) SERVER gitlab;
SELECT * FROM wrong;
SELECT id FROM wrong;
DELETE FROM wrong WHERE id = 2;
ALTER FOREIGN TABLE wrong ALTER COLUMN owner OPTIONS (column_name 'username');
SELECT * FROM wrong;
ALTER FOREIGN TABLE wrong OPTIONS (ADD resource 'users');
SELECT * FROM wrong WHERE id = 2;
DROP FOREIGN TABLE wrong;
-- ... and so are types that cannot hold the field, naming the type expected.
\pset tuples_only on
\pset format unaligned
CREATE FUNCTION try_type(field text, type text, resource text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE wrong (%I %s) SERVER gitlab OPTIONS (resource %L)',
				   field, type, resource);
	result := outcome('SELECT * FROM wrong');
	DROP FOREIGN TABLE wrong;
	RETURN result;
END
$$;
SELECT try_type(field, type, 'personal_access_tokens')
FROM (VALUES ('id', 'integer'), ('id', 'numeric'), ('user_id', 'text'),
	('name', 'varchar(20)'), ('name', 'name'), ('description', 'json'),
	('scopes', 'text'), ('scopes', 'varchar[]'), ('active', 'text'),
	('created_at', 'timestamp'), ('created_at', 'timestamptz(0)'),
	('last_used_at', 'date'), ('last_used_ips', 'text[]'), ('last_used_ips', 'inet'),
	('expires_at', 'timestamptz'), ('granular', 'integer'), ('token', 'bytea'))
	AS t (field, type);
SELECT try_type(field, type, 'users')
FROM (VALUES ('id', 'smallint'), ('username', 'char(10)'), ('is_admin', 'integer'),
	('last_activity_on', 'timestamp')) AS t (field, type);
\pset tuples_only off
\pset format aligned

--
-- Views: the owner's mapping is used, by whoever asks
--
CREATE VIEW expiring AS
	SELECT id, name, expires_at FROM gitlab_personal_access_tokens
	WHERE active AND expires_at < '2100-01-01';
CREATE ROLE regress_gitlab_user;
GRANT USAGE ON SCHEMA gitlab_test TO regress_gitlab_user;
GRANT SELECT ON expiring, gitlab_personal_access_tokens TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT count(*) FROM expiring;
-- without a mapping of one's own, the table itself shows nothing
SELECT count(*) FROM gitlab_personal_access_tokens;
RESET ROLE;
-- An automatically updatable view works, too.
CREATE VIEW of_alice AS
	SELECT id, user_id, name, scopes, expires_at FROM gitlab_personal_access_tokens
	WHERE user_id = 2;
INSERT INTO of_alice (user_id, name, scopes, expires_at)
	VALUES (2, 'through a view', '{read_user}', current_date + 30)
	RETURNING id, user_id, name, scopes;
DELETE FROM of_alice WHERE name = 'through a view' RETURNING id;
DELETE FROM of_alice WHERE id = 12;
-- A row that fails a view's check would show its secret in the error message.
CREATE OR REPLACE VIEW of_alice AS
	SELECT id, user_id, name, scopes, expires_at FROM gitlab_personal_access_tokens
	WHERE user_id = 2 WITH CHECK OPTION;
INSERT INTO of_alice (user_id, name, scopes, expires_at)
	VALUES (8, 'through a view', '{read_user}', current_date + 30);
DROP VIEW expiring, of_alice;
REVOKE ALL ON gitlab_personal_access_tokens FROM regress_gitlab_user;
REVOKE ALL ON SCHEMA gitlab_test FROM regress_gitlab_user;
DROP ROLE regress_gitlab_user;

SET client_min_messages = error;
DROP SCHEMA gitlab_test_import, gitlab_test_quoted CASCADE;
RESET client_min_messages;
\i sql/include/teardown.sql
