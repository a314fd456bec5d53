# The recipes of doc/delivery.md, each run as it stands there, one after the
# other; what becomes of GitLab is checked after each.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Document;
use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, conf => "timezone = 'UTC'\n");
my $document = Document->read("$FindBin::RealBin/../doc/delivery.md");
my %run;

# The blocks of SQL in a section; returns what psql said.
sub run_section
{
	my ($title) = @_;
	my $section = $document->section($title);
	my $sql = join '', map { $_->{text} }
	  grep { $_->{language} eq 'sql' } @{ $section->{blocks} };
	my ($code, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0);

	$run{$title} = 1;
	unlike($err, qr/ERROR/, "$title: the recipe runs without an error");
	is_secretive($sim, $out . $err, $title);
	return $err;
}

# The id of the token in a variable; it works, and so do those in all others.
sub delivered
{
	my ($owner, $key, $scope) = @_;
	my ($variable) = grep { $_->{owner} eq $owner && $_->{key} eq $key
		  && $_->{environment_scope} eq ($scope // '*') } $sim->variables;

	is(join(' ', map { "$_->{owner} $_->{key}" } $sim->dead_variables),
		'', 'every variable has a token that works');
	return $variable->{token_id} // '';
}

run_section('One token into one variable');
my $alice_api = delivered('project acme/app', 'DEPLOY_PAT');
cmp_ok($alice_api, '>', 16, 'one statement rotates a token and delivers the new one');
is($sim->token_state(2), 'revoked', 'the old token is revoked');
cmp_ok(delivered('project acme/web', 'DEPLOY_PAT'), '>', 16, 'a script delivers the new token');
is($sim->token_state(3), 'revoked', 'a script revokes the old token');

run_section('A new token into a new variable');
cmp_ok(delivered('group acme', 'REGISTRY_TOKEN'), '>', 16, 'a new token is delivered into a new variable');
my ($registry) = grep { $_->{key} eq 'REGISTRY_TOKEN' } $sim->variables;
ok($registry->{hidden} && $registry->{masked} && $registry->{protected}, 'the new variable is hidden and protected');

# One token is where it should be and lasts; a place has no token in it.
my $said = join '', map { run_section($_) } 'All due tokens, from a table', 'At three in the morning';
like($said, qr/NOTICE:  token 15, "frank admin" of "frank", is due/, 'the dry run names what is due');
is(scalar(() = $said =~ /NOTICE/g), 2, 'the dry run and the rotation name nothing else');
my $frank = delivered('project acme/app', 'DATABASE_URL', 'production');
is($sim->token_state(15), 'revoked', 'what was due is replaced');
is(delivered('project acme/app', 'DEPLOY_PAT'), $alice_api, 'what was not due is left alone');
my ($token) = grep { $_->{id} == $frank } $sim->tokens;
is($token->{expires_at}, day(60), 'the new token has the lifetime that was asked for');
is( $node->safe_psql('postgres',
		q{SELECT owner, token_name, old_id, new_id, outcome FROM token_rotations WHERE outcome = 'rotated'}),
	"frank|frank admin|15|$frank|rotated", 'the rotation is written down');

run_section('Adopt an existing token');
is($sim->token_state(12), 'revoked', 'adopted: the old token is revoked');
my $adopted = delivered('project acme/app', 'CONFIG');
cmp_ok($adopted, '>', 16, 'adopted: the new token is delivered');

run_section('Somebody leaves');
is(join(' ', map { $_->{id} } grep { $_->{user_id} == 8 && $_->{state} eq 'active' } $sim->tokens),
	'', 'dave has no token any more');
cmp_ok(delivered('project acme/app', 'CONFIG'), '>', $adopted, 'the delivery of dave has another token');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM token_revocations'),
	"7 $adopted", 'what was revoked is reported');

run_section('Emergency: everything with a scope');
my @active = grep { $_->{state} eq 'active' && grep { $_ eq 'api' } @{ $_->{scopes} } } $sim->tokens;
my @expected = map { delivered(@$_) } [ 'project acme/app', 'DEPLOY_PAT' ],
  [ 'project acme/app', 'DATABASE_URL', 'production' ];
my ($self) = sort { $b <=> $a } map { $_->{id} } $sim->tokens;
is(join(' ', sort { $a <=> $b } map { $_->{id} } @active),
	join(' ', sort { $a <=> $b } @expected, $self),
	'all that is left with that scope is new');
isnt(delivered('project acme/app', 'DEPLOY_PAT'), $alice_api, 'what was delivered is rotated');
is($node->safe_psql('postgres', q{SELECT id FROM gitlab_pat_self('gitlab')}), $self,
	'the credential itself is rotated');

foreach my $section (@{ $document->{sections} })
{
	ok($run{ $section->{title} }, "$section->{title}: the recipe was run")
	  if grep { $_->{language} eq 'sql' } @{ $section->{blocks} };
}
is_alive($node);

done_testing();

# The day in so many days.
sub day
{
	my ($days) = @_;
	my (undef, undef, undef, $day, $month, $year) = gmtime(time + $days * 86400);

	return sprintf '%04d-%02d-%02d', $year + 1900, $month + 1, $day;
}
