#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# kill -9 of workers and of the engine under load, at any moment: each answer
# of which a client got a byte has its opening record, and the trail is whole.
#
# environment: LLM_AUDIT_KILLS: how many, 60 by default, 1,000 with LLM_SLOW=1

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;
use LLM::Upstream;
use Time::HiRes qw(time sleep);

my $kills = $ENV{LLM_AUDIT_KILLS} || ($ENV{LLM_SLOW} ? 1000 : 60);
my $t = LLM::Test->new(timeout => 120 + $kills);

$t->init;

my ($key) = $t->key(client => 'acme', role => 'user');
my ($admin) = $t->key(client => 'boss', role => 'admin');

$t->file('html/page', "page\n");

my $up = LLM::Upstream->new($t, 1, sub {
    my ($request) = @_;
    my $up = 'LLM::Upstream';
    return $up->stream(map { ({ token => $_ }, \0.01) } 1 .. 5)
        if $request->{uri} =~ /stream/;
    return $up->json({ text => 'x' x 20_000 });
});

$t->conf(<<'END')->start;
%%MAIN%%
worker_processes 2;
http {
    access_log off;
    %%KEYS%%
    llm_engine demo {
        model %%DEMO%%; device cpu; threads 1; context 512; kv_cache 32m;
    }
    server {
        listen 127.0.0.1:%%PORT_0%%;
        root %%DIR%%/html;
        location /page { llm_auth on; }
        location /v1/ { llm_auth on; llm_pass demo; }
        location /up/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%; }
        location /raw/ { llm_auth on; proxy_pass http://127.0.0.1:%%PORT_1%%;
                         proxy_buffering off; }
        location /admin/ { llm_auth on; llm_admin; }
        location ~ /(healthz|readyz)$ { llm_auth off; llm_pass demo; }
    }
}
END

my $end = $t->dir . '/end';

# A client's notes, a line each: the id of what it got a byte of, and whether
# it got all.  A file, so that nothing is lost with it.

sub asks {
    my ($n) = @_;
    my %ask = (model => 'demo', prompt => "Once $n", max_tokens => 10);

    return (
        { uri => '/v1/completions', body => \%ask },
        { uri => '/page' },
        { uri => '/v1/completions', body => { %ask, stream => \1 } },
        { uri => '/up/x', body => { prompt => 'a' } },
        { uri => '/page', key => 'sk-no' },
        { uri => '/raw/stream' },
        { uri => '/admin/self', key => $admin },
    );
}

sub client {
    my ($n) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    $SIG{ALRM} = 'DEFAULT';
    alarm 100 + $kills;
    srand $n;
    open my $fh, '>>', $t->dir . "/notes.$n" or POSIX::_exit(2);

    my @asks = asks($n);

    for (my $i = $n; !-e $end; $i++) {
        my $c = $t->client(key => $key, %{ $asks[$i % @asks] });
        $c->wait(15);

        my ($id) = (($c->{head} // '') . $c->{in})
                   =~ /X-Request-Id: ([0-9a-f]{32})/i;

        syswrite $fh, join(' ', $id // '-', $c->{status}, $c->{complete},
                           $c->{in} eq '' ? 0 : 1,
                           $asks[$i % @asks]{uri}) . "\n";
    }

    POSIX::_exit(0);
}

my %client = map { (client($_) => 1) } 1 .. 8;
my ($killed, $engines) = (0, 0);
my $late = time + 60 + $kills / 2;

while ($killed < $kills && time < $late) {
    sleep 0.02 + rand 0.15;

    if (rand() < 0.1 && $t->pids('engine')) {
        eval { $t->kill_role('engine', 0); $engines++; $killed++ };

    } elsif (my @workers = $t->pids('worker')) {
        eval { $t->kill_role('worker', int rand @workers); $killed++ };
    }
}

$t->file('end', '');
waitpid $_, 0 for keys %client;

is($killed, $kills, "$kills processes were killed, of these $engines engines");
ok((wait_for { $t->pids('worker') == 2 } 20), 'both workers are back');

my (%got, $bytes, $whole, %status);

for my $file (glob $t->dir . '/notes.*') {
    for my $line (split /\n/, slurp($file)) {
        my ($id, $status, $complete, $more) = split / /, $line;
        $got{$id} = 1 if $id ne '-';
        $status{$status}++;
        $whole += $complete;
        $bytes++ if $id eq '-' && ($status || $more);
    }
}

diag(join ', ', map { "$_: $status{$_}" } sort keys %status)
    if $ENV{TEST_KEEP};
cmp_ok($whole, '>', $kills, "$whole answers were whole");
is($bytes // 0, 0, 'none began without an id');
is(join(' ', grep { !/^(0|200|401|500|503)$/ } keys %status), '',
   'none was wrong');

$t->quit;

my $r = $t->llmctl('audit', 'query', $t->keys_options, '--limit', 0,
                   '--json', { timeout => 60 });
is($r->{code}, 0, 'the trail is read') or diag($r->{err});

my %known = map { decode_json($_)->{request} => 1 } split /\n/, $r->{out};
my @missing = grep { !$known{$_} } keys %got;

is(scalar @missing, 0, 'of ' . keys(%got) . ' answers each has its record')
    or diag(join ' ', splice @missing, 0, 5);

$r = $t->llmctl('audit', 'verify', $t->keys_options, { timeout => 60 });
is($r->{code}, 0, 'the trail is whole') or diag($r->{out}, $r->{err});

# the stores of one that was killed are good

$t->start;
is($t->get('/page', key => $key)->{status}, 200, 'it goes on');

$t->done;
