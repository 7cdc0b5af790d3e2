"""Hosts become a cluster, and what can go wrong meanwhile."""

from __future__ import annotations

import re
import subprocess
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
    token = left.command("understudy", "token").strip()
    right.command("understudy", "join", left.address(), "--token", token)
    third = lab.host("third")
    third.start()
    used = third.run("understudy", "join", left.address(), "--token", token, code=5)
    wrong = third.run("understudy", "join", left.address(), "--token", token[:10] + "AAAA" + token[14:], code=5)
    reasons = [done.stderr.split("(No.", 1)[-1].split("*ERROR*")[-1] for done in (used, wrong)]
    assert reasons[0] == reasons[1] and "wrong, was used already or has expired" in reasons[0]
    log = (left.root / "var/log/understudy/understudyd.log").read_text()
    for why in ("right has used it already", "did not give it out"):
        assert why in log, "the member's log tells which"
    # A token of another cluster pins another CA: nothing is said to a stranger.
    third.command("understudy", "init")
    foreign = third.command("understudy", "token").strip()
    fourth = lab.host("fourth")
    fourth.start()
    refused = fourth.run("understudy", "join", left.address(), "--token", foreign, code=None)
    assert refused.returncode != 0 and "cluster" in refused.stderr
    assert fourth.command("sys_list").split() == ["fourth"]


def three_started(lab: Lab) -> tuple[Host, Host, Host]:
    hosts = (lab.host("left"), lab.host("right"), lab.host("third"))
    for host in hosts:
        host.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2)
        host.start()
    return hosts


def join(host: Host, through: Host, networks: tuple[int, ...] = (1, 2)) -> subprocess.CompletedProcess[str]:
    token = through.command("understudy", "token").strip()
    pairs = ",".join(f"{host.address(n)}:{through.address(n)}" for n in networks)
    return host.run("understudy", "join", through.address(), "--token", token, "--path", pairs, "--interval", "200ms",
                    "--misses", "3")


# Spec: CLU-045, CLU-100
def test_a_host_that_joins_gets_paths_to_every_member_through_any_of_them(lab: Lab) -> None:
    left, right, third = three_started(lab)
    left.command("understudy", "init")
    join(right, left)
    # right lets it in although the cluster was made on left
    wait_until(lambda: (right.root / "etc/understudy/pki/ca.key").exists(), 10, "right has the authority's key")
    assert (right.root / "etc/understudy/pki/ca.key").stat().st_mode & 0o777 == 0o600
    assert "third is connected with left too" in join(third, right).stdout
    names = ["left", "right", "third"]
    for host in (left, right, third):
        assert host.command("sys_list").split() == names
        wait_until(lambda h=host: lab._paths_alive(h), 15, f"paths of {host.name} ALIVE")
        ends = sorted((f[0], f[1], f[17], f[18]) for f in (line.split("|") for line in host.command("net_list", "-f|").split()))
        assert [end[0] for end in ends] == sorted(2 * [name for name in names if name != host.name])
        assert len({end[1] for end in ends}) == 4, "each path has a port of its own"
        for remote, _, remote_address, local_address in ends:
            assert remote_address.rsplit(".", 1)[0] == local_address.rsplit(".", 1)[0], "over one network"
    assert third.command("understudy", "connect") == "", "nothing lacks"


# Spec: CLU-045
def test_a_member_that_was_down_is_connected_later(lab: Lab) -> None:
    left, right, third = three_started(lab)
    left.command("understudy", "init")
    join(right, left)
    right.command("lkstop")
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 10, "right is out of sight")
    assert "right" in join(third, left).stderr
    assert third.command("sys_list").split() == ["left", "third"]
    again = third.run("understudy", "connect", code=9)
    assert again.stdout == "" and "right" in again.stderr
    right.start()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "ALIVE", 10, "right is back")
    assert third.command("understudy", "connect") == "right is connected\n"
    wait_until(lambda: right.command("sys_getst", "-s", "third").strip() == "ALIVE", 15, "they see each other")


# Spec: DEP-216
def test_a_node_that_keeps_the_authority_to_itself_gives_it_to_nobody(lab: Lab) -> None:
    left, right, _ = three_started(lab)
    left.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2, SHARE_CA_KEY=0)
    left.command("lkstop")
    left.start()
    left.command("understudy", "init")
    join(right, left)
    refused = right.run("understudy", "token", code=7)
    assert "does not hold the key of the cluster's certificate authority" in refused.stderr
    assert not (right.root / "etc/understudy/pki/ca.key").exists()


def test_a_host_that_has_a_cluster_cannot_begin_or_join_another(pair: tuple[Host, Host]) -> None:
    left, right = pair
    assert "already" in right.run("understudy", "init", code=4).stderr
    token = left.command("understudy", "token").strip()
    assert right.run("understudy", "join", left.address(), "--token", token, code=4).stderr


# Spec: CMD-003, CLU-026
def test_without_the_daemon_every_command_says_so(lab: Lab) -> None:
    left = lab.host("left")
    left.power_on()
    for command in (["ins_list"], ["flg_test", "-f", "x"], ["understudy", "status"]):
        done = left.run(*command, code=1)
        assert done.stdout == ""
        assert re.fullmatch(r"Process: [a-z_ ]+\(\d+\)\n\[File:\w+\.cpp Line:\d+\]\nCRITICAL \(No\. 472\) Can't run this "
                            r"application without LCD Daemon running\.\n", done.stderr), done.stderr


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
