# A cluster with the extension in it, looking at a simulator: a server
# "gitlab", a user mapping with the administrator's token, and the tables; and
# the scripts for psql that come with it.

package GitLabCluster;

use strict;
use warnings;

use Carp;
use Exporter qw(import);
use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(gitlab_cluster gitlab_database gitlab_catalog has_module offers_http2 run_script);

# A running node whose database "postgres" is set up for the simulator.
# Options: conf, more lines for postgresql.conf; server_options, SQL, more
# options of the server.
sub gitlab_cluster
{
	my ($name, $sim, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', $options{conf} // '');
	$node->start;
	gitlab_database($node, 'postgres', $sim, $options{server_options});
	return $node;
}

# Sets a database up.
sub gitlab_database
{
	my ($node, $database, $sim, $server_options) = @_;
	my $url = $sim->url;
	my $more = $server_options ? ", $server_options" : '';

	$node->safe_psql(
		$database, qq{
		CREATE EXTENSION gitlab_pat_fdw;
		CREATE SERVER gitlab FOREIGN DATA WRAPPER gitlab_pat_fdw
			OPTIONS (url '$url'$more);
		CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab
			OPTIONS (token 'glpat-sim-admin');
		IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO public;
	});
	return;
}

# A query for what servers, mappings, foreign tables and their columns look like,
# and who may use them, for a comparison.  pg_dump writes options in the order of
# their names, and grants in one of its own.
sub gitlab_catalog
{
	my $sorted = sub { "(SELECT string_agg(o::text, ' ' ORDER BY o::text) FROM unnest($_[0]) o)" };

	return qq{
		SELECT 'server', srvname::text,
				concat_ws(' ', srvversion, @{[ $sorted->('srvoptions') ]}, @{[ $sorted->('srvacl') ]})
			FROM pg_foreign_server
		UNION ALL SELECT 'mapping', usename::text, @{[ $sorted->('umoptions') ]}
			FROM pg_user_mappings
		UNION ALL SELECT 'table', ftrelid::regclass::text,
				concat_ws(' ', @{[ $sorted->('ftoptions') ]}, @{[ $sorted->('relacl') ]})
			FROM pg_foreign_table JOIN pg_class ON pg_class.oid = ftrelid
		UNION ALL SELECT 'column', attrelid::regclass || '.' || attname,
				concat_ws(' ', format_type(atttypid, atttypmod), @{[ $sorted->('attfdwoptions') ]})
			FROM pg_attribute JOIN pg_foreign_table ON attrelid = ftrelid WHERE attnum > 0
		ORDER BY 1, 2, 3};
}

# Runs a script of this repository in psql, with variables of psql's; returns
# what it printed.  The variable USER is the role to connect as.
sub run_script
{
	my ($node, $file, %variables) = @_;
	my @user = $variables{USER} ? ('-U', delete $variables{USER}) : ();
	my @command = (
		$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), @user,
		(map { ('-v', "$_=$variables{$_}") } sort keys %variables),
		'-f', "$FindBin::RealBin/../$file");

	my ($out, $err);

	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err)
	  or croak "$file failed: $err";
	return $out;
}

# Does the extension offer HTTP/2 with this node's libcurl?
sub offers_http2
{
	my ($node) = @_;
	my ($major, $minor) = $node->safe_psql('postgres', 'SELECT gitlab_pat_fdw_version()') =~ /libcurl (\d+)\.(\d+)/
	  or croak 'no version of libcurl';

	return $major > 8 || $major == 8 && $minor >= 7;
}

# Is somebody else's module installed?  Not all of them are there for a version
# that is not released yet.
sub has_module
{
	my ($node, $name) = @_;
	my ($directory) = $node->config_data('--pkglibdir');

	return -e "$directory/$name.so";
}

1;
