#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llmctl init and the key commands, from outside: output, exit codes, what is
# made and what is left behind.

use strict;
use warnings;

use Cwd qw(abs_path);
use Fcntl qw(:mode);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
use POSIX qw(strftime);
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/..');
my $llmctl = abs_path($ENV{LLM_BUILD} || "$top/build") . '/llmctl';
my $dir = tempdir('llmctl_XXXXXX', TMPDIR => 1, CLEANUP => 1);

plan(skip_all => "no $llmctl") if !-x $llmctl;

chmod 0755, $dir;
chdir $dir or die "$dir: $!";
umask 022;

my @keys;


# { code, signal, out, err }; out goes to the file $o{to} instead
sub llmctl {
    my ($o, @args) = ref $_[0] ? @_ : ({}, @_);

    my $to = $o->{to} // "$dir/.out";
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $to or POSIX::_exit(126);
        open STDERR, '>', "$dir/.err" or POSIX::_exit(126);
        umask $o->{umask} if defined $o->{umask};
        $ENV{TZ} = 'Asia/Tokyo';
        exec $llmctl, @args or POSIX::_exit(127);
    }

    local $SIG{ALRM} = sub { kill 'KILL', $pid };
    alarm 60;
    waitpid $pid, 0;
    my $status = $?;
    alarm 0;

    return { code => $status >> 8, signal => $status & 127,
             out => $o->{to} ? '' : slurp("$dir/.out"),
             err => slurp("$dir/.err") };
}


sub slurp {
    my ($name) = @_;

    open my $f, '<:raw', $name or return '';
    local $/;
    return scalar(<$f>) // '';
}


sub spew {
    my ($name, $text, $mode) = @_;

    unlink $name;
    open my $f, '>:raw', $name or die "$name: $!";
    print $f $text;
    close $f;
    chmod $mode // 0600, $name;
}


sub mode {
    my ($name) = @_;
    my @stat = lstat $name or return 'none';

    return sprintf '%04o', S_IMODE($stat[2]);
}


# the exit code, and one line on stderr that begins with the program's name
sub fails {
    my ($code, $like, $name, @args) = @_;
    my $r = llmctl(@args);

    is($r->{code}, $code, $name) or diag($r->{out}, $r->{err});
    like($r->{err}, $like, "$name: the message");
    ok($r->{out} eq '' && $r->{err} =~ /^llmctl: [^\n]*\n/,
       "$name: on stderr alone");

    return $r;
}


my @where = ('--store', "$dir/lib/llm/store",
             '--secret', "file:$dir/etc/llm/secret");
my ($store, $secret) = ("$dir/lib/llm/store", "$dir/etc/llm/secret");


# help, version, usage

my $r = llmctl('--help');
is($r->{code}, 0, '--help');
like($r->{out}, qr/^Usage: llmctl COMMAND/, '--help is on stdout');
is($r->{err}, '', 'and nothing on stderr');

for my $command ('init', 'key create', 'key list', 'key show', 'key update',
                 'key rotate', 'key revoke', 'key leak', 'totp enrol',
                 'totp confirm', 'totp show', 'totp recovery', 'totp remove',
                 'params show', 'params set', 'changes', 'secret show',
                 'secret rotate', 'secret retire', 'backup', 'restore',
                 'audit query', 'audit lookup', 'audit verify',
                 'audit checkpoint', 'audit export', 'audit keys',
                 'audit prune', 'audit renew') {
    my @words = split / /, $command;
    $r = llmctl(@words, '--help');
    is($r->{code}, 0, "$command --help");
    like($r->{out}, qr/^Usage: llmctl \Q$command\E/, "its usage");
    is(llmctl('help', @words)->{out}, $r->{out}, "help $command");
}

$r = llmctl('key', '--help');
is($r->{code}, 0, 'key --help');
like($r->{out}, qr/key revoke/, 'lists the key commands');
is(llmctl('help', 'key')->{out}, $r->{out}, 'help key');

