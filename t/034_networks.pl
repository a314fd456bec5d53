# Real networks: nginx in front of GitLab as in an installation, its TLS and its
# HTTP/2, certificates good and bad, a forward proxy, IPv6, and what a server
# does that restarts, has no GitLab behind it, or finds a request too large.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Certificates;
use Daemon;
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::IP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# What the environment says about proxies holds only where no option names one.
delete @ENV{ map { ($_, uc) } qw(http_proxy https_proxy all_proxy no_proxy) };
@ENV{qw(http_proxy https_proxy no_proxy)} =
  ('http://127.0.0.1:1', 'http://127.0.0.1:1', '127.0.0.1,localhost,::1');

my $good = Certificates->new('authority');
$good->issue($_) foreach qw(server client);
$good->issue('expired', days => 0);
$good->issue('elsewhere', names => 'DNS:gitlab.example.com,IP:192.0.2.1');
$good->issue('self-signed', self_signed => 1);
my $unknown = Certificates->new('unknown');
$unknown->issue('server');

my $sim = GitLabSim->start;
my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(
  plain tls12 tls13 tls11 expired elsewhere self_signed unknown client
  short_lived down limits nothing proxy recorder);
my $ca = $good->ca_file;
my $ipv6 = has_ipv6();
my $nginx = Daemon->nginx($port{plain}, nginx_configuration());
my $node = gitlab_cluster('main', $sim, conf => "gitlab_pat_fdw.discard_secrets = on\n",
	server_options => q{max_retries '1'});
my $http2 = offers_http2($node);

my $later = 'current_date + 90';
my $lookup = 'SELECT name FROM tokens WHERE id = 2';
my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later)";

test_protocols();
test_http2();
test_certificates();
test_large_authority_file();
test_client_certificate();
test_prefix();
test_ipv6();
test_proxy();
test_restart();
test_down();
test_limits();

is_alive($node);
done_testing();

# --- the stage -----------------------------------------------------------------

# A "server" block.  Options: certificate, its file without suffix; listen, more
# words for "listen"; more, more lines; location, the URL's path.
sub nginx_server
{
	my ($listen, %options) = @_;
	my $tls = $options{certificate};
	my $location = $options{location} // '/';
	my $backend = $options{backend} // 'http://gitlab';
	my $more = $options{more} // '';
	my $lines = $tls ? "ssl_certificate $tls.crt; ssl_certificate_key $tls.key;" : '';

	$listen .= ' ssl' if $tls;
	$listen .= " $options{listen}" if $options{listen};
	return "server { listen $listen; $lines $more
		location $location { proxy_pass $backend/; } }\n";
}

sub nginx_configuration
{
	my ($server) = $good->file('server') =~ /(.*)\.crt$/;
	my ($directory) = $server =~ m{(.*)/};
	my ($unknown_server) = $unknown->file('server') =~ /(.*)\.crt$/;
	my %at = map { $_ => "127.0.0.1:$port{$_}" } keys %port;
	my %tls13 = (certificate => $server, listen => 'http2',
		more => 'ssl_protocols TLSv1.3; http2_max_concurrent_streams 128;');

	return join '',
	  "upstream gitlab { server 127.0.0.1:@{[ $sim->port ]}; keepalive 16; }\n",
	  "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host \$http_host;\n",
	  "gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;\n",
	  nginx_server($at{plain}),
	  nginx_server($at{tls12}, certificate => $server, more => 'ssl_protocols TLSv1.2;'),
	  nginx_server($at{tls13}, %tls13),
	  nginx_server($at{tls11}, certificate => $server,
		more => 'ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;'),
	  (map { nginx_server($at{$_}, certificate => "$directory/$_") } qw(expired elsewhere)),
	  nginx_server($at{self_signed}, certificate => "$directory/self-signed"),
	  nginx_server($at{unknown}, certificate => $unknown_server),
	  nginx_server($at{client}, certificate => $server,
		more => "ssl_client_certificate $ca; ssl_verify_client on;"),
	  nginx_server($at{short_lived}, certificate => $server, listen => 'http2',
		location => '/gitlab/', more => 'keepalive_timeout 1s;'),
	  # the same: of the addresses of localhost, libcurl may prefer either
	  $ipv6 ? nginx_server("[::1]:$port{tls13}", %tls13) : (),
	  nginx_server($at{down}, backend => "http://$at{nothing}"),
	  nginx_server($at{limits}, certificate => $server,
		more => 'client_max_body_size 2k; large_client_header_buffers 4 2k;');
}

