#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Requests that take detours: error pages, subrequests, a body that another
# module has read already.  Each ends, is counted once, and keeps no slot.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 90);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($user, $user_id) = $t->key(client => 'user');
my ($some, $some_id) = $t->key(client => 'some', args => ['--models', 'm,demo',
                               '--tokens-per-day', 100_000,
                               '--concurrent', 2]);

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;

    # longer than a stream's timer
    return (\6, LLM::Upstream->json({})) if $request->{uri} eq '/slow';
    return LLM::Upstream->json({ uri => $request->{uri},
                                 got => length $request->{body} });
});

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    %%KEYS%%
    client_body_buffer_size 1k;
    llm_engine demo { model %%DEMO%%; device cpu; threads 1; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ {
            llm_auth on;
            llm_admin;
            limit_except GET { allow all; }
        }

        location /asked/ {
            llm_auth on;
            error_page 400 403 408 413 /failed;
            client_max_body_size 20k;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /failed {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }

        location /fallback/ {
            llm_auth on;
            llm_pass demo;
            error_page 400 404 = @second;
        }
        location @second { llm_auth on; llm_pass demo; }

        location /away/ {
            llm_auth on;
            llm_pass demo;
            error_page 400 404 = @away;
        }
        location @away {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }

        location /mirrored/ {
            llm_auth on;
            mirror /copy;
            llm_pass demo;
        }
        location = /copy {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }

        location /twice/ {
            llm_auth on;
            mirror /v1/chat/completions;
            llm_pass demo;
        }
        location /checked/ {
            auth_request /v1/models;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location /admirror/ {
            llm_auth on;
            mirror /admin/keys;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }

        location /after/ {
            llm_auth on;
            llm_pass demo;
            post_action /slow;
        }
        location = /slow {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }

        location /refused/ {
            llm_auth on role=admin;
            llm_pass demo;
            error_page 403 @other;
        }
        location @other {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub usage {
    my ($id) = @_;
    my $r = $t->admin("GET", "keys/$id", undef, key => $admin);
    return $r->json->{usage} // { running => 0 };    # has never called
}

sub at_rest {
    my ($what) = @_;

    ok(wait_for(sub { usage($some_id)->{running} == 0
                      && usage($user_id)->{running} == 0 }),
       "$what: no request is counted as running");
    ok(wait_for(sub { $t->get('/v1/healthz', key => $user)
                      ->json->{slots_used} == 0 }),
       "$what: no slot is kept");
}

my %chat = (model => 'demo', max_tokens => 4,
            messages => [{ role => 'user', content => 'hello' }]);

sub chunked { return join '', "Authorization: Bearer $_[0]\r\n",
              "Host: localhost\r\nConnection: close\r\n",
              "Transfer-Encoding: chunked\r\n\r\n", $_[1] }

# a body that fails while it is read for a key's limits

my $r = $t->raw("POST /asked/x HTTP/1.1\r\n" . chunked($some, "zz\r\n\r\n"),
                timeout => 5);
like($r, qr{^HTTP/1.1 400 }, 'a malformed body, and an error page with a key');

$r = $t->raw("POST /asked/x HTTP/1.1\r\n"
             . chunked($some, "6000\r\n" . 'x' x 0x6000 . "\r\n0\r\n\r\n"),
             timeout => 5);
like($r, qr{^HTTP/1.1 413 }, 'one that is too large');

$r = $t->post('/asked/x', { %chat, model => 'other' }, key => $some,
              timeout => 5);
is($r->{status}, 403, 'a model that is not the key\'s');
is(code($r), 'model_not_allowed', 'the error stays what it was');

$r = $t->post('/asked/x', { %chat, model => 'm' }, key => $some,
              timeout => 5);
is($r->{status}, 200, 'one that is');
at_rest('errors before the upstream');

# the engine's errors lead elsewhere

for my $where ('fallback', 'away') {
    $r = $t->post("/$where/v1/chat/completions", { %chat, model => 'none' },
                  key => $user, timeout => 5);
    ok($r->{status}, "$where: an answer: $r->{status}");
    $r = $t->post("/$where/v1/chat/completions", \%chat, key => $user,
                  timeout => 10);
    is($r->{status}, 200, "$where: not taken without an error");
    at_rest($where);
}

# a body that the mirror module has read, into a file when it is large

for my $size (10, 30_000) {
    $up->requests;
    $r = $t->post('/mirrored/v1/completions', { model => 'demo',
                  max_tokens => 2, prompt => 'x', user => 'u' x $size },
                  key => $user, timeout => 10);
    is($r->{status}, 200, "a body of $size bytes that was mirrored")
        or diag($r->{body});
    my @got;
    wait_for { push @got, $up->requests; @got } 5;
    cmp_ok(length($got[0]{body} // ''), '>', $size, 'the copy is whole');
}

at_rest('mirrored');

# subrequests have no key of their own

for (1 .. 3) {
    $r = $t->post('/twice/v1/chat/completions', \%chat, key => $user,
                  timeout => 10);
    is($r->{status}, 200, 'mirrored to the same engine');
}

at_rest('mirrored to the engine');

$r = $t->get('/checked/x', timeout => 5);
is($r->{status}, 403, 'a subrequest without a key is not let in');

$r = $t->post('/admirror/x', { model => 'm' }, key => $admin, timeout => 5);
is($r->{status}, 200, 'administration is not for subrequests');

# a second location judges with what is known of the key

$r = $t->post('/refused/v1/chat/completions', \%chat, key => $user,
              timeout => 5);
is($r->{status}, 403, 'refused, by the error page too');
is(code($r), 'role_required', 'for the first reason');

# what nginx does after a request whose client has gone

my $c = $t->client(uri => '/after/v1/chat/completions', key => $user,
                   body => { %chat, max_tokens => 500, stream => \1,
                             ignore_eos => \1 });
ok($c->next_event(10), 'a stream, and its client goes');
$c->close;
ok(wait_for(sub { grep { $_->{uri} eq '/slow' } $up->requests }),
   'something is done after it');
at_rest('meanwhile');
sleep 6;
at_rest('and then');

# what only looks like a path of models, and methods by limit_except

$r = $t->get('/v1/demo?x=/models/', key => $user);
is($r->{status}, 404, 'a path is not its query');
is(code($r), 'unknown_url', 'nothing is there');

$r = $t->admin('POST', 'keys', { client => 'c', role => 'user' },
               key => $admin);
is($r->{status}, 201, 'limit_except keeps the handler') or diag $r->{body};

$t->done;