$r = llmctl('--version');
is($r->{code}, 0, '--version');
like($r->{out}, qr/^llmctl \(nginx-llm\) \d+\.\d+\.\d+\n$/, 'a version');

is(llmctl()->{code}, 2, 'no command');
fails(2, qr/unknown command/, 'an unknown command', 'frob');
fails(2, qr/unknown command/, 'help for it', 'help', 'frob');
fails(2, qr/missing/, 'key without a command', 'key');
fails(2, qr/unknown key command/, 'an unknown key command', 'key', 'frob');
fails(2, qr/unknown option/, 'an unknown option', 'key', 'list', '--frob');
fails(2, qr/needs a value/, 'a missing value', 'key', 'list', '--store');
fails(2, qr/takes no value/, 'a value too much', 'key', 'list', '--json=1');
fails(2, qr/too many/, 'an argument too much', 'key', 'list', 'x');
fails(2, qr/needs a value/, 'a missing value in front', '--store');
fails(2, qr/before the command/, 'an unknown option in front', '--frob',
      'key', 'list');
fails(2, qr/missing/, 'options without a command', '--store', 'x');


# before init

fails(3, qr/llmctl init/, 'list without a store', 'key', 'list', @where);
fails(3, qr/\Q$secret\E/, 'create without a secret', 'key', 'create',
      '--client', 'a', '--role', 'user', @where);
ok(!-e "$dir/lib" && !-e "$dir/etc", 'nothing was made');


# init

fails(2, qr/--size/, "size $_", 'init', @where, '--size', $_)
    for ('1k', '0', '-1', '1x', '1gg', 'g', '', '99999999999999999999g');
fails(2, qr/empty/, 'an empty store', 'init', '--store', '', '--secret',
      'file:x');
fails(1, qr/object=/, 'a token without a key', 'init', '--store', "$dir/x",
      '--secret', 'pkcs11:token=x');
fails(2, qr/pin-source=file:PATH$/, "a PIN for all to see ($_->[0])", @$_,
      '--store', "$dir/x", '--secret', 'pkcs11:object=x?pin-value=314159')
    for ['init'], ['key', 'create', '--client', 'a', '--role', 'user'];
fails(1, qr/no such user/, 'an unknown owner', 'init', @where, '--owner',
      'nobody-of-this-name');
ok(!-e "$dir/lib" && !-e "$dir/etc", 'nothing was made');

$r = llmctl({ umask => 0077 }, 'init', @where, '--size', '8m');
is($r->{code}, 0, 'init') or diag($r->{err});
like($r->{out}, qr/\Q$store\E/, 'tells the store');
like($r->{out}, qr/\Q$secret\E/, 'tells the secret');
is(mode($secret), '0600', "the secret's mode");
is(mode($store), '0700', "the store's mode");
is(mode("$store/data.mdb"), '0600', "the store's data's mode");
is(mode("$dir/lib/llm"), '0755', 'the directories above let workers pass');

my $text = slurp($secret);
like($text, qr/^[0-9a-f]{64}\n$/, 'the secret is 32 random bytes in hex');
unlike($r->{out}, qr/[0-9a-f]{16}/, 'and not shown');

fails(4, qr/exists/, 'init again', 'init', @where);
is(slurp($secret), $text, 'the secret stays');

fails(4, qr/secret: exists/, 'a new store, the old secret', 'init',
      '--store', "$dir/new", '--secret', $secret);
ok(!-e "$dir/new", 'no half-made pair');
fails(4, qr/store: exists/, 'a new secret, the old store', 'init',
      '--store', $store, '--secret', "$dir/new");
ok(!-e "$dir/new", 'no half-made pair');

mkdir "$dir/full";
spew("$dir/full/file", 'x');
fails(1, qr/not empty/, 'a store in a full directory', 'init',
      '--store', "$dir/full", '--secret', "$dir/new");
ok(!-e "$dir/new", 'the fresh secret is removed again');

spew("$dir/plain", 'x');
fails(1, qr/plain/, 'a store below a file', 'init', '--store',
      "$dir/plain/store", '--secret', "$dir/new");
