"""Hosts with quorum, and an application of which only one may run: it holds a lock that all hosts share, and says so
when it cannot get it."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import subprocess

from lab import Host, Lab, wait_until

APP = "App.0"
PRIORITIES = (1, 10, 20)
TOOLS = pathlib.Path(os.environ.get("UNDERSTUDY_TEST_TOOLS", "/var/lib/understudy-test-tools"))

RESTORE = """#!/bin/sh
pid="$UNDERSTUDY_ROOT/run/app.pid"
[ -f "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null && exit 0
setsid sh -c 'exec 9>>{lock}; flock -n 9 || echo "overlap $(hostname)" >>{trace}
  echo "start $(hostname)" >>{trace}; exec sleep 1000000' </dev/null >/dev/null 2>&1 &
echo $! >"$pid"
"""
REMOVE = """#!/bin/sh
[ -e {directory}/stuck.$(hostname) ] && exec sleep 1000
pid="$UNDERSTUDY_ROOT/run/app.pid"
[ -f "$pid" ] || exit 0
kill "$(cat "$pid")" 2>/dev/null
while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.01; done
rm "$pid"
echo "stop $(hostname)" >>{trace}
"""


class QuorumLab:
    def __init__(self, lab: Lab, *names: str, **settings: object) -> None:
        self.lab = lab
        self.trace_file = lab.directory / "trace"
        self.hosts = [lab.host(name) for name in names]
        lab.form_cluster(*self.hosts, interval="500ms", misses=4)
        self.define()
        self.configure(**settings)
        # What is read at start: the watchdog.
        for host in self.hosts:
            host.command("lkstop")
        for host in self.hosts:
            host.command("lkstart", "-w", "0")
        for host in self.hosts:
            host.command("lkstart", "-w", "60", timeout=90)
            wait_until(lambda h=host: self._alive(h), 30, f"paths of {host.name} ALIVE")

    def configure(self, **settings: object) -> None:
        for host in self.hosts:
            host.settings(**{"ALLOW_FAST_HEARTBEATS": 1, "INIT_PEER_WAIT": 2, "QUORUM_QUARANTINE_SECS": 8,
                             "QUORUM_STOP_GRACE_SECS": 4, **settings})

    @staticmethod
    def _alive(host: Host) -> bool:
        lines = host.command("net_list", "-f|").splitlines()
        return bool(lines) and all(line.split("|")[6] == "ALIVE" for line in lines)

    def define(self) -> None:
        places = {"lock": self.lab.directory / "lock", "trace": self.trace_file, "directory": self.lab.directory}
        for host in self.hosts:
            actions = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
            actions.mkdir(parents=True, exist_ok=True)
            for action, body in (("restore", RESTORE), ("remove", REMOVE)):
                (actions / action).write_text(body.format(**places))
                (actions / action).chmod(0o755)
            host.command("app_create", "-a", "gen")
            host.command("typ_create", "-a", "gen", "-r", "app")
            host.command("ins_create", "-a", "gen", "-r", "app", "-t", APP, "-i", "id-0")
        for (one, first), (other, second) in itertools.combinations(zip(self.hosts, PRIORITIES), 2):
            one.command("eqv_create", "-t", APP, "-S", other.name, "-o", APP, "-p", str(first), "-r", str(second), "-e", "SHARED")

    def start_application(self) -> None:
        first = self.hosts[0]
        wait_until(lambda: first.run("perform_action", "-a", "restore", "-t", APP, code=None).returncode == 0, 60,
                   "the application in service")
        assert first.state(APP) == "ISP"

    def isolate(self, host: Host) -> None:
        for other in self.hosts:
            if other is not host:
                self.lab.partition(host, other)

    def trace(self) -> list[str]:
        return self.trace_file.read_text().splitlines() if self.trace_file.exists() else []

    def wait_trace(self, *lines: str) -> None:
        """The application's own word comes a moment after its script has ended."""
        wait_until(lambda: len(self.trace()) >= len(lines), 10, f"{lines[-1]}: {self.trace()}")
        assert self.trace() == list(lines)

    def never_twice(self) -> bool:
        return not any(line.startswith("overlap") for line in self.trace())

    @staticmethod
    def status(host: Host) -> dict:
        return json.loads(host.run("lkquorum", "status", "--json", code=None).stdout)

    @staticmethod
    def log(host: Host) -> str:
        return (host.root / "var/log/understudy/understudyd.log").read_text()


def s3rver() -> str | None:
    found = TOOLS / "node_modules/.bin/s3rver"
    return str(found) if found.exists() else shutil.which("s3rver")


def start_s3(host: Host, port: int, buckets: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """A real S3 server on a host of the lab."""
    program = s3rver()
    assert program is not None
    directory = host.root / f"s3-{port}"
    directory.mkdir(exist_ok=True)
    words = [program, "--directory", str(directory), "--address", host.address(), "--port", str(port), "--silent"]
    for bucket in buckets:
        words += ["--configure-bucket", bucket]
    server = host.spawn(*words, log=f"s3-{port}")
    wait_until(lambda: host.run("bash", "-c", f"exec 3<>/dev/tcp/{host.address()}/{port}", code=None).returncode == 0, 30,
               "the S3 server listens")
    return server
