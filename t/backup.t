#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llmctl backup while keys are made and revoked by the thousand of requests:
# each copy is whole, as of one moment; nginx on a restored store goes on from
# there; a damaged copy is refused.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 150);
$t->init;

my $dir = $t->dir;
my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    llm_store %%DIR%%/STORE;
    llm_secret file:%%DIR%%/secret;
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location = /page { llm_auth on; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END

$t->file('html/page', "page\n");
$t->conf($conf =~ s/STORE/store/r)->start;


sub page {
    return $t->get('/page', key => $_[0])->{status};
}


# a writer: a key, used, every other one revoked.  Its notes: what was
# acknowledged, in order

sub writer {
    my ($n) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    $SIG{ALRM} = 'DEFAULT';
    alarm 60;
    open my $fh, '>', "$dir/notes.$n" or POSIX::_exit(2);

    for my $i (1 .. 5000) {
        last if -e "$dir/stop";
        my $r = $t->admin('POST', 'keys', { client => "w$n-$i",
                                            role => 'user' }, key => $admin);
        last if $r->{status} != 201;
        my $o = $r->json;
        syswrite $fh, encode_json({ op => 'create', id => $o->{id},
                                    key => $o->{key} }) . "\n";
        page($o->{key});
        next if $i % 2;
        $r = $t->admin('POST', "keys/$o->{id}/revoke", {}, key => $admin);
        last if $r->{status} != 200;
        syswrite $fh, encode_json({ op => 'revoke', id => $o->{id} }) . "\n";
    }

    POSIX::_exit(0);
}


sub notes {
    return map { decode_json($_) }
           map { split /\n/, slurp("$dir/notes.$_") =~ s/[^\n]*\z//r } 1, 2;
}


my @writers = map { writer($_) } 1, 2;
ok((wait_for { notes() > 30 }), 'keys are made');

# copies; what was acknowledged before one began is in it, what was made after
# it had ended is not

my (@before, @after);

for my $n (0 .. 5) {
    $before[$n] = [notes()];
    my $r = $t->llmctl('backup', "$dir/copy$n", $t->keys_options);
    is($r->{code}, 0, "backup $n") or diag($r->{err});
    $after[$n] = scalar notes();
    my $seen = $after[$n];
    wait_for { notes() > $seen + 4 };
}

$t->file('stop', '');
waitpid $_, 0 for @writers;
my @all = notes();

is(sprintf('%04o', (stat "$dir/copy0")[2] & 07777), '0700',
   'a copy is its owner\'s only');
is(sprintf('%04o', (stat "$dir/copy0/data.mdb")[2] & 07777), '0600',
   'so are its keys');
ok(-s "$dir/copy0/calls.mdb", 'the calls are in it');
ok(!-e "$dir/copy0/secret", 'the secret is not');

my $r = $t->llmctl('backup', "$dir/copy0", $t->keys_options);
is($r->{code}, 4, 'a copy is not overwritten');
$r = $t->llmctl('backup', "$dir/no/where", $t->keys_options);
is($r->{code}, 1, 'nor made nowhere');
ok(!-e "$dir/no", 'and nothing is left of it');


# restored: by llmctl first

my %key = map { $_->{id} => $_->{key} } grep { $_->{key} } @all;

for my $n (0 .. 5) {
    $r = $t->llmctl('restore', '--from', "$dir/copy$n", '--store',
                    "$dir/again$n");
    is($r->{code}, 0, "restore $n") or diag($r->{err});

    $r = $t->llmctl('key', 'list', '--store', "$dir/again$n", '--secret',
                    "file:$dir/secret", '--json');
    is($r->{code}, 0, "restore $n: its keys are listed") or diag($r->{err});

    my %status = map { $_->{id} => $_->{status} }
                 @{ decode_json($r->{out}) };
    my @missing = grep { !$status{$_->{id}} } @{ $before[$n] };
    my @active = grep { $_->{op} eq 'revoke'
                        && $status{$_->{id}} ne 'revoked' } @{ $before[$n] };

    is(@missing, 0, "restore $n: what was acknowledged before is in it");
    is(@active, 0, "restore $n: and what was revoked");
    cmp_ok(keys(%status), '<', keys(%key) + 1,
           "restore $n: what came later is not");
}

$r = $t->llmctl('restore', '--from', "$dir/copy0", '--store', "$dir/again1");
is($r->{code}, 4, 'a store is not overwritten');
$r = $t->llmctl('restore', '--from', "$dir/none", '--store', "$dir/new");
is($r->{code}, 3, 'no copy there');
ok(!-e "$dir/new", 'makes no store');


# and served

my @known = @{ $before[5] };
my %revoked = map { $_->{id} => 1 } grep { $_->{op} eq 'revoke' } @known;
my %usage = map { $_->{id} => $_->{usage}{calls} // 0 }
    @{ $t->admin('GET', 'keys?limit=1000', undef, key => $admin)
         ->json->{data} };

ok($t->reload($conf =~ s/STORE/again5/r), 'nginx on the restored store');
ok((wait_for { !$t->pids('old_worker') }), 'and on it alone');
is(page($admin), 200, 'the admin\'s key is good');

my ($good, $bad) = (0, 0);

for my $note (grep { $_->{op} eq 'create' } @known) {
    my $want = $revoked{$note->{id}} ? 401 : 200;
    my $got = page($note->{key});

    # the last may have been revoked between the note and the copy
    $got == $want || ($want == 200 && $got == 401
                      && grep { $_->{op} eq 'revoke'
                                && $_->{id} eq $note->{id} } @all)
        ? $good++ : $bad++;
}

cmp_ok($good, '>', 10, "$good keys are what they were");
is($bad, 0, 'all of them');
ok(page($_->{key}) == 401, 'a key that was made later is not known')
    for grep { $_->{op} eq 'create' } $all[-1], $all[-2];

my ($first) = grep { $_->{op} eq 'create' } @known;
$r = $t->admin('GET', "keys/$first->{id}", undef, key => $admin);
cmp_ok($r->json->{usage}{calls} // 0, '>=', 1, 'the usage is restored too');

$r = $t->admin('POST', 'keys', { client => 'next', role => 'user' },
               key => $admin);
is($r->{status}, 201, 'keys are made in it');
is(page($r->json->{key}), 200, 'and admitted');
$r = $t->llmctl('backup', "$dir/copy6", '--store', "$dir/again5",
                '--secret', "file:$dir/secret");
is($r->{code}, 0, 'and it is copied again');


# another secret: not a key of it is good, and nginx says so

$t->llmctl('init', '--store', "$dir/else", '--secret', "file:$dir/other");
$r = $t->llmctl('key', 'create', '--store', "$dir/again4", '--secret',
                "file:$dir/other", '--client', 'a', '--role', 'user');
is($r->{code}, 1, 'a restored store and another secret');
like($r->{err}, qr/another secret|secret/, 'don\'t go together');


# damaged copies

sub damaged {
    my ($name, $f) = @_;

    my $bad = "$dir/bad";
    File::Path::remove_tree($bad, "$dir/new");
    mkdir $bad, 0700;

    my %data = map { $_ => slurp("$dir/copy5/$_") } qw(data.mdb calls.mdb);
    $f->(\%data);
    $t->file("$bad/$_", $data{$_}) for grep { defined $data{$_} } keys %data;

    my $r = $t->llmctl('restore', '--from', $bad, '--store', "$dir/new");
    like($r->{code}, qr/^[13]$/, "$name is refused") or diag($r->{out});
    is($r->{signal}, 0, "$name: by no signal");
    like($r->{err}, qr/^llmctl: \S+bad/, "$name: says which file");
    ok(!-e "$dir/new/data.mdb", "$name: makes no store");
}

my $size = -s "$dir/copy5/data.mdb";

damaged('an empty copy', sub { %{ $_[0] } = () });
damaged('an empty file', sub { $_[0]{'data.mdb'} = '' });
damaged('text', sub { $_[0]{'data.mdb'} = 'x' x $size });
damaged('zeros', sub { $_[0]{'data.mdb'} = "\0" x $size });
damaged('a truncated copy', sub { $_[0]{'data.mdb'} =
    substr $_[0]{'data.mdb'}, 0, $size - 4096 });
damaged('half a copy', sub { $_[0]{'data.mdb'} =
    substr $_[0]{'data.mdb'}, 0, $size / 2 });
damaged('two heads', sub { substr($_[0]{'data.mdb'}, 0, 8192) = "\xff" x 8192 });
damaged('the calls for the keys', sub { $_[0]{'data.mdb'} =
    $_[0]{'calls.mdb'} });

# torn: each page of it once, overwritten by zeros or by noise.  A page that
# is free is no loss; else it is refused, and never a signal

my ($refused, $taken, $signals) = (0, 0, 0);
my $data = slurp("$dir/copy5/data.mdb");
srand 7;

for my $page (2 .. $size / 4096 - 1) {
    last if $refused + $taken >= 60;

    my $torn = $data;
    my $at = $page * 4096;
    substr($torn, $at + ($page % 2 ? 512 : 0), 3584) = $page % 3
        ? "\0" x 3584 : join '', map { chr int rand 256 } 1 .. 3584;

    File::Path::remove_tree("$dir/bad", "$dir/new");
    mkdir "$dir/bad", 0700;
    $t->file("$dir/bad/data.mdb", $torn);

    my $r = $t->llmctl('restore', '--from', "$dir/bad", '--store',
                       "$dir/new");
    $signals++ if $r->{signal};
    $r->{code} ? $refused++ : $taken++;

    next if $r->{code};

    # what was taken can be read in full
    $r = $t->llmctl('key', 'list', '--store', "$dir/new", '--secret',
                    "file:$dir/secret");
    $signals++ if $r->{signal};
}

is($signals, 0, 'torn pages: none ends llmctl');
cmp_ok($refused, '>', 3, "torn pages: $refused refused, $taken that are free");

ok(!(grep { -e "$dir/$_/new.mdb" } qw(again0 again5 new)),
   'no half of a copy is left');
is(page($admin), 200, 'and nginx goes on');

$t->done;
