-- Every Monday: a report of the tokens that somebody should look at, as rows of
-- a table, with the week that they belong to.
--
--   psql -d DATABASE -f recipes/weekly_report.sql
--   SELECT * FROM gitlab_jobs.weekly_report ORDER BY week DESC, finding, expires_at;
--
-- It makes a list of the active tokens and one of the users.  Running it twice
-- in a week replaces the week's report.  What can be changed, with psql's -v:
--
--   tables    the schema of the foreign tables; public
--   soon      in how many days a token expires that is to be reported; 14
--   unused    since how many days a token is unused that is to be reported; 90
--   schedule  in UTC, unless cron.timezone says otherwise: 0 6 * * 1

\set ON_ERROR_STOP on
\if :{?tables} \set our_tables :tables \else \set our_tables public \endif
\if :{?soon} \set our_soon :soon \else \set our_soon 14 \endif
\if :{?unused} \set our_unused :unused \else \set our_unused 90 \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '0 6 * * 1' \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
CREATE TABLE IF NOT EXISTS gitlab_jobs.weekly_report (
  week date,
  finding text,
  token_id bigint,
  name text,
  scopes text[],
  username text,
  expires_at date,
  last_used_at timestamptz,
  PRIMARY KEY (week, finding, token_id));

CREATE OR REPLACE PROCEDURE gitlab_jobs.report_week()
LANGUAGE sql
BEGIN ATOMIC
  DELETE FROM gitlab_jobs.weekly_report
    WHERE week = date_trunc('week', now() AT TIME ZONE 'UTC')::date;
  INSERT INTO gitlab_jobs.weekly_report
    SELECT date_trunc('week', now() AT TIME ZONE 'UTC')::date, f.finding, t.id, t.name,
           t.scopes, u.username, t.expires_at, t.last_used_at
    FROM :"our_tables".gitlab_personal_access_tokens t
    LEFT JOIN :"our_tables".gitlab_users u ON u.id = t.user_id
    CROSS JOIN LATERAL (VALUES
      ('expires soon',
       t.expires_at <= (now() AT TIME ZONE 'UTC')::date + :our_soon),
      ('never expires', t.expires_at IS NULL),
      ('owner is gone', u.state <> 'active' OR u.locked),
      ('not used',
       coalesce(t.last_used_at, t.created_at) < now() - make_interval(days => :our_unused))
    ) AS f (finding, applies)
    WHERE t.active AND f.applies;
END;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.report_week FROM PUBLIC;

SELECT cron.schedule('gitlab: weekly report', :'our_schedule', 'CALL gitlab_jobs.report_week()');
COMMIT;
\unset our_tables
\unset our_soon
\unset our_unused
\unset our_schedule
