# Load: many sessions scan, create, rotate and revoke at the same time, through a
# GitLab that drops, delays and refuses about every twentieth request, while
# some are cancelled.  Each transaction notes in a table what it does; in the
# end GitLab has exactly what the committed ones noted, but for what errors and
# warnings in the log have named.
#
# Runs alone: it loads the machine.
#
# LOAD_BACKENDS (12), LOAD_SECONDS (12), LOAD_SEED (1).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IPC::Open3;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $backends = $ENV{LOAD_BACKENDS} // 12;
my $seconds = $ENV{LOAD_SECONDS} // 12;
my $seed = $ENV{LOAD_SEED} // 1;

# Tokens that nobody touches, and that each list has to have.
use constant SEEDED => 200;

# What a backend may grow by, in kB, after it has done some of everything.
use constant GROWTH => 4 * 1024;

# [kind, probability, more]: together 5 %
my @faults = (
	[ 'reset', 0.006 ],
	[ 'reset', 0.006, moment => 'after' ],
	[ 'close', 0.004, moment => 'after' ],
	[ 'truncate', 0.003 ],
	[ 'status', 0.004, status => 502 ],
	[ 'status', 0.003, status => 503, moment => 'after' ],
	[ 'status', 0.010, status => 429, headers => { 'Retry-After' => 1 } ],
	[ 'stall', 0.012, seconds => 0.3 ],
	[ 'stall', 0.002, seconds => 4, moment => 'after' ]);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	conf => "log_statement = none\nmax_connections = " . ($backends + 10) . "\n",
	server_options => q{request_timeout '3s', rollback_timeout '5s', max_retry_wait '2s'});
create_tables($node, 'load');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE load.journal (backend int, made bigint UNIQUE, gone bigint, name text, token text);
	CREATE INDEX ON load.journal (gone);
	CREATE INDEX ON load.journal (backend);
	-- what is active, if all that was committed is true
	CREATE VIEW load.live AS
		SELECT * FROM load.journal j WHERE made IS NOT NULL
			AND NOT EXISTS (SELECT FROM load.journal g WHERE g.gone = j.made);});
$sim->reset(tokens => SEEDED);

my $directory = PostgreSQL::Test::Utils::tempdir;
my $began = time;
my $number = 0;
foreach my $fault (@faults)
{
	my ($kind, $probability, %more) = @$fault;

	$sim->fault('*', '', $kind, times => 0, probability => $probability,
		seed => 100 * $seed + $number++, %more);
}
my %children = map { (start_backend($_) => $_) } 1 .. $backends;
my $cancelled = cancel_some();
my @failed = grep { waitpid($_, 0); $? } sort { $a <=> $b } keys %children;
is("@failed", '', "$backends clients have come to their end");
my %faults_fired = map { ("$_->{kind} $_->{id}" => $_->{fired}) } @{ $sim->control('GET', 'faults') };
$sim->clear_faults;
wait_until('all backends are gone', sub {
	$node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'load'}) eq '0';
});

check_clients();
check_tokens();
is_alive($node);
done_testing();

# --- the clients -----------------------------------------------------------------

# Runs psql in a child process, which has it do one transaction after another.
sub start_backend
{
	my ($backend) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	# Nothing of the test's may run in here.
	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	eval { run_backend($backend); 1 } or do { print STDERR $@; POSIX::_exit(1) };
	POSIX::_exit(0);
}

