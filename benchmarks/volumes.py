"""Volumes to measure: files, exports of them, mirrors, and fio on them."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from lab import Host, Lab, build_directory, run, wait_until
from protected_postgres import VOLUME

MEMORY = "/dev/shm"  # files that no disk slows down


# --- fio ---------------------------------------------------------------------------------------------------------


def fio(path: str, depth: int, seconds: float = 4, rate: int = 0, size: str = "256M", enter: Callable[..., list[str]] | None = None,
        fixed_buffers: bool = False) -> dict:
    """Random writes of 4 KiB to a file, a device or an NBD address."""
    place = ["--ioengine=nbd", f"--uri={path}"] if path.startswith("nbd") else [f"--filename={path}", "--direct=1", "--ioengine=io_uring"]
    words = ["fio", "--name=w", *place, "--rw=randwrite", "--bs=4k",
             f"--iodepth={depth}", f"--runtime={seconds}", "--time_based", f"--size={size}", "--randrepeat=1", "--norandommap",
             "--output-format=json"]
    if rate:
        words.append(f"--rate_iops={rate}")
    if fixed_buffers:
        words.append("--fixedbufs")
    if enter is not None:
        words = enter(*words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False, cwd="/tmp")
    if done.returncode != 0:
        raise RuntimeError(f"fio on {path}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["write"]


def middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The pair of a value and its reference whose ratio is the median."""
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]


def compare(paths: dict[str, str], reference: str, measure: Callable[[str], float], rounds: int = 5) -> dict[str, tuple[float, float]]:
    """Each path's value beside the reference's, of the turn in the middle. A turn measures all paths within seconds: a
    machine that grows slower from turn to turn moves no ratio."""
    turns = [{name: measure(path) for name, path in paths.items()} for _ in range(rounds)]
    return {name: middle([(turn[name], turn[reference]) for turn in turns]) for name in paths}


def file_of(path: str, size: int) -> str:
    """A file whose every block exists, so that no run pays for allocation."""
    run("fallocate", "-l", str(size), path)
    run("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={size >> 20}", "conv=notrunc", timeout=300)
    return path


# --- exports and mirrors -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def exported(path: str) -> Iterator[str]:
    """An unreplicated FUSE + loop export of a file; yields its device."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        mount, devices = pathlib.Path(directory, "mount"), pathlib.Path(directory, "dev")
        mount.mkdir()
        devices.mkdir()
        server = subprocess.Popen([str(build_directory() / "bin/understudy-export"), path, "--fuse", str(mount), "--device", str(devices)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            def device() -> str | None:
                if server.poll() is not None:
                    raise RuntimeError(f"understudy-export ended: {server.stderr.read().decode() if server.stderr else ''}")
                found = list(devices.iterdir())
                return str(found[0]) if found else None
            yield str(wait_until(device, 10, "the exported device"))
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def create_mirror(source: Host, target: Host, device: str, target_device: str, mode: str, *options: str) -> None:
    source.command("understudy", "mirror", "create", VOLUME, "--device", device, "--target", target.name, "--target-device", target_device,
                   "--source-address", source.address(2), "--target-address", target.address(2), "--type", mode, *options, timeout=120)


@contextlib.contextmanager
def mirrored(mode: str, size: int) -> Iterator[tuple[Host, str, Host]]:
    """A mirrored volume between two hosts on this machine, in sync; yields source, its device, target."""
    with Lab(directory=MEMORY) as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        devices = {host: file_of(host.disk("v.img", size), size) for host in (left, right)}
        create_mirror(left, right, devices[left], devices[right], mode, "--no-resync")
        wait_until(lambda: left.mirror(VOLUME).get("state") == "mirroring", 60, "the mirror in sync")
        yield left, str(left.root / "dev/understudy" / VOLUME), right


def nbdcopy_seconds(source: str, target: str, *options: str) -> float:
    ports = (10809, 10810)
    servers = [subprocess.Popen(["nbdkit", "--foreground", "--exit-with-parent", "-i", "127.0.0.1", "-p", str(port), "file", path],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for port, path in zip(ports, (source, target))]
    try:
        for port in ports:
            wait_until(lambda p=port: run("nbdinfo", "--size", f"nbd://127.0.0.1:{p}", check=False).returncode == 0, 10, "nbdkit")
        start = time.monotonic()
        run("nbdcopy", *options, f"nbd://127.0.0.1:{ports[0]}", f"nbd://127.0.0.1:{ports[1]}", timeout=300)
        return time.monotonic() - start
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)


def resync_rates(size: int, *nbdcopy_options: str) -> dict[str, float]:
    """MiB/s of a full resync and of nbdcopy between two nbdkit servers over TCP on loopback, medians of three."""
    rates: dict[str, list[float]] = {"nbdcopy": [], "resync": []}
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        source, target = f"{directory}/a.img", f"{directory}/b.img"
        run("dd", "if=/dev/urandom", f"of={source}", "bs=1M", f"count={size >> 20}", timeout=300)
        file_of(target, size)
        for _ in range(3):
            rates["nbdcopy"].append(size / nbdcopy_seconds(source, target, *nbdcopy_options) / 2**20)
    with Lab(directory=MEMORY) as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        a, b = left.disk("v.img", size), right.disk("v.img", size)
        run("dd", "if=/dev/urandom", f"of={a}", "bs=1M", f"count={size >> 20}", "conv=notrunc", timeout=300)
        file_of(b, size)
        for _ in range(3):
            start = time.monotonic()
            create_mirror(left, right, a, b, "sync")
            wait_until(lambda: left.mirror(VOLUME).get("state") == "mirroring", 120, "the resync to end", 0.01)
            rates["resync"].append(size / (time.monotonic() - start) / 2**20)
            left.command("understudy", "mirror", "delete", VOLUME, timeout=60)
    return {name: statistics.median(values) for name, values in rates.items()}
