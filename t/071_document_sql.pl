# The SQL in the documents works as it stands there.
#
# Each document is run from its first statement to its last, in one session of
# psql, and what it says comes out has to come out.  The recipes of doc/cookbook.md and
# the second half of doc/tutorial.md go on where scripts/quickstart.sql ends.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Cwd qw(abs_path);
use Document;
use GitLabCluster;
use GitLabSim;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);

# Documents whose SQL is run elsewhere.
my %elsewhere = (
	'doc/delivery.md' => 't/042_delivery_recipes.pl',
	'doc/dashboards.md' => 't/061_dashboard_views.pl',
	'doc/recipes.md' => 't/060_recipes.pl',
	'doc/reports.md' => 't/023_reports.pl',
	'doc/versions.md' => 't/014_versions.pl and t/050_upgrade.pl');

# Throwaway; nobody has its private part.
my $public_key = <<'KEY';
-----BEGIN PGP PUBLIC KEY BLOCK-----

mQENBGsJj+IBCADXiTIKCdHMKdjpgsDZEUW0h0WvvyUD8yZtIr8rmBc766yFSefK
VVTjzJiVf0fL4527w4W9LWQ0S5qDaV3rA1HCsutuL/HDA2p6KTQati/OOLq81HfM
DyOdP9/2nDfcZz7lsToTnbpX/+It4yIYUpAwEgim7I794aZHnN3vAo8QEBtNeRkW
00mS6X6quGnunlHyOFkPY20uF68xULcjGLJUm1EGLgG/42qrhlfPZ7ncdCDFWo7C
OdE9zYrP5LosQjkZcA9QyIGXn5l3VIKHue3uAMayY+qeXII1akBkWB4zzWOyIYvn
hZcSbriuepKJGacb1Vb5zL9TvWhhwiRljXjHABEBAAG0BHRlc3SJAU4EEwEKADgW
IQSwrIq1Hlvzgr6WlRDcKnNhK4dwjgUCawmP4gIbAQULCQgHAgYVCgkICwIEFgID
AQIeAQIXgAAKCRDcKnNhK4dwjpUSB/9WOWs0wFPHUlL9vGms1AdRz1cP4EuUV/L7
jUWL7gjx/ZpGhrsOyVPcGHGgQGaT7BVAwJMEFKCiaRRP4pQZMd6AhyahIjavPHFt
Kn5a/iejo13Di0vS3+c8vUmmagv8yuBDUuMJ7VnnrvFuFJhz9ES+cRl8afvMhzmp
ZXLanvVCdxFwFzbuawe+ieoxNYGgc8GMVCKewycZ76M6n931Z7LELsFpo8hBdQ/B
R+e8tNquoDES+2f91svN6XnrRXH4Z20RnwEaMV9/w/kwDLK89Zw1JrVZirOAHcSN
IkvBf6839+KZXCBa6xFmj7Hu0bXrPPJJe46c2cbnJZFfe3dAl7c7uQENBGsJj+IB
CADjCuxe5QVfQp3ZfTzpcHSEB42Ju7eoWpVtEf/gjlVvYjiW5lUN2C7loWRxOwEF
kt4aMWmDB9kYemIlNjyB8UwA1PEfeR+9lG+bYTx5CcEPubZymQumWtnuviejOYT/
DHqlKua6oRoCwm69BWAk0ixfkJfcvc6XYl9kk/1rM0juoNRHMYOR5D6ULR2GYASg
5cE8C/G7AfsHRHkC8Ws3BRp5iLSHuv+z9B2abGeIpOpBUxqHmMEibKlO9sHeNdnk
aHD6Ca2ELLM+5nFX+k0v0bPXqgEtaBOOy22Hjt9DEWftxcEKrvBvW0wEE3x0R819
u2yrUPtSaX4vicrizFWOQzPzABEBAAGJATYEGAEKACAWIQSwrIq1Hlvzgr6WlRDc
KnNhK4dwjgUCawmP4gIbDAAKCRDcKnNhK4dwjv+bB/9IOMhdG9phmCtmUscKjff7
mBYJAieJG7lFDXsI+/rx/mlUS8ofq+zahgi8B5WTW+E4ESuwOjEyj9ro1dpw1ncs
BLsxS+z3WOjVYZjboR+vEAtR8zvhU3gJI1iLBLJNkF3caGEj9ph8o4dmqnWiHZy9
ZiZXc2AjPVoXOBZDU7qCtRDAEYRpNxib+jX5Vrh7Ge3+7gKKdsd+xgRsaURocuXq
B8I4tXivnQPJvvzDhkuvrkL/ZakV0oFZKaLhdjBlfls7BPmxFp6SgGz9sAn9fT33
Xbuwg8ChDCmgYWHFlsCzL8XJEpLTbVaVXwnpt7kekfkw7yUqdD9eGgWt0ON6By3h
=4PBg
-----END PGP PUBLIC KEY BLOCK-----
KEY

