# ALTER EXTENSION ... UPDATE, from each version that was released: afterwards the
# extension is what a new installation would have made, and whatever was built on
# the old one goes on working, open sessions included.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::RealBin/lib";

use Document;
use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# Scripts that databases out there were made with.  Whoever changes one changes
# the new installation, but not them: write another script instead.
my %released = (
	'gitlab_pat_fdw--1.0.sql' =>
	  'f60ae64a4af4c5394dbfb05ee95a26d6b1f131028f354dfb55c3806c8920a18c',
	'gitlab_pat_fdw--1.0--1.1.sql' =>
	  'bbdb9d740807f757f101006795bb866b0bade5513c9565d14591c81ca3b619bf');

my $sim = GitLabSim->start;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE regress_reader LOGIN; CREATE ROLE regress_auditor');

foreach my $script (sort keys %released)
{
	is(sha256_hex(slurp_file("$FindBin::RealBin/../$script")),
		$released{$script}, "$script is as it was released");
}

my $current = $node->safe_psql('postgres',
	q{SELECT default_version FROM pg_available_extensions WHERE name = 'gitlab_pat_fdw'});
# Versions to create the extension at, and not only to pass through.
my @old = sort map { /--([^-]+)\.sql$/ } keys %released;
is( $node->safe_psql('postgres', qq{
		SELECT count(*) FROM pg_extension_update_paths('gitlab_pat_fdw')
		WHERE target = '$current' AND path IS NULL}),
	0, 'every version has a path to the current one');
unlike($current, qr/^(@{[ join '|', map { quotemeta } @old ]})$/, "the current version, $current, is a new one");


# --- what the extension consists of ---------------------------------------------

# Privileges, defaults spelled out.
my $privileges = sub {
	my ($acl, $default) = @_;
	return "(SELECT string_agg(a::text, ' ' ORDER BY a::text)
		FROM unnest(coalesce($acl, $default)) a)";
};

# Each member with its definition, owner, privileges and comment.
my $members = qq{
	SELECT type, identity, coalesce(
			(SELECT concat_ws(' ', pg_get_functiondef(oid), proowner::regrole, prosupport,
					@{[ $privileges->('proacl', q{acldefault('f', proowner)}) ]})
				FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid),
			(SELECT concat_ws(' ', fdwhandler::regproc, fdwvalidator::regproc, fdwoptions,
					fdwowner::regrole, @{[ $privileges->('fdwacl', q{acldefault('F', fdwowner)}) ]})
				FROM pg_foreign_data_wrapper
				WHERE classid = 'pg_foreign_data_wrapper'::regclass AND oid = objid),
			'unknown to this test'),
		coalesce(obj_description(objid, classid::regclass::name), 'no comment'),
		(SELECT string_agg(initprivs::text, ' ') FROM pg_init_privs p
			WHERE p.classoid = d.classid AND p.objoid = d.objid)
	FROM pg_depend d, pg_identify_object(classid, objid, objsubid)
	WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'gitlab_pat_fdw')
	UNION ALL
	SELECT 'extension', extversion, concat_ws(' ', extnamespace::regnamespace, extrelocatable,
			extowner::regrole, extconfig), obj_description(oid, 'pg_extension'), NULL
	FROM pg_extension WHERE extname = 'gitlab_pat_fdw'
	ORDER BY 1, 2};

sub database
{
	my ($name, $setup) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, $setup);
	return;
}

# Updates, and returns what psql had to say.
sub update
{
	my ($database) = @_;
	my ($status, $out, $error) =
	  $node->psql($database, 'ALTER EXTENSION gitlab_pat_fdw UPDATE');

	return "$status$out$error";
}

database('fresh', 'CREATE SCHEMA tools; CREATE EXTENSION gitlab_pat_fdw SCHEMA tools');
my $fresh = $node->safe_psql('fresh', $members);

like($fresh, qr/^extension\|\Q$current\E\|tools /m, 'a new installation is of the current version');
like($fresh, qr/^function\|tools\.gitlab_pat_self/m, 'a new installation has functions');
unlike($fresh, qr/unknown to this test/, 'this test knows every kind of object in the extension');
unlike($fresh, qr/no comment/, 'every object has a comment');


# --- from each version -----------------------------------------------------------

