# All dates that GitLab stores, and instances whose time zone is not UTC.
#
# GitLab takes any date that its database holds from whoever rotates a token: the
# year 0, years BC, years above 9999.  In another time zone than UTC its time
# stamps have an offset, and state=active goes by the local date, while a token
# dies at midnight UTC.

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

# What is used before the subroutines below have been reached.
my $sim = GitLabSim->start(args => [ '--gitlab-version', '19.4' ]);
my $node = gitlab_cluster('main', $sim);
my $url = $sim->url;

$node->safe_psql(
	'postgres', qq{
	CREATE SERVER newest VERSION '19.4' FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url '$url');
	CREATE USER MAPPING FOR CURRENT_USER SERVER newest OPTIONS (token 'glpat-sim-admin');
	CREATE SCHEMA newest;
	IMPORT FOREIGN SCHEMA gitlab FROM SERVER newest INTO newest});
my $session = Session->open($node, verbosity => 'verbose');

my @dates = (
	# as GitLab writes them, and as PostgreSQL does
	[ '-4713-11-24', '4714-11-24 BC' ],
	[ '-0043-03-15', '0044-03-15 BC' ],
	[ '-0001-01-01', '0002-01-01 BC' ],
	[ '0000-01-01', '0001-01-01 BC' ],
	[ '0000-02-29', '0001-02-29 BC' ],
	[ '0000-12-31', '0001-12-31 BC' ],
	[ '0001-01-01', '0001-01-01' ],
	[ '0099-06-01', '0099-06-01' ],
	[ '9999-12-31', '9999-12-31' ],
	[ '10000-01-01', '10000-01-01' ],
	[ '294277-01-01', '294277-01-01' ],
	[ '5874897-12-31', '5874897-12-31' ]);

test_dates();
test_order_of_dates();
test_dates_that_do_not_fit();
test_times();
test_days_without_midnight();
test_active_in_zones();
test_what_is_asked();
test_zone_that_changes();
test_credentials_that_cannot_ask();
test_explain_in_zones();
$session->close;
done_testing();

# --- helpers ------------------------------------------------------------------

# What a statement returns, rows side by side; or its error.
sub said
{
	my ($sql) = @_;
	my ($out, $error) = $session->query($sql);

	return $error ? "error $error" : $out =~ s/\n/ /gr;
}

# What GitLab was asked since the journal was cleared, below the API's root.
sub asked
{
	return map { "$_->{method} $_->{path}" =~ s{/api/v4}{}r =~ s/%([[:xdigit:]]{2})/chr hex $1/ger }
	  $sim->journal;
}

sub set_zone
{
	my ($zone) = @_;

	$sim->control('POST', 'settings', undef, { time_zone => $zone });
	return;
}

# A token of user 2, and its id.
sub add_token
{
	my (%fields) = @_;

	return $sim->control('POST', 'tokens', undef,
		{ user_id => 2, name => 'token', scopes => ['api'], %fields })->{id};
}

# --- dates --------------------------------------------------------------------

# One token for each of these dates; the rest of user 2's tokens are gone.
sub add_dates
{
	$sim->reset(version => '19.4');
	$sim->control('DELETE', "tokens/$_->{id}") foreach grep { $_->{user_id} == 2 } $sim->tokens;
	return map { add_token(expires_at => $_->[0]) } @dates;
}

