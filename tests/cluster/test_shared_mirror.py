"""A volume on storage that two hosts share, mirrored to a third with a disk of its own: the sharers have it by turns, and the
third takes over for both."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator

import pytest

from lab import Host, Lab, wait_until
from test_shared_volume import MIB, TAG, Storage, emcmd, owner

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


# Spec: MOP-018, MOP-067, MOP-075, MOP-117, MOP-165, REP-058, REP-186, EMC-039, EMC-058, EMC-095, EMC-102, EMC-103, EMC-240, EMC-243,
# Spec: EMC-262
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

    # Replication moves to another network, pair by pair; the owner does it, whichever host of the disk is asked.
    assert emcmd(left, "PAUSEMIRROR", "E", third.address(2)) == 0
    for host in (left, right):
        assert emcmd(host, "CHANGEMIRRORENDPOINTS", "E", third.address(2), host.address(1), third.address(1)) == 0
    for host in (left, right, third):
        known = host.command("emcmd", ".", "GETJOBINFOFORVOL", "E")
        assert known.count(third.address(1)) == 2 and third.address(2) not in known, known
    assert emcmd(left, "CONTINUEMIRROR", "E", third.address(1)) == 0
    assert mirrors(left)["resync_bytes_sent"] <= 2 * MIB

    # The third takes over from whichever host serves, which follows it; and back.
    assert emcmd(third, "SWITCHOVERVOLUME", "E") == 0
    mounted(third, "grep -q three /mnt/three; echo four > /mnt/four")
    mirrors(third)
    assert emcmd(left, "SWITCHOVERVOLUME", "E") == 0
    mounted(left, "grep -q four /mnt/four")
    mirrors(left)
    wait_until(lambda: content(disk) == content(storage.image), 30, "the target is equal", 0.2)


# Spec: KIT-058, KIT-068, CLU-227, MOP-018, MOP-067
def test_a_resource_on_a_shared_disk_with_a_mirror_elsewhere_moves_between_all_hosts(site: Site) -> None:
    left, right, third, _ = site
    ends = {host: (host.name, "E", host.address(2)) for host in (left, right, third)}
    assert emcmd(left, "UNLOCKVOLUME", "E") == 0
    left.run("mkfs.ext4", "-q", str(left.root / "dev/understudy/E"))
    assert emcmd(left, "CREATEJOB", "site", "", *ends[left], *ends[third], "S", *ends[right], *ends[third], "S",
                 "left", "E", "0.0.0.0", "right", "E", "0.0.0.0", "D") == 0
    left.command("emcmd", left.address(2), "CREATEMIRROR", "E", third.address(2), "S", timeout=120)

    left.command("understudy", "resource", "create", "filesys", "volume", TAG, "--id", "E", "volume_type=shared", "mount=/mnt", "fs=ext4",
                 timeout=120)
    left.command("understudy", "resource", "extend", TAG, "--to", "right", timeout=120)
    refused = left.run("understudy", "resource", "extend", TAG, "--to", "third", "volume_type=mirror", code=1, timeout=120).stderr
    assert "left has E as shared" in refused
    left.command("understudy", "resource", "extend", TAG, "--to", "third", "volume_type=mixed", timeout=120)

    def followed(source: Host, target: Host) -> bool:
        known = [one for host in (source, target)
                 for one in json.loads(host.command("understudy", "mirror", "status", "--json"))["mirrors"]]
        return [(one["role"], one["state"]) for one in known] == [("source", "mirroring"), ("target", "mirroring")]

    def moved(destination: Host, target: Host, *names: str) -> None:
        destination.command("understudy", "switchover", TAG, "--to", destination.name, timeout=120)
        wait_until(lambda: destination.state(TAG) == "ISP", 60, f"it runs on {destination.name}")
        destination.run("bash", "-c", " && ".join(f"test -e /mnt/{name}" for name in names) + f" && touch /mnt/{destination.name} && sync")
        wait_until(lambda: followed(destination, target), 60, f"{target.name} follows {destination.name}")

    left.run("touch", "/mnt/left")
    wait_until(lambda: followed(left, third), 60, "third follows")
    moved(right, third, "left")  # the neighbour on the same disk
    moved(third, right, "left", "right")  # the other site; whoever owned the disk follows
    moved(left, third, "left", "right", "third")  # home, on the other host of the disk

    # Out of service the owner keeps the disk; when it dies, its neighbour has the volume. Then the other site, for a whole dead one.
    left.command("perform_action", "-t", TAG, "-a", "remove")
    assert owner(right) == "left"
    left.power_off()
    wait_until(lambda: right.state(TAG) == "ISP", 90, "right has it after the lease")
    right.run("bash", "-c", "test -e /mnt/left && test -e /mnt/third && touch /mnt/last && sync")
    wait_until(lambda: followed(right, third), 60, "the mirror goes on")
    right.power_off()
    wait_until(lambda: third.state(TAG) == "ISP", 60, "third has it")
    third.run("test", "-e", "/mnt/last")
    third.command("perform_action", "-t", TAG, "-a", "remove")
