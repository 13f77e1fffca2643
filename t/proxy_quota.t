#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Token limits of keys in front of another model server: what its answers say
# that they took is counted, streamed or not; what does not fit is refused
# before the server is called, and a stream that goes on is cut.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

use IO::Uncompress::Gunzip qw(gunzip);

my $t = LLM::Test->new(timeout => 150);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');
my $keys = 0;

sub limited {
    return $t->key(client => 'c' . ++$keys, args => [@_]);
}

sub usage_of { return { prompt_tokens => $_[0], completion_tokens => $_[1],
                        total_tokens => $_[0] + $_[1] } }

sub delta {
    my ($text, $finish) = @_;
    return { object => 'chat.completion.chunk', choices => [ {
        index => 0, delta => { content => $text },
        finish_reason => $finish } ] };
}

# what the path says: /NAME/...; a stream has as many deltas as max_tokens says
sub handler {
    my ($request) = @_;

    my ($name) = $request->{uri} =~ m{^/(\w+)};
    my $body = eval { JSON::PP::decode_json($request->{body}) } // {};
    my $n = $body->{max_tokens} // 5;
    my $up = 'LLM::Upstream';

    return $up->json({ choices => [ { message => { content => 'x' x 4000 } } ],
                       usage => usage_of(11, $body->{take} // $n) })
        if $name eq 'plain';
    return $up->json({ choices => [ { text => '"usage":{"prompt_tokens":9}' } ],
                       usage => usage_of(11, 7) })
        if $name eq 'quoted';
    return $up->json({ choices => [] }) if $name eq 'silent';
    return $up->json({ data => [], usage => { prompt_tokens => 21,
                                              total_tokens => 21 } })
        if $name eq 'embed';
    return $up->json({ type => 'message', content => [],
        usage => { input_tokens => 13, output_tokens => 5,
                   cache_read_input_tokens => 2 } })
        if $name eq 'anthropic';
    return $up->answer(500, 'application/json', '{"error":{}}')
        if $name eq 'failing';
    return $up->answer(200, 'text/plain', 'no JSON') if $name eq 'text';
    return $up->stream((map { delta("t$_ ") } 1 .. $n), delta('', 'stop'),
                       { choices => [], usage => usage_of(17, $n) },
                       "data: [DONE]\n\n")
        if $name eq 'stream';
    return $up->stream((map { delta("t$_ ") } 1 .. $n), "data: [DONE]\n\n")
        if $name eq 'nousage';

    # a token each 5 ms, until it is cut
    return $up->stream(delta(''),
                       map({ (delta("t$_ "), \0.005) } 1 .. 3000),
                       "data: [DONE]\n\n")
        if $name eq 'endless';

    # the same that says its usage with each token, as vLLM may
    return $up->stream(map({ my $d = delta("t$_ ");
                             $d->{usage} = usage_of(10, $_);
                             ($d, \0.005) } 1 .. 3000),
                       "data: [DONE]\n\n")
        if $name eq 'continuous';

    return $up->stream("event: message_start\n",
        { type => 'message_start', message => { usage => {
            input_tokens => 25, output_tokens => 1 } } },
        (map { ("event: content_block_delta\n",
            { type => 'content_block_delta', delta => { type => 'text_delta',
              text => "t$_ " } }, $name eq 'aendless' ? \0.005 : ()) }
            1 .. ($name eq 'aendless' ? 3000 : $n)),
        "event: message_delta\n",
        { type => 'message_delta', delta => {}, usage => {
            output_tokens => $n } },
        "event: message_stop\n", { type => 'message_stop' })
        if $name =~ /^a(stream|endless)$/;

    return $up->answer(404, 'application/json', '{}');
}

my $up = LLM::Upstream->new($t, 1, \&handler, cut => 1);

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    log_format tokens '$uri $llm_model '
                      '[$llm_prompt_tokens/$llm_completion_tokens] $status';
    server {
        listen 127.0.0.1:%%PORT_0%% backlog=4096;
        access_log %%DIR%%/tokens.log tokens;
        location / {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
            proxy_buffering off;
        }
        location /buffered/ {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%/;
        }
        location /gzip/ {
            llm_auth on;
            gzip on;
            gzip_types application/json text/event-stream;
            gzip_min_length 1;
            gzip_proxied any;
            proxy_pass http://127.0.0.1:%%PORT_1%%/;
        }
        location /fixed/ {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_2%%;
        }
        location /admin/ { llm_auth on; llm_admin; }
    }
    server {
        listen 127.0.0.1:%%PORT_2%%;
        default_type application/json;
        return 200 '{"usage":{"prompt_tokens":3,"completion_tokens":4}}';
    }
}
END

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub ask {
    my ($key, $path, $set, %o) = @_;

    return $t->post($path, { model => 'm', messages => [], %{ $set || {} } },
                    key => $key, timeout => 40, %o);
}

sub usage {
    my ($id) = @_;
    return $t->admin('GET', "keys/$id", undef, key => $admin)->json->{usage};
}

# a key of its own for each answer: what did it count?
sub counts {
    my ($name, $path, $prompt, $completion, $set, %o) = @_;

    for my $limit ([], ['--tokens-per-month', 1_000_000]) {
        my ($key, $id) = limited(@$limit);
        my $what = @$limit ? "$name, limited" : $name;
        my $r = ask($key, $path, $set, %o);

        is($r->{status}, 200, "$what: an answer") or diag($r->{body});
        wait_for { usage($id)->{running} == 0 };
        my $u = usage($id);
        is("$u->{prompt_tokens}/$u->{completion_tokens}",
           "$prompt/$completion", "$what: the tokens are counted");
        is(1_000_000 - ($u->{month_left} // 0), $prompt + $completion,
           "$what: of the budget") if @$limit;

        # the other key's line is there, too
        my $line = '';
        wait_for {
            my @lines = slurp($t->dir . '/tokens.log') =~ /^(\Q$path\E .*)$/mg;
            $line = $lines[@$limit ? 1 : 0] // ''
        } 2;
        like($line, qr/ \[$prompt\/$completion\] 200$/,
             "$what: and logged");
    }
}


counts('an answer', '/plain/v1/chat/completions', 11, 5);
counts('a buffered one', '/buffered/plain/x', 11, 5);
counts('usage in a text', '/quoted/x', 11, 7);
counts('embeddings', '/embed/x', 21, 0);
counts('Anthropic\'s', '/anthropic/v1/messages', 15, 5);
counts('from nginx itself', '/fixed/x', 3, 4);
counts('a stream with usage', '/stream/x', 17, 9,
       { stream => \1, max_tokens => 9 });
counts('a buffered stream', '/buffered/stream/y', 17, 9,
       { stream => \1, max_tokens => 9 });
counts('Anthropic\'s stream', '/astream/v1/messages', 25, 9,
       { stream => \1, max_tokens => 9 });
counts('gzip', '/gzip/plain/x', 11, 5, {},
       headers => ['Accept-Encoding: gzip']);
counts('a stream with gzip', '/gzip/stream/x', 17, 9,
       { stream => \1, max_tokens => 9 },
       headers => ['Accept-Encoding: gzip']);

# a stream without usage: an event is a token

{
    my ($key, $id) = limited('--tokens-per-day', 10_000);
    my $r = ask($key, '/nousage/x', { stream => \1, max_tokens => 30 });

    ok($r->done, 'a stream without usage comes whole');
    wait_for { usage($id)->{running} == 0 };
    is(usage($id)->{completion_tokens}, 30, 'its events are counted');
    cmp_ok(usage($id)->{prompt_tokens}, '>', 0, 'its prompt is estimated');

    ($key, $id) = limited('--tokens-per-day', 10_000);
    ask($key, '/silent/x', { max_tokens => 100 });
    cmp_ok(10_000 - usage($id)->{day_left}, '>=', 100,
           'an answer that says nothing takes what was reserved');

    ($key, $id) = limited('--tokens-per-day', 10_000);
    is(ask($key, '/failing/x', { max_tokens => 100 })->{status}, 500,
       'an error of the upstream');
    wait_for { usage($id)->{running} == 0 };
    is(usage($id)->{day_left}, 10_000, 'takes nothing');
}


# gzip: the upstream answers plainly, the client gets what it asked for

{
    my ($key) = limited('--tokens-per-day', 10_000);

    $up->requests;
    my @gzip = (headers => ['Accept-Encoding: gzip']);
    my $r = ask($key, '/gzip/plain/x', {}, @gzip);
    my ($got) = $up->requests;

    ok(!$got->{headers}{'accept-encoding'}, 'POST: no Accept-Encoding');
    is($r->header('content-encoding'), 'gzip', 'but nginx\'s own gzip');
    gunzip(\$r->{body}, \my $plain);
    is(eval { decode_json($plain)->{usage}{total_tokens} }, 16, 'it is whole');

    $r = ask($key, '/plain/x', {}, @gzip);
    ($got) = $up->requests;
    ok(!$got->{headers}{'accept-encoding'}, 'without nginx\'s gzip too');
    is($r->header('content-encoding'), '', 'then the answer is plain');

    $t->get('/plain/x', key => $key, @gzip);
    ($got) = $up->requests;
    is($got->{headers}{'accept-encoding'}[0], 'gzip', 'GET: as it came');

    $r = ask($key, '/gzip/stream/x', { stream => \1, max_tokens => 4 }, @gzip);
    is($r->header('content-encoding'), 'gzip', 'a stream with gzip');
    gunzip(\$r->{body}, \$plain);
    like($plain, qr/^data: \[DONE\]$/m, 'is whole');
    $up->requests;
}


# refused before the upstream is called

sub refused {
    my ($name, $key, $status, $code, $set) = @_;

    $up->requests;
    my $r = ask($key, '/plain/x', $set);

    is($r->{status}, $status, "$name: refused") or diag($r->{body});
    is(code($r), $code, "$name: $code");
    is(scalar(() = $up->requests), 0, "$name: the upstream is not called");
    return $r;
}

for (['minute', '--tpm', 429, 'rate_limit_exceeded'],
     ['day', '--tokens-per-day', 402, 'budget_exceeded'],
     ['month', '--tokens-per-month', 402, 'budget_exceeded'])
{
    my ($name, $option, $status, $code) = @$_;
    my ($key, $id) = limited($option, 300);

    refused("more than a $name has", $key, $status, $code,
            { max_tokens => 500 });
    refused("max_completion_tokens in a $name", $key, $status, $code,
            { max_completion_tokens => 500, max_tokens => 1 });
    refused("n in a $name", $key, $status, $code,
            { max_tokens => 50, n => 10 });
    refused("a long prompt in a $name", $key, $status, $code,
            { max_tokens => 1, messages => ['x' x 2000] });

    is(ask($key, '/plain/x', { max_tokens => 200 })->{status}, 200,
       "what a $name has is given");
    my $r = refused("the rest of a $name", $key, $status, $code,
                    { max_tokens => 100 });
    like($r->header('retry-after'), qr/^[1-9]\d*$/, "a $name: Retry-After")
        if $status == 429;
    is(ask($key, '/plain/x', { max_tokens => 30 })->{status}, 200,
       "less than the rest of a $name is given");
}

# what is reserved: numbers that are none

{
    my ($key) = limited('--tokens-per-day', 1000);

    refused("max_tokens $_", $key, 400, 'invalid_json',
            { max_tokens => JSON::PP->new->allow_nonref->decode($_) })
        for '-1', '1.5', '"5"', 'true', '[5]', '{}', '5000000000', '1e30';
    refused("n $_", $key, 400, 'invalid_json',
            { max_tokens => 1,
              n => JSON::PP->new->allow_nonref->decode($_) })
        for '0', '-1', '129', '"1"';
    refused('the most', $key, 402, 'budget_exceeded',
            { max_tokens => 4294967296, n => 128 });
    is(ask($key, '/plain/x', { max_tokens => 100 })->{status}, 200,
       'nothing of these was kept');
}


# a stream is cut when nothing is left for it

sub cut {
    my ($name, $path, $set, $limit) = @_;

    my ($key, $id) = limited('--tokens-per-day', $limit);

    $up->requests;
    my $r = ask($key, $path, { stream => \1, %$set });
    my $tokens = grep { ($_->{data} // '') =~ /"(?:content|text)":"t/ }
                 @{ $r->{events} };

    is($r->{status}, 200, "$name: it begins");
    ok(!$r->done && !$r->{complete}, "$name: it is cut");
    cmp_ok($tokens, '<=', $limit, "$name: no more than the budget came");
    cmp_ok($tokens, '>', $limit / 4, "$name: nor far less")
        or diag($tokens);

    my @got;
    ok(wait_for { push @got, $up->requests; grep { $_->{cut} } @got },
       "$name: the upstream is told");
    wait_for { usage($id)->{running} == 0 };
    cmp_ok(usage($id)->{completion_tokens}, '>=', $tokens,
           "$name: what came is counted");
    cmp_ok(usage($id)->{day_left}, '<', $limit / 2, "$name: and spent");
}

cut('a stream', '/endless/x', {}, 400);
cut('one that goes beyond its max_tokens', '/endless/x',
    { max_tokens => 300 }, 380);
cut('one that tells its usage all the time', '/continuous/x', {}, 400);
cut('Anthropic\'s', '/aendless/v1/messages', { max_tokens => 300 }, 380);
like($t->error_log, qr/has no tokens left, its response is cut/,
     'the log says so');

# one that keeps to its max_tokens is never cut, be nothing left beside it

for my $path ('/stream/x', '/nousage/x', '/astream/v1/messages') {
    my ($key, $id) = limited('--tokens-per-day', 100_000);
    my %set = (stream => \1, max_tokens => 60);

    # what is reserved for just this
    my $slow = ask($key, '/silent/x', \%set);
    wait_for { usage($id)->{running} == 0 };
    my $need = 100_000 - usage($id)->{day_left};

    ($key, $id) = limited('--tokens-per-day', $need);
    my $r = ask($key, $path, \%set);
    ok($r->{complete} && $r->{body} =~ /DONE|message_stop/,
       "$path: a stream that just fits is whole") or diag("$need");
    cmp_ok(usage($id)->{day_left}, '>=', 0, "$path: within the budget");

    ($key, $id) = limited('--tokens-per-day', $need - 1);
    is(ask($key, $path, \%set)->{status}, 402, "$path: one less is refused");
}

# one without max_tokens gets more as it goes on

{
    my ($key, $id) = limited('--tokens-per-day', 100_000);
    my $c = $t->client(uri => '/endless/x', key => $key, body => {
        model => 'm', stream => \1 });

    $c->wait(40, sub { @{ $_[0]{events} } > 1500 });
    cmp_ok(scalar @{ $c->{events} }, '>', 1500, 'it goes on');
    $c->close;
    ok(wait_for { usage($id)->{running} == 0 }, 'a client that goes away');
    my $used = 100_000 - usage($id)->{day_left};
    cmp_ok($used, '>=', 1500, 'pays for what came');
    cmp_ok($used, '<', 3000, 'and for no more');
}


# many at once

{
    my $limit = 5000;
    my ($key, $id) = limited('--tokens-per-day', $limit);
    my @c = map {
        $t->client(uri => $_ % 2 ? '/plain/x' : '/stream/x', key => $key,
                   body => { model => 'm', max_tokens => 100,
                             stream => $_ % 2 ? \0 : \1 })
    } 1 .. 200;

    ok(LLM::Client->pump(\@c, 60), '200 at once end');
    wait_for { usage($id)->{running} == 0 };

    my ($spent, %count) = (0);
    for my $c (@c) {
        $count{$c->{status}}++;
        next if $c->{status} != 200;
        my ($u) = grep { $_ } map { $_->{usage} }
                  $c->is_stream ? $c->data : $c->json;
        $spent += $u->{total_tokens};
    }

    is(join(' ', sort keys %count), '200 402', 'some are refused')
        or diag(encode_json(\%count));
    cmp_ok($spent, '<=', $limit, 'nothing is overspent');
    cmp_ok($spent, '>', $limit / 2, 'most was given') or diag($spent);
    is(usage($id)->{day_left}, $limit - $spent, 'the count is exact');
    is(usage($id)->{running}, 0, 'none is left running');

    my $served = grep { $_->{status} == 200 } @c;
    my @called = grep { $_->{uri} } $up->requests;
    is(scalar(grep { $_->{body} =~ /"max_tokens":100/ } @called), $served,
       'the upstream saw the served ones only');
}

$t->done;
