"""./bench membership: the pace of the simulator, which decides how many faults a test run can try; how soon a takeover
begins once a peer's time is over; what the heartbeats of many nodes cost."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess

from lab import Lab, build_directory, wait_until
from recovery_rows import pair_of, protect
from rows import Row, at_most

ROUNDS = 3
SEEDS = 2000
INTERVAL_MS, MISSES = 200, 3
TAKEOVERS = 10
NODES = 32


def simulate(*words: str) -> tuple[float, float]:
    """Virtual seconds and wall seconds of a run without a violation."""
    done = subprocess.run([str(build_directory() / "bin/understudy-sim"), *words], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the simulation found a violation:\n{done.stdout[-2000:]}")
    found = re.search(r"(\d+) virtual seconds in ([\d.]+) s", done.stdout)
    assert found is not None, done.stdout
    return float(found[1]), float(found[2])


def pace(rows: list[Row]) -> None:
    """Whole clusters of three nodes under faults; each round has other seeds."""
    for name, words in (("three nodes", ("--no-quorum",)), ("three nodes with majority quorum", ("--quorum",))):
        rates = []
        for number in range(ROUNDS):
            virtual, wall = simulate("--nodes", "3", "--seeds", "40", "--first-seed", str(1 + 1000 * number), *words)
            rates.append(virtual / wall)
        rate = statistics.median(rates)
        rows.append(Row(f"simulated seconds of {name} per second", rate, "s/s", target=">= 10000", met=rate >= 10000))


def seeds(rows: list[Row]) -> None:
    """As ./test runs them."""
    _, wall = simulate("--seeds", str(SEEDS), "--jobs", str(os.cpu_count() or 1))
    rows.append(at_most(f"{SEEDS} seeds", wall, "s", 240))


def decision(rows: list[Row]) -> None:
    """Real daemons on hosts of namespaces: from the end of the last heartbeat's time (interval x misses after it was
    heard, on the path that was heard last) to the start of the first script. By the standby's own clock and journal."""
    late: list[float] = []
    seen: set[str] = set()
    with Lab() as lab:
        left, right = pair_of(lab, ":")
        protect(left, right, ["r.0"], chained=False)

        def ended() -> dict | None:
            """The page of the newest takeover, once."""
            page = json.loads(right.run("understudy", "incident", "last", "--json", code=None).stdout or "{}")
            return page if page.get("kind") == "node failure" and page["ended"] and page["steps"] and page["id"] not in seen else None

        for _ in range(TAKEOVERS):
            left.power_off()
            page = wait_until(ended, 60, "right has taken over and recorded it")
            assert isinstance(page, dict)
            seen.add(page["id"])
            heard = max(path["heard_us"] for path in page["paths"])
            began = min(step["began_us"] for step in page["steps"])
            late.append((began - heard) / 1000 - INTERVAL_MS * MISSES)
            left.start()
            wait_until(lambda: left.state("r.0") == "OSU", 30, "left is standby")
            left.command("understudy", "switchover", "r.0", "--to", "left", timeout=60)
    rows.append(at_most(f"takeover decision: first script after the limit of {INTERVAL_MS} ms x {MISSES}, median of {TAKEOVERS}",
                        statistics.median(late), "ms", 20))
    rows.append(at_most("    the latest of them", max(late), "ms", 20))


def many_nodes(rows: list[Row]) -> None:
    """All nodes in one process, each with its loop, certificate and TLS connections to all others over loopback."""
    used = []
    for _ in range(ROUNDS):
        done = subprocess.run([str(build_directory() / "bin/understudy-comm-bench"), str(NODES), str(INTERVAL_MS), "10"], capture_output=True,
                              text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"not every node saw every other: {done.stdout}{done.stderr}")
        used.append(float(done.stdout.split()[0]))
    rows.append(at_most(f"{NODES} nodes, heartbeats every {INTERVAL_MS} ms to all others: a node's part of a core", statistics.median(used), "%", 1))
