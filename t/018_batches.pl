
# INSERT and COPY create several tokens at a time where an AFTER ROW trigger takes the
# secrets, and keep all promises of those that create one after the other.

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
my $node = gitlab_cluster('main', $sim, server_options => q{max_retries '0', concurrency '4'});
my $insert = q{INSERT INTO tokens (user_id, name, scopes, expires_at)
	SELECT 2, 'new ' || n, '{api}', current_date + 90 FROM generate_series(1, %d) n};

create_tables($node, 'batches');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE batches.kept (id bigint, name text, token text);
	CREATE FUNCTION batches.keep() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO batches.kept VALUES (NEW.id, NEW.name, NEW.token);
		RETURN NEW;
	END $$;
	CREATE TRIGGER keep AFTER INSERT ON batches.tokens
		FOR EACH ROW EXECUTE FUNCTION batches.keep();});
my $session = open_session($node, 'batches', verbosity => 'verbose');

said($session, 'SET gitlab_pat_fdw.max_changes = 1000');
test_rows();
test_concurrency();
test_failures();
test_statements();
$session->close;
done_testing();

# The tokens with names like "new 1", by state.
sub news
{
	my %count;

	$count{ $_->{state} }++ for grep { $_->{name} =~ /^new/ } $sim->tokens;
	return join ', ', map { "$count{$_} $_" } sort keys %count;
}

sub test_rows
{
	$sim->reset;
	is(said($session, sprintf($insert, 200)), '', 'an INSERT of 200 tokens for a trigger succeeds');
	is($sim->count(path => '/api/v4'), 200, 'an INSERT of 200 tokens takes 200 requests');
	is(news(), '200 active', 'an INSERT creates each of 200 tokens once');
	is(
		said($session, 'SELECT count(*), count(DISTINCT id), count(DISTINCT token), count(DISTINCT name) FROM kept'),
		'200|200|200|200',
		'the trigger gets each of 200 tokens, with its secret');
	my %id = map { $_->{id} => $_->{name} } $sim->tokens;
	my @wrong = grep { my ($id, $name) = split /\|/; $id{$id} ne $name }
	  split /\n/, said($session, 'SELECT id, name FROM kept');
	is("@wrong", '', 'the trigger gets each token in its own row');

	# COPY has several at a time from PostgreSQL 16 on
	$sim->reset;
	said($session, 'TRUNCATE kept');
	my $copied = PostgreSQL::Test::Utils::tempdir . '/tokens';
	my $date = $node->safe_psql('postgres', 'SELECT current_date + 90');
	append_to_file($copied, join '', map { "2\tnew $_\t{api}\t$date\n" } 1 .. 20);
	is(said($session, "COPY tokens (user_id, name, scopes, expires_at) FROM '$copied'; SELECT count(DISTINCT token) FROM kept"),
		'20', 'a trigger gets the secrets of a COPY');
	is(news(), '20 active', 'a COPY creates each token once');
	return;
}

sub test_concurrency
{
	foreach (
		[ 'for a trigger', sprintf($insert, 20), 4 ],
		[ 'with RETURNING', sprintf($insert, 20) . ' RETURNING token', 1 ])
	{
		my ($name, $sql, $expected) = @$_;

		$sim->reset;
		$sim->fault('POST', '/personal_access_tokens', 'stall', times => 0);
		$session->send($sql);
		$sim->wait_for('POST', '/personal_access_tokens', $expected);
		sleep 1;
		is($sim->count(method => 'POST', path => '/api/v4'), $expected,
			"an INSERT $name creates as many tokens at a time as it should: $expected");
		$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
		select(undef, undef, undef, 0.5);
		$sim->clear_faults;
		like(said_later($session), qr/57014/, "an INSERT $name can be cancelled");
		unlike(news(), qr/active/, "a cancelled INSERT $name leaves no token");
	}

	# the answers come after the cancel
	$sim->reset;
	$sim->latency(1000);
	$session->send(sprintf($insert, 20));
	$sim->wait_for('POST', '/personal_access_tokens', 4);
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	like(said_later($session), qr/57014/, 'an INSERT is cancelled while GitLab creates tokens');
	$sim->latency(0);
	# a fifth request may go out between the first answer and the cancel
	like(news(), qr/^\d+ revoked$/, 'what GitLab created for a cancelled INSERT is revoked');
	return;
}

