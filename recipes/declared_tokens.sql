-- Every night: make it so that the tokens which a table declares exist, with the
-- scopes that it says, and do not end soon; and revoke those that it no longer
-- declares.
--
--   psql -d DATABASE -f recipes/declared_tokens.sql
--   INSERT INTO gitlab_jobs.declared_tokens (owner, name, scopes) VALUES ('alice', 'ci', '{read_api}');
--   SELECT * FROM gitlab_jobs.declared_plan;
--   CALL gitlab_jobs.apply_declared_tokens();
--   SELECT secret FROM gitlab_jobs.declared_tokens WHERE owner = 'alice' AND name = 'ci';
--
-- The plan says what the job would do: create, rotate, recreate (for other scopes)
-- or revoke.  Only tokens that the job has made itself are ever rotated or revoked; a
-- token that is there already is adopted by an UPDATE of token_id.  Each row is a
-- transaction of its own, and the job fails in the end if any has failed.  What can
-- be changed, with psql's -v:
--
--   tables    the schema of the foreign tables: public
--   schedule  in UTC, unless cron.timezone says otherwise: 15 4 * * *

\set ON_ERROR_STOP on
\if :{?tables} \set our_tables :tables \else \set our_tables public \endif
\if :{?schedule} \set our_schedule :schedule \else \set our_schedule '15 4 * * *' \endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS gitlab_jobs;
-- Nobody but its owner may read the secrets, unless you grant it.
CREATE TABLE IF NOT EXISTS gitlab_jobs.declared_tokens (
  owner text,
  name text,
  scopes text[] NOT NULL,
  lifetime integer NOT NULL DEFAULT 90,
  days integer NOT NULL DEFAULT 14,
  token_id bigint,
  expires_at date,
  secret text,
  PRIMARY KEY (owner, name),
  -- or else a new token would be due at once, and each night again
  CONSTRAINT lifetime_longer_than_days CHECK (lifetime > days));
-- The tokens that the job has made or adopted, until GitLab lists them as inactive: the
-- job touches no others.
CREATE TABLE IF NOT EXISTS gitlab_jobs.managed_tokens (id bigint PRIMARY KEY, owner text, name text);
CREATE OR REPLACE VIEW gitlab_jobs.tokens AS
  SELECT id, user_id, name, scopes, active, expires_at, token FROM :"our_tables".gitlab_personal_access_tokens;
CREATE OR REPLACE VIEW gitlab_jobs.users AS SELECT id, username FROM :"our_tables".gitlab_users;
REVOKE ALL ON gitlab_jobs.declared_tokens, gitlab_jobs.managed_tokens, gitlab_jobs.tokens FROM PUBLIC;

-- Lists the active tokens once.
CREATE OR REPLACE VIEW gitlab_jobs.declared_plan AS
  WITH active AS MATERIALIZED (
    SELECT id, scopes, expires_at FROM gitlab_jobs.tokens WHERE active)
  SELECT CASE WHEN t.id IS NULL THEN 'create'
              WHEN NOT (t.scopes @> d.scopes AND t.scopes <@ d.scopes) THEN 'recreate'
              ELSE 'rotate' END AS action,
         d.owner, d.name, d.scopes, t.id AS token_id, t.expires_at
  FROM gitlab_jobs.declared_tokens d LEFT JOIN active t ON t.id = d.token_id
  WHERE t.id IS NULL OR NOT (t.scopes @> d.scopes AND t.scopes <@ d.scopes)
    OR t.expires_at <= (now() AT TIME ZONE 'UTC')::date + d.days
  UNION ALL
  SELECT 'revoke', m.owner, m.name, t.scopes, t.id, t.expires_at
  FROM gitlab_jobs.managed_tokens m JOIN active t ON t.id = m.id
  WHERE NOT EXISTS (SELECT FROM gitlab_jobs.declared_tokens d WHERE d.token_id = m.id);

-- Does what a row of the plan says.  Secrets go from column to column.
CREATE OR REPLACE PROCEDURE gitlab_jobs.apply_declared_token(action text, owner text, name text, token_id bigint)
LANGUAGE plpgsql AS $$
DECLARE
  d gitlab_jobs.declared_tokens%ROWTYPE;
  owner_id bigint;
  ending date;
  changed bigint;
