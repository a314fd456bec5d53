# Text from GitLab or a proxy stands in messages and logs without secrets, without
# what nobody sees, and cut at the end of a character; and messages name all that
# cannot be undone.

use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Encode qw(encode_utf8 decode_utf8);
use GitLabCluster;
use HostileServer qw(answer json_answer);
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $secret = 'glpat-HostileCredential-0123456789';
# that of a new token, without GitLab's prefix
my $new_secret = 'corp-NewSecret-0123456789';
my $server = HostileServer->start;
my $node = PostgreSQL::Test::Cluster->new('main');
my $json = JSON::PP->new->ascii->canonical;

$node->init(extra => ['--encoding=UTF8']);
$node->append_conf('postgresql.conf',
	"jit = off\nlog_statement = none\nlog_min_messages = debug1\nlog_min_error_statement = panic\ngitlab_pat_fdw.log_requests = on\n");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
stage($_) foreach qw(postgres latin1);

my $session = Session->open($node, verbosity => 'verbose', settings => { client_min_messages => 'debug1' });
my $cases = 0;

test_words();
test_cuts();
test_names();
test_requests();
test_latin1();
test_revoked();
test_paths();
test_places();

unlike(slurp_file($node->logfile), qr/HostileCredential/, 'the credential is not in the log');
done_testing();

# --- the stage --------------------------------------------------------------------------

sub stage
{
	my ($database) = @_;

	$node->safe_psql(
		$database, qq{
		CREATE EXTENSION gitlab_pat_fdw;
		CREATE SERVER hostile FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url 'http://localhost:1', max_retries '0');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hostile OPTIONS (token '$secret');
		CREATE FOREIGN TABLE tokens (id bigint, user_id bigint, name text, active boolean)
			SERVER hostile;
		CREATE FOREIGN TABLE variables (project text, key text, value text, environment_scope text)
			SERVER hostile OPTIONS (resource 'project_variables');
		CREATE FOREIGN TABLE rotating (id bigint, name text, expires_at date, token text)
			SERVER hostile OPTIONS (rotation 'native');
		CREATE FOREIGN TABLE skipping (project text, id bigint)
			SERVER hostile OPTIONS (resource 'project_access_tokens', skip_forbidden 'true');
		IMPORT FOREIGN SCHEMA gitlab FROM SERVER hostile INTO public;
	});
	return;
}

# Runs a statement against these answers; returns all messages, as characters.
sub said
{
	my ($sql, @script) = @_;
	my $case = 'case' . ++$cases;

	$server->play($case, @script);
	my (undef, $err) = $session->query(
		encode_utf8("ALTER SERVER hostile OPTIONS (SET url '@{[ $server->url($case) ]}'); $sql"));
	$session->query('ROLLBACK');
	return decode_utf8($err);
}

