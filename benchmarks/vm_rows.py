"""The mirror beside DRBD, in an emulated machine whose kernel has both DRBD and ublk.

Both ends are in one machine of two emulated processors, on two virtio disks whose files are in memory. DRBD's peers
are two resources of one kernel over loopback addresses, the mirror's are two mirrords over loopback addresses: the
same disks, the same processors, the same kind of link. Two machines with a wire between them would put the emulator's
network into every write, and two emulators onto two processors."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "vm"))

from machine import Disk, Machine, why_not  # noqa: E402
from rows import Row, ratio_row  # noqa: E402

DISK = 128 << 20
LIMIT = 400
PROCESSORS = 2


def datapath_vm(rows: list[Row]) -> None:
    subprocess.run([str(PROJECT / "packaging/dependencies"), "vm"], check=True, stdout=subprocess.DEVNULL)
    if why := why_not():
        raise RuntimeError(why)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        disks = [Disk(pathlib.Path(directory, f"{name}.img"), DISK) for name in ("left", "right", "state")]
        script = "/usr/bin/python3 -B tests/vm/inside/side_by_side.py"
        with Machine("bench", script, disks, processors=PROCESSORS, fast_clock=True) as machine:
            code, output = machine.wait(LIMIT)
            if code != 0:
                raise RuntimeError(output)
            found = {name: statistics.median(runs) for name, runs in json.loads((machine.exchange / "result.json").read_text()).items()}
    for depth in (16, 1):
        name = f"VM, 4 KiB random write, depth {depth}"
        rows.append(ratio_row(f"{name}: sync mirror over ublk / DRBD C", found[f"mirror {depth}"], "IOPS", found[f"drbd {depth}"],
                              least=0.8 if depth == 16 else None))
        rows.append(ratio_row(f"{name}: sync mirror over ublk / raw disk", found[f"mirror {depth}"], "IOPS", found[f"raw {depth}"]))
        rows.append(ratio_row(f"{name}: DRBD C / raw disk", found[f"drbd {depth}"], "IOPS", found[f"raw {depth}"]))


GROUP = [datapath_vm]
