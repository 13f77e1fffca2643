package LLM::Test;

# Copyright (C) nginx-llm contributors
#
# Black-box tests over the stock nginx, one instance a test:
#
#     use LLM::Test;                  # strict, warnings, Test::More as well
#
#     my $t = LLM::Test->new(timeout => 60);
#     $t->init;                       # a store and a secret
#     my $key = $t->key(client => 'acme', role => 'user');
#     $t->conf(<<'END')->start;
#     %%MAIN%%
#     http {
#         %%HTTP%%
#         ...
#         server { listen 127.0.0.1:%%PORT_0%%; ... }
#     }
#     END
#     my $r = $t->post('/v1/completions', { prompt => 'a' }, key => $key);
#     is($r->{status}, 200, 'an answer');
#     $t->done;                       # the checks that every test ends with
#
# In a configuration and in files:
#     %%MAIN%%      load_module, pid, error_log, events (and user, as root)
#     %%HTTP%%      access_log, paths of temporary files
#     %%KEYS%%      llm_store and llm_secret of init()
#     %%PORT_n%%    a port of 127.0.0.1 that is this test's until its end
#     %%DIR%% %%MODULE%% %%DEMO%% %%MODELS%%
#
# done() fails the test for an [alert], [crit] or [emerg] in the error log or
# a sanitizer's report that expect_log() did not announce, for a process left
# behind, and for shared memory left behind.
#
# nginx runs in a process group of its own.  A watchdog ends that group when
# the test's time is up or the test is gone, by whatever way.
#
# environment: LLM_BUILD, NGINX_BIN; LLM_SANITIZE=1: the module has ASan,
# whose runtime is preloaded; TEST_KEEP=1: the test's folder stays.

use strict;
use warnings;

use Cwd ();
use File::Basename qw(dirname);
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Socket qw(SOL_SOCKET SO_REUSEADDR INADDR_LOOPBACK AF_INET SOCK_STREAM
              pack_sockaddr_in unpack_sockaddr_in);
use Test::More;
use Time::HiRes qw(time sleep);

use LLM::Client;

use constant {
    START_TIME => 20,       # seconds; a loaded machine with a sanitizer
    STOP_TIME  => 20,
};

our $top = Cwd::abs_path(dirname(__FILE__) . '/../../..');
my $build = $ENV{LLM_BUILD} || "$top/build";
my @instances;


sub import {
    my $caller = caller;

    strict->import;
    warnings->import;
    Test::More->export_to_level(1);

    no strict 'refs';
    *{"${caller}::$_"} = \&{$_}
        for qw(decode_json encode_json wait_for slurp);
}


sub new {
    my ($class, %o) = @_;

    $ENV{PATH} .= ':/usr/sbin:/sbin';
    # a variable of nginx's own, for binary upgrades
    delete $ENV{NGINX};
    umask 022;

    my $self = bless {
        timeout => 60, port => [], sockets => [], expected => [], killed => {},
        owner => $$, seen => {}, %o,
        dir => File::Temp::tempdir('llm.XXXXXX', DIR => '/tmp'),
        shm => { map { $_ => 1 } glob '/dev/shm/*' },
    }, $class;

    chmod 0755, $self->{dir};
    mkdir "$self->{dir}/$_" for qw(tmp html);
    push @instances, $self;

    $SIG{ALRM} = sub {
        diag("time is up after $self->{timeout} s");
        $self->diag_log;
        exit 1;                     # END ends nginx
    };
    $SIG{INT} = $SIG{TERM} = sub { exit 1 };
    alarm $self->{timeout};
    $self->_watchdog;

    return $self;
}


sub decode_json { return JSON::PP::decode_json($_[0]) }
sub encode_json { return JSON::PP->new->utf8->canonical->encode($_[0]) }

sub dir    { return $_[0]{dir} }
sub top    { return $top }
sub build  { return $build }
sub module { return "$build/ngx_http_llm_module.so" }
sub python { return $ENV{LLM_PYTHON} }


