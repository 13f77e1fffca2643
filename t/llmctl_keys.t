#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llmctl's administration, from outside: limits and scopes, rotation, the leak
# drill, second factors, parameters, versions of the secret, backup.

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha1);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/..');
my $llmctl = abs_path($ENV{LLM_BUILD} || "$top/build") . '/llmctl';
my $dir = tempdir('llmctl_XXXXXX', TMPDIR => 1, CLEANUP => 1);

plan(skip_all => "no $llmctl") if !-x $llmctl;

chmod 0755, $dir;
chdir $dir or die "$dir: $!";
umask 022;

my ($store, $secret) = ("$dir/store", "$dir/secret");
my @where = ('--store', $store, '--secret', "file:$secret");
my @keys;


# { code, out, err, json }; $o->{in} is its standard input
sub llmctl {
    my ($o, @args) = ref $_[0] ? @_ : ({}, @_);

    my $to = $o->{to} // "$dir/.out";
    spew("$dir/.in", $o->{in} // '');
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        open STDIN, '<', "$dir/.in";
        open STDOUT, '>', $to or POSIX::_exit(126);
        open STDERR, '>', "$dir/.err" or POSIX::_exit(126);
        exec $llmctl, @args or POSIX::_exit(127);
    }

    local $SIG{ALRM} = sub { kill 'KILL', $pid };
    alarm 60;
    waitpid $pid, 0;
    my $status = $?;
    alarm 0;

    my $r = { code => $status & 127 ? "signal $status" : $status >> 8,
              out => $o->{to} ? '' : slurp("$dir/.out"),
              err => slurp("$dir/.err") };
    $r->{json} = eval { decode_json($r->{out}) };
    push @keys, $r->{out} =~ /(sk-[0-9a-f]{72})/g;

    return $r;
}


sub slurp {
    my ($name) = @_;

    open my $f, '<:raw', $name or return '';
    local $/;
    return scalar(<$f>) // '';
}


sub spew {
    my ($name, $text) = @_;

    open my $f, '>:raw', $name or die "$name: $!";
    print $f $text;
    close $f;
}


sub fails {
    my ($code, $like, $name, @args) = @_;
    my $r = llmctl(@args);

    is($r->{code}, $code, $name) or diag($r->{out}, $r->{err});
    like($r->{err}, $like, "$name: the message");
    is($r->{out}, '', "$name: nothing else");

    return $r;
}


# the words of a command, then where, then the rest
sub run {
    my $o = ref $_[0] ? shift : {};
    my ($command, @args) = @_;

    return llmctl($o, split(/ /, $command), @where, @args);
}


sub done {
    my $r = run(@_);
    my ($command) = grep { !ref } @_;

    is($r->{code}, 0, $command) or diag($r->{out}, $r->{err});
    return $r;
}


sub refused {
    my ($code, $like, $name, $command, @args) = @_;

    return fails($code, $like, $name, split(/ /, $command), @where, @args);
}


is(llmctl('init', @where, '--size', '8m')->{code}, 0, 'init');


# limits and scopes

my @scopes = ('--models', 'demo,demo:x', '--addresses', '10.0.0.0/8,::1',
              '--rpm', 60, '--tpm', 1000, '--concurrent', 2,
              '--tokens-per-day', 5000, '--tokens-per-month', 90000);

my $k = done('key create', '--client', 'acme', '--role', 'user', @scopes,
             '--json')->{json};
is_deeply($k->{scopes}{models}, ['demo', 'demo:x'], 'models');
is($k->{scopes}{addresses}[0], '10.0.0.0/8', 'addresses');
is_deeply([@{$k->{scopes}}{qw(requests_per_minute tokens_per_minute concurrent
                              tokens_per_day tokens_per_month)}],
          [60, 1000, 2, 5000, 90000], 'limits');
is($k->{usage}, undef, 'never used');
my $id = $k->{id};

my $r = done('key show', $id);
like($r->{out}, qr/^models: +demo, demo:x$/m, 'shown: models');
like($r->{out}, qr/^from: +10\.0\.0\.0\/8, ::1/m, 'addresses');
like($r->{out}, qr/^limit: +60 requests a minute$/m, 'limits');

$k = done('key update', $id, '--rpm', 'none', '--models', 'none', '--tpm', 5,
          '--expires', '3d', '--json')->{json};
is($k->{scopes}{requests_per_minute}, undef, 'none removes a limit');
is($k->{scopes}{models}, undef, 'and a list');
is($k->{scopes}{tokens_per_minute}, 5, 'another one is set');
is($k->{scopes}{concurrent}, 2, 'the rest stays');

