#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What lies on the disk after keys were made, rotated, leaked, called with, and
# second factors enrolled: no part of a key, no plain hash of one, no second
# factor's secret, no recovery code; not in the store, not in the logs, not in
# any other file of nginx's.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Totp;

use Digest::MD5 qw(md5);
use Digest::SHA qw(sha1 sha256 sha512);
use MIME::Base64 qw(encode_base64);

my $t = LLM::Test->new(timeout => 150);
$t->init;

my %secret;                 # what must not be found: text => what it is
my @keys;

sub know_key {
    my ($key) = @_;
    push @keys, $key;
    return $key;
}

my ($admin, $admin_id) = $t->key(client => 'boss', role => 'admin');
my ($other, $other_id) = $t->key(client => 'other', role => 'admin');
know_key($_) for $admin, $other;

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    log_format all '$request $status $http_user_agent $http_authorization '
                   '$http_x_api_key $http_x_llm_totp $llm_key_id $llm_client';
    access_log %%DIR%%/all.log all;
    large_client_header_buffers 4 64k;

    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /page { llm_auth on; try_files /page =404; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%/; }
    }
    server {
        listen 127.0.0.1:%%PORT_2%%;
        access_log off;
        location /page { llm_auth on;
                         proxy_pass http://127.0.0.1:%%PORT_1%%; }
    }
    server {
        access_log off;
        listen 127.0.0.1:%%PORT_1%%;
        location / { return 200 "$http_x_llm_key_id"; }
    }
}
END


sub call {
    my ($method, $path, $body, %o) = @_;

    my $r = $t->admin($method, $path, $body, key => $admin, %o);
    like($r->{status}, qr/^20[01]$/, "$method $path") or diag($r->{body});
    return $r->json // {};
}


# keys, made, used, rotated, leaked, revoked

for my $i (1 .. 20) {
    my $o = call('POST', 'keys', { client => "c$i", role => 'user' });
    my $id = $o->{id};

    know_key($o->{key});
    $t->get('/page', key => $o->{key});
    $t->get('/up/', key => $o->{key});
    $t->post('/v1/completions', { model => 'demo', prompt => "say $i",
             max_tokens => 2, user => "u$i" }, key => $o->{key}) if $i < 4;

    $o = call('POST', "keys/$id/rotate", { grace => $i % 2 ? '1h' : '0' },
              idem => "dump-$i");
    know_key($o->{key});
    $t->get('/page', key => $o->{key});

    if ($i % 5 == 0) {
        $o = call('POST', "keys/$id/leak", { reason => 'in a log' });
        know_key($o->{successor}{key});

    } elsif ($i % 5 == 1) {
        call('POST', "keys/$id/revoke", {});
    }
}

# and by llmctl

my (undef, $id) = my @made = $t->key(client => 'ctl', role => 'user');
know_key($made[0]);
my $r = $t->llmctl('key', 'rotate', $id, $t->keys_options, '--json');
know_key(decode_json($r->{out})->{key});
$r = $t->llmctl('key', 'leak', '-', $t->keys_options, '--json',
                { stdin => "$keys[-1]\n" });
is($r->{code}, 0, 'llmctl key leak with a key') or diag($r->{err});
my ($next) = $r->{out} =~ /(sk-[0-9a-f]{72})/;
know_key($next) if $next;

# keys where they don't belong.  nginx's own logs have the address and the
# agent, for those the calls are looked at alone

for my $pad (0, 50, 100, 110, 120, 190, 230, 250) {
    my $name = 'x' x $pad;
    $t->get("/page/$name$keys[3]", key => $keys[-1], port => 2);
    $t->get('/page', key => $keys[-1], port => 2,
            headers => ["User-Agent: $name$keys[3]"]);
    $t->get("/page/$keys[3]/$keys[5]$name$keys[7]/$name",
            key => $keys[-1], port => 2);
}

# and these are refused

$t->get('/page', headers => ["Authorization: Bearer $keys[3]0"]);
$t->get('/page', headers => ["Authorization: Bearer $keys[3]",
                             "x-api-key: $keys[5]"]);
$t->admin('GET', 'keys', { key => $keys[3] }, key => $admin);
$t->admin('POST', 'keys', { client => $keys[3], role => 'user' },
          key => $admin);
$t->admin('POST', 'keys', { $keys[3] => 1 }, key => $admin);
$t->admin('POST', 'keys', { client => 'a', role => $keys[3] },
          key => $admin);
$t->admin('POST', 'keys', { client => 'a', role => 'user',
                            models => [$keys[3]] }, key => $admin);
$t->admin('POST', "keys/$id/leak", { reason => "saw $keys[3]" },
          key => $admin);
$t->admin('PATCH', 'params/demo', { $keys[3] => $keys[3] }, key => $admin);
$t->post('/v1/completions', { model => $keys[3], prompt => 'a' },
         key => $keys[-1]);


# second factors: confirmed, used, wrong codes, new recovery codes

