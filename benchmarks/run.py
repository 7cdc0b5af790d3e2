"""Benchmarks. Each row: name, value, unit, reference, ratio, target, met. Called by ./bench.

The reference of a ratio is measured in the same run, on the same machine, beside the value. Figures that are compared
are taken in turn (A B A B ...) and their medians compared, because machines drift.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "cluster"))

import checks_rows  # noqa: E402
import config_rows  # noqa: E402
import datapath_rows  # noqa: E402
import membership_rows  # noqa: E402
import mirror_control_rows  # noqa: E402
import recovery_rows  # noqa: E402
import vm_rows  # noqa: E402
from lab import Host, Lab, run, wait_until  # noqa: E402
from protected_postgres import ADDRESS, Client, Protected, power_cycle  # noqa: E402
from rows import Row, at_most, pair_row, ratio_row  # noqa: E402
from volumes import MEMORY, compare, exported, file_of, fio, mirrored, resync_rates  # noqa: E402

# --- data path ---------------------------------------------------------------------------------------------------


def export(rows: list[Row]) -> None:
    """The unreplicated FUSE + loop export of a file against the file itself, on the disk where volumes would lie."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        raw, served = (file_of(f"{directory}/{name}.img", 256 << 20) for name in ("raw", "served"))
        run("sync")
        with exported(served) as device:
            for depth in (16, 1):
                iops = compare({"raw": raw, "export": device}, "raw", lambda path, d=depth: fio(path, d)["iops"])
                rows.append(pair_row(f"4 KiB random write, depth {depth}: unreplicated export / raw", iops["export"], "IOPS", least=0.5 if depth == 16 else None))


def data_path(rows: list[Row]) -> None:
    """Mirrors against the unreplicated export, all on files in memory, so that two ends do not share one disk."""
    size = 256 << 20
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        served = file_of(f"{directory}/served.img", size)
        with exported(served) as device, mirrored("sync", size) as (_, sync_device, _r1), mirrored("async", size) as (_, async_device, _r2):
            paths = {"export": device, "sync": sync_device, "async": async_device}
            for depth in (16, 1):
                iops = compare(paths, "export", lambda path, d=depth: fio(path, d)["iops"])
                rows.append(pair_row(f"4 KiB random write, depth {depth}: sync mirror / unreplicated", iops["sync"], "IOPS", least=0.5))
                rows.append(pair_row(f"4 KiB random write, depth {depth}: async mirror / unreplicated", iops["async"], "IOPS"))
            # From the call that submits to the completion: what the kernel does for a request inside that call counts too.
            mean = compare({name: paths[name] for name in ("export", "async")}, "export", lambda path: fio(path, 16, rate=3000)["lat_ns"]["mean"] / 1000, 7)
            rows.append(pair_row("async mirror at 3,000 writes/s: mean latency / unreplicated", mean["async"], "us", most=1.10))


def resync(rows: list[Row]) -> None:
    """Full resync of 2 GiB against nbdcopy between two nbdkit servers over TCP on loopback."""
    rates = resync_rates(2 << 30)
    rows.append(ratio_row("full resync of 2 GiB / nbdcopy", rates["resync"], "MiB/s", rates["nbdcopy"], least=0.6))


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


# Not part of a run of everything: emulated, for minutes.
ONLY_BY_NAME: dict[str, list[Callable[[list[Row]], None]]] = {"vm": vm_rows.GROUP}

BENCHES: dict[str, list[Callable[[list[Row]], None]]] = {
    "foundation": [takeover, export, data_path, resync, kills],
    "datapath": datapath_rows.GROUP,
    "config": [config_rows.database, config_rows.states, config_rows.commits],
    "recovery": [*recovery_rows.GROUP, checks_rows.checks],
    **ONLY_BY_NAME,
    "membership": [membership_rows.pace, membership_rows.seeds, membership_rows.decision, membership_rows.many_nodes],
    "mirror-control": [mirror_control_rows.add_rows],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./bench", description=__doc__)
    names = sorted({*BENCHES, *(part.__name__ for parts in BENCHES.values() for part in parts)})
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(names)} (default: all but vm)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("Benchmarks make hosts of namespaces, which needs root.", file=sys.stderr)
        return 1
    parts: list[Callable[[list[Row]], None]] = []
    for name in options.names or [name for name in BENCHES if name not in ONLY_BY_NAME]:
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
