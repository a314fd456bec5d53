# scripts/report: the page that it makes, looked at in a real Chromium.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Browser;
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IPC::Run ();
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $program = "$FindBin::RealBin/../scripts/report";

# In the order in which they expire.
my @names = (
	q{<script>document.title = 'broken'</script>}, q{"quotes" & 'more' &amp; <b>},
	"\x{30ed}\x{30fc}\x{30ab}\x{30eb} \x{2713} \x{1f511}",
	"\x{202e}\x{5de}\x{5e4}\x{5ea}\x{5d7}", "bell\x{07} and tab\t", 'long ' . ('w' x 200), '--></style>%s\\');

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);
my $page = PostgreSQL::Test::Utils::tempdir . '/report.html';

seed();
run_script($node, 'dashboards/install.sql');
$node->safe_psql('postgres', q{
	CREATE ROLE report LOGIN IN ROLE gitlab_dashboard_reader;
	INSERT INTO gitlab_dashboard.history
		SELECT h.day - d, h.owner_kind, h.active + d, h.expired, h.revoked, h.expiring_7, h.expiring_30,
			h.expiring_90, h.without_expiry, h.owner_inactive, h.unused_90
		FROM gitlab_dashboard.history h, generate_series(1, 20) AS d;});

my $browser = Browser->start(width => 1200, height => 900);

test_program();
test_page();
test_numbers();
test_charts();
test_tables();
test_accessibility();
test_appearance();
test_trouble();
test_rotations();
test_extremes();
test_nothing();
test_group();
is_alive($node);
done_testing();

# --- setting up ---------------------------------------------------------------

sub day
{
	my ($days) = @_;

	return strftime('%Y-%m-%d', gmtime(time + 86400 * $days));
}

