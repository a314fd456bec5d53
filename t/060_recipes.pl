# The recipes for pg_cron: each script is run as it stands, and then with a
# schedule that is due at once.  What fails has to be noted, and no secret may
# get into what pg_cron stores.  In both ways that pg_cron has of running a job.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IPC::Run ();
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my %recipes = (
	rotate_tokens => 'gitlab: rotate tokens|0 4 * * *|'
	  . q{CALL gitlab_jobs.rotate_tokens('public.secrets', 'public.gitlab_personal_access_tokens', 14, 90)},
	rotate_and_deliver => 'gitlab: rotate and deliver|0 4 * * *|'
	  . q{CALL gitlab_pat_rotate_due('gitlab_jobs.deliveries', 'gitlab_jobs.rotations', 90, }
	  . q{tokens => 'public.gitlab_personal_access_tokens', users => 'public.gitlab_users', }
	  . q{variables => 'public.gitlab_project_variables', group_variables => 'public.gitlab_group_variables')},
	declared_tokens => 'gitlab: apply declared tokens|15 4 * * *|CALL gitlab_jobs.apply_declared_tokens()',
	rotate_credential =>
	  q{gitlab: rotate credential|30 3 * * *|CALL gitlab_jobs.rotate_credential('gitlab', 14, 90)},
	weekly_report => 'gitlab: weekly report|0 6 * * 1|CALL gitlab_jobs.report_week()',
	refresh_dashboards => 'gitlab: refresh dashboards|7 * * * *|CALL gitlab_dashboard.refresh()',
	job_alerts => q{gitlab: note failed jobs|*/5 * * * *|CALL gitlab_jobs.note_failures('gitlab: %')});

is(join(' ', sort map { m{(\w+)\.sql$} } glob "$FindBin::RealBin/../recipes/*"), join(' ', sort keys %recipes),
	'all recipes are tested');
my $document = slurp_file("$FindBin::RealBin/../doc/recipes.md");
is(join(' ', grep { index($document, "(../recipes/$_.sql)") < 0 } sort keys %recipes), '', 'all recipes are documented');
my @runs = map { start_run($_) } qw(workers connections);

install($_) foreach @runs;
schedule($_) foreach @runs;
wait_for_jobs($_) foreach @runs;
make_credential_due($_) foreach @runs;
wait_for_alerts_and_credential($_) foreach @runs;
foreach my $run (@runs)
{
	note("jobs in $run->{name}");
	test_rotated_tokens($run);
	test_delivered_tokens($run);
	test_delivered_container_tokens($run);
	test_rotated_credential($run);
	test_weekly_report($run);
	test_refreshed_dashboards($run);
	test_alerts($run);
	test_secrets($run);
	test_by_hand($run);
	test_declared_tokens($run);
	is_alive($run->{node});
	$run->{node}->stop;
}
done_testing();

# --- setting up ---------------------------------------------------------------

sub day
{
	my ($days) = @_;

	return strftime('%Y-%m-%d', gmtime(time + 86400 * $days));
}

# A cluster with pg_cron, which runs jobs in background workers, or through
# connections as any client would make them.
sub start_run
{
	my ($name) = @_;
	my $sim = GitLabSim->start;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', join "\n",
		q{shared_preload_libraries = 'pg_cron'}, q{cron.database_name = 'postgres'},
		'max_worker_processes = 40', q{cron.host = '} . $node->host . q{'},
		'cron.use_background_workers = ' . ($name eq 'workers' ? 'on' : 'off'));
	$node->start;
	gitlab_database($node, 'postgres', $sim);
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
	return { name => $name, node => $node, sim => $sim };
}

# All scripts as they stand.  Twice, for they promise to be repeatable.
sub install
{
	my ($run) = @_;
	my $node = $run->{node};

	foreach my $time (1, 2)
	{
		run_script($node, 'dashboards/install.sql');
		run_script($node, "recipes/$_.sql") foreach sort keys %recipes;
	}
	# All in one session, with a schedule for the first one: it is nobody else's.
	run_scripts($node, "-v tables=public", sort keys %recipes);
	is( $node->safe_psql('postgres',
			'SELECT jobname, schedule, command FROM cron.job ORDER BY jobname COLLATE "C"'),
		join("\n", sort values %recipes),
		"$run->{name}: each recipe has its job, once");
	return;
}