sub test_dates
{
	my @ids = add_dates();
	my $table = 'gitlab_personal_access_tokens';

	foreach my $i (0 .. $#dates)
	{
		my ($there, $here) = @{ $dates[$i] };

		is(said("SELECT expires_at FROM $table WHERE id = $ids[$i]"), $here,
			"a token that expires at $there reads as $here");
		is(said("SELECT id FROM newest.$table WHERE user_id = 2 AND expires_at = '$here'"), $ids[$i],
			"a token that expires at $there is found by that date");
		is(said("SELECT count(*) FROM newest.$table WHERE user_id = 2 AND expires_at = '$here'"), 1,
			"count(*) counts a token that expires at $there");
	}
	foreach my $condition (
		q{< '0001-01-01'}, q{<= '0001-01-01 BC'}, q{> '9999-12-31'}, q{>= '0044-03-15 BC'}, q{< '10000-01-01'},
		q{< '0001-06-01'}, q{>= '2026-01-01'}, q{> '9999-12-30'}, q{< 'infinity'}, q{> '-infinity'},
		q{< '2026-01-01'::timestamp}, q{>= '2026-01-01 12:00'::timestamp}, q{> '2026-01-01 12:00Z'::timestamptz},
		q{< '2026-01-01'::timestamptz}, q{> '0044-01-01 BC'::timestamp}, q{< '294276-12-31'::timestamptz},
		q{<> '0001-01-01'})
	{
		my ($local) = $session->query("SELECT count(*) FROM (VALUES "
			  . join(', ', map { "('$_->[1]'::date)" } @dates) . ") v (d) WHERE d $condition");

		is(said("SELECT count(*) FROM newest.$table WHERE user_id = 2 AND expires_at $condition"), $local,
			"count(*) compares such dates: $condition");
		is(said("SELECT count(id) FROM newest.$table WHERE user_id = 2 AND expires_at $condition"), $local,
			"a scan compares such dates: $condition");
	}

	unlike(said("ANALYZE $table"), qr/error/, 'ANALYZE reads tokens with such dates');
	is(said("BEGIN; DELETE FROM $table WHERE user_id = 2 AND expires_at < '0001-01-01'; COMMIT"), '',
		'DELETE revokes tokens with such dates');
	is(join(' ', map { $_->{revoked} ? 1 : 0 } map { my $id = $_; grep { $_->{id} == $id } $sim->tokens } @ids),
		'1 1 1 1 1 1 0 0 0 0 0 0', 'DELETE by a date BC revokes the tokens before it and no other');

	# written back
	$sim->control('POST', 'settings', undef, { require_expiry => JSON::PP::false });
	foreach my $date ('10000-01-01', '5874897-12-31')
	{
		is(said("INSERT INTO $table (user_id, name, scopes, expires_at) VALUES (2, 'late', '{api}', '$date') "
				  . q{RETURNING expires_at, token <> ''}),
			"$date|t", "INSERT makes a token that expires at $date");
		is(said("UPDATE $table SET expires_at = '$date' WHERE id = $ids[8] AND active RETURNING expires_at, token <> ''"),
			"$date|t", "UPDATE replaces a token by one that expires at $date");
		$ids[8] = said("SELECT max(id) FROM $table WHERE user_id = 2 AND active");
	}
	return;
}

# By expiry GitLab orders as PostgreSQL does, also where the text does not.
sub test_order_of_dates
{
	my @ids = add_dates();
	my $never = add_token(expires_at => undef);

	foreach my $page_size (1, 5, 100)
	{
		$session->query("ALTER FOREIGN TABLE newest.gitlab_personal_access_tokens OPTIONS (ADD page_size '$page_size')");
		is(said('SELECT id FROM newest.gitlab_personal_access_tokens WHERE user_id = 2 ORDER BY expires_at'),
			join(' ', @ids, $never), "ORDER BY expires_at sorts such dates, by pages of $page_size");
		is(said('SELECT id FROM newest.gitlab_personal_access_tokens WHERE user_id = 2 ORDER BY expires_at DESC'),
			join(' ', $never, reverse @ids), "ORDER BY expires_at DESC sorts such dates, by pages of $page_size");
		$session->query('ALTER FOREIGN TABLE newest.gitlab_personal_access_tokens OPTIONS (DROP page_size)');
	}
	$sim->fault('GET', 'sort=expires_asc', 'edit', set => { '3.expires_at' => '20000-01-01' });
	like(said('SELECT id FROM newest.gitlab_personal_access_tokens WHERE user_id = 2 ORDER BY expires_at'),
		qr/08P01.*DETAIL:  The answer is not in the order/s, 'an answer in another order is an error');
	return;
}

# What PostgreSQL's types do not hold is an error that names field and token.
sub test_dates_that_do_not_fit
{
	my $id = add_token(expires_at => '2099-01-01');

	foreach (
		map({ [ 'expires_at', $_ ] } '5874898-01-01', '-4713-11-23', '-4714-01-01', '2026-02-30', '0100-02-29',
			'-0000-01-01', '00010-01-01', '99999999999-01-01', '2026-1-1', '26-01-01', '2026-01-01 BC', '+2026-01-01',
			'2026-01-01T00:00:00Z', ' 2026-01-01', 'infinity', 'today', '--2026-01-01', ''),
		map({ [ 'created_at', $_ ] } '294277-01-10T00:00:00.000Z', '294277-01-01T00:00:00.000Z',
			'-4713-11-23T23:59:59.000Z', '5874897-01-01T00:00:00.000Z', '2026-01-01', '2026-13-01T00:00:00Z',
			'2026-01-01T25:00:00Z', '2026-01-01T00:00:00', '2026-01-01T00:00:00+99:00', '2026-01-01T00:00:00Z BC',
			'999999999-01-01T00:00:00Z', 'infinity'))
	{
		my ($field, $text) = @$_;

		$sim->fault('GET', "tokens/$id\$", 'edit', set => { $field => $text });
		like(said("SELECT * FROM gitlab_personal_access_tokens WHERE id = $id"),
			qr/ERROR:  08P01: invalid field "$field" of personal access token $id in GitLab's answer$/m,
			"the $field \"$text\" is an error that names the field and the token");
	}
	return;
}

sub test_times
{
	foreach (
		[ '0001-01-01T00:00:00.000Z', '0001-01-01 00:00:00+00' ],
		[ '0000-12-31T23:59:59.999Z', '0001-12-31 23:59:59.999+00 BC' ],
		[ '-0043-03-15T12:00:00.500Z', '0044-03-15 12:00:00.5+00 BC' ],
		[ '-0043-03-15T12:00:00.500+09:00', '0044-03-15 03:00:00.5+00 BC' ],
		[ '-4713-11-24T00:00:00.000Z', '4714-11-24 00:00:00+00 BC' ],
		[ '9999-12-31T23:59:59.999Z', '9999-12-31 23:59:59.999+00' ],
		[ '10000-01-01T00:00:00.000Z', '10000-01-01 00:00:00+00' ],
		[ '10000-01-01T08:59:59.000+09:00', '9999-12-31 23:59:59+00' ],
		[ '294276-12-31T23:59:59.999Z', '294276-12-31 23:59:59.999+00' ],
		[ '294277-01-01T08:59:59.000+09:00', '294276-12-31 23:59:59+00' ],
		[ '2026-06-24T22:54:15.137+05:45', '2026-06-24 17:09:15.137+00' ],
		[ '2026-06-24T22:54:15.137-03:30', '2026-06-25 02:24:15.137+00' ],
		[ '2026-01-24T22:54:15.137+00:00', '2026-01-24 22:54:15.137+00' ],
		[ '1969-12-31T23:59:59.999Z', '1969-12-31 23:59:59.999+00' ])
	{
		my ($there, $here) = @$_;
		my $id = add_token(expires_at => '2099-01-01');

		$sim->fault('GET', "tokens/$id\$", 'edit', set => { created_at => $there, last_used_at => $there });
		is(said("SET TimeZone = 'UTC'; SELECT created_at, last_used_at FROM gitlab_personal_access_tokens WHERE id = $id; RESET TimeZone"),
			"$here|$here", "the time $there reads as $here");
	}
	return;
}

# A date is compared with a timestamp as PostgreSQL does, also on days that lack
# a midnight or that do not exist at all in the session's time zone.
sub test_days_without_midnight
{
	my %days = (
		'America/Havana' => [ '2027-03-13', '2027-03-14', '2027-03-15' ],
		'Africa/Cairo' => [ '2027-04-29', '2027-04-30', '2027-05-01' ],
		'Pacific/Apia' => [ '2011-12-29', '2011-12-30', '2011-12-31' ],
		'America/Sao_Paulo' => [ '2018-11-03', '2018-11-04', '2018-11-05', '2019-02-16', '2019-02-17' ]);

	foreach my $zone (sort keys %days)
	{
		$sim->reset(version => '19.4');
		$sim->control('DELETE', "tokens/$_->{id}") foreach grep { $_->{user_id} == 2 } $sim->tokens;
		add_token(expires_at => $_) foreach @{ $days{$zone} };
		$session->query("SET TimeZone = '$zone'");
		my $local = join ', ', map { "('$_'::date)" } @{ $days{$zone} };

		foreach my $day (@{ $days{$zone} })
		{
			foreach my $type ('timestamp', 'timestamptz')
			{
				foreach my $moment ($day, "$day 00:30", "$day 01:00", "$day 23:59:59.999999")
				{
					my (@wrong, @wrong_counts);

					foreach my $operator ('<', '<=', '=', '>=', '>')
					{
						my $condition = "expires_at $operator '$moment'::$type";
						my ($expected) = said("SELECT count(*) FROM (VALUES $local) v (expires_at) WHERE $condition");
						my $from = "FROM newest.gitlab_personal_access_tokens WHERE user_id = 2 AND $condition";

						push @wrong, $operator if said("SELECT count(id) $from") ne $expected;
						push @wrong_counts, $operator if said("SELECT count(*) $from") ne $expected;
					}
					is("@wrong", '', "in $zone, a scan compares dates with the $type '$moment'");
					is("@wrong_counts", '', "in $zone, count(*) compares dates with the $type '$moment'");
				}
			}
		}
	}
	$session->query('RESET TimeZone');
	return;
}

# --- time zones ---------------------------------------------------------------

# Moments, and what is the date in UTC: the hours around midnights, here and there.
my @moments = map { [ "2027-03-02T$_:30:00Z", '2027-03-02' ] } '00', '04', '09', '14', '20', '23';

# User 2 has some tokens of each kind, user 9 one that dies at the next midnight
# UTC, and user 10 one that is dead since the last.
sub seed_zone
{
	my ($zone, $moment, $version) = @_;

	$sim->reset(version => $version // '19.4');
	set_zone($zone);
	$sim->control('POST', 'clock', undef, { now => $moment });
	$sim->control('DELETE', "tokens/$_->{id}") foreach grep { $_->{user_id} =~ /^(2|9|10)$/ } $sim->tokens;
	foreach my $expiry (undef, '2027-02-28', '2027-03-01', '2027-03-02', '2027-03-03', '2027-03-04', '2099-01-01')
	{
		foreach my $revoked (0, 1)
		{
			add_token(expires_at => $expiry, created_at => '2027-01-01T00:00:00Z',
				revoked => $revoked ? JSON::PP::true : JSON::PP::false);
		}
	}
	add_token(user_id => 9, expires_at => '2027-03-03', created_at => '2027-01-01T00:00:00Z');
	add_token(user_id => 10, expires_at => '2027-03-02', created_at => '2027-01-01T00:00:00Z');
	return;
}

# The ids of the tokens that work, or do not.
sub ids_of
{
	my ($works, @users) = @_;
	my %users = map { $_ => 1 } @users;

	return join ' ', sort { $a <=> $b } map { $_->{id} }
	  grep { $users{ $_->{user_id} } && ($works xor $_->{state} ne 'active') } $sim->tokens;
}

# Forgets what the session knows.
sub forget { return $session->query('SELECT gitlab_pat_disconnect()') }

sub test_active_in_zones
{
	my @zones = ('UTC', 'Asia/Tokyo', 'America/New_York', 'Europe/London', 'Pacific/Kiritimati',
		'Pacific/Pago_Pago', 'Asia/Kathmandu');

	foreach my $zone (@zones)
	{
		foreach (@moments)
		{
			my ($moment) = @$_;

			seed_zone($zone, $moment);
			foreach my $schema ('public', 'newest')
			{
				foreach my $memory ('', ' known')
				{
					my $where = "in $zone at $moment,$memory, by $schema";

					forget();
					said("SELECT created_at FROM $schema.gitlab_personal_access_tokens WHERE id = 1") if $memory;
					is(join("\n", wrong_about_active("$schema.gitlab_personal_access_tokens", !$memory)), '',
						"active is what works $where");
				}
			}
			forget();
			said('DELETE FROM gitlab_personal_access_tokens WHERE user_id IN (2, 9, 10) AND active');
			is(ids_of(1, 2, 9, 10), '', "DELETE WHERE active leaves none that works, in $zone at $moment");
		}
	}
	return;
}

# What a session that has just been connected, or knows the zone, finds wrong.
sub wrong_about_active
{
	my ($tokens, $forget) = @_;
	my ($active, $inactive) = (ids_of(1, 2), ids_of(0, 2));
	my @wrong;
	my $check = sub {
		my ($sql, $expected) = @_;

		forget() if $forget;
		my $said = said($sql);
		push @wrong, "$sql: $said, expected $expected" if $said ne $expected;
	};
	my $number = sub { return scalar split / /, $_[0] };

	$check->("SELECT id FROM $tokens WHERE user_id = 2 AND active ORDER BY id", $active);
	$check->("SELECT id FROM $tokens WHERE user_id = 2 AND NOT active ORDER BY id", $inactive);
	$check->("SELECT count(*) FROM $tokens WHERE user_id = 2 AND active", $number->($active));
	$check->("SELECT count(*) FROM $tokens WHERE user_id = 2 AND NOT active", $number->($inactive));
	# those whose selection may be empty
	$check->("SELECT id FROM $tokens WHERE user_id = 9 AND active", ids_of(1, 9));
	$check->("SELECT count(*) FROM $tokens WHERE user_id = 9 AND active", 1);
	$check->("SELECT id FROM $tokens WHERE user_id = 10 AND active", '');
	$check->("SELECT id FROM $tokens WHERE user_id = 10 AND NOT active", ids_of(0, 10));
	$check->("SELECT count(*) FROM $tokens WHERE user_id = 10 AND NOT active", 1);
	# several lists, orders, limits, joins
	$check->("SELECT id FROM $tokens WHERE user_id IN (9, 2, 10) AND active ORDER BY id", ids_of(1, 2, 9, 10));
	$check->("SELECT count(*) FROM $tokens WHERE user_id IN (9, 2) AND NOT active", $number->($inactive));
	$check->("SELECT id FROM $tokens WHERE user_id = 2 AND active ORDER BY expires_at, id", join ' ', by_expiry($active));
	$check->("SELECT id FROM $tokens WHERE user_id = 2 AND active ORDER BY id LIMIT 2", join ' ', (split / /, $active)[ 0, 1 ]);
	$check->("SELECT count(*) FROM (SELECT FROM $tokens WHERE user_id = 9 AND active LIMIT 1) s", 1);
	$check->("SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT u, t.id FROM unnest('{10,9}'::bigint[]) u "
		  . "LEFT JOIN $tokens t ON t.user_id = u AND t.active ORDER BY 1; RESET enable_hashjoin; RESET enable_mergejoin",
		'9|' . ids_of(1, 9) . ' 10|');
	$check->("SELECT EXISTS (SELECT FROM $tokens WHERE user_id = 9 AND active)", 't');
	$check->("SELECT id FROM $tokens WHERE user_id = 9 AND active AND revoked", '');
	$check->("SELECT id FROM $tokens WHERE user_id = 9 AND active AND NOT revoked", ids_of(1, 9));
	# a plan that does not know the operand
	$check->("SET plan_cache_mode = force_generic_plan; PREPARE by (bigint, boolean) AS SELECT id FROM $tokens "
		  . 'WHERE user_id = $1 AND active = $2; EXECUTE by (9, true); EXECUTE by (10, true); EXECUTE by (10, false); '
		  . 'EXECUTE by (9, false); DEALLOCATE by; RESET plan_cache_mode', ids_of(1, 9) . ' ' . ids_of(0, 10));
	return @wrong;
}

# Ids by the expiry of their tokens, null last.
sub by_expiry
{
	my %expiry = map { $_->{id} => $_->{expires_at} // '9' } $sim->tokens;

	return sort { $expiry{$a} cmp $expiry{$b} || $a <=> $b } split / /, $_[0];
}

# What a statement asks of GitLab, by a session that has just been connected.
sub asked_anew
{
	my ($sql, $known) = @_;

	forget();
	said('SELECT created_at FROM newest.gitlab_personal_access_tokens WHERE id = 1') if $known;
	$sim->clear_journal;
	said($sql =~ s/\bT\b/newest.gitlab_personal_access_tokens/r);
	return join ' ', map { s{^GET /personal_access_tokens}{}r =~ s/[?&]per_page=100&page=1$//r }
	  grep { !/metadata/ } asked();
}

sub test_what_is_asked
{
	my @table = (
		# the statement; in UTC and in Tokyo, if nobody knows the zone
		[ 'SELECT id FROM T WHERE active', '?state=active', '?state=active ?revoked=false' ],
		[ 'SELECT id FROM T WHERE NOT active', '?state=inactive', '?state=inactive ' ],
		[ 'SELECT id FROM T WHERE user_id = 9 AND active', '?user_id=9&state=active',
			'?user_id=9&state=active /self ?user_id=9&revoked=false' ],
		[ 'SELECT id FROM T WHERE user_id = 10 AND active', '?user_id=10&state=active /self',
			'?user_id=10&state=active /self ?user_id=10&revoked=false' ],
		[ 'SELECT id FROM T WHERE user_id = 9 AND active LIMIT 1', '?user_id=9&state=active&per_page=1&page=1',
			'?user_id=9&state=active&per_page=1&page=1 /self ?user_id=9&revoked=false' ],
		[ 'SELECT count(*) FROM T WHERE user_id = 2 AND active', '/self ?user_id=2&state=active&per_page=1&page=1',
			'/self ?user_id=2&revoked=false' ],
		[ 'SELECT count(*) FROM T WHERE NOT active', '/self ?state=inactive&per_page=1&page=1', '/self ' ],
		# GitLab need not be asked
		[ 'SELECT id FROM T WHERE id = 5 AND active', '/5', '/5' ],
		[ 'SELECT id FROM T WHERE user_id = 999 AND active', '?user_id=999&state=active', '?user_id=999&state=active' ],
		[ 'SELECT id FROM T WHERE user_id = 2 AND NOT revoked', '?user_id=2&revoked=false', '?user_id=2&revoked=false' ],
		[ 'SELECT count(*) FROM T WHERE NOT revoked', '?revoked=false&per_page=1&page=1', '?revoked=false&per_page=1&page=1' ],
		[ 'SELECT count(*) FROM T', '?per_page=1&page=1', '?per_page=1&page=1' ]);
	# and if the session knows it
	my @known = (
		[ 'SELECT id FROM T WHERE active', '?state=active', '?revoked=false' ],
		[ 'SELECT id FROM T WHERE NOT active', '?state=inactive', '' ],
		[ 'SELECT id FROM T WHERE user_id = 10 AND active', '?user_id=10&state=active', '?user_id=10&revoked=false' ],
		[ 'SELECT id FROM T WHERE user_id = 9 AND active AND NOT revoked',
			'?user_id=9&state=active&revoked=false', '?user_id=9&revoked=false' ],
		[ 'SELECT id FROM T WHERE user_id = 9 AND active LIMIT 1', '?user_id=9&state=active&per_page=1&page=1',
			'?user_id=9&revoked=false' ],
		[ 'SELECT count(*) FROM T WHERE user_id = 2 AND active', '?user_id=2&state=active&per_page=1&page=1',
			'?user_id=2&revoked=false' ],
		[ 'SELECT count(*) FROM T WHERE NOT active', '?state=inactive&per_page=1&page=1', '' ],
		[ 'SELECT count(*) FROM T WHERE NOT revoked', '?revoked=false&per_page=1&page=1', '?revoked=false&per_page=1&page=1' ]);

	foreach my $zone ('UTC', 'Asia/Tokyo')
	{
		my $column = $zone eq 'UTC' ? 1 : 2;

		# where user 9's token works, and Tokyo's date has gone on
		seed_zone($zone, '2027-03-02T20:30:00Z');
		$sim->control('POST', 'users', undef, { id => $_, username => "user$_" }) foreach 11, 12;
		foreach (grep { defined $_->[$column] } @table)
		{
			is(asked_anew($_->[0], 0), $_->[$column], "requests in $zone, which nobody knows: $_->[0]");
		}
		is(asked_anew($_->[0], 1), $_->[$column], "requests in $zone, which is known: $_->[0]") foreach @known;

		# Three lists are under way at a time, and GitLab may see them in any order.
		my $several = 'SELECT id FROM T WHERE user_id IN (10, 11, 12) AND active';

		is(join(' ', sort split / /, asked_anew($several, 0)),
			'/self ?user_id=10&state=active ?user_id=11&state=active ?user_id=12&state=active',
			"one request asks for the zone of several lists, which nobody knows: $several")
		  if $zone eq 'UTC';
	}
	return;
}

# GitLab is restarted with another zone.
sub test_zone_that_changes
{
	my $tokens = 'newest.gitlab_personal_access_tokens';
	my ($all, $out, $error);

	# between two statements
	seed_zone('UTC', '2027-03-02T20:30:00Z');
	said("SELECT id FROM $tokens WHERE active");
	set_zone('Asia/Tokyo');
	is(said("SELECT id FROM $tokens WHERE user_id = 2 AND active ORDER BY id"), ids_of(1, 2),
		'a scan begins anew when the answer is from another zone than expected');
	set_zone('UTC');
	said("SELECT id FROM $tokens WHERE active");
	set_zone('Asia/Tokyo');
	is(said("SELECT count(*) FROM $tokens WHERE active"), scalar(grep { $_->{state} eq 'active' } $sim->tokens),
		'count(*) does not take the total of an answer from another zone than expected');
	set_zone('UTC');
	is(said("SELECT id FROM $tokens WHERE user_id = 2 AND active ORDER BY id"), ids_of(1, 2),
		'a scan is right when the zone has become UTC');

	# between two pages
	foreach my $order ('', ' ORDER BY id', ' ORDER BY expires_at')
	{
		foreach my $fetched (1, 5, 12)
		{
			seed_zone('UTC', '2027-03-02T20:30:00Z');
			add_token(expires_at => $_ % 3 ? '2027-03-03' : '2099-01-01', created_at => '2027-01-01T00:00:00Z')
			  foreach 1 .. 30;
			forget();
			$session->query("ALTER FOREIGN TABLE $tokens OPTIONS (ADD page_size '5', ADD concurrency '1')");
			$session->query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM $tokens WHERE user_id = 2 AND active$order");
			($out) = $session->query("FETCH $fetched FROM c");
			set_zone('Asia/Tokyo');
			($all, $error) = $session->query('FETCH ALL FROM c');
			$session->query('ROLLBACK');
			$session->query("ALTER FOREIGN TABLE $tokens OPTIONS (DROP page_size, DROP concurrency)");
			my $ids = join ' ', sort { $a <=> $b } split /\n/, "$out\n$all";

			ok($error =~ /40001/ || ($error eq '' && $ids eq ids_of(1, 2)),
				"a cursor that has fetched $fetched rows$order is right or fails, if the zone changes")
			  or diag "$ids\n" . ids_of(1, 2) . "\n$error";
			is($error, '', 'a cursor without an order is right') if $order eq '';
		}
	}
	return;
}

# Credentials that are no personal access tokens, or may not read themselves.
sub test_credentials_that_cannot_ask
{
	my $tokens = 'newest.gitlab_personal_access_tokens';

	foreach (
		[ 400, '{"message":"400 Bad request - This endpoint requires token type to be a personal access token"}' ],
		[ 403, '{"error":"insufficient_granular_scope","error_description":"Access denied"}' ])
	{
		my ($status, $body) = @$_;

		foreach my $zone ('UTC', 'Asia/Tokyo')
		{
			seed_zone($zone, '2027-03-02T20:30:00Z');
			$sim->fault('GET', 'tokens/self', 'body', status => $status, body => $body, times => 0);
			foreach my $condition ('user_id = 9 AND active', 'user_id = 10 AND active', 'user_id = 10 AND NOT active')
			{
				my $expected = said("SELECT count(id) FROM $tokens WHERE " . $condition =~ s/active/(active OR id = 0)/r);

				forget();
				is(said("SELECT count(*) FROM $tokens WHERE $condition"), $expected,
					"count(*) WHERE $condition is right in $zone if self is refused with $status");
				forget();
				is(said("SELECT count(id) FROM $tokens WHERE $condition"), $expected,
					"a scan WHERE $condition is right in $zone if self is refused with $status");
			}
		}
	}
	seed_zone('Asia/Tokyo', '2027-03-02T20:30:00Z');
	$sim->fault('GET', 'tokens/self', 'status', status => 500, times => 0);
	$session->query(q{ALTER SERVER newest OPTIONS (ADD max_retries '0')});
	like(said("SELECT count(*) FROM $tokens WHERE user_id = 9 AND active"),
		qr/HV000: could not look up the API token in use/, 'count(*) fails if GitLab fails to answer self');
	$session->query(q{ALTER SERVER newest OPTIONS (DROP max_retries)});
	return;
}

sub test_explain_in_zones
{
	my $explain = 'EXPLAIN (COSTS OFF) SELECT id FROM newest.gitlab_personal_access_tokens WHERE user_id = 9 AND active';
	foreach my $zone ('UTC', 'Asia/Tokyo')
	{
		seed_zone($zone, '2027-03-02T20:30:00Z');
		forget();
		$sim->clear_journal;
		like(said($explain), qr{GET /personal_access_tokens\?user_id=9&state=active +GitLab Exact: active, user_id$},
			"EXPLAIN shows the request for UTC if nobody knows that it is $zone");
		is($sim->count, 0, 'EXPLAIN makes no request');
	}
	like(said($explain =~ s/COSTS OFF/ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF/r), qr/user_id=9&revoked=false/,
		'EXPLAIN ANALYZE shows the request that was right');
	my $said = said($explain);

	like($said, qr/user_id=9&revoked=false/, 'EXPLAIN shows the request for the zone that the session knows');
	like($said, qr/GitLab Exact: user_id/, 'EXPLAIN says that active is not exact there');
	like($said, qr/GitLab Superset: active/, 'EXPLAIN says that active is asked for by a superset there');
	like(said($explain =~ s/AND active/AND NOT active/r), qr{/personal_access_tokens\?user_id=9 +GitLab Exact: user_id$},
		'EXPLAIN shows that NOT active is not sent there');
	return;
}
