# gitlab_pat_rotate_self() where the API token is in a file: the new one takes its
# place, whoever reads the file never finds half a token, and whatever is in the
# way is met before GitLab is asked.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Fcntl qw(:mode);
use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim, server_options => q{max_retries '0', rollback_timeout '2s'});
my $directory = PostgreSQL::Test::Utils::tempdir;
my $file = "$directory/token";
my $draft = "$file.new";

$node->safe_psql('postgres', 'CREATE ROLE regress_joe LOGIN; CREATE ROLE regress_plain LOGIN;
	GRANT pg_write_server_files TO regress_joe;
	GRANT USAGE ON FOREIGN SERVER gitlab TO regress_joe, regress_plain');
foreach my $role (qw(regress_joe regress_plain))
{
	$node->safe_psql('postgres', "CREATE USER MAPPING FOR $role SERVER gitlab OPTIONS (token_file '$file')");
}

sub write_file
{
	my ($path, $text) = @_;

	unlink $path;
	append_to_file($path, $text);
	chmod 0640, $path or die "chmod: $!";
	return;
}

# A simulator as in the beginning, and alice's token in the file.
sub begin
{
	$sim->reset;
	write_file($file, "glpat-sim-alice\n");
	return;
}

# What a CALL says to a role, and how many POSTs GitLab has received.
sub rotate
{
	my ($role) = @_;
	my (undef, $out, $err) = $node->psql('postgres', q{CALL gitlab_pat_rotate_self('gitlab')},
		extra_params => [ '-U', $role ]);

	return ("$out\n$err", $sim->count(method => 'POST', path => 'rotate'));
}

sub secret_of
{
	my ($id) = @_;
	my ($token) = grep { $_->{id} == $id } $sim->tokens;

	return $token->{token};
}


# --- it works ------------------------------------------------------------------------------

begin();
my $reader = Session->open($node, user => 'regress_plain');

is(($reader->query(q{SELECT id FROM gitlab_pat_self('gitlab')}))[0], 2, 'a session reads the token of the file');
my ($said, $posts) = rotate('regress_joe');
like($said, qr/^17\|\d+-\d+-\d+$/m, 'a role that may write server files rotates a token in a file');
is(slurp_file($file), secret_of(17) . "\n", 'the file holds the new token and a newline');
is(S_IMODE((stat $file)[2]), 0640, 'the file has the mode that it had');
ok(!-e $draft, 'a rotation leaves no draft');
is(($reader->query(q{SELECT id FROM gitlab_pat_self('gitlab')}))[0], 17, 'an open session reads the new token');
is($node->safe_psql('postgres', q{SELECT umoptions FROM pg_user_mappings WHERE usename = 'regress_joe'}),
	"{token_file=$file}", 'the mapping names the file as before');
($said) = rotate('regress_joe');
like($said, qr/^18\|/m, 'the new token can be rotated in turn');

# Through a symbolic link, the file itself is replaced.
begin();
rename $file, "$directory/target" or die "rename: $!";
symlink "$directory/target", $file or die "symlink: $!";
($said) = rotate('regress_joe');
like($said, qr/^17\|/m, 'a token behind a symbolic link is rotated');
ok(-l $file, 'the link stays a link');
is(slurp_file("$directory/target"), secret_of(17) . "\n", 'the file that the link leads to holds the new token');
unlink "$directory/target";


# --- what is in the way is met before GitLab is asked ----------------------------------------

# A rotation that is refused, by whom and why; nothing has changed.
sub is_refused
{
	my ($role, $pattern, $what) = @_;
	my $before = slurp_file($file);

	($said, $posts) = rotate($role);
	like($said, $pattern, "$what is refused");
	is($posts, 0, "$what: GitLab has not been asked to rotate");
	is(slurp_file($file), $before, "$what: the file is as it was");
	return;
}

begin();
is_refused('regress_plain', qr/permission denied to rotate the API token/, 'a role that may not write server files');
append_to_file($draft, 'an old secret');
is_refused('regress_joe', qr/There is a file "\Q$draft\E" already.*HINT:  It may hold the secret/s, 'a draft that is there');
is(slurp_file($draft), 'an old secret', 'a draft that was there is as it was');
unlink $draft;
SKIP:
{
	skip 'root may write everywhere', 3 if $> == 0;
	chmod 0555, $directory or die "chmod: $!";
	is_refused('regress_joe', qr/Could not create the file/, 'a directory that cannot be written to');
	chmod 0755, $directory or die "chmod: $!";
}
SKIP:
{
	my $theirs = '/etc/debian_version';

	skip 'there is no file of another user that looks like a token', 3
	  unless $> != 0 && -r $theirs && slurp_file($theirs) =~ /^[!-~]+\n$/;
	my ($token) = slurp_file($theirs) =~ /^(.*)$/m;

	begin();
	$sim->control('POST', 'tokens', undef,
		{ user_id => 2, name => 'theirs', scopes => ['api'], expires_at => '2099-12-31', token => $token });
	unlink $file;
	symlink $theirs, $file or die "symlink: $!";
	is_refused('regress_joe', qr/does not belong to the operating-system user/, 'a file of another user');
	unlink $file;
}


# --- what goes wrong later -------------------------------------------------------------------

begin();
$sim->fault('POST', 'rotate', 'status', status => 403);
($said) = rotate('regress_joe');
like($said, qr/ERROR:  could not rotate API token 2/, 'a rotation that GitLab refuses is an error');
is(slurp_file($file), "glpat-sim-alice\n", 'a rotation that GitLab refuses leaves the file as it was');
ok(!-e $draft, 'a rotation that GitLab refuses leaves no draft');

begin();
$sim->fault('POST', 'rotate', 'reset', moment => 'after');
($said) = rotate('regress_joe');
like($said, qr/GitLab's answer was lost/, 'a lost answer is an error');
ok(!-e $draft, 'a lost answer leaves no draft, for there is no secret to keep');

# While GitLab rotates, somebody puts a directory in the file's place.
begin();
my $session = Session->open($node, user => 'regress_joe', verbosity => 'default');

$sim->fault('POST', 'rotate', 'stall', seconds => 1);
$session->send(q{CALL gitlab_pat_rotate_self('gitlab')});
$sim->wait_for('POST', 'rotate');
unlink $file;
mkdir $file or die "mkdir: $!";
(undef, $said) = $session->finish;
like($said, qr/ERROR:  could not store the new API token.*GitLab has revoked token 2 in favor of 17, whose secret is in file "\Q$draft\E".*Rename that file/s,
	'a file that cannot be replaced is an error that names both ids and where the secret is');
is(slurp_file($draft), secret_of(17) . "\n", 'the secret is in the file that the error names');
unlike(slurp_file($node->logfile), qr/\Q@{[secret_of(17)]}\E/, 'the log does not have the secret');
rmdir $file;
rename $draft, $file or die "rename: $!";
is($node->safe_psql('postgres', q{SELECT id FROM gitlab_pat_self('gitlab')}, extra_params => [ '-U', 'regress_joe' ]),
	17, 'the hint of that error gets the token back to work');

# Two sessions with mappings that name the same file
begin();
$sim->fault('POST', 'rotate', 'stall', seconds => 1);
$session->send(q{CALL gitlab_pat_rotate_self('gitlab')});
$sim->wait_for('POST', 'rotate');
(undef, undef, $said) = $node->psql('postgres', q{CREATE USER MAPPING FOR PUBLIC SERVER gitlab OPTIONS (token_file '} . $file . q{');
	DROP USER MAPPING FOR CURRENT_USER SERVER gitlab;
	CALL gitlab_pat_rotate_self('gitlab')});
like($said, qr/is being rotated by another session/, 'a second session does not rotate the token of the same file');
$session->finish;
is(slurp_file($file), secret_of(17) . "\n", 'the first of two sessions has rotated the token of the file');
$_->close foreach ($session, $reader);
$node->stop;
done_testing();
