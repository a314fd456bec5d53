# What newer versions of PostgreSQL show and can do: custom wait events since 17;
# RETURNING OLD and NEW, and the names of loaded modules, since 18.

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
my $node = gitlab_cluster('main', $sim);

# A row as it was and as it is, whether it shows a secret included.
my $returning = 'RETURNING ' . join ', ', map {
	("$_.id", "$_.name", "$_.expires_at - current_date", "$_.active",
		"CASE WHEN $_.token LIKE 'glpat-%' THEN 'secret' ELSE $_.token END")
} qw(old new);

create_tables($node, 'matrix');
test_wait_events();
if ($node->pg_version >= 18)
{
	test_returning();
	test_returning_of_view();
	test_taking();
	test_module();
}
is_alive($node);
done_testing();

# --- wait events ---------------------------------------------------------------

# Waits until a session is seen to wait for something; before version 17 it has
# no name.
sub is_seen
{
	my ($session, $event, $test) = @_;
	my $expected = 'Extension ' . ($node->pg_version < 17 ? 'Extension' : $event);

	wait_until("$test is seen as $expected", sub {
		$node->safe_psql('postgres', q{SELECT wait_event_type || ' ' || wait_event
			FROM pg_stat_activity WHERE pid = } . $session->pid) eq $expected;
	});
	pass("$test is seen as $expected");
	return;
}

sub test_wait_events
{
	foreach my $case (
		[ 'a request that stalls', 'GitLabTransfer', 'stall' ],
		[ 'a wait for the end of a rate limit', 'GitLabBackOff',
			'status', status => 429, headers => { 'Retry-After' => '30' } ])
	{
		my ($test, $event, $kind, %fault) = @$case;
		my $session = open_session($node, 'matrix');

		$sim->fault('GET', 'tokens/4$', $kind, %fault);
		$session->send('SELECT * FROM tokens WHERE id = 4');
		is_seen($session, $event, $test);
		signal_backend($session, 'INT');
		$session->finish;

		# nothing but poll(2) may be used where an error would be a disaster
		$sim->fault('DELETE', 'tokens/\d+$', $kind, %fault);
		$session->query(q{BEGIN; INSERT INTO tokens (user_id, name, scopes, expires_at)
			VALUES (2, 'rolled back', '{api}', current_date + 9)});
		$session->send('ROLLBACK');
		is_seen($session, $event, "$test in a rollback");
		signal_backend($session, 'INT');
		$session->finish;
		$session->close;
		$sim->clear_faults;
	}
	is($node->safe_psql('postgres', q{SELECT string_agg(name, ' ' ORDER BY name)
			FROM pg_wait_events WHERE type = 'Extension' AND name LIKE 'GitLab%'}),
		'GitLabBackOff GitLabTransfer', 'pg_wait_events knows the wait events')
	  if $node->pg_version >= 17;
	return;
}

# --- RETURNING OLD and NEW -----------------------------------------------------

sub test_returning
{
	my $session = open_session($node, 'matrix');

	foreach my $table (qw(tokens native_tokens))
	{
		$sim->reset;
		is(said($session, "INSERT INTO $table (user_id, name, scopes, expires_at)
				VALUES (2, 'new', '{api}', current_date + 9) $returning"),
			'|||||17|new|9|t|secret', "$table: INSERT has nothing old");
		is(said($session, "UPDATE $table SET expires_at = current_date + 90 WHERE id = 17 $returning"),
			'17|new|9|t||18|new|90|t|secret', "$table: UPDATE has both tokens");
		is(said($session, "DELETE FROM $table WHERE id = 18 $returning"),
			'18|new|90|t||||||', "$table: DELETE has nothing new");
		is(changes($sim), '17 revoked, 18 revoked', "$table: GitLab has the tokens that it should");
	}

	# what belongs together, in one statement
	$sim->reset;
	$session->query('CREATE TABLE secrets (id bigint PRIMARY KEY, token text)');
	$session->query('INSERT INTO secrets VALUES (2), (3)');
	is(said($session, q{WITH rotated AS (
				UPDATE tokens t SET expires_at = current_date + 90 FROM secrets s WHERE t.id = s.id
				RETURNING old.id AS was, new.id, new.token)
			UPDATE secrets s SET id = r.id, token = r.token FROM rotated r WHERE s.id = r.was
			RETURNING old.id < new.id, old.token, new.token LIKE 'glpat-%'}),
		"t||t\nt||t", 'the new secret takes the place of the old');
	is(changes($sim), '2 revoked, 3 revoked, 17 active, 18 active', 'GitLab has the new tokens and has revoked the old ones');

	# a row that was met twice is returned once
	is(said($session, q{UPDATE tokens t SET expires_at = current_date + 80
			FROM generate_series(1, 2) WHERE t.id = 17 RETURNING old.id, new.id}),
		'17|19', 'a token that is met twice is rotated once');
	is(said($session, q{DELETE FROM tokens t USING generate_series(1, 2)
			WHERE t.id = 19 RETURNING old.id, new.id}), '19|', 'a token that is met twice is revoked once');
	$session->close;
	return;
}

sub test_returning_of_view
{
	my $session = open_session($node, 'matrix');

	$sim->reset;
	$session->query('CREATE VIEW hers AS SELECT id, user_id, name, scopes, expires_at, active, token
			FROM tokens WHERE user_id = 2');
	is(said($session, "INSERT INTO hers (user_id, name, scopes, expires_at)
			VALUES (2, 'new', '{api}', current_date + 9) $returning"),
		'|||||17|new|9|t|secret', 'a view returns OLD and NEW of INSERT');
	is(said($session, "UPDATE hers SET expires_at = current_date + 90 WHERE id = 17 $returning"),
		'17|new|9|t||18|new|90|t|secret', 'a view returns OLD and NEW of UPDATE');
	is(said($session, "DELETE FROM hers WHERE id = 18 $returning"), '18|new|90|t||||||', 'a view returns OLD and NEW of DELETE');
	$session->close;
	return;
}

# A secret is taken from the new row only.
sub test_taking
{
	my $session = open_session($node, 'matrix');
	my $rotate = "UPDATE tokens SET expires_at = current_date + 90 WHERE id = 2 RETURNING";

	$sim->reset;
	$session->query('SET gitlab_pat_fdw.discard_secrets = off');
	foreach my $list ('old.token', 'old', 'old.*, new.id', 'new.id, length(old.token)',
		'WITH (OLD AS o) o.token', 'WITH (NEW AS n) old.token, n.name')
	{
		like(said($session, "$rotate $list"), qr/ERROR:  UPDATE of foreign table "tokens" would discard/,
			"RETURNING $list takes no secret");
	}
	is($sim->count(method => 'POST'), 0, 'UPDATE that takes no secret makes no token');
	foreach my $list ('token', 'new.token', 'old.token, new.token', 'new', 'new.*', '*', 'tokens',
		'WITH (NEW AS n) n.token')
	{
		$sim->reset;
		unlike(said($session, "$rotate $list"), qr/ERROR/, "RETURNING $list takes the secret");
	}
	$session->close;
	return;
}

# --- the module ------------------------------------------------------------------

sub test_module
{
	my ($version) = slurp_file("$FindBin::RealBin/../gitlab_pat_fdw.control") =~
	  /^default_version = '(.*)'/m;

	is($node->safe_psql('postgres', q{LOAD 'gitlab_pat_fdw';
			SELECT module_name, version FROM pg_get_loaded_modules()
			WHERE file_name LIKE 'gitlab_pat_fdw.%'}),
		"gitlab_pat_fdw|$version", 'the module has a name and a version');
	return;
}
