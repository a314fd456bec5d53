-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION gitlab_pat_fdw UPDATE TO '1.2'" to load this file. \quit

-- Each statement turns an object of 1.1 into that of 1.2, or adds one with its
-- comment.  More than half of the file is the body of gitlab_pat_rotate_due(): an
-- update is one file to PostgreSQL, however long.

-- The OUT parameters have defaults, so that CALL can leave them out.
CREATE PROCEDURE gitlab_pat_try_commit(
	INOUT sqlstate text DEFAULT NULL, INOUT message text DEFAULT NULL,
	INOUT detail text DEFAULT NULL, INOUT hint text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME';

COMMENT ON PROCEDURE gitlab_pat_try_commit(text, text, text, text)
IS 'commits; returns the error of a failed commit in the output arguments, and does not raise it';

CREATE FUNCTION gitlab_pat_identify(
	server name, secret text,
	OUT id bigint, OUT user_id bigint, OUT name text, OUT description text, OUT scopes text[],
	OUT active boolean, OUT revoked boolean, OUT created_at timestamptz, OUT last_used_at timestamptz,
	OUT last_used_ips inet[], OUT expires_at date, OUT granular boolean, OUT token text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1 COST 100000 AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_identify(name, text)
IS 'the token that a secret belongs to; no row if the secret does not work';

CREATE FUNCTION gitlab_pat_revoke_secret(server name, secret text)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_revoke_secret(name, text)
IS 'queues the token that a secret belongs to for revocation at commit, by the secret itself';

CREATE FUNCTION gitlab_pat_set_token(server name, token text)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_set_token(name, text)
IS 'tries an API token at GitLab and stores it in the caller''s own user mapping';

CREATE FUNCTION gitlab_pat_add_comments(schema regnamespace)
RETURNS integer LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';

COMMENT ON FUNCTION gitlab_pat_add_comments(regnamespace)
IS 'adds comments to the foreign tables of a schema and to their columns, where there are none';

--
-- gitlab_pat_rotate_due(): the procedure of 1.1 has a successor with a log that it
-- believes.  What it does is written below, in PL/pgSQL; src/sql/rotate_due.c checks
-- the arguments, holds the lock, and calls gitlab_pat_rotate_due_run().
--
-- The parts pass on JSON: "settings" is what the call is about, "token" one token
-- with its places, "seen" what was found out about it.  Secrets go from column to
-- column within a statement, and are never in a variable or a parameter, which
-- logs can show.
--
-- The search path is that of the system, for the extension's schema may be one in
-- which anybody can create a function or an operator that fits better.  Parts are
-- called by statements of "settings" that name the schema.  Only a procedure that
-- commits has to be called as it stands: then "call_path" is the search path, and the
-- arguments are variables of just the types that are declared.  A commit ends the
-- setting, which is made anew after each.
--
DROP PROCEDURE gitlab_pat_rotate_due(regclass, regclass, integer, boolean,
	regclass, regclass, regclass, integer, integer);

-- Raises an error unless gitlab_pat_rotate_due() is running.
CREATE FUNCTION gitlab_pat_rotate_due_begin()
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';

-- The token that the transaction has created or rotated to; and whether GitLab may have
-- made one whose id is not known, since its answer was lost.
CREATE FUNCTION gitlab_pat_rotate_due_made(OUT id bigint, OUT in_doubt boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';

CREATE FUNCTION gitlab_pat_rotate_due_container(server name, kind text, path text)
RETURNS bigint LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';

-- An error in one text, for the log.  Raises it again if the job must end with it:
-- a cancel or a shutdown, or a server in trouble.  53400 is GitLab's rate limit.
CREATE FUNCTION gitlab_pat_rotate_due_words(state text, message text, detail text, hint text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $body$
BEGIN
	IF state ~ '^(57P|57014|58|XX|53(?!400))' THEN
		RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message,
			DETAIL = coalesce(detail, ''), HINT = coalesce(hint, '');
	END IF;
	RETURN concat_ws(' HINT: ', concat_ws(': ', message, nullif(detail, '')), nullif(hint, ''));
END
$body$;

-- The statement that revokes a token.
CREATE FUNCTION gitlab_pat_rotate_due_remedy(settings jsonb, token jsonb, id bigint)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN concat(format('DELETE FROM %s WHERE id = %s', settings->>'tokens', id),
	CASE WHEN settings ? 'container_column'
		THEN format(' AND %s = %L', settings->>'container_column', token->>'container') END,
	CASE WHEN (settings->>'user_in_key')::boolean
		THEN format(' AND user_id = (SELECT id FROM %s WHERE username = %L)', settings->>'users', token->>'owner') END);

-- The tokens that the table of deliveries names, each with its places, days,
-- lifetime and overlap, and with what is wrong with its rows.  Raises an error if
-- two tokens claim one place.
CREATE FUNCTION gitlab_pat_rotate_due_tokens(settings jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	delivery text := format($query$
		SELECT r->>'token_container' AS container, r->>'owner' AS owner, r->>'token_name' AS token_name,
			r->>'project' AS project, r->>'group_path' AS group_path, r->>'variable' AS variable,
			coalesce(r->>'environment_scope', '*') AS scope,
			CASE WHEN r->>'project' IS NULL THEN 'group' ELSE 'project' END AS kind,
			-- GitLab does not tell large letters from small ones, nor 07 from 7
			regexp_replace(lower(coalesce(r->>'project', r->>'group_path')), '^0+(?=\d+$)', '') AS path,
			(r->>'days')::numeric AS days,
			coalesce((r->>'lifetime')::numeric, ($1->>'lifetime')::numeric) AS lifetime,
			coalesce((r->>'keep_old')::interval, ($1->>'keep_old')::interval) AS keep_old
		FROM (SELECT to_jsonb(d) AS r FROM %s d) AS rows$query$, settings->>'deliveries');
	named record;
	number bigint;
	numbers jsonb := '{}';	-- of projects and groups, by their paths
	claims text;
	tokens jsonb;
	state text; message text;
BEGIN
	-- A project or group has a path and a number.  GitLab is asked for the number
	-- where two rows may thereby mean one variable.
	FOR named IN EXECUTE format($query$
		WITH delivery AS (%s)
		SELECT DISTINCT kind, path FROM delivery d
		WHERE path !~ '^\d+$' AND EXISTS (SELECT FROM delivery n
			WHERE n.path ~ '^\d+$' AND (n.kind, n.variable, n.scope) = (d.kind, d.variable, d.scope))$query$, delivery)
		USING settings
	LOOP
		BEGIN
			EXECUTE settings->>'container_number' INTO number
				USING settings->>(named.kind || '_server'), named.kind, named.path;
			numbers := numbers || jsonb_build_object(named.kind || ' ' || named.path, number);
		EXCEPTION WHEN OTHERS THEN
			-- the look at its variables will fail with the reason; only what must end the job ends it here
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
			EXECUTE settings->>'words' INTO message USING state, message, ''::text, ''::text;
		END;
	END LOOP;

	EXECUTE format($query$
		WITH delivery AS (%s),
		place AS (
			SELECT *, concat_ws(' ', kind, coalesce($2->>(kind || ' ' || path), path), variable, scope) AS address,
				format('variable "%%s" (%%s) of %%s "%%s"', variable, scope, kind, coalesce(project, group_path)) AS place,
				CASE
					WHEN token_name IS NULL THEN 'the column "token_name" is null'
					WHEN ($1->>'needs_owner')::boolean AND owner IS NULL THEN 'the column "owner" is null'
					WHEN $1->>'container_column' IS NOT NULL AND container IS NULL
						THEN 'the column "token_container" is null'
					WHEN num_nonnulls(project, group_path) <> 1
						THEN 'a row must have exactly one of "project" and "group_path"'
					WHEN variable IS NULL THEN 'the column "variable" is null'
					WHEN days IS NULL THEN 'the column "days" is null'
					WHEN lifetime <= days
						THEN format('a lifetime of %%s days is not longer than "days", %%s', lifetime, days)
					WHEN lifetime < 1 OR lifetime > 100000 THEN format('a lifetime of %%s days is out of range', lifetime)
					WHEN keep_old < interval '0' THEN '"keep_old" is negative'
					WHEN keep_old > interval '0' AND ($1->>'native')::boolean
						THEN 'native rotation ends the old token at once, so "keep_old" cannot be kept'
				END AS problem
			FROM delivery),
		claimed AS (
			SELECT min(place) AS place, string_agg(DISTINCT format('"%%s" of "%%s"', token_name,
				concat_ws('" in "', owner, container)), ' and ') AS tokens
			FROM place WHERE variable IS NOT NULL AND num_nonnulls(project, group_path) = 1
			GROUP BY address HAVING count(DISTINCT (container, owner, token_name)) > 1)
		SELECT (SELECT string_agg(format('%%s is claimed by %%s', place, tokens), '; ' ORDER BY place) FROM claimed),
			(SELECT jsonb_agg(to_jsonb(token) ORDER BY owner, container, token_name)
			FROM (
				SELECT container, owner, token_name,
					max(days) AS days, min(lifetime) AS lifetime, max(keep_old) AS keep_old, min(problem) AS problem,
					count(*) OVER (PARTITION BY container, owner) > 1 AS has_neighbours,
					jsonb_agg(jsonb_build_object('project', project, 'group_path', group_path,
						'variable', variable, 'scope', scope, 'place', place) ORDER BY address)
						FILTER (WHERE n = 1) AS places,
					-- the foreign tables of its places, by the columns that tell one row from another
					jsonb_strip_nulls(jsonb_build_object('project', CASE WHEN count(project) > 0 THEN $1->>'variables' END,
						'group_path', CASE WHEN count(group_path) > 0 THEN $1->>'group_variables' END)) AS tables
				FROM (SELECT *, row_number() OVER (PARTITION BY container, owner, token_name, address) AS n FROM place) AS p
				GROUP BY container, owner, token_name) AS token)$query$, delivery)
		INTO claims, tokens USING settings, numbers;
	IF claims IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('rows of %s name several tokens for one variable', settings->>'deliveries'),
			DETAIL = upper(left(claims, 1)) || substr(claims, 2) || '.',
			HINT = 'Correct or remove these rows, then CALL the job again: it has not begun, for other tokens either.';
	END IF;
	RETURN coalesce(tokens, '[]');
END
$body$;

-- Returns what the log says about a token: the last success, whether a failure is the
-- last news, the attempt that has no end yet, the tokens that this job has created, those
-- that it was to revoke, those that it keeps for an overlap, and those that were left over.
CREATE FUNCTION gitlab_pat_rotate_due_history(settings jsonb, token jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	history jsonb;
BEGIN
	EXECUTE format($query$
		WITH entry AS (
			SELECT row_number() OVER (ORDER BY at) AS n, at, old_id, new_id, outcome, message, revoke_after
			FROM %s WHERE owner = $1 AND token_name = $2 AND outcome <> 'due' %s),
		success AS (
			SELECT n, new_id, message FROM entry WHERE outcome = 'rotated' ORDER BY n DESC LIMIT 1),
		start AS (
			SELECT n, old_id, message FROM entry WHERE outcome = 'started' ORDER BY n DESC LIMIT 1),
		parts AS (
			SELECT regexp_match(message,
				'began at (\S+ \S+), and a new token ends on (\S+); active tokens of that name: ([0-9,]*)$') AS part
			FROM start)
		SELECT jsonb_build_object(
			'delivered', (SELECT new_id FROM success),
			'delivered_to', (SELECT message FROM success),
			'started', (SELECT old_id FROM start),
			-- what GitLab had of that name when the attempt began
			'before', (SELECT coalesce((SELECT part[3] FROM parts), '') FROM start
				WHERE NOT EXISTS (SELECT FROM entry
					WHERE entry.n > start.n AND outcome IN ('rotated', 'settled'))),
			-- what the attempt has created, if that is known
			'created', (SELECT max(entry.new_id) FROM entry, start WHERE entry.n > start.n AND outcome = 'failed'),
			'began', (SELECT part[1] FROM parts),
			'ending', (SELECT part[2] FROM parts),
			'failing', (SELECT bool_or(outcome = 'failed') FROM entry WHERE n > (
				SELECT coalesce(max(n), 0) FROM entry WHERE outcome IN ('rotated', 'well'))),
			'made', (SELECT coalesce(jsonb_agg(DISTINCT new_id), '[]') FROM entry WHERE new_id IS NOT NULL),
			'rotated', (SELECT coalesce(jsonb_agg(DISTINCT new_id), '[]') FROM entry WHERE outcome = 'rotated'),
			'replaced', (SELECT coalesce(jsonb_agg(DISTINCT old_id), '[]') FROM entry
				WHERE outcome = 'rotated' AND old_id IS NOT NULL
					AND (revoke_after IS NULL OR revoke_after <= $4)),
			'kept', (SELECT coalesce(jsonb_agg(DISTINCT old_id), '[]') FROM entry
				WHERE outcome = 'rotated' AND revoke_after > $4),
			'unknown', (SELECT coalesce(jsonb_agg(DISTINCT old_id), '[]') FROM entry WHERE outcome = 'unknown'),
			'left_over', (SELECT coalesce(jsonb_agg(DISTINCT old_id), '[]') FROM entry
				WHERE outcome = 'left over' AND NOT EXISTS (SELECT FROM entry gone
					WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = entry.old_id AND gone.n > entry.n)))$query$,
		settings->>'log',
		CASE WHEN settings ? 'container_column' THEN 'AND token_container = $3' ELSE '' END)
		INTO history
		USING coalesce(token->>'owner', ''), coalesce(token->>'token_name', ''), token->>'container',
			-- GitLab's clock has whole seconds
			(settings->>'now')::timestamptz + interval '1 second';
	RETURN history;
END
$body$;

-- The tokens of that name and owner, revoked ones included, as GitLab has them; or,
-- for a token without a name, the first hundred of the owner's that are active.
CREATE FUNCTION gitlab_pat_rotate_due_namesakes(settings jsonb, token jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	namesakes jsonb;
BEGIN
	EXECUTE format('SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM (SELECT * FROM %s t WHERE %s %s %s %s) AS t',
		settings->>'tokens',
		CASE WHEN token ? 'token_name' THEN 't.name = $1->>''token_name''' ELSE 't.active' END,
		settings->>'in_container', CASE WHEN token->>'user_id' IS NOT NULL THEN settings->>'of_user' END,
		CASE WHEN NOT token ? 'token_name' THEN 'LIMIT 100' END)
		INTO namesakes USING token;
	RETURN coalesce(namesakes, '[]');
END
$body$;

-- Which of the namesakes an attempt may have created: what is new since and looks as
-- requested.  Those that are revoked count, too, for the attempt's own may be one.
CREATE FUNCTION gitlab_pat_rotate_due_candidates(history jsonb, namesakes jsonb)
RETURNS bigint[] LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT coalesce(array_agg(new.id), '{}')
	FROM jsonb_to_recordset(namesakes) AS new (id bigint, created_at timestamptz, last_used_at timestamptz,
			expires_at date, scopes jsonb)
		JOIN jsonb_to_recordset(namesakes) AS old (id bigint, scopes jsonb) ON old.id = (history->>'started')::bigint
	WHERE new.id <> ALL (string_to_array(history->>'before', ',')::bigint[])
		AND NOT history->'made' @> to_jsonb(new.id) AND NOT history->'unknown' @> to_jsonb(new.id)
		AND new.expires_at = (history->>'ending')::date
		AND new.scopes @> old.scopes AND new.scopes <@ old.scopes
		-- GitLab's clock is known to the second, and an attempt takes no longer to ask
		AND new.created_at BETWEEN (history->>'began')::timestamptz - interval '5 seconds'
			AND (history->>'began')::timestamptz + interval '2 minutes'
		-- nobody knows the secret of a lost answer
		AND (new.last_used_at > new.created_at + interval '2 minutes') IS NOT TRUE);

-- Returns what the places of a token hold, as far as GitLab shows it: "id" is the
-- token whose secret it is, by the log's fingerprint, or else by asking GitLab with
-- the secret; null if it is none that works.  The fingerprint is the beginning of the
-- secret's SHA-256; a function that made it would have the secret as a parameter.
CREATE FUNCTION gitlab_pat_rotate_due_places(settings jsonb, token jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	kind text; variables text;
	found jsonb;
	places jsonb := '[]';
BEGIN
	FOR kind, variables IN SELECT * FROM jsonb_each_text(token->'tables') LOOP
		EXECUTE format($query$
			SELECT jsonb_agg(jsonb_build_object('place', p.place, 'path', p.path,
				'found', v.key IS NOT NULL, 'hidden', v.value IS NULL,
				'fingerprint', f.fingerprint,
				'id', CASE
					WHEN f.known IS NOT NULL THEN f.known
					WHEN v.value = '' OR length(v.value) > 8192 OR v.value ~ '[^!-~]' COLLATE "C" THEN NULL
					WHEN v.value IS NOT NULL
						THEN (SELECT i.id FROM %4$s.gitlab_pat_identify($2::name, v.value) i)
				END))
			FROM (SELECT p->>%1$L AS path, p->>'variable' AS variable, p->>'scope' AS scope,
					p->>'place' AS place
				FROM jsonb_array_elements($1) p WHERE p->>%1$L IS NOT NULL) p
			LEFT JOIN %2$s v ON v.%1$I = p.path AND v.key = p.variable AND v.environment_scope = p.scope
			CROSS JOIN LATERAL (
				SELECT c.fingerprint, (SELECT l.new_id FROM %3$s l
						WHERE l.fingerprint = c.fingerprint AND l.new_id IS NOT NULL
						ORDER BY l.at DESC LIMIT 1) AS known
				FROM (SELECT left(encode(sha256(convert_to(v.value, 'UTF8')), 'hex'), 16)) c (fingerprint)) f$query$,
			kind, variables, settings->>'log', settings->>'schema')
			INTO found USING token->'places', settings->>'server';
		places := places || coalesce(found, '[]');
	END LOOP;
	RETURN places;
END
$body$;

-- Looks at a token and its places, and decides: is it due and why, which token is
-- to be replaced, what is left over.  Raises an error if that can't be known, or
-- if a place is missing.
CREATE FUNCTION gitlab_pat_rotate_due_look(settings jsonb, token jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	called text := format('"%s" of %s', token->>'token_name',
		coalesce('user "' || (token->>'owner') || '"', '"' || (token->>'container') || '"'));
	owner jsonb := token->'user';
	history jsonb; namesakes jsonb; places jsonb;
	listed jsonb;		-- the owner's active tokens, if several of them are to be looked at
	missing text;
	usable bigint[];	-- active, or expired where these are replaced
	active bigint[];
	made bigint[];		-- by this job, as far as it knows
	held bigint[];		-- by places
	left_over bigint[]; strangers bigint[]; known bigint[];
	base bigint;
	reason text;
BEGIN
	IF token->>'problem' IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = token->>'problem',
			HINT = format('Correct the row in %s.', settings->>'deliveries');
	END IF;
	IF owner IS NULL AND token->>'owner' IS NOT NULL THEN
		EXECUTE format('SELECT to_jsonb(u) FROM %s u WHERE u.username = $1', settings->>'users')
			INTO owner USING token->>'owner';
		IF owner IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'undefined_object',
				MESSAGE = format('there is no user "%s"', token->>'owner'),
				HINT = format('Correct the column "owner" in %s, or remove the row.', settings->>'deliveries');
		END IF;
	END IF;
	-- GitLab calls the tokens of such a user active, and refuses them.
	IF owner->>'state' IN ('blocked', 'ldap_blocked', 'banned', 'deactivated', 'blocked_pending_approval') THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('no token of user "%s" works, because the user is %s', token->>'owner',
				replace(owner->>'state', '_', ' ')),
			HINT = format('INSERT a token for another user, and name that user in %s.', settings->>'deliveries');
	END IF;
	token := token || jsonb_build_object('user_id', owner->'id');
	EXECUTE settings->>'history' INTO history USING settings, token;
	-- Several tokens of one owner take one list, which is asked for anew before it is
	-- ten seconds old.  It lacks what may be left of an attempt, and is not a last look.
	IF (token->>'has_neighbours')::boolean AND history->>'before' IS NULL
			AND NOT settings ? 'verify' AND NOT (settings->>'replace_expired')::boolean THEN
		listed := token->'listed';
		IF ((listed->>'at')::timestamptz > clock_timestamp() - interval '10 seconds') IS NOT TRUE THEN
			listed := jsonb_build_object('at', clock_timestamp());
			EXECUTE settings->>'namesakes' INTO namesakes USING settings, token - 'token_name';
			listed := listed || jsonb_build_object('tokens', namesakes);
		END IF;
	END IF;
	IF jsonb_array_length(listed->'tokens') < 100 THEN
		SELECT coalesce(jsonb_agg(t), '[]') INTO namesakes
			FROM jsonb_array_elements(listed->'tokens') t WHERE t->'name' = token->'token_name';
	ELSE
		EXECUTE settings->>'namesakes' INTO namesakes USING settings, token;
	END IF;
	EXECUTE settings->>'places' INTO places USING settings, token;
	SELECT string_agg(p->>'place', ', ') INTO missing
		FROM jsonb_array_elements(places) p WHERE NOT (p->>'found')::boolean;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('there is no %s', missing),
			HINT = 'INSERT the variable first; its first value does not matter.';
	END IF;

	-- A hidden place holds what the last success has put there, unless an attempt
	-- has begun since: then nobody knows.
	SELECT jsonb_agg(CASE WHEN NOT (p->>'hidden')::boolean THEN p
			ELSE p || jsonb_build_object('id', CASE WHEN history->>'before' IS NULL
				AND (history->>'delivered_to' IS NULL OR strpos(history->>'delivered_to', p->>'place') > 0)
				THEN history->'delivered' END)
			END)
		INTO places FROM jsonb_array_elements(places) p;

	SELECT coalesce(array_agg(n.id) FILTER (WHERE n.active), '{}'),
			coalesce(array_agg(n.id) FILTER (WHERE n.active
				OR ((settings->>'replace_expired')::boolean AND NOT n.revoked)), '{}')
		INTO active, usable
		FROM jsonb_to_recordset(namesakes) AS n (id bigint, active boolean, revoked boolean);
	SELECT coalesce(array_agg(DISTINCT (p->>'id')::bigint), '{}') INTO held
		FROM jsonb_array_elements(places) p WHERE (p->>'id')::bigint = ANY (usable);

	-- An attempt makes at most one token.  If the log lacks the id, it is the only one that
	-- the attempt can have made.  All else that is new and in no place was made by somebody.
	SELECT coalesce(array_agg(m::bigint), '{}') INTO made FROM jsonb_array_elements_text(history->'made') m;
	IF history->>'before' IS NOT NULL AND history->>'created' IS NULL THEN
		EXECUTE settings->>'candidates' INTO known USING history, namesakes;
		IF cardinality(known) = 1 THEN
			made := made || known;
		END IF;
		SELECT array_agg(id) INTO strangers FROM unnest(active) id
			WHERE id <> ALL (string_to_array(history->>'before', ',')::bigint[] || made || held)
				AND NOT history->'unknown' @> to_jsonb(id);
	END IF;
	SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO left_over FROM unnest(active) id
		WHERE id <> ALL (held) AND NOT history->'kept' @> to_jsonb(id)
			AND ((id = ANY (made) AND id IS DISTINCT FROM (history->>'delivered')::bigint)
				OR history->'replaced' @> to_jsonb(id) OR history->'left_over' @> to_jsonb(id));

	-- The token to be replaced is the one that a place holds; or else the last one
	-- that was delivered, or was to be replaced; or else the only one of that name.
	SELECT n.id INTO base
		FROM jsonb_to_recordset(namesakes) AS n (id bigint, expires_at date)
		WHERE n.id = ANY (held) ORDER BY n.expires_at, n.id LIMIT 1;
	IF base IS NULL AND (history->>'delivered')::bigint = ANY (usable) THEN
		base := history->>'delivered';
	ELSIF base IS NULL AND (history->>'started')::bigint = ANY (usable) THEN
		base := history->>'started';
	ELSIF base IS NULL THEN
		SELECT array_agg(id ORDER BY id) INTO known FROM unnest(usable) id WHERE id <> ALL (left_over);
		IF cardinality(known) > 1 THEN
			RAISE EXCEPTION USING ERRCODE = 'ambiguous_parameter',
				MESSAGE = format('there are several active tokens %s: %s', called, array_to_string(known, ', ')),
				DETAIL = 'No place holds one of them, and the log knows none.',
				HINT = 'Write the secret of the right one into a place, or DELETE the others.';
		END IF;
		-- where no other token of that name is left, one that an attempt has created can be rotated
		base := coalesce(known[1], left_over[cardinality(left_over)]);
		IF base IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'undefined_object',
				MESSAGE = format('there is no active token %s', called),
				HINT = 'INSERT one; the next run delivers it.';
		END IF;
	END IF;

	SELECT format('%s holds no secret of an active token of that name', p->>'place') INTO reason
		FROM jsonb_array_elements(places) p
		WHERE ((p->>'id')::bigint = ANY (active)) IS NOT TRUE LIMIT 1;
	IF reason IS NULL THEN
		SELECT format('token %s ends on %s', n.id, n.expires_at) INTO reason
			FROM jsonb_to_recordset(namesakes) AS n (id bigint, expires_at date)
			WHERE n.id = ANY (held) AND n.expires_at - (settings->>'today')::date <= (token->>'days')::numeric
			LIMIT 1;
	END IF;

	RETURN jsonb_build_object('called', called, 'user', owner, 'history', history,
		'listed', listed, 'active', active, 'base', base, 'reason', reason,
		'places', places,
		'granular', (SELECT n->'granular' FROM jsonb_array_elements(namesakes) n WHERE n->'id' = to_jsonb(base)),
		'uncertain', EXISTS (SELECT FROM jsonb_array_elements(places) p
			WHERE (p->>'hidden')::boolean AND p->>'id' IS NULL),
		'left_over', array_remove(left_over, base),
		'in_use', (SELECT coalesce(jsonb_agg(id), '[]') FROM unnest(held) id
			WHERE history->'left_over' @> to_jsonb(id)),
		'strangers', coalesce(strangers, '{}'),
		-- new tokens of attempts that ended after the variables were written, and before the local commit
		'won', (SELECT coalesce(jsonb_agg(DISTINCT p->'id'), '[]') FROM jsonb_array_elements(places) p
			WHERE history->>'before' IS NOT NULL AND NOT history->'rotated' @> (p->'id')
				AND (p->>'id')::bigint = ANY (active)
				AND (p->>'id')::bigint <> ALL (string_to_array(history->>'before', ',')::bigint[])),
		'foreign', (SELECT coalesce(jsonb_agg(p->'id'), '[]') FROM jsonb_array_elements(places) p
			WHERE p->>'id' IS NOT NULL AND NOT EXISTS (
				SELECT FROM jsonb_array_elements(namesakes) n WHERE n->'id' = p->'id')));
END
$body$;

-- Creates the new token, tries its secret, queues its delivery, and notes that, all
-- in one statement: so the secret goes from column to column.  Returns the new id.  In
-- a dry run, PostgreSQL only explains the statement, and refuses what it would refuse.
CREATE FUNCTION gitlab_pat_rotate_due_replace(settings jsonb, token jsonb, seen jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	written text := '';
	counted text := '0';
	kind text; variables text;
	revoke_after timestamptz;
	result text;
BEGIN
	IF (token->>'keep_old')::interval > interval '0' THEN
		revoke_after := (settings->>'now')::timestamptz + (token->>'keep_old')::interval;
	END IF;
	-- "keep_old" decides about the old token, and not what the session or the role has set
	PERFORM set_config('gitlab_pat_fdw.keep_replaced', CASE WHEN revoke_after IS NULL THEN 'off' ELSE 'on' END, true);
	FOR kind, variables IN SELECT * FROM jsonb_each_text(token->'tables') LOOP
		written := written || format($query$,
			in_%1$s AS (
				UPDATE %2$s v SET value = tried.token
				FROM tried, (SELECT p->>%1$L AS path, p->>'variable' AS variable, p->>'scope' AS scope
					FROM jsonb_array_elements($4) p WHERE p->>%1$L IS NOT NULL) p
				WHERE v.%1$I = p.path AND v.key = p.variable AND v.environment_scope = p.scope
				RETURNING 1)$query$, kind, variables);
		counted := counted || format(' + (SELECT count(*) FROM in_%s)', kind);
	END LOOP;
	EXECUTE CASE WHEN (settings->>'dry_run')::boolean THEN 'EXPLAIN ' ELSE '' END || format($query$
		WITH new AS (
			UPDATE %1$s t SET expires_at = $3 WHERE t.id = $2 %2$s RETURNING t.id, t.token),
		tried AS (
			SELECT i.id, new.token FROM new, %8$s.gitlab_pat_identify($5::name, new.token) i
			-- an odd answer to a native rotation may have no id
			WHERE i.active AND (i.id = new.id OR new.id IS NULL))
		%3$s
		INSERT INTO %4$s (at, owner, token_name, old_id, new_id, outcome, message, fingerprint, revoke_after%5$s)
		SELECT clock_timestamp(), coalesce($1->>'owner', ''), $1->>'token_name', $2, tried.id, 'rotated', $6,
			left(encode(sha256(convert_to(tried.token, 'UTF8')), 'hex'), 16), $7%6$s
		FROM tried WHERE %7$s = jsonb_array_length($4)
		RETURNING new_id$query$,
		settings->>'tokens', concat(settings->>'in_container', CASE WHEN token->>'user_id' IS NOT NULL THEN settings->>'also_of_user' END),
		written, settings->>'log', CASE WHEN settings ? 'container_column' THEN ', token_container' END,
		CASE WHEN settings ? 'container_column' THEN ', $1->>''container''' END, counted, settings->>'schema')
		INTO result
		USING token, (seen->>'base')::bigint, (settings->>'today')::date + (token->>'lifetime')::integer,
			token->'places', settings->>'server',
			(SELECT 'delivered to ' || string_agg(p->>'place', ', ') FROM jsonb_array_elements(token->'places') p),
			revoke_after;
	IF result IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('could not deliver the new token in place of %s', seen->>'base'),
			DETAIL = 'GitLab does not know the new secret as that of an active token, or a variable no longer exists.',
			HINT = 'The next run tries again.';
	END IF;
	RETURN CASE WHEN NOT (settings->>'dry_run')::boolean THEN result::bigint END;
END
$body$;

-- Raises an error if a rotation would certainly be refused, as far as that can be
-- known without one.
CREATE FUNCTION gitlab_pat_rotate_due_refuse(settings jsonb, token jsonb, seen jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	self jsonb := settings->'self';
	native boolean := settings->>'native';
	problem text;
BEGIN
	IF seen->>'base' = settings->>'self_id' THEN
		RAISE EXCEPTION USING ERRCODE = 'object_in_use',
			MESSAGE = format('token %s is the API token of server "%s"', seen->>'base', settings->>'server'),
			HINT = 'Rotate it with CALL gitlab_pat_rotate_self().';
	ELSIF NOT native AND (seen->>'granular')::boolean THEN
		RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
			MESSAGE = format('token %s cannot be replaced by a new one', seen->>'base'),
			DETAIL = 'It is a fine-grained token, whose permissions cannot be given to a new one.',
			HINT = format('Set the option "rotation" of %s to "native".', settings->>'tokens');
	ELSIF NOT (settings->>'dry_run')::boolean THEN
		RETURN;
	ELSIF NOT self->'scopes' ?| '{api,granular}' THEN
		problem := 'lacks the scope "api"';
	ELSIF NOT native AND NOT settings ? 'container_column' AND NOT (self->>'sees_all_tokens')::boolean THEN
		problem := 'is not that of an administrator, who alone can create tokens for users';
	END IF;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('the API token of server "%s" %s', settings->>'server', problem),
			HINT = CASE WHEN settings ? 'container_column' OR native THEN 'Put a token with this scope into the user mapping.'
				ELSE 'Put an administrator''s token with the scope "api" into the user mapping, and with "admin_mode" where GitLab''s Admin Mode is on.' END;
	END IF;
	EXECUTE settings->>'replace' USING settings, token, seen;
END
$body$;

-- Writes each readable place with the value that it holds, so that GitLab refuses
-- before a native rotation, which cannot be undone, and not after it.
CREATE FUNCTION gitlab_pat_rotate_due_rehearse(settings jsonb, token jsonb, seen jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	kind text; variables text;
BEGIN
	FOR kind, variables IN SELECT * FROM jsonb_each_text(token->'tables') LOOP
		EXECUTE format($query$
			UPDATE %2$s v SET value = v.value
			FROM (SELECT p->>%1$L AS path, p->>'variable' AS variable, p->>'scope' AS scope
				FROM jsonb_array_elements($1) p WHERE p->>%1$L IS NOT NULL) p
			WHERE v.%1$I = p.path AND v.key = p.variable AND v.environment_scope = p.scope
				AND v.value IS NOT NULL$query$, kind, variables)
			USING token->'places';
	END LOOP;
END
$body$;

-- Revokes what is left over.
CREATE FUNCTION gitlab_pat_rotate_due_revoke(settings jsonb, token jsonb, id jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
BEGIN
	EXECUTE format('DELETE FROM %s t WHERE t.id = $2 %s %s', settings->>'tokens', settings->>'in_container',
		CASE WHEN token->>'user_id' IS NOT NULL THEN settings->>'also_of_user' END)
		USING token, id::bigint;
	EXECUTE settings->>'note' USING token, id::bigint, NULL::bigint, 'revoked', 'it was left over', NULL::text;
END
$body$;

-- Runs a part that changes GitLab, and commits.  Returns the "problem", if there is one;
-- the token that was made, and whether one may have been made all the same; and how
-- many requests the commit has sent, and how many of these have failed.
CREATE PROCEDURE gitlab_pat_rotate_due_try(settings jsonb, part text, token jsonb, seen jsonb, INOUT tried jsonb)
LANGUAGE plpgsql AS $body$
DECLARE
	requests bigint; errors bigint; requests_before bigint; errors_before bigint;
	state text; message text; detail text; hint text;
	new_id bigint; in_doubt boolean;
	problem text;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	BEGIN
		EXECUTE settings->>part USING settings, token, seen;
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		EXECUTE settings->>'words' INTO problem USING state, message, detail, hint;
	END;
	EXECUTE settings->>'made' INTO new_id, in_doubt;
	EXECUTE settings->>'requests' INTO requests_before, errors_before;
	PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
	CALL gitlab_pat_try_commit(state, message, detail, hint);
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	EXECUTE settings->>'requests' INTO requests, errors;
	IF problem IS NULL AND state IS NOT NULL THEN
		EXECUTE settings->>'words' INTO problem USING state, message, detail, hint;
	END IF;
	tried := jsonb_build_object('problem', problem, 'new_id', new_id, 'in_doubt', in_doubt,
		'requests', requests - requests_before, 'errors', errors - errors_before);
END
$body$;

-- Brings the log up to date with what was seen: attempts that have ended, tokens
-- that are left over, and those of them that are gone.
CREATE FUNCTION gitlab_pat_rotate_due_settle(settings jsonb, token jsonb, seen jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	id bigint;
	remedy text;
BEGIN
	FOR id IN SELECT jsonb_array_elements_text(seen->'won')::bigint LOOP
		EXECUTE settings->>'note'
			USING token, (seen#>>'{history,started}')::bigint, id, 'rotated',
				(SELECT 'found in ' || string_agg(p->>'place', ', ')
					FROM jsonb_array_elements(seen->'places') p WHERE (p->>'id')::bigint = id),
				(SELECT min(p->>'fingerprint')
					FROM jsonb_array_elements(seen->'places') p WHERE (p->>'id')::bigint = id);
	END LOOP;
	-- While nobody knows what a hidden place holds, the attempt may have written it.
	IF seen#>>'{history,before}' IS NOT NULL AND jsonb_array_length(seen->'won') = 0
			AND NOT (seen->>'uncertain')::boolean THEN
		EXECUTE settings->>'note' USING token, (seen#>>'{history,started}')::bigint, NULL::bigint,
			'settled', 'an earlier attempt has not delivered a token', NULL::text;
	END IF;
	FOR id IN SELECT jsonb_array_elements_text(seen->'left_over')::bigint LOOP
		CONTINUE WHEN seen#>'{history,left_over}' @> to_jsonb(id);
		EXECUTE settings->>'remedy' INTO remedy USING settings, token, id;
		EXECUTE settings->>'note' USING token, id, NULL::bigint, 'left over',
			'the next run revokes it, or you do: ' || remedy, NULL::text;
	END LOOP;
	FOR id IN SELECT jsonb_array_elements_text(seen#>'{history,left_over}')::bigint LOOP
		CONTINUE WHEN seen->'active' @> to_jsonb(id);
		EXECUTE settings->>'note' USING token, id, NULL::bigint, 'revoked', 'it no longer works', NULL::text;
	END LOOP;
	FOR id IN SELECT jsonb_array_elements_text(seen->'in_use')::bigint LOOP
		EXECUTE settings->>'note' USING token, id, NULL::bigint, 'in use',
			'a place holds it, so it is not left over', NULL::text;
	END LOOP;
	FOR id IN SELECT jsonb_array_elements_text(seen->'strangers')::bigint LOOP
		EXECUTE settings->>'remedy' INTO remedy USING settings, token, id;
		EXECUTE settings->>'note' USING token, id, NULL::bigint, 'unknown',
			'somebody has created it since an attempt was interrupted, or else the attempt has; if it is not needed: ' || remedy, NULL::text;
		RAISE WARNING USING ERRCODE = settings->>'stranger', MESSAGE = format('could not tell who has created token %s, %s', id, seen->>'called'),
			DETAIL = 'The token is newer than an interrupted attempt, and no place holds it.  It differs from what the attempt requested, or somebody uses it, or several tokens look as requested.',
			HINT = format('If it is not needed: %s;', remedy);
	END LOOP;
END
$body$;

-- Rotates a token, after it was seen to be due, and commits.  Returns the new id,
-- or why there is none; and whether all of the commit's requests went well.
CREATE PROCEDURE gitlab_pat_rotate_due_rotate(settings jsonb, token jsonb, seen jsonb,
	INOUT new_id bigint, INOUT problem text, INOUT smooth boolean)
LANGUAGE plpgsql AS $body$
DECLARE
	base bigint;
	ending date;
	began timestamptz;
	part text; tried jsonb;
	state text; message text;
	namesakes jsonb;
	candidates bigint[];
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	base := seen->>'base';
	ending := (settings->>'today')::date + (token->>'lifetime')::integer;
	began := (settings->>'now')::timestamptz + (clock_timestamp() - (settings->>'began')::timestamptz);
	IF (settings->>'native')::boolean THEN
		part := 'rehearse';
		PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
		CALL gitlab_pat_rotate_due_try(settings, part, token, seen, tried);
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		problem := tried->>'problem';
		IF problem IS NOT NULL THEN
			EXECUTE settings->>'note' USING token, base, NULL::bigint, 'failed', problem, NULL::text;
			COMMIT;
			PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
			RETURN;
		END IF;
	END IF;

	-- A later run that finds no end of this looks for what is new since.
	EXECUTE settings->>'note' USING token, base, NULL::bigint, 'started',
		format('%s; by GitLab''s clock, this began at %s, and a new token ends on %s; active tokens of that name: %s',
			seen->>'reason', to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS+00'), to_char(ending, 'YYYY-MM-DD'),
			(SELECT string_agg(a, ',') FROM jsonb_array_elements_text(seen->'active') a)), NULL::text;
	COMMIT;
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	-- the commit writes the variables; after a failure it revokes the new token
	part := 'replace';
	PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
	CALL gitlab_pat_rotate_due_try(settings, part, token, seen, tried);
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	problem := tried->>'problem';
	new_id := tried->>'new_id';
	IF problem IS NULL THEN
		-- a write for each place, and the revocation of the old token
		smooth := tried->>'errors' = '0' AND (tried->>'requests')::bigint >= jsonb_array_length(token->'places')
			+ CASE WHEN (settings->>'native')::boolean OR (token->>'keep_old')::interval > interval '0' THEN 0 ELSE 1 END;
		IF seen#>'{history,left_over}' @> to_jsonb(base) THEN
			EXECUTE settings->>'note' USING token, base, NULL::bigint, 'revoked', 'it was replaced', NULL::text;
		END IF;
		RETURN;
	END IF;

	-- What the attempt has created may have been left over.  After a lost answer it is the
	-- only token that the attempt can have created, if that is there already.
	IF new_id IS NOT NULL OR (tried->>'in_doubt')::boolean THEN
		BEGIN
			EXECUTE settings->>'namesakes' INTO namesakes USING settings, token;
			IF new_id IS NULL THEN
				EXECUTE settings->>'candidates' INTO candidates
					USING seen->'history' || jsonb_build_object('started', base, 'began', began, 'ending', ending,
						'before', (SELECT coalesce(string_agg(a, ','), '') FROM jsonb_array_elements_text(seen->'active') a)),
						namesakes;
				new_id := CASE WHEN cardinality(candidates) = 1 THEN candidates[1] END;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
			EXECUTE settings->>'words' INTO message USING state, message, ''::text, ''::text;
		END;
	ELSE
		EXECUTE settings->>'note' USING token, base, NULL::bigint, 'settled', 'the attempt has created no token', NULL::text;
	END IF;
	EXECUTE settings->>'note' USING token, base, new_id, 'failed', problem, NULL::text;
	IF EXISTS (SELECT FROM jsonb_to_recordset(namesakes) AS n (id bigint, active boolean) WHERE n.active AND n.id = new_id) THEN
		EXECUTE settings->>'remedy' INTO message USING settings, token, new_id;
		EXECUTE settings->>'note' USING token, new_id, new_id, 'left over',
			'the next run revokes it, or you do: ' || message, NULL::text;
	END IF;
	COMMIT;
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$body$;

-- Checks and rotates one token, and commits; with "verify", only looks once more whether every
-- place holds what it should.  Returns what came of it: "rotated", "due",
-- "failed" with "problem", or "well"; the user; the ids that its places hold; "listed",
-- what was asked for that is good for the owner's next token; and, of a rotation,
-- whether it went smoothly, and which ids it has ended or overwritten.
CREATE PROCEDURE gitlab_pat_rotate_due_one(settings jsonb, token jsonb, INOUT result jsonb)
LANGUAGE plpgsql AS $body$
DECLARE
	dry_run boolean;
	called text;
	seen jsonb;
	part text := 'revoke'; tried jsonb;
	id jsonb; new_id bigint;
	problem text;
	smooth boolean;
	state text; message text; detail text; hint text;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	dry_run := settings->>'dry_run';
	called := format('"%s" of "%s"', token->>'token_name', coalesce(token->>'owner', token->>'container'));
	result := jsonb_build_object('outcome', 'well');
	FOR look IN 1 .. 2 LOOP
		BEGIN
			EXECUTE settings->>'look' INTO seen USING settings, token;
			token := token || jsonb_build_object('user_id', seen->'user'->'id');
			IF seen->>'reason' IS NOT NULL OR dry_run THEN
				EXECUTE settings->>'refuse' USING settings, token, seen;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
				detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			EXECUTE settings->>'words' INTO problem USING state, message, detail, hint;
		END;
		EXIT WHEN problem IS NOT NULL OR dry_run;
		EXECUTE settings->>'settle' USING settings, token, seen;
		COMMIT;
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		-- what a place was found to hold changes what is left over
		EXIT WHEN jsonb_array_length(seen->'won') = 0;
	END LOOP;
	token := token - 'listed';
	result := result || jsonb_build_object('user', seen->'user', 'listed', seen->'listed',
		'holds', (SELECT jsonb_agg(p->'id') FROM jsonb_array_elements(seen->'places') p));
	IF problem IS NULL AND settings ? 'verify' THEN
		problem := seen->>'reason' || ', although it was just delivered to'
			|| ' HINT: Check whether another row names the same place or token, by number or by path.';
	END IF;
	IF problem IS NOT NULL THEN
		EXECUTE settings->>'note' USING token, (seen->>'base')::bigint, NULL::bigint, 'failed', problem, NULL::text;
	ELSIF dry_run AND seen->>'reason' IS NOT NULL THEN
		result := result || '{"outcome": "due"}';
		EXECUTE settings->>'note' USING token, (seen->>'base')::bigint, NULL::bigint, 'due', seen->>'reason', NULL::text;
		RAISE NOTICE USING MESSAGE = format('token %s, %s, is due', seen->>'base', called),
			DETAIL = seen->>'reason';
	ELSIF seen->>'reason' IS NULL AND (seen#>>'{history,failing}')::boolean THEN
		EXECUTE settings->>'note' USING token, (seen->>'base')::bigint, NULL::bigint, 'well',
			'every place holds what it should', NULL::text;
	END IF;
	IF problem IS NULL AND NOT dry_run AND NOT settings ? 'verify' THEN
		-- While nobody knows what a place holds, it may be what is left over.
		IF NOT (seen->>'uncertain')::boolean THEN
			FOR id IN SELECT jsonb_array_elements(seen->'left_over') LOOP
				PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
				CALL gitlab_pat_rotate_due_try(settings, part, token, id, tried);
				PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
				IF tried->>'problem' IS NOT NULL THEN
					RAISE WARNING USING ERRCODE = settings->>'left_over', DETAIL = tried->>'problem',
						MESSAGE = format('could not revoke token %s, which is left over', id);
				END IF;
			END LOOP;
		END IF;
		IF seen->>'reason' IS NOT NULL THEN
			PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
			CALL gitlab_pat_rotate_due_rotate(settings, token, seen, new_id, problem, smooth);
			PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
			IF problem IS NULL THEN
				result := result || jsonb_build_object('outcome', 'rotated', 'smooth', smooth,
					'holds', jsonb_build_array(new_id), 'ended', (seen->'foreign') || (seen->'base'));
				RAISE NOTICE USING MESSAGE = format('token %s, %s, was rotated to %s and delivered',
					seen->>'base', called, new_id);
			END IF;
		END IF;
	END IF;
	IF problem IS NOT NULL THEN
		result := result || jsonb_build_object('outcome', 'failed', 'problem', called || ': ' || problem);
		RAISE WARNING USING ERRCODE = settings->>'failed', MESSAGE = format('could not rotate or check token %s', called), DETAIL = problem;
	END IF;
	COMMIT;
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$body$;

-- Names what the log knows as left over of tokens that no row names any more, with
-- overlaps that have ended.  They are not revoked, since nobody can say any more
-- which places may hold them.
CREATE FUNCTION gitlab_pat_rotate_due_retired(settings jsonb, tokens jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $body$
DECLARE
	left_over record;
	remedy text;
	works boolean;
	state text; message text; detail text; hint text;
BEGIN
	FOR left_over IN EXECUTE format($query$
		WITH entry AS (SELECT to_jsonb(l)->>'token_container' AS container, * FROM %1$s l)
		SELECT DISTINCT ON (l.old_id) l.old_id AS id, l.owner, l.token_name, l.container, l.outcome
		FROM entry l
		WHERE l.old_id IS NOT NULL AND (l.outcome = 'left over' OR (l.outcome = 'rotated' AND l.revoke_after <= $2))
			AND NOT EXISTS (SELECT FROM %1$s gone
				WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = l.old_id AND gone.at > l.at)
			AND NOT EXISTS (SELECT FROM jsonb_array_elements($1) t
				WHERE coalesce(t->>'owner', '') = l.owner AND coalesce(t->>'token_name', '') = l.token_name
					AND coalesce(t->>'container', '') = coalesce(l.container, ''))
		ORDER BY l.old_id, l.outcome = 'left over' DESC$query$, settings->>'log')
		USING tokens, (settings->>'now')::timestamptz + interval '1 second'
	LOOP
		BEGIN
			-- what is not in a project or group any more may be in another one
			EXECUTE settings->>'remedy' INTO remedy USING settings, to_jsonb(left_over), left_over.id;
			EXECUTE replace(remedy, 'DELETE FROM', 'SELECT coalesce(bool_or(active), $2 IS NOT NULL) FROM') || ' AND name = $1'
				INTO works USING left_over.token_name, left_over.container;
			IF NOT works THEN
				EXECUTE settings->>'note'
					USING to_jsonb(left_over), left_over.id, NULL::bigint, 'revoked', 'it no longer works', NULL::text;
				CONTINUE;
			END IF;
			IF left_over.outcome <> 'left over' THEN
				EXECUTE settings->>'note' USING to_jsonb(left_over), left_over.id, NULL::bigint, 'left over',
					'no row names the token any more; if nothing uses it: ' || remedy, NULL::text;
			END IF;
			RAISE WARNING USING ERRCODE = settings->>'left_over',
				MESSAGE = format('token %s, "%s" of "%s", is left over, and no row names it any more', left_over.id,
					left_over.token_name, coalesce(nullif(left_over.owner, ''), left_over.container)),
				DETAIL = format('Without a row in %s, the job does not know which variables may hold it, and leaves it alone.',
					settings->>'deliveries'),
				HINT = format('If nothing uses it: %s;', remedy);
		EXCEPTION WHEN OTHERS THEN
			-- it stays in the log, for the next run
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
				detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			EXECUTE settings->>'words' INTO message USING state, message, detail, hint;
			RAISE WARNING USING ERRCODE = settings->>'left_over',
				MESSAGE = format('could not look at token %s, which is left over', left_over.id), DETAIL = message;
		END;
	END LOOP;
END
$body$;

-- Runs the job: sees to one token after the other, and then looks once more at those
-- whose places a later rotation or a failed request may have changed.
CREATE PROCEDURE gitlab_pat_rotate_due_run(settings jsonb,
	INOUT rotated integer, INOUT failed integer, INOUT left_over integer)
LANGUAGE plpgsql AS $body$
DECLARE
	tokens jsonb;
	token jsonb;
	users jsonb := '{}';
	result jsonb;
	results jsonb[] := '{}';
	self jsonb;
	first_problem text;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	EXECUTE format('SELECT %s.gitlab_pat_rotate_due_begin()', settings->>'schema');

	-- the statements that call the other parts
	settings := settings || (SELECT jsonb_object_agg(part, format('SELECT %s.gitlab_pat_rotate_due_%s(%s)',
			settings->>'schema', part, left('$1, $2, $3, $4', 4 * arguments - 2)))
		FROM unnest('{candidates,history,look,namesakes,places,refuse,rehearse,remedy,replace,retired,revoke,settle,words}'::text[],
			'{2,2,2,2,2,3,3,3,3,2,3,3,4}'::integer[]) AS p (part, arguments));
	settings := settings || jsonb_build_object(
		'began', clock_timestamp(),
		'today', ((settings->>'now')::timestamptz AT TIME ZONE 'UTC')::date,
		'call_path', format('pg_catalog, %s, pg_temp', settings->>'schema'),
		'container_number', format('SELECT %s.gitlab_pat_rotate_due_container($1::name, $2, $3)', settings->>'schema'),
		-- conditions on a token t of $1: the first two for a list, the first and the last for
		-- one that $2 names
		'in_container', ' AND t.' || (settings->>'container_column') || ' = $1->>''container''',
		'of_user', ' AND t.user_id = ($1->>''user_id'')::bigint',
		'also_of_user', CASE WHEN settings ? 'container_column' OR (settings->>'user_in_key')::boolean
			THEN ' AND t.user_id = ($1->>''user_id'')::bigint' END,
		'made', format('SELECT * FROM %s.gitlab_pat_rotate_due_made()', settings->>'schema'),
		'requests', format('SELECT coalesce(sum(requests), 0), coalesce(sum(errors), 0) FROM %s.gitlab_pat_requests()', settings->>'schema'),
		-- a row of the log: of $1, a token; old_id, new_id, outcome, message and fingerprint
		'note', format('INSERT INTO %s (at, owner, token_name, old_id, new_id, outcome, message, fingerprint%s)
			VALUES (clock_timestamp(), coalesce($1->>''owner'', ''''), coalesce($1->>''token_name'', ''''), $2, $3, $4, $5, $6%s)',
			settings->>'log',
			CASE WHEN settings ? 'container_column' THEN ', token_container' ELSE '' END,
			CASE WHEN settings ? 'container_column' THEN ', $1->>''container''' ELSE '' END));

	EXECUTE format('SELECT %s.gitlab_pat_rotate_due_tokens($1)', settings->>'schema') INTO tokens USING settings;
	IF (settings->>'dry_run')::boolean AND settings->>'self_id' <> '0' THEN
		EXECUTE format('SELECT to_jsonb(s) FROM %s.gitlab_pat_self($1::name) s', settings->>'schema')
			INTO self USING settings->>'server';
		settings := settings || jsonb_build_object('self', self);
	END IF;
	FOR i IN 0 .. jsonb_array_length(tokens) - 1 LOOP
		token := tokens->i;
		IF users ? (token->>'owner') THEN
			token := token || jsonb_build_object('user', users->(token->>'owner'));
		END IF;
		IF token->'owner' = tokens->(i - 1)->'owner' AND token->'container' = tokens->(i - 1)->'container' THEN
			token := token || jsonb_build_object('listed', result->'listed');
		END IF;
		PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
		CALL gitlab_pat_rotate_due_one(settings, token, result);
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		results[i] := result - 'listed';
		first_problem := coalesce(first_problem, result->>'problem');
		-- each owner is asked for once
		IF jsonb_typeof(result->'user') = 'object' THEN
			users := users || jsonb_build_object(token->>'owner', result->'user');
		END IF;
	END LOOP;

	FOR i IN 0 .. jsonb_array_length(tokens) - 1 LOOP
		token := tokens->i;
		CONTINUE WHEN results[i]->>'outcome' NOT IN ('well', 'rotated');
		CONTINUE WHEN results[i]->>'smooth' IS DISTINCT FROM 'false'
			AND NOT EXISTS (SELECT FROM generate_subscripts(results, 1) j, jsonb_array_elements(results[j]->'ended') e
				WHERE j <> i AND results[i]->'holds' @> e);
		settings := settings || '{"verify": true}';
		PERFORM pg_catalog.set_config('search_path', settings->>'call_path', true);
		CALL gitlab_pat_rotate_due_one(settings, token, result);
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		first_problem := coalesce(first_problem, result->>'problem');
		IF result->>'outcome' = 'failed' THEN
			results[i] := result;
		END IF;
	END LOOP;
	IF NOT (settings->>'dry_run')::boolean THEN
		EXECUTE settings->>'retired' USING settings, tokens;
		COMMIT;
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	END IF;

	SELECT count(*) FILTER (WHERE r->>'outcome' IN ('rotated', 'due')), count(*) FILTER (WHERE r->>'outcome' = 'failed')
		INTO rotated, failed FROM unnest(results) r;
	EXECUTE format($query$
		SELECT count(DISTINCT old_id) FROM %1$s l WHERE outcome = 'left over' AND NOT EXISTS (
			SELECT FROM %1$s gone WHERE gone.outcome IN ('revoked', 'in use') AND gone.old_id = l.old_id
				AND gone.at > l.at)$query$, settings->>'log') INTO left_over;
	IF failed > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'fdw_error',
			MESSAGE = format('%s of %s access tokens could not be rotated or checked',
				failed, cardinality(results)),
			DETAIL = format('The first failure: %s', first_problem)
				|| CASE WHEN left_over > 0 THEN format(' Tokens left over: %s.', left_over) ELSE '' END,
			HINT = format('See the log, %s, for all failures.  All other tokens are as they should be.', settings->>'log');
	END IF;
	-- gives the search path back to the caller
	COMMIT;
END
$body$;

DO $body$
DECLARE
	part regprocedure;
BEGIN
	FOR part IN SELECT oid FROM pg_proc
		WHERE proname ~ '^gitlab_pat_rotate_due_' AND pronamespace = current_schema()::regnamespace
	LOOP
		EXECUTE format('COMMENT ON ROUTINE %s IS %L', part, 'part of gitlab_pat_rotate_due(), and not for calling');
	END LOOP;
END
$body$;

-- The OUT parameters have defaults, so that CALL can leave them out.  What is new
-- comes after what 1.1 had, whose calls by position thus keep their meaning.
CREATE PROCEDURE gitlab_pat_rotate_due(
	deliveries regclass,
	log regclass DEFAULT NULL,
	lifetime integer DEFAULT 90,
	dry_run boolean DEFAULT false,
	tokens regclass DEFAULT NULL,
	users regclass DEFAULT NULL,
	variables regclass DEFAULT NULL,
	INOUT rotated integer DEFAULT NULL,
	INOUT failed integer DEFAULT NULL,
	INOUT left_over integer DEFAULT NULL,
	keep_old interval DEFAULT NULL,
	group_variables regclass DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'gitlab_pat_rotate_due_1_2';

COMMENT ON PROCEDURE gitlab_pat_rotate_due(regclass, regclass, integer, boolean,
	regclass, regclass, regclass, integer, integer, integer, interval, regclass)
IS 'rotates the tokens that are due by a table of deliveries, and delivers them into CI/CD variables';
