-- Views for dashboards, in a schema of their own: what GitLab said at the last
-- refresh, so that no panel ever asks GitLab.  See doc/dashboards.md.
--
--   psql -d DATABASE -f dashboards/install.sql
--
-- Run it as the role whose user mapping is to be used; not inside of a
-- transaction.  Running it again brings the views up to date, and keeps the
-- history.  What can be changed, with psql's -v:
--
--   server  the foreign server; gitlab by default
--   tables  the schema that its foreign tables are in; public
--   which   a condition on the tokens that are fetched, on columns of
--           gitlab_personal_access_tokens; true, for all of them.  Where most
--           tokens are revoked or expired, -v which='active' saves the most.
--   group   the path of a group, for its Owner, who is no administrator: fetched are the
--           tokens of it and its subgroups, of their projects, and of the service
--           accounts of all of these; none by default
--   accounts  whose service accounts are fetched with a group: all, group (only those of
--           the group itself, for GitLab before 18.11), projects, or none; all by default
--   rotations  the logs of gitlab_pat_rotate_due(), separated by commas, for the views
--           of tokens that rotations have left over or could not rotate; none by default
--   reader  the role that may read the views, and nothing else; it is created if
--           it doesn't exist: gitlab_dashboard_reader

\set ON_ERROR_STOP on
\if :{?server} \else \set server gitlab \endif
\if :{?tables} \else \set tables public \endif
\if :{?which} \else \set which true \endif
\if :{?group} \else \set group '' \endif
\if :{?accounts} \else \set accounts all \endif
\if :{?rotations} \else \set rotations '' \endif
\if :{?reader} \else \set reader gitlab_dashboard_reader \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_dashboard;
COMMENT ON SCHEMA gitlab_dashboard IS 'what GitLab said of its tokens at the last refresh';

-- Views may have changed their columns.  If there are some of yours on top of
-- them, this fails, and leaves everything as it was.
DROP VIEW IF EXISTS gitlab_dashboard.rotations, gitlab_dashboard.leftovers,
  gitlab_dashboard.rotation_log, gitlab_dashboard.jobs, gitlab_dashboard.session_requests,
  gitlab_dashboard.credential, gitlab_dashboard.scopes, gitlab_dashboard.summary,
  gitlab_dashboard.tokens;
DROP MATERIALIZED VIEW IF EXISTS gitlab_dashboard.fetched_tokens,
  gitlab_dashboard.fetched_credential;

-- ---------------------------------------------------------------------------
-- What is fetched: a list of tokens, a list of users, and the credential.  Of a
-- group, a list of each group, project and service account: users, who could be
-- anybody's, are not asked for.

SELECT :'group' <> '' AS has_group, :'accounts' IN ('all', 'group', 'projects', 'none') AS knows_accounts \gset
\if :knows_accounts
\else
  DO $$BEGIN RAISE EXCEPTION 'accounts must be all, group, projects or none'; END$$;
\endif
\if :has_group
  CREATE MATERIALIZED VIEW gitlab_dashboard.fetched_tokens AS
    WITH this_group AS MATERIALIZED (
      SELECT path FROM :"tables".gitlab_groups WHERE path = :'group' OR starts_with(path, :'group' || '/')),
    this_project AS MATERIALIZED (
      SELECT path FROM :"tables".gitlab_projects
      WHERE group_path = :'group' OR starts_with(group_path, :'group' || '/')),
    token AS (
      SELECT id, name, scopes, active, revoked, created_at, last_used_at, expires_at, user_id,
             'project bot' AS bot, project AS container, access_level,
             'bot of ' || project AS username, project AS owner_name
      FROM :"tables".gitlab_project_access_tokens
      WHERE project = ANY (ARRAY(SELECT path FROM this_project))
      UNION ALL
      SELECT id, name, scopes, active, revoked, created_at, last_used_at, expires_at, user_id,
             'group bot', group_path, access_level, 'bot of ' || group_path, group_path
      FROM :"tables".gitlab_group_access_tokens
      WHERE group_path = ANY (ARRAY(SELECT path FROM this_group))
      UNION ALL
      SELECT t.id, t.name, t.scopes, t.active, t.revoked, t.created_at, t.last_used_at, t.expires_at, t.user_id,
             'service account', t.group_path, NULL, a.username, a.name
      FROM :"tables".gitlab_group_service_accounts a
      JOIN :"tables".gitlab_group_service_account_tokens t ON t.group_path = a.group_path AND t.user_id = a.id
      WHERE a.group_path = ANY (ARRAY(
        SELECT path FROM this_group
        WHERE :'accounts' = 'all' OR :'accounts' = 'group' AND path = :'group'))
      UNION ALL
      SELECT t.id, t.name, t.scopes, t.active, t.revoked, t.created_at, t.last_used_at, t.expires_at, t.user_id,
             'service account', t.project, NULL, a.username, a.name
      FROM :"tables".gitlab_project_service_accounts a
      JOIN :"tables".gitlab_project_service_account_tokens t ON t.project = a.project AND t.user_id = a.id
      WHERE a.project = ANY (ARRAY(
        SELECT path FROM this_project WHERE :'accounts' IN ('all', 'projects'))))
    SELECT t.id, t.name, t.scopes, t.active, t.revoked, t.created_at, t.last_used_at,
           t.expires_at, t.user_id, t.username, t.owner_name, NULL::text AS owner_state,
           NULL::boolean AS owner_locked, true AS owner_bot, false AS owner_is_admin,
           NULL::text AS owner_url, t.bot, t.container, t.access_level
    FROM (SELECT * FROM token WHERE :which) t
    WITH NO DATA;
