"""A mirrored volume tormented: a few cycles of tests/torture/torture.py, and the judge of what may be there after one."""

from __future__ import annotations

import pathlib
import sys

import pytest
from lab import Lab

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))

from block_history import BLOCK, History, make_block, problems, read_block  # noqa: E402
from torture import KINDS, Torture  # noqa: E402


# Spec: REP-078, REP-083, REP-204, REP-206, REP-211
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_promise_is_kept_whatever_dies(lab: Lab, mode: str) -> None:
    torture = Torture(lab, mode, seed=5)
    torture.begin()
    for kind in KINDS:
        torture.cycle(kind)
    assert torture.writes > len(KINDS) * 30


def history(*lines: str) -> History:
    return History.parse("\n".join(lines))


def test_a_block_says_what_it_is() -> None:
    block = make_block(7, 3)
    assert len(block) == BLOCK and read_block(block, 3) == 7 and read_block(bytes(BLOCK), 3) == 0
    for damaged in (block[:2048] + make_block(8, 3)[2048:], block[:-1] + b"x", b"x" * BLOCK):
        with pytest.raises(ValueError, match="block 3 holds"):
            read_block(damaged, 3)
    with pytest.raises(ValueError, match="block 4 holds write 7 of block 3"):
        read_block(block, 4)


def test_a_synchronous_mirror_owes_every_acknowledged_write() -> None:
    written = history("W 1 10", "A 1", "W 2 11", "W 3 10", "A 3", "W 4 10")
    assert problems({}, written, {10: 3, 11: 0}, True) == []
    assert problems({}, written, {10: 4, 11: 2}, True) == []
    assert problems({}, written, {10: 1, 11: 2}, True) == ["write 3 of block 10 is missing (there is 1): it was acknowledged"]
    assert len(problems({10: 9}, written, {10: 9, 11: 5}, True)) == 1, "5 was never written there"


def test_an_asynchronous_mirror_owes_a_prefix_that_ends_no_earlier_than_a_flush() -> None:
    written = history("W 1 10", "A 1", "W 2 11", "A 2", "W 3 12", "W 4 13", "A 4", "A 3")
    for seen in ({}, {10: 1}, {10: 1, 11: 2}, {10: 1, 11: 2, 13: 4}, {10: 1, 11: 2, 12: 3, 13: 4}):
        assert problems({}, written, {**dict.fromkeys(range(10, 14), 0), **seen}, False) == [], seen
    assert len(problems({}, written, {10: 0, 11: 2, 12: 0, 13: 0}, False)) == 1, "2 is there without 1"
    flushed = history("W 1 10", "A 1", "F 2", "W 3 11", "A 3", "G 2")
    assert problems({}, flushed, {10: 1, 11: 0}, False) == []
    assert "before a flush" in problems({}, flushed, {10: 0, 11: 0}, False)[0]
    assert problems({}, history("W 1 10", "A 1", "F 2"), {10: 0}, False) == [], "that flush was not acknowledged"
