#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The second factor: enrolled over HTTP and by llmctl, with codes of the
# test's own (RFC 6238); then asked for wherever keys change.  Wrong codes,
# codes that were used, a lock that nothing resets, recovery codes, twenty
# requests with one code.
#
# A code of the app works once in half a minute, so most checks take recovery
# codes.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Digest::SHA qw(hmac_sha1);

my $t = LLM::Test->new(timeout => 150);
$t->init;

my (%key, %id);
($key{$_}, $id{$_}) = $t->key(client => $_, role => 'admin')
    for qw(first second third locked racer plain);
($key{user}, $id{user}) = $t->key(client => 'user');

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_totp TOTP;
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
        location /ping { llm_auth on; root %%DIR%%/html; }
    }
}
END

my $required = $conf =~ s/TOTP/required/r;
$conf =~ s/TOTP/enrolled/;

$t->file('html/ping', "pong\n");
$t->conf($conf)->start;

my @secret;                             # never to be found in a file

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub admin {
    my ($who, $method, $path, $body, %o) = @_;
    return $t->admin($method, $path, $body, key => $key{$who}, %o);
}

# RFC 6238 with SHA-1, six digits and 30 seconds

sub totp {
    my ($base32, $time) = @_;

    my $bits = join '', map { sprintf '%05b', index
        'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_ } split //, $base32;
    my $mac = hmac_sha1(pack('Q>', int $time / 30), pack 'B*', $bits);
    my $at = ord(substr $mac, -1) & 15;

    return sprintf '%06d',
        (unpack('N', substr $mac, $at, 4) & 0x7fffffff) % 1_000_000;
}

# Steps that a code of this minute can't be of for a while: with some seconds
# left, a request is judged in the step that its code was made in.
sub early {
    wait_for { my $s = time % 30; $s < 20 } 15;
    return time;
}

# a code that is none of the three that are good
sub wrong {
    my ($base32) = @_;
    my %good = map { totp($base32, time + 30 * $_) => 1 } -2 .. 3;
    my ($wrong) = grep { !$good{$_} } '000000' .. '000009';
    return $wrong;
}

is(totp('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', 59), '287082',
   'codes are those of RFC 6238');


# enrolment

my (%app, %recovery);

sub enrol {
    my ($who) = @_;

    my $r = admin($who, 'POST', 'totp', {});
    is($r->{status}, 201, "$who enrols") or diag($r->{body});
    my $json = $r->json;
    $app{$who} = $json->{secret};
    $recovery{$who} = $json->{recovery_codes};
    push @secret, $app{$who}, @{ $recovery{$who} };

    return $r;
}

sub confirm {
    my ($who) = @_;

    my $r = admin($who, 'POST', 'totp/confirm',
                  { code => totp($app{$who}, early() - 30) });
    is($r->{status}, 200, "$who confirms") or diag($r->{body});
    is($r->json->{state}, 'on', 'it is on');
}

is(admin('first', 'GET', 'totp')->json->{state}, 'none', 'there is none');
my $r = enrol('first');
is($r->header('cache-control'), 'no-store', 'nobody may keep the answer');
like($app{first}, qr/^[A-Z2-7]{32}$/, 'a secret in base32');
is(scalar @{ $recovery{first} }, 10, 'ten recovery codes');
like($r->json->{uri}, qr{^otpauth://totp/nginx-llm:first\?secret=$app{first}&
                         issuer=nginx-llm&algorithm=SHA1&digits=6&period=30$}x,
     'an address for the app');
my $rows = $r->json->{qr};
is(scalar(grep { /^[01]{${\ scalar @$rows}}$/ } @$rows), scalar @$rows,
   'a square of modules');
like($rows->[0], qr/^1{7}0[01]+01{7}$/, 'with finders in its corners');
is(admin('first', 'GET', 'totp')->json->{state}, 'pending', 'it is pending');
ok(!exists admin('first', 'GET', 'totp')->json->{secret},
   'the secret is shown once');
is(admin('first', 'POST', 'keys', { client => 'a', role => 'user' })
       ->{status}, 201, 'no code is needed before it is confirmed');

my $former = $app{first};
enrol('first');
isnt($app{first}, $former, 'enrolled again before that: another secret');
is(code(admin('first', 'POST', 'totp/confirm', {})), 'missing_field',
   'it takes a code');
is(code(admin('first', 'POST', 'totp/confirm',
              { code => wrong($app{first}) })), 'totp_invalid',
   'not any code');
is(code(admin('first', 'POST', 'totp/confirm',
              { code => $recovery{first}[0] })), 'totp_invalid',
   'no recovery code');
is(code(admin('first', 'POST', 'totp/confirm', { code => 123456 })),
   'invalid_type', 'no number');
confirm('first');
is(code(admin('first', 'POST', 'totp', {})), 'totp_enrolled',
   'it can\'t be enrolled over');
is(code(admin('first', 'POST', 'totp/confirm', { code => '123456' })),
   'totp_enrolled', 'nor confirmed again');
is(admin('first', 'GET', 'totp')->json->{recovery_codes_left}, 10,
   'its recovery codes are told');


# where a code is asked for

sub recovery {
    my ($who) = @_;
    return shift @{ $recovery{$who} } // die "no recovery code of $who left";
}

my %victim;
sub victim {
    my ($name) = @_;
    my $r = $t->admin('POST', 'keys', { client => 'victim', role => 'user' },
                      key => $key{plain});
    return $victim{$name} = $r->json->{id};
}

my @calls = (
    ['create', 'POST', sub { 'keys' }, { client => 'b', role => 'user' }, 201],
    ['rotate', 'POST', sub { "keys/$_[0]/rotate" }, {}, 200],
    ['change the role', 'PATCH', sub { "keys/$_[0]" },
     { role => 'operator' }, 200],
    ['change a limit', 'PATCH', sub { "keys/$_[0]" },
     { requests_per_minute => 5 }, 200],
    ['revoke', 'POST', sub { "keys/$_[0]/revoke" }, {}, 200],
    ['leak', 'POST', sub { "keys/$_[0]/leak" }, {}, 200],
    ['enrol another', 'POST', sub { 'totp' }, sub { { id => $_[0] } }, 201],
);

for my $call (@calls) {
    my ($name, $method, $path, $body, $good) = @$call;
    my $id = victim($name);
    my $show = sub {
        my $k = admin('plain', 'GET', "keys/$id")->json;
        delete $k->{usage};
        return encode_json($k);
    };
    my $before = $show->();
    my $of = ref $body eq 'CODE' ? $body->($id) : $body;

    $r = admin('first', $method, $path->($id), $of);
    is($r->{status}, 401, "$name: a code is needed") or diag($r->{body});
    is(code($r), 'totp_required', "$name: the error says so");
    $r = admin('first', $method, $path->($id), $of, totp => '');
    is(code($r), 'totp_required', "$name: an empty one is none");

    $r = admin('first', $method, $path->($id), $of,
               totp => wrong($app{first}));
    is($r->{status}, 401, "$name: a wrong code");
    is(code($r), 'totp_invalid', "$name: the error says so");
    is($show->(), $before, "$name: nothing has changed");

    my $recovery = recovery('first');
    $r = admin('first', $method, $path->($id), { %$of, unknown => 1 },
               totp => $recovery);
    is($r->{status}, 400, "$name: a wrong request uses no code up");
    $r = admin('first', $method, $path->($id), $of, totp => $recovery);
    is($r->{status}, $good, "$name: with a code") or diag($r->{body});
    $r = admin('first', $method, $path->($id), $of, totp => $recovery);
    is(code($r), 'totp_invalid', "$name: a recovery code works once");
}

is(admin('first', 'GET', 'totp')->json->{recovery_codes_left}, 3,
   'seven recovery codes are used up');
is(admin('first', 'GET', $_)->{status}, 200, "$_ needs none")
    for 'keys', "keys/$id{user}", 'changes', 'self', 'status';
is($t->get('/ping', key => $key{first})->{status}, 200,
   'nor do other locations');
is(admin('plain', 'POST', 'keys', { client => 'c', role => 'user' })
       ->{status}, 201, 'nor admins that have none');


# codes of the app

my $now = early();
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => totp($app{first}, $now));
is($r->{status}, 201, 'a code of the app') or diag($r->{body});
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => totp($app{first}, $now));
is(code($r), 'totp_invalid', 'works once');
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => totp($app{first}, $now - 30));
is(code($r), 'totp_invalid', 'one before it does not work then');
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => totp($app{first}, $now + 90));
is(code($r), 'totp_invalid', 'nor one that is not due yet');
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => join ' ', totp($app{first}, $now + 30) =~ /(...)(...)/);
is($r->{status}, 201, 'a clock may be a step ahead; spaces are fine')
    or diag($r->{body});

