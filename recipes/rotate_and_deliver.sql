-- Every night: rotate the tokens that end soon, deliver them into CI/CD variables,
-- and repair what an earlier night has left.
--
--   psql -d DATABASE -f recipes/rotate_and_deliver.sql
--   INSERT INTO gitlab_jobs.deliveries (token_name, owner, project, variable)
--     VALUES ('deploy', 'alice', 'acme/app', 'DEPLOY_PAT');
--   CALL gitlab_pat_rotate_due('gitlab_jobs.deliveries', 'gitlab_jobs.rotations', dry_run => true);
--   SELECT * FROM gitlab_jobs.rotation_state;
--
-- doc/delivery.md says what the job promises.  Running this script again changes the
-- schedule or the lifetime.  What can be changed, with psql's -v:
--
--   tables    the schema of the foreign tables: public
--   lifetime  how many days a new token lasts: 90
--   schedule  in UTC, unless cron.timezone says otherwise: 0 4 * * *
--
-- job_alerts.sql raises an alert when the job fails.  The view rotation_state has a
-- row for each token: since when it is all right, or what is wrong with it.

\set ON_ERROR_STOP on
\if :{?tables} \set our_tables :tables \else \set our_tables public \endif
\if :{?lifetime} \set our_lifetime :lifetime \else \set our_lifetime 90 \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '0 4 * * *' \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
-- Who may write this table decides where secrets go.
CREATE TABLE IF NOT EXISTS gitlab_jobs.deliveries (
  token_name text NOT NULL,
  owner text NOT NULL,
  project text,
  group_path text,
  variable text NOT NULL,
  environment_scope text NOT NULL DEFAULT '*',
  days integer NOT NULL DEFAULT 14,
  lifetime integer,
  keep_old interval,
  CHECK (num_nonnulls(project, group_path) = 1),
  -- or else a new token would be due at once, and each night again
  CONSTRAINT lifetime_longer_than_days CHECK (lifetime > days));
CREATE TABLE IF NOT EXISTS gitlab_jobs.rotations (
  at timestamptz NOT NULL,
  owner text NOT NULL,
  token_name text NOT NULL,
  old_id bigint,
  new_id bigint,
  outcome text NOT NULL,
  message text,
  fingerprint text,
  revoke_after timestamptz);
CREATE INDEX IF NOT EXISTS rotations_token ON gitlab_jobs.rotations (token_name, owner, at);
CREATE INDEX IF NOT EXISTS rotations_fingerprint ON gitlab_jobs.rotations (fingerprint);
REVOKE ALL ON gitlab_jobs.deliveries, gitlab_jobs.rotations FROM PUBLIC;

CREATE OR REPLACE VIEW gitlab_jobs.rotation_state AS
  SELECT d.owner, d.token_name, delivered.at AS delivered_at, delivered.new_id AS token_id,
         failure.at IS NOT NULL AS failed, failure.at AS failed_at, failure.message AS failure,
         (SELECT array_agg(DISTINCT l.old_id) FROM gitlab_jobs.rotations l
          WHERE l.owner = d.owner AND l.token_name = d.token_name AND l.outcome = 'left over'
            AND NOT EXISTS (SELECT FROM gitlab_jobs.rotations gone
                            WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = l.old_id AND gone.at > l.at))
           AS left_over
  -- a row that is gone does not hide what is left over of its token
  FROM (SELECT owner, token_name FROM gitlab_jobs.deliveries
        UNION SELECT owner, token_name FROM gitlab_jobs.rotations l
        WHERE outcome = 'left over' AND NOT EXISTS (
          SELECT FROM gitlab_jobs.rotations gone
          WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = l.old_id AND gone.at > l.at)) d
  LEFT JOIN LATERAL (
    SELECT at, new_id FROM gitlab_jobs.rotations r
    WHERE r.owner = d.owner AND r.token_name = d.token_name AND r.outcome = 'rotated'
    ORDER BY at DESC LIMIT 1) delivered ON true
  -- a failure since which the token was neither rotated nor found well
  LEFT JOIN LATERAL (
    SELECT at, message FROM gitlab_jobs.rotations r
    WHERE r.owner = d.owner AND r.token_name = d.token_name AND r.outcome = 'failed'
      AND NOT EXISTS (SELECT FROM gitlab_jobs.rotations l
                      WHERE l.owner = r.owner AND l.token_name = r.token_name AND l.outcome IN ('rotated', 'well')
                        AND l.at > r.at)
    ORDER BY at DESC LIMIT 1) failure ON true;
COMMENT ON VIEW gitlab_jobs.rotation_state IS 'each token that is delivered, and whether its last rotation has failed';

SELECT cron.schedule('gitlab: rotate and deliver', :'our_schedule', format(
  'CALL gitlab_pat_rotate_due(%L, %L, %s, tokens => %L, users => %L, variables => %L, group_variables => %L)',
  'gitlab_jobs.deliveries', 'gitlab_jobs.rotations', :our_lifetime,
  :'our_tables' || '.gitlab_personal_access_tokens', :'our_tables' || '.gitlab_users',
  :'our_tables' || '.gitlab_project_variables', :'our_tables' || '.gitlab_group_variables'));
COMMIT;
\unset our_tables
\unset our_lifetime
\unset our_schedule
