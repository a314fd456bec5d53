
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
$node->init(allows_streaming => 1, extra => ['--encoding=UTF8']);
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
  qr/ERROR:  53400: transaction would create, rotate or revoke more than (\d+) access tokens\n/;
my $nothing = 'Nothing has been changed in GitLab.';

# [name, limit, SQL, the detail of the error or nothing, tokens]
foreach my $case (
	[ 'at the limit', 2, 'DELETE FROM tokens WHERE id IN (2, 3)', '',
		'2 revoked, 3 revoked' ],
	[ 'beyond it', 2, 'DELETE FROM tokens WHERE id IN (2, 3, 4)', $nothing, '' ],
	[
		'beyond it, in several statements', 2,
		'BEGIN; DELETE FROM tokens WHERE id = 2; DELETE FROM tokens WHERE id = 3;
		 DELETE FROM tokens WHERE id = 4; COMMIT', $nothing, ''
	],
	[
		'beyond it, with UPDATE',
		1, "UPDATE tokens SET expires_at = $later WHERE id IN (2, 3)",
		$nothing, ''
	],
	[
		'beyond it, with UPDATE in WITH', 2,
		"WITH new AS (UPDATE tokens SET expires_at = $later WHERE active AND user_id = 2 AND id < 13 RETURNING id)
		 SELECT count(*) FROM new", $nothing, ''
	],
	[
		'beyond it, with UPDATE after INSERT', 2,
		"BEGIN; $insert; UPDATE tokens SET expires_at = $later WHERE id IN (2, 3); COMMIT",
		'It has created 1, which a rollback revokes.', '17 revoked'
	],
	[
		'beyond it, with UPDATE and a join', 1,
		"UPDATE tokens t SET expires_at = $later FROM (VALUES (2), (3)) AS v (id) WHERE t.id = v.id",
		$nothing, ''
	],
	[
		'at the limit, with UPDATE', 2,
		"UPDATE tokens SET expires_at = $later WHERE id IN (2, 3)",
		'', '2 revoked, 3 revoked, 17 active, 18 active'
	],
	[
		'beyond it, with INSERT', 2,
		"INSERT INTO tokens (user_id, name, scopes) SELECT 2, 'new', '{api}' FROM generate_series(1, 3)",
		'It has created 2, which a rollback revokes.', '17 revoked, 18 revoked'
	],
	[
		'beyond it, with COPY', 1,
		q{COPY tokens (user_id, name, scopes) FROM PROGRAM 'printf "2\\tnew\\t{api}\\n2\\tnew\\t{api}\\n"'},
		'It has created 1, which a rollback revokes.', '17 revoked'
	],
	[
		'beyond it, with native rotation', 1,
		"BEGIN; UPDATE native_tokens SET expires_at = $later WHERE id = 2;
		 UPDATE native_tokens SET expires_at = $later WHERE id = 3; COMMIT",
		'It has rotated 1 natively, which no rollback undoes.', '2 revoked, 17 active'
	],
	[
		'a savepoint rolled back gives back no creation', 1,
		"BEGIN; SAVEPOINT s; $insert; ROLLBACK TO s; DELETE FROM tokens WHERE id = 2; COMMIT",
		'It has created 1, which a rollback revokes.', '17 revoked'
	],
	[
		'a savepoint rolled back gives back no rotation', 1,
		"BEGIN; SAVEPOINT s; UPDATE tokens SET expires_at = $later WHERE id = 2; ROLLBACK TO s;
		 DELETE FROM tokens WHERE id = 3; COMMIT",
		'It has created 1, which a rollback revokes.', '17 revoked'
	],
	[
		'a refused creation does not count', 1,
		"BEGIN; SAVEPOINT s; INSERT INTO tokens (user_id, name, scopes) VALUES (4711, 'x', '{api}');
		 ROLLBACK TO s; $insert; COMMIT", undef, '17 active'
	],
	[
		'beyond it, over two servers', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2;
		 DELETE FROM second.tokens WHERE id = 3; COMMIT', $nothing, ''
	],
	[
		'a savepoint rolled back gives its share back', 1,
		'BEGIN; SAVEPOINT s; DELETE FROM tokens WHERE id = 2; ROLLBACK TO s;
		 DELETE FROM tokens WHERE id = 3; COMMIT', '', '3 revoked'
	],
	[
		'past it in a savepoint', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2; SAVEPOINT s;
		 DELETE FROM tokens WHERE id = 3; ROLLBACK TO s; COMMIT', $nothing, '2 revoked'
	],
	[
		'the same token twice', 1,
		'BEGIN; DELETE FROM tokens WHERE id = 2;
		 DELETE FROM tokens WHERE id = 2; COMMIT', '', '2 revoked'
	],
	[
		'a revoked token does not count', 1,
		'DELETE FROM tokens WHERE id IN (2, 6)', '', '2 revoked'
	],
	[
		'creations up to the limit', 2,
		"BEGIN; $insert; $insert; COMMIT", '', '17 active, 18 active'
	],
	[
		'raised on purpose', 1,
		'BEGIN; SET LOCAL gitlab_pat_fdw.max_changes = 3;
		 DELETE FROM tokens WHERE id IN (2, 3, 4); COMMIT', '',
		'2 revoked, 3 revoked, 4 revoked'
	],
	[ 'none at all', 0, 'DELETE FROM tokens WHERE id = 2', $nothing, '' ])
{
	my ($name, $limit, $sql, $fails, $differing) = @$case;

	$sim->reset;
	my $text =
	  said($session, "SET gitlab_pat_fdw.max_changes = $limit; $sql");
	$name = "max_changes, $name";
	if (!defined $fails)
	{
		unlike($text, $too_many, "$name: the transaction is allowed");
	}
	elsif ($fails)
	{
		like($text, $too_many, "$name: the statement is refused");
		is(count_matches($text, qr/ERROR/), 1 + ($text =~ /25P02/),
			"$name: there is no other error");
		my ($said) = $text =~ $too_many;
		is($said // '', $limit, "$name: the error names the limit");
		like($text, qr/DETAIL:  \Q$fails\E\n/, "$name: the detail says what has been done");
	}
	else
	{
		unlike($text, qr/ERROR|WARNING/, "$name: the statement is allowed");
	}
	is(changes($sim), $differing, "$name: GitLab has the tokens that it should");
}

# A lost answer, of which an exception block has taken the error.
$sim->reset;
$sim->fault('POST', 'personal_access_tokens', 'reset', moment => 'after');
like(said($session, "SET gitlab_pat_fdw.max_changes = 1; BEGIN; SAVEPOINT s; $insert; ROLLBACK TO s;
		DELETE FROM tokens WHERE id = 2; COMMIT"),
	qr/DETAIL:  GitLab's answer to 1 was lost\.\n/, 'max_changes says that an answer was lost');
$sim->reset;

# UPDATE asks before it creates.
$sim->reset;
like(
	said(
		$session,
		"SET gitlab_pat_fdw.max_changes = 0;
		 UPDATE tokens SET expires_at = $later WHERE id = 2"),
	$too_many,
	'max_changes refuses an UPDATE beyond the limit');
is($sim->count(method => 'POST'), 0, 'max_changes refuses an UPDATE before it creates a token');

# One of more rows than the limit is refused as soon as that is known.
$sim->reset(tokens => 500);
my $said_at_once = said($session, "SET gitlab_pat_fdw.max_changes = 100;
	UPDATE tokens SET expires_at = $later WHERE active AND id > 16 RETURNING token");
like($said_at_once, $too_many, 'max_changes refuses an UPDATE of hundreds of tokens');
like($said_at_once, qr/DETAIL:  \Q$nothing\E/, 'max_changes says that an UPDATE of hundreds has changed nothing');
is($sim->count(method => 'POST'), 0, 'max_changes refuses an UPDATE of hundreds before it creates a token');
cmp_ok($sim->count, '<=', 6, 'max_changes refuses an UPDATE of hundreds within a few requests');

# The default is meant for a forgotten WHERE clause.
$sim->reset(tokens => 500);
like(
	said(
		$session,
		'RESET gitlab_pat_fdw.max_changes; DELETE FROM tokens WHERE id > 16'),
	qr/would create, rotate or revoke more than 100 /,
	'max_changes refuses a DELETE with a forgotten WHERE clause');
is($sim->count(method => 'DELETE'),
	0, 'max_changes refuses a forgotten WHERE clause before any revocation');
$session->close;


# --- the credential in use ---------------------------------------------------------

$session = open_session($node, 'guards', verbosity => 'verbose');
$sim->reset;
my $in_use =
  qr/ERROR:  55006: personal access token 1 is the API token of server "gitlab"\n/;
foreach my $sql (
	'DELETE FROM tokens WHERE id = 1',
	'DELETE FROM tokens WHERE id IN (2, 1, 3)',
	'DELETE FROM tokens',
	"UPDATE tokens SET expires_at = $later WHERE id = 1",
	"UPDATE native_tokens SET expires_at = $later WHERE id = 1")
{
	my $text = said($session, $sql);

	like($text, $in_use, "the credential in use is protected from $sql");
	like($text, qr/HINT: .*gitlab_pat_rotate_self/,
		"the hint names gitlab_pat_rotate_self() after $sql");
}
is(changes($sim), '', 'statements that hit the credential in use change no token');
is($sim->count(method => 'POST'), 0, 'statements that hit the credential in use create no token');
is(said($session, 'DELETE FROM tokens WHERE id = 2'),
	'', 'a token other than the credential can be deleted');
is($sim->count(method => 'GET', path => 'tokens/self'),
	1, 'a session asks GitLab once which credential it uses');
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
		"a read-only transaction refuses $name");
}
is(said($session, 'BEGIN READ ONLY; SELECT name FROM tokens WHERE id = 2; COMMIT'),
	'alice api', 'a read-only transaction allows SELECT');

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
		"a standby refuses $name");
}
is(said($recovering, 'SELECT name FROM tokens WHERE id = 2'),
	'alice api', 'a standby allows SELECT');
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
			"updatable 'false' in $schema refuses $name");
	}
	is( said($session, "SELECT name FROM tokens WHERE id = 2"),
		'alice api', "updatable 'false' in $schema allows SELECT");
	is( said(
			$session,
			"SELECT pg_relation_is_updatable('tokens'::regclass, false)"),
		0,
		"updatable 'false' in $schema is seen by pg_relation_is_updatable()");
}
is( said(
		$session, "SELECT pg_relation_is_updatable('guards.tokens'::regclass, false)"
	),
	28,
	"tables are updatable by default");
