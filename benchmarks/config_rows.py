"""./bench config: the configuration database with 10,000 instances, and commits against bare SQLite.

The directory lies on the disk that /var/tmp is on: commits wait for it, as they do on a host.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from lab import Lab, build_directory, wait_until
from rows import Row, at_most, ratio_row

INSTANCES = 10_000
PEERS = 7  # with this node eight
OF_PEERS = 1_250  # what each of them has


def tool(*words: str, timeout: float = 120) -> list[str]:
    done = subprocess.run([str(build_directory() / "bin/understudy-config-bench"), *words], capture_output=True, text=True,
                          timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"understudy-config-bench {' '.join(words)}: {done.stderr}")
    return done.stdout.splitlines()


def database(rows: list[Row]) -> None:
    """One daemon without a network, with copies of seven peers' configurations."""
    starts, lists = daemon_times(OF_PEERS, 5)
    rows.append(at_most(f"ins_list of {INSTANCES} instances, median of {len(lists)}", statistics.median(lists), "ms", 50))
    rows.append(at_most(f"start of understudyd, {INSTANCES} instances, median of {len(starts)}", statistics.median(starts), "ms", 1000))
    starts, _ = daemon_times(INSTANCES, 3)
    rows.append(Row(f"    with {INSTANCES} on each of {PEERS} peers too", statistics.median(starts), "ms"))


def daemon_times(of_peers: int, runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of starts until the first answer, and of ins_list as a program."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        root = pathlib.Path(directory, "host")
        for part in ("etc/default", "etc/understudy", "var/lib/understudy", "var/log/understudy", "run/understudy"):
            (root / part).mkdir(parents=True)
        tool("fill", str(root / "var/lib/understudy/config.db"), "node", str(INSTANCES), str(PEERS), str(of_peers))
        starts, lists = [], []
        environment = {**os.environ, "UNDERSTUDY_ROOT": str(root), "LKROOT": str(root / "usr/lib/understudy")}
        for _ in range(runs):
            begin = time.monotonic()
            daemon = subprocess.Popen([str(build_directory() / "bin/understudyd"), "--root", str(root), "--node", "node"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            try:
                tool("answers", str(root / "run/understudy/understudyd.sock"), "app.0", "30")
                starts.append((time.monotonic() - begin) * 1000)
                for _ in range(10):
                    begin = time.monotonic()
                    out = subprocess.run([str(build_directory() / "bin/ins_list")], capture_output=True, env=environment, check=True, timeout=30).stdout
                    lists.append((time.monotonic() - begin) * 1000)
                    assert out.count(b"\n") == INSTANCES, "ins_list is not complete"
            finally:
                daemon.terminate()
                daemon.wait(60)
        return starts, lists


def states(rows: list[Row]) -> None:
    """ins_setst until it is on this node's disk and in every peer's copy; three hosts, 10,000 instances."""
    with Lab() as lab:
        hosts = [lab.host(name) for name in ("left", "right", "third")]
        tool("fill", str(hosts[0].root / "var/lib/understudy/config.db"), "left", str(INSTANCES), "0", "0")
        lab.form_cluster(*hosts)
        socket = str(hosts[0].root / "run/understudy/understudyd.sock")
        tool("setst", socket, "app.7", "50")  # warm
        times = [float(line) for line in tool("setst", socket, "app.7", "500")]
        wait_until(lambda: len(hosts[0].status()["nodes"]) >= 3, 5, "the cluster's status")
    rows.append(at_most("ins_setst durable and on both peers, median of 500", statistics.median(times), "ms", 5))
    rows.append(Row("    99th of 100", sorted(times)[len(times) * 99 // 100], "ms"))


def commits(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        rounds = [[float(word) for word in line.split()] for line in tool("commits", directory, "400", "5")]
    ours, bare, together = (statistics.median(column) for column in zip(*rounds))
    rows.append(ratio_row("durable commits, one after the other / bare SQLite", ours, "/s", bare, least=0.5))
    rows.append(ratio_row("durable commits, 500 at a time / bare SQLite", together, "/s", bare))
