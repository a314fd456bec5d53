# Answers are checked before they are believed: a token that is not what was asked
# for takes nobody's place.  And GitLab's clock decides what is in the future.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IO::Compress::Gzip qw(gzip $GzipError);
use JSON::PP ();
use MIME::Base64;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => q{max_retries '0'});
create_tables($node, 'answers');

my $later = 'current_date + 90';
my $returning = q{RETURNING id, name, token <> '' AS secret};
my %sql = (
	INSERT => "INSERT INTO tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'new', '{api,read_user}', $later) $returning",
	UPDATE => "UPDATE tokens SET expires_at = $later WHERE id = 2 $returning",
	native => "UPDATE native_tokens SET expires_at = $later WHERE id = 2 $returning");
my $session = open_session($node, 'answers', verbosity => 'verbose');

test_as_asked();
test_other_answers();
test_bots();
test_versions();
test_ids();
test_odd_answers();
test_no_expiry();
test_variables();
test_doubtful_writes();
test_clock();
$session->close;
is_alive($node);
done_testing();

# --- answers -----------------------------------------------------------------------

# What GitLab may answer otherwise is no difference.
sub test_as_asked
{
	foreach my $kind (sort keys %sql)
	{
		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { scopes => $kind eq 'INSERT' ? [ 'read_user', 'api' ] : ['api'] });
		unlike(said($session, $sql{$kind}), qr/ERROR|WARNING/, "$kind takes an answer that is as asked for");
	}
	return;
}

