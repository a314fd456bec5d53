# Who may do what to the tokens of projects, groups and service accounts: a
# Developer, a Maintainer, an Owner and an administrator, and what a rollback, a lost
# answer and a failure leave, whoever it is.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => q{request_timeout '1s'});

# Who they are, and what they are in the project acme/web and the group acme.
my %tokens = (
	developer => { user_id => 8, secret => 'glpat-sim-role-developer' },
	maintainer => { user_id => 9, secret => 'glpat-sim-role-maintainer' },
	owner => { user_id => 2, secret => 'glpat-sim-alice' },
	administrator => { user_id => 1, secret => 'glpat-sim-admin' },
);

test_roles();
test_higher_levels();
test_settings();
test_rollback();
test_lost_answers();
test_failed_revocations();
test_limits();
test_version_17();
test_bots();
test_stale_lists();
test_delivery();
test_due();
done_testing();

# --- helpers --------------------------------------------------------------------

sub begin
{
	my ($role, %options) = @_;

	$sim->clear_faults;
	$sim->reset(%options);
	$sim->namespace_set('project', 'acme/web', members => { dave => 30, erin => 40 });
	foreach my $who ('developer', 'maintainer')
	{
		$sim->control('POST', 'tokens', undef,
			{ user_id => $tokens{$who}{user_id}, name => $who, scopes => ['api'], token => $tokens{$who}{secret} });
	}
	$node->safe_psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$tokens{$role}{secret}')");
	return;
}

# What a script fails with: SQLSTATE, message, detail, hint; empty if it does not.
sub failure
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return $err;
}

sub query
{
	return $node->safe_psql('postgres', $_[0]);
}

sub state_of
{
	my ($name) = @_;

	return join ' ', map { $_->{state} } grep { $_->{name} eq $name } $sim->tokens;
}

# --- roles ----------------------------------------------------------------------

# A statement, the least role that may carry it out, and the error that less gets.
sub test_roles
{
	my $later = 'current_date + 30';
	my @ranks = ('developer', 'maintainer', 'owner', 'administrator');
	my %hints = (
		maintainer => qr/role Maintainer in the project/,
		owner => qr/role Owner in the group|Check "group_path"/,
		administrator => qr/administrator's API token/,
	);

	foreach (
		[ q{SELECT id FROM gitlab_project_access_tokens WHERE project = 'acme/web'}, 'maintainer' ],
		[ q{SELECT id FROM gitlab_project_access_tokens WHERE project = 'acme/web' AND id = 9}, 'maintainer' ],
		[ qq{INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
			VALUES ('acme/web', 'made', '{api}', 20, $later) RETURNING token}, 'maintainer' ],
		[ qq{INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
			VALUES ('acme/web', 'made', '{api}', 50, $later) RETURNING token}, 'owner',
			qr/role Maintainer in the project|role Owner, or a lower "access_level"/ ],
		[ q{SELECT id FROM gitlab_project_service_accounts WHERE project = 'acme/web'}, 'maintainer' ],
		[ q{SELECT id FROM gitlab_group_access_tokens WHERE group_path = 'acme'}, 'owner' ],
		[ qq{INSERT INTO gitlab_group_access_tokens (group_path, name, scopes, expires_at)
			VALUES ('acme', 'made', '{api}', $later) RETURNING token}, 'owner' ],
		[ q{SELECT id FROM gitlab_group_service_accounts WHERE group_path = 'acme'}, 'owner' ],
		[ q{SELECT id FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7}, 'owner' ],
		[ qq{INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
			VALUES ('acme', 7, 'made', '{api}', $later) RETURNING token}, 'owner' ],
		[ qq{UPDATE gitlab_group_service_account_tokens SET expires_at = $later
			WHERE group_path = 'acme' AND user_id = 7 RETURNING token}, 'owner' ],
		[ q{DELETE FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7}, 'owner' ],
		[ q{SELECT id FROM gitlab_impersonation_tokens WHERE user_id = 8}, 'administrator' ],
		[ q{SELECT key FROM gitlab_instance_variables}, 'administrator' ],
		[ q{SELECT id FROM gitlab_service_accounts}, 'administrator' ],
	  )
	{
		my ($sql, $least, $hint) = @$_;
		my $allowed = 0;

		foreach my $role (@ranks)
		{
			$allowed ||= $role eq $least;
			begin($role);
			# the service account's token has no expiry, which UPDATE of it gives it
			my $failure = failure($sql);
			my $what = ($sql =~ s/\s+/ /gr) =~ s/ (?:VALUES|RETURNING).*//r;

			if ($allowed)
			{
				is($failure, '', "$role: $what succeeds");
			}
			else
			{
				like($failure, qr/ERROR:  42501|ERROR:  42704/, "$role: $what is refused");
				like($failure, $hint // $hints{$least}, "$role: the hint about $what names the role");
			}
		}
	}
	return;
}

# Who has the role in the project is told of the level that is above it.
sub test_higher_levels
{
	my $hint = qr/HINT:  .* user with the role Owner, or a lower "access_level"/;
	my $create = q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
		VALUES ('acme/web', 'high', '{api}', 50, current_date + 9) RETURNING id, token};

	begin('owner');
	my ($id) = split /[|]/, query($create);
	my $rotate = qq{UPDATE gitlab_project_access_tokens SET expires_at = current_date + 30
		WHERE project = 'acme/web' AND id = $id RETURNING token};

	query("ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$tokens{maintainer}{secret}')");
	like(failure($create), $hint, 'a Maintainer who creates a token for an Owner is told of the level');
	like(failure($rotate), $hint, 'a Maintainer who rotates a token for an Owner is told of the level');
	return;
}

