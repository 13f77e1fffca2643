#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Bodies and queries of the administration that are wrong, huge, or meant to
# harm: each is refused as JSON with a code, nothing is made, and the server
# goes on.  What roles.t has is not repeated.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my ($user, $user_id) = $t->key(client => 'acme', role => 'user');

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    client_max_body_size 200m;
    large_client_header_buffers 4 64k;
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END


sub keys_there {
    return scalar @{ $t->admin('GET', 'keys?limit=1000', undef,
                               key => $admin)->json->{data} };
}

my $before = keys_there();


sub bad {
    my ($name, $method, $path, $body, $status, %o) = @_;

    my $r = $t->admin($method, $path, $body, key => $admin, timeout => 60,
                      %o);
    my $error = ($r->json // {})->{error} // {};

    is($r->{status}, $status // 400, $name) or diag($r->{error} // '',
                                                    $r->{body});
    like($error->{code} // '', qr/^[a-z_]+$/, "$name: a code");
    is($error->{request_id}, $r->header('x-request-id'), "$name: the id");
    unlike($r->{body}, qr/sk-[0-9a-f]{8}|\Q$admin\E/, "$name: no key");

    return $r;
}


# not JSON

my %text = (
    'text' => 'hello',
    'cut short' => '{"client":"a","role":"us',
    'more after it' => '{"client":"a","role":"user"} {}',
    'two in a row' => '{"client":"a","role":"user"}{"role":"admin"}',
    'NaN' => '{"client":"a","role":"user","requests_per_minute":NaN}',
    'infinity' => '{"client":"a","role":"user","requests_per_minute":1e999}',
    'a NUL' => "{\"client\":\"a\0b\",\"role\":\"user\"}",
    'an escaped NUL' => '{"client":"a\u0000b","role":"user"}',
    'a NUL in a name' => '{"client\u0000":"a","role":"user"}',
    'half a surrogate' => '{"client":"\ud800","role":"user"}',
    'the other half' => '{"client":"\udc00","role":"user"}',
    'invalid UTF-8' => "{\"client\":\"\xff\xfe\",\"role\":\"user\"}",
    'overlong UTF-8' => "{\"client\":\"\xc0\xaf\",\"role\":\"user\"}",
    'deep lists' => '[' x 60_000,
    'deep lists, closed' => ('[' x 30_000) . (']' x 30_000),
    'deep objects' => '{"a":' x 12_000,
    'a deep value' => '{"client":"a","role":"user","models":'
                      . ('[' x 20_000) . (']' x 20_000) . '}',
    'a huge number' => '{"client":"a","role":"user","tokens_per_day":'
                       . '9' x 4000 . '}',
    'a string' => '"x"', 'null' => 'null', 'a number' => '1',
    'a byte order mark' => "\xef\xbb\xbf{\"client\":\"a\",\"role\":\"user\"}",
    'UTF-16' => join('', map { "$_\0" } split //,
                     '{"client":"a","role":"user"}'),
    'a form' => 'client=a&role=user',
);

bad("POST keys: $_", 'POST', 'keys', $text{$_}) for sort keys %text;


# values

my %value = (
    'no client' => { role => 'user' },
    'no role' => { client => 'a' },
    'an empty client' => { client => '' },
    'a long client' => { client => 'a' x 65 },
    'a client with a line' => { client => "a\nb" },
    'a client with a quote' => { client => "a'; DROP TABLE keys; --" },
    'markup' => { client => '<b>"&' },
    'another alphabet' => { client => "\x{430}dmin" },
    'a client that is a list' => { client => ['a'] },
    'a client that is a number' => { client => 7 },
    'an unknown role' => { role => 'root' },
    'a role of other case' => { role => 'Admin' },
    'a role with a space' => { role => 'admin ' },
    'a role that is null' => { role => undef },
    'an unknown field' => { is_admin => JSON::PP::true },
    'an id' => { id => 'key_000000000000000000000000' },
    'a key' => { key => "sk-" . '0' x 72 },
    'a negative limit' => { requests_per_minute => -1 },
    'a huge limit' => { tokens_per_day => 1e300 },
    'a limit beyond 64 bits' => { tokens_per_month => 1.8e19 },
    'half a request' => { concurrent_requests => 0.5 },
    'a limit in words' => { tokens_per_minute => 'many' },
    'a limit that is a list' => { tokens_per_minute => [1] },
    'an expiry in the past' => { expires => '2001-01-01' },
    'an expiry of never' => { expires => '999999999d' },
    'an expiry that is none' => { expires => 'soon' },
    'an expiry that is a number' => { expires => 1 },
    'models that are none' => { models => 'demo' },
    'an empty model' => { models => [''] },
    'a model that is none' => { models => [{}] },
    'a model with a NUL' => { models => ["a\0b"] },
    'many models' => { models => [ map { "model-$_" } 1 .. 1000 ] },
    'a long model' => { models => ['m' x 1000] },
    'addresses that are none' => { addresses => '10.0.0.0/8' },
    'an address that is none' => { addresses => ['nowhere'] },
    'bits beyond the prefix' => { addresses => ['10.1.2.3/8'] },
    'a negative prefix' => { addresses => ['10.0.0.0/-1'] },
    'an overlong prefix' => { addresses => ['10.0.0.0/' . '0' x 50 . '8'] },
    'many addresses' => { addresses => [ map { "10.0.0.$_" } 0 .. 99 ] },
);

for my $name (sort keys %value) {
    my $body = { client => 'a', role => 'user', %{ $value{$name} } };

    delete $body->{client} if $name eq 'no client';
    delete $body->{role} if $name eq 'no role';
    bad("POST keys: $name", 'POST', 'keys', $body);
}

bad("PATCH: $_->[0]", 'PATCH', "keys/$user_id", $_->[1]) for (
    ['nothing', {}], ['a list', '[]'], ['no expiry', { expires => undef }],
    ['deep', '{"a":' x 12_000], ['an id', { id => $admin_id }],
    ['revoked', { revoked => undef }], ['status', { status => 'active' }]);

bad("rotate: $_->[0]", 'POST', "keys/$user_id/rotate", $_->[1]) for (
    ['a long grace', { grace => '8d' }], ['a negative grace',
    { grace => '-1d' }], ['a grace of a number', { grace => 60 }],
    ['an expiry too far', { expires => '36500d' }],
    ['an unknown field', { key => 'sk-' . '0' x 72 }]);

bad("leak: $_->[0]", 'POST', "keys/$user_id/leak", $_->[1]) for (
    ['a key as its reason', { reason => "they have $user" }],
    ['lines', { reason => "a\nb" }], ['long', { reason => 'x' x 5000 }]);

bad("params: $_->[0]", 'PATCH', 'params/demo', $_->[1]) for (
    ['huge', { max_batch => 1e18 }], ['none', { max_batch => 0 }],
    ['words', { max_batch => 'all' }], ['unknown', { shell => 'sh' }],
    ['NaN', '{"temperature":NaN}']);


# an idempotency key is kept in full, or refused

for my $case (['of 256 bytes', 'i' x 256], ['of 60 kB', 'i' x 60_000],
              ['of other bytes', "caf\xc3\xa9"], ['of none', '']) {
    bad("an idempotency key $case->[0]", 'POST', "keys/$user_id/rotate", {},
        400, idem => $case->[1]);
}

my ($long, $long_id) = $t->key(client => 'long', role => 'user');
my %new;

for my $idem ('i' x 200 . 'a', 'i' x 200 . 'a', 'i' x 200 . 'b') {
    my $r = $t->admin('POST', "keys/$long_id/rotate", {}, key => $admin,
                      idem => $idem);
    is($r->{status}, 200, 'one of 201 bytes') or diag($r->{body});
    $new{$r->json->{key}} = 1;
}

is(keys %new, 2, 'is told from another to its last byte');


# sizes

bad('a body of 100 MB', 'POST', 'keys', 'x' x (100 << 20), 413);
my $pad = sub { encode_json({ client => 'a', role => 'user' }) . ' ' x $_[0] };
bad('a body that is large with spaces', 'POST', 'keys', $pad->(1 << 20), 413);

my $r = $t->admin('POST', 'keys', '{', key => $admin, timeout => 5,
                  headers => ['Content-Length: 99999999999']);
is($r->{status}, 413, 'a Content-Length of 100 GB');

my $chunks = join('', map { "1\r\n$_\r\n" } split //, $pad->(0))
             . "0\r\n\r\n";
$r = $t->admin('POST', 'keys', $chunks, key => $admin,
               headers => ['Transfer-Encoding: chunked']);
is($r->{status}, 201, 'a chunked body, byte by byte');

$r = $t->admin('POST', 'keys', $pad->(30_000), key => $admin);
is($r->{status}, 201, 'a body that nginx keeps in a file');


# queries

bad("keys?$_", 'GET', "keys?$_", undef) for
    'limit=0', 'limit=-1', 'limit=1e9', 'limit=99999999999999999999',
    'limit=', 'limit=abc', 'after=x', 'after=' . 'k' x 5000,
    "after=key_'%20OR%201=1", 'status=all', 'role=root', 'expiring=soon',
    'expiring=-1d', 'unknown=1', 'client=%ff%fe', '%00=1', 'limit=1&limit=0',
    'a=1&' x 50 . 'b=1', 'limit=5%00', 'limit=5&' x 40, '=', '&=&';
bad("changes?$_", 'GET', "changes?$_", undef) for
    'before=-1', 'before=x', 'limit=0', 'after=1';
bad("path: $_", 'GET', "keys/$_", undef, 404) for
    'x' x 5000, 'key_', $admin, '%01', '%2e%2e/keys/x', uc $user_id,
    "'%20OR%20'1'='1";


# and after all that

is(keys_there(), $before + 3, 'only the good ones made keys');
is($t->admin('GET', 'self', undef, key => $user)->json->{role}, 'user',
   'the user is one');

my $error_log = $t->error_log;
$error_log =~ s/request: "[^"]*"//g;
ok(index($error_log, substr $_, 10, 20) < 0, 'no key in the error log')
    for $admin, $user, $long;

$t->done;
