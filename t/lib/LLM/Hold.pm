package LLM::Hold;

# Copyright (C) nginx-llm contributors
#
# A process that holds the lock of a store's writers, as a stalled disk does:
#
#     my $hold = LLM::Hold->new($t);          # compiles it
#     my $hold = LLM::Hold->new($t, file => 'audit.mdb');     # of the trail
#     $hold->take;                            # true: it has the lock
#     $hold->let_go;

use strict;
use warnings;

use LLM::Test ();
use POSIX ();


sub new {
    my ($class, $t, %o) = @_;

    my $self = bless { t => $t, program => "$t->{dir}/hold",
                       log => "$t->{dir}/hold.log", %o }, $class;

    $t->file('hold.c', <<'END');
#include <lmdb.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    MDB_env  *env;
    MDB_txn  *txn;

    if (argc < 2 || mdb_env_create(&env) != 0
        || mdb_env_set_maxdbs(env, 32) != 0
        || mdb_env_open(env, argv[1], argc > 2 ? MDB_NOSUBDIR : 0, 0600) != 0
        || mdb_txn_begin(env, NULL, 0, &txn) != 0)
    {
        return 1;
    }

    printf("held\n");
    fflush(stdout);
    (void) getchar();
    mdb_txn_abort(txn);
    mdb_env_close(env);

    return 0;
}
END

    my $cc = $t->run([split(" ", $ENV{CC} || "cc"), '-o', $self->{program},
                      "$t->{dir}/hold.c", '-llmdb']);
    die "hold.c: $cc->{err}" if $cc->{code};

    return $self;
}


sub take {
    my ($self) = @_;

    my $t = $self->{t};

    pipe(my $in, $self->{pipe}) or die "pipe: $!";

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(ALRM INT TERM);
        alarm 0;
        open STDIN, '<&', $in;
        open STDOUT, '>', $self->{log};
        close $self->{pipe};
        close $t->{watchdog};
        exec $self->{program}, defined $self->{file}
            ? ("$t->{dir}/store/$self->{file}", 'file') : "$t->{dir}/store"
            or POSIX::_exit(127);
    }

    syswrite $t->{watchdog}, "$pid\n";
    push @{ $t->{background} }, $pid;

    return LLM::Test::wait_for { LLM::Test::slurp($self->{log}) eq "held\n" };
}


sub let_go {
    my ($self) = @_;

    close $self->{pipe};
    unlink $self->{log};
}


1;
