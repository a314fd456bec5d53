# Which users a join asks GitLab for: only those that it is about, each once, if these are
# few; and the list of all users if they are many, or if the caller is no administrator.
#
# The rows are always those of a join with a local copy of the list.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $tokens = 'gitlab_personal_access_tokens';
my $soon = 'active AND expires_at < current_date + 30';
my $users = 5000;
my $pages = $users / 100;
my $owners = 12;
my $session;

# Statements about the owners of the tokens that expire soon, by what they are called.
my %reports = (
	'a join' => qq{SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id WHERE $soon},
	'a left join' => qq{SELECT t.id, u.email FROM $tokens t LEFT JOIN gitlab_users u ON u.id = t.user_id WHERE $soon},
	'a left join with a condition' =>
	  qq{SELECT t.id, u.email FROM $tokens t LEFT JOIN gitlab_users u ON u.id = t.user_id AND u.locked WHERE $soon},
	'IN' => qq{SELECT u.name FROM gitlab_users u WHERE u.id IN (SELECT user_id FROM $tokens WHERE $soon)},
	'EXISTS' => qq{SELECT u.name FROM gitlab_users u WHERE EXISTS (SELECT FROM $tokens t WHERE t.user_id = u.id AND $soon)},
	'NOT EXISTS' => qq{SELECT t.id FROM $tokens t WHERE NOT EXISTS (SELECT FROM gitlab_users u WHERE u.id = t.user_id) AND $soon},
	'a subquery in SELECT' => qq{SELECT t.id, (SELECT username FROM gitlab_users u WHERE u.id = t.user_id) FROM $tokens t WHERE $soon},
	'LATERAL' => qq{SELECT t.id, u.name FROM $tokens t, LATERAL (SELECT name FROM gitlab_users WHERE id = t.user_id OFFSET 0) u WHERE $soon},
);

# Statements about the owners of all tokens.
my %bulk = (
	'a join' => qq{SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id},
	'a left join' => qq{SELECT t.id, u.username FROM $tokens t LEFT JOIN gitlab_users u ON u.id = t.user_id},
	'a join of the active ones' => qq{SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id WHERE t.active},
);

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);

seed();
test_without_statistics();
test_known_size();
test_statistics();
test_wrong_guesses();
test_memory();
test_estimates();
test_small_directories();
test_other_callers();
test_faults();
done_testing();

# Soon, $count tokens of $owners users expire; beside those of everybody.
sub seed_soon
{
	my ($count, $of) = @_;

	foreach my $n (0 .. $count - 1)
	{
		$sim->control('POST', 'tokens', undef,
			{ user_id => 200 + 7 * ($n % $of), name => "soon $n", scopes => ['api'], created_at => '2026-01-01T00:00:00Z',
				expires_at => strftime('%Y-%m-%d', gmtime(time + 86400 * (2 + $n % 20))) });
	}
	return;
}

sub seed
{
	$sim->reset(users => $users - 10, tokens => 2984);
	seed_soon(40, $owners);
	copy_tables();
	return;
}

sub copy_tables
{
	$node->safe_psql('postgres',
		qq{DROP SCHEMA IF EXISTS copy CASCADE; CREATE SCHEMA copy;
		CREATE TABLE copy.$tokens AS SELECT * FROM $tokens;
		CREATE TABLE copy.gitlab_users AS SELECT * FROM gitlab_users});
	return;
}

sub sorted { return join "\n", sort split /\n/, $_[0] }

# How often users were looked up, how many pages of their list were read, and how often
# its length was asked for.
sub asked
{
	return ($sim->count(path => '/users/\d+$'), $sim->count(path => '/users\?.*pagination=keyset'),
		$sim->count(path => '/users\?(?!.*pagination)'));
}

# Runs a statement, in a new session unless there is one, and compares its rows.
sub check
{
	my ($name, $sql, @expected) = @_;
	my $own = $session // Session->open($node);
	my ($local, $error) = $own->query("SET search_path = copy; $sql");

	die "$sql: $error" if $error;
	$sim->clear_journal;
	(my $foreign, $error) = $own->query("SET search_path = public; $sql");
	is($error . sorted($foreign), sorted($local), "$name has the rows of a local copy");
	my @asked = asked();

	is("@asked", "@expected", "$name takes $expected[0] lookups, $expected[1] pages of the list and $expected[2] to count it");
	$own->close if !$session;
	return;
}

sub plan_of
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $sql");
}

# --- few owners ---------------------------------------------------------------

