#!/usr/bin/perl

# Copyright (C) nginx-llm contributors
#
# What was built: the module loads, shows nginx only what nginx needs, stays
# small; the layers include in one direction; both compilers are silent.

use FindBin;
use lib "$FindBin::Bin/lib";

use LLM::Test;

use Cwd ();

my $t = LLM::Test->new(timeout => 300);
my $module = $t->module;
my $sanitized = $ENV{LLM_SANITIZE};

chdir $t->top or die;

my $r = $t->config_test(<<'END');
%%MAIN%%
http {
    %%HTTP%%
    server { listen 127.0.0.1:%%PORT_0%%; }
}
END

is($r->{code}, 0, 'nginx loads the module') or diag($r->{err});


# exports

my @exports = sort map { (split)[-1] } grep { / [A-Z] / }
              split /\n/, $t->run(['nm', '-D', '--defined-only', $module])
                            ->{out};

is("@exports", 'ngx_module_names ngx_module_order ngx_modules',
   'exports what nginx looks up and nothing else');


# size and libraries

SKIP: {
    skip 'built with a sanitizer', 2 if $sanitized;

    my $file = $t->dir . '/stripped.so';
    $r = $t->run(['strip', '-o', $file, $module]);
    cmp_ok(-s $file, '<', 2 * 1024 * 1024, 'under 2 MB');

    my %known = map { $_ => 1 } qw(liblmdb.so libjansson.so libpcre2-8.so
                                   libcrypto.so libqrencode.so libm.so libc.so
                                   libpthread.so
                                   ld-linux-x86-64.so ld-linux-aarch64.so);
    my @needed = grep { !$known{$_} }
                 map { /\[([^\]]+?\.so)/ ? $1 : () }
                 grep { /NEEDED/ }
                 split /\n/, $t->run(['readelf', '-d', $module])->{out};
    is("@needed", '', 'needs no other library');
}


# llmctl

$r = $t->llmctl('--help');
is($r->{code}, 0, 'llmctl --help');
like($r->{out}, qr/key create/, 'llmctl --help names its commands');
isnt($t->llmctl('no-such-command')->{code}, 0, 'llmctl knows what it is not');


# layers: ngx_module -> engine -> kernels, store knows no nginx

my (@up, @ngx);

for my $file (map { glob } qw(engine/*.[ch] engine/*/*.[ch] kernels/*.[ch]
                              kernels/*/*.[ch] ngx_module/store/*.[ch]))
{
    my $text = slurp($file);

    push @ngx, $file if $text =~ /\bngx_\w+/ && $& !~ /^ngx_module$/;

    for my $include ($text =~ /^#\s*include\s+"([^"]+)"/mg) {
        my ($from) = $file =~ m{^(\w+)};
        push @up, "$file: $include"
            if $from eq 'kernels' && $include =~ m{engine|ngx_module}
            || $from eq 'engine' && $include =~ m{ngx_module};
    }
}

is("@up", '', 'includes go down only');
is("@ngx", '', 'no nginx name below ngx_module');


# warnings

my $nginx = $t->build . '/nginx';
my @includes = map { "-I$nginx/$_" }
               qw(src/core src/event src/event/modules src/os/unix
                  objs src/http src/http/modules src/http/v2);
my @module = map { glob } qw(engine/*.c engine/*/*.c kernels/*.c kernels/*/*.c
                             ngx_module/*.c ngx_module/store/*.c);
my @other = map { glob } qw(ngx_module/ctl/*.c t/unit/*.c);

# nginx builds the module with a warning more under clang
for my $case (['gcc', [@module, @other]], ['clang', \@other],
              ['clang', \@module, '-Wconditional-uninitialized'])
{
    my ($cc, $sources, @more) = @$case;

    SKIP: {
        skip "no $cc", 1 if $t->run(['which', $cc])->{code};
        skip 'built with a sanitizer', 1 if $sanitized;

        $r = $t->run([$cc, '-fsyntax-only', '-D_GNU_SOURCE', '-Wall',
                      '-Wextra', '-Wpointer-arith', '-Wno-unused-parameter',
                      @more, @includes, @$sources], timeout => 200);
        is($r->{err}, '', "$cc @more has no warning");
    }
}

$t->done;