# Several scripts in one session of psql.
sub run_scripts
{
	my ($node, $options, @names) = @_;
	my $input = join '', map { "\\i $FindBin::RealBin/../recipes/$_.sql\n" } @names;
	my ($out, $err);

	IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
			'-v', 'ON_ERROR_STOP=1', split(/ /, $options), '-f', '-' ], '<', \$input, '>', \$out, '2>', \$err);
	is($err, '', 'the recipes run one after the other in one session');
	return;
}

# Tokens of all fates, and each job every minute from now on.
sub schedule
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $url = $sim->url;
	my %soon = (2 => 14, 4 => 15, 7 => 3, 9 => 3, 12 => 3, 13 => 3);

	$sim->control('PATCH', "tokens/$_", undef, { expires_at => day($soon{$_}) })
	  foreach keys %soon;
	$node->safe_psql(
		'postgres', qq{
		INSERT INTO secrets (id, name) VALUES
			(2, 'of alice'), (3, 'not due'), (4, 'just not due'),
			(6, 'dead'), (13, 'fine-grained'), (12, 'unstorable');
		INSERT INTO gitlab_jobs.deliveries (token_name, owner, project, variable) VALUES
			('frank admin', 'frank', 'acme/app', 'CONFIG'), ('rotator', 'frank', 'acme/app', 'NONE');
		INSERT INTO gitlab_jobs.declared_tokens (owner, name, scopes) VALUES
			('alice', 'declared', '{read_api}'), ('nobody', 'declared', '{read_api}');
		ALTER TABLE secrets ADD CHECK (name <> 'unstorable' OR secret IS NULL);

		-- a credential that GitLab refuses
		CREATE SERVER dead FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url '$url');
		CREATE USER MAPPING FOR CURRENT_USER SERVER dead OPTIONS (token 'glpat-sim-revoked');

		-- to be told from ours: what the recipe does not do
		CREATE TABLE naive (id bigint, token text CHECK (token IS NULL));});
	run_script($node, "recipes/$_.sql", schedule => '* * * * *') foreach sort keys %recipes;
	$node->safe_psql(
		'postgres', q{
		SELECT cron.schedule('gitlab: rotate dead', '* * * * *',
			$$CALL gitlab_jobs.rotate_credential('dead', 14, 90)$$);
		SELECT cron.schedule('naive', '* * * * *', $$
			WITH new AS (
				INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
				VALUES (2, 'naive', '{api}', current_date + 9) RETURNING id, token)
			INSERT INTO naive SELECT * FROM new$$);});
	return;
}

# Waits until each job has run.
sub wait_for_jobs
{
	my ($run) = @_;
	my $finished = q{status IN ('succeeded', 'failed')};

	$run->{node}->poll_query_until('postgres', qq{
		SELECT count(DISTINCT jobid) FILTER (WHERE $finished) = 9 AND bool_and($finished)
		FROM cron.job_run_details})
	  or die 'not all jobs have run';
	return;
}

# Then only two of them go on: one whose time has come now, when no others can
# get into its way, and the one that notes what has failed.
sub make_credential_due
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};

	$node->safe_psql('postgres', q{
		SELECT cron.alter_job(jobid, active => false) FROM cron.job
		WHERE jobname NOT IN ('gitlab: note failed jobs', 'gitlab: rotate credential')});
	like(ended($run, 'gitlab: rotate credential'), qr/^succeeded\|/,
		"$run->{name}: a credential that is not due is no failure");
	is($sim->token_state(1), 'active', "$run->{name}: a credential that is not due stays");
	$sim->control('PATCH', 'tokens/1', undef, { expires_at => day(14) });
	return;
}