my @bad = (['--rpm', 'x'], ['--rpm', '-1'], ['--rpm', '0'], ['--rpm', ''],
           ['--tpm', '4294967296'], ['--concurrent', '1.5'],
           ['--models', ''], ['--models', 'a,'], ['--models', "\xff"],
           ['--addresses', '10.0.0.1/8'], ['--addresses', 'x'],
           ['--expires', 'never'], ['--expires', '91d'], ['--role', 'x']);

refused(2, qr/$_->[0]/, "key update @$_", 'key update', $id, @$_) for @bad;
refused(2, qr/nothing to change/, 'key update of nothing', 'key update', $id);
refused(2, qr/id is needed/, 'key update of no key', 'key update');
refused(3, qr/no such key/, 'key update of an unknown key', 'key update',
        'key_' . '0' x 24, '--rpm', 1);
refused(2, qr/not its id/, 'key update of a key', 'key update', $keys[0],
        '--rpm', 1);


# key list

done('key create', '--client', 'beta', '--role', 'admin');
done('key create', '--client', 'beta', '--role', 'operator', '--expires',
     '20d');
is(scalar @{done('key list', '--json')->{json}}, 3, 'all keys');
is_deeply([map { $_->{id} } @{done('key list', '--expiring', '--json')
                              ->{json}}], [$id], '--expiring');
is(scalar @{done('key list', '--expiring', '21d', '--json')->{json}}, 2,
   'within a time');
is(scalar @{done('key list', '--role', 'admin', '--json')->{json}}, 1,
   '--role');
my $page = done('key list', '--limit', 2, '--json')->{json};
is(scalar @$page, 2, '--limit');
is(scalar @{done('key list', '--after', $page->[1]{id}, '--json')->{json}}, 1,
   '--after');
is(scalar @{done('key list', '--status', 'revoked', '--json')->{json}}, 0,
   '--status');
refused(2, qr/--status/, 'an unknown status', 'key list', '--status', 'x');
refused(2, qr/--limit/, 'a limit of 0', 'key list', '--limit', 0);


# key rotate

my $old = $keys[0];
$r = done('key rotate', $id, '--idempotency-key', 'r1', '--json');
is($r->{json}{id}, $id, 'the id stays');
my $new = $r->{json}{key};
isnt($new, $old, 'the key is new');
ok($r->{json}{grace_until}, 'the old one has a grace');
ok(!$r->{json}{replayed}, 'a first time');
$r = done('key rotate', $id, '--idempotency-key', 'r1', '--json');
is($r->{json}{key}, $new, 'again: the same key');
ok($r->{json}{replayed}, 'replayed');
$r = done('key rotate', $id, '--grace', '0');
like($r->{out}, qr/old key is not valid any more/, 'without a grace');
like($r->{out}, qr/not shown again/, 'and a warning');
refused(2, qr/--grace/, 'a grace too long', 'key rotate', $id, '--grace',
        '8d');
refused(3, qr/no such key/, 'an unknown key', 'key rotate',
        'key_' . '0' x 24);

SKIP: {
    skip 'no /dev/full', 3 if !-c '/dev/full';

    $r = run({ to => '/dev/full' }, 'key rotate', $id, '--idempotency-key',
             'r2');
    is($r->{code}, 1, 'a new key that could not be printed');
    like($r->{err}, qr/idempotency-key/, 'says how it is got again');
    ok(done('key rotate', $id, '--idempotency-key', 'r2', '--json')
       ->{json}{replayed}, 'and so it is');
}


# key leak

$r = done({ in => "$keys[-1]\n" }, 'key leak', '-', '--reason', 'on a wall',
          '--json');
is($r->{json}{leaked}{id}, $id, 'found by the key itself');
is($r->{json}{leaked}{status}, 'revoked', 'revoked');
like($r->{json}{successor}{key}, qr/^sk-/, 'its successor');
is($r->{json}{successor}{client}, 'acme', 'of the same client');
is($r->{json}{successor}{scopes}{concurrent}, 2, 'and limits');
is($r->{json}{report}{calls}, 0, 'no calls');
my $next = $r->{json}{successor}{id};

$r = done('key leak', $id);
like($r->{out}, qr/revoked before/, 'again: no second successor');
$r = done({ in => "$next\n" }, 'key leak', '-');
like($r->{out}, qr/^\Q$next\E of acme is revoked/, 'by an id');
like($r->{out}, qr/^key: +sk-/m, 'with a new key');
$next = ($r->{out} =~ /^id: +(key_\w+)$/m)[0];
is(run({ in => "sk-x\n" }, 'key leak', '-')->{code}, 3, 'a key that is none');
is(run({ in => "" }, 'key leak', '-')->{code}, 2, 'nothing on stdin');
refused(2, qr/not its id/, 'a key as an argument', 'key leak', $keys[0]);