sub test_without_statistics
{
	check("$_, without statistics", $reports{$_}, $owners, 0, 1) foreach sort keys %reports;
	check("$_ for all tokens, without statistics", $bulk{$_}, 0, $pages, 0) foreach sort keys %bulk;
	check('a join of one token', "SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id WHERE t.id = 2999", 1, 0, 0);
	check('a user by the result of a subquery',
		'SELECT name FROM gitlab_users WHERE id = (SELECT max(user_id) FROM (VALUES (7), (8)) v (user_id))', 1, 0, 0);
	check('a join with a condition that GitLab takes',
		"SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id WHERE $soon AND u.is_admin", 0, 0, 1);

	$node->safe_psql('postgres', 'CREATE TABLE few AS SELECT n::bigint AS id FROM unnest(ARRAY[300, 400, 5001, 300, NULL]) n; ANALYZE few');
	$node->safe_psql('postgres', 'CREATE TABLE many AS SELECT n::bigint AS id FROM generate_series(1, 10000) n; ANALYZE many');
	check('a join with three users', 'SELECT f.id, u.name FROM public.few f LEFT JOIN gitlab_users u USING (id)', 3, 0, 0);
	check('a join with 10,000 users', 'SELECT m.id, u.name FROM public.many m LEFT JOIN gitlab_users u USING (id)', 0, $pages, 0);
	check('a join by arrays', 'SELECT a.ids, u.name FROM (VALUES (ARRAY[300, 400]::bigint[]), (ARRAY[400, 5001])) a (ids) JOIN gitlab_users u ON u.id = ANY (a.ids)',
		0, $pages, 0);
	like(plan_of($reports{'a join'}), qr/Nested Loop.*GET \/users\/:id, or if they are many GET \/users$/sm, 'EXPLAIN shows the choice of a join');
	unlike(plan_of('SELECT name FROM gitlab_users WHERE id = 5'), qr/many/, 'EXPLAIN shows no choice where there is none');
	return;
}

# The session has seen how long the list is.
sub test_known_size
{
	$session = Session->open($node);
	$session->query($reports{'a join'});
	check("$_, in a session that knows the number of users", $reports{$_}, $owners, 0, 0) foreach sort keys %reports;
	$session->close;

	$session = Session->open($node);
	$session->query('SELECT count(name) FROM gitlab_users');
	check('a join, in a session that has read the list', $reports{'a join'}, $owners, 0, 0);
	# a plan is kept, and its parameters change
	$session->query("PREPARE p (date) AS SELECT t.id, u.username FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id WHERE t.active AND t.expires_at < \$1; SET plan_cache_mode = force_generic_plan");
	$sim->clear_journal;
	my ($first) = $session->query('EXECUTE p (current_date + 10)');
	my ($second) = $session->query('EXECUTE p (current_date + 30)');
	is(join(' ', scalar(split /\n/, $first), scalar(split /\n/, $second), asked()), '16 40 ' . 2 * $owners . ' 0 0',
		'a prepared statement asks for the owners at each execution');
	$session->close;
	$session = undef;
	return;
}

sub test_statistics
{
	$node->safe_psql('postgres', "ANALYZE gitlab_users; ANALYZE $tokens");
	check("$_, after ANALYZE", $reports{$_}, $owners, 0, 0) foreach sort keys %reports;
	check("$_ for all tokens, after ANALYZE", $bulk{$_}, 0, $pages, 0) foreach sort keys %bulk;
	like(plan_of($bulk{$_}), qr/Hash (?:Left |Right )?Join.*GET \/users$/sm, "$_ for all tokens is a hash join over the list of users") foreach sort keys %bulk;
	check('a join with three users, after ANALYZE', 'SELECT f.id, u.name FROM public.few f LEFT JOIN gitlab_users u USING (id)', 3, 0, 0);
	check('a join with 10,000 users, after ANALYZE', 'SELECT m.id, u.name FROM public.many m LEFT JOIN gitlab_users u USING (id)', 0, $pages, 0);
	return;
}

# --- many owners, where few were expected -------------------------------------

sub test_wrong_guesses
{
	check('a subquery for each of all tokens, after ANALYZE',
		"SELECT t.id, (SELECT username FROM gitlab_users u WHERE u.id = t.user_id) FROM $tokens t", $pages, $pages, 0);
	$node->safe_psql('postgres', "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname ~ '^gitlab'; DELETE FROM pg_statistic WHERE starelid IN ('gitlab_users'::regclass, '$tokens'::regclass)");
	$sim->reset(users => $users - 10, tokens => 2984);
	seed_soon(400, 400);
	copy_tables();
	check('a join of 400 owners, without statistics', $reports{'a join'}, $pages, $pages, 1);
	check('a subquery for each of 400 owners, without statistics', $reports{'a subquery in SELECT'}, $pages, $pages, 1);
	return;
}

# Rows that work_mem has no room for.
sub test_memory
{
	$session = Session->open($node);
	$session->query(q{SET work_mem = '64kB'; SET enable_memoize = off});
	check('a join whose users need a temporary file',
		"SELECT t.id, u.* FROM $tokens t, LATERAL (SELECT * FROM gitlab_users WHERE id = t.user_id OFFSET 0) u", $pages, $pages, 1);
	check('a join twice of such users',
		"SELECT t.id, u.name, v.email FROM $tokens t JOIN gitlab_users u ON u.id = t.user_id LEFT JOIN LATERAL (SELECT * FROM gitlab_users WHERE id = t.user_id - 1 OFFSET 0) v ON true WHERE $soon",
		2 * $pages, 2 * $pages, 0);
	$session->query('BEGIN; DECLARE c CURSOR FOR ' . "SELECT t.id, u.* FROM $tokens t, LATERAL (SELECT * FROM gitlab_users WHERE id = t.user_id OFFSET 0) u");
	my ($out, $error) = $session->query('FETCH 2500 FROM c; SAVEPOINT s; FETCH 100 FROM c; ROLLBACK TO s; FETCH 100 FROM c; COMMIT');
	is(scalar(split /\n/, $out) . $error, 2700, 'a cursor goes on with such users after a savepoint');
	$session->close;
	$session = undef;
	return;
}