# Its results, a line in a file: pid, transactions, errors, lists, lists that
# were incomplete, memory at first and at last.
sub run_backend
{
	my ($backend) = @_;

	srand(1000 * $seed + $backend);
	open my $errors, '>', "$directory/errors.$backend" or die "open: $!";
	open my $null, '<', '/dev/null' or die "open: $!";
	my $psql = open3(my $in, my $out, '>&' . fileno($errors),
		$node->installed_command('psql'), '-XAtq', '-f', '-',
		'-d', $node->connstr('postgres') . q{ application_name=load});
	$in->autoflush(1);
	my $marks = 0;
	my $run = sub {
		my ($sql) = @_;
		my @lines;

		$marks++;
		print $in "$sql\n\\echo done-$marks\n";
		while (defined(my $line = <$out>))
		{
			chomp $line;
			return @lines if $line eq "done-$marks";
			push @lines, $line;
		}
		die "backend $backend: psql has ended";
	};
	my ($pid) = $run->('SELECT pg_backend_pid(); SET search_path = load, public;');
	my ($transactions, $lists, $incomplete, $early) = (0, 0, 0, undef);
	my $end = $began + $seconds;

	while (time < $end)
	{
		my ($kind, $sql) = transaction($backend, $transactions++, $run);
		my @lines = $run->($sql);

		if ($kind eq 'list' && @lines)
		{
			$lists++;
			$incomplete++ if $lines[-1] ne SEEDED . '|' . SEEDED;
		}
		$early //= anonymous_memory($pid) if time > $began + $seconds / 3;
	}
	my $late = anonymous_memory($pid);
	close $in;
	waitpid $psql, 0;
	append_to_file("$directory/result.$backend", join ' ', $pid, $transactions,
		$lists, $incomplete, $early // $late, $late);
	return;
}

# Memory that is the backend's own, in kB.
sub anonymous_memory
{
	my ($pid) = @_;
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s*(\d+) kB/m;

	return $kilobytes;
}

# One of the kinds of transactions, as SQL.
sub transaction
{
	my ($backend, $transaction, $run) = @_;
	my $names = 0;
	my $create = sub {
		my $name = "load-$backend-$transaction-" . $names++;
		my $user = (2, 7, 8, 10)[ rand 4 ];

		return "WITH new AS (INSERT INTO tokens (user_id, name, scopes, expires_at)
			VALUES ($user, '$name', '{read_api}', current_date + 30) RETURNING id, token)
			INSERT INTO journal SELECT $backend, id, NULL, '$name', token FROM new;";
	};
	# mostly one of its own, sometimes what another one may be changing, too
	my $pick = sub {
		my $whose = rand() < 0.9 ? "WHERE backend = $backend" : '';
		my ($id) = $run->("SELECT made FROM live $whose ORDER BY random() LIMIT 1;");

		return $id // 0;
	};
	my $rotate = sub {
		my ($table) = @_;
		my $id = $pick->();

		return "WITH new AS (UPDATE $table SET expires_at = current_date + 60
				WHERE id = $id RETURNING id, name, token)
			INSERT INTO journal SELECT $backend, id, $id, name, token FROM new;";
	};
	my $revoke = sub {
		my $id = $pick->();

		return "WITH old AS (DELETE FROM tokens WHERE id = $id RETURNING id, name)
			INSERT INTO journal SELECT $backend, NULL, id, name FROM old;";
	};
	my $end = rand() < 0.6 ? 'COMMIT;' : 'ROLLBACK;';
	my @kinds = (
		# mostly only as far as all of them go: the list grows and grows
		[ 1, list => sub {
			q{SELECT count(*), count(DISTINCT id) FROM tokens WHERE name ~ '^token \d'}
			  . (rand() < 0.8 ? q{ AND created_at < '2026-01-01'} : '') . ';' } ],
		[ 3, some => sub { 'SELECT count(name) FROM tokens WHERE active AND user_id = 8;' } ],
		[ 3, lookup => sub { 'SELECT name FROM tokens WHERE id = ' . $pick->() . ';' } ],
		[ 1, cursor => sub { 'BEGIN; DECLARE c CURSOR FOR SELECT name FROM tokens; FETCH 3 FROM c; COMMIT;' } ],
		[ 6, create => $create ],
		[ 3, two => sub { 'BEGIN;' . $create->() . $create->() . $end } ],
		[ 3, undone => sub { 'BEGIN;' . $create->() . 'SELECT 1 / 0;' . $create->() . 'COMMIT;' } ],
		[ 4, savepoint => sub {
			'BEGIN;' . $create->() . 'SAVEPOINT s;' . $create->() . $rotate->('tokens')
			  . 'ROLLBACK TO s;' . $create->() . $end } ],
		[ 4, rotate => sub { $rotate->('tokens') } ],
		[ 1, native => sub { $rotate->('native_tokens') } ],
		[ 1, native_undone => sub { 'BEGIN;' . $rotate->('native_tokens') . $end } ],
		[ 4, revoke => $revoke ],
		[ 3, several => sub { 'BEGIN;' . $revoke->() . $revoke->() . $revoke->() . $end } ],
		[ 4, all => sub {
			'BEGIN;' . $create->() . $rotate->('tokens') . $revoke->() . 'SAVEPOINT s;'
			  . $revoke->() . (rand() < 0.5 ? 'ROLLBACK TO s;' : 'RELEASE s;') . $end } ]);
	my $weight = 0;
	$weight += $_->[0] foreach @kinds;
	my $dice = rand $weight;

	foreach my $kind (@kinds)
	{
		$dice -= $kind->[0];
		return ($kind->[1], $kind->[2]->()) if $dice < 0;
	}
	die;
}

# Cancels whatever is at hand, about twice a second, while it lasts.
sub cancel_some
{
	my $count = 0;

	while (time < $began + $seconds)
	{
		sleep 0.5;
		$count += $node->safe_psql('postgres', q{
			SELECT count(pg_cancel_backend(pid)) FROM (
				SELECT pid FROM pg_stat_activity
				WHERE application_name = 'load' AND state = 'active'
				ORDER BY random() LIMIT 1) s});
	}
	return $count;
}

# --- what has come of it -----------------------------------------------------------

