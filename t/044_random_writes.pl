# Random transactions on variables, and the same on a table of PostgreSQL: a
# transaction must see the same in both after each statement, and so must
# everybody after its end, whether that is a commit, a rollback or a failure.

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

my $transactions = 300;
my $seed = 4711;

my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);

# A project's variables and a group's differ in how GitLab looks for them.
my %kinds = (
	project => { table => 'gitlab_project_variables', column => 'project', place => 'acme/app' },
	group => { table => 'gitlab_group_variables', column => 'group_path', place => 'acme' });

sub pick { return $_[ int rand @_ ] }

my $count = 0;

# A statement on variables and the same on the model, in which "%s" stands for
# the table, for what a row has to be in, and for the condition on that.
sub on_both
{
	my ($kind, $format, @more) = @_;
	my %k = %{ $kinds{$kind} };

	return (sprintf($format, $k{table}, "$k{column} = '$k{place}' AND", @more),
		sprintf($format, 'model', '', @more));
}

sub insert
{
	my ($kind, $key, $scope, $condition) = @_;
	my %k = %{ $kinds{$kind} };
	my $value = 'v' . ++$count;

	return (
		"INSERT INTO $k{table} ($k{column}, key, environment_scope, value)
			SELECT '$k{place}', '$key', '$scope', '$value' WHERE $condition",
		"INSERT INTO model SELECT '$key', '$scope', '$value' WHERE $condition");
}

# Some statements for both.
sub statements
{
	my ($kind) = @_;
	my $key = pick(qw(A B C));
	my ($scope, $other) = (pick('*', 'prod', 'dev'), pick('*', 'prod', 'dev'));
	my $row = "key = '$key' AND environment_scope = '$scope'";
	my $vacant = sub { "NOT EXISTS (SELECT FROM model WHERE key = '$key' AND environment_scope = '$_[0]')" };
	my $value = 'v' . ++$count;

	return pick(
		sub { insert($kind, $key, $scope, $vacant->($scope)) },
		sub { on_both($kind, "UPDATE %s SET value = '$value' WHERE %s $row") },
		sub { on_both($kind, "UPDATE %s SET value = value || '+' WHERE %s environment_scope = '$scope'") },
		sub { on_both($kind, "UPDATE %s SET description = '$value' WHERE %s key = '$key'") },
		sub { on_both($kind, "DELETE FROM %s WHERE %s $row") },
		# meets its row twice
		sub { on_both($kind, "DELETE FROM %s USING generate_series(1, 2) WHERE %s $row") },
		sub {
			on_both($kind, "UPDATE %s SET environment_scope = '$other', value = '$value'
				WHERE %s $row AND " . $vacant->($other));
		},
		# two change places, and one may be new
		sub {
			my @moves = ([ $scope, 'between' ], [ $other, $scope ], [ 'between', $other ]);

			insert($kind, $key, $scope, $vacant->($scope)), map {
				on_both($kind, "UPDATE %s SET environment_scope = '$_->[1]'
					WHERE %s key = '$key' AND environment_scope = '$_->[0]'")
			} $scope eq $other ? () : @moves;
		},
		sub { on_both($kind, "DELETE FROM %s WHERE %s $row"), insert($kind, $key, $scope, 'true') })->();
}

sub transaction
{
	my ($kind, $name) = @_;
	my %k = %{ $kinds{$kind} };
	my $depth = 0;
	my $sql = "BEGIN;\n";

	foreach my $step (1 .. 3 + rand 10)
	{
		my $dice = rand;

		if ($dice < 0.15)
		{
			$sql .= "SAVEPOINT s;\n";
			$depth++;
		}
		elsif ($dice < 0.3 && $depth)
		{
			$sql .= "ROLLBACK TO s;\n";
		}
		elsif ($dice < 0.35 && $depth)
		{
			$sql .= "RELEASE s;\n";
			$depth--;
		}
		else
		{
			$sql .= "$_;\n" foreach statements($kind);
		}
		$sql .= "SELECT '$name, step $step', * FROM wrong;\n";
	}
	my $dice = rand;

	$sql .= "INSERT INTO $k{table} ($k{column}, key, value) VALUES ('$k{place}', 'not a key', 'x');\n"
	  if $dice < 0.4;
	$sql .= $dice > 0.85 ? "ROLLBACK;\n" : "COMMIT;\n";
	return $sql . "SELECT '$name, afterwards', * FROM wrong;\n";
}

foreach my $kind (sort keys %kinds)
{
	my %k = %{ $kinds{$kind} };

	srand $seed;
	$sim->reset;
	my ($code, $out, $err) = $node->psql('postgres', qq{
		DELETE FROM $k{table} WHERE $k{column} = '$k{place}';
		CREATE TABLE model (key text, environment_scope text, value text, description text);
		CREATE VIEW wrong AS
			WITH found AS (SELECT key, environment_scope, value, description FROM $k{table}
				WHERE $k{column} = '$k{place}')
			(SELECT 'not expected', * FROM (TABLE found EXCEPT ALL TABLE model) f)
			UNION ALL (SELECT 'missing', * FROM (TABLE model EXCEPT ALL TABLE found) m);}
		. join('', map { transaction($kind, "transaction $_") } 1 .. $transactions)
		. 'DROP TABLE model CASCADE', on_error_stop => 0);

	is($out, '', "$kind: all is seen as in the model, with the seed $seed");
	my @errors = grep { /ERROR:|WARNING:/ } split /\n/, $err;
	cmp_ok(scalar(grep { /could not create .* "not a key"/ } @errors), '>', 5,
		"$kind: some commits failed");
	is(join("\n", grep { !/could not create .* "not a key"/ } @errors), '',
		"$kind: there was no other error");
}
is_alive($node);

done_testing();
