#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The audit trail from outside: llmctl's changes are in it, before they are
# made; queries, look-ups, exports, the proof with and without the secret,
# what is refused when the trail can't be written.

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/..');
my $llmctl = abs_path($ENV{LLM_BUILD} || "$top/build") . '/llmctl';
my $dir = tempdir('llmctl_XXXXXX', TMPDIR => 1, CLEANUP => 1);

plan(skip_all => "no $llmctl") if !-x $llmctl;

chdir $dir or die "$dir: $!";
umask 022;

my ($store, $secret) = ("$dir/store", "$dir/secret");
my @where = ('--store', $store, '--secret', "file:$secret");
my @blind = ('--store', $store, '--secret', "file:$dir/none");
my @keys;


# { code, out, err, json, lines }; $o->{in} is its standard input
sub llmctl {
    my ($o, @args) = ref $_[0] ? @_ : ({}, @_);

    spew("$dir/.in", $o->{in} // '');
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        open STDIN, '<', "$dir/.in";
        open STDOUT, '>', "$dir/.out" or POSIX::_exit(126);
        open STDERR, '>', "$dir/.err" or POSIX::_exit(126);
        exec $llmctl, @args or POSIX::_exit(127);
    }

    local $SIG{ALRM} = sub { kill 'KILL', $pid };
    alarm 60;
    waitpid $pid, 0;
    my $status = $?;
    alarm 0;

    my $r = { code => $status & 127 ? "signal $status" : $status >> 8,
              out => slurp("$dir/.out"), err => slurp("$dir/.err") };
    $r->{json} = eval { decode_json($r->{out}) };
    $r->{lines} = [map { eval { decode_json($_) } || {} }
                   split /\n/, $r->{out}];
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
    my $r = run($command, @args);

    is($r->{code}, $code, $name) or diag($r->{out}, $r->{err});
    like($r->{err}, $like, "$name: the message");

    return $r;
}


sub query {
    return done('audit query', '--json', @_)->{lines};
}


is(llmctl('init', @where, '--size', '8m')->{code}, 0, 'init');
refused(3, qr/audit/, 'no trail yet', 'audit query');


# changes are in the trail, readings are not

my $k = done('key create', '--client', 'acme', '--role', 'user', '--json')
    ->{json};
my $id = $k->{id};
done('key list');
done('key update', $id, '--rpm', 5);
my $new = done('key rotate', $id, '--json')->{json}{key};
done('params set', 'demo', 'max_batch=8');
done('totp enrol', $id, '--json');
run('key update', 'key_' . '0' x 24, '--rpm', 5);
my $leak = done('key leak', $id, '--reason', 'printed', '--json')->{json};
done('key revoke', $leak->{successor}{id});
done('secret rotate');

my $all = query();
is_deeply([map { $_->{path} } reverse @$all],
          ['/admin/keys', "/admin/keys/$id", "/admin/keys/$id/rotate",
           '/admin/params/demo', '/admin/totp',
           '/admin/keys/key_' . '0' x 24, "/admin/keys/$id/leak",
           "/admin/keys/$leak->{successor}{id}/revoke",
           '/admin/secret/rotate'], 'all changes, and no reading');
is_deeply([map { $_->{status} } reverse @$all],
          [201, 200, 200, 200, 201, 404, 200, 200, 201],
          'what came of them') or diag(explain([map { $_->{status} } @$all]));
is($all->[3]{error_code}, 'key_not_found', 'and why');
is(scalar(grep { $_->{method} ne 'LLMCTL' || !$_->{action}
                 || $_->{client} !~ /^llmctl:/ || $_->{unfinished} } @$all),
   0, 'by whom');
like($all->[0]{user_agent}, qr/^llmctl\/\S+ POST \(secret rotate\)$/, 'how');
like($all->[0]{request}, qr/^[0-9a-f]{32}$/, 'each has an id');

my $trail = slurp("$store/audit.mdb");
is(scalar(grep { index($trail, $_) >= 0 } @keys, 'printed'), 0,
   'no key and no body is in the trail');


# queries

is(scalar @{query('--limit', 2)}, 2, '--limit');
my $r = done('audit query', '--limit', 2);
like($r->{err}, qr/--before (\d+)/, 'where to go on');
my ($before) = $r->{err} =~ /--before (\d+)/;
is(query('--before', $before)->[0]{number}, $all->[2]{number}, '--before');
is(query('--oldest', '--limit', 1)->[0]{path}, '/admin/keys', '--oldest');
is(scalar @{query('--path', "/admin/keys/$id/")}, 2, '--path');
is(scalar @{query('--status', 404)}, 1, '--status');
is(scalar @{query('--status', '2xx')}, 8, 'a class');
is(scalar @{query('--since', '1h')}, 9, '--since');
is(scalar @{query('--until', '1h')}, 0, '--until');
is(scalar @{query('--since', '2026-01-01', '--until', '2026-01-02')}, 0,
   'days');
