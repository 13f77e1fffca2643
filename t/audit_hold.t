#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# No byte of an answer leaves before its opening record is durable: while
# another process has the trail's lock nothing comes, whatever the answer is
# and however it is sent.  Then all of it comes, whole and once.  When the lock
# is not let go the client gets 503.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 120);
$t->init->certificate;

my ($key) = $t->key(client => 'acme', role => 'user');
my ($admin) = $t->key(client => 'boss', role => 'admin');

my $long = join '', map { "line $_ of a long text\n" } 1 .. 40_000;

$t->file('html/page', "page\n");
$t->file('html/long', $long);
$t->file('html/ssi.shtml', 'one <!--# include virtual="/free/part" --> two');
$t->file('html/free/part', 'part');

my $big = 'x' x 300_000;

my $up = LLM::Upstream->new($t, 3, sub {
    my ($request) = @_;
    my $up = 'LLM::Upstream';
    return $up->stream((map { ({ token => $_ }, \0.02) } 1 .. 10),
                       "data: [DONE]\n\n")
        if $request->{uri} =~ /stream/;
    return $up->json({ text => $big }) if $request->{uri} =~ /big/;
    return $up->answer(200, 'text/plain', '', 'X-Accel-Redirect: /free/part')
        if $request->{uri} =~ /accel/;
    return $up->answer(404, 'application/json', '{"upstream":404}')
        if $request->{uri} =~ /none/;
    return $up->json({ text => 'short' });
});

$t->conf(<<'END')->start;
%%MAIN%%
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo {
        model %%DEMO%%; device cpu; threads 1; context 512; kv_cache 32m;
    }
    keepalive_timeout 30;
    gzip_types application/json text/plain;
    ssl_certificate %%DIR%%/cert.pem;
    ssl_certificate_key %%DIR%%/key.pem;
    default_type text/plain;
    proxy_cache_path %%DIR%%/tmp/cache keys_zone=cache:1m;

    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen 127.0.0.1:%%PORT_1%% ssl http2;
        listen 127.0.0.1:%%PORT_2%% http2;
        root %%DIR%%/html;
        llm_auth on;

        location /v1/ { llm_pass demo; }
        location /up/ { proxy_pass http://127.0.0.1:%%PORT_3%%; }
        location /raw/ { proxy_pass http://127.0.0.1:%%PORT_3%%;
                         proxy_buffering off; }
        location /small/ { proxy_pass http://127.0.0.1:%%PORT_3%%;
                           proxy_buffers 4 4k; proxy_buffer_size 4k;
                           proxy_busy_buffers_size 8k;
                           proxy_max_temp_file_size 0; }
        location /zip/ { proxy_pass http://127.0.0.1:%%PORT_3%%; gzip on;
                         gzip_http_version 1.0; gzip_proxied any; }
        location /admin/ { llm_admin; }
        location /return { return 200 "returned\n"; }
        location /moved { return 302 /page; }
        location /slow { limit_rate 400k; alias %%DIR%%/html/long; }
        location /small_body { client_max_body_size 10; }
        location /named { error_page 404 = @named; }
        location @named { return 200 "named\n"; }
        location /cached/ { proxy_cache cache; proxy_cache_valid 200 1m;
                            proxy_pass http://127.0.0.1:%%PORT_3%%; }
        location /try { try_files /nothing /page; }
        location /asks { auth_request /free/part; alias %%DIR%%/html/page; }
        location /mirror { mirror /up/short; alias %%DIR%%/html/page; }
        location /any { satisfy any; allow all; alias %%DIR%%/html/page; }
        location /paged { error_page 401 /free/part; }
        location /ssi { ssi on; ssi_types *; alias %%DIR%%/html/ssi.shtml; }
        location /free/ { llm_auth off; }
        location /off/ { llm_audit off; alias %%DIR%%/html/; }
        location ~ /(healthz|readyz)$ { llm_auth off; llm_pass demo; }
    }
}
END

my $hold = LLM::Hold->new($t, file => 'audit.mdb');

my %ask = (model => 'demo', prompt => 'Once', max_tokens => 8,
           temperature => 0);
my $text = $t->post('/v1/completions', \%ask, key => $key)->text;
my ($tag) = $t->get('/page', key => $key)->header('etag');
$t->get('/cached/big', key => $key);

# name, what is asked, status, what is right of the answer

