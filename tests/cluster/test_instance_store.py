"""Disks that are blank after a stop of the machine: what makes them usable before mirrord starts."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from lab import PROJECT

HELPER = PROJECT / "packaging/systemd/understudy-instance-store"


class Store:
    def __init__(self, directory: pathlib.Path) -> None:
        self.image, self.at, self.list = directory / "disk", directory / "fast", directory / "instance-store"
        self.image.write_bytes(b"")
        with self.image.open("r+b") as image:
            image.truncate(32 << 20)
        self.device = subprocess.run(["losetup", "--show", "--find", str(self.image)], check=True, capture_output=True, text=True).stdout.strip()
        self.list.write_text(f"# device and directory\n\n{self.device} {self.at}\n")

    def start(self, code: int = 0) -> str:
        done = subprocess.run([str(HELPER), str(self.list)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.at)], check=True)

    def machine_is_stopped(self) -> None:
        self.unmount()
        subprocess.run(["dd", "if=/dev/zero", f"of={self.device}", "bs=1M", "count=32", "oflag=direct", "status=none"], check=True)

    def remove(self) -> None:
        for words in (["umount", "--lazy", str(self.at)], ["losetup", "--detach", self.device]):
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run(words, check=False, capture_output=True, timeout=30)


@pytest.fixture
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="understudy-instance-store-") as directory:
        made = Store(pathlib.Path(directory))
        yield made
        made.remove()


# Spec: REP-072, MOP-185
def test_a_blank_disk_is_made_usable_and_one_that_holds_something_is_left_alone(store: Store) -> None:
    assert "a new file system is made" in store.start()
    (store.at / "log").write_text("dirty blocks")
    assert store.start() == "", "it is mounted already"
    # After a reboot the content is still there.
    store.unmount()
    assert "new file system" not in store.start()
    assert (store.at / "log").read_text() == "dirty blocks"
    store.machine_is_stopped()
    assert "a new file system is made" in store.start()
    assert not (store.at / "log").exists()
    # Somebody else's disk under this name.
    store.machine_is_stopped()
    subprocess.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", store.device], input="label: gpt\n,,L\n", text=True, check=True, capture_output=True)
    before = store.image.read_bytes()
    assert "nothing is done" in store.start(code=1)
    assert store.image.read_bytes() == before
    store.list.write_text(f"{store.device}\n")
    assert "a device and a directory" in store.start(code=1)


def test_the_unit_comes_before_the_replication_daemon() -> None:
    unit = (PROJECT / "packaging/systemd/understudy-instance-store.service").read_text().splitlines()
    assert any(line.startswith("Before=") and "understudy-mirror.service" in line for line in unit)
    assert "WantedBy=understudy-mirror.service" in unit
    assert any(line.endswith("/understudy-instance-store") for line in unit if line.startswith("ExecStart="))
