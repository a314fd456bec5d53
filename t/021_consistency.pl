# Lists that change while they are read.
#
# Random changes are made between the pages of all kinds of lists.  A token that
# nobody touches comes exactly once, every other one once at most; what can't be
# known to be complete is an error, 40001.  SEED and TRIALS (of each list) can be
# set in the environment.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Time::HiRes qw(time);

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $seed = $ENV{SEED} || 21;
my $trials = $ENV{TRIALS} || 8;
my $tokens = 60;
my @all_changes = qw(create revoke use rotate remove);

my $sim = GitLabSim->start(args => [ '--gitlab-version', '19.4' ]);
my $node = gitlab_cluster('main', $sim, conf => "gitlab_pat_fdw.discard_secrets = on\n");
my %served = ("one" => 1, "eight" => 8);

foreach my $schema (sort keys %served)
{
	$node->safe_psql(
		'postgres', qq{
		CREATE SERVER $schema VERSION '19.4' FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url '${\$sim->url}', page_size '5', concurrency '$served{$schema}');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $schema OPTIONS (token 'glpat-sim-admin');
		CREATE SCHEMA $schema;
		IMPORT FOREIGN SCHEMA gitlab FROM SERVER $schema INTO $schema});
}
my $session = Session->open($node);

srand $seed;
test_random_changes();
test_order();
test_first_rows();
test_created_just_now();
test_created_meanwhile();
test_endless_churn();
test_above_the_limit();
test_uncounted_variables();
test_writes();
test_waiting_statement();
test_bad_paging();
$session->close;
done_testing();

# --- random changes -----------------------------------------------------------

sub pick { return $_[ rand @_ ] }

sub hook
{
	my ($path, $nth, @actions) = @_;

	$sim->control('POST', 'hooks', undef,
		{ method => 'GET', path => $path, nth => $nth, do => \@actions });
	return;
}

# A change of a token: the action, and the token it is about.
sub random_action
{
	my ($kinds) = @_;
	my $id = 2 + int(rand($tokens + 14));
	my $kind = pick(@$kinds);

	return ({ create => { user_id => 2, name => 'new', scopes => ['api'],
				expires_at => pick('2026-01-01', '2090-06-01', '2098-01-01', undef),
				revoked => pick(JSON::PP::true, JSON::PP::false) } }, undef)
	  if $kind eq 'create';
	return ({ $kind => $id }, $id);
}

# One line for each row: the id, then what the list is ordered by.
sub rows_of
{
	my ($sql) = @_;
	my ($out, $error) = $session->query($sql);

	return $error ? ($error) : (undef, map { [ split /\|/ ] } split /\n/, $out);
}