$r = admin('first', 'POST', 'totp/recovery', {}, totp => recovery('first'));
is($r->{status}, 200, 'new recovery codes') or diag($r->{body});
my $stale = recovery('first');
$recovery{first} = $r->json->{recovery_codes};
push @secret, @{ $recovery{first} };
is(scalar @{ $recovery{first} }, 10, 'ten of them');
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => $stale);
is(code($r), 'totp_invalid', 'the former ones are gone');
$r = admin('first', 'POST', 'keys', { client => 'd', role => 'user' },
           totp => uc(recovery('first')) =~ s/-//r);
is($r->{status}, 201, 'one in capitals, without its dash');

# one admin's code is not another's

enrol('second');
confirm('second');
$r = admin('second', 'POST', 'keys', { client => 'e', role => 'user' },
           totp => $recovery{first}[0]);
is(code($r), 'totp_invalid', 'a code of another admin');


# a user's own

$r = admin('user', 'POST', 'totp', { id => $id{first} });
is($r->{status}, 403, 'a user enrols nobody else');
$r = admin('user', 'DELETE', "totp/$id{second}");
is($r->{status}, 403, 'nor removes another\'s');
$r = admin('user', 'GET', "totp/$id{second}");
is($r->{status}, 403, 'nor sees it');
enrol('user');
confirm('user');
is($t->get('/ping', key => $key{user})->{status}, 200,
   'a user\'s calls need no code');
$r = admin('user', 'DELETE', 'totp');
is(code($r), 'totp_required', 'to remove it does');
$r = admin('user', 'DELETE', 'totp', undef, totp => recovery('user'));
is($r->{status}, 200, 'a user removes it') or diag($r->{body});
is(admin('user', 'GET', 'totp')->json->{state}, 'none', 'then it is gone');


# the lock

enrol('locked');
confirm('locked');

for my $n (1 .. 5) {
    $r = admin('locked', 'POST', 'keys', { client => 'f', role => 'user' },
               totp => wrong($app{locked}));
    is(code($r), 'totp_invalid', "failure $n of 5");
}

sub is_locked {
    my ($name) = @_;

    my $r = admin('locked', 'POST', 'keys', { client => 'f', role => 'user' },
                  totp => $recovery{locked}[0]);
    is($r->{status}, 429, "$name: locked") or diag($r->{body});
    is(code($r), 'totp_locked', "$name: the error says so");
    like($r->header('retry-after'), qr/^[1-9]\d?$/, "$name: Retry-After");
    cmp_ok($r->header('retry-after') || 99, '<=', 60,
           "$name: a minute at most");
}

is_locked('after five failures');
is(code(admin('locked', 'POST', 'keys', { client => 'f', role => 'user' },
              totp => totp($app{locked}, early()))), 'totp_locked',
   'for codes of the app, too');
is(code(admin('locked', 'DELETE', 'totp', undef,
              totp => $recovery{locked}[0])), 'totp_locked',
   'it can\'t be removed meanwhile');
$t->reload;
is_locked('after a reload');
$t->quit;
$t->start;
is_locked('after a restart');
my $k = admin('plain', 'GET', "totp/$id{locked}")->json;
is($k->{failures}, 5, 'admins see the failures');
like($k->{locked_until}, qr/^20/, 'and until when');
is(admin('locked', 'GET', 'totp')->json->{recovery_codes_left}, 10,
   'a lock uses no recovery code up');
is(admin('second', 'POST', 'keys', { client => 'g', role => 'user' },
         totp => recovery('second'))->{status}, 201, 'others go on');
$r = admin('plain', 'DELETE', "totp/$id{locked}");
is($r->{status}, 200, 'another admin can remove it') or diag($r->{body});
is(admin('locked', 'POST', 'keys', { client => 'f', role => 'user' })
       ->{status}, 201, 'then the key needs no code');


# one code at once from twenty connections

enrol('racer');
confirm('racer');

for my $name ('the app', 'recovery') {
    my $code = $name eq 'recovery' ? recovery('racer')
                                   : totp($app{racer}, early());
    my @c = map {
        $t->client(uri => '/admin/keys', method => 'POST', key => $key{racer},
                   body => { client => "race", role => 'user' },
                   headers => ["X-LLM-TOTP: $code"])
    } 1 .. 20;

    LLM::Client->pump(\@c, 40);
    my %count;
    $count{$_->{status}}++ for @c;
    is($count{201}, 1, "one code of $name, twenty times: one wins")
        or diag(encode_json(\%count));
    is(20 - ($count{201} // 0), ($count{401} // 0) + ($count{429} // 0),
       'the others do not');

    # the failures have locked it
    admin('plain', 'DELETE', "totp/$id{racer}");
    enrol('racer');
    confirm('racer');
}


# llmctl

sub llmctl {
    my ($command, @args) = @_;
    my %o = ref $args[-1] ? %{ pop @args } : ();
    return $t->llmctl(split(' ', $command), @args, $t->keys_options, '--json',
                      \%o);
}

# first, second and racer are enrolled
$r = llmctl('key create', '--client', 'h', '--role', 'user');
is($r->{code}, 5, 'llmctl: a code is needed');
is($r->{out}, '', 'and no key is made');
$r = llmctl('key create', '--client', 'h', '--role', 'user', '--as',
            $id{plain}, '--totp', '123456');
isnt($r->{code}, 0, 'of one who has a second factor');
$r = llmctl('key create', '--client', 'h', '--role', 'user', '--as',
            $id{second}, '--totp', wrong($app{second}));
is($r->{code}, 5, 'a wrong one');
$r = llmctl('key create', '--client', 'h', '--role', 'user', '--as',
            $id{second}, '--totp', $recovery{first}[0]);
is($r->{code}, 5, 'another\'s');
$r = llmctl('key create', '--client', 'h', '--role', 'user', '--as',
            $id{second}, '--totp', recovery('second'));
is($r->{code}, 0, 'the right one') or diag($r->{err});
my $made = decode_json($r->{out});
push @secret, $made->{key};
for my $call (['key rotate', $made->{id}], ['key update', $made->{id}, '--rpm',
               '5'], ['key leak', $made->{id}], ['key revoke', $made->{id}],
              ['secret rotate'], ['totp enrol', $id{plain}],
              ['totp remove', $id{racer}])
{
    my ($command, @args) = @$call;
    is(llmctl($command, @args, '--as', $id{second})->{code}, 5,
       "llmctl $command: a code is needed");
}
$r = llmctl('key revoke', $made->{id}, '--as', $id{second}, '--totp', '-',
            { stdin => recovery('second') . "\n" });
is($r->{code}, 0, 'a code on standard input') or diag($r->{err});
is(llmctl('key list')->{code}, 0, 'what only reads needs none');

$r = llmctl('totp enrol', $id{third}, '--as', $id{second}, '--totp',
            recovery('second'));
is($r->{code}, 0, 'llmctl enrols') or diag($r->{err});
my $e = decode_json($r->{out});
$app{third} = $e->{secret};
$recovery{third} = $e->{recovery_codes};
push @secret, $app{third}, @{ $recovery{third} };
$r = llmctl('totp confirm', $id{third}, '-',
            { stdin => totp($app{third}, early()) . "\n" });
is($r->{code}, 0, 'llmctl confirms') or diag($r->{err});
is(decode_json(llmctl('totp show', $id{third})->{out})->{state}, 'on',
   'llmctl shows it');
is(code(admin('third', 'POST', 'keys', { client => 'i', role => 'user' })),
   'totp_required', 'it counts in nginx at once');
is(admin('third', 'POST', 'keys', { client => 'i', role => 'user' },
         totp => recovery('third'))->{status}, 201, 'with its codes');
$r = llmctl('totp remove', $id{third}, '--as', $id{second}, '--totp',
            recovery('second'));
is($r->{code}, 0, 'llmctl removes it') or diag($r->{err});

# whoever has the secret can break the glass, not in silence

$r = llmctl('totp remove', $id{racer}, '--break-glass');
is($r->{code}, 0, 'llmctl totp remove --break-glass') or diag($r->{err});
like(llmctl('changes')->{out}, qr/break_glass/, 'it is in the changes');


# required of all

$t->reload($required);
$r = admin('plain', 'POST', 'keys', { client => 'j', role => 'user' });
is($r->{status}, 403, 'llm_totp required: no change without a second factor');
is(code($r), 'totp_required', 'the error says so');
is(admin('plain', 'GET', 'keys')->{status}, 200, 'reading goes on');
enrol('plain');
is(admin('plain', 'POST', 'keys', { client => 'j', role => 'user' })
       ->{status}, 403, 'enrolled is not confirmed');
confirm('plain');
is(admin('plain', 'POST', 'keys', { client => 'j', role => 'user' },
         totp => recovery('plain'))->{status}, 201, 'then it goes');


# who did what is known; what is secret is not

my @changes = map { $_->{action} } @{ admin('plain', 'GET',
    'changes?limit=1000')->json->{data} };
for my $action (qw(totp.enrol totp.confirm totp.recovery totp.lock
                   totp.remove))
{
    ok(scalar(grep { $_ eq $action } @changes), "changes: $action");
}

for my $file (sort glob($t->dir . '/*.log ' . $t->dir . '/store/*')) {
    my $text = slurp($file);
    my $found = grep { index($text, $_) >= 0 } @secret, values %key;
    is($found, 0, 'nothing secret in ' . $file =~ s{^.*/}{}r);
}

$t->done;
