-- Options: bad input is refused when it is written, not when it is first used.
\i sql/include/setup.sql
\pset null ''

-- Says what becomes of a server with this option, which it drops again.
CREATE FUNCTION try_server(option text, value text, more text DEFAULT '')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	url text := CASE option WHEN 'url' THEN '' ELSE 'url ''https://gitlab.example.com'', ' END;
	result text := outcome(format('CREATE SERVER s FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (%s%s%I %L)',
								  url, more, option, value));
BEGIN
	IF result LIKE 'done%' THEN
		DROP SERVER s;
		RETURN 'taken';
	END IF;
	RETURN result;
END
$$;

--
-- Every option of a server
--
SELECT option, value, try_server(option, value)
FROM (VALUES
	('url', 'https://gitlab.example.com'),
	('url', 'https://gitlab.example.com:8443/gitlab/'),
	('url', 'http://localhost:8080'),
	('url', 'http://127.0.0.1'),
	('url', 'http://[::1]:80/gitlab'),
	('allow_insecure_http', 'true'),
	('tls_verify', 'false'),
	('tls_ca_file', '/etc/ssl/certs/company.pem'),
	('tls_cert_file', '/etc/ssl/certs/client.pem'),
	('proxy', 'http://proxy.example.com:3128'),
	('proxy', 'socks5h://proxy.example.com'),
	('connect_timeout', '500ms'),
	('request_timeout', '2min'),
	('request_timeout', '1500'),
	('max_retries', '0'),
	('max_retry_wait', '0'),
	('max_retry_wait', '1d'),
	('rollback_timeout', '30 s'),
	('max_response_size', '64MB'),
	('page_size', '1'),
	('concurrency', '32'),
	('use_remote_estimate', 'on'),
	('updatable', 'no'),
	('rotation', 'native')) AS t (option, value);
SELECT try_server('tls_key_file', '/etc/ssl/private/client.key',
	'tls_cert_file ''/etc/ssl/certs/client.pem'', ');
SELECT try_server('url', 'http://gitlab.example.com', 'allow_insecure_http ''true'', ');

-- Every option of a foreign table and of its columns
CREATE FOREIGN TABLE t (
	number bigint OPTIONS (column_name 'id')
) SERVER gitlab OPTIONS (resource 'personal_access_tokens', page_size '7',
	concurrency '2', use_remote_estimate 'false', updatable 'false', rotation 'native');
SELECT max(number) FROM t;
DROP FOREIGN TABLE t;

-- Unknown and misspelt options: the hint lists the valid ones.
\pset tuples_only on
\pset format unaligned
SELECT try_server('page_sise', '10');
SELECT outcome($$ALTER SERVER gitlab OPTIONS (ADD uri 'https://gitlab.example.com')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint) SERVER gitlab OPTIONS (resources 'users')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint OPTIONS (column 'id')) SERVER gitlab$$);
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (password 'secret')$$);

-- Options in the wrong place: the detail says where they belong.
SELECT try_server('token', 'glpat-secret');
SELECT try_server('resource', 'users');
SELECT outcome($$ALTER FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (ADD url 'https://gitlab.example.com')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint) SERVER gitlab OPTIONS (url 'https://gitlab.example.com')$$);
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (page_size '10')$$);

--
-- URLs
--
SELECT outcome('CREATE SERVER s FOREIGN DATA WRAPPER gitlab_pat_fdw');
SELECT outcome('ALTER SERVER gitlab OPTIONS (DROP url)');
SELECT try_server('url', value)
FROM (VALUES (''), (' '), ('gitlab.example.com'), ('ftp://gitlab.example.com'),
	('file:///etc/passwd'), ('https://'), ('https://gitlab.example.com/a b'),
	(E'https://gitlab.example.com\r\nX: y'),
	('https://gitlab.example.com?private_token=x'),
	('https://gitlab.example.com#readme')) AS t (value);
