# Whatever a server or a proxy says, no backend crashes, hangs or keeps more memory
# than a page may need: cancel, statement_timeout, terminate and the server's own
# timeouts take effect at once, and no secret gets into the log.
#
# A table of hostile answers, each tried with each means to stop.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Certificates;
use GitLabCluster;
use GitLabSim;
use HostileServer qw(answer json_answer);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# In milliseconds: from a signal, or from the end of a timeout, until it has taken
# effect.  A busy machine gets two more tries.
use constant PROMPT => 200;
use constant TRIES => 3;

# In seconds: longer than any busy machine needs for a statement that waits for
# nothing, and shorter than a timeout that it would run into.
use constant SOON => 30;

# How long hostile bytes flow before somebody loses patience, in milliseconds.
use constant PATIENCE => 300;

# What a backend may keep in memory, in kB.
use constant KEPT => 64 * 1024;

delete @ENV{ map { ($_, uc) } qw(http_proxy https_proxy all_proxy no_proxy) };

my $secret = 'glpat-HostileCredential-0123456789';
my $created = 'glpat-HostileCreation-9876543210';
my $certificates = Certificates->new('authority');
$certificates->issue('server');
my %hostile = (
	plain => HostileServer->start(certificates => $certificates),
	tls => HostileServer->start(certificates => $certificates, tls => 1),
	http2 => HostileServer->start(certificates => $certificates, http2 => 1),
	tickets => HostileServer->start(certificates => $certificates, tls => 1, tickets => 120_000));
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
# compiled code grows a backend by itself
$node->append_conf('postgresql.conf', "jit = off\nlog_statement = none\nlog_min_messages = debug1\n");
$node->start;
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION gitlab_pat_fdw;
	CREATE SERVER hostile FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url 'http://localhost:1', max_retries '0', max_retry_wait '1s',
			tls_ca_file '@{[ $certificates->ca_file ]}');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hostile OPTIONS (token '$secret');
	CREATE FOREIGN TABLE tokens (id bigint, user_id bigint, name text, scopes text[],
		active boolean, revoked boolean, created_at timestamptz, expires_at date, token text)
		SERVER hostile;
	CREATE FOREIGN TABLE users (id bigint, username text) SERVER hostile
		OPTIONS (resource 'users');
	CREATE FOREIGN TABLE variables (project text, key text, value text, environment_scope text)
		SERVER hostile OPTIONS (resource 'project_variables');
});
my $http2 = offers_http2($node);
my $control = Session->open($node);
my $session = Session->open($node, verbosity => 'verbose');
my $cases = 0;

my $token_json = qq({"id":101,"user_id":2,"name":"new","description":null,"scopes":["api"],)
  . qq("active":true,"revoked":false,"created_at":"2098-01-01T00:00:00.000Z","last_used_at":null,)
  . qq("expires_at":"2099-01-01","token":"$created"});
my $self_json = $token_json =~ s/101,"user_id":2/1,"user_id":1/r =~ s/,"token.*/}/r;
my $insert = q{INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', '2099-01-01') RETURNING id};
my %statements = (
	list => 'SELECT count(name) FROM tokens',
	count => 'SELECT count(*) FROM tokens',
	lookup => 'SELECT name FROM tokens WHERE id = 101',
	insert => $insert,
	delete => 'DELETE FROM tokens WHERE id = 101',
	rollback => "BEGIN; $insert; ROLLBACK",
);
my %requests = (
	list => 'GET .*/personal_access_tokens\?',
	count => 'GET .*/personal_access_tokens\?',
	lookup => 'GET .*/personal_access_tokens/101$',
	insert => 'POST ',
	delete => 'DELETE ',
	rollback => 'DELETE ',
);
# What everything but the hostile answer is met with.
my @friendly = (
	'GET .*/personal_access_tokens/self$' => [ [ send => json_answer(200, {}, $self_json) ] ],
	'GET .*/personal_access_tokens/' => [ [ send => json_answer(200, {}, $self_json =~ s/"id":1,/"id":101,/r) ] ],
	'GET .*/personal_access_tokens\?' => [ [ send => json_answer(200, {}, "[$self_json]") ] ],
	'POST ' => [ [ send => json_answer(201, {}, $token_json) ] ],
	'DELETE ' => [ [ send => answer(204, {}) ] ]);

# --- the stage ------------------------------------------------------------------------


sub set_options
{
	my ($kind, $case, %more) = @_;
	my $server = $kind eq 'proxy' ? $hostile{plain} : $hostile{$kind};
	my $url = $kind eq 'proxy' ? "https://$case.example.com" : $server->url($case);
	my %options = (
		url => $url, max_retries => 0, max_retry_wait => '1s', tls_ca_file => $certificates->ca_file,
		($kind eq 'proxy' ? (proxy => $server->proxy) : ()),
		request_timeout => '60s', rollback_timeout => '60s', %more);

	$control->query('UPDATE pg_foreign_server SET srvoptions = ARRAY['
		. join(', ', map { "'$_=$options{$_}'" } sort keys %options) . q{] WHERE srvname = 'hostile'});
	return;
}

