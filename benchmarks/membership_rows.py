"""The pace of the simulator, which decides how many faults a test run can try."""

from __future__ import annotations

import re
import statistics
import subprocess

from lab import build_directory
from rows import Row, at_most

ROUNDS = 3
SEEDS = 2000


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
    _, wall = simulate("--seeds", str(SEEDS))
    rows.append(at_most(f"{SEEDS} seeds", wall, "s", 240))
