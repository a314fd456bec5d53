
# UPDATE and DELETE without joins change what their scan reads, several tokens at a
# time: with few requests, and with all promises of statements that go row by row.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => q{max_retries '0', concurrency '4'});
my $later = 'current_date + 90';

create_tables($node, 'direct');
$node->safe_psql(
	'postgres', q{
	CREATE SEQUENCE direct.days START 90;
	CREATE TABLE direct.kept (id bigint, token text);
	CREATE FUNCTION direct.keep() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO direct.kept VALUES (NEW.id, NEW.token);
		RETURN NEW;
	END $$;
	CREATE TABLE direct.parted (LIKE direct.tokens) PARTITION BY RANGE (id);
	CREATE FOREIGN TABLE direct.low PARTITION OF direct.parted
		FOR VALUES FROM (MINVALUE) TO (10) SERVER gitlab;
	CREATE FOREIGN TABLE direct.high PARTITION OF direct.parted
		FOR VALUES FROM (10) TO (MAXVALUE) SERVER gitlab;});
my $session = open_session($node, 'direct', verbosity => 'verbose');

test_requests();
test_conditions();
test_set();
test_kinds();
test_limit();
test_failures();
test_interrupts();
test_partitions();
test_row_by_row();
test_delete();
test_statements();
test_others();
$session->close;
done_testing();

# --- helpers ------------------------------------------------------------------

sub seed { return $sim->seed(@_) }
sub seeds { return $sim->seeds }
sub posts { return $sim->count(method => 'POST', path => '/api/v4') }

# --- tests --------------------------------------------------------------------

sub test_requests
{
	seed(20, 200);
	my $said = said(
		$session, qq{
		SET gitlab_pat_fdw.max_changes = 1000;
		WITH new AS (UPDATE tokens SET expires_at = $later
			WHERE name LIKE 'seed %' RETURNING id, user_id, token)
		SELECT count(*), count(DISTINCT id), count(DISTINCT token),
			count(DISTINCT user_id), min(length(token)) > 8 FROM new});
	my $requests = $sim->count(path => '/api/v4');

	is($said, '200|200|200|20|t', 'RETURNING has each of 200 new tokens once, with its secret');
	is(seeds(), '200 active, 200 revoked', 'each of 200 tokens has been replaced once');
	is(posts(), 200, '200 tokens are replaced by 200 creations');
	is($sim->count(method => 'DELETE'), 200, '200 tokens are replaced by 200 revocations');
	is($sim->count(path => '/users/\d+/impersonation_tokens'),
		20, 'the kind of 200 tokens of 20 owners is asked for once an owner');
	cmp_ok($requests, '<=', 440, "rotating 200 tokens of 20 owners takes at most 2.2 requests a token");
	note("$requests requests");

	# what a list does not show cheaply is looked up again
	seed(1, 200);
	like(
		said(
			$session,
			"UPDATE tokens SET expires_at = $later WHERE name ~ '^seed 7\$' RETURNING name"),
		qr/^seed 7$/,
		'a condition that GitLab does not know selects the token that is replaced');
	is(posts(), 1, 'a condition that GitLab does not know keeps other tokens from being replaced');
	is($sim->count(path => '/personal_access_tokens/\d+$', method => 'GET'),
		1, 'one token of a long list is read again by itself');
	return;
}

