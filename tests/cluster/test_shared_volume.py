"""A volume on storage that two hosts share: one owns it, whatever the other does, and a host that stood still when it
lost the volume does not write to it any more."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator

import pytest

from lab import Host, Lab, run, wait_until

MIB = 1 << 20
TAG = "Vol.E"

# Writes its count to the beginning of the device, past every cache, until it cannot.
WRITER = """
import mmap, os, sys
device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
count = 0
while True:
    count += 1
    page[:16] = b'left %011d' % count
    try:
        os.pwrite(device, page, 0)
    except OSError as error:
        print('failed after', count, error.errno, flush=True)
        sys.exit(3)
    if count == 100:
        print('writing', flush=True)
"""


class Storage:
    """What a storage system gives to its hosts: each has devices of its own for the same blocks."""

    def __init__(self, directory: pathlib.Path, *hosts: Host, area_size: int = MIB) -> None:
        self.image, self.area_image = directory / "lun-data", directory / "lun-area"
        for path, size in ((self.image, 64 * MIB), (self.area_image, area_size)):
            with open(path, "wb") as file:
                file.truncate(size)
        self.device = {host: run("losetup", "--find", "--show", str(self.image)).stdout.strip() for host in hosts}
        self.area = {host: run("losetup", "--find", "--show", str(self.area_image)).stdout.strip() for host in hosts}

    def content(self) -> str:
        return hashlib.sha256(self.image.read_bytes()).hexdigest()

    def first_bytes(self) -> bytes:
        with open(self.image, "rb") as file:
            return file.read(16)

    def remove(self) -> None:
        for device in (*self.device.values(), *self.area.values()):
            run("losetup", "--detach", device, check=False)


@pytest.fixture
def storage(lab: Lab, pair: tuple[Host, Host]) -> Iterator[Storage]:
    left, right = pair
    made = Storage(lab.directory, left, right)
    left.command("understudy", "volume", "set", "E", "--device", made.device[left])
    left.command("understudy", "volume", "share", "E", "--area", made.area[left], "--hosts", "left,right")
    yield made
    for host in pair:
        host.power_off()
    made.remove()


def emcmd(host: Host, *words: str) -> int:
    out = host.run("emcmd", ".", *words, code=None, timeout=120).stdout
    return int(out.strip().splitlines()[-1].removeprefix("Status = "))


def owner(host: Host) -> str:
    return host.command("understudy", "volume", "owner", "E").strip()


def shown(host: Host) -> dict:
    return next(one for one in json.loads(host.command("understudy", "volume", "list", "--json"))["volumes"] if one["volume"] == "E")


def opens(host: Host, device: str) -> bool:
    """Whether somebody on the host can have the disk for himself, as mount wants it."""
    script = "import os,sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)"
    return host.run("python3", "-c", script, device, code=None).returncode == 0


# Spec: CLU-217, CLU-229, CLU-230, CLU-231, EMC-220, EMC-262, MOP-063, MOP-064, MOP-065, MOP-066
def test_one_host_owns_the_volume_and_one_that_stood_still_does_not_write_any_more(pair: tuple[Host, Host], storage: Storage) -> None:
    left, right = pair
    # Before a host is told where the lock area lies it cannot open the volume; then it is closed, without a reboot.
    right.command("understudy", "volume", "set", "E", "--device", storage.device[right])
    assert emcmd(right, "SETCONFIGURATION", "E", "256") == 0
    assert emcmd(right, "UNLOCKVOLUME", "E") == 1
    right.command("understudy", "volume", "share", "E", "--area", storage.area[right])
    for host in pair:
        assert not opens(host, storage.device[host])
        assert (shown(host)["locked_by"], shown(host)["shared"], shown(host)["open"]) == ("shared", True, False)
    assert owner(left) == "-"

    assert emcmd(left, "UNLOCKVOLUME", "E") == 0
    assert owner(right) == "left" and shown(left)["open"]
    assert emcmd(left, "CREATEMIRROR", "E", right.address(2), "S") == 87, "both have the same disk"
    refused = right.run("emcmd", ".", "UNLOCKVOLUME", "E", code=33)
    assert "owned by left, which is alive" in refused.stderr
    assert not (right.root / "dev/understudy/E").exists()
    device = left.root / "dev/understudy/E"
    assert emcmd(left, "LOCKVOLUME", "E") == 0
    assert owner(left) == "-" and not device.exists() and not opens(left, storage.device[left])
    assert emcmd(right, "UNLOCKVOLUME", "E") == 0
    assert emcmd(right, "LOCKVOLUME", "E") == 0
    assert emcmd(left, "UNLOCKVOLUME", "E") == 0

    # In use: it is not given up.
    left.spawn("python3", "-c", WRITER, str(device), log="writer")
    log = left.root / "var/log/understudy/writer.out"
    wait_until(lambda: "writing" in log.read_text(), 30, "the writer writes")
    assert emcmd(left, "LOCKVOLUME", "E") == 33

    # The host stands still with all of its processes, in the middle of its writes.
    mirrord = left.pids_of("mirrord")
    left.run("bash", "-c", "kill -STOP -1")
    assert emcmd(right, "UNLOCKVOLUME", "E") == 0, "the lease has run out"
    assert owner(right) == "right"
    right.run("dd", "if=/dev/zero", f"of={right.root}/dev/understudy/E", "bs=4096", "count=1", "oflag=direct", "status=none")
    assert storage.first_bytes() == bytes(16)
    before = storage.content()
    # Its kernel has ended the process through which it wrote, though that was stopped.
    wait_until(lambda: not set(left.pids_of("mirrord")) & set(mirrord), 20, "mirrord of left is fenced")
    left.run("bash", "-c", "kill -CONT -1", code=None)
    left.command("lkstart", "-w", "60", timeout=90)
    wait_until(lambda: "failed after" in log.read_text(), 90, "the writer is told")
    assert storage.content() == before
    assert owner(right) == "right"
    wait_until(lambda: emcmd(left, "UNLOCKVOLUME", "E") == 33, 60, "left knows whose the volume is")
    assert storage.content() == before


# Spec: KIT-058, KIT-060, KIT-061, KIT-065, KIT-067, KIT-068, KIT-069, KIT-074, KIT-075, CLU-227, EMC-299, EMC-300, MOP-058, MOP-164
def test_a_resource_on_shared_storage_moves_and_is_taken_over(pair: tuple[Host, Host], storage: Storage) -> None:
    left, right = pair
    assert emcmd(left, "UNLOCKVOLUME", "E") == 0
    left.run("mkfs.ext4", "-q", str(left.root / "dev/understudy/E"))
    assert emcmd(left, "LOCKVOLUME", "E") == 0
    left.command("understudy", "resource", "create", "filesys", "volume", TAG, "--id", "E", "volume_type=shared", "mount=/mnt", "fs=ext4",
                 timeout=120)
    assert "Configuration mask         = 800 (320h)" in left.command("emcmd", ".", "GETCONFIGURATION", "E")
    # Another disk is not taken for the shared one.
    wrong = left.run("understudy", "resource", "extend", TAG, "--to", "right", f"device={storage.device[right]}",
                     f"area={storage.device[right]}", code=None, timeout=120)
    assert wrong.returncode != 0 and "no lock area" in wrong.stdout + wrong.stderr
    place = (f"device={storage.device[right]}", f"area={storage.area[right]}")
    left.command("understudy", "resource", "extend", TAG, "--to", "right", *place, "--dry-run", timeout=120)
    assert json.loads(right.command("understudy", "volume", "list", "--json"))["volumes"] == [], "the kit only looked"
    left.command("understudy", "resource", "extend", TAG, "--to", "right", *place, timeout=120)
    left.run("bash", "-c", "echo from left > /mnt/file && sync")
    assert emcmd(right, "UNLOCKVOLUME", "E") == 5, "the cluster holds it"

    right.command("understudy", "switchover", TAG, "--to", "right", timeout=120)
    wait_until(lambda: right.state(TAG) == "ISP" and left.state(TAG) == "OSU", 60, "it runs on right")
    assert owner(left) == "right"
    right.run("bash", "-c", "grep -q 'from left' /mnt/file && echo from right > /mnt/other && sync")
    right.power_off()
    wait_until(lambda: left.state(TAG) == "ISP", 60, "left has taken over after the lease")
    left.run("bash", "-c", "grep -q 'from right' /mnt/other")
    assert owner(left) == "left"

    # Neither a host that returns nor the end of the cluster's daemon opens it elsewhere.
    right.start()
    refused = right.run("understudy", "volume", "unlock", "E", "--cluster", code=1)
    assert "owned by left, which is alive" in refused.stderr
    left.kill("understudyd")
    assert owner(left) == "left" and shown(left)["open"]
    left.command("lkstart", "-w", "60", timeout=90)
    wait_until(lambda: left.state(TAG) == "ISP" and right.state(TAG) != "ISP", 60, "it still runs on left")
    assert owner(right) == "left"

    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert "Configuration mask         = 256 (100h)" in left.command("emcmd", ".", "GETCONFIGURATION", "E")
    left.run("umount", "/mnt")
    assert emcmd(left, "LOCKVOLUME", "E") == 0
    assert shown(left)["locked_by"] == "shared"
    # Without flag and lock it is an ordinary volume again.
    assert emcmd(left, "SETCONFIGURATION", "E", "0") == 0
    assert emcmd(left, "UNLOCKVOLUME", "E") == 0
    assert opens(left, storage.device[left])
