#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What monitoring/ has: the rules and their tests by promtool, the example
# configuration, the dashboard; that every metric in them is one the module
# has; and that the module's own alerts are the rules'.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
my $dir = $t->top . '/monitoring';
my $rules = slurp("$dir/alerts.yml");
my $r;


# promtool

SKIP: {
    skip 'no promtool', 3 if $t->run(['which', 'promtool'])->{code};

    $r = $t->run(['promtool', 'check', 'rules', "$dir/alerts.yml"]);
    is($r->{code}, 0, 'the rules are well-formed') or diag($r->{err});

    $r = $t->run(['promtool', 'test', 'rules', "$dir/alerts_test.yml"],
                 timeout => 60);
    is($r->{code}, 0, 'the rules pass their tests')
        or diag("$r->{out}$r->{err}");

    # its key must be there
    my $conf = slurp("$dir/prometheus.yml");
    my $key = $t->file('key', "sk-none\n");

    $conf =~ s{^(\s+credentials_file: ).*}{$1$key}m;
    $conf =~ s{^  - alerts.yml}{  - $dir/alerts.yml}m;
    $r = $t->run(['promtool', 'check', 'config',
                  $t->file('prometheus.yml', $conf)]);
    is($r->{code}, 0, 'the example configuration is well-formed')
        or diag("$r->{out}$r->{err}");
}


# every rule has its test, and what a person needs

my %rule;                       # "name severity" => { expr, for, ... }

