#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What is taken from a key counts from its acknowledgement on, in every worker:
# while four clients hammer with one key it is revoked, leaked, or loses a
# scope, by HTTP and by llmctl.  Of what began later nothing gets in, and
# running streams end.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use POSIX ();
use Time::HiRes qw(time);

my $t = LLM::Test->new(timeout => 150);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 4;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%% reuseport;
        root %%DIR%%/html;
        add_header X-Worker $pid always;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location = /page { llm_auth on; }
        location /ops/ { llm_auth on role=operator; alias %%DIR%%/html/; }
        location /up/ { llm_auth on; proxy_buffering off;
                        proxy_pass http://127.0.0.1:%%PORT_1%%/; }
    }
}
END


# what takes: name => [ how it is asked for, done with (key, id), the code that
# is refused with ]

my $none = JSON::PP::null;

sub by_http {
    my ($method, $path, $body) = @_;

    return sub {
        my ($id) = @_;
        my $r = $t->admin($method, $path =~ s/ID/$id/r, $body,
                          key => $admin);
        return $r->{status} == 200;
    };
}

sub by_llmctl {
    my @args = @_;

    return sub {
        my ($id) = @_;
        my @store = $args[1] eq 'revoke' ? ('--store', $t->dir . '/store')
                                         : $t->keys_options;
        return $t->llmctl((map { $_ eq 'ID' ? $id : $_ } @args), @store)
                 ->{code} == 0;
    };
}

my @takes = (
    ['revoke by HTTP', by_http('POST', 'keys/ID/revoke', {}), 'key_revoked'],
    ['revoke by llmctl', by_llmctl('key', 'revoke', 'ID'), 'key_revoked'],
    ['leak by HTTP', by_http('POST', 'keys/ID/leak', {}), 'key_revoked'],
    ['leak by llmctl', by_llmctl('key', 'leak', 'ID'), 'key_revoked'],
    ['rotation without grace', by_http('POST', 'keys/ID/rotate',
                                       { grace => '0' }), 'key_rotated'],
    ['addresses by HTTP', by_http('PATCH', 'keys/ID',
        { addresses => ['10.0.0.0/8'] }), 'address_not_allowed'],
    ['addresses by llmctl', by_llmctl('key', 'update', 'ID', '--addresses',
        '10.0.0.0/8'), 'address_not_allowed'],
    ['models', by_http('PATCH', 'keys/ID', { models => ['another'] }),
     'model_not_allowed', '/v1/completions'],
    ['a role', by_http('PATCH', 'keys/ID', { role => 'user' }),
     'role_required', '/ops/page'],
);


# A client: requests on new connections, until it was refused often enough.
# Its notes are lines: when the request began, its status, code, worker.

sub hammer {
    my ($n, $key, $uri) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    $SIG{ALRM} = 'DEFAULT';
    alarm 30;
    open my $fh, '>', $t->dir . "/notes.$n" or POSIX::_exit(2);

    my %body = $uri =~ /^\/v1/ ? (body => {
        model => 'demo', prompt => 'a', max_tokens => 1 }) : ();
    my $refused = 0;

    while ($refused < 60) {
        my $began = time;
        my $r = $t->get($uri, key => $key, %body);
        my $code = eval { $r->json->{error}{code} } // '-';

        $refused++ if $r->{status} != 200;
        syswrite $fh, sprintf "%.6f %d %s %s\n", $began, $r->{status}, $code,
                      $r->header('x-worker');
    }

    POSIX::_exit(0);
}


sub notes {
    return map { [split ' '] }
           map { split /\n/, slurp($t->dir . "/notes.$_") } 1 .. 4;
}


for my $take (@takes) {
    my ($name, $do, $code, $uri) = @$take;
    my ($key, $id) = $t->key(client => 'busy', role => 'operator');

    $uri //= '/page';
    unlink map { $t->dir . "/notes.$_" } 1 .. 4;
    my @pids = map { hammer($_, $key, $uri) } 1 .. 4;
    ok((wait_for { notes() > 40 }), "$name: the key is in use");

    my $done = $do->($id);
    my $acknowledged = time;

    waitpid $_, 0 for @pids;

    my @notes = notes();
    my @late = grep { $_->[0] > $acknowledged } @notes;
    my %worker = map { $_->[3] => 1 } grep { $_->[1] == 200 } @notes;
    # 0: it was cut between its admission and its answer
    my %code = map { $_->[2] => 1 } grep { $_->[1] !~ /^(200|0)$/ } @notes;

    ok($done, "$name: acknowledged");
    cmp_ok(keys %worker, '>', 1, "$name: in several workers");
    cmp_ok(scalar @late, '>', 50, "$name: requests began later");
    is((grep { $_->[1] == 200 } @late), 0, "$name: none was admitted");
    is(join(' ', keys %code), $code, "$name: with its code");
}


