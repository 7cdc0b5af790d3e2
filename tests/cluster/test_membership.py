"""Hosts become a cluster, and what can go wrong meanwhile."""

from __future__ import annotations

import time

from lab import Host, Lab, wait_until


def two_started(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    for host in (left, right):
        host.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2)
        host.start()
    return left, right


# Spec: CLU-048, CLU-054, CLU-055, CLU-100
def test_two_hosts_become_a_cluster_with_two_paths(pair: tuple[Host, Host]) -> None:
    left, right = pair
    assert left.command("sys_list").split() == ["left", "right"]
    assert right.command("sys_getst", "-s", "left").strip() == "ALIVE"
    fields = left.command("net_list", "-f|").split("\n")[0].split("|")
    assert len(fields) == 19
    assert fields[:3] == ["right", "TCP:1500", "TLI"] and fields[6] == "ALIVE"


# Spec: DEP-216
def test_a_token_works_once_and_only_for_its_cluster(lab: Lab) -> None:
    left, right = two_started(lab)
    left.command("understudy", "init")
    token = left.command("understudy", "invite").strip()
    right.command("understudy", "join", left.address(), "--token", token)
    third = lab.host("third")
    third.start()
    used = third.run("understudy", "join", left.address(), "--token", token, code=5)
    assert "used" in used.stderr
    wrong = third.run("understudy", "join", left.address(), "--token", token[:10] + "AAAA" + token[14:], code=None)
    assert wrong.returncode != 0 and "token" in wrong.stderr
    # A token of another cluster pins another CA: nothing is said to a stranger.
    third.command("understudy", "init")
    foreign = third.command("understudy", "invite").strip()
    fourth = lab.host("fourth")
    fourth.start()
    refused = fourth.run("understudy", "join", left.address(), "--token", foreign, code=None)
    assert refused.returncode != 0 and "cluster" in refused.stderr
    assert fourth.command("sys_list").split() == ["fourth"]


def test_a_host_that_has_a_cluster_cannot_begin_or_join_another(pair: tuple[Host, Host]) -> None:
    left, right = pair
    assert "already" in right.run("understudy", "init", code=4).stderr
    token = left.command("understudy", "invite").strip()
    assert right.run("understudy", "join", left.address(), "--token", token, code=4).stderr


# Spec: CMD-003
def test_without_the_daemon_every_command_says_so(lab: Lab) -> None:
    left = lab.host("left")
    left.power_on()
    for command in (["ins_list"], ["flg_test", "-f", "x"], ["understudy", "status"]):
        done = left.run(*command, code=1)
        assert "CRITICAL (No. 472) Can't run this application without LCD Daemon running." in done.stderr


# Spec: CMD-046
def test_a_second_daemon_refuses_to_start(lab: Lab) -> None:
    left = lab.host("left")
    left.start()
    assert left.command("lkstart").strip() == "LIFEKEEPER ALREADY RUNNING"
    second = left.run("understudyd", "--root", str(left.root), code=None)
    assert second.returncode != 0 and "understudyd cannot run" in second.stderr
    assert left.command("sys_list").split() == ["left"]


# Spec: CLU-066, CLU-067, CLU-068, CMD-007
def test_one_dead_path_changes_nothing_but_the_way(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    lab.link(left, 1, up=False)
    wait_until(lambda: "DEAD" in left.command("net_list", "-f|").split("\n")[0], 5, "the first path DEAD")
    assert right.command("sys_getst", "-s", "left").strip() == "ALIVE"
    assert right.command("sys_list", "-d", "left").split() == ["left", "right"]  # over the second network
    lab.link(left, 1, up=True)
    wait_until(lambda: lab._paths_alive(left), 10, "both paths ALIVE again")


# Spec: CLU-070
def test_a_one_way_cut_is_seen_at_both_ends(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    lab.cut(left, right, network=1)
    for host in (left, right):
        wait_until(lambda h=host: "DEAD" in h.command("net_list", "-f|").split("\n")[0], 5, f"DEAD on {host.name}")


# Spec: CLU-091, CMD-004
def test_commands_to_a_dead_node_answer_nine(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 5, "right DEAD")
    begin = time.monotonic()
    left.run("ins_list", "-d", "right", code=9)
    assert time.monotonic() - begin < 5
    left.run("ins_list", "-d", "nobody", code=7)


# Spec: CLU-092, CLU-095, CMD-011
def test_configuration_made_while_apart_arrives_when_together(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    lab.partition(left, right)
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 5, "right out of sight")
    left.command("app_create", "-a", "gen")
    left.command("typ_create", "-a", "gen", "-r", "app")
    left.command("ins_create", "-a", "gen", "-r", "app", "-t", "App.0", "-i", "App.0")
    lab.heal()
    wait_until(lambda: any(r["tag"] == "App.0" for r in right.status()["resources"]), 10, "App.0 known on right")


# Spec: CLU-090
def test_a_damaged_database_does_not_keep_the_node_from_starting(lab: Lab) -> None:
    left = lab.host("left")
    left.start()
    left.command("flg_create", "-f", "kept")
    left.command("lcdsync")
    left.command("lkstop")
    database = left.root / "var/lib/understudy/config.db"
    with open(database, "r+b") as file:
        file.write(b"\xde\xad\xbe\xef" * 64)
    left.start()
    assert left.command("flg_list").split() == ["kept"]  # from the copy made at the stop
    assert list(database.parent.glob("config.db.damaged-*"))
    assert "damaged" in left.command("understudy", "events")


# Spec: CMD-002
def test_only_root_and_the_groups_may_do_anything(lab: Lab) -> None:
    left = lab.host("left")
    left.start()
    for command in (["flg_create", "-f", "x"], ["flg_list"]):
        refused = left.run("runuser", "-u", "nobody", "--preserve-environment", "--", *command, code=1)
        assert "needs root or membership" in refused.stderr
    assert left.command("flg_list") == ""


# Spec: CLU-218, CMD-045, CMD-098
def test_a_flag_that_was_synced_survives_kill_minus_nine(lab: Lab) -> None:
    left = lab.host("left")
    left.start()
    left.command("flg_create", "-f", "X")
    left.command("lcdsync")
    left.kill("understudyd")
    wait_until(lambda: not left.pids_of("understudyd"), 5, "the daemon gone")
    left.start()
    left.run("flg_test", "-f", "X", code=0)
    left.run("flg_test", "-f", "absent", code=7)
