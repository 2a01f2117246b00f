# The portal of LemonLDAP::NG on a free port of 127.0.0.1, see lemonldap.go.
# It says the port once it listens: plackup says nothing when it does not develop.
use strict;
use warnings;
use HTTP::Server::PSGI;
use IO::Socket::INET;
use Lemonldap::NG::Portal::Main;

my $portal = Lemonldap::NG::Portal::Main->run( {} );
my $socket = IO::Socket::INET->new( Listen => 128, LocalAddr => '127.0.0.1', Proto => 'tcp' )
  or die "listen: $@";
print STDERR 'lemonldap listens at ' . $socket->sockport . "\n";
HTTP::Server::PSGI->new( listen_sock => $socket )->run($portal);
