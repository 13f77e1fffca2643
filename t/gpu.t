#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What the GPUs do, in the metrics: by a management library that says what a
# file says (t/unit/fake_nvml.c), and without one.  The process that holds the
# models looks, its successor goes on.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 90);
$t->init;

my ($key) = $t->key(client => 'prometheus', role => 'user');

my $conf = <<'END';
%%MAIN%%
env FAKE_NVML;
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location = /healthz { llm_auth off; llm_pass demo; }
        location = /metrics { llm_auth on; llm_metrics; }
    }
}
END

sub gpu {
    my ($name, $n) = @_;
    my $body = $t->get('/metrics', key => $key)->{body};
    my ($value) = $body =~ /^\Q$name\E\{[^}]*gpu="$n"[^}]*\} (\S+)$/m;
    return $value;
}

sub xids {
    my ($n) = @_;
    return wait_for { (gpu('llm_gpu_xid_errors_total', 0) // -1) == $n } 20;
}

# the fake's file, whole at any time
sub say_gpu {
    $t->file('gpu.part', "@_");
    rename $t->dir . '/gpu.part', $t->dir . '/gpu' or die "rename: $!";
}

my $lib = $t->dir . '/lib';
mkdir $lib or die "$lib: $!";
$ENV{FAKE_NVML} = $t->dir . '/gpu';
local $ENV{LD_LIBRARY_PATH} = $lib;

# none

$t->conf($conf)->start;
ok(wait_for { slurp($t->dir . '/error.log') =~ /no GPU is watched/ },
   'without the library it is said');
unlike($t->get('/metrics', key => $key)->{body}, qr/^llm_gpu_\w+\{/m,
       'and no metric is there');
ok($t->stop, 'stopped');

# two

symlink $t->build . '/unit-tools/fake_nvml.so', "$lib/libnvidia-ml.so.1"
    or die "symlink: $!";
say_gpu('gpus=2 busy0=55 used0=600 total0=1000 watts0=310 hot0=61 errors0=3',
        'power1=3 watch1=3');
$t->start;

ok(wait_for { defined gpu('llm_gpu_utilization_ratio', 0) }, 'two are seen');
is(gpu('llm_gpu_utilization_ratio', 0) + 0, 0.55, 'utilisation');
is(gpu('llm_gpu_memory_used_bytes', 0) + 0, 600 << 20, 'memory used');
is(gpu('llm_gpu_memory_total_bytes', 0) + 0, 1000 << 20, 'memory in all');
is(gpu('llm_gpu_power_watts', 0) + 0, 310, 'power');
is(gpu('llm_gpu_temperature_celsius', 0) + 0, 61, 'temperature');
is(gpu('llm_gpu_ecc_errors_total', 0) + 0, 3, 'ECC errors');
is(gpu('llm_gpu_xid_errors_total', 0) + 0, 0, 'XID errors');
like($t->get('/metrics', key => $key)->{body},
     qr/^llm_gpu_power_watts\{[^}]*name="Fake GPU A"/m, 'its name');
is(gpu('llm_gpu_utilization_ratio', 1) + 0, 0, 'the second one');
is(gpu('llm_gpu_power_watts', 1), undef, 'has no metric that it can\'t tell');
is(gpu('llm_gpu_xid_errors_total', 1), undef, 'nor one that is not watched');

# an error is counted, by whoever looks

say_gpu('gpus=2 xids0=2 watch1=3');
ok(xids(2), 'XID errors are counted');
like(slurp($t->dir . '/error.log'), qr/\[error\].*GPU 0: XID error 79/,
     'and logged');

$t->kill_role('engine');
ok(wait_for {
    my @watching = slurp($t->dir . '/error.log') =~ /watching 2 GPUs/g;
    @watching == 2;
}, 'the next holder of the models looks');
say_gpu('gpus=2 xids0=3 watch1=3');
ok(xids(3), 'and goes on with the count');

# a driver that hangs holds nothing up but the metrics

say_gpu('gpus=2 hang=1');
is($t->post('/v1/completions', { model => 'demo', prompt => 'a' },
            key => $key)->{status}, 200, 'an answer while the driver hangs');
ok($t->quit, 'and an end');

$t->done;
