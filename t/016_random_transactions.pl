# Random transactions on tokens and variables, with savepoints and exception
# blocks, while GitLab misbehaves and signals come.  Whatever becomes of a
# transaction, GitLab is as the transaction has left it, or messages name what is
# not: each token that is left over, each one that was revoked for a transaction
# that failed, and each variable with another value.
#
# Each change of GitLab goes with a row in a table of PostgreSQL, which so knows
# what has come of savepoints and of the transaction.
#
# SEED and TRIALS in the environment set the seed and the number of transactions.

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
use Time::HiRes qw(sleep time);

my $seed = $ENV{SEED} || 16;
my $trials = $ENV{TRIALS} || 60;

my $sim = GitLabSim->start;
my $node = gitlab_cluster(
	'main', $sim,
	conf => q{log_statement = 'none'},
	server_options => q{max_retries '1', max_retry_wait '60ms', request_timeout '300ms',
		rollback_timeout '700ms', concurrency '2'});
create_tables($node, 'random');
$node->safe_psql('postgres', q{
	CREATE TABLE random.expected (n serial, trial int, id bigint, state text);
	CREATE TABLE random.held (n serial, trial int, value text);});

sub pick { return $_[ int rand @_ ] }

my $trial = 0;
my $later = 'current_date + 90';

