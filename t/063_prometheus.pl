# The metrics for Prometheus: scraped from the real exporter, checked as Prometheus
# wants them, and followed up to the alerts of a real Prometheus.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Daemon;
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = "$FindBin::RealBin/../dashboards/prometheus";
my @counters = map { "gitlab_pat_api_${_}_total" }
  qw(errors rate_limited received_bytes requests retries wait_seconds);
my @gauges = (
	'gitlab_pat_attention_failing_rotation_tokens', 'gitlab_pat_attention_inactive_owner_tokens', 'gitlab_pat_attention_leftover_tokens', 'gitlab_pat_attention_unused_tokens',
	'gitlab_pat_attention_without_expiry_tokens', 'gitlab_pat_credential_expiry_timestamp_seconds',
	'gitlab_pat_credential_sees_all_tokens', 'gitlab_pat_cron_job_due_timestamp_seconds', 'gitlab_pat_cron_job_last_run_failed',
	'gitlab_pat_cron_job_last_run_timestamp_seconds', 'gitlab_pat_cron_job_last_success_timestamp_seconds', 'gitlab_pat_expiring_tokens',
	'gitlab_pat_rate_limit_remaining_requests', 'gitlab_pat_rate_limit_reset_timestamp_seconds',
	'gitlab_pat_refresh_last_duration_seconds', 'gitlab_pat_refresh_last_failed',
	'gitlab_pat_refresh_last_success_timestamp_seconds', 'gitlab_pat_scope_tokens', 'gitlab_pat_tokens');

# by mtail, out of the log
my @logged = qw(gitlab_pat_log_last_warning_timestamp_seconds gitlab_pat_log_warnings_total);

my $http = HTTP::Tiny->new(timeout => 30, proxy => undef, http_proxy => undef);
my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim,
	conf => "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\n"
	  . "log_line_prefix = '%m [%p] %q%u@%d %e '\n",
	server_options => "max_retries '0'");

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	SELECT cron.schedule('a "quoted\ job', '0 0 1 1 *', 'SELECT 1/0');
	SELECT cron.schedule('rotate own token', '0 3 1 * *', 'CALL gitlab_pat_rotate_self(''gitlab'')');});
run_script($node, 'dashboards/install.sql');
$node->safe_psql('postgres', 'CREATE ROLE exporter LOGIN IN ROLE gitlab_dashboard_reader');

my $exporter = start_exporter();

test_names();
test_values();
test_trouble();
test_overdue_jobs();
test_cardinality();
test_log();
test_rules();
test_alerts();
is_alive($node);
done_testing();

sub sql { return $node->safe_psql('postgres', $_[0]) }

# GitLab tells of its rate limit only if there is one.
sub limit_rate
{
	$sim->control('POST', 'settings', undef, { rate_limit => { limit => 2000, period => 60 } });
	return;
}

# --- scraping -----------------------------------------------------------------

# As it would be installed, but for the port and for the metrics of its own.
sub start_exporter
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	local $ENV{DATA_SOURCE_NAME} = join ' ', 'user=exporter', 'dbname=postgres', 'sslmode=disable',
	  'host=' . $node->host, 'port=' . $node->port;

	return Daemon->launch($port, 'prometheus-postgres-exporter', "--web.listen-address=127.0.0.1:$port",
		"--extend.query-path=$directory/queries.yml", '--disable-default-metrics');
}

