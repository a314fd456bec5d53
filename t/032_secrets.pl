# Secrets: a token is shown by the RETURNING clause that made it, and stands in
# the text of one's own CREATE or ALTER USER MAPPING.  It is in nothing else that
# a client, a log or a view shows, whatever is logged and whatever GitLab
# answers.  And each statement uses the token of the role that it should.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# Credentials without GitLab's default prefix, one of them longer than what a
# message repeats of anything
my $corporate = 'corp_0123456789abcdefghij';
my $long = 'oauth_' . 'A1b2C3d4' x 300;
my %given = (corporate => $corporate, long => $long);

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	conf => "log_statement = 'none'\n",
	server_options => q{max_retries '0', rollback_timeout '1s'});
create_tables($node, 'secrets');

# The setup is over; from now on everything is logged.
my $libraries = `pg_config --pkglibdir`;
chomp $libraries;
my @preload = grep { -e "$libraries/$_.so" } qw(auto_explain pg_stat_statements);
my $preloaded = join ',', @preload;

$node->append_conf(
	'postgresql.conf', qq{
	shared_preload_libraries = '$preloaded'
	log_statement = 'all'
	log_min_messages = debug5
	log_min_error_statement = debug5
	log_error_verbosity = verbose
	log_min_duration_statement = 0
	log_duration = on
	log_parameter_max_length = -1
	log_parameter_max_length_on_error = -1
	debug_print_parse = on
	debug_print_rewritten = on
	debug_print_plan = on
	gitlab_pat_fdw.log_requests = on
	gitlab_pat_fdw.log_changes = on
	track_activity_query_size = 16kB
	jit = off});
$node->append_conf(
	'postgresql.conf', q{
	auto_explain.log_min_duration = 0
	auto_explain.log_analyze = on
	auto_explain.log_verbose = on
	auto_explain.log_triggers = on
	auto_explain.log_nested_statements = on}) if $preloaded =~ /auto_explain/;
$node->append_conf('postgresql.conf', q{pg_stat_statements.track = 'all'})
  if $preloaded =~ /pg_stat_statements/;
$node->restart;

# All that clients were told, but for what is asked for with RETURNING token
my $told = '';

# Statements whose text has secrets: those that write user mappings.
sub unlogged
{
	my ($sql) = @_;
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } (
		'log_statement=none', 'log_min_duration_statement=-1',
		'log_duration=off', 'log_min_messages=warning',
		'log_min_error_statement=panic', 'debug_print_parse=off',
		'debug_print_rewritten=off', 'debug_print_plan=off',
		$preloaded =~ /auto_explain/ ? 'auto_explain.log_min_duration=-1' : (),
		$preloaded =~ /statements/ ? 'pg_stat_statements.track=none' : ());

	return $node->safe_psql('postgres', $sql);
}

sub hear
{
	my ($session, $sql) = @_;
	my $said = said($session, $sql);

	$told .= "$said\n";
	return $said;
}

sub open_verbose
{
	my (%options) = @_;

	return open_session($node, 'secrets', verbosity => 'verbose',
		settings => { client_min_messages => 'debug5' }, %options);
}