# Who has the role in the group is told that self-managed instances may not let Owners.
sub test_settings
{
	begin('owner');
	$sim->control('POST', 'settings', undef, { group_owners_manage_accounts => JSON::PP::false });
	foreach (
		'gitlab_group_service_accounts', 'gitlab_group_service_account_tokens')
	{
		like(failure("SELECT id FROM $_ WHERE group_path = 'acme'" . (/tokens/ ? ' AND user_id = 7' : '')),
			qr/HINT:  .* role Owner in the group.* an administrator may have to let Owners manage service accounts/,
			"the hint about $_ names the setting of the instance");
	}

	begin('owner');
	$sim->namespace_set('group', 'acme', token_creation_allowed => JSON::PP::false);
	foreach (
		[ 'a creation', q{INSERT INTO gitlab_group_access_tokens (group_path, name, scopes, expires_at)
			VALUES ('acme', 'made', '{api}', current_date + 9) RETURNING token} ],
		[ 'a rotation', q{UPDATE gitlab_project_access_tokens SET expires_at = current_date + 9
			WHERE project = 'acme/app' AND id = 9 RETURNING token} ],
	  )
	{
		my ($what, $sql) = @$_;

		like(failure($sql), qr/HINT:  .* role (?:Owner|Maintainer) in the .*settings of the top-level group/,
			"the hint about $what names the setting of the top-level group");
	}
	return;
}

# --- rollback ---------------------------------------------------------------------

sub test_rollback
{
	begin('owner');
	query(q{
		BEGIN;
		INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at)
			VALUES ('acme/app', 'in a transaction', '{api}', current_date + 9);
		UPDATE gitlab_group_service_account_tokens SET expires_at = current_date + 9
			WHERE group_path = 'acme' AND user_id = 7 RETURNING token;
		DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND id = 9;
		ROLLBACK});
	is(state_of('in a transaction'), 'revoked', "a rollback revokes a project's token that it created");
	is(state_of('service account'), 'active revoked',
		"a rollback revokes the successor of a service account's token, and leaves the token alone");
	is($sim->token_state(9), 'active', "a rollback leaves alone what a DELETE of a project's token named");

	begin('owner');
	my ($status, $out, $err) = $node->psql('postgres', q{
		BEGIN;
		UPDATE gitlab_project_access_tokens SET expires_at = current_date + 9
			WHERE project = 'acme/app' AND id = 9 RETURNING token;
		ROLLBACK});
	like($err, qr/the rotation of project access token 9 .*could not be rolled back/,
		"a WARNING says that a native rotation of a project's token cannot be rolled back");
	like($err, qr/in favor of \d+/, 'the WARNING names the successor');
	return;
}

