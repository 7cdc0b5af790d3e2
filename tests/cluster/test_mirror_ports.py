"""The ports of mirrors: moved, and closed by a firewall under a mirror that runs."""

from __future__ import annotations

from lab import PROJECT, Host, Lab, wait_until

CHECK = PROJECT / "packaging/support/dkhealthcheck"


def health(host: Host, code: int) -> str:
    done = host.run(str(CHECK), code=code, timeout=60)
    return done.stdout


# Spec: REP-045, REP-337, EMC-066
def test_the_health_check_finds_ports_that_take_no_new_connections(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    left.command("understudy", "mirror", "create", "E", "--device", left.disk("e.img", 8 << 20), "--target", "right",
                 "--target-device", right.disk("e.img", 8 << 20), "--source-address", left.address(2), "--target-address", right.address(2),
                 timeout=90)
    left.command("understudy", "mirror", "wait", "E")
    assert health(left, 0) == "left: mirroring\n1 mirroring\n"
    assert health(right, 0) == "right: mirroring\n1 mirroring\n"

    def closed(port: int, host: Host = right) -> None:
        host.run("nft", "flush", "ruleset")
        host.run("nft", "add table inet site; add chain inet site input { type filter hook input priority 0 ; }; "
                  f"add rule inet site input tcp dport {port} tcp flags & (syn|ack) == syn reject with tcp reset")

    closed(10004)
    found = health(left, 2)
    assert f"error: volume E: port 10004 of right ({right.address(2)}) takes no new connections" in found
    assert left.mirror("E")["state"] == "mirroring", "what there is stays"
    assert "10004" not in left.command("understudy", "mirror", "health"), "it is tried on demand"
    closed(9999)
    assert f"port 9999 of right ({right.address(2)}) takes no new connections" in health(left, 2)
    right.run("nft", "flush", "ruleset")
    # The other way round, both of them say so.
    closed(9999, left)
    assert "error: volume E: right cannot connect to left: " in health(left, 2)
    assert f"port 9999 of left ({left.address(2)}) takes no new connections" in health(right, 2)
    left.run("nft", "flush", "ruleset")
    assert health(left, 0) == "left: mirroring\n1 mirroring\n"
    # Trying the port has left the mirror alone: its next session is a short one.
    left.command("understudy", "mirror", "pause", "E")
    left.command("understudy", "mirror", "continue", "E")
    wait_until(lambda: left.mirror("E")["state"] == "mirroring", 30, "mirroring again")

    # A mirror that is made with its data port closed is not made, and the port is named.
    closed(10010)
    for host in (left, right):
        host.command("understudy", "volume", "set", "K", "--device", host.disk("k.img", 8 << 20))
    done = left.run("emcmd", left.address(2), "CREATEMIRROR", "K", right.address(2), "S", code=None, timeout=60)
    assert done.stdout == "Status = 995\n" and "10010" in done.stderr, done.stdout + done.stderr
    right.run("nft", "flush", "ruleset")
    for host in (left, right):
        assert host.command("emcmd", ".", "GETMIRRORVOLINFO", "K") == "K: 0 - - 0\n"


# What is served without a certificate would be an answer; a refusal ends the connection.
STRANGER = """
import socket, ssl, sys
plain = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
plain.settimeout(20)
try:
    got = ssl._create_unverified_context().wrap_socket(plain).recv(1)
except (ssl.SSLError, ConnectionResetError):
    got = b""
print("served" if got else "refused")
"""


# Spec: REP-009, REP-042
def test_the_dispatch_port_is_moved_on_both_ends_and_answers_members_only(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    create = ("understudy", "mirror", "create", "E", "--device", left.disk("e.img", 8 << 20), "--target", "right",
              "--target-device", right.disk("e.img", 8 << 20), "--source-address", left.address(2), "--target-address", right.address(2))

    def move(host: Host) -> None:
        host.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2, TargetDispatchPort=9998)
        host.kill("mirrord")
        wait_until(lambda: not host.pids_of("mirrord"), 10, "mirrord is gone")
        host.command("lkstart")
        wait_until(lambda: host.run("understudy", "mirror", "status", code=None).returncode == 0, 30, "mirrord answers")

    move(right)
    refused = left.run(*create, code=None, timeout=90)
    assert refused.returncode != 0 and "9999" in refused.stderr, refused.stderr
    move(left)
    left.command(*create, timeout=90)
    left.command("understudy", "mirror", "wait", "E")
    assert right.run("ss", "-Hltn", "sport = :9998").stdout and not right.run("ss", "-Hltn", "sport = :9999").stdout
    data = right.run("ss", "-Htn", "state", "established", "sport = :10004").stdout.splitlines()
    assert len(data) == 2, "live writes and copies have a TCP connection each"
    assert left.run("python3", "-c", STRANGER, right.address(2), "9998").stdout == "refused\n"
