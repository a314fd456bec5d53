# What the planner makes of it: how many requests a plan takes, what EXPLAIN and
# ANALYZE say, and how much memory a scan needs.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $tokens = 3000;
my $table = 'gitlab_personal_access_tokens';

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);
my $session = Session->open($node);

$sim->reset(tokens => $tokens - 16, users => 190);
test_explain();
test_explain_analyze();
test_joins();
test_estimates();
test_analyze();
$session->close;
test_memory();
done_testing();

sub query
{
	my ($sql) = @_;
	my ($out, $error) = $session->query($sql);

	die "$sql: $error" if $error;
	return $out;
}

# How many requests a statement made.
sub requests_of
{
	my ($sql) = @_;

	$sim->clear_journal;
	query($sql);
	return $sim->count;
}

# Without costs, which are nobody's business.
sub plan_of
{
	my ($sql) = @_;

	return query("EXPLAIN (COSTS OFF) $sql");
}

# --- EXPLAIN ------------------------------------------------------------------

# Shows requests and makes none.
sub test_explain
{
	$sim->clear_journal;
	foreach (
		[ "SELECT name FROM $table", 'GET /personal_access_tokens' ],
		[ "SELECT name FROM $table WHERE id = 5", 'GET /personal_access_tokens/:id' ],
		[ "SELECT name FROM $table WHERE id IN (5, 6)", 'GET /personal_access_tokens/:id' ],
		[ "SELECT name FROM $table WHERE user_id = 2 AND active",
			'GET /personal_access_tokens?user_id=2&state=active' ],
		[ "SELECT name FROM $table WHERE user_id IN (2, 3)",
			'GET /personal_access_tokens?user_id={each of several}' ],
		[ "SELECT name FROM $table WHERE active AND NOT active", 'none' ],
		[ "SELECT name FROM $table WHERE name LIKE '%deploy%'",
			'GET /personal_access_tokens?search=deploy' ],
		[ "SELECT name FROM $table WHERE last_used_at < now()",
			'GET /personal_access_tokens?last_used_before={now()}' ],
		[ "SELECT count(*) FROM $table WHERE NOT revoked", 'GET /personal_access_tokens?revoked=false' ],
		[ "SELECT username FROM gitlab_users WHERE username = 'alice'",
			'GET /users?username=alice' ],
		[ "SELECT username FROM gitlab_users WHERE id = 2", 'GET /users/:id' ],
	  )
	{
		my ($sql, $request) = @$_;
		my ($shown) = plan_of($sql) =~ /GitLab Request: (.*)/;

		is($shown, $request, "EXPLAIN shows the request of $sql");
	}
	my $plan = plan_of("SELECT name FROM $table WHERE active AND name = 'deploy' AND scopes <> '{}'");
	like($plan, qr/GitLab Exact: active\n\s*GitLab Superset: name$/m, 'EXPLAIN says what is exact');
	like($plan, qr/Filter: \(active AND /, 'EXPLAIN says that all conditions are checked again');
	test_exactness();
	plan_of("DELETE FROM $table WHERE id = 5");
	plan_of("UPDATE $table SET expires_at = current_date + 1 WHERE id = 5");
	plan_of("INSERT INTO $table (name, scopes) VALUES ('x', '{api}')");
	query("PREPARE p AS SELECT name FROM $table WHERE user_id = \$1");
	query('SET plan_cache_mode = force_generic_plan');
	like(query('EXPLAIN (COSTS OFF) EXECUTE p (2)'), qr/user_id=\{\$1\}/, 'EXPLAIN of a generic plan');
	query('RESET plan_cache_mode');
	is($sim->count, 0, 'EXPLAIN makes no request');
	return;
}

# Only what is in the request is exact or not.  A condition, the version that is
# declared, the request's parameters, the columns that are exact, and the others.
sub test_exactness
{
	foreach (
		[ '', 'NOT active', '', '', '' ],
		[ '18.11', 'NOT active', '', '', '' ],
		[ '19.4', 'NOT active', 'state=inactive', 'active', '' ],
		[ '', 'active = (SELECT true)', 'state={initplan}', '', 'active' ],
		[ '19.4', 'active = (SELECT true)', 'state={initplan}', 'active', '' ],
		[ '', q{expires_at > '2026-01-01'}, 'expires_after=2026-01-02', '', 'expires_at' ],
		[ '18.11', q{expires_at > '2026-01-01'}, 'expires_after=2026-01-02', 'expires_at', '' ],
		[ '', q{expires_at > current_date}, 'expires_after={CURRENT_DATE}', '', 'expires_at' ],
		[ '18.11', q{expires_at > current_date}, 'expires_after={CURRENT_DATE}', 'expires_at', '' ],
		# only those of one direction are sent
		[ '', 'active AND revoked', 'state=active', 'active', '' ],
		[ '', 'active AND last_used_at > now()', 'state=active', 'active', '' ],
		[ '', 'last_used_at > now()', 'last_used_after={now()}', 'last_used_at', '' ],
		[ '', 'last_used_at BETWEEN now() AND now()', 'last_used_before={now()}', '', 'last_used_at' ],
		[ '', 'revoked AND last_used_at < now()', 'last_used_before={now()}', '', 'last_used_at' ],
		# operands that can't be sent, or only in part
		[ '', q{name LIKE 'ab%'}, '', '', '' ],
		[ '', q{name LIKE 'abc%'}, 'search=abc', '', 'name' ],
		[ '', q{expires_at < 'infinity'}, '', '', '' ],
		[ '', q{created_at >= '2026-01-01Z'}, 'created_after=2026-01-01T00:00:00.000Z', 'created_at', '' ],
		[ '', q{created_at >= '2026-01-01 00:00:00.0005Z'}, 'created_after=2026-01-01T00:00:00.000Z', '', 'created_at' ],
		[ '', q{created_at >= now() AND created_at < 'infinity'}, 'created_after={now()}', 'created_at', '' ],
		# lookups ask for nothing else
		[ '', 'id = 5 AND active', '/:id', 'id', '' ],
		[ '', 'id = (SELECT 5) AND user_id = 2', '/:id', 'id', '' ],
		[ '', 'user_id IN (2, 3) AND active', 'state=active&user_id={each of several}', 'active, user_id', '' ],
		[ '', 'user_id = ANY (ARRAY(SELECT 2)) AND user_id = 2', 'user_id=2&user_id={initplan}', 'user_id', '' ],
		# no request, nothing asked
		[ '', 'active AND NOT active', 'none', '', '' ],
		[ '', 'id IN (1, 2) AND id IN (3, 4) AND user_id = 2', 'none', '', '' ])
	{
		my ($version, $condition, @expected) = @$_;

		query('ALTER SERVER gitlab VERSION ' . ($version ? "'$version'" : 'NULL'));
		my $plan = plan_of("SELECT name FROM $table WHERE $condition");
		my ($request) = $plan =~ /GitLab Request: (?:GET \/personal_access_tokens)?\??(.*)/;
		# called $0 up to PostgreSQL 16, and InitPlan 1 up to 18
		$request =~ s/\{(?:\$0|\(InitPlan \w+\)\.col1)\}/{initplan}/;
		my @columns = map { $plan =~ /GitLab $_: (.*)/ ? join ', ', sort split /, /, $1 : '' } qw(Exact Superset);

		is_deeply([ $request, @columns ], \@expected, "EXPLAIN, version '$version': $condition has the right request, exact and superset columns");
	}
	query('ALTER SERVER gitlab VERSION NULL');

	# what is in the path, and what goes with a lookup only
	foreach (
		[ q{project = 'acme/app' AND environment_scope = 'production'},
			'/projects/acme%2Fapp/variables', 'project', '' ],
		[ q{project IN ('acme/app', '2') AND key = 'A'},
			'/projects/{each of several}/variables/:key', 'project', 'key' ],
		[ q{project = 'acme/app' AND key IN ('A', 'B')},
			'/projects/acme%2Fapp/variables/:key', 'project', 'key' ],
		[ q{project = current_schema::text AND key = 'A' AND environment_scope = current_schema::text},
			'/projects/{(CURRENT_SCHEMA)::text}/variables/:key?filter[environment_scope]={(CURRENT_SCHEMA)::text}',
			'project', 'environment_scope, key' ])
	{
		my ($condition, @expected) = @$_;
		my $plan = plan_of("SELECT key FROM gitlab_project_variables WHERE $condition");
		my ($request) = $plan =~ /GitLab Request: GET (.*)/;
		my @columns = map { $plan =~ /GitLab $_: (.*)/ ? join ', ', sort split /, /, $1 : '' } qw(Exact Superset);

		is_deeply([ $request, @columns ], \@expected, "EXPLAIN, variables: $condition has the right request, exact and superset columns");
	}
	return;
}

# Says what it took.
sub test_explain_analyze
{
	my $text = query("EXPLAIN (ANALYZE, COSTS OFF) SELECT name FROM $table WHERE user_id = 2");

	like($text, qr/GitLab Requests: 1\n\s*GitLab Pages: 1\n\s*GitLab Rows: \d+\n\s*GitLab Bytes: \d+ bytes\n\s*GitLab Wait: [\d.]+ ms/,
		'EXPLAIN ANALYZE shows what the scan took');
	my $json = JSON::PP::decode_json(
		query("EXPLAIN (ANALYZE, FORMAT json) SELECT name FROM $table"));
	my $plan = $json->[0]{Plan};

	is($plan->{'GitLab Request'}, 'GET /personal_access_tokens', 'EXPLAIN ANALYZE as JSON shows the request');
	is($plan->{'GitLab Rows'}, $tokens, 'EXPLAIN ANALYZE as JSON shows the rows');
	cmp_ok($plan->{'GitLab Pages'}, '>=', $tokens / 100, 'EXPLAIN ANALYZE as JSON shows the pages');
	cmp_ok($plan->{'GitLab Requests'}, '>=', $tokens / 100, 'EXPLAIN ANALYZE as JSON shows the requests');
	is($plan->{'GitLab Retries'}, 0, 'EXPLAIN ANALYZE as JSON shows the retries');
	cmp_ok($plan->{'GitLab Bytes'}, '>', 100 * $tokens, 'EXPLAIN ANALYZE as JSON shows the bytes');
	cmp_ok($plan->{'GitLab Wait'}, '>', 0, 'EXPLAIN ANALYZE as JSON shows the wait');

	$sim->fault('GET', 'user_id=2', 'status', status => 503, times => 1);
	like(query("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT name FROM $table WHERE user_id = 2"),
		qr/GitLab Requests: 2\n\s*GitLab Pages: 1\n\s*GitLab Retries: 1\n/, 'EXPLAIN ANALYZE shows a retry');
	$sim->clear_faults;
	return;
}

# --- joins --------------------------------------------------------------------

sub test_joins
{
	query(
		q{CREATE TABLE few AS SELECT n * 10 AS id FROM generate_series(1::bigint, 3) n;
		CREATE TABLE many AS SELECT n AS id FROM generate_series(1::bigint, 10000) n;
		ANALYZE few; ANALYZE many});

	my $join = "SELECT t.name FROM few JOIN $table t USING (id)";
	like(plan_of($join), qr/Nested Loop.*:id/s, 'a join with three rows makes lookups');
	is(requests_of($join), 3, 'a join with three rows makes three lookups');
	$join = "SELECT t.name FROM many JOIN $table t USING (id)";
	like(plan_of($join), qr/Hash Join.*GET \/personal_access_tokens$/sm, 'a join with 10,000 rows makes one listing');
	cmp_ok(requests_of($join), '<=', $tokens / 100 + 1, 'a join with 10,000 rows reads each page once');
	is(query("SELECT count(*) FROM ($join) j"), $tokens, 'a join with 10,000 rows finds all tokens');

	$join = "SELECT t.name FROM few LEFT JOIN $table t ON t.user_id = few.id";
	is(requests_of($join), 3, 'a join by owner with three rows makes a list for each owner');

	# owners come in bulk; these fill their last page
	is(query('SELECT count(id) FROM gitlab_users'), 200, 'a list of users has all of them');
	foreach (
		'true', 't.active', q{u.state = 'blocked'}, 'u.bot', 't.active AND u.locked',
		q{t.expires_at < current_date}, 'NOT u.is_admin')
	{
		$sim->clear_journal;
		query("SELECT t.id, u.username FROM $table t JOIN gitlab_users u ON u.id = t.user_id WHERE $_");
		is($sim->count(path => '/users/'), 0, "a report with owners looks up no user: $_");
		cmp_ok($sim->count, '<=', $tokens / 100 + 1 + 3, 'a report with owners takes no more than two lists');
	}
	return;
}

# --- estimates ----------------------------------------------------------------

sub estimate_of
{
	my ($sql) = @_;

	return (JSON::PP::decode_json(query("EXPLAIN (FORMAT json) $sql")))->[0]{Plan}{'Plan Rows'};
}

sub test_estimates
{
	query("ALTER FOREIGN TABLE $table OPTIONS (ADD use_remote_estimate 'true')");
	is(requests_of("EXPLAIN SELECT name FROM $table"), 1, 'use_remote_estimate makes one request to plan');
	is(estimate_of("SELECT name FROM $table"), $tokens, 'use_remote_estimate tells the number of rows');
	my $active = grep { $_->{state} eq 'active' } $sim->tokens;
	is(estimate_of("SELECT name FROM $table WHERE active"), $active, 'use_remote_estimate tells the number of rows with a condition');
	$sim->clear_journal;
	query("EXPLAIN SELECT name FROM $table WHERE active AND user_id = 2");
	like(join(' ', map { $_->{path} } $sim->journal), qr/user_id=2&state=active&per_page=1&page=1$/,
		'use_remote_estimate asks with the constant conditions');
	is(requests_of("EXPLAIN SELECT name FROM $table WHERE id = 5"), 0, 'use_remote_estimate makes no request to plan a lookup');
	is(requests_of("EXPLAIN SELECT name FROM $table WHERE active AND NOT active"), 0,
		'use_remote_estimate makes no request to plan contradictory conditions');
	is(requests_of("EXPLAIN SELECT name FROM $table WHERE user_id = 4711"), 1, 'use_remote_estimate makes one request for an owner who is not there');
	query("ALTER FOREIGN TABLE $table OPTIONS (DROP use_remote_estimate)");
	is(requests_of("EXPLAIN SELECT name FROM $table"), 0, 'planning without use_remote_estimate makes no request');
	return;
}

sub test_analyze
{
	cmp_ok(requests_of("ANALYZE $table"), '<=', $tokens / 100 + 3, 'ANALYZE reads the list once');
	query('ANALYZE gitlab_users');
	is(query("SELECT reltuples FROM pg_class WHERE relname = '$table'"), $tokens, 'ANALYZE sets reltuples of tokens');
	is(query("SELECT reltuples FROM pg_class WHERE relname = 'gitlab_users'"), 200, 'ANALYZE sets reltuples of users');
	is(query("SELECT n_distinct > 150 FROM pg_stats WHERE tablename = '$table' AND attname = 'user_id'")
		  || 'none', 't', 'ANALYZE sets statistics of columns');
	cmp_ok(abs(estimate_of("SELECT name FROM $table WHERE NOT revoked") - 0.9 * $tokens), '<', 0.05 * $tokens,
		'estimates go by the statistics');
	is(query("SELECT count(*) FROM pg_stats WHERE tablename = '$table' AND attname = 'token' AND null_frac < 1"),
		0, 'no secret is among the statistics');
	cmp_ok(requests_of("SELECT t.id FROM $table t JOIN gitlab_users u ON u.id = t.user_id"),
		'<=', $tokens / 100 + 1 + 3, 'a report takes two lists after ANALYZE');
	return;
}

# --- memory -------------------------------------------------------------------

# Kilobytes that a process holds.
sub resident
{
	my ($pid) = @_;
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+) kB/m;

	return $kilobytes;
}