sub test_failures
{
	$sim->reset;
	like(
		said(
			$session, q{INSERT INTO tokens (user_id, name, scopes, expires_at)
			SELECT CASE WHEN n = 7 THEN 4711 ELSE 2 END, 'new ' || n, '{api}', current_date + 90 FROM generate_series(1, 20) n}),
		qr/ERROR:  [0-9A-Z]{5}: could not create a personal access token for user 4711/,
		'an INSERT of several tokens fails with the error of the bad one');
	like(news(), qr/^\d+ revoked$/, 'an INSERT of several tokens of which one is bad leaves none');

	# one answer is lost, and a cancel comes while the others are waited for
	$sim->reset;
	said($session, q{ALTER SERVER gitlab OPTIONS (ADD rollback_timeout '500ms')});
	$sim->fault('POST', '/personal_access_tokens', 'status', body_matches => '"new 2"', status => 500, moment => 'after');
	$sim->fault('POST', '/personal_access_tokens', 'stall', times => 0);
	$session->send(sprintf($insert, 4));
	$sim->wait_for('POST', '/personal_access_tokens', 4);
	wait_until('the answer is lost', sub { news() eq '1 active' });
	sleep 1;
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	my $said = said_later($session);
	like($said, qr/ERROR:  57014/, 'an INSERT that waits after a lost answer can be cancelled');
	is(join(', ', sort $said =~ /WARNING:  01L05: .*\nDETAIL: .*\nHINT: .* AND name = '(new \d)' /g), 'new 1, new 2, new 3, new 4',
		'a cancelled INSERT names each token that may have been created, also that of an answer lost before');
	$sim->clear_faults;
	said($session, 'ALTER SERVER gitlab OPTIONS (DROP rollback_timeout)');

	$sim->reset;
	like(
		said($session, 'SET gitlab_pat_fdw.max_changes = 5; ' . sprintf($insert, 20)),
		qr/53400/, 'max_changes refuses an INSERT of several tokens');
	is($sim->count(method => 'POST', path => '/api/v4'), 0, 'max_changes refuses an INSERT of several tokens before the first one');
	said($session, 'SET gitlab_pat_fdw.max_changes = 1000');

	# the trigger fails
	$sim->reset;
	said($session, 'TRUNCATE kept; ALTER TABLE kept ADD CONSTRAINT few CHECK (id < 20)');
	like(said($session, sprintf($insert, 20)), qr/23514/, 'an error of the trigger ends an INSERT');
	is(news(), '20 revoked', 'an error of the trigger leaves no token');
	return;
}

# How many tokens are being created when none is answered; then cancels the statement.
sub created_at_once
{
	my ($sql, $expected) = @_;

	$sim->reset;
	$sim->fault('POST', '/personal_access_tokens', 'stall', times => 0);
	$session->send($sql);
	$sim->wait_for('POST', '/personal_access_tokens', $expected);
	sleep 1;
	my $count = $sim->count(method => 'POST', path => '/api/v4');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
	select(undef, undef, undef, 0.5);
	$sim->clear_faults;
	said_later($session);
	return $count;
}

