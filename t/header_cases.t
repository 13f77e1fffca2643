#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What has broken other gateways, in headers and addresses: hostile bytes where
# a key belongs, keys that nearly are one, a key where none belongs, paths
# beside the guarded ones.  What auth.t has is not repeated.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Compress::Raw::Zlib qw(crc32);

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($key, $id) = $t->key(client => 'acme', role => 'user');
my ($root) = $t->key(client => 'boss', role => 'admin');

$t->file('html/page', "page\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    large_client_header_buffers 4 64k;
    log_format llm '"$llm_key_id" "$llm_client" "$llm_role"';

    llm_engine demo { model %%DEMO%%; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location = /page { llm_auth on; access_log %%DIR%%/llm.log llm; }
        location /any/ { satisfy any; allow all; llm_auth on; llm_admin; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%/; }
    }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        location / { return 200
            "client=$http_x_llm_client role=$http_x_llm_role args=$args"; }
    }
}
END


sub status {
    my ($uri, @headers) = @_;
    return $t->get($uri, headers => [@headers])->{status};
}


# hostile bytes, where a key belongs, in each header and each shape of error

my $sql = "sk-' OR '1'='1'; DROP TABLE keys; --";
my %hostile = (
    'SQL' => $sql,
    'overlong UTF-8' => "sk-\xc0\xaf\xc0\xae\xe0\x80\xaf\xf0\x80\x80\xaf",
    'invalid UTF-8' => "sk-\xff\xfe\x80\xbf\xed\xa0\x80",
    'a quote and a backslash' => 'sk-"\\"}],"x":"',
    'markup' => 'sk-<script>alert(1)</script>',
    'a format' => 'sk-%s%n%p%x%99999d',
    'variables' => 'sk-$host${llm_key_id}',
    'control characters' => "sk-\x01\x02\x1b[31m\x7f",
    '60 kB' => 'sk-' . '7' x 60_000,
    'Bearer twice' => "Bearer $key",
    'a key and a word' => "$key x",
    'a list' => "$key, $key",
    'a tab' => "\t$key",
);

for my $name (sort keys %hostile) {
    for my $header ('Authorization: Bearer ', 'x-api-key: ') {
        for my $uri ('/page', '/v1/chat/completions', '/v1/messages',
                     '/admin/self')
        {
            my $r = $t->get($uri, method => 'POST', body => '{}',
                            headers => ["$header$hostile{$name}"]);
            my $value = substr $hostile{$name}, 3, 40;

            # a tab is white space before a value for nginx
            next if $name eq 'a tab' && $header =~ /^x-/;

            like($r->{status}, qr/^40[01]$/, "$name in $header$uri");
            ok(index($r->{body}, $value) < 0, 'and is not repeated');
            ok($r->json && $r->json->{error}, 'an error in good order')
                if $r->{status} == 401;
        }
    }
}

my @broken = (
    ['CR LF in the key', "Authorization: Bearer sk-\r\nX: $key\r\n"],
    ['a bare CR', "Authorization: Bearer sk-\r$key\r\n"],
    ['a bare LF', "Authorization: Bearer sk-0\nx-y: $key\r\n"],
    ['NUL before the key', "Authorization: Bearer \0$key\r\n"],
    ['NUL in the key', 'Authorization: Bearer ' . substr($key, 0, 40) . "\0"
                       . substr($key, 40) . "\r\n"],
    ['NUL in the name', "Authori\0zation: Bearer $key\r\n"],
    ['a space before the colon', "Authorization : Bearer $key\r\n"],
    ['no value', "Authorization:\r\n"],
    ['a scheme alone', "Authorization: Bearer\r\n"],
    ['spaces alone', "Authorization: Bearer      \r\n"],
    ['an underscore', "x_api_key: $key\r\n"],
);

for my $case (@broken) {
    my ($name, $header) = @$case;

    for my $uri ('/page', '/admin/self', '/v1/models') {
        my $raw = $t->raw("GET $uri HTTP/1.1\r\nHost: a\r\n"
                          . "Connection: close\r\n$header\r\n");
        like($raw, qr{^HTTP/1\.1 40[01] }, "$name: $uri");
        ok(index($raw, substr $key, 10, 20) < 0, 'and does not show it');
    }
}

# a smuggled request is a request without a key

