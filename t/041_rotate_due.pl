# gitlab_pat_rotate_due() with processes, faults and time: a token that could not be
# delivered is repaired by the next run, whatever the first one has left; the log
# tells what; a cancel stops the job; two sessions do not rotate by the same table;
# and no secret gets into the server's log.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	server_options => q{max_retries '0', request_timeout '300ms', rollback_timeout '600ms', max_retry_wait '100ms'});
my @loggers = grep { has_module($node, $_) } qw(auto_explain pgaudit);

$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = '@{[ join ',', @loggers ]}'
	restart_after_crash = on
	log_statement = 'all'
	log_min_duration_statement = 0
	log_parameter_max_length = -1
	log_parameter_max_length_on_error = -1
	gitlab_pat_fdw.log_requests = on});
$node->append_conf('postgresql.conf', q{
	auto_explain.log_min_duration = 0
	auto_explain.log_verbose = on
	auto_explain.log_nested_statements = on}) if grep { $_ eq 'auto_explain' } @loggers;
$node->append_conf('postgresql.conf', q{
	pgaudit.log = 'all'
	pgaudit.log_parameter = on}) if grep { $_ eq 'pgaudit' } @loggers;
$node->restart;
$node->safe_psql('postgres', q{
	CREATE TABLE token_deliveries (token_name text, owner text, project text, group_path text,
		variable text, environment_scope text, days integer);
	CREATE TABLE token_rotations (at timestamptz, owner text, token_name text, old_id bigint,
		new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz);
	CREATE FOREIGN TABLE native_tokens (id bigint, user_id bigint, name text, scopes text[], active boolean,
		revoked boolean, created_at timestamptz, last_used_at timestamptz, expires_at date, granular boolean, token text)
		SERVER gitlab OPTIONS (rotation 'native');
	CREATE ROLE regress_nobody LOGIN});

my $call = q{CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')};
my $native_call = $call =~ s/\)$/, tokens => 'native_tokens')/r;
my @secrets;

sub day { return strftime('%Y-%m-%d', gmtime(time + $_[0] * 86400)) }

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Runs the job; returns the result, or else the error.
sub run_job
{
	my ($command, @options) = @_;
	my ($code, $out, $err) = $node->psql('postgres', $command // $call,
		extra_params => [ '-v', 'VERBOSITY=verbose', @options ]);

	push @secrets, map { $_->{token} } grep { $_->{id} > 16 && $_->{name} ne 'reader' } $sim->tokens;
	return $code == 0 ? $out : $err;
}

# Alice's token 100 ends in nine days, and is in one variable.
sub set_stage
{
	$sim->reset;
	sql('TRUNCATE token_deliveries, token_rotations');
	$sim->control('POST', 'tokens', undef, { id => 100, user_id => 2, name => 'job', scopes => ['api'],
		token => 'glpat-job-100', expires_at => day(9) });
	$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'glpat-job-100');
	sql(q{INSERT INTO token_deliveries VALUES ('job', 'alice', 'acme/app', NULL, 'JOB', '*', 14)});
	$sim->clear_journal;
	return;
}

sub log_rows
{
	return sql(q{SELECT string_agg(concat_ws(' ', outcome, old_id || '', '>' || new_id), ', ' ORDER BY at)
		FROM token_rotations});
}

# The tokens of that name that work, apart from those that are named.
sub active
{
	my ($name) = @_;

	return join ' ', sort map { $_->{id} } grep { $_->{name} eq $name && $_->{state} eq 'active' } $sim->tokens;
}

# The token whose secret a variable holds.
sub held
{
	my ($owner, $key, $scope) = @_;
	my ($variable) = grep { $_->{owner} eq $owner && $_->{key} eq $key } $sim->variables;

	return $variable->{token_id} // 'none';
}

