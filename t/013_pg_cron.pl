
# Rotation by pg_cron: a job rotates what is about to expire, and stores the new
# secrets in the same statement.  This is about the real pg_cron, if it is here.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
plan skip_all => 'pg_cron is not installed' unless has_module($node, 'pg_cron');
my $sim = GitLabSim->start;

# pg_cron connects as any client would, or else starts background workers
$node->init;
$node->append_conf(
	'postgresql.conf', q{
	shared_preload_libraries = 'pg_cron'
	cron.database_name = 'postgres'
	cron.use_background_workers = on
	max_worker_processes = 20});
$node->start;
gitlab_database($node, 'postgres', $sim);

# Three tokens are about to expire: two of alice's, and one of dave's, whose
# new secret the second job fails to store.
my $soon = strftime('%Y-%m-%d', gmtime(time + 3 * 86400));
foreach my $id (2, 3, 12, 15, 16)
{
	$sim->control('PATCH', "tokens/$id", undef, { expires_at => $soon });
}
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE TABLE secrets (id bigint PRIMARY KEY, token text NOT NULL);
	CREATE TABLE full_secrets (id bigint, token text CHECK (length(token) < 5));

	-- by pg_cron, once a minute
	SELECT cron.schedule('rotate', '* * * * *', $$
		WITH new AS (
			UPDATE gitlab_personal_access_tokens
			SET expires_at = current_date + 90
			WHERE active AND expires_at < current_date + 7 AND user_id = 2
			RETURNING id, token)
		INSERT INTO secrets SELECT id, token FROM new$$);
	SELECT cron.schedule('rotate and fail', '* * * * *', $$
		WITH new AS (
			UPDATE gitlab_personal_access_tokens
			SET expires_at = current_date + 90
			WHERE active AND expires_at < current_date + 7 AND user_id = 8
			RETURNING id, token)
		INSERT INTO full_secrets SELECT id, token FROM new$$);

	-- one of two deliveries is possible
	CREATE TABLE token_deliveries (token_name text, owner text, project text,
		variable text, environment_scope text, days integer);
	INSERT INTO token_deliveries VALUES
		('frank admin', 'frank', 'acme/app', 'CONFIG', '*', 7),
		('blocked', 'bob', 'acme/app', 'NONE', '*', 7);
	CREATE TABLE token_rotations (at timestamptz, owner text, token_name text,
		old_id bigint, new_id bigint, outcome text, message text, fingerprint text,
		revoke_after timestamptz);
	SELECT cron.schedule('deliver', '* * * * *',
		$$CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')$$);});

# All are due within a minute.
$node->poll_query_until(
	'postgres', q{
	SELECT count(DISTINCT jobid) = 3 FROM cron.job_run_details
	WHERE status IN ('succeeded', 'failed')})
  or die 'the jobs did not run';
$node->safe_psql('postgres', 'SELECT cron.unschedule(jobid) FROM cron.job');

is( $node->safe_psql(
		'postgres', q{
		SELECT DISTINCT jobname, status
		FROM cron.job_run_details JOIN (VALUES (1, 'rotate'),
			(2, 'rotate and fail'), (3, 'deliver')) j (jobid, jobname) USING (jobid)
		WHERE status IN ('succeeded', 'failed')	-- the next minute may have begun
		ORDER BY jobname}),
	"deliver|failed\nrotate|succeeded\nrotate and fail|failed",
	'pg_cron shows which jobs have failed');
is( $node->safe_psql(
		'postgres', q{
		SELECT DISTINCT ON (token_name) token_name, outcome, message
		FROM token_rotations WHERE outcome IN ('failed', 'rotated') ORDER BY token_name, at}),
	"blocked|failed|no token of user \"bob\" works, because the user is blocked"
	  . ' HINT: INSERT a token for another user,'
	  . " and name that user in public.token_deliveries.\n"
	  . 'frank admin|rotated|delivered to variable "CONFIG" (*) of project "acme/app"',
	'one delivery has failed, and one has been made');
like(
	$node->safe_psql(
		'postgres',
		q{SELECT DISTINCT return_message FROM cron.job_run_details WHERE jobid = 2 AND status = 'failed'}
	),
	qr/violates check constraint/,
	'the failed delivery names the reason');

# The end: two tokens are replaced, the third one works as before.
my %tokens = map { $_->{id} => $_ } $sim->tokens;
my @new = sort { $a <=> $b } grep { $_ > 16 } keys %tokens;
my @stored = map { [ split /\|/ ] } split /\n/,
  $node->safe_psql('postgres', 'SELECT id, token FROM secrets ORDER BY id');

is($tokens{2}{state}, 'revoked', 'the first token is revoked');
is($tokens{3}{state}, 'revoked', 'the second token is revoked');
is($tokens{12}{state}, 'active',
	'the third token, whose successor could not be stored, works');
is(scalar @stored, 2, 'two secrets were stored');
foreach my $row (@stored)
{
	my ($id, $secret) = @$row;

	is($tokens{$id}{state}, 'active', "token $id works");
	is($tokens{$id}{user_id}, 2, "token $id is alice's");
	is($secret, $tokens{$id}{token}, "the secret of token $id was stored");
}
my $delivered = $node->safe_psql('postgres',
	"SELECT max(new_id) FROM token_rotations WHERE outcome = 'rotated'");
is($tokens{$delivered}{state}, 'active', 'the delivered token works');
is($sim->variable_value('project acme/app', 'CONFIG'),
	$tokens{$delivered}{token}, 'the variable holds the delivered token');
my %is_stored = map { $_ => 1 } $delivered, map { $_->[0] } @stored;
my @others = grep { !$is_stored{$_} } @new;
cmp_ok(scalar @others, '>=', 1, 'the third token had a successor for a moment');
is($tokens{$_}{state}, 'revoked', "token $_, which nobody knows, is revoked")
  foreach @others;
is($node->safe_psql('postgres', 'SELECT count(*) FROM full_secrets'),
	0, 'the failed job has stored nothing');

# The successors do not expire soon: the next run has nothing to do.
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM gitlab_personal_access_tokens
		WHERE active AND expires_at < current_date + 7 AND user_id = 2}),
	0,
	'nothing is left to be rotated');

# No secret that works is in the log.  PostgreSQL itself quotes the row that
# violates a constraint: that secret was revoked with the rollback.
my $log = slurp_file($node->logfile);
is(scalar(grep { index($log, $_->[1]) >= 0 } @stored),
	0, 'no secret that works is in the log');
is_alive($node);
$node->stop;

done_testing();
