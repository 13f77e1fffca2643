#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The audit trail of all kinds of calls: who asked what, when, from where, and
# what came of it; refused ones too, and those that went away.  Texts are found
# by their fingerprint and are not in the file; keys are nowhere in it.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($key, $id) = $t->key(client => 'acme', role => 'user');
my ($limited, $limited_id) = $t->key(client => 'small',
                                     args => ['--models', 'm', '--tpm', 9999]);
my ($revoked, $revoked_id) = $t->key(client => 'gone');
my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
$t->revoke($revoked_id);

$t->file('html/page', "page\n");

my $up = LLM::Upstream->new($t, 2, sub {
    my ($request) = @_;
    my $up = 'LLM::Upstream';
    return $up->answer(200, 'text/plain', '', 'X-Accel-Redirect: /plain/page')
        if $request->{uri} =~ /accel/;
    return $up->stream({ token => 'a' }, \10, { token => 'b' })
        if $request->{uri} =~ /slow/;
    return $up->json({ choices => [ { text => 'an answer of another server' } ],
                       usage => { prompt_tokens => 3,
                                  completion_tokens => 4 } });
});

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo {
        model %%DEMO%%; device cpu; threads 1; context 512; kv_cache 32m;
    }
    set_real_ip_from 127.0.0.1;

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        client_body_buffer_size 4k;

        location /page { llm_auth on; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /open/ { llm_auth off; llm_pass demo; }
        location /kept/ { llm_auth on; llm_pass demo; llm_audit_content on; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_2%%; }
        location /up_kept/ { llm_auth on; llm_audit_content on;
                             proxy_pass http://127.0.0.1:%%PORT_2%%; }
        location /unbuffered/ { llm_auth on; proxy_request_buffering off;
                                proxy_buffering off;
                                proxy_pass http://127.0.0.1:%%PORT_2%%; }
        location /off/ { llm_auth on; llm_audit off; alias %%DIR%%/html/; }
        location /plain/ { alias %%DIR%%/html/; }
        location /return { llm_auth on; return 204; }
        location /paged { llm_auth on; error_page 401 /plain/page; }
        location /open_paged/ { llm_auth off; llm_pass demo;
                                error_page 400 404 /plain/page; }
        location /limited { llm_auth on; client_max_body_size 10; }
        location /admin/ { llm_auth on; llm_admin; }
        location ~ /(healthz|readyz)$ { llm_auth off; llm_pass demo; }
    }

    # for what is refused before there is a location
    server {
        listen 127.0.0.1:%%PORT_1%%;
        llm_auth on;
    }
}
END


sub audit {
    my (@args) = @_;
    my $r = $t->llmctl('audit', 'query', $t->keys_options, '--json', @args);
    diag($r->{err}) if $r->{code};
    return map { decode_json($_) } split /\n/, $r->{out};
}

# a call's records, by the id of its answer

sub of {
    my ($r, %o) = @_;
    my $id = $r->header('x-request-id');
    my @got;

    wait_for { @got = audit('--request', $id);
               @got && ($o{unfinished} || $got[0]{end}) };
    return $got[0] // {};
}

# the part of a record that is to be so

sub like_this {
    my ($got, $want, $name) = @_;
    my %part = map { $_ => $got->{$_} } keys %$want;
    is_deeply(\%part, $want, $name) or diag(encode_json($got));
}

my %ask = (model => 'demo', prompt => 'Once upon a time', max_tokens => 6,
           temperature => 0);


# the engine

my $r = $t->post('/v1/completions', \%ask, key => $key,
                 headers => ['User-Agent: ua/1', 'X-Real-IP: 192.0.2.7']);
my $text = $r->text;
my $call = of($r);

like_this($call, { key => $id, client => 'acme', role => 'user',
    method => 'POST', path => '/v1/completions', model => 'demo',
    user_agent => 'ua/1', address => '192.0.2.7', status => 200,
    completion_tokens => 6, finish_reason => 'length' }, 'a document');
is($call->{bytes_sent}, length $r->{body}, 'its bytes');

$r = $t->post('/v1/completions', { %ask, stream => \1, n => 2 }, key => $key);
like_this(of($r), { status => 200, completion_tokens => 12,
                    finish_reason => 'length' }, 'a stream');

$r = $t->post('/open/completions', \%ask);
like_this(of($r), { key => undef, status => 200, model => 'demo' },
          'without a key');

$r = $t->post('/v1/completions', { model => 'demo' }, key => $key);
like_this(of($r), { status => 400, error_code => 'missing_field' },
          'an error of the engine');

$r = $t->get('/v1/models', key => $key);
like_this(of($r), { status => 200, path => '/v1/models' }, 'models');

# one that goes away in the middle of its stream

my $c = $t->client(uri => '/v1/completions', key => $key,
                   body => { %ask, stream => \1, max_tokens => 400,
                             ignore_eos => \1 });
ok($c->next_event, 'a stream begins');
my $gone = $c->header('x-request-id');
$c->close;
my @got;
ok(wait_for { @got = audit('--request', $gone); $got[0] && $got[0]{end} },
   'one that went away is closed');
ok($got[0]{completion_tokens} < 400, 'with what it took');
is($got[0]{finish_reason}, undef, 'and no finish');


# refused

for my $case (
    ['no key', {}, 401, 'invalid_api_key', undef],
    ['a wrong key', { key => 'sk-' . '0' x 72 }, 401, 'invalid_api_key',
     undef],
    ['a revoked key', { key => $revoked }, 401, 'key_revoked', $revoked_id])
{
    my ($name, $o, $status, $code, $of) = @$case;
    $r = $t->get('/page', %$o);
    like_this(of($r), { status => $status, error_code => $code, key => $of },
              $name);
}

$r = $t->get('/page', key => $key);
like_this(of($r), { status => 200, path => '/page', bytes_sent => 5 },
          'a file');
$r = $t->get('/nothing-here', key => $key);
is($r->header('x-request-id'), '', 'a location without keys has no record');
$r = $t->get('/return', key => $key);
like_this(of($r), { status => 204 }, 'a return');
$r = $t->post('/paged', 'x');
is($r->{body}, "page\n", 'an error page of a location without keys');
like_this(of($r), { status => 401, method => 'POST', path => '/paged' },
          'has its record');
$r = $t->post('/open_paged/completions', {});
is($r->{body}, "page\n", 'one of an engine without keys');
like_this(of($r), { status => 400, method => 'POST',
                    path => '/open_paged/completions' }, 'too');
my $accel = $t->raw("POST /up/accel HTTP/1.1\r\nHost: a\r\n"
                    . "Authorization: Bearer $key\r\nConnection: close\r\n"
                    . "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
                    . "0\r\n\r\n");
like($accel, qr/\r\n\r\npage\n\z/, 'a file that another server tells of');
my $idacc = $accel =~ /X-Request-Id: (\w+)/i ? $1 : 'none';
my @accel;
wait_for { @accel = audit('--request', $idacc); $accel[0] && $accel[0]{end} };
like_this($accel[0] // {}, { status => 200, method => 'POST', key => $id,
                             path => '/up/accel' }, 'too');