-- Other clients want the path of the API.
SELECT try_server('url', value)
FROM (VALUES ('https://gitlab.example.com/api/v4'), ('https://gitlab.example.com/gitlab/api/v4/')) AS v (value);
-- Every user can read a server's options, so credentials do not belong there;
-- nor does the message show them.
SELECT try_server('url', 'https://user:secret@gitlab.example.com');
SELECT try_server('url', 'https://glpat-secret@gitlab.example.com');
SELECT try_server('proxy', 'http://user:secret@proxy.example.com');
-- A token must not travel in the clear, except to this host.
SELECT try_server('url', 'http://gitlab.example.com');
SELECT try_server('url', 'http://127.example.com');
SELECT try_server('url', 'http://localhost.example.com');
SELECT outcome($$ALTER SERVER gitlab OPTIONS (SET url 'http://192.0.2.1')$$);

--
-- Numbers, with units, at both ends of their ranges
--
SELECT option, value, split_part(try_server(option, value), ': ', 1)
FROM (VALUES
	('connect_timeout', '1'), ('connect_timeout', '0'), ('connect_timeout', '-1'),
	('connect_timeout', '1h'), ('connect_timeout', '61min'),
	('request_timeout', '1ms'), ('request_timeout', '0s'),
	('request_timeout', '3600s'), ('request_timeout', '3600001'),
	('max_retry_wait', '0'), ('max_retry_wait', '24h'), ('max_retry_wait', '25h'),
	('max_retry_wait', '-1ms'),
	('rollback_timeout', '1ms'), ('rollback_timeout', '0'),
	('rollback_timeout', '1h'), ('rollback_timeout', '2h'),
	('max_retries', '0'), ('max_retries', '-1'), ('max_retries', '100'),
	('max_retries', '101'), ('max_retries', '3s'), ('max_retries', '2MB'),
	('max_response_size', '1kB'), ('max_response_size', '1023B'),
	('max_response_size', '1GB'), ('max_response_size', '1073741823'),
	('max_response_size', '0'), ('max_response_size', '10s'),
	('page_size', '1'), ('page_size', '0'), ('page_size', '100'),
	('page_size', '101'), ('page_size', '4294967297'),
	('concurrency', '1'), ('concurrency', '0'), ('concurrency', '32'),
	('concurrency', '33')) AS t (option, value);
SELECT try_server(option, value)
FROM (VALUES
	('request_timeout', ''), ('request_timeout', 'soon'), ('request_timeout', '10 minutes'),
	('request_timeout', '2MB'), ('request_timeout', '2h'), ('max_retries', 'none'),
	('max_retries', '101'), ('max_response_size', '16 mb'), ('max_response_size', '1'),
	('page_size', '1O'), ('page_size', '200')) AS t (option, value);

--
-- Words
--
SELECT try_server(option, value)
FROM (VALUES
	('allow_insecure_http', 'maybe'), ('tls_verify', ''), ('updatable', '2'),
	('use_remote_estimate', 'truth'), ('rotation', 'Native'), ('rotation', ''))
	AS t (option, value);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint) SERVER gitlab OPTIONS (rotation 'none')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint) SERVER gitlab OPTIONS (resource 'project')$$)
	LIKE '22023: invalid value for option "resource": "project"' || E'\n' || 'HINT: Valid values are "personal_access_tokens", "users"%';
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint) SERVER gitlab OPTIONS (page_size '0')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (id bigint OPTIONS (column_name '')) SERVER gitlab$$);

--
-- Files
--
SELECT try_server('tls_ca_file', 'company.pem');
SELECT try_server('tls_ca_file', '');
SELECT try_server('tls_key_file', '/etc/ssl/private/client.key');

--
-- Tokens: the value is never shown
--
SELECT outcome(format('CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token %L)', value))
FROM (VALUES (''), (' '), ('glpat-secret '), ('glpat secret'), (E'glpat-secret\n'),
	(E'glpat-secret\r\nX-Header: x'), (E'glpat-\x01secret'), (E'glpat-\x7f'),
	('glpat-sécret')) AS t (value);
SELECT outcome('CREATE USER MAPPING FOR PUBLIC SERVER gitlab');
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER gitlab
	OPTIONS (token 'glpat-secret', token_file '/etc/gitlab/token')$$);
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token_file 'token')$$);
SELECT outcome('ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (DROP token)');
SELECT outcome($$ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab
	OPTIONS (ADD token_file '/etc/gitlab/token')$$);
CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token_file '/etc/gitlab/token');
DROP USER MAPPING FOR PUBLIC SERVER gitlab;

--
-- ALTER: what it sets counts from the next statement on
--
SELECT count(*) FROM gitlab_personal_access_tokens;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT count(*) FROM gitlab_personal_access_tokens;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
ALTER SERVER gitlab OPTIONS (ADD page_size '3');
ALTER SERVER gitlab OPTIONS (SET page_size '50', ADD updatable 'false');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD updatable 'true', ADD page_size '7');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (SET page_size '8', DROP updatable);
SELECT outcome('DELETE FROM gitlab_personal_access_tokens');
SELECT pg_relation_is_updatable('gitlab_personal_access_tokens', false) AS read_only;
-- A table of a server that is not updatable cannot be, whatever it says.
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD updatable 'true');
SELECT outcome('DELETE FROM gitlab_personal_access_tokens');
SELECT pg_relation_is_updatable('gitlab_personal_access_tokens', false) AS read_only;
ALTER SERVER gitlab OPTIONS (SET updatable 'true');
SELECT pg_relation_is_updatable('gitlab_personal_access_tokens', false) AS writable;
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (SET updatable 'false');
SELECT pg_relation_is_updatable('gitlab_personal_access_tokens', false) AS read_only;
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP updatable);
ALTER SERVER gitlab OPTIONS (DROP updatable, DROP page_size);
SELECT pg_relation_is_updatable('gitlab_personal_access_tokens', false) AS writable;
SELECT pg_relation_is_updatable('gitlab_users', false) AS read_only;
SELECT outcome($$ALTER SERVER gitlab OPTIONS (SET url '')$$);
SELECT outcome('ALTER SERVER gitlab OPTIONS (DROP page_size)');

--
-- Who is no superuser
--
CREATE ROLE regress_gitlab_user;
GRANT USAGE ON FOREIGN DATA WRAPPER gitlab_pat_fdw TO regress_gitlab_user;
GRANT USAGE ON FOREIGN SERVER gitlab TO regress_gitlab_user;
GRANT USAGE, CREATE ON SCHEMA gitlab_test TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
SELECT try_server('tls_verify', 'false');
SELECT try_server('tls_verify', 'true');
SELECT try_server('tls_ca_file', '/etc/ssl/certs/company.pem');
SELECT try_server('tls_cert_file', '/etc/ssl/certs/client.pem');
SELECT try_server('tls_key_file', '/k', 'tls_cert_file ''/c'', ');
SELECT try_server('proxy', 'http://proxy.example.com:3128');
SELECT outcome($$CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab
	OPTIONS (token_file '/etc/gitlab/token')$$);
CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (token 'glpat-sim-alice');
SELECT outcome($$ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab
	OPTIONS (DROP token, ADD token_file '/etc/gitlab/token')$$);
CREATE FOREIGN TABLE own_tokens (id bigint, name text) SERVER gitlab;
SELECT name FROM own_tokens ORDER BY id;
DROP FOREIGN TABLE own_tokens;
DROP USER MAPPING FOR CURRENT_USER SERVER gitlab;
-- A mapping for others needs the server's owner.
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token 'glpat-x')$$);
RESET ROLE;
DROP OWNED BY regress_gitlab_user;
DROP ROLE regress_gitlab_user;

--
-- Settings
--
\pset tuples_only off
\pset format aligned
RESET gitlab_pat_fdw.discard_secrets;
SELECT name, setting, context, min_val FROM pg_settings
	WHERE name LIKE 'gitlab_pat_fdw.%' ORDER BY name;
-- The prefix is reserved: a misspelt setting is an error.
SET gitlab_pat_fdw.max_change = 10;
SET gitlab_pat_fdw.max_changes = -1;
SET gitlab_pat_fdw.max_changes = 0;
RESET gitlab_pat_fdw.max_changes;

\i sql/include/teardown.sql
