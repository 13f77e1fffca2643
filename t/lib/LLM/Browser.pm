package LLM::Browser;

# Copyright (C) nginx-llm contributors
#
# A headless Chromium for a test, by the WebDriver protocol:
#
#     my $b = LLM::Browser->new($t) or plan skip_all => LLM::Browser->why;
#     $b->open('/console/');
#     $b->type('#in-key', $key);
#     $b->click('#in-go');
#     ok($b->see('#view-chat'), 'signed in');
#     is_deeply($b->complaints, [], 'nothing on the console');
#
# It reaches this test's nginx and no other address.  Its profile is in the
# test's folder.  Where a step fails, the page's text is in the diagnostics.

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use Test::More;
use Time::HiRes qw(time sleep);

use constant ELEMENT => 'element-6066-11e4-a52e-4f735466cecf';

our %KEY = (tab => "\x{e004}", enter => "\x{e007}", esc => "\x{e00c}",
            shift => "\x{e008}", space => ' ', down => "\x{e015}",
            up => "\x{e013}", end => "\x{e010}", home => "\x{e011}",
            control => "\x{e009}", null => "\x{e000}");

my $why = '';

sub why { return $why }


sub _program {
    for my $dir (split /:/, $ENV{PATH}) {
        for my $name (@_) {
            return "$dir/$name" if -x "$dir/$name";
        }
    }
    return;
}


sub new {
    my ($class, $t, %o) = @_;

    my $driver = _program('chromedriver');
    my $browser = _program('chromium', 'google-chrome');

    if (!$driver || !$browser) {
        $why = 'no chromium with chromedriver';
        return;
    }

    my $self = bless {
        t => $t,
        http => HTTP::Tiny->new(timeout => 30, keep_alive => 0),
        base => 'http://127.0.0.1:' . $t->port(9), timeout => 10,
    }, $class;

    local $ENV{HOME} = $t->dir;
    $self->{driver} = $t->background($driver,
                                      '--port=' . $t->port(9), '--silent');

    my $end = time + 15;
    while (!eval { $self->_call('GET', 'status')->{ready} }) {
        if (time > $end) {
            $why = 'chromedriver does not start';
            return;
        }
        sleep 0.05;
    }

    my $r = eval { $self->_call('POST', 'session', { capabilities => {
        alwaysMatch => {
            browserName => 'chrome',
            'goog:loggingPrefs' => { browser => 'ALL', performance => 'ALL' },
            'goog:chromeOptions' => {
                binary => $browser,
                args => ['--headless=new', '--no-first-run', '--disable-gpu',
                    '--disable-dev-shm-usage', '--disable-extensions',
                    '--disable-breakpad', '--window-size=1280,800',
                    '--disable-background-networking', '--disable-sync',
                    '--disable-component-update', '--no-default-browser-check',
                    '--force-prefers-reduced-motion', '--lang=en-US',
                    '--host-resolver-rules=MAP * ~NOTFOUND, '
                        . 'EXCLUDE 127.0.0.1',
                    '--user-data-dir=' . $t->dir . '/browser',
                    $> == 0 ? '--no-sandbox' : (), @{ $o{args} || [] }],
            },
        },
    } }) };

    if (!$r) {
        $why = "chromium does not start: $@" =~ s/\n.*//sr;
        return;
    }

    $self->{session} = $r->{sessionId};

    # it is in a process group of its own: the watchdog must know
    if (my $pid = $r->{capabilities}{'goog:processID'}) {
        syswrite $t->{watchdog}, "$pid\n";
        $self->{pid} = $pid;
    }

    return $self;
}


sub quit {
    my ($self) = @_;

    my $session = delete $self->{session} or return;

    eval { $self->_call('DELETE', "session/$session") };
    kill 'KILL', -$_ for grep { $_ } $self->{pid}, $self->{driver};
    waitpid $self->{driver}, 0;
    @{ $self->{t}{background} }
        = grep { $_ != $self->{driver} } @{ $self->{t}{background} };
}


