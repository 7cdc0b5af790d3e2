"""Switchover of a volume, and how soon emcmd answers when a host has many mirrors."""

from __future__ import annotations

import os
import pathlib
import statistics
import tempfile
import time

from emcmd_lab import EmcmdLab, Node
from lab import run, wait_until
from rows import Row, at_most

MIRRORS = 100
ROUNDS = 7
SIZE = 64 << 20
SHOWN = (("GETMIRRORVOLINFO", "E"), ("GETSOURCEMIRROREDVOLUMES",), ("GETCOMPLETEVOLUMELIST",))
OTHERS = (("GETCONFIGURATION", "E"), ("GETEXTENDEDVOLUMEINFO", "E"), ("GETJOBINFO",), ("GETJOBINFOFORVOL", "E"), ("GETMIRRORTYPE", "E"),
          ("GETRESYNCSTATUS", "E"), ("GETSERVICEINFO",), ("GETSNAPSHOTLOCATION", "E"), ("GETTARGETMIRROREDVOLUMES",),
          ("GETVOLUMEDRVSTATE", "E"), ("GETVOLUMEINFO", "E", "1"), ("GETVOLUMEINFO", "E", "2"), ("GETVOLUMEINFO", "E", "3"),
          ("ISBREAKUSERREQUESTED", "E"), ("ISPOTENTIALMIRRORVOL", "E"), ("GETBLOCKTARGET", "E"))


def add_rows(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="understudy-bench-") as directory:
        lab = EmcmdLab(pathlib.Path(directory), size=SIZE)
        try:
            switchover(rows, lab)
            answers(rows, lab, pathlib.Path(directory))
        finally:
            lab.close()


def mount(node: Node) -> str:
    place = str(node.root / "mnt")
    os.makedirs(place, exist_ok=True)
    run("mount", "-o", "noatime", node.device, place)
    return place


def switchover(rows: list[Row], lab: EmcmdLab) -> None:
    """From the command to a file that is durable on the other side; the volume is mounted and idle before."""
    lab.mirrored()
    run("mkfs.ext4", "-q", lab.left.device)
    source, target = lab.left, lab.right
    place = mount(source)
    whole, command = [], []
    try:
        for _ in range(ROUNDS):
            wait_until(lambda n=target: n.state() == "2 1", 30, "the target mirrors")
            start = time.monotonic()
            run("umount", place)
            asked = time.monotonic()
            target.ok(".", "SWITCHOVERVOLUME", "E")
            command.append((time.monotonic() - asked) * 1000)
            place = mount(target)
            with open(f"{place}/file", "w", encoding="utf8") as file:
                file.write("written")
                file.flush()
                os.fsync(file.fileno())
            whole.append((time.monotonic() - start) * 1000)
            source, target = target, source
    finally:
        run("umount", place, check=False)
    rows.append(at_most(f"switchover of a mounted, idle volume: unmount to durable write on the other side, median of {ROUNDS}",
                        statistics.median(whole), "ms", 300))
    rows.append(Row("    of it: SWITCHOVERVOLUME, median", statistics.median(command), "ms"))


def answers(rows: list[Row], lab: EmcmdLab, directory: pathlib.Path) -> None:
    for node in (lab.left, lab.right):
        for index in range(MIRRORS):
            disk = directory / f"{node.name}-{index}"
            with open(disk, "wb") as file:
                file.truncate(1 << 20)
    for index in range(MIRRORS):
        lab.left.understudy("mirror", "create", f"v{index}", "--device", str(directory / f"left-{index}"), "--target", "right",
                            "--target-device", str(directory / f"right-{index}"), "--source-address", lab.left.address,
                            "--target-address", lab.right.address, "--no-resync", "--export", "nbd")  # no loop devices
    for words in SHOWN:
        rows.append(at_most(f"emcmd {words[0]} with {MIRRORS + 1} mirrors, program's start included, median of 30",
                            answer(lab.left, ".", *words), "ms", 20))
    slowest, words = max((answer(lab.left, ".", *words), words) for words in OTHERS)
    rows.append(at_most(f"    the slowest of {len(OTHERS)} other queries ({' '.join(words)})", slowest, "ms", 20))
    rows.append(Row("    emcmd right GETTARGETMIRROREDVOLUMES: through this node to the other", answer(lab.left, "right", "GETTARGETMIRROREDVOLUMES"), "ms"))


def answer(node: Node, *words: str) -> float:
    """Median of 30, in milliseconds."""
    times = []
    for _ in range(30):
        start = time.monotonic()
        node.emcmd(*words)
        times.append((time.monotonic() - start) * 1000)
    return statistics.median(times)
