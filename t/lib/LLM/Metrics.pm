package LLM::Metrics;

# Copyright (C) nginx-llm contributors
#
# A strict reader of the text format of Prometheus, 0.0.4:
#
#     my $m = LLM::Metrics->new($text);
#     is($m->wrong, undef, 'well-formed');            # or what is not
#     is($m->get('llm_requests_total', model => 'demo', status => 200), 3);
#     my @series = $m->all('llm_requests_total');     # { labels, value }
#
# Stricter than Prometheus: HELP and TYPE once, before a family's lines, which
# stand together; no series twice; histograms whole, their buckets ascending.

use strict;
use warnings;


my $name = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $number = qr/[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf|NaN)/i;


sub new {
    my ($class, $text) = @_;

    my $self = bless { type => {}, series => {}, list => {} }, $class;

    $self->{wrong} = eval { $self->_parse($text); undef } // $@ || undef;
    chomp $self->{wrong} if defined $self->{wrong};

    return $self;
}


sub wrong { return $_[0]{wrong} }
sub type  { return $_[0]{type}{ $_[1] } }
sub names { return sort keys %{ $_[0]{type} } }


# Of the one series with exactly these labels; undef: there is none.
sub get {
    my ($self, $metric, %labels) = @_;

    return $self->{series}{ _key($metric, %labels) };
}


sub all {
    my ($self, $metric) = @_;

    return @{ $self->{list}{$metric} || [] };
}


# A sum over all series that have these labels.
sub sum {
    my ($self, $metric, %labels) = @_;

    my $sum = 0;

    for my $s ($self->all($metric)) {
        $sum += $s->{value}
            if !grep { ($s->{labels}{$_} // '') ne $labels{$_} } keys %labels;
    }

    return $sum;
}


sub _key {
    my ($metric, %labels) = @_;

    return join "\0", $metric, map { ($_, $labels{$_}) } sort keys %labels;
}


sub _parse {
    my ($self, $text) = @_;

    my ($family, %done, $help);

    utf8::decode(my $copy = $text) or die "not UTF-8\n";
    $text =~ /\n\z/ or die "the last line has no end\n";

    for my $line (split /\n/, $text, -1) {

        next if $line eq '';

        if ($line =~ /^# HELP ($name) (.+)$/) {
            die "$1: HELP again\n" if $done{$1}++;
            ($help, $family) = ($1, undef);
            next;
        }

        if ($line =~ /^# TYPE ($name) (counter|gauge|histogram)$/) {
            die "$1: TYPE without HELP\n" if ($help // '') ne $1;
            $family = $1;
            $self->{type}{$family} = $2;
            die "$family: a counter's name\n"
                if ($2 eq 'counter') != ($family =~ /_total$/);
            next;
        }

        $line =~ /^($name)(?:\{(.*)\})? ($number)$/
            or die "no line of the format: $line\n";

        my ($metric, $labels, $value) = ($1, $2 // '', $3);
        die "$metric: outside of its family\n" if !defined $family;

        my $of = $metric;
        $of =~ s/_(?:bucket|sum|count)$//
            if $self->{type}{$family} eq 'histogram';
        die "$metric: in the family of $family\n" if $of ne $family;

        $self->_add($metric, $labels, $value);
    }

    $self->_histogram($_)
        for grep { $self->{type}{$_} eq 'histogram' } keys %{ $self->{type} };
}


sub _add {
    my ($self, $metric, $text, $value) = @_;

    my %labels;
    my $all = $text;

    while ($text ne '') {
        $text =~ s/^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)//
            or die "labels: $all\n";
        my ($label, $v, $comma) = ($1, $2, $3);
        die "labels end in a comma: $all\n" if $comma && $text eq '';
        die "a label twice: $all\n" if exists $labels{$label};
        $v =~ s/\\(.)/$1 eq 'n' ? "\n" : $1/ge;
        $labels{$label} = $v;
    }

    my $key = _key($metric, %labels);
    die "twice: $metric $all\n" if exists $self->{series}{$key};

    $self->{series}{$key} = $value;
    push @{ $self->{list}{$metric} }, { labels => \%labels, value => $value };
}


# Buckets ascend in bound and count, the last is +Inf and the count.
sub _histogram {
    my ($self, $family) = @_;

    my (%bucket, %order);

    for my $s ($self->all("${family}_bucket")) {
        my %l = %{ $s->{labels} };
        my $le = delete $l{le} // die "$family: a bucket without le\n";
        push @{ $bucket{ _key('', %l) } }, [$le, $s->{value}, \%l];
    }

    for my $b (values %bucket) {
        my ($bound, $n) = (-1, 0);

        for my $e (@$b) {
            my $le = $e->[0] eq '+Inf' ? 9**9**9 : $e->[0];
            die "$family: bounds do not ascend\n" if $le <= $bound;
            die "$family: buckets do not ascend\n" if $e->[1] < $n;
            ($bound, $n) = ($le, $e->[1]);
        }

        my %l = %{ $b->[0][2] };
        die "$family: no +Inf\n" if $bound != 9**9**9;
        die "$family: its count is another\n"
            if ($self->get("${family}_count", %l) // -1) != $n;
        die "$family: no sum\n"
            if !defined $self->get("${family}_sum", %l);
    }
}


1;
