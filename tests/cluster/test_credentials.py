"""Nodes that are taken out of the cluster, and new keys for those that stay."""

from __future__ import annotations

import pathlib
import shutil

from lab import Host, Lab, wait_until
from test_membership import join, three_started


def pki(host: Host) -> pathlib.Path:
    return host.root / "etc/understudy/pki"


def log(host: Host) -> str:
    return (host.root / "var/log/understudy/understudyd.log").read_text()


# Spec: CLU-099, CLU-272, DEP-216
def test_a_removed_node_is_out_on_every_member_and_its_certificate_is_void(lab: Lab) -> None:
    left, right, third = three_started(lab)
    left.command("understudy", "init")
    join(right, left)
    join(third, left)
    for host, other in ((left, "right"), (left, "third"), (right, "third")):
        wait_until(lambda h=host, o=other: h.command("sys_getst", "-s", o).strip() == "ALIVE", 15, f"{host.name} sees {other}")
    assert "ALIVE" in left.run("understudy", "remove", "third", code=1).stderr
    old = lab.directory / "old-pki"
    shutil.copytree(pki(third), old)
    third.command("lkstop")
    right.command("lkstop", "-f")
    for other in ("right", "third"):
        wait_until(lambda o=other: left.command("sys_getst", "-s", o).strip() == "DEAD", 15, f"{other} has stopped")
    out = left.command("understudy", "remove", "third")
    assert "Removing network comm path(s)" in out and "right learns it when it is ALIVE" in out
    assert left.command("sys_list").split() == ["left", "right"]
    # Who was down learns it from the first that it meets.
    right.start()
    wait_until(lambda: right.command("sys_list").split() == ["left", "right"], 15, "right has forgotten it too")
    assert "third was removed from the cluster" in right.command("understudy", "events")

    # The name is free, and what the old host had stays void.
    third.power_off()
    shutil.rmtree(third.root / "var/lib/understudy")
    shutil.rmtree(pki(third))
    third.start()
    join(third, left)
    wait_until(lambda: left.command("sys_getst", "-s", "third").strip() == "ALIVE", 15, "third is a member again")
    third.command("lkstop", "-f")
    wait_until(lambda: left.command("sys_getst", "-s", "third").strip() == "DEAD", 15, "third has stopped")
    for name in ("node.pem", "node.key"):
        shutil.copy(old / name, pki(third) / name)
    third.command("lkstart")
    wait_until(lambda: "third was removed from the cluster on left" in left.command("sys_getds", "-s", "third"), 15,
               "its old certificate is refused")
    assert left.command("sys_getst", "-s", "third").strip() == "DEAD"


# Spec: CLU-099, DEP-216
def test_a_running_cluster_gets_new_keys(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    before = {host.name: ((pki(host) / "ca.pem").read_text(), (pki(host) / "node.pem").read_text()) for host in pair}
    assert "2 node(s) have new keys" in left.command("understudy", "keys", "rotate")
    for host in pair:
        ca, certificate = before[host.name]
        wait_until(lambda h=host, c=ca: (pki(h) / "ca.pem").read_text() not in (c, ""), 15, f"{host.name} trusts the new authority")
        assert ca not in (pki(host) / "ca.pem").read_text(), "alone"
        assert (pki(host) / "node.pem").read_text() != certificate
        wait_until(lambda h=host: lab._paths_alive(h), 15, f"paths of {host.name} ALIVE")
    # right did not make the authority; it has got its key and lets hosts in.
    wait_until(lambda: (pki(right) / "ca.key").exists(), 15, "right has the authority's key")
    third = lab.host("third")
    third.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2)
    third.start()
    token = right.command("understudy", "token").strip()
    third.command("understudy", "join", right.address(), "--token", token, "--interval", "200ms", "--misses", "3")
    right.command("lkstop", "-f")
    right.start()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "ALIVE", 15, "right is ALIVE after a restart")
    assert "COMM_DOWN" not in log(right).split("understudyd of node right has stopped")[0]

    # All or nothing: not without a node that must get its keys.
    third.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "third").strip() == "DEAD", 15, "third is missed")
    refused = left.run("understudy", "keys", "rotate", code=9)
    assert "third is DEAD" in refused.stderr
