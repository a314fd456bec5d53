# Limits of a backend that a server, or whoever may make one, cannot exceed: file
# descriptors, files, lengths, compiled plans; and what a backend knows stays right
# when an interrupt or a new credential comes at the wrong moment.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use HostileServer qw(answer json_answer);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $server = HostileServer->start;
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
# PostgreSQL leaves a third of these to others
$node->append_conf('postgresql.conf',
	"log_statement = none\nmax_files_per_process = 150\ngitlab_pat_fdw.log_requests = on\n");
$node->start;
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION gitlab_pat_fdw;
	CREATE ROLE maker LOGIN;
	GRANT USAGE ON FOREIGN DATA WRAPPER gitlab_pat_fdw TO maker;
	CREATE SERVER limited FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '@{[ $server->url('limited') ]}', max_retries '0');
	CREATE USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (token 'glpat-limited');
	CREATE FOREIGN TABLE tokens (id bigint, user_id bigint, name text, scopes text[], active boolean,
		expires_at date, token text) SERVER limited;
});
my $session = Session->open($node, verbosity => 'verbose');
my $other = Session->open($node);
my $self = json_answer(200, {}, '{"id":1,"user_id":1,"active":true,"revoked":false}');
my $created = json_answer(201, {}, '{"id":101,"user_id":2,"name":"a","scopes":["api"],"active":true,"revoked":false,'
	  . '"expires_at":"2099-01-01","token":"glpat-abcdefghijklmnop"}');
my $token = json_answer(200, {}, '{"id":101,"user_id":2,"name":"a","active":true,"revoked":false}');

test_descriptors();
test_answer_and_cancel();
test_new_credential();
test_files();
test_options();
test_restore();
test_costs();
test_ulimit(300, 200);
test_ulimit(1024, 500);

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the cluster is alive');
done_testing();

# --- descriptors ------------------------------------------------------------------------

# More servers than there are descriptors, each with a connection that is kept.
sub test_descriptors
{
	my $count = 120;

	$server->play('many', 'GET ' => [ [ send => $token ] ]);
	$node->safe_psql('postgres', join ';', map { qq{
		CREATE SERVER s$_ FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url '@{[ $server->url('many') ]}');
		CREATE USER MAPPING FOR CURRENT_USER SERVER s$_ OPTIONS (token 'glpat-many-$_');
		CREATE FOREIGN TABLE t$_ (id bigint, name text) SERVER s$_} } 1 .. $count);
	foreach my $round (1, 2)
	{
		my ($out, $err) = $session->query(join '; ', map { "SELECT name FROM t$_ WHERE id = 101" } 1 .. $count);

		is($err, '', "round $round: no server of $count meets a lack of descriptors");
		is(scalar(() = $out =~ /^a$/mg), $count, "round $round: a session reads from each of $count servers");
	}
	cmp_ok($session->descriptors, '<', 80, 'idle connections are closed when there are many');

	$server->play('many', 'GET ' => [ ['stall'] ]);
	(undef, my $err) = $session->query("BEGIN; SET LOCAL statement_timeout = '300ms'; SELECT name FROM t1 WHERE id = 1; ROLLBACK");
	like($err, qr/57014/, 'a statement that waits can be canceled after that');
	$server->play('many', 'GET ' => [ [ send => $token ] ]);
	is(($session->query(q{SELECT count(*) > 0 FROM pg_ls_dir('.')}))[0], 't', 'PostgreSQL can open files after that');
	is(($session->query('SELECT gitlab_pat_disconnect() > 0'))[0], 't', 'gitlab_pat_disconnect() closes idle connections to many servers');
	cmp_ok($session->descriptors, '<', 20, 'after gitlab_pat_disconnect(), no connection keeps a descriptor open');
	return;
}

# Waits until the session has sent more requests of a kind than there were.
sub wait_for_request
{
	my ($pattern, $before) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while ((grep { /$pattern/ } $server->requests) <= $before)
	{
		die "no request $pattern" if time > $deadline;
		$session->{process}->pump_nb;
		sleep 0.01;
	}
	return;
}

# --- a cancel at the wrong moment ---------------------------------------------------------

# The backend is stopped while GitLab's answer and a cancel arrive.
sub test_answer_and_cancel
{
	foreach my $end ('COMMIT', 'ROLLBACK')
	{
		my $case = lc $end;
		$server->play($case,
			'GET .*/self$' => [ [ send => $self ] ], 'GET ' => [ [ send => $token ] ],
			'POST ' => [ [ send => $created ] ],
			'DELETE ' => [ [ sleep => 0.5 ], [ send => answer(204, {}) ] ]);
		$session->query("ALTER SERVER limited OPTIONS (SET url '@{[ $server->url($case) ]}')");
		my $before = grep { /^DELETE/ } $server->requests;
		$session->send($end eq 'COMMIT'
			? 'DELETE FROM tokens WHERE id = 101'
			: q{BEGIN; INSERT INTO tokens (user_id, name, scopes, expires_at)
				VALUES (2, 'a', '{api}', '2099-01-01') RETURNING token; ROLLBACK});
		wait_for_request(qr/^DELETE/, $before);
		kill STOP => $session->pid;
		sleep 0.8;
		kill INT => $session->pid;
		kill CONT => $session->pid;
		my (undef, $err) = $session->finish;
		unlike($err, qr/may have been revoked|had not answered|could not revoke/,
			"$end: an answer that arrives together with a cancel is no lost one");
		$session->query('ROLLBACK');
	}
	return;
}

