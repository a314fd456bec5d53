# The views for dashboards: what they show, what a refresh asks of GitLab and
# notes of it, and who may read them.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $reader = 'gitlab_dashboard_reader';
my @readable = map { "gitlab_dashboard.$_" }
  qw(tokens summary scopes credential history refreshes jobs leftovers rotations);

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);

seed();
run_script($node, 'dashboards/install.sql');
test_contents();
test_requests();
test_history();
test_failures();
test_readers_are_not_blocked();
test_privileges();
test_leftovers();
test_rotations();
test_schedules();
test_variables();
test_group();
is_alive($node);
done_testing();

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub day
{
	my ($days) = @_;

	return strftime('%Y-%m-%d', gmtime(time + 86400 * $days));
}

# What the last refresh has noted.
sub noted
{
	my ($columns) = @_;

	return sql("SELECT $columns FROM gitlab_dashboard.refreshes ORDER BY id DESC LIMIT 1");
}

# --- what they show -----------------------------------------------------------

# Numbered from 17 on.  Frank, who has tokens 14 and 15, is not in the first list
# of users.
sub seed
{
	my %plain = (user_id => 2, scopes => ['read_user'], created_at => day(-200) . 'T10:00:00Z',
		last_used_at => day(-1) . 'T10:00:00Z', expires_at => day(120));

	foreach (
		{ name => 'seven', expires_at => day(7) },
		{ name => 'eight', expires_at => day(8) },
		{ name => 'thirty', expires_at => day(30), user_id => 7 },
		{ name => 'ninety-one', expires_at => day(91), last_used_at => day(-91) . 'T10:00:00Z' },
		{ name => 'ended', expires_at => day(-1), user_id => 9 },
		{ name => 'of carol', user_id => 4, last_used_at => undef },
		{ name => 'of erin', user_id => 9, scopes => [ 'api', 'read_user' ] })
	{
		$sim->control('POST', 'tokens', undef, { %plain, %$_ });
	}
	$sim->fault('GET', '/users\?', 'edit', set => { '9.id' => 1000 });
	return;
}

sub test_contents
{
	my $far = sql(q{SELECT date '2099-12-31' - (now() AT TIME ZONE 'UTC')::date});
	my $old = sql(q{SELECT (now() AT TIME ZONE 'UTC')::date - date '2024-01-01'});

	is( sql(q{
			SELECT id, state, days_left, days_unused, username, owner_kind, owner_state, owner_is_inactive
			FROM gitlab_dashboard.tokens WHERE id IN (5, 6, 9, 10, 11, 14, 15, 16) OR id > 16 ORDER BY id}),
		join("\n",
			'5|expired|||alice|user|active|f',
			'6|revoked|||alice|user|active|f',
			"9|active|$far|$old|project_1_bot_a1b2c3|project bot|active|f",
			"10|active|$far|$old|group_2_bot_d4e5f6|group bot|active|f",
			"11|active||$old|service_account_deploy|service account|active|f",
			"14|active|$far|$old||unknown|unknown|f",
			"15|active|$far|$old||unknown|unknown|f",
			"16|active|$far|$old|bob|user|blocked|t",
			'17|active|7|1|alice|user|active|f',
			'18|active|8|1|alice|user|active|f',
			'19|active|30|1|service_account_deploy|service account|active|f',
			'20|active|91|91|alice|user|active|f',
			'21|expired|||erin|user|locked|f',
			'22|active|120|200|carol|user|deactivated|t',
			'23|active|120|1|erin|user|locked|t'),
		'the inventory has all tokens with their owners');
	# active, expired, revoked, expiring within 7, 30 and 90 days, without expiry,
	# of inactive owners, not used for more than 90 days
	is(sql('TABLE gitlab_dashboard.summary ORDER BY owner_kind'),
		join("\n",
			'administrator|2|0|0|0|0|0|0|0|2',
			'group bot|1|0|0|0|0|0|0|0|1',
			'project bot|1|0|0|0|0|0|0|0|1',
			'service account|2|0|0|0|1|1|1|0|1',
			'unknown|2|0|0|0|0|0|0|0|2',
			'user|12|2|1|1|2|2|1|3|9'),
		'the summary has the right numbers');
	is(sql(q{SELECT owner_kind, tokens FROM gitlab_dashboard.scopes WHERE scope = 'api' ORDER BY 1}),
		"administrator|2\nservice account|1\nunknown|1\nuser|4", 'the view of scopes has the right numbers');
	is( sql(q{
			SELECT id, name, scopes, expires_at, days_left, sees_all_tokens, server_name, url, which
			FROM gitlab_dashboard.credential}),
		"1|administrator|{api,admin_mode,sudo}|2099-12-31|$far|t|gitlab|" . $sim->url . '|',
		'the view of the credential shows it');
	is(sql('SELECT count(*) FROM gitlab_dashboard.jobs'), 0, 'the view of jobs is empty without pg_cron');
	return;
}

