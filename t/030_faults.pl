# Whatever goes wrong between GitLab and us: the right SQLSTATE, never a wrong
# row or a short result, as many attempts as the rules for retries say, and
# afterwards a session that works and has lost nothing.
#
# A table of faults, each tried with each kind of request that it may hit.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IO::Compress::Gzip qw(gzip $GzipError);
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64;
use POSIX qw(strftime);
use Socket qw(SOL_SOCKET SO_LINGER);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# In seconds: longer than a busy machine needs for a statement with some short waits, and
# shorter than a wait that is too long.
use constant SOON => 20;

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	# compiled code grows a backend by itself
	conf => "jit = off\ngitlab_pat_fdw.discard_secrets = on\n",
	server_options => q{max_retries '1', max_retry_wait '10ms',
		request_timeout '500ms', connect_timeout '500ms',
		max_response_size '64kB'});
my $url = $sim->url;

# Nobody listens here but us, and nothing must ever arrive.
my $elsewhere = IO::Socket::INET->new(
	Listen => 16, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
$elsewhere->blocking(0);
my $foreign = 'http://localhost:' . $elsewhere->sockport;

$node->safe_psql(
	'postgres', qq{
	ALTER FOREIGN TABLE gitlab_personal_access_tokens RENAME TO tokens;
	CREATE FOREIGN TABLE paged (id bigint, name text, active boolean)
		SERVER gitlab OPTIONS (page_size '4', concurrency '2');
	CREATE SERVER patient FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '$url', max_retries '1', max_retry_wait '2s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER patient OPTIONS (token 'glpat-sim-admin');
	CREATE FOREIGN TABLE patient (id bigint, name text, user_id bigint, scopes text[],
		expires_at date, token text) SERVER patient;
	CREATE FOREIGN TABLE native (id bigint, name text, expires_at date, token text)
		SERVER gitlab OPTIONS (rotation 'native');
});

# The requests that a fault may hit: the statement that makes it, what tells it
# from others, and what the statement says if all is well.
my $all = 'id, user_id, name, description, scopes, active, revoked, created_at,
	last_used_at, last_used_ips, expires_at, granular';
my %requests = (
	list => {
		sql => "SELECT count(t) FROM (SELECT $all FROM tokens OFFSET 0) t",
		method => 'GET',
		path => 'personal_access_tokens\?',
		good => '16',
	},
	page => {
		sql => 'SELECT count(name), sum(id) FROM paged',
		method => 'GET',
		path => '[?&]page=3',
		good => '16|136',
	},
	total => {
		sql => 'SELECT count(*) FROM tokens',
		method => 'GET',
		path => 'personal_access_tokens\?',
		good => '16',
	},
	lookup => {
		sql => "SELECT max(id), count(t) FROM (SELECT $all FROM tokens WHERE id = 12 OFFSET 0) t",
		method => 'GET',
		path => 'personal_access_tokens/12',
		good => '12|1',
	},
	self => {
		sql => q{SELECT id, sees_all_tokens FROM gitlab_pat_self('gitlab')},
		method => 'GET',
		path => 'personal_access_tokens/self',
		good => '1|t',
	},
	users => {
		sql => 'SELECT count(username), sum(id) FROM gitlab_users',
		method => 'GET',
		path => '/users\?',
		good => '10|55',
	},
	insert => {
		sql => q{INSERT INTO tokens (user_id, name, scopes, expires_at)
			VALUES (2, 'new', '{api}', current_date + 90)
			RETURNING id, length(token) > 20},
		method => 'POST',
		path => 'users/2/personal_access_tokens',
		good => '17|t',
	},
	update => {
		sql => q{UPDATE tokens SET expires_at = current_date + 90 WHERE id = 2
			RETURNING id, length(token) > 20},
		method => 'POST',
		path => 'users/2/personal_access_tokens',
		good => '17|t',
	},
	native => {
		sql => q{UPDATE native SET expires_at = current_date + 90 WHERE id = 2
			RETURNING id, length(token) > 20},
		method => 'POST',
		path => 'personal_access_tokens/2/rotate',
		good => '17|t',
	},
	analyze => {
		sql => 'ANALYZE tokens',
		method => 'GET',
		path => 'personal_access_tokens\?',
		good => '',
	},
	delete => {
		sql => 'DELETE FROM tokens WHERE id = 2',
		method => 'DELETE',
		path => 'personal_access_tokens/2',
		good => '',
	});
my @all = qw(list page total lookup self users insert update native delete);
my $descriptors;

my $session = Session->open($node, verbosity => 'verbose');


# --- bodies in gzip -----------------------------------------------------------------

# Text as one member of gzip.
sub gzip_of
{
	my ($text) = @_;

	gzip(\$text => \my $packed) or die $GzipError;
	return $packed;
}

# The fields of a fault whose body is these bytes, said to be gzip.
sub in_gzip
{
	return (base64 => JSON::PP::true, body => encode_base64($_[0]), headers => { 'Content-Encoding' => 'gzip' });
}


# --- how a fault is tried -----------------------------------------------------------

# Runs a statement under a fault, if there is one.  Returns output, messages,
# attempts, and seconds.
sub attempt
{
	my ($request, $kind, %fault) = @_;

	$sim->control('POST', 'reset');
	$session->query('SELECT gitlab_pat_disconnect()');
	$sim->fault($request->{method}, $request->{path}, $kind, times => 0, %fault)
	  if $kind;
	my $begun = time;
	my ($out, $err) = $session->query($request->{sql});
	my $seconds = time - $begun;
	my $attempts =
	  $sim->count(method => $request->{method}, path => $request->{path});
	return ($out, $err, $attempts, $seconds);
}

# Tests that a statement fails with a SQLSTATE (or one of several) after so many
# attempts, brings no row, and changes nothing; and that the session is as good
# as before.
sub fails
{
	my ($name, $what, $sqlstate, $attempts, $kind, %fault) = @_;
	my $request = $requests{$what};
	my ($out, $err, $made, $seconds) = attempt($request, $kind, %fault);
	my $where = "$name, $what";
	my @wrong;

	push @wrong, "rows: $out" if $out ne '';
	push @wrong, "messages: $err" if $err !~ /ERROR:  ($sqlstate):/;
	push @wrong, "attempts: $made" if defined $attempts && $made != $attempts;
	push @wrong, "took $seconds s" if $seconds > SOON;
	$sim->clear_faults;
	my $changes = changes($sim);
	push @wrong, "changed: $changes"
	  if $changes && $err !~ /answer was lost.*HINT: .*SELECT|may have been revoked/s;
	my ($name_of_4, $complaint) = $session->query('SELECT name FROM tokens WHERE id = 4');
	push @wrong, "then: $name_of_4$complaint" if "$name_of_4$complaint" ne 'root no admin mode';
	my $open = descriptors();
	push @wrong, "descriptors: $open" if defined $descriptors && $open != $descriptors;
	ok(!@wrong, "$where: the statement fails with $sqlstate and leaves a good session") or diag(join "\n", @wrong);
	return $err;
}

# Tests that all is well, with the fault or without one.
sub works
{
	my ($name, $what, $attempts, $kind, %fault) = @_;
	my $request = $requests{$what};
	my $good = delete $fault{good} // $request->{good};
	my ($out, $err, $made) = attempt($request, $kind, %fault);
	my @wrong;

	push @wrong, "rows: $out" if $out ne $good;
	push @wrong, "messages: $err" if $err ne '';
	push @wrong, "attempts: $made" if defined $attempts && $made != $attempts;
	ok(!@wrong, "$name, $what: the statement succeeds") or diag(join "\n", @wrong);
	return;
}

sub memory
{
	my ($kilobytes) =
	  slurp_file("/proc/${\$session->pid}/status") =~ /VmRSS:\s+(\d+)/;

	return $kilobytes;
}

sub descriptors
{
	$session->query('SELECT gitlab_pat_disconnect()');
	return $session->descriptors;
}


# --- well at first ------------------------------------------------------------------

works('without a fault', $_) foreach @all;
fails('warming up', 'list', '08P01', 1, 'oversized', size => 60_000_000);
fails('warming up', 'list', 'HV000', 2, 'status', status => 500);
$descriptors = descriptors();
my $memory = memory();


# --- statuses ------------------------------------------------------------------------

# status, SQLSTATE, attempts; for a POST, unless they are the same
foreach my $case (
	[ 300, 'HV000', 1 ],
	[ 304, 'HV000', 1 ],
	[ 400, '22023', 1 ],
	[ 401, '28000', 1 ],
	[ 403, '42501', 1 ],
	[ 404, '42704', 1 ],
	[ 405, 'HV000', 1 ],
	[ 408, 'HV000', 1, '08006', 1 ],
	[ 409, 'HV000', 2, 'HV000', 1 ],
	[ 412, 'HV000', 1 ],
	[ 414, 'HV000', 1 ],
	[ 418, 'HV000', 1 ],
	[ 422, '22023', 1 ],
	[ 429, '53400', 2 ],
	[ 500, 'HV000', 2, '08006', 1 ],
	[ 501, 'HV000', 1, '08006', 1 ],
	[ 502, 'HV000', 2, '08006', 1 ],
	[ 503, 'HV000', 2, '08006', 1 ],
	[ 504, 'HV000', 2, '08006', 1 ],
	[ 505, 'HV000', 1, '08006', 1 ],
	[ 519, 'HV000', 1, '08006', 1 ],
	(map { [ $_, 'HV000', 2, '08006', 1 ] } 520 .. 530),
	[ 531, 'HV000', 1, '08006', 1 ],
	[ 599, 'HV000', 1, '08006', 1 ])
{
	my ($status, $sqlstate, $attempts, $post_sqlstate, $post_attempts) = @$case;

	foreach my $what ($status < 520 ? @all : qw(list lookup insert delete))
	{
		my $post = $requests{$what}->{method} eq 'POST' && defined $post_sqlstate;

		# to these GitLab says so when the token is not there
		next if $what eq 'lookup' && ($status == 401 || $status == 404);
		next if $what eq 'delete' && $status == 404;
		fails("status $status", $what,
			$post ? $post_sqlstate : $sqlstate,
			$post ? $post_attempts : $attempts,
			'status', status => $status);
	}
}

# The answers that mean that there is nothing
works('404', 'lookup', 1, 'status', status => 404, good => '|0');
works('401, the credential being good',
	'lookup', 1, 'status', status => 401, good => '|0');
works('404: gone already', 'delete', 1, 'status', status => 404);

# A proxy's 404 is no word of GitLab's.
fails("a proxy's 404", $_, '42704', 1, 'html', status => 404)
  foreach qw(list lookup self insert delete);
is($sim->token_state(2), 'active', "a proxy's 404 does not count as a revocation");

# 401 and no way to tell whether the credential is good: no row is no answer.
# Lookups of one's own token ask for it, too.
foreach my $case (
	[ 'status', '28000', status => 401 ],
	[ 'status', 'HV000', status => 500 ],
	[ 'status', '53400', status => 429 ],
	[ 'status', 'HV000', status => 302 ],
	[ 'html', '08P01', status => 200 ],
	[ 'reset', '08006' ],
	[ 'stall', '08006' ])
{
	my ($kind, $sqlstate, %fault) = @$case;
	my $name = join ' ', 'GET self:', $kind, %fault;

	foreach my $condition ('id = 12', 'user_id = 2')
	{
		$sim->reset;
		$sim->fault('GET', '/self', $kind, times => 0, %fault);
		$sim->fault('GET', 'tokens(/12|\?)', 'status', status => 401, times => 0);
		my ($out, $err) = $session->query("SELECT * FROM tokens WHERE $condition");
		is($out, '', "401 and $name, $condition: the statement returns no row");
		like($err, qr/ERROR:  ($sqlstate|28000):/, "401 and $name, $condition: the statement fails with the right error");
		$sim->clear_faults;
		$session->query('SELECT gitlab_pat_disconnect()');
	}
}

# Bodies in all shapes say more or less, with whatever status they come; but of a
# lost answer to a POST nothing is quoted.
my %sqlstates = (
	400 => '22023', 401 => '28000', 403 => '42501', 404 => '42704', 422 => '22023',
	429 => '53400', map { $_ => 'HV000' } 405, 409, 412, 414, 500, 502, 503, 504, 520);

foreach my $case (
	[ 'a string', '{"message":"400 Bad request - no"}', 'GitLab said: "400 Bad request - no"' ],
	[ 'an object', '{"message":{"name":["is bad","is long"],"base":["no"]}}', 'name: is bad, is long; base: no' ],
	[ 'an object with an error', '{"message":{"error":"too many"}}', 'error: too many' ],
	[ 'an array', '{"message":["one","two"]}', '"one, two"' ],
	[ 'an error', '{"error":"state is bad"}', '"state is bad"' ],
	[ 'a description', '{"error":"dpop_error","error_description":"bad proof","message":"m"}', '"bad proof"' ],
	[ 'numbers', '{"message":{"a":[1,null,true,{"b":{"c":{"d":{"e":1}}}}]}}', 'a: 1, ' ],
	[ 'null', '{"message":null}', 'GitLab' ],
	[ 'an empty object', '{}', 'GitLab gave no reason' ],
	[ 'an array on top', '["x"]', 'GitLab gave no reason' ],
	[ 'a string on top', '"x"', 'GitLab gave no reason' ],
	[ 'nothing', '', 'GitLab gave no reason' ],
	[ 'no JSON', '{"message":', 'GitLab gave no reason' ],
	[ 'a web page', '<h1>oops</h1>', 'GitLab gave no reason', 'text/html' ],
	[ 'plain text', "Retry later\n", 'Retry later', 'text/plain' ],
	[ 'no type', '{"message":"x"}', 'GitLab gave no reason', 'application/octet-stream' ],
	[ 'JSON of another kind', '{"message":"x"}', 'GitLab gave no reason', 'application/jsonx' ])
{
	my ($name, $body, $words, $type) = @$case;

	foreach my $status (sort keys %sqlstates)
	{
		foreach my $what (qw(list insert delete))
		{
			my $lost = $what eq 'insert' && $status >= 500;

			# GitLab's word that it is gone
			next if $what eq 'delete' && $status == 404 && ($type // '') eq '';
			my $err = fails("$status with $name", $what,
				$lost ? '08006' : $sqlstates{$status}, undef, 'body',
				status => $status, body => $body,
				content_type => $type // 'application/json');
			$lost
			  ? unlike($err, qr/GitLab said/, "$status with $name, $what: no words")
			  : like($err, qr/DETAIL: .*\Q$words\E/, "$status with $name, $what: the error quotes the right words");
		}
	}
}

# What GitLab says about credentials, by its reference
foreach my $case (
	[ 401, '{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}', 'Token was revoked' ],
	[ 401, '{"error":"invalid_token","error_description":"Token is expired. You can either do re-authorization or token refresh."}', 'Token is expired' ],
	[ 403, '{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}', 'one of these scopes: api read_api' ],
	[ 403, '{"message":"403 Forbidden - Your account has been blocked."}', 'has been blocked' ],
	[ 403, '{"message":"You cannot perform write operations on a read-only instance"}', 'read-only instance' ])
{
	my ($status, $body, $words) = @$case;

	foreach my $what (qw(list self insert delete))
	{
		my $err = fails($words, $what, $status == 401 ? '28000' : '42501', 1,
			'body', status => $status, body => $body);
		like($err, qr/\Q$words\E/, "$words, $what: the error quotes the right words")
		  unless $what =~ /insert|delete/ && $words =~ /scopes/;
	}
}
fails('409 without a lock', $_, 'HV000', 1, 'body', status => 409,
	body => '{"message":"409 Conflict"}') foreach qw(list insert delete);

# ANALYZE reads, too.
fails('ANALYZE', 'analyze', $_->[0], undef, @$_[1 .. $#$_]) foreach (
	[ '42501', 'status', status => 403 ],
	[ 'HV000', 'status', status => 500 ],
	[ '08P01', 'html' ],
	[ '08006', 'truncate' ]);


# --- answers that can't be read ---------------------------------------------------------

my $nothing_good = qr/08P01/;
my @readers = qw(list page total lookup self users insert update native);

foreach my $case (
	[ 'an empty body', 'empty' ],
	[ 'a web page', 'html' ],
	[ 'random bytes', 'garbage' ],
	[ 'deep JSON', 'deep' ],
	[ 'very deep JSON', 'deep', depth => 30000 ],
	[ 'plain text', 'body', body => '[]', content_type => 'text/plain' ],
	[ 'null', 'body', body => 'null' ],
	[ 'a string', 'body', body => '"[]"' ],
	[ 'a number', 'body', body => '17' ],
	[ 'half an array', 'body', body => '[{"id":12' ],
	[ 'two values', 'body', body => '[{"id":1}] [{"id":2}]' ],
	[ 'no content', 'status', status => 204 ],
	[ 'a null character in front', 'body', base64 => JSON::PP::true, body => encode_base64("\0[]") ],
	[ 'a null character inside', 'body', base64 => JSON::PP::true, body => encode_base64("[{\"id\":12\0}]") ],
	[ 'a null character at the end', 'body', base64 => JSON::PP::true, body => encode_base64("[]\0") ],
	[ 'UTF-16', 'body', base64 => JSON::PP::true, body => encode_base64("\xff\xfe[\0]\0") ],
	[ 'no gzip', 'body', body => '[]', headers => { 'Content-Encoding' => 'gzip' } ],
	[ 'bytes behind the end of gzip', 'body', in_gzip(gzip_of('[]') . 'more') ],
	[ 'two members of gzip', 'body', in_gzip(gzip_of('[') . gzip_of(']')) ],
	[ 'an unknown coding', 'body', body => '[]', headers => { 'Content-Encoding' => 'zip' } ],
	[ 'more than the limit', 'oversized', size => 100_000 ],
	[ 'more than the limit, length unknown', 'oversized', size => 100_000, length => JSON::PP::false ],
	[ 'a gzip bomb', 'gzip_bomb', size => 50_000_000 ],
	[ 'headers without an end', 'raw', body => "HTTP/1.1 200 OK\r\n" . "X: y\r\n" x 20_000 . "\r\n" ],
	[ 'a header without an end', 'raw', body => "HTTP/1.1 200 OK\r\nX: " . "y" x 200_000 . "\r\n\r\n" ],
	[ 'interim answers without an end', 'raw', body => "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" x 5_000 ],
	[ 'no HTTP', 'raw', body => "SSH-2.0-OpenSSH_9.2\r\n" ])
{
	my ($name, $kind, %fault) = @$case;

	fails($name, $_, '08P01', 1, $kind, %fault) foreach @readers;
}
fails('an empty body', 'delete', '08P01', 1, 'empty');
fails('a web page', 'delete', '08P01', 1, 'html');
fails('no array', $_, '08P01', 1, 'body', body => '{"id":1,"name":"x"}')
  foreach qw(list page total users);
fails('no object', $_, '08P01', 1, 'body', body => '[{"id":12}]')
  foreach qw(lookup self insert);
fails('an element that is no object', $_, '08P01', 1, 'body', body => '[12]')
  foreach qw(list page users);
fails('an object without an id', $_, '08P01', 1, 'body', body => '{"name":"x"}')
  foreach qw(lookup self insert);

# json-c would read some of these.
foreach my $case (
	[ 'quotes of another kind', q([{'id':1}]) ],
	[ 'a comment', '[/* one */{"id":1}]' ],
	[ 'a comma behind the last element', '[{"id":1},]' ],
	[ 'a comma in front of the first element', '[,{"id":1}]' ],
	[ 'a comma alone', '[,]' ],
	[ 'no comma', '[{"id":1}{"id":2}]' ],
	[ 'a brace at the end of a list', '[{"id":1}}' ],
	[ 'a bracket too many', '[{"id":1}]]' ],
	[ 'a string without an end', '[{"id":1,"name":"x}]' ])
{
	my ($name, $body) = @$case;

	foreach my $long (0, 1)
	{
		# of a long list, or one with what may begin a comment, the elements are measured first
		my $text = $long ? $body =~ s|^\[|[{"id":9,"web_url":"https://gitlab.example.com"},|r : $body;

		next if $long && $body =~ /^\[,/;
		fails($long ? "$name, behind a URL" : $name, $_, '08P01', 1, 'body', body => $text)
		  foreach qw(list page users);
	}
}

# What looks like JSON's marks is text within a string.
foreach my $name ("O'Neill", 'a/b', '/* no comment', '[{,}]', q(say "'hi'"), 'a\\', '}]', '{' x 3000, ',[' x 20_000)
{
	my @names = ('first', $name, 'last');
	my $body = JSON::PP::encode_json([ map { { id => $_ + 1, name => $names[$_] } } 0 .. 2 ]);

	$sim->reset;
	$sim->fault('GET', 'personal_access_tokens\?', 'body', body => $body);
	is_deeply([ $session->query(q{SELECT string_agg(name, '|' ORDER BY id) FROM tokens}) ],
		[ join('|', @names), '' ], 'a list has the name ' . substr($name, 0, 20));
}

# Sixteen levels and not one more.
foreach my $case ([ 16, 14 ], [ 17, 15 ])
{
	my ($depth, $brackets) = @$case;
	my $body = '[{"id":1,"x":' . '[' x $brackets . '1' . ']' x $brackets . '}]';

	$depth == 16
	  ? works("JSON of $depth levels", 'list', 1, 'body', body => $body, good => 1)
	  : fails("JSON of $depth levels", 'list', '08P01', 1, 'body', body => $body);
}


# --- connections that break -----------------------------------------------------------------

foreach my $case (
	[ 'reset before the answer', '08006', 2, 'reset' ],
	[ 'closed before the answer', '08006', 2, 'close' ],
	[ 'closed within the status line', '08006|08P01', undef, 'raw', body => 'HTTP/1.1 2' ],
	[ 'closed within the headers', '08006|08P01', undef, 'raw', body => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le" ],
	[ 'closed within the body', '08006', 2, 'truncate' ],
	[ 'reset after the headers', '08006', 2, 'raw', body => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n" ],
	[ 'too small a length', '08P01', 1, 'short_length' ],
	[ 'a bad chunk', '08006|08P01', undef, 'bad_chunk' ],
	[ 'a bad length', '08006|08P01', undef, 'raw', body => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n[]" ],
	[ 'an endless length', '08006|08P01', undef, 'raw', body => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n[{\"id\":12," ])
{
	my ($name, $sqlstate, $attempts, $kind, %fault) = @$case;

	foreach my $what (@all)
	{
		# what has no body has no length either
		next if $what eq 'delete' && $kind =~ /length|chunk/;
		fails($name, $what, $sqlstate,
			$requests{$what}->{method} eq 'POST' ? 1 : $what =~ /delete|page/ ? undef : $attempts,
			$kind, %fault);
	}
}

# One fault that a second attempt makes up for
foreach my $kind (qw(reset close truncate))
{
	works("$kind once", $_, 2, $kind, times => 1) foreach qw(list page lookup delete);
}

# GitLab has done what was asked for, and then the connection breaks.
foreach my $kind (qw(reset close))
{
	works("$kind once, but not before it was done", $_, 2, $kind, times => 1, moment => 'after')
	  foreach qw(list page lookup delete);
	foreach my $what (qw(insert update native))
	{
		my $err = fails("$kind, but not before it was done", $what, '08006', 1, $kind, moment => 'after');
		like($err, qr/answer was lost/, "$kind, but not before it was done, $what: lost");
	}
}

# RST in the middle of a body: what a stall ends with.
{
	my $request = $requests{lookup};

	$sim->reset;
	$sim->fault('GET', $request->{path}, 'stall', at => 'body', times => 0);
	$session->send($request->{sql});
	$sim->wait_for('GET', $request->{path});
	$sim->clear_faults;
	is(($session->finish)[0], '12|1', 'reset within the body, once, lookup');
}

# Stalls run into the time limit, and are not tried again.
foreach my $at (qw(headers body))
{
	foreach my $what (qw(list lookup insert delete))
	{
		# an answer without a body has nothing to stall at
		next if $at eq 'body' && $what eq 'delete';
		fails("stalled $at", $what, '08006', 1, 'stall', at => $at);
	}
}

# A server of which each connection sends this, and then does that.
sub serve
{
	my ($bytes, $then) = @_;
	my $listen = IO::Socket::INET->new(
		Listen => 16, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
	my $pid = fork // die "fork: $!";

	return ($listen->sockport, $pid) if $pid;
	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP CHLD);
	while (my $client = $listen->accept)
	{
		next if fork;
		my $request = '';
		while ($request !~ /\r\n\r\n/)
		{
			sysread $client, $request, 65536, length $request or POSIX::_exit(0);
		}
		# whether the credential sees the tokens of all users
		$bytes = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
		  if $request =~ /user_id=0/;
		syswrite $client, $bytes;
		$then->($client);
		POSIX::_exit(0);
	}
	POSIX::_exit(1);
}

my $object = '{"id":12,"name":"served"}';
my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
my $answer = "${head}Content-Length: ${\length $object}\r\n\r\n$object";
my $stall = sub { sysread $_[0], my $nothing, 1 };
foreach my $case (
	[ 'stalled within the status line', 'HTTP/1.1 2', $stall, '08006' ],
	[ 'stalled within the headers', "${head}Content-Le", $stall, '08006' ],
	[ 'stalled within a chunk', "${head}Transfer-Encoding: chunked\r\n\r\n9\r\n{\"id\":", $stall, '08006' ],
	[ 'a byte now and then', "${head}Content-Length: 1000\r\n\r\n",
		sub { sleep 0.05 while syswrite $_[0], ' ' }, '08006' ],
	[ 'headers now and then', $head,
		sub { sleep 0.05 while syswrite $_[0], "X: y\r\n" }, '08006' ],
	[ 'a chunk that is none', "${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", sub { }, '08006|08P01' ],
	[ 'two lengths', "${head}Content-Length: 5\r\nContent-Length: 50\r\n\r\n$object", sub { }, '08006|08P01' ],
	# the connection has an end, but the answer was complete
	[ 'closed after the answer', $answer, sub { } ],
	[ 'reset after the answer', $answer,
		sub { sleep 0.1; setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 } ])
{
	my ($name, $bytes, $then, $sqlstate) = @$case;
	my ($port, $pid) = serve($bytes, $then);

	$session->query(qq{
		CREATE SERVER served FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url 'http://127.0.0.1:$port', request_timeout '400ms', max_retries '0');
		CREATE USER MAPPING FOR CURRENT_USER SERVER served OPTIONS (token 'glpat-served');
		CREATE FOREIGN TABLE served (id bigint, name text) SERVER served;});
	foreach my $round (1 .. 2)
	{
		my $begun = time;
		my ($out, $err) = $session->query('SELECT name FROM served WHERE id = 12');

		is($out, $sqlstate ? '' : 'served', "$name, $round: " . ($sqlstate ? 'no row' : 'the row'));
		like($err, $sqlstate ? qr/ERROR:  (?:$sqlstate):/ : qr/^$/, "$name, $round: the statement has the right SQLSTATE");
		cmp_ok(time - $begun, '<', SOON, "$name, $round: the statement ends soon");
		sleep 0.2 unless $sqlstate;
	}
	$session->query('SET client_min_messages = error; DROP SERVER served CASCADE; RESET client_min_messages');
	kill 'TERM', $pid;
	waitpid $pid, 0;
	is(descriptors(), $descriptors, "$name: no descriptor is left open");
}

# Connections that do not come about
{
	my $full = IO::Socket::INET->new(
		Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
	my @queue = map {
		IO::Socket::INET->new(
			PeerAddr => '127.0.0.1', PeerPort => $full->sockport,
			Proto => 'tcp', Blocking => 0)
	} 1 .. 16;
	# connections come about, but nobody ever says anything
	my $silent = IO::Socket::INET->new(
		Listen => 100, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
	my $closed = IO::Socket::INET->new(
		Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
	my $nobody = $closed->sockport;
	$closed->close;

	foreach my $case (
		[ 'nobody listens', "http://127.0.0.1:$nobody" ],
		[ 'the queue is full', "http://127.0.0.1:${\$full->sockport}" ],
		[ 'TLS is not answered', "https://127.0.0.1:${\$silent->sockport}" ],
		[ 'TLS is not spoken', 'https://127.0.0.1:' . $sim->port ],
		[ 'no such host', 'https://gitlab.invalid' ])
	{
		my ($name, $there) = @$case;

		$session->query(qq{
			CREATE SERVER broken FOREIGN DATA WRAPPER gitlab_pat_fdw
				OPTIONS (url '$there', connect_timeout '300ms', max_retries '1', max_retry_wait '1ms');
			CREATE USER MAPPING FOR CURRENT_USER SERVER broken OPTIONS (token 'glpat-broken');
			CREATE FOREIGN TABLE broken (id bigint, user_id bigint, name text, scopes text[], token text) SERVER broken;});
		foreach my $sql (
			'SELECT * FROM broken',
			'SELECT * FROM broken WHERE id = 1',
			q{SELECT * FROM gitlab_pat_self('broken')},
			q{INSERT INTO broken (user_id, name, scopes) VALUES (1, 'x', '{api}')})
		{
			my ($out, $err) = $session->query($sql);
			is($out, '', "$name: the statement returns no row");
			like($err, qr/ERROR:  08001:/, "$name: the error is 08001");
		}
		my ($attempts) = $session->query(
			q{SELECT requests || '|' || retries FROM gitlab_pat_requests() WHERE server_name = 'broken'
				ORDER BY requests DESC LIMIT 1});
		is($attempts, '8|4', "$name: each request is tried twice") if $name eq 'nobody listens';
		$session->query('SET client_min_messages = error; DROP SERVER broken CASCADE; RESET client_min_messages');
	}
}


# --- fields ---------------------------------------------------------------------------------

my @fields = (
	[ 'user_id', '"8"', 1.5, '[8]', '9223372036854775808', '-9223372036854775809', '1e400', 'true' ],
	[ 'name', 5, '["x"]', '{"a":1}', 'false', '"a\u0000b"', "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"" ],
	[ 'description', 7, '{}' ],
	[ 'scopes', '"api"', '["api",7]', '[null]', '[["api"]]', '{"0":"api"}' ],
	[ 'active', '"true"', 1, '"yes"', '[]' ],
	[ 'revoked', 0, '"false"' ],
	[ 'created_at', '"yesterday"', '"now"', '"2024-13-01T00:00:00Z"', '"2024-01-01"', '1704067200', '"2024-01-01T25:00:00Z"', '"2024-01-01T00:00:00"', '"-5000-01-01T00:00:00Z"', '"infinity"', '""' ],
	[ 'last_used_at', '"2024-02-30T00:00:00Z"', '"999999-01-01T00:00:00Z"', '"2024-01-01T00:00:00+99:00"', 'false' ],
	[ 'expires_at', '"2024-02-30"', '"infinity"', '"0000-00-00"', '"24-01-01"', '"2024-02-01T00:00:00Z"', '"today"', '20240101', '"5874898-01-01"' ],
	[ 'last_used_ips', '["192.0.2.7/33"]', '["localhost"]', '["1.2.3"]', '["::g"]', '["fe80::1%eth0"]', '[5]', '{"a":1}', '"192.0.2.7"' ],
	[ 'granular', '{}', '"no"', 0 ]);

# The object that is edited, as JSON text with one field's value put in.
sub object_with
{
	my ($id, $field, $value) = @_;

	return qq({"id":$id,"name":"x","user_id":2,"$field":$value});
}

sub raw_body
{
	return (base64 => JSON::PP::true, body => encode_base64($_[0]));
}

my $later = strftime('%Y-%m-%d', gmtime(time + 90 * 86400));

foreach my $row (@fields)
{
	my ($field, @values) = @$row;

	foreach my $value (@values)
	{
		my $name = "$field is $value";
		$name =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge;

		my %cases = (
			lookup => object_with(12, $field, $value),
			list => '[{"id":1,"name":"y"},' . object_with(12, $field, $value) . ']',
			insert => qq({"id":17,"name":"new","user_id":2,"scopes":["api"],"token":"glpat-made-$$",)
			  . qq("active":true,"expires_at":"$later","$field":$value}));
		foreach my $what (qw(lookup list insert))
		{
			# a list is enough for one of each field
			next if $what ne 'lookup' && $value ne $values[0];
			my $err = fails($name, $what, '08P01', 1, 'body',
				raw_body($cases{$what}), $what eq 'insert' ? (status => 201) : ());
			like($err, qr/field "$field"/, "$name, $what: the error names the field");
		}
	}
}

# A field that is given twice: the last one counts, as everywhere with JSON;
# what is missing or null is NULL.
foreach my $case (
	[ 'name twice', '{"id":12,"name":"a","name":"b"}', 'b|' ],
	[ 'all missing', '{"id":12}', '|' ],
	[ 'all null', '{"id":12,"name":null,"scopes":null,"expires_at":null,"created_at":null,"last_used_ips":null}', '|' ],
	[ 'id twice', '{"id":3,"id":12,"name":"c"}', 'c|' ],
	[ 'id beyond the first years', '{"id":12,"name":"d","expires_at":"9999-12-31"}', 'd|9999-12-31' ])
{
	my ($name, $body, $good) = @$case;

	$sim->reset;
	$sim->fault('GET', 'tokens/12', 'body', body => $body);
	is_deeply([ $session->query('SELECT name, expires_at FROM tokens WHERE id = 12') ],
		[ $good, '' ], $name);
}

# An id is a positive bigint, the one that was asked for.
foreach my $id ('"12"', 0, -12, 12.5, 'null', 'true', '9223372036854775808',
	'18446744073709551615', '18446744073709551628', '-9223372036854775809', '1e1', '[12]')
{
	fails("id is $id", 'lookup', '08P01', 1, 'body', body => qq({"id":$id}));
	fails("id is $id", 'list', '08P01', 1, 'body', body => qq([{"id":1},{"id":$id}]));
	fails("id is $id", 'insert', '08P01', 1, 'body', body => qq({"id":$id,"token":"glpat-secret"}), status => 201);
}
fails('another id', 'lookup', '08P01', 1, 'body', body => '{"id":3}');
fails('id twice', 'lookup', '08P01', 1, 'body', body => '{"id":12,"id":3}');

# Headers that make no sense do no harm.
foreach my $headers (
	{ 'X-Total' => 'many' }, { 'X-Total' => '-1' }, { 'X-Total' => '99999999999999999999x' },
	{ 'X-Total' => '' }, { 'X-Total' => undef }, { 'X-Total' => undef, 'X-Total-Pages' => undef },
	{ 'X-Total-Pages' => 'x' }, { 'X-Total-Pages' => '0' }, { 'X-Total-Pages' => '-7' },
	{ 'X-Page' => 'x' }, { 'X-Per-Page' => '0' }, { Date => 'never' }, { Date => '' },
	{ Date => 'Sat, 31 Dec 2147483647 23:59:59 -1200' },
	{ Date => 'Mon, 01 Jan 10000 00:00:00 GMT' }, { Date => 'Wed, 31 Dec 1969 23:59:59 GMT' },
	{ 'X-Next-Page' => undef }, { Link => undef }, { Link => '<' }, { Link => 'x' x 3000 })
{
	my $name = join ' ', map { "$_: " . ($headers->{$_} // 'none') } sort keys %$headers;

	works(substr($name, 0, 60), $_, undef, 'edit', headers => $headers)
	  foreach qw(list total);
	$requests{every_page} = { %{ $requests{page} }, path => '[?&]page=' };
	works(substr($name, 0, 60), 'every_page', undef, 'edit', headers => $headers);
}


# --- lists without an end --------------------------------------------------------------------

foreach my $kind (qw(repeat_page endless))
{
	my %every = (%{ $requests{page} }, path => '[?&]page=');

	$sim->reset;
	$sim->fault('GET', '[?&]page=', $kind, times => 0);
	my ($out, $err) = $session->query($requests{page}->{sql});
	if ($kind eq 'repeat_page')
	{
		is($out, '', "$kind: the list returns no row");
		like($err, qr/ERROR:  08P01:/, "$kind: the error is 08P01");
	}
	else
	{
		# an empty page is the end, whatever its headers say
		is($out, $requests{page}->{good}, "$kind: the list returns all rows");
	}
	cmp_ok($sim->count(method => 'GET', path => '[?&]page='), '<', 12, "$kind: the list has an end");
}
# The list has an end, but is not all there.
{
	$sim->reset;
	$sim->fault('GET', '[?&]page=', 'edit', times => 0, headers => { 'X-Total' => 5000 });
	my ($out, $err) = $session->query(
		"SELECT count(n) FROM ($requests{page}->{sql} OFFSET 0) AS n");
	is($out, '', 'fewer rows than the total: the list returns no result');
	like($err, qr/ERROR:  40001:/, 'fewer rows than the total: the error is 40001');
	cmp_ok($sim->count(method => 'GET', path => '[?&]page='), '<', 24,
		'fewer rows than the total: the list has an end');
}
{
	my %link = (headers => { Link => "<$foreign/api/v4/users?cursor=again>; rel=\"next\"" });

	fails('the same cursor again and again', 'users', '08P01', undef, 'body',
		body => '[{"id":1,"username":"x"}]', %link);
	cmp_ok($sim->count(method => 'GET', path => '/users'), '<', 8, 'a list with the same cursor again and again has an end');
	# a list is not taken for whole because its next page can't be asked for
	foreach my $query ('', '?cursor=', '?page=2')
	{
		%link = (headers => { Link => "<$foreign/api/v4/users$query>; rel=\"next\"" });
		my $err = fails("a next page without a cursor: \"$query\"", 'users', '08P01', 1, 'body',
			body => '[{"id":1,"username":"x"}]', %link);
		like($err, qr/The link to the next page has no cursor/, 'no cursor: the error says that the link has none');
	}
}
# A total beyond all numbers is none: then what there is is counted.
$sim->reset;
$sim->fault('GET', '[?&]page=', 'edit', headers => { 'X-Total' => '99999999999999999999' });
is(($session->query("SELECT count(*) FROM tokens WHERE user_id = 2"))[0],
	scalar(grep { $_->{user_id} == 2 } $sim->tokens),
	'a total beyond bigint is not believed');


# --- other hosts -------------------------------------------------------------------------------

foreach my $status (301, 302, 303, 307, 308)
{
	foreach my $what (@all)
	{
		my $err = fails("redirect $status", $what, 'HV000', 1, 'redirect',
			status => $status, location => "$foreign/api/v4/personal_access_tokens");
		like($err, qr/It redirects to "\Q$foreign\E/, "redirect $status, $what: the error names the place");
	}
}
fails('redirect without a place', 'list', 'HV000', 1, 'status', status => 302);
works('Link to another host', $_, undef, 'edit', headers => {
		Link => "<$foreign/api/v4/personal_access_tokens?page=2>; rel=\"next\"",
		Location => "$foreign/", Refresh => "0; url=$foreign/",
		'Content-Location' => "$foreign/", 'Alt-Svc' => "h2=\"localhost:${\$elsewhere->sockport}\"; ma=3600" })
  foreach qw(list lookup);
$requests{every_page} = { %{ $requests{page} }, path => '[?&]page=' };
works('Link to another host', 'every_page', undef, 'edit', headers => {
		Link => "<$foreign/api/v4/personal_access_tokens?page=2>; rel=\"next\"" });
ok(!$elsewhere->accept, 'nothing has reached the other host');


# --- patience ------------------------------------------------------------------------------------

# [name, headers by the time of the test, attempts, least seconds]
my $now = time;
my $date = sub { strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime($_[0])) };
foreach my $case (
	[ 'Retry-After: 1', { 'Retry-After' => 1 }, 2, 1 ],
	[ 'Retry-After: 0', { 'Retry-After' => 0 }, 2, 0 ],
	[ 'Retry-After: 30', { 'Retry-After' => 30 }, 1, 0 ],
	[ 'Retry-After: an hour', { 'Retry-After' => 3600 }, 1, 0 ],
	[ 'Retry-After: absurd', { 'Retry-After' => '99999999999999999999' }, 1, 0 ],
	[ 'Retry-After: negative', { 'Retry-After' => '-5' }, 2, 0 ],
	[ 'Retry-After: no number', { 'Retry-After' => 'soon' }, 2, 0 ],
	[ 'no header', {}, 2, 0 ],
	# whole seconds, and up to one of them has passed
	[ 'Retry-After: soon', sub { { 'Retry-After' => $date->(time + 2) } }, 2, 0.9 ],
	[ 'RateLimit-Reset: soon', sub { { 'RateLimit-Reset' => int(time) + 2 } }, 2, 0.9 ],
	[ 'Retry-After: past', { 'Retry-After' => $date->($now - 3600) }, 2, 0 ],
	[ 'Retry-After: far away', { 'Retry-After' => 'Fri, 01 Jan 2100 00:00:00 GMT' }, 1, 0 ],
	[ 'RateLimit-Reset: far away', { 'RateLimit-Reset' => int($now) + 3600 }, 1, 0 ],
	[ 'RateLimit-Reset: past', { 'RateLimit-Reset' => 1 }, 2, 0 ],
	[ 'RateLimit-Reset: absurd', { 'RateLimit-Reset' => '9' x 30 }, 1, 0 ],
	[ 'RateLimit-Reset: no number', { 'RateLimit-Reset' => 'x' }, 2, 0 ],
	[ 'both', { 'Retry-After' => 0, 'RateLimit-Reset' => int($now) + 3600 }, 2, 0 ])
{
	my ($name, $headers, $attempts, $least) = @$case;
	my $begun = time;

	$headers = $headers->() if ref $headers eq 'CODE';
	$sim->reset;
	$sim->fault('GET', 'tokens', 'status', status => 429, times => 1, headers => $headers);
	my ($out, $err) = $session->query('SELECT count(name) FROM patient');
	my $seconds = time - $begun;

	if ($attempts == 2)
	{
		is("$out$err", '16', "429, $name: the request is tried again");
	}
	else
	{
		is($out, '', "429, $name: the statement returns no row");
		like($err, qr/ERROR:  53400:.*HINT:/s, "429, $name: the error is 53400 with a hint");
	}
	is($sim->count(method => 'GET'), $attempts, "429, $name: GitLab gets $attempts requests");
	cmp_ok($seconds, '>=', $least, "429, $name: the statement waits as long as it should");
	cmp_ok($seconds, '<=', SOON, "429, $name: the statement waits no longer than it should");
}


# Without a header, a lone failure costs little, and the waits grow.  The least of
# several says what was waited for, and not how busy the machine was.
{
	my (@first, @second);

	$session->query(q{ALTER SERVER patient OPTIONS (SET max_retries '2')});
	foreach (1 .. 20)
	{
		$sim->reset;
		$sim->fault('GET', 'tokens/12$', 'status', status => 503, times => 2);
		$session->query('SELECT name FROM patient WHERE id = 12');
		my @times = map { $_->{t} } $sim->journal(path => 'tokens/12$');

		push @first, $times[1] - $times[0];
		push @second, $times[2] - $times[1];
		last if @first >= 5 && grep { $_ < 150 } @first;
	}
	$session->query(q{ALTER SERVER patient OPTIONS (SET max_retries '1')});
	cmp_ok((sort { $a <=> $b } @first)[0], '<', 150, 'the first wait without a header is a tenth of a second');
	cmp_ok((sort { $a <=> $b } @first)[0], '>=', 50, 'a request is not tried again at once');
	cmp_ok((sort { $a <=> $b } @second)[0], '>=', 100, 'the second wait is at least a tenth of a second');
}

# Those who write wait, too; and for other answers than 429, if they say so.
foreach my $case (
	[ 429, 'INSERT INTO patient (user_id, name, scopes) VALUES (2, \'x\', \'{api}\') RETURNING id', 'POST', 17 ],
	[ 429, 'UPDATE patient SET expires_at = current_date + 9 WHERE id = 2 RETURNING id', 'POST', 17 ],
	[ 429, 'DELETE FROM patient WHERE id = 2', 'DELETE', '' ],
	[ 503, 'DELETE FROM patient WHERE id = 2', 'DELETE', '' ],
	[ 503, 'SELECT count(name) FROM patient', 'GET', 16 ])
{
	my ($status, $sql, $method, $good) = @$case;

	foreach my $seconds (1, 3600)
	{
		my $name = "$status, Retry-After: $seconds, $method";

		$sim->reset;
		$sim->fault($method, 'tokens', 'status', status => $status, times => 1,
			headers => { 'Retry-After' => $seconds });
		my $begun = time;
		my ($out, $err) = $session->query($sql);

		if ($seconds == 1)
		{
			is("$out$err", $good, "$name: the request is tried again");
			cmp_ok(time - $begun, '>=', 1, "$name: the retry waits for that time");
		}
		else
		{
			is($out, '', "$name: the statement returns no row");
			like($err, $status == 429 ? qr/ERROR:  53400:/ : qr/ERROR:  HV000:/, "$name: the statement fails with the right error");
			is(changes($sim), '', "$name: GitLab has the same tokens as before");
			cmp_ok(time - $begun, '<', SOON, "$name: the statement fails at once");
		}
	}
}


# --- and all is well again -------------------------------------------------------------------------

works('after all this', $_) foreach @all;
is(descriptors(), $descriptors, 'no descriptor is left open');
note('memory has grown by ' . (memory() - $memory) . ' kB');
cmp_ok(memory() - $memory, '<', 8192, 'all the faults cost less than 8 MB of memory');

# What was new the first time is not so the hundredth time: libraries and caches
# are loaded, and whatever still grows is lost.
my @again = (
	[ 'list', 'status', status => 500 ],
	[ 'list', 'body', body => '[{"id":1,"name":5}]' ],
	[ 'page', 'truncate' ],
	[ 'page', 'oversized', size => 1_000_000 ],
	[ 'lookup', 'gzip_bomb', size => 1_000_000 ],
	[ 'users', 'deep' ],
	[ 'insert', 'status', status => 502 ],
	[ 'insert', 'edit', set => { name => 5 } ],
	[ 'delete', 'reset' ]);
foreach my $round (1 .. 20)
{
	foreach my $case (@again)
	{
		my ($what, $kind, %fault) = @$case;

		attempt($requests{$what}, $kind, %fault);
	}
	$memory = memory() if $round == 5;
}
note('memory has grown by ' . (memory() - $memory) . ' kB in the last rounds');
cmp_ok(memory() - $memory, '<', 512, 'memory does not grow after the fifth round of faults');
is(descriptors(), $descriptors, 'repeated faults leave no descriptor open');
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal/,
	'no backend crashed');

$session->close;
done_testing();