# Runs the job without faults: it ends well, the place holds the only token of that
# name that works, and there is nothing to be done once more.
sub is_repaired
{
	my ($what, $command, %options) = @_;

	$sim->clear_faults;
	$sim->wait_for_late;
	unlike(run_job($command), qr/ERROR/, "$what: the next run ends well");
	is(join(' ', map { $_->{key} } $sim->dead_variables), '', "$what: no variable holds a dead token");
	my $held = held('project acme/app', 'JOB');

	is(active('job'), join(' ', sort $held, @{ $options{others} // [] }), "$what: of that name, only the expected tokens are active");
	is($sim->token_state($held), 'active', "$what: the place holds a token that works");
	is(run_job($command), '0|0|0', "$what: one more run has nothing to do");
	is(held('project acme/app', 'JOB'), $held, "$what: one more run leaves the place alone");
	return;
}


# --- what a run has left ------------------------------------------------------------------------

set_stage();
is(run_job(), '1|0|0', 'a token that ends soon is rotated');
is(log_rows(), 'started 100, rotated 100 >101', 'the log has a row for the beginning and one for the end');
is_repaired('a run without trouble');

my %leftovers = (
	'a PUT that is reset each time' => [ [ 'PUT', 'JOB', 'reset', times => 0 ] ],
	'a PUT that is refused, and so is the revocation' =>
	  [ [ 'PUT', 'JOB', 'status', status => 403, times => 0 ], [ 'DELETE', 'tokens', 'status', status => 403, times => 0 ] ],
	'PUT and DELETE with 502' =>
	  [ [ 'PUT', 'JOB', 'status', status => 502, times => 0 ], [ 'DELETE', 'tokens', 'status', status => 502, times => 0 ] ],
	'a PUT that is carried out and not answered' => [ [ 'PUT', 'JOB', 'reset', moment => 'after', times => 0 ] ],
	'a creation that is carried out and not answered' => [ [ 'POST', 'users/2/personal', 'reset', moment => 'after' ] ],
	'a creation that is carried out later' => [ [ 'POST', 'users/2/personal', 'reset', moment => 'late', delay => 0.2 ] ],
	'a new secret that GitLab does not take' => [ [ 'GET', 'self$', 'status', status => 401, nth => 3 ] ],
	'a new secret about which GitLab says nothing' => [ [ 'GET', 'self$', 'status', status => 500, nth => 3 ] ],
	'a rate limit at the commit' => [ [ 'PUT', 'JOB', 'status', status => 429, headers => { 'Retry-After' => 3600 }, times => 0 ] ]);

foreach my $what (sort keys %leftovers)
{
	set_stage();
	$sim->fault(@$_) foreach @{ $leftovers{$what} };
	like(run_job(), qr/ERROR:  HV000: 1 of 1 access tokens could not be rotated/, "$what: the job fails");
	my ($found) = grep { $_->{id} > 100 && $_->{state} eq 'active' } $sim->tokens;

	like(sql(q{SELECT message FROM token_rotations WHERE outcome = 'failed'}), qr/\w/, "$what: the log says why");
	is(sql(q{SELECT new_id FROM token_rotations WHERE outcome = 'failed'}), $found->{id}, "$what: the log has the id of what is left")
	  if $found && $what !~ /later/;
	is_repaired($what);
}

# A token that somebody has rotated by hand, without the variable
set_stage();
is(run_job(), '1|0|0', 'a token is delivered');
$sim->control('PATCH', 'tokens/101', undef, { revoked => JSON::PP::true });
$sim->control('POST', 'tokens', undef, { id => 120, user_id => 2, name => 'job', scopes => ['api'],
	token => 'glpat-job-120', expires_at => day(300) });
is_repaired('a token that somebody else has rotated');

# Namesakes that live longer are not taken for the token that is delivered.
foreach my $expiry (day(300), undef)
{
	set_stage();
	$sim->control('POST', 'tokens', undef, { id => 120, user_id => 2, name => 'job', scopes => ['api'],
		token => 'glpat-job-120', expires_at => $expiry });
	is(run_job(), '1|0|0', 'the token that the place holds is rotated, although a namesake lives longer');
	is(active('job'), '120 121', 'the namesake stays');
	is_repaired('a namesake that lives longer', undef, others => [120]);
}

# A place that somebody has overwritten
set_stage();
run_job();
$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'garbage');
is(run_job(), '1|0|0', 'a place that was overwritten is delivered to again');
is_repaired('a place that was overwritten');

# The last requests that GitLab has received, without their parameters.
sub requests
{
	my ($from) = @_;
	my @requests = map { "$_->{method} $_->{path}" =~ s{/api/v4/|\?.*}{}gr } $sim->journal;

	return @requests[ $from .. -1 ];
}

# Ends a session while it waits for the answer to a PUT.
sub end_in_put
{
	my ($how) = @_;

	sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '30s')});
	$sim->fault('PUT', 'JOB', 'stall');
	my $session = Session->open($node);

	$session->send($call);
	$sim->wait_for('PUT', 'JOB');
	$how eq 'killed' ? kill('KILL', $session->pid) : sql('SELECT pg_terminate_backend(' . $session->pid . ', 20000)');
	$session->close;
	$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery' if $how eq 'killed';
	$sim->clear_faults;
	sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '300ms')});
	return;
}

# Sessions that end in the midst of it
foreach my $how (qw(terminated killed))
{
	set_stage();
	end_in_put($how);
	like(log_rows(), qr/^started 100$/, "a session that was $how: the log has the beginning");
	is_repaired("a session that was $how");
}

# What the commit could not revoke
set_stage();
$sim->fault('DELETE', 'tokens/100', 'status', status => 403);
is(run_job(), '1|0|1', 'an old token that could not be revoked is counted');
is(log_rows(), 'started 100, rotated 100 >101, left over 100', 'the log names the old token that could not be revoked');
like(sql(q{SELECT message FROM token_rotations WHERE outcome = 'left over'}), qr/DELETE FROM public\.gitlab_personal_access_tokens WHERE id = 100/,
	'the log says how to revoke an old token that could not be revoked');
is(run_job(), '0|0|0', 'the next run revokes an old token that could not be revoked');
is(log_rows(), 'started 100, rotated 100 >101, left over 100, revoked 100', 'the log says that the next run has revoked the old token');
is($sim->token_state(100), 'revoked', 'the next run leaves the old token revoked in GitLab');

# ... and somebody else may do it.
set_stage();
$sim->fault('DELETE', 'tokens/100', 'status', status => 403);
run_job();
$sim->control('PATCH', 'tokens/100', undef, { revoked => JSON::PP::true });
is(run_job(), '0|0|0', 'what somebody else has revoked is no longer left over');

