# Servers that tests need: nginx, as it stands before every GitLab, the forward
# proxy tinyproxy, and whatever else listens on a port.  They run from a directory
# of the test's, on loopback, and end with the test, however that ends.

package Daemon;

use strict;
use warnings FATAL => 'all';

use Carp;
use IO::Socket::INET;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my @running;

# Starts nginx with these lines in its "http" block.  What it says of requests
# is for requests().  Waits until the port accepts connections.
sub nginx
{
	my ($class, $port, $http) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir;
	my $paths = join ' ', map { "${_}_temp_path $directory/$_;" }
	  qw(client_body proxy fastcgi uwsgi scgi);

	append_to_file("$directory/nginx.conf", qq{
		daemon off;
		worker_processes 1;
		pid $directory/nginx.pid;
		error_log $directory/error.log info;
		events { worker_connections 256; }
		http {
			$paths
			log_format test '\$server_port \$connection \$server_protocol \$ssl_protocol '
				'\$status \$request_method \$request_uri \$bytes_sent '
				'encoding=\$sent_http_content_encoding';
			access_log $directory/access.log test;
			$http
		}});
	append_to_file("$directory/access.log", '');
	return $class->_start($port, $directory,
		[ _program('nginx'), '-p', $directory, '-e', "$directory/error.log",
			'-c', "$directory/nginx.conf" ]);
}

# Starts tinyproxy on a port.
sub tinyproxy
{
	my ($class, $port) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir;

	append_to_file("$directory/tinyproxy.conf", join "\n",
		"Port $port", 'Listen 127.0.0.1', 'Allow 127.0.0.1', 'MaxClients 20',
		"LogFile \"$directory/access.log\"", 'LogLevel Info', 'Timeout 60', '');
	return $class->_start($port, $directory,
		[ _program('tinyproxy'), '-d', '-c', "$directory/tinyproxy.conf" ]);
}

# Starts any other program, which its arguments make listen on this port.
sub launch
{
	my ($class, $port, $name, @arguments) = @_;

	return $class->_start($port, PostgreSQL::Test::Utils::tempdir, [ _program($name), @arguments ]);
}

# Debian keeps some of them where only root looks.
sub _program
{
	my ($name) = @_;
	my ($path) = grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/bin';

	return $path // croak "$name is not installed";
}

sub _start
{
	my ($class, $port, $directory, $command) = @_;
	my $self = bless { port => $port, directory => $directory, command => $command }, $class;

	push @running, $self;
	$self->start;
	return $self;
}

sub start
{
	my ($self) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	$self->{process} = IPC::Run::start($self->{command}, '<', \undef,
		'>', "$self->{directory}/out", '2>&1');
	until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}))
	{
		croak "$self->{command}[0] did not start: " . $self->output
		  if time > $deadline || !$self->{process}->pumpable;
		sleep 0.02;
	}
	return;
}

sub stop
{
	my ($self) = @_;

	return unless $self->{process};
	$self->{process}->kill_kill(grace => 5);
	delete $self->{process};
	return;
}

# What it printed, as one string.
sub output { return slurp_file("$_[0]->{directory}/out") }

# What nginx and tinyproxy logged, as one string.
sub log { return slurp_file("$_[0]->{directory}/access.log") }

# The requests that nginx has answered on a port, as an array of hashes.  They
# are logged after their answer was sent: waits for so many of them.
sub requests
{
	my ($self, $port, $count) = @_;
	my $deadline = time + 10;

	for (;;)
	{
		my @lines = map { [ split ' ' ] } grep { /^$port / } split /\n/, $self->log;

		return map {
			my %request;
			@request{qw(port connection protocol tls status method uri bytes encoding)} = @$_;
			\%request;
		} @lines if @lines >= ($count // 0) || time > $deadline;
		sleep 0.02;
	}
	return;
}

# Forgets what was logged.
sub clear_log
{
	my ($self) = @_;

	truncate "$self->{directory}/access.log", 0 or croak "truncate: $!";
	return;
}

END
{
	# Stopping must not change the test's verdict.
	local $?;
	$_->stop foreach @running;
}

1;
