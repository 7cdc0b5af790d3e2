"""The demo: two hosts, a mirrored volume, an address, a PostgreSQL, and a client that notices how long it was away."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from lab import Host, Lab
from protected_postgres import ADDRESS, ROOT_TAG, Client, Protected, Run, power_cycle


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./demo", description=__doc__)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how often left is powered off")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--sync", dest="mode", action="store_const", const="sync", default="sync", help="synchronous mirror (default)")
    kind.add_argument("--async", dest="mode", action="store_const", const="async", help="asynchronous mirror")
    parser.add_argument("--report", metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    return parser.parse_args()


def last_failure(host: Host) -> str:
    """The page on the last node failure; a switchover came after it."""
    failures = [one for one in json.loads(host.command("understudy", "incident", "list", "--json")) if one["kind"] == "node failure"]
    return host.command("understudy", "incident", failures[-1]["id"])


def main() -> int:
    options = arguments()
    begin = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begin:8.3f} s  {text}", flush=True)

    runs: list[Run] = []
    problem = ""
    with Lab() as lab:
        left, right, outside = lab.host("left"), lab.host("right"), lab.host("client")
        client = Client(outside)
        try:
            lab.form_cluster(left, right)
            outside.power_on()
            tell("left and right are one cluster, heartbeats every 200 ms on two networks")
            story = Protected(lab, left, right, options.mode)
            story.create()
            story.wait_in_sync(left)
            tell(f"{ROOT_TAG} runs on left: PostgreSQL on a mirrored volume ({options.mode}), reached at {ADDRESS}")
            client.start()
            for number in range(options.repeat):
                if options.repeat > 1:
                    tell(f"-- run {number + 1} of {options.repeat}")
                runs.append(power_cycle(story, client, tell))
            print("\n" + left.command("understudy", "events", "--count", "40"))
            print(left.command("understudy", "status"))
            print("What happened when left was powered off (on any node: understudy incident list, understudy incident ID):\n")
            print(last_failure(left))
        except (AssertionError, TimeoutError, OSError, RuntimeError) as error:
            problem = str(error)
            for host in (left, right):
                for log in sorted((host.root / "var/log/understudy").glob("*")):
                    print(f"--- {host.name}: {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
        finally:
            if not options.keep:
                client.stop()
        if options.keep:
            lab.keep = True
            print(f"\nThe cluster keeps running. Talk to it with, for example:\n"
                  f"  {' '.join(left.enter('env', f'UNDERSTUDY_ROOT={left.root}', left.root.as_posix() + '/usr/lib/understudy/bin/understudy', 'status'))}\n"
                  f"End it with: kill -9 {left.pid} {right.pid} {outside.pid}; then remove {lab.directory} and the namespaces {lab.id}-*")

    lost = sum(run.rows_lost for run in runs)
    ok = not problem and len(runs) == options.repeat and lost == 0
    if options.report:
        with open(options.report, "w", encoding="utf8") as file:
            json.dump({"ok": ok, "runs": [run.as_json() for run in runs]}, file, indent=2)
    if problem:
        print(f"\nFAILED: {problem}")
    elif not ok:
        print(f"\nFAILED: {lost} acknowledged rows were lost")
    else:
        print(f"\nOK: {len(runs)} power-off(s) survived, no acknowledged row lost of {runs[-1].rows_acknowledged}; "
              f"median outage {statistics.median(run.outage_ms for run in runs):.0f} ms, "
              f"median pause of a switchover {statistics.median(run.switchover_outage_ms for run in runs):.0f} ms")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
