"""Two mirrord processes with roots of their own on loopback addresses, files as disks, real devices; no cluster."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest
from collections.abc import Callable

from lab import build_directory

PROGRAMS = build_directory() / "bin"
SIZE = 8 << 20
BLOCK = 4096
START_LIMIT = 120 if "UNDERSTUDY_VM" in os.environ else 30  # seconds; emulated machines are slow


def wait_until(condition: Callable[[], object], what: str, limit: float = 30) -> object:
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Host:
    def __init__(self, directory: pathlib.Path, name: str, address: str, ca: pathlib.Path) -> None:
        self.name, self.address = name, address
        self.root = directory / name
        self.disk = self.root / "disk"
        self.process: subprocess.Popen[bytes] | None = None
        pki = self.root / "etc/understudy/pki"
        pki.mkdir(parents=True)
        (self.root / "etc/understudy/node").write_text(name + "\n")
        self.disk.write_bytes(bytes(SIZE))
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{pki}/node.key")
        openssl("req", "-new", "-key", f"{pki}/node.key", "-subj", f"/CN={name}", "-out", f"{pki}/node.csr")
        openssl("x509", "-req", "-in", f"{pki}/node.csr", "-CA", f"{ca}/ca.pem", "-CAkey", f"{ca}/ca.key",
                "-CAcreateserial", "-days", "10", "-out", f"{pki}/node.pem")
        (pki / "ca.pem").write_bytes((ca / "ca.pem").read_bytes())

    def start(self) -> None:
        log = open(self.root / "mirrord.out", "ab")
        with log:
            self.process = subprocess.Popen(
                [PROGRAMS / "mirrord", "--root", str(self.root), "--listen", self.address, "--foreground"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.command("status", code=None).returncode == 0, f"mirrord of {self.name} answers", START_LIMIT)

    def end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(40)
        self.process = None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def crash(self) -> None:
        """The host, not just the daemon: the keeper dies too, and with it the device."""
        self.kill()
        for pid in self.keepers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.keepers(), "the keeper is gone")

    def keepers(self) -> list[int]:
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().split(b"\0")
                if str(self.root / "run/understudy/keeper.sock").encode() in words:
                    state = (entry.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    if state != "Z":
                        found.append(int(entry.parent.name))
        return found

    def command(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([PROGRAMS / "understudy", "mirror", *words], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "UNDERSTUDY_ROOT": str(self.root), "LC_ALL": "C.UTF-8"}, check=False)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{self.name}: mirror {' '.join(words)} ended with {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}\n{self.log()}")
        return done

    def refuse(self, *words: str) -> str:
        done = self.command(*words, code=None)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def log(self) -> str:
        return "".join(f"{self.name}: {line}\n"
                       for line in (self.root / "mirrord.out").read_text().splitlines()[-25:])

    def view(self) -> dict:
        return self.view_of("R")

    def view_of(self, volume: str) -> dict:
        return json.loads(self.command("status", volume, "--json").stdout)["mirrors"][0]

    def snapshot(self, volume: str) -> dict:
        return json.loads(self.command("snapshot", "status", volume, "--json").stdout)["snapshots"][0]

    @property
    def device(self) -> str:
        return str(self.root / "dev/understudy/R")

    def write(self, block: int, text: str) -> None:
        with open(self.device, "r+b", buffering=0) as device:
            device.seek(block * BLOCK)
            device.write(text.encode().ljust(BLOCK, b"."))
            os.fsync(device.fileno())

    def read(self, block: int) -> str:
        """From the disk below."""
        with open(self.disk, "rb") as disk:
            disk.seek(block * BLOCK)
            return disk.read(BLOCK).rstrip(b".\0").decode()

    def clean_up(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.kill()
        for pid in self.keepers():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        listed = subprocess.run(["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"],
                                capture_output=True, text=True, check=False).stdout
        for line in listed.splitlines():
            name, _, backing = line.partition(" ")
            if str(self.root) in backing:
                subprocess.run(["losetup", "--detach", name], check=False, capture_output=True)
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(str(self.root))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


@unittest.skipIf(os.geteuid() != 0, "needs root: devices and mounts")
class TwoHosts(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="understudy-two-hosts-")
        self.addCleanup(temporary.cleanup)
        directory = pathlib.Path(temporary.name)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10",
                "-subj", "/CN=test cluster", "-keyout", f"{directory}/ca.key", "-out", f"{directory}/ca.pem")
        self.left = Host(directory, "left", "127.0.0.1", directory)
        self.right = Host(directory, "right", "127.0.0.2", directory)
        for host in (self.left, self.right):
            self.addCleanup(host.clean_up)
            host.start()

    def create(self, *more: str) -> None:
        self.left.command("create", "R", "--device", str(self.left.disk), "--target", "right", "--target-device",
                          str(self.right.disk), "--source-address", self.left.address, "--target-address",
                          self.right.address, *more)

    def in_sync(self) -> None:
        for host in (self.left, self.right):
            wait_until(lambda h=host: h.view()["state"] == "mirroring" and h.view()["connected"],
                       f"{host.name} mirroring; {self.left.log()}{self.right.log()}")