# What compares as PostgreSQL orders ids and dates, nulls last.
sub place { return ($_[0] // '') eq '' ? '~' : sprintf '%12s', $_[0] }

sub is_in_order
{
	my ($direction, @keys) = @_;
	my @padded = map { place($_) } @keys;

	foreach my $i (1 .. $#padded)
	{
		my $comparison = $padded[ $i - 1 ] cmp $padded[$i];

		return 0 if $comparison * $direction > 0;
	}
	return 1;
}

# Reads a list, or as many of its first rows, while it changes.  Returns what is wrong with
# the outcome, if anything is, and whether it was an error.
sub try_list
{
	my ($sql, $direction, $kinds, $setting, $limit, $without) = @_;

	$sim->reset(version => '19.4', tokens => $tokens);
	$sim->control('POST', 'settings', undef, $setting) if $setting;
	$sim->fault('GET', 'page=', 'edit', times => 0, headers => { map { $_ => undef } @$without }) if $without;
	my (undef, @before) = rows_of($sql);
	my (%touched, @log);

	foreach (0 .. rand(6))
	{
		my ($action, $id) = random_action($kinds);
		my $nth = 1 + int(rand(12));

		$touched{$id} = 1 if $id;
		push @log, "$nth: " . JSON::PP->new->canonical->encode($action);
		hook('page=', $nth, $action);
	}
	my ($error, @rows) = rows_of($limit ? "$sql LIMIT $limit" : $sql);
	$sim->control('DELETE', 'hooks');
	$sim->clear_faults;
	if ($error)
	{
		return ('', 1) if $error =~ /40001/;
		return ("$error after @log", 1);
	}

	my %count;
	my %existed = map { $_->[0] => 1 } @before;

	# of the rows that share the place of the last one, any may be left out
	my $end = $limit && @rows == $limit ? place($rows[-1][1]) : undef;

	$count{ $_->[0] }++ foreach @rows;
	my @lost = map { $_->[0] }
	  grep { !$count{ $_->[0] } && !$touched{ $_->[0] } && (!defined $end || (place($_->[1]) cmp $end) * $direction < 0) } @before;
	my @double = grep { $count{$_} > 1 } sort keys %count;
	my @alien = grep { !$existed{$_} && !$touched{$_} && $_ <= $tokens + 16 } sort keys %count;
	my $wrong = join '; ', @lost ? "lost: @lost" : (), @double ? "twice: @double" : (),
	  @alien ? "not asked for: @alien" : (),
	  $direction && !is_in_order($direction, map { $_->[1] // '' } @rows) ? 'not in order' : ();

	return ($wrong ? "$wrong after @log" : '', 0);
}

sub test_random_changes
{
	# a condition, what it is ordered by, and how many of the first rows are read
	my @lists = (
		[ '', '' ],
		[ 'WHERE active', '' ],
		[ 'WHERE NOT active', '' ],
		[ 'WHERE revoked', '' ],
		[ 'WHERE NOT revoked', '' ],
		[ q{WHERE last_used_at < '2025-01-01'}, '' ],
		[ q{WHERE last_used_at > '2024-03-10'}, '' ],
		[ q{WHERE active AND last_used_at < '2025-01-01'}, '' ],
		[ q{WHERE revoked AND last_used_at > '2024-03-01'}, '' ],
		[ q{WHERE active AND last_used_at > '2024-03-01'}, '' ],
		[ q{WHERE user_id IN (2, 3, 4, 5, 6)}, '' ],
		[ q{WHERE expires_at > '2024-01-01' AND NOT revoked}, '' ],
		[ '', 'id' ],
		[ 'WHERE active', 'id' ],
		[ '', 'expires_at' ],
		[ '', 'expires_at DESC' ],
		[ 'WHERE active', 'expires_at' ],
		[ 'WHERE NOT revoked', 'expires_at DESC' ],
		[ '', 'id', 21 ],
		[ 'WHERE NOT revoked', 'id', 17 ],
		[ '', 'id DESC', 31 ],
		[ 'WHERE active', 'id DESC', 12 ],
		[ 'WHERE active', 'expires_at', 21 ],
		[ 'WHERE NOT revoked', 'expires_at DESC', 17 ],
	);

	foreach my $schema (sort keys %served)
	{
		foreach (@lists)
		{
			my ($where, $order, $limit) = @$_;
			my $key = $order =~ /(\w+)/ ? ", $1" : '';
			my $sql = "SELECT id$key FROM $schema.gitlab_personal_access_tokens $where"
			  . ($order ? " ORDER BY $order" : '');
			my ($errors, @wrong) = (0);

			# What comes into a list of revoked tokens while others are removed
			# from it can't be noticed.
			my @kinds = $where =~ /NOT active|WHERE revoked|last_used_at >/
			  && $where !~ /WHERE active/ ? grep { $_ ne 'remove' } @all_changes : @all_changes;

			$session->query('SET enable_sort = off') if $limit;
			foreach (1 .. $trials)
			{
				my ($wrong, $error) =
				  try_list($sql, !$order ? 0 : $order =~ /DESC/ ? -1 : 1, \@kinds, undef, $limit);

				push @wrong, $wrong if $wrong;
				$errors++ if $error;
			}
			$session->query('RESET enable_sort');
			my $what = join ' ', grep { $_ ne '' } $where, $order, $limit ? "LIMIT $limit" : ();

			is(join("\n", @wrong), '', "seed $seed, $served{$schema} at a time: no list of $what is wrong");
			note "$errors of $trials ended in 40001" if $errors;
		}
	}
	return;
}

# --- directed changes ---------------------------------------------------------

# Without its detail, an error is its SQLSTATE; ids otherwise.
sub ids_of
{
	my ($sql) = @_;
	my ($error, @rows) = rows_of($sql);

	return $error ? $error =~ s/^.*ERROR:\s+//r : join ',', map { $_->[0] } @rows;
}

sub fresh
{
	my (%options) = @_;

	$sim->reset(version => '19.4', tokens => $tokens, %options);
	$sim->clear_journal;
	return;
}

# A row that slides out of sight twice: past the end of a page that was read, and
# in the second reading again, a whole page further.
sub test_order
{
	fresh();
	hook('page=', 2, { remove => 2 });
	hook('page=', 16, map { { remove => $_ } } 3 .. 8);
	my $ids = ids_of('SELECT id FROM one.gitlab_personal_access_tokens');
	ok($ids eq '40001' || $ids =~ /\b11\b/, 'a row that slides twice is not lost');

	# Pages that are answered in another order than that of the list, while rows go:
	# the second one is asked for again after the others, and shows rows of the fourth.
	fresh();
	$sim->fault('GET', '[?&]page=2$', 'status', status => 503, times => 1);
	hook('page=5$', 1, map { { remove => $_ } } 3, 11, 12);
	is(ids_of('SELECT id FROM eight.gitlab_personal_access_tokens ORDER BY id'),
		'40001', 'pages that are out of order because rows went are an error of concurrent changes');
	$sim->clear_faults;
	$sim->control('DELETE', 'hooks');

	# An order that the declared version should know, and the server does not.
	fresh(version => '17.11');
	foreach ('expires_at', 'expires_at DESC')
	{
		is(ids_of("SELECT id FROM one.gitlab_personal_access_tokens ORDER BY $_"),
			'08P01', "ORDER BY $_ of a server that can't sort is an error");
	}

	# Pages out of order.
	fresh();
	$sim->fault('GET', '[?&]page=1$', 'edit', set => { '0.id' => 70 });
	is(ids_of('SELECT id FROM one.gitlab_personal_access_tokens ORDER BY id'),
		'08P01', 'a page that is not in order is an error');
	$sim->clear_faults;
	$sim->fault('GET', '[?&]page=2$', 'edit', set => { '0.expires_at' => '2001-01-01' });
	is(ids_of('SELECT id FROM one.gitlab_personal_access_tokens ORDER BY expires_at'),
		'08P01', 'a page out of order with the one before is an error');
	$sim->clear_faults;
	return;
}

# The first rows of an order, where nobody reads the list to its end: a row that slides
# past between two pages has its place among them.
sub test_first_rows
{
	my $first = 21;

	foreach my $schema (sort keys %served)
	{
		my $table = "$schema.gitlab_personal_access_tokens";

		$session->query('SET enable_sort = off');
		foreach (
			[ '', 'id', { remove => 3 }, 'page=2' ],
			[ '', 'id', { remove => 3 }, 'page=1' ],
			[ 'WHERE NOT revoked', 'id', { revoke => 4 }, 'page=2' ],
			[ 'WHERE active', 'id DESC', { revoke => 75 }, 'page=1' ],
			[ 'WHERE NOT revoked', 'expires_at DESC', { revoke => 7 }, 'page=1' ])
		{
			my ($where, $order, $change, $page) = @$_;
			my $query = "SELECT id FROM $table $where ORDER BY $order";
			my ($gone) = values %$change;

			fresh();
			my @before = split /,/, ids_of($query);
			hook($page, 1, $change);
			my @read = split /,/, ids_of("$query LIMIT $first");
			$sim->control('DELETE', 'hooks');
			my %read = map { $_ => 1 } @read;
			my $end = $read[-1];
			my @lost;

			foreach (@before)
			{
				last if $_ eq $end;
				push @lost, $_ if !$read{$_} && $_ != $gone;
			}
			is("@lost", '', "$schema: the first rows $where ORDER BY $order are all there while others go");
		}
		$session->query('RESET enable_sort');

		# a rotation: a token leaves the front of the list, and another one enters behind
		foreach my $limit ("LIMIT $first", 'OFFSET 0')
		{
			my $query = "SELECT id FROM $table WHERE active ORDER BY expires_at";

			fresh();
			my ($old, @others) = split /,/, ids_of("$query LIMIT $first");
			hook('page=2', 1, { revoke => $old },
				{ create => { user_id => 2, name => 'new', scopes => ['api'], expires_at => '2099-12-31' } });
			my %read = map { $_ => 1 } split /,/, ids_of("SELECT id FROM ($query $limit) t");
			$sim->control('DELETE', 'hooks');
			is(join(' ', grep { !$read{$_} } @others), '',
				"$schema: the first rows ORDER BY expires_at $limit are all there while one is rotated");
		}

		# a cursor that was not read to its end
		fresh();
		$session->query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM $table ORDER BY id");
		my ($read) = $session->query('FETCH 5 FROM c');
		$sim->control('DELETE', 'tokens/2');
		($read) = $session->query('FETCH 5 FROM c');
		$session->query('COMMIT');
		is($read =~ s/\n/,/gr, '6,7,8,9,10', "$schema: a cursor in order goes on with the next row while others go");

		# so many that it can't be known any more
		fresh();
		hook('page=2', 1, map { { remove => $_ } } 2 .. 9);
		my $said = ids_of("SELECT id FROM $table ORDER BY id LIMIT $first");
		like($said, qr/^40001$|\b11,12,13,14,15,16,17,18,19\b/,
			"$schema: the first rows are all there, or an error, while a page of others goes");
		$sim->control('DELETE', 'hooks');
	}
	return;
}

# What the transaction itself has just created has its place in any order.
sub test_created_just_now
{
	foreach my $schema (sort keys %served)
	{
		my $table = "$schema.gitlab_personal_access_tokens";

		foreach ('expires_at', 'expires_at DESC', 'id')
		{
			fresh();
			$session->query('BEGIN');
			my ($new) = $session->query(
				"INSERT INTO $table (user_id, name, scopes, expires_at)
				 VALUES (2, 'just now', '{api}', current_date + 9) RETURNING id");
			my ($error, @rows) = rows_of("SELECT id FROM $table ORDER BY $_");
			$session->query('ROLLBACK');
			is($error, undef, "$schema: ORDER BY $_ right after an INSERT is no error");
			is(scalar(grep { $_->[0] eq $new } @rows), 1, "$schema: ORDER BY $_: the new token is there");
			is(scalar @rows, $tokens + 17, "$schema: ORDER BY $_: all other tokens are there");
		}
	}
	return;
}

# What is created while a list is read, or within the second before.
sub test_created_meanwhile
{
	my $table = 'gitlab_personal_access_tokens';
	my %new = (user_id => 2, name => 'new', scopes => ['api']);

	foreach my $schema (sort keys %served)
	{
		# in the second of the first answer, before it
		fresh();
		$sim->control('POST', 'clock', undef, { now => '2026-06-01T12:00:00.500Z' });
		my @ids = map { $sim->control('POST', 'tokens', undef,
				{ %new, created_at => "2026-06-01T12:00:00.${_}Z" })->{id} } 100, 499;
		is(ids_of("SELECT id FROM $schema.$table ORDER BY id"),
			join(',', 1 .. $ids[1]), "$schema: a list has what was created in the second before");

		# dated in the future, by a server whose clock is fast
		$sim->control('PATCH', "tokens/$ids[0]", undef, { created_at => '2026-06-01T12:00:03Z' });
		my $said = ids_of("SELECT id FROM $schema.$table ORDER BY id");
		like($said, qr/^40001$|,$ids[0],$ids[1]$/,
			"$schema: ORDER BY id holds also if an earlier id has a later time");
		is(join(',', sort { $a <=> $b } split /,/, ids_of("SELECT id FROM $schema.$table")),
			join(',', 1 .. $ids[1]), "$schema: a list without an order is complete");

		# an expiry that belongs to the beginning
		$sim->control('PATCH', "tokens/$ids[0]", undef, { expires_at => '2001-01-01' });
		foreach ('', ' DESC')
		{
			my ($error, @rows) = rows_of("SELECT id, expires_at FROM $schema.$table ORDER BY expires_at$_");

			ok($error ? $error =~ /40001/ :
				  @rows == $ids[1] && is_in_order($_ ? -1 : 1, map { $_->[1] // '' } @rows),
				"$schema: ORDER BY expires_at$_ is in order, or says that it can't be");
		}

		# meanwhile, on each page
		fresh();
		$sim->control('POST', 'clock', undef, { now => '2026-06-01T12:00:00.500Z', running => JSON::PP::true });
		hook('page=', $_, { create => { %new, name => "new $_" } }) foreach 1 .. 15;
		my @got = split /,/, ids_of("SELECT id FROM $schema.$table");
		my %seen;

		is(join(',', grep { $_ <= $tokens + 16 } @got), join(',', 1 .. $tokens + 16),
			"$schema: what there was comes once while others are created");
		is(scalar(grep { $seen{$_}++ } @got), 0, "$schema: no token comes twice while others are created");
	}
	return;
}

# Changes that go on and on.
sub test_endless_churn
{
	foreach my $schema (sort keys %served)
	{
		foreach my $where ('', 'WHERE active', 'WHERE active ORDER BY id', 'ORDER BY expires_at')
		{
			fresh(tokens => 400);
			foreach my $nth (1 .. 390)
			{
				hook('page=', $nth, { remove => $nth + 1 });
			}
			my $started = time;
			my $ids = ids_of("SELECT id FROM $schema.gitlab_personal_access_tokens $where");

			is($ids, '40001', "$schema: endless churn of $where is an error")
			  or diag $ids;
			cmp_ok($sim->count, '<', 5 * 84, "$schema: a list under endless churn ends after some readings");
		}
	}
	return;
}

# Where GitLab gives no totals, and a proxy maybe nothing at all.
sub test_above_the_limit
{
	foreach my $schema (sort keys %served)
	{
		foreach ([ '', '' ], [ 'WHERE NOT revoked', '' ], [ q{WHERE last_used_at > '2024-03-01'}, '' ], [ '', 'id' ], [ 'WHERE active', 'expires_at' ])
		{
			my ($where, $order) = @$_;
			my $key = $order ? ", $order" : '';
			my $sql = "SELECT id$key FROM $schema.gitlab_personal_access_tokens $where" . ($order ? " ORDER BY $order" : '');

			# Without totals, what enters while others are removed can't be noticed, either.
			my @kinds = $where =~ /last_used_at >/ ? grep { $_ ne 'remove' } @all_changes : @all_changes;

			foreach my $gone (undef, [ 'X-Total', 'X-Total-Pages', 'X-Next-Page', 'Link' ])
			{
				my (@wrong, $errors);

				foreach (1 .. $trials)
				{
					my ($wrong, $error) = try_list($sql, $order ? 1 : 0, \@kinds, { count_limit => 10 }, undef, $gone);

					push @wrong, $wrong if $wrong;
					$errors++ if $error;
				}
				my $what = ($gone ? 'no headers' : 'no totals') . ': no list of ' . join ' ', grep { $_ ne '' } $where, $order;

				is(join("\n", @wrong), '', "$schema, $what is wrong");
				note "$errors of $trials ended in 40001" if $errors;
			}
		}

		# the first rows of an order: which have slid past is not known, but found
		$session->query('SET enable_sort = off');
		foreach ([ '', 'id', 21 ], [ '', 'id DESC', 17 ], [ 'WHERE active', 'expires_at', 21 ], [ 'WHERE NOT revoked', 'id', 12 ])
		{
			my ($where, $order, $limit) = @$_;
			my ($key) = $order =~ /(\w+)/;
			my $sql = "SELECT id, $key FROM $schema.gitlab_personal_access_tokens $where ORDER BY $order";
			my @wrong;

			foreach (1 .. $trials)
			{
				my ($wrong) = try_list($sql, $order =~ /DESC/ ? -1 : 1, \@all_changes, { count_limit => 10 }, $limit);

				push @wrong, $wrong if $wrong;
			}
			is(join("\n", @wrong), '', "$schema, no totals: no list of $where ORDER BY $order LIMIT $limit is wrong");
		}

		# as many as are counted, as soon as one has gone
		fresh();
		$sim->control('POST', 'settings', undef, { count_limit => $tokens + 15 });
		hook('page=2', 1, { remove => 2 });
		is(ids_of("SELECT id FROM $schema.gitlab_personal_access_tokens ORDER BY id LIMIT 21"),
			join(',', 1 .. 21), "$schema: the first rows of a list are no error when GitLab begins to count it");
		$sim->control('DELETE', 'hooks');

		# totals that come with some answers only
		fresh();
		$sim->fault('GET', 'page=2', 'edit', times => 0, headers => { 'X-Total' => undef });
		hook('page=1', 1, { remove => 2 });
		is(ids_of("SELECT id FROM $schema.gitlab_personal_access_tokens ORDER BY id LIMIT 21"),
			join(',', 1 .. 21), "$schema: the first rows of a list are all there if a page has no total");
		$sim->control('DELETE', 'hooks');
		$sim->clear_faults;
		$session->query('RESET enable_sort');

		# A row enters at the front after the third page, which overtakes the second one
		# if both are under way: the second would show what the first has shown, and not
		# its own last row.
		fresh();
		$sim->control('POST', 'settings', undef, { count_limit => 10 });
		my $list = "SELECT id FROM $schema.gitlab_personal_access_tokens WHERE last_used_at > '2024-03-01'";
		my $before = ids_of($list);
		$sim->fault('GET', 'page=2$', 'stall', seconds => 0.5);
		hook('page=3$', 1, { use => 2 });
		my %read = map { $_ => 1 } split /,/, ids_of($list);

		$sim->control('DELETE', 'hooks');
		is(join(',', grep { !$read{$_} } split /,/, $before), '',
			"$schema, no totals: a row that enters while the second page is under way pushes none out of sight");
	}
	return;
}

# Variables have no times, by which their list could be read in parts.
sub test_uncounted_variables
{
	foreach my $schema (sort keys %served)
	{
		my $list = "SELECT key FROM $schema.gitlab_project_variables WHERE project = 'acme/app'";

		foreach my $gone ([], ['X-Total'], [ 'X-Total', 'X-Total-Pages', 'X-Next-Page', 'Link' ])
		{
			fresh(variables => 30);
			my $others = sub { join ',', sort grep { $_ ne 'CONFIG' } split /,/, ids_of($list) };
			my $before = $others->();

			$sim->fault('GET', 'variables', 'edit', times => 0, headers => { map { $_ => undef } @$gone }) if @$gone;
			hook('variables.*page=2', 1, { remove_variable => { project => 'acme/app', key => 'CONFIG' } });
			is($others->(), $before,
				"$schema: a list of variables is complete while one is removed" . (@$gone ? ", also without @$gone" : ''));
			$sim->control('DELETE', 'hooks');
			$sim->clear_faults;
		}
	}
	return;
}

# A statement that changes what it lists.
sub test_writes
{
	my $active = sub { scalar grep { $_->{state} eq 'active' } $sim->tokens };

	foreach my $schema (sort keys %served)
	{
		my $table = "$schema.gitlab_personal_access_tokens";

		fresh();
		my ($deleted, $error) = $session->query(
			"WITH d AS (DELETE FROM $table WHERE active AND id > 16 RETURNING id) SELECT count(*) FROM d");
		is("$deleted$error", 42, "$schema: DELETE takes all that is active");
		is((grep { $_->{id} > 16 && $_->{state} eq 'active' } $sim->tokens), 0, "$schema: DELETE revokes all that is active");

		# one row at a time, committing in between
		fresh();
		($deleted, $error) = $session->query(
			qq{DO \$\$ DECLARE t bigint; BEGIN
				FOR t IN SELECT id FROM $table WHERE active AND id > 16 LOOP
					DELETE FROM $table WHERE id = t;
					COMMIT;
				END LOOP;
			END \$\$});
		is($error, '', "$schema: a loop that revokes what it reads has no error");
		is((grep { $_->{id} > 16 && $_->{state} eq 'active' } $sim->tokens), 0, "$schema: a loop that revokes what it reads revokes all of it");

		# UPDATE rotates what was there, not what it makes
		fresh();
		my $before = $active->();
		my ($updated, $failed) = $session->query(
			"WITH u AS (UPDATE $table SET expires_at = current_date + 90 "
			  . 'WHERE active AND id > 16 AND user_id NOT IN (5, 6) RETURNING id) SELECT count(*) FROM u');
		is("$updated$failed", 36, "$schema: UPDATE takes each token once");
		is($active->(), $before, "$schema: UPDATE leaves as many tokens active as before");
		$session->query('ROLLBACK');
	}
	return;
}

# A statement that has waited for another session's change of a local row evaluates its
# conditions again, and subqueries about GitLab with them.
sub test_waiting_statement
{
	my $table = 'one.gitlab_personal_access_tokens';
	my $waiting = Session->open($node);

	fresh();
	$session->query('CREATE TABLE owners (id bigint, tokens bigint); INSERT INTO owners VALUES (1, 0)');
	$session->query('BEGIN; UPDATE owners SET id = 2');
	$waiting->send(
		qq{BEGIN; DELETE FROM $table WHERE id = 3; UPDATE owners o SET tokens = (SELECT count(*) FROM $table t WHERE t.user_id = o.id AND NOT t.revoked)
			WHERE o.id = 1 OR (SELECT count(*) FROM $table t WHERE t.user_id = o.id AND t.revoked) > 0 RETURNING tokens;});
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}) or die;
	$session->query('COMMIT');
	my ($counted, $error) = $waiting->finish;
	my ($read) = $waiting->query("SELECT count(id) FROM $table WHERE user_id = 2 AND NOT revoked; ROLLBACK");

	is("$counted$error", $read, 'a statement that has waited for a change counts the tokens of the owner as changed');
	cmp_ok($read, '>', 0, 'the owner as changed has tokens');
	$waiting->close;
	return;
}

# Servers that page badly.
sub test_bad_paging
{
	my $all = join ',', 1 .. $tokens + 16;

	foreach my $schema (sort keys %served)
	{
		my $list = "SELECT id FROM $schema.gitlab_personal_access_tokens";

		foreach ([ 'repeat_page', {} ], [ 'endless', {} ], [ 'endless', { 'X-Total' => undef, 'X-Total-Pages' => undef } ])
		{
			my ($kind, $headers) = @$_;

			fresh();
			$sim->control('POST', 'settings', undef, { count_limit => 10 }) if %$headers;
			$sim->fault('GET', 'page=', $kind, times => 0);
			my $ids = ids_of($list);

			like($ids, $kind eq 'endless' ? qr/^(08P01|$all)$/ : qr/^08P01$/, "$schema: a list with $kind is complete or an error");
			cmp_ok($sim->count, '<', 40, "$schema: a list with $kind ends soon");
			$sim->clear_faults;
		}
		foreach (
			[ 'X-Next-Page' ], [ 'X-Total-Pages' ], [ 'X-Total' ], [ 'X-Total', 'X-Total-Pages' ],
			[ 'X-Total', 'X-Total-Pages', 'X-Next-Page', 'Link' ], ['Date'])
		{
			fresh();
			$sim->fault('GET', 'page=', 'edit', times => 0, headers => { map { $_ => undef } @$_ });
			is(ids_of($list), $all, "$schema: a list without @$_ is complete");

			# without totals, each page is asked for again after the next one
			cmp_ok($sim->count, '<=', (grep { $_ eq 'X-Total' } @$_) ? 2 * 16 + 3 : 16 + $served{$schema} + 1, "$schema: a list without some headers takes few requests in vain");
			$sim->clear_faults;
		}
	}
	return;
}