# What is told of us, as text.
sub scrape
{
	my $answer = $http->get("http://127.0.0.1:$exporter->{port}/metrics");

	die "no metrics: $answer->{status} $answer->{content}" unless $answer->{success};
	like($answer->{content}, qr/^pg_exporter_last_scrape_error(?:\{\})? 0$/m, 'the exporter has no error');
	unlike($answer->{content}, qr/^pg_exporter_user_queries_load_error\{.*\} 1$/m,
		'the exporter could read the queries');
	return join '', grep { /^(?:# (?:HELP|TYPE) )?gitlab_pat_/ } split /^/m, $answer->{content};
}

# By name and labels: the value.  The exporter adds the server as a label.
sub samples
{
	my ($text) = @_;
	my %samples;

	foreach my $line (grep { !/^#/ } split /\n/, $text)
	{
		my ($name, $labels, $value) = $line =~ /^(\w+)\{(.*)\} (\S+)$/ or die "no sample: $line";

		$labels =~ s/,?server="[^"]*"//;
		$labels =~ s/^,//;
		$samples{ $name . ($labels eq '' ? '' : "{$labels}") } = $value;
	}
	return %samples;
}

# --- what is to be seen -------------------------------------------------------

# Every metric, with its type and a description, and as Prometheus's own linter
# wants them.  Two come with the rate limit, three with the first run of a job.
sub test_names
{
	my $text = scrape();
	my %type = $text =~ /^# TYPE (\S+) (\S+)$/mg;
	my %help = $text =~ /^# HELP (\S+) (.+)$/mg;
	my ($out, $err) = ('', '');

	unlike($text, qr/gitlab_pat_(?:rate_limit|cron_job_last)_/, 'what is not known is not told');
	limit_rate();
	sql(q{
		CALL gitlab_dashboard.refresh();
		INSERT INTO cron.job_run_details (jobid, runid, database, status, start_time, end_time)
			SELECT jobid, 1, database, 'succeeded', now(), now() FROM cron.job WHERE jobname LIKE 'a %'});
	$sim->clear_journal;
	$text = scrape();
	%type = $text =~ /^# TYPE (\S+) (\S+)$/mg;
	%help = $text =~ /^# HELP (\S+) (.+)$/mg;
	is(join(' ', map { "$_ $type{$_}" } sort keys %type),
		join(' ', sort((map { "$_ counter" } @counters), (map { "$_ gauge" } @gauges))),
		'the exporter has all metrics, with their types');
	is(join(' ', sort keys %help), join(' ', sort @counters, @gauges), 'all metrics have descriptions');
	is(scalar(grep { !/^[A-Z].*\.$/ } values %help), 0, 'all descriptions are sentences');
	IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>', \$out, '2>', \$err);
	is("$out$err", '', 'Prometheus has no objection to the metrics');
	is($sim->count, 0, 'a scrape asks nothing of GitLab');
	return;
}

# The number of tokens that expire within so many days, of whatever kind.
sub expiring
{
	my ($days, %samples) = @_;
	my $sum = 0;

	$sum += $samples{$_} foreach grep { /^gitlab_pat_expiring_tokens\{.*within_days="$days"/ } keys %samples;
	return $sum;
}

# As the views have them.
sub test_values
{
	my %samples = samples(scrape());
	my %expected = split /[|\n]/, sql(q{
		SELECT format('gitlab_pat_tokens{owner_kind="%s",state="%s"}', owner_kind, state), tokens
			FROM gitlab_dashboard.summary, LATERAL (VALUES ('active', active), ('expired', expired),
				('revoked', revoked)) v (state, tokens)
		UNION ALL SELECT format('gitlab_pat_scope_tokens{scope="%s"}', scope), sum(tokens)
			FROM gitlab_dashboard.scopes GROUP BY scope});

	is($samples{'gitlab_pat_tokens{owner_kind="user",state="active"}'}, 7, 'tokens are counted by state and kind of owner');
	is($samples{'gitlab_pat_scope_tokens{scope="api"}'}, 7, 'tokens are counted by scope');
	is(join("\n", map { "$_ $samples{$_}" } sort grep { /_(?:scope|pat)_tokens/ } keys %samples),
		join("\n", map { "$_ $expected{$_}" } sort keys %expected), 'all scopes are counted');
	is(expiring($_, %samples), 0, "tokens that expire within $_ days are counted") foreach 7, 30, 90;
	is($samples{gitlab_pat_attention_leftover_tokens}, 0, 'leftovers of rotations are counted');
	is($samples{gitlab_pat_attention_without_expiry_tokens}, 2, 'tokens without expiry are counted');
	is($samples{gitlab_pat_attention_inactive_owner_tokens}, 1, 'tokens of inactive owners are counted');
	is($samples{gitlab_pat_attention_unused_tokens}, 14, 'unused tokens are counted');
	# 2099-12-31
	is(0 + $samples{gitlab_pat_credential_expiry_timestamp_seconds}, 4102358400, 'a metric says when the credential expires');
	is($samples{gitlab_pat_credential_sees_all_tokens}, 1, 'a metric says that the credential sees everything');
	is($samples{gitlab_pat_refresh_last_failed}, 0, 'a metric says that the last refresh was well');
	cmp_ok(abs($samples{gitlab_pat_refresh_last_success_timestamp_seconds} - time), '<', 300, 'a metric says that the last refresh is recent');
	is($samples{gitlab_pat_api_requests_total}, sql('SELECT sum(requests) FROM gitlab_dashboard.refreshes'),
		'the requests of both refreshes are counted');
	is($samples{gitlab_pat_api_errors_total}, 0, 'no errors are counted');
	is($samples{gitlab_pat_rate_limit_remaining_requests},
		sql('SELECT rate_limit_remaining FROM gitlab_dashboard.refreshes ORDER BY id DESC LIMIT 1'),
		'a metric has what is left of the rate limit');
	is($samples{'gitlab_pat_cron_job_last_run_failed{job_name="a \\"quoted\\\\ job"}'}, 0, 'a job that was well')
	  or diag join "\n", sort keys %samples;
	return;
}

# The same when nothing is well.
sub test_trouble
{
	my $soon = strftime('%Y-%m-%d', gmtime(time + 3 * 86400));

	$sim->control('PATCH', "tokens/$_", undef, { expires_at => $soon }) foreach 1, 2, 3;
	$sim->control('PATCH', 'tokens/2', undef, { last_used_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - 86400)) });
	sql(q{
		CALL gitlab_dashboard.refresh();
		UPDATE gitlab_dashboard.refreshes SET started_at = started_at - interval '4 hours',
			finished_at = finished_at - interval '4 hours';
		INSERT INTO cron.job_run_details (jobid, runid, database, status, start_time, end_time)
			SELECT jobid, 2, database, 'failed', now(), now() FROM cron.job WHERE jobname LIKE 'a %'});
	$sim->fault('GET', '/users\?', 'status', status => 418);
	$node->psql('postgres', 'CALL gitlab_dashboard.refresh()');

	my %samples = samples(scrape());
	is(expiring(7, %samples), 3, 'tokens that expire soon are counted after a change');
	is($samples{'gitlab_pat_expiring_tokens{owner_kind="user",used_lately="true",within_days="7"}'}, 1,
		'tokens that expire soon and were used lately are counted by the kind of their owner');
	is($samples{gitlab_pat_refresh_last_failed}, 1, 'a refresh that failed is seen');
	cmp_ok(time - $samples{gitlab_pat_refresh_last_success_timestamp_seconds}, '>', 3 * 3600,
		'a failed refresh leaves the last success old');
	is($samples{gitlab_pat_api_errors_total}, 1, 'a failed refresh counts as an error');
	is($samples{'gitlab_pat_cron_job_last_run_failed{job_name="a \\"quoted\\\\ job"}'}, 1, 'a job that failed is counted');
	$sim->control('PATCH', 'tokens/1', undef, { expires_at => undef });
	return;
}

# When a job is overdue depends on its schedule, and on when it was first seen.
sub test_overdue_jobs
{
	my $days = sub {
		my ($name) = @_;
		my %samples = samples(scrape());
		my $due = $samples{qq{gitlab_pat_cron_job_due_timestamp_seconds{job_name="$name"}}};

		return defined $due ? sprintf('%.0f', ($due - time) / 86400) : 'none';
	};

	is($days->('a \\"quoted\\\\ job'), 'none', 'jobs of others have no metric for when they are due');
	is($days->('rotate own token'), 32, 'a monthly job that has never run is due a month and a day after it was seen');
	sql(q{
		SELECT cron.schedule('gitlab: apply declared tokens', '15 4 * * *', 'CALL gitlab_jobs.apply_declared_tokens()');
		SELECT cron.alter_job(cron.schedule('weekly', '0 4 * * 1', 'CALL gitlab_pat_rotate_due(''a'', ''b'')'), active => false)});
	is($days->('weekly'), 'none', 'a new job is not overdue before a refresh has seen it');
	sql(q{CALL gitlab_dashboard.refresh();
		INSERT INTO cron.job_run_details (jobid, runid, database, status, start_time, end_time)
			SELECT jobid, 3, database, 'succeeded', now(), now() - interval '3 days' FROM cron.job WHERE jobname LIKE 'gitlab: apply%'});
	is($days->('gitlab: apply declared tokens'), -1, 'a nightly job is overdue two days after its last success');
	is($days->('weekly'), 8, 'a job that is disabled is due by its schedule');
	sql(q{CALL gitlab_dashboard.refresh(); DELETE FROM cron.job_run_details WHERE runid = 3});
	is($days->('gitlab: apply declared tokens'), -1, 'the last success of a job is known after its runs were deleted');
	is(sql(q{SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM gitlab_dashboard.jobs WHERE due_at < now()}),
		'gitlab: apply declared tokens', 'the view has the jobs that are overdue');
	is(sql('SELECT count(*) FROM gitlab_dashboard.jobs WHERE rotates'), 3, 'the view knows which jobs rotate tokens');
	sql(q{SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'weekly' OR jobname LIKE 'gitlab: %'});
	return;
}

# Many more tokens of many more owners make no more series.
sub test_cardinality
{
	my %before = samples(scrape());
	my %labels;

	$sim->control('POST', 'reset', undef, { tokens => 400, users => 200 });
	limit_rate();
	sql('CALL gitlab_dashboard.refresh()');
	my %after = samples(scrape());
	is(join("\n", grep { !/scope="\w+"/ } sort keys %after),
		join("\n", grep { !/scope="\w+"/ } sort keys %before), '400 tokens more make no more series');
	is(join(' ', grep { !exists $before{$_} } sort keys %after),
		'gitlab_pat_scope_tokens{scope="write_repository"}', 'a new scope makes one more series');
	@labels{ /([a-z_]+)=/g } = () foreach keys %after;
	is(join(' ', sort keys %labels), 'job_name owner_kind scope state used_lately within_days',
		'no label names a token or an owner');
	return;
}

# --- alerts -------------------------------------------------------------------

sub promtool
{
	my ($what, @arguments) = @_;
	my $out = '';

	chdir $directory or die "chdir: $!";
	ok(IPC::Run::run([ 'promtool', @arguments ], '>', \$out, '2>&1'), $what) or diag $out;
	return;
}

# The WARNINGs of a job, which reach nobody but the log, are counted by kinds,
# however the log is written.
sub test_log
{
	my $offset = -s $node->logfile;
	my $revoke = q{UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 90
		WHERE id = 2 RETURNING length(token)};

	$sim->reset;
	$sim->fault('DELETE', 'tokens/2$', 'status', status => 403);
	sql($revoke);
	sql(q{INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}')});
	sql(q{SET log_error_verbosity = verbose;
		INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'x', '{api}')});

	my ($out, $err);
	my $programs = PostgreSQL::Test::Utils::tempdir();
	append_to_file("$programs/log.mtail", slurp_file("$directory/log.mtail"));
	append_to_file("$programs/log", slurp_file($node->logfile, $offset)
		  # without %e, csvlog, jsonlog; and lines that are no warnings
		  . qq{2026-11-29 09:00:00 UTC WARNING:  01L06: the rotation\n}
		  . qq{2026-11-29 09:00:00 UTC,"postgres","x",1,,0,WARNING,01L07,"may have"\n}
		  . qq({"error_severity":"WARNING","state_code":"01L08","message":"could not"}\n)
		  . qq{2026-11-29 09:00:00 UTC LOG:  statement: SELECT '01L09'\n});
	IPC::Run::run([ 'mtail', '-progs', $programs, '-logs', "$programs/log",
			'-one_shot', '-one_shot_format', 'prometheus' ], '>', \$out, '2>', \$err)
	  or die "mtail failed: $err";
	my %counted = $out =~ /^gitlab_pat_log_warnings_total\{.*sqlstate="(\w+)"\} (\S+)$/mg;
	is_deeply(\%counted, { '01L01' => 2, '01L02' => 1, map { ($_ => 1) } qw(01L06 01L07 01L08) }, 'mtail counts the warnings in the log by SQLSTATE');
	like($out, qr/^gitlab_pat_log_last_warning_timestamp_seconds\{.*sqlstate="01L02"\} 1\.\d+e\+09$/m,
		'mtail knows when the last warning was');
	return;
}

sub test_rules
{
	my %known = map { $_ => 1 } @counters, @gauges, @logged;
	my $rules = slurp_file("$directory/alerts.yml");
	my @used = map { /(gitlab_pat_\w+)/g } $rules =~ /^ +expr: (.*?)(?=^ +(?:for|labels):)/msg;

	promtool('the rules are valid', 'check', 'rules', 'alerts.yml');
	promtool('the alerts come when they should', 'test', 'rules', 'alerts_test.yml');
	cmp_ok(scalar @used, '>=', 10, 'the rules of the alerts use metrics');
	is(join(' ', grep { !$known{$_} } @used), '', 'all metrics that the rules use exist');
	my $document = slurp_file("$FindBin::RealBin/../doc/dashboards.md");
	is(join(' ', grep { $document !~ /`$_`/ } @counters, @gauges, @logged, $rules =~ /alert: (\w+)/g), '',
		'the document has all metrics and alerts');
	my $tests = slurp_file("$directory/alerts_test.yml");
	is(join(' ', grep { $tests !~ /alertname: $_\n.*\n +- exp_labels/ } $rules =~ /alert: (\w+)/g), '',
		'each alert has been seen to come');
	return;
}

# A real Prometheus, which asks the real exporter.
sub test_alerts
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $config = PostgreSQL::Test::Utils::tempdir . '/prometheus.yml';
	my %alerts;

	$sim->control('POST', 'reset', undef, {});
	$sim->control('PATCH', "tokens/$_", undef, { expires_at => strftime('%Y-%m-%d', gmtime(time + 3 * 86400)),
			last_used_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - 86400)) }) foreach 1, 2;
	$sim->control('PATCH', 'tokens/3', undef, { expires_at => strftime('%Y-%m-%d', gmtime(time + 3 * 86400)) });
	sql(q{CALL gitlab_dashboard.refresh();
		UPDATE gitlab_dashboard.refreshes SET finished_at = finished_at - interval '4 hours'});
	append_to_file($config, join "\n", 'global:', '  scrape_interval: 5s', '  scrape_timeout: 5s',
		'  evaluation_interval: 1s', "rule_files: ['$directory/alerts.yml']", 'scrape_configs:',
		'  - job_name: postgres', '    static_configs:', "      - targets: ['127.0.0.1:$exporter->{port}']", '');
	promtool('the configuration of Prometheus is valid', 'check', 'config', $config);
	my $prometheus = Daemon->launch($port, 'prometheus', "--config.file=$config",
		'--storage.tsdb.path=' . PostgreSQL::Test::Utils::tempdir, "--web.listen-address=127.0.0.1:$port");

	wait_until('Prometheus has alerts', sub {
		my $answer = $http->get("http://127.0.0.1:$port/api/v1/alerts");

		return unless $answer->{success};
		my $data = JSON::PP::decode_json($answer->{content})->{data};
		%alerts = map { $_->{labels}{alertname} => $_ } grep { ($_->{labels}{owner_kind} // 'user') eq 'user' } @{ $data->{alerts} };
		return $alerts{GitLabRefreshStale} && $alerts{GitLabCronJobFailed};
	});
	is(join(' ', map { "$_ $alerts{$_}{state}" } grep { !/Missing/ } sort keys %alerts),
		'GitLabCredentialExpiresSoon firing GitLabCronJobFailed firing GitLabRefreshStale pending '
		  . 'GitLabTokensExpireSoon pending GitLabTokensOfInactiveOwners pending',
		'a real Prometheus raises the alerts');
	is($alerts{GitLabTokensExpireSoon}{annotations}{summary}, 'GitLab access tokens in use that expire within 7 days: 1 (user)',
		'the alerts say what is wrong, and leave out tokens that nobody uses');
	is($alerts{GitLabCronJobFailed}{annotations}{summary}, 'The last run of the job "a "quoted\\ job" has failed',
		'the alerts say where something is wrong');
	$prometheus->stop;
	return;
}
