#!/usr/bin/perl
# Protects a program that has commands of its own to start, stop and test it. Application info, one per word:
#   start=/opt/app/bin/start stop=/opt/app/bin/stop status=/opt/app/bin/status
# start must return once the program runs and leave alone what runs already; stop must return once it has ended.
# One file for every role: LK_ACTION says which one it is called for.
use strict;
use warnings;

my %info = map { split /=/, $_, 2 } grep { /=/ } split ' ', $ENV{LK_INFO} // '';

sub run_command {
    my ($name) = @_;
    my $command = $info{$name} or die "the application info has no $name=COMMAND\n";
    my $status = system { $command } $command;
    die "$command cannot be started: $!\n" if $status == -1;
    my $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
    print STDERR "$command ended with $code\n" if $code;
    return $code ? 1 : 0;
}

my $action = $ENV{LK_ACTION};
exit run_command('start')  if $action eq 'restore';
exit run_command('stop')   if $action eq 'remove';
exit run_command('status') if $action eq 'quickchk';
exit(run_command('stop') || run_command('start')) if $action eq 'recover';
die "no action $action\n";
