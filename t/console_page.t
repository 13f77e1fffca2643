#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The console in a browser, before a real engine and store: who signs in sees
# what the key's role has, the chat streams, a key's life from its making to
# its end, the second factor from the QR code on, all by keyboard, on a phone.
# And the key is nowhere but in the page.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use LLM::Browser;
use LLM::Totp;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($admin, $admin_id) = $t->key(client => 'alice', role => 'admin');
my ($operator) = $t->key(client => 'olga', role => 'operator');
my ($user) = $t->key(client => 'uwe', role => 'user');

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
        location = /healthz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /console/ { llm_console; }
    }
    server {
        listen 127.0.0.1:%%PORT_1%%;
        location /console/ { llm_console; }
    }
}
END

my $b = LLM::Browser->new($t);

if (!$b) {
    plan skip_all => LLM::Browser->why;
    exit 0;
}

my $key_re = qr/sk-[0-9a-f]{72}/;

sub sign_in {
    my ($key, $keep) = @_;
    $b->type('#in-key', $key);
    $b->click('#in-keep') if $keep;
    $b->click('#in-go');
}

sub nav { return $b->js('return [...document.querySelectorAll("#nav a")]'
                        . '.map((a) => a.innerText.trim()).join(" ")') }

sub stored { return $b->js('return JSON.stringify([{...sessionStorage}, '
                           . '{...localStorage}, document.cookie, '
                           . 'location.href, history.state])') }

sub go {
    my ($view) = @_;
    $b->click("#nav a[href='#/$view']");
    return $b->see("#view-$view");
}

sub html { return $b->js('return document.documentElement.outerHTML') }

sub close_dialogs {
    $b->click('dialog[open]:last-of-type .close')
        while $b->js('return document.querySelector("dialog[open]")');
}


# signing in

$b->open('/console/');
ok($b->see('#in-form'), 'the page asks for a key');
is($b->js('return document.activeElement.id'), 'in-key', 'at once');
is(nav(), '', 'and shows nothing before');
sign_in('no key');
ok($b->see('#in-error', 'begins with sk-'), 'what is no key');
sign_in('sk-' . '0' x 72);
ok($b->see('#in-error', 'key'), 'a key that is not known');
unlike($b->text('#in-error'), qr/sk-0/, 'is not repeated');
is(nav(), '', 'and opens nothing');


# the keyboard is enough

$b->type('#in-key', $user);
$b->keys('enter');
ok($b->see('#view-chat'), 'Enter signs in');
is(nav(), 'Chat Status My key', 'what a user has');
ok($b->see('#ask'), 'a question can be asked');
is($b->js('return document.activeElement.id'), 'ask', 'at once');
like($b->text('#who'), qr/uwe\s*user/, 'who is signed in');
unlike(stored(), $key_re, 'the key is kept nowhere');
is($b->js('return document.getElementById("in-key").value'), '',
   'nor in the field');

$b->keys('What happens when a key is revoked?', 'enter');
ok($b->see('.stats', 'tokens/s'), 'an answer comes') or diag($b->text('.log'));
like($b->text('.answer'), qr/\w+ \w+ \w+/, 'of words');
like($b->text('.stats'), qr/first token [\d.]+ s \S \d+ tokens \S [\d,.]+ tok/,
     'with its times');
$b->keys('Thanks', 'enter');
ok($b->see('.turn:nth-of-type(2) .stats', 'tokens'), 'and another');
ok($b->js('return document.getElementById("said").textContent.length > 5'),
   'screen readers are told');

# a walk by Tab sees each control with its ring, and leaves at the end

$b->js('document.body.tabIndex = -1; document.body.focus();'
       . 'document.body.removeAttribute("tabindex"); window.scrollTo(0, 0);'
       . 'window.walk = new Set()');

sub focused {
    return $b->js(<<'JS');
        const e = document.activeElement;
        if (e === document.body) { return ''; }
        const again = window.walk.has(e);
        window.walk.add(e);
        const s = getComputedStyle(e), r = e.getBoundingClientRect();
        return (again ? 'again ' : '')
            + (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1
               && r.width > 0 && r.bottom > 0 && r.top < innerHeight
               ? '' : 'unseen ')
            + (e.id || e.className || e.innerText || e.tagName);
JS
}

