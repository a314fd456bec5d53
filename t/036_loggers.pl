# What hands a secret from column to column is printed by no logger: neither by
# PostgreSQL's own nor by pgaudit, auto_explain and pg_stat_statements, with
# parameters and nested statements.  The recipes of the documents are such.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Document;
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my $sim = GitLabSim->start;
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
my @modules = grep { has_module($node, $_) } qw(pgaudit auto_explain pg_stat_statements pg_cron);
$node->append_conf(
	'postgresql.conf', qq{
	timezone = 'UTC'
	shared_preload_libraries = '@{[ join ',', @modules ]}'
	log_statement = 'none'});
$node->append_conf('postgresql.conf', "cron.database_name = 'postgres'\ncron.launch_active_jobs = off\n")
  if grep { $_ eq 'pg_cron' } @modules;
$node->start;
# The statements that set a database up have the administrator's token in them.
gitlab_database($node, 'postgres', $sim);
$node->safe_psql('postgres', "CREATE EXTENSION $_") foreach grep { $_ ne 'auto_explain' } @modules;

# From now on, everything that can be logged is.
my %settings = (
	log_statement => 'all', log_min_duration_statement => 0, log_min_messages => 'debug1',
	log_parameter_max_length => -1, log_parameter_max_length_on_error => -1,
	debug_print_plan => 'on', 'gitlab_pat_fdw.log_requests' => 'on',
	'auto_explain.log_min_duration' => 0,
	map({ ("auto_explain.$_" => 'on') } qw(log_analyze log_verbose log_triggers log_nested_statements)),
	'pg_stat_statements.track' => 'all',
	'pgaudit.log' => 'all', 'pgaudit.log_level' => 'log',
	map({ ("pgaudit.$_" => 'on') } qw(log_catalog log_parameter log_relation log_rows log_statement)));
$node->append_conf('postgresql.conf', join '', map { "$_ = '$settings{$_}'\n" } sort keys %settings);
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()')
  if grep { $_ eq 'pg_stat_statements' } @modules;
$node->restart;

my %readme = map { $_->{title} => $_ } @{ Document->read("$root/README.md")->{sections} };
my %cookbook = map { $_->{title} => $_ } @{ Document->read("$root/doc/cookbook.md")->{sections} };
my %delivery = map { $_->{title} => $_ } @{ Document->read("$root/doc/delivery.md")->{sections} };

test_cookbook();
test_deliveries();
test_jobs();
test_recipe();
test_mapping();
test_what_is_said_of_variables();
is_alive($node);
done_testing();

# Runs SQL in psql; returns what it said and what the log and the views say of it.
sub logged
{
	my ($sql) = @_;
	my $offset = -s $node->logfile;
	my $said;

	IPC::Run::run([ $node->installed_command('psql'), '-X', '-d', $node->connstr('postgres') ],
		'<', \$sql, '>&', \$said) or die "psql failed: $said";
	my $log = slurp_file($node->logfile, $offset);
	$log .= $node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements')
	  if grep { $_ eq 'pg_stat_statements' } @modules;
	return ($said, $log . $node->safe_psql('postgres', 'SELECT query FROM pg_stat_activity'));
}

# What runs has made new secrets, and no logger has printed one.
sub keeps_secrets
{
	my ($sql, $what) = @_;
	my $before = grep { defined } map { $_->{token} } $sim->tokens;
	my ($said, $log) = logged($sql);

	unlike($said, qr/^(?:ERROR|FATAL)/m, "$what: the statements run without an error");
	cmp_ok(scalar(grep { defined } map { $_->{token} } $sim->tokens), '>', $before, "$what: there are new secrets")
	  unless $what =~ /mapping/;
	like($log, qr/LOG:  statement: |AUDIT: /, "$what: its statements are logged");
	is_secretive($sim, $log, "$what: what is logged");
	return;
}

sub sql_of { return join '', map { $_->{text} } grep { $_->{language} eq 'sql' } @{ $_[0]{blocks} } }

sub test_cookbook
{
	logged(sql_of($cookbook{'A table for secrets'}));
	foreach my $title ('Create a token, and store its secret in the same statement',
		'Rotate a token, and store the new secret', 'Rotate a token, and deliver it into a CI/CD variable',
		'Adopt an existing token')
	{
		keeps_secrets(sql_of($cookbook{$title}), $title);
	}
	return;
}

sub test_deliveries
{
	my $title = 'A new token into a new variable';

	keeps_secrets(sql_of($delivery{$title}), $title);
	return;
}