# The ids of the tokens that GitLab was asked with, since the last time.
sub credentials
{
	my %seen = map { ($_->{credential_token_id} // 'none') => 1 } $sim->journal;

	$sim->clear_journal;
	return join ' ', sort { $a cmp $b } keys %seen;
}


# --- what is shown -----------------------------------------------------------------------

my $later = 'current_date + 90';
my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later)";
my $session = open_verbose();

unlogged('CREATE EXTENSION pg_stat_statements') if $preloaded =~ /statements/;
unlogged(
	q{CREATE TABLE secrets.vault (id bigint, token text);
	CREATE TABLE secrets.small (id bigint CHECK (id < 0));});
hear($session, 'SET search_path = secrets, public');

# everything that works
foreach my $sql (
	"$insert RETURNING id",
	"WITH new AS ($insert RETURNING id, token) INSERT INTO vault SELECT * FROM new",
	"UPDATE tokens SET expires_at = $later WHERE id = 2 RETURNING id",
	"WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = 3 RETURNING id, token)
		INSERT INTO vault SELECT * FROM new",
	"UPDATE native_tokens SET expires_at = $later WHERE id = 7 RETURNING id",
	'DELETE FROM tokens WHERE id = 17 RETURNING *',
	"BEGIN; $insert; ROLLBACK",
	"BEGIN; SAVEPOINT s; $insert; ROLLBACK TO s; COMMIT",
	"DO \$\$DECLARE t record; BEGIN $insert RETURNING * INTO t; INSERT INTO vault VALUES (t.id, t.token); END\$\$",
	'SELECT * FROM tokens',
	'SELECT * FROM tokens WHERE id IN (17, 18, 19)',
	'SELECT token FROM tokens WHERE token IS NOT NULL',
	q{SELECT * FROM gitlab_pat_self('gitlab')},
	'SELECT * FROM gitlab_pat_requests()',
	'SELECT gitlab_pat_fdw_version()',
	"EXPLAIN (ANALYZE, VERBOSE, COSTS, FORMAT JSON) $insert RETURNING *",
	'EXPLAIN (ANALYZE, VERBOSE, SETTINGS) SELECT * FROM tokens WHERE active',
	"EXPLAIN (ANALYZE, VERBOSE) UPDATE tokens SET expires_at = $later WHERE id = 12 RETURNING *",
	"PREPARE p AS $insert RETURNING id; EXECUTE p; EXECUTE p; DEALLOCATE p",
	"DECLARE c CURSOR WITH HOLD FOR SELECT * FROM tokens; FETCH ALL FROM c; CLOSE c")
{
	unlike(hear($session, $sql), qr/ERROR:/, 'works: ' . substr($sql, 0, 60));
}

# and what fails
foreach my $sql (
	"$insert RETURNING 1 / (id - id)",
	"WITH new AS ($insert RETURNING id, token) INSERT INTO small SELECT id FROM new",
	"WITH new AS ($insert RETURNING token) SELECT token::date FROM new WHERE false
		UNION ALL SELECT '2024-99-99'::date",
	"INSERT INTO tokens (user_id, name, scopes) VALUES (4711, 'x', '{api}')",
	"INSERT INTO tokens (user_id, name, scopes) VALUES (2, 'x', '{nonsense}')",
	"INSERT INTO tokens (name, scopes, token) VALUES ('x', '{api}', 'chosen')",
	"UPDATE tokens SET expires_at = $later WHERE id = 13",
	"UPDATE tokens SET expires_at = $later WHERE id = 1",
	'DELETE FROM tokens WHERE id = 1',
	"BEGIN; $insert; PREPARE TRANSACTION 'x'",
	'SELECT * FROM tokens WHERE 1 / (id - id) = 1')
{
	like(hear($session, $sql), qr/ERROR:/, 'fails: ' . substr($sql, 0, 60));
	hear($session, 'ROLLBACK');
}

# A view with a CHECK OPTION would print the row that it refuses.
hear($session, q{CREATE VIEW checked AS SELECT * FROM tokens WHERE name <> 'new' WITH CHECK OPTION});
like(hear($session, "INSERT INTO checked (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later) RETURNING id"),
	qr/ERROR:  0A000:/, 'a view with a CHECK OPTION');
hear($session, q{CREATE VIEW inner_view AS SELECT * FROM tokens WHERE name <> 'new';
	CREATE VIEW checked_too AS SELECT * FROM inner_view WITH CASCADED CHECK OPTION});
like(hear($session, "INSERT INTO checked_too (user_id, name, scopes, expires_at)
	VALUES (2, 'new', '{api}', $later) RETURNING id"),
	qr/ERROR:  0A000:/, 'a view over a view, with a CHECK OPTION');


# --- answers with secrets in them -------------------------------------------------------------

# A credential comes back in whatever GitLab or a proxy says.
sub test_echoes
{
	my ($who, $secret) = @_;
	my $before = length $told;
	my $number = 0;
	my %texts = (
		alone => $secret,
		'in the middle' => "the token $secret is no good",
		quoted => "Bearer \"$secret\", PRIVATE-TOKEN: $secret",
		'cut off' => 'x' x 500 . $secret,
		'cut off later' => 'x' x 1010 . $secret,
		'in a URL' => "https://host/?private_token=$secret&x=$secret",
		twice => "$secret$secret");

	foreach my $name (sort keys %texts)
	{
		my $text = $texts{$name};

		foreach my $body (
			[ 'application/json', { message => $text } ],
			[ 'application/json', { message => { $text => [ $text, $text ] } } ],
			[ 'application/json', { error => 'e', error_description => $text, scope => $text } ],
			[ 'text/plain', $text ],
			[ 'text/html', "<h1>$text</h1>" ],
			[ 'application/json', "$text" ])
		{
			my ($type, $content) = @$body;

			foreach my $request (
				[ 'GET', 'SELECT * FROM tokens WHERE id = 12' ],
				[ 'POST', $insert ],
				[ 'DELETE', 'DELETE FROM tokens WHERE id = 12' ])
			{
				my ($method, $sql) = @$request;
				my $status = (200, 400, 403, 429, 500, 503, 302)[ $number++ % 7 ];

				$sim->clear_faults;
				$sim->fault($method, 'tokens', 'body', status => $status,
					body => $content, content_type => $type,
					headers => {
						'X-Request-Id' => substr($text, 0, 4000),
						'Retry-After' => substr($text, 0, 4000) },
					$method eq 'DELETE' || $method eq 'POST' ? () : (times => 2));
				hear($session, $sql);
			}
		}
		$sim->fault('GET', 'tokens', 'redirect', location => "https://host/$text", times => 1);
		like(hear($session, 'SELECT * FROM tokens WHERE id = 12'),
			qr/It redirects to/, "$who, $name: a redirect is an error");
		foreach my $field (qw(name created_at expires_at last_used_ips scopes id))
		{
			$sim->clear_faults;
			$sim->fault('POST', 'tokens', 'edit', set => { $field => $text, token => 5 });
			hear($session, "$insert RETURNING id");
		}
	}
	$sim->clear_faults;
	my $said = substr $told, $before;
	cmp_ok(count_matches($said, qr/ERROR:/), '>', 100, "$who: the answers that repeat it lead to errors");
	is(index($said, $secret), -1, "$who: the client is not told the secret");
	is(index($said, substr $secret, 0, 12), -1, "$who: the client is not told the beginning of the secret");
	is(index(slurp_file($node->logfile), $secret), -1, "$who: the log does not show the secret");
	return;
}

$sim->reset;
hear($session, $insert);
my ($new) = map { $_->{token} } grep { $_->{id} == 17 } $sim->tokens;
test_echoes('a token that was created', $new);
test_echoes('the credential in use', 'glpat-sim-admin');
foreach my $who (sort keys %given)
{
	$sim->reset;
	$sim->control('POST', 'tokens', undef,
		{ user_id => 1, token => $given{$who}, name => $who, scopes => [ 'api', 'admin_mode' ] });
	unlogged("ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$given{$who}')");
	test_echoes("a credential, $who", $given{$who});
}
unlogged(q{ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token 'glpat-sim-admin')});

# So does a variable's value, the old one or the new one, as it is or as JSON has it,
# when it is written and when it is restored.
foreach my $whose (qw(old new))
{
	my %values = map { $_ => qq{kernel-$_-"\\one/of <the> two\n$_-0123456789} } qw(old new);
	my $value = $values{$whose};
	my $quoted = JSON::PP->new->allow_nonref->encode($value);
	my $before = length $told;

	foreach my $text ($value, $quoted, $quoted =~ s{/}{\\/}gr, 'x' x 490 . $value)
	{
		foreach my $nth (1, 2)
		{
			$sim->reset;
			$sim->variable_set(project => 'acme/app', key => "V_\U$_", value => $values{$_})
			  foreach qw(old new);
			$sim->variable_set(project => 'acme/app', key => 'W', value => 'refused');
			$sim->fault('PUT', 'variables/V_OLD', 'body', nth => $nth, status => 400,
				body => { message => { value => ["$text is no good"] } },
				headers => { 'X-Request-Id' => $text =~ /\n/ ? 'x' : $text });
			$sim->fault('PUT', 'variables/W', 'status', status => 422);
			like(
				hear($session, q{BEGIN;
					UPDATE public.gitlab_project_variables SET value = (SELECT value
							FROM public.gitlab_project_variables
							WHERE project = 'acme/app' AND key = 'V_NEW')
						WHERE project = 'acme/app' AND key = 'V_OLD';
					UPDATE public.gitlab_project_variables SET raw = true
						WHERE project = 'acme/app' AND key = 'W';
					COMMIT}),
				$nth == 1 ? qr/could not change .*GitLab said/s :
				  qr/could not restore .* on server/,
				"the $whose value: a message quotes answer $nth");
		}
	}
	foreach my $said (substr($told, $before), slurp_file($node->logfile))
	{
		unlike($said, qr/$whose-01234567/, "the $whose value is not told");
		unlike($said, qr/kernel-$whose/, "the beginning of the $whose value is not told");
	}
}
$sim->reset;

# What is refused in a user mapping is not repeated.
foreach my $token ('glpat-secret0123 456789', "glpat-secret0123\t456", "glpat-secret0123\xc3\xa9", 'glpat-secret0123 ')
{
	my ($said) = said($session,
		"ALTER USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (SET token '$token')") =~ /(ERROR:.*)/s;
	$said =~ s/LINE \d+:.*//;
	unlike($said, qr/secret0123/, 'a bad token is refused without showing it');
}


# --- rotating the credential --------------------------------------------------------------------

$sim->reset;
unlogged(
	q{CREATE ROLE rotator LOGIN;
	GRANT USAGE ON FOREIGN SERVER gitlab TO rotator;
	GRANT USAGE ON SCHEMA secrets TO rotator;
	GRANT ALL ON ALL TABLES IN SCHEMA secrets TO rotator;
	CREATE USER MAPPING FOR rotator SERVER gitlab OPTIONS (token 'glpat-sim-selfrotate');});
my $rotator = open_verbose(user => 'rotator');
like(hear($rotator, q{CALL gitlab_pat_rotate_self('gitlab')}), qr/^17\|/m, 'the credential is rotated');
my ($rotated) = map { $_->{token} } grep { $_->{id} == 17 } $sim->tokens;
is(unlogged(q{SELECT option_value FROM pg_user_mappings, pg_options_to_table(umoptions)
	WHERE usename = 'rotator'}), $rotated, 'the user mapping has the new credential');
credentials();
hear($rotator, q{SELECT id FROM gitlab_pat_self('gitlab')});
is(credentials(), '17', 'the new credential is in use');
foreach my $kind (qw(garbage reset stall))
{
	$sim->fault('POST', 'rotate', $kind, $kind eq 'stall' ? (seconds => 0.2) : ());
	hear($rotator, q{CALL gitlab_pat_rotate_self('gitlab', current_date + 20)});
}
is_secretive($sim, $told, 'the client, after rotating');
$rotator->close;


# --- nobody else is shown anything -----------------------------------------------------------------

my $everything = '';
foreach my $query (
	$preloaded =~ /statements/ ? 'SELECT * FROM pg_stat_statements' : (),
	'SELECT * FROM pg_stat_activity',
	'SELECT * FROM pg_prepared_statements',
	'SELECT * FROM pg_cursors',
	'SELECT * FROM pg_foreign_server',
	'SELECT * FROM pg_foreign_table',
	'SELECT * FROM pg_settings',
	'SELECT * FROM pg_backend_memory_contexts',
	'SELECT * FROM gitlab_pat_requests()')
{
	$everything .= said($session, $query);
}
is_secretive($sim, $everything, 'views');
is_secretive($sim, $told, 'the client');
is_secretive($sim, slurp_file($node->logfile), 'the log');
is(index("$everything$told" . slurp_file($node->logfile), $rotated), -1, 'the rotated credential is shown nowhere');
like(slurp_file($node->logfile), qr/LOG:  00000: GitLab request: POST /, 'the log has requests');
like(slurp_file($node->logfile), qr/DEBUG:/, 'the log has debugging output');
like($told, qr/DEBUG:/, 'clients have debugging output');
unlike($told, qr/Bearer [^"*]|PRIVATE-TOKEN: [^*]/i, 'clients are told no header');
like(slurp_file($node->logfile), qr/GitLab Request/, 'the log has plans')
  if $preloaded =~ /auto_explain/;


# --- whose token it is ------------------------------------------------------------------------------

$sim->reset;
unlogged(
	q{CREATE ROLE alice LOGIN; CREATE ROLE frank LOGIN; CREATE ROLE nobody LOGIN;
	CREATE ROLE owner LOGIN;
	GRANT USAGE ON SCHEMA secrets TO PUBLIC;
	GRANT ALL ON SCHEMA secrets, public TO owner, alice;
	GRANT ALL ON ALL TABLES IN SCHEMA secrets TO PUBLIC;
	GRANT USAGE ON FOREIGN SERVER gitlab TO PUBLIC;
	CREATE USER MAPPING FOR alice SERVER gitlab OPTIONS (token 'glpat-sim-alice');
	CREATE USER MAPPING FOR frank SERVER gitlab OPTIONS (token 'glpat-sim-frank');});

my $lookup = 'SELECT id FROM secrets.tokens WHERE id = 2';
my $switching = open_verbose(settings => { plan_cache_mode => 'force_generic_plan' });
hear($switching, "PREPARE p AS $lookup");
credentials();
foreach my $step ([ alice => 2 ], [ frank => 15 ], [ postgres => 1 ], [ alice => 2 ])
{
	my ($role, $id) = @$step;

	hear($switching, "SET ROLE $role; EXECUTE p");
	is(credentials(), $id, "a cached plan uses the token of the role $role");
}
hear($switching, 'RESET ROLE');

# a view is read with its owner's token, or, as security_invoker, the reader's
hear($switching, "SET ROLE alice; CREATE VIEW secrets.of_alice AS SELECT * FROM secrets.tokens;
	CREATE VIEW secrets.of_reader WITH (security_invoker) AS SELECT * FROM secrets.tokens;
	GRANT ALL ON secrets.of_alice, secrets.of_reader TO PUBLIC; RESET ROLE");
credentials();
foreach my $step ([ of_alice => 2 ], [ of_reader => 15 ])
{
	my ($view, $id) = @$step;

	hear($switching, "SET ROLE frank; SELECT count(name) FROM secrets.$view WHERE id = 2");
	is(credentials(), $id, "the view $view is read with the right token");
	hear($switching, "BEGIN; DELETE FROM secrets.$view WHERE id = 3; ROLLBACK");
	is(credentials(), $id, "the view $view is written with the right token");
}
hear($switching, 'RESET ROLE');

# a function runs with its definer's or its caller's
hear($switching, "SET ROLE alice;
	CREATE FUNCTION secrets.definer() RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER AS \$\$$lookup\$\$;
	CREATE FUNCTION secrets.invoker() RETURNS SETOF bigint LANGUAGE plpgsql AS \$\$BEGIN RETURN QUERY $lookup; END\$\$;
	RESET ROLE");
credentials();
foreach my $step ([ definer => frank => 2 ], [ invoker => frank => 15 ], [ invoker => alice => 2 ],
	[ definer => nobody => 2 ], [ invoker => postgres => 1 ])
{
	my ($function, $role, $id) = @$step;

	hear($switching, "SET ROLE $role; SELECT secrets.$function(); RESET ROLE");
	is(credentials(), $id, "the function $function called by $role uses the right token");
}

# a mapping that was changed, dropped or made is noticed by other sessions
hear($switching, 'SET ROLE alice');
unlogged(q{ALTER USER MAPPING FOR alice SERVER gitlab OPTIONS (SET token 'glpat-sim-alice-read')});
hear($switching, 'EXECUTE p');
is(credentials(), '3', 'a mapping that was changed is used by other sessions');
unlogged(q{DROP USER MAPPING FOR alice SERVER gitlab});
like(hear($switching, 'EXECUTE p'), qr/ERROR:  28000:/, 'a mapping that was dropped is an error in other sessions');
is(credentials(), '', 'a session without a mapping sends nothing');
unlogged(q{CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token 'glpat-sim-serviceaccount')});
hear($switching, 'EXECUTE p');
is(credentials(), '11', 'the PUBLIC mapping is used by a role without its own');
hear($switching, 'SET ROLE nobody; EXECUTE p');
is(credentials(), '11', 'the PUBLIC mapping is used by another role without its own');
hear($switching, 'SET ROLE frank; EXECUTE p');
is(credentials(), '15', "one's own mapping is used rather than the PUBLIC one");
unlogged(q{CREATE USER MAPPING FOR alice SERVER gitlab OPTIONS (token 'glpat-sim-alice')});
hear($switching, 'SET ROLE alice; EXECUTE p');
is(credentials(), '2', "one's own mapping is used once it is made anew");
hear($switching, 'RESET ROLE');

# a cursor goes on with what it began with
hear($switching, 'SET ROLE alice; BEGIN; DECLARE c CURSOR FOR SELECT * FROM secrets.tokens;
	FETCH 1 FROM c; SET ROLE frank');
credentials();
unlike(hear($switching, 'FETCH ALL FROM c; COMMIT; RESET ROLE'), qr/ERROR/, 'a cursor goes on after SET ROLE');
unlike(credentials(), qr/15/, 'a cursor does not use the token of the role that was set meanwhile');


# --- what is not allowed -------------------------------------------------------------------------------

my $plain = open_verbose(user => 'nobody');
like(hear($plain, q{CALL gitlab_pat_rotate_self('gitlab')}),
	qr/ERROR:  42501:/, "a plain role does not rotate the PUBLIC mapping's token");
is(credentials(), '', 'a refused gitlab_pat_rotate_self() sends nothing');
unlogged('REVOKE USAGE ON FOREIGN SERVER gitlab FROM PUBLIC');
foreach my $function (q{SELECT gitlab_pat_self('gitlab')}, q{CALL gitlab_pat_rotate_self('gitlab')})
{
	like(hear($plain, $function), qr/ERROR:  42501:/, "without USAGE, $function is refused");
}
is(credentials(), '', 'without USAGE, nothing is sent');
foreach my $view ('pg_user_mappings', 'information_schema.user_mapping_options')
{
	is_secretive($sim, said($plain, "SELECT * FROM $view"), "$view, for a plain role");
}
$plain->close;

my $url = $sim->url;
unlogged(
	q{GRANT USAGE ON FOREIGN DATA WRAPPER gitlab_pat_fdw TO owner;
	SET ROLE owner;
	CREATE SERVER own FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url 'https://gitlab.example.com');
	CREATE USER MAPPING FOR owner SERVER own OPTIONS (token 'glpat-sim-frank');});
my $owner = open_verbose(user => 'owner');
foreach my $sql (
	q{ALTER SERVER own OPTIONS (ADD tls_verify 'false')},
	q{ALTER SERVER own OPTIONS (ADD tls_verify 'off')},
	q{ALTER SERVER own OPTIONS (ADD tls_ca_file '/etc/passwd')},
	q{ALTER SERVER own OPTIONS (ADD tls_cert_file '/etc/passwd')},
	q{ALTER SERVER own OPTIONS (ADD tls_cert_file '/etc/passwd', ADD tls_key_file '/etc/passwd')},
	q{ALTER USER MAPPING FOR owner SERVER own OPTIONS (DROP token, ADD token_file '/etc/passwd')},
	q{CREATE SERVER other FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url 'https://gitlab.example.com', tls_verify 'false')},
	q{SET gitlab_pat_fdw.log_requests = off},
	q{SET gitlab_pat_fdw.log_changes = off})
{
	like(hear($owner, $sql), qr/ERROR:  42501:/, "a plain owner may not $sql");
}
unlike(hear($owner, q{ALTER SERVER own OPTIONS (ADD tls_verify 'true')}), qr/ERROR/, 'a plain owner may set tls_verify to true');
like(hear($owner, q{ALTER SERVER own OPTIONS (SET url 'http://gitlab.example.com')}),
	qr/ERROR:  22023:/, 'plain HTTP is refused');
unlogged(q{ALTER SERVER own OPTIONS (SET tls_verify 'false')});
like(hear($owner, q{ALTER SERVER own OPTIONS (SET url 'https://evil.example.com')}),
	qr/ERROR:  42501:/, 'a server without checks is not led elsewhere');
$owner->close;

is_secretive($sim, $told, 'the client, at the end');
is_secretive($sim, slurp_file($node->logfile), 'the log, at the end');
$session->close;
$switching->close;
is_alive($node);
done_testing();