# Memory of a process in kB.
sub resident
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^VmRSS:\s*(\d+)/m ? $1 : 0;
}

# Waits for the request that the hostile answer is for, then until the bytes flow.
sub wait_for_request
{
	my ($server, $before, $request) = @_;
	my $deadline = time + SOON;

	while (time < $deadline)
	{
		my @requests = $server->requests;

		last if grep { /$request/ } splice @requests, $before;
		sleep 0.01;
	}
	sleep PATIENCE / 1000;
	return;
}

# Each means returns how long it took to work, in milliseconds.
my %means = (
	cancel => sub {
		my ($kind, $case, $sql, $request) = @_;
		my $server = $hostile{ $kind eq 'proxy' ? 'plain' : $kind };
		my $before = () = $server->requests;

		set_options($kind, $case);
		$session->send($sql);
		wait_for_request($server, $before, $request);
		my $begun = time;
		$control->query("SELECT pg_cancel_backend(${\$session->pid})");
		$session->finish;
		my $took = 1000 * (time - $begun);
		$session->query('ROLLBACK');
		return $took;
	},
	statement_timeout => sub {
		my ($kind, $case, $sql) = @_;

		set_options($kind, $case);
		my $begun = time;
		$session->query("SET statement_timeout = ${\PATIENCE}; $sql; RESET statement_timeout");
		my $took = 1000 * (time - $begun) - PATIENCE;
		$session->query('ROLLBACK; RESET statement_timeout');
		return $took;
	},
	'timeouts of the server' => sub {
		my ($kind, $case, $sql) = @_;

		set_options($kind, $case, request_timeout => PATIENCE . 'ms', rollback_timeout => PATIENCE . 'ms');
		my $begun = time;
		$session->query($sql);
		my $took = 1000 * (time - $begun) - PATIENCE;
		$session->query('ROLLBACK');
		return $took;
	},
	terminate => sub {
		my ($kind, $case, $sql, $request) = @_;
		my $server = $hostile{ $kind eq 'proxy' ? 'plain' : $kind };
		my $before = () = $server->requests;

		set_options($kind, $case);
		my $victim = Session->open($node);
		$victim->send($sql);
		wait_for_request($server, $before, $request);
		my $begun = time;
		$control->query("SELECT pg_terminate_backend(${\$victim->pid})");
		sleep 0.002 while -d "/proc/${\$victim->pid}" && time - $begun < 30;
		return 1000 * (time - $begun);
	});

test_numbers();
test_connect();
test_codings();
test_bodies();
test_lists();
test_http2();
test_tls();
test_logs();

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the cluster is alive');
done_testing();

# --- what a case is tried with ---------------------------------------------------------

