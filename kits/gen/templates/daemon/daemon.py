#!/usr/bin/env python3
"""Protects a daemon that runs in the foreground: starts it, watches it, restarts it.

Application info, as words like a shell's:
    command="/usr/sbin/mydaemon --foreground"   what to run; required
    user=ACCOUNT                                 who runs it (default: root)
    directory=DIR                                where it runs (default: /)
    probe="curl -fsS http://127.0.0.1:8080/"     exits with 0 when the daemon does its work
    probe_timeout=10 start_timeout=60 stop_timeout=30      seconds

A daemon that died is found by quickchk, one that hangs by deepchk, whose probe gets no answer in time; recover ends
whatever is left of it and starts it again. One file for every role: LK_ACTION says which one it is called for.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shlex
import signal
import subprocess
import sys
import time

TAG = os.environ["LK_TAG"]
ROOT = os.environ.get("UNDERSTUDY_ROOT", "")
RUNNING = pathlib.Path(f"{ROOT}/run/understudy/daemon.{TAG.replace('/', '%2F')}")
LOG = pathlib.Path(f"{ROOT}/var/log/understudy/daemon.{TAG.replace('/', '%2F')}.log")
POLL = 0.05


def settings() -> dict[str, str]:
    words = dict(word.split("=", 1) for word in shlex.split(os.environ.get("LK_INFO", "")))
    if not words.get("command"):
        sys.exit('the application info must have command="PROGRAM ARGUMENTS"')
    return words


def seconds(info: dict[str, str], key: str, otherwise: float) -> float:
    return float(info.get(key, otherwise))


def started_at(pid: int) -> str:
    """When the process was started, which no other process with this number shares; empty when it is no more."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def running() -> int:
    """The daemon's pid, 0 when it does not run."""
    try:
        pid, start = RUNNING.read_text().split()
    except (OSError, ValueError):
        return 0
    return int(pid) if started_at(int(pid)) == start else 0


def probe(info: dict[str, str]) -> bool:
    if "probe" not in info:
        return True
    try:
        done = subprocess.run(shlex.split(info["probe"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds(info, "probe_timeout", 10), check=False)
    except subprocess.TimeoutExpired:
        print("the probe got no answer in time", file=sys.stderr)
        return False
    if done.returncode != 0:
        print(done.stdout.decode(errors="replace").strip()[-500:], file=sys.stderr)
    return done.returncode == 0


def become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def restore(info: dict[str, str]) -> int:
    if running():
        return 0  # what runs is left alone
    user = info.get("user")
    with open(LOG, "ab") as log:
        process = subprocess.Popen(shlex.split(info["command"]), cwd=info.get("directory", "/"), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True,
                                   preexec_fn=(lambda: become(user)) if user else None)
    RUNNING.write_text(f"{process.pid} {started_at(process.pid)}\n")
    deadline = time.monotonic() + seconds(info, "start_timeout", 60)
    while True:
        if process.poll() is not None:
            print(f"it ended at once with {process.returncode}; see {LOG}", file=sys.stderr)
            return 1
        if probe(info):
            return 0
        if time.monotonic() > deadline:
            remove(info)
            print("it does not answer the probe; stopped again", file=sys.stderr)
            return 1
        time.sleep(POLL)


def wait_for_end(pid: int, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while running() == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def remove(info: dict[str, str]) -> int:
    pid = running()
    if pid:
        for number, limit in ((signal.SIGTERM, seconds(info, "stop_timeout", 30)), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
                os.killpg(pid, signal.SIGCONT)  # one that somebody has stopped must hear it too
            if wait_for_end(pid, limit):
                break
        else:
            print(f"process {pid} cannot be ended", file=sys.stderr)
            return 1
    RUNNING.unlink(missing_ok=True)
    return 0


def quick_check(_: dict[str, str]) -> int:
    if running():
        return 0
    print("the daemon does not run", file=sys.stderr)
    return 1


def main() -> int:
    info = settings()
    match os.environ["LK_ACTION"]:
        case "restore":
            return restore(info)
        case "remove":
            return remove(info)
        case "quickchk":
            return quick_check(info)
        case "deepchk":
            return quick_check(info) or (0 if probe(info) else 1)
        case "recover":
            return remove(info) or restore(info)
        case other:
            print(f"no action {other}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
