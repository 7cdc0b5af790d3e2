"""Quorum with real hosts: majority, storage in a shared directory and in S3, the watchdog. Never twice is checked by a
lock that the application holds."""

from __future__ import annotations

import socket
import struct

import pytest
from lab import Host, Lab, wait_until
from quorum_lab import APP, QuorumLab, s3rver, start_s3

MAJORITY = {"QUORUM_MODE": "majority", "WITNESS_MODE": "remote_verify"}
STORAGE = {"QUORUM_MODE": "storage", "WITNESS_MODE": "storage", "QWK_STORAGE_HBEATTIME": 5, "QWK_STORAGE_NUMHBEATS": 3}


def wait_state(host: Host, state: str, limit: float, what: str) -> None:
    wait_until(lambda: host.state(APP) == state, limit, what)


def ask(host: Host, **fields: str) -> str:
    """One request to qwk.sock: a 4-byte length, then lines."""
    text = "".join(f"{key}={value}\n" for key, value in fields.items()).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(host.root / "run/understudy/qwk.sock"))
        connection.sendall(struct.pack("<I", len(text)) + text)
        received = connection.makefile("rb")
        (size,) = struct.unpack("<I", received.read(4))
        return received.read(size).decode()


# Spec: QUO-113, QUO-077, QUO-073, QUO-075, QUO-076, QUO-114, QUO-131, CLU-183
def test_an_isolated_owner_stops_and_the_majority_takes_over(lab: Lab) -> None:
    cluster = QuorumLab(lab, "nodea", "nodeb", "nodec", **MAJORITY)
    a, b, c = cluster.hosts
    cluster.start_application()
    assert a.run("lkquorum", "status").stdout.startswith("quorum: HAVE (quorum majority, witness remote_verify, 3 of 3")
    assert "Quorum\n  HAVE" in a.command("understudy", "status")
    cluster.isolate(a)
    wait_until(lambda: "stop nodea" in cluster.trace(), 30, "the isolated owner has stopped its application")
    wait_state(b, "ISP", 60, "the best of the majority has taken over")
    refused = wait_until(lambda: (r := a.run("lkstart", "-w", "0", code=None)) and "quarantine" in r.stderr and r, 15,
                         "the owner is in quarantine")
    assert refused.returncode == 1 and "lkstart --force" in refused.stderr
    lab.heal()
    wait_until(lambda: a.run("sys_list", code=None).returncode == 0, 60, "the owner starts again by itself")
    wait_state(a, "OSU", 60, "it is standby")
    wait_until(lambda: cluster.status(a)["state"] == "HAVE", 30, "with quorum")
    assert b.state(APP) == "ISP" and c.state(APP) == "OSU"
    cluster.wait_trace("start nodea", "stop nodea", "start nodeb")
    # A boot ends the quarantine.
    cluster.configure(**MAJORITY, QUORUM_QUARANTINE_SECS=3600)
    cluster.isolate(b)
    wait_until(lambda: "quarantine" in b.run("lkstart", "-w", "0", code=None).stderr, 30, "nodeb is in quarantine")
    assert "quarantine" in b.run("lkstart", "-w", "0", code=1).stderr, "the first refusal started nothing"
    b.power_off()
    b.start(wait=60)
    lab.heal()
    wait_state(b, "OSU", 60, "nodeb is standby")
    assert cluster.never_twice()


# Spec: QUO-078, QUO-062
def test_an_owner_that_cannot_stop_is_reset_before_another_node_starts(lab: Lab) -> None:
    cluster = QuorumLab(lab, "nodea", "nodeb", "nodec", **MAJORITY)
    a, b, _ = cluster.hosts
    cluster.start_application()
    assert cluster.status(a)["watchdog"] is True
    (lab.directory / "stuck.nodea").touch()
    cluster.isolate(a)
    wait_until(lambda: a.died, 60, "its watchdog has reset the host")
    wait_state(b, "ISP", 60, "the majority has taken over")
    cluster.wait_trace("start nodea", "start nodeb")


