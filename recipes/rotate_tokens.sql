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
\if :{?secrets} \set our_secrets :secrets \else \set our_secrets public.secrets \endif
\if :{?tokens} \set our_tokens :tokens \else \set our_tokens public.gitlab_personal_access_tokens \endif
\if :{?days_before} \set our_days_before :days_before \else \set our_days_before 14 \endif
\if :{?lifetime} \set our_lifetime :lifetime \else \set our_lifetime 90 \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '0 4 * * *' \endif

SELECT :our_lifetime > :our_days_before AS our_numbers_fit \gset
\if :our_numbers_fit
\else
  DO $$BEGIN RAISE EXCEPTION 'lifetime must be longer than days_before'
    USING HINT = 'A new token would be due at once, and each night again.'; END$$;
\endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
-- Nobody but its owner may read it, unless you grant it.
CREATE TABLE IF NOT EXISTS :our_secrets
  (id bigint PRIMARY KEY, name text UNIQUE, expires_at date, secret text);

CREATE OR REPLACE PROCEDURE gitlab_jobs.rotate_tokens(
  secrets regclass, tokens regclass, days_before integer, lifetime integer)
LANGUAGE plpgsql AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
  due bigint[];
  dead bigint[];
  old_id bigint;
  stored bigint;
  state text;
  message text;
  detail text;
  hint text;
  failures text[] := '{}';
BEGIN
  IF lifetime <= days_before THEN
    RAISE EXCEPTION 'lifetime must be longer than days_before' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'A new token would be due at once, and each night again.';
  END IF;
  -- One list.  A stored token that does not work is somebody's trouble already.
  EXECUTE format('SELECT array_agg(s.id ORDER BY t.expires_at, s.id) FILTER (WHERE t.expires_at <= $1),
                         array_agg(s.id ORDER BY s.id) FILTER (WHERE t.id IS NULL)
                  FROM %s s LEFT JOIN (SELECT id, expires_at FROM %s WHERE active) t ON t.id = s.id',
                 secrets, tokens)
    INTO due, dead USING today + days_before;

  FOREACH old_id IN ARRAY coalesce(due, '{}') LOOP
    state := NULL;
    BEGIN
      -- Two sessions must not rotate the same token: the other one has it.
      EXECUTE format('SELECT id FROM %s WHERE id = $1 FOR UPDATE SKIP LOCKED', secrets)
        INTO stored USING old_id;
      CONTINUE WHEN stored IS NULL;

      -- One statement: the secret is never in a variable, which logs can show.
      EXECUTE format('WITH new AS (UPDATE %s SET expires_at = $2 WHERE id = $1 AND active
                                   RETURNING id, expires_at, token)
                      UPDATE %s s SET id = new.id, expires_at = new.expires_at, secret = new.token
                      FROM new WHERE s.id = $1 RETURNING s.id', tokens, secrets)
        INTO stored USING old_id, today + lifetime;
      IF stored IS NULL THEN
        RAISE EXCEPTION 'it is no longer active' USING ERRCODE = 'object_not_in_prerequisite_state';
      END IF;
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    END;
    IF state IS NULL THEN
      CALL gitlab_pat_try_commit(state, message, detail, hint);
    ELSE
      COMMIT;
    END IF;
    IF state IS NOT NULL THEN
      -- pg_cron stores what the job says.  What PostgreSQL says about a row that
      -- could not be stored may have the secret in it; what this extension says has not.
      failures := failures || format('%s: %s', old_id,
        CASE WHEN state ~ '^(08|0A|28|40|425|427|534|55|HV)'
             THEN concat_ws(': ', message, nullif(detail, '')) || coalesce(' ' || nullif(hint, ''), '')
             ELSE 'could not store the new secret (SQLSTATE ' || state || ')' END);
    END IF;
  END LOOP;

  FOREACH old_id IN ARRAY coalesce(dead, '{}') LOOP
    failures := failures || format('%s: it is stored and does not work: INSERT another token, or remove the row', old_id);
  END LOOP;
  IF failures <> '{}' THEN
    RAISE EXCEPTION 'could not rotate % of % personal access tokens',
        cardinality(failures), coalesce(cardinality(due), 0) + coalesce(cardinality(dead), 0)
      USING DETAIL = array_to_string(failures, E'\n');
  END IF;
END;
$$;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.rotate_tokens FROM PUBLIC;

SELECT cron.schedule('gitlab: rotate tokens', :'our_schedule',
  format('CALL gitlab_jobs.rotate_tokens(%L, %L, %s, %s)',
         :'our_secrets', :'our_tokens', :our_days_before, :our_lifetime));
COMMIT;
\unset our_secrets
\unset our_tokens
\unset our_days_before
\unset our_lifetime
\unset our_schedule
\unset our_numbers_fit
