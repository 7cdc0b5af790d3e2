"""What files may hold after a takeover, given what was done to them and what fsync has promised. Pure.

Since the last fsync of a file that has returned, each step may have reached the disk or not, in any order: a block holds
what it held at that fsync, or what one of the later steps left there. A length grows on the disk as its blocks get there, so
it lies anywhere between those of then and of the later steps.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

BLOCK = 4096
BLOCKS = 64  # the longest file
FILES = 12
_HEADER = struct.Struct("<8sQIII")
_MAGIC = b"filesof1"
ABSENT = -1  # beyond the end
HOLE = 0


def make(number: int, file: int, block: int) -> bytes:
    body = struct.pack("<Q", number * 1_000_003 + block) * ((BLOCK - _HEADER.size) // 8)
    body = body.ljust(BLOCK - _HEADER.size, b"\0")
    return _HEADER.pack(_MAGIC, number, file, block, zlib.crc32(body)) + body


def read(data: bytes, file: int) -> list[int]:
    """The numbers of the steps whose blocks the file holds; ValueError for what no step has written."""
    if len(data) % BLOCK != 0:
        raise ValueError(f"file {file} has {len(data)} bytes")
    found = []
    for block in range(len(data) // BLOCK):
        piece = data[block * BLOCK:(block + 1) * BLOCK]
        if piece == bytes(BLOCK):
            found.append(HOLE)
            continue
        magic, number, of_file, place, _ = _HEADER.unpack_from(piece)
        if magic != _MAGIC or (of_file, place) != (file, block) or piece != make(number, file, block):
            raise ValueError(f"block {block} of file {file} is no block of it: {piece[:_HEADER.size].hex()}")
        found.append(number)
    return found


@dataclass
class State:
    """Of one file: what is certain, and what may have become of it since."""

    exists: bool = False
    sure: list[int] = field(default_factory=list)  # at the last fsync
    now: list[int] = field(default_factory=list)  # as its users see it
    later: list[set[int]] = field(default_factory=lambda: [set() for _ in range(BLOCKS)])
    lengths: set[int] = field(default_factory=set)

    def change(self, now: list[int]) -> None:
        for block in range(BLOCKS):
            old = self.now[block] if block < len(self.now) else ABSENT
            new = now[block] if block < len(now) else ABSENT
            if old != new:
                self.later[block].add(new)
                # A length that shrinks and grows again leaves zeroes, whichever of both reaches the disk.
                if ABSENT in (old, new):
                    self.later[block] |= {HOLE, ABSENT}
        self.lengths.add(len(now))
        self.now = now

    def commit(self) -> None:
        """An fsync has returned. One thread does everything to a file: nothing has happened to it meanwhile."""
        self.exists, self.sure = True, self.now
        self.later = [set() for _ in range(BLOCKS)]
        self.lengths = set()


@dataclass
class Files:
    """The files as a history leaves them; goes on from what was seen at the last look."""

    states: dict[int, State] = field(default_factory=lambda: {file: State() for file in range(FILES)})
    steps: int = 0
    syncs: int = 0
    last: int = 0
    errors: list[str] = field(default_factory=list)

    def play(self, text: str) -> None:
        """A line without its end is of a step that was not begun."""
        for line in text[:text.rfind("\n") + 1].splitlines():
            kind, number, *rest = line.split(" ", 3)
            step = int(number)
            self.last = max(self.last, step)
            if kind == "E":
                self.errors.append(line)
                continue
            state = self.states[int(rest[0])]
            now = list(state.now)
            if kind == "G":
                state.commit()
                self.syncs += 1
                continue
            if kind == "F":
                continue
            self.steps += 1
            argument = int(rest[1])
            if kind == "W":
                now += [HOLE] * (argument + 1 - len(now))
                now[argument] = step
            elif kind == "P":
                if argument < len(now):
                    now[argument] = HOLE
            elif kind == "T":
                now = (now + [HOLE] * argument)[:argument]
            elif kind == "R":
                now = [step] * argument
            else:
                raise ValueError(f"no line of a history: {line}")
            state.change(now)

    def problems(self, seen: dict[int, list[int] | None]) -> list[str]:
        """`seen`: of each file its blocks; None: it is not there."""
        found = []
        for file, state in self.states.items():
            blocks = seen[file]
            if blocks is None:
                if state.exists:
                    found.append(f"file {file} is missing, and its fsync had returned")
                continue
            lengths = state.lengths | {len(state.sure)}
            if not min(lengths) <= len(blocks) <= max(lengths):
                found.append(f"file {file} has {len(blocks)} blocks; {len(state.sure)} at its last fsync, {sorted(state.lengths)} since")
            for block in range(BLOCKS):
                is_there = blocks[block] if block < len(blocks) else ABSENT
                sure = state.sure[block] if block < len(state.sure) else ABSENT
                if is_there != sure and is_there not in state.later[block] and not (is_there == HOLE and sure == ABSENT):
                    found.append(f"block {block} of file {file} holds {is_there}; {sure} at its last fsync, {sorted(state.later[block])} since")
        return found

    def take(self, seen: dict[int, list[int] | None]) -> None:
        """What was seen on a file system that was unmounted is what there is."""
        for file, blocks in seen.items():
            self.states[file] = State() if blocks is None else State(True, blocks, list(blocks))
