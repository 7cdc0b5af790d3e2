"""A mirrored volume that is used from another host: NBD by TCP, with the cluster's certificates."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import unittest

from lab import build_directory
from two_hosts import Host, TwoHosts, wait_until


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@unittest.skipIf(shutil.which("nbdinfo") is None, "needs libnbd-bin")
class NbdClients(TwoHosts):
    def setUp(self) -> None:
        super().setUp()
        self.ports = {}
        for host in (self.left, self.right):
            self.ports[host] = free_port(host.address)
            settings = host.root / "etc/default/LifeKeeper"
            settings.parent.mkdir(parents=True, exist_ok=True)
            settings.write_text(f'NbdListen="R={host.address}:{self.ports[host]}"\n')
            host.end(signal.SIGTERM)
            host.start()

    def shown_by(self, host: Host) -> pathlib.Path:
        """What a client shows that has the certificate of this host."""
        directory = host.root / "client"
        if not directory.exists():
            directory.mkdir()
            for name, file in (("ca-cert", "ca.pem"), ("client-cert", "node.pem"), ("client-key", "node.key")):
                shutil.copy(host.root / "etc/understudy/pki" / file, directory / f"{name}.pem")
        return directory

    def client(self, *words: str, to: Host, tls: bool = True, shows: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
        # By the node's name: it is the one in its certificate, which clients compare.
        where = f"{to.name}:{self.ports[to]}/R"
        uri = f"nbds://{where}?tls-certificates={shows or self.shown_by(self.left)}" if tls else f"nbd://{where}"
        names = self.left.root / "hosts"
        names.write_text("".join(f"{host.address} {host.name}\n" for host in (self.left, self.right)))
        alone = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(names)]
        return subprocess.run([*alone, *(word.replace("URI", uri) for word in words)], capture_output=True, text=True, timeout=60, check=False)

    def test_clients_of_other_hosts_write_to_the_mirror_by_tls_and_follow_its_source(self) -> None:
        image, back = self.left.root / "image", self.left.root / "back"
        image.write_bytes(bytes(1 << 20) + b"understudy" * 100_000)
        image.write_bytes(image.read_bytes().ljust(self.left.disk.stat().st_size, b"\0"))
        self.create("--export", "nbd")
        self.in_sync()
        assert self.client("nbdinfo", "--size", "URI", to=self.right).returncode != 0, "a target's volume is not offered"
        assert self.client("nbdinfo", "--size", "URI", to=self.left, tls=False).returncode != 0, "not without TLS"

        copied = self.client("nbdcopy", "--flush", "--connections=2", str(image), "URI", to=self.left)
        assert copied.returncode == 0, copied.stderr + self.left.log()
        assert self.left.disk.read_bytes() == self.right.disk.read_bytes() == image.read_bytes()

        self.right.command("promote", "R")
        assert self.client("nbdinfo", "--size", "URI", to=self.left).returncode != 0
        copied = self.client("nbdcopy", "--connections=2", "URI", str(back), to=self.right)
        assert copied.returncode == 0, copied.stderr + self.right.log()
        assert back.read_bytes() == image.read_bytes()

    def certificate(self, client: str) -> pathlib.Path:
        directory = self.left.root / "clients" / client
        done = subprocess.run([build_directory() / "bin/understudy", "nbd", "certificate", client, "--directory", str(directory)],
                              capture_output=True, text=True, timeout=60, check=False,
                              env={**os.environ, "UNDERSTUDY_ROOT": str(self.left.root), "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done.stderr
        return directory

    def lets_in(self, shows: pathlib.Path | None = None) -> bool:
        return self.client("nbdinfo", "--size", "URI", to=self.left, shows=shows).returncode == 0

    def test_clients_that_are_no_nodes_have_an_authority_of_their_own_which_changes_without_a_restart(self) -> None:
        self.create("--export", "nbd")
        self.in_sync()
        backup = self.certificate("backup")
        assert self.lets_in() and not self.lets_in(backup), "so far nodes alone"
        authority = self.left.root / "etc/understudy/nbd-clients.pem"
        settings = self.left.root / "etc/default/LifeKeeper"
        settings.write_text(f"{settings.read_text()}NbdClientCa={authority}\n")
        wait_until(lambda: self.lets_in(backup), f"the client is let in; {self.left.log()}")
        assert not self.lets_in(), "and nodes are not"
        assert self.lets_in(self.certificate("desk"))
        # All of them are taken back.
        authority.unlink()
        authority.with_suffix(".key").unlink()
        other = self.certificate("other")
        wait_until(lambda: self.lets_in(other), f"the new one is let in; {self.left.log()}")
        assert not self.lets_in(backup)


if __name__ == "__main__":
    unittest.main()
