# Encodings: GitLab speaks UTF-8, databases and clients may not.  Text is read,
# written and searched as it is, or refused by an error that says where; and what
# can't be shown to a client does no harm at a commit or a rollback, where an
# error would take the cluster down.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Encode qw(decode encode);
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# psql and the server speak as they are told here, not as the tester does.
delete $ENV{PGCLIENTENCODING};

my $sim = GitLabSim->start;
my $node = start_cluster();
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

# A cluster whose messages are Russian, if there are any: then even the word
# "WARNING" is something that a Latin client can't be told.
sub start_cluster
{
	my $cluster = PostgreSQL::Test::Cluster->new('main');
	local $ENV{LANGUAGE} = 'ru';

	$cluster->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$cluster->append_conf('postgresql.conf', "log_statement = 'none'\njit = off\ngitlab_pat_fdw.discard_secrets = on\n");
	$cluster->start;
	gitlab_database($cluster, 'postgres', $sim, q{max_retries '0', rollback_timeout '1s'});
	return $cluster;
}

# What a query says in the database's encoding
sub row
{
	my ($session, $sql) = @_;
	my ($out, $err) = $session->query($sql);

	return $out . ($err ? "\n$err" : '');
}


# --- databases --------------------------------------------------------------------------

# What each can hold: an umlaut, a check mark, and what is not UTF-8 at all
my %databases = (
	utf8 => { encoding => 'UTF8', perl => 'UTF-8', holds => qr/./ },
	latin1 => { encoding => 'LATIN1', perl => 'iso-8859-1', holds => qr/^[\x00-\xff]*$/ },
	latin2 => { encoding => 'LATIN2', perl => 'iso-8859-2', holds => qr/^[\x00-\x7f\x{e4}\x{fc}\x{df}\x{103}]*$/ },
	eucjp => { encoding => 'EUC_JP', perl => 'euc-jp', holds => qr/^[\x00-\x7f\x{e4}\x{fc}\x{df}\x{103}\x{65e5}\x{672c}\x{8a9e}]*$/ },
	sqlascii => { encoding => 'SQL_ASCII', perl => 'UTF-8', holds => qr/./ });

my %names = (
	20 => 'plain',
	21 => "G\x{e4}rtner \x{fc}ber Stra\x{df}e",
	22 => "fertig \x{2713}",
	23 => "\x{65e5}\x{672c}\x{8a9e}",
	24 => "\x{1f511} key",
	25 => "Br\x{103}ila");

sub add_tokens
{
	$sim->reset;
	$sim->control('POST', 'tokens', undef,
		{ id => 0 + $_, user_id => 2, name => $names{$_}, scopes => ['api'] })
	  foreach sort keys %names;
	return;
}

# What was searched for, as bytes
sub searches
{
	my @values = map { $_->{path} =~ /search=([^&]*)/ } $sim->journal(path => 'search=');

	s/%([0-9A-Fa-f]{2})/chr hex $1/ge foreach @values;
	return @values;
}

sub utf8_search
{
	my ($bytes) = @_;

	return defined eval { decode('UTF-8', $bytes, Encode::FB_CROAK) };
}

