#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Quotas: requests and tokens a minute, requests at a time, tokens a day and a
# month; the headers that tell them; a thousand requests at once; a reload, a
# killed worker, a restart.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 180);
$t->init;

sub limited {
    my ($name, @args) = @_;
    return $t->key(client => $name, role => 'user', args => \@args);
}

my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($rpm, $rpm_id) = limited('rpm', '--rpm', 5);
my ($tpm) = limited('tpm', '--tpm', 400);
my ($conc) = limited('conc', '--concurrent', 2);
my ($day, $day_id) = limited('day', '--tokens-per-day', 100);
my ($month) = limited('month', '--tokens-per-month', 100);
my ($crowd, $crowd_id) = limited('crowd', '--tokens-per-day', 3000);
my ($many, $many_id) = limited('many', '--rpm', 200);
my ($free, $free_id) = limited('free');

$t->file('html/ping', "pong\n");
$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; queue 1024; }
    server {
        listen 127.0.0.1:%%PORT_0%% backlog=4096;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /ping { llm_auth on; root %%DIR%%/html; }
    }
}
END

wait_for { $t->get('/readyz')->{status} == 200 };

sub complete {
    my ($key, $tokens, %o) = @_;

    my %body = (model => 'demo', prompt => 'Once upon a time',
                ignore_eos => JSON::PP::true, %{ $o{set} || {} });
    $body{max_tokens} = $tokens if $tokens;

    return $t->post('/v1/completions', \%body, key => $key, timeout => 60);
}

