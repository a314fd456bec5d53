# Promises of commit and rollback that are hard to see: what is durable when a
# token is revoked, what a transaction that is bound to fail still sends, what a
# command sees of its own changes, and through which connection debts are paid.

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
use Time::HiRes qw(sleep time);

my $sim = GitLabSim->start;
my $url = $sim->url;
my $node = gitlab_cluster(
	'main', $sim,
	conf => q{
		synchronous_commit = off
		wal_writer_delay = 10s
		wal_writer_flush_after = 0
		log_statement = 'none'},
	server_options => q{page_size '3', rollback_timeout '2s'});
create_tables($node, 'promises');
$node->safe_psql('postgres', q{CREATE TABLE secret (id bigint, token text)});

my $later = 'current_date + 90';
my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later)";
my $session = open_session($node, 'promises', verbosity => 'verbose');


# --- what is durable -------------------------------------------------------------

# Stops PostgreSQL as a crash would, and starts it again.
sub crash
{
	$node->stop('immediate');
	$node->start;
	$session->close;
	$session = open_session($node, 'promises', verbosity => 'verbose');
	return;
}

# The tokens that are in the table of secrets and do not work.
sub dead_secrets
{
	my %state = map { $_->{token} => $_->{state} } $sim->tokens;

	return join ', ', grep { ($state{$_} // 'unknown') ne 'active' }
	  split /\n/, said($session, 'SELECT token FROM public.secret');
}

foreach my $table (qw(tokens native_tokens))
{
	$sim->reset;
	said($session, q{TRUNCATE public.secret; INSERT INTO public.secret VALUES (2, 'glpat-sim-alice')});
	$node->safe_psql('postgres', 'CHECKPOINT');
	said($session, "BEGIN;
		WITH new AS (UPDATE $table SET expires_at = $later WHERE id = 2 RETURNING id, token)
		UPDATE public.secret s SET id = new.id, token = new.token FROM new; COMMIT");
	crash();
	is(changes($sim), '2 revoked, 17 active', "$table: the token is rotated");
	is(dead_secrets(), '',
		"$table: after a crash right after COMMIT, the secret in the table works");
}

$sim->reset;
said($session, "BEGIN;
	WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING id, token),
	  put AS (UPDATE public.gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT')
	UPDATE public.secret s SET id = new.id, token = new.token FROM new; COMMIT");
crash();
is(dead_secrets(), '', 'after a crash, the secret that was delivered is in the table, too');

$sim->reset;
$node->safe_psql('postgres', 'CHECKPOINT');
said($session, q{CALL gitlab_pat_rotate_self('gitlab')});
crash();
like(said($session, q{SELECT id FROM gitlab_pat_self('gitlab')}), qr/\A\d+\z/,
	'after a crash right after gitlab_pat_rotate_self(), the user mapping has a token that works');
said($session, q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});

$sim->reset;
$node->safe_psql('postgres', 'CHECKPOINT');
said($session, q{SELECT gitlab_pat_set_token('gitlab', 'glpat-sim-alice')});
crash();
is(said($session, q{SELECT id FROM gitlab_pat_self('gitlab')}), '2',
	'after a crash right after gitlab_pat_set_token(), the user mapping has the token that was stored');
said($session, q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
$node->append_conf('postgresql.conf', 'synchronous_commit = on');
$node->reload;


# --- what a transaction that fails still sends -----------------------------------

{
	my $name = 'a DELETE that waits for its retry, and a cancel';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/3', 'status', status => 503, headers => { 'Retry-After' => 2 });
	said($session, "BEGIN; $insert; DELETE FROM tokens WHERE id = 3");
	# the rollback takes long enough for the retry to be due
	$sim->fault('DELETE', 'tokens/17', 'stall', seconds => 3);
	$session->send('COMMIT');
	$sim->wait_for('DELETE', 'tokens/3');
	sleep 0.1;
	signal_backend($session, 'INT');
	my $text = said_later($session);
	like($text, qr/ERROR:  57014/, "$name: the commit fails");
	is($sim->count(method => 'DELETE', path => 'tokens/3'), 1,
		"$name: the rollback does not send the DELETE again");
	isnt($sim->token_state(3), 'revoked', "$name: the token of the DELETE is not revoked");
	$sim->clear_faults;
}

{
	my $name = 'a DELETE that GitLab refuses, and one that waits for its retry';

	$sim->reset;
	$sim->fault('DELETE', 'tokens/3', 'status', status => 403);
	$sim->fault('DELETE', 'tokens/4', 'status', status => 503, headers => { 'Retry-After' => 20 });
	my $begun = time;
	my $text = said($session, 'BEGIN; DELETE FROM tokens WHERE id IN (3, 4); COMMIT');
	like($text, qr/ERROR:  42501/, "$name: the commit fails with the refusal");
	cmp_ok(time - $begun, '<', 15, "$name: the commit does not wait for the retry");
	# the refusal may come before the other request has gone out at all
	cmp_ok($sim->count(method => 'DELETE', path => 'tokens/4'), '<=', 1, "$name: the retry is not sent");
	$sim->clear_faults;
}


# --- what a command sees of its own changes --------------------------------------

said($session, q{
	CREATE FUNCTION try_copy(name text) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO promises.tokens (user_id, name, scopes, expires_at)
			VALUES (2, name, '{api}', current_date + 90);
		RAISE EXCEPTION 'no';
	EXCEPTION WHEN raise_exception THEN
		RETURN 0;
	END $$;
	CREATE FUNCTION change(statement text) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE statement;
		RETURN 1;
	END $$});
$sim->reset;
is(said($session, 'SELECT count(try_copy(name)) FROM tokens'), 16,
	'a scan does not see what its own command created and a savepoint rolled back');
is(scalar(grep { $_->{id} > 16 && $_->{state} ne 'revoked' } $sim->tokens), 0,
	'what the exception blocks rolled back is revoked at the end');
$sim->reset;
is(said($session, "BEGIN; SAVEPOINT s; $insert; ROLLBACK TO s;
	SELECT id, revoked FROM tokens WHERE id = 17; COMMIT"), '17|t',
	'a later command sees what a savepoint rolled back as revoked');

foreach my $case (
	[ 'UPDATE', "UPDATE tokens SET expires_at = $later WHERE id = 2 AND change(%s) = 1" ],
	[ 'DELETE', 'DELETE FROM tokens WHERE id = 2 AND change(%s) = 1' ])
{
	my ($outer, $statement) = @$case;

	foreach my $inner (
		"UPDATE promises.tokens SET expires_at = $later WHERE id = 2",
		"UPDATE promises.native_tokens SET expires_at = $later WHERE id = 2",
		'DELETE FROM promises.tokens WHERE id = 2')
	{
		my ($what) = $inner =~ /^(\w+ \S+)/;
		my $name = "$outer whose condition fires $what of the same token";

		$sim->reset;
		my $text = said($session, sprintf $statement, "'$inner'");
		like($text, qr/ERROR:  27000: personal access token 2 was already changed by an operation triggered/,
			"$name: the error is 27000");
		is(scalar(grep { $_->{id} > 16 && $_->{state} eq 'active' } $sim->tokens),
			$inner =~ /native/ ? 1 : 0, "$name: no replacement is left unnamed");
	}
}
foreach my $statement ("UPDATE tokens SET expires_at = $later WHERE id = 2", 'DELETE FROM tokens WHERE id = 2')
{
	my ($what) = $statement =~ /^(\w+)/;

	$sim->reset;
	like(said($session, "$statement AND gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice') = 2"), qr/ERROR:  27000/,
		"$what of a token that gitlab_pat_revoke_secret() is to revoke in the same command fails");
	is(changes($sim), '', "after $what and gitlab_pat_revoke_secret() in one command, the token is as it was");
}
is(said($session, q{BEGIN; SELECT gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice'), gitlab_pat_revoke_secret('gitlab', 'glpat-sim-alice');
	SELECT revoked FROM tokens WHERE id = 2; COMMIT}), "2|2\nt", 'a secret that one command has revoked twice reads as revoked in the next');
is(changes($sim), '2 revoked', 'a secret that one command has revoked twice is revoked');
{
	$sim->reset;
	said($session, q{
		CREATE FUNCTION revoke_it() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			DELETE FROM promises.tokens WHERE id = OLD.id;
			RETURN NEW;
		END $$;
		CREATE TRIGGER revoke_it BEFORE UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION revoke_it()});
	like(said($session, "UPDATE tokens SET expires_at = $later WHERE id = 2"), qr/ERROR:  27000/,
		'an UPDATE whose BEFORE trigger deletes the same token fails with 27000');
	is(changes($sim), '', 'an UPDATE whose BEFORE trigger deletes the same token changes nothing in GitLab');
	said($session, 'DROP TRIGGER revoke_it ON tokens');
}
{
	$sim->reset;
	said($session, "SELECT change('UPDATE promises.tokens SET expires_at = $later WHERE id = 2'),
		change('DELETE FROM promises.tokens WHERE id = 17')");
	is(changes($sim), '2 revoked, 17 revoked',
		'functions of one statement may change what earlier ones have made');
}
# Of two parts of one command, the first one changes the token: as with a heap.
{
	my %part = (
		UPDATE => "UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING id",
		native => "UPDATE native_tokens SET expires_at = $later WHERE id = 2 RETURNING id",
		DELETE => 'DELETE FROM tokens WHERE id = 2 RETURNING id');

	foreach my $first (qw(UPDATE native DELETE))
	{
		foreach my $second (qw(UPDATE native DELETE))
		{
			$sim->reset;
			is(said($session, "WITH a AS ($part{$first}), b AS ($part{$second})
				SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), '1|0',
				"of $first and $second of one token in one command, the first one changes it");
			is(changes($sim), $first eq 'DELETE' ? '2 revoked' : '2 revoked, 17 active',
				"after $first and $second in one command, there is one replacement at most");
		}
	}
	$sim->reset;
	is(said($session, "SET gitlab_pat_fdw.keep_replaced = on; WITH a AS ($part{UPDATE}), b AS ($part{UPDATE})
		SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), '1|0',
		'a token that one command is to replace and keep twice is replaced once');
	is(changes($sim), '17 active', 'a token that is kept gets one replacement from one command');
	$sim->reset;
	said($session, q{
		CREATE FUNCTION try_rotate(i bigint) RETURNS bool LANGUAGE plpgsql AS $$
		BEGIN
			UPDATE promises.tokens SET expires_at = current_date + 30 WHERE id = i;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			RETURN true;
		END $$});
	is(said($session, "UPDATE tokens SET expires_at = $later WHERE id = 2 AND try_rotate(2) RETURNING id; RESET gitlab_pat_fdw.keep_replaced"), '18',
		'a command replaces a token whose replacement by a function was rolled back');
	is(changes($sim), '17 revoked, 18 active', 'the replacement that was rolled back is revoked');
}
is(said($session, 'DELETE FROM tokens t USING generate_series(1, 3) WHERE t.id IN (2, 6) RETURNING t.id'),
	"2\n6", 'a DELETE returns a row once for all matches of a join, though it was revoked before');


{
	my $name = 'a native rotation that is rolled back, and whose product is deleted';

	$sim->reset;
	my $text = said($session, "BEGIN; SAVEPOINT s;
		UPDATE native_tokens SET expires_at = $later WHERE id = 3; ROLLBACK TO s;
		DELETE FROM tokens WHERE id = 17; COMMIT");
	is(changes($sim), '3 revoked, 17 revoked', "$name: the old token and its replacement are revoked");
	like($text, qr/WARNING: .*the rotation of personal access token 3 .*could not be rolled back/,
		"$name: a warning names the token that was rotated");
}


# --- a creation that is cancelled under a savepoint ------------------------------

{
	my $name = 'a creation that is cancelled under a savepoint';

	$sim->reset;
	said($session, 'BEGIN; SAVEPOINT s');
	$sim->fault('POST', '', 'stall', moment => 'after', seconds => 1);
	$session->send($insert);
	$sim->wait_for('POST', 'tokens');
	sleep 0.1;
	signal_backend($session, 'INT');
	like(said_later($session), qr/ERROR:  57014/, "$name: the statement is cancelled");
	is(said($session, 'ROLLBACK TO s; SELECT id, revoked, active FROM tokens WHERE id = 17'), '17|t|f',
		"$name: the token reads as revoked");
	like(said($session, "SAVEPOINT t; UPDATE tokens SET expires_at = $later WHERE id = 17"),
		qr/ERROR:  55000/, "$name: the token cannot be rotated");
	said($session, 'ROLLBACK TO t; COMMIT');
	is(changes($sim), '17 revoked', "$name: the token is revoked at the end");
}
{
	my $name = 'a creation that is cancelled under a savepoint and never answered';

	$sim->reset;
	said($session, 'BEGIN; SAVEPOINT s');
	$sim->fault('POST', '', 'stall', moment => 'after', seconds => 60);
	$session->send($insert);
	$sim->wait_for('POST', 'tokens');
	sleep 0.1;
	my $begun = time;
	signal_backend($session, 'INT');
	said_later($session);
	my $text = said($session, 'ROLLBACK TO s; SELECT 1');
	cmp_ok(time - $begun, '<', 25, "$name: rollback_timeout limits the wait");
	like(said($session, 'COMMIT'), qr/WARNING:  .*may have been created.*SELECT /s,
		"$name: a warning at the end has the SELECT");
	$sim->clear_faults;
}


# --- through which connection debts are paid -------------------------------------

my $other = GitLabSim->start;
my $second = open_session($node, 'promises', verbosity => 'verbose');

# Back to the fixture, with the fixture's credential, at the first GitLab.
sub restore
{
	$_->reset foreach $sim, $other;
	said($second, qq{ALTER SERVER gitlab OPTIONS (SET url '$url')});
	said($second, q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
	said($session, 'SELECT count(*) FROM tokens WHERE id = 2');
	$_->clear_journal foreach $sim, $other;
	return;
}

# [change, how the transaction ends, tokens]; 17 is the new credential or, if the
# change creates a token, the one after it.
foreach my $case (
	[ 'INSERT', $insert, 'COMMIT', '17 active' ],
	[ 'INSERT', $insert, 'ROLLBACK', '17 revoked' ],
	[ 'UPDATE', "UPDATE tokens SET expires_at = $later WHERE id = 2", 'COMMIT', '2 revoked, 17 active' ],
	[ 'UPDATE', "UPDATE tokens SET expires_at = $later WHERE id = 2", 'ROLLBACK', '17 revoked' ],
	[ 'DELETE', 'DELETE FROM tokens WHERE id = 2', 'COMMIT', '2 revoked' ],
	[ 'INSERT and DELETE', "$insert; DELETE FROM tokens WHERE id = 17", 'COMMIT', '17 revoked' ],
	[ 'INSERT under a savepoint', "SAVEPOINT s; $insert; ROLLBACK TO s", 'COMMIT', '17 revoked' ])
{
	my ($what, $sql, $end, $expected) = @$case;
	my $name = "$what, another session rotates the credential, $end";

	restore();
	said($session, "BEGIN; $sql");
	my $before = join ', ', map { $_->{id} } grep { $_->{id} > 16 } $sim->tokens;
	like(said($second, q{CALL gitlab_pat_rotate_self('gitlab')}), qr/\A\d+\|/, "$name: gitlab_pat_rotate_self() rotates the credential");
	my ($credential) = sort { $b <=> $a } map { $_->{id} } $sim->tokens;
	is(said($session, $end), '', "$name: there is neither an error nor a warning");
	my $changes = changes($sim);
	$changes =~ s/(?:, )?\b$credential active//;
	$changes =~ s/(?:, )?\b1 revoked(?:, )?//;
	is($changes, $expected, "$name: GitLab has the tokens that it should");
}

# The first attempt may have been carried out, and the second one is refused for want of
# a credential: another payer is found all the same.
foreach my $case (
	[ 'INSERT', $insert, 'ROLLBACK', 17 ],
	[ 'UPDATE', "UPDATE tokens SET expires_at = $later WHERE id = 2", 'ROLLBACK', 17 ])
{
	my ($what, $sql, $end, $id) = @$case;
	my $name = "$what, the credential dies between two attempts to revoke, $end";

	restore();
	said($session, "BEGIN; $sql");
	$sim->fault('DELETE', "tokens/$id\$", 'status', status => 503, headers => { 'Retry-After' => 1 });
	$session->send($end);
	$sim->wait_for('DELETE', "tokens/$id\$");
	said($second, q{CALL gitlab_pat_rotate_self('gitlab')});
	is(said_later($session), '', "$name: there is neither an error nor a warning");
	is($sim->token_state($id), 'revoked', "$name: the token is revoked");
}

# A POST is answered while the commit waits for a retry, and that is refused for want of a
# credential: the new one takes over, and the answer is taken all the same.
{
	my $name = 'a creation that is answered after its savepoint, while the credential is renewed';

	restore();
	said($session, 'BEGIN; SAVEPOINT s');
	$sim->fault('POST', 'tokens', 'stall', moment => 'after', seconds => 3);
	$session->send($insert);
	$sim->wait_for('POST', 'tokens');
	sleep 0.1;
	signal_backend($session, 'INT');
	said_later($session);
	said($session, 'ROLLBACK TO s; DELETE FROM tokens WHERE id = 2');
	$sim->fault('DELETE', 'tokens/2$', 'status', status => 503, headers => { 'Retry-After' => 2 });
	$session->send('COMMIT');
	$sim->wait_for('DELETE', 'tokens/2$');
	said($second, q{CALL gitlab_pat_rotate_self('gitlab')});
	is(said_later($session), '', "$name: there is neither an error nor a warning");
	is($sim->count(method => 'DELETE', path => 'tokens/2$'), 3, "$name: the third request is by the new one");
	is(changes($sim), '1 revoked, 2 revoked, 17 revoked, 18 active', "$name: what was created is revoked");
}

# The commit has learned of a new credential when it revokes; a variable was written
# with the one before.
{
	my $name = 'a variable that is restored after the credential has been renewed';

	restore();
	my $before = $sim->variable_value('project acme/app', 'DEPLOY_PAT');
	$sim->fault('DELETE', 'tokens/2$', 'status', status => 429, headers => { 'Retry-After' => 1 });
	$sim->fault('DELETE', 'tokens/2$', 'status', status => 400, nth => 3);
	$session->send(q{BEGIN; UPDATE public.gitlab_project_variables SET value = 'another-secret'
		WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'; DELETE FROM tokens WHERE id = 2; COMMIT});
	$sim->wait_for('DELETE', 'tokens/2$');
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), 'another-secret', "$name: the commit has written the new value before it fails");
	said($second, q{CALL gitlab_pat_rotate_self('gitlab')});
	my $text = said_later($session);
	like($text, qr/ERROR:  22023: could not revoke personal access token 2/, "$name: the commit fails");
	unlike($text, qr/WARNING/, "$name: there is no warning");
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), $before, "$name: the variable has its old value");
	is(scalar(grep { $_->{status} == 401 } $sim->journal(path => 'variables')), 1,
		"$name: a request with the dead credential was refused");
	$sim->clear_faults;
}

# The credential is dead, and what is in its place belongs to another GitLab.
foreach my $case (
	[ 'DELETE', 'DELETE FROM tokens WHERE id = 2', qr/ERROR:  28000: could not revoke/ ],
	[ 'UPDATE', "UPDATE tokens SET expires_at = $later WHERE id = 2",
		qr/WARNING:  \w{5}: could not revoke personal access tokens on server "gitlab": 2/ ],
	[ 'a variable', q{UPDATE public.gitlab_project_variables SET value = 'a-new-secret'
		WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'}, qr/ERROR:  28000/ ])
{
	my ($what, $sql, $message) = @$case;
	my $name = "$what, and the server's url changes together with the token";

	restore();
	said($session, "BEGIN; $sql");
	said($second, q{CALL gitlab_pat_rotate_self('gitlab')});
	said($second, 'BEGIN; ALTER SERVER gitlab OPTIONS (SET url ' . "'" . $other->url . "');
		ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin'); COMMIT");
	like(said($session, 'COMMIT'), $message, "$name: the message says what is left");
	is($other->count, 0, "$name: the other GitLab gets no request");
	is(changes($other), '', "$name: the other GitLab has the tokens that it had");
}

{
	restore();
	my $text = said($session, 'BEGIN; DELETE FROM tokens WHERE id = 2;
		ALTER SERVER gitlab OPTIONS (SET url ' . "'" . $other->url . "');
		SELECT revoked FROM tokens WHERE id = 2; DELETE FROM tokens WHERE id = 2; COMMIT");
	is($text, 'f', 'after a change of the url, a token with the id of one that was deleted before is another one');
	is(changes($sim) . '; ' . changes($other), '2 revoked; 2 revoked', 'after a change of the url, the commit revokes a token at either GitLab');
}
restore();


# --- two servers of one GitLab ---------------------------------------------------

create_tables($node, 'slash', "url '$url/'");
$node->safe_psql('postgres', q{IMPORT FOREIGN SCHEMA gitlab LIMIT TO (gitlab_project_variables) FROM SERVER slash INTO slash});

# What the second one makes of a token that the first one has changed.
foreach my $case (
	[ "UPDATE tokens SET expires_at = $later WHERE id = 3", "UPDATE slash.tokens SET expires_at = $later WHERE id = 3", '17 revoked' ],
	[ "UPDATE tokens SET expires_at = $later WHERE id = 3", "UPDATE slash.native_tokens SET expires_at = $later WHERE id = 3", '17 revoked' ],
	[ 'DELETE FROM tokens WHERE id = 12', "UPDATE slash.tokens SET expires_at = $later WHERE id = 12", '' ],
	[ q{SELECT gitlab_pat_revoke_secret('slash', 'glpat-sim-alice')}, "UPDATE tokens SET expires_at = $later WHERE id = 2", '' ])
{
	my ($first, $second, $expected) = @$case;
	my $name = "$first, and then $second of the same GitLab";

	restore();
	like(said($session, "BEGIN; $first; $second; COMMIT"), qr/ERROR:  55000: personal access token \d+ is not active/,
		"$name: the second statement fails");
	is(changes($sim), $expected, "$name: no replacement is left");
}
{
	my $name = 'two servers of one GitLab';

	restore();
	is(said($session, "WITH a AS (UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING id),
		b AS (UPDATE slash.tokens SET expires_at = $later WHERE id = 2 RETURNING id)
		SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), '1|0',
		"$name: one command rotates a token once");
	is(changes($sim), '2 revoked, 17 active', "$name: one command makes one replacement");
	restore();
	is(said($session, 'BEGIN; SET LOCAL gitlab_pat_fdw.max_changes = 1; DELETE FROM tokens WHERE id = 2;
		SELECT revoked FROM slash.tokens WHERE id = 2; SELECT count(*) FROM slash.tokens WHERE revoked;
		DELETE FROM slash.tokens WHERE id = 2; COMMIT'), "t\n2",
		"$name: what one has deleted reads as revoked through the other, and counts once");
	is(changes($sim), '2 revoked', "$name: what both have deleted is revoked");
	restore();
	is(said($session, "BEGIN; $insert; UPDATE slash.tokens SET expires_at = $later WHERE id = 17 RETURNING id; COMMIT"), '18',
		"$name: one can replace what the other has created");
	is(changes($sim), '17 revoked, 18 active', "$name: what one has created and the other has replaced is revoked");
}

foreach my $end ('COMMIT', 'SELECT 1 / 0; COMMIT')
{
	my $name = "a variable written through two servers of one GitLab, $end";
	my $where = q{WHERE project = 'acme/app' AND key = 'DEPLOY_PAT'};

	restore();
	my $before = $sim->variable_value('project acme/app', 'DEPLOY_PAT');
	like(said($session, "BEGIN; UPDATE public.gitlab_project_variables SET value = 'first-secret' $where;
		SELECT value FROM slash.gitlab_project_variables $where;
		UPDATE slash.gitlab_project_variables SET description = value $where RETURNING description; $end"), qr/\Afirst-secret\nfirst-secret/,
		"$name: one server shows what was written through the other");
	is($sim->variable_value('project acme/app', 'DEPLOY_PAT'), $end eq 'COMMIT' ? 'first-secret' : $before,
		"$name: the variable holds the right value");
}
{
	my $name = 'a variable created through one of two servers of one GitLab';
	my $create = q{INSERT INTO %s.gitlab_project_variables (project, key, value) VALUES ('acme/app', 'BOTH', 'first-secret')};

	restore();
	like(said($session, 'BEGIN; ' . sprintf($create, 'public') . '; ' . sprintf($create, 'slash') . '; COMMIT'),
		qr/ERROR:  22023: .*"BOTH" of "acme\/app" already exists/, "$name: the other one cannot create it again");
	is(said($session, 'BEGIN; ' . sprintf($create, 'public') . q{; UPDATE slash.gitlab_project_variables SET value = 'second-secret'
		WHERE project = 'acme/app' AND key = 'BOTH' RETURNING value; COMMIT}), 'second-secret', "$name: the other one can change it");
	is($sim->variable_value('project acme/app', 'BOTH'), 'second-secret', "$name: it has the last value");
}

restore();


{
	$sim->fault('POST', 'self/rotate', 'status', status => 500, moment => 'after');
	like(said($session, q{CALL gitlab_pat_rotate_self('gitlab')}),
		qr/ERROR:  08006: could not rotate API token 1 of server "gitlab": GitLab's answer was lost/,
		'a status of 500 to the rotation of the credential is a lost answer');
	restore();
}

# A rotation of the credential that GitLab takes long to answer: an UPDATE of that token
# waits for it.
foreach my $table (qw(tokens native_tokens))
{
	my $name = "an UPDATE of $table during a rotation of the credential";

	restore();
	create_tables($node, 'own', "url '$url'") if $table eq 'tokens';
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER own OPTIONS (SET token 'glpat-sim-alice')});
	$sim->fault('POST', 'self/rotate', 'stall', seconds => 1);
	$second->send(q{CALL gitlab_pat_rotate_self('own')});
	$sim->wait_for('POST', 'self/rotate');
	like(said($session, "UPDATE $table SET expires_at = $later WHERE id = 2"), qr/ERROR:  55000: personal access token 2 is not active/,
		"$name: the UPDATE finds the token replaced");
	like(said_later($second), qr/\A17\|/, "$name: the credential is rotated");
	is(changes($sim), '2 revoked, 17 active', "$name: there is one replacement");
	is(said($second, q{SELECT id FROM gitlab_pat_self('own')}), '17', "$name: the user mapping has a token that works");
}
restore();



# --- what a failed revocation says -----------------------------------------------

{
	# Four requests are under way when GitLab begins to refuse: one that nobody has
	# received yet would not be tried.
	foreach my $id (3, 4)
	{
		$sim->fault('DELETE', "tokens/$id\$", 'status', status => 403, seconds => 1);
	}
	foreach my $id (2, 7)
	{
		$sim->fault('DELETE', "tokens/$id\$", 'stall', seconds => 1.2, moment => 'after');
	}
	my $text = said($session, 'DELETE FROM tokens WHERE id IN (2, 3, 4, 7, 8, 9, 10, 11)');

	like($text, qr/ERROR:  42501: could not revoke 2 personal access tokens on server "gitlab"/,
		'a bulk DELETE that GitLab refuses in part says of how many');
	like($text, qr/DETAIL:  GitLab said: .* Not revoked: 3, 4\. Not tried: 8, 9, 10, 11\. 2 tokens had already been revoked: 2, 7\./,
		'the detail names what failed, what was not tried, and what was revoked');
	like($text, qr/HINT: .*The transaction is rolled back; running it again is safe\.  .*AND id NOT IN \(3, 4\)\./,
		'the hint has the condition that leaves out what failed');
	unlike(said($session, 'DELETE FROM tokens WHERE id IN (2, 3, 4, 7, 8, 9, 10, 11) AND id NOT IN (3, 4)'),
		qr/ERROR/, 'with that condition, the DELETE succeeds');
	$sim->clear_faults;
	$sim->reset;
	$sim->fault('DELETE', 'tokens/3$', 'status', status => 403);
	$node->safe_psql('postgres', 'CREATE FOREIGN DATA WRAPPER another');
	$text = said($session, 'DELETE FROM tokens WHERE id IN (2, 3)');
	like($text, qr/HINT: .*AND id <> 3\./, 'the hint has a condition for one token, too');
	unlike($text, qr/running it again is safe/,
		'the hint does not call a repetition safe where another wrapper may have committed');
	$node->safe_psql('postgres', 'DROP FOREIGN DATA WRAPPER another');
}
{
	my $name = 'a DELETE of many tokens, of which some are refused';

	$sim->reset(tokens => 500);
	$sim->fault('DELETE', 'tokens/', 'status', status => 403, nth => 300, times => 0);
	my $text = said($session, q{SET gitlab_pat_fdw.max_changes = 1000;
		DELETE FROM tokens WHERE id > 1});
	my ($count, $ids) = $text =~ /(\d+) tokens had already been revoked: ([\d, ]+)\./;
	is(scalar(split /, /, $ids // ''), $count, "$name: the error names all that were revoked");
	unlike($text, qr/\.\.\./, "$name: no list is cut");
	$sim->reset;
}
$second->close;

$session->close;
is_alive($node);
$node->stop;

done_testing();
