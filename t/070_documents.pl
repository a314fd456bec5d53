# The documents say what is so: their links lead somewhere, and the reference
# (doc/reference.md) has every option, column, function, setting and error code,
# with the default, the range and the type that the extension gives it.
#
# The results of the benchmarks are those of bench/results.json.
#
# What can be learned from a running server is asked of it; the rest (defaults
# of options, error codes, what may be written) is read in the source.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Cwd qw(abs_path);
use Document;
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Find ();
use File::Spec;
use GitLabCluster;
use GitLabSim;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = abs_path("$FindBin::RealBin/..");
my $sim = GitLabSim->start;
my $node = gitlab_cluster('main', $sim);
my $reference = Document->read("$root/doc/reference.md");
my %documents = map { $_ => Document->read("$root/$_") } find_documents();

# What CREATE and ALTER of each kind of object are called with, %s the options.
my %contexts = (
	'Servers' => q{CREATE SERVER nobody FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (url 'http://localhost', %s)},
	'Foreign tables' => 'CREATE FOREIGN TABLE nothing () SERVER gitlab OPTIONS (%s)',
	'Columns' => 'CREATE FOREIGN TABLE nothing (id bigint OPTIONS (%s)) SERVER gitlab',
	'User mappings' => 'CREATE USER MAPPING FOR joe SERVER gitlab OPTIONS (%s)',
);

test_links();
test_paths();
test_options();
test_repeated_options();
test_columns();
test_functions();
test_settings();
test_errors();
test_warnings();
test_sights();
test_results();
done_testing();

# --- helpers --------------------------------------------------------------------

sub find_documents
{
	my @found;

	File::Find::find(
		{
			no_chdir => 1,
			wanted => sub {
				# not what tests leave behind
				$File::Find::prune = 1
				  if -d && m{/(?:\.git|tmp_check|tmp_check_iso|output_iso|results)\z};
				push @found, File::Spec->abs2rel($_, $root) if -f && /\.md\z/;
			}
		},
		$root);
	return sort @found;
}

sub query
{
	return $node->safe_psql('postgres', $_[0]);
}

# What a statement fails with: message, detail and hint.
sub error
{
	my ($sql, $role) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "BEGIN; $sql",
		extra_params => $role ? [ '-U', $role ] : []);

	return $err;
}

sub source
{
	return join '', map { slurp_file($_) } glob("$root/$_[0]");
}

# One test for a list of complaints.
sub none
{
	my ($complaints, $what) = @_;

	is(join("\n", @$complaints), '', $what);
	return;
}

# --- links ----------------------------------------------------------------------

