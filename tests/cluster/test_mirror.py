"""A mirrored volume under a real file system and a real PostgreSQL, with hosts and daemons dying."""

from __future__ import annotations

import json
import re
import time

from lab import Host, Lab, wait_until
from protected_postgres import ADDRESS, ROOT_TAG, VOLUME, Client, Protected, power_cycle

MIB = 1 << 20


def create_mirror(left: Host, right: Host, size: int = 32 * MIB, target_size: int | None = None, code: int | None = 0):  # noqa: ANN201
    source, target = left.disk("m.img", size), right.disk("m.img", target_size or size)
    return left.run("understudy", "mirror", "create", VOLUME, "--device", source, "--target", right.name, "--target-device", target,
                    "--source-address", left.address(2), "--target-address", right.address(2), "--type", "sync", code=code, timeout=90)


def in_sync(host: Host) -> None:
    wait_until(lambda: host.mirror(VOLUME)["state"] == "mirroring", 60, "in sync", 0.05)


def device(host: Host) -> str:
    return str(host.root / "dev/understudy" / VOLUME)


def write_block(host: Host, block: int, text: str) -> None:
    """One 64 KiB block that repeats the text, durable when this returns."""
    host.run("bash", "-c", f"yes '{text}' | head -c 65536 | dd of={device(host)} bs=65536 seek={block} count=1 iflag=fullblock oflag=direct conv=notrunc,fsync status=none")


def read_block(host: Host, block: int) -> str:
    return host.run("bash", "-c", f"dd if={device(host)} bs=65536 skip={block} count=1 iflag=direct status=none | head -1").stdout.strip()


# Spec: REP-002, REP-077, REP-204, REP-211, CLU-181, CLU-188, CLU-201, APP-204, APP-222, KIT-074, KIT-075
def test_postgresql_survives_its_host_with_every_acknowledged_row(lab: Lab) -> None:
    left, right, outside = lab.host("left"), lab.host("right"), lab.host("client")
    lab.form_cluster(left, right)
    outside.power_on()
    story = Protected(lab, left, right, "sync", volume_mib=256)
    story.create()
    story.wait_in_sync(left)
    client = Client(outside)
    client.start()
    try:
        run = power_cycle(story, client)
    finally:
        client.stop()
    assert run.rows_lost == 0 and run.rows_acknowledged > 100
    assert (left.state(ROOT_TAG), right.state(ROOT_TAG)) == ("ISP", "OSU")


