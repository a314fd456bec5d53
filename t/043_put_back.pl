# What a rollback makes of variables that a commit had written.  Beside what
# t/040_delivery.pl disturbs: other cases, and transactions of other shapes.
#
# Whatever the case: no variable is left with a token that is dead.

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
use Time::HiRes qw(sleep);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	server_options => q{max_retries '1', max_retry_wait '50ms',
		request_timeout '250ms', rollback_timeout '600ms', concurrency '1'});

# The same with patience, and with native rotation.
create_tables($node, 'patient', "url '${\$sim->url}'");
$node->safe_psql('postgres', q{
	IMPORT FOREIGN SCHEMA gitlab FROM SERVER patient INTO patient;
	CREATE TABLE counters (n int)});

my $put = q{UPDATE gitlab_project_variables SET value = 'glpat-sim-frank'
	WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'};
my $rotate = sub {
	my ($tokens) = @_;

	return qq{WITH new AS (UPDATE $tokens
			SET expires_at = current_date + 90 WHERE id = 2 RETURNING token)
		UPDATE gitlab_project_variables v SET value = new.token FROM new
			WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT'};
};

# The stage: the variable holds token 2, or if it is said so, a group's one does.
sub set_stage
{
	my @place = ($_[0] // '') eq 'group' ? (group => 'acme', key => 'GROUP_TOKEN') :
	  (project => 'acme/app', key => 'DEPLOY_PAT');

	$sim->clear_faults;
	$sim->reset;
	$sim->variable_set(@place, value => 'glpat-sim-alice', masked => JSON::PP::true);
	$sim->clear_journal;
	return;
}

# The token that a variable of acme/app holds.
sub held
{
	my ($key) = @_;
	my ($variable) = grep { $_->{owner} eq 'project acme/app' && $_->{key} eq $key }
	  $sim->variables;

	return $variable ? $variable->{token_id} : undef;
}

sub none_is_dead
{
	my ($name, $text) = @_;

	$sim->wait_for_late;
	is(join(' ', map { "$_->{owner} $_->{key}" } $sim->dead_variables),
		'', "$name: every variable has a token that works")
	  or note($text);
	return;
}

# Runs a transaction in a session of its own; returns what was said.
sub run
{
	my ($sql) = @_;
	my $session = Session->open($node, verbosity => 'default');
	my $text = said($session, "BEGIN; $sql; COMMIT");

	$session->close;
	return $text;
}

# The same with a commit that PostgreSQL fails when all is written.
sub run_in_vain
{
	my ($sql) = @_;
	my $session = Session->open($node, verbosity => 'default');
	my $other = Session->open($node);
	my $text;

	said($_, 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM counters')
	  foreach ($session, $other);
	$text = said($session, "INSERT INTO counters VALUES (1); $sql");
	said($other, 'INSERT INTO counters VALUES (2); COMMIT');
	$text .= said($session, 'COMMIT');
	like($text, qr/could not serialize/, 'the commit failed in the end');
	$_->close foreach ($session, $other);
	return $text;
}

my $text;


# --- undisturbed ------------------------------------------------------------------

set_stage();
$text = run_in_vain($rotate->('gitlab_personal_access_tokens'));
is($sim->count(method => 'PUT'), 2, 'a variable that is restored takes two writes');
is(held('DEPLOY_PAT'), 2, 'a restored variable holds the old token');
is($sim->token_state(2), 'active', 'the old token in a restored variable works');
is($sim->token_state(17), 'revoked', 'the new token is revoked once its variable is restored');
unlike($text, qr/WARNING/, 'a variable is restored without a warning');


# --- a group's variable that goes in between --------------------------------------

# Of a scope that is gone, GitLab changes the group's first variable with the key.
# The commit notices that in the answer, and restores the variable.
foreach my $case (
	[ 'its value', q{SET value = 'by us'} ],
	[ 'its description', q{SET description = 'by us'} ],
	[ 'its value and type', q{SET value = 'by us', variable_type = 'file', raw = true} ],
	[ 'its scope', q{SET environment_scope = 'qa'} ],
	[ 'its scope and value', q{SET environment_scope = 'qa', value = 'by us'} ])
{
	my ($what, $set) = @$case;
	my $before = set_scopes();

	take_away('staging');
	$text = run("UPDATE gitlab_group_variables $set WHERE group_path = 'acme' "
		  . q{AND key = 'REGION' AND environment_scope = 'staging'});
	is(scopes(), $before =~ s/staging:[^;]*; //r, "a commit that changes $what, gone in between, leaves the other scopes as they were");
	like($text, qr/ERROR:  could not change group variable "REGION".*GitLab has changed another one/s,
		"a commit that changes $what, gone in between, fails");
	unlike($text, qr/WARNING/, "a commit that changes $what, gone in between, has nothing to warn of");
}

# What the transaction itself has made of the other one is restored, too.
{
	my $before = set_scopes();

	take_away('staging');
	$text = run(join '; ', map { "UPDATE gitlab_group_variables SET value = 'by us' WHERE group_path = 'acme' "
			  . "AND key = 'REGION' AND environment_scope = '$_'" } '*', 'staging', 'production');
	is(scopes(), $before =~ s/staging:[^;]*; //r, 'a commit restores what it has written before GitLab changed another scope');
	unlike($text, qr/WARNING/, 'a commit that restores all scopes has nothing to warn of');
}

# A hidden value is lost, which is said.
set_scopes();
$sim->control('DELETE', 'variables', undef, { group => 'acme', key => 'REGION', environment_scope => '*' });
$sim->variable_set(group => 'acme', key => 'REGION', value => 'hidden-value', environment_scope => '*',
	hidden => JSON::PP::true, masked => JSON::PP::true);
$sim->control('DELETE', 'variables', undef, { group => 'acme', key => 'REGION', environment_scope => 'production' });
take_away('staging');
$text = run(q{UPDATE gitlab_group_variables SET value = 'long-enough' WHERE group_path = 'acme'
	AND key = 'REGION' AND environment_scope = 'staging'});
like($text, qr/WARNING:.*could not restore group variable "REGION".*GitLab has changed another one in its place/s,
	'a hidden value that GitLab has changed in the place of another one is warned of');

# One request more than for a key with one scope, and one for each page of the list.
set_scopes();
$sim->clear_journal;
run(q{UPDATE gitlab_group_variables SET value = 'by us' WHERE group_path = 'acme' AND key = 'REGION'
	AND environment_scope = 'staging'});
is($sim->count(path => 'groups/acme/variables'), 5, 'changing one of several scopes takes four requests and that of the scan');
$sim->clear_journal;
run(q{UPDATE gitlab_group_variables SET value = 'glpat-sim-frank' WHERE group_path = 'acme' AND key = 'GROUP_TOKEN'
	AND environment_scope = '*'});
is($sim->count(path => 'groups/acme/variables'), 3, 'changing the only scope takes two requests and that of the scan');

# The variables REGION of acme, in three scopes; returns what they are.
sub set_scopes
{
	set_stage();
	foreach my $scope ('*', 'production', 'staging')
	{
		$sim->variable_set(group => 'acme', key => 'REGION', value => "value of $scope",
			environment_scope => $scope, description => "for $scope");
	}
	return scopes();
}

sub scopes
{
	return join '', map { "$_->{environment_scope}: $_->{value}, $_->{description}, $_->{variable_type}, " . ($_->{raw} ? 1 : 0) . '; ' }
	  sort { $a->{environment_scope} cmp $b->{environment_scope} }
	  grep { $_->{owner} eq 'group acme' && $_->{key} eq 'REGION' } $sim->variables;
}

# Removes a scope after the commit has read all.
sub take_away
{
	my ($scope) = @_;

	$sim->control('POST', 'hooks', undef,
		{ method => 'GET', path => 'groups/acme/variables\\?', nth => 1,
			do => [ { remove_variable => { group => 'acme', key => 'REGION', environment_scope => $scope } } ] });
	return;
}

# --- what the variable held before has been revoked -----------------------------------

# By the same transaction, with a token that it did not create in its place.
foreach my $case (
	[ 'the next one is refused', 'status', { status => 403 } ],
	[ 'the next one is not answered', 'reset', {} ])
{
	my ($what, $kind, $more) = @$case;

	set_stage();
	$sim->fault('DELETE', 'tokens/3', $kind, times => 0, %$more);
	$text = run("$put; DELETE FROM gitlab_personal_access_tokens WHERE id IN (2, 3)");
	like($text, qr/ERROR:.*could not revoke/, "$what: the commit fails");
	is($sim->token_state(2), 'revoked', "$what: the old token is revoked");
	none_is_dead($what, $text);
	like($text, qr/could not restore project variable "DEPLOY_PAT" of "acme\/app"/, "$what: a message names the variable that was not restored");
}

# Perhaps, for there is no answer.
set_stage();
$sim->fault('DELETE', 'tokens/2', 'reset', moment => 'after', times => 0);
$text = run("$put; DELETE FROM gitlab_personal_access_tokens WHERE id = 2");
none_is_dead('perhaps revoked', $text);
is(held('DEPLOY_PAT'), 15, 'perhaps revoked: the variable keeps what was written');

# Certainly not: then the variable is restored.
set_stage();
$sim->fault('DELETE', 'tokens/2', 'status', status => 403);
$text = run("$put; DELETE FROM gitlab_personal_access_tokens WHERE id = 2");
is(held('DEPLOY_PAT'), 2, 'a variable whose old token was not revoked is restored');
unlike($text, qr/WARNING/, 'a variable whose old token was not revoked is restored without a warning');

# By a native rotation, which a rollback does not undo.
set_stage();
$text = run_in_vain($rotate->('patient.native_tokens'));
is($sim->token_state(2), 'revoked', 'native: the old token is revoked');
none_is_dead('native', $text);
is(held('DEPLOY_PAT'), 17, 'native: the variable keeps the new token');


# --- what was created is not where it should be -----------------------------------------

my $create = q{WITH new AS (INSERT INTO gitlab_personal_access_tokens
		(user_id, name, scopes, expires_at)
	VALUES (2, 'made', '{api}', current_date + 90) RETURNING token)
	INSERT INTO gitlab_project_variables (project, key, value)
		SELECT 'acme/app', %s, token FROM new};
my $refused = q{INSERT INTO gitlab_project_variables (project, key, value)
	VALUES ('acme/app', 'not a key', 'x')};

# GitLab strips blanks from keys.
set_stage();
$text = run(sprintf("$create; $refused", q{' PADDED '}));
like($text, qr/ERROR/, 'padded: the commit fails');
none_is_dead('padded', $text);

# The project is gone or renamed when the variable is to be removed.
foreach my $case ([ 'renamed', sub { $sim->namespace_set('project', 'acme/app', path => 'acme/other') } ],
	[ 'gone for a while', sub { $sim->fault('DELETE', 'variables/MADE', 'status', status => 404) } ])
{
	my ($what, $act) = @$case;
	my $session = open_session($node, 'patient');

	set_stage();
	$sim->fault('POST', 'variables', 'stall', nth => 2, seconds => 3);
	said($session, 'BEGIN; ' . sprintf("$create; $refused", q{'MADE'}));
	$session->send('COMMIT');
	$sim->wait_for('POST', 'variables', 2);
	$act->();
	$text = said_later($session);
	$session->close;
	like($text, qr/ERROR/, "$what: the commit fails");
	none_is_dead($what, $text);
	like($text, qr/could not restore project variable "MADE" of "acme\/app"/, "$what: a message names the variable that was not restored");
}


# --- somebody else writes meanwhile ---------------------------------------------------

# Between our write and its undoing, another session delivers another token, and
# revokes the one that was there before.
{
	my $session = open_session($node, 'patient');

	set_stage();
	$sim->fault('POST', 'variables', 'stall', seconds => 1);
	said($session, 'BEGIN; ' . $rotate->('gitlab_personal_access_tokens') . "; $refused");
	$session->send('COMMIT');
	$sim->wait_for('POST', 'variables');
	$sim->variable_set(project => 'acme/app', key => 'DEPLOY_PAT', value => 'glpat-sim-frank');
	$sim->control('PATCH', 'tokens/2', undef, { revoked => JSON::PP::true });
	$text = said_later($session);
	$session->close;
	like($text, qr/ERROR/, 'meanwhile: the commit fails');
	none_is_dead('meanwhile', $text);
	is(held('DEPLOY_PAT'), 15, 'meanwhile: the variable keeps what the other session wrote');
}

# --- a fault at each request of commits of other shapes --------------------------------

my $new = q{(INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'made', '{api}', current_date + 90) RETURNING token)};
my $from = 'WITH new AS (UPDATE gitlab_personal_access_tokens
	SET expires_at = current_date + 90 WHERE id = 2 RETURNING token)';
my $variable = q{v.project = 'acme/app' AND v.key = 'DEPLOY_PAT'};

# [name, SQL].  Each delivers a token that replaces number 2, or a new one.
my @shapes = (
	[ 'move', "$from UPDATE gitlab_project_variables v
		SET value = new.token, environment_scope = 'prod' FROM new WHERE $variable" ],
	[ 'scopes', "$from UPDATE gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key IN ('DEPLOY_PAT', 'DATABASE_URL')" ],
	[ 'twice', "WITH new AS $new UPDATE gitlab_project_variables v SET value = new.token
			FROM new WHERE $variable;
		$from UPDATE gitlab_project_variables v SET value = new.token FROM new WHERE $variable" ],
	[ 'anew', "DELETE FROM gitlab_project_variables v WHERE $variable;
		$from INSERT INTO gitlab_project_variables (project, key, value)
			SELECT 'acme/app', 'DEPLOY_PAT', token FROM new" ],
	[ 'new', "WITH new AS $new INSERT INTO gitlab_project_variables (project, key, value)
			SELECT 'acme/app', 'MADE', token FROM new;
		UPDATE gitlab_project_variables v SET environment_scope = 'prod', description = 'moved'
			WHERE v.project = 'acme/app' AND v.key = 'MADE'" ],
	[ 'hidden', "$from UPDATE gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key IN ('DEPLOY_PAT', 'HIDDEN_TOKEN')" ],
	# a variable of a group
	[ 'group', "$from UPDATE gitlab_group_variables v SET value = new.token,
			environment_scope = 'prod' FROM new
		WHERE v.group_path = 'acme' AND v.key = 'GROUP_TOKEN'" ]);

# [name, kind, what else the kind takes]
my @faults = (
	[ 'reset, the effect later', 'reset', { moment => 'late', delay => 0.2 } ],
	[ 'reset after the effect', 'reset', { moment => 'after' } ],
	[ 'reset twice, the effect later', 'reset', { moment => 'late', delay => 0.2, times => 2 } ],
	[ 'status 403', 'status', { status => 403 } ],
	[ 'reset after the effect from then on', 'reset', { moment => 'after', times => 0 } ]);

# What all variables hold, by name.
sub contents
{
	return { map {
		my $scope = $_->{environment_scope} eq '*' ? '' : " ($_->{environment_scope})";
		("$_->{owner} $_->{key}$scope" => $_->{value})
	} $sim->variables };
}

# What is wrong with the outcome, given what was before and all that was said.
sub violations
{
	my ($before, $said) = @_;
	my $failed = $said =~ /ERROR:|FATAL:/;
	my @wrong;

	$sim->wait_for_late;
	my @variables = $sim->variables;
	my $after = contents();
	push @wrong, map { "dead: $_->{owner} $_->{key}" } $sim->dead_variables;
	foreach my $name (sort keys %{ { %$before, %$after } })
	{
		my ($owner, $key) = $name =~ /^\w+ (\S+) (\S+)/;

		push @wrong, "failed, but $name is not as it was, unsaid"
		  if $failed && ($before->{$name} // '') ne ($after->{$name} // '')
		  && $said !~ /WARNING: .*(?:could not restore|may still change) .*variable "\Q$key\E"(?: \(\w+\))? of "\Q$owner\E" on server/;
	}
	foreach my $token (grep { $failed && $_->{id} > 16 && $_->{state} eq 'active' } $sim->tokens)
	{
		push @wrong, "orphan $token->{id}"
		  unless grep { ($_->{token_id} // 0) == $token->{id} } @variables
		  or $said =~ /\b$token->{id}\b/
		  or $said =~ /may (?:exist|have been created)/;
	}
	push @wrong, 'a backend crashed' if $said =~ /PANIC/;
	return join '; ', @wrong;
}

foreach my $shape (@shapes)
{
	# a transaction that fails by itself meets all faults
	foreach my $end ([ 'committed', '', $faults[0] ], [ 'failed', $refused, @faults ])
	{
		my ($outcome, $more, @met) = @$end;
		my $name = "$shape->[0], $outcome";
		my $statements = "$shape->[1]; $more";

		set_stage($shape->[0]);
		my $before = contents();
		my $session = Session->open($node, verbosity => 'default');
		$text = said($session, "BEGIN; $statements");
		my $first = $sim->count + 1;
		$text .= said($session, 'COMMIT');
		my $last = $sim->count;
		$session->close;
		is($text =~ /ERROR/ ? 'failed' : 'committed', $outcome, "$name: the transaction has $outcome") or note($text);
		is(violations($before, $text), '', "$name: the outcome is right") or note($text);
		foreach my $fault (@met)
		{
			my ($what, $kind, $takes) = @$fault;
			my @wrong;

			foreach my $nth ($first .. $last)
			{
				set_stage($shape->[0]);
				$sim->fault('*', '.', $kind, nth => $nth, %$takes);
				$text = run($statements);
				$sim->clear_faults;
				my $violations = violations($before, $text);
				push @wrong, "at request $nth: $violations\n$text" if $violations;
			}
			is(join("\n", @wrong), '', "$name, $what at each request of the commit: no variable has a dead token");
		}
	}
}


# --- interrupted at each request of a commit that fails, and of its rollback ----------------

my $log_offset = -s $node->logfile;

# What the server's log has had to say since the last call.
sub log_tail
{
	my $tail = slurp_file($node->logfile, $log_offset);

	$log_offset = -s $node->logfile;
	return $tail;
}

foreach my $shape (grep { $_->[0] =~ /^(?:scopes|anew)$/ } @shapes)
{
	my $commit = sub {
		my ($prepare, $act) = @_;
		my $session = open_session($node, 'patient');

		said($session, "BEGIN; $shape->[1]; $refused");
		$sim->clear_journal;
		$prepare->() if $prepare;
		log_tail();
		$session->send('COMMIT');
		$act->($session) if $act;
		$text = said_later($session);
		$session->close;
		return;
	};

	set_stage();
	$commit->();
	my $requests = $sim->count;
	foreach my $signal (qw(INT TERM))
	{
		my @wrong;

		foreach my $moment (qw(before after))
		{
			foreach my $nth (1 .. $requests)
			{
				set_stage();
				my $before = contents();
				my $stall = sub {
					$sim->fault('*', '.', 'stall', nth => $nth, moment => $moment, seconds => 1);
				};
				$commit->($stall, sub {
					my ($session) = @_;

					$sim->wait_for('*', '.', $nth);
					sleep 0.02;
					signal_backend($session, $signal);
					wait_until_gone($session) if $signal eq 'TERM';
				});
				# what a rollback has said to nobody is in the log
				my $violations = violations($before, $text . log_tail());
				push @wrong, "$moment the effect of request $nth: $violations\n$text" if $violations;
			}
		}
		is(join("\n", @wrong), '', "$shape->[0], SIG$signal while each of $requests requests stalls: no variable has a dead token");
	}
}

is_alive($node);

done_testing();