is($sim->count(method => $_), 0, "refused statements make no $_") foreach qw(POST DELETE);

# A copy of the database has the setting in its postgresql.conf, where sessions
# that do not know the extension yet find it.
$node->append_conf('postgresql.conf', 'gitlab_pat_fdw.read_only = on');
$node->reload;
my $copy = open_session($node, 'guards', verbosity => 'verbose');
foreach my $name (sort keys %statements)
{
	like(
		said($copy, $statements{$name}),
		qr/ERROR:  25006: cannot change anything in GitLab while "gitlab_pat_fdw.read_only" is on/,
		"read_only in postgresql.conf refuses $name");
}
is(said($copy, 'SELECT name FROM tokens WHERE id = 2'),
	'alice api', 'read_only in postgresql.conf allows SELECT');
$copy->close;
$node->append_conf('postgresql.conf', 'gitlab_pat_fdw.read_only = off');
$node->reload;
is($sim->count(method => $_), 0, "read_only in postgresql.conf lets no $_ out")
  foreach qw(POST DELETE);

# It is turned on after the statements that ask for changes.  What is undone goes out.
my $frozen = 'SET LOCAL gitlab_pat_fdw.read_only = on';
my $variable = "WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'";
my $held = $sim->variable_value('project acme/app', 'DEPLOY_PAT');
foreach my $case (
	[ 'a DELETE', $statements{DELETE}, '' ],
	[ 'an UPDATE', $statements{UPDATE}, '17 revoked' ],
	[ 'a secret', q{SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice')}, '' ],
	[ 'a variable', "UPDATE public.gitlab_project_variables SET value = 'a-new-secret' $variable", '' ],
	[ 'a variable and a new token', "$insert; UPDATE public.gitlab_project_variables SET value = 'a-new-secret' $variable", '17 revoked' ])
{
	my ($name, $sql, $expected) = @$case;

	$sim->reset;
	like(said_in_full($node, 'guards', "BEGIN; $sql; $frozen; COMMIT"),
		qr/ERROR:  25006: cannot change anything in GitLab while "gitlab_pat_fdw.read_only" is on/,
		"read_only that is turned on after $name fails the COMMIT");
	is(changes($sim), $expected, "read_only that is turned on after $name: GitLab has the tokens that it had");
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), $held,
		"read_only that is turned on after $name: the variable holds what it held");
}
foreach my $case (
	[ 'INSERT', "BEGIN; $insert; $frozen; COMMIT", '17 active' ],
	[ 'native UPDATE', "BEGIN; $statements{'native UPDATE'}; $frozen; COMMIT", '2 revoked, 17 active' ],
	[ 'INSERT that is rolled back', "BEGIN; $insert; $frozen; ROLLBACK", '17 revoked' ],
	[ 'INSERT under a savepoint', "BEGIN; SAVEPOINT s; $insert; ROLLBACK TO s; $frozen; COMMIT", '17 revoked' ])
{
	my ($name, $sql, $expected) = @$case;

	$sim->reset;
	unlike(said_in_full($node, 'guards', $sql), qr/ERROR|WARNING/, "read_only that is turned on after $name fails nothing");
	is(changes($sim), $expected, "read_only that is turned on after $name leaves the right tokens");
}