\else
  CREATE MATERIALIZED VIEW gitlab_dashboard.fetched_tokens AS
    SELECT t.id, t.name, t.scopes, t.active, t.revoked, t.created_at, t.last_used_at,
           t.expires_at, t.user_id, u.username, u.name AS owner_name, u.state AS owner_state,
           u.locked AS owner_locked, u.bot AS owner_bot, u.is_admin AS owner_is_admin,
           u.web_url AS owner_url, NULL::text AS bot,
           -- GitLab names the bots so
           CASE WHEN u.bot THEN substring(u.username FROM '^(?:project|group)_([0-9]+)_bot') END
             AS container,
           NULL::integer AS access_level
    FROM (SELECT * FROM :"tables".gitlab_personal_access_tokens WHERE :which) t
    LEFT JOIN :"tables".gitlab_users u ON u.id = t.user_id
    WITH NO DATA;
\endif
CREATE UNIQUE INDEX ON gitlab_dashboard.fetched_tokens (id);

CREATE MATERIALIZED VIEW gitlab_dashboard.fetched_credential AS
  SELECT id, name, scopes, expires_at, sees_all_tokens FROM gitlab_pat_self(:'server')
  WITH NO DATA;
CREATE UNIQUE INDEX ON gitlab_dashboard.fetched_credential (id);

-- ---------------------------------------------------------------------------
-- What is shown.  States and days are those of now, not of the last refresh.

CREATE VIEW gitlab_dashboard.tokens AS
  SELECT t.id, t.name, t.scopes, s.state, t.created_at, t.last_used_at, t.expires_at,
         -- of active tokens only, so that nobody has to ask for the state, too
         CASE WHEN s.state = 'active' THEN t.expires_at - s.today END AS days_left,
         CASE WHEN s.state = 'active' THEN
           s.today - (coalesce(t.last_used_at, t.created_at) AT TIME ZONE 'UTC')::date
         END AS days_unused,
         t.user_id, t.username, t.owner_name, s.owner_kind, s.owner_state,
         s.state = 'active' AND s.owner_state NOT IN ('active', 'unknown') AS owner_is_inactive,
         t.owner_url,
         s.state = 'active' AND coalesce(t.last_used_at > now() - interval '30 days', false)
           AS used_lately,
         t.container, t.access_level
  FROM gitlab_dashboard.fetched_tokens t
  CROSS JOIN LATERAL (
    SELECT (now() AT TIME ZONE 'UTC')::date AS today,
           CASE WHEN t.revoked THEN 'revoked'
                WHEN t.active
                  AND (t.expires_at > (now() AT TIME ZONE 'UTC')::date OR t.expires_at IS NULL)
                THEN 'active'
                ELSE 'expired' END AS state,
           CASE WHEN t.bot IS NOT NULL THEN t.bot
                WHEN t.username IS NULL THEN 'unknown'
                WHEN t.owner_bot AND t.username ~ '^project_[0-9]+_bot' THEN 'project bot'
                WHEN t.owner_bot AND t.username ~ '^group_[0-9]+_bot' THEN 'group bot'
                WHEN t.owner_bot THEN 'service account'
                WHEN t.owner_is_admin THEN 'administrator'
                ELSE 'user' END AS owner_kind,
           CASE WHEN t.owner_locked THEN 'locked'
                ELSE coalesce(t.owner_state, 'unknown') END AS owner_state) s;

