#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The trail's file is removed, or put back from a copy, under nginx's hands:
# what is audited is refused until "llmctl audit renew", and the new trail says
# what the old one knew.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 90);
$t->init;

my ($key) = $t->key(client => 'acme', role => 'user');
my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($bad, $bad_id) = $t->key(client => 'bad', role => 'user');
my $store = $t->dir . '/store';

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /page { llm_auth on; }
        location /off/ { llm_auth on; llm_audit off; alias %%DIR%%/html/; }
        location /admin/ { llm_auth on; llm_admin; }
        location = /metrics { llm_auth on; llm_metrics; }
    }
}
END

sub pages {
    my ($n) = @_;
    return join ' ', map { $t->get('/page', key => $key)->{status} } 1 .. $n;
}

sub verify {
    return $t->llmctl('audit', 'verify', $t->keys_options);
}

is(pages(6), '200 200 200 200 200 200', 'pages');
ok($t->reload, 'all is written');       # by workers that end
wait_for { !$t->pids('old_worker') };
is(verify()->{code}, 0, 'the trail is whole');

$t->run(['cp', "$store/audit.mdb", $t->dir . '/copy']);
is(pages(3), '200 200 200', 'more pages');


# removed

ok(unlink("$store/audit.mdb"), 'the file is removed');
is(pages(4), '503 503 503 503', 'nothing is answered');

my $r = $t->get('/page', key => $key);
is($r->json->{error}{code}, 'audit_unavailable', 'it says why');
like($t->error_log, qr/audit\.mdb: it was removed/, 'so does the log');
is($t->get('/off/page', key => $key)->{status}, 200,
   'what is not audited is answered');
$r = $t->get('/metrics', key => $key);
is($r->{status}, 200, 'a scrape is answered');
like($r->{body}, qr/^llm_audit_writable 0$/m, 'and tells of it');
is($t->get('/metrics')->{status}, 503, 'but to nobody without a key');
$r = $t->admin('POST', "keys/$bad_id/revoke", {}, key => $admin);
is($r->{status}, 503, 'a revocation has no answer');
is($t->get('/off/page', key => $bad)->{status}, 401, 'and is made');
ok(!-e "$store/audit.mdb", 'nginx makes no new one');
ok(verify()->{code}, 'verify finds it');

$t->quit;
$t->start;
is(pages(2), '503 503', 'a new start changes nothing');

$r = $t->llmctl('audit', 'renew', $t->keys_options);
is($r->{code}, 0, 'llmctl renews it') or diag($r->{err});
ok(wait_for { $t->get('/page', key => $key)->{status} == 200 },
   'it is served again, without a reload');
select undef, undef, undef, 1.1;
is(pages(6), '200 200 200 200 200 200', 'by each worker');


# an older file in its place

$t->run(['cp', $t->dir . '/copy', "$store/audit.mdb.new"]);
ok(rename("$store/audit.mdb.new", "$store/audit.mdb"), 'an old copy');
is(pages(4), '503 503 503 503', 'nothing is answered');
ok(verify()->{code}, 'verify finds it');

$r = $t->llmctl('audit', 'renew', $t->keys_options);
is($r->{code}, 0, 'llmctl renews it') or diag($r->{err});
ok(wait_for { $t->get('/page', key => $key)->{status} == 200 },
   'it is served again');
select undef, undef, undef, 1.1;
is(pages(6), '200 200 200 200 200 200', 'by each worker');

ok($t->quit, 'nginx ends');
$r = verify();
is($r->{code}, 0, 'the new trail is whole') or diag($r->{out}, $r->{err});

my @lost = glob "$store/audit-lost-*";
cmp_ok(scalar @lost, '>=', 2, 'what was lost lies beside');

$t->done;
