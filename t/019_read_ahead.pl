
# UPDATE with joins or AFTER ROW triggers reads its rows to the end, and replaces the
# tokens several at a time: with few requests, and with all promises of statements that
# go row by row.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => q{max_retries '0', concurrency '4'});
my $later = 'current_date + 90';
my $joined = "UPDATE tokens t SET expires_at = $later FROM due WHERE t.id = due.token_id";

create_tables($node, 'joins');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE joins.due (token_id bigint, place text);
	CREATE TABLE joins.kept (id bigint, token text);
	CREATE FUNCTION joins.keep() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO joins.kept VALUES (NEW.id, NEW.token);
		RETURN NEW;
	END $$;
	CREATE SEQUENCE joins.days START 90;});
my $session = open_session($node, 'joins', verbosity => 'verbose');

said($session, 'SET gitlab_pat_fdw.max_changes = 1000');
test_requests();
test_rows();
test_limit();
test_refusals();
test_failures();
test_interrupts();
test_triggers();
test_native();
test_other_parts();
test_rereading();
test_spill();
$session->close;
done_testing();

# --- helpers ------------------------------------------------------------------

# Tokens of some owners, all of which are due.
sub seed
{
	my @owners = $sim->seed(@_);
	my @ids = map { $_->{id} } grep { $_->{name} =~ /^seed/ } $sim->tokens;

	said($session, 'TRUNCATE due; INSERT INTO due SELECT id, $$place $$ || id FROM unnest($${' . join(',', @ids) . '}$$::bigint[]) id; ANALYZE due');
	$sim->clear_journal;
	return @owners;
}

sub seeds { return $sim->seeds }
sub posts { return $sim->count(method => 'POST', path => '/api/v4') }

# --- tests --------------------------------------------------------------------

sub test_requests
{
	seed(20, 200);
	my $said = said(
		$session, qq{
		WITH new AS ($joined RETURNING t.id, t.user_id, t.token, due.place)
		SELECT count(*), count(DISTINCT id), count(DISTINCT token), count(DISTINCT user_id),
			count(DISTINCT place), min(length(token)) > 8 FROM new});
	my $requests = $sim->count(path => '/api/v4');

	is($said, '200|200|200|20|200|t', 'RETURNING of a join has each of 200 new tokens once, with its secret');
	is(seeds(), '200 active, 200 revoked', 'an UPDATE with a join replaces each of 200 tokens once');
	is(posts(), 200, 'an UPDATE with a join replaces 200 tokens by 200 creations');
	is($sim->count(path => '/users/\d+/impersonation_tokens'),
		20, 'an UPDATE with a join asks for the kind of 200 tokens of 20 owners once an owner');
	cmp_ok($requests, '<=', 440, 'rotating 200 tokens of 20 owners by a join takes at most 2.2 requests a token');
	note("$requests requests");

	# few of many are looked up again
	seed(2, 300);
	said($session, 'DELETE FROM due WHERE ctid > (SELECT ctid FROM due ORDER BY ctid OFFSET 1 LIMIT 1)');
	is(said($session, "SET enable_nestloop = off; WITH new AS ($joined RETURNING t.id) SELECT count(*) FROM new; RESET enable_nestloop"),
		2, 'an UPDATE with a join replaces the two tokens of a long list that are due');
	is($sim->count(path => '/personal_access_tokens/\d+$', method => 'GET'), 2, 'two tokens of a long list are read again by themselves');
	is(seeds(), '300 active, 2 revoked', 'an UPDATE with a join leaves the tokens alone that are not due');
	return;
}

