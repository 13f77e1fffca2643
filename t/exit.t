#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A worker's end while its thread works: nothing that was begun is lost, and
# a thread that hangs is given up, with a word in the log.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 90);
$t->init;

my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($some, $some_id) = $t->key(client => 'some', args => ['--models', 'm']);

# another process that holds the store's writers up, as a stalled disk does

$t->file('hold.c', <<'END');
#include <lmdb.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    MDB_env  *env;
    MDB_txn  *txn;

    if (argc < 2 || mdb_env_create(&env) != 0
        || mdb_env_set_maxdbs(env, 32) != 0
        || mdb_env_open(env, argv[1], 0, 0600) != 0
        || mdb_txn_begin(env, NULL, 0, &txn) != 0)
    {
        return 1;
    }

    printf("held\n");
    fflush(stdout);
    getchar();
    mdb_txn_abort(txn);
    mdb_env_close(env);

    return 0;
}
END

my $hold = $t->dir . '/hold';
my $cc = $t->run([$ENV{CC} || 'cc', '-o', $hold, "$hold.c", '-llmdb']);
is($cc->{code}, 0, 'a program that holds the store') or diag $cc->{err};

my $holder;

sub hold {
    pipe(my $in, $holder) or die $!;

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(ALRM INT TERM);
        alarm 80;
        open STDIN, '<&', $in;
        open STDOUT, '>', $t->dir . '/hold.log';
        close $holder;
        close $t->{watchdog};
        exec $hold, $t->dir . '/store' or POSIX::_exit(127);
    }

    push @{ $t->{background} }, $pid;
    return wait_for { slurp($t->dir . '/hold.log') eq "held\n" };
}

sub let_go { close $holder; unlink $t->dir . '/hold.log' }

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

ok(hold(), 'the store is held');

my $create = $t->client(uri => '/admin/keys', key => $admin,
                        body => { client => 'new', role => 'user' });
select undef, undef, undef, 0.2;
my $asked = $t->client(uri => '/v1/x', key => $some, body => { model => 'm' });

select undef, undef, undef, 0.3;
ok($t->reload, 'a reload with both under way');
select undef, undef, undef, 1;
is(scalar($t->pids('old_worker')), 1, 'the old worker stays for them');
let_go();

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

ok(hold(), 'the store is held again');
$create = $t->client(uri => '/admin/keys', key => $admin,
                     body => { client => 'gone', role => 'user' });
select undef, undef, undef, 0.3;
$create->close;

my $end = time + 40;
kill 'QUIT', $t->{master};
ok(wait_for(sub { !$t->pids('worker') && !$t->pids('old_worker') }, 40),
   'a worker whose thread hangs ends');
like($t->error_log, qr/the store's thread hangs/, 'and the log says it');
let_go();

wait_for { !%{ $t->processes } } 10;
$t->{master} = 0 if !$t->_check_alive;
$t->done;
