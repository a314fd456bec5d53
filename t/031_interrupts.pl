# Whatever a backend waits for, it stops at once when told so, by whatever means:
# cancel, statement_timeout, terminate, shutdown and the postmaster's death; and
# no other database waits for it.
#
# A table of waits, each tried with each means.
#
# Runs alone: it measures times.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# In milliseconds.  Most takes less than ten; a machine may be so busy that
# whatever takes longer than it should gets two more tries.
use constant PROMPT => 200;
use constant TRIES => 3;

# More where all sessions end at once, and share the machine.
use constant CROWD => 800;

# What a rollback may spend on GitLab, and a rotation of the credential.
use constant ROLLBACK_TIMEOUT => 5;
use constant ROTATION_TIMEOUT => 1;


# --- a name lookup that takes its time ------------------------------------------------

my $preload = PostgreSQL::Test::Utils::tempdir . '/slow_lookup.so';

append_to_file("$preload.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

/* A host called slow-N takes N seconds, and does not exist. */
int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **result)
{
	int			(*real) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **);
	int			seconds;

	if (node && sscanf(node, "slow-%d", &seconds) == 1)
	{
		sleep(seconds);
		return EAI_NONAME;
	}
	*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, result);
}
C
system_or_bail('cc', '-shared', '-fPIC', '-o', $preload, "$preload.c", '-ldl');


# --- the stage ----------------------------------------------------------------------------

my $sim = GitLabSim->start;
my $url = $sim->url;