my @cases = (
    ['a document', { uri => '/v1/completions', body => \%ask }, 200,
     sub { $_[0]->text eq $text }],
    ['a stream', { uri => '/v1/completions',
                   body => { %ask, stream => \1 } }, 200,
     sub { $_[0]->text eq $text && $_[0]->done == 1 }],
    ['an error of the engine', { uri => '/v1/completions', body => {} }, 400,
     sub { $_[0]->json->{error}{code} eq 'missing_field' }],
    ['models', { uri => '/v1/models' }, 200,
     sub { $_[0]->json->{data}[0]{id} eq 'demo' }],
    ['no key', { uri => '/page', key => undef }, 401,
     sub { $_[0]->json->{error}{code} eq 'invalid_api_key' }],
    ['a wrong key', { uri => '/page', key => 'sk-' . '0' x 72 }, 401,
     sub { $_[0]->json->{error}{code} eq 'invalid_api_key' }],
    ['no role', { uri => '/admin/keys' }, 403,
     sub { length $_[0]->json->{error}{code} }],
    ['administration', { uri => '/admin/self', key => $admin }, 200,
     sub { $_[0]->json->{client} eq 'boss' }],
    ['a change', { uri => '/admin/keys', key => $admin,
                   body => { client => 'new', role => 'user' } }, 201,
     sub { $_[0]->json->{key} =~ /^sk-/ }],
    ['a file', { uri => '/page' }, 200, sub { $_[0]{body} eq "page\n" }],
    ['a long file', { uri => '/long' }, 200, sub { $_[0]{body} eq $long }],
    ['a slow file', { uri => '/slow' }, 200, sub { $_[0]{body} eq $long }],
    ['a range', { uri => '/long', headers => ['Range: bytes=5-9'] }, 206,
     sub { $_[0]{body} eq substr $long, 5, 5 }],
    ['two ranges', { uri => '/long', headers => ['Range: bytes=0-3,10-12'] },
     206, sub { my @n = $_[0]{body} =~ /Content-Range/g; @n == 2 }],
    ['no range', { uri => '/page', headers => ['Range: bytes=100-'] }, 416,
     sub { 1 }],
    ['a HEAD', { uri => '/long', method => 'HEAD' }, 200,
     sub { $_[0]->header('content-length') == length $long
           && $_[0]{body} eq '' }],
    ['not modified', { uri => '/page', headers => ["If-None-Match: $tag"] },
     304, sub { $_[0]{body} eq '' }],
    ['a failed condition', { uri => '/long', headers => ['If-Match: "no"'] },
     412, sub { $_[0]->json->{error} }],
    ['a HEAD of a failed condition', { uri => '/long', method => 'HEAD',
                                       headers => ['If-Match: "no"'] },
     412, sub { 1 }],
    ['not found', { uri => '/nothing' }, 404, sub { $_[0]->json->{error} }],
    ['an error page', { uri => '/named/x' }, 200,
     sub { $_[0]{body} eq "named\n" }],
    ['a return', { uri => '/return' }, 200,
     sub { $_[0]{body} eq "returned\n" }],
    ['a redirect', { uri => '/moved' }, 302,
     sub { $_[0]->header('location') =~ m{/page$} }],
    ['a long body', { uri => '/small_body', body => 'x' x 100 }, 413,
     sub { $_[0]->json->{error}{code} eq 'request_too_large' }],
    ['a subrequest', { uri => '/ssi' }, 200,
     sub { $_[0]{body} eq 'one part two' }],
    ['an upstream', { uri => '/up/short', body => { a => 1 } }, 200,
     sub { $_[0]->json->{text} eq 'short' }],
    ['its error', { uri => '/up/none' }, 404,
     sub { $_[0]{body} eq '{"upstream":404}' }],
    ['no upstream', { uri => '/up/none', key => undef }, 401, sub { 1 }],
    ['a large one', { uri => '/up/big' }, 200,
     sub { $_[0]->json->{text} eq $big }],
    ['with small buffers', { uri => '/small/big' }, 200,
     sub { $_[0]->json->{text} eq $big }],
    ['not buffered', { uri => '/raw/big' }, 200,
     sub { $_[0]->json->{text} eq $big }],
    ['its stream', { uri => '/raw/stream', body => {} }, 200,
     sub { 10 == $_[0]->data && $_[0]->done == 1 }],
    ['a buffered stream', { uri => '/up/stream' }, 200,
     sub { 10 == $_[0]->data && $_[0]->done == 1 }],
    ['gzip', { uri => '/zip/big', headers => ['Accept-Encoding: gzip'] }, 200,
     sub {
         require IO::Uncompress::Gunzip;
         IO::Uncompress::Gunzip::gunzip(\$_[0]{body} => \my $plain);
         decode_json($plain)->{text} eq $big }],
    ['a cached one', { uri => '/cached/big' }, 200,
     sub { $_[0]->json->{text} eq $big }],
    ['a file that it tells of', { uri => '/up/accel' }, 200,
     sub { $_[0]{body} eq 'part' }],
    ['the same, asked with a body in chunks',
     { uri => '/up/accel', body => "1\r\na\r\n0\r\n\r\n",
       headers => ['Transfer-Encoding: chunked'] }, 200,
     sub { $_[0]{body} eq 'part' }],
    ['try_files', { uri => '/try' }, 200, sub { $_[0]{body} eq "page\n" }],
    ['auth_request', { uri => '/asks' }, 200,
     sub { $_[0]{body} eq "page\n" }],
    ['mirror', { uri => '/mirror' }, 200, sub { $_[0]{body} eq "page\n" }],
    ['satisfy any', { uri => '/any', key => undef }, 200,
     sub { $_[0]{body} eq "page\n" }],
    ['refused, with a page that is not audited',
     { uri => '/paged', key => undef }, 401, sub { $_[0]{body} eq 'part' }],
    ['HTTP/1.0', { uri => '/up/short', version => '1.0' }, 200,
     sub { $_[0]->json->{text} eq 'short' }],
    ['TLS', { uri => '/long', port => 1, tls => 1 }, 200,
     sub { $_[0]{body} eq $long }],
    ['a stream in TLS', { uri => '/v1/completions', port => 1, tls => 1,
                          body => { %ask, stream => \1 } }, 200,
     sub { $_[0]->text eq $text && $_[0]->done == 1 }],
);

