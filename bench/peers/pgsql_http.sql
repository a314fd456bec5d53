-- The same tasks with pgsql-http: what one would write without a foreign data
-- wrapper. The psql variables url and token say where to go.

CREATE EXTENSION IF NOT EXISTS http;
CREATE SCHEMA pgsql_http;

CREATE FUNCTION pgsql_http.request(method text, path text) RETURNS http_response
LANGUAGE plpgsql AS $$
DECLARE
  answer http_response;
BEGIN
  answer := http((method,
                  current_setting('bench.url') || '/api/v4/personal_access_tokens' || path,
                  ARRAY[http_header('PRIVATE-TOKEN', current_setting('bench.token'))],
                  NULL, NULL)::http_request);
  IF answer.status NOT IN (200, 204) THEN
    RAISE EXCEPTION 'GitLab answered with status %', answer.status;
  END IF;
  RETURN answer;
END
$$;

CREATE FUNCTION pgsql_http.list(query text)
RETURNS TABLE (id bigint, user_id bigint, name text, description text, scopes text[],
               active boolean, revoked boolean, created_at timestamptz,
               last_used_at timestamptz, last_used_ips inet[], expires_at date,
               granular boolean)
LANGUAGE plpgsql AS $$
DECLARE
  answer http_response;
  page text := '1';
BEGIN
  WHILE page <> '' LOOP
    answer := pgsql_http.request('GET', '?per_page=100&page=' || page || query);
    RETURN QUERY
      SELECT * FROM jsonb_to_recordset(answer.content::jsonb)
        AS t (id bigint, user_id bigint, name text, description text, scopes text[],
              active boolean, revoked boolean, created_at timestamptz,
              last_used_at timestamptz, last_used_ips inet[], expires_at date,
              granular boolean);
    page := coalesce((SELECT h.value FROM unnest(answer.headers) h
                       WHERE lower(h.field) = 'x-next-page'), '');
  END LOOP;
END
$$;
