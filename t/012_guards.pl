
# What keeps a transaction from doing more than was meant: the limit on
# revocations, the credential in use, read-only transactions and servers,
# "updatable"; and the audit trail, in which there are no secrets.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $url = $sim->url;
my $node = PostgreSQL::Test::Cluster->new('main');

# the statements of this test are no business of the log's: some have secrets
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
	log_statement = 'none'
	max_prepared_transactions = 2});
$node->start;
gitlab_database($node, 'postgres', $sim, q{max_retries '0'});
create_tables($node, 'guards');
create_tables($node, 'second', "url '$url', max_retries '0'");

my $later = 'current_date + 90';
my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later)";
my $session = open_session($node, 'guards', verbosity => 'verbose');


# --- gitlab_pat_fdw.max_changes --------------------------------------------------

my $too_many =
  qr/ERROR:  53400: transaction would revoke more than (\d+) personal access tokens\n/;

# [name, limit, SQL, the error, tokens]
foreach my $case (
	[ 'at the limit', 2, 'DELETE FROM tokens WHERE id IN (2, 3)', 0,
		'2 revoked, 3 revoked' ],
	[ 'beyond it', 2, 'DELETE FROM tokens WHERE id IN (2, 3, 4)', 1, '' ],
	[
		'beyond it, in several statements', 2,
		'BEGIN; DELETE FROM tokens WHERE id = 2; DELETE FROM tokens WHERE id = 3;
		 DELETE FROM tokens WHERE id = 4; COMMIT', 1, ''
	],
	[
		'beyond it, with UPDATE',
		1, "UPDATE tokens SET expires_at = $later WHERE id IN (2, 3)",
		1, '17 revoked'
	],
	[
		'beyond it, over two servers', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2;
		 DELETE FROM second.tokens WHERE id = 3; COMMIT', 1, ''
	],
	[
		'a savepoint rolled back gives its share back', 1,
		'BEGIN; SAVEPOINT s; DELETE FROM tokens WHERE id = 2; ROLLBACK TO s;
		 DELETE FROM tokens WHERE id = 3; COMMIT', 0, '3 revoked'
	],
	[
		'past it in a savepoint', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2; SAVEPOINT s;
		 DELETE FROM tokens WHERE id = 3; ROLLBACK TO s; COMMIT', 1, '2 revoked'
	],
	[
		'the same token twice', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2;
		 DELETE FROM tokens WHERE id = 2; COMMIT', 0, '2 revoked'
	],
	[
		'a revoked token does not count', 1,
		'DELETE FROM tokens WHERE id IN (2, 6)', 0, '2 revoked'
	],
	[
		'creations do not count', 0,
		"BEGIN; $insert; $insert; COMMIT", 0, '17 active, 18 active'
	],
	[
		'raised on purpose', 1,
		'BEGIN; SET LOCAL gitlab_pat_fdw.max_changes = 3;
		 DELETE FROM tokens WHERE id IN (2, 3, 4); COMMIT', 0,
		'2 revoked, 3 revoked, 4 revoked'
	],
	[ 'none at all', 0, 'DELETE FROM tokens WHERE id = 2', 1, '' ])
{
	my ($name, $limit, $sql, $fails, $differing) = @$case;

	$sim->reset;
	my $text =
	  said($session, "SET gitlab_pat_fdw.max_changes = $limit; $sql");
	$name = "max_changes, $name";
	if ($fails)
	{
		like($text, $too_many, "$name: the error");
		is(count_matches($text, qr/ERROR/), 1 + ($text =~ /25P02/),
			"$name: no other one");
		my ($said) = $text =~ $too_many;
		is($said // '', $limit, "$name: the limit in it");
		like($text, qr/DETAIL:  Nothing has been revoked\./,
			"$name: its detail");
	}
	else
	{
		is($text, '', "$name: no error");
	}
	is(changes($sim), $differing, "$name: tokens");
}

# UPDATE asks before it creates.
$sim->reset;
like(
	said(
		$session,
		"SET gitlab_pat_fdw.max_changes = 0;
		 UPDATE tokens SET expires_at = $later WHERE id = 2"),
	$too_many,
	'max_changes, UPDATE: the error');
is($sim->count(method => 'POST'), 0, 'max_changes, UPDATE: no POST');

# The default is meant for a forgotten WHERE clause.
$sim->reset(tokens => 500);
like(
	said(
		$session,
		'RESET gitlab_pat_fdw.max_changes; DELETE FROM tokens WHERE id > 16'),
	qr/would revoke more than 100 /,
	'max_changes, forgotten WHERE: the error');
is($sim->count(method => 'DELETE'),
	0, 'max_changes, forgotten WHERE: no request');
$session->close;


# --- the credential in use ---------------------------------------------------------

$session = open_session($node, 'guards', verbosity => 'verbose');
$sim->reset;
my $in_use =
  qr/ERROR:  55006: personal access token 1 is the one that server "gitlab" is accessed with\n/;
foreach my $sql (
	'DELETE FROM tokens WHERE id = 1',
	'DELETE FROM tokens WHERE id IN (2, 1, 3)',
	'DELETE FROM tokens',
	"UPDATE tokens SET expires_at = $later WHERE id = 1",
	"UPDATE native_tokens SET expires_at = $later WHERE id = 1")
{
	my $text = said($session, $sql);

	like($text, $in_use, "the credential in use, $sql");
	like($text, qr/HINT: .*gitlab_pat_rotate_self/,
		"the credential in use, $sql: the hint");
}
is(changes($sim), '', 'the credential in use: no token has changed');
is($sim->count(method => 'POST'), 0, 'the credential in use: no POST');
is(said($session, 'DELETE FROM tokens WHERE id = 2'),
	'', 'another one is deleted');
is($sim->count(method => 'GET', path => 'tokens/self'),
	1, 'the credential in use: GitLab was asked once');
$session->close;


# --- read-only ---------------------------------------------------------------------

$session = open_session($node, 'guards', verbosity => 'verbose');
my %statements = (
	INSERT => $insert,
	UPDATE => "UPDATE tokens SET expires_at = $later WHERE id = 2",
	'native UPDATE' =>
	  "UPDATE native_tokens SET expires_at = $later WHERE id = 2",
	DELETE => 'DELETE FROM tokens WHERE id = 2',
	COPY => q{COPY tokens (user_id, name, scopes) FROM PROGRAM 'echo'});

$sim->reset;
foreach my $name (sort keys %statements)
{
	like(
		said($session, "BEGIN READ ONLY; $statements{$name}; COMMIT"),
		qr/ERROR:  25006: cannot execute /,
		"read-only transaction, $name");
}
is(said($session, 'BEGIN READ ONLY; SELECT name FROM tokens WHERE id = 2; COMMIT'),
	'alice api', 'read-only transaction, SELECT');

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
my $recovering = open_session($standby, 'guards', verbosity => 'verbose');
foreach my $name (sort keys %statements)
{
	like(
		said($recovering, $statements{$name}),
		qr/ERROR:  25006: cannot execute /,
		"standby, $name");
}
is(said($recovering, 'SELECT name FROM tokens WHERE id = 2'),
	'alice api', 'standby, SELECT');
$recovering->close;
is_alive($standby);
$standby->stop;

$node->safe_psql(
	'postgres', qq{
	CREATE SERVER frozen FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '$url', updatable 'false');
	CREATE USER MAPPING FOR CURRENT_USER SERVER frozen
		OPTIONS (token 'glpat-sim-admin');});
create_tables($node, 'read_only');
$node->safe_psql(
	'postgres', q{
	ALTER FOREIGN TABLE read_only.tokens OPTIONS (updatable 'false');
	ALTER FOREIGN TABLE read_only.native_tokens OPTIONS (updatable 'false');
	CREATE SCHEMA frozen;
	IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_personal_access_tokens)
		FROM SERVER frozen INTO frozen;
	ALTER FOREIGN TABLE frozen.gitlab_personal_access_tokens RENAME TO tokens;
	CREATE FOREIGN TABLE frozen.native_tokens (id bigint, expires_at date)
		SERVER frozen OPTIONS (rotation 'native')});