sub code { return eval { $_[0]->json->{error}{code} } // '' }

sub usage {
    my ($id) = @_;
    return $t->admin('GET', "keys/$id", undef, key => $admin)->json->{usage};
}


# requests a minute

my $r;

for my $i (1 .. 5) {
    $r = $t->get('/ping', key => $rpm);
    is($r->{status}, 200, "request $i of 5");
    is($r->header('x-ratelimit-limit-requests'), 5, 'the limit');
    is($r->header('x-ratelimit-remaining-requests'), 5 - $i,
       'what is left of it');
    like($r->header('x-ratelimit-reset-requests'), qr/^\d+s$/,
         'when it is whole again');
}

$r = $t->get('/ping', key => $rpm);
is($r->{status}, 429, 'the sixth request');
is(code($r), 'rate_limit_exceeded', 'its code');
like($r->header('retry-after'), qr/^\d+$/, 'Retry-After');
ok($r->header('retry-after') >= 1 && $r->header('retry-after') <= 65,
   'within a good minute') or diag($r->header('retry-after'));
is($r->header('x-ratelimit-remaining-requests'), 0, 'nothing is left');
is($t->get('/ping', key => $free)->{status}, 200, 'other keys go on');


# tokens a minute

$r = complete($tpm, 100);
is($r->{status}, 200, 'tokens of a minute');
my $one = $r->json->{usage}{total_tokens};
is($r->json->{usage}{completion_tokens}, 100, 'all that were asked for');
is($r->header('x-ratelimit-limit-tokens'), 400, 'the limit');

is(code(complete($tpm, 500)), 'rate_limit_exceeded',
   'more than the limit is never possible');

$r = complete($tpm, 100) for 1 .. 2;
is($r->{status}, 200, 'three are within the limit');
$r = complete($tpm, 100);
is($r->{status}, 429, 'a fourth is not');
ok($r->header('retry-after') >= 1, 'Retry-After');

# without max_tokens the answer ends where the tokens do

$r = complete($tpm, 0);
is($r->{status}, 200, 'without max_tokens');
is($r->json->{choices}[0]{finish_reason}, 'length', 'ends by its length');
my $left = 400 - 3 * $one;
is($r->json->{usage}{total_tokens}, $left, 'with the last token of the key');
is(complete($tpm, 1)->{status}, 429, 'then there is none');


# requests at a time

my @slow = map { $t->client(uri => '/v1/completions', key => $conc, body => {
    model => 'demo', prompt => 'Once', max_tokens => 900,
    ignore_eos => JSON::PP::true, stream => JSON::PP::true }) } 1 .. 2;
$_->next_event(10) for @slow;

$r = complete($conc, 1);
is($r->{status}, 429, 'a third request at a time');
is(code($r), 'too_many_concurrent_requests', 'its code');
ok($r->header('retry-after') >= 1, 'Retry-After');
$slow[0]->close;
ok(wait_for { complete($conc, 1)->{status} == 200 },
   'a client that went away makes room');
$_->close for @slow;


# budgets: 402

is(complete($day, 50)->{status}, 200, 'within the day\'s budget');
$r = complete($day, 90);
is($r->{status}, 402, 'more than is left');
is(code($r), 'budget_exceeded', 'its code');
like($r->json->{error}{message}, qr/daily/, 'which budget');
is(complete($day, 0)->{status}, 200, 'the rest');
is(usage($day_id)->{day_left}, 0, 'is used up');
is($t->get('/ping', key => $day)->{status}, 402,
   'then other calls are refused too');
$r = complete($month, 1000);
is($r->{status}, 402, 'more than the month\'s budget');
like($r->json->{error}{message}, qr/monthly/, 'which budget');

$r = $t->admin('PATCH', "keys/$day_id", { tokens_per_day => undef },
               key => $admin);
is($r->{status}, 200, 'the budget is taken away');
is(complete($day, 1)->{status}, 200, 'the key goes on at once');


# a thousand at once on one key: nothing is spent beyond the limit.  A
# connection each, all opened before the first answer is read

sub crowd {
    my ($n, %o) = @_;

    my @clients = map { $t->client(%o) } 1 .. $n;
    LLM::Client->pump(\@clients, 100) or diag('the crowd timed out');

    my %count;
    $count{$_->{status}}++ for @clients;

    return (\%count, @clients);
}

my ($count) = crowd(1000, uri => '/ping', key => $many);
is($count->{200}, 200, 'of 1,000 requests exactly 200 get in')
    or diag(encode_json($count));
is($count->{429}, 800, 'the others are told to wait');

($count, my @clients) = crowd(1000, uri => '/v1/completions', key => $crowd,
    body => { model => 'demo', prompt => 'Once upon a time',
              max_tokens => 40, ignore_eos => JSON::PP::true });

my $spent = 0;
$spent += $_->json->{usage}{total_tokens}
    for grep { $_->{status} == 200 } @clients;
cmp_ok($spent, '<=', 3000, 'the overspend of 1,000 requests is 0');
cmp_ok($spent, '>', 3000 - $one, 'all that fits was served');
is($count->{200} + $count->{402}, 1000, 'each was served or refused')
    or diag(encode_json($count));

my $u = usage($crowd_id);
is($u->{day_left}, 3000 - $spent, 'the count is exact');
is($u->{running}, 0, 'nothing is left running');

($count) = crowd(200, uri => '/v1/completions', key => $crowd,
    body => { model => 'demo', prompt => 'Once upon a time',
              max_tokens => 40, ignore_eos => JSON::PP::true });
is($count->{402}, 200, 'and stays spent');


# a reload, killed workers, a killed master: the counts stay

sub still {
    my ($what) = @_;

    is($t->get('/ping', key => $rpm)->{status}, 429,
       "$what: the minute stays used");
    is(complete($crowd, 40)->{status}, 402, "$what: the day stays spent");
}

$t->reload;
wait_for { $t->get('/readyz')->{status} == 200 };
still('after a reload');

my $stream = $t->client(uri => '/v1/completions', key => $conc, body => {
    model => 'demo', prompt => 'Once', max_tokens => 900,
    ignore_eos => JSON::PP::true, stream => JSON::PP::true });
$stream->next_event(10);

for (1 .. 2) {
    my $dead = $t->kill_role('worker');
    wait_for { !grep { $_ == $dead } $t->pids('worker') };
    wait_for { $t->pids('worker') == 2 };
}

$stream->close;
wait_for { $t->get('/readyz')->{status} == 200 };
still('after kill -9 of the workers');
is(complete($conc, 1)->{status}, 200, 'a dead worker\'s requests have ended')
    for 1 .. 2;

# half a second of usage is all that a crash of everything may lose

sleep 1;
$t->kill_role('master');
$t->stop;
$t->start;
wait_for { $t->get('/readyz')->{status} == 200 };
still('after kill -9 of all');

$t->quit;
$t->start;
wait_for { $t->get('/readyz')->{status} == 200 };
still('after a restart');

cmp_ok(usage($free_id)->{calls}, '>=', 1, 'calls are counted without limits');
like(usage($free_id)->{last_used}, qr/^20/, 'and when the last one was');

$t->done;