my $root = abs_path("$FindBin::RealBin/..");
my $sim = GitLabSim->start(dates => 'today');
my $node = PostgreSQL::Test::Cluster->new('main');
my %documents = map { s{^\Q$root\E/}{}r => Document->read($_) }
  "$root/README.md", glob("$root/doc/*.md");
my %run;

$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_statement = none\n");
$node->start;
$ENV{GITLAB_SIM_URL} = $ENV{GITLAB_URL} = $sim->url;
$ENV{GITLAB_TOKEN} = 'glpat-sim-admin';
$ENV{PSQL_PAGER} = '';
chdir $root or die "$root: $!";

test_quickstart();
test_tutorial();
test_cookbook();
test_transactions();
test_security();
test_setting_up();
test_performance();
test_limitations();
test_terraform();
test_operations();
test_reference();
test_not_an_administrator();
test_all_run();
done_testing();

# --- running ----------------------------------------------------------------------

# Runs texts in one session of psql; returns what was said to each, errors
# included.
sub session
{
	my ($database, @texts) = @_;
	my $mark = '-- what follows is said to number';
	my $input = join '', map { "$texts[$_]\n\\echo $mark $_\n" } 0 .. $#texts;
	my $said = '';

	$input =~ s/\b(token|TOKEN) 'glpat-\.\.\.'/$1 '$ENV{GITLAB_TOKEN}'/g;
	$input =~ s/^glpat-\.\.\.$/$ENV{GITLAB_TOKEN}/gm;
	$input =~ s{https://gitlab\.(?:example\.)?com}{$ENV{GITLAB_URL}}g;
	IPC::Run::run(
		[ $node->installed_command('psql'), '-X', '-d', $node->connstr($database) ],
		'<', \$input, '>&', \$said,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my @said = split /^\Q$mark\E \d+\n/m, $said, -1;

	is(scalar @said, @texts + 1, 'psql runs each block of SQL to its end') or diag($said);
	return @said[ 0 .. $#texts ];
}

# In a form that can be compared.  Dates of one year before and after the day that
# the text was written on become days from there; what differs between
# runs, and between versions of PostgreSQL and psql, goes.
sub normalized
{
	my ($text, $today) = @_;

	$text =~ s{\b(\d{4})-(\d\d)-(\d\d)\b}{
		my $days = (timegm(0, 0, 0, $3, $2 - 1, $1) - $today) / 86400;
		abs($days) <= 370 ? "day $days" : $&}ge;
	$text =~ s{http://127\.0\.0\.1:\d+}{http://127.0.0.1:port}g;
	$text =~ s{(?<=request ID )(?:\w+|\.\.\.)}{...}g;
	$text =~ s{\bactual time=[\d.]+ rows=(\d+)\S*}{actual rows=$1}g;
	$text =~ s{\b\d+(?:\.\d+)? ms\b}{... ms}g;
	$text =~ s{^ +(?:Buffers|Planning):.*\n}{}gm;
	$text =~ s{^\(\d+ rows\)\n}{}gm if $text =~ /QUERY PLAN/;
	$text =~ s{^-[-+]*$}{-}gm;
	$text =~ s{ +}{ }g;
	$text =~ s{^ | $}{}gm;
	$text =~ s{\n+}{\n}g;
	return $text;
}

# As of now, and as of when the document says that it was run.
sub as_run { return normalized($_[0], 86400 * int(time / 86400)) }

sub as_written
{
	my ($document, $text) = @_;

	slurp_file($document->{file}) =~ /output is from a run\s+on\s+(\d{4})-(\d\d)-(\d\d)\b/
	  or return as_run($text);
	return normalized($text, timegm(0, 0, 0, $3, $2 - 1, $1));
}

# Runs the SQL in some sections of a document, in order.  The block after one of
# SQL is what it says; without one, it must not fail.  Returns what was said, by
# title; substitutions is an array of pairs, pattern and text.
sub run_sections
{
	my ($name, $database, $titles, %options) = @_;
	my $document = $documents{$name};
	my (@texts, @expected, @where, %said);

	foreach my $title (@$titles)
	{
		my @blocks = @{ $document->section($title)->{blocks} };

		foreach my $i (grep { $blocks[$_]{language} eq 'sql' } 0 .. $#blocks)
		{
			my $next = $blocks[ $i + 1 ];

			push @texts, $blocks[$i]{text};
			push @expected, $next && $next->{language} eq '' ? $next->{text} : undef;
			push @where, "$name, line $blocks[$i]{line}: $title";
			$run{"$name $blocks[$i]{line}"} = 1;
		}
	}
	my @said = session($database, @texts);

	foreach my $i (0 .. $#texts)
	{
		if (defined $expected[$i])
		{
			is(as_run($said[$i]), as_written($document, $expected[$i]), $where[$i]);
		}
		else
		{
			unlike($said[$i], qr/^(?:ERROR|FATAL|WARNING|psql|invalid command)/m, $where[$i]);
		}
		$said{ $where[$i] =~ s/.*?: //r } .= $said[$i];
	}
	return %said;
}

sub query
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database // 'quickstart', $sql);
}

sub states { return join ' ', map { $sim->token_state($_) } @_ }

# The token whose secret a variable holds.
sub held_by
{
	my ($project, $key) = @_;
	my ($variable) = grep { $_->{owner} eq "project $project" && $_->{key} eq $key } $sim->variables;

	return $variable->{token_id};
}

# Is that the secret of this active token?
sub is_secret_of
{
	my ($secret, $id, $what) = @_;
	my ($token) = grep { $_->{id} == $id } $sim->tokens;

	ok($token && $token->{state} eq 'active' && $secret eq $token->{token}, $what);
	return;
}

sub all_titles
{
	return map { $_->{title} } grep { grep { $_->{language} eq 'sql' } @{ $_->{blocks} } }
	  @{ $documents{ $_[0] }{sections} };
}

# --- the quickstart, and what goes on where it ends ---------------------------------

# What the tour shows, from the first statement to the last, is what the first
# half of the tutorial says.
sub test_quickstart
{
	my ($transcript, $written) = ('', '');

	query('CREATE DATABASE quickstart', 'postgres');
	IPC::Run::run(
		[ $node->installed_command('psql'), '-X', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr('quickstart'), '-f', "$root/scripts/quickstart.sql" ],
		'>&', \$transcript) or fail('the tour runs');
	foreach my $section (@{ $documents{'doc/tutorial.md'}{sections} })
	{
		last if $section->{title} eq 'Going on by hand';
		$written .= $_->{text} foreach @{ $section->{blocks} };
	}
	# its comments are the text around the blocks
	$transcript =~ s/^-- .*\n//gm;
	is(as_run("\n$transcript"), as_written($documents{'doc/tutorial.md'}, "\n$written"),
		'doc/tutorial.md: the tour gives the output that is shown');
	return;
}

sub test_tutorial
{
	# their order among each other is the order of the document
	run_sections('doc/tutorial.md', 'quickstart', [ all_titles('doc/tutorial.md') ]);
	is(states(7, 19, 20), 'revoked revoked active', 'doc/tutorial.md: GitLab has the right tokens at its end');
	return;
}

# In place of pg_cron, which another test has: notes the jobs.
sub create_cron
{
	my ($database) = @_;

	query(q{
		CREATE SCHEMA cron;
		CREATE TABLE cron.job (jobid serial, jobname text, schedule text, command text);
		CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS bigint
		BEGIN ATOMIC
			INSERT INTO cron.job (jobname, schedule, command)
				VALUES (job_name, schedule, command) RETURNING jobid;
		END}, $database);
	return;
}

sub run_job
{
	my ($name, $database) = @_;

	query(query("SELECT command FROM cron.job WHERE jobname = '$name'", $database), $database);
	return;
}

sub test_cookbook
{
	my @titles = all_titles('doc/cookbook.md');
	my $step = sub { return run_sections('doc/cookbook.md', 'quickstart', [ shift @titles ]) };
	my %said;

	create_cron();
	run_sections('README.md', 'quickstart', ['gitlab_pat_fdw']);
	is($titles[0], 'A table for secrets', 'the cookbook begins with the table for secrets');
	$step->();

	%said = $step->();
	like($said{ (keys %said)[0] }, qr/^ project_1_bot_a1b2c3 \| +9 \|.*\n(?:.*\n){4}\(5 rows\)/m,
		'the cookbook finds five tokens that expire soon, that of the bot first');
	%said = $step->();
	my $next = day(200);
	like($said{ (keys %said)[0] }, qr/^ frank +\| f +\| +2 \| $next$/m, 'the cookbook counts the tokens of each owner');

	$step->();
	my $old = query(q{SELECT id FROM secrets WHERE name = 'deploy'});
	is_secret_of(query(q{SELECT secret FROM secrets WHERE name = 'deploy'}), $old, 'the cookbook creates a token and stores its secret');
	$step->();
	my $new = query(q{SELECT id FROM secrets WHERE name = 'deploy'});
	is_secret_of(query(q{SELECT secret FROM secrets WHERE name = 'deploy'}), $new, 'the cookbook rotates a token and stores its secret');
	is(states($old), 'revoked', 'the rotation of the cookbook revokes the old token');

	$step->();
	is(states(3, held_by('acme/app', 'DEPLOY_PAT')), 'revoked active', 'the cookbook rotates a token and delivers it into a CI/CD variable');

	my $held = held_by('acme/app', 'DEPLOY_PAT');
	$step->();
	run_job('rotate tokens');
	is(held_by('acme/app', 'DEPLOY_PAT'), $held, 'the job finds nothing that is due');
	$sim->control('PATCH', "tokens/$held", undef, { expires_at => day(13) });
	run_job('rotate tokens');
	my $newer = held_by('acme/app', 'DEPLOY_PAT');
	is(states($held, $newer), 'revoked active', 'the job rotates what is due, and delivers it');

	%said = $step->();
	is(states(2, 3, 8, 13, $newer), 'revoked revoked revoked revoked revoked', 'the cookbook revokes all tokens of alice');

	$step->();
	is(states(12), 'revoked', 'the adopted token was rotated');
	my ($adopted) = query(q{SELECT id FROM secrets WHERE name LIKE 'deploy  %'});
	is_secret_of(query("SELECT secret FROM secrets WHERE id = $adopted"), $adopted, 'the secret of the adopted token is stored');

	%said = $step->();
	is(states(1), 'revoked', 'the own token was rotated');
	run_job('rotate own token');
	is(query(q{SELECT expires_at - current_date, sees_all_tokens FROM gitlab_pat_self('gitlab')}),
		'90|t', 'the job rotates the own token again');

	$step->();
	is(query(q{SET ROLE deployers; SELECT array_agg(id) FROM deploy_tokens}), '{11}', 'the view of a team shows its tokens');

	is(scalar @titles, 0, 'all recipes of the cookbook were run');
	run_sections('doc/statements.md', 'quickstart', [ all_titles('doc/statements.md') ]);
	like(
		query(q{UPDATE gitlab_native_tokens SET expires_at = current_date + 30 WHERE id = 16 RETURNING token}),
		qr/^glpat-/, 'the table for native rotation works');
	return;
}

sub day
{
	my ($days) = @_;

	return POSIX::strftime('%Y-%m-%d', gmtime(time + 86400 * $days));
}

sub test_transactions
{
	my %said = run_sections('doc/transactions.md', 'quickstart', [ all_titles('doc/transactions.md') ]);

	like($said{'After a crash'}, qr/^ +\d+ \| root +\| administrator/m,
		'the own token was rotated, and is not in the table of secrets');
	return;
}

# --- from an empty database -----------------------------------------------------------

# What stands in a document before it can be run: a database, in which everything
# is set up unless the document does that itself.
sub create_database
{
	my ($name, $set_up) = @_;

	$sim->reset;
	query("CREATE DATABASE $name", 'postgres');
	gitlab_database($node, $name, $sim) if $set_up;
	return;
}

sub test_setting_up
{
	create_database('by_hand');
	my %said = run_sections('README.md', 'by_hand', ['Quickstart']);

	like($said{Quickstart}, qr/^ +1 \| +1 \| administrator +\|.*\| t$/m, 'the setup by hand works');
	query('DROP USER MAPPING FOR CURRENT_USER SERVER gitlab', 'by_hand');
	query(q{ALTER DATABASE by_hand SET log_statement = 'all'}, 'by_hand');
	my $size = -s $node->logfile;

	run_sections('README.md', 'by_hand', ['Creating the user mapping']);
	is(query(q{SELECT name FROM gitlab_pat_self('gitlab')}, 'by_hand'), 'administrator',
		'the recipe for the user mapping stores the token');
	my $logged = slurp_file($node->logfile, $size);

	like($logged, qr/statement: SELECT name FROM gitlab_pat_self/, 'statements are logged');
	unlike($logged, qr/glpat-sim-admin/, 'the log has no token of the recipe for the user mapping');
	return;
}

sub test_security
{
	create_database('security', 'set up');
	SKIP:
	{
		skip 'pgcrypto is not installed', 1
		  unless query(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pgcrypto'}, 'postgres');
		query(qq{
			CREATE EXTENSION pgcrypto;
			CREATE TABLE vault_key (armored text);
			INSERT INTO vault_key VALUES ('$public_key');
			CREATE TABLE secrets (id bigint, secret bytea)}, 'security');
		# nobody has that number in the simulator
		$sim->control('POST', 'users', undef, { id => 25, username => 'gina' });
		run_sections('doc/security.md', 'security', ['Who can see the secrets of new tokens']);
		is(query(q{SELECT count(*) FROM secrets WHERE pgp_key_id(secret) = '7DC24B28C9598182'}, 'security'), 1,
			'the secret is encrypted');
	}
	run_sections('doc/security.md', 'security', ['A secret was found']);
	run_sections('doc/security.md', 'security', ['An audit table']);
	query(q{
		INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (8, 'audited', '{api}');
		UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 9 WHERE name = 'audited';
		DELETE FROM gitlab_personal_access_tokens WHERE name = 'audited' AND active;}, 'security');
	is(query(q{SELECT string_agg(concat_ws(' ', session_user_name, command, new_id > old_id, owner, name, scopes), ', '
			ORDER BY at) FROM token_changes}, 'security'),
		'postgres INSERT 8 audited {api}, postgres UPDATE t 8 audited {api}, postgres DELETE 8 audited {api}',
		'the audit table has who did what');
	query('DROP TRIGGER note_token_change ON gitlab_personal_access_tokens', 'security');
	query('CREATE ROLE deployers', 'security') unless query(q{SELECT 1 FROM pg_roles WHERE rolname = 'deployers'});
	run_sections('doc/security.md', 'security', ['Who may do what']);
	my $created = query(q{
		SET ROLE deployers;
		SELECT id FROM create_deploy_token('by function', current_date + 9)}, 'security');

	is(query('SET ROLE deployers; SELECT array_agg(id ORDER BY id) FROM deploy_tokens', 'security'),
		"{11,$created}", 'a team creates and sees its own tokens');
	return;
}

# What stands in for an upsert changes what is there and creates what is not.
sub test_limitations
{
	my $tokens = q{SELECT string_agg(user_id || ' ' || name, ', ' ORDER BY user_id)
		FROM gitlab_personal_access_tokens WHERE active AND name IN ('deploy', 'backup')};

	create_database('limitations', 'set up');
	foreach my $time (1, 2)
	{
		run_sections('doc/limitations.md', 'limitations', ['In place of ON CONFLICT and MERGE']);
		is(query($tokens, 'limitations'), '2 deploy, 8 backup', "time $time leaves one token of each name");
		is(query(q{SELECT value FROM gitlab_project_variables WHERE project = 'acme/app' AND key = 'TARGET'},
				'limitations'), 'staging', "time $time leaves one variable");
	}
	return;
}

sub test_performance
{
	my @titles = all_titles('doc/performance.md');

	is(shift @titles, 'The declared version', 'doc/performance.md begins with the declaration of a server');
	create_database('performance');
	query('CREATE EXTENSION gitlab_pat_fdw', 'performance');
	run_sections('doc/performance.md', 'performance', ['The declared version']);
	query(q{
		ALTER SERVER gitlab VERSION '17.11';
		CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (token 'glpat-sim-admin');
		IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO public}, 'performance');
	run_sections('doc/performance.md', 'performance', \@titles);
	return;
}

# --- Terraform ------------------------------------------------------------------------

sub test_terraform
{
	my $name = 'doc/terraform.md';
	my @titles = all_titles($name);
	my $move = pop @titles;

	is($move, 'Taking over from Terraform', "$name: the last section is the expected one");
	create_database('terraform');
	create_cron('terraform');
	run_sections($name, 'terraform', \@titles);
	is(states(17, 18, 19, 12), 'revoked revoked revoked active', "$name: GitLab has the right tokens");
	is_secret_of(query("SELECT secret FROM gitlab_jobs.declared_tokens WHERE name = '$_'", 'terraform'),
		query("SELECT token_id FROM gitlab_jobs.declared_tokens WHERE name = '$_'", 'terraform'), "$_: the secret of the token is stored")
	  foreach 'mirror', 'nightly';
	is(held_by('acme/app', 'APP_PAT'), 20, 'the new token is in the new variable');
	is(held_by('acme/app', 'DEPLOY_PAT'), 21, 'the rotated token is in its variable');
	is(states(3, 20, 21), 'revoked active active', 'the delivered tokens work, and the old one does not');
	test_desired_state();
	test_taking_over($name, $move);
	return;
}

# What the job has to do, besides what the document shows.
sub test_desired_state
{
	my $state = sub {
		return query(q{SELECT string_agg(name || ' ' || token_id || ' ' || expires_at - current_date, ', ' ORDER BY name)
			FROM gitlab_jobs.declared_tokens}, 'terraform');
	};

	$sim->control('PATCH', 'tokens/22', undef, { revoked => JSON::PP::true });
	$sim->control('PATCH', 'tokens/23', undef, { expires_at => day(14) });
	run_job('gitlab: apply declared tokens', 'terraform');
	is($state->(), 'mirror 25 90, nightly 24 90', 'the job creates what was revoked, and rotates what is due');
	is(states(22, 23, 24, 25), 'revoked revoked active active', 'GitLab has what the job has created and rotated');
	return;
}

# A terraform that shows a state like the provider's, with a real token of the
# simulator in it; then the document's pipe, and its SQL.
sub test_taking_over
{
	my ($name, $title) = @_;
	my ($pipe) = grep { $_->{text} =~ /^terraform show/ } @{ $documents{$name}->section($title)->{blocks} };
	my $directory = PostgreSQL::Test::Utils::tempdir;

	$sim->control('PATCH', 'tokens/14', undef, { expires_at => day(20), scopes => [ 'self_rotate', 'api' ] });
	$sim->control('PATCH', 'tokens/7', undef, { scopes => ['read_user'] });
	append_to_file("$directory/state.json", JSON::PP::encode_json(
			{
				format_version => '1.0',
				values => {
					root_module => {
						resources => [
							resource('old', '8:7', 8, ['read_user'], undef, 'glpat-sim-noexpiry'),
							{ type => 'gitlab_project', values => {} }
						],
						child_modules => [
							{ resources => [ resource('a, "b"', '10:14', 10, [ 'self_rotate', 'api' ], day(20), undef) ] }
						]
					}
				}
			}));
	append_to_file("$directory/terraform", "#!/bin/sh\n[ \"\$*\" = 'show -json' ] && cat $directory/state.json\n");
	chmod 0755, "$directory/terraform";
	local $ENV{PATH} = "$directory:$ENV{PATH}";
	local $ENV{PGDATABASE} = 'terraform';
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;

	my ($before, $after) = split /(?=INSERT INTO gitlab_jobs)/,
	  join '', map { $_->{text} } grep { $_->{language} eq 'sql' } @{ $documents{$name}->section($title)->{blocks} };
	query($before, 'terraform');
	$node->command_ok([ 'bash', '-c', "set -o pipefail; $pipe->{text}" ], 'tokens go from the state into the table');
	is( query(q{SELECT name, owner_id, id, scopes, secret FROM from_state ORDER BY id}, 'terraform'),
		qq{old|8|7|{read_user}|glpat-sim-noexpiry\na, "b"|10|14|{self_rotate,api}|}, 'the table has all that the state has');
	my ($said) = session('terraform', $after);
	unlike($said, qr/ERROR|WARNING/, 'the declaration of tokens from the state works');
	$run{"$name $_->{line}"} = 1 foreach @{ $documents{$name}->section($title)->{blocks} };
	is(states(7, 14), 'revoked revoked', 'tokens from the state are rotated');
	is_secret_of(query(q{SELECT secret FROM gitlab_jobs.declared_tokens WHERE name = 'old'}, 'terraform'),
		query(q{SELECT token_id FROM gitlab_jobs.declared_tokens WHERE name = 'old'}, 'terraform'), 'the rotated tokens from the state are stored');
	is(query('SELECT count(*) FROM gitlab_jobs.declared_plan', 'terraform'), 0, 'the job has nothing left to do for tokens from the state');
	return;
}

# A resource as "terraform show -json" has it.
sub resource
{
	my ($name, $id, $user_id, $scopes, $expires_at, $token) = @_;

	return {
		address => 'gitlab_personal_access_token.some',
		mode => 'managed',
		type => 'gitlab_personal_access_token',
		values => {
			active => JSON::PP::true, created_at => '2024-01-01 00:00:00 +0000 UTC', description => '',
			expires_at => $expires_at, id => $id, name => $name, revoked => JSON::PP::false,
			rotation_configuration => undef, scopes => $scopes, token => $token, user_id => $user_id,
			validate_past_expiration_date => JSON::PP::false
		}
	};
}

# --- operations -----------------------------------------------------------------------

sub test_operations
{
	create_database('operations', 1);
	run_sections('doc/operations.md', 'operations', [ all_titles('doc/operations.md') ]);
	is(query('SELECT count(DISTINCT foreign_table_schema) FROM information_schema.foreign_tables', 'operations'), 2,
		'each instance has its tables in a schema of its own');
	return;
}

# --- the reference --------------------------------------------------------------------

sub test_reference
{
	create_database('reference', 1);
	run_sections('doc/reference.md', 'reference', [ all_titles('doc/reference.md') ]);
	return;
}

# As alice, who is Owner of the group acme.
sub test_not_an_administrator
{
	my $name = 'doc/not_an_administrator.md';
	local $ENV{GITLAB_TOKEN} = 'glpat-sim-alice';

	create_database('owner', 0);
	create_cron('owner');
	$sim->variable_set(project => 'acme/web', key => 'BOT_PAT', value => 'to come');
	my %said = run_sections($name, 'owner', [ all_titles($name) ]);
	like($said{'Service accounts'}, qr/service_account_deploy/, "$name: the group's service account has tokens");
	is(states(9, 11), 'revoked revoked', "$name: tokens were rotated");
	my $held = held_by('acme/app', 'DEPLOY_PAT');
	my ($token) = grep { $_->{id} == $held } $sim->tokens;
	is("$token->{name} $token->{state}", 'service account active', "$name: the service account's token was delivered");

	# the first night
	$sim->control('PATCH', "tokens/$held", undef, { expires_at => day(13) });
	run_job('gitlab: rotate and deliver', 'owner');
	is(states($held, held_by('acme/app', 'DEPLOY_PAT')), 'revoked active', "$name: the job of the first night rotates and delivers");
	run_job('gitlab: rotate and deliver bots', 'owner');
	my ($bot) = grep { $_->{id} == held_by('acme/web', 'BOT_PAT') } $sim->tokens;
	is("$bot->{name} $bot->{state}", 'project bot active', "$name: the job for bots delivers the token of a project");
	is(query('SELECT count(*) FROM gitlab_jobs.rotation_state WHERE NOT failed', 'owner'), 1, "$name: the view has the state of the token");
	return;
}

# --- the end ----------------------------------------------------------------------------

# No SQL in a document is left out.
sub test_all_run
{
	my @left;

	foreach my $name (sort grep { !$elsewhere{$_} } keys %documents)
	{
		push @left, map { "$name, line $_->{line}: $_->{title}" }
		  grep { $_->{language} eq 'sql' && !$run{"$name $_->{line}"} } @{ $documents{$name}{blocks} };
	}
	is(join("\n", @left), '', 'all SQL in documents was run');
	return;
}