# Has this machine IPv6?  Where the kernel has it, so must its loopback.
sub has_ipv6
{
	my $switch = '/proc/sys/net/ipv6/conf/lo/disable_ipv6';

	return 0 unless -e $switch && slurp_file($switch) =~ /^0/;
	my $socket = IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
	ok($socket, 'a kernel that has IPv6 has ::1') or diag "::1: $@";
	return $socket ? 1 : 0;
}

# A session that sees tables of a server at a URL, trusting the authority.
# Options: those of the server, undef for none; a session for itself.
my $servers = 0;

sub session_at
{
	my ($url, %options) = @_;
	my $name = 'server_' . ++$servers;

	%options = (max_retries => 1, $url =~ /^https/ ? (tls_ca_file => $ca) : (),
		url => $url, %options);
	create_tables($node, $name,
		join ', ', map { "$_ '$options{$_}'" } grep { defined $options{$_} } sort keys %options);
	return open_session($node, $name, verbosity => 'verbose');
}

sub at { return "https://localhost:$port{$_[0]}" }

# How many requests the session tried to send.
sub attempts
{
	my ($session) = @_;

	return said($session, 'SELECT coalesce(sum(requests), 0) FROM gitlab_pat_requests()');
}

# --- the tests -----------------------------------------------------------------

sub test_protocols
{
	foreach my $case ([ tls12 => 'TLSv1.2', 'HTTP/1.1' ], [ tls13 => 'TLSv1.3', $http2 ? 'HTTP/2.0' : 'HTTP/1.1' ])
	{
		my ($name, $tls, $protocol) = @$case;
		my $session = session_at(at($name));

		$sim->reset;
		is(said($session, $lookup), 'alice api', "$tls only: GET works");
		is(said($session, "$insert RETURNING id"), 17, "$tls only: POST works");
		is(said($session, 'DELETE FROM tokens WHERE id = 17'), '', "$tls only: DELETE works");
		is(said($session, 'SELECT count(name) FROM tokens'), 17, "$tls only: a list is read");
		is(changes($sim), '17 revoked', "$tls only: GitLab has revoked the new token");
		my @requests = $nginx->requests($port{$name}, 4);
		is(scalar(grep { $_->{tls} ne $tls || $_->{protocol} ne $protocol } @requests),
			0, "$tls only: all requests go over $tls and $protocol");
		my ($list) = grep { $_->{method} eq 'GET' && $_->{uri} =~ /per_page/ } @requests;
		is($list->{encoding}, 'encoding=gzip', "$tls only: the list is compressed");
		my ($received) = said($session, 'SELECT bytes_received FROM gitlab_pat_requests()');
		my $sent = 0;
		$sent += $_->{bytes} foreach @requests;
		cmp_ok($received, '>', $sent, "$tls only: fewer bytes were sent");
		is(said($session, 'SELECT gitlab_pat_disconnect()'), 1, "$tls only: all requests go over one connection");
		$session->close;
	}
	my $other = session_at("https://127.0.0.1:$port{tls12}");
	is(said($other, $lookup), 'alice api', 'an address in the certificate is accepted as a name');
	$other->close;
	my $plain = session_at("http://127.0.0.1:$port{plain}");
	is(said($plain, $lookup), 'alice api', 'plain HTTP over loopback works');
	$plain->close;
	return;
}

