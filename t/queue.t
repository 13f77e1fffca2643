#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# More requests than places, clients that wait, clients that read slowly.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;
my $key = $t->key;

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; max_batch 1; queue 2; }
    llm_engine wide { model %%DEMO%%; max_batch 4; queue 16; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location /wide/ { llm_auth on; llm_pass wide; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location = /wide/healthz { llm_auth on; llm_pass wide; }
    }
    server {
        listen 127.0.0.1:%%PORT_1%% sndbuf=8k;
        location /wide/ { llm_auth on; llm_pass wide; }
    }
}
END

my %body = (model => 'demo', prompt => 'Once upon a time', stream => \1,
            temperature => 0, ignore_eos => \1, max_tokens => 700);

sub stream {
    return $t->client(uri => '/v1/completions', key => $key,
                      body => { %body, @_ });
}


# a full queue

my @c = map { stream() } 1 .. 24;
ok(LLM::Client->pump(\@c, 60), 'all requests end');

my @served = grep { $_->{status} == 200 } @c;
my @refused = grep { $_->{status} == 503 } @c;

is(@served + @refused, 24, 'each is served or refused');
cmp_ok(scalar @served, '>=', 3, 'one runs and two wait at least');
cmp_ok(scalar @refused, '>=', 1, 'others are refused');
is(scalar(grep { !$_->done } @served), 0, 'who was let in is served whole');
is(scalar(grep { $_->text ne $served[0]->text } @served), 0, 'and the same');
is(scalar(grep { $_->header('retry-after') !~ /^\d+$/ } @refused), 0,
   'who was refused is told when to come again');
is($refused[0]->json->{error}{code}, 'queue_full', 'and why');
is($refused[0]->json->{error}{type}, 'server_error', 'in the API\'s shape');


# silence is broken by comments

my $c = $t->client(uri => '/wide/v1/completions', key => $key,
                   body => { %body, model => 'wide' });
ok($c->next_event(20), 'a stream begins');
my ($holder) = $t->pids('engine');
kill 'STOP', $holder;
my $before = @{ $c->{events} };
ok($c->wait(20, sub { grep { defined $_->{comment} } @{ $_[0]{events} } }),
   'a comment comes while the engine does not');
kill 'CONT', $holder;
$c->wait(20);
ok($c->done, 'and the stream ends well');
is($c->text, $served[0]->text, 'whole');
my ($comment) = grep { defined $_->{comment} } @{ $c->{events} };
like($comment->{comment}, qr/keep-alive/, 'what it says');


# a client that does not read stops nobody, and loses nothing

my @slow = map {
    $t->client(uri => '/wide/v1/completions', key => $key, port => 1,
               rcvbuf => 16384, body => { %body, model => 'wide', n => 1,
                                         max_tokens => 1000 })
} 1 .. 3;
select undef, undef, undef, 0.5;

my $fast = $t->post('/wide/v1/completions', { %body, model => 'wide' },
                    key => $key);
ok($fast->done, 'beside clients that do not read');

ok(LLM::Client->pump(\@slow, 60), 'they read at last');
is(scalar(grep { $_->done } @slow), 3, 'and have it whole');
is(scalar(grep { index($_->text, $fast->text) != 0 } @slow), 0,
   'without a gap');


# a waiting client that goes away

@c = map { stream() } 1 .. 3;
$_->close for @c;

my $state;
wait_for {
    $state = $t->get('/wide/healthz', key => $key)->json;
    $state->{slots_used} == 0 && $state->{kv_blocks_used} == 0
} 20;
is($state->{slots_used}, 0, 'no slot is left');
is($state->{body_blocks_used}, 0, 'no block of a body is left');


# bodies: in pieces, in chunks, slowly, too large

my $json = encode_json({ %body, stream => \0, max_tokens => 5 });
my $half = int(length($json) / 2);
my $head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
         . "Authorization: Bearer $key\r\n";

my $r = $t->raw($head . "Transfer-Encoding: chunked\r\n\r\n"
    . sprintf("%x\r\n%s\r\n", $half, substr $json, 0, $half)
    . sprintf("%x\r\n%s\r\n0\r\n\r\n", length($json) - $half,
              substr $json, $half));
like($r, qr/^HTTP\/1.1 200 .*"finish_reason":"length"/s, 'a chunked body');

$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port(0));
print $c $head . 'Content-Length: ' . length($json) . "\r\n\r\n";
for my $piece (unpack '(a40)*', $json) {
    print $c $piece;
    $c->flush;
    select undef, undef, undef, 0.02;
}
$r = do { local $/; <$c> };
like($r, qr/^HTTP\/1.1 200 .*"finish_reason":"length"/s,
     'a body that comes slowly');

$r = $t->post('/v1/completions', 'x' x 2_000_000, key => $key);
is($r->{status}, 413, 'a body over client_max_body_size');
is($r->json->{error}{code}, 'request_too_large', 'in the API\'s shape');

$t->done;
