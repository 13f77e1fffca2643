#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Rotation: of keys, with a grace in which old and new are good, asked for
# again under the same name, at a maximum age; what tells that a key is about
# to end; and of the secret that keys are made with.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 150);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my (%ends, %ends_id);
($ends{$_}, $ends_id{$_}) = $t->key(client => "ends-$_", expires => $_)
    for qw(30d 13d 6d 20h);
my ($first) = $t->key(client => 'first');

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;
    return LLM::Upstream->answer(204, 'text/plain', '')
        if $request->{uri} eq '/notified';
    return LLM::Upstream->stream(
        map { ({ choices => [ { delta => { content => "t$_" } } ] }, \0.1) }
        1 .. 300);
});

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    AGE
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        llm_notify /_notify;
        location = /_notify {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%/notified;
        }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /slow/v1/ { llm_auth on; limit_rate 4k; llm_pass demo; }
        location /up/ {
            llm_auth on;
            proxy_buffering off;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /ping { llm_auth on; root %%DIR%%/html; }
    }
}
END

my $aging = $conf =~ s/AGE/llm_key_max_age 6s;/r;
$conf =~ s/AGE//;

$t->file('html/ping', "pong\n");
$t->conf($conf)->start;
wait_for { $t->get('/readyz')->{status} == 200 };

my @secret = ($admin, $first, values %ends);    # to look for in the end