# A stream of the engine's: read at all times, by a process of its own, until
# it ends.  What comes later than a moment after the acknowledgement is
# counted; it may be one token.

sub reader {
    my ($key) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    $SIG{ALRM} = 'DEFAULT';
    alarm 30;

    my $stream = $t->client(uri => '/v1/completions', key => $key, body => {
        model => 'demo', prompt => 'Once', stream => \1, ignore_eos => \1,
        max_tokens => 900 });
    $stream->next_event(20);
    $t->file('running', 'x');
    $stream->wait(25);

    my ($last) = reverse $stream->data;
    $t->file('stream', encode_json({
        times => [ map { $_->{time} } grep { ($_->{data} // '') =~ /"text"/ }
                   @{ $stream->{events} } ],
        code => $last->{error}{code}, complete => $stream->{complete},
        done => $stream->done }));

    POSIX::_exit(0);
}


for my $take (@takes[0, 1, 2, 4, 5, 7]) {
    my ($name, $do, $code) = @$take;
    my ($key, $id) = $t->key(client => 'stream', role => 'operator');

    # others keep the engine busy: it takes turns
    my ($other) = $t->key(client => 'other');
    my @others = map { $t->client(uri => '/v1/completions', key => $other,
        body => { model => 'demo', prompt => "Once $_", stream => \1,
                  ignore_eos => \1, max_tokens => 900 }) } 1 .. 4;
    $_->next_event(20) for @others;

    unlink map { $t->dir . "/$_" } qw(running stream);
    my $pid = reader($key);
    wait_for { -e $t->dir . '/running' } 20;

    ok($do->($id), "a stream: $name");
    my $acknowledged = time;
    waitpid $pid, 0;
    $_->close for @others;

    my $got = decode_json(slurp($t->dir . '/stream'));
    my @late = grep { $_ > $acknowledged + 0.25 } @{ $got->{times} };

    is($got->{code}, $code, "a stream: $name: ends with the code");
    cmp_ok(scalar @late, '<=', 1, "a stream: $name: within a token");
    cmp_ok(scalar @{ $got->{times} }, '<', 900, "a stream: $name: early");
    ok($got->{complete} && !$got->{done},
       "a stream: $name: in good order, and not as done");
}


# a stream of an upstream's, token by token

my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
    LocalPort => $t->port(1), Listen => 5, ReuseAddr => 1) or die $!;

for my $take (@takes[0, 1, 2, 3, 4, 5]) {
    my ($name, $do) = @$take;
    my ($key, $id) = $t->key(client => 'proxied', role => 'operator');

    my $client = $t->client(uri => '/up/', key => $key);
    my $up = $listen->accept;
    sysread $up, my $request, 65536;
    $up->autoflush(1);
    print $up "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";

    for my $i (1 .. 3) {
        print $up "token-$i\n";
        $client->wait(10, sub { $_[0]{body} =~ /token-$i/ });
    }

    ok($do->($id), "an upstream: $name");
    local $SIG{PIPE} = 'IGNORE';
    print $up "token-$_\n" for 4 .. 6;
    $client->wait(10);
    like($client->{body}, qr/token-3/, "an upstream: $name: what was before");
    unlike($client->{body}, qr/token-[456]/,
           "an upstream: $name: and nothing after");
    close $up;
}


# one's own key: the answer still comes, as it may hold the only key

my ($own, $own_id) = $t->key(client => 'own', role => 'admin');
my $r = $t->admin('POST', "keys/$own_id/rotate", { grace => '0' },
                  key => $own);
is($r->{status}, 200, 'rotating one\'s own key without grace');
my $next = eval { $r->json->{key} } // '';
like($next, qr/^sk-/, 'gives the new one');
is($t->get('/page', key => $own)->{status}, 401, 'the old one is out');
is($t->get('/page', key => $next)->{status}, 200, 'the new one is in');
$r = $t->admin('POST', "keys/$own_id/leak", {}, key => $next);
is($r->{status}, 200, 'leaking one\'s own key');
my $after = eval { $r->json->{successor}{key} } // '';
like($after, qr/^sk-/, 'gives its successor');
my $after_id = eval { $r->json->{successor}{id} } // '';
is($t->get('/page', key => $next)->{status}, 401, 'the leaked one is out');
is($t->get('/page', key => $after)->{status}, 200, 'the successor is in');
$r = $t->admin('PATCH', "keys/$after_id", { addresses => ['10.0.0.0/8'] },
               key => $after);
is($r->{status}, 200, 'shutting oneself out');
ok($r->{complete} && $r->json, 'is told') or diag($r->{error});
($own, $own_id) = $t->key(client => 'own', role => 'admin');
$r = $t->admin('POST', "keys/$own_id/revoke", {}, key => $own);
is(eval { $r->json->{status} }, 'revoked', 'revoking one\'s own key is told');

$t->done;
