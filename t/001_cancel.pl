# Whatever a backend waits for, it stops waiting at once when told so, and leaves
# nothing behind: while an answer stalls, while a connection does not come about,
# and while it backs off.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IO::Socket::INET;
use Socket qw(SOMAXCONN);
use Time::HiRes qw(sleep time);

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# In milliseconds: from sending the request to stop until it has taken effect.  A
# busy machine gets more tries.
use constant PROMPT => 200;
use constant TRIES => 5;

my $listing = 'SELECT count(token) FROM gitlab_personal_access_tokens';
my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);
my $control = Session->open($node);

# A port that accepts no connection: its queue is full, so that whoever connects
# waits.
my @queue;
my $full = IO::Socket::INET->new(
	Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
foreach (1 .. 16)
{
	push @queue,
	  IO::Socket::INET->new(
		PeerAddr => '127.0.0.1', PeerPort => $full->sockport,
		Proto => 'tcp', Blocking => 0);
}
$node->safe_psql(
	'postgres', qq{
	CREATE SERVER unreachable FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url 'http://127.0.0.1:@{[ $full->sockport ]}', connect_timeout '1min');
	CREATE USER MAPPING FOR CURRENT_USER SERVER unreachable OPTIONS (token 'glpat-none');
	CREATE FOREIGN TABLE unreachable_tokens (id bigint) SERVER unreachable;
});

# Each way to wait: what makes it so, the statement, and how to know that the
# backend has got there.
my @waits = (
	{
		name => 'a stalled answer',
		arm => sub { $sim->fault('GET', '/personal_access_tokens', 'stall', times => 0) },
		sql => $listing,
		reached => sub { $sim->wait_for('GET', '/personal_access_tokens') },
	},
	{
		name => 'an answer that stalls in the middle of its body',
		arm => sub {
			$sim->fault('GET', '/personal_access_tokens', 'stall',
				times => 0, at => 'body');
		},
		sql => $listing,
		reached => sub { $sim->wait_for('GET', '/personal_access_tokens') },
	},
	{
		name => 'a connection that does not come about',
		arm => sub { },
		sql => 'SELECT count(*) FROM unreachable_tokens',
		reached => sub { sleep 0.3 },
	},
	{
		name => 'backing off',
		arm => sub {
			$sim->fault('GET', '/personal_access_tokens', 'status',
				times => 0, status => 429, headers => { 'Retry-After' => '30' });
		},
		sql => $listing,
		reached => sub {
			$sim->wait_for('GET', '/personal_access_tokens');
			sleep 0.1;
		},
	},);

foreach my $wait (@waits)
{
	is_prompt($wait, 'pg_cancel_backend()', \&test_cancel);
	is_prompt($wait, 'statement_timeout', \&test_timeout);
	is_prompt($wait, 'pg_terminate_backend()', \&test_terminate);
}
test_no_leak();
test_shutdown();

$sim->clear_faults;
done_testing();

# --- the tests ----------------------------------------------------------------

# The wait as it was set up, for a statement that is running now; the session.
sub start_waiting
{
	my ($wait) = @_;
	my $session = Session->open($node);

	$sim->reset;
	$wait->{arm}->();
	# The time on the server's clock when the statement has ended.
	$session->send("$wait->{sql};\nSELECT extract(epoch FROM clock_timestamp())");
	$wait->{reached}->();
	return $session;
}

# Each test of a wait says how long it took to end, in milliseconds.
sub test_cancel
{
	my ($wait) = @_;
	my $session = start_waiting($wait);
	my ($sent) = $control->query('SELECT extract(epoch FROM clock_timestamp()) FROM '
		. "pg_cancel_backend(@{[ $session->pid ]})");
	my ($ended, $error) = $session->finish;

	like($error, qr/57014/, "$wait->{name}: the statement is canceled");
	$sim->clear_faults;
	is(($session->query($listing))[0],
		0, "$wait->{name}: the session works afterwards");
	$session->close;
	return 1000 * ($ended - $sent);
}

sub test_timeout
{
	my ($wait) = @_;
	my $timeout = 500;
	my $session = Session->open($node);

	$sim->reset;
	$wait->{arm}->();
	my ($out, $error) = $session->query(
		"SET statement_timeout = $timeout;\n"
		. "SELECT extract(epoch FROM clock_timestamp());\n"
		. "$wait->{sql};\n"
		. "SELECT extract(epoch FROM clock_timestamp())");
	my ($started, $ended) = split /\n/, $out;

	like($error, qr/57014/, "$wait->{name}: the statement runs into its timeout");
	$session->close;
	return 1000 * ($ended - $started) - $timeout;
}

sub test_terminate
{
	my ($wait) = @_;
	my $session = start_waiting($wait);
	my $pid = $session->pid;
	my $deadline = time + 30;

	$control->query("SELECT pg_terminate_backend($pid)");
	my $sent = time;
	sleep 0.002 while kill(0, $pid) && time < $deadline;
	my $ended = time;

	ok(!kill(0, $pid), "$wait->{name}: the backend is terminated");
	return 1000 * ($ended - $sent);
}

# Fifty statements given up, and as many descriptors open as before.
sub test_no_leak
{
	my $session = Session->open($node);
	my $canceled = 0;

	$sim->reset;
	$session->query($listing);
	my $before = $session->descriptors;

	$session->query("SET statement_timeout = '60ms'");
	foreach my $i (1 .. 50)
	{
		$sim->clear_faults;
		$sim->fault('GET', '/personal_access_tokens', 'stall',
			times => 0, at => $i % 2 ? 'headers' : 'body');
		$canceled++ if ($session->query($listing))[1] =~ /57014/;
	}
	$sim->clear_faults;
	$session->query('RESET statement_timeout');
	is($canceled, 50, 'fifty statements are canceled');
	is(($session->query($listing))[1], '', 'the session works afterwards');
	is($session->descriptors, $before, 'no descriptor is left open');
	$session->close;
	return;
}

# A fast shutdown does not wait for GitLab.
sub test_shutdown
{
	my $session = start_waiting($waits[0]);
	my $started = time;

	$node->stop('fast');
	my $milliseconds = 1000 * (time - $started);
	note sprintf 'fast shutdown took %.0f ms', $milliseconds;
	# GitLab would take request_timeout, 30 seconds, at the least
	cmp_ok($milliseconds, '<', 20_000, 'a fast shutdown does not wait for GitLab');
	return;
}

sub is_prompt
{
	my ($wait, $means, $try) = @_;
	my $milliseconds;

	foreach (1 .. TRIES)
	{
		$milliseconds = $try->($wait);
		note sprintf '%s: %s took effect after %.1f ms', $wait->{name}, $means, $milliseconds;
		last if $milliseconds < PROMPT;
	}
	cmp_ok($milliseconds, '<', PROMPT, "$wait->{name}: $means ends the wait at once");
	return;
}