sub test_memory
{
  SKIP:
	{
		skip 'needs /proc', 4 unless -r '/proc/self/status';
		my $scanner = Session->open($node);
		my $scan = "SELECT count(name) FROM $table";

		# all code, and as many pages at a time as later
		$scanner->query($scan);
		$scanner->query("$scan WHERE user_id IN (2, 3)");
		my $before = resident($scanner->pid);
		$sim->reset(tokens => 99_984, users => 990);
		my ($count, $error) = $scanner->query($scan);
		my $after = resident($scanner->pid);

		is("$count$error", 100_000, 'a scan of 100,000 tokens returns all of them');
		note sprintf '%d kB before, %d kB after it', $before, $after;
		cmp_ok($after - $before, '<', 16 * 1024, 'a scan of 100,000 tokens takes less than 16 MB of memory');

		$before = resident($scanner->pid);
		($count, $error) = $scanner->query(
			"$scan WHERE user_id = ANY (ARRAY(SELECT generate_series(1, 300)))");
		$after = resident($scanner->pid);
		is("$count$error", 300 * 100 + 16, 'the lists of 300 owners have all their tokens');
		note sprintf '%d kB before, %d kB after it', $before, $after;
		cmp_ok($after - $before, '<', 16 * 1024, 'the lists of 300 owners take less than 16 MB of memory');
		$scanner->close;
	}
	return;
}
