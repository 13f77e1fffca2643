#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The leak drill: a key that others have is dead at once, in every worker, with
# its streams; its successor works; the report says who used it; llm_notify
# hears of it.  No key is in anything that is kept or told to others.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 150);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my @scopes = ('--models', 'demo,far', '--addresses', '127.0.0.0/8', '--rpm',
              '100000', '--tokens-per-day', '1000000');
my ($key, $id) = $t->key(client => 'acme', args => \@scopes);
my ($second, $second_id) = $t->key(client => 'second');
my ($third, $third_id) = $t->key(client => 'third');
my ($crowded, $crowded_id) = $t->key(client => 'crowded');
my ($quiet, $quiet_id) = $t->key(client => 'quiet');

my @secret = ($admin, $key, $second, $third, $crowded, $quiet);

# the first two events are not taken
my $up = LLM::Upstream->new($t, 1, do {
    my $told = 0;
    sub {
        my ($request) = @_;
        my $up = 'LLM::Upstream';

        return $up->answer(++$told > 2 ? 204 : $told == 1 ? 500 : 302,
                           'text/plain', '')
            if $request->{uri} =~ /^\/notified/;
        return $up->json({ usage => { prompt_tokens => 10,
                                      completion_tokens => 20 } })
            if $request->{uri} =~ /plain/;
        return $up->stream(map { ({ choices => [ { delta => { content =>
            "t$_ " } } ] }, \0.05) } 1 .. 400);
    }
}, cut => 1);

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    log_format all '$status $llm_key_id $http_authorization '
                   '$http_x_api_key $sent_http_content_type $llm_model';
    access_log %%DIR%%/all.log all;
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen unix:%%DIR%%/sock;
        server_name "~^(www/)?.*$";
        keepalive_requests 100000;
        llm_notify /_notify?from=nginx;
        location /_notify {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%/notified;
        }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /slow/v1/ { llm_auth on; limit_rate 4k; llm_pass demo; }
        location /up/ {
            llm_auth on;
            proxy_buffering off;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /ping { llm_auth on; root %%DIR%%/html; }
    }
}
END

$t->file('html/ping', "pong\n");
wait_for { $t->get('/readyz')->{status} == 200 };