sub check_clients
{
	my ($transactions, $lists, $incomplete, @grown) = (0, 0, 0);
	my $most = 0;

	foreach my $backend (1 .. $backends)
	{
		my ($pid, $n, $n_lists, $n_incomplete, $early, $late) =
		  split ' ', slurp_file("$directory/result.$backend");

		$transactions += $n;
		$lists += $n_lists;
		$incomplete += $n_incomplete;
		$most = $late - $early if $late - $early > $most;
		push @grown, "$backend: $early -> $late kB" if $late - $early > GROWTH;
	}
	cmp_ok($transactions, '>', 2 * $backends, 'the clients have committed something');
	is($incomplete, 0, 'each list that was read had all tokens once');
	is("@grown", '', 'no backend has grown');
	note "$transactions transactions, $lists full lists, $cancelled cancels, ",
	  $sim->count, ' requests, growth up to ', $most, ' kB';
	note "faults: $_, $faults_fired{$_} times" foreach sort keys %faults_fired;
	return;
}

# What the log says about tokens that are not as the journal has them.
sub named_in_log
{
	my ($log) = @_;
	my %named = (alive => {}, dead => {}, lost => {});
	my $ids = qr/\d+(?:, \d+)*/;

	# a revocation after commit, or of a rollback
	$named{alive}{$_} = 1
	  foreach map { split /, / } $log =~ /WARNING:  could not revoke personal access tokens? on server "gitlab": ($ids)/g;
	# a rollback after revocations
	$named{dead}{$_} = 1
	  foreach map { split /, / } $log =~ /personal access tokens were revoked on server "gitlab": ($ids)/g,
	  $log =~ /personal access tokens may have been revoked on server "gitlab": ($ids)/g,
	  $log =~ /had already been revoked: ($ids)/g,
	  $log =~ /ERROR:  could not (?:revoke|rotate|replace) personal access token ($ids) on/g;
	# native rotations
	while ($log =~ /the rotation of personal access token (\d+) on server "gitlab" could not be rolled back\n.*in favor of (\d+)/g)
	{
		$named{dead}{$1} = 1;
		$named{alive}{$2} = 1;
	}
	$named{dead}{$_} = 1
	  foreach $log =~ /personal access token (\d+) on server "gitlab" may have been rotated/g;
	# what nobody knows, to be found by its name
	$named{lost}{$_}++ foreach $log =~ /HINT:  .*SELECT .* name = '(load-[\d-]+)'/g;
	return \%named;
}

sub check_tokens
{
	my $log = slurp_file($node->logfile);
	my $named = named_in_log($log);
	my %live = map { split /\|/ }
	  split /\n/, $node->safe_psql('postgres', 'SELECT made, name FROM load.live');
	my %secret = map { split /\|/ }
	  split /\n/, $node->safe_psql('postgres', 'SELECT made, token FROM load.journal WHERE made IS NOT NULL');
	my %token = map { ($_->{id} => $_) } grep { $_->{name} =~ /^load-/ } $sim->tokens;
	my @active = grep { $token{$_}{state} eq 'active' } sort { $a <=> $b } keys %token;
	my @vanished = grep {
		my $token = $token{$_};
		!($token && $token->{state} eq 'active') && !$named->{dead}{$_}
	} sort { $a <=> $b } keys %live;
	my (@orphans, %accounted);

	foreach my $id (grep { !exists $live{$_} } @active)
	{
		if ($named->{alive}{$id})
		{
			$accounted{revocation}++;
		}
		elsif ($named->{lost}{ $token{$id}{name} })
		{
			$named->{lost}{ $token{$id}{name} }--;
			$accounted{answer}++;
		}
		else
		{
			push @orphans, "$id ($token{$id}{name})";
		}
	}
	is(join(', ', @vanished), '', 'GitLab has each token that was committed');
	is(join(', ', @orphans), '', 'GitLab has no other token, but for those that the log names');
	is(join(', ', grep { !$token{$_} || $token{$_}{token} ne $secret{$_} } sort keys %secret),
		'', 'each stored secret is its token\'s');
	cmp_ok(scalar keys %live, '>', 0, 'the load leaves tokens that are active');
	note scalar(keys %token), ' tokens created, ', scalar(@active), ' active, ',
	  scalar(keys %live), ' by the journal; left by lost answers: ',
	  $accounted{answer} // 0, ', by revocations that failed: ', $accounted{revocation} // 0;
	note "in the log: $_" foreach count_messages($log);
	# what could not be said is a bug, too
	is_secretive($sim, $log, 'the log');
	return;
}

# The kinds of errors and warnings in the log, with how often they are there.
sub count_messages
{
	my ($log) = @_;
	my %count;

	foreach my $message ($log =~ /((?:ERROR|WARNING|FATAL):  .*)/g)
	{
		$message =~ s/\d+(?:, \d+)*/N/g;
		$count{$message}++;
	}
	return map { "$count{$_} x $_" } sort keys %count;
}