# The SELECT of an error finds what a lost answer has left, for it names the place.
sub test_lost_answers
{
	foreach (
		[ q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at)
			VALUES ('acme/app', 'it''s lost', '{api}', current_date + 9) RETURNING token},
			"it's lost", qr/project = 'acme\/app' AND name/ ],
		[ q{INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
			VALUES ('acme', 7, 'lost', '{api}', current_date + 9) RETURNING token},
			'lost', qr/group_path = 'acme' AND user_id = 7 AND name/ ],
	  )
	{
		my ($sql, $name, $place) = @$_;

		begin('owner');
		$sim->fault('POST', 'tokens', 'reset', moment => 'after');
		my $error = failure($sql);
		my ($finder) = $error =~ /HINT:.*?(SELECT .*;)/;

		like($error, qr/GitLab's answer was lost/, "$name: the answer is lost");
		like($finder, $place, "$name: the SELECT names what the token is in");
		$finder =~ s/SELECT \*/SELECT name/;
		is(query($finder), $name, "$name: the SELECT finds the token");
	}
	return;
}

# The DELETE of a WARNING names the place, too.
sub test_failed_revocations
{
	begin('owner');
	$sim->fault('DELETE', 'personal_access_tokens', 'status', status => 400, times => 0);
	my ($status, $out, $err) = $node->psql('postgres', q{
		UPDATE gitlab_group_service_account_tokens SET expires_at = current_date + 9
			WHERE group_path = 'acme' AND user_id = 7 RETURNING token});
	my ($delete) = $err =~ /HINT:.*?(DELETE .*;)/;

	like($delete // '', qr/group_path = 'acme' AND user_id = 7 AND id IN \(11\)/,
		'a WARNING about a token that could not be revoked has a DELETE that names its place');
	$sim->clear_faults;
	query($delete);
	is($sim->token_state(11), 'revoked', 'the DELETE of the WARNING revokes the token');

	begin('owner');
	$sim->fault('DELETE', 'access_tokens/9$', 'status', status => 400, times => 0);
	like(failure(q{DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND id = 9}),
		qr/could not revoke project access token 9 of "acme\/app"/,
		'the error of a revocation names the project');
	is($sim->token_state(9), 'active', 'a DELETE that failed has revoked nothing');
	return;
}

sub test_limits
{
	begin('owner');
	like(
		failure(q{
			SET gitlab_pat_fdw.max_changes = 0;
			DELETE FROM gitlab_group_service_account_tokens WHERE group_path = 'acme' AND user_id = 7}),
		qr/ERROR:  53400/, "max_changes counts the tokens of service accounts");
	my $before = -s $node->logfile;

	query(q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at)
		VALUES ('acme/app', 'logged', '{api}', current_date + 9) RETURNING token});
	like(slurp_file($node->logfile, $before), qr/project access token \d+ of "acme\/app" created \("logged" of user \d+, scopes api\) on server "gitlab"/,
		'the audit line of a creation names the project');
	return;
}

# Before 17.9, the project's route deletes the bot user with all of its tokens.  An
# administrator gives a bot a second token, and neither loses it.
sub test_version_17
{
	begin('administrator', version => '17.8');
	query(q{ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (ADD rotation 'transactional');
		UPDATE gitlab_project_access_tokens SET expires_at = current_date + 30
			WHERE project = 'acme/app' AND id = 9 RETURNING token;
		ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (DROP rotation)});
	is(state_of('project bot'), 'revoked active', 'an administrator replaces a token of GitLab 17.8 and keeps the bot');
	query(q{DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND id = 9});
	is(state_of('project bot'), 'revoked active', "deleting a revoked token again leaves the bot's second one alone");
	return;
}

