#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Attacks on the second factor: a code that was seen is used again, in its own
# window and from many sides at once; codes are guessed, by HTTP and llmctl,
# with one key or several; a lock is waited out by a restart, kill -9, or the
# removal of the enrolment.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Totp;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my ($second, $second_id) = $t->key(client => 'deputy', role => 'admin');
my ($user, $user_id) = $t->key(client => 'acme', role => 'user');

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END


sub enrol {
    my ($key) = @_;

    my $o = $t->admin('POST', 'totp', {}, key => $key)->json;
    my $r = $t->admin('POST', 'totp/confirm',
                      { code => LLM::Totp::code($o->{secret}, -1) },
                      key => $key);
    is($r->{status}, 200, 'an enrolment') or diag($r->{body});

    return $o;
}

sub create {
    my ($key, $code) = @_;
    return $t->admin('POST', 'keys', { client => 'new', role => 'user' },
                     key => $key, totp => $code);
}

sub code { return eval { $_[0]->json->{error}{code} } // '' }

my $mine = enrol($admin);
my $theirs = enrol($second);


# A code is good once.  At the end of its window the next is taken: the step of
# the test stays one for all of it.

my $now = time;
my $seen = LLM::Totp::code($mine->{secret}, 0, $now);

my $r = create($admin, $seen);
is($r->{status}, 201, 'a code') or diag($r->{body});
is(code(create($admin, $seen)), 'totp_invalid', 'the same code again');
is(code(create($admin, LLM::Totp::code($mine->{secret}, -1, $now))),
   'totp_invalid', 'one from before it');
is(code(create($second, $seen)), 'totp_invalid', 'another\'s code');
$r = $t->admin('DELETE', 'totp', {}, key => $admin, totp => $seen);
is(code($r), 'totp_invalid', 'nor for another call');

# a client that sends each request twice locks nobody out: only the older code
# above was a failure

create($admin, $seen) for 1 .. 10;
is($t->admin('GET', 'totp', undef, key => $admin)->json->{failures}, 1,
   'the last code again is no failure');

# many at once, in two workers: one gets in

my $next = LLM::Totp::code($theirs->{secret}, 1, $now);
my @crowd = map { $t->client(uri => '/admin/keys', key => $second,
    body => { client => 'crowd', role => 'user' }, method => 'POST',
    headers => ["X-LLM-TOTP: $next"]) } 1 .. 20;
LLM::Client->pump(\@crowd, 20);
is((grep { $_->{status} == 201 } @crowd), 1, 'one of 20 at once gets in');

my $recovery = $mine->{recovery_codes}[0];
@crowd = map { $t->client(uri => '/admin/keys', key => $admin,
    body => { client => 'crowd', role => 'user' }, method => 'POST',
    headers => ["X-LLM-TOTP: $recovery"]) } 1 .. 4;
LLM::Client->pump(\@crowd, 20);
is((grep { $_->{status} == 201 } @crowd), 1,
   'a recovery code is good once, at once too');


# Guesses.  A good code sets the count back; then the 5th locks.

my ($third, $third_id) = $t->key(client => 'third', role => 'admin',
    args => ['--totp', $mine->{recovery_codes}[1], '--as', $admin_id]);
my $o = enrol($third);

my %bad = map { $_ => 1 } map { LLM::Totp::code($o->{secret}, $_) } -2 .. 4;
my @guess = grep { !$bad{$_} } map { sprintf '%06d', $_ * 7919 } 1 .. 40;
my @shapes = ('', '0', '12345', '1234567', '123456 1', '999999999999999',
              '-00001', '+12345', "12345\xd9\xa0", 'abcdef', '1' x 60,
              '1' x 5000, '%s%s%n', "' OR 1=1");

like(code(create($third, $_)), qr/^totp_(invalid|required|locked)$/,
     'shaped like ' . substr $_, 0, 20) for @shapes[0 .. 2];

my ($tries, %status) = (0);

for my $guess (@guess) {
    $r = create($third, $guess);
    $status{code($r)}++;
    $tries++;
    last if $r->{status} == 429;
}

cmp_ok($tries, '<=', 6, "$tries guesses, then it is locked");
is(code($r), 'totp_locked', 'with a code');
cmp_ok($r->header('retry-after'), '>', 30, 'and when to come back');
ok(!$status{''}, 'no guess got in');

is(code(create($third, LLM::Totp::code($o->{secret}))), 'totp_locked',
   'the right code is refused too');
is(code(create($third, $o->{recovery_codes}[0])), 'totp_locked',
   'and a recovery code');
like(code(create($third, $_)), qr/^totp_(locked|required)$/, 'still locked')
    for @shapes;

$r = $t->llmctl('key', 'create', $t->keys_options, '--client', 'a', '--role',
                'user', '--as', $third_id, '--totp',
                LLM::Totp::code($o->{secret}));
is($r->{code}, 5, 'llmctl knows of the lock') or diag($r->{err});
like($r->{err}, qr/--as .*--break-glass/, 'and of ways past it');

my $info = sub {
    return $t->admin('GET', 'totp', undef, key => $third)->json;
};
my $locked = $info->()->{locked_until} // '';
like($locked, qr/^20/, 'which can be seen');


# what does not open it

sub is_locked {
    my ($what) = @_;
    is(code(create($third, LLM::Totp::code($o->{secret}, 1))), 'totp_locked',
       "$what does not open it");
    is($info->()->{locked_until} // '', $locked, "$what: for as long");
}

$t->reload;
is_locked('a reload');
$t->kill_role('worker', $_) for 0, 0;
wait_for { $t->pids('worker') == 2 };
is_locked('kill -9');
$t->quit;
$t->start;
is_locked('a restart');
$r = $t->admin('POST', 'totp', {}, key => $third);
isnt($r->{status}, 201, 'nor is it enrolled again');
is_locked('an enrolment');
$r = $t->admin('POST', 'totp/confirm',
               { code => LLM::Totp::code($o->{secret}) }, key => $third);
isnt($r->{status}, 200, 'nor confirmed again');
is_locked('a confirmation');
$r = $t->admin('DELETE', 'totp', {}, key => $third,
               totp => LLM::Totp::code($o->{secret}));
is(code($r), 'totp_locked', 'nor removed');
$r = $t->admin('POST', "keys/$third_id/rotate", {}, key => $admin,
               totp => $mine->{recovery_codes}[3]);
is($r->{status}, 200, 'another admin rotates the key') or diag($r->{body});
$third = $r->json->{key};
is_locked('a rotation');


# who may not: a user's key enrols itself only, and takes none away

$r = $t->admin('DELETE', "totp/$admin_id", {}, key => $user);
is($r->{status}, 403, 'a user removes an admin\'s');
$r = $t->admin('POST', 'totp', { id => $admin_id }, key => $user);
is($r->{status}, 403, 'a user enrols an admin');
$r = $t->admin('GET', "totp/$admin_id", undef, key => $user);
is($r->{status}, 403, 'a user sees an admin\'s');

# a revoked key's code is worth nothing

$r = $t->admin('POST', "keys/$second_id/revoke", {}, key => $admin,
               totp => $mine->{recovery_codes}[2]);
is($r->{status}, 200, 'an admin is revoked');
$r = $t->llmctl('key', 'create', $t->keys_options, '--client', 'a', '--role',
                'user', '--as', $second_id, '--totp',
                $theirs->{recovery_codes}[3]);
isnt($r->{code}, 0, 'its code makes no key') or diag($r->{out});


# the answers tell nothing of the secret

unlike($t->error_log, qr/\Q$_\E/, 'no secret in the log')
    for $mine->{secret}, $o->{secret}, $mine->{recovery_codes}[0];

$t->done;
