-- The whole tour: first what only reads, then creating, rotating and revoking.

\ir quickstart-readonly.sql

\echo
\echo '-- Creating a token.  GitLab shows its secret once; the same statement stores it.'
\echo
\set ECHO queries
CREATE TABLE secrets (id bigint PRIMARY KEY, name text UNIQUE, expires_at date, secret text);
WITH new AS (
  INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
  VALUES (2, 'quickstart', '{read_api}', current_date + 90)
  RETURNING id, name, expires_at, token)
INSERT INTO secrets SELECT * FROM new
  RETURNING id, name, expires_at, left(secret, 6) || '...' AS secret;
\set ECHO none

\echo
\echo '-- Using the new token: a second server with it in the user mapping.'
\echo
\set ECHO queries
CREATE SERVER gitlab_as_alice FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url :'gitlab_url');
\set ECHO none
SELECT secret FROM secrets WHERE name = 'quickstart' \gset
\echo 'CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab_as_alice OPTIONS (token ''...'');'
\set VERBOSITY terse
CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab_as_alice OPTIONS (token :'secret');
\set VERBOSITY default
\unset secret
\echo '-- (run with the secret in the place of the dots, without showing it)'
\echo
\set ECHO queries
SELECT id, user_id, name, scopes, sees_all_tokens FROM gitlab_pat_self('gitlab_as_alice');
\set ECHO none

\echo
\echo '-- Rotating it: a new id and a new secret, stored in the same statement.  The old'
\echo '-- token is revoked once the transaction has committed.'
\echo
\set ECHO queries
WITH rotated AS (
  UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 180
  WHERE id = (SELECT id FROM secrets WHERE name = 'quickstart')
  RETURNING id, expires_at, token)
UPDATE secrets SET id = rotated.id, expires_at = rotated.expires_at, secret = rotated.token
  FROM rotated WHERE secrets.name = 'quickstart'
  RETURNING rotated.id, rotated.expires_at;
SELECT id, name, active, revoked, expires_at
  FROM gitlab_personal_access_tokens WHERE name = 'quickstart' ORDER BY id;
\set ECHO none

\echo
\echo '-- Revoking it happens at commit, so that a rollback leaves it alone.'
\echo
\set ECHO queries
BEGIN;
DELETE FROM gitlab_personal_access_tokens
  WHERE id = (SELECT id FROM secrets WHERE name = 'quickstart') RETURNING id, name;
SELECT t.id, t.active, t.revoked
  FROM gitlab_personal_access_tokens t JOIN secrets s ON s.id = t.id;
ROLLBACK;
SELECT t.id, t.active, t.revoked
  FROM gitlab_personal_access_tokens t JOIN secrets s ON s.id = t.id;
\set ECHO none

\echo
\echo '-- And for good.'
\echo
\set ECHO queries
DELETE FROM gitlab_personal_access_tokens
  WHERE id = (SELECT id FROM secrets WHERE name = 'quickstart') RETURNING id, name;
SELECT t.id, t.active, t.revoked
  FROM gitlab_personal_access_tokens t JOIN secrets s ON s.id = t.id;
\set ECHO none

\echo
\echo '-- What all of this has cost.'
\echo
\set ECHO queries
SELECT server_name, requests, retries, errors, bytes_received FROM gitlab_pat_requests();
\set ECHO none
