package LLM::Upstream;

# Copyright (C) nginx-llm contributors
#
# A scripted model server behind proxy_pass: one process, many connections.
#
#     my $up = LLM::Upstream->new($t, 5, sub {
#         my ($request, $n) = @_;             # $n: 1 for the first
#         return $up->json({ ... });          # or a list of pieces
#     });
#     my @got = $up->requests;                # what it was sent so far
#
# A piece is text, or a reference to the seconds to wait before the next one.
# The handler runs in the server's process: what it changes is not seen here.
# A request is { method, uri, headers (lower case => [values]), body }; when
# nginx has closed its connection before the last piece, there is another
# entry { cut => uri }.

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time);


my $json = JSON::PP->new->latin1->canonical;


# o: cut => 1, notes of connections that nginx closed early
sub new {
    my ($class, $t, $port, $handler, %o) = @_;

    my $self = bless { %o, log => "$t->{dir}/upstream.$port.log", at => 0,
                       handler => $handler }, $class;

    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $t->port($port),
        Listen => 1024, ReuseAddr => 1, Blocking => 0)
        or die "upstream: $@";

    open my $log, '>>:raw', $self->{log} or die "$self->{log}: $!";
    $log->autoflush(1);

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(ALRM INT TERM);
        $SIG{PIPE} = 'IGNORE';
        alarm 0;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        # whoever waits for the test's end waits for its pipes
        open STDERR, '>>', "$t->{dir}/stderr.log";
        close $t->{watchdog};
        eval { $self->_serve($listen, $log); 1 } or print STDERR "$@";
        POSIX::_exit(1);
    }

    syswrite $t->{watchdog}, "$pid\n";
    push @{ $t->{background} }, $pid;

    return $self;
}


# An answer with a body and its length.
sub answer {
    my ($class, $status, $type, $body, @headers) = @_;

    return join("\r\n", "HTTP/1.1 $status OK", "Content-Type: $type",
                'Content-Length: ' . length $body, 'Connection: close',
                @headers, '', $body);
}


sub json {
    my ($class, $body, @headers) = @_;

    return $class->answer(200, 'application/json', $json->encode($body),
                          @headers);
}


# A stream: each structure is an event; text and waits go out as they are.
sub stream {
    my ($class, @events) = @_;

    return ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            . "Connection: close\r\n\r\n",
            map { ref eq 'HASH' ? 'data: ' . $json->encode($_) . "\n\n" : $_ }
                @events);
}


# All that were logged since the last call.
sub requests {
    my ($self) = @_;

    open my $log, '<:raw', $self->{log} or return;
    seek $log, $self->{at}, 0;

    my @got;

    while (my $line = <$log>) {
        last if $line !~ /\n\z/;
        push @got, $json->decode($line);
        $self->{at} = tell $log;
    }

    return @got;
}


# the server's process

sub _serve {
    my ($self, $listen, $log) = @_;

    my ($read, $write) = (IO::Select->new($listen), IO::Select->new);
    my %c;

    while (1) {
        my $now = time;
        my $wait = 10;

        for my $c (values %c) {
            next if !$c->{out};
            my $left = $c->{at} - $now;
            if ($left > 0) {
                $write->remove($c->{socket});
                $wait = $left if $left < $wait;
            } else {
                $write->add($c->{socket});
            }
        }

        my ($in, $out) = IO::Select->select($read, $write, undef, $wait);

        for my $socket (@{ $in || [] }) {

            if ($socket == $listen) {
                while (my $new = $listen->accept) {
                    $new->blocking(0);
                    $read->add($new);
                    $c{fileno $new} = { socket => $new, in => '', at => 0 };
                }
                next;
            }

            my $c = $c{fileno $socket};
            my $n = sysread $socket, my $data, 65536;

            next if !defined $n
                    && ($!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR});

            if (!$n) {
                $self->_note($log, { cut => $c->{uri} })
                    if $self->{cut} && $c->{out} && @{ $c->{out} };
                $self->_close($c, \%c, $read, $write);
                next;
            }

            $c->{in} .= $data;
            $self->_take($c, $log) if !$c->{out};
        }

        for my $socket (@{ $out || [] }) {
            my $c = $socket->opened && $c{fileno $socket} or next;
            $self->_close($c, \%c, $read, $write) if !_put($c);
        }
    }
}


sub _close {
    my ($self, $c, $all, $read, $write) = @_;

    $read->remove($c->{socket});
    $write->remove($c->{socket});
    delete $all->{fileno $c->{socket}};
    close $c->{socket};
}


# 0: all is sent
sub _put {
    my ($c) = @_;

    while (defined(my $piece = $c->{out}[0])) {

        if (ref $piece) {
            shift @{ $c->{out} };
            $c->{at} = time + $$piece;
            return 1;
        }

        my $n = syswrite $c->{socket}, $piece;

        return $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR} ? 1 : 0
            if !defined $n;

        if ($n < length $piece) {
            $c->{out}[0] = substr $piece, $n;
            return 1;
        }

        shift @{ $c->{out} };
    }

    return 0;
}


sub _take {
    my ($self, $c, $log) = @_;

    my $end = index $c->{in}, "\r\n\r\n";
    return if $end < 0;

    my ($line, @lines) = split /\r\n/, substr $c->{in}, 0, $end;
    my ($method, $uri) = split / /, $line;
    my %headers;

    for (@lines) {
        push @{ $headers{lc $1} }, $2 if /^([^:]+):\s*(.*)/;
    }

    my $body = substr $c->{in}, $end + 4;

    if (($headers{'transfer-encoding'}[0] // '') =~ /chunked/) {
        return if $body !~ /(?:^|\r\n)0\r\n\r\n\z/;
        my $whole = '';
        while ($body =~ s/^([0-9a-fA-F]+)[^\r\n]*\r\n//) {
            my $len = hex $1 or last;
            $whole .= substr $body, 0, $len, '';
            substr $body, 0, 2, '';
        }
        $body = $whole;

    } else {
        return if length $body < ($headers{'content-length'}[0] // 0);
    }

    my $request = { method => $method, uri => $uri, headers => \%headers,
                    body => $body };

    $c->{uri} = $uri;
    $self->_note($log, $request);
    $c->{out} = [ $self->{handler}->($request, ++$self->{n}) ];
}


sub _note {
    my ($self, $log, $what) = @_;

    syswrite $log, $json->encode($what) . "\n";
}


1;
