# Random tokens, and random queries about them.
#
# A query is text in which @T stands for the table of tokens, so that the same
# one can be asked of the foreign table and of a local copy.  All is drawn from
# Perl's generator, whose seed is the caller's business.

package RandomQueries;

use strict;
use warnings FATAL => 'all';
use utf8;

use POSIX ();

use constant MICROSECONDS => 1_000_000;

# Options: now, the simulator's time in seconds; fixture, how many tokens there
# are before those made here.
sub new
{
	my ($class, %options) = @_;

	return bless {
		now => $options{now},
		last_id => $options{fixture},
		times => [ map { ($options{now} + $_) * MICROSECONDS } (-86400, 0) ],
		names => [],
	}, $class;
}

sub pick { return $_[ rand @_ ] }

# True so many times of a hundred.
sub chance { return rand(100) < $_[0] }

# --- the tokens ---------------------------------------------------------------

my @words = (
	'deploy', 'Deploy', 'DEPLOY', 'ci', 'CI', 'x', 'Ü', 'Ünïcödé', 'ключ', '鍵', '令牌令牌',
	'100%', '%', '_', 'a_b', 'back\\slash', '\\', '\\%', 'say "hi"', '"', q{it's},
	'key', 'KEY', 'tok', 'straße', '✓✓✓', '🔑🔑🔑', 'a.b', '[x]', '(y)', 'a+b&c=d', '#1;?',
	'tokentoken');
my @blanks = (' ', ' ', ' ', '  ', '   ', "\t", "\N{U+A0}", "\N{U+3000}");

sub _name
{
	my ($self) = @_;
	my $name = pick(@words);

	$name .= (chance(60) ? pick(@blanks) : '') . pick(@words) while chance(45);
	$name = pick(@blanks) . $name if chance(8);
	$name .= pick(@blanks) if chance(8);
	return $name;
}

# Microseconds since the epoch, as GitLab's database would hold them.
sub _time
{
	my ($self) = @_;
	my $time = chance(30) ? pick(@{ $self->{times} })
	  : ($self->{now} - int(rand(40 * 86400))) * MICROSECONDS;

	$time += pick(0, 0, 1, 999, 1000, 1001, 999_000, 999_999, -1, -999, -1000, 500,
		int(rand(MICROSECONDS)));
	push @{ $self->{times} }, $time;
	return $time;
}

# As text, to the microsecond; the zone is up to the caller.
sub time_text
{
	my ($time, $separator) = @_;
	my $seconds = POSIX::floor($time / MICROSECONDS);

	return POSIX::strftime("%Y-%m-%d${separator}%H:%M:%S", gmtime $seconds)
	  . sprintf '.%06d', $time - $seconds * MICROSECONDS;
}

# A date some days from now.
sub _date
{
	my ($self, $days) = @_;

	return POSIX::strftime('%Y-%m-%d', gmtime($self->{now} + 86400 * $days));
}

# Dates that GitLab stores, too, and days that lack a midnight in some zone; as
# PostgreSQL writes them, and as GitLab does.
my @odd_dates = (
	[ '4714-11-24 BC', '-4713-11-24' ], [ '0044-03-15 BC', '-0043-03-15' ],
	[ '0002-01-01 BC', '-0001-01-01' ], [ '0001-06-01 BC', '0000-06-01' ],
	[ '0001-12-31 BC', '0000-12-31' ], map({ [ $_, $_ ] } '0001-01-01', '0999-12-31', '2011-12-30',
		'2011-12-31', '2018-11-04', '2027-03-14', '9999-12-30', '9999-12-31', '10000-01-01',
		'294277-01-01', '5874897-12-31'));

sub _days { return pick(0, 0, 1, -1, 2, -2, 7, 30, -30, int(rand(800)) - 400) }

# The fields of a random token, as the simulator's control interface takes them.
sub token
{
	my ($self) = @_;
	my $name = chance(20) && @{ $self->{names} } ? pick(@{ $self->{names} }) : $self->_name;

	$self->{last_id}++;
	push @{ $self->{names} }, $name;
	return {
		name => $name,
		user_id => 1 + int(rand(10)),
		scopes => [ pick('api', 'read_api', 'read_user'), chance(30) ? 'sudo' : () ],
		description => pick(undef, '', $name),
		revoked => chance(15) ? JSON::PP::true : JSON::PP::false,
		impersonation => chance(10) ? JSON::PP::true : JSON::PP::false,
		created_at => time_text($self->_time, 'T') . 'Z',
		last_used_at => chance(40) ? undef : time_text($self->_time, 'T') . 'Z',
		expires_at => chance(15) ? undef : chance(12) ? pick(@odd_dates)->[1] : $self->_date(_days()),
	};
}

# --- operands -----------------------------------------------------------------

# A constant as this query shows it: in place, as a parameter, or from a
# subquery that is evaluated once.
sub _constant
{
	my ($self, $type, $literal) = @_;
	my $mode = $self->{mode};

	if (defined $literal)
	{
		$literal =~ s/'/''/g;
		$literal = "'$literal'";
	}
	else
	{
		$literal = 'NULL';
	}
	$mode = pick('inline', 'subquery') if $mode eq 'mixed';
	if ($mode eq 'parameter')
	{
		push @{ $self->{types} }, $type;
		push @{ $self->{arguments} }, "$literal\::$type";
		return '$' . @{ $self->{types} };
	}
	return $mode eq 'subquery' ? "(SELECT $literal\::$type)" : "$literal\::$type";
}

sub _number
{
	my ($self, $highest) = @_;

	return pick(0, -1, 999_999) if chance(4);
	return 1 + int(rand($highest));
}

sub _numbers
{
	my ($self, $highest) = @_;
	my @numbers = map { chance(5) ? 'NULL' : $self->_number($highest) } 1 .. int(rand(5));

	return '{' . join(',', @numbers) . '}';
}

# A point in time: around one that a token has, or beyond what GitLab knows.
sub _instant
{
	my ($self) = @_;
	my $type = pick('timestamptz', 'timestamptz', 'timestamptz', 'timestamp', 'date');
	my $time = pick(@{ $self->{times} }) +
	  pick(0, 0, 0, 1, -1, 999, -999, 1000, -1000, 1_000_000, -86_400_000_000);

	if (chance(8))
	{
		my @far = ('infinity', '-infinity', '0044-03-15 BC', '0001-01-01', '9999-12-31',
			'10000-01-01', '9999-12-30 23:59:59.999999', '0001-01-02');

		push @far, $type eq 'date' ? '5874897-12-31' : '294276-01-01';
		return $self->_constant($type, pick(@far));
	}
	return pick('now()', 'current_date', 'localtimestamp', q{now() - interval '3 days'},
		q{current_date - 10}, q{date_trunc('hour', now())},
		q{clock_timestamp() + interval '1 hour'})
	  if chance(12) && $self->{mode} ne 'parameter';
	return $self->_constant('date', substr(time_text($time, ' '), 0, 10)) if $type eq 'date';
	my $text = time_text($time, ' ');

	$text =~ s/\d{3}$// if chance(30);
	return $self->_constant($type, $type eq 'timestamptz' ? "${text}Z" : $text);
}

sub _day
{
	my ($self) = @_;

	return $self->_instant if chance(25);
	return $self->_constant('date', pick('infinity', '-infinity', '0001-01-01 BC', '12000-01-01',
			map { $_->[0] } @odd_dates)) if chance(12);
	return $self->_constant(pick('timestamp', 'timestamptz'), pick('2011-12-30', '2011-12-31', '2018-11-04',
			'2027-03-14') . pick('', ' 00:30', ' 01:00')) if chance(4);
	return 'current_date + ' . _days() if chance(15);
	return $self->_constant('date', $self->_date(_days()));
}

sub _fragment
{
	my ($self) = @_;
	my $name = pick(@{ $self->{names} });
	my $from = int(rand(length $name));

	$from = 0 if chance(40);
	return substr($name, $from, 1 + int(rand(length($name) - $from)));
}

sub _pattern
{
	my ($self) = @_;
	my $fragment = $self->_fragment;

	# as it stands, but now and then with wildcards in it
	$fragment =~ s/([\\%_])/\\$1/g;
	if (chance(20) && length $fragment > 2)
	{
		my $place = int(rand(length $fragment));

		substr($fragment, $place, 1) = pick('%', '_')
		  if substr($fragment, $place, 1) !~ /[\\%_]/
		  && ($place == 0 || substr($fragment, $place - 1, 1) ne '\\');
	}
	# a needless escape
	$fragment =~ s/^(\w)/\\$1/ if chance(10);
	return pick('', '%', '%', '_') . $fragment . pick('', '%', '%', '%%');
}

# --- conditions ---------------------------------------------------------------

my @comparisons = ('<', '<=', '=', '>=', '>');

sub _numeric
{
	my ($self, $column, $highest) = @_;
	my $type = pick('bigint', 'bigint', 'integer', 'smallint');
	my $kind = int(rand(7));

	return "$column = " . $self->_constant('bigint', $self->_number($highest)) if $kind < 2;
	return $self->_constant('bigint', $self->_number($highest)) . " = $column" if $kind == 2;
	return "$column IN (" . join(', ',
		map { $self->_constant('bigint', $self->_number($highest)) } 0 .. rand(4)) . ')'
	  if $kind == 3;
	return "$column " . pick(@comparisons, '<>') . ' ' .
	  $self->_constant('bigint', $self->_number($highest)) if $kind == 4;
	return "$column <> ALL (" . $self->_constant('bigint[]', $self->_numbers($highest)) . ')'
	  if chance(15);
	return "$column = ANY (" . $self->_constant('bigint[]', $self->_numbers($highest)) . ')'
	  if chance(50);
	return "$column = ANY (" . $self->_constant('integer[]', $self->_numbers($highest)) . ')';
}

sub _boolean
{
	my ($self, $column) = @_;

	return pick(
		$column, $column, "NOT $column", "NOT $column", "$column IS TRUE", "$column IS FALSE",
		"$column IS NOT TRUE", "$column = true", "$column = false", "$column <> true",
		"$column = " . $self->_constant('boolean', pick('t', 'f')));
}

sub _compare_time
{
	my ($self, $column) = @_;

	return "$column BETWEEN " . $self->_instant . ' AND ' . $self->_instant if chance(15);
	return $self->_instant . ' ' . pick(@comparisons) . " $column" if chance(10);
	return "$column " . pick(@comparisons) . ' ' . $self->_instant;
}

sub _compare_day
{
	my ($self) = @_;

	return 't.expires_at BETWEEN ' . $self->_day . ' AND ' . $self->_day if chance(15);
	return 't.expires_at ' . pick(@comparisons, '<>') . ' ' . $self->_day;
}

sub _about_name
{
	my ($self) = @_;
	my $kind = int(rand(10));

	return 't.name = ' . $self->_constant('text', pick(@{ $self->{names} })) if $kind < 3;
	return 't.name = ' . $self->_constant('text', $self->_fragment) if $kind == 3;
	return 't.name LIKE ' . $self->_constant('text', $self->_pattern) if $kind < 6;
	return 't.name ILIKE ' . $self->_constant('text', chance(50) ? $self->_pattern : lc $self->_pattern)
	  if $kind < 8;
	return 't.name NOT LIKE ' . $self->_constant('text', $self->_pattern) if $kind == 8;
	return 'lower(t.name) = ' . $self->_constant('text', lc $self->_fragment);
}

sub _other
{
	my ($self) = @_;

	return pick(
		't.expires_at IS NULL', 't.expires_at IS NOT NULL', 't.last_used_at IS NULL',
		't.last_used_at IS NOT NULL', q{t.description = ''}, 't.description IS NULL',
		q{t.scopes @> '{sudo}'}, 't.created_at > t.last_used_at', 't.active = t.revoked',
		't.granular IS NULL', 't.id = t.user_id', 't.user_id = 1 AND t.user_id = 2',
		't.active AND NOT t.active', 't.revoked AND NOT t.revoked', 't.id = NULL',
		't.expires_at > current_date + 3 AND t.expires_at < current_date + 3',
		't.active AND t.revoked', 'random() >= 0', 'true', 'false',
		'(t.id IN (SELECT n.id FROM numbers n))', '(SELECT true)');
}

# A condition on one column.
sub _atom
{
	my ($self) = @_;
	my $kind = int(rand(15));

	return $self->_numeric('t.id', $self->{last_id}) if $kind < 1;
	return $self->_numeric('t.user_id', 11) if $kind < 3;
	return $self->_boolean('t.active') if $kind < 5;
	return $self->_boolean('t.revoked') if $kind < 6;
	return $self->_compare_time('t.created_at') if $kind < 8;
	return $self->_compare_time('t.last_used_at') if $kind < 10;
	return $self->_compare_day if $kind < 12;
	return $self->_about_name if $kind < 14;
	return $self->_other;
}

sub _condition
{
	my ($self, $depth) = @_;

	return $self->_atom if $depth == 0 || chance(40);
	return 'NOT (' . $self->_condition($depth - 1) . ')' if chance(15);
	return '(' . $self->_condition($depth - 1) . ' OR ' . $self->_condition($depth - 1) . ')'
	  if chance(35);
	return '(' . $self->_condition($depth - 1) . ' AND ' . $self->_condition($depth - 1) . ')';
}

# Conditions that GitLab may know how to count by.
sub _countable
{
	my ($self) = @_;
	my $kind = int(rand(6));

	return $self->_numeric('t.user_id', 11) if $kind == 0;
	return $self->_boolean('t.active') if $kind == 1;
	return $self->_boolean('t.revoked') if $kind == 2;
	return $self->_compare_day if $kind == 3;
	return pick('t.created_at', 't.last_used_at') . ' ' . pick('>=', '>') . ' ' . $self->_instant;
}

sub _where
{
	my ($self, $condition) = @_;
	my @all = map { $condition ? $self->$condition : $self->_condition(2) } 0 .. rand(3);

	return join ' AND ', @all;
}

# --- queries ------------------------------------------------------------------

my $columns = 't.id, t.user_id, t.name, t.description, t.scopes, t.active, t.revoked, '
  . 't.created_at, t.last_used_at, t.expires_at, t.granular, t.token';

sub _limit
{
	return ' LIMIT ' . pick(0, 1, 2, 5, 20, 99, 100, 101, 150) . (chance(30) ? ' OFFSET ' . pick(1, 7, 100) : '')
	  if chance(80);
	return '';
}

sub _in_order
{
	my ($self) = @_;
	my $where = $self->_where(chance(60) ? '_countable' : undef);
	my $direction = pick('', ' DESC');
	my $nulls = chance(20) ? pick(' NULLS FIRST', ' NULLS LAST') : '';

	return "SELECT t.id, t.name FROM \@T t WHERE $where ORDER BY t.id$direction" . _limit()
	  if chance(50);
	# not total, but then only what it goes by is compared
	return "SELECT t.expires_at FROM \@T t WHERE $where ORDER BY t.expires_at$direction$nulls" . _limit()
	  if chance(50);
	return "SELECT t.id, t.expires_at FROM \@T t WHERE $where "
	  . "ORDER BY t.expires_at$direction$nulls, t.id" . pick('', ' DESC') . _limit();
}

sub _joined
{
	my ($self) = @_;
	my $where = $self->_where;
	my $on = pick('t.id = n.id', 't.user_id = n.user_id', 'n.user_id = t.user_id AND t.id > n.id',
		't.id = n.id AND t.user_id = n.user_id', 't.id = ANY (n.ids)',
		't.user_id = n.user_id AND t.created_at >= n.since', 't.user_id = n.user_id AND t.name = n.name');
	my $kind = int(rand(6));

	return "SELECT n.n, $columns FROM numbers n JOIN \@T t ON $on WHERE $where" if $kind < 2;
	return "SELECT n.n, t.id FROM numbers n LEFT JOIN \@T t ON $on AND $where" if $kind == 2;
	return "SELECT n.n, (SELECT count(*) FROM \@T t WHERE $on AND $where) FROM numbers n" if $kind == 3;
	return "SELECT n.n FROM numbers n WHERE EXISTS (SELECT FROM \@T t WHERE $on AND $where)" if $kind == 4;
	return "SELECT n.n, s.id FROM numbers n, LATERAL (SELECT t.id FROM \@T t WHERE $on AND $where "
	  . 'ORDER BY t.id LIMIT 2) s';
}

# A query, as a hash: statement, with @T for the table; ordered, if the order of
# its rows counts; types and arguments of its parameters, if it has to be
# prepared; settings that it is planned with.
sub query
{
	my ($self) = @_;
	my $kind = int(rand(10));
	my %query = (ordered => 0, settings => []);

	$self->{mode} = pick('inline', 'inline', 'inline', 'mixed', 'parameter', 'parameter');
	$self->{types} = [];
	$self->{arguments} = [];
	if ($kind < 4)
	{
		$query{statement} = "SELECT " . pick($columns, 't.id', 't.id, t.name', '1 AS one')
		  . " FROM \@T t WHERE " . $self->_where;
	}
	elsif ($kind < 6)
	{
		$query{statement} = 'SELECT count(*) FROM @T t WHERE '
		  . $self->_where(chance(75) ? '_countable' : undef);
	}
	elsif ($kind < 8)
	{
		$query{statement} = $self->_in_order;
		$query{ordered} = 1;
	}
	elsif ($kind == 8)
	{
		$query{statement} = 'SELECT count(*) FROM (SELECT t.id FROM @T t WHERE '
		  . $self->_where(chance(60) ? '_countable' : undef) . _limit() . ') s';
	}
	else
	{
		$query{statement} = $self->_joined;
		$query{settings} = [ 'enable_hashjoin', 'enable_mergejoin' ] if chance(60);
		push @{ $query{settings} }, 'enable_material', 'enable_memoize' if chance(30);
	}
	$query{types} = $self->{types};
	$query{arguments} = $self->{arguments};
	return \%query;
}

1;
