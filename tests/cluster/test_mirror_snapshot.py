"""Snapshots of a mirror's target: real file systems, written while the snapshot is taken and used."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Iterator

from two_hosts import PROGRAMS, SIZE, Host, TwoHosts, wait_until

RECORD = 64  # bytes


class Records:
    """Appends numbered records to one file after another, each durable before the next."""

    def __init__(self, *files: pathlib.Path) -> None:
        self.files = files
        self.done = 0  # records that are in every file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            outs = [stack.enter_context(open(file, "ab", buffering=0)) for file in self.files]
            while not self._stop.is_set():
                for out in outs:
                    out.write(f"record {self.done}".encode().ljust(RECORD - 1, b".") + b"\n")
                    os.fsync(out.fileno())
                self.done += 1

    def __enter__(self) -> Records:
        self._thread.start()
        wait_until(lambda: self.done > 10, "records are written")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def count(file: pathlib.Path) -> int:
    """Whole records, all of them in order."""
    data = file.read_bytes()
    assert len(data) % RECORD == 0, f"{file} has {len(data)} bytes"
    for number in range(len(data) // RECORD):
        assert data[number * RECORD:].startswith(f"record {number}.".encode()), f"record {number} of {file}"
    return len(data) // RECORD


@contextlib.contextmanager
def mounted(device: str, at: pathlib.Path, *options: str) -> Iterator[pathlib.Path]:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, device, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def needs_recovery(device: str) -> bool:
    text = subprocess.run(["dumpe2fs", "-h", device], check=True, capture_output=True, text=True).stdout
    return "needs_recovery" in text


class Snapshots(TwoHosts):
    def setUp(self) -> None:
        super().setUp()
        self.location = self.right.root / "snapshots"
        self.location.mkdir()

    def mirror(self, volume: str) -> None:
        for host in (self.left, self.right):
            (host.root / volume).write_bytes(b"")
            os.truncate(host.root / volume, 4 * SIZE)
        self.left.command("create", volume, "--device", str(self.left.root / volume), "--target", "right",
                          "--target-device", str(self.right.root / volume), "--source-address", self.left.address,
                          "--target-address", self.right.address)
        self.left.command("wait", volume, "--timeout", "30")
        self.right.command("snapshot", "location", volume, str(self.location))
        subprocess.run(["mkfs.ext4", "-q", str(self.device(self.left, volume))], check=True)

    @staticmethod
    def device(host: Host, volume: str) -> pathlib.Path:
        return host.root / "dev/understudy" / volume

    # Spec: REP-312, REP-313, REP-321, REP-322, REP-324, REP-326, REP-328, REP-329, REP-333, MOP-189, MOP-197, MOP-203, EMC-173
    def test_two_file_systems_at_one_moment_while_they_are_written(self) -> None:
        for volume in ("A", "B"):
            self.mirror(volume)
        with (mounted(str(self.device(self.left, "A")), self.left.root / "a") as a,
              mounted(str(self.device(self.left, "B")), self.left.root / "b") as b):
            with Records(a / "records", b / "records") as records:
                before = records.done
                taken = self.right.command("snapshot", "take", "A", "B").stdout.split()
                after = records.done
                self.assertEqual(taken, [str(self.device(self.right, v)) + ".snapshot" for v in ("A", "B")])
                wait_until(lambda: records.done > after + 20, "the writer goes on")
                for device in taken:
                    self.assertFalse(needs_recovery(device), "frozen file systems are clean")
                with (mounted(taken[0], self.right.root / "a") as seen_a,
                      mounted(taken[1], self.right.root / "b") as seen_b):
                    first, second = count(seen_a / "records"), count(seen_b / "records")
                    # One moment: a record is in B only when it is in A, and at most one is not in B yet.
                    self.assertIn(first - second, (0, 1))
                    self.assertGreaterEqual(second, before)
                    self.assertLessEqual(second, after + 1)
                    (seen_a / "own").write_bytes(os.urandom(1 << 20))
                    os.sync()
                    wait_until(lambda: records.done > after + 40, "the writer goes on")
                    self.assertEqual(count(seen_a / "records"), first)
                self.assertNotEqual(self.right.command("snapshot", "take", "A", code=None).returncode, 0)
            self.assertEqual(count(a / "records"), records.done)
        for volume in ("A", "B"):
            self.left.command("verify", volume)
        cow = self.location / "datakeeper_snapshot_volA.cow"
        self.assertEqual(cow.stat().st_mode & 0o777, 0o600)
        self.assertLess(cow.stat().st_blocks * 512, 3 * SIZE)
        self.assertIn("snapshot drop A", self.right.refuse("promote", "A"))
        self.right.command("snapshot", "drop", "A", "B")
        self.assertEqual(list(self.location.iterdir()), [])
        self.assertFalse(os.path.exists(taken[0]))
        # The next one shows what came since, and nothing of what was written to the first.
        again = self.right.command("snapshot", "take", "A").stdout.strip()
        with mounted(again, self.right.root / "a") as seen:
            self.assertEqual(count(seen / "records"), records.done)
            self.assertFalse((seen / "own").exists())
        self.right.command("snapshot", "drop", "A")

    # Spec: REP-317, REP-330, REP-332, REP-333, MOP-206, MOP-209, EMC-173
    def test_a_full_location_a_killed_daemon_and_a_forced_drop_end_it_and_nothing_else(self) -> None:
        small = self.right.root / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=False)
        self.mirror("A")
        with mounted(str(self.device(self.left, "A")), self.left.root / "a") as a:
            (a / "old").write_bytes(os.urandom(16 << 20))
            os.sync()
            self.right.command("snapshot", "location", "A", str(small))
            self.right.command("snapshot", "take", "A")
            (a / "old").write_bytes(os.urandom(16 << 20))
            os.sync()
            view = lambda: self.right.snapshot("A")  # noqa: E731
            wait_until(lambda: view()["state"] == "none" and "No space" in view()["problem"], "the snapshot has ended")
            self.assertEqual(list(small.iterdir()), [])

            self.right.command("snapshot", "location", "A", str(self.location))
            device = self.right.command("snapshot", "take", "A").stdout.strip()
            with open(device, "rb") as user:
                self.assertIn(str(os.getpid()), self.right.refuse("snapshot", "drop", "A"))
                self.right.command("snapshot", "drop", "A", "--force")
                with self.assertRaises(OSError):
                    os.pread(user.fileno(), 4096, 8 << 20)
            self.right.command("snapshot", "take", "A")
            self.right.kill()
            self.right.start()
            wait_until(lambda: self.left.view_of("A")["state"] == "mirroring", "mirroring again")
            self.assertEqual(view()["state"], "none")
            self.assertEqual(list(self.location.iterdir()), [])
        self.left.command("verify", "A")

    # Spec: REP-326
    def test_hooks_surround_the_quiet_moment_and_one_that_fails_ends_the_attempt(self) -> None:
        self.mirror("A")
        log = self.left.root / "hooks.log"
        for moment in ("pre-freeze", "post-thaw"):
            directory = self.left.root / "etc/understudy/snapshot.d" / moment
            directory.mkdir(parents=True)
            hook = directory / "10-note"
            hook.write_text(f'#!/bin/sh\necho "{moment} $UNDERSTUDY_VOLUMES" >> {log}\ntest ! -e {log}.refuse\n')
            hook.chmod(0o755)
        self.right.command("snapshot", "take", "A")
        self.assertEqual(log.read_text(), "pre-freeze A\npost-thaw A\n")
        pathlib.Path(f"{log}.refuse").touch()
        self.assertIn("10-note ended with 1", self.right.refuse("snapshot", "take", "A", "--refresh"))
        self.assertEqual(self.right.snapshot("A")["state"], "none")
        self.assertEqual(list(self.location.iterdir()), [])

    # Spec: REP-326
    def test_no_file_system_stays_frozen_whatever_becomes_of_mirrord(self) -> None:
        self.mirror("A")
        with mounted(str(self.device(self.left, "A")), self.left.root / "a") as a:
            def writable() -> bool:
                done = subprocess.run(["dd", "if=/dev/zero", f"of={a}/probe", "bs=4096", "count=1", "conv=fsync"],
                                      stderr=subprocess.DEVNULL, timeout=20, check=False)
                return done.returncode == 0

            def freeze(*more: str) -> subprocess.Popen[str]:
                helper = subprocess.Popen([PROGRAMS / "understudy-quiesce", *more, str(self.device(self.left, "A"))],
                                          stdout=subprocess.PIPE, text=True)
                assert helper.stdout is not None
                self.assertEqual(helper.stdout.readline(), "frozen\n")
                second = subprocess.run(["fsfreeze", "--freeze", str(a)], check=False, capture_output=True)
                self.assertNotEqual(second.returncode, 0, "it is frozen")
                return helper

            asked = freeze()
            asked.send_signal(signal.SIGTERM)
            self.assertEqual(asked.wait(20), 0)
            self.assertTrue(writable())
            late = freeze("--limit-ms", "200")
            self.assertEqual(late.wait(20), 3)
            self.assertTrue(writable())
            deserted = freeze()
            assert deserted.stdout is not None
            deserted.stdout.close()
            self.assertEqual(deserted.wait(20), 3)
            self.assertTrue(writable())
