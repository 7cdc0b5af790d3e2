"""Self-describing blocks, and what a device may hold after a takeover, given what was asked and acknowledged. Pure."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

BLOCK = 4096
_HEADER = struct.Struct("<8sQQI")
_MAGIC = b"understu"


def make_block(sequence: int, block: int) -> bytes:
    body = struct.pack("<Q", sequence ^ (block << 32)) * ((BLOCK - _HEADER.size) // 8)
    body = body.ljust(BLOCK - _HEADER.size, b"\0")
    return _HEADER.pack(_MAGIC, sequence, block, zlib.crc32(body)) + body


def read_block(data: bytes, block: int) -> int:
    """The sequence number of the write that the block holds, 0 when it was never written; ValueError when it is no
    whole block of this place."""
    if data == bytes(BLOCK):
        return 0
    magic, sequence, place, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError(f"block {block} holds neither zeroes nor a block of ours")
    if place != block:
        raise ValueError(f"block {block} holds write {sequence} of block {place}")
    if zlib.crc32(data[_HEADER.size:]) != checksum or data != make_block(sequence, block):
        raise ValueError(f"block {block} holds a torn write {sequence}")
    return sequence


@dataclass
class History:
    """The lines of block_writer.py, in their order."""

    asked: dict[int, tuple[int, int]] = field(default_factory=dict)  # sequence: (line, block)
    acknowledged: dict[int, int] = field(default_factory=dict)  # sequence: line
    flushes: list[int] = field(default_factory=list)  # the lines at which flushes began that were acknowledged
    errors: list[str] = field(default_factory=list)
    last: int = 0

    @classmethod
    def parse(cls, text: str) -> History:
        history = cls()
        begun: dict[int, int] = {}
        for line, entry in enumerate(text.splitlines()):
            kind, number, *rest = entry.split(" ", 2)
            sequence = int(number)
            history.last = max(history.last, sequence)
            if kind == "W":
                history.asked[sequence] = (line, int(rest[0]))
            elif kind == "A":
                history.acknowledged[sequence] = line
            elif kind == "F":
                begun[sequence] = line
            elif kind == "G":
                history.flushes.append(begun[sequence])
            elif kind == "E":
                history.errors.append(entry)
            else:
                raise ValueError(f"no line of a history: {entry}")
        return history


def problems(before: dict[int, int], history: History, seen: dict[int, int], synchronous: bool) -> list[str]:
    """What is wrong with `seen` (block: sequence), the content after a takeover. `before` is what the device held when
    the history began. Of a synchronous mirror every acknowledged write must be there. Of an asynchronous one the content
    must be a prefix of the history: a write is there only with all that were acknowledged before it was submitted; and
    every write acknowledged before the beginning of an acknowledged flush is there. Spec: REP-083, REP-204."""
    found = []
    for block, sequence in seen.items():
        if sequence != before.get(block, 0) and history.asked.get(sequence, (0, -1))[1] != block:
            found.append(f"block {block} holds write {sequence}, which nobody made there in this cycle")
    if synchronous:
        needed_to = float("inf")
    else:
        visible = [history.asked[sequence][0] for sequence in seen.values() if sequence in history.asked]
        needed_to = max([*visible, *history.flushes], default=-1)
    for sequence, line in history.acknowledged.items():
        if sequence not in history.asked or line >= needed_to:
            continue
        block = history.asked[sequence][1]
        # One thread writes a block: a later write has a higher number.
        if seen.get(block, 0) < sequence:
            why = "was acknowledged" if synchronous else "comes before one that is there, or before a flush"
            found.append(f"write {sequence} of block {block} is missing (there is {seen.get(block, 0)}): it {why}")
    return found
