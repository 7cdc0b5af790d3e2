"""emcmd as scripts know it: mirrors, their states and roles, between two mirrord processes with real devices."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from emcmd_lab import SIZE_BLOCKS, EmcmdLab
from emcmd_sequences import Life, SplitLife
from two_hosts import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices and mounts")
BYTES = SIZE_BLOCKS * 65536


@pytest.fixture
def lab(emcmd_hosts: EmcmdLab) -> EmcmdLab:
    emcmd_hosts.mirrored()
    return emcmd_hosts


# Spec: EMC-143, EMC-144, EMC-149, EMC-150, EMC-152, EMC-153, MOP-002, MOP-006, MOP-044, MOP-045
def test_create_mirrors_the_volume_and_the_queries_say_so(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert left.emcmd(".", "getMirrorVolInfo", "e:") == "E: 1 left 127.0.0.2 1\n"
    assert right.emcmd(".", "GETMIRRORVOLINFO", "E") == "E: 2 127.0.0.1 right 1\n"
    assert left.emcmd(".", "GETMIRRORVOLINFO", "F") == "F: 0 - - 0\n"
    assert left.emcmd(".", "GETMIRRORTYPE", "E") == "Target system 127.0.0.2, Type 1\n"
    assert right.emcmd(".", "GETMIRRORTYPE", "E") == "Target system 127.0.0.2, Type 1\n"
    assert left.emcmd(".", "GETVOLUMEDRVSTATE", "E") == "1 127.0.0.2\n"
    assert right.emcmd(".", "GETVOLUMEDRVSTATE", "E") == "1 127.0.0.1\n"
    assert left.emcmd(".", "GETSOURCEMIRROREDVOLUMES") == (
        "Status = 0\nSource Volume  = E:\nSource Label   = \nSource #Targs  = 1\nTarget 0\nTarget System  = 127.0.0.2\n"
        "Mirror State   = 0001\n")
    assert right.emcmd(".", "GETTARGETMIRROREDVOLUMES") == (
        "** Calling GetTargetMirroredVolumes **\nReturned 1 Target Volumes\nTarget Volume 1 information:\n"
        "Volume Root  = E:\nVolume State = 1\nSource       = 127.0.0.1\nTarget       = right\n")
    listed = left.emcmd(".", "GETCOMPLETEVOLUMELIST")
    assert f"Volume Total Space = {BYTES}\nMirror Role        = 01\nNumber of targets  = 1\n" in listed
    info = left.emcmd(".", "GETVOLUMEINFO", "E", "3")
    assert re.search(r"LEVEL 2 INFO-----\n>> Remote \[0\]    = 127.0.0.2, E:\nMirror State     = MIRROR\nMirror Type      = SYNCHRON", info)
    assert "Total Space      = N/A" in right.emcmd(".", "GETVOLUMEINFO", "E", "1")
    assert "NumberOfBlocks  : 128\nDirtyBlocks     : 0\n" in left.emcmd(".", "GETRESYNCSTATUS", "E")
    assert re.search(r"Volume Bit Map      = 10h\nService Start Time  = \w{3} \w{3} \d\d ", left.emcmd(".", "GETSERVICEINFO"))
    assert left.status(".", "GETVOLUMEINFO", "E", "4") == 87
    assert left.status(".", "GETVOLUMEINFO", "Q", "1") == 15


# Spec: EMC-007, EMC-008, EMC-032, EMC-033, EMC-034, EMC-036, EMC-065, MOP-009, MOP-213
def test_commands_reach_other_systems_directly_and_through_a_proxy(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    here = right.emcmd(".", "GETMIRRORVOLINFO", "E")
    for system in ("right", "RIGHT", "127.0.0.2"):
        assert left.emcmd(system, "GETMIRRORVOLINFO", "E") == here
        assert left.emcmd(system, "GETMIRRORVOLINFO", "E", "-proxy", ".") == here
        assert left.emcmd(system, "GETMIRRORVOLINFO", "E", "-PROXY", "right") == here
    # "." is the proxy's own name for itself.
    assert left.emcmd(".", "GETMIRRORVOLINFO", "E", "-proxy", "right") == here
    assert left.emcmd("left", "GETMIRRORVOLINFO", "E", "-proxy", "right") == left.emcmd(".", "GETMIRRORVOLINFO", "E")
    assert left.status("127.0.0.9", "GETSERVICEINFO") == 2
    assert "left -> system 127.0.0.9" in left.last.stderr
    assert left.status("127.0.0.9", "GETSERVICEINFO", "-proxy", "right") == 2
    assert "proxy right -> system 127.0.0.9" in left.last.stderr
    assert left.status("no-such-host.invalid", "GETSERVICEINFO") == 53
    right.ok("left", "PAUSEMIRROR", "E", "-proxy", "left")
    assert left.state() == "1 4"


# Spec: EMC-006, EMC-014, EMC-025, EMC-028, EMC-029, EMC-217, EMC-026
def test_wrong_commands_change_nothing(lab: EmcmdLab) -> None:
    left = lab.left
    assert left.status(".", "FROBNICATE") == 87 and "GETSERVICEINFO" in left.last.stderr
    assert left.status(".", "PAUSEMIRROR") == 87 and "PAUSEMIRROR <volume letter>" in left.last.stderr
    assert "FROBNICATE" in (left.root / "var/log/understudy/mirrord.log").read_text()
    for command in ("PAUSEMIRROR", "BREAKMIRROR", "RESYNCMIRROR", "DELETEMIRROR", "CONTINUEMIRROR", "DELETELOCALMIRRORONLY"):
        assert left.status(".", command, "E", "10.8.0.99") == 2, command
        assert left.status(".", command, "F") == 2, command
    assert left.state() == "1 1"
    for words in (("ISBREAKUSERREQUESTED", "E"), ("ISPOTENTIALMIRRORVOL", "E")):
        assert left.status("right", *words) == 50
        assert left.status(".", *words, "-proxy", "right") == 50
    assert left.emcmd(".", "ISPOTENTIALMIRRORVOL", "E") == "RAW filesystem\n" and left.last.returncode == 1
    assert left.emcmd(".", "ISPOTENTIALMIRRORVOL", "Q").startswith("Unable to open - ")


# Spec: EMC-013, EMC-067, EMC-085, EMC-087, EMC-130, EMC-132, EMC-133, EMC-137, EMC-213, EMC-214, EMC-221, EMC-222, EMC-223
# Spec: MOP-007, MOP-100, MOP-108
def test_pause_tracks_and_continue_sends_what_was_written(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    right.ok(".", "PAUSEMIRROR", "E")
    assert left.state() == "1 1"
    assert left.emcmd(".", "ISBREAKUSERREQUESTED", "E") == "Target 0, remote system 127.0.0.2: FALSE\n"
    left.ok(".", "PAUSEMIRROR", "E", "127.0.0.2")
    assert left.state() == "1 4"
    assert left.emcmd(".", "ISBREAKUSERREQUESTED", "E") == "Target 0, remote system 127.0.0.2: TRUE\n"
    assert right.status(".", "ISBREAKUSERREQUESTED", "E") == 1
    left.write(16, "tracked")  # its blocks are of 4 KiB
    assert "DirtyBlocks     : 1\n" in left.emcmd(".", "GETRESYNCSTATUS", "E")
    left.ok(".", "PAUSEMIRROR", "E")
    assert right.status(".", "CONTINUEMIRROR", "E") == 1
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()
    assert right.read(16) == "tracked"
    assert 0 < int(left.view()["resync_bytes_sent"]) <= 4 * 65536
    left.ok(".", "CONTINUEMIRROR", "E")
    assert left.state() == "1 1"


# Spec: EMC-082, EMC-131, EMC-257, EMC-258, EMC-259, EMC-260, EMC-296, MOP-005, MOP-101, MOP-105, MOP-106
def test_an_unlocked_target_is_used_locked_again_and_overwritten(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    left.ok(".", "PAUSEMIRROR", "E")
    assert not os.path.exists(right.device)
    left.ok("right", "UNLOCKVOLUME", "E")
    right.write(32, "local")
    assert right.read(32) == "local"
    assert left.status(".", "CONTINUEMIRROR", "E") == 33
    assert left.state() == "1 4"
    with open(right.device, "rb"):
        assert right.status(".", "LOCKVOLUME", "E") == 33
    right.ok(".", "LOCKVOLUME", "E")
    right.ok(".", "LOCKVOLUME", "E")
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()
    assert right.read(32) == ""
    assert int(left.view()["resync_bytes_sent"]) < BYTES


# Spec: EMC-088, EMC-089, EMC-090, EMC-091, EMC-092, EMC-235, EMC-236, MOP-109, MOP-110
def test_break_and_resync_copy_everything(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert right.status(".", "BREAKMIRROR", "E") == 1
    left.ok(".", "BREAKMIRROR", "E")
    assert left.state() == "1 3"
    assert left.status(".", "PAUSEMIRROR", "E") == 1
    assert left.emcmd(".", "ISBREAKUSERREQUESTED", "E").endswith("TRUE\n")
    assert not os.path.exists(right.device)
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()
    left.ok(".", "BREAKMIRROR", "E", "127.0.0.2")
    right.ok(".", "UNLOCKVOLUME", "E")
    left.ok(".", "RESYNCMIRROR", "E")
    lab.in_sync()
    assert not os.path.exists(right.device)
    assert right.status(".", "RESYNCMIRROR", "E") == 1


# Spec: EMC-165, EMC-166, EMC-167, EMC-168, EMC-169, EMC-160, EMC-161, EMC-162, EMC-163, EMC-127, EMC-128, EMC-289, EMC-302
# Spec: MOP-111, MOP-113, MOP-120, REP-231, REP-232
def test_delete_from_either_side_and_one_side_alone(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    left.write(96, "kept")
    assert right.status(".", "DELETEMIRROR", "E") == 1
    assert right.state() == "2 1"
    left.ok(".", "DELETEMIRROR", "E", "127.0.0.2")
    assert (left.state(), right.state()) == ("0 0", "0 0")
    assert (left.read(96), right.read(96)) == ("kept", "kept")
    lab.mirrored()
    right.kill()
    left.ok(".", "DELETEMIRROR", "E")
    right.start()
    assert (left.state(), right.state()) == ("0 0", "2 1")
    right.ok(".", "DELETEMIRROR", "E")  # its source knows it no more
    lab.mirrored()
    right.ok(".", "DELETELOCALMIRRORONLY", "E")
    assert right.state() == "0 0" and left.state().startswith("1")
    left.ok(".", "DELETELOCALMIRRORONLY", "E")
    assert left.status("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "A") == 1225
    assert (left.state(), right.state()) == ("0 0", "0 0")
    left.ok("right", "CLEARSWITCHOVER", "E")
    left.ok("right", "CLEARSWITCHOVER", "E")
    right.ok(".", "UPDATEVOLUMEINFO", "E")
    left.ok("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "A")
    lab.in_sync()
    assert left.emcmd(".", "GETMIRRORTYPE", "E") == "Target system 127.0.0.2, Type 2\n"


# Spec: EMC-055, EMC-118, EMC-117, EMC-119, EMC-024, EMC-145, EMC-146, EMC-147, EMC-148, EMC-151, EMC-154, EMC-156, EMC-155
# Spec: MOP-013, MOP-042, MOP-047, MOP-052, MOP-053, REP-230
def test_what_create_refuses_leaves_no_mirror(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert left.status("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "S") == 1
    left.ok(".", "DELETEMIRROR", "E")
    assert left.emcmd("right", "SETBLOCKTARGET", "E") == ""
    assert right.emcmd(".", "GETBLOCKTARGET", "E") == "TRUE\n"
    assert left.status("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "S") == 1
    assert "ineligible" in left.last.stderr
    assert right.emcmd(".", "CLEARBLOCKTARGET", "E") == ""
    assert right.emcmd(".", "GETBLOCKTARGET", "E") == "FALSE\n"
    assert left.emcmd("127.0.0.9", "SETBLOCKTARGET", "E") == "" and left.last.returncode == 2
    for arguments in (("E", "127.0.0.2", "X"), ("E", "127.0.0.2", "S", "8"), ("E", "::1", "S"), ("E", "127.0.0.1", "S")):
        assert left.status("127.0.0.1", "CREATEMIRROR", *arguments) == 87, arguments
    assert left.status("127.0.0.1", "CREATEMIRROR", "F", "127.0.0.2", "S") == 15
    with open(right.disk, "rb"):
        pass
    os.truncate(right.disk, BYTES - 65536)
    assert left.status("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "S") == 87
    os.truncate(right.disk, BYTES)
    assert (left.state(), right.state()) == ("0 0", "0 0")
    # 1: both sides are equal, nothing is sent; "." has one address beside the target's.
    left.ok(".", "CREATMIRROR", "E", "127.0.0.2", "s", "5")
    lab.in_sync()
    assert int(left.view()["resync_bytes_sent"]) == 0
    left.ok(".", "DELETEMIRROR", "E")
    left.ok("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "A", "2")
    lab.in_sync()


# Spec: EMC-239, EMC-240, EMC-241, EMC-242, EMC-243, EMC-246, MOP-074, MOP-075, MOP-076, MOP-079, MOP-089
# Spec: MOP-015
def test_switchover_needs_a_target_that_is_mirroring(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert left.status(".", "SWITCHOVERVOLUME", "E") == 1
    left.ok(".", "PAUSEMIRROR", "E")
    for words in (("E",), ("E", "-f")):
        assert right.status(".", "SWITCHOVERVOLUME", *words) == 87
    assert (left.state(), right.state()) == ("1 4", "2 4")
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()
    left.write(48, "before")
    assert right.status(".", "SWITCHOVERVOLUME", "E", "-x") == 87
    left.ok("right", "SWITCHOVERVOLUME", "E")
    wait_until(lambda: (left.state(), right.state()) == ("2 1", "1 1"), "roles reversed")
    right.write(49, "after")
    assert (left.read(48), left.read(49)) == ("before", "after")
    left.ok(".", "SWITCHOVERVOLUME", "E")
    lab.in_sync()


# Spec: EMC-031, EMC-136, EMC-226, EMC-244, EMC-247, EMC-293, MOP-084, MOP-085, MOP-094, MOP-096
def test_split_brain_ends_by_prepare_and_continue(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert right.status(".", "PREPARETOBECOMETARGET", "E") == 1
    left.crash()
    # Its host lives and its service does not answer: it may be source still.
    assert right.status(".", "SWITCHOVERVOLUME", "E") == 1
    assert right.state() == "2 1"
    right.ok(".", "SWITCHOVERVOLUME", "E", "-f")
    right.write(64, "right")
    right.kill()
    left.start()
    wait_until(lambda: os.path.exists(left.device), "left serves alone")
    left.write(65, "left")
    right.start()
    wait_until(lambda: left.view()["split_brain"] and right.view()["split_brain"], "both know of the split brain")
    assert left.state() == "1 4" and right.state() == "1 4"
    assert left.status(".", "CONTINUEMIRROR", "E") == 1
    assert left.status(".", "CHANGEMIRRORTYPE", "E", "127.0.0.2", "A") == 1  # Spec: EMC-113
    left.ok("right", "PREPARETOBECOMETARGET", "E")
    assert right.state().startswith("2") and not os.path.exists(right.device)
    right.ok("left", "CONTINUEMIRROR", "E")
    lab.in_sync()
    assert (right.read(64), right.read(65)) == ("", "left")
    assert int(left.view()["resync_bytes_sent"]) < BYTES


# Spec: EMC-098, EMC-099, MOP-117
def test_endpoints_of_a_mirror_that_runs_are_not_changed(lab: EmcmdLab) -> None:
    left = lab.left
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.2", "127.0.0.3", "127.0.0.4") == 87
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.2", "::3", "127.0.0.4") == 87
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.7", "127.0.0.3", "127.0.0.4") == 2


# Spec: MOP-239
def test_a_file_system_is_checked_while_the_mirror_is_paused_and_the_repair_is_sent_partially(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    subprocess.run(["mkfs.ext4", "-q", left.device], check=True, capture_output=True)
    left.ok(".", "PAUSEMIRROR", "E")
    assert subprocess.run(["debugfs", "-w", "-R", "clri <2>", left.device], capture_output=True, check=False).returncode == 0
    assert subprocess.run(["e2fsck", "-fy", left.device], capture_output=True, check=False).returncode == 1, "it repairs something"
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()
    assert int(left.view()["resync_bytes_sent"]) < BYTES // 2
    assert left.disk.read_bytes() == right.disk.read_bytes()
    assert subprocess.run(["e2fsck", "-fn", str(right.disk)], capture_output=True, check=False).returncode == 0
    # A target has no device to check.
    assert not os.path.exists(right.device)


# Spec: MOP-216
def test_a_device_made_above_the_mirror_keeps_it_until_it_is_dropped(lab: EmcmdLab) -> None:
    """As a snapshot of the kernel's above the volume does."""
    left, right = lab.left, lab.right
    above = subprocess.run(["losetup", "--find", "--show", left.device], check=True, capture_output=True, text=True).stdout.strip()
    try:
        left.write(80, "kept")
        assert right.status(".", "SWITCHOVERVOLUME", "E") != 0
        assert "in use" in right.last.stderr, right.last.stderr
        assert left.status(".", "LOCKVOLUME", "E") == 33
        left.write(81, "goes on")
        assert left.state() == "1 1"
    finally:
        subprocess.run(["losetup", "--detach", above], check=True)
    right.ok(".", "SWITCHOVERVOLUME", "E")
    assert (left.read(80), left.read(81)) == ("kept", "goes on")