COMMENT ON VIEW gitlab_dashboard.tokens IS 'the inventory: a row for each token, with its owner';
COMMENT ON COLUMN gitlab_dashboard.tokens.state IS 'active, expired or revoked';
COMMENT ON COLUMN gitlab_dashboard.tokens.days_left
IS 'days until an active token expires; NULL: never, or it is not active';
COMMENT ON COLUMN gitlab_dashboard.tokens.days_unused
IS 'days since an active token was last used, or created if it never was; NULL: not active';
COMMENT ON COLUMN gitlab_dashboard.tokens.owner_kind
IS 'user, administrator, project bot, group bot, service account (any other bot), or unknown';
COMMENT ON COLUMN gitlab_dashboard.tokens.owner_state
IS 'active, locked, blocked, deactivated, ..., or unknown if GitLab lists no such user';
COMMENT ON COLUMN gitlab_dashboard.tokens.owner_is_inactive
IS 'an active token whose owner is blocked, deactivated, locked or the like';
COMMENT ON COLUMN gitlab_dashboard.tokens.owner_url IS 'the owner''s page in GitLab';
COMMENT ON COLUMN gitlab_dashboard.tokens.used_lately
IS 'an active token that was used within 30 days';
COMMENT ON COLUMN gitlab_dashboard.tokens.container
IS 'the project or group of a bot or a service account: its path, or its number where all tokens are fetched';
COMMENT ON COLUMN gitlab_dashboard.tokens.access_level
IS 'what a bot may do in its container: 40 is Maintainer; NULL where all tokens are fetched';

CREATE VIEW gitlab_dashboard.summary AS
  SELECT owner_kind,
         count(*) FILTER (WHERE state = 'active') AS active,
         count(*) FILTER (WHERE state = 'expired') AS expired,
         count(*) FILTER (WHERE state = 'revoked') AS revoked,
         count(*) FILTER (WHERE days_left <= 7) AS expiring_7,
         count(*) FILTER (WHERE days_left <= 30) AS expiring_30,
         count(*) FILTER (WHERE days_left <= 90) AS expiring_90,
         count(*) FILTER (WHERE state = 'active' AND expires_at IS NULL) AS without_expiry,
         count(*) FILTER (WHERE owner_is_inactive) AS owner_inactive,
         count(*) FILTER (WHERE days_unused > 90) AS unused_90
  FROM gitlab_dashboard.tokens
  GROUP BY owner_kind;

COMMENT ON VIEW gitlab_dashboard.summary
IS 'numbers of tokens by kind of owner; all but expired and revoked count active tokens';

CREATE VIEW gitlab_dashboard.scopes AS
  SELECT s.scope, t.owner_kind, count(*) AS tokens
  FROM gitlab_dashboard.tokens t CROSS JOIN LATERAL unnest(t.scopes) AS s (scope)
  WHERE t.state = 'active'
  GROUP BY s.scope, t.owner_kind;

COMMENT ON VIEW gitlab_dashboard.scopes
IS 'numbers of active tokens that have a scope, by kind of owner';

CREATE VIEW gitlab_dashboard.credential AS
  SELECT c.id, c.name, c.scopes, c.expires_at,
         c.expires_at - (now() AT TIME ZONE 'UTC')::date AS days_left, c.sees_all_tokens,
         s.srvname AS server_name,
         (SELECT option_value FROM pg_catalog.pg_options_to_table(s.srvoptions)
          WHERE option_name = 'url') AS url,
         nullif(:'which', 'true') AS which, nullif(:'group', '') AS of_group,
         CASE WHEN :'group' <> '' THEN :'accounts' END AS of_accounts
  FROM gitlab_dashboard.fetched_credential c
  JOIN pg_catalog.pg_foreign_server s ON s.srvname = :'server';

COMMENT ON VIEW gitlab_dashboard.credential
IS 'the API token that GitLab is asked with, which is this extension''s own';

