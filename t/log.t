#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Lines of the error log say which request they are of, by its id: those of
# every module, of subrequests, after redirects, however long the request's
# line is.  Lines of other requests have none.  And the variables.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 60);

$t->init;
my $key = $t->key;
my ($limited) = $t->key(client => 'limited', args => ['--rpm', '1']);

my $up = LLM::Upstream->new($t, 2, sub {
    return LLM::Upstream->json({ choices => [], usage =>
        { prompt_tokens => 3, completion_tokens => 4 } });
});

$t->file('html/ssi/page.html', '<!--#include virtual="/keys/part" -->'
         . '<!--#include virtual="/keys/v1/models" -->');

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    %%KEYS%%
    limit_req_zone $binary_remote_addr zone=one:64k rate=1r/m;

    log_format llm '$llm_request_id|$status|$uri|$llm_model|$llm_queue_time|'
                   '$llm_ttft|$llm_inference_time|$llm_prompt_tokens|'
                   '$llm_cached_tokens|$llm_completion_tokens|'
                   '$llm_finish_reason|$llm_error_code';
    access_log %%DIR%%/llm.log llm;

    llm_engine demo { model %%DEMO%%; context 256; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        client_max_body_size 64k;

        location = /readyz { llm_auth off; llm_pass demo; access_log off; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /keys/ { llm_auth on; }
        location /keys/v1/ { llm_auth on; llm_pass demo; }
        location /ssi/ { llm_auth on; ssi on; }
        location /plain/ { }
        location /limit/ { llm_auth on; limit_req zone=one; }
        location /down/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_2%%; }
        location /again/ { llm_auth on; error_page 404 = /keys/nowhere; }
        location /named/ { llm_auth on; error_page 404 = @named; }
        location @named { root %%DIR%%/none; }
        location /out/ { llm_auth on; error_page 404 = /plain/nowhere; }
    }
}
END


# lines of the error log that a request brought; it has ended, and so its log
my $seen = 0;

sub lines {
    my ($uri, %o) = @_;

    my $r = $t->get($uri, key => $key, %o);
    my @lines = split /\n/, substr $t->error_log, $seen;
    $seen = length $t->error_log;

    return ($r, grep { /, client: / } @lines);
}


# each line ends with the request's id, and is as the core has it otherwise
sub is_told {
    my ($name, $n, $like, $uri, %o) = @_;

    my ($r, @lines) = lines($uri, %o);
    my $id = $r->header('x-request-id') // '';

    like($id, qr/^[0-9a-f]{32}$/, "$name: $r->{status}, an id");
    is(scalar @lines, $n, "$name: lines") or diag(@lines);
    is(scalar(grep { /, request id: "$id"$/ } @lines), $n,
       "$name: end with it") or diag(@lines);
    is(scalar(grep { /, server: .*, request: ".*, request id: "[^"]*"$/ }
              @lines), $n, "$name: and tell the rest") or diag(@lines);
    is(scalar(grep { /request id:.*request id:/ } @lines), 0,
       "$name: once");
    like(join("\n", @lines), $like, "$name: the line");

    return @lines;
}

lines('/readyz');

is_told('a file that is missing', 1, qr/open\(\) .*No such file/,
        '/keys/none');
is_told('an upstream that is down', 1,
        qr/connect\(\) failed .*upstream: .*, host: /, '/down/');

is_told('a body that is too large', 1, qr/intended to send too large body/,
        '/v1/completions', body => 'x' x 70000);

is($t->get('/limit/x', key => $key)->{status}, 404, 'the first of a minute');
lines('/readyz');
is_told('too many, before keys are looked at', 1, qr/limiting requests/,
        '/limit/x');

my @sub = is_told('subrequests', 2, qr/subrequest: "\/keys\/part"/,
                  '/ssi/page.html');
like($sub[1], qr/llm_pass: a subrequest has no key.*subrequest:/,
     'subrequests: our own line');

is_told('a redirect', 2, qr/again\/x.*\n.*keys\/nowhere/, '/again/x');
is_told('a named location', 2, qr/named\/x.*\n.*none\/named\/x/, '/named/x');
is_told('a redirect to a place that is not ours', 2,
        qr/out\/x.*\n.*plain\/nowhere/, '/out/x');

my @long = is_told('a long line', 1, qr/open\(\)/, '/keys/no?' . 'x' x 4000);
cmp_ok(length $long[0], '<=', 2048, 'a long line: no longer than any')
    if @long;


# others' requests

my (undef, @other) = lines('/plain/x');
is(scalar @other, 1, 'not ours: a line');
unlike($other[0], qr/request id/, 'not ours: no id');
like($other[0], qr/, request: "GET \/plain\/x HTTP\/1\.1", host: "[^"]*"$/,
     'not ours: as ever');


