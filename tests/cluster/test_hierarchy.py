"""Hierarchies created, extended, moved, unextended and deleted by one command each, on all nodes or on none."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from lab import NETWORKS, Host, Lab, wait_until
from protected_postgres import ADDRESS, ROOT_TAG, VOLUME, Protected

ACTIONS = ("restore", "remove", "create", "canextend", "extend", "delete")
SCRIPT = """#!/bin/sh
action=$(basename "$0")
echo "$action $*" >>"$UNDERSTUDY_ROOT/calls"
while [ -f "$UNDERSTUDY_ROOT/hold.$2.$action" ]; do sleep 0.1; done
[ -f "$UNDERSTUDY_ROOT/refuse.$2.$action" ] && { echo "$2 will not $action" >&2; exit 3; }
exit 0
"""
CREATE = ("understudy", "resource", "create", "gen", "app")


def with_scripts(host: Host) -> Host:
    """A host that has the kit of shell scripts."""
    actions = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
    actions.mkdir(parents=True)
    for action in ACTIONS:
        (actions / action).write_text(SCRIPT)
        (actions / action).chmod(0o755)
    return host


@pytest.fixture
def hosts(lab: Lab) -> Iterator[tuple[Host, Host]]:
    """Two nodes with a kit of shell scripts; base, and top that needs it, in service on left."""
    left, right = with_scripts(lab.host("left")), with_scripts(lab.host("right"))
    lab.form_cluster(left, right)
    left.command(*CREATE, "base", "--id", "b1", "port=1")
    left.command(*CREATE, "top", "--needs", "base")
    yield left, right


def calls(host: Host) -> list[str]:
    """What the scripts of the host were called with since the last call."""
    path = pathlib.Path(host.root / "calls")
    text = path.read_text() if path.exists() else ""
    path.write_text("")
    return text.splitlines()


def definition(*hosts: Host) -> list[str]:
    """All that operations define: what states and their reasons are is left out."""
    found = []
    for host in hosts:
        instances = [line.split("|") for line in host.command("ins_list", "-f|").splitlines()]
        found += [" ".join((*fields[:6], fields[8], *fields[12:])) for fields in instances]
        found += host.command("dep_list", "-f|").splitlines() + host.command("eqv_list", "-f|").splitlines()
    return found


def refused(host: Host, *words: str, code: int) -> str:
    done: subprocess.CompletedProcess[str] = host.run("understudy", *words, code=code)
    return done.stderr


# Spec: CLU-094, CLU-104, CLU-147, CLU-148
def test_a_hierarchy_is_extended_moved_unextended_and_deleted(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    assert calls(left) == ["create -t base -i b1", "restore -t base -i b1", "create -t top -i top", "restore -t top -i top"]
    assert (left.state("base"), left.state("top")) == ("ISP", "ISP")

    extend = ("understudy", "resource", "extend", "base", "--to", "right", "top:mode=spare")
    before = definition(left, right)
    preview = right.command(*extend, "--dry-run")
    assert definition(left, right) == before and "canextend -t base -i b1 left base port=1" in calls(right)
    assert right.command(*extend) == preview, "what was shown is what is done"
    assert calls(right) == ["canextend -t base -i b1 left base port=1", "canextend -t top -i top left top mode=spare",
                            "extend -t base -i b1 left base", "extend -t top -i top left top"]
    assert left.command("eqv_list", "-f|") == "left|base|right|base|SHARED|1|10\nleft|top|right|top|SHARED|1|10\n"
    assert "gen|app|top|top|mode=spare|OSU" in right.command("ins_list", "-f|", "-t", "top")

    assert "in service on left" in refused(right, "resource", "unextend", "top", "--from", "left", code=1)
    left.command("understudy", "switchover", "top", "--to", "right")
    wait_until(lambda: left.state("top") == "OSU", 10, "top out of service on left")
    calls(left)
    right.command("understudy", "resource", "unextend", "top", "--from", "left")
    assert calls(left) == ["delete -t top -i top", "delete -t base -i b1"]
    assert left.command("ins_list", "-f|") == "" and right.command("eqv_list", "-f|") == ""

    answer = json.loads(left.command("understudy", "resource", "delete", "top", "--json"))
    assert [step["node"] for step in answer["steps"]] == ["right"] * 3 and answer["error"] is None
    assert definition(left, right) == []


# Spec: CLU-094, CLU-106
def test_dependencies_and_properties_change_on_all_nodes(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    left.command("understudy", "resource", "extend", "top", "--to", "right")
    right.command("understudy", "dependency", "remove", "top", "base")
    assert left.command("dep_list") == right.command("dep_list") == ""
    left.command("understudy", "dependency", "add", "top", "base")
    assert left.command("dep_list", "-f|") == right.command("dep_list", "-f|") == "top|base\n"
    assert "cycle" in refused(left, "dependency", "add", "base", "top", code=5)
    right.command("understudy", "resource", "set", "base", "info.port=2", "quick_check=77")
    for host in hosts:
        fields = host.command("ins_list", "-f|", "-t", "base").split("|")
        assert (fields[5], fields[12]) == ("port=2", "77")
    history = left.command("understudy", "history", "--tag", "base", "--node", "left")
    assert "root@right: understudy resource set base" in history, history


# Spec: CLU-147
def test_a_kit_that_refuses_leaves_everything_as_it_was(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    before = definition(left, right)
    (right.root / "refuse.top.canextend").touch()
    message = refused(left, "resource", "extend", "top", "--to", "right", code=1)
    assert "canextend of top failed with exit code 3: top will not canextend" in message, message
    assert "nothing is changed" in message and definition(left, right) == before
    (right.root / "refuse.top.canextend").unlink()

    (right.root / "refuse.top.extend").touch()
    message = refused(left, "resource", "extend", "top", "--to", "right", code=1)
    assert "top will not extend" in message and "everything is as it was before" in message, message
    assert definition(left, right) == before
    assert calls(right)[-2:] == ["delete -t top -i top", "delete -t base -i b1"], "what was prepared is cleaned up"
    (right.root / "refuse.top.extend").unlink()

    (left.root / "refuse.more.restore").touch()
    message = refused(left, "resource", "create", "gen", "app", "more", code=1)
    assert "everything is as it was before" in message and definition(left, right) == before


# Spec: CLU-115
def test_a_daemon_that_is_killed_in_the_middle_takes_its_operation_back(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    before = definition(left, right)
    hold = right.root / "hold.top.extend"
    for victim in (left, right):
        calls(right)
        hold.touch()
        running = left.spawn("understudy", "resource", "extend", "top", "--to", "right")
        wait_until(lambda: any(call.startswith("extend -t top") for call in
                               (right.root / "calls").read_text().splitlines()), 20, "the extend script of top")
        assert definition(left, right) != before
        victim.kill("understudyd")
        hold.unlink()
        victim.command("lkstart", "-w", "60", timeout=90)
        running.wait(60)
        assert running.returncode != 0
        wait_until(lambda: definition(left, right) == before, 60, f"everything as before after the end of {victim.name}")
        wait_until(lambda: left.command("flg_list").find("!action") < 0, 30, "no lock")
    left.command("understudy", "resource", "extend", "top", "--to", "right")


# Spec: CLU-097
def test_a_node_that_is_away_refuses_and_can_be_left_out_of_a_deletion(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    left.command("understudy", "resource", "extend", "top", "--to", "right")
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 20, "right is DEAD")
    before = definition(left)
    for words in (("resource", "set", "top", "quick_check=5"), ("dependency", "remove", "top", "base"),
                  ("resource", "unextend", "top", "--from", "right"), ("resource", "delete", "top")):
        assert "right" in refused(left, *words, code=9)
    assert definition(left) == before
    left.command("understudy", "resource", "delete", "top", "--without", "right")
    assert definition(left) == []


# Spec: MOP-158
def test_a_new_node_takes_the_place_of_a_lost_one_in_every_hierarchy(lab: Lab, hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    left.command("understudy", "resource", "extend", "top", "--to", "right")
    right.command(*CREATE, "own")
    right.command("understudy", "resource", "extend", "own", "--to", "left")
    third = with_scripts(lab.host("third"))
    third.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2)
    third.start()
    right.power_off()
    wait_until(lambda: left.state("own") == "ISP", 20, "left has taken over")
    left.command("delallsys", "-f", "right")
    assert left.command("sys_list").split() == ["left"] and left.command("eqv_list", "-f|") == ""

    token = left.command("understudy", "token").strip()
    third.command("understudy", "join", left.address(), "--token", token, "--interval", "200ms", "--misses", "3",
                  "--path", ",".join(f"{third.address(n)}:{left.address(n)}" for n in NETWORKS))
    for host in (left, third):
        wait_until(lambda h=host: lab._paths_alive(h), 15, f"paths of {host.name} ALIVE")
    for tag in ("top", "own"):
        left.command("understudy", "resource", "extend", tag, "--to", "third")
    pairs = {tuple(line.split("|")[:4]) for line in left.command("eqv_list", "-f|").split()}
    assert pairs == {("left", tag, "third", tag) for tag in ("base", "top", "own")}
    left.power_off()
    for tag in ("base", "top", "own"):
        wait_until(lambda t=tag: third.state(t) == "ISP", 20, f"{tag} in service on third")


# Spec: CLU-107, KIT-067, KIT-068, KIT-095, APP-202
def test_a_database_on_a_mirrored_volume_is_created_by_three_commands_and_extended_by_one(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    story = Protected(lab, left, right, volume_mib=256)
    story.create_by_operations()
    tags = {ROOT_TAG, ADDRESS, f"Vol.{VOLUME}"}
    assert {line.split("|")[1] for line in left.command("dep_list", "-f|", "-c", ROOT_TAG).splitlines()} == tags - {ROOT_TAG}
    left.run("psql", "-h", ADDRESS, "-U", "postgres", "-c", "INSERT INTO rows VALUES (1)")

    before = definition(left, right)
    extend = ("resource", "extend", ROOT_TAG, "--to", "right")
    message = refused(left, *extend, "bin=/nowhere", code=1)
    assert f"canextend of {ROOT_TAG} failed" in message and "/nowhere" in message, message
    assert definition(left, right) == before
    right.command("understudy", *extend, timeout=120)
    assert {line.split("|")[3] for line in right.command("ins_list", "-f|").splitlines()} == tags
    story.wait_in_sync(left)

    left.command("understudy", "switchover", ROOT_TAG, "--to", "right", timeout=120)
    story.wait_active(right)
    assert story.rows(right) == {1}
    right.command("understudy", "resource", "unextend", ROOT_TAG, "--from", "left", timeout=60)
    assert left.command("ins_list") == ""
    assert right.mirror(VOLUME)["role"] == "source", "the mirror stays unless its information says otherwise"
    right.command("understudy", "resource", "delete", ROOT_TAG, timeout=60)
    assert definition(left, right) == []
    assert story.rows(right) == {1}, "what is in service goes on running"