SKIP: {
    skip 'no /dev/full', 2 if !-c '/dev/full';

    $r = run({ to => '/dev/full' }, 'key leak', $next);
    is($r->{code}, 1, 'a successor that could not be printed');
    like($r->{err}, qr/is revoked/, 'is revoked');
}


# a second factor

my $admin = done('key list', '--role', 'admin', '--json')->{json}[0]{id};
my $user = done('key create', '--client', 'u', '--role', 'user', '--json')
           ->{json}{id};

refused(3, qr/no second factor/, 'nothing to remove', 'totp remove', $admin);
like(done('totp show', $admin)->{out}, qr/^state: +none$/m, 'none');
my $e = done('totp enrol', $admin, '--json')->{json};
is($e->{state}, 'pending', 'pending');
is(scalar @{$e->{recovery_codes}}, 10, 'ten recovery codes');
done('key update', $user, '--rpm', 9);
$e = done('totp enrol', $admin, '--qr');
like($e->{out}, qr/totp confirm \Q$admin\E CODE/, 'how to confirm it');
like($e->{out}, qr/\xe2\x96/, 'a QR code');
my ($base32) = $e->{out} =~ /^secret: +([A-Z2-7]+)$/m;
my @recovery = $e->{out} =~ /^  (\w{5}-\w{5})$/mg;
is(scalar @recovery, 10, 'recovery codes');

# codes for one step before, now, and one after are good, each once

sub code {
    my ($step) = @_;

    my $bits = join '', map {
        sprintf '%05b', index 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_
    } split //, $base32;
    my $mac = hmac_sha1(pack('Q>', int(time / 30) + $step),
                        pack('B*', $bits));
    my $at = ord(substr $mac, 19) & 15;

    return sprintf '%06d',
           (unpack('N', substr $mac, $at, 4) & 0x7fffffff) % 1000000;
}

refused(5, qr/wrong/, 'a wrong first code', 'totp confirm', $admin, 'x');
refused(2, qr/code is needed/, 'no code', 'totp confirm', $admin);
sleep 3 if time % 30 > 26;
$r = done({ in => code(-1) . "\n" }, 'totp confirm', $admin, '-');
like($r->{out}, qr/^state: +on$/m, 'on');
refused(4, qr/has a second factor/, 'enrolled already', 'totp enrol', $admin);

refused(5, qr/--totp/, "$_ without a code", split /,/)
    for ("key revoke,$user", "key update,$user,--rpm,1", "key rotate,$user",
         "key leak,$user", "totp remove,$admin", "totp recovery,$admin",
         "totp enrol,$user", 'secret rotate',
         'key create,--client,a,--role,user');

refused(5, qr/wrong/, 'a wrong code', 'key revoke', $user, '--totp',
        'zzzzz-zzzzz');
is(done('key show', $user, '--json')->{json}{status}, 'active',
   'nothing was done');
done('key update', $user, '--rpm', 1, '--totp', $recovery[0]);
refused(5, qr/wrong/, 'a recovery code once more', 'key revoke', $user,
        '--totp', $recovery[0]);
done({ in => "$recovery[1]\n" }, 'key update', $user, '--rpm', 2, '--totp',
     '-', '--as', $admin);
refused(5, qr/no admin/, "another's code", 'key revoke', $user, '--totp',
        $recovery[2], '--as', $user);

my $code = code(1);
$r = done('key revoke', $user, '--totp', $code);
like($r->{out}, qr/^status: +revoked$/m, 'revoked, with a code of the app');
refused(5, qr/used/, 'the code once more', 'key revoke', $user, '--totp',
        $code);

$r = done('totp recovery', $admin, '--totp', $recovery[3]);
@recovery = $r->{out} =~ /^  (\w{5}-\w{5})$/mg;
is(scalar @recovery, 10, 'new recovery codes');

refused(5, qr/wrong/, "failure $_", 'key revoke', $user, '--totp', '!')
    for 1 .. 5;
refused(5, qr/locked/, 'then it is locked', 'key revoke', $user, '--totp',
        $recovery[0]);
like(done('totp show', $admin)->{out}, qr/^locked: /m, 'and shown so');

fails(3, qr/\Q$dir\E\/none/, 'breaking the glass needs the secret', 'totp',
      'remove', $admin, '--break-glass', '--store', $store, '--secret',
      "$dir/none");
done('totp remove', $admin, '--break-glass');
like(done('changes')->{out}, qr/llmctl:\S+ +totp\.break_glass +\Q$admin\E/,
     'is in the log');
done('key update', $admin, '--rpm', 1);


# parameters and the log

