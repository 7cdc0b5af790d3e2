"""A host whose paths are all DEAD is asked for once more, by ping and ARP, before anything is taken over from it."""

from __future__ import annotations

import pathlib

import pytest
from lab import NETWORKS, Host, Lab, wait_until
from test_recovery import calls, protect_script

TIMEOUT = 3


def log(host: Host) -> str:
    return (host.root / "var/log/understudy/understudyd.log").read_text()


def checked(pair: tuple[Host, Host]) -> tuple[Host, Host]:
    """The pair with the safety check on, App.0 in service on left."""
    left, right = pair
    for host in pair:
        host.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2, SAFETY_CHECK_MODE="strict", SAFETY_CHECK_TIMEOUT=TIMEOUT)
        host.command("lkstop", "-f")
        host.start()
    wait_until(lambda: all(host.command("sys_getst", "-s", "left" if host is right else "right").strip() == "ALIVE" for host in pair),
               15, "both are ALIVE again")
    protect_script(left, right)
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    return left, right


# Spec: CLU-072, CLU-073, CLU-074, CLU-076
def test_a_host_that_answers_is_left_alone_until_its_paths_were_back(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = checked(pair)
    lab.cut_tcp(left, right)
    wait_until(lambda: 'SAFETY CHECK DETECTED MACHINE "left":PAUSING COMM_DOWN' in log(right), 15, "left is detected")
    assert "The remote node (left) appears to be reachable. Waiting for confirmation." in log(right)
    lab.heal()
    wait_until(lambda: "SAFETY CHECK ABORTED:ABORTING COMM_DOWN" in log(right), 15, "a path is back")
    assert "The remote node (left) is up." in log(right)
    assert (left.state("App.0"), right.state("App.0")) == ("ISP", "OSU") and calls(right) == []
    # Paths were ALIVE again; now the host is really gone. Spec: CLU-076
    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "right has taken over")
    assert "safety check: go on" in right.command("understudy", "incident")


# Spec: CLU-071, CLU-075, CLU-189
def test_a_host_that_does_not_answer_is_taken_over_after_the_timeout(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = checked(pair)
    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "right has taken over")
    assert 'SAFETY CHECK for "left" timed out: assuming "left" is down' in log(right)
    assert "FAILOVER RECOVERY OF MACHINE left" in log(right)


# Spec: CLU-072, CLU-073
def test_a_host_whose_firewall_drops_pings_is_found_by_its_neighbours_answer(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = checked(pair)
    # Nothing of IP gets through any more; ARP does.
    left.run("nft", "add table ip closed; add chain ip closed input { type filter hook input priority 0; policy drop; }")
    wait_until(lambda: 'SAFETY CHECK DETECTED MACHINE "left":PAUSING COMM_DOWN' in log(right), 15, "left is detected")
    assert right.state("App.0") == "OSU"


NMBD = pathlib.Path("/usr/sbin/nmbd")
SMB_CONF = """[global]
    netbios name = {name}
    workgroup = LAB
    interfaces = eth0 eth1
    bind interfaces only = yes
    log file = {place}/log
    lock directory = {place}
    state directory = {place}
    cache directory = {place}
    private dir = {place}
    pid directory = {place}
    ncalrpc dir = {place}
"""


def without_arp(asks: Host, asked: Host) -> None:
    """What is entered by hand says nothing of whether a host is there."""
    for network in NETWORKS:
        hardware = asked.run("cat", f"/sys/class/net/eth{network - 1}/address").stdout.strip()
        asks.run("ip", "neigh", "replace", asked.address(network), "lladdr", hardware, "dev", f"eth{network - 1}", "nud", "permanent")


def detected(host: Host) -> None:
    wait_until(lambda: 'SAFETY CHECK DETECTED MACHINE "left":PAUSING COMM_DOWN' in log(host), 20, "left is detected")
    assert host.state("App.0") == "OSU"


# Spec: CLU-072, CLU-073
@pytest.mark.skipif(not NMBD.exists(), reason="needs nmbd (Debian: samba)")
def test_a_host_that_answers_nothing_but_netbios_is_found(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = checked(pair)
    place = left.root / "samba"
    place.mkdir()
    (place / "smb.conf").write_text(SMB_CONF.format(name="LEFT", place=place))
    left.run("mkdir", "-p", "/run/samba")
    left.spawn(str(NMBD), "--foreground", "--no-process-group", "-s", str(place / "smb.conf"), log="nmbd")
    wait_until(lambda: "LEFT            <00>" in right.run("nmblookup", "-A", left.address(), code=None).stdout, 60, "nmbd answers")
    without_arp(right, left)
    left.run("nft", "add table ip closed; add chain ip closed input { type filter hook input priority 0; policy drop; }; "
             "add rule ip closed input udp dport 137 accept")
    assert right.run("ping", "-c1", "-W1", left.address(), code=None).returncode != 0
    detected(right)


# Spec: CLU-072, CLU-073
def test_a_host_that_answers_nothing_but_ipv6_neighbour_discovery_is_found(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = checked(pair)
    for host in (left, right):
        host.run("ip", "-6", "addr", "add", f"fd77::{host.number}/64", "dev", "eth0", "nodad")
    hosts = right.root / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\nfd77::{left.number} left\n")
    right.run("mount", "--bind", str(hosts), "/etc/hosts")
    without_arp(right, left)
    for family, passes in (("ip", ""), ("ip6", "; add rule ip6 closed input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept")):
        left.run("nft", f"add table {family} closed; add chain {family} closed input {{ type filter hook input priority 0; policy drop; }}{passes}")
    assert right.run("ping", "-c1", "-W1", f"fd77::{left.number}", code=None).returncode != 0
    detected(right)