my @walk;
for (1 .. 30) {
    $b->keys('tab');
    my $at = focused();
    last if $at eq '' || $at =~ /^again/;
    push @walk, $at;
}
is($walk[0], 'skip', 'the first Tab is at the skip link');
is(join(', ', grep { /^unseen/ } @walk), '', 'each focus is seen');
for my $id (qw(theme out ask send)) {
    ok(scalar(grep { $_ eq $id } @walk), "$id is on the way");
}
cmp_ok(scalar @walk, '<', 30, 'and the way ends');

$b->js('document.activeElement.blur(); document.querySelector(".skip")'
       . '.focus()');
$b->keys('enter');
is($b->js('return document.activeElement.id'), 'main', 'skip link');


# roles: what a key may not do is not asked for

$b->requests;
$b->js('location.hash = "#/keys"');
$b->see('#view-chat');
$b->js('location.hash = "#/audit"');
$b->see('#view-chat');
is(scalar(grep { m{/admin/(?:keys|audit|params)} } @{ $b->requests }), 0,
   'a user\'s page asks for no keys');
go('status');
ok($b->see('.card', 'demo'), 'a user sees the engines');
ok($b->see('.badge', 'ready'), 'and their state');
go('account');
ok($b->see('.facts', 'uwe'), 'and its own key');

$b->click('#out');
ok($b->see('#in-form'), 'signed out');
ok(html() !~ /$key_re|uwe|revoked\?/, 'nothing of it stays in the page');

sign_in($operator);
ok($b->see('#view-chat'), 'an operator');
is(nav(), 'Chat Status Params My key', 'what an operator has');
go('params');
ok($b->type('[name=temperature]', '0.5'), 'a parameter');
$b->type('[name=max_batch]', '0');
$b->click('#view-params button.main');
ok($b->see('[name=max_batch][aria-invalid]'),
   'one that can\'t be: it is told which');
ok($b->see('.error', 'at least 1'), 'and why');
$b->type('[name=max_batch]', '4');
$b->click('#view-params button.main');
ok($b->see('.toast', 'saved'), 'saved');
is_deeply([@{ $t->admin('GET', 'params/demo', undef, key => $operator)
                ->json->{params} }{qw(temperature max_batch top_p)}],
          [0.5, 4, undef], 'and set');
$b->click('#out');


# remembered only when asked, until signed out

