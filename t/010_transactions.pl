
# What becomes of GitLab's tokens when a transaction ends, in whatever way.
#
# A table of endings, each tried with each kind of change.  A cell says which
# tokens differ from the simulator's fixture afterwards, and which warnings
# there were: every token that was created for nothing is revoked, or named.

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
use Time::HiRes qw(time);

# In seconds: longer than a busy machine needs for a wait of rollback_timeout, one
# second, and shorter than request_timeout, half a minute.
use constant SOON => 15;

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	server_options => q{max_retries '0', rollback_timeout '1s'});
create_tables($node, 'matrix');
create_tables($node, 'serial', "url '${\$sim->url}', concurrency '1'");
create_tables($node, 'patient', "url '${\$sim->url}', rollback_timeout '60s'");
$node->safe_psql(
	'postgres', q{
	CREATE TABLE matrix.parents (id bigint PRIMARY KEY);
	CREATE TABLE matrix.children (id bigint
		REFERENCES matrix.parents DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE matrix.counters AS SELECT 1 AS n;});
my $started =
  $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');


# --- the changes --------------------------------------------------------------

my $later = 'current_date + 90';
my %changes = (
	INSERT => qq{INSERT INTO tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'new', '{api}', $later)},
	UPDATE => "UPDATE tokens SET expires_at = $later WHERE id = 2",
	NATIVE => "UPDATE native_tokens SET expires_at = $later WHERE id = 2",
	DELETE => 'DELETE FROM tokens WHERE id = 2');
my @kinds = qw(INSERT UPDATE NATIVE DELETE);

# The POST that a change sends at once.
my %post = (
	INSERT => 'users/2/personal_access_tokens',
	UPDATE => 'users/2/personal_access_tokens',
	NATIVE => '2/rotate');

# What differs from the fixture then.
my %committed = (
	INSERT => '17 active',
	UPDATE => '2 revoked, 17 active',
	NATIVE => '2 revoked, 17 active',
	DELETE => '2 revoked');
my %undone = (
	INSERT => '17 revoked',
	UPDATE => '17 revoked',
	NATIVE => '2 revoked, 17 active',
	DELETE => '');

# A native rotation can't be undone: a warning says so.
my $rotated = message(
	'WARNING:  the rotation of personal access token 2 on server "gitlab" could not be rolled back',
	'DETAIL:  GitLab has revoked it in favor of 17.');

# A pattern for a message whose lines begin like this, as psql prints it or as
# it stands in the log.
sub message
{
	my $lines = join '[^\n]*\n[^\n]*', map { quotemeta } @_;

	return qr/$lines/;
}