foreach my $schema (qw(read_only frozen))
{
	foreach my $name (sort keys %statements)
	{
		like(
			said($session, "SET search_path = $schema; $statements{$name}"),
			qr/ERROR:  55000: foreign table "\w+" does not allow /,
			"updatable 'false' in $schema, $name");
	}
	is( said($session, "SELECT name FROM tokens WHERE id = 2"),
		'alice api', "updatable 'false' in $schema, SELECT");
	is( said(
			$session,
			"SELECT pg_relation_is_updatable('tokens'::regclass, false)"),
		0,
		"updatable 'false' in $schema, pg_relation_is_updatable()");
}
is( said(
		$session, "SELECT pg_relation_is_updatable('guards.tokens'::regclass, false)"
	),
	28,
	"updatable by default");
is($sim->count(method => $_), 0, "read-only: no $_") foreach qw(POST DELETE);


# --- PREPARE TRANSACTION --------------------------------------------------------------

said($session, 'SET search_path = guards');
foreach my $name (grep { $_ ne 'COPY' } sort keys %statements)
{
	$sim->reset;
	like(
		said(
			$session, "BEGIN; $statements{$name}; PREPARE TRANSACTION 'p'"),
		qr/ERROR:  0A000: cannot PREPARE a transaction that has changed anything in GitLab\n/,
		"PREPARE TRANSACTION, $name");
	unlike(changes($sim), $name =~ /native/ ? qr/17 revoked/ : qr/17 active/,
		"PREPARE TRANSACTION, $name: tokens");
}
is( said(
		$session,
		"BEGIN; SELECT name FROM tokens WHERE id = 3; PREPARE TRANSACTION 'p';
		 COMMIT PREPARED 'p'"),
	'alice read',
	'PREPARE TRANSACTION after SELECT');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	0, 'PREPARE TRANSACTION: none is left');