# one connection: each request has its own

my $c = LLM::Client->new($t->request(uri => '/keys/a', key => $key,
                                     keepalive => 1));
$c->wait(10);
my $d = $c->again($t->request(uri => '/plain/b', keepalive => 1));
$d->wait(10);
my $e = $d->again($t->request(uri => '/keys/c', key => $key, keepalive => 1));
$e->wait(10);
my $f = $e->again(raw => "BAD \x01 / HTTP/1.1\r\n\r\n", port => $t->port(0));
$f->wait(10);

my @kept = grep { /, client: / } split /\n/, substr $t->error_log, $seen;
is(scalar @kept, 4, 'one connection: four lines') or diag(@kept);
like($kept[0], qr/request id: "@{[ $c->header('x-request-id') ]}"$/,
     'one connection: the first');
unlike($kept[1], qr/request id/, 'one connection: the second is not ours');
like($kept[2], qr/request id: "@{[ $e->header('x-request-id') ]}"$/,
     'one connection: the third');
unlike($kept[3], qr/request id/, 'one connection: nothing of it stays');


# variables, in the access log

my @name = qw(id status uri model queue ttft time prompt cached completion
              finish code);

sub logged {
    my ($r) = @_;

    my $id = $r->header('x-request-id');
    my $line;

    wait_for { ($line) = slurp($t->dir . '/llm.log') =~ /^($id.*)$/m };

    my %v;
    @v{@name} = split /\|/, $line, -1;

    return \%v;
}

my %body = (model => 'demo', prompt => 'Once upon a time ' x 8,
            max_tokens => 8, ignore_eos => \1, temperature => 0);

my @r = map { $t->post('/v1/completions', \%body, key => $key) } 1, 2;
my $v = logged($r[1]);
my $usage = $r[1]->json->{usage};

is($v->{$_->[0]}, $_->[1], "variables: $_->[0]") for (
    ['status', 200], ['model', 'demo'], ['prompt', $usage->{prompt_tokens}],
    ['completion', 8], ['finish', 'length'], ['code', '-'],
    ['cached', $usage->{prompt_tokens_details}{cached_tokens}]);
like($v->{$_}, qr/^\d+\.\d{3}$/, "variables: $_") for qw(queue ttft time);
cmp_ok($v->{queue}, '<=', $v->{ttft}, 'variables: it waits before it speaks');
cmp_ok($v->{ttft}, '<=', $v->{time}, 'variables: and ends after that');

$v = logged($t->post('/v1/completions', { %body, stream => \1 },
                     key => $key));
like($v->{$_}, qr/^\d+\.\d{3}$/, "a stream: $_") for qw(queue ttft time);

$v = logged($t->post('/up/v1/completions', \%body, key => $limited));
is("$v->{prompt} $v->{completion} $v->{cached} $v->{queue} $v->{code}",
   '3 4 - - -', 'another server: what it tells');

my %refused = (
    rate_limit_exceeded => $t->post('/up/v1/completions', \%body,
                                    key => $limited),
    invalid_api_key => $t->get('/keys/x', key => 'sk-no'),
    invalid_value => $t->post('/v1/completions', { %body, top_p => 7 },
                              key => $key),
    unknown_url => $t->get('/v1/nothing', key => $key),
    bad_gateway => $t->get('/down/', key => $key),
    not_found => $t->get('/keys/none', key => $key),
    request_too_large => $t->post('/v1/completions', 'x' x 70000,
                                  key => $key),
);

for my $code (sort keys %refused) {
    my $r = $refused{$code};
    is($r->json->{error}{code}, $code, "$code: $r->{status}");
    is(logged($r)->{code}, $code, "$code: in the log");
}

$t->done;
