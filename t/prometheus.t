#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A real Prometheus scrapes a real nginx while things go wrong: each alert
# fires within 60 s of its cause and ends after it.
#
# The ordinary run has the few that need no patience, with all times of the
# rules divided by ten.  LLM_SLOW=1 (make alerts-check) has all of them, with
# the rules as they are: a quarter of an hour.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use Time::HiRes qw(time sleep);

my $slow = $ENV{LLM_SLOW};
my $t = LLM::Test->new(timeout => $slow ? 1800 : 90);

plan(skip_all => 'no Prometheus') if $t->run(['which', 'prometheus'])->{code};

my $scale = $slow ? 1 : 10;             # rules are so much faster
my $limit = $slow ? 60 : 20;            # seconds until an alert fires


# the model of "late" can be taken away; GPUs are a file's

system('cp', '-r', $t->top . '/t/models/demo', $t->dir . '/late') == 0 or die;
mkdir $t->dir . '/nvml';
symlink $t->build . '/unit-tools/fake_nvml.so',
        $t->dir . '/nvml/libnvidia-ml.so.1';
$ENV{LD_LIBRARY_PATH} = $t->dir . '/nvml';
$ENV{FAKE_NVML} = $t->dir . '/gpus';

sub gpus {
    my (%o) = (gpus => 1, busy0 => 20, used0 => 1000, total0 => 80000,
               watts0 => 100, hot0 => 40, xids0 => 0, errors0 => 7, @_);

    $t->file('gpus.new', join ' ', map { "$_=$o{$_}" } sort keys %o);
    rename $t->dir . '/gpus.new', $t->dir . '/gpus';
}

gpus();

# a small one, which can be filled
my $r = $t->llmctl('init', $t->keys_options, '--size', '1m');
is($r->{code}, 0, 'a store') or diag($r->{err});

my $admin = $t->key(client => 'boss', role => 'admin');
my $key = $t->key(client => 'me');

