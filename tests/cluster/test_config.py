"""The configuration of a cluster of real daemons: history, locks, priorities, and what lcdsync promises."""

from __future__ import annotations

import json
import subprocess

from lab import Host, wait_until


def define(left: Host, right: Host) -> None:
    """web needs ip on both hosts, left with priority 1, right with 10."""
    for host in (left, right):
        host.command("app_create", "-a", "gen")
        host.command("typ_create", "-a", "gen", "-r", "app")
        for tag in ("web", "ip"):
            host.command("ins_create", "-a", "gen", "-r", "app", "-t", tag, "-i", f"id-{tag}", "-I", "INIT_OSU")
        host.command("dep_create", "-p", "web", "-c", "ip")
    for tag in ("web", "ip"):
        left.command("eqv_create", "-t", tag, "-S", "right", "-o", tag, "-p", "1", "-r", "10", "-e", "SHARED")


def flags(host: Host) -> list[str]:
    return [flag for flag in host.command("flg_list").split() if flag.startswith("!action!")]


def priorities(host: Host) -> set[str]:
    """Own and other priority of every record, as "1/10"."""
    return {"/".join(line.split("|")[5:7]) for line in host.command("eqv_list", "-f|").splitlines()}


def test_history_names_user_node_and_command_on_every_node_and_survives_a_kill(pair: tuple[Host, Host]) -> None:
    left, right = pair
    define(left, right)
    left.command("ins_setst", "-d", "right", "-t", "web", "-S", "OSU", "-R", "for the history")
    left.command("lcdsync", "-d", "right")
    right.kill("understudyd")
    right.start()

    def told(host: Host) -> list[dict]:
        return json.loads(host.command("understudy", "history", "--text", "for the history", "--json"))
    for host in (left, right):
        wait_until(lambda h=host: told(h), 20, "the history of the restarted daemon")
        entry = told(host)[0]
        assert (entry["user"], entry["from"], entry["node"]) == ("root", "left", "right")
        assert entry["command"].startswith("ins_setst")
        assert entry["items"][0]["after"] == "reason=for the history"
    assert "web needs ip" in left.command("understudy", "history", "--tag", "ip")
    assert left.command("understudy", "history", "--since", "0s") == ""
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 10, "right taken for dead")
    assert "right is not reachable" in left.run("understudy", "history").stderr


# Spec: CLU-213, CLU-214, CMD-100
def test_a_lock_keeps_others_waiting_until_its_process_ends_even_over_a_restart(pair: tuple[Host, Host]) -> None:
    left, right = pair
    holder = left.spawn("sh", "-c", "getlocks -i Create_Hierarchy -l mine && sleep 1000; true", log="holder")
    wait_until(lambda: len(flags(left)) == 1 and len(flags(right)) == 1, 10, "the lock as a flag on both hosts")
    assert flags(right)[0].endswith("!left:Create_Hierarchy")
    assert right.run("getlocks", "-i", "Restore", "-e", code=1).stderr.count("Create_Hierarchy") == 1
    left.kill("understudyd")
    left.start()
    waiting = subprocess.Popen(right.enter("sh", "-c", "getlocks -i Restore -l theirs; code=$?; rlslocks -l theirs; exit $code"),
                               env=right.environment(), stdout=subprocess.PIPE, text=True)
    wait_until(lambda: len(flags(left)) == 2, 20, "the waiter as a flag")
    assert waiting.poll() is None
    left.kill_group(holder)
    left.kill("sleep")
    assert waiting.communicate(timeout=30)[0].strip().endswith("!right:Restore")
    assert waiting.returncode == 0
    wait_until(lambda: not flags(left) and not flags(right), 10, "no lock left")


# Spec: CLU-097, CLU-110
def test_priorities_change_on_all_systems_or_not_at_all(pair: tuple[Host, Host]) -> None:
    left, right = pair
    define(left, right)
    left.command("understudy", "priorities", "ip", "left=10", "right=1")
    assert priorities(left) == {"10/1"} and priorities(right) == {"1/10"}
    assert left.run("hry_setpri", "-t", "web", "-p", "1", code=5).stderr.count("134") == 1
    left.command("hry_setpri", "-d", "right", "-t", "web", "-p", "5")
    assert priorities(left) == {"10/5"} and priorities(right) == {"5/10"}
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 10, "right taken for dead")
    left.run("understudy", "priorities", "web", "left=1", "right=2", code=9)
    assert priorities(left) == {"10/5"}


# Spec: CLU-089, CLU-092
def test_what_lcdsync_confirmed_is_there_after_a_kill_and_known_to_the_peer(pair: tuple[Host, Host]) -> None:
    left, right = pair
    define(left, right)
    for number in range(5):
        left.command("ins_setst", "-t", "web", "-S", "OSU", "-R", f"change {number}")
        left.command("lcdsync")
        left.kill("understudyd")
        reason = next(row["instances"]["left"]["reason"] for row in right.status()["resources"] if row["tag"] == "web")
        assert reason == f"change {number}"
        left.start()
        assert left.command("ins_list", "-f|", "-t", "web").split("|")[7] == f"change {number}"