sub test_other_answers
{
	foreach my $case (
		[ 'no secret', 'token', remove => ['token'] ],
		[ 'an empty secret', 'token', set => { token => '' } ],
		[ 'a secret that is null', 'token', set => { token => undef } ],
		[ 'a secret that is a number', 'token', set => { token => 12 } ],
		[ 'a secret that is a blank', 'token', set => { token => ' ' } ],
		[ 'a secret with a blank inside', 'token', set => { token => 'glpat-a b' } ],
		[ 'a secret with a line feed', 'token', set => { token => "glpat-a\nX-Evil: 1" } ],
		[ 'a secret with a null character', 'token', set => { token => "glpat-\0" } ],
		[ 'a secret that is not ASCII', 'token', set => { token => "glpat-\x{fc}" } ],
		[ 'a secret that no header holds', 'token', set => { token => 'x' x 9000 } ],
		[ 'another owner', 'user_id', set => { user_id => 8 } ],
		[ 'an owner as text', 'user_id', set => { user_id => '2' } ],
		[ 'another name', 'name', set => { name => 'other' } ],
		[ 'fewer scopes', 'scopes', set => { scopes => [] } ],
		[ 'more scopes', 'scopes', set => { scopes => [qw(api read_user sudo)] } ],
		[ 'scopes that are no list', 'scopes', set => { scopes => 'api' } ],
		[ 'another expiry', 'expires_at', set => { expires_at => '2031-01-01' } ],
		[ 'no expiry', 'expires_at', set => { expires_at => undef } ],
		[ 'a token that is dead', 'active', set => { active => JSON::PP::false() } ],
		[ 'no word of being active', 'active', remove => ['active'] ],
		[ 'null for being active', 'active', set => { active => undef } ],
		[ 'a text for being active', 'active', set => { active => 'false' } ],
		[ 'a number for being active', 'active', set => { active => 1 } ],
		[ 'a token that is revoked', 'revoked', set => { revoked => JSON::PP::true() } ],
		[ 'a text for being revoked', 'revoked', set => { revoked => 'false' } ],
		[ 'a fine-grained token', 'granular', set => { granular => JSON::PP::true() } ])
	{
		my ($what, $field, %edit) = @$case;

		foreach my $kind (qw(INSERT UPDATE))
		{
			$sim->reset;
			$sim->fault('POST', 'tokens', 'edit', %edit);
			my $said = said($session, $sql{$kind});

			like($said, qr/ERROR:  08P01: could not .*: GitLab has created a different token\n/,
				"$kind: $what is an error");
			like($said, qr/DETAIL:  The new token 17 differs in the field "$field"\./,
				"$kind: $what is named in the detail");
			is(changes($sim), '17 revoked', "$kind: after $what, the rollback revokes the new token and nothing else");
		}

		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', %edit);
		my $said = said($session, $sql{native});
		like($said, qr/WARNING:  01L16: the rotation of personal access token 2 to 17 on server "gitlab" differs from the request\n/,
			"native: $what is a warning that names both ids");
		like($said, qr/DETAIL:  GitLab's answer differs in the field "$field"\./, "native: $what is named in the detail");
		like($said, qr/^17\|/m, "native: the row comes back with $what");
		unlike($said, qr/ERROR/, "native: $what is no error");
		is(changes($sim), '2 revoked, 17 active', "native: after $what, GitLab has rotated");
	}
	return;
}

# Tokens of a project: the role of the bot, and what the token is for.
sub test_bots
{
	my $columns = 'project text, id bigint, user_id bigint, name text, description text, scopes text[], active boolean,
		revoked boolean, expires_at date, granular boolean, access_level integer, resource_type text, resource_id bigint, token text';
	my $update = "SET expires_at = $later WHERE project = 'acme/app' AND id = 9 RETURNING id, token <> ''";
	my %of_bots = (
		INSERT => "INSERT INTO bots (project, name, description, scopes, expires_at, access_level)
			VALUES ('1', 'new', 'for tests', '{read_api}', $later, 30) RETURNING id, token <> ''",
		UPDATE => "UPDATE bots $update",
		native => "UPDATE native_bots $update");

	$node->safe_psql('postgres', "CREATE FOREIGN TABLE answers.bots ($columns) SERVER gitlab
			OPTIONS (resource 'project_access_tokens', rotation 'transactional');
		CREATE FOREIGN TABLE answers.native_bots ($columns) SERVER gitlab OPTIONS (resource 'project_access_tokens')");
	foreach my $who (qw(admin alice))
	{
		$node->safe_psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-$who')");
		my $of = $who eq 'admin' ? 'an administrator' : 'a Maintainer';
		my $fresh = open_session($node, 'answers', verbosity => 'verbose');
		said($fresh, q{SELECT sees_all_tokens FROM gitlab_pat_self('gitlab')});

		foreach my $case (
			[ 'as it is', undef ],
			[ 'another role', 'access_level', set => { access_level => 50 } ],
			[ 'a role as text', 'access_level', set => { access_level => '30' } ],
			[ 'no role', 'access_level', remove => ['access_level'] ],
			[ 'another project', 'resource_id', set => { resource_id => 2 } ],
			[ 'a group', 'resource_type', set => { resource_type => 'group' } ],
			[ 'another description', 'description', set => { description => 'other' } ],
			[ 'no word of what the token is for', undef, remove => [qw(resource_type resource_id granular)] ])
		{
			my ($what, $field, %edit) = @$case;

			foreach my $kind (sort keys %of_bots)
			{
				# to an administrator GitLab answers as about a user's token, without the role
				my $differs = $what eq 'no role' && $kind eq 'UPDATE' && $who eq 'admin' ? undef : $field;

				$sim->reset;
				$sim->fault('POST', 'tokens', 'edit', %edit) if %edit;
				my $said = said($fresh, $of_bots{$kind});
				my $name = "$kind of a project's token by $of, an answer with $what";

				$differs && $kind ne 'native'
				  ? like($said, qr/ERROR:  08P01: .*a different token\nDETAIL:  The new token 17 differs in the field "$differs"\./, "$name is an error")
				  : unlike($said, qr/ERROR/, "$name is no error");
				$differs && $kind eq 'native'
				  ? like($said, qr/^17\|t\n.*WARNING:  01L16: .*\nDETAIL:  GitLab's answer differs in the field "$differs"\./ms, "$name is a warning")
				  : unlike($said, qr/01L16/, "$name is no such warning");
				is($sim->token_state(9), $differs && $kind ne 'native' || $kind eq 'INSERT' ? 'active' : 'revoked',
					"$name: the old token is in the state that it should be");
			}
		}
		$fresh->close;
	}
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
	return;
}

# Each version of GitLab has all fields in its answers that are checked.
sub test_versions
{
	foreach my $version (qw(17.11 18.11 19.4))
	{
		foreach my $sql (values %sql, q{UPDATE bots SET expires_at = current_date + 90 WHERE project = 'acme/app' AND id = 9 RETURNING id, token <> ''},
			q{UPDATE native_bots SET expires_at = current_date + 90 WHERE project = 'acme/app' AND id = 9 RETURNING id, token <> ''},
			q{UPDATE tokens SET expires_at = current_date + 90 WHERE id = 12 RETURNING id, token <> ''},
			q{UPDATE native_tokens SET expires_at = current_date + 90 WHERE id = 12 RETURNING id, token <> ''},
			q{UPDATE tokens SET expires_at = current_date + 90 WHERE id = 8 RETURNING id, token <> ''})
		{
			$sim->reset(version => $version);
			my $said = said($session, $sql);
			like($said, qr/^17\|.*t$/m, "the answer of GitLab $version is taken: $sql");
			unlike($said, qr/ERROR|WARNING/, "GitLab $version gives no reason for a complaint: $sql");
		}
	}
	$sim->reset;
	return;
}

# A rollback must not be led to a token that existed before.
sub test_ids
{
	said($session, 'SELECT name FROM tokens WHERE id = 2; DELETE FROM tokens WHERE id = 6');
	foreach my $id (1, 2)
	{
		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { id => $id });
		my $said = said($session, $sql{UPDATE});

		like($said, qr/ERROR:  08P01: .*GitLab's answer was lost\n/, "UPDATE: the id $id is no answer");
		like($said, qr/HINT:  Look for it.*SELECT \* FROM answers\.tokens/, "UPDATE: the id $id: the hint has a SELECT");
		is(changes($sim), '17 active', "UPDATE: the id $id: the rollback revokes no other token");

		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { id => $id });
		$said = said($session, $sql{native});
		like($said, qr/WARNING:  01L16: the rotation of personal access token 2 to $id /, "native: the id $id is a warning");
		like($said, qr/^$id\|alice api\|t$/m, "native: the secret comes back with the id $id");
		is(changes($sim), '2 revoked, 17 active', "native: the id $id: GitLab has rotated");
	}
	foreach my $id (undef, 0, -3, 'seventeen')
	{
		my $shown = $id // 'null';

		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { id => $id });
		my $said = said($session, $sql{native} =~ s/id, name/name/r);
		like($said, qr/WARNING:  01L16: the rotation of personal access token 2 to one whose id is not known on server /,
			"native: the warning does not make an id of $shown");
		like($said, qr/^alice api\|t$/m, "native: the secret comes back with the id $shown");
	}
	foreach my $end ('ROLLBACK', 'COMMIT')
	{
		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { id => undef });
		my $said = said($session, "BEGIN; $sql{native}; $end");
		is(count_matches($said, qr/WARNING:  01L07: personal access token 2 on server "gitlab" may have been rotated by a transaction that was rolled back\n/),
			$end eq 'ROLLBACK' ? 1 : 0, "native: a $end warns if it is to, though the new id is not known");
	}
	like(slurp_file($node->logfile), qr/LOG:  personal access token 2 replaced by one whose id is not known, and revoked \("alice api"/,
		'the audit trail does not name an id that is not believed');

	# An answer of an earlier day that a proxy repeats, about a token that this session
	# has not seen; and one that has the API token's secret.
	foreach my $case (
		[ 'a token of an earlier day', 'created_at', id => 6, created_at => '2025-01-01T00:00:00.000Z' ],
		[ 'a token of two hours ago', 'created_at', id => 16, created_at => iso(time - 7200) ],
		[ 'a token of two hours ago elsewhere', 'created_at', id => 16,
			created_at => strftime('%Y-%m-%dT%H:%M:%S.000+09:00', gmtime(time - 7200 + 9 * 3600)) ],
		[ "the API token's secret", 'token', token => 'glpat-sim-admin' ])
	{
		my ($what, $field, %set) = @$case;
		my $id = $set{id} // 17;
		my $fresh = open_session($node, 'answers', verbosity => 'verbose');

		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => \%set);
		my $said = said($fresh, $sql{INSERT});
		like($said, qr/ERROR:  08P01: .*GitLab's answer was lost\nDETAIL:  The answer is about a token that existed before .* It names token $id\./,
			"INSERT: $what is no answer");
		is(changes($sim), '17 active', "INSERT: $what: the rollback revokes no other token");

		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => \%set);
		$said = said($fresh, $sql{native});
		like($said, qr/WARNING:  01L16: .*\nDETAIL:  GitLab's answer differs in the field "$field"\./, "native: $what is a warning");
		like($said, qr/^$id\|/m, "native: the row comes back with $what");
		$fresh->close;
	}
	foreach my $created (iso(time - 1800), iso(time + 86400 * 30), undef, 17)
	{
		$sim->reset;
		$sim->fault('POST', 'tokens', 'edit', set => { created_at => $created });
		unlike(said($session, $sql{INSERT} =~ s/RETURNING.*/RETURNING id/r), qr/answer was lost/,
			'an answer is not doubted for the creation date ' . ($created // 'null'));
	}

	# What the transaction has read existed before, and so did all tokens with lower ids.
	$sim->reset;
	$sim->fault('POST', 'tokens', 'edit', set => { id => 14 });
	like(said($session, "BEGIN; SELECT max(id) FROM tokens; $sql{INSERT}; COMMIT"), qr/^16\n.*ERROR:  08P01: .*answer was lost/s,
		'an id below one that the transaction has read is no answer');
	is(changes($sim), '17 active', 'an id below one that was read: the rollback revokes no other token');
	$sim->reset;
	like(said($session, $sql{INSERT}), qr/^17\|/,
		'what earlier transactions have read proves nothing, for GitLab may be a restored one');

	# of an answer that comes when the statement is cancelled
	$sim->reset;
	$sim->fault('POST', 'tokens', 'edit', set => { id => 1 });
	$sim->latency(3000);
	$session->send($sql{INSERT});
	$sim->wait_for('POST', 'tokens');
	signal_backend($session, 'INT');
	my $canceled = said_later($session);
	$sim->latency(0);
	like($canceled, qr/ERROR:  57014/, 'a creation is cancelled');
	like($canceled, qr/WARNING:  01L\d\d: a personal access token may have been created/,
		'the id of the API token is no answer to a creation that was cancelled');
	is(changes($sim), '17 active', 'the rollback of a creation that was cancelled revokes no other token');

	# of one that the transaction has made itself
	$sim->reset;
	$sim->fault('POST', 'tokens', 'edit', nth => 2, set => { id => 17 });
	like(said($session, "BEGIN; $sql{INSERT}; $sql{UPDATE}; COMMIT"), qr/ERROR:  08P01: .*answer was lost/,
		'the id of a token of the same transaction is no answer');
	$sim->clear_faults;
	return;
}

# Bytes as the body of a fault.
sub bytes { return (base64 => JSON::PP::true(), body => encode_base64($_[0])) }

# The old token is dead: a secret that has come counts, whatever is odd about the rest.
sub test_odd_answers
{
	my $deep = [];

	$deep = [$deep] foreach 1 .. 30;
	my $secret = 'glpat-of-an-odd-answer';
	my $said_as = qq("token":"$secret","id":17);
	my $packed;
	gzip(\"{$said_as}" => \$packed) or die $GzipError;
	foreach my $case (
		[ 'another media type', 'The answer is not JSON', 'edit', content_type => 'application/vnd.api+json' ],
		[ 'the media type of text', 'The answer is not JSON', 'edit', content_type => 'text/plain' ],
		[ 'a deep member', q{The answer's JSON is nested too deeply}, 'edit', set => { extra => $deep } ],
		[ 'a deep member in place of the name', q{The answer's JSON is nested too deeply, and differs in the field "name"}, 'edit', set => { name => $deep } ],
		[ 'a member that is no JSON', q{The answer is not valid JSON.*}, 'body', body => qq({"odd":'x', $said_as, "more":tru, "brace":"}"}) ],
		[ 'no end', q{The answer is not valid JSON.*}, 'body', body => qq({$said_as,"name":"ali) ],
		[ 'something behind the end', q{The answer is not valid JSON.*}, 'body', body => qq({$said_as}]) ],
		[ 'bytes behind the end of gzip', q{The answer is not complete.*}, 'body', bytes($packed . 'more'), headers => { 'Content-Encoding' => 'gzip' } ])
	{
		my ($what, $problem, $kind, %fault) = @$case;
		my $arm = sub {
			$sim->reset;
			$sim->fault('POST', 'rotate', $kind, moment => 'after', %fault);
		};
		my $shown = $kind eq 'edit' ? qr/glpat-\S+/ : $secret;

		$arm->();
		my $said = said($session, $sql{native} =~ s/RETURNING.*/RETURNING id, token/r);
		like($said, qr/^17\|$shown$/m, "native: the row comes back with $what");
		like($said, qr/WARNING:  01L16: the rotation of personal access token 2 to 17 .*\nDETAIL:  $problem\.\n/, "native: a warning names $what");
		unlike($said, qr/ERROR/, "native: $what is no error");
		is(changes($sim), '2 revoked, 17 active', "native: after $what, GitLab has rotated");

		$problem =~ s/, and differs.*//;
		$arm->();
		$said = said($session, q{CALL gitlab_pat_rotate_self('gitlab')});
		like($said, qr/^17\|/m, "gitlab_pat_rotate_self() takes an answer with $what");
		like($said, qr/WARNING:  01L16: .*\nDETAIL:  $problem\. GitLab has revoked token 1 in favor of 17, which is stored\.\n/,
			"gitlab_pat_rotate_self() names both ids in a warning of $what") if $kind eq 'edit';
		my $stored = $node->safe_psql('postgres', q{SELECT option_value FROM pg_user_mappings, pg_options_to_table(umoptions) WHERE srvname = 'gitlab' AND option_name = 'token'});
		like($stored, qr/^$shown$/, "gitlab_pat_rotate_self() stores the secret of an answer with $what");
		isnt($stored, 'glpat-sim-admin', "gitlab_pat_rotate_self() does not keep the old secret after an answer with $what");
		said($session, q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
	}

	# what has no secret is lost as ever, and a token that existed before is not believed
	$sim->reset;
	$sim->fault('POST', 'rotate', 'edit', content_type => 'text/html', remove => ['token']);
	like(said($session, $sql{native}), qr/ERROR:  08P01: .*answer was lost/, 'native: an odd answer without a secret is lost');
	$sim->reset;
	$sim->fault('POST', 'rotate', 'edit', content_type => 'text/html', set => { id => 1 });
	my $said = said($session, $sql{native});
	like($said, qr/WARNING:  01L16: .* 2 to 1 on server .*\nDETAIL:  The answer is not JSON, and differs in the field "id"\./,
		'native: an odd answer about a token that existed before is named as such');
	like(slurp_file($node->logfile), qr/LOG:  personal access token 2 replaced by one whose id is not known, and revoked/,
		'native: an id that an odd answer repeats is not believed');

	# bounds hold: neither the size nor the depth of an odd answer brings a backend down
	foreach my $body ('[' x 200_000, '{"a":' x 100_000, qq({"a":) . '[' x 100_000 . qq(,$said_as}), '{"token":{"token":"x"}}', '{' . '"a":1,' x 200_000 . "$said_as}")
	{
		$sim->reset;
		$sim->fault('POST', 'rotate', 'body', moment => 'after', body => $body);
		like(said($session, $sql{native}), qr/ERROR:  08P01: .*answer was lost|WARNING:  01L16/, 'native: a huge answer ends the statement, or its secret is found');
	}
	$sim->clear_faults;
	return;
}

# Where GitLab wants an expiry, it gives one.
sub test_no_expiry
{
	my $sql = 'UPDATE %s SET expires_at = NULL WHERE id = 7 RETURNING id, token IS NOT NULL';

	$sim->reset;
	$sim->fault('POST', 'rotate', 'edit', set => { created_at => 'yesterday' });
	my $said = said($session, $sql{native});
	like($said, qr/^17\|alice api\|t$/m, 'a date that cannot be read does not cost the secret of a native rotation');
	like($said, qr/WARNING:  01L16: .*"created_at"/s, 'a date that cannot be read is named');

	$sim->reset;
	like(said($session, sprintf $sql, 'tokens'), qr/ERROR:  08P01: .*DETAIL:  The new token 17 differs in the field "expires_at"/s,
		'an expiry that nobody asked for is an error');
	is(changes($sim), '17 revoked', 'a token without expiry stays when its successor gets one');
	$sim->reset;
	like(said($session, sprintf $sql, 'native_tokens'), qr/^17\|t\n.*WARNING:  01L16: .*"expires_at"/ms,
		'an expiry that nobody asked for is a warning after a native rotation');
	return;
}

# --- variables -----------------------------------------------------------------------

# A flag that was asked for and is not set is an error, and the variable is restored.
sub test_variables
{
	$node->safe_psql('postgres', 'IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_project_variables) FROM SERVER gitlab INTO answers');
	foreach my $case (
		[ 'INSERT masked', 'masked', 'POST',
			"INSERT INTO gitlab_project_variables (project, key, value, masked) VALUES ('acme/app', 'NEW', 'long-enough', true)",
			masked => JSON::PP::false() ],
		[ 'INSERT hidden', 'masked_and_hidden', 'POST',
			"INSERT INTO gitlab_project_variables (project, key, value, hidden) VALUES ('acme/app', 'NEW', 'long-enough', true)",
			hidden => JSON::PP::false(), value => 'long-enough' ],
		[ 'UPDATE protected', 'protected', 'PUT',
			"UPDATE gitlab_project_variables SET protected = true WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'",
			protected => JSON::PP::false() ],
		[ 'UPDATE value', 'value', 'PUT',
			"UPDATE gitlab_project_variables SET value = 'another-one' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'",
			value => 'old-deploy-pat' ],
		[ 'UPDATE type', 'variable_type', 'PUT',
			"UPDATE gitlab_project_variables SET variable_type = 'file' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'",
			variable_type => 'env_var' ])
	{
		my ($what, $field, $method, $sql, %set) = @$case;

		$sim->reset;
		my $before = join ' ', sort map { "$_->{key}=$_->{value}" } $sim->variables;
		$sim->fault($method, 'variables', 'edit', set => \%set);
		my $said = said($session, $sql);

		like($said, qr/ERROR:  08P01: could not .*: GitLab has stored something else\nDETAIL:  Its answer differs in the field "$field"\./,
			"$what: an answer that differs is an error");
		is(join(' ', sort map { "$_->{key}=$_->{value}" } $sim->variables), $before, "$what: the variables are as they were");
		$sim->clear_faults;
		unlike(said($session, $sql), qr/ERROR/, "$what: an answer that is as sent is none");
	}

	# a DELETE is answered by its status alone
	$sim->reset;
	$sim->fault('DELETE', 'variables', 'body', moment => 'after', status => 200,
		body => '{"key":"OTHER","value":"x","environment_scope":"production"}');
	is(said($session, "DELETE FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'; SELECT 'alive'"),
		'alive', 'DELETE: an answer that names another variable harms nothing');
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), undef, 'DELETE: the variable is gone after an answer that names another one');
	$sim->clear_faults;
	return;
}

# The variables of the simulator, for comparing.
sub variables { return join ' ', sort map { "$_->{owner}/$_->{key}/$_->{environment_scope}=" . ($_->{value} // '') } $sim->variables }

# An answer that does not show what was sent is no sign that GitLab has stored it, whether
# it has or not.
sub test_doubtful_writes
{
	my $text = sub { return (body => $_[0], status => $_[1] // 200) };
	my $deliver = "WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING token)
		UPDATE gitlab_project_variables v SET value = new.token FROM new
			WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT' RETURNING 'delivered'";
	my $create = "WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING token)
		INSERT INTO gitlab_project_variables (project, key, value, masked) SELECT 'acme/app', 'N', token, true FROM new";
	my $instance = "WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING token)
		INSERT INTO gitlab_instance_variables (key, value) SELECT 'N', token FROM new";
	my $all = '"protected":false,"masked":true,"hidden":false,"raw":false,"description":null,"variable_type":"env_var"';

	$node->safe_psql('postgres', 'IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_instance_variables) FROM SERVER gitlab INTO answers');
	foreach my $case (
		[ 'PUT', $deliver, '204 without a body', 'lacks', 'key', status => 204, body => '' ],
		[ 'PUT', $deliver, 'an empty object', 'lacks', 'key', $text->('{}') ],
		[ 'PUT', $deliver, 'an empty array', 'lacks', 'key', $text->('[]') ],
		[ 'PUT', $deliver, 'an array with the variable', 'lacks', 'key', $text->('[{"key":"DEPLOY_PAT"}]') ],
		[ 'PUT', $deliver, 'a key that is a number', 'differs in', 'key', $text->('{"key":17,"value":"x"}') ],
		[ 'PUT', $deliver, 'the key alone', 'lacks', 'value', $text->('{"key":"DEPLOY_PAT"}') ],
		[ 'PUT', $deliver, 'a value that is null', 'differs in', 'value', $text->(qq({"key":"DEPLOY_PAT","value":null,"environment_scope":"*",$all})) ],
		[ 'PUT', $deliver, 'a value that is hidden all at once', 'differs in', 'value', $text->('{"key":"DEPLOY_PAT","value":null,"environment_scope":"*","hidden":true}') ],
		[ 'PUT', $deliver, 'the old value', 'differs in', 'value', $text->(qq({"key":"DEPLOY_PAT","value":"old-deploy-pat","environment_scope":"*",$all})) ],
		[ 'POST', $create, '204 without a body', 'lacks', 'key', status => 204, body => '' ],
		[ 'POST', $create, 'an empty object', 'lacks', 'key', $text->('{}', 201) ],
		[ 'POST', $create, 'an empty array', 'lacks', 'key', $text->('[]', 201) ],
		[ 'POST', $create, 'a key and a scope', 'lacks', 'value', $text->('{"key":"N","environment_scope":"*"}', 201) ],
		[ 'POST', $instance, '204 without a body', 'lacks', 'key', status => 204, body => '' ],
		[ 'POST', $instance, 'a key alone', 'lacks', 'value', $text->('{"key":"N"}', 201) ])
	{
		my ($method, $sql, $what, $verb, $field, %answer) = @$case;

		foreach my $moment (qw(before after))
		{
			my $name = ($sql eq $instance ? 'instance, ' : '') . "$method, $what, $moment the write is done";

			$sim->reset;
			my $before = variables();
			$sim->fault($method, 'variables', 'body', moment => $moment, %answer);
			my $said = said($session, $sql);
			like($said, qr/ERROR:  08P01: could not (?:change|create) .* on server "gitlab": GitLab.*\nDETAIL:  Its answer $verb the field "$field"\./,
				"$name: the commit fails");
			unlike($said, qr/WARNING/, "$name: nothing is in doubt after the rollback");
			is(variables(), $before, "$name: the variables are as they were");
			is(changes($sim), '17 revoked', "$name: the old token lives, and the new one is revoked");
		}
	}

	# What is not answered for a hidden variable, and for one whose description goes, is no lack.
	$sim->reset;
	unlike(said($session, "UPDATE gitlab_project_variables SET value = 'another-secret' WHERE project = 'acme/app' AND key = 'HIDDEN_TOKEN'"),
		qr/ERROR/, 'the value of a hidden variable need not be answered');
	is($sim->variable_value('project acme/app', 'HIDDEN_TOKEN'), 'another-secret', 'the hidden variable has its value');
	$sim->fault('PUT', 'variables', 'edit', remove => ['description']);
	unlike(said($session, "UPDATE gitlab_project_variables SET description = NULL WHERE project = 'acme/app' AND key = 'CONFIG'"),
		qr/ERROR/, 'a description that is removed need not be answered');

	# A rollback does not believe everything either.
	$sim->reset;
	$sim->fault('PUT', 'DATABASE_URL', 'status', status => 400);
	$sim->fault('PUT', 'DEPLOY_PAT', 'body', nth => 2, status => 204, body => '');
	my $said = said($session, "BEGIN; UPDATE gitlab_project_variables SET value = 'one-that-is-new' WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
		UPDATE gitlab_project_variables SET value = 'x' WHERE project = 'acme/app' AND key = 'DATABASE_URL' AND environment_scope = '*'; COMMIT");
	like($said, qr/WARNING:  01L08: could not restore project variable "DEPLOY_PAT" of "acme\/app" on server "gitlab"\nDETAIL: .* GitLab's answer does not show that it has restored the variable\./,
		'a rollback warns if an answer does not show the old value');
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), 'one-that-is-new', 'the value that the warning is about is there');
	$sim->clear_faults;
	return;
}

# --- the clock -----------------------------------------------------------------------

sub iso { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_[0]) }
sub day { return strftime('%Y-%m-%d', gmtime $_[0]) }

sub test_clock
{
	my $insert = q{INSERT INTO tokens (user_id, name, scopes, expires_at) VALUES (2, 'new', '{api}', '%s') RETURNING token <> ''};
	my $midnight = 86400 * (1 + int(time / 86400));

	# GitLab is a day ahead, by less than 24 hours
	foreach my $known (0, 1)
	{
		my $fresh = open_session($node, 'answers', verbosity => 'verbose');

		$sim->reset;
		$sim->control('POST', 'clock', undef, { now => iso($midnight + 60) });
		said($fresh, 'SELECT name FROM tokens WHERE id = 2') if $known;
		my $said = said($fresh, sprintf $insert, day($midnight));

		if ($known)
		{
			like($said, qr/ERROR:  22023: "expires_at" must be in the future\nDETAIL: .*today is ${\day($midnight)} \(UTC\)/,
				"GitLab's day decides what is in the future");
			is($sim->count(method => 'POST'), 0, 'a date that is past at GitLab is not sent');
		}
		else
		{
			unlike($said, qr/^t$/m, 'a token that is dead at birth is not delivered before the clock is known');
		}
		like(said($fresh, sprintf $insert, day($midnight + 86400)), qr/^t$/m, 'the day after is in the future');
		$fresh->close;
	}

	# The SELECT of a lost answer looks by GitLab's clock, be it known or not.
	foreach my $known (0, 1)
	{
		my $fresh = open_session($node, 'answers', verbosity => 'verbose');

		$sim->reset;
		$sim->control('POST', 'clock', undef, { now => iso(time - 300) });
		said($fresh, 'SELECT name FROM tokens WHERE id = 2') if $known;
		$sim->fault('POST', 'tokens', 'reset', moment => 'after');
		my ($select) = said($fresh, sprintf $insert, day($midnight + 86400 * 9)) =~ /(SELECT \* FROM .*);/;

		is(said($fresh, $select =~ s/\*/name/r), 'new',
			'the SELECT of a lost answer finds the token of a GitLab five minutes behind, ' . ($known ? 'known' : 'unknown'));
		$fresh->close;
	}

	# GitLab is behind: there, our today is in the future; or it is ahead.
	foreach my $case ([ -60, 0, 1 ], [ 86400 + 60, 86400, 0 ])
	{
		my ($now, $expiry, $taken) = @$case;
		my $today = $midnight - 86400;
		my $fresh = open_session($node, 'answers', verbosity => 'verbose');

		$sim->reset;
		$sim->control('POST', 'clock', undef, { now => iso($today + $now) });
		my $said = said($fresh, "CALL gitlab_pat_rotate_self('gitlab', '${\day($today + $expiry)}')");
		like($said, $taken ? qr/\A\d+\|/ : qr/ERROR:  22023: "expires_at" must be in the future\nDETAIL: .*today is ${\day($midnight)}/,
			"gitlab_pat_rotate_self() goes by GitLab's day, " . ($taken ? 'behind' : 'ahead of') . " PostgreSQL's");
		is($sim->count(method => 'POST'), $taken, "gitlab_pat_rotate_self() sends what has a future at GitLab, and nothing else");
		said($fresh, q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
		$fresh->close;
	}

	# What cannot be is ignored.
	my $fresh = open_session($node, 'answers', verbosity => 'verbose');
	$sim->reset;
	$sim->control('POST', 'clock', undef, { now => iso(time + 86400 * 3) });
	said($fresh, 'SELECT name FROM tokens WHERE id = 2');
	my $said = said($fresh, sprintf $insert, day($midnight + 86400 * 9));
	like($said, qr/WARNING:  01L17: the clock of server "gitlab" is more than a day off, and is ignored\n/,
		'a clock that is days off is ignored with a warning');
	unlike(said($fresh, sprintf $insert, day($midnight + 86400 * 9)), qr/WARNING/, 'the warning comes once a connection');
	$fresh->close;
	$sim->reset;
	return;
}