sub conf {
    my ($size) = @_;

    return <<"END";
%%MAIN%%
env FAKE_NVML;
worker_processes 2;
http {
    %%HTTP%%
    llm_store %%DIR%%/store size=$size;
    llm_secret file:%%DIR%%/secret;
    llm_engine demo { model %%DEMO%%; }
    llm_engine late { model %%DIR%%/late; }
    llm_engine tight { model %%DEMO%%; kv_cache 4m; max_batch 16; queue 16; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location /late/ { llm_auth on; llm_pass late; }
        location /tight/ { llm_auth on; llm_pass tight; }
        location /fleet/ {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location /admin/ { llm_auth on; llm_admin; }
        location = /metrics { llm_auth on; llm_metrics; }
        location = /healthz { llm_auth off; llm_pass demo; }
    }
    server {
        listen 127.0.0.1:%%PORT_1%%;
        location / {
            if (-f %%DIR%%/fail) { return 502; }
            default_type application/json;
            return 200 '{"object":"chat.completion","model":"fleet"}';
        }
    }
}
END
}

$t->conf(conf($slow ? '1m' : '64m'))->start;


# Prometheus

my $rules = slurp($t->top . '/monitoring/alerts.yml');

if (!$slow) {
    my %ms = (m => 60000, s => 1000);
    $rules =~ s{(\[|for: |interval: )(\d+)([ms])}
               {$1 . $2 * $ms{$3} / $scale . 'ms'}ge;
}

$t->file('alerts.yml', $rules);
$t->file('key', $key);
$t->file('prometheus.yml', $t->fill(<<"END"));
global:
  scrape_interval: ${\($slow ? '1s' : '250ms')}
  scrape_timeout: ${\($slow ? '1s' : '250ms')}
  evaluation_interval: 1s
rule_files: [ %%DIR%%/alerts.yml ]
scrape_configs:
  - job_name: nginx-llm
    authorization: { type: Bearer, credentials_file: %%DIR%%/key }
    static_configs: [ { targets: [ '127.0.0.1:%%PORT_0%%' ] } ]
END

my $port = $t->port(2);

sub prometheus {
    $t->background('prometheus', '--config.file=' . $t->dir
                   . '/prometheus.yml', '--log.level=warn',
                   "--web.listen-address=127.0.0.1:$port",
                   '--storage.tsdb.path=' . $t->dir . '/tsdb');
}

sub ask {
    my ($path) = @_;

    my $c = eval { $t->get("/api/v1/$path", port => 2) } or return;
    return $c->{status} == 200 ? $c->json->{data} : undef;
}


# alerts that fire: { "name severity" => 1 }
sub firing {
    my $data = ask('alerts') or return {};

    return { map { ("$_->{labels}{alertname} $_->{labels}{severity}" => 1) }
             grep { $_->{state} eq 'firing' } @{ $data->{alerts} } };
}


# Until an alert fires (want 1) or does not (0), step after step: how long it
# took since the step before.
sub until_alert {
    my ($name, $want, $seconds, $step) = @_;

    my $start = time;

    while (time < $start + $seconds) {
        $step->() if $step;
        return time - $start if !!firing()->{$name} == !!$want;
        sleep 0.2;
    }

    diag('fires: ', join ', ', sort keys %{ firing() });
    return;
}


sub fires {
    my ($name, $step, $seconds) = @_;

    my $took = until_alert($name, 1, $seconds // $limit, $step);
    ok(defined $took, "$name fires");
    note(sprintf '%s fired after %.1f s', $name, $took) if defined $took;
}


sub ends {
    my ($name, $seconds, $step) = @_;

    my $took = until_alert($name, 0, $seconds, $step);
    ok(defined $took, "$name ends");
    note(sprintf '%s ended after %.1f s', $name, $took) if defined $took;
}


# requests to the upstream, which does what the test wants

sub fleet {
    my ($n) = @_;

    $t->post('/fleet/v1/chat/completions', { model => 'fleet' }, key => $key)
        for 1 .. $n // 4;
}


sub test_errors {
    $t->file('fail', '');
    fires('LLMErrorRateWarning warning', \&fleet);
    fires('LLMErrorRateCritical critical', \&fleet);

    unlink $t->dir . '/fail';
    ends('LLMErrorRateCritical critical', 100, \&fleet);
    ends('LLMErrorRateWarning warning', 100, \&fleet);
}


# not waited for: it is over ten minutes later
sub test_restart {
    $t->kill_role('engine');
    fires('LLMEngineRestarted warning');
}


sub test_down {
    $t->quit;
    fires('LLMDown critical');
    $t->start;
    ends('LLMDown critical', 60);
}


# the model goes away; who takes over then can't load it
sub test_engine {
    rename $t->dir . '/late', $t->dir . '/gone' or die;
    $t->kill_role('engine');
    fires('LLMEngineDown critical');

    rename $t->dir . '/gone', $t->dir . '/late' or die;
    $t->kill_role('engine');
    ends('LLMEngineDown critical', 60);
}


my @clients;

sub flood {
    LLM::Client->pump(\@clients, 0.01) if @clients;
    @clients = grep { !$_->{complete} && !$_->{error} } @clients;

    while (@clients < 31) {
        push @clients, $t->client(uri => '/tight/v1/completions', key => $key,
            body => { model => 'tight', prompt => 'Once upon a time',
                      stream => \1, ignore_eos => \1, max_tokens => 900,
                      seed => int rand 1e6 });
    }
}


sub full {
    my $text = $t->get('/metrics', key => $key)->{body};
    my ($used, $waiting) = map { $text =~ /^$_\{model="tight"\} (\S+)/m }
                           qw(llm_kv_cache_usage_perc
                              llm_num_requests_waiting);

    return $used > 0.95 && $waiting > 8;
}


# More than there is room for, and just then the engine hangs: the cache stays
# full and who waits goes on waiting.
sub test_flood {
    my ($engine) = $t->pids('engine');
    my $end = time + 60;

    while (time < $end) {
        flood();
        next if !full();
        kill 'STOP', $engine;
        last if full();
        kill 'CONT', $engine;
    }

    ok(full(), 'the cache is full, requests wait');
    fires('LLMQueueLong warning');
    fires('LLMKvCacheNearlyFull warning');

    kill 'CONT', $engine;
    fires('LLMLatencyWarning warning', \&flood);
    fires('LLMLatencyCritical critical', \&flood);

    $_->close for splice @clients;
    ends('LLMQueueLong warning', 60);
    ends('LLMKvCacheNearlyFull warning', 60);
    ends('LLMLatencyCritical critical', 100);
    ends('LLMLatencyWarning warning', 60);
}


sub test_keys {
    my ($soon, $id) = $t->key(client => 'soon', expires => '1h');
    fires('LLMKeysExpiring warning');
    $t->revoke($id);
    ends('LLMKeysExpiring warning', 60);
}


# keys until no more are taken, then more room
sub test_store {
    my $n = 0;

    while ($n < 10000) {
        my $r = $t->admin('POST', 'keys',
            { client => "client-$n", role => 'user',
              models => [ map { "a-model-of-a-long-name-$_" } 1 .. 16 ] },
            key => $admin);
        last if $r->{status} != 201;
        $n++;
    }

    fires('LLMStoreNearlyFull warning', undef, 90);
    fires('LLMStoreNearlyFull critical', undef, 90);

    $t->reload($t->fill(conf('8m')));
    ends('LLMStoreNearlyFull critical', 90);
    ends('LLMStoreNearlyFull warning', 90);
}


# who has the write lock does not give it back; then the file is gone
sub test_audit {
    my $file = $t->dir . '/store/audit.mdb';

    return if !ask('query?query=llm_audit_writable')->{result}[0];

    open my $hold, '|-', 'sh', '-c', 'exec "$0" "$1" >/dev/null',
         $t->build . '/unit-tools/hold_lock', $file or die "hold_lock: $!";
    sleep 0.5;
    push @clients, $t->client(uri => '/fleet/v1/chat/completions',
                              key => $key, body => { model => 'fleet' });
    fires('LLMAuditLag warning');
    close $hold;
    ok(LLM::Client->pump(\@clients, 20), 'what waited goes on');
    is($clients[0]{status}, 503, 'refused, as it waited too long');
    @clients = ();
    ends('LLMAuditLag warning', 60);

    rename $file, "$file.away" or die;
    $t->expect_log(qr/audit/);
    fires('LLMAuditUnwritable critical', \&fleet);
    rename "$file.away", $file or die;
    ends('LLMAuditUnwritable critical', 60, \&fleet);
}


sub test_gpu_memory {
    fires('LLMGpuMemoryHigh warning');
    gpus(busy0 => 95, used0 => 77000, xids0 => 1);
    fires('LLMGpuMemoryHigh critical');
    fires('LLMGpuErrors critical');
    gpus(busy0 => 95, used0 => 1000, xids0 => 1);
    ends('LLMGpuMemoryHigh critical', 60);
    ends('LLMGpuMemoryHigh warning', 60);
}


prometheus();
ok(wait_for(sub {
    my $data = ask('query?query=llm_build_info');
    return $data && @{ $data->{result} };
}, 30), 'Prometheus scrapes');

fleet(20);
sleep($slow ? 6 : 1);
is(join(', ', sort keys %{ firing() }), '', 'nothing fires');

test_errors();

# what promtool's invented series do not show: no rule fails with real ones
my $groups = ask('rules') || {};
my @rules = map { @{ $_->{rules} } } @{ $groups->{groups} || [] };
cmp_ok(scalar @rules, '>', 20, 'the rules are loaded');
is(join("\n", map { "$_->{name}: " . ($_->{lastError} || $_->{health}) }
              grep { $_->{health} ne 'ok' } @rules),
   '', 'each can be evaluated');

test_restart();

if ($slow) {
    test_engine();
    test_flood();

    # from here on no engine is stopped: its GPU's five minutes run
    gpus(busy0 => 95, used0 => 70000);
    my $busy = time;

    test_gpu_memory();
    test_keys();
    test_store();
    test_audit();

    fires('LLMGpuUtilizationHigh warning', undef, 360);
    cmp_ok(time - $busy, '>', 300, 'not before five minutes');
    gpus(xids0 => 1);
    ends('LLMGpuUtilizationHigh warning', 60);
}

test_down();

if ($slow) {
    ends('LLMEngineRestarted warning', 660);
    ends('LLMGpuErrors critical', 660);
    is(join(', ', sort keys %{ firing() }), '', 'nothing fires any more');
}

$t->end_background;
$t->done;
