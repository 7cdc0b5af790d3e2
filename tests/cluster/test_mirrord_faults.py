"""Bad input and bad surroundings for two mirrord processes: a clear message, nothing half-done."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator

from two_hosts import BLOCK, SIZE, Host, TwoHosts, wait_until

DISPATCH_PORT = 9999
DATA_PORT = 10017  # of volume R
PORT_STEP, PORT_ATTEMPTS = 256, 17
OTHER_VERSION = b"\x08\x63"  # a message whose first field, the protocol version, is 99


def take_port(address: str, port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((address, port))
    taken.listen()
    return taken


def tls(host: Host, server: bool) -> ssl.SSLContext:
    """Who shows the certificate of `host` and wants one of the cluster's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    pki = host.root / "etc/understudy/pki"
    context.load_verify_locations(pki / "ca.pem")
    context.load_cert_chain(pki / "node.pem", pki / "node.key")
    return context


def send_frame(channel: ssl.SSLSocket, data: bytes) -> None:
    channel.sendall(struct.pack("<I", len(data)) + data)


def read_frame(channel: ssl.SSLSocket) -> bytes:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = channel.recv(count - len(data))
            if not more:
                raise ConnectionError("the peer closed the connection")
            data += more
        return data
    (length,) = struct.unpack("<I", exactly(4))
    return exactly(length)


@contextlib.contextmanager
def peer_of_another_version(host: Host) -> Iterator[None]:
    """Answers on the dispatch port of `host`, which must be down, as a later release would."""
    listener = take_port(host.address, DISPATCH_PORT)
    listener.settimeout(0.2)
    context = tls(host, server=True)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                plain, _ = listener.accept()
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as channel:
                    read_frame(channel)
                    send_frame(channel, OTHER_VERSION)
                    channel.recv(1)  # the caller closes
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        listener.close()


class MirrorFaults(TwoHosts):
    def loop_device(self, host: Host, sector: int) -> str:
        device = subprocess.run(["losetup", "--find", "--show", "--sector-size", str(sector), str(host.disk)],
                                capture_output=True, text=True, check=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=False, capture_output=True)
        return device

    def create_on(self, left_device: str, right_device: str) -> subprocess.CompletedProcess[str]:
        return self.left.command("create", "R", "--device", left_device, "--target", "right", "--target-device", right_device,
                                 "--source-address", self.left.address, "--target-address", self.right.address, code=None)

    def expect_nothing_left(self) -> None:
        for host in (self.left, self.right):
            self.assertEqual(host.command("status").stdout, "no mirrors\n")
            self.assertEqual(list((host.root / "var/lib/understudy/mirrors").glob("*")), [])
            self.assertEqual(list((host.root / "var/lib/understudy/Bitmaps").glob("*")), [])

    # Spec: REP-023
    def test_devices_with_other_sector_sizes_are_refused(self) -> None:
        refused = self.create_on(self.loop_device(self.left, 512), self.loop_device(self.right, 4096))
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"sector sizes differ: 512 bytes on left, 4096 bytes on right")
        self.expect_nothing_left()

    # Spec: REP-026
    def test_a_device_that_somebody_has_is_refused_and_he_is_named(self) -> None:
        left, right = self.loop_device(self.left, 512), self.loop_device(self.right, 512)
        for device in (left, right):
            with open(os.open(device, os.O_RDWR | os.O_EXCL), "r+b", buffering=0):
                refused = self.create_on(left, right)
            self.assertNotEqual(refused.returncode, 0)
            self.assertRegex(refused.stderr, rf"{device} is in use by .*\(pid {os.getpid()}\)")
            self.expect_nothing_left()
        self.assertEqual(self.create_on(left, right).returncode, 0)
        self.in_sync()
        self.left.command("delete", "R")

    # Spec: REP-040, MOP-135
    def test_a_taken_data_port_is_passed_over_and_none_free_is_told(self) -> None:
        with contextlib.ExitStack() as taken:
            taken.enter_context(take_port(self.right.address, DATA_PORT))
            self.create()
            self.in_sync()
            self.left.command("pause", "R")
            for step in range(1, PORT_ATTEMPTS):
                taken.enter_context(take_port(self.right.address, DATA_PORT + step * PORT_STEP))
            self.left.command("continue", "R")
            wait_until(lambda: "no port for the data links of volume R" in self.left.view()["problem"], "the cause is told")
            self.assertIn("in use", self.left.view()["problem"])
        self.in_sync()

    # Spec: REP-039
    def test_a_taken_dispatch_port_is_told_and_used_when_it_is_free(self) -> None:
        self.create()
        self.in_sync()
        self.right.end(signal.SIGTERM)
        with take_port(self.right.address, DISPATCH_PORT):
            self.right.start()  # its own commands work
            wait_until(lambda: "peers are not served yet" in self.right.log(), "the cause is told")
            self.assertRegex(self.right.log(), rf"peers are not served yet: .*{DISPATCH_PORT}")
        self.in_sync()

    # Spec: REP-041
    def test_a_peer_of_another_protocol_version_is_told_on_both_sides_and_nothing_is_lost(self) -> None:
        self.create()
        self.in_sync()
        self.right.end(signal.SIGTERM)
        wait_until(lambda: self.left.view()["state"] == "paused", "the source is alone")
        with peer_of_another_version(self.right):
            wait_until(lambda: "speaks protocol version 99, this one version 1" in self.left.view()["problem"], "told on left")
            self.assertIn("install the same release on both nodes", self.left.view()["problem"])
            self.left.write(2, "meanwhile")
        self.right.start()
        self.in_sync()
        self.assertEqual(self.right.read(2), "meanwhile")
        # The other way round: a later release asks this one.
        with socket.create_connection((self.left.address, DISPATCH_PORT), 5, (self.right.address, 0)) as plain, \
                tls(self.right, server=False).wrap_socket(plain) as channel:
            send_frame(channel, OTHER_VERSION)
            self.assertIn(b"speaks protocol version 99, this one version 1", read_frame(channel))
        self.in_sync()


