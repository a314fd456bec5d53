-- Errors: what each failure of an exchange becomes, and that the session works
-- afterwards.
\i sql/include/setup.sql
ALTER SERVER gitlab OPTIONS (ADD max_retries '0', ADD max_response_size '64kB');
\a \t

-- What reading one token, all of them, or creating one comes to, with the
-- faults that were set before.
CREATE FUNCTION reading() RETURNS text LANGUAGE sql AS
	$$SELECT outcome('SELECT * FROM gitlab_personal_access_tokens WHERE id = 2')$$;
CREATE FUNCTION listing() RETURNS text LANGUAGE sql AS
	$$SELECT outcome('SELECT * FROM gitlab_personal_access_tokens')$$;
CREATE FUNCTION creating() RETURNS text LANGUAGE sql AS
	$$SELECT regexp_replace(outcome('INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (2, ''x'', ''{api}'', current_date + 30)'), '[0-9-]{10} [0-9:.]+\+00', '...')$$;
SELECT reading();
SELECT listing();

--
-- Statuses
--
\! test/gitlab_sim/simctl fault GET tokens status status=400
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=403
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=403 body='{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=404
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=404
SELECT reading();
\! test/gitlab_sim/simctl fault GET tokens status status=418
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=422 body='{"message":{"name":["is too long"],"base":["is wrong","is bad"]}}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=500
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=502
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=503
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=429
SELECT listing();
-- Shapes of GitLab's words, and words that are no use
\! test/gitlab_sim/simctl fault GET tokens status status=400 body='{"error":"state does not have a valid value"}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=400 body='{"message":["one","two"]}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=400 body='{"unknown":true}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=400 body='"text"'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=400 body='not JSON'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens html status=400
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens empty status=400
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body status=400 body='{"message":"line\u000bone\nand \u001b[31mred"}'
SELECT listing();
-- They are cut to 512 bytes.
\! test/gitlab_sim/simctl fault GET tokens body status=400 body="{\"message\":\"$(printf '%0600d' 0)\"}"
SELECT length(substring(listing() FROM 'GitLab said: "([^"]*)"'));
-- Secrets in them are blanked out.
\! test/gitlab_sim/simctl fault GET tokens body status=400 body='{"message":"glpat-sim-admin is no good, try glpat-ABCdef_123-456789 instead"}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=429 body='rate of glpat-sim-admin exceeded' content_type=text/plain
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens status status=403 body='{"error":"insufficient_scope","scope":"glpat-sim-admin"}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens redirect location='http://elsewhere.invalid/?private_token=glpat-sim-admin'
SELECT listing();
SELECT listing();

--
-- Redirects are not followed.
--
\! test/gitlab_sim/simctl journal --clear >/dev/null
\! test/gitlab_sim/simctl fault GET tokens redirect
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens redirect status=308 location=/api/v4/personal_access_tokens/3
SELECT reading();
\! test/gitlab_sim/simctl count

--
-- Bodies
--
\! test/gitlab_sim/simctl fault GET tokens empty
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens html
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens garbage
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens deep
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[] []'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[{"id":2'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[{"id":2},]'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[{"id":2}}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='null'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='{"id":2}'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[2]'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[null]'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[{"name":"x"}]'
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[]'
SELECT reading();
\! test/gitlab_sim/simctl fault GET tokens body body='{"id":3}'
SELECT reading();
\! test/gitlab_sim/simctl fault GET tokens body body='[]' content_type=text/plain
SELECT listing();
\! test/gitlab_sim/simctl fault GET tokens body body='[]' content_type='application/json; charset=utf-8'
SELECT listing();
-- too large, or broken on the way: libcurl's words follow, which differ
\! test/gitlab_sim/simctl fault GET tokens oversized size=100000
SELECT substring(listing() FROM '^.....');
\! test/gitlab_sim/simctl fault GET tokens oversized size=100000 length=false
SELECT substring(listing() FROM '^.....');
\! test/gitlab_sim/simctl fault GET tokens gzip_bomb size=1000000
SELECT substring(listing() FROM '^.....');
\! test/gitlab_sim/simctl fault GET tokens truncate
SELECT substring(listing() FROM '^.....');
\! test/gitlab_sim/simctl fault GET tokens bad_chunk
SELECT substring(listing() FROM '^.....') IN ('08006', '08P01');
SELECT gitlab_pat_disconnect();
\! test/gitlab_sim/simctl fault GET tokens reset
SELECT substring(listing() FROM '^.....');
SELECT gitlab_pat_disconnect();
\! test/gitlab_sim/simctl fault GET tokens close
SELECT substring(listing() FROM '^.....');
-- the answer does not come in time
ALTER SERVER gitlab OPTIONS (ADD request_timeout '200ms');
\! test/gitlab_sim/simctl fault GET tokens stall
SELECT substring(listing() FROM '^.....');
\! test/gitlab_sim/simctl fault GET tokens stall at=body
SELECT substring(listing() FROM '^.....');
ALTER SERVER gitlab OPTIONS (DROP request_timeout);
-- nobody is there
CREATE SERVER nobody FOREIGN DATA WRAPPER gitlab_pat_fdw
	OPTIONS (url 'http://127.0.0.1:1', max_retries '0');
