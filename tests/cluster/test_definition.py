"""The cluster as a file: exported, compared, applied, undone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from lab import Host, Lab

GENERIC = """
  - {tag: Disk.0, type: gen/app, id: disk, on: {left: 1, right: 10}, local_recovery: false, quick_check: 0, deep_check: 0}
  - {tag: App.0, type: gen/app, id: app, needs: [Disk.0], on: {left: 1, right: 10}, local_recovery: false, quick_check: 60, deep_check: 0}
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        yield left, right


def write(host: Host, text: str) -> str:
    path = host.root / "cluster.yaml"
    path.write_text(text)
    return str(path)


def with_resources(host: Host, resources: str) -> str:
    exported = host.command("understudy", "config", "export")
    return re.sub(r"resources:\n.*", f"resources:{resources}", exported, flags=re.DOTALL)


def databases(*hosts: Host) -> list[str]:
    return [host.command(name, "-f|") for host in hosts for name in ("ins_list", "dep_list", "eqv_list", "net_list")]


def test_a_file_makes_the_hierarchy_on_all_nodes_and_again_changes_nothing(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    file = write(left, with_resources(left, GENERIC))
    before = databases(left, right)
    shown = left.command("understudy", "config", "apply", file, "--dry-run")
    assert "+ App.0 on right: gen/app, id \"app\"" in shown and "+ App.0 needs Disk.0 on left" in shown
    assert databases(left, right) == before, "a dry run changes nothing"

    assert left.command("understudy", "config", "apply", file) == shown, "what was shown is what is done"
    assert right.command("dep_list", "-f|") == "App.0|Disk.0\n"
    assert "right|App.0|left|App.0|SHARED|10|1" in right.command("eqv_list", "-f|")
    assert left.command("understudy", "config", "apply", file) == "nothing to change\n"
    exported = left.command("understudy", "config", "export")
    assert exported == right.command("understudy", "config", "export"), "every node exports the same"
    assert left.command("understudy", "config", "apply", write(left, exported)) == "nothing to change\n"


# Spec: CLU-109, CLU-110
def test_priorities_and_settings_are_changed_on_all_nodes(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    left.command("understudy", "config", "apply", write(left, with_resources(left, GENERIC)))
    changed = left.command("understudy", "config", "export").replace("{left: 1, right: 10}", "{left: 20, right: 5}")
    changed = re.sub(r"(  right:\n    settings:\n)", r'\1      REMOTETIMEOUT: "30"\n', changed)
    left.command("understudy", "config", "apply", write(left, changed))
    for host in hosts:
        for line in host.command("eqv_list", "-f|").splitlines():
            assert line.split("|")[5:7] == (["20", "5"] if host is left else ["5", "20"]), line
    assert "REMOTETIMEOUT=30" in (right.root / "etc/default/LifeKeeper").read_text()
    assert "REMOTETIMEOUT" not in (left.root / "etc/default/LifeKeeper").read_text()


def test_a_step_that_fails_takes_the_others_back(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    before = databases(left, right)
    settings = (right.root / "etc/default/LifeKeeper").read_text()
    wrong = with_resources(left, GENERIC).replace("  right:\n    settings:\n", "  right:\n    settings:\n      PingInterval: \"never\"\n")
    done = left.run("understudy", "config", "apply", write(left, wrong), code=None)
    assert done.returncode != 0
    assert "PingInterval" in done.stderr and "everything is as it was before" in done.stderr, done.stderr
    assert databases(left, right) == before
    assert (right.root / "etc/default/LifeKeeper").read_text() == settings


# Spec: CLU-097
def test_a_node_that_is_away_refuses_the_whole_file(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    file = write(left, with_resources(left, GENERIC))
    before = databases(left)
    right.power_off()
    done = left.run("understudy", "config", "apply", file, code=None)
    assert done.returncode == 7 and "right is in the file but no member" in done.stderr, done.stderr
    assert databases(left)[:3] == before[:3]


def test_a_file_that_is_wrong_is_refused_with_its_line(hosts: tuple[Host, Host]) -> None:
    left, _ = hosts
    done = left.run("understudy", "config", "apply", write(left, "format: 1\nnoodes: {}\n"), code=None)
    assert done.returncode != 0 and 'line 2: the definition has no "noodes"' in done.stderr
    assert "cannot read /nowhere" in left.run("understudy", "config", "apply", "/nowhere", code=None).stderr
