#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Scopes of a key: models, of the engine and of servers behind proxy_pass;
# addresses that it may be used from; its expiry.  A change counts at once, in
# every worker.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

use IO::Socket::IP;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');

sub scoped {
    my ($name, @args) = @_;
    return $t->key(client => $name, args => \@args);
}

my ($demo) = scoped('demo', '--models', 'demo');
my ($other, $other_id) = scoped('other', '--models', 'other,third');
my ($any, $any_id) = scoped('any');
my ($local) = scoped('local', '--addresses', '127.0.0.0/30,10.1.2.3');
my ($far) = scoped('far', '--addresses', '10.0.0.0/8');
my ($six) = scoped('six', '--addresses', '::1,2001:db8::/32');
my ($v6all) = scoped('v6all', '--addresses', '::/0');

my $v6 = IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1);
my $v6_port = $v6 ? $v6->sockport : 0;
my $listen6 = $v6 ? "listen [::1]:$v6_port;" : '';
$v6->close if $v6;

my $up = LLM::Upstream->new($t, 2, sub {
    my ($request) = @_;
    return LLM::Upstream->json({ length => length $request->{body} });
});

$t->conf(<<"END")->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }
    llm_engine other { model %%DEMO%%; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen unix:%%DIR%%/sock;
        $listen6

        location /v1/ { llm_auth on; llm_pass demo; }
        location /other/v1/ { llm_auth on; llm_pass other; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /up/ {
            llm_auth on;
            client_max_body_size 40m;
            client_body_buffer_size 4k;
            proxy_pass http://127.0.0.1:%%PORT_2%%/;
        }
        location /unbuffered/ {
            llm_auth on;
            proxy_request_buffering off;
            proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:%%PORT_2%%/;
        }
        location /ping { llm_auth on; root %%DIR%%/html; }
    }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Forwarded-For;
        location /ping { llm_auth on; root %%DIR%%/html; }
    }

    server {
        listen 127.0.0.1:%%PORT_3%%;
        set_real_ip_from 127.0.0.5;
        real_ip_header X-Forwarded-For;
        location /ping { llm_auth on; root %%DIR%%/html; }
    }
}
END

$t->file('html/ping', "pong\n");
wait_for { $t->get('/readyz')->{status} == 200 };

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub complete {
    my ($key, $path, %set) = @_;

    return $t->post("$path/completions",
        { model => 'demo', prompt => 'a', max_tokens => 1, %set },
        key => $key, timeout => 30);
}


# models of engines

my $r;

is(complete($demo, '/v1')->{status}, 200, 'a model that the key may use');
is(complete($any, '/v1')->{status}, 200, 'a key without a scope');
is(complete($any, '/other/v1', model => 'other')->{status}, 200,
   'and another model');

$r = complete($other, '/v1');
is($r->{status}, 403, 'a model that it may not');
is(code($r), 'model_not_allowed', 'its code');
is(code(complete($other, '/v1', model => 'other')), 'model_not_allowed',
   'whatever the body calls it');
is(code($t->chat('hi', key => $other)), 'model_not_allowed', 'chat too');
is(code(complete($demo, '/other/v1', model => 'demo')), 'model_not_allowed',
   'one model\'s key is not another\'s');
is(complete($other, '/other/v1', model => 'other')->{status}, 200,
   'its own model');

sub models {
    my ($key, $path) = @_;
    return [ map { $_->{id} }
             @{ $t->get("$path/models", key => $key)->json->{data} } ];
}

is_deeply(models($any, '/v1'), ['demo'], '/v1/models lists the model');
is_deeply(models($demo, '/v1'), ['demo'], 'to a key that may use it');
is_deeply(models($other, '/v1'), [], 'and to no other');
is($t->get('/v1/models/demo', key => $demo)->{status}, 200, 'one by name');
$r = $t->get('/v1/models/demo', key => $other);
ok($r->{status} == 403 || $r->{status} == 404, 'and not to another')
    or diag($r->{status});


# models of servers behind proxy_pass

sub up {
    my ($key, $body, %o) = @_;
    return $t->post($o{path} // '/up/v1/chat/completions', $body, key => $key,
                    timeout => 30, %o);
}

