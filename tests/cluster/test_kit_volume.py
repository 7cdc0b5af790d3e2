"""A mirror is made with the resource of its volume and deleted with it, or neither."""

from __future__ import annotations

import json
import re

from lab import Host, wait_until

MIB = 1 << 20
TAG = "Vol.data"
CREATE = ("resource", "create", "filesys", "volume", TAG, "--id", "data")


def refused(host: Host, *words: str) -> str:
    return host.run("understudy", *words, code=1, timeout=120).stderr


def untouched(*hosts: Host) -> bool:
    """No host knows the resource or a mirror."""
    return all(host.command("ins_list", "-t", TAG, code=7) == ""
               and json.loads(host.command("understudy", "mirror", "status", "--json"))["mirrors"] == [] for host in hosts)


def information(host: Host) -> str:
    return host.command("ins_list", "-f|", "-t", TAG).split("|")[5]


def protected(host: Host) -> bool:
    return "LK Config                  IS enabled" in host.command("emcmd", ".", "GETCONFIGURATION", "vol:data")


def job(host: Host) -> list[list[str]]:
    """Between whom the resource's job has pairs."""
    jobs = json.loads(host.command("understudy", "mirror", "job", "list", "--json"))["jobs"]
    return [sorted(end["system"] for end in pair["ends"]) for each in jobs if each["name"] == TAG for pair in each["pairs"]]


# Spec: KIT-068, KIT-072, KIT-074, KIT-085, MOP-029, MOP-112
def test_a_volume_without_a_target_gets_its_first_mirror_when_it_is_extended(pair: tuple[Host, Host]) -> None:
    left, right = pair
    disk, copy = left.disk("alone.img", 32 * MIB), right.disk("alone.img", 32 * MIB)
    left.run("mkfs.ext4", "-qF", disk)
    # It does not come in service: what was served is taken back.
    assert "everything is as it was before" in refused(left, *CREATE, "mount=/mnt", f"device={disk}", "options=no-such-option")
    assert untouched(left, right)
    left.command("understudy", *CREATE, "mount=/mnt", f"device={disk}", timeout=120)
    assert left.state(TAG) == "ISP" and protected(left) and left.mirror("data")["targets"] == []
    left.run("bash", "-c", "echo alone >/mnt/file; sync /mnt/file")
    # A process that takes a moment to end holds the device.
    holds = left.root / "holds"
    holding = left.spawn("bash", "-c", f"exec 3<{left.root}/dev/understudy/data; touch {holds}; sleep 2")
    wait_until(holds.exists, 10, "the device is held")
    left.command("perform_action", "-t", TAG, "-a", "remove", timeout=60)
    assert holding.wait(10) == 0 and left.state(TAG) == "OSU"
    left.command("perform_action", "-t", TAG, "-a", "restore")
    assert left.run("cat", "/mnt/file").stdout == "alone\n" and job(left) == []

    # Writes of the time at which the first target comes are the copy's too.
    writing = left.spawn("bash", "-c", "for i in $(seq 400); do echo $i >>/mnt/count; sync /mnt/count; done")
    extend = ("resource", "extend", TAG, "--to", "right", f"device={copy}")
    addresses = (f"source_address={left.address(2)}", f"target_address={right.address(2)}")
    assert "source_address=, target_address= are missing" in refused(left, *extend)
    left.command("understudy", *extend, *addresses, timeout=120)
    assert writing.wait(60) == 0
    assert job(left) == job(right) == [["left", "right"]]
    left.command("understudy", "mirror", "wait", "data")
    left.command("understudy", "mirror", "verify", "data")
    right.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    assert right.run("tail", "-1", "/mnt/count").stdout == "400\n" and right.run("cat", "/mnt/file").stdout == "alone\n"
    left.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)

    # Its target goes again, and the volume stays in service.
    left.command("understudy", "mirror", "wait", "data")
    left.command("understudy", "resource", "unextend", TAG, "--from", "right", timeout=120)
    assert left.mirror("data")["targets"] == [] and job(left) == job(right) == []
    left.run("bash", "-c", "echo more >>/mnt/file; sync /mnt/file")
    assert json.loads(right.command("understudy", "mirror", "status", "--json"))["mirrors"] == []
    left.command("perform_action", "-t", TAG, "-a", "remove")
    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert untouched(left, right) and not protected(left) and not protected(right)
    left.run("mount", "-o", "loop", disk, "/mnt")
    assert left.run("cat", "/mnt/file").stdout == "alone\nmore\n"
    left.run("umount", "/mnt")


