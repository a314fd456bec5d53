# The dashboard for Grafana: that it is put together as Grafana wants it, and
# that each of its queries, with Grafana's macros expanded, gives the columns
# that its panel needs, to the role that may read nothing but the views.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use Grafana qw(expand_query);
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $file = "$FindBin::RealBin/../dashboards/grafana/gitlab_tokens.json";
my $dashboard = JSON::PP->new->utf8->decode(slurp_file($file));
my @panels = grep { $_->{type} ne 'row' } @{ $dashboard->{panels} };
my %variable = map { $_->{name} => $_ } @{ $dashboard->{templating}{list} };

# By what Grafana calls a field's type: what PostgreSQL calls it.
my %field_type = (
	(map { $_ => 'time' } 'date', 'timestamp with time zone', 'timestamp without time zone'),
	(map { $_ => 'number' } 'integer', 'bigint', 'numeric', 'double precision'),
	text => 'string', boolean => 'boolean');

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim,
	conf => "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\n");

test_shape();
set_up();
$sim->clear_journal;
my %rows = map { ("$_->{type} $_->{title}" => test_panel($_)) } @panels;
test_variables();
test_values();
test_other_ranges();
is($sim->count, 0, 'nothing of all that has asked GitLab');
done_testing();

# --- the dashboard ------------------------------------------------------------

sub test_shape
{
	my %occupied;
	my @overlaps;

	is($dashboard->{schemaVersion}, 42, 'the dashboard has the last version of this schema');
	like($dashboard->{uid}, qr/^[\w-]{1,40}$/, 'the dashboard has a uid');
	ok(!exists $dashboard->{id}, 'the dashboard has no id, which each Grafana assigns');
	is($variable{datasource}{type} . ' ' . $variable{datasource}{query},
		'datasource grafana-postgresql-datasource', 'the data source is a variable');
	my %ids = map { $_->{id} => 1 } @{ $dashboard->{panels} };
	is(scalar keys %ids, scalar @{ $dashboard->{panels} }, 'no two panels have the same id');
	foreach my $panel (@{ $dashboard->{panels} })
	{
		my ($x, $y, $w, $h) = @{ $panel->{gridPos} }{qw(x y w h)};

		push @overlaps, $panel->{title} if $x < 0 || $w < 1 || $x + $w > 24;
		foreach my $cell (map { my $row = $_; map { "$_ $row" } $x .. $x + $w - 1 } $y .. $y + $h - 1)
		{
			push @overlaps, $panel->{title} if $occupied{$cell}++;
		}
	}
	is("@overlaps", '', 'no panel lies upon another one, or outside of the grid');
	is(scalar keys %occupied, 24 * (1 + (sort { $b <=> $a } map { /(\d+)$/ } keys %occupied)[0]),
		'there are no gaps between panels');
	foreach my $panel (@panels)
	{
		my $sources = join ' ', map { "$_->{type} $_->{uid}" } $panel->{datasource},
		  map { $_->{datasource} } @{ $panel->{targets} };

		is($sources, join(' ', ('grafana-postgresql-datasource ${datasource}') x 2),
			"$panel->{title}: the panel has one query, to the data source of the variable");
		like($panel->{type}, qr/^(?:stat|timeseries|barchart|piechart|table)$/,
			"$panel->{title}: the panel is of a type of Grafana's own");
		unlike(JSON::PP->new->canonical->encode($panel->{fieldConfig}), qr/"short"/, "$panel->{title}: numbers are not rounded");
		is($panel->{targets}[0]{format}, $panel->{type} eq 'timeseries' ? 'time_series' : 'table',
			"$panel->{title}: the result has the right form");
	}
	return;
}

# --- the data -----------------------------------------------------------------

sub day
{
	my ($days) = @_;

	return strftime('%Y-%m-%d', gmtime(time + 86400 * $days));
}