sub reaches {
    my ($name, $key, $body, %o) = @_;

    my $sent = ref $body ? encode_json($body) : $body;
    my $r = up($key, $body, %o);
    my @got = $up->requests;

    is($r->{status}, 200, "$name: is passed on") or diag($r->{body});
    is(scalar @got, 1, "$name: once");
    ok(($got[0]{body} // '') eq ($o{sent} // $sent), "$name: unchanged");
    return $got[0];
}

sub refused {
    my ($name, $key, $body, $status, $code, %o) = @_;

    my $r = up($key, $body, %o);
    is($r->{status}, $status, "$name: refused") or diag($r->{body});
    is(code($r), $code, "$name: $code");
    is(scalar(() = $up->requests), 0, "$name: the upstream is not called");
}

my $got = reaches('its model', $other, { model => 'other', messages => [] });
is($got->{headers}{'x-llm-client'}[0], 'other', 'with the client\'s name');
ok(!exists $got->{headers}{authorization}, 'without the key');
reaches('the second of its models', $other, { model => 'third' });
reaches('a model in escapes', $other, '{"model":"\u006fther"}');
reaches('a stranger to JSON, without scopes', $any, "\x00\xffno JSON");
reaches('blanks and order', $other,
        " {\n \"x\" : [1, 2.50, 1e3] ,\t\"model\" :  \"other\" }\n");

refused('another model', $other, { model => 'demo' }, 403,
        'model_not_allowed');
refused('no model', $other, { messages => [] }, 403, 'model_not_allowed');
refused('no JSON', $other, 'model=other', 400, 'invalid_json');
refused('half of it', $other, '{"model":"other"', 400, 'invalid_json');
refused('two documents', $other, '{"model":"other"}{"model":"demo"}', 400,
        'invalid_json');
refused('a list', $other, '[{"model":"other"}]', 400, 'invalid_json');
refused('a member twice', $other, '{"model":"other","model":"demo"}', 400,
        'invalid_json');
refused('twice, once in escapes', $other,
        '{"model":"other","\u006dodel":"demo"}', 400, 'invalid_json');
refused('in other letters', $other, '{"model":"other","Model":"demo"}', 400,
        'invalid_json');
refused("a model of another type: $_", $other, "{\"model\":$_}", 403,
        'model_not_allowed')
    for '1', 'null', 'true', '["other"]', '{"other":"other"}';
refused('a prefix', $other, { model => 'othe' }, 403, 'model_not_allowed');
refused('a longer one', $other, { model => 'other2' }, 403,
        'model_not_allowed');
refused('the separator in it', $other, '{"model":"other\u0000third"}', 400,
        'invalid_json');
refused('another case', $other, { model => 'OTHER' }, 403,
        'model_not_allowed');
refused('an empty body', $other, '', 400, 'invalid_json');
refused('a model deep inside', $other, { a => { model => 'other' } }, 403,
        'model_not_allowed');
refused('PUT', $other, { model => 'demo' }, 403, 'model_not_allowed',
        method => 'PUT');
refused('PATCH', $other, { model => 'demo' }, 403, 'model_not_allowed',
        method => 'PATCH');
refused('another type of content', $other, '{"model":"demo"}', 403,
        'model_not_allowed', headers => ['Content-Type: text/plain']);

# what lies in a file, with the model at its end

my $long = '{"messages":[{"role":"user","content":"' . 'x' x 300_000 . '"}],'
           . '"model":"%s"}';

reaches('a body in a file', $other, sprintf $long, 'other');
refused('a body in a file', $other, sprintf($long, 'demo'), 403,
        'model_not_allowed');
reaches('megabytes of numbers', $other, '{"input":['
        . join(',', (1000) x 400_000) . '],"model":"other"}');
refused('more than is looked at', $other, '{"model":"other","x":"'
        . 'x' x 34_000_000 . '"}', 413, 'request_too_large');

# what comes in chunks

sub chunked {
    my ($body, $size) = @_;

    my $out = '';
    while (length(my $part = substr $body, 0, $size, '')) {
        $out .= sprintf "%x\r\n%s\r\n", length $part, $part;
    }
    return "${out}0\r\n\r\n";
}

my @chunked = (headers => ['Transfer-Encoding: chunked']);
my $small = '{"model":"other","messages":[]}';
my $big = sprintf $long, 'other';

for my $path ('/up/v1/x', '/unbuffered/v1/x') {
    reaches("chunks to $path", $other, chunked($small, 5), @chunked,
            path => $path, sent => $small);
    reaches("chunks in a file to $path", $other, chunked($big, 10_000),
            @chunked, path => $path, sent => $big);
    refused("chunks to $path", $other, chunked('{"model":"demo"}', 3), 403,
            'model_not_allowed', @chunked, path => $path);
}

reaches('unbuffered', $other, sprintf($long, 'other'),
        path => '/unbuffered/v1/x');

# bodies that come byte by byte

$r = $t->client(raw => "POST /up/x HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nx-api-key: $other\r\nContent-Length: "
    . length($small) . "\r\n\r\n", method => 'POST');
for my $byte (split //, $small) {
    $r->send($byte);
    select undef, undef, undef, 0.002;
}
$r->wait(10);
is($r->{status}, 200, 'byte by byte');
is(($up->requests)[0]{body}, $small, 'it arrives whole');

# a client that goes away in the middle harms nobody

for my $at (0, 10, length($small) - 1) {
    my $c = $t->client(raw => "POST /up/x HTTP/1.1\r\nHost: a\r\n"
        . "x-api-key: $other\r\nContent-Length: " . length($small)
        . "\r\n\r\n" . substr $small, 0, $at);
    $c->close;
}
reaches('after clients that went away', $other, { model => 'other' });


# addresses

sub ping {
    my ($key, @args) = @_;

    my $r = $t->curl('-o', '/dev/stderr', '-w', '%{http_code}', '-g',
        '-H', "Authorization: Bearer $key", @args);
    my ($code) = $r->{err} =~ /"code": ?"(\w+)"/;
    return $r->{out} . ($code ? " $code" : '');
}

sub url { return 'http://127.0.0.1:' . $t->port($_[0]) . '/ping' }

my $no = '403 address_not_allowed';

is(ping($local, url(0)), '200', '127.0.0.1 is in 127.0.0.0/30');
is(ping($local, '--interface', '127.0.0.3', url(0)), '200', '127.0.0.3 too');
is(ping($local, '--interface', '127.0.0.4', url(0)), $no, '127.0.0.4 is not');
is(ping($far, url(0)), $no, 'an address that is far');
is(ping($six, url(0)), $no, 'an IPv6 range has no IPv4 address');
is(ping($v6all, url(0)), $no, 'not all of IPv6 either');
is(ping($far, '-H', 'X-Forwarded-For: 10.1.2.3', url(0)), $no,
   'a header means nothing by itself');

SKIP: {
    skip 'no ::1', 4 if !$v6_port;
    my $url = "http://[::1]:$v6_port/ping";

    is(ping($six, $url), '200', 'IPv6: ::1');
    is(ping($v6all, $url), '200', 'IPv6: ::/0');
    is(ping($local, $url), $no, 'IPv6: not in IPv4 ranges');
    is(ping($any, $url), '200', 'IPv6: a key without a scope');
}

my @unix = ('--unix-socket', $t->dir . '/sock', 'http://localhost/ping');

is(ping($any, @unix), '200', 'UNIX socket: a key without a scope');
is(ping($local, @unix), $no, 'UNIX socket: in no range');
is(ping($v6all, @unix), $no, 'UNIX socket: not in ::/0');

# behind a proxy that is trusted, and one that is not

my @from = ('-H', 'X-Forwarded-For: 10.1.2.3');

is(ping($far, @from, url(1)), '200', 'realip: the client behind the proxy');
is(ping($local, @from, url(1)), '200', 'realip: one address of a scope');
is(ping($local, '-H', 'X-Forwarded-For: 10.1.2.4', url(1)), $no,
   'realip: its neighbour');
is(ping($far, url(1)), $no, 'realip: the proxy itself');
is(ping($far, '-H', 'X-Forwarded-For: 10.9.9.9, 192.0.2.1', url(1)), $no,
   'realip: what a client puts before the proxy\'s entry');
is(ping($six, '-H', 'X-Forwarded-For: 2001:db8::7', url(1)), '200',
   'realip: IPv6 behind an IPv4 proxy');
is(ping($far, '-H', 'X-Forwarded-For: ::ffff:10.1.2.3', url(1)), '200',
   'realip: a mapped address is IPv4');
is(ping($far, '--interface', '127.0.0.2', @from, url(1)), $no,
   'realip: forged by a client that is no proxy');
is(ping($far, @from, url(3)), $no, 'realip: another proxy is trusted');
is(ping($local, @from, url(3)), '200', 'realip: then its own address counts');


# expiry

my ($short) = scoped('short', '--expires', '2s');
is($t->get('/ping', key => $short)->{status}, 200, 'before its expiry');
ok(wait_for { $t->get('/ping', key => $short)->{status} == 401 },
   'a key expires');
is(code($t->get('/ping', key => $short)), 'key_expired', 'its code');


# changes count at once, in every worker

sub patch {
    my ($id, $body) = @_;
    my $r = $t->admin('PATCH', "keys/$id", $body, key => $admin);
    is($r->{status}, 200, 'PATCH ' . encode_json($body)) or diag($r->{body});
}

# 24 connections find both workers
sub all_are {
    my ($name, $want, $request) = @_;

    my @c = map { $t->client(%$request) } 1 .. 24;
    LLM::Client->pump(\@c, 30);
    my %count;
    $count{ "$_->{status} " . code($_) }++ for @c;
    is(join(', ', sort keys %count), $want, $name);
}

my %get = (uri => '/ping', key => $any);
my %post = (uri => '/up/x', key => $any, body => { model => 'other' });
my %complete = (uri => '/v1/completions', key => $any,
                body => { model => 'demo', prompt => 'a', max_tokens => 1 });
my %limited = (uri => '/up/x', key => $any,
               body => { model => 'demo', max_tokens => 1000 });

all_are('a key without scopes', '200 ', \%get);
patch($any_id, { addresses => ['192.0.2.0/24'] });
all_are('addresses count at once', $no, \%get);
patch($any_id, { addresses => ['192.0.2.0/24', '127.0.0.1'] });
all_are('another address too', '200 ', \%get);
patch($any_id, { addresses => undef });
all_are('no addresses: from anywhere', '200 ', \%get);

patch($any_id, { models => ['demo'] });
all_are('models count at once', '200 ', \%complete);
all_are('behind proxy_pass', '403 model_not_allowed', \%post);
patch($any_id, { models => ['other'] });
all_are('another model', '403 model_not_allowed', \%complete);
all_are('behind proxy_pass as well', '200 ', \%post);
patch($any_id, { models => undef });
all_are('no models: all', '200 ', \%complete);

patch($any_id, { tokens_per_day => 100 });
all_are('a budget counts at once', '402 budget_exceeded', \%limited);
patch($any_id, { tokens_per_day => undef, tokens_per_month => 100 });
all_are('one of a month', '402 budget_exceeded', \%limited);
patch($any_id, { tokens_per_month => undef, tokens_per_minute => 100 });
all_are('one of a minute', '429 rate_limit_exceeded', \%limited);
patch($any_id, { tokens_per_minute => undef });
all_are('and none', '200 ', \%limited);
patch($any_id, { requests_per_minute => 1 });
$t->get('/ping', key => $any);
all_are('requests of a minute', '429 rate_limit_exceeded', \%get);
patch($any_id, { requests_per_minute => undef });
all_are('and all', '200 ', \%get);

is($t->get("/admin/keys/$any_id", method => 'PATCH', key => $admin,
           body => chunked('{"tokens_per_day":100}', 4), @chunked)->{status},
   200, 'a PATCH in chunks');
all_are('counts as well', '402 budget_exceeded', \%limited);
patch($any_id, { tokens_per_day => undef });

my $soon = POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + 2));
patch($any_id, { expires => $soon });
ok(wait_for { $t->get('/ping', key => $any)->{status} == 401 },
   'an expiry that was moved');
all_are('in every worker', '401 key_expired', \%get);

$t->done;
