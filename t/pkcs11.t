#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A secret in a token (SoftHSM): llmctl makes it and keys with it, nginx admits
# them, reloads, and its signer ends with it, by whatever death.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $module = '/usr/lib/softhsm/libsofthsm2.so';

plan(skip_all => 'no SoftHSM: apt-get install softhsm2')
    if !-r $module || system('softhsm2-util --version >/dev/null 2>&1');

my $t = LLM::Test->new(timeout => 120);
my $dir = $t->{dir};

mkdir "$dir/tokens";
$t->file('softhsm.conf', "directories.tokendir = $dir/tokens\n"
         . "objectstore.backend = file\n");
$ENV{SOFTHSM2_CONF} = "$dir/softhsm.conf";

is($t->run(['softhsm2-util', '--init-token', '--free', '--label', 'llm',
            '--so-pin', '271828', '--pin', '314159'])->{code}, 0, 'a token');
chmod 0600, $t->file('pin', "314159\n");

my $uri = "pkcs11:token=llm;object=llm?module-path=$module"
    . "&pin-source=file:$dir/pin";
my @where = ('--store', "$dir/store", '--secret', $uri);

my $r = $t->llmctl('init', @where);
is($r->{code}, 0, 'llmctl init') or diag($r->{err});
like($r->{out}, qr/pkcs11:token=llm;object=llm$/m, 'tells the key');

$r = $t->llmctl('key', 'create', @where, '--client', 'a', '--role', 'user');
is($r->{code}, 0, 'llmctl key create') or diag($r->{err});
my ($key) = $r->{out} =~ /\b(sk-[0-9a-f]{72})\b/;

$r = $t->llmctl('init', '--store', "$dir/other", '--secret', $uri);
is($r->{code}, 0, 'another store with the same key') or diag($r->{err});

my $conf = <<"END";
%%MAIN%%
env SOFTHSM2_CONF;
worker_processes 2;
http {
    %%HTTP%%
    llm_store %%DIR%%/store;
    llm_secret "$uri";

    server {
        listen 127.0.0.1:%%PORT_0%%;
        location / { llm_auth on; root %%DIR%%/html; }
    }
}
END

$t->file('html/page', 'page');
$t->conf($conf)->start;


sub page {
    return $t->get('/page', key => $_[0])->{status};
}


sub signers {
    my @found;

    for my $pid (keys %{ $t->processes }) {
        push @found, $pid if slurp("/proc/$pid/comm") eq "nginx-llm-sign\n";
    }

    return @found;
}


is(page($key), 200, 'the key is admitted');
is(page('sk-' . '0' x 72), 401, 'another is not');
is(scalar signers(), 1, 'one signer');

my ($old) = signers();
ok($t->reload, 'a reload');
is(page($key), 200, 'the key is admitted');
ok(wait_for { my @s = signers(); @s == 1 && $s[0] != $old },
   'the old signer ended with the old workers');

rename "$dir/tokens", "$dir/away";
is(page($key), 200, 'without the token too');
$r = $t->llmctl('key', 'create', @where, '--client', 'a', '--role', 'user');
isnt($r->{code}, 0, 'but no new keys are made');
unlike($r->{err}, qr/314159/, 'the PIN is not shown');
rename "$dir/away", "$dir/tokens";

$t->stop;
is(scalar signers(), 0, 'the signer ended with nginx');

$t->start;
$t->kill_role('master', 0, 'KILL');
kill 'KILL', $t->pids('worker');
ok(wait_for { !signers() }, 'and with its kill -9');

$t->done;
