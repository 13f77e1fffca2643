#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# A reload with another store, while requests of the old one run: each store
# gets what was used of its own keys.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;

my $t = LLM::Test->new(timeout => 60);
my $dir = $t->dir;

$t->init;
my ($old_admin) = $t->key(client => 'boss', role => 'admin');
my ($old, $old_id) = $t->key(client => 'old');

rename "$dir/$_", "$dir/$_.old" or die $! for qw(store secret);
$t->init;
my ($admin) = $t->key(client => 'boss', role => 'admin');
my ($new, $new_id) = $t->key(client => 'new',
                             args => ['--tokens-per-day', 1000]);
rename "$dir/$_", "$dir/$_.new" or die $! for qw(store secret);

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;
    my @usage = (usage => { prompt_tokens => 10, completion_tokens => 20,
                            total_tokens => 30 });

    return LLM::Upstream->stream({ choices => [], @usage }, \30)
        if $request->{uri} =~ /long/;
    return LLM::Upstream->json({ choices => [], @usage });
});

my $conf = <<'END';
%%MAIN%%
worker_processes 1;
http {
    %%HTTP%%
    llm_store %%DIR%%/store.NAME;
    llm_secret file:%%DIR%%/secret.NAME;
    server {
        listen 127.0.0.1:%%PORT_0%%;
        location /admin/ { llm_auth on; llm_admin; }
        location / {
            llm_auth on;
            proxy_buffering off;
            proxy_pass http://127.0.0.1:%%PORT_1%%;
        }
    }
}
END

sub of { return $conf =~ s/NAME/$_[0]/gr }

sub usage {
    my ($id, $key) = @_;
    my $r = $t->admin('GET', "keys/$id", undef, key => $key);
    return join '/', map { $_ // 0 } @{ $r->json->{usage} || {} }
        {qw(calls prompt_tokens completion_tokens)};
}

$t->conf(of('old'))->start;

for (1 .. 2) {
    my $long = $t->client(uri => '/long', key => $old, body => {});
    my $other = $t->client(uri => "/long", key => $old, body => {});
    ok($long->wait(10, sub { length $_[0]{body} }), 'a stream of the old one');
    ok($other->wait(10, sub { length $_[0]{body} }), "and another");
    ok($t->reload(of('new')), 'a reload with another store');

    # the old worker writes first, half a second from now
    $long->close;
    select undef, undef, undef, 0.1;
    is($t->post('/x', { max_tokens => 5 }, key => $new)->{status}, 200,
       'a call of the new one');

    # both have written by now
    select undef, undef, undef, 1.2;
    $other->close;
    ok(wait_for(sub { !$t->pids('old_worker') }), 'the old worker ends');

    ok($t->quit, 'so does the new one');
    $t->conf(of('new'))->start;
    is(usage($new_id, $admin), join('/', $_, $_ * 10, $_ * 20),
       'the new store has it');
    ok($t->quit, 'and the other');
    $t->conf(of('old'))->start;
    is(usage($old_id, $old_admin), join("/", 2 * $_, $_ * 20, $_ * 40),
       'the old store has what was its own');
}

$t->done;
