
# Partitions on several GitLabs are read at the same time.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my %sim = map { $_ => GitLabSim->start } qw(north south west);
my $node = gitlab_cluster('main', $sim{north}, server_options => q{max_retries '0'});

$node->safe_psql(
	'postgres', q{
	CREATE TABLE tokens (instance text, id bigint, name text, active boolean)
		PARTITION BY LIST (instance);
	CREATE TABLE local_tokens PARTITION OF tokens FOR VALUES IN ('local');
	INSERT INTO tokens VALUES ('local', 1, 'local', true);});
foreach my $name (sort keys %sim)
{
	my $url = $sim{$name}->url;

	$node->safe_psql(
		'postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url '$url', max_retries '0');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (token 'glpat-sim-admin');
		CREATE FOREIGN TABLE ${name}_tokens (id bigint, name text, active boolean, user_id bigint) SERVER $name;
		CREATE VIEW $name AS SELECT '$name'::text AS instance, id, name, active, user_id FROM ${name}_tokens;});
}
$node->safe_psql('postgres', 'CREATE VIEW everywhere AS ' . join ' UNION ALL ',
	map { "SELECT * FROM $_" } sort keys %sim);
my $session = Session->open($node, verbosity => 'default');

test_plan();
test_same_time();
test_rows();
test_ends();
$session->close;
done_testing();

sub reset_all
{
	my (%options) = @_;

	$_->reset(%options) foreach values %sim;
	return;
}

sub test_plan
{
	my ($plan) = $session->query('EXPLAIN (COSTS OFF) SELECT * FROM everywhere');
	my $count = () = $plan =~ /Async Foreign Scan/g;

	is($count, 3, 'EXPLAIN shows that the scans of three instances are asynchronous');
	($plan) = $session->query('EXPLAIN (COSTS OFF) DELETE FROM north_tokens WHERE id = 4711');
	unlike($plan, qr/Async/, 'a scan that changes what it reads is not asynchronous');
	return;
}

sub test_same_time
{
	reset_all();
	$_->fault('GET', '/personal_access_tokens', 'stall', times => 0) foreach values %sim;
	$session->send('SELECT count(*) FROM everywhere WHERE id < 1000');
	$_->wait_for('GET', '/personal_access_tokens', 1) foreach values %sim;
	pass('three instances are asked before any of them has answered');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	like(join(' ', $session->finish), qr/canceling statement/,
		'a statement that waits for three instances can be cancelled');
	$_->clear_faults foreach values %sim;

	# the default concurrency is 4
	reset_all(tokens => 2000);
	foreach (
		[ 'pages', '', 'page=6$', 'page=9$', 'page=10$' ],
		[ 'pages without a row that counts', q{WHERE name ~ 'nothing'}, 'page=6$', 'page=9$', 'page=10$' ],
		[ 'lookups', 'WHERE id = ANY (ARRAY(SELECT generate_series(1, 16)))', '/6$', '/9$', '/10$' ])
	{
		my ($what, $where, $stalled, $last, $next) = @$_;

		$_->clear_journal foreach values %sim;
		$_->fault('GET', $stalled, 'stall', times => 0) foreach values %sim;
		$session->send("SELECT count(*) FROM everywhere $where");
		foreach my $asked ($stalled, $last)
		{
			$_->wait_for('GET', $asked, 1) foreach values %sim;
		}
		# time for one that should not come
		sleep 1;
		is(join(' ', map { $_->count(method => 'GET', path => $next) } values %sim), '0 0 0',
			"$what of three instances are asked for as many at a time as of one");
		$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
		$session->finish;
		$_->clear_faults foreach values %sim;
	}

	# the fast ones need not wait for the slow one
	reset_all();
	$sim{north}->fault('GET', '/personal_access_tokens', 'stall', times => 0);
	my ($rows) = $session->query(
		'BEGIN; DECLARE c CURSOR FOR SELECT instance FROM everywhere; FETCH 32 FROM c');
	is(join(' ', sort { $a cmp $b } keys %{ { map { $_ => 1 } split /\n/, $rows } }),
		'south west', 'the rows of two instances come while the third does not answer');
	$session->query('ROLLBACK');
	$sim{north}->clear_faults;

	# each owner has a list, of which four are read ahead
	my $owners = 'WHERE user_id IN (1, 2, 3, 5, 6, 8, 10)';
	reset_all();
	my ($per_owner) = $session->query(qq{SELECT count(*) FROM north_tokens $owners; SELECT count(*) FROM north_tokens WHERE user_id = 10});
	my ($all, $last) = split /\n/, $per_owner;
	$sim{north}->fault('GET', 'user_id=10', 'stall', times => 0);
	($rows) = $session->query("BEGIN; DECLARE c CURSOR FOR SELECT instance FROM everywhere $owners; FETCH "
			. (3 * $all - $last) . ' FROM c');
	is(scalar(split /\n/, $rows), 3 * $all - $last,
		"the rows of two instances come while the third does not answer for the last owner's list");
	$session->query('ROLLBACK');
	$sim{north}->clear_faults;
	($rows) = $session->query(
		qq{SELECT count(*) FROM north_tokens $owners UNION ALL SELECT count(*) FROM south_tokens $owners});
	is($rows, "$all\n$all", 'counts of two instances, several lists each, wait for all of them');
	return;
}

sub test_rows
{
	reset_all(tokens => 1000);
	my ($rows, $error) = $session->query(
		'SELECT instance, count(*), count(DISTINCT id) FROM everywhere GROUP BY 1 ORDER BY 1');
	is("$rows$error", "north|1016|1016\nsouth|1016|1016\nwest|1016|1016",
		'each token of three instances comes once, of many pages');
	($rows) = $session->query('SELECT count(*) FROM (SELECT * FROM everywhere LIMIT 2000) q');
	is($rows, '2000', 'a LIMIT ends the reading of three instances');
	($rows) = $session->query(
		q{SELECT string_agg(n || ':' || c, ' ' ORDER BY n) FROM generate_series(1, 3) n,
			LATERAL (SELECT count(*) AS c FROM everywhere WHERE id IN (n, n + 1) OFFSET 0) q});
	is($rows, '1:6 2:6 3:6', 'three instances are read anew for each row of another table');
	($rows) = $session->query('SELECT instance, id FROM everywhere ORDER BY id, instance LIMIT 4');
	is($rows, "north|1\nsouth|1\nwest|1\nnorth|2", 'an order over three instances is kept');
	($rows) = $session->query(q{SELECT count(*) FROM (SELECT id FROM everywhere UNION ALL SELECT id FROM tokens) q});
	is($rows, '3049', 'three instances and a local table come together');
	($rows) = $session->query('SET enable_async_append = off; SELECT count(*) FROM everywhere');
	is($rows, '3048', 'three instances can be read one after the other');
	$session->query('RESET enable_async_append');
	return;
}

sub test_ends
{
	reset_all();
	$sim{south}->fault('GET', '/personal_access_tokens', 'status', status => 500, times => 0);
	my ($rows, $error) = $session->query('SELECT count(*) FROM everywhere');
	like($error, qr/server "south"/, 'an error of one instance ends the statement, and names the server');
	$sim{south}->clear_faults;
	($rows) = $session->query('SELECT count(*) FROM everywhere');
	is($rows, '48', 'the session goes on after an error of one instance');
	return;
}
