# A cluster with the extension in it, looking at a simulator: a server
# "gitlab", a user mapping with the administrator's token, and the tables.

package GitLabCluster;

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(gitlab_cluster gitlab_database);

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

1;
