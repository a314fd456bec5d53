# Which connection a statement uses, and whose credential goes over it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# The ids of the simulator's tokens.
use constant { ADMIN => 1, ALICE => 2, FRANK => 15 };

my $lookup = 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 2';
my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, conf => "gitlab_pat_fdw.discard_secrets = on\n");

test_reuse();
test_changed_mapping();
test_changed_server();
test_roles();
test_view();
test_token_file();
test_restart();
test_new_sockets();
test_disconnect();

done_testing();

# --- the tests ----------------------------------------------------------------

# A fresh session over a simulator whose journal is empty.
sub fresh_session
{
	my (%options) = @_;

	$sim->reset;
	return Session->open($node, %options);
}

# The requests, but for the question, once a connection, whether the credential
# sees the tokens of all users: what a lookup by id finds depends on it.
sub requests
{
	return grep { $_->{path} !~ /[?&]user_id=0\b/ } $sim->journal;
}

sub connections
{
	my %numbers = map { $_->{connection} => 1 } $sim->journal;

	return scalar keys %numbers;
}

# The ids of the tokens whose secrets the requests carried, in their order.
sub credentials
{
	return join ' ', map { $_->{credential_token_id} // 'none' } requests();
}

sub test_reuse
{
	my $session = fresh_session();

	foreach my $i (1 .. 5)
	{
		is(($session->query($lookup))[0], 'alice api', "lookup $i returns the token") if $i == 1;
		$session->query($lookup) if $i > 1;
	}
	is(scalar(requests()), 5, 'five lookups by id are five requests');
	$session->query('SELECT count(token) FROM gitlab_personal_access_tokens');
	is(scalar(requests()), 6, 'a listing of one page is one request');
	is(connections(), 1, 'lookups and listings go over one connection');
	$session->close;
	return;
}

sub test_changed_mapping
{
	my $session = fresh_session();

	$session->query($lookup);
	$node->safe_psql('postgres',
		q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab
			OPTIONS (SET token 'glpat-sim-frank')});
	$session->query($lookup);
	$session->query($lookup);
	is(credentials(), join(' ', ADMIN, FRANK, FRANK),
		'a changed user mapping is used from the next statement on');
	is(connections(), 2, 'a changed user mapping gets a connection of its own');

	$node->safe_psql('postgres',
		q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab
			OPTIONS (SET token 'glpat-sim-admin')});
	$session->close;
	return;
}

sub test_changed_server
{
	my $session = fresh_session();
	my $other = GitLabSim->start;

	$session->query($lookup);
	$node->safe_psql('postgres',
		"ALTER SERVER gitlab OPTIONS (SET url '@{[ $other->url ]}')");
	is(($session->query($lookup))[0], 'alice api', 'a changed url is used from the next statement on');
	is(scalar(requests()), 1, 'the old address gets no further request');
	is($other->count(path => 'tokens/2'), 1, 'the new address gets the request');

	$node->safe_psql('postgres',
		"ALTER SERVER gitlab OPTIONS (SET url '@{[ $sim->url ]}')");
	$other->stop;
	$session->close;
	return;
}

# A role sends its own token, also with a plan that another role has made.
sub test_roles
{
	$node->safe_psql(
		'postgres', q{
		CREATE ROLE alice LOGIN;
		CREATE ROLE nobody LOGIN;
		GRANT SELECT ON gitlab_personal_access_tokens TO alice, nobody;
		CREATE USER MAPPING FOR alice SERVER gitlab OPTIONS (token 'glpat-sim-alice');
	});
	my $session = fresh_session(settings => { plan_cache_mode => 'force_generic_plan' });

	$session->query('PREPARE lookup(bigint) AS '
		. 'SELECT name FROM gitlab_personal_access_tokens WHERE id = $1');
	$session->query('EXECUTE lookup(2)');
	$session->query('SET ROLE alice');
	is(($session->query('EXECUTE lookup(2)'))[0], 'alice api', 'another role can execute the plan');
	$session->query('RESET ROLE');
	$session->query('EXECUTE lookup(2)');
	# a user's lookup is followed by the list that shows the token, too
	is(credentials(), join(' ', ADMIN, ALICE, ALICE, ADMIN),
		'a prepared statement uses the token of the current role');

	$session->query('SET ROLE nobody');
	like(($session->query('EXECUTE lookup(2)'))[1],
		qr/28000|42704/, 'a role without a user mapping gets an error');
	is(scalar(requests()), 4, 'a role without a user mapping sends nothing');
	$session->close;
	return;
}