COMMENT ON COLUMN gitlab_dashboard.credential.which
IS 'the condition on the tokens that are fetched; NULL: all tokens are';
COMMENT ON COLUMN gitlab_dashboard.credential.of_group
IS 'the group whose tokens are fetched; NULL: those of all users';
COMMENT ON COLUMN gitlab_dashboard.credential.of_accounts
IS 'whose service accounts are fetched with the group: all, group, projects or none; NULL: those of all users';

-- ---------------------------------------------------------------------------
-- What is remembered

-- Up to 1.1 the column had another name.
SELECT 'ALTER TABLE gitlab_dashboard.history RENAME owner_dead TO owner_inactive'
FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass('gitlab_dashboard.history') AND attname = 'owner_dead' \gexec

CREATE TABLE IF NOT EXISTS gitlab_dashboard.history (
  day date,
  owner_kind text,
  active bigint NOT NULL,
  expired bigint NOT NULL,
  revoked bigint NOT NULL,
  expiring_7 bigint NOT NULL,
  expiring_30 bigint NOT NULL,
  expiring_90 bigint NOT NULL,
  without_expiry bigint NOT NULL,
  owner_inactive bigint NOT NULL,
  unused_90 bigint NOT NULL,
  PRIMARY KEY (day, owner_kind));

COMMENT ON TABLE gitlab_dashboard.history IS 'the summary at the last refresh of each day, in UTC';

CREATE TABLE IF NOT EXISTS gitlab_dashboard.refreshes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  sqlstate text,
  error text,
  requests bigint NOT NULL,
  retries bigint NOT NULL,
  rate_limited bigint NOT NULL,
  errors bigint NOT NULL,
  bytes_received bigint NOT NULL,
  wait_ms double precision NOT NULL,
  rate_limit_remaining bigint,
  rate_limit_reset timestamptz);

COMMENT ON TABLE gitlab_dashboard.refreshes
IS 'a row for each refresh, with what it asked of GitLab; error is NULL if it succeeded';

-- The counters are the session's.
CREATE VIEW gitlab_dashboard.session_requests AS
  SELECT coalesce(sum(requests), 0)::bigint AS requests,
         coalesce(sum(retries), 0)::bigint AS retries,
         coalesce(sum(rate_limited), 0)::bigint AS rate_limited,
         coalesce(sum(errors), 0)::bigint AS errors,
         coalesce(sum(bytes_received), 0)::bigint AS bytes_received,
         coalesce(sum(wait_ms), 0) AS wait_ms,
         max(rate_limit_remaining) AS rate_limit_remaining,
         max(rate_limit_reset) AS rate_limit_reset
  FROM gitlab_pat_requests() WHERE server_name = :'server';

-- ---------------------------------------------------------------------------
-- pg_cron's jobs, if it is in this database: whether they work, but not what
-- they said, for messages are for whoever owns the job.

-- cron.job does not say since when a job exists, and cron.job_run_details may be
-- emptied: each refresh notes what it sees.
CREATE TABLE IF NOT EXISTS gitlab_dashboard.jobs_seen (
  job_id bigint PRIMARY KEY,
  first_seen timestamptz NOT NULL,
  last_success timestamptz);
COMMENT ON TABLE gitlab_dashboard.jobs_seen
IS 'since when refreshes have seen each job of pg_cron, and its last success that they have seen';

-- The numbers that a field of a schedule stands for.
CREATE OR REPLACE FUNCTION gitlab_dashboard.schedule_numbers(field text, low integer, high integer, names text)
RETURNS integer[] LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT array_agg(number)
  FROM regexp_split_to_table(lower(field), ',') AS part
  CROSS JOIN LATERAL (
    SELECT regexp_match(part, '^(\*|\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?(?:/(\d+))?$') AS word) w
  CROSS JOIN LATERAL (
    SELECT CASE WHEN word[1] = '*' THEN low WHEN word[1] ~ '\d' THEN word[1]::integer
                ELSE array_position(string_to_array(names, ' '), word[1]) + low - 1 END AS first,
           CASE WHEN word[2] ~ '\d' THEN word[2]::integer
                WHEN word[2] IS NOT NULL THEN array_position(string_to_array(names, ' '), word[2]) + low - 1
                WHEN word[1] = '*' OR word[3] IS NOT NULL THEN high END AS last) f
  CROSS JOIN LATERAL generate_series(first, coalesce(last, first), greatest(word[3]::integer, 1)) AS number;