sub code { return eval { $_[0]->json->{error}{code} } // '' }

# what a key is answered with, by both workers: "200" or "401 code"
sub ping {
    my ($key) = @_;

    my @c = map { $t->client(uri => '/ping', key => $key) } 1 .. 16;
    LLM::Client->pump(\@c, 20);
    my %seen = map { ("$_->{status} " . code($_)) =~ s/ $//r => 1 } @c;
    return join ' and ', sort keys %seen;
}

sub rotate {
    my ($id, $body, %o) = @_;

    my $r = $t->admin('POST', "keys/$id/rotate", $body, key => $admin, %o);
    my $json = $r->json;
    push @secret, $json->{key} if $json && $json->{key};
    return ($r, $json ? $json->{key} : undef);
}

my $n = 0;

sub fresh {
    my @key = $t->key(client => 'r' . ++$n, @_);
    push @secret, $key[0];
    return @key;
}


# a grace

my ($old, $id) = fresh(role => 'operator', args => ['--rpm', 1_000_000]);
my $before = $t->admin('GET', "keys/$id", undef, key => $admin)->json;
my ($r, $new) = rotate($id, { grace => '2s' });

is($r->{status}, 200, 'a rotation') or diag($r->{body});
like($new, qr/^sk-[0-9a-f]{72}$/, 'gives a key');
isnt($new, $old, 'another one');
like($r->json->{grace_until}, qr/^20\d\d-/, 'and says when the grace ends');
is($r->header('cache-control'), 'no-store', 'nobody may keep the answer');
is(ping($new), '200', 'the new one is good at once, everywhere');
is(ping($old), '200', 'the old one still is');

my $after = $t->admin('GET', "keys/$id", undef, key => $admin)->json;
is_deeply([@$after{qw(id client role scopes)}],
          [@$before{qw(id client role scopes)}], 'all else is as it was');
ok(!exists $after->{key}, 'the key is shown once');

ok(wait_for { ping($old) eq '401 key_rotated' } , 'the grace ends');
is(ping($new), '200', 'for the old one only');
like($t->get('/ping', key => $old)->json->{error}{message}, qr/rotated/,
     'its message says what to do');

($old, $id) = fresh();
($r, $new) = rotate($id, { grace => '0' });
is(ping($old), '401 key_rotated', 'grace 0: the old one ends at once');
is(ping($new), '200', 'grace 0: the new one is good');
is($r->json->{grace_until}, undef, 'grace 0: there is none');

($old, $id) = fresh();
for my $grace ('8d', '169h', '604801s', '-1s', '1', 'x', '', '1y', ' 1h') {
    ($r, $new) = rotate($id, { grace => $grace });
    is($r->{status}, 400, "grace \"$grace\" is refused") or diag($r->{body});
}
for my $grace (5, JSON::PP::true, ['1h']) {
    is((rotate($id, { grace => $grace }))[0]{status}, 400,
       'grace ' . encode_json([$grace]) . ' is refused');
}
is(ping($old), '200', 'and changes nothing');
($r, $new) = rotate($id, { grace => '7d' });
is($r->{status}, 200, '7d is the most');
is(ping($old), '200', 'then both are good');
is((rotate($id, { grace => '1h', more => 1 }))[0]{status}, 400,
   'an unknown member is refused');
is((rotate('key_000000000000000000000000', {}))[0]{status}, 404,
   'an unknown key is not found');
$t->revoke($id);
($r, $new) = rotate($id, {});
is($r->{status}, 409, 'a revoked key is not rotated');
is(code($r), 'key_revoked', 'its code');


# asked for again

($old, $id) = fresh();
($r, $new) = rotate($id, { grace => '1h' }, idem => 'retry-1');
ok(!$r->json->{replayed}, 'a rotation with a name');
my ($again, $same) = rotate($id, { grace => '1h' }, idem => 'retry-1');
is($again->{status}, 200, 'again') or diag($again->{body});
is($same, $new, 'gives the same key');
ok($again->json->{replayed}, 'and says so');
is(ping($old), '200', 'the old key stays in its grace');
my (undef, $next) = rotate($id, { grace => '1h' }, idem => 'retry-2');
isnt($next, $new, 'another name gives another key');
is(ping($_->[1]), '200', "$_->[0] is good")
    for ['the first', $old], ['the second', $new], ['the third', $next];

# at once, from several connections

($old, $id) = fresh();
my @c = map {
    $t->client(uri => "/admin/keys/$id/rotate", method => 'POST',
               key => $admin, body => { grace => '1h' },
               headers => ['Idempotency-Key: all'])
} 1 .. 10;
LLM::Client->pump(\@c, 30);
my %keys = map { ($_->json->{key} // "status $_->{status}") => 1 } @c;
is(scalar keys %keys, 1, 'ten at once under one name give one key')
    or diag(join ' ', map { $_->{status} . ' ' . code($_) } @c);
push @secret, keys %keys;
is(ping((keys %keys)[0]), '200', 'which is good');

my $llmctl;
my @again = map {
    $llmctl = $t->llmctl('key', 'rotate', $id, $t->keys_options, '--json',
                         '--idempotency-key', 'all', '--grace', '1h');
    decode_json($llmctl->{out})->{key}
} 1 .. 2;
push @secret, @again;
isnt($again[0], (keys %keys)[0],
     'whoever else uses that name gets another one');
is($again[1], $again[0], 'and that one again, from llmctl too')
    or diag($llmctl->{err});


# not more secrets than there may be

($old, $id) = fresh();
my @valid = ($old);
for (1 .. 3) {
    ($r, $new) = rotate($id, { grace => '1h' });
    is($r->{status}, 200, "rotation $_ of 3");
    push @valid, $new;
}
($r, $new) = rotate($id, { grace => '1h' });
is($r->{status}, 409, 'the next one has to wait');
is(code($r), 'rotation_refused', 'its code');
is(join(' ', map { ping($_) } @valid), '200 200 200 200',
   'all four stay good');
$llmctl = $t->llmctl('key', 'rotate', $id, $t->keys_options);
isnt($llmctl->{code}, 0, 'llmctl is refused, too');
($r, $new) = rotate($id, { grace => '0' });
is($r->{status}, 200, 'one without grace ends them');
is(ping($new), '200', 'the new one is good');
is(ping($valid[3]), '401 key_rotated', 'the last one says that it ended');
like(ping($_), qr/^401 /, 'an earlier one is refused') for @valid[0 .. 2];


# what runs

($old, $id) = fresh();
my %body = (model => 'demo', prompt => 'Once upon a time', max_tokens => 900,
            ignore_eos => \1, stream => \1);
my $stream = $t->client(uri => '/slow/v1/completions', key => $old,
                        body => \%body);
my $proxied = $t->client(uri => '/up/x', key => $old, body => {});
ok($stream->next_event(20) && $proxied->next_event(20), 'two streams begin');

(undef, $new) = rotate($id, { grace => '3s' });
ok($proxied->next_event(10), 'they go on within the grace') for 1 .. 3;
LLM::Client->pump([$stream, $proxied], 25);
my ($last) = reverse $stream->data;
is($last->{error}{code}, 'key_rotated', 'then the engine\'s stream ends with '
   . 'an error event') or diag(encode_json($last // {}));
ok(!$stream->done, 'without [DONE]');
ok(!$proxied->{complete} && !$proxied->{socket},
   'and the proxied one is cut');

$stream = $t->client(uri => '/slow/v1/completions', key => $new,
                     body => { %body, max_tokens => 40 });
$stream->wait(30);
ok($stream->done, 'the new key\'s stream comes to its end');


# keys that are about to end

like($t->get('/ping', key => $ends{'13d'})->header('x-llm-key-expires'),
     qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ; days=1[23]$/, 'a key with 13 days');
like($t->get('/ping', key => $ends{'6d'})->header('x-llm-key-expires'),
     qr/^20\S+Z; days=[56]$/, 'one with 6 days');
like($t->get('/ping', key => $ends{'20h'})->header('x-llm-key-expires'),
     qr/^20\S+Z; days=0$/, 'one with 20 hours');
is($t->get('/ping', key => $ends{'30d'})->header('x-llm-key-expires'), '',
   'nothing is said of 30 days');
like($t->post('/v1/completions', { model => 'demo', prompt => 'a',
              max_tokens => 1 }, key => $ends{'6d'})
         ->header('x-llm-key-expires'), qr/days=[56]$/,
     'the engine\'s answers say it');

sub expiring {
    my $r = $t->llmctl('key', 'list', $t->keys_options, '--json',
                       '--expiring', @_);
    my %seen = map { $_->{id} => 1 } @{ decode_json($r->{out}) };
    return join ' ', grep { $seen{ $ends_id{$_} } } qw(20h 6d 13d 30d);
}

is(expiring('14d'), '20h 6d 13d', 'llmctl key list --expiring 14d');
is(expiring('1d'), '20h', '--expiring 1d');
is(expiring('31d'), '20h 6d 13d 30d', '--expiring 31d');
my %seen = map { $_->{id} => 1 } @{ $t->admin('GET', 'keys?expiring=7d',
                                    undef, key => $admin)->json->{data} };
ok($seen{$ends_id{'6d'}} && !$seen{$ends_id{'13d'}}, 'over HTTP');

my %event;
ok(wait_for(sub {
    for my $got (grep { $_->{uri} eq '/notified' } $up->requests) {
        my $event = decode_json($got->{body});
        push @{ $event{$event->{key_id}} }, $event
            if $event->{event} eq 'key_expiring';
    }
    3 == grep { $event{ $ends_id{$_} } } qw(20h 6d 13d)
}, 25), 'each is told to llm_notify');
is($event{ $ends_id{'30d'} }, undef, 'one with 30 days is not');
my $event = $event{ $ends_id{'6d'} }[0];
is($event->{client}, 'ends-6d', 'an event has its client');
like($event->{days}, qr/^[56]$/, 'and the days');

# a rotation gives it back the time that it had

($r, $new) = rotate($ends_id{'6d'}, { grace => '1h', expires => '60d' });
is($t->get('/ping', key => $new)->header('x-llm-key-expires'), '',
   'a rotated key has time again');
like($t->get('/ping', key => $ends{'6d'})->header('x-llm-key-expires'),
     qr/days=0$/, 'its former secret has the grace');


# the maximum age

my ($aged, $aged_id) = fresh();
ok($t->reload($aging), 'a configuration with a maximum age');
wait_for { $t->get('/readyz')->{status} == 200 };
ok(wait_for(sub { ping($aged) eq '401 key_too_old' }, 20), 'a key gets too old');
$r = $t->get('/ping', key => $aged);
like($r->json->{error}{message}, qr/rotated/, 'the message says what to do');
like($r->json->{error}{message}, qr/\b6 seconds\b/, 'and how old it may be');
is(ping($admin), '401 key_too_old', 'admins\' keys too');

my $listed = $t->llmctl('key', 'list', $t->keys_options, '--json',
                        '--status', 'too_old');
ok((grep { $_->{id} eq $aged_id } @{ decode_json($listed->{out}) }),
   'llmctl lists it');

$llmctl = $t->llmctl('key', 'rotate', $aged_id, $t->keys_options, '--json',
                     '--grace', '0');
$new = decode_json($llmctl->{out})->{key};
push @secret, $new;
is($t->get('/ping', key => $new)->{status}, 200,
   'a rotation makes it good again');
ok(wait_for(sub { $t->get('/ping', key => $new)->{status} == 401 }, 20),
   'until it is too old itself');
ok($t->reload($conf), 'without a maximum of seconds');
ok(wait_for { ping($admin) eq '200' }, 'old keys are good again');


# the secret

sub secret { return $t->llmctl('secret', @_, $t->keys_options, '--json') }

sub versions {
    my $list = decode_json(secret('show')->{out});
    $list = $list->{data} if ref $list eq 'HASH';
    return join ' ', map { $_->{version} . ($_->{current} ? '*' : '')
                           . ($_->{pending} ? '?' : '') } @$list;
}

is(versions(), '1*', 'a secret has a version');
isnt(secret('retire', '1')->{code}, 0, 'the only one can\'t be retired');
$r = secret('rotate');
is($r->{code}, 0, 'secret rotate') or diag($r->{err});
is(versions(), '1* 2?', 'the next one waits');
isnt(secret('rotate')->{code}, 0, 'a third has to wait for it');

(my $one, $id) = fresh();
is(ping($one), '200', 'keys are still made with the first');
ok($t->reload, 'a reload');
is(versions(), '1 2*', 'makes it current');
my ($two) = fresh();
is(ping($two), '200', 'a key of the second is good, everywhere');
is(ping($_->[1]), '200', "$_->[0] of the first still is")
    for ['one', $one], ['the admin\'s', $admin], ['the oldest', $first];

$r = secret('retire', '1');
isnt($r->{code}, 0, 'the first is needed: it can\'t be retired');
like($r->{err}, qr/valid/, 'llmctl says why');

my @left = @{ decode_json($t->llmctl('key', 'list', $t->keys_options,
                                     '--json')->{out}) };
for my $key (grep { $_->{status} eq 'active' } @left) {
    my $r = $t->llmctl('key', 'rotate', $key->{id}, $t->keys_options,
                       '--json', '--grace', '0');
    my $got = decode_json($r->{out})->{key};
    push @secret, $got;
    $admin = $got if $key->{id} eq $admin_id;
    $one = $got if $key->{id} eq $id;
}

$r = secret('retire', '1');
is($r->{code}, 0, 'after all keys were rotated it can') or diag($r->{err});
is(versions(), '2*', 'and is gone');
is(ping($one), '200', 'rotated keys are good');
is(ping($admin), '200', 'the admin\'s, too');
ok($t->reload, 'a reload with the second only');
is(ping($one), '200', 'rotated keys are good');
like(ping($first), qr/^401 /, 'an old one is not');
$t->quit;
$t->start;
is(ping($admin), '200', 'after a restart, too');
(undef, $new) = rotate($id, { grace => '0' });
is(ping($new), '200', 'and keys can be rotated');


# nothing has kept a key

my %text = map { $_ => slurp($_) }
           glob($t->dir . '/*.log ' . $t->dir . '/store/*');
for my $file (sort keys %text) {
    my $found = grep { index($text{$file}, $_) >= 0
                       || index($text{$file}, substr $_, 3, 64) >= 0 }
                grep { defined } @secret;
    is($found, 0, 'no key in ' . $file =~ s{^.*/}{}r);
}

$t->done;
