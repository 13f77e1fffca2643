#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Answers of other model servers that nginx keeps in files: one that waits for
# a slow client is counted in full, one from a cache takes no tokens.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 60);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;

    return LLM::Upstream->json({ choices => [{ text => 'x' x 400_000 }],
                                 usage => { prompt_tokens => 11,
                                            completion_tokens => 7,
                                            total_tokens => 18 } })
        if $request->{uri} =~ /large/;
    return LLM::Upstream->json({ choices => [],
                                 usage => { prompt_tokens => 3,
                                            completion_tokens => 4,
                                            total_tokens => 7 } });
});

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    %%KEYS%%
    proxy_cache_path %%DIR%%/cache keys_zone=c:1m;
    server {
        listen 127.0.0.1:%%PORT_0%% sndbuf=16k;
        location /admin/ { llm_auth on; llm_admin; }
        location / {
            llm_auth on;
            sendfile on;
            proxy_buffers 4 4k;
            proxy_buffer_size 4k;
            proxy_busy_buffers_size 8k;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location /cached/ {
            llm_auth on;
            sendfile on;
            proxy_cache c;
            proxy_cache_methods POST;
            proxy_cache_key $uri;
            proxy_cache_valid 200 1m;
            add_header X-Cache $upstream_cache_status;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

sub usage {
    my ($id) = @_;

    wait_for {
        my $u = $t->admin('GET', "keys/$id", undef, key => $admin)
                ->json->{usage};
        $u && $u->{running} == 0;
    };

    return $t->admin('GET', "keys/$id", undef, key => $admin)->json->{usage};
}

for my $limit ([], ['--tokens-per-day', 1_000_000]) {
    my ($key, $id) = $t->key(client => 'c', args => $limit);
    my $what = @$limit ? 'limited' : 'not limited';

    # the client reads when all of it lies in a file

    my $c = $t->client(uri => '/large', key => $key, rcvbuf => 16384,
                       body => { model => 'm', max_tokens => 100 });
    ok(wait_for(sub { glob $t->dir . '/tmp/proxy/*/*/*'
                      or $t->error_log =~ /buffered to a temporary file/ }, 10),
       "$what: the answer waits in a file");
    $c->wait(20);
    cmp_ok(length $c->{body}, '>', 400_000, "$what: it comes whole");
    my $u = usage($id);
    is("$u->{prompt_tokens}/$u->{completion_tokens}", '11/7',
       "$what: what it says is counted");

    # a cache

    my ($fresh, $fresh_id) = $t->key(client => 'c', args => $limit);

    for my $state (qw(MISS HIT)) {
        my $r = $t->post('/cached/' . @$limit, { model => 'm',
                         max_tokens => 1000 }, key => $fresh);
        is($r->header('x-cache'), $state, "$what: $state");
        $u = usage($fresh_id);
        is("$u->{prompt_tokens}/$u->{completion_tokens}", '3/4',
           "$what: the tokens that it took are counted once");
    }
}

$t->done;