# A token that was left over, and that somebody puts into the place, is in use.
set_stage();
$sim->fault('DELETE', 'tokens/100', 'status', status => 403);
run_job();
$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'glpat-job-100');
sql('UPDATE token_deliveries SET days = 3');
is(run_job(), '0|0|0', 'a token that was left over and is in a place is not left over');
is($sim->token_state(100), 'active', 'a token that was left over and is in a place is not revoked');
is(log_rows(), 'started 100, rotated 100 >101, left over 100, in use 100', 'the log says that a place holds the token that was left over');

# A place that holds the new token after a run that has failed: the old token goes.
set_stage();
$sim->fault('PUT', 'JOB', 'reset', moment => 'after');
$sim->fault('PUT', 'JOB', 'status', status => 403, times => 0);
like(run_job(), qr/ERROR/, 'a delivery that is carried out, not answered and not undone is a failure');
is_repaired('a delivery that is carried out, not answered and not undone');

# Rows that leave the table take nothing out of sight.
set_stage();
$sim->fault('DELETE', 'tokens/100', 'status', status => 403);
run_job();
sql('CREATE TABLE kept_deliveries AS SELECT * FROM token_deliveries; DELETE FROM token_deliveries');
foreach my $night (1 .. 2)
{
	my ($code, $out, $err) = $node->psql('postgres', $call, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	is($out, '0|0|1', "night $night: what is left over of a row that is gone is counted");
	like($err, qr/01L14: token 100, "job" of "alice", is left over, and no row names it any more.*token_deliveries.*DELETE FROM public\.gitlab_personal_access_tokens WHERE id = 100;/s,
		"night $night: a WARNING names it, with what to do");
}
is($sim->token_state(100), 'active', 'what no row names any more is not revoked');
$sim->control('PATCH', 'tokens/100', undef, { revoked => JSON::PP::true });
is(run_job(), '0|0|0', 'what somebody has revoked is not left over, although no row names it');
set_stage();
run_job($call =~ s/\)$/, keep_old => '2 days')/r);
sql('DELETE FROM token_deliveries');
is(run_job(), '0|0|0', 'an overlap goes on, although no row names the token');
$sim->control('POST', 'clock', undef, { advance => 3 * 86400 });
is(run_job(), '0|0|1', 'an overlap that has ended is left over, although no row names the token');
like(sql(q{SELECT message FROM token_rotations WHERE outcome = 'left over'}), qr/no row names the token any more.*DELETE/,
	'the log has an overlap that no row names, with what to do');
sql('DROP TABLE kept_deliveries');

# An owner whose tokens GitLab refuses, though it calls them active
foreach my $state (qw(blocked deactivated))
{
	set_stage();
	sql('UPDATE token_deliveries SET days = 3');
	$sim->control('PATCH', 'users/2', undef, { state => $state });
	like(run_job(), qr/no token of user "alice" works, because the user is $state/, "a token whose owner is $state is a failure");
	$sim->control('PATCH', 'users/2', undef, { state => 'active' });
	is(run_job(), '0|0|0', "a token whose owner is no longer $state is well");
}

# What somebody creates while a run fails is not taken for what the run has made.
foreach my $theirs ({ expires_at => day(30) }, { expires_at => day(90), scopes => ['read_api'] })
{
	set_stage();
	end_in_put('terminated');
	$sim->control('POST', 'tokens', undef, { id => 300, user_id => 2, name => 'job', scopes => ['api'], token => 'glpat-job-300', %$theirs });
	my $what = 'a token of another ' . ($theirs->{scopes} ? 'scope' : 'expiry');

	is_repaired("$what than the run has asked for", undef, others => [300]);
	like(sql(q{SELECT old_id || ' ' || message FROM token_rotations WHERE outcome = 'unknown'}), qr/^300 somebody has created it .*DELETE FROM .* WHERE id = 300$/,
		"$what that is created after the run was interrupted is named");
}

# Somebody creates a namesake while a run fails.  Only what the run has made itself may
# go: what GitLab has answered with, or what alone can be behind a lost answer.
sub theirs
{
	my ($id, %more) = @_;

	return { id => $id, user_id => 2, name => 'job', scopes => ['api'], token => "glpat-job-$id", expires_at => day(90), %more };
}

sub hook_post
{
	$sim->control('POST', 'hooks', undef, { method => 'POST', path => 'users/2/personal', do => [ { create => theirs(@_) } ] });
	return;
}

my @put_refused = ('PUT', 'JOB', 'status', status => 403, times => 0);

foreach my $case (
	[ 'a failed commit, and a namesake of other scopes', [ 300, scopes => ['read_api'] ], @put_refused ],
	[ 'a failed commit, and a namesake that looks alike', [300], @put_refused ],
	[ 'a creation that is refused, and a namesake', [300], 'POST', 'users/2/personal', 'status', status => 403, times => 0 ],
	[ 'a new secret that does not work, and a namesake', [300], 'GET', 'self$', 'status', status => 401, nth => 3 ],
	[ 'a lost answer, and a namesake of other scopes', [ 300, scopes => ['read_api'] ], 'POST', 'users/2/personal', 'reset', moment => 'after' ])
{
	my ($what, $theirs, @fault) = @$case;

	set_stage();
	hook_post(@$theirs);
	$sim->fault(@fault);
	like(run_job(), qr/ERROR/, "$what: the job fails");
	$sim->control('DELETE', 'hooks');
	isnt(sql(q{SELECT new_id FROM token_rotations WHERE outcome = 'failed'}), 300, "$what: the log does not take the namesake for its own");
	is_repaired($what, undef, others => [300]);
	is(sql(q{SELECT count(*) FROM token_rotations WHERE outcome IN ('left over', 'revoked') AND old_id = 300}), 0,
		"$what: the namesake is not left over");
}

