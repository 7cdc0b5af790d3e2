"""A mirrored volume under a real file system and a real PostgreSQL, with hosts and daemons dying."""

from __future__ import annotations

import json
import os
import pathlib
import re
import time

from lab import Host, Lab, wait_until
from protected_postgres import ADDRESS, ROOT_TAG, VOLUME, Client, Protected, power_cycle
from test_snmp import PREFIX, console, received

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


# Spec: REP-079, REP-138, REP-166, REP-095
def test_a_standby_that_loses_power_holds_writes_for_heartbeats_only_and_resyncs_partially(lab: Lab) -> None:
    left, right, outside = lab.host("left"), lab.host("right"), lab.host("client")
    lab.form_cluster(left, right)
    outside.power_on()
    story = Protected(lab, left, right, "sync", volume_mib=256)
    story.create()
    story.wait_in_sync(left)
    client = Client(outside)
    client.start()
    try:
        client.wait_for_more(50, 30)
        right.power_off()
        # The mirror's own pings would need 30 s (PingInterval x MaxPingMisses).
        client.wait_for_more(50, 15)
        assert left.mirror(VOLUME)["state"] == "paused"
        assert "found its node DEAD" in (left.root / "var/log/understudy/mirrord.log").read_text()
        right.start()
        story.wait_in_sync(left)
        client.wait_for_more(50, 30)
    finally:
        client.stop()
    assert left.state(ROOT_TAG) == "ISP"
    assert 0 < int(left.mirror(VOLUME)["resync_bytes_sent"]) < 64 * MIB
    acknowledged = {number for number, _ in client.acknowledgements()}
    assert not acknowledged - story.rows(left)
    # The mirror may be back before the heartbeats.
    wait_until(lambda: left.command("sys_getst", "-s", right.name) == "ALIVE\n", 20, "right is ALIVE for left")
    left.command("understudy", "switchover", ROOT_TAG, "--to", right.name, timeout=120)
    assert not acknowledged - story.rows(right)


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
    # What holds the intent logs. Spec: REP-020
    logs = left.disk("logs.img", 8 * MIB)
    left.run("mkfs.ext4", "-q", logs)
    left.run("mount", "-o", "loop", logs, str(left.root / "var/lib/understudy/Bitmaps"))
    holds_logs = left.run("findmnt", "-n", "-o", "SOURCE", str(left.root / "var/lib/understudy/Bitmaps")).stdout.strip()
    refused = left.run("understudy", "mirror", "create", VOLUME, "--device", holds_logs, "--target", right.name, "--target-device",
                       right.disk("m.img", 8 * MIB), "--source-address", left.address(2), "--target-address", right.address(2), code=None)
    assert refused.returncode != 0 and "event 40" in refused.stderr, refused.stderr
    left.run("umount", str(left.root / "var/lib/understudy/Bitmaps"))
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


