#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llm_auth before llm_pass, proxy_pass and static files: who gets in, what is
# answered to who does not, what an upstream sees, what a revocation does.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($key, $id) = $t->key(client => 'acme', role => 'user');
my ($op, $op_id) = $t->key(client => 'ops', role => 'operator');
my ($root) = $t->key(client => 'boss', role => 'admin');
my ($late) = $t->key(client => 'late', role => 'user', expires => '1s');

$t->file('html/page.txt', "static\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    log_format llm '$uri $status "$llm_key_id" "$llm_client" "$llm_role" '
                   '"$http_authorization" "$http_x_api_key"';
    access_log %%DIR%%/llm.log llm;
    large_client_header_buffers 4 64k;

    llm_engine demo { model %%DEMO%%; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location = /page.txt { llm_auth on; }
        location /ops/ { llm_auth on role=operator; alias %%DIR%%/html/; }
        location /admin/ { llm_auth on role=admin; alias %%DIR%%/html/; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%/; }
        location /slow/ { llm_auth on; proxy_buffering off;
                          proxy_pass http://127.0.0.1:%%PORT_2%%/; }
        location /again/ { llm_auth on; error_page 404 = @again;
                           alias %%DIR%%/none/; }
        location @again { llm_auth on; root %%DIR%%/html;
                          rewrite ^ /page.txt break; }
        location /own/ { llm_auth on; error_page 401 /sorry.txt;
                         alias %%DIR%%/html/; }
        location = /sorry.txt { llm_auth off; return 200 "sorry"; }
    }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        location / {
            default_type text/plain;
            return 200 "auth=$http_authorization key=$http_x_api_key client=$http_x_llm_client role=$http_x_llm_role id=$http_x_llm_key_id other=$http_x_other host=$http_host";
        }
    }
}
END

# shapes of a key

sub status {
    my ($uri, @headers) = @_;
    return $t->get($uri, headers => [@headers])->{status};
}

my $uri = '/page.txt';

is(status($uri), 401, 'no key');
is(status($uri, "Authorization: Bearer $key"), 200, 'a bearer key');
is(status($uri, "authorization: bearer   $key"), 200, 'as others write it');
is(status($uri, "x-api-key: $key"), 200, 'x-api-key');
is(status($uri, "x-api-key: $key", "Authorization: Bearer $key"), 200,
   'the same key twice');
is(status($uri, "x-api-key: $key", "Authorization: Bearer $op"), 401,
   'two keys');
is(status($uri, "x-api-key: $key", "x-api-key: $op"), 401,
   'two keys in two x-api-key');
isnt(status($uri, "Authorization: Bearer $key", "Authorization: Bearer $op"),
   200, 'two Authorization headers');
is(status($uri, "Authorization: Basic " . 'dXNlcjpwYXNz'), 401, 'Basic');
is(status("$uri?api_key=$key"), 401, 'a key in the query');

my %bad = (
    'empty' => '', 'a word' => 'letmein', 'SQL' => "' OR 1=1 --",
    'too long' => 'sk-' . 'a' x 30000, 'invalid UTF-8' => "sk-\xff\xfe\xc0",
    'its upper case' => uc $key, 'a character less' => substr($key, 0, -1),
    'a character more' => $key . '0',
    'a shared beginning' => substr($key, 0, 40) . substr($op, 40),
    'another last character'
        => substr($key, 0, -1) . (substr($key, -1) eq '0' ? '1' : '0'),
    'the public id' => $id,
);

for my $name (sort keys %bad) {
    my $r = $t->get($uri, headers => ["Authorization: Bearer $bad{$name}"]);
    is($r->{status}, 401, "$name is refused");
    my $body = $r->{body};
    ok(length $bad{$name} < 6 || index($body, substr $bad{$name}, 3, 10) < 0,
       "$name is not echoed");
}

