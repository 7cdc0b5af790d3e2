"""Persistent reservations of a disk that two initiators reach: the kernel's own SCSI target, with two ports to one file."""

from __future__ import annotations

from machine import Machine

LIMIT = 120


def run(what: str) -> str:
    with Machine(f"reservations-{what}", f"/usr/bin/python3 -B tests/vm/inside/reservations.py {what}") as machine:
        code, output = machine.wait(LIMIT)
    assert code == 0, output
    return output


# Spec: CLU-229, MOP-064
def test_a_disk_with_reservations_refuses_every_host_but_the_owner() -> None:
    assert "the disk keeps its owner" in run("disk")


# Spec: CLU-229, MOP-064
def test_a_shared_volume_is_reserved_for_its_owner_and_a_lost_owners_late_writes_are_refused() -> None:
    assert "the volume keeps its owner" in run("volume")