# Numbered from 17 on.
sub seed
{
	my %plain = (user_id => 2, scopes => [ 'api', 'read_user' ], created_at => day(-20) . 'T10:00:00Z',
		last_used_at => day(-1) . 'T10:00:00Z');

	# The name that GitLab gives a bot has no place for a line break.
	$sim->control('POST', 'users', undef, { id => 30, username => 'project_278964_bot_' . '0123456789abcdef' x 2 });
	foreach (
		(map { { name => $names[$_], expires_at => day(2 + 3 * $_), user_id => $_ == $#names ? 30 : 2 } } 0 .. $#names),
		{ name => 'later', expires_at => day(100), last_used_at => undef },
		(map { { name => "ended $_", expires_at => day(-$_) } } 1 .. 10),
		# more than a list shows
		(map { { name => "idle $_", user_id => 8, expires_at => day(300),
			created_at => day(-200) . 'T10:00:00Z', last_used_at => day(-100) . 'T10:00:00Z' } } 1 .. 60))
	{
		$sim->control('POST', 'tokens', undef, { %plain, %$_ });
	}
	# bob's page, at the first refresh
	$sim->fault('GET', '/users\?', 'edit', set => { '2.web_url' => 'javascript:document.title=1' });
	return;
}

# Runs the program; returns its exit status, what it wrote, and what it said.
sub run_report
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $program, @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# Makes the page and looks at it.
sub look
{
	my ($status, $out, $err) = run_report('-h', $node->host, '-p', $node->port, '-U', 'report', '-d', 'postgres');

	is("$status $err", '0 ', 'the report is made');
	unlink $page;
	append_to_file($page, $out);
	$browser->console;
	$browser->requests;
	$browser->visit("file://$page");
	return $out;
}

# JavaScript's value of an expression, in which all(...) are the elements that match
# a selector.
sub js
{
	my ($expression, @arguments) = @_;

	return $browser->evaluate("const all = s => [...document.querySelectorAll(s)]; return $expression", @arguments);
}

# The texts of all elements that match.
sub texts
{
	my ($selector) = @_;

	return @{ js('all(arguments[0]).map(e => e.textContent)', $selector) };
}

sub prefer
{
	my ($scheme) = @_;

	$browser->command('Emulation.setEmulatedMedia',
		features => [ { name => 'prefers-color-scheme', value => $scheme } ]);
	return;
}

sub total
{
	my ($column) = @_;

	return $node->safe_psql('postgres', "SELECT sum($column) FROM gitlab_dashboard.summary");
}

# --- the program --------------------------------------------------------------

sub test_program
{
	my ($status, $out, $err) = run_report('--help');
	is($status, 0, '--help succeeds');
	like($out, qr/^Usage: scripts\/report .*\n/, '--help tells how to use the script');

	($status, $out, $err) = run_report('-h', $node->host, '-p', $node->port, '-U', 'report', '-d', 'nothing');
	isnt($status, 0, 'the script fails without a database');
	is($out, '', 'a failed script writes nothing');
	like($err, qr/database "nothing" does not exist/, 'a failed script says why');

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	($status, $out, $err) = run_report('user=report dbname=postgres');
	is($status, 0, 'the script takes a connection string and the environment');
	like($out, qr/^<!DOCTYPE html>.*<\/html>\n\z/s, 'a connection string gives a page');
	return;
}

# --- the page -----------------------------------------------------------------

sub test_page
{
	$sim->clear_journal;
	my $html = look();

	is($sim->count, 0, 'the report asks nothing of GitLab');
	is_secretive($sim, $html, 'the report');
	is(join(' ', $browser->requests), "file://$page", 'the page asks for nothing but itself');
	is(join("\n", $browser->console), '', 'the page has no error');
	is(js('document.compatMode'), 'CSS1Compat', 'the page is rendered in standards mode');
	is(js('document.title'), 'GitLab access tokens, ' . day(0), 'the page has a title of its own');
	is(js(q{all('script, link, img, iframe, object, embed, base, form, [src], [onload], [onclick]').length}), 0,
		'nothing in the page could ask for more, or do something');
	my ($url, $host) = ($sim->url, $node->safe_psql('postgres',
			q{SELECT owner_url FROM gitlab_dashboard.tokens WHERE username = 'alice' LIMIT 1}) =~ s{/alice$}{}r);
	is(join(' ', grep { !/^#/ && !/^(?:\Q$url\E$|\Q$host\E\/)/ } @{ js(q{all('[href]').map(e => e.getAttribute('href'))}) }), '',
		'all links stay within the page or lead to GitLab');
	is(js(q{all('a[href^="#"]').filter(a => all(a.getAttribute('href')).length != 1).length}), 0,
		'all links within the page lead somewhere');
	is(js(q{all('a[href^="http"]').filter(a => a.rel != 'noreferrer').length}), 0, 'links to GitLab tell nothing of the page');
	is(js(q{all('#expiring a')[0].href}), "$host/alice", 'an owner is a link to their page in GitLab');
	is(js(q{all('#inactive a').length}), 0, 'an address that is no address of a page becomes no link');
	is(js(q{all('[id]').length - new Set(all('[id]').map(e => e.id)).size}), 0, 'no id is used twice');
	like((texts('header p'))[0], qr/^\Q$url\E, .* UTC: the tokens of all users$/, 'the page says which tokens it is about');
	return;
}

sub test_numbers
{
	my @expected = map { total($_) } qw(active expiring_7 expiring_30 owner_inactive without_expiry unused_90);
	my $first = day(2);

	is(join(' ', texts('.tiles dd')), join(' ', @expected), 'the numbers are those of the views');
	is("@expected", '82 2 7 1 2 74', 'the numbers of the page are right');
	is(join("\n", map { s/^Urgent|^Notable/$& /r } texts('.findings li')),
		join("\n", "Urgent 2 tokens expire within 7 days, the first on $first.",
			'Urgent 1 token of users who are blocked, deactivated or locked is still active.',
			'Notable 5 tokens expire within 8 to 30 days.', 'Notable 2 active tokens never expire.',
			'Notable 74 active tokens have not been used for 90 days.'),
		'the page lists what needs attention, first what is urgent');
	return;
}

# The bars and lines are there, and as long as they should be.
sub test_charts
{
	my $weeks = js(q{all('#ahead .wide rect').map(r => [r.height.baseVal.value, parseInt(r.textContent.split(': ')[1])])});
	my $per_token = $weeks->[0][0] / $weeks->[0][1];
	my $sum = 0;

	cmp_ok(scalar(grep { abs($_->[0] - $per_token * $_->[1]) > 0.2 } @$weeks), '==', 0,
		'columns are as high as their numbers');
	$sum += $_->[1] foreach @$weeks;
	is($sum, 8, 'the columns are those of half a year');
	like((texts('#ahead > p'))[0], qr/72 expire later, and 2 never\.$/, 'the tokens beyond half a year are named');

	is(join(' ', cut_off()), '', 'no label is cut off');

	my $width = js(q{all('#owners .wide rect').map(r => [r.width.baseVal.value, r.textContent])});
	is(join(', ', map { $_->[1] } @$width),
		'user: 75 active, user: 11 expired, user: 1 revoked, administrator: 4 active, '
		  . 'group bot: 1 active, project bot: 1 active, service account: 1 active',
		'there are bars for each kind of owner and state');
	cmp_ok($width->[0][0] / $width->[3][0], '>', 18, 'bars are as long as their numbers');
	is(join(' ', texts('#scopes .wide text.value')), $node->safe_psql('postgres',
			q{SELECT string_agg(n::text, ' ' ORDER BY n DESC, scope)
			FROM (SELECT scope, sum(tokens) AS n FROM gitlab_dashboard.scopes GROUP BY scope) s}),
		'there is a bar for each scope');
	is(js(q{all('#history-active-t').length}), 1, 'there is a line for the history');
	is(js(q{all('.wide .dot.active').length}), 21, 'the line has a point for each day');
	is((texts('#history .wide desc'))[0] =~ s/\d{4}-\d\d-\d\d/.../gr, 'From 182 on ... to 82 on ..., between 82 and 182.',
		'the description of the chart says its numbers');
	return;
}

# Labels of charts that are not within them.
sub cut_off
{
	return @{ js(q{all('svg text').filter(t => t.getBBox().x < 0
			|| t.getBBox().x + t.getBBox().width > t.ownerSVGElement.viewBox.baseVal.width).map(t => t.textContent)}) };
}

sub test_tables
{
	# what HTML doesn't have is replaced
	my @visible = map { s/\x{07}/\x{fffd}/r } @names;

	is(js(q{JSON.stringify(all('#expiring td.name bdi').map(e => e.textContent))}),
		js('JSON.stringify(arguments[0])', \@visible), 'names are shown as they are');
	is(join(' ', texts('#expiring td:first-child')), join(' ', map { (2 + 3 * $_) . ' days' } 0 .. $#names),
		'the list begins with what expires first');
	is(join(' ', texts('#inactive tbody th, #inactive tbody td')), 'bob user, blocked; 1 token blocked16 api 2099-12-31 never',
		'the page lists the tokens of inactive owners');
	is(scalar(my @idle = texts('#unused tbody tr:not(.group)')), 50, 'a long list is cut');
	is((texts('#unused .muted'))[0], 'The list has the first 50 of 74 tokens.', 'the page says that a long list is cut');
	is(join(' ', texts('#without-expiry .group bdi')), 'dave service_account_deploy',
		'the page lists the tokens without expiry');
	my @groups = texts('#unused .group bdi');
	is(scalar @groups, scalar keys %{ { map { $_ => 1 } @groups } }, 'the tokens of an owner stand together');
	is(join(' ', map { s/\D+$//r } (texts('#unused .group small'))[0] =~ /(\d+ tokens?)/), $node->safe_psql('postgres',
			q{SELECT count(*) FROM gitlab_dashboard.tokens WHERE days_unused > 90 AND username = (
			SELECT username FROM gitlab_dashboard.tokens ORDER BY days_unused DESC NULLS LAST, user_id LIMIT 1)}),
		'the heading of an owner counts all their tokens');
	is(join(' ', texts('#people tbody tr:first-child td')), join(' ', split /\|/, $node->safe_psql('postgres', q{
			SELECT username || owner_kind, count(*), count(*) FILTER (WHERE days_left <= 30),
				count(*) FILTER (WHERE expires_at IS NULL), count(*) FILTER (WHERE days_unused > 90), owner_state
			FROM gitlab_dashboard.tokens WHERE state = 'active' GROUP BY username, owner_kind, owner_state, user_id
			ORDER BY count(*) FILTER (WHERE days_left <= 30 OR expires_at IS NULL OR days_unused > 90 OR owner_is_inactive) DESC
			LIMIT 1})),
		'the page lists the owners of tokens that need attention');
	is(join(' ', texts('#ahead .legend span')), 'within 30 days later', 'the chart has a legend for its colours');
	return;
}

sub test_accessibility
{
	is(js('document.documentElement.lang'), 'en', 'the page has a language');
	is(join(' ', @{ js(q{all('h1, h2, h3').map(e => e.tagName)}) }),
		'H1 H2 H2 H3 H3 H2 H2 H2 H2 H2 H2 H2 H2', 'the headings are in order');
	is( js(q{all('svg').filter(s => s.getAttribute('role') != 'img'
			|| s.getAttribute('aria-labelledby').split(' ').some(id => !all('#' + id)[0].textContent)).length}),
		0, 'each chart has a title and a description');
	is(js(q{all('svg').filter(s => !s.closest('section').querySelector('details table')).length}), 0,
		 'each chart has its numbers as a table');
	is( js(q{all('table').filter(t => !t.caption || !t.caption.textContent
			|| [...t.querySelectorAll('th')].some(h => !['col', 'rowgroup'].includes(h.scope))).length}),
		0, 'each table has a caption, and headings of columns');
	foreach my $scheme (qw(light dark))
	{
		prefer($scheme);
		is(join(', ', @{ low_contrasts() }), '', "all text can be read: $scheme");
	}
	return;
}

# Texts that have too little contrast to what is behind them, by the rule of WCAG
# 2, level AA.
sub low_contrasts
{
	return $browser->evaluate(q{
		const parse = colour => colour.match(/[\d.]+/g).map(Number);
		const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
			.map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
			.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
		const behind = element => {
			for (let e = element; e; e = e.parentElement) {
				const colour = parse(getComputedStyle(e).backgroundColor);
				if (colour.length == 3 || colour[3] > 0) return colour;
			}
		};
		const found = new Set();
		for (const element of document.querySelectorAll('body *')) {
			if (![...element.childNodes].some(n => n.nodeType == 3 && n.data.trim())) continue;
			if (!element.getClientRects().length || ['title', 'desc'].includes(element.localName)) continue;
			const style = getComputedStyle(element);
			const colour = parse(element.closest('svg') ? style.fill : style.color);
			const [high, low] = [luminance(colour), luminance(behind(element))].sort((a, b) => b - a);
			const ratio = (high + 0.05) / (low + 0.05);
			if (ratio < 4.5) found.add(element.localName + '.' + element.className + ' ' + ratio.toFixed(2));
		}
		return [...found]});
}

# --- what it looks like -------------------------------------------------------

# How much of a picture is of which colour, the most frequent ones, and how many
# colours there are.
sub colours_of
{
	my ($picture) = @_;

	$browser->visit('about:blank');
	return $browser->evaluate(q{
		return new Promise((resolve, reject) => {
			const image = new Image();
			image.onerror = reject;
			image.onload = () => {
				const canvas = document.createElement('canvas');
				[canvas.width, canvas.height] = [image.width, image.height];
				const context = canvas.getContext('2d');
				context.drawImage(image, 0, 0);
				const data = context.getImageData(0, 0, image.width, image.height).data;
				const counts = new Map();
				for (let i = 0; i < data.length; i += 4) {
					const key = data[i] << 16 | data[i + 1] << 8 | data[i + 2];
					counts.set(key, (counts.get(key) || 0) + 1);
				}
				const share = {};
				for (const [key, count] of counts)
					share[key.toString(16).padStart(6, '0')] = count / (image.width * image.height);
				resolve({width: image.width, height: image.height, colours: counts.size, share: share});
			};
			image.src = 'data:image/png;base64,' + arguments[0];
		})}, $picture);
}

# In light and dark, on a large screen and on a small one, and on paper.
sub test_appearance
{
	my %expected = (
		light => [ 'ffffff', '2f6fde', 'c62f2f', 'd99a1c' ],
		dark => [ '171c23', '6aa1ff', 'ff7b72', 'e3b341' ]);

	foreach my $scheme (qw(light dark))
	{
		my ($card, @bars) = @{ $expected{$scheme} };

		prefer($scheme);
		$browser->visit("file://$page");
		my $seen = colours_of($browser->screenshot);
		cmp_ok($seen->{height}, '>', 3000, "$scheme: there is a picture of the whole page");
		cmp_ok($seen->{share}{$card}, '>', 0.4, "$scheme: the background is as it should be");
		cmp_ok($seen->{share}{$card}, '<', 0.95, "$scheme: the picture has more than the background");
		cmp_ok($seen->{share}{$_} // 0, '>', 0.0001, "$scheme: there are bars of the colour $_") foreach @bars;
		cmp_ok($seen->{colours}, '>', 100, "$scheme: the picture has the colours of text");
	}

	foreach my $width (320, 390, 768, 1280)
	{
		$browser->command('Emulation.setDeviceMetricsOverride',
			width => $width, height => 800, deviceScaleFactor => 1, mobile => JSON::PP::false);
		$browser->visit("file://$page");
		cmp_ok(js('document.documentElement.scrollWidth'), '<=', $width, "$width pixels are wide enough");
		is(js(q{all('.scroll').filter(e => e.scrollWidth > e.clientWidth).length}), 0, "$width pixels: no table needs sideways scrolling");
		is(js(q{all('.chart').filter(e => e.getClientRects().length).length * 2 - all('.chart').length}), 0,
			"$width pixels: each chart is shown once");
		cmp_ok(js(q{Math.min(...all('svg text').filter(e => e.getClientRects().length)
			.map(e => e.getBoundingClientRect().height))}), '>=', 10, "$width pixels: the labels of the charts can be read");
		is(join(' ', cut_off()), '', "$width pixels: no label is cut off");
	}
	is(join(', ', @{ low_contrasts() }), '', 'all text can be read on a phone');
	$browser->command('Emulation.clearDeviceMetricsOverride');
	prefer('light');
	$browser->visit("file://$page");
	$browser->command('Emulation.setEmulatedMedia', media => 'print',
		features => [ { name => 'prefers-color-scheme', value => 'dark' } ]);
	is(js(q{getComputedStyle(all('h1')[0]).color}), 'rgb(27, 31, 36)', 'the print is dark on light whatever the reader prefers');
	is(join(', ', @{ low_contrasts() }), '', 'all text can be read on paper');
	$browser->command('Emulation.setEmulatedMedia', media => '');
	prefer('light');
	my $paper = $browser->print_page;
	like($paper, qr/^%PDF-/, 'the page can be printed');
	like(scalar(() = $paper =~ m{/Type /Page\b}g), qr/^([3-9]|1\d)$/, 'the print has some pages');
	return;
}

# --- other states -------------------------------------------------------------

# A refresh that failed, a credential that expires and sees little.
sub test_trouble
{
	$sim->control('PATCH', 'tokens/2', undef, { expires_at => day(1) });
	$node->safe_psql('postgres', q{
		ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice');
		CALL gitlab_dashboard.refresh();
		UPDATE gitlab_dashboard.refreshes SET finished_at = finished_at - interval '3 hours'});
	$sim->fault('GET', '/users\?', 'status', status => 418);
	$node->psql('postgres', 'CALL gitlab_dashboard.refresh()');
	look();
	my @findings = map { s/^Urgent|^Notable/$& /r } texts('.findings li');
	is(join("\n", @findings[ 0 .. 2 ]),
		join("\n", 'Urgent The token that this report is made with expires in 1 day.',
			'Urgent Only the tokens of one user are seen: this report is incomplete.',
			'Urgent The last refresh has failed: this report is 3 hours old.'),
		'what is wrong with the report itself comes first');
	is((texts('header p'))[0] =~ s/.*UTC: //r, 'the tokens of the owner of alice api', 'the page says whose tokens it is about');
	is(join(' ', map { s/\D+$//r } grep { /which this report is made with/ } texts('#expiring small')), '2',
		'the list marks the token that the report is made with');
	my $facts = join "\n", texts('#data dd');
	like($facts, qr/failed at .*: could not read users on server "gitlab"/, 'the finding about the report has details');
	like($facts, qr/3 refreshes, 1 of them failed; \d+ requests, 1 of them errors/, 'the page has the numbers of the report itself');
	return;
}

# Rotations that fail are named, with the reason.
sub test_rotations
{
	my $why = 'there is no variable "NONE" (*) of project "acme/app" HINT: INSERT the variable first; <b>its</b> value does not matter.';

	$node->safe_psql('postgres', qq{
		CREATE TABLE rotations (at timestamptz, owner text, token_name text, token_container text, old_id bigint,
			new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz);
		INSERT INTO rotations VALUES (now() - interval '2 hours', '', 'deploy', 'acme/app', NULL, NULL, 'failed', 'older'),
			(now() - interval '1 hour', '', 'deploy', 'acme/app', NULL, NULL, 'failed', '$why'),
			(now(), '', 'deploy', 'acme/web', 9, 10, 'rotated', NULL)});
	run_script($node, 'dashboards/install.sql', rotations => 'rotations');
	look();
	is(join("\n", map { s/^Urgent//r =~ s/^ //r } grep { /attempt/ } texts('.findings li')),
		"The token \x{201c}deploy\x{201d} of acme/app could not be rotated or checked at the last attempt: $why",
		'the page names a token that could not be rotated, its project and the reason');
	is(join('|', map { s/\d{4}-.*UTC/.../r } texts('#failing tbody td')), "deployacme/app|...|never|$why",
		'a list has the tokens whose rotation fails');
	$node->safe_psql('postgres', q{
		INSERT INTO rotations VALUES (now() - interval '1 minute', 'alice', 'api', NULL, NULL, NULL, 'failed', repeat('w', 300))});
	look();
	is((grep { /attempt/ } texts('.findings li'))[0] =~ s/^Urgent ?//r,
		"2 tokens could not be rotated or checked at the last attempt, among them the token \x{201c}deploy\x{201d} of acme/app.",
		'the page counts tokens that could not be rotated');
	$browser->command('Emulation.setDeviceMetricsOverride', width => 390, height => 800, deviceScaleFactor => 1, mobile => JSON::PP::false);
	$browser->visit("file://$page");
	cmp_ok(js('document.documentElement.scrollWidth'), '<=', 390, 'a phone is wide enough for a list of rotations that fail');
	is(js(q{all('.scroll').filter(e => e.scrollWidth > e.clientWidth).length}), 0, 'the list of rotations that fail needs no sideways scrolling');
	$browser->command('Emulation.clearDeviceMetricsOverride');
	$node->safe_psql('postgres', q{INSERT INTO rotations SELECT now(), owner, token_name, token_container, 2, 3, 'rotated' FROM rotations WHERE outcome = 'failed'});
	look();
	is(js(q{all('#failing').length}), 0, 'a token that was delivered since it failed is not named');
	return;
}

# Large numbers, and tokens that never expire only.
sub test_extremes
{
	$node->safe_psql('postgres', q{
		ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin');
		UPDATE gitlab_dashboard.history SET active = active + 2500000});
	run_script($node, 'dashboards/install.sql', which => 'expires_at IS NULL');
	look();
	is(join(' ', cut_off()), '', 'no large number is cut off');
	is((texts('header p'))[0] =~ s/.*UTC: //r, 'the tokens of all users, only those with expires_at IS NULL',
		'the page says which tokens are left out');
	is((texts('#ahead p'))[0], 'No active token expires within half a year.', 'a report in which nothing expires says so');
	is(js(q{all('#ahead svg, #expiring').length}), 0, 'a report in which nothing expires has neither chart nor list');
	is((texts('.tiles dd'))[4], 2, 'a report in which nothing expires counts tokens that never do');
	is(join("\n", $browser->console), '', 'a report in which nothing expires has no errors');
	return;
}

# No tokens at all, and nothing to complain about.
sub test_nothing
{
	run_script($node, 'dashboards/install.sql', which => 'false');
	look();
	is(join("\n", texts('.findings, .well')), 'Nothing needs attention.', 'an empty report needs no attention');
	is(join(' ', texts('.tiles dd')), '0 0 0 0 0 0', 'the numbers of an empty report are zero');
	is(js(q{all('svg').length}), 0, 'an empty report has no charts');
	is(join("\n", $browser->console), '', 'an empty report has no errors');
	return;
}

# One group, as its Owner.
sub test_group
{
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-alice')});
	run_script($node, 'dashboards/install.sql', group => 'acme');
	look();
	is((texts('header p'))[0] =~ s/.*UTC: //r, 'the tokens of the group acme, its subgroups and projects, and of all their service accounts',
		'the page says of which group the tokens are');
	unlike(join("\n", texts('.findings')), qr/one user/, 'the report of a group is complete');
	like(join("\n", texts('#unused')), qr/bot of acme\/app.*project bot, Developer/s,
		"the page has the access level of a project's token");
	return;
}