my $url = 'http://127.0.0.1:' . $t->port(0);

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub ping {
    my ($key) = @_;

    my @c = map { $t->client(uri => '/ping', key => $key) } 1 .. 16;
    LLM::Client->pump(\@c, 20);
    my %seen = map { ("$_->{status} " . code($_)) =~ s/ $//r => 1 } @c;
    return join ' and ', sort keys %seen;
}

# n calls from an address
sub calls {
    my ($key, $from, $agent, $path, $n, @args) = @_;

    my $r = $t->curl('--interface', $from, '-A', $agent, '-o',
        '/dev/null', '-w', '%{http_code}\n', '-H',
        "Authorization: Bearer $key", @args, "$url$path?[1-$n]",
        { timeout => 60 });
    my %count;
    $count{$_}++ for split /\n/, $r->{out};
    return \%count;
}

# What is in memory is written by workers that go: then all calls are known.
sub settle {
    $t->reload;
    ok(wait_for(sub { !$t->pids('old_worker') }, 20), 'calls are written');
    wait_for { $t->get('/readyz')->{status} == 200 };
}


# what it was used for

my @json = ('-H', 'Content-Type: application/json', '-d');

is_deeply(calls($key, '127.0.0.1', 'app/1.0', '/ping', 150), { 200 => 150 },
          'calls of an application');
is_deeply(calls($key, '127.0.0.2', 'cron/2', '/up/plain', 30, @json,
                '{"model":"far","max_tokens":50}'), { 200 => 30 },
          'calls to another server');
is_deeply(calls($key, '127.0.0.2', 'cron/2', '/v1/completions', 20, @json,
                '{"model":"demo","prompt":"a","max_tokens":3,'
                . '"ignore_eos":true}'), { 200 => 20 },
          'calls to the engine');
is_deeply(calls($key, '127.0.0.66', "curl/\xc3\xa4\x01\"<b>", '/up/plain', 1, @json,
                '{"model":"not-mine"}'), { 403 => 1 },
          'a call of somebody else');
settle();


# two streams run

my $before = $t->admin('GET', "keys/$id", undef, key => $admin)->json;
my $stream = $t->client(uri => '/slow/v1/completions', key => $key, body => {
    model => 'demo', prompt => 'Once', max_tokens => 900, stream => \1,
    ignore_eos => \1 });
my $proxied = $t->client(uri => '/up/x', key => $key, body => {
    model => 'far', stream => \1 });
ok($stream->next_event(20) && $proxied->next_event(20), 'two streams begin');


# the drill

my $r = $t->admin('POST', "keys/$id/leak", { reason => 'found in a log' },
                  key => $admin, headers => ['User-Agent: drill']);
$proxied->feed;
my $had = @{ $proxied->{events} };

is($r->{status}, 200, 'leak') or diag($r->{body});
is(ping($key), '401 key_revoked', 'the key is dead, in every worker');

LLM::Client->pump([$stream, $proxied], 20);
my ($last) = reverse $stream->data;
is($last->{error}{code}, 'key_revoked',
   'the engine\'s stream ends with an error event');
ok(!$stream->done && $stream->{complete}, 'without [DONE], and properly');
ok(!$proxied->{complete}, 'the proxied one is cut');
cmp_ok(@{ $proxied->{events} } - $had, '<=', 1, 'within one token');
my @got;
ok(wait_for(sub { push @got, $up->requests; grep { $_->{cut} } @got }),
   'the other server is told');

my $json = $r->json;
my $new = $json->{successor}{key};
push @secret, $new;
is($r->header('cache-control'), 'no-store', 'nobody may keep the answer');
is($json->{leaked}{id}, $id, 'what leaked');
ok($json->{leaked}{revoked}, 'is revoked');
ok(!exists $json->{leaked}{key}, 'is not repeated');
like($new, qr/^sk-[0-9a-f]{72}$/, 'the successor');
isnt($json->{successor}{id}, $id, 'has an id of its own');
is_deeply([@{ $json->{successor} }{qw(client role scopes)}],
          [@$before{qw(client role scopes)}], 'and the same scopes');
is(ping($new), '200', 'it works, in every worker');
is($t->post('/v1/completions', { model => 'demo', prompt => 'a',
            max_tokens => 1 }, key => $new)->{status}, 200, 'with the engine');
is(code($t->post('/up/plain', { model => 'not-mine' }, key => $new)),
   'model_not_allowed', 'within the scopes');

# the report

my $report = $json->{report};
my %addr = map { $_->{name} => $_ } @{ $report->{addresses} };
my %agent = map { $_->{name} => $_->{calls} } @{ $report->{user_agents} };
my %model = map { $_->{name} => $_->{calls} } @{ $report->{models} };
my %path = map { $_->{name} => $_->{calls} } @{ $report->{paths} };

is($report->{calls}, 201, 'all calls');
is($report->{failed}, 1, 'the one that failed');
is($report->{completion_tokens}, 30 * 20 + 20 * 3, 'tokens of answers');
cmp_ok($report->{prompt_tokens}, '>=', 30 * 10 + 20, 'tokens of prompts');
is($report->{tokens}, $report->{prompt_tokens} + $report->{completion_tokens},
   'tokens');
is_deeply({ map { $_ => $addr{$_}{calls} } keys %addr },
          { '127.0.0.1' => 150, '127.0.0.2' => 50, '127.0.0.66' => 1 },
          'addresses');
ok($addr{'127.0.0.66'}{unusual}, 'the one that is not like the others');
ok(!$addr{'127.0.0.1'}{unusual} && !$addr{'127.0.0.2'}{unusual},
   'and those that are');
is_deeply([@agent{qw(app/1.0 cron/2)}], [150, 50], 'agents');
is(scalar keys %agent, 3, 'three of them');
ok(!(grep { /[\x00-\x1f]/ } keys %agent), 'without control characters');
is($model{demo}, 20, 'the model of the engine');
is($model{far}, 30, 'and the other server\'s');
is_deeply(\%path, { '/ping' => 150, '/up/plain' => 31,
                    '/v1/completions' => 20 }, 'paths');
like($report->{first_seen}, qr/^20.*Z$/, 'first seen');
like($report->{last_seen}, qr/^20.*Z$/, 'last seen');

my $lines = join "\n", @{ $json->{integrations} };
like($lines, qr/app\/1\.0: 150 calls/, 'the application needs the new key');
like($lines, qr/cron\/2: 50 calls/, 'the cron job, too');
like($lines, qr/127\.0\.0\.2: 50 calls/, 'from its address');
unlike($lines, qr/127\.0\.0\.66/, 'not where nobody should be');

# once more, and bad ones

$r = $t->admin('POST', "keys/$id/leak", {}, key => $admin);
is($r->{status}, 200, 'the drill again') or diag($r->{body});
is($r->json->{successor}, undef, 'makes no second successor');
is(ping($new), '200', 'and leaves the first');
is($t->admin('POST', 'keys/key_000000000000000000000000/leak', {},
             key => $admin)->{status}, 404, 'an unknown key');
for my $reason ("a\nb", 'x' x 300, "it is $key", 5) {
    $r = $t->admin('POST', "keys/$second_id/leak", { reason => $reason },
                   key => $admin);
    is($r->{status}, 400, 'a bad reason');
    unlike($r->{body}, qr/sk-/, 'is not repeated');
}
# this one is in the request line that nginx itself logs
my ($pasted) = $t->key(client => 'pasted');
$r = $t->admin('POST', "keys/$pasted/leak", {}, key => $admin,
               headers => ["User-Agent: x $pasted"]);
is($r->{status}, 404, 'a key is no id');
unlike($r->{body}, qr/sk-[0-9a-f]{8}/, 'and is not repeated');
is($t->post('/up/plain', { model => $pasted }, key => $new)->{status}, 403,
   'nor is it a model');
is(ping($second), '200', 'nothing happened to another key');

# at once: one successor

my @c = map {
    $t->client(uri => "/admin/keys/$quiet_id/leak", method => 'POST',
               key => $admin, body => {})
} 1 .. 10;
LLM::Client->pump(\@c, 30);
is(scalar(grep { $_->{status} == 200 } @c), 10, 'ten drills at once')
    or diag(join ' ', map { $_->{status} . code($_) } @c);
my @next = grep { $_ } map { $_->json->{successor} } @c;
is(scalar @next, 1, 'make one successor');
push @secret, map { $_->{key} } @next;
($r) = map { $_->json } grep { $_->json->{successor} } @c;
is($r->{report}{calls}, 0, 'a key that was never used has an empty report');


# llmctl

sub leak {
    my ($arg, %o) = @_;
    my $r = $t->llmctl('key', 'leak', $arg, $t->keys_options, '--json', \%o);
    my $json = eval { decode_json($r->{out}) };
    push @secret, $json->{successor}{key} if $json && $json->{successor};
    return ($r, $json);
}

($r, $json) = leak($second_id);
is($r->{code}, 0, 'llmctl key leak ID') or diag($r->{err});
is(ping($second), '401 key_revoked', 'the key is dead');
is(ping($json->{successor}{key}), '200', 'the successor works');

my ($fourth, $fourth_id) = ($json->{successor}{key}, $json->{successor}{id});
($r, $json) = leak('-', stdin => "$fourth_id\n");
is($r->{code}, 0, 'an id on standard input') or diag($r->{err});
is($json->{leaked}{id}, $fourth_id, 'is that key');
is(ping($fourth), '401 key_revoked', 'which is dead');

($r, $json) = leak('-', stdin => "$third\n");
is($r->{code}, 0, 'the key itself on standard input') or diag($r->{err});
is($json->{leaked}{id}, $third_id, 'is found');
is(ping($third), '401 key_revoked', 'and dead');
unlike($r->{out} . $r->{err}, qr/\Q$third\E/, 'and not printed');

for my $stdin ('', "\n", "key_x\n", "sk-" . '0' x 72 . "\n", 'x' x 500) {
    ($r) = leak('-', stdin => $stdin);
    isnt($r->{code}, 0, 'not with ' . (length $stdin) . ' other bytes');
}
$r = $t->llmctl('key', 'leak', $admin, $t->keys_options);
isnt($r->{code}, 0, 'a key is no argument');
unlike($r->{out} . $r->{err}, qr/\Q$admin\E/, 'and is not repeated');


# a key with many calls

my $many = 6000;
my $count = calls($crowded, '127.0.0.1', 'busy', '/ping', $many);
is($count->{200}, $many, "$many calls");
calls($crowded, "127.0.1.$_", "agent-$_", '/ping', 1) for 1 .. 80;
settle();
$r = $t->llmctl('key', 'leak', $crowded_id, $t->keys_options);
is($r->{code}, 0, 'llmctl reports on it') or diag($r->{err});
like($r->{out}, qr/^calls: +@{[$many + 80]}, 0 of them failed$/m, 'all calls');
like($r->{out}, qr/^ +$many .* 127\.0\.0\.1$/m, 'the busy address');
like($r->{out}, qr/^ +1 .* 127\.0\.1\.\d+  \(unusual\)$/m, 'unusual ones');
like($r->{out}, qr/and 17 more/, 'those that do not fit are counted');
push @secret, $r->{out} =~ /\b(sk-[0-9a-f]{72})\b/;


# llm_notify: what was not taken comes again

my (%event, @raw);
ok(wait_for(sub {
    for my $got (@got, $up->requests) {
        next if ($got->{uri} // '') !~ m{^/notified};
        push @raw, $got;
        my $event = decode_json($got->{body});
        push @{ $event{ "$event->{event} $event->{key_id}" } }, $event;
    }
    @got = ();
    5 == grep { $event{"key_leaked $_"} } $id, $second_id, $third_id,
                                          $quiet_id, $crowded_id
        and @{ $event{"key_leaked $id"} } > 1
}, 30), 'llm_notify gets the events, and what failed again');

# the drill was repeated, and events may come in any order: the first one's
my ($event) = grep { defined $_->{successor_id} }
              @{ $event{"key_leaked $id"} || [] };
is($event->{client}, 'acme', 'an event has the client');
is($event->{actor}, $admin_id, 'who did it');
is($event->{calls}, 201, 'the calls');
is_deeply($event->{unusual_addresses}, ['127.0.0.66'],
          'and the unusual addresses');
like($event->{successor_id}, qr/^key_/, 'and the successor\'s id');
is($raw[0]{method}, 'POST', 'it is posted');
is($raw[0]{headers}{'content-type'}[0], 'application/json', 'as JSON');
is(scalar(grep { my $got = $_; grep { index($got->{body}, substr $_, 3, 40)
                                      >= 0 } @secret } @raw), 0,
   'no event has a key');
ok(wait_for { $t->error_log =~ /llm_notify: .* answered 500 to event 1/ },
   'the log says what was not taken');

# nobody else can

$up->requests;
my @tries = (
    ['GET', $t->get('/_notify')],
    ['POST', $t->post('/_notify', '{"event":"forged"}')],
    ['with a header', $t->post('/_notify', '{"event":"forged"}',
                               headers => ['User-Agent: nginx-llm'])],
    ['in other letters', $t->get('/%5fnotify')],
    ['by a way around', $t->get('/ping/../_notify')],
    ['below it', $t->get('/_notify/x')],
);
is($_->[1]{status}, 404, "outsiders: $_->[0]") for @tries;
$r = $t->curl('-o', '/dev/null', '-w', '%{http_code}', '--unix-socket',
              $t->dir . '/sock', '-d', '{}', 'http://localhost/_notify');
is($r->{out}, '404', 'outsiders: over a UNIX socket');
is(scalar(grep { ($_->{body} // '') =~ /forged|^\{\}$/ } $up->requests), 0,
   'the other side hears nothing of it');


# the log of changes, and what has kept a key

my @changes = @{ $t->admin('GET', 'changes?limit=1000', undef,
                           key => $admin)->json->{data} };
ok((grep { $_->{target} eq $id && $_->{action} eq 'key.leak'
           && $_->{detail} eq 'found in a log' } @changes),
   'the reason is in the changes');

$t->stop;
for my $file (sort glob($t->dir . '/*.log ' . $t->dir . '/store/*')) {
    my $text = slurp($file);
    my $found = grep { index($text, $_) >= 0
                       || index($text, substr $_, 3, 64) >= 0 } @secret;
    is($found, 0, 'no key in ' . $file =~ s{^.*/}{}r)
        if $file !~ /upstream/;
    is(index($text, substr $pasted, 3, 24), -1, '... nor one that was pasted')
        if $file =~ m{/store/|/error\.log$};
}

$t->done;