sub wait_for_alerts_and_credential
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};

	$node->poll_query_until('postgres', q{
		SELECT count(DISTINCT job_name) = 4 FROM gitlab_jobs.alerts})
	  or die 'the failures were not noted';
	wait_until('the credential is rotated', sub { $sim->token_state(1) eq 'revoked' });
	$node->safe_psql('postgres', 'SELECT cron.alter_job(jobid, active => false) FROM cron.job');
	$node->poll_query_until('postgres', q{
		SELECT bool_and(status IN ('succeeded', 'failed')) FROM cron.job_run_details})
	  or die 'not all jobs have ended';
	return;
}

# --- what has become of it ----------------------------------------------------

# How a job ended, its first run unless said otherwise.
sub ended
{
	my ($run, $job) = @_;

	return $run->{node}->safe_psql('postgres', qq{
		SELECT d.status, d.return_message
		FROM cron.job_run_details d JOIN cron.job USING (jobid)
		WHERE jobname = '$job' ORDER BY runid LIMIT 1});
}

sub test_rotated_tokens
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $message = ended($run, 'gitlab: rotate tokens');
	my ($id, $expiry, $secret) = split /\|/,
	  $node->safe_psql('postgres', q{SELECT id, expires_at, secret FROM secrets WHERE name = 'of alice'});
	my ($new) = grep { $_->{id} == $id } $sim->tokens;

	is($sim->token_state(2), 'revoked', 'a token that was due is revoked');
	is("$new->{state} $new->{user_id} $new->{expires_at}", 'active 2 ' . day(90), 'a token that was due has a successor');
	is("$expiry $secret", day(90) . " $new->{token}", 'the successor is stored');
	is(join(' ', map { $sim->token_state($_) } 3, 4, 7, 13, 12), join(' ', ('active') x 5),
		'what is not due, not stored or could not be rotated works as before');
	is( $node->safe_psql('postgres',
			q{SELECT id, secret IS NULL FROM secrets WHERE name <> 'of alice' ORDER BY id}),
		"3|t\n4|t\n6|t\n12|t\n13|t", 'nothing was stored for what was not rotated');

	like($message, qr/^failed\|.*could not rotate 3 of 4 personal access tokens/,
		'the job fails for the others');
	like($message, qr/^(DETAIL: +)?13: personal access token 13 .*$/m, 'the failed job says why');
	like($message, qr/^(DETAIL: +)?6: it is stored and does not work/m, 'the failed job names a stored token that is dead');
	like($message, qr/^(DETAIL: +)?12: could not store the new secret \(SQLSTATE 23514\)$/m,
		'the failed job does not show what could not be stored');
	is( $node->safe_psql('postgres', q{
			SELECT count(*) FROM gitlab_personal_access_tokens t
			WHERE active AND user_id = 8 AND name LIKE 'deploy%'}),
		1, 'the successor that could not be stored is revoked');
	return;
}

sub test_delivered_tokens
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $message = ended($run, 'gitlab: rotate and deliver');

	like($message, qr/^failed\|.*1 of 2 access tokens could not be rotated/, 'one delivery has failed');
	my ($id) = split /\|/, $node->safe_psql('postgres', q{
		SELECT token_id, failed FROM gitlab_jobs.rotation_state WHERE token_name = 'frank admin'});
	my ($new) = grep { $_->{id} == $id } $sim->tokens;
	is($sim->variable_value('project acme/app', 'CONFIG'), $new->{token}, 'the other delivery was made');
	is($sim->token_state(15), 'revoked', 'the token that was delivered before is revoked');
	is($node->safe_psql('postgres', q{
			SELECT token_name, failed, failure FROM gitlab_jobs.rotation_state ORDER BY 1}),
		"frank admin|f|\nrotator|t|there is no variable \"NONE\" (*) of project \"acme/app\" HINT: INSERT the variable first; its first value does not matter.",
		'the view says what is wrong with which token');
	my ($rotator) = grep { $_->{name} eq 'rotator' && $_->{state} eq 'active' } $sim->tokens;

	$sim->control('PATCH', "tokens/$rotator->{id}", undef, { expires_at => undef });
	$sim->variable_set(project => 'acme/app', key => 'NONE', value => $rotator->{token});
	$node->safe_psql('postgres', q{CALL gitlab_pat_rotate_due('gitlab_jobs.deliveries', 'gitlab_jobs.rotations')});
	is($node->safe_psql('postgres', q{SELECT count(*) FROM gitlab_jobs.rotation_state WHERE failed}), 0,
		'the view tells of no failure once a run has found the token well');
	return;
}