def test_a_daemon_that_stands_still_costs_its_host_its_power(lab: Lab) -> None:
    cluster = QuorumLab(lab, "nodea", "nodeb", "nodec", **MAJORITY)
    a, b, _ = cluster.hosts
    cluster.start_application()
    a.kill("understudyd", "STOP")
    wait_until(lambda: a.died, 60, "its watchdog has reset the host")
    wait_state(b, "ISP", 60, "the majority has taken over")
    cluster.wait_trace("start nodea", "start nodeb")


# Spec: QUO-021, QUO-016, QUO-020, QUO-131, QUO-124, QUO-125, QUO-126
def test_settings_are_judged_and_take_effect_at_once(lab: Lab) -> None:
    cluster = QuorumLab(lab, "nodea", "nodeb", "nodec", **MAJORITY)
    a = cluster.hosts[0]
    checked = a.run("lkquorum", "check")
    assert "supported" in checked.stdout and "recommended for 3 nodes: majority" in checked.stdout
    assert ask(a, command="quorum_verify", lkevent="COMM_UP") == "result=HAVE\n"
    assert ask(a, command="witness_verify", lkevent="COMM_DOWN", target_node="nodeb") == "result=CR1 peer up\n"
    assert ask(a, command="dance").startswith("error=18175\n")
    cluster.configure(QUORUM_MODE="storage", WITNESS_MODE="remote_verify")
    wrong = a.run("lkquorum", "status", code=3)
    assert "CONFIG ERROR" in wrong.stdout and "do not go together" in wrong.stdout
    refused = a.run("perform_action", "-a", "restore", "-t", APP, code=1)
    assert "CONFIG ERROR" in refused.stderr
    cluster.configure(QUORUM_MODE="storage", WITNESS_MODE="storage")
    assert "FROZEN" in a.run("lkquorum", "status", code=2).stdout
    cluster.configure()
    assert "HAVE" in a.run("lkquorum", "status", code=0).stdout
    cluster.start_application()


# Spec: QUO-099, QUO-101, QUO-102, QUO-081, QUO-085, QUO-088, QUO-117, QUO-118, QUO-094, QUO-104
def test_storage_in_a_shared_directory(lab: Lab) -> None:
    shared = lab.directory / "qwk"
    shared.mkdir()
    objects = {f"QWK_STORAGE_OBJECT_{name}": shared / name for name in ("NODEA", "NODEB")}
    cluster = QuorumLab(lab, "nodea", "nodeb", **STORAGE, QWK_STORAGE_TYPE="file", **objects)
    a, b = cluster.hosts
    late = a.run("qwk_storage_init", "-t", "3", code=5)
    assert "nodeb" in late.stdout + late.stderr
    waiting = a.spawn("qwk_storage_init", log="init")
    wait_until(lambda: (shared / "NODEA").exists(), 20, "nodea writes its object")
    assert waiting.poll() is None, "it waits for nodeb"
    b.command("qwk_storage_init", "-t", "60", timeout=90)
    assert waiting.wait(60) == 0
    for name in ("NODEA", "NODEB"):
        record = (shared / name).read_bytes()
        assert len(record) == 4096 and record.startswith(b"signature=lifekeeper_qwk_object\nlocal_node=" + name.lower().encode())
    cluster.start_application()

    # S1: the paths fail, both reach the storage.
    before = cluster.status(a)["sequence"]
    lab.partition(a, b)
    wait_until(lambda: "CR1 peer up" in cluster.log(b) and "CR1 peer up" in cluster.log(a), 60, "both find the other alive")
    wait_until(lambda: cluster.status(a)["sequence"] >= before + 3, 40, "objects are written on")
    assert a.state(APP) == "ISP" and b.state(APP) == "OSU"
    lab.heal()
    wait_until(lambda: cluster._alive(a) and cluster._alive(b), 30, "paths back")

    # S2: the owner dies.
    a.power_off()
    wait_state(b, "ISP", 90, "nodeb has taken over")
    assert "CR2 peer down" in cluster.log(b)
    cluster.wait_trace("start nodea", "start nodeb")

    # The initialised state survives a reboot. Spec: QUO-103
    a.start(wait=90)
    wait_until(lambda: cluster.status(a)["state"] == "HAVE", 30, "initialised still")
    assert "not active any more" in a.command("qwk_storage_exit")
    assert "FROZEN" in a.run("lkquorum", "status", code=2).stdout
    assert (shared / "NODEA").exists()
    assert b.state(APP) == "ISP" and cluster.never_twice()


