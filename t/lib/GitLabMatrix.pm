# What the tests about transactions share: tables of both kinds of rotation,
# what psql says in full, and what has become of the tokens.

package GitLabMatrix;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(create_tables open_session said said_later said_in_full
  changes count_matches signal_backend wait_until_gone wait_until is_alive
  is_secretive);

# The fixture's tokens that are not active; the others are, all 16 of them.
my %fixture = (5 => 'expired', 6 => 'revoked');

# Makes, in a schema that it makes, the tables "tokens" and "native_tokens"; for
# a server of the same name that it makes, if options for one are given.
sub create_tables
{
	my ($node, $schema, $options) = @_;
	my $server = defined $options ? $schema : 'gitlab';
	my $columns = 'id bigint, user_id bigint, name text, scopes text[],
		active boolean, revoked boolean, created_at timestamptz,
		expires_at date, token text';

	$node->safe_psql(
		'postgres', qq{
		CREATE SERVER $server FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS ($options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $server
			OPTIONS (token 'glpat-sim-admin');}) if defined $options;
	$node->safe_psql(
		'postgres', qq{
		CREATE SCHEMA $schema;
		CREATE FOREIGN TABLE $schema.tokens ($columns) SERVER $server;
		CREATE FOREIGN TABLE $schema.native_tokens ($columns) SERVER $server
			OPTIONS (rotation 'native');});
	return;
}

# A session that sees these tables, and all that psql has to say.  It may discard
# secrets: most statements of tests are about the ids of tokens.
sub open_session
{
	my ($node, $schema, %options) = @_;

	my $session = Session->open($node, verbosity => 'default', %options);

	$session->query("SET search_path = $schema, public");
	$session->query('SET gitlab_pat_fdw.discard_secrets = on');
	return $session;
}

# What psql says to statements: output, then messages.
sub said
{
	my ($session, $sql) = @_;

	$session->send($sql);
	return said_later($session);
}

# The same for statements sent before, even if they were the session's last.
sub said_later
{
	my ($session) = @_;

	return join "\n", grep { length } $session->finish;
}

# The same in a session of its own, in which messages have their SQLSTATE.
sub said_in_full
{
	my ($node, $schema, $sql) = @_;
	my $session = open_session($node, $schema, verbosity => 'verbose');
	my $said = said($session, $sql);

	$session->close;
	return $said;
}

# How the tokens differ from the fixture: "2 revoked, 17 active".
sub changes
{
	my ($sim) = @_;

	return join ', ', map { "$_->{id} $_->{state}" }
	  grep {
		$_->{state} ne
		  ($fixture{ $_->{id} } // ($_->{id} <= 16 ? 'active' : ''))
	  }
	  sort { $a->{id} <=> $b->{id} } $sim->tokens;
}

sub count_matches
{
	my ($text, $pattern) = @_;
	my $count = () = $text =~ /$pattern/g;

	return $count;
}

# INT cancels what a session does, TERM terminates it.
sub signal_backend
{
	my ($session, $signal) = @_;

	kill $signal, $session->pid or die "could not signal the backend: $!";
	return;
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		die "waited in vain until $what" if time > $deadline;
		sleep 0.02;
	}
	return;
}

# Waits until a backend has exited, its rollback done and logged.
sub wait_until_gone
{
	my ($session) = @_;

	wait_until('the backend exits', sub { !kill 0, $session->pid });
	return;
}

# Tests that no backend has ever crashed.
sub is_alive
{
	my ($node) = @_;

	unlike(
		slurp_file($node->logfile),
		qr/PANIC:|TRAP:|was terminated by signal|terminating any other active/,
		'no backend crashed');
	is($node->safe_psql('postgres', 'SELECT 1'), 1, 'the cluster lives');
	return;
}

# Tests that no secret that GitLab knows is in a text.  Both may be long: so it is
# looked for the beginnings of secrets, of which there are few.
sub is_secretive
{
	my ($sim, $text, $what) = @_;
	my @secrets = grep { defined && length } map { $_->{token} } $sim->tokens;
	my (%beginning_with, @found);

	push @{ $beginning_with{ substr $_, 0, 6 } }, $_ foreach @secrets;
	while (my ($beginning, $those) = each %beginning_with)
	{
		for (my $at = 0; ($at = index $text, $beginning, $at) >= 0; $at++)
		{
			push @found, grep { $_ eq substr $text, $at, length } @$those;
		}
	}

	cmp_ok(scalar @secrets, '>=', 16, "$what: the simulator has secrets to look for");
	is("@found", '', "$what: none of the secrets of the simulator is in the text");
	return;
}

1;
