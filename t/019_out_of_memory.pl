# Memory that runs out at any point of a COMMIT or of a ROLLBACK: the session goes on,
# each token and each variable is as it should be, or a message names it.
#
# PostgreSQL takes its memory with malloc(), the extension and its libraries most of
# theirs with calloc() where no error may be raised.  One call of calloc() fails, drawn at
# random: OUT_OF_MEMORY_SEED and OUT_OF_MEMORY_TRIALS set the seed, and how often.  libcurl may
# forget a request whose memory it did not get: that one ends with request_timeout.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use GitLabMatrix;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TRIALS => $ENV{OUT_OF_MEMORY_TRIALS} // 12;

# No end of a transaction here takes more calls.
use constant MOST => 100_000;

my $seed = $ENV{OUT_OF_MEMORY_SEED} // 19;
note("OUT_OF_MEMORY_SEED=$seed");
srand $seed;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $preload = "$directory/fail.so";
my $counter = "$directory/counter";

append_to_file("$directory/fail.c", <<'C');
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* How many calls are left until one fails; 0: none does. */
static volatile int32_t *counter = NULL;

extern void *__libc_calloc(size_t n, size_t size);

__attribute__((constructor)) static void
map_counter(void)
{
	const char *path = getenv("FAIL_COUNTER");
	int			fd = path ? open(path, O_RDWR) : -1;
	void	   *page = fd < 0 ? MAP_FAILED :
		mmap(NULL, sizeof(int32_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page != MAP_FAILED)
		counter = page;
	if (fd >= 0)
		close(fd);
}

void *
calloc(size_t n, size_t size)
{
	if (counter && *counter > 0 && --*counter == 0)
		return NULL;
	return __libc_calloc(n, size);
}
C
if (system('cc', '-shared', '-fPIC', '-o', $preload, "$directory/fail.c") != 0)
{
	plan skip_all => 'the C library has no calloc() that can be replaced';
}

# Has a number of calls to go until one fails; 0: none does.
sub set_counter
{
	my ($number) = @_;

	open my $file, '+<', $counter or die "open: $!";
	syswrite $file, pack 'l', $number or die "write: $!";
	close $file;
	return;
}

sub counter
{
	return unpack 'l', slurp_file($counter);
}

append_to_file($counter, pack 'l', 0);
chmod 0666, $counter;

my $sim = GitLabSim->start;
my $node;
{
	local $ENV{LD_PRELOAD} = $preload;
	local $ENV{FAIL_COUNTER} = $counter;
	$node = gitlab_cluster('main', $sim, server_options => q{max_retries '0', request_timeout '2s', rollback_timeout '2s', concurrency '2'});
}
create_tables($node, 'memory');

my $later = 'current_date + 90';
my $session = open_session($node, 'memory', verbosity => 'verbose');
my %begin = (
	variables => q{UPDATE public.gitlab_project_variables SET value = 'another-secret'
			WHERE project = 'acme/app' AND key = 'DEPLOY_PAT';
		INSERT INTO public.gitlab_project_variables (project, key, value) VALUES ('acme/app', 'NEW', 'new-secret');},
	tokens => "INSERT INTO tokens (user_id, name, scopes, expires_at) VALUES (2, 'new', '{api}', $later);
		UPDATE tokens SET expires_at = $later WHERE id = 2;
		SAVEPOINT s; UPDATE tokens SET expires_at = $later WHERE id = 3; ROLLBACK TO s;
		DELETE FROM tokens WHERE id = 4;");
$begin{both} = "$begin{tokens} $begin{variables}";

foreach my $kind (sort keys %begin)
{
	foreach my $end (qw(COMMIT ROLLBACK))
	{
		test_end($kind, $end) unless $kind eq 'variables' && $end eq 'ROLLBACK';
	}
}
$session->close;
is_alive($node);
done_testing();

# Ends a transaction several times; each time, another call fails.
sub test_end
{
	my ($kind, $end) = @_;
	my $name = "$end of $kind, out of memory";
	my (undef, $calls) = try_end($kind, $end, MOST);
	my %numbers = map { 1 + int(rand($calls)) => 1 } 1 .. TRIALS;
	my @odd;

	cmp_ok($calls, '>', 20, "$name: the end of the transaction takes memory");
	cmp_ok($calls, '<', MOST, "$name: a call fails in each trial");
	foreach my $number (sort { $a <=> $b } keys %numbers)
	{
		my ($text) = try_end($kind, $end, $number);

		push @odd, map { "call $number of $calls: $_: $text" } oddities($kind, $end, $text);
	}
	is(join("\n", @odd), '', "$name: all is as it should be, or named");
	return;
}

# Ends a transaction while the call of that number fails.  Returns what is said, and
# how many calls there were.
sub try_end
{
	my ($kind, $end, $number) = @_;

	$sim->reset;
	my $said = said($session, "BEGIN; $begin{$kind}");
	die "the transaction cannot begin: $said" if $said =~ /ERROR/;
	set_counter($number);
	my $text = said($session, $end);
	my $left = counter();
	set_counter(0);
	return ($text, $number - $left);
}

# What is neither as the end of the transaction should leave it nor named.
sub oddities
{
	my ($kind, $end, $text) = @_;
	my $committed = $end eq 'COMMIT' && $text !~ /ERROR/;
	my %state = map { $_->{id} => $_->{state} } $sim->tokens;
	my %expected = $kind eq 'variables' ? () : $committed ?
	  (2 => 'revoked', 3 => 'active', 4 => 'revoked', 17 => 'active', 18 => 'active', 19 => 'revoked') :
	  (2 => 'active', 3 => 'active', 4 => 'active', 17 => 'revoked', 18 => 'revoked', 19 => 'revoked');
	my %value = (DEPLOY_PAT => 'old-deploy-pat', NEW => '');
	my @odd;

	@value{qw(DEPLOY_PAT NEW)} = qw(another-secret new-secret) if $committed && $kind ne 'tokens';
	push @odd, 'the server is gone' if $text =~ /server closed|FATAL|PANIC/;
	push @odd, "another error: $text" if $text =~ /ERROR/ && $text !~ /ERROR:  (?:HV001|53200|08P01|08001|08006)/;
	foreach my $id (sort keys %expected)
	{
		push @odd, "token $id is $state{$id}"
		  unless $state{$id} eq $expected{$id} || $text =~ /(?:: |, |token )$id\b/;
	}
	foreach my $key (sort keys %value)
	{
		my $held = $sim->variable_value('project acme/app', $key) // '';

		push @odd, "variable $key holds '$held'"
		  unless $held eq $value{$key} || $text =~ /WARNING:.*"$key"/;
	}
	return @odd;
}