sub test_links
{
	my (@broken, %linked);
	my $count = 0;

	foreach my $file (sort keys %documents)
	{
		foreach my $link (@{ $documents{$file}{links} })
		{
			my ($path, $anchor) = $link->{target} =~ /^([^#]*)#?(.*)$/;
			my $where = "$file, line $link->{line}: $link->{target}";

			next if $path =~ m{^https?://[\w.-]+};
			$count++;
			my $target = $path eq '' ? $file
			  : File::Spec->abs2rel(File::Spec->rel2abs($path, dirname("$root/$file")), $root);

			$target =~ s{[^/]+/\.\./}{} while $target =~ m{[^/]+/\.\./};
			$linked{$target} = 1 unless $target eq $file;
			if (!-e "$root/$target")
			{
				push @broken, "$where: no such file";
			}
			elsif ($anchor ne '')
			{
				push @broken, "$where: no such section"
				  unless grep { $_ eq $anchor } $documents{$target} ? $documents{$target}->anchors : ();
			}
		}
	}
	cmp_ok($count, '>=', 50, 'there are links to follow');
	none(\@broken, 'all links lead somewhere');
	none([ grep { m{^doc/} && !$linked{$_} } sort keys %documents ], 'all documents are linked to');
	return;
}

# Files of this tree that a document names.
sub test_paths
{
	my @missing;

	foreach my $file (sort keys %documents)
	{
		my $text = slurp_file("$root/$file");

		while ($text =~ m{(?<![\w./-])((?:bench|doc|scripts|src|test|t)/[\w./-]*\w)}g)
		{
			push @missing, "$file: $1" unless -e "$root/$1" || -e dirname("$root/$file") . "/$1";
		}
	}
	none(\@missing, 'all files that are named exist');
	return;
}

# --- options --------------------------------------------------------------------

# By context and name: default, values, text.
sub documented_options
{
	my %options;

	foreach my $row ($reference->rows('Servers'))
	{
		$options{Servers}{$_} = { default => $row->[1], values => $row->[2], text => $row->[3] }
		  foreach Document::code($row->[0]);
	}
	foreach my $row ($reference->rows('Foreign tables and columns'))
	{
		my $context = $row->[1] eq 'column' ? 'Columns' : 'Foreign tables';

		foreach my $name (Document::code($row->[0]))
		{
			my %option = (default => $row->[2], values => $row->[3], text => '');

			# "as above" refers to the servers'
			$option{values} = $options{Servers}{$name}{values} if $option{values} eq 'as above';
			$option{default} = $options{Servers}{$name}{default}
			  if $option{default} eq q{the server's};
			$options{$context}{$name} = \%option;
		}
	}
	foreach my $row ($reference->rows('User mappings'))
	{
		$options{'User mappings'}{$_} = { default => '', values => $row->[1], text => $row->[2] }
		  foreach Document::code($row->[0]);
	}
	return %options;
}

sub test_options
{
	my %documented = documented_options();
	my %defaults = source_defaults();
	my $privileged = 0;

	query('CREATE ROLE joe LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER gitlab_pat_fdw TO joe; '
		  . 'GRANT USAGE ON FOREIGN SERVER gitlab TO joe; GRANT CREATE ON SCHEMA public TO joe');
	foreach my $context (sort keys %contexts)
	{
		my ($valid) = error(sprintf $contexts{$context}, q{no_such_option ''})
		  =~ /Valid options in this context are: (.*)\./;

		is(join(', ', sort keys %{ $documented{$context} }), join(', ', sort split /, /, $valid),
			"$context: all options are documented, and no others");
		foreach my $name (sort keys %{ $documented{$context} })
		{
			my $option = $documented{$context}{$name};

			test_values($context, $name, $option->{values});
			test_default("$context, $name", $option->{default}, delete $defaults{$context}{$name});
			$privileged += test_privilege($context, $name, $option->{text});
		}
		is(join(' ', keys %{ $defaults{$context} }), '', "$context: the source has no other defaults");
	}
	is($privileged, 6, 'some options are for superusers');
	like(error(q{ALTER FOREIGN DATA WRAPPER gitlab_pat_fdw OPTIONS (no_such_option '')}),
		qr/There are no valid options in this context/, 'the wrapper takes no options');
	like(
		error(q{IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab INTO public OPTIONS (no_such_option '')}),
		qr/IMPORT FOREIGN SCHEMA takes no options/, 'IMPORT FOREIGN SCHEMA takes no options');
	like(error(q{CREATE SERVER nobody FOREIGN DATA WRAPPER gitlab_pat_fdw}),
		qr/option "url" is required/, 'CREATE SERVER without the option "url" is refused');
	is($documented{Servers}{url}{default}, 'required', 'url is documented as required');
	return;
}

# In milliseconds, bytes, or as it is.
sub number
{
	my ($text) = @_;
	my %units = (
		ms => 1, s => 1000, min => 60_000, h => 3_600_000,
		kB => 1024, MB => 1024**2, GB => 1024**3, '' => 1
	);
	my ($number, $unit, $less) = $text =~ /^(\d+) ?([a-zA-Z]*)(?: - (\d+))?$/
	  or die "no number: $text";

	return $number * ($units{$unit} // die "no unit: $text") - ($less // 0);
}

# The values that a document names are those that the validator allows: it says
# so when it is given another one.
sub test_values
{
	my ($context, $name, $values) = @_;
	my $refusal = sub { return error(sprintf $contexts{$context}, "$name '$_[0]'") };
	my $what = "$context, $name: $values";

	if ($values =~ /^(.*) to (.*)$/)
	{
		my ($low, $high) = (number($1), number($2));

		like($refusal->('-1'), qr/Valid values are between $low and $high\b/, $what);
	}
	elsif ($values =~ /^boolean(?:;|$)/)
	{
		like($refusal->('maybe'), qr/The value is "true" or "false"/, $what);
	}
	elsif ($values eq 'absolute path')
	{
		like($refusal->('relative/path'), qr/The value is an absolute path/, $what);
	}
	elsif ($values eq 'URL')
	{
		# that of the server is in the statement already
		my $sql = sprintf $contexts{$context}, "$name ''";

		$sql =~ s/url 'http:[^']*', url/url/;
		like(error($sql), qr/The value is a URL/, $what);
	}
	elsif ($values =~ /^`/)
	{
		my ($allowed) = $refusal->('maybe') =~ /Valid values are (.*)\./;
		my @documented = Document::code($values);

		is(join(', ', sort @documented), join(', ', sort $allowed =~ /"(\w+)"/g), $what);
	}
	elsif ($values =~ /^the name of a field/)
	{
		like($refusal->(''), qr/The value is the name of a field/, $what);
	}
	elsif ($values =~ /^printable ASCII without blanks/)
	{
		like($refusal->('a b'), qr/contains blanks, control characters, or characters that are not ASCII/, $what);
	}
	else
	{
		fail("$what: how is that tested?");
	}
	return;
}

# Whether an option is for superusers, as src/gitlab/option.c, the extension, and the
# document say.
sub test_privilege
{
	my ($context, $name, $text) = @_;
	my ($privilege) = source('src/gitlab/option.c') =~ /\{"$name", \w+, \w+, (\w+), /;

	return 0 if $privilege eq 'ANYBODY' && $text !~ /superuser/;
	my $value = { SUPERUSER_IF_FALSE => 'false', SUPERUSER_IF_LARGE => '65MB' }->{$privilege} // '/nowhere';

	like(error(sprintf($contexts{$context}, "$name '$value'"), 'joe'),
		qr/Only superusers may/, "$context, $name: the option is for superusers");
	like($text, qr/superuser/, "$context, $name: the document says for whom the option is");
	return 1;
}

# By context and name, as src/gitlab/option.c gives them, in the units of number().
sub source_defaults
{
	my $source = source('src/gitlab/option.c');
	my %defaults;
	my %constants = $source =~ /^#define (MS_PER_S|KILOBYTE) (\d+)/gm;

	$constants{MEGABYTE} = 1024 * $constants{KILOBYTE};
	my $value = sub {
		my ($text) = @_;
		my $result = 1;

		return $text if $text =~ /^(?:true|false)$/;
		return lc $1 if $text =~ /^ROTATION_(\w+)$/;
		$result *= $constants{$_} // $_ foreach split / \* /, $text;
		return $result;
	};
	my ($server) = $source =~ /^option_server\(.*?^\}/ms or die 'no option_server()';

	$server = $&;
	$defaults{Servers}{$1} = $value->($2)
	  while $server =~ /\w+_or\(given, catalog, "(\w+)",\s*([^()]+)\)/g;
	$source =~ /^option_table\(.*?^\}/ms or die 'no option_table()';
	my $table = $&;

	while ($table =~ /^\tsettings->(\w+) = (\w+);/gm)
	{
		next if $1 eq 'version';
		is($defaults{Servers}{$1} // $value->($2), $value->($2), "$1: the option has one default");
		$defaults{Servers}{$1} = $defaults{'Foreign tables'}{$1} = $value->($2);
	}
	$defaults{'Foreign tables'}{$1} = $2 while $table =~ /boolean_or\(table->options,\s*\w+,\s*"(\w+)", (\w+)\)/g;
	# not set there, but zero
	$defaults{$_}{use_remote_estimate} = 'false' foreach 'Servers', 'Foreign tables';
	$defaults{'Foreign tables'}{skip_forbidden} = 'false';
	$defaults{'Foreign tables'}{replace_expired} = 'false';
	like($table, qr/palloc0/, 'what is not set is false');
	unlike($server, qr/"allow_insecure_http"/, 'allow_insecure_http is read by the validator alone');
	$defaults{Servers}{allow_insecure_http} = 'false';
	$defaults{'Foreign tables'}{resource} = 'personal_access_tokens';
	like($table, qr/resource \? resource_find\(resource\) : resource_tokens;/,
		'tables are of tokens by default');
	return %defaults;
}

sub test_default
{
	my ($what, $documented, $actual) = @_;

	if (!defined $actual)
	{
		unlike($documented, qr/^`/, "$what: the option has no default");
		return;
	}
	my ($text) = $documented =~ /^`(.*)`$/;

	$text = number($text) if $text =~ /^\d/;
	is($text, $actual, "$what: the default is $documented");
	return;
}

# Another table of options repeats some of what is in the reference.
sub test_repeated_options
{
	my %documented = documented_options();

	foreach my $row ($documents{'doc/security.md'}->rows('Limits'))
	{
		my ($name) = Document::code($row->[1]) or next;
		# a setting of PostgreSQL's own limits the files
		my $option = $documented{Servers}{$name} or next;
		my ($documented) = Document::code($option->{default});
		my ($limit) = $row->[2] =~ /^(\d+(?: [a-zA-Z]+)?)/;

		is(number($limit =~ s/ without.*//r), number($documented), "doc/security.md, $name: the limit is right");
	}
	return;
}

# --- columns --------------------------------------------------------------------

# The source with its macros expanded, as the C preprocessor would.
sub expand_macros
{
	my ($source) = @_;
	my (%macros, $changed);

	$source =~ s/\\\n/ /g;
	$macros{$1} = [ $3, split /,\s*/, $2 // '' ]
	  while $source =~ s/^#define (\w+)(?:\(([\w, ]*)\))? (.*)$//m;
	my $names = join '|', sort { length $b <=> length $a } keys %macros;
	my $argument = qr/(?:[^(),"]|"(?:[^"\\]|\\.)*"|\((?:[^()"]|"(?:[^"\\]|\\.)*")*\))*/;

	do
	{
		$changed = $source =~ s{\b($names)\b(?:\(($argument(?:,$argument)*)\))?}{
			my ($body, @parameters) = @{ $macros{$1} };
			my @arguments = map { s/^\s+|\s+$//gr } ($2 // '') =~ /($argument)(?:,|$)/g;

			foreach my $parameter (@parameters)
			{
				my $value = shift @arguments;

				$body =~ s/(?<!#)#\s*$parameter\b/"$value"/g;
				$body =~ s/(?:\s*##\s*)?\b$parameter\b(?:\s*##\s*)?/$value/g;
			}
			$body;
		}gex;
	} while $changed;
	return $source =~ s/"\s+"//gr;
}

# By resource: the name of the table, and the fields with their flags.
sub source_resources
{
	my $source = expand_macros(source('src/gitlab/resources.c'));
	my $braces = qr/(\{(?:[^{}"]|"(?:[^"\\]|\\.)*"|(?-1))*\})/;
	my (%fields, %initial, %resources);

	while ($source =~ /^static const ResourceField (\w+)\[\] = $braces;/gm)
	{
		my ($name, $list) = ($1, $2);

		# what GitLab gives a new object, as JSON in C
		while ($list =~ /\{"(\w+)", FIELD_\w+, ([^,}]+)(?:, "((?:[^"\\]|\\.)*)")?/g)
		{
			my ($field, $flags, $json) = ($1, $2, $3 // '');

			$fields{$name}{$field} = $flags;
			$initial{$name}{$field} = $json =~ s/\\(.)/$1/gr =~ tr/"//dr =~ s/^null$/NULL/r;
		}
	}
	$source =~ /^static const Resource resources\[\] = \{(.*?)^\};/ms or die 'no resources';
	my $descriptors = $1;

	while ($descriptors =~ /$braces/g)
	{
		my $descriptor = $1;
		my ($name) = $descriptor =~ /\.name = "(\w+)"/ or die 'no name';

		$descriptor =~ /\.table_name = "(\w+)"/ or die "$name: no table name";
		$resources{$name}{table} = $1;
		$descriptor =~ /\.fields = (\w+)/ or die "$name: no fields";
		$resources{$name}{fields} = $fields{$1} // die "$name: no fields $1";
		$resources{$name}{initial} = $initial{$1};
	}
	return %resources;
}

sub test_columns
{
	my %resources = source_resources();
	my %sections;

	# one section may be about several
	foreach my $section (@{ $reference->{sections} })
	{
		$sections{$1} = $section
		  while $section->{text} =~ /^`resource '(\w+)'`; IMPORT FOREIGN SCHEMA names the table\s+`(\w+)`/gm;
	}
	cmp_ok(scalar keys %resources, '>=', 16, 'the source has at least 16 resources');
	is(join(', ', sort keys %sections), join(', ', sort keys %resources),
		'all resources are documented');
	is( query(q{SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class WHERE relkind = 'f'}),
		join(', ', sort map { $_->{table} } values %resources), 'all resources are imported');
	foreach my $name (sort keys %resources)
	{
		test_resource($name, $resources{$name}, $sections{$name}) if $sections{$name};
	}
	is( join(', ', sort map { Document::code($_->[0]) } $documents{'README.md'}->rows('Objects')),
		join(', ', sort map { $_->{table} } values %resources), 'README.md: all tables are named');
	return;
}

# The columns of a table, each with its type.
sub columns_of
{
	my ($table) = @_;

	return map { tr/|/ /r } split /\n/, query(qq{
		SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = '$table'::regclass AND attnum > 0 ORDER BY attnum});
}

sub test_resource
{
	my ($name, $resource, $section) = @_;
	my ($head, @rows) = @{ $section->{tables}[0] };
	my $writable = $head->[2] =~ /written/;
	my (@columns, %written, %initial);

	foreach my $row (@rows)
	{
		my @names = Document::code($row->[0]);

		# "this or that" is another name in each of several resources
		@names = grep { $resource->{fields}{$_} } @names if $row->[0] =~ / or /;
		foreach my $column (@names)
		{
			push @columns, "$column " . query("SELECT '$row->[1]'::regtype");
			$written{$column} = $writable ? $row->[2] : '';
			$initial{$column} = $row->[3] if ($head->[3] // '') eq 'left out';
		}
	}
	is(join("\n", @columns), join("\n", columns_of($resource->{table})),
		"$resource->{table}: the columns and types are documented");
	foreach my $column (sort keys %{ $resource->{fields} })
	{
		my $flags = $resource->{fields}{$column};
		my $expected = join ', ', map { $flags =~ /$_->[0]\b/ ? $_->[1] : () }
		  [ FIELD_INSERT => 'INSERT' ], [ FIELD_REQUIRED => 'required' ], [ FIELD_UPDATE => 'UPDATE' ];

		is($written{$column}, $expected, "$resource->{table}, $column: the document says what may write the column");
		is($initial{$column} =~ tr/`//dr, $resource->{initial}{$column}, "$resource->{table}, $column: the document says what the column is when left out")
		  if %initial;
	}
	return;
}

# --- functions ------------------------------------------------------------------

sub test_functions
{
	my %headings;
	my ($functions) = grep { $reference->{sections}[$_]{title} eq 'Functions' }
	  0 .. $#{ $reference->{sections} };

	foreach my $section (@{ $reference->{sections} }[ $functions + 1 .. $#{ $reference->{sections} } ])
	{
		last if $section->{level} <= 2;
		my ($name) = $section->{title} =~ /^(?:CALL )?(\w+)\(/ or die "no function: $section->{title}";

		$headings{$name} = $section;
	}
	my %actual;

	foreach (split /\n/, query(q{
		SELECT p.proname, p.prokind,
			CASE WHEN p.prokind = 'p' THEN '' ELSE pg_get_function_result(p.oid) END,
			pg_get_function_arguments(p.oid)
		FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
			JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		WHERE e.extname = 'gitlab_pat_fdw' AND d.deptype = 'e'
			-- parts of a procedure, not for calling
			AND p.proname NOT LIKE 'gitlab\_pat\_rotate\_due\_%'
			AND p.oid NOT IN (SELECT fdwhandler FROM pg_foreign_data_wrapper
				UNION ALL SELECT fdwvalidator FROM pg_foreign_data_wrapper)}))
	{
		my ($name, $kind, $result, $arguments) = split /\|/, $_, 4;

		$actual{$name} = { kind => $kind, result => $result, arguments => $arguments };
	}
	is(join(', ', sort keys %headings), join(', ', sort keys %actual),
		'all functions are documented, and no others');
	foreach my $name (sort keys %headings)
	{
		my $function = $actual{$name} // next;
		my @in = grep { !/^(?:OUT|INOUT) / } split /, /, $function->{arguments};
		my $call = "$name(" . join(', ', map { s/^IN //r =~ s/::\w+//r } @in) . ')';
		my $expected = $function->{kind} eq 'p' ? "CALL $call" : "$call → $function->{result}";

		is($headings{$name}{title}, $expected, "$name: the arguments and the result are documented");
		test_result($name, $function->{arguments}, $headings{$name});
	}
	return;
}

# What a function returns in several columns, or a procedure in its arguments.
sub test_result
{
	my ($name, $arguments, $section) = @_;
	my @out = map { s/ DEFAULT .*//r } map { /^(?:OUT|INOUT) (.*)/ ? $1 : () } split /, /, $arguments;
	my @documented;

	return unless @out;
	@documented = columns_of('gitlab_personal_access_tokens')
	  if $section->{text} =~ /all columns of\s+the\s+token\s+table/;
	foreach my $row (map { @$_[ 1 .. $#$_ ] } @{ $section->{tables} })
	{
		push @documented, "$_ " . query("SELECT '$row->[1]'::regtype") foreach Document::code($row->[0]);
	}
	is(join("\n", @documented), join("\n", @out), "$name: the columns of the result are documented");
	return;
}

# --- settings -------------------------------------------------------------------

sub test_settings
{
	my %who = (user => 'anybody', superuser => 'superuser');
	my @documented;

	foreach my $row ($reference->rows('Settings'))
	{
		my ($name) = Document::code($row->[0]);
		my ($default) = Document::code($row->[1]);
		my ($range) = $row->[3] =~ /, (\d+ to \d+)/;

		push @documented, join ' ', $name, $default, $row->[2], $range // ();
	}
	my $actual = query(q{
		LOAD 'gitlab_pat_fdw';
		SELECT name, boot_val, context, min_val, max_val FROM pg_settings
		WHERE name LIKE 'gitlab_pat_fdw.%'});
	my @actual;

	foreach (split /\n/, $actual)
	{
		my ($name, $default, $context, $min, $max) = split /\|/, $_, 5;

		push @actual, join ' ', $name, $default, $who{$context}, $min ne '' ? "$min to $max" : ();
	}
	cmp_ok(scalar @actual, '>=', 3, 'the extension has at least three settings');
	is(join("\n", sort @documented), join("\n", sort @actual),
		'all settings are documented, with default, context and range');
	my $settings = $reference->section('Settings')->{text};

	foreach my $statement ($settings =~ /^postgres=> (SELECT.*;)$/m, "LOAD 'gitlab_pat_fdw';")
	{
		is(query("$statement SHOW gitlab_pat_fdw.max_changes") =~ s/.*\n//r,
			100, "a fresh session knows the settings after $statement");
		like($settings, qr/\Q@{[ $statement =~ tr{;}{}dr ]}\E/, "$statement: the document tells of the statement");
	}
	is($node->safe_psql('postgres', 'SHOW gitlab_pat_fdw.max_changes',
			extra_params => [ '-d', "options='-c session_preload_libraries=gitlab_pat_fdw'" ]),
		100, 'a fresh session knows the settings with session_preload_libraries');
	return;
}

# --- errors ---------------------------------------------------------------------

sub test_errors
{
	# Which SQLSTATE is meant, and its name in PL/pgSQL.
	my (%codes, %names);
	my $list = slurp_file($node->config_data('--sharedir') . '/errcodes.txt');

	while ($list =~ /^(\w{5})\s+[EWS]\s+(ERRCODE_\w+)(?:[ \t]+(\w+))?$/gm)
	{
		$codes{$2} = $1;
		$names{$1} //= $3;
	}
	my %raised;

	$raised{ $codes{$_} // die "unknown: $_" } = 1
	  foreach ((source('src/*/*.[ch]') . source('*.c')) =~ s/\bERRCODE_TO_CATEGORY\(\w+\) == \w+//gr) =~
	  /\b(ERRCODE_(?!GITLAB_)\w+)/g;
	# what functions of PostgreSQL's raise for us
	my $source = source('src/*/*.c');

	foreach ([ 'PreventCommandIfReadOnly', '25006' ], [ 'aclcheck_error', '42501' ],
		[ 'GetForeignServerByName', '42704' ])
	{
		$raised{ $_->[1] } = 1 if $source =~ /\b$_->[0]\(/;
	}
	my (%documented, @wrong);

	foreach my $row ($reference->rows('Errors'))
	{
		my ($code) = Document::code($row->[0]);
		my ($name) = Document::code($row->[1]);

		push @wrong, "$code is documented twice" if $documented{$code}++;
		push @wrong, "$code is $names{$code}" unless $names{$code} eq $name;
	}
	none(\@wrong, 'error codes have the right names');
	is(join(' ', sort keys %documented), join(' ', sort keys %raised),
		'all error codes are documented, and no others');
	foreach my $row ($documents{'doc/problems.md'}->rows('By SQLSTATE'))
	{
		my ($code) = Document::code($row->[0]);

		ok($documented{$code}, "doc/problems.md, $code: the reference has the code");
	}
	return;
}

# The table of WARNINGs has each SQLSTATE that src/gitlab/warnings.h gives one, in
# order, with words that the source has, too.
sub test_warnings
{
	my $source = (source('src/*/*.c') . slurp_file((sort glob("$root/gitlab_pat_fdw--*.sql"))[-1])) =~ s/"\s*\n\s*"//gr;
	my ($warnings, $errors) = @{ $documents{'doc/transactions.md'}->section('If you see a WARNING or an ERROR')->{tables} };
	my @rows = @$warnings[ 1 .. $#$warnings ];
	my @unknown;

	# names, values, numbers and kinds of tokens are the source's %s
	foreach my $warning (map { Document::code($_->[1]) } @rows)
	{
		push @unknown, $warning if grep { length > 12 && index($source, $_) < 0 }
		  split /"[^"]*"|'[^']*'|\d+(?:, \d+)*|: |(?:(?:personal|project) access tokens?|project variable|, personal access tokens (?:were|may have been) revoked)/, $warning;
	}
	none(\@unknown, 'the source has all WARNINGs that are explained');
	none([ map { $_->[0] } grep { $_->[2] !~ /\w/ } @rows, @$errors ], 'each message comes with what to do');

	# Each kind has an SQLSTATE, which a rule on the log can tell apart.
	my %codes = source('src/gitlab/warnings.h') =~ /^#define (ERRCODE_GITLAB_\w+) MAKE_SQLSTATE\((.*)\)$/mg;
	my @codes = sort map { join '', /'(.)'/g } values %codes;

	is(join(' ', map { (Document::code($_->[0]))[0] } @rows), join(' ', @codes),
		'all SQLSTATEs of WARNINGs are explained, and no others');
	is(join(' ', grep { $source !~ /\b$_\b/ } sort keys %codes), '', 'the source gives a WARNING for each of these SQLSTATEs');
	return;
}

# --- what EXPLAIN and the server show ---------------------------------------------

sub test_sights
{
	my $text = $reference->section('What EXPLAIN and the server show')->{text};
	my $source = source('src/*/*.c');
	my %seen = map { $_ => 1 } Document::code($text);
	my @events = $source =~ /compat_wait_event\("(\w+)"\)/g;
	my @lines = $source =~ /\b(?:Explain\w+|explain_exactness)\([^;"]*"(GitLab [\w ]+)"/g;

	cmp_ok(scalar @events, '>=', 2, 'the source has wait events');
	cmp_ok(scalar @lines, '>=', 12, 'the source has lines of EXPLAIN');
	none([ grep { !$seen{$_} } @events ], 'all wait events are documented');
	none([ grep { !$seen{$_} } @lines ], 'all lines of EXPLAIN are documented');
	my %is_line = map { $_ => 1 } @lines;

	none([ grep { /^GitLab / && !$is_line{$_} } keys %seen ], 'all lines of EXPLAIN that are documented exist');
	return;
}

# --- the benchmarks ---------------------------------------------------------------

# What bench/report.py makes anew is what is there.
sub test_results
{
	my @written = qw(README.md results.md results.svg);
	my $copy = PostgreSQL::Test::Utils::tempdir;

  SKIP:
	{
		skip 'archives are without bench/results.json', 1 + @written
		  unless -e "$root/bench/results.json";
		copy("$root/bench/$_", "$copy/$_") or die "$_: $!" foreach 'results.json', @written;
		IPC::Run::run([ '/usr/bin/python3', '-B', "$root/bench/report.py", $copy ],
			'>', \my $out, '2>', \my $error);

		is($error, '', 'bench/report.py has nothing to complain about');
		foreach my $file (@written)
		{
			is(slurp_file("$copy/$file"), slurp_file("$root/bench/$file"),
				"bench/$file has the results of bench/results.json");
		}
	}
	return;
}
