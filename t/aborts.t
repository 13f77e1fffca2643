#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Clients that go away, in every state of a request that waits for the store's
# thread: nothing of them stays, no count, no slot, no connection.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($some, $id) = $t->key(client => 'some', args => ['--models', 'm',
                          '--tokens-per-day', 10_000_000]);

my $hold = LLM::Hold->new($t);

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;
    return LLM::Upstream->json({ uri => $request->{uri},
                                 got => length $request->{body} });
});

my $conf = <<'END';
%%MAIN%%
worker_processes 1;
worker_shutdown_timeout 1s;
http {
    %%HTTP%%
    %%KEYS%%
    client_body_timeout 1s;
    client_body_buffer_size 1k;
    lingering_timeout 1s;
    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen 127.0.0.1:%%PORT_2%% HTTP2;
        location /admin/ { llm_auth on; llm_admin; }
        location / {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location /checked/ {
            auth_request /ok;
            llm_auth on;
            satisfy any;
            deny all;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /ok {
            internal;
            proxy_pass_request_body off;
            proxy_set_header Content-Length '';
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location /cors/ {
            llm_auth on;
            if ($request_method = OPTIONS) { return 204; }
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

$conf =~ s/ HTTP2/ http2/;
$t->conf($conf)->start;

my $body = encode_json({ model => 'm', max_tokens => 3, messages => [] });
my $large = encode_json({ model => 'm', max_tokens => 3,
                          messages => ['x' x 50_000] });

sub head_of {
    my ($path, $text, @headers) = @_;
    return join "\r\n", "POST $path HTTP/1.1", 'Host: localhost',
           "Authorization: Bearer $some", 'Content-Type: application/json',
           @headers, 'Content-Length: ' . length $text, '', '';
}

sub raw_client { return $t->client(uri => '/', raw => $_[0]) }

sub running {
    return $t->admin('GET', "keys/$id", undef, key => $admin)
             ->json->{usage}{running} // 0;
}

# bodies that never come whole

my @part = map { raw_client(head_of('/x', $large) . substr $large, 0, $_) }
           0, 10, 40_000;
$_->wait(10) for @part;
is(join(' ', map { $_->{status} . !!$_->{socket} } @part), '0 0 0',
   'the connection of a body that does not come is closed');

@part = map { raw_client(head_of('/x', $large) . substr $large, 0, $_) }
        0, 10, 40_000;
select undef, undef, undef, 0.2;
$_->close for @part;
ok(wait_for(sub { running() == 0 }), 'nothing runs after these');

# the thread is held up, and they all go

my $url = 'http://127.0.0.1:' . $t->port(2);

sub curls {
    return map {
        my $pid = fork // die;
        if (!$pid) {
            open STDOUT, '>', '/dev/null';
            open STDERR, '>', '/dev/null';
            exec 'curl', '-s', '--http2-prior-knowledge', '-H',
                 "Authorization: Bearer $some", '-d', $_, "$url/x"
                or POSIX::_exit(1);
        }
        $pid;
    } @_;
}

for my $round (1 .. 2) {
    ok($hold->take, "round $round: the store is held");
    my @clients = $t->client(uri => '/admin/keys', key => $admin,
                             body => { client => 'new', role => 'user' });
    select undef, undef, undef, 0.3;

    for my $text ($body, $large) {
        push @clients, map { raw_client($_) }
            head_of('/x', $text) . $text,
            head_of('/checked/x', $text) . $text,
            head_of('/x', $text, 'Expect: 100-continue') . $text,
            (head_of('/x', $text) . $text) x 3;         # pipelined
    }

    my @curl = curls($body, $large);
    select undef, undef, undef, 0.7;

    $_->close for @clients[$round == 1 ? 0 .. $#clients : 1 .. 3];
    kill 'KILL', @curl;
    waitpid $_, 0 for @curl;

    # a new configuration: the old worker ends their connections
    ok($t->reload, 'a reload') if $round == 2;
    select undef, undef, undef, $round == 2 ? 1.5 : 0.3;

    $hold->let_go;
    ok(wait_for(sub { running() == 0 }), 'nothing runs after that');
    ok(wait_for(sub { !$t->pids('old_worker') }), 'no old worker stays');
}

# and it all works still

my $r = $t->raw(head_of('/x', $body) . $body
                . head_of('/y', $large) . $large
                . head_of('/z', $body, 'Connection: close') . $body,
                timeout => 10);
is(join(' ', $r =~ /"uri":"(.*?)"/g), '/x /y /z', 'pipelined: in order')
    or diag($r);

$r = $t->raw(head_of('/x', $body, 'Expect: 100-continue',
                     'Connection: close') . $body);
like($r, qr{^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 }, 'Expect');

for my $text ($body, $large) {
    my $h2 = $t->curl('--http2-prior-knowledge', '-H',
                      "Authorization: Bearer $some", '-d', $text, "$url/a");
    is($h2->{out}, '{"got":' . length($text) . ',"uri":"/a"}',
       'HTTP/2: ' . length($text) . ' bytes');
}

$r = $t->post('/x', '', key => $some);
is($r->{status}, 400, 'an empty body is refused');
$r = $t->raw("POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $some\r\n"
             . "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
             . "0\r\n\r\n");
like($r, qr{^HTTP/1.1 400 .*invalid_json}s, 'so is one of no chunks');

$r = $t->get('/cors/x', method => 'OPTIONS');
is($r->{status}, 204, 'OPTIONS may be answered without a key');
$r = $t->get('/x', method => 'OPTIONS');
is($r->{status}, 401, 'or not');
$r = $t->raw("HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
like($r, qr{^HTTP/1.1 401 .*\r\nContent-Length: \d+\r\n.*\r\n\r\n$}s,
     'HEAD: no body');

for my $path ('/' . 'a' x 7000, '/%00', '/' . '%41' x 2000, '/%c0%80',
              "/\0")
{
    $r = $t->raw("GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 . "Authorization: Bearer $some\r\n\r\n");
    like($r, qr{^HTTP/1.1 (200|400|414) },
         'a strange path: ' . length($path) . ' bytes');
}

ok(wait_for(sub { running() == 0 }), 'nothing runs after these');

$t->done;