# Spec: REP-355
def test_verify_finds_and_repairs_what_was_changed_behind_the_mirrors_back(pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    write_block(left, 3, "original")
    assert "no difference" in left.command("understudy", "mirror", "verify", VOLUME)
    with open(right.root / "disks/m.img", "r+b") as image:
        image.seek(3 * 65536 + 100)
        image.write(b"rubbish")
        image.flush()
        os.fsync(image.fileno())
    found = left.run("understudy", "mirror", "verify", VOLUME, "--rate", "1000", code=None)
    assert found.returncode != 0 and "1 blocks of 64 KiB differ, at byte 196608" in found.stderr
    assert "sent again" in left.command("understudy", "mirror", "verify", VOLUME, "--repair")
    assert "no difference" in left.command("understudy", "mirror", "verify", VOLUME)
    assert left.mirror(VOLUME)["state"] == "mirroring"
    left.command("understudy", "mirror", "demote", VOLUME)
    right.command("understudy", "mirror", "promote", VOLUME)
    assert read_block(right, 3) == "original"


# Spec: REP-151, REP-244, REP-269
def test_a_volumes_parameters_are_its_own_and_outlive_its_daemon(pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    left.command("understudy", "mirror", "set", VOLUME, "BandwidthThrottle=8000", "ResyncReads=30")
    left.kill("mirrord")
    wait_until(lambda: not left.pids_of("mirrord"), 5, "mirrord gone")
    left.command("lkstart")
    shown = str(wait_until(lambda: left.run("understudy", "mirror", "set", VOLUME, code=None).stdout, 20, "mirrord answers"))
    assert "BandwidthThrottle=8000 (this volume's own" in shown and "ResyncReads=30 (this volume's own" in shown
    refused = left.run("understudy", "mirror", "set", VOLUME, "ResyncReads=0", code=None)
    assert refused.returncode != 0 and "ResyncReads=0 is not" in refused.stderr
    shown = right.command("understudy", "mirror", "set", VOLUME)  # what both ends share, and no more
    assert "BandwidthThrottle=8000 " in shown and "ResyncReads=30 " not in shown


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


def quick_link_loss(*hosts: Host) -> None:
    """A silent mirror link is lost after 0.3 s instead of 30."""
    for host in hosts:
        with open(host.root / "etc/default/LifeKeeper", "a") as settings:
            settings.write("PingInterval=100\nMaxPingMisses=3\n")
        host.kill("mirrord")
        wait_until(lambda h=host: not h.pids_of("mirrord"), 5, "mirrord gone")
        host.command("lkstart")


def protect_volume(left: Host, right: Host) -> str:
    """The volume as a resource of its own, in service on left. Gives its tag."""
    tag = f"Vol.{VOLUME}"
    left.run("mkfs.ext4", "-q", "-E", "nodiscard", device(left), timeout=120)
    for host in (left, right):
        left.command("ins_create", "-d", host.name, "-a", "filesys", "-r", "volume", "-t", tag, "-i", VOLUME, "-v", "mount=/mnt fs=ext4")
    left.command("eqv_create", "-t", tag, "-S", right.name, "-o", tag, "-p", "1", "-r", "10", "-e", "SHARED")
    left.command("perform_action", "-a", "restore", "-t", tag)
    return tag


def write_file(host: Host, name: str) -> None:
    host.run("bash", "-c", f"echo {name} >/mnt/{name} && sync -f /mnt/{name}", timeout=90)


# Spec: REP-079, REP-152, REP-165, REP-189, REP-217
def test_a_spare_that_fell_behind_refuses_to_take_over_and_obeys_force(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    quick_link_loss(left, right)
    in_sync(left)
    tag = protect_volume(left, right)
    write_file(left, "on_both")
    in_sync(left)
    lab.partition(left, right, network=2)  # the mirror's network only
    write_file(left, "on_left_alone")
    assert left.mirror(VOLUME)["state"] == "paused"
    assert right.command("sys_getst", "-s", "left").strip() == "ALIVE"
    assert f"!mirrorbehind!{VOLUME}!left!" in right.command("flg_list")
    assert not right.mirror(VOLUME)["outdated"]  # its own mirrord could not be told
    left.power_off()
    # Automatic recovery tries, and is refused.
    wait_until(lambda: right.state(tag) == "OSF", 30, "the takeover was refused")
    lab.heal()
    refused = right.run("perform_action", "-a", "restore", "-t", tag, code=None, timeout=90)
    assert refused.returncode != 0
    assert "out of date: left went on without it at 20" in refused.stderr and "is missing here" in refused.stderr, refused.stderr
    assert f"understudy mirror promote --force {VOLUME}" in refused.stderr
    assert right.mirror(VOLUME)["role"] == "target"
    right.command("understudy", "mirror", "promote", "--force", VOLUME)
    right.command("perform_action", "-a", "restore", "-t", tag, timeout=90)
    assert right.run("ls", "/mnt").stdout.split() == ["lost+found", "on_both"]


# Spec: REP-079, REP-096
def test_a_spare_that_caught_up_takes_over_with_everything(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    quick_link_loss(left, right)
    in_sync(left)
    tag = protect_volume(left, right)
    lab.partition(left, right, network=2)
    write_file(left, "on_left_alone")
    lab.heal()
    in_sync(left)
    wait_until(lambda: "!mirrorbehind!" not in right.command("flg_list") + left.command("flg_list"), 15, "the notes are withdrawn")
    left.power_off()
    wait_until(lambda: right.state(tag) == "ISP", 30, "right has taken over")
    assert right.run("cat", "/mnt/on_left_alone").stdout == "on_left_alone\n"


# Spec: REP-079, REP-217
def test_a_source_that_cannot_tell_its_cluster_lets_writes_wait(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    left.kill("understudyd", "STOP")
    right.kill("mirrord")
    writer = left.spawn("dd", "if=/dev/zero", f"of={device(left)}", "bs=4096", "count=1", "oflag=direct", "conv=notrunc", log="writer")
    wait_until(lambda: "writes wait until the cluster knows" in left.mirror(VOLUME)["problem"], 20, "the cause is told")
    assert writer.poll() is None
    left.kill("understudyd", "CONT")
    assert writer.wait(20) == 0
    assert f"!mirrorbehind!{VOLUME}!left!" in right.command("flg_list")
    assert left.mirror(VOLUME)["problem"] == "" or "writes" not in left.mirror(VOLUME)["problem"]


# Spec: REP-079, REP-209, REP-212
def test_a_source_that_boots_alone_accepts_writes_and_its_target_catches_up(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    right.power_off()
    left.power_off()
    left.start()  # right has not been seen since: it is UNKNOWN, not DEAD
    assert right.name in left.command("sys_list") and left.command("sys_getst", "-s", "right").strip() != "ALIVE"
    left.run("understudy", "mirror", "promote", VOLUME, timeout=60)
    left.run("dd", "if=/dev/zero", f"of={device(left)}", "bs=65536", "count=1", "oflag=direct", "conv=notrunc", timeout=15)
    write_block(left, 1, "alone")
    right.start()
    in_sync(left)
    left.command("understudy", "mirror", "demote", VOLUME)
    right.command("understudy", "mirror", "promote", VOLUME)
    assert read_block(right, 1) == "alone"


# Spec: REP-213, REP-224, REP-226, REP-227, REP-228, REP-182, CLU-221
def test_both_sides_written_apart_is_a_split_brain_until_one_yields(lab: Lab, pair: tuple[Host, Host]) -> None:
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
    assert "understudy mirror yield" in left.mirror(VOLUME)["problem"]
    left.command("understudy", "mirror", "yield", VOLUME)
    right.command("understudy", "mirror", "continue", VOLUME)
    in_sync(right)
    assert left.mirror(VOLUME)["role"] == "target"
    left.command("understudy", "mirror", "promote", VOLUME, timeout=60)
    assert read_block(left, 5) == "truth of right"


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


# Spec: CMD-152, CMD-153, EMC-050, EMC-072, REP-360
def test_a_consoles_traps_tell_each_state_of_a_mirror_and_a_split_brain_once(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    left.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2, LK_TRAP_MGR="127.0.0.1:1162")
    target = right.address(2)

    def states(packets: pathlib.Path) -> list[str]:
        return [one[f"{PREFIX}.1"] for one in received(packets) if one["trap"] == f"{PREFIX}.0.150"]

    def splits(packets: pathlib.Path) -> list[str]:
        return [one[f"{PREFIX}.1"] for one in received(packets) if one["trap"] == f"{PREFIX}.0.160"]

    def state(number: int, name: str) -> str:
        return f"Mirror state change: volume={VOLUME} state={number} ({name}) target={target}"

    with console(left) as packets:
        create_mirror(left, right)
        in_sync(left)
        left.command("understudy", "mirror", "pause", VOLUME)
        left.command("understudy", "mirror", "continue", VOLUME)
        in_sync(left)
        mirroring, paused = state(1, "mirroring"), state(4, "paused")
        wait_until(lambda: states(packets).count(mirroring) >= 2, 30, "both ends of a resync", 0.1)
        told = states(packets)
        assert told.index(mirroring) < told.index(paused) < len(told) - 1 - told[::-1].index(mirroring), told
        assert splits(packets) == []
        hook, heard = left.root / "usr/lib/understudy/events/volume/net_failure/hook", left.root / "heard"
        hook.write_text(f'#!/bin/sh\necho "$*" >>{heard}\n')
        hook.chmod(0o755)
        left.command("emcmd", ".", "SETCONFIGURATION", f"vol:{VOLUME}", "16")
        lab.partition(left, right)
        write_block(left, 1, "left")
        wait_until(lambda: heard.exists() and f"-n {VOLUME},{target}" in heard.read_text(), 60, "the net alert's script has run")
        right.command("understudy", "mirror", "promote", VOLUME, "--force", timeout=90)
        write_block(right, 2, "right")
        lab.heal()
        wait_until(lambda: splits(packets), 60, "the split brain is told", 0.1)
        wait_until(lambda: left.mirror(VOLUME)["split_brain"] and right.mirror(VOLUME)["split_brain"], 60, "both know")
        right.command("understudy", "mirror", "yield", VOLUME)
        left.command("understudy", "mirror", "continue", VOLUME)
        in_sync(left)
        assert splits(packets) == [f"Split brain: volume={VOLUME} target={target}"]
