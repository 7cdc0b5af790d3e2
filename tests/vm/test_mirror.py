"""A mirror whose volume is a ublk device, both ends in one machine."""

from __future__ import annotations

import pathlib
import shutil

from machine import CACHE, Disk, Machine

DISK = 64 << 20
LIMIT = 400
ENOUGH = 800  # acknowledged writes before the power fails


def disks(name: str) -> list[Disk]:
    directory = CACHE / "disks" / name
    shutil.rmtree(directory, ignore_errors=True)
    return [Disk(directory / f"{disk}.img", DISK) for disk in ("left", "right", "state")]


def script(what: str) -> str:
    return f"/usr/bin/python3 -B tests/vm/inside/pair.py {what}"


def acknowledged(exchange: pathlib.Path) -> int:
    return sum(file.read_text().count("\n") for file in exchange.glob("acknowledged.*"))


# Spec: REP-220
def test_mirrords_killed_under_load_give_no_error_and_both_ends_are_equal() -> None:
    with Machine("kills", script("kills"), disks("kills")) as machine:
        code, output = machine.wait(LIMIT)
    assert code == 0, output


def test_acknowledged_writes_are_on_both_disks_after_a_power_failure() -> None:
    mine = disks("power")
    told: dict[str, str] = {}
    with Machine("power", script("write"), mine) as machine:
        assert machine.wait_until(lambda: acknowledged(machine.exchange) >= ENOUGH, LIMIT), machine.output()
        machine.power_off()
        told = {file.name: file.read_text() for file in machine.exchange.glob("acknowledged.*")}
    with Machine("power-again", script("check"), mine, exchange_files=told) as machine:
        code, output = machine.wait(LIMIT)
    assert code == 0, output
