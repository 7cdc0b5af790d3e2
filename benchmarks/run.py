"""Benchmarks. Each row: name, value, unit, reference, ratio, target, met. Called by ./bench.

The reference of a ratio is measured in the same run, on the same machine, beside the value. Figures that are compared
are taken in turn (A B A B ...) and their medians compared, because machines drift.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "cluster"))

import checks_rows  # noqa: E402
import config_rows  # noqa: E402
import membership_rows  # noqa: E402
import mirror_control_rows  # noqa: E402
import recovery_rows  # noqa: E402
from lab import Host, Lab, build_directory, run, wait_until  # noqa: E402
from protected_postgres import ADDRESS, VOLUME, Client, Protected, power_cycle  # noqa: E402
from rows import Row, at_most, ratio_row  # noqa: E402

MEMORY = "/dev/shm"  # files that no disk slows down


# --- fio ---------------------------------------------------------------------------------------------------------


def fio(path: str, depth: int, seconds: float = 4, rate: int = 0, size: str = "256M", enter: Callable[..., list[str]] | None = None) -> dict:
    words = ["fio", "--name=w", f"--filename={path}", "--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=io_uring",
             f"--iodepth={depth}", f"--runtime={seconds}", "--time_based", f"--size={size}", "--randrepeat=1", "--norandommap",
             "--output-format=json"]
    if rate:
        words.append(f"--rate_iops={rate}")
    if enter is not None:
        words = enter(*words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False, cwd="/tmp")
    if done.returncode != 0:
        raise RuntimeError(f"fio on {path}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["write"]


def compare(paths: dict[str, str], measure: Callable[[str], float], rounds: int = 5) -> dict[str, float]:
    """Medians of `rounds` turns through all paths."""
    values: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            values[name].append(measure(path))
    return {name: statistics.median(list_) for name, list_ in values.items()}


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


@contextlib.contextmanager
def mirrored(mode: str, size: int) -> Iterator[tuple[Host, str, Host]]:
    """A mirrored volume between two hosts on this machine, in sync; yields source, its device, target."""
    with Lab(directory=MEMORY) as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        devices = {host: file_of(host.disk("v.img", size), size) for host in (left, right)}
        left.command("understudy", "mirror", "create", VOLUME, "--device", devices[left], "--target", "right", "--target-device", devices[right],
                     "--source-address", left.address(2), "--target-address", right.address(2), "--type", mode, "--no-resync", timeout=60)
        wait_until(lambda: left.mirror(VOLUME).get("state") == "mirroring", 60, "the mirror in sync")
        yield left, str(left.root / "dev/understudy" / VOLUME), right


def export(rows: list[Row]) -> None:
    """The unreplicated FUSE + loop export of a file against the file itself, on the disk where volumes would lie."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        raw, served = (file_of(f"{directory}/{name}.img", 256 << 20) for name in ("raw", "served"))
        run("sync")
        with exported(served) as device:
            for depth in (16, 1):
                iops = compare({"raw": raw, "export": device}, lambda path, d=depth: fio(path, d)["iops"])
                rows.append(ratio_row(f"4 KiB random write, depth {depth}: unreplicated export / raw", iops["export"], "IOPS", iops["raw"], least=0.5 if depth == 16 else None))


def data_path(rows: list[Row]) -> None:
    """Mirrors against the unreplicated export, all on files in memory, so that two ends do not share one disk."""
    size = 256 << 20
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        served = file_of(f"{directory}/served.img", size)
        with exported(served) as device, mirrored("sync", size) as (_, sync_device, _r1), mirrored("async", size) as (_, async_device, _r2):
            paths = {"export": device, "sync": sync_device, "async": async_device}
            for depth in (16, 1):
                iops = compare(paths, lambda path, d=depth: fio(path, d)["iops"])
                rows.append(ratio_row(f"4 KiB random write, depth {depth}: sync mirror / unreplicated", iops["sync"], "IOPS", iops["export"], least=0.5))
                rows.append(ratio_row(f"4 KiB random write, depth {depth}: async mirror / unreplicated", iops["async"], "IOPS", iops["export"]))
            # From the call that submits to the completion: what the kernel does for a request inside that call counts too.
            mean = compare({name: paths[name] for name in ("export", "async")}, lambda path: fio(path, 16, rate=3000)["lat_ns"]["mean"] / 1000, 7)
            rows.append(ratio_row("async mirror at 3,000 writes/s: mean latency / unreplicated", mean["async"], "us", mean["export"], most=1.10))


