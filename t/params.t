#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Parameters of an engine at run time: sampling defaults and limits, max_batch
# and the queue, by HTTP and by llmctl; validated, kept, and recorded with who
# changed what.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 120);
$t->init;

my ($op, $op_id) = $t->key(client => 'ops', role => 'operator');
my ($admin) = $t->key(client => 'boss', role => 'admin');

my $conf = <<'END';
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    llm_engine demo { model %%DEMO%%; max_batch 8; queue 4; }
    llm_engine other { model %%DEMO%%; }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /v1/ { llm_auth on; llm_pass demo; }
        location /other/v1/ { llm_auth on; llm_pass other; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location /admin/ { llm_auth on; llm_admin; }
    }
}
END
$t->conf($conf)->start;

sub ready { return wait_for { $t->get('/readyz')->{status} == 200 } }

sub patch {
    my ($set) = @_;
    return $t->admin('PATCH', 'params', { engine => 'demo', %$set },
                     key => $op);
}

sub shown {
    my ($engine) = @_;
    my $list = $t->admin('GET', 'params', undef, key => $op)->json->{data};
    return (grep { $_->{engine} eq $engine } @$list)[0]{params};
}

sub complete {
    my ($set, $uri) = @_;
    return $t->post($uri // '/v1/completions', {
        model => $uri ? 'other' : 'demo', prompt => 'Once upon a time',
        ignore_eos => JSON::PP::true, %$set }, key => $op);
}

# refused for its length, once there is a place to be judged in
sub too_long {
    my ($n) = @_;
    return wait_for { complete({ max_tokens => $n })->{status} == 400 };
}

sub tokens { return $_[0]->json->{usage}{completion_tokens} }

ready();

# what is not set is null; what is set is shown, of its engine only

is_deeply([grep { defined } values %{ shown('demo') }], [],
          'nothing is set at first');

my $r = patch({ max_tokens => 7, temperature => 0 });
is($r->{status}, 200, 'two are set') or diag($r->{body});
is(shown('demo')->{max_tokens}, 7, 'and shown');
is(shown('demo')->{temperature}, 0, 'a zero too');
is(shown('other')->{max_tokens}, undef, 'the other engine keeps its own');

# defaults count where a request says nothing

ok(wait_for { tokens(complete({})) == 7 }, 'max_tokens is a default');
is(tokens(complete({ max_tokens => 9 })), 9, 'which a request may change');
is(complete({})->text, complete({})->text, 'temperature 0 is greedy');
is(tokens(complete({ max_tokens => 3 }, '/other/v1/completions')), 3,
   'the other engine goes on');

# limits hold whatever a request says

is(patch({ max_tokens_limit => 20, n_limit => 2 })->{status}, 200,
   'limits are set');
ok(wait_for { complete({ max_tokens => 21 })->{status} == 400 },
   'more tokens than the limit');
$r = complete({ max_tokens => 21 });
is($r->json->{error}{param}, 'max_tokens', 'the field is named');
like($r->json->{error}{message}, qr/\b20\b/, 'and the limit');
is(complete({ max_tokens => 20 })->{status}, 200, 'as many as the limit');
is(complete({ max_tokens => 2, n => 3 })->{status}, 400, 'more choices');

# what is wrong is refused, whole

my $before = shown('demo');

for my $bad ({ max_batch => 0 }, { max_batch => 1000 }, { queue => -1 },
             { temperature => 'hot' }, { temperature => -1 },
             { top_p => 2 }, { max_tokens => 1.5 }, { n_limit => 0 },
             { speed => 9 }, { max_batch => JSON::PP::true },
             { max_tokens => 5, top_k => -5 })
{
    $r = patch($bad);
    is($r->{status}, 400, encode_json($bad) . ' is refused')
        or diag($r->{body});
}

is($t->admin('PATCH', 'params', { engine => 'none', max_batch => 1 },
             key => $op)->{status}, 404, 'an unknown engine');
is($t->admin('PATCH', 'params', { max_batch => 1 }, key => $op)->{status},
   400, 'no engine, where there are two');
is_deeply(shown('demo'), $before, 'and nothing changed');

# a queue of none: what does not run is refused

is(patch({ max_batch => 1, queue => 0 })->{status}, 200,
   'one at a time, none waits');
ok(wait_for {
    my @two = map { $t->client(uri => '/v1/completions', key => $op, body => {
        model => 'demo', prompt => 'Once', max_tokens => 20, n => 1,
        ignore_eos => JSON::PP::true }) } 1 .. 4;
    LLM::Client->pump(\@two, 20);
    grep { $_->{status} == 503 } @two;
}, 'the others are told to come back');

# kept over a reload, a restart, and told by llmctl

$t->reload;
ready();
ok(too_long(21), 'kept over a reload');

$t->quit;
$t->start;
ready();
ok(too_long(21), 'kept over a restart');

$r = $t->llmctl('params', 'show', 'demo', $t->keys_options, '--json');
is($r->{code}, 0, 'llmctl shows them') or diag($r->{err});
like($r->{out}, qr/"max_tokens_limit":\s*20\b/, 'as they are');

$r = $t->llmctl('params', 'set', 'demo', 'max_tokens_limit=30',
                $t->keys_options);
is($r->{code}, 0, 'llmctl sets one') or diag($r->{err});
ok(wait_for { complete({ max_tokens => 30 })->{status} == 200 },
   'a running nginx takes it over');
ok(too_long(31), 'as it is');

# unset again

is(patch({ map { $_ => undef } qw(max_tokens_limit n_limit max_batch queue
                                  max_tokens temperature) })->{status}, 200,
   'null takes them back');
ok(wait_for { complete({ max_tokens => 40 })->{status} == 200 },
   'the configuration counts again');

# who changed what

my @log = @{ $t->admin('GET', 'changes?limit=100', undef, key => $admin)
               ->json->{data} };
my ($first) = grep { $_->{action} eq 'params.set' } reverse @log;
is($first->{actor}, $op_id, 'the log has who');
is($first->{target}, 'demo', 'which engine');
like($first->{detail}, qr/max_tokens.*7/, 'what');
ok(scalar(grep { $_->{action} eq 'params.set' && $_->{actor} =~ /^llmctl:/ }
          @log), 'and llmctl\'s user');

$t->done;
