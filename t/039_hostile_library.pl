# The libraries below a backend fail it: json-c gets no more memory, the wall clock
# jumps, and libcurl is of another version than its headers.  A library that is
# preloaded does all of that, as told by a file.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use GitLabCluster;
use HostileServer qw(answer json_answer);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

# How far the wall clock jumps, in microseconds.
use constant DAY => 86_400 * 1_000_000;

# What a rollback may take in all, in seconds.
use constant ROLLBACK_TIMEOUT => 2;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $faults = "$directory/faults";
my $preload = "$directory/faults.so";

append_to_file("$preload.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

typedef struct Faults
{
	volatile int64_t shift;		/* of the wall clock, in us */
	volatile int64_t countdown;	/* allocations of json-c until one fails; 0: never */
	volatile int64_t length;	/* how many fail from then on */
	volatile int64_t budget;	/* bytes that json-c may have at a time; 0: no limit */
	volatile int64_t chunks;	/* what is of 40 to 256 bytes does not count */
	volatile int64_t version;	/* libcurl's, or 0 for the real one */
	volatile int64_t forget;	/* what CURLMOPT_NETWORK_CHANGED was last set to */
} Faults;

static Faults none;
static Faults *faults = &none;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

__attribute__((constructor)) static void
begin(void)
{
	int			file = open(getenv("FAULTS"), O_RDWR);
	void	   *shared = file < 0 ? MAP_FAILED :
		mmap(NULL, sizeof(Faults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (shared != MAP_FAILED)
		faults = shared;
}

/* The memory that json-c and gitlab_pat_fdw hold while there is a budget. */
static struct
{
	void	   *memory;
	int64_t		size;
} held[8192];
static int64_t in_use;

static int
is_json(void *caller)
{
	Dl_info		info;

	return dladdr(caller, &info) && strstr(info.dli_fname, "json-c");
}

static int
is_counted(void *caller)
{
	Dl_info		info;

	return faults->budget > 0 && dladdr(caller, &info) &&
		(strstr(info.dli_fname, "json-c") || strstr(info.dli_fname, "gitlab_pat_fdw"));
}

/* The size of what is held here, or 0; forgotten if wanted. */
static int64_t
held_size(void *memory, int forget)
{
	for (int i = 0; memory && in_use > 0 && i < 8192; i++)
	{
		if (held[i].memory == memory)
		{
			int64_t		size = held[i].size;

			if (forget)
			{
				held[i].memory = NULL;
				in_use -= size;
			}
			return size;
		}
	}
	return 0;
}

/* Allocates within the budget, beside what an old piece of memory takes. */
static void *
hold(void *old, size_t size)
{
	void	   *memory;

	if (in_use + (int64_t) size > faults->budget &&
		!(faults->chunks && size >= 40 && size <= 256))
	{
		errno = ENOMEM;
		return NULL;
	}
	(void) held_size(old, 1);
	memory = __libc_realloc(old, size);
	for (int i = 0; i < 8192; i++)
	{
		if (held[i].memory == NULL)
		{
			held[i].memory = memory;
			held[i].size = size;
			in_use += size;
			break;
		}
	}
	return memory;
}

void
free(void *memory)
{
	(void) held_size(memory, 1);
	__libc_free(memory);
}

static int
fails(void *caller)
{
	if (faults->countdown == 0 || !is_json(caller))
		return 0;
	if (faults->countdown > 1)
	{
		faults->countdown--;
		return 0;
	}
	if (faults->length == 0)
		return 0;
	faults->length--;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	if (is_counted(__builtin_return_address(0)))
		return hold(NULL, size);
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	if (is_counted(__builtin_return_address(0)))
	{
		void	   *memory = hold(NULL, n * size);

		return memory ? memset(memory, 0, n * size) : NULL;
	}
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *old, size_t size)
{
	if (is_counted(__builtin_return_address(0)))
		return hold(old, size);
	(void) held_size(old, 1);
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

char *
strdup(const char *s)
{
	size_t		size = strlen(s) + 1;
	char	   *copy = is_counted(__builtin_return_address(0)) ? hold(NULL, size) :
		fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

	return copy ? memcpy(copy, s, size) : NULL;
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	static int	(*real) (clockid_t, struct timespec *);
	int			rc;

	if (!real)
		*(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(id, ts);
	if (id == CLOCK_REALTIME)
		ts->tv_sec += faults->shift / 1000000;
	return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	(void) tz;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

/* The beginning of libcurl's struct. */
typedef struct Version
{
	int			age;
	const char *version;
	unsigned int version_num;
} Version;

Version *
curl_version_info(int age)
{
	static Version *(*real) (int);
	static unsigned int number;
	Version    *version;

	if (!real)
		*(void **) &real = dlsym(RTLD_NEXT, "curl_version_info");
	version = real(age);
	if (number == 0)
		number = version->version_num;
	version->version_num = faults->version ? faults->version : number;
	return version;
}

int
curl_multi_setopt(void *multi, int option, ...)
{
	static int	(*real) (void *, int, ...);
	va_list		list;
	void	   *value;

	if (!real)
		*(void **) &real = dlsym(RTLD_NEXT, "curl_multi_setopt");
	va_start(list, option);
	value = va_arg(list, void *);
	va_end(list);
	if (option == 17)
	{
		faults->forget = (int64_t) (intptr_t) value;
		return 0;
	}
	return real(multi, option, value);
}

time_t
time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
C
system_or_bail('cc', '-shared', '-fPIC', '-O', '-o', $preload, "$preload.c", '-ldl');

my @NUMBERS = qw(shift countdown length budget chunks version forget);

# Says what fails: the shift of the clock, which allocation of json-c or beyond how
# many bytes, and libcurl's version.
sub set_faults
{
	my (%new) = @_;

	open my $file, '+<', $faults or die "$faults: $!";
	syswrite $file, pack('q7', map { $new{$_} // 0 } @NUMBERS);
	close $file or die "$faults: $!";
	return;
}

# What is left of a number in there.
sub left_over
{
	my ($name) = @_;
	my %now;

	@now{@NUMBERS} = unpack 'q7', slurp_file($faults);
	return $now{$name};
}

append_to_file($faults, "\0" x 4096);

my $server = HostileServer->start;
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "jit = off\nlog_statement = none\nautovacuum = off\n");
{
	local @ENV{qw(LD_PRELOAD FAULTS)} = ($preload, $faults);
	$node->start;
}
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION gitlab_pat_fdw;
	CREATE SERVER failing FOREIGN DATA WRAPPER gitlab_pat_fdw
		OPTIONS (url '@{[ $server->url('failing') ]}', max_retries '0', rollback_timeout '${\ROLLBACK_TIMEOUT}s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER failing OPTIONS (token 'glpat-failing');
	CREATE FOREIGN TABLE tokens (id bigint, user_id bigint, name text, description text, scopes text[],
		active boolean, revoked boolean, created_at timestamptz, last_used_at timestamptz,
		expires_at date, token text) SERVER failing;
});
my $session = Session->open($node, verbosity => 'verbose');
my $control = Session->open($node);

my $token = '{"id":%d,"user_id":2,"name":"one name","description":"a description that is longer than others",'
  . '"scopes":["api","read_user"],"active":true,"revoked":false,"created_at":"2026-01-01T00:00:00.000Z",'
  . '"last_used_at":null,"expires_at":"2099-01-01"%s}';
my $self = sprintf $token, 1, '';
my $created = sprintf $token =~ s/2026-01-01/2098-01-01/r, 901, ',"token":"glpat-abcdefghijklmnop"';
my $insert = q{INSERT INTO tokens (user_id, name, scopes, expires_at)
	VALUES (2, 'one name', '{api,read_user}', '2099-01-01') RETURNING *};
my %statements = (
	'a list' => 'SELECT * FROM tokens',
	'a lookup' => 'SELECT * FROM tokens WHERE id = 101',
	'a creation' => $insert);
my @friendly = (
	'GET .*/self$' => [ [ send => json_answer(200, {}, $self) ] ],
	'POST .*/rotate$' => [ [ send => json_answer(200, {}, $created) ] ],
	'POST ' => [ [ send => json_answer(201, {}, $created) ] ],
	'GET .*/personal_access_tokens/' => [ [ send => json_answer(200, {}, sprintf($token, 101, '')) ] ],
	'GET ' => [ [ send => json_answer(200, {}, '[' . sprintf($token, 101, '') . ',' . sprintf($token, 102, '') . ']') ] ],
	'DELETE ' => [ [ send => answer(204, {}) ] ]);

test_budget();
test_memory() if json_c_tells();
test_clock();
test_versions();

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the cluster is alive');
done_testing();

# --- memory -----------------------------------------------------------------------------

# Does json-c say when it got no memory?  Before 0.17, it may crash instead.
sub json_c_tells
{
	my ($major, $minor) = $node->safe_psql('postgres', 'SELECT gitlab_pat_fdw_version()') =~ /json-c (\d+)\.(\d+)/;

	return $major > 0 || $minor >= 17;
}

# json-c and what asks it may have no more than so many bytes at a time; or, as in a heap
# of many pieces, there is no end of chunks of some sizes.
sub test_budget
{
	$server->play('failing', @friendly);
	foreach my $case (map { ([ $_, 0 ], [ $_, 1 ]) } sort keys %statements)
	{
		my ($statement, $chunks) = @$case;
		my $name = $statement . ($chunks ? ', with free chunks' : '');
		my ($whole) = $session->query($statements{$statement});
		my (@wrong, $failed, $worked);

		for (my $budget = 64; $budget < 256 * 1024 && !$worked; $budget += $budget < 8192 ? 32 : 512)
		{
			set_faults(budget => $budget, chunks => $chunks);
			my ($out, $err) = $session->query($statements{$statement});
			set_faults();
			push @wrong, "$budget bytes: $out$err"
			  unless $out eq $whole && $err !~ /ERROR/
			  || $out eq '' && $err =~ /ERROR:  53200: |ERROR: .*DETAIL:  Out of memory/s;
			$failed++ if $err =~ /ERROR/;
			$worked = $err !~ /ERROR/;
			last if @wrong > 10;
		}
		ok(!@wrong, "$name: rows are complete, or the error is a lack of memory, however little there is") or diag(join "\n", @wrong);
		cmp_ok($failed // 0, '>', 5, "$name: some limits leave too little memory");
		ok($worked, "$name: some limits leave enough memory");
	}
	is(($session->query('SELECT count(*) FROM tokens'))[0], '2', 'the session goes on after there was too little memory');
	return;
}

# Each allocation of json-c fails in turn, alone or with all after it.
sub test_memory
{
	$server->play('failing', @friendly);
	foreach my $name (sort keys %statements)
	{
		my ($whole) = $session->query($statements{$name});

		# the next one has nothing more to learn about the credential
		foreach my $length (1, 1_000_000)
		{
			my (@wrong, $failed);

			foreach my $number (1 .. 2000)
			{
				set_faults(countdown => $number, length => $length);
				my ($out, $err) = $session->query($statements{$name});
				my $unused = left_over('length');
				set_faults();
				push @wrong, "allocation $number: $out$err"
				  unless $out eq $whole && $err !~ /ERROR/
				  || $out eq '' && $err =~ /ERROR:  53200: |ERROR: .*DETAIL:  Out of memory/s;
				$failed++ if $err =~ /ERROR/;
				last if $unused == $length || @wrong > 10;
			}
			my $how = $length == 1 ? 'one allocation' : 'all from one allocation on';
			ok(!@wrong, "$name: when json-c fails at $how, rows are complete or the error is a lack of memory")
			  or diag(join "\n", @wrong);
			cmp_ok($failed // 0, '>', 5, "$name: json-c fails at $how");
		}
	}
	my ($out) = $session->query('SELECT count(*) FROM tokens');
	is($out, '2', 'the session goes on after json-c had no memory');

	# an error's words are worth less than the error
	my @wrong;
	$server->play('failing', @friendly[ 0, 1 ],
		'GET ' => [ [ send => json_answer(403, {}, '{"error":"insufficient_scope","error_description":"no","scope":"api"}') ] ]);
	foreach my $number (1 .. 60)
	{
		set_faults(countdown => $number, length => 1);
		my (undef, $err) = $session->query('SELECT * FROM tokens');
		push @wrong, "allocation $number: $err" unless $err =~ /ERROR:  (42501|53200): /;
	}
	set_faults();
	ok(!@wrong, 'when json-c fails at the words of a 403, the error is a 42501 or a 53200') or diag(join "\n", @wrong);
	return;
}

# --- the clock ----------------------------------------------------------------------------

# Waits until the server has seen more requests of a kind than before.
sub wait_for_request
{
	my ($pattern, $before) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while ((grep { /$pattern/ } $server->requests) <= $before)
	{
		die "no request $pattern" if time > $deadline;
		$session->{process}->pump_nb;
		sleep 0.01;
	}
	return;
}

# The wall clock jumps by a day, either way, while a rollback waits.
sub test_clock
{
	my ($shown) = $session->query('SELECT now()::date');

	set_faults(shift => DAY);
	isnt(($session->query('SELECT now()::date'))[0], $shown, "the backend's wall clock jumps");
	set_faults();
	foreach my $shift (DAY, -DAY())
	{
		my $where = $shift > 0 ? 'forward' : 'back';

		# GitLab answers in time
		$server->play('failing', 'DELETE ' => [ [ sleep => 1 ], [ send => answer(204, {}) ] ], @friendly);
		my $before = grep { /^DELETE/ } $server->requests;
		$session->send("BEGIN; $insert; ROLLBACK");
		wait_for_request(qr/^DELETE/, $before);
		set_faults(shift => $shift);
		my (undef, $err) = $session->finish;
		set_faults();
		unlike($err, qr/WARNING/, "a rollback waits for GitLab although the wall clock jumps $where by a day");

		# GitLab does not answer
		$server->play('failing', 'DELETE ' => [ ['stall'] ], @friendly);
		$before = grep { /^DELETE/ } $server->requests;
		$session->send("BEGIN; $insert; ROLLBACK");
		wait_for_request(qr/^DELETE/, $before);
		my $begun = time;
		set_faults(shift => $shift);
		(undef, $err) = $session->finish;
		set_faults();
		like($err, qr/WARNING/, "a rollback ends without an answer although the wall clock jumps $where by a day");
		cmp_ok(time - $begun, '<', ROLLBACK_TIMEOUT + 10, "a rollback without an answer takes rollback_timeout although the wall clock jumps $where by a day");
		$session->query('ROLLBACK');

		test_rotation($where, $shift);
	}
	return;
}

# A cancel makes a rotation of the credential give up only when rollback_timeout has
# passed, for what GitLab answers meanwhile is the only copy of the secret.
sub test_rotation
{
	my ($where, $shift) = @_;

	foreach my $seconds (1, 60)
	{
		$server->play('failing',
			'POST .*/rotate' => [ [ sleep => $seconds ], [ send => json_answer(200, {}, $created) ] ], @friendly);
		my $before = grep { /^POST/ } $server->requests;
		$session->send(q{CALL gitlab_pat_rotate_self('failing', '2099-01-01')});
		wait_for_request(qr/^POST/, $before);
		$control->query("SELECT pg_cancel_backend(${\$session->pid})");
		sleep 0.3;
		set_faults(shift => $shift);
		my $begun = time;
		my ($out, $err) = $session->finish;
		set_faults();
		if ($seconds == 1)
		{
			unlike($err, qr/WARNING|57014: .*may have/s,
				"a canceled gitlab_pat_rotate_self() waits for GitLab although the wall clock jumps $where by a day");
			is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_user_mappings
					WHERE 'token=glpat-abcdefghijklmnop' = ANY (umoptions)}), '1',
				"a canceled gitlab_pat_rotate_self() stores the credential although the wall clock jumps $where by a day");
			$session->query(q{ALTER USER MAPPING FOR CURRENT_USER SERVER failing OPTIONS (SET token 'glpat-failing')});
		}
		else
		{
			like($err, qr/ERROR/, "a canceled gitlab_pat_rotate_self() gives up although the wall clock jumps $where by a day");
			cmp_ok(time - $begun, '<', ROLLBACK_TIMEOUT + 10,
				"a canceled gitlab_pat_rotate_self() gives up after rollback_timeout, whatever the wall clock says");
		}
	}
	return;
}

# --- libcurl ------------------------------------------------------------------------------

# libcurl is told to forget connections that the server has closed, by a bit that
# depends on its version and not on its headers.
sub test_versions
{
	my %bits = ('8.16' => 1, '8.17' => 1, '8.19' => 1, '8.20' => 2, '8.21' => 2, '8.23' => 2, '9.0' => 2);

	$server->play('failing', 'GET ' => [ [ send => json_answer(200, {}, sprintf($token, 101, '')) ], [ sleep => 0.2 ], ['close'] ]);
	foreach my $version (sort keys %bits)
	{
		my ($major, $minor) = split /\./, $version;

		set_faults(version => $major << 16 | $minor << 8);
		# the first ones may meet a client that is new
		foreach (1 .. 3)
		{
			$session->query('SELECT name FROM tokens WHERE id = 101');
			sleep 0.6;
		}
		is(left_over('forget'), $bits{$version}, "libcurl $version is told to forget closed connections by the bit that it knows");
	}
	set_faults();
	return;
}
