# Rotating a token and putting the new one where it is used, with everything
# going wrong that can go wrong between any two requests.
#
# Whatever happens: the token that the variable holds is one that works; what
# the statement said is true; and no token is left that nobody was told of.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	server_options => q{max_retries '1', max_retry_wait '50ms',
		request_timeout '250ms', rollback_timeout '600ms', concurrency '1'});

# The same with patience, for interrupts.
$node->safe_psql(
	'postgres', qq{
	CREATE SERVER patient FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '${\$sim->url}', rollback_timeout '60s', concurrency '1');
	CREATE USER MAPPING FOR CURRENT_USER SERVER patient
		OPTIONS (token 'glpat-sim-admin');
	CREATE SCHEMA patient;
	IMPORT FOREIGN SCHEMA gitlab FROM SERVER patient INTO patient;});

# One statement rotates and delivers.
my $rotation = q{
	WITH new AS (UPDATE gitlab_personal_access_tokens
		SET expires_at = current_date + 90 WHERE id = 2 RETURNING token)
	UPDATE gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT'
		RETURNING 'delivered'};

# The same by hand: a new token, delivered to two places, the old one deleted.
my $exchange = q{
	BEGIN;
	WITH new AS (INSERT INTO gitlab_personal_access_tokens
			(user_id, name, scopes, expires_at)
		VALUES (2, 'alice api', '{api}', current_date + 90) RETURNING token)
	UPDATE gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project IN ('acme/app', 'acme/web') AND v.key = 'DEPLOY_PAT'
		RETURNING 'delivered';
	DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3);
	COMMIT};

my @cases = ([ rotation => $rotation, 'acme/app' ],
	[ exchange => $exchange, 'acme/app', 'acme/web' ]);

# The stage: what the variables of these projects hold is token 2.
sub set_stage
{
	my @projects = @_;

	$sim->reset;
	$sim->variable_set(
		project => $_, key => 'DEPLOY_PAT', value => 'glpat-sim-alice',
		masked => JSON::PP::true) foreach @projects;
	$sim->variable_remove(project => 'acme/web', key => 'DEPLOY_PAT')
	  unless @projects > 1;
	$sim->clear_journal;
	return;
}

# What is wrong with the outcome, given all that was said; empty if nothing is.
sub violations
{
	my ($said) = @_;
	my $failed = $said =~ /ERROR:/;
	my $delivered = !$failed && $said =~ /^delivered/m;
	my %state = map { $_->{id} => $_->{state} } $sim->tokens;
	my @held;
	my @wrong;

	$sim->wait_for_late;
	push @wrong, map { "dead: $_->{key}" } $sim->dead_variables;
	foreach my $variable ($sim->variables)
	{
		next unless $variable->{key} eq 'DEPLOY_PAT';
		my ($owner) = $variable->{owner} =~ /^project (.*)/ or next;
		my $id = $variable->{token_id};
		if (!$id)
		{
			push @wrong, "$owner holds no token";
			next;
		}
		push @held, $id;
		push @wrong, "delivered, but $owner has the old one"
		  if $delivered && $id == 2;
		push @wrong, "failed, but $owner has the new one, unsaid"
		  if $failed && $id != 2
		  && $said !~ /(?:could not restore|may still change) project variable "DEPLOY_PAT" of "\Q$owner\E" on server/;
	}
	# a new token that works, is held by no variable, and was not spoken of
	foreach my $id (grep { $_ > 16 && $state{$_} eq 'active' } sort keys %state)
	{
		push @wrong, "orphan $id"
		  unless grep { $_ == $id } @held
		  or $said =~ /\b$id\b/
		  or $said =~ /may (?:exist|have been created)/;
	}
	push @wrong, 'a backend crashed' if $said =~ /PANIC/;
	return join '; ', @wrong;
}

# Runs a statement in a session of its own; returns all that was said.
sub run
{
	my ($statement, $schema) = @_;
	my $session = Session->open($node, verbosity => 'default');

	$session->query("SET search_path = $schema") if $schema;
	my $said = said($session, $statement);
	$session->close;
	return $said;
}


# What the server's log has had to say since the last call.
my $log_offset = 0;

sub log_tail
{
	my $tail = slurp_file($node->logfile, $log_offset);

	$log_offset = -s $node->logfile;
	return $tail;
}


# --- undisturbed --------------------------------------------------------------

my %requests;
foreach my $case (@cases)
{
	my ($name, $statement, @projects) = @$case;

	set_stage(@projects);
	my $said = run($statement);
	my @journal = $sim->journal;
	$requests{$name} = @journal;
	unlike($said, qr/ERROR|WARNING/, "$name: the statement succeeds without a message");
	is(violations($said), '', "$name: the outcome is right");
	isnt($sim->variable_value('project acme/app', 'DEPLOY_PAT'),
		'glpat-sim-alice', "$name: the variable has another token");
	is($sim->token_state(2), 'revoked', "$name: the old token is revoked");
	note("$name makes $requests{$name} requests");

	# delivered before anything is revoked
	my ($put) = grep { $journal[$_]{method} eq 'PUT' } 0 .. $#journal;
	my ($delete) = grep { $journal[$_]{method} eq 'DELETE' } 0 .. $#journal;
	cmp_ok($put, '<', $delete, "$name: the variable is written before the old token is revoked");
}