is(scalar @{query('--since', $all->[0]{time})}, 1, 'a time as it was printed');
is(scalar @{query('--request', $all->[4]{request})}, 1, '--request');
is(scalar @{query('--actions')}, 9, '--actions');
is(scalar @{query('--unfinished')}, 0, '--unfinished');
is(scalar @{query('--client', $all->[0]{client})}, 9, '--client');
is(scalar @{query('--key', $id)}, 0, '--key: who called, not what about');
is(scalar @{query('--address', '0.0.0.0/0')}, 0, '--address');
is(scalar @{query('--model', 'demo')}, 0, '--model');

refused(2, qr/$_->[0]/, "@$_", 'audit query', @$_)
    for ['--status', 'x'], ['--status', '99'], ['--status', '600'],
        ['--since', 'x'], ['--since', '2026-02-30'], ['--until', ''],
        ['--limit', '-1'], ['--before', 'x'], ['--address', '10.0.0.1/8'],
        ['--request', 'XYZ'];
refused(2, qr/not its id/, 'a key in place of its id', 'audit query', '--key',
        $keys[0]);
is(llmctl('audit', 'query', @blind, '--json')->{code}, 0,
   'without the secret');

$r = done('audit query');
like($r->{out}, qr/^ *NUMBER +TIME.*\n *\d+  2\d{3}-\d\d-\d\dT/,
     'a table for people');


# export: the chain, made again

my $lines = done('audit export')->{lines};
my ($previous, $wrong) = ('0' x 64, 0);

for my $l (@$lines) {
    $wrong++ if $l->{previous} ne $previous;
    $previous = $l->{hash};
    $wrong++ if $previous
        ne sha256_hex(pack('Q>', $l->{number}), pack('H*', $l->{record}));
}

ok(@$lines > 18 && !$wrong, 'export: the chain can be made again');
is((() = grep { $_->{record} !~ /^.{64}$_->{previous}/ } @$lines), 0,
   'which is in the record itself');
is(scalar(grep { $_->{type} eq 'open' } @$lines), 9, 'opening records');
is(scalar @{done('audit export', '--calls')->{lines}}, 9, '--calls');
is(scalar @{done('audit export', '--until', '1h')->{lines}}, 0, '--until');
refused(2, qr/--since/, 'a wrong time', 'audit export', '--since', 'x');


# outside, by what the documentation has for it

my @check = slurp("$top/docs/operations.md") =~ /^```sh\n(python3 .*?)^```/msg;
is(scalar @check, 2, 'two checks are documented');