# The jobs run nested statements.
sub test_jobs
{
	$sim->control('PATCH', "tokens/$_", undef, { expires_at => day(3) })
	  foreach grep { $_ > 16 } map { $_->{id} } grep { $_->{state} eq 'active' } $sim->tokens;
	(my $procedure = sql_of($cookbook{'Rotate whatever is due, every night'})) =~ s/^SELECT cron.*//ms;
	my $call = q{CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');};

	keeps_secrets("$procedure $call", 'the job of the cookbook');
	$sim->control('PATCH', 'tokens/15', undef, { expires_at => day(3) });
	keeps_secrets(qq{
		INSERT INTO token_deliveries (token_name, owner, project, variable, days)
			VALUES ('frank admin', 'frank', 'acme/web', 'DEPLOY_PAT', 30);
		$call}, 'gitlab_pat_rotate_due()');
	return;
}

# The recipe for a table of secrets, with tables of its own
sub test_recipe
{
	my $recipe = slurp_file("$root/recipes/rotate_tokens.sql");
	my $call = q{CALL gitlab_jobs.rotate_tokens('public.nightly', 'public.gitlab_personal_access_tokens', 14, 90);};

	$node->safe_psql('postgres', q{
		CREATE SCHEMA cron;
		CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint RETURN 1})
	  unless grep { $_ eq 'pg_cron' } @modules;
	keeps_secrets(qq{
		\\set secrets public.nightly
		$recipe
		WITH new AS (INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at)
			SELECT 2, 'nightly ' || i, '{api}', current_date + 5 FROM generate_series(1, 2) i
			RETURNING id, name, expires_at, token)
		INSERT INTO nightly SELECT * FROM new;
		$call}, 'recipes/rotate_tokens.sql');
	my ($old, $new) = map { my $state = $_; join ' ', sort map { $_->{name} }
		  grep { $_->{name} =~ /^nightly/ && $_->{state} eq $state } $sim->tokens } qw(revoked active);
	is("$old, $new", 'nightly 1 nightly 2, nightly 1 nightly 2', 'recipes/rotate_tokens.sql rotates what is due');

	# Where GitLab, or PostgreSQL, says no, the job tells of it.
	$node->safe_psql('postgres', 'UPDATE nightly SET expires_at = current_date + 5; ALTER TABLE nightly ADD CHECK (length(secret) < 5) NOT VALID');
	$sim->control('PATCH', "tokens/$_->{id}", undef, { expires_at => day(5) })
	  foreach grep { $_->{name} =~ /^nightly/ && $_->{state} eq 'active' } $sim->tokens;
	my ($said, $log) = logged($call);
	like($said, qr/ERROR:  could not rotate 2 of 2 /, 'recipes/rotate_tokens.sql tells of rows that refuse their secrets');
	# PostgreSQL's own detail about the row has what is in it
	is_secretive($sim, join("\n", grep { !/Failing row contains/ } split /\n/, $log),
		'recipes/rotate_tokens.sql of rows that refuse their secrets: what is logged');
	return;
}

sub day
{
	my ($days) = @_;
	my (undef, undef, undef, $day, $month, $year) = gmtime(time + $days * 86400);

	return sprintf '%04d-%02d-%02d', $year + 1900, $month + 1, $day;
}

# The token of a user mapping, by the recipe
sub test_mapping
{
	my ($frank) = grep { $_->{name} eq 'frank admin' && $_->{state} eq 'active' } $sim->tokens;
	my ($block) = grep { $_->{language} eq 'sql' } @{ $readme{'Creating the user mapping'}{blocks} };
	(my $sql = $block->{text}) =~ s/^glpat-\.\.\.$/$frank->{token}/m or die 'the recipe has no token';

	keeps_secrets($sql, 'the recipe for the user mapping');
	is($node->safe_psql('postgres', q{SELECT id FROM gitlab_pat_self('gitlab')}), $frank->{id},
		'the recipe for the user mapping stores the token');
	return;
}

# doc/security.md says what prints a secret.  If it did not, this test would find
# nothing in the log either.
sub test_what_is_said_of_variables
{
	my (undef, $log) = logged(q{
		DO $$DECLARE t record; BEGIN
			INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes)
				VALUES (2, 'by a variable', '{api}') RETURNING * INTO t;
			INSERT INTO secrets (id, name, secret) VALUES (t.id, t.name, t.token);
		END$$;});
	my ($token) = grep { $_->{name} eq 'by a variable' } $sim->tokens;

	SKIP:
	{
		skip 'pgaudit is not installed', 1 unless grep { $_ eq 'pgaudit' } @modules;
		like($log, qr/AUDIT: .*\Q$token->{token}\E/, 'pgaudit prints a secret that passes through a variable');
	}
	return;
}
