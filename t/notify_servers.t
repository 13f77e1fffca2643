#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llm_notify in servers of many kinds: its own way in speaks plain HTTP
# whatever the server's listeners do.  What can't be delivered is tried again
# and holds nothing up.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 90);
$t->init->certificate;

my ($admin) = $t->key(client => 'boss', role => 'admin');

my $up = LLM::Upstream->new($t, 2, sub {
    return LLM::Upstream->answer(200, 'text/plain', 'x' x 3_000_000);
});

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    ssl_certificate %%DIR%%/cert.pem;
    ssl_certificate_key %%DIR%%/key.pem;
    limit_conn_zone $binary_remote_addr zone=one:1m;
    log_format all '$remote_addr $remote_port $server_addr $server_port '
                   '$scheme $host $connection $status $uri';
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
    }
    server {
        %%%LISTEN%%%
        access_log %%DIR%%/notify.log all;
        llm_notify /_notify;
        location = /_notify {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_2%%;
        }
    }
}
END

sub with {
    my ($listen) = @_;
    (my $text = $conf) =~ s/%%%LISTEN%%%/$listen/;
    return $text;
}

my $old = ($t->run(['sh', '-c', 'exec "$0" -v', $ENV{NGINX_BIN} || 'nginx'])
           ->{err} =~ m{nginx/1\.(\d+)\.} && $1 < 25);

my @cases = (
    ['plain' => 'listen 127.0.0.1:%%PORT_1%%;'],
    ['TLS' => 'listen 127.0.0.1:%%PORT_1%% ssl;'],
    ['TLS that wants certificates'
     => 'listen 127.0.0.1:%%PORT_1%% ssl; ssl_verify_client on; '
        . 'ssl_client_certificate %%DIR%%/cert.pem;'],
    ['HTTP/2' => $old ? 'listen 127.0.0.1:%%PORT_1%% ssl http2;'
                      : 'listen 127.0.0.1:%%PORT_1%% ssl; http2 on;'],
    ['the PROXY protocol' => 'listen 127.0.0.1:%%PORT_1%% proxy_protocol; '
     . 'set_real_ip_from unix:; real_ip_header proxy_protocol;'],
    ['an address of the client\'s' => 'listen 127.0.0.1:%%PORT_1%%; '
     . 'set_real_ip_from 0.0.0.0/0; set_real_ip_from unix:; '
     . 'real_ip_header X-Forwarded-For;'],
    ['limits' => 'listen 127.0.0.1:%%PORT_1%%; limit_conn one 1; '
     . 'limit_rate 1m; keepalive_timeout 0; server_tokens off;'],
    ['addresses' => 'listen 127.0.0.1:%%PORT_1%%; allow unix:; deny all;'],
    ['names' => 'listen 127.0.0.1:%%PORT_1%%; server_name *.example.org ~x;'],
    $old ? ['TLS by "ssl on"' => 'listen 127.0.0.1:%%PORT_1%%; ssl on;'] : (),
);

$t->conf(with('listen 127.0.0.1:%%PORT_1%%;'))->start;

my $n = 0;

for my $case (@cases) {
    my ($name, $listen) = @$case;

    ok($t->reload(with($listen)), "$name: the configuration is taken");

    my $r = $t->admin('POST', 'keys', { client => 'c' . ++$n, role => 'user' },
                      key => $admin);
    is($r->{status}, 201, "$name: a change");
    my @got;
    ok(wait_for(sub { push @got, $up->requests;
                      grep { ($_->{body} // '') =~ /"client":\s*"c$n"/ } @got },
                10), "$name: its event comes");
}

unlike($t->error_log, qr/llm_notify: .* tried again/, 'at the first try');
ok(!(grep { !/^unix: \S* unix: \S* http \S+ \d+ 200 /
     } split /\n/, slurp($t->dir . '/notify.log')), 'and they are logged');

# nothing there: said, and tried again later

ok($t->reload(with('listen 127.0.0.1:%%PORT_1%%; allow 10.0.0.1; deny all;')),
   'a server that lets nobody in');
$t->admin('POST', 'keys', { client => 'last', role => 'user' },
          key => $admin);
ok(wait_for(sub { $t->error_log =~ /llm_notify: .* answered 403 to event/ },
            10), 'the log says it');
ok($t->reload(with('listen 127.0.0.1:%%PORT_1%%;')), 'one that does');
my @got;
ok(wait_for(sub { push @got, $up->requests;
                  grep { ($_->{body} // '') =~ /"client":\s*"last"/ } @got },
            20), 'it comes in the end');

# a worker's end waits for a delivery under way, and for no event

ok($t->quit(15), 'a graceful end');

$t->done;
