#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The console in a browser, before scripted servers: streams that reason, are
# slow, break off, are refused; text that would like to be markup; alerts,
# charts and calls of every kind.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Time::HiRes qw(sleep);

use LLM::Browser;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 90);


# the model server: what it says depends on what it is asked

my $evil = q{<img src=x onerror="window.evil=1"> <script>evil=1</script> }
    . q{[click](javascript:evil) &lt;b&gt; **bold** *it* `a < b`}
    . qq{\n\n# Head\n\n- one\n- two\n\n```c\nint x = 1 < 2; // <b>\n```\n\nend};

sub delta { return { choices => [{ index => 0, delta => { @_ } }] } }

my $up = LLM::Upstream->new($t, 2, sub {
    my ($request) = @_;
    my $ask = LLM::Test::decode_json($request->{body});
    my $words = $ask->{messages}[-1]{content};
    my $end = "data: [DONE]\n\n";
    my $usage = { choices => [], usage => { completion_tokens => 42 } };

    return LLM::Upstream->stream(
        delta(reasoning_content => 'Let me '), delta(
            reasoning_content => 'think.'), \0.05,
        delta(content => 'Four.'), $usage, $end) if $words eq 'reason';
    return LLM::Upstream->stream(
        delta(content => '<thi'), delta(content => "nk>\nHm"), \0.05,
        delta(content => ', yes.</th'), delta(content => "ink>\n\nFive."),
        $end) if $words eq 'think';
    return LLM::Upstream->stream(
        delta(content => 'Hidden.</think>Six.'), $end) if $words eq 'half';
    return LLM::Upstream->stream(
        map { (delta(content => "word$_ "), \0.02) } 1 .. 2000)
        if $words eq 'slow';
    return LLM::Upstream->stream(delta(content => 'Begun'))
        if $words eq 'cut';
    return LLM::Upstream->stream(
        delta(content => 'Begun'),
        { error => { message => 'The engine ended.', code => 'engine_restarted',
                     request_id => 'feed' x 8 } }) if $words eq 'error';
    return LLM::Upstream->stream(delta(content => $evil), $end)
        if $words eq 'evil';
    return LLM::Upstream->stream(
        delta(content => encode_json($ask)), $end) if $words eq 'echo';
    return LLM::Upstream->stream(
        delta(content => "```\nif (a\x{202e}) {\n```\n"),
        delta(content => "\x{5d0}\x{5d1} \x{202e}abc\n\nend"), $end)
        if $words eq 'order';
    return LLM::Upstream->stream(
        map({ my $n = $_; map { delta(content => $n . ' **a *b `c ' x 2000) }
              1 .. 8 } 1 .. 12), $end) if $words eq 'huge';
    return LLM::Upstream->answer(502, 'text/html', '<h1>Bad Gateway</h1>')
        if $words eq 'html';
    return LLM::Upstream->answer(401, 'application/json', encode_json({
        error => { message => 'No.', code => 401, param => 7 } }))
        if $words eq 'numbers';
    return LLM::Upstream->answer(429, 'application/json', encode_json({
        error => { message => 'Too many requests.', code =>
                   'rate_limit_exceeded', request_id => 'beef' x 8 } }),
        'Retry-After: 42');
}, cut => 1);

sub file { $t->file("html/$_[0].json", encode_json($_[1])) }

file('models', { object => 'list', data => [{ id => 'r1' }, { id => 'v3' }] });
file('self', { id => 'key_a', client => '<b>eve</b>', role => 'admin',
               status => 'active', scopes => {} });

# of 60 points, the oldest and one in the middle are not known

my @wave = map { $_ % 7 + 0.5 } 1 .. 60;
@wave[0, 30] = (undef, undef);

file('status', {
    engines => [{ engine => 'r1', state => 'ready', running => 3,
                  waiting => 2, kv_blocks_used => 512, kv_blocks => 2048,
                  prefill_tokens => 10, decode_tokens => 20 },
                { engine => 'v3', state => 'failed' }],
    alerts => [
        { name => 'LLMLatencyCritical', severity => 'critical',
          state => 'firing', subject => undef, value => 1.25, threshold => 1,
          window => 60, for => 0, since => '2027-01-31T12:00:00Z',
          summary => '99% of first tokens come within 1.25 s' },
        { name => 'LLMQueueLong', severity => 'warning', state => 'pending',
          subject => 'r1', value => 0.6, threshold => 0.5, window => 0,
          for => 60, since => '2027-01-31T12:00:00Z',
          summary => '60% of the queue is taken' },
        { name => 'LLMEngineDown', severity => 'critical', state => 'ok',
          subject => undef, value => undef, threshold => 0, window => 0,
          for => 0, since => undef, summary => 'All engines are ready' }],
    history => { period => 10, time => [1 .. 60],
                 map({ $_ => \@wave } qw(requests_per_second tokens_per_second
                     errors_per_second ttft_p50_ms ttft_p99_ms queue running
                     batch kv)),
                 gpu => [(undef) x 60] },
    audit => { first => 1, last => 9000, signed_to => 8990,
               signed_at => '2027-01-31T12:00:00.123Z',
               time => '2027-01-31T12:00:00.123Z', bytes => 123456 },
});

my %call = (
    number => 8, close => 9, time => '2027-01-31T12:00:00.123Z',
    end => '2027-01-31T12:00:01.123Z', request => '0' x 32,
    unfinished => JSON::PP::false, key => 'key_b', client => 'ci',
    role => 'user', address => '10.0.0.1', method => 'POST',
    path => '/v1/chat/completions', model => 'r1', user_agent => '<i>x</i>',
    action => JSON::PP::false, epoch => 1, input => ['ab' x 32],
    output => ['cd' x 32], input_kept => JSON::PP::false,
    output_kept => JSON::PP::false, status => 200, prompt_tokens => 9,
    cached_tokens => 4, completion_tokens => 25, queue_ms => undef,
    ttft_ms => 12.5, inference_ms => 2500.1, total_ms => 2600.5,
    bytes_sent => 4096, parameters => { temperature => 0.7, top_k => 40 },
    seed => '18446744073709551615',
    build => '00ff00ff00ff00ff', finish_reason => 'stop',
    error_code => undef);
my %none = map { $_ => undef } qw(close end status prompt_tokens cached_tokens
    completion_tokens ttft_ms inference_ms total_ms bytes_sent seed build
    parameters finish_reason key client role user_agent model);

file('calls', { calls => [\%call,
    { %call, number => 6, status => 0, completion_tokens => 0 },
    { %call, number => 5, %none, unfinished => JSON::PP::true },
    { %call, number => 3, status => 503, error_code => 'queue_full',
      action => JSON::PP::true }], next => 3 });
file('empty', { calls => [], next => 2 });
file('last', { calls => [{ %call, number => 1, client => 'oldest' }],
               next => undef });

$t->conf(<<'END')->start;
%%MAIN%%
http {
    %%HTTP%%
    default_type application/json;
    map $arg_before $page { default calls; 3 empty; 2 last; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /console/ { llm_console; }
        location = /v1/models { alias %%DIR%%/html/models.json; }
        location /v1/chat/completions {
            proxy_pass http://127.0.0.1:%%PORT_2%%;
            proxy_buffering off;
            proxy_pass_header Retry-After;
        }
        location = /admin/self { alias %%DIR%%/html/self.json; }
        location = /admin/status { alias %%DIR%%/html/status.json; }
        location = /admin/audit { rewrite ^ /$page.json; }
    }
}
END

my $b = LLM::Browser->new($t);

if (!$b) {
    plan skip_all => LLM::Browser->why;
    exit 0;
}

$b->open('/console/');
$b->type('#in-key', 'sk-' . 'a' x 72);
$b->click('#in-go');
ok($b->see('#ask'), 'signed in');
ok($b->see('#who', '<b>eve</b>'), 'a client\'s name is text');

my $turn = '.turn:last-of-type';

sub ask {
    $b->type('#ask', $_[0]);
    $b->keys('enter');
}


# reasoning stands apart, folded

for my $case (['reason', 'Let me think.', 'Four.'],
              ['think', 'Hm, yes.', 'Five.'], ['half', 'Hidden.', 'Six.'])
{
    my ($words, $thought, $answer) = @$case;
    ask($words);
    ok($b->see("$turn .stats", 'token'), "$words: answered");
    is($b->text("$turn .answer"), $answer, "$words: the answer alone");
    ok($b->see("$turn .think summary", 'Reasoning'), "$words: reasoning");
    ok(!$b->js('return document.querySelector(arguments[0]).checkVisibility()',
               "$turn .thought"), "$words: is folded");
    $b->click("$turn .think summary");
    ok($b->see("$turn .thought", $thought), "$words: and can be read");
}
like($b->text('.turn:first-of-type .stats'), qr/42 tokens/,
     'the server\'s count of tokens');


# what is sent: the parameters, and no thought of before

$b->click('.settings summary');
$b->type('#set-temperature', '0.3');
$b->type('#set-max_tokens', '50');
$b->type('#set-system', 'Be brief.');
$b->click('.head select');
$b->js('const s = document.querySelector(".head select"); s.value = "v3";'
       . 's.dispatchEvent(new Event("change"))');
ask('echo');
$b->see("$turn .stats", 'token');
my $sent = decode_json($b->text("$turn .answer") =~ s/\s*\z//r);
is($sent->{model}, 'v3', 'the model');
is($sent->{temperature}, 0.3, 'the temperature');
is($sent->{max_tokens}, 50, 'the most tokens');
ok(!exists $sent->{top_p}, 'what is not set is not sent');
is_deeply($sent->{messages}[0], { role => 'system', content => 'Be brief.' },
          'the system prompt');
is_deeply([map { $_->{content} } @{ $sent->{messages} }[1 .. 7]],
          ['reason', 'Four.', 'think', 'Five.', 'half', 'Six.', 'echo'],
          'the conversation, without what was thought');


# a stream can be stopped, by button and by Esc

for my $how ('button', 'Esc') {
    ask('slow');
    ok($b->see("$turn .answer", 'word3'), "$how: it streams");
    ok($b->see('#stop'), "$how: it can be stopped");
    ok(!$b->js('return document.querySelector("#send").checkVisibility()'),
       "$how: in place of sending");
    $how eq 'Esc' ? $b->keys('esc') : $b->click('#stop');
    ok($b->see("$turn .stats", 'stopped'), "$how: stopped");
    ok($b->see('#send'), "$how: and the next can be asked");
    ok(wait_for { grep { $_->{cut} } $up->requests },
       "$how: the server's connection is closed");
}


# errors

ask('cut');
ok($b->see("$turn .error", 'cut off'), 'a stream that breaks off');
is($b->text("$turn .answer"), 'Begun', 'what came is shown');
ask('error');
ok($b->see("$turn .error", 'The engine ended.'), 'a stream that fails');
ok($b->see("$turn .error", 'feed' x 8), 'with the request\'s id');
ask('too much');
ok($b->see("$turn .error", 'Too many requests.'), 'a refusal');
ok($b->see("$turn .error", 'again in 42 s'), 'with the time to wait');
ok($b->see("$turn .error", 'beef' x 8), 'and the request\'s id');
my $turns = $b->js('return document.querySelectorAll(".turn").length');
$b->click("$turn .error button");
ok($b->see("$turn .error", 'Too many'), 'it can be tried again');
is($b->js('return document.querySelectorAll(".turn").length'), $turns,
   'in its place');


ask('html');
ok($b->see("$turn .error", 'The server answered 502'), 'an error in HTML');
ask('numbers');
ok($b->see("$turn .error", 'No.'), 'one of another server\'s shape');


# text stays text

ask('evil');
ok($b->see("$turn .stats"), 'an answer full of markup');
is($b->js('return window.evil'), undef, 'none of it runs');
is($b->js('return document.querySelectorAll(arguments[0]).length',
          "$turn .answer img, $turn .answer script, $turn .answer a"), 0,
   'no image, script or link');
ok($b->see("$turn .answer", '<img src=x onerror='), 'it is shown as it is');
is($b->text("$turn .answer strong"), 'bold', 'bold');
is($b->text("$turn .answer em"), 'it', 'italic');
is($b->text("$turn .answer p code"), 'a < b', 'code');
is($b->text("$turn .answer li"), "one\ntwo", 'a list');
is($b->text("$turn .answer pre"), 'int x = 1 < 2; // <b>', 'a block of code');

ask('order');
ok($b->see("$turn .answer pre .badge", 'U+202E'),
   'what turns the order of code is seen');
is($b->js('return getComputedStyle(document.querySelector(arguments[0]))'
          . '.unicodeBidi', "$turn .answer p"), 'plaintext',
   'and a paragraph\'s order ends with it');


# an answer of two megabytes, in one block that is all openings: the page
# answers while it comes

ask('huge');
ok($b->see("$turn .answer", '1 **a'), 'a huge answer begins');
$b->type('#ask', 'I can still type');
is($b->js('return document.getElementById("ask").value'), 'I can still type',
   'the page can be used');
ok($b->see("$turn .stats", 'tokens'), 'and it ends');
cmp_ok($b->js('return document.querySelector(arguments[0]).textContent.length',
              "$turn .answer"), '>', 1.9e6, 'whole');
cmp_ok($b->js('return document.getElementById("said").textContent.length'),
       '<', 3000, 'it is not read out whole');
$b->type('#ask', '');

$b->click('button', 'New chat');
ok($b->gone('.turn'), 'a new chat');


# status

$b->click('#nav a[href="#/status"]');
ok($b->see('.card', '25%'), 'engines');
ok($b->see('.badge.bad', 'failed'), 'one that failed');
ok($b->see('#view-status .line', 'LLMLatencyCritical'), 'an alert');
ok($b->see('#view-status .line', 'firing'), 'its state is text');
ok($b->see('#view-status .line', '1.25 s'), 'and what it says');
ok($b->see('#view-status .line', 'pending'), 'another');
ok(!$b->js('return [...document.querySelectorAll(".line")].some((e) => '
           . 'e.checkVisibility() && e.innerText.includes("EngineDown"))'),
   'quiet ones are folded');
my @charts = split /\n/, $b->js('return [...document.querySelectorAll('
    . '".chart svg")].map((e) => e.getAttribute("aria-label")).join("\n")');
is(scalar @charts, 6, 'charts of what is known') or diag("@charts");
like($charts[0], qr/Tokens, the last 10 min: now 5\/s.*at most 7\/s/,
     'that say what they show');
my $path = $b->js('return document.querySelector(".chart .curve")'
                  . '.getAttribute("d")');
is(() = $path =~ /M/g, 2, 'a line ends where nothing is known');
unlike($path, qr/NaN|null|undefined/, 'and has numbers only');
ok($b->see('.card', '8,990'), 'how far the trail is signed');

# it asks again only while it is seen

my $asked = sub { scalar(() = slurp($t->dir . '/access.log')
                              =~ m{/admin/status\?history=60}g) };
ok($asked->() >= 1, 'asked with its history');

sub seen {
    my ($is) = @_;
    my $n = $asked->();
    $b->js('window.timers = []; window.setTimeout = (f, ms) => '
           . 'timers.push(ms); Object.defineProperty(document, "hidden", '
           . '{ value: !arguments[0], configurable: true });'
           . 'document.dispatchEvent(new Event("visibilitychange"))',
           $is ? JSON::PP::true : JSON::PP::false);
    wait_for { $asked->() > $n } $is ? 5 : 0.3;
    sleep 0.1;
    return ($asked->() - $n, $b->js('return timers.join()'));
}

is(join(' ', seen(0)), '0 ', 'hidden: not at all');
is(join(' ', seen(1)), '1 5000', 'seen again: at once, and every 5 s');




# calls

$b->click('#nav a[href="#/audit"]');
ok($b->see('#calls', 'ci'), 'calls');
my $rows = $b->text('#calls');
like($rows, qr/client went/, 'a client that had gone');
like($rows, qr/not ended.*nobody|nobody.*not ended/s, 'one without an end');
like($rows, qr/503/, 'one that failed');
like($rows, qr/9 \+ 25 tokens/, 'tokens');
$b->click('#calls button');
ok($b->see('dialog', '18446744073709551615'), 'in full');
ok($b->see('dialog .facts', 'temperature 0.7'), 'with its parameters');
ok($b->see('dialog', '<i>x</i>'), 'a program\'s name is text');
$b->keys('esc');
$b->gone('dialog');
$b->click('#audit-search summary');
for my $filter (qw(client key address model status request)) {
    ok($b->see("#audit-search [name=$filter]"), "a filter: $filter");
}
$b->type('#audit-search [name=address]', '10.0.0.0/8');
$b->click('#audit-actions');
$b->click('#audit-search button.main');
ok((wait_for { slurp($t->dir . '/access.log')
        =~ m{/admin/audit\?address=10.0.0.0%2F8&actions=true&limit=50} }),
   'what is filled in is asked for');
$b->see('#older');

$b->click('#older');
ok($b->see('#older') && !$b->js('return document.querySelector("#calls")'
   . '.innerText.includes("oldest")'), 'an empty page is not the last');
$b->click('#older');
ok($b->see('#calls', 'oldest'), 'older calls');
ok($b->gone('#older'), 'to the end');

# all of it can be read, in both schemes

for my $scheme (qw(light dark)) {
    $b->scheme($scheme);
    for my $view (qw(status audit chat)) {
        $b->click("#nav a[href='#/$view']");
        $b->see("#view-$view " . ($view eq 'chat' ? '#ask' : '.rows'));
        if ($view eq 'chat') {
            ask('evil');
            $b->see("$turn .stats");
            ask('too much');
            $b->see("$turn .error");
        }
        is($b->faint, '', "$scheme: $view is no strain on the eyes");
    }
}

for my $width (320, 390) {
    $b->size($width, 700);
    for my $view (qw(audit status)) {
        $b->click("#nav a[href='#/$view']");
        $b->see("#view-$view .rows");
        is($b->overflow, '', "$width pixels: $view fits");
    }
}

# signing out while an answer comes leaves nothing of it

$b->click('#nav a[href="#/chat"]');
ask('slow');
$b->see("$turn .answer", 'word9');
$b->click('#out');
ok($b->see('#in-form'), 'signed out while it streams');
sleep 0.3;
unlike($b->js('return document.documentElement.outerHTML'), qr/word\d/,
       'nothing of the answer stays');

is_deeply($b->complaints, [], 'nothing on the browser\'s console');
$b->quit;
$t->done;
