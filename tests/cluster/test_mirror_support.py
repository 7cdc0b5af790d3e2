"""The support tools of a host's mirrors: cleanupmirror, dkhealthcheck, dksupport."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import zipfile

import pytest
from emcmd_lab import EmcmdLab, Node

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices and mounts")


@pytest.fixture
def lab(emcmd_hosts: EmcmdLab) -> EmcmdLab:
    emcmd_hosts.mirrored()
    return emcmd_hosts


# Spec: EMC-279, EMC-280, EMC-281, REP-335
def test_cleanupmirror_removes_every_remnant_and_nothing_else(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    left.emcmd(".", "CREATEJOB", "kept", "", "left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "S")
    job = left.emcmd(".", "GETJOBINFO")
    right.emcmd(".", "SETBLOCKTARGET", "E")
    for node in (left, right, right):  # a second time there is nothing left to clean
        done = node.script("cleanupmirror", "E")
        assert done.returncode == 0, done.stdout + done.stderr
        assert node.state() == "0 0"
    assert right.emcmd(".", "GETBLOCKTARGET", "E") == "FALSE\n"
    assert not list((left.root / "var/lib/understudy/Bitmaps").glob("E*"))
    left.ok("127.0.0.1", "CREATEMIRROR", "E", "127.0.0.2", "S")
    lab.in_sync()
    assert left.emcmd(".", "GETJOBINFO") == job
    assert left.script("cleanupmirror", "EF").returncode == 87
    left.understudy("mirror", "job", "delete", "kept")


# Spec: EMC-286, EMC-288, MOP-175, MOP-176, MOP-178, REP-337
def test_the_health_check_finds_what_is_wrong(lab: EmcmdLab) -> None:
    left, right = lab.left, lab.right
    done = left.script("dkhealthcheck", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    health = json.loads(done.stdout)
    assert (health["state"], health["counts"]) == ("mirroring", {"mirroring": 1})
    left.ok(".", "PAUSEMIRROR", "E")
    done = left.script("dkhealthcheck")
    assert done.returncode == 1 and "volume E" in done.stdout and "paused" in done.stdout
    left.ok(".", "CONTINUEMIRROR", "E")
    lab.in_sync()

    def found(node: Node, code: int) -> str:
        checked = node.script("dkhealthcheck")
        assert checked.returncode == code, checked.stdout + checked.stderr
        return checked.stdout

    # What is wrong with the configuration, on the host where it is.
    place = right.root / "snapshots"
    place.mkdir()
    right.ok(".", "SETSNAPSHOTLOCATION", "E", str(place))
    assert found(right, 0) == "right: mirroring\n1 mirroring\n"
    place.rmdir()
    assert f"volume E: no snapshot can be taken: {place} is missing" in found(right, 1)
    right.ok(".", "CLEARSNAPSHOTLOCATION", "E")
    left.emcmd(".", "CREATEJOB", "checked", "", "left", "E", "127.0.0.7", "right", "E", "127.0.0.2", "S")
    assert "goes from 127.0.0.1 to 127.0.0.2, and the job says from 127.0.0.7 to 127.0.0.2" in found(left, 1)
    done = left.script("dkhealthcheck", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["findings"][0]["local_configuration"], done.stdout
    left.understudy("mirror", "job", "delete", "checked")
    subprocess.run(["mkswap", left.device], check=True, capture_output=True)
    assert "volume E: it is used as swap" in found(left, 1)
    subprocess.run(["wipefs", "--all", "--quiet", left.device], check=True)
    assert found(left, 0) == "left: mirroring\n1 mirroring\n"
    left.kill()
    assert "does not run" in found(left, 2)
    left.start()


# Spec: EMC-283, EMC-284, EMC-285, REP-336
def test_dksupport_packs_the_state_of_mirrors_and_jobs(lab: EmcmdLab) -> None:
    left = lab.left
    left.emcmd(".", "CREATEJOB", "packed", "", "left", "E", "127.0.0.1", "right", "E", "127.0.0.2", "S")
    done = left.script("dksupport", "--directory", str(left.root))
    assert done.returncode == 0, done.stderr
    names = {pathlib.Path(name).name for name in zipfile.ZipFile(done.stdout.strip()).namelist()}
    for needed in ("sys_name.txt", "dk_state.txt", "healthcheck.txt", "emcmd_._GETJOBINFO.txt", "emcmd_._GETSERVICEINFO.txt",
                   "emcmd_._GETVOLUMEINFO_E_3.txt", "emcmd_._GETCONFIGURATION_E.txt", "emcmd_._GETRESYNCSTATUS_E.txt"):
        assert needed in names, sorted(names)
    packed = zipfile.ZipFile(done.stdout.strip())
    in_file = {name.rsplit("/", 1)[-1]: packed.read(name).decode() for name in packed.namelist()}
    assert socket.gethostname() in in_file["sys_name.txt"] and "understudy-mirror" in in_file["dk_state.txt"]
    assert "1 mirroring" in in_file["healthcheck.txt"] and "exit code 0" in in_file["healthcheck.txt"]
    assert not any("key" in name for name in packed.namelist())
    # Without the service it packs what lies on the disk.
    left.kill()
    (left.root / "without").mkdir()
    done = left.script("dksupport", "--directory", str(left.root / "without"))
    assert done.returncode == 0, done.stderr
    archive = zipfile.ZipFile(done.stdout.strip())
    packed = archive.namelist()
    assert "mirrord does not run" in archive.read("errors.txt").decode()
    assert not [name for name in packed if name.startswith("emcmd/")]
    for directory in ("mirrors", "jobs", "volumes"):
        assert any(f"var/lib/understudy/{directory}/" in name for name in packed), sorted(packed)
    for needed in ("lsblk", "blkid", "ip_address", "dpkg-query", "journalctl"):
        assert any(needed in name for name in packed) or needed in archive.read("errors.txt").decode(), needed
    left.start()
    left.understudy("mirror", "job", "delete", "packed")
