# gitlab_pat_rotate_due() with processes, faults and time: the next delivery
# comes whatever became of the last one, a cancel stops it, and two sessions do
# not rotate by the same table.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	server_options => q{max_retries '0', request_timeout '300ms', rollback_timeout '600ms'});
$node->safe_psql('postgres', q{
	CREATE TABLE token_deliveries (token_name text, owner text, project text,
		variable text, environment_scope text, days integer);
	CREATE TABLE token_rotations (at timestamptz, owner text, token_name text,
		old_id bigint, new_id bigint, outcome text, message text);});

# Ten tokens of alice's, each delivered into a variable of its own.
sub set_stage
{
	$sim->reset;
	$node->safe_psql('postgres', 'TRUNCATE token_deliveries, token_rotations');
	foreach my $n (1 .. 10)
	{
		my $id = 100 + $n;

		$sim->control('POST', 'tokens', undef, {
			id => $id, user_id => 2, name => "job $n", scopes => ['api'],
			token => "glpat-job-$id", expires_at => "2090-01-0" . ($n % 9 + 1) });
		$sim->variable_set(project => 'acme/app', key => "JOB_$n",
			value => "glpat-job-$id");
	}
	$node->safe_psql('postgres', q{INSERT INTO token_deliveries
		SELECT 'job ' || n, 'alice', 'acme/app', 'JOB_' || n, '*', 1000000
			FROM generate_series(1, 10) n});
	$sim->clear_journal;
	return;
}

sub outcomes
{
	return $node->safe_psql('postgres', q{SELECT string_agg(format('%s %s', n, outcome), ', ' ORDER BY outcome)
		FROM (SELECT outcome, count(*) n FROM token_rotations GROUP BY 1) o});
}

# All that the log says was rotated is delivered, all else is as it was.
sub is_true
{
	my ($what) = @_;
	my $rotated = $node->safe_psql('postgres',
		"SELECT coalesce(string_agg(old_id || '>' || new_id, ' ' ORDER BY old_id), '')
			FROM token_rotations WHERE outcome = 'rotated'");
	my @found;

	foreach my $n (1 .. 10)
	{
		my ($variable) = grep { $_->{key} eq "JOB_$n" } $sim->variables;
		push @found, (100 + $n) . ">$variable->{token_id}"
		  if $variable->{token_id} != 100 + $n;
	}
	is(join(' ', @found), $rotated, "$what: what was written down is true");
	is(join(' ', map { $_->{key} } $sim->dead_variables), '',
		"$what: every variable has a token that works");
	return;
}

my $call = q{CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')};

# Each third delivery meets a fault of another kind.
set_stage();
$sim->fault('PUT', 'JOB_[36]$', 'status', status => 403, times => 0);
$sim->fault('PUT', 'JOB_[36]\?', 'status', status => 403, times => 0);
$sim->fault('PUT', 'JOB_9\?', 'reset', times => 0);
my ($code, $out, $err) = $node->psql('postgres', $call);
like($err, qr/3 of 10 personal access tokens could not be rotated/, 'faults: counted');
is(outcomes(), '3 failed, 7 rotated', 'faults: the others are done');
is_true('faults');
$sim->clear_faults;
($code, $out, $err) = $node->psql('postgres',
	q{CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')});
unlike($err, qr/ERROR/, 'afterwards: all are done');

# An outage in the midst of it, and a second try.
set_stage();
$sim->fault('*', '.', 'status', status => 503, times => 0, nth => 40);
($code, $out, $err) = $node->psql('postgres', $call);
$sim->clear_faults;
like($err, qr/ of 10 personal access tokens could not be rotated/, 'outage: said');
is_true('outage');

# A cancel stops it; what was done stays done.
foreach my $signal (qw(INT TERM))
{
	set_stage();
	$sim->fault('POST', 'users/2/personal', 'stall', nth => 4, seconds => 1);
	my $session = Session->open($node, verbosity => 'default');
	$session->send($call);
	$sim->wait_for('POST', 'users/2/personal', 4);
	my $started = time;
	signal_backend($session, $signal);
	my $said = said_later($session);
	wait_until_gone($session) if $signal eq 'TERM';
	$session->close;
	$sim->clear_faults;
	like($said, $signal eq 'INT' ? qr/canceling statement/ : qr/terminating connection/,
		"SIG$signal: stopped");
	is(outcomes(), '3 rotated', "SIG$signal: what was done is done");
	is_true("SIG$signal");
	is($node->safe_psql('postgres',
			q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}),
		0, "SIG$signal: the lock is gone");
}

# Two sessions do not rotate by the same table at a time.
set_stage();
$sim->fault('POST', 'users/2/personal', 'stall', seconds => 0.2);
my $first = Session->open($node, verbosity => 'default');
$first->send($call);
$sim->wait_for('POST', 'users/2/personal');
($code, $out, $err) = $node->psql('postgres', $call);
like($err, qr/another session is rotating by "token_deliveries"/, 'one at a time');
unlike(said_later($first), qr/ERROR/, 'one at a time: the first is not disturbed');
$first->close;
is(outcomes(), '10 rotated', 'one at a time: it did its work');

is_alive($node);

done_testing();
