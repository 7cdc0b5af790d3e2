"""A volume with two targets under a real file system, on three hosts that lose their power and come back."""

from __future__ import annotations

import json

from lab import Host, Lab, wait_until
from test_snmp import PREFIX, console, received

MIB = 1 << 20
VOLUME = "data"
TAG = f"Vol.{VOLUME}"


def targets(source: Host) -> dict[str, dict]:
    return {one["peer"]: one for one in source.mirror(VOLUME)["targets"]}


def in_sync(source: Host, *others: Host) -> None:
    def all_mirror() -> bool:
        found = targets(source)
        return all(found.get(host.name, {}).get("state") == "mirroring" for host in others)
    wait_until(all_mirror, 60, f"{source.name} mirrors to {', '.join(host.name for host in others)}", 0.05)


def write(host: Host, name: str) -> None:
    host.run("bash", "-c", f"yes {name} | head -c 300000 >/mnt/{name}; sync /mnt/{name}")


def intact(host: Host, *names: str) -> None:
    for name in names:
        host.run("bash", "-c", f"yes {name} | head -c 300000 | cmp - /mnt/{name}")


def in_service(host: Host) -> None:
    wait_until(lambda: host.state(TAG) == "ISP", 60, f"{TAG} in service on {host.name}", 0.05)


# Spec: MOP-016, MOP-070, MOP-079, MOP-080, MOP-082, REP-235, REP-236, REP-237, REP-238, KIT-068, KIT-070, KIT-072
def test_a_volume_with_two_targets_survives_its_host_and_every_host_returns_partially(lab: Lab) -> None:
    left, right, third = lab.host("left"), lab.host("right"), lab.host("third")
    lab.form_cluster(left, right, third)
    disks = {host: host.disk("d.img", 64 * MIB) for host in (left, right, third)}
    left.run("mkfs.ext4", "-q", disks[left])
    # The kit makes the first mirror, and so deletes it with the resource.
    left.command("understudy", "resource", "create", "filesys", "volume", TAG, "--id", VOLUME, "mount=/mnt", "fs=ext4", f"target={right.name}",
                 f"device={disks[left]}", f"target_device={disks[right]}", f"source_address={left.address(2)}",
                 f"target_address={right.address(2)}", timeout=120)
    left.command("understudy", "resource", "extend", TAG, "--to", right.name, timeout=120)
    # The third has no mirror yet: the kit makes it, while the volume is in use.
    write(left, "one")
    left.command("understudy", "resource", "extend", TAG, "--to", third.name, f"device={disks[third]}", f"source_address={left.address(2)}",
                 f"target_address={third.address(2)}", timeout=120)
    in_sync(left, right, third)
    known = {peer["node"]: peer for peer in right.mirror(VOLUME)["peers"]}
    assert known[third.name]["address"] == third.address(2) and known[third.name]["local_address"] == right.address(2)

    # The source loses power: one target takes over, the other follows it, and neither needs everything. A target must have
    # heard for that, some time after its session began, which writes the others have.
    write(left, "two")
    for target in (right, third):
        wait_until(lambda: target.mirror(VOLUME)["others_known"], 30, "what the other target has is known")  # noqa: B023
    left.power_off()
    taker = wait_until(lambda: next((host for host in (right, third) if host.state(TAG) == "ISP"), None), 60, "a takeover", 0.05)
    assert isinstance(taker, Host)
    follower = third if taker is right else right
    intact(taker, "one", "two")
    in_sync(taker, follower)
    assert int(targets(taker)[follower.name]["resync_bytes_sent"]) < 16 * MIB
    write(taker, "three")
    left.start()
    in_sync(taker, left, follower)
    # Bits of its log that are cleared when nothing else is to do may all be set still: so not by its bytes.
    log = (taker.root / "var/log/understudy/mirrord.log").read_text()
    assert "session with left, partial resync" in log and "full resync" not in log
    assert left.mirror(VOLUME)["role"] == "target"

    # Planned moves, to the follower and home.
    for source, destination in ((taker, follower), (follower, left)):
        wait_until(lambda: destination.command("sys_getst", "-s", source.name) == "ALIVE\n", 20, "both see each other")  # noqa: B023
        destination.command("understudy", "switchover", TAG, "--to", destination.name, timeout=120)
        in_service(destination)
        intact(destination, "one", "two", "three")
        in_sync(destination, *(host for host in (left, right, third) if host is not destination))
        assert all(int(one["resync_bytes_sent"]) < 16 * MIB for one in targets(destination).values())

    # A host less.
    left.command("understudy", "resource", "unextend", TAG, "--from", third.name, timeout=120)
    assert set(targets(left)) == {right.name}
    assert json.loads(third.command("understudy", "mirror", "status", "--json"))["mirrors"] == []
    in_sync(left, right)
    intact(left, "one", "two", "three")


# Spec: MOP-017, MOP-050, EMC-234, CMD-150, CMD-152, REP-360
def test_one_host_is_target_of_volumes_of_several_sources(lab: Lab) -> None:
    left, right, third = lab.host("left"), lab.host("right"), lab.host("third")
    lab.form_cluster(left, right, third)
    for source, volume in ((left, "a"), (right, "b")):
        source.command("understudy", "mirror", "create", volume, "--device", source.disk("d.img", 16 * MIB), "--target", third.name,
                       "--target-device", third.disk(f"{volume}.img", 16 * MIB), "--source-address", source.address(2),
                       "--target-address", third.address(2))
        source.command("understudy", "mirror", "wait", volume)
    roles = {one["volume"]: (one["role"], one["peer"]) for one in json.loads(third.command("understudy", "mirror", "status", "--json"))["mirrors"]}
    assert roles == {"a": ("target", "left"), "b": ("target", "right")}
    # One becomes the cluster's, by the manual's command.
    left.run("mkfs.ext4", "-q", str(left.root / "dev/understudy/a"))
    left.command("emcmd", ".", "REGISTERCLUSTERVOLUME", "vol:a", code=87)
    left.command("understudy", "volume", "set", "a", "--mount-point", "/mnt")
    assert left.command("emcmd", ".", "REGISTERCLUSTERVOLUME", "vol:a", timeout=120) == "Status = 0\n"
    wait_until(lambda: left.state("Vol.a") == "ISP", 60, "in service")
    third.command("emcmd", ".", "REGISTERCLUSTERVOLUME", "vol:a", code=1)
    # A source tells the managers of SNMP what its mirror does.
    left.settings(LK_TRAP_MGR="127.0.0.1:1162")
    with console(left) as packets:
        left.command("emcmd", ".", "PAUSEMIRROR", "vol:a")
        wait_until(lambda: len(received(packets)) >= 1, 20, "a trap")
        left.command("understudy", "mirror", "continue", "a", "--wait", timeout=120)
        wait_until(lambda: any("state=1" in one[f"{PREFIX}.1"] for one in received(packets)), 20, "a trap of the mirror in sync")
        traps = received(packets)
    assert {one["trap"] for one in traps} == {f"{PREFIX}.0.150"}
    assert traps[0][f"{PREFIX}.1"] == f"Mirror state change: volume=a state=4 (paused) target={third.address(2)}"
    left.command("perform_action", "-t", "Vol.a", "-a", "remove")