# Where several tokens may be behind a lost answer, the job names all and revokes none.
set_stage();
hook_post(300);
$sim->fault('POST', 'users/2/personal', 'reset', moment => 'after');
like(run_job(), qr/ERROR/, 'a lost answer, and a namesake that looks alike: the job fails');
$sim->control('DELETE', 'hooks');
is(sql(q{SELECT new_id FROM token_rotations WHERE outcome = 'failed'}), '', 'a lost answer, and a namesake that looks alike: the log does not guess');
my ($lost) = grep { $_ != 100 && $_ != 300 } split / /, active('job');
is_repaired('a lost answer, and a namesake that looks alike', undef, others => [ 300, $lost ]);
is(sql(q{SELECT string_agg(old_id::text, ' ' ORDER BY old_id) FROM token_rotations WHERE outcome = 'unknown'}),
	join(' ', sort { $a <=> $b } 300, $lost), 'a lost answer, and a namesake that looks alike: both are named');

# What somebody creates an hour after a run was interrupted is not what the run has made,
# whether the run's own token works or not.
foreach my $how (qw(terminated killed))
{
	set_stage();
	end_in_put($how);
	my ($own) = grep { $_->{id} == 101 } $sim->tokens;
	$sim->control('POST', 'clock', undef, { advance => 3600 });
	$sim->control('POST', 'tokens', undef, theirs(300, expires_at => $own->{expires_at}));
	my $what = "a namesake an hour after a run was $how";

	is_repaired($what, undef, others => [300]);
	is(sql(q{SELECT string_agg(old_id::text, ' ') FROM token_rotations WHERE outcome = 'unknown'}), 300, "$what: the namesake is named");
}
set_stage();
end_in_put('killed');
$sim->control('POST', 'tokens', undef, theirs(300));
is_repaired('a namesake right after a run was killed', undef, others => [ 101, 300 ]);
$sim->reset;

# Native rotation
set_stage();
$sim->fault('PUT', 'JOB', 'status', status => 500, times => 0);
like(run_job($native_call), qr/ERROR/, 'a native rotation into a variable that can\'t be written fails');
is($sim->token_state(100), 'active', 'the variable is tried first: the old token works');
is_repaired('a native rotation that was refused in time', $native_call);
set_stage();
$sim->fault('PUT', 'JOB', 'status', status => 500, nth => 2, times => 0);
like(run_job($native_call), qr/ERROR/, 'a native rotation whose delivery fails is a failure');
is($sim->token_state(100), 'revoked', 'a native rotation cannot be undone');
is(sql(q{SELECT new_id FROM token_rotations WHERE outcome = 'failed'}), 101, 'the log has the new id');
is_repaired('a native rotation whose delivery failed', $native_call);


# --- several places ------------------------------------------------------------------------------

# One token in projects and a group, in one transaction: all or none is delivered.
set_stage();
foreach my $place ([ project => 'acme/web' ], [ group => 'acme' ])
{
	$sim->variable_set(@$place, key => 'JOB', value => 'glpat-job-100');
}
sql(q{INSERT INTO token_deliveries VALUES ('job', 'alice', 'acme/web', NULL, 'JOB', '*', 14),
	('job', 'alice', NULL, 'acme', 'JOB', '*', 14)});
$sim->fault('PUT', 'groups/acme/variables/JOB', 'status', status => 400, times => 0);
like(run_job(), qr/ERROR/, 'a group that refuses is a failure');
is(join(' ', map { held($_, 'JOB') } 'project acme/app', 'project acme/web', 'group acme'), '100 100 100',
	'the projects that were written before hold the old token again');
is_repaired('projects and a group');
is(join(' ', map { held($_, 'JOB') } 'project acme/web', 'group acme'), '102 102', 'projects and a group hold the same token');

# A hidden place is known by the log.
set_stage();
$sim->variable_set(project => 'acme/app', key => 'SECRET', value => 'glpat-job-100',
	masked => JSON::PP::true, hidden => JSON::PP::true);
sql(q{UPDATE token_deliveries SET variable = 'SECRET', days = 1});
is(run_job(), '1|0|0', 'a hidden place that was never delivered to is delivered to');
is(run_job(), '0|0|0', 'a hidden place that was delivered to is believed');
is(held('project acme/app', 'SECRET'), 101, 'the hidden place holds the new token');
sql(q{UPDATE token_deliveries SET days = 89});
$sim->control('PATCH', 'tokens/101', undef, { expires_at => day(30) });
$sim->fault('PUT', 'SECRET', 'reset', moment => 'after', times => 0);
like(run_job(), qr/ERROR/, 'a hidden place that can\'t be written is a failure');
$sim->clear_faults;
is($sim->token_state(held('project acme/app', 'SECRET')), 'active', 'a token that a hidden place may hold is not revoked');
like(run_job(), qr/^1\|0\|/, 'the next run delivers to the hidden place again');
is($sim->token_state(held('project acme/app', 'SECRET')), 'active', 'the hidden place holds a token that works');
is(run_job(), '0|0|0', 'one more run revokes what the failed delivery to a hidden place has left');