$r = $t->post('/limited', 'x' x 100, key => $key);
like_this(of($r), { status => 413 }, 'a body that is too large');
my $id400 = $t->raw("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", port => 1)
            =~ /X-Request-Id: (\w+)/i ? $1 : 'none';
wait_for { @got = audit('--request', $id400); $got[0] && $got[0]{end} };
like_this($got[0] // {}, { status => 400 }, 'a malformed request');
$r = $t->get("/page/$key", key => $key);
unlike(encode_json(of($r)), qr/$key/, 'a key in the path is made unreadable');


# other servers

my $said = 'words that are to be found';
my $answer;

for my $path ('up', 'unbuffered') {
    $r = $t->post("/$path/v1", { model => 'other', prompt => "$said $path" },
                  key => $key);
    $answer = $r->{body};
    like_this(of($r), { status => 200, model => 'other', path => "/$path/v1",
                        prompt_tokens => 3, completion_tokens => 4 },
              "another server, $path") if $path eq 'up';
    like_this(of($r), { status => 200 }, "another server, $path")
        if $path ne 'up';
}

$r = $t->post('/up/limited', { model => 'm', prompt => $said, max_tokens => 5 },
              key => $limited);
like_this(of($r), { status => 200, key => $limited_id, model => 'm' },
          'a limited key');
$r = $t->post('/up/limited', { model => 'other', prompt => $said },
              key => $limited);
like_this(of($r), { status => 403, error_code => 'model_not_allowed' },
          'another model');
$r = $t->post('/up/large', { prompt => 'long ' . 'y' x 20_000 }, key => $key);
like_this(of($r), { status => 200 }, 'a body in a file');

$c = $t->client(uri => '/unbuffered/slow', key => $key);
ok($c->next_event, 'a stream of another server');
$gone = $c->header('x-request-id');
$c->close;
ok(wait_for { @got = audit('--request', $gone); $got[0] && $got[0]{end} },
   'is closed when its client goes away');


# in chunks, with an upgrade that nobody makes

my $chunked = encode_json({ prompt => "$said chunked" });
$t->raw("POST /up/v1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $key\r\n"
        . "Upgrade: x\r\nConnection: upgrade, close\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n"
        . sprintf("%x\r\n%s\r\n0\r\n\r\n", length $chunked, $chunked));


# texts

sub found {
    my ($what, %o) = @_;
    my $r = $t->llmctl('audit', 'lookup', $t->keys_options, '--json',
                       { stdin => $what });
    diag($r->{err}) if $r->{code} && !$o{none};
    return map { decode_json($_) } split /\n/, $r->{out};
}

@got = found('Once upon a time');
cmp_ok(scalar @got, '>=', 3, 'a prompt is found');
@got = found($text);
cmp_ok(scalar @got, '>=', 2, 'a generated text, streamed or not');
is(scalar(@got = found("$said up")), 1, 'what another server was asked');
is(scalar(@got = found("$said chunked")), 1, 'in chunks, too');
is(scalar(@got = found('long ' . 'y' x 20_000)), 1, 'from a file too');
cmp_ok(scalar(@got = found($answer)), '>=', 2, 'and its answer');
is(scalar(@got = found('words that nobody said', none => 1)), 0,
   'nothing else is');

$r = $t->post('/kept/completions', \%ask, key => $key);
my $kept = of($r);
$r = $t->post('/up_kept/v1', { prompt => $said }, key => $key);
my $up_kept = of($r);
ok($kept->{input_kept} && $kept->{output_kept}, 'content is kept')
    or diag(encode_json($kept));
ok($up_kept->{output_kept}, 'of another server too')
    or diag(encode_json($up_kept));


# administration

my $n = audit('--limit', 0);
$t->get('/off/page', key => $key);
$t->get('/plain/page');
$t->get('/healthz') for 1 .. 3;
is(scalar(my @all = audit('--limit', 0)), $n,
   'nothing of what is not audited, nor of probes');

$r = $t->admin('POST', 'keys', { client => 'new', role => 'user' },
               key => $admin);
my $new = $r->json;
like_this(of($r), { status => 201, path => '/admin/keys', key => $admin_id,
                    role => 'admin' }, 'a change');
$r = $t->admin('POST', "keys/$new->{id}/revoke", {}, key => $admin);
like_this(of($r), { status => 200 }, 'a revocation');
$r = $t->admin('GET', 'keys', undef, key => $admin);
like_this(of($r), { status => 200 }, 'a list');
@got = audit('--actions', '--key', $admin_id);
is(scalar @got, 2, 'changes are actions');

# the end

ok($t->quit, 'nginx ends');
is(scalar(@got = audit('--unfinished', '--limit', 0)), 0, 'all calls ended');

$r = $t->llmctl('audit', 'verify', $t->keys_options);
is($r->{code}, 0, 'the trail is whole') or diag($r->{out}, $r->{err});

my $file = slurp($t->dir . '/store/audit.mdb');

unlike($file, qr/$_/, 'and holds no key')
    for map { quotemeta } $key, $admin, $limited, $new->{key};
unlike($file, qr/\Q$said\E|Once upon a time/, 'nor any text');

$t->done;
