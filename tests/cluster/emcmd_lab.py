"""Two mirrord processes with a volume E each, and emcmd as it is typed."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

from lab import PROJECT
from two_hosts import PROGRAMS, Host, openssl, wait_until

SIZE_BLOCKS = 128  # of 64 KiB: the hosts' disks


class Node(Host):
    volume = "E"

    def program(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(PROGRAMS / words[0]), *words[1:]], capture_output=True, text=True, timeout=150, check=False,
                              env={**os.environ, "UNDERSTUDY_ROOT": str(self.root), "LC_ALL": "C.UTF-8", "TZ": "UTC"})

    def script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """One of the support tools."""
        return subprocess.run([str(PROJECT / "packaging/support" / name), *words], capture_output=True, text=True, timeout=150, check=False,
                              env={**os.environ, "UNDERSTUDY_ROOT": str(self.root), "LC_ALL": "C.UTF-8",
                                   "PATH": f"{PROGRAMS}:{os.environ['PATH']}"})

    def emcmd(self, *words: str) -> str:
        """Standard output; the exit code has to be what the status says."""
        done = self.program("emcmd", *words)
        last = done.stdout.strip().splitlines()[-1:] or [""]
        if last[0].startswith("Status = "):
            status = int(last[0].removeprefix("Status = "))
            expected = 0 if status == 1072 else min(status, 251)
            assert done.returncode == expected, f"emcmd {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        self.last = done
        return done.stdout

    def ok(self, *words: str) -> None:
        out = self.emcmd(*words)
        assert out == "Status = 0\n", f"{self.name}: emcmd {' '.join(words)}\n{out}{self.last.stderr}\n{self.log()}"

    def status(self, *words: str) -> int:
        return int(self.emcmd(*words).strip().splitlines()[-1].removeprefix("Status = "))

    def state(self) -> str:
        """Role and state of volume E, as scripts read them."""
        fields = self.emcmd(".", "GETMIRRORVOLINFO", "E").split()
        return f"{fields[1]} {fields[4]}"

    def view(self) -> dict:
        return json.loads(self.command("status", "E", "--json").stdout)["mirrors"][0]

    @property
    def device(self) -> str:
        return str(self.root / "dev/understudy/E")

    def understudy(self, *words: str) -> str:
        done = self.program("understudy", *words)
        assert done.returncode == 0, f"{self.name}: understudy {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout


class EmcmdLab:
    def __init__(self, directory: pathlib.Path, size: int = SIZE_BLOCKS * 65536) -> None:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10",
                "-subj", "/CN=test cluster", "-keyout", f"{directory}/ca.key", "-out", f"{directory}/ca.pem")
        self.left = Node(directory, "left", "127.0.0.1", directory)
        self.right = Node(directory, "right", "127.0.0.2", directory)
        for node in (self.left, self.right):
            os.truncate(node.disk, size)
            node.start()
            node.understudy("volume", "set", "E", "--device", str(node.disk))

    def mirrored(self) -> None:
        """Volume E is mirrored from left to right and in sync, whatever was before."""
        for node in (self.left, self.right):
            node.emcmd(".", "CLEARSWITCHOVER", "E")
            node.emcmd(".", "CLEARBLOCKTARGET", "E")
            node.emcmd(".", "SETCONFIGURATION", "E", "0")
            node.emcmd(".", "UNLOCKVOLUME", "E") if node.state() == "0 0" else None
        if (self.left.state(), self.right.state()) != ("1 1", "2 1"):
            for node in (self.left, self.right):
                node.emcmd(".", "DELETELOCALMIRRORONLY", "E")
                node.emcmd(".", "CLEARSWITCHOVER", "E")
            self.left.ok("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "S")
        self.in_sync()

    def in_sync(self) -> None:
        for node, state in ((self.left, "1 1"), (self.right, "2 1")):
            wait_until(lambda n=node, s=state: n.state() == s, f"{node.name} is {state}\n{self.left.log()}{self.right.log()}")

    def close(self) -> None:
        for node in (self.left, self.right):
            node.clean_up()
