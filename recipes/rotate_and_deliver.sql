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
--   tokens    the foreign table of the tokens: gitlab_personal_access_tokens.  Another one,
--             for example gitlab_group_service_account_tokens, needs no administrator;
--             then the column token_container has each token's project or group
--   name      none.  With -v name=bots, the tables are bots_deliveries and
--             bots_rotations, the view is bots_rotation_state, and the job "gitlab:
--             rotate and deliver bots": for a second job, with other tokens
--   lifetime  how many days a new token lasts: 90
--   schedule  in UTC, unless cron.timezone says otherwise: 0 4 * * *
--
-- job_alerts.sql raises an alert when the job fails.  The view rotation_state has a
-- row for each token: since when it is all right, or what is wrong with it.

\set ON_ERROR_STOP on
\if :{?tables} \set our_tables :tables \else \set our_tables public \endif
\if :{?tokens} \set our_tokens :tokens \else \set our_tokens gitlab_personal_access_tokens \endif
\if :{?name} \set our_name :name \else \set our_name '' \endif
\if :{?lifetime} \set our_lifetime :lifetime \else \set our_lifetime 90 \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '0 4 * * *' \endif
SELECT prefix || 'deliveries' AS our_deliveries, prefix || 'rotations' AS our_rotations,
       prefix || 'rotation_state' AS our_rotation_state, prefix || 'rotations_token' AS our_index_of_tokens,
       prefix || 'rotations_fingerprint' AS our_index_of_fingerprints, 'gitlab: rotate and deliver' || suffix AS our_job
FROM concat(nullif(:'our_name', '') || '_') AS prefix, concat(' ' || nullif(:'our_name', '')) AS suffix \gset

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
-- Who may write this table decides where secrets go.
CREATE TABLE IF NOT EXISTS gitlab_jobs.:"our_deliveries" (
  token_container text,
  owner text,
  token_name text NOT NULL,
  project text,
  group_path text,
  variable text NOT NULL,
  environment_scope text NOT NULL DEFAULT '*',
  days integer NOT NULL DEFAULT 14,
  lifetime integer,
  keep_old interval,
  CHECK (num_nonnulls(token_container, owner) > 0),
  CHECK (num_nonnulls(project, group_path) = 1),
  -- or else a new token would be due at once, and each night again
  CONSTRAINT lifetime_longer_than_days CHECK (lifetime > days));
CREATE TABLE IF NOT EXISTS gitlab_jobs.:"our_rotations" (
  at timestamptz NOT NULL,
  owner text NOT NULL,
  token_name text NOT NULL,
  token_container text,
  old_id bigint,
  new_id bigint,
  outcome text NOT NULL,
  message text,
  fingerprint text,
  revoke_after timestamptz);
CREATE INDEX IF NOT EXISTS :"our_index_of_tokens" ON gitlab_jobs.:"our_rotations" (token_name, owner, at);
CREATE INDEX IF NOT EXISTS :"our_index_of_fingerprints" ON gitlab_jobs.:"our_rotations" (fingerprint);
REVOKE ALL ON gitlab_jobs.:"our_deliveries", gitlab_jobs.:"our_rotations" FROM PUBLIC;

CREATE OR REPLACE VIEW gitlab_jobs.:"our_rotation_state" AS
  -- a bot has no owner in deliveries, and an empty one in the log
  WITH log AS (
    SELECT *, coalesce(token_container, '') AS container FROM gitlab_jobs.:"our_rotations"),
  remaining AS (
    SELECT DISTINCT container, owner, token_name, old_id FROM log l
    WHERE outcome = 'left over' AND NOT EXISTS (
      SELECT FROM log gone
      WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = l.old_id AND gone.at > l.at))
  SELECT d.owner, d.token_name, delivered.at AS delivered_at, delivered.new_id AS token_id,
         failure.at IS NOT NULL AS failed, failure.at AS failed_at, failure.message AS failure,
         (SELECT array_agg(l.old_id ORDER BY l.old_id) FROM remaining l
          WHERE l.container = d.container AND l.owner = d.owner AND l.token_name = d.token_name) AS left_over,
         nullif(d.container, '') AS token_container
  -- a row that is gone does not hide what is left over of its token
  FROM (SELECT coalesce(token_container, '') AS container, coalesce(owner, '') AS owner, token_name
        FROM gitlab_jobs.:"our_deliveries"
        UNION SELECT container, owner, token_name FROM remaining) d
  LEFT JOIN LATERAL (
    SELECT at, new_id FROM log r
    WHERE r.container = d.container AND r.owner = d.owner AND r.token_name = d.token_name AND r.outcome = 'rotated'
    ORDER BY at DESC LIMIT 1) delivered ON true
  -- the job notes when it finds a token well after a failure
  LEFT JOIN LATERAL (
    SELECT CASE WHEN r.outcome = 'failed' THEN at END AS at, CASE WHEN r.outcome = 'failed' THEN message END AS message
    FROM log r
    WHERE r.container = d.container AND r.owner = d.owner AND r.token_name = d.token_name
      AND r.outcome IN ('failed', 'rotated', 'well')
    ORDER BY r.at DESC LIMIT 1) failure ON true;
COMMENT ON VIEW gitlab_jobs.:"our_rotation_state"
IS 'each token that is delivered, and whether its last rotation has failed';

SELECT cron.schedule(:'our_job', :'our_schedule', format(
  'CALL gitlab_pat_rotate_due(%L, %L, %s, tokens => %L, users => %L, variables => %L, group_variables => %L)',
  format('gitlab_jobs.%I', :'our_deliveries'), format('gitlab_jobs.%I', :'our_rotations'), :our_lifetime,
  :'our_tables' || '.' || :'our_tokens', :'our_tables' || '.gitlab_users',
  :'our_tables' || '.gitlab_project_variables', :'our_tables' || '.gitlab_group_variables'));
COMMIT;
\unset our_tokens
\unset our_name
\unset our_deliveries
\unset our_rotations
\unset our_rotation_state
\unset our_index_of_tokens
\unset our_index_of_fingerprints
\unset our_job
\unset our_tables
\unset our_lifetime
\unset our_schedule
