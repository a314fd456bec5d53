# What GitLab is asked for, and that the answer is that of a local table.
#
# First random queries, over random tokens: each has to say of the foreign table
# what it says of a local copy.  SEED and CASES (a setting of versions) can be
# set in the environment; a failure shows the statement and the seed.
#
# Then the requests, one by one: what is sent for which SQL.

use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Encode qw(encode_utf8 decode_utf8);
use Time::HiRes ();

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RandomQueries;
use Session;
use Test::More;

my $seed = $ENV{SEED} || 20;
my $cases = $ENV{CASES} || 1000;
my $database = 'unicode';

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);

# Names must survive as they are, and compare as GitLab's database does it.
$node->safe_psql('postgres',
	"CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'");
gitlab_database($node, $database, $sim);
create_servers();
create_functions();
foreach my $dialect ('17.11', '18.11', '19.4')
{
	seed_tokens($dialect, 'UTC', int time);
	test_random_queries($dialect, 'undeclared') unless $dialect eq '18.11';
	test_random_queries($dialect, '18.11') if $dialect eq '18.11';
	test_random_queries($dialect, '19.4') if $dialect eq '19.4';
}
# instances elsewhere, at an hour whose date is another one than UTC's
foreach ([ 'Asia/Tokyo', 20 ], [ 'America/New_York', 3 ])
{
	my ($zone, $hour) = @$_;

	seed_tokens('19.4', $zone, (int(time / 86400) + 1) * 86400 + $hour * 3600);
	test_random_queries('19.4', '19.4');
}
my $session = Session->open($node, database => $database);

test_requests();
test_limits();
test_declared_versions();
test_evaluation();
test_rescans();
test_count_by_paging();
test_users();
test_long_texts();
test_encodings();
$session->close;
done_testing();

# --- random queries -----------------------------------------------------------

# A schema for each version that a server can be declared to have.
sub create_servers
{
	my $url = $sim->url;

	foreach my $version ('undeclared', '18.11', '19.4')
	{
		my $declared = $version eq 'undeclared' ? '' : "VERSION '$version'";

		$node->safe_psql(
			$database, qq{
			CREATE SERVER "$version" $declared FOREIGN DATA WRAPPER gitlab_pat_fdw
				OPTIONS (url '$url');
			CREATE USER MAPPING FOR CURRENT_USER SERVER "$version"
				OPTIONS (token 'glpat-sim-admin');
			CREATE SCHEMA "$version";
			IMPORT FOREIGN SCHEMA gitlab FROM SERVER "$version" INTO "$version"});
	}
	return;
}

sub create_functions
{
	$node->safe_psql(
		$database, q{
		CREATE TABLE queries (n integer, statement text, ordered boolean,
			types text, arguments text, time_zone text, settings text[]);

		-- What a statement says, as text; errors by their SQLSTATE.
		CREATE FUNCTION said(q queries, tokens text) RETURNS text
		LANGUAGE plpgsql AS $$
		DECLARE
			inner_query text := replace(q.statement, '@T', tokens);
			name text := 'statement_' || q.n;
			query text;
			result text;
		BEGIN
			query := format('SELECT count(*) || E''\n'' || string_agg(r::text, E''\n'' %s) FROM (%s) r',
				CASE WHEN q.ordered THEN '' ELSE 'ORDER BY r::text COLLATE "C"' END,
				inner_query);
			IF q.types = '' THEN
				EXECUTE query INTO result;
			ELSE
				EXECUTE format('PREPARE %I (%s) AS %s', name, q.types, query);
				EXECUTE format('EXECUTE %I (%s)', name, q.arguments) INTO result;
				EXECUTE format('DEALLOCATE %I', name);
			END IF;
			RETURN coalesce(result, 'nothing');
		EXCEPTION WHEN OTHERS THEN
			IF EXISTS (SELECT FROM pg_prepared_statements p WHERE p.name = 'statement_' || q.n) THEN
				EXECUTE format('DEALLOCATE %I', name);
			END IF;
			RETURN format('error %s: %s', SQLSTATE, SQLERRM);
		END $$;

		-- Those queries that say something else of another table.
		CREATE FUNCTION differences(one text, other text)
		RETURNS TABLE (n integer, of_one text, of_other text)
		LANGUAGE plpgsql AS $$
		DECLARE
			q queries;
			setting text;
		BEGIN
			SET LOCAL plan_cache_mode = force_generic_plan;
			FOR q IN SELECT * FROM queries ORDER BY queries.n LOOP
				PERFORM set_config('TimeZone', q.time_zone, true);
				FOREACH setting IN ARRAY q.settings LOOP
					PERFORM set_config(setting, 'off', true);
				END LOOP;
				n := q.n;
				of_one := said(q, one);
				of_other := said(q, other);
				IF of_one IS DISTINCT FROM of_other THEN
					RETURN NEXT;
				END IF;
				FOREACH setting IN ARRAY q.settings LOOP
					PERFORM set_config(setting, 'on', true);
				END LOOP;
			END LOOP;
		END $$;
	});
	return;
}

my $random;

# Some hundred random tokens, and a local copy of what GitLab shows of them.
sub seed_tokens
{
	my ($dialect, $zone, $now) = @_;

	srand $seed;
	$sim->reset(version => $dialect);
	$sim->control('POST', 'settings', undef, { time_zone => $zone });
	$sim->control('POST', 'clock', undef,
		{ now => RandomQueries::time_text($now * 1_000_000 + 500_500, 'T') . 'Z' });
	$random = RandomQueries->new(now => $now, fixture => 16);
	$sim->control('POST', 'tokens', undef, $random->token) foreach 1 .. 230;
	# What is created within the second of a scan is another test's subject.
	$sim->control('POST', 'clock', undef, { advance => 10 });
	$node->safe_psql(
		$database, q{
		DROP TABLE IF EXISTS copy, numbers;
		CREATE TABLE copy AS SELECT * FROM undeclared.gitlab_personal_access_tokens;
		CREATE TABLE numbers AS
			SELECT n, CASE WHEN n <> 3 THEN n * 40 % 77 END AS id,
				CASE WHEN n <> 4 THEN n % 3 + 1 END AS user_id,
				CASE WHEN n <> 5 THEN ARRAY[n, 10 * n, NULL] END AS ids,
				now() - n * interval '5 days' AS since,
				(SELECT name FROM copy WHERE copy.id = 20 * n) AS name
			FROM generate_series(1::bigint, 6) n;
		ANALYZE});
	return;
}