# Several pages at a time over one connection.
sub test_http2
{
	my $session = session_at(at('tls13'), page_size => 10, concurrency => 8);

	$sim->reset(tokens => 300);
	$sim->latency(30);
	$nginx->clear_log;
	is(said($session, 'SELECT count(DISTINCT id) FROM tokens WHERE name IS NOT NULL'), 316,
		'concurrent pages: a list returns all rows');
	my @requests = $nginx->requests($port{tls13}, 32);
	my %connections = map { $_->{connection} => 1 } @requests;
	my ($most) = sort { $b <=> $a } map { $_->{in_flight} } $sim->journal;

	cmp_ok(scalar @requests, '>=', 32, 'concurrent pages: a list takes many pages');
	cmp_ok(scalar keys %connections, '<=', $http2 ? 1 : 8,
		$http2 ? 'HTTP/2: all pages go over one connection' : 'no more connections are made than pages are asked for at a time');
	cmp_ok($most, '>=', 4, 'concurrent pages: several pages are under way at a time');

	# one of those under way is cut off by a cancel; the connection is as good as new
	$sim->fault('GET', 'page=4', 'stall', times => 0);
	$session->send('SELECT count(name) FROM tokens');
	$sim->wait_for('GET', 'page=4', 2);
	signal_backend($session, 'INT');
	like(said_later($session), qr/ERROR:  57014/, 'concurrent pages: the statement is canceled');
	$sim->clear_faults;
	$sim->latency(0);
	is(said($session, $lookup), 'alice api', 'concurrent pages: the session works after the cancel');
	$session->close;
	return;
}