sub test_conditions
{
	my $plan = said($session,
		"EXPLAIN (COSTS OFF) UPDATE tokens SET expires_at = $later WHERE name ~ 'seed' AND active RETURNING id");

	like($plan, qr/Foreign Update on tokens/, 'EXPLAIN shows that the scan changes what it reads');
	like($plan, qr/Filter: \(?.*name ~ 'seed'/, 'EXPLAIN shows the conditions of a direct UPDATE as Filter');
	like($plan, qr/GitLab Request: GET/, 'EXPLAIN shows what a direct UPDATE reads');
	like(
		$plan,
		qr{GitLab Changes: POST /users/\{user_id\}/personal_access_tokens at once, DELETE},
		'EXPLAIN shows what a direct UPDATE changes');

	seed(2, 10);
	$plan = said($session,
		"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
			UPDATE tokens SET expires_at = $later WHERE name ~ '^seed [0-3]'");
	like($plan, qr/Rows Removed by Filter: 22/, 'EXPLAIN ANALYZE counts the rows that a direct UPDATE leaves alone');
	like($plan, qr/GitLab Changes Sent: 4/, 'EXPLAIN ANALYZE counts the creations of a direct UPDATE');
	like($plan, qr/GitLab Changes Pending: 4/, 'EXPLAIN ANALYZE counts the revocations that a direct UPDATE owes');
	like($plan, qr/Foreign Update on tokens \(actual rows=4/, 'EXPLAIN ANALYZE counts the rows of a direct UPDATE');
	is(seeds(), '10 active, 4 revoked', 'a direct UPDATE replaces the rows that fulfil its conditions only');

	seed(2, 10);
	like(
		said($session, "UPDATE tokens SET expires_at = $later
			WHERE name ~ '^seed' AND 1 / (length(name) - 6) > 0"),
		qr/22012: division by zero/,
		'an error in a condition ends a direct UPDATE');
	is(posts(), 0, 'an error in a condition comes before the first creation');
	return;
}

sub test_set
{
	seed(2, 6);
	is(
		said(
			$session, q{
			WITH new AS (UPDATE tokens SET expires_at = current_date + nextval('days')::int
				WHERE name LIKE 'seed %' RETURNING expires_at - current_date AS days)
			SELECT string_agg(days::text, ' ' ORDER BY days) FROM new;
			SELECT nextval('days')}),
		"90 91 92 93 94 95\n96",
		'SET is computed once for each row of a direct UPDATE');
	seed(2, 3);
	is(
		said(
			$session, q{
			WITH new AS (UPDATE tokens SET (expires_at) = (SELECT current_date + 5 + substr(tokens.name, 6)::int)
				WHERE name LIKE 'seed %' RETURNING name, expires_at - current_date AS days, tableoid::regclass)
			SELECT string_agg(new::text, ' ' ORDER BY days) FROM new}),
		'("seed 0",5,tokens) ("seed 1",6,tokens) ("seed 2",7,tokens)',
		'SET takes a subquery about the row of a direct UPDATE');
	seed(2, 3);
	like(
		said($session, "UPDATE tokens SET expires_at = current_date - substr(name, 6)::int + 1
			WHERE name LIKE 'seed %'"),
		qr/22023: "expires_at" must be in the future/,
		'a date in the past ends a direct UPDATE');
	is(posts(), 0, 'a date in the past comes to light before the first creation');
	return;
}

sub test_kinds
{
	my @owners = seed(2, 4);

	$sim->control('POST', 'tokens', undef,
		{ user_id => $owners[0], name => "seed im $_", impersonation => JSON::PP::true() })
	  for 1 .. 2;
	is(
		said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'"),
		'', 'tokens of both kinds are replaced by one UPDATE');
	is(join(' ', sort map { $_->{name} } grep { $_->{impersonation} && $_->{state} eq 'active' && $_->{name} =~ /^seed/ } $sim->tokens),
		'seed im 1 seed im 2', 'impersonation tokens are replaced by impersonation tokens');
	is(seeds(), '6 active, 6 revoked', 'each token of either kind has been replaced once');

	# fine-grained ones can't be
	seed(2, 4);
	like(
		said($session, "UPDATE tokens SET expires_at = $later WHERE active AND name <> 'administrator'"),
		qr/0A000: personal access token 13 cannot be replaced/,
		'a fine-grained token among others ends an UPDATE');
	is(posts(), 0, 'a fine-grained token among others is refused before the first creation');
	like(
		said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %' OR id = 6"),
		qr/55000: personal access token 6 is not active/,
		'a revoked token among others ends an UPDATE');
	like(
		said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %' OR id = 1"),
		qr/55006: personal access token 1 is the API token/,
		'the credential in use among others ends an UPDATE');
	is(posts(), 0, 'a revoked token, or the credential, is refused before the first creation');

	is(said($session, "UPDATE native_tokens SET expires_at = $later WHERE id = 2 RETURNING token LIKE 'glpat-%'"),
		't', 'a native rotation without joins returns the secret');
	is($sim->count(method => 'POST', path => '/2/rotate$'), 1, 'a native rotation without joins is one request');
	return;
}

sub test_limit
{
	seed(2, 300);
	like(
		said($session, "SET gitlab_pat_fdw.max_changes = 5; UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'"),
		qr/53400: transaction would .* more than 5/,
		'max_changes refuses an UPDATE of more tokens');
	is(posts(), 0, 'max_changes refuses an UPDATE before the first creation');
	is($sim->count(path => '/personal_access_tokens'), 1, 'max_changes ends the reading at the first token too many');
	said($session, 'SET gitlab_pat_fdw.max_changes = 1000');
	return;
}

sub test_failures
{
	# one is refused
	my @owners = seed(5, 20);
	$sim->fault('POST', "/users/$owners[2]/personal_access_tokens", 'status', status => 422);
	like(said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'"),
		qr/ERROR:  22023: could not create a replacement/, 'a creation that is refused ends an UPDATE');
	$sim->clear_faults;
	my $created = posts();
	cmp_ok($created, '<=', 10, 'after a refusal no more creations are sent than were under way');
	is(seeds(), '20 active, ' . ($created - 1) . ' revoked', 'what was created before a refusal is revoked');

	# one is lost
	@owners = seed(5, 20);
	$sim->fault('POST', "/users/$owners[2]/personal_access_tokens", 'status', status => 502);
	my $said = said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	like($said, qr/could not create a replacement .*GitLab's answer was lost/, 'a creation whose answer is lost ends an UPDATE');
	is(count_matches($said, qr/A token may exist/), 1, 'one lost answer is told once');
	$sim->clear_faults;
	like(seeds(), qr/^20 active, \d+ revoked$/, 'what was created beside a lost answer is revoked');

	# all are lost
	seed(5, 20);
	$sim->fault('POST', '/users/\d+/personal_access_tokens', 'reset', times => 0);
	$said = said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	is(count_matches($said, qr/(?:WARNING|ERROR):  /), posts(),
		'each of several lost answers is told by an error or a warning');
	$sim->clear_faults;

	# token 18, "seed 1", waits for a retry when the request about 20, "seed 3", is refused
	foreach (
		[ UPDATE => "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'",
			[ 'POST', '/personal_access_tokens', 'status', body_matches => '"seed 1"' ],
			[ 'POST', '/personal_access_tokens', 'status', body_matches => '"seed 3"' ] ],
		[ DELETE => "DELETE FROM tokens WHERE name LIKE 'seed %'",
			[ 'DELETE', '/18$', 'status' ], [ 'DELETE', '/20$', 'status' ] ])
	{
		my ($command, $sql, $busy, $refused) = @$_;

		said($session, q{ALTER SERVER gitlab OPTIONS (SET max_retries '3')});
		seed(2, 12);
		$sim->fault(@$busy, status => 429, headers => { 'Retry-After' => '30' }, times => 0);
		$sim->fault(@$refused, status => 403);
		$said = said($session, $sql);
		$sim->clear_faults;
		said($session, q{ALTER SERVER gitlab OPTIONS (SET max_retries '0')});
		like($said, qr/ERROR:  42501: .* 20 on server "gitlab"\nDETAIL:  GitLab said: "403 Forbidden"/,
			"the error of $command is what GitLab refused, and not what waited for a retry");
		unlike($said, qr/Retry later|rate limit/, "the error of $command does not speak of what waited for a retry");
		next if $command eq 'UPDATE';
		like($said, qr/ Not tried: 18\b/, 'a revocation that waited for a retry counts as not tried');
		like($said, qr/ AND id <> 20\.$/m, 'the hint of DELETE leaves out only what GitLab refused');
	}

	# requests that are under way when another one is refused
	seed(2, 12);
	my $before = said($session, 'SELECT requests FROM gitlab_pat_requests()');
	$sim->latency(200);
	$sim->fault('DELETE', '/17$', 'status', status => 403);
	said($session, "DELETE FROM tokens WHERE name LIKE 'seed %'");
	$sim->clear_faults;
	$sim->latency(0);
	is(said($session, 'SELECT requests FROM gitlab_pat_requests()') - $before,
		$sim->count(path => '/api/v4'), 'requests that are under way when another one is refused are counted');

	# caught
	@owners = seed(5, 20);
	$sim->fault('POST', "/users/$owners[2]/personal_access_tokens", 'status', status => 422);
	is(
		said(
			$session, qq{
			BEGIN;
			DO \$\$ BEGIN
				UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %';
			EXCEPTION WHEN OTHERS THEN NULL; END \$\$;
			SELECT count(*) FILTER (WHERE active) FROM tokens WHERE name LIKE 'seed %';
			UPDATE tokens SET expires_at = $later WHERE active AND name = 'seed 1';
			COMMIT}),
		20,
		'after a caught error the transaction sees the old tokens only');
	$sim->clear_faults;
	like(seeds(), qr/^20 active, \d+ revoked$/, 'after a caught error the transaction can go on');
	return;
}

sub test_interrupts
{
	seed(5, 20);
	$sim->fault('POST', '/users/\d+/personal_access_tokens', 'stall', times => 0);
	$session->send("UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	$sim->wait_for('POST', '/users/\d+/personal_access_tokens', 4);
	sleep 1;
	is(posts(), 4, 'as many tokens as "concurrency" says are created at a time');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	select(undef, undef, undef, 0.5);
	$sim->clear_faults;
	like(said_later($session), qr/57014: canceling statement/, 'an UPDATE that creates several tokens can be cancelled');
	like(seeds(), qr/^20 active/, 'a cancelled UPDATE leaves the tokens that were there');

	# the answers come after the cancel
	seed(5, 20);
	$sim->latency(1000);
	$session->send("UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	$sim->wait_for('POST', '/users/\d+/personal_access_tokens', 4);
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	like(said_later($session), qr/57014/, 'an UPDATE is cancelled while GitLab creates tokens');
	$sim->latency(0);
	# a fifth request may go out between the first answer and the cancel
	like(seeds(), qr/^20 active, \d+ revoked$/, 'what GitLab created for a cancelled UPDATE is revoked');
	return;
}

sub test_partitions
{
	$sim->reset;
	is(
		said(
			$session, qq{
			WITH new AS (UPDATE parted SET expires_at = $later
				WHERE id IN (2, 3, 11) RETURNING tableoid::regclass, name, token IS NOT NULL)
			SELECT string_agg(new::text, ' ' ORDER BY new::text) FROM new}),
		'(low,"alice api",t) (low,"alice read",t) (low,"service account",t)',
		'an UPDATE of two partitions returns each token from the first one that shows it');
	is(changes($sim), '2 revoked, 3 revoked, 11 revoked, 17 active, 18 active, 19 active',
		'an UPDATE of two partitions replaces each token once');
	$sim->reset;
	is(said($session, "WITH old AS (DELETE FROM parted WHERE id IN (2, 11) RETURNING tableoid::regclass, id)
		SELECT string_agg(old::text, ' ' ORDER BY id) FROM old"),
		'(low,2) (low,11)', 'a DELETE from two partitions returns each token once');

	# GitLab shows a token to each of them
	$sim->reset;
	like(
		said($session, "SET gitlab_pat_fdw.max_changes = 1; UPDATE parted SET expires_at = $later WHERE user_id = 7"),
		qr/^$/,
		'a token that two partitions show counts once');
	is(changes($sim), '11 revoked, 17 active', 'a token that two partitions show is replaced once');
	said($session, 'SET gitlab_pat_fdw.max_changes = 1000');
	return;
}

sub test_row_by_row
{
	$sim->reset;
	$node->safe_psql('postgres', 'CREATE TRIGGER keep AFTER UPDATE ON direct.tokens FOR EACH ROW EXECUTE FUNCTION direct.keep()');
	unlike(said($session, "EXPLAIN UPDATE tokens SET expires_at = $later WHERE id IN (2, 3)"),
		qr/Foreign Update/, 'a row trigger keeps an UPDATE from changing what its scan reads');
	is(said($session, "UPDATE tokens SET expires_at = $later WHERE id IN (2, 3); SELECT count(token) FROM kept"),
		2, 'a row trigger gets the secrets of an UPDATE');
	$node->safe_psql('postgres', 'DROP TRIGGER keep ON direct.tokens');
	is($sim->count(path => '/users/\d+$'), 0, 'an UPDATE for a row trigger does not look at the owners');

	$node->safe_psql(
		'postgres', q{
		CREATE FUNCTION direct.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER look AFTER UPDATE ON direct.parted REFERENCING NEW TABLE AS changed
			FOR EACH STATEMENT EXECUTE FUNCTION direct.look();});
	unlike(said($session, "EXPLAIN UPDATE parted SET expires_at = $later WHERE id = 2"),
		qr/->  Foreign Update/, 'a transition table has an UPDATE go row by row');
	like(said($session, "EXPLAIN DELETE FROM parted WHERE id = 2"),
		qr/->  Foreign Delete/, 'a transition table of UPDATE does not matter to DELETE');

	$sim->reset;
	unlike(
		said($session, "EXPLAIN UPDATE tokens t SET expires_at = $later FROM (VALUES (2), (3)) v (id) WHERE t.id = v.id"),
		qr/Foreign Update/,
		'a join keeps an UPDATE from changing what its scan reads');
	like(
		said($session, "RESET gitlab_pat_fdw.discard_secrets; UPDATE tokens SET expires_at = $later WHERE id IN (2, 3)"),
		qr/55000: UPDATE of foreign table "tokens" would discard/,
		'a direct UPDATE whose secrets nobody takes is refused');
	like(
		said($session, "UPDATE tokens SET expires_at = $later WHERE id IN (2, 3) RETURNING id"),
		qr/55000: UPDATE of foreign table "tokens" would discard/,
		'a direct UPDATE that returns no secret is refused');
	is(
		said($session, "WITH t AS (UPDATE tokens SET expires_at = $later WHERE id IN (2, 3) RETURNING *) SELECT count(*) FROM t"),
		2,
		'a direct UPDATE that returns whole rows is allowed');
	said($session, 'SET gitlab_pat_fdw.discard_secrets = on');
	return;
}

sub test_delete
{
	my $plan = said($session, q{EXPLAIN (COSTS OFF) DELETE FROM tokens WHERE name ~ 'seed' AND NOT revoked});

	like($plan, qr/Foreign Delete on tokens/, 'EXPLAIN shows that the scan deletes what it reads');
	like($plan, qr/Filter: .*name ~ 'seed'/, 'EXPLAIN shows the conditions of a direct DELETE as Filter');
	seed(2, 250);
	is(said($session, q{BEGIN; DELETE FROM tokens WHERE name ~ '^seed .*7'; SELECT count(*) FROM tokens WHERE revoked AND name ~ '^seed'; ROLLBACK}),
		'43', 'a direct DELETE is seen by the transaction');
	is(seeds(), '250 active', 'a direct DELETE is undone by a rollback');
	is(
		said(
			$session, q{WITH old AS (DELETE FROM tokens WHERE name ~ '^seed .*7' RETURNING id, active, token)
			SELECT count(DISTINCT id), bool_and(active), count(token) FROM old}),
		'43|t|0',
		'a direct DELETE returns each row as it was');
	is(seeds(), '207 active, 43 revoked', 'a direct DELETE revokes the rows that fulfil its conditions only');
	return;
}

sub test_statements
{
	seed(2, 3);
	is(
		said(
			$session, qq{
			WITH new AS (UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'
				RETURNING (SELECT count(*) FROM generate_series(1, length(tokens.name))) AS n, tokens AS t)
			SELECT string_agg(DISTINCT n::text, ' '), count(DISTINCT (t).token), count(DISTINCT (t).id) FROM new}),
		'6|3|3',
		'RETURNING of a direct UPDATE takes subqueries and whole rows');
	seed(2, 3);
	like(said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %' RETURNING 1 / (length(name) - 6)"),
		qr/22012: division by zero/, 'an error in RETURNING ends a direct UPDATE');
	is(seeds(), '3 active, 3 revoked', 'an error in RETURNING leaves the tokens that were there');

	seed(2, 3);
	is(
		said(
			$session, q{
			SET plan_cache_mode = force_generic_plan;
			PREPARE rotate (text, int) AS UPDATE tokens SET expires_at = current_date + $2 WHERE name LIKE $1 AND active
				RETURNING expires_at - current_date;
			EXECUTE rotate ('seed 0', 5); EXECUTE rotate ('seed %', 6);
			RESET plan_cache_mode; DEALLOCATE rotate}),
		"5\n6\n6\n6",
		'a prepared UPDATE changes what its parameters select');
	is(seeds(), '3 active, 4 revoked', 'a prepared UPDATE replaces the tokens of each run once');

	seed(2, 3);
	is(
		said(
			$session, qq{
			CREATE TEMP TABLE taken (token text);
			DO \$\$ DECLARE r record; BEGIN
				FOR r IN UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %' RETURNING token LOOP
					INSERT INTO taken VALUES (r.token);
					EXIT;
				END LOOP; END \$\$;
			SELECT count(token) FROM taken; DROP TABLE taken}),
		1,
		'PL/pgSQL loops over a direct UPDATE');
	is(seeds(), '3 active, 3 revoked', 'a loop that ends early has replaced each token of a direct UPDATE once');

	$node->safe_psql(
		'postgres', q{
		CREATE VIEW direct.live AS SELECT id, name, expires_at, active FROM direct.tokens WHERE active;
		CREATE VIEW direct.fenced WITH (security_barrier) AS SELECT * FROM direct.tokens WHERE name LIKE 'seed %';
		CREATE TABLE direct.parent (id bigint, name text, expires_at date);
		CREATE FOREIGN TABLE direct.child () INHERITS (direct.parent) SERVER gitlab OPTIONS (resource 'personal_access_tokens');
		INSERT INTO direct.parent VALUES (1, 'seed local', '2030-01-01');});
	seed(2, 3);
	is(said($session, "UPDATE live SET expires_at = $later WHERE name LIKE 'seed %' RETURNING name"),
		"seed 0\nseed 1\nseed 2", 'a view changes what it shows');
	is(said($session, "UPDATE fenced SET expires_at = $later WHERE active RETURNING token IS NOT NULL"),
		"t\nt\nt", 'a view with a security barrier returns the secrets');
	is(seeds(), '3 active, 6 revoked', 'views replace each token once');
	is(said($session, "UPDATE parent SET expires_at = '2031-01-01' WHERE name = 'seed local' OR (name = 'seed 1' AND tableoid = 'parent'::regclass) RETURNING tableoid::regclass, expires_at"),
		'parent|2031-01-01', 'an UPDATE of a local table with a foreign child changes its local rows');
	is(said($session, "WITH old AS (DELETE FROM parent WHERE name IN ('seed local', 'seed 1') RETURNING tableoid::regclass AS t)
			SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM old"),
		'child child child parent', 'a DELETE from a local table with a foreign child takes the rows of both');

	SKIP:
	{
		skip 'RETURNING knows OLD and NEW since PostgreSQL 18', 1
		  if $node->pg_version < 18;
		seed(2, 3);
		is(said($session, "WITH new AS (UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'
				RETURNING old.id AS old_id, new.id AS new_id, old.token AS old_token, new.token AS new_token)
				SELECT count(DISTINCT old_id), count(DISTINCT new_id), bool_and(old_id < new_id), count(old_token), count(DISTINCT new_token) FROM new"),
			'3|3|t|0|3', 'RETURNING has the old and the new tokens');
	}
	return;
}

# What others do meanwhile.
sub test_others
{
	seed(2, 6);
	$sim->control('POST', 'hooks', undef,
		{ method => 'GET', path => '/personal_access_tokens\\?', nth => 1, do => [ { revoke => 20 } ] });
	like(said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'"),
		qr/55000: personal access token 20 is not active/, 'a token that is revoked while an UPDATE reads ends it');
	$sim->control('DELETE', 'hooks');
	is(posts(), 0, 'a token that is revoked meanwhile comes to light before the first creation');

	# a busy GitLab
	said($session, q{ALTER SERVER gitlab OPTIONS (SET max_retries '3')});
	seed(5, 20);
	$sim->fault('POST', '/personal_access_tokens', 'status', status => 429, headers => { 'Retry-After' => '1' }, nth => 7);
	$sim->fault('GET', '/impersonation_tokens', 'status', status => 502, nth => 2);
	$sim->fault('DELETE', '/personal_access_tokens', 'status', status => 503, nth => 9);
	is(said($session, "WITH new AS (UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %' RETURNING token)
			SELECT count(DISTINCT token) FROM new"),
		20, 'a rate limit in the middle of an UPDATE is waited for');
	is(seeds(), '20 active, 20 revoked', 'a rate limit and a gateway that fails cost no token');
	$sim->clear_faults;
	said($session, q{ALTER SERVER gitlab OPTIONS (SET max_retries '0')});

	# an owner who is blocked
	my @owners = seed(4, 8);
	$sim->control('PATCH', "users/$owners[1]", undef, { state => 'blocked' });
	my $said = said($session, "UPDATE tokens SET expires_at = $later WHERE name LIKE 'seed %'");
	is($said, '', 'tokens of a blocked owner are replaced with the others');
	is(seeds(), '8 active, 8 revoked', 'each token of a blocked owner is replaced once');

	# the same token by two tables of one server, whose old token is to live on
	$node->safe_psql('postgres', 'DROP TRIGGER look ON direct.parted');
	$sim->reset;
	is(said($session, "SET gitlab_pat_fdw.keep_replaced = on; UPDATE parted SET expires_at = $later WHERE user_id = 7"),
		'', 'an UPDATE of two partitions can keep the old tokens');
	is(changes($sim), '17 active', 'a token that two partitions show is replaced once, also if the old one is kept');
	said($session, 'RESET gitlab_pat_fdw.keep_replaced');
	return;
}
