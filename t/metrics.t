#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# llm_metrics: the text is well-formed, and requests of each kind count where
# they should; who may read it; a reload and a killed worker lose nothing.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Metrics;
use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my $user = $t->key(client => 'acme{},=');
my $watch = $t->key(client => 'watch');
my $limited = $t->key(client => 'limited', args => ['--models', 'demo']);
my ($gone, $gone_id) = $t->key(client => 'gone');
$t->key(client => 'soon', expires => '5d');
$t->revoke($gone_id);

# another server's model, whose names are as bad as they can be
my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;
    my $ask = eval { decode_json($request->{body}) } || {};
    my $usage = { prompt_tokens => 5, completion_tokens => 3 };
    my $how = $ask->{how} // '';

    return LLM::Upstream->answer(500, 'application/json', '{"error":{}}')
        if $how eq 'error';
    return LLM::Upstream->stream(
        { model => 'far', choices => [ { delta => {} } ] }, \0.05,
        { model => 'far', choices => [ { delta => {} } ] },
        { model => 'far', choices => [], usage => $usage },
        "data: [DONE]\n\n") if $how eq 'stream';
    return LLM::Upstream->json({ model => $ask->{model}, choices => [],
                                 usage => $usage });
});

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; max_batch 4; queue 3; }
    llm_engine idle { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location /idle/v1/ { llm_auth on; llm_pass idle; }
        location = /healthz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
        location /far/ {
            llm_auth on;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
        location = /metrics { llm_auth on; llm_metrics; }
        location = /operators { llm_auth on role=operator; llm_metrics; }
        location = /open { llm_auth off; llm_metrics; }
    }
}
END
$t->conf($conf)->start;
wait_for { $t->get('/healthz')->{status} == 200 };