# --- a rate limit at COMMIT -----------------------------------------------------------

$sim->reset;
$sim->fault('DELETE', 'tokens/2$', 'status', status => 429,
	headers => { 'RateLimit-Reset' => time + 3600 });
like(
	said($session, 'SET search_path = guards; DELETE FROM tokens WHERE id = 2'),
	qr/ERROR:  53400: could not revoke personal access token 2 .*HINT:  The rate limit is reset at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; try again then\.  The transaction is rolled back/s,
	'a COMMIT that meets a rate limit says when to try again');
$sim->clear_faults;


# --- PREPARE TRANSACTION --------------------------------------------------------------

said($session, 'SET search_path = guards');
foreach my $name (grep { $_ ne 'COPY' } sort keys %statements)
{
	$sim->reset;
	like(
		said(
			$session, "BEGIN; $statements{$name}; PREPARE TRANSACTION 'p'"),
		qr/ERROR:  0A000: cannot PREPARE a transaction that has changed anything in GitLab\n/,
		"PREPARE TRANSACTION is refused after $name");
	unlike(changes($sim), $name =~ /native/ ? qr/17 revoked/ : qr/17 active/,
		"a refused PREPARE TRANSACTION rolls $name back");
}
is( said(
		$session,
		"BEGIN; SELECT name FROM tokens WHERE id = 3; PREPARE TRANSACTION 'p';
		 COMMIT PREPARED 'p'"),
	'alice read',
	'PREPARE TRANSACTION is allowed after SELECT');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	0, 'no prepared transaction is left');


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