sub _call {
    my ($self, $method, $path, $body) = @_;

    my $r = $self->{http}->request($method, "$self->{base}/$path", {
        headers => { 'Content-Type' => 'application/json' },
        defined $body ? (content => JSON::PP->new->utf8->encode($body)) : (),
    });
    my $value = eval { JSON::PP::decode_json($r->{content})->{value} };

    die "$path: " . (ref $value ? "$value->{error}: $value->{message}"
                                : $r->{content}) . "\n"
        if !$r->{success};

    return $value;
}


sub _session {
    my ($self, $method, $path, $body) = @_;
    return $self->_call($method, "session/$self->{session}/$path", $body);
}


# a path of this test's nginx, at PORT_n
sub open {
    my ($self, $path, $n) = @_;
    $self->_session('POST', 'url', { url => 'http://127.0.0.1:'
                                     . $self->{t}->port($n // 0) . $path });
}


sub reload { $_[0]->_session('POST', 'refresh', {}) }


sub url { return $_[0]->_session('GET', 'url') }


sub js {
    my ($self, $script, @args) = @_;
    return $self->_session('POST', 'execute/sync',
                           { script => $script, args => \@args });
}


# A visible element of a selector, waited for; text: what it must have.
sub see {
    my ($self, $css, $text, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    while (1) {
        my $e = $self->js(<<'JS', $css, $text);
            for (const e of document.querySelectorAll(arguments[0])) {
                if (e.checkVisibility({ visibilityProperty: true })
                    && (arguments[1] === null
                        || (e.innerText || e.value || '')
                               .includes(arguments[1])))
                {
                    return e;
                }
            }
            return null;
JS
        return $e if $e;
        last if time > $end;
        sleep 0.03;
    }

    diag("not seen: $css" . (defined $text ? " with \"$text\"" : ''));
    diag(substr $self->js('return document.body.innerText') // '', 0, 2000);

    return;
}


sub gone {
    my ($self, $css, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    while (time < $end) {
        return 1 if !$self->js('return [...document.querySelectorAll('
            . 'arguments[0])].some((e) => e.checkVisibility())', $css);
        sleep 0.03;
    }

    return 0;
}


# the rest of the test would wait in vain
sub _stuck {
    my ($what) = @_;
    fail($what);
    die "can't go on\n";
}


sub click {
    my ($self, $css, $text) = @_;

    # a view may be made anew between the two steps
    for my $try (1 .. 3) {
        my $e = $self->see($css, $text) or _stuck("click $css");
        return 1 if eval {
            $self->_session('POST', "element/$e->{+ELEMENT}/click", {});
            1;
        };
        die $@ if $try == 3 || $@ !~ /stale element/;
    }
}


# in place of what the control has
sub type {
    my ($self, $css, $text) = @_;

    my $e = $self->see($css) or _stuck("type into $css");
    $self->_session('POST', "element/$e->{+ELEMENT}/clear", {});
    $self->_session('POST', "element/$e->{+ELEMENT}/value",
                    { text => $text });
    return 1;
}


# Keys to whatever has the focus: names of %KEY, else text.
sub keys {
    my ($self, @keys) = @_;

    my @actions;
    for my $key (map { $KEY{$_} // split // } @keys) {
        push @actions, { type => 'keyDown', value => $key };
        push @actions, { type => 'keyUp', value => $key }
            if $key ne $KEY{shift};
    }

    $self->_session('POST', 'actions', { actions => [
        { type => 'key', id => 'keys', actions => \@actions } ] });
    $self->_session('DELETE', 'actions');
}


sub text {
    my ($self, $css) = @_;
    return $self->js('return [...document.querySelectorAll(arguments[0])]'
                     . '.map((e) => e.innerText).join("\n")', $css);
}


sub size {
    my ($self, $width, $height) = @_;
    $self->cdp('Emulation.setDeviceMetricsOverride',
               { width => $width, height => $height, deviceScaleFactor => 1,
                 mobile => $width < 600 ? JSON::PP::true : JSON::PP::false });
}


sub scheme {
    my ($self, $name) = @_;
    $self->cdp('Emulation.setEmulatedMedia', { features => [
        { name => 'prefers-color-scheme', value => $name } ] });
}


sub cdp {
    my ($self, $command, $params) = @_;
    return $self->_session('POST', 'goog/cdp/execute',
                           { cmd => $command, params => $params || {} });
}


# of all that is seen, or of one element
sub screenshot {
    my ($self, $file, $css) = @_;

    my $e = defined $css ? $self->see($css) : undef;
    my $png = $self->_session('GET', $e ? "element/$e->{+ELEMENT}/screenshot"
                                        : 'screenshot');

    CORE::open my $fh, '>:raw', $file or die "$file: $!";
    print $fh decode_base64($png);
    close $fh;

    return $file;
}


# Entries since the last call.
sub _log {
    my ($self, $type) = @_;
    return $self->_session('POST', 'se/log', { type => $type });
}


# How much wider the page is than the window; what is wider.
sub overflow {
    my ($self) = @_;
    return $self->js(<<'JS');
        const root = document.documentElement;
        if (root.scrollWidth <= root.clientWidth) {
            return '';
        }
        return [...document.querySelectorAll('body *')].filter((e) =>
            e.getBoundingClientRect().right > root.clientWidth + 1)
            .map((e) => e.tagName + '.' + e.className).slice(0, 5).join(' ')
            || 'the page';
JS
}


# Texts that are hard to read: contrast below 4.5, or 3 where they are large
# (WCAG AA).
sub faint {
    my ($self) = @_;
    return $self->js(<<'JS');
        const rgb = (s) => (s.match(/[\d.]+/g) || []).map(Number);
        const over = (a, b) => {
            const alpha = a[3] ?? 1;
            return [0, 1, 2].map((i) => a[i] * alpha + b[i] * (1 - alpha));
        };
        const ground = (e) => {
            if (!e) { return [255, 255, 255]; }
            const c = rgb(getComputedStyle(e).backgroundColor);
            return (c[3] ?? 1) === 1 ? c : over(c, ground(e.parentElement));
        };
        const light = (c) => {
            const [r, g, b] = c.map((v) => {
                v /= 255;
                return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
            });
            return .2126 * r + .7152 * g + .0722 * b;
        };
        const bad = new Set();
        for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3
                                               && n.data.trim() !== '');
            if (!own || e.closest(':disabled, .unseen, .skip, svg')
                || !e.checkVisibility())
            {
                continue;
            }
            const s = getComputedStyle(e), under = ground(e);
            const [a, b] = [light(over(rgb(s.color), under)), light(under)];
            const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
            const size = parseFloat(s.fontSize);
            const large = size >= 24 || (size >= 18.6 && s.fontWeight >= 700);
            if (ratio < (large ? 3 : 4.5)) {
                bad.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
            }
        }
        return [...bad].join(', ');
JS
}


# What the browser complained about: errors of scripts, violations of the
# policy.  An answer of 4xx that a call got is an entry of the network, and no
# fault of the page.
sub complaints {
    my ($self) = @_;

    return [map { $_->{message} }
            grep { $_->{level} =~ /SEVERE|WARNING/
                   && $_->{source} ne 'network' }
            @{ $self->_log('browser') }];
}


# Every address that was asked for.
sub requests {
    my ($self) = @_;

    my @urls;
    for my $entry (@{ $self->_log('performance') }) {
        my $m = JSON::PP::decode_json($entry->{message})->{message};
        push @urls, $m->{params}{request}{url}
            if $m->{method} eq 'Network.requestWillBeSent';
    }

    return \@urls;
}


1;