BEGIN
  IF action = 'revoke' THEN
    DELETE FROM gitlab_jobs.tokens t WHERE t.id = apply_declared_token.token_id;
    RETURN;
  END IF;
  -- An adopted token becomes the job's own, to be revoked until GitLab has done it.
  INSERT INTO gitlab_jobs.managed_tokens
    SELECT apply_declared_token.token_id, apply_declared_token.owner, apply_declared_token.name
    WHERE apply_declared_token.token_id IS NOT NULL
    ON CONFLICT DO NOTHING;
  -- Two sessions must not do the same; the secret stays where it is.
  SELECT t.owner, t.name, t.scopes, t.lifetime INTO STRICT d.owner, d.name, d.scopes, d.lifetime
    FROM gitlab_jobs.declared_tokens t
    WHERE t.owner = apply_declared_token.owner AND t.name = apply_declared_token.name FOR UPDATE;
  ending := (now() AT TIME ZONE 'UTC')::date + d.lifetime;
  IF action = 'rotate' THEN
    WITH new AS (
      UPDATE gitlab_jobs.tokens t SET expires_at = ending
      WHERE t.id = apply_declared_token.token_id AND t.active RETURNING t.id, t.expires_at, t.token),
    managed AS (
      INSERT INTO gitlab_jobs.managed_tokens SELECT new.id, d.owner, d.name FROM new)
    UPDATE gitlab_jobs.declared_tokens t SET token_id = new.id, expires_at = new.expires_at, secret = new.token
      FROM new WHERE t.owner = d.owner AND t.name = d.name;
  ELSE
    SELECT u.id INTO owner_id FROM gitlab_jobs.users u WHERE u.username = d.owner;
    IF owner_id IS NULL THEN
      RAISE EXCEPTION 'there is no user "%"', d.owner USING ERRCODE = 'undefined_object';
    END IF;
    WITH new AS (
      INSERT INTO gitlab_jobs.tokens (user_id, name, scopes, expires_at)
      VALUES (owner_id, d.name, d.scopes, ending) RETURNING id, expires_at, token),
    managed AS (
      INSERT INTO gitlab_jobs.managed_tokens SELECT new.id, d.owner, d.name FROM new)
    UPDATE gitlab_jobs.declared_tokens t SET token_id = new.id, expires_at = new.expires_at, secret = new.token
      FROM new WHERE t.owner = d.owner AND t.name = d.name;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;
  IF changed <> 1 THEN
    RAISE EXCEPTION 'the token is no longer there' USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  IF action = 'recreate' THEN
    DELETE FROM gitlab_jobs.tokens t WHERE t.id = apply_declared_token.token_id;
  END IF;
END;
$$;

CREATE OR REPLACE PROCEDURE gitlab_jobs.apply_declared_tokens()
LANGUAGE plpgsql AS $$
DECLARE
  step record;
  state text;
  message text;
  detail text;
  hint text;
  failures text[] := '{}';
  failed_ids bigint[] := '{}';
  replaced bigint[];
  steps integer := 0;
BEGIN
  FOR step IN SELECT * FROM gitlab_jobs.declared_plan ORDER BY action, owner, name LOOP
    steps := steps + 1;
    state := NULL;
    BEGIN
      CALL gitlab_jobs.apply_declared_token(step.action, step.owner, step.name, step.token_id);
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    END;
    IF state IS NULL THEN
      CALL gitlab_pat_try_commit(state, message, detail, hint);
    ELSE
      COMMIT;
    END IF;
    IF state IS NOT NULL THEN
      IF step.action = 'revoke' THEN
        failed_ids := failed_ids || step.token_id;
      END IF;
      -- What PostgreSQL says about a row that violates a constraint has the secret.
      failures := failures || format('%s "%s" of "%s": %s', step.action, step.name, step.owner,
        CASE WHEN state ~ '^23' THEN 'could not store the secret (SQLSTATE ' || state || ')'
             ELSE concat_ws(E'\n', message, '  ' || nullif(detail, ''), '  ' || nullif(hint, '')) END);
    END IF;
  END LOOP;

  -- GitLab revokes a replaced token after the commit, and may refuse: the job forgets
  -- a token only when GitLab lists it as inactive.  The plan revokes all others again.
  SELECT array_agg(m.id) INTO replaced FROM gitlab_jobs.managed_tokens m
    WHERE NOT EXISTS (SELECT FROM gitlab_jobs.declared_tokens d WHERE d.token_id = m.id);
  FOR step IN
    SELECT m.id, m.owner, m.name, t.active
    FROM gitlab_jobs.tokens t JOIN gitlab_jobs.managed_tokens m ON m.id = t.id
    WHERE t.id = ANY (replaced) ORDER BY m.id
  LOOP
    IF NOT step.active THEN
      DELETE FROM gitlab_jobs.managed_tokens m WHERE m.id = step.id;
    ELSIF step.id <> ALL (failed_ids) THEN
      failures := failures || format('revoke "%s" of "%s": token %s still works; the next run revokes it again',
                                     step.name, step.owner, step.id);
    END IF;
  END LOOP;
  COMMIT;
  IF failures <> '{}' THEN
    RAISE EXCEPTION '% of % declared tokens are not as they are declared', cardinality(failures), steps
      USING DETAIL = array_to_string(failures, E'\n');
  END IF;
END;
$$;
REVOKE EXECUTE ON PROCEDURE gitlab_jobs.apply_declared_token, gitlab_jobs.apply_declared_tokens FROM PUBLIC;

SELECT cron.schedule('gitlab: apply declared tokens', :'our_schedule', 'CALL gitlab_jobs.apply_declared_tokens()');
COMMIT;
\unset our_tables
\unset our_schedule