foreach my $version (@old)
{
	my $name = 'from_' . $version =~ s/\W/_/gr;

	# Nothing but the extension
	database($name, qq{
		CREATE SCHEMA tools; CREATE EXTENSION gitlab_pat_fdw VERSION '$version' SCHEMA tools});
	isnt($node->safe_psql($name, $members), $fresh, "$version is another version");
	$node->safe_psql($name, 'BEGIN; ALTER EXTENSION gitlab_pat_fdw UPDATE; ROLLBACK');
	is($node->safe_psql($name, q{
			SELECT extversion FROM pg_extension WHERE extname = 'gitlab_pat_fdw'}),
		$version, "$version: an update can be rolled back");
	is(update($name), '0', "$version: an update says nothing");
	is($node->safe_psql($name, $members), $fresh, "$version: an update makes a new installation of an old one");
	like(update($name), qr/version "\Q$current\E" of extension.* is already installed/,
		"$version: a second update has nothing to do");

	test_in_use($version, "used_$name");
}

# Version after version, as a database that has had all of them.
{
	my ($first, @next) = (@old, $current);

	database('stepwise', qq{
		CREATE SCHEMA tools; CREATE EXTENSION gitlab_pat_fdw VERSION '$first' SCHEMA tools});
	foreach my $version (@next)
	{
		$node->safe_psql('stepwise', "ALTER EXTENSION gitlab_pat_fdw UPDATE TO '$version'");
		is($node->safe_psql('stepwise', q{
				SELECT extversion FROM pg_extension WHERE extname = 'gitlab_pat_fdw'}),
			$version, "an update goes up to $version and no further");
	}
	is($node->safe_psql('stepwise', $members),
		$fresh, 'updates by way of all versions make a new installation of the first one');
}

# The nightly jobs of 1.1, with the tables of its documents; what doc/versions.md says.
test_jobs() if grep { $_ eq '1.1' } @old;

