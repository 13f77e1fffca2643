#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Reloads, deaths and disconnects under load: no stream loses a token, what is
# killed comes back, nothing is left behind.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 240);
my $streams = 64;
my $tokens = 120;

$t->init;
my $key = $t->key;

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; max_batch 64; context 512; CONTEXT }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location = /state/healthz { llm_auth on; llm_pass demo; }
    }
}
END

$conf =~ s/ CONTEXT//;
$t->conf($conf)->start;

my %body = (model => 'demo', prompt => 'Once upon a time', stream => \1,
            temperature => 0, ignore_eos => \1, max_tokens => $tokens,
            stream_options => { include_usage => \1 });


sub stream {
    return $t->client(uri => '/v1/completions', key => $key,
                      body => { %body, @_ });
}


sub state { return $t->get('/state/healthz', key => $key)->json }


# Everything that a request can leave behind.
sub is_clean {
    my ($name) = @_;

    my $state;
    wait_for {
        $state = state();
        $state->{engine} eq 'ready' && $state->{slots_used} == 0
            && $state->{body_blocks_used} == 0
            && $state->{kv_blocks_used} == 0 && $state->{running} == 0
            && $state->{waiting} == 0
    } 20;

    is_deeply([@$state{qw(slots_used body_blocks_used kv_blocks_used running
                          waiting)}], [0, 0, 0, 0, 0],
              "$name: no slot and no block is left");
}


# memory that is a process's own, in KiB
sub rss {
    my ($pid) = @_;
    my ($anon) = slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
    return $anon // 0;
}


my $one = stream();
$one->wait(60);
my $want = $one->text;
my ($usage) = map { $_->{usage} || () } $one->data;
is($usage->{completion_tokens}, $tokens, 'a reference stream');


# reloads

my $holder = state()->{holder};
my @c = map { stream() } 1 .. $streams;

# all of them before the first reload, so that they live through all of it
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });

my $reloads = 0;
for (1 .. 20) {
    $reloads += $t->reload($conf);
    LLM::Client->pump(\@c, 0.05);
}

is($reloads, 20, '20 reloads');
ok(LLM::Client->pump(\@c, 120), 'all streams end');

is(scalar(grep { $_->text eq $want } @c), $streams,
   'no stream lost a token');
is(scalar(grep { $_->done } @c), $streams, 'all are done');
is(state()->{holder}, $holder, 'the models stayed with their process');
is_clean('after reloads');

my $gone = wait_for { !$t->pids('old_worker') } 20;
ok($gone, 'old workers have gone');
my @engines = $t->pids('engine');
is(scalar(@engines), 2, 'one process holds, one stands by');


# a reload with another engine: requests wait and are served

@c = map { stream() } 1 .. 4;
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });
(my $other = $conf) =~ s/context 512/context 480/;
ok($t->reload($other), 'a reload with another engine');
my @d = map { stream() } 1 .. 4;
ok(LLM::Client->pump([@c, @d], 60), 'old and new streams end');
is(scalar(grep { $_->text eq $want && $_->done } @c, @d), 8,
   'none lost a token');
isnt(state()->{holder}, $holder, 'another process holds the models');
$gone = wait_for { my @p = $t->pids('engine'); @p == 1 } 20;
ok($gone, 'the old holder has gone');
is_clean('after another engine');


# a broken reload changes nothing

(my $broken = $other) =~ s/%%DEMO%%/%%DIR%%/;
$t->expect_log(qr/\[emerg\].*config\.json/);
$t->conf($broken);
kill 'HUP', $t->{master};
wait_for { $t->error_log =~ /emerg/ } 10;
is($t->post('/v1/completions', { %body, stream => \0 }, key => $key)->text,
   $want, 'a reload with a broken model: the old one serves');
$t->reload($other);


# a worker

@c = map { stream() } 1 .. 16;
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });
$t->kill_role('worker', 0);
ok(LLM::Client->pump(\@c, 60), 'a worker killed: all its streams end');
cmp_ok(scalar(grep { $_->text eq $want && $_->done } @c), '<=', 16, 'some');
is(scalar(grep { $_->done && $_->text ne $want } @c), 0,
   'whatever is called done is whole');
is_clean('after a worker was killed');
is($t->post('/v1/completions', { %body, stream => \0 }, key => $key)->text,
   $want, 'and its successor serves');


# the engine, while streams run and others wait

@c = map { stream() } 1 .. 16;
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });
$holder = state()->{holder};
$t->{killed}{$holder} = 1;
kill 'KILL', $holder;
@d = map { stream() } 1 .. 8;
ok(LLM::Client->pump([@c, @d], 60), 'the engine killed: all streams end');

my @whole = grep { $_->text eq $want && $_->done } @c;
my @failed = grep {
    my ($last) = reverse $_->data;
    !$_->done && $_->{complete}
        && ($last->{error}{code} // '') eq 'engine_restarted'
} @c;
is(@whole + @failed, 16, 'each is whole or says what happened');
is(scalar(grep { $_->text eq $want && $_->done } @d), 8,
   'requests that came meanwhile are served by the next');
is_clean('after the engine was killed');
isnt(state()->{holder}, $holder, 'another process');


# clients that go away: 1000 of them, in mid-stream

my $before = rss(state()->{holder});
my $steps = state()->{decode_tokens};

for my $round (1 .. 20) {
    my @gone = map { stream(max_tokens => 400) } 1 .. 50;
    LLM::Client->pump(\@gone, 30,
        sub { grep({ @{ $_->{events} } } @gone) >= 25 });
    $_->close for @gone;
}

is_clean('after 1000 disconnects');
cmp_ok(state()->{decode_tokens} - $steps, '<', 1000 * 400 / 2,
       'their sequences were ended early');

my $grown = rss(state()->{holder}) - $before;
cmp_ok($grown, '<', 40 * 1024, 'the engine has not grown')
    or diag("$grown KiB");


# idle means idle

sub cpu {
    my $ticks = 0;
    for my $pid (keys %{ $t->processes }) {
        my @stat = split ' ', (slurp("/proc/$pid/stat") =~ s/^.*\) //sr);
        $ticks += ($stat[11] // 0) + ($stat[12] // 0);
    }
    return $ticks;
}

my $ticks = cpu();
select undef, undef, undef, 2;
cmp_ok(cpu() - $ticks, '<=', 4, 'idle processes use no CPU');


# a graceful end lets streams finish

@c = map { stream() } 1 .. 4;
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });
kill 'QUIT', $t->{master};
ok(LLM::Client->pump(\@c, 60), 'quit: streams end');
is(scalar(grep { $_->text eq $want && $_->done } @c), 4, 'whole');
$gone = wait_for { !$t->_check_alive && !%{ $t->processes } } 20;
ok($gone, 'then all processes go');


# the master

$t->start;
@c = map { stream() } 1 .. 4;
LLM::Client->pump(\@c, 60, sub { !grep { !@{ $_->{events} } } @c });
$t->kill_role('master');
ok(LLM::Client->pump(\@c, 60), 'the master killed: streams end');
is(scalar(grep { $_->text eq $want && $_->done } @c), 4, 'whole');
$gone = wait_for { $t->_check_alive; !%{ $t->processes } } 20;
ok($gone, 'then no orphan is left');

$t->start;
is($t->post('/v1/completions', { %body, stream => \0 }, key => $key)->text,
   $want, 'and nginx starts again on the same port');

$t->done;