# Spec: EMC-053, EMC-084, EMC-182, EMC-218, EMC-220, EMC-263, EMC-300, MOP-224, REP-303
def test_a_volume_without_a_mirror_is_locked_too(lab: EmcmdLab) -> None:
    left = lab.left
    left.ok(".", "DELETEMIRROR", "E")
    with open(left.disk, "rb"):
        assert left.status(".", "LOCKVOLUME", "E") == 33
    left.ok(".", "LOCKVOLUME", "E")
    left.ok(".", "LOCKVOLUME", "E")
    assert left.understudy("volume", "list", "--locked").split()[:3] == ["E", "-", "command"]
    left.kill()
    left.start()
    assert "E" in left.understudy("volume", "list", "--locked")
    left.ok(".", "SETCONFIGURATION", "E", "800")
    assert left.status(".", "UNLOCKVOLUME", "E") == 5
    left.ok(".", "SETCONFIGURATION", "E", "0")
    left.ok(".", "UNLOCKVOLUME", "E")
    assert left.understudy("volume", "list", "--locked") == ""
    assert left.status(".", "LOCKVOLUME", "Q") == 15
    # A shared volume is locked from the start.
    left.ok(".", "SETCONFIGURATION", "E", "256")
    left.kill()
    left.start()
    assert "E" in left.understudy("volume", "list", "--locked")
    left.ok(".", "SETCONFIGURATION", "E", "0")
    left.ok(".", "UNLOCKVOLUME", "E")


# Spec: EMC-067, MOP-006
def test_a_short_random_sequence_ends_as_the_model_says(lab: EmcmdLab) -> None:
    """The long run of them is tests/cluster/emcmd_sequences.py."""
    Life(lab, 7).live(12)


# Spec: EMC-225, EMC-291, MOP-095
def test_a_split_brain_after_full_resyncs_ends_with_what_differs(lab: EmcmdLab) -> None:
    """The long run of them is tests/cluster/emcmd_sequences.py --split-brains."""
    SplitLife(lab, 3).live()
