-- Every hour: refresh the materialized views of dashboards/install.sql, which
-- has to be run before.
--
--   psql -d DATABASE -f recipes/refresh_dashboards.sql
--
-- One refresh lists all tokens and all users; doc/dashboards.md says how many
-- requests that is.  Running it again changes the schedule.  What can be
-- changed, with psql's -v:
--
--   schedule  in UTC, unless cron.timezone says otherwise: 7 * * * *
--
-- Views of your own are refreshed likewise: schedule REFRESH MATERIALIZED VIEW,
-- with CONCURRENTLY if the view has a unique index.

\set ON_ERROR_STOP on
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '7 * * * *' \endif

SELECT cron.schedule('gitlab: refresh dashboards', :'our_schedule', 'CALL gitlab_dashboard.refresh()');
\unset our_schedule