# Two more jobs of the same recipe, for service accounts and for project tokens, as a
# group's Owner would schedule them.
sub test_delivered_container_tokens
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my %job = (accounts => 'gitlab_group_service_account_tokens', 'of projects' => 'gitlab_project_access_tokens');

	foreach my $time (1, 2)
	{
		run_script($node, 'recipes/rotate_and_deliver.sql', name => $_, tokens => $job{$_}) foreach sort keys %job;
	}
	is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT command) FROM cron.job WHERE jobname LIKE 'gitlab: rotate and deliver%'}),
		'3|3', 'the recipe schedules a job for each table of tokens');
	$sim->control('PATCH', 'tokens/9', undef, { expires_at => day(9) });
	my $account = $sim->control('POST', 'tokens', undef, { name => 'job', user_id => 7, scopes => ['read_api'], expires_at => day(9) });
	foreach ([ project => 'acme/web', 'OF_ACCOUNT', $account->{id} ], [ project => 'acme/web', 'OF_BOT', 9 ])
	{
		my ($kind, $path, $key, $id) = @$_;
		my ($token) = grep { $_->{id} == $id } $sim->tokens;

		$sim->variable_set($kind => $path, key => $key, value => $token->{token});
	}
	$node->safe_psql('postgres', q{
		INSERT INTO gitlab_jobs.accounts_deliveries (token_container, owner, token_name, project, variable) VALUES
			('acme', 'service_account_deploy', 'job', 'acme/web', 'OF_ACCOUNT');
		INSERT INTO gitlab_jobs."of projects_deliveries" (token_container, token_name, project, variable) VALUES
			('acme/app', 'project bot', 'acme/web', 'OF_BOT'), ('acme/web', 'project bot', 'acme/web', 'NONE')});
	foreach my $name (sort keys %job)
	{
		my $command = $node->safe_psql('postgres', "SELECT command FROM cron.job WHERE jobname = 'gitlab: rotate and deliver $name'");

		$node->psql('postgres', $command);
	}
	my ($new) = grep { $_->{user_id} == 7 && $_->{name} eq 'job' && $_->{state} eq 'active' } $sim->tokens;
	is($sim->variable_value('project acme/web', 'OF_ACCOUNT'), $new->{token}, "a job delivers a service account's token");
	is($node->safe_psql('postgres', 'SELECT token_container, owner, token_name, token_id, failed FROM gitlab_jobs.accounts_rotation_state'),
		"acme|service_account_deploy|job|$new->{id}|f", "the view has the state of a service account's token");
	is($node->safe_psql('postgres', 'SELECT token_container, owner, token_name, failed FROM gitlab_jobs."of projects_rotation_state" ORDER BY 1'),
		"acme/app||project bot|f\nacme/web||project bot|t", "the view tells tokens of one name in two projects apart");
	$node->safe_psql('postgres', q{INSERT INTO gitlab_jobs."of projects_rotations" (at, owner, token_name, token_container, outcome)
		VALUES (clock_timestamp(), '', 'project bot', 'acme/web', 'well')});
	is($node->safe_psql('postgres', 'SELECT count(*) FROM gitlab_jobs."of projects_rotation_state" WHERE failed'), 0,
		'the view does not show a failure after which the job has found the token well');
	is($sim->token_state(9), 'revoked', "a job rotates a project's token");
	$node->safe_psql('postgres', q{SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname LIKE 'gitlab: rotate and deliver _%'});
	return;
}

