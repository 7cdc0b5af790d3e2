"""Real file systems on a mirror: what is free is not copied, what is in use is the same on both ends, and changed files
have names."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess

from two_hosts import Host, TwoHosts, wait_until

MIB = 1 << 20
SIZE = 320 * MIB  # mkfs.xfs makes none below 300
DATA_MIB = 40
CHECK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"]}
REPAIR = {"ext4": ["e2fsck", "-fy"], "xfs": ["xfs_repair"]}

# Files of all kinds come and go: written, appended to, reserved without being written, punched, renamed, deleted.
LOAD = """
cd "$1" && while :; do
  n=$((RANDOM % 40))
  case $((RANDOM % 7)) in
    0) head -c $((RANDOM * 9)) /dev/urandom > $n;;
    1) rm -f $n;;
    2) head -c $((RANDOM % 5000)) /dev/urandom >> $n;;
    3) fallocate -o $((RANDOM * 4)) -l 300000 $n
       dd if=/dev/urandom of=$n bs=4096 count=1 seek=$((RANDOM % 40)) conv=notrunc,fsync status=none;;
    4) mv -f $n $((RANDOM % 40));;
    5) truncate -s $((RANDOM * 3)) $n;;
    6) [ -f $n ] && fallocate --punch-hole -o $((RANDOM)) -l 70000 $n;;
  esac 2>/dev/null
done
"""


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def sums(directory: pathlib.Path) -> str:
    return run("bash", "-c", 'cd "$1" && find . -type f | sort | xargs -d "\\n" sha256sum', "sums", str(directory))


class FreeSpace(TwoHosts):
    def mounted(self, host: Host, device: str) -> pathlib.Path:
        place = host.root / "mnt"
        place.mkdir(exist_ok=True)
        run("mount", device, str(place))
        return place

    def settled(self, host: Host) -> dict:
        self.in_sync()
        wait_until(lambda: host.view()["dirty_blocks"] == 0, "everything is sent", 60)
        return host.view()

    def full_copies(self) -> int:
        return (self.left.root / "mirrord.out").read_text().count("does not use are not copied")

    def story(self, kind: str) -> None:
        left, right = self.left, self.right
        for host in (left, right):
            host.disk.unlink()
            with open(host.disk, "wb") as disk:
                disk.truncate(SIZE)
        run(f"mkfs.{kind}", "-q", str(left.disk))
        place = left.root / "mnt"
        place.mkdir()
        run("mount", "-o", "loop", str(left.disk), str(place))
        (place / "kept").mkdir()
        (place / "load").mkdir()
        for number in range(DATA_MIB):
            (place / "kept" / str(number)).write_bytes(os.urandom(MIB))
        kept = sums(place / "kept")
        run("umount", str(place))
        # What was never copied is rubbish, not zeroes.
        run("bash", "-c", 'tr "\\0" "\\245" < /dev/zero | head -c "$1" > "$2"', "fill", str(SIZE), str(right.disk))

        self.create()
        made = self.settled(left)
        # The file system's journal comes on top.
        self.assertGreater(made["resync_bytes_sent"], DATA_MIB * MIB)
        self.assertLess(made["resync_bytes_sent"], (DATA_MIB + 90) * MIB)
        self.assertGreater(made["left_out_blocks"], SIZE // 65536 // 2)
        self.assertEqual(self.full_copies(), 1)

        # In full again, mounted and under load: frozen for a moment, and what is written meanwhile arrives.
        self.mounted(left, left.device)
        load = subprocess.Popen(["bash", "-c", LOAD, "load", str(place / "load")], start_new_session=True)
        try:
            left.command("resync", "R")
            wait_until(lambda: self.full_copies() == 2, "the mounted file system was asked", 60)
            again = self.settled(left)
        finally:
            os.killpg(load.pid, signal.SIGKILL)
            load.wait()
        self.assertLess(again["resync_bytes_sent"], SIZE // 2 + 90 * MIB)
        run("sync", "-f", str(place))
        self.assertIn("no difference", left.command("verify", "R", "--rate", "1000").stdout)
        self.settled(left)

        # Changed while the mirror is paused: which files are these?
        left.command("pause", "R")
        (place / "changed while alone").write_bytes(os.urandom(200000))
        run("sync", "-f", str(place))
        for host in (left, right):
            shown = host.command("split-brain", "R").stdout
            self.assertIn("/changed while alone\n", shown)
            self.assertNotIn("/kept/7\n", shown)
        # Checked while it is paused: what that repairs, if anything, goes over like every other change.
        run("umount", str(place))
        run(*REPAIR[kind], left.device)
        self.assertIn("/changed while alone\n", left.command("split-brain", "R").stdout)
        left.command("continue", "R")
        self.assertLess(self.settled(left)["resync_bytes_sent"], 64 * MIB)
        self.assertEqual(self.full_copies(), 2)
        self.mounted(left, left.device)
        before = sums(place)
        self.assertTrue(all(line.split()[0] in before for line in kept.splitlines()))
        run("umount", str(place))

        # The other end takes over: the file system is sound and every file is what it was.
        left.command("demote", "R")
        right.command("promote", "R")
        run(*CHECK[kind], right.device)
        there = self.mounted(right, right.device)
        self.assertEqual(sums(there), before)
        # Free space still differs, and the new source does not take that for damage.
        self.settled(right)
        # Space that was reserved and never written counts as in use and may differ.
        verified = right.command("verify", "R", "--rate", "1000", code=None)
        self.assertIn("never copied", verified.stdout + verified.stderr)
        run("umount", str(there))

    # Spec: REP-029, REP-109, REP-110, REP-119, REP-338, MOP-046, MOP-096
    def test_ext4(self) -> None:
        self.story("ext4")

    # Spec: REP-029, REP-109, REP-110, REP-119, REP-338, MOP-046, MOP-096
    def test_xfs(self) -> None:
        self.story("xfs")
