# A real Chromium, without a window, told what to do through ChromeDriver.  Both
# end with the test, however that ends.

package Browser;

use strict;
use warnings FATAL => 'all';

use Carp;
use Daemon;
use HTTP::Tiny;
use JSON::PP ();
use MIME::Base64 ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

my @running;

# Options: width and height of the page.
sub start
{
	my ($class, %options) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $profile = PostgreSQL::Test::Utils::tempdir;
	my $self = bless {
		driver => Daemon->launch($port, 'chromedriver', "--port=$port"),
		url => "http://127.0.0.1:$port",
		http => HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, proxy => undef, http_proxy => undef),
	}, $class;
	# It may run as any user, in a container; and it should ask nobody for
	# anything that it was not told to.
	my @arguments = (
		'--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic',
		'--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
		"--user-data-dir=$profile", "--window-size=$options{width},$options{height}");

	my $session = $self->_ask('POST', '/session', { capabilities => { alwaysMatch => {
		'goog:chromeOptions' => { binary => '/usr/bin/chromium', args => \@arguments },
		'goog:loggingPrefs' => { browser => 'ALL', performance => 'ALL' } } } });
	$self->{url} .= "/session/$session->{sessionId}";
	push @running, $self;
	$self->visit('about:blank');
	return $self;
}

sub _ask
{
	my ($self, $method, $path, $content) = @_;
	my $answer = $self->{http}->request($method, $self->{url} . $path,
		$content ? { content => JSON::PP::encode_json($content) } : {});

	croak "$method $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return JSON::PP::decode_json($answer->{content})->{value};
}

sub visit
{
	my ($self, $url) = @_;

	$self->_ask('POST', '/url', { url => $url });
	return;
}

# What a piece of JavaScript, the body of a function, returns for some arguments;
# a promise is waited for.
sub evaluate
{
	my ($self, $script, @arguments) = @_;

	return $self->_ask('POST', '/execute/sync', { script => $script, args => \@arguments });
}

# A command of the protocol of Chromium's developer tools.
sub command
{
	my ($self, $name, %parameters) = @_;

	return $self->_ask('POST', '/goog/cdp/execute', { cmd => $name, params => \%parameters });
}

# The whole page, as a PNG in base64.
sub screenshot
{
	my ($self) = @_;

	return $self->command('Page.captureScreenshot', captureBeyondViewport => JSON::PP::true)->{data};
}

# The page as it would be printed, as the text of a PDF file.
sub print_page
{
	my ($self) = @_;

	return MIME::Base64::decode_base64($self->_ask('POST', '/print', { background => JSON::PP::true }));
}

# What the page has said on its console, errors among it, since the last call.
sub console
{
	my ($self) = @_;

	return map { $_->{message} } @{ $self->_ask('POST', '/se/log', { type => 'browser' }) };
}

# The addresses that were asked for since the last call, but for those of pages of
# Chromium's own, such as that of a new tab.
sub requests
{
	my ($self) = @_;
	my @events = map { JSON::PP->new->decode($_->{message})->{message} }
	  @{ $self->_ask('POST', '/se/log', { type => 'performance' }) };

	return map { $_->{params}{request}{url} }
	  grep { $_->{method} eq 'Network.requestWillBeSent' && $_->{params}{documentURL} !~ /^chrome:/ } @events;
}

sub stop
{
	my ($self) = @_;

	return unless $self->{driver};
	eval { $self->_ask('DELETE', '') };
	$self->{driver}->stop;
	delete $self->{driver};
	return;
}

END
{
	# Stopping must not change the test's verdict.
	local ($?, $@);
	$_->stop foreach @running;
}

1;
