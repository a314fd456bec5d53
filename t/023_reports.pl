# The reports of doc/reports.md: each statement is run as it stands there, and
# has to give the right rows with the requests that are named below it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use POSIX ();

use GitLabCluster;
use GitLabSim;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, conf => "timezone = 'UTC'\n");
my $now = time;
my %reports = read_reports("$FindBin::RealBin/../doc/reports.md");

seed();
my %users = map { $_->{id} => $_ } @{ $sim->control('GET', 'users') };
my @tokens = sort { $a->{id} <=> $b->{id} } $sim->tokens;
my @active = grep { $_->{state} eq 'active' } @tokens;

# What each report has to say: in which order the rows come, by their ids, or
# whole rows.
my %expected = (
	'Tokens that expire soon' => [
		map { join '|', within($_), $_->{expires_at}, $_->{username}, "$_->{username}\@example.com",
			$_->{id}, $_->{name} }
		  by('expires_at', grep { expires_before($_, 61) } @active)
	],
	'Expiries by date' => [
		per(sub { $_[0]{expires_at} }, sub { scalar @_ }, sub { distinct('user_id', @_) },
			grep { expires_before($_, 90) } @active)
	],
	'Expiries by month' => [
		per(sub { substr $_[0]{expires_at}, 0, 7 }, sub { scalar @_ },
			grep { $_->{expires_at} } @active)
	],
	'Tokens that never expire' => ids(grep { !$_->{expires_at} } @active),
	'What expired this week' => [
		map { "$_->{id}|$_->{username}|$_->{name}|$_->{expires_at}|" . ($_->{last_used_at} ? 't' : '') }
		  by('expires_at', grep { !$_->{revoked} && expires_before($_, 1) && !expires_before($_, -6) } @tokens)
	],
	'Lifetime over policy' => ids(
		sort { $b->{lifetime} <=> $a->{lifetime} || $a->{id} <=> $b->{id} }
		  grep { $_->{lifetime} > 365 } map { { %$_, lifetime => lifetime($_) } }
		  grep { $_->{expires_at} } @active),
	'Tokens not used for 90 days' => ids(
		by('last_used_at', grep { $_->{created_at} lt day(-90)
				&& (!$_->{last_used_at} || $_->{last_used_at} lt day(-90)) } @active)),
	'Used from several addresses' => ids(
		sort { @{ $b->{last_used_ips} } <=> @{ $a->{last_used_ips} } }
		  grep { @{ $_->{last_used_ips} } > 1 } @active),
	'Owners who are blocked, deactivated or locked' => [
		map { "$_->{username}|" . gone($_) . "|$_->{id}" }
		  by('username', grep { gone($_) } @active)
	],
	q{Administrators' tokens} => [
		map { "$_->{username}|$_->{id}" } by('username', grep { owner($_)->{is_admin} } @active)
	],
	'Bots and people' => [
		per(sub { owner($_[0])->{bot} ? 'bots' : 'people' }, sub { distinct('user_id', @_) },
			sub { scalar @_ }, sub { scalar grep { !$_->{expires_at} } @_ },
			sub { scalar grep { !$_->{last_used_at} } @_ }, @active)
	],
	'Tokens per user' => [
		map { s/^\d+\|//r } map { s/^(\S+?)\|(\d+)\|(\d+)$/$1|$2|$3/r }
		  sort { (split /\|/, $b)[2] <=> (split /\|/, $a)[2] || $a cmp $b }
		  per(sub { $_[0]{username} }, sub { scalar @_ },
			sub { scalar grep { $_->{state} eq 'active' } @_ }, @tokens)
	],
	'Powerful scopes' => ids(
		sort { @{ $b->{scopes} } <=> @{ $a->{scopes} } || $a->{id} <=> $b->{id} }
		  grep { grep { /^(api|sudo|admin_mode|write_repository|write_registry)$/ } @{ $_->{scopes} } } @active),
	'The same name twice' => ['alice|twin|2|{29,30}'],
	'New in the last day' => [32],
	'Revoke by scope' => [ 12, 31 ],
	'Revoke by owner' => ids(grep { $_->{username} eq 'dave' && $_->{id} != 12 && $_->{id} != 31 } @active),
	'The credential in use' => [
		'1|administrator|{api,admin_mode,sudo}|2099-12-31|' . days_until('2099-12-31') . '|t'
	],
);

is(join(', ', sort keys %reports), join(', ', sort keys %expected), 'all reports are tested');
foreach my $title (map { $_->[0] } sort { $a->[1] <=> $b->[1] }
	map { [ $_, $reports{$_}{position} ] } keys %reports)
{
	test_report($title, $reports{$title}, $expected{$title} // []);
}
test_with_statistics();
is(join(' ', map { $sim->token_state($_) } 12, 31, 7, 1), 'revoked revoked revoked active',
	'what was leaked is revoked, and the credential is not');
done_testing();

# --- the document -------------------------------------------------------------

# By title: the statement, and the requests, each in a form that can be compared.
sub read_reports
{
	my ($file) = @_;
	my %found;
	my $position = 0;

	foreach my $section (split /^(?=##)/m, slurp_file($file))
	{
		my ($title) = $section =~ /^##+ (.*)/ or next;
		my ($sql) = $section =~ /^```sql\n(.*?)^```/ms or next;
		my ($requests) = $section =~ /^Requests: (.*?)(?:\n\n|\z)/ms
		  or die "$title names no requests";

		my @named = unique($requests =~ /`(.*?)`/g);
		$found{$title} = {
			sql => $sql,
			requests => join(', ', sort @named),
			position => $position++
		};
		die "$title has more than one statement" if $section =~ /^```.*^```.*^```/ms;
	}
	return %found;
}

sub unique
{
	my %seen;

	return grep { !$seen{$_}++ } @_;
}

# A request of the journal in the same form.
sub request_form
{
	my ($entry) = @_;
	my $path = $entry->{path} =~ s{^/api/v4}{}r;

	$path =~ s/[?&](?:pagination|order_by|sort|per_page|page)=[^&]*//g;
	$path =~ s{^([^?&]*)&}{$1?};
	$path =~ s/((?:before|after|user_id)=)[^&]*/$1.../g;
	$path =~ s{/\d+$}{/:id};
	return "$entry->{method} $path";
}

sub test_report
{
	my ($title, $report, $expected) = @_;

	$sim->clear_journal;
	my $out = $node->safe_psql('postgres', $report->{sql});
	# of rows that are not given in full, only the first columns
	my @rows = split /\n/, $out;

	foreach my $i (0 .. $#rows)
	{
		my $columns = defined $expected->[$i] ? scalar(my @c = split /\|/, $expected->[$i], -1) : 1;

		$rows[$i] = join '|', (split /\|/, $rows[$i], -1)[ 0 .. $columns - 1 ];
	}
	is(join("\n", @rows), join("\n", @$expected), $title);
	cmp_ok(scalar @rows, '>', 0, "$title: the report has rows");
	my @journal = map { request_form($_) } $sim->journal;
	# what may be asked more than once
	my @several = unique(grep { /:id$|self$/ } @journal);
	my @asked = sort @several, grep { !/:id$|self$/ } @journal;

	is(join(', ', @asked), $report->{requests}, "$title: the requests are as stated");
	return;
}

# What ANALYZE finds out does not make a report ask for tokens or users one by
# one, though it may ask for the lists of a few owners.
sub test_with_statistics
{
	$node->safe_psql('postgres', 'ANALYZE gitlab_personal_access_tokens; ANALYZE gitlab_users');
	foreach my $title (grep { !/^Revoke/ } sort keys %reports)
	{
		$sim->clear_journal;
		$node->safe_psql('postgres', $reports{$title}{sql});
		cmp_ok($sim->count, '<=', 3, "$title, after ANALYZE: the report takes a few requests");
		is($sim->count(path => '/\d+$'), 0, "$title, after ANALYZE: the report makes no lookups");
	}
	return;
}

# --- the tokens ---------------------------------------------------------------

sub day
{
	my ($days) = @_;

	return POSIX::strftime('%Y-%m-%d', gmtime($now + 86400 * $days));
}

# Numbered from 17 on.
sub seed
{
	my %plain = (user_id => 2, scopes => ['read_user'], created_at => day(-200) . 'T10:00:00Z',
		last_used_at => day(-1) . 'T10:00:00Z', expires_at => day(120));

	foreach (
		{ name => 'due tomorrow', expires_at => day(1) },
		{ name => 'due in a week', expires_at => day(7), user_id => 8 },
		{ name => 'due in two weeks', expires_at => day(14) },
		{ name => 'due in a month', expires_at => day(30), user_id => 7 },
		{ name => 'due in two months', expires_at => day(60) },
		{ name => 'due later', expires_at => day(61) },
		{ name => 'of carol', user_id => 4 },
		{ name => 'of erin', user_id => 9 },
		{ name => 'long unused', last_used_at => day(-100) . 'T10:00:00Z' },
		{ name => 'ended yesterday', expires_at => day(-1) },
		{ name => 'ended long ago', expires_at => day(-8) },
		{ name => 'ended, revoked', expires_at => day(-1), revoked => JSON::PP::true },
		{ name => 'twin' }, { name => 'twin' },
		{ name => 'travels', user_id => 8, scopes => [ 'api', 'write_registry' ],
			last_used_ips => [ '192.0.2.1', '192.0.2.2', '2001:db8::1' ] },
		{ name => 'new', created_at => day(0) . 'T00:00:00.123456Z' })
	{
		$sim->control('POST', 'tokens', undef, { %plain, %$_ });
	}
	return;
}

sub owner { return $users{ $_[0]{user_id} } }

sub gone
{
	my $owner = owner($_[0]);

	return $owner->{locked} ? 'locked' : $owner->{state} eq 'active' ? '' : $owner->{state};
}

sub ids { return [ map { $_->{id} } @_ ] }

# In the order of a field, nothing first, and then of the id.
sub by
{
	my ($field, @rows) = @_;

	return sort { ($a->{$field} // '') cmp ($b->{$field} // '') || $a->{id} <=> $b->{id} } @rows;
}

sub expires_before
{
	my ($token, $days) = @_;

	return $token->{expires_at} && $token->{expires_at} lt day($days);
}

sub within
{
	my ($token) = @_;

	foreach (1, 7, 14, 30, 60)
	{
		return $_ if expires_before($token, $_ + 1);
	}
	return '';
}

sub days_between
{
	my ($from, $to) = map { /^(\d+)-(\d+)-(\d+)/ && POSIX::mktime(0, 0, 12, $3, $2 - 1, $1 - 1900) } @_;

	return POSIX::floor(($to - $from) / 86400 + 0.5);
}

sub days_until { return days_between(day(0), $_[0]) }
sub lifetime { return days_between($_[0]{created_at}, $_[0]{expires_at}) }

sub distinct
{
	my ($field, @rows) = @_;
	my %values = map { $_->{$field} => 1 } @rows;

	return scalar keys %values;
}

# Groups by a key, and what functions say of each group.
sub per
{
	my ($key, @more) = @_;
	my (@functions, %groups);

	push @functions, shift @more while ref $more[0] eq 'CODE';
	push @{ $groups{ $key->($_) } }, $_ foreach @more;
	return map { my $group = $_; join '|', $group, map { $_->(@{ $groups{$group} }) } @functions }
	  sort keys %groups;
}