# --- a credential that changes ------------------------------------------------------------

# The credential is no token, and is replaced by one while GitLab is asked whose it
# is.
sub test_new_credential
{
	my $renew = q{ALTER USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (SET token 'glpat-%s')};

	$server->play('renewed',
		'GET .*/self$' => [ [ send => json_answer(400, {}, '{"message":"no token"}') ] ],
		'GET .*/user$' => [ [ sleep => 3 ], [ send => json_answer(401, {}, '{"message":"401 Unauthorized"}') ] ],
		'GET ' => [ [ send => $token ] ], 'DELETE ' => [ [ send => answer(204, {}) ] ]);
	$session->query("ALTER SERVER limited OPTIONS (SET url '@{[ $server->url('renewed') ]}')");
	my $before = grep { m{/user$} } $server->requests;
	$session->send('DELETE FROM tokens WHERE id = 101');
	wait_for_request(qr{/user$}, $before);
	$other->query(sprintf $renew, 'renewed');
	$server->play('renewed',
		'GET .*/self$' => [ [ send => json_answer(200, {}, '{"id":101,"user_id":7,"active":true,"revoked":false}') ] ],
		'GET .*/user$' => [ [ send => json_answer(200, {}, '{"id":7}') ] ],
		'GET ' => [ [ send => $token ] ], 'DELETE ' => [ [ send => answer(204, {}) ] ]);
	my (undef, $err) = $session->finish;
	like($err, qr/ERROR:  \w+: personal access token 101 is the API token of server "limited"/,
		'the credential that has come meanwhile is known for the one in use');
	is(scalar(grep { /^DELETE .*renewed/ || m{^DELETE /renewed} } $server->requests), 0, 'a DELETE does not revoke the credential that has come meanwhile');
	return;
}

# --- files ------------------------------------------------------------------------------------

sub test_files
{
	my $directory = PostgreSQL::Test::Utils::tempdir;
	my $fifo = "$directory/fifo";

	POSIX::mkfifo($fifo, 0600) or die "mkfifo: $!";
	foreach my $file ($fifo, $directory, '/dev/zero')
	{
		$session->query(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (DROP token, ADD token_file '$file')});
		my $begun = time;
		my (undef, $err) = $session->query('SELECT * FROM tokens');
		like($err, qr/ERROR:  28000: .*\n?.*DETAIL:  "\Q$file\E".*is not a regular file/s, "$file is no file for a token");
		cmp_ok(time - $begun, '<', 30, "nobody waits for $file");
		$session->query(q{ALTER USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (DROP token_file, ADD token 'glpat-limited')});
	}
	return;
}

# --- options ------------------------------------------------------------------------------------

sub test_options
{
	my $maker = Session->open($node, user => 'maker', verbosity => 'verbose');
	my $create = 'CREATE SERVER made FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url %s)';
	my $long = 'x' x 8193;

	like(($maker->query(sprintf $create, q{'https://localhost', max_response_size '65MB'}))[1],
		qr/ERROR:  42501: permission denied to set option "max_response_size" above 64MB/,
		'only a superuser sets max_response_size above 64 MB');
	is(($maker->query(sprintf($create, q{'https://localhost', max_response_size '64MB'}) . '; DROP SERVER made'))[1],
		'', 'anybody sets max_response_size to 64 MB');
	foreach my $proxy ('socks5h://localhost/tmp/some.sock', 'socks5://localhost/x', 'http://localhost:3128/x')
	{
		like(($maker->query(sprintf $create, "'https://localhost', proxy '$proxy'"))[1],
			qr/WARNING:  \w+: option "proxy" has a path/, "the validator warns of the proxy $proxy");
		like(
			($maker->query(q{CREATE USER MAPPING FOR CURRENT_USER SERVER made OPTIONS (token 'x');
				SELECT * FROM gitlab_pat_self('made'); DROP SERVER made CASCADE}))[1],
			qr/ERROR:  HV024: option "proxy" of server "made" has a path/, "the proxy $proxy is refused when it is used");
	}
	like(
		($maker->query(sprintf($create, q{'https://localhost', proxy 'http://localhost:3128/'})
			. "; CREATE USER MAPPING FOR CURRENT_USER SERVER made OPTIONS (token '$long')"))[1],
		qr/WARNING:  \w+: option "token" is longer than 8192 bytes/, 'the validator warns of a token that is too long');
	like(($maker->query(q{SELECT * FROM gitlab_pat_self('made')}))[1],
		qr/ERROR:  28000: no usable API token.*longer than any token/s, 'a token that is too long is refused when it is used');
	like(
		($maker->query(q{ALTER SERVER made OPTIONS (ADD connect_timeout '10', ADD request_timeout '10s', ADD max_retry_wait '0')}))[1],
		qr/^[^\n]*WARNING:  01L18: option "connect_timeout" has no unit and means '10ms'\nHINT:[^\n]*\nLOCATION:[^\n]*$/,
		'the validator warns of a duration without a unit');
	my %means = ('10.0' => 10, ' 10 ' => 10, '+10' => 10, '1e4' => 10000, '0x100' => 256, '1.5' => 2, '010' => 8);
	foreach my $value (sort keys %means)
	{
		like(($maker->query("ALTER SERVER made OPTIONS (SET connect_timeout '$value')"))[1],
			qr/WARNING:  01L18: option "connect_timeout" has no unit and means '$means{$value}ms'\nHINT:  [^\n]*'$means{$value}ms'/,
			"the validator warns of the duration '$value', which has no unit");
	}
	foreach my $value ('10s', '10 s', '1.5min', '0x10ms', '1e4us', '+10 s ')
	{
		unlike(($maker->query("ALTER SERVER made OPTIONS (SET connect_timeout '$value')"))[1],
			qr/./, "the validator accepts the duration '$value', which has a unit");
	}
	foreach my $value (qw(0 0.0 0x0 +0))
	{
		unlike(($maker->query("ALTER SERVER made OPTIONS (SET max_retry_wait '$value')"))[1],
			qr/./, "the validator accepts the duration '$value', which needs no unit");
	}
	$maker->query('DROP SERVER made CASCADE');
	$maker->close;
	return;
}

