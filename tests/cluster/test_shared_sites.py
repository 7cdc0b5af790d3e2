"""Storage that two hosts share, mirrored to storage that two others share: each end is served by whichever host owns its disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from lab import Host, Lab, wait_until
from test_shared_volume import MIB, Storage, emcmd, owner

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


# Spec: MOP-019, MOP-067, MOP-075, MOP-161, MOP-164, EMC-039
def test_either_end_goes_on_with_the_other_host_of_its_disk(sites: Sites) -> None:
    hosts, storage = sites
    left, right, third, fourth = hosts.values()
    pairs: list[str] = []
    for one in (left, right):
        for other in (third, fourth):
            pairs += [one.name, "E", one.address(2), other.name, "E", other.address(2), "S"]
    for one, other in ((left, right), (third, fourth)):
        pairs += [one.name, "E", "0.0.0.0", other.name, "E", "0.0.0.0", "D"]
    assert emcmd(left, "CREATEJOB", "sites", "", *pairs) == 0
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
