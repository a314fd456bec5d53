# gitlab_pat_set_token() and gitlab_pat_identify() under everything that writes
# statements down: log_statement, pgaudit, auto_explain, pg_stat_statements.  The
# recipes of README.md and doc/security.md are run as they stand there, and no
# secret is in the log or in a view afterwards.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Document;
use GitLabCluster;
use GitLabSim;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, conf => "log_statement = 'none'\n");
my @loggers = grep { has_module($node, $_) } qw(auto_explain pg_stat_statements pgaudit);

$node->safe_psql('postgres', q{CREATE ROLE regress_joe LOGIN; CREATE ROLE regress_owner;
	GRANT USAGE ON FOREIGN SERVER gitlab TO regress_joe});
$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = '@{[ join ',', @loggers ]}'
	log_statement = 'all'
	log_min_duration_statement = 0
	log_min_messages = debug1
	log_error_verbosity = verbose
	log_parameter_max_length = -1
	log_parameter_max_length_on_error = -1
	gitlab_pat_fdw.log_requests = on});
my %settings = (
	auto_explain => q{
		auto_explain.log_min_duration = 0
		auto_explain.log_analyze = on
		auto_explain.log_verbose = on
		auto_explain.log_nested_statements = on},
	pg_stat_statements => q{pg_stat_statements.track = 'all'},
	pgaudit => q{
		pgaudit.log = 'all'
		pgaudit.log_parameter = on
		pgaudit.log_relation = on
		pgaudit.log_rows = on
		pgaudit.log_statement = on});
$node->append_conf('postgresql.conf', $settings{$_}) foreach @loggers;
$node->restart;
foreach my $extension (grep { $_ ne 'auto_explain' } @loggers)
{
	$node->safe_psql('postgres', "CREATE EXTENSION $extension");
}

