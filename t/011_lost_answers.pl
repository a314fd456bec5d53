
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
	is($sim->count(method => 'POST'), 1, "$name: one POST");
	like($text, qr/ERROR:  $sqlstate: .*GitLab's answer was lost\n/,
		"$name: the error");
	like($text, qr/DETAIL: .*A token may exist whose secret nobody knows\./,
		"$name: its detail");
	unlike($text, qr/glpat-/, "$name: no secret");
	$sim->clear_faults;

	my ($finder) = $text =~ /HINT:  Look for it.*?: (SELECT .*;)(?:\n|\z)/;
	my $found = said($session, $finder // 'SELECT 0, NULL') // '';
	$created
	  ? like($found, qr/\A17\|.*\z/, "$name: the SELECT finds the token")
	  : is($found, '', "$name: the SELECT finds nothing");
	is( changes($sim),
		!$created ? '' : $is_native ? '2 revoked, 17 active' : '17 active',
		"$name: tokens");
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
		like(said($session, $insert), qr/answer was lost/, $name);
		my ($read) = $sim->journal(method => 'GET');
		my @posts = $sim->journal(method => 'POST');
		is(scalar @posts, 1, "$name: one POST");
		is($posts[0]{connection}, $read->{connection},
			"$name: on the same connection");
		is( changes($sim),
			$moment eq 'after' ? '17 active' : '',
			"$name: tokens");
	}
}

# What is known not to have been carried out is sent again, or is a plain error.
{
	my $name = '429';

	$sim->reset;
	$sim->fault('POST', '', 'status',
		status => 429, headers => { 'Retry-After' => 1 });
	my $begun = time;
	is(said($session, "$insert RETURNING id"), 17, "$name: it succeeds");
	cmp_ok(time - $begun, '>=', 0.9, "$name: after the wait asked for");
	is($sim->count(method => 'POST'), 2, "$name: two POSTs");
	is(changes($sim), '17 active', "$name: one token");
}
{
	my $name = '429, longer than max_retry_wait';

	$sim->reset;
	$sim->fault('POST', '', 'status',
		status => 429, headers => { 'Retry-After' => 3600 });
	like(said($session, $insert), qr/ERROR:  53400:/, "$name: error");
	is($sim->count(method => 'POST'), 1, "$name: one POST");
	is(changes($sim), '', "$name: no token");
}
foreach my $status (400, 403, 500)
{
	$sim->reset;
	$sim->fault('POST', '', 'status', status => $status);
	unlike(said($session, $insert), qr/lost/,
		"$status: a refusal, not a lost answer");
	is($sim->count(method => 'POST'), 1, "$status: one POST");
	is(changes($sim), '', "$status: no token");
}

# A lost answer in a savepoint: all else is undone or done as ever.
{
	my $name = 'lost in a savepoint';

	$sim->reset;
	$sim->fault('POST', '', 'reset', nth => 2, moment => 'after');
	my $text = said($session,
		"BEGIN; $insert; SAVEPOINT s; $insert; ROLLBACK TO s; $insert; COMMIT");
	is(count_matches($text, qr/answer was lost/), 1, "$name: the error");
	is(count_matches($text, qr/WARNING/), 0, "$name: told once");
	is(changes($sim), '17 active, 18 active, 19 active', "$name: tokens");
}

$session->close;
is_alive($node);
$node->stop;

done_testing();
