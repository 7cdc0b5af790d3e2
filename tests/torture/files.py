#!/usr/bin/env python3
"""Torments a mirrored volume with a file system on it: files are written, mapped, truncated, punched and replaced while the
source's host loses power or its mirrord is killed. After each blow the file system is sound by its own checker, and every file
holds what its last fsync promised, or what was done to it later.

    sudo tests/torture/files.py --cycles 50 --mode async --fs xfs --seed 7

    source          the source's host loses power, the target is promoted and mounts the file system
    source-daemon   kill -9 of mirrord on the source, which its users do not notice
    both            both hosts lose power, the source comes back

Needs root and the release build. Exit code 1 when a promise was broken; the lab's directory is kept then.
"""

from __future__ import annotations

import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

from file_history import FILES, Files, read  # noqa: E402
from lab import Host, Lab, wait_until  # noqa: E402
from torture import VOLUME, Broken, Torture, options_of, torment  # noqa: E402

MIB = 1 << 20
SIZES = {"ext4": 64 * MIB, "xfs": 320 * MIB}
CHECKERS = {"ext4": ("e2fsck", "-f", "-n"), "xfs": ("xfs_repair", "-n")}
KINDS = ("source", "source-daemon", "both")
AT = "/mnt/files"


class FileTorture(Torture):
    def __init__(self, lab: Lab, mode: str, seed: int, fs: str) -> None:
        super().__init__(lab, mode, seed)
        self.fs, self.bytes = fs, SIZES[fs]
        self.files = Files()

    def progress(self) -> str:
        return f"{self.files.steps} steps, {self.files.syncs} fsyncs"

    def begin(self) -> None:
        super().begin()
        self.source.run(f"mkfs.{self.fs}", "-q", self.device(self.source), timeout=120)
        self.mount(self.source)

    def mount(self, host: Host) -> None:
        host.run("mkdir", "-p", AT)
        host.run("mount", self.device(host), AT, timeout=120)

    def write_files(self):  # noqa: ANN201
        self.log.write_text("")
        return self.source.spawn("/usr/bin/python3", str(HERE / "file_writer.py"), AT, str(self.log), str(self.files.last + 1),
                                 str(self.chance.randrange(1 << 30)), log="file_writer")

    def some_steps(self) -> None:
        count = self.log.read_text().count("\nG ")
        wait_until(lambda: self.log.read_text().count("\nG ") >= count + 5, 90, "5 fsyncs have returned")
        time.sleep(self.chance.uniform(0, 1))  # the random moment of the blow

    def check(self, host: Host) -> None:
        """Mounting replays the journal; what is there then is looked at, unmounted and given to the checker."""
        self.files.play(self.log.read_text())
        if self.files.errors:
            raise Broken(f"a step failed: {self.files.errors[:3]}")
        self.mount(host)
        try:
            copy = host.root / "copy"
            host.run("rm", "-rf", str(copy))
            host.run("cp", "-r", AT, str(copy), timeout=120)
        finally:
            host.run("umount", AT, timeout=120)
        seen = {file: read((copy / f"f{file}").read_bytes(), file) if (copy / f"f{file}").exists() else None for file in range(FILES)}
        if found := self.files.problems(seen):
            raise Broken(f"{len(found)} on {host.name}, such as: " + "; ".join(found[:5]))
        checked = host.run(*CHECKERS[self.fs], self.device(host), code=None, timeout=300)
        if checked.returncode != 0:
            raise Broken(f"{' '.join(CHECKERS[self.fs])} on {host.name}: {checked.stdout}{checked.stderr}")
        self.files.take(seen)
        self.mount(host)

    def blow_source(self) -> None:
        self.write_files()
        self.some_steps()
        self.source.power_off()
        heir = self.target
        wait_until(lambda: heir.command("sys_getst", "-s", self.source.name).strip() == "DEAD", 30, f"{self.source.name} is DEAD")
        promoted = heir.run("understudy", "mirror", "promote", "--peer-dead", VOLUME, timeout=90, code=None)
        if promoted.returncode != 0:
            if "out of date" not in promoted.stderr:
                raise Broken(f"{heir.name} is not promoted: {promoted.stderr}")
            self.refusals += 1
            self.source.start()
            self.source.run("understudy", "mirror", "promote", VOLUME, timeout=90, code=None)
            self.returns(self.target)
            self.in_sync()
            return self.check(self.source)
        self.source, self.target = heir, self.source
        self.check(self.source)
        self.returns(self.target)

    def blow_source_daemon(self) -> None:
        writer = self.write_files()
        self.some_steps()
        self.restart(self.source)
        self.some_steps()
        self.tell_end(writer)
        self.source.run("umount", AT, timeout=120)
        self.check(self.source)

    def blow_both(self) -> None:
        self.write_files()
        self.some_steps()
        first, second = self.chance.sample((self.source, self.target), 2)
        first.power_off()
        second.power_off()
        self.source.start()
        self.source.run("understudy", "mirror", "promote", VOLUME, timeout=90, code=None)
        self.returns(self.target)
        self.in_sync()
        self.check(self.source)

    def cycle(self, kind: str) -> None:
        self.in_sync()
        {"source": self.blow_source, "source-daemon": self.blow_source_daemon, "both": self.blow_both}[kind]()
        self.in_sync()


def main() -> int:
    parser = options_of(__doc__.splitlines()[0], KINDS)
    parser.add_argument("--fs", choices=tuple(SIZES), default="ext4")
    options = parser.parse_args()
    return torment(options, f"{options.mode}, {options.fs}", lambda lab: FileTorture(lab, options.mode, options.seed, options.fs))


if __name__ == "__main__":
    sys.exit(main())