# Spec: KIT-021, KIT-058, KIT-059, KIT-067, KIT-068, KIT-072, KIT-084, KIT-085, CLU-227, EMC-052, EMC-171, REP-357, REP-358
def test_a_mirror_comes_and_goes_with_its_resource_or_neither_does(pair: tuple[Host, Host]) -> None:
    left, right = pair
    disk, copy, small = left.disk("d.img", 32 * MIB), right.disk("d.img", 32 * MIB), right.disk("small.img", 16 * MIB)
    addresses = (f"source_address={left.address(2)}", f"target_address={right.address(2)}")
    of = ("mount=/mnt", f"device={disk}", "target=right", *addresses)

    # What cannot be is refused, and nothing is changed.
    assert "has no mirror of the volume data" in refused(left, *CREATE, "mount=/mnt")
    assert "target_address= is missing" in refused(left, *CREATE, *of[:-1])
    assert "has no file system" in refused(left, *CREATE, *of)
    left.run("mkfs.ext2", "-q", disk)
    assert "has ext2; ext4 and xfs can be protected" in refused(left, *CREATE, *of)
    left.run("mkfs.ext4", "-qF", disk)
    assert "small.img on right has 16777216 bytes, less than the source's" in refused(left, *CREATE, *of, f"target_device={small}")
    assert untouched(left, right)
    # The mirror was made, but the volume does not come in service: it is taken back.
    assert "everything is as it was before" in refused(left, *CREATE, *of, f"target_device={copy}", "options=no-such-option")
    assert untouched(left, right)

    left.command("understudy", *CREATE, *of, f"target_device={copy}", "mirror_type=async", timeout=120)
    assert left.state(TAG) == "ISP" and information(left) == "delete_mirror=yes mirror_made=left mount=/mnt"
    assert left.mirror("data")["type"] == "async" and protected(left) and not protected(right)
    left.run("bash", "-c", "echo kept >/mnt/file; sync /mnt/file")
    # The mirror was there before: it is not the extension that deletes it again.
    (right.root / "hold").mkdir()
    right.run("mount", "--bind", str(right.root / "hold"), "/mnt")
    assert "something is mounted on /mnt of right" in refused(left, "resource", "extend", TAG, "--to", "right")
    right.run("umount", "/mnt")
    extend = ("resource", "extend", TAG, "--to", "right")
    assert "has a mirror of data already" in refused(left, *extend, f"device={small}", *addresses)
    assert "cannot be made" in refused(left, *extend, "mount=/proc/none")
    assert right.mirror("data")["role"] == "target"
    left.command("understudy", *extend, timeout=120)
    assert information(right) == "delete_mirror=yes mount=/mnt" and protected(right)
    left.command("understudy", "mirror", "wait", "data")

    # What each node's cell of the table says.
    def shown() -> dict[str, str]:
        row = next(row for row in left.status()["resources"] if row["tag"] == TAG)
        return {node: cell["shown"] for node, cell in row["instances"].items()}

    assert shown() == {"left": "Active", "right": "Mirroring"}
    assert re.search(r"Vol\.data .* Active 1 +Mirroring 10 *$", left.command("understudy", "status"), re.MULTILINE)
    left.command("understudy", "mirror", "pause", "data")
    assert shown() == {"left": "Active", "right": "Paused"}
    left.command("understudy", "mirror", "continue", "data", "--wait")
    values = left.command("understudy", "mirror", "set", "data")
    assert "CompressionLevel=0 " in values and "BandwidthThrottle=0 " in values

    # One that is in use is not deleted; told to keep the mirror, the kit does. Nobody else ends or switches it.
    assert "data is in use on left" in refused(right, "resource", "delete", TAG)
    assert "the cluster protects volume data on left" in refused(left, "mirror", "delete", "data")
    assert "the cluster protects volume data on right" in refused(right, "mirror", "promote", "data")
    assert job(left) == job(right) == [["left", "right"]]
    assert protected(left) and protected(right)
    left.command("understudy", "resource", "set", TAG, "info.delete_mirror=no")
    left.command("understudy", "resource", "unextend", TAG, "--from", "right", timeout=120)
    assert right.mirror("data")["role"] == "target" and not protected(right)
    left.command("understudy", *extend, timeout=120)
    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert left.run("cat", "/mnt/file").stdout == "kept\n" and left.mirror("data")["role"] == "source" and not protected(left)

    # With the mirror that is there; that one stays, unless it is said otherwise, by whichever node is asked.
    left.command("understudy", *CREATE, "mount=/mnt", timeout=120)
    assert information(left) == "mount=/mnt"
    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert left.mirror("data")["role"] == "source" and left.mirror("data")["state"] == "mirroring"
    left.command("understudy", *CREATE, "mount=/mnt", "delete_mirror=yes", timeout=120)
    left.command("understudy", *extend, timeout=120)
    left.command("perform_action", "-t", TAG, "-a", "remove")
    wait_until(lambda: left.state(TAG) == "OSU", 30, "out of service")
    right.command("understudy", "resource", "delete", TAG, timeout=120)
    assert untouched(left, right) and not protected(left) and not protected(right)
    left.run("mount", "-o", "loop", disk, "/mnt")
    assert left.run("cat", "/mnt/file").stdout == "kept\n"
    left.run("umount", "/mnt")

    # Of a host that is lost nothing is asked.
    left.command("understudy", *CREATE, *of, f"target_device={copy}", timeout=120)
    left.command("understudy", *extend, timeout=120)
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right") == "DEAD\n", 20, "right is DEAD")
    left.command("perform_action", "-t", TAG, "-a", "remove")
    left.command("understudy", "resource", "delete", TAG, "--without", "right", timeout=120)
    assert untouched(left)
