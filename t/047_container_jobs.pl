# gitlab_pat_rotate_due() by a group's Owner on gitlab.com, who is no administrator:
# tokens of projects, groups and service accounts are rotated, delivered and kept for
# an overlap; a later run ends what a fault has left; a dry run tells the truth.
# An administrator's job does the same with impersonation tokens.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim,
	server_options => q{max_retries '0', request_timeout '1s', rollback_timeout '2s'});

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub day { return strftime('%Y-%m-%d', gmtime(time + $_[0] * 86400)) }

sql(q{
	ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
	CREATE TABLE deliveries (token_container text, owner text, token_name text, project text, group_path text,
		variable text, days integer NOT NULL DEFAULT 14, keep_old interval);
	CREATE TABLE rotations (at timestamptz NOT NULL, owner text NOT NULL, token_name text NOT NULL,
		token_container text, old_id bigint, new_id bigint, outcome text NOT NULL, message text,
		fingerprint text, revoke_after timestamptz)});

# The tables; in what their tokens are; are there service accounts?
my @tables = (
	[ 'gitlab_project_access_tokens', 'project', 'acme/app', 0 ],
	[ 'gitlab_group_access_tokens', 'group_path', 'acme', 0 ],
	[ 'gitlab_project_service_account_tokens', 'project', 'acme/app', 1 ],
	[ 'gitlab_group_service_account_tokens', 'group_path', 'acme', 1 ]);
my ($table, $column, $container, $has_accounts, $owner, $first);

# The Owner makes a token that ends in nine days, and delivers it to a project and
# a group.
sub set_stage
{
	$sim->reset(dates => 'today');
	$sim->control('POST', 'settings', undef, { saas => JSON::PP::true });
	sql('TRUNCATE deliveries, rotations');
	undef $owner;
	my $user_id;

	if ($has_accounts)
	{
		my $kind = $column eq 'project' ? 'projects/1' : 'groups/1';
		my $answer = HTTP::Tiny->new(no_proxy => ['127.0.0.1'])->post($sim->url . "/api/v4/$kind/service_accounts",
			{ headers => { 'PRIVATE-TOKEN' => 'glpat-sim-alice' } });
		my $account = JSON::PP::decode_json($answer->{content});

		($user_id, $owner) = @$account{qw(id username)};
	}
	my ($columns, $values) = $has_accounts ? ('user_id', $user_id) : ('access_level', 30);

	my $made = sql(qq{
		INSERT INTO $table ($column, $columns, name, scopes, expires_at)
		VALUES ('$container', $values, 'job', '{api}', '@{[ day(9) ]}') RETURNING id || ' ' || token});
	($first, my $secret) = split / /, $made;
	$sim->variable_set(project => 'acme/web', key => 'JOB', value => $secret);
	$sim->variable_set(group => 'acme', key => 'JOB', value => $secret);
	my $quoted = $owner ? "'$owner'" : 'NULL';

	sql(qq{INSERT INTO deliveries (token_container, owner, token_name, project, group_path, variable) VALUES
		('$container', $quoted, 'job', 'acme/web', NULL, 'JOB'), ('$container', $quoted, 'job', NULL, 'acme', 'JOB')});
	$sim->clear_journal;
	return;
}