sub test_certificates
{
	foreach my $case (
		[ expired => {}, qr/expired/ ],
		[ elsewhere => {}, qr/no alternative certificate subject name matches|does not match/ ],
		[ self_signed => {}, qr/self.?signed|verif/ ],
		[ unknown => {}, qr/unable to get local issuer|self.?signed|verif/ ],
		[ tls12 => { tls_ca_file => undef }, qr/unable to get local issuer|self.?signed|verif/ ],
		[ tls12 => { tls_ca_file => '/nonexistent' }, qr/TLS could not be set up/ ],
		[ plain => {}, qr/TLS could not be set up/ ],
		[ tls11 => {}, qr/TLS could not be set up/ ])
	{
		my ($name, $options, $reason) = @$case;
		my $what = join ' ', $name, map { $options->{$_} // 'no' } keys %$options;
		my $session = session_at(at($name), max_retries => undef, %$options);

		next if $name eq 'tls11' && !speaks_tls11();
		$sim->reset;
		foreach my $sql ($lookup, $insert)
		{
			my $begun = time;
			my $said = said($session, $sql);

			like($said, qr/ERROR:  08001: could not /, "$what: the statement is refused");
			like($said, qr/DETAIL: .*$reason/, "$what: the detail says why");
			like($said, $name eq 'elsewhere' ? qr/HINT:  .*another host, DNS:gitlab\.example\.com, IP Address:192\.0\.2\.1.*"url"/ : qr/HINT:  .*"(?:tls_|url)/,
				"$what: a hint says what to do");
			cmp_ok(time - $begun, '<', 20, "$what: the statement is refused at once");
		}
		is(attempts($session), 2, "$what: no attempt is repeated");
		is($sim->count, 0, "$what: GitLab is not asked");
		$session->close;

		next if $name =~ /tls11|plain/ || %$options;
		my $careless = session_at(at($name), tls_verify => 'false');
		is(said($careless, $lookup), 'alice api', "$what: the server is accepted without checks");
		$careless->close;
	}
	return;
}

# Reading certificate authorities is the most work of a first request, and a slow machine
# takes several times as long as this one.
sub test_large_authority_file
{
	my $large = $node->basedir . '/authorities.pem';

	append_to_file($large, slurp_file($ca) x 4_000);
	chmod 0644, $large or die;
	foreach my $name (qw(tls12 tls13))
	{
		my $session = session_at(at($name), tls_ca_file => $large, max_retries => 0);

		is(said($session, $lookup), 'alice api', "$name: authorities that take long to read do not end the handshake");
		$session->close;
	}
	return;
}

# Can nginx and its OpenSSL be brought to speak it?
sub speaks_tls11
{
	return 1 if run_log([ 'openssl', 's_client', '-connect', "localhost:$port{tls11}",
		'-tls1_1', '-cipher', 'ALL:@SECLEVEL=0' ], '<', \undef);
	note 'no TLS 1.1 here';
	return 0;
}

sub test_client_certificate
{
	my @known = (tls_cert_file => $good->file('client'), tls_key_file => $good->key_file('client'));
	my $session = session_at(at('client'), @known);

	$sim->reset;
	is(said($session, $lookup), 'alice api', 'a client certificate lets GET through');
	is(said($session, "$insert RETURNING id"), 17, 'a client certificate lets POST through');
	$session->close;

	$sim->reset;
	foreach my $case (
		[ 'none', [], qr/22023|08001|08006/ ],
		[ 'one of another authority',
			[ tls_cert_file => $unknown->file('server'), tls_key_file => $unknown->key_file('server') ],
			qr/22023|08001|08006/ ],
		[ 'no such file', [ tls_cert_file => '/nonexistent' ], qr/08001/ ],
		[ 'the wrong key',
			[ tls_cert_file => $good->file('client'), tls_key_file => $good->key_file('server') ],
			qr/08001/ ])
	{
		my ($what, $options, $sqlstate) = @$case;
		my $stranger = session_at(at('client'), @$options);
		my $said = said($stranger, $lookup);

		like($said, qr/ERROR:  (?:$sqlstate):/, "client certificate, $what: the statement is refused");
		unlike(said($stranger, $insert), qr/\A\z/, "client certificate, $what: POST is refused");
		$stranger->close;
	}
	is($sim->count, 0, 'client certificate: GitLab is not asked without it');
	return;
}

sub test_prefix
{
	foreach my $slash ('', '/')
	{
		my $session = session_at(at('short_lived') . "/gitlab$slash");

		$sim->reset;
		$nginx->clear_log;
		is(said($session, $lookup), 'alice api', "/gitlab$slash: GET works");
		is(said($session, "$insert RETURNING id"), 17, "/gitlab$slash: POST works");
		is(said($session, 'SELECT count(name) FROM tokens'), 17, "/gitlab$slash: a list is read");
		my @requests = $nginx->requests($port{short_lived}, 3);
		is(scalar(grep { $_->{uri} !~ m{^/gitlab/api/v4/[a-z]} } @requests), 0,
			"/gitlab$slash: all requests are below the prefix");
		$session->close;
	}
	my $astray = session_at(at('short_lived') . '/elsewhere');
	like(said($astray, $insert), qr/ERROR:  42704: .*HINT:  .*"url"/s, 'a wrong prefix is an error that names the option url');
	$astray->close;
	return;
}

sub test_ipv6
{
	if (!$ipv6)
	{
		note 'this kernel has no IPv6';
		return;
	}
	my $session = session_at("https://[::1]:$port{tls13}");

	$sim->reset;
	is(said($session, $lookup), 'alice api', 'IPv6: GET works');
	is(said($session, "$insert RETURNING id"), 17, 'IPv6: POST works');
	$session->close;
	return;
}

# A child that passes bytes on to tinyproxy, and keeps those of the client.
sub start_recorder
{
	my ($file) = @_;
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port{recorder},
		Listen => 10, ReuseAddr => 1) or die "listen: $!";
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	open my $record, '>', $file or POSIX::_exit(1);
	$record->autoflush(1);
	my %peer;
	my %is_client;
	my $select = IO::Select->new($listen);

	while (my @ready = $select->can_read)
	{
		foreach my $socket (@ready)
		{
			if ($socket == $listen)
			{
				my $client = $listen->accept or next;
				my $server = IO::Socket::INET->new(
					PeerAddr => '127.0.0.1', PeerPort => $port{proxy}) or next;

				@peer{$client, $server} = ($server, $client);
				$is_client{$client} = 1;
				$select->add($client, $server);
				next;
			}
			next unless $peer{$socket};
			my $other = $peer{$socket};

			if (sysread $socket, my $bytes, 65536)
			{
				print $record $bytes if $is_client{$socket};
				syswrite $other, $bytes;
				next;
			}
			$select->remove($socket, $other);
			delete @peer{$socket, $other};
			$_->close foreach ($socket, $other);
		}
	}
	POSIX::_exit(0);
}