# Others than administrators are told which revocations end more than a token.
sub test_bots
{
	my $delete = q{DELETE FROM gitlab_project_access_tokens WHERE project = 'acme/app' AND NOT revoked};
	my $warning = qr/WARNING:  01L19: revoking project access token 9 of "acme\/app" deletes its bot user/;

	begin('owner', version => '17.8');
	query(q{INSERT INTO gitlab_project_access_tokens (project, name, scopes) VALUES ('acme/app', 'second', '{api}') RETURNING token});
	my $warnings = failure($delete);

	like($warnings, $warning, 'before GitLab 17.9, a DELETE warns of the bot user that goes, too');
	like($warnings, qr/"gitlab" has 17\.8/, 'the WARNING about the bot user names the version');
	is(scalar(() = $warnings =~ /WARNING/g), 1, 'a statement warns of bot users once');
	is_deeply([ grep { $_->{user_id} == 5 } $sim->tokens ], [], 'GitLab 17.8 has deleted the bot with its tokens');

	foreach my $version ('17.9', '18.11')
	{
		begin('owner', version => $version);
		is(failure($delete), '', "no WARNING about bot users comes with GitLab $version");
	}
	begin('administrator', version => '17.8');
	is(failure($delete), '', 'no WARNING about bot users comes for an administrator');

	# a declared version is taken at its word
	begin('owner');
	query(q{ALTER SERVER gitlab VERSION '17.0'});
	like(failure($delete), $warning, 'a declared version before 17.9 makes a DELETE warn');
	is(scalar($sim->journal(path => 'metadata')), 0, 'a declared version saves asking for it');

	begin('owner', version => '17.8');
	query(q{ALTER SERVER gitlab VERSION NULL;
		ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (ADD rotation 'transactional')});
	$warnings = failure(q{UPDATE gitlab_project_access_tokens SET expires_at = current_date + 30
		WHERE project = 'acme/app' AND id = 9 RETURNING token});
	query(q{ALTER FOREIGN TABLE gitlab_project_access_tokens OPTIONS (DROP rotation)});
	like($warnings, $warning, 'a transactional UPDATE warns of the bot user of the old token');
	return;
}

# Of a service account GitLab shows no single token: each one is judged by a list that
# was read for it, for somebody may have rotated it since the list before.
sub test_stale_lists
{
	begin('owner');
	query(q{INSERT INTO gitlab_group_service_account_tokens (group_path, user_id, name, scopes, expires_at)
		VALUES ('acme', 7, 'second', '{api}', current_date + 9) RETURNING token});
	my $second = query(q{SELECT id FROM gitlab_group_service_account_tokens
		WHERE group_path = 'acme' AND user_id = 7 AND name = 'second'});

	# a row trigger has the UPDATE go row by row
	query(q{CREATE FUNCTION as_it_is() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER as_it_is BEFORE UPDATE ON gitlab_group_service_account_tokens
			FOR EACH ROW EXECUTE FUNCTION as_it_is()});
	# GitLab's answer to the creation of the first successor is when it happens
	$sim->control('POST', 'hooks', undef,
		{ method => 'POST', path => 'personal_access_tokens$', do => [ { rotate => $second + 0 } ] });
	my $error = failure(qq{
		UPDATE gitlab_group_service_account_tokens t SET expires_at = current_date + 90
		WHERE group_path = 'acme' AND user_id = 7 AND id IN (11, $second) RETURNING token});

	$sim->control('DELETE', 'hooks');
	query(q{DROP FUNCTION as_it_is CASCADE});
	like($error, qr/ERROR:  55000: service account's token $second is not active/,
		'an UPDATE does not replace a token that was rotated since it has listed the account');
	is(state_of('second'), 'revoked active', 'the token that somebody has rotated has one successor');
	is(state_of('service account'), 'active revoked', 'the failed UPDATE leaves its first token alone');
	return;
}

# --- rotate and deliver -------------------------------------------------------------

