"""Addresses and scripts move between hosts. No volumes here: those have their own file."""

from __future__ import annotations

import pathlib
import time

from lab import Host, Lab, wait_until

ADDRESS = "10.77.1.100"


def protect_address(left: Host, right: Host) -> None:
    for host in (left, right):
        left.command("ins_create", "-d", host.name, "-a", "comm", "-r", "ip", "-t", ADDRESS, "-i", ADDRESS, "-v", "device=eth0 prefix=24")
    left.command("eqv_create", "-t", ADDRESS, "-S", right.name, "-o", ADDRESS, "-e", "SHARED")


def protect_script(left: Host, right: Host, restore: str = "exit 0", remove: str = "exit 0") -> None:
    """A resource App.0 of a kit made of two shell scripts that log what they are called with."""
    for host in (left, right):
        actions = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
        actions.mkdir(parents=True)
        for action, body in (("restore", restore), ("remove", remove)):
            script = actions / action
            script.write_text(f'#!/bin/sh\necho "{action} $*" >>"$UNDERSTUDY_ROOT/calls"\n{body}\n')
            script.chmod(0o755)
        host.command("app_create", "-a", "gen")
        host.command("typ_create", "-a", "gen", "-r", "app")
        host.command("ins_create", "-a", "gen", "-r", "app", "-t", "App.0", "-i", "id-0")
    left.command("eqv_create", "-t", "App.0", "-S", right.name, "-o", "App.0", "-e", "SHARED")


def calls(host: Host) -> list[str]:
    path = pathlib.Path(host.root / "calls")
    return path.read_text().splitlines() if path.exists() else []