sub test_view
{
	$node->safe_psql(
		'postgres', qq{
		CREATE VIEW owned AS $lookup;
		GRANT SELECT ON owned TO alice, nobody;
	});
	my $session = fresh_session(user => 'nobody');

	is(($session->query('SELECT * FROM owned'))[0], 'alice api',
		'a view can be read by a role without a user mapping');
	is(credentials(), ADMIN, "a view is read with the token of its owner");
	$session->close;
	return;
}

sub test_token_file
{
	my $directory = PostgreSQL::Test::Utils::tempdir;
	my $file = "$directory/token";

	append_to_file($file, "glpat-sim-admin\n");
	$node->safe_psql('postgres',
		"ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab "
		. "OPTIONS (DROP token, ADD token_file '$file')");
	my $session = fresh_session();

	$session->query($lookup);
	$session->query($lookup);
	# As a careful writer does it: the old file or the new one, nothing between.
	append_to_file("$file.new", "glpat-sim-frank\n");
	rename "$file.new", $file or die "rename: $!";
	is(($session->query($lookup))[0], 'alice api', 'the token is read from a file');
	is(credentials(), join(' ', ADMIN, ADMIN, FRANK),
		'the file is read again when it has changed');

	unlink $file;
	like(($session->query($lookup))[1], qr/^.*ERROR: /, 'a token_file that does not exist is an error');
	$node->safe_psql('postgres',
		"ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab "
		. "OPTIONS (DROP token_file, ADD token 'glpat-sim-admin')");
	$session->close;
	return;
}

# A server that has closed the connection that was kept, or is another one by
# now, goes unnoticed.
sub test_restart
{
	my $session = fresh_session();

	$session->query($lookup);
	$sim->stop;
	$sim->start_again;
	my ($out, $error) = $session->query($lookup);
	is($out, 'alice api', 'a lookup survives a restart of the server');
	is($error, '', 'a lookup after a restart raises no error');
	($out) = $session->query(
		"INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		 VALUES (2, 'after a restart', '{api}', current_date + 9) RETURNING name");
	is($out, 'after a restart', 'a token is created on the connection');

	$sim->stop;
	$sim->start_again;
	($out, $error) = $session->query(
		"INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		 VALUES (2, 'once', '{api}', current_date + 9) RETURNING name");
	is("$out$error", 'once', 'a token is created right after a restart');
	is($sim->count(method => 'POST'), 1, 'a token that is created right after a restart takes one request');

	# all connections of a list are gone; then one does for many changes
	$sim->reset(tokens => 1_000);
	$session->query('SELECT count(token) FROM gitlab_personal_access_tokens');
	cmp_ok(connections(), '>', 2, 'a list is read over several connections');
	$sim->stop;
	$sim->start_again;
	($out, $error) = $session->query(
		"INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		 SELECT 2, 'many', '{api}', current_date + 9 FROM generate_series(1, 30)");
	is($error, '', 'many tokens are created right after a restart');
	is(connections(), 1, 'many tokens that are created right after a restart go over one connection');
	$session->close;
	return;
}

# A connection that takes the place and the number of one that was closed is waited for,
# as are those that a name is looked up with.
sub test_new_sockets
{
	my $url = $sim->url;

	foreach my $at ($url, $url =~ s/127\.0\.0\.1/localhost/r)
	{
		my $session = fresh_session();

		$session->query("ALTER SERVER gitlab OPTIONS (SET url '$at')");
		$sim->reset(tokens => 2_000);
		$sim->latency(20);
		$sim->fault('GET', '', 'edit', times => 0, headers => { Connection => 'close' });
		my $begun = time;
		is(join(' ', map { ($session->query($lookup))[0] } 1 .. 10),
			join(' ', ('alice api') x 10), "$at: each of ten lookups gets its answer");
		is(($session->query('SELECT count(id) FROM gitlab_personal_access_tokens'))[0],
			2_016, "$at: a list gets all of its pages");
		cmp_ok(connections(), '>', 30, "$at: each request needs a new connection");
		cmp_ok(time - $begun, '<', 15, "$at: nobody waits until a request times out");
		$session->close;
	}
	$sim->latency(0);
	fresh_session()->query("ALTER SERVER gitlab OPTIONS (SET url '$url')");
	return;
}

sub test_disconnect
{
	my $session = fresh_session();

	$session->query($lookup);
	is(($session->query('SELECT gitlab_pat_disconnect()'))[0],
		1, 'one idle connection is closed');
	is(($session->query('SELECT gitlab_pat_disconnect()'))[0], 0, 'a second gitlab_pat_disconnect() finds no idle connection');
	$session->query($lookup);
	is(connections(), 2, 'the next statement connects again');
	$session->close;
	return;
}