# How often GitLab was asked for the variable.
sub reads { return $sim->count(method => 'GET', path => 'variables/DEPLOY_PAT') }

{
	my $session = Session->open($node, verbosity => 'default');
	my $again = sub {
		my ($before, $after) = @_;
		my ($variable) = grep { $_->{owner} eq 'project acme/app' && $_->{key} eq 'DEPLOY_PAT' } $sim->variables;

		$sim->clear_journal;
		return said($session, $before . ($rotation =~ s/id = 2 /id = $variable->{token_id} /r) . $after);
	};

	set_stage('acme/app');
	said($session, $rotation);
	unlike($again->('', ''), qr/ERROR|WARNING/, 'a session rotates and delivers a second time');
	is(join(' ', map { $_->{method} } $sim->journal), 'GET GET GET POST PUT DELETE',
		'a session that rotates a second time asks neither for the kind of the token nor at commit for the variable');
	is(reads(), 1, 'a statement of its own reads the variable once');
	unlike($again->('BEGIN; ', '; COMMIT'), qr/ERROR|WARNING/, 'a transaction block rotates and delivers');
	is(reads(), 2, 'the commit of a transaction block reads the variable that it writes');
	set_stage('acme/app');
	unlike(said($session, q{DO $$ BEGIN
			UPDATE gitlab_project_variables SET value = 'glpat-sim-frank' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
			PERFORM pg_sleep(5.2);
		END $$}), qr/ERROR|WARNING/, 'a slow statement writes');
	is(reads(), 2, 'the commit of a statement that has taken more than five seconds reads the variable that it writes');
	$session->close;
}

# --- a fault at each request ----------------------------------------------------

# Once, and (with "on") from that request on, in which case GitLab is back after
# the statement only.
my @faults = (
	[ 'reset', 'reset', {} ],
	[ 'reset after the effect', 'reset', { moment => 'after' } ],
	[ 'reset, the effect later', 'reset', { moment => 'late', delay => 0.2 } ],
	[ 'stall', 'stall', {} ],
	[ 'stall after the effect', 'stall', { moment => 'after' } ],
	[ 'status 502 after the effect', 'status', { status => 502, moment => 'after' } ],
	[ 'status 500', 'status', { status => 500 } ],
	[ 'status 403', 'status', { status => 403 } ],
	[ 'status 404', 'status', { status => 404 } ],
	[ 'status 422', 'status', { status => 422 } ],
	[ 'no JSON', 'html', { } ],
	[ 'reset from then on', 'reset', { times => 0 } ],
	[ 'reset after the effect from then on', 'reset', { times => 0, moment => 'after' } ],
	[ 'status 503 from then on', 'status', { status => 503, times => 0 } ],
	[ 'status 401 from then on', 'status', { status => 401, times => 0 } ]);

foreach my $case (@cases)
{
	my ($name, $statement, @projects) = @$case;

	foreach my $fault (@faults)
	{
		my ($what, $kind, $more) = @$fault;
		my @wrong;
		my $failures = 0;

		foreach my $nth (1 .. $requests{$name})
		{
			set_stage(@projects);
			$sim->fault('*', '.', $kind, nth => $nth, %$more);
			my $said = run($statement);
			$sim->clear_faults;
			my $violations = violations($said);
			$failures++ if $said =~ /ERROR/;
			push @wrong, "at request $nth: $violations\n$said" if $violations;
		}
		is(join("\n", @wrong), '', "$name, $what at each request: every variable has a token that works");
		cmp_ok($failures, '>', 0, "$name, $what: some statements failed")
		  if $kind eq 'status' && $more->{status} < 500;
	}
}


# --- repeated, with two outcomes --------------------------------------------------

# The first attempt to write is carried out, or will be, and its answer is lost;
# then GitLab refuses the second one, or another write.  That says nothing about
# the first one.
foreach my $case (@cases)
{
	my ($name, $statement, @projects) = @$case;

	foreach my $moment (qw(after late))
	{
		foreach my $status (400, 403, 404)
		{
			foreach my $refused (2 .. 1 + @projects)
			{
				set_stage(@projects);
				$sim->fault('PUT', 'variables', 'reset', moment => $moment, delay => 0.3);
				$sim->fault('PUT', 'variables', 'status', status => $status, nth => $refused);
				my $said = run($statement);
				$sim->clear_faults;
				like($said, qr/ERROR/, "$name, repeated: write $refused fails");
				is(violations($said), '',
					"$name, write 1 carried out $moment, then status $status")
				  or note($said);
				is($sim->token_state(17), 'active', "$name: the new token is kept")
				  if $moment eq 'late';
			}
		}
	}
}

