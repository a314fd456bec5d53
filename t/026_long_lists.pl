# Lists that are longer than GitLab counts.
#
# Above 10,000 rows GitLab gives no totals.  A list of 25,000 tokens is complete
# while others create, use and remove tokens, in the order that was promised, and
# takes few more requests than it has pages.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $tokens = 25_000;
my $pages = $tokens / 100;
my $most = 1.15 * $pages + 40;
my $table = 'gitlab_personal_access_tokens';

my $sim = GitLabSim->start(args => [ '--gitlab-version', '19.4' ]);
my $node = gitlab_cluster('main', $sim, conf => "gitlab_pat_fdw.discard_secrets = on\n");

$node->safe_psql(
	'postgres', qq{
	CREATE SERVER big VERSION '19.4' FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '${\$sim->url}', concurrency '8');
	CREATE USER MAPPING FOR CURRENT_USER SERVER big OPTIONS (token 'glpat-sim-admin');
	CREATE SCHEMA big;
	IMPORT FOREIGN SCHEMA gitlab FROM SERVER big INTO big});
my $session = Session->open($node);

$sim->reset(version => '19.4', tokens => $tokens);
test_complete();
test_little();
test_changes();
test_late();
$session->close;
done_testing();

sub hook
{
	my ($nth, @actions) = @_;

	$sim->control('POST', 'hooks', undef,
		{ method => 'GET', path => 'page=', nth => $nth, do => \@actions });
	return;
}

# The number of rows, of different rows, and whether they are in order; or an error.
sub summary
{
	my ($columns, $rest, $order) = @_;

	$sim->clear_journal;
	my ($out, $error) = $session->query(
		"SELECT count(*), count(DISTINCT id), bool_and(coalesce(previous <= this, true)) FROM (
			SELECT id, $order AS this, lag($order) OVER () AS previous
			FROM (SELECT $columns FROM big.$table $rest) t) t");

	return $error || $out;
}

sub test_complete
{
	my $all = $tokens + 16;

	like(summary('id', 'OFFSET 0', 'id'), qr/^$all\|$all\|/, 'a list of 25,000 tokens is complete');
	cmp_ok($sim->count, '<=', $most, 'a list of 25,000 tokens takes few more requests than pages');
	note 'requests: ' . $sim->count;

	is(summary('id', 'ORDER BY id', 'id'), "$all|$all|t", 'a list of 25,000 tokens comes in the order of ids');
	cmp_ok($sim->count, '<=', $most, 'the order of ids takes no more requests');
	note 'requests: ' . $sim->count;

	is(summary('id, expires_at', 'ORDER BY expires_at', "coalesce(expires_at, 'infinity')"),
		"$all|$all|t", 'a list of 25,000 tokens comes in the order of expiry');
	cmp_ok($sim->count, '<=', $most, 'the order of expiry takes no more requests');
	return;
}

# What needs but the first rows reads no more of a long list.
sub test_little
{
	foreach (
		[ 'LIMIT 250', 3 ], [ 'LIMIT 50', 1 ], [ 'ORDER BY id LIMIT 250', 7 ],
		[ 'ORDER BY id DESC LIMIT 5', 1 ], [ 'ORDER BY created_at DESC LIMIT 5', 1 ])
	{
		my ($rest, $requests) = @$_;

		$session->query("SELECT id FROM big.$table LIMIT 1");
		$sim->clear_journal;
		my ($out, $error) = $session->query("SELECT count(*) FROM (SELECT id FROM big.$table $rest) t");
		is($out . $error, $rest =~ /LIMIT (\d+)/ ? $1 : '', "$rest of a long list has so many rows");
		is($sim->count, $requests, "$rest of a long list takes $requests requests");
	}
	return;
}

# Tokens that nobody touches come exactly once, whatever happens to others.
sub test_changes
{
	foreach my $order ('', 'ORDER BY id')
	{
		my ($before) = $session->query("SELECT max(id) FROM big.$table");
		my $gone = 40;
		my $first = $order ? 3001 : 1001;

		# each removal lets a row slide past the page that is read next
		hook(3 * $_, { remove => $first + 50 * $_ },
			{ create => { user_id => 2, name => 'new', scopes => ['api'] } }) foreach 1 .. $gone;
		$sim->clear_journal;
		my ($out, $error) = $session->query(
			"SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM big.$table $order OFFSET 0) t
			 WHERE id <= $before AND NOT (id BETWEEN $first AND @{[$first + 50 * $gone]} AND (id - $first) % 50 = 0)");
		my $requests = $sim->count;
		$sim->control('DELETE', 'hooks');
		my ($left) = $session->query(
			"SELECT count(*) FROM (SELECT id FROM big.$table OFFSET 0) t
			 WHERE id <= $before AND NOT (id BETWEEN $first AND @{[$first + 50 * $gone]} AND (id - $first) % 50 = 0)");

		is($out . $error, "$left|$left", "what nobody touches comes once while rows come and go: $order");
		cmp_ok($requests, '<=', $most, "rows that come and go take few more requests than pages: $order");
		note "requests: $requests";
	}
	return;
}

# What is created meanwhile does not belong into an order that was promised.
sub test_late
{
	my $query = "SELECT count(*), count(DISTINCT id) FROM
		(SELECT * FROM big.$table WHERE name ~ '7' ORDER BY id DESC LIMIT 2000) t";

	$session->query('SET enable_sort = off');
	like(($session->query("EXPLAIN $query"))[0], qr/sort=id_desc/, 'the order of a long list is pushed down');
	hook(30, { create => { user_id => 2, name => 'new', scopes => ['api'] } });
	my ($out, $error) = $session->query($query);
	$sim->control('DELETE', 'hooks');
	is($out . $error, '2000|2000', 'a long list in a promised order does not fail when a token is created meanwhile');
	$session->query('RESET enable_sort');

	# in the second in which GitLab answers first, which no parameter tells from what comes then
	foreach my $order ('', 'ORDER BY id')
	{
		my @new = map { $sim->control('POST', 'tokens', undef,
				{ user_id => 2, name => "just now $_ $order", scopes => ['api'] })->{id} } 1 .. 5;

		($out, $error) = $session->query(
			"SELECT string_agg(id::text, ' ' ORDER BY id) FROM (SELECT * FROM big.$table $order OFFSET 0) t WHERE id >= $new[0]");
		is($out . $error, "@new", "tokens that were created right before a long list is read are in it: $order");
	}
	return;
}