# One place under two names: the whole call is refused before anything is changed.
foreach my $place ([ 'project', 'acme/app', '1' ], [ 'project', 'acme/app', 'ACME/App' ],
	[ 'group_path', 'acme', '1' ], [ 'project', '01', 'acme/app' ])
{
	my ($column, @names) = @$place;

	set_stage();
	$sim->control('POST', 'tokens', undef, { id => 110, user_id => 2, name => 'other', scopes => ['api'],
		token => 'glpat-other-110', expires_at => day(3) });
	$sim->variable_set(group => 'acme', key => 'SHARED', value => 'x');
	$sim->variable_set(project => 'acme/app', key => 'SHARED', value => 'x');
	sql(qq{INSERT INTO token_deliveries (token_name, owner, $column, variable, days) VALUES
		('job', 'alice', '$names[0]', 'SHARED', 14), ('other', 'alice', '$names[1]', 'SHARED', 14)});
	like(run_job(), qr/ERROR:  22023: rows of public\.token_deliveries name several tokens.*"job" of "alice" and "other" of "alice"/s,
		"two tokens for one place, of $column $names[0] and $names[1], are refused");
	is(log_rows() . active('job') . active('other'), '100110', "two tokens for $column $names[0] and $names[1]: nothing was changed");
	sql(q{UPDATE token_deliveries SET environment_scope = 'production' WHERE token_name = 'other'});
	$sim->variable_set(project => 'acme/app', key => 'SHARED', environment_scope => 'production', value => 'x');
	$sim->variable_set(group => 'acme', key => 'SHARED', environment_scope => 'production', value => 'x');
	is(run_job(), '2|0|0', "two scopes of a variable of $column $names[0] are two places");
}

# One token may name a place twice.
set_stage();
sql(q{INSERT INTO token_deliveries VALUES ('job', 'alice', '1', NULL, 'JOB', '*', 14), ('job', 'alice', 'Acme/APP', NULL, 'JOB', '*', 14)});
is(run_job(), '1|0|0', 'a place that is named by number and by path is delivered to once');
is_repaired('a place that is named twice');

# A large GitLab costs no more.
set_stage();
$sim->reset(users => 1000, tokens => 1000);
$sim->control('POST', 'tokens', undef, { id => 5000, user_id => 2, name => 'job', scopes => ['api'],
	token => 'glpat-job-5000', expires_at => day(90) });
$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'glpat-job-5000');
$sim->clear_journal;
is(run_job(), '0|0|0', 'a token that is not due is checked');
is($sim->count, 5, 'checking a token takes a request for the API token, the owner, the tokens of that name, the place and its secret');
$sim->control('PATCH', 'tokens/5000', undef, { expires_at => day(9) });
run_job();
$sim->control('PATCH', 'tokens/5001', undef, { expires_at => day(9) });
sql(q{INSERT INTO token_deliveries VALUES ('job 2', 'alice', 'acme/app', NULL, 'JOB_2', '*', 14)});
$sim->control('POST', 'tokens', undef, { id => 6000, user_id => 2, name => 'job 2', scopes => ['api'],
	token => 'glpat-job-6000', expires_at => day(9) });
$sim->variable_set(project => 'acme/app', key => 'JOB_2', value => 'glpat-job-6000');
is(run_job(), '2|0|0', 'two tokens of one owner are rotated');
$sim->control('PATCH', 'tokens/' . held('project acme/app', $_), undef, { expires_at => day(9) }) foreach qw(JOB JOB_2);
$sim->clear_journal;
is(run_job(), '2|0|0', 'two tokens of one owner are rotated again');
is($sim->count, 4 + 2 * 6, 'a rotation takes six requests, the tried secret included; the credential, the owner, their tokens and their impersonation tokens are asked for once');
is(join(', ', map { s/\d{4,}/ID/r } requests(-6)),
	'GET projects/acme%2Fapp/variables/JOB_2, GET personal_access_tokens/ID, POST users/2/personal_access_tokens, '
	  . 'GET personal_access_tokens/self, PUT projects/acme%2Fapp/variables/JOB_2, DELETE personal_access_tokens/ID',
	'a rotation looks at the place and the token, creates one, tries it, delivers it, and revokes the old one');
$sim->clear_journal;
is(run_job(), '0|0|0', 'two tokens of one owner are well');
is($sim->count, 3 + 2, 'two tokens of one owner are checked by one list, and a request for each place');

# The list of the owner's tokens is not believed for long.
$sim->fault('GET', 'variables/JOB\?', 'stall', seconds => 11);
sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '30s')});
$sim->clear_journal;
is(run_job(), '0|0|0', 'a slow GitLab does not keep tokens from being checked');
is($sim->count(path => '/v4/personal_access_tokens\\?'), 2, 'tokens are listed anew after ten seconds');
sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '300ms')});
$sim->clear_faults;

