-- What scripts/report shows, as one JSON document from one statement, so that all
-- of it is of the same moment.  It reads the views of dashboards/install.sql only.

SET TimeZone = 'UTC';
SELECT jsonb_build_object(
  'generated_at', date_trunc('second', now()),
  'database', current_database(),
  'credential', (SELECT to_jsonb(c) FROM gitlab_dashboard.credential c),
  'summary', (
    SELECT jsonb_agg(s ORDER BY active DESC, owner_kind) FROM gitlab_dashboard.summary s),
  'scopes', (
    SELECT jsonb_agg(s ORDER BY tokens DESC, scope)
    FROM (SELECT scope, sum(tokens)::bigint AS tokens
          FROM gitlab_dashboard.scopes GROUP BY scope) s),
  'ahead', (
    SELECT jsonb_agg(w ORDER BY week)
    FROM (SELECT week::date, count(t.id) AS tokens
          FROM generate_series(date_trunc('week', now() AT TIME ZONE 'UTC'),
                               date_trunc('week', now() AT TIME ZONE 'UTC') + interval '25 weeks',
                               interval '1 week') AS week
          LEFT JOIN gitlab_dashboard.tokens t
            ON t.days_left IS NOT NULL AND date_trunc('week', t.expires_at::timestamp) = week
          GROUP BY week) w),
  'history', (
    SELECT jsonb_agg(h ORDER BY day)
    FROM (SELECT day, sum(active)::bigint AS active, sum(expiring_30)::bigint AS expiring_30,
                 sum(owner_dead)::bigint AS owner_dead
          FROM gitlab_dashboard.history
          WHERE day > (now() AT TIME ZONE 'UTC')::date - 90
          GROUP BY day) h),
  -- No longer than somebody might read; the summary has the totals.
  'expiring', (
    SELECT jsonb_agg(t ORDER BY expires_at, id)
    FROM (SELECT * FROM gitlab_dashboard.tokens WHERE days_left <= 30
          ORDER BY expires_at, id LIMIT 50) t),
  'dead', (
    SELECT jsonb_agg(t ORDER BY username, id)
    FROM (SELECT * FROM gitlab_dashboard.tokens WHERE owner_is_dead
          ORDER BY username, id LIMIT 50) t),
  'without_expiry', (
    SELECT jsonb_agg(t ORDER BY username, id)
    FROM (SELECT * FROM gitlab_dashboard.tokens WHERE state = 'active' AND expires_at IS NULL
          ORDER BY username, id LIMIT 50) t),
  'unused', (
    SELECT jsonb_agg(t ORDER BY days_unused DESC, id)
    FROM (SELECT * FROM gitlab_dashboard.tokens WHERE days_unused > 90
          ORDER BY days_unused DESC, id LIMIT 50) t),
  'refreshed_at', (
    SELECT date_trunc('second', max(finished_at)) FROM gitlab_dashboard.refreshes
    WHERE error IS NULL),
  'last_refresh', (
    SELECT to_jsonb(r) FROM gitlab_dashboard.refreshes r ORDER BY id DESC LIMIT 1),
  'requests', (
    SELECT to_jsonb(r)
    FROM (SELECT count(*) AS refreshes, count(error) AS failed,
                 coalesce(sum(requests), 0)::bigint AS requests,
                 coalesce(sum(errors), 0)::bigint AS errors,
                 coalesce(sum(rate_limited), 0)::bigint AS rate_limited
          FROM gitlab_dashboard.refreshes WHERE finished_at > now() - interval '30 days') r),
  'failed_jobs', (
    SELECT jsonb_agg(j ORDER BY job_name)
    FROM gitlab_dashboard.jobs j WHERE last_failed AND active));