sub test_statements
{
	my $select = q{SELECT 2, 'new ' || n, '{api}'::text[], current_date + 90 FROM generate_series(1, 10) n};

	said($session, 'ALTER TABLE kept DROP CONSTRAINT few; TRUNCATE kept');
	$node->safe_psql(
		'postgres', qq{
		CREATE FUNCTION batches.make() RETURNS void LANGUAGE sql AS
			\$\$ INSERT INTO batches.tokens (user_id, name, scopes, expires_at) $select \$\$;
		CREATE TABLE batches.parted (user_id bigint, name text, scopes text[], expires_at date, id bigint, token text)
			PARTITION BY LIST (user_id);
		CREATE FOREIGN TABLE batches.part PARTITION OF batches.parted FOR VALUES IN (2) SERVER gitlab;
		CREATE TRIGGER keep AFTER INSERT ON batches.parted
			FOR EACH ROW EXECUTE FUNCTION batches.keep();
		CREATE FUNCTION batches.rename() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			NEW.name := NEW.name || ' of ' || (SELECT count(*) FROM batches.tokens WHERE name LIKE 'new%');
			RETURN NEW;
		END \$\$;});
	is(created_at_once('SELECT make()', 4), 4, 'an INSERT in an SQL function creates several tokens at a time');
	is(created_at_once("INSERT INTO parted (user_id, name, scopes, expires_at) $select", 4),
		4, 'an INSERT that is routed to a partition creates several tokens at a time');
	unlike(news(), qr/active/, 'a cancelled INSERT that was routed leaves no token');

	$sim->reset;
	is(said($session, "INSERT INTO parted (user_id, name, scopes, expires_at) $select;
			SELECT count(*), count(DISTINCT token) FROM kept"),
		'10|10', 'the trigger of a partitioned table gets each secret of an INSERT');
	is(news(), '10 active', 'an INSERT that is routed to a partition creates each token once');
	said($session, 'TRUNCATE kept');

	$sim->reset;
	is(said($session, "BEGIN; SAVEPOINT s; INSERT INTO tokens (user_id, name, scopes, expires_at) $select; ROLLBACK TO s;
			SELECT count(*) FILTER (WHERE active) FROM tokens WHERE name LIKE 'new%';
			INSERT INTO tokens (user_id, name, scopes, expires_at) $select; COMMIT;
			SELECT count(DISTINCT token) FROM kept"),
		"0\n10", 'a savepoint takes back an INSERT of several tokens');
	is(news(), '10 active, 10 revoked', 'tokens of an INSERT that a savepoint took back are revoked, others are not');
	said($session, 'TRUNCATE kept');

	$sim->reset;
	like(said($session, "INSERT INTO tokens (user_id, name, scopes, expires_at) $select ON CONFLICT DO NOTHING"),
		qr/0A000: INSERT with ON CONFLICT is not supported/, 'an INSERT for a trigger with ON CONFLICT is refused');
	is($sim->count(method => 'POST', path => '/api/v4'), 0, 'an INSERT with ON CONFLICT creates nothing');

	# such a trigger looks at the table for each row
	$node->safe_psql('postgres', 'CREATE TRIGGER rename BEFORE INSERT ON batches.tokens FOR EACH ROW EXECUTE FUNCTION batches.rename()');
	$sim->reset;
	is(said($session, "INSERT INTO tokens (user_id, name, scopes, expires_at) SELECT 2, 'new ' || n, '{api}', current_date + 90 FROM generate_series(1, 3) n;
			SELECT string_agg(name, ', ' ORDER BY id) FROM kept"),
		'new 1 of 0, new 2 of 1, new 3 of 2', 'an INSERT for a BEFORE trigger creates tokens one after the other');
	is(news(), '3 active', 'an INSERT for a BEFORE trigger creates each token once');
	$node->safe_psql('postgres', 'DROP TRIGGER rename ON batches.tokens');

	# such a trigger gets no secrets
	$node->safe_psql(
		'postgres', q{
		CREATE FOREIGN TABLE batches.bare (user_id bigint, name text, scopes text[], expires_at date)
			SERVER gitlab OPTIONS (resource 'personal_access_tokens');
		CREATE FUNCTION batches.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER look AFTER INSERT ON batches.bare
			FOR EACH ROW EXECUTE FUNCTION batches.look();});
	$sim->reset;
	my $said = said($session, "SET gitlab_pat_fdw.discard_secrets = off; INSERT INTO bare $select");
	is(count_matches($said, qr/WARNING:  01L01: the secret of each new personal access token is discarded/),
		1, 'an INSERT for a trigger warns once that the table has no column for the secrets');
	is(news(), '10 active', 'an INSERT through a table without a column for the secrets creates the tokens');
	is(said($session, "SET gitlab_pat_fdw.discard_secrets = on; INSERT INTO bare $select"),
		'', 'such an INSERT does not warn if secrets may be discarded');

	# the columns of a trigger are about UPDATE only
	foreach my $column ('expires_at', 'name')
	{
		$node->safe_psql(
			'postgres', qq{
			DROP TRIGGER keep ON batches.tokens;
			CREATE TRIGGER keep AFTER INSERT OR UPDATE OF $column ON batches.tokens
				FOR EACH ROW EXECUTE FUNCTION batches.keep()});
		is(created_at_once(sprintf($insert, 10), 4), 4, "an INSERT for a trigger of INSERT OR UPDATE OF $column creates several tokens at a time");
		$sim->reset;
		is(said($session, 'SET gitlab_pat_fdw.discard_secrets = off; ' . sprintf($insert, 2)),
			'', "an INSERT for a trigger of INSERT OR UPDATE OF $column discards no secret");
	}
	said($session, 'SET gitlab_pat_fdw.discard_secrets = on');

	# a busy GitLab
	$sim->reset;
	said($session, q{TRUNCATE kept; ALTER SERVER gitlab OPTIONS (SET max_retries '3')});
	$sim->fault('POST', '/personal_access_tokens', 'status', status => 429, headers => { 'Retry-After' => '1' }, nth => 3);
	is(said($session, sprintf($insert, 20) . '; SELECT count(DISTINCT token) FROM kept'),
		'20', 'an INSERT of several tokens waits for a rate limit');
	is(news(), '20 active', 'a rate limit in the middle of an INSERT costs no token');
	$sim->clear_faults;
	said($session, q{ALTER SERVER gitlab OPTIONS (SET max_retries '0')});
	return;
}