# Where an owner has many tokens, those of one name are listed.
$sim->control('POST', 'tokens', undef, { user_id => 2, name => "other $_", scopes => ['api'], token => "glpat-many-$_" }) for 1 .. 100;
$sim->clear_journal;
is(run_job(), '0|0|0', 'two of many tokens of one owner are well');
is($sim->count(path => 'search=job'), 2, 'two of many tokens of one owner are listed by their names');
is($sim->count(path => '/v4/personal_access_tokens\\?'), 1 + 2, 'one page tells that an owner has many tokens');
sql(q{DELETE FROM token_deliveries WHERE token_name = 'job 2'});

# A group's variable is read once more, by its key alone.
set_stage();
$sim->variable_set(group => 'acme', key => 'JOB', value => 'glpat-job-100');
sql(q{UPDATE token_deliveries SET project = NULL, group_path = 'acme'});
run_job();
$sim->control('PATCH', 'tokens/101', undef, { expires_at => day(9) });
$sim->clear_journal;
is(run_job(), '1|0|0', 'a token in a group is rotated');
is($sim->count, 4 + 7, 'a rotation into a group takes seven requests');

# What somebody writes into a place between the look and the delivery is overwritten, as
# the last one to write wins; what cannot be delivered is restored as it was seen.
set_stage();
sql(q{INSERT INTO token_deliveries VALUES ('job', 'alice', 'acme/web', NULL, 'JOB', '*', 14)});
$sim->variable_set(project => 'acme/web', key => 'JOB', value => 'glpat-job-100');
$sim->fault('PUT', 'acme%2Fweb/variables/JOB', 'status', status => 400, times => 0);
like(run_job(), qr/1 of 1 access tokens could not be rotated/, 'a second place that refuses is a failure');
is(join(' ', map { held("project acme/$_", 'JOB') } qw(app web)), '100 100', 'the first place is restored to what the job has seen in it');
is(active('job'), '100', 'the old token works, and the new one is revoked');
$sim->clear_faults;

# Rows that are not due are checked, too.
$sim->variable_remove(project => 'acme/app', key => 'JOB');
like(run_job(), qr/there is no variable "JOB"/, 'a place that has gone is a failure on the day it goes missing');

# A dry run tells what a rotation would be refused for, also while nothing is due.
sub set_credential
{
	my ($secret) = @_;

	return sql("ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$secret')");
}

foreach my $days (14, 3)
{
	set_stage();
	sql("UPDATE token_deliveries SET days = $days");
	$sim->control('POST', 'tokens', undef, { id => 110, user_id => 1, name => 'reader', scopes => [ 'read_api', 'admin_mode' ], token => 'glpat-reader-110' });
	my $due = $days == 14 ? 'a token that is due' : 'a token that is not due';
	my $dry_call = $call =~ s/\)$/, dry_run => true)/r;
	my $native_dry_call = $native_call =~ s/\)$/, dry_run => true)/r;
	my $is_refused = sub
	{
		my ($why, $error, $command) = @_;

		like(run_job($command // $dry_call, '-v', 'ON_ERROR_STOP=1'), qr/ERROR.*$error/s, "a dry run for $due fails: $why");
	};

	set_credential('glpat-sim-alice');
	$is_refused->('only an administrator\'s token creates tokens for users',
		'the API token of server "gitlab" is not that of an administrator.*administrator.s token');
	is(run_job($native_dry_call), ($days == 14 ? 1 : 0) . '|0|0', "a dry run for $due ends well: its owner may rotate it natively");
	set_credential('glpat-reader-110');
	$is_refused->('the API token may only read', 'the API token of server "gitlab" lacks the scope "api"');
	$is_refused->('the API token may not rotate natively', 'lacks the scope "api"', $native_dry_call);
	set_credential('glpat-sim-admin');
	sql(q{ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (ADD updatable 'false')});
	$is_refused->('the variables may not be changed', 'foreign table "gitlab_project_variables" does not allow updates');
	sql(q{ALTER FOREIGN TABLE gitlab_project_variables OPTIONS (DROP updatable)});
	sql(q{ALTER FOREIGN TABLE native_tokens OPTIONS (ADD updatable 'false')});
	$is_refused->('the tokens may not be changed', 'foreign table "native_tokens" does not allow updates', $native_dry_call);
	sql(q{ALTER FOREIGN TABLE native_tokens OPTIONS (DROP updatable)});
	sql(q{ALTER ROLE CURRENT_USER SET gitlab_pat_fdw.read_only = on});
	$is_refused->('GitLab may not be changed', '25006: cannot change anything in GitLab while "gitlab_pat_fdw.read_only" is on');
	sql(q{ALTER ROLE CURRENT_USER RESET gitlab_pat_fdw.read_only});
	like(run_job($dry_call), $days == 14 ? qr/^1\|0\|0$/ : qr/^0\|0\|0$/, "a dry run for $due ends well when nothing would be refused");
	is(join(' ', grep { $_ ne 'GET' } map { $_->{method} } $sim->journal), '', "dry runs for $due change nothing");
}

# The first run that finds a token well after a failure says so, and no other one does.
set_stage();
sql('UPDATE token_deliveries SET days = 3');
is(run_job(), '0|0|0', 'a token that is not due is checked');
is(log_rows(), '', 'a token that is well, and was, leaves the log alone');
$sim->fault('GET', 'variables/JOB', 'status', status => 500, times => 0);
like(run_job(), qr/ERROR/, 'a place that cannot be read is a failure') for 1 .. 2;
$sim->clear_faults;
is(run_job(), '0|0|0', 'a token is well again after a failure') for 1 .. 2;
is(log_rows(), 'failed, failed, well 100', 'the log says once that a token is well again');

# GitLab's clock decides.
set_stage();
$sim->control('PATCH', 'tokens/100', undef, { expires_at => day(40) });
$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'glpat-job-100');
is(run_job(), '0|0|0', 'a token that ends in 40 days is not due');
$sim->control('POST', 'clock', undef, { advance => 30 * 86400 });
is(run_job($call =~ s/\)$/, lifetime => 60)/r), '1|0|0', 'a token is due when GitLab\'s clock says so');
$sim->reset;

