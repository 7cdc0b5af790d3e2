"""What two ends on the machine's two disks reach, one after the other on the same disks: DRBD 8.4 with protocol C, and
a synchronous mirror over ublk. Both ends are in one machine: DRBD as two resources that are each other's peer over
loopback addresses, the mirror as two mirrords. Writes /run/exchange/result.json: for each the list of its runs."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import pair  # noqa: E402
from pair import EXCHANGE, LIMIT, run, wait_until  # noqa: E402

PACKAGE = pathlib.Path(__file__).resolve().parents[3] / "build/vm/packages/drbd-utils"
SETUP = str(PACKAGE / "lib/drbd/drbdsetup-84")  # the one for the kernel's own module
META = str(PACKAGE / "sbin/drbdmeta")
ENDS = ((0, "/dev/vda", "127.0.0.1:7788", "127.0.0.2:7788"), (1, "/dev/vdb", "127.0.0.2:7788", "127.0.0.1:7788"))
AREA = 96 << 20  # bytes that are written to: less than any of the devices has
ROUNDS = 2
SECONDS = 3


def iops(device: str, depth: int) -> float:
    out = run("fio", "--name=w", f"--filename={device}", "--direct=1", "--rw=randwrite", "--bs=4k", f"--iodepth={depth}",
              "--ioengine=libaio", f"--size={AREA}", "--time_based", f"--runtime={SECONDS}", "--ramp_time=1",
              "--randrepeat=0", "--output-format=json", timeout=LIMIT)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    assert job["error"] == 0, out
    return float(job["write"]["iops"])


@contextlib.contextmanager
def drbd() -> Iterator[str]:
    run("modprobe", "drbd")
    try:
        for minor, disk, _, _ in ENDS:
            run("wipefs", "-qa", disk)
            run(META, "--force", str(minor), "v08", disk, "internal", "create-md")
            run(SETUP, "new-resource", f"r{minor}")
            run(SETUP, "new-minor", f"r{minor}", str(minor), "0")
            run(SETUP, "attach", str(minor), disk, disk, "internal")
        for minor, _, mine, peers in ENDS:
            run(SETUP, "connect", f"r{minor}", f"ipv4:{mine}", f"ipv4:{peers}", "--protocol=C")
        wait_until(lambda: pathlib.Path("/proc/drbd").read_text().count("cs:Connected") == 2, "DRBD's ends are connected", LIMIT)
        run(SETUP, "new-current-uuid", "--clear-bitmap", "0")
        wait_until(lambda: pathlib.Path("/proc/drbd").read_text().count("ds:UpToDate/UpToDate") == 2, "DRBD is in sync", LIMIT)
        run(SETUP, "primary", "0")
        yield "/dev/drbd0"
    finally:
        for minor, *_ in ENDS:
            subprocess.run([SETUP, "down", f"r{minor}"], check=False)


@contextlib.contextmanager
def mirror() -> Iterator[str]:
    pair.clear_state()
    left, right = pair.pair(fresh=True)
    try:
        pair.create(left, right)
        yield left.device
        left.command("delete", "R")
    finally:
        for host in (left, right):
            host.clean_up()


def main() -> None:
    pair.mount_state(fresh=True)
    found: dict[str, list[float]] = {}
    for depth in (16, 1):
        found[f"raw {depth}"] = [iops("/dev/vda", depth)]
    for _ in range(ROUNDS):
        for name, ends in (("drbd", drbd), ("mirror", mirror)):
            with ends() as device:
                for depth in (16, 1):
                    found.setdefault(f"{name} {depth}", []).append(iops(device, depth))
    (EXCHANGE / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
