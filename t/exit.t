#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A worker's end while its thread works: nothing that was begun is lost, and
# a thread that hangs is given up, with a word in the log.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Hold;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 90);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($some, $some_id) = $t->key(client => 'some', args => ['--models', 'm']);

my $hold = LLM::Hold->new($t);

my $up = LLM::Upstream->new($t, 1, sub {
    return LLM::Upstream->json({ choices => [] });
});

# the connection of a request that is given up
$t->expect_log(qr{open socket #\d+ left in connection});
$t->expect_log(qr{aborting});

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    %%KEYS%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
        location / {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

# a reload

ok($hold->take, 'the store is held');

my $create = $t->client(uri => '/admin/keys', key => $admin,
                        body => { client => 'new', role => 'user' });
select undef, undef, undef, 0.2;
my $asked = $t->client(uri => '/v1/x', key => $some, body => { model => 'm' });

select undef, undef, undef, 0.3;
ok($t->reload, 'a reload with both under way');
select undef, undef, undef, 1;
is(scalar($t->pids('old_worker')), 1, 'the old worker stays for them');
$hold->let_go;

$create->wait(10);
$asked->wait(10);
is($create->{status}, 201, 'the change is made and answered');
is($asked->{status}, 200, 'the request is passed on and answered');
ok(wait_for(sub { !$t->pids('old_worker') }), 'then the old worker ends');

# their records are there

my @calls;
wait_for {
    my $r = $t->admin('GET', "keys/$some_id", undef, key => $admin);
    ($r->json->{usage}{calls} // 0) >= 1
};

# and without an end: clients that are gone leave nothing

ok($hold->take, 'the store is held again');
$create = $t->client(uri => '/admin/keys', key => $admin,
                     body => { client => 'gone', role => 'user' });
select undef, undef, undef, 0.3;
$create->close;

my $end = time + 40;
kill 'QUIT', $t->{master};
ok(wait_for(sub { !$t->pids('worker') && !$t->pids('old_worker') }, 40),
   'a worker whose thread hangs ends');
like($t->error_log, qr/the store's thread hangs/, 'and the log says it');
$hold->let_go;

wait_for { !%{ $t->processes } } 10;
$t->{master} = 0 if !$t->_check_alive;
$t->done;