sub slurp {
    my ($file) = @_;

    open my $fh, '<:raw', $file or return '';
    local $/;
    return scalar(<$fh>) // '';
}


# A condition that comes true by itself; checks cheaply and often.
sub wait_for(&;$) {
    my ($cond, $timeout) = @_;

    my $end = time + ($timeout // 10);

    while (1) {
        my $got = $cond->();
        return $got if $got;
        return 0 if time > $end;
        sleep 0.02;
    }
}


# ports

# Bound with SO_REUSEADDR and not listening: nginx may bind it again, nothing
# that asks the kernel for any port will get it.
sub port {
    my ($self, $n) = @_;

    while (@{ $self->{port} } <= $n) {
        socket(my $socket, AF_INET, SOCK_STREAM, 0) or die "socket: $!";
        setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) or die $!;
        bind($socket, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $!;

        push @{ $self->{port} }, (unpack_sockaddr_in(getsockname $socket))[0];
        push @{ $self->{sockets} }, $socket;
    }

    return $self->{port}[$n];
}


# files

sub fill {
    my ($self, $text) = @_;

    my $dir = $self->{dir};
    my $user = $> == 0 ? "user root;\n" : '';

    my %value = (
        MAIN => "${user}load_module %%MODULE%%;\npid $dir/nginx.pid;\n"
            . "error_log $dir/error.log info;\n"
            . "events { worker_connections 4096; }\n"
            . "worker_rlimit_nofile 8192;\n",
        HTTP => "access_log $dir/access.log;\n"
            . join('', map { "${_}_temp_path $dir/tmp/$_;\n" }
                   qw(client_body proxy fastcgi uwsgi scgi)),
        KEYS => "llm_store $dir/store;\nllm_secret file:$dir/secret;\n",
        DIR => $dir,
        MODULE => $self->module,
        DEMO => "$top/t/models/demo",
        MODELS => "$top/t/models",
    );

    $text =~ s/%%([A-Z]+)%%/$value{$1} \/\/ die "no %%$1%%"/ge for 1 .. 2;
    $text =~ s/%%PORT_(\d+)%%/$self->port($1)/ge;

    return $text;
}


sub file {
    my ($self, $name, $text) = @_;

    my $file = $name =~ m{^/} ? $name : "$self->{dir}/$name";

    File::Path::make_path(dirname($file));
    open my $fh, '>:raw', $file or die "$file: $!";
    print $fh $text;
    close $fh or die "$file: $!";

    return $file;
}


sub conf {
    my ($self, $text) = @_;

    $self->file('nginx.conf', $self->fill($text));
    return $self;
}


# programs

# { code, signal, out, err }.  o: stdin, env, timeout.
sub run {
    my ($self, $command, %o) = @_;

    my $n = ++$self->{runs};
    my $base = "$self->{dir}/run.$n";

    $self->file("$base.in", $o{stdin} // '');

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        open STDIN, '<', "$base.in";
        open STDOUT, '>', "$base.out";
        open STDERR, '>', "$base.err";
        setpgrp;
        %ENV = (%ENV, %{ $o{env} || {} });
        delete $ENV{NGINX};         # nginx reads inherited sockets there
        exec { $command->[0] } @$command
            or print STDERR "$command->[0]: $!\n";
        POSIX::_exit(127);
    }

    if (!wait_for { waitpid($pid, WNOHANG) == $pid } $o{timeout} // 30) {
        kill 'KILL', -$pid;
        waitpid $pid, 0;
        diag("timed out: @$command");
    }

    my $status = $?;
    my %result = (code => $status >> 8, signal => $status & 127,
                  out => slurp("$base.out"), err => slurp("$base.err"));
    unlink glob "$base.*";

    return \%result;
}


# Starts a program in a process group of its own and goes on; end_background()
# or the end of the test ends it.
sub background {
    my ($self, @command) = @_;

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgrp;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$self->{dir}/background.log";
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    syswrite $self->{watchdog}, "$pid\n";
    push @{ $self->{background} }, $pid;

    return $pid;
}


sub end_background {
    my ($self) = @_;

    for my $pid (splice @{ $self->{background} || [] }) {
        kill 'KILL', -$pid;
        waitpid $pid, 0;
    }
}


sub llmctl {
    my ($self, @args) = @_;

    my %o = ref $args[-1] ? %{ pop @args } : ();

    return $self->run(["$build/llmctl", @args], %o);
}


sub keys_options {
    my ($self) = @_;

    return ('--store', "$self->{dir}/store",
            '--secret', "file:$self->{dir}/secret");
}


# A store and a secret in the test's folder.
sub init {
    my ($self) = @_;

    my $r = $self->llmctl('init', $self->keys_options);
    die "llmctl init: $r->{err}" if $r->{code};

    return $self;
}


# A new key; args: more options for llmctl.  In list context with its id.
sub key {
    my ($self, %o) = @_;

    my $r = $self->llmctl('key', 'create', $self->keys_options,
        '--client', $o{client} // 'test', '--role', $o{role} // 'user',
        $o{expires} ? ('--expires', $o{expires}) : (), @{ $o{args} || [] });

    die "llmctl key create: $r->{err}" if $r->{code};

    my ($key) = $r->{out} =~ /\b(sk-[0-9a-f]{72})\b/;
    my ($id) = $r->{out} =~ /\b(key_[a-z0-9]+)\b/;
    die "llmctl key create printed no key" if !$key;

    return wantarray ? ($key, $id) : $key;
}


sub revoke {
    my ($self, $id) = @_;

    # revocation needs the store only
    return $self->llmctl('key', 'revoke', '--store', "$self->{dir}/store",
                         $id);
}


# nginx

sub nginx_command {
    my ($self, @args) = @_;

    return [$ENV{NGINX_BIN} || 'nginx', '-p', "$self->{dir}/",
            '-e', "$self->{dir}/error.log",
            '-c', "$self->{dir}/nginx.conf", @args];
}


sub _sanitizer {
    my ($self) = @_;

    return () if !$ENV{LLM_SANITIZE};

    my $cc = ($ENV{CC} || 'gcc') =~ /clang/ ? 'clang' : 'gcc';
    my $name = $cc eq 'gcc' ? 'libasan.so' : 'libclang_rt.asan-x86_64.so';
    chomp(my $library = `$cc -print-file-name=$name`);

    return (
        LD_PRELOAD => $library,
        ASAN_OPTIONS => join(':', grep { length } $ENV{ASAN_OPTIONS} // '',
                             "log_path=$self->{dir}/asan"),
        UBSAN_OPTIONS => join(':', grep { length } $ENV{UBSAN_OPTIONS} // '',
                              "log_path=$self->{dir}/asan"),
    );
}


# nginx -t: { code, out, err }; what is wrong with the configuration is in err
sub config_test {
    my ($self, $conf) = @_;

    $self->conf($conf) if defined $conf;

    my $r = $self->run($self->nginx_command('-t'),
                       env => { $self->_sanitizer }, timeout => START_TIME);
    $self->{skip_log} = length slurp("$self->{dir}/error.log");

    return $r;
}


# Starts nginx and waits until it accepts on every port of the configuration
# and /readyz is 200, or else /healthz says that the engine is ready, where it
# has one of these (o: ready => 0: does not wait for that).
sub start {
    my ($self, %o) = @_;

    $self->spawn;

    my $up = wait_for {
        $self->_check_alive or return 1;
        my $conf = slurp("$self->{dir}/nginx.conf");
        my %listen = map { $_ => 1 } $conf =~ /listen\s+127\.0\.0\.1:(\d+)/g;

        for my $port (keys %listen) {
            my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port",
                                          Timeout => 1) or return 0;
        }
        return 1;
    } START_TIME;

    if (!$up || !$self->{master}) {
        $self->diag_log;
        die "nginx did not start\n";
    }

    my $conf = slurp("$self->{dir}/nginx.conf");

    if ($o{ready} // $conf =~ m{ /(?:readyz|healthz)\b}) {
        wait_for { $self->ready } START_TIME
            or do { $self->diag_log; die "it is not ready\n" };
    }

    return $self;
}


