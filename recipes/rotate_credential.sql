-- Every night: rotate the API token in the user mapping itself, if it expires
-- soon.  The new one goes into the user mapping, and is shown nowhere.
--
--   psql -d DATABASE -f recipes/rotate_credential.sql
--
-- Running it again changes the schedule or the numbers.  What can be changed,
-- with psql's -v:
--
--   server       the foreign server; the user mapping is that of the role that
--                runs this script, whose job it becomes: gitlab
--   days_before  how many days before its expiry it is rotated: 14
--   lifetime     how many days the new one lasts: 90
--   schedule     in UTC, unless cron.timezone says otherwise: 30 3 * * *
--
-- gitlab_pat_rotate_self() commits, so neither a function nor a job of two
-- statements can run it; a procedure can, if its CALL is the whole job.

\set ON_ERROR_STOP on
\if :{?server} \set our_server :server \else \set our_server gitlab \endif
\if :{?days_before} \set our_days_before :days_before \else \set our_days_before 14 \endif
\if :{?lifetime} \set our_lifetime :lifetime \else \set our_lifetime 90 \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '30 3 * * *' \endif

SELECT :our_lifetime > :our_days_before AS our_numbers_fit \gset
\if :our_numbers_fit
\else
  DO $$BEGIN RAISE EXCEPTION 'lifetime must be longer than days_before'
    USING HINT = 'A new token would be due at once, and each night again.'; END$$;
\endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;

CREATE OR REPLACE PROCEDURE gitlab_jobs.rotate_credential(
  server name, days_before integer, lifetime integer)
LANGUAGE plpgsql AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
  due boolean;
  new_id bigint;
  new_expiry date;
BEGIN
  IF lifetime <= days_before THEN
    RAISE EXCEPTION 'lifetime must be longer than days_before' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'A new token would be due at once, and each night again.';
  END IF;
  SELECT expires_at <= today + days_before INTO due FROM gitlab_pat_self(server);
  -- No block with EXCEPTION around it: it could not commit in there.
  IF due THEN
    CALL gitlab_pat_rotate_self(server, today + lifetime, new_id, new_expiry);
  END IF;
END;
$$;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.rotate_credential FROM PUBLIC;

SELECT cron.schedule('gitlab: rotate credential', :'our_schedule',
  format('CALL gitlab_jobs.rotate_credential(%L, %s, %s)', :'our_server', :our_days_before, :our_lifetime));
COMMIT;
\unset our_server
\unset our_days_before
\unset our_lifetime
\unset our_schedule
\unset our_numbers_fit