# Statements that change GitLab, and note what has to come of it.
sub change
{
	my $id = pick(2, 3, 4, 7, 8);
	my $note = "INSERT INTO random.expected (trial, id, state)";
	my $deliver = "UPDATE public.gitlab_project_variables v SET value = new.token FROM new
		WHERE v.project = 'acme/app' AND v.key = 'DEPLOY_PAT' RETURNING v.value";
	my $insert = "INSERT INTO tokens (user_id, name, scopes, expires_at)
		VALUES (2, 'new', '{api}', $later)";

	return pick(
		"WITH new AS ($insert RETURNING id) $note SELECT $trial, id, 'active' FROM new",
		"WITH new AS ($insert RETURNING id, token), put AS ($deliver),
			held AS (INSERT INTO random.held (trial, value) SELECT $trial, value FROM put)
			$note SELECT $trial, id, 'active' FROM new",
		"WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = $id AND active RETURNING id, token),
			old AS ($note SELECT $trial, $id, 'revoked' FROM new)
			$note SELECT $trial, id, 'active' FROM new",
		"WITH new AS (UPDATE tokens SET expires_at = $later WHERE id = $id AND active RETURNING id, token),
			put AS ($deliver),
			held AS (INSERT INTO random.held (trial, value) SELECT $trial, value FROM put),
			old AS ($note SELECT $trial, $id, 'revoked' FROM new)
			$note SELECT $trial, id, 'active' FROM new",
		"WITH new AS (UPDATE native_tokens SET expires_at = $later WHERE id = $id AND active RETURNING id),
			old AS ($note SELECT $trial, $id, 'revoked' FROM new)
			$note SELECT $trial, id, 'active' FROM new",
		"WITH gone AS (DELETE FROM tokens WHERE id = $id AND active RETURNING id)
			$note SELECT $trial, id, 'revoked' FROM gone",
		"WITH gone AS (DELETE FROM tokens WHERE id > 16 AND active RETURNING id)
			$note SELECT $trial, id, 'revoked' FROM gone");
}

sub transaction
{
	my @statements = ('BEGIN');
	my $depth = 0;

	foreach (1 .. 1 + int rand 5)
	{
		my $dice = rand;

		if ($dice < 0.15)
		{
			push @statements, 'SAVEPOINT s';
			$depth++;
		}
		elsif ($dice < 0.3 && $depth) { push @statements, 'ROLLBACK TO s'; }
		elsif ($dice < 0.35 && $depth)
		{
			push @statements, 'RELEASE s';
			$depth--;
		}
		elsif ($dice < 0.5)
		{
			my $statement = change();
			my $fail = pick('', q{RAISE EXCEPTION 'no';});

			push @statements, "DO \$do\$ BEGIN $statement; $fail
				EXCEPTION WHEN OTHERS THEN NULL; END \$do\$";
		}
		else { push @statements, change(); }
	}
	return (@statements, rand() < 0.75 ? 'COMMIT' : 'ROLLBACK');
}

# Arms faults; says which ones.
sub misbehave
{
	my @said;

	foreach (1 .. pick(0, 1, 1, 2))
	{
		my ($kind, %fields) = @{ pick(
				[ 'reset', moment => pick('before', 'after') ],
				[ 'reset', moment => 'late', delay => 0.2 ],
				[ 'close', moment => pick('before', 'after') ],
				[ 'status', status => pick(500, 502, 503), moment => pick('before', 'after') ],
				[ 'status', status => 503, headers => { 'Retry-After' => 1 } ],
				[ 'status', status => pick(400, 401, 403) ],
				[ 'status', status => 429 ],
				[ 'stall', seconds => 0.5, moment => pick('before', 'after') ],
				[ 'truncate' ],
				[ 'html', moment => 'after' ]) };
		my %where = (nth => 1 + int rand 12, times => pick(1, 1, 2, 0));
		my $method = pick('*', '*', 'POST', 'DELETE', 'PUT');

		$where{nth} = 1 + int rand 3 if $method ne '*';
		$sim->fault($method, '.', $kind, %fields, %where);
		push @said, join ' ', $method, $kind, map { "$_=" . (ref $fields{$_} ? 'x' : $fields{$_}) }
		  sort keys %fields;
		push @said, "nth=$where{nth} times=$where{times}";
	}
	return join ', ', @said;
}

my $log_offset = -s $node->logfile;

sub log_tail
{
	my $tail = slurp_file($node->logfile, $log_offset);

	$log_offset = -s $node->logfile;
	return $tail;
}

# Sends statements one by one, maybe with a signal in the middle of one.
sub run_transaction
{
	my ($session, @statements) = @_;
	my $text = '';
	my $signalled = rand() < 0.4 ? int rand @statements : -1;
	my $signal = pick('INT', 'INT', 'TERM');

	foreach my $i (0 .. $#statements)
	{
		if ($i == $signalled)
		{
			my $count = $sim->count + pick(1, 1, 2, 3);
			my $deadline = time + 0.6;

			$session->send($statements[$i]);
			sleep 0.005 while $sim->count < $count && time < $deadline;
			sleep rand 0.05;
			kill $signal, $session->pid;
			$text .= "($signal)\n" . said_later($session);
			if ($signal eq 'TERM')
			{
				wait_until_gone($session);
				last;
			}
		}
		else { $text .= said($session, $statements[$i]) . "\n"; }
	}
	return $text;
}

# What is wrong with GitLab, given what there was and all that was said.
sub violations
{
	my ($before, $text) = @_;
	my @wrong;
	my %expected = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
		"SELECT id, state FROM random.expected WHERE trial = $trial ORDER BY n");
	my $lost = $text =~ /may (?:exist|have been created|have been rotated|have revoked token \d+ and made a new one)/;
	my $held = $node->safe_psql('postgres',
		"SELECT value FROM random.held WHERE trial = $trial ORDER BY n DESC LIMIT 1");

	$sim->wait_for_late;
	foreach my $token ($sim->tokens)
	{
		my $id = $token->{id};
		my $wanted = $expected{$id} // $before->{$id} // 'revoked';

		next if $token->{state} eq $wanted || $text =~ /\b$id\b/;
		next if $lost && $id > 16 && $token->{state} eq 'active';
		push @wrong, "token $id is $token->{state}, not $wanted, and no message names it";
	}
	my $value = $sim->variable_value('project acme/app', 'DEPLOY_PAT');
	$held = $before->{variable} if $held eq '';
	push @wrong, 'the variable has another value, and no message says so'
	  if $value ne $held && $text !~ /variable "DEPLOY_PAT"/;
	push @wrong, map { "$_->{owner} $_->{key} holds a dead token" }
	  grep { $_->{key} eq 'DEPLOY_PAT' } $sim->dead_variables
	  if $text !~ /variable "DEPLOY_PAT"/;
	push @wrong, 'a backend crashed' if $text =~ /PANIC|TRAP/;
	push @wrong, 'a secret is shown' if $text =~ /glpat-/;
	return @wrong;
}

srand $seed;
my @wrong;
my ($committed, $failed) = (0, 0);
my $session;

while ($trial < $trials)
{
	$trial++;
	$sim->clear_faults;
	$sim->reset;
	$sim->variable_set(project => 'acme/app', key => 'DEPLOY_PAT', value => 'glpat-sim-frank');
	my $before = { map { $_->{id} => $_->{state} } $sim->tokens };
	$before->{variable} = 'glpat-sim-frank';
	$session = open_session($node, 'random')
	  if !$session || !kill(0, $session->pid);
	log_tail();

	my @statements = transaction();
	my $faults = misbehave();
	my $text = run_transaction($session, @statements);
	$sim->clear_faults;
	if (kill 0, $session->pid)
	{
		$text .= said($session, 'ROLLBACK');
	}
	my $log = log_tail();
	$log =~ s/^.*LOG: .*\n//mg;
	$text .= "\n$log";
	$node->safe_psql('postgres', "SELECT count(*) FROM random.expected WHERE trial = $trial")
	  ? $committed++ : $failed++;
	push @wrong, join("\n", "transaction $trial:", violations($before, $text), "faults: $faults",
		@statements, $text)
	  if violations($before, $text);
}
$session->close;
is(join("\n\n", @wrong), '',
	"after $trials random transactions, GitLab is as they left it or messages name what is not, with the seed $seed");
cmp_ok($committed, '>', $trials / 10, 'some of the transactions commit changes');
cmp_ok($failed, '>', $trials / 10, 'some of the transactions fail');
is_alive($node);
$node->stop;

done_testing();
