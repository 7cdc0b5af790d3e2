"""The ports on which something listens are those of the table, and a firewall that drops everything lets through exactly
what `understudy firewall` opens."""

from __future__ import annotations

import json

from lab import NETWORKS, Host, Lab, wait_until

ADMINISTRATORS = """table inet admin {
    chain input {
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        tcp dport 22 accept
    }
}
"""
SETTINGS = {"ALLOW_FAST_HEARTBEATS": 1, "INIT_PEER_WAIT": 2}
SETTLED = "the rules are there already; nothing was changed\n"


def listeners(host: Host) -> set[int]:
    """TCP ports of our programs that others can reach."""
    found = set()
    for line in host.run("ss", "-Hltnp").stdout.splitlines():
        fields = line.split()
        address, _, port = fields[3].rpartition(":")
        program = fields[5].split('"')[1] if len(fields) > 5 else ""
        if (program == "mirrord" or program.startswith("understudy")) and not address.startswith(("127.", "[::1]")):
            found.add(int(port))
    return found


def reaches(host: Host, address: str, port: int) -> bool:
    """Whether a connection is answered within a second, be it by a refusal: what is dropped never is."""
    code = host.run("timeout", "1", "bash", "-c", f"exec 2>/dev/null </dev/tcp/{address}/{port}", code=None).returncode
    return code != 124


def rules(host: Host) -> str:
    return host.run("nft", "list", "ruleset").stdout


def alive(host: Host) -> dict[str, bool]:
    lines = host.command("net_list", "-f|").split()
    return {line.split("|")[1]: line.split("|")[6] == "ALIVE" for line in lines}


# Spec: CLU-031, CLU-033, DEP-100, DEP-101, DEP-102, DEP-103, DEP-104, REP-043
def test_a_firewall_that_drops_everything_lets_the_cluster_work_and_nobody_else_in(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    stranger = lab.host("stranger")
    stranger.power_on()
    disks = [host.disk("d.img", 16 << 20) for host in (left, right)]
    left.command("understudy", "mirror", "create", "data", "--device", disks[0], "--target", "right", "--target-device", disks[1],
                 "--source-address", left.address(2), "--target-address", right.address(2))
    left.command("understudy", "mirror", "wait", "data")

    # What listens is in the table, and the table's ports of this release are listened on (a path's by one of its ends).
    assert {1500, 1510, 3278, 9999} <= listeners(left) | listeners(right)
    for host in (left, right):
        shown = json.loads(host.command("understudy", "firewall", "show", "--json"))
        table = {port for row in shown["ports"] if row["listener"] and row["protocol"] == "tcp"
                 for port in range(row["first"], row["last"] + 1)}
        assert {3278, 9999} <= listeners(host) <= table
        other = right if host is left else left
        assert shown["peers"] == sorted(other.address(n) for n in NETWORKS) and shown["applied"] == ""

    # Somebody's firewall drops all: check names it, and apply opens what is needed and nothing else.
    for host in (left, right):
        host.run("bash", "-c", f"nft -f - <<'X'\n{ADMINISTRATORS}X")
    before = rules(left)
    blocked = left.command("understudy", "firewall", "check", code=1)
    assert "tcp 1500 (LifeKeeper CommPath.1500) from 10.77.1.12, 10.77.2.12 is dropped by the policy of chain input in table inet admin" in blocked
    left.run(str(left.root / "usr/lib/understudy/support/firewall-setup"), str(left.root / "usr/lib/understudy"))
    right.command("understudy", "firewall", "apply")
    for host in (left, right):
        assert host.command("understudy", "firewall", "check") == "every port is open\n"
        opened = rules(host)
        assert host.command("understudy", "firewall", "apply") == SETTLED and rules(host) == opened
        wait_until(lambda h=host: all(alive(h).values()), 30, f"the paths of {host.name} are ALIVE")
    left.command("understudy", "mirror", "wait", "data", timeout=90)
    left.run("dd", "if=/dev/urandom", f"of={left.root}/dev/understudy/data", "bs=64K", "count=16", "oflag=direct")
    wait_until(lambda: left.mirror("data")["state"] == "mirroring", 30, "it still mirrors")
    # Long before they are used: the daemon looks at its settings once a second, and each port that is closed takes one.
    for host in (left, right):
        host.settings(**SETTINGS, FIREWALL="apply")
    for peer, port in ((right, 1500), (right, 9999), (stranger, 81)):
        wait_until(lambda p=peer, n=port: reaches(p, left.address(), n), 30, f"{peer.name} reaches port {port}")
    for peer, port in ((right, 4000), (stranger, 1500), (stranger, 9999)):
        assert not reaches(peer, left.address(), port)

    # Rules follow a path on another port, where that is wanted; else its port is named.
    path = ("net_create", "--both", "-s", "right", "-n", "TLI", "-r", right.address(), "-l", left.address(), "-h", "200ms", "-p")
    left.command(*path, "3", "-D", "TCP:1520")
    wait_until(lambda: alive(left).get("TCP:1520"), 30, "the third path is ALIVE")
    wait_until(lambda: "1520" in rules(left) and "1520" in rules(right), 30, "both nodes' rules have its port")
    left.command("app_create", "-a", "gen")
    left.command("typ_create", "-a", "gen", "-r", "app")
    left.command("ins_create", "-a", "gen", "-r", "app", "-t", "Gen-LB", "-i", "lb", "-v", "12345 hello", "-Q", "0", "-D", "0")
    wait_until(lambda: "12345" in rules(left), 30, "a load balancer's port is open")
    wait_until(lambda: reaches(stranger, left.address(), 12345), 30, "and anybody reaches it")
    for host in (left, right):
        host.settings(**SETTINGS, FIREWALL="warn")
    for port in (1500, 1510, 9999):
        assert not reaches(stranger, left.address(), port)
    said = left.run(*path, "4", "-D", "TCP:1530").stderr
    assert "tcp 1530 (LifeKeeper CommPath) from" in said and "is dropped by the policy" in said

    # Somebody's drop in front of ours is found; remove leaves what was there before.
    left.run("nft", "insert", "rule", "inet", "admin", "input", "tcp", "dport", "9999", "drop")
    assert "tcp 9999 (DataKeeper Dispatch) from" in left.command("understudy", "firewall", "check", code=1)
    handle = left.run("bash", "-c", "nft -a list chain inet admin input | sed -n 's/.*dport 9999 drop # handle //p'").stdout.strip()
    left.run("nft", "delete", "rule", "inet", "admin", "input", "handle", handle)
    left.command("understudy", "firewall", "remove")
    assert rules(left) == before
    assert not reaches(right, left.address(), 1500)
