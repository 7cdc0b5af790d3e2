"""Persistent reservations of a disk that two initiators reach: the kernel's own SCSI target, with two paths to one file."""

from __future__ import annotations

from machine import Machine

# Two loopback targets with one disk each, which are the same: /dev/sda and /dev/sdb of two hosts, so to speak.
SCRIPT = """
set -e
modprobe target_core_mod && modprobe target_core_file && modprobe tcm_loop && modprobe sd_mod && modprobe loop
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
cd /sys/kernel/config/target
truncate --size 64M /run/lun
mkdir -p core/fileio_0/lun
echo fd_dev_name=/run/lun,fd_dev_size=67108864 >core/fileio_0/lun/control
echo 1 >core/fileio_0/lun/enable
for number in 1 2; do
  target=loopback/naa.600140500000000$number/tpgt_1
  mkdir -p $target/lun/lun_0
  echo naa.600140510000000$number >$target/nexus
  ln -s /sys/kernel/config/target/core/fileio_0/lun $target/lun/lun_0/disk
done
for attempt in $(seq 100); do [ -b /dev/sda ] && [ -b /dev/sdb ] && break; sleep 0.1; done
cd - >/dev/null
probe=build/release/tests/reservation_probe
writes() { dd if=/dev/zero of=$1 bs=4096 count=1 oflag=direct status=none 2>/dev/null && echo "$1 writes" || echo "$1 refused"; }
reads() { dd if=$1 of=/dev/null bs=4096 count=1 iflag=direct status=none 2>/dev/null && echo "$1 reads" || echo "$1 cannot read"; }
echo "a: $($probe take /dev/sda 0)"; writes /dev/sda; writes /dev/sdb; reads /dev/sdb
echo "b: $($probe take /dev/sdb 1)"; writes /dev/sda; writes /dev/sdb
echo "b again: $($probe take /dev/sdb 1)"; writes /dev/sdb
echo "b: $($probe give /dev/sdb 1)"; writes /dev/sda; writes /dev/sdb
echo "a: $($probe take /dev/sda 0)"; writes /dev/sdb
truncate --size 1M /run/plain
echo "loop: $($probe take $(losetup --find --show /run/plain) 0)"
"""
LIMIT = 300


# Spec: CLU-229, MOP-064
def test_a_disk_with_reservations_refuses_every_host_but_the_owner() -> None:
    with Machine("reservations", SCRIPT) as machine:
        code, output = machine.wait(LIMIT)
    assert code == 0, output
    assert output.splitlines()[-15:] == [
        "a: taken", "/dev/sda writes", "/dev/sdb refused", "/dev/sdb reads",
        "b: taken", "/dev/sda refused", "/dev/sdb writes",
        "b again: taken", "/dev/sdb writes",
        "b: given up", "/dev/sda writes", "/dev/sdb writes",
        "a: taken", "/dev/sdb refused",
        "loop: unsupported",
    ], output