# Spec: QUO-100, QUO-012, QUO-013
def test_storage_init_says_what_is_missing(lab: Lab) -> None:
    cluster = QuorumLab(lab, "nodea", "nodeb", **STORAGE)
    a, b = cluster.hosts
    assert "QWK_STORAGE_TYPE" in a.run("qwk_storage_init", code=1).stderr
    cluster.configure(**STORAGE, QWK_STORAGE_TYPE="file", QWK_STORAGE_OBJECT_NODEA="/nowhere/A")
    assert "QWK_STORAGE_OBJECT_NODEB" in a.run("qwk_storage_init", code=1).stderr
    cluster.configure(**STORAGE, QWK_STORAGE_TYPE="file", QWK_STORAGE_OBJECT_NODEA="/nowhere/A", QWK_STORAGE_OBJECT_NODEB="/nowhere/B")
    assert "/nowhere/A" in a.run("qwk_storage_init", code=3).stderr
    b.power_off()
    wait_until(lambda: a.command("sys_getst", "-s", "nodeb").strip() == "DEAD", 15, "nodeb DEAD")
    assert "TCP:" in a.run("qwk_storage_init", code=4).stderr
    a.run("qwk_storage_init", "--no-such-option", code=2)


# Spec: QUO-095, QUO-096, QUO-097, QUO-014
@pytest.mark.skipif(s3rver() is None, reason="s3rver is not installed; packaging/dependencies does that")
def test_storage_in_two_buckets_of_s3(lab: Lab) -> None:
    store = lab.host("store")
    store.power_on()
    servers = [start_s3(store, port, ("east", "west")) for port in (4568, 4569)]
    uris = {f"QWK_STORAGE_OBJECT_{name}": f"s3://east/quorum/{name},s3://west/quorum/{name}" for name in ("NODEA", "NODEB")}
    cluster = QuorumLab(lab, "nodea", "nodeb", **STORAGE, **uris, QWK_STORAGE_TYPE="aws_s3",
                        QWK_STORAGE_S3_ENDPOINT=f"http://{store.address()}:4568,http://{store.address()}:4569",
                        AWS_ACCESS_KEY_ID="S3RVER", AWS_SECRET_ACCESS_KEY="S3RVER")
    a, b = cluster.hosts
    waiting = a.spawn("qwk_storage_init", "-t", "90", log="init")
    b.command("qwk_storage_init", "-t", "90", timeout=120)
    assert waiting.wait(120) == 0, (a.root / "var/log/understudy/init.out").read_text()
    wait_until(lambda: cluster.status(a)["state"] == "HAVE", 30, "quorum by both buckets")
    cluster.start_application()
    store.kill_group(servers[0])
    wait_until(lambda: "(No. 18217)" in cluster.log(a) and "(No. 18216)" in cluster.log(a), 40, "the failures are logged")
    before = cluster.status(a)["sequence"]
    wait_until(lambda: cluster.status(a)["sequence"] >= before + 2, 40, "the other bucket is enough")
    assert cluster.status(a)["state"] == "HAVE" and a.state(APP) == "ISP"
    a.power_off()
    wait_state(b, "ISP", 90, "nodeb has taken over")
    assert cluster.never_twice()