def resync(rows: list[Row]) -> None:
    """Full resync of 2 GiB against nbdcopy between two nbdkit servers over TCP on loopback."""
    size = 2 << 30
    rates: dict[str, list[float]] = {"nbdcopy": [], "resync": []}
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        source, target = f"{directory}/a.img", f"{directory}/b.img"
        run("dd", "if=/dev/urandom", f"of={source}", "bs=1M", f"count={size >> 20}", timeout=300)
        file_of(target, size)
        for _ in range(3):
            rates["nbdcopy"].append(size / nbdcopy_seconds(source, target) / 2**20)
    with Lab(directory=MEMORY) as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        a, b = left.disk("v.img", size), right.disk("v.img", size)
        run("dd", "if=/dev/urandom", f"of={a}", "bs=1M", f"count={size >> 20}", "conv=notrunc", timeout=300)
        file_of(b, size)
        for _ in range(3):
            start = time.monotonic()
            left.command("understudy", "mirror", "create", VOLUME, "--device", a, "--target", "right", "--target-device", b,
                         "--source-address", left.address(2), "--target-address", right.address(2), "--type", "sync", timeout=120)
            wait_until(lambda: left.mirror(VOLUME).get("state") == "mirroring", 120, "the resync to end", 0.01)
            rates["resync"].append(size / (time.monotonic() - start) / 2**20)
            left.command("understudy", "mirror", "delete", VOLUME, timeout=60)
    rows.append(ratio_row("full resync of 2 GiB / nbdcopy", statistics.median(rates["resync"]), "MiB/s", statistics.median(rates["nbdcopy"]), least=0.6))


def nbdcopy_seconds(source: str, target: str) -> float:
    ports = (10809, 10810)
    servers = [subprocess.Popen(["nbdkit", "--foreground", "--exit-with-parent", "-i", "127.0.0.1", "-p", str(port), "file", path],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for port, path in zip(ports, (source, target))]
    try:
        for port in ports:
            wait_until(lambda p=port: run("nbdinfo", "--size", f"nbd://127.0.0.1:{p}", check=False).returncode == 0, 10, "nbdkit")
        start = time.monotonic()
        run("nbdcopy", f"nbd://127.0.0.1:{ports[0]}", f"nbd://127.0.0.1:{ports[1]}", timeout=300)
        return time.monotonic() - start
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)


# --- takeover ----------------------------------------------------------------------------------------------------


def pss_kib(host: Host) -> int:
    total = 0
    for program in ("understudyd", "mirrord", "understudy-keeper"):
        for pid in host.pids_of(program):
            text = host.run("cat", f"/proc/{pid}/smaps_rollup").stdout
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    return total


def takeover(rows: list[Row], runs: int = 10) -> None:
    with Lab() as lab:
        left, right, outside = lab.host("left"), lab.host("right"), lab.host("client")
        lab.form_cluster(left, right)
        memory = max(pss_kib(left), pss_kib(right)) / 1024
        outside.power_on()
        story = Protected(lab, left, right, "sync")
        story.create()
        story.wait_in_sync(left)
        client = Client(outside)
        client.start()
        try:
            results = [power_cycle(story, client) for _ in range(runs)]
        finally:
            client.stop()
    rows.append(at_most(f"power-off, heartbeat 200 ms x 3, sync: outage, median of {runs}", statistics.median(r.outage_ms for r in results), "ms", 2500))
    rows.append(Row("    of it: detection, median", statistics.median(r.detection_ms for r in results), "ms"))
    rows.append(Row("    of it: takeover, median", statistics.median(r.takeover_ms for r in results), "ms"))
    rows.append(Row("    longest outage", max(r.outage_ms for r in results), "ms"))
    rows.append(at_most("switchover: outage, median", statistics.median(r.switchover_outage_ms for r in results), "ms", 1000))
    rows.append(at_most("acknowledged rows lost, sum", sum(r.rows_lost for r in results), "rows", 0))
    rows.append(at_most("idle memory of a host's daemons (PSS)", memory, "MiB", 60))


