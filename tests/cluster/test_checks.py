"""Failing checks and what follows: local recovery, resource failover, time-outs, events. With real servers where that matters."""

from __future__ import annotations

import pathlib

from lab import Host, Lab, wait_until
from protected_postgres import ADDRESS, ROOT_TAG, Protected

TAG = "App.0"
FAST = {"ALLOW_FAST_HEARTBEATS": 1, "INIT_PEER_WAIT": 2}


def actions_of(host: Host, below: str = "gen/resources/app") -> pathlib.Path:
    return host.root / "usr/lib/understudy/subsys" / below / "actions"


def script(path: pathlib.Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f"#!/bin/sh\n{body}\n")
    new.chmod(0o755)
    new.rename(path)  # one that runs at this moment stays whole


def protect_application(left: Host, right: Host) -> None:
    """App.0 runs when the file `running` is there; every second it is looked after. In service on left."""
    for host in (left, right):
        log = 'echo "$(basename "$0")" >>"$UNDERSTUDY_ROOT/calls"\n'
        running = '"$UNDERSTUDY_ROOT/running"'
        script(actions_of(host) / "restore", f'{log}[ -f "$UNDERSTUDY_ROOT/no-restore" ] && exit 1\ntouch {running}')
        script(actions_of(host) / "remove", f"{log}rm -f {running}")
        script(actions_of(host) / "recover", f'{log}[ -f "$UNDERSTUDY_ROOT/no-recover" ] && exit 1\ntouch {running}')
        script(actions_of(host) / "quickchk", f"{log}[ -f {running} ]")
        host.command("app_create", "-a", "gen")
        host.command("typ_create", "-a", "gen", "-r", "app")
        host.command("ins_create", "-a", "gen", "-r", "app", "-t", TAG, "-i", "id-0", "-Q", "1", "-D", "0", "-l", "Y")
    left.command("eqv_create", "-t", TAG, "-S", right.name, "-o", TAG, "-e", "SHARED")
    left.command("perform_action", "-t", TAG, "-a", "restore")


def calls(host: Host, action: str) -> int:
    path = host.root / "calls"
    return path.read_text().splitlines().count(action) if path.exists() else 0


def reason(host: Host, tag: str) -> str:
    return host.command("ins_list", "-f|", "-t", tag).split("|")[7]


def register(host: Host, event: str) -> pathlib.Path:
    """A response command that writes down what it is called with."""
    told = host.root / "told"
    script(host.root / "usr/lib/understudy/events" / event / "witness", f'echo "$LK_EVENT_NUMBER $*" >>{told}')
    return told


