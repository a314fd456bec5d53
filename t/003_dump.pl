# A database that uses the extension is dumped and restored, and the extension
# goes away together with what depends on it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => "page_size '50'");
my $dump = $node->basedir . '/dump.sql';
my $lookup = 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 2';

$node->safe_psql(
	'postgres', qq{
	CREATE SCHEMA reports;
	CREATE FOREIGN TABLE reports.tokens (
		number bigint OPTIONS (column_name 'id') NOT NULL, name text)
		SERVER gitlab OPTIONS (page_size '20');
	COMMENT ON FOREIGN TABLE reports.tokens IS 'a table of our own';
	CREATE VIEW reports.alice AS SELECT name FROM reports.tokens WHERE number = 2;
});

my $catalog = gitlab_catalog();
my $before = $node->safe_psql('postgres', $catalog);

$sim->clear_journal;
$node->command_ok(
	[ 'pg_dump', '--no-sync', '--file', $dump, $node->connstr('postgres') ],
	'the database is dumped');
is($sim->count, 0, 'the dump makes no request');
unlike(slurp_file($dump), qr/COPY public\.gitlab_/, 'tokens are not part of the dump');
unlike(slurp_file($dump), qr/CREATE FUNCTION/, 'parts of the extension are not part of the dump');

$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('restored'), '-f', $dump
	],
	'the dump is restored');
is($node->safe_psql('restored', $catalog), $before, 'the restored database has the same catalog as the old one');
is($node->safe_psql('restored', $lookup), 'alice api', 'a restored table works');
is($node->safe_psql('restored', 'TABLE reports.alice'), 'alice api', 'a restored view works');
is( $node->safe_psql('restored',
		q{SELECT count(*) FROM pg_description WHERE description = 'a table of our own'}),
	1, 'comments survive the dump');

# pg_dump reads a foreign table's rows when asked to.
$node->command_ok(
	[
		'pg_dump', '--no-sync', '--data-only', '--include-foreign-data', 'gitlab',
		'--table', 'reports.tokens', '--file', "$dump.data", $node->connstr('postgres')
	],
	'the rows of a foreign table are dumped on request');
like(slurp_file("$dump.data"), qr/^2\talice api$/m, 'the dump of a foreign table has the rows that GitLab has');

my ($status, $out, $error) = $node->psql('restored', 'DROP EXTENSION gitlab_pat_fdw');
isnt($status, 0, 'the extension cannot be dropped while it is used');
like($error, qr/other objects depend on it/, 'the error of DROP EXTENSION says that other objects depend on it');

$node->safe_psql('restored',
	'SET client_min_messages = warning; DROP EXTENSION gitlab_pat_fdw CASCADE');
is( $node->safe_psql('restored', 'SELECT count(*) FROM pg_foreign_table'),
	0, 'DROP EXTENSION ... CASCADE leaves no foreign object');
is( $node->safe_psql('restored',
		q{SELECT count(*) FROM pg_proc WHERE proname LIKE 'gitlab%'}),
	0, 'DROP EXTENSION ... CASCADE leaves no function');
$node->safe_psql('restored', 'CREATE EXTENSION gitlab_pat_fdw');
pass('the extension can be created again after DROP EXTENSION');

# In the session that has used it, too.
is( $node->safe_psql(
		'postgres', qq{
		SET client_min_messages = warning;
		$lookup;
		DROP EXTENSION gitlab_pat_fdw CASCADE;
		CREATE EXTENSION gitlab_pat_fdw;
		CREATE SERVER again FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url '@{[ $sim->url ]}');
		CREATE USER MAPPING FOR CURRENT_USER SERVER again
			OPTIONS (token 'glpat-sim-alice');
		SELECT name FROM gitlab_pat_self('again')}),
	"alice api\nalice api",
	'a session outlives the extension that it has used');

$node->stop;
done_testing();
