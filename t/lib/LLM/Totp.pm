package LLM::Totp;

# Copyright (C) nginx-llm contributors
#
# The authenticator app of a test: RFC 6238 with SHA-1, 30 seconds, 6 digits.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha1);


# base32 as apps take it, to bytes
sub raw {
    my ($text) = @_;

    my $bits = join '', map { sprintf '%05b', $_ }
               map { index 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_ }
               split //, $text =~ s/=+$//r;

    return pack 'B' . (length($bits) & ~7), $bits;
}


# the code of a time, now by default; step: so many later
sub code {
    my ($secret, $step, $time) = @_;

    my $n = int(($time // time) / 30) + ($step // 0);
    my $mac = hmac_sha1(pack('Q>', $n), raw($secret));
    my $at = ord(substr $mac, 19) & 15;

    return sprintf '%06d', (unpack('N', substr $mac, $at, 4) & 0x7fffffff)
                           % 1_000_000;
}


1;
