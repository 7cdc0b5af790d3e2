"""./bench recovery: how long a plan takes, and what the engine adds to the run time of the kits.

The kit here records when each of its scripts begins and ends, by the clock that all hosts of this machine share; what
lies between the moment a takeover is decided and the last script's end, and is no script's time, is the engine's.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess

from lab import Host, Lab, build_directory, wait_until
from rows import Row, at_most

RESOURCES = 1_000
CHAIN = 10
INDEPENDENT = 50
SLOW = 0.5  # seconds that a restore of the independent hierarchies takes
LIMIT = 8  # PARALLEL_HIERARCHIES by default
# No program is started for the time: it would be measured with the script.
SCRIPT = """#!/bin/bash
printf 'begin %s %s\\n' "$2" "$EPOCHREALTIME" >>"$UNDERSTUDY_ROOT/times"
{body}
printf 'end %s %s\\n' "$2" "$EPOCHREALTIME" >>"$UNDERSTUDY_ROOT/times"
"""


def planning(rows: list[Row]) -> None:
    done = subprocess.run([str(build_directory() / "bin/understudy-recovery-bench"), str(RESOURCES), "51"], capture_output=True,
                          text=True, timeout=120, check=True)
    times = [float(line) for line in done.stdout.split()]
    rows.append(at_most(f"plan of a failover, {RESOURCES} resources on 3 nodes, median of {len(times)}", statistics.median(times), "ms", 10))
    rows.append(Row("    the slowest of them", max(times), "ms"))


def kit(host: Host, body: str) -> None:
    for action in ("restore", "remove"):
        script = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions" / action
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(SCRIPT.format(body=body if action == "restore" else ":"))
        script.chmod(0o755)


def protect(left: Host, right: Host, tags: list[str], chained: bool) -> None:
    """In one shell on each host: to enter a host for every command takes longer than the commands."""
    create = [f"ins_create -a gen -r app -t {tag} -i {tag}" for tag in tags]
    if chained:
        create += [f"dep_create -p {parent} -c {child}" for parent, child in zip(tags, tags[1:])]
    for host in (left, right):
        host.run("bash", "-ec", "\n".join(create), timeout=120)
    pair = [f"eqv_create -t {tag} -S {right.name} -o {tag} -e SHARED" for tag in tags]
    start = [f"perform_action -t {tag} -a restore" for tag in (tags[:1] if chained else tags)]
    left.run("bash", "-ec", "\n".join(pair + start), timeout=120)


def take_times(host: Host) -> list[tuple[str, str, float]]:
    """(begin or end, tag, seconds since 1970) of the scripts since the last call."""
    path = pathlib.Path(host.root / "times")
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    path.write_text("")
    return [(kind, tag, float(when)) for kind, tag, when in lines]


def decided_at(host: Host) -> float:
    """When the node took its peer for dead, seconds since 1970."""
    events = json.loads(host.command("understudy", "events", "--json", "--count", "2000"))
    return max(event["time_us"] for event in events if event["event"] == 120 and event["node"] == host.name) / 1e6


def in_service(host: Host, tags: list[str]) -> bool:
    return all(host.state(tag) == "ISP" for tag in (tags[0], tags[-1]))


def pair_of(lab: Lab, body: str) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    kit(left, ":")  # only what right starts is measured
    kit(right, body)
    lab.form_cluster(left, right, interval="200ms", misses=3)
    return left, right


def overhead(rows: list[Row], runs: int = 5) -> None:
    """A chain of ten: no two scripts may run at the same time, so what no script used is the engine's."""
    tags = [f"r.{i}" for i in range(CHAIN)]
    values, kits = [], []
    with Lab() as lab:
        left, right = pair_of(lab, "sleep 0.05")
        protect(left, right, tags, chained=True)
        for _ in range(runs):
            take_times(right)
            left.power_off()
            wait_until(lambda: right.state(tags[0]) == "ISP", 60, "right has taken over")
            begun = decided_at(right)
            times = take_times(right)
            ran = sum((when if kind == "end" else -when) for kind, _, when in times)
            assert [kind for kind, _, _ in times] == ["begin", "end"] * CHAIN, times
            values.append((max(when for _, _, when in times) - begun - ran) * 1000)
            kits.append(ran * 1000)
            left.start()
            wait_until(lambda: left.state(tags[0]) == "OSU", 30, "left is standby")
            left.command("understudy", "switchover", tags[0], "--to", "left", timeout=60)
    rows.append(at_most(f"takeover of a chain of {CHAIN}: engine's part, median of {runs}", statistics.median(values), "ms", 100))
    rows.append(Row("    the longest of them", max(values), "ms"))
    rows.append(Row("    the scripts' own time", statistics.median(kits), "ms"))


def parallel(rows: list[Row]) -> None:
    """Independent hierarchies, each with a restore of half a second, no more than the setting at a time."""
    tags = [f"h.{i}" for i in range(INDEPENDENT)]
    with Lab() as lab:
        left, right = pair_of(lab, f"sleep {SLOW}")
        protect(left, right, tags, chained=False)
        take_times(right)
        left.power_off()
        wait_until(lambda: all(line.split("|")[6] == "ISP" for line in right.command("ins_list", "-f|").splitlines()), 120,
                   "right has taken all over")
        begun = decided_at(right)
        times = sorted(take_times(right), key=lambda each: each[2])
    running = most = 0
    for kind, _, _ in times:
        running += 1 if kind == "begin" else -1
        most = max(most, running)
    assert most <= LIMIT, f"{most} restores ran at the same time"
    total = times[-1][2] - begun
    least = -(-INDEPENDENT // LIMIT) * SLOW
    rows.append(Row(f"takeover of {INDEPENDENT} hierarchies of {SLOW} s, {LIMIT} at a time: at the same time at most", most, "scripts"))
    rows.append(Row("    in all", total * 1000, "ms", least * 1000, total / least, "<= 1.3", total / least <= 1.3))


GROUP = [planning, overhead, parallel]
