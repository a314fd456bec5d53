-- CALL gitlab_pat_rotate_self(): the credential rotates itself, in its mapping.
\i sql/include/setup.sql
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
\! test/gitlab_sim/simctl journal --clear >/dev/null

-- It tells the new id and expiry; the new secret is in the mapping only.
CALL gitlab_pat_rotate_self('gitlab') \gset
SELECT :id AS id, :'new_expires_at'::date > current_date AS future;
\! test/gitlab_sim/simctl journal --clear | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g'
\! test/gitlab_sim/simctl state 2 17
SELECT option, value LIKE 'glpat-%' AND value <> 'glpat-sim-alice' AS new
	FROM pg_user_mappings, pg_options_to_table(umoptions) AS o (option, value)
	WHERE srvname = 'gitlab';
SELECT id, name, scopes FROM gitlab_pat_self('gitlab');
SELECT id, active FROM gitlab_personal_access_tokens WHERE name = 'alice api' ORDER BY id;
DO $$
DECLARE
	id bigint;
	expires date;
BEGIN
	CALL gitlab_pat_rotate_self('gitlab', current_date + 40, id, expires);
	RAISE INFO 'id %, as asked: %', id, expires = current_date + 40;
END
$$;
\! test/gitlab_sim/simctl state 17 18
SELECT id FROM gitlab_pat_self('gitlab');

-- It commits by itself, so it is refused where that is not possible.
\! test/gitlab_sim/simctl journal --clear >/dev/null
BEGIN;
CALL gitlab_pat_rotate_self('gitlab');
ROLLBACK;
CREATE FUNCTION rotate() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	expires date;
BEGIN
	CALL gitlab_pat_rotate_self('gitlab', NULL, id, expires);
END
$$;
\set VERBOSITY terse
SELECT rotate();
\set VERBOSITY default
SET default_transaction_read_only = on;
CALL gitlab_pat_rotate_self('gitlab');
RESET default_transaction_read_only;
-- Bad arguments
CALL gitlab_pat_rotate_self(NULL);
CALL gitlab_pat_rotate_self('nowhere');
CALL gitlab_pat_rotate_self('gitlab', 'infinity');
\set VERBOSITY terse
CALL gitlab_pat_rotate_self('gitlab', current_date);
\set VERBOSITY default
-- The secret is stored before anything else of the answer is looked at ...
CREATE VIEW credential AS
	SELECT id, name, active, sees_all_tokens FROM gitlab_pat_self('gitlab');
