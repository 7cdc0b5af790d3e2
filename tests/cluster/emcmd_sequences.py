"""Random sequences of emcmd commands on two real mirrord processes, against a model of what must result.

    python3 tests/cluster/emcmd_sequences.py [--sequences 50] [--operations 12] [--seed S]

A sequence that ends otherwise is printed with its seed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import sys
import tempfile

from emcmd_lab import EmcmdLab, Node
from two_hosts import wait_until

MIRRORING, BROKEN, PAUSED = 1, 3, 4


class Life:
    def __init__(self, lab: EmcmdLab, seed: int) -> None:
        self.lab, self.random = lab, random.Random(seed)
        self.source, self.target = lab.left, lab.right
        self.state, self.unlocked = MIRRORING, False
        self.history: list[str] = []
        self.written: dict[int, str] = {}

    def ask(self, node: Node, expected: int | tuple[int, ...], command: str, *more: str) -> None:
        self.history.append(f"{node.name}:{command}")
        found = node.status(".", command, "E", *more)
        legal = expected if isinstance(expected, tuple) else (expected,)
        assert found in legal, f"status {found}, not {expected}: {node.last.stderr}"

    def step(self) -> None:
        match self.random.randrange(10):
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
            case _:
                block = self.random.randrange(16)
                self.written[block] = f"{len(self.history)}"
                self.history.append(f"{self.source.name}:write")
                self.source.write(block * 16, self.written[block])

    def as_expected(self) -> bool:
        if self.source.state() != f"1 {self.state}" or not self.target.state().startswith("2 "):
            return False
        if not os.path.exists(self.source.device) or os.path.exists(self.target.device) != self.unlocked:
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=50)
    parser.add_argument("--operations", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="understudy-sequences-") as directory:
        lab = EmcmdLab(pathlib.Path(directory))
        try:
            for seed in range(options.seed, options.seed + options.sequences):
                lab.mirrored()
                try:
                    Life(lab, seed).live(options.operations)
                except AssertionError as error:
                    failed += 1
                    print(f"seed {seed}: {error}")
        finally:
            lab.close()
    print(f"{options.sequences} sequences of {options.operations} operations, {failed} ended otherwise than the model")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