END;
COMMENT ON FUNCTION gitlab_dashboard.schedule_numbers(text, integer, integer, text)
IS 'the numbers that a field of a schedule of pg_cron stands for';

-- The most days between two runs: 1 for each night, 7 for each Monday, 31 for the
-- first of each month.  NULL for a schedule that it does not understand.
CREATE OR REPLACE FUNCTION gitlab_dashboard.schedule_days(schedule text)
RETURNS integer LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  WITH field AS (
    SELECT regexp_split_to_array(
      CASE WHEN s ~ '^\d+ seconds?$' OR s IN ('@hourly', '@daily', '@midnight') THEN '* * * * *'
           WHEN s = '@weekly' THEN '0 0 * * 0'
           WHEN s = '@monthly' THEN '0 0 1 * *'
           WHEN s IN ('@yearly', '@annually') THEN '0 0 1 1 *'
           -- the last day of a month
           ELSE replace(s, '$', '28') END, '\s+') AS f
    FROM lower(trim(schedule)) AS s),
  number AS (
    SELECT f[3] LIKE '*%' OR f[5] LIKE '*%' AS both_fields,
           gitlab_dashboard.schedule_numbers(f[3], 1, 31, '') AS days,
           gitlab_dashboard.schedule_numbers(f[4], 1, 12, 'jan feb mar apr may jun jul aug sep oct nov dec') AS months,
           gitlab_dashboard.schedule_numbers(f[5], 0, 7, 'sun mon tue wed thu fri sat') AS weekdays
    FROM field WHERE cardinality(f) = 5),
  run AS (
    SELECT day::date AS day
    FROM number, generate_series(timestamp '2023-01-01', '2026-12-31', interval '1 day') AS day,
         LATERAL (SELECT extract(day FROM day) = ANY (days) AS by_day,
                         extract(dow FROM day) = ANY (weekdays) OR extract(isodow FROM day) = ANY (weekdays)
                           AS by_weekday) m
    WHERE extract(month FROM day) = ANY (months)
      AND CASE WHEN both_fields THEN by_day AND by_weekday ELSE by_day OR by_weekday END)
  SELECT max(gap) FROM (SELECT day - lag(day) OVER (ORDER BY day) AS gap FROM run) g;
END;
COMMENT ON FUNCTION gitlab_dashboard.schedule_days(text)
IS 'the most days that a schedule of pg_cron has between two runs';

SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron') AS has_pg_cron \gset
\if :has_pg_cron
  CREATE VIEW gitlab_dashboard.jobs AS
    SELECT j.job_name, j.schedule, j.active, j.last_failed, j.last_start, j.last_end, j.failures_1d,
           j.last_success, j.job_id, j.is_ours, j.rotates,
           CASE WHEN j.is_ours THEN
             coalesce(j.last_success, j.first_seen)
               + make_interval(days => gitlab_dashboard.schedule_days(j.schedule) + 1) END AS due_at
    FROM (
      SELECT coalesce(j.jobname::text, 'job ' || j.jobid) AS job_name, j.schedule, j.active,
             l.status = 'failed' AS last_failed, l.start_time AS last_start,
             l.end_time AS last_end,
             (SELECT count(*) FROM cron.job_run_details d
              WHERE d.jobid = j.jobid AND d.status = 'failed'
                AND d.end_time > now() - interval '1 day') AS failures_1d,
             greatest(s.last_success,
               (SELECT max(d.end_time) FROM cron.job_run_details d
                WHERE d.jobid = j.jobid AND d.status = 'succeeded')) AS last_success,
             j.jobid AS job_id, s.first_seen,
             coalesce(j.jobname LIKE 'gitlab: %', false) OR j.command ~ '\mgitlab_(pat|jobs|dashboard)' AS is_ours,
             j.command ~ '\mgitlab_(pat_rotate|jobs\.(rotate|apply_declared))' AS rotates
      FROM cron.job j
      LEFT JOIN gitlab_dashboard.jobs_seen s ON s.job_id = j.jobid
      LEFT JOIN LATERAL (
        SELECT * FROM cron.job_run_details d
        WHERE d.jobid = j.jobid AND d.status IN ('succeeded', 'failed')
        ORDER BY d.runid DESC LIMIT 1) l ON true
      WHERE j.database = current_database()) j;
