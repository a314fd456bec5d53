\set ECHO none
SET client_min_messages = error;
DROP SCHEMA gitlab_test CASCADE;
DROP EXTENSION gitlab_pat_fdw CASCADE;
\! test/gitlab_sim/simctl reset
\set ECHO all
