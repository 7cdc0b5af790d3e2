"""emcmd beside a mirror's states: attributes, jobs, snapshots, parameters, the service, terminals."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import re
import select
import subprocess
import sys

import pytest
from emcmd_lab import SIZE_BLOCKS, EmcmdLab, Node
from lab import PROJECT
from two_hosts import PROGRAMS, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices and mounts")
BYTES = SIZE_BLOCKS * 65536


@pytest.fixture
def lab(emcmd_hosts: EmcmdLab) -> EmcmdLab:
    emcmd_hosts.mirrored()
    return emcmd_hosts


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