\else
  CREATE VIEW gitlab_dashboard.jobs AS
    SELECT NULL::text AS job_name, NULL::text AS schedule, NULL::boolean AS active,
           NULL::boolean AS last_failed, NULL::timestamptz AS last_start,
           NULL::timestamptz AS last_end, NULL::bigint AS failures_1d,
           NULL::timestamptz AS last_success, NULL::bigint AS job_id, NULL::boolean AS is_ours,
           NULL::boolean AS rotates, NULL::timestamptz AS due_at
    WHERE false;
\endif
COMMENT ON VIEW gitlab_dashboard.jobs IS 'the jobs that pg_cron runs in this database';
COMMENT ON COLUMN gitlab_dashboard.jobs.is_ours
IS 'the job is named "gitlab: ...", or its command names something of gitlab_pat_fdw';
COMMENT ON COLUMN gitlab_dashboard.jobs.rotates IS 'the command of the job rotates tokens';
COMMENT ON COLUMN gitlab_dashboard.jobs.due_at
IS 'when a job of gitlab_pat_fdw must have ended well again: a day after its schedule says so';

-- ---------------------------------------------------------------------------
-- What gitlab_pat_rotate_due() has done: a row for each row of its logs.  A log may
-- lack the columns token_container and revoke_after.

SELECT coalesce(
  (SELECT string_agg(format($$
     SELECT %1$L AS log, l.at, l.owner, to_jsonb(l) ->> 'token_container' AS token_container, l.token_name,
            l.old_id, l.new_id, l.outcome, l.message, (to_jsonb(l) ->> 'revoke_after')::timestamptz AS revoke_after
     FROM %1$s l$$, trim(log)::regclass), ' UNION ALL ' ORDER BY position)
   FROM regexp_split_to_table(nullif(trim(:'rotations'), ''), ',') WITH ORDINALITY AS logs (log, position)),
  $$SELECT NULL::text AS log, NULL::timestamptz AS at, NULL::text AS owner, NULL::text AS token_container,
           NULL::text AS token_name, NULL::bigint AS old_id, NULL::bigint AS new_id, NULL::text AS outcome,
           NULL::text AS message, NULL::timestamptz AS revoke_after
    WHERE false$$) AS rotation_logs \gset
CREATE VIEW gitlab_dashboard.rotation_log AS :rotation_logs;
COMMENT ON VIEW gitlab_dashboard.rotation_log IS 'all logs of gitlab_pat_rotate_due() that install.sql knows';

-- Active tokens that a rotation has replaced, or has created before it failed.
CREATE VIEW gitlab_dashboard.leftovers AS
  SELECT DISTINCT ON (t.id) t.id, t.name, t.user_id, t.username, t.owner_kind, t.owner_url,
         t.expires_at, l.at AS since,
         CASE WHEN l.old_id = t.id THEN 'replaced' ELSE 'rotation failed' END AS reason
  FROM gitlab_dashboard.tokens t
  JOIN gitlab_dashboard.rotation_log l ON (l.outcome IN ('rotated', 'left over') AND l.old_id = t.id)
    OR (l.outcome = 'failed' AND l.new_id = t.id)
  WHERE t.state = 'active'
    -- an overlap that was asked for
    AND coalesce(l.revoke_after < now(), true)
    -- a later run has taken it for the one that is in place
    AND NOT EXISTS (SELECT FROM gitlab_dashboard.rotation_log a
                    WHERE (a.outcome = 'rotated' AND a.new_id = t.id AND a.at >= l.at)
                      OR (a.outcome = 'in use' AND a.old_id = t.id AND a.at >= l.at))
  ORDER BY t.id, l.at DESC;

-- Two containers may have tokens of one name, and two jobs an owner's.
CREATE VIEW gitlab_dashboard.rotations AS
  SELECT owner, token_name, last_delivered, last_failed, is_failing, token_container, log,
         CASE WHEN is_failing THEN last_failure END AS failure
  FROM (
    SELECT log, token_container, owner, token_name, max(at) FILTER (WHERE outcome = 'rotated') AS last_delivered,
           max(at) FILTER (WHERE outcome = 'failed') AS last_failed,
           (array_agg(message ORDER BY at DESC) FILTER (WHERE outcome = 'failed'))[1] AS last_failure,
           coalesce(max(at) FILTER (WHERE outcome = 'failed') > now() - interval '2 days'
             AND max(at) FILTER (WHERE outcome = 'failed')
               > coalesce(max(at) FILTER (WHERE outcome IN ('rotated', 'well')), '-infinity'), false) AS is_failing
    FROM gitlab_dashboard.rotation_log GROUP BY log, token_container, owner, token_name) r;