ok(!-e "$dir/new", 'no secret');
fails(1, qr/plain/, 'a secret below a file', 'init', '--store',
      "$dir/other", '--secret', "$dir/plain/secret");
ok(!-e "$dir/other", 'no store');

is(llmctl('init', '--store', 'rel/store/', '--secret', 'rel-secret')->{code},
   0, 'relative paths, with a slash at the end');
ok(-e 'rel/store/data.mdb' && -e 'rel-secret', 'are made');


# key create

sub create {
    my $r = llmctl('key', 'create', @where, @_);

    push @keys, $r->{out} =~ /(sk-[0-9a-f]{72})/;
    return $r;
}

$r = create('--client', 'acme-corp', '--role', 'admin');
is($r->{code}, 0, 'key create') or diag($r->{err});
is($r->{err}, '', 'nothing on stderr');
is(() = $r->{out} =~ /sk-/g, 1, 'the key is shown once');
like($r->{out}, qr/^key: +sk-[0-9a-f]{72}$/m, 'in its format');
like($r->{out}, qr/^id: +key_[0-9a-z]{24}$/m, 'with its id');
like($r->{out}, qr/^client: +acme-corp$/m, 'client');
like($r->{out}, qr/^role: +admin$/m, 'role');
like($r->{out}, qr/not shown again/, 'and a warning');
my ($id) = $r->{out} =~ /(key_[0-9a-z]{24})/;
my ($expires) = $r->{out} =~ /^expires: +(\S+)$/m;
ok(near($expires, 90 * 86400), 'it expires in 90 days')
    or diag($expires);

sub near {
    my ($time, $seconds) = @_;

    # UTC, whatever TZ says
    return grep { $time eq strftime('%Y-%m-%dT%H:%M:%SZ',
                                    gmtime(time + $seconds - $_)) } 0 .. 60;
}

my %when = ('12h' => 43200, '30m' => 1800, '3600s' => 3600, '2w' => 1209600,
            '1d' => 86400);

for (sort keys %when) {
    my $k = decode_json(create('--client', 'times', '--role', 'user',
                               '--expires', $_, '--json')->{out});
    ok(near($k->{expires}, $when{$_}), "--expires $_")
        or diag($k->{expires});
}

# beyond its maximum age no key lives

my $soon = strftime('%Y-%m-%d', gmtime(time + 40 * 86400));
my %date = ($soon => "${soon}T00:00:00Z",
            "${soon}T23:59:59Z" => "${soon}T23:59:59Z");

for (sort keys %date) {
    my $k = decode_json(create('--client', 'times', '--role', 'user',
                               "--expires=$_", '--json')->{out});
    is($k->{expires}, $date{$_}, "--expires $_");
}

$r = create('--client', 'eve', '--role', 'operator', '--expires', 'never',
            '--json');
my $k = decode_json($r->{out});
is((grep { !exists $k->{$_} } qw(client created expires id key revoked role
                                 status)), 0, '--json: its fields');
ok($k->{ends} && near($k->{ends}, 90 * 86400), 'it ends all the same');
is($k->{expires}, undef, 'never is null');
is($k->{status}, 'active', 'active');
like($k->{key}, qr/^sk-[0-9a-f]{72}$/, 'key');
my $eve = $k->{id};

fails(2, qr/--expires/, "--expires '$_'", 'key', 'create', @where,
      '--client', 'a', '--role', 'user', '--expires', $_)
    for ('', '0d', '-1d', '90', 'd', '1y', '90dd', '99999999999999999999d',
         '36601d', '2027-13-01', '2099-02-29', '2099-1-1', '2099-01-31x',
         '2099-01-31T25:00:00Z', '2020-01-31', '1970-01-01', 'tomorrow',
         '0x10d', ' 1d', '91d', '2099-01-31');

fails(2, qr/--role/, "--role '$_'", 'key', 'create', @where, '--client', 'a',
      '--role', $_) for ('', 'root', 'Admin', 'admin ', 'adm');
