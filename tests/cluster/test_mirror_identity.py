"""Every node that has a mirrored volume's resource remembers which mirror it is of, and does not take over with another."""

from __future__ import annotations

import json

from lab import Host, wait_until

TAG = "Vol.data"
FILE = "usr/lib/understudy/subsys/filesys/resources/volume/LKDRInfo.data"
OTHER = "{00112233-4455-6677-8899-aabbccddeeff}\n"


# Spec: CLU-087, CLU-161, KIT-085
def test_a_node_does_not_take_over_with_the_half_of_another_mirror(pair: tuple[Host, Host]) -> None:
    left, right = pair
    disk, copy = left.disk("d.img", 32 << 20), right.disk("d.img", 32 << 20)
    left.run("mkfs.ext4", "-qF", disk)
    ours, theirs = left.root / FILE, right.root / FILE
    ours.write_text("left from an installation before")
    left.command("understudy", "resource", "create", "filesys", "volume", TAG, "--id", "data", "mount=/mnt",
                 f"device={disk}", "target=right", f"target_device={copy}", f"source_address={left.address(2)}",
                 f"target_address={right.address(2)}", timeout=120)
    left.command("understudy", "resource", "extend", TAG, "--to", "right", timeout=120)
    mirror = json.loads(left.command("understudy", "mirror", "status", "data", "--json"))["mirrors"][0]["id"]
    assert len(ours.read_bytes()) == 39 and ours.read_text() == theirs.read_text()
    assert ours.read_text().translate({ord(c): None for c in "{-}\n"}) == mirror
    left.command("understudy", "mirror", "wait", "data")

    # The deep check where the volume is in service repairs what the standby's file says, by a command there.
    known = ours.read_text()
    theirs.write_text(OTHER)
    left.command("perform_action", "-t", TAG, "-a", "deepchk")
    assert theirs.read_text() == known

    # A node that was told of another mirror than it has refuses, and says why; nothing is damaged by that.
    theirs.write_text(OTHER)
    left.command("perform_action", "-t", TAG, "-a", "remove")
    right.run("perform_action", "-t", TAG, "-a", "restore", code=1, timeout=120)
    assert right.state(TAG) == "OSF" and right.mirror("data")["role"] == "target"
    reason = right.command("understudy", "events", "--count", "20")
    log = "".join(path.read_text(errors="replace") for path in (right.root / "var/log/understudy").rglob("*") if path.is_file())
    assert f"the resource is of the mirror {OTHER.strip()}" in log + reason
    theirs.unlink()
    right.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    assert right.state(TAG) == "ISP" and theirs.read_text() == known

    # The file goes with the resource, whatever becomes of the mirror.
    right.command("perform_action", "-t", TAG, "-a", "remove")
    left.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    wait_until(lambda: left.mirror("data")["state"] == "mirroring", 60, "mirroring again")
    left.command("understudy", "resource", "set", TAG, "info.delete_mirror=no")
    left.command("understudy", "resource", "unextend", TAG, "--from", "right", timeout=120)
    assert not theirs.exists() and ours.read_text() == known
    left.command("understudy", "resource", "delete", TAG, timeout=120)
    assert not ours.exists() and left.mirror("data")["role"] == "source"