sub run_job
{
	my ($more) = @_;
	my ($code, $out, $err) = $node->psql('postgres',
		"CALL gitlab_pat_rotate_due('deliveries', 'rotations', tokens => '$table'" . ($more // '') . ')');

	return $code == 0 ? $out : $err;
}

sub active
{
	return join ' ', sort { $a <=> $b } map { $_->{id} } grep { $_->{name} eq 'job' && $_->{state} eq 'active' } $sim->tokens;
}

sub held { return join ' ', map { $_->{token_id} // 'none' } grep { $_->{key} eq 'JOB' } $sim->variables }

# What GitLab was asked for, as far as it matters.
sub requests
{
	return map {
		my $what = $_->{path} =~ m{/self$} ? 'self' : $_->{path} =~ m{/rotate$} ? 'rotate' :
		  $_->{path} =~ m{/variables/} ? 'variable' : $_->{path} =~ m{tokens/\d+$} ? 'token' :
		  $_->{path} =~ m{tokens(?:\?|$)} ? 'tokens' :
		  $_->{path} =~ m{/users\?} ? 'users' : $_->{path};

		"$_->{method} $what"
	} $sim->journal;
}

sub writes { return scalar grep { $_->{method} ne 'GET' } $sim->journal }

# Without faults, a night or two later: the places hold the only token that works.
sub is_repaired
{
	my ($what) = @_;

	$sim->clear_faults;
	like(run_job(), qr/^\d\|0\|0$/, "$table, $what: the next run ends well, and leaves nothing over");
	is(run_job(), '0|0|0', "$table, $what: one more run has nothing to do");
	is(held(), join(' ', active(), active()), "$table, $what: both places hold the only token that works");
	return;
}

foreach (@tables)
{
	($table, $column, $container, $has_accounts) = @$_;
	my $native = !$has_accounts;

	set_stage();
	is(run_job(', dry_run => true'), '1|0|0', "$table: a dry run tells that the token is due");
	is(writes(), 0, "$table: a dry run changes nothing");
	is(run_job(), '1|0|0', "$table: the token is rotated and delivered");
	isnt(active(), $first, "$table: another token works");
	is($sim->token_state($first), 'revoked', "$table: the old token does not work");
	is(held(), join(' ', active(), active()), "$table: the project and the group hold the new token");
	is(sql('SELECT DISTINCT token_container FROM rotations'), $container, "$table: the log says in what the token is");
	is_repaired('after a night without faults');

	# what a rotation into one place takes, when the log knows what the place holds
	sql('DELETE FROM deliveries WHERE project IS NULL');
	$sim->control('PATCH', 'tokens/' . active(), undef, { expires_at => day(9) });
	$sim->clear_journal;
	is(run_job(), '1|0|0', "$table: a token is rotated into one place");
	my @requests = requests();
	is(join(', ', @requests),
		$native ? 'GET self, GET tokens, GET variable, PUT variable, GET token, POST rotate, GET self, PUT variable' :
		  'GET self, GET users, GET tokens, GET variable, GET tokens, POST tokens, GET self, PUT variable, DELETE token',
		"$table: a rotation makes no more requests than it needs");

	# an overlap
	set_stage();
	if ($native)
	{
		like(run_job(q{, keep_old => '2 days'}), qr/native rotation ends the old token at once/, "$table: an overlap is refused");
		is(writes(), 0, "$table: an overlap is refused before anything is changed");
	}
	else
	{
		is(run_job(q{, keep_old => '2 days'}), '1|0|0', "$table: the token is rotated, and the old one kept");
		like(active(), qr/^$first \d+$/, "$table: both tokens work during the overlap");
		$sim->control('POST', 'clock', undef, { advance => 3 * 86400 });
		is(run_job(q{, keep_old => '2 days'}), '0|0|0', "$table: a later run ends the overlap");
		is($sim->token_state($first), 'revoked', "$table: the old token does not work after the overlap");
	}

	# faults
	my %faults = (
		'a PUT that is refused' => [ 'PUT', 'groups/acme/variables/JOB', 'status', status => 403, times => 0 ],
		'a lost answer' => [ 'POST', 'access_tokens', 'reset', moment => 'after' ],
		$native ? () : ('a revocation that is refused' => [ 'DELETE', 'access_tokens', 'status', status => 502, times => 0 ]));

	foreach my $what (sort keys %faults)
	{
		set_stage();
		$sim->fault(@{ $faults{$what} });
		my $said = run_job();

		if ($what =~ /revocation/)
		{
			is($said, '1|0|1', "$table, $what: what is left over is counted");
			my $message = sql(q{SELECT message FROM rotations WHERE outcome = 'left over'});

			like($message, qr/DELETE FROM public\.$table WHERE id = $first AND $column = '$container'/, "$table, $what: the log says what to run");
			$sim->clear_faults;
			sql(($message =~ /(DELETE .*)/)[0]);
			is($sim->token_state($first), 'revoked', "$table, $what: the statement in the log does that");
		}
		else
		{
			like($said, qr/ERROR:  1 of 1 access tokens could not be rotated/, "$table, $what: the job fails");
		}
		is_repaired($what);
	}

	# What can't work is told before it is due.
	set_stage();
	sql(qq{UPDATE deliveries SET days = 3, token_container = 'acme/none'});
	like(run_job(', dry_run => true'), qr/ERROR:  1 of 1/, "$table: a dry run tells of a container that is not there");
	sql(qq{UPDATE deliveries SET token_container = NULL});
	like(run_job(', dry_run => true'), qr/the column "token_container" is null/, "$table: a dry run tells of a container that is null");
	sql(qq{UPDATE deliveries SET token_container = '$container', token_name = 'none'});
	like(run_job(', dry_run => true'), qr/there is no active token "none"/, "$table: a dry run tells of a token that is not there");
	is(writes(), 0, "$table: dry runs change nothing");
}

# Impersonation tokens are in no project or group.  GitLab has them by their owners.
sub set_stage_of_impersonation
{
	$table = 'gitlab_impersonation_tokens';
	$sim->reset(dates => 'today');
	sql('TRUNCATE deliveries, rotations');
	($first, my $secret) = split / /, sql(qq{
		INSERT INTO $table (user_id, name, scopes, expires_at)
		VALUES (2, 'job', '{api}', '@{[ day(9) ]}') RETURNING id || ' ' || token});
	$sim->variable_set(project => 'acme/web', key => 'JOB', value => $secret);
	$sim->variable_set(group => 'acme', key => 'JOB', value => $secret);
	sql(q{INSERT INTO deliveries (owner, token_name, project, group_path, variable) VALUES
		('alice', 'job', 'acme/web', NULL, 'JOB'), ('alice', 'job', NULL, 'acme', 'JOB')});
	$sim->clear_journal;
	return;
}

sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
set_stage_of_impersonation();
is(run_job(', dry_run => true'), '1|0|0', "$table: a dry run tells that the token is due");
is(writes(), 0, "$table: a dry run changes nothing");
is(run_job(), '1|0|0', "$table: the token is rotated and delivered");
is($sim->token_state($first), 'revoked', "$table: the old token does not work");
is(sql(qq{SELECT count(*) FROM $table WHERE user_id = 2 AND active AND name = 'job'}), 1,
	"$table: the new token is an impersonation token");
is_repaired('after a night without faults');
set_stage_of_impersonation();
is(run_job(q{, keep_old => '2 days'}), '1|0|0', "$table: the token is rotated, and the old one kept");
$sim->control('POST', 'clock', undef, { advance => 3 * 86400 });
is(run_job(q{, keep_old => '2 days'}), '0|0|0', "$table: a later run ends the overlap");
is($sim->token_state($first), 'revoked', "$table: the old token does not work after the overlap");
foreach my $fault ([ 'PUT', 'groups/acme/variables/JOB', 'status', status => 403, times => 0 ],
	[ 'POST', 'impersonation_tokens', 'reset', moment => 'after' ])
{
	set_stage_of_impersonation();
	$sim->fault(@$fault);
	like(run_job(), qr/ERROR:  1 of 1 access tokens could not be rotated/, "$table, a failed $fault->[0]: the job fails");
	is_repaired("a failed $fault->[0]");
}
set_stage_of_impersonation();
$sim->fault('DELETE', 'impersonation_tokens', 'status', status => 502, times => 0);
is(run_job(), '1|0|1', "$table: a revocation that is refused is counted");
$sim->clear_faults;
sql((sql(q{SELECT message FROM rotations WHERE outcome = 'left over'}) =~ /(DELETE .*)/)[0]);
is($sim->token_state($first), 'revoked', "$table: the statement in the log revokes what is left over");
is_repaired('a revocation that is refused');

$node->stop;
done_testing();