sub scrape {
    my $r = $t->get('/metrics', key => $watch);
    my $m = LLM::Metrics->new($r->{body});

    # as the worker that answered a request before may not have logged it yet
    is($m->wrong, undef, $_[0] // 'the text is well-formed')
        or diag($r->{body});

    return $m;
}

# until it is so: a request is counted when it has ended, after its last byte
sub comes {
    my ($want, $what, $metric, %labels) = @_;
    my $m;

    my $ok = wait_for {
        $m = LLM::Metrics->new($t->get('/open')->{body});
        ($m->get($metric, %labels) // -1) == $want;
    };

    ok($ok, $what) or diag($metric, ' ', encode_json(\%labels), ' is ',
                           $m->get($metric, %labels) // 'not there');
    return $m;
}

sub complete {
    my ($set, %o) = @_;
    return $t->post($o{uri} // '/v1/completions', {
        model => 'demo', prompt => 'Once upon a time', max_tokens => 8,
        ignore_eos => JSON::PP::true, temperature => 0, %$set },
        key => $user, %o);
}

# nothing happened yet

my $m = scrape('the first text is well-formed');
my $r = $t->get('/metrics', key => $watch);
is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8',
   'its type');
is($m->get('llm_requests_total', model => 'demo', status => 200), 0,
   'no request, but the series is there');
is($m->get('llm_engine_up', model => 'demo'), 1, 'the engine is up');
is($m->get('llm_max_batch', model => 'demo'), 4, 'its batch');
is($m->get('llm_queue_limit', model => 'demo'), 3, 'its queue');
is($m->get('llm_workers'), 2, 'two workers');
is($m->get('llm_build_info', version => '0.1.0'), 1, 'the version');
ok($m->get('llm_start_time_seconds') > time - 120, 'the start');

SKIP: {
    skip 'promtool is not installed', 1
        if $t->run(['sh', '-c', 'command -v promtool'])->{code};
    my $r = $t->run(['promtool', 'check', 'metrics'],
                    stdin => $t->get('/open')->{body});
    is($r->{out} . $r->{err}, '', 'promtool finds nothing');
}

# an answer in one piece

$r = complete({});
is($r->{status}, 200, 'an answer');
my $prompt = $r->json->{usage}{prompt_tokens};

$m = comes(1, 'it counts', 'llm_requests_total', model => 'demo',
           status => 200);
my %demo = (model => 'demo');
is($m->get('llm_prompt_tokens_total', %demo), $prompt, 'its prompt');
is($m->get('llm_generation_tokens_total', %demo), 8, 'its tokens');
is($m->get('llm_finish_total', %demo, reason => 'length'), 1, 'its finish');
is($m->get('llm_e2e_request_latency_seconds_count', %demo), 1, 'its time');
is($m->get('llm_time_to_first_token_seconds_count', %demo), 1, 'its first');
is($m->get('llm_request_queue_time_seconds_count', %demo), 1, 'its queueing');
ok($m->get('llm_inter_token_latency_seconds_count', %demo) >= 6,
   'the time between its tokens');
is($m->get('gen_ai_server_request_duration_seconds_count',
           gen_ai_request_model => 'demo'), 1, 'in other words');
is($m->get('gen_ai_server_time_per_output_token_seconds_count',
           gen_ai_request_model => 'demo'), 1, 'and a token on average');
ok($m->get('llm_e2e_request_latency_seconds_sum', %demo)
   >= $m->get('llm_time_to_first_token_seconds_sum', %demo),
   'the first token is not later than the end');

# the engine tells of a step when it is over, its tokens are out by then
ok((wait_for {
    $m = LLM::Metrics->new($t->get('/open')->{body});
    $m->get('llm_engine_steps_total', %demo) >= 8;
}), 'steps');
is($m->get('llm_batch_size_bucket', %demo, le => 1),
   $m->get('llm_batch_size_count', %demo), 'of one sequence each');
is($m->get('llm_prefix_cache_queries_total', %demo), $prompt,
   'a prompt that was looked for');
is($m->get('llm_requests_total', model => 'idle', status => 200), 0,
   'the other engine did nothing');

my %acme = (client => 'acme{},=');
is($m->get('llm_client_requests_total', %acme), 1, 'its client');
is($m->get('llm_client_tokens_total', %acme, kind => 'prompt'), $prompt,
   'prompt tokens of the client');
is($m->get('llm_client_tokens_total', %acme, kind => 'completion'), 8,
   'and the others');

# a stream, and choices

is(complete({ stream => JSON::PP::true, n => 2 })->{status}, 200, 'a stream');
$m = comes(2, 'it counts too', 'llm_requests_total', %demo, status => 200);
is($m->get('llm_generation_tokens_total', %demo), 24, 'tokens of its choices');
is($m->get('llm_finish_total', %demo, reason => 'length'), 3, 'their ends');
is($m->get('llm_time_to_first_token_seconds_count', %demo), 2,
   'one first token');

# refusals

is($t->post('/v1/completions', {}, key => 'sk-no')->{status}, 401, 'no key');
is(complete({}, key => $gone)->{status}, 401, 'a revoked key');
is(complete({ max_tokens => -1 })->{status}, 400, 'an invalid request');
is(complete({ model => "x\"}\n 1" })->{status}, 404, 'an unknown model');
is(complete({}, uri => '/idle/v1/completions', key => $limited)->{status},
   403, 'a model that the key may not use');
is($t->get('/v1/completions', key => $user)->{status}, 405, 'a wrong method');
is($t->get('/operators', key => $watch)->{status}, 403, 'a role too low');

# each worker counts for itself, when it logs
ok((wait_for {
    $m = LLM::Metrics->new($t->get('/open')->{body});
    $m->sum('llm_requests_refused_total') == 7
        && $m->sum('llm_requests_total', model => 'none', status => 403);
}), 'all are refused');
is($m->get('llm_requests_refused_total', reason => 'role_required'), 1,
   'for the role');
is($m->wrong, undef, 'the text is well-formed') or diag($m->wrong);
is($m->get('llm_requests_total', %demo, status => 401), 2,
   'without a good key');
is($m->get('llm_requests_total', %demo, status => 404), 1,
   'for another model');
is($m->get('llm_requests_total', model => 'idle', status => 403), 1,
   'for what it may not');
is($m->get('llm_requests_total', model => 'none', status => 405), 1,
   'what asks for nothing has no model');

my %reason = map { ($_->{labels}{reason} => $_->{value}) }
             $m->all('llm_requests_refused_total');
is($reason{invalid_api_key}, 1, 'keys') or diag(encode_json(\%reason));
is($reason{key_revoked}, 1, 'revoked ones');
is($reason{invalid_value}, 1, 'values');
is($reason{model_not_found}, 1, 'models');
is($reason{model_not_allowed}, 1, 'not allowed');
is($reason{method_not_allowed}, 1, 'methods');
is($m->get('llm_e2e_request_latency_seconds_count', %demo), 2,
   'no time of theirs counts');

# clients that go away

my $c = $t->client(uri => '/v1/completions', key => $user, body => {
    model => 'demo', prompt => 'a', max_tokens => 2000, stream => \1,
    ignore_eos => \1 });
ok($c->next_event(20), 'a stream begins');
$m = comes(1, 'it runs', 'llm_num_requests_running', %demo);
ok($m->get('llm_kv_cache_blocks', %demo, state => 'used') > 0, 'in blocks');
$c->close;

$m = comes(1, 'it was cancelled', 'llm_requests_cancelled_total', %demo);
is($m->get('llm_requests_total', %demo, status => 499), 1, 'with a status');
is($m->get('llm_finish_total', %demo, reason => 'cancelled'), 1, 'an end');
is($m->get('llm_e2e_request_latency_seconds_count', %demo), 2, 'no time');
ok($m->get('llm_generation_tokens_total', %demo) > 24, 'and tokens');
comes(0, 'it runs no longer', 'llm_num_requests_running', %demo);

# other servers' models

sub far {
    my ($set, %o) = @_;
    return $t->post('/far/v1/chat/completions', $set, key => $user, %o);
}

is(far({ model => 'near' })->{status}, 200, 'another server answers');
$m = comes(1, 'its model counts', 'llm_requests_total', model => 'near',
           status => 200);
is($m->get('llm_prompt_tokens_total', model => 'near'), 5, 'its prompt');
is($m->get('llm_generation_tokens_total', model => 'near'), 3, 'its tokens');
is($m->get('llm_num_requests_running', model => 'near'), undef,
   'it is no engine of ours');

is(far({ how => 'stream' })->{status}, 200, 'it streams');
$m = comes(1, 'a stream counts', 'llm_requests_total', model => 'far',
           status => 200);
is($m->get('llm_time_to_first_token_seconds_count', model => 'far'), 1,
   'with its first token');
is($m->get('llm_generation_tokens_total', model => 'far'), 3,
   'and its usage');

is(far({ model => 'invented', how => 'error' })->{status}, 500, 'an error');
$m = comes(1, 'is of another model', 'llm_requests_total', model => 'other',
           status => 500);
is($m->get('llm_requests_total', model => 'invented', status => 500), undef,
   'a name that nobody answered to is no series');

far({ model => $_ })
    for "a\"b\\c\nd", "\x{263a}\x{1}", "}\n# TYPE x counter", 'x' x 90,
        'other', 'none', 'x' x 60, 'a{b=,} 1', "\x{e9}\x{ff}";
$m = comes(6, 'names that are none of a model', 'llm_requests_total',
           model => 'other', status => 200);
comes(1, 'odd names', 'llm_requests_total', model => '??', status => 200);
$m = scrape('with hostile names it is well-formed');
is($m->get('llm_requests_total', model => 'a{b=,} 1', status => 200), 1,
   'a name of signs');

far({ model => "name-$_" }) for 1 .. 40;
$m = scrape('with many names it is well-formed');
my %names = map { ($_->{labels}{model} => 1) } $m->all('llm_requests_total');
ok(keys %names <= 36, 'which are bounded');
ok($m->get('llm_requests_total', model => 'other', status => 200) > 4,
   'the rest are others');

# who may read it, and how

is($t->get('/metrics')->{status}, 401, 'nobody without a key');
is($t->get('/open')->{status}, 200, 'unless that is meant');
$r = $t->get('/metrics', key => $watch, method => 'HEAD');
is($r->{status}, 200, 'HEAD');
is($r->{body}, '', 'has no body');
ok($r->header('Content-Length') > 1000, 'but its length');
$r = $t->post('/metrics', {}, key => $watch);
is($r->{status}, 405, 'POST');
is($r->header('Allow'), 'GET, HEAD', 'says what is allowed');

# keys and stores

$m = comes(1, 'a revoked key', 'llm_keys', status => 'revoked');
is($m->get('llm_keys', status => 'active'), 4, 'active ones');
is($m->get('llm_keys', status => 'expiring'), 1, 'one that ends soon');
ok(abs($m->get('llm_key_next_expiry_timestamp_seconds')
       - time - 5 * 86400) < 120, 'then');
ok($m->get('llm_store_bytes', store => 'keys') > 4096, 'bytes of the keys');
ok($m->get('llm_store_bytes', store => 'calls') > 4096, 'of the calls');
ok($m->get('llm_store_usage_ratio', store => 'keys') > 0, 'a part');
ok($m->get('llm_store_usage_ratio', store => 'keys') < 0.1, 'of the map');
$t->key(client => 'new');
comes(5, 'a new key is seen', 'llm_keys', status => 'active');

# a reload, a killed worker, a killed engine

$m = scrape();
my $before = $m->sum('llm_requests_total', model => 'demo');
ok($before >= 5, 'what was counted');

ok($t->reload($conf =~ s/llm_engine idle/llm_engine late/r
                    =~ s/llm_pass idle/llm_pass late/r), 'a reload');
wait_for { $t->get('/healthz')->{status} == 200 };
$m = scrape('after a reload it is well-formed');
is($m->sum('llm_requests_total', model => 'demo'), $before, 'is there still');
is($m->get('llm_engine_up', model => 'idle'), undef,
   'an engine that is gone is none');
is($m->get('llm_requests_total', model => 'idle', status => 403), 1,
   'but what it counted is there');
comes(1, 'the new one is up', 'llm_engine_up', model => 'late');

my ($worker) = $t->kill_role('worker');
wait_for { my @w = $t->pids('worker'); @w == 2 && !grep { $_ == $worker } @w };
$m = scrape('after a worker was killed it is well-formed');
is($m->sum('llm_requests_total', model => 'demo'), $before, 'nothing is lost');

my $steps = $m->get('llm_engine_steps_total', %demo) // 0;
$t->kill_role('engine');
$m = comes(1, 'a killed engine', 'llm_engine_restarts_total');
ok((wait_for { complete({})->{status} == 200 }), 'the next one serves');
$m = comes(1, 'and is up', 'llm_engine_up', %demo);
ok($m->get('llm_engine_steps_total', %demo) > $steps, 'and goes on counting');

# a trail that is switched off

is($m->get('llm_audit_writable'), 1, 'a trail');
ok($t->reload($conf =~ s/(%%KEYS%%)/$1 llm_audit off;/r), 'none any more');
$m = scrape('without a trail it is well-formed');
is($m->get($_), undef, "no $_")
    for qw(llm_audit_writable llm_audit_lag_seconds llm_audit_unsigned_seconds);

# configurations

for my $case (
    ['in the open', sub { s/(= \/open \{) llm_auth off;/$1/ },
     qr/"llm_metrics" would be open to everybody/],
    ['twice', sub { s/(= \/open \{ llm_auth off;)/$1 llm_metrics;/ },
     qr/"llm_metrics" directive is duplicate/],
    ['with a parameter', sub { s/off; llm_metrics;/off; llm_metrics on;/ },
     qr/invalid number of arguments in "llm_metrics"/],
) {
    my ($what, $change, $error) = @$case;
    local $_ = $conf;
    $change->();
    $r = $t->config_test($_);
    isnt($r->{code}, 0, "$what: refused");
    like($r->{err}, $error, "$what: with the reason");
}

$r = $t->config_test(<<'END');
%%MAIN%%
http {
    %%HTTP%%
    server { listen 127.0.0.1:%%PORT_0%%;
             location / { llm_auth off; llm_metrics; } }
}
END
like($r->{err}, qr/"llm_metrics" needs the directive "llm_store" or/,
     'without anything to count');

$t->conf($conf);
$t->done;