# Tests that a statement that a case meets stops when told so, by any means, and
# leaves the session small and usable.
sub withstands
{
	my ($name, $kind, $what, @steps) = @_;
	my $case = 'case' . ++$cases;
	my $server = $hostile{ $kind eq 'proxy' ? 'plain' : $kind };
	my $request = $kind eq 'proxy' ? 'CONNECT ' : $requests{$what};
	my (@wrong, @all);

	$server->play($case, $request => [@steps], @friendly);
	my $before = resident($session->pid);
	my $asked = () = $server->requests;
	foreach my $means (sort keys %means)
	{
		my $took;

		# to PostgreSQL, what a ROLLBACK does is no longer part of a statement
		next if $means eq 'statement_timeout' && $what eq 'rollback';
		foreach (1 .. TRIES)
		{
			$took = $means{$means}->($kind, $case, $statements{$what} // $what, $request);
			last if $took <= PROMPT;
		}
		push @all, sprintf '%s %d ms', $means, $took;
		push @wrong, sprintf '%s took %d ms', $means, $took if $took > PROMPT;
	}
	my $kept = resident($session->pid) - $before;
	push @wrong, "it keeps $kept kB" if $kept > KEPT;
	my ($one) = $session->query('SELECT 1');
	push @wrong, "then: $one" if $one ne '1';
	my @requests = $server->requests;
	push @wrong, "nobody asked for $request" unless grep { /$request/ } splice @requests, $asked;
	note "$name: @all, $kept kB";
	ok(!@wrong, "a $what stops at once in spite of $name") or diag(join "\n", @wrong);
	return;
}

# Tests that a case is refused with one of these SQLSTATEs, soon and without much
# memory.  Returns the messages.
sub refuses
{
	my ($name, $kind, $what, $sqlstate, @steps) = @_;
	my $case = 'case' . ++$cases;
	my $server = $hostile{ $kind eq 'proxy' ? 'plain' : $kind };
	my $request = $kind eq 'proxy' ? 'CONNECT ' : $requests{$what};

	$server->play($case, $request => [@steps], @friendly);
	set_options($kind, $case);
	my $before = resident($session->pid);
	my $begun = time;
	my ($out, $err) = $session->query($statements{$what} // $what);
	my $took = 1000 * (time - $begun);
	my $kept = resident($session->pid) - $before;
	my @wrong;
	push @wrong, "rows: $out" if $out ne '' && $what ne 'rollback';
	push @wrong, "messages: $err" if $err !~ /(?:ERROR|WARNING):  ($sqlstate):/;
	push @wrong, sprintf 'it took %d ms', $took if $took > 1000 * SOON;
	push @wrong, "it keeps $kept kB" if $kept > KEPT;
	ok(!@wrong, "a $what refuses $name") or diag(join "\n", @wrong);
	$session->query('ROLLBACK');
	return $err;
}

# --- numbers, dates and waits ---------------------------------------------------------

# Each header that is looked at, with each value, on each kind of answer.  None may
# crash anything, or wait for longer than max_retry_wait.
sub test_numbers
{
	my @numbers = (
		qw(2147483647 2147483648 4294967296 9223372036854775807 9223372036854775808
		  1000000000000000000000000000000 -1 -2147483649 -9223372036854775809 1.5 1e9 0x10 0 soon),
		'', '5, 7', '1 2');
	my @dates = (
		'Sun, 06 Nov 2147483647 08:49:37 GMT', 'Sun, 06 Nov 9999999999 08:49:37 GMT',
		'Sun, 06 Nov 10000 08:49:37 GMT', 'Fri, 31 Dec 9999 23:59:59 GMT', 'Sun, 06 Nov 0000 08:49:37 GMT',
		'Sun, 06 Nov -4713 08:49:37 GMT', 'Mon, 31 Feb 2026 25:61:61 GMT', 'Thu, 01 Jan 1970 00:00:00 GMT',
		'Fri, 31 Dec 1582 00:00:00 GMT');
	my @headers = qw(Date Retry-After RateLimit-Reset RateLimit-Remaining X-Total X-Total-Pages X-Next-Page
	  X-Page X-Per-Page X-Next-Cursor);
	my @answers = (
		[ 'list', 200, "[$self_json]" ], [ 'count', 200, "[$self_json]" ], [ 'lookup', 200, $token_json ],
		[ 'list', 429, '{}' ], [ 'list', 503, '{}' ], [ 'list', 403, '{}' ], [ 'lookup', 404, '{}' ],
		[ 'insert', 201, $token_json ], [ 'insert', 429, '{}' ], [ 'delete', 204, '' ],
		[ 'delete', 429, '{}' ], [ 'rollback', 429, '{}' ]);

	set_options('plain', 'numbers', max_retries => 1, max_retry_wait => '20ms');
	foreach my $kind (@answers)
	{
		my ($what, $status, $body) = @$kind;
		my @wrong;

		foreach my $header (@headers)
		{
			foreach my $value (@numbers, @dates)
			{
				# once with a sound one before it
				foreach my $first ([], [ $header => '1' ])
				{
					next if @$first && $value !~ /^2147483648$|^-1$|2147483647 08/;
					$hostile{plain}->play('numbers',
						$requests{$what} => [ [ send => json_answer($status, [ @$first, $header => $value ], $body) ] ],
						@friendly);
					my $begun = time;
					my (undef, $err) = $session->query("$statements{$what}; SELECT 1");
					my $took = time - $begun;
					push @wrong, "$header: $value: $err" if $err =~ /XX000|server closed|out of range|22008/;
					push @wrong, sprintf '%s: %s: it took %d s', $header, $value, $took if $took > SOON;
					last if $err =~ /server closed/;
				}
			}
		}
		ok(!@wrong, "a $what survives all numbers and dates in an answer with status $status")
		  or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
	}
	return;
}

# --- proxies --------------------------------------------------------------------------

# A proxy that refuses CONNECT, and has much to say about it.
sub test_connect
{
	my @endless = ([ flood => 'x' x 4096 ]);

	foreach my $status (407, 403, 502, 200, 302, 401)
	{
		my @authenticate = $status == 407 ? ('Proxy-Authenticate', 'Basic realm="x"') : ();

		withstands("a proxy's $status with a length of 2^62", 'proxy', 'list',
			[ send => answer($status, [ @authenticate, 'Content-Length', 2**62 ]) ], @endless);
		withstands("a proxy's $status with endless chunks", 'proxy', 'list',
			[ send => answer($status, [ @authenticate, 'Transfer-Encoding', 'chunked' ]) ],
			[ flood => "1000\r\n" . 'x' x 4096 . "\r\n" ]);
		next if $status =~ /302|401/;
		withstands("a proxy's $status without a length", 'proxy', 'list',
			[ send => "HTTP/1.1 $status Status\r\n" . ($status == 407 ? "Proxy-Authenticate: Basic\r\n" : '') . "\r\n" ],
			@endless);
	}
	withstands("a proxy's endless headers", 'proxy', 'list', [ send => "HTTP/1.1 407 x\r\n" ], [ flood => "A: b\r\n" ]);
	withstands("a proxy's endless header", 'proxy', 'list', [ send => "HTTP/1.1 407 x\r\nA: " ], @endless);
	withstands("a proxy's endless informational answers", 'proxy', 'list', [ flood => "HTTP/1.1 100 x\r\n\r\n" ]);
	withstands("a proxy's endless size of a chunk", 'proxy', 'list',
		[ send => answer(407, [ 'Transfer-Encoding', 'chunked' ]) . '1;' ], @endless);
	withstands("a proxy's silence", 'proxy', 'list', ['stall']);
	my $err = refuses("a proxy's 407", 'proxy', 'list', '08001',
		[ send => answer(407, [ 'Proxy-Authenticate', 'Basic realm="x"' ], 'who are you?') ]);
	like($err, qr/proxy.*407/i, "the status of a proxy's refusal is in the message");
	refuses("a proxy's 407 in small pieces", 'proxy', 'list', '08001',
		map { ([ send => $_ ], [ sleep => 0.005 ]) } split //, answer(407, [ 'Content-Length', 100 ]));

	# a proxy that does its work
	my $case = 'honest';
	$hostile{plain}->play("$case",
		'CONNECT ' => [ [ send => "HTTP/1.1 200 Connection established\r\n\r\n" ], ['tls'] ]);
	set_options('proxy', $case);
	my (undef, $complaint) = $session->query($statements{list});
	like($complaint, qr/08001/, 'behind an honest proxy, the certificate of another host is refused');
	return;
}

# --- codings --------------------------------------------------------------------------

sub coded
{
	my (@headers) = @_;

	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" . join('', map { "$_\r\n" } @headers) . "\r\n";
}

sub test_codings
{
	my @two = ('Content-Encoding: gzip, gzip', 'Content-Length: 20000000000');
	my $endless = "\x00\x00\x00\xff\xff" x 800;

	foreach my $what (qw(list lookup delete rollback))
	{
		withstands('gzip of gzip', 'plain', $what, [ send => coded(@two) ], [ bomb => 2 ]);
		withstands('gzip three times', 'plain', $what,
			[ send => coded('Content-Encoding: gzip, gzip, gzip', 'Content-Length: 30000') ], [ bomb => 3 ]);
	}
	withstands('codings in headers of their own', 'plain', 'list',
		[ send => coded('Content-Encoding: gzip', 'content-encoding: GZIP', 'Content-Length: 20000000000') ], [ bomb => 2 ]);
	withstands('codings apart from each other in the headers', 'plain', 'list',
		[ send => coded("Content-Encoding:\tgzip,, ,gzip", 'Content-Length: 20000000000') ], [ bomb => 2 ]);
	withstands('a transfer coding', 'plain', $_,
		[ send => coded('Transfer-Encoding: gzip, gzip, gzip') ], [ bomb => 3 ]) foreach qw(list rollback);
	withstands('a transfer coding and a content coding', 'plain', $_,
		[ send => coded('Transfer-Encoding: gzip', 'Content-Encoding: gzip') ], [ bomb => 2 ]) foreach qw(list rollback);
	withstands('endless blocks that are empty', 'plain', $_,
		[ send => coded('Content-Encoding: gzip') . "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" ],
		[ flood => $endless ]) foreach qw(list rollback);
	refuses('two codings', 'plain', 'list', '08P01', [ send => coded('Content-Encoding: gzip, br', 'Content-Length: 0') ]);
	refuses('a transfer coding', 'plain', 'list', '08P01', [ send => coded('Transfer-Encoding: gzip, chunked') . "0\r\n\r\n" ]);
	refuses('two transfer codings', 'plain', 'list', '08P01',
		[ send => coded('Transfer-Encoding: deflate', 'Transfer-Encoding: chunked') . "0\r\n\r\n" ]);
	refuses('two codings in an answer to DELETE', 'plain', 'delete', '08P01',
		[ send => coded('Content-Encoding: gzip, gzip', 'Content-Length: 0') ]);
	refuses('a large body that is small when compressed', 'plain', 'list', '08P01',
		[ send => coded('Content-Encoding: gzip') ], [ blanks => 200 * 1024 * 1024 ], ['close']);
	return;
}

# --- bodies ---------------------------------------------------------------------------

sub test_bodies
{
	my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

	foreach my $what (qw(list rollback))
	{
		withstands('an endless body', 'plain', $what, [ send => "$head\r\n" ], [ flood => ' ' x 4096 ]);
		withstands('endless chunks of one byte', 'plain', $what,
			[ send => "${head}Transfer-Encoding: chunked\r\n\r\n" ], [ flood => "1\r\n \r\n" ]);
		withstands('the endless extension of a chunk', 'plain', $what,
			[ send => "${head}Transfer-Encoding: chunked\r\n\r\n1;" ], [ flood => 'x' x 4096 ]);
		withstands('endless trailers', 'plain', $what,
			[ send => "${head}Transfer-Encoding: chunked\r\n\r\n0\r\n" ], [ flood => "A: b\r\n" ]);
		withstands('endless headers', 'plain', $what, [ send => $head ], [ flood => "A: b\r\n" ]);
		withstands('an endless header', 'plain', $what, [ send => "${head}A: " ], [ flood => 'x' x 4096 ]);
		withstands('endless informational answers', 'plain', $what, [ flood => "HTTP/1.1 100 Continue\r\n\r\n" ]);
		withstands('an endless body over TLS', 'tls', $what, [ send => "$head\r\n" ], [ flood => ' ' x 4096 ]);
		withstands('a body that trickles', 'plain', $what, [ send => "$head\r\n" ], [ trickle => ' ', 0.01 ]);
		withstands('a 204 with an endless body', 'plain', $what, [ send => "HTTP/1.1 204 x\r\n\r\n" ], [ flood => 'x' x 4096 ]);
	}
	withstands('a redirect with an endless body', 'plain', 'list',
		[ send => "HTTP/1.1 302 x\r\nLocation: http://localhost:1/\r\n\r\n" ], [ flood => 'x' x 4096 ]);
	withstands('a 401 with an endless body', 'plain', 'list',
		[ send => "HTTP/1.1 401 x\r\nWWW-Authenticate: Digest realm=x\r\n\r\n" ], [ flood => 'x' x 4096 ]);
	return;
}

# --- lists ----------------------------------------------------------------------------

# Much JSON in few bytes: objects take up to three hundred times as much memory.
sub test_lists
{
	my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
	my $size = 16 * 1024 * 1024;
	my %elements = (
		'empty objects' => ['', '{},', '{}'],
		'empty arrays' => ['', '[],', '[]'],
		'numbers' => ['', '1,', '1'],
		'objects with an id' => ['', '{"id":1},', '{"id":1}'],
		'empty objects in one of its elements' => [ '{"id":1,"scopes":[', '{},', '{}]}' ],
		'members in one of its elements' => [ '{"id":1', ',"":1', '}' ],
		'strings' => ['', '"",', '""'],
		'escapes in one of its elements' => [ '{"id":1,"name":"', '\\u0000', '"}' ]);

	foreach my $name (sort keys %elements)
	{
		my ($first, $repeated, $last) = @{ $elements{$name} };
		my $times = int(($size - 200) / length $repeated);
		my $length = 2 + length($first) + $times * length($repeated) + length($last);
		my @body = ([ send => "$head$length\r\n\r\n[$first" ], [ repeat => $repeated, $times ], [ send => "$last]" ]);

		withstands("a list of $name", 'plain', 'list', @body);
		refuses("a list of $name", 'plain', 'list', '08P01', @body);
	}
	# a single object, and an error's
	foreach my $status (200, 403, 404, 422)
	{
		my $times = int($size / 3) - 100;
		my $length = 7 + 3 * $times + 4;
		my @body = (
			[ send => "HTTP/1.1 $status x\r\nContent-Type: application/json\r\nContent-Length: $length\r\n\r\n" . '{"id":[' ],
			[ repeat => '{},', $times ],
			[ send => '{}]}' ]);

		withstands("a large object with status $status", 'plain', $_, @body) foreach qw(lookup rollback);
	}
	return;
}

# --- HTTP/2 ---------------------------------------------------------------------------

# What is offered depends on libcurl, for some of its versions take what comes in one
# call, however much that is.
sub test_http2
{
	my @head = ([ headers => [ [ ':status', '200' ], [ 'content-type', 'application/json' ] ] ]);
	my %floods = (
		'empty frames of data' => [ @head, [ frames => 0, 0, -1, '' ] ],
		'padded frames of data' => [ @head, [ frames => 0, 8, -1, "\x0f" . "\0" x 15 ] ],
		'windows that grow' => [ @head, [ frames => 8, 0, 0, "\0\0\0\1" ] ],
		'windows that grow before the headers' => [ [ frames => 8, 0, 0, "\0\0\0\1" ] ],
		'priorities' => [ @head, [ frames => 2, 0, -1, "\0\0\0\0\1" ] ],
		'frames that nobody knows' => [ [ frames => 99, 0, 0, 'x' x 8 ] ],
		'answers to pings' => [ [ frames => 6, 1, 0, '12345678' ] ],
		'pings' => [ [ frames => 6, 0, 0, '12345678' ] ],
		'settings' => [ [ frames => 4, 0, 0, '' ] ],
		'answers to settings' => [ [ frames => 4, 1, 0, '' ] ],
		'streams that are reset' => [ @head, [ frames => 3, 0, 1001, "\0\0\0\1" ] ],
		'continued headers' => [ [ frames => 9, 0, -1, '' ] ]);

	$hostile{http2}->play('protocol', 'GET ' => [ [ send => json_answer(200, {}, '[]') ] ]);
	set_options('http2', 'protocol');
	$session->query($statements{list});
	is((grep { $_ eq 'HTTP/2' } $hostile{http2}->requests) ? 1 : 0, $http2 ? 1 : 0,
		'HTTP/2 is offered by the versions of libcurl that read no more than so much of it in a call');
	return unless $http2;
	foreach my $name (sort keys %floods)
	{
		withstands("endless $name", 'http2', $_, @{ $floods{$name} }) foreach qw(list rollback);
	}
	return;
}

# --- TLS ------------------------------------------------------------------------------

# Reading so many session tickets takes a TLS library a second, in which it asks nobody
# whether to go on.
sub test_tls
{
	# A server that sends them more slowly than they are read keeps nobody busy.
	set_options('tickets', 'flood', request_timeout => '10s');
	like(($session->query($statements{list}))[1],
		qr/08P01: .*has kept the client busy for more than \d+ ms|08006: .*did not answer in time/s,
		'a flood of session tickets is an error');
	$hostile{tls}->play('after', 'GET ' => [ [ send => json_answer(200, {}, '[]') ] ]);
	set_options('tls', 'after');
	is(join('', $session->query($statements{list})), '0', 'a flood of session tickets: the session works afterwards');
	return;
}

# --- logs -----------------------------------------------------------------------------

sub test_logs
{
	my $log = slurp_file($node->logfile);

	unlike($log, qr/\Q$secret\E|HostileCredential/, 'the credential is not in the log');
	unlike($log, qr/HostileCreation/, 'no new secret is in the log');
	unlike($log, qr/terminated by signal|PANIC/, 'no process has crashed');
	return;
}
