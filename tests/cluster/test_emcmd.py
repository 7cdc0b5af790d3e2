"""emcmd as scripts know it: what each command prints and does, between two mirrord processes with real devices."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest
from emcmd_lab import SIZE_BLOCKS, EmcmdLab, Node
from emcmd_sequences import Life, SplitLife
from lab import PROJECT
from two_hosts import PROGRAMS, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices and mounts")
BYTES = SIZE_BLOCKS * 65536


@pytest.fixture(scope="module")
def shared() -> Iterator[EmcmdLab]:
    with tempfile.TemporaryDirectory(prefix="understudy-emcmd-") as directory:
        made = EmcmdLab(pathlib.Path(directory))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def lab(shared: EmcmdLab) -> EmcmdLab:
    shared.mirrored()
    return shared


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


# Spec: EMC-110, EMC-111, EMC-112, EMC-115, EMC-116, MOP-116
def test_the_type_changes_at_once_in_the_mirror_and_in_its_job(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    left.emcmd(".", "CREATEJOB", "sql", "", "left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "S")
    before = "1" if "Type 1" in left.emcmd(".", "GETMIRRORTYPE", "E") else "2"
    for letter, number in (("a", "2"), ("S", "1"), ("A" if before == "2" else "S", before)):
        left.ok(".", "CHANGEMIRRORTYPE", "E", "127.0.0.2", letter)
        for node in (left, right):
            wait_until(lambda n=node, t=number: n.emcmd(".", "GETMIRRORTYPE", "E") == f"Target system 127.0.0.2, Type {t}\n", "the type")
            assert f"right;E;127.0.0.2;{letter.upper()}\n" in node.emcmd(".", "GETJOBINFOFORVOL", "E")
    assert left.state() == "1 1"
    assert left.status(".", "CHANGEMIRRORTYPE", "E", "127.0.0.2", "D") == 87
    assert left.status(".", "CHANGEMIRRORTYPE", "E", "127.0.0.7", "A") == 2
    left.understudy("mirror", "job", "delete", "sql")


# Spec: EMC-048, EMC-178, EMC-179, EMC-052, EMC-299, MOP-063
def test_attributes_are_a_mask_of_each_node(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    left.ok(".", "SETCONFIGURATION", "E", "384")
    text = left.emcmd(".", "GETCONFIGURATION", "E")
    assert re.findall(r"^(.*\S) +IS enabled$", text, re.MULTILINE) == ["MS Failover Cluster Config", "Shared Volume"]
    assert "Attributes       : 180h" in left.emcmd(".", "GETVOLUMEINFO", "E", "1")
    assert "IS enabled" not in right.emcmd(".", "GETCONFIGURATION", "E")
    left.ok(".", "SETCONFIGURATION", "E", "800")
    assert " 800 " in left.emcmd(".", "GETCONFIGURATION", "E")
    assert left.status(".", "SETCONFIGURATION", "E", "4096") == 87
    left.ok(".", "SETCONFIGURATION", "E")
    assert "= 0 (0h)" in left.emcmd(".", "GETCONFIGURATION", "E")


# Spec: EMC-120, EMC-121, EMC-122, EMC-123, EMC-124, EMC-125, EMC-172, EMC-250, EMC-251, EMC-252, EMC-256, MOP-087, MOP-192, MOP-193
# Spec: MOP-194, MOP-197
def test_snapshots_and_their_locations(lab: EmcmdLab) -> None:
    right = lab.right
    place = right.root / "snap shots"
    place.mkdir(exist_ok=True)
    assert right.emcmd(".", "GETSNAPSHOTLOCATION", "E") == "" and right.last.returncode == 0
    assert right.status(".", "SETSNAPSHOTLOCATION", "E", "snap") == 87
    assert right.status(".", "SETSNAPSHOTLOCATION", "E", "") == 87
    assert right.status(".", "SETSNAPSHOTLOCATION", "E", "/no/such/place") == 3
    assert right.status(".", "TAKESNAPSHOT", "E") == 3
    lab.left.ok("right", "SETSNAPSHOTLOCATION", "E", str(place))
    assert right.emcmd(".", "GETSNAPSHOTLOCATION", "E") == f"{place}\n"
    assert right.status(".", "TAKESNAPSHOT", "E") == 2  # it belongs to no job
    assert lab.left.status(".", "TAKESNAPSHOT", "E") == 2  # it is no target
    lab.left.emcmd(".", "CREATEJOB", "snapped", "", "left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "S")
    lab.left.write(112, "before")
    lab.left.ok("right", "TAKESNAPSHOT", "E")
    lab.left.write(112, "after")
    assert right.read(112) == "after" and right.state() == "2 1"
    with open(right.view()["snapshot"]["device"], "rb") as snapshot:
        snapshot.seek(112 * 4096)
        assert snapshot.read(6) == b"before"
    assert right.status(".", "SETSNAPSHOTLOCATION", "E", str(right.root)) == 33
    assert right.status(".", "SWITCHOVERVOLUME", "E") != 0 and lab.left.state() == "1 1"
    right.ok(".", "DROPSNAPSHOT", "E")
    right.ok(".", "CLEARSNAPSHOTLOCATION", "E")
    assert right.emcmd(".", "GETSNAPSHOTLOCATION", "E") == ""
    lab.left.understudy("mirror", "job", "delete", "snapped")


# Spec: EMC-138, EMC-140, EMC-141, EMC-142, EMC-157, EMC-158, EMC-159, EMC-185, EMC-187, EMC-188, MOP-033, MOP-035, MOP-036, MOP-037
# Spec: MOP-038, MOP-072, EMC-102, EMC-111, EMC-114
def test_jobs_are_on_all_their_systems(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    pair = ("left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "A")
    made = left.emcmd(".", "CREATEJOB", "sqldata", "the database", *pair)
    job = re.fullmatch(r"ID = (\S+)\nStatus = 0\n", made)
    assert job, made
    expected = (f"ID = {job[1]}\nName = sqldata\nDescription = the database\n"
                "MirrorEndPoints = left;E;127.0.0.1;right;E;127.0.0.2;A\n")
    for node in (left, right):
        for words in (("GETJOBINFO",), ("GETJOBINFO", job[1]), ("GETJOBINFOFORVOL", "E"), ("GETJOBINFOFORVOL", "E", "127.0.0.1")):
            assert node.emcmd(".", *words) == expected, words
        assert node.emcmd(".", "GETJOBINFOFORVOL", "F") == "" and node.last.returncode == 0
    assert left.status(".", "GETJOBINFO", "00000000-0000-0000-0000-000000000000") == 2
    for wrong in (pair[:6], ("left", "E", "127.0.0.1", "right", "E", "127.0.0.1", "A"), (*pair[:5], "::2", "A")):
        assert left.status(".", "CREATEJOB", "other", "", *wrong) == 87
    left.ok(".", "UPDATEJOB", job[1], "sql", "", *pair, "left", "F", "127.0.0.1", "right", "F", "127.0.0.2", "S")
    assert "Name = sql\nDescription =\n" in right.emcmd(".", "GETJOBINFO")
    assert right.emcmd(".", "GETJOBINFOFORVOL", "F").count("MirrorEndPoints") == 2
    # A pair without a mirror changes its addresses in the job alone.
    left.ok(".", "CHANGEMIRRORENDPOINTS", "F", "127.0.0.2", "127.0.0.1", "127.0.0.2")
    left.ok(".", "CHANGEMIRRORTYPE", "F", "127.0.0.2", "A")
    assert "right;F;127.0.0.2;A\n" in right.emcmd(".", "GETJOBINFOFORVOL", "F")
    # Reassigned, the mirror goes on.
    right.understudy("mirror", "job", "reassign", "sql", "F", "logs")
    assert "right;F;127.0.0.2;A" in left.emcmd(".", "GETJOBINFOFORVOL", "F") and "Name = logs" in left.emcmd(".", "GETJOBINFO")
    assert left.state() == "1 1"
    right.kill()
    assert left.program("understudy", "mirror", "job", "rename", "sql", "x").returncode == 9
    assert left.status(".", "DELETEJOB", job[1]) != 0
    assert left.emcmd(".", "GETJOBINFO", job[1]) != ""
    left.understudy("mirror", "job", "delete", "sql", "--local")
    assert left.status(".", "GETJOBINFO", job[1]) == 2
    right.start()
    lab.in_sync()
    right.understudy("mirror", "job", "delete", "sql", "--local")
    left.understudy("mirror", "job", "delete", "logs")
    for node in (left, right):
        assert node.emcmd(".", "GETJOBINFO") == ""


# Spec: EMC-098, EMC-099, MOP-117
def test_endpoints_of_a_mirror_that_runs_are_not_changed(lab: EmcmdLab) -> None:
    left = lab.left
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.2", "127.0.0.3", "127.0.0.4") == 87
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.2", "::3", "127.0.0.4") == 87
    assert left.status(".", "CHANGEMIRRORENDPOINTS", "E", "127.0.0.7", "127.0.0.3", "127.0.0.4") == 2


# Spec: EMC-229, EMC-230, EMC-233, EMC-264, EMC-266, MOP-119, REP-342
def test_parameters_are_read_again_on_demand(lab: EmcmdLab) -> None:
    left = lab.left
    settings = left.root / "etc/default/LifeKeeper"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("BandwidthThrottle=4000\n")
    assert "BandwidthThrottle=4000 " not in left.understudy("mirror", "set", "E")
    left.ok(".", "READREGISTRY", "E")
    assert "BandwidthThrottle=4000 " in left.understudy("mirror", "set", "E")
    assert left.state() == "1 1"
    settings.write_text("")
    left.ok(".", "READREGISTRY", "E")
    assert left.status(".", "READREGISTRY", "F") == 2
    left.ok(".", "UPDATEVOLUMEINFO", "E")
    assert left.status(".", "UPDATEVOLUMEINFO", "Q") == 15


def in_terminal(node: Node, *words: str) -> tuple[int, str]:
    """Exit code of "understudy mirror ...", and what a person sees of its standard error."""
    terminal, program_side = pty.openpty()
    process = subprocess.Popen([str(PROGRAMS / "understudy"), "mirror", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=program_side, env={**os.environ, "UNDERSTUDY_ROOT": str(node.root), "LC_ALL": "C.UTF-8"})
    os.close(program_side)
    shown = b""
    try:
        with contextlib.suppress(OSError):  # the other side is closed
            while select.select([terminal], [], [], 100)[0] and (part := os.read(terminal, 65536)):
                shown += part
        return process.wait(30), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


# Spec: EMC-200
def test_a_terminal_shows_how_far_a_resync_and_a_comparison_are_and_is_clean_afterwards(lab: EmcmdLab) -> None:
    left = lab.left
    with open(left.device, "r+b", buffering=0) as device:  # zeroes travel without their bytes
        device.write(os.urandom(BYTES))
        os.fsync(device.fileno())
    left.understudy("mirror", "set", "E", "BandwidthThrottle=16000")  # 8 MiB take seconds
    try:
        code, shown = in_terminal(left, "resync", "E", "--wait")
        assert code == 0, shown
        line = re.compile(r"right +\[[#-]{20}\] +(\d+) %  [\d.]+ \w+ left(, [\d.]+ \w+/s, .*)?\r\n")
        parts = [int(match[1]) for match in line.finditer(shown)]
        assert len(parts) >= 3 and parts[0] < parts[-1], shown
        assert any(match[2] for match in line.finditer(shown)), f"no rate in {shown}"
        assert line.sub("", shown).replace("\x1b[1A\x1b[J", "") == "", "nothing else is said"
        assert shown.endswith("\x1b[1A\x1b[J"), "the line is gone"
        assert left.state() == "1 1"
        code, shown = in_terminal(left, "verify", "E")
        assert code == 0 and line.sub("", shown).replace("\x1b[1A\x1b[J", "") == "", shown
        # Without a terminal there are lines, and no codes.
        done = left.command("resync", "E", "--wait")
        assert "\x1b" not in done.stderr and re.search(r"right +\[", done.stderr), done.stderr
    finally:
        left.understudy("mirror", "set", "E", "BandwidthThrottle=")


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


def established_on(port: int) -> bool:
    """Whether somebody's connection has this port at its end."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(int(fields[1].rsplit(":", 1)[1], 16) == port and fields[3] == "01" for fields in map(str.split, lines))