# 1 when the model is loaded.
sub ready {
    my ($self) = @_;

    my $r = $self->get('/readyz');

    return 1 if $r->{status} == 200;

    $r = $self->get('/healthz') if $r->{status} == 404;

    return (($r->json // {})->{engine} // '') eq 'ready'
        && $r->{status} == 200;
}


# Starts nginx and waits for nothing.
sub spawn {
    my ($self) = @_;

    die "nginx runs\n" if $self->{master};

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgrp;
        open STDIN, '<', '/dev/null';
        # prove waits for the end of whatever holds its pipe
        open STDOUT, '>>', "$self->{dir}/stderr.log";
        open STDERR, '>&', \*STDOUT;
        %ENV = (%ENV, $self->_sanitizer);
        my $command = $self->nginx_command('-g', 'daemon off;');
        delete $ENV{NGINX};         # nginx reads inherited sockets there
        exec { $command->[0] } @$command
            or print STDERR "$command->[0]: $!\n";
        POSIX::_exit(127);
    }

    $self->{master} = $pid;
    push @{ $self->{groups} }, $pid;
    syswrite $self->{watchdog}, "$pid\n";

    return $self;
}


# Collects an ended master; 1 while it runs.
sub _check_alive {
    my ($self) = @_;

    my $pid = $self->{master} or return 0;

    return 1 if waitpid($pid, WNOHANG) == 0;
    $self->{status} = $?;
    delete $self->{master};

    return 0;
}


# Every process of this test's nginx, orphans too: pid => title.
sub processes {
    my ($self) = @_;

    my %group = map { $_ => 1 } @{ $self->{groups} || [] };
    my %found;

    for my $dir (glob '/proc/[0-9]*') {
        my ($state, $group) = slurp("$dir/stat") =~ /\) (\S) \d+ (\d+)/
            or next;
        next if $state eq 'Z' || !$group{$group};
        my $title = slurp("$dir/cmdline");
        $title =~ s/\0/ /g;
        $title =~ s/ +$//;
        $found{ substr $dir, 6 } = $title;
    }

    return \%found;
}


