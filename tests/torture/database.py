#!/usr/bin/env python3
"""Torments a protected PostgreSQL: its host loses power under pgbench and a client that counts its acknowledged rows; the
standby takes over. After each takeover no acknowledged row is missing, pg_amcheck finds every table and index sound, and
pgbench's books balance.

    sudo tests/torture/database.py --cycles 20 --mode sync --fs xfs

Of an asynchronous mirror the last rows may be missing; what is there must be sound all the same. Needs root and the release
build. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

from lab import Host, Lab, wait_until  # noqa: E402
from protected_postgres import ADDRESS, ROOT_TAG, Client, Protected  # noqa: E402
from torture import Broken, keep  # noqa: E402

BIN = "/usr/lib/postgresql/15/bin"
WHO = ["-h", ADDRESS, "-U", "postgres"]
BOOKS = ("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AND "
         "(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches) AND "
         "(SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)")


def sound(host: Host) -> None:
    """Raises when a relation is damaged or a transaction is there by half."""
    checked = host.run(f"{BIN}/pg_amcheck", *WHO, "--heapallindexed", "postgres", code=None, timeout=300)
    if checked.returncode != 0:
        raise Broken(f"pg_amcheck on {host.name}: {checked.stdout}{checked.stderr}")
    books = host.run("psql", *WHO, "-At", "-c", BOOKS).stdout.strip()
    if books != "t":
        raise Broken(f"pgbench's books do not balance on {host.name}: {books}")


def load(client: Host) -> subprocess.Popen[bytes]:
    # -n: without it each run empties the history first.
    return client.spawn(f"{BIN}/pgbench", *WHO, "-n", "-c", "2", "-T", "600", "postgres", log="pgbench")


def cycle(story: Protected, client: Client, active: Host, standby: Host, chance: random.Random) -> int:
    """The active host loses power; the number of acknowledged rows that are missing then."""
    bench = load(client.host)
    client.wait_for_more(30, 60)
    time.sleep(chance.uniform(0, 2))  # the random moment of the blow
    active.power_off()
    story.wait_active(standby, 120)
    # The client tries the same row until it is acknowledged: those before it are what is promised.
    client.wait_for_more(5, 60)
    client.host.kill_group(bench)
    acknowledged = {number for number, _ in client.acknowledgements()}
    missing = len(acknowledged - story.rows(standby))
    sound(standby)
    active.start()
    story.wait_in_sync(standby)
    wait_until(lambda: active.state(ROOT_TAG) == "OSU", 60, f"{active.name} is standby")
    return missing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("sync", "async"), default="sync")
    parser.add_argument("--fs", choices=("ext4", "xfs"), default="ext4")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    began = time.monotonic()
    missing = 0
    with Lab() as lab:
        left, right, outside = lab.host("left"), lab.host("right"), lab.host("client")
        lab.form_cluster(left, right)
        outside.power_on()
        story = Protected(lab, left, right, options.mode, volume_mib=512, fs=options.fs)
        story.create()
        story.wait_in_sync(left)
        left.run(f"{BIN}/pgbench", *WHO, "-i", "-s", "2", "-q", "postgres", timeout=120)
        left.run("psql", *WHO, "-c", "CREATE EXTENSION amcheck")
        client = Client(outside)
        client.start()
        try:
            for number in range(1, options.cycles + 1):
                active, standby = (left, right) if number % 2 else (right, left)
                missing += cycle(story, client, active, standby, chance)
                if missing and options.mode == "sync":
                    raise Broken(f"{missing} acknowledged rows are missing")
                print(f"cycle {number}: {client.count()} acknowledged rows, {missing} missing, {time.monotonic() - began:.0f} s", flush=True)
        except (AssertionError, TimeoutError) as error:
            print(f"{options.mode}, {options.fs}, --seed {options.seed}: {error}\nkept: {keep(lab)}", flush=True)
            return 1
        finally:
            client.stop()
    print(f"{options.cycles} takeovers of PostgreSQL on {options.fs}, {options.mode}: every table and index sound, "
          f"{missing} acknowledged rows missing, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
