"""A mirror is made with the resource of its volume and deleted with it, or neither."""

from __future__ import annotations

import json

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


# Spec: KIT-021, KIT-058, KIT-059, KIT-067, KIT-068, KIT-072, KIT-084, KIT-085, CLU-227, EMC-052, EMC-171
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

    # The only mirror, and one that is in use, are not deleted; told to keep the mirror, the kit does.
    assert "right has the only mirror of data" in refused(left, "resource", "unextend", TAG, "--from", "right")
    assert "data is in use on left" in refused(right, "resource", "delete", TAG)
    assert protected(left) and protected(right)
    left.command("understudy", "resource", "set", TAG, "info.delete_mirror=no")
    left.command("understudy", "resource", "unextend", TAG, "--from", "right", timeout=120)
    assert right.mirror("data")["role"] == "target" and not protected(right)
    left.command("understudy", *extend, timeout=120)
    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert left.run("cat", "/mnt/file").stdout == "kept\n" and left.mirror("data")["role"] == "source" and not protected(left)

    # With the mirror that is there; that one is deleted when it is said, by whichever node is asked.
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
