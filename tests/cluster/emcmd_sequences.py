"""Random sequences of emcmd commands on two real mirrord processes, against a model of what must result: each
command's status, who is source, the mirror's state, the target's lock, the job on both; and never two sides that can be
written to, but for a target that was unlocked.

    python3 tests/cluster/emcmd_sequences.py [--sequences 50] [--operations 12] [--seed S] [--split-brains 0]

A sequence that ends otherwise is printed with its seed. --split-brains: so many random histories that end in a split
brain, which PREPARETOBECOMETARGET and CONTINUEMIRROR end with no more than what differs being sent.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import sys
import tempfile
from collections.abc import Callable

from emcmd_lab import EmcmdLab, Node
from two_hosts import wait_until

MIRRORING, BROKEN, PAUSED = 1, 3, 4
BITMAP_OFFSET = 8192  # in the file of an intent log


class Life:
    def __init__(self, lab: EmcmdLab, seed: int) -> None:
        self.lab, self.random = lab, random.Random(seed)
        self.source, self.target = lab.left, lab.right
        self.state, self.unlocked = MIRRORING, False
        self.job, self.job_name = "", ""
        self.history: list[str] = []
        self.written: dict[int, str] = {}

    def ask(self, node: Node, expected: int | tuple[int, ...], command: str, *more: str) -> None:
        self.history.append(f"{node.name}:{command}")
        found = node.status(".", command, "E", *more)
        legal = expected if isinstance(expected, tuple) else (expected,)
        assert found in legal, f"status {found}, not {expected}: {node.last.stderr}"

    def step(self) -> None:
        match self.random.randrange(11):
            case 0:
                self.ask(self.source, 1 if self.state == BROKEN else 0, "PAUSEMIRROR")
                self.state = BROKEN if self.state == BROKEN else PAUSED
            case 1:
                stopped = self.state != MIRRORING
                self.ask(self.source, 33 if stopped and self.unlocked else 0, "CONTINUEMIRROR")
                self.state = self.state if self.unlocked else MIRRORING
            case 2:
                self.ask(self.source, 0, "BREAKMIRROR")
                self.state = BROKEN
            case 3:
                self.ask(self.source, 0, "RESYNCMIRROR")
                self.state, self.unlocked = MIRRORING, False
            case 4:
                self.ask(self.target, 0, "UNLOCKVOLUME")
                self.state, self.unlocked = PAUSED if self.state == MIRRORING else self.state, True
            case 5:
                self.ask(self.target, 0, "LOCKVOLUME")
                self.unlocked = False
            case 6:
                allowed = self.state == MIRRORING and not self.unlocked
                self.ask(self.target, 0 if allowed else (1, 87), "SWITCHOVERVOLUME")
                if allowed:
                    self.source, self.target = self.target, self.source
            case 7:
                for command, status in (("PAUSEMIRROR", 0), ("CONTINUEMIRROR", 1), ("BREAKMIRROR", 1), ("DELETEMIRROR", 1)):
                    self.ask(self.target, status, command)
            case 8:
                node = self.random.choice((self.source, self.target))
                self.history.append(f"{node.name}:killed")
                node.kill()
                node.start()
                wait_until(lambda: os.path.exists(self.source.device), "the source serves")
            case 9:
                self.change_job()
            case _:
                block = self.random.randrange(16)
                self.written[block] = f"{len(self.history)}"
                self.history.append(f"{self.source.name}:write")
                self.source.write(block * 16, self.written[block])

    def change_job(self) -> None:
        """Typed on either node, it is on both."""
        node = self.random.choice((self.source, self.target))
        pair = ("left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "S")
        self.history.append(f"{node.name}:job")
        if not self.job:
            self.job_name = "made"
            made = node.emcmd(".", "CREATEJOB", self.job_name, "", *pair)
            assert made.endswith("Status = 0\n"), made
            self.job = made.split()[2]
        elif self.random.randrange(2):
            self.job_name = f"job{self.random.randrange(100)}"
            node.ok(".", "UPDATEJOB", self.job, self.job_name, "", *pair)
        else:
            node.ok(".", "DELETEJOB", self.job)
            self.job = ""

    def jobs_as_expected(self) -> bool:
        expected = f"ID = {self.job}\nName = {self.job_name}\n" if self.job else ""
        found = [node.emcmd(".", "GETJOBINFO") for node in (self.source, self.target)]
        return all(text.startswith(expected) if expected else text == "" for text in found)

    def as_expected(self) -> bool:
        if self.source.state() != f"1 {self.state}" or not self.target.state().startswith("2 "):
            return False
        if not os.path.exists(self.source.device) or os.path.exists(self.target.device) != self.unlocked:
            return False
        if not self.jobs_as_expected():
            return False
        if self.state != MIRRORING:
            return self.source.emcmd(".", "ISBREAKUSERREQUESTED", "E").endswith("TRUE\n")
        return self.target.state() == "2 1" and all(self.target.read(block * 16) == text for block, text in self.written.items())

    def live(self, operations: int) -> None:
        try:
            for _ in range(operations):
                self.step()
                wait_until(self.as_expected, "what the model says", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\nexpected {self.source.name} source, state {self.state}, unlocked {self.unlocked}; found "
                                 f"{self.lab.left.state()} and {self.lab.right.state()}\nafter: {' '.join(self.history)}\n"
                                 f"{self.lab.left.log()}{self.lab.right.log()}") from error
        if self.unlocked:
            self.target.ok(".", "LOCKVOLUME", "E")
        if self.job:
            self.source.ok(".", "DELETEJOB", self.job)


class SplitLife:
    """Both sides write apart after a random history, full resyncs among it; one of them is then given up."""

    WRITTEN = 4  # blocks of 64 KiB that are ever written to, of 128

    def __init__(self, lab: EmcmdLab, seed: int) -> None:
        self.lab, self.random = lab, random.Random(seed)
        self.source, self.target = lab.left, lab.right
        self.history: list[str] = []

    def did(self, what: str, node: Node) -> None:
        self.history.append(f"{node.name}:{what}")

    def write(self, node: Node) -> None:
        self.did("write", node)
        node.write(self.random.randrange(self.WRITTEN) * 16, f"{len(self.history)}")

    def marked(self) -> int:
        """Blocks that the source would send after a crash: bits of its log on the disk."""
        (log,) = (self.source.root / "var/lib/understudy/Bitmaps").glob("E@*.bitmap")
        return int.from_bytes(log.read_bytes()[BITMAP_OFFSET:], "little").bit_count()

    def in_sync(self) -> None:
        wait_until(lambda: (self.source.state(), self.target.state()) == ("1 1", "2 1"), "in sync", 60)
        wait_until(lambda: self.marked() <= self.WRITTEN, "the bits of a resync leave the log", 60)

    def past(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            match self.random.randrange(5):
                case 0:
                    self.did("switchover", self.target)
                    self.target.ok(".", "SWITCHOVERVOLUME", "E")
                    self.source, self.target = self.target, self.source
                case 1:
                    self.did("pause and continue", self.source)
                    self.source.ok(".", "PAUSEMIRROR", "E")
                    self.write(self.source)
                    self.source.ok(".", "CONTINUEMIRROR", "E")
                case 2:
                    self.did("restart", self.target)
                    self.target.kill()
                    self.write(self.source)
                    self.target.start()
                case _:
                    self.did("resync", self.source)
                    self.source.ok(".", "RESYNCMIRROR", "E")
            self.in_sync()

    def split(self) -> None:
        self.target.kill()
        self.write(self.source)
        self.source.crash()
        self.did("crash", self.source)
        self.target.start()
        self.target.ok(".", "SWITCHOVERVOLUME", "E", "-f")
        self.write(self.target)
        self.source.start()
        wait_until(lambda: self.source.view()["split_brain"] and self.target.view()["split_brain"], "both know", 60)

    def live(self) -> None:
        try:
            self.past()
            self.split()
            winner, loser = self.random.sample((self.source, self.target), 2)
            self.did("given up", loser)
            loser.ok(".", "PREPARETOBECOMETARGET", "E")
            winner.ok(".", "CONTINUEMIRROR", "E")
            self.source, self.target = winner, loser
            self.in_sync()
            sent = int(winner.view()["resync_bytes_sent"])
            assert sent <= self.WRITTEN * 65536, f"{sent} bytes were sent"
            assert loser.disk.read_bytes() == winner.disk.read_bytes(), "the disks differ"
        except AssertionError as error:
            raise AssertionError(f"{error}\nafter: {' '.join(self.history)}\n{self.lab.left.log()}{self.lab.right.log()}") from error


def lives(lab: EmcmdLab, seed: int, live: Callable[[], None]) -> bool:
    lab.mirrored()
    try:
        live()
    except AssertionError as error:
        print(f"seed {seed}: {error}", flush=True)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=50)
    parser.add_argument("--operations", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split-brains", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="understudy-sequences-") as directory:
        lab = EmcmdLab(pathlib.Path(directory))
        try:
            for seed in range(options.seed, options.seed + options.sequences):
                failed += not lives(lab, seed, lambda s=seed: Life(lab, s).live(options.operations))
            for seed in range(options.seed, options.seed + options.split_brains):
                failed += not lives(lab, seed, lambda s=seed: SplitLife(lab, s).live())
        finally:
            lab.close()
    print(f"{options.sequences} sequences of {options.operations} operations and {options.split_brains} split brains, "
          f"{failed} ended otherwise than the model")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