for my $part (split /^      - alert: /m, $rules) {
    my ($name) = $part =~ /^(LLM\w+)$/m or next;
    my ($severity) = $part =~ /severity: (\w+)/;
    my ($for) = $part =~ /^        for: (\d+[sm])$/m;
    my ($expr) = $part =~ /^        expr: (?:>-\n)?(.*?)(?=^        \w)/ms;

    $expr =~ s/\s+/ /g;
    $rule{"$name $severity"} = { name => $name, expr => $expr,
                                 text => $part, for => $for // '0s' };
}

is(scalar(keys %rule), 19, 'all alerts are found');

my $tests = slurp("$dir/alerts_test.yml");
my $docs = slurp($t->top . '/docs/operations.md');
my (@untested, @unexplained, @mute);

for my $id (sort keys %rule) {
    my ($name, $severity) = split / /, $id;

    push @untested, $id if $tests
        !~ /alertname="$name",alertstate="firing",severity="$severity"/;
    push @unexplained, $id if $docs !~ /^\| `$name` \| $severity \|/m;

    my $text = $rule{$id}{text};
    ($text) = $rules =~ /annotations: &$1\n(.*?)\n\n/s
        if $text =~ /annotations: \*(\w+)/;
    push @mute, $id if grep { $text !~ /^          $_:/m }
                       qw(summary description action runbook);
}

is("@untested", '', 'each is seen firing in a test of promtool');
is("@unexplained", '', 'each is in docs/operations.md');
is("@mute", '', 'each says what it is and what to do');

my %anchor = map { s/[^a-z0-9 -]//gr =~ s/ /-/gr => 1 }
             map { lc } $docs =~ /^##+ (.*)$/mg;
my @astray = grep { !$anchor{$_} }
             $rules =~ m{^          runbook: docs/operations.md#(.*)$}mg;
is("@astray", '', 'each leads to a section of the documentation');


# the dashboard

my $board = decode_json(slurp("$dir/grafana.json"));
my @exprs = map { $_->{expr} }
            map { @{ $_->{targets} || [] } } @{ $board->{panels} };

cmp_ok(scalar @exprs, '>', 40, 'the dashboard is JSON and has queries');
is(scalar(grep { ($_->{datasource}{uid} // '${datasource}')
                 ne '${datasource}' } @{ $board->{panels} }), 0,
   'its data source is a variable');
is(join(' ', map { $_->{name} } @{ $board->{templating}{list} }),
   'datasource instance model', 'and so are instance and model');

my (%id, @overlap);
for my $p (@{ $board->{panels} }) {
    $id{ $p->{id} }++;
    my $g = $p->{gridPos};
    push @overlap, $p->{title} if $g->{x} + $g->{w} > 24;
}
is(scalar(grep { $_ > 1 } values %id) + @overlap, 0, 'panels have places');


# every metric that is asked for is there

my $known = join '', map { slurp($_) }
            glob $t->top . '/ngx_module/metrics/llm_metrics*.c';
my %asked;

for my $expr (@exprs, $rules =~ /^        expr: (.*?)(?=^        \w|^$)/msg) {
    my $bare = $expr =~ s/"[^"]*"//gr;
    $asked{$1} = 1 while $bare =~ /(?<![\w:])((?:llm|gen_ai)_\w+)/g;
}

my @missing = grep {
    my $name = $_;
    my $base = $name =~ s/_(bucket|sum|count)$//r;
    $known !~ /\b(\Q$name\E|\Q$base\E)\b/
} sort keys %asked;

cmp_ok(scalar keys %asked, '>', 40, 'rules and dashboard ask for metrics');
is("@missing", '', 'the module has each of them');


# the module's own alerts are these

$t->init;
my $key = $t->key;

$t->conf(<<'END')->start;
%%MAIN%%
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location = /metrics { llm_auth on; llm_metrics; }
        location = /healthz { llm_auth off; llm_pass demo; }
    }
}
END

my $alerts = $t->admin('GET', 'status', undef, key => $key)->json->{alerts};
my %mine = map { ("$_->{name} $_->{severity}" => $_) } @$alerts;

is(join(' ', sort keys %mine),
   join(' ', grep { !/^LLMDown / } sort keys %rule),
   'the module has the same alerts, but for LLMDown');

my (@threshold, @for);

for my $id (sort keys %mine) {
    my $expr = $rule{$id}{expr} // next;
    my ($limit) = $expr =~ /(?:>|==) ([\d.]+)/;
    my ($n, $unit) = $rule{$id}{for} =~ /^(\d+)([sm])$/;

    push @threshold, "$id: $mine{$id}{threshold}, $limit"
        if $mine{$id}{threshold} != $limit;
    push @for, $id if $mine{$id}{for} != $n * ($unit eq 'm' ? 60 : 1);
}

is("@threshold", '', 'the same thresholds');
is("@for", '', 'the same times');
is(scalar(grep { $_->{state} eq 'firing' } @$alerts), 0, 'none fires now');

my ($few) = $rules =~ /requests:increase1m >= (\d+)\)/;
my ($bad) = $rules =~ /failed:increase1m >= (\d+)/;
my $c = slurp($t->top . '/ngx_module/metrics/llm_alerts_rules.c');
like($c, qr/define LLM_ALERTS_REQUESTS +$few\n/, 'as few requests');
like($c, qr/define LLM_ALERTS_BAD +$bad\n/, 'and as few of them bad');


# history

ok(!exists $t->admin('GET', 'status', undef, key => $key)->json->{history},
   'no history unless it is asked for');
my $history = $t->admin('GET', 'status?history=5', undef, key => $key)
                ->json->{history};
is(join(' ', grep { $_ ne 'period' } sort keys %$history),
   'batch errors_per_second gpu kv queue requests_per_second running time '
   . 'tokens_per_second ttft_p50_ms ttft_p99_ms', 'its charts');
is($history->{period}, 10, 'its period');

for my $n ('0', '361', '-1', 'x', '') {
    is($t->admin('GET', "status?history=$n", undef, key => $key)->{status},
       400, "no history of \"$n\"");
}


# a trail that can't be written: scrapes go on, and tell it

rename $t->dir . '/store/audit.mdb', $t->dir . '/audit.mdb' or die;
$t->expect_log(qr/audit/);
is($t->admin('GET', 'self', undef, key => $key)->{status}, 503,
   'nothing is answered without a record');

my $scrape;
ok(wait_for(sub {
    $scrape = $t->get('/metrics', key => $key);
    return $scrape->{body} =~ /^llm_audit_writable 0$/m;
}), 'the metrics say why');
is($scrape->{status}, 200, 'as they need none');

$t->done;