sub set_up
{
	my %plain = (user_id => 2, scopes => [ 'api', 'read_user' ], created_at => day(-40) . 'T10:00:00Z',
		last_used_at => day(-1) . 'T10:00:00Z', expires_at => day(120));

	foreach ({ name => 'q' x 200, expires_at => day(3) }, { name => q{<b>'"\\}, expires_at => day(20) },
		{ name => 'of erin', user_id => 9 }, { name => 'new', created_at => day(-1) . 'T10:00:00Z' })
	{
		$sim->control('POST', 'tokens', undef, { %plain, %$_ });
	}
	$sim->control('POST', 'settings', undef, { rate_limit => { limit => 2000, period => 60 } });
	$node->safe_psql('postgres', q{
		CREATE EXTENSION pg_cron;
		CREATE TABLE token_rotations (at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
			outcome text, message text);
		INSERT INTO token_rotations VALUES (now(), 'alice', 'any', 2, 900, 'rotated', NULL),
			(now(), 'frank', 'other', NULL, NULL, 'failed', 'it was refused')});
	run_script($node, 'dashboards/install.sql', rotations => 'token_rotations');
	# one of each day, for ten days; a refresh that has failed, a job that has
	$node->safe_psql('postgres', q{
		INSERT INTO gitlab_dashboard.history
			SELECT h.day - d, h.owner_kind, h.active, h.expired, h.revoked, d, d + 1, d + 2,
				h.without_expiry, h.owner_inactive, h.unused_90
			FROM gitlab_dashboard.history h, generate_series(1, 9) AS d;
		UPDATE gitlab_dashboard.refreshes SET finished_at = finished_at - interval '3 hours',
			started_at = started_at - interval '3 hours 2 seconds'});
	$sim->fault('GET', '/users\?', 'status', status => 418, times => 1);
	$node->psql('postgres', 'CALL gitlab_dashboard.refresh()');
	$node->safe_psql('postgres', q{
		SELECT cron.schedule('fails', '0 0 1 1 *', 'SELECT 1/0');
		SELECT cron.schedule('rotates', '0 4 * * *', 'CALL gitlab_pat_rotate_due(''a'', ''b'')');
		INSERT INTO gitlab_dashboard.jobs_seen (job_id, first_seen, last_success)
			SELECT jobid, now(), now() - interval '3 days' FROM cron.job WHERE jobname = 'rotates';
		INSERT INTO cron.job_run_details (jobid, runid, database, status, start_time, end_time)
			SELECT jobid, 1, database, 'failed', now(), now() FROM cron.job WHERE jobname = 'fails'});
	return;
}

# --- queries ------------------------------------------------------------------

sub selected
{
	return (owner_kind => [ 'administrator', 'group bot', 'project bot', 'service account', 'unknown', 'user' ],
		state => [ 'active', 'expired', 'revoked' ]);
}

sub expanded
{
	my ($sql, %options) = @_;
	my $now = time;

	return expand_query($sql, from => $now - 90 * 86400, to => $now + 60, interval => '1d',
		variables => { selected() }, %options);
}

sub as_reader
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET ROLE gitlab_dashboard_reader; SET TimeZone = 'UTC';\n$sql");
}

# The columns of a query, and their types to Grafana.
sub columns_of
{
	my ($sql) = @_;

	return map { my ($name, $type) = split /\|/; [ $name, $field_type{$type} // $type ] }
	  split /\n/, as_reader("$sql \\gdesc");
}

# Runs a panel's query, and returns the rows as an array of hashes.
sub test_panel
{
	my ($panel) = @_;
	my $title = "$panel->{type} \"$panel->{title}\"";
	my $sql = expanded($panel->{targets}[0]{rawSql}, interval => $panel->{interval} // '1h');
	my @columns = columns_of($sql);
	my $rows = JSON::PP::decode_json(as_reader("SELECT coalesce(json_agg(q), '[]') FROM ($sql) q"));
	my %names = map { $_->[0] => 1 } @columns;

	cmp_ok(scalar @$rows, '>', 0, "$title: the query returns rows");
	is(join(' ', grep { !/^(?:time|number|string|boolean)$/ } map { $_->[1] } @columns), '',
		"$title: Grafana knows the types");
	__PACKAGE__->can("test_$panel->{type}")->($panel, $title, $rows, @columns);
	my @named = grep { defined } $panel->{options}{xField},
	  map { $_->{matcher}{options} } @{ $panel->{fieldConfig}{overrides} };
	# a pie has a field for each row
	%names = map { $_ => 1 } keys %names, map { $_->{state} } @$rows if $panel->{type} eq 'piechart';
	is(join(' ', grep { !$names{$_} } @named), '', "$title: the columns that its settings name are there");
	return $rows;
}

sub types { return join ' ', map { $_->[1] } @_ }

sub test_stat
{
	my ($panel, $title, $rows, @columns) = @_;

	is(types(@columns), 'number', "$title: the query returns one column, a number");
	is(scalar @$rows, 1, "$title: the query returns one row");
	return;
}

sub test_piechart
{
	my ($panel, $title, $rows, @columns) = @_;

	is(types(@columns), 'string number', "$title: the query returns names and numbers");
	ok($panel->{options}{reduceOptions}{values}, "$title: the panel has a slice for each row");
	return;
}

sub test_barchart
{
	my ($panel, $title, $rows, @columns) = @_;

	like(types(@columns), qr/^string( number)+$/, "$title: the query returns names and numbers");
	is($columns[0][0], $panel->{options}{xField}, "$title: the names make the axis");
	return;
}

sub test_timeseries
{
	my ($panel, $title, $rows, @columns) = @_;
	my ($time, @others) = @columns;
	my @times = map { $_->{time} } @$rows;
	my @sorted = $times[0] =~ /-/ ? sort @times : sort { $a <=> $b } @times;

	is($time->[0], 'time', "$title: there is a column for the time");
	# seconds since 1970, if it is a number
	like($time->[1], qr/^(?:time|number)$/, "$title: the column for the time has a fitting type");
	like(types(@others), qr/^(?:string number|number(?: number)*)$/, "$title: the other columns are numbers, with one name at most");
	is($others[0][0], 'metric', "$title: the names are called \"metric\"") if $others[0][1] eq 'string';
	is("@times", "@sorted", "$title: the rows are in the order of time");
	my %seen;
	is(scalar(grep { $seen{ $_->{time} . ($_->{metric} // '') }++ } @$rows), 0, "$title: each time comes once");
	return;
}

sub test_table
{
	my ($panel, $title, $rows, @columns) = @_;

	cmp_ok(scalar @columns, '>=', 2, "$title: the table has columns");
	my %overrides = map { $_->{matcher}{options} => $_->{properties} } @{ $panel->{fieldConfig}{overrides} };

	return unless $panel->{targets}[0]{rawSql} =~ /username AS "owner"/;
	is($overrides{owner}[0]{value}[0]{url}, '${__data.fields.web_url}', "$title: an owner is a link to their page in GitLab");
	is((grep { $_->[0] eq 'web_url' } @columns) . " $overrides{web_url}[0]{id}", '1 custom.hidden',
		"$title: the address of the page has a hidden column");
	return;
}

# --- variables, values, ranges ------------------------------------------------

sub test_variables
{
	my $owner_kind = $variable{owner_kind};

	is(as_reader($owner_kind->{query}), join("\n", grep { $_ ne 'unknown' } @{ { selected() }->{owner_kind} }),
		'the dashboard offers the kinds of owners');
	is($variable{state}{query}, join(',', @{ { selected() }->{state} }), 'the dashboard offers the states');
	is(join(' ', sort keys %variable), 'datasource owner_kind state', 'there are no other variables');
	return;
}

sub total
{
	my ($panel, $column) = @_;
	my $sum = 0;

	$sum += $_->{$column} foreach @{ $rows{$panel} };
	return $sum;
}

sub only { return $rows{ $_[0] }[0]{ $_[1] } }

sub test_values
{
	is(only('stat Active tokens', 'tokens'), 18, 'a panel counts the active tokens');
	is(only('stat Expire within 7 days', 'tokens'), 1, 'a panel counts tokens that expire within 7 days');
	is(only('stat Expire within 30 days', 'tokens'), 2, 'a panel counts tokens that expire within 30 days');
	is(only('stat Never expire', 'tokens'), 2, 'a panel counts tokens that never expire');
	is(only('stat Inactive owner', 'tokens'), 2, 'a panel counts tokens of inactive owners');
	is(only('stat Unused for 90 days', 'tokens'), 14, 'a panel counts tokens that are not used');
	is(scalar @{ $rows{'barchart Expiries ahead'} }, 26, 'a panel shows half a year of weeks');
	is(total('barchart Expiries ahead', 'tokens'), 4, 'the weeks have the numbers of what expires in them');
	is(scalar @{ $rows{'timeseries Soon to expire, over time'} }, 10, 'a panel shows ten days of history');
	my $first = $rows{'timeseries Soon to expire, over time'}[0];
	is(join('|', map { $first->{"within $_ days"} } 7, 30, 90), '45|50|55',
		 'the history has the numbers of each day');
	is(join('|', map { $_->{name} } @{ $rows{'table Expire within 30 days'} }), ('q' x 200) . q{|<b>'"\\},
		'a panel lists what expires soon, in the order of time');
	is(join(' ', map { "$_->{state} $_->{tokens}" } @{ $rows{'piechart By state'} }),
		'active 18 expired 1 revoked 1', 'a panel counts tokens by state');
	is(join(' ', map { total('barchart By kind of owner', $_) } qw(active expired revoked)), '18 1 1',
		'a panel counts tokens by kind of owner');
	is(join(' ', map { "$_->{scope} $_->{tokens}" } @{ $rows{'barchart Active tokens by scope'} }[ 0, 1 ]),
		'api 11 read_user 5', 'a panel counts tokens by scope');
	is(total('timeseries New tokens', 'created'), 4, 'a panel counts new tokens');
	is(scalar @{ $rows{'table All tokens'} }, 20, 'a panel lists all tokens');
	is(join(' ', map { "$_->{q{owner's state}} $_->{tokens}" } @{ $rows{'barchart Tokens of inactive owners'} }),
		'blocked 1 locked 1', 'a panel counts the tokens of inactive owners by state');
	is(join(' ', map { "$_->{id} $_->{reason}" } @{ $rows{'table Left over from rotations'} }), '2 replaced',
		'a panel lists what rotations have left over');
	is(only('stat Failing rotations', 'tokens'), 1, 'a panel counts rotations that fail');
	is(join(' ', map { "$_->{owner} $_->{token}: $_->{why}" } @{ $rows{'table Rotations that fail'} }), 'frank other: it was refused',
		'a panel lists rotations that fail, with the reason');
	is(int(only('stat Last success of rotation jobs', 'ago') / 86400), 3, 'a panel shows how long ago the rotation job ended well');
	is(only('stat Overdue jobs', 'jobs'), 1, 'a panel counts jobs that are overdue');
	is(join(' ', map { $_->{owner} } @{ $rows{'table Tokens of inactive owners'} }), 'bob erin',
		'a panel names inactive owners');
	is(only('stat Own credential: days left', 'days left'),
		$node->safe_psql('postgres', q{SELECT date '2099-12-31' - (now() AT TIME ZONE 'UTC')::date}),
		'a panel shows the days left of the own credential');
	is(only('stat Own credential sees', 'sees'), 1, 'a panel shows that the credential sees everything');
	cmp_ok(only('stat Last refresh', 'ago'), '>', 3 * 3600 - 1, 'a panel shows the last refresh that went well');
	like(only('stat Requests of a refresh', 'requests'), qr/^[34]$/, 'a panel shows the requests of a refresh');
	like(only('stat Rate limit: left', 'requests left'), qr/^19\d\d$/, 'a panel shows what is left of the rate limit');
	is(only('stat Failed jobs', 'jobs'), 1, 'a panel counts failed jobs');
	like(total('timeseries API requests', 'requests'), qr/^[78]$/, 'a panel shows requests over time');
	is(total('timeseries API requests', 'errors'), 1, 'a panel shows errors over time');
	cmp_ok(only('timeseries How long a refresh takes', 'the refresh'), '>', 2, 'a panel shows how long a refresh takes');
	is(scalar @{ $rows{'table Refreshes that failed'} }, 1, 'a panel lists refreshes that failed');
	is(join(' ', map { "$_->{job} " . ($_->{'last run was well'} // 'none') . " $_->{'failures in a day'}" } @{ $rows{'table Jobs of pg_cron'} }),
		'fails 0 1 rotates none 0', 'a panel lists a job that failed, and its failure once');
	return;
}

# The same with one kind of owner, and with ranges that Grafana would divide
# otherwise.
sub test_other_ranges
{
	foreach my $range ([ 3600, '15s' ], [ 6 * 3600, '1m' ], [ 4 * 365 * 86400, '1w' ])
	{
		my ($seconds, $interval) = @$range;

		foreach my $panel (@panels)
		{
			my $sql = expanded($panel->{targets}[0]{rawSql}, from => time - $seconds, interval => $interval,
				variables => { selected(), owner_kind => ['user'] });

			like(as_reader("SELECT count(*) FROM ($sql) q"), qr/^\d+$/,
				"$panel->{title}: $seconds s make steps of $interval");
		}
	}
	my ($panel) = grep { $_->{title} eq 'Active tokens' } @panels;
	is(as_reader(expanded($panel->{targets}[0]{rawSql}, variables => { selected(), owner_kind => ['user'] })), 11,
		'a panel can be limited to one kind of owner');
	return;
}
