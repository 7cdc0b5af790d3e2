"""Mirrors between two mirrord processes on one machine: their whole life, with real devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from two_hosts import BLOCK, PROGRAMS, SIZE, TwoHosts, wait_until


class Mirrors(TwoHosts):
    # Spec: REP-002 REP-007 REP-137 REP-160
    def test_writes_arrive_and_pause_and_continue_work(self) -> None:
        with open(self.left.disk, "r+b") as disk:
            disk.write(b"before the mirror")
        self.create()
        self.left.command("wait", "R", "--timeout", "30")
        self.in_sync()
        self.assertEqual(self.right.read(0), "before the mirror")
        self.left.write(5, "five")
        self.assertEqual(self.right.read(5), "five")
        self.left.command("pause", "R")
        self.left.write(6, "six")
        self.assertEqual(self.right.read(6), "")
        self.left.command("continue", "R")
        self.in_sync()
        self.assertEqual(self.right.read(6), "six")

    # Spec: REP-206 REP-220 MOP-126
    def test_killed_daemons_come_back_and_no_write_fails(self) -> None:
        self.create()
        self.in_sync()
        with open(self.left.device, "r+b", buffering=0) as held:
            self.right.kill()
            held.seek(BLOCK)
            held.write(b"alone".ljust(BLOCK, b"."))
            os.fsync(held.fileno())
            self.right.start()
            self.in_sync()
            self.assertEqual(self.right.read(1), "alone")
            self.left.kill()
            writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={self.left.device}", f"bs={BLOCK}", "count=1",
                                       "seek=2", "oflag=direct", "conv=notrunc"], stderr=subprocess.DEVNULL)
            self.left.start()
            self.assertEqual(writer.wait(30), 0)
            held.seek(3 * BLOCK)
            held.write(b"again".ljust(BLOCK, b"."))
            os.fsync(held.fileno())
        self.in_sync()
        self.assertEqual(self.right.read(3), "again")

    # Spec: REP-184
    def test_an_upgrade_in_place_lets_requests_wait(self) -> None:
        self.create()
        self.in_sync()
        with open(self.left.device, "r+b", buffering=0) as held:
            self.left.end(signal.SIGTERM)
            self.left.start()
            held.write(b"upgraded".ljust(BLOCK, b"."))
            os.fsync(held.fileno())
        self.in_sync()
        self.assertEqual(self.right.read(0), "upgraded")

    # Spec: REP-211 REP-237
    def test_the_old_source_comes_back_as_target_and_its_own_writes_go(self) -> None:
        self.create()
        self.in_sync()
        self.left.write(1, "common")
        self.left.crash()
        self.right.command("promote", "R")
        self.right.write(2, "new")
        with open(self.left.disk, "r+b") as disk:  # what the old source had written and nobody acknowledged
            disk.seek(2 * BLOCK)
            disk.write(b"old")
        self.left.start()
        self.in_sync()
        self.assertEqual(self.left.view()["role"], "target")
        self.assertEqual(self.left.read(1), "common")
        self.assertEqual(self.left.read(2), "new")
        self.assertFalse(os.path.exists(self.left.device))
        self.left.command("promote", "R")
        self.in_sync()
        self.assertEqual(self.right.view()["role"], "target")

    # Spec: REP-233
    def test_a_switchover_names_who_holds_the_device(self) -> None:
        self.create()
        self.in_sync()
        with open(self.left.device, "rb"):
            self.assertIn(f"{os.getpid()}", self.right.refuse("promote", "R"))
        self.left.write(1, "still")
        self.right.command("promote", "R")
        self.in_sync()
        self.assertEqual(self.left.view()["role"], "target")
        self.right.write(3, "three")
        self.assertEqual(self.left.read(3), "three")

    # A snapshot of what is on the volume is a device of the kernel's on top of it, and so is this.
    # Spec: REP-334
    def test_a_volume_that_something_is_stacked_on_stays_where_it_is(self) -> None:
        self.create()
        self.in_sync()
        on_top = subprocess.run(["losetup", "--find", "--show", "--read-only", self.left.device], capture_output=True, text=True,
                                check=True).stdout.strip()
        try:
            self.assertIn("in use", self.left.refuse("demote", "R"))
            self.assertEqual(self.left.view()["role"], "source")
            self.left.write(3, "goes on")
            self.assertEqual(self.right.read(3), "goes on")
        finally:
            subprocess.run(["losetup", "--detach", on_top], check=True)
        self.left.command("demote", "R")
        self.right.command("promote", "R")

    # Spec: MOP-092 MOP-096 REP-224 REP-226 REP-227 REP-228
    def test_a_split_brain_is_found_nothing_is_overwritten_and_yield_ends_it(self) -> None:
        self.create()
        self.in_sync()
        self.assertIn("in no split brain", self.left.refuse("yield", "R"))
        self.right.kill()
        self.left.write(1, "left")
        wait_until(lambda: self.left.view()["state"] == "paused", "left goes on alone")
        self.left.crash()
        self.right.start()
        self.right.command("promote", "R")
        self.right.write(2, "right")
        self.left.start()
        for host in (self.left, self.right):
            wait_until(lambda h=host: h.view()["split_brain"], f"{host.name} knows")
        self.assertEqual((self.left.read(1), self.left.read(2)), ("left", ""))
        self.assertEqual((self.right.read(1), self.right.read(2)), ("", "right"))
        self.assertIn("SPLIT BRAIN", self.left.view()["problem"])
        for host in (self.left, self.right):
            shown = json.loads(host.command("split-brain", "R", "--json").stdout)
            self.assertEqual({side["node"] for side in shown["sides"]}, {"left", "right"})
            for side in shown["sides"]:  # both wrote in the first 64 KiB
                self.assertEqual(side["ranges"][0][0], 0)
                self.assertGreater(side["since_s"], 0)
            self.assertGreaterEqual(shown["common_blocks"], 1)
        # The end of it: the left one's data go. Spec: REP-227, REP-228
        self.left.command("yield", "R")
        self.right.command("continue", "R")
        self.in_sync()
        self.assertEqual(self.left.view()["role"], "target")
        self.assertEqual((self.left.read(1), self.left.read(2)), ("", "right"))
        self.assertIn("session with left, partial resync", self.right.log())
        self.right.write(4, "after")
        self.assertEqual(self.left.read(4), "after")

    # Spec: MOP-056
    def test_a_volume_may_be_huge_or_tiny(self) -> None:
        for size in (4 << 40, 1 << 20):
            for host in (self.left, self.right):
                os.truncate(host.disk, size)
            self.create("--no-resync")
            self.in_sync()
            last = size // BLOCK - 1
            self.left.write(last, f"the end of {size}")
            self.assertEqual(self.right.read(last), f"the end of {size}")
            self.left.command("delete", "R")

    # Spec: REP-021 REP-026
    def test_bad_creations_leave_nothing_behind(self) -> None:
        with open(self.right.disk, "r+b") as disk:
            disk.truncate(SIZE // 2)
        with self.assertRaisesRegex(AssertionError, "less than the source"):
            self.create()
        with open(self.right.disk, "r+b") as disk:
            disk.truncate(SIZE)
        with self.assertRaisesRegex(AssertionError, "--type is sync or async"):
            self.create("--type", "sometimes")
        for host in (self.left, self.right):
            self.assertEqual(host.command("status").stdout, "no mirrors\n")
            self.assertEqual(list((host.root / "var/lib/understudy/mirrors").glob("*")), [])
        self.create()
        self.in_sync()
        self.left.command("delete", "R")
        for host in (self.left, self.right):
            self.assertEqual(host.command("status").stdout, "no mirrors\n")

    def test_a_second_daemon_is_refused(self) -> None:
        second = subprocess.run([PROGRAMS / "mirrord", "--root", str(self.left.root), "--listen", "127.0.0.1"],
                                capture_output=True, text=True, timeout=30, check=False)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("mirrord", second.stderr)
        self.left.command("status")
