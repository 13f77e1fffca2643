#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# The clients that people have: curl, the openai package for Python, and a
# page in a browser that reads fetch()'s body.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

my $t = LLM::Test->new(timeout => 180);

$t->init;
my $key = $t->key;

$t->file('html/index.html', <<'END');
<!doctype html>
<meta charset="utf-8">
<script>
async function main() {
    const response = await fetch('/v1/chat/completions' + location.search, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json',
                   'Authorization': 'Bearer ' + location.hash.slice(1) },
        body: JSON.stringify({ model: 'demo', stream: true, temperature: 0,
            ignore_eos: true, max_tokens: 100,
            messages: [{ role: 'user', content: 'What is nginx-llm?' }] }),
    });
    const reader = response.body.pipeThrough(new TextDecoderStream())
                           .getReader();
    let all = '', reads = 0;

    for (;;) {
        const { value, done } = await reader.read();
        if (done) {
            break;
        }
        all += value;
        reads++;
    }

    const lines = all.split('\n').filter(l => l.startsWith('data: '))
                     .map(l => l.slice(6));
    const text = lines.filter(l => l != '[DONE]')
        .map(l => JSON.parse(l).choices[0].delta.content || '').join('');

    return { status: response.status, type: response.headers.get('content-type'),
             last: lines.at(-1), reads, text };
}

main().catch(e => ({ error: String(e) })).then(result =>
    fetch('/report?' + encodeURIComponent(JSON.stringify(result))));
</script>
END

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    %%HTTP%%
    %%KEYS%%
    types { text/html html; }
    log_format report '$args';
    llm_engine demo { model %%DEMO%%; }

    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;

        location /v1/ { llm_auth on; llm_pass demo; }
        location = /readyz { llm_auth off; llm_pass demo; }
        location = /report {
            access_log %%DIR%%/report.log report;
            return 204;
        }
    }
}
END

my $base = 'http://127.0.0.1:' . $t->port(0);
my %body = (model => 'demo', temperature => 0, max_tokens => 100,
            ignore_eos => \1,
            messages => [{ role => 'user', content => 'What is nginx-llm?' }]);
my $want = $t->post('/v1/chat/completions', \%body, key => $key)->text;

cmp_ok(length $want, '>', 50, 'there is text to compare with');


# curl, as the README has it

my $lines = $t->curl_lines("$base/v1/chat/completions",
    '-H', "Authorization: Bearer $key", '-H', 'Content-Type: application/json',
    '-d', encode_json({ %body, stream => \1 }));
my @data = map { $_->[1] =~ /^data: (.*)/ ? $1 : () } @$lines;

is(pop @data, '[DONE]', 'curl: [DONE]');
is(join('', map { decode_json($_)->{choices}[0]{delta}{content} // '' } @data),
   $want, 'curl: the text');

my $r = $t->curl('-w', '%{http_code}', "$base/v1/models",
                 '-H', "x-api-key: $key");
like($r->{out}, qr/"id": ?"demo".*200$/s, 'curl: the models, by x-api-key');


# openai

SKIP: {
    skip 'no openai package: make test installs it', 9
        if !$t->python
           || $t->run([$t->python, '-c', 'import openai'])->{code};

    my $script = $t->file('client.py', <<'END');
import json, sys, openai

base, key = sys.argv[1:3]
client = openai.OpenAI(base_url=base + '/v1', api_key=key, max_retries=0)
ask = dict(model='demo', temperature=0, max_tokens=100,
           messages=[{'role': 'user', 'content': 'What is nginx-llm?'}],
           extra_body={'ignore_eos': True})
out = {}

whole = client.chat.completions.create(**ask)
out['whole'] = whole.choices[0].message.content
out['finish'] = whole.choices[0].finish_reason
out['usage'] = whole.usage.completion_tokens

text, usage, ids = '', 0, set()
for chunk in client.chat.completions.create(
        **ask, stream=True, stream_options={'include_usage': True}):
    ids.add(chunk.id)
    if chunk.usage:
        usage = chunk.usage.completion_tokens
    for choice in chunk.choices:
        text += choice.delta.content or ''
out['stream'], out['stream_usage'], out['ids'] = text, usage, len(ids)

out['models'] = [m.id for m in client.models.list()]
out['completion'] = client.completions.create(
    model='demo', prompt='Hello', max_tokens=5).usage.completion_tokens

def error(**changes):
    try:
        other = client.with_options(api_key=changes.pop('key', key))
        other.chat.completions.create(**{**ask, **changes})
    except openai.APIStatusError as e:
        return [type(e).__name__, e.code]

out['errors'] = [error(key='sk-wrong'), error(model='other'),
                 error(temperature='hot')]
print(json.dumps(out))
END

    $r = $t->run([$t->python, $script, $base, $key], timeout => 60);
    is($r->{code}, 0, 'openai: no exception') or diag($r->{err});
    my $out = eval { decode_json($r->{out}) } // {};

    is($out->{whole}, $want, 'openai: an answer');
    is($out->{finish}, 'length', 'openai: finish_reason');
    is($out->{usage}, 100, 'openai: usage');
    is($out->{stream}, $want, 'openai: a stream');
    is($out->{stream_usage}, 100, 'openai: usage of a stream');
    is($out->{ids}, 1, 'openai: one id in a stream');
    is_deeply($out->{models}, ['demo'], 'openai: the models');
    is_deeply($out->{errors}, [['AuthenticationError', 'invalid_api_key'],
                               ['NotFoundError', 'model_not_found'],
                               ['BadRequestError', 'invalid_type']],
              'openai: errors');
}


# a browser

SKIP: {
    my ($chromium) = grep { !$t->run(['which', $_])->{code} }
                     qw(chromium chromium-browser google-chrome);
    skip 'no chromium', 4 if !$chromium;

    $t->background($chromium, '--headless=new', '--no-sandbox',
        '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
        '--disable-extensions', '--disable-background-networking',
        '--user-data-dir=' . $t->dir . '/chromium',
        "$base/index.html#$key");

    wait_for { -s $t->dir . '/report.log' } 90;
    $t->end_background;

    my ($report) = slurp($t->dir . '/report.log') =~ /^(.+)$/m;
    $report //= '{}';
    $report =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    $report = decode_json($report);

    is($report->{error}, undef, 'browser: no exception');
    is($report->{text}, $want, 'browser: the text');
    is($report->{last}, '[DONE]', 'browser: [DONE]');
    cmp_ok($report->{reads} // 0, '>', 1, 'browser: in more than one piece');
}

$t->done;
