"""./bench checks: what the checks of many resources cost the cluster daemon, beyond the kits' own run time."""

from __future__ import annotations

import os
import time

from lab import Host, Lab, wait_until
from rows import Row, at_most

RESOURCES = 1_000
INTERVAL_S = 10
SECONDS = 30


def cpu_seconds(host: Host, program: str) -> float:
    """Processor time of the program itself, its children not counted."""
    (pid,) = host.pids_of(program)
    fields = host.run("cat", f"/proc/{pid}/stat").stdout.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def checks(rows: list[Row]) -> None:
    """1,000 resources in service, each checked every 10 s by a script that only counts."""
    with Lab() as lab:
        host = lab.host("left")
        host.start()
        actions = host.root / "usr/lib/understudy/subsys/gen/resources/app/actions"
        actions.mkdir(parents=True)
        calls = host.root / "calls"
        for action, body in (("restore", ""), ("remove", ""), ("quickchk", 'echo >>"$UNDERSTUDY_ROOT/calls"\n')):
            (actions / action).write_text(f"#!/bin/sh\n{body}")
            (actions / action).chmod(0o755)
        host.command("app_create", "-a", "gen")
        host.command("typ_create", "-a", "gen", "-r", "app")
        host.run("bash", "-c", f"for i in $(seq {RESOURCES}); do ins_create -a gen -r app -t app.$i -i app.$i -Q 0 -D 0 && "
                 "ins_setst -t app.$i -S ISP || exit 1; done", timeout=240)
        host.run("bash", "-c", f"for i in $(seq {RESOURCES}); do ins_setchkint -t app.$i -c q -v {INTERVAL_S} || exit 1; done", timeout=240)
        wait_until(lambda: calls.exists() and calls.stat().st_size >= RESOURCES, 60, "every resource has been checked")
        begin, before, made = time.monotonic(), cpu_seconds(host, "understudyd"), calls.stat().st_size
        time.sleep(SECONDS)
        elapsed = time.monotonic() - begin
        used = cpu_seconds(host, "understudyd") - before
        made = calls.stat().st_size - made
    expected = RESOURCES / INTERVAL_S * elapsed
    rows.append(at_most(f"checks of {RESOURCES} resources every {INTERVAL_S} s: understudyd's part of a core", used / elapsed * 100, "%", 5))
    rows.append(Row("    checks made, of those due", made / expected * 100, "%", target=">= 98", met=made >= 0.98 * expected))
    rows.append(Row("    processor time of one check", used / max(made, 1) * 1e6, "us"))
