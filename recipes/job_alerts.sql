-- Every five minutes: a row in a table for each run of a job that has failed.
--
--   psql -d DATABASE -f recipes/job_alerts.sql
--   SELECT * FROM gitlab_jobs.alerts WHERE acknowledged_at IS NULL;
--
-- pg_cron itself notes failures only where nobody looks, and next to all that
-- went well.  Whatever sends your alerts should look at this table.  A run comes
-- once, and stays when cron.job_run_details is emptied.  Running it again
-- changes the schedule or the jobs.  What can be changed, with psql's -v:
--
--   jobs      which jobs, as a LIKE pattern of their names, besides all whose command
--             names something of gitlab_pat_fdw: gitlab: %
--   schedule  in UTC, unless cron.timezone says otherwise: */5 * * * *

\set ON_ERROR_STOP on
\if :{?jobs} \set our_jobs :jobs \else \set our_jobs 'gitlab: %' \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '*/5 * * * *' \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
CREATE TABLE IF NOT EXISTS gitlab_jobs.alerts (
  run_id bigint PRIMARY KEY,
  job_name text NOT NULL,
  started_at timestamptz,
  failed_at timestamptz,
  message text,
  noted_at timestamptz NOT NULL DEFAULT now(),
  acknowledged_at timestamptz);

CREATE OR REPLACE PROCEDURE gitlab_jobs.note_failures(jobs text)
LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO gitlab_jobs.alerts (run_id, job_name, started_at, failed_at, message)
    SELECT d.runid, coalesce(j.jobname, 'job ' || d.jobid), d.start_time, d.end_time, d.return_message
    FROM cron.job_run_details d LEFT JOIN cron.job j USING (jobid)
    WHERE d.status = 'failed' AND (j.jobname LIKE note_failures.jobs OR d.command ~ '\mgitlab_(pat|jobs|dashboard)')
    ON CONFLICT (run_id) DO NOTHING;
END;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.note_failures FROM PUBLIC;

SELECT cron.schedule('gitlab: note failed jobs', :'our_schedule',
  format('CALL gitlab_jobs.note_failures(%L)', :'our_jobs'));
COMMIT;
\unset our_jobs
\unset our_schedule