sub test_jobs
{
	my $document = Document->read("$FindBin::RealBin/../doc/versions.md");
	my $log = 'at timestamptz NOT NULL, owner text NOT NULL, token_name text NOT NULL, old_id bigint, new_id bigint, '
	  . 'outcome text NOT NULL, message text';
	my $deliveries = q{token_name text NOT NULL, owner text NOT NULL, project text NOT NULL, variable text NOT NULL,
		environment_scope text NOT NULL DEFAULT '*', days integer DEFAULT 14};

	$sim->reset(dates => 'today');
	database('jobs', qq{
		CREATE EXTENSION gitlab_pat_fdw VERSION '1.1';
		CREATE SERVER gitlab FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url '@{[ $sim->url ]}');
		CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token 'glpat-sim-admin');
		IMPORT FOREIGN SCHEMA gitlab
			LIMIT TO (gitlab_personal_access_tokens, gitlab_users, gitlab_project_variables, gitlab_group_variables)
			FROM SERVER gitlab INTO public;
		CREATE ROLE rotator;
		CREATE TABLE token_deliveries ($deliveries);
		CREATE TABLE token_rotations ($log);
		CREATE TABLE group_deliveries ($deliveries);
		CREATE TABLE group_rotations ($log);
		INSERT INTO token_deliveries VALUES ('alice api', 'alice', 'acme/app', 'DEPLOY_PAT');
		INSERT INTO group_deliveries VALUES ('frank admin', 'frank', 'acme', 'GROUP_PAT')});
	$sim->variable_set(group => 'acme', key => 'GROUP_PAT', value => 'glpat-sim-frank');
	is(update('jobs'), '0', 'a database with jobs of 1.1 is updated');
	my (undef, undef, $said) = $node->psql('jobs', q{CALL gitlab_pat_rotate_due('token_deliveries')});
	like($said, qr/ERROR: .*log/, 'a job of 1.1 without a log fails and names it');
	(undef, undef, $said) = $node->psql('jobs', q{CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations')});
	like($said, qr/ERROR: .*has no column "fingerprint"/, 'a job of 1.1 with its log fails and names the columns that the log lacks');

	my $sql = join '', map { $_->{text} } @{ $document->section('Nightly jobs that call gitlab_pat_rotate_due()')->{blocks} };
	(undef, my $out, $said) = $node->psql('jobs', $sql, on_error_stop => 1);
	unlike($said, qr/ERROR/, 'the steps for jobs of 1.1 work');
	like($said, qr/NOTICE:  token 2, "alice api" of "alice", is due/, 'the dry run says what the next night will do');
	(undef, $out, $said) = $node->psql('jobs', q{
		CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations');
		CALL gitlab_pat_rotate_due('group_deliveries', 'group_rotations')});
	unlike($said, qr/ERROR|WARNING/, 'the jobs of 1.1 succeed after the steps');
	is($sim->token_state(2), 'revoked', 'a job of 1.1 rotates after the steps');
	return;
}

# A database in which the extension is at work.
sub test_in_use
{
	my ($version, $database) = @_;
	my $query = sub { $node->safe_psql($database, "SET search_path = app, tools; $_[0]") };
	my $as_reader = sub {
		$node->safe_psql($database, "SET search_path = app, tools; $_[0]",
			extra_params => [ '-U', 'regress_reader' ]);
	};

	$sim->reset;
	database($database, qq{
		CREATE SCHEMA tools;
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA tools, app TO regress_reader;
		CREATE EXTENSION gitlab_pat_fdw VERSION '$version' SCHEMA tools;
		SET search_path = app, tools;

		CREATE SERVER gitlab VERSION '18.11' FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url '@{[ $sim->url ]}', page_size '5');
		CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab OPTIONS (token 'glpat-sim-admin');
		CREATE USER MAPPING FOR regress_reader SERVER gitlab OPTIONS (token 'glpat-sim-alice');
		IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO app;
		CREATE FOREIGN TABLE native (
				number bigint OPTIONS (column_name 'id'), expires_at date, token text)
			SERVER gitlab OPTIONS (rotation 'native');

		CREATE VIEW of_alice WITH (security_barrier) AS
			SELECT id, name, active FROM gitlab_personal_access_tokens WHERE user_id = 2;
		CREATE VIEW who AS SELECT id, name FROM gitlab_pat_self('gitlab');
		CREATE MATERIALIZED VIEW copy AS SELECT id, name FROM gitlab_personal_access_tokens;
		CREATE TABLE secrets (id bigint PRIMARY KEY, token text);
		CREATE FUNCTION leave() RETURNS bigint LANGUAGE sql
			BEGIN ATOMIC SELECT gitlab_pat_disconnect(); END;

		REVOKE EXECUTE ON FUNCTION gitlab_pat_self, gitlab_pat_requests FROM PUBLIC;
		GRANT EXECUTE ON FUNCTION gitlab_pat_self TO regress_reader;
		GRANT EXECUTE ON FUNCTION gitlab_pat_requests TO regress_auditor WITH GRANT OPTION;
		GRANT USAGE ON FOREIGN DATA WRAPPER gitlab_pat_fdw TO regress_auditor;
		GRANT USAGE ON FOREIGN SERVER gitlab TO regress_reader;
		GRANT SELECT ON of_alice, gitlab_users TO regress_reader;
		GRANT SELECT ON native TO regress_auditor;
		COMMENT ON FOREIGN TABLE native IS 'ours';
		COMMENT ON SERVER gitlab IS 'ours as well';});

	# What was built on the extension, and what was granted on its parts.
	my $state = sub {
		return join "\n", $query->(gitlab_catalog()), $query->(q{
			SELECT c.oid::regclass, relkind, relacl, pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class')
				FROM pg_class c WHERE relnamespace = 'app'::regnamespace ORDER BY 1;
			SELECT p.oid::regprocedure, proacl FROM pg_proc p
				WHERE pronamespace IN ('app'::regnamespace, 'tools'::regnamespace) AND proacl IS NOT NULL
				ORDER BY 1;
			SELECT fdwname, fdwacl FROM pg_foreign_data_wrapper;
			SELECT obj_description(oid, 'pg_foreign_server') FROM pg_foreign_server;
			SELECT pg_describe_object(classid, objid, 0), pg_describe_object(refclassid, refobjid, 0), deptype
				FROM pg_depend
				WHERE pg_describe_object(refclassid, refobjid, 0) ~ 'gitlab|native' ORDER BY 1, 2, 3;})
		  # Of these there may be more.
		  =~ s/^function .*\|extension gitlab_pat_fdw\|e\n?//gmr;
	};

	# One session is busy when another one updates.
	my $session = Session->open($node, database => $database);
	$session->query(q{
		SET search_path = app, tools;
		PREPARE lookup AS SELECT name FROM gitlab_personal_access_tokens WHERE id = $1;
		PREPARE rotate AS WITH new AS (
			UPDATE gitlab_personal_access_tokens SET expires_at = current_date + 30
			WHERE id = $1 RETURNING id, token)
			INSERT INTO secrets SELECT * FROM new RETURNING id, token IS NOT NULL});
	is(($session->query('EXECUTE lookup(2)'))[0], 'alice api', "$version: a session works");
	$session->query(q{
		BEGIN;
		DECLARE list CURSOR FOR SELECT id FROM gitlab_personal_access_tokens ORDER BY id;
		INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'before', '{api}');
		DELETE FROM gitlab_personal_access_tokens WHERE id = 12});
	is(($session->query('FETCH 2 FROM list'))[0], "1\n2", "$version: the session is in the middle of a list");

	my $before = $state->();
	is(update($database), '0', "$version: the update waits for nobody");
	is($state->(), $before, "$version: the update changes nothing of the user's");

	is(join(' ', split /\n/, ($session->query('FETCH ALL FROM list'))[0]),
		join(' ', 3 .. 16), "$version: the session reads on");
	is($sim->token_state(12), 'active', "$version: the DELETE of the session is pending");
	is(join('', $session->query('COMMIT')), '', "$version: the session commits without a message");
	is($sim->token_state(12), 'revoked', "$version: the commit revokes the deleted token");
	is($sim->token_state(17), 'active', "$version: the token that the session has created works");
	is(($session->query('EXECUTE lookup(17)'))[0], 'before', "$version: prepared statements that read work");
	is(($session->query('EXECUTE rotate(17)'))[0], '18|t', "$version: prepared statements that write work");
	is($sim->token_state(17), 'revoked', "$version: prepared statements that rotate revoke the old token");
	is(($session->query('BEGIN; DELETE FROM gitlab_personal_access_tokens WHERE id = 2; ROLLBACK;
			SELECT id, name FROM gitlab_pat_self($$gitlab$$)'))[0],
		'1|administrator', "$version: functions work in the session");

	# So do new sessions.
	is($query->("SELECT count(*) FROM gitlab_personal_access_tokens WHERE active"),
		14, "$version: SELECT works");
	is($query->('TABLE who'), '1|administrator', "$version: a view of a function works");
	is($query->('SELECT leave()'), '0', "$version: a function that calls one works");
	is($query->('REFRESH MATERIALIZED VIEW copy; SELECT count(*) FROM copy'),
		18, "$version: a materialized view is refreshed");
	is($query->(q{
			INSERT INTO gitlab_personal_access_tokens (user_id, name, scopes) VALUES (2, 'after', '{api}')
			RETURNING id, token IS NOT NULL;
			UPDATE native SET expires_at = current_date + 30 WHERE number = 19
			RETURNING number, token IS NOT NULL;
			DELETE FROM gitlab_personal_access_tokens WHERE id = 20 RETURNING id}),
		"19|t\n20|t\n20", "$version: INSERT, UPDATE and DELETE work");
	is(join(' ', map { $sim->token_state($_) } 19, 20), 'revoked revoked', "$version: GitLab has revoked the tokens");
	is($as_reader->('SELECT min(id) FROM of_alice; SELECT id FROM gitlab_users WHERE id = 2'),
		"2\n2", "$version: grants on tables are kept");
	is($as_reader->(q{SELECT id FROM gitlab_pat_self('gitlab')}),
		2, "$version: grants on functions are kept");
	my (undef, undef, $error) = $node->psql($database, 'SELECT * FROM tools.gitlab_pat_requests()',
		extra_params => [ '-U', 'regress_reader' ]);
	like($error, qr/permission denied for function gitlab_pat_requests/,
		"$version: revoked privileges stay revoked");
	like($query->(q{CALL gitlab_pat_rotate_self('gitlab', current_date + 30)}),
		qr/^\d+\|\d/, "$version: the procedure works");
	is(($session->query('EXECUTE lookup(2)'))[0], 'alice api',
		"$version: the session uses the new credential");
	$session->close;

	# Without these privileges, the extension is that of a new installation.
	$query->(q{
		REVOKE ALL ON FUNCTION gitlab_pat_self, gitlab_pat_requests FROM regress_reader, regress_auditor;
		GRANT EXECUTE ON FUNCTION gitlab_pat_self, gitlab_pat_requests TO PUBLIC;
		REVOKE ALL ON FOREIGN DATA WRAPPER gitlab_pat_fdw FROM regress_auditor});
	is($node->safe_psql($database, $members), $fresh, "$version: the extension is as a new one");
	return;
}

$node->stop;
done_testing();
