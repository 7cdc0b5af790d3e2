"""Storage that two hosts share, mirrored to storage that two others share: each end is served by whichever host owns its disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from lab import Host, Lab, wait_until
from test_shared_volume import MIB, TAG, Storage, emcmd, owner

Sites = tuple[dict[str, Host], dict[str, Storage]]


@pytest.fixture
def sites(lab: Lab) -> Iterator[Sites]:
    names = {"near": ("left", "right"), "far": ("third", "fourth")}
    hosts = {name: lab.host(name) for name in (*names["near"], *names["far"])}
    lab.form_cluster(*hosts.values())
    storage = {}
    for end, (first, second) in names.items():
        directory = lab.directory / end
        directory.mkdir()
        made = storage[end] = Storage(directory, hosts[first], hosts[second], area_size=2 * MIB)
        for host in (hosts[first], hosts[second]):
            host.command("understudy", "volume", "set", "E", "--device", made.device[host])
            names_if_first = ("--hosts", f"{first},{second}") if host is hosts[first] else ()
            host.command("understudy", "volume", "share", "E", "--area", made.area[host], *names_if_first)
        assert emcmd(hosts[first], "UNLOCKVOLUME", "E") == 0
    yield hosts, storage
    for host in hosts.values():
        host.power_off()
    for made in storage.values():
        made.remove()


def make_job(on: Host, near: tuple[Host, Host], far: tuple[Host, Host]) -> None:
    pairs: list[str] = []
    for one in near:
        for other in far:
            pairs += [one.name, "E", one.address(2), other.name, "E", other.address(2), "S"]
    for one, other in (near, far):
        pairs += [one.name, "E", "0.0.0.0", other.name, "E", "0.0.0.0", "D"]
    assert emcmd(on, "CREATEJOB", "sites", "", *pairs) == 0


# Spec: MOP-019, MOP-067, MOP-075, MOP-161, MOP-164, EMC-039
def test_either_end_goes_on_with_the_other_host_of_its_disk(sites: Sites) -> None:
    hosts, storage = sites
    left, right, third, fourth = hosts.values()
    make_job(left, (left, right), (third, fourth))
    assert emcmd(left, "CREATEMIRROR", "E", third.address(2), "S") == 0

    def mirrored(source: Host) -> None:
        wait_until(lambda: source.mirror("E")["targets"][0]["state"] == "mirroring", 90, f"{source.name} mirrors", 0.05)

    def written(source: Host, text: str) -> None:
        device = source.root / "dev/understudy/E"
        source.run("python3", "-c", "import sys; f = open(sys.argv[1], 'r+b'); f.write(sys.argv[2].encode()); f.flush(); "
                   "import os; os.fsync(f.fileno())", str(device), text, timeout=60)

    def equal() -> None:
        content = lambda end: hashlib.sha256(storage[end].image.read_bytes()).hexdigest()
        wait_until(lambda: content("near") == content("far"), 60, "both disks are equal", 0.2)

    mirrored(left)
    written(left, "one")
    equal()
    # The target's owner dies: its neighbour takes its place by itself. A source's neighbour is told to.
    third.power_off()
    written(left, "two")
    wait_until(lambda: owner(fourth) == "fourth", 90, "fourth owns the target's disk", 0.2)
    mirrored(left)
    equal()
    left.power_off()
    assert emcmd(right, "UNLOCKVOLUME", "E") == 0, "the lease has run out"
    mirrored(right)
    written(right, "three")
    equal()
    # A host that will not come back is dropped, and the one that was added in its stead is its old self, in another place.
    right.command("understudy", "volume", "share", "E", "--drop", "left", "--yes")
    left.start()
    refused = left.run("emcmd", ".", "UNLOCKVOLUME", "E", code=2)
    assert "left is not among the hosts" in refused.stdout + refused.stderr
    right.command("understudy", "volume", "share", "E", "--add", "left", "--address", left.address(2))
    left.command("understudy", "volume", "share", "E", "--area", storage["near"].area[left])
    assert emcmd(left, "SWITCHOVERVOLUME", "E") == 0
    mirrored(left)
    written(left, "four")
    equal()


# Spec: KIT-058, KIT-068, CLU-227, MOP-019, MOP-062
def test_a_resource_on_shared_disks_at_both_ends_moves_between_all_hosts(sites: Sites) -> None:
    hosts, _ = sites
    left, right, third, fourth = hosts.values()
    make_job(left, (left, right), (third, fourth))
    # The mirror is made by another host of the disk than the first; by that name it goes at the other end.
    assert emcmd(left, "LOCKVOLUME", "E") == 0
    assert emcmd(right, "UNLOCKVOLUME", "E") == 0
    right.run("mkfs.ext4", "-q", str(right.root / "dev/understudy/E"))
    right.command("emcmd", right.address(2), "CREATEMIRROR", "E", third.address(2), "S", timeout=120)
    wait_until(lambda: right.mirror("E")["targets"][0]["state"] == "mirroring", 90, "right mirrors", 0.05)
    assert emcmd(left, "SWITCHOVERVOLUME", "E") == 0
    left.command("understudy", "resource", "create", "filesys", "volume", TAG, "--id", "E", "volume_type=shared", "mount=/mnt", "fs=ext4",
                 timeout=120)
    left.command("understudy", "resource", "extend", TAG, "--to", "right", timeout=120)
    refused = left.run("understudy", "resource", "extend", TAG, "--to", "fourth", code=1, timeout=120).stderr
    assert "do not see the same lock area" in refused
    left.command("understudy", "resource", "extend", TAG, "--to", "third", timeout=120)
    left.command("understudy", "resource", "extend", TAG, "--to", "fourth", "--from", "third", timeout=120)

    def followed(source: Host, targets: tuple[Host, Host]) -> bool:
        known = [one for host in (source, *targets) if host.running
                 for one in json.loads(host.command("understudy", "mirror", "status", "--json"))["mirrors"]]
        return [(one["role"], one["state"]) for one in known] == [("source", "mirroring"), ("target", "mirroring")]

    def runs_on(host: Host, targets: tuple[Host, Host], *names: str) -> None:
        wait_until(lambda: host.state(TAG) == "ISP", 90, f"it runs on {host.name}")
        host.run("bash", "-c", " && ".join(f"test -e /mnt/{name}" for name in names) + f" && touch /mnt/{host.name} && sync")
        wait_until(lambda: followed(host, targets), 90, f"the other end follows {host.name}")

    near, far = (left, right), (third, fourth)
    left.run("touch", "/mnt/left")
    wait_until(lambda: followed(left, far), 60, "the other end follows")
    for to, names in ((fourth, ("left",)), (right, ("left", "fourth"))):  # at the other end, and home: each a host that owns no disk
        to.command("understudy", "switchover", TAG, "--to", to.name, timeout=120)
        runs_on(to, near if to is fourth else far, *names)
    # A whole end dies, one host after the other.
    right.power_off()
    runs_on(left, far, "left", "fourth", "right")
    left.power_off()
    wait_until(lambda: "ISP" in (third.state(TAG), fourth.state(TAG)), 90, "the other end has it")
    survivor = third if third.state(TAG) == "ISP" else fourth
    survivor.run("bash", "-c", "test -e /mnt/right && touch /mnt/last && sync")