add_tokens();
foreach my $name (sort keys %databases)
{
	my ($encoding, $perl, $holds) = @{ $databases{$name} }{qw(encoding perl holds)};

	$node->safe_psql('postgres',
		"CREATE DATABASE $name ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	gitlab_database($node, $name, $sim, q{max_retries '0'});
	my $session = Session->open($node, database => $name, verbosity => 'verbose');
	$session->query('ALTER FOREIGN TABLE gitlab_personal_access_tokens RENAME TO tokens');

	# reading and searching
	foreach my $id (sort keys %names)
	{
		my $text = $names{$id};
		my $native = $text =~ $holds ? encode($perl, $text) : undef;
		my $read = row($session, "SELECT name FROM tokens WHERE id = $id");

		if (defined $native)
		{
			is($read, $native, "$encoding: token $id is read");
			$sim->clear_journal;
			is(row($session, "SELECT id FROM tokens WHERE name = '$native' AND id >= 20"),
				$id, "$encoding: token $id is found by name");
			is(row($session, "SELECT id FROM tokens WHERE name LIKE '$native%' AND id >= 20"),
				$id, "$encoding: token $id is found by pattern");
			# what is sent is UTF-8, if anything is
			is(grep({ !utf8_search($_) } searches()), 0, "$encoding: token $id is searched in UTF-8");
		}
		else
		{
			like($read, qr/22P05: .*\n(?:.*\n)*?.*field "name"/,
				"$encoding: reading token $id is an error that names the field");
			is(row($session, "SELECT id, active FROM tokens WHERE id = $id"),
				"$id|t", "$encoding: other columns of token $id can be read");
		}
	}
	like(row($session, 'SELECT * FROM tokens'), qr/22P05|^1\|/, "$encoding: a list of all tokens is read or is an error");

	# writing
	foreach my $id (20, 21, 22, 23)
	{
		my $text = $names{$id};
		next unless $text =~ $holds;
		my $native = encode($perl, $text);
		my $made = row($session, "INSERT INTO tokens (user_id, name, description, scopes, expires_at)
			VALUES (2, 'new $native', '$native', '{api}', current_date + 9) RETURNING id, name, description");

		like($made, qr/^\d+\|new \Q$native\E\|\Q$native\E$/, "$encoding: a token named like token $id is created");
		my ($row) = grep { $_->{name} eq "new $text" } $sim->tokens;
		is($row->{description}, $text, "$encoding: GitLab has it in UTF-8")
		  or diag(encode('UTF-8', $row->{description} // 'none'));
		$sim->control('DELETE', "tokens/$row->{id}") if $row;
	}

	# bytes that are no text
	if ($encoding eq 'SQL_ASCII')
	{
		$sim->clear_journal;
		like(row($session, "INSERT INTO tokens (user_id, name, scopes, expires_at)
				VALUES (2, E'a\\xff', '{api}', current_date + 9)"),
			qr/22021:/, "$encoding: what is not UTF-8 is not written");
		is($sim->count(method => 'POST'), 0, "$encoding: what is not UTF-8 is not sent");
		like(row($session, "SELECT id FROM tokens WHERE name = E'a\\xff'"),
			qr/^$|22021:/, "$encoding: what is not UTF-8 is not found");
	}

	# words that the encoding lacks, in an error
	$sim->fault('GET', 'tokens/2$', 'body', status => 400,
		body => { message => "\x{65e5} \x{2713} \x{e4}" });
	like(row($session, 'SELECT * FROM tokens WHERE id = 2'),
		$encoding eq 'UTF8' ? qr/22023:.*\xe2\x9c\x93/s : qr/22023:.*\?/s,
		"$encoding: GitLab's words are shown as far as possible");
	is(row($session, 'SELECT id FROM tokens WHERE id = 2'), '2', "$encoding: the session works");
	$session->close;
}


# --- clients ----------------------------------------------------------------------------

# Names that a Latin client can't be told
my ($server, $table, $role, $column) =
  map { encode('UTF-8', $_) } "s\x{eb}rver \x{2713}", "t\x{e0}ble \x{65e5}", "r\x{f4}le \x{2713}", "\x{2116}";
my $url = $sim->url;

# In the setup's session, what is created is named in UTF-8.
$node->safe_psql(
	'postgres', qq{
	SET client_encoding = UTF8;
	CREATE ROLE "$role" LOGIN;
	CREATE SERVER "$server" FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '$url', max_retries '0', rollback_timeout '1s');
	GRANT USAGE ON FOREIGN SERVER "$server" TO PUBLIC;
	CREATE USER MAPPING FOR PUBLIC SERVER "$server" OPTIONS (token 'glpat-sim-admin');
	CREATE FOREIGN TABLE "$table" ("$column" bigint OPTIONS (column_name 'id'), user_id bigint,
		name text, scopes text[], active boolean, created_at timestamptz, expires_at date)
		SERVER "$server";
	CREATE FOREIGN TABLE "native $table" ("$column" bigint OPTIONS (column_name 'id'), user_id bigint,
		name text, scopes text[], active boolean, created_at timestamptz, expires_at date)
		SERVER "$server" OPTIONS (rotation 'native');
	CREATE TABLE done (n int);
	GRANT ALL ON "$table", "native $table", done TO PUBLIC;});

# A statement's text is in the client's encoding: so they are prepared before.
my %prepared = (
	ins => qq{INSERT INTO "$table" (user_id, name, scopes, expires_at)
		VALUES (2, 'new } . encode('UTF-8', "\x{2713}") . qq{', '{api}', current_date + 9)},
	upd => qq{UPDATE "$table" SET expires_at = current_date + 9 WHERE "$column" = 2},
	nat => qq{UPDATE "native $table" SET expires_at = current_date + 9 WHERE "$column" = 3},
	ret => qq{UPDATE "native $table" SET expires_at = current_date + 9 WHERE "$column" = 3 RETURNING "$column" AS id},
	del => qq{DELETE FROM "$table" WHERE "$column" IN (2, 3)},
	own => 'INSERT INTO done VALUES (1)');

sub open_client
{
	my ($encoding, $messages) = @_;
	my $session = Session->open($node, verbosity => 'default',
		settings => { client_encoding => 'UTF8' });

	$session->query(qq{SET lc_messages = '$messages'; SET ROLE "$role"});
	$session->query("PREPARE $_ AS $prepared{$_}")
	  foreach sort keys %prepared;
	$session->query("SET client_encoding = '$encoding'");
	return $session;
}

# Russian messages are had where the locale is not exactly "C".
my %languages = (english => 'C');
my $russian = (grep { /^C\.utf-?8$/i } split /\n/, `locale -a`)[0];
$languages{russian} = $russian if defined $russian;

my %words = (body => { message => "\x{65e5} \x{2713} \x{e4}" }, status => 400);

# [name, faults, SQL; whether something is warned of]
# All of them change something here, too: an error after such a commit is a PANIC.
my @endings = (
	[ 'rollback', [ [ 'DELETE', 'body', %words ] ], 'BEGIN; EXECUTE own; EXECUTE ins; ROLLBACK', 1 ],
	[ 'rollback, connection lost', [ [ 'DELETE', 'reset' ] ], 'BEGIN; EXECUTE own; EXECUTE ins; ROLLBACK', 1 ],
	[ 'rollback, no answer', [ [ 'DELETE', 'stall' ] ], 'BEGIN; EXECUTE own; EXECUTE ins; ROLLBACK', 1 ],
	[ 'commit', [ [ 'DELETE', 'body', %words ] ], 'BEGIN; EXECUTE own; EXECUTE upd; COMMIT', 1 ],
	[ 'commit, implicit', [ [ 'DELETE', 'body', %words ] ], 'EXECUTE upd', 1 ],
	[ 'commit, connection lost', [ [ 'DELETE', 'close' ] ], 'BEGIN; EXECUTE own; EXECUTE upd; COMMIT', 1 ],
	[ 'commit, a subtransaction undone', [ [ 'DELETE', 'body', %words ] ],
		'BEGIN; EXECUTE own; SAVEPOINT s; EXECUTE ins; ROLLBACK TO s; COMMIT', 1 ],
	[ 'native rotation rolled back', [], 'BEGIN; EXECUTE own; EXECUTE nat; ROLLBACK', 1 ],
	[ 'failed commit', [ [ 'DELETE', 'body', %words, path => 'tokens/3' ] ], 'EXECUTE del', 0 ],
	[ 'failed statement', [ [ 'POST', 'body', %words ] ], 'EXECUTE ins', 0 ],
	[ 'lost answer', [ [ 'POST', 'reset', moment => 'after' ] ], 'EXECUTE ins', 0 ],
	[ 'commit, all well', [], 'BEGIN; EXECUTE own; EXECUTE ins; EXECUTE upd; EXECUTE nat; COMMIT', 0 ],
	[ 'rollback, all well', [], 'BEGIN; EXECUTE own; EXECUTE ins; EXECUTE upd; ROLLBACK', 0 ]);

foreach my $language (sort keys %languages)
{
	foreach my $encoding (qw(LATIN1 WIN1252 WIN1251 SQL_ASCII EUC_JP))
	{
		# PostgreSQL's own debugging output in Russian is no better
		foreach my $level ($language eq 'english' ? qw(notice debug5) : 'notice')
		{
			my $session = open_client($encoding, $languages{$language});

			# what is created reads well for superusers only
			$session->query("RESET ROLE; SET client_min_messages = $level;
				SET gitlab_pat_fdw.log_requests = on");
			foreach my $ending (@endings)
			{
				my ($name, $faults, $sql, $warned) = @$ending;
				my $what = "$language, $encoding, $level: $name";

				next if $name =~ /no answer/ && $level ne 'notice';
				$sim->reset;
				foreach my $fault (@$faults)
				{
					my ($method, $kind, %more) = @$fault;
					$sim->fault($method, delete $more{path} // 'tokens', $kind, times => 0, %more);
				}
				my ($out, $err) = $session->query($sql);
				$sim->clear_faults;
				my $after = ($session->query('SELECT 1'))[0];
				is($after, '1', "$what: the session lives") or last;
				# if the word for "WARNING" is not ASCII, only the log is told
				if ($language eq 'english')
				{
					$warned
					  ? like($err, qr/WARNING:  [ -~]+(?:\n|$)/, "$what: the warning is told in ASCII")
					  : unlike($err, qr/WARNING/, "$what: the client gets no warning");
				}
				elsif ($warned && $encoding ne 'SQL_ASCII')
				{
					my $told = $err =~ /[\x80-\xff]+:  [ -~]+(?:\n|$)/;
					ok(!$told, "$what: the warning is left to the server's log");
				}
			}
			$session->close;
		}
	}
}

# Interrupted, and terminated
foreach my $language (sort keys %languages)
{
	foreach my $signal (qw(INT TERM))
	{
		foreach my $sql ('EXECUTE ins', 'EXECUTE nat', 'BEGIN; EXECUTE own; EXECUTE ins; EXECUTE upd; COMMIT')
		{
			my $session = open_client('LATIN1', $languages{$language});

			$session->query('RESET ROLE');
			$session->query('SET client_min_messages = debug5') if $language eq 'english';
			$sim->reset;
			$sim->fault('POST', '', 'stall', moment => 'after', times => 0, seconds => 0.1);
			$sim->fault('DELETE', 'tokens', 'body', times => 0, %words);
			$session->send($sql);
			$sim->wait_for('POST', '');
			signal_backend($session, $signal);
			$session->finish;
			wait_until_gone($session) if $signal eq 'TERM';
			is(($session->query('SELECT 1'))[0], '1', "$language, $signal, $sql: the session lives")
			  if $signal eq 'INT';
			$session->close;
		}
	}
}

# A native rotation whose answer is not as it was asked for: the names in the warning about
# that do not cost the row, which may hold the secret.
foreach my $language (sort keys %languages)
{
	my $session = open_client('LATIN1', $languages{$language});

	$sim->reset;
	$sim->fault('POST', 'rotate', 'edit', set => { scopes => ['api'] });
	is(row($session, 'EXECUTE ret') =~ s/\n.*//sr, '17', "$language: a native rotation whose answer differs returns its row");
	$session->close;
}

# Rotating the credential: what it was told on the way does not cost the secret.
foreach my $language (sort keys %languages)
{
	my $session = open_client('LATIN1', $languages{$language});

	$sim->reset;
	$node->safe_psql('postgres',
		qq{SET client_encoding = UTF8; DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER "$server";
		CREATE USER MAPPING FOR CURRENT_USER SERVER "$server" OPTIONS (token 'glpat-sim-selfrotate')});
	$session->query('SET client_encoding = UTF8');
	# since PostgreSQL 18, looking up a function for the first time has something
	# to say, too: in the context of the procedure, which can't be told either
	$session->query(q{CALL gitlab_pat_rotate_self('nothing')});
	$session->query(qq{RESET ROLE; CREATE PROCEDURE rotate_$language() LANGUAGE plpgsql AS \$\$
		DECLARE i bigint; d date; BEGIN CALL gitlab_pat_rotate_self('$server', NULL, i, d); END\$\$});
	$session->query('SET client_encoding = LATIN1; SET gitlab_pat_fdw.log_requests = on');
	$session->query('SET client_min_messages = debug5') if $language eq 'english';
	my ($out, $err) = $session->query("CALL rotate_$language()");
	my ($row) = grep { $_->{id} == 17 } $sim->tokens;
	is($node->safe_psql('postgres', qq{SET client_encoding = UTF8; SELECT option_value
			FROM pg_user_mappings, pg_options_to_table(umoptions)
			WHERE srvname = '$server' AND usename = CURRENT_USER}),
		$row ? $row->{token} : '', "$language: the rotated token is in the mapping")
	  or diag("$out$err");
	$session->close;
}

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$started, 'the cluster has never been started again');
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|\xd0\x9f\xd0\x90\xd0\x9d\xd0\x98\xd0\x9a\xd0\x90|all server processes|was terminated by signal|TRAP:/,
	'no backend crashed');
is_alive($node);
done_testing();