SKIP: {
    skip('no python3 or openssl', 5)
        if grep { system("command -v $_ >/dev/null") } qw(python3 openssl);

    my $jsonl = done('audit export')->{out};
    spew("$dir/2026-10.jsonl", $jsonl);
    my ($export) = grep { /jsonl/ } @check;
    like(qx({ $export } 2>&1), qr/^whole, up to \d+ $previous$/,
         'the documented check of an export');
    my ($victim) = $lines->[5]{record} =~ /(.{8})$/;
    spew("$dir/2026-10.jsonl", $jsonl =~ s/\Q$victim\E"/00000000"/r);
    like(qx({ $export } 2>&1), qr/^record 6 was changed$/, 'finds a change');
    spew("$dir/2026-10.jsonl", $jsonl =~ s/^[^\n]*"number":7,[^\n]*\n//mr);
    like(qx({ $export } 2>&1), qr/^record 8 does not follow 6$/, 'and a hole');

    my $one = done('audit checkpoint')->{out};
    spew("$dir/checkpoint.json", $one);
    my ($sig) = grep { /checkpoint\.json/ } @check;
    like(qx(cd $dir && { $sig } 2>&1), qr/Verified Successfully/,
         'the documented check of a checkpoint');
    spew("$dir/checkpoint.json", $one =~ s/("hash": ?")..../${1}0000/r);
    like(qx(cd $dir && { $sig } 2>&1), qr/Verification Failure/,
         'fails for another hash');
}


# look-up

$r = run({ in => "a text\n" }, 'audit lookup');
is($r->{code}, 3, 'a text that nobody used');
refused(2, qr/bytes/, 'no text', 'audit lookup');
refused(1, qr/file/, 'no file', 'audit lookup', "$dir/none");


# checkpoints, keys

$r = done('audit checkpoint');
my $kept = $r->{json};
spew("$dir/kept.json", $r->{out});
is(length $kept->{signature}, 128, 'a signature');
is($kept->{number}, $lines->[-1]{number} || 0,
   'of all that there was');
my $public = done('audit keys', '--json')->{json};
is($public->[-1]{public_key}, $kept->{public_key}, 'audit keys: the same key');
like(done('audit keys')->{out}, qr/$kept->{public_key}/, 'as a table');


# the proof

$r = done('audit verify', '--checkpoint', "$dir/kept.json");
like($r->{out}, qr/The trail is whole/, 'it is whole');
$r = done('audit verify', '--json')->{json};
ok($r->{whole} && $r->{calls} == 9 && !@{$r->{findings}}, 'as JSON');
$r = run({ in => slurp("$dir/kept.json") }, 'audit verify', '--checkpoint',
         '-');
is($r->{code}, 0, 'the checkpoint from standard input');

$r = llmctl('audit', 'verify', @blind);
like($r->{out}, qr/Nothing proves it.*--public-key/s,
     'without the secret and a key nothing is proven');
is(llmctl('audit', 'verify', @blind, '--json')->{json}{proven_by}, 'nothing',
   'as JSON');
$r = llmctl('audit', 'verify', @blind, '--public-key', $kept->{public_key});
like($r->{out}, qr/^Whole, as far as/m, 'with a key it is');
is($r->{code}, 0, 'without the secret, by the public key')
    or diag($r->{out}, $r->{err});
$r = llmctl('audit', 'verify', @blind, '--public-key', '0' x 64);
is($r->{code}, 1, 'by another one');
like($r->{out}, qr/forged/, 'it is not signed by that');
$r = llmctl('audit', 'verify', @blind, '--checkpoint', "$dir/kept.json");
is($r->{code}, 0, 'by a checkpoint that was kept');

refused(2, qr/public-key/, 'no public key', 'audit verify', '--public-key',
        'x');
spew("$dir/bad.json", '{"number": 1}');
refused(2, qr/checkpoint/, 'no checkpoint', 'audit verify', '--checkpoint',
        "$dir/bad.json");
refused(3, qr/checkpoint/, 'no file', 'audit verify', '--checkpoint',
        "$dir/none");
refused(2, qr/option/, 'an unknown option', 'audit verify', '--x');
is(llmctl('audit', 'verify', '--store', "$dir/nowhere", '--secret',
          "file:$secret")->{code}, 3, 'no store: it could not');


# an older file put back; audit.head says so

copy("$store/audit.mdb", "$dir/old.mdb");
done('params set', 'demo', 'max_batch=9');
copy("$store/audit.mdb", "$dir/now.mdb");
copy("$dir/old.mdb", "$store/audit.mdb");
$r = run('audit verify', '--json');
is($r->{code}, 1, 'an older audit.mdb put back is found');
is($r->{json}{findings}[0]{fault}, 'truncated', 'as what it is');
is($r->{json}{findings}[0]{number}, $r->{json}{last} + 1, 'and where');
ok($r->{json}{findings}[0]{last_good}, 'and until when it was good');

refused(1, qr/nothing is changed.*audit trail/, 'a change is refused',
        'key create', '--client', 'x', '--role', 'user');
refused(1, qr/nothing is changed/, 'params too', 'params set', 'demo',
        'max_batch=10');
unlike(done('key list', '--json')->{out}, qr/"client": ?"x"/,
       'nothing was changed');

# a revocation is urgent

$k = done('key list', '--json', '--limit', 1)->{json};
copy("$dir/now.mdb", "$store/audit.mdb");
$k = done('key create', '--client', 'late', '--role', 'user', '--json')
    ->{json};
my $late = done('key create', '--client', 'later', '--role', 'user', '--json')
    ->{json};
copy("$dir/old.mdb", "$store/audit.mdb");
$r = done('key revoke', $k->{id});
like($r->{err}, qr/not in the audit trail/, 'a revocation goes on, and warns');
like(done('key show', $k->{id})->{out}, qr/revoked/, 'it is revoked');
$r = done('key leak', $late->{id});
like($r->{err}, qr/not in the audit trail/, 'a leak drill too');


# renewed

done('audit renew');
$r = done('audit verify', '--json')->{json};
ok($r->{whole}, 'a new trail is whole');
ok(-e "$store/audit.mdb" && glob("$store/audit-lost-*"),
   'the old one is kept aside');
$lines = done('audit export')->{lines};
is($lines->[0]{type}, 'start', 'its first record');
ok($lines->[0]{lost_number} > 0, 'says where the old one ended');
done('params set', 'demo', 'max_batch=11');
is(scalar @{query()}, 1, 'and changes go on');

unlink "$store/audit.mdb", "$store/audit.mdb-lock";
$r = run('audit verify');
is($r->{code}, 1, 'a removed audit.mdb is a finding');
like($r->{out}, qr/lost/, 'it is lost');
refused(1, qr/nothing is changed/, 'no change', 'params set', 'demo',
        'max_batch=12');
done('audit renew');
unlink "$store/audit.head";
$r = run('audit verify');
is($r->{code}, 1, 'a removed audit.head is a finding');
like($r->{out}, qr/lost/, 'it is lost');
done('audit renew');


# pruned

refused(2, qr/--keep/, 'prune without a time', 'audit prune');
is(done('audit prune', '--keep', '1d', '--json')->{json}{dropped}, 0,
   'nothing is so old');
is(run('audit verify')->{code}, 0, 'whole still');

is(scalar(grep { $_ && index(slurp("$dir/.err"), $_) >= 0 } @keys), 0,
   'no key on stderr');

done_testing();