sub enrol {
    my ($key) = @_;

    my $r = $t->admin('POST', 'totp', {}, key => $key);
    like($r->{status}, qr/^20[01]$/, 'enrol') or diag($r->{body});
    my $o = $r->json;

    $secret{$o->{secret}} = 'a TOTP secret, base32';
    $secret{LLM::Totp::raw($o->{secret})} = 'a TOTP secret, raw';
    $secret{unpack 'H*', LLM::Totp::raw($o->{secret})} = 'a TOTP secret, hex';
    know_recovery(@{ $o->{recovery_codes} });

    $r = $t->admin('POST', 'totp/confirm',
                   { code => LLM::Totp::code($o->{secret}) }, key => $key);
    is($r->{status}, 200, 'confirm') or diag($r->{body});

    return $o;
}

sub know_recovery {
    for my $code (@_) {
        $secret{$code} = 'a recovery code';
        $secret{$code =~ s/-//r} = 'a recovery code, typed';
        $secret{sha256($_)} = 'a hash of a recovery code'
            for $code, $code =~ s/-//r;
        $secret{sha1($_)} = 'a hash of a recovery code'
            for $code, $code =~ s/-//r;
    }
}

my $mine = enrol($admin);
my $theirs = enrol($other);

is($t->admin('POST', 'keys', { client => 'a', role => 'user' },
             key => $admin)->{status}, 401, 'without a code');
is($t->admin('POST', 'keys', { client => 'a', role => 'user' },
             key => $admin, totp => '000000')->{status}, 401, 'a wrong one');
my $o = call('POST', 'keys', { client => 'coded', role => 'user' },
             totp => $mine->{recovery_codes}[0]);
know_key($o->{key});
$o = call('POST', 'totp/recovery', {}, totp => $mine->{recovery_codes}[1]);
know_recovery(@{ $o->{recovery_codes} });
$o = call('POST', "keys/$other_id/leak", {},
          totp => $o->{recovery_codes}[2]);
know_key($o->{successor}{key});


# all is written: nginx ends, some of it by kill -9

$t->kill_role('worker', 0);
wait_for { $t->pids('worker') == 2 };
$t->get('/page/x', key => $keys[-1]);
$t->quit;


# what must not be found.  Of a key: any 8 bytes of its digits as text, any 8
# as they are in binary, and its hashes

my (%part, %hash);

for my $key (@keys) {
    my $hex = substr $key, 3;

    $part{substr $hex, $_, 8} = 1 for 0 .. length($hex) - 8;
    $part{uc substr $hex, $_, 8} = 1 for 0 .. length($hex) - 8;
    $part{substr pack('H*', $hex), $_, 8} = 1 for 0 .. 28;
    $part{substr pack('H*', substr $hex, 1, 70), $_, 8} = 1 for 0 .. 27;
    $part{substr encode_base64($key, ''), $_, 8} = 1
        for map { 4 * $_ } 1 .. 22;

    for my $text ($key, $hex, "Bearer $key", pack('H*', $hex)) {
        for my $hash (sha1($text), sha256($text), sha512($text), md5($text)) {
            $hash{substr $hash, 0, 16} = 1;
            $hash{unpack 'H32', $hash} = 1;
        }
    }
}

# what stands in the store beside keys: HMACs of 32 bytes, ids

ok(keys(%part) > 100 * @keys, scalar(@keys) . ' keys are known');


# Windows of a file, each looked up: faster than a search for each.
sub found {
    my ($data, $what) = @_;

    my %length = map { length $_ => 1 } keys %$what;
    my @found;

    for my $n (sort { $a <=> $b } keys %length) {
        for my $at (0 .. length($data) - $n) {
            push @found, $at if $what->{substr $data, $at, $n};
        }
    }

    return @found;
}


my @files = grep { -f } map { glob $t->dir . "/$_" }
    'store/*', '*.log', 'tmp/*/*', 'nginx.pid', 'nginx.conf';
my %size = map { $_ => -s $_ } @files;

cmp_ok(scalar @files, '>', 5, 'files: ' . join ' ', map { s{.*/}{}r } @files);

my $text = substr slurp($t->dir . '/secret'), 0, 16;

for my $file (@files) {
    my $data = slurp($file);
    my $name = substr $file, 1 + length $t->dir;

    # nginx quotes what it refused itself
    $data =~ s/^.*client sent (?:duplicate|invalid) header.*$//mg
        if $name eq 'error.log';

    # the empty tail of a store, and of its lock
    $data =~ s/\0{64,}/\0/g;

    is(join(' ', found($data, \%part)), '', "$name: no part of a key");
    is(join(' ', found($data, \%hash)), '', "$name: no hash of a key");
    is(join(', ', map { $secret{$_} } grep { index($data, $_) >= 0 }
                  keys %secret), '', "$name: no second factor");
    ok(index($data, $text) < 0, "$name: no secret");
}

like(slurp($t->dir . '/store/data.mdb'), qr/boss.*coded|coded.*boss/s,
     'the store is what was searched');
like(slurp($t->dir . '/store/calls.mdb'), qr{/page/\*{50}},
     'a key in an address is not kept');
like(slurp($t->dir . '/all.log'), qr/\Q$admin_id\E/, 'and the log');

$t->done;