def told_events(path: pathlib.Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [words[words.index("-E") + 1] for words in (line.split() for line in lines)]


# Spec: CLU-166, CLU-167, CMD-128, CMD-130, CMD-133
def test_a_failed_check_is_repaired_on_the_spot_and_told(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    told = register(left, "allclass")
    wait_until(lambda: calls(left, "quickchk") > 1, 10, "it is checked")
    (left.root / "running").unlink()
    wait_until(lambda: reason(left, TAG) == "recover action has succeeded", 15, "local recovery")
    wait_until(lambda: len(told_events(told)) >= 3, 10, "three events")
    assert sorted(told_events(told)) == sorted(["quickchk_failed", "resource_recovery_initiated", "resource_recovered"])
    assert left.state(TAG) == "ISP" and calls(left, "recover") == 1
    assert right.state(TAG) == "OSU" and calls(right, "restore") == 0 and calls(right, "quickchk") == 0
    again = calls(left, "quickchk")
    wait_until(lambda: calls(left, "quickchk") > again, 10, "it is checked again")


# Spec: CLU-176, CLU-119
def test_what_cannot_be_repaired_moves(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    (left.root / "no-recover").touch()
    (left.root / "running").unlink()
    wait_until(lambda: right.state(TAG) == "ISP", 20, "right has it")
    wait_until(lambda: "taken over by right" in reason(left, TAG), 10, "left says so")
    assert left.state(TAG) == "OSF" and calls(left, "remove") == 1
    assert (right.root / "running").exists() and not (left.root / "running").exists()


# Spec: CLU-178, CLU-209
def test_with_resource_failover_disabled_it_is_only_marked_failed(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    for host in (left, right):
        host.run("flg_create", "-f", "!noresfailover!left!right")
    (left.root / "no-recover").touch()
    (left.root / "running").unlink()
    wait_until(lambda: "disabled to every other node" in reason(left, TAG), 20, "left has given up")
    assert left.state(TAG) == "OSF" and calls(left, "remove") == 0
    checks = calls(left, "quickchk")
    left.command("ins_setlocalrecover", "-t", TAG, "-l", "Y")
    wait_until(lambda: right.state(TAG) == "OSU", 5, "right did nothing")
    assert calls(right, "restore") == 0 and calls(left, "quickchk") == checks


# Spec: CLU-171, CLU-170
def test_maintenance_suspends_the_checks(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    left.run("flg_create", "-f", f"Maintenance_{TAG}")
    before = wait_for_quiet(left)
    (left.root / "running").unlink()
    assert wait_for_quiet(left) == before and calls(left, "recover") == 0
    left.run("flg_remove", "-f", f"Maintenance_{TAG}")
    wait_until(lambda: calls(left, "recover") == 1, 15, "found at the next check")


def wait_for_quiet(host: Host) -> int:
    """How many checks there are once none has been added for more than an interval."""
    seen = [calls(host, "quickchk")]

    def quiet() -> bool:
        seen.append(calls(host, "quickchk"))
        return len(seen) > 12 and len(set(seen[-12:])) == 1

    wait_until(quiet, 15, "quiet", 0.2)
    return seen[-1]


# Spec: CLU-172, CLU-173, CLU-174
def test_a_check_that_hangs_is_recorded_and_moves_only_when_that_is_wanted(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    left.settings(**FAST, RESMON_CHECK_TIMEOUT=2)
    script(actions_of(left) / "quickchk", 'echo hang >>"$UNDERSTUDY_ROOT/calls"\nexec sleep 1000')
    record = left.root / "var/log/understudy/ResMonTimeout.log"
    wait_until(lambda: record.exists() and "MemTotal" in record.read_text(), 30, "the record")
    assert f"quickchk of {TAG} took too long" in record.read_text() and "understudyd" in record.read_text()
    assert left.state(TAG) == "ISP" and calls(left, "recover") == 0
    hung = calls(left, "hang")
    wait_until(lambda: calls(left, "hang") > hung, 15, "it was ended and is checked again")
    left.settings(**FAST, RESMON_CHECK_TIMEOUT=2, ResMon_ResFail=1)  # effective without a restart
    wait_until(lambda: right.state(TAG) == "ISP", 30, "right has it")
    assert left.state(TAG) == "OSF" and calls(left, "recover") == 0


# Spec: CLU-173
def test_a_check_that_hangs_reboots_the_node_when_that_is_wanted(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    script(left.root / "usr/lib/understudy/admin/core/actions/reboot-host", 'echo "$*" >"$UNDERSTUDY_ROOT/rebooted"')
    left.settings(**FAST, RESMON_CHECK_TIMEOUT=2, ResMon_RebootWaitInSec=15)
    script(actions_of(left) / "quickchk", "exec sleep 1000")
    wait_until(lambda: (left.root / "rebooted").exists(), 30, "the reboot")
    assert (left.root / "rebooted").read_text().startswith("-w 15 -r quickchk took too long")


# Spec: CLU-142, CLU-188, CLU-119
def test_a_daemon_killed_in_the_middle_of_a_takeover_ends_it_after_its_restart(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    right.command("lcdsync")
    begun = right.root / "begun"
    script(actions_of(right) / "restore", f'touch {begun}\nsleep 3\ntouch "$UNDERSTUDY_ROOT/running"')
    left.power_off()
    wait_until(begun.exists, 20, "right takes over")
    right.kill("understudyd")
    assert not (right.root / "running").exists()
    begun.unlink()
    right.start()
    wait_until(lambda: right.state(TAG) == "ISP", 30, "right has it")
    assert (right.root / "running").exists()


# Spec: CLU-176
def test_a_daemon_killed_in_the_middle_of_a_failover_goes_on_with_it_after_its_restart(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    for name in ("no-recover", "no-restore"):
        (left.root / name).touch()
    begun = left.root / "begun"
    script(actions_of(left) / "remove", f'touch {begun}\nsleep 2\nrm -f "$UNDERSTUDY_ROOT/running"')
    left.command("lcdsync")
    (left.root / "running").unlink()
    wait_until(begun.exists, 20, "left takes it out of service")
    left.kill("understudyd")
    left.start()
    wait_until(lambda: right.state(TAG) == "ISP", 40, "right has it")
    wait_until(lambda: left.run("flg_test", "-f", f"!recover!{TAG}", code=None).returncode == 7, 20, "the episode's end")
    assert left.state(TAG) == "OSF"


# Spec: CLU-166, CLU-176, CLU-177
def test_postgres_is_restarted_where_it_ran_and_moves_when_its_file_system_is_gone(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    story = Protected(lab, left, right, volume_mib=256)
    story.create()
    story.wait_in_sync(left)
    for host in (left, right):
        recover = actions_of(host, "database/resources/pgsql") / "recover"
        if not recover.exists():
            script(recover, 'exec "$(dirname "$0")/restore" "$@"')
        host.command("ins_setchkint", "-t", ROOT_TAG, "-c", "q", "-v", "2")
    left.kill("postgres")
    wait_until(lambda: reason(left, ROOT_TAG) == "recover action has succeeded", 60, "local recovery of PostgreSQL")
    assert story.rows(left) == set() and left.state(ROOT_TAG) == "ISP" and right.state(ROOT_TAG) == "OSU"

    left.run("sh", "-c", f"umount -l {story.mount}; kill -9 $(pgrep -x postgres)", code=None)
    story.wait_active(right, 120)
    assert story.rows(right) == set()
    assert ADDRESS in right.run("ip", "addr").stdout and ADDRESS not in left.run("ip", "addr").stdout
    assert left.state(ROOT_TAG) == "OSF"


# Spec: CMD-126, CMD-129, CMD-132
def test_sendevent_runs_what_is_registered_and_says_what_is_wrong(pair: tuple[Host, Host]) -> None:
    left, _ = pair
    told = register(left, "filesys/diskfull")
    event = ("-E", "diskfull", "-m", "TST:mon", "-n", "/data")
    printed = left.command("sendevent", "-C", "filesys", *event, "-s", "3", "-w").strip()
    assert told.read_text().strip() == f"-C filesys -E diskfull -m TST:mon -n /data -s 3 -i {printed}"
    assert "filesys/diskfull for /data" in (left.root / "var/log/understudy/events.log").read_text()
    for code, words in ((1, ("-C", "filesys", "-E", "diskfull", "-m", "TST:mon")), (1, ("-C", "filesys", *event, "-x")), (1, ()),
                        (2, ("-C", "none", *event)), (3, ("-C", "filesys", "-E", "none", *event[2:])),
                        (4, ("-C", "filesys", *event, "-A")), (5, ("-C", "filesys", *event, "-s", "0"))):
        refused = left.run("sendevent", *words, code=code)
        assert refused.stdout == "" and refused.stderr != ""


# Spec: CMD-125
def test_an_event_from_outside_starts_the_recovery_of_its_resource(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_application(left, right)
    told = register(left, "app/deepchk_failed")
    left.command("sendevent", "-C", "app", "-E", "deepchk_failed", "-m", "TST:mon", "-n", TAG, "-w")
    wait_until(lambda: reason(left, TAG) == "recover action has succeeded", 15, "local recovery")
    assert told.read_text().rstrip().endswith(" -A")