sub test_rows
{
	seed(3, 6);
	is(
		said(
			$session, q{
			WITH new AS (UPDATE tokens t SET expires_at = current_date + nextval('days')::int FROM due
				WHERE t.id = due.token_id RETURNING expires_at - current_date AS days, due.place = 'place ' || due.token_id AS fits)
			SELECT string_agg(days::text, ' ' ORDER BY days), bool_and(fits) FROM new;
			SELECT nextval('days')}),
		"90 91 92 93 94 95|t\n96",
		'an UPDATE with a join computes SET once for each row');
	seed(2, 3);
	said($session, 'INSERT INTO due SELECT * FROM due');
	is(said($session, "WITH new AS ($joined RETURNING t.id, t.token) SELECT count(*), count(DISTINCT token) FROM new"),
		'3|3', 'a join that meets tokens twice returns each once');
	is(seeds(), '3 active, 3 revoked', 'a join that meets tokens twice replaces each once');
	seed(2, 3);
	is(said($session, "WITH new AS (UPDATE tokens t SET expires_at = $later FROM due, tokens other
			WHERE t.id = due.token_id AND other.id = t.id RETURNING other.id = due.token_id AS a, t.id > other.id AS b, other.token IS NULL AS c)
			SELECT DISTINCT * FROM new"),
		't|t|t', 'an UPDATE with a self-join returns the row as read beside the new one');
	seed(2, 3);
	is(said($session, "WITH new AS (UPDATE tokens t SET expires_at = $later FROM due
			WHERE t.id = due.token_id RETURNING (SELECT name FROM tokens o WHERE o.id = t.id), t IS NULL, t.tableoid::regclass)
			SELECT count(*) FROM new"),
		'3', 'RETURNING of a join takes subqueries and whole rows');
	seed(2, 3);
	is(said($session, "UPDATE tokens t SET expires_at = (SELECT current_date + 5 + substr(t.name, 6)::int) FROM due WHERE t.id = due.token_id;
			SELECT string_agg((expires_at - current_date)::text, ' ' ORDER BY name) FROM tokens WHERE active AND name LIKE 'seed %'"),
		'5 6 7', 'SET of a join takes a subquery about the row');
	seed(2, 3);
	is(said($session, "BEGIN; $joined; SELECT count(*) FILTER (WHERE active), count(*) FROM tokens WHERE name LIKE 'seed %'; ROLLBACK"),
		'3|6', 'an UPDATE with a join is seen by the transaction');
	is(seeds(), '3 active, 3 revoked', 'a rollback of an UPDATE with a join revokes what it created');
	seed(2, 3);
	is(said($session, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $joined") =~ /GitLab Changes Sent: 3\n\s+GitLab Changes Pending: 3/,
		1, 'EXPLAIN ANALYZE counts what an UPDATE with a join has changed');
	seed(2, 3);
	is(
		said(
			$session, qq{
			CREATE FUNCTION pg_temp.all_due() RETURNS SETOF text LANGUAGE sql AS
				'UPDATE tokens t SET expires_at = $later FROM due WHERE t.id = due.token_id RETURNING t.token';
			SELECT count(*) FROM (SELECT pg_temp.all_due() LIMIT 1) f}),
		'1', 'an SQL function returns the secrets of an UPDATE with a join');
	is(seeds(), '3 active, 3 revoked', 'an SQL function whose rows nobody asks for has replaced each token once');
	seed(2, 3);
	is(
		said(
			$session, qq{
			DO \$\$ DECLARE r record; n int := 0; BEGIN
				FOR r IN UPDATE tokens t SET expires_at = $later FROM due WHERE t.id = due.token_id RETURNING t.token, due.place LOOP
					n := n + 1;
					INSERT INTO kept VALUES (n, r.token);
					EXIT WHEN n = 2;
				END LOOP; END \$\$;
			SELECT count(DISTINCT token) FROM kept; TRUNCATE kept}),
		'2', 'PL/pgSQL loops over an UPDATE with a join');
	is(seeds(), '3 active, 3 revoked', 'a loop that ends early has replaced each token once');
	seed(2, 3);
	said($session, "SET plan_cache_mode = force_generic_plan; PREPARE rotate (int) AS UPDATE tokens t SET expires_at = current_date + \$1
		FROM due WHERE t.id = due.token_id RETURNING expires_at - current_date");
	is(said($session, "EXECUTE rotate (5); UPDATE due SET token_id = token_id + 3; EXECUTE rotate (6); RESET plan_cache_mode; DEALLOCATE rotate"),
		"5\n5\n5\n6\n6\n6", 'a prepared UPDATE with a join is run twice');
	is(seeds(), '3 active, 6 revoked', 'a prepared UPDATE replaces the tokens of each run');
	return;
}

sub test_limit
{
	seed(2, 20);
	like(
		said($session, "SET gitlab_pat_fdw.max_changes = 5; $joined"),
		qr/53400: transaction would .* more than 5/,
		'max_changes refuses an UPDATE with a join of more tokens');
	is(posts(), 0, 'max_changes refuses an UPDATE with a join before the first creation');
	said($session, 'DELETE FROM due WHERE ctid >= (SELECT ctid FROM due ORDER BY ctid OFFSET 5 LIMIT 1)');
	is(said($session, "$joined RETURNING 1"), join("\n", (1) x 5), 'max_changes counts the rows of a join, not those of its scan');
	said($session, 'SET gitlab_pat_fdw.max_changes = 1000');
	return;
}

sub test_refusals
{
	seed(2, 3);
	foreach (
		[ '6', qr/55000: personal access token 6 is not active/, 'a revoked token' ],
		[ '1', qr/55006: personal access token 1 is the API token/, 'the credential in use' ],
		[ '13', qr/0A000: personal access token 13 cannot be replaced/, 'a fine-grained token' ])
	{
		my ($id, $error, $what) = @$_;

		like(said($session, "BEGIN; INSERT INTO due VALUES ($id); $joined"), $error, "$what among others ends an UPDATE with a join");
		said($session, 'ROLLBACK');
		is(posts(), 0, "$what among others is refused before the first creation of a join");
	}
	like(said($session, "UPDATE tokens t SET expires_at = current_date - due.token_id::int FROM due WHERE t.id = due.token_id"),
		qr/22023: "expires_at" must be in the future/, 'a date in the past ends an UPDATE with a join');
	is(posts(), 0, 'a date in the past comes to light before the first creation of a join');
	like(said($session, "RESET gitlab_pat_fdw.discard_secrets; $joined RETURNING t.id"),
		qr/55000: UPDATE of foreign table "tokens" would discard/, 'an UPDATE with a join whose secrets nobody takes is refused');
	said($session, 'SET gitlab_pat_fdw.discard_secrets = on');
	return;
}

sub test_failures
{
	my @owners = seed(5, 20);
	$sim->fault('POST', "/users/$owners[2]/personal_access_tokens", 'status', status => 422);
	like(said($session, $joined), qr/ERROR:  22023: could not create a replacement/, 'a creation that is refused ends an UPDATE with a join');
	$sim->clear_faults;
	cmp_ok(posts(), '<=', 10, 'after a refusal an UPDATE with a join sends no more creations');
	like(seeds(), qr/^20 active, \d+ revoked$/, 'what an UPDATE with a join created before a refusal is revoked');

	seed(5, 20);
	$sim->fault('POST', '/users/\d+/personal_access_tokens', 'reset', times => 0);
	my $said = said($session, $joined);
	is(count_matches($said, qr/(?:WARNING|ERROR):  /), posts(),
		'each of several lost answers of a join is told by an error or a warning');
	$sim->clear_faults;

	# a savepoint
	@owners = seed(5, 20);
	$sim->fault('POST', "/users/$owners[2]/personal_access_tokens", 'status', status => 422);
	is(
		said(
			$session, qq{
			BEGIN;
			DO \$\$ BEGIN
				$joined;
			EXCEPTION WHEN OTHERS THEN NULL; END \$\$;
			SELECT count(*) FILTER (WHERE active) FROM tokens WHERE name LIKE 'seed %';
			$joined;
			COMMIT}),
		20,
		'after a caught error of a join the transaction sees the old tokens only');
	$sim->clear_faults;
	like(seeds(), qr/^20 active, \d+ revoked$/, 'after a caught error a join can be tried again');
	return;
}

sub test_interrupts
{
	seed(5, 20);
	$sim->fault('POST', '/users/\d+/personal_access_tokens', 'stall', times => 0);
	$session->send($joined);
	$sim->wait_for('POST', '/users/\d+/personal_access_tokens', 4);
	sleep 1;
	is(posts(), 4, 'an UPDATE with a join creates as many tokens at a time as "concurrency" says');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	select(undef, undef, undef, 0.5);
	$sim->clear_faults;
	like(said_later($session), qr/57014: canceling statement/, 'an UPDATE with a join can be cancelled');
	like(seeds(), qr/^20 active/, 'a cancelled UPDATE with a join leaves the tokens that were there');

	seed(5, 20);
	is(said($session, "WITH new AS ($joined RETURNING t.id) SELECT count(*) FROM new"), 20, 'an UPDATE with a join runs after a cancelled one');
	is(seeds(), '20 active, 20 revoked', 'an UPDATE with a join after a cancelled one replaces each token once');
	return;
}

sub test_triggers
{
	seed(3, 6);
	$node->safe_psql('postgres', 'CREATE TRIGGER keep AFTER UPDATE ON joins.tokens FOR EACH ROW EXECUTE FUNCTION joins.keep()');
	$sim->fault('POST', '/users/\d+/personal_access_tokens', 'stall', times => 0);
	$session->send("UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	$sim->wait_for('POST', '/users/\d+/personal_access_tokens', 4);
	sleep 1;
	is(posts(), 4, 'an UPDATE for a trigger creates as many tokens at a time as "concurrency" says');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	select(undef, undef, undef, 0.5);
	$sim->clear_faults;
	like(said_later($session), qr/57014: canceling statement/, 'an UPDATE for a trigger can be cancelled');
	seed(3, 6);
	is(
		said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'; SELECT count(*), count(DISTINCT token), count(DISTINCT id) FROM kept"),
		'6|6|6', 'a trigger gets the secrets of an UPDATE, each once');
	is(seeds(), '6 active, 6 revoked', 'an UPDATE for a trigger replaces each token once');

	# a trigger that may skip rows
	$node->safe_psql('postgres', q{
		CREATE FUNCTION joins.skip() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN RETURN CASE WHEN OLD.name <> ''seed 1'' THEN NEW END; END';
		CREATE TRIGGER skip BEFORE UPDATE ON joins.tokens FOR EACH ROW EXECUTE FUNCTION joins.skip()});
	seed(3, 3);
	is(said($session, "WITH new AS ($joined RETURNING t.name) SELECT string_agg(name, ', ' ORDER BY name) FROM new"),
		'seed 0, seed 2', 'an UPDATE leaves a token alone whose row a trigger skips');
	is(seeds(), '3 active, 2 revoked', 'a token whose row a trigger skips is not replaced');
	$node->safe_psql('postgres', 'DROP TRIGGER skip ON joins.tokens; DROP TRIGGER keep ON joins.tokens');
	return;
}

sub test_native
{
	$sim->reset;
	is(said($session, "UPDATE native_tokens t SET expires_at = $later FROM (VALUES (1)) v (n) WHERE t.id = 2 RETURNING token LIKE 'glpat-%'"),
		't', 'a native rotation with a join returns the secret');
	is($sim->count(method => 'POST', path => '/2/rotate$'), 1, 'a native rotation with a join is one request');
	return;
}

# Another part of the same command may change a row after it was read.
sub test_other_parts
{
	my @cases = (
		[ 'an UPDATE', "UPDATE tokens SET expires_at = $later WHERE name = 'seed 1' RETURNING id, token" ],
		[ 'a DELETE', q{DELETE FROM tokens WHERE name = 'seed 1' RETURNING id} ]);

	foreach my $case (@cases)
	{
		my ($what, $other) = @$case;

		foreach my $join ('', 'FROM (VALUES (1)) v(n)')
		{
			my $kind = $join ? 'an UPDATE with a join' : 'an UPDATE without a join';

			seed(1, 3);
			my ($id) = map { $_->{id} } grep { $_->{name} eq 'seed 1' } $sim->tokens;
			my $said = said($session,
				"WITH b AS ($other), new AS (UPDATE tokens t SET expires_at = $later $join
				 WHERE name LIKE 'seed %' AND (t.id = $id OR t.id IN (SELECT id FROM b) OR t.id > 0)
				 RETURNING t.name, t.token)
				 SELECT count(*) FROM new");
			my $active = grep { $_->{name} eq 'seed 1' && $_->{state} eq 'active' } $sim->tokens;

			cmp_ok($active, '<=', 1, "$what in a WITH clause and $kind leave at most one token active: $said");
			seed(1, 3);
			($id) = map { $_->{id} } grep { $_->{name} eq 'seed 1' } $sim->tokens;
			said($session,
				"WITH b AS ($other) UPDATE tokens t SET expires_at = $later $join
				 WHERE name LIKE 'seed %' AND (name = 'seed 1' OR t.id IN (SELECT id FROM b))
				 RETURNING t.token");
			$active = grep { $_->{name} eq 'seed 1' && $_->{state} eq 'active' } $sim->tokens;
			is($active, $what eq 'a DELETE' ? 0 : 1,
				"$what in a WITH clause that is read after the row, and $kind, change the token once");
		}
	}
	return;
}

# The list is read again after the locks, when the plan below has come to its end and
# the row that gave the condition's value is gone.
sub test_rereading
{
	$sim->reset;
	$node->safe_psql('postgres', q{ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (ADD rotation 'transactional')});
	said($session, q{
		CREATE TEMPORARY TABLE kept_secrets AS WITH new AS (
			INSERT INTO public.gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
			SELECT 'acme/app', 'place ' || n, '{read_api}', 30, current_date + 5 FROM generate_series(1, 3) n
			RETURNING token) SELECT * FROM new});
	$sim->clear_journal;
	my $text = said($session, q{
		CREATE TEMPORARY TABLE places (p text);
		INSERT INTO places VALUES ('ACME/APP'), (repeat('Q', 40));
		SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
		WITH new AS (UPDATE public.gitlab_project_access_tokens t SET expires_at = current_date + 90
			FROM (SELECT lower(p) AS q FROM places WHERE repeat(p, 20) < 'B' OFFSET 0) s
			WHERE t.project = s.q AND t.active RETURNING t.id, t.token)
		SELECT count(*) > 0 FROM new});
	is($text, 't', 'an UPDATE whose join gives the place reads the same list again');
	is(scalar(grep { $_->{path} =~ /QQQ/ } $sim->journal), 0, 'an UPDATE whose join gives the place asks for no other list');
	said($session, 'RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_material; DROP TABLE places');
	return;
}

# Rows of a join that need more than work_mem go to a file, which is closed.
sub test_spill
{
	seed(1, 2);
	is(said($session, "SET work_mem = '64kB'; WITH new AS (UPDATE tokens t SET expires_at = $later
			FROM generate_series(1, 3000) g WHERE t.name = 'seed 1' RETURNING t.id, t.token)
		SELECT count(*) FROM new; RESET work_mem"),
		'1', 'an UPDATE whose rows need a file ends without a warning');
	return;
}
