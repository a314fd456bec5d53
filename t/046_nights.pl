# gitlab_pat_rotate_due() night after night, with faults and crashes between any two
# requests, with people who meddle by day and by night, and with time going on.
#
# A night that ended well was not broken: each place that can be read holds the
# secret of an active token of its name and owner that is not due.  After the faults
# have ended and people have brought back what only they can, a few nights repair
# the rest, and nothing is left over.
#
# However a night ends, the job revokes no token before its overlap ends, and none that
# people have made, unless it has replaced it.
#
# NIGHTS is the number of nights, NIGHTS_PARTS in how many clusters they go on side by
# side, because they mostly wait, and NIGHTS_SEED what those of the first cluster are
# drawn from.  NIGHTS_VERBOSE shows all nights.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use File::Path ();
use GitLabCluster;
use GitLabSim;
use IPC::Run ();
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep);

my $nights = $ENV{NIGHTS} // 100;
my $parts = $ENV{NIGHTS_PARTS} // 4;
my $seed = $ENV{NIGHTS_SEED} // 46;

# Runs this file once for each part, and tells what the tests of each have said.
sub run_parts
{
	my @run;

	foreach my $part (1 .. $parts)
	{
		my %run = (seed => $seed + $part - 1, out => '');
		# logs and data of its own
		my $directory = ($ENV{TESTDIR} // '.') . "/tmp_check/nights_$part";
		local %ENV = (%ENV, NIGHTS_PARTS => 1, NIGHTS_SEED => $run{seed}, NIGHTS => int(($nights + $parts - 1) / $parts),
			map { ($_ => $directory) } qw(TESTDIR TESTDATADIR TESTLOGDIR));

		File::Path::make_path($directory);
		$run{process} = IPC::Run::start([ $^X, (map { ('-I', $_) } @INC), $0 ], '<', \undef, '>&', \$run{out});
		push @run, \%run;
	}
	foreach my $run (@run)
	{
		my $well = $run->{process}->finish;

		note grep { /^# (?:NIGHTS|failed)/ } map { "$_\n" } split /\n/, $run->{out};
		ok(!$1, "seed $run->{seed}: $2") while $run->{out} =~ /^(not )?ok \d+ - (.*)/mg;
		ok($well, "seed $run->{seed}: all tests were run") or diag $run->{out};
	}
	done_testing();
	exit;
}

run_parts() if $parts > 1;

my $verbose = $ENV{NIGHTS_VERBOSE};
my $days = 14;
my $day = 0;	# how far GitLab's clock has been moved

note "NIGHTS_SEED=$seed NIGHTS=$nights";
srand $seed;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, conf => "log_min_messages = fatal\nrestart_after_crash = on\n",
	server_options => q{max_retries '1', max_retry_wait '20ms', request_timeout '250ms', rollback_timeout '500ms'});

# The jobs, with the foreign table of their tokens.
my %job = (
	plain => 'gitlab_personal_access_tokens',
	native => 'native_tokens',
	accounts => 'gitlab_group_service_account_tokens',
	bots => 'gitlab_project_access_tokens');

# The tokens that are delivered: by which job, whose, and where.
my %token = (
	one => { job => 'plain', places => [ [ 'project', 'acme/app', 'ONE' ] ] },
	two => { job => 'plain', places => [ [ 'project', 'acme/app', 'TWO' ], [ 'group', 'acme', 'TWO' ] ] },
	many => { job => 'plain', places => [ map { [ 'project', 'acme/web', "MANY_$_" ] } 1 .. 4 ] },
	hidden => { job => 'plain', places => [ [ 'project', 'acme/app', 'HIDDEN' ], [ 'project', 'acme/web', 'SHOWN' ] ] },
	kept => { job => 'plain', keep_old => '4 days', places => [ [ 'project', 'acme/app', 'KEPT' ] ] },
	native => { job => 'native', places => [ [ 'project', 'acme/app', 'NATIVE' ] ] },
	account => { job => 'accounts', user => 7, owner => 'service_account_deploy', container => 'acme',
		places => [ [ 'project', 'acme/app', 'ACCOUNT' ] ] },
	bot => { job => 'bots', user => 5, owner => undef, container => 'acme/app',
		places => [ [ 'project', 'acme/web', 'BOT' ] ] });
my %by_hand;	# ids of tokens that people have made, or that no log knows
my %foreign;	# ids of tokens that people have made
my %replaced;	# ids of tokens that a job has replaced, or was to
my %unread;		# hidden places that people have written
my $db;

# SQL in a session that stays, and is opened again after a crash.
sub sql
{
	my ($command) = @_;

	$db //= Session->open($node, verbosity => 'verbose');
	my ($out, $err) = $db->query($command);

	die "$command: $err" if $err =~ /ERROR|FATAL/;
	return $out;
}

sql(q{
	CREATE FOREIGN TABLE native_tokens (id bigint, user_id bigint, name text, scopes text[], active boolean,
		revoked boolean, created_at timestamptz, last_used_at timestamptz, expires_at date, granular boolean, token text)
		SERVER gitlab OPTIONS (rotation 'native');
	CREATE TABLE deliveries (job text, token_name text, owner text, token_container text, project text, group_path text,
		variable text, environment_scope text, days integer, keep_old interval)});
foreach my $name (sort keys %job)
{
	sql(qq{
		CREATE VIEW "$name" AS SELECT * FROM deliveries WHERE job = '$name';
		CREATE TABLE log_$name (at timestamptz, owner text, token_name text, token_container text, old_id bigint,
			new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz)});
}

sub draw { return $_[ int rand @_ ] }
sub day { return strftime('%Y-%m-%d', gmtime(time + ($day + $_[0]) * 86400)) }
sub value { return sprintf 'glpat-hand-%08d', int rand 1e8 }
sub user_of { return $token{ $_[0] }{user} // 2 }
sub any_name { return draw(sort keys %token) }
sub places { return map { @{ $token{$_}{places} } } sort keys %token }
sub say_verbose { return $verbose && diag(@_) }

sub make_token
{
	my ($name, $value, $expires_at) = @_;
	my $id = $sim->control('POST', 'tokens', undef, {
		user_id => user_of($name), name => $name, scopes => ['api'], token => $value,
		expires_at => $expires_at // day(draw(30 .. 59, 61 .. 89)) })->{id};

	$by_hand{$id} = $foreign{$id} = 1;
	return $id;
}

sub write_place
{
	my ($place, $value, %more) = @_;
	my ($kind, $path, $key) = @$place;

	# its project may be gone by another name
	eval { $sim->variable_set($kind => $path, key => $key, value => $value, %more); };
	$unread{"$kind $path $key"} = 1;
	return;
}

foreach my $name (sort keys %token)
{
	my $value = value();
	my $t = $token{$name};
	my $quote = sub { defined $_[0] ? "'$_[0]'" : 'NULL' };

	make_token($name, $value);
	foreach my $place (@{ $t->{places} })
	{
		my ($kind, $path, $key) = @$place;

		write_place($place, $value, $key eq 'HIDDEN' ? (masked => JSON::PP::true, hidden => JSON::PP::true) : ());
		sql(sprintf q{INSERT INTO deliveries VALUES ('%s', '%s', %s, %s, '%s', '*', %d, '%s')}, $t->{job}, $name,
			join(', ', map { $quote->($_) } exists $t->{owner} ? $t->{owner} : 'alice', $t->{container}),
			($kind eq 'project' ? "'$path', NULL" : "NULL, '$path'"), $key, $days, $t->{keep_old} // '0');
	}
}


# --- what goes on between nights ------------------------------------------------------------

# What people do that they or others undo later: statements that undo it, by what it is.
my %undo;

sub until_later
{
	my ($what, $do, $undo) = @_;

	return if $undo{$what};
	$do->();
	$undo{$what} = $undo;
	return;
}

sub undo
{
	foreach my $what (@_)
	{
		say_verbose("undone: $what");
		(delete $undo{$what})->();
	}
	return;
}

sub active_namesakes
{
	my ($name) = @_;

	return grep { $_->{state} eq 'active' && $_->{name} eq $name } $sim->tokens;
}

sub revoke_one
{
	my ($t) = @_;

	$sim->control('PATCH', "tokens/$t->{id}", undef, { revoked => JSON::PP::true }) if $t;
	return;
}

# People meddle.
my @meddling = (
	[ garbage => sub { write_place(draw(places()), draw('x', '', 'not a token', value())) } ],
	[ revoke => sub { revoke_one(draw(active_namesakes(any_name()))) } ],
	[ namesake => sub { make_token(any_name(), value(), draw(day(61), undef)) } ],
	[ 'rotation by hand' => sub {
		my $name = any_name();
		my $value = value();

		revoke_one(draw(active_namesakes($name)));
		make_token($name, $value);
		write_place(draw(@{ $token{$name}{places} }), $value) if rand() < 0.5; } ],
	[ 'somebody else\'s token' => sub { write_place(draw(places()), 'glpat-sim-frank') } ],
	[ 'a token of another name' => sub {
		my ($t) = active_namesakes(any_name());
		write_place(draw(places()), $t->{token}) if $t; } ],
	[ 'an old secret' => sub {
		my $name = any_name();
		my @old = grep { $_->{name} eq $name } $sim->tokens;
		write_place(draw(@{ $token{$name}{places} }), draw(@old)->{token}) if @old; } ],
	[ 'a place is gone' => sub {
		my ($kind, $path, $key) = @{ draw(places()) };
		eval { $sim->variable_remove($kind => $path, key => $key) }; } ],
	[ 'a token is gone' => sub {
		my $t = draw(active_namesakes(any_name()));
		$sim->control('DELETE', "tokens/$t->{id}") if $t; } ],
	[ 'an expiry by hand' => sub {
		my $t = draw(active_namesakes(any_name()));
		$sim->control('PATCH', "tokens/$t->{id}", undef, { expires_at => day(draw(1, 13, 14, 15, 20)) }) if $t; } ],
	[ 'a log is lost' => sub {
		my $job = draw(sort keys %job);
		sql("DELETE FROM log_$job WHERE " . draw('true', 'random() < 0.5', "outcome = 'started'"));
		$by_hand{ $_->{id} } = 1 foreach $sim->tokens; } ],
	[ 'a project is renamed' => sub { until_later('renamed',
		sub { $sim->namespace_set('project', 2, path => 'acme/site') },
		sub { $sim->namespace_set('project', 2, path => 'acme/web') }) } ],
	[ 'a project is archived' => sub { until_later('archived',
		sub { $sim->namespace_set('project', 1, archived => JSON::PP::true) },
		sub { $sim->namespace_set('project', 1, archived => JSON::PP::false) }) } ],
	[ 'an owner is blocked' => sub {
		my $user = draw(2, 7);
		until_later("blocked $user",
			sub { $sim->control('PATCH', "users/$user", undef, { state => draw('blocked', 'deactivated') }) },
			sub { $sim->control('PATCH', "users/$user", undef, { state => 'active' }) }) } ],
	[ 'an owner is renamed' => sub { until_later('owner',
		sub { $sim->control('PATCH', 'users/2', undef, { username => 'alicia' }) },
		sub { $sim->control('PATCH', 'users/2', undef, { username => 'alice' }) }) } ],
	[ 'GitLab is read-only' => sub { until_later('read-only',
		sub { $sim->control('POST', 'settings', undef, { read_only => JSON::PP::true }) },
		sub { $sim->control('POST', 'settings', undef, { read_only => JSON::PP::false }) }) } ],
	[ 'the credential is dead' => sub { until_later('credential',
		sub { sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-revoked')}) },
		sub { sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')}) }) } ],
	[ 'another credential' => sub { until_later('another credential',
		sub { sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-frank')}) },
		sub { sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')}) }) } ],
	[ 'rows leave the deliveries' => sub { until_later('rows',
		sub { sql(q{CREATE TABLE gone AS SELECT * FROM deliveries WHERE token_name IN ('one', 'kept');
			DELETE FROM deliveries WHERE token_name IN ('one', 'kept')}) },
		sub { sql('INSERT INTO deliveries SELECT * FROM gone; DROP TABLE gone') }) } ],
	[ 'a row names a number' => sub { sql(q{UPDATE deliveries SET project = CASE project WHEN 'acme/app' THEN '1' ELSE 'acme/app' END
		WHERE variable IN ('ONE', 'TWO') AND project IS NOT NULL}) } ],
	[ 'two tokens for one place' => sub { until_later('claim',
		sub { sql(q{INSERT INTO deliveries SELECT job, 'two', owner, token_container, '1', group_path, variable, environment_scope, days
			FROM deliveries WHERE variable = 'ONE'}) },
		sub { sql(q{DELETE FROM deliveries WHERE variable = 'ONE' AND token_name = 'two'}) }) } ]);

my @faults = (
	[ status => { status => 403 } ], [ status => { status => 429 } ], [ status => { status => 500 } ],
	[ status => { status => 502 } ], [ status => { status => 502, moment => 'after' } ], [ status => { status => 503, moment => 'after' } ],
	[ reset => {} ], [ reset => { moment => 'after' } ], [ reset => { moment => 'late', delay => 0.1 } ],
	[ close => { moment => 'after' } ], [ stall => { seconds => 0.6 } ], [ stall => { seconds => 0.6, at => 'body' } ],
	[ empty => {} ], [ garbage => {} ], [ html => {} ], [ truncate => {} ]);

sub break_things
{
	foreach (1 .. 1 + int rand 3)
	{
		my ($kind, $more) = @{ draw(@faults) };

		$sim->fault(draw(qw(GET POST PUT PUT DELETE *)),
			draw('.', 'access_tokens', 'variables', 'variables', 'self$', 'users'),
			$kind, %$more, nth => 1 + int rand 9, times => draw(1, 1, 2, 0));
	}
	return;
}

# Somebody does something between two requests.
sub meddle_by_night
{
	my $name = any_name();
	my ($t) = draw(active_namesakes($name));
	my ($kind, $path, $key) = @{ draw(places()) };

	$sim->control('POST', 'hooks', undef, { method => draw('GET', 'GET', 'POST', 'PUT'), path => '.',
		nth => 1 + int rand 9, do => [ draw(
			($t ? { revoke => $t->{id} } : ()), ($t ? { remove => $t->{id} } : ()), ($t ? { use => $t->{id} } : ()),
			{ set_variable => { $kind => $path, key => $key, value => draw('x', value()) } },
			# of another scope than the job's own, on whose expiry it ends
			{ create => { user_id => user_of($name), name => $name, scopes => ['read_api'], token => value(), expires_at => day(60) } },
			{ remove_variable => { $kind => $path, key => $key } }) ] });
	$unread{"$kind $path $key"} = 1;
	return;
}


# --- the nights --------------------------------------------------------------------------------

sub call_of { return sprintf q{CALL gitlab_pat_rotate_due('%s', 'log_%s', lifetime => 60, tokens => '%s')}, $_[0], $_[0], $job{ $_[0] } }

# Runs a job; true if it ended well.  $cut is the number of the request in which its
# session is ended.
sub run_job
{
	my ($job, $cut) = @_;
	my $session = Session->open($node, verbosity => 'verbose');
	my $kills = $cut && rand() < 0.3;
	my $second = !$cut && rand() < 0.05;

	$sim->fault('*', '.', 'stall', nth => $cut, seconds => 0.2) if $cut;
	$sim->clear_journal;
	$session->send(call_of($job));
	if ($cut)
	{
		foreach (1 .. 50)
		{
			last if $sim->count >= $cut;
			$session->{process}->pump_nb;
			sleep 0.02;
		}
		say_verbose("$job: cut in request $cut" . ($kills ? ', killed' : ''));
		if ($kills)
		{
			kill 'KILL', $session->pid;
			$db->close;
			undef $db;
		}
		else
		{
			sql('SELECT pg_terminate_backend(' . $session->pid . ', 5000)');
		}
		$session->close;
		$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery' if $kills;
		return 0;
	}
	if ($second)
	{
		my $err = (Session->open($node, verbosity => 'verbose')->query(call_of($job)))[1];

		say_verbose("$job, twice: $err");
	}
	my ($out, $err) = $session->finish;

	$session->close;
	say_verbose("$job: $out\n$err");
	return $err !~ /ERROR|FATAL|server closed/;
}

# Tokens whose overlap goes on.
sub overlaps
{
	my ($job) = @_;

	return split /\n/, sql("SELECT DISTINCT old_id FROM log_$job
		WHERE outcome = 'rotated' AND revoke_after > clock_timestamp() + interval '$day days 1 minute'");
}

# What a job must not have revoked, however it has ended; these are the tokens whose
# overlap went on when it began.
sub wronged
{
	my ($job, @overlaps) = @_;
	my %overlaps = map { $_ => 1 } @overlaps;
	my @revoked = map { $_->{path} =~ m{tokens/(\d+)$} ? $1 : () } $sim->journal(method => 'DELETE');

	$by_hand{ $_->{id} } = $foreign{ $_->{id} } = 1 foreach grep { $token{ $_->{name} } && "@{ $_->{scopes} }" eq 'read_api' } $sim->tokens;
	$replaced{$_} = 1 foreach split /\n/, sql("SELECT DISTINCT old_id FROM log_$job WHERE outcome IN ('started', 'rotated') AND old_id IS NOT NULL");
	return ((map { "the overlap of token $_ goes on, and it was revoked" } grep { $overlaps{$_} } @revoked),
		map { "token $_ was made by people, and revoked" } grep { $foreign{$_} && !$replaced{$_} } @revoked);
}

# What is not as it should be after a job that ended well.
sub broken
{
	my ($job) = @_;
	my %active = map { ($_->{token} // '') => $_ } grep { $_->{state} eq 'active' } $sim->tokens;
	my %value = map { ("$_->{owner} $_->{key}" => $_->{value}) } $sim->variables;
	my %named = map { $_ => 1 } split /\n/, sql('SELECT DISTINCT token_name FROM deliveries');
	my @broken;

	foreach my $name (grep { $token{$_}{job} eq $job && $named{$_} } sort keys %token)
	{
		foreach my $place (map { join ' ', @$_ } @{ $token{$name}{places} })
		{
			next if $place =~ /HIDDEN/ && $unread{$place};
			my $t = $active{ $value{$place} // '' };

			push @broken, "$place: " . (defined $value{$place} ? 'no active token' : 'missing') and next unless $t;
			push @broken, "$place: token $t->{id} is called $t->{name}" if $t->{name} ne $name || $t->{user_id} != user_of($name);
			push @broken, "$place: token $t->{id} ends on $t->{expires_at}"
			  if $t->{expires_at} && $t->{expires_at} le day($days);
			push @broken, "$place: the owner of token $t->{id} is blocked" if $undo{"blocked $t->{user_id}"};
		}
	}
	return @broken;
}

# A job that ended well has written what people had put where it can't look.
sub note_deliveries
{
	my ($before) = @_;

	delete $unread{'project acme/app HIDDEN'}
	  if sql("SELECT count(*) FROM log_plain WHERE outcome = 'rotated' AND message LIKE 'delivered%\"HIDDEN\"%' AND at > '$before'");
	return;
}

sub show_all
{
	my ($job) = @_;

	diag(sql("SELECT at, token_name, old_id, new_id, outcome, message, revoke_after FROM log_$job ORDER BY at"));
	diag(join "\n", map { "$_->{owner} $_->{key} " . ($_->{token_id} // $_->{value} // '') . ' ' . ($_->{token_state} // '') } $sim->variables);
	diag(join "\n", map { "$_->{id} $_->{name} $_->{state} " . ($_->{expires_at} // '') . ' ' . ($by_hand{ $_->{id} } ? 'by hand' : '') }
		  grep { $token{ $_->{name} } } $sim->tokens);
	return;
}

my (%count, @wrong);

NIGHT:
foreach my $night (1 .. $nights)
{
	my $pass = draw(0, 1, 1, 1, 5, 20);

	$sim->control('POST', 'clock', undef, { advance => $pass * 86400 });
	$day += $pass;
	undo(grep { rand() < 0.6 } sort keys %undo);
	if (rand() < 0.6)
	{
		my ($what, $how) = @{ draw(@meddling) };

		say_verbose("night $night, day $day: $what");
		$how->();
		$count{meddled}++;
	}
	foreach my $job (sort keys %job)
	{
		my $before = sql('SELECT clock_timestamp()');
		my @overlaps = overlaps($job);
		my $by_night = rand() < 0.1;

		break_things() if rand() < 0.4;
		meddle_by_night() if $by_night;
		my $well = run_job($job, rand() < 0.1 ? 1 + int rand 40 : 0);
		$sim->clear_faults;
		$sim->control('DELETE', 'hooks');
		$sim->wait_for_late;
		note_deliveries($before) unless $by_night;
		$count{ $well ? 'well' : 'failed' }++;
		@wrong = map { "night $night, $job: $_" } wronged($job, @overlaps), $well && !$by_night ? broken($job) : ();
		if (@wrong)
		{
			show_all($job);
			last NIGHT;
		}
	}
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;
is(join("\n", @wrong), '', 'no night that ended well was broken, and none has revoked what must stay');
cmp_ok($count{well} // 0, '>', $nights / 4, 'some nights ended well');
cmp_ok($count{failed} // 0, '>', $nights / 4, 'some nights have failed');


# --- afterwards --------------------------------------------------------------------------------

# Nobody but people can undo what they did, bring a variable back, or say which of
# several tokens is meant.
undo(sort keys %undo);
foreach my $name (sort keys %token)
{
	my %there = map { ("$_->{owner} $_->{key}" => 1) } $sim->variables;

	foreach my $place (@{ $token{$name}{places} })
	{
		write_place($place, 'x') unless $there{"@$place"};
	}
	my @active = active_namesakes($name);

	make_token($name, value()) if @active == 0;
}
run_job($_) foreach sort keys %job;
foreach my $name (sort keys %token)
{
	my @active = active_namesakes($name);

	write_place($token{$name}{places}[0], (draw(@active))->{token})
	  if @active > 1 && sql(qq{SELECT message LIKE 'there are several%' FROM log_$token{$name}{job}
		WHERE token_name = '$name' ORDER BY at DESC LIMIT 1}) eq 't';
}
my %well;

foreach my $night (1 .. 4)
{
	$well{$_} = run_job($_) foreach sort keys %job;
	next if $night == 4;
	# overlaps end before the last night
	my $pass = $night == 3 ? 5 : 1;

	$sim->control('POST', 'clock', undef, { advance => $pass * 86400 });
	$day += $pass;
}

my %held = map { ($_->{value} // '') => 1 } $sim->variables;

foreach my $job (sort keys %job)
{
	my $good = ok($well{$job}, "after the faults, the $job job ends well again");

	$good &= is(join("\n", broken($job)), '', "after the faults, every place of the $job job holds what it should");
	$good &= is(sql(qq{SELECT string_agg(old_id::text, ' ') FROM log_$job l WHERE outcome = 'left over'
		AND NOT EXISTS (SELECT FROM log_$job g WHERE g.outcome IN ('revoked', 'in use') AND g.old_id = l.old_id AND g.at > l.at)}),
		'', "after the faults, nothing that the log of the $job job knows is left over");

	# What the job has made works only where it is held, but for what somebody has used.
	my @idle = grep { $token{ $_->{name} } && $token{ $_->{name} }{job} eq $job && $_->{state} eq 'active'
		  && !$by_hand{ $_->{id} } && !$held{ $_->{token} } } $sim->tokens;
	my %unknown = map { $_ => 1 } split /\n/, sql("SELECT old_id FROM log_$job WHERE outcome = 'unknown'");

	$good &= is(join(' ', map { "$_->{id} ($_->{name})" } grep { !$unknown{ $_->{id} } } @idle), '',
		"after the faults, no token that the $job job has made is idle");
	show_all($job) unless $good;
}
$db->close;
$node->stop;
done_testing();
