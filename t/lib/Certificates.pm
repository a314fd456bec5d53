# A certificate authority of a test's own, and the certificates that it issues.

package Certificates;

use strict;
use warnings FATAL => 'all';

use Carp;
use PostgreSQL::Test::Utils;

my @key = qw(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes);

# Makes the authority.
sub new
{
	my ($class, $name) = @_;
	my $self = bless { directory => PostgreSQL::Test::Utils::tempdir, name => $name }, $class;

	_openssl('req', '-x509', @key, '-days', 9, '-subj', "/CN=$name",
		'-keyout', $self->key_file($name), '-out', $self->file($name));
	return $self;
}

# Issues a certificate.  Options: names, how its server is called, by default
# localhost and the addresses of loopback; days, 0 for one that has expired
# already; self_signed, true for one that the authority knows nothing of.
sub issue
{
	my ($self, $name, %options) = @_;
	my $names = $options{names} // 'DNS:localhost,IP:127.0.0.1,IP:::1';
	my $request = "$self->{directory}/$name.csr";
	my $extensions = "$self->{directory}/$name.ext";

	append_to_file($extensions, "subjectAltName=$names\n");
	_openssl('req', '-new', @key, '-subj', "/CN=$name",
		'-keyout', $self->key_file($name), '-out', $request);
	_openssl('x509', '-req', '-in', $request, '-out', $self->file($name),
		'-days', $options{days} // 9, '-extfile', $extensions,
		$options{self_signed}
		? ('-signkey', $self->key_file($name))
		: ('-CA', $self->file($self->{name}),
			'-CAkey', $self->key_file($self->{name}), '-CAcreateserial'));
	return;
}

# The authority's own certificate.
sub ca_file { return $_[0]->file($_[0]->{name}) }

sub file { return "$_[0]->{directory}/$_[1].crt" }
sub key_file { return "$_[0]->{directory}/$_[1].key" }

sub _openssl
{
	my (@arguments) = @_;

	PostgreSQL::Test::Utils::run_log([ 'openssl', @arguments ])
	  or croak "openssl $arguments[0] failed";
	return;
}

1;
