#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A disk without room for the audit trail: what is audited is refused with 503
# and says why, changes are not made, keys are revoked all the same, what is
# not audited goes on; and all of it works again when there is room.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 90);
my $disk = $t->dir . '/disk';
my $n = 0;

mkdir $disk;

my $r = $t->run(['mount', '-t', 'tmpfs', '-o', 'size=12m,mode=0755',
                 'llm-test', $disk]);
plan skip_all => "no mount here: $r->{err}" if $r->{code};

END { system 'umount', '-l', $disk if defined $disk }

my @where = ('--store', "$disk/store", '--secret', "file:$disk/secret");

$r = $t->llmctl('init', @where, '--size', '4m');
is($r->{code}, 0, 'a store on a small disk') or diag($r->{err});

sub key {
    my ($client, $role) = @_;
    my $o = decode_json($t->llmctl('key', 'create', @where, '--client',
        $client, '--role', $role, '--json')->{out});
    return @$o{qw(key id)};
}

my ($admin) = key('boss', 'admin');
my ($key) = key('acme', 'user');
my ($bad, $bad_id) = key('bad', 'user');
my ($leaked, $leaked_id) = key('leaked', 'user');

$t->file('html/page', "page\n");
$t->conf(<<'END' =~ s/%%DISK%%/$disk/gr)->start;
%%MAIN%%
http {
    %%HTTP%%
    llm_store %%DISK%%/store;
    llm_secret file:%%DISK%%/secret;
    llm_engine demo {
        model %%DEMO%%; device cpu; threads 1; context 512; kv_cache 32m;
    }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /page { llm_auth on; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /kept/ { llm_auth on; llm_pass demo; llm_audit_content on; }
        location /off/ { llm_auth on; llm_audit off; alias %%DIR%%/html/; }
        location /admin/ { llm_auth on; llm_admin; }
        location ~ /(healthz|readyz)$ { llm_auth off; llm_pass demo; }
    }
}
END

my %ask = (model => 'demo', prompt => 'a', max_tokens => 3);

is($t->get('/page', key => $key)->{status}, 200, 'with room: a page');

# no byte is left

open my $fill, '>', "$disk/fill" or die $!;
1 while syswrite $fill, 'x' x 65536;
1 while syswrite $fill, 'x' x 512;
close $fill;

# what the file has already may be used up first

for (1 .. 400) {
    $r = $t->post('/kept/completions', { %ask, prompt => 'x' x 50_000 },
                  key => $key);
    last if $r->{status} == 503;
    $n++;
}

for (1 .. 400) {
    $r = $t->get('/page', key => $key);
    last if $r->{status} == 503;
    $n++;
}

is($r->{status}, 503, "refused, after $n more");
is($r->json->{error}{code}, 'audit_unavailable', 'and says why');
is($r->header('retry-after'), 1, 'and that it may change');
ok($r->{complete}, 'the answer is whole');

for my $case (
    ['a completion', '/v1/completions', \%ask],
    ['a stream', '/v1/completions', { %ask, stream => \1 }],
    ['models', '/v1/models', undef],
    ['a wrong key', '/page', undef, 'sk-' . '0' x 72],
    ['a list of keys', '/admin/keys', undef, $admin],
    ['a new key', '/admin/keys', { client => 'no', role => 'user' }, $admin])
{
    my ($name, $uri, $body, $by) = @$case;
    $r = $t->get($uri, key => $by // $key, defined $body ? (body => $body)
                                                         : ());
    is($r->{status}, 503, "$name is refused");
    is($r->json->{error}{code}, 'audit_unavailable', "$name: so");
}

is($t->get('/off/page', key => $key)->{status}, 200,
   'what is not audited is answered');

$r = $t->admin('GET', 'status', undef, key => $admin);
is($r->{status}, 200, 'GET status is, too');
is((grep { $_->{name} eq 'LLMAuditUnwritable' } @{ $r->json->{alerts} })[0]
   {state}, 'firing', 'and has the alert');
is($t->get('/off/page', key => $bad)->{status}, 200, 'a key is good');

$r = $t->admin('POST', "keys/$bad_id/revoke", {}, key => $admin);
is($r->{status}, 503, 'who revokes it gets no answer without a record');
like($r->json->{error}{message}, qr/done/, 'but is told that it was done');
is($t->get('/off/page', key => $bad)->{status}, 401, 'and it was');

$r = $t->llmctl('key', 'revoke', $leaked_id, '--store', "$disk/store");
is($r->{code}, 0, 'llmctl revokes') or diag($r->{err});
is($t->get('/off/page', key => $leaked)->{status}, 401, 'at once');

unlike($t->llmctl('key', 'list', @where, '--json')->{out}, qr/"no"/,
       'no change was made');

$r = $t->get('/readyz');
is($r->{status}, 503, '/readyz says that it is not ready');
is($r->json->{store}, 'ok', 'the store is');
like($r->json->{audit}, qr/^(?:full|failed)$/, 'the audit is not');

my @lines = $t->error_log =~ /the trail can't be written/g;
is(scalar @lines, 1, 'the log says it once');

# room again

unlink "$disk/fill";

ok(wait_for { $t->get('/page', key => $key)->{status} == 200 },
   'with room it is served again');
ok(wait_for { $t->get('/readyz')->{status} == 200 }, '/readyz too');
is($t->post('/v1/completions', \%ask, key => $key)->{status}, 200,
   'completions too');
is($t->admin('POST', 'keys', { client => 'yes', role => 'user' },
             key => $admin)->{status}, 201, 'and changes');
like($t->error_log, qr/the trail can be written again/, 'so the log says');

ok($t->quit, 'nginx ends');
$r = $t->llmctl('audit', 'verify', @where);
is($r->{code}, 0, 'the trail is whole') or diag($r->{out}, $r->{err});

my @calls = map { decode_json($_) } split /\n/,
            $t->llmctl('audit', 'query', @where, '--json', '--limit', 0,
                       '--status', 503)->{out};
cmp_ok(scalar @calls, '>=', 5, 'it knows of refused calls, told later');

$t->done;
