"""A mirrored volume tormented with a file system on it: a few cycles of tests/torture/files.py, and the judge of what files may hold."""

from __future__ import annotations

import pathlib
import sys

import pytest
from lab import Lab

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))

from file_history import BLOCK, FILES, Files, make, read  # noqa: E402
from files import FileTorture  # noqa: E402


# Spec: REP-083, REP-211, REP-220
def test_files_keep_what_fsync_promised_whatever_dies(lab: Lab) -> None:
    torture = FileTorture(lab, "sync", 5, "ext4")
    torture.begin()
    for kind in ("source", "source-daemon"):
        torture.cycle(kind)
    assert torture.files.syncs >= 10


def judged(history: str, blocks: list[int] | None) -> list[str]:
    files = Files()
    files.play(history)
    return files.problems({file: blocks if file == 0 else None for file in range(FILES)})


COMMITTED = "R 1 0 3\nF 1 0\nG 1 0\n"


@pytest.mark.parametrize(("since", "blocks"), [
    ("", [1, 1, 1]),
    ("W 2 0 1\n", [1, 1, 1]), ("W 2 0 1\n", [1, 2, 1]),
    ("W 2 0 1\nW 3 0 1\n", [1, 2, 1]),
    ("P 2 0 1\n", [1, 0, 1]),
    ("T 2 0 1\n", [1]), ("T 2 0 1\n", [1, 1, 1]), ("T 2 0 1\nW 3 0 2\n", [1, 0, 3]),
    ("W 2 0 5\n", [1, 1, 1, 0, 0, 2]), ("W 2 0 5\n", [1, 1, 1, 0, 0, 0]),
    ("W 2 0 5\n", [1, 1, 1, 0]),  # it grows in pieces
    ("R 2 0 2\n", [2, 2]), ("R 2 0 2\n", [1, 1, 1]),
    ("W 2 0 1\nF 3 0\nG 3 0\n", [1, 2, 1]),
    ("W 2 0", [1, 1, 1]),  # a line that was not written whole
])
def test_what_a_file_may_hold(since: str, blocks: list[int]) -> None:
    assert judged(COMMITTED + since, blocks) == []


@pytest.mark.parametrize(("since", "blocks", "says"), [
    ("", None, "missing"),
    ("W 2 0 5\n", [1, 1], "has 2 blocks"), ("W 2 0 5\n", [1, 1, 1, 0, 0, 2, 0], "has 7 blocks"),
    ("", [1, 1], "has 2 blocks"), ("", [1, 0, 1], "block 1"), ("", [1, 7, 1], "block 1"),
    ("W 2 0 1\nF 3 0\nG 3 0\n", [1, 1, 1], "holds 1"),
    ("W 2 0 1\nF 3 0\nG 3 0\nW 4 0 0\n", [1, 0, 1], "holds 0"),
    ("P 2 0 1\nF 3 0\nG 3 0\n", [1, 1, 1], "holds 1"),
    ("W 2 0 1\n", [2, 1, 1], "block 0"),
])
def test_what_it_may_not_hold(since: str, blocks: list[int] | None, says: str) -> None:
    found = judged(COMMITTED + since, blocks)
    assert found and says in found[0]


def test_a_block_says_whose_it_is() -> None:
    assert read(make(7, 3, 0) + bytes(BLOCK), 3) == [7, 0]
    for damaged in (make(7, 4, 0), make(7, 3, 1), make(7, 3, 0)[:2048] + make(8, 3, 0)[2048:], b"x" * BLOCK, b"short"):
        with pytest.raises(ValueError, match="file 3"):
            read(damaged, 3)