my $on = 'on server "gitlab" by session user "postgres" as role "postgres"';
my %token = (new => '("new" of user 2, scopes api)', alice => '("alice api" of user 2, scopes api)');
is(audit($insert), "personal access token 17 created $token{new} $on",
	'log_changes notes what INSERT creates');
is(audit("BEGIN; $insert; ROLLBACK"),
	"personal access token 17 created $token{new} $on; personal access token 17 revoked $token{new} $on",
	'log_changes notes that the rollback of INSERT revokes');
is(audit($statements{UPDATE}),
	"personal access token 2 replaced by 17 $token{alice} $on; personal access token 2 revoked $token{alice} $on",
	'log_changes notes what UPDATE creates and revokes');
is(audit($statements{'native UPDATE'}),
	"personal access token 2 replaced by 17 and revoked $token{alice} $on",
	'log_changes notes what a native UPDATE rotates');
is(audit($statements{DELETE}),
	"personal access token 2 revoked $token{alice} $on",
	'log_changes notes what DELETE revokes');
is(audit("BEGIN; $statements{DELETE}; ROLLBACK"),
	'', 'log_changes notes nothing of a DELETE that is rolled back');
is(audit("SET gitlab_pat_fdw.log_changes = off; $insert; $statements{DELETE}"),
	'', 'log_changes notes nothing when it is off');
said($session, 'RESET gitlab_pat_fdw.log_changes');

# The rotation of the credential is noted as soon as GitLab has done it.
my $mapping = 'in the user mapping of server "gitlab" by session user "postgres" as role "postgres"';
my $self = 'personal access token 2 replaced by 17 and revoked';

sub use_token
{
	my ($token) = @_;

	said($session, "ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$token')");
	return;
}

