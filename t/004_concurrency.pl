# Pages are fetched side by side, as many at a time as was allowed, and each
# token comes back exactly once.
#
# Runs alone: it compares times.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(max);
use Time::HiRes qw(time);

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# The simulator has some tokens of its own.
use constant FIXTURE => 16;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);
my $session = Session->open($node);
my $count = 'SELECT count(id), count(DISTINCT id) FROM gitlab_personal_access_tokens';

test_exactly_once();
my ($one, $eight);

# A busy machine may delay either: the better of some tries tells.
foreach (1 .. 4)
{
	$one = timed_listing(1);
	$eight = timed_listing(8);
	last if $eight * 2 <= $one;
}
note sprintf '5,000 tokens, 50 ms latency: %.2f s one by one, %.2f s eight at a time',
  $one, $eight;
cmp_ok($eight * 2, '<=', $one, 'eight requests at a time take half of the time at most');
test_lookups();
test_limit();

$session->close;
done_testing();

# --- the tests ----------------------------------------------------------------

sub set_concurrency
{
	my ($concurrency) = @_;
	my $exists = ($session->query(
			q{SELECT 'concurrency' IN (SELECT option_name FROM pg_options_to_table(
				(SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'gitlab')))}))[0];
	my $verb = $exists eq 't' ? 'SET' : 'ADD';

	$session->query("ALTER SERVER gitlab OPTIONS ($verb concurrency '$concurrency')");
	return;
}

# Reading a list that others may change takes one request more than it has pages:
# the one for what was created within the second of the first answer.
sub is_pages
{
	my ($pages, $name) = @_;
	my @more = $sim->journal(path => 'created_after=');

	is($sim->count - @more, $pages, "$name: the list has $pages pages");
	cmp_ok(scalar @more, '<=', 1, "$name: the list takes one request more at most");
	return;
}

sub most_in_flight
{
	return max map { $_->{in_flight} } $sim->journal(path => '/personal_access_tokens');
}

sub test_exactly_once
{
	$sim->reset(tokens => 1234 - FIXTURE);
	foreach my $concurrency (1, 4, 32)
	{
		set_concurrency($concurrency);
		$sim->clear_journal;
		is(($session->query($count))[0],
			'1234|1234', "each of 1,234 tokens comes once, $concurrency at a time");
		is_pages(13, "$concurrency at a time");
		cmp_ok(most_in_flight(), '<=', $concurrency,
			"no more than $concurrency requests are under way at a time");
	}
	return;
}

# Seconds that it takes to read 5,000 tokens.
sub timed_listing
{
	my ($concurrency) = @_;

	$sim->reset(tokens => 5000 - FIXTURE);
	set_concurrency($concurrency);
	# With a connection that is there already.
	$session->query('SELECT name FROM gitlab_personal_access_tokens WHERE id = 1');
	$sim->clear_journal;
	$sim->latency(50);
	my $started = time;
	my ($rows, $error) = $session->query($count);
	my $seconds = time - $started;

	$sim->latency(0);
	is("$rows$error", '5000|5000', "5,000 tokens come back, $concurrency at a time");
	is_pages(50, "$concurrency at a time");
	is(most_in_flight(), $concurrency, "$concurrency requests were in flight");
	return $seconds;
}

# Ids of an array are looked up side by side as well, each of them once.
sub test_lookups
{
	$sim->reset(tokens => 100);
	set_concurrency(8);
	$sim->latency(20);
	is( ($session->query(
				'SELECT count(id) FROM gitlab_personal_access_tokens '
				. q{WHERE id = ANY ('{1,2,3,4,5,6,7,8,9,10,11,12,12,1,NULL,4711}')}))[0],
		12, 'an array of ids finds its tokens');
	is($sim->count(path => 'tokens/\d'), 13, 'an array of ids takes one request for each id');
	is(most_in_flight(), 8, 'an array of ids makes eight requests at a time');
	$sim->latency(0);
	return;
}

# Who wants few rows does not have the rest fetched.
sub test_limit
{
	$sim->reset(tokens => 1234 - FIXTURE);
	set_concurrency(8);
	is( ($session->query(
				'SELECT count(id) FROM (SELECT id FROM gitlab_personal_access_tokens LIMIT 10) t'))[0],
		10, 'a limit of ten gives ten rows');
	is($sim->count, 1, 'a limit of ten takes one request');
	return;
}
