"""Rows of ./bench datapath: what the replication data path costs."""

from __future__ import annotations

import contextlib
import mmap
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from lab import Host, Lab, build_directory, run, wait_until
from protected_postgres import VOLUME
from rows import Row, at_most, pair_row, ratio_row
from volumes import MEMORY, compare, create_mirror, exported, file_of, fio, middle, mirrored, resync_rates

BLOCK = 64 << 10


@contextlib.contextmanager
def nbd_exported(path: str) -> Iterator[str]:
    """An unreplicated NBD export of a file on a unix socket; yields its address."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        socket = pathlib.Path(directory, "socket")
        server = subprocess.Popen([str(build_directory() / "bin/understudy-export"), path, "--nbd", str(socket)], stdout=subprocess.DEVNULL)
        try:
            wait_until(socket.exists, 10, "the NBD export")
            yield f"nbd+unix:///?socket={socket}"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def unreplicated(rows: list[Row]) -> None:
    """Exports of a file against the file itself, on the disk where volumes would lie. Many short turns: what a disk of a
    virtual machine takes changes within seconds."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        raw, fuse, nbd = (file_of(f"{directory}/{name}.img", 256 << 20) for name in ("raw", "fuse", "nbd"))
        run("sync")
        with exported(fuse) as device, nbd_exported(nbd) as address:
            iops = compare({"raw": raw, "fuse": device, "nbd": address}, "raw", lambda path: fio(path, 16, seconds=2)["iops"], 11)
    rows.append(pair_row("4 KiB random write, depth 16: FUSE + loop export / raw", iops["fuse"], "IOPS", least=0.65))
    rows.append(pair_row("4 KiB random write, depth 16: NBD export / raw", iops["nbd"], "IOPS", least=0.75))


def synchronous(rows: list[Row]) -> None:
    size = 256 << 20
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory, exported(file_of(f"{directory}/served.img", size)) as device, \
            mirrored("sync", size) as (_source, mirror, _target):
        for depth in (16, 1):
            iops = compare({"export": device, "sync": mirror}, "export", lambda path, d=depth: fio(path, d)["iops"])
            rows.append(pair_row(f"4 KiB random write, depth {depth}: sync mirror / export", iops["sync"], "IOPS", least=0.6))


def asynchronous(rows: list[Row]) -> None:
    """The whole latency of a write at a fixed rate, from the call that submits it."""
    size = 256 << 20
    turns: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory, exported(file_of(f"{directory}/served.img", size)) as device, \
            mirrored("async", size) as (_source, mirror, _target):
        for _ in range(7):
            turn = {name: fio(path, 16, rate=5000) for name, path in {"export": device, "async": mirror}.items()}
            turns.append({name: (written["lat_ns"]["mean"] / 1000, written["clat_ns"]["percentile"]["99.000000"] / 1000)
                          for name, written in turn.items()})
    mean, slow = (middle([(turn["async"][i], turn["export"][i]) for turn in turns]) for i in (0, 1))
    rows.append(pair_row("async mirror at 5,000 writes/s: mean latency / export", mean, "us", most=1.05))
    rows.append(pair_row("    99th percentile / export", slow, "us", most=1.3))


def core(rows: list[Row]) -> None:
    """Both ends of a mirror on one core, with disks that do nothing and links in memory."""
    rates = [float(run(str(build_directory() / "bin/understudy-mirror-core-bench")).stdout) for _ in range(3)]
    rate = statistics.median(rates)
    rows.append(Row("core alone, 4 KiB sync writes, both ends on one core", rate, "/s", target=">= 400000", met=rate >= 400_000))


def full_resync(rows: list[Row]) -> None:
    rates = resync_rates(4 << 30, "--connections=1")
    rows.append(ratio_row("full resync of 4 GiB / nbdcopy, one connection each", rates["resync"], "MiB/s", rates["nbdcopy"], least=0.9))


def partial_resync(rows: list[Row]) -> None:
    """One block in a hundred is changed while the mirror is paused."""
    size = 1 << 30
    with mirrored("sync", size) as (source, device, _target):
        source.command("understudy", "mirror", "pause", VOLUME)
        before = source.mirror(VOLUME)["resync_bytes_sent"]
        blocks = random.Random(1).sample(range(size // BLOCK), size // BLOCK // 100)
        page = mmap.mmap(-1, 4096)  # aligned, as direct I/O asks
        page[:] = os.urandom(4096)
        file = os.open(device, os.O_RDWR | os.O_DIRECT)
        try:
            for block in blocks:
                os.pwrite(file, page, block * BLOCK + 4096 * (block % 16))
        finally:
            os.close(file)
        source.command("understudy", "mirror", "continue", VOLUME)
        wait_until(lambda: source.mirror(VOLUME).get("state") == "mirroring", 60, "the resync to end")
        sent = source.mirror(VOLUME)["resync_bytes_sent"] - before
    rows.append(ratio_row("partial resync, 1 % of blocks: bytes sent / changed", sent / 2**20, "MiB", len(blocks) * BLOCK / 2**20, most=1.02))


def log_writes(rows: list[Row]) -> None:
    """The volume's bitmap is less than a page of the log: a commit is one write."""
    with mirrored("sync", 1 << 30) as (source, device, _target):
        fio(device, 16, seconds=8, size="1G")
        before = source.mirror(VOLUME)["log_commits"]
        written = fio(device, 16, seconds=10, size="1G")["total_ios"]
        commits = source.mirror(VOLUME)["log_commits"] - before
    rows.append(ratio_row("intent log: writes of its own / application writes", commits, "commits", written, most=0.05))


def kernel_shortcuts(rows: list[Row]) -> None:
    """What the data path does without, and what each would bring: memory registered with io_uring, and MSG_ZEROCOPY."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory, exported(file_of(f"{directory}/served.img", 256 << 20)) as device:
        iops = compare({"ordinary": "", "registered": "registered"}, "ordinary", lambda kind: fio(device, 16, fixed_buffers=bool(kind))["iops"])
    rows.append(pair_row("registered buffers / ordinary, depth 16", iops["registered"], "IOPS"))
    turns = [run(str(build_directory() / "bin/understudy-zerocopy-bench"), str(64 << 10)).stdout.split() for _ in range(3)]
    copied, zerocopy = (statistics.median(float(turn[i]) for turn in turns) for i in (1, 3))
    rows.append(ratio_row("MSG_ZEROCOPY / copied, frames of 64 KiB over loopback", zerocopy, "MiB/s", copied))


def idle_memory(rows: list[Row]) -> None:
    size = 1 << 40
    with Lab(directory=MEMORY) as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        devices = [host.disk("v.img", size) for host in (left, right)]
        before = [mirrord_kib(host) for host in (left, right)]
        create_mirror(left, right, *devices, "sync", "--no-resync")
        wait_until(lambda: left.mirror(VOLUME).get("state") == "mirroring", 60, "the mirror in sync")
        added = [mirrord_kib(host) - kib for host, kib in zip((left, right), before)]
    rows.append(at_most("memory of mirrord for an idle mirror of 1 TiB, source", added[0] / 1024, "MiB", 16))
    rows.append(at_most("    target", added[1] / 1024, "MiB", 16))


def mirrord_kib(host: Host) -> int:
    text = "".join(host.run("cat", f"/proc/{pid}/smaps_rollup").stdout for pid in host.pids_of("mirrord"))
    return sum(int(kib) for kib in re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE))


GROUP: list[Callable[[list[Row]], None]] = [
    unreplicated, synchronous, asynchronous, core, full_resync, partial_resync, log_writes, idle_memory, kernel_shortcuts,
]