# What names a token that is not revoked, and the statement that does it.
sub unpaid
{
	my ($id, $why, $server) = @_;
	my $state = $why =~ /"400/ ? 'They still work' : 'GitLab may have revoked them all the same';

	my $warning = message(
		'WARNING:  could not revoke personal access tokens on server "'
		  . ($server // 'gitlab')
		  . qq{": $id},
		"DETAIL:  $why");

	return qr/$warning.* $state\.\n.*HINT:  Run: (DELETE FROM \S+ WHERE id IN \($id\);)/;
}


# --- endings that SQL can bring about -------------------------------------------

# [name, SQL with %s for the change, what differs then, pattern of an error]
my @endings = (
	[ 'commit', 'BEGIN; %s; COMMIT', \%committed ],
	[ 'autocommit', '%s', \%committed ],
	[ 'rollback', 'BEGIN; %s; ROLLBACK', \%undone ],
	[
		'savepoint rolled back, then commit',
		'BEGIN; SAVEPOINT s; %s; ROLLBACK TO s; COMMIT', \%undone
	],
	[
		'savepoint rolled back, then rollback',
		'BEGIN; SAVEPOINT s; %s; ROLLBACK TO s; ROLLBACK', \%undone
	],
	[
		'savepoint released, then commit',
		'BEGIN; SAVEPOINT s; %s; RELEASE s; COMMIT', \%committed
	],
	[
		'inner savepoint released, outer one rolled back, then commit',
		'BEGIN; SAVEPOINT a; SAVEPOINT b; %s; RELEASE b; ROLLBACK TO a; COMMIT',
		\%undone
	],
	[
		'another savepoint rolled back, then commit',
		'BEGIN; %s; SAVEPOINT s; SELECT 1; ROLLBACK TO s; COMMIT', \%committed
	],
	[
		'error later in the statement',
		'%s RETURNING 1 / (user_id - 2)', \%undone, qr/division by zero/
	],
	[
		'error in a later statement',
		'BEGIN; %s; SELECT 1 / 0; COMMIT', \%undone, qr/division by zero/
	],
	[
		'deferred constraint violated at commit',
		'BEGIN; INSERT INTO children VALUES (1); %s; COMMIT',
		\%undone, qr/violates foreign key/
	],
	[
		'exception caught in PL/pgSQL',
		'DO $$BEGIN %s; RAISE division_by_zero; '
		  . 'EXCEPTION WHEN division_by_zero THEN NULL; END$$', \%undone
	],
	[
		'exception not caught in PL/pgSQL',
		'DO $$BEGIN %s; RAISE division_by_zero; END$$', \%undone, qr/ERROR/
	],
	[
		'committed by a procedure, which fails later',
		'DO $$BEGIN %s; COMMIT; RAISE division_by_zero; END$$',
		\%committed, qr/ERROR/
	],
	[
		'rolled back by a procedure, which commits later',
		'DO $$BEGIN %s; ROLLBACK; COMMIT; END$$', \%undone
	],
	[
		'cursor of a statement with RETURNING, closed by rollback',
		'BEGIN; WITH c AS (%s RETURNING id) SELECT count(*) FROM c; ROLLBACK',
		\%undone
	],
	[
		'prepared transaction',
		'BEGIN; %s; PREPARE TRANSACTION $$p$$',
		\%undone, qr/ERROR/
	]);

# A change's end: the state of the tokens and the warnings.
sub check_end
{
	my ($name, $kind, $differing, $text) = @_;
	my $lost = $kind eq 'NATIVE' && $differing == \%undone;

	is(changes($sim), $differing->{$kind}, "$kind, $name: GitLab has the tokens that it should");
	is(count_matches($text, qr/WARNING:/),
		$lost ? 1 : 0, "$kind, $name: the number of warnings is right")
	  or diag($text);
	like($text, $rotated, "$kind, $name: a warning names the token") if $lost;
	return;
}

my $session = open_session($node, 'matrix');
foreach my $ending (@endings)
{
	my ($name, $sql, $differing, $error) = @$ending;

	foreach my $kind (@kinds)
	{
		$sim->reset;
		my $text = said($session, sprintf($sql, $changes{$kind}));
		check_end($name, $kind, $differing, $text);
		like($text, $error, "$kind, $name: the statement fails with the right error") if $error;
		unlike($text, qr/ERROR/, "$kind, $name: nothing fails") unless $error;
	}
}


# --- several rows, of which a later one fails -----------------------------------

my $copied = PostgreSQL::Test::Utils::tempdir . '/tokens';
my $date = $node->safe_psql('postgres', "SELECT ($later)::text");
append_to_file($copied, "2\tnew\t{api}\t$date\n8\tnew\t{nonsense}\t$date\n");

foreach my $case (
	[
		'INSERT',
		qq{INSERT INTO tokens (user_id, name, scopes, expires_at)
			SELECT u, 'new', '{api}', $later FROM (VALUES (2), (8), (4711)) v(u)},
		'17 revoked, 18 revoked',
		qr/ERROR:  could not create a personal access token for user 4711/
	],
	[
		'UPDATE',
		"UPDATE tokens SET expires_at = $later WHERE id IN (2, 3, 13)",
		'',
		qr/ERROR:  personal access token 13 cannot be replaced/
	],
	[
		'UPDATE with a join',
		"UPDATE tokens SET expires_at = $later FROM (VALUES (2), (3), (13)) v(n) WHERE id = n",
		'',
		qr/ERROR:  personal access token 13 cannot be replaced/
	],
	[
		'DELETE',
		'DELETE FROM tokens WHERE id IN (2, 3, 4) RETURNING 1 / (id - 4)',
		'',
		qr/division by zero/
	],
	[
		'COPY',
		"COPY tokens (user_id, name, scopes, expires_at) FROM '$copied'",
		'17 revoked',
		qr/ERROR:  could not create a personal access token for user 8/
	])
{
	my ($kind, $sql, $differing, $error) = @$case;

	$sim->reset;
	like(said($session, $sql), $error, "$kind of several rows fails with the error of the bad one");
	is(changes($sim), $differing, "$kind of several rows leaves GitLab the tokens that it should");
}


# --- cancelled ------------------------------------------------------------------

sub wait_until_active
{
	my ($pid, $condition) = @_;

	wait_until("backend $pid: $condition",
		sub {
			$node->safe_psql('postgres',
				"SELECT $condition FROM pg_stat_activity WHERE pid = $pid") eq
			  't';
		});
	return;
}

foreach my $kind (@kinds)
{
	$sim->reset;
	said($session, "BEGIN; $changes{$kind}");
	$session->send('SELECT pg_sleep(600); COMMIT');
	wait_until_active($session->pid, q{wait_event = 'PgSleep'});
	signal_backend($session, 'INT');
	my $text = said_later($session);
	like($text, qr/canceling statement/, "$kind, cancel between statements: the statement is canceled");
	check_end('cancel between statements', $kind, \%undone, $text);
}

# The POST is carried out, and its answer comes half a second later: the
# rollback waits for it.
foreach my $before ('BEGIN', 'BEGIN; SAVEPOINT s')
{
	my $after = $before eq 'BEGIN' ? 'COMMIT' : 'ROLLBACK TO s; COMMIT';

	foreach my $kind (qw(INSERT UPDATE NATIVE))
	{
		my $name = "$before, cancel while the POST is in flight, $after";

		$sim->reset;
		$sim->fault('POST', $post{$kind}, 'stall',
			seconds => 0.4, moment => 'after');
		said($session, $before);
		$session->send("$changes{$kind}; $after");
		$sim->wait_for('POST', $post{$kind});
		signal_backend($session, 'INT');
		my $text = said_later($session);
		like($text, qr/canceling statement/, "$kind, $name: the statement is canceled");
		check_end($name, $kind, \%undone, $text);
		is($sim->count(method => 'POST'), 1, "$kind, $name: GitLab gets one POST");
	}
}

# The same, but GitLab never answers: a warning gives the SELECT that finds it.
foreach my $kind (qw(INSERT UPDATE NATIVE))
{
	my $name = 'cancel while the POST is in flight, no answer';

	$sim->reset;
	$sim->fault('POST', $post{$kind}, 'stall', moment => 'after');
	my $begun = time;
	$session->send("BEGIN; $changes{$kind}; COMMIT");
	$sim->wait_for('POST', $post{$kind});
	signal_backend($session, 'INT');
	my $text = said_later($session);
	cmp_ok(time - $begun, '<', SOON, "$kind, $name: the rollback waits for a bounded time");
	$sim->clear_faults;
	is(count_matches($text, qr/WARNING:/), 1, "$kind, $name: there is one warning")
	  or diag($text);
	like($text,
		$kind eq 'NATIVE'
		? qr/personal access token 2 on server "gitlab" may have been rotated/
		: qr/a personal access token may have been created on server "gitlab"/,
		"$kind, $name: a warning names the token");
	my ($finder) = $text =~ /HINT:  Look for .*?: (SELECT .*;)\n?/;
	my $found = $finder ? said($session, $finder) : $text;
	like($found, qr/^17\|/m, "$kind, $name: the SELECT finds the token");
}

# The commit of a DELETE.
{
	my $name = 'DELETE, cancel while the commit revokes';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/2$', 'stall', moment => 'after');
	$session->send("BEGIN; $changes{DELETE}; COMMIT");
	$sim->wait_for('DELETE', 'tokens/2$');
	signal_backend($session, 'INT');
	my $text = said_later($session);
	like($text, qr/canceling statement/, "$name: the statement is canceled");
	like($text,
		qr/WARNING:  although .*rolled back.* may have been revoked on server "gitlab": 2\n/,
		"$name: the warning names the tokens");
	is(changes($sim), '2 revoked', "$name: GitLab has the tokens that it should");
}

# A gateway that answers 503 says nothing of what GitLab does, and is an answer.
{
	my $name = 'DELETE, cancel between answers of 503';

	$sim->reset;
	$node->safe_psql('postgres', q{ALTER SERVER gitlab OPTIONS (SET max_retries '4')});
	$sim->fault('DELETE', 'tokens/2$', 'status', status => 503, times => 0, moment => 'after');
	$session->send("BEGIN; $changes{DELETE}; COMMIT");
	$sim->wait_for('DELETE', 'tokens/2$', 3);
	signal_backend($session, 'INT');
	my $text = said_later($session);
	like($text, qr/WARNING:  although .*rolled back.* may have been revoked on server "gitlab": 2\nDETAIL:  GitLab had not confirmed that /,
		"$name: the warning's detail does not say that there was no answer");
	$sim->clear_faults;
	$node->safe_psql('postgres', q{ALTER SERVER gitlab OPTIONS (SET max_retries '0')});
}

# The same with a rollback that has more to do, during which the answer comes.
{
	my $name = 'INSERT and DELETE, cancel while the commit revokes';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/2$', 'stall',
		seconds => 0.4, moment => 'after');
	$sim->fault('DELETE', 'tokens/17$', 'stall',
		seconds => 0.8, moment => 'after');
	$session->send("BEGIN; $changes{INSERT}; $changes{DELETE}; COMMIT");
	$sim->wait_for('DELETE', 'tokens/2$');
	signal_backend($session, 'INT');
	my $text = said_later($session);
	like($text, qr/WARNING:  although .*rolled back.* revoked on server "gitlab": 2\n/,
		"$name: the warning names the tokens");
	is(changes($sim), '2 revoked, 17 revoked', "$name: GitLab has the tokens that it should");
}
$session->close;


# --- terminated -----------------------------------------------------------------

# What the server's log says from an offset on.
sub logged
{
	my ($offset) = @_;

	return slurp_file($node->logfile, $offset);
}

foreach my $kind (@kinds)
{
	my $offset = -s $node->logfile;
	my $victim = open_session($node, 'matrix');

	$sim->reset;
	said($victim, "BEGIN; $changes{$kind}");
	signal_backend($victim, 'TERM');
	wait_until_gone($victim);
	check_end('terminate while idle in transaction',
		$kind, \%undone, logged($offset));
}

foreach my $kind (qw(INSERT UPDATE NATIVE))
{
	my $name = 'terminate while the POST is in flight';
	my $offset = -s $node->logfile;
	my $victim = open_session($node, 'matrix');

	$sim->reset;
	$sim->fault('POST', $post{$kind}, 'stall',
		seconds => 0.4, moment => 'after');
	$victim->send("BEGIN; $changes{$kind}; COMMIT");
	$sim->wait_for('POST', $post{$kind});
	signal_backend($victim, 'TERM');
	wait_until_gone($victim);
	check_end($name, $kind, \%undone, logged($offset));
	is($sim->count(method => 'POST'), 1, "$kind, $name: GitLab gets one POST");
}

{
	my $name = 'DELETE, terminate while the commit revokes';
	my $offset = -s $node->logfile;
	my $victim = open_session($node, 'matrix');

	$sim->reset;
	$sim->fault('DELETE', 'tokens/2$', 'stall', moment => 'after');
	$victim->send("BEGIN; $changes{DELETE}; COMMIT");
	$sim->wait_for('DELETE', 'tokens/2$');
	signal_backend($victim, 'TERM');
	wait_until_gone($victim);
	like(logged($offset),
		qr/WARNING:  although .*rolled back.* may have been revoked on server "gitlab": 2\n/,
		"$name: the warning names the tokens");
	is(changes($sim), '2 revoked', "$name: GitLab has the tokens that it should");
}

# The client's end is nothing but a rollback.
{
	my $gone = open_session($node, 'matrix');

	$sim->reset;
	said($gone, "BEGIN; $changes{INSERT}");
	$gone->close;
	wait_until_gone($gone);
	is(changes($sim), '17 revoked', 'INSERT, client gone: GitLab revokes the new token');
}


# --- what is owed can't be paid -------------------------------------------------

$session = open_session($node, 'matrix');

# [kind, SQL after the change, what GitLab does, id owed, tokens, reason].  A token that
# GitLab has not refused to revoke may be dead, and the warning says so.
foreach my $case (
	[ 'INSERT', 'ROLLBACK', 'refuses', 17, '17 active', 'GitLab said: "400' ],
	[ 'UPDATE', 'ROLLBACK', 'refuses', 17, '17 active', 'GitLab said: "400' ],
	[ 'UPDATE', 'COMMIT', 'refuses', 2, '17 active', 'GitLab said: "400' ],
	[ 'INSERT', 'ROLLBACK', 'fails after', 17, '17 revoked', 'GitLab said: "500' ],
	[ 'UPDATE', 'COMMIT', 'fails after', 2, '2 revoked, 17 active', 'GitLab said: "500' ],
	[ 'INSERT', 'ROLLBACK', 'stalls', 17, '17 active', 'There was no time' ],
	[ 'UPDATE', 'ROLLBACK', 'stalls', 17, '17 active', 'There was no time' ],
	[ 'UPDATE', 'COMMIT', 'stalls', 2, '17 active', 'There was no time' ])
{
	my ($kind, $end, $does, $id, $differing, $why) = @$case;
	my $name = "$kind, GitLab $does the revocation at $end";
	my %fault = (
		'refuses' => [ 'status', status => 400 ],
		'fails after' => [ 'status', status => 500, moment => 'after' ],
		'stalls' => ['stall']);

	$sim->reset;
	$sim->fault('DELETE', "tokens/$id\$", @{ $fault{$does} });
	said($session, "BEGIN; $changes{$kind}");
	my $begun = time;
	my $text = said($session, $end);
	my $took = time - $begun;
	unlike($text, qr/ERROR/, "$name: the transaction ends without an error");
	is(count_matches($text, qr/WARNING:/), 1, "$name: there is one warning");
	like($text, unpaid($id, $why), "$name: the warning names the tokens");
	if ($does eq 'stalls')
	{
		cmp_ok($took, '>=', 0.9, "$name: the transaction waits for the revocation");
		cmp_ok($took, '<', SOON, "$name: the wait does not exceed rollback_timeout");
	}
	is(changes($sim), $differing, "$name: GitLab has the tokens that it should");

	$sim->clear_faults;
	my ($statement) = $text =~ unpaid($id, $why);
	is(said($session, $statement // 'SELECT NULL'),
		'', "$name: the statement in the hint runs");
	like(changes($sim), qr/\b$id revoked/, "$name: the statement in the hint revokes the token");
}

# A backend that exits waits for one second at most, and one that is cancelled
# meanwhile not even that.
{
	my $name = 'terminated, and GitLab stalls';
	my $offset = -s $node->logfile;
	my $victim = open_session($node, 'matrix');

	$sim->reset;
	said($victim, "BEGIN; $changes{INSERT}; $changes{INSERT}; $changes{INSERT}");
	$sim->fault('DELETE', 'tokens/17', 'stall', times => 0);
	my $begun = time;
	signal_backend($victim, 'TERM');
	wait_until_gone($victim);
	cmp_ok(time - $begun, '<', SOON, "$name: the backend waits for a bounded time");
	$sim->clear_faults;
	like(logged($offset), unpaid(17, 'There was no time'),
		"$name: the warning names the tokens");
	is(changes($sim), '17 active, 18 revoked, 19 revoked', "$name: GitLab has the tokens that it should");
}

foreach my $signal (qw(INT TERM))
{
	my $name = "$signal while the rollback revokes";
	my $offset = -s $node->logfile;
	my $victim = open_session($node, 'patient');

	$sim->reset;
	said($victim, "BEGIN; $changes{INSERT}");
	$sim->fault('DELETE', 'tokens/17', 'stall');
	$victim->send('ROLLBACK');
	$sim->wait_for('DELETE', 'tokens/17');
	my $begun = time;
	signal_backend($victim, $signal);
	$signal eq 'INT' ? said_later($victim) : wait_until_gone($victim);
	cmp_ok(time - $begun, '<', SOON, "$name: the wait ends at once");
	$sim->clear_faults;
	like(logged($offset), unpaid(17, 'There was no time', 'patient'),
		"$name: the warning names the tokens");
	is(changes($sim), '17 active', "$name: GitLab has the tokens that it should");
	$victim->close if $signal eq 'INT';
}


# --- the commit fails ------------------------------------------------------------

{
	my $name = 'one of three revocations fails';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/3$', 'status', status => 400);
	my $text = said($session,
		"BEGIN; $changes{INSERT}; DELETE FROM serial.tokens WHERE id IN (2, 3, 4); COMMIT");
	like(
		$text,
		message(
			'ERROR:  could not revoke personal access token 3 on server "serial"',
			'DETAIL:  GitLab said: '),
		"$name: the commit fails with the right error");
	like($text, qr/ 1 tokens? had already been revoked: 2\.\n/,
		"$name: the detail says what had been revoked");
	like($text, qr/HINT: .* running it again is safe\./, "$name: the hint says that a repetition is safe");
	is(count_matches($text, qr/WARNING:/), 0, "$name: there is no warning");
	is(changes($sim), '2 revoked, 17 revoked', "$name: GitLab has the tokens that it should");

	$text = said($session, 'DELETE FROM serial.tokens WHERE id IN (2, 3, 4)');
	is($text, '', "$name: running it again succeeds");
	is( changes($sim),
		'2 revoked, 3 revoked, 4 revoked, 17 revoked',
		"$name: the repetition revokes all tokens");
}

# A token that the transaction itself has created is no loss.
{
	my $name = 'revocation fails, after that of a token just created';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/3$', 'status', status => 400);
	my $text = said(
		$session,
		'SET search_path = serial; BEGIN; '
		  . "$changes{INSERT}; DELETE FROM tokens WHERE id = 17;
		 DELETE FROM tokens WHERE id = 3; COMMIT; SET search_path = matrix");
	like(
		$text,
		message(
			'ERROR:  could not revoke personal access token 3',
			'DETAIL:  GitLab said: '),
		"$name: the commit fails with the right error");
	like($text, qr/ No other token had been revoked\./, "$name: the detail says what had been revoked");
	is(count_matches($text, qr/WARNING:/), 0, "$name: there is no warning")
	  or diag($text);
	is(changes($sim), '17 revoked', "$name: GitLab has the tokens that it should");
}

# PostgreSQL itself fails the transaction after its revocations: nothing brings
# them back, but a warning says so.
{
	my $name = 'serialization failure';
	my $other = open_session($node, 'matrix');

	$sim->reset;
	said($_, 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM counters')
	  foreach ($session, $other);
	said($session,
		"INSERT INTO counters VALUES (3); $changes{DELETE}; $changes{INSERT}");
	is(said($other, 'INSERT INTO counters VALUES (2); COMMIT'),
		'', "$name: the other session commits");
	my $text = said($session, 'COMMIT');
	like($text, qr/ERROR:  could not serialize/, "$name: the commit fails with the right error");
	like(
		$text,
		message(
			'WARNING:  although the transaction was rolled back, personal access tokens were revoked on server "gitlab": 2'
		),
		"$name: the warning names the tokens");
	is(count_matches($text, qr/WARNING:/), 1, "$name: there is no other warning");
	is(changes($sim), '2 revoked, 17 revoked', "$name: GitLab has the tokens that it should");
	$other->close;
}


# --- what one transaction does to the same token ----------------------------------

# [name, SQL, tokens]
foreach my $case (
	[
		'created and deleted, commit',
		"BEGIN; $changes{INSERT}; DELETE FROM tokens WHERE id = 17; COMMIT",
		'17 revoked'
	],
	[
		'created and deleted, rollback',
		"BEGIN; $changes{INSERT}; DELETE FROM tokens WHERE id = 17; ROLLBACK",
		'17 revoked'
	],
	[
		'created, deleted in a savepoint that is rolled back, commit',
		"BEGIN; $changes{INSERT}; SAVEPOINT s; DELETE FROM tokens WHERE id = 17;
		 ROLLBACK TO s; COMMIT",
		'17 active'
	],
	[
		'rotated twice, commit',
		"BEGIN; $changes{UPDATE};
		 UPDATE tokens SET expires_at = $later WHERE id = 17; COMMIT",
		'2 revoked, 17 revoked, 18 active'
	],
	[
		'rotated twice, rollback',
		"BEGIN; $changes{UPDATE};
		 UPDATE tokens SET expires_at = $later WHERE id = 17; ROLLBACK",
		'17 revoked, 18 revoked'
	],
	[
		'rotated, and again in a savepoint that is rolled back, commit',
		"BEGIN; $changes{UPDATE}; SAVEPOINT s;
		 UPDATE tokens SET expires_at = $later WHERE id = 17;
		 ROLLBACK TO s; COMMIT",
		'2 revoked, 17 active, 18 revoked'
	],
	[
		'rotated in a savepoint that is rolled back, and again, commit',
		"BEGIN; SAVEPOINT s; $changes{UPDATE}; ROLLBACK TO s; $changes{UPDATE};
		 COMMIT",
		'2 revoked, 17 revoked, 18 active'
	],
	[
		'deleted in a savepoint that is rolled back, and again, commit',
		"BEGIN; SAVEPOINT s; $changes{DELETE}; ROLLBACK TO s; $changes{DELETE};
		 COMMIT",
		'2 revoked'
	],
	[
		'rotated and the old one deleted, commit',
		"BEGIN; $changes{UPDATE}; $changes{DELETE}; COMMIT",
		'2 revoked, 17 active'
	])
{
	my ($name, $sql, $differing) = @$case;

	$sim->reset;
	is(said($session, $sql), '', "$name: the transaction ends without a message");
	is(changes($sim), $differing, "$name: GitLab has the tokens that it should");
}


# --- GitLab dies -------------------------------------------------------------------

{
	my $name = 'GitLab is dead';
	my $dying = GitLabSim->start;

	create_tables($node, 'dying',
		"url '${\$dying->url}', rollback_timeout '1s'");
	my $other = open_session($node, 'dying');
	my $mine = open_session($node, 'dying');

	said($mine, "BEGIN; $changes{INSERT}");
	said($other, "BEGIN; $changes{UPDATE}");
	$dying->stop;
	foreach my $case ([ $mine, 'ROLLBACK', 17 ], [ $other, 'COMMIT', 2 ])
	{
		my ($survivor, $end, $id) = @$case;
		my $begun = time;
		my $text = said($survivor, $end);

		cmp_ok(time - $begun, '<', SOON, "$name, $end: the session waits for a bounded time");
		like($text,
			qr/WARNING: .*tokens on server "dying": $id\n.*DETAIL: .*\n.*HINT:  Run: DELETE FROM dying\.tokens WHERE id IN \($id\);/,
			"$name, $end: the warning names the token and the statement that revokes it");
		is(said($survivor, 'SELECT 1'), 1, "$name, $end: the session lives");
		$survivor->close;
	}
}


# --- the server is shut down ---------------------------------------------------------

is_alive($node);
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$started, 'the cluster was not restarted');
$session->close;
{
	my $offset = -s $node->logfile;
	my %victims;

	# one after the other: tokens 17, 18 and 19 are created
	$sim->reset;
	$victims{$_} = open_session($node, 'matrix') foreach (@kinds);
	said($victims{INSERT}, "BEGIN; $changes{INSERT}");
	said($victims{UPDATE}, "BEGIN; $changes{UPDATE}");
	said($victims{NATIVE}, 'BEGIN; ' . $changes{NATIVE} =~ s/id = 2/id = 3/r);
	said($victims{DELETE}, 'BEGIN; ' . $changes{DELETE} =~ s/id = 2/id = 4/r);
	$node->stop('fast');
	is( changes($sim),
		'3 revoked, 17 revoked, 18 revoked, 19 active',
		'fast shutdown: GitLab revokes what open transactions had created');
	my $log = logged($offset);
	is(count_matches($log, qr/WARNING:/), 1, 'fast shutdown: there is one warning');
	like(
		$log,
		qr/rotation of personal access token 3 .*\n.*in favor of 19\./,
		'fast shutdown: the warning names the rotation that cannot be undone');
	like($log, qr/database system is shut down/, 'fast shutdown: the server shuts down');
}
$node->start;
is_alive($node);
$node->stop;

done_testing();
