#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Request bodies that are wrong, or large: each is an error as JSON with a
# code, the request id and the name of the field, and the server goes on.

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
    llm_engine demo { model %%DEMO%%; context 256; queue 4; max_batch 4; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        client_max_body_size 200m;

        location /v1/ { llm_auth on; llm_pass demo; }
        location /small/v1/ {
            client_max_body_size 1k;
            llm_auth on;
            llm_pass demo;
        }
        location = /readyz { llm_auth off; llm_pass demo; }
        location = /state/healthz { llm_auth on; llm_pass demo; }
    }
}
END

my $chat = '/v1/chat/completions';
my $plain = '/v1/completions';


# An error in OpenAI's shape; code and param are compared when given.
sub is_error {
    my ($r, $name, $status, $code, $param) = @_;

    my $error = ($r->json // {})->{error} // {};

    is($r->{status}, $status, "$name: status")
        or diag($r->{error} // '', $r->{body});
    like($r->header('content-type'), qr{^application/json}, "$name: JSON");
    like($error->{message} // '', qr/\w{3}/, "$name: a message");
    is($error->{request_id}, $r->header('x-request-id'), "$name: the id");
    is($error->{code}, $code, "$name: code") if $code;
    is($error->{param}, $param, "$name: param") if $param;
    unlike($r->{body}, qr/\Q$key\E/, "$name: no key");
}

sub bad {
    my ($name, $uri, $body, $code, $param, $status) = @_;

    is_error($t->post($uri, $body, key => $key), $name, $status // 400, $code,
             $param);
}


# not JSON, or not an object

bad($_->[0], $chat, $_->[1], 'invalid_json') for (
    ['no body', ''],
    ['not JSON', 'hello'],
    ['cut short', '{"model":"demo","messages":[{"role":"user"'],
    ['more after it', '{"model":"demo"} {}'],
    ['NaN', '{"model":"demo","temperature":NaN}'],
    ['a NUL', "{\"model\":\"de\0mo\"}"],
    ['invalid UTF-8', "{\"model\":\"demo\",\"prompt\":\"\xff\xfe\"}"],
    ['overlong UTF-8', "{\"model\":\"demo\",\"prompt\":\"\xc0\xaf\"}"],
    ['half a surrogate', '{"model":"demo","prompt":"\ud800"}'],
    ['deep', '[' x 100_000],
    ['deep objects', '{"a":' x 100_000],
    ['a huge number', '{"model":"demo","max_tokens":' . '9' x 400 . '}'],
);

bad($_->[0], $chat, $_->[1]) for (
    ['a list', '[]'],
    ['a string', '"x"'],
    ['null', 'null'],
    ['a key twice', '{"model":"demo","model":"demo"}'],
);


# fields of the wrong type or value

sub field {
    my ($json, $param) = @_;

    my ($name) = $json =~ /^"(\w+)/;
    my $messages = $name eq 'messages' ? ''
                 : '"messages":[{"role":"user","content":"hi"}],';

    bad($json, $chat, "{\"model\":\"demo\",$messages$json}", undef,
        $param // $name);
}

field('"temperature":"hot"');
field('"temperature":-1');
field('"temperature":1e308');
field('"top_p":2');
field('"top_p":-0.5');
field('"min_p":2');
field('"max_tokens":-1');
field('"max_tokens":1.5');
field('"max_tokens":"10"');
field('"n":0');
field('"n":1000000');
field('"n":-1');
field('"seed":"x"');
field('"stop":5');
field('"stop":[1]', 'stop[0]');
field('"stop":[' . join(',', ('"x"') x 1000) . ']');
field('"stream":"yes"');
field('"stream_options":[]');
field('"logit_bias":[]');
field('"logit_bias":{"x":1}', 'logit_bias');
field('"presence_penalty":100');
field('"frequency_penalty":-100');
field('"repetition_penalty":0');
field('"logprobs":true');
field('"best_of":1000000');
field('"tools":{}');
field('"tools":[5]', 'tools[0]');
field('"tools":[{"type":"function","function":{}}]', 'tools[0].function.name');
field('"tools":[{"function":{"name":"f","parameters":"("}}]',
      'tools[0].function.parameters');
field('"tools":[' . join(',', ('{"function":{"name":"f"}}') x 1000) . ']');
field('"messages":[]');
field('"messages":"hi"');
field('"messages":{}');


# what is missing

bad('no messages', $chat, { model => 'demo' }, 'missing_field', 'messages');
bad('no prompt', $plain, { model => 'demo' }, 'missing_field', 'prompt');
bad('another model', $chat,
    { model => 'other', messages => [{ role => 'user', content => 'x' }] },
    'model_not_found', undef, 404);
bad('a token out of range', $plain, { model => 'demo', prompt => [999_999] });
bad('a negative token', $plain, { model => 'demo', prompt => [-1] });
bad('a longer prompt than the context', $plain,
    { model => 'demo', prompt => 'word ' x 5000 }, 'context_length_exceeded');
bad('a much longer one', $plain,
    { model => 'demo', prompt => 'word ' x 1_000_000 },
    'context_length_exceeded');


# methods and addresses

is_error($t->get($chat, key => $key), 'GET', 405, 'method_not_allowed');
is_error($t->post('/v1/nothing', '{}', key => $key), 'an unknown address', 404,
         'unknown_url');


# sizes

is_error($t->post('/small/v1/chat/completions', 'x' x 5000, key => $key),
         'over client_max_body_size', 413);
is_error($t->post($chat, 'x' x (100 << 20), key => $key, timeout => 60),
         '100 MB', 413, 'request_too_large');

# it is looked at only as it comes in, and not believed
my $r = $t->get($chat, key => $key, timeout => 5,
                body => '{', headers => ['Content-Length: 99999999999']);
is($r->{status}, 413, 'a Content-Length of 100 GB');

# large, in a file of nginx's, and fine
$r = $t->post($plain, { model => 'demo', prompt => 'hi', max_tokens => 1,
                        metadata => 'x' x (4 << 20) }, key => $key);
is($r->{status}, 200, '4 MB with an unknown field');

# chunked, byte by byte
my $body = encode_json({ model => 'demo', prompt => 'hi', max_tokens => 1 });
$r = $t->get($plain, key => $key, method => 'POST',
             body => join('', map { "1\r\n$_\r\n" } split //, $body)
                     . "0\r\n\r\n",
             headers => ['Transfer-Encoding: chunked']);
is($r->{status}, 200, 'a chunked body');


# and after all that

$r = $t->post($plain, $body, key => $key);
is($r->{status}, 200, 'it still answers');

my $state;
wait_for {
    $state = $t->get('/state/healthz', key => $key)->json;
    !$state->{slots_used} && !$state->{body_blocks_used}
} 10;
is($state->{slots_used}, 0, 'no slot is left');
is($state->{body_blocks_used}, 0, 'no block of a body is left');

$t->done;
