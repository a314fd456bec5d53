# A GitLab simulator of a test's own; see test/gitlab_sim/README.md.
#
# Starts it on a free port of loopback, with TLS if wanted, and sets the stage
# through its control interface.  It ends with the test, however that ends.

package GitLabSim;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use FindBin;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;

my $directory = abs_path("$FindBin::RealBin/../test/gitlab_sim");
my @running;

# So that an interrupted test runs the END blocks, ours and those that stop its
# clusters.
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit 1 };

# Options:
#   tls      true: serve TLS, with a certificate made for this purpose, of which
#            ca_file gives the authority; its subject is "localhost"
#   dates    when the fixture's tokens expire: "fixed" (default) or around "today"
#   args     array of more command line arguments for gitlab-sim
sub start
{
	my ($class, %options) = @_;
	my $self = bless {
		tls => $options{tls},
		dates => $options{dates} // 'fixed',
		args => $options{args} // [],
		port => 0,
	}, $class;

	$self->_make_certificate if $self->{tls};
	$self->_launch;
	push @running, $self;
	return $self;
}

# Runs gitlab-sim and waits for the line in which it says where it listens.
sub _launch
{
	my ($self) = @_;
	my @command = (
		"$directory/gitlab-sim", '--port', $self->{port}, '--dates', $self->{dates},
		@{ $self->{args} });

	push @command, '--tls-cert', $self->ca_file, '--tls-key', $self->_key_file
	  if $self->{tls};
	$self->{$_} = '' foreach qw(out err);
	$self->{process} = IPC::Run::start(
		\@command, '<', \undef, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$self->{process}->pump
	  while $self->{out} !~ /\n/ && $self->{process}->pumpable;
	($self->{url}) = $self->{out} =~ /^(\S+)\n/
	  or croak "gitlab-sim did not start: $self->{err}";
	($self->{port}) = $self->{url} =~ /:(\d+)/;
	# From here on it may run for as long as the test does.
	$_->reset foreach @{ $self->{process}{TIMERS} };
	return;
}

# A certificate that is its own authority.
sub _make_certificate
{
	my ($self) = @_;

	$self->{certificates} = PostgreSQL::Test::Utils::tempdir;
	PostgreSQL::Test::Utils::run_log(
		[
			'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
			'-days', '2', '-subj', '/CN=localhost',
			'-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
			'-keyout', $self->_key_file, '-out', $self->ca_file
		]) or croak 'openssl could not make a certificate';
	return;
}

sub _key_file { return "$_[0]->{certificates}/server.key" }

# The file to name as tls_ca_file.
sub ca_file { return "$_[0]->{certificates}/server.crt" }

sub url { return $_[0]->{url} }
sub port { return $_[0]->{port} }

# Ends it, leaving its port free for start_again.
sub stop
{
	my ($self) = @_;

	return unless $self->{process};
	$self->{process}->kill_kill(grace => 5);
	delete $self->{process};
	return;
}

# Starts it again on the same port, its state that of a new simulator.
sub start_again
{
	my ($self) = @_;

	$self->_launch;
	return;
}

# --- the control interface --------------------------------------------------

# One request: method, resource, hash of query parameters, content.  Returns
# the answer as data, if it has any.
sub control
{
	my ($self, $method, $resource, $query, $content) = @_;
	my $http = $self->{http} //= HTTP::Tiny->new(
		keep_alive => 0, timeout => 30, verify_SSL => 0, no_proxy => ['127.0.0.1'],
		proxy => undef, http_proxy => undef, https_proxy => undef);
	my $url = "$self->{url}/-/sim/$resource";

	$url .= '?' . $http->www_form_urlencode($query) if $query && %$query;
	my %options = defined $content ? (content => JSON::PP::encode_json($content)) : ();
	my $answer = $http->request($method, $url, \%options);

	# HTTP::Tiny has 599 for what went wrong on the way.  A machine that stands still
	# for half a minute ends no test by that.  Only what may be asked for twice is.
	$answer = $http->request($method, $url, \%options)
	  if $answer->{status} == 599 && ($method ne 'POST' || $resource eq 'reset');
	croak "$method $url: $answer->{status} $answer->{content}"
	  unless $answer->{success};
	return $answer->{content} ? JSON::PP::decode_json($answer->{content}) : undef;
}

# Back to the fixture; with version => '17.11', tokens => 5000, users => 100,
# projects => 50 or variables => 200.
sub reset
{
	my ($self, %options) = @_;

	$self->control('POST', 'reset', undef, \%options);
	return;
}

# Delays each answer by this many milliseconds.
sub latency
{
	my ($self, $milliseconds) = @_;

	$self->control('POST', 'latency', undef, { ms => $milliseconds });
	return;
}