sub ask {
    my ($case) = @_;
    return $t->client(key => $key, %{ $case->[1] });
}

# curl, with its output in a file

my @curls;

sub curl {
    my ($name, $want, @args) = @_;
    my $file = $t->dir . '/curl.' . @curls;

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        alarm 0;
        open STDOUT, '>', $file;
        open STDERR, '>', "$file.err";
        exec 'curl', '-sSkN', '--max-time', 30, '-H',
             "Authorization: Bearer $key", @args or POSIX::_exit(127);
    }

    push @curls, { pid => $pid, file => $file, name => $name, want => $want };
}


# what is not audited goes on

ok($hold->take, 'the trail is locked');

my @clients = map { ask($_) } @cases;

my $h2 = 'http://127.0.0.1:' . $t->port(2);
my $h2s = 'https://127.0.0.1:' . $t->port(1);
my @h2 = ('--http2-prior-knowledge');

curl('HTTP/2: a long file', $long, @h2, "$h2/long");
curl('HTTP/2: an upstream', "{\"text\":\"$big\"}", @h2, "$h2/up/big");
curl('HTTP/2: a stream', qr/^(?:data: .*\n\n)+data: \[DONE\]\n\n$/s, @h2,
     '-d', encode_json({ %ask, stream => \1 }), "$h2/v1/completions");
curl('HTTP/2: a HEAD', qr{^HTTP/2 200 }, @h2, '-I', "$h2/long");
curl('HTTP/2 in TLS', $long, '--http2', "$h2s/long");
curl('HTTP/2: refused', qr/invalid_api_key/, @h2, '-H', 'x-api-key: no',
     "$h2/page");

is($t->get('/off/page', key => $key)->{status}, 200,
   'what is not audited is answered');

my @asked;

sub asked { push @asked, $up->requests; return scalar @asked }

wait_for { asked() >= 10 } 3;
LLM::Client->pump(\@clients, 1.5);