sub test_declared_tokens
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $declared = sub { return $node->safe_psql('postgres', q{
		SELECT token_id, secret FROM gitlab_jobs.declared_tokens WHERE owner = 'alice'}) };
	my $apply = 'CALL gitlab_jobs.apply_declared_tokens()';

	like(ended($run, 'gitlab: apply declared tokens'),
		qr/^failed\|.*1 of 2 declared tokens.*create "declared" of "nobody": there is no user/s, 'a declaration that cannot be met is a failure');
	my ($id, $secret) = split /\|/, $declared->();
	my ($new) = grep { $_->{id} == $id } $sim->tokens;
	is("$new->{state} $new->{user_id} $new->{token}", "active 2 $secret", 'a declared token is created, and its secret stored');
	is($node->safe_psql('postgres', 'SELECT action, owner FROM gitlab_jobs.declared_plan'), 'create|nobody', 'the plan has what is left to be done');
	$node->safe_psql('postgres', q{DELETE FROM gitlab_jobs.declared_tokens WHERE owner = 'nobody'});
	$node->safe_psql('postgres', $apply);
	is($declared->(), "$id|$secret", 'what is as it is declared stays');
	$node->safe_psql('postgres', q{
		INSERT INTO gitlab_jobs.declared_tokens (owner, name, scopes, lifetime) VALUES ('alice', 'too long', '{read_api}', 4000)});
	my (undef, undef, $said) = $node->psql('postgres', $apply);
	like($said, qr/create "too long" of "alice": could not .*\n  GitLab said: "Expiration date/,
		'a declaration that GitLab refuses is told of with the reason that GitLab gives');
	$node->safe_psql('postgres', q{DELETE FROM gitlab_jobs.declared_tokens WHERE name = 'too long'});

	# rotate, recreate, and revoke what is not declared any more, but nothing else
	$sim->control('PATCH', "tokens/$id", undef, { expires_at => day(14) });
	is($node->safe_psql('postgres', 'SELECT action, token_id FROM gitlab_jobs.declared_plan'), "rotate|$id", 'a token that ends soon is to be rotated');
	$node->safe_psql('postgres', $apply);
	my ($rotated) = split /\|/, $declared->();
	is(join(' ', map { $sim->token_state($_) } $id, $rotated), 'revoked active', 'a token that ends soon is rotated');
	$node->safe_psql('postgres', q{UPDATE gitlab_jobs.declared_tokens SET scopes = '{api}'});
	is($node->safe_psql('postgres', 'SELECT action, token_id FROM gitlab_jobs.declared_plan'), "recreate|$rotated", 'a token with other scopes is to be recreated');
	$node->safe_psql('postgres', $apply);
	my ($recreated) = split /\|/, $declared->();
	is(join(' ', map { $sim->token_state($_) } $rotated, $recreated), 'revoked active', 'a token with other scopes is recreated');
	my $others = () = grep { $_->{state} eq 'active' } $sim->tokens;
	$node->safe_psql('postgres', 'DELETE FROM gitlab_jobs.declared_tokens');
	is($node->safe_psql('postgres', 'SELECT action, token_id FROM gitlab_jobs.declared_plan'), "revoke|$recreated", 'a token that is no longer declared is to be revoked');
	$node->safe_psql('postgres', $apply);
	is($sim->token_state($recreated), 'revoked', 'a token that is no longer declared is revoked');
	is(scalar(grep { $_->{state} eq 'active' } $sim->tokens), $others - 1, 'no token that the job has not made is revoked');
	test_declared_leftovers($run);
	test_lifetimes($run);
	return;
}

# A token that is due as soon as it is made would be rotated each night.
sub test_lifetimes
{
	my ($run) = @_;
	my $node = $run->{node};
	my $refused = sub {
		my ($what, $pattern, $statement) = @_;
		my (undef, undef, $said) = $node->psql('postgres', $statement);

		like($said, $pattern, "$what refuses a lifetime that is not longer than the days before the expiry");
	};
	my $check = qr/violates check constraint "lifetime_longer_than_days"/;
	my $error = qr/ERROR:  lifetime must be longer than days_before\nHINT:  A new token would be due/;

	$refused->('the table of declared tokens', $check, q{
		INSERT INTO gitlab_jobs.declared_tokens (owner, name, scopes, lifetime, days) VALUES ('alice', 'x', '{api}', 14, 14)});
	$refused->('the table of deliveries', $check, q{
		INSERT INTO gitlab_jobs.deliveries (token_name, owner, project, variable, days, lifetime)
		VALUES ('x', 'alice', 'acme/app', 'X', 14, 10)});
	$refused->('rotate_tokens()', $error, q{CALL gitlab_jobs.rotate_tokens('secrets', 'gitlab_personal_access_tokens', 90, 90)});
	$refused->('rotate_credential()', $error, q{CALL gitlab_jobs.rotate_credential('gitlab', 14, 10)});
	$node->command_fails_like([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'lifetime=14',
			'-f', "$FindBin::RealBin/../recipes/$_.sql" ], qr/$error/, "recipes/$_.sql refuses a lifetime that is not longer than the days before the expiry")
	  foreach 'rotate_tokens', 'rotate_credential';
	return;
}

