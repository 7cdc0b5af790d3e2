"""understudy plan says beforehand what the log says afterwards; policies, shutdown, switchback."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
from command_lab import CommandLab, code, outcome
from lab import Host, Lab, wait_until

ALL_ON = "ISP ISP ISP ISP"
ALL_OFF = "OSU OSU OSU OSU"


@pytest.fixture(scope="module")
def commands() -> Iterator[CommandLab]:
    with Lab() as lab:
        yield CommandLab(lab, ("nodeA", "nodeB", "nodeC"))


@pytest.fixture
def hosts(commands: CommandLab) -> list[Host]:
    for host in commands.hosts:
        if not host.running or outcome(host, "lcduname")[0] != 0:
            host.start()
    for host in commands.hosts:
        wait_until(lambda h=host: all(h.command("sys_getst", "-s", other.name).strip() == "ALIVE" for other in commands.hosts), 30,
                   f"{host.name} sees everybody")
    commands.all_on_first()
    for host in commands.hosts:
        for flag in host.command("flg_list").split():
            if flag.startswith("!no") or flag == "shutdown_switchover":
                host.command("flg_remove", "-f", flag)
    wait_until(lambda: commands.states(commands.hosts[0]) == ALL_ON and
               all(commands.states(host) == ALL_OFF for host in commands.hosts[1:]), 30, "everything on nodeA")
    return commands.hosts


def log_of(host: Host) -> str:
    return pathlib.Path(host.root / "var/log/understudy/understudyd.log").read_text()


class Log:
    """What a host logs from now on."""

    def __init__(self, host: Host) -> None:
        self.host, self.before = host, len(log_of(host))

    def text(self) -> str:
        return log_of(self.host)[self.before:]


# Spec: CLU-135, CLU-136, CLU-144
def test_the_log_of_a_command_has_the_plan_that_was_shown(hosts: list[Host]) -> None:
    a, b, _ = hosts
    for host, asked, done in (
            (a, ("remove", "Vol.E"), ("perform_action", "-t", "Vol.E", "-a", "remove")),
            (a, ("restore", "web.0"), ("perform_action", "-t", "web.0", "-a", "restore")),
            (b, ("switchover", "db.0", "--to", "nodeB"), ("understudy", "switchover", "db.0", "--to", "nodeB"))):
        shown = a.command("understudy", "plan", *asked)
        log = Log(host)
        a.command(*done)
        assert shown in log.text(), (asked, shown, log.text())


# Spec: CLU-186, CLU-187, CLU-190
def test_the_log_of_a_takeover_has_the_plan_that_was_shown(commands: CommandLab, hosts: list[Host]) -> None:
    a, b, c = hosts
    plans = json.loads(c.command("understudy", "plan", "failover-of", "nodeA", "--json"))["plans"]
    assert [plan["node"] for plan in plans] == ["nodeB", "nodeC"], "who acts comes first"
    text = c.command("understudy", "plan", "failover-of", "nodeA")
    assert text.startswith("nodeB, takeover from nodeA:\n" + plans[0]["text"])
    log = Log(b)
    a.power_off()
    wait_until(lambda: commands.states(b) == ALL_ON, 30, "nodeB has taken over")
    assert plans[0]["text"] in log.text()
    # What the dead node had is not known any more; the new owner's states are.
    def states() -> dict[str, str]:
        rows = json.loads(c.command("understudy", "status", "--json"))["resources"]
        return {node: cell["state"] for row in rows if row["tag"] == "web.0" for node, cell in row["instances"].items()}

    wait_until(lambda: states() == {"nodeA": "UNKNOWN", "nodeB": "ISP", "nodeC": "OSU"}, 10, "nodeC knows the new owner")
    start = c.command("understudy", "plan", "start", "nodeA")
    assert "the hierarchy is in service on nodeB" in start
    log = Log(a)
    a.start()
    wait_until(lambda: start in log.text(), 10, "the plan in the log of nodeA")


# Spec: CLU-123, CLU-114
def test_status_has_one_word_for_each_resource(hosts: list[Host]) -> None:
    a, b, _ = hosts

    def words() -> set[str]:
        return {row["global"] for row in json.loads(a.command("understudy", "status", "--json"))["resources"]}

    wait_until(lambda: words() == {"Normal"}, 10, "Normal")
    b.power_off()
    wait_until(lambda: words() == {"Warning"}, 20, "Warning while a backup is away")
    for tag in ("Vol.E", "ip.0"):
        a.command("perform_action", "-t", tag, "-a", "remove")
    assert words() == {"Failed"}
    assert "Failed" in a.command("understudy", "status")


# Spec: CLU-202, CLU-203, CLU-205, CLU-206, CMD-054
def test_a_shutdown_does_what_the_policy_says(commands: CommandLab, hosts: list[Host]) -> None:
    a, b, _ = hosts
    fake = commands.lab.directory / "fake"
    fake.mkdir(exist_ok=True)

    def stop(state: str) -> None:
        """What understudy.service runs, on a host whose systemd says `state`."""
        (fake / "systemctl").write_text(f"#!/bin/sh\necho {state}\nexit 1\n")
        (fake / "systemctl").chmod(0o755)
        a.run("env", f"PATH={fake}:/usr/bin:/bin", str(a.root / "usr/lib/understudy/bin/understudy-stop"), timeout=120)

    a.command("understudy", "policy", "set", "nodeA", "--shutdown", "switchover")
    stop("running")  # a person's systemctl stop moves nothing
    assert commands.states(b) == ALL_OFF
    b.run("flg_test", "-f", "!nofailover!nodeA")
    a.start()
    wait_until(lambda: commands.states(a) == ALL_ON, 30, "nodeA has it again")
    shown = b.command("understudy", "plan", "shutdown", "nodeA")
    log = Log(a)
    stop("stopping")
    assert commands.states(b) == ALL_ON
    assert shown in log.text()
    a.start()
    a.command("understudy", "policy", "set", "nodeA", "--shutdown", "stay")
    assert outcome(a, "flg_test", "-f", "shutdown_switchover")[0] == 7


# Spec: CLU-207, CLU-208, CLU-209, CLU-210, CLU-211, CLU-212
def test_disabled_failover_is_known_on_both_sides_and_concerns_automatic_actions_only(commands: CommandLab, hosts: list[Host]) -> None:
    a, b, c = hosts
    assert code(a, "understudy", "policy", "set", "nodeA", "--to", "nodeB", "--resource-failover", "off") == 5
    c.command("understudy", "policy", "set", "nodeA", "--to", "nodeB", "--system-failover", "off", "--resource-failover", "off")
    for host in (a, b):
        for flag in ("!nosysfailover!nodeA!nodeB", "!noresfailover!nodeA!nodeB"):
            host.run("flg_test", "-f", flag)
    assert code(a, "understudy", "policy", "set", "nodeA", "--to", "nodeB", "--system-failover", "on") == 5
    table = {row["node"]: row for row in json.loads(c.command("understudy", "policy", "show", "--json"))}
    assert table["nodeA"]["failover"][0] == {"to": "nodeB", "system": False, "resource": False}
    assert table["nodeB"]["failover"][0] == {"to": "nodeA", "system": True, "resource": True}
    a.command("understudy", "switchover", "web.0", "--to", "nodeB")  # a person may
    a.command("understudy", "switchover", "web.0", "--to", "nodeA")
    a.power_off()
    wait_until(lambda: commands.states(c) == ALL_ON, 30, "nodeC has taken over, not nodeB")
    assert commands.states(b) == ALL_OFF
    assert code(b, "understudy", "policy", "set", "nodeB", "--to", "nodeA", "--system-failover", "off") == 9, "a dead node is not told"
    a.start()
    a.command("understudy", "policy", "set", "nodeA", "--to", "nodeB", "--system-failover", "on", "--resource-failover", "on")
    assert "!no" not in a.command("flg_list") + b.command("flg_list")


# Spec: CLU-195, CLU-197, CLU-200
def test_automatic_switchback_brings_it_home(commands: CommandLab, hosts: list[Host]) -> None:
    a, b, _ = hosts
    for root in ("web.0", "db.0"):
        a.command("ins_setas", "-t", root, "-s", "AUTOMATIC")
    a.command("lcdsync")
    a.power_off()
    wait_until(lambda: commands.states(b) == ALL_ON, 30, "nodeB has taken over")
    shown = b.command("understudy", "plan", "start", "nodeA")
    assert "nodeA, automatic switchback:" in shown
    a.start()
    wait_until(lambda: commands.states(a) == ALL_ON and commands.states(b) == ALL_OFF, 30, "everything on nodeA again")
    for root in ("web.0", "db.0"):
        a.command("ins_setas", "-t", root, "-s", "INTELLIGENT")