# What is remembered of the list's length is right however the list was read.
sub test_estimates
{
	my $estimate = sub { (($session->query('EXPLAIN SELECT name FROM gitlab_users'))[0] =~ /rows=(\d+)/)[0] };

	$session = Session->open($node);
	$sim->reset;
	is($estimate->(), 1000, 'the planner assumes a number of users in a session that knows none');
	$session->query('SET enable_material = off; SELECT g, s.n FROM generate_series(1, 3) g, LATERAL (SELECT count(name) AS n FROM gitlab_users OFFSET g * 0) s');
	is($estimate->(), 10, 'the planner knows the number of users after a list that was read three times');
	$session->query("SELECT name FROM gitlab_users WHERE state = 'blocked'");
	$session->query('SELECT name FROM gitlab_users LIMIT 3');
	is($estimate->(), 10, 'the planner does not take a part of the users for all of them');
	$session->close;
	$session = undef;
	return;
}

# --- small directories --------------------------------------------------------

sub test_small_directories
{
	foreach ([ 10, 0, 0, 1 ], [ 99, 0, 0, 1 ], [ 100, 0, 0, 1 ], [ 101, 0, 2, 1 ], [ 250, 0, 3, 1 ], [ 500, 5, 5, 1 ])
	{
		my ($count, @expected) = @$_;

		# the last ones have tokens that expire soon
		$sim->reset(users => $count - 10, tokens => $count);
		$sim->control('PATCH', "tokens/$_", undef, { expires_at => strftime('%Y-%m-%d', gmtime(time + 86400 * 3)), revoked => JSON::PP::false })
		  foreach $count - 3 .. $count + 16;
		copy_tables();
		check("a join of several owners among $count users", $reports{'a join'}, @expected);
	}
	return;
}

# --- callers who are no administrators ----------------------------------------

# They get the list, with whom and what it leaves out, however they ask.
sub test_other_callers
{
	my $join = 'SELECT f.id, u.username, u.bot, u.created_at FROM public.few f LEFT JOIN gitlab_users u USING (id)';

	seed();
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice')});
	$node->safe_psql('postgres', 'TRUNCATE few; INSERT INTO few VALUES (2), (3), (6); ANALYZE few');
	$sim->control('POST', 'tokens', undef, { user_id => 2, name => 'soon', scopes => ['api'],
			expires_at => strftime('%Y-%m-%d', gmtime(time + 86400 * 2)) });
	copy_tables();
	check('a join of three users, for no administrator', $join, 1, $pages, 0);
	check('a subquery for three users, for no administrator',
		'SELECT f.id, (SELECT u.username FROM gitlab_users u WHERE u.id = f.id) FROM public.few f', 1, $pages, 0);
	check('a report, for no administrator', $reports{'a join'}, 0, 0, 1);
	check('a user by the result of a subquery, for no administrator',
		'SELECT username FROM gitlab_users WHERE id = (SELECT max(user_id) FROM (VALUES (1), (2)) v (user_id))', 1, 0, 0);
	$session = Session->open($node);
	$session->query(q{SELECT sees_all_tokens FROM gitlab_pat_self('gitlab')});
	check('a join of three users, for one who is known to be no administrator', $join, 0, $pages, 0);
	$session->close;
	$session = undef;
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});
	$node->safe_psql('postgres', 'TRUNCATE few; INSERT INTO few VALUES (300), (400), (5001), (300), (NULL); ANALYZE few');
	return;
}

# --- faults -------------------------------------------------------------------

sub test_faults
{
	seed();
	$sim->fault('GET', '/users', 'status', status => 503, times => 3);
	check('a join after three failures', $reports{'a join'}, $owners, 0, 1 + 3);
	$sim->clear_faults;

	foreach (
		[ '/users/\d+$', 'status', { status => 418 }, 'HV000' ],
		[ '/users/\d+$', 'garbage', {}, '08P01' ],
		[ '/users\?', 'status', { status => 418 }, 'HV000' ],
		[ '/users\?', 'garbage', {}, '08P01' ],
		[ '/users\?', 'edit', { set => { '3.id' => 'x' } }, '08P01' ])
	{
		my ($path, $kind, $more, $state) = @$_;

		$sim->fault('GET', $path, $kind, times => 1, %$more);
		my $own = Session->open($node);
		my (undef, $error) = $own->query($reports{'a join'});
		like($error, qr/$state/, "a join fails for $kind of $path");
		$sim->clear_faults;
		my ($out) = $own->query($reports{'a join'});
		is(scalar(split /\n/, $out), 40, "a join returns all rows after one that failed for $kind of $path");
		$own->close;
	}
	return;
}