my $raw = $t->raw("GET $uri HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    . "Authorization: Bearer $key\0\r\n\r\n");
unlike($raw, qr{^HTTP/1.1 200}, 'NUL after the key');
$raw = $t->raw("GET $uri HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    . "Authorization: Bearer sk-\r\n $key\r\n\r\n");
unlike($raw, qr{^HTTP/1.1 200}, 'a folded header');

# the answer's shape

my $r = $t->post('/v1/chat/completions', {});
is($r->{status}, 401, 'the API without a key');
is($r->header('content-type'), 'application/json', 'JSON');
like($r->header('www-authenticate'), qr/^Bearer/, 'WWW-Authenticate');
is($r->json->{error}{code}, 'invalid_api_key', 'a stable code');
is($r->json->{error}{type}, 'authentication_error', 'a type');
is($r->json->{error}{request_id}, $r->header('x-request-id'), 'request id');
like($r->json->{error}{request_id}, qr/^[0-9a-f]{32}$/, 'of its form');

$r = $t->post('/v1/messages', {});
is($r->json->{type}, 'error', 'Anthropic: an error');
is($r->json->{error}{type}, 'authentication_error', 'Anthropic: its type');
is($r->json->{request_id}, $r->header('x-request-id'), 'Anthropic: id');

is($t->get('/own/x')->{body}, 'sorry', "an error_page of the user's");

# roles

is($t->get('/ops/page.txt', key => $key)->{status}, 403, 'user at operator');
is($t->get('/ops/page.txt', key => $op)->{status}, 200, 'operator');
is($t->get('/ops/page.txt', key => $root)->{status}, 200, 'admin');
is($t->get('/admin/page.txt', key => $op)->{status}, 403, 'operator at admin');
is($t->get('/admin/page.txt', key => $root)->{status}, 200, 'admin at admin');
$r = $t->get('/admin/page.txt', key => $key);
is($r->json->{error}{code}, 'role_required', 'a code');
is($r->json->{error}{type}, 'permission_error', 'a type');

# an upstream

$r = $t->get('/up/', key => $key, headers => ['X-Other: kept',
    'X-LLM-Client: forged', 'x-llm-role: admin', 'X_LLM_Role: admin',
    "x-api-key: $key"]);
is($r->{status}, 200, 'proxy_pass');
like($r->{body}, qr/auth= key= client=acme role=user id=\Q$id\E other=kept/,
     'an upstream sees who it is, not the key');
is($t->get('/up/')->{status}, 401, 'proxy_pass without a key');

$r = $t->get('/again/x', key => $key);
is($r->{body}, "static\n", 'an internal redirect keeps the identity');
is($t->get('/again/x')->{status}, 401, 'and asks for one');

# expiry

wait_for { $t->get($uri, key => $late)->{status} == 401 } 5;
is($t->get($uri, key => $late)->json->{error}{code}, 'key_expired',
   'an expired key');

# revocation: at once, in every worker

my $revoked = $t->revoke($op_id);
is($revoked->{code}, 0, 'revoke');

my %seen;
for (1 .. 40) {
    my $got = $t->get($uri, key => $op);
    $seen{"$got->{status} " . ($got->json->{error}{code} // '')}++;
}
is_deeply([keys %seen], ['401 key_revoked'], 'no worker admits the key');

# of a running stream

my ($doomed, $doomed_id) = $t->key(client => 'doomed');
my $stream = $t->client(uri => '/v1/completions', key => $doomed, body => {
    model => 'demo', prompt => 'Once', stream => \1, ignore_eos => \1,
    max_tokens => 900 });
ok($stream->next_event(20), 'a stream runs');
$t->revoke($doomed_id);
$stream->wait(20);
my ($last) = reverse $stream->data;
is($last->{error}{code}, 'key_revoked', 'its key is revoked: it ends');
ok(!$stream->done, 'and is not called done');
ok($stream->{complete}, 'in good order');

# of what an upstream streams

my ($gone, $gone_id) = $t->key(client => 'gone');
my $listen = $t->{sockets}[2] && IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $t->port(2), Listen => 5,
    ReuseAddr => 1);
SKIP: {
    skip 'no upstream', 2 if !$listen;
    my $client = $t->client(uri => '/slow/', key => $gone);
    my $up = $listen->accept;
    sysread $up, my $request, 65536;
    unlike($request, qr/sk-/, 'no key reaches the upstream');
    print $up "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nfirst\n";
    $up->flush;
    $client->wait(10, sub { $_[0]{body} =~ /first/ });
    $t->revoke($gone_id);
    print $up "second\n";
    $up->flush;
    $client->wait(10);
    unlike($client->{body}, qr/second/, 'a revoked key reads no more of it');
}

# what was written down

my $log = slurp($t->dir . '/llm.log') . slurp($t->dir . '/access.log');
like($log, qr{/page.txt 200 "\Q$id\E" "acme" "user" "-" "-"},
     'the variables, and no key in the log');

# nginx itself quotes malformed header lines, at the level info
my $error_log = join "\n", grep { !/client sent (?:duplicate|invalid) header/ }
    split /\n/, $t->error_log;
# nor does it ask this module before it refuses two Authorization headers
$log =~ s/^.*(?:\?api_key=|txt 400 ).*$//mg;
for my $secret ($key, $op, $root, $doomed, $late) {
    ok(index($error_log . $log, substr $secret, 3, 16) < 0,
       'no key in any log');
}

$t->done;