# GitLab refuses a revocation after the commit, once for each way to replace a token.
sub test_declared_leftovers
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $apply = 'CALL gitlab_jobs.apply_declared_tokens()';
	my $plan = q{SELECT action, token_id FROM gitlab_jobs.declared_plan ORDER BY 1, 2};
	my $managed = 'SELECT id FROM gitlab_jobs.managed_tokens ORDER BY 1';
	my $current = q{SELECT token_id FROM gitlab_jobs.declared_tokens WHERE owner = 'alice'};

	# a token of somebody else, which the declaration adopts
	my $old = $sim->control('POST', 'tokens', undef, { name => 'left', user_id => 2, scopes => ['read_api'],
			expires_at => day(9) })->{id};
	$node->safe_psql('postgres', qq{
		INSERT INTO gitlab_jobs.declared_tokens (owner, name, scopes, token_id)
		VALUES ('alice', 'left', '{read_api}', $old)});
	foreach my $change ([ 'rotated', '' ], [ 'recreated', q{UPDATE gitlab_jobs.declared_tokens SET scopes = '{api}'} ])
	{
		my ($how, $prepare) = @$change;

		$node->safe_psql('postgres', $prepare) if $prepare;
		# a recreation revokes in its commit, which fails; a rotation revokes after it
		$sim->fault('DELETE', "tokens/$old\$", 'status', status => 403, times => 0);
		my (undef, undef, $said) = $node->psql('postgres', $apply);
		if ($how eq 'rotated')
		{
			my $new = $node->safe_psql('postgres', $current);
			isnt($new, $old, 'a token is replaced though GitLab refuses to revoke the old one');
			like($said, qr/ERROR:  1 of 1 declared tokens.*revoke "left" of "alice": token $old still works/s,
				'the job fails for a replaced token that still works');
			is($node->safe_psql('postgres', $plan), "revoke|$old", 'the plan revokes a replaced token that still works');
			is($node->safe_psql('postgres', $managed), "$old\n$new", 'the job remembers a replaced token that still works');
			(undef, undef, $said) = $node->psql('postgres', $apply);
			like($said, qr/ERROR:  1 of 1 declared tokens.*revoke "left" of "alice": could not revoke/s,
				'the job tries to revoke a replaced token each night');
		}
		else
		{
			like($said, qr/recreate "left" of "alice": could not revoke/, 'a recreation that GitLab refuses is a failure');
			is($node->safe_psql('postgres', $current), $old, 'a recreation that GitLab refuses changes nothing');
		}
		$sim->clear_faults;
		$node->safe_psql('postgres', $apply);
		is($sim->token_state($old), 'revoked', "a $how token is revoked once GitLab does it");
		$old = $node->safe_psql('postgres', $current);
		is($node->safe_psql('postgres', $managed), $old, "the job forgets a $how token once it is revoked");
		is($node->safe_psql('postgres', $plan), '', "the plan is empty once a $how token is revoked");
	}

	# a row of the plan by hand, before the job would
	$node->safe_psql('postgres', "CALL gitlab_jobs.apply_declared_token('rotate', 'alice', 'left', $old)");
	is($sim->token_state($old), 'revoked', 'a declared token can be rotated before it is due');
	$old = $node->safe_psql('postgres', $current);
	$node->safe_psql('postgres', $apply);
	is($node->safe_psql('postgres', $managed), $old, 'the job forgets a token that was rotated by hand');

	# somebody else has revoked what the job would have
	$node->safe_psql('postgres', 'DELETE FROM gitlab_jobs.declared_tokens');
	$sim->control('PATCH', "tokens/$old", undef, { revoked => JSON::PP::true() });
	$node->safe_psql('postgres', $apply);
	is($node->safe_psql('postgres', $managed), '', 'the job forgets a token that somebody else has revoked');
	return;
}