is(join(', ', map { $cases[$_][0] }
        grep { $clients[$_]{status} || length $clients[$_]{in}
               || !$clients[$_]{socket} } 0 .. $#cases), '',
   'no byte left, and nobody was cut off');
is(join(', ', map { $_->{name} } grep { -s $_->{file} } @curls), '',
   'none in HTTP/2');
cmp_ok(asked(), '>=', 10,
       'other servers are asked meanwhile');

my $r = $t->llmctl('key', 'list', $t->keys_options, '--json');
unlike($r->{out}, qr/"new"/, 'no change is made meanwhile');

# three that go away, and a worker that is told to quit

my @gone = map { $t->client(uri => $_, key => $key) }
           '/long', '/up/short', '/page';
LLM::Client->pump(\@gone, 0.3);
$_->close for @gone;

$hold->let_go;

ok(LLM::Client->pump(\@clients, 30), 'all have ended');

for my $i (0 .. $#cases) {
    my ($name, undef, $status, $right) = @{ $cases[$i] };
    my $c = $clients[$i];

    ok($c->{status} == $status && $c->{complete} && $right->($c),
       "$name: $status")
        or diag("$c->{status} " . ($c->{error} // '') . ' '
                . substr $c->{body}, 0, 200);
}

for my $curl (@curls) {
    waitpid $curl->{pid}, 0;
    my $got = slurp($curl->{file});

    ok(ref $curl->{want} ? $got =~ $curl->{want} : $got eq $curl->{want},
       $curl->{name}) or diag(substr($got, 0, 200), slurp("$curl->{file}.err"));
}

$r = $t->llmctl('key', 'list', $t->keys_options, '--json');
like($r->{out}, qr/"new"/, 'the change is made');


# keepalive and pipelining

ok($hold->take, 'locked again');

my $head = "Host: localhost\r\nAuthorization: Bearer $key\r\n";
my $pipe = IO::Socket::INET->new('127.0.0.1:' . $t->port(0));
my $last = $t->client(uri => '/raw/stream', key => $key);

print $pipe "GET /page HTTP/1.1\r\n$head\r\n",
            "GET /return HTTP/1.1\r\n$head\r\n",
            "GET /nothing HTTP/1.1\r\n${head}Connection: close\r\n\r\n";
$pipe->flush;

ok(!IO::Select->new($pipe)->can_read(1),
   'nothing comes of three requests in one');
$hold->let_go;
my $got = do { local $/; <$pipe> };
like($got, qr{^HTTP/1.1 200 .*page\nHTTP/1.1 200 .*returned\nHTTP/1.1 404 }s,
     'all three, in their order');


# a worker that is told to quit stays for what is held

$last->wait(10);
ok($hold->take, 'and again');

my @held = map { $t->client(key => $key, %$_) }
           { uri => '/page' }, { uri => '/up/short' },
           { uri => '/v1/completions', body => \%ask };

LLM::Client->pump(\@held, 0.5);
my @old = $t->pids('worker');
ok($t->reload, 'another worker');
LLM::Client->pump(\@held, 0.5);
is((grep { $_->{socket} } @held), 3, 'what is held is held');

# the new one has not even opened the trail

push @held, $t->client(uri => '/admin/audit?limit=1', key => $admin);
LLM::Client->pump(\@held, 0.5);
$hold->let_go;
ok(LLM::Client->pump(\@held, 15), 'and answered');
is(join(' ', map { $_->{status} } @held), '200 200 200 200', 'well');
ok(wait_for { my %now = map { $_ => 1 } $t->pids('old_worker');
              !grep { $now{$_} } @old }, 'the old worker ends');


# nobody lets go, and the first that is to be written are ends of calls

my $ends = $t->client(uri => '/slow', key => $key);
LLM::Client->pump([$ends], 0.5);
ok(length $ends->{in} || length $ends->{body}, 'a slow file begins');
ok($hold->take, 'a lock that stays');
$ends->wait(15);
ok($ends->{complete}, 'and ends');
LLM::Client->pump([$ends], 0.2);

my @late = map { $t->client(key => $key, %$_) }
           { uri => '/page' }, { uri => '/up/big' }, { uri => '/raw/stream' },
           { uri => '/v1/completions', body => \%ask },
           { uri => '/v1/completions', body => { %ask, stream => \1 } },
           { uri => '/long', method => 'HEAD' }, { uri => '/nothing' },
           { uri => '/admin/keys', key => $admin,
             body => { client => 'late', role => 'user' } };

ok(LLM::Client->pump(\@late, 25), 'nobody waits for ever');
is(join(' ', map { $_->{status} } @late), join(' ', (503) x 8), 'all are 503');
is(join(' ', map { $_->json->{error}{code} } grep { $_->{body} ne '' } @late),
   join(' ', ('audit_unavailable') x 7), 'which say why');
is((grep { $_->{complete} } @late), 8, 'complete');
is((grep { $_->header('retry-after') } @late), 8, 'with Retry-After');
is((grep { $_->header('x-request-id') =~ /^[0-9a-f]{32}$/ } @late), 8,
   'and their id');

my $now = $t->get('/page', key => $key, timeout => 3);
is($now->{status}, 503, 'the next one need not wait');

$r = $t->llmctl('key', 'list', $t->keys_options, '--json');
unlike($r->{out}, qr/"late"/, 'no change was made');
$hold->let_go;

ok(wait_for { $t->get('/page', key => $key)->{status} == 200 },
   'it is served again');

$t->done;
