# A document in Markdown, as far as tests look into it: its sections with their
# tables and blocks of code, and its links.
#
#   $document->{sections}   in order, each a hash: title, anchor, level, text,
#                           tables (arrays of rows, the head first, each an array
#                           of cells), and blocks
#   $document->{blocks}     all blocks in order, each a hash: language, text,
#                           line (a number), title (its section's)
#   $document->{links}      all links, as hashes: target, line

package Document;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;

sub read
{
	my ($class, $file) = @_;
	my $self = bless { file => $file, sections => [], blocks => [], links => [] }, $class;
	my $section = { title => '', anchor => '', level => 0, text => '', tables => [], blocks => [] };
	my ($number, $block, $table) = (0);

	foreach my $line (split /\n/, slurp_file($file))
	{
		$number++;
		if ($block)
		{
			if ($line =~ /^\s*```\s*$/)
			{
				push @{ $self->{blocks} }, $block;
				push @{ $section->{blocks} }, $block;
				undef $block;
			}
			else
			{
				$block->{text} .= "$line\n";
			}
			next;
		}
		if ($line =~ /^\s*```(\w*)$/)
		{
			$block = { language => $1, text => '', line => $number, title => $section->{title} };
			next;
		}
		if (my ($marks, $title) = $line =~ /^(#+) (.*)/)
		{
			push @{ $self->{sections} }, $section;
			$section = {
				title => $title =~ s/`//gr, anchor => _anchor($title), level => length $marks,
				text => '', tables => [], blocks => []
			};
		}
		# a cell may have a bar in it, escaped
		if ($line =~ /^\|(.*)\|\s*$/)
		{
			my @cells = map { s/^\s+|\s+$//gr =~ s/\\\|/|/gr } split /(?<!\\)\|/, $1, -1;

			push @{ $section->{tables} }, $table = [] unless $table;
			push @$table, \@cells unless $line =~ /^[|\s:-]+$/;
		}
		else
		{
			undef $table;
		}
		$section->{text} .= "$line\n";
	}
	die "$file: a block of code does not end" if $block;
	push @{ $self->{sections} }, $section;
	$self->_find_links;
	return $self;
}

# As GitLab and GitHub make it, but for the number after one that is there twice.
sub _anchor
{
	my ($title) = @_;

	$title =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
	return lc($title) =~ s/[^\w\s-]//gr =~ s/\s/-/gr;
}

# Links may be broken between lines, but code has none.
sub _find_links
{
	my ($self) = @_;
	my $text = slurp_file($self->{file});

	$text =~ s/^(\s*```.*?^\s*```)$/"\n" x ($1 =~ tr{\n}{})/gmse;
	$text =~ s/`[^`]*`/"`" . "\n" x ($& =~ tr{\n}{})/ge;
	while ($text =~ /\[[^\]]*\]\(\s*([^)\s]+)\s*\)/g)
	{
		push @{ $self->{links} },
		  { target => $1, line => 1 + (substr($text, 0, $-[0]) =~ tr/\n//) };
	}
	return;
}

# The anchors that links may lead to.  GitLab makes one hyphen of several and
# GitHub does not, so a title with which they differ has none.
sub anchors
{
	my ($self) = @_;

	return map { $_->{anchor} } grep { $_->{anchor} !~ /--/ } @{ $self->{sections} };
}

# The section of that title.
sub section
{
	my ($self, $title) = @_;
	my @found = grep { $_->{title} eq $title } @{ $self->{sections} };

	die "$self->{file} has " . scalar(@found) . " sections \"$title\"" unless @found == 1;
	return $found[0];
}

# The rows of a section's first table, or of another one, without its head.
sub rows
{
	my ($self, $title, $table) = @_;
	my @rows = @{ $self->section($title)->{tables}[ $table // 0 ]
		  // die "$self->{file}: no table in \"$title\"" };

	return @rows[ 1 .. $#rows ];
}

# The code spans of a text.
sub code
{
	return $_[0] =~ /`([^`]+)`/g;
}

1;