# An answer with an error whose message is this.
sub refusal
{
	my ($message, $status) = @_;

	return [ [ send => json_answer($status // 400, {}, $json->encode({ message => $message })) ] ];
}

# --- words ------------------------------------------------------------------------------

sub test_words
{
	my %seen = (
		"red \e[31malarm" => 'red [31malarm',
		"a\x{9b}31mb" => 'a31mb',
		"abc\x{202e}def\x{2066}g" => 'abcdefg',
		"two\nlines\tand a tab" => 'two lines and a tab',
		"zero\x{200b}width\x{feff}" => 'zerowidth',
		"tags\x{e0041}\x{e0042}" => 'tags',
		'größer als ∑' => 'größer als ∑',
		"your token $secret is bad" => 'your token ' . '*' x length($secret) . ' is bad',
		'with ' . join("\x{202e}", split //, $secret) => 'with ' . '*' x length $secret,
		'with ' . join("\e", split //, $secret) => 'with ' . '*' x length $secret,
		'with ' . join("\x{9b}", split //, $secret) => 'with ' . '*' x length $secret,
		'other glpat-abcdefghijklmnopqrst.' => 'other ' . '*' x length('glpat-abcdefghijklmnopqrst.'));

	foreach my $words (sort keys %seen)
	{
		my $name = $json->encode($words) =~ s/\Q$secret\E/SECRET/gr;

		like(said('SELECT * FROM tokens', 'GET ' => refusal($words)),
			qr/GitLab said: "\Q$seen{$words}\E"/, "a message shows what is seen of $name");
	}
	like(
		said('SELECT * FROM tokens',
			'GET ' => [ [ send => json_answer(403, {},
				$json->encode({ error => 'insufficient_scope', scope => "api\e[1m \x{202e}$secret" })) ] ]),
		qr/HINT: .*one of these scopes: api\[1m \*+\./, 'a hint shows what is seen of a scope');
	like(
		said('SELECT * FROM tokens',
			'GET ' => [ [ send => answer(302, [ Location => encode_utf8("https://x.example.com/\x{202e}$secret") ]) ] ]),
		qr{It redirects to "https://x\.example\.com/\*+"}, 'a redirect shows what is seen of its target');
	like(
		said('SELECT * FROM tokens',
			'GET ' => [ [ send => json_answer(400, [ 'X-Request-Id' => "\e[31m$secret" ], '{"message":"no"}') ] ]),
		qr/request ID \[31m\*+\)/, 'a message shows what is seen of a request ID');
	return;
}

# Messages end with whole characters, whatever the client's encoding.
sub test_cuts
{
	foreach my $shift (0 .. 3)
	{
		my $words = 'x' x $shift . '∑' x 2000;
		my $message = said('SELECT * FROM tokens',
			'GET ' => [ [ send => json_answer(302, [ Location => encode_utf8($words) ], '') ] ]);

		like($message, qr/^.*ERROR:  HV000: could not read.*"x{$shift}∑+"/s,
			"a message that is cut after $shift bytes and some characters ends with a character");
		foreach my $encoding (qw(LATIN1 EUC_JP))
		{
			$session->query("SET client_encoding = $encoding");
			like(said('SELECT * FROM tokens', 'GET ' => refusal('x' x $shift . 'é' x 2000)),
				qr/ERROR:  (?:22023: could not read|22P05)/,
				"a message that is cut after $shift bytes reaches a client in $encoding");
			$session->query('RESET client_encoding');
		}
	}
	return;
}

# --- names of variables -------------------------------------------------------------------

# GitLab's answer to a write has another key, or another scope.
sub test_names
{
	my $insert = q{INSERT INTO variables (project, key, value) VALUES ('p/q', 'KEY', 'value-of-a-variable')};

	foreach my $field (qw(key environment_scope))
	{
		my %variable = (key => 'KEY', value => 'value-of-a-variable', environment_scope => '*',
			$field => "\e[31m\x{202e}$secret");
		my $message = said($insert,
			'POST ' => [ [ send => json_answer(201, {}, $json->encode(\%variable)) ] ],
			'GET ' => refusal('404 Not found', 404),
			'DELETE ' => [ [ send => answer(204, {}) ] ]);

		like($message, qr/"\[31m\*+"/, "a message shows what is seen of a variable's $field");
		unlike($message, qr/Hostile|\e|\x{202e}/, "no secret of a variable's $field is in messages");
	}

	# the first statement of a session
	{
		my $old = $session;

		$session = Session->open($node, verbosity => 'verbose');
		my $message = said(
			"INSERT INTO variables (project, key, value, environment_scope)
				VALUES ('p/q', 'K', 'value-of-a-variable', 'scope of $secret')",
			'GET ' => refusal('no', 400), 'POST ' => refusal('no', 400));
		like($message, qr/ERROR: .*"K" \(scope of \*+\) of "p\/q"/, 'the first message of a session has no credential in a scope');
		$session->close;
		$session = $old;
	}

	# what a list has brought
	my $list = $json->encode([ { key => "K\e[31m$secret", value => 'v', environment_scope => "\x{202e}x" } ]);
	my $message = said("DELETE FROM variables WHERE project = 'p/q'",
		'GET .*variables\?' => [ [ send => json_answer(200, {}, $list) ] ],
		'GET ' => refusal('no', 400), 'DELETE ' => refusal('no', 400));
	like($message, qr/"K\[31m\*+" \(x\) of "p\/q"/, 'the name of a variable from a list shows what is seen');
	unlike($message, qr/Hostile|\e|\x{202e}/, 'no secret in the name of a variable is in messages');
	return;
}

# The path of a request has a secret in it.
sub test_requests
{
	my $message = said("SELECT * FROM variables WHERE project = 'p/q' AND key = '$secret'", 'GET ' => refusal('no', 403));

	like($message, qr{GET /case\d+/api/v4/projects/p%2Fq/variables/\*+,}, 'a detail shows a path without a secret');
	like(slurp_file($node->logfile), qr{GitLab request: GET /case\d+/api/v4/projects/p%2Fq/variables/\*+ },
		'log_requests logs a path without a secret');
	return;
}

# --- a database that lacks characters -------------------------------------------------------

sub test_latin1
{
	my $utf8 = $session;

	$session = Session->open($node, database => 'latin1', verbosity => 'verbose');
	$session->query(q{SET client_encoding = 'UTF8'});
	my $token = { id => 42, user_id => 1, name => '∑', active => JSON::PP::true };
	like(
		said('SELECT id, name FROM tokens', 'GET ' => [ [ send => json_answer(200, {}, $json->encode([$token])) ] ]),
		qr/ERROR:  22P05: .*CONTEXT:  field "name" of personal access token 42/s,
		'a name that the database lacks characters for is an error with the id');
	like(
		said(
			q{INSERT INTO variables (project, key, value) VALUES ('p/q', 'KEY', 'value-of-a-variable')},
			'POST ' => [ [ send => json_answer(201, {}, $json->encode({ key => "é∑", environment_scope => '*' })) ] ],
			'GET ' => refusal('404 Not found', 404),
			'DELETE ' => [ [ send => answer(204, {}) ] ]),
		qr/with the key "é\?" instead/, 'a key shows the characters that the database has');
	like(said('SELECT * FROM tokens', 'GET ' => refusal("é\x{9b}x")), qr/GitLab said: "\?x"/,
		'a message shows ASCII');
	$session->close;
	$session = $utf8;
	return;
}

# --- what cannot be undone ------------------------------------------------------------------

# So many tokens are revoked that one message does not hold them, and then one is
# refused.
sub test_revoked
{
	my $count = 420;
	my $first = 1_000_000;
	my $last = $first + $count;
	my @script = map {
		("GET .*tokens/$_\$" => [ [ send => json_answer(200, {}, qq({"id":$_,"user_id":2,"active":true,"revoked":false})) ] ])
	} $first .. $last;
	my $message = said(
		"SET gitlab_pat_fdw.max_changes = 1000;
		DELETE FROM tokens WHERE id = ANY (ARRAY(SELECT generate_series($first, $last)))",
		'GET .*/self$' => [ [ send => json_answer(200, {}, '{"id":1,"user_id":1}') ] ],
		@script,
		"DELETE .*/$last\$" => [ [ sleep => 1 ], [ send => json_answer(400, {}, '{"message":"no"}') ] ],
		'DELETE ' => [ [ send => answer(204, {}) ] ]);
	my %named = map { $_ => 1 } $message =~ /\b(1000\d\d\d)\b/g;
	my @missing = grep { !$named{$_} } $first .. $last;

	is("@missing", '', 'messages name all tokens that cannot be brought back');
	like($message, qr/420 tokens had already been revoked/, 'the error counts the tokens that cannot be brought back');
	like($message, qr/could not revoke .* on server "hostile"/, 'the error names the server');
	my $log = slurp_file($node->logfile);
	@missing = grep { $log !~ /(?:: |, )$_\b/ } $first .. $last - 1;
	is("@missing", '', 'the log names all tokens that cannot be brought back');
	return;
}

# --- paths ----------------------------------------------------------------------------------

# Steps up in a path are no names, in an INSERT no more than in a SELECT.
sub test_paths
{
	my $before = $server->requests;

	my $insert = sub {
		my ($values) = @_;

		return said("INSERT INTO variables (project, key, value) SELECT *, 'some-value' FROM (VALUES $values) v",
			'.' => [ [ send => answer(204, {}) ] ]);
	};

	like($insert->("('$_', 'KEY')"), qr/ERROR:  22023: "project" must be a full path or an id/,
		"a variable of the project '$_' is refused")
	  foreach '..', '.', '', 'p/../q', 'p/.', '../p';
	like($insert->("('p/q', '$_')"), qr/ERROR:  22023: invalid value for the field "key"/,
		"a variable with the key '$_' is refused")
	  foreach '..', '.', '';
	like($insert->("(repeat('p/', 5000) || 'q', 'KEY')"), qr/ERROR:  22023: "project" must be a full path or an id/,
		'a variable of a project with a very long path is refused');
	is($server->requests, $before, 'no request goes out for an INSERT with a step up in the path');
	return;
}

# --- everywhere -----------------------------------------------------------------------------

# A token whose name, description and scope are this text.
sub token
{
	my ($text, %fields) = @_;

	return {
		id => 42, user_id => 2, name => $text, description => $text, scopes => [$text],
		active => JSON::PP::true, revoked => JSON::PP::false,
		created_at => '2026-01-01T00:00:00.000Z', expires_at => '2098-01-01', %fields };
}

# Steps: an answer whose body is this value as JSON.  BROKEN stands for bytes that are
# no UTF-8.
sub body
{
	my ($value, $status, $headers) = @_;

	return [ [ send => json_answer($status // 200, $headers // {}, $json->encode($value) =~ s/BROKEN/\xff\xc3/gr) ] ];
}

sub literal { return "'" . $_[0] =~ s/'/''/gr . "'" }

# The places where a text from outside may come to a message or the log.  Each has a
# name, what is said there, a statement, and GitLab's answers with the text in them.
sub places
{
	my ($text) = @_;
	my $self = '{"id":1,"user_id":1,"name":"self","scopes":["api"],"active":true}';
	my @self = ('GET .*/self$' => [ [ send => json_answer(200, {}, $self) ] ],
		'GET .*/user$' => [ [ send => json_answer(200, {}, '{"id":1}') ] ]);
	my @lookup = (@self, 'GET .*/personal_access_tokens/42$' => body(token($text)), 'GET ' => body([]));
	my $renewed = token($text, id => 43, expires_at => '2099-01-01', token => $new_secret,
		created_at => '2097-01-01T00:00:00.000Z');
	my @projects = (@self, 'GET .*/projects\?' => body([ { id => 7, name => 'p', path_with_namespace => $text } ]));
	my @members = (@projects, 'GET .*/access_tokens\?' => body([ token('a token') ]),
		'GET .*/access_tokens/42$' => body(token('a token')));
	my $no = refusal('no');
	my $gone = [ ['close'] ];
	my $update = q{UPDATE gitlab_personal_access_tokens SET expires_at = '2099-01-01' WHERE id = 42};
	my $create = q{INSERT INTO gitlab_project_access_tokens (project, name, scopes, expires_at)
		SELECT path, 'a token', '{api}', '2099-01-01' FROM gitlab_projects};
	my $write = q{INSERT INTO gitlab_project_variables (project, key, value)
		SELECT path, 'KEY', 'value-of-a-variable' FROM gitlab_projects};
	my $member = token('a token', id => 43, scopes => ['api'], expires_at => '2099-01-01', token => $new_secret,
		created_at => '2097-01-01T00:00:00.000Z');
	my $header = $text =~ s/[\r\n]/ /gr;

	$header = encode_utf8($header) =~ s/BROKEN/\xff\xc3/gr;
	return (
		# tokens
		[ 'the audit line of a revoked token', qr/LOG: .*token 42 revoked/,
			'DELETE FROM gitlab_personal_access_tokens WHERE id = 42',
			@lookup, 'DELETE ' => [ [ send => answer(204, {}) ] ] ],
		[ 'the audit line of a created token', qr/LOG: .*token 43 created/,
			'INSERT INTO gitlab_personal_access_tokens (user_id, name, description, scopes, expires_at) VALUES (2, '
			. literal($text) . ', NULL, ARRAY[' . literal($text) . "], '2099-01-01') RETURNING id",
			@self, 'POST ' => body($renewed, 201), 'DELETE ' => $no ],
		[ 'the audit line of a created token whose name has its secret', qr/LOG: .*token 43 created/,
			'INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes, expires_at) VALUES (2, '
			. literal("$text $new_secret") . q{, '{api}', '2099-01-01') RETURNING id},
			@self, 'POST ' => body({ %$renewed, name => "$text $new_secret", scopes => ['api'] }, 201), 'DELETE ' => $no ],
		[ 'the audit line of a replaced token', qr/LOG: .*token 42 replaced by 43/,
			"$update RETURNING id", @lookup, 'POST ' => body($renewed, 201), 'DELETE ' => $no ],
		[ 'the audit line of a token that is revoked by its secret', qr/LOG: .*token 42 revoked/,
			q{SELECT gitlab_pat_revoke_secret('hostile', 'corp-PossessedSecret-0123456789')},
			'GET .*/self$' => body(token("$text corp-PossessedSecret-0123456789")),
			'DELETE ' => [ [ send => answer(204, {}) ] ] ],
		[ 'the error of a lost answer', qr/answer was lost.*HINT: .*SELECT \* FROM/s,
			$update, @lookup, 'POST ' => $gone ],
		[ 'the warning of a lost answer', qr/WARNING: .*may have been created.*HINT: .*SELECT \* FROM/s,
			"DO \$\$ BEGIN $update; EXCEPTION WHEN connection_failure THEN NULL; END \$\$",
			@lookup, 'POST ' => $gone ],
		[ 'the warning of a rotation that differs', qr/WARNING: .*differs from the request.*HINT: .*SELECT \* FROM/s,
			q{UPDATE rotating SET expires_at = '2099-01-01' WHERE id = 42},
			@lookup, 'POST ' => body({ %$renewed, name => 'another' }) ],
		[ 'the error of a credential that GitLab rotates badly', qr/has no secret that can be used/,
			q{CALL gitlab_pat_rotate_self('hostile')},
			@self, 'POST ' => body({ %$renewed, token => "$text " }) ],
		(map {
			my $field = $_;

			[ "the error of a token's field $field", qr/ERROR: .*GitLab's answer|no valid field/,
				'SELECT * FROM gitlab_personal_access_tokens',
				'GET .*tokens\?' => body([ token('a token', $field => $field eq 'last_used_ips' ? [$text] : $text) ]), @self ]
		} qw(id user_id active created_at expires_at scopes last_used_ips)),

		# what is in a project
		[ 'the error of a list in a project', qr/could not read project access tokens of/,
			'SELECT t.id FROM gitlab_projects p JOIN gitlab_project_access_tokens t ON t.project = p.path',
			@projects, 'GET .*/access_tokens' => $no ],
		[ 'the notice of a project that is skipped', qr/NOTICE: .*skipped 1 project/,
			'SELECT t.id FROM gitlab_projects p JOIN skipping t ON t.project = p.path',
			@projects, 'GET .*/access_tokens' => refusal('403 Forbidden', 403) ],
		[ "the error of a project's token", qr/could not revoke project access token 42 of/,
			'DELETE FROM gitlab_project_access_tokens t USING gitlab_projects p WHERE t.project = p.path',
			@members, 'DELETE ' => $no ],
		[ "the audit line of a project's token", qr/LOG: .*project access token 42 of .* revoked/,
			'DELETE FROM gitlab_project_access_tokens t USING gitlab_projects p WHERE t.project = p.path',
			@members, 'DELETE ' => [ [ send => answer(204, {}) ] ] ],
		[ "the error of a lost answer in a project", qr/answer was lost.*HINT: .*SELECT \* FROM/s,
			$create, @projects, 'POST ' => $gone ],
		[ "the warning of a project's token that is left", qr/WARNING: .*could not revoke.*HINT: .*DELETE FROM/s,
			"BEGIN; $create; ROLLBACK", @projects, 'POST ' => body($member, 201), 'DELETE ' => $no ],
		[ 'the error of a list of variables', qr/could not read project variables of/,
			'SELECT v.key FROM gitlab_projects p JOIN gitlab_project_variables v ON v.project = p.path',
			@projects, 'GET .*/variables' => $no ],
		[ 'the error of a variable', qr/could not create project variable "KEY" of/,
			$write, @projects, 'GET .*/variables/' => refusal('404 Not found', 404), 'POST ' => $no ],
		[ 'the error of a project by two names', qr/could not look up project/,
			"$write; BEGIN; INSERT INTO gitlab_project_variables (project, key, value) VALUES ('7', 'KEY', 'a-value'); $write",
			@projects, 'GET .*/variables/' => refusal('404 Not found', 404), 'GET .*/projects/7$' => $no, 'POST ' => $no ],

		# variables
		(map {
			my %variable = (key => 'KEY', value => 'value-of-a-variable', environment_scope => '*', $_ => $text);

			[ "the error of a variable's $_ in an answer", qr/GitLab has created it with the/,
				q{INSERT INTO gitlab_project_variables (project, key, value) VALUES ('p/q', 'KEY', 'value-of-a-variable')},
				@self, 'POST ' => body(\%variable, 201),
				'GET ' => refusal('404 Not found', 404), 'DELETE ' => [ [ send => answer(204, {}) ] ] ]
		} qw(key environment_scope)),
		[ "the error of a variable's field", qr/invalid field "raw"/,
			q{SELECT * FROM gitlab_project_variables WHERE project = 'p/q'},
			'GET ' => body([ { key => 'corp_0123456789', value => 'v', environment_scope => $text, raw => $text } ]) ],

		# what GitLab says
		[ 'a message', qr/GitLab said/, 'SELECT * FROM tokens', 'GET ' => body({ message => { $text => [$text] } }, 400) ],
		[ 'an error with a description', qr/GitLab said/, 'SELECT * FROM tokens',
			'GET ' => body({ error => $text, error_description => $text }, 400) ],
		[ 'a scope', qr/one of these scopes/, 'SELECT * FROM tokens',
			'GET ' => body({ error => 'insufficient_scope', scope => $text }, 403) ],
		[ 'a message of plain text', qr/GitLab said/, 'SELECT * FROM tokens',
			'GET ' => [ [ send => answer(400, [ 'Content-Type' => 'text/plain' ], $header) ] ] ],
		[ 'the target of a redirect', qr/It redirects to/, 'SELECT * FROM tokens',
			'GET ' => [ [ send => answer(302, [ Location => "https://x.example.com/$header" ]) ] ] ],
		(map {
			[ "the header $_", qr/ERROR/, 'SELECT * FROM tokens', 'GET ' => body({ message => 'no' }, 429, [ $_ => $header ]) ]
		} qw(X-Request-Id Retry-After RateLimit-Reset Date Content-Type Link X-Total)),
	);
}

# No message and no line of the log shows what is hostile in a text, wherever it stands.
sub test_places
{
	my %texts = (
		'a plain text' => 'Plain',
		'characters that are not seen' => "A\e[31m\a\x{9b}31mB\x{202e}C\x{2066}D\x{200b}E\x{feff}F\x{e0041}\x{e007f}G\x{7f}",
		'lines' => "A\nFORGED:  one\r\nFORGED:  two",
		'secrets' => "A $secret B glpat-NewSecret-0123456789 C " . join("\x{200b}", split //, $secret),
		'a very long text' => 'A' x 5000,
		'bytes that are no UTF-8' => 'ABROKENB',
		'quotes' => q{A"' OR ''='},
	);
	my $hidden = qr/HostileCredential|NewSecret|PossessedSecret|^FORGED
		|[\x{00}-\x{08}\x{0b}-\x{1f}\x{7f}-\x{9f}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{feff}\x{e0000}-\x{e0fff}]/mx;

	$session->query('SET gitlab_pat_fdw.discard_secrets = on');
	foreach my $kind (sort keys %texts)
	{
		foreach my $place (places($texts{$kind}))
		{
			my ($name, $says, $sql, @script) = @$place;
			my $offset = -s $node->logfile;
			my $said = said($sql, @script);
			my $log = decode_utf8(slurp_file($node->logfile, $offset));

			like("$said$log", $says, "$name is said") if $kind eq 'a plain text';
			unlike($said, $hidden, "$name shows a client nothing hostile of $kind");
			unlike($log, $hidden, "$name shows nothing hostile of $kind in the log");
			unlike(join("\n", grep { !/GitLab request: / } split /\n/, "$said$log"), qr/A{2000}/, "$name cuts $kind");
		}
	}
	return;
}
