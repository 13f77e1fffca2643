#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The audit trail with "master_process off": one process holds answers back,
# writes their records, and at its end has written and signed all of them.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;

my $t = LLM::Test->new(timeout => 60);
$t->init;

my ($key, $id) = $t->key(client => 'acme', role => 'user');
my ($admin) = $t->key(client => 'boss', role => 'admin');

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
master_process off;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo {
        model %%DEMO%%; device cpu; threads 1; context 512; kv_cache 32m;
    }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /page { llm_auth on; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location ~ /(healthz|readyz)$ { llm_auth off; llm_pass demo; }
    }
}
END

my $hold = LLM::Hold->new($t, file => 'audit.mdb');
my %ask = (model => 'demo', prompt => 'Once', max_tokens => 4);

is($t->get('/page', key => $key)->{status}, 200, 'a page');

ok($hold->take, 'the trail is locked');

my @held = map { $t->client(key => $key, %$_) }
    { uri => '/page' }, { uri => '/v1/completions', body => \%ask },
    { uri => '/v1/completions', body => { %ask, stream => \1 } },
    { uri => '/admin/keys', key => $admin,
      body => { client => 'new', role => 'user' } };

LLM::Client->pump(\@held, 1);
is((grep { $_->{status} || $_->{in} ne '' } @held), 0, 'nothing comes');

$hold->let_go;
ok(LLM::Client->pump(\@held, 15), 'then all of it');
is(join(' ', map { $_->{status} } @held), '200 200 200 201', 'well');

sub calls {
    my $r = $t->llmctl('audit', 'query', $t->keys_options, '--json');
    return grep { $_->{method} ne 'LLMCTL' }
           map { decode_json($_) } split /\n/, $r->{out};
}

ok(wait_for { my @calls = calls(); @calls == 5 && !grep { !$_->{end} } @calls },
   'all calls are recorded, with their end');
ok($t->quit, 'the process ends');


# nginx's single process does not wait for clients when it is told to quit

$t->start;
ok($hold->take, 'the trail is locked again');

@held = map { $t->client(uri => '/page', key => $key) } 1 .. 3;
LLM::Client->pump(\@held, 0.5);
kill 'QUIT', $t->{master};
LLM::Client->pump(\@held, 0.5);
is((grep { $_->{status} || $_->{in} ne '' } @held), 0, 'nothing comes');
$hold->let_go;
ok($t->quit, 'the process ends');


my @calls = calls();
cmp_ok(scalar @calls, '>=', 5, 'what was recorded is')
    or diag(scalar @calls);

my $r = $t->llmctl('audit', 'verify', $t->keys_options, '--json');
is($r->{code}, 0, 'the trail is whole') or diag($r->{out}, $r->{err});

my $v = decode_json($r->{out});
is($v->{signed_to}, $v->{last} - 1, 'and signed to its end')
    or diag($r->{out});

$t->done;
