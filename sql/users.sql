-- gitlab_users: read-only, and what reports join to.
\i sql/include/setup.sql
\pset null '(null)'

SELECT id, username, name, email, state, locked, bot, external, is_admin
	FROM gitlab_users ORDER BY id;
\x
SELECT id, created_at, last_sign_in_at, last_activity_on, web_url IS NOT NULL AS has_url
	FROM gitlab_users WHERE id = 2;
\x
SELECT username FROM gitlab_users WHERE username = 'dave';
SELECT username FROM gitlab_users WHERE state = 'blocked';
SELECT username FROM gitlab_users WHERE is_admin ORDER BY id;
SELECT username FROM gitlab_users WHERE bot ORDER BY id;
SELECT username FROM gitlab_users WHERE locked OR external ORDER BY id;
SELECT username FROM gitlab_users WHERE id = 4711;
SELECT username FROM gitlab_users WHERE id = -1;

-- Whose tokens never expire?
SELECT u.username, t.name FROM gitlab_users u
	JOIN gitlab_personal_access_tokens t ON t.user_id = u.id
	WHERE t.active AND t.expires_at IS NULL ORDER BY 1, 2;
-- Whose tokens work although their owner should not?
SELECT u.username, u.state, count(*) FROM gitlab_users u
	JOIN gitlab_personal_access_tokens t ON t.user_id = u.id
	WHERE t.active AND u.state <> 'active' GROUP BY 1, 2 ORDER BY 1;

-- Users come in bulk: a join over many tokens looks up no single one.
\! test/gitlab_sim/simctl reset --users 250 --tokens 500
SELECT count(*), count(DISTINCT u.id) FROM gitlab_personal_access_tokens t
	JOIN gitlab_users u ON u.id = t.user_id;
\! test/gitlab_sim/simctl count 'users/[0-9]'
-- They are always read by keyset, each of them once.
\! test/gitlab_sim/simctl journal --clear >/dev/null
ALTER FOREIGN TABLE gitlab_users OPTIONS (ADD page_size '50');
SELECT count(*), count(DISTINCT id), min(id), max(id) FROM gitlab_users;
\! test/gitlab_sim/simctl count 'api/v4/users[?].*pagination=keyset'
\! test/gitlab_sim/simctl count
SELECT count(*) FROM (SELECT * FROM gitlab_users LIMIT 50) u;
ALTER FOREIGN TABLE gitlab_users OPTIONS (DROP page_size);
\! test/gitlab_sim/simctl reset

-- Fields that only administrators are shown are NULL for others.
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT id, username, state, email, is_admin, external, last_activity_on
	FROM gitlab_users WHERE id IN (1, 2, 8) ORDER BY id;
SELECT u.username, count(t.id) FROM gitlab_users u
	LEFT JOIN gitlab_personal_access_tokens t ON t.user_id = u.id
	WHERE u.username IN ('alice', 'dave') GROUP BY 1 ORDER BY 1;
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');

-- Nothing can be written.
INSERT INTO gitlab_users (username, name) VALUES ('eve', 'Eve');
UPDATE gitlab_users SET state = 'blocked' WHERE id = 2;
DELETE FROM gitlab_users WHERE id = 2;
TRUNCATE gitlab_users;
COPY gitlab_users (username) FROM stdin;
eve
\.

\i sql/include/teardown.sql