# Spec: KIT-087, KIT-102, KIT-103, CLU-144
def test_an_address_is_reached_where_it_is_in_service(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    client = lab.host("client")
    client.power_on()
    protect_address(left, right)
    left.command("perform_action", "-a", "restore", "-t", ADDRESS)
    client.run("ping", "-c1", "-W1", ADDRESS)
    on_left = client.run("ip", "neigh", "show", ADDRESS).stdout
    left.command("understudy", "switchover", ADDRESS, "--to", "right")
    # The gratuitous ARP has told the client already.
    assert client.run("ip", "neigh", "show", ADDRESS).stdout.split("lladdr")[1] != on_left.split("lladdr")[1]
    client.run("ping", "-c1", "-W1", ADDRESS)
    assert (left.state(ADDRESS), right.state(ADDRESS)) == ("OSU", "ISP")
    assert ADDRESS not in left.run("ip", "addr").stdout


# Spec: KIT-089, CMD-119, CLU-119, CLU-041
def test_an_address_that_somebody_else_uses_is_refused(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    stranger = lab.host("stranger")
    stranger.power_on()
    stranger.run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
    protect_address(left, right)
    refused = left.run("perform_action", "-a", "restore", "-t", ADDRESS, code=1)
    assert "is in use: the host with MAC address" in refused.stderr
    assert left.state(ADDRESS) == "OSF"
    assert ADDRESS not in left.run("ip", "addr").stdout


# Spec: CLU-181, CLU-186, CLU-187, CLU-189, CLU-195, CLU-201
def test_the_survivor_takes_over_and_the_returning_host_is_standby(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_address(left, right)
    left.command("perform_action", "-a", "restore", "-t", ADDRESS)
    left.power_off()
    wait_until(lambda: right.state(ADDRESS) == "ISP", 10, "right has taken over")
    log = (right.root / "var/log/understudy/understudyd.log").read_text()
    assert "FAILOVER RECOVERY OF MACHINE left" in log and "FINISHED AT:" in log
    left.start()
    wait_until(lambda: left.state(ADDRESS) == "OSU", 20, "left is standby")
    time_with_both = time.monotonic() + 2
    while time.monotonic() < time_with_both:
        assert right.state(ADDRESS) == "ISP" and left.state(ADDRESS) == "OSU"


# Spec: CLU-019, CLU-020, CLU-021, CLU-219, CMD-050, CMD-051, CMD-052
def test_lkstop_takes_out_of_service_and_nobody_takes_over(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_address(left, right)
    left.command("perform_action", "-a", "restore", "-t", ADDRESS)
    assert left.command("lkstop").rstrip().split("\n")[-1] == "LIFEKEEPER NOW STOPPED"
    right.run("flg_test", "-f", "!nofailover!left")
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "DEAD", 5, "left gone")
    assert right.state(ADDRESS) == "OSU"
    assert ADDRESS not in left.run("ip", "addr").stdout
    left.start()
    wait_until(lambda: right.run("flg_test", "-f", "!nofailover!left", code=None).returncode == 7, 10, "the flag gone")
    wait_until(lambda: left.state(ADDRESS) == "ISP", 20, "left has it again")


# Spec: CLU-020, CMD-053, CLU-022
def test_lkstop_f_leaves_the_application_running(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_address(left, right)
    left.command("perform_action", "-a", "restore", "-t", ADDRESS)
    left.command("lkstop", "-f")
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "DEAD", 5, "left's engine gone")
    assert ADDRESS in left.run("ip", "addr").stdout and right.state(ADDRESS) == "OSU"
    left.start()
    wait_until(lambda: left.state(ADDRESS) == "ISP", 20, "protected again")


# Spec: CLU-148, CLU-149, CMD-110, CMD-111
def test_scripts_get_what_the_contract_says(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right)
    actions = left.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
    (actions / "reset-heads").write_text('#!/bin/sh\necho "reset-heads $*" >>"$UNDERSTUDY_ROOT/calls"\nenv >"$UNDERSTUDY_ROOT/environment"\nexit 0\n')
    (actions / "reset-heads").chmod(0o755)
    left.command("perform_action", "-t", "App.0", "-a", "restore")
    left.command("perform_action", "-t", "App.0", "-a", "reset-heads", "--", "-h", "7")
    assert calls(left) == ["restore -t App.0 -i id-0", "reset-heads -t App.0 -h 7"]
    environment = dict(line.split("=", 1) for line in (left.root / "environment").read_text().splitlines() if "=" in line)
    assert environment["LKROOT"].endswith("/usr/lib/understudy")
    assert environment["PATH"].startswith(environment["LKROOT"] + "/bin:")
    left.run("perform_action", "-t", "App.0", "-a", "no-such-action", code=7)
    left.run("perform_action", "-t", "Nothing.0", "-a", "restore", code=7)


# Spec: CMD-118, CMD-119, CLU-142
def test_a_failed_remove_keeps_the_other_side_from_starting(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right, remove='echo "the disk is held" >&2; exit 1')
    left.command("perform_action", "-t", "App.0", "-a", "restore")
    failed = left.run("understudy", "switchover", "App.0", "--to", "right", code=None)
    assert failed.returncode == 1 and "the disk is held" in failed.stderr
    assert left.state("App.0") == "OSF" and right.state("App.0") == "OSU"
    assert "restore" not in " ".join(calls(right))


def test_switchover_mistakes_are_told_apart(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right)
    left.run("understudy", "switchover", "Nothing.0", "--to", "right", code=7)
    left.run("understudy", "switchover", "App.0", "--to", "nobody", code=7)
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 5, "right DEAD")
    left.run("understudy", "switchover", "App.0", "--to", "right", code=9)


# Spec: CLU-142, CMD-112, CMD-114
def test_a_script_that_hangs_can_be_killed_and_leaves_the_resource_failed(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right, restore="exec sleep 1000")
    waiting = left.spawn("perform_action", "-t", "App.0", "-a", "restore", log="restore")
    wait_until(lambda: calls(left), 5, "the script has begun")
    fields = left.command("ins_list", "-f|", "-t", "App.0").split("|")
    assert fields[9] == "RESTORE" and int(fields[10]) > 0
    left.run("pkill", "-KILL", "-f", "sleep 1000")
    assert waiting.wait(10) == 1
    fields = left.command("ins_list", "-f|", "-t", "App.0").split("|")
    assert fields[6] == "OSF" and fields[9] == ""


# Spec: CLU-124, CLU-119, CMD-024
def test_initialisation_methods(lab: Lab) -> None:
    left = lab.host("left")
    left.start()
    actions = left.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
    actions.mkdir(parents=True)
    for action in ("restore", "remove"):
        (actions / action).write_text(f'#!/bin/sh\necho "{action} $2" >>"$UNDERSTUDY_ROOT/calls"\n')
        (actions / action).chmod(0o755)
    left.command("app_create", "-a", "gen")
    left.command("typ_create", "-a", "gen", "-r", "app")
    for method in ("AUTORES_ISP", "INIT_ISP", "INIT_OSU"):
        left.command("ins_create", "-a", "gen", "-r", "app", "-t", method, "-i", method, "-I", method)
    left.command("lcdsync")
    left.power_off()
    left.start()
    assert {m: left.state(m) for m in ("AUTORES_ISP", "INIT_ISP", "INIT_OSU")} == \
        {"AUTORES_ISP": "ISP", "INIT_ISP": "ISP", "INIT_OSU": "OSU"}
    assert calls(left) == ["restore AUTORES_ISP"]
