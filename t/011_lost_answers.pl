
# A POST whose answer is lost may have created a token.  It is never sent again,
# and the error says how to find out.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $sim = GitLabSim->start;

# with retries, which must not happen
my $node = gitlab_cluster('main', $sim,
	server_options => q{request_timeout '1s', max_response_size '1MB'});
create_tables($node, 'lost');

my $later = 'current_date + 90';
my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'it''s lost', '{api}', $later)";
my $update = "UPDATE tokens SET expires_at = $later WHERE id = 2";
my $native = "UPDATE native_tokens SET expires_at = $later WHERE id = 2";

# [name, SQL, SQLSTATE, is there a token, kind of fault, its fields]
my @cases = (
	[ 'reset, nothing created', $insert, '08006', 0, 'reset' ],
	[ 'reset, created', $insert, '08006', 1, 'reset', moment => 'after' ],
	[ 'closed, nothing created', $insert, '08006', 0, 'close' ],
	[ 'closed, created', $insert, '08006', 1, 'close', moment => 'after' ],
	[ 'no answer in time', $insert, '08006', 1, 'stall', moment => 'after' ],
	[ 'half an answer in time', $insert, '08006', 1, 'stall', at => 'body' ],
	[ '500', $insert, '08006', 0, 'status', status => 500 ],
	[
		'500, created', $insert, '08006', 1,
		'status', status => 500, moment => 'after'
	],
	[
		'501, created', $insert, '08006', 1,
		'status', status => 501, moment => 'after'
	],
	[
		'599, created', $insert, '08006', 1,
		'status', status => 599, moment => 'after'
	],
	[
		'408, created', $insert, '08006', 1,
		'status', status => 408, moment => 'after'
	],
	[
		'499, created', $insert, '08006', 1,
		'status', status => 499, moment => 'after'
	],
	[ '502', $insert, '08006', 0, 'status', status => 502 ],
	[
		'502, created', $insert, '08006', 1,
		'status', status => 502, moment => 'after'
	],
	[
		'503, created', $insert, '08006', 1,
		'status', status => 503, moment => 'after'
	],
	[
		'504, created', $insert, '08006', 1,
		'status', status => 504, moment => 'after'
	],
	[
		'503 with Retry-After', $insert, '08006', 0,
		'status', status => 503, headers => { 'Retry-After' => 1 }
	],
	[
		'garbage', $insert, '08P01', 1,
		'garbage', status => 201, moment => 'after'
	],
	[ 'a web page', $insert, '08P01', 1, 'html', moment => 'after' ],
	[
		'nothing', $insert, '08P01', 1,
		'empty', status => 201, moment => 'after'
	],
	[
		'JSON that is no object', $insert, '08P01', 1,
		'body', body => '"glpat-0123456789"', status => 201, moment => 'after'
	],
	[
		'a secret in bad JSON', $insert, '08P01', 1,
		'body',
		body => '{"token": "glpat-0123456789"',
		status => 201,
		moment => 'after'
	],
	[ 'no id', $insert, '08P01', 1, 'edit', remove => ['id'] ],
	[ 'a negative id', $insert, '08P01', 1, 'edit', set => { id => -1 } ],
	[ 'truncated', $insert, '08006', 1, 'truncate' ],
	[ 'Content-Length too short', $insert, '08P01', 1, 'short_length' ],
	[ 'broken chunks', $insert, qr/08006|08P01/, 1, 'bad_chunk' ],
	[
		'too large', $insert, qr/08006|08P01/, 1,
		'oversized', moment => 'after', size => 4 * 1024 * 1024
	],
	[
		'not HTTP', $insert, qr/08006|08P01/, 1,
		'raw', moment => 'after', body => "220 ESMTP\r\n"
	],
	[ 'UPDATE, reset', $update, '08006', 1, 'reset', moment => 'after' ],
	[ 'UPDATE, truncated', $update, '08006', 1, 'truncate' ],
	[
		'UPDATE, 502', $update, '08006', 1,
		'status', status => 502, moment => 'after'
	],
	[
		'native UPDATE, reset', $native, '08006', 1, 'reset', moment => 'after'
	],
	[
		'UPDATE, 500', $update, '08006', 1,
		'status', status => 500, moment => 'after'
	],
	[
		'native UPDATE, 500', $native, '08006', 1,
		'status', status => 500, moment => 'after'
	],
	[ 'native UPDATE, nothing done', $native, '08006', 0, 'close' ],
	[ 'native UPDATE, truncated', $native, '08006', 1, 'truncate' ]);