fails(2, qr/client/, 'a client that is none', 'key', 'create', @where,
      '--client', $_, '--role', 'user')
    for ('', 'a b', "a\nb", "a'b", 'a"b', 'a\\b', "\xc3\xa9", 'a' x 65);
fails(2, qr/needed/, 'no client', 'key', 'create', @where, '--role', 'user');
fails(2, qr/needed/, 'no role', 'key', 'create', @where, '--client', 'a');
is(create('--client', 'a' x 64, '--role', 'user')->{code}, 0,
   'a client of 64 characters');


# a key that can't be printed must not stay valid

SKIP: {
    skip 'no /dev/full', 5 if !-c '/dev/full';

    my $before = @{ decode_json(llmctl('key', 'list', @where, '--json')
                                ->{out}) };

    for my $json ([], ['--json']) {
        my $r = llmctl({ to => '/dev/full' }, 'key', 'create', @where,
                       '--client', 'nobody-saw', '--role', 'user', @$json);
        is($r->{code}, 1, 'no room for the output');
        like($r->{err}, qr/key_\w+: .*revoked/, 'the key is revoked');
    }

    my $list = decode_json(llmctl('key', 'list', @where, '--json', '--client',
                                  'nobody-saw')->{out});
    is(join(' ', map { $_->{status} } @$list), 'revoked revoked', 'it is');
}


# key list

$r = llmctl('key', 'list', @where);
is($r->{code}, 0, 'key list');
my @lines = split /\n/, $r->{out};
like($lines[0], qr/^ID +CLIENT +ROLE +STATUS +CREATED +EXPIRES +REVOKED$/,
     'a heading');
