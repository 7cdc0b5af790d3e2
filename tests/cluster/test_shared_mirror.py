"""A volume on storage that two hosts share, mirrored to a third with a disk of its own: the sharers have it by turns, and the
third takes over for both."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterator

import pytest

from lab import Host, Lab, wait_until
from test_shared_volume import MIB, Storage, emcmd, owner

Site = tuple[Host, Host, Host, Storage]


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    left, right, third = lab.host("left"), lab.host("right"), lab.host("third")
    lab.form_cluster(left, right, third)
    storage = Storage(lab.directory, left, right, area_size=2 * MIB)
    left.command("understudy", "volume", "set", "E", "--device", storage.device[left])
    left.command("understudy", "volume", "share", "E", "--area", storage.area[left], "--hosts", "left,right")
    right.command("understudy", "volume", "set", "E", "--device", storage.device[right])
    right.command("understudy", "volume", "share", "E", "--area", storage.area[right])
    third.command("understudy", "volume", "set", "E", "--device", third.disk("d.img", 64 * MIB))
    yield left, right, third, storage
    for host in (left, right, third):
        host.power_off()
    storage.remove()


def mounted(host: Host, script: str) -> None:
    device = host.root / "dev/understudy/E"
    host.run("bash", "-ec", f"mount {device} /mnt; trap 'umount /mnt' EXIT; {script}", timeout=120)


def mirrors(host: Host) -> dict:
    wait_until(lambda: host.mirror("E")["targets"][0]["state"] == "mirroring", 90, f"{host.name} mirrors", 0.05)
    return host.mirror("E")["targets"][0]


def content(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Spec: MOP-018, MOP-067, MOP-075, MOP-165, REP-058, REP-186, EMC-039, EMC-058, EMC-240, EMC-243, EMC-262
def test_the_sharers_mirror_by_turns_and_the_third_takes_over_for_both(site: Site) -> None:
    left, right, third, storage = site
    assert emcmd(left, "UNLOCKVOLUME", "E") == 0
    left.run("mkfs.ext4", "-q", str(left.root / "dev/understudy/E"))
    ends = [f"{host.name};E;{host.address(2)}".split(";") for host in (left, right, third)]
    none = [[name, "E", "0.0.0.0"] for name in ("left", "right")]
    assert emcmd(left, "CREATEJOB", "site", "", *ends[0], *ends[2], "S", *ends[1], *ends[2], "S", *none[0], *none[1], "D") == 0
    assert emcmd(left, "CREATEMIRROR", "E", third.address(2), "S") == 0
    mirrors(left)

    # What the third lacks when left dies is written down where right finds it.
    mounted(left, "echo one > /mnt/one")
    assert emcmd(left, "PAUSEMIRROR", "E", third.address(2)) == 0
    mounted(left, "yes two | head -c 3000000 > /mnt/two")
    left.power_off()
    assert emcmd(right, "UNLOCKVOLUME", "E") == 0, "the lease has run out"
    assert owner(right) == "right"
    assert emcmd(right, "CONTINUEMIRROR", "E", third.address(2)) == 0
    assert 0 < mirrors(right)["resync_bytes_sent"] < 32 * MIB, "partial"
    mounted(right, "grep -q one /mnt/one; yes two | head -c 3000000 | cmp - /mnt/two; echo three > /mnt/three")
    disk = third.root / "disks/d.img"
    wait_until(lambda: content(disk) == content(storage.image), 30, "the target is equal", 0.2)

    # The one that was dead takes the volume back as planned, and nothing is sent again.
    left.start()
    assert emcmd(left, "UNLOCKVOLUME", "E") == 33
    assert emcmd(left, "SWITCHOVERVOLUME", "E") == 0
    assert owner(right) == "left" and not (right.root / "dev/understudy/E").exists()
    assert mirrors(left)["resync_bytes_sent"] <= 2 * MIB

    # The third takes over from whichever host serves, which follows it; and back.
    assert emcmd(third, "SWITCHOVERVOLUME", "E") == 0
    mounted(third, "grep -q three /mnt/three; echo four > /mnt/four")
    mirrors(third)
    assert emcmd(left, "SWITCHOVERVOLUME", "E") == 0
    mounted(left, "grep -q four /mnt/four")
    mirrors(left)
    wait_until(lambda: content(disk) == content(storage.image), 30, "the target is equal", 0.2)