# --- what it costs ------------------------------------------------------------

# The requests of a statement, without what differs in lists.
sub requests_of
{
	my ($statement) = @_;

	$sim->clear_journal;
	sql($statement);
	return join ', ', sort map { "$_->{method} " . $_->{path} =~ s{^/api/v4}{}r
		  =~ s/[?&](?:pagination|order_by|sort|per_page|page)=[^&]*//gr } $sim->journal;
}

sub test_requests
{
	is(requests_of('CALL gitlab_dashboard.refresh()'),
		'GET /personal_access_tokens, GET /personal_access_tokens/self, '
		  . 'GET /personal_access_tokens?user_id=0, GET /users',
		'a refresh: a list of tokens, the credential and what it sees, a list of users');
	is( noted('error, requests, retries, rate_limited, errors, rate_limit_remaining, bytes_received > 5000, '
			  . 'wait_ms > 0, started_at < finished_at'),
		'|4|0|0|0||t|t|t', 'the refresh notes its requests');
	is(requests_of(join ';', map { "SELECT * FROM $_" } @readable), '', 'the views ask for nothing');

	# The second one of a session counts only what is its own.
	sql('CALL gitlab_dashboard.refresh(); CALL gitlab_dashboard.refresh()');
	is(noted('requests, errors'), '4|0', 'the counters of a refresh are those of one refresh');

	# 274 tokens are three pages, and one request more because there are several;
	# 160 users are two pages.
	$sim->control('POST', 'reset', undef, { tokens => 258, users => 150 });
	my $counted = () = requests_of('CALL gitlab_dashboard.refresh()') =~ /GET/g;
	is($counted, 2 + 4 + 2, 'long lists take a request for each hundred rows, and that of tokens one more');
	is(noted('requests'), 8, 'the refresh notes its requests');
	is(sql('SELECT sum(active + expired + revoked) FROM gitlab_dashboard.summary'), 274,
		'the views show all rows of long lists');

	# as it says in the document
	$sim->control('POST', 'reset', undef, { tokens => 9_984, users => 490 });
	sql('CALL gitlab_dashboard.refresh()');
	is(noted('requests, error'), '108|', 'a refresh reads 10,000 tokens and 500 users');
	$sim->control('POST', 'reset', undef, { tokens => 258, users => 150 });

	$sim->control('POST', 'settings', undef, { rate_limit => { limit => 2000, period => 60 } });
	sql('CALL gitlab_dashboard.refresh()');
	is(noted('rate_limit_remaining BETWEEN 1900 AND 1999, rate_limit_reset > now() - interval \'1 minute\''),
		't|t', 'what is left of the rate limit is noted');
	return;
}

# --- what is remembered -------------------------------------------------------

sub test_history
{
	is( sql(q{SELECT day, owner_kind, active FROM gitlab_dashboard.history ORDER BY day, owner_kind}),
		sql(q{
			SELECT (now() AT TIME ZONE 'UTC')::date, owner_kind, active
			FROM gitlab_dashboard.summary ORDER BY owner_kind}),
		'a day has one snapshot, its last');
	sql(q{UPDATE gitlab_dashboard.history SET day = day - 1});
	$sim->control('POST', 'tokens', undef,
		{ name => 'more', user_id => 2, scopes => ['api'], expires_at => day(3) });
	sql('CALL gitlab_dashboard.refresh()');
	is( sql(q{
			SELECT t.active - y.active, t.expiring_7 - y.expiring_7
			FROM gitlab_dashboard.history t JOIN gitlab_dashboard.history y USING (owner_kind)
			WHERE t.day = y.day + 1 AND owner_kind = 'user'}),
		'1|1', 'the next day has one snapshot');
	return;
}

# --- failures -----------------------------------------------------------------

sub test_failures
{
	my $refresh = 'CALL gitlab_dashboard.refresh()';
	my $shown = sql('SELECT count(*), max(id) FROM gitlab_dashboard.tokens');
	my ($result, $out, $err);

	$sim->fault('GET', '/users\?', 'status', status => 418, times => 0);
	($result, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$refresh");
	like($err, qr/ERROR:  HV000: could not .*\nDETAIL:  GitLab gave no reason .*shown before is still there/,
		'a refresh that fails says why');
	like(noted('sqlstate, error, requests, errors'), qr/^HV000\|could not [^|]*\|\d+\|1$/, 'the failed refresh is noted');
	is(sql('SELECT count(*), max(id) FROM gitlab_dashboard.tokens'), $shown, 'a failed refresh leaves the views as they were');
	$sim->clear_faults;

	$sim->fault('GET', 'tokens/self', 'status', status => 401, times => 0);
	($result, $out, $err) = $node->psql('postgres', $refresh);
	like(noted('sqlstate, requests, errors'), qr/^28000\|(\d)\|\1$/,
		'a credential that GitLab refuses is found out before anything else is asked for');
	$sim->clear_faults;

	$sim->fault('GET', 'tokens\?', 'stall', times => 0);
	$sim->clear_journal;
	my $session = Session->open($node);

	$session->send($refresh);
	$sim->wait_for('GET', 'tokens\?');
	sql('SELECT pg_cancel_backend(' . $session->pid . ')');
	($out, $err) = $session->finish;
	$session->close;
	like($err, qr/57014/, 'a refresh that is canceled is an error');
	is(noted('sqlstate'), '57014', 'a refresh that is canceled is noted');
	$sim->clear_faults;

	($result, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN;\n$refresh;");
	like($err, qr/ERROR:  2D000:/, 'a refresh inside of a transaction block is refused');

	sql($refresh);
	is(noted('sqlstate, errors'), '|0', 'a refresh works after failed ones');
	return;
}

# REFRESH without CONCURRENTLY would wait for whoever reads.
sub test_readers_are_not_blocked
{
	my $session = Session->open($node);

	$session->query(q{
		BEGIN;
		SELECT count(*) FROM gitlab_dashboard.tokens;
		SELECT count(*) FROM gitlab_dashboard.credential});
	is(($node->psql('postgres', q{SET lock_timeout = '10s'; CALL gitlab_dashboard.refresh()}))[0], 0,
		'a refresh does not wait for readers');
	$session->close;
	is( sql(q{
			SELECT count(*) FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
			WHERE c.relkind = 'm' AND c.relnamespace = 'gitlab_dashboard'::regnamespace AND i.indisunique}),
		2, 'each materialized view has a unique index');
	return;
}

# --- who may read them --------------------------------------------------------

sub test_privileges
{
	my $as_reader = "SET ROLE $reader;";
	my %forbidden = (
		'the foreign tables' => [ map { "SELECT * FROM $_" } qw(gitlab_personal_access_tokens gitlab_users) ],
		'materialized views' => [ map { "SELECT * FROM gitlab_dashboard.fetched_$_" } qw(tokens credential) ],
		'user mappings' => ['SELECT umoptions FROM pg_user_mapping'],
		'functions that ask GitLab' => [ q{SELECT * FROM gitlab_pat_self('gitlab')},
			q{CALL gitlab_pat_rotate_self('gitlab')}, 'CALL gitlab_dashboard.refresh()' ],
		'making foreign tables' => ['CREATE FOREIGN TABLE pg_temp.t (id bigint) SERVER gitlab'],
		'changing what is remembered' => [ 'DELETE FROM gitlab_dashboard.history',
			'INSERT INTO gitlab_dashboard.refreshes DEFAULT VALUES', 'CREATE TABLE gitlab_dashboard.x ()' ]);

	is(sql("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = '$reader'"), 'f|f',
		'the reader is a plain role');
	cmp_ok(sql("$as_reader SELECT count(*) FROM $_"), '>=', $_ =~ /jobs|leftovers|rotations/ ? 0 : 1, "the reader reads $_")
	  foreach @readable;
	foreach my $what (sort keys %forbidden)
	{
		foreach my $statement (@{ $forbidden{$what} })
		{
			my ($result, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$as_reader\n$statement");

			like($err, qr/ERROR:  42501/, "the reader may not $what: $statement");
		}
	}
	is( sql(qq{
			$as_reader
			SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL}),
		0, 'no option of a user mapping is shown');
	is( sql(qq{
			SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY c.relname) FROM pg_class c
			WHERE c.relnamespace <> 'pg_catalog'::regnamespace
				AND c.relnamespace <> 'information_schema'::regnamespace AND relkind IN ('r', 'v', 'm', 'f', 'p')
				AND has_table_privilege('$reader', c.oid, 'SELECT')}),
		join(' ', sort @readable), 'nothing else is readable');
	return;
}

# What the log of gitlab_pat_rotate_due() says of tokens that are still active, with
# and without the column for an overlap; and the history of an older installation.
sub test_leftovers
{
	my $log = q{
		CREATE TABLE "Log" (at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
			outcome text, message text);
		INSERT INTO "Log" SELECT now() - interval '1 day', 'alice', 'any', old_id, new_id, outcome
			-- still active; revoked; created by a failed rotation; later in place; not begun
			FROM (VALUES (2, 900, 'rotated'), (6, 901, 'rotated'), (NULL, 3, 'failed'), (NULL, 4, 'failed'),
				(8, NULL, 'due')) v (old_id, new_id, outcome);
		INSERT INTO "Log" VALUES (now(), 'alice', 'any', 902, 4, 'rotated');};
	my $leftovers = q{SELECT id, username, reason FROM gitlab_dashboard.leftovers ORDER BY id};

	is(sql($leftovers), '', 'nothing is left over where there is no log');
	sql($log);
	sql('ALTER TABLE gitlab_dashboard.history RENAME owner_inactive TO owner_dead');
	my $days = sql('SELECT count(*) FROM gitlab_dashboard.history');
	run_script($node, 'dashboards/install.sql', rotations => '"Log"');
	is(sql($leftovers), "2|alice|replaced\n3|alice|rotation failed", 'the log says which tokens are left over');
	is(sql('SELECT owner, token_name, is_failing FROM gitlab_dashboard.rotations'), 'alice|any|f', 'a token that was delivered since it failed is not failing');
	sql(q{INSERT INTO "Log" VALUES (now() + interval '1 second', 'alice', 'any', 4, NULL, 'failed')});
	is(sql('SELECT owner, token_name, is_failing FROM gitlab_dashboard.rotations'), 'alice|any|t', 'a token that has failed lately is failing');
	sql(q{INSERT INTO "Log" VALUES (now() + interval '2 seconds', 'alice', 'any', 4, NULL, 'well')});
	is(sql('SELECT owner, token_name, is_failing FROM gitlab_dashboard.rotations'), 'alice|any|f', 'a token that a run has found well since it failed is not failing');
	is(sql('SELECT count(owner_inactive) FROM gitlab_dashboard.history'), $days,
		'the history of an older installation is kept');
	sql(q{ALTER TABLE "Log" ADD revoke_after timestamptz; UPDATE "Log" SET revoke_after = now() + interval '1 hour' WHERE old_id = 2});
	is(sql($leftovers), '3|alice|rotation failed', 'an overlap that was asked for is no leftover');
	run_script($node, 'dashboards/install.sql');
	sql('DROP TABLE "Log"');
	return;
}

# Two jobs with a log each, of which one has the column token_container.
sub test_rotations
{
	my $state = q{SELECT log, token_container, owner, token_name, is_failing FROM gitlab_dashboard.rotations ORDER BY 1, 2, 3};

	sql(q{
		CREATE TABLE "Log" (at timestamptz, owner text, token_name text, old_id bigint, new_id bigint,
			outcome text, message text);
		CREATE SCHEMA jobs;
		CREATE TABLE jobs.log (at timestamptz, owner text, token_name text, token_container text, old_id bigint,
			new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz);
		INSERT INTO "Log" VALUES (now() - interval '1 hour', 'alice', 'any', NULL, NULL, 'failed'),
			(now(), 'alice', 'any', 2, 3, 'rotated');
		INSERT INTO jobs.log VALUES
			(now() - interval '1 hour', '', 'deploy', 'acme/app', NULL, NULL, 'failed'),
			(now(), '', 'deploy', 'acme/web', 9, 10, 'rotated'),
			(now() - interval '1 hour', 'alice', 'any', 'acme', 8, NULL, 'failed')});
	run_script($node, 'dashboards/install.sql', rotations => '"Log", jobs.log');
	is(sql($state), join("\n", '"Log"||alice|any|f', 'jobs.log|acme|alice|any|t', 'jobs.log|acme/app||deploy|t',
			'jobs.log|acme/web||deploy|f'),
		'a success in one container or log does not hide a failure in another');
	sql(q{INSERT INTO jobs.log VALUES (now(), 'alice', 'any', 'acme', 8, NULL, 'well')});
	is(sql(q{SELECT count(*) FROM gitlab_dashboard.rotations WHERE is_failing}), 1,
		'a token that a later run has found well is not failing');
	is(sql(q{SELECT id, reason FROM gitlab_dashboard.leftovers ORDER BY id}), "2|replaced\n9|replaced",
		'each log says which tokens are left over');
	run_script($node, 'dashboards/install.sql');
	sql('DROP TABLE "Log"; DROP SCHEMA jobs CASCADE');
	return;
}

# The most days between two runs of a job of pg_cron.
sub test_schedules
{
	my %days = ('0 4 * * *' => 1, '*/5 * * * *' => 1, '30 seconds' => 1, '@daily' => 1, '0 6 * * 1' => 7, '0 6 * * mon' => 7,
		'0 6 * * 1-5' => 3, '0 6 * * 0,7' => 7, '0 3 1 * *' => 31, '0 3 1,15 * *' => 17, '0 3 */2 * *' => 2, '0 3 $ * *' => 31,
		'0 3 1 * 1' => 7, '0 0 1 1 *' => 366, '0 0 1 jan-mar *' => 306, '@weekly' => 7, '@monthly' => 31, '@reboot' => '',
		'0 4' => '', 'x x x x x' => '');

	is(sql("SELECT gitlab_dashboard.schedule_days('$_')"), $days{$_}, "the longest wait of the schedule \"$_\" is known")
	  foreach sort keys %days;
	return;
}

# Everything under other names, for somebody who is no superuser.
sub test_variables
{
	my $document = slurp_file("$FindBin::RealBin/../doc/dashboards.md");

	is(join(' ', grep { $document !~ /^\| `$_` \|/m } map { s/.*\.//r } @readable), '',
		'the document has all views');
	# the role that it makes can read them
	my ($role) = $document =~ /^```sql\n(.*?)^```/ms;
	$node->safe_psql('postgres', $role);
	cmp_ok(sql('SET ROLE grafana; SELECT count(*) FROM gitlab_dashboard.tokens'), '>', 0,
		'a member of the reader can read');
	$node->safe_psql('postgres', q{
		CREATE SCHEMA "Elsewhere";
		ALTER FOREIGN TABLE gitlab_users SET SCHEMA "Elsewhere";
		ALTER FOREIGN TABLE gitlab_personal_access_tokens SET SCHEMA "Elsewhere";
		ALTER SERVER gitlab RENAME TO "other's"});
	$sim->clear_journal;
	run_script($node, 'dashboards/install.sql', server => "other's", tables => 'Elsewhere', which => 'active',
		reader => 'Some one');
	is($sim->count(path => '/personal_access_tokens\?.*state=active'), 3, 'tokens can be left out');
	is(sql(q{SELECT sum(expired + revoked) FROM gitlab_dashboard.summary}), 0, 'tokens that are left out are not shown');
	is(sql(q{SELECT which FROM gitlab_dashboard.credential}), 'active', 'the view of the credential says which tokens are shown');
	is(sql(q{SET ROLE "Some one"; SELECT server_name FROM gitlab_dashboard.credential}), "other's",
		'the server, the schema and the reader have other names');
	is(sql('SELECT count(DISTINCT day) FROM gitlab_dashboard.history'), 2, 'the history is kept');

	sql(q{
		DROP SCHEMA gitlab_dashboard CASCADE;
		CREATE ROLE owner LOGIN CREATEROLE;
		GRANT CREATE ON DATABASE postgres TO owner;
		GRANT USAGE ON FOREIGN SERVER "other's" TO owner;
		CREATE USER MAPPING FOR owner SERVER "other's" OPTIONS (token 'glpat-sim-admin');
		GRANT USAGE ON SCHEMA "Elsewhere" TO owner;
		GRANT SELECT ON ALL TABLES IN SCHEMA "Elsewhere" TO owner});
	run_script($node, 'dashboards/install.sql', USER => 'owner', server => "other's", tables => 'Elsewhere',
		reader => 'another');
	is(sql(q{SET ROLE another; SELECT count(*) FROM gitlab_dashboard.tokens}), 275,
		'a role that is no superuser can set up the dashboards');
	return;
}

# An Owner of a group, who is no administrator.
sub test_group
{
	my $other = gitlab_cluster('group', $sim);

	$sim->clear_faults;
	$sim->reset;
	$other->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice')});
	my %account = map {
		my $answer = HTTP::Tiny->new(no_proxy => ['127.0.0.1'])->post($sim->url . "/api/v4/$_/service_accounts",
			{ headers => { 'PRIVATE-TOKEN' => 'glpat-sim-admin' } });
		my $account = JSON::PP::decode_json($answer->{content});
		my $token = $sim->control('POST', 'tokens', undef,
			{ name => 'of account', user_id => $account->{id}, scopes => ['api'], expires_at => day(9) });

		($_ => "$token->{id}|active|$account->{username}|service account|unknown|")
	} 'groups/acme%2Finfra', 'projects/acme%2Fapp';
	$sim->clear_journal;
	run_script($other, 'dashboards/install.sql', group => 'acme');
	is( $other->safe_psql('postgres', q{
			SELECT id, state, username, owner_kind, owner_state, container, access_level
			FROM gitlab_dashboard.tokens ORDER BY id}),
		join("\n",
			'9|active|bot of acme/app|project bot|unknown|acme/app|30',
			'10|active|bot of acme/infra|group bot|unknown|acme/infra|40',
			'11|active|service_account_deploy|service account|unknown|acme|',
			$account{'groups/acme%2Finfra'} . 'acme/infra|', $account{'projects/acme%2Fapp'} . 'acme/app|'),
		"the tokens of a group, its subgroups, its projects and all their service accounts are shown to the group's Owner");
	is($other->safe_psql('postgres', 'SELECT of_group, of_accounts, sees_all_tokens FROM gitlab_dashboard.credential'), 'acme|all|f',
		'the view of the credential says of which group and of which service accounts');
	my ($of_project) = $account{'projects/acme%2Fapp'} =~ /^(\d+)/;
	foreach ([ group => '9 10 11', 0 ], [ projects => "9 10 $of_project", 2 ], [ none => '9 10', 0 ])
	{
		my ($accounts, $ids, $asked) = @$_;

		$sim->clear_journal;
		run_script($other, 'dashboards/install.sql', group => 'acme', accounts => $accounts);
		is($other->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM gitlab_dashboard.tokens}), $ids,
			"-v accounts=$accounts leaves out other service accounts");
		is($sim->count(path => '/projects/[^/]*/service_accounts\?'), $asked, "with -v accounts=$accounts, a refresh asks $asked projects for their service accounts");
	}
	is($sim->count(path => '/users\?'), 0, 'nobody is asked for the users');
	return;
}