# A port whose queue is full, so that whoever connects waits; and one where
# connections come about, but nobody ever says anything.
my $full = IO::Socket::INET->new(
	Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
my @queue = map {
	IO::Socket::INET->new(
		PeerAddr => '127.0.0.1', PeerPort => $full->sockport,
		Proto => 'tcp', Blocking => 0)
} 1 .. 16;
my $silent = IO::Socket::INET->new(
	Listen => 1000, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";

# The environment is the server's only.
my $node = start_cluster('main');

sub start_cluster
{
	my ($name) = @_;
	local $ENV{LD_PRELOAD} = $preload;
	my $cluster = gitlab_cluster(
		$name, $sim,
		conf => "jit = off\nlog_statement = 'none'\ngitlab_pat_fdw.discard_secrets = on\n",
		server_options => "rollback_timeout '${\ROLLBACK_TIMEOUT}s', max_retries '1'");

	foreach my $server (
		[ 'crowded', "http://127.0.0.1:${\$full->sockport}" ],
		[ 'silent', "https://127.0.0.1:${\$silent->sockport}" ],
		[ 'slow', 'https://slow-30.invalid' ],
		[ 'sluggish', 'https://slow-2.invalid' ],
		[ 'rotating', $url, 'glpat-sim-selfrotate' ])
	{
		my ($server_name, $there, $token) = @$server;

		$token //= 'glpat-none';
		$cluster->safe_psql(
			'postgres', qq{
			CREATE SERVER $server_name FOREIGN DATA WRAPPER gitlab_pat_fdw
				OPTIONS (url '$there', connect_timeout '1min', request_timeout '1min',
					rollback_timeout '${\ROTATION_TIMEOUT}s');
			CREATE USER MAPPING FOR CURRENT_USER SERVER $server_name OPTIONS (token '$token');
			CREATE FOREIGN TABLE ${server_name}_tokens (id bigint, name text) SERVER $server_name;});
	}
	return $cluster;
}

my $insert = q{INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', current_date + 90)};

# Each way to wait: the statement; the request that it waits for, or none if it
# does not get that far; "commit" or "rollback" if it is the transaction's end
# that waits; and how long it may take to obey, in milliseconds.
my @waits = (
	{ name => 'a connection that does not come about', sql => 'SELECT * FROM crowded_tokens' },
	{ name => 'a TLS handshake', sql => 'SELECT * FROM silent_tokens' },
	{ name => 'a name lookup', sql => 'SELECT * FROM slow_tokens' },
	{
		name => 'an answer',
		sql => 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 12',
		request => [ 'GET', 'tokens/12$' ],
	},
	{
		name => 'the rest of an answer',
		sql => 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 13',
		request => [ 'GET', 'tokens/13$' ],
	},
	{
		name => 'a back-off',
		sql => 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 14',
		request => [ 'GET', 'tokens/14$' ],
		answered => 1,
	},
	{
		name => 'a revocation at commit',
		sql => 'DELETE FROM gitlab_personal_access_tokens WHERE id = 2',
		request => [ 'DELETE', 'tokens/2$' ],
		end => 'commit',
	},
	{
		name => 'a back-off at commit',
		sql => 'DELETE FROM gitlab_personal_access_tokens WHERE id = 3',
		request => [ 'DELETE', 'tokens/3$' ],
		answered => 1,
		end => 'commit',
	},
	{
		name => 'a revocation at rollback',
		sql => "BEGIN; $insert; ROLLBACK",
		request => [ 'DELETE', 'tokens/\d\d$' ],
		end => 'rollback',
	},
	{
		name => 'a revocation after commit',
		sql => 'UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90 WHERE id = 7',
		request => [ 'DELETE', 'tokens/7$' ],
		end => 'rollback',
	},
	{
		name => 'a rotation of the credential',
		sql => q{CALL gitlab_pat_rotate_self('rotating')},
		request => [ 'POST', 'self/rotate$' ],
		prompt => 1000 * ROTATION_TIMEOUT + PROMPT,
		patient => 1,
	});

# A back-off that is longer than any test here
my %later = (status => 429, headers => { 'Retry-After' => '30' });

sub arm
{
	$sim->reset;
	$sim->fault('GET', 'tokens/12$', 'stall', times => 0);
	$sim->fault('GET', 'tokens/13$', 'stall', times => 0, at => 'body');
	$sim->fault('GET', 'tokens/14$', 'status', times => 0, %later);
	$sim->fault('DELETE', 'tokens/3$', 'status', times => 0, %later);
	$sim->fault('DELETE', 'tokens/\d+$', 'stall', times => 0);
	$sim->fault('POST', 'self/rotate$', 'stall', times => 0);
	return;
}

my $control = Session->open($node);
my $probe = 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 4';

foreach my $wait (@waits)
{
	is_prompt($wait, 'pg_cancel_backend', \&test_cancel);
	is_prompt($wait, 'statement_timeout', \&test_timeout) unless $wait->{end} || $wait->{patient};
	is_prompt($wait, 'pg_terminate_backend', \&test_terminate);
}
test_drop_database();
test_drop_database_beside_rollback();
test_timeout_at_end();
test_no_leak();
test_shutdown();
test_postmaster_death();
is_alive($node);

$sim->clear_faults;
done_testing();


# --- helpers --------------------------------------------------------------------------------

# A session that waits.
sub start_waiting
{
	my ($wait, $cluster, $controller) = @_;
	my $session = Session->open($cluster // $node);

	$sim->clear_journal;
	# the time on the server's clock when the statement has ended
	$session->send("$wait->{sql};\nSELECT extract(epoch FROM clock_timestamp())");
	if ($wait->{request})
	{
		$sim->wait_for(@{ $wait->{request} });
		sleep 0.1 if $wait->{answered};
	}
	else
	{
		wait_until(
			$wait->{name},
			sub {
				(($controller // $control)->query(
					'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $session->pid))[0]
				  eq 'Extension';
			});
		sleep 0.05;
	}
	return $session;
}

# Tests how long something takes to end a wait, in milliseconds.
sub is_prompt
{
	my ($wait, $means, $try, $more) = @_;
	my $limit = ($wait->{prompt} // PROMPT) + ($more // 0);
	my $milliseconds;

	foreach (1 .. TRIES)
	{
		$milliseconds = $try->($wait);
		note sprintf '%s: %s: %.1f ms', $wait->{name}, $means, $milliseconds;
		last if $milliseconds < $limit;
	}
	cmp_ok($milliseconds, '<', $limit, "$wait->{name}: $means takes effect at once");
	return;
}

# Has a process exited?  Without a postmaster, who knows when it is reaped.
sub is_gone
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return 1;
	return (<$stat> // ') Z ') =~ /\) [XZ] /;
}

sub wait_for_exit
{
	my ($pid) = @_;
	my $deadline = time + 30;

	sleep 0.002 until is_gone($pid) || time > $deadline;
	return is_gone($pid);
}


# --- the tests -------------------------------------------------------------------------------

sub test_cancel
{
	my ($wait) = @_;

	arm();
	my $session = start_waiting($wait);
	my ($sent) = $control->query('SELECT extract(epoch FROM clock_timestamp()) FROM '
		  . "pg_cancel_backend(@{[ $session->pid ]})");
	my ($out, $error) = $session->finish;
	my ($ended) = $out =~ /(\S+)\s*\z/;

	if (($wait->{end} // '') eq 'rollback')
	{
		# the transaction is over; what is left undone is said
		like($error, qr/WARNING/, "$wait->{name}: the wait ends with a warning");
	}
	elsif ($wait->{patient})
	{
		like($error, qr/ERROR:  08006/, "$wait->{name}: the wait ends with an error");
	}
	else
	{
		like($error, qr/ERROR:  57014/, "$wait->{name}: the statement is canceled");
	}
	$sim->clear_faults;
	is(($session->query($probe))[0],
		'root no admin mode', "$wait->{name}: the session works afterwards");
	$session->close;
	return 1000 * ($ended - $sent);
}

sub test_timeout
{
	my ($wait) = @_;
	my $timeout = 300;
	my $session = Session->open($node);

	arm();
	my ($out, $error) = $session->query(
		"SET statement_timeout = $timeout;\n"
		  . "SELECT extract(epoch FROM clock_timestamp());\n"
		  . "$wait->{sql};\n"
		  . 'SELECT extract(epoch FROM clock_timestamp())');
	my ($started, $ended) = split /\n/, $out;

	like($error, qr/ERROR:  57014/, "$wait->{name}: the statement runs into its timeout");
	$session->close;
	return 1000 * ($ended - $started) - $timeout;
}

sub test_terminate
{
	my ($wait) = @_;

	arm();
	my $session = start_waiting($wait);
	my $sent = time;
	$control->query("SELECT pg_terminate_backend(@{[ $session->pid ]})");
	my $gone = wait_for_exit($session->pid);
	my $milliseconds = 1000 * (time - $sent);
	ok($gone, "$wait->{name}: the backend is terminated");
	return $milliseconds;
}

# DROP DATABASE waits until each backend has let go of the files of the database,
# those that wait for GitLab included.  All do so at once, but for those that
# PostgreSQL forbids: while a transaction is rolled back or has committed.
sub test_drop_database
{
	arm();
	my $alone = time_drop_database();
	my @sessions = map { start_waiting($_) } grep { !$_->{patient} && ($_->{end} // '') ne 'rollback' } @waits;

	is_prompt(
		{ name => scalar(@sessions) . ' waiting backends' },
		sprintf('DROP DATABASE, which takes %.0f ms by itself', $alone),
		sub { time_drop_database() - $alone });
	$sim->clear_faults;
	$control->query("SELECT pg_terminate_backend(@{[ $_->pid ]})") foreach @sessions;
	return;
}

sub time_drop_database
{
	$control->query('CREATE DATABASE another');
	my $begun = time;
	my ($out, $error) = $control->query('DROP DATABASE another');
	my $milliseconds = 1000 * (time - $begun);

	is($error, '', 'another database can be dropped meanwhile');
	return $milliseconds;
}

# Beside one that is rolled back, it waits until that ends; so cancel that.
sub test_drop_database_beside_rollback
{
	my ($wait) = grep { $_->{name} eq 'a revocation at rollback' } @waits;

	arm();
	my $session = start_waiting($wait);
	my $dropping = Session->open($node);

	$control->query('CREATE DATABASE another');
	$dropping->send('DROP DATABASE another');
	sleep 0.3;
	is(($control->query(q{SELECT count(*) FROM pg_database WHERE datname = 'another'
			UNION ALL SELECT count(*) FROM pg_stat_activity
			WHERE query LIKE 'DROP DATABASE%' AND state = 'active' AND pid <> pg_backend_pid()}))[0],
		"1\n1", 'DROP DATABASE waits for a rollback');
	my $begun = time;
	$control->query("SELECT pg_cancel_backend(@{[ $session->pid ]})");
	is(($dropping->finish)[1], '', 'DROP DATABASE goes on when the rollback is canceled');
	cmp_ok(1000 * (time - $begun), '<', 1000 * ROLLBACK_TIMEOUT / 2, 'DROP DATABASE goes on at once when the rollback is canceled');
	like(($session->finish)[1], qr/WARNING/, 'a canceled rollback gives a warning');
	$sim->clear_faults;
	$_->close foreach $session, $dropping;
	return;
}

# The end of a transaction is not part of the statement that statement_timeout
# limits.
sub test_timeout_at_end
{
	my $session = Session->open($node, settings => { statement_timeout => '300ms' });

	$sim->reset;
	$sim->fault('DELETE', 'tokens/\d+$', 'stall', times => 0, seconds => 0.8);
	my ($out, $error) =
	  $session->query('DELETE FROM gitlab_personal_access_tokens WHERE id = 2');
	is($error, '', 'statement_timeout does not reach the commit');
	is($sim->token_state(2), 'revoked', 'a commit beyond statement_timeout revokes the token');
	($out, $error) = $session->query("BEGIN; $insert; ROLLBACK");
	is($error, '', 'statement_timeout does not reach the rollback');
	is($sim->token_state(17), 'revoked', 'a rollback beyond statement_timeout revokes the token');
	$session->close;
	return;
}

# What a backend has of a kind, by the kernel's account.
sub status_of
{
	my ($session, $what) = @_;
	my ($number) = slurp_file("/proc/${\$session->pid}/status") =~ /^$what:\s+(\d+)/m;

	return $number;
}

# Two hundred statements given up in all ways; nothing is left of them.
sub test_no_leak
{
	my $session = Session->open($node);
	my @statements = (
		'SELECT * FROM crowded_tokens',
		'SELECT * FROM silent_tokens',
		'SELECT * FROM sluggish_tokens',
		map { "SELECT name FROM gitlab_personal_access_tokens WHERE id = $_" } 12, 13, 14);
	my $canceled = 0;
	my ($descriptors, $threads, $memory);

	arm();
	$session->query($probe);
	$descriptors = $session->descriptors;
	$session->query("SET statement_timeout = '25ms'");
	foreach my $i (0 .. 259)
	{
		# what is new the first times: libraries, caches, and the like
		if ($i == 60)
		{
			$canceled = 0;
			$memory = status_of($session, 'VmRSS');
		}
		$canceled++
		  if ($session->query($statements[ $i % @statements ]))[1] =~ /ERROR:  57014/;
	}
	$session->query('RESET statement_timeout');
	is($canceled, 200, 'two hundred statements are canceled');
	my $grown = status_of($session, 'VmRSS') - $memory;

	# a name lookup that nobody waits for any more goes on in its thread
	note 'threads at once: ' . status_of($session, 'Threads');
	my $begun = time;
	sleep 0.05 while status_of($session, 'Threads') > 1 && time < $begun + 20;
	note sprintf 'threads: 1 after %.1f s; memory: %d kB more', time - $begun, $grown;
	is(status_of($session, 'Threads'), 1, 'no thread is left');
	$sim->clear_faults;
	$session->query('SELECT gitlab_pat_disconnect()');
	is(($session->query($probe))[1], '', 'the session works afterwards');
	is($session->descriptors, $descriptors, 'no descriptor is left open');
	cmp_ok($grown, '<', 2048, 'memory has not grown');
	$session->close;
	return;
}

# A backend in each of the waits, and how long each lives on.
sub test_end
{
	my ($cluster, $what, $end, $start) = @_;
	my @measured;

	foreach (1 .. TRIES)
	{
		@measured = measure_end($cluster, $what, $end);
		$start->();
		last unless grep { $measured[$_] >= ($waits[$_]{prompt} // PROMPT) + CROWD } 0 .. $#waits;
	}
	foreach my $i (0 .. $#waits)
	{
		is_prompt($waits[$i], $what, sub { $measured[$i] }, CROWD);
	}
	return;
}

sub measure_end
{
	my ($cluster, $what, $end) = @_;
	my $controller = Session->open($cluster);

	arm();
	my @sessions = map { start_waiting($_, $cluster, $controller) } @waits;
	my $begun = time;
	my %left = map { $_ => 1 } 0 .. $#sessions;
	my $finish = $end->();
	my @measured = map { 30_000 } @sessions;

	while (%left && time < $begun + 30)
	{
		foreach my $i (keys %left)
		{
			next unless is_gone($sessions[$i]->pid);
			delete $left{$i};
			$measured[$i] = 1000 * (time - $begun);
		}
		sleep 0.002;
	}
	is(join(', ', map { $waits[$_]{name} } sort keys %left), '', "$what: all backends exit");
	$finish->();
	return @measured;
}

sub test_shutdown
{
	test_end(
		$node,
		'fast shutdown',
		sub {
			my $handle = IPC::Run::start(
				[ $node->installed_command('pg_ctl'), '-D', $node->data_dir, '-m', 'fast', 'stop' ],
				'>', \my $out, '2>', \my $err);
			return sub { $handle->finish; $node->_update_pid(0); };
		},
		sub {
			local $ENV{LD_PRELOAD} = $preload;
			$node->start;
			$control = Session->open($node);
		});
	return;
}

sub test_postmaster_death
{
	test_end(
		$node,
		'postmaster death',
		sub {
			$node->kill9;
			return sub { };
		},
		sub {
			local $ENV{LD_PRELOAD} = $preload;
			# Who reaps the postmaster, and when, is not ours to say; and the other
			# processes take their time to let go of the shared memory.
			unlink $node->data_dir . '/postmaster.pid';
			wait_until(
				'the cluster starts again',
				sub {
					return 1 if $node->start(fail_ok => 1);
					$node->_update_pid(0);
					unlink $node->data_dir . '/postmaster.pid';
					return 0;
				});
		});
	return;
}