# What version 1.1 accepted is restored.
sub test_restore
{
	my $long = 'x' x 9000;

	$node->safe_psql(
		'postgres', qq{
		CREATE SERVER old FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url 'https://localhost',
			proxy 'socks5h://localhost/x', connect_timeout '5000', max_response_size '500MB');
		CREATE USER MAPPING FOR CURRENT_USER SERVER old OPTIONS (token '$long');
		CREATE DATABASE restored});
	my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the database is dumped');
	$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ],
		'the dump is restored');
	is(
		$node->safe_psql('restored', gitlab_catalog()),
		$node->safe_psql('postgres', gitlab_catalog()),
		'servers and mappings are as they were');
	return;
}

# --- costs ----------------------------------------------------------------------------------------

sub test_costs
{
	my ($plan) = $session->query(
		'SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
		EXPLAIN SELECT * FROM generate_series(1, 10000) g JOIN tokens ON tokens.id = g');

	my ($cost) = $plan =~ /cost=[\d.]+\.\.([\d.]+)/;
	cmp_ok($cost, '<', 100_000, 'ten thousand requests cost too little for the plan to be compiled');
	cmp_ok($cost, '>=', 10_000, 'each of ten thousand requests adds to the cost');
	return;
}

# --- ulimit ---------------------------------------------------------------------------------------

# The operating system's limit of descriptors, and so many servers in one session.
sub test_ulimit
{
	my ($limit, $count) = @_;
	my ($soft, $hard) = split ' ', `prlimit --pid $$ --nofile --output SOFT,HARD --noheadings`;

	$session->close;
	$node->append_conf('postgresql.conf', 'max_files_per_process = 1000');
	system_or_bail('prlimit', '--pid', $$, "--nofile=$limit:$hard");
	$node->restart;
	system_or_bail('prlimit', '--pid', $$, "--nofile=$soft:$hard");
	$session = Session->open($node, verbosity => 'verbose');
	$server->play('many', 'GET ' => [ [ send => $token ] ]);
	$node->safe_psql(
		'postgres', qq{
		DO \$\$ BEGIN
			FOR i IN 1 .. $count LOOP
				EXECUTE format('CREATE SERVER u${limit}_%s FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url %L)',
					i, '@{[ $server->url('many') ]}');
				EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER u${limit}_%s OPTIONS (token %L)', i, 'glpat-u' || i);
				EXECUTE format('CREATE FOREIGN TABLE v${limit}_%s (id bigint, name text) SERVER u${limit}_%1\$s', i);
			END LOOP;
		END \$\$});
	my ($out, $err) = $session->query(join '; ', map { "SELECT name FROM v${limit}_$_ WHERE id = 101" } 1 .. $count);
	$err =~ s/^.*LOG:.*\n?|^LOCATION:.*\n?//mg;
	is($err, '', "ulimit -n $limit: no server of $count meets a lack of descriptors");
	is(scalar(() = $out =~ /^a$/mg), $count, "ulimit -n $limit: each of $count servers is read");
	is(($session->query(q{SELECT count(*) > 0 FROM pg_ls_dir('.')}))[0], 't',
		"ulimit -n $limit: PostgreSQL can open files after $count servers were read");
	cmp_ok($session->descriptors, '<', $limit / 2, "ulimit -n $limit: half of the descriptors are left to PostgreSQL");
	return;
}
