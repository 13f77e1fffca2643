#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The matrix of roles, cell by cell: users call models and see the monitoring,
# operators also change parameters, admins also manage keys.  Nobody raises
# itself.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my (%key, %id);
($key{$_}, $id{$_}) = $t->key(client => "the-$_", role => $_)
    for qw(user operator admin);

$t->file('html/page.txt', "static\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /ops/ { llm_auth on role=operator; alias %%DIR%%/html/; }
    }
}
END

wait_for { $t->get('/readyz')->{status} == 200 };

# a fresh victim for each cell that changes one

sub victim {
    my (undef, $id) = $t->key(client => 'victim', role => 'user');
    return $id;
}

# name, method, path (a sub makes it), body, the least role, the good status

my @cells = (
    ['call a model', 'POST', '/v1/completions',
     { model => 'demo', prompt => 'a', max_tokens => 1 }, 'user', 200],
    ['list models', 'GET', '/v1/models', undef, 'user', 200],
    ['see oneself', 'GET', '/admin/self', undef, 'user', 200],
    ['see the status', 'GET', '/admin/status', undef, 'user', 200],
    ['see one\'s second factor', 'GET', '/admin/totp', undef, 'user', 200],
    ['a location for operators', 'GET', '/ops/page.txt', undef, 'operator', 200],
    ['see parameters', 'GET', '/admin/params', undef, 'operator', 200],
    ['change parameters', 'PATCH', '/admin/params', { max_batch => 16 },
     'operator', 200],
    ['list keys', 'GET', '/admin/keys', undef, 'admin', 200],
    ['see a key', 'GET', sub { "/admin/keys/$id{user}" }, undef, 'admin',
     200],
    ['make a user\'s key', 'POST', '/admin/keys',
     { client => 'new', role => 'user' }, 'admin', 201],
    ['make an operator\'s key', 'POST', '/admin/keys',
     { client => 'new', role => 'operator' }, 'admin', 201],
    ['make an admin\'s key', 'POST', '/admin/keys',
     { client => 'new', role => 'admin' }, 'admin', 201],
    ['update a key', 'PATCH', sub { '/admin/keys/' . victim() },
     { requests_per_minute => 5 }, 'admin', 200],
    ['change a role', 'PATCH', sub { '/admin/keys/' . victim() },
     { role => 'operator' }, 'admin', 200],
    ['rotate a key', 'POST', sub { '/admin/keys/' . victim() . '/rotate' },
     {}, 'admin', 200],
    ['revoke a key', 'POST', sub { '/admin/keys/' . victim() . '/revoke' },
     {}, 'admin', 200],
    ['drill a leak', 'POST', sub { '/admin/keys/' . victim() . '/leak' }, {},
     'admin', 200],
    ['read the changes', 'GET', '/admin/changes', undef, 'admin', 200],
    ['see the secret\'s versions', 'GET', '/admin/secret', undef, 'admin',
     200],
);

my %rank = (user => 1, operator => 2, admin => 3);

for my $cell (@cells) {
    my ($name, $method, $path, $body, $least, $good) = @$cell;

    for my $role (qw(user operator admin)) {
        my $uri = ref $path ? $path->() : $path;
        my $want = $rank{$role} >= $rank{$least} ? $good : 403;
        my $r = $t->get($uri, method => $method, key => $key{$role},
                        defined $body ? (body => $body) : ());

        is($r->{status}, $want, "$role: $name") or diag($r->{body});

        if ($want == 403) {
            is(eval { $r->json->{error}{code} }, 'role_required',
               "$role: $name: the error says so");
        }
    }

    my $uri = ref $path ? $path->() : $path;
    is($t->get($uri, method => $method,
               defined $body ? (body => $body) : ())->{status},
       401, "nobody: $name");
}

# nobody raises itself

for my $role (qw(user operator)) {
    for my $body ({ role => 'admin' }, { expires => undef },
                  { expires => '90d' }, { tokens_per_day => undef })
    {
        my $r = $t->admin('PATCH', "keys/$id{$role}", $body,
                          key => $key{$role});
        is($r->{status}, 403, "$role updates its own @{[keys %$body]}");
    }

    my $r = $t->admin('GET', 'self', undef, key => $key{$role});
    is($r->json->{role}, $role, "$role is still that");
}

my $before = $t->admin('GET', 'self', undef, key => $key{user})->json;

my %refused = (
    'no expiry' => { expires => undef },
    'one after the maximum age' => { expires => '91d' },
    'one in the past' => { expires => '2020-01-01' },
    'an unknown role' => { role => 'root' },
    'a role of another type' => { role => 3 },
    'a negative limit' => { requests_per_minute => -1 },
    'half a token' => { tokens_per_day => 1.5 },
    'an unknown member' => { admin => JSON::PP::true },
    'its id' => { id => 'key_000000000000000000000000' },
    'a bad address' => { addresses => ['10.0.0.0/33'] },
    'a bad model' => { models => [''] },
);

for my $name (sort keys %refused) {
    my $r = $t->admin('PATCH', "keys/$id{user}", $refused{$name},
                      key => $key{admin});
    is($r->{status}, 400, "an update with $name is refused")
        or diag($r->{body});
}

my $after = $t->admin('GET', 'self', undef, key => $key{user})->json;
is_deeply([@$after{qw(role expires scopes)}],
          [@$before{qw(role expires scopes)}], 'and nothing changed');

# a role that was taken counts at once

my $r = $t->admin('PATCH', "keys/$id{operator}", { role => 'user' },
                  key => $key{admin});
is($r->{status}, 200, 'an operator becomes a user');
is($t->get('/ops/page.txt', key => $key{operator})->{status}, 403, 'at once');

# who did it is in the log of changes

my @changes = @{ $t->admin('GET', 'changes?limit=1000', undef,
                           key => $key{admin})->json->{data} };
my ($change) = grep { $_->{target} eq $id{operator} } @changes;
is($change->{actor}, $id{admin}, 'who changed it');
like($change->{action}, qr/update/, 'what was done');
like($change->{detail}, qr/role/, 'what changed');

# paths that are none, methods that are none

is($t->admin('GET', $_, undef, key => $key{admin})->{status}, 404, "no $_")
    for 'nothing', 'keys/key_none', 'keys/../keys/x';
is($t->admin('DELETE', 'keys', undef, key => $key{admin})->{status}, 405,
   'DELETE keys');
is($t->admin('POST', 'keys', '{"client":', key => $key{admin})->{status}, 400,
   'no JSON');
is($t->admin('POST', 'keys', '[]', key => $key{admin})->{status}, 400,
   'no object');
is($t->admin('POST', 'keys', '{"client":"a","client":"b","role":"user"}',
             key => $key{admin})->{status}, 400, 'a member twice');
is($t->admin('POST', 'keys', { client => 'a', role => 'user',
                               comment => 'x' x 70000 },
             key => $key{admin})->{status}, 413, 'a large body');

$t->done;
