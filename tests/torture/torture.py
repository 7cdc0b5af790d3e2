#!/usr/bin/env python3
"""Torments a mirrored volume: self-describing blocks are written through its export while hosts lose power and daemons
are killed at random moments; after each blow everything that was promised is looked for.

    sudo tests/torture/torture.py --cycles 500 --mode async --seed 7

    source          the source's host loses power, the target is promoted: every acknowledged write is there (sync), or
                    an exact prefix of the writes that no acknowledged flush lies beyond (async)
    target          the target's host loses power; the source goes on, and after the target's return both are the same
    source-daemon   kill -9 of mirrord on the source: no write fails, all are there
    target-daemon   kill -9 of mirrord on the target: the same
    both            both hosts lose power; the source comes back with every acknowledged write

Needs root and the release build. Exit code 1 when a promise was broken; the lab's directory and the writer's history are
kept then.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

from block_history import BLOCK, History, problems, read_block  # noqa: E402
from lab import Host, Lab, wait_until  # noqa: E402

VOLUME = "torture"
BLOCKS = 4096  # 16 MiB
LONGEST_BEFORE_BLOW = 1.5  # seconds of writes
KINDS = ("source", "target", "source-daemon", "target-daemon", "both")


class Broken(AssertionError):
    """A promise of the mirror was broken."""


class Torture:
    def __init__(self, lab: Lab, mode: str, seed: int) -> None:
        self.lab, self.mode = lab, mode
        self.chance = random.Random(seed)
        self.source, self.target = lab.host("left"), lab.host("right")
        self.log = lab.directory / "history"
        self.next_sequence = 1
        self.held: dict[int, int] = {}  # block: sequence, at the last look
        self.writes = 0
        self.refusals = 0  # takeovers
        self.bytes = BLOCKS * BLOCK  # of the volume

    def progress(self) -> str:
        return f"{self.writes} acknowledged writes"

    def begin(self) -> None:
        self.lab.form_cluster(self.source, self.target)
        size = self.bytes
        for host in (self.source, self.target):
            # A silent link is lost after half a second instead of 30.
            with open(host.root / "etc/default/LifeKeeper", "a", encoding="ascii") as settings:
                settings.write("PingInterval=100\nMaxPingMisses=5\n")
        self.source.command("understudy", "mirror", "create", VOLUME, "--device", self.source.disk("v.img", size), "--target",
                            self.target.name, "--target-device", self.target.disk("v.img", size), "--source-address", self.source.address(2),
                            "--target-address", self.target.address(2), "--type", self.mode, timeout=90)
        self.in_sync()

    # --- parts of a cycle ------------------------------------------------------------------------------------------

    def device(self, host: Host) -> str:
        return str(host.root / "dev/understudy" / VOLUME)

    def in_sync(self) -> None:
        def state() -> bool:
            shown = self.source.mirror(VOLUME)
            return shown["state"] == "mirroring" and shown["role"] == "source"
        wait_until(state, 90, f"{self.source.name} mirrors: {self.source.mirror(VOLUME)}", 0.05)

    def write(self):  # noqa: ANN201
        self.log.write_text("")
        return self.source.spawn("/usr/bin/python3", str(HERE / "block_writer.py"), self.device(self.source), str(self.log), str(BLOCKS),
                                 str(self.next_sequence), str(self.chance.randrange(1 << 30)), log="block_writer")

    def some_writes(self, least: int = 30) -> None:
        """At least so many acknowledged, then some more for a random time."""
        count = self.log.read_text().count("\nA ")
        wait_until(lambda: self.log.read_text().count("\nA ") >= count + least, 60, f"{least} acknowledged writes")
        time.sleep(self.chance.uniform(0, LONGEST_BEFORE_BLOW))  # the random moment of the blow

    def history(self) -> History:
        history = History.parse(self.log.read_text())
        self.next_sequence = max(self.next_sequence, history.last + 1)
        self.writes += len(history.acknowledged)
        return history

    def look(self, host: Host) -> dict[int, int]:
        image = (host.root / "disks/v.img").read_bytes()
        return {block: read_block(image[block * BLOCK:(block + 1) * BLOCK], block) for block in range(BLOCKS)}

    def expect(self, host: Host, history: History, synchronous: bool) -> None:
        seen = self.look(host)
        if found := problems(self.held, history, seen, synchronous):
            raise Broken(f"{len(found)} on {host.name}, such as: " + "; ".join(found[:5]))
        self.held = seen

    def expect_same(self) -> None:
        """Nothing is written any more: both ends hold the same."""
        self.in_sync()
        ends = [(host.root / "disks/v.img").read_bytes() for host in (self.source, self.target)]
        if ends[0] != ends[1]:
            differ = [block for block in range(BLOCKS) if ends[0][block * BLOCK:(block + 1) * BLOCK] != ends[1][block * BLOCK:(block + 1) * BLOCK]]
            raise Broken(f"the ends differ in {len(differ)} blocks, such as {differ[:5]}")

    @staticmethod
    def tell_end(writer) -> None:  # noqa: ANN001
        """Only the writer is told: nsenter waits for it, and so for the last line of its history."""
        for pid in pathlib.Path(f"/proc/{writer.pid}/task/{writer.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
        writer.wait(60)

    def end_writer(self, writer) -> History:  # noqa: ANN001
        self.tell_end(writer)
        history = self.history()
        if history.errors:
            raise Broken(f"a write failed on a living source: {history.errors[:3]}")
        return history

    def returns(self, host: Host) -> None:
        host.start()
        for one, other in ((self.source, self.target), (self.target, self.source)):
            wait_until(lambda a=one, b=other: a.command("sys_getst", "-s", b.name).strip() == "ALIVE", 30, f"{other.name} is ALIVE for {one.name}")

    # --- the blows -------------------------------------------------------------------------------------------------

    def blow_source(self) -> None:
        self.write()
        self.some_writes()
        self.source.power_off()
        history = self.history()
        heir = self.target
        wait_until(lambda: heir.command("sys_getst", "-s", self.source.name).strip() == "DEAD", 30, f"{self.source.name} is DEAD")
        promoted = heir.run("understudy", "mirror", "promote", "--peer-dead", VOLUME, timeout=90, code=None)
        if promoted.returncode != 0:
            return self.refused(promoted.stderr, history)
        self.expect(heir, history, self.mode == "sync")
        self.source, self.target = heir, self.source
        self.returns(self.target)

    def refused(self, why: str, history: History) -> None:
        """The link was lost for a moment just before (the machine is busy), the source went on alone and said so: the
        target may not take over, and the source has everything."""
        if "out of date" not in why or "-> paused" not in (self.source.root / "var/log/understudy/mirrord.log").read_text():
            raise Broken(f"{self.target.name} is not promoted: {why}")
        self.refusals += 1
        self.source.start()
        self.source.run("understudy", "mirror", "promote", VOLUME, timeout=90, code=None)
        self.returns(self.target)
        self.in_sync()
        self.expect(self.source, history, True)

    def blow_target(self) -> None:
        writer = self.write()
        self.some_writes()
        self.target.power_off()
        self.some_writes()
        self.returns(self.target)
        self.some_writes()
        self.expect(self.source, self.end_writer(writer), True)

    def restart(self, host: Host) -> None:
        host.kill("mirrord")
        wait_until(lambda: not host.pids_of("mirrord"), 10, "mirrord is gone")
        host.command("lkstart")

    def blow_source_daemon(self) -> None:
        writer = self.write()
        self.some_writes()
        self.restart(self.source)
        self.some_writes()
        self.expect(self.source, self.end_writer(writer), True)

    def blow_target_daemon(self) -> None:
        writer = self.write()
        self.some_writes()
        self.restart(self.target)
        self.some_writes()
        self.expect(self.source, self.end_writer(writer), True)

    def blow_both(self) -> None:
        self.write()
        self.some_writes()
        first, second = self.chance.sample((self.source, self.target), 2)
        first.power_off()
        second.power_off()
        history = self.history()
        self.source.start()
        self.source.run("understudy", "mirror", "promote", VOLUME, timeout=90, code=None)
        self.returns(self.target)
        self.in_sync()
        self.expect(self.source, history, True)

    def cycle(self, kind: str) -> None:
        self.in_sync()
        {"source": self.blow_source, "target": self.blow_target, "source-daemon": self.blow_source_daemon,
         "target-daemon": self.blow_target_daemon, "both": self.blow_both}[kind]()
        self.expect_same()


def keep(lab: Lab) -> str:
    """The hosts' files and logs and the writer's history, as they are at the end."""
    for host in lab.hosts.values():
        host.power_off()
    kept = f"{lab.directory}-kept"
    shutil.copytree(lab.directory, kept, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "dev", "lkroot", "lib"))
    return kept


def options_of(description: str, kinds: tuple[str, ...]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("sync", "async"), default="sync")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=list(kinds))
    return parser


def torment(options: argparse.Namespace, what: str, make: Callable[[Lab], Torture]) -> int:
    """As many cycles as the options say; the exit code. `what` is tormented, for the messages."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with Lab() as lab:
        torture = make(lab)
        torture.begin()
        for number in range(1, options.cycles + 1):
            kind = torture.chance.choice(options.kinds)
            try:
                torture.cycle(kind)
            except (AssertionError, TimeoutError, ValueError) as error:
                print(f"cycle {number} ({kind}, {what}, --seed {options.seed}): {error}\nkept: {keep(lab)}", flush=True)
                return 1
            counts[kind] += 1
            print(f"cycle {number}: {kind}, {torture.progress()} so far, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{sum(counts.values())} cycles ({dict(counts)}), {what}: {torture.progress()}, {torture.refusals} takeovers refused, "
          f"no promise broken, {time.monotonic() - began:.0f} s")
    return 0


def main() -> int:
    options = options_of(__doc__.splitlines()[0], KINDS).parse_args()
    return torment(options, options.mode, lambda lab: Torture(lab, options.mode, options.seed))


if __name__ == "__main__":
    sys.exit(main())
