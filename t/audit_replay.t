#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# An audited answer, computed again from its record: the same bytes, whatever
# else ran with it.  And what is said where it can't be told, or is not so.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($key) = $t->key(client => 'acme', role => 'user');
my ($op) = $t->key(client => 'ops', role => 'operator');
my ($poor) = $t->key(client => 'poor', role => 'user',
                     args => ['--tokens-per-day', 40]);

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; max_batch 8; }
    server {
        listen 127.0.0.1:%%PORT_0%% sndbuf=8k;
        location /v1/ {
            llm_auth on; llm_pass demo; llm_audit_content on;
        }
        location /quiet/v1/ { llm_auth on; llm_pass demo; }
        location = /healthz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END

my $demo = $t->top . '/t/models/demo';
my $copy = $t->dir . '/model';
system('cp', '-r', $demo, $copy) == 0 or die "cp: $?";

sub replay {
    my ($id, @more) = @_;
    return $t->llmctl('audit', 'replay', $id, $t->keys_options,
                      (grep { $_ eq '--model' } @more)
                          ? () : ('--model', $demo), @more);
}

# once the closing record is written
sub closed {
    my ($id) = @_;
    return wait_for {
        my $r = $t->llmctl('audit', 'query', '--request', $id, '--json',
                           $t->keys_options);
        my $call = $r->{out} =~ /^\{/ ? decode_json($r->{out}) : {};
        defined $call->{status};
    };
}

sub id { return $_[0]->header('x-request-id') }

sub params {
    my (%set) = @_;
    my $r = $t->admin('PATCH', 'params', { engine => 'demo', %set },
                      key => $op);
    return $r->{status} == 200;
}

my $true = JSON::PP::true;
my @say = (messages => [{ role => 'user', content => 'Tell me of the sea' }]);
my $chat = '/v1/chat/completions';
my $text = '/v1/completions';

sub ask {
    my ($uri, $body, %o) = @_;
    return $t->client(uri => $uri, body => { model => 'demo', %$body },
                      key => $key, %o);
}

# what a request without values is answered by

ok(params(temperature => 1.3, top_p => 0.9, max_tokens => 30),
   'parameters of the engine');

wait_for {
    my $r = ask("/quiet$text", { prompt => 'a', ignore_eos => $true });
    $r->wait(20);
    ($r->json->{usage}{completion_tokens} // 0) == 30;
};

my @calls = (
    ['a greedy completion', 1, $text,
     { prompt => 'Once upon a time', temperature => 0, max_tokens => 40 }],
    ['a chat without a seed', 1, $chat, { @say }],
    ['a chat with a seed', 1, $chat,
     { @say, seed => 7, temperature => 1, max_tokens => 50 }],
    ['two choices', 2, $chat,
     { @say, n => 2, temperature => 0.8, max_tokens => 30 }],
    ['a stream', 1, $chat, { @say, stream => $true, max_tokens => 60 }],
    ['a stream of two choices', 2, $text,
     { prompt => 'The cat', n => 2, stream => $true }],
    ['two prompts, repeated', 2, $text,
     { prompt => ['One', 'Two'], echo => $true, max_tokens => 10 }],
    ['a stop string', 1, $text,
     { prompt => 'There was', stop => [' the'], max_tokens => 100 }],
);

# all at once: they share their steps

my @clients = map { ask($_->[2], $_->[3]) } @calls;
my $quiet = ask("/quiet$chat", { @say });
my $used = ask($chat, { @say, ignore_eos => $true }, key => $poor);

# they can't end before their clients go: nobody takes all that they say

my $long = { @say, stream => $true, max_tokens => 900, ignore_eos => $true };
my $gone = ask($chat, $long, rcvbuf => 4096);
my $hush = ask("/quiet$chat", $long, rcvbuf => 4096);

for my $client ($gone, $hush) {
    $client->next_event(20) for 1 .. 8;
    $client->close;
}

ok(LLM::Client->pump([@clients, $quiet, $used], 60), 'all are answered');
my $bad = ask($text, { prompt => 5 });
$bad->wait(20);

# from now on others are in force

ok(params(temperature => 0, top_p => 1, max_tokens => 3,
          max_tokens_limit => 5, n_limit => 1), 'other parameters');

for my $i (0 .. $#calls) {
    my ($name, $n) = @{ $calls[$i] };

    is($clients[$i]{status}, 200, $name) or diag($clients[$i]{body});
    ok(closed(id($clients[$i])), 'is recorded');

    my $r = replay(id($clients[$i]), '--json');
    is($r->{code}, 0, 'is replayed') or diag("$r->{out}$r->{err}");

    my $said = $r->{out} =~ /^\{/ ? decode_json($r->{out}) : {};
    is(scalar(grep { $_->{result} eq 'equal' && $_->{by} eq 'content'
                     && $_->{kept_bytes} > 0 } @{ $said->{choices} || [] }),
       $n, 'the same bytes of each choice') or diag($r->{out});
    ok($said->{build}{same_model} && $said->{build}{same_arithmetic},
       'by the same model');
}

# the record says what was in force

my $call = decode_json($t->llmctl('audit', 'query', '--json', '--request',
                                  id($clients[1]), $t->keys_options)->{out});
is_deeply($call->{parameters},
          { temperature => 1.3, top_p => 0.9, min_p => 0, top_k => 0,
            repetition_penalty => 1, max_tokens => 30 },
          'parameters are recorded');
like($call->{seed}, qr/^\d+$/, 'and a seed that nobody gave');
like($call->{build}, qr/^[0-9a-f]{16}$/, 'and the build');

# in words, and by its number

my $first = id($clients[0]);
my $length = length $clients[0]->json->{choices}[0]{text};
my $r = replay($first);
like($r->{out}, qr/^equal: $length bytes, fingerprint [0-9a-f]{64}$/,
     'in words');
is($r->{err}, '', 'no more');

my $number = decode_json(replay($first, '--json')->{out})->{number};
is(replay($number)->{out}, $r->{out}, 'by its number');

# what was cut is the same as far as it went

closed(id($gone));
$r = replay(id($gone));
is($r->{code}, 0, 'a client that went away') or diag("$r->{out}$r->{err}");
like($r->{out}, qr/^equal as far as it went: \d+ bytes/, 'is said');

closed(id($used));
is($used->json->{choices}[0]{finish_reason}, 'length', 'a used up quota');
$r = replay(id($used));
is($r->{code}, 0, 'is replayed') or diag("$r->{out}$r->{err}");
like($r->{out}, qr/^equal: \d+ bytes/, 'to its last byte');

# where only fingerprints are kept

closed(id($quiet));
$r = replay(id($quiet));
is($r->{code}, 3, 'a call without content');
like($r->{err}, qr/body was not kept.*llm_audit_content/, 'is said');

my $body = $t->file('body.json', encode_json({ model => 'demo', @say }));
$r = replay(id($quiet), '--input', $body);
is($r->{code}, 0, 'is replayed by who has the body')
    or diag("$r->{out}$r->{err}");
like($r->{out}, qr/^equal: \d+ bytes/, 'the same');
is(decode_json(replay(id($quiet), '--input', $body, '--json')->{out})
   ->{choices}[0]{by}, 'fingerprint', 'by its fingerprint');

closed(id($hush));
my $asked = $t->file('long.json', encode_json({ model => 'demo', %$long }));
$r = replay(id($hush), '--input', $asked, '--json');
is($r->{code}, 0, 'one that was cut too') or diag("$r->{out}$r->{err}");
is(decode_json($r->{out})->{choices}[0]{result}, 'equal_as_far_as_it_went',
   'as far as it went');

my $other = $t->file('other.json', encode_json({ model => 'demo' }));
$r = replay(id($quiet), '--input', $other);
is($r->{code}, 3, 'another body');
like($r->{err}, qr/is not this call's body/, 'is none');

# another model

$t->file("$copy/tokenizer_config.json",
         slurp("$copy/tokenizer_config.json") . "\n");
$r = replay($first, '--model', $copy);
is($r->{code}, 0, 'a model with another file, the same bytes');
like($r->{err}, qr/is not the model that answered/, 'is said');

my $weights = slurp("$copy/model.safetensors");
substr($weights, -400_000) = "\x11\x3c" x 200_000;
$t->file("$copy/model.safetensors", $weights);
$r = replay($first, '--model', $copy);
is($r->{code}, 1, 'another model, other bytes');
like($r->{out}, qr/^differs after \d+ bytes: $length were kept/, 'where');
like($r->{err}, qr/is not the model that answered/, 'and why');

# what can't be replayed

closed(id($bad));
$r = replay(id($bad), '--input', $body);
is($r->{code}, 3, 'a refused request');
like($r->{err}, qr/no model of this server has answered.*status 400/,
     'has no answer');
is(replay('f' x 32)->{code}, 3, 'an unknown request');
is(replay(999999)->{code}, 3, 'an unknown number');
is(replay('seven')->{code}, 2, 'no id');
is($t->llmctl('audit', 'replay', $first, $t->keys_options)->{code}, 2,
   'no model');
is(replay($first, '--model', '/nonexistent')->{code}, 3, 'no such model');
is(replay($first, '--device', 'abacus')->{code}, 2, 'no such device');

$t->done;
