#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# No room: a store at its size, calls.mdb at its size, a full disk.  What
# needs room says so; keys are admitted, listed and revoked as before.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Totp;

my $t = LLM::Test->new(timeout => 170);

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    llm_store %%STORE%% size=1m;
    llm_secret file:%%DIR%%/secret;
    large_client_header_buffers 4 16k;
    access_log off;
    # without room no answer has a record: audit_full.t
    llm_audit off;
    keepalive_requests 100000;

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /page { llm_auth on; try_files /page =404; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END

$t->file('html/page', "page\n");


my (@where, $admin, $admin_id);

# a store there, and nginx on it

sub serve {
    my ($dir, $size) = @_;

    @where = ('--store', $dir, '--secret', 'file:' . $t->dir . '/secret');

    my $r = $t->llmctl('init', @where, '--size', $size);
    is($r->{code}, 0, 'a store') or diag($r->{err});

    $r = $t->llmctl('key', 'create', @where, '--client', 'boss', '--role',
                    'admin', '--json');
    ($admin, $admin_id) = @{ decode_json($r->{out}) }{qw(key id)};

    $t->conf($conf =~ s/%%STORE%%/$dir/r =~ s/size=1m/size=$size/r)->start;
}


sub create {
    my ($client) = @_;

    return $t->admin('POST', 'keys', { client => $client, role => 'user',
        models => [ map { "a-model-of-a-long-name-$_" } 1 .. 16 ] },
        key => $admin);
}


# keys until there is no room: ids and keys, and the refusal

sub fill_up {
    my @keys;

    for my $i (1 .. 5000) {
        my $r = create("client-$i");

        return (\@keys, $r) if $r->{status} != 201;
        push @keys, $r->json;
    }

    return (\@keys, undef);
}


sub status {
    return $t->get('/page', key => $_[0])->{status};
}


# what goes on in a store that takes no more

sub goes_on {
    my ($what, $keys) = @_;
    my @keys = @$keys;
    my ($r, $k);

    is(status($_->{key}), 200, "$what: a key is admitted")
        for @keys[0, $#keys];
    is(status('sk-' . '0' x 72), 401, "$what: another is not");

    $r = $t->admin('GET', 'keys?limit=1000', undef, key => $admin);
    is($r->{status}, 200, "$what: the keys are listed");
    $r = $t->llmctl('key', 'list', @where, '--json');
    is($r->{code}, 0, "$what: by llmctl too") or diag($r->{err});
    is(scalar @{ decode_json($r->{out}) }, @keys + 1, "$what: all of them");
    $r = $t->admin('GET', 'changes', undef, key => $admin);
    is($r->{status}, 200, "$what: the changes are told");

    $r = $t->llmctl('key', 'create', @where, '--client', 'more', '--role',
                    'user');
    is($r->{code}, 1, "$what: llmctl makes none either");
    unlike($r->{out}, qr/sk-/, "$what: and prints none");
    like($r->{err}, qr/full|No space/, "$what: and says why");

    # half of all: the pages that a revocation takes are its own to give back

    my ($good, $bad) = (0, 0);

    for my $i (0 .. $#keys / 2) {
        $k = $keys[2 * $i];
        $r = $i % 8 ? $t->admin('POST', "keys/$k->{id}/revoke", {},
                                key => $admin)
                    : undef;
        my $code = $r ? $r->{status} == 200
                 : $t->llmctl('key', 'revoke', $k->{id}, '--store', $where[1])
                       ->{code} == 0;
        $code && status($k->{key}) == 401 ? $good++ : $bad++;
    }

    cmp_ok($good, '>', 0, "$what: $good keys are revoked");
    is($bad, 0, "$what: all that should");
    is(status($keys[1]{key}), 200, "$what: others are not");

    # the drill is for the old key first

    $k = $keys[1];
    $r = $t->admin('POST', "keys/$k->{id}/leak", {}, key => $admin);
    is($r->{status}, 200, "$what: a leak is dealt with") or diag($r->{body});
    is($r->json->{leaked}{status}, 'revoked', "$what: the key is revoked");
    is(status($k->{key}), 401, "$what: at once");
}


# the store at its size

serve($t->dir . '/store', '1m');

my $enrol = $t->admin('POST', 'totp', {}, key => $admin)->json;
my ($keys, $refused) = fill_up();

cmp_ok(scalar @$keys, '>', 50, @$keys . ' keys in 1m');
ok($refused, 'then it is full') or BAIL_OUT('no end');
like($refused->{status}, qr/^50[37]$/, 'which is 503 or 507');
like($refused->json->{error}{code}, qr/^\w+$/, 'with a code');
ok(length $refused->json->{error}{request_id}, 'and the request id');
like($t->error_log, qr/the store is full, its size of 1m must grow/,
     'the error log names the size');

is($refused->json->{error}{code}, 'store_full', 'a code of its own');
like($refused->json->{error}{message}, qr/\b1m\b/, 'names the size');

goes_on('full', $keys);

for my $path ("keys/$keys->[3]{id}/rotate", 'totp/confirm') {
    my $body = $path =~ /totp/ ? { code => LLM::Totp::code($enrol->{secret}) }
                               : {};
    my $r = $t->admin('POST', $path, $body, key => $admin);
    like($r->{status}, qr/^(200|50[37])$/, "POST $path: done, or refused");
    is(status($keys->[3]{key}), 200, 'and what was good is good');
}

$t->quit;
$t->start;
is(status($keys->[3]{key}), 200, 'a restart on a full store');
is(status($keys->[0]{key}), 401, 'what was revoked stays so');

# a larger size, in both ways that there are

$t->quit;
$t->conf(slurp($t->dir . '/nginx.conf') =~ s/size=1m/size=4m/r)->start;
is(create('again')->{status}, 201, 'with a larger size it goes on');
is($t->llmctl('key', 'create', @where, '--client', 'more', '--role', 'user')
     ->{code}, 0, 'for llmctl too');
$t->quit;


# calls.mdb at its size: the usage is counted, calls are dropped

unlink $t->dir . '/secret';
serve($t->dir . '/small', '1m');

my $user = create('busy')->json;
my $agent = 'agent-' . 'x' x 200;
my $n = $ENV{LLM_SANITIZE} ? 2000 : 5000;
my %status;
my $c;

for my $i (1 .. $n) {
    my %o = (uri => '/page/' . 'p' x 200, key => $user->{key},
             headers => ["User-Agent: $agent"], keepalive => 1);

    %o = %{ { $t->request(%o) } };
    $c = $c && $c->{kept} ? $c->again(%o) : LLM::Client->new(%o);
    $c->wait(10);
    $status{$c->{status}}++;
}

is_deeply(\%status, { 200 => $n }, "$n calls, none refused");

my $usage;
ok((wait_for {
    $usage = $t->admin('GET', "keys/$user->{id}", undef, key => $admin)
               ->json->{usage};
    $usage->{calls} == $n
} 10), 'all were counted') or diag(encode_json($usage));

cmp_ok(-s $t->dir . '/small/calls.mdb', '<=', 1 << 20,
       'calls.mdb is not larger than its size');

is(status($user->{key}), 200, 'the next is');
is(create('other')->{status}, 201, 'keys are made as before');
my $leak = $t->admin('POST', "keys/$user->{id}/leak", {}, key => $admin);
is($leak->{status}, 200, 'a leak is reported');
cmp_ok($leak->json->{report}{calls}, '>', 100, 'from the calls that there are');

$t->quit;
$t->start;
$usage = $t->admin('GET', "keys/$user->{id}", undef, key => $admin)
           ->json->{usage};
is($usage->{calls}, $n + 1, 'the count was written, room or not');
$t->quit;


# the disk is full, not the store

my $disk = $t->dir . '/disk';
mkdir $disk;

SKIP: {
    skip 'a small disk: needs root', 1 if $> != 0;

    my $r = $t->run(['mount', '-t', 'tmpfs', '-o', 'size=4m,mode=0755',
                     'llm-test', $disk]);
    skip "a small disk: no mount here: $r->{err}", 1 if $r->{code};

    unlink $t->dir . '/secret';
    eval { full_disk(); 1 } or fail("a full disk: $@");

    $t->quit;
    $t->run(['umount', '-l', $disk]);
}


sub full_disk {
    serve("$disk/store", '64m');

    my ($keys, $refused) = fill_up();

    cmp_ok(scalar @$keys, '>', 20, @$keys . ' keys on a disk of 4m');
    ok($refused, 'then it is full') or return;
    like($refused->{status}, qr/^50[37]$/, 'which is 503 or 507');
    like($t->error_log, qr/No space left/, 'the error log says so');
    my $path = quotemeta $disk;
    unlike($refused->{body}, qr/$path/, 'the answer names no file');

    goes_on('full disk', $keys);

    my $left = $keys->[3];
    status($left->{key}) for 1 .. 20;
    ok((wait_for {
        ($t->admin('GET', "keys/$left->{id}", undef, key => $admin)
           ->json->{usage} // {})->{calls} >= 20
    } 5), 'usage is counted');

    # something else took the last bytes too

    open my $fh, '>', "$disk/ballast";
    1 while syswrite $fh, 'x' x 4096;
    close $fh;

    is(status($left->{key}), 200, 'no byte left: a key is admitted');
    my $r = $t->admin('POST', "keys/$left->{id}/revoke", {}, key => $admin);
    is($r->{status}, 200, 'no byte left: it is revoked') or diag($r->{body});
    is(status($left->{key}), 401, 'no byte left: at once');
    $r = $t->llmctl('key', 'revoke', $keys->[5]{id}, '--store',
                    "$disk/store");
    is($r->{code}, 0, 'no byte left: by llmctl') or diag($r->{err});
    is(status($keys->[5]{key}), 401, 'no byte left: at once');

    $t->quit;
    $t->start;
    is(status($keys->[7]{key}), 200, 'no byte left: nginx starts');
    is(status($keys->[5]{key}), 401, 'and knows what was revoked');

    unlink "$disk/ballast";
}


$t->done;