SKIP:
{
	my ($code, $out, $err) = $node->psql('postgres', q{LOAD 'gitlab_pat_fdw'; SET gitlab_pat_fdw.keep_replaced = on});

	skip 'there is no keep_replaced', 16 if $code != 0;
	my $keep = $call =~ s/\)$/, keep_old => '2 days')/r;

	set_stage();
	is(run_job($keep), '1|0|0', 'keep_old: a token is rotated');
	is(active('job'), '100 101', 'keep_old: the old token works');
	is(run_job($keep), '0|0|0', 'keep_old: an overlap is not left over');
	is(active('job'), '100 101', 'keep_old: the overlap goes on');
	$sim->control('POST', 'clock', undef, { advance => 86400 });
	is(run_job($keep), '0|0|0', 'keep_old: the overlap goes on for a day');
	is(active('job'), '100 101', 'keep_old: the old token works for a day');
	$sim->control('POST', 'clock', undef, { advance => 86400 });
	is(run_job($keep), '0|0|0', 'keep_old: a later run ends the overlap by GitLab\'s clock');
	is(active('job'), '101', 'keep_old: the old token is revoked');

	# what the job keeps may be what an earlier run has made
	$sim->control('PATCH', 'tokens/101', undef, { expires_at => day(9) });
	is(run_job($keep), '1|0|0', 'keep_old: a token that the job has made is rotated');
	is(run_job($keep), '0|0|0', 'keep_old: a token that the job has made is not left over during its overlap');
	is(active('job'), '101 102', 'keep_old: a token that the job has made works during its overlap');
	$sim->variable_set(project => 'acme/app', key => 'JOB', value => 'garbage');
	is(run_job($keep), '1|0|0', 'keep_old: a place that was overwritten during an overlap is delivered to');
	is(active('job'), '101 102 103', 'keep_old: two overlaps go on at once');
	$sim->control('POST', 'clock', undef, { advance => 2 * 86400 });
	is(run_job($keep), '0|0|0', 'keep_old: a later run ends two overlaps');
	is(active('job'), '103', 'keep_old: only the delivered token works after two overlaps');
	$sim->reset;
	like(run_job($native_call =~ s/\)$/, keep_old => '2 days')/r), qr/native rotation ends the old token at once/,
		'keep_old: native rotation cannot keep the old token');
}


# --- many tokens ---------------------------------------------------------------------------------

# Ten tokens of alice's, each delivered into a variable of its own.
sub set_stage_of_ten
{
	$sim->reset;
	sql('TRUNCATE token_deliveries, token_rotations');
	foreach my $n (1 .. 10)
	{
		my $id = 100 + $n;

		$sim->control('POST', 'tokens', undef, { id => $id, user_id => 2, name => "job $n",
			scopes => ['api'], token => "glpat-job-$id", expires_at => day(1 + $n % 9) });
		$sim->variable_set(project => 'acme/app', key => "JOB_$n", value => "glpat-job-$id");
	}
	sql(q{INSERT INTO token_deliveries SELECT 'job ' || n, 'alice', 'acme/app', NULL, 'JOB_' || n, '*', 14
			FROM generate_series(1, 10) n});
	$sim->clear_journal;
	return;
}

sub outcomes
{
	return sql(q{SELECT string_agg(format('%s %s', n, outcome), ', ' ORDER BY outcome)
		FROM (SELECT outcome, count(*) n FROM token_rotations
			WHERE outcome IN ('failed', 'rotated') GROUP BY 1) o});
}