\! test/gitlab_sim/simctl fault POST self/rotate edit set.expires_at=soon
CALL gitlab_pat_rotate_self('gitlab');
SELECT * FROM credential;
\! test/gitlab_sim/simctl fault POST self/rotate edit remove=id
CALL gitlab_pat_rotate_self('gitlab') \gset
\echo :id :{?new_expires_at}
SELECT * FROM credential;
\! test/gitlab_sim/simctl fault POST self/rotate edit set.id=4711
CALL gitlab_pat_rotate_self('gitlab') \gset
\echo :id :{?new_expires_at}
SELECT * FROM credential;
-- ... and whether it works is asked afterwards.
ALTER SERVER gitlab OPTIONS (ADD max_retries '0');
\! test/gitlab_sim/simctl fault GET self status nth=3 status=500 headers.X-Request-Id=REQUEST
CALL gitlab_pat_rotate_self('gitlab') \gset
\echo :id :{?new_expires_at}
ALTER SERVER gitlab OPTIONS (DROP max_retries);
SELECT * FROM credential;
-- Without a secret that can be used, an error names both ids.
\! test/gitlab_sim/simctl fault POST self/rotate edit remove=token
CALL gitlab_pat_rotate_self('gitlab');
\set VERBOSITY terse
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-frank');
\! test/gitlab_sim/simctl fault POST self/rotate edit 'set.token=""'
CALL gitlab_pat_rotate_self('gitlab');
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-serviceaccount');
\! test/gitlab_sim/simctl fault POST self/rotate edit 'set.token=glpat-two words' remove=id
CALL gitlab_pat_rotate_self('gitlab');
\set VERBOSITY default
\! test/gitlab_sim/simctl reset
-- The PUBLIC mapping is the server's owner's.
DROP USER MAPPING FOR CURRENT_USER SERVER gitlab;
CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token 'glpat-sim-frank');
CREATE ROLE regress_gitlab_user;
SET ROLE regress_gitlab_user;
CALL gitlab_pat_rotate_self('gitlab');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER gitlab TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
CALL gitlab_pat_rotate_self('gitlab');
RESET ROLE;
\! test/gitlab_sim/simctl count
-- A token in a file is for roles that may write files of the server.
CREATE USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (token_file '/nowhere/token');
SET ROLE regress_gitlab_user;
CALL gitlab_pat_rotate_self('gitlab');
RESET ROLE;
GRANT pg_write_server_files TO regress_gitlab_user;
SET ROLE regress_gitlab_user;
CALL gitlab_pat_rotate_self('gitlab');
RESET ROLE;
REVOKE pg_write_server_files FROM regress_gitlab_user;
DROP USER MAPPING FOR regress_gitlab_user SERVER gitlab;
-- One's own mapping is one's own, and a scope that allows nothing else will do.
CREATE USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (token 'glpat-sim-selfrotate');
SET ROLE regress_gitlab_user;
CALL gitlab_pat_rotate_self('gitlab') \gset
SELECT :id AS rotated, id, name FROM gitlab_pat_self('gitlab');
RESET ROLE;
CALL gitlab_pat_rotate_self('gitlab') \gset
SELECT :id AS rotated, id, name FROM gitlab_pat_self('gitlab');

-- A revoked credential is not used: GitLab would revoke its successors.
ALTER USER MAPPING FOR regress_gitlab_user SERVER gitlab OPTIONS (SET token 'glpat-sim-selfrotate');
\! test/gitlab_sim/simctl journal --clear >/dev/null
SET ROLE regress_gitlab_user;
\set VERBOSITY terse
CALL gitlab_pat_rotate_self('gitlab');
\set VERBOSITY default
RESET ROLE;
\! test/gitlab_sim/simctl journal --clear
\! test/gitlab_sim/simctl state 17
-- What GitLab refuses leaves all as it was.
ALTER USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (SET token 'glpat-sim-noexpiry');
\set VERBOSITY terse
CALL gitlab_pat_rotate_self('gitlab');
\set VERBOSITY default
SELECT id, active FROM gitlab_pat_self('gitlab');
-- A lost answer is an error, and the mapping keeps the old credential.
ALTER USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
\! test/gitlab_sim/simctl fault POST self/rotate status status=502 headers.X-Request-Id=REQUEST
CALL gitlab_pat_rotate_self('gitlab');
SELECT id, active FROM gitlab_pat_self('gitlab');

-- What a procedure has done before is committed first: if that fails, the token works.
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE PROCEDURE rotate_after(parent int) LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	expires date;
BEGIN
	INSERT INTO children VALUES (parent);
	CALL gitlab_pat_rotate_self('gitlab', NULL, id, expires);
	RAISE INFO 'id %', id;
END
$$;
CALL rotate_after(1);
\! test/gitlab_sim/simctl state 1
INSERT INTO parents VALUES (1);
CALL rotate_after(1);
SELECT count(*) FROM children;
-- A rotation that is refused undoes it.
\! test/gitlab_sim/simctl fault GET self status status=403 headers.X-Request-Id=REQUEST
\set VERBOSITY terse
CALL rotate_after(1);
\set VERBOSITY default
SELECT count(*) FROM children;
DROP TABLE children, parents;

DROP USER MAPPING FOR regress_gitlab_user SERVER gitlab;
REVOKE ALL ON FOREIGN SERVER gitlab FROM regress_gitlab_user;
DROP ROLE regress_gitlab_user;
\i sql/include/teardown.sql