sign_in($admin, 1);
ok($b->see('#view-chat'), 'an admin');
is(nav(), 'Chat Status Params Keys Audit My key', 'what an admin has');
like(stored(), qr/^\[\{"nginx-llm-key":"\Q$admin\E"\},\{\}/,
     'remembered in the tab, as asked');
$b->reload;
ok($b->see('#view-chat'), 'over a reload');
$b->click('#out');
unlike(stored(), $key_re, 'signed out: gone');
$b->reload;
ok($b->see('#in-form'), 'also from the next one');
sign_in($admin);
$b->see('#view-chat');
unlike(stored(), $key_re, 'and not kept unasked');
$b->reload;
ok($b->see('#in-form'), 'then a reload forgets it');
sign_in($admin);
$b->see('#view-chat');


# a key's life

go('keys');
ok($b->see('#keys', 'olga'), 'the keys');
$b->js('document.getElementById("create").focus()');
$b->keys('enter');
ok($b->see('dialog', 'New key'), 'a dialog by Enter');
is($b->js('return document.activeElement.name'), 'client',
   'begins at its first field');
$b->keys('esc');
ok($b->gone('dialog'), 'Esc closes it');
is($b->js('return document.activeElement.id'), 'create',
   'and the focus is where it was');

$b->click('#create');
$b->type('dialog [name=client]', 'carol');
$b->type('dialog [name=addresses]', 'nowhere');
$b->type('dialog [name=requests_per_minute]', '60');
$b->click('dialog button.main');
ok($b->see('dialog .error'), 'an address that is none');
is($b->js('return document.activeElement.name'), 'addresses',
   'the focus is there');
$b->type('dialog [name=addresses]', '127.0.0.0/8');
$b->click('dialog button.main');
ok($b->see('output.key', 'sk-'), 'the key is shown');
my $carol = $b->text('output.key');
like($carol, qr/^$key_re$/, 'whole');
$b->keys('esc');
ok($b->see('output.key'), 'one Esc does not lose it');
$b->click('#kept');
ok($b->gone('dialog'), 'kept');
ok(html() !~ $key_re, 'then it is gone from the page');
is($t->get('/v1/models', key => $carol)->{status}, 200, 'it is good');
is($t->admin('GET', 'self', undef, key => $carol)
       ->json->{scopes}{requests_per_minute}, 60, 'with its limit');

$b->type('#view-keys input[type=search]', 'CARO');
$b->click('#view-keys form button');
ok($b->see('#keys', 'carol'), 'found by a part of its name');
ok($b->gone('#keys li:nth-child(2)'), 'and nothing else');

$b->click('#keys button', 'carol');
$b->click('dialog button', 'Change');
$b->type('dialog [name=requests_per_minute]', '70');
$b->click('dialog:last-of-type button.main');
ok($b->see('dialog .facts', '70'), 'a limit is changed');
is($b->js('return document.activeElement.innerText'), 'Change',
   'the focus stays in the dialog');

$b->click('dialog button', 'Rotate');
$b->click('dialog.small button.main');
ok($b->see('output.key', 'sk-'), 'rotated');
my $second = $b->text('output.key');
isnt($second, $carol, 'another secret');
$b->click('#kept');
is($t->get('/v1/models', key => $_)->{status}, 200, 'both are good')
    for $carol, $second;


# the second factor, from the code that a camera sees

close_dialogs();
go('account');
$b->click('.enrol');
ok($b->see('.qr'), 'a QR code');
my $secret = $b->text('.totp-secret') =~ s/\s//gr;

SKIP: {
    my $png = $b->screenshot($t->dir . '/qr.png', '.qr');
    my $r = $t->run(['zbarimg', '--raw', '-q', $png]);
    skip 'no zbarimg', 2 if $r->{code} == 127;
    like($r->{out}, qr{^otpauth://totp/nginx-llm:alice\?}, 'for an app');
    is(($r->{out} =~ /secret=([A-Z2-7]+)/)[0], $secret,
       'with the secret that is shown');
}

my @codes = split /\s+/, $b->text('.codes');
is(scalar @codes, 10, 'recovery codes');
$b->type('dialog [name=code]', '000000');
$b->click('dialog button.main');
ok($b->see('dialog .error'), 'a wrong code');
$b->type('dialog [name=code]', LLM::Totp::code($secret));
$b->click('dialog button.main');
ok($b->gone('dialog'), 'a right one');
ok($b->see('.factor .badge', 'on'), 'it is on');
ok(html() !~ /$secret|$codes[3]/, 'secret and codes are gone');

go('keys');
$b->click('#keys button', 'carol');
$b->click('dialog button', 'Leaked');
$b->type('dialog.small [name=reason]', 'on a slide');
$b->click('dialog.small button.main');
ok($b->see('dialog', 'needs a code'), 'a change asks for a code');
$b->type('dialog:last-of-type [name=code]', 'zzzzz-zzzzz');
$b->keys('enter');
ok($b->see('dialog:last-of-type .error'), 'not any code');
$b->type('dialog:last-of-type [name=code]', $codes[0]);
$b->keys('enter');
ok($b->see('dialog', 'Its successor'), 'the drill is done');
ok($b->see('dialog table', '127.0.0.1'), 'with its report');
$b->size(1280, 420);
ok($b->js('return [...document.querySelectorAll("dialog .scroll")]'
          . '.every((e) => e.clientHeight >= e.firstChild.clientHeight)'),
   'all of it, also in a low window');
$b->size(1280, 800);
my ($third) = $b->text('output.key') =~ /($key_re)/;
$b->click('#kept');
is($t->get('/v1/models', key => $carol)->{status}, 401, 'the old one ends');
is($t->get('/v1/models', key => $third)->{status}, 200, 'the next is good');
ok($b->see('dialog .badge', 'revoked'), 'and the page knows');
close_dialogs();

$b->click('#keys button', 'uwe');
$b->click('dialog button', 'Revoke');
$b->click('dialog.small button.main');
$b->see('dialog', 'needs a code');
$b->keys('esc');
ok($b->gone('dialog:nth-of-type(2)'), 'no code: cancelled');
is($t->get('/v1/models', key => $user)->{status}, 200, 'nothing happened');
$b->click('dialog button', 'Revoke');
$b->click('dialog.small button.main');
$b->see('dialog', 'needs a code');
$b->type('dialog:last-of-type [name=code]', $codes[1]);
$b->keys('enter');
ok($b->see('dialog .badge', 'revoked'), 'with one: revoked');
is($t->get('/v1/models', key => $user)->{status}, 401, 'in nginx too');
close_dialogs();


# the trail

go('audit');
ok($b->see('#calls', 'alice'), 'calls');
$b->type('#audit-search [name=client]', 'olga');
$b->type('#audit-search [name=status]', '4xx');
$b->click('#audit-search button.main');
ok($b->see('#calls', 'olga'), 'of a client, refused');
ok($b->gone('#calls li:nth-child(2)'), 'one');
$b->click('#calls button');
ok($b->see('dialog', '/admin/params/demo'), 'in full');
$b->keys('esc');
$b->gone('dialog');
$b->click('#view-audit summary', 'ever pass');
$b->type('#audit-text', 'What happens when a key is revoked?');
$b->click('#view-audit details button');
ok($b->see('#calls', 'uwe'), 'whose was this text');
$b->type('#audit-text', 'What happens when a key is revoked ?');
$b->click('#view-audit details button');
ok($b->see('#view-audit', 'in no call'), 'nobody\'s');


# phones: no view is wider than the window

for my $width (320, 390) {
    $b->size($width, 720);
    for my $view (qw(chat status params keys audit account)) {
        go($view);
        is($b->overflow, '', "$width pixels: $view fits");
    }
    go('keys');
    $b->click('#keys button', 'olga');
    $b->see('dialog .factor .enrol');
    is($b->overflow, '', "$width pixels: a key fits");
    is($b->js('const e = document.querySelector("dialog .inner");'
              . 'return e.scrollWidth - e.clientWidth'), 0,
       'also what is in it');
    close_dialogs();
}

$b->size(1280, 800);

# dark and light, by the system and by the switch

my $ground = 'return getComputedStyle(document.body).backgroundColor';
$b->scheme('light');
my $light = $b->js($ground);
$b->scheme('dark');
my $dark = $b->js($ground);
isnt($dark, $light, 'dark where the system is');
$b->click('#theme');
is($b->js($ground), $light, 'light, if that is wanted');
$b->click('#theme');
is($b->js($ground), $dark, 'dark');
$b->click('#theme');
unlike(stored(), $key_re, 'what is remembered of that is no key');


# the key ends while the page is open

is($t->llmctl('key', 'revoke', $t->keys_options, '--totp', $codes[2],
              $admin_id)->{code}, 0, 'revoked by llmctl');
$b->click('#nav a[href="#/keys"]');
ok($b->see('#in-error', 'revoked'), 'a key that ends: signed out');
ok(html() !~ /carol|$key_re/, 'nothing stays');

is_deeply($b->complaints, [], 'nothing on the browser\'s console');

my $origin = 'http://127.0.0.1:' . $t->port(0) . '/';
is(join(' ', grep { !m{^\Q$origin\E(?:console|v1|admin)/} }
        @{ $b->requests }), '', 'nothing was asked for elsewhere');


# where nothing is configured, it says so

$b->open('/console/', 1);
sign_in('sk-' . '0' x 72);
ok($b->see('#in-error', 'configured'), 'neither /v1/ nor /admin/');

$b->quit;

my $secrets = join '|', $admin, $operator, $user, $carol, $second, $third,
    $secret, @codes;
unlike(slurp($t->dir . "/$_"), qr/$secrets/, "nothing secret in $_")
    for 'access.log', 'error.log';

$t->done;
