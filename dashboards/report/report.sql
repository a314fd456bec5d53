-- What scripts/report shows, as one JSON document from one statement, so that all
-- of it is of the same moment.  It reads the views of dashboards/install.sql only.

SET TimeZone = 'UTC';
WITH shown AS MATERIALIZED (
  SELECT t.*, coalesce(t.id = (SELECT id FROM gitlab_dashboard.credential), false) AS is_credential,
         coalesce(t.days_left <= 30 OR t.expires_at IS NULL OR t.days_unused > 90
                  OR t.owner_is_inactive, false) AS needs_attention
  FROM gitlab_dashboard.tokens t WHERE t.state = 'active')
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
                 sum(owner_inactive)::bigint AS owner_inactive
          FROM gitlab_dashboard.history
          WHERE day > (now() AT TIME ZONE 'UTC')::date - 90
          GROUP BY day) h),
  -- No longer than somebody might read; the summary has the totals.  Owners stand
  -- together, except where the order of time says what to do first.
  'expiring', (
    SELECT jsonb_agg(t ORDER BY expires_at, id)
    FROM (SELECT * FROM shown WHERE days_left <= 30 ORDER BY expires_at, id LIMIT 50) t),
  'inactive', (
    SELECT jsonb_agg(t ORDER BY username, user_id, id)
    FROM (SELECT *, count(*) OVER (PARTITION BY user_id) AS of_owner FROM shown
          WHERE owner_is_inactive ORDER BY username, user_id, id LIMIT 50) t),
  'without_expiry', (
    SELECT jsonb_agg(t ORDER BY username, user_id, id)
    FROM (SELECT *, count(*) OVER (PARTITION BY user_id) AS of_owner FROM shown
          WHERE expires_at IS NULL ORDER BY username, user_id, id LIMIT 50) t),
  'unused', (
    SELECT jsonb_agg(t ORDER BY longest DESC, user_id, days_unused DESC, id)
    FROM (SELECT *, count(*) OVER (PARTITION BY user_id) AS of_owner,
                 max(days_unused) OVER (PARTITION BY user_id) AS longest
          FROM shown WHERE days_unused > 90
          ORDER BY longest DESC, user_id, days_unused DESC, id LIMIT 50) t),
  'leftovers', (
    SELECT jsonb_build_object('total', max(total), 'tokens', jsonb_agg(l ORDER BY since, id))
    FROM (SELECT l.*, s.scopes, s.is_credential, count(*) OVER () AS total
          FROM gitlab_dashboard.leftovers l JOIN shown s USING (id)
          ORDER BY l.since, l.id LIMIT 50) l
    HAVING count(*) > 0),
  'failing_rotations', (
    SELECT jsonb_build_object('total', max(total), 'tokens', jsonb_agg(r ORDER BY last_failed, log, token_container, owner, token_name))
    FROM (SELECT *, count(*) OVER () AS total FROM gitlab_dashboard.rotations WHERE is_failing
          ORDER BY last_failed, log, token_container, owner, token_name LIMIT 50) r
    HAVING count(*) > 0),
  'people', (
    SELECT jsonb_agg(p ORDER BY attention DESC, user_id)
    FROM (SELECT user_id, username, owner_kind, owner_state, owner_url, count(*) AS active,
                 count(*) FILTER (WHERE needs_attention) AS attention,
                 count(*) FILTER (WHERE days_left <= 30) AS expiring_30,
                 count(*) FILTER (WHERE expires_at IS NULL) AS without_expiry,
                 count(*) FILTER (WHERE days_unused > 90) AS unused_90,
                 count(*) OVER () AS owners
          FROM shown
          GROUP BY user_id, username, owner_kind, owner_state, owner_url
          HAVING bool_or(needs_attention)
          ORDER BY attention DESC, user_id LIMIT 25) p),
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
