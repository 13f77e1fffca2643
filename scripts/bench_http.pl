#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The performance of the HTTP path, over the stock nginx on this machine: time
# to the first token and throughput of 1, 8 and 32 streams, with the audit and
# without, requests a second with and without llm_auth and llm_audit (by wrk, if
# there is one), memory.  The key has all scopes and limits, and lies in a store
# with many others.
#
# usage: perl -It/lib scripts/bench_http.pl [TOKENS]
# environment: LLM_BUILD, NGINX_BIN, MODEL (a directory, default the demo
# model), KEYS (in the store, default 100000)

use LLM::Test;

use Cwd ();
use List::Util qw(max);
use Time::HiRes qw(time sleep);

use constant { ROUNDS => 3, TURNS => 7, SECONDS => 2, MANY => 4_000_000_000 };

my $tokens = 0 + (shift // 128);
my $t = LLM::Test->new(timeout => 900);
my $model = Cwd::abs_path($ENV{MODEL} // $t->top . '/t/models/demo');

my $keys = $ENV{KEYS} // 100_000;
my $dir = $t->dir;

my $fill = $t->run([$t->build . '/bench/bench_store', '-n', $keys,
                    '-d', "$dir/store", '-k'], timeout => 300);
die "bench_store: $fill->{err}" if $fill->{code};
rename "$dir/store.secret", "$dir/secret" or die "$dir/secret: $!\n";

my $key = $t->key(args => ['--models', 'demo,other',
                           '--addresses', '10.0.0.0/8,127.0.0.0/8',
                           '--rpm', MANY, '--tpm', MANY,
                           '--concurrent', 10_000,
                           '--tokens-per-day', 10 ** 15,
                           '--tokens-per-month', 10 ** 15]);
$t->file('html/file', "answer\n");
$t->file('completion.lua', <<'END');
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"demo","prompt":"Once upon a time","max_tokens":16,'
           .. '"ignore_eos":true}'
END
$t->conf(<<"END")->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    access_log off;
    llm_engine demo { model $model; max_batch 32; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        keepalive_requests 10000000;
        open_file_cache max=10;

        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /open/ { alias %%DIR%%/html/; }
        location /open/v1/ { llm_auth off; llm_audit off; llm_pass demo; }
        location /keys/ { llm_auth on; llm_audit off; alias %%DIR%%/html/; }
        location /keys/v1/ { llm_auth on; llm_audit off; llm_pass demo; }
        location /audit/ { llm_auth on; alias %%DIR%%/html/; }
        location /audit/v1/ { llm_auth on; llm_pass demo; }
    }
}
END

$| = 1;

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}


# Streams of equal length, all opened at once; the time to the first token is
# from the connect to the first event with text.

sub streams {
    my ($n, $where) = @_;

    my $start = time;
    my @clients = map {
        $t->client(uri => "/$where/v1/completions", key => $key, body => {
            model => 'demo', prompt => "Once upon a time there was $_",
            max_tokens => $tokens, ignore_eos => JSON::PP::true,
            stream => JSON::PP::true, seed => $_,
            stream_options => { include_usage => JSON::PP::true },
        })
    } 1 .. $n;

    LLM::Client->pump(\@clients, 300) or die "streams timed out\n";
    my $wall = time - $start;

    my (@first, $generated);

    for my $client (@clients) {
        die "a stream failed: $client->{body}\n" if !$client->done;

        for my $event (@{ $client->{events} }) {
            next if ($event->{data} // '') !~ /"text": ?"[^"]/;
            push @first, 1000 * ($event->{time} - $client->{started});
            last;
        }

        $generated += $_->{usage}{completion_tokens}
            for grep { $_->{usage} } $client->data;
    }

    return ($generated / $wall, median(@first), max(@first));
}

# the first requests of a process are not the measure

streams(2, $_) for qw(keys audit);

printf "  %-28s %10s %14s %14s\n", "streams of $tokens tokens", 'tokens/s',
       'ttft median', 'ttft max';

for my $n (1, 8, 32) {
    my %runs;

    for (1 .. ROUNDS) {
        push @{ $runs{$_} }, [streams($n, $_)] for qw(keys audit);
    }

    for my $where (qw(keys audit)) {
        my @runs = sort { $a->[0] <=> $b->[0] } @{ $runs{$where} };
        printf "  %-28s %10.0f %11.1f ms %11.1f ms\n",
               $n . ($where eq 'keys' ? ', llm_audit off' : ''),
               @{ $runs[$#runs / 2] };
    }
}


# The same with and without a directive, in turns so that both see the same
# machine.

sub wrk {
    my ($uri, @script) = @_;

    my $r = $t->run(['wrk', '-t1', '-c16', '-d' . SECONDS . 's', '--latency',
                     @script, '-H', "Authorization: Bearer $key",
                     'http://127.0.0.1:' . $t->port(0) . $uri],
                    timeout => 60);

    die "wrk: $r->{err}$r->{out}" if $r->{out} =~ /Non-2xx/ || $r->{code};

    my ($rate) = $r->{out} =~ m{Requests/sec:\s+([\d.]+)};
    my ($p99, $unit) = $r->{out} =~ /99%\s+([\d.]+)(us|ms|s)/;

    return { rate => $rate,
             p99 => $p99 * { us => 1, ms => 1e3, s => 1e6 }->{$unit} };
}


sub with_and_without {
    my ($without, $with, $name, $uri, @script) = @_;
    my %got;

    for (1 .. TURNS) {
        push @{ $got{$_} }, wrk("/$_$uri", @script) for $without, $with;
    }

    my ($off, $on) = map { median(map { $_->{rate} } @$_) }
                     @got{$without, $with};
    my @p99 = map { median(map { $_->{p99} } @$_) } @got{$without, $with};

    printf "  %-28s %9.0f %9.0f %7.2f %9.0f us %9.0f us\n", $name, $off, $on,
           $on / $off, @p99;
}

print "\n";

if ($t->run(['which', 'wrk'])->{code}) {
    print "  requests/s: not measured, wrk is missing\n";

} else {
    for my $what (["llm_auth, $keys keys", 'open', 'keys'],
                  ['llm_audit', 'keys', 'audit'])
    {
        my ($name, @where) = @$what;

        printf "  %-28s %9s %9s %7s %12s %12s\n", $name,
               'off, r/s', 'on, r/s', 'ratio', 'off, p99', 'on, p99';

        with_and_without(@where, 'a static file', '/file');
        with_and_without(@where, '/v1/models', '/v1/models');
        with_and_without(@where, 'completions of 16 tokens',
                         '/v1/completions', '-s', "$dir/completion.lua");
    }
}


# What a process has to itself: neither mapped files nor the zones.

print "\n";

for my $role (qw(master worker engine)) {
    my @own = map { slurp("/proc/$_/status") =~ /^RssAnon:\s+(\d+)/m }
              $t->pids($role);
    printf "  %-28s %10.1f MB\n", "memory, $role", max(@own) / 1024;
}

$t->stop;
