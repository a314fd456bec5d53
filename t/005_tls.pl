# TLS: whose certificate is believed, and that nobody else gets the token.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $sim = GitLabSim->start(tls => 1);
my $node = gitlab_cluster('main', $sim);
my $session = Session->open($node);
my $lookup = 'SELECT name FROM gitlab_personal_access_tokens WHERE id = 2';

like($sim->url, qr{^https://127\.0\.0\.1:}, 'the simulator speaks TLS');
like(($session->query($lookup))[1], qr/08001/, 'an unknown authority is refused');
is($sim->count, 0, 'before any request');

$node->safe_psql('postgres',
	"ALTER SERVER gitlab OPTIONS (ADD tls_ca_file '@{[ $sim->ca_file ]}')");
is(($session->query($lookup))[0], 'alice api', 'an authority that was named is believed');

$node->safe_psql('postgres',
	"ALTER SERVER gitlab OPTIONS (SET url 'https://localhost:@{[ $sim->port ]}')");
is(($session->query($lookup))[0], 'alice api', 'under each name in the certificate');

my $other = GitLabSim->start(tls => 1);
$node->safe_psql('postgres',
	"ALTER SERVER gitlab OPTIONS (SET url '@{[ $other->url ]}')");
like(($session->query($lookup))[1], qr/08001/, 'the certificate of another authority is refused');
is($other->count, 0, 'before any request');

$node->safe_psql('postgres', q{ALTER SERVER gitlab OPTIONS (ADD tls_verify 'false')});
is(($session->query($lookup))[0], 'alice api', 'unless checks are turned off');

$session->close;
done_testing();