done('params set', 'demo', 'max_batch=8', 'temperature=0.5');
$r = done('params show', 'demo', '--json')->{json};
is($r->{params}{max_batch}, 8, 'a parameter');
is($r->{params}{temperature}, 0.5, 'another one');
is($r->{params}{top_k}, undef, 'one that is not set');
done('params set', 'demo', 'max_batch=none');
like(done('params show', 'demo')->{out}, qr/^max_batch +-$/m, 'unset');
refused(2, qr/max_batch/, "params set $_", 'params set', 'demo', $_)
    for ('max_batch=0', 'max_batch=1.5', 'max_batch=99999');
refused(2, qr/nonsense: There is no such/, 'an unknown parameter',
        'params set', 'demo', 'nonsense=1');
refused(2, qr/NAME=VALUE/, 'no value', 'params set', 'demo', 'max_batch');
refused(2, qr/NAME=VALUE/, 'nothing', 'params set', 'demo');
refused(2, qr/a number, or none/, 'no number', 'params set', 'demo',
        'top_k="1"');
refused(2, qr/engine's name/, 'no engine', 'params show');

$r = done('changes', '--limit', 1, '--json')->{json};
is($r->[0]{target}, 'demo', 'the last change');
like($r->[0]{actor}, qr/^llmctl:/, 'by whom');
my $first = $r->[0]{number};
is(done('changes', '--before', $first, '--limit', 1, '--json')
   ->{json}[0]{number}, $first - 1, 'and the one before');


# versions of the secret

is(done('secret show', '--json')->{json}[0]{version}, 1, 'version 1');
refused(1, qr/current/, 'it is in use', 'secret retire', 1);
refused(3, qr/no such version/, 'an unknown one', 'secret retire', 2);
refused(2, qr/number/, 'none', 'secret retire', 'x');
$r = done('secret rotate');
like($r->{out}, qr/Reload nginx/, 'what is left to do');
ok(-f "$secret.v2", 'version 2 is there');
refused(1, qr/not active yet/, 'one at a time', 'secret rotate');
like(done('secret show')->{out}, qr/^ +2 +pending +0$/m, 'pending');


# backup and restore

my $count = @{done('key list', '--json')->{json}};
done('backup', "$dir/copy");
ok(-f "$dir/copy/data.mdb" && -f "$dir/copy/calls.mdb", 'both halves');
refused(4, qr/exists/, 'never overwritten', 'backup', "$dir/copy");
refused(2, qr/directory/, 'no directory', 'backup');

my @new = ('--store', "$dir/restored");
is(llmctl('restore', '--from', "$dir/copy", @new)->{code}, 0, 'restore');
fails(4, qr/exists/, 'restore over a store', 'restore', '--from',
      "$dir/copy", @new);
fails(2, qr/--from/, 'restore of nothing', 'restore', @new);
is(scalar @{llmctl('key', 'list', @new, '--json')->{json}}, $count,
   'it has all keys');

spew("$dir/copy/data.mdb", substr slurp("$dir/copy/data.mdb"), 0, 9000);
fails(1, qr/./, 'a damaged backup', 'restore', '--from', "$dir/copy",
      '--store', "$dir/other");
ok(!-e "$dir/other/data.mdb", 'makes no store');

SKIP: {
    skip 'needs root and the user nobody', 5 if $> != 0 || !getpwnam 'nobody';

    my $uid = (getpwnam 'nobody')[2];
    my @other = ('--store', "$dir/owned", '--secret', "$dir/rootkey");

    llmctl('init', @other, '--owner', 'nobody');
    mkdir "$dir/vault", 0700;
    is(llmctl('backup', "$dir/vault/b", @other)->{code}, 0,
       "root copies where the store's owner may not");
    is((stat "$dir/owned/calls.mdb")[4], $uid, 'calls.mdb is its owner\'s');
    is(llmctl('secret', 'rotate', @other)->{code}, 0, 'and makes a version');
    is((stat "$dir/rootkey.v2")[4], 0, "which is root's");
    llmctl('restore', '--from', "$dir/vault/b", '--store', "$dir/given",
           '--owner', 'nobody');
    is(join(' ', map { (stat "$dir/given$_")[4] } '', '/data.mdb',
            '/calls.mdb'), "$uid $uid $uid", 'a restored store given away');
}


# what is stored tells no key, no code

my $data = slurp("$store/data.mdb") . slurp("$store/calls.mdb");
my @parts = map { my $key = $_; map { substr $key, $_, 8 } 3 .. 67 } @keys;
ok(@keys > 5, 'there were keys');
is((grep { index($data, $_) >= 0 } @parts), 0, 'and no part of them');
is((grep { index($data, $_) >= 0 } $base32, @recovery), 0,
   'nor of a second factor');


done_testing();