# psql takes bytes.
sub psql_script
{
	my ($script) = @_;
	my ($out, $err);
	my $status = $node->psql($database, encode_utf8($script),
		stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-F', "\x1f", '-R', "\x1e" ]);

	die "psql failed: $err" if $status != 0;
	return decode_utf8($out);
}

# The first few lines of a result that another one lacks.
sub only_in
{
	my ($name, $result, $other) = @_;
	my %lines = map { $_ => 1 } split /\n/, $other;
	my @lines = grep { !$lines{$_} } split /\n/, $result;

	splice @lines, 5 if @lines > 5;
	return map { "only in the $name result: $_" } @lines;
}

sub test_random_queries
{
	my ($dialect, $version) = @_;
	my @time_zones = ('UTC', 'Asia/Kathmandu', 'America/St_Johns', 'Pacific/Kiritimati', 'America/Havana',
		'Pacific/Apia');
	my @queries = map { $random->query } 1 .. $cases;
	my $script = "TRUNCATE queries;\n";
	my $started = Time::HiRes::time();
	my %requests;

	foreach my $n (1 .. $cases)
	{
		my $query = $queries[ $n - 1 ];

		$query->{time_zone} = RandomQueries::pick(@time_zones);
		$script .= sprintf "INSERT INTO queries VALUES (%d, \$q\$%s\$q\$, %s, \$q\$%s\$q\$, \$q\$%s\$q\$, '%s', '{%s}');\n",
		  $n, $query->{statement}, $query->{ordered} ? 'true' : 'false',
		  join(', ', @{ $query->{types} }), join(', ', @{ $query->{arguments} }),
		  $query->{time_zone}, join(',', @{ $query->{settings} });
	}
	$sim->clear_journal;
	my @differences = split /\x1e/, psql_script(
		"$script SELECT * FROM differences('\"$version\".gitlab_personal_access_tokens', 'copy')");

	foreach (@differences)
	{
		my ($n, $foreign, $local) = split /\x1f/, $_, 3;
		my $query = $queries[ $n - 1 ];

		diag encode_utf8(join "\n", "seed $seed, $version against $dialect, query $n:",
			"SET TimeZone = '$query->{time_zone}'; " . join('', map { "SET $_ = off; " } @{ $query->{settings} }),
			$query->{statement}, (map { "parameter: $_" } @{ $query->{arguments} }),
			only_in('foreign', $foreign, $local), only_in('local', $local, $foreign));
	}
	is(scalar @differences, 0,
		sprintf '%d random queries, %s against GitLab %s in %s', $cases, $version, $dialect,
			$sim->control('GET', 'settings')->{time_zone});
	note sprintf '%.1f s, %d requests', Time::HiRes::time() - $started, $sim->count;
	return;
}

# --- requests -----------------------------------------------------------------

# What a statement asked of GitLab: paths below the collection, decoded, and
# without the parameters that all first pages have.  GitLab's version aside,
# which is asked for once per connection: see test_declared_versions().
sub asked
{
	my ($sql) = @_;

	$sim->clear_journal;
	my ($out, $error) = $session->query(encode_utf8($sql));

	return "error $error" if $error;
	return map {
		s{^/api/v4/personal_access_tokens}{};
		s/[?&]per_page=100&page=1$//;
		s/%([[:xdigit:]]{2})/chr hex $1/ge;
		decode_utf8($_)
	} grep { $_ ne '/api/v4/metadata' } map { $_->{path} } $sim->journal;
}

# A table of SQL and requests: the condition, then what the three versions send.
# One entry is for all versions; '' is a list of all tokens, '-' no request.
sub test_requests
{
	my @table = (
		# id and user_id
		[ 'id = 5', '/5' ],
		[ 'id = 5::int2', '/5' ],
		[ '5 = id', '/5' ],
		[ 'id = 5 AND active', '/5' ],
		[ 'id IN (7, 5, 7, 5)', '/5 /7' ],
		[ q{id = ANY ('{3,NULL,-1,0,3}')}, '/3' ],
		[ 'id IN (1, 2) AND id IN (2, 3)', '/2' ],
		[ 'id = 999999', '/999999' ],
		[ 'id > 5', '' ],
		[ 'id = 5.0', '' ],
		[ 'id <> ALL (ARRAY[5])', '' ],
		[ 'user_id = 2', '?user_id=2' ],
		[ 'user_id = 2 AND user_id = 2', '?user_id=2' ],
		[ 'user_id IN (2, 3) AND user_id IN (3, 4)', '?user_id=3' ],
		[ 'user_id IN (3, 2)', '?user_id=2 ?user_id=3' ],
		[ 'user_id = 999999', '?user_id=999999' ],
		[ 'user_id = 2 OR user_id = 3', '' ],

		# active and revoked
		[ 'active', '?state=active' ],
		[ 'active IS TRUE', '?state=active' ],
		[ 'active = true', '?state=active' ],
		[ 'active IS NOT FALSE', '' ],
		[ 'NOT active', '', '', '?state=inactive' ],
		[ 'active IS FALSE', '', '', '?state=inactive' ],
		[ 'active = false', '', '', '?state=inactive' ],
		[ 'revoked', '?revoked=true' ],
		[ 'NOT revoked', '?revoked=false' ],
		[ 'active AND NOT revoked', '?state=active&revoked=false' ],
		# of what rows leave and what they enter, only the former
		[ 'revoked AND last_used_at < \'2026-01-01Z\'',
			'?last_used_before=2026-01-01T00:00:00.000Z' ],
		[ 'active AND last_used_at > \'2026-01-01Z\'', '?state=active' ],
		[ 'NOT revoked AND last_used_at <= \'2026-01-01Z\'',
			'?revoked=false&last_used_before=2026-01-01T00:00:00.001Z' ],

		# times
		[ q{created_at >= '2026-01-01Z'}, '?created_after=2026-01-01T00:00:00.000Z' ],
		[ q{created_at > '2026-01-01Z'}, '?created_after=2026-01-01T00:00:00.001Z' ],
		[ q{created_at >= '2026-01-01 00:00:00.0005Z'}, '?created_after=2026-01-01T00:00:00.000Z' ],
		[ q{created_at <= '2026-01-01Z'}, '?created_before=2026-01-01T00:00:00.001Z' ],
		[ q{created_at < '2026-01-01Z'}, '?created_before=2026-01-01T00:00:00.000Z' ],
		[ q{created_at < '2026-01-01 00:00:00.0005Z'}, '?created_before=2026-01-01T00:00:00.001Z' ],
		[ q{created_at = '2026-01-01Z'},
			'?created_after=2026-01-01T00:00:00.000Z&created_before=2026-01-01T00:00:00.001Z' ],
		[ q{created_at >= '1999-12-31 23:59:59.9999Z'}, '?created_after=1999-12-31T23:59:59.999Z' ],
		[ q{created_at >= '0002-01-01'::timestamp}, '?created_after=0002-01-01T00:00:00.000Z' ],
		[ q{created_at >= '2026-01-01'::date}, '?created_after=2026-01-01T00:00:00.000Z' ],
		[ q{created_at >= '2026-01-01 12:00'::timestamp}, '?created_after=2026-01-01T12:00:00.000Z' ],
		[ q{created_at BETWEEN '2026-01-01Z' AND '2026-02-01Z'},
			'?created_after=2026-01-01T00:00:00.000Z&created_before=2026-02-01T00:00:00.001Z' ],
		[ q{created_at > '2026-01-01Z' AND created_at > '2026-03-01Z' AND created_at >= '2026-02-01Z'},
			'?created_after=2026-03-01T00:00:00.001Z' ],
		[ q{'2026-01-01Z' <= created_at}, '?created_after=2026-01-01T00:00:00.000Z' ],
		[ q{last_used_at >= '2026-01-01Z'}, '?last_used_after=2026-01-01T00:00:00.000Z' ],
		[ q{last_used_at < '2026-01-01Z'}, '?last_used_before=2026-01-01T00:00:00.000Z' ],
		# a lower bound that rows enter by is given up for the upper one
		[ q{last_used_at BETWEEN '2026-01-01Z' AND '2026-02-01Z'},
			'?last_used_before=2026-02-01T00:00:00.001Z' ],
		[ 'last_used_at IS NULL', '' ],
		# what GitLab can't be asked for
		[ q{created_at < 'infinity'}, '' ],
		[ q{created_at > '-infinity'::date}, '' ],
		[ q{created_at > '0044-03-15 BC'}, '' ],
		[ q{created_at < '10000-01-01'}, '' ],
		[ q{created_at < '5874897-12-31'::date}, '' ],

		# expiry
		# servers that don't know these parameters ignore them
		[ q{expires_at >= '2026-01-01'}, '?expires_after=2026-01-01' ],
		[ q{expires_at > '2026-01-01'}, '?expires_after=2026-01-02' ],
		[ q{expires_at < '2026-01-01'}, '?expires_before=2026-01-01' ],
		[ q{expires_at <= '2026-02-28'}, '?expires_before=2026-03-01' ],
		[ q{expires_at = '2026-12-31'}, '?expires_after=2026-12-31&expires_before=2027-01-01' ],
		[ q{expires_at < '2026-01-01 12:00Z'::timestamptz}, '?expires_before=2026-01-02' ],
		[ q{expires_at > '2026-01-01 12:00'::timestamp}, '?expires_after=2026-01-01' ],
		[ 'expires_at IS NULL', '' ],
		[ q{expires_at < 'infinity'}, '' ],
		[ q{expires_at > '0044-03-15 BC'}, '' ],
		[ q{expires_at < '12000-01-01'}, '' ],

		# names
		[ q{name = 'deploy'}, '?search=deploy' ],
		[ q{name = 'ab'}, '' ],
		[ q{name = ''}, '' ],
		[ q{name = 'deploy   key "x"'}, '?search=deploy' ],
		[ q{name = 'ключ'}, '?search=ключ' ],
		[ qq{name = 'ab\N{U+A0}cd'}, '' ],
		[ qq{name = 'ab\N{U+3000}cde'}, '?search=cde' ],
		[ q{name = 'a%b_c\\d'}, '?search=a%b_c\\d' ],
		[ q{name LIKE '%deploy%'}, '?search=deploy' ],
		[ q{name LIKE 'dep_oy key%'}, '?search=dep' ],
		[ q{name LIKE '100\\%%'}, '?search=100%' ],
		[ q{name LIKE '100#%%' ESCAPE '#'}, '?search=100%' ],
		[ q{name LIKE '\\d\\e\\p%'}, '?search=dep' ],
		[ q{name LIKE 'ab%'}, '' ],
		[ q{name LIKE '%'}, '' ],
		[ q{name ILIKE '%DEPLOY%'}, '?search=DEPLOY' ],
		[ q{name ILIKE '%ключ%'}, '' ],
		[ q{name NOT LIKE '%deploy%'}, '' ],
		[ q{name ~ 'deploy'}, '' ],
		[ q{name > 'deploy'}, '' ],
		[ q{name = 'deploy' COLLATE "C"}, '?search=deploy' ],
		[ q{name = 'deploy' AND name LIKE 'deploy%key%'}, '?search=deploy' ],

		# what no row can fulfil
		[ 'user_id = 1 AND user_id = 2', '-' ],
		[ 'id = 1 AND id = 2', '-' ],
		[ 'id = NULL', '-' ],
		[ 'user_id = NULL', '-' ],
		[ 'id = -1', '-' ],
		[ 'user_id = 0', '-' ],
		[ q{id = ANY ('{}')}, '-' ],
		[ 'id = ANY (NULL)', '-' ],
		[ 'id IN (1, 2) AND id IN (3, 4)', '-' ],
		[ 'active AND NOT active', '-' ],
		[ q{created_at > '2026-02-01Z' AND created_at < '2026-01-01Z'}, '-' ],
		[ q{created_at > '2026-02-01Z' AND created_at < '2026-02-01 00:00:00.001Z'}, '-' ],
		[ q{expires_at = '2026-01-01' AND expires_at > '2026-01-01'}, '-' ],
		[ 'name = NULL', '-' ],
		[ 'false', '-' ],
	);

	$sim->reset(version => '19.4', tokens => 0);
	# from a list a connection learns that it is an administrator's
	$session->query(qq{SELECT id FROM "$_".gitlab_personal_access_tokens})
	  foreach 'undeclared', '18.11', '19.4';
	foreach (@table)
	{
		my ($condition, @expected) = @$_;
		my @versions = @expected == 1 ? ('undeclared') : ('undeclared', '18.11', '19.4');

		push @expected, $expected[-1] if @expected == 2;
		foreach my $i (0 .. $#versions)
		{
			my @asked = asked(
				qq{SELECT name FROM "$versions[$i]".gitlab_personal_access_tokens WHERE $condition});

			is(join(' ', @asked ? sort @asked : '-'), $expected[$i],
				encode_utf8("$versions[$i]: $condition"));
		}
	}

	# orders, limits and counts: the whole select, and what is sent
	foreach (
		[ '18.11', 'SELECT id FROM t ORDER BY id', '' ],
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at', '?sort=expires_asc' ],
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at DESC', '?sort=expires_desc' ],
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at NULLS FIRST', '' ],
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at, id LIMIT 3', '?sort=expires_asc' ],
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at LIMIT 3', '?sort=expires_asc&per_page=3&page=1' ],
		[ '18.11', 'SELECT id FROM t ORDER BY created_at LIMIT 3', '?sort=created_asc&per_page=3&page=1' ],
		[ '18.11', 'SELECT id FROM t ORDER BY created_at DESC LIMIT 3', '?sort=created_desc&per_page=3&page=1' ],
		[ '18.11', 'SELECT id FROM t ORDER BY created_at, id LIMIT 3', '' ],
		[ '18.11', 'SELECT id FROM t ORDER BY created_at', '' ],
		[ '18.11', 'SELECT id FROM t ORDER BY created_at LIMIT 101', '' ],
		[ '18.11', q{SELECT id FROM t WHERE name = 'deploy' ORDER BY created_at LIMIT 3}, '?search=deploy' ],
		[ '18.11', 'SELECT id FROM t ORDER BY id DESC', '' ],
		[ '18.11', 'SELECT id FROM t ORDER BY id DESC LIMIT 3', '?sort=id_desc&per_page=3&page=1' ],
		[ '18.11', 'SELECT id FROM t WHERE NOT revoked ORDER BY id DESC LIMIT 3',
			'?revoked=false&sort=id_desc&per_page=3&page=1' ],
		[ '18.11', q{SELECT id FROM t WHERE name = 'deploy' ORDER BY id DESC LIMIT 3},
			'?search=deploy&sort=id_desc' ],
		[ 'undeclared', 'SELECT id FROM t ORDER BY expires_at LIMIT 3', '' ],
		[ 'undeclared', 'SELECT id FROM t LIMIT 3', '?per_page=3&page=1' ],
		[ 'undeclared', 'SELECT id FROM t LIMIT 3 OFFSET 4', '?per_page=7&page=1' ],
		[ 'undeclared', 'SELECT id FROM t ORDER BY id LIMIT 3', '?per_page=3&page=1' ],
		[ 'undeclared', 'SELECT id FROM t ORDER BY id DESC LIMIT 3', '' ],
		[ 'undeclared', 'SELECT id FROM t WHERE active AND user_id = 2 LIMIT 3',
			'?user_id=2&state=active&per_page=3&page=1' ],
		[ 'undeclared', q{SELECT id FROM t WHERE name = 'deploy' LIMIT 3}, '?search=deploy' ],
		[ 'undeclared', q{SELECT id FROM t WHERE created_at < '2026-01-01Z' LIMIT 3},
			'?created_before=2026-01-01T00:00:00.000Z' ],
		[ '18.11', q{SELECT id FROM t WHERE expires_at > '2026-01-01' LIMIT 3},
			'?expires_after=2026-01-02&per_page=3&page=1' ],
		[ 'undeclared', 'SELECT DISTINCT user_id FROM t LIMIT 3', '' ],
		[ 'undeclared', 'SELECT max(id) FROM t LIMIT 1', '' ],
		[ 'undeclared', 'SELECT a.id FROM t a JOIN t b USING (id) LIMIT 1', ' /1' ],
		[ 'undeclared', 'SELECT id FROM t LIMIT 0', '-' ],
		[ 'undeclared', 'SELECT count(*) FROM t', '?per_page=1&page=1' ],
		[ 'undeclared', 'SELECT count(*) AS a, count(*) AS b FROM t', '?per_page=1&page=1' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE active AND user_id = 2',
			'?user_id=2&state=active&per_page=1&page=1' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE revoked', '?revoked=true&per_page=1&page=1' ],
		# one answer, in which nothing can change
		[ 'undeclared', q{SELECT count(*) FROM t WHERE active AND last_used_at >= '2026-01-01Z'},
			'?state=active&last_used_after=2026-01-01T00:00:00.000Z&per_page=1&page=1' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE NOT active', '' ],
		[ '19.4', 'SELECT count(*) FROM t WHERE NOT active', '?state=inactive&per_page=1&page=1' ],
		[ '18.11', q{SELECT count(*) FROM t WHERE expires_at = '2026-01-01'},
			'?expires_after=2026-01-01&expires_before=2026-01-02&per_page=1&page=1' ],
		[ 'undeclared', q{SELECT count(*) FROM t WHERE created_at > '2024-01-01Z'},
			'?created_after=2024-01-01T00:00:00.001Z&per_page=1&page=1' ],
		[ 'undeclared', q{SELECT count(*) FROM t WHERE created_at < '2024-01-01Z'},
			'?created_before=2024-01-01T00:00:00.000Z' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE id IN (3, 4, 999)', '/3 /4 /999' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE user_id IN (1, 2)', '?user_id=1 ?user_id=2' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE user_id = 1 AND user_id = 2', '-' ],
		[ 'undeclared', 'SELECT count(*) FROM t WHERE user_id = 999999',
			'?user_id=999999&per_page=1&page=1' ],
		[ 'undeclared', 'SELECT count(id) FROM t', '' ],
		[ 'undeclared', 'SELECT count(*) FILTER (WHERE active) FROM t', '' ],
		[ 'undeclared', 'SELECT user_id, count(*) FROM t GROUP BY user_id', '' ],
		[ 'undeclared', 'SELECT count(*) FROM t HAVING count(*) > 3', '' ],
		[ 'undeclared', 'SELECT EXISTS (SELECT FROM t WHERE active)', '?state=active' ],
	  )
	{
		my ($version, $select, $expected) = @$_;

		$select =~ s/\bt\b/"$version".gitlab_personal_access_tokens/g;
		my @asked = asked($select);
		is(join(' ', @asked ? sort @asked : '-'), $expected, "$version: GitLab is asked for what $_->[1] needs");
	}
	return;
}

# A LIMIT of several pages asks for no page that it does not need, and a LIMIT in an
# order of GitLab's returns what sorting the whole list would.
sub test_limits
{
	$sim->reset(version => '19.4', tokens => 1000);
	foreach (
		[ 'undeclared', 'LIMIT 250', 3 ],
		[ 'undeclared', 'ORDER BY id LIMIT 250', 3 ],
		[ 'undeclared', 'ORDER BY id OFFSET 120 LIMIT 130', 3 ],
		[ 'undeclared', 'LIMIT 100', 1 ],
		[ 'undeclared', 'WHERE NOT revoked LIMIT 201', 3 ],
		[ '19.4', 'ORDER BY id DESC LIMIT 250', 3 ],
		[ '19.4', 'ORDER BY id DESC LIMIT 5', 1 ],
		[ '19.4', 'ORDER BY created_at DESC LIMIT 5', 1 ],
		[ '19.4', 'ORDER BY created_at LIMIT 100', 1 ])
	{
		my ($version, $rest, $expected) = @$_;
		my $table = qq{"$version".gitlab_personal_access_tokens};
		my @asked = asked("SELECT id FROM $table $rest");

		is(scalar @asked, $expected, "$version: a query with $rest takes as few requests as it can");
		next unless $rest =~ /ORDER/;
		my ($limited) = $session->query("SELECT string_agg(id::text, ' ') FROM (SELECT id FROM $table $rest) q");
		my ($sorted) = $session->query("SELECT string_agg(id::text, ' ') FROM (SELECT id FROM (SELECT id, created_at FROM $table OFFSET 0) t $rest) q");

		is($limited, $sorted, "$version: a query with $rest returns the rows that sorting returns");
	}

	# the transaction hides some: GitLab's first rows will not do
	my $changed = '"19.4".gitlab_personal_access_tokens';
	my ($found) = $session->query(
		qq{BEGIN; SET LOCAL gitlab_pat_fdw.max_changes = 1000;
		DELETE FROM $changed WHERE id > 900;
		SELECT max(id), count(*) FROM (SELECT id FROM $changed WHERE NOT revoked ORDER BY id DESC LIMIT 150) q;
		ROLLBACK});
	is($found, '900|150', 'a LIMIT goes on to more pages if the transaction has revoked the first rows');
	return;
}

# What needs a version asks whether the declared one is true: once per connection,
# and an error if GitLab is older.  What does not need it asks nothing.
sub test_declared_versions
{
	my %tables = map { $_ => qq{"$_".gitlab_personal_access_tokens} } '18.11', '19.4';
	my @needy = (
		[ '18.11', 'SELECT id FROM t ORDER BY expires_at LIMIT 3' ],
		[ '18.11', 'SELECT id FROM t WHERE user_id = 2 ORDER BY expires_at DESC' ],
		[ '18.11', q{SELECT count(*) FROM t WHERE expires_at = '2099-12-31'} ],
		[ '18.11', q{SELECT count(*) FROM t WHERE expires_at < current_date + 30 AND active} ],
		[ '19.4', 'SELECT id FROM t WHERE NOT active' ],
		[ '19.4', 'SELECT count(*) FROM t WHERE NOT active' ],
		[ '19.4', 'SELECT id FROM t WHERE user_id IN (2, 3) AND NOT active' ],
		[ '19.4', 'DELETE FROM t WHERE NOT active AND id > 10000' ]);
	my @needless = (
		'SELECT id FROM t', 'SELECT id FROM t ORDER BY id LIMIT 3', 'SELECT id FROM t WHERE active',
		'SELECT id FROM t WHERE expires_at < current_date', 'SELECT count(*) FROM t WHERE active',
		q{SELECT id FROM t WHERE expires_at > '2026-01-01' LIMIT 3},
		'SELECT id FROM t WHERE id = 5 AND NOT active', 'SELECT id FROM t WHERE id = 5 ORDER BY expires_at',
		'SELECT count(*) FROM t WHERE active AND NOT active', 'SELECT id FROM t WHERE false ORDER BY expires_at',
		'EXPLAIN SELECT id FROM t WHERE NOT active ORDER BY expires_at');
	my $verbose = Session->open($node, database => $database, verbosity => 'verbose');
	my $run = sub {
		my ($version, $sql) = @_;

		$sim->clear_journal;
		return $verbose->query($sql =~ s/\bt\b/$tables{$version}/r);
	};
	my $asked = sub {
		return join ' ', map { $_->{path} =~ m{^/api/v4/(metadata|version)$} } $sim->journal;
	};
	my $again = sub { $verbose->query('SELECT gitlab_pat_disconnect()') };

	# GitLab is as old as declared, or younger
	foreach my $dialect ('18.11', '19.4')
	{
		$sim->reset(version => $dialect);
		foreach (grep { $_->[0] <= $dialect } @needy)
		{
			my ($version, $sql) = @$_;

			$again->();
			is(($run->(@$_))[1], '', "$version against $dialect: no error from $sql");
			is($asked->(), 'metadata', 'a statement that relies on the version asks for it');
			cmp_ok($sim->count, '>', 1, 'a confirmed version lets the statement go on');
			$run->(@$_);
			is($asked->(), '', 'a session asks for the version once');
			foreach my $other (@needy)
			{
				next if $other->[0] ne $version;
				$run->(@$other);
				is($asked->(), '', "a session does not ask for the version again for $other->[1]");
			}
		}
	}

	# what does not need it
	foreach my $version ('18.11', '19.4')
	{
		$sim->reset(version => '17.11');
		$again->();
		foreach (@needless)
		{
			is(($run->($version, $_))[1], '', "$version against 17.11: no error from $_");
			is($asked->(), '', 'a statement that does not rely on the version does not ask for it');
		}
	}

	# GitLab is older than declared
	foreach my $dialect ('17.11', '18.11')
	{
		$sim->reset(version => $dialect);
		$again->();
		foreach (grep { $_->[0] > $dialect } @needy)
		{
			my ($version, $sql) = @$_;
			my ($out, $err) = $run->(@$_);

			is($out, '', "$version against $dialect: no row of $sql");
			like($err, qr/ERROR:  HV024: server "$version" is declared to have GitLab \Q$version\E, but has \Q$dialect\E$/m,
				'the error names the declared and the real version');
			like($err, qr/^HINT:  .*: ALTER SERVER "$version" VERSION '\Q$dialect\E'\.$/m, 'the hint says how to change the declaration');
			is($sim->count, 1, 'a wrong declaration lets nothing but the version be asked for');
		}
	}

	# until it is upgraded, or declared as it is
	$sim->reset(version => '18.11');
	like(($run->(@{ $needy[4] }))[1], qr/HV024/, 'a GitLab older than declared is an error');
	$sim->reset(version => '19.4');
	is(($run->(@{ $needy[4] }))[1], '', 'an upgrade of GitLab ends the error');
	$sim->reset(version => '17.11');
	$verbose->query(q{ALTER SERVER "18.11" VERSION '17.11'});
	is(($run->(@{ $needy[0] }))[1], '', 'the right declaration ends the error');
	is($asked->(), '', 'the right declaration needs no question');
	$verbose->query(q{ALTER SERVER "18.11" VERSION '18.11'});
	like(($run->(@{ $needy[0] }))[1], qr/HV024/, 'a changed declaration is checked anew');

	# whoever may list may ask, by whatever scope
	$sim->reset(version => '18.11');
	$verbose->query(q{ALTER USER MAPPING FOR CURRENT_USER SERVER "18.11" OPTIONS (SET token 'glpat-sim-alice-read')});
	is(($run->(@{ $needy[0] }))[1], '', 'a credential with the scope read_api may ask for the version');
	is($asked->(), 'metadata', 'a statement that relies on the version asks for it');
	$verbose->query(q{ALTER USER MAPPING FOR CURRENT_USER SERVER "18.11" OPTIONS (SET token 'glpat-sim-admin')});

	# /metadata came with 15.2
	$sim->fault('GET', 'metadata', 'body', times => 0, status => 404, body => '{"error":"404 Not Found"}');
	is(($run->(@{ $needy[0] }))[1], '', 'a GitLab without /metadata is no error');
	is($asked->(), 'metadata version', 'a GitLab without /metadata is asked for /version');

	# one that refuses to say is taken for what it is declared to be
	foreach (
		[ status => 404, body => '{"error":"404 Not Found"}' ],
		[ status => 403,
			body => '{"error":"insufficient_scope","error_description":"Too small.","scope":"api"}' ])
	{
		$sim->reset(version => '18.11');
		$sim->fault('GET', 'metadata|version', 'body', times => 0, @$_);
		$again->();
		is(($run->(@{ $needy[0] }))[1], '', "no version, $_->[1]: the declaration is believed");
	}

	# GitLab does not say
	foreach (
		[ '42704', 'html', status => 404 ],
		[ 'HV000', 'status', status => 500 ],
		[ '08P01', 'body', body => '[]' ],
		[ '08P01', 'body', body => '{"version":18.11}' ],
		[ '08P01', 'body', body => '{"version":"unknown"}' ],
		[ '08P01', 'html' ],
		[ '08P01', 'body', status => 204, body => '' ])
	{
		my ($sqlstate, $kind, %fault) = @$_;
		my $name = join ' ', $kind, map { $fault{$_} // () } 'status', 'body';

		$sim->reset(version => '18.11');
		$sim->fault('GET', 'metadata|version', $kind, times => 0, %fault, headers => { 'Retry-After' => 0 });
		$again->();
		my ($out, $err) = $run->(@{ $needy[0] });
		is($out, '', "no version, $name: the statement returns no row");
		like($err, qr/ERROR:  $sqlstate: could not read GitLab's version on server "18.11"$/m, 'the error says that the version could not be read');
		like($err, qr/^HINT:  .*: ALTER SERVER "18.11" VERSION NULL\.$/m, 'the hint says how to change the declaration');
		unlike($asked->(), qr/version/, '/version is not tried when /metadata failed otherwise than by 404') if ($fault{status} // 0) != 404;
	}
	foreach (
		[ '28000', 'status', status => 401 ],
		[ '53400', 'status', status => 429, headers => { 'Retry-After' => 3600 } ],
		[ '08006', 'reset' ])
	{
		my ($sqlstate, $kind, %fault) = @$_;

		$sim->reset(version => '18.11');
		$sim->fault('GET', 'metadata|version', $kind, times => 0, %fault);
		$again->();
		$verbose->query(q{ALTER SERVER "18.11" OPTIONS (ADD max_retries '0')});
		my ($out, $err) = $run->(@{ $needy[0] });
		$verbose->query(q{ALTER SERVER "18.11" OPTIONS (DROP max_retries)});
		is($out, '', "no version, $kind: the statement returns no row");
		like($err, qr/ERROR:  $sqlstate: could not read GitLab's version on server "18.11"$/m, 'the error says that the version could not be read');
		unlike($err, qr/VERSION NULL/, 'the hint does not blame the declaration for a failed request');
	}
	$sim->reset(version => '17.11');
	$verbose->query(q{ALTER SERVER "18.11" VERSION NULL});
	is(($run->(@{ $needy[0] }))[1], '', 'a server without a declared version raises no error');
	is($asked->(), '', 'a server without a declared version is not asked for it');

	# a declaration that can't be read
	foreach my $version ('18', 'latest', 'v18.11', '')
	{
		$verbose->query(qq{ALTER SERVER "18.11" VERSION '$version'});
		like(($run->(@{ $needy[0] }))[1],
			qr/WARNING:  01L12: version "$version" of server "18.11" is not understood, and ignored\nHINT:  .*: ALTER SERVER "18.11" VERSION '18.11'\.\n/m,
			"version '$version': the statement gets a warning");
		is(($run->(@{ $needy[0] }))[1], '', 'an unreadable declaration is warned of once per connection');
		is($asked->(), '', 'an unreadable declaration lets nothing be asked for');
	}
	$verbose->query(q{ALTER SERVER "18.11" VERSION '18.11'});
	$verbose->close;
	return;
}

# Operands are evaluated when the statement runs: parameters, subqueries,
# variables, and functions that are stable.
sub test_evaluation
{
	my $table = 'undeclared.gitlab_personal_access_tokens';

	$sim->reset(version => '19.4');
	is(join(' ', asked("SELECT name FROM $table WHERE id = (SELECT 2 + 3)")), '/5', 'an InitPlan gives the id to look up');
	# two lists at a time
	is(join(' ', sort { $a cmp $b } asked("SELECT name FROM $table WHERE user_id = ANY (ARRAY(SELECT generate_series(2, 3)))")),
		'?user_id=2 ?user_id=3', 'an InitPlan gives an array of owners');
	is(join(' ', asked("SELECT (SELECT name FROM $table t WHERE t.id = n) FROM generate_series(3, 4) n")),
		'/3 /4', 'a SubPlan looks up each id');
	is(join(' ', asked(q{SELECT s.c FROM (VALUES (2), (NULL), (3)) v(u), LATERAL }
			  . qq{(SELECT count(*) AS c FROM $table t WHERE t.user_id = v.u) s})),
		'?user_id=2&per_page=1&page=1 ?user_id=3&per_page=1&page=1', 'LATERAL makes a request for each owner and none for a null');

	$session->query("PREPARE generic (bigint, boolean, timestamptz) AS SELECT name FROM $table "
		  . 'WHERE user_id = $1 AND active = $2 AND created_at >= $3');
	$session->query('SET plan_cache_mode = force_generic_plan');
	is(join(' ', asked(q{EXECUTE generic (2, true, '2026-01-01Z')})),
		'?user_id=2&state=active&created_after=2026-01-01T00:00:00.000Z', 'a generic plan sends its parameters');
	is(join(' ', asked(q{EXECUTE generic (3, false, 'infinity')})),
		'?user_id=3', 'a generic plan executed again sends other parameters');
	is(join(' ', asked('EXECUTE generic (3, NULL, NULL)')), '', 'a generic plan with nulls makes no request');
	$session->query('RESET plan_cache_mode; DEALLOCATE generic');

	is(join(' ', asked(
			qq{DO \$\$ DECLARE v bigint := 2;
			BEGIN
				PERFORM name FROM $table WHERE user_id = v;
				FOR v IN 5 .. 6 LOOP PERFORM name FROM $table WHERE id = v; END LOOP;
			END \$\$})),
		'?user_id=2 /5 /6', 'PL/pgSQL variables are sent');
	# two tokens at a time
	is(join(' ', sort { $a cmp $b } asked(
				qq{DO \$\$ DECLARE ids bigint[] := '{3,4}';
			BEGIN PERFORM name FROM $table WHERE id = ANY (ids); END \$\$})),
		'/3 /4', 'an array in a PL/pgSQL variable is sent');

	my ($days) = $session->query(q{SELECT to_char(current_date + 30, 'YYYY-MM-DD')});
	is(join(' ', asked(q{SELECT name FROM "18.11".gitlab_personal_access_tokens WHERE expires_at < current_date + 30})),
		"?expires_before=$days", 'current_date + 30 is evaluated and sent');
	my ($asked) = asked("SELECT name FROM $table WHERE last_used_at < now() - interval '90 days'");
	like($asked, qr/^\?last_used_before=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'now() minus an interval is evaluated and sent');
	$session->query("SET TimeZone = 'Asia/Tokyo'");
	is(join(' ', asked("SELECT name FROM $table WHERE created_at >= '2026-01-01'")),
		'?created_after=2025-12-31T15:00:00.000Z', 'a time stamp without a zone is sent in the zone of the session');
	is(join(' ', asked("SELECT name FROM $table WHERE created_at >= '2026-01-01'::date")),
		'?created_after=2025-12-31T15:00:00.000Z', 'a date is sent in the zone of the session');
	$session->query('RESET TimeZone');
	is(join(' ', asked("SELECT name FROM $table WHERE id = (random() * 0)::bigint + 5")), '',
		'a volatile expression is not sent');
	is(join(' ', asked("SELECT name FROM $table WHERE created_at > clock_timestamp()")), '',
		'clock_timestamp() is not sent');

	# a varchar, and a column of another name
	$session->query(
		q{CREATE FOREIGN TABLE other (nom varchar OPTIONS (column_name 'name'), id bigint,
			owner bigint OPTIONS (column_name 'user_id')) SERVER undeclared});
	is(join(' ', asked(q{SELECT id FROM other WHERE nom = 'alice api' AND owner = 2})),
		'?user_id=2&search=alice', 'columns by other names are pushed down');
	is(join(' ', asked(q{SELECT id FROM other WHERE nom LIKE 'alice%'})), '?search=alice',
		'a pattern for a varchar is pushed down');
	$session->query('DROP FOREIGN TABLE other');
	return;
}

# A rescan whose parameters are the same costs nothing if one page was enough.
sub test_rescans
{
	my $table = 'undeclared.gitlab_personal_access_tokens';

	$sim->reset(version => '19.4');
	$session->query('SET enable_hashjoin = off; SET enable_mergejoin = off; '
		  . 'SET enable_material = off; SET enable_memoize = off');
	my $join = "SELECT count(t.id) FROM generate_series(1, 20) n LEFT JOIN $table t ON t.id % 20 = n AND ";

	is(($session->query("$join t.user_id = 2"))[0], 6, 'a nested loop finds what there is');
	is(join(' ', asked("$join t.user_id = 2")), '?user_id=2', 'a nested loop over one page takes one request');
	is(($session->query("$join t.id IN (2, 3)"))[0], 2, 'a nested loop with lookups finds what there is');
	is(($session->query("$join t.id = 3"))[0], 1, 'a nested loop with a single lookup finds what there is');
	is(join(' ', asked("$join t.id = 3")), '/3', 'a nested loop with a single lookup takes one request');
	is(($session->query("$join t.id = 999"))[0], 0, 'a lookup in vain finds nothing');
	is(join(' ', asked("$join t.id = 999")), '/999', 'a nested loop makes a lookup in vain once');
	is(join(' ', asked("$join t.user_id = 1 AND t.user_id = 2")), '', 'a nested loop with contradictory conditions makes no request');
	is( ($session->query(
				"SELECT count(*) FROM generate_series(1, 5) n, LATERAL (SELECT id, n FROM $table LIMIT 3) s"))[0],
		15, 'a limit in a nested loop holds for each rescan');

	# above a page
	$sim->reset(version => '19.4', tokens => 234);
	is(($session->query("$join t.id > 0"))[0], 234 + 16 - 12, 'a nested loop over three pages finds what there is');
	# a rescan in the middle of a page and of a list
	foreach my $limit (1, 50, 99, 100, 101, 150, 250)
	{
		is( ($session->query(
					"SELECT count(*), sum(s.id) FROM generate_series(1, 3) n, "
					  . "LATERAL (SELECT id FROM $table t WHERE t.id > 0 LIMIT $limit) s"))[0],
			join('|', 3 * $limit, 3 * $limit * ($limit + 1) / 2), "rescans after $limit rows return the right rows");
	}
	$session->query('RESET enable_hashjoin; RESET enable_mergejoin; '
		  . 'RESET enable_material; RESET enable_memoize');
	return;
}

# GitLab gives no totals above a limit, and then rows have to be counted here.
sub test_count_by_paging
{
	my $count = 'SELECT count(*) FROM "19.4".gitlab_personal_access_tokens';

	$sim->reset(version => '19.4', tokens => 534);
	$sim->control('POST', 'settings', undef, { count_limit => 549 });
	foreach ('', ' WHERE active', ' WHERE NOT active', ' WHERE user_id = 2',
		q{ WHERE expires_at < '2024-01-01' AND NOT revoked},
		q{ WHERE created_at >= '2024-03-01 04:00Z' AND user_id IN (2, 3)})
	{
		my ($counted) = $session->query("$count$_");
		my ($read) = $session->query($count =~ s/count\(\*\)/count(id)/r . $_);

		is($counted, $read, "count(*)$_ is what reading the rows gives");
	}
	cmp_ok(scalar(asked($count)), '>', 5, 'above the limit, pages are counted');
	$sim->control('POST', 'settings', undef, { count_limit => 550 });
	is(scalar(asked($count)), 1, 'at the limit, count(*) takes one request');
	$sim->control('POST', 'settings', undef, { count_limit => 10 });
	is(($session->query($count))[0], 550, 'without a total from GitLab, count(*) is right');
	$sim->fault('GET', 'page=', 'edit', headers => { 'X-Total' => undef }, times => 0);
	is(($session->query($count))[0], 550, 'without a total that a proxy has removed, count(*) is right');
	$sim->clear_faults;

	# What this transaction is to revoke counts as revoked.
	is( ($session->query(
				"BEGIN; DELETE FROM \"19.4\".gitlab_personal_access_tokens WHERE id = 2; "
				  . "$count WHERE revoked AND id < 3; $count WHERE active AND user_id = 2; ROLLBACK; "
				  . "$count WHERE active AND user_id = 2"))[0] =~ s/\n/ /gr,
		join(' ', 1, active_of(2) - 1, active_of(2)), 'pending revocations are counted');
	return;
}

sub active_of
{
	my ($user_id) = @_;

	return scalar grep { $_->{user_id} == $user_id && $_->{state} eq 'active' } $sim->tokens;
}

# The other table: what is sent, and that it brings what a local copy says.
sub test_users
{
	$sim->reset(version => '19.4', users => 30);
	$session->query('CREATE TABLE copied_users AS SELECT * FROM undeclared.gitlab_users');
	foreach (
		[ 'id = 2', '/2' ],
		[ 'id IN (3, 2, 999)', '/2 /3 /999' ],
		[ 'id = 2 AND id = 3', '-' ],
		[ q{username = 'alice'}, '?username=alice' ],
		[ q{username = 'ALICE'}, '?username=ALICE' ],
		[ q{username = 'nobody'}, '?username=nobody' ],
		[ q{username IN ('alice', 'bob')}, '?username=alice ?username=bob' ],
		[ q{username IN ('alice', 'ALICE', 'a/b', NULL)}, '?username=ALICE' ],
		[ q{username IN ('a/b', '')}, '-' ],
		[ q{username = ANY (ARRAY(SELECT 'user' || n FROM generate_series(1, 101) n))}, '' ],
		[ q{username IN ('alice', 'bob') AND username = 'alice'}, '?username=alice' ],
		[ q{username = ''}, '-' ],
		[ q{username = 'a/../b'}, '-' ],
		[ q{username = 'a/b'}, '-' ],
		[ q{username = '..'}, '-' ],
		[ q{username = 'alice%00'}, '-' ],
		[ q{username = 'with blank'}, '-' ],
		[ qq{username = 'ünï'}, '-' ],
		[ q{username = repeat('x', 256)}, '-' ],
		[ q{username = repeat('x', 1000000)}, '-' ],
		[ q{username = 'project_1_bot_a1b2c3'}, '?username=project_1_bot_a1b2c3' ],
		[ q{username = 'a..b-c_D.1'}, '?username=a..b-c_D.1' ],
		[ q{username = 'alice' AND username = 'bob'}, '-' ],
		[ q{username LIKE 'a%'}, '' ],
		[ q{state = 'active'}, '?active=true' ],
		[ q{state = 'blocked'}, '?blocked=true' ],
		[ q{state = 'deactivated'}, '' ],
		[ q{state <> 'active'}, '' ],
		[ 'is_admin', '?admins=true' ],
		[ 'NOT is_admin', '' ],
		[ 'bot', '?exclude_humans=true' ],
		[ 'NOT bot', '?without_project_bots=true' ],
		[ 'external', '?external=true' ],
		[ 'NOT external', '?exclude_external=true' ],
		[ q{state = 'active' AND NOT bot AND NOT external AND is_admin},
			'?active=true&admins=true&without_project_bots=true&exclude_external=true' ],
		[ q{created_at > '2024-01-05Z'}, '' ],
		[ 'locked', '' ],
	  )
	{
		my ($condition, $expected) = map { encode_utf8($_) } @$_;

		$sim->clear_journal;
		my ($foreign, $error) = $session->query(
			"SELECT * FROM undeclared.gitlab_users WHERE $condition ORDER BY id");
		my @asked = map {
			s{^/api/v4/users}{};
			s/[?&](?:pagination|order_by|sort|per_page|page)=[^&]*//g;
			s/^&/?/r
		} map { $_->{path} } $sim->journal;
		my ($local) = $session->query("SELECT * FROM copied_users WHERE $condition ORDER BY id");

		is("$foreign$error", $local, "users: the rows of $condition are those of a local copy");
		is(join(' ', @asked ? sort @asked : '-'), $expected, "users: $condition becomes the right request");
	}
	$session->query('DROP TABLE copied_users');
	return;
}

# A name may be megabytes long, but GitLab's web server takes no query above 10 kB.
# What names something in GitLab is never so long, nor has it steps of a path in it.
sub test_long_texts
{
	my %names = ( 'ASCII' => 'x' x 2_000_000, 'multi-byte' => '✓' x 300_000, 'mixed' => 'aé✓🔑' x 5000);

	$sim->reset(version => '19.4');
	foreach my $kind (sort keys %names)
	{
		$sim->control('POST', 'tokens', undef, { user_id => 2, name => $names{$kind}, scopes => ['api'] });
		my $unit = substr($names{$kind}, 0, $kind eq 'mixed' ? 4 : 1);
		my $text = encode_utf8(sprintf q{repeat('%s', %d)}, $unit, length($names{$kind}) / length $unit);

		foreach ("name = $text", "name LIKE $text", "name LIKE '%' || $text || '%'", "name ILIKE $text",
			"name = ($text || '')", "name LIKE substr($text, 1, 4000) || '%'")
		{
			$sim->clear_journal;
			is(join('|', $session->query("SELECT count(*) FROM undeclared.gitlab_personal_access_tokens WHERE $_")),
				'1|', encode_utf8("a long $kind name is found: ") . substr($_, 0, 60));
			my ($longest) = sort { $b <=> $a } map { length $_->{path} } $sim->journal;
			cmp_ok($longest, '<', 8192, encode_utf8("the request for a long $kind name is short: ") . substr($_, 0, 60));
		}
	}
	foreach my $column ('project', 'key', 'environment_scope')
	{
		foreach (q{repeat('x', 7000)}, q{'a/../b'}, q{'..'}, q{'../b'}, q{'a/..'}, q{'a/./b'}, q{'a\..\b'})
		{
			my %where = (project => q{'acme/app'}, key => q{'REGION'}, environment_scope => q{'*'}, $column => $_);
			my $where = join ' AND ', map { "$_ = $where{$_}" } sort keys %where;

			$sim->clear_journal;
			is(join('|', $session->query("SELECT key FROM undeclared.gitlab_project_variables WHERE $where")), '|',
				"no row for $column = $_");
			is($sim->count, 0, "no request is sent for $column = $_");
		}
	}
	return;
}

# Whatever the database's encoding, GitLab gets UTF-8.
sub test_encodings
{
	my %searches = (
		UTF8 => 'Ünïcödé',
		LATIN1 => 'Ünïcödé',
		SQL_ASCII => '-');

	$sim->reset(version => '19.4');
	$sim->control('POST', 'tokens', undef, { user_id => 2, name => $_, scopes => ['api'] })
	  foreach 'Ünïcödé', "ab\N{U+A0}cd";
	foreach my $encoding (sort keys %searches)
	{
		my $name = lc $encoding;

		$node->safe_psql('postgres',
			"CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
		gitlab_database($node, $name, $sim);
		foreach ([ 'Ünïcödé', '17' ], [ "ab\N{U+A0}cd", '18' ])
		{
			my ($wanted, $id) = @$_;

			local $ENV{PGCLIENTENCODING} = $encoding eq 'SQL_ASCII' ? 'SQL_ASCII' : 'UTF8';
			$sim->clear_journal;
			is( $node->safe_psql($name, encode_utf8(
						"SELECT id FROM gitlab_personal_access_tokens WHERE name = '$wanted'")),
				$id, encode_utf8("$encoding: the name $wanted"));
			my ($search) = map { /search=([^&]*)/ ? $1 : '-' } map { $_->{path} } $sim->journal;
			$search =~ s/%([[:xdigit:]]{2})/chr hex $1/ge;
			is(decode_utf8($search), $id == 17 ? $searches{$encoding} : '-',
				encode_utf8("$encoding: what is sent for $wanted"));
		}
	}
	return;
}