# All that the log says was rotated is delivered, all else is as it was.
sub is_true
{
	my ($what) = @_;
	my $rotated = sql("SELECT coalesce(string_agg(old_id || '>' || new_id, ' ' ORDER BY old_id), '')
			FROM token_rotations WHERE outcome = 'rotated'");
	my @found;

	foreach my $n (1 .. 10)
	{
		my $held = held('project acme/app', "JOB_$n");

		push @found, (100 + $n) . ">$held" if $held != 100 + $n;
	}
	is(join(' ', @found), $rotated, "$what: what was written down is true");
	is(join(' ', map { $_->{key} } $sim->dead_variables), '',
		"$what: every variable has a token that works");
	return;
}

# Each third delivery meets a fault of another kind.
set_stage_of_ten();
$sim->fault('PUT', 'JOB_[36]\?', 'status', status => 403, times => 0);
$sim->fault('PUT', 'JOB_9\?', 'reset', times => 0);
like(run_job(), qr/3 of 10 access tokens could not be rotated/, 'faults: the error counts the failures');
is(outcomes(), '3 failed, 7 rotated', 'faults: the other deliveries are made');
is_true('faults');
$sim->clear_faults;
is(run_job(), '3|0|0', 'a second call makes the deliveries that had failed');

# An outage in the midst of it, and a second try.
set_stage_of_ten();
$sim->fault('*', '.', 'status', status => 503, times => 0, nth => 60);
like(run_job(), qr/ of 10 access tokens could not be rotated/, 'outage: the error counts the failures');
$sim->clear_faults;
is_true('outage');

# A cancel stops it; what was done stays done.
foreach my $signal (qw(INT TERM))
{
	set_stage_of_ten();
	# GitLab does not answer before the signal, however busy the machine is
	sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '30s')});
	$sim->fault('POST', 'users/2/personal', 'stall', nth => 4);
	my $session = Session->open($node, verbosity => 'default');

	$session->send($call);
	$sim->wait_for('POST', 'users/2/personal', 4);
	signal_backend($session, $signal);
	my $said = said_later($session);

	wait_until_gone($session) if $signal eq 'TERM';
	$session->close;
	$sim->clear_faults;
	sql(q{ALTER SERVER gitlab OPTIONS (SET request_timeout '300ms')});
	like($said, $signal eq 'INT' ? qr/canceling statement/ : qr/terminating connection/, "SIG$signal: the call stops");
	is(outcomes(), '3 rotated', "SIG$signal: the deliveries that were made stay");
	is_true("SIG$signal");
	is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, "SIG$signal: the lock is released");
}

# Two sessions do not rotate by the same table at a time.
set_stage_of_ten();
$sim->fault('POST', 'users/2/personal', 'stall', seconds => 0.2);
my $first = Session->open($node, verbosity => 'default');
$first->send($call);
$sim->wait_for('POST', 'users/2/personal');
like(run_job(), qr/ERROR:  55P03: another session is rotating by "token_deliveries"/, 'a second session that rotates by the same table is refused');
unlike(said_later($first), qr/ERROR/, 'the session that rotates by the table goes on without an error');
$first->close;
is(outcomes(), '10 rotated', 'the session that rotates by the table makes all deliveries');

# A token that another session is just rotating is judged when that has ended.
foreach my $end (qw(COMMIT ROLLBACK))
{
	set_stage();
	my $other = Session->open($node, verbosity => 'default');
	my $job = Session->open($node, verbosity => 'default');

	$other->query('SET gitlab_pat_fdw.discard_secrets = on; BEGIN;
		UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 60 WHERE id = 100');
	$job->send($call);
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'})
	  or die 'the job does not wait';
	$other->query($end);
	my $said = said_later($job);

	$_->close foreach $other, $job;
	$end eq 'COMMIT' ?
	  like($said, qr/personal access token 100 is not active/, 'a token that another session rotates meanwhile is not rotated a second time') :
	  unlike($said, qr/ERROR/, 'a token that another session does not rotate after all is rotated');
	is(active('job'), $end eq 'COMMIT' ? '101' : '102', "$end of another session: one token of that name works");
	is_repaired("$end of another session");
}

# Nobody can keep a job from running by taking a lock.
set_stage();
my $blocker = Session->open($node, user => 'regress_nobody');
my $oid = sql(q{SELECT 'token_deliveries'::regclass::oid});
$blocker->query("SELECT pg_advisory_lock($_)") foreach $oid, "0, $oid", "$oid, 0", (0x67706174 << 32) + $oid, 0x67706174 . ", $oid";
is(run_job(), '1|0|0', 'advisory locks that any role can take do not keep the job from running');
$blocker->close;

# The job gives the search path back to a procedure that calls it.
like(sql(q{
	CREATE PROCEDURE around(OUT path text) LANGUAGE plpgsql AS $$
	DECLARE rotated integer; failed integer; left_over integer;
	BEGIN
		CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations', rotated => rotated, failed => failed, left_over => left_over);
		path := current_setting('search_path') || ' ' || rotated;
	END$$;
	CALL around(NULL)}), qr/^"\$user", public 0$/m, 'a procedure that calls the job keeps its search path');

# No secret is in the server's log, whatever has been written down.
my $log = slurp_file($node->logfile);

like($log, qr/gitlab_pat_identify/, 'the statements of the job are in the log');
# one pass through the log, which is long, for all secrets at once
my %secret = map { $_ => 1 } grep { length } @secrets;
my $any_secret = join '|', map { quotemeta } sort { length $b <=> length $a } keys %secret;
my %leaked = map { $_ => 1 } $log =~ /($any_secret)/g;
is(join(' ', grep { !/^glpat-(?:job|other)-/ } sort keys %leaked), '', 'no secret that GitLab has made is in the log');
is(join(' ', grep { /^glpat-(?:job|other)-/ } sort keys %leaked), '', 'no secret of a variable is in the log');
is(sql('SELECT 1'), 1, 'the cluster answers after all jobs');

done_testing();
