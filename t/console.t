#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llm_console: the files of the page are those of the module, with types,
# tags and a policy that lets nothing in from outside; no other file can be
# had through it.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Compress::Zlib qw(memGunzip);

my $t = LLM::Test->new(timeout => 60);

my $conf = <<'END';
%%MAIN%%
http {
    %%HTTP%%
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /console/ { llm_console; }
        location /bare { llm_console; }
        location /zip/ {
            llm_console;
            gzip on;
            gzip_min_length 100;
            gzip_types text/css text/javascript;
        }
        location /limited/ {
            llm_console;
            limit_except GET { deny all; }
        }
    }
}
END
$t->conf($conf)->start;

my $dir = $t->top . '/ngx_module/console';
my %type = (html => 'text/html', css => 'text/css', js => 'text/javascript',
            svg => 'image/svg+xml');
my $policy = "default-src 'none'; script-src 'self'; style-src 'self'; "
    . "connect-src 'self'; img-src 'self'; base-uri 'none'; "
    . "form-action 'none'; frame-ancestors 'none'; "
    . "require-trusted-types-for 'script'";
my %tag;


# the files

my @files = map { s{^.*/}{}r } glob "$dir/*";
cmp_ok(scalar @files, '>=', 8, 'there are files');

for my $file (@files) {
    my $r = $t->get("/console/$file");
    my ($ext) = $file =~ /\.(\w+)$/;

    is($r->{status}, 200, "$file: 200");
    is($r->header('content-type'), "$type{$ext}; charset=utf-8",
       "$file: its type");
    ok($r->{body} eq slurp("$dir/$file"), "$file: its bytes");
    is($r->header('content-length'), -s "$dir/$file", "$file: its length");
    like($r->header('etag'), qr/^"[0-9a-f]{32}"$/, "$file: a tag");
    ok(!$tag{ $r->header('etag') }++, "$file: of its own");
    is($r->header('content-security-policy'), $policy, "$file: the policy");
    is($r->header('cache-control'), 'no-cache', "$file: asked for each time");
    is($r->header('x-content-type-options'), 'nosniff', "$file: nosniff");
    is($r->header('referrer-policy'), 'no-referrer', "$file: no referrer");

    $r = $t->get("/console/$file",
                 headers => ['If-None-Match: ' . $r->header('etag')]);
    is($r->{status}, 304, "$file: 304 for who has it");
    is($r->{body}, '', "$file: without a body");
    is($r->header('content-security-policy'), $policy,
       "$file: the policy also then");
}

my $page = $t->get('/console/');
is($page->{status}, 200, 'the page');
ok($page->{body} eq slurp("$dir/index.html"), 'is index.html');
is($t->get('/console/?a=b')->{status}, 200, 'with a query');
is($t->get('/console/', headers => ['If-None-Match: "other"'])->{status}, 200,
   'another tag');

# nothing that the policy would refuse, and nothing from elsewhere

unlike($page->{body}, qr/<script(?![^>]*\bsrc="[a-z]+\.js")/,
       'no script in the page');
unlike($page->{body}, qr/<style|\sstyle=|\son[a-z]+=|javascript:/i,
       'no style, no handlers');

for my $file (@files) {
    my $text = slurp("$dir/$file");
    $text =~ s{http://www\.w3\.org/2000/svg}{}g;
    unlike($text, qr{(?:https?:)?//[a-z0-9]}i, "$file: no other address");
    unlike($text, qr/innerHTML|outerHTML|insertAdjacentHTML|document\.write|
                     \beval\b|new\ Function|DOMParser|srcdoc/x,
           "$file: no text becomes markup") if $file =~ /js$/;
}


# methods

my $r = $t->get('/console/', method => 'HEAD');
is($r->{status}, 200, 'HEAD');
is($r->header('content-length'), -s "$dir/index.html", 'tells the length');
is($r->{body}, '', 'and has no body');

for my $method (qw(POST PUT DELETE PATCH OPTIONS)) {
    $r = $t->get('/console/', method => $method, body => 'x');
    is($r->{status}, 405, "$method is refused");
    is($r->header('allow'), 'GET, HEAD', 'Allow says what is not');
}

is($t->get('/limited/')->{status}, 200, 'limit_except');
is($t->post('/limited/', 'x')->{status}, 403, 'others are its');


# paths

for my $uri ('/console/none.js', '/console/INDEX.HTML', '/console/index.html/',
             '/console/%2e%2e/store', '/console/..%2f..%2fetc%2fpasswd',
             '/console/../../etc/passwd', '/console/app.js%00',
             '/console/app.js%00.html', '/console/app', '/console/app.jsx',
             '/consolex', '/barex', '/bare/none', '/bare/../bare.js')
{
    $r = $t->get($uri);
    like($r->{status}, qr/^40[04]$/, "$uri is no file");
    unlike($r->{body}, qr/root:/, 'nor another\'s');
}

$r = $t->get('/console');
is($r->{status}, 301, 'without the slash: a redirect');
like($r->header('location'), qr{^http://[^/]+/console/$}, 'to the page');
$r = $t->get('/bare');
is($r->{status}, 301, 'also of a location without one');
like($r->header('location'), qr{/bare/$}, 'to where links are right');
is($t->get('/bare/')->{status}, 200, 'which is there');
ok($t->get('/bare/app.js')->{body} eq slurp("$dir/app.js"), 'with its files');


# gzip is nginx's own

$r = $t->get('/zip/app.js', headers => ['Accept-Encoding: gzip']);
is($r->header('content-encoding'), 'gzip', 'gzip');
ok(memGunzip($r->{body}) eq slurp("$dir/app.js"), 'of the same bytes');
like($r->header('etag'), qr{^W/"[0-9a-f]{32}"$}, 'a weak tag');
is($t->get('/zip/app.js', headers => ['Accept-Encoding: gzip',
                                      'If-None-Match: ' . $r->header('etag')])
       ->{status}, 304, 'that is known again');


# configuration

$t->init;
my $locked = $conf =~ s/(%%HTTP%%)/$1\n%%KEYS%%\nllm_auth on;/r;
$r = $t->config_test($locked);
is($r->{code}, 0, 'behind llm_auth on') or diag($r->{err});
like($r->{err}, qr/\[warn\].*llm_auth off/, 'a warning');
$r = $t->config_test($locked =~ s/llm_console;/llm_auth off; llm_console;/gr);
unlike($r->{err}, qr/\[warn\]/, 'llm_auth off: none');

for my $bad (['location ~ ^/x { llm_console; }', qr/location by prefix/],
             ['location @x { llm_console; }', qr/location by prefix/],
             ['location /x/ { llm_console; llm_console; }', qr/duplicate/],
             ['location /x/ { llm_console on; }', qr/number of arguments/],
             ['llm_console;', qr/not allowed here/])
{
    my ($text, $like) = @$bad;
    $r = $t->config_test($conf =~ s/(location \/bare )/$text $1/r);
    isnt($r->{code}, 0, "$text: refused");
    like($r->{err}, $like, 'for its reason');
}

$t->done;