sub test_delivery
{
	my $deliver = q{
		WITH new AS (
			UPDATE gitlab_group_service_account_tokens SET expires_at = current_date + 90
			WHERE group_path = 'acme' AND user_id = 7 AND id = 11 RETURNING token)
		UPDATE gitlab_project_variables v SET value = new.token
		FROM new WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT'};

	begin('owner');
	query("CREATE TABLE secret (token text)");
	query($deliver);
	is(state_of('service account'), 'revoked active',
		"a group's Owner rotates a service account's token and delivers it in one statement");
	my ($variable) = grep { $_->{owner} eq 'project acme/app' && $_->{key} eq 'DEPLOY_PAT' } $sim->variables;

	is($variable->{token_state}, 'active', 'the variable holds the secret of the new token');

	begin('owner');
	$sim->fault('PUT', 'variables/DEPLOY_PAT', 'status', status => 400, times => 0);
	isnt(failure($deliver), '', 'a delivery that GitLab refuses is an error');
	is($sim->token_state(11), 'active', 'a delivery that failed leaves the old token active');
	is(state_of('service account'), 'active revoked', 'a delivery that failed revokes the new token');

	# a native rotation, as of a project's token
	begin('maintainer');
	query(q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
		VALUES ('acme/web', 'ci', '{api}', 30, current_date + 9) RETURNING token});
	my $id = query(q{SELECT id FROM gitlab_project_access_tokens WHERE project = 'acme/web' AND name = 'ci'});

	query(qq{
		WITH new AS (
			UPDATE gitlab_project_access_tokens SET expires_at = current_date + 90
			WHERE project = 'acme/web' AND id = $id RETURNING token)
		UPDATE gitlab_project_variables v SET value = new.token
		FROM new WHERE v.project = 'acme/web' AND v.key = 'DEPLOY_PAT'});
	($variable) = grep { $_->{owner} eq 'project acme/web' && $_->{key} eq 'DEPLOY_PAT' } $sim->variables;
	is($variable->{token_state}, 'active', "a Maintainer rotates a project's token natively and delivers it");
	is(state_of('ci'), 'revoked active', 'the native rotation has ended the old token');
	return;
}

# The job of the night for those who are no administrators.
sub test_due
{
	query(q{SET client_min_messages = warning;
		CREATE TABLE my_deliveries (token_container text NOT NULL, owner text, token_name text NOT NULL,
			project text, group_path text, variable text NOT NULL, days integer NOT NULL DEFAULT 14);
		CREATE TABLE my_rotations (at timestamptz NOT NULL, owner text, token_name text NOT NULL,
			token_container text, old_id bigint, new_id bigint, outcome text NOT NULL, message text,
			fingerprint text, revoke_after timestamptz)});
	foreach (
		[ 'owner', 'gitlab_group_service_account_tokens', 'service account', 11,
			q{('acme', 'service_account_deploy', 'service account', 'acme/app', 'DEPLOY_PAT')} ],
		[ 'maintainer', 'gitlab_project_access_tokens', 'ci', undef,
			q{('acme/web', NULL, 'ci', 'acme/web', 'DEPLOY_PAT')} ],
	  )
	{
		my ($role, $table, $name, $id, $row) = @$_;
		my $job = qq{CALL gitlab_pat_rotate_due('my_deliveries', 'my_rotations', tokens => '$table')};

		begin($role);
		query(q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, access_level, expires_at)
			VALUES ('acme/web', 'ci', '{api}', 30, current_date + 9) RETURNING token}) if !$id;
		query(qq{TRUNCATE my_deliveries, my_rotations;
			INSERT INTO my_deliveries (token_container, owner, token_name, project, variable) VALUES $row});
		is(query($job), '1|0|0', "$role: gitlab_pat_rotate_due() rotates and delivers a token of $table");
		is(state_of($name), 'revoked active', "$role: the old token of $table is revoked, the new one active");
		my ($project) = $row =~ /'(acme\/\w+)'/;
		my ($variable) = grep { $_->{owner} eq "project $project" && $_->{key} eq 'DEPLOY_PAT' } $sim->variables;

		is($variable->{token_state}, 'active', "$role: the variable has the new token of $table");
		is(query($job), '0|0|0', "$role: a second call finds nothing due in $table");
	}
	return;
}