# A move that is repeated does not find the variable where it was.
set_stage('acme/app');
$sim->fault('PUT', 'variables', 'reset', moment => 'after');
my $moved = run(
	$rotation =~ s/value = new.token/value = new.token, environment_scope = 'prod'/r);
$sim->clear_faults;
like($moved, qr/ERROR/, 'moved, and repeated: the commit fails');
is(violations($moved), '', 'moved, and repeated: the variable has a token that works');

# --- interrupted at each request --------------------------------------------------

foreach my $signal (qw(INT TERM))
{
	foreach my $moment (qw(before after))
	{
		my @wrong;

		foreach my $nth (1 .. $requests{rotation})
		{
			set_stage('acme/app');
			log_tail();
			$sim->fault('*', '.', 'stall', nth => $nth, moment => $moment, seconds => 1);
			my $session = Session->open($node, verbosity => 'default');
			$session->query('SET search_path = patient');
			$session->send($rotation);
			$sim->wait_for('*', '.', $nth);
			sleep 0.02;
			signal_backend($session, $signal);
			my $said = said_later($session);
			wait_until_gone($session) if $signal eq 'TERM';
			$session->close;
			$sim->clear_faults;
			# what a rollback has said to nobody is in the log
			my $violations = violations($said . log_tail());
			push @wrong, "at request $nth: $violations\n$said" if $violations;
		}
		is(join("\n", @wrong), '',
			"SIG$signal while each request stalls $moment its effect: every variable has a token that works");
	}
}

# --- step by step --------------------------------------------------------------

# GitLab's rules for masked values forbid it.
set_stage('acme/app');
my $said = run(
	q{BEGIN; INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'new', '{api}', current_date + 30);
	UPDATE gitlab_project_variables SET value = 'a b'
		WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'; COMMIT});
like($said, qr/could not change project variable "DEPLOY_PAT" of "acme\/app"/, 'refused: the commit fails');
is($sim->token_state(17), 'revoked', 'refused: the new token is revoked');
is(violations($said), '', 'refused: every variable has a token that works');

# The project is removed, or renamed, between the statement and the commit.
foreach my $change ([ removed => sub { $sim->namespace_remove('project', 'acme/app') } ],
	[ renamed => sub { $sim->namespace_set('project', 'acme/app', path => 'acme/other') } ])
{
	my ($what, $act) = @$change;

	set_stage('acme/app');
	my $session = Session->open($node, verbosity => 'default');
	$session->query('BEGIN');
	$session->query($rotation);
	$act->();
	my $said = said($session, 'COMMIT');
	$session->close;
	like($said, qr/ERROR:/, "project $what: the commit fails");
	is($sim->token_state(2), 'active', "project $what: the old token works");
	is($sim->token_state(17), 'revoked', "project $what: the new token is revoked");
}

# The old token can't be revoked after the commit: both work, and it is said.
set_stage('acme/app');
$sim->fault('DELETE', 'tokens/2', 'status', status => 403, times => 0);
$said = run($rotation);
$sim->clear_faults;
like($said, qr/WARNING:.*could not revoke.*: 2\n/, 'not revoked: a warning names the old token');
is($sim->token_state(2), 'active', 'not revoked: the old token works');
is(violations($said), '', 'not revoked: the variable has a token that works');

# A deferred constraint fails the commit before anything is written; what comes
# after that is in t/043_put_back.pl.
set_stage('acme/app');
$node->safe_psql('postgres', q{
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)});
$said = run("BEGIN; $rotation; INSERT INTO children VALUES (1); COMMIT");
like($said, qr/violates foreign key constraint/, 'failed by PostgreSQL: the commit fails');
is(violations($said), '', 'failed by PostgreSQL: the variable has a token that works');
is($sim->token_state(17), 'revoked', 'failed by PostgreSQL: the new token is revoked');

# What was revoked can't be brought back: then the variable keeps the new token.
set_stage('acme/app', 'acme/web');
$sim->fault('DELETE', 'tokens/3', 'status', status => 403, times => 0);
$said = run($exchange);
$sim->clear_faults;
is(violations($said), '', 'half revoked: the variables have a token that works');
is($sim->token_state(17), 'active', 'half revoked: the new token is kept');
like($said, qr/of a transaction that was rolled back are left on server "gitlab": 17/,
	'half revoked: a warning names the token that is left');

# An attempt to write that was not answered takes effect after all: after it was
# repeated, and after that was undone.
set_stage('acme/app', 'acme/web');
$sim->fault('PUT', 'acme%2Fapp', 'reset', moment => 'late', delay => 0.5);
$sim->fault('PUT', 'acme%2Fweb', 'status', status => 403, times => 0);
$said = run($exchange);
$sim->clear_faults;
like($said, qr/ERROR:  could not change project variable/, 'late: the commit fails');
is(violations($said), '', 'late: the variable has a token that works');
is($sim->token_state(17), 'active', 'late: the new token is kept');

is_alive($node);

done_testing();
