#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# "master_process off": one process is worker and engine; what its thread has
# to do at its end is done and answered.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 60);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my ($some, $id) = $t->key(client => 'some', args => ['--models', 'm,demo']);

my $hold = LLM::Hold->new($t);

my $up = LLM::Upstream->new($t, 1, sub {
    return LLM::Upstream->json({ choices => [],
        usage => { prompt_tokens => 3, completion_tokens => 4 } });
});

$t->conf(<<'END')->start;
%%MAIN%%
master_process off;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; device cpu; threads 1; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        llm_notify /_notify;
        location = /_notify {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location / {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

sub calls {
    return $t->admin('GET', "keys/$id", undef, key => $admin)
             ->json->{usage}{calls} // 0;
}

is($t->chat('hello', key => $some, set => { max_tokens => 3 })->{status}, 200,
   'the engine answers');
is($t->post('/x', { model => 'm' }, key => $some)->{status}, 200,
   'another one, too');

my $r = $t->admin('POST', 'keys', { client => 'new', role => 'user' },
                  key => $admin);
is($r->{status}, 201, 'administration');
my @got;
ok(wait_for(sub { push @got, $up->requests;
                  grep { $_->{uri} eq '/_notify' } @got }, 10), 'an event');

# at the end the thread is busy, and requests wait for it

for my $signal (qw(QUIT TERM)) {
    ok($hold->take, "$signal: the store is held");
    my @clients = map {
        $t->client(uri => '/admin/keys', key => $admin,
                   body => { client => "late$_", role => 'user' });
    } 1 .. 3;
    push @clients, $t->client(uri => '/x', key => $some,
                              body => { model => 'm' });
    select undef, undef, undef, 0.5;
    kill $signal, $t->{master};
    select undef, undef, undef, 0.5;
    $hold->let_go;
    LLM::Client->pump(\@clients, 10);
    is(join(' ', map { $_->{status} } @clients[0 .. 2]), '201 201 201',
       'changes are made, and answered');
    ok(wait_for(sub { !$t->_check_alive }, 20), 'it ends');
    $t->start;
    my $list = $t->admin('GET', 'keys', undef, key => $admin)->json;
    is(scalar(@{ $list->{keys} || $list->{data} || [] }),
       $signal eq 'QUIT' ? 6 : 9, 'and stay');
}

$t->done;