def kills(rows: list[Row], times: int = 10) -> None:
    """mirrord killed with -9 under pgbench."""
    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        story = Protected(lab, left, right, "sync")
        story.create()
        story.wait_in_sync(left)
        base = ["/usr/lib/postgresql/15/bin/pgbench", "-h", ADDRESS, "-U", "postgres"]
        left.run(*base, "-i", "-s", "5", "-q", "postgres", timeout=120)
        seconds = times * 3 + 5
        log = left.root / "var/log/understudy/pgbench"
        bench = left.spawn(*base, "-c", "2", "-T", str(seconds), "-l", f"--log-prefix={log}", "postgres", log="pgbench-run")
        for _ in range(times):
            time.sleep(2.5)
            left.kill("mirrord")
            wait_until(lambda: left.pids_of("mirrord") or left.command("lkstart", code=None) is None or left.pids_of("mirrord"), 20, "mirrord again")
        bench.wait(seconds + 60)
        stalls = [int(line.split()[2]) / 1000 for file in log.parent.glob("pgbench.*") for line in file.read_text().splitlines()]
        errors = (log.parent / "pgbench-run.out").read_text()
        failed = int(re.search(r"number of failed transactions: (\d+)", errors)[1]) if "failed transactions" in errors else -1  # type: ignore[index]
        aborted = len(re.findall(r"aborted|error:|FATAL", errors))
        kernel = "ro" if "ext4 ro" in left.run("grep", story.mount, "/proc/mounts").stdout else ""
    rows.append(at_most(f"mirrord killed -9 {times} times under pgbench: client errors", max(failed, 0) + aborted + (1 if failed < 0 else 0), "errors", 0))
    rows.append(at_most("    file system turned read-only", 1 if kernel else 0, "times", 0))
    rows.append(Row("    longest stall of a transaction", max(stalls, default=float("nan")), "ms"))


BENCHES: dict[str, list[Callable[[list[Row]], None]]] = {
    "foundation": [takeover, export, data_path, resync, kills],
    "config": [config_rows.database, config_rows.states, config_rows.commits],
    "recovery": [*recovery_rows.GROUP, checks_rows.checks],
    "membership": [membership_rows.pace, membership_rows.seeds, membership_rows.decision, membership_rows.many_nodes],
    "mirror-control": [mirror_control_rows.add_rows],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./bench", description=__doc__)
    names = sorted({*BENCHES, *(part.__name__ for parts in BENCHES.values() for part in parts)})
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(names)} (default: all)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("Benchmarks make hosts of namespaces, which needs root.", file=sys.stderr)
        return 1
    parts: list[Callable[[list[Row]], None]] = []
    for name in options.names or list(BENCHES):
        found = BENCHES.get(name) or [part for all_parts in BENCHES.values() for part in all_parts if part.__name__ == name]
        if not found:
            print(f"there is no benchmark \"{name}\"; there are: {', '.join(names)}", file=sys.stderr)
            return 2
        parts += found
    rows: list[Row] = []
    print(f"{'name':<58} {'value':>12} {'unit':<8} {'reference':>12} {'ratio':>7} {'target':>12} {'met':>4}")
    for part in parts:
        before = len(rows)
        part(rows)
        print("\n".join(row.line() for row in rows[before:]), flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
