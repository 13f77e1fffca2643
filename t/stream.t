#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# One answer over every way that nginx can send it: HTTP/1.0 and 1.1, TLS,
# HTTP/2, gzip.  The text is the same, and it comes while it is generated: the
# first piece is there before the last.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Compress::Raw::Zlib;
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);

my $t = LLM::Test->new(timeout => 120);

$t->init->certificate;
my $key = $t->key;

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen 127.0.0.1:%%PORT_1%% ssl http2;
        ssl_certificate %%DIR%%/cert.pem;
        ssl_certificate_key %%DIR%%/key.pem;

        location /v1/ { llm_auth on; llm_pass demo; }
        location /gzip/v1/ {
            gzip on;
            gzip_types text/event-stream application/json;
            gzip_min_length 1;
            llm_auth on;
            llm_pass demo;
        }
        location = /readyz { llm_auth off; llm_pass demo; }
    }
}
END

my %body = (model => 'demo', prompt => 'Once upon a time', temperature => 0,
            max_tokens => 150, ignore_eos => \1);
my $stream = { %body, stream => \1 };


# the answer in one piece is what the others are compared with

my $r = $t->post('/v1/completions', \%body, key => $key);
is($r->{status}, 200, 'an answer in one piece');
like($r->header('content-type'), qr{^application/json}, 'is JSON');
my $want = $r->text;
cmp_ok(length $want, '>', 100, 'has text');
is($r->json->{usage}{completion_tokens}, 150, 'of as many tokens as asked');


sub is_streamed {
    my ($r, $name) = @_;

    my @events = grep { defined $_->{data} } @{ $r->{events} };

    is($r->{status}, 200, "$name: status");
    is($r->text, $want, "$name: the same text");
    ok($r->done, "$name: [DONE]") or diag($r->{error} // 'no error');
    cmp_ok($events[0]{time}, '<', $events[-1]{time},
           "$name: begins before it ends");
}

is_streamed($t->post('/v1/completions', $stream, key => $key), 'HTTP/1.1');
is_streamed($t->post('/v1/completions', $stream, key => $key,
                     version => '1.0'), 'HTTP/1.0');
is_streamed($t->post('/v1/completions', $stream, key => $key, port => 1,
                     tls => 1), 'TLS');


# a connection is used again after a stream

my $first = $t->client(uri => '/v1/completions', body => $stream,
                       key => $key, keepalive => 1);
$first->wait(20);
is_streamed($first, 'first of a connection');

my %again = $t->request(uri => '/v1/completions', body => $stream,
                        key => $key);
my $second = $first->again(map { $_ => $again{$_} } qw(uri body headers));
ok($second, 'the connection is kept') && $second->wait(20);
is_streamed($second, 'second of a connection');


# gzip: every piece can be read when it comes

$r = $t->post('/gzip/v1/completions', $stream, key => $key,
              headers => ['Accept-Encoding: gzip']);
is($r->header('content-encoding'), 'gzip', 'gzip: is used');

my $plain;
# the first two flush the headers and gzip's own
my $head = join '', map { $_->{data} } @{ $r->{chunks} }[0 .. 2];
my $inflate = Compress::Raw::Zlib::Inflate->new(WindowBits => WANT_GZIP);
$inflate->inflate(\$head, \$plain);
like($plain // '', qr/^(?:data|:)/, 'gzip: the first piece is readable');

undef $plain;
gunzip(\$r->{body}, \$plain) or diag($GunzipError);
my $text = join '', map { decode_json($_)->{choices}[0]{text} // '' }
           grep { $_ ne '[DONE]' } $plain =~ /^data: (.*)$/mg;
is($text, $want, 'gzip: the same text');
like($plain, qr/^data: \[DONE\]$/m, 'gzip: [DONE]');
cmp_ok($r->{chunks}[0]{time}, '<', $r->{chunks}[-1]{time},
       'gzip: begins before it ends');

$r = $t->post('/gzip/v1/completions', \%body, key => $key,
              headers => ['Accept-Encoding: gzip']);
gunzip(\$r->{body}, \$plain);
is(decode_json($plain)->{choices}[0]{text}, $want, 'gzip: in one piece');


# HTTP/2

my @curl = ('--http2', '-H', "Authorization: Bearer $key",
            '-H', 'Content-Type: application/json');
my $url = 'https://127.0.0.1:' . $t->port(1);

for my $gzip (0, 1) {
    my $name = $gzip ? 'HTTP/2 with gzip' : 'HTTP/2';

    my $lines = $t->curl_lines(@curl, '-w', '%{http_version}\n',
        $gzip ? '--compressed' : (), '-d', encode_json($stream),
        $url . ($gzip ? '/gzip' : '') . '/v1/completions');
    my @data = grep { $_->[1] =~ /^data: / } @$lines;

    is($lines->[-1][1], '2', "$name: is used");
    is($data[-1][1], 'data: [DONE]', "$name: [DONE]");
    pop @data;
    is(join('', map { decode_json(substr $_->[1], 6)->{choices}[0]{text} // '' }
            @data), $want, "$name: the same text");
    cmp_ok($data[0][0], '<', $data[-1][0], "$name: begins before it ends");
}


# many at a time, over one worker's connection or another's

my @clients = map {
    $t->client(uri => '/v1/completions', body => $stream, key => $key)
} 1 .. 32;
ok(LLM::Client->pump(\@clients, 60), '32 streams end');
is(scalar(grep { $_->text eq $want && $_->done } @clients), 32,
   'with the same text');


# the parts of a stream

$r = $t->chat('Hello!', key => $key, set => {
    stream => \1, stream_options => { include_usage => \1 }, seed => 1 });
my @chunks = $r->data;

is($r->header('cache-control'), 'no-cache', 'a stream is not cached')
    if $r->header('cache-control');
is(scalar(grep { $_->{id} ne $chunks[0]{id}
                 || $_->{created} != $chunks[0]{created}
                 || $_->{object} ne 'chat.completion.chunk' } @chunks), 0,
   'id, created and object stay');
is($chunks[0]{choices}[0]{delta}{role}, 'assistant', 'the role comes first');
is_deeply($chunks[-1]{choices}, [], 'usage comes last, without a choice');
cmp_ok($chunks[-1]{usage}{completion_tokens}, '>', 0, 'usage counts');
is(scalar(grep { ($_->{choices}[0]{finish_reason} // '') ne '' } @chunks), 1,
   'one finish_reason');

$t->done;
