# What doc/operations.md says of other parts of PostgreSQL in the same session:
# postgres_fdw in the same transaction, ANALYZE of partitioned tables, DISCARD ALL,
# the file descriptors of a session, and what PostgreSQL remembers of a transaction.

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

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);

test_postgres_fdw();
test_partitions();
test_connections();
test_state_of_a_transaction();
is_alive($node);
done_testing();

sub sql { return $node->safe_psql('postgres', $_[0]) }

# --- postgres_fdw ---------------------------------------------------------------

# PostgreSQL calls first what was registered last.  This extension registers its
# callback when the library is loaded, postgres_fdw when it first connects.
sub test_postgres_fdw
{
	my ($host, $port) = ($node->host, $node->port);
	my $token = 'SELECT count(*) FROM gitlab_personal_access_tokens WHERE id = 2;';
	my $remote = 'SELECT count(*) FROM far_away;';
	# GitLab refuses, and the transaction fails at COMMIT
	my $failing = 'BEGIN; INSERT INTO far_away VALUES (1); DELETE FROM gitlab_personal_access_tokens WHERE id = 3; COMMIT;';
	# the other database refuses at its COMMIT
	my $refused = 'BEGIN; INSERT INTO far_away VALUES (-1); DELETE FROM gitlab_personal_access_tokens WHERE id = 3; COMMIT;';

	sql(qq{
		CREATE EXTENSION postgres_fdw;
		CREATE TABLE here (n int);
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END';
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON here DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.n < 0) EXECUTE FUNCTION refuse();
		CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw
			OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;
		CREATE FOREIGN TABLE far_away (n int) SERVER elsewhere OPTIONS (table_name 'here')});
	$sim->fault('DELETE', 'personal_access_tokens/3', 'status', status => 403, times => 2);

	$node->psql('postgres', "$token $failing");
	is(sql('SELECT count(*) FROM here'), 1, 'postgres_fdw commits before a revocation fails, if it came second');
	sql('TRUNCATE here');
	$node->psql('postgres', "$remote $failing");
	is(sql('SELECT count(*) FROM here'), 0, 'postgres_fdw rolls back after a revocation has failed, if it came first');
	$sim->clear_faults;

	my ($result, $out, $err) = $node->psql('postgres', "$token $refused");
	like($err, qr/ERROR:  refused/, 'the other database refuses');
	is(revoked(3), 'f', 'nothing is revoked after the other database has refused, if postgres_fdw came second');
	($result, $out, $err) = $node->psql('postgres', "$remote $refused");
	is(revoked(3), 't', 'a token is revoked before the other database refuses, if postgres_fdw came first');
	like($err, qr/WARNING:  although the transaction was rolled back, personal access tokens were revoked on server "[^"]*": 3/,
		'a WARNING names the token that was revoked in vain');
	return;
}

sub revoked
{
	my ($id) = @_;

	return sql("SELECT revoked FROM gitlab_personal_access_tokens WHERE id = $id");
}

# --- partitions -----------------------------------------------------------------

sub test_partitions
{
	sql(q{
		CREATE TABLE tokens (LIKE gitlab_personal_access_tokens) PARTITION BY LIST (user_id);
		CREATE TABLE tokens_others PARTITION OF tokens DEFAULT;
		CREATE FOREIGN TABLE tokens_of_alice PARTITION OF tokens FOR VALUES IN (2) SERVER gitlab});
	$sim->clear_journal;
	sql('ANALYZE tokens');
	cmp_ok($sim->count(path => '/personal_access_tokens'), '>', 0, 'ANALYZE of a partitioned table asks GitLab for its foreign partition');
	$sim->clear_journal;
	sql('ANALYZE');
	cmp_ok($sim->count, '>', 0, 'ANALYZE of a whole database asks GitLab, too, because of the partitioned table');
	sql('DROP TABLE tokens');
	$sim->clear_journal;
	sql('ANALYZE');
	is($sim->count, 0, 'ANALYZE of a whole database leaves out foreign tables that are no partitions');
	return;
}

# --- connections ----------------------------------------------------------------

sub test_connections
{
	my $session = Session->open($node);
	my $ask = sub { ($session->query($_[0]))[0] };

	$sim->control('POST', 'reset', undef, { tokens => 2000 });
	$ask->('SELECT gitlab_pat_fdw_version()');
	my $before = $session->descriptors;
	is($ask->('SELECT count(DISTINCT name) > 0 FROM gitlab_personal_access_tokens'), 't', 'a session reads a long list');
	my $open = $session->descriptors - $before;
	cmp_ok($open, '>=', 1, 'a session keeps its connections to GitLab');
	cmp_ok($open, '<=', 4 + 4, 'a session has one descriptor for each connection, and few others');
	$ask->('SET gitlab_pat_fdw.max_changes = 7');
	$ask->('BEGIN; SET LOCAL gitlab_pat_fdw.max_changes = 500; COMMIT');
	is($ask->('SHOW gitlab_pat_fdw.max_changes'), 7, 'SET LOCAL ends with the transaction, SET does not');
	$ask->('DISCARD ALL');
	is($session->descriptors - $before, $open, 'DISCARD ALL closes no connection to GitLab');
	is($ask->('SHOW gitlab_pat_fdw.max_changes'), 100, 'DISCARD ALL resets the settings');
	cmp_ok($ask->('SELECT gitlab_pat_disconnect()'), '>=', 1, 'gitlab_pat_disconnect() closes connections');
	is($session->descriptors - $before, 0, 'gitlab_pat_disconnect() gives all descriptors back');
	$session->close;
	return;
}

# --- the state of a transaction ---------------------------------------------------

# Also of a transaction that has written to no table of the database.
sub test_state_of_a_transaction
{
	my $state = sub {
		my ($end) = @_;
		my $xid = ($node->psql('postgres', "BEGIN; DELETE FROM gitlab_personal_access_tokens WHERE id = 4;
			SELECT pg_current_xact_id(); $end"))[1] =~ s/\D//gr;

		return sql("SELECT pg_xact_status('$xid')");
	};

	$sim->fault('DELETE', 'personal_access_tokens/4', 'status', status => 403);
	is($state->('COMMIT'), 'aborted', 'PostgreSQL remembers that a COMMIT has failed');
	is($state->('COMMIT'), 'committed', 'PostgreSQL remembers that a COMMIT has succeeded');
	return;
}
