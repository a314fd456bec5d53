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
--           tokens are dead, -v which='active' saves the most.
--   reader  the role that may read the views, and nothing else; it is created if
--           it doesn't exist: gitlab_dashboard_reader

\set ON_ERROR_STOP on
\if :{?server} \else \set server gitlab \endif
\if :{?tables} \else \set tables public \endif
\if :{?which} \else \set which true \endif
\if :{?reader} \else \set reader gitlab_dashboard_reader \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_dashboard;
COMMENT ON SCHEMA gitlab_dashboard IS 'what GitLab said of its tokens at the last refresh';

-- Views may have changed their columns.  If there are some of yours on top of
-- them, this fails, and leaves everything as it was.
DROP VIEW IF EXISTS gitlab_dashboard.jobs, gitlab_dashboard.session_requests,
  gitlab_dashboard.credential, gitlab_dashboard.scopes, gitlab_dashboard.summary,
  gitlab_dashboard.tokens;
DROP MATERIALIZED VIEW IF EXISTS gitlab_dashboard.fetched_tokens,
  gitlab_dashboard.fetched_credential;

-- ---------------------------------------------------------------------------
-- What is fetched: a list of tokens, a list of users, and the credential.

CREATE MATERIALIZED VIEW gitlab_dashboard.fetched_tokens AS
  SELECT t.id, t.name, t.scopes, t.active, t.revoked, t.created_at, t.last_used_at,
         t.expires_at, t.user_id, u.username, u.name AS owner_name, u.state AS owner_state,
         u.locked AS owner_locked, u.bot AS owner_bot, u.is_admin AS owner_is_admin
  FROM (SELECT * FROM :"tables".gitlab_personal_access_tokens WHERE :which) t
  LEFT JOIN :"tables".gitlab_users u ON u.id = t.user_id
  WITH NO DATA;
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
         s.state = 'active' AND s.owner_state NOT IN ('active', 'unknown') AS owner_is_dead
  FROM gitlab_dashboard.fetched_tokens t
  CROSS JOIN LATERAL (
    SELECT (now() AT TIME ZONE 'UTC')::date AS today,
           CASE WHEN t.revoked THEN 'revoked'
                WHEN t.active
                  AND (t.expires_at > (now() AT TIME ZONE 'UTC')::date OR t.expires_at IS NULL)
                THEN 'active'
                ELSE 'expired' END AS state,
           CASE WHEN t.username IS NULL THEN 'unknown'
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
COMMENT ON COLUMN gitlab_dashboard.tokens.owner_is_dead
IS 'an active token whose owner is blocked, deactivated, locked or the like';

CREATE VIEW gitlab_dashboard.summary AS
  SELECT owner_kind,
         count(*) FILTER (WHERE state = 'active') AS active,
         count(*) FILTER (WHERE state = 'expired') AS expired,
         count(*) FILTER (WHERE state = 'revoked') AS revoked,
         count(*) FILTER (WHERE days_left <= 7) AS expiring_7,
         count(*) FILTER (WHERE days_left <= 30) AS expiring_30,
         count(*) FILTER (WHERE days_left <= 90) AS expiring_90,
         count(*) FILTER (WHERE state = 'active' AND expires_at IS NULL) AS without_expiry,
         count(*) FILTER (WHERE owner_is_dead) AS owner_dead,
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
          WHERE option_name = 'url') AS url
  FROM gitlab_dashboard.fetched_credential c
  JOIN pg_catalog.pg_foreign_server s ON s.srvname = :'server';

COMMENT ON VIEW gitlab_dashboard.credential
IS 'the API token that GitLab is asked with, which is this extension''s own';

-- ---------------------------------------------------------------------------
-- What is remembered

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
  owner_dead bigint NOT NULL,
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

SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron') AS has_pg_cron \gset
\if :has_pg_cron
  CREATE VIEW gitlab_dashboard.jobs AS
    SELECT coalesce(j.jobname::text, 'job ' || j.jobid) AS job_name, j.schedule, j.active,
           l.status = 'failed' AS last_failed, l.start_time AS last_start,
           l.end_time AS last_end,
           (SELECT count(*) FROM cron.job_run_details d
            WHERE d.jobid = j.jobid AND d.status = 'failed'
              AND d.end_time > now() - interval '1 day') AS failures_1d
    FROM cron.job j
    LEFT JOIN LATERAL (
      SELECT * FROM cron.job_run_details d
      WHERE d.jobid = j.jobid AND d.status IN ('succeeded', 'failed')
      ORDER BY d.runid DESC LIMIT 1) l ON true
    WHERE j.database = current_database();
\else
  CREATE VIEW gitlab_dashboard.jobs AS
    SELECT NULL::text AS job_name, NULL::text AS schedule, NULL::boolean AS active,
           NULL::boolean AS last_failed, NULL::timestamptz AS last_start,
           NULL::timestamptz AS last_end, NULL::bigint AS failures_1d
    WHERE false;
\endif
COMMENT ON VIEW gitlab_dashboard.jobs IS 'the jobs that pg_cron runs in this database';

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
    -- The credential first: the cheapest way to find out that it is no good.
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
  gitlab_dashboard.jobs TO :"reader";
COMMIT;

CALL gitlab_dashboard.refresh();