class FullDisks(TwoHosts):
    """The intent logs, or the records, lie on a file system of their own that runs full."""

    def small_file_system(self, host: Host, directory: str) -> pathlib.Path:
        where = host.root / "var/lib/understudy" / directory
        image = host.root / f"{directory}.img"
        image.write_bytes(bytes(4 << 20))
        host.end(signal.SIGTERM)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        where.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(where)], check=False, capture_output=True)
        (where / "lost+found").rmdir()
        host.start()
        return where

    @staticmethod
    def fill(where: pathlib.Path) -> pathlib.Path:
        filler = where / "filler"
        with open(filler, "ab", buffering=0) as file:
            for size in (65536, 1024):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        return filler

    # Spec: REP-052, REP-063
    def test_a_mirror_needs_room_for_its_log_once_and_never_again(self) -> None:
        logs = self.small_file_system(self.left, "Bitmaps")
        filler = self.fill(logs)
        refused = self.left.command("create", "R", "--device", str(self.left.disk), "--target", "right", "--target-device",
                                    str(self.right.disk), "--source-address", self.left.address, "--target-address",
                                    self.right.address, code=None)
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"cannot create the intent log .*R@\w+\.bitmap .*No space left on device; free space there")
        self.assertEqual([entry.name for entry in logs.iterdir()], ["filler"])
        self.assertEqual(self.right.command("status").stdout, "no mirrors\n")
        filler.unlink()
        self.create()
        self.in_sync()
        # From here on the log only changes what it has.
        self.fill(logs)
        for block in range(0, SIZE // BLOCK, 16):
            self.left.write(block, f"block {block}")
        self.right.kill()
        self.left.write(1, "alone")
        self.left.crash()
        self.left.start()
        self.right.start()
        self.in_sync()
        self.assertTrue(self.left.view()["log_valid"])
        self.assertIn("session with right, partial resync", self.left.log())
        self.assertEqual((self.right.read(1), self.right.read(16)), ("alone", "block 16"))

    # Spec: REP-079, REP-151
    def test_a_write_alone_waits_until_its_record_fits_on_the_disk(self) -> None:
        records = self.small_file_system(self.left, "mirrors")
        self.create()
        self.in_sync()
        filler = self.fill(records)
        self.right.kill()
        writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={self.left.device}", f"bs={BLOCK}", "count=1", "seek=3",
                                   "oflag=direct", "conv=notrunc"], stderr=subprocess.DEVNULL)
        self.addCleanup(writer.kill)
        wait_until(lambda: "writes wait until it is recorded" in self.left.view()["problem"], "the cause is told")
        self.assertIn("no space left", self.left.view()["problem"])
        self.assertIsNone(writer.poll())
        filler.unlink()
        self.assertEqual(writer.wait(30), 0)
        self.right.start()
        self.in_sync()
