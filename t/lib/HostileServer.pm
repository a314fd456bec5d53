# A server that answers with the bytes of a script, over TLS and HTTP/2, too, and
# as a proxy.  It ends with the test, however that ends.
#
#   $server->play('case', 'GET .*/users' => [ [ send => "HTTP/1.1 ..." ] ], ...);
#   OPTIONS (url '@{[ $server->url('case') ]}')
#
# hostile_server.py says which steps there are.

package HostileServer;

use strict;
use warnings FATAL => 'all';

use Daemon;
use Exporter qw(import);
use FindBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(answer json_answer);

# Options: certificates, for those who speak TLS, and the name of the
# certificate; tls and http2, how it begins a connection; tickets, how many session
# tickets a TLS server sends before it ends the connection.
sub start
{
	my ($class, %options) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless {
		port => $port,
		scheme => $options{tls} || $options{http2} ? 'https' : 'http',
		directory => PostgreSQL::Test::Utils::tempdir,
	}, $class;
	my $certificates = $options{certificates};

	append_to_file("$self->{directory}/journal", '');
	$self->{process} = Daemon->launch($port, 'python3', "$FindBin::RealBin/lib/hostile_server.py",
		'--port', $port, '--directory', $self->{directory},
		($certificates
			? ('--certificate', $certificates->file('server'), '--key', $certificates->key_file('server'))
			: ()),
		($options{tickets} ? ('--tickets', $options{tickets}) : ()),
		map { "--$_" } grep { $options{$_} } qw(tls http2));
	return $self;
}

# Says how to answer the requests of a case: pairs of a pattern for "METHOD PATH"
# and the steps.  The question whether the credential is an administrator's is
# answered with yes.
sub play
{
	my ($self, $case, @script) = @_;
	my @pairs = ([ '^GET .*[?&]user_id=0&', [ [ send => json_answer(404, {}, '{"message":"404 User Not Found"}') ] ] ]);

	while (my ($pattern, $steps) = splice @script, 0, 2)
	{
		push @pairs, [ $pattern, $steps ];
	}
	open my $file, '>', "$self->{directory}/$case.json" or die "$case.json: $!";
	print $file JSON::PP->new->ascii->encode(\@pairs);
	close $file or die "$case.json: $!";
	return;
}

sub port { return $_[0]->{port} }

# The URL of a case, and that of the server as a proxy.
sub url { return "$_[0]->{scheme}://localhost:$_[0]->{port}/$_[1]" }
sub proxy { return "$_[0]->{scheme}://localhost:$_[0]->{port}" }

# The requests so far, as lines "METHOD PATH".
sub requests { return split /\n/, slurp_file("$_[0]->{directory}/journal") }

# The bytes of an answer: status, its headers by a hash or as an array of pairs, and
# a body, whose length is added unless the headers have one or a coding.
sub answer
{
	my ($status, $headers, $body) = @_;
	my @pairs = ref $headers eq 'HASH' ? map { ($_, $headers->{$_}) } sort keys %$headers : @{ $headers // [] };
	my $text = "HTTP/1.1 $status Status\r\n";

	$body //= '';
	push @pairs, 'Content-Length', length $body
	  unless grep { /^(?:content-length|transfer-encoding)$/i } @pairs;
	while (my ($name, $value) = splice @pairs, 0, 2)
	{
		$text .= "$name: $value\r\n";
	}
	return "$text\r\n$body";
}

# The same with a body of JSON, given as text.
sub json_answer
{
	my ($status, $headers, $body) = @_;
	my @pairs = ref $headers eq 'HASH' ? map { ($_, $headers->{$_}) } sort keys %$headers : @{ $headers // [] };

	return answer($status, [ 'Content-Type', 'application/json', @pairs ], $body);
}

1;