sub test_proxy
{
	my $proxy = Daemon->tinyproxy($port{proxy});
	my $record = PostgreSQL::Test::Utils::tempdir . '/record';
	my $recorder = start_recorder($record);
	my @proxy = (proxy => "http://127.0.0.1:$port{recorder}");

	$sim->reset;
	$nginx->clear_log;
	my $session = session_at(at('tls12'), @proxy);
	is(said($session, $lookup), 'alice api', 'https through a proxy: GET works');
	is(said($session, "$insert RETURNING id"), 17, 'https through a proxy: POST works');
	is(said($session, 'DELETE FROM tokens WHERE id = 17'), '', 'https through a proxy: DELETE works');
	is(changes($sim), '17 revoked', 'https through a proxy: GitLab has revoked the new token');
	$session->close;
	my $bytes = slurp_file($record);
	like($bytes, qr{^CONNECT localhost:$port{tls12} HTTP/1\.1\r\n}, 'the proxy gets CONNECT');
	my ($head) = $bytes =~ /\A(.*?\r\n\r\n)/s;
	is(join(' ', sort map { lc } $head =~ /^([\w-]+): /mg), 'host proxy-connection user-agent',
		'the proxy gets no other headers than it has to');
	unlike($bytes, qr/authorization|bearer|glpat|api\/v4|\{"\w+":/i, 'the proxy gets nothing of the requests');
	like($proxy->log, qr/CONNECT localhost:$port{tls12}/, 'the log of tinyproxy has the CONNECT');
	my $bad = session_at(at('unknown'), @proxy);
	like(said($bad, $lookup), qr/ERROR:  08001: /, "a bad certificate behind a proxy is no better");
	$bad->close;

	truncate $record, 0;
	my $plain = session_at("http://127.0.0.1:$port{plain}", @proxy);
	is(said($plain, $lookup), 'alice api', 'http through a proxy: GET works');
	is(said($plain, "$insert RETURNING id"), 18, 'http through a proxy: POST works');
	like(slurp_file($record), qr{GET http://127\.0\.0\.1:$port{plain}/api/v4/}, 'http through a proxy: the proxy gets all of the request');
	session_at("http://127.0.0.1:$port{plain}")->close;
	is(said($plain, "BEGIN; DELETE FROM tokens WHERE id = 18; SELECT revoked FROM tokens WHERE id = 18;
		SELECT revoked FROM server_$servers.tokens WHERE id = 18; ROLLBACK"), "t\nf",
		'to a transaction, a URL behind a proxy is another GitLab than the URL without it');
	$plain->close;

	# the environment's proxy, which does not exist
	my $environment = session_at("https://127.0.0.2:$port{tls12}");
	like(said($environment, $lookup), qr/ERROR:  08001: .*DETAIL: .* (port 1|over proxy 127\.0\.0\.1) /s,
		"without the option, the environment's proxy is used");
	$environment->close;

	# a proxy that has nothing behind it, and none
	my $nowhere = session_at("https://localhost:$port{nothing}", @proxy);
	$sim->reset;
	my $said = said($nowhere, $insert);
	like($said, qr/ERROR:  08001: /, 'a proxy that cannot reach GitLab is an error');
	is(attempts($nowhere), 2, 'a proxy that cannot reach GitLab is tried again');
	$nowhere->close;
	kill 'TERM', $recorder;
	waitpid $recorder, 0;
	foreach my $url (at('tls12'), "http://127.0.0.1:$port{plain}")
	{
		my $lost = session_at($url, @proxy);

		like(said($lost, $lookup), qr/ERROR:  08001: .*DETAIL: .*(port $port{recorder}|over proxy 127\.0\.0\.1)/s, 'no proxy: GET is an error that names the proxy');
		like(said($lost, $insert), qr/ERROR:  08001: /, 'no proxy: POST is an error');
		is(attempts($lost), 4, 'no proxy: each request is tried again');
		$lost->close;
	}
	is($sim->count, 0, 'without the proxy, nothing is sent past it');
	$proxy->stop;
	return;
}

# nginx closes connections that idle, and all of them when it restarts.
sub test_restart
{
	foreach my $name (qw(tls12 tls13))
	{
		my $session = session_at(at($name));

		$sim->reset;
		said($session, $lookup);
		$nginx->stop;
		$nginx->start;
		is(said($session, $lookup), 'alice api', "$name, restarted: GET works");
		$nginx->stop;
		$nginx->start;
		is(said($session, "$insert RETURNING id"), 17, "$name, restarted: POST works at once");
		$nginx->stop;
		$nginx->start;
		sleep 1.2;
		is(said($session, "$insert RETURNING id"), 18, "$name, restarted: POST works after a while");
		is($sim->count(method => 'POST'), 2, "$name, restarted: each POST was sent once");
		$session->close;
	}

	# POSTs at about the moment at which the connection is closed
	my $session = session_at(at('short_lived') . '/gitlab');
	my $failed = 0;

	$sim->reset;
	foreach my $pause (0.95, 1, 1.05, 1.2)
	{
		said($session, $lookup);
		sleep $pause;
		$failed++ if said($session, "$insert RETURNING id") !~ /^\d+$/;
	}
	is($failed, 0, 'POST works while a connection that idles is closed');
	is($sim->count(method => 'POST'), 4, 'each POST is sent once while a connection that idles is closed');
	$session->close;
	return;
}

# GitLab is down: nginx answers with a web page.
sub test_down
{
	my $session = session_at("http://127.0.0.1:$port{down}");

	$nginx->clear_log;
	my $said = said($session, $lookup);
	like($said, qr/ERROR:  HV000: .*DETAIL: .*HTTP status 502/s, '502: GET is an error with the status');
	unlike($said, qr/<html/i, '502: the message has no web page in it');
	is(scalar $nginx->requests($port{down}, 2), 2, '502: GET is repeated');
	$said = said($session, $insert);
	like($said, qr/ERROR:  08006: .*GitLab's answer was lost/, '502: POST is a lost answer');
	is(scalar $nginx->requests($port{down}, 3), 3, '502: POST is not repeated');
	$session->close;
	return;
}

sub test_limits
{
	my $session = session_at(at('limits'));

	$sim->reset;
	foreach my $size (3000, 1_000_000)
	{
		my $said = said($session, "INSERT INTO tokens (user_id, name, scopes, expires_at)
			VALUES (2, repeat('n', $size), '{api}', $later)");
		like($said, qr/ERROR:  (?:HV000: .*DETAIL: .*HTTP status 413|08006: .*answer was lost)/s,
			"413: a POST of $size bytes is an error");
		unlike($said, qr/answer was lost/, "413: the POST is known to have failed") if $size < 10_000;
		unlike($said, qr/nnnnnnnn/, '413: the message does not quote the name');
	}
	is($sim->count(method => 'POST'), 0, '413: GitLab has seen no POST');
	is(said($session, "SELECT id FROM tokens WHERE name = repeat('n', 5000)"), '',
		'a search for a name that is too long for a query finds nothing, without an error');
	is(said($session, $lookup), 'alice api', 'the session works after requests that were too large');
	$session->close;
	return;
}
