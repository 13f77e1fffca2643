#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# GET /admin/audit: who asked what, over HTTP; roles, filters, one call,
# look-ups, the trail in GET /admin/status.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 60);
$t->init;

my ($user, $user_id) = $t->key(client => 'acme', role => 'user');
my ($op) = $t->key(client => 'ops', role => 'operator');
my ($admin) = $t->key(client => 'boss', role => 'admin');

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END

sub calls {
    my ($args) = @_;
    my $r = $t->admin('GET', 'audit' . ($args ? "?$args" : ''), undef,
                      key => $admin);
    is($r->{status}, 200, 'GET audit' . ($args ? "?$args" : ''))
        or diag($r->{body});
    return $r->json->{calls} || [];
}

sub code {
    my ($method, $path, $body, $key) = @_;
    my $r = $t->admin($method, $path, $body, key => $key // $admin);
    return "$r->{status} " . ($r->json->{error}{code} // '');
}

is(code('GET', 'audit', undef, $user), '403 role_required', 'a user');
is(code('GET', 'audit', undef, $op), '403 role_required', 'an operator');
is(code('POST', 'audit/lookup', { text => 'a' }, $op), '403 role_required',
   'no look-up either');

# what llmctl did, whatever else there is

my $made = calls('client=llmctl:*');
is(scalar @$made, 0, 'no wildcards');
$made = calls('path=/admin/keys&oldest=1&actions=1');
my @ctl = grep { $_->{method} eq 'LLMCTL' } @$made;
is(scalar @ctl, 3, 'three keys were made');
my $call = $ctl[0];
is($call->{status}, 201, 'with success');
ok($call->{action} && !$call->{unfinished} && $call->{close},
   'actions, with an end');
like($call->{client}, qr/^llmctl:/, 'by whom');
like($call->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'when');

is(scalar(grep { $_->{number} == $call->{number} }
          @{calls("client=$call->{client}&status=2xx&since=1h&limit=1000")}),
   1, 'several filters');
is(scalar @{calls("request=$call->{request}")}, 1, 'by request id');
is(scalar @{calls('until=1h')}, 0, 'before: nothing');

my $r = $t->admin('GET', 'audit?limit=1', undef, key => $admin);
my $next = $r->json->{next};
ok($next, 'a page');
is(scalar(grep { $_->{number} >= $next } @{calls("before=$next")}), 0,
   'the next page');

# one call

$r = $t->admin('GET', "audit/$call->{number}", undef, key => $admin);
is($r->json->{request}, $call->{request}, 'by its number');
$r = $t->admin('GET', "audit/$call->{request}", undef, key => $admin);
is($r->json->{number}, $call->{number}, 'by its id');
is(code('GET', 'audit/99999999'), '404 call_not_found', 'no such call');

# look-ups

$r = $t->admin('POST', 'audit/lookup', { text => 'never used' },
               key => $admin);
is($r->{status}, 200, 'a look-up');
is(scalar @{$r->json->{calls}}, 0, 'of a text that nobody used');
is(code('POST', 'audit/lookup', {}), '400 missing_field', 'of none');

# refused

is(code('GET', "audit?$_"), '400 invalid_value', $_)
    for 'status=x', 'address=x', 'key=x', 'since=x', 'limit=0', 'request=X';
is(code('GET', 'audit?x=1'), '400 unknown_field', 'an unknown filter');
is(code('PUT', 'audit', {}), '405 method_not_allowed', 'another method');

# status

my $s = $t->admin('GET', 'status', undef, key => $op)->json->{audit};
ok($s && $s->{last} >= 7 && $s->{bytes} > 0, 'status: an operator');
$s = $t->admin('GET', 'status', undef, key => $user)->json;
ok(!exists $s->{audit}, 'not a user');

# and the trail is whole

$r = $t->llmctl('audit', 'verify', $t->keys_options);
is($r->{code}, 0, 'the trail is whole') or diag($r->{out}, $r->{err});

$t->done;
