-- Every night: rotate the tokens that expire soon, of those whose secrets a
-- table of yours holds, and put the new secrets into the table.
--
--   psql -d DATABASE -f recipes/rotate_tokens.sql
--
-- Running it again changes the schedule or the numbers.  What can be changed,
-- with psql's -v, the tables with their schemas:
--
--   secrets      the table; it is created if it doesn't exist.  It needs columns
--                id, expires_at and secret: public.secrets
--   tokens       the foreign table to rotate with, of either kind of rotation:
--                public.gitlab_personal_access_tokens
--   days_before  how many days before its expiry a token is rotated: 14
--   lifetime     how many days the new token lasts: 90
--   schedule     in UTC, unless cron.timezone says otherwise: 0 4 * * *
--
-- Each token is rotated in a transaction of its own, so that one that cannot be
-- rotated keeps no other from it; the job then fails in the end and says which.
-- Whoever reads the secrets should look them up by a name of theirs: the id of
-- the token changes with each rotation.

\set ON_ERROR_STOP on
\if :{?secrets} \else \set secrets public.secrets \endif
\if :{?tokens} \else \set tokens public.gitlab_personal_access_tokens \endif
\if :{?days_before} \else \set days_before 14 \endif
\if :{?lifetime} \else \set lifetime 90 \endif
\if :{?schedule} \else \set schedule '0 4 * * *' \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
-- Nobody but its owner may read it, unless you grant it.
CREATE TABLE IF NOT EXISTS :secrets
  (id bigint PRIMARY KEY, name text UNIQUE, expires_at date, secret text);

CREATE OR REPLACE PROCEDURE gitlab_jobs.rotate_tokens(
  secrets regclass, tokens regclass, days_before integer, lifetime integer)
LANGUAGE plpgsql AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
  due bigint[];
  old_id bigint;
  new_id bigint;
  new_expiry date;
  new_secret text;
  storing boolean;
  failures text[] := '{}';
BEGIN
  -- One list, of what expires soon.
  EXECUTE format('SELECT array_agg(t.id ORDER BY t.expires_at, t.id)
                  FROM %s t JOIN %s s ON s.id = t.id
                  WHERE t.active AND t.expires_at <= $1', tokens, secrets)
    INTO due USING today + days_before;

  FOREACH old_id IN ARRAY coalesce(due, '{}') LOOP
    storing := false;
    BEGIN
      -- Two sessions must not rotate the same token: the other one has it.
      EXECUTE format('SELECT id FROM %s WHERE id = $1 FOR UPDATE SKIP LOCKED', secrets)
        INTO new_id USING old_id;
      CONTINUE WHEN new_id IS NULL;

      EXECUTE format('UPDATE %s SET expires_at = $2 WHERE id = $1 AND active
                      RETURNING id, expires_at, token', tokens)
        INTO new_id, new_expiry, new_secret USING old_id, today + lifetime;
      IF new_id IS NULL THEN
        RAISE EXCEPTION 'it is no longer active';
      END IF;
      storing := true;
      EXECUTE format('UPDATE %s SET id = $2, expires_at = $3, secret = $4 WHERE id = $1', secrets)
        USING old_id, new_id, new_expiry, new_secret;
    EXCEPTION WHEN OTHERS THEN
      -- pg_cron stores what the job says.  What PostgreSQL says about a row that
      -- could not be stored may have the secret in it.
      failures := failures || format('%s: %s', old_id,
        CASE WHEN storing THEN 'could not store the new secret (SQLSTATE ' || SQLSTATE || ')'
             ELSE SQLERRM END);
    END;
    COMMIT;
  END LOOP;

  IF failures <> '{}' THEN
    RAISE EXCEPTION 'could not rotate % of % personal access tokens',
        cardinality(failures), cardinality(due)
      USING DETAIL = array_to_string(failures, E'\n');
  END IF;
END;
$$;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.rotate_tokens FROM PUBLIC;

SELECT cron.schedule('gitlab: rotate tokens', :'schedule',
  format('CALL gitlab_jobs.rotate_tokens(%L, %L, %s, %s)',
         :'secrets', :'tokens', :days_before, :lifetime));
COMMIT;