# Runs a command as a role; returns its output, and what was logged meanwhile.
sub run_as
{
	my ($role, $input, @command) = @_;
	my $before = -s $node->logfile;
	my $said = '';

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	local $ENV{PGUSER} = $role;
	local $ENV{PATH} = $node->config_data('--bindir') . ":$ENV{PATH}";
	IPC::Run::run(\@command, '<', \$input, '>&', \$said,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($said, slurp_file($node->logfile, $before));
}

sub psql_as
{
	my ($role, $sql) = @_;

	return run_as($role, $sql, 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', '-');
}

# Every logger has written the statement down, and none of them the secret.
sub is_logged_without
{
	my ($log, $statement, $secret, $what) = @_;

	like($log, qr/LOG:\s.*statement: .*\Q$statement\E/, "$what: log_statement shows the statement");
	like($log, qr/AUDIT: .*\Q$statement\E/, "$what: pgaudit shows the statement")
	  if grep { $_ eq 'pgaudit' } @loggers;
	like($log, qr/plan:\s+Query Text: .*\Q$statement\E/, "$what: auto_explain shows the statement")
	  if grep { $_ eq 'auto_explain' } @loggers;
	unlike($log, qr/\Q$secret\E/, "$what: the log does not have the secret");
	return;
}

sub mapping_of
{
	my ($role) = @_;

	return $node->safe_psql('postgres',
		"SELECT umoptions FROM pg_user_mappings WHERE usename = '$role'");
}


# --- the loggers do log ----------------------------------------------------------------

my (undef, $log) = psql_as('regress_joe',
	q{CREATE USER MAPPING FOR regress_joe SERVER gitlab OPTIONS (token 'glpat-sim-literal')});

like($log, qr/glpat-sim-literal/, 'CREATE USER MAPPING shows a literal token in the log');
$node->safe_psql('postgres', 'DROP USER MAPPING FOR regress_joe SERVER gitlab');


# --- the recipes of README.md and doc/security.md ------------------------------------------------------------

my $section = Document->read("$FindBin::RealBin/../README.md")->section('Creating the user mapping');
my ($sql) = map { $_->{text} } grep { $_->{language} eq 'sql' } @{ $section->{blocks} };
my ($shell) = map { $_->{text} } grep { $_->{language} eq 'sh' }
  @{ Document->read("$FindBin::RealBin/../doc/security.md")->section('Who can see the API token')->{blocks} };
my $said;

($said, $log) = psql_as('regress_joe', $sql =~ s/^glpat-\.\.\.$/glpat-sim-alice/mr);
is($said, "2\n", 'the recipe in SQL tells the id of the token');
is(mapping_of('regress_joe'), '{token=glpat-sim-alice}', 'the recipe in SQL creates the mapping of a role that is no superuser');
is_logged_without($log, q{SELECT gitlab_pat_set_token('gitlab', token) FROM new_token}, 'glpat-sim-alice', 'recipe in SQL');
like($log, qr/API token 2 \("alice api" of user 2, scopes api\) stored in the user mapping of role "regress_joe" for server "gitlab"/,
	'the log names the token, the role and the server of a mapping that was changed');

$ENV{GITLAB_TOKEN} = 'glpat-sim-frank';
($said, $log) = run_as('regress_joe', '', 'bash', '-c', $shell);
like($said, qr/^\s*15$/m, 'the recipe for the shell tells the id of the token');
is(mapping_of('regress_joe'), '{token=glpat-sim-frank}', 'the recipe for the shell changes the mapping');
is_logged_without($log, q{SELECT gitlab_pat_set_token('gitlab', token) FROM new_token}, 'glpat-sim-frank', 'recipe for the shell');

# A token that does not work is in no message either.
($said, $log) = psql_as('regress_joe', $sql =~ s/^glpat-\.\.\.$/glpat-sim-revoked/mr);
like($said, qr/could not try the API token/, 'a token that does not work is refused');
unlike("$said$log", qr/glpat-sim-revoked/, 'neither the client nor the log is shown a token that is refused');
is(mapping_of('regress_joe'), '{token=glpat-sim-frank}', 'a token that is refused leaves the mapping as it was');


# --- whose mapping it is --------------------------------------------------------------------

# Maintenance of a table runs functions of its owner: here a functional index,
# built by a superuser.
$node->safe_psql('postgres', q{
	GRANT USAGE ON FOREIGN SERVER gitlab TO regress_owner;
	CREATE SCHEMA s AUTHORIZATION regress_owner;
	SET ROLE regress_owner;
	CREATE FUNCTION s.f(token text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$BEGIN RETURN public.gitlab_pat_set_token('gitlab', token); END$$;
	CREATE TABLE s.t (token text);
	INSERT INTO s.t VALUES ('glpat-sim-alice')});
my ($status, undef, $error) = $node->psql('postgres', 'CREATE INDEX ON s.t (s.f(token))');
like($error, qr/gitlab_pat_set_token\(\) cannot run with the rights of another role/,
	'an index that a superuser builds changes no mapping of the owner of its table');
is(mapping_of('regress_owner'), '', 'the owner of that table has no mapping');
($status, undef, $error) = $node->psql('postgres', 'SET ROLE regress_owner; CREATE INDEX ON s.t (s.f(token))');
like($error, qr/gitlab_pat_set_token\(\) cannot run with the rights of another role/,
	'an index that the owner of the table builds changes no mapping either');


# --- a table of findings ------------------------------------------------------------------

$section = Document->read("$FindBin::RealBin/../doc/security.md")->section('A secret was found');
$sql = join '', map { $_->{text} } grep { $_->{language} eq 'sql' } @{ $section->{blocks} };
($said, $log) = psql_as('postgres', "SET ROLE regress_owner; SET search_path = s, public; $sql");
is($said, qq{wiki/Deployment|12|8|deploy   key "x"|{read_registry,write_registry}\njob 4711||||\nwiki/Deployment|12\njob 4711|\n},
	'a role without a mapping learns whose the secrets of a table are, and revokes them');
is($sim->token_state(12), 'revoked', 'a token of the findings is revoked');
is_logged_without($log, $_,
	'glpat-sim-deploykey', 'findings') foreach 'SELECT f.place, t.id, t.user_id', 'SELECT place, gitlab_pat_revoke_secret';


# --- what is kept ---------------------------------------------------------------------------

SKIP:
{
	skip 'pg_stat_statements is not installed', 2 unless grep { $_ eq 'pg_stat_statements' } @loggers;
	my $statements = $node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements');

	like($statements, qr/gitlab_pat_set_token/, 'pg_stat_statements knows the recipe');
	unlike($statements, qr/glpat-sim-(?:alice|frank|revoked|deploykey)/, 'pg_stat_statements has no secret of the recipes');
}
$node->stop;
done_testing();
