"""Who backs up whom: active/active and active/standby, hierarchy by hierarchy."""

from __future__ import annotations

from lab import Host, Lab, wait_until

SCRIPT = """#!/bin/sh
echo "$(basename "$0") $2" >>"$UNDERSTUDY_ROOT/calls"
"""


def cluster(lab: Lab, *names: str) -> list[Host]:
    hosts = [lab.host(name) for name in names]
    for host in hosts:
        actions = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
        actions.mkdir(parents=True)
        for action in ("restore", "remove"):
            (actions / action).write_text(SCRIPT)
            (actions / action).chmod(0o755)
    lab.form_cluster(*hosts)
    for host in hosts:
        host.run("app_create", "-a", "gen", code=None)  # an installed kit is known already
        host.run("typ_create", "-a", "gen", "-r", "app", code=None)
    return hosts


def protect(tag: str, *hosts: Host) -> None:
    """One resource on these hosts, the first with the best priority, in service there."""
    for host in hosts:
        host.command("ins_create", "-a", "gen", "-r", "app", "-t", tag, "-i", tag)
    for first, one in enumerate(hosts):
        for second, other in list(enumerate(hosts))[first + 1:]:
            one.command("eqv_create", "-t", tag, "-S", other.name, "-o", tag, "-p", str(1 + 10 * first), "-r", str(1 + 10 * second),
                        "-e", "SHARED")
    hosts[0].command("perform_action", "-a", "restore", "-t", tag)
    for host in hosts:
        host.command("lcdsync")


def calls(host: Host) -> list[str]:
    file = host.root / "calls"
    return file.read_text().splitlines() if file.exists() else []


# Spec: CLU-112, CLU-111
def test_two_active_nodes_back_up_each_other(lab: Lab) -> None:
    left, right = cluster(lab, "left", "right")
    protect("a", left, right)
    protect("x", right, left)
    assert [left.state("a"), right.state("a"), left.state("x"), right.state("x")] == ["ISP", "OSU", "OSU", "ISP"]
    left.power_off()
    wait_until(lambda: right.state("a") == "ISP", 60, "right takes a over")
    assert right.state("x") == "ISP" and calls(right) == ["restore x", "restore a"], "its own was left alone"
    left.start()
    wait_until(lambda: left.state("a") == "OSU", 30, "left comes back as the standby of a")
    right.power_off()
    wait_until(lambda: left.state("a") == "ISP" and left.state("x") == "ISP", 60, "left takes both over")


# Spec: CLU-113
def test_one_standby_copes_with_two_active_nodes_that_fail_together(lab: Lab) -> None:
    one, two, standby = cluster(lab, "one", "two", "standby")
    protect("a", one, standby)
    protect("b", two, standby)
    protect("c", two, standby)
    one.power_off()
    two.power_off()
    wait_until(lambda: [standby.state(tag) for tag in "abc"] == ["ISP"] * 3, 60, "the standby runs all three")
    assert sorted(calls(standby)) == ["restore a", "restore b", "restore c"], "each hierarchy by itself, once"
