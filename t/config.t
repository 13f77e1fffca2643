#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# Configurations, secrets, stores and models that are wrong: nginx -t refuses
# each with the file and the place, and nothing starts.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use File::Copy ();

my $t = LLM::Test->new(timeout => 120);
my $dir = $t->dir;
my $demo = $t->top . '/t/models/demo';

$t->init;

my $keys = '%%KEYS%%';
my $engine = 'llm_engine demo { model %%DEMO%%; }';
my $location = 'location /v1/ { llm_auth on; llm_pass demo; }';


sub conf {
    my (%o) = @_;

    my $keys = $o{keys} // $keys;
    my $engine = $o{engine} // $engine;
    my $location = $o{location} // $location;

    return <<"END";
%%MAIN%%
http {
    %%HTTP%%
    $keys
    $engine
    server {
        listen 127.0.0.1:%%PORT_0%%;
        $location
    }
}
END
}


# Every case is refused with a line that names what and where.
sub refused {
    my ($name, $like, %o) = @_;

    my $r = $t->config_test(conf(%o));

    ok($r->{code} == 1 && $r->{signal} == 0, "$name: refused")
        or diag("code $r->{code}, signal $r->{signal}");
    like($r->{err}, $like, "$name: says why");
    like($r->{err}, qr/\[emerg\].*(?:nginx\.conf:\d+|\Q$dir\E|llm_)/,
         "$name: says where");
    unlike($r->{err}, qr/\bsk-[0-9a-f]/, "$name: no key");
}


is($t->config_test(conf())->{code}, 0, 'a good configuration');


# the one to start from, with the paths of this test

my $example = slurp($t->top . '/conf.example');