# --- gitlab_pat_fdw.log_changes --------------------------------------------------------

# What the log says of changes, while statements run.
sub audit
{
	my ($sql) = @_;
	my $offset = -s $node->logfile;

	$sim->reset;
	said($session, $sql);
	return join '; ', slurp_file($node->logfile, $offset) =~
	  /LOG:  (personal access token .*)/g;
}

my $on = 'on server "gitlab" by role "postgres"';
is(audit($insert), "personal access token 17 created $on",
	'log_changes, INSERT');
is(audit("BEGIN; $insert; ROLLBACK"),
	"personal access token 17 created $on; personal access token 17 revoked $on",
	'log_changes, INSERT rolled back');
is(audit($statements{UPDATE}),
	"personal access token 17 created $on; personal access token 2 revoked $on",
	'log_changes, UPDATE');
is(audit($statements{'native UPDATE'}),
	"personal access token 17 created in place of 2, which is revoked, $on",
	'log_changes, native UPDATE');
is(audit($statements{DELETE}),
	"personal access token 2 revoked $on",
	'log_changes, DELETE');
is(audit("BEGIN; $statements{DELETE}; ROLLBACK"),
	'', 'log_changes, DELETE rolled back');
is(audit("SET gitlab_pat_fdw.log_changes = off; $insert; $statements{DELETE}"),
	'', 'log_changes, off');
said($session, 'RESET gitlab_pat_fdw.log_changes');

# The role is the one whose user mapping is used; it can't hide.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE clerk;
	GRANT USAGE ON SCHEMA guards TO clerk;
	GRANT ALL ON ALL TABLES IN SCHEMA guards TO clerk;
	CREATE USER MAPPING FOR clerk SERVER gitlab
		OPTIONS (token 'glpat-sim-frank');});
$on = 'on server "gitlab" by role "clerk"';
is(audit("SET ROLE clerk; $statements{DELETE}; RESET ROLE"),
	"personal access token 2 revoked $on",
	'log_changes, another role');
foreach my $name (qw(log_changes log_requests))
{
	like(
		said(
			$session,
			"SET ROLE clerk; SET gitlab_pat_fdw.$name = off; RESET ROLE"),
		qr/ERROR:  42501: permission denied to set parameter/,
		"$name is the superuser's to set");
}


# --- secrets ----------------------------------------------------------------------------

# All that can be logged is logged, while all kinds of things happen.
said(
	$session, q{
	SET log_min_messages = debug5; SET client_min_messages = debug5;
	SET debug_print_plan = on; SET log_executor_stats = on;
	SET gitlab_pat_fdw.log_requests = on});
my $all = '';
$sim->reset;
foreach my $sql (
	"$insert RETURNING id",
	"$statements{UPDATE} RETURNING id",
	"UPDATE native_tokens SET expires_at = $later WHERE id = 3 RETURNING id",
	'DELETE FROM tokens WHERE id = 4',
	"BEGIN; $insert; ROLLBACK",
	"$insert RETURNING 1 / (id - id)",
	"INSERT INTO tokens (user_id, name, scopes) VALUES (4711, 'x', '{api}')",
	'EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM tokens',
	'SELECT * FROM tokens',
	'DELETE FROM tokens WHERE id = 1')
{
	$all .= said($session, $sql);
}
foreach my $kind (qw(reset garbage truncate edit))
{
	$sim->fault('POST', '', $kind, moment => 'after',
		$kind eq 'edit' ? (remove => ['id']) : ());
	$all .= said($session, $insert);
}
my $wrong = 'glpat-wrong0123456789';
$node->safe_psql('postgres',
	"ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$wrong')");
$all .= said($session, 'SELECT * FROM tokens WHERE id = 7');
like($all, qr/28000/, 'secrets: the wrong one is refused');
my $log = slurp_file($node->logfile);
like($log, qr/LOG:  GitLab request: POST /, 'secrets: requests were logged');
is_secretive($sim, $log, 'the log');
is_secretive($sim, $all, 'what the client was told');
unlike($log . $all, qr/\Q$wrong\E/, 'secrets: nor is the wrong one');
unlike($log . $all, qr/PRIVATE-TOKEN|Bearer/i, 'secrets: nor a header');

$session->close;
is_alive($node);
$node->stop;

done_testing();