my $session = open_session($node, 'lost', verbosity => 'verbose');
said($session, q{SET datestyle = 'German'; SET timezone = 'Asia/Kolkata'});
foreach my $case (@cases)
{
	my ($name, $sql, $sqlstate, $created, $kind, %fields) = @$case;
	my $is_native = $sql eq $native;

	$sim->reset;
	$sim->fault('POST', '', $kind, times => 0, %fields);
	my $text = said($session, "$sql RETURNING id");
	is($sim->count(method => 'POST'), 1, "$name: GitLab gets one POST");
	like($text, qr/ERROR:  $sqlstate: .*GitLab's answer was lost\n/,
		"$name: the error says that the answer was lost");
	$is_native
	  ? like($text, qr/DETAIL: .* GitLab may have revoked token 2 and made a new one whose secret nobody knows\./,
		"$name: the detail says that the old token may be dead")
	  : like($text, qr/DETAIL: .* A token may exist whose secret nobody knows\./,
		"$name: the detail says that a token may exist");
	unlike($text, qr/glpat-/, "$name: no message shows a secret");
	$sim->clear_faults;

	my ($finder) = $text =~ /HINT:  Look for it.*?: (SELECT .*;)(?:\n|\z)/;
	my $found = said($session, $finder // 'SELECT 0, NULL') // '';
	$created
	  ? like($found, qr/\A17\|.*\z/, "$name: the SELECT finds the token")
	  : is($found, '', "$name: the SELECT finds nothing");
	is( changes($sim),
		!$created ? '' : $is_native ? '2 revoked, 17 active' : '17 active',
		"$name: GitLab has the tokens that it should");
}


# A connection that was used before, and dies under the POST: libcurl alone
# would send the request again.
foreach my $kind (qw(reset close))
{
	foreach my $moment (qw(before after))
	{
		my $name = "kept-alive connection, $kind, moment $moment";

		$sim->reset;
		said($session, 'SELECT count(*) FROM tokens WHERE id = 2');
		$sim->fault('POST', '', $kind, times => 0, moment => $moment);
		like(said($session, $insert), qr/answer was lost/, "$name: the answer is lost");
		my ($read) = $sim->journal(method => 'GET');
		my @posts = $sim->journal(method => 'POST');
		is(scalar @posts, 1, "$name: GitLab gets one POST");
		is($posts[0]{connection}, $read->{connection},
			"$name: the POST went over the connection of the SELECT");
		is( changes($sim),
			$moment eq 'after' ? '17 active' : '',
			"$name: GitLab has the tokens that it should");
	}
}

# What is known not to have been carried out is sent again, or is a plain error.
{
	my $name = '429';

	$sim->reset;
	$sim->fault('POST', '', 'status',
		status => 429, headers => { 'Retry-After' => 1 });
	my $begun = time;
	is(said($session, "$insert RETURNING id"), 17, "$name: the INSERT succeeds");
	cmp_ok(time - $begun, '>=', 0.9, "$name: the retry waits as long as GitLab asked for");
	is($sim->count(method => 'POST'), 2, "$name: GitLab gets two POSTs");
	is(changes($sim), '17 active', "$name: GitLab has one new token");
}
{
	my $name = '429, longer than max_retry_wait';

	$sim->reset;
	$sim->fault('POST', '', 'status',
		status => 429, headers => { 'Retry-After' => 3600 });
	like(said($session, $insert), qr/ERROR:  53400:/, "$name: the INSERT fails");
	is($sim->count(method => 'POST'), 1, "$name: GitLab gets one POST");
	is(changes($sim), '', "$name: GitLab has no new token");
}
foreach my $status (400, 403)
{
	$sim->reset;
	$sim->fault('POST', '', 'status', status => $status);
	unlike(said($session, $insert), qr/lost/,
		"$status: the answer counts as a refusal and not as lost");
	is($sim->count(method => 'POST'), 1, "$status: GitLab gets one POST");
	is(changes($sim), '', "$status: GitLab has no new token");
}

# A lost answer in a savepoint: all else is undone or done as ever.  Whoever catches
# the error may say nothing of it, so a warning repeats it when the transaction ends.
{
	my $name = 'lost in a savepoint';

	$sim->reset;
	$sim->fault('POST', '', 'reset', nth => 2, moment => 'after');
	my $text = said($session,
		"BEGIN; $insert; SAVEPOINT s; $insert; ROLLBACK TO s; $insert; COMMIT");
	is(count_matches($text, qr/answer was lost/), 1, "$name: the error says that the answer was lost");
	is(count_matches($text, qr/WARNING/), 1, "$name: one warning repeats the error");
	like($text, qr/WARNING:.* may have been created .*HINT:.*: SELECT /s,
		"$name: the warning has the SELECT");
	is(changes($sim), '17 active, 18 active, 19 active', "$name: GitLab has the tokens that it should");
}

# A token that is known not to be the one that may have been created: GitLab had shown it
# before, or the transaction has created it.  17 is made by somebody else, a moment ago.
{
	my $name = 'tokens like the one whose creation was lost';

	$sim->reset;
	$sim->control('POST', 'tokens', undef, { user_id => 2, name => q{it's lost}, scopes => ['api'] });
	$sim->fault('POST', '/api/v4', 'reset', nth => 2, moment => 'after');
	my $text = said(
		$session, qq{
		BEGIN; SELECT id FROM tokens WHERE name = 'it''s lost'; $insert; SAVEPOINT s; $insert; ROLLBACK TO s; $insert;
		SELECT 'seen', string_agg(id || ' ' || active, ', ' ORDER BY id) FROM tokens WHERE name = 'it''s lost';
		DELETE FROM tokens WHERE id IN (17, 18);
		COMMIT});
	like($text, qr/^seen\|17 true, 18 true, 19 false, 20 true$/m,
		"$name: they are active, unlike the one that may have been created");
	is(changes($sim), '17 revoked, 18 revoked, 19 active, 20 active', "$name: DELETE revokes them");
}

# An exception block catches the error, whatever the end of the transaction.
foreach my $case ([ $insert, 'COMMIT' ], [ $insert, 'ROLLBACK' ], [ $native, 'COMMIT' ],
	[ $native, 'ROLLBACK' ])
{
	my ($statement, $end) = @$case;
	my $what = $statement eq $native ? 'native rotation' : 'creation';
	my $name = "a lost answer to a $what that PL/pgSQL catches, $end";

	$sim->reset;
	$sim->fault('POST', '', 'reset', moment => 'after');
	my $text = said($session,
		"BEGIN; DO \$\$ BEGIN $statement; EXCEPTION WHEN OTHERS THEN NULL; END \$\$;
		SELECT 'seen', id, revoked, active FROM tokens WHERE id = 17; $end");
	like($text, qr/^seen\|17\|t\|f$/m,
		"$name: until then, the token that may have been created reads as revoked");
	is(count_matches($text, qr/ERROR/), 0, "$name: the client gets no error");
	is(count_matches($text, qr/WARNING/), 1, "$name: one warning tells of it at the end");
	my ($finder) = $text =~ /HINT:  Look for .*?: (SELECT .*;)(?:\n|\z)/;
	like(said($session, $finder // 'SELECT 0, NULL'), qr/\A17\|/,
		"$name: the SELECT in the warning finds the token");
}

# Each kind of token has its article.
foreach my $case ([ 'an impersonation token', 'gitlab_impersonation_tokens' ],
	[ 'a personal access token', 'gitlab_personal_access_tokens' ])
{
	my ($what, $table) = @$case;

	$node->safe_psql('postgres', "IMPORT FOREIGN SCHEMA gitlab LIMIT TO ($table) FROM SERVER gitlab INTO lost");
	$sim->reset;
	$sim->fault('POST', '', 'reset', times => 0, moment => 'after');
	my $said = said($session, "BEGIN; DO \$\$ BEGIN INSERT INTO $table (user_id, name, scopes, expires_at)
		VALUES (2, 'lost', '{api}', $later); EXCEPTION WHEN OTHERS THEN NULL; END \$\$; ROLLBACK");
	like($said, qr/WARNING:  01L05: $what may have been created/, "a WARNING calls it $what");
	$sim->clear_faults;
}

# An error that reaches the client is not repeated.
foreach my $sql ($insert, "BEGIN; $insert; ROLLBACK", "BEGIN; $insert; COMMIT")
{
	$sim->reset;
	$sim->fault('POST', '', 'reset', moment => 'after');
	is(count_matches(said($session, $sql), qr/WARNING/), 0,
		'a lost answer that the client was told of is told once');
}

$session->close;
is_alive($node);
$node->stop;

done_testing();