# Arms a fault: method, regular expression for the path, kind, and what else
# the kind takes; times => 0 fires always.
sub fault
{
	my ($self, $method, $path, $kind, %more) = @_;

	$self->control('POST', 'faults', undef,
		{ method => $method, path => $path, kind => $kind, %more });
	return;
}

# Disarms all faults; stalled requests lose their connection.
sub clear_faults
{
	my ($self) = @_;

	$self->control('DELETE', 'faults');
	return;
}

# The requests received, as an array of hashes; clear_journal forgets them.
# Filters: method, path (a regular expression).
sub journal
{
	my ($self, %filter) = @_;

	return @{ $self->control('GET', 'journal', \%filter) };
}

sub clear_journal
{
	my ($self) = @_;

	$self->control('DELETE', 'journal');
	return;
}

sub count
{
	my ($self, %filter) = @_;

	return $self->control('GET', 'count', \%filter)->{count};
}

# Waits until that many requests have come in that match.
sub wait_for
{
	my ($self, $method, $path, $count) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	while ($self->count(method => $method, path => $path) < ($count // 1))
	{
		croak "no $method $path has come in" if time() > $deadline;
		select(undef, undef, undef, 0.01);
	}
	return;
}

# The state of a token: active, inactive, revoked, or missing.
sub token_state
{
	my ($self, $id) = @_;
	my ($row) = @{ $self->control('GET', 'tokens', { id => $id }) };

	return $row ? $row->{state} : 'missing';
}

# The tokens, as an array of hashes.
sub tokens
{
	my ($self) = @_;

	return @{ $self->control('GET', 'tokens') };
}

# The CI/CD variables of all projects and groups, as an array of hashes: owner
# ("project acme/app"), key, value, token_id and token_state, and so on.
sub variables
{
	my ($self) = @_;

	return @{ $self->control('GET', 'variables') };
}

# Those whose value is that of a token which is not active.
sub dead_variables
{
	my ($self) = @_;

	return @{ $self->control('GET', 'variables', { dead => 1 }) };
}

# The value of a variable, or undef if there is none: owner as above, key and,
# if it is not "*", the environment scope.
sub variable_value
{
	my ($self, $owner, $key, $scope) = @_;
	my ($row) = grep
	{
		$_->{owner} eq $owner && $_->{key} eq $key
		  && $_->{environment_scope} eq ($scope // '*')
	} $self->variables;

	return $row ? $row->{value} : undef;
}

# Creates or changes a variable: project or group (id or path), key, value and
# whatever else it has.
sub variable_set
{
	my ($self, %fields) = @_;

	$self->control('POST', 'variables', undef, \%fields);
	return;
}

sub variable_remove
{
	my ($self, %fields) = @_;

	$self->control('DELETE', 'variables', undef, \%fields);
	return;
}

# Projects and groups: the first argument is 'project' or 'group', and those
# that exist are named by id or path.  Fields: path, members ({ alice => 40 }).
sub namespace_add
{
	my ($self, $kind, %fields) = @_;

	return $self->control('POST', "${kind}s", undef, \%fields)->{id};
}

# A new path renames it; an access level of 0 removes a member.
sub namespace_set
{
	my ($self, $kind, $ref, %fields) = @_;

	$self->control('PATCH', "${kind}s/$ref", undef, \%fields);
	return;
}

sub namespace_remove
{
	my ($self, $kind, $ref) = @_;

	$self->control('DELETE', "${kind}s/$ref");
	return;
}

# Waits until what a fault with the moment "late" has put off has happened.
sub wait_for_late
{
	my ($self) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (my $late = $self->control('GET', 'status')->{late})
	{
		croak "$late requests have not taken effect yet" if time() > $deadline;
		select(undef, undef, undef, 0.01);
	}
	return;
}

END
{
	# Stopping must not change the test's verdict.
	local $?;
	$_->stop foreach @running;
}

# Resets the simulator, and makes tokens "seed 0", "seed 1" ... of some owners in turn, beside
# those of the fixture.  Returns the owners' ids.
sub seed
{
	my ($self, $nowners, $ntokens) = @_;

	$self->reset(users => $nowners);
	my @owners = map { $_->{id} }
	  grep { $_->{username} =~ /^user\d/ } @{ $self->control('GET', 'users') };

	$self->control('POST', 'tokens', undef,
		{ user_id => $owners[ $_ % @owners ], name => "seed $_", scopes => ['api'] })
	  for 0 .. $ntokens - 1;
	$self->clear_journal;
	return @owners;
}

# How many tokens of seed(), and of what has replaced them, are in each state.
sub seeds
{
	my ($self) = @_;
	my %count;

	$count{ $_->{state} }++ for grep { $_->{name} =~ /^seed/ } $self->tokens;
	return join ', ', map { "$count{$_} $_" } sort keys %count;
}

1;