sub test_rotated_credential
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};

	is( $node->safe_psql('postgres', q{
			SELECT DISTINCT d.status FROM cron.job_run_details d JOIN cron.job USING (jobid)
			WHERE jobname = 'gitlab: rotate credential'}),
		'succeeded', 'the credential was rotated');
	is($node->safe_psql('postgres', q{SELECT name, expires_at FROM gitlab_pat_self('gitlab')}),
		'administrator|' . day(90), 'the new credential is in use');
	is($sim->count(method => 'POST', path => 'self/rotate'), 1, 'the credential was rotated once');
	like(ended($run, 'gitlab: rotate dead'), qr/^failed\|/, 'a job whose credential GitLab refuses fails');
	return;
}

sub test_weekly_report
{
	my ($run) = @_;
	my $node = $run->{node};

	like(ended($run, 'gitlab: weekly report'), qr/^succeeded\|/, 'the week was reported');
	is( $node->safe_psql('postgres', q{
			SELECT finding, token_id, username FROM gitlab_jobs.weekly_report
			WHERE week = date_trunc('week', now() AT TIME ZONE 'UTC')
				AND (finding <> 'not used' AND token_id IN (7, 9, 11, 16) OR token_id = 12)
			ORDER BY finding, token_id}),
		join("\n", 'expires soon|7|dave', 'expires soon|9|project_1_bot_a1b2c3', 'expires soon|12|dave',
			'never expires|11|service_account_deploy', 'not used|12|dave', 'owner is gone|16|bob'),
		'the report has what there was to be found');

	$node->safe_psql('postgres', q{
		UPDATE gitlab_jobs.weekly_report SET week = week - 7;
		CALL gitlab_jobs.report_week()});
	$run->{sim}->clear_journal;
	my $count = 'SELECT week, count(*) FROM gitlab_jobs.weekly_report GROUP BY week ORDER BY week';
	my $before = $node->safe_psql('postgres', $count);
	$node->safe_psql('postgres', 'CALL gitlab_jobs.report_week()');
	like($before, qr/^\S+\|\d+\n\S+\|\d+$/, 'the report is for the current week');
	is($node->safe_psql('postgres', $count), $before, 'a second report replaces the first of its week');
	is(join(' ', sort map { $_->{path} =~ m{/api/v4(/\w+)} } $run->{sim}->journal),
		'/personal_access_tokens /users', 'a report takes a list of tokens and one of users');
	return;
}

sub test_refreshed_dashboards
{
	my ($run) = @_;

	like(ended($run, 'gitlab: refresh dashboards'), qr/^succeeded\|/, 'the dashboards were refreshed');
	is( $run->{node}->safe_psql('postgres', q{
			SELECT count(*) >= 3, count(error) FROM gitlab_dashboard.refreshes}),
		't|0', 'the refresh of the dashboards was noted');
	is( $run->{node}->safe_psql('postgres', q{
			SELECT last_failed FROM gitlab_dashboard.jobs
			WHERE job_name IN ('gitlab: rotate dead', 'gitlab: weekly report') ORDER BY job_name}),
		"t\nf", 'the dashboards show which jobs have failed');
	return;
}