# Spec: EMC-231
def test_a_targets_ports_are_read_again_and_are_those_of_the_next_connection(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    settings = right.root / "etc/default/LifeKeeper"
    settings.parent.mkdir(exist_ok=True)
    try:
        settings.write_text("TargetPortBase=14000\n")
        right.ok(".", "READREGISTRY", "E")
        assert not established_on(14004)
        assert left.state() == "1 1"
        left.ok(".", "PAUSEMIRROR", "E")
        left.ok(".", "CONTINUEMIRROR", "E")
        lab.in_sync()
        assert established_on(14004)
    finally:
        settings.write_text("")
        right.ok(".", "READREGISTRY", "E")


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


# Spec: EMC-017, EMC-018, EMC-237, MOP-008, REP-006
def test_a_stopped_service_answers_nothing_and_replication_goes_on(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    assert left.emcmd(".", "STOPSERVICE") == "Status = 1072\n" and left.last.returncode == 0
    left.write(80, "goes on")
    assert right.read(80) == "goes on"
    assert left.status(".", "GETSERVICEINFO") == 2
    assert right.status("left", "GETSERVICEINFO") == 2
    left.kill()
    assert left.status(".", "GETSERVICEINFO") == 2
    left.start()
    assert left.emcmd(".", "GETSERVICEINFO").startswith("Service Description:= ")
    lab.in_sync()


# Spec: EMC-269, EMC-270, EMC-271, EMC-272, EMC-273, EMC-274, EMC-275, EMC-276, EMC-278
def test_the_powershell_module_has_the_manuals_parameters() -> None:
    done = subprocess.run([sys.executable, str(PROJECT / "tests/structure/check_powershell.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# Spec: EMC-067, MOP-006
def test_a_short_random_sequence_ends_as_the_model_says(lab: EmcmdLab) -> None:
    """The long run of them is tests/cluster/emcmd_sequences.py."""
    Life(lab, 7).live(12)


# Spec: EMC-225, EMC-291, MOP-095
def test_a_split_brain_after_full_resyncs_ends_with_what_differs(lab: EmcmdLab) -> None:
    """The long run of them is tests/cluster/emcmd_sequences.py --split-brains."""
    SplitLife(lab, 3).live()
