#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# kill -9 of workers and of llmctl in the middle of changes of the store: the
# store opens, what was acknowledged is there, what was not is whole or not
# there, no dead reader holds the store's pages, and nginx goes on.
#
# environment: LLM_KILL_WRITES: how many changes, 1,000 by default; 300 with a
# sanitizer.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $writes = $ENV{LLM_KILL_WRITES} || ($ENV{LLM_SANITIZE} ? 300 : 1000);
my $http = 3;                           # writers by HTTP; one more by llmctl
my $per = int($writes / ($http + 1)) || 1;

my $t = LLM::Test->new(timeout => 90 + $writes / 4);

# what 1,000 keys need is a quarter of it; pages that a dead reader holds
# would be more than it

is($t->llmctl('init', $t->keys_options, '--size', '8m')->{code}, 0, 'a store');

my ($admin) = $t->key(client => 'boss', role => 'admin');

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location = /page { llm_auth on; }
        location /admin/ { llm_auth on; llm_admin; }
        location = /up { return 200 "up"; }
    }
}
END


# A writer's notes, a line each: what was acknowledged.  A file, so that
# nothing is lost with the writer.

sub record {
    my ($fh, %o) = @_;
    syswrite $fh, encode_json(\%o) . "\n";
}


# by HTTP: undef when a kill -9 cut it off

sub call {
    my ($path, $body, $idem) = @_;

    my $r = $t->admin('POST', $path, $body // {}, key => $admin,
                      idem => $idem);

    return undef if !$r->{complete};
    return ($r->{status}, $r->json);
}


# again until it is answered: the worker may die any number of times

sub call_until {
    my @args = @_;
    my @got;

    wait_for { @got = call(@args); defined $got[0] } 20;
    return @got;
}


