#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Keys over HTTP with the secret in a token (SoftHSM): made and rotated by
# workers through the signer; a token that goes away and comes back; versions
# of the secret in the token; a wrong PIN and a missing token at the start.

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
chmod 0600, $t->file('wrong', "161803\n");

my $uri = "pkcs11:token=llm;object=llm?module-path=$module"
    . "&pin-source=file:$dir/pin";
my @where = ('--store', "$dir/store", '--secret', $uri);

is($t->llmctl('init', @where)->{code}, 0, 'llmctl init');

my $r = $t->llmctl('key', 'create', @where, '--client', 'boss', '--role',
                   'admin');
my ($admin) = $r->{out} =~ /\b(sk-[0-9a-f]{72})\b/;
ok($admin, 'an admin\'s key') or diag($r->{err});

sub conf {
    my ($secret) = @_;

    return <<"END";
%%MAIN%%
env SOFTHSM2_CONF;
worker_processes 2;
http {
    %%HTTP%%
    llm_store %%DIR%%/store;
    llm_secret "$secret";

    server {
        listen 127.0.0.1:%%PORT_0%%;
        location / { llm_auth on; root %%DIR%%/html; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END
}

# a start that can't be: said, and nothing runs

for my $case (["pkcs11:token=none;object=llm?module-path=$module"
               . "&pin-source=file:$dir/pin", qr/token/, 'a missing token'],
              ["pkcs11:token=llm;object=none?module-path=$module"
               . "&pin-source=file:$dir/pin", qr/none/, 'a missing key'],
              ["pkcs11:token=llm;object=llm?module-path=$module"
               . "&pin-source=file:$dir/wrong", qr/PIN/, 'a wrong PIN'],
              ["pkcs11:token=llm;object=llm?module-path=$dir/none.so"
               . "&pin-source=file:$dir/pin", qr/none\.so/,
               'a missing library'])
{
    my ($secret, $like, $name) = @$case;

    $t->conf(conf($secret));
    $r = $t->config_test;
    isnt($r->{code}, 0, "$name: nginx does not start");
    like($r->{err}, $like, "$name: the message says so");
    unlike($r->{err}, qr/314159|161803/, "$name: and no PIN");
}

$t->file('html/page', 'page');
$t->conf(conf($uri))->start;

sub page { return $t->get('/page', key => $_[0])->{status} }

sub create {
    return $t->admin('POST', 'keys', { client => 'acme', role => 'user' },
                     key => $admin);
}

$r = create();
is($r->{status}, 201, 'a key over HTTP') or diag($r->{body});
my ($key, $id) = @{ $r->json }{qw(key id)};
is(page($key), 200, 'it is admitted');
is($r->json->{secret_version}, 1, 'made with version 1');

$r = $t->admin('POST', "keys/$id/rotate", {}, key => $admin, idem => 'one');
is($r->{status}, 200, 'rotated');
my $rotated = $r->json->{key};
is(page($rotated), 200, 'the new one is admitted');
is(page($key), 200, 'and the old one in its grace');
is($t->admin('POST', "keys/$id/rotate", {}, key => $admin, idem => 'one')
     ->json->{key}, $rotated, 'the same rotation gives the same key');

# the token is away: keys are checked, and revoked, but not made

rename "$dir/tokens", "$dir/away";

is(page($rotated), 200, 'without the token keys are admitted');
$r = create();
is($r->{status}, 503, 'none is made') or diag($r->{body});
is($r->json->{error}{code}, 'secret_unavailable', 'with a code of its own');
is($t->admin('POST', "keys/$id/leak", {}, key => $admin)->{status}, 200,
   'a leaked key is dealt with');
is(page($rotated), 401, 'it is revoked');
is(page($key), 401, 'with its former secret');

rename "$dir/away", "$dir/tokens";

ok(wait_for { create()->{status} == 201 }, 'with the token keys are made');

# a second version of the secret, in the token

$r = $t->llmctl('secret', 'rotate', @where);
is($r->{code}, 0, 'the secret is rotated') or diag($r->{err});
$r = create();
is($r->json->{secret_version}, 1, 'not before nginx knows');
my $first = $r->json->{key};

$t->reload;
$r = create();
is($r->{status}, 201, 'after a reload') or diag($r->{body});
is($r->json->{secret_version}, 2, 'keys are made with version 2');
is(page($r->json->{key}), 200, 'which is admitted');
is(page($first), 200, 'and so is one of version 1');
is(page($admin), 200, 'and another');

$r = $t->run(['pkcs11-tool', '--module', $module, '--token-label', 'llm',
              '--login', '--pin', '314159', '--list-objects']);

SKIP: {
    skip('no pkcs11-tool: apt-get install opensc', 2) if $r->{code};

    like($r->{out}, qr/llm\.v2/, 'the token has both');
    unlike($r->{out}, qr/(?<!never )extractable/, 'and gives none away');
}

unlike($t->error_log, qr/314159/, 'no PIN in the log');

$t->done;