COMMENT ON VIEW gitlab_dashboard.leftovers
IS 'active tokens that rotations have replaced, or that failed rotations have created, and that nobody has revoked';
COMMENT ON COLUMN gitlab_dashboard.rotations.failure IS 'why a failing rotation has failed, from the log';
COMMENT ON VIEW gitlab_dashboard.rotations
IS 'tokens that gitlab_pat_rotate_due() delivers, and whether it has failed within two days and they were neither delivered nor found well since';

-- ---------------------------------------------------------------------------
-- Refreshing

CREATE OR REPLACE PROCEDURE gitlab_dashboard.refresh()
LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
  today date;
  before gitlab_dashboard.session_requests;
  view_name text;
  how text;
  probes int := 0;
  failure text;
  message text;
  details text;
  advice text;
BEGIN
  -- What a failed refresh has cost is committed, so this cannot be part of a
  -- transaction: it is better to find that out now.
  COMMIT;
  started := clock_timestamp();
  today := (started AT TIME ZONE 'UTC')::date;
  SELECT * INTO before FROM gitlab_dashboard.session_requests;
  BEGIN
    -- The credential first: the cheapest way to find out that GitLab refuses it.
    FOR view_name, how IN
      SELECT oid::regclass, CASE WHEN relispopulated THEN 'CONCURRENTLY' ELSE '' END
      FROM pg_catalog.pg_class
      WHERE oid IN ('gitlab_dashboard.fetched_credential'::regclass,
                    'gitlab_dashboard.fetched_tokens'::regclass)
      ORDER BY relname
    LOOP
      EXECUTE format('REFRESH MATERIALIZED VIEW %s %s', how, view_name);
      -- gitlab_pat_self() has asked for what doesn't exist; that is no error.
      probes := 1;
    END LOOP;
    DELETE FROM gitlab_dashboard.history WHERE day = today;
    INSERT INTO gitlab_dashboard.history SELECT today, * FROM gitlab_dashboard.summary;
  EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS failure = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
      details = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
  END;
  INSERT INTO gitlab_dashboard.jobs_seen AS s (job_id, first_seen, last_success)
    SELECT job_id, started, last_success FROM gitlab_dashboard.jobs
    ON CONFLICT (job_id) DO UPDATE SET last_success = excluded.last_success
      WHERE s.last_success IS DISTINCT FROM excluded.last_success;
  INSERT INTO gitlab_dashboard.refreshes (started_at, finished_at, sqlstate, error, requests,
      retries, rate_limited, errors, bytes_received, wait_ms, rate_limit_remaining,
      rate_limit_reset)
    SELECT started, clock_timestamp(), failure, message, r.requests - before.requests,
           r.retries - before.retries, r.rate_limited - before.rate_limited,
           r.errors - before.errors - probes, r.bytes_received - before.bytes_received,
           r.wait_ms - before.wait_ms, r.rate_limit_remaining, r.rate_limit_reset
    FROM gitlab_dashboard.session_requests r;
  IF failure IS NOT NULL THEN
    COMMIT;
    RAISE EXCEPTION USING ERRCODE = failure, MESSAGE = message,
      DETAIL = concat_ws(' ', nullif(details, ''), nullif(advice, ''),
                         'What was shown before is still there.');
  END IF;
END;
$$;

COMMENT ON PROCEDURE gitlab_dashboard.refresh()
IS 'asks GitLab for everything that the views show, and notes what that took; commits';
REVOKE EXECUTE ON PROCEDURE gitlab_dashboard.refresh() FROM PUBLIC;

-- ---------------------------------------------------------------------------
-- Reading

SELECT format('CREATE ROLE %I NOLOGIN', :'reader')
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'reader') \gexec
GRANT USAGE ON SCHEMA gitlab_dashboard TO :"reader";
GRANT SELECT ON gitlab_dashboard.tokens, gitlab_dashboard.summary, gitlab_dashboard.scopes,
  gitlab_dashboard.credential, gitlab_dashboard.history, gitlab_dashboard.refreshes,
  gitlab_dashboard.jobs, gitlab_dashboard.leftovers, gitlab_dashboard.rotations TO :"reader";
COMMIT;

CALL gitlab_dashboard.refresh();