sub writer {
    my ($n, $fh) = @_;
    my ($id, $key);

    srand $n;

    for my $i (1 .. $per) {

        # a third each: create, rotate, revoke of the same key

        if ($i % 3 == 1 || !$id) {
            my ($status, $o) = call('keys', { client => "w$n-$i",
                                              role => 'user' });
            undef $id;
            record($fh, op => 'create', status => $status // 0,
                 id => $o->{id}, key => $o->{key});
            ($id, $key) = @$o{qw(id key)} if ($status // 0) == 201;

        } elsif ($i % 3 == 2) {
            my $grace = $i % 2 ? '1h' : '0';
            my ($status, $o) = call("keys/$id/rotate", { grace => $grace },
                                    "w$n-$i");
            my $cut = !defined $status;

            # the same key comes out, were it made or not

            ($status, $o) = call_until("keys/$id/rotate", { grace => $grace },
                                       "w$n-$i") if $cut;
            record($fh, op => 'rotate', status => $status // 0, id => $id,
                 old => $key, key => $o->{key}, grace => $grace, cut => $cut);
            $key = $o->{key} if ($status // 0) == 200;

        } elsif ($i % 6 == 0) {
            my ($status) = call("keys/$id/revoke");
            record($fh, op => 'revoke', status => $status // 0, id => $id,
                 key => $key);
            undef $id;

        } else {
            undef $id;              # one that stays
            redo;
        }
    }
}


# by llmctl, killed at times: code undef.  Its output tells an acknowledged
# change only when it ended well.

sub command {
    my ($kill, @args) = @_;
    my $base = $t->dir . "/ctl.$$";

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        open STDOUT, '>', "$base.out";
        open STDERR, '>', "$base.err";
        exec $t->build . '/llmctl', @args or POSIX::_exit(127);
    }

    if ($kill) {
        select undef, undef, undef, rand 0.03;
        kill 'KILL', $pid;
    }

    waitpid $pid, 0;

    return (undef) if $? & 127;
    return ($? >> 8, slurp("$base.out"));
}


sub ctl_writer {
    my ($fh) = @_;
    my ($id, $key);

    srand 99;

    for my $i (1 .. $per) {
        my $kill = rand() < 0.5;

        if ($i % 3 == 1 || !$id) {
            my ($code, $out) = command($kill, 'key', 'create',
                $t->keys_options, '--client', "c$i", '--role', 'user',
                '--json');
            my $o = defined $code && $code == 0 ? decode_json($out) : {};
            record($fh, op => 'create', status => code($code, 201),
                 id => $o->{id}, key => $o->{key});
            ($id, $key) = @$o{qw(id key)};

        } elsif ($i % 3 == 2) {
            my @args = ('key', 'rotate', $id, $t->keys_options, '--grace',
                        '1h', '--idempotency-key', "c$i", '--json');
            my ($code, $out) = command($kill, @args);
            my $cut = !defined $code;
            ($code, $out) = command(0, @args) if $cut;
            my $o = defined $code && $code == 0 ? decode_json($out) : {};
            record($fh, op => 'rotate', status => code($code, 200), id => $id,
                 old => $key, key => $o->{key}, grace => '1h', cut => $cut);
            $key = $o->{key} // $key;

        } else {
            my ($code) = command($kill, 'key', 'revoke', $id, '--store',
                                 $t->dir . '/store');
            record($fh, op => 'revoke', status => code($code, 200), id => $id,
                 key => $key);
            undef $id;
        }
    }
}


sub code {
    my ($code, $good) = @_;
    return !defined $code ? 0 : $code == 0 ? $good : 1000 + $code;
}


# copies read for milliseconds: a reader that dies while it reads

sub copier {
    my $dir = $t->dir;

    for my $i (1 .. 1000) {
        command(1, 'backup', "$dir/copy", $t->keys_options);
        File::Path::remove_tree("$dir/copy");
        select undef, undef, undef, 0.05;
    }
}


sub child {
    my ($name, $f, @args) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    alarm 60 + $writes / 4;
    $SIG{ALRM} = 'DEFAULT';
    open my $fh, '>>', $t->dir . "/notes.$name" or POSIX::_exit(2);
    eval { $f->(@args, $fh); 1 } or print STDERR "# $name: $@";
    POSIX::_exit($@ ? 1 : 0);
}


# the killing

my %writer = map { my $n = $_; (child("w$n", \&writer, $n) => 1) } 1 .. $http;
$writer{child('ctl', \&ctl_writer)} = 1;
my $copier = child('copier', \&copier);

my ($kills, $failed, $served) = (0, 0, 0);

while (%writer) {
    my $pid = waitpid -1, POSIX::WNOHANG();

    if ($pid > 0) {
        $failed++ if delete $writer{$pid} && $?;
        next;
    }

    select undef, undef, undef, 0.02 + rand 0.15;

    if ($t->pids('worker') == 2) {
        $t->kill_role('worker', $kills++ % 2);
    }

    $served++ if $t->get('/up')->{status} == 200;
}

kill 'KILL', $copier;
waitpid $copier, 0;

is($failed, 0, 'the writers ended well');
cmp_ok($kills, '>', 5, "$kills workers were killed");
cmp_ok($served, '>', 0, 'nginx went on');
ok(wait_for { $t->pids('worker') == 2 }, 'both workers are back');


# what was noted

my (@notes, %count);

for my $file (glob $t->dir . '/notes.*') {
    push @notes, map { decode_json($_) } split /\n/, slurp($file);
}

$count{"$_->{op} $_->{status}"}++ for @notes;
diag(join ', ', map { "$_: $count{$_}" } sort keys %count) if $ENV{TEST_KEEP};

cmp_ok(scalar @notes, '>=', $per * ($http + 1), scalar @notes . ' changes');
is(join(' ', grep { !/ (0|20[01])$/ } sort keys %count), '',
   'each was acknowledged or cut off, none refused');
cmp_ok($count{"$_ 0"} // 0, '<', ($count{"$_ 200"} // $count{"$_ 201"}),
       "most of $_ went through") for qw(create revoke);

my (%want, %id, %gone);

for my $note (@notes) {
    my ($op, $status) = @$note{qw(op status)};

    if ($op eq 'create' && $status) {
        $want{$note->{key}} = 'good';
        $id{$note->{id}} = 1;

    } elsif ($op eq 'rotate' && $status) {
        $want{$note->{key}} = 'good';
        $want{$note->{old}} = 'ended' if $note->{grace} eq '0';
        push @{ $gone{$note->{id}} }, $note->{old} if $note->{grace} ne '0';

    } elsif ($op eq 'revoke') {
        my $was = $status ? 'ended' : 'either';
        $want{$_} = $was for $note->{key}, @{ $gone{$note->{id}} || [] };
    }
}

my %wrong;

for my $key (keys %want) {
    my $status = $t->get('/page', key => $key)->{status};

    $wrong{"$want{$key} $status"}++
        if $want{$key} eq 'good' && $status != 200
           || $want{$key} eq 'ended' && $status != 401
           || $want{$key} eq 'either' && $status !~ /^(200|401)$/;
}

is_deeply(\%wrong, {}, 'of ' . (keys %want) . ' keys each is what was said');


# the store itself

my $r = $t->llmctl('key', 'list', $t->keys_options, '--json');
is($r->{code}, 0, 'llmctl lists the keys') or diag($r->{err});

my %listed = map { $_->{id} => $_ } @{ decode_json($r->{out}) };
is((grep { !$listed{$_} } keys %id), 0, 'every key that was acknowledged');

my $cut = $count{'create 0'} // 0;
cmp_ok(keys(%listed) - keys(%id) - 1, '<=', $cut,
       "and of $cut that were cut off, no more than those");

$r = $t->llmctl('backup', $t->dir . '/last', $t->keys_options);
is($r->{code}, 0, 'it can be copied') or diag($r->{err});
$r = $t->llmctl('restore', '--from', $t->dir . '/last', '--store',
                $t->dir . '/again');
is($r->{code}, 0, 'and the copy is whole') or diag($r->{err});


# Readers: LMDB's table is lock.mdb, 64 bytes each after 128 of a head: the
# transaction that a reader sees, or -1, and its process.

# of dead processes, or of that one

sub readers {
    my ($of) = @_;
    my $table = slurp($t->dir . '/store/lock.mdb');
    my $n = 0;

    for (my $at = 128; $at + 64 <= length $table; $at += 64) {
        my ($txn, $pid) = unpack 'q L', substr $table, $at, 16;
        $n++ if $of ? $pid == $of : $pid && !kill 0, $pid;
    }

    return $n;
}

ok(readers(($t->pids('worker'))[0]), 'a living worker is a reader');

$t->quit;
$t->start;
ok(wait_for { readers() == 0 }, 'after a start no dead reader is left')
    or diag(readers() . ' are');

my $pages = -s $t->dir . '/store/data.mdb';
cmp_ok($pages, '<', 7 << 20, 'the store did not grow for dead readers')
    or diag("$pages bytes");
diag("data.mdb: $pages bytes, $kills kills") if $ENV{TEST_KEEP};

is((call('keys', { client => 'after', role => 'user' }))[0], 201,
   'and it is written to as before');

$t->done;