# Spec: REP-090, REP-092
def test_a_target_has_no_device_to_read_or_write(pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    assert right.mirror(VOLUME)["role"] == "target"
    assert right.run("dd", f"if={device(right)}", "of=/dev/null", "count=1", code=None).returncode != 0
    # The lower device is claimed by the replication daemon.
    taken = right.run("understudy", "mirror", "create", "other", "--device", str(right.root / "disks/m.img"), "--target", "left",
                      "--target-device", left.disk("o.img", 32 * MIB), "--source-address", right.address(2), "--target-address", left.address(2), code=None)
    assert taken.returncode != 0 and taken.stderr


# Spec: REP-018, REP-021, REP-022, REP-024
def test_creations_that_cannot_work_are_refused_and_leave_nothing(pair: tuple[Host, Host]) -> None:
    left, right = pair
    small = create_mirror(left, right, size=32 * MIB, target_size=16 * MIB, code=None)
    assert small.returncode != 0 and "less than the source" in small.stderr
    assert json.loads(left.command("understudy", "mirror", "status", "--json"))["mirrors"] == []
    assert json.loads(right.command("understudy", "mirror", "status", "--json"))["mirrors"] == []
    create_mirror(left, right)  # and now it works
    in_sync(left)


# Spec: REP-086, REP-109, REP-121, REP-159, REP-160
def test_pause_and_continue_send_only_what_changed(pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    left.command("understudy", "mirror", "pause", VOLUME)
    assert left.mirror(VOLUME)["state"] == "paused"
    write_block(left, 3, "written while paused")
    left.command("understudy", "mirror", "continue", VOLUME)
    in_sync(left)
    assert 0 < left.mirror(VOLUME)["resync_bytes_sent"] <= 4 * MIB
    left.command("understudy", "mirror", "demote", VOLUME)
    right.command("understudy", "mirror", "promote", VOLUME)
    assert read_block(right, 3) == "written while paused"


# Spec: REP-121, REP-204, REP-206, REP-211, REP-237
def test_a_dead_source_returns_as_target_and_its_own_writes_are_overwritten(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    write_block(left, 1, "both have this")
    left.power_off()
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "DEAD", 5, "left DEAD")
    right.command("understudy", "mirror", "promote", "--peer-dead", VOLUME, timeout=60)
    assert read_block(right, 1) == "both have this"
    write_block(right, 2, "new on right")
    left.start()
    in_sync(right)
    assert left.mirror(VOLUME)["role"] == "target"


# Spec: REP-213, REP-224, REP-226, REP-182, CLU-221
def test_both_sides_written_apart_is_a_split_brain_and_nothing_is_overwritten(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    lab.partition(left, right)
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "DEAD", 5, "out of sight")
    right.command("understudy", "mirror", "promote", "--peer-dead", VOLUME, timeout=60)
    write_block(right, 5, "truth of right")
    write_block(left, 5, "truth of left")
    lab.heal()
    wait_until(lambda: left.mirror(VOLUME)["split_brain"] and right.mirror(VOLUME)["split_brain"], 30, "split brain seen on both sides")
    assert left.mirror(VOLUME)["state"] == "paused" and right.mirror(VOLUME)["state"] == "paused"
    assert read_block(left, 5) == "truth of left" and read_block(right, 5) == "truth of right"


# Spec: REP-005
def test_mirrord_killed_under_pgbench_lets_clients_wait_and_nothing_fails(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    story = Protected(lab, left, right, "sync", volume_mib=256)
    story.create()
    story.wait_in_sync(left)
    base = ["/usr/lib/postgresql/15/bin/pgbench", "-h", ADDRESS, "-U", "postgres"]
    left.run(*base, "-i", "-s", "2", "-q", "postgres", timeout=120)
    kills = 3
    bench = left.spawn(*base, "-c", "2", "-T", str(kills * 3 + 2), "postgres", log="pgbench")
    for _ in range(kills):
        time.sleep(2)  # load between the kills, not a wait for something
        left.kill("mirrord")
        wait_until(lambda: not left.pids_of("mirrord"), 5, "mirrord gone")
        left.command("lkstart")
    assert bench.wait(120) == 0
    output = (left.root / "var/log/understudy/pgbench.out").read_text()
    assert re.search(r"number of failed transactions: 0 ", output), output
    assert "ext4 ro" not in left.run("grep", story.mount, "/proc/mounts").stdout
    story.wait_in_sync(left)


# Spec: KIT-075, KIT-076, CLU-145
def test_a_held_volume_cannot_be_removed_and_the_holder_is_named(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    story = Protected(lab, left, right, "sync", volume_mib=128)
    story.create()
    story.wait_in_sync(left)
    left.command("perform_action", "-a", "remove", "-t", ROOT_TAG)
    holder = left.spawn("bash", "-c", f"cd {story.mount} && exec sleep 1000", log="holder")
    wait_until(lambda: left.run("fuser", "-m", story.mount, code=None).returncode == 0, 5, "somebody in the volume")
    refused = left.run("perform_action", "-a", "remove", "-t", f"Vol.{VOLUME}", code=1)
    assert "Unable to lock volume data on left" in refused.stderr and "sleep(" in refused.stderr
    assert left.state(f"Vol.{VOLUME}") == "OSF"
    left.kill_group(holder)