CREATE USER MAPPING FOR CURRENT_USER SERVER nobody OPTIONS (token 'glpat-sim-admin');
SELECT split_part(outcome('SELECT gitlab_pat_self(''nobody'')'), E'\n', 1);
DROP USER MAPPING FOR CURRENT_USER SERVER nobody;
DROP SERVER nobody;
\! test/gitlab_sim/simctl clear-faults
SELECT listing();

--
-- Fields
--
CREATE FUNCTION reading_all() RETURNS text LANGUAGE sql AS
	$$SELECT outcome('SELECT * FROM gitlab_personal_access_tokens WHERE id = 12')$$;
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.id='"12"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.id=0
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.user_id='"8"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.user_id=1.5
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.user_id=9223372036854775808
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.name=5
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.name='"a\u0000b"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.scopes='"api"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.scopes='["api",7]'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.scopes='[null]'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.active='"true"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.revoked=0
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.created_at='"yesterday"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.created_at='"2024-13-01T00:00:00Z"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.created_at='"2024-01-01"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.last_used_at=1704067200
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.expires_at='"2024-02-30"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.expires_at='"infinity"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.expires_at='"2024-02-01T00:00:00Z"'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.last_used_ips='["192.0.2.7/33"]'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.last_used_ips='["localhost"]'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.last_used_ips='{"a":1}'
SELECT reading_all();
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.granular='{}'
SELECT reading_all();
-- a field that is not asked for is not looked at
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.expires_at='"never"'
SELECT id, name FROM gitlab_personal_access_tokens WHERE id = 12;
-- invalid UTF-8
\! test/gitlab_sim/simctl fault GET tokens/12 body base64=true body=$(printf '{"id":12,"name":"a\377b"}' | base64 -w0)
SELECT reading_all();
-- other zones are read, too
\! test/gitlab_sim/simctl fault GET tokens/12 edit set.created_at='"2024-01-01T02:00:00.5+02:00"' set.last_used_at='"2024-02-29T23:59:59-05:30"'
SELECT created_at, last_used_at FROM gitlab_personal_access_tokens WHERE id = 12;
\! test/gitlab_sim/simctl clear-faults

--
-- Lists that do not end
--
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD page_size '5', ADD concurrency '1');
\! test/gitlab_sim/simctl fault GET tokens repeat_page times=0
SELECT substring(listing() FROM '^[^(]*');
\! test/gitlab_sim/simctl clear-faults
\! test/gitlab_sim/simctl fault GET tokens endless times=0
SELECT listing();
\! test/gitlab_sim/simctl clear-faults
-- A page after the first may fail, too.
\! test/gitlab_sim/simctl fault GET 'page=3' status status=500
SELECT substring(listing() FROM '^[^(]*');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP page_size, DROP concurrency);

--
-- Retries: for what they may help with, as often as asked for
--
ALTER SERVER gitlab OPTIONS (SET max_retries '2', ADD max_retry_wait '1ms');
CREATE FUNCTION retries(OUT requests bigint, OUT retries bigint, OUT rate_limited bigint)
LANGUAGE sql AS
	$$SELECT requests, retries, rate_limited FROM gitlab_pat_requests() WHERE server_name = 'gitlab'$$;
CREATE TEMP TABLE before AS SELECT * FROM retries();
CREATE FUNCTION since() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SELECT format('requests %s, retries %s, rate-limited %s', r.requests - b.requests,
				  r.retries - b.retries, r.rate_limited - b.rate_limited)
		INTO result FROM retries() r, before b;
	UPDATE before SET (requests, retries, rate_limited) = (SELECT * FROM retries());
	RETURN result;