my %role = (
    master => qr/^nginx: master process/,
    worker => qr/^nginx: worker process$/,
    old_worker => qr/^nginx: worker process is shutting down/,
    engine => qr/^nginx: cache manager process$/,
    old_engine => qr/^nginx: cache manager process is shutting down/,
);

# Process ids of a role, ascending: master, worker, old_worker, engine.
sub pids {
    my ($self, $role) = @_;

    my $like = $role{$role} // die "no role $role";
    my $all = $self->processes;

    my @pids = sort { $a <=> $b } grep { $all->{$_} =~ $like } keys %$all;

    return @pids;
}


# Signals the n-th process of a role (0 is the first); returns its id.  An
# alert about its death is no failure.
sub kill_role {
    my ($self, $role, $n, $signal) = @_;

    my $pid = ($self->pids($role))[$n // 0]
        // die "no $role process to kill\n";

    $self->{killed}{$pid} = 1;
    kill $signal // 'KILL', $pid;

    return $pid;
}


# Another configuration, or the same; waits until new workers serve.  0: they
# did not come.
sub reload {
    my ($self, $conf) = @_;

    $self->conf($conf) if defined $conf;

    my %before = map { $_ => 1 } $self->pids('worker');

    kill 'HUP', $self->{master};

    return wait_for {
        my @workers = $self->pids('worker');
        return @workers && !grep { $before{$_} } @workers;
    } START_TIME;
}


# Graceful end.  0: it took too long, and was killed.
sub quit {
    my ($self, $timeout) = @_;

    return $self->_end('QUIT', $timeout // STOP_TIME);
}


sub stop {
    my ($self) = @_;

    return $self->_end('TERM', STOP_TIME);
}


sub _end {
    my ($self, $signal, $timeout) = @_;

    my $pid = $self->{master} or return 1;

    kill $signal, $pid;

    my $ended = wait_for {
        !$self->_check_alive && !%{ $self->processes }
    } $timeout;

    if (!$ended) {
        my $left = $self->processes;
        diag("left $timeout s after $signal: "
             . join(', ', map { "$_ $left->{$_}" } sort keys %$left));
        $self->_kill_all;
    }

    return $ended;
}


sub _kill_all {
    my ($self) = @_;

    $self->end_background;

    kill 'KILL', -$_ for @{ $self->{groups} || [] };
    wait_for { $self->_check_alive; !%{ $self->processes } } 5;
}


# requests

# The request as LLM::Client wants it.  body: text, or a structure to encode.
# o: key (Authorization: Bearer), headers, port (its number in PORT_n), tls.
sub request {
    my ($self, %o) = @_;

    my @headers = @{ $o{headers} || [] };

    push @headers, "Authorization: Bearer $o{key}" if defined $o{key};

    return (%o, headers => \@headers, port => $self->port($o{port} // 0),
            ref $o{body} ? (body => encode_json($o{body})) : ());
}


# Sends, does not wait: an LLM::Client.
sub client {
    my ($self, %o) = @_;

    return LLM::Client->new($self->request(%o));
}


sub get {
    my ($self, $uri, %o) = @_;

    my $client = $self->client(uri => $uri, %o);
    $client->wait($o{timeout} // 20);

    return $client;
}


sub post {
    my ($self, $uri, $body, %o) = @_;

    return $self->get($uri, body => $body, %o);
}


# The administration API: a path below /admin/, with a body or none.
# o: key, totp (a code), idem (an idempotency key).
sub admin {
    my ($self, $method, $path, $body, %o) = @_;

    my @headers = @{ $o{headers} || [] };

    push @headers, "X-LLM-TOTP: $o{totp}" if defined $o{totp};
    push @headers, "Idempotency-Key: $o{idem}" if defined $o{idem};

    return $self->get("/admin/$path", %o, method => $method,
                      headers => \@headers,
                      defined $body ? (body => $body) : ());
}


# A chat completion with the engine demo.
sub chat {
    my ($self, $message, %o) = @_;

    my %body = (model => 'demo',
                messages => [ { role => 'user', content => $message } ],
                %{ delete $o{set} || {} });

    return $self->post('/v1/chat/completions', \%body, %o);
}


# Any bytes; all bytes of the answer until the server closes.
sub raw {
    my ($self, $bytes, %o) = @_;

    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1:' . $self->port($o{port} // 0), Timeout => 5)
        or return '';

    local $SIG{PIPE} = 'IGNORE';
    my ($end, $answer) = (time + ($o{timeout} // 10), '');
    my $select = IO::Select->new($socket);

    $socket->blocking(1);
    print $socket $bytes;
    $socket->flush;
    shutdown $socket, 1 if $o{shutdown};

    while ((my $left = $end - time) > 0) {
        next if !$select->can_read($left);
        my $n = sysread $socket, $answer, 65536, length $answer;
        last if !$n;
    }

    return $answer;
}


# curl, for HTTP/2 and as a client of its own: { code, out, err }
sub curl {
    my ($self, @args) = @_;

    my %o = ref $args[-1] ? %{ pop @args } : ();

    return $self->run(['curl', '-sS', '-k', '-N', @args], %o);
}


# curl's output lines with their times of arrival: [ [time, line], ... ]
sub curl_lines {
    my ($self, @args) = @_;

    my @lines;
    my $pid = open(my $pipe, '-|', 'curl', '-sS', '-k', '-N',
                         '--max-time', 30, @args)
        or die "curl: $!";

    while (my $line = <$pipe>) {
        chomp $line;
        push @lines, [time, $line];
    }

    close $pipe;
    return \@lines;
}


# A self-signed certificate for localhost: %%DIR%%/cert.pem, key.pem.
sub certificate {
    my ($self) = @_;

    my $r = $self->run(['openssl', 'req', '-x509', '-newkey', 'ec',
        '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
        '-subj', '/CN=localhost', '-keyout', "$self->{dir}/key.pem",
        '-out', "$self->{dir}/cert.pem"]);
    die "openssl: $r->{err}" if $r->{code};

    return $self;
}


# the error log

sub error_log {
    my ($self) = @_;

    return slurp("$self->{dir}/error.log");
}


# A line of the log that would fail the test, and must come.
sub expect_log {
    my ($self, $like) = @_;

    push @{ $self->{expected} }, { like => $like, seen => 0 };
    return $self;
}


sub diag_log {
    my ($self) = @_;

    for my $file ("$self->{dir}/error.log", "$self->{dir}/stderr.log",
                  glob "$self->{dir}/asan.*")
    {
        my @lines = split /\n/, slurp($file);
        splice @lines, 0, @lines - 30 if @lines > 30;
        diag("$file:\n" . join "\n", @lines) if @lines;
    }
}


# Log lines that nothing announced.
sub _bad_lines {
    my ($self) = @_;

    my @bad;
    my $text = substr $self->error_log, $self->{skip_log} // 0;

    LINE:
    for my $line (split /\n/, $text . slurp("$self->{dir}/stderr.log")) {
        for my $expected (@{ $self->{expected} }) {
            if ($line =~ $expected->{like}) {
                $expected->{seen}++;
                next LINE;
            }
        }

        next if $line !~ /\[(?:alert|crit|emerg)\]|Sanitizer|runtime error:/;
        next if $line =~ /process (\d+) exited on signal/
                && $self->{killed}{$1};
        push @bad, $line;
    }

    return @bad;
}


# Ends nginx, makes the final checks and closes the plan.
sub done {
    my ($self) = @_;

    ok($self->stop, 'nginx ended in time');

    my @left = values %{ $self->processes };
    is("@left", '', 'no process is left behind');
    $self->_kill_all if @left;

    is(join("\n", $self->_bad_lines), '', 'nothing bad in the error log');

    for my $expected (@{ $self->{expected} }) {
        ok($expected->{seen}, "the log has $expected->{like}");
    }

    my @reports = glob "$self->{dir}/asan.*";
    is(scalar @reports, 0, 'no sanitizer report') if $ENV{LLM_SANITIZE};

    # of nginx only: other tests may use the place at the same time
    my @shm = grep { m{/nginx} && !$self->{shm}{$_} }
              glob '/dev/shm/*';
    is("@shm", '', 'no shared memory is left behind');

    $self->diag_log if !Test::More->builder->is_passing;
    $self->{finished} = 1;
    done_testing() if !Test::More->builder->has_plan
                      && !grep { !$_->{finished} } @instances;
}


# A process that outlives the test by a moment: it reads process groups from
# a pipe, and when the pipe ends or the time is up it kills them.
sub _watchdog {
    my ($self) = @_;

    pipe(my $read, my $write) or die "pipe: $!";

    my $parent = $$;
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(ALRM INT TERM);
        alarm 0;
        setpgrp;
        close $write;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';

        my @groups;
        local $SIG{ALRM} = sub {
            kill 'KILL', $parent, map { -$_ } @groups;
            POSIX::_exit(1);
        };
        alarm $self->{timeout} + 30;

        while (my $line = <$read>) {
            push @groups, $line =~ /^(\d+)$/;
        }

        kill 'KILL', -$_ for @groups;
        POSIX::_exit(0);
    }

    close $read;
    $self->{watchdog} = $write;
}


END {
    my $code = $?;

    alarm 0;

    for my $self (@instances) {
        next if $self->{owner} != $$;

        $self->_kill_all if !$self->{finished};
        close $self->{watchdog};

        if ($ENV{TEST_KEEP} || $code || !Test::More->builder->is_passing) {
            diag("kept: $self->{dir}") if -d $self->{dir};
        } else {
            File::Path::remove_tree($self->{dir});
        }
    }

    $? = $code;
}


1;