my $raw = $t->raw("GET /page HTTP/1.1\r\nHost: a\r\n"
    . "Authorization: Bearer $key\r\nContent-Length: 5\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    . "GET /admin/self HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
unlike($raw, qr/"role"/, 'no second request under the first one\'s key');


# keys that nearly are one, their check sum right

sub sum {
    my ($text) = @_;
    return $text . sprintf '%08x', crc32($text);
}

is(sum(substr $key, 0, 67), $key, 'the check sum is known to the test');

for my $n (3, 13, 20, 23, 35, 51, 66) {
    my $near = substr $key, 0, 67;
    my $c = substr $near, $n, 1;
    substr($near, $n, 1) = $c eq '0' ? '1' : '0';
    is(status('/page', 'Authorization: Bearer ' . sum($near)), 401,
       "its first $n bytes");
}

is(status('/page', 'x-api-key: ' . sum('sk-' . '0' x 64)), 401, 'zeros');
is(status('/page', 'x-api-key: ' . sum(substr($key, 0, 35)
                                       . substr($root, 35, 32))), 401,
   'two halves of two keys');


# what the store holds of a key is no key: each 32 bytes around a record, as
# the key they would be

my $data = slurp($t->dir . '/store/data.mdb');
my (%tried, $in);

while ($data =~ /\Q$id\E|acme/g) {
    my $at = pos $data;

    for my $from ($at - 140 .. $at + 60) {
        next if $from < 0 || $from % 2;
        my $hex = unpack 'H64', substr $data, $from, 32;
        next if length $hex < 64 || $tried{$hex}++;
        $in++ if status('/page', 'x-api-key: ' . sum("sk-$hex")) != 401;
    }
}

cmp_ok(keys %tried, '>', 50, keys(%tried) . ' digests that might be');
is($in, undef, 'none is a key');
is(status('/page', "x-api-key: $id"), 401, 'nor is the id');


# a key where none belongs

is(status("/page?$_=$key"), 401, "in the query as $_")
    for qw(key access_token token api-key authorization);
is(status('/page', "Cookie: api_key=$key; Authorization=Bearer $key"), 401,
   'in a cookie');
is(status('/page', "Proxy-Authorization: Bearer $key"), 401,
   'in Proxy-Authorization');
is(status('/page', "$_: $key"), 401, "in $_")
    for 'api-key', 'x-goog-api-key', 'X-LLM-Key-Id', 'X-Auth-Token';
is(status('/page', "X-LLM-Key-Id: $id", 'X-LLM-Role: admin',
          'X-LLM-Client: boss'), 401, 'identity headers are no key');

my $r = $t->get('/up/', key => $key, headers => [
    'X-LLM-Role: admin', 'X-LLM-ROLE: admin', 'x-Llm_role: admin',
    'X-LLM-Client: boss', 'X-LLM-Client: boss']);
is($r->{status}, 200, 'identity headers beside a key');
like($r->{body}, qr/client=acme role=user /, 'are replaced, each of them');


# addresses beside the guarded ones

for my $uri ('//v1/models', '/v1//models', '/v1/./models',
             '/page/../v1/models', '/%76%31/models', '/v1/%6dodels',
             '/v1/models/', '/v1/models?x=1', '/v1/models%00',
             '/v1/models#a', '//admin//keys', '/admin/../admin/keys',
             '/%61dmin/keys', '/admin/keys/', '/admin/keys%2f',
             '/page/.././admin/keys', '/admin/keys/../self', '/any/keys',
             '/any/self', '/any//keys')
{
    my $r = $t->get($uri);
    isnt($r->{status}, 200, "$uri without a key");
    unlike($r->{body}, qr/key_[a-z0-9]{24}/, 'and without an answer');
}

for my $method (qw(GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROPFIND)) {
    isnt(status_of($method, '/admin/keys'), 200, "$method without a key");
    isnt(status_of($method, '/v1/models'), 200, "$method without a key");
}

sub status_of {
    my ($method, $uri) = @_;
    return $t->get($uri, method => $method)->{status};
}

$t->expect_log(qr/open\.conf:\d+/);

for my $case (['llm_admin', 'llm_admin;'],
              ['llm_pass', 'llm_pass demo;'],
              ['llm_admin and its auth off', 'llm_auth off; llm_admin;'])
{
    my ($name, $directives) = @$case;
    my $conf = slurp($t->dir . '/nginx.conf');
    my $file = $t->dir . '/open.conf';

    $conf =~ s/location = \/page \{/location \/open\/ { $directives }\n$&/;
    $t->file($file, $conf);
    my $r = $t->run([@{ $t->nginx_command }[0 .. 4], '-c', $file, '-t'],
                    env => { $t->_sanitizer });
    isnt($r->{code}, 0, "$name without llm_auth: nginx does not start");
    like($r->{err}, qr/open\.conf:\d+/, 'and says where');
}


# what was written of all this

is(status('/page', "Authorization: Bearer $key"), 200, 'the key is good still');
my $log = slurp($t->dir . '/llm.log');
unlike($log, qr/sk-|\x00|DROP/, 'no key in the variables');

my $error_log = join "\n", grep { !/client sent (?:duplicate|invalid)/ }
    split /\n/, $t->error_log;
$error_log =~ s/request: "[^"]*"//g;        # the query is nginx's to log
ok(index($error_log, substr $_, 10, 20) < 0, 'no key in the error log')
    for $key, $root;

$t->done;
