"""Three nodes with a test kit, as the command tests need them.

Application gen, type app: its scripts append "<node> <action> <arguments>" to a trace and take their exit code from
rc.<tag>.<action>. web.0 needs ip.0 and Vol.E, db.0 needs Vol.E, on all nodes; priorities 1, 10, 20; in service on nodeA.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest
from lab import Host, Lab

TAGS = ("web.0", "ip.0", "Vol.E", "db.0")
NEEDS = (("web.0", "ip.0"), ("web.0", "Vol.E"), ("db.0", "Vol.E"))
PRIORITIES = (1, 10, 20)
INSTANCES = ("ins_list", "-f|")
SCRIPT = """#!/bin/sh
action=$(basename "$0")
echo "$(hostname) $action $*" >>{trace}
tag=global
while [ $# -gt 0 ]; do [ "$1" = -t ] && tag=$2; shift; done
[ -f {directory}/wait.$tag.$action ] && sleep "$(cat {directory}/wait.$tag.$action)"
[ -f {directory}/rc.$tag.$action ] && exit "$(cat {directory}/rc.$tag.$action)"
exit 0
"""


class CommandLab:
    def __init__(self, lab: Lab, names: tuple[str, ...]) -> None:
        self.lab = lab
        self.trace_file = lab.directory / "trace"
        self.hosts = [lab.host(name) for name in names]
        for host in self.hosts:
            for action in ("restore", "remove", "canextend", "extend"):
                self.script(host, f"subsys/gen/resources/app/actions/{action}")
        lab.form_cluster(*self.hosts, interval="500ms", misses=4)
        for host in self.hosts:
            self._define(host)
        for (one, first), (other, second) in itertools.combinations(zip(self.hosts, PRIORITIES), 2):
            for tag in TAGS:
                one.command("eqv_create", "-t", tag, "-S", other.name, "-o", tag, "-p", str(first), "-r", str(second),
                            "-e", "SHARED")
        self.all_on_first()

    def script(self, host: Host, below_lkroot: str, text: str | None = None) -> pathlib.Path:
        path = host.root / "usr/lib/understudy" / below_lkroot
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or SCRIPT.format(trace=self.trace_file, directory=self.lab.directory))
        path.chmod(0o755)
        return path

    @staticmethod
    def _define(host: Host) -> None:
        for tag in TAGS:
            host.command("ins_create", "-a", "gen", "-r", "app", "-t", tag, "-i", tag)
        for parent, child in NEEDS:
            host.command("dep_create", "-p", parent, "-c", child)

    def all_on_first(self) -> None:
        """Everything in service on nodeA, nothing forced to fail, an empty trace."""
        for pattern in ("rc.*", "wait.*"):
            for file in self.lab.directory.glob(pattern):
                file.unlink()
        for tag in ("web.0", "db.0"):
            self.hosts[0].command("perform_action", "-G", "-a", "restore", "-t", tag)
        self.take_trace()

    def result_of(self, tag: str, action: str, code: int) -> None:
        (self.lab.directory / f"rc.{tag}.{action}").write_text(str(code))

    def duration_of(self, tag: str, action: str, seconds: float) -> None:
        (self.lab.directory / f"wait.{tag}.{action}").write_text(str(seconds))

    def take_trace(self) -> list[str]:
        """What the scripts were called with since the last call."""
        text = self.trace_file.read_text() if self.trace_file.exists() else ""
        self.trace_file.write_text("")
        return text.splitlines()

    def short_trace(self) -> list[str]:
        """The same as "nodeA remove web.0", without ids and arguments."""
        return [" ".join(word for word in line.split()[:4] if word != "-t") for line in self.take_trace()]

    def states(self, host: Host) -> str:
        return " ".join(line.split("|")[6] for line in lines(host, "ins_list", "-f|", "-a", "gen"))


def lines(host: Host, *words: str) -> list[str]:
    return host.command(*words).splitlines()


def outcome(host: Host, *words: str, timeout: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done: subprocess.CompletedProcess[str] = host.run(*words, code=None, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def code(host: Host, *words: str) -> int:
    """The exit code of a command that must fail: it says why, and prints no result."""
    number, out, err = outcome(host, *words)
    assert out == "" and err != "", (words, number, out, err)
    assert re.search(r"\*ERROR\* \(No\. \d+\) \S", err) or "usage: " in err, (words, err)
    return number


def create(host: Host, *tags: str) -> None:
    for tag in tags:
        host.command("ins_create", "-a", "gen", "-r", "app", "-t", tag, "-i", tag)


@pytest.fixture(scope="module")
def cluster(module_lab: Lab) -> Iterator[CommandLab]:
    yield CommandLab(module_lab, ("nodeA", "nodeB", "nodeC"))


@pytest.fixture
def abc(cluster: CommandLab) -> tuple[CommandLab, Host, Host, Host]:
    """The shared cluster, everything in service on nodeA."""
    cluster.all_on_first()
    a, b, c = cluster.hosts
    return cluster, a, b, c


@pytest.fixture
def scratch(cluster: CommandLab) -> Iterator[Host]:
    """nodeC, whose additional instances are removed afterwards."""
    host = cluster.hosts[2]
    yield host
    for line in lines(host, *INSTANCES, "-a", "gen"):
        tag = line.split("|")[3]
        if tag not in TAGS:
            host.run("ins_remove", "-G", "-t", tag, code=None)


@contextlib.contextmanager
def restarted(host: Host, **settings: object) -> Iterator[None]:
    """The engine of the host with other settings, and afterwards with the usual ones; resources are left alone."""
    usual = {"ALLOW_FAST_HEARTBEATS": 1, "INIT_PEER_WAIT": 2}
    try:
        host.settings(**usual, **settings)
        host.command("lkstop", "-f")
        host.start()
        yield
    finally:
        host.settings(**usual)
        host.command("lkstop", "-f")
        host.start()