use_token('glpat-sim-alice');
is(audit(q{CALL public.gitlab_pat_rotate_self('gitlab')}), "$self $token{alice} $mapping",
	'log_changes notes what gitlab_pat_rotate_self() rotates');
{
	my $name = 'gitlab_pat_rotate_self() that is cancelled while it tries the new token';
	my $offset = -s $node->logfile;

	use_token('glpat-sim-alice');
	$sim->reset;
	$sim->fault('GET', 'personal_access_tokens/self', 'stall', nth => 3, seconds => 20);
	$session->send(q{CALL public.gitlab_pat_rotate_self('gitlab')});
	wait_until('the new token is tried', sub { $sim->count(method => 'GET', path => 'tokens/self') == 3 });
	sleep 0.1;
	signal_backend($session, 'INT');
	like(said_later($session), qr/ERROR:  57014: could not verify the new API token/, "$name: the error says so");
	like(slurp_file($node->logfile, $offset), qr/LOG:  \Q$self $token{alice} $mapping\E\n/, "$name: log_changes has noted the rotation");
	$sim->clear_faults;
}
{
	my $name = 'gitlab_pat_rotate_self() that gets no secret';
	my $offset = -s $node->logfile;

	use_token('glpat-sim-alice');
	$sim->reset;
	$sim->fault('POST', 'self/rotate', 'edit', remove => ['token']);
	like(said($session, q{CALL public.gitlab_pat_rotate_self('gitlab')}), qr/ERROR:  08P01: could not rotate API token 2/, "$name: the error says so");
	like(slurp_file($node->logfile, $offset), qr/LOG:  \Q$self $token{alice} $mapping\E\n/, "$name: log_changes has noted the rotation");
	$sim->clear_faults;
}
use_token('glpat-sim-admin');

# The role is the one whose user mapping is used; it can't hide.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE clerk;
	GRANT USAGE ON SCHEMA guards TO clerk;
	GRANT ALL ON ALL TABLES IN SCHEMA guards TO clerk;
	CREATE USER MAPPING FOR clerk SERVER gitlab
		OPTIONS (token 'glpat-sim-frank');});
$on = 'on server "gitlab" by session user "postgres" as role "clerk"';
is(audit("SET ROLE clerk; $statements{DELETE}; RESET ROLE"),
	"personal access token 2 revoked $token{alice} $on",
	'log_changes names the role whose user mapping is used');

# A view and a SECURITY DEFINER function act as their owners, for whoever has logged in.
$node->safe_psql(
	'postgres', q{
	ALTER ROLE clerk LOGIN;
	CREATE VIEW guards.of_alice AS SELECT * FROM guards.tokens WHERE user_id = 2;
	GRANT DELETE, SELECT ON guards.of_alice TO clerk;
	CREATE FUNCTION guards.leave(bigint) RETURNS void LANGUAGE sql SECURITY DEFINER
		AS 'DELETE FROM guards.tokens WHERE id = $1';});
foreach my $case (
	[ 'a view', 'DELETE FROM guards.of_alice WHERE id = 2' ],
	[ 'a function', 'SELECT guards.leave(2)' ])
{
	my $offset = -s $node->logfile;

	$sim->reset;
	$node->psql('postgres', $case->[1], extra_params => [ '-U', 'clerk' ]);
	like(slurp_file($node->logfile, $offset),
		qr/LOG:  personal access token 2 revoked \("alice api" of user 2, scopes api\) on server "gitlab" by session user "clerk" as role "postgres"\n/,
		"log_changes names who has logged in and the owner of $case->[0]");
}

# Names in GitLab cannot make a line look like another one.
$sim->reset;
is(audit(q{INSERT INTO tokens (user_id, name, scopes) VALUES (2, E'x" revoked\nLOG:  \u202e\u0007', '{api,read_user}')}),
	'personal access token 17 created ("x? revoked LOG:" of user 2, scopes api read_user) '
	  . 'on server "gitlab" by session user "postgres" as role "postgres"',
	'log_changes takes quotes, line breaks and marks of direction out of names');
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
like($all, qr/28000/, 'secrets: GitLab refuses the wrong credential');
my $log = slurp_file($node->logfile);
like($log, qr/LOG:  GitLab request: POST /, 'secrets: requests were logged');
is_secretive($sim, $log, 'the log');
is_secretive($sim, $all, 'what the client was told');
unlike($log . $all, qr/\Q$wrong\E/, 'secrets: no message shows the wrong credential');
unlike($log . $all, qr/PRIVATE-TOKEN|Bearer/i, 'secrets: no message shows the header of a credential');

$session->close;
is_alive($node);
$node->stop;

done_testing();