$example =~ s{^user .*}{$> == 0 ? 'user root;' : ''}me;
$example =~ s{modules/ngx_http_llm_module\.so}{%%MODULE%%};
$example =~ s{/run/nginx-llm\.pid}{%%DIR%%/nginx.pid};
$example =~ s{/var/log/nginx/llm-}{%%DIR%%/}g;
$example =~ s{/var/lib/nginx-llm/store}{%%DIR%%/store};
$example =~ s{/etc/nginx-llm/secret}{%%DIR%%/secret};
$example =~ s{/usr/share/nginx-llm/demo}{%%DEMO%%};
$example =~ s{8080}{%%PORT_0%%};
$example =~ s/^http \{\n/http {\n%%HTTP%%/m;

my $good = $t->config_test($example);
is($good->{code}, 0, 'conf.example is good') or diag($good->{err});

my %docs = map { /^(\w+)\n(.*)/s ? ($1 => $2) : () }
           split /^## /m, slurp($t->top . '/docs/directives.md');

for my $name (sort map { /ngx_string\("(llm_\w+)"\),\s*NGX_HTTP_/g }
              map { slurp($_) } glob $t->top . '/ngx_module/*.c')
{
    like($docs{$name} // '',
         qr/\| Syntax .*\| Default .*\| Context .*\| Since .*\*Reload\*/s,
         "$name is documented");
}


# directives

for my $case (
    ['no llm_auth', qr/open to everybody/,
        location => 'location / { llm_pass demo; }'],
    ['no engine', qr/no llm_engine "other"/,
        location => 'location / { llm_auth off; llm_pass other; }'],
    ['no store', qr/"llm_store"/,
        keys => 'llm_secret file:%%DIR%%/secret;'],
    ['no secret', qr/"llm_secret"/, keys => 'llm_store %%DIR%%/store;'],
    ['two stores', qr/duplicate/,
        keys => "$keys llm_store %%DIR%%/store;"],
    ['a tiny store', qr/size=/,
        keys => 'llm_store %%DIR%%/store size=1; '
            . 'llm_secret file:%%DIR%%/secret;'],
    ['a role', qr/role=user/,
        location => 'location / { llm_auth on role=root; }'],
    ['auth maybe', qr/"on" or "off"/,
        location => 'location / { llm_auth maybe; }'],
    ['two engines of a name', qr/duplicate llm_engine/,
        engine => $engine x 2],
    ['an engine without a model', qr/has no "model"/,
        engine => 'llm_engine demo { threads 1; }'],
) {
    refused(@$case);
}

for my $parameter ('device cuda', 'device gpu', 'quantize int3',
                   'context 0', 'context -1', 'context 99999999999999999999',
                   'max_batch 0', 'max_batch x', 'queue -5', 'kv_cache 1',
                   'kv_cache 99999999999999999999g', 'threads 0',
                   'threads 100000', 'colour blue', 'context', 'threads 1 2')
{
    my ($word) = $parameter =~ /^(\w+)/;
    refused("\"$parameter\"", qr/$word/,
            engine => "llm_engine demo { model %%DEMO%%; $parameter; }");
}


# secrets

for my $case (
    ['an empty secret', '', 0600],
    ['a short secret', 'abc', 0600],
    ['a constant secret', 'a' x 64, 0600],
    ['a default secret', "changeme" x 5, 0600],
    ["a secret for all to read", slurp("$dir/secret"), 0644],
) {
    my ($name, $text, $mode) = @$case;

    chmod $mode, $t->file('weak', $text);
    refused($name, qr/llm_secret/,
            keys => 'llm_store %%DIR%%/store; llm_secret file:%%DIR%%/weak;');
    unlink "$dir/weak";
}

refused('no secret file', qr/llm_secret.*none/,
        keys => 'llm_store %%DIR%%/store; llm_secret file:%%DIR%%/none;');


# stores

refused('no store there', qr/llmctl init/,
        keys => 'llm_store %%DIR%%/none; llm_secret file:%%DIR%%/secret;');


# models: each case changes one file of a copy of the demo model

sub model {
    my ($name, $change) = @_;

    my $model = "$dir/model";

    mkdir $model;
    for my $file (glob "$demo/*") {
        my ($base) = $file =~ m{([^/]+)$};
        unlink "$model/$base";
        # the weights are read only, a link saves the copy
        $base =~ /safetensors$/ ? symlink $file, "$model/$base"
                                : File::Copy::copy($file, "$model/$base");
    }

    $change->($model);
    refused($name, qr/\Q$model\E/,
            engine => "llm_engine demo { model $model; }");
}

sub edit {
    my ($file, $change) = @_;

    return sub {
        my $path = "$_[0]/$file";
        local $_ = slurp($path);
        $change->();
        unlink $path;
        $t->file($path, $_);
    };
}

refused('no model', qr/none/, engine => 'llm_engine demo { model /none; }');
refused('a file as a model', qr/config\.json/,
        engine => "llm_engine demo { model $demo/config.json; }");

model("no $_", do { my $file = $_; sub { unlink "$_[0]/$file" } })
    for qw(config.json tokenizer.json model.safetensors);

model('config.json: empty', edit('config.json', sub { $_ = '' }));
model('config.json: cut', edit('config.json', sub { substr $_, 100, -1, '' }));
model('config.json: a list', edit('config.json', sub { $_ = '[]' }));
model('config.json: deep', edit('config.json', sub { $_ = '[' x 100_000 }));
model('config.json: text for a number',
      edit('config.json', sub { s/("hidden_size": *)\d+/$1"many"/ or die }));
model('config.json: a huge number',
      edit('config.json', sub { s/("hidden_size": *)\d+/${1}4e18/ or die }));
model('config.json: zero heads',
      edit('config.json',
           sub { s/("num_attention_heads": *)\d+/${1}0/ or die }));
model('config.json: another architecture',
      edit('config.json', sub { s/LlamaForCausalLM/OtherForCausalLM/ or die }));
model('config.json: other shapes than the weights',
      edit('config.json',
           sub { s/("intermediate_size": *)\d+/${1}64/ or die }));
model('tokenizer.json: empty', edit('tokenizer.json', sub { $_ = '' }));
model('tokenizer.json: cut',
      edit('tokenizer.json', sub { substr $_, 1000, -1, '' }));
model('tokenizer.json: a list', edit('tokenizer.json', sub { $_ = '[]' }));
model('tokenizer.json: another kind',
      edit('tokenizer.json', sub { s/"BPE"/"Unigram"/ or die }));
model('model.safetensors: empty',
      edit('model.safetensors', sub { $_ = '' }));
model('model.safetensors: cut',
      edit('model.safetensors', sub { substr $_, -1000, 1000, '' }));
model('model.safetensors: a header longer than the file',
      edit('model.safetensors', sub { substr $_, 0, 8, "\xff" x 7 . "\x7f" }));
model('model.safetensors: no JSON',
      edit('model.safetensors', sub { substr $_, 8, 1, '!' }));

is(scalar($t->pids('master')), 0, 'nothing has started');

$t->done;