# Each run that has failed, of the jobs called "gitlab: ...", once.
sub test_alerts
{
	my ($run) = @_;
	my $node = $run->{node};
	my $failed = q{
		SELECT d.runid, j.jobname, d.return_message
		FROM cron.job_run_details d JOIN cron.job j USING (jobid)
		WHERE d.status = 'failed' AND (j.jobname LIKE 'gitlab: %' OR d.command LIKE 'CALL gitlab_%') ORDER BY 1};
	my $alerts = 'SELECT run_id, job_name, message FROM gitlab_jobs.alerts ORDER BY 1';

	is( $node->safe_psql('postgres', 'SELECT DISTINCT job_name FROM gitlab_jobs.alerts ORDER BY 1'),
		"gitlab: apply declared tokens\ngitlab: rotate and deliver\ngitlab: rotate dead\ngitlab: rotate tokens", 'there are alerts of what has failed');
	$node->safe_psql('postgres', q{
		CALL gitlab_jobs.note_failures('gitlab: %');
		UPDATE gitlab_jobs.alerts SET acknowledged_at = now();
		CALL gitlab_jobs.note_failures('gitlab: %')});
	is($node->safe_psql('postgres', $alerts), $node->safe_psql('postgres', $failed),
		'there is one alert for each run that has failed');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM gitlab_jobs.alerts WHERE acknowledged_at IS NULL'),
		0, 'a second run of the alerts makes no second alert');
	return;
}

sub test_secrets
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $ours = q{WHERE jobid <> (SELECT jobid FROM cron.job WHERE jobname = 'naive')};

	is_secretive($sim, $node->safe_psql('postgres', "SELECT * FROM cron.job $ours"), 'cron.job');
	is_secretive($sim, $node->safe_psql('postgres', "SELECT * FROM cron.job_run_details $ours"),
		'cron.job_run_details');
	is_secretive($sim, $node->safe_psql('postgres', join ';', map { "SELECT * FROM $_" }
			qw(gitlab_jobs.alerts gitlab_jobs.weekly_report gitlab_dashboard.tokens
			gitlab_dashboard.credential gitlab_dashboard.refreshes gitlab_dashboard.history)),
		'what the jobs keep');

	# That a secret would have been found.
	my ($made) = grep { $_->{name} eq 'naive' } $sim->tokens;
	like(ended($run, 'naive'), qr/^failed\|.*\Q$made->{token}\E/s,
		'a plain statement would have shown the secret that it could not store');
	is($made->{state}, 'revoked', 'the rollback has revoked the secret that was shown');
	return;
}

# The same procedures without pg_cron: what they ask for, and that two of them at
# a time do not rotate the same token.
sub test_by_hand
{
	my ($run) = @_;
	my ($node, $sim) = @$run{qw(node sim)};
	my $credential = q{CALL gitlab_jobs.rotate_credential('gitlab', 14, 90)};
	my $id = $node->safe_psql('postgres', q{SELECT id FROM gitlab_pat_self('gitlab')});

	$sim->clear_journal;
	$node->safe_psql('postgres', $credential);
	is($sim->count, 2, 'two requests find out that the credential is not due');
	$sim->control('PATCH', "tokens/$id", undef, { expires_at => day(14) });
	$sim->clear_journal;
	$node->safe_psql('postgres', $credential);
	# of which two check the credential again, after what the procedure has done is committed
	is($sim->count, 8, 'six more requests rotate the credential');

	my $tokens = q{CALL gitlab_jobs.rotate_tokens('public.secrets', 'gitlab_personal_access_tokens', 14, 90)};
	$node->safe_psql('postgres', q{DELETE FROM secrets WHERE name IN ('fine-grained', 'unstorable', 'dead')});
	$sim->control('PATCH', 'tokens/4', undef, { expires_at => day(14) });
	$sim->latency(200);
	my @sessions = map { Session->open($node) } 1, 2;
	$_->send($tokens) foreach @sessions;
	is(join('', map { $_->finish } @sessions), '', 'two sessions rotate what is due');
	$_->close foreach @sessions;
	$sim->latency(0);
	is($sim->token_state(4), 'revoked', 'two sessions rotate a token of root');
	is( $node->safe_psql('postgres', q{
			SELECT count(*), max(id) = (SELECT id FROM secrets WHERE name = 'just not due')
			FROM gitlab_personal_access_tokens WHERE active AND name = 'root no admin mode'}),
		'1|t', 'two sessions make one successor');
	return;
}