END
$$;
\! test/gitlab_sim/simctl fault GET tokens status status=502 times=2
SELECT listing();
SELECT since();
\! test/gitlab_sim/simctl fault GET tokens status status=503
\! test/gitlab_sim/simctl fault GET tokens status status=429
SELECT listing();
SELECT since();
SELECT gitlab_pat_disconnect();
\! test/gitlab_sim/simctl fault GET tokens reset times=2
SELECT listing();
SELECT since();
\! test/gitlab_sim/simctl fault GET tokens status status=409
SELECT listing();
SELECT since();
-- as often as this, and not once more
\! test/gitlab_sim/simctl fault GET tokens status status=502 times=3
SELECT substring(listing() FROM '^.....');
SELECT since();
-- what another attempt does not help with
\! test/gitlab_sim/simctl fault GET tokens status status=400
SELECT substring(listing() FROM '^.....');
SELECT since();
\! test/gitlab_sim/simctl fault GET tokens garbage
SELECT substring(listing() FROM '^.....');
SELECT since();
-- A server that asks for more patience than there is gets none.
\! test/gitlab_sim/simctl fault GET tokens status status=429 headers.Retry-After=3600
SELECT regexp_replace(listing(), 'at [0-9-]+ [0-9:]+ UTC', 'at ... UTC');
SELECT since();
\! test/gitlab_sim/simctl fault GET tokens status status=503 headers.Retry-After=3600
SELECT substring(listing() FROM '^.....');
SELECT since();

--
-- POST: repeated only where GitLab refused it for now; a lost answer is an
-- error that says how to find what may have been created.
--
\! test/gitlab_sim/simctl reset
-- Each answer that is lost is repeated as a WARNING, with the time in its SELECT.
SET client_min_messages = error;
\! test/gitlab_sim/simctl fault POST tokens status status=429
SELECT creating();
SELECT since();
\! test/gitlab_sim/simctl fault POST tokens status status=502
SELECT creating();
SELECT since();
\! test/gitlab_sim/simctl fault POST tokens status status=503 moment=after
SELECT creating();
SELECT since();
\! test/gitlab_sim/simctl fault POST tokens status status=500
SELECT split_part(creating(), E'\n', 1);
SELECT since();
\! test/gitlab_sim/simctl fault POST tokens reset moment=after
SELECT split_part(creating(), E'\n', 1);
\! test/gitlab_sim/simctl fault POST tokens reset moment=after
SELECT substring(creating() FROM 'HINT: .*');
SELECT since();
\! test/gitlab_sim/simctl fault POST tokens garbage moment=after
SELECT creating();
-- the body of such an answer is not quoted: it might hold the secret
\! test/gitlab_sim/simctl fault POST tokens body moment=after status=201 body='{"id":"x","token":"glpat-secret"}'
SELECT creating();
\! test/gitlab_sim/simctl fault POST tokens edit set.id=null
SELECT creating();
-- The SELECT in the hint finds it.
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl fault POST tokens reset moment=after
SELECT outcome(substring(outcome('INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, ''O''''Hara'', ''{api}'', current_date + 30)') FROM 'SELECT .*;'));
SELECT id, name FROM gitlab_personal_access_tokens WHERE active AND name LIKE 'O%';
RESET client_min_messages;
-- A token that was created, but cannot be shown, is revoked again.
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl fault POST tokens edit set.scopes=7
SELECT creating();
\! test/gitlab_sim/simctl state 17

--
-- Instances that make fine-grained tokens only
--
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl set granular_tokens_enforced=true
SELECT creating();
SELECT outcome('UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 30 WHERE id = 3');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (ADD rotation 'native');
SELECT outcome('UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 30 WHERE id = 3');
ALTER FOREIGN TABLE gitlab_personal_access_tokens OPTIONS (DROP rotation);
\! test/gitlab_sim/simctl state 3

--
-- A fine-grained credential that may not read itself: that is no sign of a bad
-- one, and it may be any token.
--
\! test/gitlab_sim/simctl reset
\! test/gitlab_sim/simctl fault GET tokens/self status times=0 status=403 body='{"error":"insufficient_granular_scope","error_description":"Access denied: This operation requires a fine-grained personal access token with the following user permissions: [Personal Access Token: Read]."}'
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
SELECT outcome('SELECT id FROM gitlab_personal_access_tokens WHERE id = 1');
SELECT outcome('SELECT count(*) FROM gitlab_personal_access_tokens WHERE active');
SELECT outcome('SELECT id FROM gitlab_pat_self(''gitlab'')');
SELECT outcome('DELETE FROM gitlab_personal_access_tokens WHERE id = 3');
SELECT outcome('DELETE FROM gitlab_personal_access_tokens WHERE id = 2');
\! test/gitlab_sim/simctl state 2 3
ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
SELECT outcome('INSERT INTO gitlab_personal_access_tokens (name, scopes, expires_at)
	VALUES (''of mine'', ''{api}'', current_date + 30) RETURNING user_id');
\! test/gitlab_sim/simctl clear-faults
-- The permission comes while the session goes on.
SELECT outcome('DELETE FROM gitlab_personal_access_tokens WHERE id = 1');
\! test/gitlab_sim/simctl state 1

--
-- The session works on.
--
\! test/gitlab_sim/simctl reset
\a \t
SELECT count(*) FROM gitlab_personal_access_tokens;
\i sql/include/teardown.sql
