#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# /healthz and /readyz: what they say while the model loads, has failed, is
# killed; when the store is full, gone, or held; to whom, and by which method.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;

my $t = LLM::Test->new(timeout => 120);

# a model that can be taken away

$t->file("model/$_", slurp("$LLM::Test::top/t/models/demo/$_"))
    for qw(config.json generation_config.json model.safetensors
           tokenizer.json tokenizer_config.json);

my $conf = <<'END';
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    STORE
    llm_engine demo { model %%DIR%%/model; context 512; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location = /healthz { llm_auth off; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        AUTH
    }
}
END

sub get { return $t->get($_[0], @_[1 .. $#_]) }


# Both of them: what /readyz says and its status, and the engine by /healthz.
# Where there is a store there is an audit trail.
sub is_ready {
    my ($name, $status, %want) = @_;

    $want{audit} //= 'ok' if $want{store};

    my ($r, $ready, $health);

    wait_for {
        ($ready, $health) = (get('/readyz'), get('/healthz'));
        my $json = $ready->json // {};
        !grep { ($json->{$_} // '') ne $want{$_} } keys %want
    } 15;

    is($ready->{status}, $status, "$name: /readyz is $status");
    is_deeply($ready->json, { status => $status == 200 ? 'ready'
                                                       : 'not ready', %want },
              "$name: it says what is not") or diag($ready->{body});
    is($health->{status}, 200, "$name: /healthz is 200");
    is_deeply($health->json, { status => 'ok', engine => $want{engine} },
              "$name: it says what the engine does");
    unlike($ready->{body}, qr{/}, "$name: and no path");
}


# without a store

$t->conf($conf =~ s/STORE//r =~ s/AUTH//r)->start;

is_ready('no store', 200, engine => 'ready');

for my $uri ('/healthz', '/readyz') {
    my $r = get($uri);
    is($r->header('cache-control'), 'no-store', "$uri: no cache keeps it");
    like($r->header('content-type'), qr{^application/json}, "$uri: JSON");

    my $head = get($uri, method => 'HEAD');
    is($head->{status}, 200, "HEAD $uri");
    is($head->{body}, '', "HEAD $uri: no body");
    is($head->header('content-length'), length $r->{body},
       "HEAD $uri: its length");

    for my $method (qw(POST DELETE)) {
        $r = get($uri, method => $method);
        is($r->{status}, 405, "$method $uri");
        is($r->header('allow'), 'GET, HEAD', "$method $uri: what it takes");
    }
}

$t->quit;


# with one: numbers only for keys

$t->init;
my $key = $t->key;
my ($admin) = $t->key(client => 'boss', role => 'admin');

$conf =~ s/STORE/%%KEYS%%/;
$conf =~ s{AUTH}{
        location /v1/ { llm_auth on; llm_pass demo; limit_rate 500; }
        location /state/ { llm_auth on; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
};

$t->conf($conf)->start;

is_ready('a store', 200, engine => 'ready', store => 'ok');

for my $uri ('/state/healthz', '/state/readyz') {
    is(get($uri)->{status}, 401, "$uri: needs a key where it is said");

    my $json = get($uri, key => $key)->json;
    is($json->{$_}, 0, "$uri: $_") for qw(running waiting slots_used);
    cmp_ok($json->{kv_blocks}, '>', 0, "$uri: kv_blocks");
    is($json->{engine}, 'ready', "$uri: engine");
}

my @c = map { $t->client(uri => '/readyz') } 1 .. 50;
ok(LLM::Client->pump(\@c, 20), '50 at a time');
is(scalar(grep { $_->{status} == 200 } @c), 50, 'all are told');


# another model is to be loaded, and a slow client of the old one is there

my $slow = $t->client(uri => '/v1/completions', key => $key,
    body => { model => 'demo', prompt => 'Once', stream => \1,
              max_tokens => 400, ignore_eos => \1 });
ok($slow->wait(20, sub { $_[0]{status} }), 'a stream that takes its time')
    or diag("$slow->{status} $slow->{body}");

$t->reload($conf =~ s/context 512/context 500/r);
is_ready('loading', 503, engine => 'loading', store => 'ok');

my $status = $t->admin('GET', 'status', undef, key => $admin)->json;
is($status->{engines}[0]{state}, 'loading', 'the admin API says it too');

$slow->close;
is_ready('loaded', 200, engine => 'ready', store => 'ok');


# the engine is killed, and the model is gone; then it is there again

rename $t->dir . '/model', $t->dir . '/gone' or die $!;
$t->kill_role('engine', 0);
is_ready('failed', 503, engine => 'failed', store => 'ok');
is($t->post('/v1/completions', { prompt => 'a' }, key => $key)->{status}, 503,
   'failed: and so are requests');

rename $t->dir . '/gone', $t->dir . '/model' or die $!;
$t->kill_role('engine', 0);
is_ready('killed', 200, engine => 'ready', store => 'ok');


# the store's file is taken away

my $file = $t->dir . '/store/data.mdb';

rename $file, "$file.old" or die $!;
is_ready('removed', 503, engine => 'ready', store => 'removed');
like($t->error_log, qr/not ready: store: .*data\.mdb: it was removed/,
     'the error log names the file');
rename "$file.old", $file or die $!;
is_ready('back', 200, engine => 'ready', store => 'ok');
like($t->error_log, qr/store: ready again/, 'the error log says so');


# and the trail's

$file = $t->dir . '/store/audit.mdb';

rename $file, "$file.old" or die $!;
is_ready('trail removed', 503, engine => 'ready', store => 'ok',
         audit => 'removed');
like($t->error_log, qr/not ready: audit: .*audit\.mdb/,
     'the error log names that file');
is($t->get('/v1/models', key => $key)->{status}, 503,
   'trail removed: others are refused');
rename "$file.old", $file or die $!;
is_ready('trail back', 200, engine => 'ready', store => 'ok');
ok((wait_for { $t->get('/v1/models', key => $key)->{status} == 200 }),
   'trail back: others are served');


# the thread waits for another process

my $hold = LLM::Hold->new($t);
ok($hold->take, 'the store is held');

my $create = $t->client(uri => '/admin/keys', key => $admin,
                        body => { client => 'new', role => 'user' });
select undef, undef, undef, 1.2;        # what was known is too old by then

my @wait = map { $t->client(uri => '/readyz') } 1 .. 4;
select undef, undef, undef, 0.3;
(pop @wait)->close;
is(scalar(grep { $_->{complete} } @wait), 0, 'held: a look waits');
is(get('/healthz')->{status}, 200, 'held: /healthz does not');
LLM::Client->pump(\@wait, 10);
is(join(' ', map { $_->{status} . ' ' . $_->json->{store} } @wait),
   join(' ', ('503 not answering') x 3), 'held: it is said in the end');
is(get('/readyz')->json->{store}, 'not answering', 'held: then at once');
$hold->let_go;
$create->wait(10);
is($create->{status}, 201, 'let go: the change is made');
is_ready('let go', 200, engine => 'ready', store => 'ok');

# a worker that is told to quit answers who waits

ok($hold->take, 'the store is held again');
$create = $t->client(uri => '/admin/keys', key => $admin,
                     body => { client => 'again', role => 'user' });
select undef, undef, undef, 1.2;
@wait = map { $t->client(uri => '/readyz') } 1 .. 2;
select undef, undef, undef, 0.2;
kill 'QUIT', $t->{master};
select undef, undef, undef, 0.3;
$hold->let_go;
LLM::Client->pump([@wait, $create], 10);
is(join(' ', map { $_->{status} } @wait, $create), '200 200 201',
   'quit: those who wait are answered');
$t->quit;


# a disk without room

my $disk = $t->dir . '/disk';
mkdir $disk;

SKIP: {
    skip 'a small disk: needs root', 1 if $> != 0;

    my $r = $t->run(['mount', '-t', 'tmpfs', '-o', 'size=64m,mode=0755',
                     'llm-test', $disk]);
    skip "a small disk: no mount here: $r->{err}", 1 if $r->{code};

    eval { full_disk(); 1 } or fail("a full disk: $@");

    $t->quit;
    $t->run(['umount', '-l', $disk]);
}


sub full_disk {
    my @where = ('--store', "$disk/store", '--secret',
                 'file:' . $t->dir . '/disk.secret');

    $t->llmctl('init', @where, '--size', '64m');
    my $r = $t->llmctl('key', 'create', @where, '--client', 'boss', '--role',
                       'admin', '--json');
    $admin = decode_json($r->{out})->{key};

    $t->conf($conf =~ s{%%KEYS%%}{llm_store $disk/store;
                        llm_secret file:%%DIR%%/disk.secret;}r)->start;

    is_ready('a small disk', 200, engine => 'ready', store => 'ok');

    open my $fh, '>', "$disk/ballast" or die $!;
    for my $size (1 << 20, 4096) {
        1 while syswrite $fh, 'x' x $size;
    }
    close $fh;

    for (1 .. 3000) {
        $r = $t->admin('POST', 'keys', { client => "c$_", role => 'user',
                       models => [ map { 'm' x 30 . $_ } 1 .. 15 ] },
                       key => $admin);
        last if $r->{status} != 201;
    }

    is($r->{status}, 507, 'full: no key is made');

    # the trail's file may have room in it still

    my $ready;
    wait_for { $ready = get('/readyz'); $ready->{status} == 503 };
    is($ready->{status}, 503, 'full: /readyz is 503');
    is(($ready->json // {})->{store}, 'full', 'full: it says what is not');
    is(get('/healthz')->{status}, 200, 'full: /healthz is 200');
    unlike($ready->{body}, qr{/}, 'full: and no path');

    is(get('/state/healthz', key => $admin)->{status}, 200,
       'full: keys are let in');
    like($t->error_log, qr/not ready: store: .*No space/,
         'full: the error log says why');

    unlink "$disk/ballast";
    is_ready('room again', 200, engine => 'ready', store => 'ok');
    is($t->admin('POST', 'keys', { client => 'more', role => 'user' },
                 key => $admin)->{status}, 201, 'and a key is made');
}


$t->done;
