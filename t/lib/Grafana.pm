# What Grafana makes of the query of a panel before it sends it to PostgreSQL:
# first the variables of the dashboard, as its front end does, then the macros,
# as its data source for PostgreSQL does, which knows no nested parentheses.

package Grafana;

use strict;
use warnings FATAL => 'all';

use Carp;
use Exporter qw(import);
use POSIX ();

our @EXPORT_OK = qw(expand_query);

my %unit = (s => 1, m => 60, h => 3600, d => 86400, w => 7 * 86400);

# Options: from and to, the time range in seconds since 1970; interval, such as
# "1h"; variables, a hash of arrays of what is selected.
sub expand_query
{
	my ($sql, %options) = @_;
	my %variables = %{ $options{variables} };
	my $interval_ms = 1000 * _seconds($options{interval});

	foreach my $name (sort { length $b <=> length $a } keys %variables)
	{
		my $values = join ',', map { "'" . s/'/''/gr . "'" } @{ $variables{$name} };

		$sql =~ s/\$\{$name\}|\$$name\b/$values/g;
	}
	$sql =~ s/\$__interval_ms/$interval_ms/g;
	$sql =~ s/\$__interval/$options{interval}/g;
	$sql =~ s/\$__unixEpochFrom\(\)/$options{from}/g;
	$sql =~ s/\$__unixEpochTo\(\)/$options{to}/g;
	# a comma behind it is the old way to ask for the alias
	$sql =~ s/\$__timeGroup(\([^)]*\)),/\$__timeGroupAlias$1,/g;
	$sql =~ s/\$(\w+)\(([^)]*)\)/_macro($1, [ map { s{^ +| +$}{}gr } split \/,\/, $2 ], %options)/ge;
	croak "something is left to be expanded: $1" if $sql =~ /(\$\{?\w+)/;
	return $sql;
}

sub _macro
{
	my ($name, $arguments, %options) = @_;
	my ($column, $interval) = @$arguments;
	my ($from, $to) = map { POSIX::strftime(q{'%Y-%m-%dT%H:%M:%SZ'}, gmtime $_) } @options{qw(from to)};

	return $from if $name eq '__timeFrom';
	return $to if $name eq '__timeTo';
	croak "$name needs a column" unless defined $column && length $column;
	return qq{$column AS "time"} if $name eq '__time';
	return qq{extract(epoch from $column) as "time"} if $name eq '__timeEpoch';
	return "$column BETWEEN $from AND $to" if $name eq '__timeFilter';
	return "$column >= $options{from} AND $column <= $options{to}" if $name eq '__unixEpochFilter';
	croak "unknown macro $name" unless $name =~ /^__timeGroup(Alias)?$/;
	my $alias = $1 ? ' AS "time"' : '';
	my $seconds = _seconds(($interval // croak "$name needs an interval") =~ s/^'|'$//gr);

	return "floor(extract(epoch from $column)/$seconds)*$seconds$alias";
}

sub _seconds
{
	my ($interval) = @_;
	my ($number, $unit) = $interval =~ /^(\d+)([smhdw])$/ or croak "no interval: $interval";

	return $number * $unit{$unit};
}

1;
