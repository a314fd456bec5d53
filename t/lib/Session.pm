# A session that stays open, for statements that another one interrupts.
#
# psql in the background.  Errors come back as SQLSTATEs, so that a test does not
# depend on the wording.

package Session;

use strict;
use warnings;

use Carp;
use IPC::Run ();
use PostgreSQL::Test::Utils;

# Options: user, the role to connect as; verbosity, psql's VERBOSITY; settings,
# a hash of settings for the session.
sub open
{
	my ($class, $node, %options) = @_;
	my $self = bless { number => 0 }, $class;
	my @command = (
		$node->installed_command('psql'), '-XAtq',
		'-d', $node->connstr($options{database} // 'postgres'),
		'-v', 'VERBOSITY=' . ($options{verbosity} // 'sqlstate'),
		'-f', '-');

	push @command, '-U', $options{user} if $options{user};
	$self->{$_} = '' foreach qw(in out err);
	$self->{process} = IPC::Run::start(
		\@command, '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		$self->{timer} = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	$self->{pid} = ($self->query('SELECT pg_backend_pid()'))[0];
	croak "no connection: $self->{err}" unless $self->{pid} =~ /^\d+$/;
	while (my ($name, $value) = each %{ $options{settings} // {} })
	{
		$self->query("SET $name = '$value'");
	}
	return $self;
}

# The backend's process id.
sub pid { return $_[0]->{pid} }

# Sends statements without waiting for what comes of them.
sub send
{
	my ($self, $sql) = @_;

	$self->{out} = $self->{err} = '';
	$self->{number}++;
	$self->{in} .= "$sql\n;\n\\echo done-$self->{number}\n\\warn done-$self->{number}\n";
	$self->{timer}->start;
	$self->{process}->pump_nb;
	return;
}

# Waits for the end of what was sent; returns output and errors.
sub finish
{
	my ($self) = @_;
	my $mark = qr/(?:^|(?<=\n))done-$self->{number}\n/;

	while (not($self->{out} =~ $mark and $self->{err} =~ $mark))
	{
		croak "no answer within $PostgreSQL::Test::Utils::timeout_default s: "
		  . "$self->{out}$self->{err}" if $self->{timer}->is_expired;
		# psql ends with the connection that it has lost.
		last unless $self->{process}->pumpable;
		$self->{process}->pump;
	}
	my ($out, $err) = @$self{qw(out err)};
	s/$mark// foreach ($out, $err);
	chomp($out, $err);
	return ($out, $err);
}

# Sends statements and waits; returns output and errors.
sub query
{
	my ($self, $sql) = @_;

	$self->send($sql);
	return $self->finish;
}

# How many file descriptors the backend has open, by kind: sockets, and the
# rest.  What libcurl opens are sockets, event descriptors and pipes.
sub descriptors
{
	my ($self) = @_;
	my @links = grep { defined } map { readlink } glob "/proc/$self->{pid}/fd/*";

	# Files of the database may be opened and closed at any time.
	return scalar grep { !m{^/} || m{^/dev/} } @links;
}

sub close
{
	my ($self) = @_;

	return unless $self->{process};
	$self->{in} .= "\\q\n";
	eval { $self->{process}->finish; };
	delete $self->{process};
	return;
}

sub DESTROY
{
	my ($self) = @_;

	local ($?, $@);
	eval { $self->{process}->kill_kill(grace => 2) } if $self->{process};
	return;
}

1;