my $column = index $lines[0], 'ROLE';
is((grep { substr($_, $column) !~ /^(user|operator|admin) / }
    @lines[1 .. $#lines]), 0, 'aligned columns');
is_deeply([map { (split)[0] } @lines[1 .. $#lines]],
          [sort map { (split)[0] } @lines[1 .. $#lines]], 'by id');

my $list = decode_json(llmctl('key', 'list', '--json', @where)->{out});
is(scalar @$list, @lines - 1, '--json has as many');
is((grep { exists $_->{key} } @$list), 0, 'without keys');

$list = decode_json(llmctl('key', 'list', '--json', @where, '--client',
                           'eve')->{out});
is_deeply([map { $_->{id} } @$list], [$eve], '--client');
is_deeply(decode_json(llmctl('key', 'list', '--json', @where, '--client',
                             'none')->{out}), [], 'of nobody: []');

is(llmctl(@where, 'key', 'list')->{out}, $r->{out},
   '--store and --secret in front');
is(llmctl("--store=$store", 'key', 'list', '--client', 'eve')->{code}, 0,
   'and with =');


# key show

$r = llmctl('key', 'show', $id, @where);
is($r->{code}, 0, 'key show');
like($r->{out}, qr/^id: +\Q$id\E\nclient: +acme-corp\n/, 'the record');
is(decode_json(llmctl('key', 'show', @where, $id, '--json')->{out})->{role},
   'admin', '--json');
fails(2, qr/id is needed/, 'show without an id', 'key', 'show', @where);
fails(3, qr/key_0{24}/, 'show of an unknown id', 'key', 'show', @where,
      'key_' . '0' x 24);
fails(3, qr/malformed/, 'show of no id', 'key', 'show', @where, '../../x');


# a key where an id belongs

for my $command (qw(show revoke)) {
    $r = fails(2, qr/not its id/, "key $command of a key", 'key', $command,
               @where, $keys[0]);
    unlike($r->{err}, qr/[0-9a-f]{8}/, 'is not repeated');
}

unlike(llmctl('key', 'show', @where, "x$keys[0]")->{err}, qr/[0-9a-f]{8}/,
       'nor is one that is not quite a key');
unlike(llmctl($keys[0])->{err}, qr/[0-9a-f]{8}/, 'nor one as a command');
unlike(llmctl('key', 'list', "--$keys[0]")->{err}, qr/[0-9a-f]{8}/,
       'nor one as an option');


# key revoke

$r = llmctl('key', 'revoke', $id, @where);
is($r->{code}, 0, 'key revoke');
like($r->{out}, qr/^status: +revoked$/m, 'the status');
my ($revoked) = $r->{out} =~ /^revoked: +(\S+)$/m;
ok(near($revoked, 0), 'and the time');
$r = llmctl('key', 'revoke', $id, @where, '--json');
is($r->{code}, 0, 'again');
is(decode_json($r->{out})->{revoked}, $revoked, 'the first time stays');
like(llmctl('key', 'list', @where)->{out}, qr/^\Q$id\E .* revoked /m,
     'in the list');
fails(3, qr/no such key/, 'revoke of an unknown id', 'key', 'revoke', @where,
      'key_' . '0' x 24);
is(llmctl('key', 'revoke', $eve, '--store', $store, '--secret',
          "$dir/none")->{code}, 0, 'revocation needs no secret');


# expired

$k = decode_json(create('--client', 'short', '--role', 'user', '--expires',
                        '1s', '--json')->{out});
my $until = time + 10;
my $status = '';

while ($status ne 'expired' && time < $until) {
    select undef, undef, undef, 0.2;
    $status = decode_json(llmctl('key', 'show', $k->{id}, '--json', @where)
                          ->{out})->{status};
}

is($status, 'expired', 'a key expires');


# secrets that don't fit

spew("$dir/weak", 'changeme' x 8);
fails(1, qr/weak/, 'a weak secret', 'key', 'create', '--store', $store,
      '--secret', "$dir/weak", '--client', 'a', '--role', 'user');
spew("$dir/open", $text, 0644);
fails(1, qr/0644/, 'a secret that others read', 'key', 'create', '--store',
      $store, '--secret', "$dir/open", '--client', 'a', '--role', 'user');
fails(1, qr/another secret/, 'a secret of another store', 'key', 'create',
      '--store', $store, '--secret', "$dir/rel-secret", '--client', 'a',
      '--role', 'user');


# a damaged store

mkdir "$dir/bad", 0700;
spew("$dir/bad/data.mdb", substr slurp("$store/data.mdb"), 0, 9000);
fails(1, qr/truncated/, 'a truncated store', 'key', 'list', '--store',
      "$dir/bad");


# the owner: root gives the store away and acts as its owner from then on

SKIP: {
    skip 'needs root and the user nobody', 9 if $> != 0 || !getpwnam 'nobody';

    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    my @other = ('--store', "$dir/owned/store", '--secret', "$dir/owned/key");

    is(llmctl('init', @other, '--owner', 'nobody')->{code}, 0, '--owner');

    for my $file ('', '/data.mdb', '/lock.mdb') {
        is(join(':', (stat "$dir/owned/store$file")[4, 5]), "$uid:$gid",
           "store$file is nobody's");
    }

    is((stat "$dir/owned/key")[4], 0, "the secret stays root's");

    unlink "$dir/owned/store/lock.mdb";
    $r = llmctl('key', 'create', @other, '--client', 'a', '--role', 'user');
    is($r->{code}, 0, 'root creates a key') or diag($r->{err});
    is(join(':', (stat "$dir/owned/store/lock.mdb")[4, 5]), "$uid:$gid",
       "a new lock.mdb is nobody's");

    # a worker that was taken over leaves a link for root

    unlink "$dir/owned/store/lock.mdb";
    spew("$dir/owned/victim", 'precious');
    symlink "$dir/owned/victim", "$dir/owned/store/lock.mdb";
    $r = llmctl('key', 'list', @other);
    is($r->{code}, 1, 'a link is refused');
    is(slurp("$dir/owned/victim"), 'precious', 'and not followed');
}


# what the store and the errors tell

my $data = slurp("$store/data.mdb");
like($data, qr/acme-corp/, 'the store holds the client');
ok(@keys > 10, 'there were keys');

my @parts = map { my $key = $_; map { substr $key, $_, 8 } 3 .. 67 } @keys;
is((grep { index($data, $_) >= 0 } @parts), 0, 'and no part of a key');


done_testing();
